"""Weights files of Keras: whole, in every form that Keras had, and hostile."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_nets import Array, LayerWeights, keras_file

from visavis import ModelCorrupt, RuntimeFailed, RuntimeMissing
from visavis.models.keras import weights as keras_weights
from visavis.models.keras.reading import layers_of
from visavis.models.keras.weights import read_keras

LAYERS: LayerWeights = {
    "input": {},
    "conv": {"conv/kernel:0": np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2), "conv/bias:0": np.ones(2)},
    "stage/conv": {"stage/conv/kernel:0": np.zeros((1, 1, 2, 1), np.float32)},
    "stage": {"stage/gamma:0": np.array([1, 2], np.float32)},
}
WHOLE = keras_file(LAYERS)


def plain(layers: Any) -> dict[str, dict[str, list[float]]]:  # noqa: ANN401  # either form of layers
    """Return layers as lists, which can be compared."""
    return {name: {key: np.asarray(array).tolist() for key, array in weights.items()} for name, weights in layers}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(keras_file({}), id="none"),
        pytest.param(WHOLE, id="weights"),
        pytest.param(keras_file(LAYERS, group="model_weights"), id="a whole model"),
        pytest.param(keras_file(LAYERS, chunked_names=3), id="more names than an attribute holds"),
    ],
)
def test_every_form(file: bytes) -> None:
    read = read_keras(file)
    assert plain((layer.name, layer.weights) for layer in read) in ({}, plain(LAYERS.items()))
    assert all(array.dtype == np.float32 for layer in read for array in layer.weights.values())
    assert [layer.name for layer in read] in ([], list(LAYERS))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_every_width_of_numbers(dtype: str) -> None:
    file = keras_file({"conv": {"conv/kernel:0": np.array([0.5, -2], dtype)}})
    assert plain((layer.name, layer.weights) for layer in read_keras(file)) == {"conv": {"conv/kernel:0": [0.5, -2]}}


def test_names_of_any_length_are_read(tmp_path: Path) -> None:
    """As h5py has written them since its version 3."""
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["conv", "b" * 1000]
        for name in ("conv", "b" * 1000):
            file.create_group(name).attrs["weight_names"] = [b"w:0"]
            file[name]["w:0"] = np.array([1], np.float32)
    assert [layer.name for layer in read_keras(path.read_bytes())] == ["conv", "b" * 1000]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x89HDF\r\n\x1a\n", id="a signature"),
        pytest.param(b"PK\x03\x04", id="a zip archive"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(WHOLE[:-1], id="one byte short"),
        pytest.param(WHOLE[:100], id="a beginning"),
    ],
)
def test_no_such_file(data: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="HDF5"):
        read_keras(data)
    with pytest.raises(ModelCorrupt, match="HDF5"):
        layers_of(data)


def rewritten(change: Callable[[h5py.File], None], data: bytes = WHOLE) -> bytes:
    """Return a file after a change."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


def replaced(make: Callable[[h5py.Group], object]) -> Callable[[h5py.File], None]:
    """Return a change that puts something else in the place of a bias."""

    def change(file: h5py.File) -> None:
        group = file["conv/conv"]
        del group["bias:0"]
        made = make(group)
        if made is not None:
            group["bias:0"] = made

    return change


def no_names(file: h5py.File) -> None:
    del file.attrs["layer_names"]


def of_names(names: Any) -> Callable[[h5py.File], None]:  # noqa: ANN401  # whatever an attribute may hold
    return lambda file: file.attrs.__setitem__("layer_names", names)


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (2,), "f4")
    group.create_virtual_dataset("bias:0", layout)


def external(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (2,), "f4", external=[("/etc/passwd", 0, 8)])


def huge(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (2**40, 2**20), "f4")


def zipped(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (9,), "f4", compression="gzip")


def chunked(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (9,), "f4", chunks=(2**20,), maxshape=(None,))


def folder(group: h5py.Group) -> None:
    group.create_group("bias:0")


