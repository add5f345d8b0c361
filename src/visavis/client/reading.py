"""Read answers, trusting nothing: what is not as it should be is an error of the server, problems are the library's."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, TypeVar

from visavis import errors
from visavis.client.exchange import Answer
from visavis.errors import InputError, ServerError, ServerOverloaded, SetupError, StateError, VisavisError

_GOOD = frozenset({200, 201})
_BUSY = frozenset({429, 503})
_LONGEST_DETAIL = 1000
# What can come of reading something else than what was expected.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

_LEAVES = {
    leaf.code: leaf
    for leaf in vars(errors).values()
    if isinstance(leaf, type) and issubclass(leaf, InputError | SetupError | StateError) and "code" in vars(leaf)
}
# What only the server tells apart.
_BY_CODE = {**_LEAVES, "body_too_large": errors.ImageTooLarge, "invalid_request": errors.InvalidOption}

_Value = TypeVar("_Value")


def check_good(answer: Answer, names: Mapping[str, str] | None = None) -> None:
    """Let a good answer pass.

    Args:
        answer: to be looked at.
        names: what messages call the parts of the request that a problem may be about.

    Raises:
        VisavisError: the call failed.
    """
    if answer.status not in _GOOD:
        raise error_of(_problem(answer), answer, names)


@contextmanager
def content(answer: Answer, names: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Give the JSON of an answer; what is wrong with it, or with how it is read, is an error of the server.

    Raises:
        VisavisError: the call failed.
    """
    check_good(answer, names)
    with trusting(answer):
        yield json.loads(answer.body)


@contextmanager
def trusting(answer: Answer) -> Iterator[None]:
    """Read what the server sent as if it were right.

    Raises:
        ServerError: it is not.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise ServerError("this is not the answer of a visavis server", status=answer.status) from error


def error_of(
    problem: Mapping[str, Any], answer: Answer, names: Mapping[str, str] | None = None, name: str | None = None
) -> VisavisError:
    """Return the error that a problem means: the library's own where there is one of that code.

    Args:
        problem: its members.
        answer: that it came with.
        names: as in ``check_good``.
        name: what messages call the one thing that it can only be about.
    """
    code = _short(problem, "code")
    detail = _short(problem, "detail") or _short(problem, "title") or f"the server answered with status {answer.status}"
    name = name or (names or {}).get(_short(problem, "field"))
    leaf = _BY_CODE.get(code)
    if leaf in (errors.FetchRefused, errors.FetchFailed):
        return leaf(detail.rpartition(": ")[2])  # which says the rest itself
    if leaf is not None and issubclass(leaf, InputError | StateError):
        return leaf(f"{name}: {detail}" if name else detail)
    request_id = _short(problem, "request_id") or answer.headers.get("x-request-id")
    if leaf is not None:
        return leaf(f"{detail} (request {request_id})" if request_id else detail)
    kind = ServerOverloaded if answer.status in _BUSY else ServerError
    return kind(detail, code=code or None, status=answer.status, request_id=request_id)


def _problem(answer: Answer) -> Mapping[str, Any]:
    """Return the problem details of an answer; nothing where somebody else gave it, such as a proxy."""
    try:
        problem = json.loads(answer.body)
    except _UNREADABLE:
        return {}
    return problem if isinstance(problem, dict) else {}


def _short(problem: Mapping[str, Any], member: str) -> str:
    value = problem.get(member)
    return value[:_LONGEST_DETAIL] if isinstance(value, str) else ""


# Members of JSON, each of which is what it is called or a TypeError or ValueError.


def text(value: object) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise TypeError
    return value


def whole(value: object) -> int:
    """Return an int."""
    if type(value) is not int:
        raise TypeError
    return value


def number(value: object) -> float:
    """Return a finite number."""
    if type(value) not in (int, float):
        raise TypeError
    if not math.isfinite(value):  # type: ignore[arg-type]  # it is a number
        raise ValueError
    return float(value)  # type: ignore[arg-type]  # likewise


def truth(value: object) -> bool:
    """Return true or false."""
    if type(value) is not bool:
        raise TypeError
    return value


def members(value: object) -> dict[str, Any]:
    """Return an object of JSON."""
    if not isinstance(value, dict):
        raise TypeError
    return value


def moment(value: object) -> datetime:
    """Return a time, in UTC."""
    time = datetime.fromisoformat(text(value).replace("Z", "+00:00"))
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(timezone.utc)


def among(value: object, allowed: tuple[str, ...]) -> Any:  # noqa: ANN401  # one of the literals that the caller means
    """Return one of several strings."""
    if value not in allowed:
        raise ValueError
    return value


def every(read: Callable[[Any], _Value], value: object) -> tuple[_Value, ...]:
    """Return the items of a list, each read."""
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(read, value))


def if_any(read: Callable[[Any], _Value], value: object) -> _Value | None:
    """Return what is read, or None where there is null."""
    return None if value is None else read(value)
