"""Networks of dlib: their files, and their ONNX graphs, which take uint8 RGB images.

Folding the pixel scale into the first convolution keeps the input exact in bfloat16 too: 0 to 255 has eight significant
bits, and so has bfloat16.

Source: the serialisation of dlib 19 and 20 (``dlib/dnn``), as observed in the files themselves.
"""

from math import prod

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.dlib.files import DlibStream
from visavis.models.onnx_graphs import (
    Add,
    Conv,
    Dense,
    Elementwise,
    GraphWriter,
    Kind,
    Mean,
    Network,
    Norm,
    Pool,
    Tensor,
    Weights,
)
from visavis.types import FloatArray

Arrays = dict[str, FloatArray]
_PIXEL_SCALE = 256.0
_RELU = Elementwise("Relu")


def embedder_graph(network: Network, weights: Weights) -> bytes:
    """Return the ONNX graph ``chips (N, H, W, 3) uint8 -> embeddings (N, D) float32``.

    Raises:
        ModelCorrupt: the layers do not make such a network.
    """
    (*_, last), (channels, height, width) = network.layers.values(), network.input_shape
    if len(last.shape) != 1 or not height:
        raise ModelCorrupt("the network does not end in a dense layer: not an embedder")
    writer = GraphWriter()
    writer.network(network, weights, writer.pixels("images"))
    return writer.serialise(
        Tensor("images", ["N", height, width, channels], "uint8"), Tensor("embeddings", ["N", *last.shape])
    )


def detector_graph(network: Network, weights: Weights) -> bytes:
    """Return the ONNX graph ``canvas (1, H, W, 3) uint8 -> scores (1, rows, columns) float32``.

    Raises:
        ModelCorrupt: the layers do not make such a network.
    """
    (*_, last) = network.layers.values()
    if last.shape != (1, 0, 0):
        raise ModelCorrupt("the network does not end in one channel of scores: not a detector")
    writer = GraphWriter()
    scores = writer.network(network, weights, writer.pixels("images"))
    writer.add("Squeeze", scores, writer.constant(np.array([1], np.int64)))
    return writer.serialise(Tensor("images", [1, "H", "W", 3], "uint8"), Tensor("scores", [1, "rows", "columns"]))


def read_network(data: bytes) -> tuple[Network, Weights]:
    """Read a serialised network: its layers, in dlib's order, and their weights.

    Raises:
        ModelCorrupt: the bytes are not such a network, or not all of it.
    """
    stream = DlibStream(data)
    sized = _find_input(stream)
    mean = np.array([stream.real() for _ in range(3)], np.float32)
    plane = stream.integers(2) if sized else (0, 0)
    network, weights = Network((3, *plane), mean, _PIXEL_SCALE), dict[str, Arrays]()
    end = block = shortcut = Network.INPUT
    before: Kind | None = None
    while stream.at < len(data):
        name = str(len(network.layers))
        kind, weights[name] = _read_layer(stream, before)
        _read_training_state(stream, first=before is None)
        match kind:
            case Pool("AveragePool"):  # within a block, the mean is taken on the shortcut's side
                shortcut = network.add(name, kind, block)
            case Add():
                end = network.add(name, kind, end, shortcut)
            case _:
                end = network.add(name, kind, end)
        # A block begins behind a maximum, and behind the ReLU that follows an addition.
        if (isinstance(kind, Pool) and kind.operator == "MaxPool") or (kind == _RELU and isinstance(before, Add)):
            block = shortcut = end
        before = kind
    if before is None:
        raise stream.fail("no layers")
    return network, weights


def _find_input(stream: DlibStream) -> bool:
    """Move behind the tag of the input layer, and tell whether rows and columns of the input follow."""
    for name in ("input_rgb_image_sized", "input_rgb_image_pyramid"):
        tag = bytes([1, len(name)]) + name.encode()
        at = stream.data.find(tag)
        if at >= 0:
            stream.at = at + len(tag)
            return name == "input_rgb_image_sized"
    raise stream.fail("this is not a dlib network: no RGB input layer found")


def _read_layer(stream: DlibStream, before: Kind | None) -> tuple[Kind, Arrays]:
    start, tag = stream.at, stream.string()
    match tag:
        case "con_4":
            return _read_conv(stream, first=before is None)
        case "affine_" | "bn_con2" if isinstance(before, Conv):
            return Norm(epsilon=0), (_read_affine if tag == "affine_" else _read_batch_norm)(stream, before.filters)
        case "relu_" if before:
            return _RELU, {}
        case "max_pool_2" | "avg_pool_2" if before:
            return _read_pool(stream, average=tag == "avg_pool_2"), {}
        case "add_prev_" if before:
            return Add(), {}
        case "fc_2" if before:
            return _read_dense(stream)
    stream.at = start
    raise stream.fail(f"unknown layer {tag!r} here")


