"""Inference runtimes: a spec and an ONNX graph in, a callable out. The only module that imports one."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from typing import Any, TypeAlias, get_args
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from visavis.core import work
from visavis.errors import InvalidOption, RuntimeFailed, RuntimeMissing
from visavis.models.onnx_graphs import reshaped
from visavis.options import Precision, Runtime

Infer: TypeAlias = Callable[[NDArray[Any]], tuple[NDArray[np.float32], ...]]
"""Run a network on one input array and return its outputs, which are the caller's to keep. Thread-safe.

Raises ``Stopped`` where nobody waits for the present call: between two canvases, and between batches of chips.
"""

Module: TypeAlias = Any
"""A runtime, or what is of it: they have no types."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as bytes."""

    model: bytes  # of ONNX; or the XML of OpenVINO's intermediate representation
    weights: bytes | None = None  # that belong to the XML; None for ONNX
    # Of its input, in place of the one that the file states, None being any size; None to leave it.
    shape: tuple[int | None, ...] | None = None
    outputs: tuple[str, ...] = ()  # the names of those that are wanted, in this order; none for all in the file's order


_MOST_THREADS = 1024
# The convolution by which number formats are compared, like those of networks of faces: a few milliseconds in all.
_CHANNELS, _SIDE, _TURNS = 128, 28, 6
_LEAST_GAIN = 1.25  # times the speed, for bfloat16 to be worth its error


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """How networks are run; what each means is told in ``visavis.options.Recognition``.

    Raises:
        InvalidOption: an unknown runtime or precision, or a number of threads or streams below 1.
    """

    runtime: Runtime = "openvino"
    precision: Precision = "auto"
    threads: int | None = None
    streams: int = 1

    def __post_init__(self) -> None:
        for name, choices in (("runtime", get_args(Runtime)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise InvalidOption(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name, value in (("threads", 1 if self.threads is None else self.threads), ("streams", self.streams)):
            if type(value) is not int or not 1 <= value <= _MOST_THREADS:
                raise InvalidOption(f"{name} must be a whole number from 1 to {_MOST_THREADS}, not {value!r}")


def compile_graph(graph: Graph, spec: RuntimeSpec) -> Infer:
    """Return a callable that runs a network of one input.

    Raises:
        RuntimeMissing: the runtime is not installed.
        RuntimeFailed: it cannot run the graph; the callable raises this too.
    """
    compilers = {"openvino": _compile_openvino, "onnxruntime": _compile_onnxruntime}
    return compilers[spec.runtime](graph, spec)


def precision_in_force(spec: RuntimeSpec) -> str:
    """Return the number format that networks compute in: "bf16" or "f32".

    Raises:
        RuntimeMissing: the runtime is not installed.
    """
    if spec.runtime == "openvino" and spec.precision == "auto":
        speeds = openvino_speeds()
        return "bf16" if speeds.get("bf16", 0.0) >= _LEAST_GAIN * speeds.get("f32", math.inf) else "f32"
    return "f32"


@cache
def openvino_speeds() -> Mapping[str, float]:
    """Return the GFLOP/s at which one thread convolves here in "f32", and in "bf16" where the processor knows it.

    What a processor knows may be slow: bfloat16 is several times faster than float32 with AMX, and slower without.

    Raises:
        RuntimeMissing: OpenVINO is not installed.
    """
    images = np.ones((1, _CHANNELS, _SIDE, _SIDE), np.float32)
    requests = _convolutions()
    seconds = dict.fromkeys(requests, math.inf)
    for precision, request in [*requests.items()] * _TURNS:  # in turns, and the best counts: others compute too
        start = time.perf_counter()
        request.infer({0: images}, share_inputs=True)
        seconds[precision] = min(seconds[precision], time.perf_counter() - start)
    operations = 2 * 9 * _CHANNELS**2 * _SIDE**2
    return {precision: 1e-9 * operations / least for precision, least in seconds.items()}


@cache  # for good: what ran them would serve other networks, and a forked process, in which it has ended, wait for it
def _convolutions() -> Mapping[str, Module]:
    openvino = _openvino()
    core, opset = openvino.Core(), openvino.opset13
    known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    kernels = np.full((_CHANNELS, _CHANNELS, 3, 3), 0.01, np.float32)
    requests = {}
    for precision in ("f32", "bf16") if "BF16" in known else ("f32",):
        image = opset.parameter((1, _CHANNELS, _SIDE, _SIDE), np.float32)
        model = openvino.Model([opset.convolution(image, kernels, [1, 1], [1, 1], [1, 1], [1, 1])], [image])
        config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        with suppress(RuntimeError):  # what it knows by name only
            requests[precision] = core.compile_model(model, "CPU", config).create_infer_request()
    return requests


def describe(spec: RuntimeSpec) -> dict[str, str]:
    """Return the runtime's version, device and what the device is capable of, in the runtime's own words.

    Raises:
        RuntimeMissing: the runtime is not installed.
    """
    if spec.runtime == "openvino":
        openvino = _openvino()
        core = openvino.Core()
        return {
            "version": openvino.__version__,
            "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": " ".join(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))),
            "speed": ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in openvino_speeds().items()),
        }
    onnxruntime = _onnxruntime()
    return {
        "version": onnxruntime.__version__,
        "device": onnxruntime.get_device(),
        "capabilities": " ".join(onnxruntime.get_available_providers()),
    }


_CONVERTER = "openvino.tools.ovc"
_NOT_THERE: Module = None  # in sys.modules, this makes an import fail
_importing = Lock()


