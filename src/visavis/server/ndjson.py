"""Lines of a body that may be endless, as they come: a few at a time, in bounded memory, with an eye on the clock."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Message

from visavis.server.limits import Intake
from visavis.server.problems import Problem
from visavis.server.runner import ClientGone

MEDIA_TYPE = "application/x-ndjson"

_MOST_LINES = 500  # in a batch
_LINGER_S = 0.05  # how long a batch that is not full waits for more
_LOOK_S = 0.5  # how often to look whether the server is stopping
_MOST_AHEAD_BYTES = 262_144
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank.

    Attributes:
        number: from 1; blank lines count.
        data: without its end.
        size: in bytes, with its end.
    """

    number: int
    data: bytes = field(repr=False)
    size: int


class LineReader:
    """Reads lines in batches. What it gave out counts as held in memory until it is released."""

    def __init__(self, intake: Intake, is_stopping: Callable[[], bool]) -> None:
        """Begin to read.

        Args:
            intake: of the request. No line may be longer than what another request may have in all.
            is_stopping: whether the server is, so that reading is to end soon.
        """
        self._intake = intake
        self._is_stopping = is_stopping
        self._longest = intake.memory.max_body_bytes
        self._begun = bytearray()  # a line whose end has not come
        self._lines: deque[Line] = deque()
        self._waiting_bytes = 0
        self._number = 0
        self._pending: asyncio.Future[Message] | None = None
        self._ahead: deque[Message] = deque()  # what came while a batch was worked on
        self._ahead_bytes = 0
        self._end: Problem | None = None
        self._complete = False

    async def batch(self) -> list[Line]:
        """Return the next lines: those that are here, some hundreds at most; none where the body has ended.

        Raises:
            Problem: the rest cannot be read: a line is too long, nothing came for too long, or the server is stopping
                or has no memory. All lines before have been returned.
            ClientGone: the client has left.
        """
        self._check_stopping()
        while not (self._complete or self._end or self._is_full):
            message = await self._next(_LINGER_S if self._lines else None)
            if message is None:
                break
            self._take(message)
        if not self._lines and self._end:
            raise self._end
        lines = list(self._lines)
        self._lines.clear()
        self._waiting_bytes = 0
        return lines

    async def read_ahead(self) -> None:
        """Take in a body that is no larger than that of other requests: many clients send all before they read.

        Raises:
            ClientGone: the client has left.
        """
        announced = self._intake.announced
        if announced is None or announced > self._longest:
            return
        try:
            while not (self._complete or self._end):
                message = await self._next(None)
                if message is not None:
                    self._take(message)
        except Problem as problem:
            self._end = problem

    def release(self, line: Line) -> None:
        """Let go of a line."""
        self._intake.release(line.size)

    async def gone(self) -> None:
        """End when the client has left; to find out, a little more is taken in, and kept for later."""
        while not (self._ahead and _is_farewell(self._ahead[-1])):
            if self._pending is None:
                if self._intake.memory.is_short or self._ahead_bytes >= _MOST_AHEAD_BYTES:
                    await asyncio.Event().wait()  # until somebody cancels it
                self._pending = asyncio.ensure_future(self._intake.next_piece())
            await asyncio.wait({self._pending})
            self._ahead.append(self._pending.result())
            self._ahead_bytes += len(self._ahead[-1].get("body", b""))
            self._pending = None

    def close(self) -> None:
        """Read no further."""
        if self._pending is not None:
            self._pending.cancel()

    @property
    def _is_full(self) -> bool:
        return len(self._lines) >= _MOST_LINES or self._waiting_bytes >= self._longest

    async def _next(self, linger_s: float | None) -> Message | None:
        """Return what comes next, or None where nothing does and there are lines to go on with."""
        timeout_s = self._intake.read_timeout_s
        if self._ahead:
            message = self._ahead.popleft()
            self._ahead_bytes -= len(message.get("body", b""))
            return message
        if self._pending is None:
            if self._intake.memory.is_short:
                if self._lines:
                    return None
                await self._intake.memory.wait(timeout_s)
            self._pending = asyncio.ensure_future(self._intake.next_piece())
        deadline = time.monotonic() + (timeout_s if linger_s is None else linger_s)
        while not self._pending.done():
            left = deadline - time.monotonic()
            if left <= 0 and linger_s is not None:
                return None
            if left <= 0:
                raise Problem("request_timeout", f"the next bytes must arrive within {timeout_s:g} s")
            if linger_s is None:
                self._check_stopping()
            await asyncio.wait({self._pending}, timeout=min(left, _LOOK_S))
        message = self._pending.result()
        self._pending = None
        return message

    def _check_stopping(self) -> None:
        if self._is_stopping():
            raise Problem("overloaded", "the server is stopping; send the rest again, later or elsewhere")

    def _take(self, message: Message) -> None:
        """Split what came into lines."""
        if _is_farewell(message):
            raise ClientGone
        self._complete = not message.get("more_body", False)
        *ended, last = message.get("body", b"").split(b"\n")
        for rest in ended:
            self._begun += rest
            self._add(len(self._begun) + 1)
        self._begun += last
        if self._complete and self._begun:
            self._add(len(self._begun))
        self._check_length(self._number + 1, len(self._begun))

    def _add(self, size: int) -> None:
        """Take the line that has ended, unless it is blank or something has gone wrong before it."""
        self._number += 1
        self._check_length(self._number, len(self._begun))
        data = bytes(self._begun).strip()
        self._begun.clear()
        if self._number == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if not data or self._end:
            self._intake.release(size)
            return
        self._lines.append(Line(self._number, data, size))
        self._waiting_bytes += size

    def _check_length(self, number: int, length: int) -> None:
        if length > self._longest and not self._end:
            detail = f"line {number} is too long: a line may have {self._longest:,} bytes; nothing after it was read"
            self._end = Problem("body_too_large", detail)


def _is_farewell(message: Message) -> bool:
    return bool(message["type"] == "http.disconnect")
