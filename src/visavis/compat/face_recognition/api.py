"""The functions of ``face_recognition``, with its names, defaults, orders and types.

Images are (H, W, 3) uint8 RGB or (H, W) grey, as they lie in the file; places are (top, right, bottom, left) in whole
pixels; encodings are (128,) float64.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from operator import index
from pathlib import Path
from typing import IO, Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from visavis.core.geometry import Detections, extract_chip
from visavis.errors import InvalidOption, LicenceNotAccepted
from visavis.models.catalogue.dlib import DLIB, LANDMARKS_68
from visavis.models.dlib.detector import DlibDetector, LandmarkRegressor
from visavis.models.heads import Models, load_landmarks, load_models
from visavis.models.installation import Installation, default_cache_dir, default_models_dir
from visavis.models.runtime import RuntimeSpec
from visavis.types import FloatArray, UInt8Array

Place: TypeAlias = tuple[int, int, int, int]
Encoding: TypeAlias = NDArray[np.float64]
Points: TypeAlias = list[tuple[int, int]]

LICENCE = "iBUG-300W"
_MOST_UPSAMPLED = 8  # times; more is bounded by the pixels that are searched
_FARTHEST = 2**20  # pixels from the origin, where boxes are cut off
_BATCH = 16
# The points of 68 that the 5 are: the corners of the eyes, the outer one first, and the base of the nose.
_FIVE_OF_68 = [45, 42, 36, 39, 33]
_PARTS_OF_68: dict[str, list[int]] = {
    "chin": [*range(17)],
    "left_eyebrow": [*range(17, 22)],
    "right_eyebrow": [*range(22, 27)],
    "nose_bridge": [*range(27, 31)],
    "nose_tip": [*range(31, 36)],
    "left_eye": [*range(36, 42)],
    "right_eye": [*range(42, 48)],
    "top_lip": [*range(48, 55), *range(64, 59, -1)],
    "bottom_lip": [*range(54, 60), 48, 60, 67, 66, 65, 64],
}
_PARTS_OF_5 = {"nose_tip": [4], "left_eye": [2, 3], "right_eye": [0, 1]}
# How far a chip is moved, by its side; how much of it is shown; and how it is turned, in degrees either way.
_MOVED, _SHOWN, _TURNED = 0.02, (0.97, 0.99999), 3
_accepted: set[str] = set()


def accept_licence(name: str) -> None:
    """Allow the 68 points from now on, whose licence forbids commercial use, by its name: "iBUG-300W".

    Raises:
        InvalidOption: it has another name.
    """
    if name != LICENCE:
        raise InvalidOption(f"the licence of the 68 points is called {LICENCE!r}, not {name!r:.60}")
    _accepted.add(name)


def load_image_file(file: str | Path | IO[bytes], mode: str = "RGB") -> NDArray[Any]:
    """Read an image, in the mode "RGB" or "L"; it is not turned as its EXIF data say.

    Raises:
        OSError: there is no such file, or it is no image, or cut off.
    """
    with PIL.Image.open(file) as image:
        return np.array(image.convert(mode) if mode else image)


def face_locations(img: UInt8Array, number_of_times_to_upsample: int = 1, model: str = "hog") -> list[Place]:
    """Return where faces are, the clearest first, within the image.

    Args:
        img: the image.
        number_of_times_to_upsample: 0 finds faces of 80 pixels and more, each time more half of that.
        model: "hog" and "cnn" both mean the CNN here.

    Raises:
        RuntimeError: it is no such image.
    """
    del model
    pixels = _rgb(img)
    height, width = pixels.shape[:2]
    return [
        (max(top, 0), min(right, width), min(bottom, height), max(left, 0))
        for left, top, right, bottom in _find(pixels, number_of_times_to_upsample).boxes_xyxy.astype(int).tolist()
    ]


def batch_face_locations(
    images: Sequence[UInt8Array], number_of_times_to_upsample: int = 1, batch_size: int = 128
) -> list[list[Place]]:
    """Return where faces are for each image, as ``face_locations`` does; images may differ in size."""
    del batch_size
    return [face_locations(image, number_of_times_to_upsample, "cnn") for image in images]


def face_landmarks(
    face_image: UInt8Array, face_locations: Sequence[Place] | None = None, model: str = "large"
) -> list[dict[str, Points]]:
    """Return the landmarks of faces by what they are of, as (x, y).

    Args:
        face_image: the image.
        face_locations: of its faces; searched for where they are not given.
        model: "large" for 68 points, "small" for 5.

    Raises:
        LicenceNotAccepted: "large", before ``accept_licence``.
        RuntimeError, ValueError: it is no such image, or model.
    """
    if model not in ("large", "small"):
        raise ValueError("Invalid landmarks model type. Supported models are ['small', 'large'].")
    parts = _PARTS_OF_68 if model == "large" else _PARTS_OF_5
    found = _landmarks(_rgb(face_image), face_locations, model).astype(int).tolist()
    return [{name: [(each[i][0], each[i][1]) for i in numbers] for name, numbers in parts.items()} for each in found]


def face_encodings(
    face_image: UInt8Array,
    known_face_locations: Sequence[Place] | None = None,
    num_jitters: int = 1,
    model: str = "small",
) -> list[Encoding]:
    """Return the encoding of each face.

    Args:
        face_image: the image.
        known_face_locations: of its faces; searched for where they are not given.
        num_jitters: over how many slightly changed copies of the face the mean is taken, from 2 on.
        model: how the face is aligned: by 5 points, or for "large" by as many of the 68.

    Raises:
        LicenceNotAccepted, RuntimeError: as ``face_landmarks`` does.
    """
    pixels, count = _rgb(face_image), index(num_jitters)
    landmarks = _landmarks(pixels, known_face_locations, model)
    if model != "small":
        landmarks = landmarks[:, _FIVE_OF_68]
    chips = [extract_chip(pixels, points, DLIB.template) for points in landmarks]
    if count <= 1:
        return list(_models().embedder(chips).astype(np.float64))
    return [_mean_encoding(chip, count) for chip in chips]


def face_distance(face_encodings: Sequence[Encoding] | Encoding, face_to_compare: Encoding) -> NDArray[np.float64]:
    """Return the Euclidean distance of each encoding to one: (N,)."""
    if len(face_encodings) == 0:
        return np.empty(0)
    distances: NDArray[np.float64] = np.linalg.norm(face_encodings - face_to_compare, axis=1)
    return distances


def compare_faces(
    known_face_encodings: Sequence[Encoding] | Encoding, face_encoding_to_check: Encoding, tolerance: float = 0.6
) -> list[np.bool_]:
    """Return for each encoding whether its distance to one is at most the tolerance."""
    return list(face_distance(known_face_encodings, face_encoding_to_check) <= tolerance)


@cache
def _installation() -> Installation:
    return Installation(RuntimeSpec(precision="f32"), default_cache_dir(), default_models_dir())


@cache
def _models() -> Models:
    return load_models(DLIB, _installation())


@cache
def _points_of_68() -> LandmarkRegressor:
    return load_landmarks(DLIB, LANDMARKS_68, _installation())


def _detector() -> DlibDetector:
    detector = _models().detector
    if not isinstance(detector, DlibDetector):
        raise TypeError("the pack dlib has dlib's detector")
    return detector


def _rgb(image: UInt8Array) -> UInt8Array:
    """Return an image as RGB; one without pixels as a black one."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):  # noqa: PLR2004  # rows, columns
        raise RuntimeError(
            f"Unsupported image type, must be 8bit gray or RGB image. (It is {pixels.shape} {pixels.dtype}.)"
        )
    if not pixels.size:
        return np.zeros((1, 1, 3), np.uint8)
    return np.ascontiguousarray(np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels)  # noqa: PLR2004


