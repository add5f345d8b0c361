"""From what a gallery ranks to what it means: pure functions of distances, qualities and a policy."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from typing import cast, get_args

import numpy as np

from visavis.core.decide import (
    Rule,
    comparisons,
    distances,
    is_live,
    named_rules,
    probability_of_same,
    rate_at,
    rule_at_fpir,
)
from visavis.errors import (
    ChildFace,
    ExtremePose,
    FaceBlurred,
    FaceOccluded,
    FaceTooSmall,
    InvalidFace,
    InvalidOption,
    LowScore,
    MultipleFaces,
    NoFace,
    NotLive,
    SpaceMismatch,
    VisavisError,
)
from visavis.galleries.records import Details, Gallery, Match, Sample
from visavis.models.installation import pack_of_space
from visavis.models.packs import Pack, QualityLimits
from visavis.models.recognizer import choose_rule, rates_of
from visavis.options import (
    DEFAULT_FPIR,
    NOTHING_ASKED,
    Attribute,
    Enrol,
    Identify,
    IdentifyEmbeddings,
    Observe,
    Policy,
    Threshold,
    Verify,
)
from visavis.service.results import Candidate, GalleryRules, Identification, SubjectVerification, UnknownReason
from visavis.types import Doubt, Face, FloatArray, Quality


@dataclass(frozen=True, slots=True)
class Rules:
    """A gallery's policy, with the pack's own numbers where it has none."""

    rule: Rule  # by which a subject near enough is identified, or verified
    margin: float  # by how much the next one must be farther away
    conflict_threshold: float  # a face nearer than this to another subject is not enrolled
    candidate_threshold: float  # nobody farther away is told of
    most_candidates: int  # that are told of a face
    limits: QualityLimits  # to the quality of faces
    pack: Pack  # whose embeddings the gallery holds
    subjects: int | None = None  # that are searched; None where a face is held against one
    compared: float = 1.0  # as how many comparisons of two faces that counts


def rules_of(
    policy: Policy,
    pack: Pack,
    asked: Threshold | IdentifyEmbeddings = NOTHING_ASKED,
    *,
    threshold: float | None = None,
    searched: Gallery | None = None,
) -> Rules:
    """Return the rules of a gallery.

    Args:
        policy: the gallery's.
        pack: whose embeddings it holds.
        asked: a threshold in place of what both say, or a rate to keep instead: the false match rate of one comparison,
            or the false positive identification rate of a search.
        threshold: that counts where none is asked for; None for that of identification.
        searched: the gallery where all of it is searched, so that the threshold follows from its size, unless the
            policy has one, or nobody has measured the pack's rates; None where a face is held against one subject.

    Raises:
        InvalidOption: several are given, or one is out of its range, or wider than the policy allows; or nobody has
            measured the pack's rates.
    """
    own = _first(policy.threshold, pack.identify_threshold)
    default, compared = Rule.at(_first(threshold, own)), 1.0
    if searched is not None:
        compared = comparisons(searched.subjects, searched.samples)
        default = _of_search(policy, pack, default, compared)
        own = default.threshold
    return Rules(
        rule=_rule(policy, pack, default, asked, compared),
        margin=_first(policy.margin, pack.identify_margin),
        conflict_threshold=_first(policy.conflict_threshold, pack.conflict_threshold),
        candidate_threshold=_first(policy.candidate_threshold, own),
        most_candidates=policy.most_candidates,
        limits=limits_of(policy, pack),
        pack=replace(pack, child=None) if policy.allow_children else pack,
        subjects=None if searched is None else searched.subjects,
        compared=compared,
    )


def rules_in_force(gallery: Gallery, pack: Pack) -> GalleryRules:
    """Return the numbers that count in a gallery of the pack's embeddings."""
    found = rules_of(gallery.policy, pack, searched=gallery)
    rule, verified = found.rule, rules_of(gallery.policy, pack, threshold=pack.threshold).rule.threshold
    points = pack.rates.points if pack.rates else ()

    def fmr(threshold: float) -> float | None:
        measured = points and points[0].threshold <= threshold <= points[-1].threshold
        return rate_at(rates_of(pack, "fmr"), threshold) if measured else None

    return GalleryRules(
        pack=pack.name,
        subjects=gallery.subjects,
        threshold=rule.threshold,
        interval=(rule.low, rule.high) if rule.low < rule.high else None,
        fpir=rule.fpir,
        fmr=fmr(rule.threshold),
        verify_threshold=verified,
        verify_fmr=fmr(verified),
        margin=found.margin,
        conflict_threshold=found.conflict_threshold,
        candidate_threshold=found.candidate_threshold,
        limits={name: limit for name, limit in asdict(found.limits).items() if name != "provenance"},
    )


