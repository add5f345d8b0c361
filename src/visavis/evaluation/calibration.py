"""Thresholds with known false match rates, and the probability of a distance by logistic regression."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint, check_rate
from visavis.errors import InvalidOption
from visavis.evaluation.bootstrap import Estimate, Replicates, interval, resample
from visavis.evaluation.metrics import RULE_OF_THREE, Comparisons, Floats, check_both_kinds, threshold_at_fmr
from visavis.evaluation.protocols import counted
from visavis.models.installation import Measured

GRID = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""The false match rates that are measured, as far as the data support them."""
LEAST_FALSE_MATCHES = 10  # so many pairs of strangers are nearer than a threshold whose rate is supported
_MOST_STEPS = 200
_ENOUGH = 1e-10  # of a change, where distances have a deviation of 1
_MOST_GROUPS = 4096  # of distances of a kind, each of which counts as its mean
_SOME_WRONG, _WRONG = 0.01, (1e-9, 0.1)  # the share of pairs of the other kind that is assumed at first, and its bounds
_MOST_ROUNDS, _ENOUGH_OF_ROUNDS = 100, 1e-5


@dataclass(frozen=True, slots=True)
class Support:
    """Pairs of images of strangers, and of people (acquaintances): many images of two people say little of others."""

    impostor: int
    acquaintances: int

    @property
    def least(self) -> float:
        """The smallest false match rate that the data support."""
        return max(LEAST_FALSE_MATCHES / max(1, self.impostor), RULE_OF_THREE / max(1, self.acquaintances))

    def reaches(self, fmr: float) -> bool:
        """Return whether the data support a rate."""
        return self.least <= fmr * (1 + 1e-9)


