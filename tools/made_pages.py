"""Pages of the documentation's site that are made: its front from README.md, and the references. MkDocs calls this."""

import inspect
import json
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import visavis
from visavis import VisavisError

ROOT = Path(__file__).parents[1]
_TO_NO_PAGE = re.compile(r"\[([^]]*)\]\((?:LICENSE|Dockerfile|compose\.yaml)\)")
_SECTIONS = {
    "Faces": ("visavis.models", "visavis.types", "visavis.core"),
    "Galleries": ("visavis.service", "visavis.galleries", "visavis.options"),
    "Clients": ("visavis.client",),
}


class Taken(griffe.Extension):
    """Tells of the options that a function takes by ``takes``, as it does itself when the program runs."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Put the options in the place of ``**options``."""
        if not any(str(decorator.value).startswith("takes(") for decorator in func.decorators):
            return
        taking = pydoc.locate(func.path)
        func.docstring = griffe.Docstring(inspect.getdoc(taking) or "", parent=func, parser="google")
        del func.parameters["options"]
        for option in inspect.signature(taking).parameters.values():  # type: ignore[arg-type]  # it is a function
            if option.name not in func.parameters:
                kind = inspect.formatannotation(option.annotation).replace("typing.", "")
                keyword: Any = griffe.ParameterKind.keyword_only
                func.parameters.add(
                    griffe.Parameter(option.name, annotation=kind, kind=keyword, default=repr(option.default))
                )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {
        "index.md": from_root("README.md"),
        "changelog.md": from_root("CHANGELOG.md"),
        "reference/python.md": python_reference(),
        "reference/http.md": http_reference(json.loads((ROOT / "tests" / "openapi.json").read_text())),
    }
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def from_root(name: str) -> str:
    """Return a page from beside docs/, with links as they are from there."""
    page = _TO_NO_PAGE.sub(r"\1", (ROOT / name).read_text())
    return page.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")


def python_reference() -> str:
    """Return a page of the public names, whose docstrings mkdocstrings puts in."""
    lines = ["# Python reference", "All of this is imported from `visavis`."]
    public = {name: getattr(visavis, name) for name in visavis.__all__ if not name.startswith("_")}
    errors = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, VisavisError)}
    modules = {name: getattr(public[name], "__module__", "visavis.types") for name in public.keys() - errors}
    modules = {name: module if module.startswith("visavis") else "visavis.types" for name, module in modules.items()}
    for title, homes in _SECTIONS.items():
        named = [name for home in homes for name in public if modules.get(name, "").startswith(home)]
        lines += [f"## {title}", *(f"::: {modules[name]}.{name}" for name in named)]
    lines += ["## Errors", "::: visavis.errors\n    options:\n      show_root_heading: false"]
    return "\n\n".join(lines)


def http_reference(api: dict[str, Any]) -> str:
    """Return a page of the calls and the schemas of an OpenAPI document."""
    lines = ["# HTTP reference", api["info"]["description"]]
    for tag in api["tags"]:
        lines += [f"## {tag['name'].capitalize()}", tag["description"]]
        for path, calls in api["paths"].items():
            for method, call in calls.items():
                if tag["name"] in call.get("tags", ()):
                    lines += [f"### {method.upper()} {path}", *_call(call)]
    lines += ["## Schemas"]
    for name, schema in sorted(api["components"]["schemas"].items()):
        lines += [f"### {name}", _text(schema), *_members(schema, "member")]
    return "\n\n".join(lines)


def _call(call: dict[str, Any]) -> Iterator[str]:
    yield call.get("description", call["summary"])
    bodies = call.get("requestBody", {}).get("content", {})
    form: dict[str, Any] = next(
        (body["schema"] for kind, body in bodies.items() if kind.startswith("multipart/")), {"properties": {}}
    )
    # Options may stand in the query too, where the page tells of them once.
    others = [each for each in call.get("parameters", ()) if each["name"] not in form["properties"]]
    yield from _table(
        ("parameter", "in", "type", ""),
        *((f"`{each['name']}`", each["in"], _type(each["schema"]), _text(each)) for each in others),
    )
    yield from _members(form, "field of the form")
    for kind, body in bodies.items():
        if not kind.startswith("multipart/"):
            yield f"Body, `{kind}`: {_type(body['schema'])}"
            if "example" in body:
                yield f"```json\n{json.dumps(body['example'], indent=2, ensure_ascii=False)}\n```"
    yield from _table(
        ("answer", "type", ""),
        *(
            (
                status,
                ", ".join(_type(body["schema"]) for body in answer.get("content", {}).values()),
                answer["description"],
            )
            for status, answer in call["responses"].items()
        ),
    )


def _members(schema: dict[str, Any], title: str) -> Iterator[str]:
    required = schema.get("required", ())
    return _table(
        (title, "type", "default", ""),
        *(
            (
                f"`{name}`",
                _type(member),
                "required" if name in required else f"`{json.dumps(member['default'])}`" if "default" in member else "",
                _text(member),
            )
            for name, member in schema.get("properties", {}).items()
        ),
    )


def _table(heads: tuple[str, ...], *rows: tuple[str, ...]) -> Iterator[str]:
    if rows:
        cells = (heads, tuple("---" for _ in heads), *rows)
        yield "\n".join(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in row)} |" for row in cells)


def _text(described: dict[str, Any]) -> str:
    return " ".join(described.get("description", "").split())


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_type, choices))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema.get("enum", [schema.get("const")]) if each != "")
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return "file" if schema.get("format") == "binary" else str(schema.get("type", "anything"))
