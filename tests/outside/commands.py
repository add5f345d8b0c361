"""Commands and their options, as ``--help`` shows them. The order of options and where lines break do not count."""

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import typer.core

from visavis.cli.main import main

_Command: TypeAlias = Any
_Context: TypeAlias = Any
_FACTS = ("envvar", "nargs", "multiple", "hidden", "is_eager")


def described() -> dict[str, str]:
    """Return what each command is, by its whole name."""
    return {name: "\n".join(_lines(command, context)) for name, command, context in _walk(_root(), "visavis", None)}


def _root() -> _Command:
    """Return the command that ``main`` runs."""
    found: list[_Command] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in typer.core.TyperGroup.__mro__:
            if "main" in vars(kind):
                patch.setattr(kind, "main", lambda command, *_, **__: found.append(command))
        main(["--help"])
    return found[0]


def _walk(command: _Command, name: str, parent: _Context) -> Iterator[tuple[str, _Command, _Context]]:
    context = command.make_context(name.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    yield name, command, context
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _walk(command.get_command(context, child), f"{name} {child}", context)


def _lines(command: _Command, context: _Context) -> Iterator[str]:
    parameters = command.get_params(context)
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    yield _joined(command.get_usage(context))
    yield f"In a list: {command.get_short_help_str(limit=200)}"
    yield from ("", "Hidden.") if command.hidden else ()
    for paragraph in re.split(r"\n\s*\n", command.help or ""):
        yield from ("", _joined(paragraph))
    yield from ("", "Arguments, in order:") if arguments else ()
    for one in arguments:
        yield from _parameter(one, context)
    yield from ("", "Options:")
    for one in sorted((one for one in parameters if one not in arguments), key=lambda one: sorted(one.opts)):
        yield from _parameter(one, context)
    if hasattr(command, "list_commands"):
        yield from ("", f"Commands: {', '.join(command.list_commands(context))}")
        yield f"Runs without a command: {command.invoke_without_command}"
    yield from ("", "Epilog:")
    yield from (line.strip("\b") for line in (command.epilog or "").splitlines() if line.strip("\b"))


def _parameter(parameter: Any, context: _Context) -> Iterator[str]:  # noqa: ANN401  # of click, which typer brings
    shown, text = parameter.get_help_record(context) or ("", "")
    facts = {name: getattr(parameter, name, None) for name in _FACTS}
    facts["nargs"] = None if facts["nargs"] == 1 else facts["nargs"]
    told = [name if value is True else f"{name}={value}" for name, value in facts.items() if value not in (None, False)]
    yield f"  {_joined(shown)}" + (f"  ({', '.join(told)})" if told else "")
    yield f"    {_joined(text)}"


def _joined(text: str) -> str:
    return " ".join(text.replace("\b", "").split())
