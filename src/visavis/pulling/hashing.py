"""What a file is, by its size, hashes and beginning, and whether that is what the catalogue says."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

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
