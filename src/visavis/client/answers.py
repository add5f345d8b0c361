"""From the server's answers to the library's results and errors."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from visavis.client.exchange import Answer
from visavis.client.reading import among, check_good, content, every, if_any, number, truth
from visavis.types import Attributes, Decision, Face, Gender, Pose, Quality, Verification

_OK = 200
_UNAVAILABLE = 503


def read_faces(result: Mapping[str, Any]) -> tuple[Face, ...]:
    """Return the faces that were found in one image."""
    return every(read_face, result["faces"])


def read_face(face: Mapping[str, Any]) -> Face:
    """Return a face, with its embedding, quality and attributes where they were told."""
    return Face(
        box_xyxy=np.array(face["box_xyxy"], np.float32).reshape(4),
        score=number(face["score"]),
        landmarks=np.array(face["landmarks"], np.float32).reshape(-1, 2),
        embedding=if_any(lambda vector: np.array(vector, np.float32).reshape(len(vector)), face.get("embedding")),
        quality=if_any(read_quality, face.get("quality")),
        attributes=if_any(read_attributes, face.get("attributes")),
    )


def read_quality(quality: Mapping[str, Any]) -> Quality:
    """Return how well an image shows a face."""
    yaw, pitch = (if_any(number, quality.get(angle)) for angle in ("yaw", "pitch"))
    return Quality(number(quality["face_px"]), number(quality["sharpness"]), number(quality["score"]), yaw, pitch)


def read_attributes(attributes: Mapping[str, Any]) -> Attributes:
    """Return what was told of a face besides."""
    return Attributes(
        liveness=if_any(number, attributes.get("liveness")),
        pose=if_any(_pose, attributes.get("pose")),
        age=if_any(number, attributes.get("age")),
        gender=if_any(_gender, attributes.get("gender")),
    )


def _pose(pose: Mapping[str, Any]) -> Pose:
    return Pose(number(pose["yaw"]), number(pose["pitch"]), number(pose["roll"]))


def _gender(gender: Mapping[str, Any]) -> Gender:
    return Gender(among(gender["label"], ("female", "male")), number(gender["probability"]))


_DECISIONS: dict[str, Decision] = {name: name for name in get_args(Decision)}


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
            probability=if_any(number, verification["probability"]),
            faces=(a, b),
            decision=_DECISIONS[verification["decision"]],
            fmr=if_any(number, verification["fmr"]),
        )


def read_health(answer: Answer) -> bool:
    """Tell whether the server is ready.

    Raises:
        VisavisError: the answer says neither that it is nor that it is not.
    """
    if answer.status != _UNAVAILABLE:
        check_good(answer)
    return answer.status == _OK
