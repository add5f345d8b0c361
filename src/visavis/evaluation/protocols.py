"""Protocols: pairs of images (1:1) or probes and a gallery (1:N), from folders of people and files of pairs."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import InvalidOption

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Photo:
    """An image, and whom it shows.

    Attributes:
        file: what results call it.
        path: where it is read.
        person: whom it shows; the same for all images of one person.
    """

    file: str
    path: str
    person: str


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of images, of one person and of strangers.

    Attributes:
        photos: each once.
        first, second: (N,) the two images of each pair, by their place in ``photos``.
        same: (N,) whether they show the same person.
        folds: (N,) the number of each pair's fold, or None where the protocol has none.
        about: in words, where the pairs come from, and how they were chosen.
        left_out: what the protocol names and nobody measured, and why; a line each.
    """

    photos: tuple[Photo, ...]
    first: Indices
    second: Indices
    same: NDArray[np.bool_]
    folds: Indices | None
    about: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A gallery of people, and probes: of these people, and of strangers.

    Attributes:
        photos: each once.
        gallery: (G,) the images that are enrolled, by their place in ``photos``.
        probes: (P,) those that are looked for: of people of the gallery, and of people who are not in it.
        about: in words, how the two were chosen.
        left_out: as in ``Pairs``.
    """

    photos: tuple[Photo, ...]
    gallery: Indices
    probes: Indices
    about: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Groups of people, such as age or origin.

    Attributes:
        names: of the groups, sorted.
        of_photos: (n,) each photo's group, by its place in ``names``; -1 for those in none.
        unknown: whom the file names, and no photo shows.
    """

    names: tuple[str, ...]
    of_photos: Indices
    unknown: tuple[str, ...] = ()


