"""dlib's detector: faces by a CNN on an image pyramid, their landmarks by a forest."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import (
    ChipTemplate,
    Detections,
    Rows,
    extract_chip,
    most_prominent,
    prominence,
    suppress,
)
from visavis.core.orientation import is_upright
from visavis.core.pyramid import (
    Canvas,
    Level,
    Pyramid,
    Tile,
    paint,
    plan_canvases,
    plan_part,
    pyramid_levels,
    search_size,
)
from visavis.errors import ModelCorrupt
from visavis.models.dlib.files import DlibStream
from visavis.models.runtime import Infer
from visavis.types import FloatArray, SizeWH, UInt8Array

# The detector's face, in pixels of a level.
_WINDOW = 80
# An output cell (column, row) stands for the point (8 column + 14, 8 row + 14) of the canvas ...
_STRIDE = 8
_FIRST_CELL = 14
# ... and sees 94 pixels around it.
_REACH = 96
# What lies further away hardly matters when a face is known to be there.
_REACH_OF_REFINING = 48
# Two boxes are of one face when their intersection makes up more than this of their common bounding box.
_MOST_OVERLAP = 0.338
# The mean colour, which is nothing to the network: its normalised value is zero.
_BACKGROUND = (123, 117, 104)

# The search for the largest face begins with all levels up to this long on the shorter side.
_COARSE_SIDE = 240
_CLEAR_SCORE = 0.5
# Plain background scores about -1: what scores more than this may be a face that the next level shows better.
_HINT = -0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Found(Rows):
    """Boxes (N, 4) in pixels of the image searched, scores (N,), and the pyramid levels (N,) they were found on."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    levels: NDArray[np.intp]


_NOTHING = _Found(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))


