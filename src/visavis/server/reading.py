"""Bodies of requests: JSON and forms, the images in them, and their checks."""

import binascii
import re
import string
from base64 import b64decode
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import CoreConfig, SchemaValidator, from_json
from pydantic_core.core_schema import bytes_schema
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File, FormParser, parse_options_header
from typing_extensions import Self

from visavis.errors import InputError, InvalidImage
from visavis.fetch import FetchPolicy, fetch
from visavis.galleries.records import GALLERY_PATTERN as GALLERY_NAME
from visavis.options import Option
from visavis.server.problems import MOST_ERRORS, Problem, expected, invalid

_Model = TypeVar("_Model", bound=BaseModel)

FORM, IMAGE = "multipart/form-data", "image/*"
MOST_IMAGES = "x-most-images"
"""Marks lists in a schema that may have as many items as the server takes images."""
MAX_URL_LENGTH = 2048
FILE = {"type": "string", "format": "binary"}
GALLERY_PATTERN = f"^{GALLERY_NAME}$"
_JSON = "application/json"
# A list costs some twenty times its two brackets: with these, a JSON body costs some 250 MB at worst.
_MOST_NUMBERS = 4_000_000
_MOST_LISTS = 1_500_000
_MOST_MEMBERS = 20_000  # of all objects: each that nobody knows is an error, of a kilobyte
_MOST_PARTS_BESIDES_IMAGES = 16
_MOST_CHANNELS = 4
_FULL = 255
_SPACES = string.whitespace.encode()
_BASE64 = SchemaValidator(bytes_schema(), CoreConfig(val_json_bytes="base64"))
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body as it came."""

    content_type: str
    data: bytes
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0].strip().lower()


def read_json(data: bytes, what: str = "the body") -> Any:  # noqa: ANN401  # JSON
    """Return what JSON says; a ``Problem`` where it is none, as NaN is, or has unreasonably many lists or numbers.

    A byte-order mark before it is passed over.
    """
    if data.count(b",") >= _MOST_NUMBERS or data.count(b"[") + data.count(b"{") > _MOST_LISTS:
        detail = "too many numbers or lists; larger images fit when they are encoded, as files or in base64"
        raise Problem("body_too_large", detail)
    if data.count(b":") > _MOST_MEMBERS:
        raise Problem("body_too_large", "too many members, or colons")
    try:
        return from_json(data.removeprefix(BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise Problem("invalid_request", f"{what} is not JSON: {error}", status=400) from None


def check(model: type[_Model], value: object, *, status: int | None = None) -> _Model:
    """Return a validated value, or raise a ``Problem`` that says where and why it is not valid, without the values."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid([*_unknown(model, found), *found], status) from None


def _unknown(model: type[BaseModel], found: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Take the parts out of what is wrong whose names nobody knows; tell of each what is expected in its place."""
    unknown = [each for each in found if each["type"] == "extra_forbidden"]
    found[:] = [each for each in found if each["type"] != "extra_forbidden"]
    missing = [each["loc"] for each in found if each["type"] == "missing"]
    for each in unknown[:MOST_ERRORS]:
        *place, name = each["loc"]
        known = _model_at(model, place).model_fields
        yield {**each, "msg": expected(name, known, [last for *at, last in missing if at == place])}


def _model_at(model: type[BaseModel], place: Sequence[object]) -> type[BaseModel]:
    """Return the model of what is at a place, which has members of its own."""
    for name in filter(lambda name: isinstance(name, str), place):
        kinds = [model.model_fields[cast("str", name)].annotation]
        while not (isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel)):
            kinds = [*kinds[1:], *get_args(kinds[0])]
        model = kinds[0]
    return model


_PIXEL = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": _MOST_CHANNELS}
_ROW = {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "number"}, _PIXEL]}}
ARRAY_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": _ROW,
    "description": "Rows of pixels, each a number or 1, 3 (RGB) or 4 (RGBA) numbers from 0 to 255.",
}


def check_array(value: object) -> NDArray[np.uint8] | InvalidImage:
    """Return the array that rows of numbers or of pixels are, or why they make none; raise where they are no such."""
    if isinstance(value, list) and value and all(map(_is_row, value)):
        return _from_rows(value)
    raise ValueError(f"must be rows of numbers, or of pixels of 1 to {_MOST_CHANNELS} numbers, RGB and not BGR")


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or not row:
        return False
    kinds = set(map(type, row))
    pixels = [item for item in row if type(item) is list] if list in kinds else []
    for pixel in pixels:
        kinds.update(map(type, pixel))
    return kinds <= {int, float, list} and all(
        1 <= len(pixel) <= _MOST_CHANNELS and list not in map(type, pixel) for pixel in pixels
    )


def _from_rows(rows: list[Any]) -> NDArray[np.uint8] | InvalidImage:
    try:
        array = np.array(rows, np.float64)
    except (ValueError, OverflowError, TypeError):
        return InvalidImage("the rows of an array must all be equally long, as must the pixels")
    if array.size and not (array.min() >= 0 and array.max() <= _FULL):  # so written that NaN fails
        return InvalidImage(f"the numbers of an array must lie from 0 to {_FULL}")
    return np.rint(array).astype(np.uint8)


def _from_base64(text: str) -> bytes | InvalidImage:
    if text[:5].lower() == "data:":
        prefix = _DATA_URI.match(text)
        if not prefix:
            return InvalidImage("a data URI must say ;base64, before its data")
        text = text[prefix.end() :]
    if not (len(text) % 4 or "-" in text or "_" in text):  # where this one is no less strict, and five times as fast
        with suppress(ValidationError):
            return cast("bytes", _BASE64.validate_strings(text))  # type: ignore[arg-type]  # text is one of these
    try:
        return b64decode(text.encode("ascii").translate(None, _SPACES), validate=True)
    except (binascii.Error, ValueError):
        return InvalidImage("this is not base64: A-Z, a-z, 0-9, + and /, padded by = to a multiple of four")


class Strict(BaseModel):
    """A part of a request: nothing is guessed, and nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _one_of(schema: dict[str, Any]) -> None:
    properties = schema.pop("properties")
    schema.pop("additionalProperties")
    schema.pop("type")
    properties["array"] = dict(ARRAY_SCHEMA)
    schema["oneOf"] = [
        {"type": "object", "title": name, "properties": {name: part}, "required": [name], "additionalProperties": False}
        for name, part in properties.items()
    ]


class Image(Strict):
    """An image, in exactly one of three forms."""

    model_config = ConfigDict(json_schema_extra=_one_of)

    base64: Annotated[str, Option("An encoded image in base64, or a data URI."), AfterValidator(_from_base64)] = ""
    url: Annotated[
        str, Option("Where to fetch an encoded image, by http or https.", at_most=MAX_URL_LENGTH), Field(min_length=1)
    ] = ""
    array: Annotated[Any, AfterValidator(check_array)] = None
    _data: bytes | InputError | None = PrivateAttr(None)  # of a file, or what was fetched

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("needs exactly one of base64, url and array")
        return self

    @classmethod
    def of_file(cls, data: bytes) -> "Image":
        """Return an image that came as a file."""
        return cls.model_construct({"base64"}, _data=data)  # which passes for a valid one

    @property
    def is_elsewhere(self) -> bool:
        """Whether it must be fetched before it can be loaded."""
        return bool(self.url) and self._data is None

    def fetch(self, policy: FetchPolicy, take: Callable[[int], None]) -> None:
        """Fetch it; ``load`` tells what went wrong, if anything did."""
        try:
            self._data = fetch(self.url, policy, take)
        except InputError as error:
            self._data = error

    def load(self) -> bytes | NDArray[np.uint8]:
        """Return what the library reads, once; an ``InputError`` where it is no image, or could not be fetched."""
        data: Any = self._data  # which is free when the caller is done with it
        self._data = None
        if data is None:
            data = self.array if self.array is not None else (self.base64 or b"")
        if isinstance(data, InputError):
            raise data
        return cast("bytes | NDArray[np.uint8]", data)


def loaded(image: Image) -> Any:  # noqa: ANN401  # what the library reads
    """Return what the library reads, or the error in its place."""
    try:
        return image.load()
    except InputError as error:
        return error


class Request(Strict):
    """A body: JSON, or a form where it has images."""

    example: ClassVar[Mapping[str, Any] | None] = None  # for the OpenAPI document
    needed: ClassVar[bool] = True  # whether there must be one
    optional: ClassVar[tuple[str, ...]] = ()  # the images that a form may leave out

    @property
    def pictures(self) -> list[Image]:
        """All images that it holds."""
        members = [getattr(self, name) for name in _files(type(self))]
        return [image for member in members for image in (member if isinstance(member, list) else [member]) if image]

    @classmethod
    def read(cls, body: Body, max_images: int) -> Self:
        """Read a body; a ``Problem`` where it is not valid, of another content type, or has too many images."""
        if not (body.data or cls.needed):
            return cls()
        kinds = cls.media_types()
        if body.media_type == FORM and FORM in kinds:
            return check(cls, _with_query(cls, _read_form(cls, body, max_images), body.query))
        if body.media_type.startswith(IMAGE[:-1]) and IMAGE in kinds:
            ((name, several),) = _needed(cls).items()
            image = Image.of_file(body.data)
            return check(cls, _with_query(cls, {name: [image] if several else image}, body.query))
        if body.media_type != _JSON:
            raise Problem("unsupported_media_type", f"send {' or '.join(kinds)}")
        value = read_json(body.data)
        images = value.get("images") if isinstance(value, dict) else None
        if isinstance(images, list) and len(images) > max_images:  # before each is looked at
            raise Problem("invalid_request", f"images: at most {max_images}", field="images")
        return check(cls, _with_query(cls, value, body.query))

    @classmethod
    def media_types(cls) -> tuple[str, ...]:
        """Return what a body may be: a form where it has images, an image by itself where it may have one alone."""
        return (_JSON, FORM, IMAGE)[: 1 + bool(_files(cls)) + (len(_needed(cls)) == 1)]

    @classmethod
    def texts(cls) -> dict[str, dict[str, Any]]:
        """Return the schemas of what a form and the query may hold besides images; none where there are no images."""
        members = {}
        for name, (kinds, schema) in (_texts(cls) if _files(cls) else {}).items():
            told = {key: schema[key] for key in ("description", "enum", "default") if schema.get(key) is not None}
            if kinds == {"boolean"}:
                told |= {"pattern": _FLAG_PATTERN, "default": str(schema.get("default", False)).lower()}
            elif "enum" in told:
                told["enum"] = [*told["enum"], ""]
            else:
                told.pop("default", None)
            for kind in kinds & _AS_TEXT.keys():
                told["description"] = f"{told['description']} {_AS_TEXT[kind]}"
            members[name] = {**told, "type": "string"}
        return members

    @classmethod
    def form(cls) -> dict[str, Any]:
        """Return the schema of the form, derived from that of the JSON."""
        files = _files(cls)
        members = {
            name: {"type": "array", "items": FILE, "minItems": 1, MOST_IMAGES: True} if several else FILE
            for name, several in files.items()
        }
        return {"type": "object", "properties": {**members, **cls.texts()}, "required": list(_needed(cls))}


_AS_TEXT = {**dict.fromkeys(("array", "numbers"), "With commas between them."), "object": "As JSON."}
_FLAG = {**dict.fromkeys(("true", "1", "on", "yes"), True), **dict.fromkeys(("false", "0", "off", "no"), False)}
_FLAG_PATTERN = f"^({'|'.join(re.sub('([a-z])', lambda of: f'[{of[1].upper()}{of[1]}]', word) for word in _FLAG)})?$"
_Texts: TypeAlias = Mapping[str, tuple[frozenset[str], Mapping[str, Any]]]


@cache
def _files(model: type[Request]) -> Mapping[str, bool]:
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind is not Image for name, kind in kinds.items() if kind in (Image, list[Image])}


def _needed(model: type[Request]) -> Mapping[str, bool]:
    """Return the images that there must be, each with whether it is a list."""
    return {name: several for name, several in _files(model).items() if name not in model.optional}


@cache
def _texts(model: type[Request]) -> _Texts:
    """Return the members that a form can hold as texts: the types of their JSON but for null, and their schema.

    Objects are JSON, lists of words, and of a few "numbers", have commas between them; lists of anything else are in no
    form. A string that cannot be any, and hence not empty, is a "word".
    """
    schema = model.model_json_schema()
    found = {}
    for name, member in schema["properties"].items():
        variants = member.get("anyOf", [member])
        kinds = frozenset(
            "word"
            if kind == "string" and variant.keys() & {"enum", "format"}
            else "numbers"
            if kind == "array" and "maxItems" in variant and variant["items"].get("type") == "number"
            else kind
            for variant in variants
            if (kind := variant.get("type", "object")) != "null"
        )
        if name not in _files(model) and (kinds != {"array"} or "enum" in member["items"]):
            found[name] = (kinds, member)
    return found


def _with_query(model: type[Request], value: object, query: Mapping[str, str]) -> object:
    """Add what the query says to what a body says; where they disagree, neither counts."""
    if not isinstance(value, dict):
        return value
    for name, said in _read_texts(model, query).items():
        if name in value and value[name] != said:
            raise Problem("invalid_request", f"{name}: the query and the body disagree", field=name)
        value[name] = said
    return value


def _read_texts(model: type[Request], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what texts mean; an empty one means that nothing is given, where it cannot be the value itself."""
    known = {name: kinds for name, (kinds, _) in _texts(model).items()}
    return {
        name: _typed(name, text, known[name]) if name in known else text
        for name, text in texts.items()
        if text or "string" in known.get(name, {"string"})
    }


def _read_form(model: type[Request], body: Body, max_images: int) -> dict[str, Any]:
    files = _files(model)
    images, texts = _parts(body, model, sum(max_images if several else 1 for several in files.values()))
    value = _read_texts(model, texts)
    for name, several in files.items():
        own = [Image.of_file(data) for part, data in images if part == name]
        if several and len(own) > max_images:
            raise Problem("invalid_request", f"{name}: at most {max_images}", field=name)
        if several or own:
            value[name] = own if several else own[-1]
    return value


def _typed(name: str, text: str, kinds: frozenset[str]) -> object:
    if kinds & {"number", "integer"}:
        with suppress(ValueError):
            number = float(text)
            return int(number) if "integer" in kinds and number.is_integer() else number
        if not kinds & {"string", "word"}:
            raise Problem("invalid_request", f"{name}: must be a number", field=name)
    if kinds == {"boolean"}:
        if text.lower() not in _FLAG:
            raise Problem("invalid_request", f"{name}: must be true or false", field=name)
        return _FLAG[text.lower()]
    if kinds == {"numbers"}:
        try:
            return list(map(float, text.split(",")))
        except ValueError:
            raise Problem("invalid_request", f"{name}: must be numbers with commas between", field=name) from None
    if kinds == {"array"}:
        return [part.strip() for part in text.split(",")]
    if kinds == {"object"}:
        try:
            return read_json(text.encode())
        except Problem:
            raise Problem("invalid_request", f"{name}: must be JSON", field=name) from None
    return text


def _parts(body: Body, model: type[Request], most: int) -> tuple[Sequence[tuple[str, bytes]], Mapping[str, str]]:
    """Return the parts that are images, whatever they say of their content; and the others, as text.

    Files of a name that nobody knows are images where that cannot be in doubt.
    """
    names, known = _files(model), _texts(model)
    images: list[tuple[str, bytes]] = []
    texts: dict[str, str] = {}
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True

    def add(part: FormField | File) -> None:
        name, data = _content(part)
        if name in names and isinstance(part, FormField) and data and data.isascii():
            detail = f"{name}: expected a file, as of curl -F {name}=@FILE; URLs and base64 are for {_JSON}"
            raise Problem("invalid_request", detail, field=name)
        if name in names or (isinstance(part, File) and name not in known):
            images.append((name, data))
        elif name in texts:
            raise Problem("invalid_request", f"{name}: given twice", field=name)
        else:
            texts[name] = data.decode("utf-8", "replace")
        if len(images) > most or len(texts) > _MOST_PARTS_BESIDES_IMAGES:
            raise Problem("invalid_request", f"too many parts; at most {most} may be images", field=name)

    _, options = parse_options_header(body.content_type)
    limits = {"MAX_MEMORY_FILE_SIZE": len(body.data) + 1}  # so that no image is ever written to a disk
    try:
        parser = FormParser(FORM, add, add, end, boundary=options.get(b"boundary"), config=limits)
        parser.write(body.data)
        parser.finalize()
    except FormParserError:
        ended = False
    if not ended:
        raise Problem("invalid_request", "the body is not multipart/form-data, or is cut off", status=400)
    sent = {name for name, _ in images}
    needed = names.keys() - set(model.optional)
    if (unknown := sorted(sent - names.keys())) and len(sent) + len(needed) > 2:  # noqa: PLR2004  # one of each
        detail = f"{unknown[0]}: images are sent as {' and '.join(names)}, and not under this name"
        raise Problem("invalid_request", detail, field=unknown[0])
    found = [(name if name in names else next(iter(names)), data) for name, data in images], {**texts}
    images.clear()  # which the parser knows, and that is in a cycle
    texts.clear()
    return found


def _content(part: FormField | File) -> tuple[str, bytes]:
    if isinstance(part, FormField):
        name, data = part.field_name, part.value or b""
    else:
        part.file_object.seek(0)
        name, data = part.field_name, part.file_object.read()
        # It lies in memory, in a cycle. It is not closed: some versions of the parser flush it once more at the end.
        part.file_object.truncate(0)
    return (name or b"").decode("utf-8", "replace").removesuffix("[]"), data
