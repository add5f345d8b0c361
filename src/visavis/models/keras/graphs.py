"""Writes networks of Keras as ONNX graphs: images (N, C, H, W) float32 in, the last layer's output out.

Normalisations and constant factors are folded into the convolution or the matrix before them, in float64, so that a
runtime sees convolutions, maxima and sums only. Keras keeps images as (N, H, W, C), and kernels accordingly.
"""

from dataclasses import dataclass, replace

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.keras.network import (
    Add,
    Concat,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Mean,
    Network,
    Norm,
    Relu,
    Scale,
    Weights,
    assign,
    same_padding,
)
from visavis.models.keras.weights import read_keras
from visavis.models.onnx_graphs import GraphWriter, Normalisation, Tensor, folded
from visavis.types import FloatArray


def keras_graph(network: Network, data: bytes) -> bytes:
    """Return the ONNX graph ``images (N, C, H, W) float32 -> embeddings (N, D) float32``.

    Args:
        network: that ends in one number per channel.
        data: the file of its weights; see ``visavis.models.keras.weights``.

    Raises:
        ModelCorrupt: the file is damaged, or holds another network's weights.
        RuntimeMissing, RuntimeFailed: h5py is not installed, or cannot be run.
    """
    writer = _Writer(network, assign(network, read_keras(data)))
    for layer in network.layers.values():
        writer.write(layer)
    writer.value(layer.name)
    return writer.graph.serialise(
        Tensor("images", ["N", *network.input_shape]), Tensor("embeddings", ["N", *layer.shape])
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Linear:
    """A convolution or a matrix that is not written yet: what follows may be folded into it.

    Attributes:
        layer: that it comes from.
        kernel: (outputs, inputs, rows, columns), or (outputs, inputs).
        bias: (outputs,).
    """

    layer: Layer
    kernel: FloatArray
    bias: FloatArray


class _Writer:
    def __init__(self, network: Network, weights: Weights) -> None:
        self.graph = GraphWriter()
        self._network = network
        self._weights = weights
        self._values = {Network.INPUT: "images"}
        self._unwritten: dict[str, _Linear] = {}

    def value(self, name: str) -> str:
        """Return what a layer's output is called in the graph."""
        if name in self._unwritten:
            self._values[name] = self._write_linear(self._unwritten.pop(name))
        return self._values[name]

    def write(self, layer: Layer) -> None:
        """Add a layer, or keep it for what follows."""
        match layer.kind:
            case Conv() | Dense():
                self._unwritten[layer.name] = _linear(layer, self._weights)
            case Norm():
                before = self._unwritten.pop(layer.inputs[0])
                self._unwritten[layer.name] = _normalised(before, layer, self._weights)
            case Scale(factor):
                before = self._unwritten.pop(layer.inputs[0])
                scale = np.float32(factor)
                self._unwritten[layer.name] = replace(before, kernel=before.kernel * scale, bias=before.bias * scale)
            case _:
                self._values[layer.name] = self._write_plain(layer, [self.value(one) for one in layer.inputs])

    def _write_plain(self, layer: Layer, inputs: list[str]) -> str:
        match layer.kind:
            case MaxPool(window, stride):
                attributes = {"kernel_shape": [window, window], "strides": [stride, stride]}
                return self.graph.add("MaxPool", *inputs, attributes=attributes)
            case Mean():
                return self.graph.add("Flatten", self.graph.add("GlobalAveragePool", *inputs))
            case Concat():
                return self.graph.add("Concat", *inputs, attributes={"axis": 1})
            case Add():
                return self.graph.add("Add", *inputs)
            case Relu():
                return self.graph.add("Relu", *inputs)
        raise AssertionError(layer)

    def _write_linear(self, linear: _Linear) -> str:
        source = self.value(linear.layer.inputs[0])
        match linear.layer.kind:
            case Conv(window=window, stride=stride, padding="same"):
                plane = self._network.shape_of(linear.layer.inputs[0])[1:]
                top, bottom = same_padding(plane[0], window[0], stride)
                left, right = same_padding(plane[1], window[1], stride)
                pads = (top, left, bottom, right)
                return self.graph.conv(source, linear.kernel, linear.bias, stride=stride, pads=pads)
            case Conv(stride=stride):
                return self.graph.conv(source, linear.kernel, linear.bias, stride=stride)
        kernel, bias = self.graph.constant(linear.kernel), self.graph.constant(linear.bias)
        return self.graph.add("Gemm", source, kernel, bias, attributes={"transB": 1})


def _linear(layer: Layer, weights: Weights) -> _Linear:
    own = weights[layer.name]
    kernel = own["kernel"]
    # Keras: (rows, columns, inputs, outputs), or (inputs, outputs).
    turned = kernel.transpose(3, 2, 0, 1) if isinstance(layer.kind, Conv) else kernel.T
    return _Linear(layer, turned, own.get("bias", np.zeros(len(turned), np.float32)))


def _normalised(before: _Linear, layer: Layer, weights: Weights) -> _Linear:
    own, kind = weights[layer.name], layer.kind
    if not isinstance(kind, Norm) or (own["moving_variance"] < 0).any():
        raise ModelCorrupt(f"the layer {layer.name!r} has a variance below zero")
    norm = Normalisation(
        scale=own.get("gamma", np.ones(len(before.bias), np.float32)),
        shift=own["beta"],
        mean=own["moving_mean"],
        variance=own["moving_variance"],
        epsilon=kind.epsilon,
    )
    kernel, bias = folded(before.kernel, before.bias, norm)
    return replace(before, kernel=kernel, bias=bias)
