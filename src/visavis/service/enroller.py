"""Enrolment of images and embeddings: samples that are stored, or reasons why they are not."""

import hashlib
import io
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import cv2
import numpy as np
import PIL.Image
from typing_extensions import Unpack

from visavis.core.decide import distances
from visavis.core.embeddings import check_embedding
from visavis.core.geometry import best_overlap, check_box
from visavis.core.image import ImageLimits, name_of, read_encoded, read_image
from visavis.errors import (
    ConsentMissing,
    InvalidOption,
    KeyReused,
    NoFace,
    SubjectConflict,
    SubjectNotFound,
    VisavisError,
)
from visavis.galleries.records import (
    MOST_SAMPLE_BYTES,
    NO_DETAILS,
    Details,
    Gallery,
    Match,
    NewSample,
    Origin,
    Stored,
    Subject,
    check_key,
    check_metadata,
    check_subject_id,
    normal,
    without_first,
)
from visavis.galleries.store import Store
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.options import Enrol, Observe
from visavis.service.decisions import Rules, candidate_of, check_live, choose_like, expiring, looking, unfit
from visavis.service.results import Candidate, Enrolled
from visavis.types import Face, Faces, FloatArray, ImageSource, Quality, UInt8Array

IMAGES_AT_ONCE = 16
_EMBEDDINGS_AT_ONCE = 500
_LINGER_S = 1.0  # in which further ones may join the first of a batch


class Observer(Protocol):
    """Sees faces; a ``Recognizer`` does. What looks at no image touches nothing but the pack."""

    @property
    def pack(self) -> Pack:
        """The models that it sees with."""

    @property
    def limits(self) -> ImageLimits:
        """On images."""

    def observe_many(
        self, images: Iterable[ImageSource], **options: Unpack[Observe]
    ) -> Iterator[Faces[Observed] | VisavisError]:
        """Return for each image the faces with embedding, quality and chip, or why there are none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrolment:
    """A face to be enrolled, as an image, as an embedding, or as it was seen.

    Attributes:
        subject: whose it is: an ID, made if there is none of it yet; None for a new one with an ID made up.
        image: that shows the face; or
        embedding: (D,) of it; or
        seen: the face, from ``OpenGallery.observe``.
        details: of the subject.
        quality: of the face, where an embedding is given.
        source: a label of where it comes from.
        sample_metadata: whatever else is to be known of the face, in 4,096 bytes of JSON.
        key: an idempotency key: the same key for the same subject enrols once. It lives as long as its sample.
        picture: an encoded image to be stored, where no image is given.
        counter: whether it is a counter-sample, whatever the options say; see ``visavis.options.EnrolEmbeddings``.
        box: of the face that is meant, where the image shows several; see ``EnrolImage``. Or
        like: (D,) an embedding of the person, from ``OpenGallery.reference``: the face that is the same is meant.
    """

    subject: str | None = None
    image: "ImageSource | None" = field(default=None, repr=False)
    embedding: FloatArray | None = field(default=None, repr=False)
    details: Details = NO_DETAILS
    quality: Quality | None = None
    source: str | None = None
    sample_metadata: Mapping[str, Any] | None = None
    key: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    counter: bool = False
    box: Sequence[float] | None = None
    like: FloatArray | None = field(default=None, repr=False)
    seen: Observed | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if [self.image is None, self.embedding is None, self.seen is None].count(False) != 1:
            raise InvalidOption("an enrolment needs an image or an embedding, and not both")
        if self.chooses and (self.image is None or (self.box is not None and self.like is not None)):
            raise InvalidOption("box and like are two ways to choose one of the faces of an image: use one of them")
        if self.sample_metadata is not None:
            check_metadata(self.sample_metadata, "sample_metadata", most_bytes=MOST_SAMPLE_BYTES)
        object.__setattr__(self, "subject", normal(self.subject))

    @property
    def chooses(self) -> bool:
        """Whether it says which of all faces of the image is meant."""
        return self.box is not None or self.like is not None


def batches(enrolments: Iterable[Enrolment | VisavisError]) -> Iterator[list[Enrolment | VisavisError]]:
    """Group enrolments into what is looked at, and stored, together; what comes slowly does not wait long for more."""
    batch: list[Enrolment | VisavisError] = []
    images, begun_s = 0, 0.0
    for each in enrolments:
        if not isinstance(each, Enrolment | VisavisError):
            raise InvalidOption(f"enrolments are wanted, or errors in their places, not {type(each).__name__}")
        begun_s = begun_s if batch else time.monotonic()
        batch.append(each)
        images += isinstance(each, Enrolment) and each.image is not None
        late = time.monotonic() - begun_s > _LINGER_S
        if late or images >= IMAGES_AT_ONCE or len(batch) >= _EMBEDDINGS_AT_ONCE:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch


def encoded_chip(chip: UInt8Array) -> bytes:
    """Return an RGB image (H, W, 3) as PNG, which loses nothing."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(chip[..., ::-1]))
    return data.tobytes()


