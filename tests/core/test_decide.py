from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.core.decide import (
    NAMED_RATES,
    Calibration,
    ErrorRates,
    OperatingPoint,
    Rule,
    check_rate,
    check_threshold,
    comparisons,
    distance_of,
    distances,
    named_rules,
    probability_of_same,
    rate_at,
    rule_at_fpir,
    rule_at_rate,
    templates_of,
)
from visavis.errors import InvalidOption
from visavis.models.catalogue import DLIB, OPEN, SFACE
from visavis.models.packs import Pack

CALIBRATION = Calibration(midpoint=0.6, slope=20.0, provenance="made up")
POINTS = (
    OperatingPoint(1e-4, 0.40, 0.30, 0.45),
    OperatingPoint(1e-3, 0.50, 0.45, 0.52),
    OperatingPoint(1e-1, 0.70, 0.69, 0.71),
)
RATES = ErrorRates(POINTS, "made up")


@st.composite
def measured(draw: st.DrawFn) -> ErrorRates:
    """Error rates as a measurement may have them: few or many points, some with the same threshold."""
    # Rates that differ by their last digit only have one logarithm, and so no two thresholds.
    apart = st.lists(
        st.floats(1e-9, 0.99), min_size=1, max_size=6, unique_by=lambda rate: round(float(np.log(rate)), 6)
    )
    rates = sorted(draw(apart))
    columns = [sorted(draw(st.lists(st.floats(0.01, 2.0), min_size=len(rates), max_size=len(rates)))) for _ in range(3)]
    ordered = (sorted(column) for column in zip(*columns, strict=True))
    return ErrorRates(
        tuple(
            OperatingPoint(rate, middle, low, high) for rate, (low, middle, high) in zip(rates, ordered, strict=True)
        ),
        "made up",
    )


# --- distances ------------------------------------------------------------------------------------------------------


def test_no_references_no_distances() -> None:
    assert distances("cosine", np.ones(4, np.float32), np.zeros((0, 4), np.float32)).shape == (0,)


def test_distance() -> None:
    assert distance_of("euclidean", np.zeros(4, np.float32), np.array([0, 3, 4, 0], np.float32)) == 5


@pytest.mark.parametrize(("other", "distance"), [([2, 0], 0.0), ([0, 7], 1.0), ([-1, 0], 2.0), ([1, 1], 1 - 0.5**0.5)])
def test_the_cosine_distance_is_one_minus_the_cosine(other: list[float], distance: float) -> None:
    a, b = np.array([1, 0], np.float32), np.array(other, np.float32)
    assert distance_of("cosine", a, b) == pytest.approx(distance)


def test_vectors_without_a_direction_are_not_the_same() -> None:
    nothing = np.zeros(4, np.float32)
    with np.errstate(invalid="ignore"):
        distance = distance_of("cosine", nothing, nothing)
    assert Rule.at(0.5).decide(distance) == rule_at_rate(RATES, 1e-3).decide(distance) == "different"


# --- probability ----------------------------------------------------------------------------------------------------


def test_probability_is_a_half_at_the_midpoint() -> None:
    assert probability_of_same(0.6, CALIBRATION) == pytest.approx(0.5)
    assert probability_of_same(0.5, CALIBRATION) == pytest.approx(1 / (1 + np.exp(-2)))


def test_nobody_calibrated_no_probability() -> None:
    assert probability_of_same(0.6, None) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_probability_falls_with_the_distance(a: float, b: float) -> None:
    near, far = sorted((a, b))
    likely, unlikely = (probability_of_same(distance, CALIBRATION) for distance in (near, far))
    assert likely is not None
    assert unlikely is not None
    assert 1 >= likely >= unlikely >= 0


@given(st.floats(0, 2), st.floats(0, 2))
def test_no_probability_is_above_the_worst_groups(a: float, b: float) -> None:
    capped = replace(CALIBRATION, worst_group=RATES)
    near, far = sorted((a, b))
    likely, unlikely, free = (
        probability_of_same(distance, calibration) or 0.0
        for distance, calibration in ((near, capped), (far, capped), (near, CALIBRATION))
    )
    assert unlikely <= likely <= free
    assert likely == pytest.approx(min(free, 1 / (1 + rate_at(RATES, near))))