def _read_training_state(stream: DlibStream, *, first: bool) -> None:
    """Read over what follows each layer: flags and buffers that only training uses, empty in a published model."""
    for _ in range(3):
        stream.boolean()
    for _ in range(3):
        if stream.tensor().size:
            raise stream.fail("a training buffer that is not empty")
    if first:  # only the layer on top of the input carries a factor for samples made of several images
        stream.expect(1, "the sample expansion factor")


def _read_conv(stream: DlibStream, *, first: bool) -> tuple[Conv, Arrays]:
    params = stream.tensor().reshape(-1)
    filters, rows, columns, stride, stride_x, padding, padding_x = stream.integers(7)
    shape, bias_shape = stream.alias(), stream.alias()
    for _ in range(4):
        stream.real()  # training multipliers
    fits = shape[0] == filters == prod(bias_shape) and shape[2:] == (rows, columns)
    regular = min(*shape, stride) > 0 <= padding and (stride, padding) == (stride_x, padding_x)
    if not (fits and regular and prod(shape) + filters == params.size):
        raise stream.fail(f"a convolution of {filters} filters whose {params.size} parameters do not fit")
    if first and padding:  # the border would need to be the mean colour
        raise stream.fail("a first convolution with padding")
    kernel, bias = params[:-filters].reshape(shape), params[-filters:]
    return Conv(filters, (rows, columns), stride, padding, bias=True), {"kernel": kernel, "bias": bias}


def _read_affine(stream: DlibStream, channels: int) -> Arrays:
    params, sizes = stream.tensor().reshape(-1), (stream.alias(), stream.alias())
    stream.expect(0, "the mode of an affine layer")  # 0: per channel
    return _split_affine(stream, params, sizes, channels)


def _read_batch_norm(stream: DlibStream, channels: int) -> Arrays:
    """Read a batch normalisation as the affine map that it is at inference."""
    params, sizes = stream.tensor().reshape(-1), (stream.alias(), stream.alias())
    stream.tensor()  # the last batch's means and inverse deviations: training only
    stream.tensor()
    mean, variance = stream.tensor().reshape(-1), stream.tensor().reshape(-1)
    stream.integers(2)  # updates and window of the running statistics
    for _ in range(4):
        stream.real()
    epsilon = stream.real()
    trained = _split_affine(stream, params, sizes, channels)
    if mean.size != channels or variance.size != channels or variance.min() < 0:
        raise stream.fail("a batch normalisation whose statistics do not fit")
    scale = trained["gamma"] / np.sqrt(variance.astype(np.float64) + epsilon)
    return {"gamma": scale.astype(np.float32), "beta": (trained["beta"] - mean * scale).astype(np.float32)}


def _split_affine(
    stream: DlibStream, params: FloatArray, sizes: tuple[tuple[int, ...], tuple[int, ...]], channels: int
) -> Arrays:
    if not prod(sizes[0]) == prod(sizes[1]) == channels == params.size / 2:
        raise stream.fail(f"an affine layer for {channels} channels with {params.size} parameters")
    return {"gamma": params[:channels], "beta": params[channels:]}


def _read_pool(stream: DlibStream, *, average: bool) -> Kind:
    rows, columns, stride, stride_x, padding, padding_x = stream.integers(6)
    if average and not (rows or columns):
        return Mean()
    if not ((rows, stride, padding) == (columns, stride_x, padding_x) and min(rows, stride) > 0 <= padding):
        raise stream.fail(f"a pool of {rows} x {columns} that is not the same both ways")
    return Pool("AveragePool" if average else "MaxPool", rows, stride, padding)


def _read_dense(stream: DlibStream) -> tuple[Dense, Arrays]:
    outputs, inputs = stream.integers(2)
    params = stream.tensor()
    weights_shape, bias_shape = stream.alias(), stream.alias()
    stream.integer()  # with or without bias: the shape has said so
    for _ in range(4):
        stream.real()  # training multipliers
    if weights_shape[:2] != (inputs, outputs) or any(bias_shape) or params.size != outputs * inputs:
        raise stream.fail(f"a dense layer of {inputs} x {outputs} with {params.size} parameters")
    return Dense(outputs), {"kernel": params.reshape(inputs, outputs).T}
