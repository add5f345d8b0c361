"""What the server says of packs."""

from pathlib import Path
from typing import Any

from visavis.core.decide import named_rules
from visavis.errors import ModelCorrupt, ModelMissing
from visavis.models.attributes import ROLE_OF_ATTRIBUTE
from visavis.models.catalogue import PACKS
from visavis.models.installation import as_installed, default_models_dir, is_installed
from visavis.models.packs import Pack, Part
from visavis.models.recognizer import Recognizer

_FACTS = ("name", "summary", "commercial_use", "dimension", "metric", "threshold", "threshold_provenance")
_FILE_FACTS = ("name", "size", "sha256", "licence", "origin")


def packs_in_plain(recognizer: Recognizer, models_dir: Path | None) -> list[dict[str, Any]]:
    """Return all packs of the catalogue, in the form of ``PackInfo``.

    Args:
        recognizer: that answers; of its pack is told what was loaded, and how it decides.
        models_dir: where pulled models are kept; None for the user's folder.
    """
    folder, in_use = models_dir or default_models_dir(), recognizer.pack
    return [
        _pack(in_use, folder, recognizer.threshold)
        if pack.name == in_use.name
        else _pack(_here(pack, folder), folder, pack.threshold)
        for pack in PACKS.values()
    ]


def _here(pack: Pack, folder: Path) -> Pack:
    try:
        return as_installed(pack, folder)
    except ModelCorrupt:
        return pack  # whoever wants to use it is told


def _pack(pack: Pack, folder: Path, default: float) -> dict[str, Any]:
    parts = [_part(part, folder, needed=part in pack.parts) for part in (*pack.parts, *pack.optional)]
    here = {part["role"] for part in parts if part["installed"]}
    points = {"default": default}
    if pack.rates is not None:
        points |= {name: rule.threshold for name, rule in named_rules(pack.rates).items()}
    return {
        **{name: getattr(pack, name) for name in _FACTS},
        "installed": all(part["installed"] for part in parts if part["needed"]),
        "attributes": [name for name, role in ROLE_OF_ATTRIBUTE.items() if role in here],
        "space": _space(pack),
        "operating_points": points,
        "parts": parts,
        "files": [
            {"role": part.role, **{name: getattr(file, name) for name in _FILE_FACTS}}
            for part in (*pack.parts, *pack.optional)
            for file in part.files
        ],
    }


def _part(part: Part, folder: Path, *, needed: bool) -> dict[str, Any]:
    return {
        "role": part.role,
        "needed": needed,
        "installed": all(is_installed(file, folder) for file in part.files),
        "training_data": part.training_data,
        "commercial_use": part.commercial_use,
        "files": [file.name for file in part.files],
    }


def _space(pack: Pack) -> str | None:
    try:
        return pack.space.id
    except ModelMissing:
        return None
