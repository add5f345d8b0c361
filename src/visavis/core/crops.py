"""Upright crops around the boxes of faces, as networks want them that take no aligned chips."""

import cv2
import numpy as np

from visavis.types import FloatArray, UInt8Array

# What is a whole pixel but for the last digits of floating point is one.
_ROUNDING = 1e-6
# Averaged for each pixel of a crop, each way.
_MOST_SAMPLES = 4


def square_crop(image: UInt8Array, box_xyxy: FloatArray, scale: float, side: int) -> UInt8Array:
    """Return a square around the middle of a box, in the size that a network takes: (side, side, 3).

    Args:
        image: (H, W, 3); beyond its border, its outermost pixels are repeated.
        box_xyxy: (4,) of a face in its pixels; may reach beyond it.
        scale: how much larger than the box's longer side the square is.
        side: of the result, in pixels.
    """
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    length = max(1.0, scale * max(right - left, bottom - top))
    size = round(length)
    # Of a large face, some pixels stand for all.
    steps = np.linspace(0, size - 1, min(size, _MOST_SAMPLES * side)).round().astype(np.int64)
    columns = np.clip(round((left + right - length) / 2) + steps, 0, image.shape[1] - 1)
    rows = np.clip(round((top + bottom - length) / 2) + steps, 0, image.shape[0] - 1)
    return _resized(image[rows[:, None], columns], side, cv2.INTER_AREA if size > side else cv2.INTER_LINEAR)


def inner_crop(image: UInt8Array, box_xyxy: FloatArray, scale: float, side: int) -> UInt8Array:
    """Return what surrounds a face, shifted into the image and made small enough for it: (side, side, 3).

    It has the shape of the box, and is stretched to the square, with bilinear sampling and aliases: so the networks
    were trained.

    Args:
        image: (H, W, 3).
        box_xyxy: (4,) of a face in its pixels; may reach beyond it.
        scale: how much larger than the box it is, where the image has room for that.
        side: of the result, in pixels.

    Source: ``CropImage`` in ``src/generate_patches.py`` of Minivision's Silent-Face-Anti-Spoofing.
    """
    box = box_xyxy.astype(np.float64)
    room_wh = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float64)
    size_wh = np.maximum(box[2:] - box[:2], 1.0)
    size_wh *= min(scale, *(room_wh / size_wh))
    low = np.clip((box[:2] + box[2:] - size_wh) / 2, 0, room_wh - size_wh)
    (left, top), (right, bottom) = (np.floor(edge + _ROUNDING).astype(int) for edge in (low, low + size_wh))
    return _resized(image[top : bottom + 1, left : right + 1], side, cv2.INTER_LINEAR)


def _resized(pixels: UInt8Array, side: int, interpolation: int) -> UInt8Array:
    resized: UInt8Array = cv2.resize(pixels, (side, side), interpolation=interpolation)
    return resized
