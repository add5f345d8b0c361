"""What is to be enrolled, and how much of it together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from visavis.errors import InvalidOption, VisavisError
from visavis.galleries.records import NO_DETAILS, Details
from visavis.types import FloatArray, ImageSource, Quality

EnrolFaces: TypeAlias = Literal["only", "largest"]
"""Which face of an image is enrolled: the only one, several being an error; or the largest."""

IMAGES_AT_ONCE = 16
_EMBEDDINGS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolment:
    """A face to be enrolled, as an image or as an embedding.

    Attributes:
        subject: whose it is: an ID, made if there is none of it yet; None for a new one with an ID made up.
        image: that shows the face; or
        embedding: (D,) of it.
        details: of the subject.
        quality: of the face, where an embedding is given.
        source: a label of where it comes from.
        key: an idempotency key: the same key for the same subject enrols once. It lives as long as its sample.
        picture: an encoded image to be stored, where an embedding is given.
    """

    subject: str | None = None
    image: "ImageSource | None" = field(default=None, repr=False)
    embedding: FloatArray | None = field(default=None, repr=False)
    details: Details = NO_DETAILS
    quality: Quality | None = None
    source: str | None = None
    key: str | None = None
    picture: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.image is None) == (self.embedding is None):
            raise InvalidOption("an enrolment needs an image or an embedding, and not both")


def batches(enrolments: Iterable[Enrolment | VisavisError]) -> Iterator[list[Enrolment | VisavisError]]:
    """Group enrolments into what is looked at, and stored, together."""
    batch: list[Enrolment | VisavisError] = []
    images = 0
    for each in enrolments:
        if not isinstance(each, Enrolment | VisavisError):
            raise InvalidOption(f"enrolments are wanted, or errors in their places, not {type(each).__name__}")
        batch.append(each)
        images += isinstance(each, Enrolment) and each.image is not None
        if images >= IMAGES_AT_ONCE or len(batch) >= _EMBEDDINGS_AT_ONCE:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch
