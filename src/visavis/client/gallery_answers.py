"""From the server's answers about galleries to the library's records and results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar, get_args

from visavis.client.answers import read_face, read_quality
from visavis.client.exchange import Answer
from visavis.client.reading import (
    among,
    check_good,
    content,
    error_of,
    every,
    if_any,
    members,
    moment,
    number,
    text,
    truth,
    whole,
)
from visavis.errors import ServerError
from visavis.galleries.records import Gallery, LogEntry, Subject
from visavis.options import Keep, Policy
from visavis.service.results import (
    Candidate,
    Enrolled,
    Identification,
    Receipt,
    SubjectVerification,
    UnknownReason,
)
from visavis.types import Decision, EmbeddingSpace, Metric, Quality

_POLICY = tuple(field.name for field in fields(Policy))

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSample:
    """One enrolled face, as the server tells of it: ``Sample`` without its embedding.

    Attributes:
        id: a number that its store never gives twice.
        subject: whose face it is: the subject's ID.
        quality: of the image it was enrolled from, or None where an embedding was enrolled.
        source: a label of where it came from, or None.
        picture: what is stored of the image: "chips", "images" or "nothing".
        created_at: in UTC.
    """

    id: int
    subject: str
    quality: Quality | None
    source: str | None
    picture: Keep
    created_at: datetime


def read_answer(answer: Answer, read: Callable[[Any], _Value], names: Mapping[str, str] | None = None) -> _Value:
    """Return what an answer is.

    Args:
        answer: to be read.
        read: makes it of the answer's JSON.
        names: what messages call the images that a problem may be about.

    Raises:
        VisavisError: the call failed.
    """
    with content(answer, names) as value:
        return read(value)


def read_picture(answer: Answer) -> bytes:
    """Return an encoded image.

    Raises:
        VisavisError: the call failed.
    """
    check_good(answer)
    if not answer.headers.get("content-type", "").startswith("image/"):
        raise ServerError("the server answered with something else than an image", status=answer.status)
    return answer.body


def read_enrolled(answer: Answer, name: str | None) -> Enrolled:
    """Return what became of the one face that was to be enrolled.

    Args:
        answer: to be read.
        name: what messages call its image.

    Raises:
        VisavisError: the face was refused, or the call failed.
    """
    with content(answer, {} if name is None else {"images.0": name}) as value:
        (result,) = value["results"]
        refused = if_any(members, result.get("error"))
        if refused is None:
            return enrolled({**result, "subject": value["subject"]})
    raise error_of(refused, answer, name=name)


def read_identified(answer: Answer, count: int) -> tuple[Identification, ...]:
    """Return who each of so many embeddings is.

    Raises:
        VisavisError: the call failed.
    """
    with content(answer) as value:
        results = value["results"]
        refused = [members(result["error"]) for result in results if "error" in result]
        if not refused:
            return tuple(_only(result) for result, _ in zip(results, range(count), strict=True))
    raise error_of(refused[0], answer)


def page(name: str, read: Callable[[Any], _Value]) -> Callable[[Any], tuple[tuple[_Value, ...], str | None]]:
    """Return what reads a page: its items, and where the next one begins."""
    return lambda value: (every(read, value[name]), if_any(text, value["next_cursor"]))


def gallery(value: Mapping[str, Any]) -> Gallery:
    """Return a gallery."""
    space = value["space"]
    return Gallery(
        name=text(value["name"]),
        number=whole(value["number"]),
        space=EmbeddingSpace(text(space["id"]), whole(space["dimension"]), among(space["metric"], get_args(Metric))),
        # What this version does not know is left out, what that server does not know is as it always is.
        policy=Policy(**{name: given for name, given in value["policy"].items() if name in _POLICY}),
        encrypted=truth(value["encrypted"]),
        created_at=moment(value["created_at"]),
        subjects=whole(value["subjects"]),
        samples=whole(value["samples"]),
    )


def subject(value: Mapping[str, Any]) -> Subject:
    """Return a subject."""
    return Subject(
        id=text(value["id"]),
        number=whole(value["number"]),
        name=if_any(text, value["name"]),
        metadata=members(value["metadata"]),
        consent=if_any(text, value["consent"]),
        created_at=moment(value["created_at"]),
        updated_at=moment(value["updated_at"]),
        expires_at=if_any(moment, value["expires_at"]),
        version=whole(value["version"]),
        samples=whole(value["samples"]),
    )


def samples(value: Mapping[str, Any]) -> tuple[ServedSample, ...]:
    """Return the samples of a subject."""
    return every(lambda sample: _sample(sample, text(value["id"])), value["sample_list"])


def identifications(value: Mapping[str, Any]) -> tuple[Identification, ...]:
    """Return who the faces of an image are."""
    return every(identification, value["faces"])


def identification(value: Mapping[str, Any]) -> Identification:
    """Return who a face is."""
    return Identification(
        match=if_any(_candidate, value["match"]),
        unknown=if_any(lambda reason: among(reason, get_args(UnknownReason)), value["unknown"]),
        candidates=every(_candidate, value["candidates"]),
        threshold=number(value["threshold"]),
        face=if_any(read_face, value["face"]),
        fmr=if_any(number, value.get("fmr")),
    )


def enrolled(value: Mapping[str, Any]) -> Enrolled:
    """Return what became of an enrolment that was not refused."""
    return Enrolled(
        subject=subject(value["subject"]),
        sample=whole(value["sample"]),
        repeated=truth(value["repeated"]),
        face=if_any(read_face, value["face"]),
        conflict=if_any(_candidate, value["conflict"]),
    )


def subject_verification(value: Mapping[str, Any]) -> SubjectVerification:
    """Return whether a face is a subject."""
    return SubjectVerification(
        same=truth(value["same"]),
        # Older servers know of no rates, and are never uncertain.
        decision=among(value.get("decision", "same" if value["same"] else "different"), get_args(Decision)),
        fmr=if_any(number, value.get("fmr")),
        distance=number(value["distance"]),
        threshold=number(value["threshold"]),
        probability=if_any(number, value["probability"]),
        subject=text(value["subject"]),
        sample=whole(value["sample"]),
        face=if_any(read_face, value["face"]),
    )


def receipt(value: Mapping[str, Any]) -> Receipt:
    """Return what was forgotten."""
    return Receipt(
        gallery=text(value["gallery"]),
        gallery_number=whole(value["gallery_number"]),
        subject=if_any(text, value["subject"]),
        subjects=every(whole, value["subjects"]),
        samples=whole(value["samples"]),
        forgotten_at=moment(value["forgotten_at"]),
        actor=text(value["actor"]),
        overwritten=truth(value["overwritten"]),
    )


def log_entry(value: Mapping[str, Any]) -> LogEntry:
    """Return a line of the log."""
    return LogEntry(
        number=whole(value["number"]),
        at=moment(value["at"]),
        actor=text(value["actor"]),
        action=text(value["action"]),
        gallery=text(value["gallery"]),
        subjects=every(whole, value["subjects"]),
        count=whole(value["count"]),
    )


def subject_export(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is known of a subject, as it came."""
    text(value["id"])
    every(members, value["sample_list"])
    every(log_entry, value["log"])
    return dict(value)


def _only(value: Mapping[str, Any]) -> Identification:
    (one,) = value["faces"]
    return identification(one)


def _sample(value: Mapping[str, Any], subject: str) -> ServedSample:
    return ServedSample(
        id=whole(value["id"]),
        subject=subject,
        quality=if_any(read_quality, value["quality"]),
        source=if_any(text, value["source"]),
        picture=among(value["picture"], get_args(Keep)),
        created_at=moment(value["created_at"]),
    )


def _candidate(value: Mapping[str, Any]) -> Candidate:
    return Candidate(
        subject=text(value["subject"]),
        subject_number=whole(value["subject_number"]),
        name=if_any(text, value["name"]),
        sample=whole(value["sample"]),
        distance=number(value["distance"]),
        probability=if_any(number, value["probability"]),
        margin=if_any(number, value["margin"]),
    )