def _find(pixels: UInt8Array, upsampled: int) -> Detections:
    height, width = pixels.shape[:2]
    detector, times = _detector(), min(max(index(upsampled), 0), _MOST_UPSAMPLED)
    least = max(detector.window / 2**times, 1.0)
    return detector.find(pixels, detector.search_size((width, height), least), largest=False)


def _landmarks(pixels: UInt8Array, places: Sequence[Place] | None, model: str) -> FloatArray:
    """Return the landmarks (N, P, 2) of faces."""
    is_small = model == "small"
    if not is_small and LICENCE not in _accepted:
        raise LicenceNotAccepted(
            f"68 points (model={model!r}) come of images whose licence, {LICENCE}, forbids commercial use: "
            f"accept_licence({LICENCE!r}) allows them; model='small' gives 5 points, free for any use"
        )
    if places is None:
        found = _find(pixels, 1)
        if is_small:
            return found.landmarks
        boxes = found.boxes_xyxy
    else:
        edges = [[index(place[i]) for i in (3, 0, 1, 2)] for place in places]
        boxes = np.clip(np.array(edges, np.float64).reshape(-1, 4), -_FARTHEST, _FARTHEST).astype(np.float32)
    regress = _detector().landmarks if is_small else _points_of_68()
    return regress([pixels] * len(boxes), boxes)


def _mean_encoding(chip: UInt8Array, count: int) -> Encoding:
    total, varied = np.zeros(DLIB.dimension), _varied(chip)
    for start in range(0, count, _BATCH):
        batch = [next(varied) for _ in range(min(_BATCH, count - start))]
        total += _models().embedder(batch).sum(axis=0)
    return total / count


def _varied(chip: UInt8Array) -> Iterator[UInt8Array]:
    """Yield a chip moved, zoomed, turned and mirrored by chance, the same each time.

    Source: dlib's ``jitter_image``, without the colours that it changes.
    """
    side, chance = len(chip), np.random.default_rng(0)
    shown, middle = side - 6, (side - 1) / 2
    while True:
        zoom = shown / chance.uniform(*_SHOWN) / side
        matrix = cv2.getRotationMatrix2D((middle, middle), chance.uniform(-_TURNED, _TURNED), zoom)
        matrix[:, 2] += chance.uniform(-_MOVED, _MOVED, 2) * shown
        moved = cv2.warpAffine(chip, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        yield moved[:, ::-1] if chance.random() > 1 / 2 else moved
