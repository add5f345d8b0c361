"""Geometry of faces: boxes, suppression, similarity transforms, aligned chips and upright crops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from visavis.errors import InvalidOption
from visavis.types import FloatArray, SizeWH, UInt8Array

# dlib's map to the half-size image is off by half a pixel: x too low, y too high; every halving starts two pixels in.
_DLIB_PHASE = np.array([[0, 0, -0.5], [0, 0, 0.5]])
_DLIB_START = 2
_LEAST_SCALE = 1e-6  # chip pixels for one of the image: fewer are no face's


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Places of the parts of a face among its landmarks; left and right are the image's."""

    eyes: tuple[tuple[int, ...], tuple[int, ...]]  # the points of the left and of the right one: their mean is the eye
    nose: int  # its tip, or its base
    nose_depth: float  # how far the nose stands out before the eyes, in distances between them
    mouth: tuple[int, ...] = ()  # the left and the right corner; empty where there are none


# The depths are those with which the yaw that ``visavis.core.quality`` estimates is most like a network's, on LFW's
# first fold: bench/quality.py --pose.
EYES_NOSE_MOUTH = Anatomy(eyes=((0,), (1,)), nose=2, nose_depth=0.59, mouth=(3, 4))
"""The five points that most detectors find: eyes, tip of the nose, corners of the mouth."""
EYE_CORNERS_NOSE = Anatomy(eyes=((2, 3), (0, 1)), nose=4, nose_depth=0.48)
"""The five points of dlib: corners of the eyes, base of the nose."""


@dataclass(frozen=True, slots=True, eq=False)
class ChipTemplate:
    """Landmarks of an aligned chip."""

    side: int  # of the square chip, in pixels
    points: FloatArray  # (P, 2) the landmarks in it
    sampling: Literal["dlib", "plain"] = "dlib"  # with dlib's image pyramid, which its embedder was trained on, or not
    anatomy: Anatomy = EYES_NOSE_MOUTH


class Rows:
    """A base of dataclasses of arrays that have a row for each face."""

    __slots__ = ()

    def __getitem__(self, chosen: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """Return the chosen rows, in the order given."""
        arrays = [getattr(self, field.name)[chosen] for field in fields(self)]  # type: ignore[arg-type]
        return type(self)(*arrays)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, of which there is at least one."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class Detections(Rows):
    """Faces in pixels of the image searched: boxes (N, 4), scores (N,) and landmarks (N, P, 2)."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    landmarks: FloatArray


def iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M)."""
    intersection = _intersections(a_xyxy, b_xyxy)
    union = areas(a_xyxy)[:, None] + areas(b_xyxy)[None] - intersection
    return _ratio(intersection, union)


def intersection_over_hull(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the intersection over the area of the bounding box of both, every a (N, 4) with every b (M, 4): (N, M).

    Source: dlib's ``box_intersection_over_union`` as its detector applies it; stricter than IoU for boxes that
    differ in position.
    """
    low = np.minimum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.maximum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    hull = (high - low).prod(axis=2)
    return _ratio(_intersections(a_xyxy, b_xyxy), hull)


def _intersections(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    overlap: FloatArray = np.maximum(high - low, 0).prod(axis=2)
    return overlap


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return part / whole, and 0 where there is no whole."""
    ratio: FloatArray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return ratio


def areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Return the areas (N,) of boxes (N, 4)."""
    products: FloatArray = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    return products


def check_box(box: object) -> FloatArray:
    """Return a box as an array (4,); InvalidOption where it is none."""
    try:
        box_xyxy = np.array(box, np.float32)
    except (OverflowError, TypeError, ValueError):
        box_xyxy = np.empty(0, np.float32)
    if not (box_xyxy.shape == (4,) and np.isfinite(box_xyxy).all() and (box_xyxy[2:] > box_xyxy[:2]).all()):
        raise InvalidOption("box must be left, top, right and bottom, four numbers, with right and bottom the larger")
    return box_xyxy


def best_overlap(boxes_xyxy: FloatArray, box_xyxy: FloatArray) -> int | None:
    """Return the place of the one of boxes (N, 4) that overlaps a box (4,) most, or None.

    Of the smaller one of the two, half at least lies in the other: less is a neighbour's.
    """
    shared = _intersections(boxes_xyxy, box_xyxy[None])[:, 0]
    smaller = np.minimum(areas(boxes_xyxy), areas(box_xyxy[None]))
    overlaps = np.where(shared >= smaller / 2, iou(boxes_xyxy, box_xyxy[None])[:, 0], 0)
    return int(overlaps.argmax()) if overlaps.any() else None


LEAST_RIVAL = 0.45
"""What part of the largest face's area another one has at least that may count as much: half, for sizes are coarse."""


def prominence(boxes_xyxy: FloatArray, sizes: FloatArray, size_wh: SizeWH, off_centre: float) -> FloatArray:
    """Return how prominent each of boxes (N, 4), whose areas ``sizes`` (N,) are, is in an image of ``size_wh``.

    That is its area, less ``off_centre`` times the squared distance of its centre from the image's.
    """
    offsets = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:] - np.array(size_wh, np.float32)) / 2
    prominences: FloatArray = sizes - off_centre * (offsets**2).sum(axis=1)
    return prominences


