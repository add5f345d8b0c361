"""Tables of options, policy fields and settings in docs/, and answers of the API: ``python tools/tables.py``."""

import json
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import indent

from visavis import config, options

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = DOCS.parent / "src" / "visavis" / "server" / "examples.json"
WIDTH, MOST_MEMBERS = 100, 14
MARKED = re.compile(r"(<!-- (\w+): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NAMES: dict[str, Callable[[str], str]] = {
    "arguments": lambda name: f"`{name}`",
    "variables": lambda name: f"`VISAVIS_{name.upper()}`",
}


def answer(operation: str) -> str:
    """Return the Markdown block of what an operation of the API answers."""
    return f"```json\n{_written(json.loads(EXAMPLES.read_text())[operation])}\n```\n"


def _written(value: object) -> str:
    """Return JSON, each object and list on one line where it fits; long ones are cut."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= WIDTH or not isinstance(value, dict | list):
        return line
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    members = [f"{json.dumps(name)}: {_written(member)}" for name, member in value.items()]
    cut = [*members[:3], "..."] if len(members) > MOST_MEMBERS else members
    return "{\n" + indent(",\n".join(cut), "  ") + "\n}"


def table(kind: str, declared: type) -> str:
    """Return the Markdown table of an option set, or of a dataclass whose fields carry options.

    Args:
        kind: how an option is called there: arguments or variables.
        declared: the set or the class.
    """
    defaults = options.defaults_of(declared)
    if is_dataclass(declared):
        defaults = {each.name: each.default for each in fields(declared) if each.default is not MISSING}
    rows = [f"| {kind.removesuffix('s')} | default | |", "|---|---|---|"]
    for name, (_, option) in options.options_of(declared).items():
        default = defaults[name]
        said = option.unset if default in (None, ()) else _plain(default)
        rows.append(f"| {NAMES[kind](name)} | {said or ''} | {option.text} |")
    return "\n".join(rows) + "\n"


def _plain(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:,}" if type(default) is int and default > 99_999 else f"`{default}`"  # noqa: PLR2004  # readable


def renewed(page: str) -> str:
    """Return a page with its tables as they should be."""

    def write(match: re.Match[str]) -> str:
        start, kind, name, end = match.groups()
        if kind == "answer":
            return start + answer(name) + end
        return start + table(kind, getattr(config if hasattr(config, name) else options, name)) + end

    return MARKED.sub(write, page)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(renewed(path.read_text()))
