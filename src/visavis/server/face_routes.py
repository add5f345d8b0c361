"""Faces and galleries over HTTP: enrol, identify, verify; and galleries as streams of lines."""

from functools import partial

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from visavis.server import face_work as work
from visavis.server.auth import require
from visavis.server.exporting import export_gallery
from visavis.server.face_requests import EnrolRequest, IdentifyRequest, VerifySubjectRequest
from visavis.server.gallery_answers import EnrolResponse, IdentifyResponse, SubjectVerificationInfo
from visavis.server.gallery_calls import open_gallery, subject_in_path
from visavis.server.gallery_docs import IDEMPOTENCY_KEY, errors, inputs
from visavis.server.gallery_requests import ExportQuery, ImportQuery
from visavis.server.importing import import_gallery
from visavis.server.inputs import Body, Encoded, Source, check, read_form, source_of
from visavis.server.ndjson import MEDIA_TYPE
from visavis.server.openapi import document, json_body
from visavis.server.problems import Problem
from visavis.server.reading import ELSEWHERE, FORM, Query, header_once, json_value, read_images, read_query, typed
from visavis.server.runner import run
from visavis.server.schemas import MOST_IMAGES
from visavis.server.work import Answer, Job

_ENROL_PATH = "/v1/galleries/{gallery}/enrol"
_IDENTIFY_PATH = "/v1/galleries/{gallery}/identify"
_VERIFY_PATH = "/v1/galleries/{gallery}/subjects/{subject}/verify"
_IMPORT_PATH = "/v1/galleries/{gallery}/import"
_EXPORT_PATH = "/v1/galleries/{gallery}/export"