def _of_search(policy: Policy, pack: Pack, fixed: Rule, compared: float) -> Rule:
    """Return the rule of a search by the policy's FPIR; or the fixed one, where the policy or the pack wants that."""
    if policy.threshold is not None or (policy.fpir is None and pack.rates is None):
        return fixed
    rule = rule_at_fpir(rates_of(pack, "fpir"), _first(policy.fpir, DEFAULT_FPIR), compared)
    most = pack.threshold  # however few there are, a gallery is as strict as a comparison of two faces
    return replace(rule, threshold=min(rule.threshold, most), low=min(rule.low, most))


def _rule(policy: Policy, pack: Pack, default: Rule, asked: Threshold | IdentifyEmbeddings, compared: float) -> Rule:
    """Return the rule that is asked for, no wider than is allowed and no finer than distances are told; else default.

    Else whoever asks again and again, with one threshold after the other, would learn any distance to its last digit.
    """
    fpir = cast("float | None", asked.get("fpir"))
    rule = choose_rule(pack, default, asked)
    if fpir is not None:
        if rule is not default:
            raise InvalidOption("fpir, and threshold or fmr, are two ways to say the same: use one of them")
        rule = rule_at_fpir(rates_of(pack, "fpir"), fpir, compared)
    if rule is default:
        return rule
    named = named_rules(pack.rates).values() if pack.rates else ()
    allowed = _first(policy.candidate_threshold, max((pack.threshold, *(each.threshold for each in named))))
    widest = max(default.threshold, allowed)
    if rule.threshold > widest:
        name = "fpir" if rule.fpir else "fmr" if rule.fmr else "threshold"
        raise InvalidOption(
            f"{name}: a threshold of {rule.threshold:.4g} is wider than this gallery allows, {widest:.4g}; "
            "candidate_threshold in its policy allows more"
        )
    return replace(rule, threshold=math.floor(round(rule.threshold * _STEPS, 6)) / _STEPS or rule.threshold)


_STEPS = 100  # of a distance of 1, in which distances are told


def _rounded(distance: float, threshold: float = math.inf) -> float:
    """Return what is told of a distance: rounded down, and below the threshold exactly where the distance is."""
    rounded = min(math.floor(distance * _STEPS) / _STEPS, distance)
    return rounded if distance < threshold else max(rounded, threshold)


def limits_of(policy: Policy, pack: Pack) -> QualityLimits:
    """Return the limits to the quality of faces: the policy's, and the pack's own where it has none."""
    named = (limit.name for limit in fields(QualityLimits) if limit.name != "provenance")
    given = {name: getattr(policy, name) for name in named}
    return replace(pack.quality, **{name: limit for name, limit in given.items() if limit is not None})


def candidate_of(match: Match, following: Match | None, rules: Rules, threshold: float) -> Candidate:
    """Return what is told of a match, whose distance was held against a threshold, before the next that is told of."""
    distance = _rounded(match.distance, threshold)
    return Candidate(
        **{**match.to_dict(), "distance": distance},
        probability=probability_of_same(distance, rules.pack.calibration, rules.compared),
        margin=None if following is None else _rounded(following.distance - match.distance, rules.margin),
    )


