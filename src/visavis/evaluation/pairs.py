"""Evaluation of decisions on pairs (1:1)."""

import math

import numpy as np
from typing_extensions import Unpack

from visavis.core.decide import Rule
from visavis.evaluation import metrics, results
from visavis.evaluation.bootstrap import Estimate, Replicates, interval, resample
from visavis.evaluation.embedding import EmbeddedPhotos, PhotoEmbedder, embed_photos
from visavis.evaluation.metrics import Comparisons
from visavis.evaluation.protocols import Grouping, Pairs, counted
from visavis.evaluation.results import GroupRates, PairEvaluation, PairRates
from visavis.evaluation.tables import share
from visavis.models.recognizer import choose_rule
from visavis.options import Threshold, takes

_BALANCED = (0.4, 0.6)  # about as many of one kind as of the other
_COPY = 1e-9  # a distance of 0 but for rounding


@takes(Threshold)
def evaluate_pairs(
    embedder: PhotoEmbedder,
    pairs: Pairs,
    *,
    grouping: Grouping | None = None,
    seed: int = 0,
    **options: Unpack[Threshold],
) -> PairEvaluation:
    """Measure the errors of decisions on pairs.

    Args:
        embedder: of the photos.
        pairs: the protocol.
        grouping: of the photos, for the rates of each group; with one, pairs of one person may be missing.
        seed: of the draws that the intervals come from.
        **options: see ``visavis.options.Threshold``.

    Raises:
        InvalidOption: both a threshold and a rate are given, or one is out of range; or there are no pairs of one
            person, or none of strangers, that can be compared.
        SetupError: a model is missing or damaged.
        OSError: the cache cannot be written.
    """
    pack = embedder.recognizer.pack
    rule = choose_rule(pack, Rule.at(pack.threshold), options)
    embedded = embed_photos(embedder, pairs.photos)
    everything = metrics.compare_pairs(embedded, pairs, pack.metric)
    compared, lost = everything.compared(), everything.same[~np.isfinite(everything.distances)]
    metrics.check_both_kinds(compared, strangers_suffice=grouping is not None)
    own, strangers = (compared.where(kind) for kind in (compared.same, ~compared.same))
    curve = metrics.curve_of(compared)
    both = bool(compared.same.any())
    eer, eer_threshold = metrics.equal_error(curve) if both else (math.nan, math.nan)
    best_accuracy, best_threshold = metrics.best_accuracy(compared) if both else (math.nan, math.nan)
    thresholds = [metrics.threshold_at_fmr(compared.impostor, fmr) for fmr in metrics.FMRS]
    drawn = resample(compared, [rule.threshold, *thresholds], seed=seed)
    rates = _rates(compared, rule.threshold, drawn)
    return PairEvaluation(
        about=results.about(embedder, pairs, embedded, seed),
        genuine=len(own.same),
        impostor=len(strangers.same),
        without_face=(int(lost.sum()), int((~lost).sum())),
        asked=None if rule.fmr is None else _asked(rule.fmr, rates.fmr, compared.people[1]),
        compared=rates,
        counted=_rates(everything, rule.threshold, resample(everything, [rule.threshold], seed=seed)),
        eer=interval(eer, drawn.equal_error(), min(compared.people)),
        eer_threshold=eer_threshold,
        best_accuracy=best_accuracy,
        best_threshold=best_threshold,
        folds=_folds(compared),
        at_fmr=tuple(_at_fmr(compared, *each, drawn) for each in zip(metrics.FMRS, thresholds, strict=True)),
        groups=() if grouping is None else _groups(compared, embedded, grouping, rule.threshold, seed),
        curve=results.thinned(curve),
        histogram=results.histogram(own.distances, strangers.distances),
        failures=results.failures_of(embedded, pairs.photos),
        nearest_strangers=results.nearest_of(embedded, pairs.photos, strangers.photos, strangers.distances),
        farthest_same=results.nearest_of(embedded, pairs.photos, own.photos, own.distances, farthest=True),
        left_out=pairs.left_out,
        notes=(*_notes(compared), *results.notes_of(pairs, grouping)),
    )