class DlibDetector:
    """Finds faces with dlib's max-margin object detector, and their landmarks with its forest; a ``Detector``.

    Thread-safe. The network makes scores (1, rows, columns) of a canvas (1, H, W, 3) uint8 RGB.

    Source: D. King, "Max-Margin Object Detection", 2015, and dlib's ``dnn_mmod_face_detection`` example, whose network
    and image pyramid these are.
    """

    window = float(_WINDOW)

    def __init__(self, infer: Infer, landmarks: "LandmarkRegressor", template: ChipTemplate) -> None:
        self._infer = infer
        self.landmarks = landmarks
        self._template = template

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to; see ``visavis.core.pyramid``."""
        return search_size(size_wh, min_face, _WINDOW)

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool, off_centre: float = 0.0) -> Detections:
        """Return all faces, or the largest one alone."""
        pyramid, levels = Pyramid(image), pyramid_levels(search_size_wh)
        if largest:
            found = self._find_one(pyramid, levels, off_centre)
        else:
            found = _suppress(self._search(pyramid, plan_canvases(levels, _REACH)))
        landmarks = self.landmarks([image] * len(found.scores), found.boxes_xyxy)
        return Detections(found.boxes_xyxy, found.scores, landmarks)

    def are_upright(self, image: UInt8Array, found: Detections) -> bool:
        """Tell by the edges in the chip of the clearest face: scores are as high, and landmarks as level, on any."""
        best = found.scores.argsort()[-1:]
        return any(is_upright(extract_chip(image, points, self._template)) for points in found.landmarks[best])

    def _find_one(self, pyramid: Pyramid, levels: Sequence[Level], off_centre: float) -> _Found:
        """Return the most prominent of the largest faces, or none.

        Searches from coarse to fine and stops at the first clear face: finer levels show smaller ones. Neighbouring
        levels show nearly the same, so that every second one is enough to find it. What could still be as prominent,
        faces on the same level and hints of a face on coarser ones, is then looked at on the levels between, around
        the place only. Where no face is clear, all levels are searched; and where one is, but beside the middle, one
        level more, for a face that is half as large shows there.
        """
        size_wh, seen, beside = pyramid.size_wh, _NOTHING, False
        sizes = np.array([(_WINDOW * size_wh[0] / level.size_wh[0]) ** 2 for level in levels], np.float32)

        def counts_of(found: _Found) -> FloatArray:
            return prominence(found.boxes_xyxy, sizes[found.levels], size_wh, off_centre)

        def first_of(found: _Found) -> _Found:
            faces = found[found.scores > 0]
            return faces[most_prominent(faces.boxes_xyxy, sizes[faces.levels], faces.scores, size_wh, off_centre)]

        for step in (*_coarse_to_fine(levels[::2]), levels[1::2]):
            seen = _suppress(_Found.concatenate([seen, self._search(pyramid, plan_canvases(step, _REACH), _HINT)]))
            first = first_of(seen)
            if len(first.scores) and first.scores[0] >= _CLEAR_SCORE:
                left, _, right, _ = first.boxes_xyxy[0].tolist()
                if off_centre and not (beside or left <= size_wh[0] / 2 <= right):
                    beside = True
                    continue
                rivals = np.flatnonzero(counts_of(seen) >= counts_of(first)).tolist()
                refined = [self._refine(pyramid, seen[i : i + 1], levels) for i in rivals]
                return first_of(_Found.concatenate(refined))
        return first_of(seen)

    def _refine(self, pyramid: Pyramid, face: _Found, levels: Sequence[Level]) -> _Found:
        """Return the one face as its own or a neighbouring level shows it, whichever scores highest."""
        number = int(face.levels[0])
        parts = []
        for level in (*levels[max(0, number - 1) : number], *levels[number + 1 : number + 2]):
            factors = np.tile(np.array(level.size_wh) / pyramid.size_wh, 2)
            left, top, right, bottom = (face.boxes_xyxy[0] * factors).tolist()
            parts.append(plan_part(level, (left, top, right, bottom), _REACH_OF_REFINING))
        return _suppress(_Found.concatenate([face, self._search(pyramid, parts)]))[:1]

    def _search(self, pyramid: Pyramid, canvases: Iterable[Canvas], least: float = 0.0) -> _Found:
        """Return every cell above ``least``."""
        found = [_NOTHING]
        for canvas in canvases:
            ((scores,),) = self._infer(paint(canvas, pyramid, _BACKGROUND)[None])
            rows, columns = np.nonzero(scores > least)
            if len(rows):
                points = np.column_stack([columns, rows]) * _STRIDE + _FIRST_CELL
                found += [_read_tile(tile, points, scores[rows, columns], pyramid.size_wh) for tile in canvas.tiles]
        return _Found.concatenate(found)


def _coarse_to_fine(levels: Sequence[Level]) -> Iterator[Sequence[Level]]:
    """Yield the coarse levels together, and then ever finer ones singly."""
    coarse = next((i for i, level in enumerate(levels) if min(level.size_wh) <= _COARSE_SIDE), len(levels))
    yield levels[coarse:]
    for i in reversed(range(coarse)):
        yield levels[i : i + 1]


def _read_tile(tile: Tile, points: NDArray[np.intp], scores: FloatArray, image_wh: SizeWH) -> _Found:
    """Return the faces whose centres the tile answers for, from all points (N, 2) and scores (N,) of its canvas."""
    in_level = points - tile.at_xy + tile.origin_xy
    own = ((in_level >= tile.owns_xyxy[:2]) & (in_level < tile.owns_xyxy[2:])).all(axis=1)
    factors = np.array(image_wh) / tile.level.size_wh
    centres = (in_level[own] + 0.5) * factors - 0.5
    # As in dlib, a box names its outermost whole pixels: 80 of them are 40 before the centre and 39 behind it.
    low, high = centres - _WINDOW / 2 * factors, centres + (_WINDOW / 2 - 1) * factors
    boxes = np.rint(np.column_stack([low, high])).astype(np.float32)
    return _Found(boxes, scores[own], np.full(len(boxes), tile.level.number))


def _suppress(found: _Found) -> _Found:
    return found[suppress(found.boxes_xyxy, found.scores, _MOST_OVERLAP)]


_DEPTH = 4
# How many faces go side by side, and the word that holds a byte of each.
_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_MOST_LANES = max(_WORDS)
_BITS = np.dtype("<u2")  # one for each split of a tree
# OpenCV's remap addresses its source with 16-bit signed numbers.
_LONGEST_SIDE = 32_766
# The integer part of (R + G + B) / 3, as cv2.transform rounds to the nearest.
_GREY = np.array([[1 / 3, 1 / 3, 1 / 3, -1 / 3]])


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkForest:
    """An ensemble of regression trees: C cascades of T trees of depth 4, over F feature points, for P landmarks."""

    initial: FloatArray  # (P, 2) mean shape in box coordinates: (0, 0) top-left, (1, 1) bottom-right
    split_a: NDArray[np.int16]  # this and the next: (C, T, 15) which two features a split compares, breadth-first
    split_b: NDArray[np.int16]
    threshold: FloatArray  # (C, T, 15) float32: go to child 2i + 1 where a - b exceeds it, else to 2i + 2
    leaves: FloatArray  # (C, T, 16, P, 2) what each leaf adds to the shape
    anchor: NDArray[np.int16]  # (C, F) the landmark that a feature point hangs on
    delta: FloatArray  # (C, F, 2) its offset from that landmark, in box coordinates of the mean shape

    @property
    def parameters(self) -> int:
        """Count the learned numbers."""
        return sum(getattr(self, field.name).size for field in fields(self))

    def to_bytes(self) -> bytes:
        """Return the arrays as NumPy keeps them."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LandmarkForest":
        """Read what ``to_bytes`` writes.

        Raises:
            ModelCorrupt: it is something else.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (BadZipFile, KeyError, ValueError) as error:
            raise ModelCorrupt(f"the cached landmark forest cannot be read: {error}") from error


def read_landmark_forest(data: bytes) -> LandmarkForest:
    """Read a serialised ``shape_predictor`` whose trees have depth 4.

    Raises:
        ModelCorrupt: the bytes are not such a regressor, or not all of it.
    """
    stream = DlibStream(data)
    stream.expect(1, "the version of a shape predictor")
    initial = stream.matrix()
    cascades = stream.count()
    if cascades == 0 or initial.size % 2:
        raise stream.fail(f"a shape predictor of {cascades} cascades and {initial.size} coordinates")
    forests = [_read_cascade(stream, initial.size) for _ in range(cascades)]
    anchors = _rectangular(stream, [stream.integers(stream.count()) for _ in range(stream.count())])
    deltas = _rectangular(stream, [stream.reals(2 * stream.count()) for _ in range(stream.count())])
    stream.finish()
    points = initial.size // 2
    split_a, split_b, threshold, leaves = (_rectangular(stream, [f[i] for f in forests]) for i in range(4))
    features = anchors.shape[1] if anchors.shape[1:] else 0
    if not (len(anchors) == len(deltas) == cascades and deltas.shape[-1] == 2 * features > 0):
        raise stream.fail("the feature points do not fit the cascades")
    if min(split_a.min(), split_b.min()) < 0 or max(split_a.max(), split_b.max()) >= features:
        raise stream.fail("a split compares a feature that there is not")
    if anchors.min() < 0 or anchors.max() >= points:
        raise stream.fail("a feature hangs on a landmark that there is not")
    return LandmarkForest(
        initial=initial.reshape(points, 2),
        split_a=split_a.astype(np.int16),
        split_b=split_b.astype(np.int16),
        threshold=threshold.astype(np.float32),
        leaves=leaves.astype(np.float32).reshape(*leaves.shape[:3], points, 2),
        anchor=anchors.astype(np.int16),
        delta=deltas.astype(np.float32).reshape(cascades, features, 2),
    )


def _read_cascade(stream: DlibStream, coordinates: int) -> tuple[NDArray[np.float64], ...]:
    """Read one cascade's trees: (T, 15) feature a, feature b and threshold; (T, 16, coordinates) leaves."""
    splits, leaves = [], []
    for _ in range(stream.count()):
        stream.expect(15, "the number of splits of a tree")
        splits.append([(stream.integer(), stream.integer(), stream.real()) for _ in range(15)])
        stream.expect(16, "the number of leaves of a tree")
        leaves.append([stream.matrix().reshape(-1) for _ in range(16)])
    table = np.array(splits, np.float64)
    values = _rectangular(stream, leaves)
    if not len(table) or values.shape[-1] != coordinates:
        raise stream.fail("a cascade without trees, or whose leaves do not fit the shape")
    return table[..., 0], table[..., 1], table[..., 2], values


