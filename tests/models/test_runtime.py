import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import many_faces
from effort import effort, scaled
from numpy.typing import NDArray

from visavis import InvalidOption, Recognizer, RuntimeFailed, RuntimeMissing
from visavis.core.work import WORK, Work, give_memory_back
from visavis.models.runtime import Graph, RuntimeSpec, compile_graph, describe, precision_in_force


@pytest.fixture(scope="module")
def on_onnxruntime(cache_dir: Path) -> Recognizer:
    return Recognizer("dlib", runtime="onnxruntime", cache_dir=cache_dir, threads=1)


def test_both_runtimes_agree(
    recognizer: Recognizer, on_onnxruntime: Recognizer, astronaut_pixels: NDArray[np.uint8]
) -> None:
    grid = many_faces(astronaut_pixels, 2, 3)
    ours, theirs = recognizer.embed(grid), on_onnxruntime.embed(grid)
    assert len(ours) == len(theirs) == 6
    for a, b in zip(ours, theirs, strict=True):
        assert a.embedding is not None
        assert b.embedding is not None
        assert a.box_xyxy.tolist() == b.box_xyxy.tolist()
        assert a.score == pytest.approx(b.score, abs=1e-4)
        assert np.abs(a.embedding - b.embedding).max() < 1e-5


@pytest.mark.thorough
@scaled
def test_one_recognizer_serves_many_threads(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    pictures = [many_faces(astronaut_pixels, rows, columns) for rows in (1, 2) for columns in (1, 2, 3)]
    pictures *= effort(1, 4)
    alone = [recognizer.embed(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(recognizer.embed, pictures))
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.box_xyxy.tolist() == b.box_xyxy.tolist()
            assert a.embedding is not None
            assert b.embedding is not None
            assert a.embedding.tolist() == b.embedding.tolist()


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells how much memory a process has")
def test_what_a_call_took_is_freed_after_it(recognizer: Recognizer) -> None:
    work = Work(1e9)
    token = WORK.set(work)
    try:
        recognizer.detect(np.zeros((1500, 1500, 3), np.uint8), min_face=80)
    finally:
        WORK.reset(token)
    before = resident_megabytes()
    give_memory_back(work)
    assert resident_megabytes() < before - 30
    assert recognizer.detect(np.zeros((200, 200, 3), np.uint8)) == ()


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (100, 2), (7, 300)])
def test_images_smaller_than_the_network(
    recognizer: Recognizer, on_onnxruntime: Recognizer, shape: tuple[int, int]
) -> None:
    for one in (recognizer, on_onnxruntime):
        assert one.detect(np.zeros((*shape, 3), np.uint8), min_face=80) == ()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="a system that does not tell")
def test_no_thread_is_tied_to_a_core(cache_dir: Path) -> None:
    one_thread = Recognizer("dlib", precision="f32", threads=1, cache_dir=cache_dir)
    caller, cores, done = threading.get_native_id(), os.sched_getaffinity(0), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        stayed = pool.submit(lambda: all(os.sched_getaffinity(caller) == cores for _ in iter(done.is_set, 1)))
        try:
            for _ in range(5):
                one_thread.embed_chips([np.zeros((150, 150, 3), np.uint8)] * 8)
        finally:
            done.set()
        assert stayed.result()


def test_threads_are_taken(cache_dir: Path, astronaut_pixels: NDArray[np.uint8]) -> None:
    parallel = Recognizer(threads=1, streams=2, precision="f32", cache_dir=cache_dir)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(parallel.embed, [astronaut_pixels] * 8))
    embeddings = {tuple(face.embedding.tolist()) for (face,) in results if face.embedding is not None}
    assert len(embeddings) == 1


@pytest.mark.parametrize(
    ("runtime", "precision", "threads"),
    [("tensorflow", "auto", None), ("openvino", "int4", None), ("openvino", "f32", 0), ("openvino", "f32", 1.5)],
)
def test_wrong_specs(runtime: str, precision: str, threads: int | None) -> None:
    with pytest.raises(InvalidOption, match="must be"):
        RuntimeSpec(runtime, precision, threads)  # type: ignore[arg-type]


