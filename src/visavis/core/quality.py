"""Quality of a face in an image: its size, sharpness and pose, the detector's score; and whether it is a child's."""

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import Anatomy, ChipTemplate
from visavis.types import Face, FloatArray, Quality, UInt8Array

_SMOOTHING = 1.0  # pixels of the chip: this much blur removes noise and the blocks of JPEG
_FLAT = 0.01  # squared grey levels per squared pixel: what is flatter is a single colour and its rounding
# How far the nose stands out before eyes and mouth, and how far below the eyes it is when a head looks straight ahead:
# in distances from the eyes to the mouth. Fitted to a network's poses: bench/quality.py --pose.
_NOSE_DEPTH = 0.33
_NOSE_HEIGHT = 0.54
_LEAST = 0.01  # of which a logarithm is taken
_ROUNDING = 0.005  # of the length of a vector that was normalised, and perhaps written with few digits
_FACE_SIDE = 112  # of a chip whose pixels are smoothed by one
# The median luma of the lighter eye, and the range of the mouth's, in that of cheeks or forehead.
_DARK_EYES, _SMOOTH_MOUTH = 0.18, 0.14


@dataclass(frozen=True, slots=True, eq=False)
class ChildTest:
    """Linear test of whether an embedding is one of a child's face, below about 12 years."""

    weights: str  # whole numbers, one for each number of an embedding of length 1
    limit: float  # a face whose weighted sum is above is a child's
    provenance: str  # the data and the script that they come from
    _vector: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_vector", np.array(self.weights.split(), np.float32))

    def __call__(self, embedding: FloatArray) -> bool:
        """Tell whether an embedding (D,), of any length, is one of a child's face."""
        return float(embedding @ self._vector) > self.limit * float(np.linalg.norm(embedding))


def assess(face: Face, chip: UInt8Array, template: ChipTemplate) -> Quality:
    """Return the quality of a detected face by its chip (S, S, 3) RGB, which is aligned to the template."""
    width, height = (face.box_xyxy[2:] - face.box_xyxy[:2]).tolist()
    yaw, pitch = turn(face.landmarks, template.anatomy)
    covered = occlusion(chip, template)
    return Quality(float(min(width, height)), sharpness(chip), face.score, yaw, pitch, occluded=covered)


def occlusion(chip: UInt8Array, template: ChipTemplate) -> float:
    """Return how much eyes or mouth of an aligned chip (S, S, 3) look covered, 0 to 1.

    Half where both eyes are darker beside cheeks or forehead, or the mouth is smoother, than on all but a few of LFW's
    photos: bench/invalid.py. What covers them otherwise, as clear glasses or a patterned scarf, is not seen.
    """
    luma = cv2.GaussianBlur(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), (0, 0), len(chip) / _FACE_SIDE)
    *eyes, mouth, cheeks, forehead = (luma[part] for part in _parts_of(template))
    bright = max(float(np.median(cheeks)), float(np.median(forehead)), 1.0)
    eye = max(float(np.median(part)) for part in eyes) / bright
    dark, light = (float(np.percentile(mouth, percent)) for percent in (10, 90))
    return max(0.0, 1 - eye / (2 * _DARK_EYES), 1 - (light - dark) / bright / (2 * _SMOOTH_MOUTH))


