"""Parts of calls and answers as AWS has them: images, faces, pages, errors."""

import math
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response
from typing_extensions import Self

from visavis.errors import ModelMissing, SampleNotFound
from visavis.galleries.moves import first_number
from visavis.galleries.records import Sample
from visavis.models.packs import Pack
from visavis.options import Attribute
from visavis.server.dialects import face_uuid, sample_of
from visavis.server.dialects.rekognition.signature import signed_url
from visavis.server.problems import REQUEST_ID, Problem
from visavis.server.reading import Body, Image, Request, check, read_json
from visavis.service.gallery import OpenGallery
from visavis.types import Face, FloatArray, SizeWH

_Seen = TypeVar("_Seen")

MEDIA_TYPE = "application/x-amz-json-1.1"
_MOST_BYTES = 5_242_880  # of an image in a call
_PERCENT, _AGE_ERROR = 100.0, 10  # years, on average
_FAULT, _INTERNAL, _BAD_REQUEST = 500, "InternalServerError", 400
_ERRORS: Mapping[str, str] = {
    "unauthorized": "UnrecognizedClientException",
    "key_expired": "UnrecognizedClientException",
    "forbidden": "AccessDeniedException",
    "rate_limited": "ThrottlingException",
    "overloaded": "ProvisionedThroughputExceededException",
    **dict.fromkeys(("gallery_not_found", "subject_not_found", "sample_not_found"), "ResourceNotFoundException"),
    "gallery_exists": "ResourceAlreadyExistsException",
    **dict.fromkeys(("subject_exists", "version_mismatch"), "ConflictException"),
    "store_full": "ServiceQuotaExceededException",
    **dict.fromkeys(("image_too_large", "body_too_large"), "ImageTooLargeException"),
    **dict.fromkeys(("unsupported_format", "image_corrupt", "invalid_image"), "InvalidImageFormatException"),
    **dict.fromkeys(("fetch_refused", "fetch_failed"), "InvalidS3ObjectException"),
}


class Refused(Problem):
    """A call that is refused with an error of AWS's, by its name."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__("invalid_request", detail, status=_BAD_REQUEST)
        self.kind = kind


def told(problem: Problem) -> Response:
    """Return a problem as AWS tells one."""
    other = _INTERNAL if problem.status >= _FAULT else "InvalidParameterException"
    kind = problem.kind if isinstance(problem, Refused) else _ERRORS.get(problem.code, other)
    headers = {**problem.headers, **headers_of_answer(), "x-amzn-ErrorType": kind}
    body = to_json({"__type": kind, "Message": problem.detail})
    return Response(body, _FAULT if kind == _INTERNAL else _BAD_REQUEST, headers, MEDIA_TYPE)


def headers_of_answer() -> dict[str, str]:
    """Return the headers that every answer has."""
    return {"x-amzn-RequestId": REQUEST_ID.get()}


S3: ContextVar[tuple[str, tuple[str, str] | None] | None] = ContextVar("s3", default=None)
"""The endpoint of the S3 server that objects are fetched from, and a key for it, ID and secret; None without one."""


class Call(Request):
    """The body of a call. What is not known here is passed over, as AWS does."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    ClientRequestToken: Annotated[str | None, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-_]+$")] = None

    @classmethod
    def read(cls, body: Body, max_images: int) -> Self:
        """Read JSON, whatever its content type says."""
        _ = max_images
        try:
            value = read_json(body.data)
        except Problem as problem:
            raise Refused("SerializationException", problem.detail) from None
        if not isinstance(value, dict):
            raise Refused("SerializationException", "the body is no JSON object")
        return check(cls, value)

    @classmethod
    def texts(cls) -> dict[str, dict[str, Any]]:
        """Return nothing: no form has it, and no query."""
        return {}


class _Place(BaseModel):
    Bucket: Annotated[str, Field(min_length=3, max_length=255, pattern=r"^[0-9A-Za-z._-]*$")]
    Name: Annotated[str, Field(min_length=1, max_length=1024)]
    Version: Annotated[str | None, Field(min_length=1, max_length=1024)] = None


def _image(value: object) -> Image:
    """Return an image of a call as other routes have it: its bytes in base64, or where it is kept."""
    parts = [name for name in ("Bytes", "S3Object") if isinstance(value, dict) and value.get(name) is not None]
    if len(parts) != 1 or not isinstance(value, dict):
        raise ValueError("needs one of Bytes and S3Object")
    if parts == ["S3Object"]:
        place = check(_Place, value["S3Object"])
        if (s3 := S3.get()) is None:
            detail = "this server fetches from no S3: send Bytes, or set VISAVIS_S3_ENDPOINT"
            raise Refused("InvalidS3ObjectException", detail)
        if {".", ".."} & {*place.Name.split("/")}:  # which may lead out of the bucket
            raise Refused("InvalidS3ObjectException", "Name: no part of it may be . or ..")
        url = signed_url(s3[0], (place.Bucket, place.Name, place.Version), s3[1])
        return Image.model_construct({"url"}, url=url)
    image = check(Image, {"base64": value["Bytes"]})
    if isinstance(image.base64, bytes) and len(image.base64) > _MOST_BYTES:
        raise Refused("ImageTooLargeException", f"Bytes: at most {_MOST_BYTES:,}; larger images come from S3")
    return image


