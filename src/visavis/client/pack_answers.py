"""From the server's answer about models to packs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visavis.client.exchange import Answer
from visavis.client.reading import content, every, if_any, number, text, truth, whole


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A weights file of a pack: as ``visavis models`` lists it; size and SHA-256 are None where nobody knows them."""

    role: str
    name: str
    size: int | None
    sha256: str | None
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class ServedPart:
    """What does one thing in a pack.

    Attributes:
        role: that thing.
        needed: or for attributes of faces.
        installed: whether its files are on the server.
        training_data: what is known of the data that it was trained on.
        commercial_use: whether the licence of its weights allows it.
        files: their names.
    """

    role: str
    needed: bool
    installed: bool
    training_data: str
    commercial_use: bool
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServedPack:
    """A pack that the server knows.

    Attributes:
        name: by which it is called.
        default: whether this is the one that answers.
        summary: one line about it.
        commercial_use: whether the licences of all its needed parts allow it.
        installed: whether the files of all its needed parts are on the server.
        attributes: what it tells of faces besides, by the parts that are installed there.
        space: the ID of its embedding space; None where it is not known before the pack is installed.
        dimension: of an embedding.
        metric: how two embeddings are compared.
        threshold: two faces nearer than this are the same person.
        threshold_provenance: where the threshold comes from.
        operating_points: thresholds by name.
        parts: what it needs, and what it offers besides.
        files: its weights.
    """

    name: str
    default: bool
    summary: str
    commercial_use: bool
    installed: bool
    attributes: tuple[str, ...]
    space: str | None
    dimension: int
    metric: str
    threshold: float
    threshold_provenance: str
    operating_points: Mapping[str, float]
    parts: tuple[ServedPart, ...]
    files: tuple[ServedFile, ...]


def read_packs(answer: Answer) -> tuple[ServedPack, ...]:
    """Return the packs that the server knows.

    Raises:
        VisavisError: the call failed.
    """
    with content(answer) as packs:
        return every(lambda pack: _pack(pack, packs["default"]), packs["packs"])


def _pack(pack: Mapping[str, Any], default: str) -> ServedPack:
    return ServedPack(
        name=text(pack["name"]),
        default=pack["name"] == default,
        summary=text(pack["summary"]),
        commercial_use=truth(pack["commercial_use"]),
        installed=truth(pack["installed"]),
        attributes=every(text, pack["attributes"]),
        space=if_any(text, pack["space"]),
        dimension=whole(pack["dimension"]),
        metric=text(pack["metric"]),
        threshold=number(pack["threshold"]),
        threshold_provenance=text(pack["threshold_provenance"]),
        operating_points={name: number(value) for name, value in pack["operating_points"].items()},
        parts=every(_part, pack["parts"]),
        files=every(_file, pack["files"]),
    )


def _part(part: Mapping[str, Any]) -> ServedPart:
    return ServedPart(
        role=text(part["role"]),
        needed=truth(part["needed"]),
        installed=truth(part["installed"]),
        training_data=text(part["training_data"]),
        commercial_use=truth(part["commercial_use"]),
        files=every(text, part["files"]),
    )


def _file(file: Mapping[str, Any]) -> ServedFile:
    return ServedFile(
        role=text(file["role"]),
        name=text(file["name"]),
        size=if_any(whole, file["size"]),
        sha256=if_any(text, file["sha256"]),
        licence=text(file["licence"]),
        origin=text(file["origin"]),
    )
