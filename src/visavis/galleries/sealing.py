"""Encryption at rest: every gallery has a key of its own, which the store's key wraps. Destroy it, and all is gone.

AES-256-GCM with random 96-bit nonces; what is sealed is bound to its place, so that it opens nowhere else.

Source: NIST SP 800-38D (GCM), ISO/IEC 24745 (protection of biometric templates).
"""

import os
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from visavis.errors import GalleryLocked, InvalidOption
from visavis.galleries.records import KEY_BYTES

_NONCE_BYTES = 12


class Sealer:
    """Seals and opens what one key protects. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, place: str) -> bytes:
        """Return the nonce, and the data encrypted for a place."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return the data that was sealed for a place.

        Raises:
            GalleryLocked: another key sealed it, it was sealed for another place, or it was changed.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise GalleryLocked("the key of this gallery is another one, or what it protects was changed") from None


class GalleryKeys:
    """Keys of encrypted galleries: wrapped where they are stored, open in memory. Thread-safe."""

    def __init__(self, store_key: bytes | None) -> None:
        """Take the store's key, if it has one; InvalidOption where it is not one."""
        if store_key is not None and len(store_key) != KEY_BYTES:
            raise InvalidOption(f"the key of the galleries must be {KEY_BYTES} bytes, not {len(store_key)}")
        self.store_key = store_key
        self._lock = threading.Lock()
        self._opened: dict[bytes, Sealer] = {}

    def new(self, gallery: int) -> bytes:
        """Return a new random key for a gallery, wrapped; GalleryLocked where there is no key to wrap it with."""
        if self.store_key is None:
            raise GalleryLocked("to encrypt a gallery, set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE")
        return Sealer(self.store_key).seal(os.urandom(KEY_BYTES), _place(gallery))

    def open(self, gallery: int, wrapped: bytes) -> Sealer:
        """Return what opens a gallery; GalleryLocked where the store has no key, or another one."""
        if self.store_key is None:
            raise GalleryLocked(
                "this gallery is encrypted: set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE to the key it was made "
                "with"
            )
        with self._lock:
            if wrapped not in self._opened:
                try:
                    key = Sealer(self.store_key).open(wrapped, _place(gallery))
                except GalleryLocked:
                    raise GalleryLocked(
                        "this gallery was encrypted with another key than the one that is set"
                    ) from None
                self._opened[wrapped] = Sealer(key)
            return self._opened[wrapped]

    def forget(self, wrapped: bytes) -> None:
        """Let go of a key."""
        with self._lock:
            self._opened.pop(wrapped, None)


def _place(gallery: int) -> str:
    return f"key of gallery {gallery}"
