"""Interface of detectors, and the size to which an image is brought for them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visavis.errors import InvalidOption
from visavis.types import FloatArray, SizeWH, UInt8Array

# Smaller faces are too blurred to tell people apart; and a strip of an image must not cost more than a photo.
_SMALLEST_BY_FRACTION = 20
_MOST_PIXELS_BY_FRACTION = 16_000_000
_MOST_SEARCHED_PIXELS = 100_000_000


def search_size(size_wh: SizeWH, min_face: float, window: float) -> SizeWH:
    """Return the size to bring an image to, so that a detector finds faces of ``min_face`` and larger.

    Args:
        size_wh: of the image.
        min_face: from 1 on, the smallest face's size in pixels; below 1, as a fraction of the image's shorter side.
            A fraction never asks for faces below 20 pixels, nor for more than 16 megapixels to search.
        window: the smallest face that the detector finds, in pixels.

    Raises:
        InvalidOption: not a number above 0, or more than 100 megapixels would have to be searched.
    """
    area = size_wh[0] * size_wh[1]
    if min_face >= 1:
        scale = window / min_face
        if scale * scale * area > _MOST_SEARCHED_PIXELS:
            least = np.ceil(window * np.sqrt(area / _MOST_SEARCHED_PIXELS))
            raise InvalidOption(
                f"faces of {min_face:g} pixels are too small to look for in an image of {size_wh[0]} x {size_wh[1]}: "
                f"min_face must be {least:g} or more here"
            )
    elif min_face > 0:
        scale = min(window / (min_face * min(size_wh)), window / _SMALLEST_BY_FRACTION)
        scale = min(scale, float(np.sqrt(_MOST_PIXELS_BY_FRACTION / area)))
    else:
        raise InvalidOption(f"min_face must be a number above 0, not {min_face!r}")
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Faces in pixels of the image searched: boxes (N, 4), scores (N,) and landmarks (N, P, 2)."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    landmarks: FloatArray


class Detector(Protocol):
    """Finds faces and their landmarks. Thread-safe."""

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to, so that faces of ``min_face`` and larger are found.

        Args:
            size_wh: of the image.
            min_face: from 1 on, the smallest face's size in pixels; below 1, as a fraction of the image's shorter side.

        Raises:
            InvalidOption: not a number above 0, or more would have to be searched than is allowed.
        """

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool) -> Sightings:
        """Return all faces, or the largest one alone; in no particular order.

        Args:
            image: (H, W, 3) RGB.
            search_size_wh: the size to which the image is brought to look for faces.
            largest: whether only the largest is wanted, which may be found faster.
        """
