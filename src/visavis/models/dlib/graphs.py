"""Write dlib networks as ONNX graphs: uint8 RGB images in, the network's raw output out.

Normalisation and every affine layer are folded into the convolutions, so that a runtime sees nothing but
convolutions, pools and additions. Folding the pixel scale keeps the input exact in bfloat16 too: 0 to 255 has
eight significant bits, and so has bfloat16.
"""

from dataclasses import dataclass, field

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.dlib.files import AddPrevious, Affine, Conv, Dense, Layer, Network, Pool, Relu
from visavis.models.onnx_graphs import FLOAT, GraphWriter, Tensor
from visavis.types import FloatArray, SizeWH

_PIXEL_SCALE = 256.0


def embedder_graph(network: Network, input_wh: SizeWH) -> bytes:
    """Return the ONNX graph ``chips (N, H, W, 3) uint8 -> embeddings (N, D) float32``.

    Raises:
        ModelCorrupt: the layers do not make such a network.
    """
    width, height = input_wh
    graph = _Graph(channels=3, plane=(height, width))
    _write_layers(graph, network)
    if len(graph.shape_of(graph.trunk)) != 1:
        raise ModelCorrupt("the network does not end in a dense layer: not an embedder")
    dimension = graph.shape_of(graph.trunk)[0]
    return graph.serialise("embeddings", ["N", height, width, 3], ["N", dimension])


def detector_graph(network: Network) -> bytes:
    """Return the ONNX graph ``canvas (1, H, W, 3) uint8 -> scores (1, rows, cols) float32``.

    Raises:
        ModelCorrupt: the layers do not make such a network.
    """
    graph = _Graph(channels=3, plane=None)
    _write_layers(graph, network)
    if graph.shape_of(graph.trunk)[0] != 1:
        raise ModelCorrupt("the network does not end in one channel of scores: not a detector")
    graph.trunk = graph.add("Squeeze", graph.trunk, graph.constant(np.array([1], np.int64)), shape=(1,))
    return graph.serialise("scores", [1, "H", "W", 3], [1, "rows", "cols"])


@dataclass(slots=True)
class _Graph:
    """Nodes written so far, and the shape (channels, rows, cols) of each value; (channels,) where planes vary."""

    channels: int
    plane: tuple[int, int] | None
    writer: GraphWriter = field(default_factory=GraphWriter)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    trunk: str = ""

    def __post_init__(self) -> None:
        pixels = self.add("Cast", "images", shape=(), to=FLOAT)
        shape = (self.channels, *(self.plane or ()))
        self.trunk = self.add("Transpose", pixels, shape=shape, perm=[0, 3, 1, 2])

    def shape_of(self, value: str) -> tuple[int, ...]:
        return self.shapes[value]

    def constant(self, array: np.ndarray) -> str:
        return self.writer.constant(array)

    def add(self, operator: str, *inputs: str, shape: tuple[int, ...], **attributes: object) -> str:
        name = self.writer.add(operator, *inputs, attributes=attributes)
        self.shapes[name] = shape
        return name

    def serialise(self, output: str, input_shape: list[int | str], output_shape: list[int | str]) -> bytes:
        return self.writer.serialise(Tensor("images", input_shape, "uint8"), Tensor(output, output_shape))


def _write_layers(graph: _Graph, network: Network) -> None:
    """Append the layers to the graph, each convolution together with the affine layer that follows it."""
    layers = _fold_normalisation(network)
    block_input = shortcut = graph.trunk
    for layer in layers:
        match layer:
            case Conv():
                graph.trunk = _add_conv(graph, layer)
            case Relu():
                graph.trunk = graph.add("Relu", graph.trunk, shape=graph.shape_of(graph.trunk))
            case Pool(kind="avg", window=(0, 0)):
                graph.trunk = graph.add(
                    "GlobalAveragePool", graph.trunk, shape=(*graph.shape_of(graph.trunk)[:1], 1, 1)
                )
            case Pool(kind="avg"):  # within a block, the mean is taken on the shortcut's side
                shortcut = _add_pool(graph, block_input, layer)
                continue
            case Pool():
                graph.trunk = _add_pool(graph, graph.trunk, layer)
            case AddPrevious():
                graph.trunk = _add_padded(graph, graph.trunk, shortcut)
                continue
            case Dense():
                graph.trunk = _add_dense(graph, layer)
        if _ends_block(graph):
            block_input = shortcut = graph.trunk


