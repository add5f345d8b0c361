"""Protocols: pairs of images (1:1) or probes and a gallery (1:N), from folders of people and files of pairs."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import InvalidOption
from visavis.files import IMAGE_SUFFIXES, from_cell

Indices = NDArray[np.int64]

FOLDERS = Path("folders")
"""In place of a file of groups: each folder is a group, and in it a folder is a person, or a photo is one."""
MOST_PAIRS = 1_000_000
"""More pairs than these are sampled, unless another number is asked for."""
_MOST_GROUPS = 100  # more are taken for a mistake: a column of names, perhaps
_MOST_BYTES = 100_000_000  # of a file of pairs; a larger one is taken for a mistake
_COLUMNS = ("file_a", "file_b", "same")  # of the CSV form; a further one, "fold", is optional
_CELLS = 2  # of a file of groups
_GROUP_HEADERS = (["person", "group"], ["file", "group"])
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_SUFFIXES = (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES))
_DIGITS = 9  # of a number: no protocol has a billion images
_SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True, slots=True)
class Photo:
    """An image: its name in results, the path that it is read from, and the person that it shows."""

    file: str
    path: str
    person: str


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of images (N,), of one person and of strangers."""

    photos: tuple[Photo, ...]  # each once
    places: Indices  # (N, 2) the images of each pair, by their place in ``photos``
    same: NDArray[np.bool_]  # (N,) whether they show the same person
    folds: Indices | None  # (N,) the number of each pair's fold, or None
    about: str  # in words, how the pairs were chosen
    left_out: tuple[str, ...] = ()  # what the protocol names and was not measured, and why; a line each


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A gallery of people (G,), and probes (P,) of these people and of strangers, by their place in ``photos``."""

    photos: tuple[Photo, ...]
    gallery: Indices
    probes: Indices
    about: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Groups of people, such as age or origin; of each photo (n,) its place in the names, -1 for none."""

    names: tuple[str, ...]
    of_photos: Indices
    unknown: tuple[str, ...] = ()  # people and files that no photo shows


def counted(count: int, noun: str = "pair", plural: str | None = None) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def people_of(photos: Sequence[Photo]) -> tuple[tuple[str, ...], Indices]:
    """Return the people, in the order of their first photos, and the number of each photo's person (n,)."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(photo.person, len(places)) for photo in photos]
    return tuple(places), np.array(numbers, np.int64)


def read_groups(path: Path, photos: Sequence[Photo]) -> Grouping:
    """Read a CSV file of two columns, a person or a file and its group; a header is optional.

    With the path ``FOLDERS`` there is none, and the first folder of each photo is its group.

    Raises:
        InvalidOption: it cannot be read, a line means nothing or contradicts another, or none fits a photo.
    """
    if path == FOLDERS:
        return _grouped(path, {photo.file: photo.file.partition("/")[0] for photo in photos}, photos)
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                cleaned = [from_cell(cell.strip()) for cell in cells]
                if not any(cleaned) or (reader.line_num == 1 and [c.lower() for c in cleaned] in _GROUP_HEADERS):
                    continue
                line = f"{path}, line {reader.line_num}"
                if len(cleaned) != _CELLS or not all(cleaned):
                    raise InvalidOption(f"{line}: a person or file, and a group, are wanted")
                if groups.setdefault(*cleaned) != cleaned[1]:
                    raise InvalidOption(f"{line}: {cleaned[0][:_SHOWN]!r} is in a group already")
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path}: no CSV in UTF-8: {error}") from error
    return _grouped(path, groups, photos)


def _grouped(path: Path, groups: Mapping[str, str], photos: Sequence[Photo]) -> Grouping:
    own = [groups.get(photo.file, groups.get(photo.person, "")) for photo in photos]
    names = sorted({*own} - {""})
    if not names:
        raise InvalidOption(f"{path}: names none of the people or files that are measured")
    if len(names) > _MOST_GROUPS:
        raise InvalidOption(f"{path}: {len(names)} groups are more than the {_MOST_GROUPS} that are told apart")
    places = {"": -1, **{name: place for place, name in enumerate(names)}}
    known = {name for photo in photos for name in (photo.file, photo.person)}
    of_photos = np.array([places[name] for name in own], np.int64)
    return Grouping(tuple(names), of_photos, tuple(name for name in groups if name not in known))


def person_in_group(file: str) -> str:
    """Return whom a file shows in a folder of groups: a person in a group's folder, or somebody seen once."""
    group, _, inside = file.partition("/")
    return f"{group}/{inside.partition('/')[0]}"


def within_groups(pairs: Pairs, grouping: Grouping) -> Pairs:
    """Return the pairs of one person, and those of strangers who are of one group."""
    first, second = grouping.of_photos[pairs.places].T
    kept = pairs.same | ((first == second) & (first >= 0))
    folds = None if pairs.folds is None else pairs.folds[kept]
    about = f"{pairs.about}; of the strangers, those of one of {counted(len(grouping.names), 'group')}"
    return replace(pairs, places=pairs.places[kept], same=pairs.same[kept], folds=folds, about=about)


Complain: TypeAlias = Callable[[int, str], InvalidOption]  # makes the error about a line, by its number


class PairLine(NamedTuple):
    """A line of a file of pairs: its images, below their folder, and their people; "" and -1 for what it lacks."""

    number: int
    files: tuple[str, str]
    people: tuple[str, str]
    same: bool
    fold: int


def read_pairs_file(path: Path, images: Path) -> Pairs:
    """Read the pairs of a file; its images need not exist below their folder.

    The form of LFW: a first line ``folds <tab> pairs`` or none, then ``name <tab> n1 <tab> n2`` for images of one
    person, ``name1 <tab> n1 <tab> name2 <tab> n2`` for strangers; the third image of Ada is ``Ada/Ada_0003.jpg``.
    CSV has the header ``file_a,file_b,same``; there, images that are "the same" as a third one are one person.

    Raises:
        InvalidOption: it cannot be read, a line means nothing or contradicts another, or there is no pair.
    """

    def complain(number: int, what: str) -> InvalidOption:
        return InvalidOption(f"{path}, line {number}: {what}")

    texts = _texts(path)
    is_csv = path.suffix.lower() == ".csv" or "," in texts[0]
    lines = list(_csv_lines(texts, complain) if is_csv else _lfw_lines(texts, images, complain))
    if not lines:
        raise InvalidOption(f"{path}: no pair in it")
    filed = {file: person for line in lines for file, person in zip(line.files, line.people, strict=True)}
    people = _joined(lines, complain) if is_csv else filed
    places = {file: place for place, file in enumerate(people)}
    repeated = _check(lines, complain)
    folds = np.array([line.fold for line in lines], np.int64)
    return Pairs(
        photos=tuple(Photo(file, str(images / file), person) for file, person in people.items()),
        places=np.array([[places[file] for file in line.files] for line in lines], np.int64),
        same=np.array([line.same for line in lines], np.bool_),
        folds=folds if folds.min() >= 0 and len(np.unique(folds)) > 1 else None,
        about=f"the pairs of {path.name}" + (f", {repeated} of them more than once" if repeated else ""),
    )


