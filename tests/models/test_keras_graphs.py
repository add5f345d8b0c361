"""The graphs of Keras' networks beside NumPy; test_keras_tensorflow.py has them beside Keras itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from effort import effort, scaled
from keras_nets import NETWORKS, Array, K, LayerWeights, NumpyLayers, compiled, difference, image_for, keras_file, run
from keras_nets import facenet as facenet_on
from keras_nets import resnet50 as resnet50_on

from visavis import ModelCorrupt
from visavis.models.keras import networks
from visavis.models.keras.networks import keras_graph, keras_order
from visavis.models.keras.reading import layers_of
from visavis.models.keras.weights import KerasLayer
from visavis.models.onnx_graphs import Add, Conv, Dense, Elementwise, Kind, Mean, Network, Norm, Pool, same_padding
from visavis.options import Runtime

RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")


@dataclass(frozen=True, eq=False)
class Case:
    """A network with random weights, and what it gives for an image."""

    network: Network
    image: Array
    weights: LayerWeights
    output: Array


@pytest.fixture(autouse=True)
def _read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files in this process; test_keras_weights.py and test_keras_packs.py start the processes that read them."""
    monkeypatch.setattr(
        networks, "read_keras", lambda data: tuple(KerasLayer(*layer) for layer in layers_of(data).items())
    )


@pytest.fixture(scope="module")
def facenet() -> Case:
    network, layers = NETWORKS["facenet"], NumpyLayers()
    image = image_for(network)
    return Case(network, image, layers.weights, facenet_on(layers, image, 128))


@pytest.fixture(scope="module")
def resnet50() -> Case:
    network, layers = NETWORKS["vggface2"], NumpyLayers()
    image = image_for(network)
    return Case(network, image, layers.weights, resnet50_on(layers, image))


@pytest.fixture
def small() -> Case:
    """A network of a few layers, two of them beside each other."""
    network, layers = Network((2, 4, 4)), NumpyLayers()
    network.add("left", Conv(3, (3, 3), bias=True), Network.INPUT)
    network.add("conv", Conv(3, (1, 1)), Network.INPUT)
    network.add("right", Norm(scale=False), "conv")
    network.add("sum", Add(), "left", "right")
    network.add("mean", Mean(), "sum")
    network.add("end", Dense(4), "mean")
    image = image_for(network)
    right = layers.norm("right", layers.conv("conv", image, K(3, 1, 1)), scale=False)
    both = layers.conv("left", image, K(3, 3, 3, bias=True)) + right
    return Case(network, image, layers.weights, layers.dense("end", layers.mean(both), 4))


@pytest.mark.thorough
@scaled
def test_facenet_is_the_network_in_numpy(facenet: Case) -> None:
    file = keras_file(facenet.weights)
    for runtime in effort(RUNTIMES[:1], RUNTIMES):
        infer = compiled(facenet.network, file, runtime)
        assert difference(run(infer, facenet.image), facenet.output) < 1e-4


@pytest.mark.thorough
@scaled
def test_resnet50_is_the_network_in_numpy(resnet50: Case) -> None:
    file = keras_file(resnet50.weights, group="model_weights")
    for runtime in effort(RUNTIMES[1:], RUNTIMES):
        infer = compiled(resnet50.network, file, runtime)
        assert difference(run(infer, resnet50.image), resnet50.output) < 1e-4


@pytest.mark.parametrize(
    ("name", "parameters"), [("facenet", 22_808_144), ("facenet512", 23_497_424), ("vggface2", 23_561_152)]
)
def test_the_networks_are_as_large_as_the_published_ones(name: str, parameters: int) -> None:
    network = NETWORKS[name]
    shapes = [shape for layer in network.layers.values() for shape in network.weights_of(layer).values()]
    assert sum(map(math.prod, shapes)) == parameters


def one_layer(kind: Kind, side: int) -> Network:
    """Return a network of a layer, and the mean of each channel."""
    network = Network((3, side, side))
    network.add("first", kind, Network.INPUT)
    network.add("mean", Mean(), "first")
    return network


