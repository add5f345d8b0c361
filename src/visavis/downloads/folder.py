"""Folder of models: files that come into it whole or not at all, and their sizes and hashes.

``files/`` holds whole files whose hashes were checked, ``partial/`` what is on its way, ``pins.json`` and
``licences.json`` what was decided here. Whoever changes any of it holds the folder's lock.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from visavis.errors import ModelCorrupt, PullFailed, VisavisError
from visavis.models.installation import FILES, PINS, Pins
from visavis.models.packs import ModelFile

_CHUNK = 1 << 20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_FIRST_BLOCK = 512

LARGEST = 2_000_000_000
"""The most bytes that a file may have whose size nobody states."""


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

    Args:
        file: of the catalogue.
        found: what is to be it.
        pin: the SHA-256 that was pinned when it first came; None where none was.
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


def misnamed(file: ModelFile, path: Path) -> str | None:
    """Return why a file whose publisher states no hash is none of the kind that its name says; None where it may be.

    Args:
        file: of the catalogue.
        path: of what is to be it.

    Raises:
        OSError: it cannot be read.

    Source: HDF5 File Format Specification 3.0, II.A: the signature is at 0, 512, 1024, 2048 and so on.
    """
    if is_published(file) or not file.name.endswith(".h5"):
        return None
    size, at = path.stat().st_size, 0
    with path.open("rb") as opened:
        while at < size:
            opened.seek(at)
            if opened.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
                return None
            at = max(_HDF5_FIRST_BLOCK, 2 * at)
    return "it is no HDF5 file"


def disguise_of(path: Path) -> str:
    """Return what a wrong file seems to be, in words to follow a message; empty where that is not known."""
    with path.open("rb") as file:
        head = file.read(200).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return " (it is a web page: does a proxy or a login stand in between?)"
    if head.startswith(b"version https://git-lfs"):
        return " (it is the pointer of Git LFS in place of the file)"
    return ""


PARTIAL = "partial"
"""The folder, among the models, of what has not come yet, or not all of it."""

_LOCK = ".lock"
# Left to others on the disk: a system without any room fails in odd places.
_SPARE_BYTES = 1_000_000
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})

_log = logging.getLogger("visavis.pulling.folder")


@dataclass(frozen=True, slots=True)
class ModelsFolder:
    """A folder of models, which need not exist yet."""

    path: Path

    def place_of(self, file: ModelFile) -> Path:
        """Return where a file is when it is whole."""
        return self.path / FILES / file.name

    def part_of(self, name: str) -> Path:
        """Return where a file is while it comes."""
        return self.path / PARTIAL / f"{name}.part"

    def pins(self) -> dict[str, str]:
        """Return the pinned hashes by file name.

        Raises:
            ModelCorrupt: the file that holds them is damaged.
        """
        return Pins(self.path).read()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes from changing the folder, after waiting until none does.

        Raises:
            PullFailed: the folder cannot be written.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
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
        """Say in our words why the folder cannot be written.

        Args:
            part: what is written, and removed where there is no room for it.

        Raises:
            PullFailed: it cannot.
        """
        try:
            yield
        except VisavisError:
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                if part is not None:
                    with suppress(OSError):
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

    def settle(self, file: ModelFile, part: Path, source: str) -> Fingerprint:
        """Check what has come, pin it where its publisher states no SHA-256, and put it in its place; holds the lock.

        Args:
            file: of the catalogue.
            part: what is to be it, which is gone afterwards, on any outcome.
            source: where it comes from, for messages.

        Raises:
            ModelCorrupt: it is another file.
            PullFailed: the folder cannot be written.
        """
        try:
            with self.writing():
                found, foreign = fingerprint(part), misnamed(file, part)
            if fault := fault_of(file, found, self.pins().get(file.name)) or foreign:
                raise ModelCorrupt(f"{source} is not the {file.name} that visavis knows: {fault}{disguise_of(part)}")
            self.settle_pin(file, found)
            with self.writing():
                target = self.place_of(file)
                target.parent.mkdir(exist_ok=True)
                _sync_file(part)
                part.replace(target)
                _sync_names(target.parent)
        finally:
            part.unlink(missing_ok=True)
        return found

    def settle_pin(self, file: ModelFile, found: Fingerprint) -> None:
        """Pin a file whose publisher states no SHA-256, and that has no pin yet; holds the lock."""
        pins = self.pins()
        if file.sha256 is None and file.name not in pins:
            self.write_json(PINS, {**pins, file.name: found.sha256})
            _log.info("pinned %s: SHA-256 %s", file.name, found.sha256)

    def write_json(self, name: str, content: object) -> None:
        """Write a file of the folder in one step; holds the lock."""
        temporary = self.path / f".{name}-{secrets.token_hex(8)}"
        with self.writing():
            try:
                temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
                _sync_file(temporary)
                temporary.replace(self.path / name)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_names(self.path)


def _sync_file(path: Path) -> None:
    """Bring a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with suppress(PermissionError):  # Windows opens no folders, and need not
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