def _rectangular(stream: DlibStream, rows: Sequence[object]) -> NDArray[np.float64]:
    try:
        return np.array(rows, np.float64)
    except ValueError:
        raise stream.fail("lists of unequal length where a table was expected") from None


class LandmarkRegressor:
    """Find the landmarks of faces in boxes; immutable, and so thread-safe.

    Source: V. Kazemi, J. Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014,
    in the form that dlib's ``shape_predictor`` gives it.

    Everything is laid out so that a cascade is some two dozen NumPy calls for up to eight faces. Points are complex
    numbers. The grey values of the faces lie side by side as the bytes ("lanes") of one word per feature point, so
    that one look-up serves all faces. All splits of all trees are tested at once, and the 15 outcomes of a tree, packed
    into the bits of a number, are looked up to find the leaf.
    """

    def __init__(self, forest: LandmarkForest) -> None:
        cascades, trees, _ = forest.split_a.shape
        initial = forest.initial.view(np.complex64)[:, 0]
        centred = initial - initial.mean()
        # The least-squares similarity from the mean shape to another is a complex number: this vector times that shape.
        self._fit = (centred.conj() / np.vdot(centred, centred).real).astype(np.complex64)
        self._initial = initial
        self._anchor = forest.anchor.astype(np.intp)
        self._delta = np.ascontiguousarray(forest.delta).view(np.complex64)[..., 0]
        compared = (_sixteen_splits(splits, 0) for splits in (forest.split_a, forest.split_b))
        self._compared = np.concatenate(list(compared), axis=1).astype(np.intp)
        # Grey values are integers: a difference exceeds the threshold when it exceeds the threshold's floor.
        threshold = _sixteen_splits(np.floor(forest.threshold), np.iinfo(np.int16).max).astype(np.int16)
        self._thresholds = {lanes: np.repeat(threshold, lanes, axis=1) for lanes in _WORDS}
        self._leaves = forest.leaves.reshape(cascades, trees * 2**_DEPTH, -1)
        self._first_leaf = np.arange(trees, dtype=np.intp) * 2**_DEPTH
        self._leaf_of_bits = _leaf_table()

    def __call__(self, images: Sequence[UInt8Array], boxes_xyxy: FloatArray) -> FloatArray:
        """Return the landmarks (N, P, 2) of the faces in ``boxes_xyxy`` (N, 4), box i lying in ``images[i]``.

        They are whole pixels, as in dlib, whose embedder was trained on chips cut out by such.
        """
        landmarks = np.empty((len(boxes_xyxy), len(self._initial), 2), np.float32)
        for start in range(0, len(boxes_xyxy), _MOST_LANES):
            group = slice(start, start + _MOST_LANES)
            landmarks[group] = np.rint(self._regress(images[group], boxes_xyxy[group].astype(np.float32)))
        return landmarks

    def _regress(self, images: Sequence[UInt8Array], boxes_xyxy: FloatArray) -> FloatArray:
        corners, sizes = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:] - boxes_xyxy[:, None, :2]
        lanes = next(count for count in _WORDS if count >= len(images))
        grey = np.zeros((self._delta.shape[1], lanes), np.uint8)
        # Boxes need not be square, and so the points are scaled after the fit, x and y each by its own size.
        scale = np.tile(sizes, (1, grey.shape[0], 1)).reshape(len(images), -1)
        origin = np.tile(corners, (1, grey.shape[0], 1)).reshape(len(images), -1)
        shapes = np.tile(self._initial, (len(images), 1))
        for cascade in range(len(self._delta)):
            points = (shapes @ self._fit)[:, None] * self._delta[cascade]
            points += shapes.take(self._anchor[cascade], axis=1)
            pixels = points.view(np.float32) * scale
            pixels += origin
            for lane, image in enumerate(images):
                grey[:, lane] = _grey_values(image, pixels[lane].reshape(1, -1, 2))
            shapes = self._added(shapes, cascade, grey)
        return shapes.view(np.float32).reshape(len(images), -1, 2) * sizes + corners

    def _added(self, shapes: NDArray[np.complex64], cascade: int, grey: UInt8Array) -> NDArray[np.complex64]:
        """Return shapes (N, P) with what the cascade's trees add to each, by grey values (F, lanes).

        Tree by tree, as dlib does: another order rounds differently, by which a feature of a large face may fall on the
        next pixel, and a landmark too.
        """
        lanes = grey.shape[1]
        words = grey.view(_WORDS[lanes])[:, 0]
        a, b = words.take(self._compared[cascade], mode="clip").view(np.uint8).reshape(2, -1)
        outcomes = np.subtract(a, b, dtype=np.int16) > self._thresholds[lanes][cascade]
        bits = np.packbits(outcomes.reshape(-1, lanes).T.reshape(-1), bitorder="little").view(_BITS)
        leaves = self._first_leaf + self._leaf_of_bits.take(bits).reshape(lanes, -1)[: len(shapes)]
        increments = self._leaves[cascade].take(leaves, axis=0)
        summands = np.concatenate([shapes.view(np.float32)[:, None], increments], axis=1)
        added: NDArray[np.complex64] = np.add.reduce(summands, axis=1).view(np.complex64)
        return added


