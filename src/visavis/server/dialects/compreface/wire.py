"""Requests, faces and errors of CompreFace: what stands in its JSON."""

import math
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from typing_extensions import Self

from visavis.core.scales import Scale
from visavis.errors import InvalidImage, ModelMissing, NoFace
from visavis.models.attributes import ROLE_OF_ATTRIBUTE
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer
from visavis.options import Attribute
from visavis.server import reading
from visavis.server.dialects import whole_face
from visavis.server.problems import Problem
from visavis.server.reading import Body, Image
from visavis.server.requests import MOST_EMBEDDINGS, check_vector, check_vectors
from visavis.types import Face, Faces, ImageSource

_AGE_ERROR = 10  # years by which an age is off, on average
_DIGITS = Decimal("0.00001")
_LONGEST_NAME, _NOT_IN_NAMES = 50, frozenset(";/\\")
_LARGEST_PAGE, _LAST_PAGE, _MOST_IDS = 2000, 2**31 - 1, 1000
_MEASURED: tuple[Attribute, ...] = ("age", "gender", "pose")
_T = TypeVar("_T")


class Refused(Problem):
    """A problem that has its number of CompreFace already."""

    def __init__(self, number: int, message: str, status: int = 400) -> None:
        super().__init__("invalid_request", message, status=status)
        self.number = number


_NO_FACE = "No face is found in the given image"
_UNFIT = ("too_small", "blurred", "low_score", "extreme_pose", "invalid_face", "occluded", "child", "not_live")
# By code: its number and status in CompreFace, and its message there; None for that of the problem.
_TOLD: Mapping[str, tuple[int, int, str | None]] = {
    **dict.fromkeys(
        ("no_face", "image_corrupt", "unsupported_format", "invalid_image", "image_unreadable"), (28, 400, _NO_FACE)
    ),
    **dict.fromkeys(_UNFIT, (28, 400, None)),
    **dict.fromkeys(("invalid_option", "invalid_embedding", "space_mismatch"), (36, 400, None)),
    "multiple_faces": (31, 400, "More than one face in the source image"),
    "gallery_not_found": (10, 404, None),
    "subject_not_found": (42, 404, "Subject {subject} not found"),
    "subject_exists": (43, 400, "Subject already exists"),
    "sample_not_found": (44, 404, "Image {image_id} not found"),
    "method_not_allowed": (0, 404, "Request method '{method}' not supported"),
}
_UNPROCESSABLE, _MISSING = 422, "Field required"


def told_problem(request: Request, problem: Problem) -> tuple[int, int, str]:
    """Return the number, the status and the message of a problem in CompreFace."""
    if isinstance(problem, Refused):
        return problem.number, problem.status, problem.detail
    if problem.code == "invalid_request":
        return _invalid(request, problem)
    status = 400 if problem.status == _UNPROCESSABLE else problem.status
    number, status, message = _TOLD.get(problem.code, (0, status, None))
    named = {"subject": "", "image_id": "", "method": request.method, **request.path_params}
    return number, status, problem.detail if message is None else message.format(**named)


def _invalid(request: Request, problem: Problem) -> tuple[int, int, str]:
    missing = [error.field for error in problem.errors if error.message == _MISSING]
    if missing:
        name = missing[0]
        if name == "subject":
            return 33, 400, f"Required parameter {name} is missing"
        if request.headers.get("content-type", "").startswith(reading.FORM):
            return 34, 400, f"Required part {name} is missing"
        return 5, 400, f"Field {name} cannot be empty"
    status = problem.status if problem.status != _UNPROCESSABLE else 400
    return 26 if problem.field else 0, status, "; ".join(e.message for e in problem.errors) or problem.detail


class _Lenient(reading.Request):
    """A body, in which unknown members are passed over."""

    model_config = ConfigDict(extra="ignore")


