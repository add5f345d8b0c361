"""The application: its parts put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from visavis import __version__
from visavis.config import Settings
from visavis.core.image import ImageLimits
from visavis.core.work import give_large_blocks_back
from visavis.errors import VisavisError
from visavis.fetch import FetchPolicy
from visavis.hints import meant
from visavis.models.recognizer import Recognizer
from visavis.models.runtime import usable_cores
from visavis.options import Recognition, options_of
from visavis.server import dialects, openapi
from visavis.server.api import bulk, faces, galleries, operations, pages, recognition, samples, subjects
from visavis.server.auth import Rate, RateLimiter
from visavis.server.galleries import StoreCheck, served_galleries
from visavis.server.keys import KeyStore, default_keys_file
from visavis.server.listening import Account, BodyLimits
from visavis.server.observability import Metrics, Observed
from visavis.server.origins import Callers
from visavis.server.pool import ClientGone, WorkerPool
from visavis.server.problems import Problem, from_library, invalid

_FETCHERS, _FETCHES_WAITING = 8, 64
_AUDITS_WAITING = 1
_QUICK, _QUICK_WAITING = 4, 64
_BODIES_IN_MEMORY = 16  # as large as one may be: what all requests together may hold
_SHARE = 2  # of the workers, one in so many may be busy with imports, and as many with exports
_CLIENT_GONE = 499  # for the log: nobody reads it

_API = (faces, operations, pages, recognition, bulk, galleries, samples, subjects)
_LONGEST_PATH = 8  # parts of any route

_DESCRIPTION = """\
Find faces, embed them, tell whether two images show the same person, and remember people to find them again.

Images come as files in `multipart/form-data`, in JSON as `base64`, `url` or `array`, or one by itself as `image/*`.
Every error is a problem details object (RFC 9457) whose `code` is stable, and every answer has an `X-Request-Id`.
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
    """Return the application; without a recognizer, the one that the settings describe is loaded at startup.

    Raises:
        InvalidOption: a setting is out of its range.
    """
    metrics, account = Metrics(), Account(_BODIES_IN_MEMORY * settings.max_body_bytes)
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
        middleware=[  # outermost first
            Middleware(Observed, metrics=metrics),
            *([Middleware(_NativeCors, origins=settings.cors)] if settings.cors else []),
            Middleware(BodyLimits, account, settings.max_body_bytes, settings.read_timeout_s),
        ],
    )
    state = app.state
    state.settings, state.recognizer, state.metrics, state.ready = settings, recognizer, metrics, False
    state.keys, state.callers = key_store(settings), Callers(settings)
    state.account = account
    state.rate = RateLimiter(Rate.parse(settings.rate)) if settings.rate else None
    state.search_rate = RateLimiter(Rate.parse(settings.search_rate)) if settings.search_rate else None
    state.fetch_policy = FetchPolicy(
        allow=settings.fetch_allow, max_bytes=settings.max_bytes, total_timeout_s=settings.fetch_timeout_s
    )
    state.dialects = dialects.chosen(settings)
    state.routes = [route for part in (*_API, *state.dialects) for route in part.router.routes]
    for part in (*_API, *state.dialects):
        app.include_router(part.router)
    openapi.install(app, settings.max_images)
    for kind in (Problem, VisavisError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    for left in (ClientGone, ClientDisconnect):
        app.add_exception_handler(left, _answer_nobody)
    return app


def key_store(settings: Settings) -> KeyStore:
    """Return where the keys are."""
    return KeyStore(settings.keys_file or default_keys_file(), settings.keys)


def load_recognizer(settings: Settings) -> Recognizer:
    """Load the models, and let the first inference, which is slow, be over."""
    given: dict[str, Any] = {
        name: getattr(settings, name) for name in options_of(Recognition) if hasattr(settings, name)
    }
    limits = ImageLimits(settings.max_bytes, settings.max_pixels)
    own = {"threads": settings.threads or 1, "streams": (settings.workers or usable_cores())}
    recognizer = Recognizer(settings.pack, limits=limits, **{**given, **own})
    side = recognizer.pack.template.side
    black = np.zeros((side, side, 3), np.uint8)
    recognizer.detect(black)
    recognizer.embed_chips([black])
    return recognizer


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state, settings = app.state, app.state.settings
    cv2.setNumThreads(1)  # the workers are the threads
    give_large_blocks_back()
    if state.recognizer is None:
        state.recognizer = await anyio.to_thread.run_sync(load_recognizer, settings)
    workers = settings.workers or usable_cores()
    state.pool = WorkerPool(workers, settings.queue)
    state.quick = WorkerPool(_QUICK, _QUICK_WAITING, "quick")
    state.audits = WorkerPool(1, _AUDITS_WAITING, "audit")
    state.export_turns = anyio.CapacityLimiter(max(1, workers // _SHARE))
    state.import_turns = anyio.CapacityLimiter(max(1, workers // _SHARE))
    state.import_fetches = anyio.CapacityLimiter(_FETCHERS)
    state.fetch_pool = WorkerPool(_FETCHERS, _FETCHES_WAITING, "fetch")
    state.metrics.watch(state.recognizer, pool=state.pool, quick=state.quick, fetch=state.fetch_pool)
    async with served_galleries(settings, state.recognizer, state.metrics.expired.inc) as state.galleries:
        state.store_check = StoreCheck(state.galleries.store.galleries)
        state.ready = True
        try:
            yield
        finally:
            state.ready = False
            for pool in (state.fetch_pool, state.audits, state.quick, state.pool):
                await anyio.to_thread.run_sync(pool.close)


class _NativeCors:
    """CORS for the native API; the old services have their own."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                *("Authorization", "Content-Type", "X-API-Key", "X-Request-Id"),
                *("If-Match", "If-None-Match", "Idempotency-Key"),
            ),
            expose_headers=("ETag", "Location", "Retry-After", "X-Request-Id"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        native = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._cors if native else self._app)(scope, receive, send)


async def _answer_problem(request: Request, error: Exception) -> Response:
    response = dialects.answer(request.app.state.dialects, request, _problem(request, error))
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
        case RequestValidationError():
            return invalid(error.errors())
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return Problem("not_found", _hint(request) + "see /docs for what there is")
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            here = [route for route in request.app.state.routes if route.matches(request.scope)[0] != Match.NONE]
            allowed = {method for route in here for method in getattr(route, "methods", None) or ()}
            return Problem("method_not_allowed", "see the header Allow", headers={"Allow": ", ".join(sorted(allowed))})
        case HTTPException():
            return Problem("invalid_request", "the request is malformed", status=error.status_code)
    raise error


def _hint(request: Request) -> str:
    """Name the route that somebody may mean whose path leads nowhere: without its version, or with another word."""
    routes = request.app.state.routes
    words = {part for route in routes for part in route.path.split("/") if part and "{" not in part}
    parts = request.scope["path"].strip("/").split("/")[:_LONGEST_PATH]
    paths = [parts, ["v1", *parts]]
    for place, part in enumerate(parts):
        word = meant(part, words)
        paths += [[*parts[:place], word, *parts[place + 1 :]]] if word else []
    for path in paths:
        scope = {**request.scope, "path": "/" + "/".join(path)}
        for route in routes:
            if route.matches(scope)[0] == Match.FULL:
                return f"{request.method} {route.path} may be meant; "
    return ""
