"""Dialects, which other services' clients speak: each is a module here, and is switched on by its name.

A dialect is a translation of its protocol's routes into calls of the library, which have the keys, scopes, limits and
workers of the native routes. Its module has

* ``router``: its routes, with tags of its own; each has a docstring. Their keys come as the protocol has it: see
  ``auth.admit``.
* ``PATHS``: the paths, with what is below them, that are its own; what goes wrong there, be there a route or not, is
  told by
* ``answer(request, problem)``, which returns the response that its clients expect of a ``Problem``;
* ``check_settings(settings)``, where it needs settings: it raises an ``InvalidOption``.

The two old services, in ``seeds``, are always there, and their problems are the native ones.
"""

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from fastapi import Request
from starlette.responses import Response

from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.server.problems import Problem

_ALWAYS = "seeds"
NAMES = tuple(sorted(each.name for each in iter_modules(__path__) if each.name != _ALWAYS))
"""Of those that settings may switch on."""


def chosen(settings: Settings) -> tuple[ModuleType, ...]:
    """Return the modules of the dialects that settings switch on, and last, that of the old services.

    Raises:
        InvalidOption: there is no such dialect, or it needs other settings.
    """
    if unknown := sorted(set(settings.dialects) - set(NAMES)):
        expected = ", ".join(NAMES) or "none"
        raise InvalidOption(f"dialects: there is no {', '.join(unknown)}; expected of these: {expected}")
    modules = tuple(import_module(f"{__name__}.{name}") for name in (*dict.fromkeys(settings.dialects), _ALWAYS))
    for module in modules:
        getattr(module, "check_settings", lambda _: None)(settings)
    return modules


def answer(modules: Sequence[ModuleType], request: Request, problem: Problem) -> Response:
    """Return what tells a problem, as the dialect has it that the path belongs to."""
    for module in modules:
        for path in getattr(module, "PATHS", ()):
            if f"{request.url.path}/".startswith(f"{path.rstrip('/')}/"):
                response: Response = module.answer(request, problem)
                return response
    return problem.to_response()
