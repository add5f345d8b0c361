"""SQLite files: private, migrated, durable; one connection that writes, one that reads, errors that say what to do."""

import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from visavis.errors import (
    InvalidOption,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreOutdated,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)
from visavis.files import create_private, identity, rename_new, sync_file

_POLL_S = 0.02
_EMPTY_WAL = "PRAGMA wal_checkpoint(TRUNCATE)"
_NO_ROOM = "has no room left on its disk; make room and try again"
_LEAST_ROOM = 1 << 16  # bytes, without which SQLite cannot even open a file
_LARGEST_RESERVE = 1 << 25  # bytes: enough to forget a sample with the largest image that a server takes
_RESERVE_STEP = 1 << 18
_PAGE_BYTES = 4096  # as SQLite makes files; to write more at once is refused where there is less room

# How SQLite says what went wrong, which Python 3.10 does not tell by number.
_KINDS: tuple[tuple[str, type[VisavisError], str], ...] = (
    ("malformed", StoreDamaged, "is damaged; restore a backup"),
    ("locked", StoreUnavailable, "was kept busy by another process for too long; try again"),
    ("readonly", StoreReadOnly, "cannot be written; check its permissions, and its folder's"),
    ("unable to open", StoreReadOnly, "cannot be opened; check its permissions, and its folder's"),
    ("full", StoreFull, _NO_ROOM),
    ("too big", StoreFull, _NO_ROOM),
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
    except (LookupError, OverflowError, TypeError, ValueError) as error:  # rows, or SQLite's own message, are odd
        raise StoreDamaged(f"{path} is damaged; restore a backup") from error
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror or error}") from error


def _translation(path: Path, message: str) -> VisavisError:
    if "not a database" in message:
        # Which of the two only a look into the file would tell, and closing it would undo the locks of this process.
        return StoreForeign(f"{path} is no SQLite file, or its head is damaged; name another file, or restore a backup")
    if "disk i/o error" in message and shutil.disk_usage(path.parent).free < _LEAST_ROOM:
        message = "full"
    for words, kind, advice in _KINDS:
        if words in message:
            return kind(f"{path} {advice}")
    return StoreDamaged(f"{path} is not as it should be: {message}")


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables of a kind of file.

    A migration is an SQL script that brings the tables from the version of its place to the next. Migrations are never
    changed, only added to.
    """

    migrations: tuple[str, ...]
    application_id: int = 0  # by which a file is known as of this kind; 0 for any
    functions: tuple[tuple[str, int, Callable[..., bytes | str | None]], ...] = ()  # that migrations call

    @property
    def version(self) -> int:
        """The version of today's tables, which the file has as its user_version."""
        return len(self.migrations)


def open_private_sqlite(
    path: Path, schema: Schema, *, patience_s: float = 10.0, wal: bool = True
) -> sqlite3.Connection:
    """Open a SQLite file that exists, and bring its tables up to date.

    What is deleted is overwritten, what is committed survives a loss of power, and nothing is written elsewhere. The
    connection is in autocommit mode, and may be handed from thread to thread. Make the file with
    ``visavis.files.create_private``.

    Args:
        path: of the file.
        schema: of its tables.
        patience_s: how long to wait for other processes, in seconds; default 10.
        wal: whether to have a write-ahead log, which network drives cannot; default True.

    Raises:
        StoreForeign: it is a folder, or a file of another application.
        StoreOutdated: a newer version of visavis wrote it.
        StoreDamaged: it is cut off.
        sqlite3.Error, OSError: it cannot be opened, read or written.
    """
    if path.is_dir():
        raise StoreForeign(f"{path} is a folder; name a file in it")
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never made here, where everybody could read it
    connection = sqlite3.connect(uri, uri=True, timeout=patience_s, isolation_level=None, check_same_thread=False)
    try:
        # Before the first page is written, and before anything is deleted: what is forgotten leaves the file.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a loss of power
        connection.execute("PRAGMA temp_store = MEMORY")  # no copy of anything elsewhere
        connection.execute("PRAGMA foreign_keys = ON")
        current = _is_current(connection, path, schema)  # before anything is changed in what may be somebody else's
        if wal:
            _switch_log_on(connection, patience_s)
        if not current:
            _migrate(connection, path, schema)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes SQLite open what it has beside it
    except BaseException:
        connection.close()
        raise
    return connection


