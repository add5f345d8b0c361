"""What a gallery keeps of an image, encoded."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import PIL.Image

from visavis.core.image import ImageLimits, read_encoded, read_image
from visavis.types import UInt8Array

if TYPE_CHECKING:
    from visavis.types import ImageSource


def encoded_chip(chip: UInt8Array) -> bytes:
    """Return an RGB image (H, W, 3) as PNG, which loses nothing."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(chip[..., ::-1]))
    return data.tobytes()


def encoded_picture(image: "ImageSource", limits: ImageLimits) -> bytes:
    """Return an image as it is encoded, and an array or a Pillow image, which are not, as PNG.

    Raises:
        InputError: it cannot be read, or is beyond the limits.
    """
    if isinstance(image, np.ndarray | PIL.Image.Image):
        return encoded_chip(read_image(image, limits=limits).pixels)
    return read_encoded(image, limits)
