"""Images from paths, bytes, files, Pillow and arrays as upright RGB pixels, within limits; thread-safe.

The header's size is compared with the limits of the very call before a pixel is decoded.
"""

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeAlias, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from visavis.core.decoding import (
    JpegDecoder,
    check_scans,
    colours,
    decoding,
    find_decoder,
    in_bands,
    orientation_of,
    rgb_pixels,
    scaled,
    upright,
    upright_wh,
)
from visavis.errors import ImageNotFound, ImageTooLarge, ImageUnreadable, InvalidImage, InvalidOption
from visavis.types import ImageSource, SizeWH, UInt8Array

Reduction: TypeAlias = Callable[[SizeWH], float]
"""Given the size of the upright original: how many times smaller it may be decoded, 1 or more."""

_CHUNK_BYTES = 1 << 24
_NAME_LENGTH = 200  # in messages: the end of a longer one


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be; more raises ``ImageTooLarge``.

    Attributes:
        max_bytes: of the encoded image.
        max_pixels: width times height of the original, as its header has them.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        for setting in ("max_bytes", "max_pixels"):
            value = getattr(self, setting)
            if type(value) is not int or value < 1:
                raise InvalidOption(f"{setting} must be a positive int, not {value!r}")


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, C-contiguous, read-only; possibly decoded at a reduced scale. Made from
            an array that already is all this, it shares the caller's memory instead of copying it.
        size_wh: of the upright original, before any reduction.
    """

    pixels: UInt8Array
    size_wh: SizeWH

    def __post_init__(self) -> None:
        read_only = self.pixels.view()  # a view of our own, so that the caller's array stays as it is
        read_only.flags.writeable = False
        object.__setattr__(self, "pixels", read_only)


def no_reduction(_size_wh: SizeWH) -> float:
    """Ask for every pixel."""
    return 1.0


def read_image(
    source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS, reduction: Reduction = no_reduction
) -> Picture:
    """Read an image, upright and in RGB; transparency becomes white, animations their first frame.

    Args:
        source: a path; encoded bytes; a binary file, read from where it stands; a Pillow image; or an array (H, W) or
            (H, W, 1 | 3 | 4), RGB or RGBA, uint8, uint16 or floats from 0 to 1. It is never modified.
        limits: on encoded bytes and on pixels, checked before decoding.
        reduction: lets a JPEG be decoded at 1/2, 1/4 or 1/8, which is several times faster; the result is never
            smaller than the original divided by what this returns. Not asked where it makes no difference.

    Raises:
        ImageNotFound: there is no such file.
        ImageUnreadable: the file or stream cannot be read.
        ImageTooLarge: more bytes or pixels than allowed.
        UnsupportedFormat: not a format that is read here.
        ImageCorrupt: damaged or cut off.
        InvalidImage: no image at all, or an array of the wrong shape, type or range.
    """
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source), limits)
    if isinstance(source, PIL.Image.Image):
        return _from_pillow(source, limits)
    return _decoded(read_encoded(source, limits), name_of(source), limits, reduction)


def name_of(source: object) -> str:
    """Return what messages call an image source: a file's name, or what it is."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)[-_NAME_LENGTH:]
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, PIL.Image.Image):
        return "<Pillow image>"
    name = getattr(source, "name", None)
    return name[-_NAME_LENGTH:] if isinstance(name, str) else "<stream>"


