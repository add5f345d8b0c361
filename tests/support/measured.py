"""Error rates made up for the default pack, kept where a calibration would be."""

from pathlib import Path

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.models.catalogue import DLIB
from visavis.models.installation import Measured, calibration_path

POINTS = (
    OperatingPoint(1e-4, 0.10, 0.08, 0.12),
    OperatingPoint(1e-3, 0.40, 0.15, 0.50),
    OperatingPoint(1e-2, 0.60, 0.55, 0.65),
)
"""Two photos of Eileen Collins are different at the first, at the second it is uncertain, and the same at the third."""

MADE_UP = Measured(Calibration(0.5, 20.0, "made up"), ErrorRates(POINTS, "made up"))


def keep(measured: Measured, models_dir: Path) -> Path:
    """Keep it as the default pack's, and return its file."""
    path = calibration_path(DLIB, models_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(measured.to_json())
    return path