def most_prominent(
    boxes_xyxy: FloatArray, sizes: FloatArray, scores: FloatArray, size_wh: SizeWH, off_centre: float
) -> NDArray[np.intp]:
    """Return the place of the most prominent of those of at least half the largest one's area; none of none.

    Of several, it is the one with the highest score (N,).
    """
    candidate = sizes >= LEAST_RIVAL * sizes.max(initial=0)
    prominences = np.where(candidate, prominence(boxes_xyxy, sizes, size_wh, off_centre), -np.inf)
    return np.lexsort((scores, prominences))[-1:]


Overlap: TypeAlias = Callable[[FloatArray, FloatArray], FloatArray]
"""How much every box of one array (N, 4) overlaps every box of another (M, 4): (N, M), 0 to 1."""


def suppress(
    boxes_xyxy: FloatArray, scores: FloatArray, most_overlap: float, overlap: Overlap = intersection_over_hull
) -> NDArray[np.intp]:
    """Return the indices of the boxes that no better one overlaps by more than ``most_overlap``, best first.

    Cost grows with the boxes, and with each kept one by those that lie in its columns.
    """
    columns = _Columns(boxes_xyxy)
    left, kept = np.ones(len(scores), np.bool_), []
    for best in np.argsort(-scores, kind="stable").tolist():
        if left[best]:
            kept.append(best)
            left[best] = False
            near = columns.near(boxes_xyxy[best])
            near = near[left[near]]
            left[near[overlap(boxes_xyxy[best : best + 1], boxes_xyxy[near])[0] > most_overlap]] = False
    return np.array(kept, np.intp)


def overlapped(
    boxes_xyxy: FloatArray, others_xyxy: FloatArray, most_overlap: float, overlap: Overlap
) -> NDArray[np.bool_]:
    """Return which boxes (N,) one of the others overlaps by more than ``most_overlap``; memory grows with N only."""
    columns, covered = _Columns(boxes_xyxy), np.zeros(len(boxes_xyxy), np.bool_)
    for other in others_xyxy:
        near = columns.near(other)
        covered[near[overlap(other[None], boxes_xyxy[near])[0] > most_overlap]] = True
    return covered


class _Columns:
    """Boxes (N, 4) by their left edge."""

    def __init__(self, boxes_xyxy: FloatArray) -> None:
        self._order = np.argsort(boxes_xyxy[:, 0], kind="stable")
        self._lefts = boxes_xyxy[self._order, 0]
        self._widest = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]).max(initial=0)

    def near(self, box_xyxy: FloatArray) -> NDArray[np.intp]:
        """Return the indices of all boxes that may share columns of pixels with one (4,)."""
        first = np.searchsorted(self._lefts, box_xyxy[0] - self._widest, side="left")
        last = np.searchsorted(self._lefts, box_xyxy[2], side="right")
        return self._order[first:last]


