"""Scales of similarity, as other services have them, through points of a pack's own error rates."""

import math
from dataclasses import dataclass
from types import MappingProxyType

from visavis.core.decide import ErrorRates, threshold_at

_LEAST = 1e-12  # of the top: a value that is told apart from the ends of the scale
POINTS = MappingProxyType(
    {
        "rekognition": (100.0, (1e-3, 80.0), (1e-4, 99.0)),
        "compreface": (1.0, (1e-3, 0.5), (1e-4, 0.9)),
    }
)
"""For each scale its top, and two pairs of a false match rate and the similarity at its threshold."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Similarity on a logistic curve: it falls from the top as the distance grows, towards 0.

    CompreFace's form, (tanh((c0 - d) * c1) + 1) / 2, is the same with ``middle`` c0 and ``slope`` 2 * c1.
    """

    top: float
    middle: float  # the distance at which it is half of the top
    slope: float  # above 0, for a distance of 1

    @classmethod
    def of(cls, name: str, rates: ErrorRates) -> "Scale":
        """Return the scale of that name in ``POINTS``, by the error rates of a pack.

        A rate below what was measured has the threshold to which the last tenfold that was measured leads.
        """
        top, *points = POINTS[name]
        (loose, low), (strict, high) = ((threshold_at(rates, fmr), _logit(value / top)) for fmr, value in points)
        slope = (high - low) / max(loose - strict, _LEAST)
        return cls(top, loose + low / slope, slope)

    def value(self, distance: float) -> float:
        """Return the similarity of a distance."""
        return self.top / (1 + math.exp(min((distance - self.middle) * self.slope, -math.log(_LEAST))))

    def distance(self, value: float) -> float:
        """Return the distance that has a similarity; at or beyond the ends of the scale, one that hardly has it."""
        return self.middle - _logit(value / self.top) / self.slope


def _logit(part: float) -> float:
    part = min(max(part, _LEAST), 1 - _LEAST)
    return math.log(part / (1 - part))
