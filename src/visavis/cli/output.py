"""Results as text, JSON, CSV or NumPy arrays, written as they come."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeAlias, cast

from visavis.cli.atomic import replacing
from visavis.cli.messages import printable, results_stream
from visavis.cli.telling import Content, told
from visavis.errors import InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis import Face

_POINTS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image: its faces, or the error that stood in their way."""

    file: str
    faces: "tuple[Face, ...]" = ()
    error: VisavisError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        if self.error is not None:
            return {"file": self.file, "error": {"code": self.error.code, "message": str(self.error)}}
        return {"file": self.file, "faces": [face.to_dict() for face in self.faces]}


Write: TypeAlias = Callable[[Iterable[Result], TextIO, Content], None]
"""Write results to a stream as they come."""


def write_text(results: Iterable[Result], stream: TextIO, _content: Content) -> None:
    """Write a line for each image and an indented one for each of its faces."""
    for result in results:
        count = len(result.faces)
        outcome = f"{count} face{'' if count == 1 else 's'}" if result.error is None else f"failed, {result.error.code}"
        lines = [f"{printable(result.file)}: {outcome}", *map(_face_line, result.faces)]
        stream.write("\n".join(lines) + "\n")
        stream.flush()


def write_json_lines(results: Iterable[Result], stream: TextIO, _content: Content) -> None:
    """Write JSON Lines: an object for each image."""
    for result in results:
        stream.write(json.dumps(result.to_dict()) + "\n")
        stream.flush()


def write_json(results: Iterable[Result], stream: TextIO, _content: Content) -> None:
    """Write one JSON array of the same objects, each on a line of its own."""
    separator = "[\n"
    for result in results:
        stream.write(separator + json.dumps(result.to_dict()))
        separator = ",\n"
    stream.write("\n]\n")


def write_csv(results: Iterable[Result], stream: TextIO, content: Content) -> None:
    """Write a row for each face, and one with the error's code for each image that failed."""
    points = [f"{axis}{index}" for index in range(_POINTS) for axis in "xy"]
    columns = ["file", "error", "face", "left", "top", "right", "bottom", "score", *points]
    further = content.columns()
    columns += [*further, *(f"e{index}" for index in range(content.dimension))]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for result in results:
        if result.error is not None:
            writer.writerow([result.file, result.error.code, *[""] * (len(columns) - 2)])
        for number, face in enumerate(result.faces):
            embedding = () if face.embedding is None else face.embedding
            cells = (read(face) for read in further.values())
            writer.writerow(
                [result.file, "", number, *face.box_xyxy, face.score, *face.landmarks.ravel(), *cells, *embedding]
            )
        stream.flush()


def write_npz(results: Iterable[Result], stream: TextIO, content: Content) -> None:
    """Write NumPy arrays, readable without pickle: one entry per image in two of them, one per face in the others."""
    import numpy as np  # noqa: PLC0415  # --help does without

    files, errors, numbers = [], [], []
    faces: list[Face] = []
    for number, result in enumerate(results):
        files.append(result.file)
        errors.append("" if result.error is None else result.error.code)
        numbers += [number] * len(result.faces)
        faces += result.faces
    count = len(faces)
    arrays: dict[str, Any] = {
        "files": np.array(files, np.str_),
        "errors": np.array(errors, np.str_),
        "face_file": np.array(numbers, np.int64),
        "box_xyxy": np.array([face.box_xyxy for face in faces], np.float32).reshape(count, 4),
        "score": np.array([face.score for face in faces], np.float32),
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(count, _POINTS, 2),
    }
    for name, read in content.columns().items():
        cells = [read(face) for face in faces]
        # What is not told is no number, and an empty text.
        arrays[name] = np.array(cells, np.str_ if name == "gender" else np.float32)
    if content.dimension:
        shape = (count, content.dimension)
        arrays["embeddings"] = np.array([face.embedding for face in faces], np.float32).reshape(shape)
    np.savez(cast("io.TextIOWrapper", stream).buffer, **arrays)


_BY_SUFFIX: dict[str, Write] = {".json": write_json, ".jsonl": write_json_lines, ".csv": write_csv, ".npz": write_npz}


def choose_format(output: Path | None, *, as_json: bool, as_csv: bool) -> Write:
    """Return what writes the format asked for.

    Raises:
        InvalidOption: the wishes contradict each other, or the suffix says nothing.
    """
    if as_json and as_csv:
        raise InvalidOption("--json and --csv exclude each other")
    if output is None:
        return write_json_lines if as_json else write_csv if as_csv else write_text
    suffix = output.suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise InvalidOption(f"--output {output}: the suffix tells the format; use one of {', '.join(_BY_SUFFIX)}")
    if (as_json and suffix not in (".json", ".jsonl")) or (as_csv and suffix != ".csv"):
        raise InvalidOption(
            f"--output {output}: the suffix asks for another format than --{'json' if as_json else 'csv'}"
        )
    return _BY_SUFFIX[suffix]


@contextmanager
def open_output(output: Path | None) -> Iterator[TextIO]:
    """Open the file, which appears when all is written, or standard output."""
    if output is None:
        yield results_stream()
        return
    with replacing(output, private=True) as file:  # faces and embeddings are personal data
        stream = io.TextIOWrapper(cast("BinaryIO", file), encoding="utf-8", errors="backslashreplace", newline="")
        yield stream
        stream.flush()


def _face_line(face: "Face") -> str:
    box = " ".join(f"{edge:.0f}" for edge in face.box_xyxy)
    return "  ".join(["", f"box {box}", f"score {face.score:.2f}", *told(face)])
