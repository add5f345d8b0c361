"""Licences that forbid commercial use: what was accepted, by pack, in a file among the models."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeAlias

import visavis
from visavis.downloads.folder import ModelsFolder
from visavis.errors import LicenceNotAccepted, ModelCorrupt
from visavis.models.installation import write_json
from visavis.models.packs import Pack, Part

_LICENCES = "licences.json"


@dataclass(frozen=True, slots=True)
class Restriction:
    """What the licences of a pack's parts forbid: commercial use."""

    pack: str
    licences: tuple[str, ...]  # of the parts that may not be used commercially
    origins: tuple[str, ...]  # where they can be read

    def __str__(self) -> str:
        return (
            f"the pack {self.pack!r} is not for commercial use; its licence is {', '.join(self.licences)}: see "
            f"{', '.join(self.origins)}"
        )


Accept: TypeAlias = Callable[[Restriction], bool]
"""Asked once for each pack: whether its licence is accepted."""


def refuse(_restriction: Restriction) -> bool:
    """Accept no licence."""
    return False


def restriction_of(pack: Pack, parts: Iterable[Part]) -> Restriction | None:
    """Return what forbids commercial use of these parts; None where nothing does."""
    files = [file for part in parts if not part.commercial_use for file in part.files]
    if not files:
        return None
    licences, origins = dict.fromkeys(file.licence for file in files), dict.fromkeys(file.origin for file in files)
    return Restriction(pack.name, tuple(licences), tuple(origins))


def is_accepted(restriction: Restriction, folder: ModelsFolder) -> bool:
    """Tell whether somebody accepted just these licences here.

    Raises:
        ModelCorrupt: the record is damaged.
    """
    return {*restriction.licences} <= {*_read(folder).get(restriction.pack, {}).get("licences", ())}


def require(restrictions: Iterable[Restriction], folder: ModelsFolder, accept: Accept) -> None:
    """Go on where each licence is accepted, now or before; what is accepted now is recorded.

    Raises:
        LicenceNotAccepted: one is not.
        ModelCorrupt: the record is damaged.
        PullFailed: the record cannot be written.
    """
    open_ones = [restriction for restriction in restrictions if not is_accepted(restriction, folder)]
    for restriction in open_ones:
        if not accept(restriction):
            raise LicenceNotAccepted(f"{restriction}. Whoever has read it and keeps to it says --accept-licence")
    if open_ones:
        with folder.locked():
            records = _read(folder)
            for restriction in open_ones:
                before = records.get(restriction.pack, {}).get("licences", [])
                records[restriction.pack] = {
                    "licences": list(dict.fromkeys((*before, *restriction.licences))),
                    "accepted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "visavis": visavis.__version__,
                }
            with folder.writing():
                write_json(folder.path / _LICENCES, records)


def _read(folder: ModelsFolder) -> dict[str, dict[str, Any]]:
    path = folder.path / _LICENCES
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {str(pack): {**record, "licences": list(record["licences"])} for pack, record in records.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise ModelCorrupt(f"{path} cannot be read ({error}): remove it and accept the licences again") from error
