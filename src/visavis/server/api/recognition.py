"""Routes of faces and galleries: enrol, identify, verify."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import numpy as np
from fastapi import APIRouter, Depends, Request

from visavis.core.embeddings import check_embedding
from visavis.errors import InputError, SampleNotFound, StateError, SubjectNotFound, VisavisError
from visavis.galleries.records import Subject
from visavis.options import Enrol, EnrolImage, Identify, IdentifyEmbeddings, Threshold, Verify
from visavis.record import Record
from visavis.server.api.subjects import subject_id
from visavis.server.auth import Key, check_allows
from visavis.server.openapi import about, header
from visavis.server.pool import Answer, InPath, InUse, in_worker
from visavis.server.problems import Failed, FieldError, Problem, failed, from_library
from visavis.server.reading import loaded
from visavis.server.requests import EnrolRequest, IdentifyRequest, VerifySubjectRequest
from visavis.service.enroller import Enrolment, new_subject_id
from visavis.service.results import Enrolled, Identification, SubjectVerification
from visavis.types import Faces, FloatArray

_OF_MODELS = ("space_mismatch", "unsupported_pack")
_LONGEST_KEY = 180
_KEY = header(
    "Idempotency-Key",
    "A call repeated with the same key enrols nobody twice. 1 to 180 printable ASCII characters.",
    minLength=1,
    maxLength=_LONGEST_KEY,
    pattern="^[ -~]+$",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolResponse(Record):
    """The subject as it is now, and a result for each face, in order."""

    subject: Subject
    """As it is now."""
    results: tuple[Enrolled | Failed, ...] = field(metadata={"without": "subject"})
    """In the order of the images or embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified(Record):
    """The faces of one image, largest first; none is an empty list."""

    faces: tuple[Identification, ...]
    """Who each is; of an embedding there is one."""
    searched_from_px: float | None
    """As in ``Detected``; null where an embedding was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyResponse(Record):
    """A result for each image or embedding, in order."""

    gallery: str
    """Its name."""
    pack: str
    """Its name."""
    results: tuple[Identified | Failed, ...]
    """In the order of the images or embeddings."""


async def _idempotency_key(request: Request) -> str | None:
    values = request.headers.getlist("Idempotency-Key")
    if len(values) > 1:
        raise Problem("invalid_request", "Idempotency-Key: given twice", field="Idempotency-Key")
    if values and not (0 < len(values[0]) <= _LONGEST_KEY and values[0].isascii() and values[0].isprintable()):
        detail = f"Idempotency-Key: must be 1 to {_LONGEST_KEY} printable ASCII characters"
        raise Problem("invalid_request", detail, field="Idempotency-Key")
    return values[0] if values else None


_IdempotencyKey: TypeAlias = Annotated[str | None, Depends(_idempotency_key)]
router = APIRouter(prefix="/v1/galleries/{gallery}", tags=["recognition"])


@router.post(
    "/enrol",
    **about(
        "enrol",
        *(*_OF_MODELS, "conflict", "idempotency_key_reused"),
        status=201,
        also={200: {"content": {}, "description": "Everything was enrolled before, as its key says."}},
        extra={"parameters": [_KEY]},
    ),
)
@in_worker
def enrol(gallery: InPath, key: _IdempotencyKey, wanted: EnrolRequest) -> Answer[EnrolResponse]:
    """Enrol the faces of images, or embeddings, of one person.

    The answer has a result for each, also for those that were refused; where all were, it is the first one's problem.
    """
    field = "images" if wanted.images else "embeddings"
    try:
        like = gallery.reference(wanted.like.load()) if wanted.like else None
    except InputError as error:
        raise from_library(error, "like") from None
    found = list(gallery.enrol_many(_enrolments(wanted, key, like), **wanted.options(Enrol)))
    return enrolled(found, field, images=len(wanted.pictures))


def enrolled(found: Sequence[Enrolled | VisavisError], field: str, *, images: int = 0) -> Answer[EnrolResponse]:
    """Answer with what became of enrolments of one subject; a ``Problem`` where all were refused."""
    done = [each for each in found if isinstance(each, Enrolled)]
    if not done:
        raise _refusal([each for each in found if isinstance(each, VisavisError)], field)
    results = tuple(
        failed(each, f"{field}.{place}") if isinstance(each, VisavisError) else each for place, each in enumerate(found)
    )
    stored = sum(not each.repeated for each in done)
    seen = sum(each.face is not None for each in done)
    counts = {"images": images, "faces": seen, "enrolled": stored}
    return Answer(EnrolResponse(subject=done[-1].subject, results=results), counts, status=None if stored else 200)


@router.post("/identify", **about("read", *_OF_MODELS))
@in_worker
def identify(gallery: InPath, recognizer: InUse, key: Key, wanted: IdentifyRequest) -> Answer[IdentifyResponse]:
    """Look for the subjects that the faces of images, or embeddings, resemble. Whoever is nobody has the reason why.

    Embeddings need the scope `probe`.
    """
    found: list[Faces[Identification] | VisavisError]
    if wanted.images:
        field, found = "images", list(gallery.identify_many(map(loaded, wanted.images), **wanted.options(Identify)))
    else:
        check_allows(key, "probe")
        field = "embeddings"
        checked = [_checked(vector, recognizer.pack.dimension) for vector in wanted.embeddings]
        good = [each for each in checked if not isinstance(each, VisavisError)]
        known = gallery.identify_embeddings(np.stack(good), **wanted.options(IdentifyEmbeddings)) if good else ()
        rest = iter(known)
        found = [each if isinstance(each, VisavisError) else Faces([next(rest)]) for each in checked]
    results = tuple(
        failed(each, f"{field}.{place}")
        if isinstance(each, VisavisError)
        else Identified(faces=each, searched_from_px=each.searched_from_px or None)
        for place, each in enumerate(found)
    )
    outcomes = tuple(face.unknown or "matched" for each in found if not isinstance(each, VisavisError) for face in each)
    answer = IdentifyResponse(gallery=gallery.name, pack=recognizer.pack.name, results=results)
    return Answer(answer, {"images": len(wanted.images), "faces": len(outcomes), "outcomes": outcomes})


@router.post("/subjects/{subject}/verify", **about("read", *_OF_MODELS, "sample_not_found"))
@in_worker
def verify(
    gallery: InPath, subject: Annotated[str, Depends(subject_id)], key: Key, wanted: VerifySubjectRequest
) -> Answer[SubjectVerification]:
    """Compare the face of an image, or an embedding, with the nearest sample of a subject.

    An embedding needs the scope `probe`.
    """
    image = wanted.pictures[0] if wanted.pictures else None
    try:
        if image:
            verification = gallery.verify(image.load(), subject, sample=wanted.sample, **wanted.options(Verify))
        else:
            check_allows(key, "probe")
            verification = gallery.verify_embedding(
                wanted.embedding, subject, sample=wanted.sample, **wanted.options(Threshold)
            )
    except (SubjectNotFound, SampleNotFound):
        raise
    except InputError as error:
        raise from_library(error, "image" if image else "embedding") from None
    return Answer(verification, {"images": 1, "faces": 1} if image else {})


def _enrolments(wanted: EnrolRequest, key: str | None, like: FloatArray | None) -> Iterator[Enrolment | VisavisError]:
    """Yield what is to be enrolled; all for one subject, be there an ID of it or not."""
    faces = wanted.images or wanted.embeddings
    subject = wanted.subject if wanted.subject is not None or len(faces) == 1 else new_subject_id(key)
    for place, face in enumerate(faces):
        image = loaded(face) if wanted.images else None
        if isinstance(image, VisavisError):
            yield image
            continue
        yield Enrolment(
            subject=subject,
            image=image,
            embedding=None if wanted.images else face,
            details=wanted.details,
            quality=wanted.quality(place),
            source=wanted.source,
            sample_metadata=wanted.sample_metadata,
            key=key if key is None or len(faces) == 1 else f"{key}#{place}",
            box=wanted.options(EnrolImage)["box"],
            like=like,
        )


def _refusal(errors: list[VisavisError], field: str) -> Problem:
    problems = [from_library(error, f"{field}.{place}") for place, error in enumerate(errors)]
    first = problems[0]
    each_of_them = [FieldError(field=one.field or "", message=one.detail, code=one.code) for one in problems]
    return Problem(first.code, first.detail, field=first.field, errors=each_of_them)


def _checked(vector: FloatArray, dimension: int) -> FloatArray | VisavisError:
    try:
        return check_embedding(vector, dimension)
    except (InputError, StateError) as error:
        return error
