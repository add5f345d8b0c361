"""Anchor-free detectors, YuNet and SCRFD: an image is searched on several scales, cell by cell.

Source: W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023; OpenCV's ``FaceDetectorYN``.

Source: J. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021; InsightFace's
``model_zoo/scrfd.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np

from visavis.core.geometry import Detections, areas, iou, most_prominent, overlapped, suppress
from visavis.core.pyramid import Canvas, Level, Pyramid, paint, plan_alone, search_size
from visavis.errors import ModelCorrupt
from visavis.models.runtime import Graph, Infer, RuntimeSpec, compile_graph
from visavis.types import FloatArray, SizeWH, UInt8Array

Read: TypeAlias = Callable[[Infer, UInt8Array], Detections]
"""Run a network on a canvas (H, W, 3) RGB, both sides multiples of 32, and return every cell that may be a face."""

_STRIDES = (8, 16, 32)  # of the three outputs: a cell stands for so many pixels each way
# Larger faces are left to a coarser level: beyond 300 pixels scores fall, and beyond 400 faces are missed.
_MOST_FACE = 256
# The coarsest level, on its shorter side: a face that fills it, or is cut by its border, is found as well as any; and
# an image up to the other size needs no second one.
_COARSEST = 160
_ALONE = 224
# No level is finer than the next one by more than this: a face that is too large for one is large enough for the other.
# So two levels do for the packs' own smallest face; a third would cost a runtime's preparing for another size.
_MOST_STEP = 5
# Small images are enlarged to the coarsest level's size; long strips only up to this.
_LONGEST_ENLARGED = 480
# Half of what the finer level answers for, and what surrounds it.
_REACH = 256
_BACKGROUND = (0, 0, 0)
_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorFree:
    """A family of such detectors."""

    read: Read  # runs a network and reads its outputs
    window: float  # the smallest face that it finds, in pixels
    most_overlap: float  # two boxes are of one face when their intersection over union is more than this
    upright_score: float  # what only upright faces score
    outputs: tuple[str, ...] = ()  # of the network, in the order in which ``read`` wants them; none for the file's


class AnchorFreeDetector:
    """Finds faces and their landmarks; a ``Detector``. Thread-safe.

    Two networks are made: a runtime prepares itself anew whenever the size changes, so the coarsest level has its own.
    """

    def __init__(self, family: AnchorFree, model: bytes, spec: RuntimeSpec) -> None:
        """Compile a network, given as an ONNX graph.

        Raises:
            RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses it.
        """
        self._family, self.window = family, family.window
        graph = Graph(model, shape=(1, 3, None, None), outputs=family.outputs)
        # In bfloat16, which has 8 bits for where a point is, it is hardly faster, and points are up to two pixels off.
        precise = replace(spec, precision="f32")
        self._network, self._coarse_network = (compile_graph(graph, precise) for _ in range(2))

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to; see ``visavis.core.pyramid``. Never below the coarsest level's."""
        factor = min(_COARSEST / min(size_wh), _LONGEST_ENLARGED / max(size_wh))
        coarsest = (max(1, round(factor * size_wh[0])), max(1, round(factor * size_wh[1])))
        return max(search_size(size_wh, min_face, self._family.window), coarsest, key=max)

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool, off_centre: float = 0.0) -> Detections:
        """Return all faces, or the largest one alone, which a coarse level may show already."""
        pyramid, found = Pyramid(image), _NOTHING
        levels, width = plan_levels(search_size_wh), pyramid.size_wh[0]
        for level, finer in zip(levels, (*levels[1:], None), strict=True):
            seen = self._search(pyramid, level, coarse=level is levels[0])
            known = overlapped(seen.boxes_xyxy, found.boxes_xyxy, self._family.most_overlap, iou)
            least = 0.0 if finer is None else _MOST_FACE * width / finer.size_wh[0]
            own = areas(seen.boxes_xyxy) >= least**2  # the others are the finer levels' to show
            found = Detections.concatenate([found, seen[~known & own]])
            if largest and len(found.scores):
                every = Detections.concatenate([found, seen[~known & ~own]])
                boxes = every.boxes_xyxy
                first = most_prominent(boxes, areas(boxes), every.scores, pyramid.size_wh, off_centre)
                if first[0] < len(found.scores):  # what finer levels alone show is less than half as large
                    return every[first]
        return found

    def are_upright(self, _image: UInt8Array, found: Detections) -> bool:
        """Tell by the highest score: turned faces have low ones."""
        return bool(found.scores.max(initial=0.0) >= self._family.upright_score)

    def _search(self, pyramid: Pyramid, level: Level, *, coarse: bool) -> Detections:
        """Return the faces that a level shows, in pixels of the image."""
        network = self._coarse_network if coarse else self._network
        canvases = plan_alone(level, _REACH, _STRIDES[-1])
        tiles = [_of_tile(each, self._family.read(network, paint(each, pyramid, _BACKGROUND))) for each in canvases]
        found = Detections.concatenate(tiles)
        found = found[suppress(found.boxes_xyxy, found.scores, self._family.most_overlap, iou)]
        factors = (np.array(pyramid.size_wh) / level.size_wh).astype(np.float32)
        boxes = _scaled(found.boxes_xyxy.reshape(-1, 2, 2), factors).reshape(-1, 4)
        return Detections(boxes, found.scores, _scaled(found.landmarks, factors))


