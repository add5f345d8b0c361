"""The networks of a dlib pack, ready to run."""

import io
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.catalogue import Pack, WeightsFile
from visavis.models.detectors import MmodDetector
from visavis.models.dlib_files import LandmarkForest, Network, read_landmark_forest, read_network
from visavis.models.embedders import ChipEmbedder
from visavis.models.landmarks import LandmarkRegressor
from visavis.models.runtime import RuntimeSpec, compile_network
from visavis.models.weights import converted

GRAPH_SUFFIX = ".onnx"
FOREST_SUFFIX = ".npz"


@dataclass(frozen=True, slots=True)
class Models:
    """What turns an image into embeddings: three callables, each thread-safe."""

    detector: MmodDetector
    landmarks: LandmarkRegressor
    embedder: ChipEmbedder


def load_models(pack: Pack, spec: RuntimeSpec, cache_dir: Path) -> Models:
    """Convert what the cache does not hold yet, and compile the networks.

    Raises:
        ModelMissing, ModelCorrupt: a weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses a network.
    """
    side = pack.template.side

    def detector_graph(data: bytes) -> bytes:
        from visavis.models import dlib_graphs  # noqa: PLC0415  # brings ONNX, which only the conversion needs

        return dlib_graphs.detector_graph(_checked_network(pack.detector, data))

    def embedder_graph(data: bytes) -> bytes:
        from visavis.models import dlib_graphs  # noqa: PLC0415  # likewise

        return dlib_graphs.embedder_graph(_checked_network(pack.embedder, data), (side, side))

    def forest(data: bytes) -> bytes:
        return _pack_forest(_checked_forest(pack.landmarks, data))

    detector = converted(pack.detector, detector_graph, GRAPH_SUFFIX, cache_dir)
    landmarks = converted(pack.landmarks, forest, FOREST_SUFFIX, cache_dir)
    embedder = converted(pack.embedder, embedder_graph, GRAPH_SUFFIX, cache_dir)
    return Models(
        detector=MmodDetector(compile_network(detector, spec)),
        landmarks=LandmarkRegressor(_unpack_forest(landmarks)),
        embedder=ChipEmbedder(compile_network(embedder, spec), pack.dimension),
    )


def _checked_network(file: WeightsFile, data: bytes) -> Network:
    """Return the network, whose layers and parameters must be as many as the catalogue says."""
    network = read_network(data)
    found = (len(network.layers), network.parameters)
    if found != (file.layers, file.parameters):
        expected = f"{file.layers} layers and {file.parameters} parameters"
        raise ModelCorrupt(f"{file.name}: {found[0]} layers and {found[1]} parameters instead of {expected}")
    return network


def _checked_forest(file: WeightsFile, data: bytes) -> LandmarkForest:
    forest = read_landmark_forest(data)
    parameters = sum(getattr(forest, field.name).size for field in fields(forest))
    if parameters != file.parameters:
        raise ModelCorrupt(f"{file.name}: {parameters} parameters instead of {file.parameters}")
    return forest


def _pack_forest(forest: LandmarkForest) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(forest, field.name) for field in fields(forest)})
    return buffer.getvalue()


def _unpack_forest(data: bytes) -> LandmarkForest:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return LandmarkForest(**{field.name: arrays[field.name] for field in fields(LandmarkForest)})
    except (BadZipFile, KeyError, ValueError) as error:
        raise ModelCorrupt(f"the cached landmark forest cannot be read: {error}") from error
