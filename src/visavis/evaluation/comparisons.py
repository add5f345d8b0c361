"""The distances of a protocol, and what is known of each."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visavis.errors import InvalidOption
from visavis.evaluation.embedding import Embedded
from visavis.evaluation.protocols import Grouping, Indices, Pairs, people_of
from visavis.types import FloatArray, Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Pairs whose embeddings are compared at a time.
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Pairs of images that were compared.

    Attributes:
        distances: (N,) infinity where an image shows no face.
        same: (N,) whether the two are one person.
        persons: (N, 2) the number of the person that each image shows.
        photos: (N, 2) the images, by their place in the protocol.
        folds: (N,) the number of each pair's fold, or None.
        groups: (N, 2) the number of the group of each image, -1 for none; or None where there are no groups.
    """

    distances: Floats
    same: Bools
    persons: Indices
    photos: Indices
    folds: Indices | None = None
    groups: Indices | None = None

    @property
    def genuine(self) -> Floats:
        """The distances of pairs of one person, sorted."""
        return np.sort(self.distances[self.same])

    @property
    def impostor(self) -> Floats:
        """The distances of pairs of strangers, sorted."""
        return np.sort(self.distances[~self.same])

    @property
    def people(self) -> tuple[int, int]:
        """How many people there are pairs of, and how many pairs of people strangers are.

        That is what counts where errors are rare: many images of two people say little of others.
        """
        own, others = self.persons[self.same, 0], np.sort(self.persons[~self.same], axis=1)
        return len(np.unique(own)), len(np.unique(others[:, 0] << 32 | others[:, 1]))

    def where(self, chosen: Bools) -> "Comparisons":
        """Return those that are chosen (N,)."""
        return replace(
            self,
            distances=self.distances[chosen],
            same=self.same[chosen],
            persons=self.persons[chosen],
            photos=self.photos[chosen],
            folds=None if self.folds is None else self.folds[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def compared(self) -> "Comparisons":
        """Return those of which both images show a face."""
        return self.where(np.isfinite(self.distances))


def compare_pairs(embedded: Embedded, pairs: Pairs, metric: Metric, grouping: Grouping | None = None) -> Comparisons:
    """Return the comparisons of a protocol.

    Args:
        embedded: its photos.
        pairs: the protocol.
        metric: of the embeddings' space.
        grouping: of the photos.
    """
    photos = np.stack([pairs.first, pairs.second], axis=1)
    distances = np.empty(len(photos))
    for start in range(0, len(photos), _BLOCK):
        block = photos[start : start + _BLOCK]
        distances[start : start + _BLOCK] = paired_distances(metric, *embedded.embeddings[block.T])
    distances[np.isnan(distances)] = np.inf
    _, numbers = people_of(pairs.photos)
    groups = None if grouping is None else grouping.of_photos[photos]
    return Comparisons(distances, pairs.same, numbers[photos], photos, pairs.folds, groups)


def paired_distances(metric: Metric, a: FloatArray, b: FloatArray) -> Floats:
    """Return the distance of each embedding (N, D) and the one at its place in the other (N, D), in float64."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    if metric == "euclidean":
        lengths: Floats = np.linalg.norm(a64 - b64, axis=1)
        return lengths
    cosines: Floats = np.einsum("nd,nd->n", a64, b64) / (np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1))
    return 1.0 - cosines


def check_both_kinds(comparisons: Comparisons) -> None:
    """Insist on pairs of one person and pairs of strangers.

    Raises:
        InvalidOption: there are none of a kind.
    """
    for kind, count in (("one person", comparisons.same.sum()), ("strangers", (~comparisons.same).sum())):
        if not count:
            total = len(comparisons.same)
            raise InvalidOption(f"of {total:,} pairs whose images show faces, none is of {kind}: nothing to measure")
