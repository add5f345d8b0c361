"""Folder of models: files that come into it whole or not at all, their sizes and hashes, and what is installed.

``files/`` holds whole files whose hashes were checked, ``partial/`` what is on its way, ``pins.json`` and
``licences.json`` what was decided here. Whoever changes any of it holds the folder's lock.
"""

import errno
import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from visavis.errors import ModelCorrupt, ModelMissing, PullFailed, VisavisError
from visavis.files import sync_file, sync_folder
from visavis.models.catalogue import PACKS
from visavis.models.installation import FILES, Pins, as_pinned, is_packaged, source_path
from visavis.models.packs import Archive, ModelFile, Pack, Part

Installed: TypeAlias = Literal["yes", "partly", "no"]

LARGEST = 2_000_000_000
"""The most bytes that a file may have whose size nobody states."""

_CHUNK = 1 << 20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_FIRST_BLOCK = 512
# Left to others on the disk: a system without any room fails in odd places.
_SPARE_BYTES = 1_000_000
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one file from all others; hashes in hexadecimal."""

    size: int
    sha256: str
    sha384: str


def fingerprint(path: Path) -> Fingerprint:
    """Read a file and return what it is.

    Raises:
        OSError: it cannot be read.
    """
    size, sha256, sha384 = 0, hashlib.sha256(), hashlib.sha384()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            sha256.update(chunk)
            sha384.update(chunk)
    return Fingerprint(size, sha256.hexdigest(), sha384.hexdigest())


def is_published(file: ModelFile) -> bool:
    """Tell whether its publisher states a hash."""
    return bool(file.sha256 or file.sha384)


def fault_of(file: ModelFile, found: Fingerprint, pin: str | None) -> str | None:
    """Return why this is another file than the catalogue's, or than the pinned one; None where it is that.

    ``pin`` is the SHA-256 that was pinned when it first came; None where none was.
    """
    if file.sha256 and found.sha256 != file.sha256:
        return f"its SHA-256 is {found.sha256} instead of {file.sha256}"
    if file.sha384 and found.sha384 != file.sha384:
        return f"its SHA-384 is {found.sha384} instead of {file.sha384}"
    if file.size not in (None, found.size):
        return f"{found.size:,} bytes instead of {file.size:,}"
    if not file.sha256 and pin and found.sha256 != pin:
        return (
            f"its SHA-256 is {found.sha256}, and {pin} was pinned when it first came. Where its publisher has replaced "
            "it and you trust the new one, visavis models remove PACK --unpin forgets the old one; embeddings of "
            "the two do not compare"
        )
    return None


def check(file: ModelFile, path: Path, found: Fingerprint, pin: str | None, source: str) -> None:
    """Insist on what is at a path being a file of the catalogue; ``source`` is where it comes from, for messages.

    Raises:
        ModelCorrupt: it is another one.
        OSError: it cannot be read.
    """
    fault = fault_of(file, found, pin)
    if fault is None and not is_published(file) and file.name.endswith(".h5") and not _is_hdf5(path, found.size):
        fault = "it is no HDF5 file"
    if fault is None:
        return
    with path.open("rb") as opened:
        head = opened.read(200).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        fault += " (it is a web page: does a proxy or a login stand in between?)"
    if head.startswith(b"version https://git-lfs"):
        fault += " (it is the pointer of Git LFS in place of the file)"
    raise ModelCorrupt(f"{source} is not the {file.name} that visavis knows: {fault}")


def _is_hdf5(path: Path, size: int) -> bool:
    """Tell whether a file has HDF5's signature: at 0, 512, 1024, 2048 and so on.

    Source: HDF5 File Format Specification 3.0, II.A.
    """
    at = 0
    with path.open("rb") as opened:
        while at < size:
            opened.seek(at)
            if opened.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return True
            at = max(_HDF5_FIRST_BLOCK, 2 * at)
    return False


def file_of_archive(archive: Archive) -> ModelFile:
    """Return an archive as a file, which comes and is checked like any other."""
    name = unquote(PurePosixPath(urlsplit(archive.url).path).name)
    return ModelFile(name=name, licence="", origin="", size=archive.size, sha256=archive.sha256, url=archive.url)


def pulled_files(parts: Iterable[Part]) -> tuple[ModelFile, ...]:
    """Return the files of parts that do not come with a PyPI package, each once."""
    return tuple({file.name: file for part in parts for file in part.files if not is_packaged(file)}.values())


def all_files() -> tuple[ModelFile, ...]:
    """Return every file of the catalogue that does not come with a PyPI package alone, each once."""
    files = (file for pack in PACKS.values() for file in (*pack.files, *pack.optional_files))
    return tuple({file.name: file for file in files if file.url or not file.package}.values())


@dataclass(frozen=True, slots=True)
class ModelsFolder:
    """A folder of models, which need not exist yet."""

    path: Path

    def place_of(self, file: ModelFile) -> Path:
        """Return where a file is when it is whole."""
        return self.path / FILES / file.name

    def part_of(self, name: str) -> Path:
        """Return where a file is while it comes."""
        return self.path / "partial" / f"{name}.part"

    def pins(self) -> dict[str, str]:
        """Return the pinned hashes by file name; errors as in ``Pins.read``."""
        return Pins(self.path).read()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes from changing the folder, after waiting until none does.

        Raises:
            PullFailed: the folder cannot be written.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                _log.info("another process changes %s: waiting until it is done", self.path)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def writing(self, part: Path | None = None) -> Iterator[None]:
        """Say in our words why the folder cannot be written; a partial file for which there is no room is removed.

        Raises:
            PullFailed: it cannot.
        """
        try:
            if part is not None:
                part.parent.mkdir(exist_ok=True)
            yield
        except VisavisError:
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                with suppress(OSError):
                    if part is not None:
                        part.unlink()
                raise PullFailed(f"there is no room left for models in {self.path}: {error.strerror}") from error
            place = error.filename or self.path
            raise PullFailed(
                f"{place}: {error.strerror or error}; --models-dir or VISAVIS_MODELS_DIR names another folder"
            ) from error

    def check_room(self, needed: int) -> None:
        """Check that there is room for so many bytes.

        Raises:
            PullFailed: there is not.
        """
        free = shutil.disk_usage(self.path).free
        if free < needed + _SPARE_BYTES:
            raise PullFailed(f"{needed:,} bytes are needed in {self.path}, and {free:,} are free")

    def look_at(self, file: ModelFile) -> Fingerprint | None:
        """Return what a file in its place is, where it is the right one; else None.

        Where nobody states its SHA-256 and none is pinned, no file is the right one: it could not be loaded.
        """
        pin = self.pins().get(file.name)
        try:
            found = fingerprint(self.place_of(file)) if pin or file.sha256 else None
        except OSError:
            return None
        return found if found and fault_of(file, found, pin) is None else None

    def settle(self, file: ModelFile, part: Path, source: str) -> None:
        """Check what has come, pin it where its publisher states no SHA-256, and put it in its place; holds the lock.

        ``part`` is gone afterwards, on any outcome; ``source`` is where it comes from, for messages.

        Raises:
            ModelCorrupt: it is another file.
            PullFailed: the folder cannot be written.
        """
        try:
            with self.writing():
                found = fingerprint(part)
                check(file, part, found, self.pins().get(file.name), source)
                Pins(self.path).settle(file, found.sha256)
                target = self.place_of(file)
                target.parent.mkdir(exist_ok=True)
                sync_file(part)
                part.replace(target)
                sync_folder(target.parent)
        finally:
            part.unlink(missing_ok=True)

    def parts_here(self, parts: Iterable[Part]) -> Installed:
        """Tell whether the files of parts, with their pins, are in their places and have their sizes; unread."""

        def is_here(file: ModelFile) -> bool:
            try:
                size = source_path(file, self.path).stat().st_size
            except (ModelMissing, OSError):
                return False
            return file.sha256 is not None and file.size in (None, size)

        here = [is_here(file) for part in parts for file in part.files]
        return "yes" if all(here) else "partly" if any(here) else "no"

    def installed(self, pack: Pack) -> Installed:
        """Tell whether what a pack needs is here.

        Raises:
            ModelCorrupt: the file of pins is damaged.
        """
        return self.parts_here(as_pinned(pack, self.path).parts)
