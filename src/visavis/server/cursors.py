"""Where a page ends and the next begins, as a text that clients only hand back."""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from visavis.server.problems import Problem

_NUMBER_BYTES = 8
_CHECK_BYTES = 4


def to_cursor(number: int, of: str) -> str:
    """Return the cursor after what has this number in a list; it fits no other list."""
    data = number.to_bytes(_NUMBER_BYTES, "big")
    return urlsafe_b64encode(data + _check(data, of)).decode()


def from_cursor(cursor: str, of: str) -> int:
    """Return the number; 0, which is before all, for an empty one.

    Raises:
        Problem: it is not a cursor of this list.
    """
    if not cursor:
        return 0
    try:
        data = urlsafe_b64decode(cursor)
    except (binascii.Error, ValueError):
        data = b""
    number, check = data[:_NUMBER_BYTES], data[_NUMBER_BYTES:]
    if not hmac.compare_digest(check, _check(number, of)) or to_cursor(int.from_bytes(number, "big"), of) != cursor:
        raise Problem("invalid_request", "cursor: must be a next_cursor of this very list", field="cursor")
    return int.from_bytes(number, "big")


def _check(data: bytes, of: str) -> bytes:
    """Return what tells a cursor from a text that was mistyped, changed, or meant for another list."""
    return hashlib.blake2b(of.encode() + b"\0" + data, digest_size=_CHECK_BYTES).digest()
