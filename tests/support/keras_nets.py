"""The two Keras networks written down a second time, over layers in NumPy or of Keras itself; and weights files."""

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from visavis.models.keras.networks import inception_resnet_v1, keras_graph, keras_shapes, vggface2_resnet50
from visavis.models.onnx_graphs import Network
from visavis.models.runtime import Graph, Infer, RuntimeSpec, compile_graph
from visavis.options import Runtime

Array: TypeAlias = NDArray[np.floating]
Value: TypeAlias = Any
"""What a library of layers computes with: arrays, or the symbols of Keras."""
LayerWeights: TypeAlias = Mapping[str, Mapping[str, Array]]
"""Of each layer, in the file's order: its weights by their names."""


NETWORKS = {
    "facenet": inception_resnet_v1(128),
    "facenet512": inception_resnet_v1(512),
    "vggface2": vggface2_resnet50(),
}


def image_for(network: Network) -> Array:
    """Return a random image (H, W, C)."""
    return np.random.default_rng(0).standard_normal(network.input_shape[::-1]).astype(np.float32)


def random_file(network: Network) -> bytes:
    """Return a file of random weights for a network."""
    random = np.random.default_rng(1)

    def draw(use: str, shape: tuple[int, ...]) -> Array:
        array = random.standard_normal(shape, np.float32)
        array *= np.sqrt(2 / math.prod(shape[:-1]), dtype=np.float32)
        return np.abs(array) if use == "moving_variance" else array

    shapes = {name: keras_shapes(network, layer) for name, layer in network.layers.items()}
    return keras_file(
        {name: {f"{name}/{use}:0": draw(use, shape) for use, shape in own.items()} for name, own in shapes.items()}
    )


def compiled(network: Network, file: bytes, runtime: Runtime = "openvino") -> Infer:
    return compile_graph(Graph(keras_graph(network, file)), RuntimeSpec(runtime, "f32", threads=1))


def run(infer: Infer, image: Array) -> Array:
    """Return the output (D,) for an image (H, W, C)."""
    (outputs,) = infer(image.transpose(2, 0, 1)[None])
    output: Array = outputs[0]
    return output


