"""Checked values from requests: bodies, forms, images, queries and paths."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from visavis.errors import InvalidImage, VisavisError
from visavis.server.problems import Problem
from visavis.server.requests import Image, Query

_Model = TypeVar("_Model", bound=BaseModel)

# A list costs some twenty times its two brackets: with these, a JSON body costs some 250 MB at worst.
_MOST_NUMBERS = 4_000_000
_MOST_LISTS = 1_500_000
_MOST_PARTS_BESIDES_IMAGES = 16
_MOST_ERRORS = 20
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_FULL = 255


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body as it came."""

    content_type: str
    data: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An image as the bytes of a file."""

    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Base64:
    """An image as the bytes of a file, in base64 or as a data URI."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An image as nested lists of numbers."""

    rows: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Url:
    """An image that must be fetched."""

    url: str


@dataclass(frozen=True, slots=True, eq=False)
class Unusable:
    """An image that could not be fetched."""

    error: VisavisError


Source: TypeAlias = Encoded | Base64 | Pixels | Url | Unusable


def source_of(image: Image) -> Source:
    """Return the form in which an image came."""
    (form,) = image.model_fields_set
    forms: dict[str, type[Base64 | Url | Pixels]] = {"base64": Base64, "url": Url, "array": Pixels}
    return forms[form](getattr(image, form))


def load(source: Source) -> bytes | NDArray[np.uint8]:
    """Return what the library reads.

    Raises:
        InputError: it is no image.
    """
    if isinstance(source, Encoded):
        return source.data
    if isinstance(source, Base64):
        return _from_base64(source.text)
    if isinstance(source, Pixels):
        return _from_rows(source.rows)
    if isinstance(source, Unusable):
        raise source.error
    raise AssertionError("URLs are fetched before images are loaded")


def _from_base64(text: str) -> bytes:
    if text[:5].lower() == "data:":
        prefix = _DATA_URI.match(text)
        if not prefix:
            raise InvalidImage("a data URI must say ;base64, before its data")
        text = text[prefix.end() :]
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage("this is not base64: A-Z, a-z, 0-9, + and /, padded by = to a multiple of four") from None


def _from_rows(rows: list[Any]) -> NDArray[np.uint8]:
    try:
        array = np.array(rows, np.float64)
    except (ValueError, OverflowError, TypeError):
        raise InvalidImage("the rows of an array must all be equally long, as must the pixels") from None
    if array.size and not (array.min() >= 0 and array.max() <= _FULL):  # so written that NaN fails
        raise InvalidImage(f"the numbers of an array must lie from 0 to {_FULL}")
    return np.rint(array).astype(np.uint8)


def read_json(data: bytes, what: str = "the body") -> Any:  # noqa: ANN401  # JSON
    """Return what a JSON text says; NaN and infinity are not JSON.

    Raises:
        Problem: it is none, or holds more lists or numbers than is reasonable.
    """
    if data.count(b",") >= _MOST_NUMBERS or data.count(b"[") + data.count(b"{") > _MOST_LISTS:
        detail = "too many numbers or lists; larger images fit when they are encoded, as files or in base64"
        raise Problem("body_too_large", detail)
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise Problem("invalid_request", f"{what} is not JSON: {error}", status=400) from None


def check(model: type[_Model], value: object, *, status: int | None = None) -> _Model:
    """Return a validated request.

    Raises:
        Problem: it is not valid; its ``errors`` say where and why, without the values.
    """
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        found = invalid.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    errors = [{"field": ".".join(map(str, error["loc"])), "message": _message(error)} for error in found]
    first = errors[0]
    detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    raise Problem("invalid_request", detail, field=first["field"] or None, errors=errors, status=status)


def _message(error: ErrorDetails) -> str:
    """Return what is wrong, without the field's name, which is told beside it."""
    name = str(error["loc"][-1]) if error["loc"] else ""
    return error["msg"].removeprefix("Value error, ").removeprefix(f"{name} ")


def read_form(body: Body, names: frozenset[str], max_images: int) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """Read multipart/form-data: the parts of these names are images, whatever they call themselves.

    Returns:
        The images with their names, in order; and the other parts, as text.

    Raises:
        Problem: it is malformed, or has too many parts.
    """
    images: list[tuple[str, bytes]] = []
    texts: dict[str, str] = {}
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True

    def add(part: Field | File) -> None:
        name, data = _content(part)
        if name in names:
            images.append((name, data))
        elif name in texts:
            raise Problem("invalid_request", f"{name}: given twice", field=name)
        else:
            texts[name] = data.decode("utf-8", "replace")
        if len(images) > max_images or len(texts) > _MOST_PARTS_BESIDES_IMAGES:
            raise Problem("invalid_request", f"too many parts; at most {max_images} may be images", field=name)

    _, options = parse_options_header(body.content_type)
    limits = {"MAX_MEMORY_FILE_SIZE": len(body.data) + 1}  # so that no image is ever written to a disk
    try:
        parser = FormParser("multipart/form-data", add, add, end, boundary=options.get(b"boundary"), config=limits)
        parser.write(body.data)
        parser.finalize()
    except FormParserError:
        ended = False
    if not ended:
        raise Problem("invalid_request", "the body is not multipart/form-data, or is cut off", status=400)
    return images, texts


