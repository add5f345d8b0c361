"""Networks of Keras as data: layers and their weights; Inception-ResNet v1 and ResNet-50.

Source: C. Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016,
with the sizes and scales of D. Sandberg's ``facenet``, and the names of the layers in its Keras weights.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015, with the strides of the Caffe models: in
a block that halves the plane, the first convolution does. The names of the layers are those of ``keras-vggface``,
whose maximum behind the first convolution has no padding: 112 pixels become 55, where Caffe rounds up to 56.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.keras.weights import KerasLayer
from visavis.types import FloatArray

Window: TypeAlias = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution. With padding "same" it is as if zeros were around, the odd one at the end."""

    filters: int
    window: Window
    stride: int = 1
    padding: Literal["same", "valid"] = "same"
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch normalisation; ``scale`` tells whether it has learned a factor, besides what it adds."""

    scale: bool = True
    epsilon: float = 1e-3


@dataclass(frozen=True, slots=True)
class Relu:
    """What is below zero becomes zero."""


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The maximum of a square window, without padding."""

    window: int
    stride: int


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of each channel."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A constant factor."""

    factor: float


@dataclass(frozen=True, slots=True)
class Concat:
    """The channels of all inputs, one after another."""


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of all inputs."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A product with a matrix."""

    outputs: int


Kind: TypeAlias = Conv | Norm | Relu | MaxPool | Mean | Scale | Concat | Add | Dense


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a network.

    Attributes:
        name: that Keras knows it by; of those without weights, it does not matter.
        kind: what it does.
        inputs: the names of the layers that it takes.
        shape: of what it gives: (channels, rows, columns), or (channels,).
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


class Network:
    """Layers in an order in which they can be computed; the last one's output is the network's.

    Args:
        channels: of the input, which is called ``Network.INPUT``.
        side: of the input, in pixels.
    """

    INPUT = ""

    def __init__(self, channels: int, side: int) -> None:
        self.input_shape = (channels, side, side)
        self.layers: dict[str, Layer] = {}

    def add(self, name: str, kind: Kind, *inputs: str) -> str:
        """Add a layer, and return its name."""
        shapes = [self.shape_of(one) for one in inputs]
        self.layers[name] = Layer(name, kind, inputs, _shape_after(kind, shapes))
        return name

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of what a layer gives."""
        return self.layers[name].shape if name else self.input_shape

    def weights_of(self, layer: Layer) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a layer's weights by what they are for, in the order in which Keras keeps them."""
        channels = self.shape_of(layer.inputs[0])[0]
        match layer.kind:
            case Conv(filters, window, bias=bias):
                return {"kernel": (*window, channels, filters), **({"bias": (filters,)} if bias else {})}
            case Norm(scale):
                names = ("gamma", "beta", "moving_mean", "moving_variance")
                return dict.fromkeys(names if scale else names[1:], (channels,))
            case Dense(outputs):
                return {"kernel": (channels, outputs)}
        return {}

    def in_keras_order(self) -> list[Layer]:
        """Return the layers in the order in which Keras saves them.

        That is by the longest way to the output, the farthest first; those equally far as a walk from the output back
        to the input, first inputs first, comes upon them.

        Source: the behaviour of ``keras.Model.layers`` for functional models, in Keras 1 to 3.
        """
        depths = dict.fromkeys(self.layers, 0)
        for layer in reversed(self.layers.values()):
            for one in filter(None, layer.inputs):
                depths[one] = max(depths[one], depths[layer.name] + 1)
        walk: dict[str, int] = {}
        ahead = [next(reversed(self.layers))]
        while ahead:
            name = ahead.pop()
            if name and name not in walk:
                walk[name] = len(walk)
                ahead += reversed(self.layers[name].inputs)
        return sorted(self.layers.values(), key=lambda layer: (-depths[layer.name], walk[layer.name]))


Weights: TypeAlias = Mapping[str, Mapping[str, FloatArray]]
"""The arrays of each layer, by its name and by what they are for."""


def assign(network: Network, file: Iterable[KerasLayer]) -> Weights:
    """Return the weights of each layer that has some, each of the file's used once.

    Layers go by their names; in a file that knows none of them, by their order, as Keras itself loads one.

    Raises:
        ModelCorrupt: one is missing or left over, or has another shape; the message says which.
    """
    wanted = {layer.name: shapes for layer in network.in_keras_order() if (shapes := network.weights_of(layer))}
    given = {layer.name: layer for layer in file if layer.weights}
    if not wanted.keys() & given.keys():
        if len(wanted) != len(given):
            raise ModelCorrupt(f"{len(given)} layers with weights instead of {len(wanted)}: another network")
        given = dict(zip(wanted, given.values(), strict=True))
    for what, names in (("no", wanted.keys() - given.keys()), ("an unknown", given.keys() - wanted.keys())):
        if names:
            raise ModelCorrupt(f"{what} layer {min(names)!r}: another network, or only a part of it")
    return {name: _arrays(given[name], shapes) for name, shapes in wanted.items()}


