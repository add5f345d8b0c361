"""Ensemble of regression trees for landmarks: dlib's file of it, and its form in the cache.

Source: the serialisation of dlib 19 and 20 (``dlib/image_processing/shape_predictor.h``), as observed in the file.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt
from visavis.models.dlib.files import DlibStream
from visavis.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkForest:
    """An ensemble of regression trees: C cascades of T trees of depth 4, over F feature points, for P landmarks.

    Attributes:
        initial: (P, 2) mean shape in box coordinates: (0, 0) top-left, (1, 1) bottom-right.
        split_a, split_b: (C, T, 15) which two features a split compares, in breadth-first order.
        threshold: (C, T, 15) float32: go to child 2i + 1 where a - b exceeds it, else to 2i + 2.
        leaves: (C, T, 16, P, 2) what each leaf adds to the shape.
        anchor: (C, F) the landmark that a feature point hangs on.
        delta: (C, F, 2) its offset from that landmark, in box coordinates of the mean shape.
    """

    initial: FloatArray
    split_a: NDArray[np.int16]
    split_b: NDArray[np.int16]
    threshold: FloatArray
    leaves: FloatArray
    anchor: NDArray[np.int16]
    delta: FloatArray

    @property
    def parameters(self) -> int:
        """Count the learned numbers."""
        return sum(getattr(self, field.name).size for field in fields(self))

    def to_bytes(self) -> bytes:
        """Return the arrays as NumPy keeps them."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LandmarkForest":
        """Read what ``to_bytes`` writes.

        Raises:
            ModelCorrupt: it is something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (BadZipFile, KeyError, ValueError) as error:
            raise ModelCorrupt(f"the cached landmark forest cannot be read: {error}") from error


def read_landmark_forest(data: bytes) -> LandmarkForest:
    """Read a serialised ``shape_predictor`` whose trees have depth 4.

    Raises:
        ModelCorrupt: the bytes are not such a regressor, or not all of it.
    """
    stream = DlibStream(data)
    stream.expect(1, "the version of a shape predictor")
    initial = stream.matrix()
    cascades = stream.count()
    if cascades == 0 or initial.size % 2:
        raise stream.fail(f"a shape predictor of {cascades} cascades and {initial.size} coordinates")
    forests = [_read_cascade(stream, initial.size) for _ in range(cascades)]
    anchors = _rectangular(stream, [stream.integers(stream.count()) for _ in range(stream.count())])
    deltas = _rectangular(stream, [stream.reals(2 * stream.count()) for _ in range(stream.count())])
    stream.finish()
    points = initial.size // 2
    split_a, split_b, threshold, leaves = (_rectangular(stream, [f[i] for f in forests]) for i in range(4))
    features = anchors.shape[1] if anchors.shape[1:] else 0
    if not (len(anchors) == len(deltas) == cascades and deltas.shape[-1] == 2 * features > 0):
        raise stream.fail("the feature points do not fit the cascades")
    if min(split_a.min(), split_b.min()) < 0 or max(split_a.max(), split_b.max()) >= features:
        raise stream.fail("a split compares a feature that there is not")
    if anchors.min() < 0 or anchors.max() >= points:
        raise stream.fail("a feature hangs on a landmark that there is not")
    return LandmarkForest(
        initial=initial.reshape(points, 2),
        split_a=split_a.astype(np.int16),
        split_b=split_b.astype(np.int16),
        threshold=threshold.astype(np.float32),
        leaves=leaves.astype(np.float32).reshape(*leaves.shape[:3], points, 2),
        anchor=anchors.astype(np.int16),
        delta=deltas.astype(np.float32).reshape(cascades, features, 2),
    )


def _read_cascade(stream: DlibStream, coordinates: int) -> tuple[NDArray[np.float64], ...]:
    """Read one cascade's trees: (T, 15) feature a, feature b and threshold; (T, 16, coordinates) leaves."""
    splits, leaves = [], []
    for _ in range(stream.count()):
        stream.expect(15, "the number of splits of a tree")
        splits.append([(stream.integer(), stream.integer(), stream.real()) for _ in range(15)])
        stream.expect(16, "the number of leaves of a tree")
        leaves.append([stream.matrix().reshape(-1) for _ in range(16)])
    table = np.array(splits, np.float64)
    values = _rectangular(stream, leaves)
    if not len(table) or values.shape[-1] != coordinates:
        raise stream.fail("a cascade without trees, or whose leaves do not fit the shape")
    return table[..., 0], table[..., 1], table[..., 2], values


def _rectangular(stream: DlibStream, rows: Sequence[object]) -> NDArray[np.float64]:
    try:
        return np.array(rows, np.float64)
    except ValueError:
        raise stream.fail("lists of unequal length where a table was expected") from None
