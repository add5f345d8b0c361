"""YuNet: a small detector with five landmarks."""

from dataclasses import replace

import cv2
import numpy as np

from visavis.models.anchor_free.search import STRIDES, AnchorFreeDetector, cells
from visavis.models.detection import Sightings
from visavis.models.installation import Installation
from visavis.models.packs import Part
from visavis.models.runtime import Graph, InferAll, compile_graph
from visavis.types import FloatArray, UInt8Array

# At 30 pixels none of LFW's faces scores less (at 24 pixels 1 % do), at 0.9 a tenth would be missed; of the test photos
# of other things, a dog's face alone scores more.
_LEAST_SCORE = 0.8
_WINDOW = 30
_MOST_OVERLAP = 0.3

_KINDS = ("cls", "obj", "bbox", "kps")
OUTPUTS = tuple(f"{kind}_{stride}" for stride in STRIDES for kind in _KINDS)
"""Of the network, in the order in which the head wants them."""


class YuNetHead:
    """Reads YuNet's outputs; a ``Head``.

    Source: OpenCV's ``FaceDetectorYN``; W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023.
    """

    def __init__(self, infer: InferAll) -> None:
        """Take a network whose outputs are ``OUTPUTS``, in this order."""
        self._infer = infer

    def __call__(self, canvas: UInt8Array) -> Sightings:
        """Return every cell that may be a face."""
        outputs = self._infer(cv2.dnn.blobFromImage(canvas, swapRB=True))
        boxes, scores, landmarks = [], [], []
        for number, stride in enumerate(STRIDES):
            faceness, objectness, box, points = (output[0] for output in outputs[4 * number : 4 * number + 4])
            score = np.sqrt(np.clip(faceness[:, 0], 0, 1) * np.clip(objectness[:, 0], 0, 1))
            chosen = np.flatnonzero(score >= _LEAST_SCORE)
            cell = cells(canvas.shape[1::-1], stride)[chosen]
            boxes.append(_boxes(cell, box[chosen]) * np.float32(stride))
            scores.append(score[chosen])
            landmarks.append((points[chosen].reshape(-1, 5, 2) + cell[:, None]) * np.float32(stride))
        return Sightings(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))


def load_detector(part: Part, installation: Installation) -> AnchorFreeDetector:
    """Compile the network.

    Raises:
        ModelMissing, ModelCorrupt: its file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses it.
    """
    graph = Graph(installation.read(part.files[0]), shape=(1, 3, None, None), outputs=OUTPUTS)
    # In bfloat16 it is hardly faster, and its points are up to two pixels off.
    spec = replace(installation.spec, precision="f32")
    return AnchorFreeDetector(lambda: YuNetHead(compile_graph(graph, spec)), window=_WINDOW, most_overlap=_MOST_OVERLAP)


def _boxes(cell: FloatArray, output: FloatArray) -> FloatArray:
    """Return boxes (N, 4) in cells: the output holds the shift of the centre, and the logarithm of the size."""
    centres, sizes = cell + output[:, :2], np.exp(output[:, 2:])
    boxes: FloatArray = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    return boxes
