"""What is read from a PostgreSQL store: each function works within the transaction that its connection is in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from visavis.errors import GalleryNotFound
from visavis.galleries.checks import may_be_gallery
from visavis.galleries.postgres_connection import Connection
from visavis.galleries.postgres_rows import (
    GALLERY,
    LOG,
    SAMPLE,
    SUBJECT,
    gallery_of,
    in_utc,
    log_entry_of,
    sample_of,
    subject_of,
    within_integers,
)
from visavis.galleries.postgres_schema import partition_of
from visavis.galleries.records import Gallery, LogEntry, Sample, Stored, Subject

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