def counted(count: int, noun: str = "pair", plural: str | None = None) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def people_of(photos: Sequence[Photo]) -> tuple[tuple[str, ...], Indices]:
    """Return the people, in the order in which they first appear, and whom of them each photo (n,) shows."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(photo.person, len(places)) for photo in photos]
    return tuple(places), np.array(numbers, np.int64)


MOST_GROUPS = 100
"""More are taken for a mistake: a column of names, perhaps."""
_CELLS = 2
_HEADERS = (["person", "group"], ["file", "group"])


def read_groups(path: Path, photos: Sequence[Photo]) -> Grouping:
    """Read a CSV file of two columns, a person or a file and its group; a header is optional.

    Raises:
        InvalidOption: it cannot be read, a line means nothing or contradicts another, or none fits a photo.
    """
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                cleaned = [cell.strip() for cell in cells]
                if not any(cleaned) or (reader.line_num == 1 and [c.lower() for c in cleaned] in _HEADERS):
                    continue
                if len(cleaned) != _CELLS or not all(cleaned):
                    raise InvalidOption(f"{path}, line {reader.line_num}: a person or file, and a group, are wanted")
                if groups.setdefault(*cleaned) != cleaned[1]:
                    raise InvalidOption(f"{path}, line {reader.line_num}: {cleaned[0][:60]!r} is in a group already")
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path}: no CSV in UTF-8: {error}") from error
    return _grouping(path, groups, photos)


def _grouping(path: Path, groups: dict[str, str], photos: Sequence[Photo]) -> Grouping:
    own = [groups.get(photo.file, groups.get(photo.person)) for photo in photos]
    names = sorted({name for name in own if name is not None})
    if not names:
        raise InvalidOption(f"{path}: names none of the people or files that are measured")
    if len(names) > MOST_GROUPS:
        raise InvalidOption(f"{path}: {len(names)} groups are more than the {MOST_GROUPS} that are told apart")
    places = {name: place for place, name in enumerate(names)}
    of_photos = np.array([-1 if name is None else places[name] for name in own], np.int64)
    known = {name for photo in photos for name in (photo.file, photo.person)}
    return Grouping(tuple(names), of_photos, tuple(name for name in groups if name not in known))


MOST_BYTES = 100_000_000
"""Of a file of pairs; a larger one is taken for a mistake."""
COLUMNS = ("file_a", "file_b", "same")
"""Of the CSV form; a further one, ``fold``, may tell the fold."""

_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # as the images of such protocols are passed on
_DIGITS = 9  # of a number: no protocol has a billion images
_SHOWN = 60  # characters of a line in a message


Complain: TypeAlias = Callable[[int, str], InvalidOption]
"""Make the error about a line, by its number, from what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line: two files below the images' folder, the people they are filed under, and whether these are one.

    The people are empty where the line names none; the fold is -1 where there is none.
    """

    number: int
    files: tuple[str, str]
    people: tuple[str, str]
    same: bool
    fold: int = -1


def read_pairs_file(path: Path, images: Path) -> Pairs:
    """Read the pairs of a file.

    The form of LFW: a first line ``folds <tab> pairs`` or none, then ``name <tab> n1 <tab> n2`` for images of one
    person, ``name1 <tab> n1 <tab> name2 <tab> n2`` for strangers; the third image of Ada is ``Ada/Ada_0003.jpg``.
    CSV has the header ``file_a,file_b,same``; there, images that are "the same" as a third one are one person.

    Args:
        path: of the file.
        images: the folder that the images are in; whether they are there is not looked at.

    Raises:
        InvalidOption: it cannot be read, a line means nothing or contradicts another, or there is no pair.
    """

    def complain(number: int, what: str) -> InvalidOption:
        return InvalidOption(f"{path}, line {number}: {what}")

    lines = _lines(path)
    is_csv = path.suffix.lower() == ".csv" or "," in lines[0]
    rows = list(_csv_rows(lines, complain) if is_csv else _lfw_rows(lines, images, complain))
    if not rows:
        raise InvalidOption(f"{path}: no pair in it")
    for row in rows:
        _check_below(row, complain)
    people = _joined(rows, complain) if is_csv else {f: p for r in rows for f, p in zip(r.files, r.people, strict=True)}
    places = {file: place for place, file in enumerate(people)}
    repeated = _check_twice(rows, complain)
    folds = np.array([row.fold for row in rows], np.int64)
    return Pairs(
        photos=tuple(Photo(file, str(images / file), person) for file, person in people.items()),
        first=np.array([places[row.files[0]] for row in rows], np.int64),
        second=np.array([places[row.files[1]] for row in rows], np.int64),
        same=np.array([row.same for row in rows], np.bool_),
        folds=folds if folds.min() >= 0 and len(np.unique(folds)) > 1 else None,
        about=f"the pairs of {path.name}" + (f", {repeated} of them more than once" if repeated else ""),
    )


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise InvalidOption(f"{path}: more than {MOST_BYTES:,} bytes are no file of pairs")
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    if not lines:
        raise InvalidOption(f"{path}: empty")
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode().splitlines()
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise InvalidOption(f"{path}, line {number}: not UTF-8 text; this seems to be no file of pairs") from error


def _csv_rows(lines: Sequence[str], complain: Complain) -> Iterator[Row]:
    reader = csv.reader(lines)
    try:
        header = [column.strip() for column in next(reader)]
        if missing := [column for column in COLUMNS if column not in header]:
            raise complain(1, f"the header lacks {', '.join(missing)}; it is {','.join(COLUMNS)}")
        for cells in reader:
            number = reader.line_num
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise complain(number, f"{len(cells)} cells where the header has {len(header)}")
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            if row["same"].lower() not in _YES:
                raise complain(number, f"same is 1 or 0, not {row['same'][:_SHOWN]!r}")
            if not (row["file_a"] and row["file_b"]):
                raise complain(number, "a file's name is empty")
            fold = _number(row["fold"], number, complain) if "fold" in row else -1
            files = (PurePosixPath(row["file_a"]).as_posix(), PurePosixPath(row["file_b"]).as_posix())
            yield Row(number, files, ("", ""), _YES[row["same"].lower()], fold)
    except csv.Error as error:
        raise complain(reader.line_num, f"no CSV: {error}") from error


def _lfw_rows(lines: Sequence[str], images: Path, complain: Complain) -> Iterator[Row]:
    header = lines[0].split()
    has_header = len(header) in (1, 2) and all(map(_is_number, header))
    folds, each = (int(header[0]) if len(header) > 1 else 1, int(header[-1])) if has_header else (1, 0)
    texts = [(number, text) for number, text in enumerate(lines[has_header:], 1 + has_header) if text.strip()]
    for place, (number, text) in enumerate(texts):
        cells = text.split("\t") if "\t" in text else text.split()
        if len(cells) not in (3, 4):
            raise complain(number, f"3 or 4 fields are a pair, not {len(cells)}: {text[:_SHOWN]!r}")
        people = (cells[0], cells[0] if len(cells) == 3 else cells[2])  # noqa: PLR2004  # name, number, number
        numbers = (_number(cells[1], number, complain), _number(cells[-1], number, complain))
        files = tuple(_lfw_file(images, name, n) for name, n in zip(people, numbers, strict=True))
        fold = place // (2 * each) if each else 0
        yield Row(number, (files[0], files[1]), people, people[0] == people[1], fold)
    if has_header and len(texts) != 2 * folds * each:
        promised = f"{folds} x 2 x {each} = {2 * folds * each}"
        raise complain(1, f"{promised} pairs are announced, and {len(texts)} follow")


def _lfw_file(images: Path, name: str, number: int) -> str:
    stem = f"{name}/{name}_{number:04d}"
    files = (stem + suffix for suffix in _SUFFIXES)
    return next((file for file in files if "\0" not in file and (images / file).exists()), stem + _SUFFIXES[0])


def _number(text: str, number: int, complain: Complain) -> int:
    if not _is_number(text.strip()):
        raise complain(number, f"a number is wanted, not {text[:_SHOWN]!r}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS


def _check_below(row: Row, complain: Complain) -> None:
    """Refuse names that lead out of the images' folder."""
    for file in row.files:
        paths = (PurePosixPath(file), Path(file))  # the second is what will be opened, with backslashes on Windows
        if "\0" in file or any(path.anchor or ".." in path.parts for path in paths):
            raise complain(row.number, f"{file[:_SHOWN]!r} leads out of the folder of images")


