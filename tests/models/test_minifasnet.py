"""The liveness networks as ONNX graphs: the same numbers as NumPy layer by layer, and as PyTorch."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import minifasnet_layers
import numpy as np
import pytest
import torch_files
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt
from visavis.models.runtime import Graph, RuntimeSpec, compile_graph
from visavis.models.torch.minifasnet import liveness_graph
from visavis.models.torch.state import read_state_dict
from visavis.options import Runtime

State = Mapping[str, NDArray[np.generic]]
SIDE = 80
MOST_DIFFERENCE = 1e-4
FILES = ("2.7_80x80_MiniFASNetV2.pth", "4_0_0_80x80_MiniFASNetV1SE.pth")


def random_state(seed: int, blocks: tuple[int, int, int], *, excited: bool) -> dict[str, NDArray[np.generic]]:
    """A network of random weights and widths, with so many bottlenecks in each stage."""
    draw = np.random.default_rng(seed)
    state: dict[str, NDArray[np.generic]] = {}

    def weights(name: str, *shape: int) -> None:
        state[name] = draw.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        weights(f"{name}.bias", channels)
        for part in ("weight", "running_var"):
            state[f"{name}.{part}"] = draw.uniform(0.5, 1.5, channels).astype(np.float32)
        weights(f"{name}.running_mean", channels)
        state[f"{name}.num_batches_tracked"] = np.array(3, np.int64)

    def block(name: str, out: int, per_group: int, kernel: int = 1, *, prelu: bool = True) -> None:
        weights(f"{name}.conv.weight", out, per_group, kernel, kernel)
        norm(f"{name}.bn", out)
        if prelu:
            weights(f"{name}.prelu.weight", out)

    def bottleneck(name: str, before: int, after: int) -> None:
        wide = int(draw.integers(2, 9))
        block(f"{name}.conv", wide, before)
        block(f"{name}.conv_dw", wide, 1, 3)
        block(f"{name}.project", after, wide, prelu=False)

    block("conv1", 4, 3, 3)
    block("conv2_dw", 4, 1, 3)
    channels = 4
    for before, stage, count in zip("234", "345", blocks, strict=True):
        bottleneck(f"conv_{before}{stage}", channels, 6)
        channels = 6
        for number in range(count):
            bottleneck(f"conv_{stage}.model.{number}", channels, channels)
        if excited and count:
            name = f"conv_{stage}.model.{count - 1}.se_module"
            weights(f"{name}.fc1.weight", 2, channels, 1, 1)
            norm(f"{name}.bn1", 2)
            weights(f"{name}.fc2.weight", channels, 2, 1, 1)
            norm(f"{name}.bn2", channels)
    block("conv_6_sep", 8, channels)
    block("conv_6_dw", 8, 1, 5, prelu=False)
    weights("linear.weight", 5, 8)
    norm("bn", 5)
    weights("prob.weight", 3, 5)
    return state


def crops_for(networks: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, networks, SIDE, SIDE, 3), np.uint8)


def difference(found: NDArray[np.float32], expected: NDArray[Any]) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def run(files: list[bytes], crops: NDArray[np.uint8], runtime: Runtime = "openvino") -> NDArray[np.float32]:
    spec = RuntimeSpec(runtime, precision="f32", threads=1)
    return compile_graph(Graph(liveness_graph(files, SIDE)), spec)(crops)[0]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("blocks", "excited"), [((0, 0, 0), False), ((1, 1, 1), True), ((3, 0, 2), False), ((2, 3, 1), True)]
)
def test_random_networks_are_the_layers(*, runtime: Runtime, blocks: tuple[int, int, int], excited: bool) -> None:
    states = [random_state(1, blocks, excited=excited), random_state(2, blocks[::-1], excited=not excited)]
    crops = crops_for(2, 3)
    found = run([torch_files.stream_of(state) for state in states], crops, runtime)
    expected = np.stack([minifasnet_layers.forward(s, crops[:, k]) for k, s in enumerate(states)], axis=1)
    assert difference(found, expected) <= MOST_DIFFERENCE


def test_names_may_begin_as_training_on_several_devices_leaves_them() -> None:
    state = random_state(3, (1, 1, 1), excited=True)
    crops = crops_for(1, 1)
    plain = run([torch_files.archive_of(state)], crops)
    parallel = run([torch_files.archive_of({f"module.{name}": array for name, array in state.items()})], crops)
    np.testing.assert_array_equal(plain, parallel)


def real_files(test_data: Path) -> list[bytes]:
    return [(test_data / "models" / "minifasnet" / name).read_bytes() for name in FILES]


def test_the_real_networks_are_the_layers(test_data: Path) -> None:
    files = real_files(test_data)
    crops = crops_for(2, 2)
    states = [{name.removeprefix("module."): array for name, array in read_state_dict(data).items()} for data in files]
    expected = np.stack([minifasnet_layers.forward(s, crops[:, k]) for k, s in enumerate(states)], axis=1)
    assert difference(run(files, crops), expected) <= MOST_DIFFERENCE


def test_the_real_networks_are_those_of_pytorch(test_data: Path) -> None:
    torch = pytest.importorskip("torch")
    from minifasnet_torch import MiniFASNet  # noqa: PLC0415  # which imports it

    files = real_files(test_data)
    crops = crops_for(2, 4)
    expected = []
    for number, data in enumerate(files):
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        network = MiniFASNet({name: tuple(tensor.shape) for name, tensor in state.items()}).eval()
        network.load_state_dict(state)
        bgr = np.ascontiguousarray(crops[:, number, ..., ::-1].transpose(0, 3, 1, 2), np.float32)
        with torch.no_grad():
            expected.append(network(torch.from_numpy(bgr)).numpy())
    found = run(files, crops)
    assert difference(found, np.stack(expected, axis=1)) <= MOST_DIFFERENCE


STATE = random_state(4, (1, 1, 1), excited=True)
OTHERS = {
    "nothing": ({}, "has no conv1"),
    "a layer missing": ({n: a for n, a in STATE.items() if n != "conv_34.project.bn.bias"}, "no conv_34.project.bn"),
    "a layer too many": ({**STATE, "extra.weight": np.zeros(3, np.float32)}, "extra.weight"),
    "another type": ({**STATE, "prob.weight": STATE["prob.weight"].astype(np.float64)}, "no prob.weight"),
    "another number of dimensions": ({**STATE, "prob.weight": np.zeros(3, np.float32)}, "no prob.weight"),
    "another normalisation": ({**STATE, "bn.bias": np.zeros(4, np.float32)}, "instead of"),
    "another width": ({**STATE, "prob.weight": np.zeros((3, 4), np.float32)}, "instead of"),
    "another number of classes": ({**STATE, "prob.weight": np.zeros((2, 5), np.float32)}, "do not make a network"),
}


@pytest.mark.parametrize(("state", "message"), OTHERS.values(), ids=OTHERS)
def test_another_network_is_refused(state: State, message: str) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        liveness_graph([torch_files.stream_of(state)], SIDE)
