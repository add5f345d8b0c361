"""Descriptions of what users of visavis see, as text that is compared with the files in ``tests/snapshots``.

To renew the files, review the difference that the tests tell, then: RENEW_SNAPSHOTS=1 pytest tests/test_outside.py
"""

import dataclasses
import difflib
import importlib
import json
import os
import pkgutil
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import visavis

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
RENEW = "RENEW_SNAPSHOTS"


def compare(name: str, text: str) -> None:
    """Compare a description with its file; or write the file, where that is asked for."""
    path = SNAPSHOTS / name
    text = text.rstrip("\n") + "\n"
    if os.environ.get(RENEW):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), f"snapshots/{name}", "now", lineterm="")
    difference = "\n".join(lines)
    assert not difference, f"the outside has changed; if that is right, renew with {RENEW}=1\n{difference}"


def as_json(value: object) -> str:
    """Return JSON, members sorted, a member a line; lists of plain values are on one."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return re.sub(
        r"\[\n[^\[\]{}]*\]",
        lambda found: re.sub(r"\s*\n\s*", " ", found[0]).replace("[ ", "[").replace(" ]", "]"),
        text,
    )


@lru_cache
def modules() -> tuple[ModuleType, ...]:
    """Return every module of visavis whose libraries are installed."""
    found = [visavis]
    for info in pkgutil.walk_packages(visavis.__path__, "visavis."):
        if not info.name.endswith("__main__"):
            with suppress(ImportError):
                found.append(importlib.import_module(info.name))
    return tuple(found)


def record(name: str, /, **values: object) -> Any:  # noqa: ANN401  # whatever the record is
    """Return a record: of the one class of that name, wherever it is, that has these fields and needs no others."""
    kinds = {id(kind): kind for module in modules() if (kind := vars(module).get(name)) and _takes(kind, values)}
    assert len(kinds) == 1, f"{len(kinds)} records are called {name} and have the fields {', '.join(values)}"
    return next(iter(kinds.values()))(**values)


def _takes(kind: object, values: dict[str, object]) -> bool:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return False
    fields = [field for field in dataclasses.fields(kind) if field.init]
    absent = dataclasses.MISSING
    needed = {field.name for field in fields if field.default is absent and field.default_factory is absent}
    return needed <= set(values) <= {field.name for field in fields}


def to_json(value: Any) -> Any:  # noqa: ANN401  # as above
    """Return a record as JSON holds it: by its method, or by the function that is called after it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(value).__name__)
    name = f"{snake[1:]}_to_dict"
    return next(vars(module)[name] for module in modules() if name in vars(module))(value)
