"""Dialects, which other services' clients speak: each is a file here with a ``router``, and is served for that."""

from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """Return the router of each dialect, by the names of their files."""
    return [import_module(f"{__name__}.{each.name}").router for each in iter_modules(__path__)]
