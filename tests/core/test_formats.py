"""What files may ask of a decoder, hostile and honest ones: calls of Python, memory, and work."""

import io
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import image_bombs as bombs
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from image_bombs import encoded, noise, plain

from visavis import Recognizer
from visavis.core import formats, work
from visavis.core.image import ImageLimits, read_image
from visavis.errors import ImageCorrupt, ImageTooLarge, InputError, TooMuchWork

FLOOD_BYTES = 3_000_000
BUDGET = 64_000_000


@contextmanager
def budget(most_pixels: float) -> Iterator[work.Work]:
    given = work.Work(most_pixels)
    token = work.WORK.set(given)
    try:
        yield given
    finally:
        work.WORK.reset(token)


def calls_of(data: bytes) -> int:
    """Return how many functions are called to read an image; each decompression counts as a thousand."""
    count = 0

    def profile(_frame: FrameType, event: str, argument: Any) -> None:  # noqa: ANN401 -- as Python calls it
        nonlocal count
        count += event in ("call", "c_call")
        count += 1000 * (event == "c_call" and argument.__name__ == "decompressobj")

    sys.setprofile(profile)
    try:
        read_image(data)
    except InputError:
        pass
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.filterwarnings("ignore")  # of Pillow, which warns of half of this
@pytest.mark.thorough
@pytest.mark.parametrize("name", bombs.FLOODS)
def test_a_flood_of_small_parts_is_bounded(name: str) -> None:
    data = bombs.FLOODS[name](FLOOD_BYTES)
    assert len(data) < 1.2 * FLOOD_BYTES
    tracemalloc.start()
    calls = calls_of(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert calls < 600_000
    assert peak < 6 * FLOOD_BYTES


def test_reads_count_as_work() -> None:
    data = bombs.gif_of_comments(40_000)
    assert read_image(data).size_wh == (16, 16)
    with budget(BUDGET) as given:
        read_image(data)
        assert given.spent >= 80_000 * 60
    with budget(1_000_000), pytest.raises(TooMuchWork):
        read_image(data)


def test_a_stopped_call_stops_its_decoder() -> None:
    with budget(BUDGET) as given:
        given.stop()
        with pytest.raises(work.Stopped):
            read_image(bombs.gif_of_comments(40_000))
        with pytest.raises(work.Stopped):
            read_image(encoded(plain(16), "PNG"))


def _jpeg_of_a_camera() -> bytes:
    """A JPEG with all that cameras and programs write before the picture: some 1.5 MB."""
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A Maker"
    exif.get_ifd(0x8769)[0x927C] = bytes(60_000)  # the maker's note
    jpeg = encoded(
        PIL.Image.fromarray(_photo(), "RGB"), "JPEG", exif=exif, icc_profile=bytes(500_000), progressive=True
    )
    more = [bombs.segment(0xE2, b"maker\0" + bytes(60_000)), bombs.segment(0xED, b"Photoshop 3.0\0" + bytes(60_000))]
    more += [bombs.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000)) for _ in range(15)]
    return jpeg[:2] + b"".join(more) + jpeg[2:]


def _photo(side: int = 640) -> np.ndarray[Any, Any]:
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack(
        [np.tile(ramp, (side, 1)), np.tile(ramp[:, np.newaxis], (1, side)), np.full((side, side), 99, np.uint8)], -1
    )


def test_a_picture_is_the_same_without_what_does_not_make_it() -> None:
    data = _jpeg_of_a_camera()
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(read_image(data).pixels, np.asarray(expected))
    png = encoded(PIL.Image.fromarray(_photo()), "PNG", icc_profile=bytes(100_000), exif=b"Exif\0\0II*\0")
    text = bombs.chunk(b"tEXt", b"Comment\0" + 100 * b"words ") + bombs.chunk(b"zTXt", b"A\0\0" + bombs.BOMB)
    np.testing.assert_array_equal(read_image(png[:33] + text + png[33:]).pixels, _photo())


