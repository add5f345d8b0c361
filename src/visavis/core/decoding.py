"""Formats and pixels: encoded bytes -> a Pillow decoder, and a decoded Pillow image -> upright RGB; thread-safe.

Decoding is Pillow's, on three terms:

* The first bytes choose the decoder, which is called directly, never by ``PIL.Image.open``: that would load every
  plugin, and warn about large images through process-wide filters which no thread can set for itself.
* Whatever a decoder raises becomes one of our own errors in one place, ``decoding``.
* Pixels leave Pillow in bands of rows, so that the largest image costs one copy in Pillow, one here, and little else.
"""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from visavis.errors import ImageCorrupt, ImageTooLarge, UnsupportedFormat, VisavisError
from visavis.types import SizeWH, UInt8Array

_BAND_PIXELS = 24_000  # in 4 bytes each: below the 128 KiB from which malloc fetches, and clears, fresh pages
_NEARLY_INFINITE = 1e15  # float32 could not scale much more without overflow
_SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height
_MIRRORED = (2, 4, 5, 7)
_TURNS = {  # what undoes an EXIF orientation, once it is not mirrored
    **dict.fromkeys((3, 4), cv2.ROTATE_180),
    **dict.fromkeys((6, 7), cv2.ROTATE_90_CLOCKWISE),
    **dict.fromkeys((5, 8), cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_SUPPORTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 and, with the extra visavis[heic], HEIC"


class JpegDecoder(JpegImageFile):
    """A JPEG or the first image of an MPO."""

    def getexif(self) -> PIL.Image.Exif:
        """Return nothing: Pillow looks here for the resolution on paper only, and warns where EXIF is malformed."""
        return PIL.Image.Exif()


_DECODERS: dict[str, type[ImageFile]] = {
    r"\xff\xd8\xff": JpegDecoder,
    r"\x89PNG\r\n\x1a\n": PngImageFile,
    r"RIFF....WEBP": WebPImageFile,
    r"GIF8[79]a": GifImageFile,
    r"BM": BmpImageFile,
    r"II[*+]\0|MM\0[*+]": TiffImageFile,
    r"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": Jpeg2KImageFile,
    r"....ftyp(?:....){0,14}?avi[fs]": AvifImageFile,
}
# A marker of a JPEG that is followed by a segment: not a stuffed byte, a fill byte or a restart.
_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MOST_SCANS = 64  # the most elaborate progressive JPEGs have some twenty
_HEIC = r"....ftyp(?:....){0,14}?(?:hei[cxms]|hev[cxms]|mif1|msf1)"
_FOREIGN = {
    r"(?i)\s*<(?:!doctype )?html": "an HTML page",
    r"(?i)\s*<.*svg": "an SVG drawing",
    r"%PDF": "a PDF document",
    r"PK\x03\x04": "a ZIP archive",
    r"\xff\n|\0\0\0\x0cJXL ": "JPEG XL",
    r"....ftyp": "a video",
    r"data:|/9j/|iVBORw0KGgo": "base64 text, which has to be decoded first",
}


def find_decoder(data: bytes, name: str) -> type[ImageFile]:
    """Choose by content, never by the file's name."""
    if not data:
        raise UnsupportedFormat(f"{name}: empty; a stream that was read before needs seek(0)")
    head = data[:256].decode("latin-1")
    for signature, decoder in _DECODERS.items():
        if re.match(signature, head, re.DOTALL):
            return decoder
    if re.match(_HEIC, head, re.DOTALL):
        try:
            from pillow_heif import HeifImageFile  # noqa: PLC0415 -- an extra: its wheels bundle GPL code
        except ImportError as error:
            raise UnsupportedFormat(f"{name}: HEIC needs an extra: pip install visavis[heic]") from error
        return cast("type[ImageFile]", HeifImageFile)
    kind = next((f", but {kind}" for signature, kind in _FOREIGN.items() if re.match(signature, head, re.DOTALL)), "")
    raise UnsupportedFormat(f"{name}: not an image that can be read{kind}; supported are {_SUPPORTED}")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an error of ours."""
    try:
        yield
    except VisavisError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"{name}: more pixels than Pillow's own limit: {error}") from error
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise ImageCorrupt(f"{name}: damaged, cut off or of an unusual kind: {detail}") from error


def check_scans(jpeg: bytes, name: str) -> None:
    """Refuse a JPEG of very many scans: each takes 70 bytes of a file and a pass over all its pixels.

    Source: ITU-T T.81, annex B: a marker's segment begins with its length.
    """
    at, scans = len(b"\xff\xd8"), 0
    while (marker := _JPEG_SEGMENT.search(jpeg, at)) and marker[0] != _END:
        scans += marker[0] == _SCAN
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    if scans > _MOST_SCANS:
        raise ImageCorrupt(f"{name}: a JPEG of {scans} scans, where {_MOST_SCANS} are plenty")


def orientation_of(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where EXIF is absent or malformed.

    Source: Exif 2.3, 4.5.2 and 4.6.4: a TIFF structure, whose first directory may hold the tag.
    """
    exif = image.info.get("exif")
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        entries = (struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index) for index in range(count))
        orientation = next((int(value) for tag, _, _, value in entries if tag == ExifTag.Orientation), 1)
    except struct.error:
        return 1
    return orientation if orientation in range(1, 9) else 1


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
    shape = (size_wh[1], size_wh[0], 3)
    bands = _bands(size_wh)
    if len(bands) == 1:
        return np.ascontiguousarray(np.broadcast_to(rgb(bands[0]), shape))
    pixels = np.empty(shape, np.uint8)
    for band in bands:
        pixels[band] = rgb(band)
    return pixels


def rgb_pixels(image: PIL.Image.Image) -> UInt8Array:
    """Return the pixels of a loaded Pillow image of any mode."""
    if not image.mode.startswith(("I", "F")):
        return in_bands(image.size, lambda band: colours(_rows(image, band)))
    black, white = (0.0, 65535.0) if image.mode.startswith("I;16") else _levels(image)
    return in_bands(image.size, lambda band: scaled(_numbers(image, band), black, white))


def _rows(image: PIL.Image.Image, band: slice) -> PIL.Image.Image:
    whole = band == slice(0, image.height)
    return image if whole else image.crop((0, band.start, image.width, band.stop))


def colours(image: PIL.Image.Image) -> UInt8Array:
    """Return (H, W, 3) RGB of an image of 8 bits, over white where it is transparent."""
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = PIL.Image.new("RGB", image.size, "white")
        image.paste(rgba, mask=rgba)
    elif image.mode == "LAB":  # which Pillow converts with colour profiles only, and hands out with signed a and b
        return cast(
            "UInt8Array", cv2.cvtColor(np.asarray(image) ^ np.array([0, 128, 128], np.uint8), cv2.COLOR_LAB2RGB)
        )
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _numbers(image: PIL.Image.Image, band: slice) -> NDArray[Any]:
    """Return (rows, W, 1) values of an image of numbers; NaN, infinity and what is nearly so become 0."""
    values = np.asarray(_rows(image, band))[..., np.newaxis]
    return np.where(np.abs(values) < _NEARLY_INFINITE, values, 0)


def _levels(image: PIL.Image.Image) -> tuple[float, float]:
    """Guess black and white of numbers that declare neither: a usual range if it holds them all, else their own."""
    ranges = [(float(values.min()), float(values.max())) for values in (_numbers(image, b) for b in _bands(image.size))]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    usual = [(0.0, white) for white in (1.0, 255.0, 65535.0) if low >= 0 and high <= white]
    return usual[0] if usual else (low, max(high, low + 1))


def scaled(values: NDArray[Any], black: float, white: float) -> UInt8Array:
    """Map ``black`` to 0 and ``white`` to 255."""
    above_black = values.astype(np.float32) - np.float32(black)
    scaled: UInt8Array = np.rint(above_black * np.float32(255 / (white - black))).astype(np.uint8)
    return scaled
