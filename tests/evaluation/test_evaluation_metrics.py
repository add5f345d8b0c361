"""Error rates and their intervals, beside scikit-learn and cases that can be counted by hand."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, roc_curve

from visavis import InvalidOption
from visavis.evaluation import metrics
from visavis.evaluation.bootstrap import Estimate, Replicates, draws, interval, resample
from visavis.evaluation.metrics import Comparisons, check_both_kinds, paired_distances

Floats = NDArray[np.float64]


def compared(distances: object, same: object, persons: object = None, folds: object = None) -> Comparisons:
    """Return comparisons, every image being of a person of its own where nothing else is said."""
    values = np.asarray(distances, np.float64)
    kinds = np.asarray(same, np.bool_)
    if persons is None:
        numbers = np.arange(2 * len(values)).reshape(-1, 2)
        numbers[kinds, 1] = numbers[kinds, 0]
    else:
        numbers = np.asarray(persons, np.int64).reshape(-1, 2)
    numbered = None if folds is None else np.asarray(folds, np.int64)
    return Comparisons(values, kinds, numbers, np.arange(2 * len(values)).reshape(-1, 2), numbered)


def made_up(seed: int, people: int = 60, images: int = 3) -> Comparisons:
    """Return all pairs of images of people, of whom some look alike."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(people), images)
    vectors = rng.normal(0, 1, (people, 6))[owners] + rng.normal(0, 0.35, (len(owners), 6))
    first, second = np.triu_indices(len(owners), 1)
    distances = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    pairs = np.stack([first, second], axis=1)
    return Comparisons(distances, owners[first] == owners[second], owners[pairs], pairs)


# Distances with ties, infinite ones among them.
cases = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, np.inf]), st.booleans()), min_size=1, max_size=30
)


@given(cases)
def test_the_curve_is_scikit_learns(case: list[tuple[float, bool]]) -> None:
    both = compared(*zip(*case, strict=True)).compared()
    if both.same.all() or not both.same.any():
        return
    curve = metrics.curve_of(both)
    fpr, tpr, thresholds = roc_curve(both.same, -both.distances, drop_intermediate=False)
    # scikit-learn takes distances up to a threshold for one person, we those below the next one.
    assert curve.thresholds[:-1] == pytest.approx(-thresholds[1:])
    assert curve.fmr == pytest.approx(fpr)
    assert 1 - curve.fnmr == pytest.approx(tpr)


