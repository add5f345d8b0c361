"""The HTTP API as its OpenAPI document tells it; words, names of schemas, and which way to say it do not count."""

import json
from collections.abc import Mapping
from typing import Any

_WORDS = ("title", "description", "summary", "example", "examples", "externalDocs")
_OF_TYPE = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": ("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
}
_OF_TYPE["integer"] = _OF_TYPE["number"]
_NOTHING_ELSE: dict[str, Any] = {"additionalProperties": {"not": {}}}
_PROBLEM = "application/problem+json"


def shape(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client has to know, by operation; problems, which are all alike, once."""
    problems: dict[str, Any] = {}
    operations = {
        f"{method.upper()} {path}": _operation(document, item, method, problems)
        for path, item in sorted(document["paths"].items())
        for method in sorted(set(item) - {"parameters", *_WORDS})
    }
    security = {name: _wordless(scheme) for name, scheme in document["components"].get("securitySchemes", {}).items()}
    return {"security": security, "problems": list(problems.values()), **operations}


def _operation(document: Mapping[str, Any], item: Mapping[str, Any], method: str, problems: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
    operation = item[method]
    parameters = [_resolve(document, one) for one in (*item.get("parameters", ()), *operation.get("parameters", ()))]
    told: dict[str, Any] = {
        "id": operation["operationId"],
        "tags": operation.get("tags", []),
        "security": sorted(operation.get("security", []), key=_text),
        "parameters": {
            f"{one['in']} {one['name']}": {
                "required": one.get("required", False),
                "schema": _schema(document, one["schema"]),
            }
            for one in sorted(parameters, key=lambda one: (one["in"], one["name"]))
        },
    }
    if "requestBody" in operation:
        body = _resolve(document, operation["requestBody"])
        told["body"] = {"required": body.get("required", False), "content": _content(document, body.get("content", {}))}
    answers: dict[str, list[str]] = {}
    for status, given in sorted(operation["responses"].items()):
        answers.setdefault(_text(_answer(document, given, problems)), []).append(status)
    told["answers"] = {", ".join(statuses): json.loads(answer) for answer, statuses in answers.items()}
    return told


def _answer(document: Mapping[str, Any], given: Mapping[str, Any], problems: dict[str, Any]) -> dict[str, Any]:
    answer = _resolve(document, given)
    headers = {name.lower(): _resolve(document, header) for name, header in answer.get("headers", {}).items()}
    content: dict[str, Any] = {
        kind: _told(schema) for kind, schema in _content(document, answer.get("content", {})).items()
    }
    if _PROBLEM in content:
        problem = content[_PROBLEM]
        content[_PROBLEM] = f"problem {list(problems | {_text(problem): problem}).index(_text(problem)) + 1}"
        problems[_text(problem)] = problem
    return {
        "headers": {name: _schema(document, header.get("schema", {})) for name, header in sorted(headers.items())},
        "content": content,
    }


def _content(document: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: _schema(document, media.get("schema", {})) for kind, media in sorted(content.items())}


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an answer: without defaults, which only requests have, and open to further members."""
    told: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            told[name] = {member: _told(part) for member, part in value.items()}
        elif isinstance(value, dict):
            told[name] = _told(value)
        else:
            told[name] = [_told(part) for part in value] if name in ("anyOf", "prefixItems") else value
    return {name: value for name, value in told.items() if name != "default" and value != _NOTHING_ELSE.get(name)}


def _resolve(document: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node without its reference, and without words; what stands beside a reference goes on top."""
    plain = _wordless(node)
    while "$ref" in plain:
        target: Any = document
        for part in plain.pop("$ref").removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        plain = {**_wordless(target), **plain}
    return plain


def _wordless(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in _WORDS}


def _schema(document: Mapping[str, Any], schema: Any, within: tuple[str, ...] = ()) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Return a schema in the one form that all that mean the same have."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    reference = schema.get("$ref")
    if reference in within:
        return {"again": len(within) - within.index(reference)}
    within = (*within, reference) if reference else within
    plain = _resolve(document, schema)
    plain.pop("discriminator", None)
    for part in plain.pop("allOf", ()):
        plain = {**_schema(document, part, within), **plain}
    variants = [*plain.pop("anyOf", ()), *plain.pop("oneOf", ())]
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    kinds = plain.get("type")
    if isinstance(kinds, list) and len(kinds) > 1:
        variants = [_of_kind(plain, kind) for kind in kinds]
        plain = {name: plain[name] for name in ("default",) if name in plain}
    elif isinstance(kinds, list):
        plain["type"] = kinds[0]
    alternatives = [_schema(document, variant, within) for variant in variants]
    return _joined({name: _part(document, name, value, within) for name, value in plain.items()}, alternatives)


def _of_kind(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return that part of a schema that is about one of its types."""
    others = {name for names in _OF_TYPE.values() for name in names} - set(_OF_TYPE.get(kind, ()))
    rest = {name: value for name, value in schema.items() if name not in {*others, "default", "type"}}
    if "enum" in rest:
        rest["enum"] = [value for value in rest["enum"] if (value is None) == (kind == "null")]
    return {**rest, "type": kind}


def _part(document: Mapping[str, Any], name: str, value: Any, within: tuple[str, ...]) -> Any:  # noqa: ANN401  # JSON
    if name == "properties":
        return {member: _schema(document, value[member], within) for member in sorted(value)}
    if name in ("items", "additionalProperties", "not", "propertyNames", "contains"):
        return _schema(document, value, within)
    if name == "prefixItems":
        return [_schema(document, one, within) for one in value]
    return sorted(value, key=_text) if name in ("required", "enum") else value


def _joined(plain: dict[str, Any], alternatives: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a schema and its alternatives together; that one of them is null is a flag."""
    nullable = plain.pop("nullable", False)
    found: dict[str, dict[str, Any]] = {}
    for alternative in alternatives:
        nullable = alternative.pop("nullable", False) or alternative.get("type") == "null" or nullable
        for one in alternative.get("anyOf", ()) if set(alternative) == {"anyOf"} else (alternative,):
            if one.get("type") != "null":
                found[_text(one)] = one
    if len(found) == 1:
        plain = {**next(iter(found.values())), **plain}
    elif found:
        plain["anyOf"] = [found[text] for text in sorted(found)]
    if plain.get("default", 0) is None:  # which is to leave it out
        del plain["default"]
    for name, nothing in (("additionalProperties", {}), ("required", [])):
        if plain.get(name) == nothing:
            del plain[name]
    return {name: plain[name] for name in sorted(plain)} | ({"nullable": True} if nullable else {})


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
