"""A gallery of a server, for programs that wait by standing still."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from visavis.client.conversation import VerifyOptions
from visavis.client.drivers import Driver
from visavis.client.exchange import Patience
from visavis.client.gallery_answers import ServedSample
from visavis.client.gallery_conversation import GalleryConversation
from visavis.client.gallery_options import About, EnrolOptions, SearchOptions
from visavis.errors import VisavisError
from visavis.galleries.records import NO_DETAILS, Details, Gallery, LogEntry, Subject
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.results import AuditReport, Enrolled, Identification, Receipt, SubjectVerification
from visavis.types import FloatArray, ImageSource, Quality

if TYPE_CHECKING:
    from visavis.options import FacesPolicy, Rate


class GalleryClient:
    """Does with a gallery of a server what the library does with one that is opened here; made by ``Client.gallery``.

    Any number of threads may share one. Arguments, results and errors are the library's own; what else the server may
    say is a ``ServerError``, as everywhere in the client. Every method may raise ``GalleryNotFound``.

    Enrolling is tried again when the connection breaks, and nothing is enrolled twice. Forgetting, and changing what
    must have a certain version, is not: a second try would find it done. It ends in ``ServerUnreachable`` then, and
    ``subject``, ``record`` or ``entries`` tell whether it was done.
    """

    def __init__(self, name: str, driver: Driver, patience: Patience) -> None:
        self.name = name
        self._talk = GalleryConversation(name, patience)
        self._driver = driver

    def record(self) -> Gallery:
        """Return the gallery as it is now."""
        return self._driver.run(self._talk.record())

    def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy."""
        return self._driver.run(self._talk.set_policy(policy))

    def forget(self) -> Receipt:
        """Forget the gallery with all that it holds."""
        return self._driver.run(self._talk.forget())

    def enrol(  # noqa: PLR0913  # independent options, as in the library
        self,
        image: ImageSource,
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        source: str | None = None,
        key: str | None = None,
        faces: Literal["only", "largest"] = "only",
        min_face: float | None = None,
        allow_conflict: bool = False,
    ) -> Enrolled:
        """Enrol the face of an image.

        Args:
            image: that shows it.
            subject: whose face it is; None for a new subject with a random ID.
            details: of the subject.
            source: a label of where the image came from.
            key: an idempotency key of up to 180 printable ASCII characters: under one key, one enrolment. Without one,
                tries of this call are one enrolment, and so the answer to a second try may be ``repeated``.
            faces: "only" where there must be no other face, or "largest".
            min_face: the smallest face to look for.
            allow_conflict: whether to enrol a face that already is another subject.

        Raises:
            NoFace, MultipleFaces, NotLive, FaceTooSmall, FaceBlurred, LowScore, ExtremePose, ConsentMissing,
                SubjectConflict: it is refused.
            KeyReused: the key belongs to another enrolment.
            InputError: the image cannot be used, or an argument is out of its range.
        """
        about = About(subject, details, source, key)
        options = EnrolOptions(faces, min_face, allow_conflict)
        return self._driver.run(self._talk.enrol(image, about, options))

    def enrol_embedding(  # noqa: PLR0913  # likewise
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
        """Enrol an embedding of the gallery's space; everything else as in ``enrol``."""
        about = About(subject, details, source, key)
        steps = self._talk.enrol_embedding(embedding, quality, about, allow_conflict=allow_conflict)
        return self._driver.run(steps)

    def enrol_many(
        self,
        enrolments: Iterable[Enrolment | VisavisError],
        *,
        faces: Literal["only", "largest"] = "only",
        min_face: float | None = None,
        allow_conflict: bool = False,
    ) -> Iterator[Enrolled | VisavisError]:
        """Enrol many, and return for each, in order, what became of it, or the error that refused it.

        They are taken from the iterable, sent and stored together: up to 16 with images, or 500 with embeddings. An
        error in the place of an enrolment is handed on.

        Raises (the iterator):
            VisavisError: not an enrolment failed but a whole call. What came before is enrolled.
        """
        return self._driver.each(self._talk.enrol_many(enrolments, EnrolOptions(faces, min_face, allow_conflict)))

    def identify(  # noqa: PLR0913  # likewise
        self,
        image: ImageSource,
        *,
        faces: "FacesPolicy" = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: "Rate | None" = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> tuple[Identification, ...]:
        """Say who the faces of an image are; an empty tuple where there are none.

        Args:
            image: to be looked at.
            faces: "all", "largest" or "only", as in ``Client.detect``.
            limit: how many candidates to name for each.
            threshold: a subject nearer than this is identified; None for the gallery's own.
            fmr: the false match rate of a comparison to keep in place of a threshold, as in ``OpenGallery.identify``.
            min_face: the smallest face to look for.
            require_live: whether a face that looks like a print or a screen is nobody; also where the policy says so.
        """
        options = SearchOptions(faces, limit, threshold, fmr, min_face, require_live)
        return self._driver.run(self._talk.identify(image, options))

    def identify_many(  # noqa: PLR0913  # likewise
        self,
        images: Iterable[ImageSource],
        *,
        faces: "FacesPolicy" = "all",
        limit: int = 5,
        threshold: float | None = None,
        fmr: "Rate | None" = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Iterator[tuple[Identification, ...] | VisavisError]:
        """Return for each image, in order, what ``identify`` returns, or the error that its image is.

        Images are taken from the iterable up to 16 at a time, and sent together.

        Raises (the iterator):
            VisavisError: not an image failed but a whole call.
        """
        options = SearchOptions(faces, limit, threshold, fmr, min_face, require_live)
        return self._driver.each(self._talk.identify_many(images, options))

    def identify_embeddings(
        self, embeddings: FloatArray, *, limit: int = 5, threshold: float | None = None, fmr: "Rate | None" = None
    ) -> tuple[Identification, ...]:
        """Say whose embeddings (P, D) these are; one answer for each, in order."""
        return self._driver.run(self._talk.identify_embeddings(embeddings, limit=limit, threshold=threshold, fmr=fmr))

    def verify(  # noqa: PLR0913  # likewise
        self,
        image: ImageSource,
        subject: str,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: "Rate | None" = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> SubjectVerification:
        """Tell whether the face of an image is a subject; options as in ``OpenGallery.verify``.

        Raises:
            NotLive: a live face is required, and this one looks like none.
            NoFace, MultipleFaces: there is not the one face that is needed.
            SubjectNotFound, SampleNotFound: there is no such subject, or it has no samples.
        """
        options = VerifyOptions(faces, threshold, fmr, min_face=min_face, require_live=require_live)
        return self._driver.run(self._talk.verify(image, subject, options))

    def verify_embedding(
        self, embedding: FloatArray, subject: str, *, threshold: float | None = None, fmr: "Rate | None" = None
    ) -> SubjectVerification:
        """Tell whether an embedding is a subject's; everything else as in ``verify``."""
        return self._driver.run(self._talk.verify_embedding(embedding, subject, threshold=threshold, fmr=fmr))

    def subjects(self) -> Iterator[Subject]:
        """Return the subjects, in the order of their enrolment; asked for a page at a time."""
        return self._driver.each(self._talk.subjects())

    def subject(self, subject: str) -> Subject:
        """Return the subject of that ID.

        Raises:
            SubjectNotFound: there is none.
        """
        return self._driver.run(self._talk.subject(subject))

    def samples(self, subject: str) -> tuple[ServedSample, ...]:
        """Return a subject's samples, without their embeddings: those are in exports only."""
        return self._driver.run(self._talk.samples(subject))

    def update(self, subject: str, details: Details, *, version: int | Subject | None = None) -> Subject:
        """Change what is known of a subject.

        Args:
            subject: its ID.
            details: that are to be changed.
            version: that it must still have; or the subject as it was read, which also tells it from one that was
                forgotten and enrolled anew under the same ID.

        Raises:
            SubjectNotFound: there is none of that ID.
            VersionMismatch: it has changed.
        """
        return self._driver.run(self._talk.update(subject, details, version))

    def picture(self, subject: str, sample: int) -> bytes:
        """Return what is stored of a sample's image, encoded.

        Raises:
            SubjectNotFound, SampleNotFound: there is no such sample, or nothing is stored of its image.
        """
        return self._driver.run(self._talk.picture(subject, sample))

    def forget_sample(self, subject: str, sample: int) -> Receipt:
        """Forget a sample of a subject.

        Raises:
            SubjectNotFound, SampleNotFound: there is none, or not any more.
        """
        return self._driver.run(self._talk.forget_sample(subject, sample))

    def forget_subject(self, subject: str, *, version: int | Subject | None = None) -> Receipt:
        """Forget a subject with all samples; ``version`` and errors as in ``update``."""
        return self._driver.run(self._talk.forget_subject(subject, version))

    def export(self, *, pictures: bool = False) -> Iterator[dict[str, Any]]:
        """Return the gallery as lines: a header, then one for each sample; read from the server as they are taken."""
        return self._driver.each(self._talk.export(pictures=pictures))

    def export_subject(self, subject: str) -> dict[str, Any]:
        """Return all that is known of a subject, as a person may ask for it: embeddings, pictures and log included."""
        return self._driver.run(self._talk.export_subject(subject))

    def import_lines(
        self, lines: Iterable[Mapping[str, Any]], *, allow_conflict: bool = True
    ) -> Iterator[Enrolled | VisavisError]:
        """Enrol what ``export`` returned; a result for each line that has a face, everything else as in ``enrol_many``.

        Lines that have a key may be imported again without being enrolled twice.

        Raises (the iterator):
            SpaceMismatch: the header tells of another embedding space than the gallery's.
        """
        return self._driver.each(self._talk.import_lines(lines, allow_conflict=allow_conflict))

    def audit(self) -> AuditReport:
        """Return what there is to mend: in a large gallery that takes longer than ``timeout_s`` may allow."""
        return self._driver.run(self._talk.audit())

    def entries(self) -> Iterator[LogEntry]:
        """Return the gallery's log, oldest first; asked for a page at a time."""
        return self._driver.each(self._talk.entries())