def encoded_picture(image: "ImageSource", limits: ImageLimits) -> bytes:
    """Return an image as it is encoded, and an array or a Pillow image, which are not, as PNG.

    Raises:
        InputError: it cannot be read, or is beyond the limits.
    """
    if isinstance(image, np.ndarray | PIL.Image.Image):
        return encoded_chip(read_image(image, limits=limits).pixels)
    return read_encoded(image, limits)


_ID_BYTES = 8
_FACES_TOLD = 5
_Outcome: TypeAlias = Enrolled | VisavisError


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """What is fit to be stored, unless it is somebody else already."""

    sample: NewSample
    face: Face | None


@dataclass(frozen=True, slots=True, eq=False)
class Enroller:
    """Enrols into one gallery, as it is while a batch is enrolled."""

    store: Store
    eyes: Observer
    gallery: Gallery
    rules: Rules  # the gallery's policy with the pack's own numbers
    origin: Origin
    options: Enrol  # each of which is given

    def enrol(self, batch: Sequence[Enrolment | VisavisError]) -> list[_Outcome]:
        """Return what became of each; what is returned is stored."""
        checked = [each if isinstance(each, VisavisError) else _named(each) for each in batch]
        outcomes: dict[int, _Outcome] = {at: each for at, each in enumerate(checked) if isinstance(each, VisavisError)}
        named = {at: each for at, each in enumerate(checked) if isinstance(each, Enrolment)}
        outcomes.update(self._tried_before(named))
        fresh = [at for at in named if at not in outcomes]
        ready: dict[int, _Ready] = {}
        for at, prepared in zip(fresh, self._prepare([named[at] for at in fresh]), strict=True):
            if isinstance(prepared, VisavisError):
                outcomes[at] = prepared
            else:
                ready[at] = prepared
        outcomes.update(self._store(ready))
        return [outcomes[at] for at in range(len(batch))]

    def _tried_before(self, named: Mapping[int, Enrolment]) -> dict[int, _Outcome]:
        """Return what became, when they were first tried, of those whose key is in use."""
        keys = [each.key for each in named.values() if each.key is not None]
        known = self.store.keyed(self.gallery.name, keys) if keys else {}
        return {
            at: _enrolled(known[each.key], None, None)
            if known[each.key].subject.id == each.subject
            else KeyReused("this idempotency key was used for another subject; take a new one")
            for at, each in named.items()
            if each.key is not None and each.key in known
        }

    def _prepare(self, batch: Sequence[Enrolment]) -> Iterator[_Ready | VisavisError]:
        keep = self.gallery.policy.keep
        pictured = [_pictured(each, self.eyes) if keep == "images" else each for each in batch]
        looked_at = [each for each in pictured if not isinstance(each, VisavisError) and each.image is not None]
        look = looking(self.options, self.gallery.policy, require_live=False)
        several = self._observed([each for each in looked_at if each.chooses], {**look, "faces": "all"})
        single = self._observed([each for each in looked_at if not each.chooses], look)
        for each in pictured:
            if isinstance(each, VisavisError):
                yield each
            elif each.embedding is not None:
                yield self._checked(each, each.embedding, None)
            else:
                seen = each.seen or self._chosen(each, next(several if each.chooses else single))
                if isinstance(seen, VisavisError):
                    yield seen
                else:
                    chip = encoded_chip(seen.chip) if keep == "chips" else each.picture
                    yield self._checked(replace(each, picture=chip), seen.face.embedding, seen.face)

    def _observed(
        self, enrolments: Sequence[Enrolment], look: Observe
    ) -> Iterator[tuple[Observed, ...] | VisavisError]:
        images = [each.image for each in enrolments if each.image is not None]
        return self.eyes.observe_many(images, **look) if images else iter(())

    def _chosen(self, each: Enrolment, seen: tuple[Observed, ...] | VisavisError) -> Observed | VisavisError:
        """Return the face that is meant, of those that were looked for."""
        if isinstance(seen, VisavisError):
            return seen
        if not seen:
            return NoFace("no face found")
        try:
            if each.box is not None:
                return _in_box(seen, check_box(each.box))
            if each.like is not None:
                reference = check_embedding(each.like, self.gallery.space.dimension)
                vectors = [one.face.embedding for one in seen if one.face.embedding is not None]
                return seen[choose_like(reference, np.stack(vectors), self.rules)]
        except VisavisError as error:
            return error
        return seen[0]

    def _checked(self, each: Enrolment, embedding: FloatArray | None, face: Face | None) -> _Ready | VisavisError:
        """Hold a face against the gallery's policy."""
        policy, quality = self.gallery.policy, face.quality if face else each.quality
        counter = each.counter or self.options["counter"]
        details = NO_DETAILS if counter else expiring(each.details, policy, self.origin.at)
        try:
            sample = NewSample(
                subject=each.subject or "",
                embedding=check_embedding(embedding, self.gallery.space.dimension),
                details=details,
                quality=quality,
                source=each.source,
                metadata=without_first(each.sample_metadata or {}),
                picture=each.picture,
                key=each.key,
                counter=counter,
            )
            if face is not None:
                check_live(face)
        except VisavisError as error:
            return error
        if lacks := unfit(sample.embedding, quality, self.rules):
            return lacks[0]
        return _Ready(sample, face)

    def _store(self, ready: Mapping[int, _Ready]) -> dict[int, _Outcome]:
        """Store what nothing forbids: together, but what depends on another one of the batch after that one."""
        so_far = _SoFar(np.empty((len(ready), self.gallery.space.dimension), np.float32))
        looked_for = bool(self.rules.conflict_threshold) and not (
            self.options["allow_conflict"] and len(ready) > IMAGES_AT_ONCE
        )
        vectors = np.array([each.sample.embedding for each in ready.values()], np.float32)
        before = self._nearest(vectors) if ready and looked_for else [None] * len(ready)
        for (number, each), nearest in zip(ready.items(), before, strict=True):
            if each.sample.key in so_far.keys:  # what becomes of it the store knows
                so_far.together[number] = (each, None)
                continue
            if each.sample.counter:
                if refusal := self._refuse_counter(each, so_far):
                    so_far.outcomes[number] = refusal
                else:
                    so_far.together[number] = (each, None)
                continue
            if self._lacks_consent(each, so_far):
                so_far.outcomes[number] = ConsentMissing(
                    "this gallery enrols nobody without a note of consent; pass one as consent"
                )
                continue
            conflict = self._conflict(each, self._nearest_by_now(each, nearest, so_far)) if looked_for else None
            if conflict is not None and not self.options["allow_conflict"]:
                so_far.outcomes[number] = SubjectConflict(
                    f"this face already is subject {conflict.subject!r} (distance {conflict.distance:.2f}); "
                    "enrol it there, or allow the conflict"
                )
            else:
                so_far.accept(number, each, conflict)
        self._commit(so_far)
        return so_far.outcomes

    def _refuse_counter(self, each: _Ready, so_far: "_SoFar") -> VisavisError | None:
        """Return why a counter-sample is not stored, or None."""
        if self.gallery.policy.consent_required:
            return ConsentMissing(
                "a counter-sample shows somebody else, who gave no consent, and this gallery wants that"
            )
        if self._known(each.sample.subject, so_far) is None:
            return SubjectNotFound(f"gallery {self.gallery.name!r} has no subject {each.sample.subject!r}")
        return None

    def _known(self, subject: str, so_far: "_SoFar") -> Subject | None:
        """Return a subject with what was accepted of it so far, or None."""
        if any(other.sample.subject == subject for other, _ in so_far.together.values()):
            self._commit(so_far)
        return self.store.subject(self.gallery.name, subject)

    def _lacks_consent(self, each: _Ready, so_far: "_SoFar") -> bool:
        """Tell whether a note of consent is wanted, and neither comes with the face nor is there already."""
        consent = each.sample.details.consent
        if consent or not self.gallery.policy.consent_required:
            return False
        known = self._known(each.sample.subject, so_far)
        return consent is not None or known is None or not known.consent  # what is empty would clear it

    def _nearest(self, vectors: FloatArray) -> list[Match | None]:
        """Return the nearest subject of each, or None."""
        found = self.store.search(self.gallery.name, vectors, 1)
        return [next((match for match in matches if not match.counter), None) for matches in found]

    def _nearest_by_now(self, each: _Ready, nearest: Match | None, so_far: "_SoFar") -> Match | None:
        """Return the nearest subject, given the nearest before the batch; None where it is surely no other one."""
        if not so_far.accepted:
            return nearest
        accepted = so_far.vectors[: len(so_far.accepted)]
        near = distances(self.gallery.space.metric, each.sample.embedding, accepted)
        place = int(near.argmin())
        if near[place] >= min(self.rules.conflict_threshold, nearest.distance if nearest else np.inf):
            return nearest
        if so_far.accepted[place] == each.sample.subject:
            return None
        self._commit(so_far)
        return self._nearest(each.sample.embedding[None])[0]

    def _conflict(self, each: _Ready, nearest: Match | None) -> Candidate | None:
        limit = self.rules.conflict_threshold
        if nearest is None or nearest.subject == each.sample.subject or not nearest.distance < limit:
            return None
        return candidate_of(nearest, None, self.rules, limit)

    def _commit(self, so_far: "_SoFar") -> None:
        """Store what was accepted and is not stored yet."""
        together, so_far.together = so_far.together, {}
        if together:
            stored = self.store.enrol(self.gallery.name, [each.sample for each, _ in together.values()], self.origin)
            for (number, (each, conflict)), outcome in zip(together.items(), stored, strict=True):
                so_far.outcomes[number] = (
                    outcome if isinstance(outcome, VisavisError) else _enrolled(outcome, each.face, conflict)
                )


