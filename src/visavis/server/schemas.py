"""What requests and answers look like: the one source of validation and of the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from visavis.core.decide import NAMED_RATES, check_rate
from visavis.errors import InvalidOption
from visavis.models.finding import check_min_face
from visavis.types import Attribute

MAX_URL_LENGTH = 2048
MOST_IMAGES = "x-most-images"
"""Marks lists in a schema that may have as many items as the server takes images."""
_MOST_CHANNELS = 4

_NUMBER = {"type": "number"}
_PIXEL = {"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": _MOST_CHANNELS}
_ROW = {"type": "array", "minItems": 1, "items": {"anyOf": [_NUMBER, _PIXEL]}}
ARRAY_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": _ROW,
    "title": "Array",
    "description": "Rows of pixels, each a number or 1, 3 (RGB) or 4 (RGBA) numbers from 0 to 255.",
    "examples": [[[[255, 224, 196], [254, 223, 195]], [[251, 220, 192], [250, 219, 191]]]],
}


def check_array(value: object) -> list[Any]:
    """Return rows of numbers or of pixels; whether they make an image is for later.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(value, list) and value and all(map(_is_row, value)):
        return value
    raise ValueError(f"must be rows of numbers, or of pixels of 1 to {_MOST_CHANNELS} numbers")


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or not row:
        return False
    kinds = set(map(type, row))
    pixels = [item for item in row if type(item) is list] if list in kinds else []
    for pixel in pixels:
        kinds.update(map(type, pixel))
    return kinds <= {int, float, list} and all(
        1 <= len(pixel) <= _MOST_CHANNELS and list not in map(type, pixel) for pixel in pixels
    )


def _one_of(schema: dict[str, Any]) -> None:
    """Say in JSON schema what the validator below says."""
    properties = schema.pop("properties")
    schema.pop("additionalProperties")
    schema.pop("type")
    properties["array"] = dict(ARRAY_SCHEMA)
    schema["oneOf"] = [
        {"type": "object", "title": name, "properties": {name: part}, "required": [name], "additionalProperties": False}
        for name, part in properties.items()
    ]


