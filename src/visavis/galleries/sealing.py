"""Encryption at rest: every gallery has a key of its own, which the store's key wraps. Destroy it, and all is gone.

AES-256-GCM with random 96-bit nonces; what is sealed is bound to its place, so that it opens nowhere else.

Source: NIST SP 800-38D (GCM), ISO/IEC 24745 (protection of biometric templates).
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from visavis.errors import GalleryLocked
from visavis.galleries.checks import KEY_BYTES

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


def new_wrapped_key(store_key: bytes, place: str) -> bytes:
    """Return a new random key for a gallery, sealed by the key of the store."""
    return Sealer(store_key).seal(os.urandom(KEY_BYTES), place)


def unwrap(store_key: bytes | None, wrapped: bytes, place: str) -> Sealer:
    """Return what opens a gallery.

    Raises:
        GalleryLocked: the store has no key, or another one.
    """
    if store_key is None:
        raise GalleryLocked(
            "this gallery is encrypted: set VISAVIS_GALLERY_KEY or VISAVIS_GALLERY_KEY_FILE to the key it was made with"
        )
    try:
        return Sealer(Sealer(store_key).open(wrapped, place))
    except GalleryLocked:
        raise GalleryLocked("this gallery was encrypted with another key than the one that is set") from None
