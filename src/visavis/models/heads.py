"""Heads: how the files of a pack's parts become something that runs. A new family of networks is a row or two here."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import Detections
from visavis.errors import InvalidOption, ModelCorrupt, ModelMissing, RuntimeFailed
from visavis.models import catalogue
from visavis.models.anchor_free import SCRFD, YUNET, AnchorFree, AnchorFreeDetector
from visavis.models.attributes import AGE_GENDER, HEAD_POSE, MINIFASNET, ROLE_OF_ATTRIBUTE, AttributeNetwork, Measure
from visavis.models.dlib.detector import DlibDetector, LandmarkForest, LandmarkRegressor, read_landmark_forest
from visavis.models.dlib.networks import detector_graph, embedder_graph, read_network
from visavis.models.installation import Installation, check_installed, packs_with
from visavis.models.keras.networks import inception_resnet_v1, keras_graph, vggface2_resnet50
from visavis.models.onnx_graphs import Network, Weights, dequantized
from visavis.models.packs import Head, InputContract, ModelFile, Pack, Part, Role
from visavis.models.runtime import Graph, Infer, compile_graph
from visavis.models.torch.minifasnet import liveness_graph
from visavis.options import Attribute
from visavis.types import Attributes, FloatArray, SizeWH, UInt8Array

# Runtimes prepare themselves anew for every batch size: full batches, and a last one that is filled up to one of these.
_BATCH_SIZES = (1, 2, 4, 8, 16)
# Of two networks' answers to one chip: more than bfloat16 makes of it, and far less than another chip does.
_LARGEST_DIFFERENCE = 0.1


class ChipEmbedder:
    """Embed chips in batches. Thread-safe."""

    def __init__(self, infer: Infer, pack: Pack, *, together: bool = True) -> None:
        """Wrap a pack's network, with whether it takes several chips ``together``; see ``takes_batches``."""
        self._infer = infer
        self._contract, self._dimension, self._mirror = pack.input, pack.dimension, pack.mirror
        self._sizes = _BATCH_SIZES if together else (1,)

    def __call__(self, chips: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings (N, D) of chips (S, S, 3) uint8 RGB; (0, D) for none."""
        if not self._mirror:
            return self._embed(chips)
        both = self._embed([*chips, *(chip[:, ::-1] for chip in chips)])
        both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return both[: len(chips)] + both[len(chips) :]

    def _embed(self, chips: Sequence[UInt8Array]) -> FloatArray:
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


class Detector(Protocol):
    """Finds faces and their landmarks. Thread-safe."""

    @property
    def window(self) -> float:
        """The smallest face that it finds, in pixels of the image at the size that is searched."""

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image of ``size_wh`` to, so that faces of ``min_face`` and larger are found.

        From 1 on that is in pixels; below 1, a fraction of the image's shorter side. Where the image is so large that
        more would have to be searched than is allowed, it is a size at which only larger ones are.

        Raises:
            InvalidOption: not a number above 0.
        """

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool, off_centre: float = 0.0) -> Detections:
        """Return all faces of an image (H, W, 3) RGB in no particular order; or the largest alone, maybe faster.

        With ``off_centre`` that is the most prominent one; see ``visavis.core.geometry``.
        """

    def are_upright(self, image: UInt8Array, found: Detections) -> bool:
        """Tell whether there are faces among those of an image, and they surely do not lie turned by a quarter or more.

        It says so of nearly all that are upright, and hardly ever of others.
        """


@dataclass(frozen=True, slots=True)
class Models:
    """What turns an image into embeddings and attributes; all thread-safe."""

    detector: Detector
    embedder: ChipEmbedder
    attributes: "AttributeModels"
    nonsense: FloatArray  # (K, D) prototypes of embeddings that say nothing


def load_models(pack: Pack, installation: Installation) -> Models:
    """Convert what the cache does not hold yet, and compile the networks; those of attributes, when they are needed.

    Raises:
        ModelMissing, ModelCorrupt: a weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses a network.
    """
    check_installed(pack, installation.models_dir)
    return Models(
        detector=DETECTORS[pack.part("detector").head](pack, installation),
        embedder=EMBEDDERS[pack.part("embedder").head](pack, installation),
        attributes=AttributeModels(pack, installation),
        nonsense=_prototypes(pack),
    )


def _prototypes(pack: Pack) -> FloatArray:
    """Return those that come with a pack, made by bench/nonsense.py, or none."""
    if pack.validity is None:
        return np.empty((0, pack.dimension), np.float32)
    with files(catalogue).joinpath("nonsense.npz").open("rb") as file, np.load(file) as known:
        prototypes: FloatArray = known[pack.validity.prototypes].astype(np.float32)
    return prototypes


