"""Request models: option sets of the library, and the members that only HTTP has."""

import binascii
import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema
from typing_extensions import Self, TypedDict

from visavis.core.decide import NAMED_RATES, check_rate
from visavis.errors import InvalidOption, VisavisError
from visavis.galleries.records import (
    LONGEST_ID,
    LONGEST_TEXT,
    MOST_SAMPLE_BYTES,
    NEVER,
    Details,
    LogEntry,
    Sample,
    Subject,
)
from visavis.models.recognizer import check_min_face
from visavis.options import (
    Attribute,
    Compare,
    Describe,
    Enrol,
    EnrolEmbeddings,
    EnrolImage,
    Identify,
    Option,
    Policy,
    Review,
    Verify,
    defaults_of,
    options_of,
)
from visavis.server.problems import Problem
from visavis.server.reading import GALLERY_PATTERN, MOST_IMAGES, Image, Request, Strict
from visavis.types import Quality

MOST_EMBEDDINGS = 500
_MOST_CANDIDATES = 100
_MOST_LISTED = 1000
_LONGEST_SIDE = 2048  # of a picture that is made smaller
_NUMBER_BYTES, _CHECK_BYTES = 8, 4  # of cursors
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_Model = TypeVar("_Model", bound=BaseModel)
_Set = TypeVar("_Set")


def _rate(value: object) -> float | None:
    try:
        return None if value is None else check_rate(cast("float | str", value))
    except InvalidOption:  # which repeats the value
        raise ValueError(f"must be a rate between 0 and 1, or one of {', '.join(NAMED_RATES)}") from None


def _moment(value: object) -> object:
    """Let pass what RFC 3339 writes: pydantic reads more."""
    if value is None or (isinstance(value, str) and _MOMENT.fullmatch(value)):
        return value
    raise ValueError("must be a date and time with its offset from UTC, such as 2030-12-31T23:59:59Z")


def check_vector(value: object) -> list[float]:
    """Return a list of numbers; whether it makes an embedding is for later."""
    if isinstance(value, list) and value and set(map(type, value)) <= {int, float}:
        return value
    raise ValueError("must be a list of numbers")