def plan_levels(size_wh: SizeWH) -> tuple[Level, ...]:
    """Return the levels to search, coarsest first: ``size_wh`` is the last, number 0."""
    ratio = min(size_wh) / _COARSEST
    steps = int(np.ceil(np.log(ratio) / np.log(_MOST_STEP))) if min(size_wh) > _ALONE else 0
    factors = [ratio ** (-number / max(1, steps)) for number in range(steps + 1)]
    sizes = [(round(size_wh[0] * factor), round(size_wh[1] * factor)) for factor in factors]
    return tuple(Level(number, size) for number, size in reversed(list(enumerate(sizes))))


def _of_tile(canvas: Canvas, found: Detections) -> Detections:
    """Return the faces whose centres the canvas's tile answers for, in pixels of its level."""
    (tile,) = canvas.tiles
    origin = np.array(tile.origin_xy, np.float32)
    boxes = found.boxes_xyxy + np.tile(origin, 2)
    centres = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, np.array(tile.level.size_wh) - 1)
    own = ((centres >= tile.owns_xyxy[:2]) & (centres < tile.owns_xyxy[2:])).all(axis=1)
    return Detections(boxes, found.scores, found.landmarks + origin)[np.flatnonzero(own)]


def _scaled(points: FloatArray, factors: FloatArray) -> FloatArray:
    """Take points (..., 2) from one size to another: the centres of pixels, not their corners."""
    half = np.float32(0.5)
    scaled: FloatArray = (points + half) * factors - half
    return scaled


def _cells(canvas: UInt8Array, stride: int) -> FloatArray:
    """Return column and row of every cell, row by row: (N, 2)."""
    grid = np.stack(np.meshgrid(*(np.arange(size // stride) for size in canvas.shape[1::-1])), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)


# From 18 pixels on 98 % of LFW's faces score more, or all. At 0.8 twice as many masked faces would be missed; at 0.7
# two of 18 photos of groups show a face too many, here none: bench/sizes.py.
_YUNET_LEAST_SCORE = 0.73


def _read_yunet(infer: Infer, canvas: UInt8Array) -> Detections:
    outputs = infer(cv2.dnn.blobFromImage(canvas, swapRB=True))
    found = []
    for number, stride in enumerate(_STRIDES):
        faceness, objectness, box, points = (output[0] for output in outputs[4 * number : 4 * number + 4])
        score = np.sqrt(np.clip(faceness[:, 0], 0, 1) * np.clip(objectness[:, 0], 0, 1))
        chosen = np.flatnonzero(score >= _YUNET_LEAST_SCORE)
        cell, box = _cells(canvas, stride)[chosen], box[chosen]
        # The shift of the centre, and the logarithm of the size; in cells.
        centres, sizes = cell + box[:, :2], np.exp(box[:, 2:])
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1) * np.float32(stride)
        landmarks = (points[chosen].reshape(-1, 5, 2) + cell[:, None]) * np.float32(stride)
        found.append(Detections(boxes, score[chosen], landmarks))
    return Detections.concatenate(found)


YUNET = AnchorFree(
    read=_read_yunet,
    window=18,
    most_overlap=0.3,
    # 2 % of portraits of LFW have no face that scores so much; turned, none of them has one.
    upright_score=0.91,
    outputs=tuple(f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")),
)

_SCRFD_LEAST_SCORE = 0.5
_SCRFD_MEAN = 127.5
_SCRFD_DEVIATION = 128
_SCRFD_ANCHORS_PER_CELL = 2
# Numbers for each anchor: a score, the distances to the box's four sides, and those to five points.
_SCRFD_WIDTHS = (1, 4, 10)


def _read_scrfd(infer: Infer, canvas: UInt8Array) -> Detections:
    """Return every anchor that may be a face.

    The outputs are scores of all strides, then boxes of all strides, then points of all strides, with a batch's
    dimension or without one.

    Raises:
        ModelCorrupt: the outputs are not SCRFD's.
    """
    outputs = infer(cv2.dnn.blobFromImage(canvas, 1 / _SCRFD_DEVIATION, mean=(_SCRFD_MEAN,) * 3))
    found = []
    for number, stride in enumerate(_STRIDES):
        cell = _cells(canvas, stride).repeat(_SCRFD_ANCHORS_PER_CELL, axis=0)
        of_stride, sizes = outputs[number :: len(_STRIDES)], [len(cell) * width for width in _SCRFD_WIDTHS]
        if len(outputs) != len(_SCRFD_WIDTHS) * len(_STRIDES) or [output.size for output in of_stride] != sizes:
            shapes = [output.shape for output in outputs]
            raise ModelCorrupt(f"the detector's outputs are not those of an SCRFD with five points: {shapes}")
        score, sides, points = (output.reshape(len(cell), -1) for output in of_stride)
        chosen = np.flatnonzero(score[:, 0] >= _SCRFD_LEAST_SCORE)
        centre = cell[chosen]
        boxes = np.concatenate([centre - sides[chosen, :2], centre + sides[chosen, 2:]], axis=1) * np.float32(stride)
        landmarks = (points[chosen].reshape(-1, 5, 2) + centre[:, None]) * np.float32(stride)
        found.append(Detections(boxes, score[chosen, 0], landmarks))
    return Detections.concatenate(found)


# These weights may not be passed on, and so nothing was measured with them.
SCRFD = AnchorFree(read=_read_scrfd, window=30, most_overlap=0.4, upright_score=0.7)
