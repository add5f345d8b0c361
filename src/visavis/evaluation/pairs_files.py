"""Files of pairs: in the form of Labeled Faces in the Wild, or as CSV."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from visavis.errors import InvalidOption
from visavis.evaluation.protocols import Pairs, Photo

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
