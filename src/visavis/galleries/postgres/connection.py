"""Connections to PostgreSQL, with limits on every wait, and the driver's errors as ours.

Their own messages are not passed on: they may quote statements, values and, where a URL cannot be parsed, its password.
"""

import math
import re
import selectors
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import psycopg
from psycopg.abc import RV, Buffer, PQGen
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types import TypeInfo

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
from visavis.types import FloatArray

_BUSY = "is too busy, or others hold what is needed; try again"
_STOPPED = "stops, starts or does not answer; try again"
_TEXT = "cannot hold this text: NUL characters and lone surrogates have no place in PostgreSQL"
_FOREIGN = "has other tables than visavis makes; restore a backup, or name another database"
_FULL = "has no room left on its disk; make room and try again"

# By SQLSTATE, or else by its class, which is its first two characters.
# Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_KINDS: dict[str, tuple[type[VisavisError], str]] = {
    "08": (StoreUnavailable, _STOPPED),
    "22": (InvalidOption, "cannot hold a value that was to be stored"),
    "22021": (InvalidOption, _TEXT),
    "22P05": (InvalidOption, _TEXT),
    "25": (StoreUnavailable, _BUSY),
    "25006": (StoreReadOnly, "is read-only: a replica, or made so; write to its primary"),
    "25P03": (StoreUnavailable, "did not hear from visavis in the middle of a change, and made none; try again"),
    "28": (StoreUnavailable, "does not let this user in"),
    "3D": (StoreUnavailable, "does not exist"),
    "3F": (StoreForeign, _FOREIGN),
    "40": (StoreUnavailable, _BUSY),
    "42": (StoreForeign, _FOREIGN),
    "42501": (StoreReadOnly, "does not permit this to its user, who should own the schema visavis"),
    "53": (StoreUnavailable, _BUSY),
    "53100": (StoreFull, _FULL),
    "53400": (StoreFull, _FULL),
    "54": (InvalidOption, "cannot hold a value of this size"),
    "55": (StoreUnavailable, _BUSY),
    "57": (StoreUnavailable, _STOPPED),
    "57014": (StoreUnavailable, "took too long to answer; try again, or open the store with more patience"),
    "58": (StoreDamaged, "cannot read or write its files; see the log of its server"),
    "XX": (StoreDamaged, "is damaged; see the log of its server, and restore a backup"),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what goes wrong with the database, whose place is given without its password, as an error of ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error, place) from None
    except UnicodeEncodeError:
        raise InvalidOption(f"{place} {_TEXT}") from None


def _translation(error: psycopg.Error, place: str) -> VisavisError:
    state = error.sqlstate
    if state is not None:
        kind, words = _KINDS.get(state) or _KINDS.get(state[:2]) or (StoreDamaged, "is not as visavis made it")
        return kind(f"{place} {words} (SQLSTATE {state})")
    if isinstance(error, psycopg.DataError):  # the driver itself reports it, as it does what follows
        return InvalidOption(f"{place} {_TEXT}")
    return StoreUnavailable(f"{place} cannot be reached, or does not let this user in")


_SCHEMES = ("postgresql://", "postgres://")
_PLACE = ("host", "hostaddr", "port", "service")
_GRACE_S = 1.0  # for the server's own word on a statement that takes too long
_FRESH_S = 60.0  # so long a connection may have lain idle: what is between may forget it without a word
_HEADER = ">HH"  # of a vector in pgvector's binary format: its dimension, and nothing

# What the sessions of a store have in common. A promise of the server that is stronger than "on" stays as it is.
_SESSION = """
SELECT set_config('statement_timeout', %(patience_ms)s, false),
       set_config('idle_in_transaction_session_timeout', %(patience_ms)s, false),
       set_config('timezone', 'UTC', false),
       set_config('jit', 'off', false), -- compiling takes longer than it saves
       CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
            THEN set_config('synchronous_commit', 'on', false) END
"""
_VECTOR = """
SELECT vector.oid, vector.typarray, set_config('search_path', quote_ident(nspname), false)
FROM pg_catalog.pg_extension AS extension
JOIN pg_catalog.pg_namespace AS place ON place.oid = extension.extnamespace
JOIN pg_catalog.pg_type AS vector ON vector.typnamespace = place.oid AND vector.typname = 'vector'
WHERE extension.extname = 'vector'
"""


class Connection(psycopg.Connection[TupleRow]):
    """A connection that gives up on a server that has fallen silent, and then for good."""

    patience_s = math.inf
    _has_given_up = False

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for an answer, as psycopg does it, but not for ever."""
        patient = self._patient(gen)
        return super().wait(patient, interval) if timeout is None else super().wait(patient, interval, timeout)

    def _patient(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Pass on what a generator says and hears, until it has heard nothing for longer than patience lasts."""
        last_heard = time.monotonic()
        try:
            said = next(gen)
            while True:
                heard = yield said
                if heard:
                    last_heard = time.monotonic()
                elif self._has_given_up or time.monotonic() - last_heard > self.patience_s + _GRACE_S:
                    self._has_given_up = True
                    raise psycopg.errors.QueryCanceled("no answer")
                said = gen.send(heard)
        except StopIteration as end:
            result: RV = end.value
            return result