def check_vectors(value: object) -> list[list[float]]:
    """Return lists of numbers, not too many."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_EMBEDDINGS:
        raise ValueError(f"must be 1 to {MOST_EMBEDDINGS} lists of numbers")
    return list(map(check_vector, value))


def _schema(*kinds: Mapping[str, Any], **more: object) -> Callable[[dict[str, Any]], None]:
    """Return what writes the schema of a member, of these kinds or null, that has no default to tell of."""

    def write(schema: dict[str, Any]) -> None:
        schema.pop("default", None)
        schema.update(more, **({"anyOf": [*kinds, {"type": "null"}]} if kinds else {}))

    return write


_FRACTION = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_PIXELS = {"type": "number", "minimum": 10}
_RATES = {"type": "string", "enum": list(NAMED_RATES)}
_VECTOR = {"type": "array", "items": {"type": "number"}, "minItems": 1, "examples": [[0.12, -0.05, 0.31]]}
_IMAGE = {"base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}
# Options that are checked, or described, better than by their type. A union would have an error for each kind.
_OPTIONS: Mapping[str, Any] = {
    "min_face": Annotated[
        float | None,
        AfterValidator(lambda value: None if value is None else check_min_face(value)),
        Field(json_schema_extra=_schema(_FRACTION, _PIXELS)),
    ],
    "fmr": Annotated[Any, AfterValidator(_rate), Field(json_schema_extra=_schema(_FRACTION, _RATES))],
    "attributes": Annotated[list[Attribute], Field(max_length=len(get_args(Attribute)))],
    "box": Annotated[list[float], Field(min_length=4, max_length=4)] | None,
    "expires_at": Annotated[Annotated[AwareDatetime, Field(strict=False)] | None, BeforeValidator(_moment)],
}


def with_options(*sets: type) -> Callable[[type[_Model]], type[_Model]]:
    """Return a decorator that gives a model a member for each option of these sets that it does not declare itself."""

    def decorate(model: type[_Model]) -> type[_Model]:
        members = {
            name: _member(name, kind, option, _defaults(each)[name])
            for each in sets
            for name, (kind, option) in options_of(each).items()
            if name not in model.model_fields
        }
        made = create_model(  # type: ignore[call-overload]  # as pydantic's own examples do
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **members
        )
        return cast("type[_Model]", made)

    return decorate


def _member(name: str, kind: object, option: Option, default: object) -> tuple[object, object]:
    described = Field(description=option.description)  # also where it becomes a parameter of a query
    return Annotated[_OPTIONS.get(name, kind), option, described], list(default) if default == () else default


def _defaults(options: type) -> Mapping[str, Any]:
    if is_dataclass(options):
        return {each.name: each.default for each in fields(options)}
    return defaults_of(options)


class Creating(TypedDict, total=False):
    """What becomes of a gallery that is not there."""

    create: Annotated[
        bool, Option("Whether to make the gallery where there is none; that takes the scope admin.", default=False)
    ]


class WithOptions(BaseModel):
    """What has options of the library as members."""

    def options(self, of: type[_Set]) -> _Set:
        """Return the options of a set, all of them, as the library takes them."""
        return cast("_Set", {name: getattr(self, name) for name in options_of(cast("type", of))})

    @property
    def details(self) -> Details:
        """What is said of a person, by what has the options for it."""
        return Details(**self.options(cast("type[Any]", Details)))


@with_options(Describe)
class ImagesRequest(WithOptions, Request):
    """Images in which to find faces."""

    example: ClassVar = {"images": [_IMAGE, {"url": "https://example.com/group.jpg"}], "faces": "all"}

    images: Annotated[list[Image], Field(min_length=1, json_schema_extra={MOST_IMAGES: True})]


_WAYS = ("threshold", "fmr", "operating_point")


@with_options(Verify)
class VerifyRequest(WithOptions, Request):
    """Two images to compare; at most one of `threshold`, `fmr` and `operating_point`."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"anyOf": [{"required": list(two)} for two in combinations(_WAYS, 2)]}}
    )

    example: ClassVar = {"a": _IMAGE, "b": {"url": "https://example.com/selfie.jpg"}, "operating_point": "default"}

    a: Image
    b: Image
    threshold: Annotated[
        float,
        Option("Faces at a smaller distance are the same person. Without it, the server's own threshold.", above=0),
        Field(default=None, json_schema_extra=_schema()),
    ]
    operating_point: Annotated[
        Literal["default", "strict", "balanced", "lenient"],
        Option("A threshold by name, of those that /v1/models lists."),
        Field(json_schema_extra=_schema()),
    ] = "default"

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if len(self.model_fields_set.intersection(_WAYS)) > 1:
            raise ValueError("takes at most one of threshold, fmr and operating_point")
        return self

    @property
    def verify_options(self) -> Verify:
        """The options, with the operating point as the rate that it is."""
        options = self.options(Verify)
        return options if self.operating_point == "default" else {**options, "fmr": self.operating_point}

    def option_of(self, error: VisavisError) -> str:
        """Return the option that an error of the library is about; all others were checked before."""
        if not str(error).startswith("fmr"):
            return "require_live"
        return "fmr" if self.operating_point == "default" else "operating_point"


_THRESHOLDS: Mapping[str, Any] = {"threshold": {"type": "number"}, "fmr": {"type": ["number", "string"]}}


def _all_given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of what has all of these members."""
    return {"required": list(members), "properties": dict(members)}


def _insist_on_one_threshold(request: BaseModel) -> None:
    if all(getattr(request, name, None) is not None for name in _THRESHOLDS):
        raise ValueError(f"takes at most one of {' and '.join(_THRESHOLDS)}")


_Vector = Annotated[Any, AfterValidator(check_vector), Field(json_schema_extra=_schema(**_VECTOR))]


class EmbeddingPair(Strict):
    """Two embeddings, as many numbers each as the pack's space has dimensions."""

    a: _Vector
    b: _Vector


