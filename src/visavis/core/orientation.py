"""Orientation of images: turning them by quarters, and which way up the face of a chip is."""

import cv2
import numpy as np

from visavis.types import FloatArray, SizeWH, UInt8Array

# Where an upright face, aligned as dlib aligns it, has edges: weights of the vertical ones, and of the horizontal ones,
# in 8 rows from top to bottom, and 4 columns from the border to the middle; both halves are alike.
# Logistic regression on the chips of LFW's first fold, as they are and as dlib cuts them from turned photos;
# bench/invalid.py --fit-edges, which turns the edges instead, gives the same within 0.3.
_EDGES = np.array(
    [
        [
            [0.4, 0.3, 0.0, -0.3],
            [0.4, 0.3, -0.2, 0.1],
            [0.3, -0.2, -0.7, 1.2],
            [0.1, 0.0, -0.9, 0.2],
            [-0.1, -0.1, -0.3, -0.2],
            [-0.1, -0.2, -0.2, -0.5],
            [0.2, 0.3, 0.5, 0.2],
            [0.2, 0.3, 0.6, 0.5],
        ],
        [
            [-0.5, -0.4, -0.3, -0.3],
            [-0.4, -0.3, 1.1, -0.2],
            [-0.4, 0.2, 1.2, -0.2],
            [-0.1, 0.0, 0.1, -0.9],
            [0.1, -0.1, -0.5, 0.8],
            [0.0, -0.5, -0.6, 1.3],
            [-0.1, -0.3, -0.9, 0.1],
            [-0.1, -0.2, 0.1, 0.4],
        ],
    ]
)
_CELLS = 8
# By how much more: 1 % of LFW's portraits have less, and hardly one that lies turned has so much.
_SURE = 2.5
_SMOOTHING = 1 / 64  # of a chip's side
_FLAT = 0.001  # grey levels a pixel: an image without edges has no way up


def turned(image: UInt8Array, quarters: int) -> UInt8Array:
    """Return an image (H, W, 3) turned clockwise by so many quarter turns."""
    return np.ascontiguousarray(np.rot90(image, -quarters))


def turned_back(points: FloatArray, quarters: int, size_wh: SizeWH) -> FloatArray:
    """Take points (N, 2) of an image that was turned to where they lie in it as it was, of that size."""
    right, bottom = size_wh[0] - 1, size_wh[1] - 1
    x, y = points[:, 0], points[:, 1]
    columns = ((x, y), (y, bottom - x), (right - x, bottom - y), (right - y, x))[quarters]
    back: FloatArray = np.column_stack(columns).astype(np.float32)
    return back


def edges(chip: UInt8Array) -> FloatArray:
    """Return how strong the vertical and the horizontal edges of a chip are, in cells: (2, 8, 8) of mean 1."""
    luma = cv2.cvtColor(chip.astype(np.float32), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(luma, (0, 0), _SMOOTHING * len(chip))
    slopes = (np.abs(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx)) for dx in (1, 0))
    cells = np.stack([cv2.resize(slope, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA) for slope in slopes])
    strength: FloatArray = cells / (cells.mean() + _FLAT)
    return strength


def folded(found: FloatArray) -> FloatArray:
    """Return the left half of edges, each the mean with its mirror image: (2, 8, 4)."""
    half: FloatArray = (found + found[:, :, ::-1])[:, :, : _CELLS // 2] / np.float32(2)
    return half


def quarter_turned(found: FloatArray, quarters: int) -> FloatArray:
    """Return the edges of a chip that is turned: vertical ones become horizontal, and the other way round."""
    lying: FloatArray = np.rot90(found, quarters, (1, 2))
    return lying[::-1] if quarters % 2 else lying


def is_upright(chip: UInt8Array) -> bool:
    """Tell whether a chip (S, S, 3), as dlib aligns faces, looks surely more like a face as it is than turned."""
    found = edges(chip)
    upright, *lying = (float((folded(quarter_turned(found, quarters)) * _EDGES).sum()) for quarters in range(4))
    return upright >= max(lying) + _SURE
