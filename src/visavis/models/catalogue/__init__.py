"""Every pack as data: its files with their hashes and licences, its contract, and where it decides."""

import difflib

from visavis.errors import InvalidOption, ModelMissing
from visavis.models.catalogue import arcface, dlib, keras, openvino
from visavis.models.catalogue.arcface import ANTELOPEV2, AURAFACE, BUFFALO_L, BUFFALO_S, OPENCV
from visavis.models.catalogue.dlib import DLIB
from visavis.models.catalogue.keras import FACENET, FACENET512, VGGFACE2
from visavis.models.catalogue.openvino import OPEN
from visavis.models.packs import Pack

__all__ = [
    "ANTELOPEV2",
    "AURAFACE",
    "BUFFALO_L",
    "BUFFALO_S",
    "DLIB",
    "FACENET",
    "FACENET512",
    "OPEN",
    "OPENCV",
    "PACKS",
    "VGGFACE2",
    "find_pack",
    "pack_of_space",
    "packs_with",
]

_MODULES = (dlib, openvino, arcface, keras)

PACKS = {pack.name: pack for module in _MODULES for pack in vars(module).values() if isinstance(pack, Pack)}
"""Every pack of these modules, by name, in the order in which they stand there."""


def find_pack(name: str) -> Pack:
    """Return the pack of that name.

    Raises:
        InvalidOption: there is none.
    """
    if not isinstance(name, str) or name not in PACKS:
        close = difflib.get_close_matches(str(name), PACKS, 1)
        hint = f"did you mean {close[0]}? There are" if close else "choose one of"
        raise InvalidOption(f"there is no pack {name!r}; {hint}: {', '.join(PACKS)}")
    return PACKS[name]


def packs_with(file_name: str) -> tuple[Pack, ...]:
    """Return the packs that a file belongs to, as a needed or an optional one."""
    return tuple(
        pack for pack in PACKS.values() if any(file_name == file.name for file in (*pack.files, *pack.optional_files))
    )


def pack_of_space(space_id: str) -> Pack | None:
    """Return the pack that makes embeddings of that space; None where the catalogue alone does not tell.

    It does not for packs whose publishers state no hashes: their spaces are known where they are installed.
    """

    def makes(pack: Pack) -> bool:
        try:
            return pack.space.id == space_id
        except ModelMissing:
            return False

    return next(filter(makes, PACKS.values()), None)