def test_the_rate_of_a_threshold_is_the_threshold_of_a_rate() -> None:
    for fmr in (1e-4, 3e-4, 1e-3, 5e-3, 1e-2):
        assert rate_at(RATES, rule_at_rate(RATES, fmr).threshold) == pytest.approx(fmr)
    assert rate_at(RATES, 0.0) == pytest.approx(1e-4)  # of less nobody knows
    assert rate_at(RATES, 9.0) == pytest.approx(RATES.points[-1].fmr)


@pytest.mark.parametrize("pack", [DLIB, OPEN, SFACE], ids=lambda pack: pack.name)
def test_no_pack_is_quite_sure(pack: Pack) -> None:
    nearest = probability_of_same(0.0, pack.calibration)
    assert nearest is not None
    assert 0.99 < nearest <= 0.9995


def test_the_pack_says_where_its_calibration_comes_from() -> None:
    assert DLIB.calibration is not None
    assert "bench/rates.py" in DLIB.calibration.provenance
    assert DLIB.calibration.slope > 0


@pytest.mark.parametrize(
    ("midpoint", "slope"), [(np.nan, 1.0), (0.5, np.inf), (0.5, 0.0), (0.5, -1.0), ("0.5", 1.0), (None, 1.0), (1, True)]
)
def test_wrong_calibrations_are_refused(midpoint: Any, slope: Any) -> None:  # noqa: ANN401  # wrong on purpose
    with pytest.raises(InvalidOption, match="calibration"):
        Calibration(midpoint, slope, "made up")


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, np.nan, np.inf, "much", None])
def test_wrong_thresholds_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidOption, match="threshold"):
        check_threshold(wrong)  # type: ignore[arg-type]


@given(st.floats(0, 2), st.floats(1e-6, 2))
def test_a_bare_threshold_is_never_uncertain(distance: float, threshold: float) -> None:
    assert Rule.at(threshold).decide(distance) == ("same" if distance < threshold else "different")


@pytest.mark.parametrize(
    ("distance", "decision"),
    [
        (0.0, "same"),
        (np.nextafter(0.45, 0), "same"),
        (0.45, "uncertain"),
        (0.50, "uncertain"),
        (0.52, "uncertain"),
        (np.nextafter(0.52, 1), "different"),
        (9.0, "different"),
    ],
)
def test_a_rule_is_uncertain_within_the_interval_of_its_threshold(distance: float, decision: str) -> None:
    assert rule_at_rate(RATES, 1e-3).decide(distance) == decision


@given(measured(), st.floats(0, 1), st.floats(0, 2))
def test_every_rate_that_was_measured_has_a_rule(rates: ErrorRates, part: float, distance: float) -> None:
    least, most = rates.points[0].fmr, rates.points[-1].fmr
    rule = rule_at_rate(rates, min(most, max(least, least * (most / least) ** part)))
    assert rates.points[0].low - 1e-12 <= rule.low <= rule.threshold + 1e-12
    assert rule.threshold - 1e-12 <= rule.high <= rates.points[-1].high + 1e-12
    if rule.decide(distance) != "uncertain":
        assert (rule.decide(distance) == "same") == (distance < rule.threshold)


