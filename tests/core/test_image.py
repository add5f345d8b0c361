"""Images of every kind become the same upright RGB pixels, or a clear error."""

import builtins
import io
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

import numpy as np
import PIL.Image
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageCms, ImageOps

from visavis.core.image import ImageLimits, Picture, no_reduction, read_image
from visavis.errors import (
    ImageCorrupt,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    InputError,
    InvalidImage,
    InvalidOption,
    UnsupportedFormat,
    VisavisError,
)
from visavis.types import ImageSource, SizeWH, UInt8Array

WRITERS: dict[str, dict[str, Any]] = {
    "BMP": {},
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
    "JPEG2000": {},
    "GIF": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
LOSSLESS = ("BMP", "PNG", "TIFF", "WEBP", "JPEG2000")
SIZES = [(1, 1), (1, 40), (40, 1), (17, 31), (64, 48)]
TRUNCATABLE = [format_ for format_ in WRITERS if format_ != "MPO"] + ["HEIF"]


def smooth(size_wh: SizeWH) -> UInt8Array:
    """An RGB gradient, which no codec changes much and no rotation leaves as it is."""
    width, height = size_wh
    x, y = np.linspace(0, 200, width), np.linspace(0, 200, height)[:, np.newaxis]
    return np.stack([x + 0 * y, 0 * x + y, (x + y) / 2 + 20], axis=-1).astype(np.uint8)


def encode(image: PIL.Image.Image | UInt8Array, format_: str, **options: Any) -> bytes:  # noqa: ANN401 -- Pillow's own
    image = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, format_, **(WRITERS.get(format_, {}) | options))
    return stream.getvalue()


def exif(orientation: int) -> PIL.Image.Exif:
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags


def pixels_of(source: Any) -> UInt8Array:  # noqa: ANN401 -- also what is no ImageSource
    return read_image(source).pixels


def over_white(rgba: NDArray[Any]) -> NDArray[np.float64]:
    alpha = rgba[..., 3:] / 255.0
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.fixture(scope="module")
def photo() -> UInt8Array:
    return smooth((320, 240))


@pytest.fixture(scope="module")
def heic() -> bytes:
    return heif_of(smooth((64, 48)))


def heif_of(pixels: UInt8Array, **options: Any) -> bytes:  # noqa: ANN401 -- pillow-heif's own
    stream = io.BytesIO()
    pillow_heif.from_pillow(PIL.Image.fromarray(pixels)).save(stream, quality=95, chroma=444, **options)
    return stream.getvalue()


# --- sources


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path, photo: UInt8Array) -> None:
    data = encode(photo, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        sources: list[ImageSource] = [
            path,
            str(path),
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            buffered,
            cast("IO[bytes]", raw),
            PIL.Image.open(io.BytesIO(data)),
            photo,
        ]
        pictures = [read_image(source) for source in sources]
    for picture in pictures:
        np.testing.assert_array_equal(picture.pixels, photo)
        assert picture.size_wh == (320, 240)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.flags.c_contiguous
        assert not picture.pixels.flags.writeable


def test_a_pipe_is_read_to_its_end(photo: UInt8Array) -> None:
    data = encode(photo, "BMP")  # larger than a pipe holds, so that it comes in pieces
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as sink:
            sink.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb", buffering=0) as source:
        pixels = pixels_of(source)
    writer.join()
    np.testing.assert_array_equal(pixels, photo)


def test_a_stream_is_read_from_where_it_stands(photo: UInt8Array) -> None:
    stream = io.BytesIO(b"header" + encode(photo, "PNG"))
    stream.seek(6)
    np.testing.assert_array_equal(pixels_of(stream), photo)
    with pytest.raises(UnsupportedFormat, match=r"<stream>: empty.*seek\(0\)"):
        read_image(stream)


def test_a_temporary_file_is_a_stream(photo: UInt8Array) -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(encode(photo, "PNG"))
        file.seek(0)
        np.testing.assert_array_equal(pixels_of(file), photo)


@pytest.mark.parametrize("name", ["with space.png", "ünïcødé 顔.png", "no-extension", "it's a jpeg.png", "%s{0}.png"])
def test_any_file_name_will_do_and_the_content_decides(tmp_path: Path, name: str, photo: UInt8Array) -> None:
    path = tmp_path / name
    path.write_bytes(encode(photo, "JPEG"))
    np.testing.assert_allclose(pixels_of(path), photo, atol=6)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match=r"nobody\.jpg: there is no such file"):
        read_image(tmp_path / "nobody.jpg")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match="directory"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"secret")
    path.chmod(0)
    with pytest.raises(ImageUnreadable, match=r"secret\.png: Permission denied"):
        read_image(path)


