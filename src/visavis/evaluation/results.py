"""Results of an evaluation: frozen records ready for JSON, and the parts that pairs and searches share."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from visavis import __version__
from visavis.evaluation.bootstrap import REPLICATES, Estimate
from visavis.evaluation.embedding import EmbeddedPhotos, PhotoEmbedder
from visavis.evaluation.metrics import Curve, Floats
from visavis.evaluation.protocols import Grouping, Indices, Pairs, Photo, Split, counted, people_of
from visavis.models.runtime import describe, precision_in_force
from visavis.record import HIDDEN, Record
from visavis.types import FloatArray

_MOST_SHOWN = 24  # pairs of a kind, in a report
_FEW_PEOPLE = 30
_NAMED = 5
_CURVE_POINTS = 500
_BINS = 80


@dataclass(frozen=True, slots=True)
class Circumstances(Record):
    """What was measured, and with what."""

    protocol: str
    """What was compared with what, in words."""
    images: int
    people: int
    pack: str
    space: str
    """ID of the embedding space."""
    runtime: str
    precision: str
    faces: str
    min_face: float
    seed: int
    """Of the intervals, and of pairs or strangers where some were drawn."""
    replicates: int
    from_cache: int
    """Images whose embeddings were kept from an earlier measurement."""
    visavis: str
    python: str
    numpy: str


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """An image without an embedding, and why."""

    file: str
    person: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class ShownFace(Record):
    """A face of a photo."""

    file: str
    person: str
    path: str = field(metadata=HIDDEN)
    box_xyxy: FloatArray = field(metadata=HIDDEN)


@dataclass(frozen=True, slots=True, eq=False)
class ShownPair(Record):
    """Two faces, and their distance."""

    first: ShownFace
    second: ShownFace
    distance: float


@dataclass(frozen=True, slots=True)
class PairRates(Record):
    """Error rates of decisions on pairs: faces nearer than the threshold are taken for one person."""

    threshold: float
    fmr: Estimate
    fnmr: Estimate
    accuracy: Estimate
    """Share of decisions that is right."""


@dataclass(frozen=True, slots=True)
class SearchRates(Record):
    """Error rates of a gallery: a person nearer than the threshold is found if the next is farther by the margin."""

    threshold: float
    margin: float
    fnir: Estimate
    """Share of probes of enrolled people that does not find its person."""
    misidentified: Estimate
    """Share of probes of enrolled people that is taken for another person."""
    fpir: Estimate | None
    """Share of probes of strangers that is taken for a person; None without strangers."""


@dataclass(frozen=True, slots=True)
class AskedFmr(Record):
    """The false match rate that the threshold was to keep, and whether the one measured agrees."""

    fmr: float
    found: Literal["agrees", "higher", "lower", "too_few"] | None
    """"agrees" where the interval holds the rate; "too_few" pairs cannot show it; None for a gallery."""


@dataclass(frozen=True, slots=True)
class AtFmr(Record):
    """The cost of a false match rate: threshold and FNMR, None where the pairs are too few to show the rate."""

    fmr: float
    pairs_of_people: int
    bound: float
    """The rate that so many can just show, by the rule of three."""
    threshold: Estimate | None
    fnmr: Estimate | None


@dataclass(frozen=True, slots=True)
class AtFpir(Record):
    """The cost of a false positive identification rate, None where strangers are too few to show it."""

    fpir: float
    strangers: int
    """People, not probes."""
    bound: float
    """The rate that so many can just show, by the rule of three."""
    rates: SearchRates | None


@dataclass(frozen=True, slots=True)
class GroupRates(Record):
    """The rates of a group at the threshold of all: of pairs, or of probes of a gallery."""

    name: str
    images: int
    failures: int
    """Images without an embedding."""
    strangers: int
    own: int
    """Pairs of one person, or probes of people who are enrolled."""
    false_positives: Estimate | None
    """FMR or FPIR."""
    false_negatives: Estimate | None
    """FNMR or FNIR."""


@dataclass(frozen=True, slots=True, eq=False)
class Folds(Record):
    """Accuracy on each fold at the threshold that is best on the others, their mean, and its standard error."""

    accuracies: Floats
    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Record):
    """Counts of distances of each kind between two edges: (B,) of (B + 1,)."""

    edges: Floats
    genuine: Indices
    impostor: Indices


class _Evaluation(Record):
    __slots__ = ()
    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; what is no finite number is None."""
        plain: dict[str, Any] = {"kind": self.kind, **super().to_dict()}
        finite: dict[str, Any] = json.loads(json.dumps(plain), parse_constant=lambda _: None)
        return finite


