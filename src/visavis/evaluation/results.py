"""Results of an evaluation: frozen records ready for JSON, and how they are composed."""

import dataclasses
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visavis import __version__
from visavis.evaluation.bootstrap import REPLICATES, Estimate
from visavis.evaluation.comparisons import Floats
from visavis.evaluation.embedding import Embedded, Seeing
from visavis.evaluation.identification import SearchRates
from visavis.evaluation.metrics import Curve
from visavis.evaluation.protocols import Grouping, Indices, Pairs, Photo, Split, counted, people_of
from visavis.models.runtime import describe, precision_in_force
from visavis.types import FloatArray


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What was measured, and with what.

    Attributes:
        protocol: what was compared with what, in words.
        images, people: how many there were.
        pack, space: the models, and the ID of the embedding space.
        runtime, precision: what ran them, with its version, and the number format that it computed in.
        faces, min_face: which face of an image counted, and the smallest looked for.
        seed, replicates: of the intervals; the seed also drew pairs or strangers where some were drawn.
        from_cache: images whose embeddings were kept from an earlier measurement.
        visavis, python, numpy: versions.
    """

    protocol: str
    images: int
    people: int
    pack: str
    space: str
    runtime: str
    precision: str
    faces: str
    min_face: float
    seed: int
    replicates: int
    from_cache: int
    visavis: str
    python: str
    numpy: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An image without an embedding, and why."""

    file: str
    person: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A face as a photo shows it; ``box_xyxy`` and ``path`` stay out of JSON."""

    file: str
    person: str
    path: str
    box_xyxy: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Two faces, and their distance."""

    first: Shown
    second: Shown
    distance: float


@dataclass(frozen=True, slots=True)
class PairRates:
    """How often decisions on pairs are wrong at a threshold.

    Attributes:
        threshold: faces nearer than this are taken for one person.
        fmr: of pairs of strangers, which part is.
        fnmr: of pairs of one person, which part is not.
        accuracy: which part of all decisions is right.
    """

    threshold: float
    fmr: Estimate
    fnmr: Estimate
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class AskedFmr:
    """The false match rate that the threshold was to keep, and whether it does here.

    Attributes:
        found: what was measured "agrees" where the rate is within its interval, or is "higher" or "lower"; "too_few"
            pairs could not show so small a rate; None for a gallery, where another rate is measured.
    """

    fmr: float
    found: Literal["agrees", "higher", "lower", "too_few"] | None


@dataclass(frozen=True, slots=True)
class AtFmr:
    """What it costs to keep a false match rate.

    Attributes:
        fmr: the rate.
        pairs_of_people: how many the strangers are.
        bound: the rate that so many can just show, by the rule of three.
        threshold, fnmr: the largest threshold that keeps the rate, and the false non-match rate there; None where the
            pairs are too few to show it.
    """

    fmr: float
    pairs_of_people: int
    bound: float
    threshold: Estimate | None
    fnmr: Estimate | None


@dataclass(frozen=True, slots=True)
class AtFpir:
    """What it costs to keep a false positive identification rate.

    Attributes:
        fpir: the rate.
        strangers: how many people they are.
        bound: the rate that so many can just show, by the rule of three.
        rates: at the largest threshold that keeps the rate; None where strangers are too few to show it.
    """

    fpir: float
    strangers: int
    bound: float
    rates: SearchRates | None


@dataclass(frozen=True, slots=True)
class GroupRates:
    """The rates of a group at the threshold of all.

    Attributes:
        name: of the group.
        images, failures: how many there are, and how many of them have no embedding.
        strangers, own: how many pairs of strangers within the group were compared, and pairs of one person; or, in a
            gallery, probes of strangers, and of people who are enrolled.
        false_positives: of the strangers, which part is taken for one person (FMR), or for somebody (FPIR).
        false_negatives: of the others, which part is not (FNMR), or does not find its person (FNIR).
    """

    name: str
    images: int
    failures: int
    strangers: int
    own: int
    false_positives: Estimate | None
    false_negatives: Estimate | None


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Accuracy on each fold at the threshold that is best on the others, their mean, and its standard error."""

    accuracies: Floats
    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How many distances of each kind lie between two edges: (B,) of (B + 1,)."""

    edges: Floats
    genuine: Indices
    impostor: Indices


