"""From a pack to what runs: which head reads which files."""

from collections.abc import Mapping
from dataclasses import dataclass

from visavis.errors import RuntimeFailed
from visavis.models import attributes as attribute_heads
from visavis.models.anchor_free import scrfd, yunet
from visavis.models.attributes import AttributeModels
from visavis.models.detection import Detector
from visavis.models.dlib import loading as dlib_loading
from visavis.models.embedders import ChipEmbedder, takes_batches
from visavis.models.installation import Installation, check_installed
from visavis.models.keras import loading as keras_loading
from visavis.models.keras.network import inception_resnet_v1, vggface2_resnet50
from visavis.models.packs import Head, Pack
from visavis.models.runtime import Graph, InferAll, RuntimeSpec, Shape, compile_graph


@dataclass(frozen=True, slots=True)
class Models:
    """What turns an image into embeddings and attributes; all thread-safe."""

    detector: Detector
    embedder: ChipEmbedder
    attributes: AttributeModels


CONVERTED: Mapping[Head, str] = {
    "dlib-mmod": dlib_loading.GRAPH_SUFFIX,
    "dlib-forest": dlib_loading.FOREST_SUFFIX,
    "dlib-resnet": dlib_loading.GRAPH_SUFFIX,
    "inception-resnet-v1": keras_loading.GRAPH_SUFFIX,
    "vggface2-resnet50": keras_loading.GRAPH_SUFFIX,
    "minifasnet": attribute_heads.GRAPH_SUFFIX,
}
"""The heads whose files are converted on first use, and the suffix of what is kept in the cache."""


def load_models(pack: Pack, installation: Installation) -> Models:
    """Convert what the cache does not hold yet, and compile the networks; those of attributes, when they are needed.

    Raises:
        ModelMissing, ModelCorrupt: a weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses a network.
    """
    check_installed(pack, installation.models_dir)
    return Models(
        detector=_load_detector(pack, installation),
        embedder=_chip_embedder(pack, installation),
        attributes=AttributeModels(pack, installation),
    )


def _load_detector(pack: Pack, installation: Installation) -> Detector:
    part = pack.part("detector")
    if part.head == "dlib-mmod":
        return dlib_loading.load_detector(part, pack.part("landmarks"), installation)
    if part.head == "yunet":
        return yunet.load_detector(part, installation)
    if part.head == "scrfd":
        return scrfd.load_detector(part, installation)
    raise NotImplementedError


def _chip_embedder(pack: Pack, installation: Installation) -> ChipEmbedder:
    infer = _load_embedder(pack, installation)
    foreign = pack.part("embedder").head == "onnx-embedder"  # exported by others, perhaps for one image at a time
    together = not foreign or takes_batches(infer, pack.input, pack.template.side, pack.dimension)
    return ChipEmbedder(infer, pack.input, pack.dimension, together=together)


def _load_embedder(pack: Pack, installation: Installation) -> InferAll:
    part, side = pack.part("embedder"), pack.template.side
    if part.head == "dlib-resnet":
        return dlib_loading.load_embedder(part, side, installation)
    if part.head == "inception-resnet-v1":
        return keras_loading.load_embedder(part, inception_resnet_v1(pack.dimension), installation)
    if part.head == "vggface2-resnet50":
        return keras_loading.load_embedder(part, vggface2_resnet50(), installation)
    if part.head == "onnx-embedder":
        (file,) = part.files
        shape = (None, 3, side, side) if pack.input.layout == "nchw" else (None, side, side, 3)
        return _compile_for_batches(installation.read(file), shape, installation.spec)
    if part.head == "ir-embedder":
        model, weights = (installation.read(file) for file in part.files)
        return compile_graph(Graph(model, weights, shape=(None, 3, side, side)), installation.spec)
    raise NotImplementedError


def _compile_for_batches(model: bytes, shape: Shape, spec: RuntimeSpec) -> InferAll:
    """Compile a network for batches of any size; for what its file states, where that breaks it."""
    try:
        return compile_graph(Graph(model, shape=shape), spec)
    except RuntimeFailed:
        return compile_graph(Graph(model), spec)
