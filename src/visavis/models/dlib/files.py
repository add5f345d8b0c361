"""Numbers, texts and arrays as dlib serialises them.

A stream is read to its last byte, every count and shape is checked against the payload, and whatever does not fit is
named with its position: a truncated or foreign file is never half understood.

Source: the serialisation of dlib 19 and 20 (``dlib/serialize.h``, ``dlib/cuda/tensor_tools.h``), as observed in the
files themselves.
"""

from math import prod

import numpy as np

from visavis.errors import ModelCorrupt
from visavis.types import FloatArray

# dlib writes infinities and NaN with exponents of 32,000 and more, and no weight comes near the largest double.
_NON_FINITE_EXPONENT = 900
_LEAST_BYTES_OF_REAL = 4
# More than any of dlib's published layers has; keeps a damaged count from asking for gigabytes.
_MOST_ITEMS = 1 << 27
_MOST_BYTES_OF_INTEGER = 8
_LONGEST_TAG = 64


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
        if control & 0x70 or not 1 <= size <= _MOST_BYTES_OF_INTEGER:
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
        if not 0 <= length <= _LONGEST_TAG:
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
