"""Subjects of galleries and their samples over HTTP: looked at, changed, exported, forgotten."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from visavis.server.answers import ReceiptInfo, SubjectDetail, SubjectExport, SubjectInfo, SubjectsResponse
from visavis.server.api import gallery_work as work
from visavis.server.api.gallery_work import answer_of, job, open_gallery, subject_in_path
from visavis.server.api.work import Answer, Job
from visavis.server.auth import require
from visavis.server.conditions import Conditions
from visavis.server.openapi import ETAG, IF_MATCH, IF_NONE_MATCH, answers, document, errors, inputs, json_body
from visavis.server.reading import Body, check, json_value, number_in_path, read_query
from visavis.server.requests import Page, Query, SubjectChange
from visavis.server.runner import run

_SUBJECTS = "/v1/galleries/{gallery}/subjects"
_SUBJECT = "/v1/galleries/{gallery}/subjects/{subject}"
_SAMPLE = "/v1/galleries/{gallery}/subjects/{subject}/samples/{sample}"
_PICTURE = f"{_SAMPLE}/picture"
_EXPORT = f"{_SUBJECT}/export"

_EXAMPLE = {"name": "Ada Lovelace", "expires_at": "2030-12-31T23:59:59Z"}
_NOT_MODIFIED: dict[int | str, Any] = {304: {"description": "It still is in one of these states.", "headers": ETAG}}
_FOUND = ("gallery_not_found", "subject_not_found")
_BINARY = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

REQUESTS = (SubjectChange,)

router = APIRouter(tags=["subjects"])
_READ, _ENROL, _ADMIN = ([Depends(require(scope))] for scope in ("read", "enrol", "admin"))


@router.get(
    _SUBJECTS,
    summary="List the subjects of a gallery",
    dependencies=_READ,
    openapi_extra=inputs(_SUBJECTS, query=Page),
    **answers(SubjectsResponse, "gallery_not_found"),
)
async def list_subjects(request: Request) -> Response:
    """List subjects page by page, in the order in which they were enrolled."""
    page = read_query(Page, request)
    return await answer_of(request, partial(work.list_subjects, page=page))


@router.get(
    _SUBJECT,
    summary="Show a subject",
    dependencies=_READ,
    openapi_extra=inputs(_SUBJECT, IF_MATCH, IF_NONE_MATCH),
    **answers(SubjectDetail, *_FOUND, "version_mismatch", headers=ETAG, also=_NOT_MODIFIED),
)
async def show_subject(request: Request) -> Response:
    """Show what is known of a subject, and its samples."""
    read_query(Query, request)
    conditions = Conditions.of(request)
    return await answer_of(request, partial(work.show_subject, id_=subject_in_path(request), conditions=conditions))


@router.patch(
    _SUBJECT,
    summary="Change what is known of a subject",
    dependencies=_ENROL,
    openapi_extra=inputs(_SUBJECT, IF_MATCH, body=json_body(SubjectChange, example=_EXAMPLE)),
    **document(
        SubjectInfo,
        *(*_FOUND, "version_mismatch", "store_unavailable", "store_full"),
        headers=ETAG,
    ),
)
async def change_subject(request: Request) -> Response:
    """Change name, metadata, consent or expiry; null clears, and what is not given stays."""
    read_query(Query, request)
    conditions = Conditions.of(request)

    subject = subject_in_path(request)

    def parse(body: Body) -> Job[Answer]:
        wanted = check(SubjectChange, json_value(body, also=""))
        return job(lambda: work.change_subject(open_gallery(request), subject, wanted, conditions))

    return await run(request, parse)


@router.delete(
    _SUBJECT,
    summary="Forget a subject",
    dependencies=_ADMIN,
    openapi_extra=inputs(_SUBJECT, IF_MATCH),
    **answers(ReceiptInfo, *_FOUND, "version_mismatch"),
)
async def forget_subject(request: Request) -> Response:
    """Forget a subject with all samples and all that is known of it, and answer with a receipt."""
    read_query(Query, request)
    conditions = Conditions.of(request)
    return await answer_of(request, partial(work.forget_subject, id_=subject_in_path(request), conditions=conditions))


@router.get(
    _EXPORT,
    summary="Export a subject",
    dependencies=_ADMIN,
    openapi_extra=inputs(_EXPORT),
    **answers(SubjectExport, *_FOUND),
)
async def export_subject(request: Request) -> Response:
    """Return all that is stored of a subject, with embeddings, pictures and log entries: for the person."""
    read_query(Query, request)
    return await answer_of(request, partial(work.export_subject, id_=subject_in_path(request)))


@router.get(
    _PICTURE,
    summary="Show what is stored of a sample's image",
    dependencies=_ADMIN,
    openapi_extra=inputs(_PICTURE),
    response_class=Response,
    responses={
        200: {"content": _BINARY, "description": "The chip or the image, as the gallery's policy says."},
        **errors(*_FOUND, "sample_not_found"),
    },
)
async def picture(request: Request) -> Response:
    """Return the aligned face or the whole image, where the gallery keeps it. The log tells that it was looked at."""
    read_query(Query, request)
    sample = number_in_path(request, "sample")
    return await answer_of(request, partial(work.picture, id_=subject_in_path(request), sample=sample))


@router.delete(
    _SAMPLE,
    summary="Forget a sample",
    dependencies=_ADMIN,
    openapi_extra=inputs(_SAMPLE),
    **answers(ReceiptInfo, *_FOUND, "sample_not_found"),
)
async def forget_sample(request: Request) -> Response:
    """Forget a sample; its subject stays, even without any."""
    read_query(Query, request)
    sample = number_in_path(request, "sample")
    return await answer_of(request, partial(work.forget_sample, id_=subject_in_path(request), sample=sample))
