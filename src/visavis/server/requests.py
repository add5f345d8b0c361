"""Schemas of requests and answers: the one source of validation and of the OpenAPI document."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from itertools import combinations
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from visavis.core.decide import NAMED_RATES, check_rate, check_threshold
from visavis.errors import InvalidOption
from visavis.galleries.checks import LONGEST_ID
from visavis.galleries.records import LONGEST_TEXT, NEVER, Details
from visavis.models.recognizer import check_min_face
from visavis.options import LONGEST_RETENTION_DAYS, Attribute, Keep, Policy

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


GALLERY_PATTERN = "^[a-z0-9][a-z0-9._-]{0,63}$"
_DEFAULT = Policy()
_MOST_LISTED = 1000
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_MICROSECONDS = 7  # digits, with the point


def read_moment(text: object) -> datetime | None:
    """Return a moment that RFC 3339 writes, in UTC; None for None.

    Raises:
        ValueError: it is none.
    """
    if text is None:
        return None
    match = _MOMENT.fullmatch(text) if isinstance(text, str) and text.isascii() else None
    if match is None:
        raise ValueError("must be a date and time with its offset from UTC, such as 2030-12-31T23:59:59Z")
    day, clock, fraction, offset = match.groups()
    fraction = f"{fraction or '.'}000000"[:_MICROSECONDS]  # Python 3.10 reads no other number of digits
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{fraction}{'+00:00' if offset in 'Zz' else offset}")
        return moment.astimezone(timezone.utc)
    except (OverflowError, ValueError):
        raise ValueError("must be a date and time that there is") from None


def or_null(schema: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return what makes the schema of a member that may be null and that pydantic cannot know."""
    return lambda found: found.update(anyOf=[dict(schema), {"type": "null"}])


AllowConflict = Annotated[
    bool, Field(description="Whether to enrol a face that another subject of the gallery resembles too much.")
]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Metadata = Annotated[
    dict[str, Any], Field(description="Whatever else is to be known of the subject, in 10,000 characters of JSON.")
]
Moment = Annotated[
    Any,
    AfterValidator(read_moment),
    Field(
        description="When the subject is to be forgotten.",
        examples=["2030-12-31T23:59:59Z"],
        json_schema_extra=or_null({"type": "string", "format": "date-time"}),
    ),
]
_Limit = Annotated[float | None, Field(ge=0)]


