"""Files: made for their owner alone, replaced in one step, brought to the disk; names to pass over; cells of CSV."""

import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, BinaryIO

if sys.platform != "win32":
    import fcntl

_OWNER_ONLY = 0o600
_UMASK_DECIDES = 0o666
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".jpe", ".jfif", ".mpo", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpf", ".jpx"),
)
# Source: what Synology, QNAP, Samba, Buffalo, NetApp, Windows, macOS and Linux leave among people's own files.
_HIDDEN = re.compile(
    r"(?i)\..*|@eadir|@tmp|@transcode|@sharebin|@recycle|@recently-snapshot|@gmt-[\d.-]+|#recycle|[#~]snapshot|"
    r"\$recycle\.bin|recycle[rd]|trashbox|found\.\d{3}|system volume information|lost\+found|__macosx|"
    r"network trash folder|temporary items|thumbs|thumbnails|syno(photo|file)_thumb.*"
)


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or a system's own: trash, snapshots, thumbnails."""
    return _HIDDEN.fullmatch(name) is not None


def create_private(path: Path) -> None:
    """Create an empty file that nobody but its owner can read at any moment.

    A file that exists is not even opened: to close it would undo SQLite's locks on it for this process.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be created.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = False, new: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    The block is to be left with the file open. A device or a pipe is written to as it is: there is nothing to replace.

    Args:
        path: of the file; where it is a link, what it leads to is replaced.
        private: whether nobody but its owner may read it; default False, where the umask decides.
        durable: whether content and name survive a loss of power from the end of the block on; default False.
        new: whether a file that is there at the end of the block stays, in place of this one; default False.

    Raises:
        FileExistsError: there is one, and it is to be a new file.
        OSError: the file, which it names, cannot be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(_partial_name(target, secrets.token_hex(8)))
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)  # the last one on Windows
    try:
        descriptor = os.open(temporary, flags, _OWNER_ONLY if private else _UMASK_DECIDES)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(OSError):  # there are file systems without locks
                _lock(file)
            yield file
            if durable:
                file.flush()
                os.fsync(descriptor)
        rename_new(temporary, target) if new else temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(target.parent)


def remove_abandoned(path: Path) -> bool:
    """Remove what killed processes have left of a file that they were to replace; tell if a living one writes it."""
    target = path.resolve()
    return sum(map(_is_held, target.parent.glob(_partial_name(target, "*")))) > 0


def _is_held(partial: Path) -> bool:
    """Tell whether a living process writes a file; it is removed where none does."""
    try:
        if sys.platform == "win32":  # which removes no open file
            partial.unlink()
        else:
            with partial.open("r+b") as file:
                _lock(file)
                partial.unlink()
    except OSError as error:
        return not isinstance(error, FileNotFoundError)  # which has just become the file
    return False


def _partial_name(target: Path, token: str) -> str:
    mark = blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    return f".visavis-{mark}-{token}.partial"


def _lock(file: IO[bytes]) -> None:
    """Hold a file until it is closed, or the process ends; OSError where another one does, or that cannot be told."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_writable(folder: Path) -> None:
    """Make a folder where there is none, and find out whether files can be made in it.

    Raises:
        OSError: they cannot; it names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def rename_new(source: Path, target: Path) -> None:
    """Rename a file, but never over another one; where that is done by a link, the source stays.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # there are file systems without links
        if target.exists():
            raise FileExistsError from None
        source.rename(target)


def sync_file(path: Path) -> None:
    """Bring the content of a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with suppress(PermissionError):  # Windows opens no folders, and need not
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what two paths to one file have in common, or None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


# What a terminal obeys, what turns text around or breaks lines, and what no encoding has.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]|'.*\\\\", re.DOTALL)
_TO_ESCAPE = re.compile(rf"{_UNSAFE.pattern}|\\")
_ESCAPED = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")


def to_cell(text: str) -> str:
    """Return a text as a cell of CSV that neither a spreadsheet nor a terminal takes for something to do.

    Where one would, it is marked by an apostrophe, and then control characters and backslashes are escaped as in
    Python. Every text comes back from ``from_cell``.
    """
    if not (_UNSAFE.search(text) or _FORMULA.match(text)):
        return text
    return "'" + _TO_ESCAPE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def from_cell(cell: str) -> str:
    """Return the text that a cell of CSV stands for: itself, unless ``to_cell`` made it of another one."""
    text = _ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), cell[1:])
    return text if cell.startswith("'") and to_cell(text) == cell else cell
