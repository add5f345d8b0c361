"""Boxes, suppression, similarity transforms and aligned chips."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visavis.types import FloatArray, UInt8Array

# dlib's map to the half-size image is off by half a pixel each way: x too low, y too high.
_DLIB_PHASE = np.array([[0, 0, -0.5], [0, 0, 0.5]])


@dataclass(frozen=True, slots=True, eq=False)
class ChipTemplate:
    """Where an embedder wants the landmarks: a square chip of ``side`` pixels, and the points (P, 2) in it."""

    side: int
    points: FloatArray


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


def suppress(boxes_xyxy: FloatArray, scores: FloatArray, most_overlap: float) -> NDArray[np.intp]:
    """Return the indices of the boxes that no better one overlaps by more than ``most_overlap``, best first.

    Overlap is ``intersection_over_hull``. Cost grows with boxes times kept boxes.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while remaining.size:
        best, others = remaining[0], remaining[1:]
        kept.append(best)
        overlap = intersection_over_hull(boxes_xyxy[best : best + 1], boxes_xyxy[others])[0]
        remaining = others[overlap <= most_overlap]
    return np.array(kept, np.intp)


def fit_similarity(source: FloatArray, target: FloatArray) -> NDArray[np.float64]:
    """Return the (2, 3) rotation, scale and shift that takes the points (P, 2) nearest to their targets.

    In the plane, a similarity is a complex factor and a shift, and least squares has a closed form; reflections are
    not considered.

    Source: S. Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI 1991.
    """
    a, b = _complex(source), _complex(target)
    a_centre, b_centre = a.mean(), b.mean()
    spread = np.vdot(a - a_centre, a - a_centre).real
    factor = np.vdot(a - a_centre, b - b_centre) / spread if spread > 0 else 1.0 + 0.0j
    shift = b_centre - factor * a_centre
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _complex(points: FloatArray) -> NDArray[np.complex128]:
    xy = points.astype(np.float64)
    return xy[:, 0] + 1j * xy[:, 1]


def extract_chip(image: UInt8Array, landmarks: FloatArray, template: ChipTemplate) -> UInt8Array:
    """Return the face turned, scaled and cropped so that its landmarks (P, 2) lie on the template's: (S, S, 3).

    Bilinear, black outside the image. Large faces are halved first, so that sampling does not alias; the halved
    pixels, and the place where they are sampled, are the ones of dlib's image pyramid, because its embedder was
    trained on them.

    Source: dlib's ``get_face_chip_details``, ``extract_image_chips`` and ``pyramid_down<2>``.
    """
    chip_to_image = _chip_to_image(landmarks, template)
    halvings = _halvings(float(np.hypot(*chip_to_image[:, 0])))
    crop, (left, top) = _around_chip(image, chip_to_image, template.side, halvings)
    chip_to_crop = chip_to_image - [[0, 0, left], [0, 0, top]]
    for _ in range(halvings):
        crop = cv2.pyrDown(crop)
        chip_to_crop = (chip_to_crop + _DLIB_PHASE) / 2
    chip: UInt8Array = cv2.warpAffine(
        crop,
        chip_to_crop,
        (template.side, template.side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return chip


def _chip_to_image(landmarks: FloatArray, template: ChipTemplate) -> NDArray[np.float64]:
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


def _halvings(scale: float) -> int:
    """Return how often to halve an image that is sampled every ``scale`` pixels."""
    return max(0, int(np.floor(np.log2(max(scale, 1.0)))))


def _around_chip(
    image: UInt8Array, chip_to_image: NDArray[np.float64], side: int, halvings: int
) -> tuple[UInt8Array, tuple[int, int]]:
    """Return the part of the image that the chip is sampled from, and its left top corner.

    The corner lies where dlib's half-size pixels do: every halving starts two pixels in.
    """
    height, width = image.shape[:2]
    corners = chip_to_image @ [[0, side, 0, side], [0, 0, side, side], [1, 1, 1, 1]]
    step = 2**halvings
    margin = 4 * step
    first = np.floor(corners.min(axis=1)) - margin
    last = np.ceil(corners.max(axis=1)) + margin
    left, top = (int((np.clip(low, 0, size) // step) * step) for low, size in zip(first, (width, height), strict=True))
    right, bottom = (int(np.clip(high, 0, size)) for high, size in zip(last, (width, height), strict=True))
    if right - left < 1 or bottom - top < 1:
        return np.zeros((1, 1, 3), np.uint8), (0, 0)
    phase = (-2) % step
    left, top = max(left - step + phase, 0), max(top - step + phase, 0)
    return image[top:bottom, left:right], (left, top)
