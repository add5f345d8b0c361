"""Filling a gallery: enrolment, one by one and many at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from visavis.errors import InvalidOption, VisavisError
from visavis.galleries.records import NO_DETAILS, Details, Gallery, Origin, Policy
from visavis.galleries.store import Store
from visavis.models.recognizer import value_of
from visavis.service import transfer
from visavis.service.decisions import check_policy, check_space, rules_of
from visavis.service.enroller import Enroller
from visavis.service.enrolment import EnrolFaces, Enrolment, batches
from visavis.service.eyes import Eyes
from visavis.service.keeping import GalleryKeeping
from visavis.service.results import Enrolled
from visavis.types import FloatArray, ImageSource, Quality


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