def reference(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (2,), h5py.ref_dtype, data=[group.ref, group.ref])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(no_names, "'model_weights' is missing", id="no names"),
        pytest.param(of_names(np.array([b"none"])), "'none' is missing", id="a name of nothing"),
        pytest.param(of_names(np.array([b"conv", b"conv"])), "twice", id="a name twice"),
        pytest.param(of_names(np.array([b"x" * 2000])), "longer", id="a long name"),
        pytest.param(of_names(np.array([b"\xff"])), "cannot be read", id="a name that is no text"),
        pytest.param(of_names(np.array([b""])), "is missing", id="an empty name"),
        pytest.param(of_names(np.array([b".."])), "is missing", id="the folder above"),
        pytest.param(of_names(np.array([b"/conv"])), "is missing", id="a path from the root"),
        pytest.param(of_names(np.array([b"conv/./conv"])), "is missing", id="a path that stays"),
        pytest.param(of_names(np.array([1, 2])), "no list of names", id="numbers"),
        pytest.param(of_names("conv"), "no list of names", id="one name"),
        pytest.param(of_names(h5py.Empty("S1")), "cannot be read|no list", id="no value"),
        pytest.param(of_names(np.array([[b"conv"]])), "no list of names", id="a table of names"),
        pytest.param(of_names(np.zeros((60,), "S1000")), "twice", id="the most names in an attribute"),
        pytest.param(of_names(np.array([b"conv/conv"])), "no weight_names", id="a group without weights"),
        pytest.param(of_names(np.array([b"conv/conv/bias:0"])), "no weight_names", id="an array for a group"),
        pytest.param(replaced(lambda _: None), "'conv/bias:0' is missing", id="no array"),
        pytest.param(replaced(lambda _: h5py.ExternalLink("/etc/passwd", "/x")), "is a link", id="another file"),
        pytest.param(replaced(lambda _: h5py.SoftLink("/conv/conv/kernel:0")), "is a link", id="a soft link"),
        pytest.param(replaced(lambda _: h5py.SoftLink("/conv/conv/bias:0")), "is a link", id="a link to itself"),
        pytest.param(replaced(virtual), "chunked, filtered or elsewhere", id="virtual"),
        pytest.param(replaced(external), "chunked, filtered or elsewhere", id="external"),
        pytest.param(replaced(reference), "holds object", id="references"),
        pytest.param(replaced(folder), "is no array", id="a group"),
        pytest.param(replaced(lambda _: np.dtype("f4")), "is no array", id="a type"),
        pytest.param(replaced(lambda _: h5py.Empty("f4")), "is no array", id="nothing"),
        pytest.param(replaced(lambda _: np.array([1, 2])), "holds int64", id="whole numbers"),
        pytest.param(replaced(lambda _: np.array([1j])), "holds complex128", id="complex numbers"),
        pytest.param(replaced(lambda _: np.zeros(2, [("a", "f4")])), "holds", id="records"),
        pytest.param(replaced(lambda _: np.zeros(2, "g")), "holds float", id="long numbers"),
        pytest.param(replaced(lambda _: np.array([b"ab"])), "holds", id="text"),
        pytest.param(replaced(huge), "more than the file can hold", id="huge"),
        pytest.param(replaced(zipped), "chunked, filtered", id="gzip"),
        pytest.param(replaced(chunked), "chunked, filtered", id="chunks"),
        pytest.param(replaced(lambda _: np.zeros((1,) * 9, "f4")), "more than the file can hold", id="dimensions"),
        pytest.param(replaced(lambda _: np.array([np.nan])), "not finite", id="no number"),
        pytest.param(replaced(lambda _: np.array([1e300])), "not finite", id="larger than float32"),
    ],
)
def test_what_keras_never_writes(change: Callable[[h5py.File], None], message: str) -> None:
    with pytest.raises(ModelCorrupt, match=message):
        layers_of(rewritten(change))


