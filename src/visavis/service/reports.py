"""What an audit of a gallery finds: pairs and samples that somebody should look at."""

from dataclasses import asdict, dataclass
from typing import Any


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
