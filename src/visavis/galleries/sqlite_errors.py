"""What goes wrong with a SQLite file, as an error of ours that says what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visavis.errors import (
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)

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


def _translation(path: Path, message: str) -> VisavisError:
    if "not a database" in message:
        # Which of the two only a look into the file would tell, and closing it would undo the locks of this process.
        return StoreForeign(f"{path} is no SQLite file, or its head is damaged; name another file, or restore a backup")
    for words, kind, advice in _KINDS:
        if words in message:
            return kind(f"{path} {advice}")
    return StoreDamaged(f"{path} is not as it should be: {message}")
