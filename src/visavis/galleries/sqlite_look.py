"""What is read from a SQLite store: each function works within the transaction that its connection is in."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visavis.galleries.checks import check_limit, may_be_gallery, within_integers
from visavis.galleries.index import Hit
from visavis.galleries.records import Gallery, LogEntry, Match, Sample, Stored, Subject
from visavis.galleries.sealing import Sealer
from visavis.galleries.sqlite_rows import (
    GALLERY,
    LOG,
    SAMPLE,
    SUBJECT,
    Row,
    content_of,
    gallery_of,
    keyed_hash,
    log_entry_of,
    picture_place,
    sample_of,
    subject_of,
)

_GALLERIES = f"SELECT {GALLERY} FROM galleries"  # noqa: S608  # of constants
_LOG = f"SELECT {LOG} FROM log"  # noqa: S608  # likewise
_HIT = (
    "SELECT subject, content FROM samples JOIN subjects ON subjects.number = samples.subject "
    "JOIN details ON details.number = subjects.details WHERE samples.id = ? AND samples.gallery = ?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A transaction that sees one gallery."""

    connection: sqlite3.Connection
    gallery: Gallery
    sealer: Sealer | None
    hash_key: bytes

    def find(self, subject: str) -> Subject | None:
        """Return the subject of an ID."""
        row = self.connection.execute(
            f"SELECT {SUBJECT} WHERE gallery = ? AND id_hash = ?", (self.gallery.number, self._hash_of_id(subject))
        ).fetchone()
        return None if row is None else subject_of(row, self.sealer)

    def subject_with(self, number: int) -> Subject:
        """Return the subject of a number that exists."""
        row = self.connection.execute(f"SELECT {SUBJECT} WHERE subjects.number = ?", (number,)).fetchone()
        return subject_of(row, self.sealer)

    def subjects(self, after: int, limit: int) -> tuple[Subject, ...]:
        """Return the next subjects after a number."""
        where = "WHERE gallery = ? AND subjects.number > ? ORDER BY subjects.number LIMIT ?"
        values = (self.gallery.number, within_integers(after), check_limit(limit))
        rows = self.connection.execute(f"SELECT {SUBJECT} {where}", values).fetchall()
        return tuple(subject_of(row, self.sealer) for row in rows)

    def samples(self, subject: str | None, after: int, limit: int) -> tuple[Sample, ...]:
        """Return the next samples after an ID, of a subject or of all."""
        page = (within_integers(after), check_limit(limit))
        where, of = "samples.gallery = ?", self.gallery.number
        if subject is not None:
            found = self.find(subject)
            if found is None:
                return ()
            where, of = "samples.subject = ?", found.number
        rows = self.connection.execute(
            f"SELECT {SAMPLE} WHERE {where} AND samples.id > ? ORDER BY samples.id LIMIT ?", (of, *page)
        ).fetchall()
        return tuple(sample_of(row, self.sealer) for row in rows)

    def picture(self, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None."""
        row = self.connection.execute(
            "SELECT data FROM pictures JOIN samples ON samples.id = pictures.sample WHERE sample = ? AND gallery = ?",
            (within_integers(sample), self.gallery.number),
        ).fetchone()
        if row is None:
            return None
        return self.sealer.open(row[0], picture_place(sample)) if self.sealer else bytes(row[0])

    def keyed(self, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return what idempotency keys were used for."""
        known = {key: row for key in keys if (row := self.find_key(key))}
        return {
            key: Stored(subject=self.subject_with(subject), sample=sample, repeated=True)
            for key, (sample, subject, _) in known.items()
        }

    def find_key(self, key: str) -> Row | None:
        """Return the ID, the subject's number and the fingerprint of the sample that an idempotency key made."""
        row: Row | None = self.connection.execute(
            "SELECT id, subject, fingerprint FROM samples WHERE gallery = ? AND key_hash = ?",
            (self.gallery.number, self._hash_of_key(key)),
        ).fetchone()
        return row

    def matches(self, hits: Sequence[Sequence[Hit]]) -> tuple[tuple[Match, ...], ...] | None:
        """Return hits with what is known of their subjects; None where one has gone since."""
        try:
            return tuple(tuple(map(self._match, several)) for several in hits)
        except LookupError:
            return None

    def _match(self, hit: Hit) -> Match:
        row = self.connection.execute(_HIT, (hit.sample, self.gallery.number)).fetchone()
        if row is None or row[0] != hit.subject:
            raise LookupError
        content = content_of(row[1], self.sealer, hit.subject)
        return Match(
            subject=content["id"],
            subject_number=hit.subject,
            name=content["name"],
            sample=hit.sample,
            distance=hit.distance,
        )

    def _hash_of_id(self, subject: str) -> bytes:
        return keyed_hash(self.hash_key, f"id in {self.gallery.number}", subject)

    def _hash_of_key(self, key: str) -> bytes:
        return keyed_hash(self.hash_key, "key", key)


def find_gallery(connection: sqlite3.Connection, name: str) -> Gallery | None:
    """Return the gallery of a name, or None."""
    if not may_be_gallery(name):
        return None
    row = connection.execute(f"{_GALLERIES} WHERE name = ?", (name,)).fetchone()
    return None if row is None else gallery_of(row)


def list_galleries(connection: sqlite3.Connection) -> tuple[Gallery, ...]:
    """Return every gallery, by name."""
    return tuple(map(gallery_of, connection.execute(f"{_GALLERIES} ORDER BY name").fetchall()))


def log_entries(connection: sqlite3.Connection, gallery: str | None, after: int, limit: int) -> tuple[LogEntry, ...]:
    """Return the next entries of the log after a number: of a gallery, or of all."""
    page = (within_integers(after), check_limit(limit))
    if gallery is not None and not may_be_gallery(gallery):
        return ()
    if gallery is None:
        rows = connection.execute(f"{_LOG} WHERE number > ? ORDER BY number LIMIT ?", page)
    else:
        where = "WHERE gallery = ? AND number > ? ORDER BY number LIMIT ?"
        rows = connection.execute(f"{_LOG} {where}", (gallery, *page))
    return tuple(map(log_entry_of, rows.fetchall()))
