"""What workers do: from images to answers. Synchronous, and knows no HTTP but the shape of its JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from visavis.core.decide import Rule
from visavis.errors import InputError, InvalidOption, ModelMissing, NoFace, NotLive, StateError, VisavisError
from visavis.models.attributes import is_live
from visavis.models.recognizer import Recognizer, choose_rule, compare
from visavis.options import Attribute
from visavis.server.observability import NO_TALLY, Tally, current_request_id, log_setup_error
from visavis.server.problems import Problem, from_library
from visavis.server.reading import Source, load
from visavis.server.requests import ImagesRequest, VerifyRequest
from visavis.types import Face, ImageSource

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


def detect(recognizer: Recognizer, wanted: ImagesRequest, sources: Sequence[Source]) -> Answer:
    """Find the faces of each image.

    Raises:
        Problem: the pack, or what is installed of it, cannot tell an attribute.
    """
    return _listed({"pack": recognizer.pack.name}, _found(recognizer.detect_many, wanted, sources))


def embed(recognizer: Recognizer, wanted: ImagesRequest, sources: Sequence[Source]) -> Answer:
    """Find and embed the faces of each image; errors as in ``detect``."""
    pack = recognizer.pack
    head = {"pack": pack.name, "dimension": pack.dimension, "metric": pack.metric}
    return _listed(head, _found(recognizer.embed_many, wanted, sources))


def _found(
    many: Callable[..., Iterator[Faces | VisavisError]], wanted: ImagesRequest, sources: Sequence[Source]
) -> list[Faces | VisavisError]:
    options = {name: getattr(wanted, name) for name in ("faces", "min_face", "quality", "attributes")}
    try:
        return each(sources, partial(many, **options))
    except (InvalidOption, ModelMissing) as error:  # all other options were checked before
        raise _unable(error, "attributes") from None


def verify(recognizer: Recognizer, wanted: VerifyRequest, sources: Sequence[Source]) -> Answer:
    """Compare two images.

    Raises:
        Problem: one of them cannot be used, or does not show what is needed, or an option is out of its range; its
            ``field`` says which.
    """
    rule = _rule(recognizer, wanted)
    attributes: tuple[Attribute, ...] = ("liveness",) if wanted.require_live else ()
    find = partial(recognizer.embed_many, faces=wanted.faces, min_face=wanted.min_face, attributes=attributes)
    try:
        results = each(sources, find)
    except (InvalidOption, ModelMissing) as error:  # all other options were checked before
        raise _unable(error, "require_live") from None
    a, b = (_the_face(result, field) for result, field in zip(results, ("a", "b"), strict=True))
    verification = compare(recognizer.pack, a, b, rule)
    return Answer(to_json({"pack": recognizer.pack.name, **verification.to_dict()}), Tally(images=2, faces=2))


def _unable(error: InvalidOption | ModelMissing, field: str) -> Problem:
    """Return what is said where the pack, or what is installed of it, cannot tell what a field asks for."""
    if isinstance(error, ModelMissing):
        log_setup_error(error)
    return from_library(error, field)


def _rule(recognizer: Recognizer, wanted: VerifyRequest) -> Rule:
    threshold = wanted.threshold if "threshold" in wanted.model_fields_set else None
    name = None if wanted.operating_point == "default" else wanted.operating_point
    try:
        return choose_rule(recognizer.pack, recognizer.rule, {"threshold": threshold, "fmr": name or wanted.fmr})
    except InvalidOption as error:
        raise from_library(error, "operating_point" if name else "fmr") from None


def _the_face(result: Faces | VisavisError, field: str) -> Face:
    if isinstance(result, VisavisError):
        raise from_library(result, field)
    if not result:
        raise from_library(NoFace("no face found"), field)
    if not is_live(result[0].attributes):
        raise from_library(NotLive("the face looks like a print or a screen"), field)
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