def _check_twice(rows: Iterable[Row], complain: Complain) -> int:
    """Return how many pairs occur once more; the same two images cannot be one person and strangers."""
    seen: dict[frozenset[str], Row] = {}
    repeated = 0
    for row in rows:
        if row.files[0] == row.files[1]:
            raise complain(row.number, f"{row.files[0][:_SHOWN]!r} is paired with itself")
        earlier = seen.setdefault(frozenset(row.files), row)
        if earlier.same != row.same:
            raise complain(row.number, f"contradicts line {earlier.number}")
        repeated += earlier is not row
    return repeated


def _joined(rows: Sequence[Row], complain: Complain) -> dict[str, str]:
    """Return each file's person: those that are the same as a third one are one, called by its first file."""
    parents = {file: file for row in rows for file in row.files}

    def root(file: str) -> str:
        while parents[file] != file:
            parents[file] = parents[parents[file]]
            file = parents[file]
        return file

    for row in rows:
        if row.same:
            parents[root(row.files[1])] = root(row.files[0])
    for row in rows:
        if not row.same and root(row.files[0]) == root(row.files[1]):
            raise complain(row.number, "strangers here, and the same person by way of other lines")
    return {file: root(file) for file in parents}


MOST_PAIRS = 1_000_000
"""More pairs than these are sampled, unless another number is asked for."""
_FEWEST_PEOPLE = 2


