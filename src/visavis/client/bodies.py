"""What calls hold: options, images and files."""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from visavis.client.exchange import Call
from visavis.client.images import Link, Upload
from visavis.errors import InvalidEmbedding, InvalidOption
from visavis.galleries.records import Details
from visavis.record import plain

Options: TypeAlias = Mapping[str, Any]
"""Members of a request that are no images; plain Python values."""


def given(**options: object) -> dict[str, Any]:
    """Return the options that were given: those that are not None.

    Raises:
        InvalidOption: one cannot even be sent.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    for name, value in chosen.items():
        to_json(value, name)
    return chosen


def to_json(value: object, name: str) -> bytes:
    """Return a JSON text.

    Args:
        value: to be written.
        name: what messages call it.

    Raises:
        InvalidOption: JSON has no way to say it.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidOption(f"{name} must be a finite number, not {value!r}")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (RecursionError, TypeError, ValueError):
        raise InvalidOption(
            f"{name} must be what JSON can hold: strings, finite numbers, true, false, null, lists, and dicts of them"
        ) from None


def json_call(method: str, path: str, value: object) -> Call:
    """Return a call with a body of JSON.

    Raises:
        InvalidOption: JSON has no way to say it.
    """
    return Call(method, path, body=to_json(value, "the request"))


def call_about(path: str, images: Sequence[Upload | Link], chosen: Options) -> Call:
    """Return a call about a list of images: a form where all are files, else JSON."""
    uploads = _uploads(("images", image) for image in images)
    if len(uploads) == len(images):
        return _form(path, uploads, chosen)
    return json_call("POST", path, {"images": [image_json(image) for image in images], **chosen})


def call_with(path: str, images: Mapping[str, Upload | Link], chosen: Options) -> Call:
    """Return a call with images that each have a name of their own: likewise."""
    uploads = _uploads(images.items())
    if len(uploads) == len(images):
        return _form(path, uploads, chosen)
    return json_call("POST", path, {**{name: image_json(image) for name, image in images.items()}, **chosen})


def image_json(image: Upload | Link) -> dict[str, str]:
    """Return an image as JSON holds it."""
    return {"url": image.url} if isinstance(image, Link) else {"base64": b64encode(image.data).decode()}


def details_json(details: Details) -> dict[str, Any]:
    """Return what is known of a subject as JSON holds it.

    Raises:
        InvalidOption: JSON has no way to say it.
    """
    return given(
        name=details.name,
        metadata=None if details.metadata is None else dict(details.metadata),
        consent=details.consent,
        expires_at=plain(details.expires_at),
    )


def vector_json(embedding: object) -> list[float]:
    """Return an embedding as JSON holds it.

    Raises:
        InvalidEmbedding: it is none.
    """
    (row,) = rows_json([embedding])
    return row


def rows_json(embeddings: object) -> list[list[float]]:
    """Return embeddings as JSON holds them.

    Raises:
        InvalidEmbedding: they are none.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinity, which is refused
            rows = np.asarray(embeddings, np.float32)
    except (OverflowError, TypeError, ValueError):
        raise InvalidEmbedding("an embedding is a row of numbers") from None
    if rows.ndim != 2 or not np.isfinite(rows).all():  # noqa: PLR2004  # rows and columns
        raise InvalidEmbedding(f"an embedding is a row of finite numbers; these have the shape {rows.shape}")
    lists: list[list[float]] = rows.tolist()
    return lists


def _uploads(images: Iterable[tuple[str, Upload | Link]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, image.data) for name, image in images if isinstance(image, Upload))


def _form(path: str, files: tuple[tuple[str, bytes], ...], chosen: Options) -> Call:
    return Call("POST", path, fields={name: _field(value) for name, value in chosen.items()}, files=files)


def _field(value: object) -> str:
    """Return a member of JSON as a form holds it: strings as they are, with commas between, anything else as JSON."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return value if isinstance(value, str) else to_json(value, "a field").decode()