class Connections:
    """Up to so many connections to one database, for any number of threads.

    A connection on which anything went wrong is not used again, so that a server that has been restarted, or another
    one that took its place, is found at the next call.
    """

    def __init__(self, url: str, *, most: int, patience_s: float) -> None:
        self._parameters = _parameters(url, patience_s)
        self.url = _without_password(self._parameters)
        self._patience_s = patience_s
        self._free = threading.BoundedSemaphore(most)
        self._idle: deque[tuple[float, Connection]] = deque()

    @contextmanager
    def single(self, *, patiently: bool = False) -> Iterator[Connection]:
        """Give a new connection, in no transaction; where patiently, wait for as long as a statement takes."""
        with translated(self.url), closing(self._connect(math.inf if patiently else self._patience_s)) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection in a transaction that sees one state of the database."""
        with self._borrowed() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end, or rolled back where something fails.

        Raises:
            StoreUnavailable: also where the connection breaks off while the database commits: nobody knows then
                whether it did, and the message says so.
        """
        with self._borrowed() as connection:
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            yield connection
            try:
                connection.execute("COMMIT")
            except psycopg.OperationalError:
                raise StoreUnavailable(
                    f"{self.url} broke off at the end of a change, and whether it was made is not known: look, or "
                    "repeat it with the same idempotency key"
                ) from None

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                self._idle.pop()[1].close()

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        """Give a connection, and take it back where it is still good for something."""
        if not self._free.acquire(timeout=self._patience_s):
            raise StoreUnavailable(f"all connections to {self.url} are in use; try again, or allow more of them")
        try:
            with translated(self.url):
                connection = self._ready()
                try:
                    yield connection
                except Exception:
                    with suppress(psycopg.Error):  # where a statement has failed, the connection is closed instead
                        if connection.info.transaction_status == TransactionStatus.INTRANS:
                            connection.execute("ROLLBACK")
                    raise
                finally:
                    if connection.info.transaction_status == TransactionStatus.IDLE:
                        self._idle.append((time.monotonic(), connection))
                    else:
                        connection.close()
        finally:
            self._free.release()

    def _ready(self) -> Connection:
        """Return a connection that works as far as can be told without asking."""
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                since, connection = self._idle.pop()
                if time.monotonic() - since < _FRESH_S and _is_quiet(connection):
                    return connection
                connection.close()
        connection = self._connect(self._patience_s)
        try:
            know_vectors(connection, self.url)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, patience_s: float) -> Connection:
        try:
            connection = Connection.connect("", **self._parameters, autocommit=True, prepare_threshold=None)
        except UnicodeError:  # when its address is looked for
            raise InvalidOption(f"the host in {self.url} cannot be the name of one") from None
        try:
            connection.patience_s = patience_s
            patience_ms = 0 if math.isinf(patience_s) else math.ceil(patience_s * 1000)
            connection.execute(_SESSION, {"patience_ms": str(patience_ms)})
        except BaseException:
            connection.close()
            raise
        return connection


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: FloatArray) -> Buffer:
        return struct.pack(_HEADER, len(obj), 0) + obj.astype(">f4").tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> FloatArray:
        return np.frombuffer(data, ">f4", offset=struct.calcsize(_HEADER)).astype(np.float32)


def know_vectors(connection: Connection, url: str) -> None:
    """Teach a connection about pgvector, in whatever schema the extension is; StoreOutdated where it is in none."""
    row = connection.execute(_VECTOR).fetchone()
    if row is None:
        raise StoreOutdated(f"{url} has lost pgvector, which is the extension vector; restore a backup")
    oid, array_oid, _ = row
    TypeInfo("vector", oid, array_oid).register(connection)
    connection.adapters.register_dumper(np.ndarray, type("VectorDumper", (_VectorDumper,), {"oid": oid}))
    connection.adapters.register_loader(oid, _VectorLoader)


def _is_quiet(connection: Connection) -> bool:
    """Tell whether a connection has nothing to say: one that has, without being asked, says goodbye."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return not selector.select(0)


def _parameters(url: str, patience_s: float) -> dict[str, Any]:
    """Return how to connect, with what a URL leaves open; InvalidOption where this is no URL of a database."""
    theirs = None
    if url.startswith(_SCHEMES) and url.isprintable():
        with suppress(psycopg.ProgrammingError):  # its message would quote the password
            theirs = conninfo_to_dict(url)
    if theirs is None:
        raise InvalidOption("this is no URL of a PostgreSQL database, such as postgresql://user:password@host/database")
    ours = {
        "application_name": "visavis",
        "connect_timeout": math.ceil(patience_s),
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(patience_s * 1000),
    }
    return {**ours, **theirs, "client_encoding": "UTF8"}


def _without_password(parameters: dict[str, Any]) -> str:
    """Return the URL of a database with what is no secret."""
    named: dict[str, str] = {name: str(parameters[name]) for name in _PLACE if name in parameters}
    user = f"{quote(parameters['user'], safe='')}@" if "user" in parameters else ""
    host = port = ""
    if re.fullmatch(r"[\w.-]+", named.get("host", "")):
        host = named.pop("host")
        port = f":{named.pop('port')}" if "port" in named else ""
    query = f"?{urlencode(named)}" if named else ""
    return f"postgresql://{user}{host}{port}/{quote(parameters.get('dbname', ''), safe='')}{query}"
