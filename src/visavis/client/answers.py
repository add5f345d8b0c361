"""From the server's answers to the library's results and errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from visavis.client.exchange import Answer
from visavis.client.reading import check_good, content, every, if_any, number, text, truth, whole
from visavis.types import Face, Quality, Verification

_OK = 200
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A weights file of a pack: as ``visavis models`` lists it."""

    role: str
    name: str
    size: int
    sha256: str
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class ServedPack:
    """A pack that the server knows.

    Attributes:
        name: by which it is called.
        default: whether this is the one that answers.
        summary: one line about it.
        commercial_use: whether all its licences allow it.
        dimension: of an embedding.
        metric: how two embeddings are compared.
        threshold: two faces nearer than this are the same person.
        operating_points: thresholds by name.
        files: its weights.
    """

    name: str
    default: bool
    summary: str
    commercial_use: bool
    dimension: int
    metric: str
    threshold: float
    operating_points: Mapping[str, float]
    files: tuple[ServedFile, ...]


def read_faces(result: Mapping[str, Any]) -> tuple[Face, ...]:
    """Return the faces that were found in one image."""
    return every(read_face, result["faces"])


def read_face(face: Mapping[str, Any]) -> Face:
    """Return a face, with its embedding and quality where they were told."""
    return Face(
        box_xyxy=np.array(face["box_xyxy"], np.float32).reshape(4),
        score=number(face["score"]),
        landmarks=np.array(face["landmarks"], np.float32).reshape(-1, 2),
        embedding=if_any(lambda vector: np.array(vector, np.float32).reshape(len(vector)), face.get("embedding")),
        quality=if_any(read_quality, face.get("quality")),
    )


def read_quality(quality: Mapping[str, Any]) -> Quality:
    """Return how well an image shows a face."""
    return Quality(number(quality["face_px"]), number(quality["sharpness"]), number(quality["score"]))


def read_verification(answer: Answer, names: Mapping[str, str]) -> Verification:
    """Return the answer to ``verify``.

    Args:
        answer: to be read.
        names: what messages call the images "a" and "b".

    Raises:
        VisavisError: the call failed.
    """
    with content(answer, names) as verification:
        a, b = every(read_face, verification["faces"])
        return Verification(
            same=truth(verification["same"]),
            distance=number(verification["distance"]),
            threshold=number(verification["threshold"]),
            probability=number(verification["probability"]),
            faces=(a, b),
        )


def read_packs(answer: Answer) -> tuple[ServedPack, ...]:
    """Return the packs that the server knows.

    Raises:
        VisavisError: the call failed.
    """
    with content(answer) as packs:
        return every(lambda pack: _pack(pack, packs["default"]), packs["packs"])


def read_health(answer: Answer) -> bool:
    """Tell whether the server is ready.

    Raises:
        VisavisError: the answer says neither that it is nor that it is not.
    """
    if answer.status != _UNAVAILABLE:
        check_good(answer)
    return answer.status == _OK


def _pack(pack: Mapping[str, Any], default: str) -> ServedPack:
    return ServedPack(
        name=text(pack["name"]),
        default=pack["name"] == default,
        summary=text(pack["summary"]),
        commercial_use=truth(pack["commercial_use"]),
        dimension=whole(pack["dimension"]),
        metric=text(pack["metric"]),
        threshold=number(pack["threshold"]),
        operating_points={name: number(value) for name, value in pack["operating_points"].items()},
        files=every(_file, pack["files"]),
    )


def _file(file: Mapping[str, Any]) -> ServedFile:
    return ServedFile(
        role=text(file["role"]),
        name=text(file["name"]),
        size=whole(file["size"]),
        sha256=text(file["sha256"]),
        licence=text(file["licence"]),
        origin=text(file["origin"]),
    )
