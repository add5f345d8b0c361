"""From the URL of a store to the store."""

import base64
import binascii
import re
from pathlib import Path
from urllib.parse import unquote

from visavis.errors import DriverMissing, InvalidOption
from visavis.galleries.checks import KEY_BYTES
from visavis.galleries.store import Store

_EXAMPLES = "sqlite:///faces.db (in this folder), sqlite:////var/lib/faces.db, postgresql://user@host/database"


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
    if scheme == "sqlite":
        return _open_sqlite(url, key)
    if scheme in {"postgresql", "postgres"}:
        return _open_postgres(url, key)
    raise InvalidOption(f"the URL of a store is one such as {_EXAMPLES}")


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


def _open_sqlite(url: str, key: bytes | None) -> Store:
    from visavis.galleries.sqlite.store import SqliteStore  # noqa: PLC0415  # the other kind does without

    match = re.fullmatch(r"sqlite:///([^?#]+)", url, re.IGNORECASE)
    path = unquote(match.group(1)) if match else ""
    if not path or "\0" in path or path == ":memory:":  # which is a name like any other here, but not to others
        raise InvalidOption(f"the URL of a store is one such as {_EXAMPLES}")
    return SqliteStore(Path(path), key=key)


def _open_postgres(url: str, key: bytes | None) -> Store:
    if key is not None:
        raise InvalidOption("a store in PostgreSQL encrypts nothing: leave the key of the galleries out")
    try:
        from visavis.galleries.postgres.store import PostgresStore  # noqa: PLC0415  # brings an optional library
    except ImportError as error:
        raise DriverMissing("a store in PostgreSQL needs its driver: pip install 'visavis[postgres]'") from error
    plain, *options = url.split("?", 1)
    given = options[0].split("&") if options else []
    search = [option.partition("=")[2] for option in given if option.startswith("search=")][-1:] or ["exact"]
    rest = "&".join(option for option in given if not option.startswith("search="))
    if search[0] not in {"exact", "hnsw"}:
        raise InvalidOption("search must be exact or hnsw")
    return PostgresStore(f"{plain}?{rest}" if rest else plain, search="hnsw" if search[0] == "hnsw" else "exact")