def _sixteen_splits(splits: NDArray[np.generic], value: int) -> NDArray[np.generic]:
    """Return the (C, T, 15) table as (C, T * 16): the splits of a tree, and a sixteenth of ``value``."""
    return np.pad(splits, ((0, 0), (0, 0), (0, 1)), constant_values=value).reshape(len(splits), -1)


def _leaf_table() -> NDArray[np.uint8]:
    """Return the leaf that each outcome of a tree's splits leads to: (65536,), bit i being split i."""
    outcomes = np.arange(2**16)
    node = np.zeros(len(outcomes), np.intp)
    for _ in range(_DEPTH):
        node = 2 * node + np.where(outcomes >> node & 1, 1, 2)
    node -= 2**_DEPTH - 1
    return node.astype(np.uint8)


def _grey_values(image: UInt8Array, pixels_xy: FloatArray) -> UInt8Array:
    """Return the grey values (F,) at the pixels nearest to (1, F, 2); 0 outside the image."""
    if max(image.shape) > _LONGEST_SIDE:
        image, pixels_xy = _window(image, pixels_xy)
    colours = cv2.remap(image, pixels_xy, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    grey: UInt8Array = cv2.transform(colours, _GREY)[0]
    return grey


def _window(image: UInt8Array, pixels_xy: FloatArray) -> tuple[UInt8Array, FloatArray]:
    """Return a view of the image that holds all the pixels, and the pixels in its coordinates."""
    left, top = np.clip(np.floor(pixels_xy.min((0, 1))), 0, [image.shape[1] - 1, image.shape[0] - 1]).astype(int)
    view = image[top : top + _LONGEST_SIDE, left : left + _LONGEST_SIDE]
    return view, pixels_xy - np.array([left, top], np.float32)
