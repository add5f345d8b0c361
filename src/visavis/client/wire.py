"""Requests, answers and errors of the client, without a network."""

import io
import json
import math
import os
import re
import secrets
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
import PIL.Image

from visavis import errors
from visavis.core.geometry import check_box
from visavis.core.image import ImageLimits, name_of, read_encoded, read_image
from visavis.errors import (
    InputError,
    InvalidEmbedding,
    InvalidImage,
    InvalidOption,
    ServerError,
    ServerOverloaded,
    SetupError,
    StateError,
    VisavisError,
)
from visavis.galleries.records import Details
from visavis.record import plain
from visavis.service.enroller import Enrolment
from visavis.service.transfer import has_face
from visavis.types import Embedding, Face, ImageSource

OK = 200
UNAVAILABLE = 503
BUSY = frozenset({429, 503})
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
PASSING = (*UNSENT, httpx.NetworkError, httpx.RemoteProtocolError)
NDJSON = "application/x-ndjson"
MOST_IMAGES, MOST_LINES, MOST_PROBES = 16, 500, 100  # in one call
MOST_BYTES, MOST_LINE_BYTES = 20_000_000, 8_000_000  # in one call, where it is of several images or of several lines
LINGER_S = 1.0  # in which further things may join the first one of a call
LONGEST_LINE = 100_000_000  # of an export: several times the largest picture
_LONGEST_URL = 2048
_LONGEST_DETAIL = 1000
_NO_LIMITS = ImageLimits(max_bytes=2**62)
_FLAGS = ("chips", "quality", "require_live")  # not sent where they are off: older servers know of none
_KEY = re.compile("[!-~]([ -~]{0,178}[!-~])?")
# What can come of reading something else than what was expected.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_LEAVES = {
    leaf.code: leaf
    for leaf in vars(errors).values()
    if isinstance(leaf, type) and issubclass(leaf, InputError | SetupError | StateError) and "code" in vars(leaf)
} | {"body_too_large": errors.ImageTooLarge, "invalid_request": InvalidOption}


# Connections are given up before proxies and servers close them, who wait 60 s or longer.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=50)


