"""Packs of small files that mean nothing, for tests of how files come and go."""

import hashlib
import random
from dataclasses import replace

from visavis.models.catalogue import OPEN
from visavis.models.packs import Archive, ModelFile, Pack, Part


def some_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)  # noqa: S311  # no secret


def some_hdf5(count: int, seed: int = 0) -> bytes:
    """Return bytes that begin as an HDF5 file does, and go on without sense."""
    signature = b"\x89HDF\r\n\x1a\n"
    return signature + some_bytes(count - len(signature), seed)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_of(name: str, content: bytes, *, licence: str = "MIT", published: bool = True) -> ModelFile:
    """Return a file of a catalogue; one that is not published has neither hash nor size there."""
    return ModelFile(
        name=name,
        licence=licence,
        origin=f"https://models.example.com/about/{name}",
        size=len(content) if published else None,
        sha256=sha256(content) if published else None,
        url=f"https://models.example.com/{name}",
    )


def in_archive(file: ModelFile, archive: Archive, member: str) -> ModelFile:
    """Return the file as one that is in an archive."""
    return replace(file, url="", archive=archive, member=member)


def pack_of(
    name: str,
    *files: ModelFile,
    optional: tuple[ModelFile, ...] = (),
    live: tuple[ModelFile, ...] = (),
    commercial: bool = True,
    optional_commercial: bool = True,
) -> Pack:
    """Return a pack: the first file is its detector, the others its embedder; optional ones tell liveness and poses."""
    detector, embedder = OPEN.parts
    parts: tuple[Part, ...] = (
        replace(detector, files=files[:1], commercial_use=commercial),
        replace(embedder, files=files[1:], commercial_use=commercial),
    )
    liveness = replace(OPEN.part("liveness"), files=live, commercial_use=optional_commercial)
    pose = replace(OPEN.part("pose"), files=optional, commercial_use=optional_commercial)
    return replace(
        OPEN,
        name=name,
        summary=f"the pack {name}",
        parts=parts,
        optional=tuple(part for part in (liveness, pose) if part.files),
        calibration=None,
        rates=None,
    )
