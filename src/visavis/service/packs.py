"""Descriptions of packs, with what is installed of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visavis.core.decide import named_rules
from visavis.errors import ModelCorrupt, ModelMissing
from visavis.models.attributes import ROLE_OF_ATTRIBUTE
from visavis.models.catalogue import PACKS
from visavis.models.installation import as_installed, is_installed
from visavis.models.packs import Pack, Part
from visavis.models.recognizer import Recognizer
from visavis.record import HIDDEN, Record


@dataclass(frozen=True, slots=True)
class ServedFile(Record):
    """A file of learned numbers."""

    role: str
    """Of the part that it belongs to."""
    name: str
    """Of the file."""
    size: int | None
    """In bytes, where it is known."""
    sha256: str | None
    """Where it is known."""
    licence: str
    """In a word."""
    origin: str
    """Where it comes from."""


@dataclass(frozen=True, slots=True)
class ServedPart(Record):
    """What does one thing in a pack."""

    role: str
    """What it does."""
    needed: bool
    """Else it is for attributes of faces, and the pack works without it."""
    installed: bool
    """Whether its files are on the server; they are not read for that."""
    training_data: str
    """What is known of the data that it was trained on."""
    commercial_use: bool
    """Whether the licence of its weights allows it."""
    files: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True, slots=True)
class ServedPack(Record):
    """A detector, landmarks and an embedder that belong together."""

    name: str
    """By which it is called."""
    default: bool = field(metadata=HIDDEN)
    """Whether this is the one that answers; JSON says it beside the packs."""
    summary: str
    """One line about it."""
    commercial_use: bool
    """Whether the licences of all needed parts allow it."""
    installed: bool
    """Whether the files of all needed parts are on the server."""
    attributes: tuple[str, ...]
    """What it tells of faces besides, by the parts that are on the server."""
    space: str | None
    """The embedding space; null before the first installation of some."""
    dimension: int
    """Of an embedding."""
    metric: str
    """How embeddings are compared."""
    threshold: float
    """Faces at a smaller distance are the same person."""
    threshold_provenance: str
    """Where the threshold comes from."""
    operating_points: Mapping[str, float]
    """Thresholds: the default one; and strict, balanced and lenient, which keep false match rates of 1e-4, 1e-3 and
    1e-2, as far as those are measured.
    """
    parts: tuple[ServedPart, ...]
    """What it needs, and what it offers besides."""
    files: tuple[ServedFile, ...]
    """Its weights."""


def described_packs(recognizer: Recognizer, folder: Path) -> tuple[ServedPack, ...]:
    """Return all packs of the catalogue.

    Args:
        recognizer: that is in use; of its pack is told what was loaded, and how it decides.
        folder: where pulled models are kept.
    """
    in_use = recognizer.pack
    return tuple(
        _info(in_use, folder, recognizer.threshold, default=True)
        if pack.name == in_use.name
        else _info(_here(pack, folder), folder, pack.threshold, default=False)
        for pack in PACKS.values()
    )


def _here(pack: Pack, folder: Path) -> Pack:
    try:
        return as_installed(pack, folder)
    except ModelCorrupt:
        return pack  # whoever wants to use it is told


def _info(pack: Pack, folder: Path, threshold: float, *, default: bool) -> ServedPack:
    parts = tuple(_part(part, folder, needed=part in pack.parts) for part in (*pack.parts, *pack.optional))
    here = {part.role for part in parts if part.installed}
    points = {"default": threshold}
    if pack.rates is not None:
        points |= {name: rule.threshold for name, rule in named_rules(pack.rates).items()}
    return ServedPack(
        **_facts(pack, "name", "summary", "commercial_use", "dimension", "metric", "threshold", "threshold_provenance"),
        default=default,
        installed=all(part.installed for part in parts if part.needed),
        attributes=tuple(name for name, role in ROLE_OF_ATTRIBUTE.items() if role in here),
        space=_space(pack),
        operating_points=points,
        parts=parts,
        files=tuple(
            ServedFile(role=part.role, **_facts(file, "name", "size", "sha256", "licence", "origin"))
            for part in (*pack.parts, *pack.optional)
            for file in part.files
        ),
    )


def _part(part: Part, folder: Path, *, needed: bool) -> ServedPart:
    return ServedPart(
        **_facts(part, "role", "training_data", "commercial_use"),
        needed=needed,
        installed=all(is_installed(file, folder) for file in part.files),
        files=tuple(file.name for file in part.files),
    )


def _facts(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


def _space(pack: Pack) -> str | None:
    try:
        return pack.space.id
    except ModelMissing:
        return None
