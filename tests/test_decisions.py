"""From distances and qualities to decisions: pure functions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_kinds import GOOD, NOON, PACK, at, face_at

from visavis.errors import InvalidOption
from visavis.galleries.records import Match, Policy, Sample
from visavis.service.decisions import candidates_of, enrolment_shortcomings, identify, rules_of, shortcomings, verify
from visavis.service.results import Identification
from visavis.types import Quality


def matches(*distances: float) -> list[Match]:
    return [
        Match(subject=f"s{n}", subject_number=n, name=None, sample=n, distance=distance)
        for n, distance in enumerate(distances)
    ]


def decide(policy: Policy, *distances: float, limit: int = 5, quality: Quality = GOOD) -> Identification:
    candidates = candidates_of(matches(*distances), PACK)
    return identify(candidates, rules_of(policy, PACK), face_at(0, quality).face, limit)


def test_the_pack_decides_what_the_policy_leaves_open() -> None:
    rules = rules_of(Policy(), PACK)
    assert (rules.threshold, rules.margin, rules.conflict_threshold) == (0.5, 0.125, 0.25)
    own = rules_of(Policy(threshold=0.25, margin=0, conflict_threshold=0), PACK)
    assert (own.threshold, own.margin, own.conflict_threshold) == (0.25, 0, 0)
    assert rules_of(Policy(threshold=0.25), PACK, 0.75).threshold == 0.75


@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, "x", None])
def test_a_threshold_is_a_finite_number_above_0(threshold: float | None) -> None:
    if threshold is None:
        assert rules_of(Policy(), PACK, threshold).threshold == PACK.identify_threshold
        return
    with pytest.raises(InvalidOption):
        rules_of(Policy(), PACK, threshold)


def test_margins_are_those_to_the_next() -> None:
    candidates = candidates_of(matches(0.25, 0.5, 2), PACK)
    assert [candidate.margin for candidate in candidates] == [0.25, 1.5, None]
    assert candidates_of((), PACK) == ()


@pytest.mark.parametrize(("distances", "unknown"), [
    ((), "empty_gallery"),
    ((0.5,), "below_threshold"),
    ((0.4999,), None),
    ((0.5, 0.5), "below_threshold"),
    ((0.25, 0.25), "low_margin"),
    ((0.25, 0.374), "low_margin"),
    ((0.25, 0.375), None),
    ((0, 9), None),
])  # fmt: skip
def test_the_reason_why_somebody_is_unknown(distances: tuple[float, ...], unknown: str | None) -> None:
    found = decide(Policy(), *distances)
    assert found.unknown == unknown
    assert bool(found) == (unknown is None) == (found.match is not None)
    assert len(found.candidates) == len(distances)


def test_poor_quality_comes_before_distance_and_after_emptiness() -> None:
    policy, poor = Policy(probe_min_face_px=100), Quality(99, 1, 1)
    assert decide(policy, 0, quality=poor).unknown == "low_quality"
    assert decide(policy, 9, quality=poor).unknown == "low_quality"
    assert decide(policy, quality=poor).unknown == "empty_gallery"
    assert decide(policy, 0, quality=Quality(100, 1, 1)).unknown is None


@given(st.lists(st.floats(0, 2), max_size=12).map(sorted), st.integers(1, 12))
def test_a_match_is_the_nearest_near_enough_and_alone(distances: list[float], limit: int) -> None:
    found = decide(Policy(), *distances, limit=limit)
    assert [candidate.distance for candidate in found.candidates] == distances[:limit]
    alone = len(distances) < 2 or distances[1] - distances[0] >= 0.125
    assert bool(found) == bool(distances and distances[0] < 0.5 and alone)
    if found.match:
        assert found.match == found.candidates[0]


def test_every_shortcoming_is_told() -> None:
    policy = Policy(min_face_px=40, min_sharpness=0.5, min_score=0.75)
    codes = [lack.code for lack in enrolment_shortcomings(Quality(39, 0.4, 0.7), policy)]
    assert codes == ["too_small", "blurred", "low_score"]
    assert enrolment_shortcomings(Quality(40, 0.5, 0.75), policy) == ()
    assert shortcomings(Quality(0, 0, 0), 0, 0, 0) == ()


def test_verify_takes_the_nearest_sample() -> None:
    samples = [
        Sample(id=n, subject="ada", embedding=at(x), quality=None, source=None, picture="nothing", created_at=NOON)
        for n, x in enumerate((4, 1, 2))
    ]
    done = verify(at(1.5), None, samples, PACK, None)
    assert (done.sample, done.distance, done.same, done.threshold) == (1, 0.5, True, 0.75)
    assert not verify(at(1.5), None, samples, PACK, 0.5)
    assert 0 < done.probability < 1