@with_options(Compare)
class CompareRequest(WithOptions, Request):
    """Pairs of embeddings to compare; at most one of `threshold` and `fmr`."""

    model_config = ConfigDict(
        json_schema_extra=cast("dict[str, Any]", {"not": _all_given(_THRESHOLDS)}),
    )
    example: ClassVar = {"pairs": [{"a": [0.12, -0.05, 0.31], "b": [0.11, -0.02, 0.28]}], "fmr": "balanced"}

    pairs: Annotated[list[EmbeddingPair], Field(min_length=1, max_length=MOST_EMBEDDINGS)]

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        _insist_on_one_threshold(self)
        return self


_OptionalImages = Annotated[
    list[Image], Field(default=[], min_length=1, json_schema_extra=_schema(**{MOST_IMAGES: True}))
]
_Embeddings = Annotated[
    Any,
    AfterValidator(check_vectors),
    Option("As many numbers each as the gallery's space has dimensions."),
    Field(default=None, json_schema_extra=_schema(type="array", items=_VECTOR, minItems=1, maxItems=MOST_EMBEDDINGS)),
]


class _Either(WithOptions, Request):
    """Images, or embeddings in their place."""

    ways: ClassVar = ("images", "embeddings")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.model_fields_set.intersection(self.ways)) != 1:
            raise ValueError(f"needs exactly one of {' and '.join(self.ways)}")
        _insist_on_one_threshold(self)
        if all(getattr(self, name, None) for name in (self.ways[1], "require_live")):
            raise ValueError("require_live needs an image: embeddings do not tell whether a face is live")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        reference = handler(schema)
        described = handler.resolve_ref_schema(reference)
        described["oneOf"] = [{"required": [way]} for way in cls.ways]
        if "fmr" in described["properties"]:
            blind = {cls.ways[1]: {}, "require_live": {"const": True}}
            described["not"] = {"anyOf": [_all_given(_THRESHOLDS), _all_given(blind)]}
        return reference


class MeasuredQuality(Strict):
    """How well the image of an embedding showed the face; the rest where it is known."""

    face_px: float
    sharpness: float
    score: float
    yaw: float | None = None
    pitch: float | None = None
    validity: float | None = None
    occluded: float | None = None


@with_options(EnrolImage, Details, Creating)
class EnrolRequest(_Either):
    """Faces of one person: exactly one of `images` and `embeddings`; at most one of `box`, of one image, and `like`."""

    optional: ClassVar = ("like",)

    example: ClassVar = {
        "subject": "ada",
        "name": "Ada Lovelace",
        "images": [_IMAGE, {"url": "https://example.com/ada.jpg"}],
    }

    subject: Annotated[
        str | None,
        Option("An ID of your own for the person: printable, without a slash. Without it, a random one."),
        Field(min_length=1, max_length=LONGEST_ID),
    ] = None
    images: _OptionalImages
    like: Annotated[
        Image,
        Field(
            default=None,
            description="An image of the person: of several faces, the one that is the same person is enrolled.",
            json_schema_extra=_schema(),
        ),
    ]
    embeddings: _Embeddings
    qualities: Annotated[
        list[MeasuredQuality | None],
        Field(default=[], max_length=MOST_EMBEDDINGS, description="One for each embedding, where known."),
    ]
    source: Annotated[str | None, Option("A label of where the images came from.", at_most=LONGEST_TEXT)] = None
    sample_metadata: Annotated[
        Mapping[str, Any] | None,
        Option(f"Whatever else is to be known of the faces, in {MOST_SAMPLE_BYTES:,} bytes of JSON."),
    ] = None

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if self.qualities and len(self.qualities) != len(self.embeddings or ()):
            raise ValueError("needs as many qualities as embeddings")
        box = self.options(EnrolImage)["box"]
        if self.like and (box or not self.images):
            raise ValueError("like needs images, and no box")
        if box and len(self.images) != 1:
            raise ValueError("box needs one image")
        return self

    def quality(self, number: int) -> Quality | None:
        """Return that of an embedding, by its place."""
        given = self.qualities[number] if self.qualities else None
        return None if given is None else Quality(**given.model_dump())


