"""Limits on what a client may send: bytes are counted, and time is taken, while a request is read."""

import asyncio
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visavis.server.problems import Problem

_CLOSE = {"Connection": "close"}  # the rest of the request is not worth reading
_BODIES_IN_MEMORY = 8
_INTAKE = "visavis.intake"
_ENDLESS = "visavis.endless"


class BodyLimits:
    """ASGI middleware: a request that is too large or too slow ends in a ``Problem`` where its body is read.

    The bytes that all requests together hold in memory are limited too, to eight times what one may hold.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, read_timeout_s: float) -> None:
        self._app = app
        self._read_timeout_s = read_timeout_s
        self._memory = Memory(max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a ``receive`` that keeps within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        intake = Intake(scope, receive, self._memory, self._read_timeout_s)
        scope[_INTAKE] = intake
        try:
            await self._app(scope, intake.receive, send)
        finally:
            intake.release()


class Memory:
    """The bytes of requests that are in memory, of all requests together; one event loop's.

    Attributes:
        max_body_bytes: what one request may hold.
        held: by all.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.held = 0
        self._freed = asyncio.Event()

    @property
    def is_short(self) -> bool:
        """Whether there are more than there should be."""
        return self.held > self.max_body_bytes * _BODIES_IN_MEMORY

    def take(self, count: int) -> None:
        """Count bytes that have come."""
        self.held += count

    def free(self, count: int) -> None:
        """Count bytes that are gone."""
        self.held -= count
        self._freed.set()

    async def wait(self, seconds: float) -> None:
        """Wait until there is room.

        Raises:
            Problem: there was none for so long.
        """
        deadline = time.monotonic() + seconds
        while self.is_short:
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                raise _too_much_at_once() from None


class Intake:
    """What one request sends. Its body is read once: whole, by ``receive``, or piece by piece, by ``next_piece``.

    Attributes:
        memory: where its bytes are counted.
        read_timeout_s: within which a whole request must have arrived, or the next piece of an endless one.
    """

    def __init__(self, scope: Scope, receive: Receive, memory: Memory, read_timeout_s: float) -> None:
        self.memory = memory
        self.read_timeout_s = read_timeout_s
        self._scope = scope
        self._receive = receive
        self._deadline = time.monotonic() + read_timeout_s
        self._received = 0
        self._held = 0
        self._complete = False

    @staticmethod
    def of(scope: Scope) -> "Intake":
        """Return that of a request."""
        intake: Intake = scope[_INTAKE]
        return intake

    async def receive(self) -> Message:
        """Return the next message of a request that is to be read whole; also whether the client has left.

        Raises:
            Problem: it is too large or too slow.
        """
        if self._complete:
            return await self._receive()
        self._check_count(self.announced or 0)  # a client that announces too much is believed
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except asyncio.TimeoutError:
            detail = f"a request must arrive within {self.read_timeout_s:g} s"
            raise Problem("request_timeout", detail, headers=_CLOSE) from None
        self._count(message)
        self._check_count(self._received)
        if self.memory.is_short:
            raise _too_much_at_once()
        return message

    @property
    def announced(self) -> int | None:
        """The bytes of the body, where the client says how many they are; also if it lies."""
        text = Headers(scope=self._scope).get("content-length", "")
        return int(text[:20]) if text.isascii() and text.isdigit() else None

    def begin_endless(self) -> None:
        """Say that the body may go on and on; those who read it in pieces look after time and memory themselves."""
        self._scope[_ENDLESS] = True

    async def next_piece(self) -> Message:
        """Return the next message of a body that is read in pieces, whenever it comes."""
        message = await self._receive()
        self._count(message)
        return message

    def release(self, count: int | None = None) -> None:
        """Give bytes back that are not in memory any more; without a number, all that are left."""
        count = self._held if count is None else count
        self._held -= count
        self.memory.free(count)

    def _count(self, message: Message) -> None:
        count = len(message.get("body", b""))
        self._received += count
        self._held += count
        self.memory.take(count)
        self._complete = not message.get("more_body", False)

    def _check_count(self, count: int) -> None:
        if count > self.memory.max_body_bytes:
            detail = f"a request may have {self.memory.max_body_bytes:,} bytes"
            raise Problem("body_too_large", detail, headers=_CLOSE)


def is_endless(scope: Mapping[str, object]) -> bool:
    """Tell whether the body of a request may take as long as it likes, because somebody looks after it."""
    return _ENDLESS in scope


def _too_much_at_once() -> Problem:
    return Problem("overloaded", "too many large requests at once", headers={"Retry-After": "1", **_CLOSE})
