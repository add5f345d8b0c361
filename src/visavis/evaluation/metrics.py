"""Distances of pairs, and their error rates: two images count as one person where their distance is below a threshold.

The words are those of ISO/IEC 19795-1: the false match rate (FMR) is the share of pairs of strangers that is taken for
one person, the false non-match rate (FNMR) the share of pairs of one person that is not.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from visavis.errors import InvalidOption
from visavis.evaluation.embedding import EmbeddedPhotos
from visavis.evaluation.protocols import Indices, Pairs, people_of
from visavis.record import Record
from visavis.types import FloatArray, Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)  # the false match rates at which the false non-match rate is reported
RULE_OF_THREE = 3.0
"""No error in N trials shows, with 95 % confidence, that the rate is below this divided by N.

Source: B. D. Jovanovic, P. S. Levy, "A look at the rule of three", The American Statistician, 1997.
"""
_BLOCK = 1 << 16  # pairs whose embeddings are compared at a time


class Columns:
    """Base of dataclasses of arrays of equal length, or None."""

    __slots__ = ()

    def where(self, chosen: Bools) -> Self:
        """Return the rows that are chosen (N,)."""
        columns = (getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]  # a dataclass
        return type(self)(*(None if column is None else column[chosen] for column in columns))


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons(Columns):
    """Pairs of images (N,) that were compared."""

    distances: Floats  # (N,) infinity where an image has no embedding
    same: Bools  # (N,) whether the two are one person
    persons: Indices  # (N, 2) the number of the person that each image shows
    photos: Indices  # (N, 2) the images, by their place in the protocol
    folds: Indices | None = None  # (N,) the number of each pair's fold, or None

    @property
    def genuine(self) -> Floats:
        """The distances of pairs of one person, sorted."""
        return np.sort(self.distances[self.same])

    @property
    def impostor(self) -> Floats:
        """The distances of pairs of strangers, sorted."""
        return np.sort(self.distances[~self.same])

    @property
    def people(self) -> tuple[int, int]:
        """The people with pairs of their own, and the pairs of people among strangers: the independent trials."""
        own, others = self.persons[self.same, 0], np.sort(self.persons[~self.same], axis=1)
        return len(np.unique(own)), len(np.unique(others[:, 0] << 32 | others[:, 1]))

    def compared(self) -> "Comparisons":
        """Return those of which both images have an embedding."""
        return self.where(np.isfinite(self.distances))


def compare_pairs(embedded: EmbeddedPhotos, pairs: Pairs, metric: Metric) -> Comparisons:
    """Return the comparisons of a protocol by its embedded photos."""
    distances = np.empty(len(pairs.places))
    for start in range(0, len(distances), _BLOCK):
        block = pairs.places[start : start + _BLOCK]
        distances[start : start + _BLOCK] = paired_distances(metric, *embedded.embeddings[block.T])
    distances[np.isnan(distances)] = np.inf
    _, numbers = people_of(pairs.photos)
    return Comparisons(distances, pairs.same, numbers[pairs.places], pairs.places, pairs.folds)


def paired_distances(metric: Metric, a: FloatArray, b: FloatArray) -> Floats:
    """Return the distance of each embedding (N, D) and the one at its place in the other (N, D), in float64."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    if metric == "euclidean":
        lengths: Floats = np.linalg.norm(a64 - b64, axis=1)
        return lengths
    cosines: Floats = np.einsum("nd,nd->n", a64, b64) / (np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1))
    return 1.0 - cosines


def check_both_kinds(comparisons: Comparisons, *, strangers_suffice: bool = False) -> None:
    """Raise InvalidOption unless there are pairs of one person, where they are needed, and pairs of strangers."""
    for kind, count in (("one person", comparisons.same.sum()), ("strangers", (~comparisons.same).sum())):
        if not count and not (strangers_suffice and kind == "one person"):
            total = len(comparisons.same)
            raise InvalidOption(f"of {total:,} pairs whose images show faces, none is of {kind}: nothing to measure")


@dataclass(frozen=True, slots=True, eq=False)
class Curve(Record):
    """Both error rates (T,) at growing thresholds (T,), the last of which is infinity."""

    thresholds: Floats
    fmr: Floats
    fnmr: Floats


def match_rates(ordered: Floats, thresholds: Floats | float) -> Floats:
    """Return for each threshold the share of the sorted distances that is below; 0 of no distances."""
    below: Floats = np.searchsorted(ordered, thresholds, side="left") / max(1, len(ordered))
    return below


