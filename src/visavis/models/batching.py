"""Many images through one network: what is grouped, and what stands for an image that failed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from visavis.core.image import name_of
from visavis.errors import InvalidOption, NoFace, NotLive, VisavisError
from visavis.models.attributes import is_live
from visavis.models.finding import Found
from visavis.types import Face, ImageSource, UInt8Array

# How many chips, and at most how many images, are gathered before they are embedded together.
_BATCH = 16
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A face as an image shows it.

    Attributes:
        face: with its embedding and quality.
        chip: (S, S, 3) the aligned face that was embedded, S being the template's side.
    """

    face: Face
    chip: UInt8Array = field(repr=False)


def value_of(result: _Result | VisavisError) -> _Result:
    """Return a result, or raise the error in its place."""
    if isinstance(result, VisavisError):
        raise result
    return result


def faces_of(found: Found | VisavisError) -> tuple[Face, ...] | VisavisError:
    """Return the faces, or the error in their place."""
    return found if isinstance(found, VisavisError) else found.faces


def observed_of(found: Found | VisavisError) -> tuple[Observed, ...] | VisavisError:
    """Return the faces with their chips, or the error in their place."""
    return found if isinstance(found, VisavisError) else tuple(map(Observed, found.faces, found.chips))


def batches(found: Iterable[Found | VisavisError]) -> Iterator[list[Found | VisavisError]]:
    """Group results until they have enough chips, or are enough themselves."""
    batch: list[Found | VisavisError] = []
    chips = 0
    for item in found:
        batch.append(item)
        chips += len(item.chips) if isinstance(item, Found) else 0
        if max(chips, len(batch)) >= _BATCH:
            yield batch
            batch, chips = [], 0
    if batch:
        yield batch


def several(images: Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Refuse a single image, whose characters or bytes would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise InvalidOption(f"several images are wanted, as in [image, ...], not {name_of(images)}")
    return images


def insist(found: Found | VisavisError, place: str, image: ImageSource) -> Found | VisavisError:
    """Turn the absence of a face, or of life where that was looked at, into an error."""
    if isinstance(found, VisavisError):
        return found
    if not found.faces:
        return NoFace(f"{name_of(image)}: no face found in the {place} image")
    if not all(is_live(face.attributes) for face in found.faces):
        return NotLive(f"{name_of(image)}: the face in the {place} image looks like a print or a screen")
    return found