def _texts(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise InvalidOption(f"{path}: more than {_MOST_BYTES:,} bytes are no file of pairs")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content:
        raise InvalidOption(f"{path}: empty")
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise InvalidOption(f"{path}, line {number}: not UTF-8 text; this seems to be no file of pairs") from error


def _csv_lines(texts: Sequence[str], complain: Complain) -> Iterator[PairLine]:
    reader = csv.reader(texts)
    try:
        header = [column.strip() for column in next(reader)]
        if missing := [column for column in _COLUMNS if column not in header]:
            raise complain(1, f"the header lacks {', '.join(missing)}; it is {','.join(_COLUMNS)}")
        for cells in reader:
            number = reader.line_num
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise complain(number, f"{len(cells)} cells where the header has {len(header)}")
            row = dict(zip(header, (from_cell(cell.strip()) for cell in cells), strict=True))
            if row["same"].lower() not in _YES:
                raise complain(number, f"same is 1 or 0, not {row['same'][:_SHOWN]!r}")
            if not (row["file_a"] and row["file_b"]):
                raise complain(number, "a file's name is empty")
            fold = _number(row["fold"], number, complain) if "fold" in row else -1
            files = (PurePosixPath(row["file_a"]).as_posix(), PurePosixPath(row["file_b"]).as_posix())
            yield PairLine(number, files, ("", ""), _YES[row["same"].lower()], fold)
    except csv.Error as error:
        raise complain(reader.line_num, f"no CSV: {error}") from error


def _lfw_lines(texts: Sequence[str], images: Path, complain: Complain) -> Iterator[PairLine]:
    header = texts[0].split()
    has_header = len(header) in (1, 2) and all(map(_is_number, header))
    folds, each = (int(header[0]) if len(header) > 1 else 1, int(header[-1])) if has_header else (1, 0)
    pairs = [(number, text) for number, text in enumerate(texts[has_header:], 1 + has_header) if text.strip()]

    def file_of(name: str, number: int) -> str:
        stem = f"{name}/{name}_{number:04d}"
        files = (stem + suffix for suffix in _SUFFIXES)
        return next((file for file in files if "\0" not in file and (images / file).exists()), stem + _SUFFIXES[0])

    for place, (number, text) in enumerate(pairs):
        cells = text.split("\t") if "\t" in text else text.split()
        if len(cells) not in (3, 4):
            raise complain(number, f"3 or 4 fields are a pair, not {len(cells)}: {text[:_SHOWN]!r}")
        people = (cells[0], cells[2] if cells[3:] else cells[0])  # of strangers, both are named
        numbers = (_number(cells[1], number, complain), _number(cells[-1], number, complain))
        files = (file_of(people[0], numbers[0]), file_of(people[1], numbers[1]))
        yield PairLine(number, files, people, people[0] == people[1], place // (2 * each) if each else 0)
    if has_header and len(pairs) != 2 * folds * each:
        raise complain(1, f"{folds} x 2 x {each} = {2 * folds * each} pairs are announced, and {len(pairs)} follow")


def _number(text: str, number: int, complain: Complain) -> int:
    if not _is_number(text.strip()):
        raise complain(number, f"a number is wanted, not {text[:_SHOWN]!r}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS


def _check(lines: Sequence[PairLine], complain: Complain) -> int:
    """Refuse names that lead out of the images' folder, and contradictions; return how many pairs occur once more."""
    known: dict[frozenset[str], PairLine] = {}
    for line in lines:
        for file in line.files:
            paths = (PurePosixPath(file), Path(file))  # the second is what will be opened, with backslashes on Windows
            if "\0" in file or any(path.anchor or ".." in path.parts for path in paths):
                raise complain(line.number, f"{file[:_SHOWN]!r} leads out of the folder of images")
        if line.files[0] == line.files[1]:
            raise complain(line.number, f"{line.files[0][:_SHOWN]!r} is paired with itself")
        earlier = known.setdefault(frozenset(line.files), line)
        if earlier.same != line.same:
            raise complain(line.number, f"contradicts line {earlier.number}")
    return len(lines) - len(known)


def _joined(lines: Sequence[PairLine], complain: Complain) -> dict[str, str]:
    """Return each file's person: those that are the same as a third one are one, called by its first file."""
    parents = {file: file for line in lines for file in line.files}

    def root(file: str) -> str:
        while parents[file] != file:
            parents[file] = parents[parents[file]]
            file = parents[file]
        return file

    for line in lines:
        if line.same:
            parents[root(line.files[1])] = root(line.files[0])
    for line in lines:
        if not line.same and root(line.files[0]) == root(line.files[1]):
            raise complain(line.number, "strangers here, and the same person by way of other lines")
    return {file: root(file) for file in parents}


def pair_people(
    photos: Sequence[Photo], *, most: int = MOST_PAIRS, seed: int = 0, strangers_suffice: bool = False
) -> Pairs:
    """Return all pairs of photos; where there are more than ``most``, some drawn at random.

    Of pairs of one person as many are drawn as are there, but no more than half of all; strangers fill the rest.

    Raises:
        InvalidOption: there are no pairs of strangers, or none of one person, unless strangers suffice.
    """
    ordered, ends, numbers = _by_person(photos)
    places = np.arange(len(ordered))
    # The partners of a photo that come after it: of its own person up to the person's end, and of strangers from there.
    genuine_counts, impostor_counts = ends - places - 1, len(ordered) - ends
    genuine, impostor = int(genuine_counts.sum()), int(impostor_counts.sum())
    if not genuine and not strangers_suffice:
        raise InvalidOption("nobody is there with two images: pairs of one person cannot be made")
    wanted_genuine = min(genuine, max(most // 2, most - impostor))
    wanted_impostor = min(impostor, most - wanted_genuine)
    rng = np.random.default_rng(seed)
    own = _decoded(_drawn(genuine, wanted_genuine, rng), genuine_counts, places + 1)
    both = np.concatenate([own, _decoded(_drawn(impostor, wanted_impostor, rng), impostor_counts, ends)])
    shares = [
        f"all {counted(total)}" if count == total else f"{count:,} of {counted(total)}"
        for count, total in ((wanted_genuine, genuine), (wanted_impostor, impostor))
    ]
    drawn = "" if len(both) == genuine + impostor else f", drawn with seed {seed}"
    about = f"{shares[0]} of one person and {shares[1]} of strangers{drawn}"
    return Pairs(tuple(ordered), both, numbers[both[:, 0]] == numbers[both[:, 1]], None, about)


def split_people(
    photos: Sequence[Photo], *, per_person: int = 1, strangers: float | None = None, seed: int = 0
) -> Split:
    """Enrol the first images of people, and probe with the others and with strangers.

    Args:
        photos: of a person in the order in which they are enrolled.
        per_person: images enrolled of each person, 1 or more.
        strangers: the share of people, drawn, who are not enrolled, from 0 to below 1; None for those with no others.
        seed: of the draw.

    Raises:
        InvalidOption: nobody would be enrolled, or nobody searched for; or an argument is out of its range.
    """
    if per_person < 1:
        raise InvalidOption(f"per_person must be 1 or more, not {per_person}")
    if strangers is not None and not 0 <= strangers < 1:
        raise InvalidOption(f"strangers must be a share of the people, from 0 to less than 1, not {strangers!r}")
    ordered, ends, numbers = _by_person(photos)
    sizes, images = np.bincount(numbers), counted(per_person, "image")
    if strangers is None:
        unknown = sizes <= per_person
        how = f"people with no more than {images} are strangers"
    else:
        drawn = np.random.default_rng(seed).permutation(len(sizes))[: round(strangers * len(sizes))]
        unknown = np.isin(np.arange(len(sizes)), drawn)
        are = "is a stranger" if len(drawn) == 1 else "are strangers"
        how = f"{counted(len(drawn), 'person', 'people')}, drawn with seed {seed}, {are}"
    rank = np.arange(len(ordered)) - (ends - sizes[numbers])
    enrolled = ~unknown[numbers] & (rank < per_person)
    gallery, probes = np.flatnonzero(enrolled), np.flatnonzero(~enrolled)
    if not len(gallery):
        raise InvalidOption(f"nobody has more than {images}: who is enrolled must be there once more")
    if not np.isin(numbers[probes], numbers[gallery]).any():
        raise InvalidOption("none of the people enrolled has another image to be looked for with")
    about = f"{images} of each person enrolled, the first by name, and the others looked for; {how}"
    return Split(tuple(ordered), gallery, probes, about)


def without(protocol: Pairs, missing: Sequence[bool], why: str) -> Pairs:
    """Return the pairs that do without the photos marked as missing."""
    gone = np.asarray(missing, np.bool_)
    kept = ~gone[protocol.places].any(axis=1)
    used = np.unique(protocol.places[kept])
    places = np.full(len(protocol.photos), -1)
    places[used] = np.arange(len(used))
    lines = tuple(f"{photo.file}: {why}" for photo, lost in zip(protocol.photos, gone, strict=True) if lost)
    return replace(
        protocol,
        photos=tuple(protocol.photos[place] for place in used),
        places=places[protocol.places[kept]],
        same=protocol.same[kept],
        folds=None if protocol.folds is None else protocol.folds[kept],
        left_out=(*protocol.left_out, *lines),
    )


def _by_person(photos: Sequence[Photo]) -> tuple[list[Photo], Indices, Indices]:
    """Return the photos with each person's together, where each photo's person ends, and the person's number."""
    names, numbers = people_of(photos)
    if len(names) <= 1:
        raise InvalidOption(f"pairs of strangers take two people or more, and {len(names)} is there")
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    return [photos[place] for place in order], np.cumsum(np.bincount(numbers))[numbers], numbers


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


def _decoded(numbers: Indices, counts: Indices, starts: Indices) -> Indices:
    ends = np.cumsum(counts)
    first = np.searchsorted(ends, numbers, side="right")
    return np.stack([first, starts[first] + numbers - (ends - counts)[first]], axis=1)
