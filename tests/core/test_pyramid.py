import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from visavis.core.pyramid import (
    BORDER,
    GAP,
    Canvas,
    Pyramid,
    cost_of,
    paint,
    plan_canvases,
    pyramid_levels,
    search_size,
)
from visavis.core.work import WORK, Work

REACH = 96
WINDOW = 80
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(sizes)
def test_levels_shrink_by_a_sixth_down_to_a_few_rows(size: tuple[int, int]) -> None:
    levels = pyramid_levels(size)
    assert [level.number for level in levels] == list(range(len(levels)))
    assert all(level.size_wh[0] >= 1 and level.size_wh[1] >= 5 for level in levels)
    for one, next_one in itertools.pairwise(levels):
        assert next_one.size_wh == (5 * one.size_wh[0] // 6, 5 * one.size_wh[1] // 6)


def test_tiny_images_have_no_levels() -> None:
    assert pyramid_levels((1, 1)) == ()
    assert list(plan_canvases([], REACH)) == []


def regions(canvas: Canvas) -> list[tuple[int, int, int, int]]:
    return [(*tile.at_xy, tile.at_xy[0] + tile.size_wh[0], tile.at_xy[1] + tile.size_wh[1]) for tile in canvas.tiles]


@given(sizes)
def test_tiles_lie_apart_within_their_canvas(size: tuple[int, int]) -> None:
    for canvas in plan_canvases(pyramid_levels(size), REACH):
        boxes = regions(canvas)
        for left, top, right, bottom in boxes:
            assert min(left, top) >= BORDER
            assert right + BORDER <= canvas.size_wh[0]
            assert bottom + BORDER <= canvas.size_wh[1]
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) >= GAP / 2


@given(sizes)
def test_every_point_of_every_level_is_owned_once(size: tuple[int, int]) -> None:
    levels = pyramid_levels(size)
    tiles = [tile for canvas in plan_canvases(levels, REACH) for tile in canvas.tiles]
    for level in levels:
        width, height = level.size_wh
        own = [tile for tile in tiles if tile.level == level]
        area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (tile.owns_xyxy for tile in own))
        assert area == pytest.approx((width + GAP) * (height + GAP))
        for tile in own:
            (x, y), (w, h) = tile.origin_xy, tile.size_wh
            x0, y0, x1, y1 = tile.owns_xyxy
            # A cut tile shows everything that the detector sees around the part it answers for.
            assert x == 0 or (x0 - x >= REACH and x % 8 == 0)
            assert y == 0 or (y0 - y >= REACH and y % 8 == 0)
            assert x + w == width or x + w - x1 >= REACH
            assert y + h == height or y + h - y1 >= REACH


def test_canvases_stay_small_however_large_the_image() -> None:
    for size in ((20_000, 5_000), (100_000, 600), (600, 100_000)):
        for canvas in plan_canvases(pyramid_levels(size), REACH):
            assert canvas.size_wh[0] * canvas.size_wh[1] < 6_000_000


def test_a_cut_level_shows_the_pixels_of_the_whole(astronaut_pixels: NDArray[np.uint8]) -> None:
    size = (4200, 2500)
    level = pyramid_levels(size)[0]
    whole = cv2.resize(astronaut_pixels, size, interpolation=cv2.INTER_LINEAR).astype(int)
    canvases = [canvas for canvas in plan_canvases([level], REACH) if canvas.tiles[0].size_wh != size]
    assert len(canvases) > 1
    for canvas in canvases:
        (tile,) = canvas.tiles
        (x, y), (w, h) = tile.origin_xy, tile.size_wh
        shown = paint(canvas, Pyramid(astronaut_pixels), (0, 0, 0))[BORDER : BORDER + h, BORDER : BORDER + w]
        # OpenCV samples with 1/32 of a pixel.
        assert np.abs(shown - whole[y : y + h, x : x + w]).max() <= 8


def test_paint_leaves_background_around_the_tiles(astronaut_pixels: NDArray[np.uint8]) -> None:
    (canvas,) = plan_canvases(pyramid_levels((200, 150)), REACH)
    pixels = paint(canvas, Pyramid(astronaut_pixels), (1, 2, 3))
    covered = np.zeros(pixels.shape[:2], bool)
    for left, top, right, bottom in regions(canvas):
        covered[top:bottom, left:right] = True
    assert (pixels[~covered] == (1, 2, 3)).all()
    assert pixels[BORDER : BORDER + 150, BORDER : BORDER + 200].std() > 10


def painted(search_size_wh: tuple[int, int]) -> int:
    """Return how many pixels the canvases of a search have."""
    canvases = plan_canvases(pyramid_levels(search_size_wh), REACH)
    return sum(canvas.size_wh[0] * canvas.size_wh[1] for canvas in canvases)


@pytest.mark.parametrize("size", [(32, 64_031), (64_031, 32), (1, 50_000_000), (50_000_000, 1), (500, 100_000)])
def test_a_strip_is_searched_for_no_more_than_its_own_area_or_a_large_photo(size: tuple[int, int]) -> None:
    searched = search_size(size, 0.08, WINDOW)
    assert searched[0] * searched[1] <= min(size[0] * size[1], 16_010_000)
    assert painted(searched) <= 5 * cost_of(searched)
    assert cost_of(searched) <= 16_010_000


@pytest.mark.parametrize(("short", "long"), [(30, 3000), (100, 1000), (240, 1700)])
def test_a_short_strip_is_enlarged_to_the_length_of_a_photo(short: int, long: int) -> None:
    assert max(search_size((short, long), 0.08, WINDOW)) == 4000


@given(st.integers(1, 4000), st.floats(1, 4), st.floats(0.02, 0.9))
def test_photos_are_searched_as_finely_as_their_faces_ask_for(short: int, ratio: float, min_face: float) -> None:
    size = (short, int(short * ratio))
    scale = min(WINDOW / min_face / short, 4, (16e6 / (size[0] * size[1])) ** 0.5)
    if scale * short >= 64:
        assert search_size(size, min_face, WINDOW) == pytest.approx((scale * size[0], scale * size[1]), abs=0.51)


def test_a_small_portrait_is_enlarged() -> None:
    assert search_size((100, 100), 0.08, WINDOW) == (400, 400)


@pytest.mark.parametrize("size", [(1, 50_000_000), (7071, 7071), (33, 1_000_000)])
@pytest.mark.parametrize(("budget", "most"), [(1e12, 100_000_000), (40_000_000, 10_000_000)])
def test_faces_too_small_for_an_image_are_looked_for_as_finely_as_it_may_be(
    size: tuple[int, int], budget: float, most: int
) -> None:
    given = WORK.set(Work(budget))
    try:
        assert 0.99 * most <= cost_of(search_size(size, 10, WINDOW)) <= 1.0001 * most
    finally:
        WORK.reset(given)
