"""How well an image shows a face: its size, its sharpness, and how sure the detector is of it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visavis.types import FloatArray, Quality, UInt8Array

# Noise and the blocks of JPEG live in the finest detail, which this much blur (in pixels of the chip) takes away first.
_SMOOTHING = 1.0
# Squared grey levels per squared pixel: what is flatter than this is a single colour and its rounding.
_FLAT = 0.01


def assess(box_xyxy: FloatArray, score: float, chip: UInt8Array) -> Quality:
    """Return the quality of a face.

    Args:
        box_xyxy: (4,) its box in pixels of the original.
        score: the detector's.
        chip: (S, S, 3) the aligned face, RGB.
    """
    width, height = (box_xyxy[2:] - box_xyxy[:2]).tolist()
    return Quality(face_px=float(min(width, height)), sharpness=sharpness(chip), score=float(score))


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


def _middle(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle two thirds each way."""
    margin = plane.shape[0] // 6
    return plane[margin:-margin, margin:-margin]
