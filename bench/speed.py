"""How fast visavis is beside dlib, on the same weights and the same inputs, one thread each.

Every row runs both sides in turn, after a warm-up, and gives medians in milliseconds and how many times faster
visavis is, in float32 and in "auto" (bfloat16 where the processor is faster in it). It ends with an error where "auto"
is slower than float32 by more than 3 % in a row, also when that row is measured again.

    python bench/speed.py             all rows
    python bench/speed.py --rounds 9  more of each
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy and dlib load their libraries

# ruff: noqa: E402
import argparse
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import dlib
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference
from PIL import Image
from portraits import astronaut_path, hopper_path

from visavis import Recognizer
from visavis.core.geometry import extract_chip
from visavis.core.pyramid import plan_canvases, pyramid_levels
from visavis.models.catalogue import DLIB
from visavis.models.dlib.networks import detector_graph, embedder_graph, read_network
from visavis.models.installation import read_source, source_path
from visavis.models.runtime import Graph, RuntimeSpec, compile_graph, precision_in_force

PRECISIONS = ("f32", "auto")
MOST_LOSS = 1.03  # of auto beside float32
_TURN_S = 0.1
Work = Callable[[], object]


def medians(works: list[Work], rounds: int) -> list[float]:
    """Return each work's median in milliseconds.

    The works take turns, so that a slow moment of the machine meets all of them. A turn is as many runs as fit into
    a tenth of a second, and at least one: otherwise a short work would mostly be measured on what the long ones have
    pushed out of the caches.
    """
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, taken in zip(works, times, strict=True):
            end = time.perf_counter() + _TURN_S
            runs: list[float] = []
            while not runs or time.perf_counter() < end:
                start = time.perf_counter()
                work()
                runs.append(1000 * (time.perf_counter() - start))
            taken.append(statistics.median(runs))
    return [statistics.median(taken[1:]) for taken in times]  # the first round warms up


def row(name: str, reference: Work, f32: Work, auto: Work, rounds: int) -> tuple[float, float]:
    """Measure and print one row; return our two medians in milliseconds.

    Raises:
        SystemExit: auto is slower than float32, twice.
    """
    theirs, ours_f32, ours_auto = medians([reference, f32, auto], rounds)
    if ours_auto > MOST_LOSS * ours_f32:
        again = medians([f32, auto], 2 * rounds)
        if again[1] > MOST_LOSS * again[0]:
            raise SystemExit(f"{name}: auto takes {again[1]:.2f} ms where float32 takes {again[0]:.2f}")
    milliseconds = f"{theirs:9.2f} {ours_f32:9.2f} {ours_auto:9.2f}"
    print(f"{name:44} {milliseconds} {theirs / ours_f32:8.1f} x {theirs / ours_auto:7.1f} x", flush=True)
    return ours_f32, ours_auto


class Dlib:
    """dlib's models, and the steps of face_recognition 1.3's default path."""

    def __init__(self) -> None:
        """Load the models."""
        self.hog = dlib.get_frontal_face_detector()
        self.cnn = dlib.cnn_face_detection_model_v1(str(source_path(DLIB.part("detector").files[0])))
        self.landmarks = dlib.shape_predictor(str(source_path(DLIB.part("landmarks").files[0])))
        self.embedder = dlib.face_recognition_model_v1(str(source_path(DLIB.part("embedder").files[0])))

    def encode(self, encoded: bytes) -> NDArray[np.float64]:
        """Return the embedding of the first face that the HOG detector finds in the image enlarged once."""
        pixels = np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
        shape = self.landmarks(pixels, self.hog(pixels, 1)[0])
        return np.array(self.embedder.compute_face_descriptor(pixels, shape, 1))

    def verify(self, a: bytes, b: bytes) -> bool:
        """Compare two images as face_recognition does."""
        return bool(np.linalg.norm(self.encode(a) - self.encode(b)) <= 0.6)  # noqa: PLR2004  # its tolerance


def portrait(path: os.PathLike[str]) -> bytes:
    """Return a JPEG of 640 pixels on the longer side."""
    with Image.open(path) as image:
        scale = 640 / max(image.size)
        small = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def floating_point_operations(graph: bytes, shape: list[int]) -> float:
    """Count the multiplications and additions of a graph's convolutions for one input."""
    model = onnx.load_from_string(graph)
    for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in inferred.value_info}
    weights = {constant.name: constant.dims for constant in inferred.initializer}
    convolutions = [node for node in inferred.node if node.op_type == "Conv"]
    shapes[convolutions[-1].output[0]] = shapes.get(convolutions[-1].output[0]) or []
    return float(sum(2 * np.prod(shapes[c.output[0]][2:]) * np.prod(weights[c.input[1]]) for c in convolutions))


