"""Galleries in one SQLite file: durable rows, exact search in memory."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from visavis.errors import (
    GalleryExists,
    GalleryNotFound,
    SubjectNotFound,
    VisavisError,
)
from visavis.galleries.checks import check_gallery_name, check_limit, check_probes, check_samples
from visavis.galleries.records import (
    Details,
    Erased,
    Gallery,
    LogEntry,
    Match,
    NewSample,
    Origin,
    Sample,
    Stored,
    Subject,
)
from visavis.galleries.sqlite.file import SqliteFile
from visavis.galleries.sqlite.gallery import (
    Change,
    Look,
    add_to_log,
    check_version,
    find_gallery,
    list_galleries,
    log_entries,
)
from visavis.galleries.sqlite.keys import GalleryKeys
from visavis.galleries.sqlite.memory import Memory
from visavis.galleries.sqlite.rows import to_integer
from visavis.galleries.sqlite.schema import SCHEMA, compact
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray

_NOTHING = Erased(subjects=(), samples=0, overwritten=True)
_PROBES_AT_ONCE = 8
_LOOKS = 8  # at a gallery that changes between search and answer, before it is held still


class SqliteStore:
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

    @property
    def url(self) -> str:
        """Where it is."""
        return f"sqlite:///{self._file.path}"

    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        """Make a gallery; see ``Store``."""
        check_gallery_name(name)
        encrypted = self._keys.store_key is not None if encrypted is None else encrypted
        with self._file.writing() as connection:
            if find_gallery(connection, name) is not None:
                raise GalleryExists(f"there is a gallery {name!r} already")
            cursor = connection.execute(
                "INSERT INTO galleries (name, space, dimension, metric, policy, encrypted, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(name, space.id, space.dimension, space.metric),
                    *(json.dumps(policy.to_dict()), encrypted, to_integer(origin.at)),
                ),
            )
            if encrypted:
                self._keys.make(connection, int(cursor.lastrowid or 0))
            add_to_log(connection, origin, "create", name, (), 0)
            return _gallery(connection, name)

    def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery; see ``Store``."""
        with self._file.reading() as connection:
            found = () if connection is None else list_galleries(connection)
        self._memory.release_others([gallery.number for gallery in found])
        return found

    def gallery(self, name: str) -> Gallery:
        """Return one gallery; see ``Store``."""
        with self._looking(name, sealed=False) as look:
            return look.gallery

    def set_policy(self, name: str, policy: Policy, origin: Origin) -> Gallery:
        """Replace a gallery's policy; see ``Store``."""
        with self._changing(name, origin, sealed=False) as change:
            setting = (json.dumps(policy.to_dict()), change.gallery.number)
            change.connection.execute("UPDATE galleries SET policy = ? WHERE number = ?", setting)
            change.log("policy", (), 0)
            return _gallery(change.connection, name)

    def drop(self, name: str, origin: Origin) -> Erased:
        """Forget a gallery; see ``Store``."""
        with self._changing(name, origin, sealed=False) as change:
            number = change.gallery.number
            self._keys.destroy(change.connection, number)
            every = change.connection.execute(
                "SELECT number FROM subjects WHERE gallery = ? ORDER BY number", (number,)
            )
            subjects = tuple(subject for (subject,) in every.fetchall())
            samples = change.forget_subjects(subjects)
            change.connection.execute("DELETE FROM removals WHERE gallery = ?", (number,))
            change.connection.execute("DELETE FROM galleries WHERE number = ?", (number,))
            change.log("forget", (), samples)
        self._memory.release(number)
        return self._erased(change.gallery, subjects, samples)

    def enrol(self, gallery: str, samples: Sequence[NewSample], origin: Origin) -> tuple[Stored | VisavisError, ...]:
        """Store samples; see ``Store``."""
        found = self.gallery(gallery)
        vectors = check_samples(samples, found.space.dimension)
        with self._changing(gallery, origin) as change:
            if change.gallery.number != found.number:  # made anew meanwhile, perhaps for other embeddings
                raise GalleryNotFound(f"there is no gallery {gallery!r} any more, but another one of its name")
            return change.enrol(samples, vectors)

    def update(
        self, gallery: str, subject: str, details: Details, origin: Origin, *, version: int | None = None
    ) -> Subject:
        """Change what is known of a subject; see ``Store``."""
        with self._changing(gallery, origin) as change:
            found = change.find(subject)
            if found is None:
                raise SubjectNotFound(f"gallery {gallery!r} has no subject {subject!r}")
            check_version(found, version)
            return change.update(found, details)

    def forget_samples(self, gallery: str, samples: Iterable[int], origin: Origin) -> Erased:
        """Forget samples; see ``Store``."""
        with self._changing(gallery, origin, sealed=False) as change:
            subjects, count = change.forget_samples(samples)
            if count:
                change.log("forget", subjects, count)
        return self._erased(change.gallery, subjects, count) if count else _NOTHING

    def forget_subjects(
        self, gallery: str, subjects: Iterable[str], origin: Origin, *, version: int | None = None
    ) -> Erased:
        """Forget subjects; see ``Store``."""
        with self._changing(gallery, origin) as change:
            found = {subject.number: subject for id_ in subjects if (subject := change.find(id_))}
            for subject in found.values():
                check_version(subject, version)
            numbers = tuple(found)
            count = change.forget_subjects(numbers)
            if numbers:
                change.log("forget", numbers, count)
        return self._erased(change.gallery, numbers, count) if numbers else _NOTHING

    def expire(self, gallery: str, origin: Origin) -> Erased:
        """Forget the subjects whose time is over; see ``Store``."""
        if self._file.owes_overwriting:
            self._file.overwrite(wait=False)
        due = "SELECT number FROM subjects WHERE gallery = ? AND expires_at <= ? ORDER BY number"
        with self._looking(gallery, sealed=False) as look:
            moment = (look.gallery.number, to_integer(origin.at))
            is_due = look.connection.execute(f"{due} LIMIT 1", moment).fetchone() is not None
        if not is_due:
            self._memory.follow(look.gallery)  # whom others forgot is to leave this memory too
            return _NOTHING
        with self._changing(gallery, origin, sealed=False) as change:
            rows = change.connection.execute(due, (change.gallery.number, to_integer(origin.at))).fetchall()
            numbers = tuple(number for (number,) in rows)
            count = change.forget_subjects(numbers)
            if numbers:
                change.log("expire", numbers, count)
        return self._erased(change.gallery, numbers, count) if numbers else _NOTHING

    def subject(self, gallery: str, subject: str) -> Subject | None:
        """Return a subject, or None; see ``Store``."""
        with self._looking(gallery) as look:
            return look.find(subject)

    def subjects(self, gallery: str, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects; see ``Store``."""
        with self._looking(gallery) as look:
            return look.subjects(after, limit)

    def samples(
        self, gallery: str, *, subject: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Sample, ...]:
        """Return the next samples; see ``Store``."""
        with self._looking(gallery) as look:
            return look.samples(subject, after, limit)

    def picture(self, gallery: str, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None; see ``Store``."""
        with self._looking(gallery) as look:
            return look.picture(sample)

    def keyed(self, gallery: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return what idempotency keys were used for; see ``Store``."""
        with self._looking(gallery) as look:
            return look.keyed(keys)

    def search(self, gallery: str, probes: FloatArray, limit: int) -> tuple[tuple[Match, ...], ...]:
        """Return for each probe the nearest subjects; see ``Store``."""
        check_limit(limit)
        found = self.gallery(gallery)
        probes = check_probes(probes, found.space.dimension)
        # A few at a time, so that nobody else waits long for the file.
        several = (probes[start : start + _PROBES_AT_ONCE] for start in range(0, len(probes), _PROBES_AT_ONCE))
        return tuple(matches for some in several for matches in self._search(found, some, limit))

    def log(self, action: str, gallery: str, origin: Origin, *, subjects: Sequence[int] = (), count: int = 0) -> None:
        """Add an entry to the log; see ``Store``."""
        with self._file.writing() as connection:
            add_to_log(connection, origin, action, gallery, subjects, count)

    def entries(self, gallery: str | None = None, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """Return the next entries of the log; see ``Store``."""
        with self._file.reading() as connection:
            return () if connection is None else log_entries(connection, gallery, after, limit)

    def backup(self, target: Path, origin: Origin) -> None:
        """Write a copy of the whole store; see ``Store``."""
        self._file.copy(target)
        self.log("backup", "", origin)

    def close(self) -> None:
        """Let go of the file and the memory; both come back when they are needed."""
        self._file.close()
        self._memory.release_others(())

    def _search(self, gallery: Gallery, probes: FloatArray, limit: int) -> tuple[tuple[Match, ...], ...]:
        for _ in range(_LOOKS):
            hits = self._memory.search(gallery, probes, limit)
            with self._looking(gallery.name) as look:
                gallery, matches = look.gallery, look.matches(hits)
            if matches is not None:
                return matches
        with self._file.writing():  # nothing changes meanwhile
            hits = self._memory.search(self.gallery(gallery.name), probes, limit)
            with self._looking(gallery.name) as look:
                return look.matches(hits) or ((),) * len(probes)

    @contextmanager
    def _looking(self, name: str, *, sealed: bool = True) -> Iterator[Look]:
        """See one state of a gallery."""
        with self._file.reading() as connection:
            gallery = None if connection is None else find_gallery(connection, name)
            if connection is None or gallery is None:
                raise GalleryNotFound(f"there is no gallery {name!r}")
            yield Look(
                connection, gallery, self._keys.open(connection, gallery) if sealed else None, _hash_key(connection)
            )

    @contextmanager
    def _changing(self, name: str, origin: Origin, *, sealed: bool = True) -> Iterator[Change]:
        """Change a gallery, wholly or not at all."""
        self.gallery(name)  # before a file is made for nothing
        with self._file.writing() as connection:
            gallery = find_gallery(connection, name)
            if gallery is None:
                raise GalleryNotFound(f"there is no gallery {name!r}")
            sealer = self._keys.open(connection, gallery) if sealed else None
            yield Change(connection, gallery, sealer, _hash_key(connection), origin)

    def _erased(self, gallery: Gallery, subjects: tuple[int, ...], samples: int) -> Erased:
        """Let what was forgotten leave the memory and the files."""
        self._memory.follow(gallery)
        compacted = compact(self._file)
        return Erased(subjects=subjects, samples=samples, overwritten=self._file.overwrite() and compacted)


def _hash_key(connection: sqlite3.Connection) -> bytes:
    (hash_key,) = connection.execute("SELECT hash_key FROM store").fetchone()
    return bytes(hash_key)


def _gallery(connection: sqlite3.Connection, name: str) -> Gallery:
    found = find_gallery(connection, name)
    if found is None:
        raise AssertionError("a gallery that was just written is there")
    return found
