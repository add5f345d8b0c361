"""Records: frozen dataclasses that become JSON, and are described by their fields and the texts below them."""

from collections.abc import Mapping
from dataclasses import Field, fields
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

HIDDEN: Mapping[str, Any] = {"hidden": True}
"""Metadata of a field that is left out of JSON."""
WITHOUT_EMBEDDING: Mapping[str, Any] = {"without": "embedding"}
"""Metadata of a field that holds faces, whose embeddings are left out of JSON."""


class Record:
    """Base of what the library returns: a frozen dataclass with a text below each field."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # subclasses are dataclasses
    __pydantic_config__: ClassVar[dict[str, Any]] = {"use_attribute_docstrings": True}
    _sparse: ClassVar[bool] = False  # whether members that are None are left out of JSON

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        members = {}
        for name, left_out in _members(type(self)):  # type: ignore[arg-type]  # classes have hashes
            value = getattr(self, name)
            if value is None and self._sparse:
                continue
            members[name] = value = plain(value)
            if left_out:
                for item in value if isinstance(value, list) else [value or {}]:
                    item.pop(left_out, None)
        return members

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        """Describe what ``to_dict`` returns."""
        reference = handler(schema)
        described = handler.resolve_ref_schema(reference)
        for each in fields(cls):
            member = described["properties"].pop(each.name)
            if "hidden" in each.metadata:
                continue
            member.pop("default", None)
            if "without" in each.metadata:
                member = _without(each.metadata["without"], member, handler)
            for one in (member, *member.get("anyOf", ())):
                if len(kinds := one.get("prefixItems", ())) > 1 and all(kind == kinds[0] for kind in kinds):
                    one["items"] = one.pop("prefixItems")[0]  # so many of one kind
            described["properties"][each.name] = member
            if cls._sparse and "anyOf" in member:
                member.update(*(kind for kind in member.pop("anyOf") if kind != {"type": "null"}))
        members = described["properties"]
        described["required"] = [
            each.name for each in fields(cls) if each.name in members and not (cls._sparse and each.default is None)
        ]
        return reference


@cache
def _members(kind: type[Any]) -> tuple[tuple[str, str | None], ...]:
    """Return the fields that become JSON, and what their records leave out."""
    return tuple((each.name, each.metadata.get("without")) for each in fields(kind) if "hidden" not in each.metadata)


_PLAIN = {str, int, float, bool, type(None)}


def plain(value: object) -> Any:  # noqa: ANN401  # whatever JSON may hold
    """Return what is ready for JSON: lists, dicts, strings, numbers; times in ISO 8601, in UTC with a Z."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if hasattr(value, "tolist"):  # an array, or a number of NumPy's
        return value.tolist()
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _without(name: str, schema: Any, handler: "GetJsonSchemaHandler") -> Any:  # noqa: ANN401  # JSON schema
    """Return a schema whose records, written out in place, lack a member."""
    if isinstance(schema, list):
        return [_without(name, each, handler) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**handler.resolve_ref_schema(schema)}
        members = {key: each for key, each in schema["properties"].items() if key != name}
        return {**schema, "properties": members, "required": [key for key in schema["required"] if key != name]}
    return {key: _without(name, each, handler) for key, each in schema.items()}
