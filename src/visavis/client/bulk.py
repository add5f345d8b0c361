"""Many lines in, many lines out: sent a chunk at a time, and read as they come."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from visavis.client.exchange import (
    Answer,
    Call,
    Each,
    Found,
    NoAnswer,
    Patience,
    Read,
    Steps,
    Work,
    exchange,
    unreachable,
)
from visavis.client.gallery_answers import enrolled
from visavis.client.lines import Chunk, Line
from visavis.client.reading import check_good, error_of, if_any, members, trusting, truth, whole
from visavis.errors import ImageTooLarge, ServerError, VisavisError
from visavis.service.results import Enrolled

_MEDIA_TYPE = "application/x-ndjson"
_LONGEST_LINE = 100_000_000  # of an answer: several times the largest picture

_Thing = TypeVar("_Thing")
_Results: TypeAlias = dict[int, Enrolled | VisavisError]
_Outcome: TypeAlias = tuple[_Results, VisavisError | None]


def send_lines(
    call: Call, things: Iterable[_Thing], to_line: Callable[[_Thing], Line | VisavisError], patience: Patience
) -> Each[Enrolled | VisavisError]:
    """Send things as lines, and find for each that asks for an enrolment, in order, what became of it.

    They are taken from the iterable a chunk at a time. A call is answered before the next is made: over HTTP/1.1 a
    client that still sends does not listen, and both sides might wait for each other. Each line has an idempotency key,
    so that a chunk whose answer was lost can be sent again.

    Args:
        call: without its body.
        things: whatever ``to_line`` takes.
        to_line: turns one into a line; it may take a while.
        patience: with the server.

    Raises:
        VisavisError: not a line failed but a whole call.
    """
    chunk = Chunk()
    for thing in things:
        entry: Line | VisavisError = yield Work(partial(to_line, thing))
        if not chunk.has_room_for(entry):
            yield from _send(call, chunk, patience)
            chunk = Chunk()
        chunk.add(entry)
        if chunk.full:
            yield from _send(call, chunk, patience)
            chunk = Chunk()
    yield from _send(call, chunk, patience)


def read_lines(call: Call, patience: Patience) -> Each[dict[str, Any]]:
    """Find the objects that a streamed answer consists of, one a line, as they come.

    Raises:
        VisavisError: the call failed, or its answer broke off.
    """
    answer = yield from exchange(replace(call, streamed=True), patience)
    check_good(answer)
    if not answer.headers.get("content-type", "").startswith(_MEDIA_TYPE):
        raise ServerError("this is not the answer of a visavis server", status=answer.status)
    rest = bytearray()
    while True:
        part: bytes | NoAnswer | None = yield Read()
        if isinstance(part, NoAnswer):
            raise unreachable(part, patience) from part.cause
        *ended, begun = (b"\n" if part is None else part).split(b"\n")
        for piece in ended:
            line = bytes(rest) + piece
            rest.clear()
            if line.strip():
                yield Found(_object(line, answer))
        rest += begun
        if len(rest) > _LONGEST_LINE:
            raise ServerError(f"the server sent a line of more than {_LONGEST_LINE:,} bytes", status=answer.status)
        if part is None:
            return


def _object(line: bytes, answer: Answer) -> dict[str, Any]:
    with trusting(answer):
        return members(json.loads(line))


def _send(call: Call, chunk: Chunk, patience: Patience) -> Each[Enrolled | VisavisError]:
    pending = chunk.entries
    while pending:
        lines = dict(enumerate((entry for entry in pending if isinstance(entry, Line)), 1))
        results, failure = yield from _exchange(call, lines, patience)
        numbers = iter(lines)
        for position, entry in enumerate(pending):  # noqa: B007  # it tells how far this came
            if isinstance(entry, VisavisError):
                yield Found(entry)
            elif (number := next(numbers)) in results:
                yield Found(results[number])
            elif entry.has_face:
                break
        else:
            position = len(pending)
        if failure is not None:
            raise failure
        pending = pending[position:]


def _exchange(call: Call, lines: Mapping[int, Line], patience: Patience) -> Steps[_Outcome]:
    """Return what became of each line, and what broke the whole off, if anything did.

    Where neither says what became of a line, it was not reached: another call may.
    """
    if not lines:
        return {}, None
    body = b"".join(line.data + b"\n" for line in lines.values())
    answer = yield from exchange(replace(call, body=body, media_type=_MEDIA_TYPE), patience)
    check_good(answer)
    with trusting(answer):
        return _read(answer, lines)


def _read(answer: Answer, lines: Mapping[int, Line]) -> _Outcome:
    results: _Results = {}
    for value in map(json.loads, answer.body.splitlines()):
        number = if_any(whole, value.get("line"))
        if number is not None and lines[number].has_face:
            results[number] = _result(value, lines[number], answer)
            continue
        missing = next((number for number, line in lines.items() if number not in results and line.has_face), None)
        if "error" in value:
            failure = error_of(members(value["error"]), answer, name=None if missing is None else lines[missing].name)
            if missing is None or not isinstance(failure, ImageTooLarge):
                return results, failure
            results[missing] = failure  # That line was too long, and nothing behind it was read.
            return results, None
        if truth(value["done"]) and missing is None:
            return results, None
    return results, ServerError("the server's answer ended before it was complete", status=answer.status)


def _result(value: Mapping[str, Any], line: Line, answer: Answer) -> Enrolled | VisavisError:
    if "error" in value:
        return error_of(members(value["error"]), answer, name=line.name)
    return enrolled(value)
