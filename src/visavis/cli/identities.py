"""Who was found on images, as text, JSON or CSV, written as it comes."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from visavis.cli.messages import printable
from visavis.cli.tally import counted
from visavis.errors import InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis.service.results import Candidate, Identification

_COLUMNS = (
    *("file", "error", "face", "left", "top", "right", "bottom", "score", "match", "unknown"),
    *("nearest", "name", "sample", "distance", "probability", "margin", "runner_up", "threshold"),
)


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is on one image, or the error that stood in the way."""

    file: str
    faces: "tuple[Identification, ...]" = ()
    error: VisavisError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        if self.error is not None:
            return {"file": self.file, "error": {"code": self.error.code, "message": str(self.error)}}
        return {"file": self.file, "faces": [face.to_dict() for face in self.faces]}


Write: TypeAlias = Callable[[Iterable[Identities], TextIO], None]
"""Write results to a stream as they come."""


def choose_identities_format(*, as_json: bool, as_csv: bool) -> Write:
    """Return what writes the format asked for.

    Raises:
        InvalidOption: the wishes contradict each other.
    """
    if as_json and as_csv:
        raise InvalidOption("--json and --csv exclude each other")
    return _write_json_lines if as_json else _write_csv if as_csv else _write_text


def _write_text(results: Iterable[Identities], stream: TextIO) -> None:
    for result in results:
        outcome = counted(len(result.faces), "face") if result.error is None else f"failed, {result.error.code}"
        lines = [f"{printable(result.file)}: {outcome}", *map(_face_line, result.faces)]
        stream.write("\n".join(lines) + "\n")
        stream.flush()


def _write_json_lines(results: Iterable[Identities], stream: TextIO) -> None:
    for result in results:
        stream.write(json.dumps(result.to_dict()) + "\n")
        stream.flush()


def _write_csv(results: Iterable[Identities], stream: TextIO) -> None:
    """Write a row for each face, and one with the error's code for each image that failed."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in results:
        if result.error is not None:
            writer.writerow([result.file, result.error.code, *[""] * (len(_COLUMNS) - 2)])
        for number, face in enumerate(result.faces):
            writer.writerow([result.file, "", number, *_cells(face)])
        stream.flush()


def _cells(found: "Identification") -> list[object]:
    box = [*found.face.box_xyxy, found.face.score] if found.face else [""] * 5
    decision = [found.match.subject if found.match else "", found.unknown]
    nearest = _candidate(found, 0)
    if nearest is None:
        return [*box, *decision, *[""] * 7, found.threshold]
    about = [nearest.subject, nearest.name, nearest.sample, nearest.distance, nearest.probability, nearest.margin]
    next_one = _candidate(found, 1)
    return [*box, *decision, *about, next_one and next_one.subject, found.threshold]


def _face_line(found: "Identification") -> str:
    box = "" if found.face is None else " ".join(f"{edge:.0f}" for edge in found.face.box_xyxy)
    nearest, next_one = _candidate(found, 0), _candidate(found, 1)
    who = _called(nearest) if found.match and nearest else f"unknown ({found.unknown})"
    parts = [f"  box {box}", who]
    if nearest is not None:
        parts += [] if found.match else [f"nearest {_called(nearest)}"]
        parts += [f"distance {nearest.distance:.4f}", *_likely(nearest)]
    if nearest is not None and nearest.margin is not None and next_one is not None:
        parts.append(f"margin {nearest.margin:.4f} to {printable(next_one.subject)}")
    return "  ".join(parts)


def _likely(candidate: "Candidate") -> list[str]:
    return [] if candidate.probability is None else [f"probability {candidate.probability:.4f}"]


def _called(candidate: "Candidate") -> str:
    name = f" ({candidate.name})" if candidate.name else ""
    return printable(candidate.subject + name)


def _candidate(found: "Identification", place: int) -> "Candidate | None":
    return found.candidates[place] if len(found.candidates) > place else None