@dataclass(frozen=True, slots=True, eq=False)
class PairEvaluation(_Evaluation):
    """Error rates of decisions on pairs."""

    kind = "pairs"

    about: Circumstances
    genuine: int
    """Pairs of one person that were compared."""
    impostor: int
    """Pairs of strangers that were compared."""
    without_face: tuple[int, int]
    """Pairs of one person, and of strangers, that were not, because an image has no embedding."""
    asked: AskedFmr | None
    compared: PairRates
    """Of the pairs that were compared."""
    counted: PairRates
    """Of all pairs, where one that was not compared counts as "not the same person"."""
    eer: Estimate
    """The rate at which FMR and FNMR are equal, of the pairs that were compared, as is all below."""
    eer_threshold: float
    best_accuracy: float
    """At the threshold that suits these very pairs best: too good to expect elsewhere."""
    best_threshold: float
    folds: Folds | None
    at_fmr: tuple[AtFmr, ...]
    groups: tuple[GroupRates, ...]
    curve: Curve
    histogram: Histogram
    failures: tuple[Failure, ...]
    nearest_strangers: tuple[ShownPair, ...]
    farthest_same: tuple[ShownPair, ...]
    left_out: tuple[str, ...]
    """What was not measured, and why."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SearchEvaluation(_Evaluation):
    """Error rates of a gallery."""

    kind = "search"

    about: Circumstances
    enrolled: int
    not_enrolled: int
    """People who were to be enrolled, and have no image with a face."""
    mated: int
    """Probes of people of the gallery."""
    strangers: int
    """Other probes."""
    without_face: tuple[int, int]
    """Of both, those that have no embedding."""
    rank1: Estimate
    """Share of probes of enrolled people, among those with an embedding, whose nearest person is the right one."""
    asked: AskedFmr | None
    compared: SearchRates
    """At the threshold and the pack's margin, of probes with an embedding and people who are enrolled."""
    counted: SearchRates
    """Of all probes: one without a face finds nobody, nor does one of a person whose enrolment failed."""
    at_fpir: tuple[AtFpir, ...]
    """Of the probes in ``compared``, as are the groups."""
    groups: tuple[GroupRates, ...]
    curve: Curve | None
    """FPIR as ``fmr`` and FNIR as ``fnmr`` over the threshold, with the pack's margin; None without strangers."""
    histogram: Histogram
    """Of the nearest distances of probes: of the right person, and of strangers."""
    failures: tuple[Failure, ...]
    nearest_strangers: tuple[ShownPair, ...]
    """The probes of strangers that come nearest to a person."""
    taken_for_others: tuple[ShownPair, ...]
    """The probes of enrolled people that are nearest to another person."""
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    asked_fpir: float | None = None
    """The false positive identification rate that the threshold was to keep, where it follows from one."""


def about(embedder: PhotoEmbedder, protocol: Pairs | Split, embedded: EmbeddedPhotos, seed: int) -> Circumstances:
    """Return what was measured, and with what."""
    pack = embedder.recognizer.pack
    return Circumstances(
        protocol=protocol.about,
        images=len(protocol.photos),
        people=len(people_of(protocol.photos)[0]),
        pack=pack.name,
        space=pack.space.id,
        runtime=f"{embedder.runtime.runtime} {describe(embedder.runtime)['version'].partition('-')[0]}",
        precision=precision_in_force(embedder.runtime),
        faces=embedder.faces,
        min_face=embedder.smallest,
        seed=seed,
        replicates=REPLICATES,
        from_cache=embedded.from_cache,
        visavis=__version__,
        python=platform.python_version(),
        numpy=np.__version__,
    )


