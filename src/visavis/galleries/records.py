"""Records of stores: frozen, the same for every store; and checks of the values that they may hold."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias, get_args

from visavis.errors import InvalidOption
from visavis.types import EmbeddingSpace, FloatArray, Quality, read_only

LONGEST_TEXT = 10_000
_LONGEST_METADATA = 10_000


def check_text(name: str, text: object) -> None:
    """Insist on a text that every store can hold, or on None.

    Raises:
        InvalidOption: it is none.
    """
    if text is None:
        return
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or "\0" in text or not _is_unicode(text):
        raise InvalidOption(f"{name} must be a text of at most {LONGEST_TEXT:,} characters, none of them U+0000")


def check_metadata(metadata: object) -> None:
    """Insist on an object that JSON can hold.

    Raises:
        InvalidOption: it is none.
    """
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    good = isinstance(metadata, Mapping) and 0 < len(text) <= _LONGEST_METADATA and _is_unicode(text)
    if not good or "\\u0000" in text.replace("\\\\", ""):  # an escaped backslash may stand before such letters
        raise InvalidOption(
            f"metadata must be a JSON object of at most {_LONGEST_METADATA:,} characters, none of them U+0000"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_number(name: str, value: object, *, at_least: float | None = None, above: float | None = None) -> None:
    """Insist on a finite number.

    Raises:
        InvalidOption: it is none, or less than the limit.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if (
        not is_number
        or (at_least is not None and value < at_least)  # type: ignore[operator]  # it is a number
        or (above is not None and value <= above)  # type: ignore[operator]  # likewise
    ):
        limit = "" if at_least is None else f" of {at_least:g} or more"
        limit = limit if above is None else f" above {above:g}"
        raise InvalidOption(f"{name} must be a finite number{limit}, not {value!r}")


