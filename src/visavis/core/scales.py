"""Similarity scales of other systems: from a distance to a value and back, by the error rates of a pack."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from visavis.core.decide import ErrorRates, threshold_at

Form: TypeAlias = Literal["rekognition", "compreface"]
"""Whose values they are: 0 to 100, or 0 to 1."""

_RATES = (1e-3, 1e-4)
# The greatest value, and the parts of it that stand for these false match rates. CompreFace fixes the first alone: its
# 0.5 is its threshold. The second says how steep the scale is: nine times the odds for a tenth of the errors.
_FORMS: Mapping[Form, tuple[float, float, float]] = {"rekognition": (100.0, 0.80, 0.99), "compreface": (1.0, 0.5, 0.9)}
_LEAST = 1e-12  # of the greatest value: how far from both ends a value is told from them
_FLATTEST = 1e-6  # distance between the two rates, where a measurement puts them at one


@dataclass(frozen=True, slots=True)
class Scale:
    """A logistic function of the distance, through two points. It falls, and so does its inverse.

    Source: CompreFace writes it ``(tanh((c0 - distance) * c1) + 1) / 2``, which is the same with twice the slope.
    """

    most: float  # the value of what is equal
    middle: float  # the distance of half of it
    slope: float  # of the log odds, per unit of distance, above 0

    @classmethod
    def of(cls, form: Form, rates: ErrorRates) -> "Scale":
        """Return the scale of a form for a pack's rates; where 1e-4 was not measured, it is extrapolated."""
        most, *parts = _FORMS[form]
        (far, near), (low, high) = (threshold_at(rates, rate) for rate in _RATES), map(_log_odds, parts)
        slope = (high - low) / max(far - near, _FLATTEST)
        return cls(most, far + low / slope, slope)

    def value(self, distance: float) -> float:
        """Return the value of a distance: between 0 and the greatest one."""
        log_odds = self.slope * (self.middle - distance)
        return self.most / (1.0 + math.exp(min(-log_odds, 700.0)))

    def distance(self, value: float) -> float:
        """Return the distance of a value, 0 at least; values beyond the ends are as far as the ends."""
        part = min(max(value / self.most, _LEAST), 1.0 - _LEAST)
        return max(0.0, self.middle - _log_odds(part) / self.slope)


def _log_odds(part: float) -> float:
    return math.log(part / (1.0 - part))
