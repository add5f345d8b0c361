"""One gallery: enrol, identify, verify, forget, and its records."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from visavis.core.decide import Rule
from visavis.errors import InvalidOption, NoFace, SampleNotFound, SubjectNotFound, VisavisError
from visavis.galleries.checks import check_embedding, check_probes
from visavis.galleries.records import NO_DETAILS, Details, Erased, Gallery, LogEntry, Origin, Sample, Subject
from visavis.galleries.store import Store
from visavis.models.recognizer import choose_rule, value_of
from visavis.options import EnrolFaces, FacesPolicy, Policy, Rate
from visavis.service import audit, transfer
from visavis.service.decisions import (
    candidates_of,
    check_live,
    check_policy,
    check_space,
    identify,
    rules_of,
    verify,
    wanted_attributes,
    within_retention,
)
from visavis.service.enroller import Enroller, Enrolment, batches
from visavis.service.observer import Eyes
from visavis.service.results import AuditReport, Enrolled, Identification, Receipt, SubjectVerification
from visavis.types import Face, FloatArray, ImageSource, Quality


class GalleryKeeping:
    """The records of a gallery by its name."""

    def __init__(self, store: Store, name: str, origin: Callable[[], Origin]) -> None:
        """Name a gallery; use ``Galleries.open``."""
        self.name = name
        self._store = store
        self._origin = origin

    @property
    def record(self) -> Gallery:
        """What is known of the gallery as a whole."""
        return self._store.gallery(self.name)

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy; what is enrolled already stays."""
        return self._store.set_policy(self.name, policy, self._origin())

    def subjects(self, *, after: int = 0, limit: int = 100) -> tuple[Subject, ...]:
        """Return the next subjects after a number, in the order of their numbers, which is that of their enrolment."""
        self._expire()
        return self._store.subjects(self.name, after=after, limit=limit)

    def subject(self, subject: str) -> Subject:
        """Return a subject.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        self._expire()
        return self._subject(subject)

    def samples(self, subject: str) -> tuple[Sample, ...]:
        """Return the samples of a subject, oldest first.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        self.subject(subject)
        return tuple(transfer.all_samples(self._store, self.name, subject))

    def update(self, subject: str, details: Details, *, version: int | None = None) -> Subject:
        """Change what is known of a subject.

        Args:
            subject: its ID.
            details: what to change.
            version: that the caller knows; where the subject has another by now, nothing is changed.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: it has changed meanwhile.
        """
        self._expire()
        origin = self._origin()
        details = within_retention(details, self.record.policy, origin.at)
        return self._store.update(self.name, subject, details, origin, version=version)

    def picture(self, subject: str, sample: int) -> bytes:
        """Return the encoded image, or chip, that is stored with a sample.

        Raises:
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: the subject has no such sample, or nothing is stored with it.
        """
        self._expire()
        number = self._sample_of(subject, sample).number
        picture = self._store.picture(self.name, sample)
        if picture is None:
            raise SampleNotFound(f"nothing is stored of the image of sample {sample}")
        self._store.log("picture", self.name, self._origin(), subjects=(number,), count=1)
        return picture

    def forget_sample(self, subject: str, sample: int) -> Receipt:
        """Forget a sample; its subject stays.

        Raises:
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: it has no such sample.
        """
        gallery = self.record
        self._sample_of(subject, sample)
        origin = self._origin()
        erased = self._store.forget_samples(self.name, [sample], origin)
        if not erased.samples:  # somebody else was faster
            raise SampleNotFound(f"subject {subject!r} has no sample {sample}")
        return _receipt(gallery, subject, erased, origin)

    def forget_subject(self, subject: str, *, version: int | None = None) -> Receipt:
        """Forget a subject with all its samples and all that is known of it.

        Args:
            subject: its ID.
            version: that the caller knows; where the subject has another by now, nothing is forgotten.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: it has changed meanwhile.
        """
        gallery, origin = self.record, self._origin()
        erased = self._store.forget_subjects(self.name, [subject], origin, version=version)
        if not erased.subjects:
            raise SubjectNotFound(f"gallery {self.name!r} has no subject {subject!r}")
        return _receipt(gallery, subject, erased, origin)

    def forget(self) -> Receipt:
        """Forget the gallery with everybody in it; where it is encrypted, destroy its key."""
        gallery, origin = self.record, self._origin()
        return _receipt(gallery, None, self._store.drop(self.name, origin), origin)

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
        """Return all that is stored of a subject, with pictures and its entries in the log: for the person itself.

        Raises:
            SubjectNotFound: there is none of that ID.
        """
        found = self.subject(subject)
        self._store.log("export", self.name, self._origin(), subjects=(found.number,), count=found.samples)
        return transfer.subject_export(self._store, self.record, found)

    def entries(self, *, after: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """Return the next entries of the gallery's log after a number."""
        return self._store.entries(self.name, after=after, limit=limit)

    def _expire(self) -> None:
        """Forget those whose time is over before anything else is done."""
        self._store.expire(self.name, self._origin())

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


def _receipt(gallery: Gallery, subject: str | None, erased: Erased, origin: Origin) -> Receipt:
    return Receipt(
        gallery=gallery.name,
        gallery_number=gallery.number,
        subject=subject,
        subjects=erased.subjects,
        samples=erased.samples,
        forgotten_at=origin.at,
        actor=origin.actor,
        overwritten=erased.overwritten,
    )


class GalleryFilling(GalleryKeeping):
    """A gallery by its name, with eyes to fill it."""

    def __init__(self, store: Store, eyes: Eyes, name: str, origin: Callable[[], Origin]) -> None:
        """Name a gallery; use ``Galleries.open``."""
        super().__init__(store, name, origin)
        self._eyes = eyes

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy; what is enrolled already stays.

        Raises:
            InvalidOption: it wants live faces, and the pack, which is the gallery's, cannot tell.
        """
        if policy.require_live and self.record.space == self._eyes.pack.space:
            check_policy(policy, self._eyes.pack)
        return super().set_policy(policy)

    def enrol(  # noqa: PLR0913  # independent options
        self,
        image: ImageSource,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        source: str | None = None,
        key: str | None = None,
        faces: EnrolFaces = "only",
        min_face: float | None = None,
        allow_conflict: bool = False,
    ) -> Enrolled:
        """Enrol the face of an image.

        Args:
            image: as in ``Recognizer.detect``.
            subject: whose face it is: an ID, made if there is none of it yet; None for a new subject.
            details: of the subject, to be set with it.
            source: a label of where the image comes from.
            key: an idempotency key: the same key for the same subject enrols once, for as long as its sample is there.
            faces: "only" insists on exactly one face, "largest" takes the largest.
            min_face: the smallest face to look for, in place of the Recognizer's.
            allow_conflict: enrol the face although it already is another subject.

        Raises:
            NoFace, MultipleFaces, NotLive, FaceTooSmall, FaceBlurred, LowScore, ExtremePose: the image is not fit to be
                enrolled from.
            SubjectConflict: the face already is another subject.
            ConsentMissing: the policy wants a note of consent.
            KeyReused: the key was used for another subject.
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        enrolment = Enrolment(subject=subject, image=image, details=details, source=source, key=key)
        outcomes = self.enrol_many([enrolment], faces=faces, min_face=min_face, allow_conflict=allow_conflict)
        return value_of(next(outcomes))

    def enrol_embedding(  # noqa: PLR0913  # independent options
        self,
        embedding: FloatArray,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        quality: Quality | None = None,
        source: str | None = None,
        key: str | None = None,
        allow_conflict: bool = False,
    ) -> Enrolled:
        """Enrol a face that was embedded before; everything else as in ``enrol``.

        Raises:
            InvalidEmbedding: it is none of the gallery's space.
        """
        enrolment = Enrolment(
            subject=subject, embedding=embedding, details=details, quality=quality, source=source, key=key
        )
        return value_of(next(self.enrol_many([enrolment], allow_conflict=allow_conflict)))

    def enrol_many(
        self,
        enrolments: Iterable[Enrolment | VisavisError],
        *,
        faces: EnrolFaces = "only",
        min_face: float | None = None,
        allow_conflict: bool = False,
    ) -> Iterator[Enrolled | VisavisError]:
        """Return for each enrolment, in order, what became of it, or the error that refuses it.

        Enrolments are taken from the iterable a batch at a time, 16 images or 500 embeddings, and stored together;
        whatever is returned is stored for good. An error in the place of an enrolment is handed on. What other calls
        enrol at the same moment is no conflict: ``audit`` finds who was enrolled twice in that way.
        """
        if faces not in ("only", "largest"):
            raise InvalidOption(f"faces must be only or largest, not {faces!r}")
        return self._enrol_batches(enrolments, faces, min_face, allow_conflict=allow_conflict)

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

    def _bound(self) -> Gallery:
        """Return the gallery after forgetting whose time is over.

        Raises:
            SpaceMismatch: the Recognizer's embeddings are of another space.
        """
        self._expire()
        gallery = self.record
        check_space(gallery, self._eyes.pack.space.id)
        return gallery

    def _enrol_batches(
        self,
        enrolments: Iterable[Enrolment | VisavisError],
        faces: EnrolFaces,
        min_face: float | None,
        *,
        allow_conflict: bool,
    ) -> Iterator[Enrolled | VisavisError]:
        for batch in batches(enrolments):
            gallery = self._bound()
            rules = rules_of(gallery.policy, self._eyes.pack)
            enroller = Enroller(
                self._store, self._eyes, gallery, rules, self._origin(), faces, min_face, allow_conflict
            )
            yield from enroller.enrol(batch)


_MOST_CANDIDATES = 1000


class OpenGallery(GalleryFilling):
    """A gallery by its name; every call sees it as it is now. Any number of threads may share one.

    Every method may raise ``GalleryNotFound`` where it was forgotten meanwhile, and a ``SetupError`` where the store
    cannot be used. Whose time is over is forgotten before anything else is done.
    """

    def identify(  # noqa: PLR0913  # independent options
        self,
        image: ImageSource,
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> tuple[Identification, ...]:
        """Tell who the faces of an image are, largest first; an empty tuple where there are none.

        Args:
            image: as in ``Recognizer.detect``.
            faces: as in ``Recognizer.detect``.
            limit: how many candidates to return for each face.
            threshold: a subject nearer than this is identified; None for the gallery's own.
            fmr: the false match rate to keep in place of a threshold, as in ``Recognizer.verify``: that of a single
                comparison. Among N subjects about N times as many strangers are taken for somebody.
            min_face: the smallest face to look for, in place of the Recognizer's.
            require_live: whether a face that looks like a print or a screen is nobody; also where the policy says so.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        found = self.identify_many(
            [image],
            faces=faces,
            limit=limit,
            threshold=threshold,
            fmr=fmr,
            min_face=min_face,
            require_live=require_live,
        )
        return value_of(next(found))

    def identify_many(  # noqa: PLR0913  # independent options
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Iterator[tuple[Identification, ...] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that it would raise."""
        policy = self._bound().policy
        rules_of(policy, self._eyes.pack, threshold=threshold, fmr=fmr)  # before the work of looking
        attributes = wanted_attributes(require_live=require_live or policy.require_live)
        for seen in self._eyes.observe_many(images, faces=faces, min_face=min_face, attributes=attributes):
            if isinstance(seen, VisavisError):
                yield seen
            else:
                found = [observed.face for observed in seen]
                vectors = [face.embedding for face in found if face.embedding is not None]
                yield self._identify(vectors, found, limit, threshold, fmr)

    def identify_embeddings(
        self, embeddings: FloatArray, *, limit: int = 5, threshold: float | None = None, fmr: Rate | None = None
    ) -> tuple[Identification, ...]:
        """Tell who faces are that were embedded before: (P, D) of the gallery's space; else as in ``identify``.

        Raises:
            InvalidEmbedding: one is none of the gallery's space.
        """
        probes = list(check_probes(embeddings, self._bound().space.dimension))
        return self._identify(probes, [None] * len(probes), limit, threshold, fmr)

    def verify(  # noqa: PLR0913  # independent options
        self,
        image: ImageSource,
        subject: str,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> SubjectVerification:
        """Tell whether an image shows a subject, by the nearest of its samples.

        Args:
            image: as in ``Recognizer.detect``.
            subject: its ID.
            faces: as in ``Recognizer.verify``.
            threshold: a sample nearer than this is the same person; None for the pack's, as in ``Recognizer.verify``.
            fmr: the false match rate to keep in place of a threshold, as in ``Recognizer.verify``.
            min_face: the smallest face to look for, in place of the Recognizer's.
            require_live: whether to refuse a face that looks like a print or a screen; also where the policy says so.

        Raises:
            NotLive: a live face is required, and this one looks like none.
            NoFace, MultipleFaces: the image does not show what is needed.
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: the subject has no samples.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        if faces not in ("largest", "only"):
            raise InvalidOption(f"faces must be largest or only, not {faces!r}")
        gallery = self._bound()
        self._subject(subject)  # before the work of looking
        rule = self._rule(threshold, fmr)
        attributes = wanted_attributes(require_live=require_live or gallery.policy.require_live)
        seen = value_of(next(self._eyes.observe_many([image], faces=faces, min_face=min_face, attributes=attributes)))
        if not seen:
            raise NoFace("no face found")
        face = seen[0].face
        check_live(face)
        if face.embedding is None:
            raise AssertionError("faces that were observed come with embeddings")
        return self._verify(face.embedding, face, subject, rule)

    def verify_embedding(
        self, embedding: FloatArray, subject: str, *, threshold: float | None = None, fmr: Rate | None = None
    ) -> SubjectVerification:
        """Tell whether a face that was embedded before is a subject; everything else as in ``verify``."""
        vector = check_embedding(embedding, self._bound().space.dimension)
        return self._verify(vector, None, subject, self._rule(threshold, fmr))

    def audit(self, *, going_on: Callable[[], bool] = lambda: True) -> AuditReport:
        """Look for what should be mended: it searches the gallery for each of its samples, so large ones take long.

        Args:
            going_on: asked again and again; where it says no, the audit ends in ``StoreUnavailable``.
        """
        gallery = self._bound()
        self._store.log("audit", self.name, self._origin(), count=gallery.samples)
        return audit.audit(self._store, gallery, rules_of(gallery.policy, self._eyes.pack), going_on)

    def _identify(
        self,
        probes: list[FloatArray],
        faces: Sequence[Face | None],
        limit: int,
        threshold: float | None,
        fmr: Rate | None,
    ) -> tuple[Identification, ...]:
        if type(limit) is not int or not 1 <= limit <= _MOST_CANDIDATES:
            raise InvalidOption(f"limit must be a whole number from 1 to {_MOST_CANDIDATES}, not {limit!r}")
        gallery = self._bound()
        rules = rules_of(gallery.policy, self._eyes.pack, threshold=threshold, fmr=fmr)
        found = self._store.search(self.name, np.array(probes, np.float32), limit + 1) if probes else ()
        identifications = tuple(
            identify(candidates_of(matches, self._eyes.pack), rules, face, limit)
            for matches, face in zip(found, faces, strict=True)
        )
        if gallery.policy.log_searches:
            matched = dict.fromkeys(each.match.subject_number for each in identifications if each.match)
            self._store.log("identify", self.name, self._origin(), subjects=tuple(matched), count=len(probes))
        return identifications

    def _verify(self, probe: FloatArray, face: Face | None, subject: str, rule: Rule) -> SubjectVerification:
        gallery = self._bound()
        number = self._subject(subject).number
        samples = tuple(transfer.all_samples(self._store, self.name, subject))
        if not samples:
            raise SampleNotFound(f"subject {subject!r} has no samples; enrol one")
        verification = verify(probe, face, samples, self._eyes.pack, rule)
        if gallery.policy.log_searches:
            self._store.log("verify", self.name, self._origin(), subjects=(number,), count=1)
        return verification

    def _rule(self, threshold: float | None, fmr: Rate | None) -> Rule:
        """Return the rule of a verification."""
        pack = self._eyes.pack
        return choose_rule(pack, Rule.at(pack.threshold), threshold=threshold, fmr=fmr)