class Strict(BaseModel):
    """A request: nothing is guessed, and nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Image(Strict):
    """An image, in exactly one of three forms."""

    model_config = ConfigDict(json_schema_extra=_one_of)

    base64: Annotated[
        str, Field(default="", description="An encoded image in base64, or a data URI.", examples=["/9j/4AAQSkZJRg=="])
    ]
    url: Annotated[
        str,
        Field(
            default="",
            min_length=1,
            max_length=MAX_URL_LENGTH,
            description="Where to fetch an encoded image, by http or https.",
            examples=["https://example.com/portrait.jpg"],
        ),
    ]
    array: Annotated[Any, AfterValidator(check_array)] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Image":
        if len(self.model_fields_set) != 1:
            raise ValueError("needs exactly one of base64, url and array")
        return self


_FRACTION = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_PIXELS = {"type": "number", "minimum": 10}
MinFace = Annotated[
    float | None,
    AfterValidator(lambda value: None if value is None else check_min_face(value)),
    Field(
        description="The smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the "
        "image's shorter side. Half the size takes four times as long. Without it, the server's own.",
        json_schema_extra=lambda schema: schema.update(anyOf=[_FRACTION, _PIXELS, {"type": "null"}]),
        examples=[0.08],
    ),
]


def _rate(value: Any) -> float | None:  # noqa: ANN401  # whatever JSON may hold
    try:
        return None if value is None else check_rate(value)
    except InvalidOption:  # which repeats the value
        raise ValueError(f"must be a rate between 0 and 1, or one of {', '.join(NAMED_RATES)}") from None


_BETWEEN_0_AND_1 = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_NAMES = {"type": "string", "enum": ["strict", "balanced", "lenient"]}
Fmr = Annotated[
    Any,  # a union would have an error for each of its kinds
    AfterValidator(_rate),
    Field(
        description="The false match rate to keep, in place of a threshold: of pairs of strangers, the part that may "
        "be taken for one person; strict is 0.0001, balanced 0.001, lenient 0.01. Which rates there are depends on "
        "what was measured of the pack.",
        json_schema_extra=lambda schema: schema.update(anyOf=[_BETWEEN_0_AND_1, _NAMES, {"type": "null"}]),
        examples=[0.001],
    ),
]
_FACES = "Which faces count: all; at most the largest, found faster; or only, which makes none or several an error."


class ImagesRequest(Strict):
    """Images in which to find faces."""

    images: Annotated[list[Image], Field(min_length=1, json_schema_extra={MOST_IMAGES: True})]
    faces: Annotated[Literal["all", "largest", "only"], Field(description=_FACES)] = "all"
    min_face: MinFace = None
    quality: Annotated[bool, Field(description="Whether to tell how well the image shows each face.")] = False
    attributes: Annotated[
        list[Attribute],
        Field(
            max_length=len(get_args(Attribute)),
            description="What else to tell of each face, where the server's pack can; each takes a network more. In a "
            "form: their names with commas between them.",
            examples=[["liveness", "pose"]],
        ),
    ] = []


class FieldError(BaseModel):
    """One of several things that are wrong."""

    field: str
    message: str
    code: Annotated[str, Field(default="", description="As of a problem; not everywhere.", examples=["blurred"])]


class ProblemDetails(BaseModel):
    """What went wrong, as RFC 9457 says it; programs may rely on `code`."""

    type: Annotated[str, Field(examples=["urn:visavis:problem:no_face"])]
    title: Annotated[str, Field(examples=["No face was found"])]
    status: Annotated[int, Field(examples=[422])]
    detail: Annotated[str, Field(examples=["no face found"])]
    code: Annotated[str, Field(examples=["no_face"])]
    request_id: Annotated[str, Field(description="By which the server's log knows the request.")]
    field: Annotated[str, Field(default="", description="The offending part of the request.", examples=["a"])]
    errors: Annotated[list[FieldError], Field(default=[], description="Where several things are wrong.")]


_Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class QualityInfo(Strict):
    """How well an image shows a face."""

    face_px: Annotated[float, Field(description="The shorter side of its box, in pixels.", examples=[212.5])]
    sharpness: Annotated[float, Field(description="Of the aligned face; 0 is a single colour.", examples=[0.26])]
    score: Annotated[float, Field(description="The detector's confidence.", examples=[1.4])]
    yaw: Annotated[
        float | None,
        Field(
            description="About how many degrees the head is turned, positive to the right of the image; not where a "
            "face was enrolled before this was told.",
            examples=[-12.5],
        ),
    ] = None
    pitch: Annotated[
        float | None,
        Field(description="Likewise, roughly, up or down, positive down; not where the pack's landmarks do not tell."),
    ] = None


class PoseInfo(BaseModel):
    """Where a head turns, in degrees; all are 0 for one that looks straight into the camera."""

    yaw: Annotated[float, Field(description="Positive where it is turned to the right of the image.", examples=[-12.5])]
    pitch: Annotated[float, Field(description="Positive where it looks down.", examples=[3.5])]
    roll: Annotated[float, Field(description="Positive where it leans clockwise in the image.", examples=[1.5])]


class GenderInfo(BaseModel):
    """What a network takes a face for: neither identity nor legal sex."""

    label: Literal["female", "male"]
    probability: Annotated[float, Field(ge=0.5, le=1, description="Of the label.", examples=[0.97])]


class AttributesInfo(BaseModel):
    """What was asked about a face."""

    liveness: Annotated[
        float | None,
        Field(
            default=None,
            ge=0,
            le=1,
            description="How much the face looks like one before the camera rather than a print or a screen.",
            examples=[0.98],
        ),
    ]
    pose: PoseInfo | None = None
    age: Annotated[float | None, Field(default=None, description="In years.", examples=[47.5])]
    gender: GenderInfo | None = None


class FoundFace(BaseModel):
    """A face, in pixels of the upright image."""

    box_xyxy: Annotated[list[float], Field(min_length=4, max_length=4, description="Left, top, right, bottom.")]
    score: Annotated[float, Field(description="The detector's confidence; its scale is the pack's.")]
    landmarks: Annotated[list[_Point], Field(description="In the order of the pack's template.")]
    quality: Annotated[QualityInfo | None, Field(default=None, description="Where it was asked for.")]
    attributes: Annotated[AttributesInfo | None, Field(default=None, description="Where they were asked for.")]


class EmbeddedFace(FoundFace):
    """A face with its embedding."""

    embedding: Annotated[list[float], Field(description="As many numbers as the pack's dimension.")]


class Failed(BaseModel):
    """An image that could not be used; the others are not affected."""

    error: ProblemDetails


class Detected(BaseModel):
    """The faces of one image, largest first; none is an empty list."""

    faces: list[FoundFace]


class Embedded(BaseModel):
    """The faces of one image, largest first, with embeddings; none is an empty list."""

    faces: list[EmbeddedFace]


class DetectResponse(BaseModel):
    """A result for each image, in order."""

    pack: Annotated[str, Field(examples=["dlib"])]
    results: list[Detected | Failed]


class EmbedResponse(BaseModel):
    """A result for each image, in order."""

    pack: Annotated[str, Field(examples=["dlib"])]
    dimension: Annotated[int, Field(examples=[128])]
    metric: Annotated[str, Field(description="How embeddings are compared.", examples=["euclidean"])]
    results: list[Embedded | Failed]


class Status(BaseModel):
    """How the server is."""

    status: Annotated[str, Field(examples=["ok"])]
