"""What opens a gallery of a SQLite file, whose row is authentic then; and new keys, while others go on.

The seal of a gallery binds its row, flags and policy included, to its key, and holds the key of the hashes by which IDs
are found. Where the gallery is not encrypted it is a checksum of the row.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from visavis.errors import GalleryLocked, GalleryNotFound, InvalidOption, StoreDamaged
from visavis.galleries.records import KEY_BYTES
from visavis.galleries.sealing import Checker, GalleryKeys, Sealer
from visavis.galleries.sqlite.cells import ABOUT, DETAILS, EMBEDDING, PICTURE, place_of_gallery
from visavis.galleries.sqlite.file import SqliteFile
from visavis.galleries.sqlite.schema import DUE_COMPACTION

GALLERY = (
    "SELECT galleries.number, name, space, dimension, metric, policy, encrypted, created_at, subjects, samples, seal, "
    "keys.number, keys.wrapped, (SELECT wrapped FROM new_keys WHERE gallery = galleries.number) "
    "FROM galleries LEFT JOIN keys ON keys.number = galleries.number WHERE {} = ?"
)
"""A gallery's row: what it is, of which the counts at the end are not sealed, and what opens it."""
GALLERY_COLUMNS = 10
_SEALED_COLUMNS = 8
_KEYS = (("keys", "number"), ("new_keys", "gallery"))
_READ_KEYS = "SELECT number, {1}, wrapped FROM {0} WHERE wrapped IS NOT NULL"


class Opened(NamedTuple):
    """What a gallery is read and written with."""

    sealer: Sealer | Checker
    hash_key: bytes  # empty where it is not encrypted


def open_gallery(connection: sqlite3.Connection, keys: GalleryKeys, number: int) -> Opened:
    """Return what opens a gallery; it raises ``GalleryNotFound`` and what ``open_row`` does."""
    row = connection.execute(GALLERY.format("galleries.number"), (number,)).fetchone()
    if row is None:
        raise GalleryNotFound("the gallery was forgotten meanwhile")
    return open_row(row, keys)


def open_row(row: tuple[Any, ...], keys: GalleryKeys) -> Opened:
    """Return what opens a gallery, whose row is as it was written.

    Raises:
        GalleryLocked: its key is missing or another one, or somebody changed its row.
        StoreDamaged: its row is damaged.
    """
    about, (seal, key_number, wrapped, new) = row[:_SEALED_COLUMNS], row[GALLERY_COLUMNS:]
    number, name, is_encrypted = about[0], about[1], bool(about[6])
    sealer: Sealer | Checker = Checker()
    if is_encrypted:
        if wrapped is None:
            raise GalleryLocked(f"gallery {name!r} is encrypted, and its key is gone")
        sealer = keys.open(number, wrapped)
        if new is not None:  # it is being changed
            sealer = Sealer(keys.unwrap(number, new), sealer)
    elif key_number is not None:  # of a gallery that was encrypted
        seal = None
    try:
        return Opened(sealer, sealer.open(seal, place_of_gallery(*about)))
    except (GalleryLocked, StoreDamaged) as error:
        raise type(error)(
            f"what the file says of gallery {name!r}, such as its policy, or whether it is encrypted, is not what was "
            "written: restore a backup"
        ) from None


def seal_gallery(connection: sqlite3.Connection, number: int, opened: Opened) -> None:
    """Seal a gallery's row as it is now."""
    about = connection.execute(GALLERY.format("galleries.number"), (number,)).fetchone()[:_SEALED_COLUMNS]
    seal = opened.sealer.seal(opened.hash_key, place_of_gallery(*about))
    connection.execute("UPDATE galleries SET seal = ? WHERE number = ?", (seal, number))


def new_gallery(connection: sqlite3.Connection, keys: GalleryKeys, number: int, *, encrypted: bool) -> None:
    """Give a gallery that was just made its key, where it is encrypted, and seal it."""
    opened = Opened(Checker(), b"")
    if encrypted:
        wrapped = keys.new(number)
        connection.execute("INSERT INTO keys (number, wrapped) VALUES (?, ?)", (number, wrapped))
        opened = Opened(keys.open(number, wrapped), os.urandom(KEY_BYTES))
    seal_gallery(connection, number, opened)


def hashed(key: bytes, digest: bytes) -> bytes:
    """Return a hash, which only who has the key can make, of one that anybody can make who has the file.

    Source: RFC 7693 (BLAKE2b with a key).
    """
    return hashlib.blake2b(digest, key=key, digest_size=len(digest)).digest()


def seal_older(connection: sqlite3.Connection, keys: GalleryKeys, number: int) -> None:
    """Seal an encrypted gallery of an older version, which sealed nothing but what is personal; others stay.

    Its key was wrapped for another place, and is trusted once: no sealed gallery passes for an older one.
    """
    older = "SELECT wrapped FROM galleries JOIN keys USING (number) WHERE number = ? AND seal IS NULL"
    row = connection.execute(older, (number,)).fetchone()
    if row is None:  # another process was faster
        return
    key, hash_key = keys.unwrap(number, row[0], sealed=False), os.urandom(KEY_BYTES)
    connection.execute("UPDATE keys SET wrapped = ? WHERE number = ?", (keys.wrap(number, key), number))
    connection.create_function("hashed", 1, lambda digest: digest and hashed(hash_key, digest))
    connection.execute("UPDATE subjects SET id_hash = hashed(id_hash) WHERE gallery = ?", (number,))
    connection.execute(
        "UPDATE samples SET key_hash = hashed(key_hash), fingerprint = hashed(fingerprint) WHERE gallery = ?", (number,)
    )
    connection.create_function("hashed", 1, None)
    connection.execute(DUE_COMPACTION)  # the indexes may have left copies of what the hashes were
    seal_gallery(connection, number, Opened(Sealer(key), hash_key))


