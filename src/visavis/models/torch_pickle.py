"""Reads the pickles of PyTorch state dicts without executing them.

Unpickling may call any function; here nothing is called. A small interpreter knows the few opcodes that a state dict
is written with, takes the few names in it as symbols, and refuses everything else.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

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