CONVOLUTIONS = [
    pytest.param(window, stride, padding, side, id=f"{window[0]}x{window[1]} by {stride} {padding} on {side}")
    for window, stride, padding, side in (
        ((1, 1), 1, "same", 1),
        ((3, 3), 1, "same", 1),
        ((3, 3), 2, "same", 8),
        ((3, 3), 2, "same", 7),
        ((7, 7), 2, "same", 20),
        ((7, 7), 3, "same", 20),
        ((1, 1), 2, "same", 9),
        ((2, 2), 1, "same", 6),
        ((1, 7), 1, "same", 9),
        ((7, 1), 1, "same", 9),
        ((5, 3), 2, "valid", 12),
        ((3, 3), 1, "valid", 3),
    )
]


@pytest.mark.parametrize(("window", "stride", "padding", "side"), CONVOLUTIONS)
def test_convolutions(window: tuple[int, int], stride: int, padding: Literal["same", "valid"], side: int) -> None:
    network = one_layer(Conv(4, window, stride, padding, bias=True), side)
    layers, image = NumpyLayers(), image_for(network)
    theirs = layers.conv("first", image, K(4, *window, stride, padding, bias=True))
    assert network.layers["first"].shape == (4, *theirs.shape[:2])
    ours = run(compiled(network, keras_file(layers.weights)), image)
    assert difference(ours, layers.mean(theirs)) < 1e-5


@pytest.mark.parametrize("side", [3, 4, 9, 112])
def test_maxima_have_no_padding(side: int) -> None:
    network = one_layer(Pool("MaxPool", 3, 2), side)
    network.add("end", Dense(2), "mean")
    layers, image = NumpyLayers(), image_for(network)
    theirs = layers.dense("end", layers.mean(layers.max_pool(image)), 2)
    assert difference(run(compiled(network, keras_file(layers.weights)), image), theirs) < 1e-5


@pytest.mark.parametrize("scale", [True, False])
def test_a_normalisation_with_an_extreme_variance(scale: bool) -> None:  # noqa: FBT001  # a case
    network = Network((3, 4, 4))
    network.add("conv", Conv(5, (3, 3), bias=True), Network.INPUT)
    network.add("norm", Norm(scale), "conv")
    network.add("relu", Elementwise("Relu"), "norm")
    network.add("sum", Add(), "relu", "norm")
    network.add("mean", Mean(), "sum")
    image, files = image_for(network), []
    for variance in (0.0, 1e-9, 1e9):
        layers = NumpyLayers()
        x = layers.conv("conv", image, K(5, 3, 3, bias=True))
        layers.norm("norm", x, scale=scale)
        own = layers.weights["norm"]
        own["norm/moving_variance:0"][:] = variance
        files.append(keras_file(layers.weights))
        beta, mean = (own[f"norm/{key}:0"].astype(np.float64) for key in ("beta", "moving_mean"))
        y = own.get("norm/gamma:0", np.ones(5)) * (x - mean) / np.sqrt(np.float32(variance) + 0.001) + beta
        ours = run(compiled(network, files[-1]), image)
        assert difference(ours, layers.mean(layers.relu(y) + y)) < 1e-5


