"""OpenAPI document: what FastAPI cannot know by itself."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from types import GenericAlias
from typing import Any, TypeVar, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from visavis.config import Scope
from visavis.record import Record
from visavis.server.auth import guards
from visavis.server.problems import KINDS, MEDIA_TYPE, ProblemDetails
from visavis.server.reading import FILE, FORM, IMAGE, MOST_IMAGES, Request

_Route = TypeVar("_Route", bound=Callable[..., Any])
_REF = "#/components/schemas/{model}"
_PROBLEM = {"$ref": _REF.format(model=ProblemDetails.__name__)}
_TEXT = {"type": "string"}
_JSON = "application/json"
_REQUEST_ID = {"X-Request-Id": {"description": "Names this request in the server's log.", "schema": _TEXT}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_AUTHENTICATE = {"WWW-Authenticate": {"description": "How to send a key.", "schema": _TEXT}}
_EXTRA_HEADERS: Mapping[int, Mapping[str, Any]] = {401: _AUTHENTICATE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
ETAG = {"ETag": {"description": "The subject's state, for If-Match and If-None-Match.", "schema": _TEXT}}
LOCATION = {"Location": {"description": "The gallery's path.", "schema": _TEXT}}

_PROBLEMS = "x-problems"
_FOR_KEYS = ("unauthorized", "key_expired", "forbidden", "rate_limited", "internal")
_FOR_BODIES = ("request_timeout", "body_too_large", "unsupported_media_type", "invalid_request", "overloaded")
# Also reading may write: those whose time is over are forgotten first.
_OF_GALLERIES = ("invalid_request", "overloaded", "store_unavailable", "store_full")
_OF_PATHS = {f"{{{name}}}": f"{name}_not_found" for name in ("gallery", "subject")}
_MALFORMED, _INVALID = 400, "422"
_FASTAPIS = ("HTTPValidationError", "ValidationError")  # of that answer


def header(name: str, text: str, **schema: object) -> dict[str, Any]:
    """Return the description of a header that a route reads itself."""
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string", **schema}}


def about(
    guarded: Scope | Sequence[Any] = (),
    *codes: str,
    status: int = 200,
    headers: Mapping[str, Any] | None = None,
    also: Mapping[int | str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a decorator of a route says of it besides its path; its docstring says what it does.

    Args:
        guarded: the scope that a key needs for it; or its dependencies, where those are others than this makes.
        codes: of problems, besides those that all routes like it may have.
        status: of the answer.
        headers: of the answer, as OpenAPI describes them.
        also: further answers; that of the status may have a description, too.
        extra: what else OpenAPI says of it.
    """
    answer = {status: {"headers": dict(headers)}} if headers else {}
    return {
        "dependencies": guards(cast("Scope", guarded)) if isinstance(guarded, str) else list(guarded),
        "status_code": status,
        "responses": {**answer, **(also or {})},
        "openapi_extra": {_PROBLEMS: codes, **(extra or {})},
    }


def answers(model: type[Record]) -> Callable[[_Route], _Route]:
    """Return a decorator that tells what a route answers that does not run in a worker."""

    def decorate(route: _Route) -> _Route:
        vars(route)["answer"] = model
        return route

    return decorate


def install(app: FastAPI, max_images: int) -> None:
    """Let the application serve the whole document."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, max_images)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # as FastAPI says


def _complete(app: FastAPI, max_images: int) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        license_info=app.license_info,
    )
    examples = json.loads(resources.files("visavis.server").joinpath("examples.json").read_bytes())
    bodies: set[type[Any]] = set()
    records: set[type[Any]] = {ProblemDetails}
    dialects = (module for module in app.state.dialects if hasattr(module, "answer"))
    translated = [route for module in dialects for route in module.router.routes]
    for route, operation in _operations(document, app.state.routes):
        operation["summary"] = re.split("[.;:]", operation["description"])[0]
        body, answer = (getattr(route.endpoint, name, None) for name in ("body", "answer"))
        if body is not None:
            bodies.add(body)
            operation["requestBody"] = _request_body(body)
            for name, schema in body.texts().items():  # which the query may say in the place of the body
                told = {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
                schema.pop("default", None)  # which is the body's
                operation.setdefault("parameters", []).append(told)
        if isinstance(answer, type) and issubclass(answer, Record):
            records.add(answer)
            for status, told in operation["responses"].items():
                if "content" in told or int(status) == route.status_code:
                    told["content"] = {_JSON: {"schema": {"$ref": _REF.format(model=answer.__name__)}}}
        if example := examples.get(operation["operationId"]):
            (kind,) = operation["responses"][str(route.status_code or 200)]["content"].values()
            kind["example"] = example
        if route in translated:  # whose problems look as their clients expect
            operation.pop(_PROBLEMS, None)
            operation["responses"].pop(_INVALID, None)
            continue
        operation["responses"] |= _problem_answers(route.path, operation)
        for status, told in operation["responses"].items():
            told["headers"] = {**_REQUEST_ID, **_EXTRA_HEADERS.get(int(status), {}), **told.get("headers", {})}
    fastapis = document["components"].get("schemas", {})
    own = {name: fastapis[name] for name in fastapis if name not in _FASTAPIS}
    document["components"]["schemas"] = own | _schemas(records, "serialization") | _schemas(bodies, "validation")
    _limit(document, max_images)
    return document


def _schemas(models: Iterable[type[Any]], mode: JsonSchemaMode) -> dict[str, Any]:
    """Return the schemas of models and of what they hold, by name; all at once, so that each is made once."""
    together = TypeAdapter(cast("Any", GenericAlias(tuple, tuple(models))))
    schemas: dict[str, Any] = together.json_schema(ref_template=_REF, mode=mode)["$defs"]
    return schemas


def _operations(document: Mapping[str, Any], routes: Iterable[object]) -> Iterator[tuple[APIRoute, dict[str, Any]]]:
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                yield route, document["paths"][route.path][method.lower()]


def _request_body(model: type[Request]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if _JSON in model.media_types():
        content[_JSON] = {"schema": {"$ref": _REF.format(model=model.__name__)}}
        if model.example is not None:
            content[_JSON]["example"] = model.example
    if FORM in model.media_types():
        content[FORM] = {"schema": model.form()}
    if IMAGE in model.media_types():
        content[IMAGE] = {"schema": {**FILE, "description": "One image; all else is said in the query."}}
    return {"required": model.needed, "content": content}


def _problem_answers(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    of_galleries = path.startswith(("/v1/galleries", "/v1/log"))
    codes = [
        *(_FOR_KEYS if "security" in operation else ()),
        *(_FOR_BODIES if "requestBody" in operation else ()),
        *(_OF_GALLERIES if of_galleries else ()),
        *(code for name, code in _OF_PATHS.items() if name in path),
        *operation.pop(_PROBLEMS, ()),
    ]
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(KINDS[code].status, []).append(code)
    if "invalid_request" in codes:
        found[_MALFORMED] = ["invalid_request"]
    return {str(status): _problem_answer(status, found[status]) for status in sorted(found)}


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


def _limit(node: object, max_images: int) -> None:
    """Say how many images there may be, wherever that is marked."""
    if isinstance(node, dict):
        if node.pop(MOST_IMAGES, False):
            node["maxItems"] = max_images
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _limit(child, max_images)
