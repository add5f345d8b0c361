"""One gallery of a store: enrol, identify, verify, merge, forget, and its records.

It is long because each verb is a method of one class, with its arguments and errors.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from typing_extensions import Unpack

from visavis.core.embeddings import check_embedding, check_probes
from visavis.core.image import name_of
from visavis.errors import (
    ConsentMissing,
    GalleryNotFound,
    NoFace,
    SampleNotFound,
    StoreFull,
    StoreReadOnly,
    SubjectNotFound,
    VisavisError,
)
from visavis.galleries.moves import key_of_moved
from visavis.galleries.records import (
    NO_DETAILS,
    Details,
    Erased,
    Gallery,
    GalleryCheck,
    LogEntry,
    Origin,
    Sample,
    Subject,
    normal,
)
from visavis.galleries.store import Store
from visavis.hints import Hinting
from visavis.models.recognizer import Observed, value_of
from visavis.options import (
    Attribute,
    Enrol,
    EnrolEmbeddings,
    EnrolImage,
    Identify,
    IdentifyEmbeddings,
    Observe,
    Policy,
    Threshold,
    Verify,
    takes,
)
from visavis.service import audit, transfer
from visavis.service.decisions import (
    Rules,
    by_sample,
    check_live,
    check_policy,
    check_space,
    check_undoubted,
    expiring,
    identify,
    looking,
    rules_in_force,
    rules_of,
    verify,
    within_retention,
)
from visavis.service.enroller import Enroller, Enrolment, Observer, batches, new_subject_id
from visavis.service.results import (
    AuditReport,
    Candidate,
    Enrolled,
    GalleryRules,
    Identification,
    Receipt,
    SubjectVerification,
)
from visavis.service.review import ReviewQueue
from visavis.types import Face, Faces, FloatArray, ImageSource, Quality

_log = logging.getLogger("visavis.galleries")
_Result = TypeVar("_Result")
_DECIDING = 16  # nearest subjects, among whom the match is, where candidates are samples


class OpenGallery(Hinting):
    """A gallery by its name; every call sees it as it is now. Any number of threads may share one.

    Every method may raise ``GalleryNotFound`` where it was forgotten meanwhile, and a ``SetupError`` where the store
    cannot be used; and each that is given the ID of a subject, but for those that enrol, ``SubjectNotFound`` where
    there is none of that ID. Whose time is over is forgotten before anything else is done.
    """

    def __init__(self, store: Store, eyes: Observer, name: str, origin: Callable[[], Origin]) -> None:
        """Name a gallery; use ``Galleries.open``."""
        self.name = name
        self._store = store
        self._eyes = eyes
        self._origin = origin

    @property
    def record(self) -> Gallery:
        """What is known of the gallery as a whole."""
        return self._store.gallery(self.name)

    @property
    def review(self) -> ReviewQueue:
        """The faces that wait for somebody to say whose they are, where the policy has ``review_days``."""
        return ReviewQueue(self._store, self._eyes, self.name, self._origin, self._bound)

    def rules(self) -> GalleryRules:
        """Return the numbers in force: thresholds, their error rates, limits to the quality of faces.

        Raises:
            SpaceMismatch: the gallery holds embeddings of another pack.
        """
        return rules_in_force(self._bound(), self._eyes.pack)

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy; what is enrolled already stays. Without ``review_days`` the review queue is forgotten.

        Raises:
            InvalidOption: it wants live faces, or a rate, and the pack, which is the gallery's, cannot tell.
        """
        if self.record.space == self._eyes.pack.space:
            check_policy(policy, self._eyes.pack)
        changed = self._store.set_policy(self.name, policy, self._origin())
        if policy.review_days is None:
            self.review.forget()
        return changed

    @takes(EnrolImage)
    def enrol(  # noqa: PLR0913  # what is known of a face
        self,
        image: ImageSource,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        source: str | None = None,
        sample_metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        like: "ImageSource | None" = None,
        **options: Unpack[EnrolImage],
    ) -> Enrolled:
        """Enrol the face of an image.

        Args:
            image: as in ``Recognizer.detect``.
            subject: whose face it is: an ID, made if there is none of it yet; None for a new subject.
            details: of the subject, to be set with it.
            source: a label of where the image comes from.
            sample_metadata: whatever else is to be known of the face, in 4,096 bytes of JSON.
            key: an idempotency key: the same key for the same subject enrols once, for as long as its sample is there.
            like: an image of the person, or its embedding (D,) from ``reference``: where the image shows several faces,
                the one that is the same person is enrolled, whatever ``faces`` says.
            **options: see ``visavis.options.EnrolImage``.

        Raises:
            InputError: the image cannot be used or is not fit to be enrolled from (NoFace, MultipleFaces, NotLive,
                FaceTooSmall, FaceBlurred, LowScore, ExtremePose, InvalidFace, FaceOccluded, ChildFace), or an argument
                is out of its range.
            SubjectConflict: the face already is another subject.
            ConsentMissing: the policy wants a note of consent.
            KeyReused: the key was used for another subject.
            SpaceMismatch: the gallery holds embeddings of another pack.
        """
        if like is not None and not (isinstance(like, np.ndarray) and like.ndim == 1):
            like = self.reference(like)
        enrolment = Enrolment(
            subject=subject,
            image=image,
            details=details,
            source=source,
            sample_metadata=sample_metadata,
            key=key,
            box=options.pop("box"),
            like=like,
        )
        how: Enrol = options
        return value_of(next(self.enrol_many([enrolment], **how)))

    @takes(Observe)
    def observe(self, image: ImageSource, **options: Unpack[Observe]) -> Faces[Observed]:
        """Return the faces of an image, to be enrolled by ``Enrolment.seen``: looked at once, also where they are many.

        Where the policy wants live faces, they are looked at for that too.

        Args:
            image: as in ``Recognizer.detect``.
            **options: see ``visavis.options.Observe``.

        Raises:
            SpaceMismatch, InputError: as in ``enrol``.
        """
        live: tuple[Attribute, ...] = ("liveness",) if self._bound().policy.require_live else ()
        wanted: Observe = {**options, "attributes": tuple(dict.fromkeys((*options["attributes"], *live)))}
        return value_of(next(self._eyes.observe_many([image], **wanted)))

    def reference(self, image: ImageSource) -> FloatArray:
        """Return the embedding (D,) of a person's image, by which ``like`` chooses one of the faces of another.

        Raises:
            NoFace, MultipleFaces: it shows none, or several of which none is the main one.
            InvalidFace, FaceOccluded, ChildFace: its distance to others says nothing.
            SpaceMismatch, InputError: as in ``enrol``.
        """
        gallery = self._bound()
        (seen,) = value_of(next(self._eyes.observe_many([image], faces="main")))
        embedding = check_embedding(seen.face.embedding, gallery.space.dimension)
        try:
            check_undoubted(embedding, seen.face.quality, rules_of(gallery.policy, self._eyes.pack))
        except VisavisError as error:
            raise type(error)(f"{name_of(image)}: {error}") from None
        return embedding

    @takes(EnrolEmbeddings)
    def enrol_embedding(  # noqa: PLR0913  # what is known of a face
        self,
        embedding: FloatArray,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        quality: Quality | None = None,
        source: str | None = None,
        sample_metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
        **options: Unpack[EnrolEmbeddings],
    ) -> Enrolled:
        """Enrol a face that was embedded before; everything else as in ``enrol``.

        Raises:
            InvalidEmbedding: it is none of the gallery's space.
        """
        enrolment = Enrolment(
            subject=subject,
            embedding=embedding,
            details=details,
            quality=quality,
            source=source,
            sample_metadata=sample_metadata,
            key=key,
        )
        return value_of(next(self.enrol_many([enrolment], **options)))

    @takes(Enrol)
    def enrol_many(
        self, enrolments: Iterable[Enrolment | VisavisError], **options: Unpack[Enrol]
    ) -> Iterator[Enrolled | VisavisError]:
        """Return for each enrolment, in order, what became of it, or the error that refuses it.

        Enrolments are taken from the iterable a batch at a time, 16 images, 500 embeddings or what comes within a
        second, and stored together; whatever is returned is stored for good. An error in the place of an enrolment is
        handed on. What other calls enrol at the same moment is no conflict: ``audit`` finds who was enrolled twice in
        that way.
        """
        for batch in batches(enrolments):
            gallery = self._bound()
            rules = rules_of(gallery.policy, self._eyes.pack)
            yield from Enroller(self._store, self._eyes, gallery, rules, self._origin(), options).enrol(batch)

    def import_lines(
        self, lines: Iterable[Mapping[str, Any]], *, allow_conflict: bool = True
    ) -> Iterator[Enrolled | VisavisError]:
        """Enrol what an export holds: one result for each line but the header, in order.

        Args:
            lines: with the fields of an export's lines; the header may be missing, as may all but the embedding.
            allow_conflict: as in ``enrol``.

        Raises:
            SpaceMismatch: the header names another space than the gallery's.
            InvalidOption: the header is none that is understood here.
        """
        enrolments = transfer.enrolments_of(lines, lambda space: check_space(self.record, space))
        return self.enrol_many(enrolments, allow_conflict=allow_conflict)

    @takes(Identify)
    def identify(self, image: ImageSource, **options: Unpack[Identify]) -> Faces[Identification]:
        """Tell who the faces of an image are, largest first; an empty tuple where there are none.

        Args:
            image: as in ``Recognizer.detect``.
            **options: see ``visavis.options.Identify``. A false match rate is that of a single comparison, however many
                subjects there are; ``fpir`` is that of the search.

        Raises:
            NoFace, MultipleFaces: with faces="main" or "only".
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        return value_of(next(self.identify_many([image], **options)))

    @takes(Identify)
    def identify_many(
        self, images: Iterable[ImageSource], **options: Unpack[Identify]
    ) -> Iterator[Faces[Identification] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that it would raise."""
        gallery = self._bound()
        policy = gallery.policy
        rules_of(policy, self._eyes.pack, options, searched=gallery)  # before the work of looking
        for seen in self._eyes.observe_many(images, **looking(options, policy, require_live=options["require_live"])):
            if isinstance(seen, VisavisError):
                yield seen
            else:
                found = [observed.face for observed in seen]
                vectors = [face.embedding for face in found if face.embedding is not None]
                identified = self._identify(vectors, found, options)
                if policy.review_days is not None:
                    self.review.keep(seen, identified)
                yield Faces(identified, seen.searched_from_px, seen.size_wh)

    @takes(IdentifyEmbeddings)
    def identify_embeddings(
        self, embeddings: FloatArray, **options: Unpack[IdentifyEmbeddings]
    ) -> tuple[Identification, ...]:
        """Tell who faces are that were embedded before: (P, D) of the gallery's space; else as in ``identify``.

        Raises:
            InvalidEmbedding: one is none of the gallery's space.
        """
        probes = list(check_probes(embeddings, self._bound().space.dimension))
        return self._identify(probes, [None] * len(probes), options)

    @takes(Verify)
    def verify(
        self, image: ImageSource, subject: str, *, sample: int | None = None, **options: Unpack[Verify]
    ) -> SubjectVerification:
        """Tell whether an image shows a subject, by the nearest of its samples.

        Args:
            image: as in ``Recognizer.detect``.
            subject: its ID.
            sample: of the subject, to be compared with in place of all.
            **options: see ``visavis.options.Verify``.

        Raises:
            NotLive: a live face is required, and this one looks like none.
            NoFace, MultipleFaces: the image does not show what is needed.
            SampleNotFound: the subject has no samples, or not this one.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        gallery = self._bound()
        self._subject(subject)  # before the work of looking
        self._verify_rules(gallery, options)
        look = looking(options, gallery.policy, require_live=options["require_live"])
        seen = value_of(next(self._eyes.observe_many([image], **look)))
        if not seen:
            raise NoFace("no face found")
        face = seen[0].face
        check_live(face)
        if face.embedding is None:
            raise AssertionError("faces that were observed come with embeddings")
        return self._verify(face.embedding, face, subject, options, sample)

    @takes(Threshold)
    def verify_embedding(
        self, embedding: "FloatArray | Face", subject: str, *, sample: int | None = None, **options: Unpack[Threshold]
    ) -> SubjectVerification:
        """Tell whether a face embedded before, (D,) or a ``Face``, is a subject; everything else as in ``verify``."""
        face = embedding if isinstance(embedding, Face) else None
        vector = check_embedding(face.embedding if face else embedding, self._bound().space.dimension)
        if face:
            check_live(face)
        return self._verify(vector, face, subject, options, sample)

    def subjects(self, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers, which is that of their enrolment."""
        self._expire()
        return self._store.subjects(self.name, after=after, limit=limit)

    def search_subjects(self, text: str, *, after: int = 0, limit: int = 100) -> tuple[tuple[Subject, ...], int | None]:
        """Return the next subjects whose ID or name contains a text, and the number after which to go on, or None.

        Case makes no difference. 10,000 subjects are looked at, so that no call takes long: there may be fewer than the
        limit, or none, and more to come.
        """
        self._expire()
        return transfer.subjects_named(self._store, self.name, text, after, limit)

    def similar(self, subject: str) -> tuple[Candidate, ...]:
        """Return the five subjects whose faces are nearest to a subject's, nearest first, however far they are."""
        gallery, found = self._bound(), self._subject(subject)
        self._store.log("audit", self.name, self._origin(), subjects=(found.number,), count=1)
        return audit.similar(self._store, gallery, found, rules_of(gallery.policy, self._eyes.pack, searched=gallery))

    def subject(self, subject: str) -> Subject:
        """Return a subject."""
        self._expire()
        return self._subject(subject)

    def samples(self, subject: str) -> tuple[Sample, ...]:
        """Return the samples of a subject, oldest first."""
        self.subject(subject)
        return tuple(transfer.all_samples(self._store, self.name, subject))

    def add_subject(self, subject: str, *, details: Details = NO_DETAILS) -> Subject:
        """Make a subject that has no samples yet.

        Raises:
            SubjectExists: there is one of that ID.
            ConsentMissing: the policy wants a note of consent.
        """
        gallery, origin = self._bound(), self._origin()
        if gallery.policy.consent_required and not details.consent:
            raise ConsentMissing("this gallery wants a note of consent, and has none of this subject; pass one")
        return self._store.add_subject(self.name, subject, expiring(details, gallery.policy, origin.at), origin)

    def sample(self, sample: int) -> Sample:
        """Return a sample by its number alone, or by its first one; ``SampleNotFound`` where there is none."""
        self._expire()
        found = self._store.samples(self.name, after=sample - 1, limit=1)
        if not found or found[0].id != sample:  # it may have been moved
            uses = self._store.keyed(self.name, [key_of_moved(sample)]).values()
            found = tuple(
                each for use in uses for each in self._store.samples(self.name, after=use.sample - 1, limit=1)
            )
        if not found:
            raise SampleNotFound(f"gallery {self.name!r} has no sample {sample}")
        return found[0]

    def all_samples(self, *, after: int = 0, limit: int = 100) -> tuple[Sample, ...]:
        """Return the next samples of all subjects after a number, in the order of their numbers."""
        self._expire()
        return self._store.samples(self.name, after=after, limit=limit)

    def update(
        self, subject: str, details: Details, *, new_id: str | None = None, version: int | None = None
    ) -> Subject:
        """Change what is known of a subject.

        Args:
            subject: its ID.
            details: what to change.
            new_id: the ID that it is to have; see ``rename``.
            version: that the caller knows; where the subject has another by now, nothing is changed.

        Raises:
            SubjectExists: the new ID is another subject's.
            VersionMismatch: it has changed meanwhile.
        """
        self._expire()
        origin = self._origin()
        details = within_retention(details, self.record.policy, origin.at)
        return self._store.update(self.name, subject, details, origin, new_id=new_id, version=version)

    def rename(self, subject: str, new_id: str, *, version: int | None = None) -> Subject:
        """Give a subject another ID; its number and all else stay. Arguments and errors as in ``update``."""
        return self.update(subject, NO_DETAILS, new_id=new_id, version=version)

    def picture(self, subject: str, sample: int) -> bytes:
        """Return the encoded image, or chip, that is stored with a sample.

        Raises:
            SampleNotFound: the subject has no such sample, or nothing is stored with it.
        """
        self._expire()
        number = self._sample_of(subject, sample).number
        picture = self._store.picture(self.name, sample)
        if picture is None:
            raise SampleNotFound(f"nothing is stored of the image of sample {sample}")
        self._store.log("picture", self.name, self._origin(), subjects=(number,), count=1)
        return picture

    def best_picture(self, subject: str) -> bytes:
        """Return the sharpest of the pictures that are stored of a subject; else as ``picture``."""
        stored = [sample for sample in self.samples(subject) if sample.picture != "nothing" and not sample.counter]
        if not stored:
            raise SampleNotFound(f"nothing is stored of the images of {subject!r}")
        best = max(stored, key=lambda sample: sample.quality.sharpness if sample.quality else 0.0)
        return self.picture(subject, best.id)

    def merge(self, subject: str, into: str) -> Subject:
        """Give all samples of one subject to another, with their pictures, and forget the first.

        Args:
            subject: the ID of the one that goes, with its name, metadata and consent note.
            into: the ID of the one that stays.

        Returns:
            The one that stays.

        Raises:
            InvalidOption: both are one.
            ConsentMissing: the policy wants a note of consent, and there is none of the one that stays.
        """
        return self._move(subject, into, None)

    def move(self, subject: str, samples: Sequence[int], into: str) -> Subject:
        """Give samples of one subject to another, with their pictures; they get new numbers. Both subjects stay.

        Returns:
            The other one.

        Raises:
            SampleNotFound: a sample is not the subject's.
            InvalidOption, ConsentMissing: as in ``merge``.
        """
        return self._move(subject, into, samples)

    def split(
        self, subject: str, samples: Sequence[int], *, into: str | None = None, details: Details = NO_DETAILS
    ) -> Subject:
        """Give samples of one subject to a new one, with their pictures; they get new numbers. The first one stays.

        Args:
            subject: its ID.
            samples: their numbers.
            into: the ID that the new one is to have; None for a random one.
            details: of the new one. Unless they say when, it is forgotten when the first one is.

        Returns:
            The new one.

        Raises:
            SubjectExists: there is one of that ID.
            SampleNotFound: a sample is not the subject's.
            ConsentMissing: the policy wants a note of consent, and the details have none.
        """
        policy, origin, until = self.record.policy, self._origin(), self.subject(subject).expires_at
        if policy.consent_required and not details.consent:
            raise ConsentMissing("this gallery wants a note of consent for the new subject, too")
        details = within_retention(replace(details, expires_at=details.expires_at or until), policy, origin.at)
        into = new_subject_id(None) if into is None else into
        return self._store.move(self.name, subject, into, origin, samples=samples, new=details)

    def _move(self, subject: str, into: str, samples: Sequence[int] | None) -> Subject:
        self._expire()
        if self.record.policy.consent_required and not self._subject(into).consent:
            raise ConsentMissing(f"this gallery wants a note of consent, and has none of {into!r}; give one first")
        if samples is None and normal(subject) != normal(into):
            wrong = audit.settled_counters(self._store, self.record, (subject, into), self._eyes.pack.threshold)
            if wrong:
                self._store.forget_samples(self.name, wrong, self._origin())
        return self._store.move(self.name, subject, into, self._origin(), samples=samples)

    def forget_sample(self, subject: str | None, sample: int) -> Receipt:
        """Forget a sample, also a damaged one; its subject stays.

        Args:
            subject: the ID of the one that it must be of; None for whoever has it.
            sample: its number.

        Raises:
            SampleNotFound: there is no such sample.
        """
        gallery, origin = self.record, self._origin()
        erased = self._store.forget_samples(self.name, [sample], origin, subject=subject)
        if not erased.samples:
            holder = f"gallery {self.name!r}" if subject is None else f"subject {subject!r}"
            raise SampleNotFound(f"{holder} has no sample {sample}")
        return Receipt.of(gallery, subject, erased, origin)

    def forget_subject(self, subject: str, *, version: int | None = None) -> Receipt:
        """Forget a subject with all its samples, all that is known of it, and what waits for review and resembles it.

        Args:
            subject: its ID.
            version: that the caller knows; where the subject has another by now, nothing is forgotten.

        Raises:
            VersionMismatch: it has changed meanwhile.
        """
        gallery, origin = self.record, self._origin()
        erased = self._store.forget_subjects(self.name, [subject], origin, version=version)
        if not erased.subjects:
            raise SubjectNotFound(f"gallery {self.name!r} has no subject {subject!r}")
        waiting = self.review.forget_resembling(erased.subjects, origin)
        return Receipt.of(gallery, subject, _together(erased, waiting), origin)

    def forget(self) -> Receipt:
        """Forget the gallery with everybody in it; where it is encrypted, destroy its key."""
        origin = self._origin()
        found = [each for each in self._store.galleries() if each.name == self.name]  # also a locked or damaged one
        gallery = found[0] if found else self.record
        erased = _together(self.review.forget(origin=origin), self._store.drop(self.name, origin))
        return Receipt.of(gallery, None, erased, origin)

    def check(self, *, quick: bool = False) -> GalleryCheck:
        """Look for what is damaged, which every other method leaves out where it can; large galleries take long.

        Args:
            quick: whether to look only at some of it.
        """
        found, *waiting = self._with_queue(lambda name: self._store.check(name, quick=quick))
        return replace(found, damaged=(*found.damaged, *(each for one in waiting for each in one.damaged)))

    def forget_damaged(self) -> Receipt:
        """Forget the samples and the subjects that ``check`` finds to be damaged."""
        gallery, origin, damaged = self.record, self._origin(), self.check().damaged
        samples = {each.sample for each in damaged if each.sample is not None}
        subjects = {each.subject for each in damaged if each.sample is None and each.subject is not None}
        some = self._with_queue(lambda name: self._store.forget_samples(name, samples, origin))
        others = self._with_queue(lambda name: self._store.forget_subjects(name, subjects, origin))
        return Receipt.of(gallery, None, _together(*some, *others), origin)

    def rekey(self) -> Gallery:
        """Give an encrypted gallery a new key, and encrypt all of it anew, while others go on.

        Interrupted, it can be called again.

        Raises:
            InvalidOption: it is not encrypted.
        """
        return self._with_queue(lambda name: self._store.rekey(name, self._origin()))[0]

    def export(self, *, pictures: bool = False) -> Iterator[dict[str, Any]]:
        """Return a header and a line for each sample, ready for JSON; ``import_lines`` takes them.

        Args:
            pictures: whether to include what is stored of images, in base64.
        """
        self._expire()
        gallery, origin = self.record, self._origin()
        self._store.log("export", self.name, origin, count=gallery.samples)
        return transfer.export_lines(self._store, gallery, origin.at, pictures=pictures)

    def export_subject(self, subject: str) -> dict[str, Any]:
        """Return all that is stored of a subject, with pictures and its entries in the log: for the person itself."""
        found = self.subject(subject)
        self._store.log("export", self.name, self._origin(), subjects=(found.number,), count=found.samples)
        return transfer.subject_export(self._store, self.record, found)

    def entries(self, *, after: int = 0, limit: int = 100, newest_first: bool = False) -> tuple[LogEntry, ...]:
        """Return the next entries of the gallery's log after a number; or before it, 0 being the end."""
        return self._store.entries(self.name, after=after, limit=limit, newest_first=newest_first)

    def audit(self) -> AuditReport:
        """Look for what should be mended: it searches the gallery for each of its samples, so large ones take long."""
        gallery = self._bound()
        self._store.log("audit", self.name, self._origin(), count=gallery.samples)
        return audit.audit(self._store, gallery, rules_of(gallery.policy, self._eyes.pack))

    def _with_queue(self, act: Callable[[str], _Result]) -> list[_Result]:
        """Do something with the gallery and then with its review queue, if there is one, by their names."""
        done = [act(self.name)]
        with suppress(GalleryNotFound):
            done.append(act(self.review.queue))
        return done

    def _expire(self) -> None:
        """Forget those whose time is over before anything else is done."""
        self._store.expire(self.name, self._origin())

    def _bound(self) -> Gallery:
        """Return the gallery after forgetting whose time is over.

        Raises:
            SpaceMismatch: the Recognizer's embeddings are of another space.
        """
        self._expire()
        gallery = self.record
        check_space(gallery, self._eyes.pack.space.id)
        return gallery

    def _subject(self, subject: str) -> Subject:
        found = self._store.subject(self.name, subject)
        if found is None:
            raise SubjectNotFound(f"gallery {self.name!r} has no subject {subject!r}")
        return found

    def _sample_of(self, subject: str, sample: int) -> Subject:
        """Return the subject, which has the sample."""
        found = self._subject(subject)
        samples = self._store.samples(self.name, subject=subject, after=sample - 1, limit=1)
        if not samples or samples[0].id != sample:
            raise SampleNotFound(f"subject {subject!r} has no sample {sample}")
        return found

    def _identify(
        self, probes: list[FloatArray], faces: Sequence[Face | None], options: IdentifyEmbeddings
    ) -> tuple[Identification, ...]:
        gallery, limit = self._bound(), options["limit"]
        rules = rules_of(gallery.policy, self._eyes.pack, options, searched=gallery)
        number = min(limit, rules.most_candidates) + 1
        vectors, single = np.array(probes, np.float32), options["group_by"] == "sample"
        subjects = min(number, _DECIDING) if single else number
        found = self._store.search(self.name, vectors, subjects, templates=True) if probes else ()
        identifications = tuple(
            identify(matches, rules, face, limit, probe)
            for probe, matches, face in zip(probes, found, faces, strict=True)
        )
        if single and probes:
            found = self._store.search(self.name, vectors, number, single=True)
            pairs = zip(identifications, found, strict=True)
            identifications = tuple(by_sample(each, matches, rules, limit) for each, matches in pairs)
        matched = dict.fromkeys(each.match.subject_number for each in identifications if each.match)
        self._log_search("identify", gallery.policy, tuple(matched), len(probes))
        return identifications

    def _verify(  # a face, and what it is held against
        self, probe: FloatArray, face: Face | None, subject: str, options: Threshold, only: int | None = None
    ) -> SubjectVerification:
        gallery = self._bound()
        rules = self._verify_rules(gallery, options)
        number = self._subject(subject).number
        every = transfer.all_samples(self._store, self.name, subject)
        samples = tuple(each for each in every if each.counter or only in (None, each.id))
        if all(sample.counter for sample in samples):
            raise SampleNotFound(
                f"subject {subject!r} has no {'samples; enrol one' if only is None else 'such sample'}"
            )
        verification = verify(probe, face, samples, rules)
        self._log_search("verify", gallery.policy, (number,), 1)
        return verification

    def _verify_rules(self, gallery: Gallery, asked: Threshold) -> Rules:
        pack = self._eyes.pack
        return rules_of(gallery.policy, pack, asked, threshold=pack.threshold)

    def _log_search(self, action: str, policy: Policy, subjects: Sequence[int], count: int) -> None:
        """Log a search, where the policy wants that; its answer is given only then."""
        if not policy.log_searches:
            return
        try:
            self._store.log(action, self.name, self._origin(), subjects=subjects, count=count)
        except (StoreFull, StoreReadOnly) as error:
            if not policy.search_unlogged:
                raise
            _log.warning("gallery %s: %s was not logged (%s)", self.name, action, error.code)


def _together(*every: Erased) -> Erased:
    return Erased(
        subjects=tuple(sorted({number for each in every for number in each.subjects})),
        samples=sum(each.samples for each in every),
        overwritten=all(each.overwritten for each in every),
    )
