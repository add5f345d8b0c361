"""SCRFD's contract, on networks made for the test: the real weights may not be passed on."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from visavis import ModelCorrupt, RuntimeFailed
from visavis.core.geometry import Detections, iou, suppress
from visavis.models.anchor_free import SCRFD, AnchorFreeDetector
from visavis.models.runtime import Graph, Infer, RuntimeSpec, compile_graph
from visavis.options import Runtime

Array = NDArray[np.float32]
STRIDES = (8, 16, 32)
WIDTHS = (1, 4, 10)
RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
# Distances, in strides, from an anchor's centre to the sides of its face, and to the five points.
SIDES = (1.0, 1.5, 2.0, 2.5)
POINTS = (-0.5, -0.5, 0.5, -0.5, 0.0, 0.1, -0.4, 0.75, 0.4, 0.75)


def network(weights: dict[tuple[int, int], tuple[Array, Array]], *, batched: bool) -> bytes:
    """Return a graph of SCRFD's contract: every output is a linear map of the mean colour of its cell.

    Args:
        weights: by stride and width, the map (2 * width, 3) and shift (2 * width,): two anchors for each cell.
        batched: whether the outputs have a batch's dimension.
    """
    nodes, constants, outputs = [], [], []
    for width in WIDTHS:
        for stride in STRIDES:
            name = f"{stride}_{width}"
            scale, shift = weights[stride, width]
            constants += [
                numpy_helper.from_array(scale.reshape(2 * width, 3, 1, 1).astype(np.float32), f"scale{name}"),
                numpy_helper.from_array(shift.astype(np.float32), f"shift{name}"),
                numpy_helper.from_array(np.array([1, -1, width] if batched else [-1, width]), f"shape{name}"),
            ]
            last = f"flat{name}" if width == 1 else f"out{name}"
            nodes += [
                helper.make_node(
                    "AveragePool", ["image"], [f"pool{name}"], kernel_shape=[stride] * 2, strides=[stride] * 2
                ),
                helper.make_node("Conv", [f"pool{name}", f"scale{name}", f"shift{name}"], [f"conv{name}"]),
                helper.make_node("Transpose", [f"conv{name}"], [f"last{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last{name}", f"shape{name}"], [last]),
            ]
            if width == 1:
                nodes.append(helper.make_node("Sigmoid", [last], [f"out{name}"]))
            shape = [1, None, width] if batched else [None, width]
            outputs.append(helper.make_tensor_value_info(f"out{name}", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "scrfd", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def random_weights(seed: int) -> dict[tuple[int, int], tuple[Array, Array]]:
    """Return weights that make something of every cell, and a face of some."""
    rng = np.random.default_rng(seed)
    return {
        (stride, width): (
            rng.normal(0, 2, (2 * width, 3)).astype(np.float32),
            rng.uniform(0, 1, 2 * width).astype(np.float32) * (1 if width > 1 else 0),
        )
        for stride in STRIDES
        for width in WIDTHS
    }


def known_weights() -> dict[tuple[int, int], tuple[Array, Array]]:
    """Return weights that find a face of known shape where a cell is red (stride 8), green (16) or blue (32)."""
    weights = {}
    for channel, stride in enumerate(STRIDES):
        score = np.zeros((2, 3), np.float32)
        # A second anchor, which is less sure, has the same face.
        score[:, channel] = 20, 10
        weights[stride, 1] = (score, np.array([-5, -3], np.float32))
        for width, values in ((4, SIDES), (10, POINTS)):
            weights[stride, width] = (np.zeros((2 * width, 3), np.float32), np.tile(np.array(values, np.float32), 2))
    return weights


def compiled(model: bytes, runtime: Runtime = "openvino") -> Infer:
    return compile_graph(Graph(model, shape=(1, 3, None, None)), RuntimeSpec(runtime, "f32", threads=1))


def read(model: bytes, runtime: Runtime, image: NDArray[np.uint8]) -> Detections:
    return SCRFD.read(compiled(model, runtime), image)


def decoded(
    image: NDArray[np.uint8], weights: dict[tuple[int, int], tuple[Array, Array]]
) -> list[tuple[float, list[float], list[float]]]:
    """Return score, box and points of all anchors of at least one half, by the contract, one anchor after another."""
    found = []
    for stride in STRIDES:
        for row in range(image.shape[0] // stride):
            for column in range(image.shape[1] // stride):
                patch = image[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
                colour = (patch.astype(np.float64).mean(axis=(0, 1)) - 127.5) / 128
                numbers = {width: weights[stride, width][0] @ colour + weights[stride, width][1] for width in WIDTHS}
                for anchor in range(2):
                    score = 1 / (1 + math.exp(-numbers[1][anchor]))
                    if score < 0.5:
                        continue
                    left, top, right, bottom = (stride * numbers[4][4 * anchor : 4 * anchor + 4]).tolist()
                    x, y = column * stride, row * stride
                    offsets = (stride * numbers[10][10 * anchor : 10 * anchor + 10]).tolist()
                    points = [offset + (x, y)[i % 2] for i, offset in enumerate(offsets)]
                    found.append((score, [x - left, y - top, x + right, y + bottom], points))
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("size_wh", [(32, 32), (32, 128), (96, 64), (160, 96)])
def test_the_head_reads_the_contract(runtime: Runtime, size_wh: tuple[int, int], *, batched: bool) -> None:
    weights = random_weights(sum(size_wh))
    image = np.random.default_rng(1).integers(0, 256, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    image = image.repeat(8, axis=0).repeat(8, axis=1)
    found = read(network(weights, batched=batched), runtime, image)
    expected = decoded(image, weights)
    assert len(expected) > 3
    assert found.scores == pytest.approx([row[0] for row in expected], abs=1e-4)
    assert found.boxes_xyxy == pytest.approx(np.array([row[1] for row in expected]), abs=0.01)
    assert found.landmarks.reshape(-1, 10) == pytest.approx(np.array([row[2] for row in expected]), abs=0.01)


def make_detector(runtime: Runtime = "openvino") -> AnchorFreeDetector:
    model = network(known_weights(), batched=False)
    return AnchorFreeDetector(SCRFD, model, RuntimeSpec(runtime, "f32", threads=1))


def picture(size_wh: tuple[int, int], cells: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return a black image with coloured cells: (channel, column, row), in strides of the channel."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for channel, column, row in cells:
        stride = STRIDES[channel]
        image[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride, channel] = 255
    return image


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("cells", [[], [(0, 3, 4)], [(1, 2, 1)], [(2, 5, 2)], [(0, 20, 15), (1, 2, 2), (2, 4, 2)]])
def test_known_faces(runtime: Runtime, cells: list[tuple[int, int, int]]) -> None:
    image = picture((200, 150), cells)  # neither is a multiple of 32
    found = make_detector(runtime).find(image, (200, 150), largest=False)
    order = np.argsort(found.boxes_xyxy[:, 2] - found.boxes_xyxy[:, 0])
    assert len(order) == len(cells)
    for i, (channel, column, row) in zip(order, cells, strict=True):
        stride = STRIDES[channel]
        centre = np.array([column, row]) * stride
        box = [*(centre - stride * np.array(SIDES[:2])), *(centre + stride * np.array(SIDES[2:]))]
        assert found.boxes_xyxy[i] == pytest.approx(box, abs=0.01)
        assert found.landmarks[i] == pytest.approx(centre + stride * np.reshape(POINTS, (5, 2)), abs=0.01)
        assert found.scores[i] > 0.9


def test_the_largest_alone() -> None:
    image = picture((200, 150), [(0, 20, 15), (1, 2, 2), (2, 4, 2)])
    found = make_detector().find(image, (200, 150), largest=True)
    assert found.scores.shape == (1,)
    assert found.boxes_xyxy[0] == pytest.approx([96, 16, 192, 144], abs=0.01)
    assert len(make_detector().find(picture((200, 150), []), (200, 150), largest=True).scores) == 0


@pytest.mark.parametrize("largest", [False, True])
def test_a_close_up_is_found_on_the_coarse_level(*, largest: bool) -> None:
    # The blue square is one cell of the coarsest level, at a tenth of the size. For this network every cell of it is a
    # face on the finer levels too, only smaller.
    image = picture((1600, 1600), [])
    image[320:640, 640:960, 2] = 255
    found = make_detector().find(image, (1600, 1600), largest=largest)
    box = np.array([[640 - 320, 320 - 480, 640 + 640, 320 + 800]], np.float32)
    overlaps = iou(found.boxes_xyxy, box)[:, 0]
    assert overlaps.max() > 0.95
    if largest:
        assert len(overlaps) == 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_overlapping_faces_are_one(runtime: Runtime) -> None:
    # Four cells side by side: the boxes of neighbours overlap by more than 0.4, those of the outer ones do not.
    image = picture((200, 150), [(2, column, 2) for column in range(1, 5)])
    padded = np.pad(image, ((0, 160 - 150), (0, 224 - 200), (0, 0)))
    raw = read(network(known_weights(), batched=True), runtime, padded)
    assert len(raw.scores) == 8
    kept = suppress(raw.boxes_xyxy, raw.scores, 0.4, iou)
    assert len(make_detector(runtime).find(image, (200, 150), largest=False).scores) == len(kept) == 2


def without_points(weights: dict[tuple[int, int], tuple[Array, Array]]) -> bytes:
    """Return the graph of a detector without points."""
    model = onnx.load_model_from_string(network(weights, batched=False))
    del model.graph.output[6:]
    return bytes(model.SerializeToString())


def other_order(weights: dict[tuple[int, int], tuple[Array, Array]]) -> bytes:
    """Return the graph with its outputs from last to first."""
    model = onnx.load_model_from_string(network(weights, batched=False))
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("make", [without_points, other_order])
def test_another_network(make: Callable[[dict[tuple[int, int], tuple[Array, Array]]], bytes]) -> None:
    infer = compiled(make(known_weights()))
    with pytest.raises(ModelCorrupt, match="not those of an SCRFD with five points"):
        SCRFD.read(infer, np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", [b"", b"nonsense", network(known_weights(), batched=False)[:500]])
def test_files_that_are_no_network(runtime: Runtime, model: bytes) -> None:
    with pytest.raises(RuntimeFailed):
        compiled(model, runtime)
