"""What an evaluation tells besides its rates."""

import platform
from collections.abc import Sequence

import numpy as np

from visavis import __version__
from visavis.evaluation.bootstrap import REPLICATES
from visavis.evaluation.comparisons import Floats
from visavis.evaluation.embedding import Embedded, Seeing
from visavis.evaluation.metrics import Curve
from visavis.evaluation.protocols import Grouping, Indices, Pairs, Photo, Split, counted, people_of
from visavis.evaluation.results import Circumstances, Failure, Histogram, Match, Shown
from visavis.models.runtime import describe, precision_in_force

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
