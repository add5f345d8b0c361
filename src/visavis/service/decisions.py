"""From what a gallery ranks to what it means: pure functions of distances, qualities and a policy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from visavis.core.decide import check_threshold, distances, probability_of_same
from visavis.errors import FaceBlurred, FaceTooSmall, LowScore, SpaceMismatch, VisavisError
from visavis.galleries.records import Details, Gallery, Match, Policy, Sample
from visavis.models.catalogue import Pack
from visavis.service.results import Candidate, Identification, SubjectVerification, UnknownReason
from visavis.types import Face, FloatArray, Quality


@dataclass(frozen=True, slots=True)
class Rules:
    """A gallery's policy, with the pack's own numbers where it has none.

    Attributes:
        threshold: a subject nearer than this is identified.
        margin: by how much the next one must be farther away.
        conflict_threshold: a face nearer than this to another subject is not enrolled.
        policy, pack: from which they come.
    """

    threshold: float
    margin: float
    conflict_threshold: float
    policy: Policy
    pack: Pack


def rules_of(policy: Policy, pack: Pack, threshold: float | None = None) -> Rules:
    """Return the rules of a gallery.

    Args:
        policy: the gallery's.
        pack: whose embeddings it holds.
        threshold: in place of both.

    Raises:
        InvalidOption: the threshold is not a finite number above 0.
    """
    own = None if threshold is None else check_threshold(threshold)
    return Rules(
        threshold=_first(own, policy.threshold, pack.identify_threshold),
        margin=_first(policy.margin, pack.identify_margin),
        conflict_threshold=_first(policy.conflict_threshold, pack.conflict_threshold),
        policy=policy,
        pack=pack,
    )


def candidates_of(matches: Sequence[Match], pack: Pack) -> tuple[Candidate, ...]:
    """Return what is known of each match, nearest first; the margin of the last one is None."""
    further: tuple[Match | None, ...] = (*matches[1:], None)
    return tuple(
        Candidate(
            subject=match.subject,
            subject_number=match.subject_number,
            name=match.name,
            sample=match.sample,
            distance=match.distance,
            probability=probability_of_same(match.distance, pack.calibration),
            margin=None if following is None else following.distance - match.distance,
        )
        for match, following in zip(matches, further, strict=bool(matches))
    )


def identify(candidates: Sequence[Candidate], rules: Rules, face: Face | None, limit: int) -> Identification:
    """Decide who a face is.

    Args:
        candidates: the nearest subjects, one more than are wanted where there are so many.
        rules: of the gallery.
        face: with its quality, or None where there is only an embedding.
        limit: how many candidates are wanted.
    """
    unknown = _why_unknown(candidates, rules, face)
    return Identification(
        match=None if unknown else candidates[0],
        unknown=unknown,
        candidates=tuple(candidates[:limit]),
        threshold=rules.threshold,
        face=face,
    )


def _why_unknown(candidates: Sequence[Candidate], rules: Rules, face: Face | None) -> UnknownReason | None:
    if not candidates:
        return "empty_gallery"
    policy, nearest = rules.policy, candidates[0]
    if face is not None and face.quality is not None:
        limits = policy.probe_min_face_px, policy.probe_min_sharpness, policy.probe_min_score
        if shortcomings(face.quality, *limits):
            return "low_quality"
    if not nearest.distance < rules.threshold:
        return "below_threshold"
    if nearest.margin is not None and nearest.margin < rules.margin:
        return "low_margin"
    return None


def verify(
    probe: FloatArray, face: Face | None, samples: Sequence[Sample], pack: Pack, threshold: float | None
) -> SubjectVerification:
    """Decide whether a probe (D,) is a subject.

    Args:
        probe: of the pack's space.
        face: that it was embedded from, or None.
        samples: of the subject, at least one.
        pack: whose space it is.
        threshold: a sample nearer than this is the same person; None for the pack's.

    Raises:
        InvalidOption: the threshold is not a finite number above 0.
    """
    threshold = pack.threshold if threshold is None else check_threshold(threshold)
    found = distances(pack.metric, probe, np.stack([sample.embedding for sample in samples]))
    nearest = int(found.argmin())
    distance = float(found[nearest])
    return SubjectVerification(
        same=distance < threshold,
        distance=distance,
        threshold=threshold,
        probability=probability_of_same(distance, pack.calibration),
        subject=samples[nearest].subject,
        sample=samples[nearest].id,
        face=face,
    )


def check_space(gallery: Gallery, space: str) -> None:
    """Insist on embeddings of the gallery's space.

    Raises:
        SpaceMismatch: these are of another.
    """
    if gallery.space.id != space:
        raise SpaceMismatch(
            f"gallery {gallery.name!r} holds embeddings of the space {gallery.space.id}, and these are of {space}: "
            "use the pack that it was made with, or enrol the images again in a new gallery"
        )


def within_retention(details: Details, policy: Policy, at: datetime) -> Details:
    """Return details whose expiry, where they name one, is no later than the gallery's policy allows."""
    if policy.retention_days is None or details.expires_at is None:
        return details
    latest = at + timedelta(days=policy.retention_days)
    return replace(details, expires_at=min(details.expires_at, latest))


def shortcomings(
    quality: Quality, min_face_px: float, min_sharpness: float, min_score: float
) -> tuple[VisavisError, ...]:
    """Return what a face lacks, each as the error that refuses it."""
    lacks: list[VisavisError] = []
    if quality.face_px < min_face_px:
        lacks.append(FaceTooSmall(f"the face is {quality.face_px:.0f} pixels wide; {min_face_px:g} are needed"))
    if quality.sharpness < min_sharpness:
        lacks.append(FaceBlurred(f"the face's sharpness is {quality.sharpness:.3g}; {min_sharpness:g} is needed"))
    if quality.score < min_score:
        lacks.append(LowScore(f"the detector's score of the face is {quality.score:.3g}; {min_score:g} is needed"))
    return tuple(lacks)


def enrolment_shortcomings(quality: Quality, policy: Policy) -> tuple[VisavisError, ...]:
    """Return what a face lacks to be enrolled."""
    return shortcomings(quality, policy.min_face_px, policy.min_sharpness, policy.min_score)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
