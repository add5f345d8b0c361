"""Arrays, and the records that the library returns.

Images are (H, W, 3) uint8 RGB, upright as their metadata say. Boxes are float32 ``xyxy`` in pixels of the upright
original, landmarks float32 (5, 2) ``xy`` in the same pixels; (0, 0) is the centre of the top-left pixel.
Records are immutable, and their arrays are read-only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from visavis.record import WITHOUT_EMBEDDING, Record

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import PIL.Image
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

UInt8Array: TypeAlias = NDArray[np.uint8]
FloatArray: TypeAlias = NDArray[np.float32]
SizeWH: TypeAlias = tuple[int, int]
Metric: TypeAlias = Literal["euclidean", "cosine"]
Decision: TypeAlias = Literal["same", "different", "uncertain"]
Doubt: TypeAlias = Literal["invalid_face", "child", "occluded"]
"""Why the distance of a face to others says nothing: its embedding is that of no upright, legible face; it is a
child's; too much of it is covered."""

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PIL.Image.Image | NDArray[Any]"
)
"""What counts as an image: a path, encoded bytes, an open binary file, a Pillow image or an array."""


Embedding: TypeAlias = "Face | FloatArray | Sequence[float]"
"""What counts as an embedding: an array (D,), a list of numbers, or a face that has one."""


def read_only(array: NDArray[Any]) -> FloatArray:
    """Return a read-only float32 copy."""
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy


@dataclass(frozen=True, slots=True)
class Shape:
    """The axes of an array in a record, for readers of JSON and for the OpenAPI document.

    Attributes:
        lengths: of the axes; 0 for any.
    """

    lengths: tuple[int, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema  # noqa: PLC0415  # the library alone does without pydantic

        schema: CoreSchema = core_schema.float_schema(allow_inf_nan=False)
        for length in reversed(self.lengths):
            schema = core_schema.list_schema(schema, min_length=length or None, max_length=length or None)
        return core_schema.no_info_after_validator_function(read_only, schema)


@dataclass(frozen=True, slots=True)
class Between:
    """The bounds of a number in a record, for the OpenAPI document."""

    least: float
    most: float

    def __get_pydantic_json_schema__(self, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        return {**handler(schema), "minimum": self.least, "maximum": self.most}


Probability: TypeAlias = Annotated[float, Between(0.0, 1.0)]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace(Record):
    """What makes embeddings comparable: only those of one space have a distance that means something."""

    id: str
    """The same for two spaces exactly where weights, preprocessing, alignment and dimension are."""
    dimension: int
    """Of an embedding."""
    metric: Metric
    """How two are compared: "euclidean", or "cosine" for one minus the cosine of their angle."""


@dataclass(frozen=True, slots=True)
class Quality(Record):
    """How well an image shows a face."""

    _sparse = True

    face_px: float
    """The shorter side of the face's box, in pixels of the original."""
    sharpness: float
    """Of the aligned chip; see ``visavis.core.quality``. 0 is a single colour."""
    score: float
    """The detector's confidence, as in ``Face``."""
    yaw: float | None = None
    """Where the head turns, in degrees as in ``Pose``, estimated from the landmarks; None where a face was enrolled
    before these were told.
    """
    pitch: float | None = None
    """Where the head turns, in degrees as in ``Pose``, estimated from the landmarks; None where a face was enrolled
    before these were told.
    """
    validity: float | None = None
    """0 to 1, how much the embedding looks like one of an upright, legible face: those of turned, half-toned or noisy
    ones are all alike. None where nobody looked, or the pack cannot tell.
    """
    occluded: float | None = None
    """0 to 1, how much eyes or mouth look covered: eyes by the darkness of sunglasses, the mouth by the smoothness of a
    mask. None where nobody looked.
    """


@dataclass(frozen=True, slots=True)
class Pose(Record):
    """Where a head turns, in degrees; all are 0 for one that looks straight into the camera."""

    yaw: float
    """Positive where the head is turned to the right of the image."""
    pitch: float
    """Positive where it looks down."""
    roll: float
    """Positive where it leans clockwise in the image."""


@dataclass(frozen=True, slots=True)
class Gender(Record):
    """What a network takes a face for: neither identity nor legal sex."""

    label: Literal["female", "male"]
    """female or male."""
    probability: Annotated[float, Between(0.5, 1.0)]
    """Of the label, 0.5 to 1, as the network says it."""


@dataclass(frozen=True, slots=True)
class Attributes(Record):
    """What was asked about a face; what was not asked is None."""

    _sparse = True

    liveness: Probability | None = None
    """0 to 1, how much the face looks like one before the camera rather than a print or a screen."""
    pose: Pose | None = None
    """Where the head turns."""
    age: float | None = None
    """In years; off by about ten on average."""
    gender: Gender | None = None
    """What the network takes the face for."""


@dataclass(frozen=True, slots=True, eq=False)
class Face(Record):
    """One face found in an image."""

    _sparse = True

    box_xyxy: Annotated[FloatArray, Shape((4,))]
    """(4,) left, top, right, bottom in pixels; may reach beyond the image when the face does."""
    score: float
    """The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face)."""
    landmarks: Annotated[FloatArray, Shape((5, 2))] = field(repr=False)
    """(5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what."""
    # Personal data: not in logs by accident.
    embedding: Annotated[FloatArray, Shape((0,))] | None = field(default=None, repr=False)
    """(D,) vector in the pack's embedding space, or None where only detection was asked for."""
    quality: Quality | None = None
    """How well the image shows it, or None where it was not asked for."""
    attributes: Attributes | None = None
    """What else was asked, or None where nothing was."""
    turned: int | None = None
    """By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None.
    Box and landmarks are those in the image as it is.
    """
    chip: str | None = field(default=None, repr=False)
    """The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "box_xyxy", read_only(self.box_xyxy))
        object.__setattr__(self, "score", float(self.score))
        object.__setattr__(self, "landmarks", read_only(self.landmarks))
        if self.embedding is not None:
            object.__setattr__(self, "embedding", read_only(self.embedding))


_Each_co = TypeVar("_Each_co", covariant=True)


class Faces(tuple[_Each_co, ...]):  # noqa: SLOT001  # tuples allow none that hold anything
    """What an image shows, a member for each face, largest first: a tuple that knows how small faces were looked for.

    Attributes:
        searched_from_px: the smallest size of a face, in pixels of the image, that was looked for. It is more than
            ``min_face`` asks for where the image is too large to be searched so finely; 0 where nothing was searched or
            a server of before did not say.
        size_wh: of the upright original, in pixels; (0, 0) where that is not known.
    """

    searched_from_px: float
    size_wh: SizeWH

    def __new__(
        cls, faces: Iterable[_Each_co], searched_from_px: float = 0.0, size_wh: SizeWH = (0, 0)
    ) -> "Faces[_Each_co]":
        """Make a tuple of these."""
        made = super().__new__(cls, faces)
        made.searched_from_px = searched_from_px
        made.size_wh = size_wh
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.searched_from_px, self.size_wh


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Record):
    """The answer to "are these two embeddings of the same person?"."""

    same: bool
    """``distance < threshold``, and no reason to doubt it."""
    distance: float
    """Between the two embeddings, in the metric of their space."""
    threshold: float
    """The one that was used."""
    probability: Probability | None
    """Calibrated chance, 0 to 1, that the two are the same person when both answers are equally likely beforehand; see
    the pack's calibration for where it was measured. None for a pack that nobody has calibrated: see ``visavis
    calibrate``. None also where there is a reason to doubt.
    """
    decision: Decision
    """same or different; uncertain where there is a reason to doubt, and where a false match rate was asked for and the
    distance is within the confidence interval of the threshold that has it.
    """
    fmr: float | None = None
    """The false match rate of the threshold, where one was asked for."""
    reason: Doubt | None = None
    """Why the distance says nothing, whatever it is: invalid_face, child, occluded; or None."""
    interval: tuple[float, float] | None = None
    """The confidence interval of the threshold, where a false match rate was asked for: within it, it is uncertain."""

    def __bool__(self) -> bool:
        """Return the decision, so that ``if recognizer.verify(a, b)`` means what it seems to."""
        return self.same


@dataclass(frozen=True, slots=True, eq=False)
class Verification(Comparison):
    """The answer to "do these two images show the same person?"."""

    faces: tuple[Face, Face] = field(kw_only=True, metadata=WITHOUT_EMBEDDING)
    """The two faces compared, in the order of the arguments, with their embeddings."""
