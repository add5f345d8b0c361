"""Decisions on embeddings: distance, rule and probability."""

import math
import reprlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visavis.errors import InvalidOption
from visavis.options import MOST_FPIR, check_number
from visavis.types import Attributes, Decision, FloatArray, Metric


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic probability of a distance in an embedding space.

    Raises:
        InvalidOption: the numbers are not finite, or the probability does not fall with the distance.
    """

    midpoint: float  # the distance at which both answers are equally probable
    slope: float  # of the log odds, which fall with the distance, per unit of distance
    provenance: str  # the data and the script that the two come from
    # Of the group of adults whose strangers are nearest: no probability is higher than theirs; None where not measured.
    worst_group: "ErrorRates | None" = None

    def __post_init__(self) -> None:
        if not (_all_finite((self.midpoint, self.slope)) and self.slope > 0):
            raise InvalidOption(
                f"a calibration needs a finite midpoint and a finite slope above 0, not {self.midpoint!r} and "
                f"{self.slope!r}"
            )


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and its false match rate: the share of pairs of strangers that is nearer.

    Raises:
        InvalidOption: the rate is none, or the threshold is outside its interval or not above 0.
    """

    fmr: float  # between 0 and 1
    threshold: float  # two faces nearer than this are taken for one person
    low: float  # from here to the next is the 95 % confidence interval of the threshold
    high: float

    def __post_init__(self) -> None:
        numbers = (self.fmr, self.threshold, self.low, self.high)
        if not (_all_finite(numbers) and 0 < self.fmr < 1 and 0 <= self.low <= self.threshold <= self.high):
            raise InvalidOption(f"a false match rate is between 0 and 1, and low <= threshold <= high; not {numbers}")
        check_threshold(self.threshold)


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Measured false match rates of thresholds in an embedding space.

    Raises:
        InvalidOption: there is no point, the rates do not grow, or a threshold or a bound falls while they do.
    """

    points: tuple[OperatingPoint, ...]  # by growing rate, at least one; between them is interpolated
    provenance: str  # the data and the script that they come from

    def __post_init__(self) -> None:
        if not self.points:
            raise InvalidOption("error rates need at least one operating point")
        for lower, higher in pairwise(self.points):
            grows = lower.fmr < higher.fmr
            if not (grows and all(getattr(lower, name) <= getattr(higher, name) for name in _THRESHOLDS)):
                raise InvalidOption(
                    f"operating points come by growing rate, and no threshold falls: {higher} cannot follow {lower}"
                )


_THRESHOLDS = ("threshold", "low", "high")

NAMED_RATES = {"strict": 1e-4, "balanced": 1e-3, "lenient": 1e-2}
"""The false match rates of the operating points that have names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Decision rule: two faces nearer than the threshold are one person."""

    threshold: float
    low: float  # from here to the next a decision is uncertain; both are the threshold where no rate was asked for
    high: float
    fmr: float | None = None  # the false match rate that was asked for
    fpir: float | None = None  # the false positive identification rate that a search is to keep

    @classmethod
    def at(cls, threshold: float) -> "Rule":
        """Return the rule of a bare threshold: it is never uncertain.

        Raises:
            InvalidOption: it is not a finite number above 0.
        """
        value = check_threshold(threshold)
        return cls(value, value, value)

    def decide(self, distance: float) -> Decision:
        """Return the decision on a distance."""
        if self.low < self.high and self.low <= distance <= self.high:
            return "uncertain"
        return "same" if distance < self.threshold else "different"


def rule_at_rate(rates: ErrorRates, fmr: float) -> Rule:
    """Return the rule with a false match rate, interpolated between the measured points over the rate's logarithm.

    Raises:
        InvalidOption: the rate is none, or outside what was measured.
    """
    rate = check_rate(fmr)
    if not _supports(rates, rate):
        least, most = rates.points[0].fmr, rates.points[-1].fmr
        way_out = (
            "visavis calibrate with more images supports smaller ones" if rate < least else "give a threshold instead"
        )
        raise InvalidOption(
            f"fmr must be a false match rate that the measurement supports, from {least:g} to {most:g}, not {rate:g} "
            f"(measured: {rates.provenance}); {way_out}"
        )
    threshold, low, high = _interpolated(rates, rate)
    return Rule(threshold, low, high, rate)


def rate_at(rates: ErrorRates, distance: float) -> float:
    """Return the false match rate of a threshold, as in ``rule_at_rate``; beyond what was measured, the nearest one."""
    logs = [np.log(point.fmr) for point in rates.points]
    return float(np.exp(np.interp(distance, [point.threshold for point in rates.points], logs)))


def threshold_at(rates: ErrorRates, rate: float) -> float:
    """Return the threshold of a false match rate, extrapolated where it lies below what was measured."""
    return _interpolated(rates, check_rate(rate))[0]


def _interpolated(rates: ErrorRates, rate: float) -> list[float]:
    """Return a rate's threshold, low and high; above what was measured, those of the greatest rate.

    Below it they fall with the rate's logarithm as they do over the last tenfold that was measured.
    """
    logs = np.log([point.fmr for point in rates.points])
    columns = [[getattr(point, name) for point in rates.points] for name in _THRESHOLDS]
    known, beyond = np.log(rate), max(0.0, logs[0] - np.log(rate)) / _TENFOLD
    tenfold = [np.interp(logs[0] + _TENFOLD, logs, column) for column in columns]
    return [
        max(float(np.interp(known, logs, column) - beyond * (above - column[0])), sys.float_info.min)
        for column, above in zip(columns, tenfold, strict=True)
    ]


_TENFOLD = np.log(10.0)


def comparisons(subjects: int, samples: int) -> float:
    """Return as how many comparisons of two faces a search among subjects counts.

    One for each subject, and its template is somewhat more often near a stranger than one face is: about by the square
    root of the number of its samples. Source: bench/identify.py.
    """
    return max(1.0, math.sqrt(min(subjects, samples) * samples))


def rule_at_fpir(rates: ErrorRates, fpir: float, compared: float) -> Rule:
    """Return the rule by which a stranger is taken for anybody at a rate, in a search of so many comparisons.

    Each may be wrong at the rate ``1 - (1 - fpir) ** (1 / compared)``, which may lie below what was measured: there the
    thresholds, and their intervals, are extrapolated.

    Raises:
        InvalidOption: the rate is not above 0 and at most ``MOST_FPIR``.
    """
    check_number("fpir", fpir, above=0, at_most=MOST_FPIR)
    threshold, low, high = _interpolated(rates, -math.expm1(math.log1p(-fpir) / compared))
    return Rule(threshold, min(low, threshold), max(high, threshold), fpir=fpir)


def named_rules(rates: ErrorRates) -> dict[str, Rule]:
    """Return the rules that have names, strictest first: those of them whose rate was measured."""
    return {name: rule_at_rate(rates, rate) for name, rate in NAMED_RATES.items() if _supports(rates, rate)}


def _supports(rates: ErrorRates, rate: float) -> bool:
    """Return whether a rate was measured; what was measured as 1e-4 is not refused for its last digit."""
    return rates.points[0].fmr * (1 - 1e-9) <= rate <= rates.points[-1].fmr * (1 + 1e-9)


def check_rate(fmr: float | str) -> float:
    """Return a false match rate, or the one of that name, as a float.

    Raises:
        InvalidOption: it is neither a number between 0 and 1 nor a name.
    """
    if isinstance(fmr, str) and fmr in NAMED_RATES:
        return NAMED_RATES[fmr]
    try:
        rate = np.nan if isinstance(fmr, str) else float(fmr)
    except (OverflowError, TypeError, ValueError):
        rate = np.nan
    if not 0 < rate < 1:
        raise InvalidOption(
            f"fmr must be a rate between 0 and 1, or one of {', '.join(NAMED_RATES)}, not {reprlib.repr(fmr)}"
        )
    return rate


def distances(metric: Metric, probe: FloatArray, references: FloatArray | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances (N,) from an embedding (D,) to others (N, D), computed in float64.

    The cosine distance is one minus the cosine of the angle: 0 for the same direction, 2 for the opposite one.
    """
    probe64, references64 = probe.astype(np.float64), references.astype(np.float64)
    if metric == "euclidean":
        lengths: NDArray[np.float64] = np.linalg.norm(references64 - probe64, axis=1)
        return lengths
    products = np.linalg.norm(references64, axis=1) * np.linalg.norm(probe64)
    # Rounding may leave a little less than 0.
    cosines: NDArray[np.float64] = np.maximum(0.0, 1.0 - references64 @ probe64 / products)
    return cosines


