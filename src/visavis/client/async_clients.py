"""The client for asynchronous programs."""

from collections.abc import AsyncIterator, Collection, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import httpx

from visavis.client import conversation, gallery_conversation
from visavis.client.async_galleries import AsyncGalleryClient
from visavis.client.conversation import FaceOptions, VerifyOptions
from visavis.client.drivers import AsyncDriver
from visavis.client.pack_answers import ServedPack
from visavis.client.wire import headers_for, patience_with
from visavis.errors import VisavisError
from visavis.galleries.records import Gallery, LogEntry
from visavis.options import Attribute, Policy
from visavis.types import Face, ImageSource, Verification

if TYPE_CHECKING:
    from typing_extensions import Self

    from visavis.options import FacesPolicy, Rate


class AsyncClient:
    """``Client`` for asynchronous programs: the same arguments, methods, results and errors.

    Files are read, and images encoded, in a thread of their own.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Describe the server, as ``Client`` does."""
        self._patience = patience_with(base_url, timeout_s, retries)
        self._driver = AsyncDriver(
            httpx.AsyncClient(
                base_url=base_url, headers=headers_for(key), timeout=float(timeout_s), transport=transport
            )
        )

    async def detect(
        self,
        image: ImageSource,
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces: see ``Client.detect``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return await self._driver.run(conversation.find_one("detect", image, options, self._patience))

    async def embed(
        self,
        image: ImageSource,
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces and embed them: see ``Client.embed``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return await self._driver.run(conversation.find_one("embed", image, options, self._patience))

    async def verify(  # noqa: PLR0913  # likewise
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: "Rate | None" = None,
        operating_point: str | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Verification:
        """Tell whether two images show the same person: see ``Client.verify``."""
        options = VerifyOptions(faces, threshold, fmr, operating_point, min_face, require_live)
        return await self._driver.run(conversation.verify(a, b, options, self._patience))

    def detect_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> AsyncIterator[tuple[Face, ...] | VisavisError]:
        """Find the faces of many images: see ``Client.detect_many``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.each(conversation.find_many("detect", images, options, self._patience))

    def embed_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: "FacesPolicy" = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Collection[Attribute] = (),
    ) -> AsyncIterator[tuple[Face, ...] | VisavisError]:
        """Find and embed the faces of many images: see ``Client.embed_many``."""
        options = FaceOptions(faces, min_face, quality, attributes)
        return self._driver.each(conversation.find_many("embed", images, options, self._patience))

    async def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery that the key may see: see ``Client.galleries``."""
        return await self._driver.run(gallery_conversation.galleries(self._patience))

    async def create_gallery(
        self, name: str, *, policy: Policy | None = None, encrypted: bool | None = None
    ) -> Gallery:
        """Make a gallery: see ``Client.create_gallery``."""
        return await self._driver.run(gallery_conversation.create(name, policy, self._patience, encrypted=encrypted))

    def gallery(self, name: str) -> AsyncGalleryClient:
        """Return what asks about one gallery: see ``Client.gallery``."""
        return AsyncGalleryClient(name, self._driver, self._patience)

    def entries(self) -> AsyncIterator[LogEntry]:
        """Return the log of all galleries: see ``Client.entries``."""
        return self._driver.each(gallery_conversation.entries(self._patience))

    async def models(self) -> tuple[ServedPack, ...]:
        """Return the packs that the server knows: see ``Client.models``."""
        return await self._driver.run(conversation.models(self._patience))

    async def health(self) -> bool:
        """Tell whether the server is ready to work: see ``Client.health``."""
        return await self._driver.run(conversation.health(self._patience))

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._driver.close()

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
