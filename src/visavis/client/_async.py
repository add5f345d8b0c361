"""Clients of a visavis server; ``_sync.py`` is made of this by ``tools/unasync.py``."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any

import httpx
from typing_extensions import Self, Unpack

from visavis.client import records, wire
from visavis.client.connection._async import AsyncConnection, loaded
from visavis.client.gallery._async import AsyncGalleryClient
from visavis.client.records import Access, read, reader
from visavis.client.wire import given, json_of
from visavis.errors import (
    VisavisError,
)
from visavis.galleries.records import (
    Gallery,
    LogEntry,
    check_gallery_name,
)
from visavis.hints import Hinting
from visavis.options import (
    Compare,
    Describe,
    Policy,
    Verify,
    takes,
)
from visavis.service.packs import ServedPack
from visavis.service.results import (
    Check,
)
from visavis.types import Comparison, Embedding, Face, Faces, ImageSource, SizeWH, Verification


class AsyncClient(Hinting):
    """Asks a visavis server what a ``Recognizer`` would be asked.

    Files are read, and images encoded, in a thread of their own. An image is whatever the library takes, or a string
    that begins with ``http://`` or ``https://``: the server fetches that. Results are the library's own, and so are
    errors, by their ``code``. Where the server is busy, or cannot be reached for a moment, calls are tried again,
    unless that might do twice what should be done once.
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
        """Describe the server; nothing is sent yet.

        Args:
            base_url: its address, for instance "http://localhost:8000".
            key: an API key, where it requires one.
            timeout_s: to wait for a connection, and then for each part of the answer.
            retries: how often to try again; a server that names a time is given that time, up to ``timeout_s``.
            transport: in place of a network connection: a proxy, a Unix socket, a test.

        Raises:
            InvalidOption: an argument is out of its range.
        """
        http = httpx.AsyncClient(**wire.settings_of(base_url, key, timeout_s, retries), transport=transport)
        server = f"{http.base_url.scheme}://{http.base_url.netloc.decode('ascii')}"
        self._connection = AsyncConnection(http, server, float(timeout_s), retries)

    @takes(Describe)
    async def detect(self, image: ImageSource, **options: Unpack[Describe]) -> Faces[Face]:
        """Find faces, as ``Recognizer.detect`` does.

        Raises:
            InputError: the image cannot be used, or an option is out of its range.
            ServerError: the server refused, failed, cannot be reached or is overloaded; see its ``code``.
        """
        return await self._connection.ask_image(Face, "v1/detect", image, options)

    @takes(Describe)
    async def embed(self, image: ImageSource, **options: Unpack[Describe]) -> Faces[Face]:
        """Find faces and embed them, as ``Recognizer.embed`` does; errors as in ``detect``."""
        return await self._connection.ask_image(Face, "v1/embed", image, options)

    @takes(Verify)
    async def verify(
        self, a: ImageSource, b: ImageSource, *, operating_point: str | None = None, **options: Unpack[Verify]
    ) -> Verification:
        """Tell whether two images show the same person, as ``Recognizer.verify`` does.

        The faces of the answer come without their embeddings. In place of a threshold, ``fmr`` is the false match rate
        to keep, or an operating point names one of those that ``models`` lists. Errors as in ``detect``, ``NoFace``
        where an image shows none, and with ``require_live`` ``NotLive`` where a face looks like a print or a screen.
        """
        chosen = given({**options, "operating_point": operating_point})
        images = {"a": await loaded(a), "b": await loaded(b)}
        response = await self._connection.call("POST", "v1/verify", wire.body_of(images, chosen))
        with wire.content(response, {part: image.name for part, image in images.items()}) as plain:
            return read(Verification, plain)

    @takes(Compare)
    async def compare(self, a: Embedding, b: Embedding, **options: Unpack[Compare]) -> Comparison:
        """Tell whether two embeddings are of the same person, as ``Recognizer.compare`` does; errors as there."""
        (found,) = [each async for each in self.compare_many([(a, b)], **options)]
        if isinstance(found, VisavisError):
            raise found
        return found

    @takes(Compare)
    async def compare_many(
        self, pairs: Iterable[tuple[Embedding, Embedding]], **options: Unpack[Compare]
    ) -> AsyncIterator[Comparison | VisavisError]:
        """Return for each pair, in order, what ``compare`` returns, or the error that it would raise."""
        chosen, rest = given(options), iter(pairs)
        while chunk := [wire.pair(*each) for each in islice(rest, wire.MOST_PROBES)]:
            sent = [each for each in chunk if isinstance(each, dict)]
            found: list[Comparison | VisavisError] = []
            if sent:
                response = await self._connection.call("POST", "v1/compare", json_of({"pairs": sent, **chosen}))
                with wire.content(response) as plain:
                    for _, result in zip(sent, plain["results"], strict=True):
                        refused = "error" in result
                        found.append(wire.error_of(result["error"], response) if refused else read(Comparison, result))
            answers = iter(found)
            for each in chunk:
                yield next(answers) if isinstance(each, dict) else each

    @takes(Describe)
    def detect_many(
        self, images: Iterable[ImageSource], **options: Unpack[Describe]
    ) -> AsyncIterator[Faces[Face] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that its image is.

        Images are taken from the iterable up to 16 at a time, and sent together.

        Raises (the iterator):
            VisavisError: not an image failed but a whole call: the server cannot be reached, refuses, and so on.
        """
        return self._connection.ask_images(Face, "v1/detect", images, options)

    @takes(Describe)
    def embed_many(
        self, images: Iterable[ImageSource], **options: Unpack[Describe]
    ) -> AsyncIterator[Faces[Face] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns; everything else as in ``detect_many``."""
        return self._connection.ask_images(Face, "v1/embed", images, options)

    async def galleries(self) -> tuple[Gallery, ...]:
        """Return every gallery that the key may see, by name."""
        return await self._connection.ask(records.galleries, "GET", "v1/galleries")

    async def create_gallery(
        self, name: str, *, policy: Policy | None = None, encrypted: bool | None = None
    ) -> "AsyncGalleryClient":
        """Make a gallery, and return what asks about it.

        Args:
            name: 1 to 255 of A-Z, a-z, 0-9, underscore, dot and hyphen; begins with none of the last two.
            policy: how it is to be used; without one, the server's own.
            encrypted: whether to encrypt embeddings and pictures; None to do so where the server has a key.

        Raises:
            GalleryExists: there is one of that name.
            GalleryLocked: encryption is asked for, and the server has no key.
            ServerUnreachable: where the connection broke after the call was sent, the gallery may be made or not.
        """
        body = _new_gallery(policy, name=check_gallery_name(name), encrypted=encrypted)
        await self._connection.ask(reader(Gallery), "POST", "v1/galleries", body, once=True)
        return self.gallery(name)

    async def get_or_create_gallery(
        self, name: str, *, policy: Policy | None = None, encrypted: bool | None = None
    ) -> "AsyncGalleryClient":
        """Return what asks about a gallery, made where there is none of that name; one that is there stays as it is.

        Arguments and errors as in ``create_gallery``; it takes a key of scope admin also where there is one.
        """
        path = f"v1/galleries/{check_gallery_name(name)}"
        await self._connection.ask(reader(Gallery), "PUT", path, _new_gallery(policy, encrypted=encrypted))
        return self.gallery(name)

    def gallery(self, name: str) -> "AsyncGalleryClient":
        """Return what asks about one gallery; nothing is sent yet.

        Raises:
            GalleryNotFound: no gallery can have that name.
        """
        return AsyncGalleryClient(name, self._connection)

    def entries(self, *, newest_first: bool = False) -> AsyncIterator[LogEntry]:
        """Return the log of all galleries; for keys that are not limited to some galleries."""
        return self._connection.pages(LogEntry, "v1/log", "entries", **wire.order(newest_first=newest_first))

    async def preview(self, image: ImageSource, *, side: int = 1280) -> tuple[SizeWH, bytes]:
        """Return the size of an image, upright, and what shows it: a JPEG of at most so many pixels a side."""
        sent = await loaded(image)
        response = await self._connection.call("POST", "v1/preview", wire.body_of({"image": sent}, {"side": side}))
        with wire.content(response, {"image": sent.name}) as plain:
            return records.preview(plain)

    async def access(self) -> Access:
        """Return what the key allows, or the absence of one."""
        return await self._connection.ask(reader(Access), "GET", "v1/access")

    async def models(self) -> tuple[ServedPack, ...]:
        """Return the packs that the server knows, with their thresholds, licences and files."""
        return await self._connection.ask(records.packs, "GET", "v1/models")

    async def doctor(self) -> tuple[Check, ...]:
        """Return what the server finds when it checks itself; for keys of scope admin that are not limited to some."""
        return await self._connection.ask(records.checks, "GET", "v1/doctor")

    async def health(self) -> bool:
        """Tell whether the server is ready to work: asked once, without retries.

        Raises:
            ServerUnreachable: nobody answers.
        """
        response = await replace(self._connection, retries=0).call("GET", "readyz")
        if response.status_code != wire.UNAVAILABLE:
            wire.check(response)
        return response.status_code == wire.OK

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._connection.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _new_gallery(policy: Policy | None, **options: object) -> dict[str, Any]:
    """Return the body that describes a gallery to be made."""
    return json_of(given({**options, "policy": policy and policy.to_dict()}))
