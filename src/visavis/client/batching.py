"""Ask about images, as many at a time as one call may hold."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from visavis.client.bodies import Options, call_about
from visavis.client.exchange import Answer, Each, Found, Patience, Steps, Work, exchange
from visavis.client.images import Link, Upload, load
from visavis.client.reading import content, error_of
from visavis.errors import InputError, VisavisError
from visavis.types import ImageSource

_MOST_IMAGES = 16
_MOST_BYTES = 20_000_000  # in one call, where it is of several images; servers take a little more

_Value = TypeVar("_Value")
Reader: TypeAlias = Callable[[Mapping[str, Any]], _Value]
"""Turns what the server says of one image into a result."""


def loaded(image: ImageSource) -> Steps[Upload | Link]:
    """Return what is sent for an image.

    Raises:
        InputError: there is nothing to send.
    """
    outcome: Upload | Link | InputError = yield Work(partial(load, image))
    if isinstance(outcome, InputError):
        raise outcome
    return outcome


def ask_one(path: str, image: ImageSource, chosen: Options, read: Reader[_Value], patience: Patience) -> Steps[_Value]:
    """Ask about one image.

    Raises:
        VisavisError: the image cannot be used, or the call failed.
    """
    (result,) = yield from _ask(path, [image], chosen, read, patience)
    if isinstance(result, VisavisError):
        raise result
    return result


def ask_many(
    path: str, images: Iterable[ImageSource], chosen: Options, read: Reader[_Value], patience: Patience
) -> Each[_Value | VisavisError]:
    """Find for each image, in order, the answer, or the error that the image is.

    Raises:
        VisavisError: a call as a whole failed.
    """
    iterator = iter(images)
    while batch := list(islice(iterator, _MOST_IMAGES)):
        for result in (yield from _ask(path, batch, chosen, read, patience)):
            yield Found(result)


def _ask(
    path: str, images: list[ImageSource], chosen: Options, read: Reader[_Value], patience: Patience
) -> Steps[list[_Value | VisavisError]]:
    """Ask about up to a batch of images, which are loaded one after the other, in as few calls as possible."""
    results: dict[int, _Value | VisavisError] = {}
    waiting: dict[int, Upload | Link] = {}
    for index, image in enumerate(images):
        outcome: Upload | Link | InputError = yield Work(partial(load, image))
        if isinstance(outcome, InputError):
            results[index] = outcome
            continue
        if not _go_together([*waiting.values(), outcome]):
            results |= yield from _send(path, waiting, chosen, read, patience)
            waiting = {}
        waiting[index] = outcome
    if waiting:
        results |= yield from _send(path, waiting, chosen, read, patience)
    return [results[index] for index in range(len(images))]


def _go_together(images: list[Upload | Link]) -> bool:
    """Tell whether one call can hold these: files in a form, or links in JSON."""
    size = sum(len(image.data) for image in images if isinstance(image, Upload))
    return len(images) == 1 or (len(set(map(type, images))) == 1 and size <= _MOST_BYTES)


def _send(
    path: str, waiting: Mapping[int, Upload | Link], chosen: Options, read: Reader[_Value], patience: Patience
) -> Steps[dict[int, _Value | VisavisError]]:
    answer = yield from exchange(call_about(path, list(waiting.values()), chosen), patience)
    names = [image.name for image in waiting.values()]
    return dict(zip(waiting, _results(answer, names, read), strict=True))


def _results(answer: Answer, names: list[str], read: Reader[_Value]) -> list[_Value | VisavisError]:
    with content(answer) as members:
        return [
            error_of(result["error"], answer, name=name) if "error" in result else read(result)
            for result, name in zip(members["results"], names, strict=True)
        ]