HONEST = {
    "TIFF of a strip for each row": lambda: encoded(PIL.Image.new("L", (64, 20_000), 7), "TIFF", tiffinfo={278: 1}),
    "TIFF of compressed rows": lambda: encoded(
        PIL.Image.new("L", (64, 20_000), 7), "TIFF", compression="tiff_lzw", tiffinfo={278: 1}
    ),
    "PNG of 30,000 pieces": lambda: _in_pieces(encoded(noise(640), "PNG"), 40),
    "JPEG of 60 scans": lambda: bombs.jpeg_of_scans(64),
    "JPEG 2000 of 32 x 32": lambda: bombs.j2k_of_blocks(256, 32),
    "JPEG 2000 of precincts": lambda: encoded(plain(512), "JPEG2000", precinct_size=(128, 128), tile_size=(256, 256)),
    "GIF of many images": lambda: encoded(plain(64), "GIF", save_all=True, append_images=[plain(64, "L")] * 300),
    "BMP of runs": lambda: bombs.bmp_of_runs(200, 200),
}


def _in_pieces(png: bytes, size: int) -> bytes:
    """Return a PNG whose data are cut into chunks of so many bytes."""
    begin = png.index(b"IDAT") - 4
    length = int.from_bytes(png[begin : begin + 4], "big")
    data = png[begin + 8 : begin + 8 + length]
    pieces = b"".join(bombs.chunk(b"IDAT", data[at : at + size]) for at in range(0, min(length, 30_000 * size), size))
    return png[:begin] + pieces + bombs.chunk(b"IDAT", data[30_000 * size :]) + png[begin + length + 12 :]


@pytest.mark.parametrize("name", HONEST)
def test_what_is_unusual_and_honest_is_read(name: str) -> None:
    data = HONEST[name]()
    assert read_image(data).size_wh == PIL.Image.open(io.BytesIO(data)).size


def test_tiffs_of_either_byte_order_and_size_are_looked_at() -> None:
    kinds: list[dict[str, Any]] = [{}, {"order": ">"}, {"big": True}]
    for options in kinds:
        few = bombs.tiff_of_strips(20, **options)
        assert read_image(few).size_wh == (1, 20)
        with pytest.raises(ImageCorrupt, match="strips, tiles or other numbers"):
            read_image(bombs.tiff_of_strips(300_000, **options))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bombs.j2k_of_blocks(64, 4), "code-blocks or precincts"),
        (bombs.j2k_of_tiny_precincts(64), "code-blocks or precincts"),
        (bombs.j2k_of_tiles(1000), "62,500 tiles and 3 components"),
        (bombs.j2k_of_boxes(40_000), "large header"),
        (bombs.jpeg_of_tables(3000), "bytes of tables"),
        (bombs.jpeg_of_scans(64, 70), "scans, where 64 are plenty"),
    ],
)
def test_what_would_be_dear_is_refused_before(data: bytes, why: str) -> None:
    with budget(BUDGET) as given:
        with pytest.raises(ImageCorrupt, match=why):
            read_image(data)
        assert given.spent == 0


def test_a_jpeg_2000_has_one_size() -> None:
    with pytest.raises(ImageTooLarge, match=r"300 x 300 = 90,000 pixels"):
        read_image(bombs.j2k_of_another_size(300), limits=ImageLimits(max_pixels=10_000))


def test_a_bmp_of_runs_may_have_four_megapixels() -> None:
    assert read_image(bombs.bmp_of_runs(1000, 1000)).size_wh == (1000, 1000)
    with pytest.raises(ImageTooLarge, match="a BMP of runs may have 4,000,000 pixels"):
        read_image(bombs.bmp_of_runs(2001, 2000))


@pytest.mark.parametrize(
    ("format_", "mode", "options", "bytes_a_pixel"),
    [
        ("JPEG", "RGB", {"subsampling": 0}, 7),
        ("JPEG", "RGB", {"progressive": True}, 7),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, 10),
        ("JPEG", "CMYK", {"progressive": True}, 12),
        ("PNG", "RGBA", {}, 7),
        ("TIFF", "RGB", {}, 7),
        ("TIFF", "F", {}, 8),
        ("WEBP", "RGB", {}, 7),
        ("WEBP", "RGBA", {}, 7),
        ("WEBP", "RGB", {"save_all": True, "append_images": [PIL.Image.new("RGB", (64, 64), "red")]}, 16),
        ("AVIF", "RGBA", {}, 16),
        ("JPEG2000", "RGB", {}, 20),
    ],
)
def test_memory_is_limited_by_format(
    monkeypatch: pytest.MonkeyPatch, format_: str, mode: str, options: dict[str, Any], bytes_a_pixel: int
) -> None:
    data, few = encoded(PIL.Image.new(mode, (64, 64)), format_, **options), ImageLimits(max_pixels=64 * 64)
    monkeypatch.setattr(formats, "_MOST_BYTES_A_PIXEL", 0)
    monkeypatch.setattr(formats, "_MOST_BYTES", bytes_a_pixel * 64 * 64)
    assert read_image(data, limits=few).size_wh == (64, 64)
    monkeypatch.setattr(formats, "_MOST_BYTES", bytes_a_pixel * 64 * 64 - 1)
    with pytest.raises(ImageTooLarge, match=r"64 x 64 = 4,096 pixels; an image in this format may have 4,09\d"):
        read_image(data, limits=few)


