"""A call and its answer, with patience: what to try again, and after how long."""

import logging
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeAlias, TypeVar

from visavis.errors import ServerUnreachable

_log = logging.getLogger("visavis")

_Value = TypeVar("_Value")

_BUSY = frozenset({429, 503})
_FIRST_WAIT_S = 0.25  # doubled for each further try
_LONGEST_WAIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request; with files it is a form.

    Attributes:
        method: of HTTP.
        path: below the server's address, percent-encoded where that is necessary.
        query: after the path.
        headers: besides those that every call has.
        body: where it is no form.
        media_type: of the body.
        fields: of the form, besides the files.
        files: name of the part, and content.
        repeatable: whether doing it twice comes to the same as doing it once. Where it does not, nothing is tried again
            that the server may have got and not answered.
        streamed: whether a good answer comes without its body, which is then read part by part.
    """

    method: str
    path: str
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = field(default=None, repr=False)  # personal data: not in logs by accident
    media_type: str = "application/json"
    fields: Mapping[str, str] | None = field(default=None, repr=False)
    files: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    repeatable: bool = True
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """What happened in its place.

    Attributes:
        reason: for people.
        passing: whether another try may well succeed.
        unsent: whether the server cannot have got the call.
        cause: the exception behind it.
    """

    reason: str
    passing: bool
    unsent: bool
    cause: Exception


@dataclass(frozen=True, slots=True)
class Pause:
    """Ask for time to pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Ask for something that takes a while to be done, such as reading a file, and for what it returns."""

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for the next part of a streamed answer: bytes, or None at its end, or ``NoAnswer`` where it broke off."""


@dataclass(frozen=True, slots=True)
class Found(Generic[_Value]):
    """Give something to whoever iterates; nothing is sent for it."""

    value: _Value


Step: TypeAlias = Call | Pause | Work | Read
Steps: TypeAlias = Generator[Step, Any, _Value]
"""Yields steps, is sent what came of each, and returns a value. Calls lead to an ``Answer`` or ``NoAnswer``."""
Each: TypeAlias = Generator[Step | Found[_Value], Any, None]
"""Yields steps as well, and between them what it finds."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try.

    Attributes:
        server: whose address messages tell.
        timeout_s: the longest time that the server may have itself waited for.
        retries: how often to try again where the server is busy or cannot be reached.
    """

    server: str
    timeout_s: float
    retries: int


def exchange(call: Call, patience: Patience) -> Steps[Answer]:
    """Make a call, and again while that helps and does no harm; return the last answer.

    Raises:
        ServerUnreachable: there was none.
    """
    for tries_left in range(patience.retries, -1, -1):
        outcome: Answer | NoAnswer = yield call
        wait_s = _wait_s(call, outcome, patience.retries - tries_left, patience.timeout_s) if tries_left else None
        if wait_s is None:
            break
        reason = outcome.reason if isinstance(outcome, NoAnswer) else f"status {outcome.status}"
        _log.debug("%s: %s; trying again in %.2f s", patience.server, reason, wait_s)
        yield Pause(wait_s)
    if isinstance(outcome, NoAnswer):
        raise unreachable(outcome, patience) from outcome.cause
    return outcome


def unreachable(outcome: NoAnswer, patience: Patience) -> ServerUnreachable:
    """Return the error that a missing answer is."""
    return ServerUnreachable(f"{patience.server} cannot be reached: {outcome.reason}")


def _wait_s(call: Call, outcome: Answer | NoAnswer, tries: int, longest_s: float) -> float | None:
    """Return how long to wait before the next try, or None where there should be none."""
    asked_for_s = 0.0
    if isinstance(outcome, NoAnswer):
        again = outcome.passing and (call.repeatable or outcome.unsent)
    else:
        # A server that says that it is busy has done nothing: that call may be made again, whatever it is.
        asked_for_s = retry_after_s(outcome.headers.get("retry-after", ""))
        again = outcome.status in _BUSY and asked_for_s <= longest_s
    wait_s = min(_FIRST_WAIT_S * 2.0**tries, _LONGEST_WAIT_S)
    # Scattered, so that clients that were turned away together do not come back together.
    return asked_for_s + wait_s * random.uniform(0.5, 1.0) if again else None  # noqa: S311  # no secret


def retry_after_s(value: str) -> float:
    """Return how many seconds from now the header Retry-After names, in either of its forms; 0 if in none."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
