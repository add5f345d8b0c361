"""What can be told of a face besides: liveness, head pose, age and gender."""

from collections.abc import Collection, Sequence
from threading import Lock

from visavis.errors import InvalidOption, ModelMissing
from visavis.models.attribute_heads import Tell, load_head
from visavis.models.installation import Installation
from visavis.models.packs import Pack, Role
from visavis.models.sight import Sightings
from visavis.types import Attribute, Attributes, UInt8Array

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
