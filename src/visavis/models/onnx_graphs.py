"""Networks as data, whichever library trained them, and the ONNX graphs that they become.

A network is a list of layers, each of a kind and with the layers that it takes; its weights go by layer and by use.
Files of dlib, Keras and PyTorch are all read to this form. Normalisations and constant factors are folded, in float64,
into the convolution or the matrix before them: a runtime sees convolutions, maxima and sums only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt
from visavis.types import FloatArray

# Understood by every runtime of the last years; nothing newer is needed.
_OPSET = 13
_IR_VERSION = 8
# What ONNX calls float32 where an operator takes a type as a number.
_FLOAT = 1

Window: TypeAlias = tuple[int, int]
"""Rows and columns."""
Shape: TypeAlias = tuple[int, ...]
"""(channels, rows, columns), or (channels,); 0 for any number of rows and columns."""
Value: TypeAlias = Any
"""Of an attribute of an operator of ONNX."""
Padding: TypeAlias = Literal["same", "valid"] | int
"""Zeros around a plane: as many on each side; none ("valid"); or those that keep its size at stride 1 ("same")."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution. Weights: kernel (filters, channels / groups, rows, columns), bias (filters,)."""

    filters: int
    window: Window
    stride: int = 1
    padding: Padding = "same"
    bias: bool = False
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Dense:
    """A product with a matrix, of all numbers in a row. Weights: kernel (outputs, inputs)."""

    outputs: int


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch normalisation. Weights, all (channels,): gamma if ``scale``, beta, moving_mean, moving_variance.

    Without statistics it is an affine map.
    """

    scale: bool = True
    epsilon: float = 1e-3


@dataclass(frozen=True, slots=True)
class Scale:
    """A constant factor."""

    factor: float


@dataclass(frozen=True, slots=True)
class Elementwise:
    """An operator of ONNX that keeps shapes. Weights of PRelu: slopes (channels,)."""

    operator: Literal["Relu", "PRelu", "Sigmoid", "Mul"]


@dataclass(frozen=True, slots=True)
class Pool:
    """The maximum or the mean of a square window."""

    operator: Literal["MaxPool", "AveragePool"]
    window: int
    stride: int
    padding: Padding = "valid"


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of each channel: (channels,), or (channels, 1, 1)."""

    keep_plane: bool = False


@dataclass(frozen=True, slots=True)
class Concat:
    """The channels of all inputs, one after another."""


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of all inputs, smaller ones zero-padded at the end of channels, rows and columns, as dlib does."""


Kind: TypeAlias = Conv | Dense | Norm | Scale | Elementwise | Pool | Mean | Concat | Add


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a network."""

    name: str  # unique in the network
    kind: Kind
    inputs: tuple[str, ...]  # the names of the layers that it takes
    shape: Shape  # of what it gives


Weights: TypeAlias = Mapping[str, Mapping[str, FloatArray]]
"""The arrays of each layer, by its name and by their use."""


