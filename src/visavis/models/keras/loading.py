"""The embedder of a pack whose weights are Keras' own, ready to run."""

from visavis.errors import ModelCorrupt
from visavis.models.catalogue import packs_with
from visavis.models.installation import Installation
from visavis.models.keras.network import Network
from visavis.models.packs import Part
from visavis.models.runtime import Graph, InferAll, compile_graph

GRAPH_SUFFIX = ".onnx"


def load_embedder(part: Part, network: Network, installation: Installation) -> InferAll:
    """Convert what the cache does not hold yet, and compile the network.

    Raises:
        ModelMissing, ModelCorrupt: the weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: h5py or the runtime is not installed, or refuses the network.
    """

    def graph(data: bytes) -> bytes:
        from visavis.models.keras import graphs  # noqa: PLC0415  # brings ONNX, which only the conversion needs

        try:
            return graphs.keras_graph(network, data)
        except ModelCorrupt as error:
            # Nobody publishes a hash of such a file: whatever came first was pinned.
            name = part.files[0].name
            pack = " ".join(pack.name for pack in packs_with(name)) or "PACK"
            raise ModelCorrupt(
                f"{name}: {error}. If another file came in its place, visavis models remove {pack} --unpin forgets it; "
                "then pull or import the right one"
            ) from error

    return compile_graph(Graph(installation.converted(part, graph, GRAPH_SUFFIX)), installation.spec)