def _ends_block(graph: _Graph) -> bool:
    """Tell whether a residual block starts here: behind a pool, and behind the ReLU that follows an addition."""
    nodes = graph.writer.nodes
    last = nodes[-1]
    before = next((node.op_type for node in nodes if node.output[0] == last.input[0]), "")
    return last.op_type == "MaxPool" or (last.op_type == "Relu" and before == "Add")


def _fold_normalisation(network: Network) -> list[Layer]:
    """Return the layers for raw pixels, without affine layers."""
    folded: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, Affine):
            if not folded or not isinstance(folded[-1], Conv) or len(layer.gamma) != len(folded[-1].bias):
                raise ModelCorrupt("an affine layer that does not follow a convolution of its size")
            folded[-1] = _scaled_outputs(folded[-1], layer)
        else:
            folded.append(layer)
    if not isinstance(folded[0], Conv):
        raise ModelCorrupt("the network does not begin with a convolution")
    # With padding, the border would need to be the mean colour: no network read here pads its first layer.
    if folded[0].padding != (0, 0) or folded[0].weights.shape[1] != len(network.mean_rgb):
        raise ModelCorrupt("the first convolution does not take unpadded RGB")
    folded[0] = _raw_inputs(folded[0], network.mean_rgb)
    return folded


def _scaled_outputs(conv: Conv, affine: Affine) -> Conv:
    gamma = affine.gamma.astype(np.float64)
    weights = conv.weights * gamma[:, None, None, None]
    bias = conv.bias * gamma + affine.beta
    return Conv(weights.astype(np.float32), bias.astype(np.float32), conv.stride, conv.padding)


def _raw_inputs(conv: Conv, mean_rgb: FloatArray) -> Conv:
    """Fold (pixel - mean) / 256 into the convolution."""
    weights = conv.weights.astype(np.float64) / _PIXEL_SCALE
    bias = conv.bias - np.einsum("oikl,i->o", weights, mean_rgb.astype(np.float64))
    return Conv(weights.astype(np.float32), bias.astype(np.float32), conv.stride, conv.padding)


def _plane_after(
    graph: _Graph, value: str, window: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, ...]:
    plane = graph.shape_of(value)[1:]
    if not plane:
        return ()
    return tuple((plane[i] + 2 * padding[i] - window[i]) // stride[i] + 1 for i in range(2))


def _add_conv(graph: _Graph, conv: Conv) -> str:
    filters, channels, *window = conv.weights.shape
    if graph.shape_of(graph.trunk)[0] != channels:
        raise ModelCorrupt(f"a convolution of {channels} channels on {graph.shape_of(graph.trunk)[0]}")
    plane = _plane_after(graph, graph.trunk, (window[0], window[1]), conv.stride, conv.padding)
    weights, bias = graph.constant(conv.weights), graph.constant(conv.bias)
    pads = [*conv.padding, *conv.padding]
    shape = (filters, *plane)
    return graph.add(
        "Conv", graph.trunk, weights, bias, shape=shape, kernel_shape=window, strides=list(conv.stride), pads=pads
    )


def _add_pool(graph: _Graph, value: str, pool: Pool) -> str:
    operator = {"max": "MaxPool", "avg": "AveragePool"}[pool.kind]
    plane = _plane_after(graph, value, pool.window, pool.stride, pool.padding)
    return graph.add(
        operator,
        value,
        shape=(graph.shape_of(value)[0], *plane),
        kernel_shape=list(pool.window),
        strides=list(pool.stride),
        pads=[*pool.padding, *pool.padding],
    )


def _add_padded(graph: _Graph, a: str, b: str) -> str:
    """Add two values, each zero-padded at the end of channels, rows and cols to the larger of both."""
    shape = tuple(max(sizes) for sizes in zip(graph.shape_of(a), graph.shape_of(b), strict=True))
    return graph.add("Add", _padded(graph, a, shape), _padded(graph, b, shape), shape=shape)


def _padded(graph: _Graph, value: str, shape: tuple[int, ...]) -> str:
    missing = [wanted - have for wanted, have in zip(shape, graph.shape_of(value), strict=True)]
    if not any(missing):
        return value
    pads = graph.constant(np.array([0, 0, 0, 0, 0, *missing], np.int64))
    return graph.add("Pad", value, pads, shape=shape)


def _add_dense(graph: _Graph, dense: Dense) -> str:
    inputs, outputs = dense.weights.shape
    if graph.shape_of(graph.trunk) != (inputs, 1, 1):
        raise ModelCorrupt(f"a dense layer of {inputs} inputs on {graph.shape_of(graph.trunk)}")
    flat = graph.add("Flatten", graph.trunk, shape=(inputs,))
    return graph.add("MatMul", flat, graph.constant(dense.weights), shape=(outputs,))
