"""Array conventions and the results that the library returns.

Images are (H, W, 3) uint8 RGB, upright. Boxes are float32 ``xyxy`` in pixels of the upright original,
landmarks float32 (5, 2) ``xy`` in the same pixels; (0, 0) is the centre of the top-left pixel.
Results are immutable, and their arrays are read-only.
"""

from dataclasses import asdict, dataclass, field
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
Decision: TypeAlias = Literal["same", "different", "uncertain"]

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
        yaw, pitch: where the head turns, in degrees as in ``Pose``, estimated from the landmarks; None where a face was
            enrolled before these were told.
    """

    face_px: float
    sharpness: float
    score: float
    yaw: float | None = None
    pitch: float | None = None

    def to_dict(self) -> dict[str, float]:
        """Return plain Python values, ready for JSON; what is None is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


Attribute: TypeAlias = Literal["liveness", "pose", "age", "gender"]
"""What can be told of a face besides, where the pack has a part for it; see ``Attributes``."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head turns, in degrees; all are 0 for one that looks straight into the camera.

    Attributes:
        yaw: positive where the head is turned to the right of the image.
        pitch: positive where it looks down.
        roll: positive where it leans clockwise in the image.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Gender:
    """What a network takes a face for: neither identity nor legal sex.

    Attributes:
        label: "female" or "male".
        probability: of the label, 0.5 to 1, as the network says it.
    """

    label: Literal["female", "male"]
    probability: float


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was asked about a face; what was not asked is None.

    Attributes:
        liveness: 0 to 1, how much the face looks like one before the camera rather than a print or a screen.
        pose: where the head turns.
        age: in years; off by about ten on average.
        gender: what the network takes the face for.
    """

    liveness: float | None = None
    pose: Pose | None = None
    age: float | None = None
    gender: Gender | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; what is None is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face found in an image.

    Attributes:
        box_xyxy: (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does.
        score: the detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face).
        landmarks: (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is
            what.
        embedding: (D,) vector in the pack's embedding space, or None where only detection was asked for.
        quality: how well the image shows it, or None where it was not asked for.
        attributes: what else was asked, or None where nothing was.
    """

    box_xyxy: FloatArray
    score: float
    landmarks: FloatArray = field(repr=False)
    embedding: FloatArray | None = field(default=None, repr=False)  # personal data: not in logs by accident
    quality: Quality | None = None
    attributes: Attributes | None = None

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
        if self.attributes is not None:
            plain["attributes"] = self.attributes.to_dict()
        return plain


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The answer to "do these two images show the same person?".

    Attributes:
        same: ``distance < threshold``.
        distance: between the two embeddings, in the metric of their space.
        threshold: the one that was used.
        probability: calibrated chance, 0 to 1, that the two are the same person when both answers are
            equally likely beforehand; see the pack's calibration for where it was measured. None for a pack that nobody
            has calibrated: see ``visavis calibrate``.
        faces: the two faces compared, in the order of the arguments, with their embeddings.
        decision: "same" or "different"; "uncertain" where a false match rate was asked for and the distance is within
            the confidence interval of the threshold that has it.
        fmr: the false match rate of the threshold, where one was asked for.
    """

    same: bool
    distance: float
    threshold: float
    probability: float | None
    faces: tuple[Face, Face]
    decision: Decision
    fmr: float | None = None

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
            "decision": self.decision,
            "fmr": self.fmr,
            "faces": faces,
        }