@given(measured(), st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_rate_never_has_a_larger_threshold(rates: ErrorRates, a: float, b: float) -> None:
    least, most = rates.points[0].fmr, rates.points[-1].fmr
    strict, lenient = (
        rule_at_rate(rates, min(most, max(least, least * (most / least) ** part))) for part in sorted((a, b))
    )
    assert strict.threshold <= lenient.threshold + 1e-12


@given(measured())
def test_measured_points_have_exactly_their_thresholds(rates: ErrorRates) -> None:
    for point in rates.points:
        rule = rule_at_rate(rates, point.fmr)
        assert (rule.threshold, rule.low, rule.high) == pytest.approx((point.threshold, point.low, point.high))
        assert rule.fmr == point.fmr


def test_between_points_the_logarithm_of_the_rate_counts() -> None:
    rule = rule_at_rate(RATES, 1e-2)  # half-way from 1e-3 to 1e-1
    assert (rule.threshold, rule.low, rule.high) == pytest.approx((0.60, 0.57, 0.615))


def test_the_ends_may_be_called_by_any_name_of_theirs() -> None:
    assert rule_at_rate(RATES, 1 / 10000).threshold == rule_at_rate(RATES, 0.1 * 0.1 * 0.01).threshold == 0.40


@pytest.mark.parametrize("fmr", [1e-5, 0.2, 9.9e-5])
def test_rates_that_nobody_measured_are_refused(fmr: float) -> None:
    with pytest.raises(InvalidOption, match=r"from 0\.0001 to 0\.1, not"):
        rule_at_rate(RATES, fmr)


@pytest.mark.parametrize(
    ("fmr", "way_out"), [(1e-5, "visavis calibrate with more images"), (0.2, "give a threshold instead")]
)
def test_the_way_out_is_one(fmr: float, way_out: str) -> None:
    with pytest.raises(InvalidOption, match=f"; {way_out}"):
        rule_at_rate(RATES, fmr)


@pytest.mark.parametrize("wrong", [0, 1, -1, np.nan, np.inf, 10**400, "1e-3", "Strict", "", None, [], {}, b"strict"])
def test_what_is_no_rate_is_refused(wrong: Any) -> None:  # noqa: ANN401  # wrong on purpose
    with pytest.raises(InvalidOption, match=r"fmr must be a rate between 0 and 1, or one of strict, balanced, lenient"):
        check_rate(wrong)


@pytest.mark.parametrize(("fmr", "rate"), [*NAMED_RATES.items(), (0.5, 0.5), (np.float32(0.25), 0.25)])
def test_rates_are_numbers_or_names(fmr: Any, rate: float) -> None:  # noqa: ANN401  # of several types
    assert check_rate(fmr) == rate


def test_only_names_of_measured_rates_have_rules() -> None:
    assert {name: rule.fmr for name, rule in named_rules(RATES).items()} == NAMED_RATES
    assert list(named_rules(ErrorRates(POINTS[1:], "made up"))) == ["balanced", "lenient"]
    assert named_rules(ErrorRates(POINTS[2:], "made up")) == {}


def test_no_points_no_rates() -> None:
    with pytest.raises(InvalidOption, match="at least one"):
        ErrorRates((), "made up")


@pytest.mark.parametrize(
    "points",
    [
        (POINTS[1], POINTS[0]),
        (POINTS[0], POINTS[0]),
        (POINTS[0], OperatingPoint(1e-3, 0.39, 0.31, 0.52)),
        (POINTS[0], OperatingPoint(1e-3, 0.50, 0.29, 0.52)),
        (POINTS[0], OperatingPoint(1e-3, 0.41, 0.31, 0.42)),
    ],
)
def test_rates_that_no_measurement_gives_are_refused(points: tuple[OperatingPoint, ...]) -> None:
    with pytest.raises(InvalidOption, match="cannot follow"):
        ErrorRates(points, "made up")


@pytest.mark.parametrize(
    "numbers",
    [
        (0.0, 0.5, 0.4, 0.6),
        (1.0, 0.5, 0.4, 0.6),
        (np.nan, 0.5, 0.4, 0.6),
        (1e-3, np.nan, 0.4, 0.6),
        (1e-3, 0.5, 0.51, 0.6),
        (1e-3, 0.5, 0.4, 0.49),
        (1e-3, 0.5, 0.4, np.inf),
        (1e-3, 0.5, -0.1, 0.6),
        (1e-3, 0.0, 0.0, 0.0),
        ("1e-3", 0.5, 0.4, 0.6),
        (1e-3, 0.5, None, 0.6),
        (1e-3, 10**400, 0.4, 10**401),
    ],
)
def test_wrong_operating_points_are_refused(numbers: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOption):
        OperatingPoint(*numbers)


# --- a search among many --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fpir", "compared", "rate"), [(0.1, 100, 1.0531e-3), (0.01, 10, 1.0045e-3), (0.01, 1, 0.01)])
def test_a_search_is_as_strict_as_all_its_comparisons_demand(fpir: float, compared: float, rate: float) -> None:
    rule, single = rule_at_fpir(RATES, fpir, compared), rule_at_rate(RATES, rate)
    assert (rule.threshold, rule.low, rule.high) == pytest.approx((single.threshold, single.low, single.high), abs=1e-4)
    assert (rule.fpir, rule.fmr) == (fpir, None)


def test_below_the_least_rate_the_thresholds_fall_as_over_the_last_tenfold() -> None:
    for decades in (1, 2.5):
        rule = rule_at_fpir(RATES, 1e-3, 10 * 10**decades)
        expected = (0.40 - 0.10 * decades, 0.30 - 0.15 * decades, 0.45 - 0.07 * decades)
        assert (rule.threshold, max(rule.low, 0), rule.high) == pytest.approx([max(0, e) for e in expected], abs=1e-3)
    one = ErrorRates(POINTS[:1], "made up")
    assert rule_at_fpir(one, 1e-3, 1e9).threshold == 0.40  # nothing tells how it falls


@given(measured(), st.floats(1e-9, 0.5), st.floats(1, 1e12), st.floats(1, 1e12))
def test_no_larger_search_has_a_wider_threshold(rates: ErrorRates, fpir: float, a: float, b: float) -> None:
    small, large = (rule_at_fpir(rates, fpir, compared) for compared in sorted((a, b)))
    assert 0 < large.threshold <= small.threshold
    assert large.low <= large.threshold <= large.high


@pytest.mark.parametrize("wrong", [0, -1, 0.51, 1, np.nan, np.inf, "strict", None, True])
def test_what_is_no_identification_rate_is_refused(wrong: Any) -> None:  # noqa: ANN401  # wrong on purpose
    with pytest.raises(InvalidOption, match=r"fpir must be a finite number above 0 and at most 0\.5"):
        rule_at_fpir(RATES, wrong, 10)


@pytest.mark.parametrize(("subjects", "samples", "count"), [
    (0, 0, 1), (1, 1, 1), (100, 100, 100), (100, 400, 200), (5, 3, 3), (3, 0, 1),
])  # fmt: skip
def test_samples_count_by_the_square_root_of_their_number(subjects: int, samples: int, count: float) -> None:
    assert comparisons(subjects, samples) == count


def test_the_probability_of_a_search_knows_how_many_there_are() -> None:
    even = probability_of_same(CALIBRATION.midpoint, CALIBRATION, 99)
    assert even == pytest.approx(0.01)
    alone, among = (probability_of_same(0.4, CALIBRATION, compared) for compared in (1.0, 400.0))
    assert alone is not None
    odds = alone / (1 - alone)
    assert among == pytest.approx(odds / (odds + 400))
    assert probability_of_same(0.4, CALIBRATION) == alone


# --- templates ------------------------------------------------------------------------------------------------------


def test_a_template_is_the_mean_direction_at_the_mean_length() -> None:
    samples = np.array([[3, 0], [0, 5], [0, 1], [7, 7]], np.float32)
    numbers, templates = templates_of(samples, np.array([8, 2, 8, 5]))
    assert numbers.tolist() == [2, 5, 8]
    np.testing.assert_array_equal(templates[:2], [[0, 5], [7, 7]])  # of one sample, to the last digit
    np.testing.assert_allclose(templates[2], [2**0.5, 2**0.5])


def test_the_order_of_samples_changes_no_template() -> None:
    rng = np.random.default_rng(0)
    samples, subjects = rng.normal(size=(40, 8)).astype(np.float32), rng.integers(0, 9, 40)
    order = rng.permutation(40)
    for one, other in zip(templates_of(samples, subjects), templates_of(samples[order], subjects[order]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