def _content(part: Field | File) -> tuple[str, bytes]:
    if isinstance(part, Field):
        name, data = part.field_name, part.value or b""
    else:
        part.file_object.seek(0)
        # It is not closed: it lies in memory, and some versions of the parser flush it once more at the end.
        name, data = part.field_name, part.file_object.read()
    return (name or b"").decode("utf-8", "replace"), data


FORM = "multipart/form-data"
ELSEWHERE: Mapping[str, str] = {"base64": ""}
"""Stands for an image that a form holds."""

_JSON = ("", "application/json")
_NUMBERS = frozenset({"min_face", "threshold", "limit"})
_FLAGS = frozenset({"quality", "allow_conflict", "require_live"})
_FLAG = {"true": True, "false": False}
_MOST_DIGITS = 18  # so that every store can hold the number


_WithImages = TypeVar("_WithImages", bound=BaseModel)
_Query = TypeVar("_Query", bound=Query)


def read_images(model: type[_WithImages], body: Body, max_images: int) -> tuple[_WithImages, tuple[Source, ...]]:
    """Return a request for images, be it a form or JSON, and its images.

    Raises:
        Problem: it is not valid.
    """
    if body.media_type == FORM:
        images, texts = read_form(body, frozenset({"images"}), max_images)
        options = check(model, {**typed(texts), "images": [ELSEWHERE] * len(images)})
        return options, tuple(Encoded(data) for _, data in images)
    value = json_value(body)
    _check_count(value, max_images)
    options = check(model, value)
    return options, tuple(map(source_of, getattr(options, "images", None) or ()))


def json_value(body: Body, *, also: str = f" or {FORM}") -> Any:  # noqa: ANN401  # JSON
    """Return what a body of JSON says.

    Args:
        body: as it came.
        also: for the message: what else the route takes.

    Raises:
        Problem: it is something else.
    """
    if body.media_type not in _JSON:
        raise Problem("unsupported_media_type", f"send application/json{also}")
    return read_json(body.data)


def typed(texts: Mapping[str, str]) -> dict[str, object]:
    """Turn a form's texts into what JSON would hold.

    Raises:
        Problem: one is not what its name promises.
    """
    return {name: _typed(name, text) for name, text in texts.items()}


def read_query(model: type[_Query], request: Request) -> _Query:
    """Return the query of a request.

    Raises:
        Problem: it is not valid, holds a name twice, or one that the route does not know.
    """
    given = request.query_params.multi_items()
    _refuse_twice(name for name, _ in given)
    return check(model, dict(given))


def check_path(request: Request) -> None:
    """Refuse a path whose percent signs hide something else than UTF-8: two paths might mean the same.

    Raises:
        Problem: it is one.
    """
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid_request", "the path is not UTF-8", status=400) from None


def number_in_path(request: Request, name: str) -> int:
    """Return a number that is part of the path.

    Raises:
        Problem: it is none.
    """
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        detail = f"{name}: must be a whole number of at most {_MOST_DIGITS} digits"
        raise Problem("invalid_request", detail, field=name)
    return int(text)


def header_once(request: Request, name: str) -> str | None:
    """Return the only value of a header, or None.

    Raises:
        Problem: there are several.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem("invalid_request", f"{name}: given twice", field=name)
    return values[0] if values else None


def _refuse_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Problem("invalid_request", f"{name}: given twice", field=name)
        seen.add(name)


def _check_count(value: object, max_images: int) -> None:
    """Count before each is looked at."""
    images = value.get("images") if isinstance(value, dict) else None
    if isinstance(images, list) and len(images) > max_images:
        raise Problem("invalid_request", f"images: at most {max_images}", field="images")


def _typed(name: str, text: str) -> object:
    if name in _NUMBERS:
        try:
            number = float(text)
        except ValueError:
            raise Problem("invalid_request", f"{name}: must be a number", field=name) from None
        return int(number) if name == "limit" and number.is_integer() else number
    if name == "fmr":
        with suppress(ValueError):  # else it may be a name
            return float(text)
    if name == "attributes":
        return [part.strip() for part in text.split(",")] if text else []
    if name in _FLAGS:
        if text not in _FLAG:
            raise Problem("invalid_request", f"{name}: must be true or false", field=name)
        return _FLAG[text]
    if name == "metadata":
        try:
            return read_json(text.encode())
        except Problem:
            raise Problem("invalid_request", f"{name}: must be JSON", field=name) from None
    return text
