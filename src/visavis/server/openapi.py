"""OpenAPI document: what FastAPI cannot know by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from visavis.server.problems import KINDS, MEDIA_TYPE
from visavis.server.requests import GALLERY_PATTERN, MOST_IMAGES, ProblemDetails, Query

_REF = "#/components/schemas/{model}"
_PROBLEM = {"$ref": _REF.format(model=ProblemDetails.__name__)}
_REQUEST_ID = {"X-Request-Id": {"description": "Names this request in the server's log.", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_AUTHENTICATE = {"WWW-Authenticate": {"description": "How to send a key.", "schema": {"type": "string"}}}
_EXTRA_HEADERS: Mapping[int, Mapping[str, Any]] = {401: _AUTHENTICATE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}

FOR_EVERY_CALL = ("unauthorized", "forbidden", "rate_limited", "internal")
FOR_BODIES = ("request_timeout", "body_too_large", "unsupported_media_type", "invalid_request", "overloaded")
_MALFORMED = 400


def problem_answers(*codes: str, malformed: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of these codes, as FastAPI's ``responses`` takes them.

    Args:
        codes: which there are.
        malformed: whether "invalid_request" also comes with the status 400.
    """
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(KINDS[code].status, []).append(code)
    if malformed:
        found[_MALFORMED] = ["invalid_request"]
    return {status: _problem_answer(status, found[status]) for status in sorted(found)}


def document(
    model: type[BaseModel],
    *codes: str,
    status: int = 200,
    headers: Mapping[str, Any] | None = None,
    also: Mapping[int | str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a decorator of a route that takes a body says about its answers.

    Args:
        model: of the answer.
        codes: of errors, besides those that every such call may have.
        status: of the answer.
        headers: of the answer, as OpenAPI describes them.
        also: further answers.
    """
    answer = {"model": model, **({"headers": dict(headers)} if headers else {})}
    answers = problem_answers(*FOR_EVERY_CALL, *FOR_BODIES, *codes, malformed=True)
    return {"status_code": status, "responses": {status: answer, **(also or {}), **answers}}


def json_body(model: type[BaseModel], *, example: Any = None, form: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Return the description of a body that is JSON, or also a form of this schema."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
    if example is not None:
        content["application/json"]["example"] = example
    if form is not None:
        content["multipart/form-data"] = {"schema": dict(form)}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI, requests: Sequence[type[BaseModel]], max_images: int) -> None:
    """Let the application serve the whole document, these requests included."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, requests, max_images)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI says


def _complete(app: FastAPI, requests: Sequence[type[BaseModel]], max_images: int) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        license_info=app.license_info,
    )
    models: list[type[BaseModel]] = [*requests, ProblemDetails]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"]
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                answer["headers"] = {**_REQUEST_ID, **_EXTRA_HEADERS.get(int(status), {}), **answer.get("headers", {})}
    _limit(schema, max_images)
    return schema


def _limit(node: object, max_images: int) -> None:
    """Say how many images there may be, wherever that is marked."""
    if isinstance(node, dict):
        if node.pop(MOST_IMAGES, False):
            node["maxItems"] = max_images
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _limit(child, max_images)


def _problem_answer(status: int, codes: Sequence[str]) -> dict[str, Any]:
    titles = list(dict.fromkeys(KINDS[code].title for code in codes))
    code = codes[0]
    example = {
        "type": f"urn:visavis:problem:{code}",
        "title": titles[0],
        "status": status,
        "detail": "what to mend",
        "code": code,
        "request_id": "5f0c8a1be2d94c37",
    }
    return {"description": "; or: ".join(titles), "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}}}


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
