"""Images among the paths of a command, and the people that they show, as their paths name them."""

import io
import logging
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import IO, Literal

from visavis.cli.lazy import formats, records
from visavis.cli.options import Naming
from visavis.cli.terminal import counted
from visavis.errors import InvalidOption
from visavis.files import IMAGE_SUFFIXES, is_hidden
from visavis.options import INDEX_NAME

STANDARD_INPUT = "-"
# Raw photos begin as a TIFF does, and as such hold a thumbnail.
_RAW = {
    *(".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".orf"),
    *(".pef", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw"),
}
_NOMEDIA = ".nomedia"  # in a folder that galleries of photos shall pass over
# A number at the end, or several: "ada_2", "ada-03", "Ada (2)", "ada 2024-05-01".
_NUMBER_AT_END = re.compile(r"[\s._()\-]*\d[\d\s._()\-]*$")
# What cameras, phones and programs call every picture.
_NOBODY = re.compile(
    r"(?i)img|dsc[nf]?|pxl|mvi|vid|gopr|p|image|photo|picture|pic|foto|bild|scan|capture|screen ?shot.*|whatsapp.*|"
    r"signal.*|download|untitled|unnamed|face|portrait|selfie"
)
_PART = re.compile("([0-9]{1,9})/([0-9]{1,9})")
_SHOWN = 3
_log = logging.getLogger("visavis.cli")


class NamedBytes(io.BytesIO):
    """The content of an image file, with its name; can be read more than once."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image to process."""

    name: str  # what results call it: the path as given, or as found below the folder given
    relative: Path  # its path below the folder given; its file name where it was given itself
    image: str | IO[bytes]
    is_named: bool = False  # whether it was given itself

    @property
    def root(self) -> Path:
        """The folder given on the command line, or the one of the file given."""
        return Path(self.name).parents[len(self.relative.parts) - 1]

    def read(self, count: int) -> bytes:
        """Return the content, or as many bytes of it."""
        if not isinstance(self.image, str):
            return self.image.read(count)
        with Path(self.image).open("rb") as file:
            return file.read(count)


def check_paths(paths: Sequence[str]) -> None:
    """Refuse what can only be a mistake: an empty path, or standard input twice."""
    if "" in paths:
        raise InvalidOption("a path is empty; the current folder is .")
    if paths.count(STANDARD_INPUT) > 1:
        raise InvalidOption(f"standard input ({STANDARD_INPUT}) holds one image, and can be named once")


def check_existence(paths: Sequence[str]) -> None:
    """Refuse what is not there before anything is done."""
    for path in paths:
        if path not in ("", STANDARD_INPUT) and not os.path.lexists(path):
            raise InvalidOption(f"{path}: there is no such file or folder")


def open_image(path: str, max_bytes: int) -> str | IO[bytes]:
    """Return the path, or what standard input holds, up to a byte more than allowed."""
    return NamedBytes(sys.stdin.buffer.read(max_bytes + 1), "<stdin>") if path == STANDARD_INPUT else path


def find_sources(
    paths: Sequence[str], max_bytes: int, *, all_: bool = False, except_in: Path | None = None
) -> list[ImageFile]:
    """Return the files named, and the images in the folders named: in order, those of a folder sorted.

    What of the folders is passed over is told. Of standard input, "-", a byte more than allowed is read.

    Args:
        paths: of files and folders. One that is hidden is meant where it is named; a system's own among others is
            named by "*".
        max_bytes: of standard input.
        all_: whether what is hidden is taken too.
        except_in: the folder that drawings go to, which is passed over where it lies in another.
    """
    check_paths(paths)
    sources: list[ImageFile] = []
    search = _Search(except_in, all_=all_)
    for path in paths:
        if path == STANDARD_INPUT:
            sources.append(ImageFile(path, Path("stdin"), open_image(path, max_bytes), is_named=True))
        elif Path(path).is_dir():
            found = search.images_in(Path(path), is_meant=len(paths) == 1 or Path(path).name.startswith("."))
            sources.extend(ImageFile(str(file), file.relative_to(path), str(file)) for file in found)
        else:
            sources.append(ImageFile(path, Path(Path(path).name), path, is_named=True))
    if told := search.passed_over():
        _log.info("%s", told)
    if not sources:
        raise InvalidOption(f"no image found in {', '.join(paths)}")
    return sources


def in_part(part: str | None) -> Callable[[ImageFile], bool]:
    """Return what tells whether an image is of a part, "2/8"; None is all.

    That follows from its path below the folder given alone, or from the path of a file as given: other images, their
    order and where the folder is mounted change nothing. The parts of many images are about equal.

    Raises:
        InvalidOption: there is no such part.
    """
    if part is None:
        return lambda _: True
    found = _PART.fullmatch(part)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise InvalidOption(f"--part {part}: K/N is wanted, such as 2/8, with K from 1 to N")

    def is_in(source: ImageFile) -> bool:
        path = Path(source.name) if source.is_named else source.relative
        name = unicodedata.normalize("NFC", path.as_posix()).encode(errors="surrogateescape")
        return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % count == number - 1

    return is_in


class _Search:
    """A search of folders for images; it notes what it passes over."""

    def __init__(self, except_in: Path | None, *, all_: bool) -> None:
        self._except_in, self._all = except_in, all_
        self._passed: dict[tuple[str, str], list[str]] = {}  # by what it is, and why

    def images_in(self, root: Path, *, is_meant: bool) -> Iterator[Path]:
        """Yield the images below a folder and what it links to, sorted; no folder is entered twice."""
        drawings = os.path.realpath(self._except_in) if self._except_in else None
        entered = {os.path.realpath(root), drawings}
        unreadable: list[OSError] = []

        def is_new(folder: Path) -> bool:
            real = os.path.realpath(folder)
            if self._passes(folder) or real == drawings:
                return False
            if real in entered:
                self._note("folder", "searched under another name", folder.name)
                return False
            entered.add(real)
            return True

        if not is_meant and self._passes(root):
            return
        for parent, folders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
            folders[:] = [name for name in sorted(folders) if is_new(Path(parent, name))]
            yield from (path for path in (Path(parent, name) for name in sorted(files)) if self._is_image(path))
        # Such a folder is handed on as if it were an image: to open it fails, with the reason.
        yield from (Path(error.filename) for error in unreadable)

    def passed_over(self) -> str:
        """Return a line on what was passed over, and why; empty where nothing was."""
        told = []
        for (kind, reason), names in self._passed.items():
            shown = sorted(set(names))
            more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
            told.append(f"{counted(len(names), kind)} {reason} ({', '.join(shown[:_SHOWN])}{more})")
        way = (
            "; --all takes what is hidden"
            if {"hidden or a thumbnail", "hidden or of a system"} & {why for _, why in self._passed}
            else ""
        )
        return f"passed over: {', '.join(told)}{way}" if told else ""

    def _passes(self, folder: Path) -> bool:
        passes = not self._all and (is_hidden(folder.name) or os.path.lexists(folder / _NOMEDIA))
        if passes:
            self._note("folder", "hidden or of a system", folder.name)
        return passes

    def _is_image(self, path: Path) -> bool:
        suffix = path.suffix.lower()
        if path.name.startswith(INDEX_NAME):
            return False
        if is_hidden(path.name) and not self._all:
            self._note("file", "hidden or a thumbnail", path.name)
            return False
        if suffix in IMAGE_SUFFIXES:
            # A link that leads nowhere counts and fails later, a pipe would block and does not count.
            return path.is_file() or not path.exists()
        reason = "of a raw photo" if suffix in _RAW else _why_no_image(path)
        if reason:
            self._note("file", reason, suffix or path.name)
        return not reason

    def _note(self, kind: str, reason: str, name: str) -> None:
        self._passed.setdefault((kind, reason), []).append(name)


def _why_no_image(path: Path) -> str:
    """Return why a file of no usual suffix is not an image, or nothing: its first bytes tell."""
    if not path.is_file():
        return "of no content"
    try:
        with path.open("rb") as file:
            return "" if formats.is_image(file.read(formats.HEAD_BYTES)) else "without an image"
    except OSError:
        return "that cannot be read"


@dataclass(frozen=True, slots=True)
class Portrait:
    """An image, and whom it shows."""

    source: ImageFile
    named_by: Literal["folder", "file", "option", "page"]
    subject: str | None  # an ID, or None where nothing names one
    problem: str = ""  # why nothing does
    box: Sequence[float] | None = None  # around the face that was named, of several


def name_people(sources: Sequence[ImageFile], by: Naming) -> list[Portrait]:
    """Tell for each image whom it shows, from its path.

    By "folder", it is the first folder below the one given, or that one itself where it has no folders with images;
    by "file", it is the file's name without the number at its end. "auto" takes the folder where there are folders in
    the one given, and the file's name where there are none.
    """
    nested = {source.root for source in sources if len(source.relative.parts) > 1}
    return [_portrait(source, by, is_nested=source.root in nested) for source in sources]


def one_person(sources: Sequence[ImageFile], subject: str) -> list[Portrait]:
    """Say that all images show the same person."""
    known = records.check_subject_id(subject)
    return [Portrait(source, "option", known) for source in sources]


def describe_naming(portraits: Sequence[Portrait], *, shown: int = 3) -> list[str]:
    """Return a line for each way in which people were named, with the first few, and for names that look alike."""
    lines = []
    for way in ("folder", "file", "page"):
        counts = Counter(each.subject for each in portraits if each.named_by == way and each.subject is not None)
        if counts:
            first = [f"{subject} ({counted(count, 'image')})" for subject, count in list(counts.items())[:shown]]
            tail = f" and {len(counts) - shown} more" if len(counts) > shown else ""
            people = f"{len(counts)} {'person' if len(counts) == 1 else 'people'}"
            lines.append(f"{people}, named by {way}: {', '.join(first)}{tail}")
    groups = records.alike(each.subject for each in portraits if each.subject is not None)
    return lines + [f"these look alike, and are people of their own: {', '.join(map(repr, ids))}" for ids in groups]


def _portrait(source: ImageFile, by: Naming, *, is_nested: bool) -> Portrait:
    if source.name == STANDARD_INPUT:
        return Portrait(source, "file", None, "an image from standard input has no name: --subject says who it is")
    way: Literal["folder", "file"] = "folder" if by == "folder" or (by == "auto" and is_nested) else "file"
    try:
        name = _folder_name(source, is_nested=is_nested) if way == "folder" else _file_name(source.relative.stem)
        return Portrait(source, way, records.check_subject_id(name.strip()))
    except InvalidOption as error:
        return Portrait(source, way, None, str(error))


def _folder_name(source: ImageFile, *, is_nested: bool) -> str:
    if len(source.relative.parts) > 1:
        return source.relative.parts[0]
    if is_nested:
        raise InvalidOption("lies beside the people's folders and in none of them")
    return source.root.absolute().name


def _file_name(stem: str) -> str:
    while PurePath(stem).suffix.lower() in IMAGE_SUFFIXES:  # of a copy: "ada.jpg.orig"
        stem = PurePath(stem).stem
    name = _NUMBER_AT_END.sub("", stem)
    if not name.strip() or _NOBODY.fullmatch(name.strip()):
        raise InvalidOption("the file's name names nobody; --by folder takes its folder's, --subject says who it is")
    return name
