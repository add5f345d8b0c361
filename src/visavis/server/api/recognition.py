"""Routes of faces and galleries: enrol, identify, verify, import and export."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from visavis.errors import InputError, SampleNotFound, StateError, SubjectNotFound, VisavisError
from visavis.galleries.checks import check_embedding
from visavis.models.recognizer import Recognizer
from visavis.server.answers import EnrolResponse, IdentifyResponse, SubjectVerificationInfo
from visavis.server.api.bulk import export_gallery, import_gallery
from visavis.server.api.gallery_work import open_gallery, subject_in_path
from visavis.server.api.work import Answer, Job, each, failure, load_or_fail, spread, to_json
from visavis.server.auth import require
from visavis.server.ndjson import MEDIA_TYPE
from visavis.server.observability import Tally
from visavis.server.openapi import IDEMPOTENCY_KEY, document, errors, inputs, json_body
from visavis.server.problems import Problem, from_library
from visavis.server.reading import (
    ELSEWHERE,
    FORM,
    Body,
    Encoded,
    Source,
    check,
    header_once,
    json_value,
    load,
    read_form,
    read_images,
    read_query,
    source_of,
    typed,
)
from visavis.server.requests import (
    MOST_IMAGES,
    EnrolRequest,
    ExportQuery,
    IdentifyRequest,
    ImportQuery,
    Query,
    VerifySubjectRequest,
)
from visavis.server.runner import run
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled, Identification
from visavis.types import FloatArray, Quality

_OK, _CREATED = 200, 201
_ID_BYTES = 8


def answer_enrol(
    recognizer: Recognizer, gallery: OpenGallery, wanted: EnrolRequest, key: str | None, sources: Sequence[Source]
) -> Answer:
    """Enrol faces of one person.

    Raises:
        Problem: every one was refused; it is that of the first, and its ``errors`` are all of them.
    """
    field = "images" if sources else "embeddings"
    results = list(
        gallery.enrol_many(
            _enrolments(wanted, key, sources, recognizer.pack.dimension),
            faces=wanted.faces,
            min_face=wanted.min_face,
            allow_conflict=wanted.allow_conflict,
        )
    )
    items = [_enrolled(result, f"{field}.{number}") for number, result in enumerate(results)]
    done = [result for result in results if not isinstance(result, VisavisError)]
    if not done:
        raise _refusal([result for result in results if isinstance(result, VisavisError)], field)
    stored = sum(not result.repeated for result in done)
    found = sum(result.face is not None for result in done)
    body = to_json({"subject": done[-1].subject.to_dict(), "results": items})
    return Answer(body, Tally(len(sources), found, enrolled=stored), status=_CREATED if stored else _OK)


def answer_identify(
    recognizer: Recognizer, gallery: OpenGallery, wanted: IdentifyRequest, sources: Sequence[Source]
) -> Answer:
    """Tell who the faces are."""
    if sources:
        field = "images"
        found = each(
            sources,
            lambda images: gallery.identify_many(
                images,
                faces=wanted.faces,
                limit=wanted.limit,
                threshold=wanted.threshold,
                fmr=wanted.fmr,
                min_face=wanted.min_face,
                require_live=wanted.require_live,
            ),
        )
    else:
        field = "embeddings"
        found = spread(
            (_vector_or_fail(vector, recognizer.pack.dimension) for vector in wanted.embeddings),
            lambda vectors: _identify_vectors(gallery, wanted, list(vectors)),
        )
    items = [_identified(result, f"{field}.{number}") for number, result in enumerate(found)]
    every = [one for result in found if not isinstance(result, VisavisError) for one in result]
    tally = Tally(len(sources), len(every), outcomes=tuple(one.unknown or "matched" for one in every))
    return Answer(to_json({"gallery": gallery.name, "pack": recognizer.pack.name, "results": items}), tally)


def answer_verify(
    gallery: OpenGallery, subject: str, wanted: VerifySubjectRequest, sources: Sequence[Source]
) -> Answer:
    """Tell whether a face is a subject's.

    Raises:
        Problem: the image or the embedding cannot be used; its ``field`` says which it was.
    """
    field = "image" if sources else "embedding"
    try:
        if sources:
            verification = gallery.verify(
                load(sources[0]),
                subject,
                faces=wanted.faces,
                threshold=wanted.threshold,
                fmr=wanted.fmr,
                min_face=wanted.min_face,
                require_live=wanted.require_live,
            )
        else:
            verification = gallery.verify_embedding(
                wanted.embedding, subject, threshold=wanted.threshold, fmr=wanted.fmr
            )
    except (SubjectNotFound, SampleNotFound):
        raise
    except InputError as error:
        raise from_library(error, field) from None
    return Answer(to_json(verification.to_dict()), Tally(len(sources), len(sources)))


def _enrolments(
    wanted: EnrolRequest, key: str | None, sources: Sequence[Source], dimension: int
) -> Iterator[Enrolment | VisavisError]:
    """Return what is to be enrolled; all for one subject, be there an ID of it or not."""
    count = len(sources) or len(wanted.embeddings)
    enrolment = partial(
        Enrolment,
        subject=wanted.subject if wanted.subject is not None or count == 1 else _new_id(key),
        details=wanted.details,
        source=wanted.source,
    )
    for number in range(count):
        own_key = key if key is None or count == 1 else f"{key}#{number}"
        if sources:
            image = load_or_fail(sources[number])
            yield image if isinstance(image, VisavisError) else enrolment(image=image, key=own_key)
        else:
            vector = _vector_or_fail(wanted.embeddings[number], dimension)
            if isinstance(vector, VisavisError):
                yield vector
            else:
                yield enrolment(embedding=vector, quality=_quality(wanted, number), key=own_key)


def _new_id(key: str | None) -> str:
    """Return an ID for somebody who has none: at random, or the same again for the same idempotency key."""
    return secrets.token_hex(_ID_BYTES) if key is None else hashlib.sha256(key.encode()).hexdigest()[: 2 * _ID_BYTES]


def _quality(wanted: EnrolRequest, number: int) -> Quality | None:
    given = wanted.qualities[number] if wanted.qualities else None
    return None if given is None else Quality(**given.model_dump())


def _enrolled(result: Enrolled | VisavisError, field: str) -> dict[str, object]:
    if isinstance(result, VisavisError):
        return failure(result, field)
    plain = result.to_dict()
    plain.pop("subject")
    return plain


def _refusal(errors: Sequence[VisavisError], field: str) -> Problem:
    problems = [from_library(error, f"{field}.{number}") for number, error in enumerate(errors)]
    first = problems[0]
    each_of_them = [{"field": one.field or "", "message": one.detail, "code": one.code} for one in problems]
    return Problem(first.code, first.detail, field=first.field, errors=each_of_them)


def _vector_or_fail(vector: Sequence[float], dimension: int) -> FloatArray | VisavisError:
    try:
        return check_embedding(vector, dimension)
    except (InputError, StateError) as error:
        return error


def _identify_vectors(
    gallery: OpenGallery, wanted: IdentifyRequest, vectors: Sequence[FloatArray]
) -> Iterator[tuple[Identification, ...]]:
    if vectors:
        probes = np.stack(vectors)
        found = gallery.identify_embeddings(probes, limit=wanted.limit, threshold=wanted.threshold, fmr=wanted.fmr)
        yield from ((one,) for one in found)


def _identified(result: Iterable[Identification] | VisavisError, field: str) -> dict[str, object]:
    if isinstance(result, VisavisError):
        return failure(result, field)
    return {"faces": [one.to_dict() for one in result]}


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
        return Job(sources, lambda recognizer, found: answer_enrol(recognizer, gallery, wanted, key, found))

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
        return Job(sources, lambda recognizer, found: answer_identify(recognizer, gallery, wanted, found))

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
        return Job(sources, lambda _recognizer, found: answer_verify(gallery, subject, wanted, found))

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