def _arrays(layer: KerasLayer, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, FloatArray]:
    """Return a layer's arrays by what they are for."""
    if len(layer.weights) != len(shapes):
        raise ModelCorrupt(f"the layer {layer.name!r} has {len(layer.weights)} weights instead of {len(shapes)}")
    for (name, array), (use, shape) in zip(layer.weights.items(), shapes.items(), strict=True):
        if _use_of(name) not in (use, ""):
            raise ModelCorrupt(f"the layer {layer.name!r} has {name!r} where its {use} should be")
        if array.shape != shape:
            raise ModelCorrupt(f"the layer {layer.name!r} has a {use} of shape {array.shape} instead of {shape}")
    return dict(zip(shapes, layer.weights.values(), strict=True))


# The ends of weights' names: Keras 2 and 3 call them "layer/kernel:0", Keras 1 "layer_W".
_USES = {
    **{f"/{use}": use for use in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")},
    "_W": "kernel",
    "_b": "bias",
    "_gamma": "gamma",
    "_beta": "beta",
    # Its name notwithstanding, it is the variance.
    "_running_mean": "moving_mean",
    "_running_std": "moving_variance",
}


def _use_of(weight: str) -> str:
    """Return what a weight is for, by its name; nothing where the name does not tell."""
    name = weight.split(":", maxsplit=1)[0]
    return next((use for end, use in _USES.items() if name.endswith(end)), "")


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return how many zeros padding "same" puts before and after a row of ``size``; the odd one comes after.

    Source: TensorFlow's documentation of padding.
    """
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


def _shape_after(kind: Kind, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    channels, *plane = shapes[0]
    match kind:
        case Conv(filters, window, stride, padding):
            missing = [sum(same_padding(*size, stride)) for size in zip(plane, window, strict=True)]
            padded = np.add(plane, missing if padding == "same" else 0)
            shape = (filters, *_places(padded.tolist(), window, stride))
        case MaxPool(window, stride):
            shape = (channels, *_places(plane, (window, window), stride))
        case Mean():
            shape = (channels,)
        case Concat():
            shape = (sum(shape[0] for shape in shapes), *plane)
        case Dense(outputs):
            shape = (outputs,)
        case _:
            shape = shapes[0]
    return shape


def _places(plane: Sequence[int], window: Window, stride: int) -> tuple[int, ...]:
    """Return in how many places of a plane a window is put, each way."""
    return tuple((size - width) // stride + 1 for size, width in zip(plane, window, strict=True))


INCEPTION_SIDE = 160

_Step: TypeAlias = tuple[str, int, Window]
"""What tells a convolution of a branch from its others, in its name; its filters; and its window."""
_Branches: TypeAlias = tuple[tuple[_Step, ...], ...]

# Convolutions that halve the plane.
_HALVING = "1a_"
_BLOCK35: _Branches = (
    (("", 32, (1, 1)),),
    (("0a_", 32, (1, 1)), ("0b_", 32, (3, 3))),
    (("0a_", 32, (1, 1)), ("0b_", 32, (3, 3)), ("0c_", 32, (3, 3))),
)
_REDUCTION_A: _Branches = (
    ((_HALVING, 384, (3, 3)),),
    (("0a_", 192, (1, 1)), ("0b_", 192, (3, 3)), (_HALVING, 256, (3, 3))),
)
_BLOCK17: _Branches = (
    (("", 128, (1, 1)),),
    (("0a_", 128, (1, 1)), ("0b_", 128, (1, 7)), ("0c_", 128, (7, 1))),
)
_REDUCTION_B: _Branches = (
    (("0a_", 256, (1, 1)), (_HALVING, 384, (3, 3))),
    (("0a_", 256, (1, 1)), (_HALVING, 256, (3, 3))),
    (("0a_", 256, (1, 1)), ("0b_", 256, (3, 3)), (_HALVING, 256, (3, 3))),
)
_BLOCK8: _Branches = (
    (("", 192, (1, 1)),),
    (("0a_", 192, (1, 1)), ("0b_", 192, (1, 3)), ("0c_", 192, (3, 1))),
)


def inception_resnet_v1(dimension: int) -> Network:
    """Return the network ``images (3, 160, 160) -> embedding (dimension,)``."""
    network = Network(3, INCEPTION_SIDE)
    end = _stem(network)
    for number in range(1, 6):
        end = _relu(network, f"Block35_{number}", _residual(network, f"Block35_{number}", end, _BLOCK35, 0.17))
    end = _reduction(network, "Mixed_6a", end, _REDUCTION_A)
    for number in range(1, 11):
        end = _relu(network, f"Block17_{number}", _residual(network, f"Block17_{number}", end, _BLOCK17, 0.1))
    end = _reduction(network, "Mixed_7a", end, _REDUCTION_B)
    for number in range(1, 6):
        end = _relu(network, f"Block8_{number}", _residual(network, f"Block8_{number}", end, _BLOCK8, 0.2))
    end = _residual(network, "Block8_6", end, _BLOCK8, 1.0)
    end = network.add("AvgPool", Mean(), end)
    end = network.add("Bottleneck", Dense(dimension), end)
    network.add("Bottleneck_BatchNorm", Norm(scale=False), end)
    return network


def _stem(network: Network) -> str:
    end = _inception_unit(network, "Conv2d_1a_3x3", Network.INPUT, Conv(32, (3, 3), stride=2, padding="valid"))
    end = _inception_unit(network, "Conv2d_2a_3x3", end, Conv(32, (3, 3), padding="valid"))
    end = _inception_unit(network, "Conv2d_2b_3x3", end, Conv(64, (3, 3)))
    end = network.add("MaxPool_3a_3x3", MaxPool(3, 2), end)
    end = _inception_unit(network, "Conv2d_3b_1x1", end, Conv(80, (1, 1), padding="valid"))
    end = _inception_unit(network, "Conv2d_4a_3x3", end, Conv(192, (3, 3), padding="valid"))
    return _inception_unit(network, "Conv2d_4b_3x3", end, Conv(256, (3, 3), stride=2, padding="valid"))


def _inception_unit(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution, its normalisation and its ReLU."""
    end = network.add(name, conv, source)
    end = network.add(f"{name}_BatchNorm", Norm(scale=False), end)
    return _relu(network, name, end)


def _relu(network: Network, name: str, source: str) -> str:
    return network.add(f"{name}_Activation", Relu(), source)


def _branches(network: Network, prefix: str, source: str, branches: _Branches) -> list[str]:
    ends = []
    for number, steps in enumerate(branches):
        end = source
        for tag, filters, window in steps:
            halving = tag == _HALVING
            conv = Conv(filters, window, stride=2 if halving else 1, padding="valid" if halving else "same")
            end = _inception_unit(network, f"{prefix}_Branch_{number}_Conv2d_{tag}{window[0]}x{window[1]}", end, conv)
        ends.append(end)
    return ends


def _residual(network: Network, prefix: str, source: str, branches: _Branches, scale: float) -> str:
    """Add a block that adds a scaled correction to what it takes."""
    mixed = network.add(f"{prefix}_Concatenate", Concat(), *_branches(network, prefix, source, branches))
    channels = network.shape_of(source)[0]
    end = network.add(f"{prefix}_Conv2d_1x1", Conv(channels, (1, 1), bias=True), mixed)
    end = network.add(f"{prefix}_Scale", Scale(scale), end)
    return network.add(f"{prefix}_Add", Add(), source, end)


def _reduction(network: Network, prefix: str, source: str, branches: _Branches) -> str:
    """Add a block that halves the plane; its last branch is a maximum."""
    ends = _branches(network, prefix, source, branches)
    pool = network.add(f"{prefix}_Branch_{len(ends)}_MaxPool_1a_3x3", MaxPool(3, 2), source)
    return network.add(prefix, Concat(), *ends, pool)


RESNET50_SIDE = 224

# The number of each stage in its layers' names, its blocks and its filters; four times as many come out of it.
_STAGES = ((2, 3, 64), (3, 4, 128), (4, 6, 256), (5, 3, 512))
_WIDENING = 4


def vggface2_resnet50() -> Network:
    """Return the network ``images (3, 224, 224) -> embedding (2048,)``."""
    network = Network(3, RESNET50_SIDE)
    end = network.add("conv1/7x7_s2", Conv(64, (7, 7), stride=2), Network.INPUT)
    end = network.add("conv1/7x7_s2/bn", Norm(), end)
    end = network.add("conv1/relu", Relu(), end)
    end = network.add("pool1", MaxPool(3, 2), end)
    for stage, blocks, filters in _STAGES:
        for number in range(1, blocks + 1):
            end = _block(
                network, f"conv{stage}_{number}", end, filters, 2 if number == 1 and stage > _STAGES[0][0] else 1
            )
    network.add("avg_pool", Mean(), end)
    return network


def _block(network: Network, prefix: str, source: str, filters: int, stride: int) -> str:
    end = _resnet50_unit(network, f"{prefix}_1x1_reduce", source, Conv(filters, (1, 1), stride=stride))
    end = _resnet50_unit(network, f"{prefix}_3x3", network.add(f"{prefix}_relu1", Relu(), end), Conv(filters, (3, 3)))
    wide = Conv(filters * _WIDENING, (1, 1))
    end = _resnet50_unit(network, f"{prefix}_1x1_increase", network.add(f"{prefix}_relu2", Relu(), end), wide)
    shortcut = source
    if network.shape_of(source) != network.shape_of(end):
        shortcut = _resnet50_unit(network, f"{prefix}_1x1_proj", source, Conv(wide.filters, (1, 1), stride=stride))
    return network.add(f"{prefix}_relu", Relu(), network.add(f"{prefix}_add", Add(), end, shortcut))


def _resnet50_unit(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution and its normalisation."""
    return network.add(f"{name}/bn", Norm(), network.add(name, conv, source))
