"""Upright crops of faces: where they lie, also at and beyond the border, and how much they cost."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from visavis.core.geometry import inner_crop, square_crop


def gradient(width: int, height: int) -> NDArray[np.uint8]:
    """An image whose red grows to the right, and whose green grows downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 255 // max(width - 1, 1)
    image[..., 1] = (np.arange(height) * 255 // max(height - 1, 1))[:, None]
    return image


@pytest.mark.parametrize(
    "box",
    [(10, 10, 10, 10), (0, 0, 64, 48), (-500, -500, -400, -400), (1e5, 1e5, 1e5 + 9, 1e5 + 9), (-1e6, -1e6, 1e6, 1e6)],
)
@pytest.mark.parametrize("size", [(64, 48), (1, 1), (1, 300), (300, 1)])
def test_any_box_gives_a_crop(box: tuple[float, ...], size: tuple[int, int]) -> None:
    image = gradient(*size)
    for cut in (square_crop, inner_crop):
        crop = cut(image, np.array(box, np.float32), 2.7, 20)
        assert crop.shape == (20, 20, 3)
        assert crop.dtype == np.uint8
    np.testing.assert_array_equal(image, gradient(*size))


def test_a_square_is_the_image_around_the_box() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    box = np.array([50, 40, 70, 64], np.float32)
    np.testing.assert_array_equal(square_crop(image, box, 1.0, 24), image[40:64, 48:72])
    np.testing.assert_array_equal(square_crop(image, box, 1.5, 36), image[34:70, 42:78])


def test_a_square_beyond_the_border_repeats_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    crop = square_crop(image, np.array([-10, -10, 10, 10], np.float32), 1.0, 20)
    np.testing.assert_array_equal(crop[10:, 10:], image[:10, :10])
    np.testing.assert_array_equal(crop[:10, :10], np.broadcast_to(image[0, 0], (10, 10, 3)))


def test_a_large_face_is_averaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    crop = square_crop(noise, np.array([0, 0, 1999, 1999], np.float32), 1.0, 20)
    assert crop.std() < 0.3 * noise.std()


def original(image: NDArray[np.uint8], box: tuple[int, int, int, int], scale: Fraction, side: int) -> NDArray[np.uint8]:
    """What Silent-Face cuts out, in exact numbers and step by step: grow, and push back into the image."""
    height, width = image.shape[:2]
    x, y, box_width, box_height = map(Fraction, box)
    scale = min((height - 1) / box_height, (width - 1) / box_width, scale)
    left, top = x + box_width / 2 - box_width * scale / 2, y + box_height / 2 - box_height * scale / 2
    right, bottom = left + box_width * scale, top + box_height * scale
    if left < 0:
        left, right = Fraction(0), right - left
    if top < 0:
        top, bottom = Fraction(0), bottom - top
    if right > width - 1:
        left, right = left - (right - width + 1), Fraction(width - 1)
    if bottom > height - 1:
        top, bottom = top - (bottom - height + 1), Fraction(height - 1)
    part = image[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return np.asarray(cv2.resize(part, (side, side)), np.uint8)


@given(
    size=st.tuples(st.integers(20, 200), st.integers(20, 200)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    box_size=st.tuples(st.integers(4, 60), st.integers(4, 60)),
    scale=st.sampled_from(["2.7", "4.0"]),
)
def test_inner_crops_are_the_originals(
    size: tuple[int, int], place: tuple[float, float], box_size: tuple[int, int], scale: str
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    left, top = (int(part * length) for part, length in zip(place, size, strict=True))
    box = np.array([left, top, left + box_size[0], top + box_size[1]], np.float32)
    expected = original(image, (left, top, *box_size), Fraction(scale), 80)
    np.testing.assert_array_equal(inner_crop(image, box, float(scale), 80), expected)