def check_moment(name: str, moment: object) -> datetime:
    """Return a moment in UTC.

    Raises:
        InvalidOption: it is none, has no time zone, or lies outside the years that are counted.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidOption(f"{name} must be a date and time with a time zone")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidOption(f"{name} must lie between the years 1 and 9999 in UTC") from None


Keep: TypeAlias = Literal["nothing", "chips", "images"]
"""What a gallery keeps of an enrolled image besides its embedding: nothing, the aligned chip, or the whole image."""

NEVER = datetime.max.replace(tzinfo=timezone.utc)
"""Clears the expiry of a subject."""
LONGEST_RETENTION_DAYS = 100_000
_FLAGS = ("consent_required", "log_searches", "require_live")
_ANGLES = ("yaw", "pitch")
_LEAST = ("min_face_px", "min_sharpness", "min_score")
_LIMITS = (*_LEAST, *(f"probe_{name}" for name in _LEAST), *(f"max_{name}" for name in _ANGLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a gallery enrols, decides and forgets. Where a limit is None, the pack's own counts.

    Attributes:
        threshold: a subject nearer than this is identified.
        margin: by how much the nearest subject must be nearer than the next one, or the face is unknown.
        conflict_threshold: a face nearer than this to another subject is not enrolled; 0 to enrol it all the same.
        min_face_px, min_sharpness, min_score: what a face must have to be enrolled; see ``Quality``.
        max_yaw, max_pitch: how many degrees the head may be turned to be enrolled, either way; 90 for any.
        probe_min_face_px, probe_min_sharpness, probe_min_score: what a face must have to be identified; else it is
            unknown.
        require_live: whether the face of an image must look live to be enrolled, identified or verified.
        keep: what is stored of an enrolled image besides its embedding.
        retention_days: after so many days without an enrolment a subject is forgotten; None for never.
        consent_required: whether nobody is enrolled without a note of consent.
        log_searches: whether the log of the gallery also tells of every identification and verification.
    """

    threshold: float | None = None
    margin: float | None = None
    conflict_threshold: float | None = None
    min_face_px: float | None = None
    min_sharpness: float | None = None
    min_score: float | None = None
    max_yaw: float | None = None
    max_pitch: float | None = None
    probe_min_face_px: float | None = None
    probe_min_sharpness: float | None = None
    probe_min_score: float | None = None
    require_live: bool = False
    keep: Keep = "nothing"
    retention_days: float | None = None
    consent_required: bool = False
    log_searches: bool = True

    def __post_init__(self) -> None:
        for name in ("margin", "conflict_threshold", *_LIMITS):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=0.0)
        for name in ("threshold", "retention_days"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), above=0.0)
        if (self.retention_days or 0) > LONGEST_RETENTION_DAYS:
            raise InvalidOption(f"retention_days is at most {LONGEST_RETENTION_DAYS:,}; None for ever")
        if self.keep not in get_args(Keep):
            raise InvalidOption(f"keep must be one of {', '.join(get_args(Keep))}, not {self.keep!r}")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise InvalidOption(f"{name} must be true or false")

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """A set of subjects whose embeddings are of one space.

    Attributes:
        name: unique in its store.
        number: never given twice, so that a gallery made anew under an old name is another one.
        space: of its embeddings.
        policy: how it enrols, decides and forgets.
        encrypted: whether embeddings and pictures are encrypted where they are stored.
        created_at: in UTC.
        subjects, samples: how many it holds.
    """

    name: str
    number: int
    space: EmbeddingSpace
    policy: Policy
    encrypted: bool
    created_at: datetime
    subjects: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One person.

    Attributes:
        id: unique in its gallery, chosen by those who enrol.
        number: of the store; never given twice. It is how logs and receipts call a subject.
        name: for people, or None.
        metadata: whatever else is to be known, as JSON holds it.
        consent: a note on what the person agreed to, or None.
        created_at, updated_at: in UTC.
        expires_at: when it is forgotten, in UTC, or None.
        version: one more with every change of the subject or its samples.
        samples: how many it has.
    """

    id: str
    number: int
    name: str | None
    metadata: Mapping[str, Any]
    consent: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    version: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One enrolled face.

    Attributes:
        id: a number that its store never gives twice.
        subject: whose face it is: the subject's ID.
        embedding: (D,).
        quality: of the image it was enrolled from, or None where an embedding was enrolled.
        source: a label of where it came from, or None.
        picture: what is stored of the image: "chips", "images" or "nothing".
        created_at: in UTC.
    """

    id: int
    subject: str
    embedding: FloatArray = field(repr=False)
    quality: Quality | None
    source: str | None
    picture: Keep
    created_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedding", read_only(self.embedding))


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a subject besides its faces.

    None leaves what is there; an empty name, consent or metadata clears it, as does ``NEVER`` the expiry.
    """

    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    consent: str | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("name", "consent"):
            check_text(name, getattr(self, name))
        if self.metadata is not None:
            check_metadata(self.metadata)
        if self.expires_at is not None:
            object.__setattr__(self, "expires_at", check_moment("expires_at", self.expires_at))


NO_DETAILS = Details()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewSample:
    """A face to be stored; its subject is made where there is none of that ID.

    Attributes:
        subject: the subject's ID.
        embedding: (D,).
        details: of the subject, to be set with it.
        quality, source: as in ``Sample``.
        picture: an encoded image, or None; it is not stored where the gallery's policy keeps nothing.
        key: an idempotency key: while the gallery has a sample of the same key, nothing is stored again.
        fingerprint: of what the key was used for; another one under the same key is an error.
    """

    subject: str
    embedding: FloatArray = field(repr=False)
    details: Details = NO_DETAILS
    quality: Quality | None = None
    source: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    key: str | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_text("source", self.source)
        for name, value in asdict(self.quality).items() if self.quality else ():
            if value is not None or name not in _ANGLES:
                check_number(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a new sample.

    Attributes:
        subject: as it is now.
        sample: its ID.
        repeated: whether the key says that it was stored before, and it is not stored again.
    """

    subject: Subject
    sample: int
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A subject near a probe.

    Attributes:
        subject: its ID.
        subject_number: its number.
        name: its name, or None.
        sample: the ID of its sample that is nearest to the probe.
        distance: between the two, in the metric of the space.
    """

    subject: str
    subject_number: int
    name: str | None
    sample: int
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who does something, and when: what the log tells of every change.

    Attributes:
        actor: a key's ID, a user of the machine, or whatever tells those who act apart.
        at: in UTC.
    """

    actor: str
    at: datetime

    def __post_init__(self) -> None:
        # A user's name comes from the machine, and may be anything.
        plain = self.actor.encode("utf-8", "replace").decode().replace("\0", "?")
        object.__setattr__(self, "actor", plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was forgotten.

    Attributes:
        subjects: the numbers of those that were forgotten, or some of whose samples were.
        samples: how many.
        overwritten: whether the store's files hold none of its bytes any more; where a database server decides about
            that, False.
    """

    subjects: tuple[int, ...]
    samples: int
    overwritten: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of the log, which only ever grows. It holds neither faces nor names.

    Attributes:
        number: one more than the entry before, or some more.
        at: in UTC.
        actor: who did it.
        action: create, enrol, update, identify, verify, export, picture, audit, forget, expire, policy, backup.
        gallery: the gallery's name.
        subjects: the numbers of the subjects concerned, as far as they were known.
        count: how many samples or faces it was about.
    """

    number: int
    at: datetime
    actor: str
    action: str
    gallery: str
    subjects: tuple[int, ...]
    count: int