def test_one_array_under_many_names_is_read_no_oftener_than_fits() -> None:
    """A file of a few kilobytes must not become gigabytes."""

    def change(file: h5py.File) -> None:
        group = file["conv"]
        group["big"] = np.zeros(1000, np.float32)
        for i in range(9):
            group[f"again{i}"] = group["big"]
        group.attrs["weight_names"] = np.array([f"again{i}".encode() for i in range(9)])

    with pytest.raises(ModelCorrupt, match="more than the file can hold"):
        layers_of(rewritten(change))


def test_more_arrays_than_a_file_can_hold() -> None:
    """Each may be empty, and there may be any number of ways to one."""

    def change(file: h5py.File) -> None:
        names = [str(i).encode() for i in range(100)]
        for name in names:
            file["conv"][name] = np.zeros(0, np.float32)
        file["conv"].attrs["weight_names"] = np.array(names)
        file["loop"] = file["/"]
        file.attrs["layer_names"] = np.array([b"loop/" * i + b"conv" for i in range(60)])

    with pytest.raises(ModelCorrupt, match="more than the file can hold"):
        layers_of(rewritten(change))


@pytest.mark.thorough
def test_a_file_that_the_library_reads_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heap has a piece of no size, which is followed by itself."""
    monkeypatch.setattr(keras_weights, "_TIME_LIMIT_S", 2.0)
    data = rewritten(lambda file: file.attrs.__setitem__("layer_names", ["conv", "stage"]))
    piece = data.index(b"GCOL\x01") + 16
    with pytest.raises(ModelCorrupt, match="cannot be read in 2 seconds"):
        read_keras(data[:piece] + bytes(16) + data[piece + 16 :])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit it")
def test_a_file_for_which_the_library_wants_gigabytes() -> None:
    """The length of a name is told twice, and one of the two is believed."""
    data = rewritten(lambda file: file.attrs.__setitem__("layer_names", ["conv", "stage"]))
    heap = data.index(b"GCOL\x01").to_bytes(8, "little")
    lengths = data.index(heap) - 4
    with pytest.raises(ModelCorrupt):
        read_keras(data[:lengths] + b"\xff\xff\xff\xff" + data[lengths + 4 :])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "crashes"),
        ("print('{}'); print('12345')", "confuses"),
        ("print('{\"conv\": {\"w\": [2]}}'); print('1234', end='')", "confuses"),
    ],
)
def test_a_reader_that_crashes(program: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_weights, "_PROGRAM", program)
    with pytest.raises(ModelCorrupt, match=message):
        read_keras(WHOLE)


def test_a_reader_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(keras_weights, "_PROGRAM", "import no_such_module")
        with pytest.raises(RuntimeFailed, match="no_such_module"):
            read_keras(WHOLE)
        patch.setattr(keras_weights, "_PROGRAM", "pass")
        with pytest.raises(RuntimeFailed, match="is no Python"):
            read_keras(WHOLE)
    for executable in ("/no/such/python", "", "/bin/true"):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(RuntimeFailed, match="no process"):
            read_keras(WHOLE)


def test_a_file_that_contains_itself() -> None:
    def change(file: h5py.File) -> None:
        file["conv/conv/loop"] = file["conv"]
        file.attrs["layer_names"] = np.array([("conv/" + "conv/loop/" * 90).rstrip("/").encode()])

    assert len(layers_of(rewritten(change))) == 1


def test_without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RuntimeMissing, match=r"pip install visavis\[keras\]"):
        read_keras(WHOLE)


def survives(data: bytes) -> None:
    """Read a file, which may be a whole one all the same."""
    try:
        layers = read_keras(data)
    except ModelCorrupt:
        return
    arrays: list[Array] = [array for layer in layers for array in layer.weights.values()]
    assert sum(array.size for array in arrays) <= len(data)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncations(part: float) -> None:
    survives(WHOLE[: int(part * len(WHOLE))])


@settings(max_examples=effort(6, 60))  # each in a process of its own
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage(bytes_at: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for at, byte in bytes_at:
        data[at] = byte
    survives(bytes(data))
