"""Array conventions and the results that the library returns.

Images are (H, W, 3) uint8 RGB, upright. Boxes are float32 ``xyxy`` in pixels of the upright original,
landmarks float32 (5, 2) ``xy`` in the same pixels; (0, 0) is the centre of the top-left pixel.
Results are immutable, and their arrays are read-only.
"""

from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import os

    import PIL.Image

UInt8Array: TypeAlias = NDArray[np.uint8]
FloatArray: TypeAlias = NDArray[np.float32]
SizeWH: TypeAlias = tuple[int, int]
Metric: TypeAlias = Literal["euclidean", "cosine"]

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PIL.Image.Image | NDArray[Any]"
)
"""What counts as an image: a path, encoded bytes, an open binary file, a Pillow image or an array."""


def read_only(array: NDArray[Any]) -> FloatArray:
    """Return a read-only float32 copy."""
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """What makes embeddings comparable: only those of one space have a distance that means something.

    Attributes:
        id: the same for two spaces exactly where weights, preprocessing, alignment and dimension are.
        dimension: of an embedding.
        metric: how two are compared: "euclidean", or "cosine" for one minus the cosine of their angle.
    """

    id: str
    dimension: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class Quality:
    """How well an image shows a face.

    Attributes:
        face_px: the shorter side of the face's box, in pixels of the original.
        sharpness: of the aligned chip; see ``visavis.core.quality``. 0 is a single colour.
        score: the detector's confidence, as in ``Face``.
    """

    face_px: float
    sharpness: float
    score: float

    def to_dict(self) -> dict[str, float]:
        """Return plain Python values, ready for JSON."""
        return {"face_px": self.face_px, "sharpness": self.sharpness, "score": self.score}


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face found in an image.

    Attributes:
        box_xyxy: (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does.
        score: the detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face).
        landmarks: (5, 2) points in pixels, in the order of the pack's alignment template.
        embedding: (D,) vector in the pack's embedding space, or None where only detection was asked for.
        quality: how well the image shows it, or None where it was not asked for.
    """

    box_xyxy: FloatArray
    score: float
    landmarks: FloatArray = field(repr=False)
    embedding: FloatArray | None = field(default=None, repr=False)  # personal data: not in logs by accident
    quality: Quality | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "box_xyxy", read_only(self.box_xyxy))
        object.__setattr__(self, "score", float(self.score))
        object.__setattr__(self, "landmarks", read_only(self.landmarks))
        if self.embedding is not None:
            object.__setattr__(self, "embedding", read_only(self.embedding))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; what is None is left out."""
        plain: dict[str, Any] = {
            "box_xyxy": self.box_xyxy.tolist(),
            "score": self.score,
            "landmarks": self.landmarks.tolist(),
        }
        if self.embedding is not None:
            plain["embedding"] = self.embedding.tolist()
        if self.quality is not None:
            plain["quality"] = self.quality.to_dict()
        return plain


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The answer to "do these two images show the same person?".

    Attributes:
        same: the decision: ``distance < threshold``.
        distance: between the two embeddings, in the metric of their space.
        threshold: the one that was used.
        probability: calibrated chance, 0 to 1, that the two are the same person when both answers are
            equally likely beforehand; see the pack's calibration for where it was measured.
        faces: the two faces compared, in the order of the arguments, with their embeddings.
    """

    same: bool
    distance: float
    threshold: float
    probability: float
    faces: tuple[Face, Face]

    def __bool__(self) -> bool:
        """Return the decision, so that ``if recognizer.verify(a, b)`` means what it seems to."""
        return self.same

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; the faces come without their embeddings."""
        faces = [face.to_dict() for face in self.faces]
        for face in faces:
            face.pop("embedding", None)
        return {
            "same": self.same,
            "distance": self.distance,
            "threshold": self.threshold,
            "probability": self.probability,
            "faces": faces,
        }
