"""The networks of a dlib pack, ready to run."""

import io
from dataclasses import fields
from zipfile import BadZipFile

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.detection import Sightings
from visavis.models.dlib.detector import MmodDetector, search_size
from visavis.models.dlib.files import LandmarkForest, Network, read_landmark_forest, read_network
from visavis.models.dlib.landmarks import LandmarkRegressor
from visavis.models.installation import Installation
from visavis.models.packs import ModelFile, Part
from visavis.models.runtime import Graph, InferAll, compile_graph, compile_network
from visavis.types import SizeWH, UInt8Array

GRAPH_SUFFIX = ".onnx"
FOREST_SUFFIX = ".npz"


class DlibDetector:
    """Finds faces with dlib's CNN, and their landmarks with its forest; a ``Detector``."""

    def __init__(self, mmod: MmodDetector, landmarks: LandmarkRegressor) -> None:
        self._mmod = mmod
        self._landmarks = landmarks

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to; see ``visavis.models.dlib.detector.search_size``."""
        return search_size(size_wh, min_face)

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool) -> Sightings:
        """Return all faces, or the largest one alone."""
        found = (self._mmod.find_largest if largest else self._mmod.find_all)(image, search_size_wh)
        landmarks = self._landmarks([image] * len(found.scores), found.boxes_xyxy)
        return Sightings(found.boxes_xyxy, found.scores, landmarks)


def load_detector(detector: Part, landmarks: Part, installation: Installation) -> DlibDetector:
    """Convert what the cache does not hold yet, and compile the network.

    Raises:
        ModelMissing, ModelCorrupt: a weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses a network.
    """

    def graph(data: bytes) -> bytes:
        from visavis.models.dlib import graphs  # noqa: PLC0415  # brings ONNX, which only the conversion needs

        return graphs.detector_graph(_checked_network(detector.files[0], data))

    def forest(data: bytes) -> bytes:
        return _pack_forest(_checked_forest(landmarks.files[0], data))

    network = installation.converted(detector, graph, GRAPH_SUFFIX)
    trees = installation.converted(landmarks, forest, FOREST_SUFFIX)
    infer = compile_network(network, installation.spec)
    return DlibDetector(MmodDetector(infer), LandmarkRegressor(_unpack_forest(trees)))


def load_embedder(part: Part, side: int, installation: Installation) -> InferAll:
    """Convert the embedder, for chips of ``side`` pixels, and compile it; errors as in ``load_detector``."""

    def graph(data: bytes) -> bytes:
        from visavis.models.dlib import graphs  # noqa: PLC0415  # likewise

        return graphs.embedder_graph(_checked_network(part.files[0], data), (side, side))

    return compile_graph(Graph(installation.converted(part, graph, GRAPH_SUFFIX)), installation.spec)


def _checked_network(file: ModelFile, data: bytes) -> Network:
    """Return the network, whose layers and parameters must be as many as the catalogue says."""
    network = read_network(data)
    found = (len(network.layers), network.parameters)
    if found != (file.layers, file.parameters):
        expected = f"{file.layers} layers and {file.parameters} parameters"
        raise ModelCorrupt(f"{file.name}: {found[0]} layers and {found[1]} parameters instead of {expected}")
    return network


def _checked_forest(file: ModelFile, data: bytes) -> LandmarkForest:
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
