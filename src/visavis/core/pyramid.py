"""Image pyramids, and the canvases that show many of their levels to a fully convolutional detector in one run.

A level is the image at one scale. Levels lie on a canvas as tiles, in the manner of dlib: down the left side, and
back up the right side. Large levels are cut into overlapping tiles with a canvas each, so that memory stays bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from visavis.core import work
from visavis.errors import InvalidOption
from visavis.types import SizeWH, UInt8Array

# Distances between a canvas's edge and its tiles, and between tiles. Source: dlib's ``input_rgb_image_pyramid``.
BORDER = 11
GAP = 10
_MOST_TOGETHER = 1 << 20  # levels of so many pixels share one canvas, which is then about four times as large
_LONGEST_TILE = 2048
_LEAST_ROWS = 5
_STRIDE = 8  # of dlib's detector
# A detector's convolutions have nothing to say about less, and not every runtime takes that for an answer.
_LEAST_CANVAS = 32
# Smaller faces are too blurred to tell people apart; and a strip of an image must not cost more than a photo.
_SMALLEST_BY_FRACTION = 20
_MOST_PIXELS_BY_FRACTION = 16_000_000
_MOST_SEARCHED_PIXELS = 100_000_000
# A strip, longer than this for its width, is enlarged to the length of an image that is as long, and no further.
_LONGEST = 4
# However narrow, a canvas and its surroundings are worked on as if they were so wide.
_LEAST_SIDE = 64


@dataclass(frozen=True, slots=True)
class Level:
    """One scale of an image: its number, 0 being the finest, and its size."""

    number: int
    size_wh: SizeWH


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a level, from ``origin_xy`` in its pixels, that lies at ``at_xy`` on a canvas.

    ``owns_xyxy`` is the part of the level whose faces this tile answers for, by their centres.
    """

    level: Level
    origin_xy: tuple[int, int]
    size_wh: SizeWH
    at_xy: tuple[int, int]
    owns_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture to paint tiles on."""

    size_wh: SizeWH
    tiles: tuple[Tile, ...]


def search_size(size_wh: SizeWH, min_face: float, window: float) -> SizeWH:
    """Return the size to bring an image to, so that a detector finds faces of ``min_face`` and larger.

    Args:
        size_wh: of the image.
        min_face: from 1 on, the smallest face's size in pixels; below 1, as a fraction of the image's shorter side.
            A fraction never asks for faces below 20 pixels, nor for more than 16 megapixels to search; nor does it
            enlarge a strip, an image more than 4 times as long as wide, beyond the length that 4 times would have.
            Pixels never ask for more than 100 megapixels, and both for no more than ``work.most_searched()``.
        window: the smallest face that the detector finds, in pixels.

    Raises:
        InvalidOption: not a number above 0.
    """
    short, long = min(size_wh), max(size_wh)
    most = _MOST_SEARCHED_PIXELS if min_face >= 1 else _MOST_PIXELS_BY_FRACTION
    if min_face >= 1:
        scale = window / min_face
    elif min_face > 0:
        side = window / min_face  # to which the shorter side is brought
        scale = min(side / short, max(1.0, _LONGEST * side / long), window / _SMALLEST_BY_FRACTION)
    else:
        raise InvalidOption(f"min_face must be a number above 0, not {min_face!r}")
    scale = min(scale, _scale_within(min(most, work.most_searched()), short, long))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def cost_of(size_wh: SizeWH) -> int:
    """Return how many pixels the search of an image that was brought to a size counts for: its own, but for strips."""
    return max(size_wh[0], _LEAST_SIDE) * max(size_wh[1], _LEAST_SIDE)


def _scale_within(pixels: float, short: int, long: int) -> float:
    """Return the scale at which the search of an image with these sides costs so many pixels."""
    return min(float(np.sqrt(pixels / (short * long))), pixels / (_LEAST_SIDE * long))


def pyramid_levels(size_wh: SizeWH) -> tuple[Level, ...]:
    """Return the levels from ``size_wh`` down to a few rows, each 5/6 of the one before.

    Source: dlib's ``pyramid_down<6>``.
    """
    levels: list[Level] = []
    width, height = size_wh
    while height >= _LEAST_ROWS and width >= 1:
        levels.append(Level(len(levels), (width, height)))
        width, height = 5 * width // 6, 5 * height // 6
    return tuple(levels)


def plan_canvases(levels: Sequence[Level], reach: int) -> Iterator[Canvas]:
    """Yield canvases that together show all of the levels, finest first.

    Args:
        levels: finest first.
        reach: how far, in pixels of a level, a detector's answer depends on its surroundings: tiles overlap by it.
    """
    together: list[Level] = []
    for level in levels:
        if cost_of(level.size_wh) <= _MOST_TOGETHER:
            together.append(level)
            continue
        for tile in _cut(level, reach, (BORDER, BORDER), _STRIDE):
            yield _canvas(tile.size_wh, (tile,))
    if together:
        yield _two_columns(tuple(together))


def plan_part(level: Level, owns_xyxy: tuple[float, float, float, float], reach: int) -> Canvas:
    """Return a canvas that shows one part of a level, and what lies within reach of it; arguments in its pixels."""
    left, top = (max(0, int(low) - reach) // 8 * 8 for low in owns_xyxy[:2])
    right, bottom = (min(size, int(high) + 1 + reach) for high, size in zip(owns_xyxy[2:], level.size_wh, strict=True))
    tile = Tile(level, (left, top), (max(1, right - left), max(1, bottom - top)), (BORDER, BORDER), owns_xyxy)
    return _canvas(tile.size_wh, (tile,))


def plan_alone(level: Level, reach: int, stride: int) -> Iterator[Canvas]:
    """Yield canvases that show a level without a border; sides and tiles' corners are multiples of the stride."""
    for tile in _cut(level, reach, (0, 0), stride):
        width, height = (_rounded_up(length, stride) for length in tile.size_wh)
        yield Canvas((width, height), (tile,))