@with_options(Identify)
class IdentifyRequest(_Either):
    """Whom to look for: exactly one of `images` and `embeddings`; at most one of `threshold` and `fmr`."""

    example: ClassVar = {"images": [{"url": "https://example.com/door.jpg"}], "limit": 3}

    images: _OptionalImages
    embeddings: _Embeddings
    limit: Annotated[int, Option("How many candidates to tell of.", at_least=1, at_most=_MOST_CANDIDATES)] = 5


@with_options(Verify)
class VerifySubjectRequest(_Either):
    """A face for a subject: exactly one of `image` and `embedding`; at most one of `threshold` and `fmr`."""

    ways: ClassVar = ("image", "embedding")
    example: ClassVar = {"image": _IMAGE}

    image: Annotated[Image, Field(default=None, json_schema_extra=_schema())]
    embedding: Annotated[Any, AfterValidator(check_vector), Field(default=None, json_schema_extra=_schema(**_VECTOR))]
    sample: Annotated[
        int | None,
        Option("A sample of the subject, to be compared with in place of all.", at_least=1, at_most=2**63 - 1),
    ] = None


@with_options(Policy)
class PolicyChange(Strict):
    """How a gallery enrols, decides and forgets; what is not given stays, or is as in new galleries.

    Where a limit is null, the pack's own counts.
    """

    def applied_to(self, policy: Policy) -> Policy:
        """Return the policy with what is given."""
        return Policy(**{**policy.to_dict(), **self.model_dump(exclude_unset=True)})


class WantedGallery(Request):
    """What a gallery is to be where there is none; it is bound to the models that the server uses."""

    needed: ClassVar = False
    example: ClassVar = {"policy": {"keep": "chips", "retention_days": 365, "consent_required": True}}

    policy: Annotated[PolicyChange, Field(default=PolicyChange(), json_schema_extra=_schema())]
    encrypted: Annotated[bool | None, Option("Without it, encrypted where the server has a key for that.")] = None


class NewGallery(WantedGallery):
    """A gallery to be made; it is bound to the models that the server uses."""

    needed: ClassVar = True
    example: ClassVar = {"name": "team", **WantedGallery.example}

    name: Annotated[str, Field(pattern=GALLERY_PATTERN)]


class GalleryChange(Request):
    """What to change of a gallery."""

    example: ClassVar = {"policy": {"threshold": 0.5, "margin": None}}

    policy: PolicyChange


@with_options(Details)
class NewSubject(WithOptions, Request):
    """A subject that has no samples yet."""

    example: ClassVar = {"id": "ada", "name": "Ada Lovelace"}

    id: Annotated[str, Option("As in `enrol`."), Field(min_length=1, max_length=LONGEST_ID)]


@with_options(Details)
class SubjectChange(Request):
    """What to change of a subject; null clears, and what is not given stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    example: ClassVar = {"name": "Ada Lovelace", "expires_at": "2030-12-31T23:59:59Z"}

    id: Annotated[
        str,
        Option("Another ID, by which the subject is called from then on."),
        Field(default=None, min_length=1, max_length=LONGEST_ID, json_schema_extra=_schema()),
    ]

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("needs at least one of id, name, metadata, consent, expires_at and ignored")
        return self

    @property
    def details(self) -> Details:
        """The same, as stores take it."""
        cleared: dict[str, Any] = {"name": "", "metadata": {}, "consent": "", "expires_at": NEVER, "ignored": False}
        given = {name: getattr(self, name) for name in self.model_fields_set - {"id"}}
        return Details(**{name: cleared[name] if value is None else value for name, value in given.items()})


class Merge(Request):
    """Where the samples of a subject are to go."""

    example: ClassVar = {"into": "ada"}

    into: Annotated[str, Option("ID of the subject that stays."), Field(min_length=1, max_length=LONGEST_ID)]


class Move(Merge):
    """Where some of a subject's samples are to go."""

    example: ClassVar = {"samples": [17], "into": "ada"}

    samples: Annotated[list[int], Option("Their IDs."), Field(min_length=1, max_length=_MOST_LISTED)]