def difference(ours: Array, theirs: Array) -> float:
    """Return the largest difference as a part of the largest number."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


class K(NamedTuple):
    """A convolution."""

    filters: int
    rows: int
    columns: int
    stride: int = 1
    padding: str = "same"
    bias: bool = False


class Layers(Protocol):
    """What the networks need of a library of layers."""

    def conv(self, name: str, x: Value, k: K) -> Value: ...
    def norm(self, name: str, x: Value, *, scale: bool) -> Value: ...
    def relu(self, x: Value) -> Value: ...
    def max_pool(self, x: Value) -> Value: ...
    def mean(self, x: Value) -> Value: ...
    def concat(self, xs: list[Value]) -> Value: ...
    def add_scaled(self, x: Value, y: Value, factor: float) -> Value: ...
    def add(self, x: Value, y: Value) -> Value: ...
    def dense(self, name: str, x: Value, outputs: int) -> Value: ...


def facenet(on: Layers, image: Value, dimension: int) -> Value:
    """Inception-ResNet v1, layer by layer as DeepFace lists it."""

    def unit(name: str, x: Value, k: K) -> Value:
        return on.relu(on.norm(f"{name}_BatchNorm", on.conv(name, x, k), scale=False))

    def residual(prefix: str, x: Value, branches: list[Value], channels: int, factor: float) -> Value:
        up = on.conv(f"{prefix}_Conv2d_1x1", on.concat(branches), K(channels, 1, 1, bias=True))
        return on.add_scaled(x, up, factor)

    x = unit("Conv2d_1a_3x3", image, K(32, 3, 3, 2, "valid"))
    x = unit("Conv2d_2a_3x3", x, K(32, 3, 3, 1, "valid"))
    x = on.max_pool(unit("Conv2d_2b_3x3", x, K(64, 3, 3)))
    x = unit("Conv2d_3b_1x1", x, K(80, 1, 1, 1, "valid"))
    x = unit("Conv2d_4a_3x3", x, K(192, 3, 3, 1, "valid"))
    x = unit("Conv2d_4b_3x3", x, K(256, 3, 3, 2, "valid"))
    for i in range(1, 6):
        name = f"Block35_{i}_Branch"
        first = unit(f"{name}_0_Conv2d_1x1", x, K(32, 1, 1))
        second = unit(f"{name}_1_Conv2d_0b_3x3", unit(f"{name}_1_Conv2d_0a_1x1", x, K(32, 1, 1)), K(32, 3, 3))
        third = unit(f"{name}_2_Conv2d_0b_3x3", unit(f"{name}_2_Conv2d_0a_1x1", x, K(32, 1, 1)), K(32, 3, 3))
        third = unit(f"{name}_2_Conv2d_0c_3x3", third, K(32, 3, 3))
        x = on.relu(residual(f"Block35_{i}", x, [first, second, third], 256, 0.17))
    first = unit("Mixed_6a_Branch_0_Conv2d_1a_3x3", x, K(384, 3, 3, 2, "valid"))
    second = unit(
        "Mixed_6a_Branch_1_Conv2d_0b_3x3", unit("Mixed_6a_Branch_1_Conv2d_0a_1x1", x, K(192, 1, 1)), K(192, 3, 3)
    )
    second = unit("Mixed_6a_Branch_1_Conv2d_1a_3x3", second, K(256, 3, 3, 2, "valid"))
    x = on.concat([first, second, on.max_pool(x)])
    for i in range(1, 11):
        name = f"Block17_{i}_Branch"
        first = unit(f"{name}_0_Conv2d_1x1", x, K(128, 1, 1))
        second = unit(f"{name}_1_Conv2d_0b_1x7", unit(f"{name}_1_Conv2d_0a_1x1", x, K(128, 1, 1)), K(128, 1, 7))
        second = unit(f"{name}_1_Conv2d_0c_7x1", second, K(128, 7, 1))
        x = on.relu(residual(f"Block17_{i}", x, [first, second], 896, 0.1))
    name = "Mixed_7a_Branch"
    first = unit(f"{name}_0_Conv2d_1a_3x3", unit(f"{name}_0_Conv2d_0a_1x1", x, K(256, 1, 1)), K(384, 3, 3, 2, "valid"))
    second = unit(f"{name}_1_Conv2d_1a_3x3", unit(f"{name}_1_Conv2d_0a_1x1", x, K(256, 1, 1)), K(256, 3, 3, 2, "valid"))
    third = unit(f"{name}_2_Conv2d_0b_3x3", unit(f"{name}_2_Conv2d_0a_1x1", x, K(256, 1, 1)), K(256, 3, 3))
    third = unit(f"{name}_2_Conv2d_1a_3x3", third, K(256, 3, 3, 2, "valid"))
    x = on.concat([first, second, third, on.max_pool(x)])
    for i in range(1, 7):
        name = f"Block8_{i}_Branch"
        first = unit(f"{name}_0_Conv2d_1x1", x, K(192, 1, 1))
        second = unit(f"{name}_1_Conv2d_0b_1x3", unit(f"{name}_1_Conv2d_0a_1x1", x, K(192, 1, 1)), K(192, 1, 3))
        second = unit(f"{name}_1_Conv2d_0c_3x1", second, K(192, 3, 1))
        x = residual(f"Block8_{i}", x, [first, second], 1792, 0.2 if i < 6 else 1.0)
        x = on.relu(x) if i < 6 else x
    return on.norm("Bottleneck_BatchNorm", on.dense("Bottleneck", on.mean(x), dimension), scale=False)


def resnet50(on: Layers, image: Value) -> Value:
    """ResNet-50 as keras-vggface has it."""

    def unit(name: str, x: Value, filters: int, size: int = 1, stride: int = 1) -> Value:
        padding = "valid" if size == 1 else "same"
        return on.norm(f"{name}/bn", on.conv(name, x, K(filters, size, size, stride, padding)), scale=True)

    x = on.max_pool(on.relu(unit("conv1/7x7_s2", image, 64, 7, 2)))
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        filters = 16 * 2**stage
        for i in range(1, blocks + 1):
            name, stride = f"conv{stage}_{i}", 2 if i == 1 and stage > 2 else 1
            y = on.relu(unit(f"{name}_1x1_reduce", x, filters, 1, stride))
            y = unit(f"{name}_1x1_increase", on.relu(unit(f"{name}_3x3", y, filters, 3)), 4 * filters)
            x = unit(f"{name}_1x1_proj", x, 4 * filters, 1, stride) if i == 1 else x
            x = on.relu(on.add(y, x))
    return on.mean(x)


class NumpyLayers:
    """Keras' layers on one image (H, W, C), in float64. Weights are random, and made when they are first needed."""

    def __init__(self, seed: int = 0) -> None:
        self.weights: dict[str, dict[str, Array]] = {}
        self._random = np.random.default_rng(seed)

    def conv(self, name: str, x: Array, k: K) -> Array:
        window, inputs = (k.rows, k.columns), x.shape[2]
        kernel = self._normal((*window, inputs, k.filters), np.sqrt(2 / (k.rows * k.columns * inputs)))
        self.weights[name] = {f"{name}/kernel:0": kernel}
        if k.bias:
            self.weights[name][f"{name}/bias:0"] = self._normal((k.filters,), 0.1)
        if k.padding == "same":
            strides = [(-(-size // k.stride) - 1) * k.stride for size in x.shape[:2]]
            missing = [max(a + b - size, 0) for a, b, size in zip(strides, window, x.shape[:2], strict=True)]
            x = np.pad(x, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
        patches = np.lib.stride_tricks.sliding_window_view(x, window, axis=(0, 1))[:: k.stride, :: k.stride]
        product: Array = np.tensordot(patches, kernel.astype(np.float64), ([3, 4, 2], [0, 1, 2]))
        return product + self.weights[name][f"{name}/bias:0"] if k.bias else product

    def norm(self, name: str, x: Array, *, scale: bool) -> Array:
        channels = (x.shape[-1],)
        gamma = {f"{name}/gamma:0": self._uniform(channels)} if scale else {}
        own = {f"{name}/{key}:0": self._normal(channels, 0.1) for key in ("beta", "moving_mean")}
        own[f"{name}/moving_variance:0"] = self._uniform(channels)
        self.weights[name] = {**gamma, **own}
        beta, mean, variance = (weight.astype(np.float64) for weight in own.values())
        factor = np.asarray(next(iter(gamma.values()), 1.0), np.float64)
        normal: Array = factor * (x - mean) / np.sqrt(variance + 0.001) + beta
        return normal

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def max_pool(self, x: Array) -> Array:
        highest: Array = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2].max((3, 4))
        return highest

    def mean(self, x: Array) -> Array:
        mean: Array = x.mean((0, 1))
        return mean

    def concat(self, xs: list[Array]) -> Array:
        return np.concatenate(xs, axis=2)

    def add_scaled(self, x: Array, y: Array, factor: float) -> Array:
        return x + factor * y

    def add(self, x: Array, y: Array) -> Array:
        return x + y

    def dense(self, name: str, x: Array, outputs: int) -> Array:
        kernel = self._normal((len(x), outputs), np.sqrt(1 / len(x)))
        self.weights[name] = {f"{name}/kernel:0": kernel}
        return x @ kernel.astype(np.float64)

    def _normal(self, shape: tuple[int, ...], deviation: float) -> Array:
        return (self._random.standard_normal(shape) * deviation).astype(np.float32)

    def _uniform(self, shape: tuple[int, ...]) -> Array:
        return self._random.uniform(0.5, 1.5, shape).astype(np.float32)


def keras_file(layers: LayerWeights, *, group: str = "", chunked_names: int = 0) -> bytes:
    """Return the HDF5 file that Keras writes of these weights.

    Args:
        layers: of the network.
        group: in which a whole model has them.
        chunked_names: into how many attributes the names of layers are divided; 0 for one, with no number.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        root = file.create_group(group) if group else file
        names = _names(layers)
        if chunked_names:
            for number, part in enumerate(np.array_split(names, chunked_names)):
                root.attrs[f"layer_names{number}"] = part
        else:
            root.attrs["layer_names"] = names
        for name, weights in layers.items():
            own = root.require_group(name)
            own.attrs["weight_names"] = _names(weights)
            for weight, array in weights.items():
                own.create_dataset(weight, data=array)
    return buffer.getvalue()


def _names(names: Iterable[str]) -> NDArray[Any]:
    return np.array([name.encode() for name in names])