def _cut(level: Level, reach: int, at_xy: tuple[int, int], stride: int) -> Iterator[Tile]:
    width, height = level.size_wh
    for top, bottom in _spans(height, reach, stride):
        for left, right in _spans(width, reach, stride):
            owns = (_edge(left, width, reach), _edge(top, height, reach))
            owns_to = (_edge(right, width, -reach), _edge(bottom, height, -reach))
            yield Tile(level, (left, top), (right - left, bottom - top), at_xy, (*owns, *owns_to))


def _spans(length: int, reach: int, stride: int) -> list[tuple[int, int]]:
    """Cut 0..length into equal spans of bounded length that overlap by twice the reach; begins are whole strides."""
    pieces = 1 if length <= _LONGEST_TILE else -(-(length - 2 * reach) // (_LONGEST_TILE - 2 * reach - stride))
    step = -(-(length - 2 * reach) // pieces)
    step += -step % stride
    return [(i * step, min(i * step + step + 2 * reach, length)) for i in range(pieces)]


def _edge(position: int, length: int, inwards: int) -> float:
    """Return where a tile's own part ends: half a gap outside at the level's edges, further in at a cut."""
    if position == 0:
        return -GAP / 2
    if position == length:
        return length + GAP / 2
    return float(position + inwards)


@lru_cache(maxsize=256)
def _two_columns(levels: tuple[Level, ...]) -> Canvas:
    """Lay levels out down the left side, and back up the right side where they fit.

    Source: the arrangement of dlib's ``create_tiled_pyramid``. A face at a tile's edge sees what lies beside the tile,
    so that only the same arrangement gives the same scores.
    """
    widths, heights = zip(*(level.size_wh for level in levels), strict=True)
    extra = sum(heights[1:]) + GAP * (len(levels) - 2)
    below = 0
    count = 1
    while count < len(levels):
        fits_beside = widths[count] <= widths[0] - widths[count - 1] - GAP
        if fits_beside and 2 * (below + GAP) >= extra:
            break
        below += heights[count] + GAP
        count += 1
    left, y = [], BORDER
    for level in levels[:count]:
        left.append(_whole(level, BORDER, y))
        y += level.size_wh[1] + GAP
    right, y = [], BORDER + heights[0] + below
    for level in levels[count:]:
        y -= level.size_wh[1]
        # dlib lets some pairs overlap by a few pixels; here the right one moves aside.
        beside = max(BORDER + tile.size_wh[0] for tile in left if tile.at_xy[1] + tile.size_wh[1] + GAP / 2 > y)
        right.append(_whole(level, max(BORDER + widths[0] - level.size_wh[0], beside + GAP), y))
        y -= GAP
    width = max(tile.at_xy[0] + tile.size_wh[0] - BORDER for tile in (*left, *right))
    return _canvas((width, heights[0] + below), (*left, *right))


def _canvas(size_wh: SizeWH, tiles: tuple[Tile, ...]) -> Canvas:
    """Return a canvas with room for a border, and a little more: runtimes prepare themselves for every new size."""
    width, height = (max(_LEAST_CANVAS, _rounded_up(length + 2 * BORDER)) for length in size_wh)
    return Canvas((width, height), tiles)


def _rounded_up(length: int, least_step: int = _STRIDE) -> int:
    """Round up to one of few lengths, by less than 1/32 or the least step."""
    step = max(least_step, 1 << max(0, length.bit_length() - 6))
    return length + -length % step


def _whole(level: Level, x: int, y: int) -> Tile:
    width, height = level.size_wh
    return Tile(level, (0, 0), level.size_wh, (x, y), (-GAP / 2, -GAP / 2, width + GAP / 2, height + GAP / 2))


class Pyramid:
    """An image at any scale, resized from the nearest halving that is larger: a coarse level never costs a fine one."""

    def __init__(self, image: UInt8Array) -> None:
        self._halvings = [image]
        self.size_wh: SizeWH = (image.shape[1], image.shape[0])

    def tile(self, tile: Tile) -> UInt8Array:
        """Return the pixels of a tile: (rows, cols, 3) uint8."""
        source = self._at_least(tile.level.size_wh)
        if tile.size_wh != tile.level.size_wh:
            return _resized_part(source, tile)
        if source.shape[1::-1] == tile.size_wh:
            return source
        resized: UInt8Array = cv2.resize(source, tile.size_wh, interpolation=cv2.INTER_LINEAR)
        return resized

    def _at_least(self, size_wh: SizeWH) -> UInt8Array:
        """Return the smallest halving of at least this size, or the image itself."""
        index = 0
        while True:
            height, width = self._halvings[index].shape[:2]
            if width // 2 < size_wh[0] or height // 2 < size_wh[1]:
                return self._halvings[index]
            index += 1
            if index == len(self._halvings):
                half = cv2.resize(self._halvings[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
                self._halvings.append(half)


def _resized_part(image: UInt8Array, tile: Tile) -> UInt8Array:
    """Resize only what the tile shows, on the same grid of pixels as the whole level."""
    height, width = image.shape[:2]
    factors = np.array([width / tile.level.size_wh[0], height / tile.level.size_wh[1]])
    first = (np.array(tile.origin_xy) + 0.5) * factors - 0.5
    left, top = np.maximum(np.floor(first).astype(int), 0)
    right, bottom = np.ceil(first + factors * tile.size_wh).astype(int) + 1
    tile_to_part = np.column_stack([np.diag(factors), first - [left, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = image[top:bottom, left:right]
    resized: UInt8Array = cv2.warpAffine(part, tile_to_part, tile.size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return resized


def paint(canvas: Canvas, pyramid: Pyramid, background: tuple[int, int, int]) -> UInt8Array:
    """Return the canvas (H, W, 3) with its tiles, ``background`` between and around them."""
    width, height = canvas.size_wh
    # A row at a time: broadcasting three bytes is many times slower.
    pixels = np.empty((height, width, 3), np.uint8)
    pixels.reshape(height, -1)[:] = np.tile(np.array(background, np.uint8), width)
    for tile in canvas.tiles:
        (x, y), (tile_width, tile_height) = tile.at_xy, tile.size_wh
        pixels[y : y + tile_height, x : x + tile_width] = pyramid.tile(tile)
    return pixels
