"""Galleries of a SQLite file in memory, kept in step with it: what others have changed since costs what changed."""

import logging
import sqlite3
import threading
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from visavis.errors import GalleryLocked, GalleryNotFound, StoreDamaged
from visavis.galleries.index import ExactIndex, Hit
from visavis.galleries.records import Gallery
from visavis.galleries.sealing import GalleryKeys
from visavis.galleries.sqlite.cells import Embeddings, to_vectors
from visavis.galleries.sqlite.file import SqliteFile
from visavis.galleries.sqlite.keys import open_gallery
from visavis.types import FloatArray

_ROWS_AT_ONCE = 8192
_SAMPLES = "SELECT id, subject, embedding FROM samples WHERE gallery = ? AND id > ? ORDER BY id"
_EXPECTED = "SELECT max(0, min(samples, (SELECT coalesce(max(id), 0) FROM samples))) FROM galleries WHERE number = ?"
_LAST_REMOVAL = "SELECT coalesce(max(number), 0) FROM removals"  # of any gallery: they are pruned together
_REMOVALS = "SELECT number, sample FROM removals WHERE gallery = ? AND number > ? ORDER BY number"
_log = logging.getLogger("visavis.galleries")


@dataclass(slots=True, eq=False)
class _Loaded:
    """A gallery in memory, and up to where it has followed the file."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    index: ExactIndex | None = None
    version: tuple[int, int] | None = None
    last_sample: int = 0
    last_removal: int = 0


class Memory:
    """The galleries that were searched, each loaded when it is first."""

    def __init__(self, file: SqliteFile, keys: GalleryKeys) -> None:
        self._file = file
        self._keys = keys
        self._lock = threading.Lock()
        self._loaded: dict[int, _Loaded] = {}

    def search(
        self, gallery: Gallery, probes: FloatArray, limit: int, *, templates: bool, single: bool
    ) -> list[list[Hit]]:
        """Return for each probe the nearest subjects or samples, as the file has them now or had them a moment ago.

        Raises:
            GalleryNotFound: the gallery was forgotten meanwhile.
        """
        return self._current(gallery).search(probes, limit, templates=templates, single=single)

    def follow(self, gallery: Gallery) -> None:
        """Bring a gallery up to date if it is in memory, so that what was forgotten is not there any more."""
        with self._lock:
            present = gallery.number in self._loaded
        if present:
            try:
                self._current(gallery)
            except (GalleryNotFound, GalleryLocked, StoreDamaged):  # then it is of no use here either
                self.release(gallery.number)

    def release(self, number: int) -> None:
        """Let go of a gallery that is forgotten."""
        with self._lock:
            loaded = self._loaded.pop(number, None)
        if loaded is not None and loaded.index is not None:
            loaded.index.clear()

    def release_others(self, numbers: Collection[int]) -> None:
        """Let go of all galleries but those of these numbers: somebody else may have forgotten them."""
        with self._lock:
            for number in self._loaded.keys() - set(numbers):
                del self._loaded[number]

    def _current(self, gallery: Gallery) -> ExactIndex:
        with self._lock:
            loaded = self._loaded.setdefault(gallery.number, _Loaded())
        with loaded.lock:
            version = self._file.version()
            if loaded.index is None or version is None or loaded.version is None or loaded.version[0] != version[0]:
                loaded.index = None  # of another file, perhaps
                index = self._load(gallery, loaded)
            elif loaded.version != version:
                index = self._caught_up(gallery, loaded, loaded.index)
            else:
                return loaded.index
            loaded.version = version
            return index

    def _caught_up(self, gallery: Gallery, loaded: _Loaded, index: ExactIndex) -> ExactIndex:
        with self._file.reading() as connection:
            if connection is None:
                raise self._gone(gallery)
            pruned = self._pruned(connection, gallery)
            if pruned <= loaded.last_removal:
                sealer = open_gallery(connection, self._keys, gallery.number).sealer
                removals = connection.execute(_REMOVALS, (gallery.number, loaded.last_removal)).fetchall()
                rows = connection.execute(_SAMPLES, (gallery.number, loaded.last_sample))
                removed = [sample for _, sample in removals]
                while True:
                    some = rows.fetchmany(_ROWS_AT_ONCE)
                    whole = to_vectors(some, sealer, gallery.space.dimension)
                    _tell(gallery, len(some) - _add(index, removed, loaded.last_sample, whole))
                    if not some:
                        break
                    removed, loaded.last_sample = [], some[-1][0]
                (last_removal,) = connection.execute(_LAST_REMOVAL).fetchone()
                loaded.last_removal = max(loaded.last_removal, last_removal)
        return self._load(gallery, loaded) if pruned > loaded.last_removal or index.is_sparse else index

    def _load(self, gallery: Gallery, loaded: _Loaded) -> ExactIndex:
        """Read a whole gallery, on a connection of its own: others read and write meanwhile."""
        with self._file.snapshot() as connection:
            connection.execute("BEGIN")
            pruned = self._pruned(connection, gallery)
            sealer = open_gallery(connection, self._keys, gallery.number).sealer
            (last_removal,) = connection.execute(_LAST_REMOVAL).fetchone()
            (expected,) = connection.execute(_EXPECTED, (gallery.number,)).fetchone()
            index = ExactIndex(gallery.space.dimension, gallery.space.metric, expected)
            last_sample = damaged = 0
            rows = connection.execute(_SAMPLES, (gallery.number, 0))
            while some := rows.fetchmany(_ROWS_AT_ONCE):
                whole = to_vectors(some, sealer, gallery.space.dimension)
                damaged += len(some) - _add(index, [], last_sample, whole)
                last_sample = some[-1][0]
            _tell(gallery, damaged)
        # Together, and last: what was loaded before goes on to be followed where this one failed.
        loaded.index, loaded.last_sample, loaded.last_removal = index, last_sample, max(last_removal, pruned)
        return index

    def _pruned(self, connection: sqlite3.Connection, gallery: Gallery) -> int:
        """Return up to where removals are no longer told."""
        row = connection.execute("SELECT pruned FROM galleries WHERE number = ?", (gallery.number,)).fetchone()
        if row is None:
            raise self._gone(gallery)
        return int(row[0])

    def _gone(self, gallery: Gallery) -> GalleryNotFound:
        self.release(gallery.number)
        return GalleryNotFound(f"there is no gallery {gallery.name!r} any more")


def _add(index: ExactIndex, removed: list[int], last: int, new: Embeddings) -> int:
    """Add samples that come in order after the last; return how many these are."""
    if np.any(np.diff(new.samples, prepend=last) <= 0):  # the file's own index is damaged
        in_order = new.samples > np.maximum.accumulate(np.append(last, new.samples))[:-1]
        new = Embeddings._make(column[in_order] for column in new)
    index.change(removed, *new)
    return len(new.samples)


def _tell(gallery: Gallery, damaged: int) -> None:
    if damaged:
        _log.warning(
            "gallery %s: damaged samples are left out: %d; visavis gallery check tells which", gallery.name, damaged
        )
