"""What clients of the old services send and get."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from visavis.server.schemas import ARRAY_SCHEMA, MAX_URL_LENGTH, MOST_IMAGES, check_array

_BYTE_VALUES = range(256)
_BYTE = {"type": "integer", "minimum": 0, "maximum": 255}
_BYTES = {"type": "array", "items": _BYTE, "minItems": 1}
_BATCH = {"type": "array", "items": dict(ARRAY_SCHEMA), "minItems": 1, "maxItems": 1}
_ARRAYS = (dict(ARRAY_SCHEMA), _BATCH)


def _pixels(value: object) -> object:
    """Return rows of pixels, without a leading axis of 1."""
    try:
        return check_array(value)
    except ValueError:
        if isinstance(value, list) and len(value) == 1:
            return check_array(value[0])
        raise


def _image(value: object) -> object:
    return value if isinstance(value, str) else _pixels(value)


def _files(value: object) -> list[bytes]:
    """Return the files that lists of their bytes are: one, or several."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be the bytes of an encoded image as a list of numbers, or several such lists")
    return list(map(_file, value if isinstance(value[0], list) else [value]))


def _file(numbers: object) -> bytes:
    if not isinstance(numbers, list) or not numbers or not set(map(type, numbers)) <= {int, float}:
        raise ValueError("the bytes of an encoded image must be a list of whole numbers")
    whole = numbers if float not in map(type, numbers) else [int(n) if n in _BYTE_VALUES else -1 for n in numbers]
    if not (min(whole) >= 0 and max(whole) < len(_BYTE_VALUES)):
        raise ValueError("the bytes of an encoded image must be whole numbers from 0 to 255")
    return bytes(whole)


_Crop = Annotated[Any, AfterValidator(_pixels), Field(json_schema_extra={"anyOf": [*_ARRAYS]})]


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True)


class UrlRequest(_Lenient):
    """An image by its URL."""

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH, examples=["https://example.com/portrait.jpg"])]


class ImgRequest(_Lenient):
    """An image in base64, as a data URI, or as rows of pixels."""

    img: Annotated[Any, AfterValidator(_image), Field(json_schema_extra={"anyOf": [{"type": "string"}, *_ARRAYS]})]


class ArrayRequest(_Lenient):
    """The bytes of an encoded image as a list of numbers; or several such lists, of one person."""

    array: Annotated[
        Any,
        AfterValidator(_files),
        Field(
            json_schema_extra={"anyOf": [_BYTES, {"type": "array", "items": _BYTES, "minItems": 1, MOST_IMAGES: True}]}
        ),
    ]


class MatchRequest(_Lenient):
    """Two faces as rows of pixels, with or without a leading axis of 1."""

    truth: _Crop
    check: _Crop


class UrlVector(BaseModel):
    """An embedding and where its image came from."""

    url: str
    vector: list[float]


class Vector(BaseModel):
    """An embedding."""

    vector: list[float]


class UrlResponse(BaseModel):
    """The first version's answer."""

    face_embedding: UrlVector


class VectorResponse(BaseModel):
    """The later version's answer."""

    embedding: Vector


class MatchResponse(BaseModel):
    """Whether the two are the same person."""

    Match: Annotated[str, Field(json_schema_extra={"enum": ["Yes", "No"]})]