def _rates(comparisons: Comparisons, threshold: float, drawn: Replicates) -> PairRates:
    fmr, fnmr = metrics.rates_at(comparisons, threshold)
    people, pairs_of_people = comparisons.people
    accuracy = metrics.accuracy_at(comparisons, threshold)
    return PairRates(
        threshold=threshold,
        fmr=interval(fmr, drawn.fmr_at(threshold), pairs_of_people),
        fnmr=interval(fnmr, drawn.fnmr_at(threshold), people),
        accuracy=interval(accuracy, drawn.accuracy_at(threshold), people + pairs_of_people),
    )


def _asked(fmr: float, found: Estimate, pairs_of_people: int) -> results.AskedFmr:
    if found.low > fmr:
        return results.AskedFmr(fmr, "higher")
    if not metrics.supports(pairs_of_people, fmr):
        return results.AskedFmr(fmr, "too_few")
    return results.AskedFmr(fmr, "lower" if found.high < fmr else "agrees")


def _at_fmr(comparisons: Comparisons, fmr: float, threshold: float, drawn: Replicates) -> results.AtFmr:
    people, pairs_of_people = comparisons.people
    known = fmr, pairs_of_people, metrics.bound_without_errors(pairs_of_people)
    if not metrics.supports(pairs_of_people, fmr):
        return results.AtFmr(*known, None, None)
    fnmr = interval(metrics.rates_at(comparisons, threshold)[1], drawn.fnmr_at_fmr(fmr), people)
    return results.AtFmr(*known, interval(threshold, drawn.threshold_at(fmr)), fnmr)


def _folds(comparisons: Comparisons) -> results.Folds | None:
    if comparisons.folds is None or len(np.unique(comparisons.folds)) <= 1:
        return None
    accuracies = metrics.cross_validated(comparisons, comparisons.folds)
    return results.Folds(accuracies, float(accuracies.mean()), float(accuracies.std(ddof=1) / np.sqrt(len(accuracies))))


def _groups(
    comparisons: Comparisons, embedded: EmbeddedPhotos, grouping: Grouping, threshold: float, seed: int
) -> tuple[GroupRates, ...]:
    groups = grouping.of_photos[comparisons.photos]

    def row(name: str, counts: tuple[int, int], chosen: metrics.Bools) -> GroupRates:
        within = comparisons.where(chosen)
        own = int(within.same.sum())
        strangers = len(within.same) - own
        rates = _rates(within, threshold, resample(within, [threshold], seed=seed)) if len(within.same) else None
        fmr, fnmr = (rates.fmr, rates.fnmr) if rates else (None, None)
        return GroupRates(name, *counts, strangers, own, fmr if strangers else None, fnmr if own else None)

    rows = [
        row(name, results.counts_in_group(embedded, grouping, number), (groups == number).all(axis=1))
        for number, name in enumerate(grouping.names)
    ]
    between = (groups >= 0).all(axis=1) & ~comparisons.same & (groups[:, 0] != groups[:, 1])
    return (*rows, row("between groups", (0, 0), between))


def _notes(comparisons: Comparisons) -> list[str]:
    notes = []
    part = float(comparisons.same.mean())
    if not _BALANCED[0] <= part <= _BALANCED[1]:
        notes.append(
            f"{share(part)} of the pairs are of one person: accuracy mostly tells of the other kind; "
            "the two error rates do not depend on the mixture"
        )
    for kind, chosen in (("one person", comparisons.same), ("strangers", ~comparisons.same)):
        if copies := int((comparisons.distances[chosen] < _COPY).sum()):
            notes.append(f"a distance of 0 have {counted(copies)} of {kind}: the same image twice?")
    return notes
