"""Confidence intervals of rates, by drawing people anew.

Pairs that share a person are not independent: someone who looks like many others errs in many pairs. A person drawn
twice counts twice, a pair of strangers as the product of both. This errs on the side of wide intervals.

Sources: T. A. B. Snijders, S. P. Borgatti, "Non-parametric standard errors and tests for network statistics",
Connections, 1999; A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics, 2007.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from visavis.evaluation.metrics import Bools, Comparisons, Floats, bound_without_errors, equal_errors
from visavis.evaluation.protocols import Indices
from visavis.record import Record

REPLICATES = 1000
CONFIDENCE = 0.95
_GRID = 1000  # thresholds of each kind of pairs
_FEWEST_DRAWN = 10  # people, for draws of them to mean anything
_BLOCK = 1024  # pairs weighed at a time: what fits the processor's cache


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A rate, or a threshold, and the interval that holds the true one with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Both error rates, again and again with people drawn anew; NaN where a draw has no pairs of a kind."""

    thresholds: Floats  # (T,) growing; every rate is known at these only
    fmr: Floats  # (R, T)
    fnmr: Floats  # (R, T)
    impostor: Floats  # (R,) how many pairs of strangers a draw has
    genuine: Floats  # (R,) and how many of one person

    def fmr_at(self, threshold: float) -> Floats:
        """Return the false match rates (R,) at a threshold, or at the next of ``thresholds`` below it."""
        return self.fmr[:, self._place(threshold)]

    def fnmr_at(self, threshold: float) -> Floats:
        """Return the false non-match rates (R,) at a threshold, chosen as in ``fmr_at``."""
        return self.fnmr[:, self._place(threshold)]

    def accuracy_at(self, threshold: float) -> Floats:
        """Return the shares of decisions that are right (R,) at a threshold, chosen as in ``fmr_at``."""
        right = self.impostor * (1 - self.fmr_at(threshold)) + self.genuine * (1 - self.fnmr_at(threshold))
        return right / (self.impostor + self.genuine)

    def threshold_at(self, fmr: float) -> Floats:
        """Return the largest thresholds (R,) with no higher false match rate; NaN for draws without strangers."""
        return np.where(np.isnan(self.fmr[:, 0]), np.nan, self.thresholds[self._places_at(fmr)])

    def fnmr_at_fmr(self, fmr: float) -> Floats:
        """Return the false non-match rates (R,) at these thresholds."""
        rates = np.take_along_axis(self.fnmr, self._places_at(fmr)[:, None], axis=1)[:, 0]
        return np.where(np.isnan(self.fmr[:, 0]), np.nan, rates)

    def equal_error(self) -> Floats:
        """Return the rates (R,) at which both are equal; NaN for draws without pairs of a kind."""
        rates, _ = equal_errors(self.fmr, self.fnmr)
        return np.where(np.isnan(self.fnmr[:, 0]), np.nan, rates)

    def _place(self, threshold: float) -> int:
        return max(0, int(np.searchsorted(self.thresholds, threshold, side="right")) - 1)

    def _places_at(self, fmr: float) -> Indices:
        places: Indices = np.maximum(0, (self.fmr <= fmr * (1 + 1e-12)).sum(axis=1) - 1)
        return places


def resample(
    comparisons: Comparisons, thresholds: Sequence[float], *, replicates: int = REPLICATES, seed: int = 0
) -> Replicates:
    """Return the error rates with people drawn anew: exact at the thresholds, and known at some thousand others."""
    impostor, genuine = comparisons.impostor, comparisons.genuine
    near_first = np.geomspace(1, max(1, len(impostor)), _GRID).astype(np.int64) - 1  # where strangers are nearest
    evenly = np.linspace(0, max(0, len(genuine) - 1), _GRID).astype(np.int64)
    own = [ordered[places[places < len(ordered)]] for ordered, places in ((impostor, near_first), (genuine, evenly))]
    grid = np.unique(np.concatenate([[0.0, np.inf], thresholds, *own]))
    people, numbers = np.unique(comparisons.persons, return_inverse=True)
    numbers = numbers.reshape(comparisons.persons.shape)
    weights = draws(len(people), replicates, np.random.default_rng(seed))
    others = _weights_below(comparisons, ~comparisons.same, numbers, weights, grid)
    same = _weights_below(comparisons, comparisons.same, numbers[:, :1], weights, grid)
    with np.errstate(invalid="ignore"):  # a draw without pairs of a kind: its rate is none, NaN
        fmr, fnmr = others[:-1] / others[-1], 1.0 - same[:-1] / same[-1]
    return Replicates(grid, fmr.T, fnmr.T, others[-1], same[-1])


def interval(value: float, replicated: Floats, trials: int | None = None) -> Estimate:
    """Return a measured value with the interval in which 95 % of the replicated ones (R,) lie; NaN is for none.

    The trials of a rate are its people, or pairs of people. Where all have the same outcome, draws show no other, and
    the rule of three bounds it; below ten, it is the interval of a share of so many.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA, 1927: the share.
    """
    if trials is not None and value in (0.0, 1.0):
        bound = bound_without_errors(trials)
        return Estimate(value, 0.0, bound) if value == 0.0 else Estimate(value, 1.0 - bound, 1.0)
    if trials is not None and trials < _FEWEST_DRAWN:
        square = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
        middle = value * trials + square / 2
        half = math.sqrt(square * (trials * value * (1 - value) + square / 4))
        return Estimate(value, (middle - half) / (trials + square), (middle + half) / (trials + square))
    known = replicated[~np.isnan(replicated)]
    if not len(known):
        return Estimate(value, np.nan, np.nan)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, (tail, 1 - tail), method="closest_observation")
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def draws(people: int, replicates: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return how often each person is drawn (people, replicates), as many being drawn as there are."""
    weights = np.empty((people, replicates), np.uint8)
    for column in range(replicates):
        weights[:, column] = np.bincount(rng.integers(0, people, people), minlength=people)
    return weights


def _weights_below(
    comparisons: Comparisons, chosen: Bools, numbers: Indices, weights: NDArray[np.uint8], grid: Floats
) -> Floats:
    """Return for each draw the weight of chosen pairs below each threshold, and at last of all: (T + 1, R)."""
    distances, numbers = comparisons.distances[chosen], numbers[chosen]
    order = np.argsort(distances)
    bins, numbers = np.searchsorted(grid, distances[order], side="right"), numbers[order]
    sums = np.zeros((len(grid) + 1, weights.shape[1]))
    for start in range(0, len(bins), _BLOCK):
        own, block = bins[start : start + _BLOCK], numbers[start : start + _BLOCK]
        product = weights[block[:, 0]].astype(np.uint16)
        if block.shape[1] > 1:
            product *= weights[block[:, 1]]
        starts = np.flatnonzero(np.append(True, own[1:] != own[:-1]))
        sums[own[starts]] += np.add.reduceat(product, starts, axis=0, dtype=np.uint32)
    return np.cumsum(sums, axis=0)