@dataclass(slots=True, eq=False)
class _SoFar:
    """What became of a batch so far: ``together`` is to be stored, and is not yet; ``outcomes`` are of all others."""

    vectors: FloatArray  # (N, D) the embeddings of those that were accepted, and room for the others
    accepted: list[str] = field(default_factory=list)  # their subjects
    keys: set[str] = field(default_factory=set)  # of those that have one
    together: dict[int, tuple[_Ready, Candidate | None]] = field(default_factory=dict)
    outcomes: dict[int, _Outcome] = field(default_factory=dict)

    def accept(self, number: int, ready: _Ready, conflict: Candidate | None) -> None:
        """Take one that is to be stored."""
        self.vectors[len(self.accepted)] = ready.sample.embedding
        self.accepted.append(ready.sample.subject)
        if ready.sample.key is not None:
            self.keys.add(ready.sample.key)
        self.together[number] = (ready, conflict)


def new_subject_id(key: str | None) -> str:
    """Return an ID for a subject without one: at random, or from a key, so that a second try means the same subject."""
    return secrets.token_hex(_ID_BYTES) if key is None else hashlib.sha256(key.encode()).hexdigest()[: 2 * _ID_BYTES]


def _named(enrolment: Enrolment) -> Enrolment | VisavisError:
    """Give a subject without an ID one."""
    subject, key = enrolment.subject, enrolment.key
    try:
        if key is not None:
            check_key(key)
        if subject is not None:
            check_subject_id(subject)
            return enrolment
    except VisavisError as error:
        return error
    return replace(enrolment, subject=new_subject_id(key))


