"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
