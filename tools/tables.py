"""Tables in docs/: options, policy fields, settings and similarities, as declared: ``python tools/tables.py``."""

import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

from visavis import config, options
from visavis.core.scales import Scale
from visavis.models.catalogue import PACKS

DOCS = Path(__file__).parents[1] / "docs"
MARKED = re.compile(r"(<!-- (\w+): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NAMES: dict[str, Callable[[str], str]] = {
    "arguments": lambda name: f"`{name}`",
    "variables": lambda name: f"`VISAVIS_{name.upper()}`",
}


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


def similarities() -> str:
    """Return the Markdown table of the distances, by pack, that the values of other systems stand for."""
    rated = {name: pack.rates for name, pack in PACKS.items() if pack.rates is not None}
    rows = [
        f"| Rekognition | CompreFace | {' | '.join(f'`{name}`' for name in rated)} |",
        "|---" * (len(rated) + 2) + "|",
    ]
    for value in _SIMILARITIES:
        scales = [(Scale.of("rekognition", rates), Scale.of("compreface", rates)) for rates in rated.values()]
        distances = [scale.distance(value) for scale, _ in scales]
        told = [f"{value:g}", f"{scales[0][1].value(distances[0]):.2f}", *(f"{each:.3f}" for each in distances)]
        rows.append(f"| {' | '.join(told)} |")
    return "\n".join(rows) + "\n"


_SIMILARITIES = (50, 70, 80, 90, 95, 99, 99.9)


def _plain(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:,}" if type(default) is int and default > 99_999 else f"`{default}`"  # noqa: PLR2004  # readable


def renewed(page: str) -> str:
    """Return a page with its tables as they should be."""

    def write(match: re.Match[str]) -> str:
        start, kind, name, end = match.groups()
        if kind == "similarities":
            return start + similarities() + end
        return start + table(kind, getattr(config if hasattr(config, name) else options, name)) + end

    return MARKED.sub(write, page)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(renewed(path.read_text()))