def _pictured(enrolment: Enrolment, eyes: Observer) -> Enrolment | VisavisError:
    """Read an image that is to be stored; a stream is read once."""
    if enrolment.image is None:
        return enrolment
    try:
        picture = encoded_picture(enrolment.image, eyes.limits)
    except VisavisError as error:
        return error
    if isinstance(enrolment.image, np.ndarray | PIL.Image.Image):
        return replace(enrolment, picture=picture)
    stream = io.BytesIO(picture)
    stream.name = name_of(enrolment.image)  # which messages go on to use
    return replace(enrolment, image=stream, picture=picture)


def _in_box(seen: Sequence[Observed], box_xyxy: FloatArray) -> Observed:
    """Return the face that overlaps a box most, or raise NoFace, which tells where faces are."""
    boxes = np.stack([each.face.box_xyxy for each in seen])
    place = best_overlap(boxes, box_xyxy)
    if place is None:
        told = "; ".join(",".join(f"{edge:.0f}" for edge in box) for box in boxes[:_FACES_TOLD])
        more = "" if len(boxes) <= _FACES_TOLD else f"; and {len(boxes) - _FACES_TOLD} more"
        raise NoFace(f"no face found in the box; those of the image are at {told}{more}")
    return seen[place]


def _enrolled(stored: Stored, face: Face | None, conflict: Candidate | None) -> Enrolled:
    return Enrolled(
        subject=stored.subject, sample=stored.sample, repeated=stored.repeated, face=face, conflict=conflict
    )
