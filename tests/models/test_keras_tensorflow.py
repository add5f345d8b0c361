"""The graphs of Keras' networks beside Keras itself, which is far larger than all else: ``make test-graphs``."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from keras_nets import NETWORKS, K, Value, compiled, difference, facenet, image_for, resnet50, run


class KerasLayers:
    """Keras' own layers."""

    def __init__(self, keras: Value, *, named: bool) -> None:
        self._on = keras.layers
        self._named = named

    def _name(self, name: str) -> dict[str, str]:
        return {"name": name} if self._named else {}

    def conv(self, name: str, x: Value, k: K) -> Value:
        return self._on.Conv2D(
            k.filters,
            (k.rows, k.columns),
            strides=k.stride,
            padding=k.padding,
            use_bias=k.bias,
            kernel_initializer="he_normal",
            bias_initializer="random_normal",
            **self._name(name),
        )(x)

    def norm(self, name: str, x: Value, *, scale: bool) -> Value:
        return self._on.BatchNormalization(axis=-1, epsilon=0.001, scale=scale, **self._name(name))(x)

    def relu(self, x: Value) -> Value:
        return self._on.Activation("relu")(x)

    def max_pool(self, x: Value) -> Value:
        return self._on.MaxPooling2D(3, strides=2, padding="valid")(x)

    def mean(self, x: Value) -> Value:
        return self._on.GlobalAveragePooling2D()(x)

    def concat(self, xs: list[Value]) -> Value:
        return self._on.Concatenate(axis=-1)(xs)

    def add_scaled(self, x: Value, y: Value, factor: float) -> Value:
        return self._on.add([x, self._on.Lambda(lambda value: value * factor)(y)])

    def add(self, x: Value, y: Value) -> Value:
        return self._on.add([x, y])

    def dense(self, name: str, x: Value, outputs: int) -> Value:
        return self._on.Dense(outputs, use_bias=False, **self._name(name))(x)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's and Keras' own
@pytest.mark.parametrize(
    ("library", "name", "names"),
    [
        ("tf_keras", "facenet", "published"),
        ("tf_keras", "facenet512", "given"),
        ("tf_keras", "vggface2", "published"),
        ("tf_keras", "vggface2", "given"),
        ("keras", "facenet", "published"),
        ("keras", "vggface2", "given"),  # Keras 3 allows no slash in a name
    ],
)
def test_the_graph_is_the_network_in_keras(
    library: str, name: str, names: Literal["published", "given"], tmp_path: Path
) -> None:
    """Weights alone as Keras 2 saves them, whole models of Keras 3; names as in the published files, or Keras' own."""
    keras = pytest.importorskip(library)
    network = NETWORKS[name]
    layers = KerasLayers(keras, named=names == "published")
    source = keras.layers.Input(network.input_shape[::-1])
    dimension = network.layers["Bottleneck"].shape[0] if "Bottleneck" in network.layers else 0
    model = keras.Model(source, facenet(layers, source, dimension) if dimension else resnet50(layers, source))
    draw_normalisations(keras, model)
    path = tmp_path / "weights.h5"
    (model.save_weights if library == "tf_keras" else model.save)(path)
    image = image_for(network)
    theirs = np.asarray(model(image[None], training=False))[0]
    assert difference(run(compiled(network, path.read_bytes()), image), theirs) < 1e-4


def draw_normalisations(keras: Value, model: Value) -> None:
    """Give the normalisations random weights: Keras begins with ones that do nothing."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *gamma, beta, mean, variance = layer.get_weights()
            shifts = [random.normal(0, 0.1, one.shape) for one in (beta, mean)]
            *factors, last = (random.uniform(0.5, 1.5, one.shape) for one in (*gamma, variance))
            layer.set_weights([*factors, *shifts, last])
