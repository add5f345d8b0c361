"""A gallery of a server, for asynchronous programs."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from visavis.client.conversation import VerifyOptions
from visavis.client.drivers import AsyncDriver
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


class AsyncGalleryClient:
    """``GalleryClient`` for asynchronous programs: the same arguments, methods, results and errors.

    Files are read, and images encoded, in a thread of their own. Made by ``AsyncClient.gallery``.
    """

    def __init__(self, name: str, driver: AsyncDriver, patience: Patience) -> None:
        self.name = name
        self._talk = GalleryConversation(name, patience)
        self._driver = driver

    async def record(self) -> Gallery:
        """Return the gallery as it is now: see ``GalleryClient.record``."""
        return await self._driver.run(self._talk.record())

    async def set_policy(self, policy: Policy) -> Gallery:
        """Replace the policy: see ``GalleryClient.set_policy``."""
        return await self._driver.run(self._talk.set_policy(policy))

    async def forget(self) -> Receipt:
        """Forget the gallery: see ``GalleryClient.forget``."""
        return await self._driver.run(self._talk.forget())

    async def enrol(  # noqa: PLR0913  # likewise
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
        """Enrol the face of an image: see ``GalleryClient.enrol``."""
        about = About(subject, details, source, key)
        options = EnrolOptions(faces, min_face, allow_conflict)
        return await self._driver.run(self._talk.enrol(image, about, options))

    async def enrol_embedding(  # noqa: PLR0913  # likewise
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
        """Enrol an embedding: see ``GalleryClient.enrol_embedding``."""
        about = About(subject, details, source, key)
        steps = self._talk.enrol_embedding(embedding, quality, about, allow_conflict=allow_conflict)
        return await self._driver.run(steps)

    def enrol_many(
        self,
        enrolments: Iterable[Enrolment | VisavisError],
        *,
        faces: Literal["only", "largest"] = "only",
        min_face: float | None = None,
        allow_conflict: bool = False,
    ) -> AsyncIterator[Enrolled | VisavisError]:
        """Enrol many: see ``GalleryClient.enrol_many``."""
        return self._driver.each(self._talk.enrol_many(enrolments, EnrolOptions(faces, min_face, allow_conflict)))

    async def identify(  # noqa: PLR0913  # likewise
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
        """Say who the faces of an image are: see ``GalleryClient.identify``."""
        options = SearchOptions(faces, limit, threshold, fmr, min_face, require_live)
        return await self._driver.run(self._talk.identify(image, options))

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
    ) -> AsyncIterator[tuple[Identification, ...] | VisavisError]:
        """Say who the faces of many images are: see ``GalleryClient.identify_many``."""
        options = SearchOptions(faces, limit, threshold, fmr, min_face, require_live)
        return self._driver.each(self._talk.identify_many(images, options))

    async def identify_embeddings(
        self, embeddings: FloatArray, *, limit: int = 5, threshold: float | None = None, fmr: "Rate | None" = None
    ) -> tuple[Identification, ...]:
        """Say whose embeddings these are: see ``GalleryClient.identify_embeddings``."""
        return await self._driver.run(
            self._talk.identify_embeddings(embeddings, limit=limit, threshold=threshold, fmr=fmr)
        )

    async def verify(  # noqa: PLR0913  # likewise
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
        """Tell whether the face of an image is a subject: see ``GalleryClient.verify``."""
        options = VerifyOptions(faces, threshold, fmr, min_face=min_face, require_live=require_live)
        return await self._driver.run(self._talk.verify(image, subject, options))

    async def verify_embedding(
        self, embedding: FloatArray, subject: str, *, threshold: float | None = None, fmr: "Rate | None" = None
    ) -> SubjectVerification:
        """Tell whether an embedding is a subject's: see ``GalleryClient.verify_embedding``."""
        return await self._driver.run(self._talk.verify_embedding(embedding, subject, threshold=threshold, fmr=fmr))

    def subjects(self) -> AsyncIterator[Subject]:
        """Return the subjects: see ``GalleryClient.subjects``."""
        return self._driver.each(self._talk.subjects())

    async def subject(self, subject: str) -> Subject:
        """Return the subject of that ID: see ``GalleryClient.subject``."""
        return await self._driver.run(self._talk.subject(subject))

    async def samples(self, subject: str) -> tuple[ServedSample, ...]:
        """Return a subject's samples: see ``GalleryClient.samples``."""
        return await self._driver.run(self._talk.samples(subject))

    async def update(self, subject: str, details: Details, *, version: int | Subject | None = None) -> Subject:
        """Change what is known of a subject: see ``GalleryClient.update``."""
        return await self._driver.run(self._talk.update(subject, details, version))

    async def picture(self, subject: str, sample: int) -> bytes:
        """Return what is stored of a sample's image: see ``GalleryClient.picture``."""
        return await self._driver.run(self._talk.picture(subject, sample))

    async def forget_sample(self, subject: str, sample: int) -> Receipt:
        """Forget a sample of a subject: see ``GalleryClient.forget_sample``."""
        return await self._driver.run(self._talk.forget_sample(subject, sample))

    async def forget_subject(self, subject: str, *, version: int | Subject | None = None) -> Receipt:
        """Forget a subject: see ``GalleryClient.forget_subject``."""
        return await self._driver.run(self._talk.forget_subject(subject, version))

    def export(self, *, pictures: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Return the gallery as lines: see ``GalleryClient.export``."""
        return self._driver.each(self._talk.export(pictures=pictures))

    async def export_subject(self, subject: str) -> dict[str, Any]:
        """Return all that is known of a subject: see ``GalleryClient.export_subject``."""
        return await self._driver.run(self._talk.export_subject(subject))

    def import_lines(
        self, lines: Iterable[Mapping[str, Any]], *, allow_conflict: bool = True
    ) -> AsyncIterator[Enrolled | VisavisError]:
        """Enrol what was exported: see ``GalleryClient.import_lines``."""
        return self._driver.each(self._talk.import_lines(lines, allow_conflict=allow_conflict))

    async def audit(self) -> AuditReport:
        """Return what there is to mend: see ``GalleryClient.audit``."""
        return await self._driver.run(self._talk.audit())

    def entries(self) -> AsyncIterator[LogEntry]:
        """Return the gallery's log: see ``GalleryClient.entries``."""
        return self._driver.each(self._talk.entries())
