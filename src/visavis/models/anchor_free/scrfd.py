"""SCRFD: InsightFace's detectors with five landmarks."""

from dataclasses import replace

import cv2
import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.anchor_free.search import STRIDES, AnchorFreeDetector, cells
from visavis.models.detection import Sightings
from visavis.models.installation import Installation
from visavis.models.packs import Part
from visavis.models.runtime import Graph, InferAll, compile_graph
from visavis.types import FloatArray, UInt8Array

_LEAST_SCORE = 0.5
_MOST_OVERLAP = 0.4
# YuNet's, which was measured; these weights may not be passed on, and so were not.
_WINDOW = 30

_MEAN = 127.5
_DEVIATION = 128
_ANCHORS_PER_CELL = 2
# Numbers for each anchor: a score, the distances to the box's four sides, and those to five points.
_WIDTHS = (1, 4, 10)


class ScrfdHead:
    """Reads SCRFD's outputs; a ``Head``.

    They are scores of all strides, then boxes of all strides, then points of all strides, with a batch's dimension or
    without one.

    Source: J. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021; InsightFace's
    ``model_zoo/scrfd.py``.
    """

    def __init__(self, infer: InferAll) -> None:
        self._infer = infer

    def __call__(self, canvas: UInt8Array) -> Sightings:
        """Return every anchor that may be a face.

        Raises:
            ModelCorrupt: the outputs are not SCRFD's.
        """
        outputs = self._infer(cv2.dnn.blobFromImage(canvas, 1 / _DEVIATION, mean=(_MEAN, _MEAN, _MEAN)))
        boxes, scores, landmarks = [], [], []
        for number, stride in enumerate(STRIDES):
            cell = cells(canvas.shape[1::-1], stride).repeat(_ANCHORS_PER_CELL, axis=0)
            score, sides, points = _of_stride(outputs, number, len(cell))
            chosen = np.flatnonzero(score[:, 0] >= _LEAST_SCORE)
            centre = cell[chosen]
            box = np.concatenate([centre - sides[chosen, :2], centre + sides[chosen, 2:]], axis=1)
            boxes.append(box * np.float32(stride))
            scores.append(score[chosen, 0])
            landmarks.append((points[chosen].reshape(-1, 5, 2) + centre[:, None]) * np.float32(stride))
        return Sightings(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))


def load_detector(part: Part, installation: Installation) -> AnchorFreeDetector:
    """Compile the network.

    Raises:
        ModelMissing, ModelCorrupt: its file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses it.
    """
    graph = Graph(installation.read(part.files[0]), shape=(1, 3, None, None))
    # As for YuNet: bfloat16 has 8 bits for where a point is.
    spec = replace(installation.spec, precision="f32")
    return AnchorFreeDetector(lambda: ScrfdHead(compile_graph(graph, spec)), window=_WINDOW, most_overlap=_MOST_OVERLAP)


def _of_stride(outputs: tuple[FloatArray, ...], number: int, anchors: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores (N, 1), distances to sides (N, 4) and to points (N, 10) of the anchors of one stride."""
    found = [output.shape for output in outputs]
    of_stride = outputs[number :: len(STRIDES)]
    sizes = [anchors * width for width in _WIDTHS]
    if len(outputs) != len(_WIDTHS) * len(STRIDES) or [output.size for output in of_stride] != sizes:
        raise ModelCorrupt(f"the detector's outputs are not those of an SCRFD with five points: {found}")
    score, sides, points = (output.reshape(anchors, -1) for output in of_stride)
    return score, sides, points
