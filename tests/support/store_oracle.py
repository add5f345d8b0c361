"""What a search may answer: distances from their definitions, in float64."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visavis.galleries.records import Match, Sample
from visavis.types import FloatArray, Metric

TOLERANCE = 1e-6


def true_distances(metric: Metric, probe: FloatArray, embeddings: Sequence[FloatArray]) -> NDArray[np.float64]:
    """Return the distances (N,) of embeddings to a probe, from their definitions."""
    if not len(embeddings):
        return np.empty(0)
    wide, rows = probe.astype(np.float64), np.stack(embeddings).astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.sqrt(((rows - wide) ** 2).sum(axis=1)))
    return np.asarray(1 - (rows * wide).sum(axis=1) / np.sqrt((rows**2).sum(axis=1) * (wide**2).sum()))


def check_search(
    found: Sequence[Match], metric: Metric, probe: FloatArray, samples: Sequence[Sample], limit: int
) -> None:
    """Assert that these are the nearest subjects, whichever of those that are equally far come first."""
    owners = {one.id: one.subject for one in samples}
    exact = true_distances(metric, probe, [one.embedding for one in samples])
    distances = dict(zip(owners, exact, strict=True))
    least: dict[str, float] = {}
    for sample, distance in distances.items():
        least[owners[sample]] = min(distance, least.get(owners[sample], np.inf))
    scale = TOLERANCE * max(1.0, float(exact.max(initial=0.0)))
    assert len({match.subject for match in found}) == len(found) == min(limit, len(least))
    assert [match.subject for match in found] == [owners[match.sample] for match in found]
    reported = [match.distance for match in found]
    np.testing.assert_allclose(reported, [distances[match.sample] for match in found], rtol=0, atol=scale)
    np.testing.assert_allclose(reported, [least[match.subject] for match in found], rtol=0, atol=scale)
    np.testing.assert_allclose(reported, sorted(least.values())[: len(found)], rtol=0, atol=scale)
    assert [(match.distance, match.sample) for match in found] == sorted((one.distance, one.sample) for one in found)
