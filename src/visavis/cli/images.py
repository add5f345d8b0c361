"""Images among the paths of a command, and the people that they show, as their paths name them."""

import io
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from visavis.cli.lazy import records
from visavis.cli.options import Naming
from visavis.cli.terminal import counted
from visavis.errors import InvalidOption

STANDARD_INPUT = "-"
_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpf", ".jpx"),
}
# A number at the end, or several: "ada_2", "ada-03", "Ada (2)", "ada 2024-05-01".
_NUMBER_AT_END = re.compile(r"[\s._()\-]*\d[\d\s._()\-]*$")
# What cameras, phones and programs call every picture.
_NOBODY = re.compile(
    r"(?i)img|dsc[nf]?|pxl|mvi|vid|gopr|p|image|photo|picture|pic|foto|bild|scan|capture|screen ?shot.*|whatsapp.*|"
    r"signal.*|download|untitled|unnamed|face|portrait|selfie"
)


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


def find_sources(paths: Sequence[str], max_bytes: int, *, except_in: Path | None = None) -> list[ImageFile]:
    """Return the files named, and the images in the folders named: in order, those of a folder sorted.

    Of standard input, "-", a byte more than allowed is read. The folder that drawings go to, ``except_in``, is passed
    over where it lies in another.
    """
    check_paths(paths)
    sources: list[ImageFile] = []
    for path in paths:
        if path == STANDARD_INPUT:
            sources.append(ImageFile(path, Path("stdin"), open_image(path, max_bytes)))
        elif Path(path).is_dir():
            found = _walk(Path(path), except_in)
            sources.extend(ImageFile(str(file), file.relative_to(path), str(file)) for file in found)
        else:
            sources.append(ImageFile(path, Path(Path(path).name), path))
    if not sources:
        raise InvalidOption(f"no image found in {', '.join(paths)}; files with other suffixes can be named one by one")
    return sources


def _walk(root: Path, except_in: Path | None) -> Iterator[Path]:
    """Yield the images below a folder; what is hidden is passed over, and no folder is entered twice."""
    entered = {os.path.realpath(folder) for folder in (root, except_in) if folder is not None}
    unreadable: list[OSError] = []

    def is_new(folder: Path) -> bool:
        known = len(entered)
        entered.add(os.path.realpath(folder))
        return not folder.name.startswith(".") and len(entered) > known

    for parent, folders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        folders[:] = [name for name in sorted(folders) if is_new(Path(parent, name))]
        for path in (Path(parent, name) for name in sorted(files)):
            # A link that leads nowhere counts and fails later, a pipe would block and does not count.
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
                yield from [path] if path.is_file() or not path.exists() else []
    # Such a folder is handed on as if it were an image: to open it fails, with the reason.
    yield from (Path(error.filename) for error in unreadable)


@dataclass(frozen=True, slots=True)
class Portrait:
    """An image, and whom it shows."""

    source: ImageFile
    named_by: Literal["folder", "file", "option"]
    subject: str | None  # an ID, or None where nothing names one
    problem: str = ""  # why nothing does


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
    records.check_subject_id(subject)
    return [Portrait(source, "option", subject) for source in sources]


def describe_naming(portraits: Iterable[Portrait], *, shown: int = 3) -> list[str]:
    """Return a line for each way in which people were named: how many, and the first few."""
    lines = []
    for way in ("folder", "file"):
        counts = Counter(each.subject for each in portraits if each.named_by == way and each.subject is not None)
        if counts:
            first = [f"{subject} ({counted(count, 'image')})" for subject, count in list(counts.items())[:shown]]
            tail = f" and {len(counts) - shown} more" if len(counts) > shown else ""
            people = f"{len(counts)} {'person' if len(counts) == 1 else 'people'}"
            lines.append(f"{people}, named by {way}: {', '.join(first)}{tail}")
    return lines


def _portrait(source: ImageFile, by: Naming, *, is_nested: bool) -> Portrait:
    if source.name == STANDARD_INPUT:
        return Portrait(source, "file", None, "an image from standard input has no name: --subject says who it is")
    way: Literal["folder", "file"] = "folder" if by == "folder" or (by == "auto" and is_nested) else "file"
    try:
        name = _folder_name(source, is_nested=is_nested) if way == "folder" else _file_name(source.relative.stem)
        # The same letters are the same, however the file system writes them.
        return Portrait(source, way, records.check_subject_id(unicodedata.normalize("NFC", name).strip()))
    except InvalidOption as error:
        return Portrait(source, way, None, str(error))


def _folder_name(source: ImageFile, *, is_nested: bool) -> str:
    if len(source.relative.parts) > 1:
        return source.relative.parts[0]
    if is_nested:
        raise InvalidOption("lies beside the people's folders and in none of them")
    return source.root.absolute().name


def _file_name(stem: str) -> str:
    name = _NUMBER_AT_END.sub("", stem)
    if not name.strip() or _NOBODY.fullmatch(name.strip()):
        raise InvalidOption("the file's name names nobody; --by folder takes its folder's, --subject says who it is")
    return name
