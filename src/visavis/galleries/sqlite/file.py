"""SQLite file: one connection that writes, one that reads, and errors that say what to do."""

import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visavis.errors import (
    InvalidOption,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)
from visavis.galleries.sqlite.schema import is_current, migrate, switch_log_on

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


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def name_anew(part: Path, target: Path) -> None:
    """Rename a file, but never over another one.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # there are file systems without links
        if target.exists():
            raise FileExistsError from None
        part.rename(target)


_log = logging.getLogger("visavis.galleries")

_OWNER_ONLY = 0o600
_STUBS_KEPT = 10_000
_STUBS = (
    "DELETE FROM samples WHERE gallery IS NULL",
    "DELETE FROM details WHERE content IS NULL",
    "DELETE FROM pictures WHERE data IS NULL",
)
_LARGEST_IN_MEMORY = 256_000_000  # bytes; a larger file is written anew by way of a temporary one
_POLL_S = 0.02
_EMPTY_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"


class SqliteFile:
    """The connections to one file, for any number of threads. The file is made by the first that writes.

    Nothing here opens a file that exists but SQLite: to close it would undo SQLite's locks on it for this process, and
    another process would take the log away. Source: SQLite, "How To Corrupt An SQLite Database File", section 2.2.
    """

    def __init__(self, path: Path, patience_s: float) -> None:
        self.path = path
        self._patience_s = patience_s
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that they are to
        self._beside: dict[Path, tuple[int, int] | None] = {}  # what SQLite has beside it, likewise
        self._process: int | None = None  # which opened the first connection
        self.owes_overwriting = False  # because a reader was in the way
        self._generation = 0  # one more whenever reading begins anew, perhaps of another file

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back where something fails."""
        with self._holding(self._write_lock):
            connection = self._open_writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection in a transaction that sees one state of the file, or None where there is no file."""
        with self._holding(self._read_lock):
            connection = self._open_reader()
            if connection is None:
                yield None
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give a connection of its own to who reads for long; the file exists."""
        with translated(self.path):
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()

    def version(self) -> tuple[int, int] | None:
        """Return what changes whenever anybody has changed the file; None where there is none."""
        with self._holding(self._read_lock):
            connection = self._open_reader()
            if connection is None:
                return None
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return self._generation, int(version)

    def overwrite(self, *, wait: bool = True) -> bool:
        """Bring every change into the file and empty the write-ahead log; False where a reader was in the way.

        Args:
            wait: whether to wait for readers, as for everything else.
        """
        deadline = time.monotonic() + (self._patience_s if wait else 0.0)
        while not self._overwrite_at_once():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)  # and let others write meanwhile
        return True

    def compact(self) -> bool:
        """Write the file anew where it has more stubs of what was forgotten than rows that live.

        Its cost is that of the file, and that of each row that was forgotten since the last time is the same share of
        it. Removing the stubs moves rows, and copies of them stay behind until the file is written anew: where that
        fails, or the process is killed, the count of stubs still stands, and the next forgetting tries again.

        Returns:
            False where it failed, and nothing that is forgotten is surely overwritten before it has succeeded.
        """
        with self._holding(self._write_lock):
            connection = self._open_writer()
            (stubs,) = connection.execute("SELECT stubs FROM store").fetchone()
            (alive,) = connection.execute("SELECT coalesce(sum(samples), 0) FROM galleries").fetchone()
            if stubs <= max(_STUBS_KEPT, alive):
                return True
            large = self.path.stat().st_size > _LARGEST_IN_MEMORY
            try:
                connection.execute("BEGIN IMMEDIATE")
                for stub in _STUBS:
                    connection.execute(stub)
                connection.execute("COMMIT")
                connection.execute(f"PRAGMA temp_store = {'FILE' if large else 'MEMORY'}")
                connection.execute("VACUUM")
                connection.execute("UPDATE store SET stubs = 0")
            except sqlite3.OperationalError as error:  # no room, or others are reading
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                _log.warning("%s was not compacted: %s", self.path.name, error)
                return False
            finally:
                connection.execute("PRAGMA temp_store = MEMORY")
            return True

    def copy(self, target: Path) -> None:
        """Write a copy of the file's present state, free of what was forgotten, which appears when it is whole.

        Raises:
            InvalidOption: the target exists or cannot be written, or this file does not exist.
        """
        if not self.path.exists():
            raise InvalidOption(f"there is nothing to back up: {self.path} does not exist")
        taken = InvalidOption(f"{target} exists already; name a new file")
        if target.exists():
            raise taken
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))
            with self.snapshot() as connection:
                connection.execute("VACUUM INTO ?", (str(part),))
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            name_anew(part, target)
        except FileExistsError:
            raise taken from None
        except VisavisError:  # some of which are errors of the system too
            raise
        except OSError as error:
            raise InvalidOption(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        if self._process == os.getpid():
            with self._write_lock, self._read_lock:
                self._let_go()

    @contextmanager
    def _holding(self, lock: threading.RLock) -> Iterator[None]:
        """Hold one of the two locks; who needs both takes that of the writer first."""
        if self._process not in {None, os.getpid()}:
            raise StoreUnavailable("this store was used before the process was forked; open another one afterwards")
        if self._is_replaced():
            with self._write_lock, self._read_lock:
                if self._is_replaced() and not (self._writer and self._writer.in_transaction):
                    self._let_go_of_replaced()
        with lock, translated(self.path):
            yield

    def _is_replaced(self) -> bool:
        """Tell whether the file was moved away from this path, or replaced by a backup."""
        return self._identity is not None and self._identity != identity_of(self.path)

    def _let_go_of_replaced(self) -> None:
        """Close both connections to a file that has moved, and leave none of its log to the one in its place.

        SQLite would take the log for that of the new file, and damage it.
        """
        connection = self._writer or self._reader
        with suppress(sqlite3.Error):
            if connection is not None:
                connection.execute(_EMPTY_WAL)
        self._let_go()
        for path, identity in self._beside.items():
            if identity is not None and identity_of(path) == identity:
                path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = self._identity = None

    def _overwrite_at_once(self) -> bool:
        with self._holding(self._write_lock):
            connection = self._open_writer()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                busy, _, _ = connection.execute(_EMPTY_WAL).fetchone()
            except sqlite3.OperationalError:  # another process writes, or does the same
                busy = 1
            finally:
                connection.execute(f"PRAGMA busy_timeout = {self._patience_s * 1000:.0f}")
            self.owes_overwriting = bool(busy)
            return not busy

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            if not self.path.exists():
                self._make()
            self._writer = self._open()
            self._writer.execute(_EMPTY_WAL)  # which somebody who was killed may have left full
        return self._writer

    def _open_reader(self) -> sqlite3.Connection | None:
        if self._reader is None:
            if not self.path.exists():
                return None
            self._reader = self._open()
            self._generation += 1
        return self._reader

    def _open(self) -> sqlite3.Connection:
        identity = self._identity or identity_of(self.path)
        connection = self._connect()
        self._beside = {path: identity_of(path) for path in (Path(f"{self.path}-wal"), Path(f"{self.path}-shm"))}
        self._process, self._identity = os.getpid(), identity
        return connection

    def _make(self) -> None:
        """Make the file so that nobody else can read it at any moment."""
        with suppress(FileExistsError):  # somebody was faster
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))

    def _check_size(self, connection: sqlite3.Connection) -> None:
        """Recognise a file that was cut off within a page, which SQLite does not.

        Raises:
            StoreDamaged: it is.
        """
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        wal = Path(f"{self.path}-wal")
        if self.path.stat().st_size % page and not (wal.exists() and wal.stat().st_size):
            raise StoreDamaged(f"{self.path} is cut off; restore a backup")

    def _connect(self) -> sqlite3.Connection:
        if self.path.is_dir():
            raise StoreForeign(f"{self.path} is a folder; name a file in it")
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._patience_s, isolation_level=None, check_same_thread=False
        )
        try:
            # Before the first page is written, and before anything is deleted: what is forgotten leaves the file.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a loss of power
            connection.execute("PRAGMA temp_store = MEMORY")  # no copy of anything elsewhere
            connection.execute("PRAGMA foreign_keys = ON")
            self._check_size(connection)
            current = is_current(connection, self.path)  # before anything is changed in what may be somebody else's
            switch_log_on(connection, self._patience_s)
            if not current:
                migrate(connection, self.path)
            connection.execute("SELECT * FROM store").fetchone()  # makes SQLite open what it has beside the file
        except BaseException:
            connection.close()
            raise
        return connection
