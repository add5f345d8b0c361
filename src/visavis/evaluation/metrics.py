"""From distances to error rates. Two images count as one person where their distance is below a threshold.

The words are those of ISO/IEC 19795-1: of pairs of strangers the false match rate (FMR) is taken for one person, of
pairs of one person the false non-match rate (FNMR) is not.
"""

import math
from dataclasses import dataclass

import numpy as np

from visavis.evaluation.comparisons import Bools, Comparisons, Floats
from visavis.evaluation.protocols import Indices

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
"""The false match rates at which the false non-match rate is told."""
RULE_OF_THREE = 3.0
"""No error in N trials says, with 95 % confidence, that the rate is below this divided by N.

Source: B. D. Jovanovic, P. S. Levy, "A look at the rule of three", The American Statistician, 1997.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Both error rates at every threshold at which one of them changes, by growing threshold.

    Attributes:
        thresholds: (T,) the last is infinity, at which everything is taken for one person.
        fmr, fnmr: (T,) the rates.
    """

    thresholds: Floats
    fmr: Floats
    fnmr: Floats


def match_rates(ordered: Floats, thresholds: Floats | float) -> Floats:
    """Return for each threshold which part of the distances, which are sorted, is below; 0 of no distances."""
    below: Floats = np.searchsorted(ordered, thresholds, side="left") / max(1, len(ordered))
    return below


def rates_at(comparisons: Comparisons, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at a threshold; NaN where there are no pairs of a kind."""
    near = comparisons.distances < threshold
    return _mean(near[~comparisons.same]), _mean(~near[comparisons.same])


def curve_of(comparisons: Comparisons) -> Curve:
    """Return both error rates at all thresholds that matter."""
    finite = comparisons.distances[np.isfinite(comparisons.distances)]
    thresholds = np.append(np.unique(finite), np.inf)
    genuine, impostor = comparisons.genuine, comparisons.impostor
    # Infinite distances, of faces that were not found, are below no threshold, and infinity is none that they reach.
    return Curve(thresholds, match_rates(impostor, thresholds), 1.0 - match_rates(genuine, thresholds))


def equal_error(curve: Curve) -> tuple[float, float]:
    """Return the rate at which FMR and FNMR are equal, interpolated on the curve, and the threshold next to it.

    Where faces are missing the two may never meet; then it is the last FNMR.
    """
    after = int(np.searchsorted(curve.fmr - curve.fnmr, 0.0, side="left"))
    if after == len(curve.fmr):
        return float(curve.fnmr[-1]), float(curve.thresholds[-1])
    before = max(0, after - 1)
    gaps = curve.fnmr[before] - curve.fmr[before], curve.fmr[after] - curve.fnmr[after]
    part = 0.0 if sum(gaps) <= 0 else gaps[0] / sum(gaps)
    rate = curve.fmr[before] + part * (curve.fmr[after] - curve.fmr[before])
    return float(rate), float(curve.thresholds[after])


def accuracy_at(comparisons: Comparisons, threshold: float) -> float:
    """Return which part of all decisions is right."""
    return _mean((comparisons.distances < threshold) == comparisons.same)


def best_accuracy(comparisons: Comparisons) -> tuple[float, float]:
    """Return the highest accuracy of all thresholds, and the strictest threshold that has it.

    It is chosen on the very pairs that it is measured on, and so too good to expect of others.
    """
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
    """Return the accuracy on each fold at the threshold that is best on all others.

    Source: G. B. Huang et al., "Labeled Faces in the Wild", 2007, view 2.
    """
    accuracies = []
    for fold in np.unique(folds):
        inside = folds == fold
        _, threshold = best_accuracy(comparisons.where(~inside))
        accuracies.append(accuracy_at(comparisons.where(inside), threshold))
    return np.array(accuracies)


def threshold_at_fmr(impostor: Floats, fmr: float) -> float:
    """Return the largest threshold at which no more than this part of the distances, which are sorted, is below."""
    allowed = math.floor(fmr * len(impostor) * (1 + 1e-12))
    return float(impostor[allowed]) if allowed < len(impostor) else math.inf


def supports(trials: int, rate: float) -> bool:
    """Tell whether so many trials can show a rate this small: without an error, they would by the rule of three."""
    return trials * rate >= RULE_OF_THREE * (1 - 1e-9)


def bound_without_errors(trials: int) -> float:
    """Return the rate that is not exceeded, with 95 % confidence, where so many trials show no error."""
    return min(1.0, RULE_OF_THREE / trials) if trials else 1.0


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else math.nan
