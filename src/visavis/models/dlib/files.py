"""Reader of dlib's serialised models: networks as lists of layers, landmark regressors as forests.

Source: the serialisation of dlib 19 and 20 (``dlib/serialize.h``, ``dlib/cuda/tensor_tools.h``), as observed in the
files themselves.

A stream is read to its last byte, every count and shape is checked against the payload, and whatever does not
fit is named with its position, so that a truncated or foreign file is never half understood.

Source: the serialisation of dlib 19 and 20 (``dlib/dnn``, ``dlib/image_processing/shape_predictor.h``), as observed in
the files themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.errors import ModelCorrupt
from visavis.types import FloatArray

# dlib writes infinities and NaN with exponents of 32,000 and more, and no weight comes near the largest double.
_NON_FINITE_EXPONENT = 900
_LEAST_BYTES_OF_REAL = 4
# More than any of dlib's published layers has; keeps a damaged count from asking for gigabytes.
_MOST_ITEMS = 1 << 27


class DlibStream:
    """A cursor over serialised bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, what: str) -> ModelCorrupt:
        """Return the error to raise, with the position."""
        return ModelCorrupt(f"{what} at byte {self.at} of {len(self.data)}")

    def take(self, count: int) -> bytes:
        """Read so many raw bytes."""
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise self.fail(f"the file ends where {count} more bytes were expected")
        self.at += count
        return piece

    def integer(self) -> int:
        """Read an integer: a control byte with sign and length, then the magnitude, little-endian."""
        control = self.take(1)[0]
        size = control & 0x0F
        if control & 0x70 or not 1 <= size <= 8:  # noqa: PLR2004  # a 64-bit integer at most
            self.at -= 1
            raise self.fail(f"no integer (control byte 0x{control:02x})")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        """Read so many integers."""
        return tuple(self.integer() for _ in range(count))

    def count(self) -> int:
        """Read how many items follow."""
        value = self.integer()
        if not 0 <= value <= _MOST_ITEMS:
            raise self.fail(f"an impossible count of {value}")
        return value

    def expect(self, wanted: int, what: str) -> None:
        """Read an integer that must have one value."""
        value = self.integer()
        if value != wanted:
            raise self.fail(f"{what} is {value} instead of {wanted}")

    def boolean(self) -> bool:
        """Read a truth value: the character 0 or 1."""
        byte = self.take(1)
        if byte not in b"01":
            raise self.fail(f"no boolean (byte 0x{byte[0]:02x})")
        return byte == b"1"

    def string(self) -> str:
        """Read a layer tag: its length, then its characters."""
        length = self.integer()
        if not 0 <= length <= 64:  # noqa: PLR2004  # tags are short
            raise self.fail("no layer tag")
        return self.take(length).decode("latin-1")

    def real(self) -> float:
        """Read a number: integer mantissa, integer exponent of 2."""
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) >= _NON_FINITE_EXPONENT:
            raise self.fail("a number that is infinite, or nearly so")
        return float(mantissa) * 2.0**exponent

    def reals(self, count: int) -> FloatArray:
        """Read so many numbers (count,): in one loop, as the landmark file holds more than a million."""
        data, at = self.data, self.at
        if not 0 <= count <= (len(data) - at) // _LEAST_BYTES_OF_REAL:
            raise self.fail(f"the file is too short for a list of {count} numbers")
        mantissas, exponents = [0] * count, [0] * count
        try:
            for index in range(count):
                control = data[at]
                end = at + 1 + (control & 0x0F)
                mantissa = int.from_bytes(data[at + 1 : end], "little")
                mantissas[index] = -mantissa if control & 0x80 else mantissa
                control = data[end]
                at = end + 1 + (control & 0x0F)
                exponent = int.from_bytes(data[end + 1 : at], "little")
                exponents[index] = -exponent if control & 0x80 else exponent
        except IndexError:
            self.at = len(data)
            raise self.fail("the file ends within a list of numbers") from None
        if at > len(data) or any(abs(exponent) >= _NON_FINITE_EXPONENT for exponent in exponents):
            raise self.fail("a list of numbers is damaged")
        self.at = at
        return np.ldexp(np.array(mantissas, np.float64), np.array(exponents, np.int32)).astype(np.float32)

    def tensor(self) -> FloatArray:
        """Read a tensor (num, channels, rows, cols) of raw float32."""
        self.expect(2, "the version of a tensor")
        shape = self.integers(4)
        if min(shape) < 0 or prod(shape) > _MOST_ITEMS:
            raise self.fail(f"a tensor of impossible shape {shape}")
        return np.frombuffer(self.take(4 * prod(shape)), "<f4").astype(np.float32).reshape(shape)

    def alias(self) -> tuple[int, ...]:
        """Read the shape of a view into the parameters."""
        self.expect(1, "the version of a tensor alias")
        return self.integers(4)

    def matrix(self) -> FloatArray:
        """Read a matrix (rows, cols), whose sizes are stored negated."""
        rows, cols = -self.integer(), -self.integer()
        if min(rows, cols) < 1 or rows * cols > _MOST_ITEMS:
            raise self.fail(f"a matrix of impossible shape {(rows, cols)}")
        return self.reals(rows * cols).reshape(rows, cols)

    def finish(self) -> None:
        """Insist that nothing is left."""
        if self.at != len(self.data):
            raise self.fail("the model ends but the file goes on")


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Correlate with ``weights`` (out, in, rows, cols), add ``bias`` (out,)."""

    weights: FloatArray
    bias: FloatArray
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Multiply each channel by ``gamma`` (channels,), add ``beta`` (channels,)."""

    gamma: FloatArray
    beta: FloatArray


