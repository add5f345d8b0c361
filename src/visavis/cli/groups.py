"""Faces in groups, as text or JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from visavis.cli.messages import printable
from visavis.cli.tally import counted
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis import Face


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A face on an image.

    Attributes:
        file: the image, as results call it.
        label: no more of its path than was searched.
        face: with its embedding and quality.
        left_out: the code of what it lacks to be told apart from others, or None.
        thumbnail: a JPEG of it, or empty where none is wanted.
    """

    file: str
    label: str
    face: "Face" = field(repr=False)
    left_out: str | None = None
    thumbnail: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """What became of all images.

    Attributes:
        people: the faces of each group, the largest group first.
        ungrouped: the faces that are in no group.
        left_out: those that nothing can be told of.
        failed: the images that could not be looked at, with the reason.
    """

    people: Sequence[Sequence[Sighting]]
    ungrouped: Sequence[Sighting]
    left_out: Sequence[Sighting]
    failed: Sequence[tuple[str, VisavisError]]


def write_text(groups: Groups, stream: TextIO) -> None:
    """Write a line for each group and an indented one for each of its faces."""
    sections = [(f"group {number}", faces) for number, faces in enumerate(groups.people, 1)]
    sections += [("ungrouped", groups.ungrouped), ("left out", groups.left_out)]
    for title, faces in sections:
        if faces:
            stream.write(f"{title}: {counted(len(faces), 'face')}\n")
            stream.writelines(f"  {_face_line(face)}\n" for face in faces)
    stream.writelines(f"{printable(file)}: failed, {error.code}\n" for file, error in groups.failed)


def write_json_lines(groups: Groups, stream: TextIO) -> None:
    """Write JSON Lines: an object for each face, and one for each image that failed."""
    stream.writelines(json.dumps(line) + "\n" for line in _lines(groups))


def _lines(groups: Groups) -> Iterator[dict[str, Any]]:
    for number, faces in enumerate(groups.people, 1):
        yield from (_plain(face, number) for face in faces)
    yield from (_plain(face, None) for face in (*groups.ungrouped, *groups.left_out))
    for file, error in groups.failed:
        yield {"file": file, "error": {"code": error.code, "message": str(error)}}


def _plain(sighting: Sighting, group: int | None) -> dict[str, Any]:
    face = sighting.face.to_dict()
    about = {name: face[name] for name in ("box_xyxy", "score", "quality")}
    return {"group": group, "left_out": sighting.left_out, "file": sighting.file, **about}


def _face_line(sighting: Sighting) -> str:
    box = " ".join(f"{edge:.0f}" for edge in sighting.face.box_xyxy)
    return f"{printable(sighting.file)}  box {box}" + (f"  {sighting.left_out}" if sighting.left_out else "")
