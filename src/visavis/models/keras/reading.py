"""Reader of the HDF5 files in which Keras keeps weights; ``visavis.models.keras.weights`` runs it in another process.

An HDF5 file can name other files, describe data that nobody stored, and call for filters; of all that, Keras writes
nothing and this reads nothing: plain arrays of floating-point numbers that are in the file, by plain links. A damaged
one can still keep HDF5's own library busy for ever, have it allocate gigabytes, or crash it: hence the process.
"""

import io
import json
import math
import sys
from itertools import count, takewhile
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.keras.weights import CORRUPT
from visavis.types import FloatArray

# Far more than any network has.
_MOST_NAMES = 10_000
_LONGEST_NAME = 1_000
_MOST_DIMENSIONS = 5
# Less than what describes an array in the file, be it empty.
_ARRAY_HEADER = 64
_FLOAT_BYTES = (2, 4, 8)
# What a process may allocate besides, for each byte of the file and in any case.
_BYTES_PER_BYTE = 4
_BYTES_AT_LEAST = 2**29

Hdf5: TypeAlias = Any
"""What is of h5py: it has no types."""


def main() -> None:
    """Read a file from the standard input, and write the shapes of its weights, and then them, to the standard output.

    Where the file is of no use, say why on the standard error output, and end with the status ``CORRUPT``.
    """
    data = sys.stdin.buffer.read()
    _limit_memory(_BYTES_AT_LEAST + _BYTES_PER_BYTE * len(data))
    try:
        layers = layers_of(data)
    except ModelCorrupt as error:
        sys.stderr.write(str(error))
        sys.exit(CORRUPT)
    header = {name: {key: array.shape for key, array in weights.items()} for name, weights in layers.items()}
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    for weights in layers.values():
        for array in weights.values():
            sys.stdout.buffer.write(array.tobytes())


def layers_of(data: bytes) -> dict[str, dict[str, FloatArray]]:
    """Return the weights of each layer, in the file's order.

    Raises:
        ModelCorrupt: it is no such file, or a damaged one, or holds what Keras never writes.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _Reader(data).layers(file)
    except ModelCorrupt:
        raise
    except Exception as error:  # what h5py raises has no common base but this
        raise ModelCorrupt(f"an HDF5 file that cannot be read: {error}") from error


def _limit_memory(more: int) -> None:
    """Allow this process to allocate so much more than it has, where the platform can tell and limit that."""
    try:
        import resource  # noqa: PLC0415  # there is none on Windows

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Reader:
    """Reads one file. Not more numbers are read than it has bytes for, whatever it describes."""

    def __init__(self, data: bytes) -> None:
        self._unread = len(data)

    def layers(self, file: Hdf5) -> dict[str, dict[str, FloatArray]]:
        root = file if self._has_names(file, "layer_names") else self._member(file, "model_weights")
        groups = ((name, self._member(root, name)) for name in self._names(root, "layer_names"))
        return {name: {w: self._array(group, w) for w in self._names(group, "weight_names")} for name, group in groups}

    def _member(self, group: Hdf5, path: str) -> Hdf5:
        """Return what a path of plain links leads to; links of other kinds may lead out of the file."""
        for name in path.split("/"):
            link = group.get(name, getlink=True) if name.strip(".") else None
            if link is None:
                raise ModelCorrupt(f"not a file of Keras' weights, or only a part of one: {path!r} is missing")
            if type(link) is not h5py.HardLink:
                raise ModelCorrupt(f"{path!r} is a link, which Keras never writes")
            group = group[name]
        return group

    def _array(self, group: Hdf5, path: str) -> FloatArray:
        dataset = self._member(group, path)
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise ModelCorrupt(f"{path!r} is no array")
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in _FLOAT_BYTES:
            raise ModelCorrupt(f"{path!r} holds {dataset.dtype} instead of floating-point numbers")
        self._check_storage(dataset, path)
        size = math.prod(dataset.shape) * dataset.dtype.itemsize + _ARRAY_HEADER
        if size > self._unread or len(dataset.shape) > _MOST_DIMENSIONS:
            raise ModelCorrupt(f"{path!r} of shape {dataset.shape} is more than the file can hold")
        self._unread -= size
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            array: FloatArray = np.asarray(dataset[()], np.float32)
        if not np.isfinite(array).all():
            raise ModelCorrupt(f"{path!r} holds numbers that are not finite")
        return array

    def _check_storage(self, dataset: Hdf5, path: str) -> None:
        """Insist on numbers that are in this file, in one piece, and as they are."""
        storage, kinds = dataset.id.get_create_plist(), h5py.h5d
        plain = storage.get_layout() in (kinds.COMPACT, kinds.CONTIGUOUS)
        if not plain or storage.get_external_count() or storage.get_nfilters():
            raise ModelCorrupt(f"{path!r} is stored in a way that Keras never writes: chunked, filtered or elsewhere")

    def _has_names(self, node: Hdf5, key: str) -> bool:
        return key in node.attrs or f"{key}0" in node.attrs

    def _names(self, node: Hdf5, key: str) -> list[str]:
        """Return a list of names; where it is long, Keras writes it in several numbered attributes."""
        if not self._has_names(node, key):
            raise ModelCorrupt(f"not a file of Keras' weights, or one of Keras 3's newer form: it has no {key}")
        numbered = (f"{key}{number}" for number in count())
        names: list[str] = []
        for one in [key] if key in node.attrs else takewhile(lambda one: one in node.attrs, numbered):
            names += self._names_in(node, one)
            if len(set(names)) != len(names) or len(names) > _MOST_NAMES:
                raise ModelCorrupt(f"{key} names something twice, or too much")
        return names

    def _names_in(self, node: Hdf5, key: str) -> list[str]:
        attribute = node.attrs.get_id(key)
        if attribute.shape == (0,):
            return []
        text = h5py.check_string_dtype(attribute.dtype)
        if len(attribute.shape) != 1 or text is None:
            raise ModelCorrupt(f"{key} is no list of names")
        (length,) = attribute.shape
        if length > _MOST_NAMES or (text.length or 0) > _LONGEST_NAME:
            raise ModelCorrupt(f"{key} is longer than Keras ever writes it")
        names = [name if isinstance(name, str) else bytes(name).decode() for name in node.attrs[key]]
        if max(map(len, names)) > _LONGEST_NAME:
            raise ModelCorrupt(f"{key} has a name longer than Keras ever writes")
        return names