def test_openvino_reports_its_use_to_nobody(tmp_path: Path, cache_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from visavis import Recognizer; Recognizer(cache_dir=Path(sys.argv[1]));"
        "print([name for name in sys.modules if 'telemetry' in name or name.startswith('openvino.tools.ovc')])"
    )
    # The reporter keeps quiet where CI is set, and leaves a file with an identity in the home folder.
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(cache_dir)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (child.stdout.strip(), child.stderr) == ("[]", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_foreign_graph(runtime: str) -> None:
    with pytest.raises(RuntimeFailed, match="cannot load"):
        compile_graph(Graph(b"not a graph"), RuntimeSpec(runtime))  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_runtime_that_is_not_installed(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(RuntimeMissing, match="pip install"):
        compile_graph(Graph(b""), RuntimeSpec(runtime))  # type: ignore[arg-type]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_input_of_the_wrong_shape(runtime: str, recognizer: Recognizer, on_onnxruntime: Recognizer) -> None:
    embedder = (recognizer if runtime == "openvino" else on_onnxruntime)._models.embedder  # noqa: SLF001
    with pytest.raises(RuntimeFailed, match="shape"):
        embedder([np.zeros((10, 10, 3), np.uint8)])


def test_what_is_in_force() -> None:
    assert precision_in_force(RuntimeSpec(precision="f32")) == "f32"
    assert precision_in_force(RuntimeSpec(runtime="onnxruntime")) == "f32"
    assert precision_in_force(RuntimeSpec()) in ("f32", "bf16")
    assert set(describe(RuntimeSpec())) == {"version", "device", "capabilities", "speed"}
    assert set(describe(RuntimeSpec("onnxruntime"))) == {"version", "device", "capabilities"}


IN_FORCE = """
from visavis.models.runtime import RuntimeSpec, describe, precision_in_force
print(precision_in_force(RuntimeSpec()), describe(RuntimeSpec())["speed"])
"""
INSTRUCTIONS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""


@pytest.mark.skipif("amx_bf16" not in INSTRUCTIONS, reason="a processor that does not multiply matrices of bfloat16")
@pytest.mark.parametrize(("instructions", "precision"), [("ALL", "bf16"), ("AVX512_CORE_BF16", "f32"), ("AVX2", "f32")])
def test_auto_is_bfloat16_only_where_that_is_a_gain(instructions: str, precision: str) -> None:
    """OpenVINO says that a processor has bfloat16 also where that halves the speed, as it does without AMX."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    child = subprocess.run(
        [sys.executable, "-c", IN_FORCE], env=environment, capture_output=True, text=True, check=True
    )
    in_force, *speeds = child.stdout.split()
    assert in_force == precision
    assert set(speeds) >= {"f32", "bf16"} - ({"bf16"} if instructions == "AVX2" else set())


FIRST_TYPES = """
import os, sys, threading
from visavis.models.runtime import RuntimeSpec, describe
describe(RuntimeSpec())
import openvino
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def look():
    together.wait()
    openvino.Type.f32.to_dtype()
threads = [threading.Thread(target=look, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_threads_that_are_first_do_not_wait_for_each_other() -> None:
    """OpenVINO's tables of types are made in time; without, this hung in three of four tries."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", FIRST_TYPES], check=True, timeout=120)


FORKS = """
import os, sys, threading, time
import numpy as np
from visavis import Recognizer, VisavisError

kind, cache_dir = sys.argv[1:]
image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
streams = 2 if kind == "streams" else 1
recognizer = Recognizer(cache_dir=cache_dir, threads=1, streams=streams)
if kind == "working":
    started = threading.Event()
    def work():
        while True:
            recognizer.detect(image)
            started.set()
    threading.Thread(target=work, daemon=True).start()
    started.wait()
elif kind != "streams":
    recognizer.detect(image)
for _ in range(5 if kind == "working" else 1):  # one of them comes in the midst of an inference
    child = os.fork()
    if child == 0:
        try:
            if kind == "of its own":
                recognizer = Recognizer(cache_dir=cache_dir, threads=1)
            recognizer.detect(image)
        except VisavisError as error:
            print(error, flush=True)
        os._exit(0)
    deadline = time.monotonic() + 30
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.01)
os._exit(0)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("kind", "told"), [("working", True), ("streams", True), ("idle", False), ("of its own", False)]
)
def test_a_forked_process_says_at_once_what_to_do(kind: str, cache_dir: Path, *, told: bool) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, kind, str(cache_dir)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ('start processes with "spawn"' in ended.stdout) == told