def _dlib_graph(write: Callable[[Network, Weights], bytes], _pack: Pack, part: Part, data: bytes) -> bytes:
    network, weights = read_network(data)
    _check_counts(part.files[0], sum(array.size for own in weights.values() for array in own.values()), network.layers)
    return write(network, weights)


def _dlib_forest(_pack: Pack, part: Part, data: bytes) -> bytes:
    forest = read_landmark_forest(data)
    _check_counts(part.files[0], forest.parameters)
    return forest.to_bytes()


def _check_counts(file: ModelFile, parameters: int, layers: Collection[object] = ()) -> None:
    """Check that there are as many layers and parameters as the catalogue says."""
    if (len(layers), parameters) != (file.layers, file.parameters):
        expected = f"{file.layers} layers and {file.parameters} parameters"
        raise ModelCorrupt(f"{file.name}: {len(layers)} layers and {parameters} parameters instead of {expected}")


def _keras_graph(network: Callable[[Pack], Network], pack: Pack, part: Part, data: bytes) -> bytes:
    try:
        return keras_graph(network(pack), data)
    except ModelCorrupt as error:
        # Nobody publishes a hash of such a file: whatever came first was pinned.
        name = part.files[0].name
        packs = " ".join(pack.name for pack in packs_with(name)) or "PACK"
        raise ModelCorrupt(
            f"{name}: {error}. If another file came in its place, visavis models remove {packs} --unpin forgets it; "
            "then pull or import the right one"
        ) from error


CONVERSIONS: Mapping[Head, tuple[Callable[..., bytes], str]] = {
    "dlib-mmod": (partial(_dlib_graph, detector_graph), ".onnx"),
    "dlib-forest": (_dlib_forest, ".npz"),
    "dlib-resnet": (partial(_dlib_graph, embedder_graph), ".onnx"),
    "inception-resnet-v1": (partial(_keras_graph, lambda pack: inception_resnet_v1(pack.dimension)), ".onnx"),
    "vggface2-resnet50": (partial(_keras_graph, lambda _pack: vggface2_resnet50()), ".onnx"),
    **dict.fromkeys(("yunet-int8", "onnx-embedder-int8"), (lambda _pack, _part, model: dequantized(model), ".onnx")),
    "minifasnet": (lambda _pack, _part, *files: liveness_graph(files, MINIFASNET.side), ".onnx"),
}
"""The heads whose files are converted on first use: how, (pack, part, *files), and the cached file's suffix."""


def _converted(pack: Pack, part: Part, installation: Installation) -> bytes:
    convert, suffix = CONVERSIONS[part.head]
    return installation.converted(part, partial(convert, pack, part), suffix)


def _graph_of(pack: Pack, part: Part, installation: Installation, side: int, outputs: tuple[str, ...] = ()) -> Graph:
    """Return a network that is converted, or one of Intel's zoo, for any number of images of ``side`` pixels."""
    if part.head in CONVERSIONS:
        return Graph(_converted(pack, part, installation))
    model, weights = (installation.read(file) for file in part.files)
    return Graph(model, weights, shape=(None, 3, side, side), outputs=outputs)


def _load_dlib_detector(pack: Pack, installation: Installation) -> DlibDetector:
    network = Graph(_converted(pack, pack.part("detector"), installation))
    landmarks = load_landmarks(pack, pack.part("landmarks"), installation)
    return DlibDetector(compile_graph(network, installation.spec), landmarks, pack.template)


def load_landmarks(pack: Pack, part: Part, installation: Installation) -> LandmarkRegressor:
    """Load a forest of dlib's that finds landmarks, for a pack; errors as of ``load_models``."""
    return LandmarkRegressor(LandmarkForest.from_bytes(_converted(pack, part, installation)))


def _load_anchor_free(family: AnchorFree, pack: Pack, installation: Installation) -> AnchorFreeDetector:
    return AnchorFreeDetector(family, _exported(pack, pack.part("detector"), installation), installation.spec)


def _exported(pack: Pack, part: Part, installation: Installation) -> bytes:
    """Return the graph of one file, as it was exported by others or as it is converted."""
    return _converted(pack, part, installation) if part.head in CONVERSIONS else installation.read(part.files[0])


DETECTORS: Mapping[Head, Callable[[Pack, Installation], Detector]] = {
    "dlib-mmod": _load_dlib_detector,
    "yunet": partial(_load_anchor_free, YUNET),
    "yunet-int8": partial(_load_anchor_free, YUNET),
    "scrfd": partial(_load_anchor_free, SCRFD),
}


def _load_own(pack: Pack, installation: Installation) -> ChipEmbedder:
    """Load what is converted here, or of Intel's zoo: a graph for any number of images."""
    graph = _graph_of(pack, pack.part("embedder"), installation, pack.template.side)
    return ChipEmbedder(compile_graph(graph, installation.spec), pack)


