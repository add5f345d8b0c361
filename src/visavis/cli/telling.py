"""What is told of each face besides where it is: its embedding, its quality and its attributes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from visavis import Face
    from visavis.types import Attribute

_Cell: TypeAlias = "float | str | None"
_Column: TypeAlias = "Callable[[Face], _Cell]"

_NUMBERS_SHOWN = 4
_QUALITY = ("face_px", "sharpness", "yaw", "pitch")  # the score is told of every face
_COLUMNS_OF_ATTRIBUTE = {
    "liveness": {"liveness": "liveness"},
    "pose": {"yaw": "pose.yaw", "pitch": "pose.pitch", "roll": "pose.roll"},
    "age": {"age": "age"},
    "gender": {"gender": "gender.label", "gender_probability": "gender.probability"},
}


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked of each face.

    Attributes:
        dimension: of its embedding; 0 where that is not wanted.
        quality: whether its quality is.
        attributes: which of its attributes are.
    """

    dimension: int = 0
    quality: bool = False
    attributes: "tuple[Attribute, ...]" = ()

    def columns(self) -> Mapping[str, _Column]:
        """Return what fills each further column of a table; the embedding is not among them."""
        paths = {f"quality_{name}": f"quality.{name}" for name in _QUALITY} if self.quality else {}
        for attribute in self.attributes:
            paths |= {name: f"attributes.{path}" for name, path in _COLUMNS_OF_ATTRIBUTE[attribute].items()}
        return {name: _reader(path) for name, path in paths.items()}


def attributes_of(text: str) -> "tuple[Attribute, ...]":
    """Return the attributes that a list with commas names; the library checks them."""
    return cast("tuple[Attribute, ...]", tuple(name.strip() for name in text.split(",") if name.strip()))


def told(face: "Face") -> Iterator[str]:
    """Yield what was told of a face, in words."""
    if face.quality is not None:
        yield f"size {face.quality.face_px:.0f}"
        yield f"sharpness {face.quality.sharpness:.2f}"
        # Not to be confused with the yaw and pitch of a network, which the attribute pose tells.
        turns = (("sideways", face.quality.yaw), ("down", face.quality.pitch))
        turned = " ".join(f"{way} {angle:.0f}" for way, angle in turns if angle is not None)
        if turned:
            yield f"turned {turned}"
    if face.attributes is not None:
        yield from _told_attributes(face.attributes.to_dict())
    if face.embedding is not None:
        numbers = " ".join(f"{number:.3f}" for number in face.embedding[:_NUMBERS_SHOWN])
        yield f"embedding {numbers} ..."


def _told_attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    if "liveness" in attributes:
        yield f"liveness {attributes['liveness']:.2f}"
    if "pose" in attributes:
        yield "  ".join(f"{axis} {angle:.0f}" for axis, angle in attributes["pose"].items())
    if "age" in attributes:
        yield f"age {attributes['age']:.0f}"
    if "gender" in attributes:
        yield f"{attributes['gender']['label']} {attributes['gender']['probability']:.2f}"


def _reader(path: str) -> _Column:
    def read(face: "Face") -> _Cell:
        value: Any = face
        for name in path.split("."):
            value = getattr(value, name, None)
        return cast("_Cell", value)

    return read
