"""From aligned chips to embeddings."""

from collections.abc import Sequence

import numpy as np

from visavis.models.runtime import Infer
from visavis.types import FloatArray, UInt8Array

# Runtimes prepare themselves anew for every batch size: full batches, and a last one that is filled up to one of these.
_BATCH_SIZES = (1, 2, 4, 8, 16)


class ChipEmbedder:
    """Embed chips in batches. Thread-safe."""

    def __init__(self, infer: Infer, dimension: int) -> None:
        self._infer = infer
        self._dimension = dimension

    def __call__(self, chips: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings (N, D) of chips (S, S, 3) uint8 RGB; (0, D) for none."""
        embeddings = np.empty((len(chips), self._dimension), np.float32)
        for start in range(0, len(chips), _BATCH_SIZES[-1]):
            batch = chips[start : start + _BATCH_SIZES[-1]]
            size = next(size for size in _BATCH_SIZES if size >= len(batch))
            filled = np.stack([*batch, *[batch[0]] * (size - len(batch))])
            embeddings[start : start + len(batch)] = self._infer(filled)[: len(batch)]
        return embeddings
