"""Formats of encoded images: which decoder reads a file, and what the file may ask of it.

What a decoder does in Python, step by step, is bounded by how often it may read; of JPEG and PNG it is given no more
than makes the picture or says which way up it is. What it does in C is counted as work before it begins, and its
memory has a limit.
"""

import io
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import calcsize, iter_unpack, unpack_from
from typing import NamedTuple, cast

import PIL.Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLESPERPIXEL, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from visavis.core import work
from visavis.errors import ImageCorrupt, ImageTooLarge, InvalidImage, UnsupportedFormat, VisavisError
from visavis.types import SizeWH

_SUPPORTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 and HEIC"


class JpegDecoder(JpegImageFile):
    """A JPEG or the first image of an MPO."""

    scans = 1

    def getexif(self) -> PIL.Image.Exif:
        """Return nothing: Pillow looks here for the resolution on paper only, and warns where EXIF is malformed."""
        return PIL.Image.Exif()


class TiffDecoder(TiffImageFile):
    """The first image of a TIFF as it lies in the file; its other directories are not looked at."""

    def _open(self) -> None:
        super()._open()
        self._size = self._tile_size

    def load_end(self) -> None:
        """Do not read the directories of EXIF, nor turn the image."""


class _DropsDecoder(ImageFile):
    """What frees its decoder's memory as soon as there are pixels."""

    def load_prepare(self) -> None:
        """Drop the decoder."""
        self._decoder = None
        super().load_prepare()


class WebPDecoder(_DropsDecoder, WebPImageFile):
    """A WebP."""


class AvifDecoder(_DropsDecoder, AvifImageFile):
    """An AVIF."""


_DECODERS: dict[str, type[ImageFile]] = {
    r"\xff\xd8\xff": JpegDecoder,
    r"\x89PNG\r\n\x1a\n": PngImageFile,
    r"RIFF....WEBP": WebPDecoder,
    r"GIF8[79]a": GifImageFile,
    r"BM.{12}[\x0c-\x7c]\0\0\0": BmpImageFile,  # whose header has such a size
    r"II[*+]\0|MM\0\*": TiffDecoder,
    r"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": Jpeg2KImageFile,
    r"....ftyp(?:....){0,14}?avi[fs]": AvifDecoder,
}
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


HEAD_BYTES = 256  # that tell a format


def is_image(head: bytes) -> bool:
    """Tell whether a file that begins so is of a format that is read."""
    text = head[:HEAD_BYTES].decode("latin-1")
    return any(re.match(signature, text, re.DOTALL) for signature in (*_DECODERS, _HEIC))


