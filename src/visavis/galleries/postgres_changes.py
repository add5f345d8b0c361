"""What changes a PostgreSQL store: each function works within the transaction that its connection is in.

The row of the gallery is locked by then, so that nobody else changes the gallery meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from visavis.errors import GalleryExists, VersionMismatch
from visavis.galleries.postgres_connection import Connection
from visavis.galleries.postgres_look import Look, find_gallery
from visavis.galleries.postgres_rows import SUBJECT, changed, in_utc, row_of_subject, to_json, within_integers
from visavis.galleries.postgres_schema import drop_partition, make_partition
from visavis.galleries.records import Details, Erased, Gallery, Origin, Policy, Subject
from visavis.types import EmbeddingSpace

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
_LOG = "INSERT INTO visavis.log (at, actor, action, gallery, subjects, count) VALUES (%s, %s, %s, %s, %s, %s)"


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
    connection.execute(_LOG, values)