@dataclass(frozen=True, slots=True)
class CalibratedPoint:
    """An operating point, and the share of pairs of one person that is refused at its threshold."""

    point: OperatingPoint
    fnmr: Estimate


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The result of a calibration; midpoint and slope are as in ``visavis.core.decide.Calibration``."""

    points: tuple[CalibratedPoint, ...]  # by growing false match rate
    unsupported: tuple[float, ...]  # rates that were asked for, and that the data do not support
    support: Support
    midpoint: float
    slope: float
    genuine: int  # pairs of one person
    people: int  # in all pairs

    def measured(self, provenance: str) -> Measured:
        """Return what an installation keeps of it; the provenance says in words what it was measured on."""
        rates = ErrorRates(tuple(each.point for each in self.points), provenance)
        return Measured(Calibration(self.midpoint, self.slope, provenance), rates, self.people)


def calibrate(comparisons: Comparisons, rates: Sequence[float] = (), *, seed: int = 0) -> Calibrated:
    """Return thresholds with their false match rates, with intervals, and how a distance becomes a probability.

    A rate, of ``GRID`` or those asked for, is supported where at least ten pairs of images of strangers, and three
    pairs of people, are expected to be nearer than its threshold. Pairs without an embedding count for nothing.

    Raises:
        InvalidOption: pairs of a kind are missing or too few for any rate, a rate is not between 0 and 1, or images
            seem to be filed under the wrong people.
    """
    wanted = sorted({*GRID, *map(check_rate, rates)})
    compared = comparisons.compared()
    check_both_kinds(compared)
    genuine, impostor = compared.genuine, compared.impostor
    support = Support(len(impostor), compared.people[1])
    supported = [rate for rate in wanted if support.reaches(rate)]
    if not supported:
        raise InvalidOption(
            f"no false match rate is supported by {counted(support.impostor)} of strangers, of "
            f"{counted(support.acquaintances)} of people: {needs(GRID[-1])}, are the least"
        )
    midpoint, slope = fit_logistic(genuine, impostor)
    thresholds = [threshold_at_fmr(impostor, rate) for rate in supported]
    if not thresholds[0] > 0:
        raise InvalidOption("many pairs of strangers have a distance of 0: the same photos are filed under two people")
    replicates = resample(compared, thresholds, seed=seed)
    return Calibrated(
        points=tuple(_point(*each, replicates, compared) for each in zip(supported, thresholds, strict=True)),
        unsupported=tuple(sorted({rate for rate in rates if not support.reaches(rate)})),
        support=support,
        midpoint=midpoint,
        slope=slope,
        genuine=len(genuine),
        people=len(np.unique(compared.persons)),
    )


def needs(fmr: float) -> str:
    """Return in words the data that a rate takes at least."""
    pairs, acquaintances = math.ceil(LEAST_FALSE_MATCHES / fmr - 1e-6), math.ceil(RULE_OF_THREE / fmr - 1e-6)
    people = math.ceil((1 + math.sqrt(1 + 8 * acquaintances)) / 2)
    return f"{pairs:,} pairs of strangers, of {people:,} people"


def _point(rate: float, threshold: float, replicates: Replicates, compared: Comparisons) -> CalibratedPoint:
    found = interval(threshold, replicates.threshold_at(rate))
    fnmr = float((compared.genuine >= threshold).mean())
    # Rounding may leave the cosine distance of the same direction below 0.
    point = OperatingPoint(rate, threshold, max(0.0, found.low), found.high)
    return CalibratedPoint(point, interval(fnmr, replicates.fnmr_at(threshold), compared.people[0]))


def fit_logistic(genuine: Floats, impostor: Floats) -> tuple[float, float]:
    """Return midpoint and slope of the most likely logistic function over finite distances (G,) and (I,).

    Both kinds weigh the same. Some pairs may be of the other kind, as where a photo is filed under the wrong person:
    how many is estimated along with the function, a tenth at most, for they would flatten it. Where the others do not
    overlap, the likeliest function would be a step, which promises more than so few pairs show; there, each kind is
    taken to hold one pair more, of the other answer.

    Raises:
        InvalidOption: pairs of one person are no nearer than strangers.

    Source: J. Bootkrajang, A. Kaban, "Label-noise robust logistic regression and its applications", 2012, fitted by
    expectation-maximisation; J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for the pair more.
    """
    everything = np.concatenate([genuine, impostor])
    middle, spread = float(everything.mean()), float(everything.std())
    if genuine.mean() >= impostor.mean() or not spread:
        raise InvalidOption(
            "images of one person are no more alike than those of strangers: are they filed under the right people?"
        )
    (near, near_weight), (far, far_weight) = _grouped(genuine), _grouped(impostor)
    distances, weight = np.concatenate([near, far]), np.concatenate([near_weight, far_weight]) / 2
    own = np.repeat([1.0, 0.0], [len(near), len(far)])  # what each is filed as, and then how probably it is that
    columns = np.stack([np.ones_like(distances), (middle - distances) / spread])
    found, target = np.zeros(2), own
    lost = taken = _SOME_WRONG  # of one person, filed as strangers; and of strangers, filed as one person
    for _ in range(_MOST_ROUNDS):
        before, same = found, target > 0.5  # noqa: PLR2004  # the likelier kind
        if separate := bool(distances[same].max() < distances[~same].min()):
            target = np.clip(target, 1 / (len(impostor) + 2), 1 - 1 / (len(genuine) + 2))
        found = _likeliest(found, columns, target, weight)
        if separate or np.abs(found - before).max() <= _ENOUGH_OF_ROUNDS:
            break
        probability = _probabilities(found, columns)
        if_same = probability * np.where(own, 1 - lost, lost)
        if_other = (1 - probability) * np.where(own, taken, 1 - taken)
        target = if_same / (if_same + if_other)
        lost, taken = (
            float(np.clip((weight * filed) @ kind / (weight @ kind), *_WRONG))
            for filed, kind in ((1 - own, target), (own, 1 - target))
        )
    offset, slope = found.tolist()
    return middle + spread * offset / slope, slope / spread


def _grouped(distances: Floats) -> tuple[Floats, Floats]:
    """Return the means of some thousand groups of neighbours, as large as one another, and the share of each."""
    edges = np.linspace(0, len(distances), min(len(distances), _MOST_GROUPS) + 1).astype(np.int64)
    counts = np.diff(edges)
    return np.add.reduceat(np.sort(distances), edges[:-1]) / counts, counts / len(distances)


def _likeliest(start: Floats, columns: Floats, target: Floats, weight: Floats) -> Floats:
    """Return offset and slope of the log odds over the nearness.

    Source: Newton's method as in H.-T. Lin, C.-J. Lin, R. C. Weng, "A note on Platt's probabilistic outputs", 2007.
    """
    found, loss = start, _loss(start, columns, target, weight)
    for _ in range(_MOST_STEPS):
        probability = _probabilities(found, columns)
        gradient = columns @ (weight * (target - probability))
        curvature = (columns * (weight * probability * (1 - probability))) @ columns.T
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        # Newton's step leads too far where the function is nearly flat: half of it, until that is better.
        while (better := _loss(found + step, columns, target, weight)) > loss and np.abs(step).max() > _ENOUGH:
            step /= 2
        found, loss = found + step, better
        if np.abs(step).max() <= _ENOUGH * max(1.0, float(np.abs(found).max())):
            break
    return found


def _probabilities(found: Floats, columns: Floats) -> Floats:
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.clip(found @ columns, -700.0, 700.0)))
    return probabilities


def _loss(found: Floats, columns: Floats, target: Floats, weight: Floats) -> float:
    log_odds = found @ columns
    return float(weight @ (np.logaddexp(0.0, log_odds) - target * log_odds))