@cache
def _parts_of(template: ChipTemplate) -> tuple[NDArray[np.bool_], ...]:
    """Return where on a chip the eyes are, mouth, cheeks and forehead: ellipses, in distances of the eyes."""
    points, anatomy = template.points.astype(np.float64), template.anatomy
    left, right = (points[list(eye)].mean(axis=0) for eye in anatomy.eyes)
    apart, middle = float(np.linalg.norm(right - left)), (left + right) / 2
    mouth = points[list(anatomy.mouth)].mean(axis=0) if anatomy.mouth else middle + np.array([0, 1.05 * apart])
    pixels = np.moveaxis(np.mgrid[: template.side, : template.side][::-1], 0, -1)

    def ellipse(
        centre: NDArray[np.float64], shift: tuple[float, float], half: tuple[float, float]
    ) -> NDArray[np.bool_]:
        away = (pixels - centre - np.multiply(shift, apart)) / np.multiply(half, apart)
        inside: NDArray[np.bool_] = (away**2).sum(axis=-1) < 1
        return inside

    eyes = (ellipse(eye, (0, 0), (0.3, 0.18)) for eye in (left, right))
    cheeks = ellipse(left, (0.05, 0.55), (0.2, 0.15)) | ellipse(right, (-0.05, 0.55), (0.2, 0.15))
    return (*eyes, ellipse(mouth, (0, 0), (0.45, 0.22)), cheeks, ellipse(middle, (0, -0.45), (0.35, 0.15)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityRule:
    """A logistic rule that tells embeddings of upright, legible faces from those that say nothing.

    What an embedder cannot make out gives short embeddings, all of them much alike; half-tones and noise are sharper
    than any photo; mosaics, blocks of JPEG and what is painted over are flat.
    """

    length: float  # weight of the logarithm of the embedding's length
    likeness: float  # of the largest cosine of its angle to a prototype of those that say nothing
    sharpness: float  # of the logarithm of the sharpness
    flatness: float = 0.0  # of that of the chip; see ``flatness``
    constant: float
    # Of most photos, for embeddings whose image is not there: their length, and what sharpness and flatness add.
    usual_length: float
    unseen: float
    prototypes: str  # their name in the file that packs come with
    provenance: str  # the data and the script that the numbers come from

    def validity(
        self,
        embedding: FloatArray,
        prototypes: FloatArray,
        quality: Quality | None = None,
        chip: UInt8Array | None = None,
    ) -> float:
        """Return the validity, 0 to 1, of a face's embedding (D,), as the embedder gave it.

        Args:
            embedding: of the face. One of length 1 was normalised by somebody, which hides how long it was.
            prototypes: (K, D), each of length 1, of embeddings that say nothing.
            quality: of the face, where its image is there.
            chip: (S, S, 3) that was embedded, likewise.
        """
        length = max(float(np.linalg.norm(embedding)), _LEAST)
        likeness = float((prototypes @ embedding).max(initial=-length)) / length
        own = self.usual_length if quality is None and abs(length - 1) < _ROUNDING else length
        log_odds = self.constant + self.length * np.log(own) + self.likeness * likeness
        if quality is None or chip is None:
            log_odds += self.unseen
        else:
            log_odds += self.sharpness * np.log(max(quality.sharpness, _LEAST))
            log_odds += self.flatness * flatness(chip) if self.flatness else 0.0
        return float(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700.0, 700.0))))


def turn(landmarks: FloatArray, anatomy: Anatomy) -> tuple[float, float | None]:
    """Return the yaw and the pitch of a head, in degrees as in ``Pose``, by its landmarks (P, 2).

    The nose stands out before the plane of eyes and mouth: as the head turns by an angle, it moves away from the middle
    by the angle's tangent, in units that shrink as the face does. The pitch takes a mouth; without one it is None, for
    how far below the eyes a nose is tells people apart and not poses. Both are estimates, the pitch a rough one.
    """
    points = landmarks.astype(np.float64)
    left, right = (points[list(eye)].mean(axis=0) for eye in anatomy.eyes)
    eyes, nose, across = (left + right) / 2, points[anatomy.nose], right - left
    if not anatomy.mouth:
        return _degrees((nose - eyes) @ across, anatomy.nose_depth * across @ across), None
    corners = points[list(anatomy.mouth)]
    mouth, across = corners.mean(axis=0), across + corners[1] - corners[0]
    down = np.array([-across[1], across[0]])
    height = (mouth - eyes) @ down
    yaw = _degrees((nose - (eyes + mouth) / 2) @ across, anatomy.nose_depth * (right - left) @ across)
    return yaw, _degrees((nose - eyes) @ down - _NOSE_HEIGHT * height, _NOSE_DEPTH * height)


def sharpness(chip: UInt8Array) -> float:
    """Return the mean squared frequency of the luma in the middle of an aligned chip (S, S, 3): 0 and up.

    The variance of the Laplacian, as in the source, grows with contrast and with noise as much as with sharpness.
    Here the luma is smoothed first, and the variance divided by that of the gradient: what remains is in squared
    radians per pixel of the chip, hardly changes with contrast, brightness, noise and compression, and is
    1 / (2 + 2 b^2) for an edge that is blurred by a Gaussian of b pixels. What surrounds the face does not count: a
    third of the chip's width and height is left out. A large face is made smaller for its chip, and so is its blur.

    Source: J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000.
    """
    luma = cv2.cvtColor(chip.astype(np.float32), cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(luma, (0, 0), _SMOOTHING)
    laplacian = _middle(cv2.Laplacian(smooth, cv2.CV_32F))
    gradients = (_middle(cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5)) for dx in (0, 1))
    energy = sum(float(gradient.var()) for gradient in gradients)
    return float(laplacian.var()) / (energy + _FLAT)


def flatness(chip: UInt8Array) -> float:
    """Return the part, 0 to 1, of the middle of a chip (S, S, 3) where the next pixels right and below are as light."""
    luma = _middle(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32))
    return float(((luma[:-1, :-1] == luma[:-1, 1:]) & (luma[:-1, :-1] == luma[1:, :-1])).mean())


def _degrees(opposite: float, adjacent: float) -> float:
    """Return an angle from 0 where the two are, be they both 0; adjacent is not taken to be negative."""
    return float(np.degrees(np.arctan2(opposite, max(adjacent, 0.0))))


def _middle(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle two thirds each way."""
    margin = plane.shape[0] // 6
    return plane[margin:-margin, margin:-margin]