class PolicyChange(Strict):
    """How a gallery enrols, decides and forgets; what is not given stays, or is as in new galleries.

    Where a limit is null, the pack's own counts.
    """

    threshold: Annotated[
        float | None, Field(gt=0, description="A subject nearer than this is identified; null for the pack's own.")
    ] = None
    margin: Annotated[
        float | None,
        Field(
            ge=0, description="By how much the nearest subject must be nearer than the next; null for the pack's own."
        ),
    ] = None
    conflict_threshold: Annotated[
        float | None,
        Field(
            ge=0,
            description="A face nearer than this to another subject is not enrolled; null for the pack's own, 0 to "
            "enrol it all the same.",
        ),
    ] = None
    min_face_px: Annotated[
        _Limit,
        Field(
            description="What a face must have to be enrolled, see `quality`; null for the pack's own, here and below."
        ),
    ] = None
    min_sharpness: _Limit = None
    min_score: _Limit = None
    max_yaw: Annotated[
        _Limit, Field(description="By how many degrees a head may be turned to be enrolled; 90 for any.")
    ] = None
    max_pitch: _Limit = None
    probe_min_face_px: Annotated[_Limit, Field(description="What a face must have to be identified.")] = None
    probe_min_sharpness: _Limit = None
    probe_min_score: _Limit = None
    require_live: Annotated[
        bool,
        Field(
            description="Whether the face of an image must look live to be enrolled, identified or verified; the "
            "server's pack must have a part for that."
        ),
    ] = _DEFAULT.require_live
    keep: Annotated[Keep, Field(description="What is stored of an enrolled image besides its embedding.")] = (
        _DEFAULT.keep
    )
    retention_days: Annotated[
        float | None,
        Field(
            gt=0,
            le=LONGEST_RETENTION_DAYS,
            description="After so many days without an enrolment a subject is forgotten; null for never.",
        ),
    ] = None
    consent_required: Annotated[bool, Field(description="Whether enrolling takes a note of consent.")] = (
        _DEFAULT.consent_required
    )
    log_searches: Annotated[bool, Field(description="Whether the log tells of identifications too.")] = (
        _DEFAULT.log_searches
    )

    def applied_to(self, policy: Policy) -> Policy:
        """Return the policy with what is given.

        Raises:
            InvalidOption: it is out of its range.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return Policy(**{**policy.to_dict(), **given})


class NewGallery(Strict):
    """A gallery to be made; it is bound to the models that the server uses."""

    name: Annotated[str, Field(pattern=GALLERY_PATTERN, examples=["team"])]
    policy: Annotated[PolicyChange, Field(default=PolicyChange(), json_schema_extra=lambda it: it.pop("default"))]
    encrypted: Annotated[
        bool | None, Field(description="Without it, encrypted where the server has a key for that.")
    ] = None


class GalleryChange(Strict):
    """What to change of a gallery."""

    policy: PolicyChange


class SubjectChange(Strict):
    """What to change of a subject; null clears, and what is not given stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Text | None = None
    metadata: Metadata | None = None
    consent: Text | None = None
    expires_at: Moment = None

    @model_validator(mode="after")
    def _something(self) -> "SubjectChange":
        if not self.model_fields_set:
            raise ValueError("needs at least one of name, metadata, consent and expires_at")
        return self

    @property
    def details(self) -> Details:
        """The same, as stores take it."""
        cleared: dict[str, Any] = {"name": "", "metadata": {}, "consent": "", "expires_at": NEVER}
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return Details(**{name: cleared[name] if value is None else value for name, value in given.items()})


class Query(BaseModel):
    """What may stand behind the question mark; by itself, nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Query):
    """Which part of a list."""

    cursor: Annotated[str, Field(default="", max_length=100, description="The `next_cursor` of the page before.")]
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED, description="How many at most.")] = 100


class ExportQuery(Query):
    """What to export."""

    pictures: Annotated[bool, Field(description="Whether to add the pictures that are stored, in base64.")] = False


class ImportQuery(Query):
    """How to enrol what comes."""

    allow_conflict: AllowConflict = False
    faces: Annotated[
        Literal["only", "largest"],
        Field(description="Whether each image must show exactly one face, or the largest counts."),
    ] = "only"
    min_face: MinFace = None


MOST_EMBEDDINGS = 500
_MOST_CANDIDATES = 100

_Extra: TypeAlias = Callable[[dict[str, Any]], None]

_VECTOR = {"type": "array", "items": {"type": "number"}, "minItems": 1, "examples": [[0.12, -0.05, 0.31]]}
_VECTORS = {"type": "array", "items": _VECTOR, "minItems": 1, "maxItems": MOST_EMBEDDINGS, "title": "Embeddings"}


def _check_vector(value: object) -> list[float]:
    """Return a list of numbers; whether it makes an embedding is for later."""
    if isinstance(value, list) and value and set(map(type, value)) <= {int, float}:
        return value
    raise ValueError("must be a list of numbers")


def _check_vectors(value: object) -> list[list[float]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_EMBEDDINGS:
        raise ValueError(f"must be 1 to {MOST_EMBEDDINGS} lists of numbers")
    return list(map(_check_vector, value))


def _written(wanted: Mapping[str, Any]) -> _Extra:
    """Return what makes a schema of a member that pydantic cannot know."""

    def replace(schema: dict[str, Any]) -> None:
        schema.pop("default", None)
        schema.update(wanted)

    return replace


def _exactly_one(*names: str) -> ConfigDict:
    """Return what says in JSON schema what the validators of these models say."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


