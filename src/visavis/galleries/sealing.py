"""Encryption at rest: every gallery has a key of its own, which the store's key wraps. Destroy it, and all is gone.

AES-256-GCM with random 96-bit nonces; what is sealed is bound to its place, so that it opens nowhere else. Where
nothing is encrypted a checksum stands in the place of the seal: it notices damage, and no intent.

Source: NIST SP 800-38D (GCM), ISO/IEC 24745 (protection of biometric templates).
"""

import os
import threading
import zlib
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from visavis.errors import GalleryLocked, InvalidOption, StoreDamaged
from visavis.galleries.records import KEY_BYTES, StoreKeys

_NONCE_BYTES = 12
_CHECKSUM_BYTES = 4


class Sealer:
    """Seals and opens what one key protects. Thread-safe."""

    def __init__(self, key: bytes, older: "Sealer | None" = None) -> None:
        """Take a key, and what opens what is not sealed with it yet."""
        self._cipher = AESGCM(key)
        self._older = older

    def seal(self, data: bytes, place: str) -> bytes:
        """Return the nonce, and the data encrypted for a place."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return the data that was sealed for a place.

        Raises:
            GalleryLocked: another key sealed it, it was sealed for another place, or it was changed, or never sealed.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, TypeError, ValueError):
            if self._older is not None:
                return self._older.open(sealed, place)
            raise GalleryLocked("the key of this gallery is another one, or what it protects was changed") from None


class Checker:
    """Adds a checksum to what is stored in plain, and takes it off again. Thread-safe."""

    def seal(self, data: bytes, place: str) -> bytes:
        """Return the data, and its checksum for a place."""
        return data + self._checksum(data, place)

    def open(self, stored: bytes, place: str) -> bytes:
        """Return the data; StoreDamaged where it was changed, or belongs to another place."""
        if isinstance(stored, bytes):
            data = stored[:-_CHECKSUM_BYTES]
            if stored[-_CHECKSUM_BYTES:] == self._checksum(data, place):
                return data
        raise StoreDamaged("what is stored was changed")

    def _checksum(self, data: bytes, place: str) -> bytes:
        return zlib.crc32(data, zlib.crc32(place.encode())).to_bytes(_CHECKSUM_BYTES, "little")


class GalleryKeys:
    """Keys of encrypted galleries: wrapped where they are stored, open in memory. Thread-safe."""

    def __init__(self, store_keys: StoreKeys) -> None:
        """Take the store's keys, if it has any; InvalidOption where one is none."""
        keys = (store_keys,) if isinstance(store_keys, bytes) else tuple(store_keys or ())
        for key in keys:
            if len(key) != KEY_BYTES:
                raise InvalidOption(f"the key of the galleries must be {KEY_BYTES} bytes, not {len(key)}")
        self._wrappers = tuple(map(Sealer, keys))
        self._lock = threading.Lock()
        self._opened: dict[bytes, Sealer] = {}

    def __bool__(self) -> bool:
        return bool(self._wrappers)

    def wrap(self, gallery: int, key: bytes) -> bytes:
        """Return a gallery's key, wrapped; GalleryLocked where there is no key to wrap it with."""
        if not self._wrappers:
            raise GalleryLocked("to encrypt a gallery, set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE")
        return self._wrappers[0].seal(key, _PLACE.format(gallery))

    def new(self, gallery: int) -> bytes:
        """Return a new random key for a gallery, wrapped."""
        return self.wrap(gallery, os.urandom(KEY_BYTES))

    def unwrap(self, gallery: int, wrapped: bytes, *, sealed: bool = True) -> bytes:
        """Return a gallery's key; GalleryLocked where the store has no key, or another one."""
        if not self._wrappers:
            raise GalleryLocked(
                "this gallery is encrypted: set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE to the key it was made "
                "with"
            )
        place = (_PLACE if sealed else _OLDER_PLACE).format(gallery)
        for wrapper in self._wrappers:
            with suppress(GalleryLocked):
                return wrapper.open(wrapped, place)
        raise GalleryLocked("this gallery was encrypted with another key than the one that is set")

    def open(self, gallery: int, wrapped: bytes) -> Sealer:
        """Return what opens a gallery; GalleryLocked as from ``unwrap``."""
        with self._lock:
            if wrapped not in self._opened:
                self._opened[wrapped] = Sealer(self.unwrap(gallery, wrapped))
            return self._opened[wrapped]

    def forget(self, wrapped: bytes) -> None:
        """Let go of a key."""
        with self._lock:
            self._opened.pop(wrapped, None)


_PLACE = "key of sealed gallery {}"
_OLDER_PLACE = "key of gallery {}"  # of one whose row is not sealed