@given(cases, st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_rates_are_counts(case: list[tuple[float, bool]], threshold: float) -> None:
    both = compared(*zip(*case, strict=True))
    impostor = [distance < threshold for distance, same in case if not same]
    genuine = [distance >= threshold for distance, same in case if same]
    fmr, fnmr = metrics.rates_at(both, threshold)
    assert fmr == pytest.approx(np.mean(impostor) if impostor else np.nan, nan_ok=True)
    assert fnmr == pytest.approx(np.mean(genuine) if genuine else np.nan, nan_ok=True)
    decided = [distance < threshold for distance, _ in case]
    assert metrics.accuracy_at(both, threshold) == pytest.approx(accuracy_score([same for _, same in case], decided))


@given(cases)
def test_no_threshold_is_better_than_the_best(case: list[tuple[float, bool]]) -> None:
    both = compared(*zip(*case, strict=True))
    best, threshold = metrics.best_accuracy(both)
    assert metrics.accuracy_at(both, threshold) == pytest.approx(best)
    tried = (*(distance for distance, _ in case), 1.1)
    assert all(metrics.accuracy_at(both, other) <= best for other in tried)


def test_where_accepting_nobody_is_best() -> None:
    assert metrics.best_accuracy(compared([0.1, 0.2, 0.3, 0.9], [False, False, False, True])) == (0.75, 0.0)


def test_draws_without_a_kind_of_pairs_have_no_equal_error() -> None:
    known = np.array([[0.0, 0.5, 1.0]])
    thresholds = np.array([0.0, 0.5, np.inf])
    for fmr, fnmr in ((known * np.nan, 1 - known), (known, known * np.nan)):
        drawn = Replicates(thresholds, fmr, fnmr, np.ones(1), np.ones(1))
        assert np.isnan(drawn.equal_error()).all()
    assert Replicates(thresholds, known, 1 - known, np.ones(1), np.ones(1)).equal_error() == pytest.approx(0.5)


@given(cases, st.sampled_from([0.0, 0.01, 0.1, 0.34, 0.5, 1.0]))
def test_a_threshold_keeps_its_rate_and_no_larger_one_does(case: list[tuple[float, bool]], fmr: float) -> None:
    impostor = np.sort([distance for distance, same in case if not same])
    threshold = metrics.threshold_at_fmr(impostor, fmr)
    if len(impostor):
        assert metrics.match_rates(impostor, threshold) <= fmr
    if np.isfinite(threshold):
        assert metrics.match_rates(impostor, np.nextafter(threshold, np.inf)) > fmr


@pytest.mark.parametrize(
    ("distances", "same", "rate"),
    [
        ([0.1, 0.9], [True, False], 0.0),
        ([0.9, 0.1], [True, False], 1.0),
        ([0.5, 0.5], [True, False], 0.5),
        ([0.1, 0.6, 0.5, 0.9], [True, True, False, False], 0.5),
        ([0.1, 0.2, 0.6, 0.5, 0.7, 0.8], [True] * 3 + [False] * 3, 1 / 3),
    ],
)
def test_equal_error_by_hand(distances: list[float], same: list[bool], rate: float) -> None:
    assert metrics.equal_error(metrics.curve_of(compared(distances, same)))[0] == pytest.approx(rate)


def test_equal_error_lies_on_scikit_learns_curve() -> None:
    both = made_up(1)
    fpr, tpr, _ = roc_curve(both.same, -both.distances)
    rates = np.linspace(0, 1, 2_000_001)
    reference = rates[np.argmin(np.abs(1 - rates - np.interp(rates, fpr, tpr)))]
    assert metrics.equal_error(metrics.curve_of(both))[0] == pytest.approx(reference, abs=2e-6)


def test_folds_are_decided_by_the_others() -> None:
    # In each fold the two kinds lie apart, and the others' best threshold is theirs: it fails in the last.
    distances = [0.1, 0.5, 0.1, 0.5, 0.6, 0.9]
    both = compared(distances, [True, False] * 3, folds=[0, 0, 1, 1, 2, 2])
    assert both.folds is not None
    assert metrics.cross_validated(both, both.folds).tolist() == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("trials", "rate", "supported"), [(0, 1e-2, False), (299, 1e-2, False), (300, 1e-2, True), (300_000, 1e-5, True)]
)
def test_three_over_n(trials: int, rate: float, *, supported: bool) -> None:
    assert metrics.supports(trials, rate) is supported
    assert (metrics.bound_without_errors(trials) <= rate) is supported


@pytest.mark.parametrize("same", [[], [True], [False]])
def test_both_kinds_are_needed(same: list[bool]) -> None:
    with pytest.raises(InvalidOption, match="nothing to measure"):
        check_both_kinds(compared([0.5] * len(same), same))


