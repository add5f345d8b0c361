"""Orientation of an image: by how many quarter turns it must be turned for the faces in it to stand upright."""

import numpy as np

from visavis.types import FloatArray, SizeWH, UInt8Array


def turned(image: UInt8Array, quarters: int) -> UInt8Array:
    """Return an image (H, W, 3) turned clockwise by so many quarter turns."""
    return np.ascontiguousarray(np.rot90(image, -quarters))


def turned_back(points: FloatArray, quarters: int, size_wh: SizeWH) -> FloatArray:
    """Take points (N, 2) of an image that was turned back to where they lie in it as it was, of that size."""
    right, bottom = size_wh[0] - 1, size_wh[1] - 1
    x, y = points[:, 0], points[:, 1]
    columns = ((x, y), (y, bottom - x), (right - x, bottom - y), (right - y, x))[quarters]
    back: FloatArray = np.column_stack(columns).astype(np.float32)
    return back
