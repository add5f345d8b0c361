"""API keys: a SQLite file that holds their hashes, and the few that the environment brings along.

A key is ``vv_ID_RANDOM``: the ID finds its row, and 256 random bits prove that it is the one. A hash that is fast to
compute is right for that many random bits: there is nothing to guess. One for clients of CompreFace is a random UUID,
of 122 such bits: its hash finds its row.

Who signs calls, as clients of AWS do, proves a secret without sending it, so that the server must know it: it is
computed from the key's ID and from random bits in a file beside the keys, and is stored nowhere.
"""

import hashlib
import hmac
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args
from uuid import UUID, uuid4

import platformdirs

from visavis.config import FaceService, Scope, Settings
from visavis.errors import InvalidOption, KeysUnusable, SetupError
from visavis.files import create_private, replacing
from visavis.galleries.records import check_gallery_name, check_moment
from visavis.galleries.sqlite.file import Schema, open_private_sqlite

_Rows: TypeAlias = list[tuple[Any, ...]]

_PREFIX = "vv"
_ID_BYTES = 6
_SECRET_BYTES = 32
_LEAST_SECRET_LENGTH = 24  # of those that people choose
_MOST_NAME_LENGTH = 200
_FIRST_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'enrol', 'admin')),
    hash BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    revoked_at TEXT
)"""
# Made anew, without a list of scopes: those that there are is no affair of the table.
_ANY_SCOPE = """
CREATE TABLE new (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    revoked_at TEXT,
    galleries TEXT NOT NULL DEFAULT ''
);
INSERT INTO new SELECT id, name, scope, hash, created_at, revoked_at, galleries FROM keys ORDER BY rowid;
DROP TABLE keys;
ALTER TABLE new RENAME TO keys;
"""
_EXPIRY_AND_USE = "ALTER TABLE keys ADD COLUMN expires_at TEXT;\nALTER TABLE keys ADD COLUMN used_at TEXT;"
_SERVICES = "ALTER TABLE keys ADD COLUMN service TEXT NOT NULL DEFAULT ''"
_SCHEMA = Schema(
    (
        _FIRST_SCHEMA,
        "ALTER TABLE keys ADD COLUMN galleries TEXT NOT NULL DEFAULT ''",
        _ANY_SCOPE,
        _EXPIRY_AND_USE,
        _SERVICES,
    )
)
_SELECT = "SELECT id, name, scope, created_at, revoked_at, galleries, expires_at, used_at, service, hash FROM keys"
_ALLOWED: Mapping[str, tuple[Scope, ...]] = {
    "metrics": ("metrics",),
    "read": ("metrics", "read"),
    "probe": ("metrics", "read", "probe"),
    "enrol": ("metrics", "read", "enrol"),
    "admin": get_args(Scope),
}
_NOTED_EVERY = timedelta(minutes=1)
_OWNER_ONLY = 0o600
_OTHERS = 0o077
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_RANDOM = 4  # the version of UUIDs that are


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known about a key; the key itself is known to its owner alone. Times are in UTC."""

    id: str  # the part of the key that is no secret
    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None = None  # None while it is valid
    galleries: tuple[str, ...] = ()  # the only ones that it may touch; none here means all there are
    expires_at: datetime | None = None  # from when on it is not valid; None for never
    used_at: datetime | None = None  # the last use, give or take a minute; None where there was none, or nobody knows
    service: FaceService | None = None  # of CompreFace, which alone it is for; None where it is for all the rest

    @property
    def is_valid(self) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and not self.is_expired

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= datetime.now(timezone.utc)

    def allows(self, scope: Scope) -> bool:
        """Tell whether the key's scope includes this one."""
        return scope in _ALLOWED.get(self.scope, ())

    def covers(self, gallery: str) -> bool:
        """Tell whether the key is for this gallery, which need not exist."""
        return not self.galleries or gallery in self.galleries


