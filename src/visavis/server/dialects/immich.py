"""Routes of Immich's machine learning: faces are answered here, and all else by Immich's own, the upstream.

Immich sends every task to the same servers, and turns from one that refuses any: one that knew faces alone would get
none of them before long, and the faces of its own models would mix with ours. Its column holds 512 numbers: zeros at
the end of shorter embeddings change no angle.

Source: immich-app/immich, ``machine-learning.repository.ts`` of its server and ``main.py`` of its machine learning.
"""

import json
from functools import cache, partial
from typing import Annotated, Any

import anyio
import httpx
import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from visavis.config import Settings
from visavis.core.urls import Target, parse_url
from visavis.errors import FetchFailed, FetchRefused, InvalidOption
from visavis.models.installation import find_pack
from visavis.models.recognizer import Recognizer
from visavis.server.auth import require
from visavis.server.dialects import confidence, corners, plain_status, vector_of
from visavis.server.openapi import about
from visavis.server.pool import Gone, perform, until_gone, while_here
from visavis.server.problems import Problem
from visavis.server.reading import Body, FormRequest, Image, read_json
from visavis.types import ImageSource

PATHS = ("/predict", "/ping")
_FACES = "facial-recognition"
_LENGTH = 512
_LEAST_DISTANCE = 0.1  # that can be set in Immich as the one below which two faces are one person
_CONNECT_S, _ANSWER_S = 5.0, 120.0  # it may have to load its models
_OK, _REDIRECTS = 200, range(300, 400)
_tls = cache(httpx.create_ssl_context)


def check_settings(settings: Settings) -> None:
    """Refuse to be without an upstream, and a pack whose embeddings Immich cannot hold or tell apart."""
    if settings.immich_upstream is None:
        raise InvalidOption(
            "dialects: immich needs VISAVIS_IMMICH_UPSTREAM, the URL of Immich's machine learning: it answers all that "
            "is not about faces"
        )
    _upstream(settings)
    pack = find_pack(settings.pack)
    if pack.dimension > _LENGTH or pack.metric != "cosine" or pack.cluster_threshold < _LEAST_DISTANCE:
        raise InvalidOption(
            f"dialects: immich needs embeddings of {_LENGTH} numbers at most that are told apart by their angles, and "
            f"not by small ones: serve with another pack than {pack.name}, such as sface"
        )


def answer(_request: Request, problem: Problem) -> Response:
    """Return what tells a problem."""
    if problem.code == "invalid_request":
        return JSONResponse({"detail": "Invalid request format."}, 422)
    return JSONResponse({"detail": problem.detail}, plain_status(problem), headers=dict(problem.headers))


class _Options(BaseModel):
    min_score: float = Field(default=0.7, alias="minScore")


class _Model(BaseModel):
    name: str = Field(alias="modelName")
    options: _Options = _Options()


class _Faces(BaseModel):
    detection: _Model
    recognition: _Model


class _Tasks(BaseModel):
    model_config = ConfigDict(extra="allow")

    faces: _Faces | None = Field(default=None, alias="facial-recognition")


class PredictForm(FormRequest):
    """Tasks in JSON, and the image or text that they are for."""

    entries: Annotated[_Tasks, BeforeValidator(lambda text: read_json(str(text).encode()))]
    image: Image | None = None
    text: str | None = None


router = APIRouter(tags=["Immich"])
_READ = about([Depends(require("read"))])


@router.get("/ping", **_READ)
async def ping(request: Request) -> Response:
    """Say whether the upstream is there: what is no use without it."""
    return await _upstream_answer(request, until_gone(request.receive, request.app.state.pool), "GET", "ping")


@router.post("/predict", **_READ)
async def predict(request: Request) -> Response:
    """Find and embed the faces of an image; have the upstream do all else."""
    state = request.app.state
    body = Body(request.headers.get("content-type", ""), await request.body())
    gone = until_gone(request.receive, state.pool)
    wanted = await perform(state, partial(PredictForm.read, body, 1), gone, pool="quick")
    faces, others = wanted.entries.faces, wanted.entries.model_extra
    if faces is None:
        kind = {"Content-Type": body.content_type}
        return await _upstream_answer(request, gone, "POST", "predict", content=body.data, headers=kind)
    if wanted.image is None:
        raise Problem("invalid_image", "an image must be provided")
    image, told = wanted.image.load(), {}
    if others:
        form = {"data": {"entries": json.dumps(others)}, "files": {"image": image}}
        theirs = await _upstream_answer(request, gone, "POST", "predict", **form)
        if theirs.status_code != _OK:
            return theirs
        try:
            told = {**json.loads(bytes(theirs.body))}
        except (TypeError, ValueError, RecursionError):
            raise Problem("server_unreachable", "the upstream does not answer in JSON") from None
    found = await perform(state, partial(_found, state.recognizer, image, faces.detection.options.min_score), gone)
    state.metrics.count(request.scope["route"].path, {"images": 1, "faces": len(found[_FACES])})
    return Response(to_json({**told, **found}), media_type="application/json")


vars(predict)["body"] = PredictForm  # for the OpenAPI document


def _found(recognizer: Recognizer, image: ImageSource, least: float) -> dict[str, Any]:
    faces = recognizer.embed(image)
    width, height = faces.size_wh
    told = [
        {
            "boundingBox": dict(zip(("x1", "y1", "x2", "y2"), corners(face), strict=True)),
            "embedding": json.dumps(np.pad(vector_of(face), (0, _LENGTH - recognizer.pack.dimension)).tolist()),
            "score": confidence(face),
        }
        for face in faces
        if confidence(face) >= least
    ]
    return {_FACES: told, "imageHeight": height, "imageWidth": width}


def _upstream(settings: Settings) -> Target:
    try:
        return parse_url(settings.immich_upstream or "")
    except FetchRefused as error:
        raise InvalidOption(
            f"immich_upstream must be a URL such as http://HOST:3003, and it is none: {error}"
        ) from None


async def _upstream_answer(
    request: Request,
    gone: Gone,
    method: str,
    path: str,
    **what: Any,  # noqa: ANN401  # as httpx takes it
) -> Response:
    """Have the upstream answer; what goes wrong on the way is a problem, and what it answers is not."""
    state = request.app.state
    target = _upstream(state.settings)
    url = f"{target.origin}{target.path.rstrip('/')}/{path}"
    headers = {**what.pop("headers", {}), "Accept-Encoding": "identity"}

    async def ask() -> Response:
        timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
        with anyio.fail_after(_ANSWER_S), state.account.share(state.settings.max_body_bytes) as take:
            async with (
                httpx.AsyncClient(timeout=timeout, trust_env=False, verify=_tls()) as client,
                client.stream(method, url, headers=headers, **what) as answer,
            ):
                parts = []
                async for part in answer.aiter_raw():
                    take(len(part))
                    parts.append(part)
        if answer.status_code in _REDIRECTS:
            raise Problem("server_unreachable", "the upstream redirects, which is not followed")
        kind = {name: value for name, value in answer.headers.items() if name == "content-type"}
        return Response(b"".join(parts), answer.status_code, kind)

    try:
        return await while_here(gone, ask())
    except (TimeoutError, httpx.TimeoutException):
        raise Problem("server_unreachable", "the upstream does not answer in time", status=504) from None
    except (httpx.HTTPError, FetchFailed) as error:
        raise Problem("server_unreachable", f"the upstream does not answer: {type(error).__name__}") from None
