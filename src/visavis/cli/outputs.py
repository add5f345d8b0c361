"""Results of commands in words, as JSON, CSV, NumPy arrays or Parquet: faces, identities and sightings."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, TextIO, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from visavis.cli.images import ImageFile
from visavis.cli.terminal import counted, error_to_dict, printable, results_stream, say
from visavis.errors import DriverMissing, InvalidOption, VisavisError
from visavis.files import remove_abandoned, replacing, to_cell
from visavis.options import Attribute
from visavis.service.results import Candidate, Identification
from visavis.types import Face, Faces, Verification

_Any = TypeVar("_Any")
_log = logging.getLogger("visavis.cli")
_NO_FACES: Faces[Any] = Faces(())
_ROW_GROUP = 1024  # images that are written to Parquet together
_LEVEL = 6  # gzip's own default; numbers as text gain little from more


@contextmanager
def open_output(path: Path | None, *, compressed: bool = False) -> Iterator[TextIO]:
    """Open a file that only its owner may read and that appears when all is written, or standard output."""
    if path is None:
        stream = results_stream()
        yield stream
        stream.flush()
        return
    remove_abandoned(path)
    with replacing(path, private=True) as file, ExitStack() as stack:  # faces and embeddings are personal data
        binary: IO[bytes] = file
        if compressed:
            zipped = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0)
            binary = cast("IO[bytes]", stack.enter_context(zipped))
        text = io.TextIOWrapper(cast("BinaryIO", binary), encoding="utf-8", errors="backslashreplace", newline="")
        yield text
        text.flush()
        text.detach()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image: its faces, found or looked for in a gallery; or the error that stood in their way."""

    file: str
    faces: Faces[Any] = _NO_FACES
    error: VisavisError | None = None

    def to_json(self) -> str:
        """Return a JSON object, on one line."""
        if self.error is not None:
            return json.dumps({"file": self.file, "error": error_to_dict(self.error)})
        faces = [face.to_dict() for face in self.faces]
        return json.dumps({"file": self.file, "faces": faces, "searched_from_px": self.faces.searched_from_px})


@dataclass(slots=True)
class Searched:
    """How small faces were looked for, in all images so far."""

    least_px: float = float("inf")
    most_px: float = 0.0

    def note(self, outcomes: Iterable[Faces[_Any] | VisavisError]) -> Iterator[Faces[_Any] | VisavisError]:
        """Yield what was found, and note how small it might have been."""
        for each in outcomes:
            if isinstance(each, Faces):
                self.least_px = min(self.least_px, each.searched_from_px)
                self.most_px = max(self.most_px, each.searched_from_px)
            yield each

    def tell(self) -> None:
        """Say it, where any image was looked at."""
        if self.most_px:
            least, most = round(self.least_px), round(self.most_px)
            largest = "" if least == most else f" (in the largest images from {most})"
            _log.info("faces were looked for from %d pixels on%s; --min-face N says how small", least, largest)


def follow(
    sources: Iterable[ImageFile],
    outcomes: Iterable[Faces[Any] | VisavisError],
    counts: Counter[str],
    advance: Callable[[], None],
) -> Iterator[Result]:
    """Yield what became of each image; count images, faces and those that failed, and name these."""
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, VisavisError):
            say(f"visavis: {outcome}")
            result = Result(source.name, error=outcome)
        else:
            result = Result(source.name, outcome)
        counts.update(images=1, faces=len(result.faces), failed=result.error is not None)
        yield result
        advance()


def _write_text(results: Iterable[Result], stream: TextIO, layout: Layout) -> None:
    for result in results:
        outcome = counted(len(result.faces), "face") if result.error is None else f"failed, {result.error.code}"
        numbers = [f"{number}  " if layout.numbered else "" for number in range(len(result.faces))]
        faces = (f"  {number}{layout.line(face)}" for number, face in zip(numbers, result.faces, strict=True))
        lines = [f"{printable(result.file)}: {outcome}", *faces]
        stream.write("\n".join(lines) + "\n")
        stream.flush()


def _write_json_lines(results: Iterable[Result], stream: TextIO, _layout: Layout) -> None:
    for result in results:
        stream.write(result.to_json() + "\n")
        stream.flush()