def identify(
    matches: Sequence[Match], rules: Rules, face: Face | None, limit: int, probe: FloatArray | None = None
) -> Identification:
    """Decide who a face is, or a probe (D,) without one, by the nearest subjects: 2 at least, if there are as many."""
    unknown: UnknownReason | None = "empty_gallery"
    if matches:
        unknown = why_unfit(face, probe if face is None else face.embedding, rules)
        matches, rejected = _without_rejected(matches)
        unknown = unknown or _why_unknown(matches, rules, rejected)
    near = [each for each in matches[: rules.most_candidates] if each.distance < rules.candidate_threshold]
    told = near or list(matches[: 0 if unknown else 1])
    rule, threshold = rules.rule, rules.rule.threshold
    candidates = tuple(candidate_of(*each, rules, threshold) for each in zip_longest(told, told[1:]))
    if unknown in get_args(Doubt):
        candidates = tuple(replace(each, probability=None) for each in candidates)
    return Identification(
        match=None if unknown else candidates[0],
        unknown=unknown,
        candidates=candidates[:limit],
        threshold=threshold,
        fmr=rule.fmr,
        face=face,
        fpir=rule.fpir,
        compared=rules.subjects,
        interval=(rule.low, rule.high) if rule.low < rule.high else None,
        uncertain=bool(matches) and rule.decide(_rounded(matches[0].distance, threshold)) == "uncertain",
    )


def by_sample(found: Identification, matches: Sequence[Match], rules: Rules, limit: int) -> Identification:
    """Return what was decided, with the nearest single samples as candidates, by the same rules."""
    near = [each for each in matches[: rules.most_candidates] if each.distance < rules.candidate_threshold]
    candidates = (candidate_of(*each, rules, found.threshold) for each in zip_longest(near, near[1:]))
    if found.unknown in get_args(Doubt):
        candidates = (replace(each, probability=None) for each in candidates)
    return replace(found, candidates=tuple(islice(candidates, limit)))


def _without_rejected(matches: Sequence[Match]) -> tuple[list[Match], float]:
    """Return the subjects that no counter-sample of theirs is nearer than, and the distance of the nearest other one.

    A subject of which only a counter-sample is near enough to be among the matches is such another one.
    """
    against: dict[int, float] = {}
    for match in matches:
        if match.counter:
            against.setdefault(match.subject_number, match.distance)
    left: list[Match] = []
    rejected = math.inf
    for match in matches:
        if not match.counter and match.distance <= against.get(match.subject_number, math.inf):
            left.append(match)
        elif not match.counter:
            rejected = min(rejected, match.distance)
    return left, rejected


def _why_unknown(matches: Sequence[Match], rules: Rules, rejected: float) -> UnknownReason | None:
    """Return why the nearest of matches is not told, or None; ``rejected`` is the distance of one that is left out."""
    threshold = rules.rule.threshold
    if not matches or not matches[0].distance < threshold:
        return "rejected" if rejected < threshold else "no_match"
    if len(matches) > 1 and matches[1].distance - matches[0].distance < rules.margin:
        return "low_margin"
    return "ignored" if matches[0].ignored else None


def why_unfit(face: Face | None, probe: FloatArray | None, rules: Rules) -> UnknownReason | None:
    """Return why a face, or a probe (D,) without one, cannot be told from others, or None."""
    quality = face.quality if face else None
    if face is not None and not is_live(face.attributes):
        return "not_live"
    if reason := rules.pack.doubt(probe, rules.limits, quality):
        return reason
    return "low_quality" if quality is not None and probe_shortcomings(quality, rules.limits) else None


def verify(probe: FloatArray, face: Face | None, samples: Sequence[Sample], rules: Rules) -> SubjectVerification:
    """Decide whether a probe (D,) of the pack's space, embedded from a face, is the subject of samples, 1 or more.

    Of the samples one at least is no counter-sample.
    """
    pack, rule = rules.pack, rules.rule
    found = distances(pack.metric, probe, np.stack([sample.embedding for sample in samples]))
    counter = np.array([sample.counter for sample in samples])
    against, found = found[counter].min(initial=np.inf), np.where(counter, np.inf, found)
    nearest = int(found.argmin())
    exact = float(found[nearest])
    rounded = _rounded(exact, rule.threshold)
    near = exact < max(rule.threshold, rules.candidate_threshold)
    sample, limits, quality = samples[nearest], rules.limits, face.quality if face else None
    reason = pack.doubt(probe, limits, quality) or pack.doubt(sample.embedding, limits, sample.quality)
    rejected = reason is None and against < exact < rule.threshold
    return SubjectVerification(
        same=exact < rule.threshold and reason is None and not rejected,
        distance=rounded if near else None,
        threshold=rule.threshold,
        probability=probability_of_same(rounded, pack.calibration) if near and reason is None else None,
        subject=sample.subject,
        sample=sample.id if near else None,
        face=face,
        decision="uncertain" if reason else "different" if rejected else rule.decide(rounded),
        fmr=rule.fmr,
        reason="rejected" if rejected else reason,
    )


