"""Networks of Keras: Inception-ResNet v1 and ResNet-50, and how their files' weights become their layers'.

Source: C. Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016,
with the sizes and scales of D. Sandberg's ``facenet``, and the names of the layers in its Keras weights.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2015, with the strides of the Caffe models: in
a block that halves the plane, the first convolution does. The names of the layers are those of ``keras-vggface``,
whose maximum behind the first convolution has no padding: 112 pixels become 55, where Caffe rounds up to 56.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.models.keras.weights import KerasLayer, read_keras
from visavis.models.onnx_graphs import (
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    GraphWriter,
    Layer,
    Mean,
    Network,
    Norm,
    Pool,
    Scale,
    Tensor,
    Weights,
    Window,
)
from visavis.types import FloatArray

_RELU = Elementwise("Relu")
_MAX_POOL = Pool("MaxPool", 3, 2)
# From Keras' order of axes to ours: (rows, columns, inputs, outputs), or (inputs, outputs).
_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
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


def keras_graph(network: Network, data: bytes) -> bytes:
    """Return the ONNX graph ``images (N, C, H, W) float32 -> embeddings (N, D) float32``, with a file's weights.

    Raises:
        ModelCorrupt: the file is damaged, or holds another network's weights.
        RuntimeMissing, RuntimeFailed: h5py is not installed, or cannot be run.
    """
    writer = GraphWriter()
    writer.network(network, _assigned(network, read_keras(data)), "images")
    *_, last = network.layers.values()
    return writer.serialise(Tensor("images", ["N", *network.input_shape]), Tensor("embeddings", ["N", *last.shape]))


def keras_shapes(network: Network, layer: Layer) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's weights by use, as Keras keeps them."""
    shapes = network.weights_of(layer)
    return {use: tuple(shape[axis] for axis in np.argsort(_AXES[len(shape)])) for use, shape in shapes.items()}


def keras_order(network: Network) -> list[Layer]:
    """Return the layers in the order in which Keras saves them.

    That is by the longest way to the output, the farthest first; those equally far as a walk from the output back to
    the input, first inputs first, comes upon them.

    Source: the behaviour of ``keras.Model.layers`` for functional models, in Keras 1 to 3.
    """
    layers = network.layers
    depths = dict.fromkeys(layers, 0)
    for layer in reversed(layers.values()):
        for one in filter(None, layer.inputs):
            depths[one] = max(depths[one], depths[layer.name] + 1)
    walk: dict[str, int] = {}
    ahead = [next(reversed(layers))]
    while ahead:
        name = ahead.pop()
        if name and name not in walk:
            walk[name] = len(walk)
            ahead += reversed(layers[name].inputs)
    return sorted(layers.values(), key=lambda layer: (-depths[layer.name], walk[layer.name]))


def _assigned(network: Network, file: Iterable[KerasLayer]) -> Weights:
    """Return the weights of each layer that has some, each of the file's used once.

    Layers go by their names; in a file that knows none of them, by their order, as Keras itself loads one.

    Raises:
        ModelCorrupt: one is missing or left over, or has another shape; the message says which.
    """
    wanted = {layer.name: shapes for layer in keras_order(network) if (shapes := keras_shapes(network, layer))}
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
    """Return a layer's arrays by use, in our order of axes."""
    if len(layer.weights) != len(shapes):
        raise ModelCorrupt(f"the layer {layer.name!r} has {len(layer.weights)} weights instead of {len(shapes)}")
    for (name, array), (use, shape) in zip(layer.weights.items(), shapes.items(), strict=True):
        stem = name.split(":", maxsplit=1)[0]
        if next((known for end, known in _USES.items() if stem.endswith(end)), use) != use:
            raise ModelCorrupt(f"the layer {layer.name!r} has {name!r} where its {use} should be")
        if array.shape != shape:
            raise ModelCorrupt(f"the layer {layer.name!r} has a {use} of shape {array.shape} instead of {shape}")
    arrays = zip(shapes, layer.weights.values(), strict=True)
    return {use: array.transpose(_AXES[array.ndim]) for use, array in arrays}


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
_BLOCK17: _Branches = ((("", 128, (1, 1)),), (("0a_", 128, (1, 1)), ("0b_", 128, (1, 7)), ("0c_", 128, (7, 1))))
_REDUCTION_B: _Branches = (
    (("0a_", 256, (1, 1)), (_HALVING, 384, (3, 3))),
    (("0a_", 256, (1, 1)), (_HALVING, 256, (3, 3))),
    (("0a_", 256, (1, 1)), ("0b_", 256, (3, 3)), (_HALVING, 256, (3, 3))),
)
_BLOCK8: _Branches = ((("", 192, (1, 1)),), (("0a_", 192, (1, 1)), ("0b_", 192, (1, 3)), ("0c_", 192, (3, 1))))


