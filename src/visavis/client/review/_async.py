"""Clients of a review queue; ``_sync.py`` is made of this by ``tools/unasync.py``."""

from collections.abc import AsyncIterator, Sequence

from typing_extensions import Unpack

from visavis.client import wire
from visavis.client.connection._async import AsyncConnection
from visavis.client.records import if_any, read, reader
from visavis.client.wire import details_of, given, json_of, sample_segment
from visavis.errors import VisavisError
from visavis.galleries.records import NO_DETAILS, Details
from visavis.hints import Hinting
from visavis.options import EnrolEmbeddings, Review, takes
from visavis.service.results import Enrolled, Receipt, ReviewGroup


class AsyncReviewClient(Hinting):
    """Does what ``OpenGallery.review`` does with a server's gallery, with a key of scope admin.

    Naming, ignoring and discarding are not tried again when the connection breaks: a second try would find it done.
    """

    def __init__(self, gallery: str, connection: AsyncConnection) -> None:
        """Take the path of a gallery; use ``AsyncGalleryClient.review``."""
        self._connection = connection
        self._path = f"{gallery}/review"

    @takes(Review)
    def groups(self, **options: Unpack[Review]) -> AsyncIterator[ReviewGroup]:
        """Return the faces that wait, in groups, largest first; asked for a page at a time."""
        asked = {name: f"{value}" for name, value in given(options).items()}
        return self._connection.pages(ReviewGroup, self._path, "groups", **asked)

    async def picture(self, face: int) -> bytes:
        """Return the encoded chip of a face; ``SampleNotFound`` where no such face waits."""
        return await self._connection.picture(f"{self._path}/{sample_segment(face)}/picture")

    @takes(EnrolEmbeddings)
    async def name(
        self,
        faces: Sequence[int],
        subject: str | None = None,
        *,
        details: Details = NO_DETAILS,
        **options: Unpack[EnrolEmbeddings],
    ) -> tuple[Enrolled | VisavisError, ...]:
        """Enrol faces as a subject, and tell of each what became of it; where all are refused, raise the first error.

        Args:
            faces: their numbers.
            subject: whose they are; None for a new subject with a random ID.
            details: of the subject.
            **options: see ``visavis.options.EnrolEmbeddings``.
        """
        return await self._enrol("name", faces, {"subject": subject, **details_of(details), **options})

    async def ignore(self, faces: Sequence[int]) -> tuple[Enrolled | VisavisError, ...]:
        """Enrol faces as those of a new subject that is ignored; else as ``name``."""
        return await self._enrol("ignore", faces, {})

    async def discard(self, faces: Sequence[int]) -> Receipt:
        """Forget faces; ``SampleNotFound`` where none of them waits."""
        body = json_of({"faces": list(faces)})
        return await self._connection.ask(reader(Receipt), "POST", f"{self._path}/discard", body, once=True)

    async def _enrol(
        self, act: str, faces: Sequence[int], about: dict[str, object]
    ) -> tuple[Enrolled | VisavisError, ...]:
        body = json_of({"faces": list(faces), **given(about)})
        response = await self._connection.call("POST", f"{self._path}/{act}", body, once=True)
        with wire.content(response) as plain:
            results = [(if_any(dict, each.get("error")), each) for each in read(list, plain["results"])]
            return tuple(
                read(Enrolled, {**each, "subject": plain["subject"]})
                if refused is None
                else wire.error_of(refused, response)
                for refused, each in results
            )