def _write_json(results: Iterable[Result], stream: TextIO, _layout: Layout) -> None:
    separator = "[\n"
    for result in results:
        stream.write(separator + result.to_json())
        separator = ",\n"
    stream.write("\n]\n")


def table_writer(stream: TextIO) -> Callable[[Iterable[object]], object]:
    """Return what writes a row of CSV; numbers stay numbers, and texts are harmless."""
    writer = csv.writer(stream, lineterminator="\n")
    return lambda cells: writer.writerow([to_cell(cell) if isinstance(cell, str) else cell for cell in cells])


def _write_csv(results: Iterable[Result], stream: TextIO, layout: Layout) -> None:
    columns = ["file", "error", "face", "left", "top", "right", "bottom", "score", *layout.columns]
    write_row = table_writer(stream)
    write_row(columns)
    for result in results:
        if result.error is not None:
            write_row([result.file, result.error.code, *[""] * (len(columns) - 2)])
        for number, face in enumerate(result.faces):
            write_row([result.file, "", number, *layout.cells(face)])
        stream.flush()


def _write_npz(results: Iterable[Result], stream: TextIO, layout: Layout) -> None:
    """Write NumPy arrays, readable without pickle: one entry per image in two of them, one per face in the others."""
    gathered = list(results)
    arrays: dict[str, Any] = {
        "files": np.array([result.file for result in gathered], np.str_),
        "errors": np.array([result.error.code if result.error else "" for result in gathered], np.str_),
        "face_file": np.array([number for number, result in enumerate(gathered) for _ in result.faces], np.int64),
        **cast("FaceLayout", layout).arrays([face for result in gathered for face in result.faces]),
    }
    np.savez(cast("io.TextIOWrapper", stream).buffer, **arrays)


def _write_parquet(results: Iterable[Result], stream: TextIO, layout: Layout) -> None:
    """Write a row for each face, and one for each image that shows none or failed; what is not told is null."""
    schema = _parquet_table((), cast("FaceLayout", layout)).schema
    left = iter(results)
    with _parquet_module().ParquetWriter(cast("io.TextIOWrapper", stream).buffer, schema) as writer:
        while batch := list(islice(left, _ROW_GROUP)):
            writer.write_table(_parquet_table(batch, cast("FaceLayout", layout)))


def _parquet_table(results: Sequence[Result], layout: FaceLayout) -> Any:  # noqa: ANN401  # pyarrow's, which has no types
    import pyarrow as pa  # noqa: PLC0415  # takes time to load

    rows = [(result, number) for result in results for number in (range(len(result.faces)) or (None,))]
    places = iter(range(len(rows)))
    of_face = pa.array([None if number is None else next(places) for _, number in rows], pa.int64())
    columns = {
        "file": pa.array([result.file.encode(errors="backslashreplace").decode() for result, _ in rows], pa.string()),
        "error": pa.array([result.error.code if result.error else None for result, _ in rows], pa.string()),
        "face": pa.array([number for _, number in rows], pa.int32()),
    }
    for name, array in layout.arrays([face for result in results for face in result.faces]).items():
        values = pa.array([*map(str, array)] if array.dtype.kind == "U" else array.ravel(), from_pandas=True)
        if array.ndim > 1:
            values = pa.FixedSizeListArray.from_arrays(values, int(np.prod(array.shape[1:])))
        columns["embedding" if name == "embeddings" else name] = values.take(of_face)
    return pa.table(columns)


def _parquet_module() -> Any:  # noqa: ANN401  # likewise
    try:
        from pyarrow import parquet  # noqa: PLC0415  # takes time to load
    except ImportError as error:
        raise DriverMissing("writing Parquet takes PyArrow: pip install 'visavis[parquet]'") from error
    return parquet


_BY_SUFFIX = {
    ".json": _write_json,
    ".jsonl": _write_json_lines,
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
}