def choose_like(reference: FloatArray, embeddings: FloatArray, rules: Rules) -> int:
    """Return which of the faces of an image, embeddings (N, D), 1 or more, is the person of a reference (D,).

    Raises:
        NoFace: none is.
        MultipleFaces: two are about as near.
    """
    near = distances(rules.pack.metric, reference, embeddings)
    first, second, *_ = *np.sort(near), math.inf
    if not first < rules.pack.threshold:
        raise NoFace(
            f"none of the faces is like the reference: the nearest is at a distance of {first:.2f}, and "
            f"{rules.pack.threshold:.2f} is too far"
        )
    if second - first < rules.margin:
        raise MultipleFaces(
            f"two faces are about as like the reference, at distances of {first:.2f} and {second:.2f}; a box tells "
            "which one is meant"
        )
    return int(near.argmin())


def look_mixed(embeddings: FloatArray, pack: Pack) -> bool:
    """Tell whether the samples of a subject, (N, D), look like several people: most pairs of them, from 3 on."""
    some = embeddings[:: -(-len(embeddings) // _SAMPLES_COMPARED) or 1]
    apart = [distances(pack.metric, one, some[place + 1 :]) for place, one in enumerate(some[:-1])]
    return len(some) >= _LEAST_SAMPLES and float(np.median(np.concatenate(apart))) >= pack.threshold


_SAMPLES_COMPARED = 200
_LEAST_SAMPLES = 3


def check_undoubted(embedding: FloatArray, quality: Quality | None, rules: Rules) -> None:
    """Insist on a face whose distance to others says something: InvalidFace, FaceOccluded or ChildFace."""
    if doubt := rules.pack.doubt(embedding, rules.limits, quality):
        raise _refusal(doubt)


def check_space(gallery: Gallery, space: str) -> None:
    """Insist on embeddings of the gallery's space; SpaceMismatch where these are of another."""
    if gallery.space.id != space:
        if gallery.samples:
            raise mismatch(f"gallery {gallery.name!r} holds", gallery.space.id, space)
        error = mismatch(f"gallery {gallery.name!r} is empty, but for", gallery.space.id, space)
        raise SpaceMismatch(f"{error}; visavis gallery forget {gallery.name} removes the empty one")


def mismatch(holder: str, held: str, given: str) -> SpaceMismatch:
    """Say that embeddings of one space are not for what holds those of another, and what to do about it.

    Args:
        holder: what holds embeddings, in words and with a verb.
        held: the ID of their space.
        given: the ID of the other one.
    """
    pack = pack_of_space(held)
    use = f"use the pack {pack.name!r} (--pack {pack.name})" if pack else "use the pack that it was made with"
    return SpaceMismatch(
        f"{holder} embeddings of {_named(held)}, with which those of {_named(given)} cannot be compared: {use}, "
        "or enrol the images again in a new gallery (visavis gallery create, visavis enrol)"
    )


def _named(space: str) -> str:
    pack = pack_of_space(space)
    return f"the pack {pack.name!r} (space {space})" if pack else f"the space {space}"


def within_retention(details: Details, policy: Policy, at: datetime) -> Details:
    """Return details whose expiry, where they name one, is no later than the gallery's policy allows."""
    if policy.retention_days is None or details.expires_at is None:
        return details
    latest = at + timedelta(days=policy.retention_days)
    return replace(details, expires_at=min(details.expires_at, latest))


def expiring(details: Details, policy: Policy, at: datetime) -> Details:
    """Return the details of a subject that is enrolled, which ends when the gallery's policy says, or before."""
    details = within_retention(details, policy, at)
    if policy.retention_days is None or details.expires_at is not None:
        return details
    return replace(details, expires_at=at + timedelta(days=policy.retention_days))


def unfit(embedding: FloatArray, quality: Quality | None, rules: Rules) -> tuple[VisavisError, ...]:
    """Return why an embedding (D,) is not enrolled, each as the error that refuses it."""
    lacks = () if quality is None else shortcomings(quality, rules.limits)
    doubt = rules.pack.doubt(embedding, rules.limits)
    return (*lacks, _refusal(doubt)) if doubt else lacks


def shortcomings(quality: Quality, limits: QualityLimits) -> tuple[VisavisError, ...]:
    """Return what a face lacks to be enrolled, each as the error that refuses it; unknown angles are passed over."""
    lacks = [*_too_little(quality, limits.min_face_px, limits.min_sharpness, limits.min_score)]
    if doubt := limits.doubt(quality):
        lacks.append(_refusal(doubt))
    turns = (("sideways", quality.yaw, limits.max_yaw), ("up or down", quality.pitch, limits.max_pitch))
    for way, angle, most in turns:
        if angle is not None and abs(angle) > most:
            lacks.append(
                ExtremePose(f"the head is turned {way} by about {abs(angle):.0f} degrees; {most:g} are allowed")
            )
    return tuple(lacks)


def _refusal(doubt: Doubt) -> VisavisError:
    kind, text = _DOUBTED[doubt]
    return kind(text)


_DOUBTED: Mapping[Doubt, tuple[type[VisavisError], str]] = {
    "invalid_face": (InvalidFace, "the face is turned or degraded, so that it cannot be told from others that are"),
    "occluded": (FaceOccluded, "the eyes or the mouth look covered"),
    "child": (ChildFace, "the face looks like a child's, whom models hardly tell apart; allow_children enrols it"),
}


def probe_shortcomings(quality: Quality, limits: QualityLimits) -> tuple[VisavisError, ...]:
    """Return what a face lacks to be identified."""
    return tuple(_too_little(quality, limits.probe_min_face_px, limits.probe_min_sharpness, limits.probe_min_score))


def _too_little(quality: Quality, min_face_px: float, min_sharpness: float, min_score: float) -> Iterator[VisavisError]:
    if quality.face_px < min_face_px:
        yield FaceTooSmall(f"the face is {quality.face_px:.0f} pixels wide; {min_face_px:g} are needed")
    if quality.sharpness < min_sharpness:
        yield FaceBlurred(f"the face's sharpness is {quality.sharpness:.3g}; {min_sharpness:g} is needed")
    if quality.score < min_score:
        yield LowScore(f"the detector's score of the face is {quality.score:.3g}; {min_score:g} is needed")


def looking(options: Enrol | Identify | Verify, policy: Policy, *, require_live: bool) -> Observe:
    """Return how to look at an image: also whether a face is live, where the options or the policy ask for that."""
    attributes: tuple[Attribute, ...] = ("liveness",) if require_live or policy.require_live else ()
    chips = bool(options.get("chips"))
    return {"faces": options["faces"], "min_face": options["min_face"], "attributes": attributes, "chips": chips}


def check_live(face: Face) -> None:
    """Insist on a face that looks live, where anybody looked; NotLive where it looks like a print or a screen."""
    if not is_live(face.attributes):
        raise NotLive("the face looks like a print or a screen, and a live one is required")


def check_policy(policy: Policy, pack: Pack) -> None:
    """Insist on a policy that can be followed with a pack.

    Raises:
        InvalidOption: it wants live faces, and the pack cannot tell; or a rate, and nobody has measured the pack's.
    """
    if policy.fpir is not None:
        rates_of(pack, "fpir")
    if policy.require_live and not pack.has("liveness"):
        raise InvalidOption(f"require_live: the pack {pack.name!r} has no part that tells whether a face is live")


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
