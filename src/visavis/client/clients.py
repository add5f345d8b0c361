"""The two clients: all that tells them apart is how they wait."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread
import httpx

from visavis.client import conversation
from visavis.client.answers import ServedPack
from visavis.client.conversation import FaceOptions, VerifyOptions, batches
from visavis.client.exchange import Call, Pause, Step, Steps
from visavis.client.wire import headers_for, patience_with, to_answer, to_no_answer, to_request
from visavis.errors import VisavisError
from visavis.types import Face, ImageSource, Verification

if TYPE_CHECKING:
    from typing_extensions import Self

    from visavis.models.finding import FacesPolicy

_Value = TypeVar("_Value")


class Client:
    """Asks a visavis server what a ``Recognizer`` would be asked; any number of threads may share one.

    An image is whatever the library takes, or a string that begins with ``http://`` or ``https://``: the server fetches
    that. Results are the library's own, and so are errors, by their ``code``. Where the server is busy, or cannot be
    reached for a moment, calls are tried again.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
        *,
        transport: httpx.BaseTransport | None = None,
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
        self._patience = patience_with(base_url, timeout_s, retries)
        self._http = httpx.Client(
            base_url=base_url, headers=headers_for(key), timeout=float(timeout_s), transport=transport
        )

    def detect(
        self, image: ImageSource, *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> tuple[Face, ...]:
        """Find faces, as ``Recognizer.detect`` does.

        Raises:
            InputError: the image cannot be used, or an option is out of its range.
            ServerError: the server refused, failed, cannot be reached or is overloaded; see its ``code``.
        """
        return self._run(conversation.find_one("detect", image, FaceOptions(faces, min_face), self._patience))

    def embed(
        self, image: ImageSource, *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> tuple[Face, ...]:
        """Find faces and embed them, as ``Recognizer.embed`` does; errors as in ``detect``."""
        return self._run(conversation.find_one("embed", image, FaceOptions(faces, min_face), self._patience))

    def verify(  # noqa: PLR0913  # independent options, as in the library
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        operating_point: str | None = None,
        min_face: float | None = None,
    ) -> Verification:
        """Tell whether two images show the same person, as ``Recognizer.verify`` does.

        The faces of the answer come without their embeddings. In place of a threshold, an operating point names one of
        those that ``models`` lists. Errors as in ``detect``, and ``NoFace`` where an image shows none.
        """
        options = VerifyOptions(faces, threshold, operating_point, min_face)
        return self._run(conversation.verify(a, b, options, self._patience))

    def detect_many(
        self, images: Iterable[ImageSource], *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that its image is.

        Images are taken from the iterable up to 16 at a time, and sent together.

        Raises (the iterator):
            VisavisError: not an image failed but a whole call: the server cannot be reached, refuses, and so on.
        """
        return self._many("detect", images, FaceOptions(faces, min_face))

    def embed_many(
        self, images: Iterable[ImageSource], *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns; everything else as in ``detect_many``."""
        return self._many("embed", images, FaceOptions(faces, min_face))

    def models(self) -> tuple[ServedPack, ...]:
        """Return the packs that the server knows, with their thresholds, licences and files."""
        return self._run(conversation.models(self._patience))

    def health(self) -> bool:
        """Tell whether the server is ready to work: asked once, without retries.

        Raises:
            ServerUnreachable: nobody answers.
        """
        return self._run(conversation.health(self._patience))

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._http.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _many(
        self, verb: str, images: Iterable[ImageSource], options: FaceOptions
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        for batch in batches(images):
            yield from self._run(conversation.find(verb, batch, options, self._patience))

    def _run(self, steps: Steps[_Value]) -> _Value:
        outcome: object = None
        try:
            while True:
                outcome = self._take(steps.send(outcome))
        except StopIteration as end:
            value: _Value = end.value
            return value

    def _take(self, step: Step) -> object:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        if not isinstance(step, Call):
            return step.do()
        try:
            return to_answer(self._http.send(to_request(self._http, step)))
        except httpx.RequestError as error:
            return to_no_answer(error)


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
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers_for(key), timeout=float(timeout_s), transport=transport
        )

    async def detect(
        self, image: ImageSource, *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> tuple[Face, ...]:
        """Find faces: see ``Client.detect``."""
        return await self._run(conversation.find_one("detect", image, FaceOptions(faces, min_face), self._patience))

    async def embed(
        self, image: ImageSource, *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> tuple[Face, ...]:
        """Find faces and embed them: see ``Client.embed``."""
        return await self._run(conversation.find_one("embed", image, FaceOptions(faces, min_face), self._patience))

    async def verify(  # noqa: PLR0913  # likewise
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        operating_point: str | None = None,
        min_face: float | None = None,
    ) -> Verification:
        """Tell whether two images show the same person: see ``Client.verify``."""
        options = VerifyOptions(faces, threshold, operating_point, min_face)
        return await self._run(conversation.verify(a, b, options, self._patience))

    def detect_many(
        self, images: Iterable[ImageSource], *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> AsyncIterator[tuple[Face, ...] | VisavisError]:
        """Find the faces of many images: see ``Client.detect_many``."""
        return self._many("detect", images, FaceOptions(faces, min_face))

    def embed_many(
        self, images: Iterable[ImageSource], *, faces: "FacesPolicy" = "all", min_face: float | None = None
    ) -> AsyncIterator[tuple[Face, ...] | VisavisError]:
        """Find and embed the faces of many images: see ``Client.embed_many``."""
        return self._many("embed", images, FaceOptions(faces, min_face))

    async def models(self) -> tuple[ServedPack, ...]:
        """Return the packs that the server knows: see ``Client.models``."""
        return await self._run(conversation.models(self._patience))

    async def health(self) -> bool:
        """Tell whether the server is ready to work: see ``Client.health``."""
        return await self._run(conversation.health(self._patience))

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._http.aclose()

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _many(
        self, verb: str, images: Iterable[ImageSource], options: FaceOptions
    ) -> AsyncIterator[tuple[Face, ...] | VisavisError]:
        for batch in batches(images):
            for found in await self._run(conversation.find(verb, batch, options, self._patience)):
                yield found

    async def _run(self, steps: Steps[_Value]) -> _Value:
        outcome: object = None
        try:
            while True:
                outcome = await self._take(steps.send(outcome))
        except StopIteration as end:
            value: _Value = end.value
            return value

    async def _take(self, step: Step) -> object:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        if not isinstance(step, Call):
            return await anyio.to_thread.run_sync(step.do)
        try:
            return to_answer(await self._http.send(to_request(self._http, step)))
        except httpx.RequestError as error:
            return to_no_answer(error)
