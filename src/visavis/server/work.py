"""What workers do: from images to answers. Synchronous, and knows no HTTP but the shape of its JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from visavis.core.decide import euclidean_distance, probability_of_same
from visavis.errors import InputError, NoFace, StateError, VisavisError
from visavis.models.finding import FacesPolicy
from visavis.models.recognizer import Recognizer
from visavis.server.inputs import Source, load
from visavis.server.observability import NO_TALLY, Tally, current_request_id
from visavis.server.problems import from_library
from visavis.types import Face, ImageSource, Verification

Faces: TypeAlias = tuple[Face, ...]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has to say.

    Attributes:
        body: of the answer.
        tally: what it is about.
        status: of HTTP.
        headers: besides those that every answer has.
        media_type: of the body; None where there is no body.
    """

    body: bytes
    tally: Tally = NO_TALLY
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = "application/json"


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[Result]):
    """A request that was understood: its images, and what to do with them once none is a URL any more."""

    sources: tuple[Source, ...]
    work: Callable[[Recognizer, Sequence[Source]], Result]


def to_json(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def detect(
    recognizer: Recognizer, sources: Sequence[Source], *, faces: FacesPolicy, min_face: float | None, quality: bool
) -> Answer:
    """Find the faces of each image."""
    find = partial(recognizer.detect_many, faces=faces, min_face=min_face, quality=quality)
    results = each(sources, find)
    return _listed({"pack": recognizer.pack.name}, results)


def embed(
    recognizer: Recognizer, sources: Sequence[Source], *, faces: FacesPolicy, min_face: float | None, quality: bool
) -> Answer:
    """Find and embed the faces of each image."""
    find = partial(recognizer.embed_many, faces=faces, min_face=min_face, quality=quality)
    results = each(sources, find)
    pack = recognizer.pack
    return _listed({"pack": pack.name, "dimension": pack.dimension, "metric": pack.metric}, results)


def verify(
    recognizer: Recognizer,
    sources: Sequence[Source],
    faces: Literal["largest", "only"],
    threshold: float | None,
    min_face: float | None,
) -> Answer:
    """Compare two images.

    Raises:
        Problem: one of them cannot be used, or does not show what is needed; its ``field`` says which.
    """
    results = each(sources, partial(recognizer.embed_many, faces=faces, min_face=min_face))
    a, b = (_the_face(result, field) for result, field in zip(results, ("a", "b"), strict=True))
    verification = compare(recognizer, a, b, threshold)
    return Answer(to_json({"pack": recognizer.pack.name, **verification.to_dict()}), Tally(images=2, faces=2))


def compare(recognizer: Recognizer, a: Face, b: Face, threshold: float | None = None) -> Verification:
    """Compare two faces that were embedded."""
    if a.embedding is None or b.embedding is None:
        raise AssertionError("faces to compare come with embeddings")
    distance = euclidean_distance(a.embedding, b.embedding)
    threshold = recognizer.threshold if threshold is None else threshold
    probability = probability_of_same(distance, recognizer.pack.calibration)
    return Verification(distance < threshold, distance, threshold, probability, (a, b))


def _the_face(result: Faces | VisavisError, field: str) -> Face:
    if isinstance(result, VisavisError):
        raise from_library(result, field)
    if not result:
        raise from_library(NoFace("no face found"), field)
    return result[0]


def spread(
    items: Iterable[object], many: Callable[[Iterable[Any]], Iterator[Result | VisavisError]]
) -> list[Result | VisavisError]:
    """Return a result for each item, in order: what ``many`` makes of it, unless it is an error already.

    Items are taken from the iterable as ``many`` takes them.
    """
    failed: dict[int, VisavisError] = {}
    count = 0

    def good() -> Iterator[object]:
        nonlocal count
        for number, item in enumerate(items):
            count = number + 1
            if isinstance(item, VisavisError):
                failed[number] = item
            else:
                yield item

    results = iter(list(many(good())))
    return [failed[number] if number in failed else next(results) for number in range(count)]


def each(
    sources: Sequence[Source], many: Callable[[Iterable[ImageSource]], Iterator[Result | VisavisError]]
) -> list[Result | VisavisError]:
    """Return a result for each image, also where it cannot even be loaded; each is loaded when its turn comes."""
    return spread(map(load_or_fail, sources), many)


def load_or_fail(source: Source) -> "ImageSource | VisavisError":
    """Return an image as the library takes it, or why it is none."""
    try:
        return load(source)
    except InputError as error:
        return error


def _listed(head: Mapping[str, Any], results: Sequence[Faces | VisavisError]) -> Answer:
    items = [_item(result, number) for number, result in enumerate(results)]
    count = sum(len(result) for result in results if not isinstance(result, VisavisError))
    return Answer(to_json({**head, "results": items}), Tally(images=len(results), faces=count))


def _item(result: Faces | VisavisError, number: int) -> dict[str, Any]:
    if isinstance(result, VisavisError):
        return failure(result, f"images.{number}")
    return {"faces": [face.to_dict() for face in result]}


def failure(error: VisavisError, field: str) -> dict[str, Any]:
    """Return what stands in place of a result.

    Raises:
        SetupError: it is a fault of the server's, which is the whole call's.
    """
    if not isinstance(error, InputError | StateError):
        raise error
    return {"error": from_library(error, field).to_dict(current_request_id())}