class Network:
    """Layers in an order in which they can be computed; the last one's output is the network's.

    Args:
        input_shape: (channels, rows, columns) of the input, which is called ``Network.INPUT``.
        mean, divisor: subtracted from each channel of the input, and what the rest is divided by. Only for networks
            that begin with a convolution without padding.
    """

    INPUT = ""

    def __init__(self, input_shape: Shape, mean: FloatArray | None = None, divisor: float = 1.0) -> None:
        self.input_shape = input_shape
        self.mean, self.divisor = mean, divisor
        self.layers: dict[str, Layer] = {}

    def add(self, name: str, kind: Kind, *inputs: str) -> str:
        """Add a layer, and return its name."""
        self.layers[name] = Layer(name, kind, inputs, _shape_after(kind, [self.shape_of(one) for one in inputs]))
        return name

    def shape_of(self, name: str) -> Shape:
        """Return the shape of what a layer gives."""
        return self.layers[name].shape if name else self.input_shape

    def weights_of(self, layer: Layer) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a layer's weights by use, in the order in which Keras keeps them."""
        channels, *plane = self.shape_of(layer.inputs[0])
        match layer.kind:
            case Conv(filters, window, bias=bias, groups=groups):
                shapes: dict[str, tuple[int, ...]] = {"kernel": (filters, channels // groups, *window)}
                return {**shapes, "bias": (filters,)} if bias else shapes
            case Dense(outputs):
                return {"kernel": (outputs, channels * prod(plane))}
            case Norm(scale):
                names = ("gamma", "beta", "moving_mean", "moving_variance")
                return dict.fromkeys(names if scale else names[1:], (channels,))
            case Elementwise("PRelu"):
                return {"slopes": (channels,)}
        return {}


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return how many zeros padding "same" puts before and after a row of ``size``; the odd one comes after.

    Source: TensorFlow's documentation of padding.
    """
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


def _pads(plane: Sequence[int], window: Window, stride: int, padding: Padding) -> list[int]:
    """Return how many zeros are put at the top, left, bottom and right of a plane."""
    if padding == "same":
        return [*chain(*zip(*map(same_padding, plane, window, (stride, stride)), strict=True))]
    return [0 if padding == "valid" else padding] * 4


def _shape_after(kind: Kind, shapes: Sequence[Shape]) -> Shape:
    channels, *plane = shape = shapes[0]
    match kind:
        case Conv(outputs, window, stride, padding):
            shape = (outputs, *_places(plane, window, stride, padding))
        case Pool(_, side, stride, padding):
            shape = (channels, *_places(plane, (side, side), stride, padding))
        case Mean(keep_plane):
            shape = (channels, 1, 1) if keep_plane else (channels,)
        case Concat():
            shape = (sum(each[0] for each in shapes), *plane)
        case Add():
            shape = tuple(map(max, *shapes))
        case Dense(outputs):
            shape = (outputs,)
    return shape


def _places(plane: Sequence[int], window: Window, stride: int, padding: Padding) -> tuple[int, ...]:
    """Return in how many places of a plane a window is put, each way."""
    pads = _pads(plane, window, stride, padding)
    return tuple(n and (n + pads[i] + pads[i + 2] - window[i]) // stride + 1 for i, n in enumerate(plane))


@dataclass(frozen=True, slots=True)
class Tensor:
    """What goes into a graph, or comes out of it."""

    name: str
    shape: Sequence[int | str]  # a string stands for any size
    dtype: Literal["uint8", "float32"] = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """A convolution or a matrix that is not written yet: what follows may be folded into it."""

    layer: Layer
    kernel: FloatArray
    bias: FloatArray | None

    def normalised(self, layer: Layer, own: Mapping[str, FloatArray], epsilon: float) -> "_Linear":
        variance = np.asarray(own.get("moving_variance", 1.0), np.float64)
        if (variance < 0).any():
            raise ModelCorrupt(f"the layer {layer.name!r} has a variance below zero")
        gamma = np.asarray(own.get("gamma", 1.0), np.float64)
        factor = np.broadcast_to(gamma / np.sqrt(variance + epsilon), len(self.kernel))
        before = np.zeros(len(self.kernel)) if self.bias is None else self.bias.astype(np.float64)
        bias = (before - own.get("moving_mean", 0.0)) * factor + own["beta"]
        kernel = self.kernel * factor.reshape(-1, *[1] * (self.kernel.ndim - 1))
        return replace(self, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))

    def of_pixels(self, mean: FloatArray, divisor: float) -> "_Linear":
        """Return what does the same to (pixel - mean) / divisor."""
        kernel = self.kernel.astype(np.float64) / divisor
        before = np.zeros(len(kernel)) if self.bias is None else self.bias
        bias = before - np.einsum("oikl,i->o", kernel, mean.astype(np.float64))
        return replace(self, kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))


class GraphWriter:
    """The operators written so far, each with one output, whose name is what further ones take."""

    def __init__(self) -> None:
        self._nodes: list[tuple[str, tuple[str, ...], str, Mapping[str, Value]]] = []
        self._constants: list[NDArray[Any]] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Add an array, and return its name."""
        self._constants.append(np.asarray(array, order="C"))
        return f"c{len(self._constants) - 1}"

    def add(self, operator: str, *inputs: str, **attributes: Value) -> str:
        """Add an operator of ONNX, and return the name of its output."""
        self._nodes.append((operator, inputs, f"v{len(self._nodes)}", attributes))
        return self._nodes[-1][2]

    def pixels(self, images: str, *, number: int | None = None) -> str:
        """Add what makes planes (N, C, H, W) float32 of images (N, H, W, C) uint8, and return their name.

        ``number`` is which of several images to take, where there is a dimension more: (N, K, H, W, C).
        """
        if number is not None:
            images = self.add("Gather", images, self.constant(np.array(number, np.int64)), axis=1)
        return self.add("Transpose", self.add("Cast", images, to=_FLOAT), perm=[0, 3, 1, 2])

    def network(self, network: Network, weights: Weights, source: str) -> str:
        """Add the layers of a network to the output ``source``, and return the name of the last one's output.

        Raises:
            ModelCorrupt: weights have other shapes than the layers want.
        """
        values = {Network.INPUT: source}
        unwritten: dict[str, _Linear] = {}

        def value(name: str) -> str:
            if name in unwritten:
                linear = unwritten.pop(name)
                values[name] = self._write_linear(network, linear, value(linear.layer.inputs[0]))
            return values[name]

        for name, layer in network.layers.items():
            own, shapes = weights.get(name, {}), network.weights_of(layer)
            for use, array in own.items():
                if array.shape != shapes.get(use):
                    raise ModelCorrupt(
                        f"the layer {name!r} has a {use} of shape {array.shape} instead of {shapes.get(use)}"
                    )
            match layer.kind:
                case Conv() | Dense():
                    unwritten[name] = _Linear(layer, own["kernel"], own.get("bias"))
                case Norm(epsilon=epsilon):
                    unwritten[name] = unwritten.pop(layer.inputs[0]).normalised(layer, own, epsilon)
                case Scale(factor):
                    own = {"gamma": np.float32(factor), "beta": np.float32(0)}
                    unwritten[name] = unwritten.pop(layer.inputs[0]).normalised(layer, own, 0)
                case _:
                    values[name] = self._write_plain(network, layer, own, [value(one) for one in layer.inputs])
        return value(name)

    def _write_linear(self, network: Network, linear: _Linear, source: str) -> str:
        before = network.shape_of(linear.layer.inputs[0])
        if linear.layer.inputs[0] == Network.INPUT and network.mean is not None:
            linear = linear.of_pixels(network.mean, network.divisor)
        bias = np.zeros(len(linear.kernel), np.float32) if linear.bias is None else linear.bias
        match linear.layer.kind:
            case Conv(_, window, stride, padding, groups=groups):
                pads, strides = _pads(before[1:], window, stride, padding), [stride, stride]
                inputs = (source, self.constant(linear.kernel), self.constant(bias))
                return self.add("Conv", *inputs, kernel_shape=list(window), strides=strides, pads=pads, group=groups)
        if len(before) > 1:
            source = self.add("Flatten", source)
        return self.add("Gemm", source, self.constant(linear.kernel), self.constant(bias), transB=1)

    def _write_plain(self, network: Network, layer: Layer, own: Mapping[str, FloatArray], inputs: list[str]) -> str:
        match layer.kind:
            case Elementwise("PRelu"):
                return self.add("PRelu", *inputs, self.constant(own["slopes"].reshape(-1, 1, 1)))
            case Elementwise(operator):
                return self.add(operator, *inputs)
            case Pool(operator, window, stride, padding):
                plane = network.shape_of(layer.inputs[0])[1:]
                pads = _pads(plane, (window, window), stride, padding)
                return self.add(operator, *inputs, kernel_shape=[window] * 2, strides=[stride] * 2, pads=pads)
            case Mean(keep_plane):
                mean = self.add("GlobalAveragePool", *inputs)
                return mean if keep_plane else self.add("Flatten", mean)
            case Concat():
                return self.add("Concat", *inputs, axis=1)
            case Add():
                shapes = [network.shape_of(one) for one in layer.inputs]
                return self.add("Add", *(self._padded(*each, layer.shape) for each in zip(inputs, shapes, strict=True)))
        raise AssertionError(layer)

    def _padded(self, value: str, shape: Shape, wanted: Shape) -> str:
        missing = np.subtract(wanted, shape).tolist()
        if not any(missing):
            return value
        return self.add("Pad", value, self.constant(np.array([0, 0, 0, 0, 0, *missing], np.int64)))

    def serialise(self, source: Tensor, result: Tensor) -> bytes:
        """Return the graph, from its input to its output, which is the last operator's, as bytes.

        Raises:
            ModelCorrupt: what the operators are given does not fit together.
        """
        import onnx  # noqa: PLC0415  # takes 0.2 s, and only conversions need it

        helper, types = onnx.helper, {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
        described = [helper.make_tensor_value_info(t.name, types[t.dtype], list(t.shape)) for t in (source, result)]
        nodes = [helper.make_node(kind, ins, [out], **attributes) for kind, ins, out, attributes in self._nodes]
        nodes[-1].output[0] = result.name
        constants = [onnx.numpy_helper.from_array(array, f"c{number}") for number, array in enumerate(self._constants)]
        model = helper.make_model(
            helper.make_graph(nodes, "visavis", described[:1], described[1:], constants),
            producer_name="visavis",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ModelCorrupt(f"the weights do not make a network: {error}") from error
        return bytes(model.SerializeToString())


def reshaped(model: bytes, shape: Sequence[int | None]) -> bytes:
    """Return an ONNX graph with that shape of its first input, None being any size; all other shapes are inferred.

    Raises:
        ValueError: the input has another number of dimensions.
    """
    import onnx  # noqa: PLC0415  # takes 0.2 s, and only conversions need it

    graph = onnx.load_model_from_string(model)
    constants = {tensor.name for tensor in graph.graph.initializer}
    first = next(value for value in graph.graph.input if value.name not in constants)
    sizes = first.type.tensor_type.shape.dim
    if len(sizes) != len(shape):
        raise ValueError(f"the input has {len(sizes)} dimensions, not {len(shape)}")
    for number, (size, wanted) in enumerate(zip(sizes, shape, strict=True)):
        if wanted is None:
            size.dim_param = f"free{number}"
        else:
            size.dim_value = wanted
    del graph.graph.value_info[:]
    for output in graph.graph.output:
        for number, size in enumerate(output.type.tensor_type.shape.dim):
            size.dim_param = f"{output.name}_{number}"
    return bytes(graph.SerializeToString())


def dequantized(model: bytes) -> bytes:
    """Return an ONNX graph whose weights, stored in whole numbers with a scale for each block, are float32.

    Runtimes refuse such graphs, or compute the weights anew for each image; and exporters list all weights as inputs,
    and those that they had before.

    Raises:
        ModelCorrupt: it is no such graph.

    Source: ONNX, ``DequantizeLinear`` of version 21.
    """
    import onnx  # noqa: PLC0415  # takes 0.2 s, and only conversions need it

    try:
        whole = onnx.load_model_from_string(model)
        graph = whole.graph
        known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        kept = []
        for node in graph.node:
            if node.op_type not in ("DequantizeLinear", "Reshape") or not known.keys() >= set(node.input):
                kept.append(node)
                continue
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            given = (known[name] for name in node.input)
            known[node.output[0]] = (
                _dequantized(*given, **attributes) if node.op_type == "DequantizeLinear" else np.reshape(*given)
            )
        read = {name for node in kept for name in node.input}
        inputs = [value for value in graph.input if value.name in read - known.keys()]
        constants = [onnx.numpy_helper.from_array(known[name], name) for name in known if name in read]
        for field, values in (("node", kept), ("input", inputs), ("initializer", constants)):
            graph.ClearField(field)
            getattr(graph, field).extend(values)
        onnx.checker.check_model(whole)
        return bytes(whole.SerializeToString())
    except Exception as error:  # whatever damage makes ONNX raise
        raise ModelCorrupt(f"the file is no network with quantized weights: {error}") from error


def _dequantized(
    quantized: NDArray[Any], scales: NDArray[Any], zeros: NDArray[Any], *, axis: int, block_size: int
) -> NDArray[np.float32]:
    """Return numbers that share a scale and a zero with their block along the axis; the last block may be shorter."""
    length = quantized.shape[axis]
    scale, zero = (each.repeat(block_size, axis).take(range(length), axis) for each in (scales, zeros))
    numbers: NDArray[np.float32] = (quantized.astype(np.float32) - zero) * scale.astype(np.float32)
    return numbers