def settings_of(base_url: str, key: str | None, timeout_s: float, retries: int) -> dict[str, Any]:
    """Check what a client is made with, and return the arguments of httpx's client."""
    example = "such as http://localhost:8000"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InvalidOption(f"the address of a server is a URL {example}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise InvalidOption(f"the address of a server is a URL {example}, without a user name; keys go elsewhere")
    if not 0 < timeout_s < math.inf:
        raise InvalidOption(f"timeout_s must be a finite number of seconds above 0, not {timeout_s!r}")
    if type(retries) is not int or retries < 0:
        raise InvalidOption(f"retries must be an int of 0 or more, not {retries!r}")
    if key is not None and not re.fullmatch("[!-~]+", key):
        raise InvalidOption("an API key is one or more printable ASCII characters without spaces")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": base_url, "headers": headers, "timeout": float(timeout_s), "limits": _LIMITS}


def retry_after_s(value: str) -> float:
    """Return how many seconds from now the header Retry-After names, in either of its forms; 0 if in none."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def reason_of(error: httpx.RequestError) -> str:
    """Return why there is no answer, for people."""
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__


# --- what is sent


@dataclass(frozen=True, slots=True)
class Sent:
    """A part of a call: an encoded image, the URL of one, or a line of a bulk call."""

    name: str = ""  # what messages call its image; without the query of a URL, which may be nobody's business
    data: bytes = field(default=b"", repr=False)  # the image, or the JSON of the line
    url: str = field(default="", repr=False)  # in place of the data
    has_image: bool = True
    has_face: bool = True  # whether it asks for an enrolment; of a line that does not, the server says nothing

    @property
    def json(self) -> dict[str, str]:
        """The image in a body of JSON."""
        return {"url": self.url} if self.url else {"base64": b64encode(self.data).decode()}


def load(source: ImageSource) -> Sent | InputError:
    """Return what is sent for an image, or a string that begins with http:// or https://; or why there is nothing.

    Files and encoded bytes are sent as they are; arrays and Pillow images as PNG, upright and in RGB.
    """
    try:
        if isinstance(source, str) and re.match("https?://", source, re.IGNORECASE):
            if len(source) > _LONGEST_URL:
                raise InvalidImage(f"a URL of {len(source):,} characters; the longest has {_LONGEST_URL:,}")
            return Sent(re.split("[?#]", source, maxsplit=1)[0], url=source)
        if isinstance(source, np.ndarray | PIL.Image.Image):
            buffer = io.BytesIO()
            # The fastest level: the others take several times as long for a few percent.
            PIL.Image.fromarray(read_image(source).pixels).save(buffer, "PNG", compress_level=1)
            return Sent(name_of(source), buffer.getvalue())
        if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(source, "read"):
            return Sent(name_of(source), read_encoded(source, _NO_LIMITS))
        kinds = "a path, a URL, encoded bytes, a binary file, a Pillow image or an array"
        raise InvalidImage(f"an image is {kinds}, not {type(source).__name__}")
    except InputError as error:
        return error


def to_json(value: object, name: str) -> bytes:
    """Return a JSON text."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidOption(f"{name} must be a finite number, not {value!r}")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (RecursionError, TypeError, ValueError):
        raise InvalidOption(
            f"{name} must be what JSON can hold: strings, finite numbers, true, false, null, lists, and dicts of them"
        ) from None


def given(options: Mapping[str, object]) -> dict[str, Any]:
    """Return the options that are sent: all but those that are None, and what is not asked to be told of faces."""
    chosen = dict(options)
    if "attributes" in options:
        attributes = options["attributes"]
        if isinstance(attributes, str) or not isinstance(attributes, Collection):
            raise InvalidOption(f"attributes are given as in ('pose',), not {attributes!r}")
        chosen["attributes"] = list(attributes) or None
    chosen |= {name: options.get(name) or None for name in _FLAGS}
    if options.get("box") is not None:
        chosen["box"] = check_box(options["box"]).tolist()
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name, value in chosen.items():
        to_json(value, name)
    return chosen


def details_of(details: Details) -> dict[str, Any]:
    """Return what is known of a subject as options."""
    return given({each.name: plain(getattr(details, each.name)) for each in fields(details)})


def vectors(embeddings: object) -> list[list[float]]:
    """Return embeddings (P, D) as JSON holds them."""
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinity, which is refused
            rows = np.asarray(embeddings, np.float32)
    except (OverflowError, TypeError, ValueError):
        raise InvalidEmbedding("an embedding is a row of numbers") from None
    if rows.ndim != 2 or not np.isfinite(rows).all():  # noqa: PLR2004  # rows and columns
        raise InvalidEmbedding(f"an embedding is a row of finite numbers; these have the shape {rows.shape}")
    lists: list[list[float]] = rows.tolist()
    return lists


def pair(a: Embedding, b: Embedding) -> dict[str, list[float]] | InvalidEmbedding:
    """Return two embeddings to compare as they are sent, or why they cannot be."""
    try:
        given = [each.embedding if isinstance(each, Face) else each for each in (a, b)]
        return {name: vectors([each])[0] for name, each in zip("ab", given, strict=True)}
    except InvalidEmbedding as error:
        return error


def key_header(key: str | None) -> dict[str, str]:
    """Return the header with an idempotency key, made up where none is given."""
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidOption("an idempotency key is 1 to 180 printable ASCII characters, without spaces at its ends")
    return {"Idempotency-Key": key or secrets.token_urlsafe(16)}


def json_of(value: object, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return httpx's arguments for a body of JSON."""
    content = to_json(value, "the request")
    return {"content": content, "headers": {"Content-Type": "application/json", **(headers or {})}}


def body_of(
    images: Mapping[str, Sent] | Sequence[Sent], options: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return httpx's arguments for images, listed or by name, with options: a form, or JSON where one is a URL."""
    named = list(images.items()) if isinstance(images, Mapping) else [("images", image) for image in images]
    if any(image.url for _, image in named):
        listed = [image.json for name, image in named if name == "images"]
        members = {name: image.json for name, image in named if name != "images"}
        return json_of({**members, **({"images": listed} if listed else {}), **options}, headers)
    form = {}
    for name, value in options.items():
        if isinstance(value, list) and value and all(isinstance(part, str | float) for part in value):
            form[name] = ",".join(map(str, value))
        else:
            form[name] = value if isinstance(value, str) else to_json(value, "a field").decode()
    files = [(name, (name, image.data, "application/octet-stream")) for name, image in named]
    return {"data": form, "files": files, "headers": headers}


def sample_segment(sample: int) -> str:
    """Return a sample's number as a part of a path."""
    if type(sample) is not int:
        raise InvalidOption(f"a sample is called by its number, an int, not {type(sample).__name__}")
    return str(sample)


def enrolment_line(enrolment: Enrolment | VisavisError) -> Sent | VisavisError:
    """Return an enrolment as a line, or why it cannot be sent; an error in its place is handed on."""
    if isinstance(enrolment, VisavisError):
        return enrolment
    try:
        members = given(
            {
                "subject": enrolment.subject,
                "source": enrolment.source,
                "sample_metadata": enrolment.sample_metadata,
                "counter": enrolment.counter or None,
                "key": enrolment.key or secrets.token_urlsafe(16),
                "quality": enrolment.quality and enrolment.quality.to_dict(),
                "picture": enrolment.picture and b64encode(enrolment.picture).decode(),
                "box": enrolment.box,
                **details_of(enrolment.details),
            }
        )
        if enrolment.image is None:
            (vector,) = vectors([enrolment.embedding])
            return Sent(data=to_json({**members, "embedding": vector}, "an enrolment"), has_image=False)
        if enrolment.like is not None:
            (members["like"],) = vectors([enrolment.like])
        image = load(enrolment.image)
        if isinstance(image, InputError):
            return image
        return Sent(image.name, to_json({**members, "image": image.json}, "an enrolment"))
    except InputError as error:
        return error


def export_line(line: Mapping[str, Any]) -> Sent | VisavisError:
    """Return a line of an export as it is sent, or why it cannot be."""
    if not isinstance(line, Mapping):
        return InvalidOption(f"a line of an export is a dict, not {type(line).__name__}")
    asks = has_face(line)
    key = {"key": line.get("key") or secrets.token_urlsafe(16)} if asks else {}
    try:
        data = to_json({**line, **key}, "a line of an export")
    except InvalidOption as error:
        return error
    return Sent(data=data, has_image="image" in line, has_face=asks)


# --- what is answered


def order(*, newest_first: bool) -> dict[str, str]:
    """Return what a query says of the order of a log."""
    return {"newest_first": "true"} if newest_first else {}


def check(response: httpx.Response, names: Mapping[str, str] | None = None) -> None:
    """Let a good answer pass, and raise the error that another one means; names are of parts that it may be about."""
    if response.status_code not in (OK, 201):
        try:
            problem = json.loads(response.content)
        except _UNREADABLE:  # somebody else gave it, such as a proxy
            problem = {}
        problem = problem if isinstance(problem, dict) else {}
        raise error_of(problem, response, (names or {}).get(str(problem.get("field")).removesuffix(".0"), ""))


@contextmanager
def content(response: httpx.Response, names: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Give the JSON of an answer; what is wrong with it, or with how it is read, is an error of the server."""
    check(response, names)
    with trusting(response):
        yield json.loads(response.content)


@contextmanager
def trusting(response: httpx.Response) -> Iterator[None]:
    """Read what the server sent as if it were right."""
    try:
        yield
    except _UNREADABLE as error:
        raise foreign(response) from error


def foreign(response: httpx.Response, what: str = "this is not the answer of a visavis server") -> ServerError:
    """Return the error that a good answer is which makes no sense."""
    return ServerError(what, status=response.status_code)


def error_of(problem: Mapping[str, Any], response: httpx.Response, name: str = "") -> VisavisError:
    """Return the error that a problem means, the library's own where there is one of that code; it names the image."""

    def short(member: str) -> str:
        value = problem.get(member)
        return value[:_LONGEST_DETAIL] if isinstance(value, str) else ""

    code, status = short("code"), response.status_code
    detail = short("detail") or short("title") or f"the server answered with status {status}"
    leaf = _LEAVES.get(code)
    if leaf in (errors.FetchRefused, errors.FetchFailed):
        reason, _, cause = detail.rpartition("fetched: ")[2].partition("; ")  # leaves say the rest themselves
        failure: VisavisError = leaf(reason.replace(" ", "_"))
        failure.__cause__ = ValueError(cause) if cause else None
        return failure
    if leaf is not None and issubclass(leaf, InputError | StateError):
        return leaf(f"{name}: {detail}" if name else detail)
    request_id = short("request_id") or response.headers.get("x-request-id")
    if leaf is not None:
        return leaf(f"{detail} (request {request_id})" if request_id else detail)
    kind = ServerOverloaded if status in BUSY else ServerError
    return kind(detail, code=code or None, status=status, request_id=request_id)