def choose_format(
    *, as_json: bool, as_csv: bool, file: Path | None = None
) -> Callable[[Iterable[Result], TextIO, Layout], None]:
    """Return what writes results, as they come, in the format asked for."""
    if as_json and as_csv:
        raise InvalidOption("--json and --csv exclude each other")
    if file is None:
        return _write_json_lines if as_json else _write_csv if as_csv else _write_text
    suffix = file.suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise InvalidOption(f"--output {file}: the suffix tells the format; use one of {', '.join(_BY_SUFFIX)}")
    if (as_json and suffix not in (".json", ".jsonl")) or (as_csv and suffix != ".csv"):
        raise InvalidOption(
            f"--output {file}: the suffix asks for another format than --{'json' if as_json else 'csv'}"
        )
    if suffix == ".parquet":
        _parquet_module()  # before anything is done
    return _BY_SUFFIX[suffix]


_POINTS = 5
_NUMBERS_SHOWN = 4
# Columns besides box and landmarks: where a face holds what is in them.
_QUALITY = {
    f"quality_{name}": f"quality.{name}" for name in ("face_px", "sharpness", "yaw", "pitch", "validity", "occluded")
}
_ATTRIBUTES = {
    "liveness": {"liveness": "liveness"},
    "pose": {"yaw": "pose.yaw", "pitch": "pose.pitch", "roll": "pose.roll"},
    "age": {"age": "age"},
    "gender": {"gender": "gender.label", "gender_probability": "gender.probability"},
}


@dataclass(frozen=True, slots=True)
class FaceLayout:
    """The layout of faces that were found, and of what was asked of them."""

    dimension: int = 0  # of embeddings, where they are wanted
    quality: bool = False
    attributes: Sequence[Attribute] = ()
    numbered: bool = False  # whether lines begin with the number of the face, which CSV has too

    @property
    def columns(self) -> list[str]:
        """Landmarks, what was asked for, and embedding."""
        points = [f"{axis}{index}" for index in range(_POINTS) for axis in "xy"]
        return [*points, *self._paths(), *(f"e{index}" for index in range(self.dimension))]

    def cells(self, face: Face) -> list[object]:
        """Return what fills box, score and columns."""
        asked = (_at(face, path) for path in self._paths().values())
        embedding = () if face.embedding is None else face.embedding
        return [*face.box_xyxy, face.score, *face.landmarks.ravel(), *asked, *embedding]

    def label(self, _face: Face) -> tuple[str, str]:
        """Return what is drawn beside a face besides its number: a name, and what else."""
        return "", ""

    def line(self, face: Face) -> str:
        """Return a line of what is told of a face."""
        parts = [f"box {edges(face)}", f"score {face.score:.2f}"]
        if face.quality is not None:
            parts += [f"size {face.quality.face_px:.0f}", f"sharpness {face.quality.sharpness:.2f}"]
            # Not to be confused with the yaw and pitch of a network, which the attribute pose tells.
            turns = (("sideways", face.quality.yaw), ("down", face.quality.pitch))
            turned = " ".join(f"{way} {angle:.0f}" for way, angle in turns if angle is not None)
            parts += [f"turned {turned}"] if turned else []
            told = (("validity", face.quality.validity), ("occluded", face.quality.occluded))
            parts += [f"{name} {share:.2f}" for name, share in told if share is not None]
        about = face.attributes
        if about is not None:
            parts += [] if about.liveness is None else [f"liveness {about.liveness:.2f}"]
            parts += [f"{axis} {angle:.0f}" for axis, angle in about.pose.to_dict().items()] if about.pose else []
            parts += [] if about.age is None else [f"age {about.age:.0f}"]
            parts += [f"{about.gender.label} {about.gender.probability:.2f}"] if about.gender else []
        if face.embedding is not None:
            numbers = " ".join(f"{number:.3f}" for number in face.embedding[:_NUMBERS_SHOWN])
            parts.append(f"embedding {numbers} ...")
        return "  ".join(parts)

    def arrays(self, faces: Sequence[Face]) -> dict[str, NDArray[Any]]:
        """Return an array for each of the same, with an entry for each face."""
        count = len(faces)
        arrays: dict[str, NDArray[Any]] = {
            "box_xyxy": np.array([face.box_xyxy for face in faces], np.float32).reshape(count, 4),
            "score": np.array([face.score for face in faces], np.float32),
            "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(count, _POINTS, 2),
        }
        for name, path in self._paths().items():
            # What is not told is no number, and an empty text.
            kind = np.str_ if name == "gender" else np.float32
            arrays[name] = np.array([_at(face, path) for face in faces], kind)
        if self.dimension:
            embeddings = np.array([face.embedding for face in faces], np.float32)
            arrays["embeddings"] = embeddings.reshape(count, self.dimension)
        return arrays

    def _paths(self) -> Mapping[str, str]:
        paths = dict(_QUALITY) if self.quality else {}
        for attribute in self.attributes:
            paths |= {name: f"attributes.{path}" for name, path in _ATTRIBUTES[attribute].items()}
        return paths


