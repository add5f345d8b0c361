"""What may be asked of galleries: the one source of validation and of the OpenAPI document."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from visavis.galleries.records import LONGEST_RETENTION_DAYS, LONGEST_TEXT, NEVER, Details, Keep, Policy
from visavis.server.reading import Query
from visavis.server.schemas import MinFace, Strict

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
