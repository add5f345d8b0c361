"""Installed packs and parts: all of their files, some, or none."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from visavis.downloads.folder import ModelsFolder
from visavis.errors import InvalidOption, ModelMissing
from visavis.models.catalogue import PACKS
from visavis.models.installation import as_pinned, source_path
from visavis.models.packs import ModelFile, Pack, Part, Role

Installed: TypeAlias = Literal["yes", "partly", "no"]


def is_here(file: ModelFile, folder: ModelsFolder) -> bool:
    """Tell whether a file is in its place and has its size, without reading it.

    Args:
        file: with its pin, if it has one: one whose SHA-256 is not known cannot be used.
        folder: where models are kept.
    """
    try:
        size = source_path(file, folder.path).stat().st_size
    except (ModelMissing, OSError):
        return False
    return file.sha256 is not None and file.size in (None, size)


def parts_here(parts: Iterable[Part], folder: ModelsFolder) -> Installed:
    """Tell whether the files of parts are here: all, some, or none."""
    here = [is_here(file, folder) for part in parts for file in part.files]
    return "yes" if all(here) else "partly" if any(here) else "no"


def installed(pack: Pack, folder: ModelsFolder) -> Installed:
    """Tell whether what a pack needs is here.

    Raises:
        ModelCorrupt: the file of pins is damaged.
    """
    return parts_here(as_pinned(pack, folder.path).parts, folder)


def chosen_parts(pack: Pack, optional: Iterable[Role] | None) -> tuple[Part, ...]:
    """Return what a pack needs, and some of what it offers besides.

    Args:
        pack: of the catalogue.
        optional: roles; None for all whose licences are no stricter than those of what it needs.

    Raises:
        InvalidOption: the pack offers no such part.
    """
    if optional is None:
        as_free = (part for part in pack.optional if part.commercial_use or not pack.commercial_use)
        return (*pack.parts, *as_free)
    wanted = tuple(dict.fromkeys(optional))
    offered = [part.role for part in pack.optional]
    for role in wanted:
        if role not in offered:
            raise InvalidOption(
                f"the pack {pack.name!r} has no optional part {role!r}; it has: {', '.join(offered) or 'none'}"
            )
    return (*pack.parts, *(part for part in pack.optional if part.role in wanted))


def pulled_files(parts: Iterable[Part]) -> tuple[ModelFile, ...]:
    """Return the files of parts that do not come with a PyPI package, each once."""
    return tuple({file.name: file for part in parts for file in part.files if not file.package}.values())


def all_files() -> tuple[ModelFile, ...]:
    """Return every file of the catalogue that does not come with a PyPI package, each once."""
    return pulled_files(part for pack in PACKS.values() for part in (*pack.parts, *pack.optional))
