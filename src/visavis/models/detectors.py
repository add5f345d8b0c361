"""From an image to boxes and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import suppress
from visavis.core.pyramid import Level, Pyramid, Tile, paint, plan_canvases, pyramid_levels
from visavis.errors import InvalidOption
from visavis.models.runtime import Infer
from visavis.types import FloatArray, SizeWH, UInt8Array

# The detector's face, in pixels of a level.
WINDOW = 80
# An output cell (column, row) stands for the point (8 column + 14, 8 row + 14) of the canvas ...
_STRIDE = 8
_FIRST_CELL = 14
# ... and sees 94 pixels around it.
_REACH = 96
# Two boxes are of one face when their intersection makes up more than this of their common bounding box.
_MOST_OVERLAP = 0.338
# The mean colour, which is nothing to the network: its normalised value is zero.
_BACKGROUND = (123, 117, 104)

# Smaller faces are too blurred to tell people apart; and a strip of an image must not cost more than a photo.
_SMALLEST_BY_FRACTION = 20
_MOST_PIXELS_BY_FRACTION = 16_000_000
_MOST_SEARCHED_PIXELS = 100_000_000

# The search for the largest face begins with levels up to this long on the shorter side, and goes on by so many.
_COARSE_SIDE = 160
_LEVELS_A_STEP = 2
# A finer level can still better a face's box, but hardly from so many levels away, and not from far when it is clear.
_CLEAR_SCORE = 0.5
_LEVELS_UNTIL_CERTAIN = 3


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes (N, 4) in pixels of the image searched, scores (N,), and the pyramid levels (N,) they were found on."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    levels: NDArray[np.intp]

    def __getitem__(self, chosen: NDArray[np.intp]) -> "Detections":
        """Return the chosen ones, in the order given."""
        return Detections(self.boxes_xyxy[chosen], self.scores[chosen], self.levels[chosen])


_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))


def search_size(size_wh: SizeWH, min_face: float) -> SizeWH:
    """Return the size to bring an image to, so that the detector finds faces of ``min_face`` and larger.

    Args:
        size_wh: of the image.
        min_face: from 1 on, the smallest face's size in pixels; below 1, as a fraction of the image's shorter side.
            A fraction never asks for faces below 20 pixels, nor for more than 16 megapixels to search.

    Raises:
        InvalidOption: not a number above 0, or more than 100 megapixels would have to be searched.
    """
    area = size_wh[0] * size_wh[1]
    if min_face >= 1:
        scale = WINDOW / min_face
        if scale * scale * area > _MOST_SEARCHED_PIXELS:
            least = np.ceil(WINDOW * np.sqrt(area / _MOST_SEARCHED_PIXELS))
            raise InvalidOption(
                f"faces of {min_face:g} pixels are too small to look for in an image of {size_wh[0]} x {size_wh[1]}: "
                f"min_face must be {least:g} or more here"
            )
    elif min_face > 0:
        scale = min(WINDOW / (min_face * min(size_wh)), WINDOW / _SMALLEST_BY_FRACTION)
        scale = min(scale, float(np.sqrt(_MOST_PIXELS_BY_FRACTION / area)))
    else:
        raise InvalidOption(f"min_face must be a number above 0, not {min_face!r}")
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


class MmodDetector:
    """Find faces with dlib's max-margin object detector.

    Thread-safe.

    Source: D. King, "Max-Margin Object Detection", 2015, and dlib's ``dnn_mmod_face_detection`` example, whose network
    and image pyramid these are.
    """

    def __init__(self, infer: Infer) -> None:
        self._infer = infer

    def find_all(self, image: UInt8Array, search_size_wh: SizeWH) -> Detections:
        """Return all faces, best first.

        Args:
            image: (H, W, 3) RGB.
            search_size_wh: the size to which the image is brought to look for faces of 80 pixels and larger.
        """
        return _suppress(self._search(Pyramid(image), pyramid_levels(search_size_wh)))

    def find_largest(self, image: UInt8Array, search_size_wh: SizeWH) -> Detections:
        """Return the largest face, or none; arguments as in ``find_all``.

        Searches from coarse to fine and stops as soon as finer levels could neither show a larger face nor
        noticeably better this one's box.
        """
        pyramid, found = Pyramid(image), _NOTHING
        for step in _coarse_to_fine(pyramid_levels(search_size_wh)):
            found = _suppress(_concatenate([found, self._search(pyramid, step)]))
            if len(found.scores):
                largest = np.lexsort((found.scores, found.levels))[-1:]
                enough = _LEVELS_UNTIL_CERTAIN if found.scores[largest[0]] < _CLEAR_SCORE else 1
                if found.levels[largest[0]] - step[0].number >= enough:
                    return found[largest]
        return found[np.lexsort((found.scores, found.levels))[-1:]]

    def _search(self, pyramid: Pyramid, levels: Sequence[Level]) -> Detections:
        """Return every cell above zero."""
        found = [_NOTHING]
        for canvas in plan_canvases(levels, _REACH):
            scores = self._infer(paint(canvas, pyramid, _BACKGROUND)[None])[0]
            found += [_read_tile(tile, scores, pyramid.size_wh) for tile in canvas.tiles]
        return _concatenate(found)


def _coarse_to_fine(levels: Sequence[Level]) -> Iterator[Sequence[Level]]:
    """Yield the levels in steps, coarsest first; within a step finest first."""
    coarse = next((level.number for level in levels if min(level.size_wh) <= _COARSE_SIDE), len(levels))
    if levels[coarse:]:
        yield levels[coarse:]
    for end in range(coarse, 0, -_LEVELS_A_STEP):
        yield levels[max(0, end - _LEVELS_A_STEP) : end]


def _read_tile(tile: Tile, scores: FloatArray, image_wh: SizeWH) -> Detections:
    """Return the faces whose centres the tile answers for, from the scores (rows, cols) of its canvas."""
    # From canvas to level; a tile's own part is then a range of columns and rows.
    shift = np.array(tile.origin_xy) - tile.at_xy + _FIRST_CELL
    own = np.ceil((np.array(tile.owns_xyxy) - np.tile(shift, 2)) / _STRIDE).astype(int)
    left, top, right, bottom = np.maximum(own, 0)
    rows, columns = np.nonzero(scores[top:bottom, left:right] > 0)
    cells = np.column_stack([columns + left, rows + top])
    factors = np.array(image_wh) / tile.level.size_wh
    centres = (cells * _STRIDE + shift + 0.5) * factors - 0.5
    # As in dlib, a box names its outermost whole pixels: 80 of them are 40 before the centre and 39 behind it.
    low, high = centres - WINDOW / 2 * factors, centres + (WINDOW / 2 - 1) * factors
    boxes = np.rint(np.column_stack([low, high])).astype(np.float32)
    return Detections(boxes, scores[cells[:, 1], cells[:, 0]], np.full(len(cells), tile.level.number))


def _suppress(found: Detections) -> Detections:
    return found[suppress(found.boxes_xyxy, found.scores, _MOST_OVERLAP)]


def _concatenate(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.levels for part in parts]),
    )