def templates_of(samples: FloatArray, subjects: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers (S,) of subjects, ascending, and their templates (S, D), from samples (N, D), 1 at least.

    A template is the mean direction of a subject's samples, at their mean length: that of one sample is the sample.
    """
    order = np.argsort(subjects, kind="stable")
    numbers = subjects[order]
    starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
    counts = np.diff(starts, append=len(numbers))[:, None]
    vectors = samples[order].astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    sums = np.add.reduceat(vectors / np.maximum(lengths, sys.float_info.min), starts)
    spread = np.sqrt(np.einsum("nd,nd->n", sums, sums))[:, None]
    means = sums * (np.add.reduceat(lengths, starts) / counts / np.maximum(spread, _NO_DIRECTION))
    # One sample is itself to the last digit, and where samples cancel each other the first stands for all.
    return numbers[starts], np.where((counts > 1) & (spread > _NO_DIRECTION), means, vectors[starts])


_NO_DIRECTION = 1e-6


def template_distances(
    metric: Metric, probe: FloatArray, samples: FloatArray, subjects: NDArray[np.int64]
) -> dict[int, float]:
    """Return by subject the distance of its template from an embedding (D,)."""
    numbers, templates = templates_of(samples, subjects)
    return dict(zip(numbers.tolist(), distances(metric, probe, templates).tolist(), strict=True))


def distance_of(metric: Metric, a: FloatArray, b: FloatArray) -> float:
    """Return the distance of two embeddings (D,); see ``distances``."""
    return float(distances(metric, a, b[None])[0])


def probability_of_same(distance: float, calibration: Calibration | None, compared: float = 1.0) -> float | None:
    """Return the probability, 0 to 1, that two faces at this distance are the same person; None without calibration.

    Both answers are taken to be equally likely beforehand. It is a logistic function of the distance, and at most
    1 / (1 + FMR) with the false match rate of the worst group of adults at that distance: of as many pairs of one
    person as of strangers of that group, no larger part of those at least as near is of one person. In a search of so
    many comparisons the two answers are that the person is enrolled, as any of the subjects, and that it is not:
    ``odds / (odds + compared)``.

    Source: J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999: a logistic function of the score.
    """
    if calibration is None:
        return None
    log_odds = calibration.slope * (calibration.midpoint - distance)
    if calibration.worst_group is not None:
        log_odds = min(log_odds, -np.log(rate_at(calibration.worst_group, distance)))
    log_odds -= math.log(compared)
    return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))))


def check_threshold(threshold: float) -> float:
    """Return the threshold as a float; InvalidOption where it is not a finite number above 0."""
    try:
        value = float(threshold)
    except (OverflowError, TypeError, ValueError):
        value = np.nan
    if not 0.0 < value < np.inf:
        raise InvalidOption(f"the threshold must be a finite number above 0, not {threshold!r}")
    return value


def _all_finite(numbers: Iterable[object]) -> bool:
    largest = sys.float_info.max  # JSON may hold whole numbers beyond it
    return all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= largest for n in numbers)


LEAST_LIVENESS = 0.5
"""What a face must have to count as live."""


def is_live(attributes: Attributes | None) -> bool:
    """Tell whether a face counts as live; where liveness was not measured it does."""
    return attributes is None or attributes.liveness is None or attributes.liveness >= LEAST_LIVENESS
