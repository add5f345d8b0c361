"""Results of calls on a gallery: frozen, and ready for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias

from visavis.galleries.records import Erased, Gallery, Match, Origin, Subject
from visavis.record import WITHOUT_EMBEDDING, Record
from visavis.types import Decision, Doubt, Face, Probability

UnknownReason: TypeAlias = (
    Literal["no_match", "low_margin", "low_quality", "not_live", "empty_gallery", "rejected", "ignored"] | Doubt
)
"""Why a face is nobody: none is near enough; two subjects are about as near; the probe is poor; it looks like a print
or a screen, where live ones are required; nobody is enrolled; it is nearer to a counter-sample of who else it would be;
it is a subject that is ignored; or its distance to anybody says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Match):
    """A subject that a probe resembles. Its distance has two decimals, rounded down, and all else is told by that.

    ``identify`` tells the distance of its template, the mean of its samples, or that of the sample where candidates are
    samples; an enrolment that of its nearest sample.
    """

    probability: Probability | None
    """Calibrated chance, 0 to 1, that both are the same person. ``identify`` takes it to be as likely as not beforehand
    that the person is enrolled, as any of the subjects; an enrolment means this one, as ``Verification`` does. None
    also where there is a reason to doubt.
    """
    margin: float | None
    """By how much the next candidate is farther away, rounded down; None where no further one is near enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRules(Record):
    """The numbers in force in a gallery: they follow from its policy, its pack, and how many it holds."""

    pack: str
    """Whose numbers count where the policy has none."""
    subjects: int
    """How many a face is compared with."""
    threshold: float
    """Distance below which a face is identified."""
    interval: tuple[float, float] | None
    """Its 95 % confidence interval, where a rate is kept."""
    fpir: float | None
    """The false positive identification rate that the threshold keeps, in the whole search; None for a fixed one."""
    fmr: float | None
    """The false match rate of the threshold, in one comparison, as far as that was measured."""
    verify_threshold: float
    """Distance below which a face is verified to be a subject."""
    verify_fmr: float | None
    """The false match rate of that threshold, as far as it was measured."""
    margin: float
    """By how much the next subject must be farther away."""
    conflict_threshold: float
    """Distance to another subject below which a face is not enrolled."""
    candidate_threshold: float
    """Distance beyond which no candidate is told of."""
    limits: Mapping[str, float]
    """Limits to the quality of faces, by their names in the policy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identification(Record):
    """The answer to "who is this?" for one face. Its truth is whether there is a match."""

    match: Candidate | None
    """The subject that it is, or None."""
    unknown: UnknownReason | None
    """Why it is nobody, or None where there is a match."""
    candidates: tuple[Candidate, ...]
    """The subjects near enough to matter, nearest first: nearer than the policy's ``candidate_threshold``, and at most
    ``most_candidates``; and the match. Or their samples, where these were asked for.
    """
    threshold: float
    """The one that was used."""
    face: Face | None = field(metadata=WITHOUT_EMBEDDING)
    """That was found, with its quality, or None where an embedding was given."""
    fmr: float | None = None
    """The false match rate of the threshold, in one comparison, where one was asked for."""
    fpir: float | None = None
    """The false positive identification rate of the threshold, in the whole search, where one is kept."""
    compared: int | None = None
    """How many subjects the face was compared with."""
    interval: tuple[float, float] | None = None
    """The 95 % confidence interval of the threshold, where a rate is kept; wider where the rate is extrapolated."""
    uncertain: bool = False
    """Whether the nearest subject's distance lies within the interval: on other people's faces the threshold that keeps
    the rate might decide otherwise. ``match`` and ``unknown`` are by the threshold all the same.
    """

    def __bool__(self) -> bool:
        return self.match is not None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolled(Record):
    """What became of an enrolment that was not refused."""

    subject: Subject
    """As it is now."""
    sample: int
    """The ID of the sample."""
    repeated: bool
    """Whether its idempotency key was used before, and nothing was stored again."""
    face: Face | None = field(metadata=WITHOUT_EMBEDDING)
    """That was enrolled, or None where an embedding was given or nothing was looked at."""
    conflict: Candidate | None
    """Another subject that this face resembles too much, where that was allowed; or None. Where it is allowed nobody
    looks for it among more than 16 faces that are stored together, which imports are.
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubjectVerification(Record):
    """The answer to "is this the subject?". Its truth is ``same``."""

    same: bool
    """Whether the distance is below the threshold, and there is no reason to doubt it."""
    distance: float | None
    """To the nearest sample of the subject, with two decimals, rounded down; None where it is neither below the
    threshold nor below the policy's ``candidate_threshold``.
    """
    threshold: float
    """The one that was used."""
    probability: Probability | None
    """As in ``Verification``; None also where no distance is told."""
    subject: str
    """Its ID."""
    sample: int | None
    """The ID of the nearest sample; None where no distance is told."""
    face: Face | None = field(metadata=WITHOUT_EMBEDDING)
    """That was found, or None where an embedding was given."""
    decision: Decision
    """As in ``Verification``."""
    fmr: float | None = None
    """As in ``Verification``."""
    reason: Doubt | Literal["rejected"] | None = None
    """As in ``Verification``: of the face, or of the nearest sample; rejected where a counter-sample is nearer."""

    def __bool__(self) -> bool:
        return self.same


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Erased):
    """What was forgotten, when, and by whom: for those who must show it. It holds nothing of the face itself."""

    gallery: str
    """Its name."""
    gallery_number: int
    """Its number in the store."""
    subject: str | None
    """The ID that was asked for; None where it was a whole gallery, or a sample by its number alone."""
    forgotten_at: datetime
    """In UTC."""
    actor: str
    """Who asked for it."""

    @classmethod
    def of(cls, gallery: Gallery, subject: str | None, erased: Erased, origin: Origin) -> "Receipt":
        """Return the receipt of what was forgotten in a gallery: a subject by its ID, or a whole gallery."""
        members = {each.name: getattr(erased, each.name) for each in fields(erased)}
        about: dict[str, Any] = {"gallery": gallery.name, "gallery_number": gallery.number, "subject": subject}
        return cls(**about, **members, forgotten_at=origin.at, actor=origin.actor)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPair(Record):
    """Two subjects whose faces are near each other."""

    a: str
    """Their IDs."""
    b: str
    """Their IDs."""
    samples: tuple[int, int]
    """The IDs of their nearest samples."""
    distance: float
    """Between the two samples."""
    probability: Probability | None
    """Calibrated chance that both are the same person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier(Record):
    """A sample that looks unlike the others of its subject."""

    subject: str
    """Its subject's ID."""
    sample: int
    """Its ID."""
    distance: float
    """To the nearest other sample of the subject."""
    nearest: str | None
    """The ID of another subject that it is nearer to than the threshold, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowQuality(Record):
    """A sample that today's policy would refuse."""

    subject: str
    """Its subject's ID."""
    sample: int
    """Its ID."""
    reasons: tuple[str, ...]
    """too_small, blurred, low_score, extreme_pose, invalid_face, occluded, child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport(Record):
    """What there is to mend in a gallery."""

    subjects: int
    """How many were looked at."""
    samples: int
    """How many were looked at."""
    duplicates: tuple[SubjectPair, ...]
    """Pairs of subjects that are likely one person: nearer than the conflict threshold. Each sample is compared with
    the subject that is nearest to it, so of three alike two pairs may be told.
    """
    confusable: tuple[SubjectPair, ...]
    """Further pairs that the identification threshold does not tell apart."""
    outliers: tuple[Outlier, ...]
    """Samples that may belong to somebody else, farthest first."""
    low_quality: tuple[LowQuality, ...]
    """Samples that today's policy would refuse."""
    lookalikes: tuple[tuple[str, ...], ...] = ()
    """IDs that people may take for each other: they differ in case, blanks, or letters that look the same."""
