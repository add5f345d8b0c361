"""Files that are small, or cheap to make, and ask much of whoever decodes them; the same at each call."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif


def encoded(image: PIL.Image.Image, format_: str, **options: Any) -> bytes:  # noqa: ANN401 -- Pillow's own
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def plain(side: int, mode: str = "RGB") -> PIL.Image.Image:
    return PIL.Image.new("RGB", (side, side), (120, 130, 140)).convert(mode)


def noise(side: int, mode: str = "RGB") -> PIL.Image.Image:
    drawn = np.random.default_rng(0).integers(0, 256, (side, side, len(mode)), np.uint8)
    return PIL.Image.fromarray(drawn.squeeze())


# --- JPEG


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _with_head(head: bytes, **options: Any) -> bytes:  # noqa: ANN401 -- Pillow's own
    jpeg = encoded(plain(16), "JPEG", **options)
    return jpeg[:2] + head + jpeg[2:]


def jpeg_of_fill(count: int) -> bytes:
    return _with_head(b"\xff" * count)


def jpeg_of_junk(count: int) -> bytes:
    return _with_head(b"\x55" * count)


def jpeg_of_segments(count: int) -> bytes:
    return _with_head(count * segment(0xE3, b""))


def jpeg_of_resources(count: int) -> bytes:
    """Empty image resources, in segments as Photoshop writes them."""
    block = b"8BIM\0\1\0\0\0\0\0\0"
    return _with_head(count // 5400 * segment(0xED, b"Photoshop 3.0\0" + 5400 * block))


def _orientations(size: int) -> bytes:
    """Many beginnings of what XMP says of an orientation."""
    return b"tiff:Orientation " * (size // 17)


def jpeg_of_xmp(count: int) -> bytes:
    return _with_head(count * segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _orientations(65_000)))


def jpeg_of_tables(count: int) -> bytes:
    return _with_head(count // 1000 * segment(0xDB, 1000 * (b"\0" + 64 * b"\1")))


def jpeg_of_exif(count: int) -> bytes:
    return _with_head(count // 65_000 * segment(0xE1, b"Exif\0\0" + bytes(65_000)))


def jpeg_of_late_segments(count: int) -> bytes:
    jpeg = encoded(plain(16), "JPEG")
    return jpeg[:-2] + count * segment(0xE3, b"") + jpeg[-2:]


def jpeg_of_scans(side: int, count: int = 50) -> bytes:
    jpeg = encoded(plain(side), "JPEG", progressive=True, subsampling=0)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + count * last + jpeg[-2:]


def jpeg_of_arithmetic(side: int, count: int) -> bytes:
    """A frame of arithmetic coding, whose data are drawn: a decoder makes something of all that comes."""
    drawn = np.random.default_rng(0).integers(0, 255, count, np.uint8).tobytes()
    jpeg = encoded(plain(side), "JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    scan = jpeg.index(b"\xff\xda")
    return jpeg[: scan + 14] + drawn + b"\xff\xd9"


# --- PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_chunks(chunks: bytes) -> bytes:
    png = encoded(plain(16), "PNG")
    return png[:33] + chunks + png[33:]


BOMB = zlib.compress(bytes(1 << 20), 9)


def png_of_profiles(count: int) -> bytes:
    return _with_chunks(count * chunk(b"iCCP", b"a\0\0" + BOMB))


def png_of_texts(count: int) -> bytes:
    """Compressed texts without a keyword, which nobody counts."""
    return _with_chunks(count * chunk(b"zTXt", b"\0\0" + BOMB))


def png_of_turns(count: int) -> bytes:
    """Texts that are looked at, as they may hold an orientation: each becomes large."""
    kinds = ("XML:com.adobe.xmp", *(f"Raw profile type {kind}" for kind in ("exif", "APP1", "xmp")))
    return _with_chunks(count // 4 * b"".join(chunk(b"zTXt", kind.encode() + b"\0\0" + BOMB) for kind in kinds))


def png_of_chunks(count: int) -> bytes:
    return _with_chunks(count * chunk(b"abCd", b""))


def png_of_short_data(count: int) -> bytes:
    png = encoded(plain(16), "PNG")
    data = png.index(b"IDAT") - 4
    return png[:data] + count * chunk(b"IDAT", b"") + png[data:]


# --- GIF, BMP


def gif_of_comments(count: int) -> bytes:
    gif = encoded(plain(16, "P"), "GIF")
    at = gif.index(b",\0\0\0\0")
    return gif[:at] + b"!\xfe" + count * b"\1a" + b"\0" + gif[at:]


def gif_strip(width: int, height: int) -> bytes:
    return encoded(PIL.Image.new("P", (width, height)), "GIF")


def bmp_of_runs(width: int, height: int) -> bytes:
    """Rows that end at once, each to be filled up."""
    body = b"\1\0\0\0" * height
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    palette = b"".join(bytes((i, 255 - i, i, 0)) for i in range(256))
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(body), 0, 0, 54 + 1024) + head + palette + body


# --- TIFF

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 16: 8}


def tiff(tags: Mapping[int, tuple[int, int, bytes | int]], *, big: bool = False, order: str = "<") -> bytes:
    """Return a TIFF of tags: type, count, and the values, or where they lie."""
    count, entry, offset = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    start = 16 if big else 8
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    place = struct.calcsize("<" + offset)
    at = start + struct.calcsize("<" + count) + len(tags) * (struct.calcsize("<" + entry) + place) + place
    entries, data = b"", b""
    for tag, (kind, number, values) in sorted(tags.items()):
        entries += struct.pack(order + entry, tag, kind, number)
        if isinstance(values, int):
            entries += struct.pack(order + offset, values)
        elif len(values) <= place:
            entries += values.ljust(place, b"\0")
        else:
            entries += struct.pack(order + offset, at + len(data))
            data += values
    return head + struct.pack(order + count, len(tags)) + entries + struct.pack(order + offset, 0) + data


def tiff_of_strips(count: int, compression: int = 1, *, big: bool = False, order: str = "<") -> bytes:
    """A column of strips of one pixel, which all lie at the same place."""

    def short(value: int) -> tuple[int, int, bytes]:
        return 3, 1, struct.pack(order + "H", value)

    places = struct.pack(order + "H", 8)
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: short(1),
        257: (4, 1, struct.pack(order + "I", count)),
        258: short(8),
        259: short(compression),
        262: short(1),
        273: (3, count, count * places),
        277: short(1),
        278: short(1),
        279: (3, count, count * struct.pack(order + "H", 1)),
    }
    return tiff(tags, big=big, order=order)


def _with_tags(more: Mapping[int, tuple[int, int, bytes | int]]) -> bytes:
    side = 16
    values = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: side * side}
    tags: dict[int, tuple[int, int, bytes | int]] = {
        tag: (3, 1, struct.pack("<H", value)) for tag, value in values.items()
    }
    return tiff({**tags, **more}) + bytes(side * side)


def tiff_of_numbers(count: int) -> bytes:
    """XMP of numbers, which Pillow unpacks before it looks at them."""
    return _with_tags({700: (3, count, bytes(2 * count))})


def tiff_of_exif(count: int) -> bytes:
    """A directory of EXIF with a tag of very many numbers."""
    inner = struct.pack("<HHHII", 1, 0x9000, 3, count, 0)
    file = _with_tags({0x8769: (4, 1, 0x7FFFFFFF)})
    place = struct.pack("<I", len(file))
    inner = struct.pack("<HHHII", 1, 0x9000, 3, count, len(file) + 18) + bytes(4)
    return file.replace(struct.pack("<I", 0x7FFFFFFF), place) + inner + bytes(2 * count)


def tiff_of_one_place(count: int, size: int) -> bytes:
    """Tags whose values are all the same part of the file."""
    return _with_tags({50_000 + number: (7, size, 8) for number in range(count)}) + bytes(size)


def tiff_of_long_strips(height: int, size: int) -> bytes:
    """Strips of a row that say to be long, and are the same part of the file."""
    row = encoded(PIL.Image.new("L", (1000, 1)), "TIFF", compression="tiff_lzw")
    values = {256: 1000, 257: height, 258: 8, 259: 5, 262: 1, 277: 1, 278: 1}
    tags: dict[int, tuple[int, int, bytes | int]] = {
        tag: (3, 1, struct.pack("<H", value)) for tag, value in values.items()
    }
    strip = PIL.Image.open(io.BytesIO(row))
    at, long = strip.tag_v2[273][0], strip.tag_v2[279][0]  # type: ignore[attr-defined]
    data = row[at : at + long]
    places = {
        273: (4, height, struct.pack("<I", 0xABCDEF01) * height),
        279: (4, height, struct.pack("<I", size) * height),
    }
    file = tiff({**tags, **places})
    return file.replace(struct.pack("<I", 0xABCDEF01), struct.pack("<I", len(file))) + data + bytes(size)


def tiff_of_jpeg_scans(side: int, count: int = 50) -> bytes:
    """A strip that is a progressive JPEG of very many scans."""
    jpeg = jpeg_of_scans(side, count)
    values = {256: side, 257: side, 259: 7, 262: 6, 277: 3, 278: side}
    tags: dict[int, tuple[int, int, bytes | int]] = {
        tag: (3, 1, struct.pack("<H", value)) for tag, value in values.items()
    }
    tags[258] = (3, 3, struct.pack("<3H", 8, 8, 8))
    tags[530] = (3, 2, struct.pack("<2H", 1, 1))
    tags[273] = (4, 1, 0x7FFFFFFF)
    tags[279] = (4, 1, len(jpeg))
    file = tiff(tags)
    return file.replace(struct.pack("<I", 0x7FFFFFFF), struct.pack("<I", len(file))) + jpeg


# --- JPEG 2000


def j2k_of_blocks(side: int, block: int = 4) -> bytes:
    return encoded(plain(side), "JPEG2000", no_jp2=True, codeblock_size=(block, block))


def j2k_of_tiny_precincts(side: int) -> bytes:
    """Precincts of one pixel by its header; the data are those of an image with larger ones."""
    data = encoded(plain(side), "JPEG2000", no_jp2=True, precinct_size=(256, 256))
    cod = data.index(b"\xff\x52")
    levels = data[cod + 9]
    return data[: cod + 14] + bytes([0x11] * (levels + 1)) + data[cod + 14 + levels + 1 :]


def j2k_of_tiles(side: int) -> bytes:
    """Tiles of so few pixels that there are some 65,000 of them; the first only has data."""
    data = bytearray(encoded(plain(side), "JPEG2000", no_jp2=True))
    tile = side // 255 + 1
    data[24:32] = struct.pack(">II", tile, tile)
    return bytes(data)


def j2k_of_boxes(count: int) -> bytes:
    data = encoded(plain(16), "JPEG2000")
    at = data.index(b"jp2h") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    more = count * struct.pack(">I4s", 8, b"free")
    return data[:at] + struct.pack(">I", size + len(more)) + data[at + 4 : at + size] + more + data[at + size :]


def j2k_of_another_size(side: int) -> bytes:
    """A large image, which the header of the file says to be small."""
    data = encoded(plain(side), "JPEG2000")
    return data.replace(struct.pack(">II", side, side), struct.pack(">II", 16, 16), 1)


def heif(image: PIL.Image.Image, **options: Any) -> bytes:  # noqa: ANN401 -- pillow-heif's own
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, **options)
    return stream.getvalue()


FLOODS: Mapping[str, Callable[[int], bytes]] = {
    "JPEG of fill bytes": jpeg_of_fill,
    "JPEG of junk": jpeg_of_junk,
    "JPEG of empty segments": lambda size: jpeg_of_segments(size // 4),
    "JPEG of segments after its scan": lambda size: jpeg_of_late_segments(size // 4),
    "JPEG of image resources": lambda size: jpeg_of_resources(size // 12),
    "JPEG of tables": lambda size: jpeg_of_tables(size // 65),
    "JPEG of EXIF": jpeg_of_exif,
    "JPEG of XMP": lambda size: jpeg_of_xmp(size // 65_000),
    "PNG of profiles": lambda size: png_of_profiles(size // 1060),
    "PNG of texts": lambda size: png_of_texts(size // 1060),
    "PNG of texts that may turn it": lambda size: png_of_turns(size // 1080),
    "PNG of empty chunks": lambda size: png_of_chunks(size // 12),
    "PNG of empty data": lambda size: png_of_short_data(size // 12),
    "WebP of XMP": lambda size: encoded(plain(16), "WEBP", xmp=_orientations(size)),
    "GIF of comments": lambda size: gif_of_comments(size // 2),
    "TIFF of strips": lambda size: tiff_of_strips(size // 4),
    "TIFF of strips, big": lambda size: tiff_of_strips(size // 4, big=True),
    "TIFF of strips, big-endian": lambda size: tiff_of_strips(size // 4, order=">"),
    "TIFF of compressed strips": lambda size: tiff_of_strips(size // 4, compression=5),
    "TIFF of numbers": lambda size: tiff_of_numbers(size // 2),
    "TIFF of EXIF": lambda size: tiff_of_exif(size // 2),
    "TIFF of one place": lambda size: tiff_of_one_place(4000, size // 2),
    "JPEG 2000 of boxes": lambda size: j2k_of_boxes(size // 8),
}
"""Many small parts, or parts that are read again and again; by about how many bytes the file has."""
