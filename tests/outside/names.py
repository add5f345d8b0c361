"""Public names, with their signatures. The order of keyword-only parameters, and where types live, do not count."""

import ast
import dataclasses
import enum
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import visavis
import visavis.client
from outside import modules

_MAGIC = ("__bool__", "__call__", "__len__", "__iter__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__eq__")
_MADE_BY_OTHERS = ("AsyncGalleryClient", "GalleryClient", "OpenGallery")  # how is nobody else's business


def names() -> str:
    """Return what ``visavis`` and ``visavis.client`` offer, errors apart."""
    lines = [f"visavis: {', '.join(sorted(visavis.__all__))}", ""]
    lines += [f"visavis.client: {', '.join(sorted(visavis.client.__all__))}"]
    public = {name: getattr(visavis, name) for name in visavis.__all__}
    public |= {name: getattr(visavis.client, name) for name in visavis.client.__all__}
    for name, value in sorted(public.items()):
        if isinstance(value, type) and not issubclass(value, Exception):
            lines += ["", *_class(name, value)]
        elif inspect.isfunction(value):
            lines += ["", *_function(name, value, "")]
        elif not isinstance(value, type) and name != "__version__":
            lines += ["", f"{name}: {', '.join(map(_type, typing.get_args(_resolved(value, visavis))))}"]
    return "\n".join(lines)


def errors() -> str:
    """Return every error: what it is, its code, and how it is made."""
    public = sorted(name for name in vars(visavis.errors) if not name.startswith("_"))
    lines = [f"visavis.errors: {', '.join(public)}"]
    for name in public:
        kind = getattr(visavis.errors, name)
        above = (base.__name__ for base in kind.__mro__[1:] if base not in (object, BaseException))
        lines += ["", f"{name}, {kind.code!r}: {', '.join(above)}"]
        lines += _function("made of", kind.__init__, "  ") if "__init__" in vars(kind) else []
        if "__str__" in vars(kind):
            lines += [f"  says {str(kind('too_large'))!r}"]
    return "\n".join(lines)


def fields(kind: type) -> str:
    """Return the fields of a record, with their defaults."""
    told = []
    for field in dataclasses.fields(kind):
        default = "" if field.default is dataclasses.MISSING else f"={_value(field.default)}"
        told.append(f"{'*' if field.kw_only else ''}{field.name}{default}")
    return ", ".join(told)


def _class(name: str, kind: type) -> Iterator[str]:
    above = (base.__name__ for base in kind.__mro__[1:-1] if not base.__name__.startswith("_"))
    yield f"class {name}({', '.join(above)})"
    if dataclasses.is_dataclass(kind):
        frozen = kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # which typeshed does not tell
        yield f"  dataclass, frozen={frozen}"
    if name not in _MADE_BY_OTHERS:
        yield from _function("made of", kind.__init__, "  ")  # type: ignore[misc]  # that of this very class
    magic = [one for one in _MAGIC if one in {member for base in kind.__mro__[:-1] for member in vars(base)}]
    yield from [f"  {' '.join(magic)}"] if magic else []
    own = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for member in sorted({one for base in kind.__mro__[:-1] for one in vars(base)} - own):
        if member.startswith("_"):
            continue
        value = inspect.getattr_static(kind, member)
        if isinstance(value, property):
            assert value.fget
            yield f"  property {member}: {_type(_hints(value.fget).get('return'))}"
        elif isinstance(value, classmethod | staticmethod):
            yield from _function(f"{type(value).__name__} {member}", value.__func__, "  ")
        elif inspect.isfunction(value):
            yield from _function(member, value, "  ")
        elif not isinstance(value, types.MemberDescriptorType):
            yield f"  {member} = {_value(value)}"


