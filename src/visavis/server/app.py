"""The application: its parts put together."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
import anyio.to_thread
import cv2
import numpy as np
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from visavis import __version__
from visavis.config import Settings
from visavis.core.image import ImageLimits
from visavis.errors import SetupError, VisavisError
from visavis.fetch import FetchPolicy
from visavis.models.recognizer import Recognizer
from visavis.server import openapi
from visavis.server.api import faces, galleries, recognition, subjects
from visavis.server.auth import AccessRefused, Rate, RateLimiter
from visavis.server.dialects import seeds
from visavis.server.galleries import served_galleries
from visavis.server.keys import KeyStore, default_keys_file
from visavis.server.limits import BodyLimits
from visavis.server.observability import Metrics, Observed, current_request_id, log_setup_error
from visavis.server.pool import Overloaded, WorkerPool
from visavis.server.problems import Problem, from_library
from visavis.server.runner import ClientGone

_FETCHERS = 8
_AUDITS_WAITING = 1
_SHARE_OF_EXPORTS = 2  # of the workers, one in so many makes pages of exports
_FETCHES_WAITING = 64
_CLIENT_GONE = 499  # for the log: nobody reads it

_PARTS = (faces, recognition, galleries, subjects, seeds)
_SHARE_OF_IMPORTS = 2  # together they may keep one of so many workers busy

_DESCRIPTION = """\
Find faces, embed them, tell whether two images show the same person, and remember people to find them again.

Images come as files in `multipart/form-data`, or in JSON as `base64`, `url` or `array`. Every error is a problem
details object (RFC 9457) whose `code` is stable, and every answer has an `X-Request-Id`.
"""
_TAGS = [
    {"name": "faces", "description": "Detect, embed, verify."},
    {"name": "recognition", "description": "Enrol people into galleries, and tell who somebody is."},
    {"name": "galleries", "description": "Where people are remembered: each with a policy and a log."},
    {"name": "subjects", "description": "The people of a gallery, and their samples."},
    {"name": "models", "description": "What does the work."},
    {"name": "operations", "description": "For those who run the server."},
    {"name": "old services", "description": "What clients of the two services before this one know."},
]


def create_app(settings: Settings, recognizer: Recognizer | None = None) -> FastAPI:
    """Return the application.

    Args:
        settings: of the server.
        recognizer: in place of the one that the settings describe, which is loaded at startup.

    Raises:
        InvalidOption: a setting is out of its range.
    """
    app = FastAPI(
        title="visavis",
        version=__version__,
        summary="Face recognition",
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[],
    )
    state = app.state
    state.settings, state.recognizer, state.ready = settings, recognizer, False
    state.metrics = Metrics()
    state.keys = key_store(settings) if settings.keys_required else None
    state.rate = RateLimiter(Rate.parse(settings.rate)) if settings.rate else None
    state.limits = ImageLimits(settings.max_bytes, settings.max_pixels)
    state.fetch_policy = FetchPolicy(
        allow=settings.fetch_allow, max_bytes=settings.max_bytes, total_timeout_s=settings.fetch_timeout_s
    )
    app.user_middleware.extend(_middleware(settings, state.metrics))
    for part in _PARTS:
        app.include_router(part.router)
    openapi.install(app, [request for part in _PARTS for request in part.REQUESTS], settings.max_images)
    _install_handlers(app)
    return app


def key_store(settings: Settings) -> KeyStore:
    """Return where the keys are."""
    return KeyStore(settings.keys_file or default_keys_file(), settings.keys)


def load_recognizer(settings: Settings) -> Recognizer:
    """Load the models, and let the first inference, which is slow, be over.

    Raises:
        InvalidOption: a setting is out of its range.
        SetupError: a model or the runtime is missing or damaged.
    """
    recognizer = Recognizer(
        settings.pack,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads or 1,
        streams=_workers(settings),
        min_face=settings.min_face,
        fmr=settings.fmr,
        limits=ImageLimits(settings.max_bytes, settings.max_pixels),
        cache_dir=settings.cache_dir,
        models_dir=settings.models_dir,
    )
    side = recognizer.pack.template.side
    black = np.zeros((side, side, 3), np.uint8)
    recognizer.detect(black)
    recognizer.embed_chips([black])
    return recognizer


def _workers(settings: Settings) -> int:
    return settings.workers or _cores()


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state, settings = app.state, app.state.settings
    cv2.setNumThreads(1)  # the workers are the threads
    if state.recognizer is None:
        state.recognizer = await anyio.to_thread.run_sync(load_recognizer, settings)
    state.pool = WorkerPool(_workers(settings), settings.queue)
    state.audits = WorkerPool(1, _AUDITS_WAITING, "audit")
    state.export_turns = anyio.CapacityLimiter(max(1, _workers(settings) // _SHARE_OF_EXPORTS))
    state.import_turns = anyio.CapacityLimiter(max(1, _workers(settings) // _SHARE_OF_IMPORTS))
    state.import_fetches = anyio.CapacityLimiter(_FETCHERS)
    state.fetch_pool = WorkerPool(_FETCHERS, _FETCHES_WAITING, "fetch")
    state.metrics.watch(state.pool, "pool")
    state.metrics.watch(state.fetch_pool, "fetch")
    state.metrics.describe(state.recognizer)
    async with served_galleries(settings, state.recognizer, state.metrics.count_expired) as state.galleries:
        state.ready = True
        try:
            yield
        finally:
            state.ready = False
            await anyio.to_thread.run_sync(state.fetch_pool.close)
            await anyio.to_thread.run_sync(state.audits.close)
            await anyio.to_thread.run_sync(state.pool.close)


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Return the layers between a client and the routes, outermost first."""
    layers = [Middleware(Observed, metrics=metrics)]
    if settings.cors:
        layers.append(Middleware(_NativeCors, origins=settings.cors))
    return [*layers, Middleware(BodyLimits, settings.max_body_bytes, settings.read_timeout_s)]