_STEM = (
    ("Conv2d_1a_3x3", Conv(32, (3, 3), stride=2, padding="valid")),
    ("Conv2d_2a_3x3", Conv(32, (3, 3), padding="valid")),
    ("Conv2d_2b_3x3", Conv(64, (3, 3))),
    ("MaxPool_3a_3x3", _MAX_POOL),
    ("Conv2d_3b_1x1", Conv(80, (1, 1), padding="valid")),
    ("Conv2d_4a_3x3", Conv(192, (3, 3), padding="valid")),
    ("Conv2d_4b_3x3", Conv(256, (3, 3), stride=2, padding="valid")),
)


def inception_resnet_v1(dimension: int) -> Network:
    """Return the network ``images (3, 160, 160) -> embedding (dimension,)``."""
    network, end = Network((3, INCEPTION_SIDE, INCEPTION_SIDE)), Network.INPUT
    for name, kind in _STEM:
        end = _unit(network, name, end, kind) if isinstance(kind, Conv) else network.add(name, kind, end)
    for number in range(1, 6):
        end = _relu(network, f"Block35_{number}", _residual(network, f"Block35_{number}", end, _BLOCK35, 0.17))
    end = _reduction(network, "Mixed_6a", end, _REDUCTION_A)
    for number in range(1, 11):
        end = _relu(network, f"Block17_{number}", _residual(network, f"Block17_{number}", end, _BLOCK17, 0.1))
    end = _reduction(network, "Mixed_7a", end, _REDUCTION_B)
    for number in range(1, 6):
        end = _relu(network, f"Block8_{number}", _residual(network, f"Block8_{number}", end, _BLOCK8, 0.2))
    end = network.add("AvgPool", Mean(), _residual(network, "Block8_6", end, _BLOCK8, 1.0))
    network.add("Bottleneck_BatchNorm", Norm(scale=False), network.add("Bottleneck", Dense(dimension), end))
    return network


def _unit(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution, its normalisation and its ReLU."""
    return _relu(network, name, network.add(f"{name}_BatchNorm", Norm(scale=False), network.add(name, conv, source)))


def _relu(network: Network, name: str, source: str) -> str:
    return network.add(f"{name}_Activation", _RELU, source)


def _branches(network: Network, prefix: str, source: str, branches: _Branches) -> list[str]:
    ends = []
    for number, steps in enumerate(branches):
        end = source
        for tag, filters, window in steps:
            halving = tag == _HALVING
            conv = Conv(filters, window, stride=2 if halving else 1, padding="valid" if halving else "same")
            end = _unit(network, f"{prefix}_Branch_{number}_Conv2d_{tag}{window[0]}x{window[1]}", end, conv)
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
    pool = network.add(f"{prefix}_Branch_{len(ends)}_MaxPool_1a_3x3", _MAX_POOL, source)
    return network.add(prefix, Concat(), *ends, pool)


RESNET50_SIDE = 224

# The number of each stage in its layers' names, its blocks and its filters; four times as many come out of it.
_STAGES = ((2, 3, 64), (3, 4, 128), (4, 6, 256), (5, 3, 512))
_WIDENING = 4


def vggface2_resnet50() -> Network:
    """Return the network ``images (3, 224, 224) -> embedding (2048,)``."""
    network = Network((3, RESNET50_SIDE, RESNET50_SIDE))
    end = _normalised(network, "conv1/7x7_s2", Network.INPUT, Conv(64, (7, 7), stride=2))
    end = network.add("pool1", _MAX_POOL, network.add("conv1/relu", _RELU, end))
    for stage, blocks, filters in _STAGES:
        for number in range(1, blocks + 1):
            halving = number == 1 and stage > _STAGES[0][0]
            end = _block(network, f"conv{stage}_{number}", end, filters, stride=2 if halving else 1)
    network.add("avg_pool", Mean(), end)
    return network


def _block(network: Network, prefix: str, source: str, filters: int, *, stride: int) -> str:
    end = _normalised(network, f"{prefix}_1x1_reduce", source, Conv(filters, (1, 1), stride))
    end = _normalised(network, f"{prefix}_3x3", network.add(f"{prefix}_relu1", _RELU, end), Conv(filters, (3, 3)))
    wide, end = filters * _WIDENING, network.add(f"{prefix}_relu2", _RELU, end)
    end, shortcut = _normalised(network, f"{prefix}_1x1_increase", end, Conv(wide, (1, 1))), source
    if network.shape_of(source) != network.shape_of(end):
        shortcut = _normalised(network, f"{prefix}_1x1_proj", source, Conv(wide, (1, 1), stride))
    return network.add(f"{prefix}_relu", _RELU, network.add(f"{prefix}_add", Add(), end, shortcut))


def _normalised(network: Network, name: str, source: str, conv: Conv) -> str:
    """Add a convolution and its normalisation."""
    return network.add(f"{name}/bn", Norm(), network.add(name, conv, source))