def test_people_are_counted_once() -> None:
    both = compared([0.5] * 5, [True, True, False, False, False], [(0, 0), (0, 0), (0, 1), (1, 0), (1, 2)])
    assert both.people == (1, 2)
    assert compared([], []).people == (0, 0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_paired_distances_are_those_of_one_pair(metric: str) -> None:
    from visavis.core.decide import distance_of  # noqa: PLC0415

    a, b = np.random.default_rng(2).normal(0, 1, (2, 7, 5)).astype(np.float32)
    one_by_one = [distance_of(metric, x, y) for x, y in zip(a, b, strict=True)]  # type: ignore[arg-type]
    assert paired_distances(metric, a, b) == pytest.approx(one_by_one, abs=1e-12)  # type: ignore[arg-type]
    assert paired_distances(metric, a[:0], b[:0]).shape == (0,)  # type: ignore[arg-type]


def test_resampling_is_counting_people_again() -> None:
    both = made_up(3, people=12)
    thresholds = np.quantile(both.distances, [0.01, 0.05, 0.2]).tolist()
    drawn = resample(both, thresholds, replicates=20, seed=5)
    weights = draws(12, 20, np.random.default_rng(5)).astype(float)
    for threshold in thresholds:
        for replicate in range(20):
            own = weights[:, replicate]
            # A pair of strangers counts as often as both people are drawn together; one of a person, as that person.
            pairs = np.where(both.same, own[both.persons[:, 0]], own[both.persons].prod(axis=1))
            near = both.distances < threshold
            fmr = pairs[near & ~both.same].sum() / pairs[~both.same].sum()
            fnmr = pairs[~near & both.same].sum() / pairs[both.same].sum()
            accuracy = pairs[near == both.same].sum() / pairs.sum()
            assert drawn.fmr_at(threshold)[replicate] == pytest.approx(fmr)
            assert drawn.fnmr_at(threshold)[replicate] == pytest.approx(fnmr)
            assert drawn.accuracy_at(threshold)[replicate] == pytest.approx(accuracy)


def test_all_drawn_once_is_the_measurement() -> None:
    both = made_up(4)
    drawn = resample(both, [1.5], replicates=400, seed=0)
    curve = metrics.curve_of(both)
    eer, fmr = metrics.equal_error(curve)[0], metrics.rates_at(both, 1.5)[0]
    assert np.median(drawn.equal_error()) == pytest.approx(eer, rel=0.15)
    assert np.median(drawn.fmr_at(1.5)) == pytest.approx(fmr, rel=0.15)
    threshold = metrics.threshold_at_fmr(both.impostor, 0.01)
    assert np.median(drawn.threshold_at(0.01)) == pytest.approx(threshold, rel=0.1)
    assert np.all(drawn.fmr[np.arange(400), np.searchsorted(drawn.thresholds, drawn.threshold_at(0.01))] <= 0.01)
    assert np.median(drawn.fnmr_at_fmr(0.01)) == pytest.approx(metrics.rates_at(both, threshold)[1], rel=0.3)


def test_intervals_hold_the_truth() -> None:
    # Of many measurements, each with people of its own, about 95 % of the intervals hold the mean of all.
    measured = [made_up(seed, people=40) for seed in range(60)]
    truth = np.mean([metrics.rates_at(both, 1.8)[0] for both in measured])
    held = 0
    for both in measured:
        value = metrics.rates_at(both, 1.8)[0]
        estimate = interval(value, resample(both, [1.8], replicates=200).fmr_at(1.8), both.people[1])
        held += int(estimate.low <= truth <= estimate.high)
    assert held / len(measured) > 0.85


def test_people_make_wider_intervals_than_pairs() -> None:
    both = made_up(6, people=30, images=6)
    alone = compared(both.distances, both.same)
    fmr = metrics.rates_at(both, 1.8)[0]
    by_people = interval(fmr, resample(both, [1.8], replicates=300).fmr_at(1.8))
    by_pairs = interval(fmr, resample(alone, [1.8], replicates=300).fmr_at(1.8))
    assert by_people.high - by_people.low > 1.5 * (by_pairs.high - by_pairs.low)


@pytest.mark.parametrize(
    ("value", "replicated", "trials", "expected"),
    [
        (0.0, [], 300, Estimate(0.0, 0.0, 0.01)),
        (1.0, [], 300, Estimate(1.0, 0.99, 1.0)),
        (0.0, [0.0, 0.0], 2, Estimate(0.0, 0.0, 1.0)),
        (0.5, [0.4, 0.4, 0.6, 0.6, np.nan], 10, Estimate(0.5, 0.4, 0.6)),
        (0.5, [0.6, 0.6], 10, Estimate(0.5, 0.5, 0.6)),
        (0.5, [0.5, 0.5], 2, Estimate(0.5, 0.0945312057, 0.9054687943)),
        (0.2, [], 5, Estimate(0.2, 0.0362240941, 0.6244653587)),
        (np.inf, [1.0, np.inf], None, Estimate(np.inf, 1.0, np.inf)),
    ],
)
def test_intervals_by_hand(value: float, replicated: list[float], trials: int | None, expected: Estimate) -> None:
    found = interval(value, np.array(replicated), trials)
    assert astuple(found) == pytest.approx(astuple(expected))


def test_nothing_drawn_is_no_interval() -> None:
    estimate = interval(0.5, np.array([np.nan]))
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_two_people_have_draws_without_strangers() -> None:
    both = compared([0.1, 0.2, 0.9], [True, True, False], [(0, 0), (1, 1), (0, 1)])
    drawn = resample(both, [0.5], replicates=100)
    assert np.isnan(drawn.fmr).any()
    assert np.nanmax(drawn.fmr_at(0.5)) == 0
