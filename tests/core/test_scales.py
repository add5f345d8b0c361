"""Similarity scales of other systems."""

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from visavis.core.decide import ErrorRates, OperatingPoint, rule_at_rate
from visavis.core.scales import Form, Scale
from visavis.models.catalogue import PACKS

MEASURED = [pytest.param(pack.rates, id=pack.name) for pack in PACKS.values() if pack.rates is not None]


@pytest.mark.parametrize("rates", MEASURED)
def test_two_points_are_where_the_pack_has_its_rates(rates: ErrorRates) -> None:
    far, near = (rule_at_rate(rates, rate).threshold for rate in (1e-3, 1e-4))
    rekognition, compreface = Scale.of("rekognition", rates), Scale.of("compreface", rates)
    assert [rekognition.value(far), rekognition.value(near)] == pytest.approx([80, 99])
    assert [compreface.value(far), compreface.value(near)] == pytest.approx([0.5, 0.9])
    steepness = math.atanh(0.8) / (far - near)
    for distance in np.linspace(0, 2, 20).tolist():  # as CompreFace writes it
        assert compreface.value(distance) == pytest.approx((math.tanh((far - distance) * steepness) + 1) / 2)


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("rates", MEASURED)
def test_values_fall_and_lead_back(rates: ErrorRates, form: Form) -> None:
    scale = Scale.of(form, rates)
    distances = np.linspace(0, 2, 400).tolist()
    values = [scale.value(distance) for distance in distances]
    assert all(a >= b for a, b in pairwise(values))
    assert values[0] > 0.99 * scale.most
    assert values[0] <= scale.most
    assert values[-1] >= 0
    shares = np.linspace(0.001, 0.999, 50) * scale.most
    there = [scale.distance(value) for value in shares.tolist()]
    assert all(a >= b for a, b in pairwise(there))
    assert [scale.value(one) for one in there if one > 0] == pytest.approx(
        [share for share, one in zip(shares.tolist(), there, strict=True) if one > 0]
    )


def test_ends_are_finite() -> None:
    point = (0.5, 0.5, 0.5)
    flat = ErrorRates((OperatingPoint(1e-4, *point), OperatingPoint(1e-3, *point)), "nothing")
    for scale in (Scale.of("rekognition", flat), Scale(1.0, 0.5, 10.0)):
        for value in (-1e9, 0.0, scale.most, 1e9):
            assert 0 <= scale.distance(value) < math.inf
        assert scale.distance(1e9) <= scale.distance(-1e9)
        assert [scale.value(1e300), scale.value(0.0)] == pytest.approx([0, scale.most], rel=0.01)
