"""Titled facts: the shape of what ``doctor`` and ``models`` tell."""

from collections.abc import Mapping
from typing import TypeAlias

from visavis.cli.messages import printable

FactValue: TypeAlias = str | int | float | bool | None
Facts: TypeAlias = Mapping[str, FactValue]
"""Names and values, ready for JSON."""


def readable(title: str, facts: Facts) -> str:
    """Return the title and below it a line for each fact, aligned."""
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {_value(value)}" for name, value in facts.items())])


def _value(value: FactValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None or value == "" else printable(str(value))


def bytes_shown(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return "unknown"
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
