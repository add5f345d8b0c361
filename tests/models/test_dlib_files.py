"""Reading dlib's files: everything is understood, or the error says what is not."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import ModelCorrupt
from visavis.models.catalogue import DLIB
from visavis.models.dlib.detector import read_landmark_forest
from visavis.models.dlib.files import DlibStream
from visavis.models.dlib.networks import read_network
from visavis.models.installation import read_source


@pytest.fixture(scope="module")
def detector() -> bytes:
    return read_source(DLIB.part("detector").files[0])


@pytest.fixture(scope="module")
def landmarks() -> bytes:
    return read_source(DLIB.part("landmarks").files[0])


def serialised_integer(value: int) -> bytes:
    magnitude = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1)))
def test_integers(values: list[int]) -> None:
    stream = DlibStream(b"".join(map(serialised_integer, values)))
    assert stream.integers(len(values)) == tuple(values)
    stream.finish()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)))
def test_numbers(values: list[float]) -> None:
    parts = []
    for value in values:
        mantissa, exponent = np.frexp(value)
        parts += [serialised_integer(int(mantissa * 2**24)), serialised_integer(int(exponent) - 24)]
    data = b"".join(parts)
    assert DlibStream(data).reals(len(values)).tolist() == values
    assert [DlibStream(data[sum(map(len, parts[: 2 * i])) :]).real() for i in range(len(values))] == values


def test_the_networks_are_what_the_catalogue_says(detector: bytes) -> None:
    network, weights = read_network(detector)
    (file,) = DLIB.part("detector").files
    parameters = sum(array.size for own in weights.values() for array in own.values())
    assert (len(network.layers), parameters) == (file.layers, file.parameters)
    first, *_, last = network.layers
    assert weights[first]["kernel"].shape == (16, 3, 5, 5)
    assert weights[last]["kernel"].shape == (1, 45, 9, 9)


@pytest.mark.thorough
def test_the_landmark_forest_is_complete(landmarks: bytes) -> None:
    forest = read_landmark_forest(landmarks)
    assert forest.initial.shape == (5, 2)
    assert forest.leaves.shape == (15, 500, 16, 5, 2)
    assert forest.delta.shape == (15, 800, 2)
    # The mean face: the eyes' outer corners further out than the inner ones, the nose below and between.
    (outer, inner, other_outer, other_inner, nose) = forest.initial
    assert other_outer[0] < other_inner[0] < nose[0] < inner[0] < outer[0]
    assert nose[1] > forest.initial[:4, 1].max()


@pytest.mark.parametrize("length", [0, 1, 50, 94, 117, 118, 5_000, 60_000, 729_939])
def test_a_truncated_network_is_refused(detector: bytes, length: int) -> None:
    with pytest.raises(ModelCorrupt):
        read_network(detector[:length])


@pytest.mark.parametrize("length", [0, 1, 2, 10, 30, 1_000, 100_000])
def test_a_truncated_forest_is_refused(landmarks: bytes, length: int) -> None:
    with pytest.raises(ModelCorrupt):
        read_landmark_forest(landmarks[:length])


def test_bytes_behind_the_end_are_refused(detector: bytes) -> None:
    with pytest.raises(ModelCorrupt):
        read_network(detector + b"\x01")


def test_a_foreign_file_is_named_as_such(landmarks: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="not a dlib network"):
        read_network(landmarks[:100_000])
    with pytest.raises(ModelCorrupt, match="at byte"):
        read_landmark_forest(b"\x89PNG\r\n\x1a\n" * 20)


def test_an_unknown_layer_is_named(detector: bytes) -> None:
    with pytest.raises(ModelCorrupt, match="unknown layer 'con_9'"):
        read_network(detector.replace(b"con_4", b"con_9", 1))


def test_a_count_larger_than_the_file_costs_nothing() -> None:
    with pytest.raises(ModelCorrupt, match="too short"):
        DlibStream(b"\x01\x01").reals(1 << 40)


# Within the structure: the first layers' records and the end of the file, not the raw weights.
PLACES = st.integers(0, 180) | st.integers(4_950, 5_150) | st.integers(729_840, 729_939)


@given(st.lists(st.tuples(PLACES, st.integers(0, 255))))
def test_a_damaged_network_never_raises_anything_else(detector: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(detector)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(ModelCorrupt):
        read_network(bytes(damaged))


def test_infinite_weights_are_refused() -> None:
    infinite = serialised_integer(1) + serialised_integer(32_000)
    with pytest.raises(ModelCorrupt, match="infinite"):
        DlibStream(infinite).real()
    with pytest.raises(ModelCorrupt, match="damaged"):
        DlibStream(infinite).reals(1)


def test_tensors_are_raw_little_endian_floats() -> None:
    header = b"".join(map(serialised_integer, (2, 1, 1, 2, 2)))
    assert DlibStream(header + struct.pack("<4f", 1, -2, 3, 4.5)).tensor().tolist() == [[[[1, -2], [3, 4.5]]]]
    with pytest.raises(ModelCorrupt, match="impossible shape"):
        DlibStream(b"".join(map(serialised_integer, (2, 1, 1, -2, 2)))).tensor()
