"""The keys of encrypted galleries in a SQLite store: wrapped in the file, open in memory."""

import sqlite3
import threading

from visavis.errors import GalleryLocked, InvalidOption
from visavis.galleries.checks import KEY_BYTES
from visavis.galleries.records import Gallery
from visavis.galleries.sealing import Sealer, new_wrapped_key, unwrap


class GalleryKeys:
    """What opens the galleries of one file. Thread-safe."""

    def __init__(self, store_key: bytes | None) -> None:
        """Take the store's key, if it has one.

        Raises:
            InvalidOption: it is not one.
        """
        if store_key is not None and len(store_key) != KEY_BYTES:
            raise InvalidOption(f"the key of the galleries must be {KEY_BYTES} bytes, not {len(store_key)}")
        self.store_key = store_key
        self._lock = threading.Lock()
        self._opened: dict[bytes, Sealer] = {}

    def make(self, connection: sqlite3.Connection, gallery: int) -> None:
        """Make the key of a new gallery.

        Raises:
            GalleryLocked: there is no key to wrap it with.
        """
        if self.store_key is None:
            raise GalleryLocked("to encrypt a gallery, set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE")
        wrapped = new_wrapped_key(self.store_key, _place(gallery))
        connection.execute("INSERT INTO keys (number, wrapped) VALUES (?, ?)", (gallery, wrapped))

    def open(self, connection: sqlite3.Connection, gallery: Gallery) -> Sealer | None:
        """Return what opens an encrypted gallery; None for one that is not.

        Raises:
            GalleryLocked: its key is missing or another one.
        """
        if not gallery.encrypted:
            return None
        (wrapped,) = connection.execute("SELECT wrapped FROM keys WHERE number = ?", (gallery.number,)).fetchone()
        with self._lock:
            if wrapped not in self._opened:
                self._opened[wrapped] = unwrap(self.store_key, wrapped, _place(gallery.number))
            return self._opened[wrapped]

    def destroy(self, connection: sqlite3.Connection, gallery: int) -> None:
        """Destroy a gallery's key, here and in the file."""
        row = connection.execute("SELECT wrapped FROM keys WHERE number = ?", (gallery,)).fetchone()
        if row is not None:
            connection.execute("UPDATE keys SET wrapped = NULL WHERE number = ?", (gallery,))
            with self._lock:
                self._opened.pop(row[0], None)


def _place(gallery: int) -> str:
    return f"key of gallery {gallery}"
