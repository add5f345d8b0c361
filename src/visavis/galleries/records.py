"""Records of stores: frozen, the same for every store; and checks of the values that they may hold."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Any, TypeAlias, TypeVar, cast

import numpy as np

from visavis.core.embeddings import check_embedding
from visavis.errors import InvalidOption
from visavis.options import Keep, Option, Policy, check_number
from visavis.record import HIDDEN, Record
from visavis.types import EmbeddingSpace, FloatArray, Quality, Shape, read_only

LONGEST_TEXT = 10_000
_LONGEST_METADATA = 10_000
MOST_SAMPLE_BYTES = 4096
_DEEPEST = 100
_Text = TypeVar("_Text")


def normal(text: _Text) -> _Text:
    """Return a text in Unicode's form NFC: the same letters are the same, however they came. What is none stays."""
    return cast("_Text", unicodedata.normalize("NFC", text)) if isinstance(text, str) else text


def check_text(name: str, text: object) -> None:
    """Insist on a text that every store can hold, or on None; InvalidOption where it is none."""
    if text is None:
        return
    _check_unicode(name, text)
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or "\0" in text:
        raise InvalidOption(f"{name} must be a text of at most {LONGEST_TEXT:,} characters, none of them U+0000")


def _check_unicode(name: str, text: object) -> None:
    """Refuse what Python makes of bytes that are no UTF-8, such as those of a file's name."""
    if isinstance(text, str) and not _is_unicode(text):
        raise InvalidOption(f"{name} is not in UTF-8: rename the file that it comes from, or set a locale of UTF-8")


def check_metadata(metadata: object, name: str = "metadata", *, most_bytes: int | None = None) -> None:
    """Insist on an object that JSON can hold, in 10,000 characters or so many bytes; InvalidOption where it is none."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    length = len(text if most_bytes is None else text.encode(errors="replace"))
    most, unit = (_LONGEST_METADATA, "characters") if most_bytes is None else (most_bytes, "bytes")
    good = isinstance(metadata, Mapping) and 0 < length <= most and _is_unicode(text)
    good = good and "\\u0000" not in text.replace("\\\\", "")  # an escaped backslash may stand before such letters
    if not good or _is_deep(metadata):
        raise InvalidOption(
            f"{name} must be a JSON object of at most {most:,} {unit}, none of them U+0000, in {_DEEPEST} levels"
        )


def _is_deep(value: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
    """Tell whether lists and objects lie so deep in each other that who reads them may have no stack for that."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        held = (each.values() if isinstance(each, Mapping) else each for each in level)
        level = [one for several in held for one in several if isinstance(one, Mapping | list | tuple)]
        depth += 1
    return bool(level)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


NEVER = datetime.max.replace(tzinfo=timezone.utc)
"""Clears the expiry of a subject."""
_IF_KNOWN = ("yaw", "pitch", "validity", "occluded")  # of a quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery(Record):
    """A set of subjects whose embeddings are of one space."""

    name: str
    """Unique in its store."""
    number: int
    """Never given twice, so that a gallery made anew under an old name is another one."""
    space: EmbeddingSpace
    """Of its embeddings."""
    policy: Policy
    """How it enrols, decides and forgets."""
    encrypted: bool
    """Whether embeddings and pictures are encrypted where they are stored."""
    created_at: datetime
    """In UTC."""
    subjects: int
    """How many it holds."""
    samples: int
    """How many it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Record):
    """One person."""

    id: str
    """Unique in its gallery, chosen by those who enrol."""
    number: int
    """Of the store; never given twice. It is how logs and receipts call a subject."""
    name: str | None
    """For people, or None."""
    metadata: Mapping[str, Any]
    """Whatever else is to be known, as JSON holds it."""
    consent: str | None
    """A note on what the person agreed to, or None."""
    created_at: datetime
    """In UTC."""
    updated_at: datetime
    """In UTC."""
    expires_at: datetime | None
    """When it is forgotten, in UTC, or None."""
    version: int
    """One more with every change of the subject or its samples."""
    samples: int
    """How many it has, counter-samples among them."""
    ignored: bool = False
    """Whether nobody is told when a face is this one: ``identify`` says ``unknown``, for the reason ``ignored``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample(Record):
    """One enrolled face."""

    id: int
    """A number that its store never gives twice."""
    subject: str
    """Whose face it is: the subject's ID."""
    embedding: Annotated[FloatArray, Shape((0,))] = field(repr=False, metadata=HIDDEN)
    """(D,)."""
    quality: Quality | None
    """Of the image it was enrolled from, or None where an embedding was enrolled."""
    source: str | None
    """A label of where it came from, or None."""
    picture: Keep
    """What is stored of the image: "chips", "images" or "nothing"."""
    created_at: datetime
    """In UTC."""
    counter: bool = False
    """Whether it is a counter-sample: somebody who resembles the subject, and is not it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is to be known of the face, as JSON holds it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedding", read_only(self.embedding))


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a subject besides its faces.

    None leaves what is there; an empty name, consent or metadata clears it, as does ``NEVER`` the expiry.
    """

    name: Annotated[str | None, Option("Name of the person.", at_most=LONGEST_TEXT)] = None
    metadata: Annotated[
        Mapping[str, Any] | None, Option("Whatever else is to be known of the subject, in 10,000 characters of JSON.")
    ] = None
    consent: Annotated[str | None, Option("Note on what the person agreed to.", at_most=LONGEST_TEXT)] = None
    expires_at: Annotated[datetime | None, Option("When the subject is to be forgotten.")] = None
    ignored: Annotated[bool | None, Option("Whether a face of the subject is to be told as nobody's.")] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", normal(self.name))
        for name in ("name", "consent"):
            check_text(name, getattr(self, name))
        if self.metadata is not None:
            check_metadata(self.metadata)
        if self.expires_at is not None:
            object.__setattr__(self, "expires_at", check_moment("expires_at", self.expires_at))


