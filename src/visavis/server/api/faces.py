"""The native API, and what operators ask for."""

from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, JSONResponse, Response

from visavis.server.answers import ModelsResponse
from visavis.server.api import work
from visavis.server.api.models import packs_in_plain
from visavis.server.api.work import Answer, Job
from visavis.server.auth import require
from visavis.server.openapi import FOR_EVERY_CALL, document, json_body, problem_answers
from visavis.server.reading import (
    ELSEWHERE,
    FORM,
    Body,
    Encoded,
    Source,
    check,
    json_value,
    read_form,
    read_images,
    source_of,
    typed,
)
from visavis.server.requests import (
    MOST_IMAGES,
    DetectResponse,
    EmbedResponse,
    ImagesRequest,
    Status,
    VerifyRequest,
    VerifyResponse,
)
from visavis.server.runner import run

_FILE = {"type": "string", "format": "binary"}
_NUMBER = {"type": "string", "description": "A number; as in JSON."}
_IMAGES_FORM = {
    "type": "object",
    "properties": {
        "images": {"type": "array", "items": _FILE, "minItems": 1, MOST_IMAGES: True},
        "faces": {"type": "string", "enum": ["all", "largest", "only"], "default": "all"},
        "min_face": _NUMBER,
        "quality": {"type": "string", "enum": ["true", "false"], "default": "false"},
        "attributes": {"type": "string", "description": "Names with commas between them, such as liveness,pose."},
    },
    "required": ["images"],
}
_VERIFY_FORM = {
    "type": "object",
    "properties": {
        "a": _FILE,
        "b": _FILE,
        "faces": {"type": "string", "enum": ["largest", "only"], "default": "largest"},
        "threshold": _NUMBER,
        "fmr": {"type": "string", "description": "A number, or strict, balanced or lenient; as in JSON."},
        "operating_point": {"type": "string", "enum": ["default", "strict", "balanced", "lenient"]},
        "min_face": _NUMBER,
        "require_live": {"type": "string", "enum": ["true", "false"], "default": "false"},
    },
    "required": ["a", "b"],
}
_IMAGE = {"base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}
_IMAGES_EXAMPLE = {"images": [_IMAGE, {"url": "https://example.com/group.jpg"}], "faces": "all"}
_VERIFY_EXAMPLE = {"a": _IMAGE, "b": {"url": "https://example.com/selfie.jpg"}, "operating_point": "default"}

REQUESTS = (ImagesRequest, VerifyRequest)

router = APIRouter()
_READ = [Depends(require("read"))]


@router.post(
    "/v1/detect",
    tags=["faces"],
    summary="Find faces",
    dependencies=_READ,
    openapi_extra=json_body(ImagesRequest, example=_IMAGES_EXAMPLE, form=_IMAGES_FORM),
    **document(DetectResponse, "unsupported_pack"),
)
async def detect(request: Request) -> Response:
    """Find the faces of one or more images. An image that cannot be used has an error in place of faces."""
    return await run(request, partial(_parse_images, work.detect, request.app.state.settings.max_images))


@router.post(
    "/v1/embed",
    tags=["faces"],
    summary="Find faces and embed them",
    dependencies=_READ,
    openapi_extra=json_body(ImagesRequest, example=_IMAGES_EXAMPLE, form=_IMAGES_FORM),
    **document(EmbedResponse, "unsupported_pack"),
)
async def embed(request: Request) -> Response:
    """Find the faces of one or more images, and turn each into an embedding to compare or keep."""
    return await run(request, partial(_parse_images, work.embed, request.app.state.settings.max_images))


@router.post(
    "/v1/verify",
    tags=["faces"],
    summary="Tell whether two images show the same person",
    dependencies=_READ,
    openapi_extra=json_body(VerifyRequest, example=_VERIFY_EXAMPLE, form=_VERIFY_FORM),
    **document(VerifyResponse, "unsupported_pack"),
)
async def verify(request: Request) -> Response:
    """Compare the largest face of each image, or the only one. An image that shows none is an error, 422."""
    return await run(request, _parse_verify)


@router.get(
    "/v1/models",
    tags=["models"],
    summary="List the packs of models",
    dependencies=_READ,
    response_model=ModelsResponse,
    responses=problem_answers(*FOR_EVERY_CALL),
)
def models(request: Request) -> dict[str, Any]:
    """List the packs with their files, licences, training data, and thresholds by name, and which are installed."""
    recognizer = request.app.state.recognizer
    packs = packs_in_plain(recognizer, request.app.state.settings.models_dir)
    return {"default": recognizer.pack.name, "packs": packs}


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["operations"], summary="Is the process alive?", response_model=Status)
async def healthz() -> dict[str, str]:
    """Answer, which is all that is asked for."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["operations"],
    summary="Does the server take calls?",
    response_model=Status,
    responses={503: {"model": Status, "description": "It is starting or stopping."}},
)
async def readyz(request: Request) -> Response:
    """Tell load balancers whether to send calls here."""
    ready: bool = request.app.state.ready
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


@router.get(
    "/metrics",
    tags=["operations"],
    summary="Metrics for Prometheus",
    dependencies=_READ,
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text format."},
        **problem_answers(*FOR_EVERY_CALL),
    },
)
async def metrics(request: Request) -> Response:
    """Report requests, latencies, queues, images and faces of this process."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """Show the API to people: one page that needs nothing from elsewhere."""
    page = resources.files("visavis.server").joinpath("docs.html").read_text(encoding="utf-8")
    return HTMLResponse(page)


def _parse_images(act: Callable[..., Answer], max_images: int, body: Body) -> Job[Answer]:
    options, sources = read_images(ImagesRequest, body, max_images)
    return Job(sources, lambda recognizer, found: act(recognizer, options, found))


def _parse_verify(body: Body) -> Job[Answer]:
    if body.media_type == FORM:
        images, texts = read_form(body, frozenset({"a", "b"}), max_images=2)
        given = dict(images)
        options = check(VerifyRequest, {**typed(texts), **dict.fromkeys(given, ELSEWHERE)})
        sources: tuple[Source, ...] = (Encoded(given["a"]), Encoded(given["b"]))
    else:
        options = check(VerifyRequest, json_value(body))
        sources = (source_of(options.a), source_of(options.b))
    return Job(sources, lambda recognizer, found: work.verify(recognizer, options, found))
