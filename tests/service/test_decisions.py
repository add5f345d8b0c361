"""From distances and qualities to decisions: pure functions."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_kinds import GOOD, NOON, PACK, at, face_at

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint, Rule, probability_of_same
from visavis.core.quality import ChildTest
from visavis.errors import InvalidOption
from visavis.galleries.records import Gallery, Match, Sample
from visavis.models.catalogue import DLIB, OPEN, SFACE
from visavis.models.packs import Pack, QualityLimits
from visavis.options import Policy, Threshold
from visavis.service.decisions import (
    Rules,
    check_policy,
    identify,
    limits_of,
    probe_shortcomings,
    rules_in_force,
    rules_of,
    shortcomings,
    unfit,
    verify,
)
from visavis.service.results import Identification
from visavis.types import Attributes, Quality

RATED = replace(
    PACK, rates=ErrorRates((OperatingPoint(1e-4, 0.3, 0.2, 0.4), OperatingPoint(1e-3, 0.5, 0.4, 0.6)), "a test")
)


def matches(*distances: float) -> list[Match]:
    return [
        Match(subject=f"s{n}", subject_number=n, name=None, sample=n, distance=distance)
        for n, distance in enumerate(distances)
    ]


def line(*places: float) -> list[Sample]:
    return [
        Sample(id=n, subject="ada", embedding=at(x), quality=None, source=None, picture="nothing", created_at=NOON)
        for n, x in enumerate(places)
    ]


def decide(policy: Policy, *distances: float, limit: int = 5, quality: Quality = GOOD) -> Identification:
    return identify(matches(*distances), rules_of(policy, PACK), face_at(0, quality).face, limit)


def test_the_pack_decides_what_the_policy_leaves_open() -> None:
    rules = rules_of(Policy(), PACK)
    assert (rules.rule, rules.margin, rules.conflict_threshold) == (Rule.at(0.5), 0.125, 0.25)
    own = rules_of(Policy(threshold=0.25, margin=0, conflict_threshold=0), PACK)
    assert (own.rule, own.margin, own.conflict_threshold) == (Rule.at(0.25), 0, 0)
    assert rules_of(Policy(threshold=0.25), PACK, {"threshold": 0.75}).rule == Rule.at(0.75)
    assert (rules.candidate_threshold, rules.most_candidates, own.candidate_threshold) == (0.5, 10, 0.25)


def test_a_rate_in_place_of_a_threshold() -> None:
    rules = rules_of(Policy(threshold=0.25), RATED, {"fmr": "balanced"})
    assert rules.rule == Rule(0.5, 0.4, 0.6, 1e-3)
    refused: list[tuple[Any, str]] = [
        ({"fmr": 1e-3, "threshold": 0.5}, "use one of them"),
        ({"fmr": 1e-9}, "visavis calibrate with more images"),
        ({"fmr": "strictest"}, "one of strict, balanced, lenient"),
    ]
    for wrong, message in refused:
        with pytest.raises(InvalidOption, match=message):
            rules_of(Policy(), RATED, wrong)
    with pytest.raises(InvalidOption, match="visavis calibrate --pack"):
        rules_of(Policy(), PACK, {"fmr": 1e-3})


def gallery_of(subjects: int, samples: int | None = None, policy: Policy = Policy()) -> Gallery:  # noqa: B008  # it is frozen
    return Gallery(
        name="people",
        number=1,
        space=PACK.space,
        policy=policy,
        encrypted=False,
        created_at=NOON,
        subjects=subjects,
        samples=subjects if samples is None else samples,
    )


def rules_for(subjects: int, policy: Policy = Policy(), pack: Pack = RATED, **asked: float) -> Rules:  # noqa: B008  # likewise
    return rules_of(policy, pack, asked, searched=gallery_of(subjects, policy=policy))  # type: ignore[arg-type]  # of the test


def test_the_threshold_of_a_search_follows_from_its_size() -> None:
    thresholds = [rules_for(subjects).rule.threshold for subjects in (0, 1, 10, 100, 1000)]
    assert thresholds == pytest.approx([0.5, 0.5, 0.5, 0.3, 0.1], abs=2e-3)  # 0.01, 0.01, 1e-3, 1e-4 and extrapolated
    three = rules_of(Policy(), RATED, searched=gallery_of(50, 200)).rule
    assert three == rules_for(100).rule  # each of four samples
    assert rules_for(1, pack=replace(RATED, threshold=0.45)).rule == Rule(
        0.45, 0.4, 0.6, fpir=0.01
    )  # no wider than that
    assert rules_for(100, Policy(fpir=0.1)).rule.threshold == pytest.approx(0.5, abs=5e-3)
    assert (rules_for(100).candidate_threshold, rules_for(100).rule.fpir) == (rules_for(100).rule.threshold, 0.01)


def test_the_numbers_in_force_are_those_that_decide() -> None:
    for policy, subjects, pack in (
        (Policy(), 0, RATED),
        (Policy(), 100, RATED),
        (Policy(), 10**6, RATED),
        (Policy(fpir=0.1, margin=0.2, min_face_px=99), 10, RATED),
        (Policy(threshold=0.45, candidate_threshold=0.9), 100, RATED),
        (Policy(), 10, PACK),
    ):
        told, rules = rules_in_force(gallery_of(subjects, policy=policy), pack), rules_for(subjects, policy, pack)
        assert (told.pack, told.subjects) == (pack.name, subjects)
        assert (told.threshold, told.fpir) == (rules.rule.threshold, rules.rule.fpir)
        assert told.interval == ((rules.rule.low, rules.rule.high) if rules.rule.low < rules.rule.high else None)
        assert told.verify_threshold == rules_of(policy, pack, threshold=pack.threshold).rule.threshold
        for name in ("margin", "conflict_threshold", "candidate_threshold"):
            assert getattr(told, name) == getattr(rules, name)
        assert told.limits == {name: getattr(rules.limits, name) for name in told.limits}
        assert told.limits.keys() < {each.name for each in fields(Policy)}
    rates = [rules_in_force(gallery_of(count), RATED).fmr for count in (0, 100, 10**6)]
    assert rates == [pytest.approx(1e-3), pytest.approx(1e-4, rel=0.02), None]  # the last beyond what was measured
    assert rules_in_force(gallery_of(10), PACK).fmr is None


def test_a_threshold_that_somebody_set_is_kept_at_every_size() -> None:
    for subjects in (1, 1000):
        assert rules_for(subjects, Policy(threshold=0.25)).rule == Rule.at(0.25)
        assert rules_for(subjects, threshold=0.25).rule == Rule.at(0.25)
        assert rules_for(subjects, fmr=1e-4).rule == Rule(0.3, 0.2, 0.4, 1e-4)
        assert rules_for(subjects, pack=PACK).rule == Rule.at(0.5)  # nobody has measured its rates
    assert rules_of(Policy(), RATED).rule == Rule.at(0.5)  # of an enrolment, or an audit


def test_a_call_asks_for_a_rate_of_its_own() -> None:
    rule = rules_for(100, Policy(threshold=0.25), fpir=0.1).rule
    assert (rule.threshold, rule.fpir) == (0.5, 0.1)  # no finer than distances are
    refused: list[tuple[dict[str, Any], Pack, str]] = [
        ({"fpir": 0.01, "threshold": 0.2}, RATED, "use one of them"),
        ({"fpir": 0.01, "fmr": 1e-3}, RATED, "use one of them"),
        ({"fpir": 0}, RATED, "fpir must be a finite number above 0"),
        ({"fpir": 0.01}, PACK, "fpir: nobody has measured the error rates"),
        ({"fpir": 0.1}, RATED, "fpir: a threshold of 0.5 is wider than this gallery allows, 0.31;"),
    ]
    for asked, pack, message in refused:
        with pytest.raises(InvalidOption, match=message):
            rules_for(100, Policy(threshold=0.25, candidate_threshold=0.31), pack, **asked)
    with pytest.raises(InvalidOption, match="fpir: nobody has measured"):
        check_policy(Policy(fpir=0.01), PACK)
    with pytest.raises(InvalidOption, match="use one of them"):
        Policy(fpir=0.01, threshold=0.2)
    for wrong in (0, 0.6, np.nan, "x"):
        with pytest.raises(InvalidOption, match="fpir must be a finite number"):
            Policy(fpir=wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(("distance", "match", "uncertain"), [
    (0.1, True, False), (0.25, True, True), (0.35, False, True), (0.45, False, False),
])  # fmt: skip
def test_an_identification_tells_what_it_was_decided_by(distance: float, match: bool, uncertain: bool) -> None:  # noqa: FBT001  # of the table
    rules = replace(rules_for(100), rule=Rule(0.3, 0.2, 0.4, fpir=0.01))
    found = identify(matches(distance, 2), rules, None, 5)
    assert (bool(found), found.uncertain, found.interval) == (match, uncertain, (0.2, 0.4))
    assert (found.threshold, found.fpir, found.fmr, found.compared) == (0.3, 0.01, None, 100)
    bare = identify(matches(distance, 2), rules_for(100, threshold=0.3), None, 5)
    assert (bool(bare), bare.uncertain, bare.interval, bare.fpir) == (match, False, None, None)


def test_a_stranger_at_the_threshold_of_a_large_gallery_is_not_told_to_be_probable() -> None:
    rated = replace(RATED, calibration=Calibration(midpoint=0.5, slope=20, provenance="a test"))
    told = [identify(matches(0.25, 2), rules_for(n, pack=rated, threshold=0.3), None, 5) for n in (1, 1000)]
    assert [each.match and each.match.probability for each in told] == pytest.approx([0.993, 0.129], abs=1e-3)


def test_the_limits_of_the_pack_hold_where_the_policy_has_none() -> None:
    assert limits_of(Policy(), PACK) == PACK.quality
    names = [limit.name for limit in fields(QualityLimits) if limit.name != "provenance"]
    for name in names:
        own = limits_of(Policy(**{name: 0.0}), PACK)  # type: ignore[arg-type]  # a limit
        assert own == replace(PACK.quality, **{name: 0.0})  # type: ignore[arg-type]  # likewise
    every = limits_of(Policy(**dict.fromkeys(names, 7.0)), PACK)  # type: ignore[arg-type]  # likewise
    assert {getattr(every, name) for name in names} == {7.0}


@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, "x", None])
def test_a_threshold_is_a_finite_number_above_0(threshold: float | None) -> None:
    if threshold is None:
        assert rules_of(Policy(), PACK, {"threshold": threshold}).rule == Rule.at(PACK.identify_threshold)
        return
    with pytest.raises(InvalidOption):
        rules_of(Policy(), PACK, {"threshold": threshold})


def test_margins_are_those_to_the_next_that_is_told_of() -> None:
    wide = Policy(candidate_threshold=3)
    assert [each.margin for each in decide(wide, 0.25, 0.5, 2).candidates] == [0.25, 1.5, None]
    assert [each.margin for each in decide(wide, 0.25, 0.5, 2, limit=2).candidates] == [0.25, 1.5]
    assert [each.margin for each in decide(wide, 0.25, 0.5, 3).candidates] == [0.25, None]
    assert [each.margin for each in decide(replace(wide, most_candidates=1), 0.25, 0.5).candidates] == [None]
    assert decide(wide).candidates == ()


@pytest.mark.parametrize(("policy", "distances", "limit", "told"), [
    (Policy(), (0.2, 0.4, 0.5), 5, 2),
    (Policy(), (0.5, 0.6), 5, 0),
    (Policy(), (0.4, 0.45), 5, 2),  # who are too near each other
    (Policy(candidate_threshold=0.3), (0.2, 0.4), 5, 1),
    (Policy(candidate_threshold=0.3), (0.4, 2), 5, 1),  # the match
    (Policy(candidate_threshold=0.3), (0.4, 0.45), 5, 0),
    (Policy(candidate_threshold=3), (0.6, 2), 5, 2),
    (Policy(candidate_threshold=3, most_candidates=2), (0.6, 2, 2.1), 5, 2),
    (Policy(candidate_threshold=3), (0.6, 2, 2.1), 1, 1),
    (Policy(), (0.1,) * 20, 100, 10),
])  # fmt: skip
def test_who_is_near_enough_is_told_of(policy: Policy, distances: tuple[float, ...], limit: int, told: int) -> None:
    found = decide(policy, *distances, limit=limit)
    assert [each.subject for each in found.candidates] == [f"s{n}" for n in range(told)]
    assert found.match in (None, found.candidates[0] if told else None)


@given(st.floats(0, 4), st.floats(0.001, 4), st.sampled_from([None, 0.05, 3.0]))
def test_what_is_told_is_rounded_and_never_contradicts(distance: float, threshold: float, limit: float | None) -> None:
    policy = Policy(threshold=threshold, candidate_threshold=limit)
    found = decide(policy, distance)
    assert bool(found) == (distance < threshold)
    for each in found.candidates:
        assert distance - 0.01 <= each.distance <= max(distance, threshold)
        assert (each.distance < found.threshold) == bool(found)
        assert each.distance in (pytest.approx(round(each.distance, 2), abs=1e-12), threshold, distance)
    (sample,) = line(distance)
    verified = verify(at(0), None, [sample], rules_of(policy, PACK, threshold=threshold))
    exact = float(abs(sample.embedding[1]))
    assert (verified.same, verified.distance is not None) == (exact < threshold, exact < max(threshold, limit or 0))
    if verified.distance is not None:
        assert (verified.distance < threshold) == verified.same


def test_margins_never_contradict() -> None:
    for distances, unknown in (((0.2, 0.3249), "low_margin"), ((0.2, 0.3251), None)):
        found = decide(Policy(), *distances)
        assert (found.unknown, found.candidates[0].margin) == (unknown, 0.12 if unknown else 0.125)


@pytest.mark.parametrize(("asked", "used"), [
    ({"threshold": 0.5}, 0.5), ({"threshold": 0.56999}, 0.56), ({"threshold": 0.57}, 0.57), ({"threshold": 0.29}, 0.29),
    ({"threshold": 0.29 - 1e-12}, 0.29), ({"threshold": 1e-9}, 1e-9), ({"fmr": 2e-4}, 0.36), ({"fmr": 1e-4}, 0.3),
])  # fmt: skip
def test_a_threshold_that_a_call_names_is_no_finer_than_distances_are(asked: Threshold, used: float) -> None:
    for threshold in (None, 0.75):
        assert rules_of(Policy(), RATED, asked, threshold=threshold).rule.threshold == used


@pytest.mark.parametrize(("policy", "pack", "asked", "widest"), [
    (Policy(), PACK, {"threshold": 0.76}, "0.75"),
    (Policy(threshold=0.9), PACK, {"threshold": 0.91}, "0.9"),
    (Policy(), OPEN, {"threshold": 0.77}, "0.76"),
    (Policy(), OPEN, {"fmr": 0.03}, "0.76"),
    (Policy(candidate_threshold=1), OPEN, {"threshold": 1.01}, "1"),
    (Policy(candidate_threshold=0.1), OPEN, {"fmr": "balanced"}, "0.6"),
])  # fmt: skip
def test_a_call_names_no_wider_threshold_than_is_allowed(
    policy: Policy, pack: Pack, asked: Threshold, widest: str
) -> None:
    with pytest.raises(InvalidOption, match=rf"wider than this gallery allows, {widest};"):
        rules_of(policy, pack, asked)
    assert rules_of(Policy(candidate_threshold=2), pack, asked)


@pytest.mark.parametrize(("distances", "unknown"), [
    ((), "empty_gallery"),
    ((0.5,), "no_match"),
    ((0.4999,), None),
    ((0.5, 0.5), "no_match"),
    ((0.25, 0.25), "low_margin"),
    ((0.25, 0.374), "low_margin"),
    ((0.25, 0.375), None),
    ((0, 9), None),
])  # fmt: skip
def test_the_reason_why_somebody_is_unknown(distances: tuple[float, ...], unknown: str | None) -> None:
    found = decide(Policy(), *distances)
    assert found.unknown == unknown
    assert bool(found) == (unknown is None) == (found.match is not None)
    assert len(found.candidates) == sum(distance < 0.5 for distance in distances)


@pytest.mark.parametrize("pack", [SFACE, OPEN, DLIB], ids=lambda pack: pack.name)
@pytest.mark.parametrize("subjects", [1, 2, 10, 1000])
def test_the_probability_does_not_contradict_that_nobody_matches(pack: Pack, subjects: int) -> None:
    rules = rules_for(subjects, Policy(candidate_threshold=2), pack)
    for distance in np.linspace(0.4, 0.8, 41):
        found = identify(matches(distance, 9), rules, None, 1)
        (told,) = found.candidates
        assert told.probability is not None
        if found.unknown == "no_match":
            assert told.probability < 0.8
        if subjects >= 10 and distance >= 0.64:
            assert told.probability < 0.61  # and not 0.94, as for two faces alone
            assert told.probability < probability_of_same(told.distance, pack.calibration)  # type: ignore[operator]  # it has one


def test_poor_quality_comes_before_distance_and_after_emptiness() -> None:
    policy, poor = Policy(probe_min_face_px=100), Quality(99, 1, 1)
    assert decide(policy, 0, quality=poor).unknown == "low_quality"
    assert decide(policy, 9, quality=poor).unknown == "low_quality"
    assert decide(policy, quality=poor).unknown == "empty_gallery"
    assert decide(policy, 0, quality=Quality(100, 1, 1)).unknown is None


def test_an_invalid_face_is_nobody_unless_the_policy_allows_it() -> None:
    invalid = replace(GOOD, validity=0.4)
    found = decide(Policy(), 0, quality=invalid)
    assert (found.unknown, found.match, len(found.candidates)) == ("invalid_face", None, 1)
    assert decide(Policy(probe_min_face_px=900), 9, quality=invalid).unknown == "invalid_face"
    assert decide(Policy(min_validity=0.25), 0, quality=invalid).match
    assert decide(Policy(), 0, quality=replace(GOOD, validity=0.5)).match


def test_neither_an_invalid_face_nor_an_invalid_sample_is_verified() -> None:
    rules, sample = rules_of(Policy(), PACK), line(0)[0]
    valid, invalid = (replace(GOOD, validity=validity) for validity in (0.9, 0.4))
    for seen, kept, reason in (
        (valid, invalid, "invalid_face"),
        (invalid, valid, "invalid_face"),
        (valid, valid, None),
    ):
        done = verify(at(0), face_at(0, seen).face, [replace(sample, quality=kept)], rules)
        assert (done.reason, done.same, done.decision) == (reason, not reason, "uncertain" if reason else "same")
        assert (done.probability is None) == (reason is not None)
    assert verify(at(0), None, [replace(sample, quality=invalid)], rules).reason == "invalid_face"


CHILDREN_TOLD = replace(PACK, child=ChildTest("0 1 0", 0.9, "a test"))  # from x = 2.1 on


def test_a_child_is_nobody_unless_the_policy_allows_it() -> None:
    for policy, unknown in ((Policy(), "child"), (Policy(allow_children=True), None)):
        rules = rules_of(policy, CHILDREN_TOLD)
        by_face = identify(matches(0), rules, face_at(4).face, 5)
        by_embedding = identify(matches(0), rules, None, 5, at(4))
        assert by_face.unknown == by_embedding.unknown == unknown
        assert [each.probability is None for each in by_face.candidates] == [unknown is not None]
    assert identify(matches(0), rules_of(Policy(), CHILDREN_TOLD), face_at(2).face, 5).match
    assert identify(matches(0), rules_of(Policy(), CHILDREN_TOLD), None, 5, at(2)).match
    invalid = face_at(4, replace(GOOD, validity=0.4)).face
    assert identify(matches(0), rules_of(Policy(), CHILDREN_TOLD), invalid, 5).unknown == "invalid_face"


def test_neither_a_child_nor_a_sample_of_one_is_verified() -> None:
    rules = rules_of(Policy(), CHILDREN_TOLD)
    for x, reason in ((2, None), (2.25, "child")):
        done = verify(at(x), None, line(2), rules)
        assert (done.reason, done.same, done.probability is None) == (reason, reason is None, reason is not None)
        assert verify(at(2), None, line(x), rules).reason == reason
        assert verify(at(x), None, line(x), rules_of(Policy(allow_children=True), CHILDREN_TOLD)).same


def test_a_child_is_unfit_to_be_enrolled() -> None:
    rules = rules_of(Policy(), CHILDREN_TOLD)
    assert [lack.code for lack in unfit(at(4), None, rules)] == ["child"]
    assert [lack.code for lack in unfit(at(4), replace(GOOD, face_px=1), rules)] == ["too_small", "child"]
    assert unfit(at(2), GOOD, rules) == unfit(at(4), GOOD, rules_of(Policy(allow_children=True), CHILDREN_TOLD)) == ()


@given(st.lists(st.floats(0, 2), max_size=12).map(sorted), st.integers(1, 12))
def test_a_match_is_the_nearest_near_enough_and_alone(distances: list[float], limit: int) -> None:
    found = decide(Policy(candidate_threshold=3, most_candidates=12), *distances, limit=limit)
    near = [candidate.distance for candidate in found.candidates]
    assert near == pytest.approx(distances[:limit], abs=0.01)
    alone = len(distances) < 2 or distances[1] - distances[0] >= 0.125
    assert bool(found) == bool(distances and distances[0] < 0.5 and alone)
    if found.match:
        assert found.match == found.candidates[0]


def test_every_shortcoming_is_told() -> None:
    policy = Policy(min_face_px=40, min_sharpness=0.5, min_score=0.75, max_yaw=30, max_pitch=20)
    limits = limits_of(policy, PACK)
    codes = [lack.code for lack in shortcomings(Quality(39, 0.4, 0.7, -30.5, 20.5), limits)]
    assert codes == ["too_small", "blurred", "low_score", "extreme_pose", "extreme_pose"]
    for angles in ((30, 20), (-30, -20), (None, None)):
        assert shortcomings(Quality(40, 0.5, 0.75, *angles), limits) == ()
    (sideways,) = shortcomings(Quality(40, 0.5, 0.75, -44.6), limits)
    assert str(sideways) == "the head is turned sideways by about 45 degrees; 30 are allowed"
    assert probe_shortcomings(Quality(0, 1, 0, 90, 90), PACK.quality) == ()  # which is identified all the same


def test_a_face_that_does_not_look_live_is_nobody() -> None:
    candidates, rules = matches(0), rules_of(Policy(), PACK)
    for liveness, unknown in ((0.0, "not_live"), (0.49, "not_live"), (0.5, None), (None, None)):
        face = replace(face_at(0).face, attributes=Attributes(liveness=liveness))
        assert identify(candidates, rules, face, 5).unknown == unknown
    print_ = replace(face_at(0).face, attributes=Attributes(liveness=0.1))
    assert identify((), rules, print_, 5).unknown == "empty_gallery"


def test_a_policy_for_live_faces_takes_a_pack_that_can_tell() -> None:
    check_policy(Policy(), PACK)
    check_policy(Policy(require_live=True), OPEN)
    with pytest.raises(InvalidOption, match="the pack 'line' has no part that tells whether a face is live"):
        check_policy(Policy(require_live=True), PACK)


def test_verify_takes_the_nearest_sample() -> None:
    samples = line(4, 1, 2)
    rules = rules_of(Policy(), PACK, threshold=0.75)
    done = verify(at(1.5), None, samples, rules)
    assert (done.sample, done.distance, done.same, done.threshold) == (1, 0.5, True, 0.75)
    assert (done.decision, done.fmr) == ("same", None)
    assert not verify(at(1.5), None, samples, replace(rules, rule=Rule.at(0.5)))
    far = verify(at(0), None, samples, rules)
    assert (far.same, far.distance, far.probability, far.sample, far.decision) == (False, None, None, None, "different")
    near = verify(at(1.5), None, samples, replace(rules, rule=Rule(0.55, 0.45, 0.6, 1e-3)))
    assert (near.same, near.decision, near.fmr) == (True, "uncertain", 1e-3)
    assert done.probability is not None
    assert 0 < done.probability < 1
