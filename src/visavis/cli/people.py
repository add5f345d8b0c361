"""From the paths of photos to the people they show."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from visavis.cli.files import STANDARD_INPUT, Source
from visavis.errors import InvalidOption

Naming: TypeAlias = Literal["auto", "folder", "file"]
"""What names a person: the folder below the one given, the file, or whichever fits."""

# A number at the end, or several: "ada_2", "ada-03", "Ada (2)", "ada 2024-05-01".
_NUMBER_AT_END = re.compile(r"[\s._()\-]*\d[\d\s._()\-]*$")
# What cameras, phones and programs call every picture.
_NOBODY = re.compile(
    r"(?i)img|dsc[nf]?|pxl|mvi|vid|gopr|p|image|photo|picture|pic|foto|bild|scan|capture|screen ?shot.*|whatsapp.*|"
    r"signal.*|download|untitled|unnamed|face|portrait|selfie"
)


@dataclass(frozen=True, slots=True)
class Portrait:
    """An image, and whom it shows.

    Attributes:
        source: the image.
        named_by: what named the person: "folder", "file" or "option".
        subject: the person's ID, or None where nothing names one.
        problem: why nothing does; empty where something does.
    """

    source: Source
    named_by: Literal["folder", "file", "option"]
    subject: str | None
    problem: str = ""


def name_people(sources: Sequence[Source], by: Naming) -> list[Portrait]:
    """Tell for each image whom it shows, from its path.

    By "folder", it is the first folder below the one given, or that one itself where it has no folders with images;
    by "file", it is the file's name without the number at its end. "auto" takes the folder where there are folders in
    the one given, and the file's name where there are none.
    """
    nested = {_root(source) for source in sources if len(source.relative.parts) > 1}
    return [_portrait(source, by, is_nested=_root(source) in nested) for source in sources]


def one_person(sources: Sequence[Source], subject: str) -> list[Portrait]:
    """Say that all images show the same person.

    Raises:
        InvalidOption: this is no ID of a subject.
    """
    from visavis.galleries.checks import check_subject_id  # noqa: PLC0415  # brings NumPy

    check_subject_id(subject)
    return [Portrait(source, "option", subject) for source in sources]


def describe_naming(portraits: Iterable[Portrait], *, shown: int = 3) -> list[str]:
    """Return a line for each way in which people were named: how many, and the first few."""
    lines = []
    for way in ("folder", "file"):
        counts: dict[str, int] = {}
        for portrait in portraits:
            if portrait.named_by == way and portrait.subject is not None:
                counts[portrait.subject] = counts.get(portrait.subject, 0) + 1
        if counts:
            first = [f"{subject} ({count_images(count)})" for subject, count in list(counts.items())[:shown]]
            rest = len(counts) - len(first)
            tail = f" and {rest} more" if rest else ""
            people = f"{len(counts)} {'person' if len(counts) == 1 else 'people'}"
            lines.append(f"{people}, named by {way}: {', '.join(first)}{tail}")
    return lines


def count_images(count: int) -> str:
    """Return a number of images in words."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def _root(source: Source) -> Path:
    """Return the folder given on the command line, or the one of the file given."""
    return Path(source.name).parents[len(source.relative.parts) - 1]


def _portrait(source: Source, by: Naming, *, is_nested: bool) -> Portrait:
    if source.name == STANDARD_INPUT:
        return Portrait(source, "file", None, "an image from standard input has no name: --subject says who it is")
    way: Literal["folder", "file"] = "folder" if by == "folder" or (by == "auto" and is_nested) else "file"
    try:
        subject = _folder_name(source, is_nested=is_nested) if way == "folder" else _file_name(source)
        return Portrait(source, way, _checked(subject))
    except InvalidOption as error:
        return Portrait(source, way, None, str(error))


def _folder_name(source: Source, *, is_nested: bool) -> str:
    if len(source.relative.parts) > 1:
        return source.relative.parts[0]
    if is_nested:
        raise InvalidOption("lies beside the people's folders and in none of them")
    return _root(source).absolute().name


def _file_name(source: Source) -> str:
    name = _NUMBER_AT_END.sub("", source.relative.stem)
    if not name.strip() or _NOBODY.fullmatch(name.strip()):
        raise InvalidOption("the file's name names nobody; --by folder takes its folder's, --subject says who it is")
    return name


def _checked(name: str) -> str:
    """Return a name as an ID; the same letters are the same, however the file system writes them."""
    from visavis.galleries.checks import check_subject_id  # noqa: PLC0415  # brings NumPy

    return check_subject_id(unicodedata.normalize("NFC", name).strip())
