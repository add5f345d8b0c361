"""From the parts of a request to values that were checked: bodies, queries, and what paths name."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from visavis.server.inputs import Body, Encoded, Source, check, read_form, read_json, source_of
from visavis.server.problems import Problem

FORM = "multipart/form-data"
ELSEWHERE: Mapping[str, str] = {"base64": ""}
"""Stands for an image that a form holds."""

_JSON = ("", "application/json")
_NUMBERS = frozenset({"min_face", "threshold", "limit"})
_FLAGS = frozenset({"quality", "allow_conflict", "require_live"})
_FLAG = {"true": True, "false": False}
_MOST_DIGITS = 18  # so that every store can hold the number


_WithImages = TypeVar("_WithImages", bound=BaseModel)
_Query = TypeVar("_Query", bound="Query")


class Query(BaseModel):
    """What may stand behind the question mark; by itself, nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_images(model: type[_WithImages], body: Body, max_images: int) -> tuple[_WithImages, tuple[Source, ...]]:
    """Return a request for images, be it a form or JSON, and its images.

    Raises:
        Problem: it is not valid.
    """
    if body.media_type == FORM:
        images, texts = read_form(body, frozenset({"images"}), max_images)
        options = check(model, {**typed(texts), "images": [ELSEWHERE] * len(images)})
        return options, tuple(Encoded(data) for _, data in images)
    value = json_value(body)
    _check_count(value, max_images)
    options = check(model, value)
    return options, tuple(map(source_of, getattr(options, "images", None) or ()))


def json_value(body: Body, *, also: str = f" or {FORM}") -> Any:  # noqa: ANN401  # JSON
    """Return what a body of JSON says.

    Args:
        body: as it came.
        also: for the message: what else the route takes.

    Raises:
        Problem: it is something else.
    """
    if body.media_type not in _JSON:
        raise Problem("unsupported_media_type", f"send application/json{also}")
    return read_json(body.data)


def typed(texts: Mapping[str, str]) -> dict[str, object]:
    """Turn a form's texts into what JSON would hold.

    Raises:
        Problem: one is not what its name promises.
    """
    return {name: _typed(name, text) for name, text in texts.items()}


def read_query(model: type[_Query], request: Request) -> _Query:
    """Return the query of a request.

    Raises:
        Problem: it is not valid, holds a name twice, or one that the route does not know.
    """
    given = request.query_params.multi_items()
    _refuse_twice(name for name, _ in given)
    return check(model, dict(given))


def check_path(request: Request) -> None:
    """Refuse a path whose percent signs hide something else than UTF-8: two paths might mean the same.

    Raises:
        Problem: it is one.
    """
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid_request", "the path is not UTF-8", status=400) from None


def number_in_path(request: Request, name: str) -> int:
    """Return a number that is part of the path.

    Raises:
        Problem: it is none.
    """
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        detail = f"{name}: must be a whole number of at most {_MOST_DIGITS} digits"
        raise Problem("invalid_request", detail, field=name)
    return int(text)


def header_once(request: Request, name: str) -> str | None:
    """Return the only value of a header, or None.

    Raises:
        Problem: there are several.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem("invalid_request", f"{name}: given twice", field=name)
    return values[0] if values else None


def _refuse_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Problem("invalid_request", f"{name}: given twice", field=name)
        seen.add(name)


def _check_count(value: object, max_images: int) -> None:
    """Count before each is looked at."""
    images = value.get("images") if isinstance(value, dict) else None
    if isinstance(images, list) and len(images) > max_images:
        raise Problem("invalid_request", f"images: at most {max_images}", field="images")


def _typed(name: str, text: str) -> object:
    if name in _NUMBERS:
        try:
            number = float(text)
        except ValueError:
            raise Problem("invalid_request", f"{name}: must be a number", field=name) from None
        return int(number) if name == "limit" and number.is_integer() else number
    if name == "fmr":
        with suppress(ValueError):  # else it may be a name
            return float(text)
    if name == "attributes":
        return [part.strip() for part in text.split(",")] if text else []
    if name in _FLAGS:
        if text not in _FLAG:
            raise Problem("invalid_request", f"{name}: must be true or false", field=name)
        return _FLAG[text]
    if name == "metadata":
        try:
            return read_json(text.encode())
        except Problem:
            raise Problem("invalid_request", f"{name}: must be JSON", field=name) from None
    return text
