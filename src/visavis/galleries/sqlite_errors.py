"""What goes wrong with a SQLite file, as an error of ours that says what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visavis.errors import (
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)

_MAGIC = b"SQLite format 3\x00"
# How SQLite says what went wrong, which Python 3.10 does not tell by number.
_KINDS: tuple[tuple[str, type[VisavisError], str], ...] = (
    ("malformed", StoreDamaged, "is damaged; restore a backup"),
    ("locked", StoreUnavailable, "was kept busy by another process for too long; try again"),
    ("readonly", StoreReadOnly, "cannot be written; check its permissions, and its folder's"),
    ("unable to open", StoreReadOnly, "cannot be opened; check its permissions, and its folder's"),
    ("full", StoreFull, "did not fit on its disk: nothing was stored; make room and try again"),
    ("too big", StoreFull, "did not fit on its disk: nothing was stored; make room and try again"),
    ("disk i/o error", StoreUnavailable, "could not be read or written; check its disk and its room, and try again"),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what goes wrong with a file as an error of ours."""
    try:
        yield
    except VisavisError:  # some of which are errors of the system too
        raise
    except sqlite3.Error as error:
        raise _translation(path, str(error).lower()) from error
    except PermissionError as error:
        raise StoreReadOnly(f"{path} cannot be opened: {error.strerror}") from error
    except (LookupError, TypeError, ValueError) as error:  # rows, or SQLite's own message, are not what they should be
        raise StoreDamaged(f"{path} is damaged; restore a backup") from error
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror or error}") from error


def check_size(path: Path) -> None:
    """Recognise a file that was cut off, which SQLite may not notice before it reads the missing part.

    Raises:
        StoreDamaged: it is.
    """
    with path.open("rb") as file:
        header = file.read(100)
    wal = Path(f"{path}-wal")
    if header[: len(_MAGIC)] != _MAGIC or (wal.exists() and wal.stat().st_size):
        return
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    if path.stat().st_size < (65536 if page == 1 else page) * pages:
        raise StoreDamaged(f"{path} is cut off; restore a backup")


def _translation(path: Path, message: str) -> VisavisError:
    if "not a database" in message:
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                return StoreDamaged(f"{path} is damaged; restore a backup")
        return StoreForeign(f"{path} is no SQLite file; name another file")
    for words, kind, advice in _KINDS:
        if words in message:
            return kind(f"{path} {advice}")
    return StoreDamaged(f"{path} is not as it should be: {message}")