@with_options(Details)
class Split(WithOptions, Request):
    """Which of a subject's samples are to be a new one's, and what is known of that."""

    example: ClassVar = {"samples": [17], "name": "Grace Hopper"}

    samples: Annotated[list[int], Option("Their IDs."), Field(min_length=1, max_length=_MOST_LISTED)]
    into: Annotated[
        str | None,
        Option("An ID of your own for the new subject. Without it, a random one."),
        Field(min_length=1, max_length=LONGEST_ID),
    ] = None


class Page(BaseModel):
    """Which part of a list."""

    cursor: Annotated[str, Field(default="", max_length=100, description="The `next_cursor` of the page before.")]
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED, description="How many at most.")] = 100

    def after(self, of: str) -> int:
        """Return the number after which the page begins in a list, 0 at first, if the cursor is of that list."""
        if not self.cursor:
            return 0
        try:
            number = int.from_bytes(urlsafe_b64decode(self.cursor)[:_NUMBER_BYTES], "big")
        except (binascii.Error, ValueError):
            number = 0
        if _cursor(number, of) != self.cursor:
            raise Problem("invalid_request", "cursor: must be a next_cursor of this very list", field="cursor")
        return number

    def next(self, found: Sequence[Subject | LogEntry | Sample], of: str) -> str | None:
        """Return the cursor of the page after this one, of which one item more than the limit was looked for."""
        if len(found) <= self.limit:
            return None
        last = found[self.limit - 1]
        return self.cursor_after(last.id if isinstance(last, Sample) else last.number, of)

    def cursor_after(self, number: int | None, of: str) -> str | None:
        """Return the cursor of what comes after a number; None where there is none."""
        return None if number is None else _cursor(number, of)


class LogPage(Page):
    """Which part of a log."""

    newest_first: Annotated[bool, Field(description="Whether the newest entries come first; else the oldest.")] = False


def _cursor(number: int, of: str) -> str:
    """Return the cursor after a number; its check tells it from what was mistyped, or meant for another list."""
    data = number.to_bytes(_NUMBER_BYTES, "big")
    check = hashlib.blake2b(of.encode() + b"\0" + data, digest_size=_CHECK_BYTES).digest()
    return urlsafe_b64encode(data + check).decode()


class SubjectSearch(Page, Request):
    """Whom to look for by name."""

    example: ClassVar = {"text": "lovelace"}

    text: Annotated[str, Option("A part of an ID or of a name, in whatever case."), Field(max_length=LONGEST_ID)]


@with_options(Review)
class ReviewPage(WithOptions, Page):
    """Which faces that wait for review to show, and how."""


class ReviewFaces(Request):
    """Faces that wait for review."""

    example: ClassVar = {"faces": [17, 23]}

    faces: Annotated[list[int], Option("Their numbers."), Field(min_length=1, max_length=_MOST_LISTED)]


@with_options(EnrolEmbeddings, Details)
class FacesNamed(WithOptions, ReviewFaces):
    """Faces that wait for review, and whose they are."""

    example: ClassVar = {"faces": [17, 23], "subject": "ada", "name": "Ada Lovelace"}

    subject: Annotated[
        str | None,
        Option("ID of the subject, made if there is none of it yet. Without it, a random one."),
        Field(min_length=1, max_length=LONGEST_ID),
    ] = None


class PictureOptions(BaseModel):
    """How to show a picture."""

    side: Annotated[
        int | None,
        Field(ge=16, le=_LONGEST_SIDE, description="Most pixels a side, of a JPEG then; else it comes as stored."),
    ] = None


class PreviewRequest(Request):
    """An image to be looked at."""

    example: ClassVar = {"image": _IMAGE}

    image: Image
    side: Annotated[int, Option("Most pixels a side.", at_least=16, at_most=_LONGEST_SIDE)] = 1280


class ExportOptions(BaseModel):
    """What to export."""

    pictures: Annotated[bool, Field(description="Whether to add the pictures that are stored, in base64.")] = False


@with_options(Enrol, Creating)
class ImportOptions(WithOptions):
    """How to enrol what comes."""
