"""Routes and schemas of the two services that visavis replaces.

The face embedding service: ``/face-embedding/url`` answers with the key ``face_embedding``, its later forms ``/img``
and ``/array`` with the key ``embedding``. The face verification function: ``POST /`` with ``truth`` and ``check``.
Bad input, which was a fault of theirs, is a 4xx here. Nested arrays may be faces that are already cut out: where none
is found in them, the array is the face. Embeddings are 128 numbers: packs that make others do not answer with them.
Where a pack compares by angles they have the length 1, so that clients may go on comparing by Euclidean distance.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from pydantic import AfterValidator, ConfigDict, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response
from typing_extensions import Self

from visavis.errors import InputError, NoFace
from visavis.models.catalogue import PACKS
from visavis.models.recognizer import Recognizer, compare
from visavis.record import Record
from visavis.server.api.pages import wants_page
from visavis.server.auth import require
from visavis.server.dialects import whole_face
from visavis.server.openapi import about
from visavis.server.pool import Answer, InUse, in_worker
from visavis.server.problems import Problem, from_library
from visavis.server.reading import (
    ARRAY_SCHEMA,
    MAX_URL_LENGTH,
    MOST_IMAGES,
    Body,
    Image,
    Request,
    check,
    check_array,
    read_json,
)
from visavis.types import Face, FloatArray, Shape

_BYTE_VALUES = range(256)
_BYTE = {"type": "integer", "minimum": 0, "maximum": 255}
_BYTES = {"type": "array", "items": _BYTE, "minItems": 1}
_SEVERAL = {"type": "array", "items": _BYTES, "minItems": 1, MOST_IMAGES: True}
_BATCH = {"type": "array", "items": dict(ARRAY_SCHEMA), "minItems": 1, "maxItems": 1}
_ARRAYS = (dict(ARRAY_SCHEMA), _BATCH)


def _pixels(value: object) -> Image:
    """Return the image that rows of pixels are, with or without a leading axis of 1."""
    try:
        array = check_array(value)
    except ValueError:
        if not (isinstance(value, list) and len(value) == 1):
            raise
        array = check_array(value[0])
    return Image.model_construct(array=array)


def _image(value: object) -> Image:
    return Image(base64=value) if isinstance(value, str) else _pixels(value)


def _files(value: object) -> list[Image]:
    """Return the files that lists of their bytes are: one, or several."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be the bytes of an encoded image as a list of numbers, or several such lists")
    return [Image.of_file(_file(numbers)) for numbers in (value if isinstance(value[0], list) else [value])]


def _file(numbers: object) -> bytes:
    if not isinstance(numbers, list) or not numbers or not set(map(type, numbers)) <= {int, float}:
        raise ValueError("the bytes of an encoded image must be a list of whole numbers")
    whole = numbers if float not in map(type, numbers) else [int(n) if n in _BYTE_VALUES else -1 for n in numbers]
    if not (min(whole) >= 0 and max(whole) < len(_BYTE_VALUES)):
        raise ValueError("the bytes of an encoded image must be whole numbers from 0 to 255")
    return bytes(whole)


_Crop = Annotated[Any, AfterValidator(_pixels), Field(json_schema_extra={"anyOf": [*_ARRAYS]})]
_BAD_REQUEST, _CREATED = 400, 201


class _Lenient(Request):
    """A body of JSON, whatever its content type says, in which unknown members are passed over."""

    model_config = ConfigDict(extra="ignore")

    @property
    def pictures(self) -> list[Image]:
        """All its members, which are images or lists of them."""
        members = [getattr(self, name) for name in type(self).model_fields]
        return [image for member in members for image in (member if isinstance(member, list) else [member])]

    @classmethod
    def read(cls, body: Body, max_images: int) -> Self:
        """Read a body; what is wrong with it is a 400."""
        wanted = check(cls, read_json(body.data), status=_BAD_REQUEST)
        if len(getattr(wanted, "array", ())) > max_images:
            raise Problem("invalid_request", f"array: at most {max_images} images", field="array", status=_BAD_REQUEST)
        return wanted


class UrlRequest(_Lenient):
    """An image by its URL."""

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]

    @cached_property
    def pictures(self) -> list[Image]:
        """The image, to be fetched."""
        return [Image(url=self.url)]


class ImgRequest(_Lenient):
    """An image in base64, as a data URI, or as rows of pixels."""

    img: Annotated[Any, AfterValidator(_image), Field(json_schema_extra={"anyOf": [{"type": "string"}, *_ARRAYS]})]


class ArrayRequest(_Lenient):
    """The bytes of an encoded image as a list of numbers; or several such lists, of one person."""

    array: Annotated[Any, AfterValidator(_files), Field(json_schema_extra={"anyOf": [_BYTES, _SEVERAL]})]


class MatchRequest(_Lenient):
    """Two faces as rows of pixels, with or without a leading axis of 1."""

    truth: _Crop
    check: _Crop


@dataclass(frozen=True, slots=True)
class UrlVector(Record):
    """An embedding and where its image came from."""

    url: str
    """Of the image."""
    vector: Annotated[FloatArray, Shape((0,))]
    """(128,)."""


@dataclass(frozen=True, slots=True)
class Vector(Record):
    """An embedding."""

    vector: Annotated[FloatArray, Shape((0,))]
    """(128,)."""


@dataclass(frozen=True, slots=True)
class UrlResponse(Record):
    """The first version's answer."""

    face_embedding: UrlVector
    """Of the largest face."""


@dataclass(frozen=True, slots=True)
class VectorResponse(Record):
    """The later version's answer."""

    embedding: Vector
    """Of the largest face."""


@dataclass(frozen=True, slots=True)
class MatchResponse(Record):
    """Whether the two are the same person."""

    Match: Literal["Yes", "No"]
    """Yes where they are."""


_DIMENSION = 128
_ONE = {"images": 1, "faces": 1}
_VARY = {"Vary": "Accept"}
_PAGE = "<h1>Face Embedding API</h1>"
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET,POST"}
_PREFLIGHT = {**_CORS, "Access-Control-Allow-Headers": "Content-Type", "Access-Control-Max-Age": "3600"}


async def _answer_with_cors(request: HttpRequest) -> None:
    """Let every answer, errors too, be read by pages from anywhere, as the old function did."""
    request.state.answer_headers = _CORS


async def _insist_on_old_length(request: HttpRequest) -> None:
    """Refuse to answer with embeddings of another length than clients of the old service store and compare.

    Raises:
        Problem: the pack makes such.
    """
    pack = request.app.state.recognizer.pack
    if pack.dimension != _DIMENSION:
        fitting = " or ".join(other.name for other in PACKS.values() if other.dimension == _DIMENSION)
        raise Problem(
            "unsupported_pack",
            f"embeddings are {_DIMENSION} numbers here, and the server's pack {pack.name} makes {pack.dimension}: ask "
            f"/v1/embed, or serve with VISAVIS_PACK={fitting}",
        )


router = APIRouter(tags=["old services"])
_READ = [Depends(require("read"))]
_EMBEDDING = [*_READ, Depends(_insist_on_old_length)]


@router.head("/", include_in_schema=False)
@router.head("/face-embedding", include_in_schema=False)
@router.get("/", response_class=HTMLResponse)
@router.get("/face-embedding", response_class=HTMLResponse)
async def page(request: HttpRequest) -> Response:
    """Say that this is a face embedding API; lead browsers to the page that is for people."""
    if request.url.path == "/" and wants_page(request):
        return RedirectResponse("ui/", headers=_VARY)
    return HTMLResponse(_PAGE, headers=_VARY)


@router.post("/face-embedding/url", **about(_EMBEDDING, "unsupported_pack", status=_CREATED))
@in_worker
def embed_url(recognizer: InUse, wanted: UrlRequest) -> Answer[UrlResponse]:
    """Answer with the embedding of the largest face, in the first version's shape."""
    (vector,) = _embed(recognizer, wanted, "url")
    return Answer(UrlResponse(UrlVector(wanted.url, vector)), _ONE)


@router.post("/face-embedding/img", **about(_EMBEDDING, "unsupported_pack", status=_CREATED))
@in_worker
def embed_img(recognizer: InUse, wanted: ImgRequest) -> Answer[VectorResponse]:
    """Answer with the embedding of the largest face, in the later version's shape."""
    (vector,) = _embed(recognizer, wanted, "img")
    return Answer(VectorResponse(Vector(vector)), _ONE)


@router.post("/face-embedding/array", **about(_EMBEDDING, "unsupported_pack", status=_CREATED))
@in_worker
def embed_array(recognizer: InUse, wanted: ArrayRequest) -> Answer[VectorResponse]:
    """Answer with the mean of the embeddings of the largest faces, in the later version's shape."""
    vectors = _embed(recognizer, wanted, "array")
    counts = {"images": len(vectors), "faces": len(vectors)}
    mean = _as_compared(recognizer, np.mean(vectors, axis=0))
    return Answer(VectorResponse(Vector(mean)), counts)


@router.post("/", **about([Depends(_answer_with_cors), Depends(require("read", any_origin=True))]))
@in_worker
def match(recognizer: InUse, wanted: MatchRequest) -> Answer[MatchResponse]:
    """Answer Yes where the largest faces are nearer than the pack's threshold, and there is no reason to doubt it."""
    truth, other = (_face(recognizer, *each) for each in zip(wanted.pictures, ("truth", "check"), strict=True))
    same = compare(recognizer.pack, truth, other, recognizer.rule).same
    return Answer(MatchResponse("Yes" if same else "No"), {"images": 2, "faces": 2})


@router.options("/", status_code=204, response_class=Response)
async def preflight() -> Response:
    """Answer what browsers ask before they post."""
    return Response(status_code=204, headers=_PREFLIGHT)


def _embed(recognizer: Recognizer, wanted: _Lenient, *fields: str) -> list[FloatArray]:
    """Return the embedding of the largest face of each image; where an array has none, it is the face.

    Args:
        recognizer: that embeds.
        wanted: with the images.
        fields: the members that they are, for messages; the last one is that of all further ones.
    """
    names = [*fields, *fields[-1:] * len(wanted.pictures)]
    faces = (_face(recognizer, image, name) for image, name in zip(wanted.pictures, names, strict=False))
    return [_as_compared(recognizer, face.embedding) for face in faces if face.embedding is not None]


def _face(recognizer: Recognizer, image: Image, field: str) -> Face:
    """Return the largest face of an image, with its embedding and quality; or an array where none is found in it."""
    try:
        data = image.load()
        faces = recognizer.embed(data, faces="largest", quality=True)
        if faces:
            return faces[0]
        if image.array is None:
            raise NoFace("no face found")
        return whole_face(recognizer, data)
    except InputError as error:
        raise from_library(error, field) from None


def _as_compared(recognizer: Recognizer, embedding: FloatArray) -> FloatArray:
    """Return an embedding of length 1 where only its direction counts, else as it is."""
    if recognizer.pack.metric == "cosine":
        unit: FloatArray = embedding / max(np.linalg.norm(embedding), np.finfo(np.float32).tiny)
        return unit
    return embedding
