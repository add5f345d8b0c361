"""What a client and a server say to each other: every verb of the API, without a network."""

import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeAlias

from visavis.client.answers import ServedPack, read_health, read_packs, read_results, read_verification
from visavis.client.exchange import Answer, Call, Patience, Steps, Work, exchange
from visavis.client.images import Link, Upload, load
from visavis.errors import InputError, InvalidOption, VisavisError
from visavis.types import Face, ImageSource, Verification

if TYPE_CHECKING:
    from visavis.models.finding import FacesPolicy

_MOST_IMAGES = 16
_MOST_BYTES = 20_000_000  # in one call, where it is of several images; servers take a little more

FoundFaces: TypeAlias = "tuple[Face, ...] | VisavisError"
_Options: TypeAlias = Mapping[str, str | float]


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """Which faces are looked for; None is the server's own choice."""

    faces: "FacesPolicy" = "all"
    min_face: float | None = None


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How two images are compared; at most one of threshold and operating point."""

    faces: Literal["largest", "only"] = "largest"
    threshold: float | None = None
    operating_point: str | None = None
    min_face: float | None = None


def batches(images: Iterable[ImageSource]) -> Iterator[list[ImageSource]]:
    """Take as many images at a time as one call may hold."""
    iterator = iter(images)
    while batch := list(islice(iterator, _MOST_IMAGES)):
        yield batch


def find_one(verb: str, image: ImageSource, options: FaceOptions, patience: Patience) -> Steps[tuple[Face, ...]]:
    """Find the faces of one image.

    Raises:
        VisavisError: the image cannot be used, or the call failed.
    """
    (found,) = yield from find(verb, [image], options, patience)
    if isinstance(found, VisavisError):
        raise found
    return found


def find(
    verb: str, images: list[ImageSource], options: FaceOptions, patience: Patience
) -> Steps[list[tuple[Face, ...] | VisavisError]]:
    """Find the faces of up to a batch of images, in as few calls as possible.

    Args:
        verb: "detect" or "embed".
        images: to be loaded one after the other.
        options: for all of them.
        patience: with the server.

    Raises:
        VisavisError: a call as a whole failed.
    """
    found: dict[int, FoundFaces] = {}
    waiting: dict[int, Upload | Link] = {}
    chosen = _given(faces=options.faces, min_face=options.min_face)
    for index, image in enumerate(images):
        loaded: Upload | Link | InputError = yield Work(partial(load, image))
        if isinstance(loaded, InputError):
            found[index] = loaded
            continue
        if not _go_together([*waiting.values(), loaded]):
            found |= yield from _send(verb, waiting, chosen, patience)
            waiting = {}
        waiting[index] = loaded
    if waiting:
        found |= yield from _send(verb, waiting, chosen, patience)
    return [found[index] for index in range(len(images))]


def verify(a: ImageSource, b: ImageSource, options: VerifyOptions, patience: Patience) -> Steps[Verification]:
    """Compare two images.

    Raises:
        VisavisError: an image cannot be used, or the call failed.
    """
    chosen = _given(
        faces=options.faces,
        threshold=options.threshold,
        operating_point=options.operating_point,
        min_face=options.min_face,
    )
    images: dict[str, Upload | Link] = {}
    for part, source in (("a", a), ("b", b)):
        loaded: Upload | Link | InputError = yield Work(partial(load, source))
        if isinstance(loaded, InputError):
            raise loaded
        images[part] = loaded
    uploads = _uploads(images.items())
    if len(uploads) == len(images):
        call = _form("verify", uploads, chosen)
    else:
        call = Call("POST", "v1/verify", json={**{part: _json(image) for part, image in images.items()}, **chosen})
    answer = yield from exchange(call, patience)
    return read_verification(answer, {part: image.name for part, image in images.items()})


def models(patience: Patience) -> Steps[tuple[ServedPack, ...]]:
    """List the packs that the server knows.

    Raises:
        VisavisError: the call failed.
    """
    return read_packs((yield from exchange(Call("GET", "v1/models"), patience)))


def health(patience: Patience) -> Steps[bool]:
    """Tell whether the server is ready, asking once.

    Raises:
        ServerUnreachable: nobody answers.
    """
    return read_health((yield from exchange(Call("GET", "readyz"), replace(patience, retries=0))))


def _go_together(images: list[Upload | Link]) -> bool:
    """Tell whether one call can hold these: files in a form, or links in JSON."""
    size = sum(len(image.data) for image in images if isinstance(image, Upload))
    return len(images) == 1 or (len(set(map(type, images))) == 1 and size <= _MOST_BYTES)


def _send(
    verb: str, images: Mapping[int, Upload | Link], chosen: _Options, patience: Patience
) -> Steps[dict[int, FoundFaces]]:
    uploads = _uploads(("images", image) for image in images.values())
    if uploads:
        call = _form(verb, uploads, chosen)
    else:
        call = Call("POST", f"v1/{verb}", json={"images": [_json(image) for image in images.values()], **chosen})
    answer: Answer = yield from exchange(call, patience)
    results = read_results(answer, [image.name for image in images.values()])
    return dict(zip(images, results, strict=True))


def _uploads(images: Iterable[tuple[str, Upload | Link]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((part, image.data) for part, image in images if isinstance(image, Upload))


def _form(verb: str, files: tuple[tuple[str, bytes], ...], chosen: _Options) -> Call:
    return Call("POST", f"v1/{verb}", fields={name: str(value) for name, value in chosen.items()}, files=files)


def _json(image: Upload | Link) -> dict[str, str]:
    return {"url": image.url} if isinstance(image, Link) else {"base64": b64encode(image.data).decode()}


def _given(**options: str | float | None) -> dict[str, str | float]:
    """Return the options that were given.

    Raises:
        InvalidOption: one cannot even be sent.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) and not math.isfinite(value):
            raise InvalidOption(f"{name} must be a finite number, not {value!r}")
    return given
