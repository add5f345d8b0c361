"""What workers do with faces and galleries: enrol, identify, verify. Synchronous; knows the shape of answers."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from visavis.errors import InputError, SampleNotFound, StateError, SubjectNotFound, VisavisError
from visavis.galleries.checks import check_embedding
from visavis.models.recognizer import Recognizer
from visavis.server.face_requests import EnrolRequest, IdentifyRequest, VerifySubjectRequest
from visavis.server.inputs import Source, load
from visavis.server.observability import Tally
from visavis.server.problems import Problem, from_library
from visavis.server.work import Answer, each, failure, load_or_fail, spread, to_json
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled, Identification, subject_to_dict
from visavis.types import FloatArray, Quality

_OK, _CREATED = 200, 201
_ID_BYTES = 8


def enrol(
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
    body = to_json({"subject": subject_to_dict(done[-1].subject), "results": items})
    return Answer(body, Tally(len(sources), found, enrolled=stored), status=_CREATED if stored else _OK)


def identify(
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


def verify(gallery: OpenGallery, subject: str, wanted: VerifySubjectRequest, sources: Sequence[Source]) -> Answer:
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
