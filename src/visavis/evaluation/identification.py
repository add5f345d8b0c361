"""1:N: who is found in a gallery, and which strangers are taken for somebody of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from visavis.evaluation.bootstrap import REPLICATES, Estimate, draws, interval
from visavis.evaluation.comparisons import Bools, Floats
from visavis.evaluation.embedding import Embedded
from visavis.evaluation.metrics import threshold_at_fmr
from visavis.evaluation.protocols import Indices, Split, people_of
from visavis.types import Metric

FPIRS = (1e-1, 1e-2)
"""The false positive identification rates at which the false negative one is told."""
_PROBES = 256  # compared with the gallery at a time


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a gallery answers to probes (P,).

    Attributes:
        probes: by their place in the protocol.
        persons: the number of the person that each shows.
        mated: whether this person was to be enrolled.
        nearest: the distance of the nearest person; infinity where the probe shows no face, or nobody is enrolled.
        margin: how much farther the next person is; infinity where there is none.
        right: whether the nearest person is the probe's.
        references: the nearest image of the gallery, by its place in the protocol.
        seen: whether the probe shows a face.
    """

    probes: Indices
    persons: Indices
    mated: Bools
    nearest: Floats
    margin: Floats
    right: Bools
    references: Indices
    seen: Bools

    def found(self, threshold: float, margin: float) -> Bools:
        """Tell for each probe whether it is taken for the nearest person."""
        return (self.nearest < threshold) & (self.margin >= margin)

    def where(self, chosen: Bools) -> "Answers":
        """Return those that are chosen (P,)."""
        return Answers(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class SearchRates:
    """How often a gallery is wrong at a threshold and a margin.

    Attributes:
        threshold, margin: a person nearer than the one is found if the next is farther by the other.
        fnir: of probes of enrolled people, which part does not find its person.
        misidentified: which part of them is taken for somebody else.
        fpir: of probes of strangers, which part is taken for somebody; None without strangers.
    """

    threshold: float
    margin: float
    fnir: Estimate
    misidentified: Estimate
    fpir: Estimate | None


def search(embedded: Embedded, split: Split, metric: Metric) -> Answers:
    """Look for every probe in the gallery; a person is as near as the nearest of the person's images."""
    _, numbers = people_of(split.photos)
    enrolled = split.gallery[embedded.seen[split.gallery]]
    enrolled = enrolled[np.argsort(numbers[enrolled], kind="stable")]
    answers = Answers(
        probes=split.probes,
        persons=numbers[split.probes],
        mated=np.isin(numbers[split.probes], numbers[split.gallery]),
        nearest=np.full(len(split.probes), np.inf),
        margin=np.full(len(split.probes), np.inf),
        right=np.zeros(len(split.probes), np.bool_),
        references=np.full(len(split.probes), -1),
        seen=embedded.seen[split.probes],
    )
    if not len(enrolled):
        return answers
    people, starts = np.unique(numbers[enrolled], return_index=True)
    gallery = embedded.embeddings[enrolled].astype(np.float64)
    seen = np.flatnonzero(answers.seen)
    for start in range(0, len(seen), _PROBES):
        rows = seen[start : start + _PROBES]
        images = _distances(metric, embedded.embeddings[split.probes[rows]].astype(np.float64), gallery)
        persons = np.minimum.reduceat(images, starts, axis=1)
        first = persons.argmin(axis=1)
        answers.nearest[rows] = persons[np.arange(len(rows)), first]
        answers.references[rows] = enrolled[images.argmin(axis=1)]
        answers.right[rows] = people[first] == answers.persons[rows]
        if len(people) > 1:
            answers.margin[rows] = np.partition(persons, 1, axis=1)[:, 1] - answers.nearest[rows]
    return answers


class SearchReplicates:
    """The probes of people drawn anew, from the same gallery: see ``bootstrap``."""

    def __init__(self, answers: Answers, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        """Draw the people."""
        self.answers = answers
        people, self._numbers = np.unique(answers.persons, return_inverse=True)
        self._weights = draws(len(people), replicates, np.random.default_rng(seed)).astype(np.float64)

    def rate(self, wrong: Bools, among: Bools) -> Estimate:
        """Return which part of some probes (P,) is wrong."""
        if not among.any():
            return Estimate(math.nan, math.nan, math.nan)
        errors, trials = (self._weighed(chosen) for chosen in (wrong & among, among))
        rates = np.divide(errors, trials, out=np.full_like(trials, np.nan), where=trials > 0)
        return interval(float(wrong[among].mean()), rates, self.people(among))

    def people(self, among: Bools) -> int:
        """Return how many people some probes (P,) are of."""
        return len(np.unique(self._numbers[among]))

    def rates(self, threshold: float, margin: float) -> SearchRates:
        """Return the rates at a threshold and a margin."""
        answers = self.answers
        found = answers.found(threshold, margin)
        strangers = ~answers.mated
        return SearchRates(
            threshold=threshold,
            margin=margin,
            fnir=self.rate(~(found & answers.right), answers.mated),
            misidentified=self.rate(found & ~answers.right, answers.mated),
            fpir=self.rate(found, strangers) if strangers.any() else None,
        )

    def _weighed(self, chosen: Bools) -> Floats:
        per_person = np.bincount(self._numbers[chosen], minlength=len(self._weights))
        weighed: Floats = per_person @ self._weights
        return weighed


def threshold_at_fpir(answers: Answers, fpir: float, margin: float) -> float:
    """Return the largest threshold at which no more than this part of strangers is taken for somebody."""
    strangers = ~answers.mated
    scores = np.where(answers.margin >= margin, answers.nearest, np.inf)
    return threshold_at_fmr(np.sort(scores[strangers]), fpir)


def _euclidean(a: Floats, b: Floats) -> Floats:
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    lengths: Floats = np.sqrt(np.maximum(squares, 0.0))
    return lengths


def _cosine(a: Floats, b: Floats) -> Floats:
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (a, b))
    cosines: Floats = 1.0 - next(units) @ next(units).T
    return cosines


_BY_METRIC: dict[Metric, Callable[[Floats, Floats], Floats]] = {"euclidean": _euclidean, "cosine": _cosine}


def _distances(metric: Metric, probes: Floats, references: Floats) -> Floats:
    """Return the distances (P, G) of all probes (P, D) and all references (G, D)."""
    return _BY_METRIC[metric](probes, references)