@dataclass(frozen=True, slots=True, eq=False)
class PairEvaluation:
    """How right decisions on pairs are.

    Attributes:
        about: the circumstances.
        genuine, impostor: how many pairs of one person, and of strangers, were compared.
        without_face: how many of each could not be, because an image has no embedding.
        asked: the false match rate that was asked for, or None where a threshold decided.
        compared: the rates of those that were compared.
        counted: the rates where a pair that could not be counts as "not the same person".
        eer: the rate at which FMR and FNMR are equal, of those that were compared; likewise all below.
        eer_threshold: where that is.
        best_accuracy, best_threshold: at the threshold that suits these very pairs best: too good to expect elsewhere.
        folds: accuracy by cross-validation, where the protocol has folds.
        at_fmr: what it costs to keep a false match rate.
        groups: the same for groups, where there are some.
        curve, histogram: for plots.
        failures: the images that have no embedding.
        nearest_strangers, farthest_same: the pairs that are nearest to being wrong, or are.
        left_out, notes: what was not measured, and what to mind.
    """

    about: Circumstances
    genuine: int
    impostor: int
    without_face: tuple[int, int]
    asked: AskedFmr | None
    compared: PairRates
    counted: PairRates
    eer: Estimate
    eer_threshold: float
    best_accuracy: float
    best_threshold: float
    folds: Folds | None
    at_fmr: tuple[AtFmr, ...]
    groups: tuple[GroupRates, ...]
    curve: Curve
    histogram: Histogram
    failures: tuple[Failure, ...]
    nearest_strangers: tuple[Match, ...]
    farthest_same: tuple[Match, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; what is no number is None."""
        return {"kind": "pairs", **_fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class SearchEvaluation:
    """How right a gallery is.

    Attributes:
        about: the circumstances.
        enrolled: how many people were enrolled.
        not_enrolled: how many were to be, and have no image with a face.
        mated, strangers: how many probes are of people of the gallery, and of others.
        without_face: how many of each have no embedding.
        rank1: of probes of enrolled people that show a face, for which part the nearest person is the right one.
        asked: as in ``PairEvaluation``, where it is that of single pairs.
        compared: the rates at the pack's threshold and margin, of probes that show a face and people who are enrolled.
        counted: the rates of all probes: one without a face finds nobody, and nor does one of a person whose enrolment
            failed.
        at_fpir: what it costs to keep a false positive identification rate, of those in ``compared``.
        groups: ``compared`` for groups, where there are some.
        curve: FPIR as ``fmr`` and FNIR as ``fnmr`` over the threshold, with the pack's margin; None without strangers.
        histogram: of the nearest distances of probes: of the right person, and of strangers.
        failures, left_out, notes: as in ``PairEvaluation``.
        nearest_strangers: the probes of strangers that come nearest to somebody.
        taken_for_others: the probes of enrolled people that are nearest to somebody else.
    """

    about: Circumstances
    enrolled: int
    not_enrolled: int
    mated: int
    strangers: int
    without_face: tuple[int, int]
    rank1: Estimate
    asked: AskedFmr | None
    compared: SearchRates
    counted: SearchRates
    at_fpir: tuple[AtFpir, ...]
    groups: tuple[GroupRates, ...]
    curve: Curve | None
    histogram: Histogram
    failures: tuple[Failure, ...]
    nearest_strangers: tuple[Match, ...]
    taken_for_others: tuple[Match, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; what is no number is None."""
        return {"kind": "search", **_fields(self)}


def _fields(record: Any) -> dict[str, Any]:  # noqa: ANN401  # any dataclass
    hidden = ("path", "box_xyxy") if isinstance(record, Shown) else ()
    names = (field.name for field in dataclasses.fields(record) if field.name not in hidden)
    return {name: _plain(getattr(record, name)) for name in names}


def _plain(value: Any) -> Any:  # noqa: ANN401  # whatever the records hold
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


MOST_SHOWN = 24
"""Pairs of a kind that a report shows."""
_FEW_PEOPLE = 30
_NAMED = 5
_CURVE_POINTS = 500
_BINS = 80


def circumstances(seeing: Seeing, protocol: Pairs | Split, embedded: Embedded, seed: int) -> Circumstances:
    """Return what was measured, and with what."""
    pack = seeing.eyes.pack
    return Circumstances(
        protocol=protocol.about,
        images=len(protocol.photos),
        people=len(people_of(protocol.photos)[0]),
        pack=pack.name,
        space=pack.space.id,
        runtime=f"{seeing.runtime.runtime} {describe(seeing.runtime)['version'].partition('-')[0]}",
        precision=precision_in_force(seeing.runtime),
        faces=seeing.faces,
        min_face=seeing.min_face,
        seed=seed,
        replicates=REPLICATES,
        from_cache=embedded.from_cache,
        visavis=__version__,
        python=platform.python_version(),
        numpy=np.__version__,
    )


def failures_of(embedded: Embedded, photos: Sequence[Photo]) -> tuple[Failure, ...]:
    """Return the images that have no embedding, and why."""
    return tuple(
        Failure(photos[place].file, photos[place].person, code, message)
        for place, (code, message) in embedded.failures.items()
    )


def match_of(embedded: Embedded, photos: Sequence[Photo], pair: Indices, distance: float) -> Match:
    """Return two faces to be shown, by the places (2,) of their photos."""
    first, second = (
        Shown(photos[place].file, photos[place].person, photos[place].path, embedded.boxes_xyxy[place])
        for place in pair.tolist()
    )
    return Match(first, second, distance)


def counts_in_group(embedded: Embedded, grouping: Grouping, number: int) -> tuple[int, int]:
    """Return how many photos a group has, and how many of them have no embedding."""
    own = grouping.of_photos == number
    return int(own.sum()), int((own & ~embedded.seen).sum())


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
    counts = [np.histogram(kind, edges)[0].astype(np.int64) for kind in kinds]
    return Histogram(edges, counts[0], counts[1])


def notes_of(protocol: Pairs | Split, grouping: Grouping | None = None) -> list[str]:
    """Return what to mind of any protocol, and of groups."""
    people = len(people_of(protocol.photos)[0])
    few = f"{people} people are few: the intervals, which come from drawing people anew, are rough below {_FEW_PEOPLE}"
    notes = [few] if people < _FEW_PEOPLE else []
    return notes if grouping is None else [*notes, *_notes_of_groups(protocol.photos, grouping)]


def _notes_of_groups(photos: Sequence[Photo], grouping: Grouping) -> list[str]:
    notes = []
    left = [photo for photo, group in zip(photos, grouping.of_photos.tolist(), strict=True) if group < 0]
    if left:
        people = list(dict.fromkeys(photo.person for photo in left))
        count = f"{counted(len(left), 'image')} of {counted(len(people), 'person', 'people')}"
        notes.append(f"in no group, and so in no row of the groups: {count}: {_first_few(people)}")
    if grouping.unknown:
        notes.append(f"the file of groups names nobody who is measured by: {_first_few(grouping.unknown)}")
    return notes


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
