"""One gallery: enrol, identify, verify, forget."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from visavis.errors import InvalidOption, NoFace, SampleNotFound, VisavisError
from visavis.galleries.base import Store
from visavis.galleries.checks import check_embedding, check_probes
from visavis.galleries.records import NO_DETAILS, Details, Gallery, Origin
from visavis.models.finding import FacesPolicy
from visavis.service import hygiene, transfer
from visavis.service.decisions import candidates_of, check_space, identify, rules_of, verify
from visavis.service.enroller import Enroller
from visavis.service.enrolment import EnrolFaces, Enrolment, batches
from visavis.service.eyes import Eyes
from visavis.service.keeping import GalleryKeeping
from visavis.service.reports import AuditReport
from visavis.service.results import Enrolled, Identification, SubjectVerification
from visavis.types import Face, FloatArray, ImageSource, Quality

_MOST_CANDIDATES = 1000
_Result = TypeVar("_Result")


class OpenGallery(GalleryKeeping):
    """A gallery by its name; every call sees it as it is now. Any number of threads may share one.

    Every method may raise ``GalleryNotFound`` where it was forgotten meanwhile, and a ``SetupError`` where the store
    cannot be used. Whose time is over is forgotten before anything else is done.
    """

    def __init__(self, store: Store, eyes: Eyes, name: str, origin: Callable[[], Origin]) -> None:
        """Name a gallery; use ``Galleries.open``."""
        super().__init__(store, name, origin)
        self._eyes = eyes

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
            NoFace, MultipleFaces, FaceTooSmall, FaceBlurred, LowScore: the image is not fit to be enrolled from.
            SubjectConflict: the face already is another subject.
            ConsentMissing: the policy wants a note of consent.
            KeyReused: the key was used for another subject.
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        enrolment = Enrolment(subject=subject, image=image, details=details, source=source, key=key)
        return _value(self.enrol_many([enrolment], faces=faces, min_face=min_face, allow_conflict=allow_conflict))

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
        return _value(self.enrol_many([enrolment], allow_conflict=allow_conflict))

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

    def identify(
        self,
        image: ImageSource,
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        min_face: float | None = None,
    ) -> tuple[Identification, ...]:
        """Tell who the faces of an image are, largest first; an empty tuple where there are none.

        Args:
            image: as in ``Recognizer.detect``.
            faces: as in ``Recognizer.detect``.
            limit: how many candidates to return for each face.
            threshold: a subject nearer than this is identified; None for the gallery's own.
            min_face: the smallest face to look for, in place of the Recognizer's.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            SpaceMismatch: the gallery holds embeddings of another pack.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        return _value(self.identify_many([image], faces=faces, limit=limit, threshold=threshold, min_face=min_face))

    def identify_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        limit: int = 5,
        threshold: float | None = None,
        min_face: float | None = None,
    ) -> Iterator[tuple[Identification, ...] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that it would raise."""
        self._bound()
        for seen in self._eyes.observe_many(images, faces=faces, min_face=min_face):
            if isinstance(seen, VisavisError):
                yield seen
            else:
                found = [observed.face for observed in seen]
                vectors = [face.embedding for face in found if face.embedding is not None]
                yield self._identify(vectors, found, limit, threshold)

    def identify_embeddings(
        self, embeddings: FloatArray, *, limit: int = 5, threshold: float | None = None
    ) -> tuple[Identification, ...]:
        """Tell who faces are that were embedded before: (P, D) of the gallery's space; else as in ``identify``.

        Raises:
            InvalidEmbedding: one is none of the gallery's space.
        """
        probes = list(check_probes(embeddings, self._bound().space.dimension))
        return self._identify(probes, [None] * len(probes), limit, threshold)

    def verify(
        self,
        image: ImageSource,
        subject: str,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        min_face: float | None = None,
    ) -> SubjectVerification:
        """Tell whether an image shows a subject, by the nearest of its samples.

        Args:
            image: as in ``Recognizer.detect``.
            subject: its ID.
            faces: as in ``Recognizer.verify``.
            threshold: a sample nearer than this is the same person; None for the pack's, as in ``Recognizer.verify``.
            min_face: the smallest face to look for, in place of the Recognizer's.

        Raises:
            NoFace, MultipleFaces: the image does not show what is needed.
            SubjectNotFound: there is no subject of that ID.
            SampleNotFound: the subject has no samples.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        if faces not in ("largest", "only"):
            raise InvalidOption(f"faces must be largest or only, not {faces!r}")
        self._bound()
        self._subject(subject)  # before the work of looking
        seen = _value(self._eyes.observe_many([image], faces=faces, min_face=min_face))
        if not seen:
            raise NoFace("no face found")
        face = seen[0].face
        if face.embedding is None:
            raise AssertionError("faces that were observed come with embeddings")
        return self._verify(face.embedding, face, subject, threshold)

    def verify_embedding(
        self, embedding: FloatArray, subject: str, *, threshold: float | None = None
    ) -> SubjectVerification:
        """Tell whether a face that was embedded before is a subject; everything else as in ``verify``."""
        vector = check_embedding(embedding, self._bound().space.dimension)
        return self._verify(vector, None, subject, threshold)

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

    def audit(self, *, going_on: Callable[[], bool] = lambda: True) -> AuditReport:
        """Look for what should be mended: it searches the gallery for each of its samples, so large ones take long.

        Args:
            going_on: asked again and again; where it says no, the audit ends in ``StoreUnavailable``.
        """
        gallery = self._bound()
        self._store.log("audit", self.name, self._origin(), count=gallery.samples)
        return hygiene.audit(self._store, gallery, rules_of(gallery.policy, self._eyes.pack), going_on)

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

    def _identify(
        self, probes: list[FloatArray], faces: Sequence[Face | None], limit: int, threshold: float | None
    ) -> tuple[Identification, ...]:
        if type(limit) is not int or not 1 <= limit <= _MOST_CANDIDATES:
            raise InvalidOption(f"limit must be a whole number from 1 to {_MOST_CANDIDATES}, not {limit!r}")
        gallery = self._bound()
        rules = rules_of(gallery.policy, self._eyes.pack, threshold)
        found = self._store.search(self.name, np.array(probes, np.float32), limit + 1) if probes else ()
        identifications = tuple(
            identify(candidates_of(matches, self._eyes.pack), rules, face, limit)
            for matches, face in zip(found, faces, strict=True)
        )
        if gallery.policy.log_searches:
            matched = dict.fromkeys(each.match.subject_number for each in identifications if each.match)
            self._store.log("identify", self.name, self._origin(), subjects=tuple(matched), count=len(probes))
        return identifications

    def _verify(
        self, probe: FloatArray, face: Face | None, subject: str, threshold: float | None
    ) -> SubjectVerification:
        gallery = self._bound()
        number = self._subject(subject).number
        samples = tuple(transfer.all_samples(self._store, self.name, subject))
        if not samples:
            raise SampleNotFound(f"subject {subject!r} has no samples; enrol one")
        verification = verify(probe, face, samples, self._eyes.pack, threshold)
        if gallery.policy.log_searches:
            self._store.log("verify", self.name, self._origin(), subjects=(number,), count=1)
        return verification


def _value(results: Iterator[_Result | VisavisError]) -> _Result:
    result = next(results)
    if isinstance(result, VisavisError):
        raise result
    return result