def _image(value: object) -> Image:
    if isinstance(value, Image):
        return value
    if not isinstance(value, str):
        raise ValueError(_MISSING if value is None else "must be an image in base64")  # noqa: TRY004  # as pydantic wants it
    image = Image(base64=value)
    if isinstance(image.base64, InvalidImage):
        raise Refused(21, "Provided value is not Base64")
    return image


def _at_least(least: int, message: str) -> AfterValidator:
    def check(value: int) -> int:
        if value < least:
            raise ValueError(message)
        return value

    return AfterValidator(check)


_File: TypeAlias = Annotated[
    Image, BeforeValidator(_image), WithJsonSchema({"type": "string", "format": "byte"}), Field(description="An image.")
]
_Limit = Annotated[
    int,
    _at_least(0, "Limit should be equal or greater than 0"),
    Field(description="How many faces at most, largest first; 0 for all."),
]
_Count = Annotated[
    int,
    # Of a message that begins with its field's name, that is left out.
    _at_least(1, "prediction_count prediction_count should be equal or greater than 1"),
    Field(description="How many of the nearest examples to tell for each face."),
]


class Look(_Lenient):
    """What is told of which faces."""

    limit: _Limit = 0
    det_prob_threshold: Annotated[float | None, Field(description="Least score of a face, 0 to 1.")] = None
    face_plugins: Annotated[str, Field(description="Of landmarks, gender, age, calculator, pose.")] = ""
    status: Annotated[bool, Field(description="Whether to tell what was used, and how long it took.")] = False
    detect_faces: Annotated[bool, Field(description="Else an image without a face is one.")] = True

    @property
    def plugins(self) -> frozenset[str]:
        """Which are asked for, known or not."""
        return frozenset(name.strip() for name in self.face_plugins.split(","))

    def attributes(self, pack: Pack) -> list[Attribute]:
        """Return which are to be measured, of those that the pack has parts for."""
        return [each for each in _MEASURED if each in self.plugins and pack.has(ROLE_OF_ATTRIBUTE[each])]

    def look(self, recognizer: Recognizer, image: ImageSource, *live: Attribute, embed: bool = True) -> Faces[Face]:
        """Return the faces of an image with their quality, and what plugins tell of them where that is installed."""
        look = recognizer.embed if embed else recognizer.detect
        try:
            faces = look(image, quality=True, attributes=[*live, *self.attributes(recognizer.pack)])
        except ModelMissing:
            faces = look(image, quality=True, attributes=live)
        # Of an image that is a face, nobody knows whether it is live.
        return faces if faces or live or self.detect_faces else Faces([whole_face(recognizer, image)])

    def kept(self, found: Iterable[tuple[Face, _T]]) -> list[tuple[Face, _T]]:
        """Return the faces that are told of, with what belongs to each; NoFace where there are none."""
        least = self.det_prob_threshold
        if least is not None and not 0 <= least <= 1:
            raise Refused(28, _NO_FACE)
        kept = [each for each in found if least is None or _score(each[0]) >= least]
        if not kept:
            raise NoFace("no face found")
        return kept[: self.limit or None]


class PictureRequest(Look):
    """An image."""

    file: _File


class RecognizeRequest(PictureRequest):
    """An image whose faces are looked for."""

    prediction_count: _Count = 1


class SampleVerifyRequest(Look):
    """Two images to compare."""

    source_image: _File
    target_image: _File


class ExampleRequest(PictureRequest):
    """An image of somebody."""

    subject: Annotated[str, Field(description="Whose it is.")]


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("Subject name cannot be empty")
    if len(value) > _LONGEST_NAME:
        raise ValueError(f"Subject name size must be between 1 and {_LONGEST_NAME}")
    if _NOT_IN_NAMES.intersection(value):
        raise Refused(36, "The name cannot contain the following special characters: ';', '/', '\\'")
    return value


class NameRequest(_Lenient):
    """A subject's name."""

    subject: Annotated[
        str, BeforeValidator(_name), Field(validate_default=True, description="1 to 50 characters, but for ; / and \\.")
    ] = ""


def _filled(value: object) -> object:
    if value is None or value == []:
        raise ValueError(_MISSING)
    return value