def fit_similarity(source: FloatArray, target: FloatArray) -> NDArray[np.float64]:
    """Return the (2, 3) rotation, scale and shift that takes the points (P, 2) nearest to their targets.

    In the plane, a similarity is a complex factor and a shift, without reflection; least squares has a closed form.

    Source: S. Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI 1991.
    """
    a, b = (xy[:, 0] + 1j * xy[:, 1] for xy in (source.astype(np.float64), target.astype(np.float64)))
    a_centre, b_centre = a.mean(), b.mean()
    spread = np.vdot(a - a_centre, a - a_centre).real
    factor = np.vdot(a - a_centre, b - b_centre) / spread if spread > 0 else 1.0 + 0.0j
    shift = b_centre - factor * a_centre
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def extract_chip(image: UInt8Array, landmarks: FloatArray, template: ChipTemplate) -> UInt8Array:
    """Return the face turned, scaled and cropped so that its landmarks (P, 2) lie on the template's: (S, S, 3).

    Bilinear, black outside the image. Large faces are halved first, so that sampling does not alias: to the means of
    whole blocks of pixels, the first of which lies on the image's corner; or, for "dlib", as in dlib's image pyramid.

    Source: dlib's ``get_face_chip_details``, ``extract_image_chips`` and ``pyramid_down<2>``.
    """
    as_dlib, side = template.sampling == "dlib", template.side
    chip_to_image = (_dlib_chip_to_image if as_dlib else _chip_to_image)(landmarks, template)
    scale = float(np.hypot(*chip_to_image[:, 0]))
    halvings = max(0, int(np.floor(np.log2(max(scale, 1.0)))))
    step = 2**halvings
    crop, (left, top) = _around_chip(image, chip_to_image, side, step, _DLIB_START if as_dlib else 0)
    middle = 0.0 if as_dlib else (step - 1) / 2
    chip_to_crop = chip_to_image - [[0, 0, left + middle], [0, 0, top + middle]]
    if as_dlib:
        for _ in range(halvings):
            crop, chip_to_crop = cv2.pyrDown(crop), (chip_to_crop + _DLIB_PHASE) / 2
    else:
        rows, columns = (length // step for length in crop.shape[:2])
        if not (rows and columns):
            return np.zeros((side, side, 3), np.uint8)
        if step > 1:
            whole = crop[: rows * step, : columns * step]
            crop = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        chip_to_crop = chip_to_crop / step
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    chip: UInt8Array = cv2.warpAffine(crop, chip_to_crop, (side, side), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return chip


def _chip_to_image(landmarks: FloatArray, template: ChipTemplate) -> NDArray[np.float64]:
    """Return the inverse of the similarity that takes the landmarks nearest to the template's points."""
    fitted = fit_similarity(landmarks, template.points)
    factor, shift = complex(*fitted[:, 0]), complex(*fitted[:, 2])
    if abs(factor) < _LEAST_SCALE:
        factor = complex(_LEAST_SCALE)
    inverse, back = 1 / factor, -shift / factor
    return np.array([[inverse.real, -inverse.imag, back.real], [inverse.imag, inverse.real, back.imag]])


def _dlib_chip_to_image(landmarks: FloatArray, template: ChipTemplate) -> NDArray[np.float64]:
    """Return the similarity that is sampled: the fitted one about the chip's centre, with dlib's scale.

    dlib lays the chip's first and last pixel centres on the edges of the rectangle that it cuts out, and so uses a
    scale of (side * s - 1) / (side - 1) where s was fitted, and takes pixel (side - 1) / 2 to the image of side / 2.
    """
    fitted = fit_similarity(template.points, landmarks)
    scale = max(float(np.hypot(*fitted[:, 0])), np.finfo(np.float32).tiny)
    centre = fitted @ [template.side / 2, template.side / 2, 1]
    linear = fitted[:, :2] * ((template.side * scale - 1) / (template.side - 1) / scale)
    middle = (template.side - 1) / 2
    return np.column_stack([linear, centre - linear @ [middle, middle]])


def _around_chip(
    image: UInt8Array, chip_to_image: NDArray[np.float64], side: int, step: int, start: int
) -> tuple[UInt8Array, tuple[int, int]]:
    """Return the part of the image that the chip is sampled from, and its left top corner.

    The corner lies where the pixels of the image at 1 / ``step`` do, when every halving starts ``start`` pixels in.
    """
    height, width = image.shape[:2]
    corners = chip_to_image @ [[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]]
    margin = 4 * step
    first = np.floor(corners.min(axis=1)) - margin
    last = np.ceil(corners.max(axis=1)) + margin
    left, top = (int((np.clip(low, 0, size) // step) * step) for low, size in zip(first, (width, height), strict=True))
    right, bottom = (int(np.clip(high, 0, size)) for high, size in zip(last, (width, height), strict=True))
    if right - left < 1 or bottom - top < 1:
        return np.zeros((1, 1, 3), np.uint8), (0, 0)
    phase = -start % step
    left, top = max(left - step + phase, 0), max(top - step + phase, 0)
    return image[top:bottom, left:right], (left, top)


_ROUNDING = 1e-6  # what is a whole pixel but for the last digits of floating point is one
_MOST_SAMPLES = 4  # averaged for each pixel of a crop, each way


def square_crop(image: UInt8Array, box_xyxy: FloatArray, scale: float, side: int) -> UInt8Array:
    """Return a square around the middle of a box, in the size that a network takes: (side, side, 3).

    Args:
        image: (H, W, 3); beyond its border, its outermost pixels are repeated.
        box_xyxy: (4,) of a face in its pixels; may reach beyond it.
        scale: of the square, in the box's longer side.
        side: of the result, in pixels.
    """
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    length = max(1.0, scale * max(right - left, bottom - top))
    size = round(length)
    # Of a large face, some pixels stand for all.
    steps = np.linspace(0, size - 1, min(size, _MOST_SAMPLES * side)).round().astype(np.int64)
    columns = np.clip(round((left + right - length) / 2) + steps, 0, image.shape[1] - 1)
    rows = np.clip(round((top + bottom - length) / 2) + steps, 0, image.shape[0] - 1)
    return _resized(image[rows[:, None], columns], side, cv2.INTER_AREA if size > side else cv2.INTER_LINEAR)


def inner_crop(image: UInt8Array, box_xyxy: FloatArray, scale: float, side: int) -> UInt8Array:
    """Return what surrounds a face, shifted into the image and made small enough for it: (side, side, 3).

    It has the shape of the box, and is stretched to the square, with bilinear sampling and aliases: so the networks
    were trained. Arguments as in ``square_crop``; the scale is kept where the image has room for it.

    Source: ``CropImage`` in ``src/generate_patches.py`` of Minivision's Silent-Face-Anti-Spoofing.
    """
    box = box_xyxy.astype(np.float64)
    room_wh = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float64)
    size_wh = np.maximum(box[2:] - box[:2], 1.0)
    size_wh *= min(scale, *(room_wh / size_wh))
    low = np.clip((box[:2] + box[2:] - size_wh) / 2, 0, room_wh - size_wh)
    (left, top), (right, bottom) = (np.floor(edge + _ROUNDING).astype(int) for edge in (low, low + size_wh))
    return _resized(image[top : bottom + 1, left : right + 1], side, cv2.INTER_LINEAR)


def _resized(pixels: UInt8Array, side: int, interpolation: int) -> UInt8Array:
    resized: UInt8Array = cv2.resize(pixels, (side, side), interpolation=interpolation)
    return resized
