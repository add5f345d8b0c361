"""Types of the JavaScript client, clients/js/api.d.ts, made of the reviewed OpenAPI document."""

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from visavis.server.problems import KINDS

ROOT = Path(__file__).parents[1]
DOCUMENT, TYPES = ROOT / "tests" / "openapi.json", ROOT / "clients" / "js" / "api.d.ts"
_HEAD = "// Made of the server's OpenAPI document by tools/typescript.py. Do not edit.\n"
_PLAIN = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}


def declared(document: Mapping[str, Any]) -> str:
    """Return the declarations of all that calls of the API take and answer."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    codes = _union(map(json.dumps, KINDS))
    parts = [_HEAD, f"\n/** What the server says went wrong. */\nexport type ServerCode = {codes};\n"]
    for name in _used(document):
        text, schema = _comment(schemas[name].get("description", "")), schemas[name]
        parts.append(f"\n{text}export type {name} = {_type(schema)};\n")
    return "".join(parts)


def _operations(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for operations in document["paths"].values():
        yield from (operation for operation in operations.values() if "old services" not in operation["tags"])


def _used(document: Mapping[str, Any]) -> list[str]:
    """Return the schemas that the calls of the API need, and those that these need."""
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    wanted = {name for operation in _operations(document) for name in _references(operation)}
    while wanted:
        found |= wanted
        wanted = {name for each in wanted for name in _references(schemas[each])} - found
    return sorted(found)


def _references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def _type(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("anyOf") or ("properties" not in schema and schema.get("oneOf"))
    match schema:
        case {"$ref": reference}:
            written = str(reference).rpartition("/")[2]
        case {"enum": values}:
            written = _union(map(json.dumps, values))
        case _ if kinds:
            written = _union(map(_type, kinds))
        case {"type": "array", "prefixItems": items}:
            written = f"[{', '.join(map(_type, items))}]"
        case {"type": "array"}:
            written = f"Array<{_type(schema.get('items', {}))}>"
        case {"properties": members}:
            written = _object(members, schema.get("required", ()))
        case {"type": "object", "additionalProperties": {"type": _} as values}:
            written = f"Record<string, {_type(values)}>"
        case {"type": "object"}:
            written = "Record<string, unknown>"
        case {"type": str(kind)}:
            written = _PLAIN[kind]
        case _:
            written = "unknown"
    return written


def _object(members: Mapping[str, Any], required: Collection[str]) -> str:
    lines = "".join(
        f"{_comment(member.get('description', ''))}{name}{'' if name in required else '?'}: {_type(member)};\n"
        for name, member in members.items()
    )
    return f"{{\n{indent(lines, '  ')}}}"


def _union(kinds: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(kinds))


def _comment(text: str) -> str:
    return f"/** {' '.join(text.split()).replace('*/', '* /')} */\n" if text else ""


if __name__ == "__main__":
    TYPES.write_text(declared(json.loads(DOCUMENT.read_text())))
    sys.stdout.write(f"{TYPES}\n")
