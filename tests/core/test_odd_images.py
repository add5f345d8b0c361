"""Damage that is none: ends and beginnings of JPEGs, few bits in many, alpha that nobody set."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from visavis import ImageCorrupt
from visavis.core.image import read_image

END = b"\xff\xd9"


@pytest.fixture(scope="module")
def photo(hopper: Path) -> PIL.Image.Image:
    with PIL.Image.open(hopper) as image:
        resized: PIL.Image.Image = image.convert("RGB").resize((203, 241))
        return resized


def encoded(image: PIL.Image.Image, format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "grey": {},
    "optimised": {"optimize": True, "quality": 60},
    "without subsampling": {"subsampling": 0},
    "with restarts": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
}


def jpeg(photo: PIL.Image.Image, kind: str) -> bytes:
    return encoded(photo.convert("L") if kind == "grey" else photo, "JPEG", **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1, 2, 8])
def test_a_jpeg_with_all_its_pixels_needs_no_end(photo: PIL.Image.Image, kind: str, factor: int) -> None:
    data = jpeg(photo, kind)
    whole = read_image(data, reduction=lambda _size_wh: factor)
    body = data.removesuffix(END)
    for end in (b"", b"\xff", b"\0" * 100, b"\xff" + b"\0" * 10, b"dhav\x59\x19\x01\0", b"\xff\xff", END + b"\0" * 10):
        picture = read_image(body + end, reduction=lambda _size_wh: factor)
        np.testing.assert_array_equal(picture.pixels, whole.pixels, err_msg=repr(end))
        assert picture.size_wh == whole.size_wh == photo.size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("padding", [b"", b"\0" * 5000])
def test_a_jpeg_without_some_of_its_pixels_is_an_error(
    photo: PIL.Image.Image, kind: str, part: float, padding: bytes
) -> None:
    data = jpeg(photo, kind)
    with pytest.raises(ImageCorrupt, match="damaged, cut off"):
        read_image(data[: int(len(data) * part)] + padding)


def test_half_of_a_grey_wall_is_an_error() -> None:
    data = encoded(PIL.Image.new("RGB", (640, 480), (128, 128, 128)), "JPEG")
    scan = data.rindex(b"\xff\xda") + 14
    with pytest.raises(ImageCorrupt):
        read_image(data[: (scan + len(data)) // 2])


@pytest.mark.parametrize(
    "lead", [b"\xef\xbb\xbf", b"\r\n", b"\n", b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 29087\r\n\r\n"]
)
def test_what_comes_before_a_jpeg(photo: PIL.Image.Image, lead: bytes) -> None:
    data = jpeg(photo, "baseline")
    np.testing.assert_array_equal(read_image(lead + data).pixels, read_image(data).pixels)


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12])
def test_few_bits_in_16_bit_grey_are_scaled_by_what_they_hold(photo: PIL.Image.Image, bits: int) -> None:
    grey = np.asarray(photo.convert("L"))
    few = np.rint(grey / 255.0 * (2**bits - 1)).astype(np.uint16)
    assert few.max() >= 2 ** (bits - 1)
    image = PIL.Image.fromarray(few)
    rgb = np.dstack([few] * 3)
    for source in (
        image,
        encoded(image, "PNG"),
        encoded(image, "TIFF"),
        few,
        few[..., np.newaxis],
        rgb,
        few.astype(">u2"),
    ):
        pixels = read_image(source).pixels
        np.testing.assert_allclose(pixels[..., 0].astype(int), grey.astype(int), atol=1)


def test_13_to_16_bits_are_16(photo: PIL.Image.Image) -> None:
    grey = np.asarray(photo.convert("L")).astype(np.uint16)
    for array in (grey * 257, np.minimum(grey * 257, 20_000), grey * 16 + 100):
        expected = np.rint(array / 257.0).astype(int)
        for source in (array, PIL.Image.fromarray(array), encoded(PIL.Image.fromarray(array), "PNG")):
            assert array.max() >= 4096 or pytest.fail("the case is another one")
            np.testing.assert_allclose(read_image(source).pixels[..., 0].astype(int), expected, atol=1)


@pytest.mark.parametrize("alpha", [0, 1])
def test_alpha_that_shows_nothing_is_dropped(photo: PIL.Image.Image, alpha: int) -> None:
    rgba, la = photo.convert("RGBA"), photo.convert("LA")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = photo.quantize(200)
    colours, grey = np.asarray(photo), np.asarray(photo.convert("L").convert("RGB"))
    shown = np.asarray(palette.convert("RGB"))
    array = np.asarray(rgba)
    for source, expected in (
        (rgba, colours),
        (encoded(rgba, "PNG"), colours),
        (encoded(rgba, "TIFF"), colours),
        (encoded(rgba, "WEBP", lossless=True, exact=True), colours),
        (la, grey),
        (encoded(la, "PNG"), grey),
        (encoded(palette, "PNG", transparency=bytes([alpha] * 200)), shown),
        (array, colours),
        (array.astype(np.uint16) * 257, colours),
        (array / np.float32(255), colours),
    ):
        np.testing.assert_array_equal(read_image(source).pixels, expected)


def test_alpha_that_shows_something_counts(photo: PIL.Image.Image) -> None:
    rgba = photo.convert("RGBA")
    rgba.putalpha(0)
    rgba.paste((10, 20, 30, 255), (0, 230, 5, 235))  # in the last rows
    for source in (rgba, encoded(rgba, "PNG"), np.asarray(rgba)):
        pixels = read_image(source).pixels
        assert (pixels[:230] == 255).all()
        assert pixels[232, 2].tolist() == [10, 20, 30]
    assert (read_image(np.zeros((9, 9, 4), np.uint8)).pixels == 255).all()  # there is no picture below


def test_the_files_of_the_cases(test_data: Path) -> None:
    folder = test_data / "cases" / "odd"
    if not folder.exists():
        pytest.skip("without the cases")
    lacking = {path.name for path in folder.glob("lost-last-*")} | {"progressive-cut-half.jpg", "heic-cut-80pct.heic"}
    for path in folder.iterdir():
        if path.suffix in {".dds", ".ico", ".pcx", ".tga"}:
            continue  # which are not read, and say so
        if path.name in lacking:
            with pytest.raises(ImageCorrupt):
                read_image(path)
        elif "blank" not in path.name and path.name != "bmp32-alpha-zero.bmp":  # which has no pixels but black ones
            small = np.asarray(PIL.Image.fromarray(read_image(path).pixels).convert("L").resize((40, 48)))
            assert np.ptp(small) > 30, path.name
