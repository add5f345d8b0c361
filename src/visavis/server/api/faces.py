"""Routes of faces: detect, embed, verify, compare."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, TypeVar

from fastapi import APIRouter

from visavis.core import image
from visavis.errors import InvalidOption, ModelMissing, SpaceMismatch, VisavisError
from visavis.models.recognizer import value_of
from visavis.options import Compare, Describe
from visavis.record import WITHOUT_EMBEDDING, Record
from visavis.server.auth import guards
from visavis.server.openapi import about
from visavis.server.pool import Answer, InUse, in_quick_worker, in_worker
from visavis.server.problems import Failed, failed, from_library
from visavis.server.reading import loaded
from visavis.server.requests import CompareRequest, ImagesRequest, PreviewRequest, VerifyRequest
from visavis.types import Comparison, Face, Faces, FloatArray, Shape, Verification

_Faces = TypeVar("_Faces", "Detected", "Embedded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected(Record):
    """The faces of one image, largest first; none is an empty list."""

    faces: tuple[Face, ...] = field(metadata=WITHOUT_EMBEDDING)
    """Without their embeddings."""
    searched_from_px: float
    """The smallest size of a face, in pixels, that was looked for: more than ``min_face`` asks for where the image is
    too large for that.
    """


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFace(Face):
    """One face found in an image, with its embedding."""

    embedding: Annotated[FloatArray, Shape((0,))]
    """(D,) vector in the pack's embedding space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded(Record):
    """The faces of one image, largest first, with embeddings; none is an empty list."""

    faces: tuple[EmbeddedFace, ...]
    """With their embeddings."""
    searched_from_px: float
    """As in ``Detected``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectResponse(Record):
    """A result for each image, in order."""

    pack: str
    """Its name."""
    results: tuple[Detected | Failed, ...]
    """In the order of the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResponse(Record):
    """A result for each image, in order."""

    pack: str
    """Its name."""
    dimension: int
    """Of an embedding."""
    metric: str
    """How embeddings are compared."""
    results: tuple[Embedded | Failed, ...]
    """In the order of the images."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VerifyResponse(Verification):
    """Whether two images show the same person."""

    pack: str
    """Its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareResponse(Record):
    """A result for each pair, in order."""

    pack: str
    """Its name."""
    results: tuple[Comparison | Failed, ...]
    """In the order of the pairs."""


router = APIRouter(tags=["faces"], dependencies=guards("read"))


@router.post("/v1/detect", **about((), "unsupported_pack"))
@in_worker
def detect(recognizer: InUse, wanted: ImagesRequest) -> Answer[DetectResponse]:
    """Find the faces of one or more images. An image that cannot be used has an error in place of faces."""
    results, counts = _found(recognizer.detect_many, wanted, Detected)
    return Answer(DetectResponse(pack=recognizer.pack.name, results=results), counts)


@router.post("/v1/embed", **about((), "unsupported_pack"))
@in_worker
def embed(recognizer: InUse, wanted: ImagesRequest) -> Answer[EmbedResponse]:
    """Find the faces of one or more images, and turn each into an embedding to compare or keep."""
    results, counts = _found(recognizer.embed_many, wanted, Embedded)
    pack = recognizer.pack
    return Answer(EmbedResponse(pack=pack.name, dimension=pack.dimension, metric=pack.metric, results=results), counts)


@router.post("/v1/verify", **about((), "unsupported_pack"))
@in_worker
def verify(recognizer: InUse, wanted: VerifyRequest) -> Answer[VerifyResponse]:
    """Tell whether two images show the same person: the largest face of each, or the only one.

    An image that shows none is an error, 422.
    """
    pair = (loaded(wanted.a), loaded(wanted.b))
    try:
        verification = value_of(next(recognizer.verify_many([pair], **wanted.verify_options)))
    except VisavisError as error:
        raise from_library(error, getattr(error, "argument", None) or wanted.option_of(error)) from None
    members = {each.name: getattr(verification, each.name) for each in fields(verification)}
    return Answer(VerifyResponse(pack=recognizer.pack.name, **members), {"images": 2, "faces": 2})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Record):
    """An image as browsers show it."""

    size_wh: tuple[int, int]
    """Width and height of the upright original, in pixels, in which boxes and landmarks are."""
    jpeg: str
    """Upright, made smaller, as a JPEG in base64."""


@router.post("/v1/preview", **about())
@in_worker
def preview(recognizer: InUse, wanted: PreviewRequest) -> Answer[Preview]:
    """Return an image upright, made smaller, as a JPEG: of formats too that browsers do not show, and of URLs."""
    try:
        picture = image.preview(wanted.image.load(), wanted.side, limits=recognizer.limits)
    except VisavisError as error:
        raise from_library(error, "image") from None
    return Answer(Preview(size_wh=picture.size_wh, jpeg=image.as_jpeg(picture.pixels)), {"images": 1, "faces": 0})


@router.post("/v1/compare", **about((), "space_mismatch"))
@in_quick_worker
def compare(recognizer: InUse, wanted: CompareRequest) -> Answer[CompareResponse]:
    """Tell whether two embeddings are of the same person, for each pair of them.

    A pair that cannot be used has an error in place of an answer.
    """
    pairs = [(pair.a, pair.b) for pair in wanted.pairs]
    try:
        found = list(recognizer.compare_many(pairs, **wanted.options(Compare)))
    except (InvalidOption, SpaceMismatch) as error:  # all other options were checked before
        raise from_library(error, "fmr" if isinstance(error, InvalidOption) else "space") from None
    results = tuple(
        failed(each, f"pairs.{place}.{each.argument}") if isinstance(each, VisavisError) else each
        for place, each in enumerate(found)
    )
    return Answer(CompareResponse(pack=recognizer.pack.name, results=results))


def _found(
    many: Callable[..., Iterator[Faces[Face] | VisavisError]], wanted: ImagesRequest, kind: Callable[..., _Faces]
) -> tuple[tuple[_Faces | Failed, ...], Mapping[str, int]]:
    try:
        found = list(many(map(loaded, wanted.images), **wanted.options(Describe)))
    except (InvalidOption, ModelMissing) as error:  # all other options were checked before
        raise from_library(error, "attributes") from None
    results = tuple(
        failed(each, f"images.{place}")
        if isinstance(each, VisavisError)
        else kind(faces=each, searched_from_px=each.searched_from_px)
        for place, each in enumerate(found)
    )
    count = sum(len(each) for each in found if not isinstance(each, VisavisError))
    return results, {"images": len(found), "faces": count}
