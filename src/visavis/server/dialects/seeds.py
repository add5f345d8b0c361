"""Routes and schemas of the two services that visavis replaces.

The face embedding service: ``/face-embedding/url`` answers with the key ``face_embedding``, its later forms ``/img``
and ``/array`` with the key ``embedding``. The face verification function: ``POST /`` with ``truth`` and ``check``.
Bad input, which was a fault of theirs, is a 4xx here. Nested arrays may be faces that are already cut out: where none
is found in them, the array is the face. Embeddings are 128 numbers: packs that make others do not answer with them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, Response

from visavis.core.decide import distance_of
from visavis.core.image import read_image
from visavis.errors import InputError, NoFace
from visavis.models.catalogue import PACKS
from visavis.models.recognizer import Recognizer
from visavis.server.api.work import Answer, Job, to_json
from visavis.server.auth import require
from visavis.server.observability import Tally
from visavis.server.openapi import document, json_body
from visavis.server.problems import Problem, from_library
from visavis.server.reading import Base64, Body, Encoded, Pixels, Source, Url, check, load, read_json
from visavis.server.requests import ARRAY_SCHEMA, MAX_URL_LENGTH, MOST_IMAGES, check_array
from visavis.server.runner import run
from visavis.types import FloatArray

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


_BAD_REQUEST = 400
_CREATED = 201
_DIMENSION = 128
_PAGE = "<h1>Face Embedding API</h1>"
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET,POST"}
_PREFLIGHT = {**_CORS, "Access-Control-Allow-Headers": "Content-Type", "Access-Control-Max-Age": "3600"}


async def _answer_with_cors(request: Request) -> None:
    """Let every answer, errors too, be read by pages from anywhere, as the old function did."""
    request.state.answer_headers = _CORS


async def _insist_on_old_length(request: Request) -> None:
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


REQUESTS = (UrlRequest, ImgRequest, ArrayRequest, MatchRequest)

router = APIRouter(tags=["old services"])
_READ = [Depends(require("read"))]
_EMBEDDING = [*_READ, Depends(_insist_on_old_length)]


@router.head("/", include_in_schema=False)
@router.head("/face-embedding", include_in_schema=False)
@router.get("/", summary="The old service's page", response_class=HTMLResponse)
@router.get("/face-embedding", summary="The old service's page", response_class=HTMLResponse)
async def page() -> HTMLResponse:
    """Say that this is a face embedding API."""
    return HTMLResponse(_PAGE)


@router.post(
    "/face-embedding/url",
    summary="Embed the face of an image by URL",
    dependencies=_EMBEDDING,
    openapi_extra=json_body(UrlRequest),
    **document(UrlResponse, "unsupported_pack", status=_CREATED),
)
async def embed_url(request: Request) -> Response:
    """Answer with the embedding of the largest face, in the first version's shape."""
    return await run(request, _parse_url)


@router.post(
    "/face-embedding/img",
    summary="Embed the face of an image",
    dependencies=_EMBEDDING,
    openapi_extra=json_body(ImgRequest),
    **document(VectorResponse, "unsupported_pack", status=_CREATED),
)
async def embed_img(request: Request) -> Response:
    """Answer with the embedding of the largest face, in the later version's shape."""
    return await run(request, _parse_img)


@router.post(
    "/face-embedding/array",
    summary="Embed the face of encoded images of one person",
    dependencies=_EMBEDDING,
    openapi_extra=json_body(ArrayRequest),
    **document(VectorResponse, "unsupported_pack", status=_CREATED),
)
async def embed_array(request: Request) -> Response:
    """Answer with the mean of the embeddings of the largest faces, in the later version's shape."""
    return await run(request, partial(_parse_array, max_images=request.app.state.settings.max_images))


@router.post(
    "/",
    summary="Compare two faces",
    dependencies=[Depends(_answer_with_cors), *_READ],
    openapi_extra=json_body(MatchRequest),
    **document(MatchResponse),
)
async def match(request: Request) -> Response:
    """Answer Yes where the largest faces are nearer than the pack's threshold."""
    return await run(request, _parse_match)


@router.options("/", summary="Allow pages from anywhere to compare", status_code=204, response_class=Response)
async def preflight() -> Response:
    """Answer what browsers ask before they post."""
    return Response(status_code=204, headers=_PREFLIGHT)


def _parse_url(body: Body) -> Job[Answer]:
    request = check(UrlRequest, read_json(body.data), status=_BAD_REQUEST)

    def work(recognizer: Recognizer, sources: Sequence[Source]) -> Answer:
        vector = _embed(recognizer, sources[0], "url").tolist()
        return _created({"face_embedding": {"url": request.url, "vector": vector}})

    return Job((Url(request.url),), work)


def _parse_img(body: Body) -> Job[Answer]:
    img = check(ImgRequest, read_json(body.data), status=_BAD_REQUEST).img

    def work(recognizer: Recognizer, sources: Sequence[Source]) -> Answer:
        return _created({"embedding": {"vector": _embed(recognizer, sources[0], "img").tolist()}})

    return Job((Base64(img) if isinstance(img, str) else Pixels(img),), work)


def _parse_array(body: Body, max_images: int) -> Job[Answer]:
    files = check(ArrayRequest, read_json(body.data), status=_BAD_REQUEST).array
    if len(files) > max_images:
        raise Problem("invalid_request", f"array: at most {max_images} images", field="array", status=_BAD_REQUEST)

    def work(recognizer: Recognizer, sources: Sequence[Source]) -> Answer:
        vectors = [_embed(recognizer, source, "array") for source in sources]
        return _created({"embedding": {"vector": np.mean(vectors, axis=0).tolist()}}, len(vectors))

    return Job(tuple(map(Encoded, files)), work)


def _parse_match(body: Body) -> Job[Answer]:
    request = check(MatchRequest, read_json(body.data), status=_BAD_REQUEST)

    def work(recognizer: Recognizer, sources: Sequence[Source]) -> Answer:
        truth, other = (
            _embed(recognizer, source, name) for source, name in zip(sources, ("truth", "check"), strict=True)
        )
        same = distance_of(recognizer.pack.metric, truth, other) < recognizer.threshold
        return Answer(to_json({"Match": "Yes" if same else "No"}), Tally(images=2, faces=2))

    return Job((Pixels(request.truth), Pixels(request.check)), work)


def _created(value: object, count: int = 1) -> Answer:
    return Answer(to_json(value), Tally(images=count, faces=count), status=_CREATED)


def _embed(recognizer: Recognizer, source: Source, field: str) -> FloatArray:
    """Return the embedding of the largest face; where there is none, an array of pixels is the face.

    Raises:
        Problem: there is no face, or no image.
    """
    try:
        image = load(source)
        for face in recognizer.embed(image, faces="largest"):
            if face.embedding is not None:
                return face.embedding
        if not isinstance(source, Pixels):
            raise NoFace("no face found")
        side = recognizer.pack.template.side
        pixels = read_image(image, limits=recognizer.limits).pixels
        chip = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    except InputError as error:
        raise from_library(error, field) from None
    embedding: FloatArray = recognizer.embed_chips([chip])[0]
    return embedding