def _function(name: str, function: Callable[..., object], indent: str) -> Iterator[str]:
    """Yield a signature, a parameter a line; ``**options: Unpack[...]`` reads like the parameters it stands for."""
    plain, keywords = [], []
    hints = _hints(function)
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        hint = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is not None:
            members = typing.get_type_hints(typing.get_args(hint)[0])
            keywords += [f"{indent}  *{one}: {_type(type_)} = ?" for one, type_ in members.items()]
            continue
        default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
        told = f"{_type(hint)}{default}"
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords.append(f"{indent}  *{parameter.name}: {told}")
        else:
            plain.append(f"{indent}  {str(parameter).split(':')[0].split('=')[0]}: {told}")
    yield f"{indent}{kind}{name} -> {_type(hints.get('return', Any))}"
    yield from plain
    yield from sorted(keywords)


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    module = importlib.import_module(function.__module__)
    return {
        name: None if hint is None else _resolved(hint, module)
        for name, hint in getattr(function, "__annotations__", {}).items()
    }


def _resolved(hint: Any, module: types.ModuleType) -> Any:  # noqa: ANN401  # any annotation
    """Return a type whose names are looked up where a type checker would."""

    known = {**_everywhere(), **_known_in(module)}
    meant = {name: _aliases()[value] for name, value in known.items() if isinstance(value, str) and value in _aliases()}
    return _aliases()[hint] if isinstance(hint, str) and hint in _aliases() else _evaluated(hint, {**known, **meant})


def _evaluated(hint: Any, known: dict[str, Any]) -> Any:  # noqa: ANN401  # likewise
    def holder() -> None: ...

    holder.__annotations__ = {"it": hint}
    return typing.get_type_hints(holder, globalns=known)["it"]


@lru_cache
def _everywhere() -> dict[str, Any]:
    return {name: value for module in modules() for name, value in _known_in(module).items()}


@lru_cache
def _aliases() -> dict[str, Any]:
    """Return what the aliases mean that are written as text."""
    found = {}
    for module in modules():
        for name, hint in vars(module).get("__annotations__", {}).items():
            text = vars(module).get(name)
            if hint is typing.TypeAlias and isinstance(text, str):
                found[text] = _evaluated(text, {**_everywhere(), **_known_in(module)})
    return found


@lru_cache
def _known_in(module: types.ModuleType) -> dict[str, Any]:
    """Return what a module's names mean, those that only type checkers see too."""
    known = dict(vars(module))
    for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known.setdefault(alias.asname or alias.name, _imported(node.module or "", alias.name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name) if alias.name.startswith("PIL") else None
                known.setdefault((alias.asname or alias.name).split(".")[0], _imported(alias.name.split(".")[0]))
    return known


def _imported(module: str, name: str | None = None) -> Any:  # noqa: ANN401  # whatever it is
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    except (ImportError, AttributeError):
        return Any


def _type(hint: Any) -> str:  # noqa: ANN401, PLR0911  # any annotation, each kind in its way
    """Return a type in words that do not depend on where it lives, nor on what aliases it has."""
    if hint is None or hint is types.NoneType:
        return "None"
    if hint is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        image = typing.get_args(_resolved(visavis.ImageSource, visavis))
        rest = [one for one in arguments if one not in image] if set(image) <= set(arguments) else list(arguments)
        told = {*map(_type, rest), *(("ImageSource",) if len(rest) < len(arguments) else ())}
        return " | ".join(sorted(told, key=lambda one: (one == "None", one)))
    if origin is typing.Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is not None and "ndarray" in str(origin):
        return f"array[{re.sub(r'.*<class .numpy.|.>.*', '', str(arguments[-1]))}]".replace("numpy.", "")
    if origin is not None:
        inner = ", ".join(
            f"[{', '.join(map(_type, one))}]" if isinstance(one, list) else _type(one) for one in arguments
        )
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return str(getattr(hint, "__name__", hint)).rpartition(".")[2]


def _value(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value)
    if inspect.isfunction(value):
        return "a function"
    return re.sub(r"<([\w.]*\.)?(\w+) object at \w+>", r"<\2>", repr(value))
