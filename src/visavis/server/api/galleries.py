"""Galleries over HTTP: made, looked at, changed, forgotten; their logs."""

import threading
from functools import partial

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from visavis.server.answers import AuditResponse, GalleriesResponse, GalleryInfo, LogResponse, ReceiptInfo
from visavis.server.api import gallery_work as work
from visavis.server.api.gallery_work import answer, answer_of, galleries_of, job, key_of, open_gallery
from visavis.server.api.work import Answer, Job
from visavis.server.auth import check_covers, require
from visavis.server.openapi import LOCATION, answers, document, inputs, json_body
from visavis.server.reading import Body, check, json_value, read_query
from visavis.server.requests import GalleryChange, NewGallery, Page, Query
from visavis.server.runner import run

_ALL = "/v1/galleries"
_ONE = "/v1/galleries/{gallery}"
_LOG = "/v1/galleries/{gallery}/log"
_AUDIT = "/v1/galleries/{gallery}/audit"

_POLICY_EXAMPLE = {"keep": "chips", "retention_days": 365, "consent_required": True}
_NEW_EXAMPLE = {"name": "team", "policy": _POLICY_EXAMPLE}

REQUESTS = (NewGallery, GalleryChange)

router = APIRouter()
_READ = [Depends(require("read"))]
_ADMIN = [Depends(require("admin"))]
_ADMIN_OF_ALL = [Depends(require("admin", everywhere=True))]


@router.get(
    _ALL,
    tags=["galleries"],
    summary="List the galleries",
    dependencies=_READ,
    openapi_extra=inputs(_ALL),
    **answers(GalleriesResponse),
)
async def list_galleries(request: Request) -> Response:
    """List the galleries that the key may see, by name."""
    read_query(Query, request)
    key = key_of(request)
    covers = key.covers if key else lambda _name: True
    return await answer(request, partial(work.list_galleries, covers=covers))


@router.post(
    _ALL,
    tags=["galleries"],
    summary="Make a gallery",
    dependencies=_ADMIN,
    openapi_extra=inputs(_ALL, body=json_body(NewGallery, example=_NEW_EXAMPLE)),
    **document(GalleryInfo, "gallery_exists", "store_unavailable", "store_full", status=201, headers=LOCATION),
)
async def create(request: Request) -> Response:
    """Make a gallery for embeddings of the server's models. What is not said of its policy is the default."""
    read_query(Query, request)

    def parse(body: Body) -> Job[Answer]:
        wanted = check(NewGallery, json_value(body, also=""))
        check_covers(key_of(request), wanted.name)
        return job(partial(work.create, galleries_of(request), wanted))

    return await run(request, parse)


@router.get(
    _ONE,
    tags=["galleries"],
    summary="Show a gallery",
    dependencies=_READ,
    openapi_extra=inputs(_ONE),
    **answers(GalleryInfo, "gallery_not_found"),
)
async def show(request: Request) -> Response:
    """Show a gallery's policy, its embedding space, and how many it holds."""
    read_query(Query, request)
    return await answer_of(request, work.show)


@router.patch(
    _ONE,
    tags=["galleries"],
    summary="Change a gallery's policy",
    dependencies=_ADMIN,
    openapi_extra=inputs(_ONE, body=json_body(GalleryChange, example={"policy": {"threshold": 0.5, "margin": None}})),
    **document(GalleryInfo, "gallery_not_found", "store_unavailable", "store_full"),
)
async def change(request: Request) -> Response:
    """Change some of the policy; the rest stays, and what is enrolled already stays."""
    read_query(Query, request)

    def parse(body: Body) -> Job[Answer]:
        wanted = check(GalleryChange, json_value(body, also=""))
        return job(lambda: work.change(open_gallery(request), wanted))

    return await run(request, parse)


@router.delete(
    _ONE,
    tags=["galleries"],
    summary="Forget a gallery",
    dependencies=_ADMIN,
    openapi_extra=inputs(_ONE),
    **answers(ReceiptInfo, "gallery_not_found"),
)
async def forget(request: Request) -> Response:
    """Forget a gallery with everybody in it; where it is encrypted, destroy its key. Its log stays."""
    read_query(Query, request)
    return await answer_of(request, work.forget)


@router.get(
    _AUDIT,
    tags=["galleries"],
    summary="Look for what there is to mend",
    dependencies=_ADMIN,
    openapi_extra=inputs(_AUDIT),
    **answers(AuditResponse, "gallery_not_found", "space_mismatch"),
)
async def audit(request: Request) -> Response:
    """Look for subjects that may be one person, samples that look wrong or are poor. Takes long in large galleries."""
    read_query(Query, request)
    state, over = request.app.state, threading.Event()
    try:
        return await answer_of(
            request,
            lambda gallery: work.audit(gallery, lambda: state.ready and not over.is_set()),
            lambda _pool, audit: state.audits.submit(audit),  # a worker of their own: one may take hours
        )
    finally:
        over.set()  # also where the client has left


@router.get(
    _LOG,
    tags=["galleries"],
    summary="Show a gallery's log",
    dependencies=_ADMIN,
    openapi_extra=inputs(_LOG, query=Page),
    **answers(LogResponse, "gallery_not_found"),
)
async def log(request: Request) -> Response:
    """Show who did what in a gallery, oldest first; also in one that is forgotten."""
    page = read_query(Page, request)
    return await answer(request, partial(work.log, gallery=request.path_params["gallery"], page=page))


@router.get(
    "/v1/log",
    tags=["galleries"],
    summary="Show the log of all galleries",
    dependencies=_ADMIN_OF_ALL,
    openapi_extra=inputs("/v1/log", query=Page),
    **answers(LogResponse),
)
async def whole_log(request: Request) -> Response:
    """Show who did what in all galleries, oldest first; not with a key that is limited to some."""
    page = read_query(Page, request)
    return await answer(request, partial(work.log, gallery=None, page=page))
