"""What the OpenAPI document says of the gallery routes' parameters and answers."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from visavis.server.gallery_requests import GALLERY_PATTERN
from visavis.server.openapi import FOR_EVERY_CALL, problem_answers
from visavis.server.reading import Query

_NAME = {"type": "string", "pattern": GALLERY_PATTERN}
_ID = {"type": "string", "minLength": 1, "maxLength": 200}
_TAGS = {"type": "string"}
_KEY = {"type": "string", "minLength": 1, "maxLength": 180, "pattern": "^[ -~]+$"}

_PATH: Mapping[str, Mapping[str, Any]] = {
    "gallery": {"description": "A gallery's name.", "schema": _NAME, "example": "team"},
    "subject": {
        "description": "A subject's ID, percent-encoded.",
        "schema": _ID,
        "example": "ada",
    },
    "sample": {"description": "A sample's ID.", "schema": {"type": "integer", "minimum": 1}, "example": 1},
}
IF_MATCH: Mapping[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "description": "Entity tags: go on only where the subject is in one of these states; `*` for any.",
    "schema": _TAGS,
}
IF_NONE_MATCH: Mapping[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Entity tags: answer 304 where the subject still is in one of these states.",
    "schema": _TAGS,
}
IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A call repeated with the same key enrols nobody twice. 1 to 180 printable ASCII characters.",
    "schema": _KEY,
}
ETAG = {"ETag": {"description": "The subject's state, for If-Match and If-None-Match.", "schema": {"type": "string"}}}
LOCATION = {"Location": {"description": "The gallery's path.", "schema": {"type": "string"}}}

# Also reading may write: those whose time is over are forgotten first.
_OF_GALLERIES = ("invalid_request", "overloaded", "store_unavailable", "store_full")


def inputs(
    path: str,
    *headers: Mapping[str, Any],
    query: type[Query] = Query,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a decorator of a route says about what it takes, as ``openapi_extra``."""
    named = [
        {"name": name, "in": "path", "required": True, **part} for name, part in _PATH.items() if f"{{{name}}}" in path
    ]
    return {"parameters": [*named, *map(dict, headers), *_of_query(query)], **(body or {})}


def answers(
    model: type[BaseModel],
    *codes: str,
    headers: Mapping[str, Any] | None = None,
    also: Mapping[int | str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a decorator of a route without a body says about its answers.

    Args:
        model: of the answer.
        codes: of errors, besides those that all calls to galleries may have.
        headers: of the answer.
        also: further answers.
    """
    answer = {"model": model, **({"headers": dict(headers)} if headers else {})}
    return {"status_code": 200, "responses": {200: answer, **(also or {}), **errors(*codes)}}


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a call to galleries, as OpenAPI describes them."""
    return problem_answers(*FOR_EVERY_CALL, *_OF_GALLERIES, *codes, malformed=True)


def _of_query(query: type[Query]) -> list[dict[str, Any]]:
    properties = query.model_json_schema()["properties"] if query.model_fields else {}
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description", ""),
            "schema": {key: value for key, value in schema.items() if key not in ("title", "examples")},
        }
        for name, schema in properties.items()
    ]
