"""From comparisons to thresholds with known error rates, and to a probability."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from visavis.core.decide import Calibration, probability_of_same, rule_at_rate
from visavis.errors import InvalidOption
from visavis.evaluation.calibration import GRID, Calibrated, calibrate, fit_logistic, needs
from visavis.evaluation.metrics import Comparisons, rates_at
from visavis.models.installation import Measured

Floats = NDArray[np.float64]


def compared(people: int, images: int = 2, seed: int = 0) -> Comparisons:
    """Compare all images of made-up people: strangers are 1 apart, one person's images 0.5, both give or take 0.1."""
    persons = np.repeat(np.arange(people), images)
    first, second = np.triu_indices(len(persons), 1)
    same = persons[first] == persons[second]
    rng = np.random.default_rng(seed)
    distances = np.where(same, 0.5, 1.0) + rng.normal(0, 0.1, len(first))
    both = np.stack([first, second], axis=1)
    return Comparisons(np.abs(distances), same, persons[both].astype(np.int64), both.astype(np.int64))


@pytest.fixture(scope="module")
def hundred() -> Comparisons:
    return compared(100)


@pytest.fixture(scope="module")
def found(hundred: Comparisons) -> Calibrated:
    return calibrate(hundred)


def owner_and_strangers() -> Comparisons:
    """Compare one person's photos with each other and with those of 400 strangers, as the owner of a door might."""
    rng = np.random.default_rng(1)
    strangers = np.repeat(np.arange(1, 401), 5)
    distances = np.concatenate([rng.normal(1.0, 0.1, 2000), rng.normal(0.5, 0.1, 60)])
    same = np.arange(2060) >= 2000
    persons = np.zeros((2060, 2), np.int64)
    persons[:2000, 1] = strangers
    return Comparisons(np.abs(distances), same, persons, persons)


# --- thresholds -----------------------------------------------------------------------------------------------------


def test_nothing_compared_nothing_calibrated() -> None:
    nothing = compared(2).where(np.zeros(6, np.bool_))
    with pytest.raises(InvalidOption, match="of 0 pairs"):
        calibrate(nothing)