_CORS_HEADERS = ("Authorization", "Content-Type", "X-API-Key", "X-Request-Id")


class _NativeCors:
    """CORS for the native API; the old services have their own."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=(*_CORS_HEADERS, "If-Match", "If-None-Match", "Idempotency-Key"),
            expose_headers=("ETag", "Location", "Retry-After", "X-Request-Id"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        native = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._cors if native else self._app)(scope, receive, send)


def _install_handlers(app: FastAPI) -> None:
    """Let every exception end in a problem."""
    for kind in (Problem, VisavisError, AccessRefused, Overloaded, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    app.add_exception_handler(ClientGone, _answer_nobody)


async def _answer_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, SetupError):
        log_setup_error(error)
    response = _problem(request, error).to_response(current_request_id())
    response.headers.update(getattr(request.state, "answer_headers", {}))
    return response


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case VisavisError():
            return from_library(error)
        case AccessRefused():
            return Problem(error.code, str(error), headers=error.headers, status=error.status)
        case Overloaded():
            headers = {"Retry-After": str(error.retry_after_s)}
            return Problem("overloaded", "all workers are busy and the queue is full", headers=headers)
        case HTTPException():
            return _of_routing(request, error.status_code)
    raise error


def _of_routing(request: Request, status: int) -> Problem:
    if status == HTTPStatus.NOT_FOUND:
        return Problem("not_found", "see /docs for what there is")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem("method_not_allowed", "see the header Allow", headers={"Allow": _allowed(request)})
    return Problem("invalid_request", "the request is malformed", status=status)


def _allowed(request: Request) -> str:
    """Return the methods of all routes of a path."""
    everywhere = [route for part in _PARTS for route in part.router.routes]
    here = [route for route in everywhere if route.matches(request.scope)[0] != Match.NONE]
    return ", ".join(sorted({method for route in here for method in getattr(route, "methods", None) or ()}))