InCall: TypeAlias = Annotated[Image, BeforeValidator(_image)]
"""An image in a call."""
Percent: TypeAlias = Annotated[float, Field(ge=0, le=100, strict=False)]
CollectionName: TypeAlias = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.\-]+$")]
UserName: TypeAlias = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.\-:]+$")]
ImageName: TypeAlias = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.\-:]+$")]
FaceName: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
FaceNames: TypeAlias = Annotated[list[FaceName], Field(min_length=1, max_length=4096)]
PageToken: TypeAlias = Annotated[str, Field(max_length=255)]
Results: TypeAlias = Annotated[int, Field(ge=0, le=4096)]
FaceCount: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
UserCount: TypeAlias = Annotated[int, Field(ge=1, le=500)]
_MEASURED: Mapping[Attribute, str] = {"age": "AGE_RANGE", "gender": "GENDER"}
_LEFT_OUT = "BEARD|EMOTIONS|EYE_DIRECTION|EYEGLASSES|EYES_OPEN|MOUTH_OPEN|MUSTACHE|SMILE|SUNGLASSES"
_ATTRIBUTE = rf"^(DEFAULT|ALL|AGE_RANGE|GENDER|FACE_OCCLUDED|{_LEFT_OUT})$"
AttributeNames: TypeAlias = Annotated[list[Annotated[str, Field(pattern=_ATTRIBUTE)]], Field(max_length=20)]


def with_attributes(look: Callable[..., _Seen], pack: Pack, wanted: Collection[str]) -> _Seen:
    """Look at faces with the attributes that a call wants, of those that the pack can tell and that are installed."""
    has = pack.has("age_gender")
    try:
        return look(attributes=tuple(each for each, name in _MEASURED.items() if has and {"ALL", name} & {*wanted}))
    except ModelMissing:
        return look(attributes=())


def box_of(box_xyxy: FloatArray, size_wh: SizeWH) -> list[float]:
    """Return left, top, width and height of a box as parts of the image's width and height."""
    left, top, right, bottom = (np.asarray(box_xyxy, np.float64) / np.tile(np.maximum(size_wh, 1), 2)).tolist()
    return [round(number, 6) for number in (left, top, right - left, bottom - top)]


def _bounding_box(parts: object) -> dict[str, Any]:
    """Return a box as a member of an answer; nothing where this is none: others may keep what they like."""
    if not (isinstance(parts, list) and [type(part) in (int, float) for part in parts] == [True] * 4):
        return {}
    return {"BoundingBox": dict(zip(("Left", "Top", "Width", "Height"), map(float, parts), strict=True))}


def _confidence(score: float) -> float:
    """Return a detector's score as a percentage, which is no probability that anybody has measured."""
    return _PERCENT * min(1.0, max(0.0, score))


def face_detail(face: Face, size_wh: SizeWH, pack: Pack, wanted: Collection[str] = ()) -> dict[str, Any]:
    """Return what is known of a face. What nobody measured, such as emotions, is left out, and not made up."""
    anatomy, points = pack.template.anatomy, face.landmarks.astype(np.float64)
    left, right = (points[list(eye)].mean(axis=0) for eye in anatomy.eyes)
    named = {"eyeLeft": left, "eyeRight": right, "nose": points[anatomy.nose]}
    named |= dict(zip(("mouthLeft", "mouthRight"), points[list(anatomy.mouth)], strict=False)) if anatomy.mouth else {}
    places = {name: (point / np.maximum(size_wh, 1)).tolist() for name, point in named.items()}
    quality, attributes, asked = face.quality, face.attributes, {*wanted}
    turns = {"Yaw": quality.yaw, "Pitch": quality.pitch} if quality else {}
    roll = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    detail = {
        **_bounding_box(box_of(face.box_xyxy, size_wh)),
        "Landmarks": [{"Type": name, "X": x, "Y": y} for name, (x, y) in places.items()],
        "Pose": {"Roll": roll, **{name: angle for name, angle in turns.items() if angle is not None}},
        "Confidence": _confidence(face.score),
    }
    if attributes and attributes.age is not None and {"ALL", "AGE_RANGE"} & asked:
        low, high = max(0, round(attributes.age - _AGE_ERROR)), round(attributes.age + _AGE_ERROR)
        detail["AgeRange"] = {"Low": low, "High": high}
    if attributes and attributes.gender and {"ALL", "GENDER"} & asked:
        gender = attributes.gender
        detail["Gender"] = {"Value": gender.label.title(), "Confidence": _PERCENT * gender.probability}
    if quality and quality.occluded is not None and {"ALL", "FACE_OCCLUDED"} & asked:
        sure = min(1.0, max(quality.occluded, 1 - quality.occluded))
        occluded = quality.occluded > pack.quality.max_occluded
        detail["FaceOccluded"] = {"Value": occluded, "Confidence": _PERCENT * sure}
    return detail


ALONE = "face~"
"""Begins the ID of the subject of a face that is nobody's; "~" is in no ID of AWS's."""


def is_user(subject: str) -> bool:
    """Tell whether a subject is a user, and not a face that is nobody's."""
    return not subject.startswith(ALONE)


def find_face(gallery: OpenGallery, face: str) -> Sample | None:
    """Return the sample of a face's ID, or None where the gallery has none."""
    number = sample_of(gallery.record.number, face)
    try:
        sample = gallery.sample(number) if number else None
    except SampleNotFound:
        return None
    return None if sample is None or sample.counter else sample


def told_face(gallery: int, sample: Sample) -> dict[str, Any]:
    """Return what is told of a face in a collection; of one that was enrolled by other means, less is known."""
    about = sample.metadata
    known = {"ImageId": about.get("image_id"), "ExternalImageId": about.get("external_id")}
    return {
        "FaceId": face_uuid(gallery, first_number(sample)),
        **_bounding_box(about.get("box")),
        **{name: text for name, text in known.items() if isinstance(text, str)},
        **({"Confidence": _confidence(sample.quality.score)} if sample.quality else {}),
        **({"UserId": sample.subject} if is_user(sample.subject) else {}),
    }
