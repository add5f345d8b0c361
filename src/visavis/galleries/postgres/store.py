"""Galleries in PostgreSQL with pgvector: for several servers at once, and for growth by what PostgreSQL offers.

What is forgotten is gone from every answer at once. Its bytes are not: PostgreSQL leaves deleted rows in its files
until VACUUM has freed their place and others have taken it, and copies of them in its write-ahead log until that is
recycled; replicas and archives of that log have theirs. Of a gallery that is dropped, the files with embeddings and
pictures are deleted, at the next checkpoint at the latest; the rows of its subjects wait for VACUUM as all others do.
Hence ``Erased.overwritten`` is always False here. Nor are embeddings encrypted, which the database has to compare:
encrypt the disks of the server, of its replicas and of its archives.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from psycopg import Cursor, errors, sql
from psycopg.rows import TupleRow
from typing_extensions import override

from visavis.core.embeddings import check_probes
from visavis.errors import GalleryExists, GalleryNotFound, InvalidOption, StoreOutdated, StoreUnavailable
from visavis.galleries.index import RANKED_ANEW, nearest_subjects
from visavis.galleries.moves import spell_anew
from visavis.galleries.postgres.connection import Connection, Connections
from visavis.galleries.postgres.schema import (
    LARGEST_DIMENSION,
    drop_partition,
    is_current,
    lock_log,
    make_partition,
    migrate,
    partition_of,
)
from visavis.galleries.postgres.search import (
    WIDEST_BEAM,
    make_index,
    make_missing_indexes,
    rank_by_template,
    search,
)
from visavis.galleries.records import (
    Gallery,
    LogEntry,
    Matches,
    NewSample,
    Origin,
    Sample,
    SampleRow,
    StoreKeys,
    Subject,
    check_gallery_name,
    check_limit,
    in_utc,
    may_be_gallery,
    within_integers,
)
from visavis.galleries.store import Store, Transaction, Use, log_entry, undone
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

_LONGEST_PATIENCE_S = 86_400


class PostgresStore(Store):
    """A store in one database, which any number of threads, processes and machines may share.

    Where the connection breaks off at the end of a change, nobody knows whether it was made, and the message of
    ``StoreUnavailable`` says so. Nothing is ever repeated without being asked for.

    Its user owns the schema ``visavis``, or may make it. Between store and server there may be a PgBouncer that pools
    sessions, but not one that pools transactions: a session is set up once.
    """

    def __init__(  # noqa: PLR0913  # each is a choice of its own
        self,
        url: str,
        *,
        migrate: bool = True,
        search: Literal["exact", "hnsw"] = "exact",
        ef_search: int = 200,
        connections: int = 8,
        patience_s: float = 10.0,
    ) -> None:
        """Describe a store; nothing is opened before it is needed, but for indexes.

        Args:
            url: ``postgresql://user:password@host/database``, as libpq reads it.
            migrate: whether to make the tables, or bring older ones up to date, when the store is first used.
            search: "exact", or "hnsw" for approximate search with indexes. Those that are missing are made here, which
                takes minutes for a million samples; memory helps (maintenance_work_mem). Embeddings of more than 2,000
                numbers do not fit into an index and are searched exactly.
            ef_search: how many samples an index keeps in view, 1 to 1,000: more find more, and take longer.
            connections: how many to the database at most.
            patience_s: how long to wait for a free connection, and then for the answer to a statement.

        Raises:
            InvalidOption: the URL or a number cannot be.
        """
        if search not in {"exact", "hnsw"}:
            raise InvalidOption(f"search must be exact or hnsw, not {search!r}")
        if not 1 <= ef_search <= WIDEST_BEAM:
            raise InvalidOption(f"ef_search must be 1 to {WIDEST_BEAM}, not {ef_search!r}")
        if connections < 1 or not 0 < patience_s <= _LONGEST_PATIENCE_S:
            raise InvalidOption(f"there must be a connection, and patience of up to {_LONGEST_PATIENCE_S} seconds")
        self._connections = Connections(url, most=connections, patience_s=patience_s)
        self._migrates = migrate
        self._beam = ef_search if search == "hnsw" else None
        self._patience_s = patience_s
        self._opening = threading.Lock()
        self._is_open = False
        if self._beam is not None:
            galleries = self.galleries()
            with self._connections.single(patiently=True) as connection:
                make_missing_indexes(connection, self.url, galleries)

    @classmethod
    def from_url(cls, url: str, key: StoreKeys) -> "PostgresStore":
        """Return the store at ``postgresql://...`` as libpq reads it, or with ``search=hnsw`` among its options."""
        if key is not None:
            raise InvalidOption("a store in PostgreSQL encrypts nothing: leave the key of the galleries out")
        plain, _, query = url.partition("?")
        options = query.split("&") if query else []
        mode = [option.partition("=")[2] for option in options if option.startswith("search=")][-1:] or ["exact"]
        rest = "&".join(option for option in options if not option.startswith("search="))
        if mode[0] not in {"exact", "hnsw"}:
            raise InvalidOption("search must be exact or hnsw")
        return cls(f"{plain}?{rest}" if rest else plain, search="hnsw" if mode[0] == "hnsw" else "exact")

    @property
    def url(self) -> str:
        """Where it is, without any password."""
        return self._connections.url

    @undone("no gallery was made")
    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        check_gallery_name(name)
        if encrypted:
            raise InvalidOption(
                "a store in PostgreSQL cannot encrypt embeddings, which the database has to compare: encrypt its "
                "disk, or use SQLite"
            )
        if not 1 <= space.dimension <= LARGEST_DIMENSION:
            raise InvalidOption(f"an embedding in PostgreSQL has 1 to {LARGEST_DIMENSION} numbers")
        values = (name, space.id, space.dimension, space.metric, _json(policy.to_dict()), in_utc(origin.at))
        with self._opened().writing() as connection:
            row = connection.execute(_NEW_GALLERY, values).fetchone()
            if row is None:
                raise GalleryExists(f"there is a gallery {name!r} already, or one that differs by case alone")
            make_partition(connection, row[0], space.dimension)
            _add_to_log(connection, log_entry("create", name, origin))
            gallery = _find_gallery(connection, name)
            if self._beam is not None:
                make_index(connection, gallery)
        return gallery

    def galleries(self) -> tuple[Gallery, ...]:
        with self._opened().reading() as connection:
            return tuple(map(_gallery_of, _named(connection.execute(f"{_GALLERIES} ORDER BY name"))))

    def search(
        self, gallery: str, probes: FloatArray, limit: int, *, templates: bool = False, single: bool = False
    ) -> Matches:
        limit = check_limit(limit)
        with self._reading(gallery) as transaction:
            probes = check_probes(probes, transaction.gallery.space.dimension)
            wanted = max(limit, RANKED_ANEW) if templates else limit
            found = search(transaction.connection, transaction.gallery, probes, wanted, self._beam, single=single)
            if not templates:
                return found
            by_template = partial(rank_by_template, transaction.connection, transaction.gallery)
            ranked = (by_template(*each) for each in zip(probes, found, strict=True))
            return tuple(nearest_subjects(near, limit) for near in ranked)

    def add_to_log(self, entry: LogEntry) -> None:
        with self._opened().writing() as connection:
            _add_to_log(connection, entry)

    def entries(
        self, gallery: str | None = None, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> tuple[LogEntry, ...]:
        beyond, order = ("number < ", "DESC") if newest_first and after else ("number > ", "DESC" * newest_first)
        values = {"gallery": gallery, "after": within_integers(after), "limit": check_limit(limit)}
        where = "" if gallery is None else " AND gallery = %(gallery)s"
        with self._opened().writing() as connection:  # not reading, which would not see what came while it waits
            if gallery is not None and not _is_storable(gallery):
                return ()
            lock_log(connection)
            wanted = f"{_LOG} {beyond}%(after)s{where} ORDER BY number {order} LIMIT %(limit)s"
            rows = connection.execute(wanted, values)
            return tuple(LogEntry(**row | {"subjects": tuple(row["subjects"])}) for row in _named(rows))

    @override
    def backup(self, target: Path, origin: Origin) -> None:
        raise InvalidOption(
            f"a database is not backed up to {target} from here: use pg_dump, or its provider's backups"
        )

    def close(self) -> None:
        """Let go of connections; they are made again when they are needed."""
        self._connections.close()

    @contextmanager
    def _reading(self, gallery: str) -> Iterator["PostgresTransaction"]:
        with self._opened().reading() as connection:
            transaction = PostgresTransaction(connection, _find_gallery(connection, gallery))
            try:
                yield transaction
            except errors.UndefinedTable:  # dropped since
                raise GalleryNotFound(f"there is no gallery {gallery!r} any more") from None

    @contextmanager
    def _writing(self, gallery: str) -> Iterator["PostgresTransaction"]:
        with self._opened().writing() as connection:
            # Locked, so that nobody else changes it before the end of the transaction.
            yield PostgresTransaction(connection, _find_gallery(connection, gallery, " FOR NO KEY UPDATE"))

    @override
    def _overwrite(self, gallery: Gallery, *, forgotten: bool) -> bool:
        return False

    def _opened(self) -> Connections:
        """Return the connections to a database that has the tables."""
        if not self._is_open:
            if not self._opening.acquire(timeout=self._patience_s):
                raise StoreUnavailable(f"{self.url} is being opened by another thread; try again")
            try:
                self._open()
            finally:
                self._opening.release()
        return self._connections

    def _open(self) -> None:
        with self._connections.single() as connection:
            current = is_current(connection, self.url)
        if not current and not self._migrates:
            raise StoreOutdated(
                f"{self.url} has no galleries of this version of visavis yet: open it once with migrate=True"
            )
        if not current:
            with self._connections.single(patiently=True) as connection:
                migrate(connection, self.url, partial(_spell_anew, connection))
        self._is_open = True


Row = dict[str, Any]  # by the names of the columns

_GALLERIES = (
    "SELECT number, name, space, dimension, metric, policy, created_at, subjects, samples FROM visavis.galleries"
)
_SUBJECTS = (
    "SELECT id, number, name, metadata, consent, created_at, updated_at, expires_at, version, samples, ignored "
    "FROM visavis.subjects WHERE gallery = %s"
)
_LOG = "SELECT number, at, actor, action, gallery, subjects, count FROM visavis.log WHERE"
_DUE = "SELECT number FROM visavis.subjects WHERE gallery = %s {} ORDER BY number LIMIT %s"
# Those that are wanted are found before anything is joined to them, also where the planner knows nothing yet.
_SAMPLES = """
SELECT sample.id, subject.id AS subject, embedding, face_px, sharpness, score, yaw, pitch, validity,
    occluded, source, kept AS picture, sample.created_at, sample.subject < 0 AS counter, sample.metadata
FROM (
    SELECT * FROM {samples} WHERE gallery = %(gallery)s{of} AND id > %(after)s ORDER BY id LIMIT %(limit)s
) AS sample
JOIN visavis.subjects AS subject ON subject.gallery = sample.gallery AND subject.number = abs(sample.subject)
ORDER BY sample.id"""
_OF_ALL, _OF_ONE = sql.SQL(""), sql.SQL(" AND subject IN (%(subject)s, -%(subject)s)")
_USES = """
SELECT sample.key, sample.id AS sample, sample.fingerprint, subject.id, number, name, subject.metadata, consent,
    subject.created_at, updated_at, expires_at, version, samples, ignored
FROM {samples} AS sample
JOIN visavis.subjects AS subject ON subject.gallery = sample.gallery AND subject.number = abs(sample.subject)
WHERE sample.gallery = %s AND sample.key = ANY(%s)"""
_NEW_GALLERY = """
INSERT INTO visavis.galleries (name, space, dimension, metric, policy, created_at) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING number"""
_PUT_SUBJECT = """
INSERT INTO visavis.subjects (gallery, id, number, name, metadata, consent, created_at, updated_at, expires_at, version,
    samples, ignored) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (gallery, number) DO UPDATE SET id = excluded.id, name = excluded.name, metadata = excluded.metadata,
    consent = excluded.consent, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
    version = excluded.version, samples = excluded.samples, ignored = excluded.ignored"""
_NUMBERS = """
SELECT ARRAY(SELECT nextval('visavis.sample_ids') FROM generate_series(1, %(count)s)),
       ARRAY(SELECT nextval('visavis.subject_numbers') FROM generate_series(1, %(count)s))"""
_COPY = """
COPY {samples} (gallery, id, subject, embedding, face_px, sharpness, score, yaw, pitch, validity, occluded, source,
    kept, picture, key, fingerprint, created_at, metadata) FROM STDIN (FORMAT BINARY)"""
_QUALITY = tuple(field.name for field in fields(Quality))
_TYPES = (
    *("int8", "int8", "int8", "vector", *["float8"] * len(_QUALITY)),
    *("text", "text", "bytea", "text", "text", "timestamptz", "json"),
)
_ERASE_SAMPLES = """
WITH gone AS (DELETE FROM {samples} WHERE gallery = %(gallery)s AND id = ANY(%(samples)s) RETURNING subject),
     counted AS (SELECT abs(subject) AS subject, count(*) AS samples FROM gone GROUP BY abs(subject))
UPDATE visavis.subjects AS subject
SET samples = subject.samples - counted.samples, version = version + counted.samples, updated_at = %(at)s
FROM counted WHERE subject.gallery = %(gallery)s AND subject.number = counted.subject
RETURNING subject.number, counted.samples"""
_ERASE_SAMPLES_OF = "DELETE FROM {samples} WHERE gallery = %s AND subject = ANY(%s)"
_ERASE_SUBJECTS = "DELETE FROM visavis.subjects WHERE gallery = %s AND number = ANY(%s)"
_COUNT = "UPDATE visavis.galleries SET subjects = subjects + %s, samples = samples + %s WHERE number = %s"
_ADD_TO_LOG = "INSERT INTO visavis.log (at, actor, action, gallery, subjects, count) VALUES (%s, %s, %s, %s, %s, %s)"


class PostgresTransaction(Transaction):
    """A transaction in one gallery of a database."""

    def __init__(self, connection: Connection, gallery: Gallery) -> None:
        super().__init__(gallery)
        self.connection = connection

    def find(self, subjects: Iterable[str]) -> dict[str, Subject]:
        rows = self.connection.execute(f"{_SUBJECTS} AND id = ANY(%s)", (self.gallery.number, _possible(subjects)))
        return {row["id"]: Subject(**row) for row in _named(rows)}

    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        statement = f"{_SUBJECTS} AND number > %s ORDER BY number LIMIT %s"
        rows = self.connection.execute(statement, (self.gallery.number, after, limit))
        return tuple(Subject(**row) for row in _named(rows))

    def due(self, at: datetime | None, limit: int | None) -> tuple[int, ...]:
        due, moments = ("", ()) if at is None else ("AND expires_at <= %s", (at,))
        rows = self.connection.execute(_DUE.format(due), (self.gallery.number, *moments, limit))
        return tuple(number for (number,) in rows)

    def samples(self, subject: int | None, after: int, limit: int) -> tuple[Sample, ...]:
        statement = self._naming(_SAMPLES, of=_OF_ALL if subject is None else _OF_ONE)
        values = {"gallery": self.gallery.number, "subject": subject, "after": after, "limit": limit}
        return tuple(map(_sample_of, _named(self.connection.execute(statement, values, binary=True))))

    def picture(self, sample: int) -> bytes | None:
        statement = self._naming("SELECT picture FROM {samples} WHERE gallery = %s AND id = %s")
        row = self.connection.execute(statement, (self.gallery.number, sample), binary=True).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def uses(self, keys: Iterable[str]) -> dict[str, Use]:
        rows = _named(self.connection.execute(self._naming(_USES), (self.gallery.number, _possible(keys))))
        known = [(row.pop("key"), row.pop("sample"), row.pop("fingerprint")) for row in rows]
        return {
            key: Use(Subject(**row), sample, fingerprint)
            for (key, sample, fingerprint), row in zip(known, rows, strict=True)
        }

    def fingerprint(self, sample: NewSample) -> str:
        return sample.fingerprint

    def new_numbers(self, count: int) -> tuple[Iterator[int], Iterator[int]]:
        samples, subjects = self.connection.execute(_NUMBERS, {"count": count}).fetchone() or ((), ())
        return iter(samples), iter(subjects)

    def set_policy(self, policy: Policy) -> None:
        statement = "UPDATE visavis.galleries SET policy = %s WHERE number = %s"
        self.connection.execute(statement, (_json(policy.to_dict()), self.gallery.number))

    def put_subjects(self, changes: Sequence[tuple[Subject | None, Subject]]) -> None:
        rows = [(self.gallery.number, *_row_of_subject(after)) for _, after in changes]
        with self.connection.cursor() as cursor:
            cursor.executemany(_PUT_SUBJECT, rows)

    def put_samples(self, rows: Sequence[SampleRow]) -> None:
        with self.connection.cursor() as cursor, cursor.copy(self._naming(_COPY)) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                quality = astuple(row.new.quality) if row.new.quality else (None,) * len(_QUALITY)
                numbers = (self.gallery.number, row.id, row.subject, row.embedding, *quality)
                rest = (row.new.source, row.kept, row.picture, row.new.key, row.fingerprint, row.created_at)
                copy.write_row((*numbers, *rest, dict(row.new.metadata) or None))

    def erase_samples(self, samples: Sequence[int], at: datetime) -> dict[int, int]:
        values = {"gallery": self.gallery.number, "samples": list(samples), "at": at}
        rows = self.connection.execute(self._naming(_ERASE_SAMPLES), values)
        return {subject: int(count) for subject, count in rows}

    def erase_subjects(self, subjects: Sequence[int]) -> int:
        both = [*subjects, *(-number for number in subjects)]
        count = self.connection.execute(self._naming(_ERASE_SAMPLES_OF), (self.gallery.number, both)).rowcount
        self.connection.execute(_ERASE_SUBJECTS, (self.gallery.number, list(subjects)))
        return count

    def drop(self) -> tuple[int, ...]:
        of_it = (self.gallery.number,)
        rows = self.connection.execute("DELETE FROM visavis.subjects WHERE gallery = %s RETURNING number", of_it)
        subjects = tuple(sorted(number for (number,) in rows))
        self.connection.execute("DELETE FROM visavis.galleries WHERE number = %s", of_it)
        # Before the log, whose readers must not wait for those who use the table.
        drop_partition(self.connection, self.gallery.number)
        return subjects

    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        self.connection.execute(_COUNT, (subjects, samples, self.gallery.number))

    def add_to_log(self, entry: LogEntry) -> None:
        _add_to_log(self.connection, entry)

    def _naming(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """Return a statement with the table of the gallery's samples, and other parts, where it speaks of them."""
        return sql.SQL(statement).format(samples=partition_of(self.gallery.number), **parts)


def _spell_anew(connection: Connection) -> None:
    for gallery in map(_gallery_of, _named(connection.execute(_GALLERIES))):
        spell_anew(PostgresTransaction(connection, gallery))


def _find_gallery(connection: Connection, name: str, lock: str = "") -> Gallery:
    wanted = name if may_be_gallery(name) else ""
    rows = _named(connection.execute(f"{_GALLERIES} WHERE name = %s{lock}", (wanted,)))
    if not rows:
        raise GalleryNotFound(f"there is no gallery {name!r}")
    return _gallery_of(rows[0])


def _add_to_log(connection: Connection, entry: LogEntry) -> None:
    values = (entry.at, entry.actor, entry.action, entry.gallery, list(entry.subjects), entry.count)
    connection.execute(_ADD_TO_LOG, values)


def _possible(names: Iterable[str]) -> list[str]:
    """Leave out what cannot be stored, and hence is not there."""
    return [name for name in names if _is_storable(name)]


def _is_storable(text: str) -> bool:
    return "\0" not in text and text.encode(errors="replace").decode() == text


# Between rows and records.


def _named(cursor: Cursor[TupleRow]) -> list[Row]:
    """Return all rows by the names of their columns, with moments in UTC."""
    names = [column.name for column in cursor.description or ()]
    rows = (zip(names, values, strict=True) for values in cursor)
    return [{name: in_utc(it) if isinstance(it, datetime) else it for name, it in row} for row in rows]


def _gallery_of(row: Row) -> Gallery:
    space = EmbeddingSpace(row["space"], row.pop("dimension"), row.pop("metric"))
    return Gallery(**row | {"space": space, "policy": Policy(**row["policy"])}, encrypted=False)


def _row_of_subject(subject: Subject) -> tuple[Any, ...]:
    return (
        *(subject.id, subject.number, subject.name, _json(subject.metadata), subject.consent),
        *(subject.created_at, subject.updated_at, subject.expires_at, subject.version, subject.samples),
        subject.ignored,
    )


def _sample_of(row: Row) -> Sample:
    quality = [row.pop(column) for column in _QUALITY]
    known = {"quality": None if quality[0] is None else Quality(*quality), "metadata": row["metadata"] or {}}
    return Sample(**row | known)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


STORE = PostgresStore
