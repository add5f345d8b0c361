"""dlib's detector: faces by a CNN on an image pyramid, their landmarks by a forest."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import Detections, Rows, suppress
from visavis.core.pyramid import (
    Canvas,
    Level,
    Pyramid,
    Tile,
    paint,
    plan_canvases,
    plan_part,
    pyramid_levels,
    search_size,
)
from visavis.models.dlib.landmarks import LandmarkRegressor
from visavis.models.runtime import Infer
from visavis.types import FloatArray, SizeWH, UInt8Array

# The detector's face, in pixels of a level.
_WINDOW = 80
# An output cell (column, row) stands for the point (8 column + 14, 8 row + 14) of the canvas ...
_STRIDE = 8
_FIRST_CELL = 14
# ... and sees 94 pixels around it.
_REACH = 96
# What lies further away hardly matters when a face is known to be there.
_REACH_OF_REFINING = 48
# Two boxes are of one face when their intersection makes up more than this of their common bounding box.
_MOST_OVERLAP = 0.338
# The mean colour, which is nothing to the network: its normalised value is zero.
_BACKGROUND = (123, 117, 104)

# The search for the largest face begins with all levels up to this long on the shorter side.
_COARSE_SIDE = 240
_CLEAR_SCORE = 0.5
# Plain background scores about -1: what scores more than this may be a face that the next level shows better.
_HINT = -0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Found(Rows):
    """Boxes (N, 4) in pixels of the image searched, scores (N,), and the pyramid levels (N,) they were found on."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    levels: NDArray[np.intp]


_NOTHING = _Found(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))


class DlibDetector:
    """Finds faces with dlib's max-margin object detector, and their landmarks with its forest; a ``Detector``.

    Thread-safe.

    Args:
        infer: the detector's network, from a canvas (1, H, W, 3) uint8 RGB to scores (1, rows, columns).
        landmarks: what finds them in boxes.

    Source: D. King, "Max-Margin Object Detection", 2015, and dlib's ``dnn_mmod_face_detection`` example, whose network
    and image pyramid these are.
    """

    def __init__(self, infer: Infer, landmarks: LandmarkRegressor) -> None:
        self._infer = infer
        self._landmarks = landmarks

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to; see ``visavis.core.pyramid``."""
        return search_size(size_wh, min_face, _WINDOW)

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool) -> Detections:
        """Return all faces, or the largest one alone."""
        found = (self._find_largest if largest else self._find_all)(image, search_size_wh)
        landmarks = self._landmarks([image] * len(found.scores), found.boxes_xyxy)
        return Detections(found.boxes_xyxy, found.scores, landmarks)

    def _find_all(self, image: UInt8Array, search_size_wh: SizeWH) -> _Found:
        canvases = plan_canvases(pyramid_levels(search_size_wh), _REACH)
        return _suppress(self._search(Pyramid(image), canvases))

    def _find_largest(self, image: UInt8Array, search_size_wh: SizeWH) -> _Found:
        """Return the largest face, or none.

        Searches from coarse to fine and stops at the first clear face: finer levels show smaller ones. Neighbouring
        levels show nearly the same, so that every second one is enough to find it. What could still be as large, faces
        on the same level and hints of a face on coarser ones, is then looked at on the levels between, around the
        place only. Where no face is clear, all levels are searched.
        """
        pyramid, levels, seen = Pyramid(image), pyramid_levels(search_size_wh), _NOTHING
        for step in (*_coarse_to_fine(levels[::2]), levels[1::2]):
            seen = _suppress(_Found.concatenate([seen, self._search(pyramid, plan_canvases(step, _REACH), _HINT)]))
            largest = _largest(seen)
            if len(largest.scores) and largest.scores[0] >= _CLEAR_SCORE:
                rivals = np.flatnonzero(seen.levels >= largest.levels[0])
                return _largest(
                    _Found.concatenate([self._refine(pyramid, seen[i : i + 1], levels) for i in rivals.tolist()])
                )
        return _largest(seen)

    def _refine(self, pyramid: Pyramid, face: _Found, levels: Sequence[Level]) -> _Found:
        """Return the one face as its own or a neighbouring level shows it, whichever scores highest."""
        number = int(face.levels[0])
        parts = []
        for level in (*levels[max(0, number - 1) : number], *levels[number + 1 : number + 2]):
            factors = np.tile(np.array(level.size_wh) / pyramid.size_wh, 2)
            left, top, right, bottom = (face.boxes_xyxy[0] * factors).tolist()
            parts.append(plan_part(level, (left, top, right, bottom), _REACH_OF_REFINING))
        return _suppress(_Found.concatenate([face, self._search(pyramid, parts)]))[:1]

    def _search(self, pyramid: Pyramid, canvases: Iterable[Canvas], least: float = 0.0) -> _Found:
        """Return every cell above ``least``."""
        found = [_NOTHING]
        for canvas in canvases:
            ((scores,),) = self._infer(paint(canvas, pyramid, _BACKGROUND)[None])
            rows, columns = np.nonzero(scores > least)
            if len(rows):
                points = np.column_stack([columns, rows]) * _STRIDE + _FIRST_CELL
                found += [_read_tile(tile, points, scores[rows, columns], pyramid.size_wh) for tile in canvas.tiles]
        return _Found.concatenate(found)


def _coarse_to_fine(levels: Sequence[Level]) -> Iterator[Sequence[Level]]:
    """Yield the coarse levels together, and then ever finer ones singly."""
    coarse = next((i for i, level in enumerate(levels) if min(level.size_wh) <= _COARSE_SIDE), len(levels))
    yield levels[coarse:]
    for i in reversed(range(coarse)):
        yield levels[i : i + 1]


def _read_tile(tile: Tile, points: NDArray[np.intp], scores: FloatArray, image_wh: SizeWH) -> _Found:
    """Return the faces whose centres the tile answers for, from all points (N, 2) and scores (N,) of its canvas."""
    in_level = points - tile.at_xy + tile.origin_xy
    own = ((in_level >= tile.owns_xyxy[:2]) & (in_level < tile.owns_xyxy[2:])).all(axis=1)
    factors = np.array(image_wh) / tile.level.size_wh
    centres = (in_level[own] + 0.5) * factors - 0.5
    # As in dlib, a box names its outermost whole pixels: 80 of them are 40 before the centre and 39 behind it.
    low, high = centres - _WINDOW / 2 * factors, centres + (_WINDOW / 2 - 1) * factors
    boxes = np.rint(np.column_stack([low, high])).astype(np.float32)
    return _Found(boxes, scores[own], np.full(len(boxes), tile.level.number))


def _largest(found: _Found) -> _Found:
    """Return the face of the coarsest level, of several the one with the highest score; or none."""
    faces = found[found.scores > 0]
    return faces[np.lexsort((faces.scores, faces.levels))[-1:]]


def _suppress(found: _Found) -> _Found:
    return found[suppress(found.boxes_xyxy, found.scores, _MOST_OVERLAP)]