@dataclass(frozen=True, slots=True)
class Relu:
    """Replace negative values by zero."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Take the maximum or mean of each window; a window of (0, 0) is the whole plane."""

    kind: str
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AddPrevious:
    """Add the block's shortcut, the smaller of the two zero-padded at the end of every axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Multiply by ``weights`` (inputs, outputs)."""

    weights: FloatArray


Layer: TypeAlias = Conv | Affine | Relu | Pool | AddPrevious | Dense


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network in forward order. Input: (pixel - mean_rgb) / 256, RGB."""

    mean_rgb: FloatArray
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Count the learned numbers that inference uses."""
        arrays = (getattr(layer, name, None) for layer in self.layers for name in ("weights", "bias", "gamma", "beta"))
        return sum(array.size for array in arrays if array is not None)


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkForest:
    """An ensemble of regression trees: C cascades of T trees of depth 4, over F feature points, for P landmarks.

    Attributes:
        initial: (P, 2) mean shape in box coordinates: (0, 0) top-left, (1, 1) bottom-right.
        split_a, split_b: (C, T, 15) which two features a split compares, in breadth-first order.
        threshold: (C, T, 15) float32: go to child 2i + 1 where a - b exceeds it, else to 2i + 2.
        leaves: (C, T, 16, P, 2) what each leaf adds to the shape.
        anchor: (C, F) the landmark that a feature point hangs on.
        delta: (C, F, 2) its offset from that landmark, in box coordinates of the mean shape.
    """

    initial: FloatArray
    split_a: NDArray[np.int16]
    split_b: NDArray[np.int16]
    threshold: FloatArray
    leaves: FloatArray
    anchor: NDArray[np.int16]
    delta: FloatArray


def read_network(data: bytes) -> Network:
    """Read a serialised network.

    Raises:
        ModelCorrupt: the bytes are not such a network, or not all of it.
    """
    stream = DlibStream(data)
    name = _find_input(stream)
    mean_rgb = np.array([stream.real() for _ in range(3)], np.float32)
    if name == "input_rgb_image_sized":
        stream.integers(2)  # rows and cols of the input: the caller's contract says so too
    layers: list[Layer] = []
    while stream.at < len(data):
        layers.append(_read_layer(stream))
        _read_training_state(stream, first=len(layers) == 1)
    stream.finish()
    if not layers:
        raise stream.fail("no layers")
    return Network(mean_rgb, tuple(layers))


