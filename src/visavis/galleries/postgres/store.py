"""Galleries in PostgreSQL with pgvector: for several servers at once, and for growth by what PostgreSQL offers.

What is forgotten is gone from every answer at once. Its bytes are not: PostgreSQL leaves deleted rows in its files
until VACUUM has freed their place and others have taken it, and copies of them in its write-ahead log until that is
recycled; replicas and archives of that log have theirs. Of a gallery that is dropped, the files with embeddings and
pictures are deleted, at the next checkpoint at the latest; the rows of its subjects wait for VACUUM as all others do.
Hence ``Erased.overwritten`` is always False here. Nor are embeddings encrypted, which the database has to compare:
encrypt the disks of the server, of its replicas and of its archives.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from psycopg import errors

from visavis.errors import (
    GalleryNotFound,
    InvalidOption,
    StoreUnavailable,
    SubjectNotFound,
    VisavisError,
)
from visavis.galleries.checks import check_gallery_name, check_limit, check_probes
from visavis.galleries.postgres.connection import Connections
from visavis.galleries.postgres.gallery import (
    Change,
    Look,
    add_to_log,
    check_version,
    enrol,
    find_gallery,
    list_galleries,
    log_entries,
    new_gallery,
)
from visavis.galleries.postgres.schema import LARGEST_DIMENSION, is_current, lock_log, migrate, missing
from visavis.galleries.postgres.search import make_index, make_missing_indexes, search
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
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray

_WIDEST_BEAM = 1000
_LONGEST_PATIENCE_S = 86_400


class PostgresStore:
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
        if not 1 <= ef_search <= _WIDEST_BEAM:
            raise InvalidOption(f"ef_search must be 1 to {_WIDEST_BEAM}, not {ef_search!r}")
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

    @property
    def url(self) -> str:
        """Where it is, without any password."""
        return self._connections.url

    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        """Make a gallery; see ``Store``."""
        check_gallery_name(name)
        if encrypted:
            raise InvalidOption(
                "a store in PostgreSQL cannot encrypt embeddings, which the database has to compare: encrypt its "
                "disk, or use SQLite"
            )
        if not 1 <= space.dimension <= LARGEST_DIMENSION:
            raise InvalidOption(f"an embedding in PostgreSQL has 1 to {LARGEST_DIMENSION} numbers")
        with self._opened().writing() as connection:
            gallery = new_gallery(connection, name, space, policy, origin)
            if self._beam is not None:
                make_index(connection, gallery)
        return gallery

    def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery; see ``Store``."""
        with self._opened().reading() as connection:
            return list_galleries(connection)

    def gallery(self, name: str) -> Gallery:
        """Return one gallery; see ``Store``."""
        with self._looking(name) as look:
            return look.gallery

    def set_policy(self, name: str, policy: Policy, origin: Origin) -> Gallery:
        """Replace a gallery's policy; see ``Store``."""
        with self._changing(name, origin) as change:
            return change.set_policy(policy)

    def drop(self, name: str, origin: Origin) -> Erased:
        """Forget a gallery; see ``Store``."""
        with self._changing(name, origin) as change:
            return change.drop()

    def enrol(self, gallery: str, samples: Sequence[NewSample], origin: Origin) -> tuple[Stored | VisavisError, ...]:
        """Store samples; see ``Store``."""
        with self._changing(gallery, origin) as change:
            return enrol(change, samples)

    def update(
        self, gallery: str, subject: str, details: Details, origin: Origin, *, version: int | None = None
    ) -> Subject:
        """Change what is known of a subject; see ``Store``."""
        with self._changing(gallery, origin) as change:
            found = change.find([subject]).get(subject)
            if found is None:
                raise SubjectNotFound(f"gallery {gallery!r} has no subject {subject!r}")
            check_version(found, version)
            return change.update(found, details)

    def forget_samples(self, gallery: str, samples: Iterable[int], origin: Origin) -> Erased:
        """Forget samples; see ``Store``."""
        with self._changing(gallery, origin) as change:
            subjects, count = change.forget_samples(samples)
        return Erased(subjects=subjects, samples=count, overwritten=False)

    def forget_subjects(
        self, gallery: str, subjects: Iterable[str], origin: Origin, *, version: int | None = None
    ) -> Erased:
        """Forget subjects; see ``Store``."""
        with self._changing(gallery, origin) as change:
            found = change.find(subjects).values()
            for subject in found:
                check_version(subject, version)
            numbers = tuple(subject.number for subject in found)
            count = change.forget_subjects(numbers, "forget")
        return Erased(subjects=numbers, samples=count, overwritten=False)

    def expire(self, gallery: str, origin: Origin) -> Erased:
        """Forget the subjects whose time is over; see ``Store``."""
        with self._looking(gallery) as look:
            if not look.due(origin.at, 1):
                return Erased(subjects=(), samples=0, overwritten=False)
        with self._changing(gallery, origin) as change:
            numbers = change.due(origin.at, None)
            count = change.forget_subjects(numbers, "expire")
        return Erased(subjects=numbers, samples=count, overwritten=False)

    def subject(self, gallery: str, subject: str) -> Subject | None:
        """Return a subject, or None; see ``Store``."""
        with self._looking(gallery) as look:
            return look.find([subject]).get(subject)

    def subjects(self, gallery: str, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects; see ``Store``."""
        with self._looking(gallery) as look:
            return look.subjects(after, check_limit(limit))

    def samples(
        self, gallery: str, *, subject: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Sample, ...]:
        """Return the next samples; see ``Store``."""
        with self._looking(gallery) as look:
            return look.samples(subject, after, check_limit(limit))

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
        limit = check_limit(limit)
        with self._looking(gallery) as look:
            probes = check_probes(probes, look.gallery.space.dimension)
            return search(look, probes, limit, self._beam)

    def log(self, action: str, gallery: str, origin: Origin, *, subjects: Sequence[int] = (), count: int = 0) -> None:
        """Add an entry to the log; see ``Store``."""
        with self._opened().writing() as connection:
            add_to_log(connection, origin, action, gallery, subjects, count)

    def entries(self, gallery: str | None = None, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """Return the next entries of the log; see ``Store``."""
        limit = check_limit(limit)
        with self._opened().writing() as connection:  # not reading, which would not see what came while it waits
            lock_log(connection)
            return log_entries(connection, gallery, after, limit)

    def backup(self, target: Path, origin: Origin) -> None:  # noqa: ARG002  # the protocol's
        """Refuse: the database has its own ways; see ``Store``."""
        raise InvalidOption(
            f"a database is not backed up to {target} from here: use pg_dump, or its provider's backups"
        )

    def close(self) -> None:
        """Let go of connections; they are made again when they are needed."""
        self._connections.close()

    @contextmanager
    def _looking(self, name: str) -> Iterator[Look]:
        """See one state of a gallery."""
        with self._opened().reading() as connection:
            look = Look(connection, find_gallery(connection, name))
            try:
                yield look
            except errors.UndefinedTable:  # dropped since
                raise GalleryNotFound(f"there is no gallery {name!r} any more") from None

    @contextmanager
    def _changing(self, name: str, origin: Origin) -> Iterator[Change]:
        """Change a gallery, wholly or not at all."""
        with self._opened().writing() as connection:
            yield Change(connection, find_gallery(connection, name, locked=True), origin)

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
            raise missing(self.url)
        if not current:
            with self._connections.single(patiently=True) as connection:
                migrate(connection, self.url)
        self._is_open = True