def _openvino() -> Module:
    # At the end of its import, OpenVINO imports its model converter if it can, and that reports the import to Google
    # Analytics. We do not convert with it, and report nothing to anybody.
    with _importing:
        hidden = "openvino" not in sys.modules and sys.modules.setdefault(_CONVERTER, _NOT_THERE) is _NOT_THERE
        try:
            try:
                import openvino  # noqa: PLC0415  # takes 0.15 s and is not always used
            except ImportError as error:
                raise RuntimeMissing(f"OpenVINO cannot be imported ({error}): pip install openvino") from error
            # It makes its tables of types when they are first used, and two threads that are first at the same moment
            # wait for each other for ever: one has Python's lock and wants the table's, the other has that.
            openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).get_element_type().to_dtype()
            return openvino
        finally:
            if hidden:
                del sys.modules[_CONVERTER]


def _onnxruntime() -> Module:
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise RuntimeMissing(f"ONNX Runtime cannot be imported ({error}): pip install visavis[onnxruntime]") from error
    return onnxruntime


def _compile_openvino(graph: Graph, spec: RuntimeSpec) -> Infer:
    openvino = _openvino()
    try:
        core = openvino.Core()
        model = core.read_model(graph.model, b"" if graph.weights is None else graph.weights)
        if graph.shape is not None:
            model.reshape(openvino.PartialShape([-1 if size is None else size for size in graph.shape]))
        compiled = core.compile_model(model, "CPU", _openvino_config(spec))
        wanted = [compiled.output(name) for name in graph.outputs] or compiled.outputs
    except RuntimeError as error:
        raise RuntimeFailed(f"OpenVINO cannot load the network: {error}") from error
    # A request holds one inference's buffers and serves one thread at a time; as many exist as ran at the same time.
    idle: SimpleQueue[Any] = SimpleQueue()
    process, working = os.getpid(), set[int]()  # threads

    def free_buffers() -> None:
        with suppress(RuntimeError):  # another thread runs the network, and frees them in its turn
            compiled.release_memory()

    def infer(images: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        work.check(free_buffers)
        if os.getpid() != process and (working or spec.streams > 1):
            raise RuntimeFailed(
                "this process was forked from one whose threads run the network, and would wait for them for ever: "
                'start processes with "spawn", or load the models in each of them'
            )
        working.add(get_ident())
        try:
            request = idle.get_nowait()
        except Empty:
            request = compiled.create_infer_request()
        try:
            request.infer({0: np.ascontiguousarray(images)}, share_inputs=True)
            # The request's buffers are overwritten by its next inference.
            return tuple(np.array(request.get_tensor(output).data, np.float32) for output in wanted)
        except RuntimeError as error:
            raise RuntimeFailed(f"OpenVINO failed on an input of shape {images.shape}: {error}") from error
        finally:
            working.discard(get_ident())
            idle.put(request)

    _RUNNING.add(infer)
    return infer


# A forked process that frees what ran a network in its parent waits for ever, for threads that it does not have.
_RUNNING: WeakSet[Infer] = WeakSet()
_INHERITED: list[Infer] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _INHERITED.extend(_RUNNING))


def _openvino_config(spec: RuntimeSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision_in_force(spec),
        "NUM_STREAMS": spec.streams,
        # It would tie the threads of every process to the same first cores.
        "ENABLE_CPU_PINNING": False,
        # Its cache of kernels for every input size ever seen would grow without end; oneDNN's own is bounded.
        "CPU_RUNTIME_CACHE_CAPACITY": 0,
    }
    if spec.threads is not None:
        config["INFERENCE_NUM_THREADS"] = spec.threads * spec.streams  # of all streams together
    return config


def _compile_onnxruntime(graph: Graph, spec: RuntimeSpec) -> Infer:
    onnxruntime = _onnxruntime()
    if graph.weights is not None:
        raise RuntimeFailed(
            "ONNX Runtime cannot read OpenVINO's intermediate representation, in which this pack has a network: "
            'take runtime="openvino", or a pack whose networks are all ONNX'
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings would go to the user's terminal
    # One arena per session keeps the largest buffers ever needed; without it memory follows the work.
    options.enable_cpu_mem_arena = False
    if spec.threads is not None:
        options.intra_op_num_threads = spec.threads
    try:
        model = graph.model if graph.shape is None else reshaped(graph.model, graph.shape)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        raise RuntimeFailed(f"ONNX Runtime cannot load the network: {error}") from error
    name = session.get_inputs()[0].name
    wanted = list(graph.outputs) or None

    def infer(images: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        work.check()
        try:
            return tuple(session.run(wanted, {name: np.ascontiguousarray(images)}))
        except Exception as error:  # likewise
            raise RuntimeFailed(f"ONNX Runtime failed on an input of shape {images.shape}: {error}") from error

    return infer


def usable_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, by its affinity and by its control groups; part of one counts as one.

    Source: the kernel's documentation, cgroup-v2 and sched-bwc. ``root`` is where its files are.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([cores, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """Yield how many cores each control group of this process, and each that it is in, may use together."""
    groups = ["0::/", "1:cpu:/"]  # as a container sees its own
    with suppress(OSError):
        groups += (root / "proc/self/cgroup").read_text().splitlines()
    for _, controllers, path in (group.split(":", 2) for group in groups):
        if controllers and "cpu" not in controllers.split(","):
            continue
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
        for parent in (path, *map(str, PurePosixPath(path).parents)):
            folder = root / "sys/fs/cgroup" / controllers / parent.lstrip("/")
            with suppress(OSError, ValueError):  # not there, or "max"
                quota, period = map(int, " ".join((folder / file).read_text() for file in files).split())
                if quota > 0:  # -1 is no limit
                    yield quota / period