def _find_input(stream: DlibStream) -> str:
    """Move behind the tag of the input layer, over the loss layer and the versions of the nested wrappers."""
    for name in ("input_rgb_image_sized", "input_rgb_image_pyramid"):
        tag = bytes([1, len(name)]) + name.encode()
        at = stream.data.find(tag)
        if at >= 0:
            stream.at = at + len(tag)
            return name
    raise stream.fail("this is not a dlib network: no RGB input layer found")


def _read_layer(stream: DlibStream) -> Layer:
    start = stream.at
    tag = stream.string()
    match tag:
        case "con_4":
            layer: Layer = _read_conv(stream)
        case "affine_":
            layer = _read_affine(stream)
        case "bn_con2":
            layer = _read_batch_norm(stream)
        case "relu_":
            layer = Relu()
        case "max_pool_2" | "avg_pool_2":
            numbers = stream.integers(6)
            layer = Pool(tag[:3], numbers[0:2], numbers[2:4], numbers[4:6])  # type: ignore[arg-type]
        case "add_prev_":
            layer = AddPrevious()
        case "fc_2":
            layer = _read_dense(stream)
        case _:
            stream.at = start
            raise stream.fail(f"unknown layer {tag!r}")
    return layer


def _read_training_state(stream: DlibStream, *, first: bool) -> None:
    """Read over what follows each layer: flags and buffers that only training uses, empty in a published model."""
    for _ in range(3):
        stream.boolean()
    for _ in range(3):
        if stream.tensor().size:
            raise stream.fail("a training buffer that is not empty")
    if first:  # only the layer on top of the input carries a factor for samples made of several images
        stream.expect(1, "the sample expansion factor")


def _read_conv(stream: DlibStream) -> Conv:
    params = stream.tensor().reshape(-1)
    filters, rows, cols, stride_y, stride_x, padding_y, padding_x = stream.integers(7)
    weights_shape, bias_shape = stream.alias(), stream.alias()
    for _ in range(4):
        stream.real()  # training multipliers
    fits = weights_shape[0] == filters == prod(bias_shape) and weights_shape[2:] == (rows, cols)
    positive = min(*weights_shape, stride_y, stride_x) > 0 <= min(padding_y, padding_x)
    if not (fits and positive and prod(weights_shape) + filters == params.size):
        raise stream.fail(f"a convolution of {filters} filters whose {params.size} parameters do not fit")
    weights, bias = params[:-filters].reshape(weights_shape), params[-filters:]
    return Conv(weights, bias, (stride_y, stride_x), (padding_y, padding_x))


def _read_affine(stream: DlibStream) -> Affine:
    params = stream.tensor().reshape(-1)
    gamma, beta = stream.alias(), stream.alias()
    stream.expect(0, "the mode of an affine layer")  # 0: per channel
    return _split_affine(stream, params, gamma, beta)


def _read_batch_norm(stream: DlibStream) -> Affine:
    """Read a batch normalisation as the affine map that it is at inference."""
    params = stream.tensor().reshape(-1)
    gamma, beta = stream.alias(), stream.alias()
    stream.tensor()  # the last batch's means and inverse deviations: training only
    stream.tensor()
    mean, variance = stream.tensor().reshape(-1), stream.tensor().reshape(-1)
    stream.integers(2)  # updates and window of the running statistics
    for _ in range(4):
        stream.real()
    epsilon = stream.real()
    trained = _split_affine(stream, params, gamma, beta)
    if mean.size != trained.gamma.size or variance.size != trained.gamma.size or variance.min() < 0:
        raise stream.fail("a batch normalisation whose statistics do not fit")
    scale = trained.gamma / np.sqrt(variance.astype(np.float64) + epsilon)
    return Affine(scale.astype(np.float32), (trained.beta - mean * scale).astype(np.float32))


