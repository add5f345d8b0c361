"""Weights files of Keras, read in a process of its own: HDF5's library trusts them too much."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visavis.errors import ModelCorrupt, RuntimeFailed, RuntimeMissing
from visavis.types import FloatArray

# The process sees the modules that this one sees.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from visavis.models.keras.reading import main; main()"
_PYTHON_ERROR = 1
# A file of a hundred megabytes takes a second.
_TIME_LIMIT_S = 120.0

CORRUPT = 65
"""The status with which the process ends where the file is the cause, in the words of ``sysexits.h``: a data error."""


@dataclass(frozen=True, slots=True, eq=False)
class KerasLayer:
    """A layer as its file names it, and its weights by their names, in the order in which Keras wrote them."""

    name: str
    weights: Mapping[str, FloatArray]


def read_keras(data: bytes) -> tuple[KerasLayer, ...]:
    """Return the layers of a file, in its order; those without weights too.

    It is what ``model.save_weights("x.h5")`` of Keras 1 and 2 writes, or a whole model of theirs, or Keras 3's older
    form of that.

    Raises:
        ModelCorrupt: it is no such file, or a damaged one.
        RuntimeMissing: h5py is not installed.
        RuntimeFailed: no process can be started to read it.
    """
    if importlib.util.find_spec("h5py") is None:
        raise RuntimeMissing("h5py, which reads the weights of Keras, is not installed: pip install visavis[keras]")
    if not sys.executable or getattr(sys, "frozen", False):  # a frozen program would start itself again
        raise RuntimeFailed("no process can be started to read the weights: this program does not know its Python")
    try:
        program = [sys.executable, "-c", _PROGRAM, *sys.path]  # our own
        child = subprocess.run(program, input=data, capture_output=True, timeout=_TIME_LIMIT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise ModelCorrupt(f"an HDF5 file that cannot be read in {_TIME_LIMIT_S:g} seconds: a damaged one") from error
    except OSError as error:
        raise RuntimeFailed(f"no process can be started to read the weights: {error}") from error
    said = child.stderr.decode(errors="replace").strip()
    if child.returncode == _PYTHON_ERROR:
        raise RuntimeFailed(f"the process that reads the weights failed: {said[-500:]}")
    if child.returncode:
        raise ModelCorrupt(said if child.returncode == CORRUPT else "an HDF5 file that crashes its reader")
    if not child.stdout:
        raise RuntimeFailed(f"no process can be started to read the weights: {sys.executable} is no Python")
    try:
        return _unpacked(child.stdout)
    except ValueError as error:
        raise ModelCorrupt(f"an HDF5 file that confuses its reader: {error}") from error


def _unpacked(packed: bytes) -> tuple[KerasLayer, ...]:
    """Return the layers from the shapes of their weights as a line of JSON, and the numbers one after another."""
    header, _, numbers = packed.partition(b"\n")
    values, layers, at = np.frombuffer(numbers, np.float32), [], 0
    for name, shapes in json.loads(header).items():
        weights = {}
        for key, shape in shapes.items():
            size = int(np.prod(shape, dtype=np.int64))
            weights[key] = values[at : at + size].reshape(shape)
            at += size
        layers.append(KerasLayer(name, weights))
    return tuple(layers)