def default_keys_file() -> Path:
    """Return where the user's keys are kept, which need not exist."""
    return Path(platformdirs.user_data_dir("visavis")) / "keys.sqlite"


def is_uuid(text: str) -> bool:
    """Tell whether a text is a UUID as it is usually written."""
    return _UUID.fullmatch(text) is not None


class KeyStore:
    """The keys in a file, which any number of threads and processes may share; what one revokes, all refuse at once.

    The file is made, for its owner alone, when the first key is. Every method may raise ``KeysUnusable``.
    """

    def __init__(self, path: Path, bootstrap: Sequence[tuple[Scope, str]] = ()) -> None:
        """Describe a store; nothing is opened before it is needed. Bootstrap keys, scope and secret, stay in memory.

        Raises:
            InvalidOption: a bootstrap key has an unknown scope, or is too short to be a secret.
        """
        self.path = path
        self._bootstrap = tuple(_bootstrap_key(*pair, number) for number, pair in enumerate(bootstrap, 1))
        self._secrets = {record.id: secret for (record, _), (_, secret) in zip(self._bootstrap, bootstrap, strict=True)}
        self._signing_file = _signing_file(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._seen = bool(self._bootstrap)  # a key, ever
        self._noted: dict[str, datetime] = {}  # by ID, when this process last wrote down that a key was used

    def create(  # noqa: PLR0913  # what a key is
        self,
        name: str,
        scope: Scope,
        galleries: Iterable[str] = (),
        *,
        expires_at: datetime | None = None,
        service: FaceService | None = None,
        uuid: str | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key, for these galleries only or for all; this is the only time that it is seen.

        Args:
            name: what to call it.
            scope: what it allows.
            galleries: the only ones that it is for.
            expires_at: from when on it is not valid.
            service: of CompreFace that it is for, and for nothing else.
            uuid: that the key is to be, as clients of CompreFace have it already; without it, a new one.

        Raises:
            InvalidOption: the name is empty, too long or not printable; there is no such scope or service; a gallery
                cannot have such a name; the moment from which on it is not valid has no time zone; recognition without
                one gallery, or another service with any; or the UUID is none that somebody drew at random, or a key.
        """
        if not (name.strip() and name.isprintable() and len(name) <= _MOST_NAME_LENGTH):
            raise InvalidOption(f"the name of a key must be 1 to {_MOST_NAME_LENGTH} printable characters")
        only = tuple(dict.fromkeys(map(check_gallery_name, galleries)))
        expiry = None if expires_at is None else check_moment("expires_at", expires_at)
        id_ = secrets.token_hex(_ID_BYTES)
        _check_service(service, only, uuid)
        record = KeyRecord(id_, name, _check_scope(scope), _now(), galleries=only, expires_at=expiry, service=service)
        secret = f"{_PREFIX}_{record.id}_{secrets.token_hex(_SECRET_BYTES)}"
        if service is not None:
            secret = _random_uuid(uuid)
        with _translated(self.path), suppress(FileExistsError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private(self.path)
        if self._execute("SELECT 1 FROM keys WHERE hash = ?", _hash(secret)):
            raise InvalidOption("uuid: there is such a key already, or was before it was revoked")
        self._execute(
            "INSERT INTO keys (id, name, scope, hash, created_at, galleries, expires_at, service) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(record.id, name, scope, _hash(secret), record.created_at.isoformat(), ",".join(only)),
            *(expiry.isoformat() if expiry else None, service or ""),
        )
        return record, secret

    def list(self) -> list[KeyRecord]:
        """Return every key ever made, revoked ones too, oldest first; those of the environment come before."""
        rows = self._execute(_SELECT + " ORDER BY rowid")
        return [*(record for record, _ in self._bootstrap), *map(_record, rows)]

    def revoke(self, id: str) -> KeyRecord | None:  # noqa: A002  # what a record calls it
        """Make a key invalid, for good and from now on, and return it; None where the file has none of that ID."""
        if not id.isascii():
            return None
        self._execute("UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", _now().isoformat(), id)
        rows = self._execute(_SELECT + " WHERE id = ?", id)
        return _record(rows[0]) if rows else None

    def find(self, secret: str) -> KeyRecord | None:
        """Return the valid key that this is, or None.

        Always asks the file, which takes some ten microseconds: it never answers with what was valid before. That the
        key was used is written down at most once a minute.
        """
        record = self._find(secret)
        if record is None or record.is_expired:
            return None
        self.note_use(record)
        return record

    def has_expired(self, secret: str) -> bool:
        """Tell whether this was a valid key, and is none because its time is over."""
        record = self._find(secret)
        return record is not None and record.is_expired

    def signing_secret(self, id: str) -> str:  # noqa: A002  # as above
        """Return the secret with which a key signs; the file that all of them depend on is made where there is none."""
        with _translated(self._signing_file):
            if not self._signing_file.exists():
                made = replacing(self._signing_file, private=True, durable=True, new=True)
                with suppress(FileExistsError), made as file:  # somebody else just made it
                    file.write(secrets.token_bytes(_SECRET_BYTES))
            return self._signed(id, self._signing_file.read_bytes())

    def find_signer(self, id: str) -> tuple[KeyRecord, str] | None:  # noqa: A002  # as above
        """Return the valid key of an ID and the secret with which it signs, or None; a key of the environment is both.

        The caller has proved nothing yet; ``note_use`` is for afterwards.
        """
        if id in self._secrets:
            return next(record for record, _ in self._bootstrap if record.id == id), self._secrets[id]
        rows = self._execute(_SELECT + " WHERE id = ? AND revoked_at IS NULL", id) if id.isascii() else ()
        record = _record(rows[0]) if rows else None
        if record is None or record.is_expired:
            return None
        with _translated(self._signing_file), suppress(FileNotFoundError):
            return record, self._signed(id, self._signing_file.read_bytes())
        return None  # no secret was ever told

    def _signed(self, id_: str, random: bytes) -> str:
        if len(random) != _SECRET_BYTES:
            raise SetupError(f"it is not {_SECRET_BYTES} bytes long")
        return hmac.new(random, f"AWS4 {id_}".encode("ascii"), hashlib.sha256).hexdigest()

    def _find(self, secret: str) -> KeyRecord | None:
        if not secret.isascii():
            return None
        digest = _hash(secret)
        found = [record for record, expected in self._bootstrap if hmac.compare_digest(digest, expected)]
        if found:
            return found[0]
        if is_uuid(secret):
            where = " WHERE hash = ? AND service <> '' AND revoked_at IS NULL"
            rows = self._execute(_SELECT + where, _hash(secret.lower()))
            return _record(rows[0]) if rows else None
        prefix, id_, _random = (*secret.split("_", 2), "", "")[:3]
        if prefix != _PREFIX:
            return None
        rows = self._execute(_SELECT + " WHERE id = ? AND revoked_at IS NULL", id_)
        return _record(rows[0]) if rows and hmac.compare_digest(digest, rows[0][-1]) else None

    def note_use(self, record: KeyRecord) -> None:
        """Write down that a key was used, at most once a minute."""
        now = _now()
        last = max(filter(None, (record.used_at, self._noted.get(record.id))), default=None)
        if last is None or now - last >= _NOTED_EVERY:
            self._noted[record.id] = now
            # That it was used is no reason to refuse it, as on a full disk, nor to wait for whoever writes.
            place = f"{self.path.absolute().as_uri()}?mode=rw"  # which makes no file
            with (
                suppress(sqlite3.Error),
                closing(sqlite3.connect(place, timeout=0, uri=True)) as connection,
                connection,
            ):
                connection.execute("UPDATE keys SET used_at = ? WHERE id = ?", (now.isoformat(), record.id))

    def needed(self, settings: Settings) -> bool:
        """Tell whether calls need a key: with ``auto``, also as soon as one was ever made.

        To revoke the last one lets nobody in, nor does it that the file is gone.
        """
        if settings.auth == "auto" and not self._seen:
            self._seen = bool(self._execute("SELECT 1 FROM keys LIMIT 1"))
        return settings.keys_required or (settings.auth == "auto" and self._seen)

    def backup(self, target: Path) -> bool:
        """Write a copy of the file's present state to a new file, while others go on; False where there is no file."""
        if not self.path.exists():
            return False
        create_private(target)
        self._execute("VACUUM INTO ?", str(target))
        if self._signing_file.exists():
            with replacing(_signing_file(target), private=True) as copy:
                copy.write(self._signing_file.read_bytes())
        return True

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _execute(self, statement: str, *values: str | bytes | None) -> _Rows:
        """Run a statement, one thread at a time, and return its rows: none where there is no file."""
        with self._lock, _translated(self.path):
            try:
                return self._connected().execute(statement, values).fetchall()
            except FileNotFoundError:
                self._close()
                return []
            except BaseException:
                self._close()
                raise

    def _connected(self) -> sqlite3.Connection:
        """Return the connection: a new one where the path has come to mean another file."""
        status = self.path.stat()
        if self._connection is None or self._opened != (status.st_dev, status.st_ino):
            self._close()
            if status.st_mode & _OTHERS:
                self.path.chmod(_OWNER_ONLY)
            self._connection = open_private_sqlite(self.path, _SCHEMA)
            self._opened = (status.st_dev, status.st_ino)
        return self._connection


def _signing_file(keys: Path) -> Path:
    return keys.with_name(f"{keys.name}.signing")


def _check_scope(scope: str) -> Scope:
    if scope not in get_args(Scope):
        raise InvalidOption(f"there is no scope {scope!r}; choose one of: {', '.join(get_args(Scope))}")
    return cast("Scope", scope)


def _check_service(service: str | None, galleries: Sequence[str], uuid: str | None) -> None:
    if service is None:
        if uuid is not None:
            raise InvalidOption("uuid: keys of CompreFace alone are UUIDs; name the service that it is for")
        return
    if service not in get_args(FaceService):
        raise InvalidOption(f"there is no service {service!r}; choose one of: {', '.join(get_args(FaceService))}")
    if len(galleries) != (1 if service == "recognition" else 0):
        wanted = "is for one gallery: name it" if service == "recognition" else "is for no gallery: name none"
        raise InvalidOption(f"a key of the service {service} {wanted}")


def _random_uuid(given: str | None) -> str:
    """Return a random UUID, or the one that was given, which nobody can guess."""
    if given is None:
        return str(uuid4())
    if not is_uuid(given) or UUID(given).version != _RANDOM:
        raise InvalidOption("uuid: must be a random UUID, of version 4, as CompreFace makes them; others are guessed")
    return given.lower()


def _bootstrap_key(scope: str, secret: str, number: int) -> tuple[KeyRecord, bytes]:
    if len(secret) < _LEAST_SECRET_LENGTH or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidOption(
            f"API key {number} of the environment must be {_LEAST_SECRET_LENGTH} or more printable ASCII characters "
            "without spaces"
        )
    return KeyRecord(f"environment-{number}", "from the environment", _check_scope(scope), _now()), _hash(secret)


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _record(row: tuple[Any, ...]) -> KeyRecord:
    id_, name, scope, created_at, revoked_at, galleries, expires_at, used_at, service, _ = row
    revoked, expires, used = (at and datetime.fromisoformat(at) for at in (revoked_at, expires_at, used_at))
    only = tuple(galleries.split(",")) if galleries else ()
    times = revoked, only, expires, used
    return KeyRecord(id_, name, scope, datetime.fromisoformat(created_at), *times, service or None)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, SetupError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KeysUnusable(f"the keys in {path} cannot be used: {reason}") from error
