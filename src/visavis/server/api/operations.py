"""Routes for those who run the server: models, health, metrics."""

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from visavis import __version__
from visavis.config import Scope
from visavis.errors import VisavisError
from visavis.models.installation import default_cache_dir, default_models_dir
from visavis.record import Record
from visavis.server.auth import guards, require
from visavis.server.keys import KeyRecord
from visavis.server.openapi import about, answers
from visavis.server.pool import AllGalleries, InUse, in_worker
from visavis.server.problems import Problem
from visavis.service.checks import Setup, check_all
from visavis.service.packs import ServedPack, described_packs
from visavis.service.results import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsResponse(Record):
    """The packs there are, and the one in use."""

    default: str
    """The pack that this server uses."""
    packs: tuple[ServedPack, ...]
    """All that it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Record):
    """How the server is."""

    _sparse = True

    status: str
    """ok; ready or not ready."""
    reason: str | None = None
    """Why it is not ready, for those who may do everything here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Record):
    """What the caller may do."""

    scope: Scope
    """read, probe, enrol or admin: each allows what those before it do."""
    galleries: tuple[str, ...]
    """The only ones that the key is for; none where it is for all."""
    key: str | None
    """Its ID; null where the server asks for none, and everything is allowed."""
    version: str
    """Of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(Record):
    """What the server found when it checked itself."""

    checks: tuple[Check, ...]
    """In the order in which it looked."""


router = APIRouter()
_READ, _METRICS = ([Depends(require(scope))] for scope in ("read", "metrics"))


@router.get("/v1/models", tags=["models"], **about(_READ))
@answers(ModelsResponse)
def models(request: Request) -> JSONResponse:
    """List the packs with their files, licences, training data, and thresholds by name, and which are installed."""
    state = request.app.state
    packs = described_packs(state.recognizer, state.settings.models_dir or default_models_dir())
    return JSONResponse(ModelsResponse(default=state.recognizer.pack.name, packs=packs).to_dict())


@router.get("/v1/access", tags=["operations"], **about(_READ))
@answers(Access)
async def access(request: Request) -> JSONResponse:
    """Tell what the key that was sent allows, or the absence of one."""
    key: KeyRecord | None = getattr(request.state, "key", None)
    told = Access(
        scope=key.scope if key else "admin",
        galleries=key.galleries if key else (),
        key=key.id if key else None,
        version=__version__,
    )
    return JSONResponse(told.to_dict())


async def _setup(request: Request, recognizer: InUse, galleries: AllGalleries) -> Setup:
    settings = request.app.state.settings
    return Setup(
        pack=recognizer.pack.name,
        runtime=recognizer.runtime,
        models_dir=Path(settings.models_dir or default_models_dir()),
        cache_dir=Path(settings.cache_dir or default_cache_dir()),
        load=lambda: recognizer,
        galleries=lambda: nullcontext(galleries),
    )


@router.get("/v1/doctor", tags=["operations"], **about(guards("admin", everywhere=True)))
@partial(in_worker, pool="audits")  # it reads all models, and some of each gallery
def doctor(setup: Annotated[Setup, Depends(_setup)]) -> Diagnosis:
    """Check runtime, models, cache and galleries, and run an inference; tell problems and their remedies."""
    return Diagnosis(checks=tuple(check_all(setup)))


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", tags=["operations"], **about())
@answers(Status)
async def healthz() -> JSONResponse:
    """Tell that the process is alive: it answers."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    tags=["operations"],
    **about(also={503: {"content": {}, "description": "It is starting or stopping, or its store cannot be used."}}),
)
@answers(Status)
async def readyz(request: Request) -> JSONResponse:
    """Tell load balancers whether to send calls here, and whoever has a key of the scope admin why not."""
    state = request.app.state
    wrong = await state.store_check.wrong() if state.ready else "it is starting or stopping"
    if wrong is None:
        return JSONResponse(Status(status="ready").to_dict())
    told = None
    with suppress(Problem, VisavisError):  # whoever may not know it, or nobody knows who that is
        await require("admin", everywhere=True)(request, None, None)
        told = wrong
    return JSONResponse(Status(status="not ready", reason=told).to_dict(), 503)


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text format."}


@router.get("/metrics", tags=["operations"], response_class=Response, **about(_METRICS, also={200: _TEXT}))
async def metrics(request: Request) -> Response:
    """Report requests, latencies, queues, images and faces of this process."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
