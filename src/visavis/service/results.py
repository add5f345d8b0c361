"""Results of calls on a gallery: frozen, and ready for JSON."""

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

from visavis.galleries.records import Gallery, LogEntry, Sample, Subject
from visavis.types import Decision, Face

UnknownReason: TypeAlias = Literal["below_threshold", "low_margin", "low_quality", "not_live", "empty_gallery"]
"""Why a face is nobody: none is near enough; two subjects are about as near; the probe is poor; it looks like a print
or a screen, where live ones are required; nobody is enrolled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A subject that a probe resembles.

    Attributes:
        subject: its ID.
        subject_number: its number in the store, by which logs call it.
        name: its name, or None.
        sample: the ID of its sample that is nearest to the probe.
        distance: between the two, in the metric of the space.
        probability: calibrated chance, 0 to 1, that both are the same person, as in ``Verification``: it takes both
            answers to be equally likely beforehand, which in a large gallery they are not.
        margin: by how much the next candidate is farther away; None where there is no further subject.
    """

    subject: str
    subject_number: int
    name: str | None
    sample: int
    distance: float
    probability: float | None
    margin: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identification:
    """The answer to "who is this?" for one face. Its truth is whether there is a match.

    Attributes:
        match: the subject that it is, or None.
        unknown: why it is nobody, or None where there is a match.
        candidates: the nearest subjects, nearest first, whether they are near enough or not.
        threshold: the one that was used.
        face: that was found, with its quality, or None where an embedding was given.
        fmr: the false match rate of the threshold, in one comparison, where one was asked for.
    """

    match: Candidate | None
    unknown: UnknownReason | None
    candidates: tuple[Candidate, ...]
    threshold: float
    face: Face | None
    fmr: float | None = None

    def __bool__(self) -> bool:
        return self.match is not None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; the face comes without its embedding."""
        return {
            "match": self.match and self.match.to_dict(),
            "unknown": self.unknown,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "threshold": self.threshold,
            "fmr": self.fmr,
            "face": _face(self.face),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolled:
    """What became of an enrolment that was not refused.

    Attributes:
        subject: as it is now.
        sample: the ID of the sample.
        repeated: whether its idempotency key was used before, and nothing was stored again.
        face: that was enrolled, or None where an embedding was given or nothing was looked at.
        conflict: another subject that this face resembles too much, where that was allowed; or None. Where it is
            allowed nobody looks for it among more than 16 faces that are stored together, which imports are.
    """

    subject: Subject
    sample: int
    repeated: bool
    face: Face | None
    conflict: Candidate | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; the face comes without its embedding."""
        return {
            "subject": subject_to_dict(self.subject),
            "sample": self.sample,
            "repeated": self.repeated,
            "face": _face(self.face),
            "conflict": self.conflict and self.conflict.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubjectVerification:
    """The answer to "is this the subject?". Its truth is ``same``.

    Attributes:
        same: ``distance < threshold``.
        distance: to the nearest sample of the subject.
        threshold: the one that was used.
        probability: as in ``Verification``.
        subject: its ID.
        sample: the ID of the nearest sample.
        face: that was found, or None where an embedding was given.
        decision, fmr: as in ``Verification``.
    """

    same: bool
    distance: float
    threshold: float
    probability: float | None
    subject: str
    sample: int
    face: Face | None
    decision: Decision
    fmr: float | None = None

    def __bool__(self) -> bool:
        return self.same

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; the face comes without its embedding."""
        names = ("same", "distance", "threshold", "probability", "decision", "fmr", "subject", "sample")
        return {**{name: getattr(self, name) for name in names}, "face": _face(self.face)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was forgotten, when, and by whom: for those who must show it. It holds nothing of the face itself.

    Attributes:
        gallery: its name.
        gallery_number: its number in the store.
        subject: the ID that was asked for, or None where it was a whole gallery.
        subjects: the numbers, as the log has them, of the subjects that are gone.
        samples: how many are gone.
        forgotten_at: in UTC.
        actor: who asked for it.
        overwritten: whether the store's files hold none of its bytes any more; False where a database server decides.
    """

    gallery: str
    gallery_number: int
    subject: str | None
    subjects: tuple[int, ...]
    samples: int
    forgotten_at: datetime
    actor: str
    overwritten: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {**asdict(self), "subjects": list(self.subjects), "forgotten_at": iso(self.forgotten_at)}


def iso(moment: datetime) -> str:
    """Return a moment in UTC as ISO 8601 writes it, with a Z."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def gallery_to_dict(gallery: Gallery) -> dict[str, Any]:
    """Return plain Python values, ready for JSON."""
    return {
        "name": gallery.name,
        "number": gallery.number,
        "space": asdict(gallery.space),
        "policy": gallery.policy.to_dict(),
        "encrypted": gallery.encrypted,
        "created_at": iso(gallery.created_at),
        "subjects": gallery.subjects,
        "samples": gallery.samples,
    }


def subject_to_dict(subject: Subject) -> dict[str, Any]:
    """Return plain Python values, ready for JSON."""
    names = ("id", "number", "name", "consent", "version", "samples")
    return {
        **{name: getattr(subject, name) for name in names},
        "metadata": dict(subject.metadata),
        "created_at": iso(subject.created_at),
        "updated_at": iso(subject.updated_at),
        "expires_at": subject.expires_at and iso(subject.expires_at),
    }


def sample_to_dict(sample: Sample) -> dict[str, Any]:
    """Return plain Python values, ready for JSON, without the embedding and the subject."""
    return {
        "id": sample.id,
        "quality": sample.quality and sample.quality.to_dict(),
        "source": sample.source,
        "picture": sample.picture,
        "created_at": iso(sample.created_at),
    }


def log_entry_to_dict(entry: LogEntry) -> dict[str, Any]:
    """Return plain Python values, ready for JSON."""
    return {**asdict(entry), "subjects": list(entry.subjects), "at": iso(entry.at)}


def _face(face: Face | None) -> dict[str, Any] | None:
    if face is None:
        return None
    plain = face.to_dict()
    plain.pop("embedding", None)
    return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPair:
    """Two subjects whose faces are near each other.

    Attributes:
        a, b: their IDs.
        samples: the IDs of their nearest samples.
        distance: between the two samples.
        probability: calibrated chance that both are the same person.
    """

    a: str
    b: str
    samples: tuple[int, int]
    distance: float
    probability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """A sample that looks unlike the others of its subject.

    Attributes:
        subject: its subject's ID.
        sample: its ID.
        distance: to the nearest other sample of the subject.
        nearest: the ID of another subject that it is nearer to than the threshold, or None.
    """

    subject: str
    sample: int
    distance: float
    nearest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LowQuality:
    """A sample that today's policy would refuse.

    Attributes:
        subject: its subject's ID.
        sample: its ID.
        reasons: too_small, blurred, low_score.
    """

    subject: str
    sample: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What there is to mend in a gallery.

    Attributes:
        subjects, samples: how many were looked at.
        duplicates: pairs of subjects that are likely one person: nearer than the conflict threshold. Each sample is
            compared with the subject that is nearest to it, so of three alike two pairs may be told.
        confusable: further pairs that the identification threshold does not tell apart.
        outliers: samples that may belong to somebody else, farthest first.
        low_quality: samples that today's policy would refuse.
    """

    subjects: int
    samples: int
    duplicates: tuple[SubjectPair, ...]
    confusable: tuple[SubjectPair, ...]
    outliers: tuple[Outlier, ...]
    low_quality: tuple[LowQuality, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self)
