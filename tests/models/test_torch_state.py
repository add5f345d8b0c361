"""State dicts of PyTorch: read as they were written, and nothing in them executed, whatever the file wants.

No file gets as far as this whose SHA-256 is not the catalogue's: test_attributes.py shows that.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch_files as made
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch_files import a_dict, name_of, of_all, plain_tensor, storage, tensor, text, whole

from visavis.errors import ModelCorrupt
from visavis.models.torch.state import read_state_dict

ARRAYS: dict[str, NDArray[np.generic]] = {
    "conv.weight": np.arange(24, dtype="<f4").reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": np.array(7, "<i8"),
    "half": np.array([0.5, -2.0], "<f2"),
    "double": np.array([[1e300]], "<f8"),
    "int": np.array([2**31 - 1], "<i4"),
    "short": np.array([-5], "<i2"),
    "char": np.array([-128, 127], "|i1"),
    "byte": np.array([255], "|u1"),
}
SIX = np.arange(6, dtype="<f4")
FORMATS = {"stream": made.stream_of, "archive": made.archive_of}


def stream_with(item: bytes) -> bytes:
    """A file with one tensor, which may be anything, and a storage of six numbers."""
    return made.stream(a_dict({"w": item}), {"s": SIX.tobytes()}, {"s": 6})


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("names", [[], ["bn.num_batches_tracked"], list(ARRAYS)], ids=len)
def test_what_was_written_is_read(
    write: Callable[[Mapping[str, NDArray[np.generic]]], bytes], names: list[str]
) -> None:
    arrays = {name: ARRAYS[name] for name in names}
    found = read_state_dict(write(arrays))
    assert list(found) == names
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_numbers_may_take_more_room_than_their_descriptions(
    write: Callable[[Mapping[str, NDArray[np.generic]]], bytes],
) -> None:
    array = np.arange(5000, dtype="<f4").reshape(50, 100)
    np.testing.assert_array_equal(read_state_dict(write({"w": array}))["w"], array)


def test_tensors_may_share_a_storage_and_lie_in_it_as_they_like() -> None:
    six = storage("s", "f4", 6, b"N")
    items = a_dict({"whole": tensor(six, 0, [2, 3], [3, 1]), "turned": tensor(six, 0, [3, 2], [1, 3])})
    found = read_state_dict(made.stream(items, {"s": SIX.tobytes()}, {"s": 6}))
    np.testing.assert_array_equal(found["turned"], found["whole"].T)
    part = read_state_dict(stream_with(tensor(six, 4, [2, 1], [1, 2**62])))["w"]
    np.testing.assert_array_equal(part, [[4], [5]])


def test_attributes_of_the_dict_are_passed_over() -> None:
    metadata = a_dict({"_metadata": a_dict({"": a_dict({"version": whole(1)})})})
    items = name_of("collections", "OrderedDict") + b")R(" + text("w") + plain_tensor("s", SIX, b"N") + b"u"
    items += metadata + b"b"
    assert list(read_state_dict(made.stream(items, {"s": SIX.tobytes()}, {"s": 6}))) == ["w"]


GOOD = storage("s", "f4", 6, b"N")
ONES = of_all(whole(1))
REFUSED = {
    "nothing": (b"", "no PyTorch state dict"),
    "no pickle": (b"hello", "no PyTorch state dict"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no PyTorch state dict"),
    "another pickle": (b"\x80\x02K\x01.", "no PyTorch state dict"),
    "a call of the system": (stream_with(name_of("os", "system") + of_all(text("true")) + b"R"), "os.system"),
    "a call of eval": (stream_with(name_of("builtins", "eval") + of_all(text("1")) + b"R"), "builtins.eval"),
    "a name of many lines": (stream_with(name_of("os\x1b[2J", "x" * 500)), "no PyTorch state dict"),
    "a storage class of its own": (stream_with(name_of("torch", "EvilStorage")), "EvilStorage"),
    "a name from the stack": (stream_with(text("os") + text("system") + b"\x93"), "it was not executed"),
    "an instance": (stream_with(b"(ios\nsystem\n"), "it was not executed"),
    "an object": (stream_with(b"(o"), "no PyTorch state dict"),
    "a new object": (stream_with(name_of("collections", "OrderedDict") + b")\x81"), "dict of tensors"),
    "an extension": (stream_with(b"\x82\x01"), "no PyTorch state dict"),
    "an old string": (stream_with(b"S'\\p'\n"), "state dict|dict of tensors"),
    "a call of a storage class": (
        stream_with(name_of("torch", "FloatStorage") + of_all(whole(6)) + b"R"),
        "no PyTorch state dict",
    ),
    "a call of a string": (stream_with(text("collections OrderedDict") + b")R"), "no PyTorch state dict"),
    "a dict from arguments": (
        stream_with(name_of("collections", "OrderedDict") + ONES + b"R"),
        "no PyTorch state dict",
    ),
    "another persistent thing": (stream_with(text("storage") + b"Q"), "not described"),
    "a view of a storage": (
        stream_with(plain_tensor("s", SIX, of_all(text("v"), whole(0), whole(1)))),
        "not described",
    ),
    "a negative count": (stream_with(tensor(storage("s", "f4", -6, b"N"), 0, [], [])), "no PyTorch state dict"),
    "a true count": (
        stream_with(of_all(text("storage"), name_of("torch", "FloatStorage"), text("s"), text("cpu"), b"\x88") + b"Q"),
        "no PyTorch state dict",
    ),
    "a string in place of a tensor": (stream_with(text("weights")), "dict of tensors"),
    "a list in place of the dict": (made.stream(b"]", {}, {}), "dict of tensors"),
    "a key that is no string": (made.stream(b"}" + whole(1) + whole(1) + b"s", {}, {}), "dict of tensors"),
    "a value without a key": (made.stream(b"}(" + text("a") + b"u", {}, {}), "no PyTorch state dict"),
    "a list filled as a dict": (made.stream(b"](" + text("a") + whole(1) + b"u", {}, {}), "no PyTorch state dict"),
    "attributes of a number": (made.stream(whole(1) + b"}b", {}, {}), "dict of tensors"),
    "an end without a beginning": (made.stream(b"t", {}, {}), "no PyTorch state dict"),
    "two of one": (made.stream(b"N\x86", {}, {}), "no PyTorch state dict"),
    "two values": (made.stream(b"NN", {}, {}), "dict of tensors"),
    "an open mark": (made.stream(b"(", {}, {}), "no PyTorch state dict"),
    "a memory of nothing": (made.stream(b"h\x05", {}, {}), "no PyTorch state dict"),
    "nothing remembered": (made.stream(b"q\x05", {}, {}), "no PyTorch state dict"),
    "as deep as it goes": (made.stream(b")" + b"\x85" * 100_000, {}, {}), "dict of tensors"),
    "a bomb of references": (made.stream(b"]" + b"q\x000(h\x00h\x00e" * 3, {}, {}), "no PyTorch state dict"),
    "a list in itself": (made.stream(b"]q\x00(" + b"h\x00" * 1000 + b"e", {}, {}), "dict of tensors"),
    "a size beyond the storage": (stream_with(tensor(GOOD, 0, [7], [1])), "does not fit"),
    "a stride beyond the storage": (stream_with(tensor(GOOD, 0, [2, 3], [4, 1])), "no PyTorch state dict"),
    "an offset beyond the storage": (stream_with(tensor(GOOD, 6, [1], [1])), "no PyTorch state dict"),
    "an offset and a stride": (stream_with(tensor(GOOD, 4, [3], [1])), "no PyTorch state dict"),
    "numbers many times over": (stream_with(tensor(GOOD, 0, [10**12], [0])), "does not fit"),
    "a huge size": (stream_with(tensor(GOOD, 0, [2**200, 2**200], [1, 1])), "does not fit"),
    "a huge stride": (stream_with(tensor(GOOD, 0, [2], [2**200])), "no PyTorch state dict"),
    "an empty tensor of huge sides": (stream_with(tensor(GOOD, 0, [0, 2**62], [1, 1])), "does not fit"),
    "a hundred dimensions": (stream_with(tensor(GOOD, 0, [1] * 100, [1] * 100)), "no PyTorch state dict"),
    "a negative stride": (stream_with(tensor(GOOD, 5, [6], [-1])), "does not fit"),
    "fewer strides than sizes": (stream_with(tensor(GOOD, 0, [2, 3], [1])), "no PyTorch state dict"),
    "a huge storage": (
        made.stream(a_dict({"w": tensor(storage("s", "f4", 2**60, b"N"), 0, [1], [1])}), {"s": b""}, {"s": 2**60}),
        "no PyTorch state dict",
    ),
    "a negative number of numbers": (
        made.stream(a_dict({"w": tensor(GOOD, 0, [6], [1])}), {"s": SIX.tobytes()}, {"s": -6}),
        "truncated",
    ),
    "another number of numbers": (
        made.stream(a_dict({"w": tensor(GOOD, 0, [6], [1])}), {"s": SIX.tobytes()}, {"s": 5}),
        "truncated",
    ),
    "no storage": (made.stream(a_dict({"w": tensor(GOOD, 0, [6], [1])}), {}, {}), "other storages"),
    "a storage too many": (made.stream(b"}", {"s": b""}, {"s": 0}), "other storages"),
    "a storage of two kinds": (
        made.stream(
            a_dict({"v": tensor(GOOD, 0, [1], [1]), "w": tensor(storage("s", "i8", 3, b"N"), 0, [1], [1])}),
            {"s": SIX.tobytes()},
            {"s": 6},
        ),
        "two ways",
    ),
    "something behind the end": (stream_with(tensor(GOOD, 0, [6], [1])) + b"x", "behind its end"),
    "a big-endian machine's": (made.stream(b"}", {}, {}, little=b"\x89"), "big-endian"),
    "a system that is no dict": (made.MAGIC + made.PROTOCOL + b"\x80\x02N.", "no PyTorch state dict"),
    "storages that are no list": (
        made.stream(b"}", {}, {})[: -len(b"\x80\x02](e.")] + b"\x80\x02N.",
        "no PyTorch state dict",
    ),
    "an archive of something else": (made.archive(b"}", {}).replace(b"data.pkl", b"data.txt"), "no PyTorch state dict"),
    "a compressed archive": (made.archive(b"}", {"0": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "an archive of a big-endian machine": (made.archive(b"}", {}, byteorder=b"big"), "big-endian"),
    "an archive without its numbers": (
        made.archive(a_dict({"w": plain_tensor("0", SIX)}), {}),
        "no PyTorch state dict",
    ),
    "an archive with fewer numbers": (
        made.archive(a_dict({"w": plain_tensor("0", SIX)}), {"0": SIX.tobytes()[:-1]}),
        "23 bytes",
    ),
    "an archive of a call": (made.archive(name_of("os", "system") + of_all(text("true")) + b"R", {}), "os.system"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        read_state_dict(data)


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    call = (
        name_of("pathlib", "Path.touch") + of_all(name_of("pathlib", "Path") + of_all(text(str(trace))) + b"R") + b"R"
    )
    for data in (stream_with(call), made.archive(call, {})):
        with pytest.raises(ModelCorrupt, match="was not executed"):
            read_state_dict(data)
    assert not trace.exists()


def test_a_message_holds_no_control_characters() -> None:
    with pytest.raises(ModelCorrupt) as caught:
        read_state_dict(stream_with(name_of("os\x1b[2J", "x" * 500)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_members_of_an_archive_cannot_lie_in_each_other() -> None:
    with zipfile.ZipFile(io.BytesIO(made.archive_of({"w": SIX}))) as good:
        (member,) = (one for one in good.infolist() if one.filename.endswith("data/w"))
    data = bytearray(made.archive_of({"w": SIX}))
    # The central directory says that the storage is as long as the file, which then holds more than itself.
    place = data.rindex(member.filename.encode()) - 46
    data[place + 20 : place + 28] = len(data).to_bytes(4, "little") * 2
    with pytest.raises(ModelCorrupt, match="no PyTorch state dict"):
        read_state_dict(bytes(data))


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_truncation_is_refused(write: Callable[[Mapping[str, NDArray[np.generic]]], bytes]) -> None:
    data = write({name: ARRAYS[name] for name in ("conv.weight", "half")})
    for length in range(len(data)):
        with pytest.raises(ModelCorrupt):
            read_state_dict(data[:length])


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_an_error_or_another_number(
    write: Callable[[Mapping[str, NDArray[np.generic]]], bytes], changes: list[tuple[int, int]]
) -> None:
    data = bytearray(write(ARRAYS))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        found = read_state_dict(bytes(data))
    except ModelCorrupt:
        return
    assert sum(array.size for array in found.values()) <= len(data)
    for array in found.values():
        array.sum()


@pytest.mark.parametrize(
    ("name", "tensors", "numbers"),
    [("2.7_80x80_MiniFASNetV2", 334, 444_978), ("4_0_0_80x80_MiniFASNetV1SE", 370, 444_610)],
)
def test_real_files(test_data: Path, name: str, tensors: int, numbers: int) -> None:
    data = (test_data / "models" / "minifasnet" / f"{name}.pth").read_bytes()
    found = read_state_dict(data)
    assert (len(found), sum(array.size for array in found.values())) == (tensors, numbers)
    assert found["module.conv1.conv.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(array).all() for array in found.values())
    with pytest.raises(ModelCorrupt):
        read_state_dict(data[:-1])


@pytest.mark.parametrize("today", [False, True], ids=["stream", "archive"])
def test_what_torch_saves_is_read(*, today: bool) -> None:
    torch = pytest.importorskip("torch")
    whole_one = torch.arange(24.0).reshape(4, 6)
    state = {
        "empty name": torch.zeros(3, dtype=torch.half),
        "part": whole_one[1:, ::2],
        "turned": whole_one.t(),
        "count": torch.tensor(5),
        **torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=today)
    found = read_state_dict(buffer.getvalue())
    assert list(found) == list(state)
    for key, array in found.items():
        np.testing.assert_array_equal(array, state[key].numpy())
