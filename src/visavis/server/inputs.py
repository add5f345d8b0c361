"""From the body of a request to images: JSON or a form, checked in size and shape before anything is built of it."""

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from visavis.errors import InvalidImage, VisavisError
from visavis.server.problems import Problem
from visavis.server.schemas import Image

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
