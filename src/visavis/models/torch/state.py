"""Reader of PyTorch state dicts: names and arrays of weights. No pickle is executed.

Unpickling may call any function; here nothing is called. A small interpreter knows the few opcodes that a state dict
is written with, takes the few names in it as symbols, and refuses everything else.

There are two formats. The older one is a stream: five pickles, of which the fourth is the dict and the fifth lists
the storages, which follow as raw numbers. The one of today is a zip archive of a pickle and a member per storage.

Source: ``torch/serialization.py`` of PyTorch.
"""

import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt

_Kind = TypeVar("_Kind")

# A tensor takes about forty: this is enough for the largest networks, and bounds what a hostile file may allocate.
_MOST_OPCODES = 2_000_000

_ORDERED_DICT = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_TYPE_OF_STORAGE = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "|i1",
    "torch ByteStorage": "|u1",
}


@dataclass(frozen=True, slots=True)
class StorageReference:
    """A row of numbers that stands elsewhere in the file.

    Attributes:
        key: by which it is found.
        dtype: of its numbers, as NumPy calls it.
        count: of its numbers.
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorReference:
    """A tensor's place in a storage; offset and stride are in numbers, not in bytes."""

    storage: StorageReference
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that a pickle may hold, and that is never looked up."""

    name: str


_MARK = object()
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_FRESH: dict[str, Callable[[], object]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def read_pickle(file: BinaryIO) -> object:
    """Return what the next pickle of a file describes: plain values, and a ``TensorReference`` for each tensor.

    Raises:
        ModelCorrupt: it is damaged, or holds what no state dict holds.
    """
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number >= _MOST_OPCODES:
                raise ModelCorrupt(f"a pickle of more than {_MOST_OPCODES} opcodes: no state dict is that long")
            if opcode.name == "STOP":
                break
            machine.do(opcode.name, argument)
    # Of damaged text, the standard library also warns, which may be an error.
    except (ValueError, Warning) as error:
        if isinstance(error, ModelCorrupt):
            raise
        raise ModelCorrupt(f"a pickle that cannot be read: {error}") from error
    return machine.result()


class _Machine:
    """A stack, what was put aside, and what each opcode does with them."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[object, object] = {}

    def result(self) -> object:
        """Return what the pickle was about."""
        (value,) = self._popped(len(self._stack)) if len(self._stack) == 1 else (_MARK,)
        if value is _MARK:
            raise ModelCorrupt("a pickle that ends in the middle of a value")
        return value

    def do(self, opcode: str, argument: object) -> None:
        """Follow one opcode.

        Raises:
            ModelCorrupt: it makes no sense here, or no state dict needs it.
        """
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _FRESH:
            self._stack.append(_FRESH[opcode]())
        elif opcode in _TUPLES:
            self._stack.append(tuple(self._popped(_TUPLES[opcode])))
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode != "PROTO":
            raise ModelCorrupt(f"a pickle with the opcode {opcode}, which no state dict needs: it was not executed")

    def tuple_to_mark(self, _: object) -> None:
        self._stack.append(tuple(self._popped_to_mark()))

    def append_to_mark(self, _: object) -> None:
        values = self._popped_to_mark()
        self._top_of(list).extend(values)

    def set_one(self, _: object) -> None:
        self._set(self._popped(2))

    def set_to_mark(self, _: object) -> None:
        self._set(self._popped_to_mark())

    def put(self, key: object) -> None:
        self._memo[key] = self._top()

    def get(self, key: object) -> None:
        if key not in self._memo:
            raise ModelCorrupt("a pickle that remembers what never was")
        self._stack.append(self._memo[key])

    def name(self, name: object) -> None:
        self._stack.append(_Name(_allowed(str(name))))

    def refer(self, _: object) -> None:
        self._stack.append(_storage(*self._popped(1)))

    def reduce(self, _: object) -> None:
        self._stack.append(_made(*self._popped(2)))

    def build(self, _: object) -> None:
        self._popped(1)  # attributes of the dict itself, such as the versions of layers
        self._top_of(dict)

    def _popped(self, count: int) -> list[object]:
        values = self._stack[-count:]
        if len(values) < count or any(value is _MARK for value in values):
            raise ModelCorrupt("a pickle that takes more than it gave")
        del self._stack[-count:]
        return values

    def _popped_to_mark(self) -> list[object]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise ModelCorrupt("a pickle that ends what never began")

    def _top(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise ModelCorrupt("a pickle that keeps nothing")
        return self._stack[-1]

    def _top_of(self, kind: type[_Kind]) -> _Kind:
        top = self._top()
        if not isinstance(top, kind):
            raise ModelCorrupt(f"a pickle that fills a {type(top).__name__} as if it were a {kind.__name__}")
        return top

    def _set(self, values: list[object]) -> None:
        keys = values[::2]
        if len(values) % 2 or not all(isinstance(key, str) for key in keys):
            raise ModelCorrupt("a dict whose keys are no strings")
        self._top_of(dict).update(zip(keys, values[1::2], strict=True))


_ACTIONS = {
    "TUPLE": _Machine.tuple_to_mark,
    "APPENDS": _Machine.append_to_mark,
    "SETITEM": _Machine.set_one,
    "SETITEMS": _Machine.set_to_mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "BINPERSID": _Machine.refer,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}


def _allowed(name: str) -> str:
    if name not in (_ORDERED_DICT, _REBUILD) and name not in _TYPE_OF_STORAGE:
        shown = ascii(name)[1:-1].replace(" ", ".")[:80]
        raise ModelCorrupt(f"a pickle that names {shown}, which no state dict needs: it was not executed")
    return name


def _storage(identity: object) -> StorageReference:
    match identity:
        case ("storage", _Name(name), str(key), str(_), int(count), *view) if (
            name in _TYPE_OF_STORAGE and _is_natural(count) and view in ([], [None])
        ):
            return StorageReference(key, _TYPE_OF_STORAGE[name], count)
    raise ModelCorrupt("a storage that is not described as PyTorch does")


def _made(function: object, arguments: object) -> object:
    match function, arguments:
        case _Name(name), () if name == _ORDERED_DICT:
            return {}
        case _Name(name), (StorageReference() as storage, int(offset), tuple(size), tuple(stride), _, _) if (
            name == _REBUILD and len(size) == len(stride) and all(map(_is_natural, (offset, *size, *stride)))
        ):
            return TensorReference(storage, offset, size, stride)
    raise ModelCorrupt("a pickle that calls what no state dict calls: it was not executed")


def _is_natural(value: object) -> bool:
    return type(value) is int and value >= 0


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
