"""Records of a gallery in SQLite: reads and changes, each in its connection's transaction."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from visavis.errors import KeyReused, VersionMismatch, VisavisError
from visavis.galleries.checks import check_limit, may_be_gallery, within_integers
from visavis.galleries.index import Hit
from visavis.galleries.records import (
    NO_DETAILS,
    Details,
    Gallery,
    LogEntry,
    Match,
    NewSample,
    Origin,
    Sample,
    Stored,
    Subject,
)
from visavis.galleries.sealing import Sealer
from visavis.galleries.sqlite.rows import (
    GALLERY,
    LOG,
    SAMPLE,
    SUBJECT,
    Row,
    changed_content,
    changed_expiry,
    content_of,
    from_vector,
    gallery_of,
    keyed_hash,
    log_entry_of,
    picture_place,
    sample_of,
    subject_of,
    to_about,
    to_content,
    to_integer,
)
from visavis.types import FloatArray

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


_REMOVALS_TOLD = 100_000
_PRUNED_EVERY = 1000
_FORGET_SAMPLE = (
    "UPDATE samples SET gallery = NULL, subject = NULL, embedding = NULL, about = NULL, picture = NULL, "
    "created_at = NULL, key_hash = NULL, fingerprint = NULL WHERE id = ?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Change(Look):
    """A transaction that changes one gallery."""

    origin: Origin

    def enrol(self, samples: Sequence[NewSample], vectors: FloatArray) -> tuple[Stored | VisavisError, ...]:
        """Store samples whose embeddings (N, D) were checked."""
        outcomes = [self._enrol(sample, vector) for sample, vector in zip(samples, vectors, strict=True)]
        stored = [outcome for outcome in outcomes if isinstance(outcome, Stored) and not outcome.repeated]
        if stored:
            subjects = dict.fromkeys(outcome.subject.number for outcome in stored)
            self.count(samples=len(stored))
            self.log("enrol", tuple(subjects), len(stored))
        return tuple(outcomes)

    def update(self, subject: Subject, details: Details) -> Subject:
        """Change what is known of a subject."""
        self._set(subject.number, details, samples=0)
        self.log("update", (subject.number,), 0)
        return self.subject_with(subject.number)

    def forget_samples(self, samples: Iterable[int]) -> tuple[tuple[int, ...], int]:
        """Forget samples; return the numbers of the subjects they were of, and how many there were."""
        find = "SELECT subject FROM samples WHERE id = ? AND gallery = ?"
        found: dict[int, int] = {}
        for sample in map(within_integers, samples):
            row = self.connection.execute(find, (sample, self.gallery.number)).fetchone()
            if row is not None:
                found[sample] = row[0]
        self._erase(found)
        subjects = tuple(dict.fromkeys(found.values()))
        change = "UPDATE subjects SET samples = samples - 1, version = version + 1, updated_at = ? WHERE number = ?"
        at = to_integer(self.origin.at)
        self.connection.executemany(change, [(at, subject) for subject in found.values()])
        self.count(samples=-len(found))
        return subjects, len(found)

    def forget_subjects(self, subjects: Sequence[int]) -> int:
        """Forget subjects by their numbers with all that is known of them; return how many samples they had."""
        count = 0
        for subject in subjects:
            rows = self.connection.execute("SELECT id FROM samples WHERE subject = ?", (subject,)).fetchall()
            self._erase([sample for (sample,) in rows])
            count += len(rows)
            forget = "UPDATE details SET content = NULL WHERE number = (SELECT details FROM subjects WHERE number = ?)"
            self.connection.execute(forget, (subject,))
            self.connection.execute("DELETE FROM subjects WHERE number = ?", (subject,))
        self.count(subjects=-len(subjects), samples=-count)
        self.connection.execute("UPDATE store SET stubs = stubs + ?", (len(subjects),))
        return count

    def log(self, action: str, subjects: Sequence[int], count: int) -> None:
        """Add an entry to the log."""
        add_to_log(self.connection, self.origin, action, self.gallery.name, subjects, count)

    def count(self, *, subjects: int = 0, samples: int = 0) -> None:
        """Keep the gallery's counts right."""
        change = "UPDATE galleries SET subjects = subjects + ?, samples = samples + ? WHERE number = ?"
        self.connection.execute(change, (subjects, samples, self.gallery.number))

    def _enrol(self, sample: NewSample, vector: FloatArray) -> Stored | VisavisError:
        what = f"{len(sample.subject)}:{sample.subject}{sample.fingerprint}"
        fingerprint = keyed_hash(self.hash_key, "fingerprint", what)
        if sample.key is not None and (known := self.find_key(sample.key)):
            id_, subject, other = known
            if other != fingerprint:
                return KeyReused("this idempotency key was used for another enrolment; take a new one")
            return Stored(subject=self.subject_with(subject), sample=id_, repeated=True)
        found = self.find(sample.subject)
        if found is None:
            number = self._new_subject(sample)
            self._set(number, NO_DETAILS, samples=1)
        else:
            number = found.number
            self._set(number, sample.details, samples=1)
        id_ = self._insert(sample, vector, number, fingerprint)
        return Stored(subject=self.subject_with(number), sample=id_, repeated=False)

    def _insert(self, sample: NewSample, vector: FloatArray, subject: int, fingerprint: bytes) -> int:
        picture = None if self.gallery.policy.keep == "nothing" else sample.picture
        cursor = self.connection.execute(
            "INSERT INTO samples (gallery, subject, embedding, about, picture, created_at, key_hash, fingerprint) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.gallery.number,
                subject,
                from_vector(vector, self.sealer, subject),
                to_about(sample, self.sealer, subject),
                "nothing" if picture is None else self.gallery.policy.keep,
                to_integer(self.origin.at),
                None if sample.key is None else self._hash_of_key(sample.key),
                fingerprint,
            ),
        )
        id_ = int(cursor.lastrowid or 0)
        if picture is not None:
            data = self.sealer.seal(picture, picture_place(id_)) if self.sealer else picture
            self.connection.execute("INSERT INTO pictures (sample, data) VALUES (?, ?)", (id_, data))
        return id_

    def _new_subject(self, sample: NewSample) -> int:
        at = to_integer(self.origin.at)
        cursor = self.connection.execute(
            "INSERT INTO subjects (gallery, id_hash, details, created_at, updated_at, expires_at, version, samples) "
            "VALUES (?, ?, 0, ?, ?, ?, 0, 0)",
            (self.gallery.number, self._hash_of_id(sample.subject), at, at, changed_expiry(None, sample.details)),
        )
        number = int(cursor.lastrowid or 0)
        content: dict[str, object] = {"id": sample.subject, "name": None, "metadata": {}, "consent": None}
        self._write_content(number, changed_content(content, sample.details))
        self.count(subjects=1)
        return number

    def _set(self, subject: int, details: Details, samples: int) -> None:
        """Change a subject, as a new version of it. Its content is never made longer where it lies."""
        connection = self.connection
        if details != NO_DETAILS:
            number, stored, expires_at = connection.execute(
                "SELECT details.number, content, expires_at FROM subjects "
                "JOIN details ON details.number = subjects.details WHERE subjects.number = ?",
                (subject,),
            ).fetchone()
            content = content_of(stored, self.sealer, subject)
            if (changed := changed_content(content, details)) != content:
                self._write_content(subject, changed)
                connection.execute("UPDATE details SET content = NULL WHERE number = ?", (number,))
                connection.execute("UPDATE store SET stubs = stubs + 1")
            expiry = changed_expiry(expires_at, details)
            connection.execute("UPDATE subjects SET expires_at = ? WHERE number = ?", (expiry, subject))
        change = "UPDATE subjects SET version = version + 1, samples = samples + ?, updated_at = ? WHERE number = ?"
        connection.execute(change, (samples, to_integer(self.origin.at), subject))

    def _write_content(self, subject: int, content: dict[str, object]) -> None:
        stored = to_content(content, self.sealer, subject)
        cursor = self.connection.execute("INSERT INTO details (content) VALUES (?)", (stored,))
        self.connection.execute("UPDATE subjects SET details = ? WHERE number = ?", (cursor.lastrowid, subject))

    def _erase(self, samples: Iterable[int]) -> None:
        """Overwrite the rows of samples, and tell those who have them in memory."""
        ids = [(sample,) for sample in samples]
        self.connection.executemany(_FORGET_SAMPLE, ids)
        self.connection.executemany("UPDATE pictures SET data = NULL WHERE sample = ?", ids)
        tell = "INSERT INTO removals (gallery, sample) VALUES (?, ?)"
        self.connection.executemany(tell, [(self.gallery.number, sample) for (sample,) in ids])
        self.connection.execute("UPDATE store SET stubs = stubs + ?", (len(ids),))
        prune_removals(self.connection, len(ids))


