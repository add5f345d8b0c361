"""Results of commands as text, JSON, CSV or NumPy arrays: faces, identities and groups."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeAlias, cast

from visavis.cli.files import replacing
from visavis.cli.terminal import counted, printable, results_stream
from visavis.errors import InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis import Face
    from visavis.options import Attribute
    from visavis.service.results import Candidate, Identification


_Cell: TypeAlias = "float | str | None"
_Column: TypeAlias = "Callable[[Face], _Cell]"

_NUMBERS_SHOWN = 4
_QUALITY = ("face_px", "sharpness", "yaw", "pitch")  # the score is told of every face
_COLUMNS_OF_ATTRIBUTE = {
    "liveness": {"liveness": "liveness"},
    "pose": {"yaw": "pose.yaw", "pitch": "pose.pitch", "roll": "pose.roll"},
    "age": {"age": "age"},
    "gender": {"gender": "gender.label", "gender_probability": "gender.probability"},
}


@dataclass(frozen=True, slots=True)
class Content:
    """What was asked of each face.

    Attributes:
        dimension: of its embedding; 0 where that is not wanted.
        quality: whether its quality is.
        attributes: which of its attributes are.
    """

    dimension: int = 0
    quality: bool = False
    attributes: "tuple[Attribute, ...]" = ()

    def columns(self) -> Mapping[str, _Column]:
        """Return what fills each further column of a table; the embedding is not among them."""
        paths = {f"quality_{name}": f"quality.{name}" for name in _QUALITY} if self.quality else {}
        for attribute in self.attributes:
            paths |= {name: f"attributes.{path}" for name, path in _COLUMNS_OF_ATTRIBUTE[attribute].items()}
        return {name: _reader(path) for name, path in paths.items()}


def attributes_of(text: str) -> "tuple[Attribute, ...]":
    """Return the attributes that a list with commas names; the library checks them."""
    return cast("tuple[Attribute, ...]", tuple(name.strip() for name in text.split(",") if name.strip()))


def told(face: "Face") -> Iterator[str]:
    """Yield what was told of a face, in words."""
    if face.quality is not None:
        yield f"size {face.quality.face_px:.0f}"
        yield f"sharpness {face.quality.sharpness:.2f}"
        # Not to be confused with the yaw and pitch of a network, which the attribute pose tells.
        turns = (("sideways", face.quality.yaw), ("down", face.quality.pitch))
        turned = " ".join(f"{way} {angle:.0f}" for way, angle in turns if angle is not None)
        if turned:
            yield f"turned {turned}"
    if face.attributes is not None:
        yield from _told_attributes(face.attributes.to_dict())
    if face.embedding is not None:
        numbers = " ".join(f"{number:.3f}" for number in face.embedding[:_NUMBERS_SHOWN])
        yield f"embedding {numbers} ..."


def _told_attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    if "liveness" in attributes:
        yield f"liveness {attributes['liveness']:.2f}"
    if "pose" in attributes:
        yield "  ".join(f"{axis} {angle:.0f}" for axis, angle in attributes["pose"].items())
    if "age" in attributes:
        yield f"age {attributes['age']:.0f}"
    if "gender" in attributes:
        yield f"{attributes['gender']['label']} {attributes['gender']['probability']:.2f}"


def _reader(path: str) -> _Column:
    def read(face: "Face") -> _Cell:
        value: Any = face
        for name in path.split("."):
            value = getattr(value, name, None)
        return cast("_Cell", value)

    return read


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


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A face on an image.

    Attributes:
        file: the image, as results call it.
        label: no more of its path than was searched.
        face: with its embedding and quality.
        left_out: the code of what it lacks to be told apart from others, or None.
        thumbnail: a JPEG of it, or empty where none is wanted.
    """

    file: str
    label: str
    face: "Face" = field(repr=False)
    left_out: str | None = None
    thumbnail: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """What became of all images.

    Attributes:
        people: the faces of each group, the largest group first.
        ungrouped: the faces that are in no group.
        left_out: those that nothing can be told of.
        failed: the images that could not be looked at, with the reason.
    """

    people: Sequence[Sequence[Sighting]]
    ungrouped: Sequence[Sighting]
    left_out: Sequence[Sighting]
    failed: Sequence[tuple[str, VisavisError]]


def write_groups_text(groups: Groups, stream: TextIO) -> None:
    """Write a line for each group and an indented one for each of its faces."""
    sections = [(f"group {number}", faces) for number, faces in enumerate(groups.people, 1)]
    sections += [("ungrouped", groups.ungrouped), ("left out", groups.left_out)]
    for title, faces in sections:
        if faces:
            stream.write(f"{title}: {counted(len(faces), 'face')}\n")
            stream.writelines(f"  {_sighting_line(face)}\n" for face in faces)
    stream.writelines(f"{printable(file)}: failed, {error.code}\n" for file, error in groups.failed)


def write_groups_json_lines(groups: Groups, stream: TextIO) -> None:
    """Write JSON Lines: an object for each face, and one for each image that failed."""
    stream.writelines(json.dumps(line) + "\n" for line in _lines(groups))


def _lines(groups: Groups) -> Iterator[dict[str, Any]]:
    for number, faces in enumerate(groups.people, 1):
        yield from (_plain(face, number) for face in faces)
    yield from (_plain(face, None) for face in (*groups.ungrouped, *groups.left_out))
    for file, error in groups.failed:
        yield {"file": file, "error": {"code": error.code, "message": str(error)}}


def _plain(sighting: Sighting, group: int | None) -> dict[str, Any]:
    face = sighting.face.to_dict()
    about = {name: face[name] for name in ("box_xyxy", "score", "quality")}
    return {"group": group, "left_out": sighting.left_out, "file": sighting.file, **about}


def _sighting_line(sighting: Sighting) -> str:
    box = " ".join(f"{edge:.0f}" for edge in sighting.face.box_xyxy)
    return f"{printable(sighting.file)}  box {box}" + (f"  {sighting.left_out}" if sighting.left_out else "")


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


WriteIdentities: TypeAlias = Callable[[Iterable[Identities], TextIO], None]
"""Write results to a stream as they come."""


def choose_identities_format(*, as_json: bool, as_csv: bool) -> WriteIdentities:
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
        lines = [f"{printable(result.file)}: {outcome}", *map(_identity_line, result.faces)]
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


def _identity_line(found: "Identification") -> str:
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
