"""From distances to a probability: a logistic function, fitted to pairs of one person and pairs of strangers."""

import numpy as np

from visavis.errors import InvalidOption
from visavis.evaluation.comparisons import Floats

_MOST_STEPS = 200
_ENOUGH = 1e-10  # of a change, where distances have a deviation of 1


def fit_logistic(genuine: Floats, impostor: Floats) -> tuple[float, float]:
    """Return midpoint and slope of the most likely logistic function, both kinds of pairs weighing the same.

    Where no stranger is as near as anyone is to themselves, the likeliest function would be a step, which promises
    more than so few pairs know; there, each kind is taken to hold one pair more, of the other answer.

    Args:
        genuine: (G,) finite distances of pairs of one person, at least one.
        impostor: (I,) of strangers, likewise.

    Raises:
        InvalidOption: pairs of one person are no nearer than strangers.

    Source: J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999, which takes the same targets; Newton's
    method as in H.-T. Lin, C.-J. Lin, R. C. Weng, "A note on Platt's probabilistic outputs", 2007.
    """
    distances = np.concatenate([genuine, impostor])
    middle, spread = float(distances.mean()), float(distances.std())
    if genuine.mean() >= impostor.mean() or not spread:
        raise InvalidOption(
            "images of one person are no more alike than those of strangers: are they filed under the right people?"
        )
    separate = genuine.max() < impostor.min()
    targets = [1 - 1 / (len(genuine) + 2), 1 / (len(impostor) + 2)] if separate else [1.0, 0.0]
    target = np.repeat(targets, [len(genuine), len(impostor)])
    weight = np.repeat([0.5 / len(genuine), 0.5 / len(impostor)], [len(genuine), len(impostor)])
    offset, slope = _fitted((middle - distances) / spread, target, weight)
    return middle + spread * offset / slope, slope / spread


def _fitted(nearness: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    """Return offset and slope of the log odds over the nearness."""
    columns = np.stack([np.ones_like(nearness), nearness])
    found = np.zeros(2)
    loss = _loss(found, columns, target, weight)
    for _ in range(_MOST_STEPS):
        probability = _probability(found @ columns)
        gradient = columns @ (weight * (target - probability))
        curvature = (columns * (weight * probability * (1 - probability))) @ columns.T
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        # Newton's step leads too far where the function is nearly flat: half of it, until that is better.
        while (better := _loss(found + step, columns, target, weight)) > loss and np.abs(step).max() > _ENOUGH:
            step /= 2
        found, loss = found + step, better
        if np.abs(step).max() <= _ENOUGH * max(1.0, float(np.abs(found).max())):
            break
    return float(found[0]), float(found[1])


def _loss(found: Floats, columns: Floats, target: Floats, weight: Floats) -> float:
    log_odds = found @ columns
    return float(weight @ (np.logaddexp(0.0, log_odds) - target * log_odds))


def _probability(log_odds: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0)))
    return probability
