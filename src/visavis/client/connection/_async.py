"""Calls of a visavis server and how they are made again; ``_sync.py`` is made of this by ``tools/unasync.py``."""

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import httpx

from visavis.client import wire
from visavis.client.records import every, faces_of, if_any
from visavis.client.wire import Sent, given
from visavis.errors import InputError, ServerUnreachable, VisavisError
from visavis.types import Faces, ImageSource

_log = logging.getLogger("visavis")
_Value = TypeVar("_Value")
_Thing = TypeVar("_Thing")
_Error = TypeVar("_Error", bound=VisavisError)
_Request: TypeAlias = Mapping[str, Any] | None  # arguments of httpx: query, headers and body


@dataclass(frozen=True)
class AsyncConnection:
    """A server, called again where that helps and does no harm."""

    http: httpx.AsyncClient
    server: str  # its address in messages
    timeout_s: float  # the longest time that the server may ask for
    retries: int

    async def call(
        self, method: str, path: str, request: _Request = None, *, once: bool = False, stream: bool = False
    ) -> httpx.Response:
        """Make a call, and again while that helps; return the last answer, or raise ``ServerUnreachable``.

        With ``once``, nothing is tried again that the server may have got and not answered. With ``stream``, a good
        answer comes without its body, which is then to be read and closed.
        """
        for tries in count():
            asked_for_s = 0.0
            try:
                response = await self.http.send(self.http.build_request(method, path, **(request or {})), stream=stream)
                if stream and response.status_code != wire.OK:
                    await response.aread()
            except httpx.RequestError as error:
                if tries == self.retries or not isinstance(error, wire.UNSENT if once else wire.PASSING):
                    raise self.unreachable(error) from error
                reason = wire.reason_of(error)
            else:
                # A server that says that it is busy has done nothing: that call may be made again, whatever it is.
                asked_for_s = wire.retry_after_s(response.headers.get("retry-after", ""))
                if tries == self.retries or response.status_code not in wire.BUSY or asked_for_s > self.timeout_s:
                    break
                reason = f"status {response.status_code}"
            # Scattered, so that clients that were turned away together do not come back together.
            wait_s = asked_for_s + min(0.25 * 2.0**tries, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
            _log.debug("%s: %s; trying again in %.2f s", self.server, reason, wait_s)
            await anyio.sleep(wait_s)
        return response

    def unreachable(self, error: httpx.RequestError) -> ServerUnreachable:
        """Return the error that a missing answer is."""
        return ServerUnreachable(f"{self.server} cannot be reached: {wire.reason_of(error)}")

    async def ask(
        self, read: Callable[[Any], _Value], method: str, path: str, request: _Request = None, *, once: bool = False
    ) -> _Value:
        """Make a call, and return what the JSON of its answer is; arguments as in ``call``."""
        response = await self.call(method, path, request, once=once)
        with wire.content(response) as plain:
            return read(plain)

    async def picture(self, path: str) -> bytes:
        """Return an encoded image."""
        response = await self.call("GET", path)
        wire.check(response)
        if not response.headers.get("content-type", "").startswith("image/"):
            raise wire.foreign(response, "the server answered with something else than an image")
        return response.content

    async def pages(self, kind: type[_Value], path: str, name: str, **asked: str) -> AsyncIterator[_Value]:
        """Give the items of a list, asked for a page at a time."""
        query = {"limit": "200", **asked}
        while True:
            response = await self.call("GET", path, {"params": query})
            with wire.content(response) as plain:
                items, cursor = every(kind, plain[name]), if_any(str, plain["next_cursor"])
            for item in items:
                yield item
            if cursor is None:
                return
            if cursor == query.get("cursor"):
                raise wire.foreign(response, "the server's list leads back to where it was")
            query = {**query, "cursor": cursor}

    async def ask_image(
        self, kind: type[_Value], path: str, image: ImageSource, options: Mapping[str, object]
    ) -> Faces[_Value]:
        """Return what the faces of an image are, or raise the error that it is."""
        (result,) = [each async for each in self.ask_images(kind, path, [image], options)]
        if isinstance(result, VisavisError):
            raise result
        return result

    async def ask_images(
        self, kind: type[_Value], path: str, images: Iterable[ImageSource], options: Mapping[str, object]
    ) -> AsyncIterator[Faces[_Value] | VisavisError]:
        """Give for each image, in order, what its faces are, or the error that it is."""
        chosen = given(options)
        async with aclosing(chunks_of(images, wire.load, wire.MOST_IMAGES, wire.MOST_BYTES)) as chunks:
            async for chunk in chunks:
                results: dict[int, Faces[_Value] | VisavisError] = {}
                sent = {at: entry for at, entry in enumerate(chunk) if isinstance(entry, Sent)}
                if sent:
                    response = await self.call("POST", path, wire.body_of(list(sent.values()), chosen))
                    with wire.content(response) as plain:
                        for (at, image), result in zip(sent.items(), plain["results"], strict=True):
                            if "error" in result:
                                results[at] = wire.error_of(result["error"], response, image.name)
                            else:
                                results[at] = faces_of(kind, result)
                for at, entry in enumerate(chunk):
                    yield results[at] if isinstance(entry, Sent) else entry


async def loaded(image: ImageSource) -> Sent:
    """Return what is sent for an image, or raise why nothing can be."""
    sent = await anyio.to_thread.run_sync(wire.load, image)
    if isinstance(sent, InputError):
        raise sent
    return sent


async def chunks_of(
    things: Iterable[_Thing], load: Callable[[_Thing], Sent | _Error], most: int, most_bytes: int
) -> AsyncGenerator[list[Sent | _Error], None]:
    """Give what goes together in one call, with errors in the places of things that cannot be sent.

    What comes slowly does not wait long for more.
    """
    chunk: list[Sent | _Error] = []
    begun_s = 0.0
    images, size, links = 0, 0, False
    for thing in things:
        entry = await anyio.to_thread.run_sync(load, thing)
        if isinstance(entry, Sent):
            # Whatever its size, one may go alone. Links go in JSON, and files in a form.
            if (images or size) and (size + len(entry.data) > most_bytes or links != bool(entry.url)):
                yield chunk
                chunk, images, size = [], 0, 0
            images, size, links = images + entry.has_image, size + len(entry.data), bool(entry.url)
        begun_s = begun_s if chunk else anyio.current_time()
        chunk.append(entry)
        late = anyio.current_time() - begun_s > wire.LINGER_S
        if late or len(chunk) >= most or images >= wire.MOST_IMAGES:
            yield chunk
            chunk, images, size = [], 0, 0
    if chunk:
        yield chunk
