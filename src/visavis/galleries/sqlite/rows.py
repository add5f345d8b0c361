"""Between the rows of a SQLite store and records."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from visavis.errors import InvalidOption
from visavis.galleries.records import NEVER, Details, Gallery, LogEntry, NewSample, Sample, Subject
from visavis.galleries.sealing import Sealer
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

Row = tuple[Any, ...]

GALLERY = "number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples"
SUBJECT = (
    "subjects.number, details.content, created_at, updated_at, expires_at, version, samples "
    "FROM subjects JOIN details ON details.number = subjects.details"
)
SAMPLE = (
    "samples.id, subject, details.content, embedding, about, picture, samples.created_at FROM samples "
    "JOIN subjects ON subjects.number = samples.subject JOIN details ON details.number = subjects.details"
)
LOG = "number, at, actor, action, gallery, subjects, count"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LITTLE_ENDIAN = "<f4"


def to_integer(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(value: int) -> datetime:
    """Return the moment that an integer stands for."""
    return _EPOCH + value * _MICROSECOND


def gallery_of(row: Row) -> Gallery:
    """Return the record of a row of ``GALLERY``."""
    number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples = row
    return Gallery(
        name=name,
        number=number,
        space=EmbeddingSpace(space, dimension, metric),
        policy=_policy_of(policy),
        encrypted=bool(encrypted),
        created_at=to_moment(created_at),
        subjects=subjects,
        samples=samples,
    )


def _policy_of(stored: str) -> Policy:
    try:
        return Policy(**json.loads(stored))
    except InvalidOption as error:
        raise ValueError("this is no policy") from error


def subject_of(row: Row, sealer: Sealer | None) -> Subject:
    """Return the record of a row of ``SUBJECT``."""
    number, content, created_at, updated_at, expires_at, version, samples = row
    return Subject(
        number=number,
        **content_of(content, sealer, number),
        created_at=to_moment(created_at),
        updated_at=to_moment(updated_at),
        expires_at=None if expires_at is None else to_moment(expires_at),
        version=version,
        samples=samples,
    )


def content_of(stored: str | bytes, sealer: Sealer | None, subject: int) -> dict[str, Any]:
    """Return what people wrote of a subject: its ID, name, metadata and consent."""
    return from_json(stored, sealer, f"details of subject {subject}")


def to_content(content: Mapping[str, Any], sealer: Sealer | None, subject: int) -> str | bytes:
    """Return what people wrote of a subject as it is stored."""
    return to_json(content, sealer, f"details of subject {subject}")


def changed_content(content: Mapping[str, Any], details: Details) -> dict[str, Any]:
    """Return what is known of a subject after a change: the fields of the record that people write."""
    changed = dict(content)
    if details.name is not None:
        changed["name"] = details.name or None
    if details.consent is not None:
        changed["consent"] = details.consent or None
    if details.metadata is not None:
        changed["metadata"] = dict(details.metadata)
    return changed


def changed_expiry(expires_at: int | None, details: Details) -> int | None:
    """Return the expiry after a change."""
    if details.expires_at is None:
        return expires_at
    return None if details.expires_at == NEVER else to_integer(details.expires_at)


def to_json(content: Mapping[str, Any], sealer: Sealer | None, place: str) -> str | bytes:
    """Return JSON as it is stored."""
    text = json.dumps(content, separators=(",", ":"))
    return sealer.seal(text.encode(), place) if sealer else text


def from_json(stored: str | bytes, sealer: Sealer | None, place: str) -> dict[str, Any]:
    """Return JSON from how it is stored."""
    text = sealer.open(stored, place) if sealer and isinstance(stored, bytes) else stored
    content: dict[str, Any] = json.loads(text)
    return content


def sample_of(row: Row, sealer: Sealer | None) -> Sample:
    """Return the record of a row of ``SAMPLE``."""
    id_, subject, content, embedding, about, picture, created_at = row
    known = from_json(about, sealer, f"about a sample of subject {subject}")
    return Sample(
        id=id_,
        subject=content_of(content, sealer, subject)["id"],
        embedding=to_vectors([embedding], [subject], sealer, -1)[0],
        quality=None if known["quality"] is None else Quality(*known["quality"]),
        source=known["source"],
        picture=picture,
        created_at=to_moment(created_at),
    )


def to_about(sample: NewSample, sealer: Sealer | None, subject: int) -> str | bytes:
    """Return what is known of a sample besides its embedding, as it is stored."""
    quality = sample.quality
    known = {
        "quality": None if quality is None else astuple(quality),
        "source": sample.source,
    }
    return to_json(known, sealer, f"about a sample of subject {subject}")


def log_entry_of(row: Row) -> LogEntry:
    """Return the record of a row of ``LOG``."""
    number, at, actor, action, gallery, subjects, count = row
    return LogEntry(
        number=number,
        at=to_moment(at),
        actor=actor,
        action=action,
        gallery=gallery,
        subjects=tuple(json.loads(subjects)),
        count=count,
    )


def from_vector(vector: FloatArray, sealer: Sealer | None, subject: int) -> bytes:
    """Return an embedding as it is stored."""
    data = vector.astype(_LITTLE_ENDIAN).tobytes()
    return sealer.seal(data, f"embedding of subject {subject}") if sealer else data


def to_vectors(stored: Sequence[bytes], subjects: Sequence[int], sealer: Sealer | None, dimension: int) -> FloatArray:
    """Return embeddings (N, D) from how they are stored."""
    if sealer:
        pairs = zip(stored, subjects, strict=True)
        stored = [sealer.open(data, f"embedding of subject {subject}") for data, subject in pairs]
    return np.frombuffer(b"".join(stored), _LITTLE_ENDIAN).reshape(len(stored), dimension)


def picture_place(sample: int) -> str:
    """Return what a sealed picture is bound to."""
    return f"picture of sample {sample}"


def keyed_hash(hash_key: bytes, kind: str, text: str) -> bytes:
    """Return by what an ID or a key is found, and from which it cannot be read."""
    return hmac.digest(hash_key, f"{kind}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)[:16]
