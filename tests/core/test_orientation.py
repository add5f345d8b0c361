"""Which way up an image is: whatever metadata says so, in whichever spelling, and what was turned already."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageOps, PngImagePlugin

from visavis.core.image import read_image

TAG = 0x0112
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{}</rdf:RDF></x:xmpmeta>'
)
IN_XMP = {
    "attribute": ' tiff:Orientation="6"/>',
    "single quotes": " tiff:Orientation = '6' />",
    "element": "><tiff:Orientation>6</tiff:Orientation></rdf:Description>",
    "element with spaces": '><tiff:Orientation rdf:datatype="x"> 6\n</tiff:Orientation></rdf:Description>',
}
# Of TIFF's integers: its number, and how struct writes it.
TYPES = {
    "BYTE": (1, "B"),
    "SHORT": (3, "H"),
    "LONG": (4, "I"),
    "SBYTE": (6, "b"),
    "SSHORT": (8, "h"),
    "SLONG": (9, "i"),
}
PREFIXES = [b"Exif\0\0", b"Exif\0\0Exif\0\0", b"Exif\0\xff"]


def tiff(order: str, type_: str = "SHORT", value: int = 6) -> bytes:
    number, code = TYPES[type_]
    field = struct.pack(order + code, value).ljust(4, b"\0")
    head = b"II" if order == "<" else b"MM"
    return head + struct.pack(order + "HIHHHI", 42, 8, 1, TAG, number, 1) + field + b"\0\0\0\0"


def lying() -> PIL.Image.Image:
    """An image of 48 x 32, dark at its left, which is the top once orientation 6 is undone."""
    levels = np.linspace(0, 255, 48).astype(np.uint8)
    return PIL.Image.fromarray(np.repeat(np.tile(levels, (32, 1))[..., np.newaxis], 3, axis=2))


def encoded(format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    lying().save(stream, format_, **({"lossless": True} if format_ == "WEBP" else {}), **options)
    return stream.getvalue()


def jpeg_with(segment: bytes) -> bytes:
    data = encoded("JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def png_with(kind: bytes, content: bytes, *, late: bool = False) -> bytes:
    data = encoded("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    at = data.index(b"IEND") - 4 if late else data.index(b"IDAT") - 4
    return data[:at] + chunk + data[at:]


def raw_profile(name: str, content: bytes) -> bytes:
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{name}\n{len(content):8d}\n{lines}\n".encode()


def check_upright(pixels: NDArray[np.uint8]) -> None:
    assert pixels.shape == (48, 32, 3)
    rows = pixels.mean(axis=(1, 2))
    assert rows[0] < 20
    assert rows[-1] > 235


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_exif_in_all_its_spellings(order: str, type_: str, prefix: bytes) -> None:
    check_upright(read_image(jpeg_with(prefix + tiff(order, type_))).pixels)
    for start in (b"", prefix):
        for late in (False, True):
            check_upright(read_image(png_with(b"eXIf", start + tiff(order, type_), late=late)).pixels)
    check_upright(read_image(encoded("WEBP", exif=prefix[:6] + tiff(order, type_))).pixels)


@pytest.mark.parametrize("spelling", IN_XMP)
def test_xmp_alone(spelling: str) -> None:
    xmp = XMP.format(IN_XMP[spelling])
    check_upright(read_image(jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode())).pixels)
    check_upright(read_image(encoded("WEBP", xmp=xmp.encode())).pixels)
    for is_compressed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp + 1_500_000 * " ", zip=is_compressed)
        check_upright(read_image(encoded("PNG", pnginfo=info)).pixels)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("exif", b"Exif\0\0" + tiff(">")),
        ("exif", tiff("<", "LONG")),
        ("APP1", b"Exif\0\0" + tiff("<")),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP.format(IN_XMP["element"]).encode()),
        ("xmp", XMP.format(IN_XMP["attribute"]).encode()),
    ],
)
def test_profiles_of_imagemagick(kind: bytes, name: str, content: bytes, *, late: bool) -> None:
    text = raw_profile(name.lower(), content)
    key = f"Raw profile type {name}".encode() + b"\0"
    chunk = key + (b"\0" + zlib.compress(text) if kind == b"zTXt" else text)
    check_upright(read_image(png_with(kind, chunk, late=late)).pixels)


def test_exif_counts_before_xmp_and_nonsense_does_not_count() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMP.format(IN_XMP["attribute"]).encode()
    both = jpeg_with(xmp)
    segment = b"Exif\0\0" + tiff("<", value=1)
    both = both[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + both[2:]
    assert read_image(both).size_wh == (48, 32)
    check_upright(read_image(both.replace(segment, b"Exif\0\0" + tiff("<", value=0))).pixels)
    for text in (b"zz", b"", b"\nexif\n", b"\nexif\n   4\nabc", b"\nexif\n   2\n4d4d"):
        data = png_with(b"tEXt", b"Raw profile type exif\0" + text)
        assert read_image(data).size_wh == (48, 32)


@pytest.mark.parametrize("type_", TYPES)
def test_the_own_tag_of_a_tiff(type_: str) -> None:
    number, code = TYPES[type_]
    entry = struct.pack("<HHIHH", TAG, 3, 1, 6, 0)
    data = encoded("TIFF", tiffinfo={TAG: 6})
    assert data.count(entry) == 1
    other = struct.pack("<HHI", TAG, number, 1) + struct.pack("<" + code, 6).ljust(4, b"\0")
    check_upright(read_image(data.replace(entry, other)).pixels)


@pytest.mark.parametrize("spelling", ["attribute", "element"])
def test_a_tiff_that_says_it_twice_is_turned_once(spelling: str) -> None:
    xmp = XMP.format(IN_XMP[spelling]).encode()
    check_upright(read_image(encoded("TIFF", tiffinfo={TAG: 6, 700: xmp})).pixels)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_what_the_caller_turned_by_hand_stays(format_: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[TAG] = orientation
    image = PIL.Image.open(io.BytesIO(encoded(format_, exif=exif)))
    ways = {
        "transpose": image.transpose(PIL.Image.Transpose.ROTATE_270),
        "rotate": image.rotate(-90, expand=True),
        "exif_transpose": ImageOps.exif_transpose(image),
        "converted": image.rotate(90, expand=True).convert("L"),
    }
    for way, turned in ways.items():
        expected = np.asarray(turned.convert("RGB"))
        np.testing.assert_array_equal(read_image(turned).pixels, expected, err_msg=way)
    upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    for made in (image.convert("RGB"), image.copy(), image):  # and what was not turned is
        np.testing.assert_array_equal(read_image(made).pixels, upright)


def test_the_files_of_the_cases(test_data: Path) -> None:
    files = sorted((test_data / "cases" / "orientation").glob("*"))
    if not files:
        pytest.skip("without the cases")

    def small(path: Path) -> NDArray[np.float64]:
        pixels = read_image(path).pixels
        return np.asarray(PIL.Image.fromarray(pixels).resize((50, 60))).astype(float)

    expected = small(test_data / "cases" / "orientation" / "tiff-tag.tif")
    for path in files:
        assert read_image(path).size_wh in {(300, 360), (150, 180)}, path.name
        assert np.abs(small(path) - expected).mean() < 6, path.name