def failures_of(embedded: EmbeddedPhotos, photos: Sequence[Photo]) -> tuple[Failure, ...]:
    """Return the images that have no embedding, and why."""
    return tuple(Failure(photos[at].file, photos[at].person, *why) for at, why in embedded.failures.items())


def nearest_of(
    embedded: EmbeddedPhotos, photos: Sequence[Photo], pairs: Indices, distances: Floats, *, farthest: bool = False
) -> tuple[ShownPair, ...]:
    """Return those of pairs (N, 2) of photos that are nearest, or farthest, by their distances (N,)."""
    order = np.argsort(-distances if farthest else distances, kind="stable")[:_MOST_SHOWN]
    first, second = (
        [ShownFace(photos[at].file, photos[at].person, photos[at].path, embedded.boxes_xyxy[at]) for at in places]
        for places in pairs[order].T.tolist()
    )
    return tuple(map(ShownPair, first, second, distances[order].tolist()))


def counts_in_group(embedded: EmbeddedPhotos, grouping: Grouping, number: int) -> tuple[int, int]:
    """Return how many photos a group has, and how many of them have no embedding."""
    own = grouping.of_photos == number
    return int(own.sum()), int((own & ~embedded.found).sum())


def thinned(curve: Curve) -> Curve:
    """Return a curve of points enough for a plot, closest together where strangers are nearest."""
    if len(curve.thresholds) <= _CURVE_POINTS:
        return curve
    least = max(curve.fmr[curve.fmr > 0].min(initial=1.0), 1e-9)
    near = np.searchsorted(curve.fmr, np.geomspace(least, 1, _CURVE_POINTS // 2))
    even = np.searchsorted(curve.fmr, np.linspace(0, 1, _CURVE_POINTS // 4))
    missed = np.searchsorted(-curve.fnmr, -np.linspace(1, 0, _CURVE_POINTS // 4))
    last = len(curve.thresholds) - 1
    kept = np.unique(np.clip(np.concatenate([[0, last], near, even, missed]), 0, last))
    return Curve(curve.thresholds[kept], curve.fmr[kept], curve.fnmr[kept])


def histogram(genuine: Floats, impostor: Floats) -> Histogram:
    """Return how often distances of each kind occur; those that are infinite are left out."""
    kinds = [distances[np.isfinite(distances)] for distances in (genuine, impostor)]
    edges = np.histogram_bin_edges(np.concatenate(kinds) if any(map(len, kinds)) else np.zeros(1), _BINS)
    return Histogram(edges, *(np.histogram(kind, edges)[0].astype(np.int64) for kind in kinds))


def notes_of(protocol: Pairs | Split, grouping: Grouping | None) -> list[str]:
    """Return what to mind of any protocol, and of groups."""
    people = len(people_of(protocol.photos)[0])
    few = f"{people} people are few: the intervals, which come from drawing people anew, are rough below {_FEW_PEOPLE}"
    notes = [few] if people < _FEW_PEOPLE else []
    if grouping is None:
        return notes
    left = [photo for photo, group in zip(protocol.photos, grouping.of_photos.tolist(), strict=True) if group < 0]
    if left:
        names = list(dict.fromkeys(photo.person for photo in left))
        count = f"{counted(len(left), 'image')} of {counted(len(names), 'person', 'people')}"
        notes.append(f"in no group, and so in no row of the groups: {count}: {_first_few(names)}")
    if grouping.unknown:
        notes.append(f"the file of groups names nobody who is measured by: {_first_few(grouping.unknown)}")
    return notes


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
