"""What workers do: from images to answers. Synchronous, and knows no HTTP but the shape of its JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from visavis.core.decide import euclidean_distance, probability_of_same
from visavis.errors import InputError, NoFace, VisavisError
from visavis.models.finding import FacesPolicy
from visavis.models.recognizer import Recognizer
from visavis.server.inputs import Source, load
from visavis.server.observability import current_request_id
from visavis.server.problems import from_library
from visavis.types import Face, ImageSource, Verification

Faces: TypeAlias = tuple[Face, ...]
Many: TypeAlias = Callable[[Iterable[ImageSource]], Iterator[Faces | VisavisError]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has to say.

    Attributes:
        body: JSON.
        images: how many were processed.
        faces: how many were found.
        status: of HTTP.
    """

    body: bytes
    images: int
    faces: int
    status: int = 200


Work: TypeAlias = Callable[[Recognizer, Sequence[Source]], Answer]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request that was understood: its images, and what to do with them once none is a URL any more."""

    sources: tuple[Source, ...]
    work: Work


def to_json(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def detect(recognizer: Recognizer, sources: Sequence[Source], faces: FacesPolicy, min_face: float | None) -> Answer:
    """Find the faces of each image."""
    results = _each(sources, lambda images: recognizer.detect_many(images, faces=faces, min_face=min_face))
    return _listed({"pack": recognizer.pack.name}, results)


def embed(recognizer: Recognizer, sources: Sequence[Source], faces: FacesPolicy, min_face: float | None) -> Answer:
    """Find and embed the faces of each image."""
    results = _each(sources, lambda images: recognizer.embed_many(images, faces=faces, min_face=min_face))
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
    results = _each(sources, lambda images: recognizer.embed_many(images, faces=faces, min_face=min_face))
    a, b = (_the_face(result, field) for result, field in zip(results, ("a", "b"), strict=True))
    verification = compare(recognizer, a, b, threshold)
    return Answer(to_json({"pack": recognizer.pack.name, **verification.to_dict()}), images=2, faces=2)


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


def _each(sources: Sequence[Source], many: Many) -> list[Faces | VisavisError]:
    """Return a result for each image, also where it cannot even be loaded; each is loaded when its turn comes."""
    failed: dict[int, VisavisError] = {}

    def images() -> Iterator[ImageSource]:
        for number, source in enumerate(sources):
            try:
                yield load(source)
            except InputError as error:  # noqa: PERF203  # each may fail by itself
                failed[number] = error

    results = iter(list(many(images())))
    return [failed[number] if number in failed else next(results) for number in range(len(sources))]


def _listed(head: Mapping[str, Any], results: Sequence[Faces | VisavisError]) -> Answer:
    items = [_item(result, number) for number, result in enumerate(results)]
    count = sum(len(result) for result in results if not isinstance(result, VisavisError))
    return Answer(to_json({**head, "results": items}), images=len(results), faces=count)


def _item(result: Faces | VisavisError, number: int) -> dict[str, Any]:
    if isinstance(result, VisavisError):
        if not isinstance(result, InputError):
            raise result
        return {"error": from_library(result, f"images.{number}").to_dict(current_request_id())}
    return {"faces": [face.to_dict() for face in result]}
