"""Reads PyTorch state dicts: names of weights, and their numbers. No pickle is executed; see ``torch_pickle``.

There are two formats. The older one is a stream: five pickles, of which the fourth is the dict and the fifth lists
the storages, which follow as raw numbers. The one of today is a zip archive of a pickle and a member per storage.

Source: ``torch/serialization.py`` of PyTorch.
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt
from visavis.models.torch_pickle import StorageReference, TensorReference, read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP = b"PK\x03\x04"
_MOST_DIMENSIONS = 16
_ENCRYPTED = 1
# What can come of reading a damaged archive.
_BAD_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)

StateDict: TypeAlias = dict[str, NDArray[Any]]
_Fetch: TypeAlias = Callable[[StorageReference], NDArray[Any]]
"""Return the numbers of a storage."""


def read_state_dict(data: bytes) -> StateDict:
    """Return the tensors of a state dict by name: read-only views of the bytes, so that nothing is multiplied.

    Raises:
        ModelCorrupt: it is something else, is damaged, or holds what no state dict holds.
    """
    references, fetch = _open_zip(data) if data.startswith(_ZIP) else _open_stream(data)
    return {name: _tensor(name, reference, fetch) for name, reference in references.items()}


def _checked(references: object) -> dict[str, TensorReference]:
    if not isinstance(references, dict) or not all(isinstance(v, TensorReference) for v in references.values()):
        raise ModelCorrupt("the file holds something else than a dict of tensors: save a model's state_dict()")
    return references


def _tensor(name: str, reference: TensorReference, fetch: _Fetch) -> NDArray[Any]:
    numbers = fetch(reference.storage)
    size = reference.size
    steps = [step if length > 1 else 0 for length, step in zip(size, reference.stride, strict=True)]
    last = reference.offset + sum((length - 1) * step for length, step in zip(size, steps, strict=True))
    if len(size) > _MOST_DIMENSIONS or not 1 <= math.prod(size) <= len(numbers) or last >= len(numbers):
        raise ModelCorrupt(f"{name[:80]!a}: a tensor that does not fit into its storage of {len(numbers)} numbers")
    return np.lib.stride_tricks.as_strided(
        numbers[reference.offset :], size, [step * numbers.itemsize for step in steps], writeable=False
    )


def _open_stream(data: bytes) -> tuple[dict[str, TensorReference], _Fetch]:
    file = io.BytesIO(data)
    if read_pickle(file) != _MAGIC or read_pickle(file) != _PROTOCOL:
        raise ModelCorrupt("the file is no PyTorch state dict")
    system = read_pickle(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ModelCorrupt("the state dict was written on a big-endian machine: save it again on another")
    references = _checked(read_pickle(file))
    keys = read_pickle(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise ModelCorrupt("the state dict does not list its storages")
    return references, _stream_storages(data, file, keys, _storages_of(references))


def _storages_of(references: dict[str, TensorReference]) -> dict[str, StorageReference]:
    storages: dict[str, StorageReference] = {}
    for storage in (reference.storage for reference in references.values()):
        if storages.setdefault(storage.key, storage) != storage:
            raise ModelCorrupt("the state dict describes a storage in two ways")
    return storages


def _stream_storages(data: bytes, file: BinaryIO, keys: list[str], storages: dict[str, StorageReference]) -> _Fetch:
    if set(keys) != set(storages):
        raise ModelCorrupt("the state dict lists other storages than its tensors have")
    place = file.tell()
    found: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage, first = storages[key], place + 8
        count = int.from_bytes(data[place:first], "little")
        place = first + count * np.dtype(storage.dtype).itemsize
        if place > len(data) or count != storage.count:
            raise ModelCorrupt(f"the state dict is truncated or damaged: {storage.count} numbers should be at {first}")
        found[key] = np.frombuffer(data, storage.dtype, count, first) if count else np.empty(0, storage.dtype)
    if place != len(data):
        raise ModelCorrupt(f"the state dict has {len(data) - place} bytes too many")
    return lambda storage: found[storage.key]


def _open_zip(data: bytes) -> tuple[dict[str, TensorReference], _Fetch]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _checked_members(archive, len(data))
            content = {path: archive.read(member) for path, member in members.items()}
    except _BAD_ZIP as error:
        if isinstance(error, ModelCorrupt):
            raise
        raise ModelCorrupt(f"the archive cannot be read: {error}") from error
    if "data.pkl" not in content:
        raise ModelCorrupt("the archive is no PyTorch state dict: it has no data.pkl")
    if content.get("byteorder", b"little") != b"little":
        raise ModelCorrupt("the state dict was written on a big-endian machine: save it again on another")

    def fetch(storage: StorageReference) -> NDArray[Any]:
        raw = content.get(f"data/{storage.key}", b"")
        if len(raw) != storage.count * np.dtype(storage.dtype).itemsize:
            raise ModelCorrupt(f"the archive holds {len(raw)} bytes where {storage.count} numbers should be")
        return np.frombuffer(raw, storage.dtype) if raw else np.empty(0, storage.dtype)

    return _checked(read_pickle(io.BytesIO(content["data.pkl"]))), fetch


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their paths below the archive's one folder; together no larger than the archive."""
    members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
    # PyTorch compresses nothing: so nothing can become larger than it is.
    stored = all(
        member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & _ENCRYPTED for member in members.values()
    )
    if not stored or len(members) < len(archive.infolist()) or sum(m.file_size for m in members.values()) > size:
        raise ModelCorrupt(
            "the archive is not as PyTorch writes it: compressed, encrypted, or with members in each other"
        )
    return members
