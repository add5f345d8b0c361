"""Galleries as streams of lines: page after page, as fast as the client takes them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from visavis.server.gallery_requests import ExportQuery
from visavis.server.runner import ClientGone, at_once, patiently, until_gone, while_here
from visavis.server.streaming import Streamed, send_piece
from visavis.server.work import to_json
from visavis.service.gallery import OpenGallery

_PAGE_BYTES = 262_144


async def export_gallery(request: Request, opened: Callable[[], OpenGallery], query: ExportQuery) -> Response:
    """Answer with a gallery. What is wrong before the first line is known is a problem as everywhere.

    Raises:
        Overloaded: there is no room for it.
        ClientGone: the client has left.
    """
    state = request.app.state

    def begin() -> tuple[str, _Pages, bytes]:
        gallery = opened()
        pages = _Pages(gallery.export(pictures=query.pictures))
        return gallery.name, pages, pages.next()

    name, pages, first = await while_here(until_gone(request.receive), at_once(state.pool, begin))
    return _Export(state, pages, first, f"{name}.ndjson")


class _Pages:
    """The lines of an export, some at a time; one thread at a time."""

    def __init__(self, lines: Iterator[Mapping[str, Any]]) -> None:
        self._lines = lines

    def next(self) -> bytes:
        """Return the next lines; nothing at the end."""
        page = bytearray()
        for line in self._lines:
            page += to_json(line) + b"\n"
            if len(page) >= _PAGE_BYTES:
                break
        return bytes(page)


class _Export(Streamed):
    """Sends pages. Where one cannot be made, the connection breaks off, so that nobody takes a part for the whole."""

    def __init__(self, state: State, pages: _Pages, first: bytes, name: str) -> None:
        super().__init__({"Content-Disposition": f'attachment; filename="{name}"'})
        self._state = state
        self._pages = pages
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI calls it
        """Send the pages until there are no more, or the client has left."""
        await self.begin(send)
        page = self._first
        gone = until_gone(receive)
        try:
            while page:
                await send_piece(send, page)
                async with self._state.export_turns:
                    page = await while_here(gone, patiently(self._state.pool, self._pages.next))
        except ClientGone:
            return
        await send_piece(send, b"", last=True)
