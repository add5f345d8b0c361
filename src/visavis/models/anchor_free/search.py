"""Searching an image on several scales with a network that says for every cell whether a face is there."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import areas, iou, overlapped, suppress
from visavis.core.pyramid import Canvas, Level, Pyramid, paint, plan_alone
from visavis.models.detection import Sightings, search_size
from visavis.types import FloatArray, SizeWH, UInt8Array

STRIDES = (8, 16, 32)
"""A cell of the three outputs stands for so many pixels each way."""

# Larger faces are left to a coarser level: beyond 300 pixels scores fall, and beyond 400 faces are missed.
_MOST_FACE = 256
# The coarsest level, on its shorter side: a face that fills it, or is cut by its border, is found as well as any; and
# an image up to the other size needs no second one.
_COARSEST = 160
_ALONE = 224
# No level is finer than the next one by more than this: a face that is too large for one is large enough for the other.
_MOST_STEP = 4
# Small images are enlarged to the coarsest level's size; long strips only up to this.
_LONGEST_ENLARGED = 480
# Half of what the finer level answers for, and what surrounds it.
_REACH = 256
_BACKGROUND = (0, 0, 0)


class Head(Protocol):
    """What reads a network's outputs. Thread-safe."""

    def __call__(self, canvas: UInt8Array) -> Sightings:
        """Return every cell that may be a face, several for each face.

        Args:
            canvas: (H, W, 3) RGB; both sides are multiples of 32.
        """


class AnchorFreeDetector:
    """Finds faces and their landmarks; a ``Detector``. Thread-safe."""

    def __init__(self, make_head: Callable[[], Head], *, window: float, most_overlap: float) -> None:
        """Make two heads: a runtime prepares itself anew whenever the size changes, so the coarsest level has its own.

        Args:
            make_head: what makes one, with a network of its own.
            window: the smallest face that it finds, in pixels.
            most_overlap: two boxes are of one face when their intersection over union is more than this.
        """
        self._head = make_head()
        self._coarse_head = make_head()
        self._window = window
        self._most_overlap = most_overlap

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to; see ``visavis.models.detection``. Never below the coarsest level's."""
        factor = min(_COARSEST / min(size_wh), _LONGEST_ENLARGED / max(size_wh))
        coarsest = (max(1, round(factor * size_wh[0])), max(1, round(factor * size_wh[1])))
        return max(search_size(size_wh, min_face, self._window), coarsest, key=max)

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool) -> Sightings:
        """Return all faces, or the largest one alone, which a coarse level may show already."""
        pyramid, found = Pyramid(image), _NOTHING
        levels = plan_levels(search_size_wh)
        for level, finer in zip(levels, (*levels[1:], None), strict=True):
            least = 0.0 if finer is None else _MOST_FACE * level.size_wh[0] / finer.size_wh[0]
            head = self._coarse_head if level is levels[0] else self._head
            found = self._add(found, self._search(head, pyramid, level, least))
            if largest and len(found.scores):
                return _largest(found)
        return found

    def _search(self, head: Head, pyramid: Pyramid, level: Level, least: float) -> Sightings:
        """Return the faces of at least so many pixels of the level; in pixels of the image."""
        canvases = plan_alone(level, _REACH, STRIDES[-1])
        found = _concatenate([_of_tile(each, head(paint(each, pyramid, _BACKGROUND))) for each in canvases])
        found = _chosen(found, suppress(found.boxes_xyxy, found.scores, self._most_overlap, iou))
        found = _chosen(found, np.flatnonzero(areas(found.boxes_xyxy) >= least**2))
        factors = (np.array(pyramid.size_wh) / level.size_wh).astype(np.float32)
        boxes = _scaled(found.boxes_xyxy.reshape(-1, 2, 2), factors).reshape(-1, 4)
        return Sightings(boxes, found.scores, _scaled(found.landmarks, factors))

    def _add(self, coarse: Sightings, fine: Sightings) -> Sightings:
        """Return the faces of a coarser level, and those of a finer one that are not among them."""
        known = overlapped(fine.boxes_xyxy, coarse.boxes_xyxy, self._most_overlap, iou)
        return _concatenate([coarse, _chosen(fine, np.flatnonzero(~known))])


def plan_levels(size_wh: SizeWH) -> tuple[Level, ...]:
    """Return the levels to search, coarsest first: ``size_wh`` is the last, number 0."""
    ratio = min(size_wh) / _COARSEST
    steps = int(np.ceil(np.log(ratio) / np.log(_MOST_STEP))) if min(size_wh) > _ALONE else 0
    factors = [ratio ** (-number / max(1, steps)) for number in range(steps + 1)]
    sizes = [(round(size_wh[0] * factor), round(size_wh[1] * factor)) for factor in factors]
    return tuple(Level(number, size) for number, size in reversed(list(enumerate(sizes))))


def cells(canvas_wh: SizeWH, stride: int) -> FloatArray:
    """Return column and row of every cell, row by row: (N, 2)."""
    columns, rows = canvas_wh[0] // stride, canvas_wh[1] // stride
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)


_NOTHING = Sightings(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))


def _of_tile(canvas: Canvas, found: Sightings) -> Sightings:
    """Return the faces whose centres the canvas's tile answers for, in pixels of its level."""
    (tile,) = canvas.tiles
    origin = np.array(tile.origin_xy, np.float32)
    boxes = found.boxes_xyxy + np.tile(origin, 2)
    centres = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, np.array(tile.level.size_wh) - 1)
    own = ((centres >= tile.owns_xyxy[:2]) & (centres < tile.owns_xyxy[2:])).all(axis=1)
    return _chosen(Sightings(boxes, found.scores, found.landmarks + origin), np.flatnonzero(own))


def _scaled(points: FloatArray, factors: FloatArray) -> FloatArray:
    """Take points (..., 2) from one size to another: the centres of pixels, not their corners."""
    half = np.float32(0.5)
    scaled: FloatArray = (points + half) * factors - half
    return scaled


def _largest(found: Sightings) -> Sightings:
    order = np.lexsort((found.scores, areas(found.boxes_xyxy)))
    return _chosen(found, order[-1:])


def _chosen(found: Sightings, chosen: NDArray[np.intp]) -> Sightings:
    return Sightings(found.boxes_xyxy[chosen], found.scores[chosen], found.landmarks[chosen])


def _concatenate(parts: Sequence[Sightings]) -> Sightings:
    return Sightings(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )
