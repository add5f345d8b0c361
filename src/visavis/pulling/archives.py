"""One member of a zip archive, taken out safely: nothing that the archive says decides where anything is written."""

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from visavis.errors import ModelCorrupt
from visavis.models.packs import ModelFile
from visavis.pulling.hashing import LARGEST

_CHUNK = 1 << 20
# Others ask for memory as the archive says.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Weights hardly shrink; what shrinks so much is there to fill a disk.
_MOST_SHRUNK = 100
_SMALL = 1_000_000
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OverflowError,
    struct.error,
    # What the standard library raises for methods that it does not know, and for offsets and names that make no sense.
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def extract(archive: Path, file: ModelFile, target: Path) -> None:
    """Write the member of an archive that is a file of the catalogue; it is not checked against any hash.

    Args:
        archive: a zip.
        file: what to take out of it.
        target: where to write it.

    Raises:
        ModelCorrupt: the archive is damaged, encrypted or hostile, or has no such member.
        OSError: it cannot be read, or the file not be written.
    """
    with _errors_translated(archive), zipfile.ZipFile(archive) as opened:
        member = _find(opened, file.member)
        _check(member, file)
        with opened.open(member) as source, target.open("wb") as sink:
            _copy(source, sink, member.file_size)


@contextmanager
def _errors_translated(archive: Path) -> Iterator[None]:
    try:
        yield
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{archive.name.removesuffix('.part')}: {error}") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is what a senseless offset gives
            raise
        name = archive.name.removesuffix(".part")
        raise ModelCorrupt(f"{name} is not a zip archive that can be read, or is damaged: {error}") from error


def _find(archive: zipfile.ZipFile, wanted: str) -> zipfile.ZipInfo:
    """Return the member of that name; or else the one whose last part is the same."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    exact = [member for member in members if member.filename == wanted]
    last = PurePosixPath(wanted).name
    found = exact or [member for member in members if PurePosixPath(member.filename).name == last]
    if len(found) != 1:
        raise ModelCorrupt(f"it holds {'no' if not found else 'more than one'} {wanted}")
    return found[0]


def _check(member: zipfile.ZipInfo, file: ModelFile) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise ModelCorrupt(f"{file.member} is encrypted")
    if member.compress_type not in _METHODS:
        raise ModelCorrupt(f"{file.member} is compressed by another method than archives of models are")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelCorrupt(f"{file.member} is a link, not a file")
    if file.size not in (None, member.file_size):
        raise ModelCorrupt(f"{file.member} is another file: {member.file_size:,} bytes instead of {file.size:,}")
    if member.file_size > LARGEST or member.file_size > _MOST_SHRUNK * member.compress_size + _SMALL:
        raise ModelCorrupt(f"{file.member} would grow from {member.compress_size:,} to {member.file_size:,} bytes")


def _copy(source: IO[bytes], sink: IO[bytes], size: int) -> None:
    left = size
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise ModelCorrupt(f"a member is larger than the {size:,} bytes that it says")
        sink.write(chunk)
    if left:
        raise ModelCorrupt(f"a member is smaller than the {size:,} bytes that it says")