@pytest.mark.parametrize("path", ["", "nul\0byte.jpg", "x" * 10_000])
def test_an_impossible_path_is_an_error_of_ours_and_short(path: str) -> None:
    with pytest.raises((ImageNotFound, ImageUnreadable)) as caught:
        read_image(path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", ["http://example.org/a.jpg", "HTTPS://example.org/a.jpg", "data:image/png;base64,iVBO", "/9j/4AAQSk" * 999]
)
def test_urls_and_base64_are_not_paths(text: str) -> None:
    with pytest.raises(InvalidImage, match="fetch a URL, or decode base64 text, first"):
        read_image(text)


@pytest.mark.parametrize(
    ("source", "kind"), [(None, "NoneType"), (7, "int"), ([[1, 2], [3, 4]], "list"), (object(), "object")]
)
def test_what_is_no_image_is_told_what_would_be(source: object, kind: str) -> None:
    with pytest.raises(InvalidImage, match=rf"an image is a path.* not {kind}; .*numpy\.asarray"):
        pixels_of(source)


class Stream:
    """A stream that does what it is told when read."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def read(self, _count: int) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        (io.StringIO("text"), InvalidImage, "gave str, not bytes; open the file in mode 'rb'"),
        (Stream(None), InvalidImage, "gave NoneType, not bytes"),
        (Stream(OSError("cable pulled")), ImageUnreadable, "<stream>: cannot be read: cable pulled"),
        (Stream(RuntimeError("own")), ImageUnreadable, "own"),
        (Stream(bytes(1 << 20)), ImageTooLarge, "the limit max_bytes is 100,000,000"),
    ],
)
def test_a_stream_that_misbehaves(stream: object, error: type[VisavisError], message: str) -> None:
    with pytest.raises(error, match=message):
        pixels_of(stream)


def test_a_closed_file_cannot_be_read() -> None:
    stream = io.BytesIO(b"")
    stream.close()
    with pytest.raises(ImageUnreadable, match="closed"):
        read_image(stream)


# --- formats


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize("format_", WRITERS)
def test_every_format_at_odd_sizes(format_: str, size_wh: SizeWH) -> None:
    expected = smooth(size_wh)
    picture = read_image(encode(expected, format_))
    assert picture.size_wh == size_wh
    assert picture.pixels.shape == expected.shape
    if format_ in LOSSLESS:
        np.testing.assert_array_equal(picture.pixels, expected)
    else:
        tolerance = 25 if format_ == "GIF" else 12
        np.testing.assert_allclose(picture.pixels.astype(int), expected.astype(int), atol=tolerance)


def test_an_image_of_many_bands_equals_pillow(hopper: Path, astronaut: Path) -> None:
    for path in (hopper, astronaut):
        with PIL.Image.open(path) as image:
            np.testing.assert_array_equal(pixels_of(path), np.asarray(image.convert("RGB")))


def test_heic(heic: bytes) -> None:
    np.testing.assert_allclose(pixels_of(heic).astype(int), smooth((64, 48)).astype(int), atol=12)


def test_heic_without_its_package(heic: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def absent(
        name: str,
        variables: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        names: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name == "pillow_heif":
            raise ModuleNotFoundError(name)
        return genuine(name, variables, local, names, level)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UnsupportedFormat, match="pip install pillow-heif"):
        read_image(heic)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "base64 text"),
    ],
)
def test_a_foreign_format_is_named(data: bytes, kind: str) -> None:
    with pytest.raises(UnsupportedFormat, match=rf"but {kind}.*; supported are JPEG, PNG"):
        read_image(data)


@pytest.mark.parametrize("data", [b"?", b"hello", b"\0" * 64, b"P6 1 1 255 abc", b"8BPS\0\1", b"\xff\xd8"])
def test_unknown_bytes_are_told_what_is_supported(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="<bytes>: not an image that can be read; supported are JPEG, PNG"):
        read_image(data)


def test_nothing_is_empty(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for source in (b"", empty):
        with pytest.raises(UnsupportedFormat, match="empty"):
            pixels_of(source)


# --- colours


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG2000"])
def test_transparency_becomes_white(format_: str) -> None:
    rgba = np.dstack([smooth((64, 48)), np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)])
    np.testing.assert_allclose(pixels_of(encode(rgba, format_)), over_white(rgba), atol=1)


def test_a_transparent_background_is_white_whatever_colour_it_hides() -> None:
    for image in (
        PIL.Image.new("RGBA", (9, 9), (200, 10, 30, 0)),
        PIL.Image.new("LA", (9, 9), (10, 0)),
        PIL.Image.new("PA", (9, 9), (0, 0)),
        PIL.Image.new("RGBa", (9, 9), (0, 0, 0, 0)),
        PIL.Image.new("La", (9, 9), (0, 0)),
    ):
        np.testing.assert_array_equal(pixels_of(image), np.full((9, 9, 3), 255), err_msg=image.mode)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_transparent_colour_becomes_white(mode: str, format_: str) -> None:
    if (mode, format_) == ("RGB", "GIF"):
        pytest.skip("GIF has palettes only")
    image = PIL.Image.new(mode, (4, 4))
    if mode == "P":
        image.putpalette([10, 20, 30, 250, 1, 2])
    data = encode(image, format_, transparency=(0, 0, 0) if mode == "RGB" else 0)
    np.testing.assert_array_equal(pixels_of(data), np.full((4, 4, 3), 255))


def test_a_palette_with_several_degrees_of_transparency() -> None:
    image = PIL.Image.new("P", (3, 1))
    image.putpalette([100, 0, 0, 0, 100, 0, 0, 0, 100])
    image.putdata([0, 1, 2])
    data = encode(image, "PNG", transparency=bytes([255, 51, 0]))
    np.testing.assert_allclose(pixels_of(data), [[[100, 0, 0], [204, 224, 204], [255, 255, 255]]], atol=1)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format_: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.array([(2 * value + 257) // 514 for value in range(65536)]).reshape(256, 256)  # value / 257, rounded
    pixels = pixels_of(encode(PIL.Image.fromarray(values), format_))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], expected)


def test_16_bit_colour_png() -> None:
    values = np.linspace(0, 65535, 6 * 5 * 3).astype(">u2").reshape(5, 6, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    data = png(struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0), rows)
    np.testing.assert_allclose(pixels_of(data), values / 257, atol=1)


def png(header: bytes, rows: bytes) -> bytes:
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]]),
        ([[0.0, 100.0, 255.0]], [[0, 100, 255]]),
        ([[0.0, 25700.0, 65535.0]], [[0, 100, 255]]),
        ([[-1.0, 0.0, 1.0]], [[0, 128, 255]]),
        ([[np.nan, np.inf, 1.0]], [[0, 0, 255]]),
        ([[-3e38, 3e38, 1.0]], [[0, 0, 255]]),
        ([[-9e14, 0, 9e14]], [[0, 128, 255]]),
        ([[-9e14, -9e14, -9e14]], [[0, 0, 0]]),
        ([[7.0, 7.0, 7.0]], [[7, 7, 7]]),
        ([[-5.0, -5.0, -5.0]], [[0, 0, 0]]),
    ],
)
def test_float_tiff_has_its_range_guessed(values: list[list[float]], expected: list[list[int]]) -> None:
    data = encode(PIL.Image.fromarray(np.array(values, np.float32)), "TIFF")
    np.testing.assert_array_equal(pixels_of(data)[..., 0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "I;16B", "F"])
def test_every_mode_of_pillow(mode: str) -> None:
    grey = PIL.Image.fromarray(smooth((40, 30))[..., 0])
    if mode.startswith("I;16"):
        values = np.asarray(grey).astype(">u2" if mode.endswith("B") else "<u2") * 257
        image = PIL.Image.frombytes(mode, grey.size, values.tobytes())
    else:
        image = (grey.convert("RGB") if mode in ("RGBX", "CMYK", "YCbCr", "HSV") else grey).convert(mode)
    expected = np.asarray(grey if mode != "1" else image.convert("L"))
    for channel in range(3):
        np.testing.assert_allclose(pixels_of(image)[..., channel].astype(int), expected.astype(int), atol=2)


def test_lab_equals_the_conversion_by_colour_profiles() -> None:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    muted = smooth((64, 48)) // 3 + 90  # the darkest saturated colours differ between the two white points
    image = ImageCms.profileToProfile(PIL.Image.fromarray(muted), srgb, lab, outputMode="LAB")
    assert image is not None
    for source in (image, encode(image, "TIFF")):
        np.testing.assert_allclose(pixels_of(source).astype(int), muted.astype(int), atol=9)


def test_cmyk_jpeg_is_not_inverted() -> None:
    red = PIL.Image.new("RGB", (16, 16), (220, 30, 30)).convert("CMYK")
    np.testing.assert_allclose(pixels_of(encode(red, "JPEG"))[8, 8].astype(int), (220, 30, 30), atol=6)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_of_several_images_the_first(format_: str) -> None:
    first, second = (PIL.Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    data = encode(first, format_, save_all=True, append_images=[second])
    np.testing.assert_allclose(pixels_of(data)[16, 16].astype(int), (255, 0, 0), atol=6)


# --- upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_wh", [(8, 8), (1, 9), (64, 48)])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientations_equal_those_of_pillow(format_: str, size_wh: SizeWH, orientation: int) -> None:
    data = encode(smooth(size_wh), format_, exif=exif(orientation))
    upright = np.asarray(ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB"))
    picture = read_image(data)
    np.testing.assert_array_equal(picture.pixels, upright)
    assert picture.size_wh == upright.shape[1::-1]
    assert picture.pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_of_pillow_images_and_heic(orientation: int) -> None:
    image = PIL.Image.open(io.BytesIO(encode(smooth((64, 48)), "PNG", exif=exif(orientation))))
    upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(pixels_of(image), upright)
    heic = heif_of(smooth((64, 48)), exif=exif(orientation).tobytes())
    np.testing.assert_allclose(pixels_of(heic).astype(int), upright.astype(int), atol=12)


@pytest.mark.parametrize(
    "malformed",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        exif(9).tobytes(),
        exif(0).tobytes(),
        exif(6).tobytes()[:-8],
        b"Exif\0\0II*\0\x08\0\0\0\x02\0\x00\x01\x04\0\xff\xff\xff\x0f\x08\0\0\0",
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_malformed_exif_is_ignored(format_: str, malformed: bytes) -> None:
    data = encode(smooth((64, 48)), format_, exif=malformed)
    data = data.replace(b"JFIF", b"----")  # without a resolution of its own, so that Pillow would look for one in EXIF
    np.testing.assert_allclose(pixels_of(data).astype(int), smooth((64, 48)).astype(int), atol=6)


# --- reduction


@pytest.mark.parametrize(("factor", "scale"), [(0.5, 1), (1, 1), (1.99, 1), (2, 2), (3.9, 2), (4, 4), (8, 8), (99, 8)])
@pytest.mark.parametrize("size_wh", [(1601, 1203), (7, 3), (1, 1)])
def test_a_reduced_jpeg_is_never_smaller_than_asked(size_wh: SizeWH, factor: float, scale: int) -> None:
    picture = read_image(encode(smooth(size_wh), "JPEG"), reduction=lambda _size_wh: factor)
    height, width = picture.pixels.shape[:2]
    assert picture.size_wh == size_wh
    assert width * max(factor, 1) >= size_wh[0]
    assert height * max(factor, 1) >= size_wh[1]
    if min(size_wh) > 8:
        assert (width, height) == (-(-size_wh[0] // scale), -(-size_wh[1] // scale))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
def test_points_are_taken_to_the_stored_image(format_: str, orientation: int) -> None:
    stored = np.random.default_rng(orientation).integers(0, 256, (5, 8, 3), np.uint8)
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    PIL.Image.fromarray(stored).save(buffer, format_, exif=exif, **({"lossless": True} if format_ == "WEBP" else {}))
    picture = read_image(buffer.getvalue())
    assert picture.orientation == orientation
    rows, columns = np.mgrid[: picture.size_wh[1], : picture.size_wh[0]].reshape(2, -1)
    x, y = picture.stored(np.column_stack([columns, rows]).astype(np.float32)).astype(int).T
    np.testing.assert_array_equal(stored[y, x], picture.pixels[rows, columns])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_jpeg_is_upright_and_looks_like_the_whole(orientation: int) -> None:
    asked: list[SizeWH] = []

    def quarter(size_wh: SizeWH) -> float:
        asked.append(size_wh)
        return 4

    data = encode(smooth((640, 480)), "JPEG", exif=exif(orientation))
    upright = ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    picture = read_image(data, reduction=quarter)
    assert asked == [upright.size] == [picture.size_wh]
    expected = np.asarray(upright.reduce(4))
    assert picture.pixels.shape == expected.shape
    np.testing.assert_allclose(picture.pixels.astype(int), expected.astype(int), atol=4)


def test_a_reduction_of_the_caller_raises_as_it_is() -> None:
    def fail(_size_wh: SizeWH) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_image(encode(smooth((64, 48)), "JPEG"), reduction=fail)


def test_limits_come_before_reduction() -> None:
    def never(_size_wh: SizeWH) -> float:
        pytest.fail("asked about an image that is too large")

    with pytest.raises(ImageTooLarge):
        read_image(encode(smooth((64, 48)), "JPEG"), limits=ImageLimits(max_pixels=9), reduction=never)


def test_the_default_reduction_is_none() -> None:
    assert no_reduction((9, 9)) == 1


# --- limits


@pytest.mark.parametrize("format_", [*WRITERS, "HEIF"])
def test_pixels_are_limited(format_: str) -> None:
    data = heif_of(smooth((64, 48))) if format_ == "HEIF" else encode(smooth((64, 48)), format_)
    assert read_image(data, limits=ImageLimits(max_pixels=64 * 48)).size_wh == (64, 48)
    with pytest.raises(ImageTooLarge, match=r"64 x 48 = 3,072 pixels; the limit max_pixels is 3,071"):
        read_image(data, limits=ImageLimits(max_pixels=64 * 48 - 1))


def test_pixels_of_arrays_and_pillow_images_are_limited(photo: UInt8Array) -> None:
    for source in (photo, PIL.Image.fromarray(photo)):
        with pytest.raises(ImageTooLarge, match="76,800 pixels"):
            read_image(source, limits=ImageLimits(max_pixels=76_799))


def test_bytes_are_limited(tmp_path: Path, photo: UInt8Array) -> None:
    data = encode(photo, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    exact, less = ImageLimits(max_bytes=len(data)), ImageLimits(max_bytes=len(data) - 1)
    for source in (data, bytearray(data), memoryview(data), path, io.BytesIO(data)):
        np.testing.assert_array_equal(read_image(cast("ImageSource", source), limits=exact).pixels, photo)
    for source in (data, bytearray(data), memoryview(data), path, io.BytesIO(data)):
        with pytest.raises(ImageTooLarge, match=f"the limit max_bytes is {len(data) - 1:,}"):
            read_image(cast("ImageSource", source), limits=less)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageTooLarge, match=r"1,099,511,627,776 bytes"):
        read_image(path)


@pytest.mark.parametrize("side", [10_500, 40_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header_without_a_warning(side: int) -> None:
    data = png(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"")
    with pytest.raises(ImageTooLarge, match=f"{side} x {side}"):
        read_image(data)


def test_limits_may_be_beyond_those_of_pillow_without_a_warning() -> None:
    side = 9_500  # more than PIL.Image.MAX_IMAGE_PIXELS
    data = png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"\0" * (side // 8 + 2) * side)
    assert read_image(data, limits=ImageLimits(max_pixels=10**9)).size_wh == (side, side)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "9"])
@pytest.mark.parametrize("setting", ["max_bytes", "max_pixels"])
def test_limits_are_positive_whole_numbers(setting: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"{setting} must be a positive int"):
        ImageLimits(**cast("dict[str, int]", {setting: value}))


# --- damage


def encoded_example(format_: str) -> bytes:
    return heif_of(smooth((64, 48))) if format_ == "HEIF" else encode(smooth((64, 48)), format_)


@pytest.mark.parametrize("format_", TRUNCATABLE)
def test_every_truncation_gives_a_picture_or_an_error_of_ours(format_: str) -> None:
    data = encoded_example(format_)
    lengths = {*range(min(len(data), 80)), *range(0, len(data), max(1, len(data) // 60))}
    outcomes = [outcome(data[:length]) for length in lengths]
    assert set(outcomes) <= {"picture", "image_corrupt", "unsupported_format"}


def outcome(data: bytes) -> str:
    try:
        assert read_image(data).size_wh == (64, 48)
    except InputError as error:
        return error.code
    return "picture"


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_half_an_image_is_an_error(format_: str) -> None:
    data = encoded_example(format_)
    with pytest.raises(ImageCorrupt, match="damaged, cut off") as caught:
        read_image(data[: len(data) // 2])
    assert caught.value.__cause__ is not None


def test_a_corrupt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(encoded_example("JPEG")[:300])
    with pytest.raises(ImageCorrupt, match=r"half\.jpg: damaged, cut off"):
        read_image(path)


@given(
    format_=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=9),
)
def test_changed_bytes_give_a_picture_or_an_error_of_ours(format_: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(EXAMPLES.setdefault(format_, encoded_example(format_)))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        picture = read_image(data, limits=ImageLimits(max_pixels=1_000_000))
    except VisavisError:
        return
    except UserWarning as warning:
        pytest.fail(f"a warning of Pillow escaped: {warning}")
    assert picture.pixels.shape[2] == 3


EXAMPLES: dict[str, bytes] = {}


@pytest.mark.parametrize("size_wh", [(0, 5), (5, 0)])
def test_images_without_pixels(size_wh: SizeWH) -> None:
    for source in (PIL.Image.new("RGB", size_wh), np.zeros((*size_wh, 3), np.uint8)):
        with pytest.raises(InvalidImage, match=r"(5 x 0|0 x 5) pixels is no image"):
            pixels_of(source)
    header = struct.pack(">IIBBBBB", *size_wh, 8, 2, 0, 0, 0)
    with pytest.raises(ImageCorrupt):
        read_image(png(header, b""))


# --- arrays


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 30), (13, 7), (320, 240)])
def test_arrays_of_every_type_and_channel_count(size_wh: SizeWH) -> None:
    rgb = smooth(size_wh)
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    for array, expected in (
        (rgb, rgb),
        (rgb[..., 0], rgb[..., [0, 0, 0]]),
        (rgb[..., :1], rgb[..., [0, 0, 0]]),
        (opaque, rgb),
    ):
        variants = [
            array,
            array.astype(np.uint16) * 257,
            (array.astype(np.uint16) * 257).astype(">u2"),
            *((array / 255).astype(kind) for kind in (np.float16, np.float32, np.float64, np.longdouble, ">f4")),
            np.asfortranarray(array),
            array[::-1][::-1],
        ]
        for variant in variants:
            picture = read_image(variant)
            np.testing.assert_array_equal(picture.pixels, expected)
            assert picture.size_wh == size_wh
            assert picture.pixels.flags.c_contiguous


def test_rgba_arrays_are_laid_on_white() -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (200, 300, 4), np.uint8)
    np.testing.assert_allclose(pixels_of(rgba), over_white(rgba), atol=1)
    np.testing.assert_allclose(pixels_of(rgba[::-2, ::3]), over_white(rgba[::-2, ::3]), atol=1)


def test_the_callers_array_and_image_stay_as_they_are(photo: UInt8Array) -> None:
    arrays = [photo.copy(), photo / 255, photo[..., 0].copy(), np.dstack([photo, photo[..., 0]])]
    for array in arrays:
        before = array.copy()
        read_image(array)
        np.testing.assert_array_equal(array, before)
        assert array.flags.writeable
    image = PIL.Image.open(io.BytesIO(encode(photo, "JPEG", exif=exif(6))))
    read_image(image, reduction=lambda _size_wh: 8)
    assert (image.size, image.mode) == ((320, 240), "RGB")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01, 255.0])
def test_floats_out_of_range(value: float) -> None:
    array = np.full((300, 200, 3), 0.5)
    array[-1, -1, -1] = value
    with pytest.raises(InvalidImage, match="floats must lie from 0 to 1"):
        read_image(array)


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.int16, np.int32, np.int64, np.uint32, complex, object, "U1", "M8[s]"]
)
def test_arrays_of_other_types(dtype: str) -> None:
    with pytest.raises(InvalidImage, match="expected RGB in uint8, uint16 or floats from 0 to 1, got"):
        read_image(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((), ""),
        ((100,), r"array\.tobytes\(\)"),
        ((4, 4, 2), ""),
        ((4, 4, 5), ""),
        ((3, 480, 640), r"channels come last: array\.transpose\(1, 2, 0\)"),
        ((2, 4, 4, 3), ""),
    ],
)
def test_arrays_of_other_shapes(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(
        InvalidImage, match=r"expected the shape \(H, W\) or \(H, W, 1 \| 3 \| 4\), RGB and not BGR, got \(.*" + hint
    ):
        read_image(np.zeros(shape, np.uint8))


# --- threads


def test_many_threads_decode_the_same_bytes_alike(photo: UInt8Array) -> None:
    examples = [encode(photo, format_) for format_ in ("JPEG", "PNG", "WEBP", "GIF", "TIFF")]
    expected = [pixels_of(data) for data in examples]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(pixels_of, examples * 20))
    for index, pixels in enumerate(results):
        np.testing.assert_array_equal(pixels, expected[index % len(examples)])


def test_pillows_global_state_stays_as_it_is(photo: UInt8Array) -> None:
    before = PIL.Image.MAX_IMAGE_PIXELS, dict(PIL.Image.OPEN)
    read_image(encode(photo, "JPEG"))
    read_image(heif_of(photo))
    assert (PIL.Image.MAX_IMAGE_PIXELS, dict(PIL.Image.OPEN)) == before


def test_a_picture_does_not_freeze_what_it_was_made_of(photo: UInt8Array) -> None:
    mine = photo.copy()
    picture = Picture(mine, (320, 240))
    assert mine.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    buffer = io.BytesIO()
    PIL.Image.new("L", (64, 64), 128).save(buffer, "JPEG", progressive=True)
    jpeg = buffer.getvalue()
    last_scan, end = jpeg[jpeg.rindex(b"\xff\xda") : -2], jpeg[-2:]
    few, many = jpeg[:-2] + 20 * last_scan + end, jpeg[:-2] + 100 * last_scan + end
    assert read_image(few).size_wh == (64, 64)
    assert read_image(few + many).size_wh == (64, 64)  # what follows the end is another image's
    comment = b"\xff\xfe" + (2 + 400).to_bytes(2, "big") + 200 * b"\xff\xda"
    assert read_image(jpeg[:2] + comment + jpeg[2:]).size_wh == (64, 64)
    with pytest.raises(ImageCorrupt, match="a JPEG of 106 scans"):
        read_image(many)