NO_DETAILS = Details()


FIRST_NUMBER = "first_number"
"""In the metadata of a sample that was moved: the ID that it had at first, by which it is still found."""


def without_first(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a sample as whoever enrolled it gave them."""
    given = isinstance(metadata, Mapping) and FIRST_NUMBER in metadata
    return {name: value for name, value in metadata.items() if name != FIRST_NUMBER} if given else metadata


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewSample:
    """A face to be stored; its subject is made where there is none of that ID."""

    subject: str
    """The subject's ID."""
    embedding: FloatArray = field(repr=False)
    """(D,)."""
    details: Details = NO_DETAILS
    """Of the subject, to be set with it."""
    quality: Quality | None = None
    """As in ``Sample``."""
    source: str | None = None
    """As in ``Sample``."""
    picture: bytes | None = field(default=None, repr=False)
    """An encoded image, or None; it is not stored where the gallery's policy keeps nothing."""
    key: str | None = None
    """An idempotency key: while the gallery has a sample of the same key, nothing is stored again."""
    fingerprint: str = ""
    """Of what the key was used for; another one under the same key is an error."""
    counter: bool = False
    """As in ``Sample``."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """As in ``Sample``, in 4,096 bytes of JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", normal(self.subject))
        check_metadata(without_first(self.metadata), "a sample's metadata", most_bytes=MOST_SAMPLE_BYTES)
        object.__setattr__(self, "metadata", json.loads(json.dumps(self.metadata)))
        check_text("source", self.source)
        for name, value in asdict(self.quality).items() if self.quality else ():
            if value is not None or name not in _IF_KNOWN:
                check_number(name, value)


@dataclass(frozen=True, slots=True, eq=False)
class SampleRow:
    """A sample to be written, from what was given."""

    id: int
    subject: int  # its number; for a counter-sample the negative of it
    new: NewSample
    embedding: FloatArray = field(repr=False)  # (D,), checked
    kept: Keep  # what is stored of the image
    picture: bytes | None = field(repr=False)
    fingerprint: str | bytes  # as ``Transaction.fingerprint`` returned it
    created_at: datetime  # in UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a new sample."""

    subject: Subject
    """As it is now; where one call stores several samples of it, as it is with this one."""
    sample: int
    """Its ID."""
    repeated: bool
    """Whether the key says that it was stored before, and it is not stored again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match(Record):
    """A subject near a probe."""

    subject: str
    """Its ID."""
    subject_number: int
    """Its number in the store, by which logs call it."""
    name: str | None
    """Its name, or None."""
    sample: int
    """The ID of its sample that is nearest to the probe."""
    distance: float
    """Between the two, in the metric of the space; or, where templates are asked for, of the subject's template."""
    ignored: bool = False
    """As in ``Subject``."""
    counter: bool = field(default=False, metadata=HIDDEN)
    """Whether the sample is a counter-sample, whose own distance it is, also where templates are asked for."""

    @classmethod
    def of(cls, number: int, known: Mapping[str, Any], *, sample: int, distance: float) -> "Match":
        """Return a match by the number of its subject as samples have it, and what is known of the subject."""
        of = {"subject": known["id"], "name": known["name"], "ignored": known.get("ignored", False)}
        return cls(**of, subject_number=abs(number), sample=sample, distance=distance, counter=number < 0)


Matches: TypeAlias = tuple[tuple[Match, ...], ...]
"""For each probe the subjects near it, nearest first; one may be there twice, by its samples and counter-samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who does something, and when: what the log tells of every change."""

    actor: str
    """A key's ID, a user of the machine, or whatever tells those who act apart."""
    at: datetime
    """In UTC."""

    def __post_init__(self) -> None:
        # A user's name comes from the machine, and may be anything.
        plain = self.actor.encode("utf-8", "replace").decode().replace("\0", "?")
        object.__setattr__(self, "actor", plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased(Record):
    """What was forgotten."""

    subjects: tuple[int, ...]
    """The numbers of those that were forgotten, or some of whose samples were."""
    samples: int
    """How many."""
    overwritten: bool
    """Whether the store's files hold none of its bytes any more; where a database server decides about that, False."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage(Record):
    """What is not as it was written, and is left out wherever it can be."""

    subject: int | None
    """The number of the subject that it is of, or None where that is not known."""
    sample: int | None
    """The ID of the sample that it is of, or None."""
    what: str
    """details of a subject; embedding, about, picture, subject or created_at of a sample; or of the file, what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryCheck(Record):
    """What is damaged in a gallery."""

    gallery: str
    """Its name."""
    subjects: int
    """How many were looked at."""
    samples: int
    """How many were looked at."""
    damaged: tuple[Damage, ...]
    """What is damaged of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry(Record):
    """One line of the log, which only ever grows. It holds neither faces nor names."""

    number: int
    """One more than the entry before, or some more."""
    at: datetime
    """In UTC."""
    actor: str
    """Who did it."""
    action: str
    """create, enrol, update, move, identify, verify, export, picture, audit, forget, expire, policy, backup, rekey."""
    gallery: str
    """The gallery's name."""
    subjects: tuple[int, ...]
    """The numbers of the subjects concerned, as far as they were known."""
    count: int
    """How many samples or faces it was about."""


GALLERY_PATTERN = "[A-Za-z0-9_][A-Za-z0-9._-]{0,254}"
"""Of names of galleries: none leads elsewhere as part of a path, hides as a file, or reads as an option."""
# Letters of Cyrillic and Greek that look like Latin ones. Source: Unicode Technical Standard 39, confusables.txt.
_LOOKS = str.maketrans("авекмнорстухіјѕһԁԛԝӏαβεζηικμνορτυχ", "abekmhopctyxijshdqwlabezhikmnoptyx")
KEY_BYTES = 32
"""The length of the key that protects those of encrypted galleries."""
StoreKeys: TypeAlias = bytes | Sequence[bytes] | None
"""That key; or several, of which the first protects what is new, and each opens what it protects."""
LONGEST_ID = 200
_LONGEST_KEY = 200
_LARGEST_INTEGER = 2**63 - 1


def may_be_gallery(name: str) -> bool:
    """Tell whether a gallery may have this name."""
    return isinstance(name, str) and re.fullmatch(GALLERY_PATTERN, name) is not None


QUEUE = "/review"
"""Ends the name of what is beside a gallery: its review queue. No gallery is called so."""


def may_be_stored(name: str) -> bool:
    """Tell whether a gallery, or its review queue, may have this name."""
    return isinstance(name, str) and may_be_gallery(name.removesuffix(QUEUE))


def check_gallery_name(name: str) -> str:
    """Return the name of a gallery; InvalidOption where it is not one that a gallery may have."""
    if not may_be_gallery(name):
        raise InvalidOption(
            "a gallery's name is 1 to 255 of A-Z, a-z, 0-9, underscore, dot and hyphen, and begins with none of the "
            "last two"
        )
    return name


def check_subject_id(subject: str) -> str:
    """Return the ID of a subject, which is part of a URL's path, in its normal form.

    Raises:
        InvalidOption: it is not one that a subject may have.
    """
    _check_unicode("a subject's ID", subject)
    subject = normal(subject)
    good = isinstance(subject, str) and 0 < len(subject) <= LONGEST_ID and subject.isprintable()
    if not good or "/" in subject or subject in {".", ".."} or subject != subject.strip():
        raise InvalidOption(
            f"a subject's ID is 1 to {LONGEST_ID} printable characters, without a slash or spaces at its ends"
        )
    return subject


def alike(ids: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return, in groups, the IDs that people may take for each other: but for case, blanks and forms of letters."""
    groups: dict[str, set[str]] = {}
    for id_ in ids:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", id_).casefold())
        groups.setdefault("".join(folded.translate(_LOOKS).split()), set()).add(id_)
    return tuple(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def check_key(key: str) -> str:
    """Return an idempotency key; InvalidOption where it is not one."""
    if not (isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        raise InvalidOption(f"an idempotency key is 1 to {_LONGEST_KEY} printable characters")
    return key


def check_samples(samples: Sequence[NewSample], dimension: int) -> FloatArray:
    """Return the embeddings (N, D) of new samples, all of which may be stored.

    Raises:
        InvalidOption: an ID or a key is not allowed.
        InvalidEmbedding: an embedding has another dimension, or holds what is no finite number.
    """
    for sample in samples:
        check_subject_id(sample.subject)
        if sample.key is not None:
            check_key(sample.key)
    if not samples:
        return np.empty((0, dimension), np.float32)
    return np.stack([check_embedding(sample.embedding, dimension) for sample in samples])


def within_integers(number: int) -> int:
    """Return a number as one that every store can compare with its own, which are all smaller than the greatest."""
    return max(-1, min(number, _LARGEST_INTEGER))


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; InvalidOption where in UTC it is not within the years 1 to 9999."""
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidOption("a time must be within the years 1 to 9999, in UTC") from None


def check_limit(limit: int) -> int:
    """Return how many records are wanted, as a number that every store can take.

    Raises:
        InvalidOption: it is not 1 or more.
    """
    if type(limit) is not int or limit < 1:
        raise InvalidOption(f"limit must be a whole number of 1 or more, not {limit!r}")
    return within_integers(limit)