def _search_with(images: str, embeddings: str) -> ConfigDict:
    """Return what says the same of searches."""
    both = {"threshold": {"type": "number"}, "fmr": {"type": ["number", "string"]}}
    blind = {embeddings: {}, "require_live": {"const": True}}
    forbidden = [{"required": list(members), "properties": members} for members in (both, blind)]
    schema: dict[str, Any] = {
        "oneOf": [{"required": [images]}, {"required": [embeddings]}],
        "not": {"anyOf": forbidden},
    }
    return ConfigDict(json_schema_extra=schema)


def _check_one(request: BaseModel, *names: str) -> None:
    if len(request.model_fields_set.intersection(names)) != 1:
        raise ValueError(f"needs exactly one of {' and '.join(names)}")


_Threshold = Annotated[
    float | None,
    AfterValidator(lambda value: None if value is None else check_threshold(value)),
    Field(
        description="A subject nearer than this is meant; without it, the gallery's policy decides.",
        json_schema_extra=or_null({"type": "number", "exclusiveMinimum": 0}),
        examples=[0.6],
    ),
]
_RequireLive = Annotated[
    bool,
    Field(
        description="Whether to refuse faces of images that look like a print or a screen, as the gallery's policy may "
        "do anyway; needs a pack that can, and images."
    ),
]
_Images = Annotated[list[Image], Field(default=[], min_length=1, json_schema_extra=_written({MOST_IMAGES: True}))]
_Embeddings = Annotated[
    Any,
    AfterValidator(_check_vectors),
    Field(
        default=None,
        description="As many numbers each as the gallery's space has dimensions.",
        json_schema_extra=_written(_VECTORS),
    ),
]


def _check_search(wanted: "IdentifyRequest | VerifySubjectRequest", embedded: object) -> None:
    if wanted.threshold is not None and wanted.fmr is not None:
        raise ValueError("takes at most one of threshold and fmr")
    if wanted.require_live and embedded is not None:
        raise ValueError("require_live needs an image: embeddings do not tell whether a face is live")


class EnrolRequest(Strict):
    """Faces of one person: exactly one of `images` and `embeddings`."""

    model_config = _exactly_one("images", "embeddings")

    subject: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_ID,
            description="An ID of your own for the person: printable, without a slash. Without it, a random one.",
            examples=["ada"],
        ),
    ] = None
    images: _Images
    embeddings: _Embeddings
    qualities: Annotated[
        list[QualityInfo | None],
        Field(default=[], max_length=MOST_EMBEDDINGS, description="One for each embedding, where known."),
    ]
    name: Annotated[Text | None, Field(examples=["Ada Lovelace"])] = None
    metadata: Metadata | None = None
    consent: Annotated[Text | None, Field(description="A note on what the person agreed to.")] = None
    expires_at: Moment = None
    source: Annotated[Text | None, Field(description="A label of where the images came from.")] = None
    faces: Annotated[
        Literal["only", "largest"],
        Field(description="Whether each image must show exactly one face, or the largest counts."),
    ] = "only"
    min_face: MinFace = None
    allow_conflict: AllowConflict = False

    @model_validator(mode="after")
    def _consistent(self) -> "EnrolRequest":
        _check_one(self, "images", "embeddings")
        if self.qualities and len(self.qualities) != len(self.embeddings or ()):
            raise ValueError("needs as many qualities as embeddings")
        return self

    @property
    def details(self) -> Details:
        """What is said of the person."""
        return Details(name=self.name, metadata=self.metadata, consent=self.consent, expires_at=self.expires_at)