def find_decoder(data: bytes, name: str) -> type[ImageFile]:
    """Choose by content, never by the file's name."""
    if not data:
        raise UnsupportedFormat(f"{name}: empty; a stream that was read before needs seek(0)")
    head = data[:HEAD_BYTES].decode("latin-1")
    for signature, decoder in _DECODERS.items():
        if re.match(signature, head, re.DOTALL):
            return decoder
    if re.match(_HEIC, head, re.DOTALL):
        try:
            from pillow_heif import HeifImageFile  # noqa: PLC0415 -- as for no other image
        except ImportError as error:
            raise UnsupportedFormat(f"{name}: HEIC needs a package that is gone: pip install pillow-heif") from error
        return cast("type[ImageFile]", HeifImageFile)
    kind = next((f", but {kind}" for signature, kind in _FOREIGN.items() if re.match(signature, head, re.DOTALL)), "")
    raise UnsupportedFormat(f"{name}: not an image that can be read{kind}; supported are {_SUPPORTED}")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an error of ours."""
    try:
        yield
    except (VisavisError, work.Stopped):
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"{name}: more pixels than Pillow's own limit: {error}") from error
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise ImageCorrupt(f"{name}: damaged, cut off or of an unusual kind: {detail}") from error


def check_size(size_wh: SizeWH, most_pixels: int, name: str) -> None:
    """Refuse an image without pixels, or of too many."""
    width, height = size_wh
    if width < 1 or height < 1:
        raise InvalidImage(f"{name}: {width} x {height} pixels is no image")
    if width * height > most_pixels:
        raise ImageTooLarge(
            f"{name}: {width} x {height} = {width * height:,} pixels; the limit max_pixels is {most_pixels:,}"
        )


# --- before the header is read

_MOST_READS = 100_000  # such as strips of a TIFF; the dearest take some 10 us of Python
_READS, _PIXELS_A_READ = 1000, 60  # are counted as work so many at a time
_MOST_TIMES = 4  # that the bytes of a file may be read on average
_MOST_PARTS = 50_000  # segments of a JPEG, chunks of a PNG
_MOST_SCANS = 64  # the most elaborate progressive JPEGs have some twenty
_MOST_TABLE_BYTES = 1 << 17  # in the head of a JPEG
# A marker of a JPEG that is followed by a segment: not a stuffed byte, a fill byte or a restart.
_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
# A byte order mark, line ends, or the head of a part, as cameras send them.
_BEFORE_JPEG = re.compile(rb"(?:\xef\xbb\xbf|\s{1,9}|--[^\xff]{,999}?\r\n\r\n)(?=\xff\xd8\xff)|")
_FILLING = bytes(range(255))  # without a marker
_JPEG_PARTS = re.compile(rb"\xff(?:[\xc0-\xcf\xdb\xdd]|\xe0..JFIF\0|\xee..Adobe)", re.DOTALL)
# What may say which way up an image is: EXIF and XMP of a JPEG; XMP, and profiles of ImageMagick, in texts of a PNG.
_JPEG_METADATA = re.compile(rb"\xff\xe1..(?:Exif\0|http://ns\.adobe\.com/xap/1\.0/\0)", re.DOTALL)
_MOST_METADATA = 8  # of these segments are kept
_PNG_PARTS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_PNG_METADATA = re.compile(rb"(?:tEXt|zTXt|iTXt)(XML:com\.adobe\.xmp|Raw profile type (?:exif|APP1|xmp))\0")
_MOST_TEXT_BYTES = 1 << 20  # of each of these texts are looked at
_MOST_NUMBERS, _PIXELS_A_NUMBER = 400_000, 16  # in the directory of a TIFF
_TEXTS = (1, 2, 6, 7)  # types of what stays bytes there
# Where a JPEG 2000 says its size; and how it is cut into code-blocks (for all components, or one).
_J2K_SIZE = re.compile(rb"\xff\x4f\xff\x51\x00(?=.{40})", re.DOTALL)
_J2K_BLOCKS = re.compile(
    rb"\xff(?:\x52\x00[\x0c-\x2d](.)....|\x53\x00[\x09-\x2b].(.))([\x00-\x20])([\x00-\x08])([\x00-\x08])..(.{,33})",
    re.DOTALL,
)
_LEAST_BLOCK = 8  # binary logarithm of the least pixels of a code-block, and of a quarter of a precinct
_MOST_TILES = 8192
_MOST_COMPONENTS = 4
_MOST_BOX_BYTES = 1 << 18  # of a JPEG 2000's head, which Pillow reads at once
_OVERLAY = re.compile(rb"infe.{8,10}iovl", re.DOTALL)  # an image of a HEIC that is made of many, each as large


class _Reader(io.BytesIO):
    """An encoded image, which may be read only so often: all loops of decoders in Python go through ``read``."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name
        self._reads = 0
        self._bytes_left = _MOST_TIMES * len(data) + _MOST_TABLE_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads += 1
        self._bytes_left -= len(data)
        if self._bytes_left < 0 or self._reads > _MOST_READS:
            raise ImageCorrupt(f"{self._name}: too many small parts, or parts that are read again and again")
        if not self._reads % _READS:
            work.spend(_READS * _PIXELS_A_READ)
        return data


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image as its decoder is given it, with nothing of what does not make the picture, or turn it.

    Attributes:
        decoder: of its format.
        data: what it is given.
        size: in bytes, of the file.
        scans: of a JPEG.
        texts: of a PNG, what may turn it.
    """

    decoder: type[ImageFile]
    data: bytes
    size: int
    scans: int = 1
    texts: Mapping[str, str] = field(default_factory=dict)


def look_at(data: bytes, name: str, most_pixels: int) -> list[Encoded]:
    """Return what is to be decoded of a file: itself, or of a JPEG without an end two versions that end differently.

    Where no pixels are missing, none depends on what follows the last of them.
    """
    data = data[_BEFORE_JPEG.match(data).end() :]  # type: ignore[union-attr]  # it always matches
    decoder = find_decoder(data, name)
    with decoding(name):
        if decoder is JpegDecoder:
            bare, scans = _bare_jpeg(data, name)
            return [Encoded(decoder, version, len(data), scans) for version in _with_end(bare)]
        if decoder is PngImageFile:
            bare, texts = _bare_png(data, name)
            return [Encoded(decoder, bare, len(data), texts=texts)]
        if decoder is TiffDecoder:
            _check_directory(data, name)
        elif decoder is Jpeg2KImageFile:
            _check_codestream(data, name, most_pixels)
        elif _OVERLAY.search(data):
            raise ImageCorrupt(f"{name}: an overlay of several images is not read")
    return [Encoded(decoder, data, len(data))]


def open_image(encoded: Encoded, name: str) -> ImageFile:
    """Read the header of an image."""
    with decoding(name):
        image = encoded.decoder(_Reader(encoded.data, name))
    image.info.update(encoded.texts)
    if isinstance(image, JpegDecoder):
        image.scans = encoded.scans
    return image


def _with_end(jpeg: bytes) -> list[bytes]:
    body = jpeg.rstrip(b"\0")
    if body.endswith(_END) or jpeg.rfind(_END) > jpeg.rfind(_SCAN):
        return [jpeg]
    return [body + _FILLING + _END, jpeg + _END]


def _bare_jpeg(jpeg: bytes, name: str) -> tuple[bytes, int]:
    """Return a JPEG with no more in its head than makes the picture, and the number of its scans.

    Very many scans are refused: each takes 70 bytes of a file and a pass over all its pixels.

    Source: ITU-T T.81, annex B: a marker's segment begins with its length.
    """
    view, kept, rest = memoryview(jpeg), [memoryview(b"\xff\xd8")], memoryview(b"")
    metadata: list[memoryview] = []
    at, scans = len(b"\xff\xd8"), 0
    for _ in range(_MOST_PARTS):
        marker = _JPEG_SEGMENT.search(jpeg, at)
        if not marker or marker[0] == _END:
            break
        at = marker.end() + int.from_bytes(view[marker.end() : marker.end() + 2], "big")
        segment = view[marker.start() : at]
        if marker[0] == _SCAN:
            rest, scans = rest or view[marker.start() :], scans + 1
        elif not scans and _JPEG_PARTS.match(segment):
            kept.append(segment)
        elif not scans and len(metadata) < _MOST_METADATA and _JPEG_METADATA.match(segment):
            metadata.append(segment)
    else:
        raise ImageCorrupt(f"{name}: a JPEG of more than {_MOST_PARTS:,} segments")
    if scans > _MOST_SCANS:
        raise ImageCorrupt(f"{name}: a JPEG of {scans} scans, where {_MOST_SCANS} are plenty")
    if sum(map(len, kept)) > _MOST_TABLE_BYTES:
        raise ImageCorrupt(f"{name}: a JPEG of more than {_MOST_TABLE_BYTES:,} bytes of tables")
    return b"".join([*kept, *metadata, rest]), scans


def _bare_png(png: bytes, name: str) -> tuple[bytes, dict[str, str]]:
    """Return a PNG without the chunks that do not make its picture, and of its texts those that may turn it.

    Left out are other texts, profiles and frames of an animation.

    Source: the PNG specification, 5.3: a chunk is its length, type, data and checksum.
    """
    view = memoryview(png)
    at = 8
    kept = [view[:at]]
    texts: dict[str, str] = {}
    for _ in range(_MOST_PARTS):
        length, kind = int.from_bytes(view[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind in _PNG_PARTS:
            kept.append(view[at : at + length + 12])
        elif (text := _PNG_METADATA.match(png, at + 4)) and text[1].decode() not in texts:
            end = min(at + length + 8, text.end() + _MOST_TEXT_BYTES)
            texts[text[1].decode()] = _text_of(kind, png[text.end() : end])
        at += length + 12
        if kind == b"IEND" or at >= len(png):
            return b"".join(kept), texts
    raise ImageCorrupt(f"{name}: a PNG of more than {_MOST_PARTS:,} chunks")


def _text_of(kind: bytes, content: bytes) -> str:
    """Return the beginning of the text of a PNG's chunk, whose keyword comes before this content.

    Source: the PNG specification, 11.3.4: zTXt has a method first; iTXt a flag, a method and two names.
    """
    text = {b"zTXt": content[1:], b"iTXt": content[2:].split(b"\0", 2)[-1]}.get(kind, content)
    if kind == b"zTXt" or (kind == b"iTXt" and content[:1] == b"\1"):
        try:
            text = zlib.decompressobj().decompress(text, _MOST_TEXT_BYTES)
        except zlib.error:
            return ""
    return text.decode("latin-1")


def _check_directory(tiff: bytes, name: str) -> None:
    """Refuse a TIFF whose directory has very many numbers, as each of them becomes an object.

    Source: TIFF 6.0, section 2; BigTIFF has 8 bytes where it has 4, and its count of entries 8 in place of 2.
    """
    order = "<" if tiff[:2] == b"II" else ">"
    big = tiff[2] == ord("+")
    counted, entry = (order + "Q", order + "HHQ8x") if big else (order + "H", order + "HHI4x")
    (start,) = unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
    (count,) = unpack_from(counted, tiff, start)
    start += calcsize(counted)
    entries = tiff[start : start + min(count, _MOST_NUMBERS) * calcsize(entry)]
    entries = entries[: len(entries) // calcsize(entry) * calcsize(entry)]
    numbers = sum(count for _, kind, count in iter_unpack(entry, entries) if kind not in _TEXTS)
    if numbers > _MOST_NUMBERS:
        raise ImageCorrupt(f"{name}: a TIFF of {numbers:,} strips, tiles or other numbers")
    work.spend(_PIXELS_A_NUMBER * numbers)


def _check_codestream(j2k: bytes, name: str, most_pixels: int) -> None:
    """Refuse a JPEG 2000 of very many tiles, components, code-blocks or precincts: each costs some hundred bytes.

    Source: ITU-T T.800, annex A.5 and A.6. These segments are looked for everywhere, as each tile may have its own;
    that compressed data look like one is next to impossible.
    """
    for found in _J2K_SIZE.finditer(j2k):
        x1, y1, x0, y0, tile_w, tile_h, left, top, parts = unpack_from(">8IH", j2k, found.end() + 3)
        tiles = -(-(x1 - left) // max(1, tile_w)) * -(-(y1 - top) // max(1, tile_h))
        if int.from_bytes(j2k[found.end() - 1 : found.end() + 1], "big") != 38 + 3 * parts:
            continue
        check_size((x1 - x0, y1 - y0), most_pixels, name)
        if tiles > _MOST_TILES or parts > _MOST_COMPONENTS:
            raise ImageCorrupt(f"{name}: a JPEG 2000 of {tiles:,} tiles and {parts:,} components")
    for found in _J2K_BLOCKS.finditer(j2k):
        levels, wide, high = found[3][0], found[4][0], found[5][0]
        precincts = found[6][levels::-1] if (found[1] or found[2])[0] & 1 else b""  # of the finest first
        areas = (size % 16 + size // 16 + 2 * level - 2 for level, size in enumerate(precincts))  # in finest pixels
        if min([wide + high + 4, *areas]) < _LEAST_BLOCK:
            raise ImageCorrupt(f"{name}: a JPEG 2000 of very small code-blocks or precincts")
    boxes = [int.from_bytes(j2k[found.start() - 4 : found.start()], "big") for found in re.finditer(b"jp2h", j2k)]
    if any(size > _MOST_BOX_BYTES or size == 1 for size in boxes):
        raise ImageCorrupt(f"{name}: a JPEG 2000 of a large header")


# --- before the pixels are decoded


class _Cost(NamedTuple):
    """What decoding takes: searched pixels for each pixel and for each encoded byte; bytes of memory for each pixel.

    A searched pixel stands for an eighth of a microsecond of a core, measured with the dearest content of a format.
    """

    pixel: float
    byte: float
    memory: float


_COSTS = {
    "JPEG": _Cost(0.05, 0.06, 7),
    "PNG": _Cost(0.11, 0.06, 7),
    "GIF": _Cost(0.09, 0.06, 5),
    "BMP": _Cost(0.08, 0.06, 7),
    "TIFF": _Cost(0.14, 0.3, 7),
    "WEBP": _Cost(0.12, 0.08, 7),
    "animated WEBP": _Cost(0.12, 0.08, 16),
    "AVIF": _Cost(0.12, 0.44, 12),
    "JPEG2000": _Cost(0.3, 0.72, 20),
    "HEIF": _Cost(0.15, 0.5, 7.4),
}
_MOST_BYTES = 375_000_000  # of memory for one image; or so many for each pixel that one may have, if that is more:
_MOST_BYTES_A_PIXEL = 7.5  # what the usual formats take
_PIXEL_OF_JPEG, _PIXEL_OF_SCAN = 0.006, 0.012  # searched pixels for one of the original, however small it is decoded
_MOST_RUN_PIXELS = 4_000_000  # of a BMP of runs, which Pillow decodes in Python
_PIXEL_OF_RUN = 1.0
_SCANS_IN_TIFF = 100  # the most that libtiff decodes of a JPEG


def spend(image: ImageFile, size: int, original_wh: SizeWH, most_pixels: int, name: str) -> None:
    """Count what decoding an image, of a file of ``size`` bytes, takes as work, before it is done.

    The image may be a reduced one.

    Raises:
        ImageTooLarge: it would take more memory than any image of ``most_pixels`` in the usual formats.
        TooMuchWork, Stopped: as ``work.spend`` says.
    """
    pixels, original = image.width * image.height, original_wh[0] * original_wh[1]
    animated = isinstance(image, WebPDecoder) and image.is_animated
    cost = _COSTS[f"animated {image.format}" if animated else str(image.format)]
    memory = cost.memory * pixels
    units = (cost.pixel * pixels + cost.byte * size) * max(1.0, len(image.getbands()) / len("RGB"))
    match image:
        case JpegDecoder():
            units += _PIXEL_OF_JPEG * original
            if image.scans > 1 or "progressive" in image.info:  # all its coefficients are held
                areas = [high * wide for _, high, wide, _ in image.layer]
                memory = max(memory, 2 * original * sum(areas) / max(areas) + 4 * pixels)
                units += _PIXEL_OF_SCAN * original * image.scans
        case TiffDecoder():
            bits = image.tag_v2.get(BITSPERSAMPLE, (8,))
            samples = image.tag_v2.get(SAMPLESPERPIXEL, 1) if len(bits) == 1 else 1
            memory = max(memory, (4 + sum(bits) * samples / 8) * pixels)  # with a strip that is the whole image
            if "jpeg" in image.info["compression"]:
                units += _PIXEL_OF_SCAN * original * _SCANS_IN_TIFF
        case BmpImageFile() if image.tile[0][0] == "bmp_rle":
            units += _PIXEL_OF_RUN * pixels
            if pixels > _MOST_RUN_PIXELS:
                raise ImageTooLarge(f"{name}: a BMP of runs may have {_MOST_RUN_PIXELS:,} pixels")
        case AvifDecoder() | Jpeg2KImageFile() if len(image.getbands()) > len("RGB"):
            memory *= 4 / 3
        case _ if image.info.get("chroma", 420) != 420 or image.info.get("bit_depth", 8) > 8:  # noqa: PLR2004  # HEIC
            units, memory = 2 * units, 2 * memory
    most_bytes = max(_MOST_BYTES, _MOST_BYTES_A_PIXEL * most_pixels)
    if memory > most_bytes:
        raise ImageTooLarge(
            f"{name}: {original_wh[0]} x {original_wh[1]} = {original:,} pixels; an image in this format may have "
            f"{original * most_bytes / memory:,.0f}, as decoding takes more memory than that of others"
        )
    work.spend(units)
    work.make_room(memory)
