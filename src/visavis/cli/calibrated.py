"""A calibration as JSON, as a table, and as warnings."""

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from visavis import __version__
from visavis.cli.messages import say
from visavis.cli.tables import table_text

if TYPE_CHECKING:
    from visavis.evaluation.calibration import Calibrated
    from visavis.evaluation.embedding import Embedded, Seeing
    from visavis.models.installation import Measured
    from visavis.models.packs import Pack

_log = logging.getLogger("visavis.cli")


def provenance(found: "Calibrated", seeing: "Seeing", embedded: "Embedded") -> str:
    """Return what it was measured on; who or where is nobody's business."""
    from visavis.models.runtime import precision_in_force  # noqa: PLC0415  # brings the runtime

    today = datetime.now(timezone.utc).date().isoformat()
    return (
        f"visavis calibrate {__version__} on {today}: {int(embedded.seen.sum()):,} images of {found.people:,} people, "
        f"{found.genuine:,} pairs of one person and {found.support.impostor:,} of strangers; faces={seeing.faces}, "
        f"min_face={seeing.min_face:g}; {seeing.runtime.runtime}, {precision_in_force(seeing.runtime)}"
    )


def in_plain(found: "Calibrated", about: str) -> dict[str, Any]:
    """Return plain Python values, ready for JSON.

    Args:
        found: the calibration.
        about: its provenance.
    """
    from visavis.core.decide import NAMED_RATES  # noqa: PLC0415  # brings NumPy

    names = {rate: name for name, rate in NAMED_RATES.items()}
    return {
        "provenance": about,
        "least_fmr": found.support.least,
        "points": [
            {
                "name": names.get(each.point.fmr),
                "fmr": each.point.fmr,
                "threshold": each.point.threshold,
                "threshold_interval": [each.point.low, each.point.high],
                "fnmr": each.fnmr.value,
                "fnmr_interval": [each.fnmr.low, each.fnmr.high],
            }
            for each in found.points
        ],
        "unsupported": list(found.unsupported),
        "calibration": {"midpoint": found.midpoint, "slope": found.slope},
    }


def in_words(plain: dict[str, Any]) -> str:
    """Return a table of what ``in_plain`` returns, with the pack's name."""
    from visavis.evaluation.tables import Table, share  # noqa: PLC0415  # brings NumPy

    def row(point: dict[str, Any]) -> tuple[str, ...]:
        low, high = point["threshold_interval"]
        refused = (share(point["fnmr"]), *(share(end).removesuffix(" %") for end in point["fnmr_interval"]))
        threshold = f"{point['threshold']:.4f} ({low:.4f} to {high:.4f})"
        return point["name"] or "", f"{point['fmr']:g}", threshold, "{} ({} to {})".format(*refused)

    midpoint, slope = plain["calibration"]["midpoint"], plain["calibration"]["slope"]
    columns = ("", "strangers accepted (FMR)", "threshold", "genuine refused (FNMR)")
    remark = f"As likely the same person as not at {midpoint:.4f}; the log odds fall by {slope:.1f} per unit."
    return table_text(Table(f"Pack {plain['pack']}", columns, tuple(map(row, plain["points"])), remark)) + "\n"


def replaced(pack: "Pack", stored: "Measured | None", found: "Calibrated") -> list[str]:
    """Return what gets lost where a calibration takes the place of what is in force, and how to go back.

    Args:
        pack: as it is installed.
        stored: an earlier calibration, or None.
        found: the one to be kept.
    """
    lines = []
    if stored is not None and stored.people is not None and stored.people > found.people:
        lines.append(
            f"this calibration, of {found.people:,} people, REPLACES one of {stored.people:,}: "
            f"{stored.rates.provenance}; to go back to that, calibrate on its photos again"
        )
    least, before = found.points[0].point.fmr, pack.rates
    if before is not None and before.points[0].fmr < least * (1 - 1e-9):
        lines.append(
            f"this calibration supports NO false match rate below {least:g}; what it replaces supports those from "
            f"{before.points[0].fmr:g}: {before.provenance}"
        )
    if lines:
        lines.append(f"to go back to what the pack came with: visavis calibrate --reset --pack {pack.name}")
    return lines


def warn(found: "Calibrated") -> None:
    """Say loudly what the data do not tell."""
    from visavis.core.decide import NAMED_RATES  # noqa: PLC0415  # brings NumPy
    from visavis.evaluation.calibration import needs  # noqa: PLC0415  # likewise

    least = f"these data support no false match rate below {found.support.least:.2g}"
    for rate in found.unsupported:
        say(f"visavis: NO threshold for {rate:g}, and nothing kept: {least}; it takes {needs(rate)} or more")
    for name, rate in NAMED_RATES.items():
        if not found.support.reaches(rate) and rate not in found.unsupported:
            _log.warning("visavis: no threshold for %s (%g): %s; it takes %s or more", name, rate, least, needs(rate))