def matrix_multiplier(spec: RuntimeSpec, side: int = 2048) -> Callable[[], object]:
    """Return the multiplication of two square matrices in the runtime: as fast as this processor gets."""
    values = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "peak",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [side, side])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [side, side])],
        [numpy_helper.from_array(values, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    infer = compile_graph(Graph(model.SerializeToString()), spec)
    return lambda: infer(values)


def report_share_of_peak(times: dict[str, dict[str, float]], operations: dict[str, float], rounds: int) -> None:
    """Print what part of the measured matrix-multiply peak each network reaches."""
    side = 2048
    for precision in PRECISIONS:
        spec = RuntimeSpec(precision=precision, threads=1)  # type: ignore[arg-type]
        (peak_ms,) = medians([matrix_multiplier(spec, side)], rounds)
        peak = 2 * side**3 / peak_ms / 1e6
        print(f"\nmatrix-multiply peak, {precision} ({precision_in_force(spec)}), 1 thread: {peak:.0f} GFLOP/s")
        for name, flops in operations.items():
            rate = flops / times[name][precision] / 1e6
            print(f"  {name:24} {flops / 1e9:6.2f} GFLOP {rate:8.0f} GFLOP/s = {rate / peak:.0%} of it")


def main() -> None:
    """Measure every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each row")
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)

    theirs = Dlib()
    ours = {precision: Recognizer("dlib", precision=precision, threads=1) for precision in PRECISIONS}  # type: ignore[arg-type]
    models: list[Any] = [ours[precision]._models for precision in PRECISIONS]  # noqa: SLF001  # the parts, one by one
    f32, auto = models
    print(
        f"one thread each; auto = {precision_in_force(RuntimeSpec())}; dlib {dlib.__version__}; medians of {rounds}\n"
    )
    print(f"{'milliseconds':44} {'dlib':>9} {'f32':>9} {'auto':>9} {'f32':>10} {'auto':>9}")

    pixels = np.asarray(Image.open(astronaut_path()).convert("RGB").resize((640, 640)))
    scene = np.ascontiguousarray(pixels[:480])
    (face,) = ours["f32"].detect(scene, min_face=80)
    rectangle = dlib.rectangle(*(int(value) for value in face.box_xyxy))
    chip = extract_chip(scene, face.landmarks, DLIB.template)
    chips = [chip] * 8

    def embed_with(models: Any, some: list[Any]) -> Work:  # noqa: ANN401
        return lambda: models.embedder(some)

    def find_with(models: Any) -> Work:  # noqa: ANN401
        return lambda: models.detector.find(scene, (640, 480), largest=False)

    def landmarks_of(count: int) -> tuple[Work, Work]:
        boxes = np.tile(face.box_xyxy, (count, 1))
        return (
            lambda: [theirs.landmarks(scene, rectangle) for _ in range(count)],
            lambda: f32.detector.landmarks([scene] * count, boxes),
        )

    times: dict[str, dict[str, float]] = {}
    one = row(
        "embedder, 1 chip",
        lambda: theirs.embedder.compute_face_descriptor(chip),
        embed_with(f32, [chip]),
        embed_with(auto, [chip]),
        rounds,
    )
    times["embedder"] = dict(zip(PRECISIONS, one, strict=True))
    row(
        "embedder, 8 chips",
        lambda: theirs.embedder.compute_face_descriptor(chips),
        embed_with(f32, chips),
        embed_with(auto, chips),
        rounds,
    )
    found = row("detector, 640 x 480", lambda: theirs.cnn(scene, 0), find_with(f32), find_with(auto), rounds)
    times["detector"] = dict(zip(PRECISIONS, found, strict=True))
    for count in (1, 8):
        reference, work = landmarks_of(count)
        row(f"landmarks, {count} face{'s' * (count > 1)} (the same in both)", reference, work, work, rounds)
    a, b = portrait(astronaut_path()), portrait(hopper_path())
    row(
        "verify, two 640-px JPEGs (dlib: HOG)",
        lambda: theirs.verify(a, b),
        lambda: ours["f32"].verify(a, b),
        lambda: ours["auto"].verify(a, b),
        rounds,
    )

    (canvas,) = plan_canvases(pyramid_levels((640, 480)), 0)
    detector, embedder = (read_network(read_source(DLIB.part(role).files[0])) for role in ("detector", "embedder"))
    operations = {
        "embedder": floating_point_operations(embedder_graph(*embedder), [1, 150, 150, 3]),
        "detector": floating_point_operations(detector_graph(*detector), [1, *canvas.size_wh[::-1], 3]),
    }
    report_share_of_peak(times, operations, rounds)


if __name__ == "__main__":
    main()
