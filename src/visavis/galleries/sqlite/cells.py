"""Cells of a SQLite file: what is personal is sealed there, or followed by a checksum; either is bound to its place.

What does not open, or does not match its checksum, is damaged: it is left out, and told by a check.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from visavis.core.embeddings import LARGEST, SMALLEST
from visavis.errors import GalleryLocked, StoreDamaged
from visavis.galleries.index import IntArray
from visavis.galleries.sealing import Checker, Sealer
from visavis.types import FloatArray

EMBEDDING, ABOUT = "embedding of subject ", "about a sample of subject "
DETAILS, PICTURE = "details of subject ", "picture of sample "
"""Places, each before a number."""

DAMAGE = (GalleryLocked, StoreDamaged, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What it raises to read a row that is not as it was written."""

VectorRow: TypeAlias = tuple[int, int, bytes]
"""A sample's ID, its subject's number, and its embedding as it is stored."""
_NUMBERS, _WORDS = "<f4", "<u8"


class Embeddings(NamedTuple):
    """Embeddings, and whose they are."""

    samples: IntArray  # (N,)
    subjects: IntArray  # (N,)
    vectors: FloatArray  # (N, D)
    squares: FloatArray  # (N,), of their lengths


@lru_cache(maxsize=16)
def place_of_gallery(*row: str | bytes | float | None) -> str:
    """Return the place of a gallery's seal: its row itself, but for its counts."""
    return f"row of gallery {row!a}"


def with_checksum(content: str | bytes | None, place: str | None) -> bytes | None:
    """Return what an older version stored without; what is none stays damaged."""
    data = content.encode() if isinstance(content, str) else content
    return Checker().seal(data, place) if isinstance(data, bytes) and place else data


def embedding_with_checksum(stored: bytes | None, sample: int, subject: int | None) -> bytes | None:
    """Return an embedding that an older version stored without; what is none stays damaged."""
    try:
        return to_stored([sample], [subject or 0], np.frombuffer(stored or b"", _NUMBERS)[None], Checker())[0]
    except DAMAGE:
        return stored


def to_stored(
    samples: Sequence[int], subjects: Sequence[int], vectors: FloatArray, sealer: Sealer | Checker
) -> list[bytes]:
    """Return embeddings (N, D) as they are stored: sealed; or filled to whole words, and followed by a checksum."""
    if isinstance(sealer, Sealer):
        rows = (vector.astype(_NUMBERS).tobytes() for vector in vectors)
        return [sealer.seal(row, f"{EMBEDDING}{subject}") for row, subject in zip(rows, subjects, strict=True)]
    width = (vectors.shape[1] + 1) // 2
    words = np.zeros((len(vectors), width + 2), _WORDS)
    words.view(_NUMBERS)[:, : vectors.shape[1]] = vectors
    words[:, width:].view(np.int64)[:] = np.stack([samples, subjects], axis=1)
    words[:, width] = words @ _weights(width + 2)
    return [row[:-1].tobytes() for row in words]


def to_vectors(rows: Sequence[VectorRow], sealer: Sealer | Checker, dimension: int) -> Embeddings:
    """Return what rows hold, but for those that are damaged."""
    try:
        if rows:
            return _vectors(rows, sealer, dimension)
    except DAMAGE:
        if len(rows) > 1:
            halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
            parts: list[tuple[NDArray[Any], ...]] = [to_vectors(half, sealer, dimension) for half in halves]
            return Embeddings._make(map(np.concatenate, zip(*parts, strict=True)))
    none = np.empty(0, np.int64)
    return Embeddings(none, none, np.empty((0, dimension), np.float32), np.empty(0, np.float32))


def _vectors(rows: Sequence[VectorRow], sealer: Sealer | Checker, dimension: int) -> Embeddings:
    ids, owners, stored = zip(*rows, strict=True)
    samples, subjects = np.array(ids, np.int64), np.array(owners, np.int64)
    if isinstance(sealer, Sealer):
        data = [sealer.open(data, f"{EMBEDDING}{owner}") for data, owner in zip(stored, owners, strict=True)]
        vectors = np.frombuffer(b"".join(data), _NUMBERS).reshape(len(rows), dimension)
    else:
        width = (dimension + 1) // 2
        words, weights = np.frombuffer(b"".join(stored), _WORDS).reshape(len(rows), width + 1), _weights(width + 2)
        sums = words[:, :width] @ weights[:width]
        sums += samples.view(np.uint64) * weights[width] + subjects.view(np.uint64) * weights[width + 1]
        if not np.array_equal(sums, words[:, -1]):
            raise StoreDamaged("what is stored was changed")
        vectors = words.view(_NUMBERS)[:, :dimension]
    squares = np.einsum("nd,nd->n", vectors, vectors)  # which do not compare where a number is none
    if not (squares.min() > SMALLEST**2 / 2 and squares.max() < 2 * dimension * LARGEST**2):
        raise StoreDamaged("what is stored is no embedding")
    return Embeddings(samples, subjects, vectors, squares)


@lru_cache(maxsize=16)
def _weights(count: int) -> NDArray[np.uint64]:
    """Return the odd weights by which the words of a row, its sample and its subject are multiplied, always the same.

    The sum of that, modulo 2**64, is the checksum: a change within one word is always noticed, another one almost
    surely. It takes a tenth of the time of CRCs.

    Source: D. Lemire and O. Kaser, "Strongly universal string hashing is fast", 2014 (multilinear hashing); G. Steele,
    D. Lea and C. Flood, "Fast splittable pseudorandom number generators", 2014 (SplitMix64).
    """
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((state ^ (state >> np.uint64(31))) | np.uint64(1))


# Rows, and the moments in them.

Row: TypeAlias = dict[str, Any]
"""A row by the names of its columns."""
_Read = TypeVar("_Read")
_Made = TypeVar("_Made")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_MOMENTS = {"at", "created_at", "updated_at", "expires_at"}


def to_integer(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(stored: int) -> datetime:
    """Return what was stored so."""
    return _EPOCH + stored * _MICROSECOND


def named(cursor: sqlite3.Cursor) -> Iterator[Row]:
    """Return rows by the names of their columns."""
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, values, strict=True)) for values in cursor)


def timed(row: Row) -> Row:
    """Return a row whose moments are such."""
    for name in _MOMENTS.intersection(row):
        if row[name] is not None or name != "expires_at":
            row[name] = to_moment(row[name])
    return row


def whole(rows: Iterable[_Read], make: Callable[[_Read], _Made]) -> Iterator[_Made]:
    """Return what is made of rows, but for those that are damaged."""
    for row in rows:
        with suppress(*DAMAGE):
            yield make(row)
