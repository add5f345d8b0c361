"""What a search may answer: distances from their definitions, in float64."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visavis.galleries.records import Match, Sample
from visavis.types import FloatArray, Metric

TOLERANCE = 1e-6


def true_distances(metric: Metric, probe: FloatArray, embeddings: Sequence[FloatArray]) -> NDArray[np.float64]:
    """Return the distances (N,) of embeddings to a probe, from their definitions."""
    return _distances(metric, probe, np.stack(embeddings).astype(np.float64)) if len(embeddings) else np.empty(0)


def _distances(metric: Metric, probe: FloatArray, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = probe.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.sqrt(((rows - wide) ** 2).sum(axis=1)))
    return np.asarray(1 - (rows * wide).sum(axis=1) / np.sqrt((rows**2).sum(axis=1) * (wide**2).sum()))


def true_template(embeddings: Sequence[FloatArray]) -> FloatArray:
    """Return the template (D,) of a subject's embeddings, from its definition."""
    lengths = [float(np.linalg.norm(each.astype(np.float64))) for each in embeddings]
    mean = sum(each.astype(np.float64) / length for each, length in zip(embeddings, lengths, strict=True))
    if np.linalg.norm(mean) < 1e-6:  # they cancel each other
        return embeddings[0]
    template: FloatArray = (mean / np.linalg.norm(mean) * np.mean(lengths)).astype(np.float32)
    return template


class Oracle:
    """Knows the samples of a gallery, and so what a search of it must find."""

    def __init__(self, metric: Metric, samples: Sequence[Sample]) -> None:
        self._metric = metric
        self._place = {one.id: place for place, one in enumerate(samples)}
        self._owners = [(one.subject, one.counter) for one in samples]
        places = {owner: place for place, owner in enumerate(dict.fromkeys(self._owners))}
        self._numbers = np.array([places[owner] for owner in self._owners], np.int64)
        self._rows = np.stack([one.embedding for one in samples]).astype(np.float64) if samples else np.empty((0, 1))

    def check(self, probe: FloatArray, answers: Sequence[tuple[int, Sequence[Match]]]) -> None:
        """Assert of limits and matches that they are the nearest, whichever of those equally far come first."""
        exact = _distances(self._metric, probe, self._rows) if len(self._rows) else np.empty(0)
        least = np.full(self._numbers.max(initial=-1) + 1, np.inf)
        np.minimum.at(least, self._numbers, exact)
        nearest = np.sort(least)
        scale = TOLERANCE * max(1.0, float(exact.max(initial=0.0)))
        for limit, found in answers:
            places = [self._place[match.sample] for match in found]
            owners = [(match.subject, match.counter) for match in found]
            assert len(set(owners)) == len(found)
            subjects = sum(not match.counter for match in found)
            assert subjects == min(limit, len({owner for owner, counter in self._owners if not counter}))
            assert not found[-1].counter if subjects == limit else len(found) == len(least)
            assert owners == [self._owners[place] for place in places]
            reported = np.array([match.distance for match in found])
            for true in (exact[places], least[self._numbers[places]], nearest[: len(found)]) if found else ():
                assert np.abs(reported - true).max() <= scale
            order = [(match.distance, match.sample) for match in found]
            assert order == sorted(order)


def check_search(
    found: Sequence[Match], metric: Metric, probe: FloatArray, samples: Sequence[Sample], limit: int
) -> None:
    """Assert that these are the nearest subjects, whichever of those that are equally far come first."""
    Oracle(metric, samples).check(probe, [(limit, found)])
