"""The galleries of a store: made, opened, forgotten; and their log."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from visavis.errors import (
    GalleryExists,
    GalleryNotFound,
)
from visavis.galleries.records import (
    Gallery,
    LogEntry,
    Origin,
)
from visavis.galleries.store import Store
from visavis.hints import Hinting
from visavis.options import (
    Policy,
)
from visavis.service.decisions import (
    check_policy,
)
from visavis.service.enroller import Observer
from visavis.service.gallery import OpenGallery
from visavis.service.results import (
    Receipt,
)

_DEFAULT_POLICY = Policy()


def utc_now() -> datetime:
    """Return this moment."""
    return datetime.now(timezone.utc)


class Galleries(Hinting):
    """The galleries of a store. Any number of threads may share one; it holds nothing but what it was made from.

    Every method may raise a ``SetupError`` where the store cannot be used.
    """

    def __init__(
        self, store: Store, eyes: Observer, *, actor: str = "library", clock: Callable[[], datetime] = utc_now
    ) -> None:
        """Put a store and a Recognizer together.

        Args:
            store: from ``open_store``.
            eyes: a Recognizer.
            actor: whom the log names.
            clock: tells the time, in UTC.
        """
        self.store = store
        self.eyes = eyes
        self.actor = actor
        self._clock = clock

    def acting_as(self, actor: str) -> "Galleries":
        """Return the same galleries for somebody else to act on."""
        return Galleries(self.store, self.eyes, actor=actor, clock=self._clock)

    def create(self, name: str, *, policy: Policy = _DEFAULT_POLICY, encrypted: bool | None = None) -> OpenGallery:
        """Make a gallery for the embeddings of the Recognizer's pack, and return it.

        Args:
            name: 1 to 255 of A-Z, a-z, 0-9, underscore, dot and hyphen; begins with none of the last two.
            policy: how it enrols, decides and forgets.
            encrypted: whether to encrypt embeddings and all else that is personal; None to do so where there is a key.

        Raises:
            GalleryExists: there is one of that name.
            GalleryLocked: encryption is asked for, and there is no key.
            InvalidOption: the name is not allowed, the store cannot encrypt, or the policy wants live faces and the
                pack cannot tell.
        """
        check_policy(policy, self.eyes.pack)
        self.store.create(name, self.eyes.pack.space, policy, self._origin(), encrypted=encrypted)
        return self.named(name)

    def get_or_create(
        self, name: str, *, policy: Policy = _DEFAULT_POLICY, encrypted: bool | None = None
    ) -> OpenGallery:
        """Return a gallery, made where there is none of that name; one that is there stays as it is.

        Arguments and errors as in ``create``.
        """
        with suppress(GalleryNotFound):
            return self.open(name)
        with suppress(GalleryExists):  # somebody else just made it
            return self.create(name, policy=policy, encrypted=encrypted)
        return self.named(name)

    def all(self) -> tuple[Gallery, ...]:
        """Return every gallery, by name."""
        return self.store.galleries()

    def open(self, name: str) -> OpenGallery:
        """Return a gallery to work with.

        Raises:
            GalleryNotFound: there is none of that name.
        """
        self.store.gallery(name)
        return self.named(name)

    def named(self, name: str) -> OpenGallery:
        """Return a gallery without asking whether there is one; where there is none, whatever it is asked fails so."""
        return OpenGallery(self.store, self.eyes, name, self._origin)

    def forget(self, name: str) -> Receipt:
        """Forget a gallery with everybody in it; where it is encrypted, destroy its key.

        Raises:
            GalleryNotFound: there is none of that name.
        """
        return self.named(name).forget()

    def rekey(self) -> tuple[str, ...]:
        """Protect the keys of all encrypted galleries with the first of the store's keys, and no more with the others.

        Returns:
            The names of those that none of the store's keys opens, which stay as they are.

        Raises:
            InvalidOption: this kind of store cannot encrypt.
            GalleryLocked: the store has no key.
        """
        return self.store.rewrap(self._origin())

    def expire(self) -> int:
        """Forget every subject whose time is over, and return how many there were."""
        count = 0
        for gallery in self.all():
            with suppress(GalleryNotFound):  # forgotten meanwhile, with everybody in it
                count += len(self.store.expire(gallery.name, self._origin()).subjects)
        return count

    def entries(
        self, gallery: str | None = None, *, after: int = 0, limit: int = 100, newest_first: bool = False
    ) -> tuple[LogEntry, ...]:
        """Return the next entries of the log after a number, or before it: of one, also one forgotten, or of all."""
        return self.store.entries(gallery, after=after, limit=limit, newest_first=newest_first)

    def backup(self, target: Path) -> None:
        """Write a copy of the whole store to a new file, while others go on.

        Raises:
            InvalidOption: the file exists, or this kind of store is backed up by other means.
        """
        self.store.backup(target, self._origin())

    def _origin(self) -> Origin:
        return Origin(actor=self.actor, at=self._clock())
