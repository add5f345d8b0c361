"""What may be asked about faces and galleries: the one source of validation and of the OpenAPI document."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from visavis.core.decide import check_threshold
from visavis.galleries.checks import LONGEST_ID
from visavis.galleries.records import Details
from visavis.server.gallery_requests import AllowConflict, Metadata, Moment, Text, or_null
from visavis.server.schemas import MOST_IMAGES, Fmr, Image, MinFace, QualityInfo, Strict

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
