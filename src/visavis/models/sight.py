"""What a detector is to everything else."""

from dataclasses import dataclass
from typing import Protocol

from visavis.types import FloatArray, SizeWH, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """Faces in pixels of the image searched: boxes (N, 4), scores (N,) and landmarks (N, P, 2)."""

    boxes_xyxy: FloatArray
    scores: FloatArray
    landmarks: FloatArray


class Detector(Protocol):
    """Finds faces and their landmarks. Thread-safe."""

    def search_size(self, size_wh: SizeWH, min_face: float) -> SizeWH:
        """Return the size to bring an image to, so that faces of ``min_face`` and larger are found.

        Args:
            size_wh: of the image.
            min_face: from 1 on, the smallest face's size in pixels; below 1, as a fraction of the image's shorter side.

        Raises:
            InvalidOption: not a number above 0, or more would have to be searched than is allowed.
        """

    def find(self, image: UInt8Array, search_size_wh: SizeWH, *, largest: bool) -> Sightings:
        """Return all faces, or the largest one alone; in no particular order.

        Args:
            image: (H, W, 3) RGB.
            search_size_wh: the size to which the image is brought to look for faces.
            largest: whether only the largest is wanted, which may be found faster.
        """
