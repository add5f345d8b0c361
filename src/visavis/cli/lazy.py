"""Modules that commands load when they first use something of them, so that ``--help`` loads next to nothing."""

# mypy: implicit-reexport
# ruff: noqa: F401  # given on
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from rich import console, progress, table

    from visavis import client
    from visavis.cli import drawing, groups, outputs, sidecars, stores
    from visavis.core import decide, formats, geometry, image
    from visavis.downloads import folder, importing, pull, removing, transfer
    from visavis.evaluation import calibration, embedding, metrics, page, pairs, protocols, search, tables
    from visavis.galleries import records
    from visavis.models import catalogue, heads, installation, packs, recognizer, runtime
    from visavis.server import app, keys, listening, observability
    from visavis.server import galleries as server_galleries
    from visavis.service import checks, clusters, decisions, enroller, gallery, photos, results
    from visavis.service import transfer as lines
else:
    _HOMES = {
        "rich": "console progress table",
        "visavis": "client",
        "visavis.cli": "drawing groups outputs sidecars stores",
        "visavis.core": "decide formats geometry image",
        "visavis.downloads": "folder importing pull removing transfer",
        "visavis.evaluation": "calibration embedding metrics page pairs protocols search tables",
        "visavis.galleries": "records",
        "visavis.models": "catalogue heads installation packs recognizer runtime",
        "visavis.server": "app keys listening observability",
        "visavis.service": "checks clusters decisions enroller gallery photos results",
    }

    class _Lazy:
        """A module that is imported when something of it is first used; what was used is kept, as an import does."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> object:
            value = getattr(import_module(self._name), name)
            setattr(self, name, value)
            return value

    globals().update({name: _Lazy(f"{home}.{name}") for home, names in _HOMES.items() for name in names.split()})
    np = _Lazy("numpy")
    server_galleries = _Lazy("visavis.server.galleries")
    lines = _Lazy("visavis.service.transfer")