def _split_affine(stream: DlibStream, params: FloatArray, gamma: tuple[int, ...], beta: tuple[int, ...]) -> Affine:
    channels = prod(gamma)
    if prod(beta) != channels or params.size != 2 * channels or not channels:
        raise stream.fail(f"an affine layer of {channels} channels with {params.size} parameters")
    return Affine(params[:channels], params[channels:])


def _read_dense(stream: DlibStream) -> Dense:
    outputs, inputs = stream.integers(2)
    params = stream.tensor()
    weights_shape, bias_shape = stream.alias(), stream.alias()
    stream.integer()  # with or without bias: the shape has said so
    for _ in range(4):
        stream.real()  # training multipliers
    if weights_shape[:2] != (inputs, outputs) or any(bias_shape) or params.size != outputs * inputs:
        raise stream.fail(f"a dense layer of {inputs} x {outputs} with {params.size} parameters")
    return Dense(params.reshape(inputs, outputs))


def read_landmark_forest(data: bytes) -> LandmarkForest:
    """Read a serialised ``shape_predictor`` whose trees have depth 4.

    Raises:
        ModelCorrupt: the bytes are not such a regressor, or not all of it.
    """
    stream = DlibStream(data)
    stream.expect(1, "the version of a shape predictor")
    initial = stream.matrix()
    cascades = stream.count()
    if cascades == 0 or initial.size % 2:
        raise stream.fail(f"a shape predictor of {cascades} cascades and {initial.size} coordinates")
    forests = [_read_cascade(stream, initial.size) for _ in range(cascades)]
    anchors = _rectangular(stream, [stream.integers(stream.count()) for _ in range(stream.count())])
    deltas = _rectangular(stream, [stream.reals(2 * stream.count()) for _ in range(stream.count())])
    stream.finish()
    points = initial.size // 2
    split_a, split_b, threshold, leaves = (_rectangular(stream, [f[i] for f in forests]) for i in range(4))
    features = anchors.shape[-1] if anchors.ndim == 2 else 0  # noqa: PLR2004
    if not (len(anchors) == len(deltas) == cascades and deltas.shape[-1] == 2 * features > 0):
        raise stream.fail("the feature points do not fit the cascades")
    if min(split_a.min(), split_b.min()) < 0 or max(split_a.max(), split_b.max()) >= features:
        raise stream.fail("a split compares a feature that there is not")
    if anchors.min() < 0 or anchors.max() >= points:
        raise stream.fail("a feature hangs on a landmark that there is not")
    return LandmarkForest(
        initial=initial.reshape(points, 2),
        split_a=split_a.astype(np.int16),
        split_b=split_b.astype(np.int16),
        threshold=threshold.astype(np.float32),
        leaves=leaves.astype(np.float32).reshape(*leaves.shape[:3], points, 2),
        anchor=anchors.astype(np.int16),
        delta=deltas.astype(np.float32).reshape(cascades, features, 2),
    )


def _read_cascade(stream: DlibStream, coordinates: int) -> tuple[NDArray[np.float64], ...]:
    """Read one cascade's trees: (T, 15) feature a, feature b and threshold; (T, 16, coordinates) leaves."""
    splits, leaves = [], []
    for _ in range(stream.count()):
        stream.expect(15, "the number of splits of a tree")
        splits.append([(stream.integer(), stream.integer(), stream.real()) for _ in range(15)])
        stream.expect(16, "the number of leaves of a tree")
        leaves.append([stream.matrix().reshape(-1) for _ in range(16)])
    table = np.array(splits, np.float64)
    values = _rectangular(stream, leaves)
    if table.ndim != 3 or values.shape[-1] != coordinates:  # noqa: PLR2004
        raise stream.fail("a cascade without trees, or whose leaves do not fit the shape")
    return table[..., 0], table[..., 1], table[..., 2], values


def _rectangular(stream: DlibStream, rows: Sequence[object]) -> NDArray[np.float64]:
    try:
        return np.array(rows, np.float64)
    except ValueError:
        raise stream.fail("lists of unequal length where a table was expected") from None