def _load_onnx(pack: Pack, installation: Installation) -> ChipEmbedder:
    """Load what others exported, perhaps for one image at a time."""
    model, side = _exported(pack, pack.part("embedder"), installation), pack.template.side
    shape = (None, 3, side, side) if pack.input.layout == "nchw" else (None, side, side, 3)
    try:
        infer = compile_graph(Graph(model, shape=shape), installation.spec)
    except RuntimeFailed:  # for batches of any size it breaks
        infer = compile_graph(Graph(model), installation.spec)
    together = takes_batches(infer, pack.input, side, pack.dimension)
    return ChipEmbedder(infer, pack, together=together)


EMBEDDERS: Mapping[Head, Callable[[Pack, Installation], ChipEmbedder]] = {
    **dict.fromkeys(("dlib-resnet", "inception-resnet-v1", "vggface2-resnet50", "ir-embedder"), _load_own),
    **dict.fromkeys(("onnx-embedder", "onnx-embedder-int8"), _load_onnx),
}


ATTRIBUTES: Mapping[Head, AttributeNetwork] = {
    "minifasnet": MINIFASNET,
    "ir-head-pose": HEAD_POSE,
    "ir-age-gender": AGE_GENDER,
}


class AttributeModels:
    """The optional parts of a pack, each loaded when it is first needed. Thread-safe."""

    def __init__(self, pack: Pack, installation: Installation) -> None:
        self._pack = pack
        self._installation = installation
        self._loaded: dict[Role, Measure] = {}
        self._loading = Lock()

    def check(self, wanted: Collection[Attribute]) -> tuple[Attribute, ...]:
        """Return the wanted attributes, each once.

        Raises:
            InvalidOption: there is no such attribute, or the pack has no part for it.
        """
        if isinstance(wanted, str) or not isinstance(wanted, Collection):
            raise InvalidOption(f"attributes are given as in ('pose',), not {wanted!r:.60}")
        for name in wanted:
            if not isinstance(name, str) or name not in ROLE_OF_ATTRIBUTE:
                raise InvalidOption(f"attributes are {', '.join(ROLE_OF_ATTRIBUTE)}; there is no {name!r:.60}")
            if not self._pack.has(ROLE_OF_ATTRIBUTE[name]):
                raise InvalidOption(f"the pack {self._pack.name!r} tells no {name}; the pack 'open' does")
        return tuple(dict.fromkeys(wanted))

    def ready(self, wanted: Collection[Attribute]) -> tuple[Attribute, ...]:
        """Return the wanted attributes, each once, when all that measures them is loaded.

        Raises:
            InvalidOption: as ``check`` does.
            ModelMissing, ModelCorrupt, RuntimeMissing, RuntimeFailed: something cannot be loaded.
        """
        checked = self.check(wanted)
        for name in checked:
            self._measure(ROLE_OF_ATTRIBUTE[name])
        return checked

    def __call__(
        self, image: UInt8Array, boxes_xyxy: FloatArray, wanted: Sequence[Attribute]
    ) -> tuple[Attributes, ...]:
        """Return what is wanted, as ``check`` returns it, of each face (N, 4) of an image (H, W, 3) RGB, in its pixels.

        Raises:
            ModelMissing, ModelCorrupt, RuntimeMissing, RuntimeFailed: when a part is loaded.
        """
        if not (wanted and len(boxes_xyxy)):
            return (Attributes(),) * len(boxes_xyxy)
        roles = dict.fromkeys(ROLE_OF_ATTRIBUTE[name] for name in wanted)
        measured = {role: self._measure(role)(image, boxes_xyxy) for role in roles}
        return tuple(
            Attributes(**{name: getattr(measured[ROLE_OF_ATTRIBUTE[name]][number], name) for name in wanted})
            for number in range(len(boxes_xyxy))
        )

    def _measure(self, role: Role) -> Measure:
        with self._loading:
            if role not in self._loaded:
                self._loaded[role] = self._load(role)
            return self._loaded[role]

    def _load(self, role: Role) -> Measure:
        part, pack, installation = self._pack.part(role), self._pack, self._installation
        network = ATTRIBUTES[part.head]
        try:
            graph = _graph_of(pack, part, installation, network.side, network.outputs)
            return partial(network.measure, compile_graph(graph, installation.spec))
        except ModelMissing as error:  # which cannot name the pack
            files = ", ".join(file.name for file in part.files)
            raise ModelMissing(
                f"the {role} part of the pack {pack.name!r} is not installed ({files}): visavis models pull "
                f"{pack.name} --with {role}, or without a network visavis models import FILE"
            ) from error