class IdentifyRequest(Strict):
    """Whom to look for: exactly one of `images` and `embeddings`; at most one of `threshold` and `fmr`."""

    model_config = _search_with("images", "embeddings")

    images: _Images
    embeddings: _Embeddings
    faces: Annotated[
        Literal["all", "largest", "only"],
        Field(description="Which faces of an image count; only makes none or several an error."),
    ] = "all"
    limit: Annotated[int, Field(ge=1, le=_MOST_CANDIDATES, description="How many candidates to tell of.")] = 5
    threshold: _Threshold = None
    fmr: Fmr = None
    min_face: MinFace = None
    require_live: _RequireLive = False

    @model_validator(mode="after")
    def _consistent(self) -> "IdentifyRequest":
        _check_one(self, "images", "embeddings")
        _check_search(self, self.embeddings)
        return self


class VerifySubjectRequest(Strict):
    """A face for a subject: exactly one of `image` and `embedding`; at most one of `threshold` and `fmr`."""

    model_config = _search_with("image", "embedding")

    image: Annotated[Image, Field(default=None, json_schema_extra=_written({}))]
    embedding: Annotated[Any, AfterValidator(_check_vector), Field(default=None, json_schema_extra=_written(_VECTOR))]
    faces: Annotated[
        Literal["largest", "only"],
        Field(description="Compare the largest face of the image, or insist on exactly one."),
    ] = "largest"
    threshold: _Threshold = None
    fmr: Fmr = None
    min_face: MinFace = None
    require_live: _RequireLive = False

    @model_validator(mode="after")
    def _consistent(self) -> "VerifySubjectRequest":
        _check_one(self, "image", "embedding")
        _check_search(self, self.embedding)
        return self


_WAYS = ("threshold", "fmr", "operating_point")


class VerifyRequest(Strict):
    """Two images to compare; at most one of `threshold`, `fmr` and `operating_point`."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"anyOf": [{"required": list(two)} for two in combinations(_WAYS, 2)]}}
    )

    a: Image
    b: Image
    faces: Annotated[
        Literal["largest", "only"],
        Field(description="Compare the largest face of each image, or insist on exactly one in each."),
    ] = "largest"
    threshold: Annotated[
        float,
        AfterValidator(check_threshold),
        Field(
            default=1.0,
            description="Faces at a smaller distance are the same person. Without it, the server's own threshold.",
            json_schema_extra=lambda schema: (schema.pop("default"), schema.update(exclusiveMinimum=0), None)[-1],
            examples=[0.6],
        ),
    ]
    fmr: Fmr = None
    operating_point: Annotated[
        Literal["default", "strict", "balanced", "lenient"],
        Field(
            description="A threshold by name, of those that /v1/models lists.",
            json_schema_extra=lambda schema: schema.pop("default"),
        ),
    ] = "default"
    min_face: MinFace = None
    require_live: Annotated[
        bool, Field(description="Whether to refuse faces that look like a print or a screen; needs a pack that can.")
    ] = False

    @model_validator(mode="after")
    def _at_most_one(self) -> "VerifyRequest":
        if len(self.model_fields_set.intersection(_WAYS)) > 1:
            raise ValueError("takes at most one of threshold, fmr and operating_point")
        return self


class VerifyResponse(BaseModel):
    """Whether two images show the same person."""

    pack: Annotated[str, Field(examples=["dlib"])]
    same: Annotated[bool, Field(description="Whether the distance is below the threshold.")]
    distance: Annotated[float, Field(examples=[0.32])]
    threshold: Annotated[float, Field(examples=[0.6])]
    probability: Annotated[
        float | None,
        Field(ge=0, le=1, description="Calibrated; both answers equally likely beforehand. Null without calibration."),
    ]
    decision: Annotated[
        Literal["same", "different", "uncertain"],
        Field(description="Uncertain where the distance is within the confidence interval of the threshold."),
    ]
    fmr: Annotated[float | None, Field(description="The false match rate, where one was asked for.")]
    faces: Annotated[list[FoundFace], Field(min_length=2, max_length=2, description="The two that were compared.")]