def _is_current(connection: sqlite3.Connection, path: Path, schema: Schema) -> bool:
    """Tell whether a file has today's tables; False where it is new, or older."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    wal = Path(f"{path}-wal")
    if path.stat().st_size % page and not (wal.exists() and wal.stat().st_size):  # which SQLite does not notice
        raise StoreDamaged(f"{path} is cut off; restore a backup")
    # One statement, so that it reads one state: another process may make the tables between two.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != schema.application_id and (application or version or tables):
        raise StoreForeign(f"{path} is a SQLite file of something else; name another file")
    if version > schema.version:
        raise StoreOutdated(
            f"{path} was written by a newer version of visavis (schema {version}; this one knows {schema.version}): "
            "upgrade"
        )
    return bool(application == schema.application_id and version == schema.version)


def _switch_log_on(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch the write-ahead log on; while another process does the same SQLite refuses at once, without patience."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Bring a file to today's tables, as one transaction."""
    for function in schema.functions:
        connection.create_function(*function)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_current(connection, path, schema):  # another process may have been faster
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for migration in schema.migrations[version:]:
                for statement in _statements(migration):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Give a script's statements one by one: run as a whole it would be a transaction of its own."""
    statement = ""
    for line in f"{script}\n;".splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class Reserve:
    """A file that keeps room on the disk for what has to be done also where others have filled it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = 0  # bytes, as far as this process knows
        self.is_lent = False

    def lend(self) -> bool:
        """Give the disk most of the room, and then the rest: to write, and to overwrite. False where none is left."""
        with suppress(OSError):
            if kept := self._path.stat().st_size:
                os.truncate(self._path, 0 if self.is_lent else kept // 4)
                self._kept, self.is_lent = 0, True
                return True
        return False

    def keep(self, size: int, *, surely: bool) -> None:
        """Keep so many bytes, or as many as there is room for. It has no zeros: file systems may not store those.

        Whether others have taken of it since is looked at where it shall be kept ``surely``.
        """
        size = min(_LARGEST_RESERVE, -(-size // _RESERVE_STEP) * _RESERVE_STEP)
        if size == self._kept and not surely:
            return
        with suppress(OSError):
            missing = size - (self._path.stat().st_size if self._path.exists() else 0)
            if missing > 0:
                with os.fdopen(os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "wb", 0) as file:
                    if self.is_lent:
                        os.fsync(file.fileno())  # some file systems give blocks back no sooner
                    while missing > 0:
                        missing -= file.write(os.urandom(min(missing, _PAGE_BYTES)))
            elif missing < 0:
                os.truncate(self._path, size)
            self._kept = size
        self.is_lent = False


class SqliteFile:
    """The connections to one file, for any number of threads. The file is made by the first that writes.

    Nothing here opens a file that exists but SQLite: to close it would undo SQLite's locks on it for this process, and
    another process would take the log away. Source: SQLite, "How To Corrupt An SQLite Database File", section 2.2.
    """

    def __init__(self, path: Path, schema: Schema, patience_s: float) -> None:
        self.path = path
        self._schema = schema
        self._patience_s = patience_s
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that they are to
        self._beside: dict[Path, tuple[int, int] | None] = {}  # what SQLite has beside it, likewise
        self._process: int | None = None  # which opened the first connection
        self.owes_overwriting = False  # because a reader was in the way, or the disk was full
        self.reserve = Reserve(Path(f"{path}-reserve"))
        self._generation = 0  # one more whenever reading begins anew, perhaps of another file

    @contextmanager
    def maintaining(self) -> Iterator[sqlite3.Connection]:
        """Give the connection that writes, in no transaction, while nobody else in this process writes."""
        with self._holding(self._write_lock):
            if self._writer is None:
                if not self.path.exists():
                    with suppress(FileExistsError):  # somebody was faster
                        create_private(self.path)
                self._writer = self._open()
                try:
                    self._writer.execute(_EMPTY_WAL)  # which somebody who was killed may have left full
                except sqlite3.OperationalError:  # the disk is full
                    self.owes_overwriting = True
            yield self._writer

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back where something fails."""
        with self.maintaining() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            if not self.reserve.is_lent:
                self._keep_reserve(connection, surely=False)

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
        with translated(self.path), closing(self._connect()) as connection:
            yield connection

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

        Readers are waited for, as everything else is, unless told not to.
        """
        deadline = time.monotonic() + (self._patience_s if wait else 0.0)
        while not self._overwrite_at_once():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)  # and let others write meanwhile
        return True

    def drop_caches(self) -> None:
        """Let go of the pages that SQLite keeps in memory, which may hold what was forgotten."""
        with self._write_lock, self._read_lock:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.execute("PRAGMA shrink_memory")

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
            create_private(part)
            with self.snapshot() as connection:
                connection.execute("VACUUM INTO ?", (str(part),))
            sync_file(part)
            rename_new(part, target)
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
        return self._identity is not None and self._identity != identity(self.path)

    def _let_go_of_replaced(self) -> None:
        """Close both connections to a file that has moved, and leave none of its log to the one in its place.

        SQLite would take the log for that of the new file, and damage it.
        """
        with suppress(sqlite3.Error):
            if connection := self._writer or self._reader:
                connection.execute(_EMPTY_WAL)
        self._let_go()
        for path, opened in self._beside.items():
            if opened is not None and identity(path) == opened:
                path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = self._identity = None

    def _overwrite_at_once(self) -> bool:
        with self.maintaining() as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                busy, _, _ = connection.execute(_EMPTY_WAL).fetchone()
            except sqlite3.OperationalError as error:  # another process writes, or does the same; or the disk is full
                busy = 1
                if "full" in str(error):
                    self.reserve.lend()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {self._patience_s * 1000:.0f}")
            self.owes_overwriting = bool(busy)
            if not busy:
                self._keep_reserve(connection)
            return not busy

    def _keep_reserve(self, connection: sqlite3.Connection, *, surely: bool = True) -> None:
        """Keep room for changing every page: once in the log, and once in the file, which may not hold it yet."""
        with suppress(sqlite3.Error):  # what was to be done is done
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            self.reserve.keep(2 * pages * _PAGE_BYTES + _LEAST_ROOM, surely=surely)

    def _open_reader(self) -> sqlite3.Connection | None:
        if self._reader is None:
            if not self.path.exists():
                return None
            self._reader = self._open()
            self._generation += 1
        return self._reader

    def _open(self) -> sqlite3.Connection:
        before = self._identity or identity(self.path)
        try:
            connection = self._connect()
        except sqlite3.OperationalError as error:  # perhaps for want of room for what SQLite has beside it
            if not isinstance(_translation(self.path, str(error).lower()), StoreFull) or not self.reserve.lend():
                raise
            connection = self._connect()
            self._keep_reserve(connection)
        self._beside = {path: identity(path) for path in (Path(f"{self.path}-wal"), Path(f"{self.path}-shm"))}
        self._process, self._identity = os.getpid(), before
        return connection

    def _connect(self) -> sqlite3.Connection:
        return open_private_sqlite(self.path, self._schema, patience_s=self._patience_s)