def spent(data: bytes, reduction: float = 1.0) -> float:
    with budget(BUDGET) as given:
        read_image(data, reduction=lambda _size_wh: reduction)
    return given.spent


def test_a_reduced_jpeg_costs_less_and_more_scans_more() -> None:
    jpeg = encoded(plain(512), "JPEG")
    assert spent(jpeg, 4) < spent(jpeg) / 3
    assert spent(bombs.jpeg_of_scans(512, 40)) > 1.5 * spent(bombs.jpeg_of_scans(512, 10))
    for format_ in ("PNG", "WEBP", "AVIF", "JPEG2000", "TIFF", "BMP"):
        assert spent(encoded(plain(512), format_)) > 0.05 * 512 * 512


def peak_of(data: bytes) -> int:
    """Return the most bytes that are held of pixels, besides Pillow's own, while an image is read."""
    tracemalloc.start()
    try:
        read_image(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_jpeg_without_an_end_is_decoded_twice_and_counts_so_but_takes_no_more_memory() -> None:
    jpeg = encoded(plain(1024), "JPEG")
    assert spent(jpeg[:-2]) == pytest.approx(2 * spent(jpeg), rel=0.01)
    assert peak_of(jpeg[:-2]) < 1.2 * peak_of(jpeg)
    with budget(1.5 * spent(jpeg)), pytest.raises(TooMuchWork):
        read_image(jpeg[:-2])
    segments = bombs.jpeg_of_segments(49_000)
    assert calls_of(segments[:-2]) < 1.1 * calls_of(segments)


def test_alpha_that_is_dropped_takes_no_more_memory() -> None:
    image = noise(1024, "RGBA")
    usual = encoded(image, "PNG", compress_level=0)
    image.putalpha(0)
    assert peak_of(encoded(image, "PNG", compress_level=0)) < 1.2 * peak_of(usual)


@pytest.mark.thorough
def test_sixteen_photos_of_fifty_megapixels_pass_and_as_many_dear_images_do_not() -> None:
    photo = encoded(PIL.Image.fromarray(_photo(7071)), "JPEG", quality=90)
    with budget(BUDGET) as given:
        for _ in range(16):
            read_image(photo, reduction=lambda _size_wh: 4)
        assert given.spent < BUDGET / 3
    dear = encoded(plain(4300), "JPEG2000")
    with budget(BUDGET) as given:
        read_image(dear)
        assert 16 * given.spent > BUDGET


def test_an_overlay_of_images_is_refused() -> None:
    heic = bombs.heif(plain(64))
    made = heic.replace(b"hvc1", b"iovl", 1)
    assert made != heic
    with pytest.raises(ImageCorrupt, match="an overlay of several images"):
        read_image(made)


def test_a_directory_beyond_the_end_is_an_error_of_ours() -> None:
    with pytest.raises(ImageCorrupt, match="damaged, cut off"):
        read_image(b"II*\0" + struct.pack("<I", 1_000_000))


def test_an_error_that_stands_for_a_result_holds_nothing(recognizer: Recognizer) -> None:
    strips, dear = bombs.tiff_of_strips(90_000), encoded(plain(2000), "PNG")
    tracemalloc.start()
    try:
        with budget(1000):
            results = list(recognizer.detect_many([strips, dear] * 4))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [type(each) for each in results] == [TooMuchWork, TooMuchWork] * 4
    with budget(BUDGET):
        (corrupt,) = recognizer.detect_many([strips])
    assert isinstance(corrupt, ImageCorrupt)
    assert held < 1_000_000
