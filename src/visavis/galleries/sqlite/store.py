"""Galleries in one SQLite file: durable rows, exact search in memory."""

import hashlib
import hmac
import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from visavis.core.embeddings import check_probes
from visavis.errors import (
    GalleryExists,
    GalleryLocked,
    GalleryNotFound,
    InvalidOption,
    StoreDamaged,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from visavis.galleries.index import Hit, nearest_subjects
from visavis.galleries.moves import spell_anew
from visavis.galleries.records import (
    Gallery,
    GalleryCheck,
    LogEntry,
    Match,
    Matches,
    NewSample,
    Origin,
    Sample,
    SampleRow,
    StoreKeys,
    Subject,
    check_gallery_name,
    check_limit,
    may_be_gallery,
    within_integers,
)
from visavis.galleries.sealing import Checker, GalleryKeys, Sealer
from visavis.galleries.sqlite.cells import (
    ABOUT,
    DAMAGE,
    DETAILS,
    PICTURE,
    Row,
    named,
    timed,
    to_integer,
    to_moment,
    to_stored,
    to_vectors,
    whole,
)
from visavis.galleries.sqlite.check import check_gallery
from visavis.galleries.sqlite.file import SqliteFile
from visavis.galleries.sqlite.keys import (
    GALLERY,
    GALLERY_COLUMNS,
    Opened,
    hashed,
    new_gallery,
    open_row,
    rekey,
    seal_gallery,
    seal_older,
    wrap_anew,
)
from visavis.galleries.sqlite.memory import Memory
from visavis.galleries.sqlite.schema import SCHEMA, compact
from visavis.galleries.store import URL_EXAMPLES, Store, Transaction, Use, log_entry, undone
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

_PROBES_AT_ONCE = 8
_LOOKS = 8  # at a gallery that changes between search and answer, before it is held still


class SqliteStore(Store):
    """A store in one file, which any number of threads and processes may share.

    The file is made, for its owner's eyes only, by the first gallery.
    """

    def __init__(self, path: Path, *, key: StoreKeys = None, patience_s: float = 10.0) -> None:
        """Describe a store; nothing is opened before it is needed.

        Args:
            path: the file, which need not exist.
            key: 32 bytes that protect the keys of encrypted galleries; new galleries are encrypted where it is given.
                Several where the key changes, the new one first.
            patience_s: how long to wait for other processes that write.
        """
        self._file = SqliteFile(path, SCHEMA, patience_s)
        self._keys = GalleryKeys(key)
        self._memory = Memory(self._file, self._keys)
        self._renewed: set[tuple[int, str]] = set()  # as far as can be: the file's generation, the gallery's name
        self._told: set[int] = set()  # galleries whose being in plain was told

    @classmethod
    def from_url(cls, url: str, key: StoreKeys) -> "SqliteStore":
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

    @undone("no gallery was made")
    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        check_gallery_name(name)
        encrypted = bool(self._keys) if encrypted is None else encrypted
        values = (name, space.id, space.dimension, space.metric, json.dumps(policy.to_dict()), encrypted)
        with self._file.writing() as connection:
            if same := connection.execute(f"{_GALLERIES} WHERE name = ? COLLATE NOCASE", (name,)).fetchone():
                raise GalleryExists(f"there is a gallery {same[1]!r} already")
            number = connection.execute(_NEW_GALLERY, (*values, to_integer(origin.at))).lastrowid or 0
            new_gallery(connection, self._keys, number, encrypted=encrypted)
            _add_to_log(connection, log_entry("create", name, origin))
            return self._transaction(connection, name).gallery

    def galleries(self) -> tuple[Gallery, ...]:
        with self._file.reading() as connection:
            found = tuple(map(_gallery_of, connection.execute(f"{_GALLERIES} ORDER BY name"))) if connection else ()
        self._memory.release_others([gallery.number for gallery in found])
        return found

    def gallery(self, name: str) -> Gallery:
        with self._reading(name) as transaction:
            if self._keys or not transaction.gallery.encrypted:  # else nobody can tell, nor do anything but forget
                transaction.unlock()
            return transaction.gallery

    def search(
        self, gallery: str, probes: FloatArray, limit: int, *, templates: bool = False, single: bool = False
    ) -> Matches:
        check_limit(limit)
        found = self.gallery(gallery)
        probes = check_probes(probes, found.space.dimension)
        # A few at a time, so that nobody else waits long for the file.
        several = (probes[start : start + _PROBES_AT_ONCE] for start in range(0, len(probes), _PROBES_AT_ONCE))
        look = partial(self._memory.search, templates=templates, single=single)
        return tuple(matches for some in several for matches in self._search(found, some, limit, look))

    def add_to_log(self, entry: LogEntry) -> None:
        with self._file.writing() as connection:
            _add_to_log(connection, entry)

    def entries(
        self, gallery: str | None = None, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> tuple[LogEntry, ...]:
        beyond, order = ("number < ?", "DESC") if newest_first and after else ("number > ?", "DESC" * newest_first)
        page = (within_integers(after), check_limit(limit))
        with self._file.reading() as connection:
            if connection is None or not (gallery is None or may_be_gallery(gallery)):
                return ()
            of, values = ("", page) if gallery is None else ("gallery = ? AND ", (gallery, *page))
            rows = connection.execute(f"{_LOG} WHERE {of}{beyond} ORDER BY number {order} LIMIT ?", values)
            return tuple(
                LogEntry(**timed(row) | {"subjects": tuple(json.loads(row["subjects"]))}) for row in named(rows)
            )

    def backup(self, target: Path, origin: Origin) -> None:
        self._file.copy(target)
        self.log("backup", "", origin)

    def check(self, gallery: str, *, quick: bool = False) -> GalleryCheck:
        with self._reading(gallery):  # before another connection is opened for nothing
            pass
        with self._file.snapshot() as connection:  # for long, perhaps: others read and write meanwhile
            connection.execute("BEGIN")
            return self._transaction(connection, gallery).check(quick=quick)

    def rekey(self, gallery: str, origin: Origin) -> Gallery:
        found = self.gallery(gallery)
        entry = log_entry("rekey", gallery, origin, count=found.samples)
        rekey(self._file, self._keys, found.number, lambda connection: _add_to_log(connection, entry))
        self._file.overwrite()
        return self.gallery(gallery)

    def rewrap(self, origin: Origin) -> tuple[str, ...]:
        if not self._keys:
            raise GalleryLocked("set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE to the new key and the old one")
        galleries = [gallery for gallery in self.galleries() if gallery.encrypted]
        for gallery in galleries:
            with self._reading(gallery.name):  # which seals it where an older version made it
                pass
        with self._file.writing() as connection:
            locked = wrap_anew(connection, self._keys)
            _add_to_log(connection, log_entry("rekey", "", origin))
        self._file.overwrite()
        return tuple(gallery.name for gallery in galleries if gallery.number in locked)

    def close(self) -> None:
        """Let go of the file and the memory; both come back when they are needed."""
        self._file.close()
        self._memory.release_others(())

    @contextmanager
    def _reading(self, gallery: str) -> Iterator["SqliteTransaction"]:
        self._renew_once(gallery)
        with self._file.reading() as connection:
            yield self._transaction(connection, gallery)

    @contextmanager
    def _writing(self, gallery: str) -> Iterator["SqliteTransaction"]:
        self._renew_once(gallery)  # and make no file for nothing
        with self._file.writing() as connection:
            transaction = self._transaction(connection, gallery)
            number = transaction.gallery.number
            if self._keys and not transaction.gallery.encrypted and number not in self._told:
                _logger.warning("gallery %s is not encrypted, though there is a key for galleries that are", gallery)
                self._told.add(number)
            yield transaction

    def _renew_once(self, name: str) -> None:
        """Bring a gallery that an older version made up to date, as often as the file is opened."""
        version = self._file.version()
        if version is not None and (version[0], name) in self._renewed:
            return
        with self._file.reading() as connection:
            transaction = self._transaction(connection, name)
            older = transaction.is_older
        if version is not None:
            self._renewed.add((version[0], name))
        if older:
            self._renew(transaction.gallery)

    def _renew(self, gallery: Gallery) -> None:
        """Seal a gallery that an older version made, spell it anew, and let the file forget how it was before."""
        with suppress(GalleryLocked, StoreDamaged, StoreFull, StoreReadOnly):  # who needs it is told
            with self._file.writing() as connection:
                seal_older(connection, self._keys, gallery.number)
                spell_anew(self._transaction(connection, gallery.name))
                connection.execute("UPDATE galleries SET spelled = 1 WHERE number = ?", (gallery.number,))
            compact(self._file)
            self._file.overwrite()

    def _transaction(self, connection: sqlite3.Connection | None, name: str) -> "SqliteTransaction":
        row = connection and may_be_gallery(name) and connection.execute(GALLERY.format("name"), (name,)).fetchone()
        if not connection or not row:
            raise GalleryNotFound(f"there is no gallery {name!r}")
        return SqliteTransaction(connection, row, self._keys)

    def _overwrite(self, gallery: Gallery, *, forgotten: bool) -> bool:
        self._memory.follow(gallery)  # whom others forgot is to leave this memory too
        if not forgotten:
            if self._file.owes_overwriting or self._file.reserve.is_lent:
                with suppress(StoreFull, StoreReadOnly, StoreUnavailable):
                    self._file.overwrite(wait=False)
            return True
        compacted = compact(self._file)
        overwritten = self._file.overwrite()
        self._file.drop_caches()
        return overwritten and compacted

    def _make_room(self) -> bool:
        if not self._file.reserve.is_lent and self._file.reserve.lend():
            return True
        self._file.overwrite()  # what was written in vain leaves the log, and the reserve is kept again
        return False

    def _search(
        self, gallery: Gallery, probes: FloatArray, limit: int, look: Callable[..., Sequence[Sequence[Hit]]]
    ) -> Matches:
        spare = 0  # more hits than are wanted, in the place of subjects that are damaged
        for _ in range(_LOOKS):
            hits = look(gallery, probes, limit + spare)
            with self._reading(gallery.name) as transaction:
                gallery, matches = transaction.gallery, transaction.matches(hits)
            if matches is None:
                continue
            lost = max(len(found) - len(known) for found, known in zip(hits, matches, strict=True))
            if lost <= spare:
                return tuple(nearest_subjects(known, limit) for known in matches)
            spare = 2 * lost
        with self._file.writing():  # nothing changes meanwhile
            hits = look(self.gallery(gallery.name), probes, limit + spare)
            with self._reading(gallery.name) as transaction:
                matches = transaction.matches(hits, settled=True) or ()
        return tuple(nearest_subjects(known, limit) for known in matches)


Value = str | bytes | int | None
_logger = logging.getLogger("visavis.galleries")
_NEW_GALLERY = (
    "INSERT INTO galleries (name, space, dimension, metric, policy, encrypted, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_GALLERIES = (
    "SELECT number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples FROM galleries"
)
_SUBJECTS = (
    "SELECT subjects.number, content, created_at, updated_at, expires_at, version, samples "
    "FROM subjects LEFT JOIN details ON details.number = subjects.details"
)
# What should be joined and is not there is damaged.
_OWNERS = (
    "LEFT JOIN subjects ON subjects.number = max(samples.subject, -samples.subject) "
    "LEFT JOIN details ON details.number = subjects.details"
)
_SAMPLES = f"SELECT id, subject, content, embedding, about, picture, samples.created_at FROM samples {_OWNERS}"
_USE = (
    "SELECT id, fingerprint, subjects.number, content, subjects.created_at, updated_at, expires_at, version, "
    f"subjects.samples FROM samples {_OWNERS} WHERE samples.gallery = ? AND key_hash = ?"
)
_OF_ONE = "samples.subject IN (?, ?)"
_NUMBERS = "SELECT number, version FROM subjects WHERE gallery = ? AND {} = ?"
_HIT = f"SELECT subject, content FROM samples {_OWNERS} WHERE samples.id = ? AND samples.gallery = ?"
_GET_PICTURE = "SELECT data FROM pictures JOIN samples ON samples.id = pictures.sample WHERE sample = ? AND gallery = ?"
_LOG = "SELECT number, at, actor, action, gallery, subjects, count FROM log"
_ADD_TO_LOG = "INSERT INTO log (at, actor, action, gallery, subjects, count) VALUES (?, ?, ?, ?, ?, ?)"
_NEW_SUBJECT = (
    "INSERT INTO subjects (details, updated_at, expires_at, version, samples, id_hash, number, gallery, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SET_SUBJECT = (
    "UPDATE subjects SET details = ?, updated_at = ?, expires_at = ?, version = ?, samples = ?, id_hash = ? "
    "WHERE number = ?"
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

    def __init__(self, connection: sqlite3.Connection, row: tuple[Any, ...], keys: GalleryKeys) -> None:
        super().__init__(_gallery_of(row[:GALLERY_COLUMNS]))
        self._row = row
        self._id_hashes: dict[str, bytes] = {}
        self._connection = connection
        self._execute = connection.execute
        self._keys = keys

    @cached_property
    def _opened(self) -> Opened:
        """What opens the gallery, whose row is authentic then; who only forgets does without."""
        return open_row(self._row, self._keys)

    @property
    def _sealer(self) -> Sealer | Checker:
        return self._opened.sealer

    @property
    def is_older(self) -> bool:
        """Whether an older version made the gallery, and nobody has brought it up to date who can."""
        older = "SELECT 1 FROM galleries WHERE number = ? AND (NOT spelled OR encrypted AND seal IS NULL)"
        can = self._keys or not self.gallery.encrypted
        return bool(can and self._execute(older, (self.gallery.number,)).fetchone())

    def unlock(self) -> None:
        """Insist that the gallery's row is as it was written, and that there is what opens the gallery."""
        _ = self._opened

    def find(self, subjects: Iterable[str]) -> dict[str, Subject]:
        self.unlock()
        statement = f"{_SUBJECTS} WHERE gallery = ? AND id_hash = ?"
        found = ((id_, self._rows(statement, self.gallery.number, self._id_hash(id_))) for id_ in subjects)
        return {id_: self._certain(row, id_) for id_, rows in found for row in rows}

    def numbers(self, subjects: Iterable[str | int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for subject in subjects:
            column, value = ("id_hash", self._id_hash(subject)) if isinstance(subject, str) else ("number", subject)
            rows = self._execute(_NUMBERS.format(column), (self.gallery.number, value))
            found.update(rows.fetchall())
        return found

    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        self.unlock()
        where = "WHERE gallery = ? AND subjects.number > ? ORDER BY subjects.number"
        rows = self._rows(f"{_SUBJECTS} {where}", self.gallery.number, after)
        return tuple(islice(whole(rows, self._subject_of), limit))

    def due(self, at: datetime | None, limit: int | None) -> tuple[int, ...]:
        due, values = ("", ()) if at is None else ("AND expires_at <= ?", (to_integer(at),))
        statement = f"SELECT number FROM subjects WHERE gallery = ? {due} ORDER BY number LIMIT ?"
        rows = self._execute(statement, (self.gallery.number, *values, -1 if limit is None else limit))
        return tuple(number for (number,) in rows.fetchall())

    def samples(self, subject: int | None, after: int, limit: int) -> tuple[Sample, ...]:
        self.unlock()
        where, of = (
            ("samples.gallery = ?", (self.gallery.number,)) if subject is None else (_OF_ONE, (subject, -subject))
        )
        rows = self._rows(f"{_SAMPLES} WHERE {where} AND id > ? ORDER BY id", *of, after)
        return tuple(islice(whole(rows, self._sample_of), limit))

    def picture(self, sample: int) -> bytes | None:
        self.unlock()
        row = self._execute(_GET_PICTURE, (sample, self.gallery.number)).fetchone()
        try:
            return None if row is None else self._sealer.open(row[0], f"{PICTURE}{sample}")
        except DAMAGE:
            raise StoreDamaged(f"what is stored of the image of sample {sample} is damaged") from None

    def uses(self, keys: Iterable[str]) -> dict[str, Use]:
        self.unlock()
        rows = {key: row for key in keys for row in self._rows(_USE, self.gallery.number, self._hash("key", key))}
        known = {key: (row.pop("id"), row.pop("fingerprint")) for key, row in rows.items()}
        return {key: Use(self._certain(row), *known[key]) for key, row in rows.items()}

    def matches(self, hits: Sequence[Sequence[Hit]], *, settled: bool = False) -> tuple[tuple[Match, ...], ...] | None:
        """Return hits with what is known of their subjects, but for those that are damaged.

        None where one has gone since, unless it is settled that none has.
        """
        self.unlock()
        of = self.gallery.number
        rows = [
            [(hit, *(self._execute(_HIT, (hit.sample, of)).fetchone() or (None, None))) for hit in several]
            for several in hits
        ]
        if not settled and any(hit.subject != subject for each in rows for hit, subject, _ in each):
            return None
        return tuple(tuple(whole(each, self._match)) for each in rows)

    def check(self, *, quick: bool) -> GalleryCheck:
        """Look at what is stored: all of it, or the first rows and no pictures."""
        return check_gallery(self._connection, self.gallery, self._sealer, self._id_hash, quick=quick)

    def fingerprint(self, sample: NewSample) -> bytes:
        if sample.key is None:  # nobody will ask
            return b""
        return self._hash("fingerprint", f"{len(sample.subject)}:{sample.subject}{sample.fingerprint}")

    def new_numbers(self, count: int) -> tuple[Iterator[int], Iterator[int]]:
        last = dict(self._execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        samples, subjects = (last.get(table, 0) + 1 for table in ("samples", "subjects"))
        return iter(range(samples, samples + count)), iter(range(subjects, subjects + count))

    def set_policy(self, policy: Policy) -> None:
        self.unlock()
        setting = (json.dumps(policy.to_dict()), self.gallery.number)
        self._execute("UPDATE galleries SET policy = ? WHERE number = ?", setting)
        seal_gallery(self._connection, self.gallery.number, self._opened)

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
                stored = sealer.seal(content.encode(), f"{DETAILS}{number}")
                details = self._execute("INSERT INTO details (content) VALUES (?)", (stored,)).lastrowid
            expires_at = None if after.expires_at is None else to_integer(after.expires_at)
            counts = (after.version, after.samples, self._id_hash(after.id))
            values = (details, to_integer(after.updated_at), expires_at, *counts, number)
            if before is None:
                self._execute(_NEW_SUBJECT, (*values, self.gallery.number, to_integer(after.created_at)))
            else:
                self._execute(_SET_SUBJECT, values)

    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        numbers = [row.id for row in rows], [row.subject for row in rows]
        embeddings = to_stored(*numbers, np.array([row.embedding for row in rows]), self._sealer)
        self._connection.executemany(_NEW_SAMPLE, map(self._sample_values, rows, embeddings))
        kept = ((row.id, row.picture) for row in rows if row.picture is not None)
        pictures = [(id_, self._sealer.seal(picture, f"{PICTURE}{id_}")) for id_, picture in kept]
        self._connection.executemany("INSERT INTO pictures (sample, data) VALUES (?, ?)", pictures)

    def erase_samples(self, samples: Sequence[int], at: datetime) -> dict[int, int]:
        owner, of = "SELECT subject FROM samples WHERE id = ? AND gallery = ?", self.gallery.number
        rows = {sample: self._execute(owner, (sample, of)).fetchone() for sample in samples}
        found = {sample: row[0] for sample, row in rows.items() if row is not None}
        self._erase(found)
        lost = Counter(abs(owner) if isinstance(owner, int) else 0 for owner in found.values())  # or it is damaged
        changes = [(count, count, to_integer(at), subject) for subject, count in lost.items()]
        self._connection.executemany(_LOSE_SAMPLES, changes)
        return lost

    def erase_subjects(self, subjects: Sequence[int]) -> int:
        count = 0
        for subject in subjects:
            rows = self._execute(f"SELECT id FROM samples WHERE {_OF_ONE}", (subject, -subject)).fetchall()
            self._erase([sample for (sample,) in rows])
            count += len(rows)
        _erase_subjects(self._connection, subjects)
        return count

    def drop(self) -> tuple[int, ...]:
        of = (self.gallery.number,)
        # Its key goes first: nothing of it can be read any more.
        wrapped = "SELECT wrapped FROM keys WHERE number = ? UNION SELECT wrapped FROM new_keys WHERE gallery = ?"
        for (key,) in self._execute(wrapped, of * 2).fetchall():
            self._keys.forget(key)
        self._execute("UPDATE keys SET wrapped = NULL WHERE number = ?", of)
        self._execute("UPDATE new_keys SET gallery = NULL, wrapped = NULL WHERE gallery = ?", of)
        samples = self._execute("SELECT id FROM samples WHERE gallery = ?", of).fetchall()
        _erase_samples(self._connection, [sample for (sample,) in samples])
        subjects = self.due(None, None)
        _erase_subjects(self._connection, subjects)
        self._execute("DELETE FROM removals WHERE gallery = ?", of)
        self._execute("DELETE FROM galleries WHERE number = ?", of)
        return subjects

    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        change = "UPDATE galleries SET subjects = subjects + ?, samples = samples + ? WHERE number = ?"
        self._execute(change, (subjects, samples, self.gallery.number))

    def add_to_log(self, entry: LogEntry) -> None:
        _add_to_log(self._connection, entry)

    def _rows(self, statement: str, *values: Value) -> Iterator[Row]:
        return named(self._execute(statement, values))

    def _certain(self, row: Row, id_: str | None = None) -> Subject:
        """Return a subject that is asked for by its ID, or its key; it cannot be left out."""
        number = row["number"]
        with suppress(*DAMAGE):
            subject = self._subject_of(row)
            if id_ is None or subject.id == id_:
                return subject
        raise StoreDamaged(
            f"subject number {number} of gallery {self.gallery.name!r} is damaged; forget it, or restore a backup"
        )

    def _subject_of(self, row: Row) -> Subject:
        known = self._known(row.pop("content"), DETAILS, row["number"])
        return Subject(**timed(row), **known)

    def _sample_of(self, row: Row) -> Sample:
        subject, dimension = row["subject"], self.gallery.space.dimension
        (embedding,) = to_vectors([(row["id"], subject, row["embedding"])], self._sealer, dimension).vectors
        about = self._known(row["about"], ABOUT, subject)
        return Sample(
            id=row["id"],
            subject=self._known(row["content"], DETAILS, abs(subject))["id"],
            embedding=embedding,
            quality=None if about["quality"] is None else Quality(*about["quality"]),
            source=about["source"],
            picture=row["picture"],
            created_at=timed(row)["created_at"],
            counter=subject < 0,
            metadata=about.get("metadata", {}),
        )

    def _match(self, found: tuple[Hit, int, bytes]) -> Match:
        hit, _, content = found
        known = self._known(content, DETAILS, abs(hit.subject))
        return Match.of(hit.subject, known, sample=hit.sample, distance=hit.distance)

    def _known(self, stored: bytes, place: str, number: int) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._sealer.open(stored, f"{place}{number}"))
        return content

    def _sample_values(self, row: SampleRow, embedding: bytes) -> tuple[Value, ...]:
        new = row.new
        quality = None if new.quality is None else astuple(new.quality)
        known: dict[str, Any] = {"quality": quality, "source": new.source}
        known |= {"metadata": new.metadata} if new.metadata else {}
        about = self._sealer.seal(_json(known).encode(), f"{ABOUT}{row.subject}")
        return (
            *(row.id, self.gallery.number, row.subject, embedding, about, row.kept, to_integer(row.created_at)),
            *(None if new.key is None else self._hash("key", new.key), row.fingerprint),
        )

    def _erase(self, samples: Iterable[int]) -> None:
        """Overwrite the rows of samples, and tell those who have them in memory."""
        ids = list(samples)
        _erase_samples(self._connection, ids)
        tell = "INSERT INTO removals (gallery, sample) VALUES (?, ?)"
        self._connection.executemany(tell, [(self.gallery.number, sample) for sample in ids])
        # Now and then, forget what was removed long ago; who was away for so long reads everything anew.
        (last,) = self._execute("SELECT coalesce(max(number), 0) FROM removals").fetchone()
        until = last - _REMOVALS_TOLD
        if until > 0 and last // _PRUNED_EVERY != (last - len(ids)) // _PRUNED_EVERY:
            self._execute("DELETE FROM removals WHERE number <= ?", (until,))
            self._execute("UPDATE galleries SET pruned = ?", (until,))

    def _id_hash(self, subject: str) -> bytes:
        if subject not in self._id_hashes:
            self._id_hashes[subject] = self._hash(f"id in {self.gallery.number}", subject)
        return self._id_hashes[subject]

    def _hash(self, kind: str, text: str) -> bytes:
        """Return by what an ID or a key is found, and from which it cannot be read."""
        digest = hmac.digest(self._hash_key, f"{kind}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)[:16]
        key = self._opened.hash_key  # without which anybody could try IDs who has the file
        return hashed(key, digest) if key else digest

    @cached_property
    def _hash_key(self) -> bytes:
        (hash_key,) = self._execute("SELECT hash_key FROM store").fetchone()
        return bytes(hash_key)


def _erase_samples(connection: sqlite3.Connection, samples: Sequence[int]) -> None:
    """Overwrite the rows of samples."""
    ids = [(sample,) for sample in samples]
    connection.executemany(_ERASE_SAMPLE, ids)
    connection.executemany("UPDATE pictures SET data = NULL WHERE sample = ?", ids)
    connection.execute(_ADD_STUBS, (len(ids),))


def _erase_subjects(connection: sqlite3.Connection, subjects: Sequence[int]) -> None:
    """Overwrite the rows of subjects without samples."""
    numbers = [(subject,) for subject in subjects]
    connection.executemany(_ERASE_DETAILS, numbers)
    connection.executemany("DELETE FROM subjects WHERE number = ?", numbers)
    connection.execute(_ADD_STUBS, (len(numbers),))


def _add_to_log(connection: sqlite3.Connection, entry: LogEntry) -> None:
    subjects = json.dumps(entry.subjects)
    values = (to_integer(entry.at), entry.actor, entry.action, entry.gallery, subjects, entry.count)
    connection.execute(_ADD_TO_LOG, values)


# Between rows and records.


def _gallery_of(row: tuple[Any, ...]) -> Gallery:
    number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples = row
    return Gallery(
        number=number,
        name=name,
        space=EmbeddingSpace(space, dimension, metric),
        policy=_policy_of(policy),
        encrypted=bool(encrypted),
        created_at=to_moment(created_at),
        subjects=subjects,
        samples=samples,
    )


@lru_cache
def _policy_of(stored: str) -> Policy:
    try:
        return Policy(**json.loads(stored))
    except (TypeError, ValueError):  # damaged, which who uses the gallery is told; others may list it, or forget it
        return Policy()


def _content(subject: Subject) -> str:
    """Return what people wrote of a subject."""
    known = {name: getattr(subject, name) for name in ("id", "name", "metadata", "consent")}
    return _json(known | ({"ignored": True} if subject.ignored else {}))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


STORE = SqliteStore
