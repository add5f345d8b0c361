"""Embedder: aligned chips in, embeddings out, in batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt, RuntimeFailed
from visavis.models.packs import InputContract
from visavis.models.runtime import Infer
from visavis.types import FloatArray, UInt8Array

# Runtimes prepare themselves anew for every batch size: full batches, and a last one that is filled up to one of these.
_BATCH_SIZES = (1, 2, 4, 8, 16)
# Of two networks' answers to one chip: more than bfloat16 makes of it, and far less than another chip does.
_LARGEST_DIFFERENCE = 0.1


class ChipEmbedder:
    """Embed chips in batches. Thread-safe."""

    def __init__(self, infer: Infer, contract: InputContract, dimension: int, *, together: bool = True) -> None:
        """Wrap a network, with whether it takes several chips ``together``; see ``takes_batches``."""
        self._infer = infer
        self._contract = contract
        self._dimension = dimension
        self._sizes = _BATCH_SIZES if together else (1,)

    def __call__(self, chips: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings (N, D) of chips (S, S, 3) uint8 RGB; (0, D) for none."""
        embeddings = np.empty((len(chips), self._dimension), np.float32)
        for start in range(0, len(chips), self._sizes[-1]):
            batch = chips[start : start + self._sizes[-1]]
            size = next(size for size in self._sizes if size >= len(batch))
            filled = np.stack([*batch, *[batch[0]] * (size - len(batch))])
            outputs = self._infer(to_input(filled, self._contract))[0].reshape(size, self._dimension)
            embeddings[start : start + len(batch)] = outputs[: len(batch)]
        return embeddings


def takes_batches(infer: Infer, contract: InputContract, side: int, dimension: int) -> bool:
    """Tell whether a network embeds two chips, of ``side`` pixels, as it does each alone.

    Those that were exported for one image may hold that number in their midst: they then refuse two, or mix them.

    Raises:
        ModelCorrupt: its answer to one chip is no embedding of that dimension.
        RuntimeFailed: it does not take one chip.
    """
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    slope = np.broadcast_to(np.linspace(0, 255, side, dtype=np.uint8)[:, None], (side, side, 3))
    chips = np.stack([noise, slope])
    alone = np.stack([infer(to_input(chip[None], contract))[0].ravel() for chip in chips])
    if alone.shape[1] != dimension:
        raise ModelCorrupt(f"the network's answer to a face is {alone.shape[1]} numbers, not {dimension}")
    try:
        both = infer(to_input(chips, contract))[0]
    except RuntimeFailed:
        return False
    if both.size != alone.size:
        return False
    differences = np.linalg.norm(both.reshape(alone.shape) - alone, axis=1)
    return bool((differences <= _LARGEST_DIFFERENCE * np.linalg.norm(alone, axis=1)).all())


def to_input(chips: UInt8Array, contract: InputContract) -> NDArray[Any]:
    """Return chips (N, S, S, 3) uint8 RGB as a network wants them."""
    ordered = chips if contract.colours == "rgb" else chips[..., ::-1]
    if contract.layout == "nchw":
        ordered = ordered.transpose(0, 3, 1, 2)
    if contract.dtype == "uint8":
        return ordered
    values: FloatArray = ordered.astype(np.float32)
    if contract.whiten:
        axes, least = (1, 2, 3), np.float32(1 / np.sqrt(values[0].size))
        deviation = np.maximum(values.std(axes, keepdims=True), least)
        white: FloatArray = (values - values.mean(axes, keepdims=True)) / deviation
        return white
    channels = (1, 3, 1, 1) if contract.layout == "nchw" else (1, 1, 1, 3)
    centred: FloatArray = values - np.array(contract.mean, np.float32).reshape(channels)
    scaled: FloatArray = centred * np.float32(contract.scale)
    return scaled