def check_version(subject: Subject, version: int | None) -> None:
    """Insist on the version that the caller knows.

    Raises:
        VersionMismatch: it is another.
    """
    if version is not None and subject.version != version:
        raise VersionMismatch(f"the subject has changed: its version is {subject.version}, not {version}; read it anew")


def add_to_log(  # noqa: PLR0913, PLR0917  # the fields of an entry
    connection: sqlite3.Connection, origin: Origin, action: str, gallery: str, subjects: Sequence[int], count: int
) -> None:
    """Add an entry to the log."""
    connection.execute(
        "INSERT INTO log (at, actor, action, gallery, subjects, count) VALUES (?, ?, ?, ?, ?, ?)",
        (to_integer(origin.at), origin.actor, action, gallery, json.dumps(list(subjects)), count),
    )


def prune_removals(connection: sqlite3.Connection, added: int) -> None:
    """Forget, now and then, which samples were removed long ago; who was away for so long reads everything anew."""
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM removals").fetchone()
    if last // _PRUNED_EVERY == (last - added) // _PRUNED_EVERY:
        return
    until = last - _REMOVALS_TOLD
    if until > 0:
        connection.execute("DELETE FROM removals WHERE number <= ?", (until,))
        connection.execute("UPDATE galleries SET pruned = ?", (until,))
