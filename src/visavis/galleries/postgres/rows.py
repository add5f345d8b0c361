"""Between the rows of a PostgreSQL store and records."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from visavis.errors import InvalidOption
from visavis.galleries.records import NEVER, Details, Gallery, LogEntry, Sample, Subject
from visavis.options import Policy
from visavis.types import EmbeddingSpace, Quality

Row = tuple[Any, ...]

GALLERY = "number, name, space, dimension, metric, policy, created_at, subjects, samples"
SUBJECT = "id, number, name, metadata, consent, created_at, updated_at, expires_at, version, samples"
SAMPLE = "sample.id, subject.id, embedding, face_px, sharpness, score, yaw, pitch, source, kept, sample.created_at"
LOG = "number, at, actor, action, gallery, subjects, count"

_LARGEST_INTEGER = 2**63 - 1


def gallery_of(row: Row) -> Gallery:
    """Return the record of a row of ``GALLERY``."""
    number, name, space, dimension, metric, policy, created_at, subjects, samples = row
    return Gallery(
        name=name,
        number=number,
        space=EmbeddingSpace(space, dimension, metric),
        policy=Policy(**policy),
        encrypted=False,
        created_at=in_utc(created_at),
        subjects=subjects,
        samples=samples,
    )


def subject_of(row: Row) -> Subject:
    """Return the record of a row of ``SUBJECT``."""
    id_, number, name, metadata, consent, created_at, updated_at, expires_at, version, samples = row
    return Subject(
        id=id_,
        number=number,
        name=name,
        metadata=metadata,
        consent=consent,
        created_at=in_utc(created_at),
        updated_at=in_utc(updated_at),
        expires_at=None if expires_at is None else in_utc(expires_at),
        version=version,
        samples=samples,
    )


def row_of_subject(subject: Subject) -> Row:
    """Return the row of ``SUBJECT`` of a record."""
    return (
        *(subject.id, subject.number, subject.name, to_json(subject.metadata), subject.consent),
        *(subject.created_at, subject.updated_at, subject.expires_at, subject.version, subject.samples),
    )


def changed(subject: Subject, details: Details, at: datetime, *, samples: int = 0) -> Subject:
    """Return a subject's next version."""
    expires_at = subject.expires_at if details.expires_at is None else details.expires_at
    metadata = subject.metadata if details.metadata is None else json.loads(to_json(details.metadata))
    return replace(
        subject,
        name=subject.name if details.name is None else details.name or None,
        metadata=metadata,
        consent=subject.consent if details.consent is None else details.consent or None,
        updated_at=at,
        expires_at=None if expires_at is None or expires_at == NEVER else in_utc(expires_at),
        version=subject.version + 1,
        samples=subject.samples + samples,
    )


def sample_of(row: Row) -> Sample:
    """Return the record of a row of ``SAMPLE``."""
    id_, subject, embedding, *quality, source, kept, created_at = row
    return Sample(
        id=id_,
        subject=subject,
        embedding=embedding,
        quality=None if quality[0] is None else Quality(*quality),
        source=source,
        picture=kept,
        created_at=in_utc(created_at),
    )


def log_entry_of(row: Row) -> LogEntry:
    """Return the record of a row of ``LOG``."""
    number, at, actor, action, gallery, subjects, count = row
    return LogEntry(
        number=number,
        at=in_utc(at),
        actor=actor,
        action=action,
        gallery=gallery,
        subjects=tuple(subjects),
        count=count,
    )


def to_json(content: Mapping[str, Any]) -> str:
    """Return compact JSON."""
    return json.dumps(content, separators=(",", ":"))


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC.

    Raises:
        InvalidOption: in UTC it is not within the years 1 to 9999.
    """
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidOption("a time must be within the years 1 to 9999, in UTC") from None


def within_integers(number: int) -> int:
    """Return a number as one that the database can compare with its own, which are all smaller than the greatest."""
    return max(-1, min(number, _LARGEST_INTEGER))
