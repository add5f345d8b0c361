"""Attributes of faces: liveness, head pose, age and gender, and the networks that measure them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import inner_crop, square_crop
from visavis.models.packs import Role
from visavis.models.runtime import Infer
from visavis.options import Attribute
from visavis.types import Attributes, FloatArray, Gender, Pose, UInt8Array

Measure: TypeAlias = Callable[[UInt8Array, FloatArray], list[Attributes]]
"""Measure what a network knows of each face of an image (H, W, 3) RGB, by its box (N, 4). Thread-safe."""

ROLE_OF_ATTRIBUTE: dict[Attribute, Role] = {
    "liveness": "liveness",
    "pose": "pose",
    "age": "age_gender",
    "gender": "age_gender",
}

# Faces that go through a network together: enough to be fast, few enough for its buffers.
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeNetwork:
    """A network that measures attributes."""

    # Cuts out what it sees of a face, from an image (H, W, 3) RGB and a box (4,).
    crop: Callable[[UInt8Array, FloatArray], NDArray[Any]]
    read: Callable[..., list[Attributes]]  # makes attributes of its outputs (N, ...)
    side: int  # of its input, in pixels
    outputs: tuple[str, ...] = ()  # their names, in the order in which ``read`` wants them; none for the file's

    def measure(self, infer: Infer, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Attributes]:
        """Measure every face, a few at a time."""
        crops = [self.crop(image, box) for box in boxes_xyxy]
        parts = [infer(np.stack(crops[first : first + _BATCH])) for first in range(0, len(crops), _BATCH)]
        return self.read(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))


def _zoo_crop(image: UInt8Array, box: FloatArray, scale: float, side: int) -> FloatArray:
    """Return a crop as networks of Intel's zoo want it: (3, S, S) BGR."""
    planes: FloatArray = square_crop(image, box, scale, side)[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    return planes


# How much larger than the box of a face each network wants to see, and in which size. Those of MiniFASNet are the ones
# that it was trained with. Of the others nobody tells: bench/attributes.py tries several, and with these the poses of
# mirrored and turned photos, and the ages in dated ones, are about as near as with any to what they should be.
_LIVENESS_SCALES, _LIVENESS_SIDE = (2.7, 4.0), 80
_POSE_SCALE, _POSE_SIDE = 1.2, 60
_AGE_SCALE, _AGE_SIDE = 1.0, 62
# The class of MiniFASNet's that is a live face; the other two are kinds of attacks.
_LIVE = 1


def _read_liveness(logits: FloatArray) -> list[Attributes]:
    """Return the mean, over the networks, of the probability that they give to a live face.

    Source: ``test.py`` of Minivision's Silent-Face-Anti-Spoofing, which adds the probabilities of both networks.
    """
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=2, keepdims=True))
    live = (odds[..., _LIVE] / odds.sum(axis=2)).mean(axis=1)
    return [Attributes(liveness=value) for value in live.tolist()]


def _read_poses(*angles: FloatArray) -> list[Attributes]:
    columns = np.stack([each.ravel() for each in angles], axis=1)
    return [Attributes(pose=Pose(*row)) for row in columns.tolist()]


def _read_ages_and_genders(ages: FloatArray, genders: FloatArray) -> list[Attributes]:
    rows = zip((ages.ravel() * 100).tolist(), genders.reshape(-1, 2).tolist(), strict=True)
    return [
        Attributes(age=age, gender=Gender("female" if female > male else "male", max(female, male) / (female + male)))
        for age, (female, male) in rows
    ]


def _liveness_crops(image: UInt8Array, box: FloatArray) -> UInt8Array:
    return np.stack([inner_crop(image, box, scale, _LIVENESS_SIDE) for scale in _LIVENESS_SCALES])


MINIFASNET = AttributeNetwork(crop=_liveness_crops, read=_read_liveness, side=_LIVENESS_SIDE)
HEAD_POSE = AttributeNetwork(
    crop=lambda image, box: _zoo_crop(image, box, _POSE_SCALE, _POSE_SIDE),
    read=_read_poses,
    side=_POSE_SIDE,
    outputs=("angle_y_fc", "angle_p_fc", "angle_r_fc"),
)
AGE_GENDER = AttributeNetwork(
    crop=lambda image, box: _zoo_crop(image, box, _AGE_SCALE, _AGE_SIDE),
    read=_read_ages_and_genders,
    side=_AGE_SIDE,
    outputs=("age_conv3", "prob"),
)
