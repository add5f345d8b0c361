"""From embeddings to decisions: distance and probability."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visavis.errors import InvalidOption
from visavis.types import FloatArray, Metric


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the distance of an embedding space turns into a probability.

    Attributes:
        midpoint: the distance at which both answers are equally probable.
        slope: how fast the log odds fall with the distance, per unit of distance.
        provenance: what the two were fitted on, and by which script.
    """

    midpoint: float
    slope: float
    provenance: str


def distances(metric: Metric, probe: FloatArray, references: FloatArray) -> NDArray[np.float64]:
    """Return the distances (N,) from an embedding (D,) to others (N, D), computed in float64.

    The cosine distance is one minus the cosine of the angle: 0 for the same direction, 2 for the opposite one.
    """
    probe64, references64 = probe.astype(np.float64), references.astype(np.float64)
    if metric == "euclidean":
        lengths: NDArray[np.float64] = np.linalg.norm(references64 - probe64, axis=1)
        return lengths
    products = np.linalg.norm(references64, axis=1) * np.linalg.norm(probe64)
    cosines: NDArray[np.float64] = 1.0 - references64 @ probe64 / products
    return cosines


def euclidean_distance(a: FloatArray, b: FloatArray) -> float:
    """Return the Euclidean distance of two embeddings (D,)."""
    return float(np.linalg.norm(a - b))


def probability_of_same(distance: float, calibration: Calibration) -> float:
    """Return the probability, 0 to 1, that two faces at this distance are the same person.

    Both answers are taken to be equally likely beforehand; where strangers are more likely, so is a stranger.

    Source: J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999: a logistic function of the score.
    """
    log_odds = calibration.slope * (calibration.midpoint - distance)
    return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))))


def check_threshold(threshold: float) -> float:
    """Return the threshold as a float.

    Raises:
        InvalidOption: it is not a finite number above 0.
    """
    try:
        value = float(threshold)
    except (OverflowError, TypeError, ValueError):
        value = np.nan
    if not 0.0 < value < np.inf:
        raise InvalidOption(f"the threshold must be a finite number above 0, not {threshold!r}")
    return value
