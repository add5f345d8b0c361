"""Checks of arrays that are given as embeddings."""

import numpy as np

from visavis.errors import InvalidEmbedding
from visavis.types import FloatArray

SMALLEST = 1e-12  # of the largest number of an embedding; a float32 still holds its square
LARGEST = 1e6  # far beyond any model's, and small enough to be squared


def check_embedding(embedding: object, dimension: int, of: str = "this gallery") -> FloatArray:
    """Return an embedding (D,) as float32; messages say whose it should be.

    Raises:
        InvalidEmbedding: it has another dimension, or holds what is no finite number, or nothing but zeros.
    """
    vector = _numbers(embedding, f"an embedding is {dimension} numbers")
    if vector.shape != (dimension,):
        raise InvalidEmbedding(f"an embedding of {of} has the shape ({dimension},), not {vector.shape}")
    if not np.isfinite(vector).all():
        raise InvalidEmbedding("the numbers of an embedding are finite")
    if not SMALLEST <= (largest := np.abs(vector).max()) <= LARGEST:
        limits = f"from {SMALLEST:g} to {LARGEST:g}"
        raise InvalidEmbedding(f"the largest number of an embedding is {limits} in size, not {largest:g}")
    return vector


def check_probes(probes: object, dimension: int) -> FloatArray:
    """Return probes (P, D) as float32; InvalidEmbedding where one is none, as for embeddings."""
    array = _numbers(probes, f"probes are rows of {dimension} numbers")
    if array.shape[1:] != (dimension,):
        raise InvalidEmbedding(f"probes for this gallery have the shape (P, {dimension}), not {array.shape}")
    for probe in array:
        check_embedding(probe, dimension)
    return array


def _numbers(values: object, wanted: str) -> FloatArray:
    """Return an array of float32; what is too large for it becomes infinite.

    Raises:
        InvalidEmbedding: texts, truths and the like are not what is wanted.
    """
    try:
        array = np.asarray(values)
    except (OverflowError, TypeError, ValueError):
        raise InvalidEmbedding(wanted) from None
    if array.dtype.kind not in "fiu":
        given = array.dtype if isinstance(values, np.ndarray | list | tuple) else type(values).__name__
        raise InvalidEmbedding(f"{wanted}, not {given}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)