def test_each_threshold_has_its_rate_on_the_data(hundred: Comparisons, found: Calibrated) -> None:
    # 19,800 pairs of strangers, and 4,950 of people, three of which are 6e-4.
    assert (found.support.impostor, found.support.acquaintances) == (19_800, 4_950)
    assert [each.point.fmr for each in found.points] == [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    for each in found.points:
        fmr, fnmr = rates_at(hundred, each.point.threshold)
        assert fmr <= each.point.fmr < fmr + 2 / 19_800
        assert fnmr == pytest.approx(each.fnmr.value)
        assert each.point.low <= each.point.threshold <= each.point.high
        assert each.fnmr.low <= each.fnmr.value <= each.fnmr.high
    assert (found.people, found.genuine) == (100, 100)
    assert found.unsupported == ()


def test_the_interval_holds_the_true_threshold(found: Calibrated) -> None:
    # The normal distribution's quantiles, of which the made-up distances are drawn.
    truth = {1e-3: 1 - 0.309, 1e-2: 1 - 0.2326, 1e-1: 1 - 0.12816}
    for each in found.points:
        if each.point.fmr in truth:
            assert each.point.low - 0.005 <= truth[each.point.fmr] <= each.point.high + 0.005


def test_smaller_rates_have_wider_intervals(found: Calibrated) -> None:
    widths = [each.point.high - each.point.low for each in found.points]
    assert widths[0] > widths[-1]


def test_it_is_the_same_every_time(hundred: Comparisons, found: Calibrated) -> None:
    assert calibrate(hundred) == found


@pytest.mark.parametrize(("fmr", "supported"), [(2e-3, True), (1e-4, False), (6.1e-4, True), (6e-4, False)])
def test_a_rate_that_is_asked_for_is_there_or_named(hundred: Comparisons, fmr: float, supported: bool) -> None:  # noqa: FBT001  # expected
    found = calibrate(hundred, [fmr])
    assert (fmr in [each.point.fmr for each in found.points]) is supported
    assert found.unsupported == (() if supported else (fmr,))


@pytest.mark.parametrize("wrong", [0.0, 1.0, -1e-3, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(hundred: Comparisons, wrong: float) -> None:
    with pytest.raises(InvalidOption, match="fmr"):
        calibrate(hundred, [wrong])


def test_many_images_of_two_people_say_little() -> None:
    few = compared(2, images=100)
    with pytest.raises(
        InvalidOption, match=r"10,000 pairs of strangers, of 1 pair of people: 100 pairs of strangers, of 9 people"
    ):
        calibrate(few)


@pytest.mark.parametrize(("people", "least"), [(9, 1e-1), (25, 1e-2), (26, 1e-2), (78, 1e-3)])
def test_how_many_people_are_needed(people: int, least: float) -> None:
    if people == 9:
        assert f"of {people} people" in needs(least)
    if people == 26:  # 25 people make 300 pairs, the least for 1e-2
        assert "of 25 people" in needs(least)
    assert calibrate(compared(people, images=4)).points[0].point.fmr == least


def test_draws_without_strangers_say_nothing_of_the_threshold() -> None:
    """A third of the draws have none: they once made the interval reach down to 0, and all decisions uncertain."""
    for each in calibrate(owner_and_strangers()).points:
        assert each.point.threshold - 0.1 < each.point.low <= each.point.high < each.point.threshold + 0.1
        assert each.fnmr.low <= 0.01  # it is of one person
        assert each.fnmr.high >= 0.7


def test_pairs_of_one_kind_are_not_enough(hundred: Comparisons) -> None:
    for kind, chosen in (("one person", ~hundred.same), ("strangers", hundred.same)):
        with pytest.raises(InvalidOption, match=f"none is of {kind}"):
            calibrate(hundred.where(chosen))


def test_pairs_without_a_face_count_for_nothing(hundred: Comparisons, found: Calibrated) -> None:
    lost = np.zeros(len(hundred.same), np.bool_)
    lost[:: len(lost) // 50] = True
    blind = replace(hundred, distances=np.where(lost, np.inf, hundred.distances))
    assert calibrate(blind) == calibrate(hundred.where(~lost))
    assert calibrate(blind).support.impostor < found.support.impostor
    with pytest.raises(InvalidOption, match="of 0 pairs"):
        calibrate(replace(hundred, distances=np.full(len(hundred.same), np.inf)))


def test_people_under_the_wrong_names_are_noticed(hundred: Comparisons) -> None:
    with pytest.raises(InvalidOption, match="right people"):
        calibrate(replace(hundred, distances=2 - hundred.distances))
    with pytest.raises(InvalidOption, match="right people"):
        calibrate(replace(hundred, distances=np.full(len(hundred.same), 0.5)))
    twice = np.where(~hundred.same & (np.arange(len(hundred.same)) % 10 == 0), 0.0, hundred.distances)
    with pytest.raises(InvalidOption, match="filed under two people"):
        calibrate(replace(hundred, distances=twice))


def test_what_is_kept_decides_as_measured(hundred: Comparisons, found: Calibrated) -> None:
    kept = Measured.from_json(found.measured("made up").to_json())
    assert kept.rates.provenance == kept.calibration.provenance == "made up"
    for each in found.points:
        rule = rule_at_rate(kept.rates, each.point.fmr)
        assert (rule.threshold, rule.low, rule.high) == (each.point.threshold, each.point.low, each.point.high)
    near, far = (probability_of_same(distance, kept.calibration) for distance in (0.5, 1.0))
    assert (near or 0) > 0.99
    assert (far or 1) < 0.01
    assert set(json.loads(found.measured("x").to_json())) == {"calibration", "rates", "people"}
    assert rates_at(hundred, kept.calibration.midpoint)[0] < 0.05


@given(st.integers(9, 30), st.integers(2, 4), st.integers(0, 100))
def test_whatever_the_data_the_points_make_rates(people: int, images: int, seed: int) -> None:
    assert calibrate(compared(people, images, seed)).measured("made up").rates.points[-1].fmr == GRID[-1]


# --- probability ----------------------------------------------------------------------------------------------------


def drawn(count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Return distances of both kinds whose probability is logistic: midpoint 0.7, slope 30, where both are as many."""
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0.2, 1.2, 2 * count)
    same = rng.random(2 * count) < 1 / (1 + np.exp(-30 * (0.7 - distances)))
    return distances[same], distances[~same]


@pytest.mark.parametrize("wrong", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("seed", range(4))
def test_some_pairs_of_the_other_kind_do_not_flatten_it(wrong: float, seed: int) -> None:
    genuine, impostor = drawn(4000, seed)
    midpoint, slope = fit_logistic(genuine, impostor)
    assert midpoint == pytest.approx(0.7, abs=0.005)
    assert slope == pytest.approx(30, rel=0.1)
    # As photos filed under the wrong people do: many pairs of strangers come in as pairs of one person, and few go out.
    lost, taken = int(wrong * len(genuine) / 10), int(wrong * len(genuine))
    rng = np.random.default_rng(seed)
    mixed = [np.append(genuine[lost:], rng.choice(impostor, taken)), np.append(impostor, genuine[:lost])]
    midpoint, slope = fit_logistic(*mixed)
    assert midpoint == pytest.approx(0.7, abs=0.01)
    assert slope == pytest.approx(30, rel=0.15)


def test_one_wrong_photo_among_few() -> None:
    rng = np.random.default_rng(3)
    genuine, impostor = rng.normal(0.4, 0.05, 40), rng.normal(1.0, 0.05, 800)
    expected = Calibration(*fit_logistic(genuine, impostor), "")
    found = Calibration(*fit_logistic(np.append(genuine, 1.0), impostor), "")
    assert found.midpoint == pytest.approx(expected.midpoint, abs=0.05)
    assert 0.7 < found.slope / expected.slope < 1.4
    assert (probability_of_same(1.0, found) or 0) < 0.05


def test_many_pairs_are_fitted_like_all_of_them() -> None:
    """Beyond some thousands they are grouped; the few strangers that are nearest, which matter, among the others."""
    rng = np.random.default_rng(5)
    genuine, impostor = rng.normal(0.5, 0.1, 5000), rng.normal(1.0, 0.1, 400_000)
    # Of normal distributions with one deviation, the logarithm of the odds is linear.
    midpoint, slope = fit_logistic(genuine, impostor)
    assert midpoint == pytest.approx(0.75, abs=0.003)
    assert slope == pytest.approx(0.5 / 0.1**2, rel=0.05)


def test_it_is_what_scikit_learn_fits() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    genuine, impostor = rng.normal(0.5, 0.15, 200), rng.normal(1.0, 0.15, 5000)
    model = linear_model.LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10)
    model.fit(np.concatenate([genuine, impostor])[:, None], np.repeat([1, 0], [200, 5000]))
    midpoint, slope = fit_logistic(genuine, impostor)
    assert slope == pytest.approx(-model.coef_[0, 0], rel=0.02)
    assert midpoint == pytest.approx(-model.intercept_[0] / model.coef_[0, 0], rel=0.005)


@pytest.mark.parametrize("counts", [(1, 1), (3, 2), (500, 20_000)])
def test_kinds_that_do_not_overlap_promise_no_certainty(counts: tuple[int, int]) -> None:
    genuine, impostor = np.linspace(0.1, 0.4, counts[0]), np.linspace(0.8, 1.2, counts[1])
    midpoint, slope = fit_logistic(genuine, impostor)
    calibration = Calibration(midpoint, slope, "made up")
    assert 0.1 <= midpoint <= 0.9
    nearest = probability_of_same(0.1, calibration)
    assert nearest is not None
    assert 0.5 < nearest < 1


def test_far_away_distances_do_no_harm() -> None:
    rng = np.random.default_rng(2)
    genuine = np.append(rng.normal(0.5, 0.05, 1000), 1e6)
    impostor = np.append(rng.normal(0.9, 0.05, 1000), 1e7)
    midpoint, slope = fit_logistic(genuine, impostor)
    assert np.isfinite([midpoint, slope]).all()
