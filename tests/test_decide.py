import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.core.decide import Calibration, check_threshold, euclidean_distance, probability_of_same
from visavis.errors import InvalidOption
from visavis.models.catalogue import DLIB

CALIBRATION = Calibration(midpoint=0.6, slope=20.0, provenance="made up")


def test_distance() -> None:
    assert euclidean_distance(np.zeros(4, np.float32), np.array([0, 3, 4, 0], np.float32)) == 5


def test_probability_is_a_half_at_the_midpoint() -> None:
    assert probability_of_same(0.6, CALIBRATION) == pytest.approx(0.5)
    assert probability_of_same(0.5, CALIBRATION) == pytest.approx(1 / (1 + np.exp(-2)))


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_probability_falls_with_the_distance(a: float, b: float) -> None:
    near, far = sorted((a, b))
    assert 1 >= probability_of_same(near, CALIBRATION) >= probability_of_same(far, CALIBRATION) >= 0


def test_the_pack_says_where_its_calibration_comes_from() -> None:
    assert "bench/lfw.py" in DLIB.calibration.provenance
    assert DLIB.calibration.slope > 0


@pytest.mark.parametrize("wrong", [0, -1, np.nan, np.inf, "much", None])
def test_wrong_thresholds_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidOption, match="threshold"):
        check_threshold(wrong)  # type: ignore[arg-type]
