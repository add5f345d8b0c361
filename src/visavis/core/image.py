"""Images from paths, bytes, files, Pillow and arrays as upright RGB pixels, within limits; thread-safe.

The header's size is compared with the limits of the very call before a pixel is decoded.
"""

import base64
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, TypeAlias, cast

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.ExifTags import Base as ExifTag
from PIL.ImageFile import ImageFile

from visavis.core import formats
from visavis.core.formats import Encoded, JpegDecoder, TiffDecoder, WebPDecoder, check_size, decoding
from visavis.core.orientation import turned_back
from visavis.errors import ImageNotFound, ImageTooLarge, ImageUnreadable, InvalidImage, InvalidOption
from visavis.options import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS
from visavis.types import FloatArray, ImageSource, SizeWH, UInt8Array

_BAND_PIXELS = 24_000  # in 4 bytes each: below the 128 KiB from which malloc fetches, and clears, fresh pages
_WHITES = (1.0, *(2.0**bits - 1 for bits in (8, 9, 10, 11, 12, 16)))
_NEARLY_INFINITE = 1e15  # float32 could not scale much more without overflow
_SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height
_MIRRORED = (2, 4, 5, 7)
_TURNS = {  # what undoes an EXIF orientation, once it is not mirrored: one less than so many quarter turns clockwise
    **dict.fromkeys((3, 4), cv2.ROTATE_180),
    **dict.fromkeys((6, 7), cv2.ROTATE_90_CLOCKWISE),
    **dict.fromkeys((5, 8), cv2.ROTATE_90_COUNTERCLOCKWISE),
}


