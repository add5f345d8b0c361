"""Galleries in one SQLite file: durable rows, exact search in memory."""

import hashlib
import hmac
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from datetime import datetime, timedelta, timezone
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from visavis.errors import GalleryExists, GalleryNotFound, InvalidOption
from visavis.galleries.index import Hit
from visavis.galleries.records import (
    Gallery,
    LogEntry,
    Match,
    NewSample,
    Origin,
    Sample,
    Subject,
    check_gallery_name,
    check_limit,
    check_probes,
    may_be_gallery,
    within_integers,
)
from visavis.galleries.sealing import GalleryKeys, Sealer
from visavis.galleries.sqlite.file import SqliteFile
from visavis.galleries.sqlite.memory import Memory, from_vector, sealer_of, to_vectors
from visavis.galleries.sqlite.schema import SCHEMA, compact
from visavis.galleries.store import URL_EXAMPLES, SampleRow, Store, Transaction, Use, log_entry
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

_PROBES_AT_ONCE = 8
_LOOKS = 8  # at a gallery that changes between search and answer, before it is held still


class SqliteStore(Store):
    """A store in one file, which any number of threads and processes may share.

    The file is made, for its owner's eyes only, by the first gallery.
    """

    def __init__(self, path: Path, *, key: bytes | None = None, patience_s: float = 10.0) -> None:
        """Describe a store; nothing is opened before it is needed.

        Args:
            path: the file, which need not exist.
            key: 32 bytes that protect the keys of encrypted galleries; new galleries are encrypted where it is given.
            patience_s: how long to wait for other processes that write.
        """
        self._file = SqliteFile(path, SCHEMA, patience_s)
        self._keys = GalleryKeys(key)
        self._memory = Memory(self._file, self._keys)

    @classmethod
    def from_url(cls, url: str, key: bytes | None) -> "SqliteStore":
        """Return the store at ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
        match = re.fullmatch(r"sqlite:///([^?#]+)", url, re.IGNORECASE)
        path = unquote(match.group(1)) if match else ""
        if not path or "\0" in path or path == ":memory:":  # which is a name like any other here, but not to others
            raise InvalidOption(f"the URL of a store is one such as {URL_EXAMPLES}")
        return cls(Path(path), key=key)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"sqlite:///{self._file.path}"

    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        check_gallery_name(name)
        encrypted = self._keys.store_key is not None if encrypted is None else encrypted
        values = (name, space.id, space.dimension, space.metric, json.dumps(policy.to_dict()), encrypted)
        with self._file.writing() as connection:
            if _find_gallery(connection, name):
                raise GalleryExists(f"there is a gallery {name!r} already")
            number = connection.execute(_NEW_GALLERY, (*values, _integer(origin.at))).lastrowid or 0
            if encrypted:
                new_key = (number, self._keys.new(number))
                connection.execute("INSERT INTO keys (number, wrapped) VALUES (?, ?)", new_key)
            _add_to_log(connection, log_entry("create", name, origin))
            created = _find_gallery(connection, name)
        return created or self.gallery(name)

    def galleries(self) -> tuple[Gallery, ...]:
        with self._file.reading() as connection:
            rows = [] if connection is None else _named(connection.execute(f"{_GALLERIES} ORDER BY name"))
            found = tuple(map(_gallery_of, rows))
        self._memory.release_others([gallery.number for gallery in found])
        return found

    def search(self, gallery: str, probes: FloatArray, limit: int) -> tuple[tuple[Match, ...], ...]:
        check_limit(limit)
        found = self.gallery(gallery)
        probes = check_probes(probes, found.space.dimension)
        # A few at a time, so that nobody else waits long for the file.
        several = (probes[start : start + _PROBES_AT_ONCE] for start in range(0, len(probes), _PROBES_AT_ONCE))
        return tuple(matches for some in several for matches in self._search(found, some, limit))

    def add_to_log(self, entry: LogEntry) -> None:
        with self._file.writing() as connection:
            _add_to_log(connection, entry)

    def entries(self, gallery: str | None = None, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        page = (within_integers(after), check_limit(limit))
        with self._file.reading() as connection:
            if connection is None or not (gallery is None or may_be_gallery(gallery)):
                return ()
            of, values = ("", page) if gallery is None else ("gallery = ? AND ", (gallery, *page))
            rows = connection.execute(f"{_LOG} WHERE {of}number > ? ORDER BY number LIMIT ?", values)
            return tuple(LogEntry(**row | {"subjects": tuple(json.loads(row["subjects"]))}) for row in _named(rows))

    def backup(self, target: Path, origin: Origin) -> None:
        self._file.copy(target)
        self.log("backup", "", origin)

    def close(self) -> None:
        """Let go of the file and the memory; both come back when they are needed."""
        self._file.close()
        self._memory.release_others(())

    @contextmanager
    def _reading(self, gallery: str) -> Iterator["SqliteTransaction"]:
        with self._file.reading() as connection:
            yield self._transaction(connection, gallery)

    @contextmanager
    def _writing(self, gallery: str) -> Iterator["SqliteTransaction"]:
        self.gallery(gallery)  # before a file is made for nothing
        with self._file.writing() as connection:
            yield self._transaction(connection, gallery)

    def _transaction(self, connection: sqlite3.Connection | None, name: str) -> "SqliteTransaction":
        gallery = None if connection is None else _find_gallery(connection, name)
        if connection is None or gallery is None:
            raise GalleryNotFound(f"there is no gallery {name!r}")
        return SqliteTransaction(connection, gallery, self._keys)

    def _overwrite(self, gallery: Gallery, *, forgotten: bool) -> bool:
        self._memory.follow(gallery)  # whom others forgot is to leave this memory too
        if not forgotten:
            if self._file.owes_overwriting:
                self._file.overwrite(wait=False)
            return True
        compacted = compact(self._file)
        return self._file.overwrite() and compacted

    def _search(self, gallery: Gallery, probes: FloatArray, limit: int) -> tuple[tuple[Match, ...], ...]:
        for _ in range(_LOOKS):
            hits = self._memory.search(gallery, probes, limit)
            with self._reading(gallery.name) as transaction:
                gallery, matches = transaction.gallery, transaction.matches(hits)
            if matches is not None:
                return matches
        with self._file.writing():  # nothing changes meanwhile
            hits = self._memory.search(self.gallery(gallery.name), probes, limit)
            with self._reading(gallery.name) as transaction:
                return transaction.matches(hits) or ((),) * len(probes)


Row = dict[str, Any]  # by the names of the columns
Value = str | bytes | int | None

_NEW_GALLERY = (
    "INSERT INTO galleries (name, space, dimension, metric, policy, encrypted, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_GALLERIES = (
    "SELECT number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples FROM galleries"
)
_SUBJECTS = (
    "SELECT subjects.number, content, created_at, updated_at, expires_at, version, samples "
    "FROM subjects JOIN details ON details.number = subjects.details"
)
_OWNERS = "JOIN subjects ON subjects.number = samples.subject JOIN details ON details.number = subjects.details"
_SAMPLES = f"SELECT id, subject, content, embedding, about, picture, samples.created_at FROM samples {_OWNERS}"
_USE = (
    "SELECT id, fingerprint, subjects.number, content, subjects.created_at, updated_at, expires_at, version, "
    f"subjects.samples FROM samples {_OWNERS} WHERE samples.gallery = ? AND key_hash = ?"
)
_HIT = f"SELECT subject, content FROM samples {_OWNERS} WHERE samples.id = ? AND samples.gallery = ?"
_GET_PICTURE = "SELECT data FROM pictures JOIN samples ON samples.id = pictures.sample WHERE sample = ? AND gallery = ?"
_LOG = "SELECT number, at, actor, action, gallery, subjects, count FROM log"
_ADD_TO_LOG = "INSERT INTO log (at, actor, action, gallery, subjects, count) VALUES (?, ?, ?, ?, ?, ?)"
_NEW_SUBJECT = (
    "INSERT INTO subjects (details, updated_at, expires_at, version, samples, number, gallery, id_hash, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SET_SUBJECT = (
    "UPDATE subjects SET details = ?, updated_at = ?, expires_at = ?, version = ?, samples = ? WHERE number = ?"
)
_NEW_SAMPLE = (
    "INSERT INTO samples (id, gallery, subject, embedding, about, picture, created_at, key_hash, fingerprint) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LOSE_SAMPLES = "UPDATE subjects SET samples = samples - ?, version = version + ?, updated_at = ? WHERE number = ?"
_ERASE_SAMPLE = (
    "UPDATE samples SET gallery = NULL, subject = NULL, embedding = NULL, about = NULL, picture = NULL, "
    "created_at = NULL, key_hash = NULL, fingerprint = NULL WHERE id = ?"
)
_ERASE_DETAILS = "UPDATE details SET content = NULL WHERE number = (SELECT details FROM subjects WHERE number = ?)"
_ADD_STUBS = "UPDATE store SET stubs = stubs + ?"  # rows of nulls, which a compaction removes
_REMOVALS_TOLD = 100_000
_PRUNED_EVERY = 1000


class SqliteTransaction(Transaction):
    """A transaction in one gallery of a SQLite file."""

    def __init__(self, connection: sqlite3.Connection, gallery: Gallery, keys: GalleryKeys) -> None:
        super().__init__(gallery)
        self._connection = connection
        self._execute = connection.execute
        self._keys = keys

    @property
    def _sealer(self) -> Sealer | None:
        """What opens the gallery, where it is encrypted; who only forgets does without."""
        return sealer_of(self._connection, self._keys, self.gallery) if self.gallery.encrypted else None

    def find(self, subjects: Iterable[str]) -> dict[str, Subject]:
        sealer, statement = self._sealer, f"{_SUBJECTS} WHERE gallery = ? AND id_hash = ?"
        rows = [row for id_ in subjects for row in self._rows(statement, self.gallery.number, self._id_hash(id_))]
        return {subject.id: subject for subject in (_subject_of(row, sealer) for row in rows)}

    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        sealer = self._sealer
        where = "WHERE gallery = ? AND subjects.number > ? ORDER BY subjects.number LIMIT ?"
        rows = self._rows(f"{_SUBJECTS} {where}", self.gallery.number, after, limit)
        return tuple(_subject_of(row, sealer) for row in rows)

    def due(self, at: datetime, limit: int | None) -> tuple[int, ...]:
        statement = "SELECT number FROM subjects WHERE gallery = ? AND expires_at <= ? ORDER BY number LIMIT ?"
        rows = self._execute(statement, (self.gallery.number, _integer(at), -1 if limit is None else limit))
        return tuple(number for (number,) in rows.fetchall())

    def samples(self, subject: int | None, after: int, limit: int) -> tuple[Sample, ...]:
        sealer = self._sealer
        where, of = ("samples.gallery", self.gallery.number) if subject is None else ("samples.subject", subject)
        rows = self._rows(f"{_SAMPLES} WHERE {where} = ? AND id > ? ORDER BY id LIMIT ?", of, after, limit)
        stored, subjects = [row["embedding"] for row in rows], [row["subject"] for row in rows]
        embeddings = to_vectors(stored, subjects, sealer, self.gallery.space.dimension)
        return tuple(_sample_of(row, vector, sealer) for row, vector in zip(rows, embeddings, strict=True))

    def picture(self, sample: int) -> bytes | None:
        sealer = self._sealer
        row = self._execute(_GET_PICTURE, (sample, self.gallery.number)).fetchone()
        if row is None:
            return None
        return sealer.open(row[0], _PICTURE.format(sample)) if sealer else bytes(row[0])

    def uses(self, keys: Iterable[str]) -> dict[str, Use]:
        sealer, of = self._sealer, self.gallery.number
        rows = {key: row for key in keys for row in self._rows(_USE, of, self._hash("key", key))}
        known = {key: (row.pop("id"), row.pop("fingerprint")) for key, row in rows.items()}
        return {key: Use(_subject_of(row, sealer), *known[key]) for key, row in rows.items()}

    def matches(self, hits: Sequence[Sequence[Hit]]) -> tuple[tuple[Match, ...], ...] | None:
        """Return hits with what is known of their subjects; None where one has gone since."""
        sealer = self._sealer
        try:
            return tuple(tuple(self._match(hit, sealer) for hit in several) for several in hits)
        except LookupError:
            return None

    def fingerprint(self, sample: NewSample) -> bytes:
        return self._hash("fingerprint", f"{len(sample.subject)}:{sample.subject}{sample.fingerprint}")

    def new_numbers(self, count: int) -> tuple[Iterator[int], Iterator[int]]:
        last = dict(self._execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        samples, subjects = (last.get(table, 0) + 1 for table in ("samples", "subjects"))
        return iter(range(samples, samples + count)), iter(range(subjects, subjects + count))

    def set_policy(self, policy: Policy) -> None:
        setting = (json.dumps(policy.to_dict()), self.gallery.number)
        self._execute("UPDATE galleries SET policy = ? WHERE number = ?", setting)

    def put_subjects(self, changes: Sequence[tuple[Subject | None, Subject]]) -> None:
        sealer = self._sealer
        for before, after in changes:
            number, content = after.number, _content(after)
            details: int | None = None
            if before is not None:
                (details,) = self._execute("SELECT details FROM subjects WHERE number = ?", (number,)).fetchone()
                if content != _content(before):  # it is never made longer where it lies
                    self._execute(_ERASE_DETAILS, (number,))
                    self._execute(_ADD_STUBS, (1,))
                    details = None
            if details is None:
                stored = _sealed(content, sealer, _DETAILS, number)
                details = self._execute("INSERT INTO details (content) VALUES (?)", (stored,)).lastrowid
            expires_at = None if after.expires_at is None else _integer(after.expires_at)
            values = (details, _integer(after.updated_at), expires_at, after.version, after.samples, number)
            if before is None:
                owner = (self.gallery.number, self._id_hash(after.id), _integer(after.created_at))
                self._execute(_NEW_SUBJECT, (*values, *owner))
            else:
                self._execute(_SET_SUBJECT, values)

    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        sealer = self._sealer
        self._connection.executemany(_NEW_SAMPLE, (self._sample_values(row, sealer) for row in rows))
        pictures = [(row.id, row.picture) for row in rows if row.picture is not None]
        if sealer:
            pictures = [(id_, sealer.seal(picture, _PICTURE.format(id_))) for id_, picture in pictures]
        self._connection.executemany("INSERT INTO pictures (sample, data) VALUES (?, ?)", pictures)

    def erase_samples(self, samples: Sequence[int], at: datetime) -> dict[int, int]:
        owner, of = "SELECT subject FROM samples WHERE id = ? AND gallery = ?", self.gallery.number
        rows = {sample: self._execute(owner, (sample, of)).fetchone() for sample in samples}
        found: dict[int, int] = {sample: row[0] for sample, row in rows.items() if row is not None}
        self._erase(found)
        lost = Counter(found.values())
        changes = [(count, count, _integer(at), subject) for subject, count in lost.items()]
        self._connection.executemany(_LOSE_SAMPLES, changes)
        return lost

    def erase_subjects(self, subjects: Sequence[int]) -> int:
        count = 0
        for subject in subjects:
            rows = self._execute("SELECT id FROM samples WHERE subject = ?", (subject,)).fetchall()
            self._erase([sample for (sample,) in rows])
            count += len(rows)
            self._execute(_ERASE_DETAILS, (subject,))
            self._execute("DELETE FROM subjects WHERE number = ?", (subject,))
        self._execute(_ADD_STUBS, (len(subjects),))
        return count

    def drop(self) -> tuple[int, ...]:
        of = (self.gallery.number,)
        # Its key goes first: nothing of it can be read any more.
        key = self._execute("SELECT wrapped FROM keys WHERE number = ?", of).fetchone()
        if key is not None:
            self._execute("UPDATE keys SET wrapped = NULL WHERE number = ?", of)
            self._keys.forget(key[0])
        rows = self._execute("SELECT number FROM subjects WHERE gallery = ? ORDER BY number", of).fetchall()
        subjects = tuple(number for (number,) in rows)
        self.erase_subjects(subjects)
        self._execute("DELETE FROM removals WHERE gallery = ?", of)
        self._execute("DELETE FROM galleries WHERE number = ?", of)
        return subjects

    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        change = "UPDATE galleries SET subjects = subjects + ?, samples = samples + ? WHERE number = ?"
        self._execute(change, (subjects, samples, self.gallery.number))

    def add_to_log(self, entry: LogEntry) -> None:
        _add_to_log(self._connection, entry)

    def _rows(self, statement: str, *values: Value) -> list[Row]:
        return _named(self._execute(statement, values))

    def _match(self, hit: Hit, sealer: Sealer | None) -> Match:
        row = self._execute(_HIT, (hit.sample, self.gallery.number)).fetchone()
        if row is None or row[0] != hit.subject:
            raise LookupError
        known = _opened(row[1], sealer, _DETAILS, hit.subject)
        of = {"subject": known["id"], "subject_number": hit.subject, "name": known["name"]}
        return Match(**of, sample=hit.sample, distance=hit.distance)

    def _sample_values(self, row: SampleRow, sealer: Sealer | None) -> tuple[Value, ...]:
        new = row.new
        known = {"quality": None if new.quality is None else astuple(new.quality), "source": new.source}
        return (
            *(row.id, self.gallery.number, row.subject, from_vector(row.embedding, sealer, row.subject)),
            *(_sealed(_json(known), sealer, _ABOUT, row.subject), row.kept, _integer(row.created_at)),
            *(None if new.key is None else self._hash("key", new.key), row.fingerprint),
        )

    def _erase(self, samples: Iterable[int]) -> None:
        """Overwrite the rows of samples, and tell those who have them in memory."""
        ids = [(sample,) for sample in samples]
        self._connection.executemany(_ERASE_SAMPLE, ids)
        self._connection.executemany("UPDATE pictures SET data = NULL WHERE sample = ?", ids)
        tell = "INSERT INTO removals (gallery, sample) VALUES (?, ?)"
        self._connection.executemany(tell, [(self.gallery.number, sample) for (sample,) in ids])
        self._execute(_ADD_STUBS, (len(ids),))
        # Now and then, forget what was removed long ago; who was away for so long reads everything anew.
        (last,) = self._execute("SELECT coalesce(max(number), 0) FROM removals").fetchone()
        until = last - _REMOVALS_TOLD
        if until > 0 and last // _PRUNED_EVERY != (last - len(ids)) // _PRUNED_EVERY:
            self._execute("DELETE FROM removals WHERE number <= ?", (until,))
            self._execute("UPDATE galleries SET pruned = ?", (until,))

    def _id_hash(self, subject: str) -> bytes:
        return self._hash(f"id in {self.gallery.number}", subject)

    def _hash(self, kind: str, text: str) -> bytes:
        """Return by what an ID or a key is found, and from which it cannot be read."""
        return hmac.digest(self._hash_key, f"{kind}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)[:16]

    @cached_property
    def _hash_key(self) -> bytes:
        (hash_key,) = self._execute("SELECT hash_key FROM store").fetchone()
        return bytes(hash_key)


def _find_gallery(connection: sqlite3.Connection, name: str) -> Gallery | None:
    rows = _named(connection.execute(f"{_GALLERIES} WHERE name = ?", (name,))) if may_be_gallery(name) else ()
    return next(map(_gallery_of, rows), None)


def _add_to_log(connection: sqlite3.Connection, entry: LogEntry) -> None:
    subjects = json.dumps(entry.subjects)
    values = (_integer(entry.at), entry.actor, entry.action, entry.gallery, subjects, entry.count)
    connection.execute(_ADD_TO_LOG, values)


# Between rows and records.

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_MOMENTS = {"at", "created_at", "updated_at", "expires_at"}
_DETAILS, _ABOUT, _PICTURE = "details of subject {}", "about a sample of subject {}", "picture of sample {}"


def _integer(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def _named(cursor: sqlite3.Cursor) -> list[Row]:
    """Return all rows by the names of their columns, with moments as such."""
    found = cursor.fetchall()
    names = [column[0] for column in cursor.description] if found else []
    rows = [dict(zip(names, values, strict=True)) for values in found]
    for name in _MOMENTS.intersection(names):
        for row in rows:
            if row[name] is not None:
                row[name] = _EPOCH + row[name] * _MICROSECOND
    return rows


def _gallery_of(row: Row) -> Gallery:
    row["space"] = EmbeddingSpace(row["space"], row.pop("dimension"), row.pop("metric"))
    row["policy"], row["encrypted"] = _policy_of(row["policy"]), bool(row["encrypted"])
    return Gallery(**row)


@lru_cache
def _policy_of(stored: str) -> Policy:
    try:
        return Policy(**json.loads(stored))
    except InvalidOption as error:
        raise ValueError("this is no policy") from error


def _subject_of(row: Row, sealer: Sealer | None) -> Subject:
    row.update(_opened(row.pop("content"), sealer, _DETAILS, row["number"]))
    return Subject(**row)


def _content(subject: Subject) -> str:
    """Return what people wrote of a subject."""
    return _json({name: getattr(subject, name) for name in ("id", "name", "metadata", "consent")})


def _sample_of(row: Row, embedding: FloatArray, sealer: Sealer | None) -> Sample:
    about = _opened(row["about"], sealer, _ABOUT, row["subject"])
    return Sample(
        id=row["id"],
        subject=_opened(row["content"], sealer, _DETAILS, row["subject"])["id"],
        embedding=embedding,
        quality=None if about["quality"] is None else Quality(*about["quality"]),
        source=about["source"],
        picture=row["picture"],
        created_at=row["created_at"],
    )


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _sealed(text: str, sealer: Sealer | None, place: str, number: int) -> str | bytes:
    return sealer.seal(text.encode(), place.format(number)) if sealer else text


def _opened(stored: str | bytes, sealer: Sealer | None, place: str, number: int) -> dict[str, Any]:
    text = sealer.open(stored, place.format(number)) if sealer and isinstance(stored, bytes) else stored
    content: dict[str, Any] = json.loads(text)
    return content


STORE = SqliteStore
