"""Input and output files: images among paths, files of lines, and files that appear whole or not at all."""

import gzip
import io
import os
import secrets
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, TextIO, cast

from visavis.cli.terminal import results_stream
from visavis.errors import InvalidOption

STANDARD_INPUT = "-"

_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpf", ".jpx"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """An image to process.

    Attributes:
        name: what results call it: the path as given, or as found below the folder given.
        relative: its path below the folder given; its file name where it was given itself.
        image: what the library reads: a path or a binary file.
    """

    name: str
    relative: Path
    image: str | IO[bytes]


class _StandardInput(io.BytesIO):
    """What came through standard input; can be read more than once."""

    name = "<stdin>"


def check_paths(paths: Sequence[str]) -> None:
    """Refuse what can only be a mistake.

    Raises:
        InvalidOption: a path is empty, or standard input is named twice.
    """
    if "" in paths:
        raise InvalidOption("a path is empty; the current folder is .")
    if paths.count(STANDARD_INPUT) > 1:
        raise InvalidOption(f"standard input ({STANDARD_INPUT}) holds one image, and can be named once")


def check_existence(paths: Sequence[str]) -> None:
    """Refuse what is not there before anything is done.

    Raises:
        InvalidOption: there is no such file or folder.
    """
    for path in paths:
        if path not in ("", STANDARD_INPUT) and not os.path.lexists(path):
            raise InvalidOption(f"{path}: there is no such file or folder")


def open_image(path: str, max_bytes: int) -> str | IO[bytes]:
    """Return the path, or what standard input holds, up to a byte more than allowed."""
    return _StandardInput(sys.stdin.buffer.read(max_bytes + 1)) if path == STANDARD_INPUT else path


def find_sources(paths: Sequence[str], max_bytes: int, *, except_in: Path | None = None) -> list[Source]:
    """Return the files named, and the images in the folders named: in order, those of a folder sorted.

    Args:
        paths: files, folders and "-".
        max_bytes: of standard input; one more is read, to tell that there is more.
        except_in: a folder passed over where it lies in another: the one that drawings go to.

    Raises:
        InvalidOption: there is no image, a path is empty, or standard input is named twice.
    """
    check_paths(paths)
    sources: list[Source] = []
    for path in paths:
        if path == STANDARD_INPUT:
            sources.append(Source(path, Path("stdin"), open_image(path, max_bytes)))
        elif Path(path).is_dir():
            found = _walk(Path(path), except_in)
            sources.extend(Source(str(file), file.relative_to(path), str(file)) for file in found)
        else:
            sources.append(Source(path, Path(Path(path).name), path))
    if not sources:
        raise InvalidOption(f"no image found in {', '.join(paths)}; files with other suffixes can be named one by one")
    return sources


def _walk(root: Path, except_in: Path | None) -> Iterator[Path]:
    """Yield the images below a folder; what is hidden is passed over, and no folder is entered twice."""
    entered = {identity(root), identity(except_in) if except_in else None}
    unreadable: list[OSError] = []

    def is_new(folder: Path) -> bool:
        known = len(entered)
        entered.add(identity(folder))
        return not folder.name.startswith(".") and len(entered) > known

    for parent, folders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        folders[:] = [name for name in sorted(folders) if is_new(Path(parent, name))]
        yield from (path for path in (Path(parent, name) for name in sorted(files)) if _is_image(path))
    # Such a folder is handed on as if it were an image: to open it fails, with the reason.
    yield from (Path(error.filename) for error in unreadable)


def _is_image(path: Path) -> bool:
    """Tell by its suffix; a link that leads nowhere counts and fails later, a pipe would block and does not count."""
    if path.name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
        return False
    return path.is_file() or not path.exists()


def identity(path: Path) -> tuple[int, int] | None:
    """Return what two paths to one file have in common, or None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    A device or a pipe is written to as it is: there is nothing to replace.

    Args:
        path: of the file.
        private: whether nobody but its owner may read it.

    Raises:
        OSError: the file, which it names, cannot be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    temporary = target.with_name(f".visavis-{secrets.token_hex(8)}.partial")
    try:
        with _create(temporary, path, 0o600 if private else 0o666) as file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _create(temporary: Path, path: Path, mode: int) -> IO[bytes]:
    try:
        return open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


_GZIP = b"\x1f\x8b"
_LEVEL = 6  # gzip's own default; numbers as text gain little from more


@contextmanager
def open_lines_to_write(output: Path | None) -> Iterator[TextIO]:
    """Open a file that only its owner may read and that appears when all is written, or standard output."""
    if output is None:
        stream = results_stream()
        yield stream
        stream.flush()
        return
    with replacing(output, private=True) as file, ExitStack() as stack:
        binary: IO[bytes] = file
        if output.suffix.lower() == ".gz":
            compressed = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0)
            binary = cast("IO[bytes]", stack.enter_context(compressed))
        text = io.TextIOWrapper(cast("BinaryIO", binary), encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()


@contextmanager
def open_lines_to_read(path: str) -> Iterator[Iterator[bytes]]:
    """Give the lines of a file, or of standard input; whether it is compressed is told by its content.

    Raises:
        OSError: the file cannot be read.
        InvalidOption: it is compressed, and damaged or cut off; raised where that shows.
    """
    with ExitStack() as stack:
        if path == STANDARD_INPUT:
            file: IO[bytes] = sys.stdin.buffer
        else:
            file = stack.enter_context(open(path, "rb"))  # noqa: PTH123  # Path("") is the current folder
        lines = io.BufferedReader(cast("io.RawIOBase", file))
        stack.callback(lines.detach)
        yield _decompressed(lines, path) if lines.peek(len(_GZIP)).startswith(_GZIP) else lines


def _decompressed(file: IO[bytes], path: str) -> Iterator[bytes]:
    try:
        yield from gzip.GzipFile(fileobj=file)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InvalidOption(f"{path}: the compressed file is damaged or cut off") from None