def wrap_anew(connection: sqlite3.Connection, keys: GalleryKeys) -> set[int]:
    """Wrap the keys of galleries with the first of the store's keys; return which galleries none of these opens."""
    locked: set[int] = set()
    for table in _KEYS:
        for number, gallery, wrapped in connection.execute(_READ_KEYS.format(*table)).fetchall():
            locked.add(gallery)
            with suppress(GalleryLocked):
                again = keys.wrap(gallery, keys.unwrap(gallery, wrapped))
                connection.execute(f"UPDATE {table[0]} SET wrapped = ? WHERE number = ?", (again, number))  # noqa: S608  # one of these
                keys.forget(wrapped)
                locked.remove(gallery)
    return locked


class _Cells(NamedTuple):
    """Cells of a gallery that are sealed."""

    place: str
    read: str  # after which they come in order, the number of their place, their row, what they hold
    write: str
    at_once: int


_OF_SAMPLES = "SELECT id, subject, id, {} FROM samples WHERE gallery = ? AND id > ? ORDER BY id LIMIT ?"
_SEALED = (
    _Cells(EMBEDDING, _OF_SAMPLES.format("embedding"), "UPDATE samples SET embedding = ? WHERE id = ?", 1000),
    _Cells(ABOUT, _OF_SAMPLES.format("about"), "UPDATE samples SET about = ? WHERE id = ?", 1000),
    _Cells(
        DETAILS,
        "SELECT subjects.number, subjects.number, details.number, content FROM subjects "
        "JOIN details ON details.number = subjects.details "
        "WHERE gallery = ? AND subjects.number > ? ORDER BY subjects.number LIMIT ?",
        "UPDATE details SET content = ? WHERE number = ?",
        1000,
    ),
    _Cells(
        PICTURE,
        "SELECT id, id, id, data FROM samples JOIN pictures ON sample = id "
        "WHERE gallery = ? AND id > ? ORDER BY id LIMIT ?",
        "UPDATE pictures SET data = ? WHERE sample = ?",
        16,
    ),
)
_NEW_KEY = "SELECT number, wrapped FROM new_keys WHERE gallery = ?"


def rekey(file: SqliteFile, keys: GalleryKeys, number: int, log: Callable[[sqlite3.Connection], None]) -> None:
    """Give an encrypted gallery a new key, and seal all of it anew, some rows at a time, while others go on.

    Until the end each row opens with the one key or the other, and what is written is sealed with the new one; who was
    killed goes on here. What was sealed is overwritten where it lies, by as many bytes.
    """
    with file.writing() as connection:
        if not isinstance(open_gallery(connection, keys, number).sealer, Sealer):
            raise InvalidOption("this gallery is not encrypted: it has no key")
        if connection.execute(_NEW_KEY, (number,)).fetchone() is None:
            connection.execute("INSERT INTO new_keys (gallery, wrapped) VALUES (?, ?)", (number, keys.new(number)))
        (change, _) = connection.execute(_NEW_KEY, (number,)).fetchone()
    for cells in _SEALED:
        last: int | None = 0
        while last is not None:
            with file.writing() as connection:
                last = _seal_anew(connection, keys, (number, change), cells, last)
    with file.writing() as connection:
        if (both := _both_keys(connection, number, change)) is None:
            return
        opened = open_gallery(connection, keys, number)
        connection.execute("UPDATE keys SET wrapped = ? WHERE number = ?", (both[1], number))
        connection.execute("UPDATE new_keys SET gallery = NULL, wrapped = NULL WHERE number = ?", (change,))
        seal_gallery(connection, number, Opened(keys.open(number, both[1]), opened.hash_key))
        log(connection)
    keys.forget(both[0])


def _both_keys(connection: sqlite3.Connection, number: int, change: int) -> tuple[bytes, bytes] | None:
    """Return a gallery's key and its next one, wrapped; None where another process ended this change of keys."""
    wrapped = connection.execute("SELECT wrapped FROM keys WHERE number = ?", (number,)).fetchone()
    new = connection.execute(_NEW_KEY, (number,)).fetchone()
    return None if new is None or new[0] != change else (wrapped[0], new[1])


def _seal_anew(
    connection: sqlite3.Connection, keys: GalleryKeys, change: tuple[int, int], cells: _Cells, last: int
) -> int | None:
    """Seal the next cells with the new key; return the last of them, or None where there are no more."""
    number = change[0]
    if (both := _both_keys(connection, *change)) is None:
        return None
    before, now = (keys.open(number, wrapped) for wrapped in both)
    rows = connection.execute(cells.read, (number, last, cells.at_once)).fetchall()
    for _, owner, row, stored in rows:
        place = f"{cells.place}{owner}"
        with suppress(GalleryLocked):  # where it is sealed anew already, or damaged
            connection.execute(cells.write, (now.seal(before.open(stored, place), place), row))
    return rows[-1][0] if rows else None