# What holds EXIF or XMP: of Pillow's `info`, as JPEG, PNG and WebP have them, and as ImageMagick writes them into PNG.
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp")
_PROFILES = ("Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp")
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s{,9}=\s{,9}["']|(?:\s[^<>]{,99})?>)\s{,9}([1-8])\s{,9}["'<]""")
_EXIF_PREFIXES = re.compile(rb"(?:Exif\0.){,4}", re.DOTALL)
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i"}  # by the numbers of their types


def orientation_of(image: PIL.Image.Image) -> int:
    """Return the orientation of an image's EXIF, or else of its XMP, 1 to 8; 1 where there is none that makes sense.

    A TIFF's own directory has what EXIF has. Pillow finds the metadata; its own reader of EXIF warns of every odd
    entry, of which a file may have thousands.
    """
    own = image.tag_v2.get(ExifTag.Orientation) if isinstance(image, TiffDecoder) else None
    own = own[0] if isinstance(own, bytes) and own else own  # as Pillow reads a BYTE
    blocks = list(_metadata(image))
    in_xmp = (int(found[1]) for found in map(_XMP_ORIENTATION.search, blocks) if found)
    found = chain([own if isinstance(own, int) else 0], map(_exif_orientation, blocks), in_xmp)
    return next((orientation for orientation in found if orientation in range(1, 9)), 1)


def _metadata(image: PIL.Image.Image) -> Iterator[bytes]:
    """Yield what may be EXIF or XMP, as bytes.

    Source: ImageMagick's profiles in PNG: a name and a length, then hexadecimal digits.
    """
    for name in (*_METADATA, *_PROFILES):
        block = image.info.get(name)
        with suppress(ValueError):
            if isinstance(block, str):
                yield bytes.fromhex("".join(block.split(maxsplit=2)[2:])) if name in _PROFILES else block.encode()
            elif isinstance(block, bytes):
                yield block
    yield from (body for name, body in getattr(image, "applist", ()) if name == "APP1")  # of a JPEG, even if it is odd


def _exif_orientation(block: bytes) -> int:
    """Return the orientation that EXIF has; 0 where there is none.

    Source: Exif 2.3, 4.5.2 and 4.6.4: a TIFF structure, whose first directory may hold the tag. Its prefix is met
    twice, and padded otherwise.
    """
    prefixes = _EXIF_PREFIXES.match(block)
    tiff = block[prefixes.end() :] if prefixes else block
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    with suppress(struct.error):
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        entries = tiff[start + 2 : start + 2 + 12 * count]
        for tag, kind, value in struct.iter_unpack(order + "HH4x4s", entries[: len(entries) // 12 * 12]):
            if tag == ExifTag.Orientation and kind in _TIFF_INTEGERS:
                return int(struct.unpack_from(order + _TIFF_INTEGERS[kind], value)[0])
    return 0


def upright_wh(size_wh: SizeWH, orientation: int) -> SizeWH:
    """Return the size that an image has once its EXIF orientation is undone."""
    width, height = size_wh
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def upright(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Undo an EXIF orientation, with OpenCV, which turns images several times faster than NumPy."""
    if orientation in _MIRRORED:
        pixels = cv2.flip(pixels, 1)
    return cast("UInt8Array", cv2.rotate(pixels, _TURNS[orientation])) if orientation in _TURNS else pixels


def _bands(size_wh: SizeWH) -> list[slice]:
    width, height = size_wh
    rows = max(1, _BAND_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def in_bands(size_wh: SizeWH, rgb: Callable[[slice], UInt8Array]) -> UInt8Array:
    """Collect what ``rgb`` makes of a band of rows, (rows, W, 1 | 3), into one contiguous (H, W, 3)."""
    pixels = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    for band in _bands(size_wh):
        part = rgb(band)
        if part.shape[2] == 1:  # which NumPy would spread several times more slowly
            cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_GRAY2RGB, dst=pixels[band])
        else:
            pixels[band] = part
    return pixels


def rgb_pixels(image: PIL.Image.Image) -> UInt8Array:
    """Return the pixels of a loaded Pillow image of any mode."""
    if not image.mode.startswith(("I", "F")):
        bands = (np.asarray(_rgba(_rows(image, band))) for band in _bands(image.size))
        counts = image.has_transparency_data and _alpha_counts(bands)
        return in_bands(image.size, lambda band: colours(_rows(image, band), alpha_counts=counts))
    black, white = _levels(_numbers(image, band) for band in _bands(image.size))
    return in_bands(image.size, lambda band: scaled(_numbers(image, band), black, white))


def _rows(image: PIL.Image.Image, band: slice) -> PIL.Image.Image:
    whole = band == slice(0, image.height)
    return image if whole else image.crop((0, band.start, image.width, band.stop))


def _rgba(image: PIL.Image.Image) -> PIL.Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _alpha_counts(bands: Iterable[UInt8Array]) -> bool:
    """Tell whether alpha of RGBA counts: programs that never set it let it show next to nothing of a picture."""
    first, is_picture = None, False
    for band in bands:
        pixels = np.ascontiguousarray(band).view("<u4")  # of which alpha is the highest byte
        if pixels.max() >= 2 << 24:
            return True
        first = pixels[0, 0, 0] if first is None else first
        is_picture = is_picture or bool(((pixels ^ first) & 0xFFFFFF).any())
    return not is_picture


def colours(image: PIL.Image.Image, *, alpha_counts: bool) -> UInt8Array:
    """Return (H, W, 3) RGB of an image of 8 bits, over white where it is transparent, if that counts."""
    if image.has_transparency_data:
        rgba = _rgba(image)
        shows = alpha_counts and rgba.getchannel("A").getextrema() != (255, 255)
        image = PIL.Image.new("RGB", image.size, "white") if shows else rgba.convert("RGB")
        if shows:
            image.paste(rgba, mask=rgba)
    elif image.mode == "LAB":  # which Pillow converts with colour profiles only, and hands out with signed a and b
        return cast(
            "UInt8Array", cv2.cvtColor(np.asarray(image) ^ np.array([0, 128, 128], np.uint8), cv2.COLOR_LAB2RGB)
        )
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _numbers(image: PIL.Image.Image, band: slice) -> NDArray[Any]:
    """Return (rows, W, 1) values of an image of numbers; NaN, infinity and what is nearly so become 0."""
    values = np.asarray(_rows(image, band))[..., np.newaxis]
    return np.where(np.abs(values) < _NEARLY_INFINITE, values, 0) if values.dtype.kind == "f" else values


def _levels(bands: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Guess black and white of numbers that declare neither: a usual range if it holds them all, else their own.

    The usual ranges are those from 0 to 1, or to what 8 to 12 bits hold, as cameras write them into 16, or 16 bits.
    """
    ranges = [(float(values.min()), float(values.max())) for values in bands]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    usual = [(0.0, white) for white in _WHITES if low >= 0 and high <= white]
    return usual[0] if usual else (low, max(high, low + 1))


def scaled(values: NDArray[Any], black: float, white: float) -> UInt8Array:
    """Map ``black`` to 0 and ``white`` to 255."""
    above_black = values.astype(np.float32) - np.float32(black)
    scaled: UInt8Array = np.rint(above_black * np.float32(255 / (white - black))).astype(np.uint8)
    return scaled


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

    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS

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
        orientation: of the stored image, 1 to 8, as its EXIF or XMP says.
    """

    pixels: UInt8Array
    size_wh: SizeWH
    orientation: int = 1

    def __post_init__(self) -> None:
        read_only = self.pixels.view()  # a view of our own, so that the caller's array stays as it is
        read_only.flags.writeable = False
        object.__setattr__(self, "pixels", read_only)

    def stored(self, points: FloatArray) -> FloatArray:
        """Take points (N, 2) of the upright original to where they lie in the image as it is stored."""
        size_wh = upright_wh(self.size_wh, self.orientation)
        lying = turned_back(points, _TURNS.get(self.orientation, -1) + 1, size_wh)
        if self.orientation in _MIRRORED:
            lying[:, 0] = size_wh[0] - 1 - lying[:, 0]
        return lying


def no_reduction(_size_wh: SizeWH) -> float:
    """Ask for every pixel."""
    return 1.0


def read_image(
    source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS, reduction: Reduction = no_reduction
) -> Picture:
    """Read an image, upright and in RGB; transparency becomes white, animations their first frame.

    A Pillow image that was made of another one keeps that one's EXIF, whatever was done to its pixels: it is upright
    where EXIF says that it lies and it is higher than wide, and turned as EXIF says in all other cases.

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
    return _from_encoded(read_encoded(source, limits), name_of(source), limits, reduction)


def preview(source: ImageSource, side: int, *, limits: ImageLimits = DEFAULT_LIMITS) -> Picture:
    """Read an image, and make it smaller where a side is longer than so many pixels; errors as in ``read_image``."""
    picture = read_image(source, limits=limits, reduction=lambda size_wh: max(1.0, max(size_wh) / side))
    height, width = picture.pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Picture(cv2.resize(picture.pixels, small_wh, interpolation=cv2.INTER_AREA), picture.size_wh)


def as_jpeg(pixels: UInt8Array) -> str:
    """Return an RGB image (H, W, 3) as a JPEG in base64, to be looked at."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))
    return base64.b64encode(data.tobytes()).decode()


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


def _from_encoded(data: bytes, name: str, limits: ImageLimits, reduction: Reduction) -> Picture:
    """Decode an image; a JPEG without an end twice, one after the other: so one sees whether it has all its pixels."""
    *others, encoded = formats.look_at(data, name, limits.max_pixels)
    checksums = [zlib.crc32(_decoded(other, name, limits, reduction).pixels.data) for other in others]
    picture = _decoded(encoded, name, limits, reduction)
    with decoding(name):
        if any(checksum != zlib.crc32(picture.pixels.data) for checksum in checksums):
            raise OSError("image file is truncated: some of its pixels are not there")
    return picture


def _decoded(encoded: Encoded, name: str, limits: ImageLimits, reduction: Reduction) -> Picture:
    image = formats.open_image(encoded, name)
    original_wh = image.size
    check_size(original_wh, limits.max_pixels, name)
    stored = orientation_of(image)
    if isinstance(image, JpegDecoder):
        allowed = reduction(upright_wh(image.size, stored))
        scale = max((scale for scale in (2, 4, 8) if scale <= allowed), default=1)
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
    formats.spend(image, encoded.size, original_wh, limits.max_pixels, name)
    with decoding(name):
        if isinstance(image, WebPDecoder) and not image.is_animated:
            pixels = _from_array(_webp_pixels(encoded.data), limits).pixels
        else:
            image.load()
            if not isinstance(image, JpegDecoder):
                original_wh = image.size  # HEIF learns its true size, TIFF turns itself upright
                check_size(original_wh, limits.max_pixels, name)
            pixels = rgb_pixels(image)
    orientation = orientation_of(image)
    image.close()  # so that its memory is free when the pixels are turned
    return Picture(upright(pixels, orientation), upright_wh(original_wh, orientation), max(stored, orientation))


def _webp_pixels(webp: bytes) -> UInt8Array:
    """Return (H, W, 3 | 4) RGB or RGBA of a WebP, with OpenCV, which takes half of the memory that Pillow does."""
    pixels = cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("it is no WebP, or cut off")
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == len("RGB") else cv2.COLOR_BGRA2RGBA
    return cast("UInt8Array", cv2.cvtColor(pixels, code, dst=pixels))


def _from_pillow(image: PIL.Image.Image, limits: ImageLimits) -> Picture:
    name = name_of(image)
    check_size(image.size, limits.max_pixels, name)
    with decoding(name):
        image.load()
        pixels = rgb_pixels(image)
    orientation = orientation_of(image)
    # Cameras are wider than high. What is high, and made of an image instead of read, was turned without a word.
    if orientation in _SIDEWAYS and image.height > image.width and not isinstance(image, ImageFile):
        orientation = 1
    return Picture(upright(pixels, orientation), upright_wh(image.size, orientation), orientation)


def _from_array(array: NDArray[Any], limits: ImageLimits) -> Picture:
    grid = np.atleast_3d(array)
    if array.ndim not in (2, 3) or grid.shape[2] not in (1, 3, 4):
        hint = "; encoded bytes are passed as array.tobytes()" if array.ndim == 1 else ""
        if array.shape[:1] in ((1,), (3,), (4,)):
            hint = "; channels come last: array.transpose(1, 2, 0)"
        raise InvalidImage(
            f"<array>: expected the shape (H, W) or (H, W, 1 | 3 | 4), RGB and not BGR, got {array.shape}{hint}"
        )
    if array.dtype.kind != "f" and array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise InvalidImage(f"<array>: expected RGB in uint8, uint16 or floats from 0 to 1, got {array.dtype}")
    size_wh = (grid.shape[1], grid.shape[0])
    check_size(size_wh, limits.max_pixels, "<array>")
    if grid.dtype == np.uint8 and grid.shape[2] == len("RGB"):
        return Picture(np.ascontiguousarray(grid), size_wh)
    white = 1.0 if grid.dtype.kind == "f" else 255.0 if grid.dtype == np.uint8 else _levels([grid])[1]
    bands = (_array_bytes(grid[band], white) for band in _bands(size_wh))
    if grid.shape[2] == len("RGBA") and not _alpha_counts(bands):
        grid = grid[..., :3]
    return Picture(in_bands(size_wh, lambda band: _array_colours(_array_bytes(grid[band], white))), size_wh)


def _array_bytes(array: NDArray[Any], white: float) -> UInt8Array:
    """Return uint8 of an array of checked shape and type."""
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # so written that NaN fails
            raise InvalidImage(f"<array>: floats must lie from 0 to 1, these reach from {low:g} to {high:g}")
    return array if array.dtype == np.uint8 else scaled(array, 0, white)


def _array_colours(array: UInt8Array) -> UInt8Array:
    return colours(PIL.Image.fromarray(array), alpha_counts=True) if array.shape[2] == len("RGBA") else array
