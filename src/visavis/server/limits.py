"""Limits on what a client may send: bytes are counted, and time is taken, while a request is read."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visavis.server.problems import Problem

_CLOSE = {"Connection": "close"}  # the rest of the request is not worth reading
_BODIES_IN_MEMORY = 8


class BodyLimits:
    """ASGI middleware: a request that is too large or too slow ends in a ``Problem`` where its body is read.

    The bytes that all requests together hold in memory are limited too, to eight times what one may hold.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, read_timeout_s: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._read_timeout_s = read_timeout_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a ``receive`` that keeps within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = time.monotonic() + self._read_timeout_s
        received = 0
        complete = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            self._check_length(scope)
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                detail = f"a request must arrive within {self._read_timeout_s:g} s"
                raise Problem("request_timeout", detail, headers=_CLOSE) from None
            count = len(message.get("body", b""))
            received += count
            self._held += count
            self._check_count(received)
            complete = not message.get("more_body", False)
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._held -= received

    def _check_length(self, scope: Scope) -> None:
        """Believe a client that announces too much."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isascii() and announced.isdigit():
            self._check_count(int(announced[:20]))

    def _check_count(self, count: int) -> None:
        if count > self._max_body_bytes:
            detail = f"a request may have {self._max_body_bytes:,} bytes"
            raise Problem("body_too_large", detail, headers=_CLOSE)
        if self._held > self._max_body_bytes * _BODIES_IN_MEMORY:
            detail = "too many large requests at once"
            raise Problem("overloaded", detail, headers={"Retry-After": "1", **_CLOSE})
