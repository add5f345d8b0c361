"""Records of a gallery in PostgreSQL: reads, changes and enrolment, each in its connection's transaction.

The row of the gallery is locked by then, so that nobody else changes the gallery meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from visavis.errors import GalleryExists, GalleryNotFound, KeyReused, VersionMismatch, VisavisError
from visavis.galleries.checks import check_samples, may_be_gallery
from visavis.galleries.postgres.connection import Connection
from visavis.galleries.postgres.rows import (
    GALLERY,
    LOG,
    SAMPLE,
    SUBJECT,
    Row,
    changed,
    gallery_of,
    in_utc,
    log_entry_of,
    row_of_subject,
    sample_of,
    subject_of,
    to_json,
    within_integers,
)
from visavis.galleries.postgres.schema import drop_partition, make_partition, partition_of
from visavis.galleries.records import Details, Erased, Gallery, LogEntry, NewSample, Origin, Sample, Stored, Subject
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

_GALLERIES = f"SELECT {GALLERY} FROM visavis.galleries"  # noqa: S608  # of constants
_SUBJECTS = f"SELECT {SUBJECT} FROM visavis.subjects WHERE gallery = %s"  # noqa: S608  # likewise
_DUE = "SELECT number FROM visavis.subjects WHERE gallery = %s AND expires_at <= %s ORDER BY number LIMIT %s"
# Those that are wanted are found before anything is joined to them, also where the planner knows nothing yet.
_SAMPLES = f"""
SELECT {SAMPLE} FROM (
    SELECT * FROM {{samples}} WHERE gallery = %(gallery)s{{of}} AND id > %(after)s ORDER BY id LIMIT %(limit)s
) AS sample
JOIN visavis.subjects AS subject ON subject.gallery = sample.gallery AND subject.number = sample.subject
ORDER BY sample.id"""  # noqa: S608  # likewise
_OF_ALL, _OF_ONE = sql.SQL(""), sql.SQL(" AND subject = %(subject)s")
_USES = """
SELECT sample.key, subject.id, sample.fingerprint, sample.id FROM {samples} AS sample
JOIN visavis.subjects AS subject ON subject.gallery = sample.gallery AND subject.number = sample.subject
WHERE sample.gallery = %s AND sample.key = ANY(%s)"""
_LOG = f"SELECT {LOG} FROM visavis.log WHERE number > %(after)s"  # noqa: S608  # likewise


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A transaction that sees one gallery."""

    connection: Connection
    gallery: Gallery

    def find(self, subjects: Iterable[str]) -> dict[str, Subject]:
        """Return by ID those subjects that are there, in the order of their numbers."""
        statement = f"{_SUBJECTS} AND id = ANY(%s) ORDER BY number"
        rows = self.connection.execute(statement, (self.gallery.number, _possible(subjects)))
        return {subject.id: subject for subject in map(subject_of, rows)}

    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        """Return the next subjects after a number."""
        statement = f"{_SUBJECTS} AND number > %s ORDER BY number LIMIT %s"
        rows = self.connection.execute(statement, (self.gallery.number, within_integers(after), within_integers(limit)))
        return tuple(map(subject_of, rows))

    def due(self, at: datetime, limit: int | None) -> tuple[int, ...]:
        """Return the numbers of subjects whose time is over: so many, or all where limit is None."""
        rows = self.connection.execute(_DUE, (self.gallery.number, in_utc(at), limit))
        return tuple(number for (number,) in rows)

    def samples(self, subject: str | None, after: int, limit: int) -> tuple[Sample, ...]:
        """Return the next samples after an ID, of a subject or of all."""
        of, number = _OF_ALL, None
        if subject is not None:
            found = self.find([subject])
            if not found:
                return ()
            of, number = _OF_ONE, found[subject].number
        values = {
            "gallery": self.gallery.number,
            "subject": number,
            "after": within_integers(after),
            "limit": within_integers(limit),
        }
        rows = self.connection.execute(self.naming(_SAMPLES, of=of), values, binary=True)
        return tuple(map(sample_of, rows))

    def picture(self, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None."""
        statement = self.naming("SELECT picture FROM {samples} WHERE gallery = %s AND id = %s")
        values = (self.gallery.number, within_integers(sample))
        row = self.connection.execute(statement, values, binary=True).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def keyed(self, keys: Iterable[str]) -> Mapping[str, Stored]:
        """Return what idempotency keys were used for."""
        uses = self.uses(keys)
        subjects = self.find({use.subject for use in uses.values()})
        return {
            key: Stored(subject=subjects[use.subject], sample=use.sample, repeated=True) for key, use in uses.items()
        }

    def uses(self, keys: Iterable[str]) -> dict[str, "Use"]:
        """Return the use of those idempotency keys that are in use."""
        values = (self.gallery.number, _possible(keys))
        rows = self.connection.execute(self.naming(_USES), values)
        return {key: Use(subject, fingerprint, sample) for key, subject, fingerprint, sample in rows}

    def naming(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """Return a statement with the table of the gallery's samples, and other parts, where it speaks of them."""
        return sql.SQL(statement).format(samples=partition_of(self.gallery.number), **parts)


@dataclass(frozen=True, slots=True)
class Use:
    """What an idempotency key was used for: a subject's ID, a fingerprint, and the sample that came of it."""

    subject: str
    fingerprint: str
    sample: int


def find_gallery(connection: Connection, name: str, *, locked: bool = False) -> Gallery:
    """Return the gallery of a name.

    Args:
        connection: to the database.
        name: of the gallery.
        locked: whether to keep others from changing it, to the end of the transaction.

    Raises:
        GalleryNotFound: there is none.
    """
    lock = " FOR NO KEY UPDATE" if locked else ""
    wanted = name if may_be_gallery(name) else ""
    row = connection.execute(f"{_GALLERIES} WHERE name = %s{lock}", (wanted,)).fetchone()
    if row is None:
        raise GalleryNotFound(f"there is no gallery {name!r}")
    return gallery_of(row)


def list_galleries(connection: Connection) -> tuple[Gallery, ...]:
    """Return every gallery, by name."""
    return tuple(map(gallery_of, connection.execute(f"{_GALLERIES} ORDER BY name")))


def log_entries(connection: Connection, gallery: str | None, after: int, limit: int) -> tuple[LogEntry, ...]:
    """Return the next entries of the log after a number: of a gallery, or of all."""
    if gallery is not None and not _is_storable(gallery):
        return ()
    where = "" if gallery is None else " AND gallery = %(gallery)s"
    values = {"gallery": gallery, "after": within_integers(after), "limit": within_integers(limit)}
    rows = connection.execute(f"{_LOG}{where} ORDER BY number LIMIT %(limit)s", values)
    return tuple(map(log_entry_of, rows))


def _possible(names: Iterable[str]) -> list[str]:
    """Leave out what cannot be stored, and hence is not there."""
    return [name for name in names if _is_storable(name)]


def _is_storable(text: str) -> bool:
    return "\0" not in text and text.encode(errors="replace").decode() == text


_WRITE_SUBJECT = f"""
INSERT INTO visavis.subjects (gallery, {SUBJECT}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (gallery, number) DO UPDATE SET name = excluded.name, metadata = excluded.metadata,
    consent = excluded.consent, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
    version = excluded.version, samples = excluded.samples"""  # noqa: S608  # of constants
_FORGET_SAMPLES = """
WITH gone AS (DELETE FROM {samples} WHERE gallery = %(gallery)s AND id = ANY(%(samples)s) RETURNING subject),
     counted AS (SELECT subject, count(*) AS samples FROM gone GROUP BY subject)
UPDATE visavis.subjects AS subject
SET samples = subject.samples - counted.samples, version = version + counted.samples, updated_at = %(at)s
FROM counted WHERE subject.gallery = %(gallery)s AND subject.number = counted.subject
RETURNING subject.number, counted.samples"""
_FORGET_SAMPLES_OF = "DELETE FROM {samples} WHERE gallery = %s AND subject = ANY(%s)"
_FORGET_SUBJECTS = "DELETE FROM visavis.subjects WHERE gallery = %s AND number = ANY(%s)"
_SET_POLICY = "UPDATE visavis.galleries SET policy = %s WHERE number = %s"
_FORGET_EVERYBODY = "DELETE FROM visavis.subjects WHERE gallery = %s RETURNING number"
_FORGET_GALLERY = "DELETE FROM visavis.galleries WHERE number = %s"
_COUNT = "UPDATE visavis.galleries SET subjects = subjects + %s, samples = samples + %s WHERE number = %s"
_NEW_GALLERY = """
INSERT INTO visavis.galleries (name, space, dimension, metric, policy, created_at) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING number"""
_ADD_TO_LOG = "INSERT INTO visavis.log (at, actor, action, gallery, subjects, count) VALUES (%s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True, eq=False)
class Change(Look):
    """A transaction that changes one gallery."""

    origin: Origin

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the gallery's policy."""
        self.connection.execute(_SET_POLICY, (to_json(policy.to_dict()), self.gallery.number))
        self.log("policy", (), 0)
        return replace(self.gallery, policy=policy)

    def drop(self) -> Erased:
        """Forget the gallery with all that it holds."""
        of_it = (self.gallery.number,)
        subjects = tuple(sorted(number for (number,) in self.connection.execute(_FORGET_EVERYBODY, of_it)))
        self.connection.execute(_FORGET_GALLERY, of_it)
        # Before the log, whose readers must not wait for those who use the table.
        drop_partition(self.connection, self.gallery.number)
        self.log("forget", (), self.gallery.samples)
        return Erased(subjects=subjects, samples=self.gallery.samples, overwritten=False)

    def update(self, subject: Subject, details: Details) -> Subject:
        """Change what is known of a subject."""
        after = changed(subject, details, in_utc(self.origin.at))
        self.write_subjects([after])
        self.log("update", [subject.number], 0)
        return after

    def forget_samples(self, samples: Iterable[int]) -> tuple[tuple[int, ...], int]:
        """Forget samples; return the numbers of the subjects they were of, and how many there were."""
        values = {
            "gallery": self.gallery.number,
            "samples": [sample for sample in samples if sample == within_integers(sample)],
            "at": in_utc(self.origin.at),
        }
        rows = self.connection.execute(self.naming(_FORGET_SAMPLES), values).fetchall()
        count = sum(int(gone) for _, gone in rows)
        subjects = tuple(sorted(number for number, _ in rows))
        if count:
            self.count(samples=-count)
            self.log("forget", subjects, count)
        return subjects, count

    def forget_subjects(self, subjects: Sequence[int], action: str) -> int:
        """Forget subjects by their numbers with all that is known of them; return how many samples they had."""
        if not subjects:
            return 0
        of_them = (self.gallery.number, list(subjects))
        count = self.connection.execute(self.naming(_FORGET_SAMPLES_OF), of_them).rowcount
        self.connection.execute(_FORGET_SUBJECTS, of_them)
        self.count(subjects=-len(subjects), samples=-count)
        self.log(action, subjects, count)
        return count

    def write_subjects(self, subjects: Iterable[Subject]) -> None:
        """Write subjects as they are to be."""
        with self.connection.cursor() as cursor:
            rows = [(self.gallery.number, *row_of_subject(subject)) for subject in subjects]
            cursor.executemany(_WRITE_SUBJECT, rows)

    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        """Keep the gallery's counts right."""
        self.connection.execute(_COUNT, (subjects, samples, self.gallery.number))

    def log(self, action: str, subjects: Sequence[int], count: int) -> None:
        """Add an entry to the log."""
        add_to_log(self.connection, self.origin, action, self.gallery.name, subjects, count)


def new_gallery(connection: Connection, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin) -> Gallery:
    """Make a gallery.

    Raises:
        GalleryExists: there is one of that name.
    """
    values = (name, space.id, space.dimension, space.metric, to_json(policy.to_dict()), in_utc(origin.at))
    row = connection.execute(_NEW_GALLERY, values).fetchone()
    if row is None:
        raise GalleryExists(f"there is a gallery {name!r} already")
    make_partition(connection, row[0], space.dimension)
    add_to_log(connection, origin, "create", name, (), 0)
    return find_gallery(connection, name)


def check_version(subject: Subject, version: int | None) -> None:
    """Insist on the version that the caller knows.

    Raises:
        VersionMismatch: it is another.
    """
    if version is not None and subject.version != version:
        raise VersionMismatch(f"the subject has changed: its version is {subject.version}, not {version}; read it anew")


def add_to_log(  # noqa: PLR0913, PLR0917  # the fields of an entry
    connection: Connection, origin: Origin, action: str, gallery: str, subjects: Sequence[int], count: int
) -> None:
    """Add an entry to the log."""
    values = (in_utc(origin.at), origin.actor, action, gallery, list(subjects), count)
    connection.execute(_ADD_TO_LOG, values)


_NUMBERS = """
SELECT ARRAY(SELECT nextval('visavis.sample_ids') FROM generate_series(1, %(count)s)),
       ARRAY(SELECT nextval('visavis.subject_numbers') FROM generate_series(1, %(count)s))"""
_COPY = """
COPY {samples} (gallery, id, subject, embedding, face_px, sharpness, score, yaw, pitch, source, kept, picture, key,
    fingerprint, created_at) FROM STDIN (FORMAT BINARY)"""
_NO_QUALITY = (None,) * len(fields(Quality))
_TYPES = (
    *("int8", "int8", "int8", "vector", "float8", "float8", "float8", "float8", "float8"),
    *("text", "text", "bytea", "text", "text", "timestamptz"),
)


def enrol(change: Change, samples: Sequence[NewSample]) -> tuple[Stored | VisavisError, ...]:
    """Store samples, and return what became of each."""
    vectors = check_samples(samples, change.gallery.space.dimension)
    batch = _Batch(change, samples)
    outcomes = [batch.add(sample, vector) for sample, vector in zip(samples, vectors, strict=True)]
    batch.write()
    return tuple(
        Stored(subject=batch.subjects[outcome.subject], sample=outcome.sample, repeated=outcome.repeated)
        if isinstance(outcome, _Outcome)
        else outcome
        for outcome in outcomes
    )


class _Outcome(NamedTuple):
    subject: str
    sample: int
    repeated: bool


class _Batch:
    """Samples on their way: what the gallery knew of their subjects and keys, and what it is to know."""

    def __init__(self, change: Change, samples: Sequence[NewSample]) -> None:
        self._change = change
        self._at = in_utc(change.origin.at)
        self.subjects = change.find({sample.subject for sample in samples})
        self._uses = change.uses({sample.key for sample in samples if sample.key is not None})
        numbers = change.connection.execute(_NUMBERS, {"count": len(samples)}).fetchone() or ((), ())
        self._sample_ids, self._subject_numbers = map(iter, numbers)
        self._known = len(self.subjects)
        self._rows: list[Row] = []
        self._touched: set[str] = set()

    def add(self, sample: NewSample, vector: FloatArray) -> _Outcome | VisavisError:
        """Add a sample, or find that its key is in use."""
        use = None if sample.key is None else self._uses.get(sample.key)
        if use is not None:
            if (use.subject, use.fingerprint) != (sample.subject, sample.fingerprint):
                return KeyReused("this idempotency key was used for another enrolment; take a new one")
            return _Outcome(use.subject, use.sample, repeated=True)
        subject = self.subjects.get(sample.subject) or self._new_subject(sample.subject)
        self.subjects[subject.id] = changed(subject, sample.details, self._at, samples=1)
        self._touched.add(subject.id)
        id_ = next(self._sample_ids)
        self._rows.append(self._row(sample, vector, id_, subject.number))
        if sample.key is not None:
            self._uses[sample.key] = Use(subject.id, sample.fingerprint, id_)
        return _Outcome(subject.id, id_, repeated=False)

    def write(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        change = self._change
        touched = [self.subjects[id_] for id_ in self._touched]
        change.write_subjects(touched)
        with change.connection.cursor() as cursor, cursor.copy(change.naming(_COPY)) as copy:
            copy.set_types(_TYPES)
            for row in self._rows:
                copy.write_row(row)
        change.count(subjects=len(self.subjects) - self._known, samples=len(self._rows))
        change.log("enrol", sorted(subject.number for subject in touched), len(self._rows))

    def _new_subject(self, id_: str) -> Subject:
        return Subject(
            id=id_,
            number=next(self._subject_numbers),
            name=None,
            metadata={},
            consent=None,
            created_at=self._at,
            updated_at=self._at,
            expires_at=None,
            version=0,
            samples=0,
        )

    def _row(self, sample: NewSample, vector: FloatArray, id_: int, subject: int) -> Row:
        quality, keep = sample.quality, self._change.gallery.policy.keep
        numbers = _NO_QUALITY if quality is None else astuple(quality)
        kept, picture = ("nothing", None) if sample.picture is None or keep == "nothing" else (keep, sample.picture)
        return (
            *(self._change.gallery.number, id_, subject, vector, *numbers, sample.source),
            *(kept, picture, sample.key, sample.fingerprint, self._at),
        )