_Vectors = Annotated[
    Any,
    BeforeValidator(_filled),
    AfterValidator(check_vectors),
    Field(description=f"1 to {MOST_EMBEDDINGS} embeddings."),
]


class EmbeddingsRequest(_Lenient):
    """Embeddings to look for."""

    embeddings: _Vectors
    prediction_count: _Count = 1


class EmbeddingPairs(_Lenient):
    """An embedding, and others to compare it with."""

    source: Annotated[Any, BeforeValidator(_filled), AfterValidator(check_vector), Field(description="An embedding.")]
    targets: _Vectors


class IdsRequest(_Lenient):
    """A list of UUIDs."""

    ids: Annotated[list[str], Field(max_length=_MOST_IDS)]

    @classmethod
    def read(cls, body: Body, max_images: int) -> Self:  # noqa: ARG003  # as others are read
        """Read a JSON array."""
        return reading.check(cls, {"ids": reading.read_json(body.data)})


class Paging(BaseModel):
    """Which part of a list."""

    page: Annotated[int, Field(ge=0, le=_LAST_PAGE, description="Its number, from 0 on.")] = 0
    size: Annotated[int, Field(ge=1, le=_LARGEST_PAGE, description="How many on each.")] = 20
    subject: Annotated[str | None, Field(description="Of whom; without it, of everybody.")] = None


def _rounded(number: float) -> float:
    return float(Decimal(repr(float(number))).quantize(_DIGITS, ROUND_HALF_UP))


def _score(face: Face) -> float:
    return min(1.0, max(0.0, face.score))


def similarity_of(pack: Pack, distance: float | None) -> float:
    """Return the similarity, 0 to 1, of two faces at a distance; 0 where it is not told, or says nothing."""
    if distance is None:
        return 0.0
    # Of a pack that nobody has measured, 0.5 is at its threshold, and nearly 1 at a distance of 0.
    scale = Scale.of("compreface", pack.rates) if pack.rates else Scale(1.0, pack.threshold, 10 / pack.threshold)
    return _rounded(scale.value(distance))


def _box(face: Face) -> dict[str, Any]:
    left, top, right, bottom = (max(0, round(edge)) for edge in face.box_xyxy.tolist())
    return {"probability": _rounded(_score(face)), "x_max": right, "y_max": bottom, "x_min": left, "y_min": top}


def told_face(face: Face, wanted: Look, pack: Pack, took_ms: int) -> dict[str, Any]:
    """Return what is told of a face: what nobody asked for, or the pack cannot tell, is left out."""
    told: dict[str, Any] = {"box": _box(face)}
    known, quality, anatomy = face.attributes, face.quality, pack.template.anatomy
    if known and known.age is not None:
        told["age"] = {"low": max(0, round(known.age - _AGE_ERROR)), "high": round(known.age + _AGE_ERROR)}
    if known and known.gender:
        told["gender"] = {"value": known.gender.label, "probability": _rounded(known.gender.probability)}
    if "pose" in wanted.plugins:
        left, right = (face.landmarks[list(eye)].mean(axis=0) for eye in anatomy.eyes)
        roll = math.degrees(math.atan2(*(right - left)[::-1].tolist()))
        pitch, yaw = (quality.pitch, quality.yaw) if quality else (None, None)
        angles: dict[str, float | None] = {"pitch": pitch, "roll": roll, "yaw": yaw}
        angles = known.pose.to_dict() if known and known.pose else angles
        told["pose"] = {name: _rounded(angle) for name, angle in angles.items() if angle is not None}
    if "landmarks" in wanted.plugins and anatomy.mouth:
        order = [*(eye[0] for eye in anatomy.eyes), anatomy.nose, *anatomy.mouth]
        told["landmarks"] = np.rint(face.landmarks[order]).astype(int).tolist()
    if "calculator" in wanted.plugins and face.embedding is not None:
        told["embedding"] = face.embedding.tolist()
    if wanted.status:
        told["execution_time"] = {"detector": took_ms}
    return told