def pair_people(photos: Sequence[Photo], *, most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Return all pairs of photos; where there are more than ``most``, some drawn at random.

    Of pairs of one person as many are drawn as are there, but no more than half of all; strangers fill the rest.

    Raises:
        InvalidOption: there are no pairs of one person, or none of strangers.
    """
    ordered, ends, numbers = _by_person(photos)
    places = np.arange(len(ordered))
    # The partners of a photo that come after it: of its own person up to the person's end, and of strangers from there.
    genuine_counts, impostor_counts = ends - places - 1, len(ordered) - ends
    genuine, impostor = int(genuine_counts.sum()), int(impostor_counts.sum())
    if not genuine:
        raise InvalidOption("nobody is there with two images: pairs of one person cannot be made")
    wanted_genuine = min(genuine, max(most // 2, most - impostor))
    wanted_impostor = min(impostor, most - wanted_genuine)
    rng = np.random.default_rng(seed)
    own = _decoded(_drawn(genuine, wanted_genuine, rng), genuine_counts, places + 1)
    other = _decoded(_drawn(impostor, wanted_impostor, rng), impostor_counts, ends)
    first, second = (np.concatenate(halves) for halves in zip(own, other, strict=True))
    return Pairs(
        photos=tuple(ordered),
        first=first,
        second=second,
        same=numbers[first] == numbers[second],
        folds=None,
        about=f"{_share(wanted_genuine, genuine)} of one person and {_share(wanted_impostor, impostor)} of strangers"
        + ("" if wanted_genuine + wanted_impostor == genuine + impostor else f", drawn with seed {seed}"),
    )


def split_people(
    photos: Sequence[Photo], *, per_person: int = 1, strangers: float | None = None, seed: int = 0
) -> Split:
    """Enrol the first images of people, and probe with the others and with strangers.

    Args:
        photos: of a person in the order in which they are enrolled.
        per_person: how many images of each person are enrolled.
        strangers: the share of people, drawn at random, who are not enrolled, below 1; None for those who have no more
            images than would be enrolled, and would never be looked for.
        seed: of the draw.

    Raises:
        InvalidOption: nobody would be enrolled, or nobody looked for; or an argument is out of its range.
    """
    if per_person < 1:
        raise InvalidOption(f"per_person must be 1 or more, not {per_person}")
    if strangers is not None and not 0 <= strangers < 1:
        raise InvalidOption(f"strangers must be a share of the people, from 0 to less than 1, not {strangers!r}")
    ordered, ends, numbers = _by_person(photos)
    sizes = np.bincount(numbers)
    if strangers is None:
        unknown = sizes <= per_person
        how = f"people with no more than {counted(per_person, 'image')} are strangers"
    else:
        drawn = np.random.default_rng(seed).permutation(len(sizes))[: round(strangers * len(sizes))]
        unknown = np.isin(np.arange(len(sizes)), drawn)
        are = "is a stranger" if len(drawn) == 1 else "are strangers"
        how = f"{counted(len(drawn), 'person', 'people')}, drawn with seed {seed}, {are}"
    rank = np.arange(len(ordered)) - (ends - sizes[numbers])
    enrolled = ~unknown[numbers] & (rank < per_person)
    gallery, probes = np.flatnonzero(enrolled), np.flatnonzero(~enrolled)
    if not len(gallery):
        raise InvalidOption(
            f"nobody has more than {counted(per_person, 'image')}: who is enrolled must be there once more"
        )
    if not np.isin(numbers[probes], numbers[gallery]).any():
        raise InvalidOption("none of the people enrolled has another image to be looked for with")
    about = (
        f"{counted(per_person, 'image')} of each person enrolled, the first by name, and the others looked for; {how}"
    )
    return Split(tuple(ordered), gallery, probes, about)


def without(protocol: Pairs, missing: Sequence[bool], why: str) -> Pairs:
    """Return the pairs that do without the photos marked as missing."""
    gone = np.asarray(missing, np.bool_)
    kept = ~(gone[protocol.first] | gone[protocol.second])
    used = np.unique(np.concatenate([protocol.first[kept], protocol.second[kept]]))
    places = np.full(len(protocol.photos), -1)
    places[used] = np.arange(len(used))
    lines = tuple(f"{photo.file}: {why}" for photo, lost in zip(protocol.photos, gone, strict=True) if lost)
    return replace(
        protocol,
        photos=tuple(protocol.photos[place] for place in used),
        first=places[protocol.first[kept]],
        second=places[protocol.second[kept]],
        same=protocol.same[kept],
        folds=None if protocol.folds is None else protocol.folds[kept],
        left_out=(*protocol.left_out, *lines),
    )


def _by_person(photos: Sequence[Photo]) -> tuple[list[Photo], Indices, Indices]:
    """Return the photos with each person's together, where each photo's person ends, and the person's number."""
    names, numbers = people_of(photos)
    if len(names) < _FEWEST_PEOPLE:
        raise InvalidOption(f"pairs of strangers take two people or more, and {len(names)} is there")
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    ends = np.cumsum(np.bincount(numbers))[numbers]
    return [photos[place] for place in order], ends, numbers


def _drawn(total: int, count: int, rng: np.random.Generator) -> Indices:
    """Return so many different numbers below the total, sorted."""
    if count >= total:
        return np.arange(total)
    if total <= 4 * count:
        return np.sort(rng.permutation(total)[:count])
    drawn = np.unique(rng.integers(0, total, count))
    while len(drawn) < count:
        drawn = np.unique(np.concatenate([drawn, rng.integers(0, total, count - len(drawn))]))
    return drawn


def _decoded(numbers: Indices, counts: Indices, starts: Indices) -> tuple[Indices, Indices]:
    """Return the pairs with these numbers, each photo having ``counts`` partners, from the photo ``starts`` on."""
    ends = np.cumsum(counts)
    first = np.searchsorted(ends, numbers, side="right")
    return first, starts[first] + numbers - (ends - counts)[first]


def _share(count: int, total: int) -> str:
    return f"all {counted(total)}" if count == total else f"{count:,} of {counted(total)}"
