"""Evaluation of a gallery (1:N): probes that find their person, and strangers that are taken for one."""

import math
from dataclasses import dataclass

import numpy as np
from typing_extensions import Unpack

from visavis.core.decide import Rule, comparisons, rule_at_fpir, templates_of
from visavis.errors import InvalidOption
from visavis.evaluation import metrics, results
from visavis.evaluation.bootstrap import REPLICATES, Estimate, draws, interval
from visavis.evaluation.embedding import EmbeddedPhotos, PhotoEmbedder, embed_photos
from visavis.evaluation.metrics import Bools, Curve, Floats
from visavis.evaluation.protocols import Grouping, Indices, Split, people_of
from visavis.evaluation.results import GroupRates, SearchEvaluation, SearchRates
from visavis.models.recognizer import choose_rule
from visavis.options import DEFAULT_FPIR, Threshold, takes
from visavis.types import Metric

FPIRS = (1e-1, 1e-2)  # the false positive identification rates at which the false negative one is reported
_FAR = 1e9  # beyond any distance
_BLOCK = 256  # probes compared with the gallery at a time


@takes(Threshold)
def evaluate_search(
    embedder: PhotoEmbedder,
    split: Split,
    *,
    grouping: Grouping | None = None,
    seed: int = 0,
    **options: Unpack[Threshold],
) -> SearchEvaluation:
    """Measure the errors of a gallery, as a new one decides; arguments and errors as in ``evaluate_pairs``.

    Raises:
        InvalidOption: nobody is enrolled who is also searched for, because no face was found.
    """
    pack = embedder.recognizer.pack
    fixed = Rule.at(pack.identify_threshold)
    rule = choose_rule(pack, fixed, options)
    embedded = embed_photos(embedder, split.photos)
    probes = search(embedded, split, pack.metric)
    numbers = people_of(split.photos)[1][split.gallery]
    enrolled = np.unique(numbers[embedded.found[split.gallery]])
    # What the network decides on: probes with a face, of people who are enrolled and of strangers.
    compared = probes.where(probes.embedded & (~probes.mated | np.isin(probes.persons, enrolled)))
    if not compared.mated.any():
        raise InvalidOption("no face was found of anybody who is enrolled and looked for: nothing to measure")
    if rule is fixed and pack.rates is not None:
        samples = int(embedded.found[split.gallery].sum())
        rule = rule_at_fpir(pack.rates, DEFAULT_FPIR, comparisons(len(enrolled), samples))
    drawn, margin = SearchReplicates(compared, seed=seed), pack.identify_margin
    own, strangers = (compared.where(kind) for kind in (compared.mated, ~compared.mated))
    taken = own.where(~own.right)
    lost = probes.mated[~probes.embedded]
    return SearchEvaluation(
        about=results.about(embedder, split, embedded, seed),
        enrolled=len(enrolled),
        not_enrolled=len(np.unique(numbers)) - len(enrolled),
        mated=int(probes.mated.sum()),
        strangers=int((~probes.mated).sum()),
        without_face=(int(lost.sum()), int((~lost).sum())),
        rank1=drawn.rate(compared.right, compared.mated),
        asked=None if rule.fmr is None else results.AskedFmr(rule.fmr, None),
        asked_fpir=rule.fpir,
        compared=drawn.rates(rule.threshold, margin),
        counted=SearchReplicates(probes, seed=seed).rates(rule.threshold, margin),
        at_fpir=tuple(_at_fpir(drawn, fpir, margin) for fpir in FPIRS),
        groups=() if grouping is None else _groups(drawn, embedded, grouping, rule.threshold, margin),
        curve=_curve(compared, margin),
        histogram=results.histogram(own.nearest[own.right], strangers.nearest),
        failures=results.failures_of(embedded, split.photos),
        nearest_strangers=results.nearest_of(embedded, split.photos, strangers.pairs, strangers.nearest),
        taken_for_others=results.nearest_of(embedded, split.photos, taken.pairs, taken.nearest),
        left_out=split.left_out,
        notes=tuple(results.notes_of(split, grouping)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ProbeResults(metrics.Columns):
    """The answers of a gallery to probes (P,)."""

    probes: Indices  # by their place in the protocol
    persons: Indices  # the number of the person that each shows
    mated: Bools  # whether this person was to be enrolled
    nearest: Floats  # the distance of the nearest person; infinity for none
    margin: Floats  # how much farther the next person is; infinity for none
    right: Bools  # whether the nearest person is the probe's
    references: Indices  # the nearest person's nearest images, by their place in the protocol; -1 for none
    embedded: Bools  # whether the probe has an embedding

    @property
    def pairs(self) -> Indices:
        """The probes and their references (P, 2)."""
        return np.stack([self.probes, self.references], axis=1)

    def scores(self, margin: float) -> Floats:
        """Return the thresholds (P,) above which each probe is taken for the nearest person."""
        return np.where(self.margin >= margin, self.nearest, np.inf)

    def found(self, threshold: float, margin: float) -> Bools:
        """Return whether each probe (P,) is taken for the nearest person."""
        return self.scores(margin) < threshold


def search(embedded: EmbeddedPhotos, split: Split, metric: Metric) -> ProbeResults:
    """Search the gallery for every probe; a person is as near as the template of the person's images."""
    _, numbers = people_of(split.photos)
    enrolled = split.gallery[embedded.found[split.gallery]]
    answers = ProbeResults(
        probes=split.probes,
        persons=numbers[split.probes],
        mated=np.isin(numbers[split.probes], numbers[split.gallery]),
        nearest=np.full(len(split.probes), np.inf),
        margin=np.full(len(split.probes), np.inf),
        right=np.zeros(len(split.probes), np.bool_),
        references=np.full(len(split.probes), -1),
        embedded=embedded.found[split.probes],
    )
    if not len(enrolled):
        return answers
    gallery = embedded.embeddings[enrolled].astype(np.float64)
    people, templates = templates_of(embedded.embeddings[enrolled], numbers[enrolled])
    comparable = np.flatnonzero(answers.embedded)
    for start in range(0, len(comparable), _BLOCK):
        rows = comparable[start : start + _BLOCK]
        several = embedded.embeddings[split.probes[rows]].astype(np.float64)
        persons = _distances(metric, several, templates)
        first = persons.argmin(axis=1)
        answers.nearest[rows] = persons[np.arange(len(rows)), first]
        of_others = numbers[enrolled] != people[first][:, None]
        answers.references[rows] = enrolled[(_distances(metric, several, gallery) + _FAR * of_others).argmin(axis=1)]
        answers.right[rows] = people[first] == answers.persons[rows]
        if len(people) > 1:
            answers.margin[rows] = np.partition(persons, 1, axis=1)[:, 1] - answers.nearest[rows]
    return answers


def _distances(metric: Metric, probes: Floats, references: Floats) -> Floats:
    """Return the distances (P, G) of all probes (P, D) and all references (G, D)."""
    if metric == "cosine":
        units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (probes, references))
        cosines: Floats = 1.0 - next(units) @ next(units).T
        return cosines
    squares = (probes * probes).sum(axis=1)[:, None] + (references * references).sum(axis=1)
    lengths: Floats = np.sqrt(np.maximum(squares - 2 * (probes @ references.T), 0.0))
    return lengths


class SearchReplicates:
    """The probes of people drawn anew, from the same gallery: see ``bootstrap``."""

    def __init__(self, answers: ProbeResults, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.answers = answers
        people, self._numbers = np.unique(answers.persons, return_inverse=True)
        self._weights = draws(len(people), replicates, np.random.default_rng(seed)).astype(np.float64)

    def rate(self, wrong: Bools, among: Bools) -> Estimate:
        """Return the share of some probes (P,) that is wrong."""
        if not among.any():
            return Estimate(math.nan, math.nan, math.nan)
        errors, trials = (
            np.bincount(self._numbers[chosen], minlength=len(self._weights)) @ self._weights
            for chosen in (wrong & among, among)
        )
        rates = np.divide(errors, trials, out=np.full_like(trials, np.nan), where=trials > 0)
        return interval(float(wrong[among].mean()), rates, self.people(among))

    def people(self, among: Bools) -> int:
        """Return how many people some probes (P,) are of."""
        return len(np.unique(self._numbers[among]))

    def rates(self, threshold: float, margin: float) -> SearchRates:
        """Return the rates at a threshold and a margin."""
        mated, right, found = self.answers.mated, self.answers.right, self.answers.found(threshold, margin)
        return SearchRates(
            threshold=threshold,
            margin=margin,
            fnir=self.rate(~(found & right), mated),
            misidentified=self.rate(found & ~right, mated),
            fpir=None if mated.all() else self.rate(found, ~mated),
        )


def threshold_at_fpir(answers: ProbeResults, fpir: float, margin: float) -> float:
    """Return the largest threshold at which no more than this share of strangers is taken for a person."""
    return metrics.threshold_at_fmr(np.sort(answers.scores(margin)[~answers.mated]), fpir)


def _at_fpir(drawn: SearchReplicates, fpir: float, margin: float) -> results.AtFpir:
    strangers = drawn.people(~drawn.answers.mated)
    supported = metrics.supports(strangers, fpir)
    rates = drawn.rates(threshold_at_fpir(drawn.answers, fpir, margin), margin) if supported else None
    return results.AtFpir(fpir, strangers, metrics.bound_without_errors(strangers), rates)


def _curve(answers: ProbeResults, margin: float) -> Curve | None:
    if answers.mated.all():
        return None
    scores = answers.scores(margin)
    strangers, found = np.sort(scores[~answers.mated]), np.sort(scores[answers.mated & answers.right])
    thresholds = np.append(np.unique(scores[np.isfinite(scores)]), np.inf)
    found_share = np.searchsorted(found, thresholds) / answers.mated.sum()
    return results.thinned(Curve(thresholds, metrics.match_rates(strangers, thresholds), 1.0 - found_share))


def _groups(
    drawn: SearchReplicates, embedded: EmbeddedPhotos, grouping: Grouping, threshold: float, margin: float
) -> tuple[GroupRates, ...]:
    answers = drawn.answers
    found = answers.found(threshold, margin)
    rows = []
    for number, name in enumerate(grouping.names):
        within = grouping.of_photos[answers.probes] == number
        own, strangers = answers.mated & within, ~answers.mated & within
        positives = drawn.rate(found, strangers) if strangers.any() else None
        negatives = drawn.rate(~(found & answers.right), own) if own.any() else None
        counts = results.counts_in_group(embedded, grouping, number)
        rows.append(GroupRates(name, *counts, int(strangers.sum()), int(own.sum()), positives, negatives))
    return tuple(rows)
