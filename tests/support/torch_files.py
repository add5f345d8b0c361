"""Writes files as ``torch.save`` does, without PyTorch, opcode by opcode: also such as PyTorch never would."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

STOP = b"."
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
_STORAGES = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char"}


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def whole(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    encoded = pickle.encode_long(value)
    return b"\x8a" + struct.pack("<B", len(encoded)) + encoded


def of_all(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def a_dict(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(key: str, dtype: str, count: int, *more: bytes) -> bytes:
    """What a pickle says of a storage; the older format says one thing more than the newer."""
    kind = name_of("torch", f"{_STORAGES.get(dtype, 'Byte')}Storage")
    return of_all(text("storage"), kind, text(key), text("cpu"), whole(count), *more) + b"Q"


def tensor(stored: bytes, offset: int, size: Sequence[int], stride: Sequence[int]) -> bytes:
    hooks = name_of("collections", "OrderedDict") + b")R"
    arguments = (stored, whole(offset), of_all(*map(whole, size)), of_all(*map(whole, stride)), b"\x89", hooks)
    return name_of("torch._utils", "_rebuild_tensor_v2") + of_all(*arguments) + b"R"


def plain_tensor(key: str, array: NDArray[np.generic], *more: bytes) -> bytes:
    strides = [step // array.itemsize for step in array.strides]
    return tensor(storage(key, array.dtype.str[1:], array.size, *more), 0, array.shape, strides)


def stream(items: bytes, storages: Mapping[str, bytes], counts: Mapping[str, int], *, little: bytes = b"\x88") -> bytes:
    """The older format: pickles, then storages."""
    system = a_dict({"protocol_version": whole(1001), "little_endian": little})
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    head = [b"\x80\x02" + part + STOP for part in (system, items, keys)]
    raw = [struct.pack("<q", counts[key]) + data for key, data in storages.items()]
    return b"".join([MAGIC, PROTOCOL, *head, *raw])


def stream_of(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    items = a_dict({name: plain_tensor(name, array, b"N") for name, array in arrays.items()})
    raw = {name: array.tobytes() for name, array in arrays.items()}
    return stream(items, raw, {name: array.size for name, array in arrays.items()})


def archive(
    items: bytes, storages: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED, byteorder: bytes = b"little"
) -> bytes:
    """The format of today: a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("weights/data.pkl", b"\x80\x02" + items + STOP)
        file.writestr("weights/byteorder", byteorder)
        for key, data in storages.items():
            file.writestr(f"weights/data/{key}", data)
        file.writestr("weights/version", b"3\n")
    return buffer.getvalue()


def archive_of(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    items = a_dict({name: plain_tensor(name, array) for name, array in arrays.items()})
    return archive(items, {name: array.tobytes() for name, array in arrays.items()})