def read_encoded(source: object, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes of an encoded image, which are not looked at: of a path, a binary file, or as they are.

    Raises:
        ImageNotFound: there is no such file.
        ImageUnreadable: the file or stream cannot be read.
        ImageTooLarge: more bytes than allowed.
        InvalidImage: the source is something else.
    """
    name = name_of(source)
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(memoryview(source).nbytes, limits, name)
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        with _open(os.fsdecode(source)) as file:
            _check_bytes(os.fstat(file.fileno()).st_size, limits, name)
            return _read(file, limits, name)
    if hasattr(source, "read"):
        return _read(cast("IO[bytes]", source), limits, name)
    raise InvalidImage(
        f"an image is a path, encoded bytes, a binary file, a Pillow image or an array, not {type(source).__name__}; "
        "lists and tensors become an array with numpy.asarray"
    )


def _open(path: str) -> IO[bytes]:
    name = name_of(path)
    try:
        return open(path, "rb")  # noqa: PTH123 -- Path("") is the current folder
    except (OSError, ValueError) as error:
        if re.match(r"(?i)[a-z][a-z0-9+.-]+://|data:|/9j/|iVBORw0KGgo", path):
            raise InvalidImage(
                "a string is taken for the path of a file; fetch a URL, or decode base64 text, first and pass the bytes"
            ) from None
        if isinstance(error, FileNotFoundError):
            raise ImageNotFound(f"{name}: there is no such file") from error
        raise ImageUnreadable(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _read(file: IO[bytes], limits: ImageLimits, name: str) -> bytes:
    """Read to the end, or one byte beyond the limit; a pipe may give less than it is asked for at a time."""
    chunks: list[bytes] = []
    left = limits.max_bytes + 1
    while left > 0:
        try:
            chunk = file.read(min(left, _CHUNK_BYTES))
        except Exception as error:  # anything: the stream may be of the caller's own making
            raise ImageUnreadable(f"{name}: cannot be read: {error}") from error
        if not isinstance(chunk, bytes | bytearray):
            raise InvalidImage(f"{name}: read() gave {type(chunk).__name__}, not bytes; open the file in mode 'rb'")
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    _check_bytes(limits.max_bytes + 1 - left, limits, name)
    return b"".join(chunks)


def _check_bytes(count: int, limits: ImageLimits, name: str) -> None:
    if count > limits.max_bytes:
        raise ImageTooLarge(f"{name}: {count:,} bytes or more; the limit max_bytes is {limits.max_bytes:,}")


def _check_size(size_wh: SizeWH, limits: ImageLimits, name: str) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise InvalidImage(f"{name}: {width} x {height} pixels is no image")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{name}: {width} x {height} = {width * height:,} pixels; the limit max_pixels is {limits.max_pixels:,}"
        )


def _decoded(data: bytes, name: str, limits: ImageLimits, reduction: Reduction) -> Picture:
    decoder = find_decoder(data, name)
    with decoding(name):
        image = decoder(io.BytesIO(data))
    original_wh = image.size
    _check_size(original_wh, limits, name)
    if isinstance(image, JpegDecoder):
        check_scans(data, name)
        allowed = reduction(upright_wh(image.size, orientation_of(image)))
        scale = max((scale for scale in (2, 4, 8) if scale <= allowed), default=1)
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
    with decoding(name):
        image.load()
        if not isinstance(image, JpegDecoder):
            original_wh = image.size  # HEIF learns its true size, TIFF turns itself upright
            _check_size(original_wh, limits, name)
        pixels = rgb_pixels(image)
    orientation = orientation_of(image)
    image.close()  # so that its memory is free when the pixels are turned
    return Picture(upright(pixels, orientation), upright_wh(original_wh, orientation))


def _from_pillow(image: PIL.Image.Image, limits: ImageLimits) -> Picture:
    name = name_of(image)
    _check_size(image.size, limits, name)
    with decoding(name):
        image.load()
        pixels = rgb_pixels(image)
    orientation = orientation_of(image)
    return Picture(upright(pixels, orientation), upright_wh(image.size, orientation))


def _from_array(array: NDArray[Any], limits: ImageLimits) -> Picture:
    grid = np.atleast_3d(array)
    if array.ndim not in (2, 3) or grid.shape[2] not in (1, 3, 4):
        hint = "; encoded bytes are passed as array.tobytes()" if array.ndim == 1 else ""
        if array.shape[:1] in ((1,), (3,), (4,)):
            hint = "; channels come last: array.transpose(1, 2, 0)"
        raise InvalidImage(f"<array>: expected the shape (H, W) or (H, W, 1 | 3 | 4), got {array.shape}{hint}")
    if array.dtype.kind != "f" and array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise InvalidImage(f"<array>: expected uint8, uint16 or floats from 0 to 1, got {array.dtype}")
    size_wh = (grid.shape[1], grid.shape[0])
    _check_size(size_wh, limits, "<array>")
    if grid.dtype == np.uint8 and grid.shape[2] == len("RGB"):
        return Picture(np.ascontiguousarray(grid), size_wh)
    return Picture(in_bands(size_wh, lambda band: _array_colours(grid[band])), size_wh)


def _array_colours(array: NDArray[Any]) -> UInt8Array:
    """Return (H, W, 1 | 3) uint8 of an array of checked shape and type."""
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # so written that NaN fails
            raise InvalidImage(f"<array>: floats must lie from 0 to 1, these reach from {low:g} to {high:g}")
    if array.dtype != np.uint8:
        array = scaled(array, 0, 1 if array.dtype.kind == "f" else 65535)
    return colours(PIL.Image.fromarray(array)) if array.shape[2] == len("RGBA") else array