@pytest.mark.parametrize(
    ("size", "window", "stride", "pads"),
    [
        (1, 1, 1, (0, 0)),
        (224, 7, 2, (2, 3)),
        (8, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (9, 1, 2, (0, 0)),
        (9, 7, 1, (3, 3)),
    ],
)
def test_same_padding(size: int, window: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_padding(size, window, stride) == pads


@pytest.mark.parametrize("name", ["small", pytest.param("facenet", marks=pytest.mark.thorough)])
def test_layers_of_other_names_go_by_their_order(name: str, request: pytest.FixtureRequest) -> None:
    """As Keras itself does; its order of branches is that of the distance to the output, not ours."""
    case: Case = request.getfixturevalue(name)
    order = [layer.name for layer in keras_order(case.network) if case.network.weights_of(layer)]
    renamed = {
        f"layer_{i}": {f"layer_{i}/w{j}": array for j, array in enumerate(case.weights[layer].values())}
        for i, layer in enumerate(order)
    }
    infer = compiled(case.network, keras_file(renamed))
    assert difference(run(infer, case.image), case.output) < 1e-4
    (first, *others) = renamed.items()
    with pytest.raises(ModelCorrupt, match=f"{len(others)} layers with weights instead of {len(renamed)}"):
        keras_graph(case.network, keras_file(dict(others)))
    with pytest.raises(ModelCorrupt, match=r"layer_\d+.* instead of"):
        keras_graph(case.network, keras_file(dict([*others, first])))


def changed(layer: str, change: Callable[[dict[str, Array]], dict[str, Array]]) -> LayerWeights:
    weights = dict(tiny_weights())
    weights[layer] = change(dict(weights[layer]))
    return weights


def tiny() -> Network:
    network = Network((2, 4, 4))
    network.add("conv", Conv(3, (3, 3)), Network.INPUT)
    network.add("norm", Norm(scale=False), "conv")
    network.add("mean", Mean(), "norm")
    network.add("end", Dense(4), "mean")
    return network


def tiny_weights() -> LayerWeights:
    layers = NumpyLayers()
    x = layers.norm("norm", layers.conv("conv", image_for(tiny()), K(3, 3, 3)), scale=False)
    layers.dense("end", layers.mean(x), 4)
    return layers.weights


KERAS_1 = {"kernel": "W", "beta": "beta", "moving_mean": "running_mean", "moving_variance": "running_std"}


def test_weights_with_the_names_of_keras_1() -> None:
    """Its layers' weights are called otherwise; what it calls a deviation is the variance."""
    renamed = {
        name: {f"{name}_{KERAS_1[key.split('/')[1].split(':')[0]]}": array for key, array in weights.items()}
        for name, weights in tiny_weights().items()
    }
    assert keras_graph(tiny(), keras_file(renamed)) == keras_graph(tiny(), keras_file(tiny_weights()))
    norm = renamed["norm"]
    renamed["norm"] = {key: norm[key] for key in sorted(norm, reverse=True)}
    with pytest.raises(ModelCorrupt, match="'norm_running_std' where its beta should be"):
        keras_graph(tiny(), keras_file(renamed))


def without(name: str) -> LayerWeights:
    return {key: value for key, value in tiny_weights().items() if key != name}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        pytest.param({}, "0 layers with weights instead of 3", id="none"),
        pytest.param(without("norm"), "no layer 'norm'", id="a layer is missing"),
        pytest.param({**tiny_weights(), "more": {"more/kernel:0": np.zeros(1)}}, "unknown layer 'more'", id="surplus"),
        pytest.param(changed("conv", lambda _: {}), "no layer 'conv'", id="a layer without its weights"),
        pytest.param(
            changed("conv", lambda w: {**w, "conv/bias:0": np.zeros(3)}), "'conv' has 2 weights", id="a surplus bias"
        ),
        pytest.param(
            changed("norm", lambda w: dict(list(w.items())[1:])), "'norm' has 2 weights instead of 3", id="no beta"
        ),
        pytest.param(
            changed("norm", lambda w: dict(reversed(w.items()))), "where its beta should be", id="another order"
        ),
        pytest.param(
            changed("conv", lambda w: {key: array[:2] for key, array in w.items()}),
            r"kernel of shape \(2, 3, 2, 3\) instead of \(3, 3, 2, 3\)",
            id="another shape",
        ),
        pytest.param(
            changed("norm", lambda w: {key: array - 9 for key, array in w.items()}),
            "variance below zero",
            id="variance",
        ),
        pytest.param(
            changed("end", lambda w: {key: array * np.nan for key, array in w.items()}), "not finite", id="no number"
        ),
    ],
)
def test_weights_that_do_not_fit(weights: LayerWeights, message: str) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        keras_graph(tiny(), keras_file(weights))
