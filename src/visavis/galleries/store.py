"""The protocol that every store of galleries follows. It remembers and ranks; it decides nothing."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from visavis.errors import VisavisError
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


class Store(Protocol):
    """Galleries that outlive the process. Any number of threads may share a store.

    What a method that writes has returned survives a kill and a loss of power; a method that raises has changed
    nothing. What one process writes, the next call in any other sees.

    Every method that takes a gallery's name may raise ``GalleryNotFound``; every method may raise a ``SetupError``:
    ``StoreUnavailable``, ``StoreDamaged``, ``StoreForeign``, ``StoreOutdated``, ``StoreReadOnly``, ``StoreFull`` or
    ``GalleryLocked``.
    """

    @property
    def url(self) -> str:
        """Where it is, without any password."""

    def create(
        self, name: str, space: EmbeddingSpace, policy: Policy, origin: Origin, *, encrypted: bool | None = None
    ) -> Gallery:
        """Make a gallery.

        Args:
            name: as ``check_gallery_name`` allows.
            space: of its embeddings.
            policy: how it is to be used.
            origin: who makes it.
            encrypted: whether to encrypt embeddings and pictures; None to do so where the store has a key.

        Raises:
            GalleryExists: there is one of that name.
            GalleryLocked: encryption is asked for, and there is no key.
            InvalidOption: the name is not allowed, or this kind of store cannot encrypt.
        """

    def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery, by name."""

    def gallery(self, name: str) -> Gallery:
        """Return one gallery."""

    def set_policy(self, name: str, policy: Policy, origin: Origin) -> Gallery:
        """Replace a gallery's policy."""

    def drop(self, name: str, origin: Origin) -> Erased:
        """Forget a gallery with all that it holds, and its key; its log stays."""

    def enrol(self, gallery: str, samples: Sequence[NewSample], origin: Origin) -> tuple[Stored | VisavisError, ...]:
        """Store samples, all in one transaction.

        Raises:
            InvalidEmbedding: one has another dimension, or holds what is no finite number. Nothing is stored then.

        Returns:
            For each, in order, what became of it; ``KeyReused`` where its key belongs to something else.
        """

    def update(
        self, gallery: str, subject: str, details: Details, origin: Origin, *, version: int | None = None
    ) -> Subject:
        """Change what is known of a subject.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: its version is another than the one given.
        """

    def forget_samples(self, gallery: str, samples: Iterable[int], origin: Origin) -> Erased:
        """Forget samples; those that are not there are passed over. A subject stays, also without any."""

    def forget_subjects(
        self, gallery: str, subjects: Iterable[str], origin: Origin, *, version: int | None = None
    ) -> Erased:
        """Forget subjects with all their samples; those that are not there are passed over.

        Raises:
            VersionMismatch: one has another version than the one given.
        """

    def expire(self, gallery: str, origin: Origin) -> Erased:
        """Forget the subjects whose time is over at ``origin.at``; fast where there is none."""

    def subject(self, gallery: str, subject: str) -> Subject | None:
        """Return a subject, or None."""

    def subjects(self, gallery: str, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers, which is that of their enrolment."""

    def samples(
        self, gallery: str, *, subject: str | None = None, after: int = 0, limit: int = 1000
    ) -> tuple[Sample, ...]:
        """Return the next samples after an ID, in the order of their IDs: of a subject, or of all."""

    def picture(self, gallery: str, sample: int) -> bytes | None:
        """Return what is stored of a sample's image, or None."""

    def keyed(self, gallery: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        """Return for those idempotency keys that are in use what they were used for."""

    def search(self, gallery: str, probes: FloatArray, limit: int) -> tuple[tuple[Match, ...], ...]:
        """Return for each probe the nearest subjects, nearest first, each once with its nearest sample.

        Args:
            gallery: to be searched.
            probes: (P, D).
            limit: how many subjects, 1 or more.

        Raises:
            InvalidEmbedding: a probe has another dimension, or holds what is no finite number.
        """

    def log(self, action: str, gallery: str, origin: Origin, *, subjects: Sequence[int] = (), count: int = 0) -> None:
        """Add an entry to the log: for what is no change, such as a search."""

    def entries(self, gallery: str | None = None, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """Return the next entries of the log after a number: of a gallery, which need not exist any more, or of all."""

    def backup(self, target: Path, origin: Origin) -> None:
        """Write a copy of the whole store to a file that does not exist yet, while others go on.

        Raises:
            InvalidOption: the file exists, or this kind of store is backed up by other means; the message says which.
        """

    def close(self) -> None:
        """Let go of files and connections."""
