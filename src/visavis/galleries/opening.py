"""Stores by their URLs: each is a folder here, called as the URL's scheme, with a ``STORE`` in its ``store.py``."""

import base64
import binascii
import importlib
import re
from pathlib import Path

from visavis.errors import InvalidOption
from visavis.galleries.records import KEY_BYTES
from visavis.galleries.store import URL_EXAMPLES, Store

_ALIASES = {"postgresql": "postgres"}


def open_store(url: str, *, key: bytes | None = None) -> Store:
    """Return the store at a URL; nothing is read or made before it is needed, but for indexes.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``postgresql://...`` as psycopg reads it, to
            which ``?search=hnsw`` may be added for approximate search: indexes that are missing are then made here.
        key: 32 bytes that protect the keys of encrypted galleries; new galleries are encrypted where it is given.

    Raises:
        InvalidOption: the URL is none of these, the key is none, or this kind of store cannot encrypt.
        DriverMissing: the library that speaks to this kind of store is not installed.
    """
    scheme = url.partition(":")[0].lower()
    folder = _ALIASES.get(scheme, scheme)
    if not (folder.isidentifier() and Path(__file__).with_name(folder).joinpath("store.py").is_file()):
        raise InvalidOption(f"the URL of a store is one such as {URL_EXAMPLES}")
    kind: type[Store] = importlib.import_module(f"visavis.galleries.{folder}.store").STORE
    return kind.from_url(url, key)


def read_key(text: str) -> bytes:
    """Return the key that a text spells: 64 hexadecimal digits, or 32 bytes in base64.

    Raises:
        InvalidOption: it is neither.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidOption(
            "the key of the galleries is 64 hexadecimal digits, or 32 bytes in base64; openssl rand -hex 32 makes one"
        )
    return key