def rates_at(comparisons: Comparisons, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at a threshold; NaN where there are no pairs of a kind."""
    near = comparisons.distances < threshold
    return _mean(near[~comparisons.same]), _mean(~near[comparisons.same])


def curve_of(comparisons: Comparisons) -> Curve:
    """Return both error rates at all thresholds that matter; a rate of no pairs is NaN."""
    finite = comparisons.distances[np.isfinite(comparisons.distances)]
    thresholds = np.append(np.unique(finite), np.inf)
    # Infinite distances, of faces that were not found, are below no threshold, and infinity is none that they reach.
    fmr, matches = (match_rates(kind, thresholds) for kind in (comparisons.impostor, comparisons.genuine))
    return Curve(thresholds, fmr, 1.0 - matches if len(comparisons.genuine) else np.full(len(thresholds), np.nan))


def equal_errors(fmr: Floats, fnmr: Floats) -> tuple[Floats, Indices]:
    """Return the interpolated rates (R,) at which curves (R, T) meet, else the last FNMR, and the places (R,) there."""
    after = np.where((fmr >= fnmr).any(axis=1), np.argmax(fmr >= fnmr, axis=1), fmr.shape[1] - 1)
    near = np.stack([np.maximum(0, after - 1), after], axis=1)
    low, high = (np.take_along_axis(rates, near, axis=1).T for rates in (fmr, fnmr))
    gaps = np.abs(high - low)
    part = np.divide(gaps[0], gaps.sum(axis=0), out=np.zeros(len(fmr)), where=gaps.sum(axis=0) > 0)
    rates = low[0] + part * (low[1] - low[0])
    return np.where(low[1] < high[1], high[1], rates), after


def equal_error(curve: Curve) -> tuple[float, float]:
    """Return the rate at which FMR and FNMR are equal, and the threshold next to it."""
    rates, after = equal_errors(curve.fmr[None], curve.fnmr[None])
    return float(rates[0]), float(curve.thresholds[after[0]])


def accuracy_at(comparisons: Comparisons, threshold: float) -> float:
    """Return the share of decisions that is right."""
    return _mean((comparisons.distances < threshold) == comparisons.same)


def best_accuracy(comparisons: Comparisons) -> tuple[float, float]:
    """Return the highest accuracy of all thresholds, too good to expect of other pairs, and the strictest threshold."""
    found = np.isfinite(comparisons.distances)
    order = np.argsort(comparisons.distances[found])
    ordered, same = comparisons.distances[found][order], comparisons.same[found][order]
    values, starts = np.unique(ordered, return_index=True)  # equal distances are decided alike
    taken = np.append(starts, len(ordered))  # how many, at each cut, are taken for one person
    people, strangers = (np.append(0, np.cumsum(kind))[taken] for kind in (same, ~same))
    right = people + np.count_nonzero(~comparisons.same) - strangers
    best = int(np.argmax(right))
    below = values[best - 1] if best else -np.inf
    above = values[best] if best < len(values) else np.inf
    # Halfway, where there are neighbours on both sides; never so low that the one below is lost to rounding.
    middle = (below + above) / 2 if np.isfinite([below, above]).all() else min(above, np.nextafter(below, np.inf))
    threshold = max(0.0, middle, np.nextafter(below, np.inf))  # 0 accepts nobody
    return float(right[best] / max(1, len(comparisons.same))), float(threshold)


def cross_validated(comparisons: Comparisons, folds: Indices) -> Floats:
    """Return the accuracy on each fold at the threshold that is best on all others, as on LFW, view 2."""
    parts = [(comparisons.where(folds == fold), comparisons.where(folds != fold)) for fold in np.unique(folds)]
    return np.array([accuracy_at(inside, best_accuracy(others)[1]) for inside, others in parts])


def threshold_at_fmr(impostor: Floats, fmr: float) -> float:
    """Return the largest threshold with no more than this share of the sorted distances below."""
    allowed = math.floor(fmr * len(impostor) * (1 + 1e-12))
    return float(impostor[allowed]) if allowed < len(impostor) else math.inf


def supports(trials: int, rate: float) -> bool:
    """Return whether so many trials, without an error, show a rate this small by the rule of three."""
    return trials * rate >= RULE_OF_THREE * (1 - 1e-9)


def bound_without_errors(trials: int) -> float:
    """Return the rate that is not exceeded, with 95 % confidence, where so many trials have no error."""
    return min(1.0, RULE_OF_THREE / trials) if trials else 1.0


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else math.nan
