"""What every store refuses, in the same words."""

import re
from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np

from visavis.errors import InvalidEmbedding, InvalidOption
from visavis.galleries.records import NewSample
from visavis.types import FloatArray

_GALLERY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
KEY_BYTES = 32
"""The length of the key that protects those of encrypted galleries."""
LONGEST_ID = 200
_LONGEST_KEY = 200
_SMALLEST = 1e-12  # whose square a float32 still holds
_LARGEST_INTEGER = 2**63 - 1
_LARGEST = 1e6  # far beyond any model's, and small enough to be squared


def may_be_gallery(name: str) -> bool:
    """Tell whether a gallery may have this name."""
    return isinstance(name, str) and _GALLERY_NAME.fullmatch(name) is not None


def check_gallery_name(name: str) -> str:
    """Return the name of a gallery.

    Raises:
        InvalidOption: it is not one that a gallery may have.
    """
    if not may_be_gallery(name):
        raise InvalidOption(
            "a gallery's name is 1 to 64 of a-z, 0-9, dot, underscore and hyphen, and begins with a letter or digit"
        )
    return name


def check_subject_id(subject: str) -> str:
    """Return the ID of a subject, which is part of a URL's path.

    Raises:
        InvalidOption: it is not one that a subject may have.
    """
    good = isinstance(subject, str) and 0 < len(subject) <= LONGEST_ID and subject.isprintable()
    if not good or "/" in subject or subject in {".", ".."} or subject != subject.strip():
        raise InvalidOption(
            f"a subject's ID is 1 to {LONGEST_ID} printable characters, without a slash or spaces at its ends"
        )
    return subject


def check_key(key: str) -> str:
    """Return an idempotency key.

    Raises:
        InvalidOption: it is not one.
    """
    if not (isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        raise InvalidOption(f"an idempotency key is 1 to {_LONGEST_KEY} printable characters")
    return key


def check_samples(samples: Sequence[NewSample], dimension: int) -> FloatArray:
    """Return the embeddings (N, D) of new samples, all of which may be stored.

    Raises:
        InvalidOption: an ID or a key is not allowed.
        InvalidEmbedding: an embedding has another dimension, or holds what is no finite number.
    """
    for sample in samples:
        check_subject_id(sample.subject)
        if sample.key is not None:
            check_key(sample.key)
    if not samples:
        return np.empty((0, dimension), np.float32)
    return np.stack([check_embedding(sample.embedding, dimension) for sample in samples])


def check_embedding(embedding: object, dimension: int) -> FloatArray:
    """Return an embedding (D,) as float32.

    Raises:
        InvalidEmbedding: it has another dimension, or holds what is no finite number, or nothing but zeros.
    """
    vector = _numbers(embedding, f"an embedding is {dimension} numbers")
    if vector.shape != (dimension,):
        raise InvalidEmbedding(f"an embedding of this gallery has the shape ({dimension},), not {vector.shape}")
    if not np.isfinite(vector).all():
        raise InvalidEmbedding("the numbers of an embedding are finite")
    if not _SMALLEST <= np.abs(vector).max() <= _LARGEST:
        raise InvalidEmbedding(f"the largest number of an embedding is from {_SMALLEST:g} to {_LARGEST:g} in size")
    return vector


def check_probes(probes: object, dimension: int) -> FloatArray:
    """Return probes (P, D) as float32.

    Raises:
        InvalidEmbedding: as for embeddings.
    """
    array = _numbers(probes, f"probes are rows of {dimension} numbers")
    if array.ndim != 2 or array.shape[1] != dimension:  # noqa: PLR2004  # rows and columns
        raise InvalidEmbedding(f"probes for this gallery have the shape (P, {dimension}), not {array.shape}")
    for probe in array:
        check_embedding(probe, dimension)
    return array


def _numbers(values: object, wanted: str) -> FloatArray:
    """Return an array of float32; what is too large for it becomes infinite.

    Raises:
        InvalidEmbedding: texts, truths and the like are not what is wanted.
    """
    try:
        array = np.asarray(values)
    except (OverflowError, TypeError, ValueError):
        raise InvalidEmbedding(wanted) from None
    if array.dtype.kind not in "fiu":
        raise InvalidEmbedding(wanted)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def within_integers(number: int) -> int:
    """Return a number as one that every store can compare with its own, which are all smaller than the greatest."""
    return max(-1, min(number, _LARGEST_INTEGER))


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC.

    Raises:
        InvalidOption: in UTC it is not within the years 1 to 9999.
    """
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidOption("a time must be within the years 1 to 9999, in UTC") from None


def check_limit(limit: int) -> int:
    """Return how many records are wanted, as a number that every store can take.

    Raises:
        InvalidOption: it is not 1 or more.
    """
    if type(limit) is not int or limit < 1:
        raise InvalidOption(f"limit must be a whole number of 1 or more, not {limit!r}")
    return within_integers(limit)
