"""Text files of many lines: compressed or not, or the standard streams."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, TextIO, cast

from visavis.cli.atomic import replacing
from visavis.cli.inputs import STANDARD_INPUT
from visavis.cli.messages import results_stream
from visavis.errors import InvalidOption

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
