"""Reader of PyTorch state dicts, without PyTorch. For files whose SHA-256 was checked before: see ``installation``.

While unpickling, only the three names below may be called; all else is refused. Arrays are made by NumPy within the
bounds of what the file holds.

Source: ``torch/serialization.py`` of PyTorch; "Restricting Globals" in Python's documentation of ``pickle``.
"""

import io
import math
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError, _Unpickler
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt

StateDict: TypeAlias = dict[str, NDArray[Any]]
_Pickled: TypeAlias = Any  # whatever a pickle describes

_MAGIC = 0x1950A86A20F9469CFC6C
_KINDS = ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte")
_DTYPES = dict(zip(_KINDS, ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "|u1"), strict=True))


def read_state_dict(data: bytes) -> StateDict:
    """Return the tensors of a state dict by name, read-only.

    Args:
        data: a zip archive, as PyTorch writes since its version 1.6; or the stream of five pickles before that, of
            which the fourth is the dict and the fifth lists the storages, whose numbers follow.

    Raises:
        ModelCorrupt: it is something else, or damaged. Nothing in it was executed.
    """
    try:
        return _read_zip(data) if data.startswith(b"PK\x03\x04") else _read_stream(data)
    except ModelCorrupt:
        raise
    except Exception as error:  # unpickling and unzipping raise whatever damaged bytes lead to
        shown = ascii(str(error))[1:-1][:120]
        raise ModelCorrupt(f"the file is no PyTorch state dict, or damaged: {type(error).__name__}: {shown}") from error


class _Reader(_Unpickler):
    """Makes arrays of tensors. Their storages are filled later, for older files hold the numbers behind the dict.

    It is the standard library's unpickler in Python: the one in C may allocate gigabytes for a damaged number.
    """

    def __init__(self, file: io.BytesIO, storages: dict[str, NDArray[Any]], most_bytes: int) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages
        self._most_bytes = most_bytes

    def find_class(self, module: str, name: str) -> str | Callable[..., Any]:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name.endswith("Storage") and (kind := name.removesuffix("Storage")) in _DTYPES:
            return _DTYPES[kind]
        raise UnpicklingError(f"it names {module}.{name}, which no state dict needs: it was not executed")

    def persistent_load(self, identity: object) -> NDArray[Any]:
        match identity:
            case ("storage", str(dtype), str(key), str(_), int(count), *view) if view in ([], [None]):
                if not 0 <= count * np.dtype(dtype).itemsize <= self._most_bytes:
                    raise UnpicklingError(f"a storage of {count} numbers in a file of {self._most_bytes} bytes")
                storage = self._storages.setdefault(key, np.empty(count, dtype))
                if (storage.dtype, storage.size) == (np.dtype(dtype), count):
                    return storage
                raise UnpicklingError("a storage described in two ways")
        raise UnpicklingError("a storage that is not described as PyTorch does")


def _tensor(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> NDArray[Any]:
    if not 1 <= math.prod(size) <= storage.size or min(0, offset, *size, *stride) < 0:
        raise UnpicklingError(f"a tensor that does not fit into its storage of {storage.size} numbers")
    # Of one number, steps do not matter, and may be any.
    steps = [step * storage.itemsize if length > 1 else 0 for length, step in zip(size, stride, strict=True)]
    array: NDArray[Any] = np.ndarray(size, storage.dtype, storage, offset * storage.itemsize, steps)  # checks bounds
    array.flags.writeable = False
    return array


def _fill(storage: NDArray[Any], raw: bytes) -> None:
    if len(raw) != storage.nbytes:
        raise ModelCorrupt(f"the state dict is truncated or damaged: {len(raw)} bytes instead of {storage.nbytes}")
    storage[:] = np.frombuffer(raw, storage.dtype)


def _read_zip(data: bytes) -> StateDict:
    storages: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}

        def member(name: str) -> bytes:
            info = archive.getinfo(names[name])
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
                raise ModelCorrupt(f"the archive is not as PyTorch writes it: {name!a} is compressed")
            return archive.read(info)

        if "byteorder" in names and member("byteorder") != b"little":
            raise ModelCorrupt("the state dict was written on a big-endian machine: save it again on another")
        found = _checked(_Reader(io.BytesIO(member("data.pkl")), storages, len(data)).load())
        for key, storage in storages.items():
            _fill(storage, member(f"data/{key}"))
    return found


def _read_stream(data: bytes) -> StateDict:
    file, storages = io.BytesIO(data), dict[str, NDArray[Any]]()

    def load() -> _Pickled:
        return _Reader(file, storages, len(data)).load()

    magic, _protocol, system = load(), load(), load()
    if magic != _MAGIC:
        raise ModelCorrupt("the file is no PyTorch state dict")
    if system.get("little_endian") is not True:
        raise ModelCorrupt("the state dict was written on a big-endian machine: save it again on another")
    found, keys = _checked(load()), load()
    if sorted(keys) != sorted(storages):
        raise ModelCorrupt("the state dict lists other storages than its tensors have")
    for key in keys:
        storage = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.size:
            raise ModelCorrupt(f"the state dict is truncated or damaged: {count} numbers instead of {storage.size}")
        _fill(storage, file.read(storage.nbytes))
    if file.read(1):
        raise ModelCorrupt("the state dict has bytes behind its end")
    return found


def _checked(found: object) -> StateDict:
    if isinstance(found, dict) and all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in found.items()):
        return dict(found)
    raise ModelCorrupt("the file holds something else than a dict of tensors: save a model's state_dict()")
