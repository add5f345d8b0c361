"""Attributes of faces: liveness, head pose, age and gender, and the heads that measure them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis.core.geometry import inner_crop, square_crop
from visavis.errors import InvalidOption, ModelMissing
from visavis.models.detection import Sightings
from visavis.models.installation import Installation
from visavis.models.packs import Head, Pack, Part, Role
from visavis.models.runtime import Graph, InferAll, compile_graph
from visavis.options import Attribute
from visavis.types import Attributes, FloatArray, Gender, Pose, UInt8Array

Tell: TypeAlias = Callable[[UInt8Array, FloatArray], list[Attributes]]
"""Tell of each face of an image (H, W, 3) RGB, by its box (N, 4), what the head knows. Thread-safe."""

GRAPH_SUFFIX = ".onnx"
"""Of what liveness is converted to."""

# How much larger than the box of a face each network wants to see, and in which size. Those of MiniFASNet are the ones
# that it was trained with. Of the others nobody tells: bench/attributes.py tries several, and with these the poses of
# mirrored and turned photos, and the ages in dated ones, are about as near as with any to what they should be.
_LIVENESS_SCALES, _LIVENESS_SIDE = (2.7, 4.0), 80
_POSE_SCALE, _POSE_SIDE = 1.2, 60
_AGE_SCALE, _AGE_SIDE = 1.0, 62
# The class of MiniFASNet's that is a live face; the other two are kinds of attacks.
_LIVE = 1
# Faces that go through a network together: enough to be fast, few enough for its buffers.
_BATCH = 16


def load_head(part: Part, installation: Installation) -> Tell:
    """Load what tells the attributes of a part.

    Raises:
        ModelMissing, ModelCorrupt: a weights file is not installed, or not what it should be.
        RuntimeMissing, RuntimeFailed: the runtime is not installed, or refuses the network.
    """
    return _LOADERS[part.head](part, installation)


def _load_liveness(part: Part, installation: Installation) -> Tell:
    def graph(*state_dicts: bytes) -> bytes:
        from visavis.models.torch import minifasnet  # noqa: PLC0415  # brings ONNX, which only the conversion needs

        return minifasnet.liveness_graph(state_dicts, _LIVENESS_SIDE)

    network = Graph(installation.converted(part, graph, GRAPH_SUFFIX))
    return partial(_liveness, compile_graph(network, installation.spec))


def _load_head_pose(part: Part, installation: Installation) -> Tell:
    return partial(_poses, _compile_zoo(part, installation, _POSE_SIDE, ("angle_y_fc", "angle_p_fc", "angle_r_fc")))


def _load_age_gender(part: Part, installation: Installation) -> Tell:
    return partial(_ages_and_genders, _compile_zoo(part, installation, _AGE_SIDE, ("age_conv3", "prob")))


def _compile_zoo(part: Part, installation: Installation, side: int, outputs: tuple[str, ...]) -> InferAll:
    model, weights = (installation.read(file) for file in part.files)
    return compile_graph(Graph(model, weights, shape=(None, 3, side, side), outputs=outputs), installation.spec)


_LOADERS: Mapping[Head, Callable[[Part, Installation], Tell]] = {
    "minifasnet": _load_liveness,
    "ir-head-pose": _load_head_pose,
    "ir-age-gender": _load_age_gender,
}


def _liveness(infer: InferAll, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Attributes]:
    """Return the mean, over the networks, of the probability that they give to a live face.

    Source: ``test.py`` of Minivision's Silent-Face-Anti-Spoofing, which adds the probabilities of both networks.
    """

    def crops(box: FloatArray) -> UInt8Array:
        return np.stack([inner_crop(image, box, scale, _LIVENESS_SIDE) for scale in _LIVENESS_SCALES])

    (logits,) = _in_batches(infer, [crops(box) for box in boxes_xyxy])
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=2, keepdims=True))
    live = (odds[..., _LIVE] / odds.sum(axis=2)).mean(axis=1)
    return [Attributes(liveness=float(value)) for value in live]


def _poses(infer: InferAll, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Attributes]:
    crops = [_as_input(square_crop(image, box, _POSE_SCALE, _POSE_SIDE)) for box in boxes_xyxy]
    angles = np.stack([column.ravel() for column in _in_batches(infer, crops)], axis=1)
    return [Attributes(pose=Pose(*row)) for row in angles.tolist()]


def _ages_and_genders(infer: InferAll, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Attributes]:
    crops = [_as_input(square_crop(image, box, _AGE_SCALE, _AGE_SIDE)) for box in boxes_xyxy]
    ages, genders = _in_batches(infer, crops)
    years = (ages.ravel() * 100).tolist()
    return [
        Attributes(age=age, gender=_gender(*both))
        for age, both in zip(years, genders.reshape(-1, 2).tolist(), strict=True)
    ]


def _gender(female: float, male: float) -> Gender:
    label: Literal["female", "male"] = "female" if female > male else "male"
    return Gender(label, max(female, male) / (female + male))


def _as_input(crop: UInt8Array) -> FloatArray:
    """Return a crop (S, S, 3) RGB as networks of the zoo want it: (3, S, S) BGR."""
    planes: FloatArray = crop[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    return planes


def _in_batches(infer: InferAll, crops: Sequence[NDArray[np.generic]]) -> Iterator[FloatArray]:
    """Return each output of a network for all crops."""
    parts = [infer(np.stack(crops[first : first + _BATCH])) for first in range(0, len(crops), _BATCH)]
    return (np.concatenate(outputs) for outputs in zip(*parts, strict=True))


ROLE_OF_ATTRIBUTE: dict[Attribute, Role] = {
    "liveness": "liveness",
    "pose": "pose",
    "age": "age_gender",
    "gender": "age_gender",
}


LEAST_LIVENESS = 0.5
"""What a face must have to count as live."""


def is_live(attributes: Attributes | None) -> bool:
    """Tell whether a face counts as live; where nobody looked it does."""
    return attributes is None or attributes.liveness is None or attributes.liveness >= LEAST_LIVENESS


class AttributeModels:
    """The optional parts of a pack, each loaded when it is first needed. Thread-safe."""

    def __init__(self, pack: Pack, installation: Installation) -> None:
        self._pack = pack
        self._installation = installation
        self._loaded: dict[Role, Tell] = {}
        self._loading = Lock()

    def check(self, wanted: Collection[Attribute]) -> tuple[Attribute, ...]:
        """Return the wanted attributes, each once.

        Raises:
            InvalidOption: there is no such attribute, or the pack has no part for it.
        """
        if isinstance(wanted, str) or not isinstance(wanted, Collection):
            raise InvalidOption(f"attributes are given as in ('pose',), not {wanted!r:.60}")
        for name in wanted:
            if not isinstance(name, str) or name not in ROLE_OF_ATTRIBUTE:
                raise InvalidOption(f"attributes are {', '.join(ROLE_OF_ATTRIBUTE)}; there is no {name!r:.60}")
            if not self._pack.has(ROLE_OF_ATTRIBUTE[name]):
                raise InvalidOption(f"the pack {self._pack.name!r} tells no {name}; the pack 'open' does")
        return tuple(dict.fromkeys(wanted))

    def ready(self, wanted: Collection[Attribute]) -> tuple[Attribute, ...]:
        """Return the wanted attributes, each once, when all that tells them is loaded.

        Raises:
            InvalidOption: as ``check`` does.
            ModelMissing, ModelCorrupt, RuntimeMissing, RuntimeFailed: something cannot be loaded.
        """
        checked = self.check(wanted)
        for name in checked:
            self._head(ROLE_OF_ATTRIBUTE[name])
        return checked

    def __call__(self, image: UInt8Array, faces: Sightings, wanted: Sequence[Attribute]) -> tuple[Attributes, ...]:
        """Return what is wanted of each face.

        Args:
            image: (H, W, 3) RGB.
            faces: in its pixels.
            wanted: as ``check`` returns it.

        Raises:
            ModelMissing, ModelCorrupt, RuntimeMissing, RuntimeFailed: when a part is loaded.
        """
        if not (wanted and len(faces.scores)):
            return (Attributes(),) * len(faces.scores)
        roles = dict.fromkeys(ROLE_OF_ATTRIBUTE[name] for name in wanted)
        told = {role: self._head(role)(image, faces.boxes_xyxy) for role in roles}
        return tuple(
            Attributes(**{name: getattr(told[ROLE_OF_ATTRIBUTE[name]][number], name) for name in wanted})
            for number in range(len(faces.scores))
        )

    def _head(self, role: Role) -> Tell:
        with self._loading:
            if role not in self._loaded:
                self._loaded[role] = self._load(role)
            return self._loaded[role]

    def _load(self, role: Role) -> Tell:
        part, pack = self._pack.part(role), self._pack.name
        try:
            return load_head(part, self._installation)
        except ModelMissing as error:  # which cannot name the pack
            files = ", ".join(file.name for file in part.files)
            raise ModelMissing(
                f"the {role} part of the pack {pack!r} is not installed ({files}): visavis models pull {pack} "
                f"--with {role}, or without a network visavis models import FILE"
            ) from error