_LONGEST_KEY = 180
_FILE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_NUMBER = {"type": "string", "description": "A number; as in JSON."}
_RATE = {"type": "string", "description": "A number, or strict, balanced or lenient; as in JSON."}
_FLAG = {"type": "string", "enum": ["true", "false"], "default": "false"}
_FILES = {"type": "array", "items": _FILE, "minItems": 1, MOST_IMAGES: True}
_ENROL_FORM = {
    "type": "object",
    "properties": {
        "images": _FILES,
        **dict.fromkeys(("subject", "name", "consent", "expires_at", "source"), _TEXT),
        "metadata": {"type": "string", "description": "A JSON object."},
        "faces": {"type": "string", "enum": ["only", "largest"], "default": "only"},
        "min_face": _NUMBER,
        "allow_conflict": _FLAG,
    },
    "required": ["images"],
}
_IDENTIFY_FORM = {
    "type": "object",
    "properties": {
        "images": _FILES,
        "faces": {"type": "string", "enum": ["all", "largest", "only"], "default": "all"},
        **dict.fromkeys(("limit", "threshold", "min_face"), _NUMBER),
        "fmr": _RATE,
        "require_live": _FLAG,
    },
    "required": ["images"],
}
_VERIFY_FORM = {
    "type": "object",
    "properties": {
        "image": _FILE,
        "faces": {"type": "string", "enum": ["largest", "only"], "default": "largest"},
        **dict.fromkeys(("threshold", "min_face"), _NUMBER),
        "fmr": _RATE,
        "require_live": _FLAG,
    },
    "required": ["image"],
}
_IMAGE = {"base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}
_ENROL_EXAMPLE = {"subject": "ada", "name": "Ada Lovelace", "images": [_IMAGE, {"url": "https://example.com/ada.jpg"}]}
_IDENTIFY_EXAMPLE = {"images": [{"url": "https://example.com/door.jpg"}], "limit": 3}
_VERIFY_EXAMPLE = {"image": _IMAGE}
_LINES_IN = """\
{"subject": "ada", "name": "Ada Lovelace", "image": {"url": "https://example.com/ada.jpg"}}
{"subject": "grace", "image": {"base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}, "key": "grace-1"}
"""
_LINES_OUT = {MEDIA_TYPE: {"schema": {"type": "string", "description": "A JSON object a line."}}}
_LINES = {"description": "A JSON object a line, as an export has them. A line that is none has an error of its own."}
_IMPORT_BODY = {"requestBody": {"required": False, "content": {MEDIA_TYPE: {"schema": _LINES, "example": _LINES_IN}}}}

REQUESTS = (EnrolRequest, IdentifyRequest, VerifySubjectRequest)

router = APIRouter(tags=["recognition"])
_READ, _ENROL, _ADMIN = ([Depends(require(scope))] for scope in ("read", "enrol", "admin"))
_OF_GALLERY = ("gallery_not_found", "space_mismatch", "unsupported_pack", "store_unavailable", "store_full")
_STREAMED = ("gallery_not_found", "request_timeout", "unsupported_media_type")


@router.post(
    _ENROL_PATH,
    summary="Enrol a person",
    dependencies=_ENROL,
    openapi_extra=inputs(
        _ENROL_PATH, IDEMPOTENCY_KEY, body=json_body(EnrolRequest, example=_ENROL_EXAMPLE, form=_ENROL_FORM)
    ),
    **document(
        EnrolResponse,
        *(*_OF_GALLERY, "conflict", "idempotency_key_reused"),
        status=201,
        also={200: {"model": EnrolResponse, "description": "Everything was enrolled before, as its key says."}},
    ),
)
async def enrol(request: Request) -> Response:
    """Enrol the faces of images, or embeddings, of one person.

    The answer has a result for each, also for those that were refused; where all were, it is the first one's problem.
    """
    read_query(Query, request)
    key = _idempotency_key(request)
    max_images = request.app.state.settings.max_images

    def parse(body: Body) -> Job[Answer]:
        gallery = open_gallery(request)  # before anything is fetched for it
        wanted, sources = read_images(EnrolRequest, body, max_images)
        return Job(sources, lambda recognizer, found: work.enrol(recognizer, gallery, wanted, key, found))

    return await run(request, parse)


@router.post(
    _IDENTIFY_PATH,
    summary="Tell who the faces are",
    dependencies=_READ,
    openapi_extra=inputs(
        _IDENTIFY_PATH, body=json_body(IdentifyRequest, example=_IDENTIFY_EXAMPLE, form=_IDENTIFY_FORM)
    ),
    **document(IdentifyResponse, *_OF_GALLERY),
)
async def identify(request: Request) -> Response:
    """Look for the subjects that the faces of images, or embeddings, resemble. Whoever is nobody has the reason why."""
    read_query(Query, request)
    max_images = request.app.state.settings.max_images

    def parse(body: Body) -> Job[Answer]:
        gallery = open_gallery(request)
        wanted, sources = read_images(IdentifyRequest, body, max_images)
        return Job(sources, lambda recognizer, found: work.identify(recognizer, gallery, wanted, found))

    return await run(request, parse)


@router.post(
    _VERIFY_PATH,
    summary="Tell whether a face is a subject's",
    dependencies=_READ,
    openapi_extra=inputs(
        _VERIFY_PATH, body=json_body(VerifySubjectRequest, example=_VERIFY_EXAMPLE, form=_VERIFY_FORM)
    ),
    **document(SubjectVerificationInfo, *_OF_GALLERY, "subject_not_found", "sample_not_found"),
)
async def verify(request: Request) -> Response:
    """Compare the face of an image, or an embedding, with the nearest sample of a subject."""
    read_query(Query, request)
    subject = subject_in_path(request)

    def parse(body: Body) -> Job[Answer]:
        gallery = open_gallery(request)
        wanted, sources = _read_verify(body)
        return Job(sources, lambda _recognizer, found: work.verify(gallery, subject, wanted, found))

    return await run(request, parse)


@router.post(
    _IMPORT_PATH,
    summary="Enrol line by line",
    dependencies=_ENROL,
    openapi_extra=inputs(_IMPORT_PATH, query=ImportQuery, body=_IMPORT_BODY),
    response_class=Response,
    responses={
        200: {"content": _LINES_OUT, "description": "A result for each line, and a last line with `done`."},
        **errors(*_STREAMED, "body_too_large"),
    },
)
async def import_lines(request: Request) -> Response:
    """Enrol an export, or lines with an `image` in place of an `embedding`, however many there are.

    Results come while lines are still being sent. A line that is refused has its `error` and stops no other. Where the
    rest could not be read, the last line has `"done": false` and the `error`.
    """
    query = read_query(ImportQuery, request)
    return await import_gallery(request, partial(open_gallery, request), query)


@router.get(
    _EXPORT_PATH,
    summary="Export a gallery",
    dependencies=_ADMIN,
    openapi_extra=inputs(_EXPORT_PATH, query=ExportQuery),
    response_class=Response,
    responses={
        200: {"content": _LINES_OUT, "description": "A header, and a line for each sample."},
        **errors("gallery_not_found"),
    },
)
async def export(request: Request) -> Response:
    """Return a gallery as lines that can be imported: each sample with what is known of its subject."""
    query = read_query(ExportQuery, request)
    return await export_gallery(request, partial(open_gallery, request), query)


def _idempotency_key(request: Request) -> str | None:
    key = header_once(request, "Idempotency-Key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        detail = f"Idempotency-Key: must be 1 to {_LONGEST_KEY} printable ASCII characters"
        raise Problem("invalid_request", detail, field="Idempotency-Key")
    return key


def _read_verify(body: Body) -> tuple[VerifySubjectRequest, tuple[Source, ...]]:
    if body.media_type == FORM:
        images, texts = read_form(body, frozenset({"image"}), max_images=1)
        given = dict(images)
        wanted = check(VerifySubjectRequest, {**typed(texts), **dict.fromkeys(given, ELSEWHERE)})
        return wanted, tuple(map(Encoded, given.values()))
    wanted = check(VerifySubjectRequest, json_value(body))
    return wanted, (source_of(wanted.image),) if "image" in wanted.model_fields_set else ()