def _at(face: Face, path: str) -> object:
    value: object = face
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def edges(face: Face) -> str:
    """Return the box of a face in words."""
    return " ".join(f"{edge:.0f}" for edge in face.box_xyxy)


@dataclass(frozen=True, slots=True)
class IdentityLayout:
    """The layout of faces that were looked for in a gallery."""

    numbered: bool = False  # as above
    columns: ClassVar = (
        *("match", "unknown", "nearest", "name", "sample", "distance", "probability", "margin", "runner_up"),
        "threshold",
    )

    def cells(self, found: Identification) -> list[object]:
        """Return what fills box, score and columns."""
        box = [*found.face.box_xyxy, found.face.score] if found.face else [""] * 5
        nearest, second = _nearest(found)
        about: list[object] = [""] * 7
        if nearest is not None:
            about = [nearest.subject, nearest.name, nearest.sample, nearest.distance, nearest.probability]
            about += [nearest.margin, second and second.subject]
        return [*box, found.match.subject if found.match else "", found.unknown, *about, found.threshold]

    def label(self, found: Identification) -> tuple[str, str]:
        """Return what is drawn beside a face: the name and the distance, or why it is nobody."""
        if found.match is None:
            return "unknown", str(found.unknown)
        told = f"{found.match.distance:.2f}" + (" uncertain" if found.uncertain else "")
        return printable(found.match.name or found.match.subject), told

    def line(self, found: Identification) -> str:
        """Return a line of who a face is."""
        nearest, second = _nearest(found)
        known = found.match is not None and nearest is not None
        parts = [f"box {edges(found.face) if found.face else ''}"]
        parts.append(_called(nearest) if known and nearest else f"unknown ({found.unknown})")
        if nearest is not None:
            parts += [] if known else [f"nearest {_called(nearest)}"]
            parts.append(f"distance {nearest.distance:.3f}")
            parts += [] if nearest.probability is None else [f"probability {nearest.probability:.4f}"]
            if nearest.margin is not None and second is not None:
                parts.append(f"margin {nearest.margin:.3f} to {printable(second.subject)}")
        parts += ["uncertain"] if found.uncertain else []
        return "  ".join(parts)


class SightingLayout:
    """The layout of faces of photos that were compared with a person's."""

    numbered = False
    columns = ("decision", "reason", "distance", "threshold", "probability")

    def cells(self, seen: Verification) -> list[object]:
        """Return what fills box, score and columns."""
        return [*seen.faces[1].box_xyxy, seen.faces[1].score, *(getattr(seen, name) for name in self.columns)]

    def line(self, seen: Verification) -> str:
        """Return a line of how a face compares."""
        parts = [f"box {edges(seen.faces[1])}", seen.decision, *([f"({seen.reason})"] if seen.reason else [])]
        parts.append(f"distance {seen.distance:.3f}")
        parts += [] if seen.probability is None else [f"probability {seen.probability:.4f}"]
        return "  ".join(parts)


Layout: TypeAlias = FaceLayout | IdentityLayout | SightingLayout
"""How a face is shown: in words, and in a table, after the columns of its image and its box."""


def _nearest(found: Identification) -> tuple[Candidate | None, Candidate | None]:
    first, second, *_ = (*found.candidates, None, None)
    return first, second


def _called(candidate: Candidate) -> str:
    return printable(candidate.subject + (f" ({candidate.name})" if candidate.name else ""))
