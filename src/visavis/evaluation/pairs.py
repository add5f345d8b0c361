"""From photos and pairs of them to an evaluation."""

from typing import Literal

import numpy as np

from visavis.core.decide import Rule
from visavis.evaluation import metrics
from visavis.evaluation.bootstrap import Estimate, Replicates, interval, resample
from visavis.evaluation.comparisons import Bools, Comparisons, check_both_kinds, compare_pairs
from visavis.evaluation.embedding import Embedded, Seeing, embed_photos
from visavis.evaluation.protocols import Grouping, Pairs, counted
from visavis.evaluation.results import (
    MOST_SHOWN,
    AskedFmr,
    AtFmr,
    Folds,
    GroupRates,
    Match,
    PairEvaluation,
    PairRates,
    circumstances,
    counts_in_group,
    failures_of,
    histogram,
    match_of,
    notes_of,
    thinned,
)
from visavis.evaluation.tables import share
from visavis.models.recognizer import choose_rule
from visavis.options import Rate

_BETWEEN = "between groups"


def evaluate_pairs(  # noqa: PLR0913  # independent options
    seeing: Seeing,
    pairs: Pairs,
    *,
    threshold: float | None = None,
    fmr: Rate | None = None,
    grouping: Grouping | None = None,
    seed: int = 0,
) -> PairEvaluation:
    """Measure how right decisions on pairs are.

    Args:
        seeing: what looks at the photos, and how.
        pairs: the protocol.
        threshold: of the decisions; None for the pack's.
        fmr: the false match rate to keep instead, by what is known of the pack; see ``Recognizer``.
        grouping: of the photos, to tell the rates of each group.
        seed: of the draws that the intervals come from.

    Raises:
        InvalidOption: both a threshold and a rate are given, or one is out of range; or there are no pairs of one
            person, or none of strangers, that can be compared.
        SetupError: a model is missing or damaged.
        OSError: the cache cannot be written.
    """
    pack = seeing.eyes.pack
    rule = choose_rule(pack, Rule.at(pack.threshold), {"threshold": threshold, "fmr": fmr})
    threshold = rule.threshold
    embedded = embed_photos(seeing, pairs.photos)
    everything = compare_pairs(embedded, pairs, pack.metric, grouping)
    comparisons = everything.compared()
    check_both_kinds(comparisons)
    missing = ~np.isfinite(everything.distances)
    curve = metrics.curve_of(comparisons)
    rate, where = metrics.equal_error(curve)
    fmrs = {fmr: metrics.threshold_at_fmr(comparisons.impostor, fmr) for fmr in metrics.FMRS}
    drawn = resample(comparisons, [threshold, *fmrs.values()], seed=seed)
    best_accuracy, best_threshold = metrics.best_accuracy(comparisons)
    compared = _pair_rates(comparisons, threshold, drawn)
    return PairEvaluation(
        about=circumstances(seeing, pairs, embedded, seed),
        genuine=int(comparisons.same.sum()),
        impostor=int((~comparisons.same).sum()),
        without_face=(int(missing[everything.same].sum()), int(missing[~everything.same].sum())),
        asked=None
        if rule.fmr is None
        else AskedFmr(rule.fmr, _agreement(rule.fmr, compared.fmr, comparisons.people[1])),
        compared=compared,
        counted=_pair_rates(everything, threshold, resample(everything, [threshold], seed=seed)),
        eer=interval(rate, drawn.equal_error(), min(comparisons.people)),
        eer_threshold=where,
        best_accuracy=best_accuracy,
        best_threshold=best_threshold,
        folds=_folds(comparisons),
        at_fmr=tuple(_at_fmr(comparisons, fmr, at, drawn) for fmr, at in fmrs.items()),
        groups=() if grouping is None else _pair_groups(comparisons, embedded, grouping, threshold, seed),
        curve=thinned(curve),
        histogram=histogram(comparisons.distances[comparisons.same], comparisons.distances[~comparisons.same]),
        failures=failures_of(embedded, pairs.photos),
        nearest_strangers=_worst(comparisons, pairs, embedded, ~comparisons.same, nearest=True),
        farthest_same=_worst(comparisons, pairs, embedded, comparisons.same, nearest=False),
        left_out=pairs.left_out,
        notes=(*_pair_notes(comparisons), *notes_of(pairs, grouping)),
    )


def _pair_rates(comparisons: Comparisons, threshold: float, drawn: Replicates) -> PairRates:
    fmr, fnmr = metrics.rates_at(comparisons, threshold)
    people, pairs_of_people = comparisons.people
    accuracy = metrics.accuracy_at(comparisons, threshold)
    return PairRates(
        threshold=threshold,
        fmr=interval(fmr, drawn.fmr_at(threshold), pairs_of_people),
        fnmr=interval(fnmr, drawn.fnmr_at(threshold), people),
        accuracy=interval(accuracy, drawn.accuracy_at(threshold), people + pairs_of_people),
    )


def _agreement(fmr: float, found: Estimate, pairs_of_people: int) -> Literal["agrees", "higher", "lower", "too_few"]:
    """Return how a false match rate that was found compares with the one that was asked for."""
    if found.low > fmr:
        return "higher"
    if not metrics.supports(pairs_of_people, fmr):
        return "too_few"
    return "lower" if found.high < fmr else "agrees"


def _at_fmr(comparisons: Comparisons, fmr: float, threshold: float, drawn: Replicates) -> AtFmr:
    people, pairs_of_people = comparisons.people
    bound = metrics.bound_without_errors(pairs_of_people)
    if not metrics.supports(pairs_of_people, fmr):
        return AtFmr(fmr, pairs_of_people, bound, None, None)
    fnmr = interval(metrics.rates_at(comparisons, threshold)[1], drawn.fnmr_at_fmr(fmr), people)
    return AtFmr(fmr, pairs_of_people, bound, interval(threshold, drawn.threshold_at(fmr)), fnmr)


def _folds(comparisons: Comparisons) -> Folds | None:
    if comparisons.folds is None or len(np.unique(comparisons.folds)) < 2:  # noqa: PLR2004  # one and the others
        return None
    accuracies = metrics.cross_validated(comparisons, comparisons.folds)
    return Folds(accuracies, float(accuracies.mean()), float(accuracies.std(ddof=1) / np.sqrt(len(accuracies))))


def _pair_groups(
    comparisons: Comparisons, embedded: Embedded, grouping: Grouping, threshold: float, seed: int
) -> tuple[GroupRates, ...]:
    """Return a row for each group, and one for strangers of different groups."""
    groups = comparisons.groups
    if groups is None:
        raise AssertionError("comparisons of grouped photos have groups")
    rows = []
    for number, name in enumerate(grouping.names):
        within = comparisons.where((groups == number).all(axis=1))
        rows.append(_group(name, counts_in_group(embedded, grouping, number), within, threshold, seed))
    known = (groups >= 0).all(axis=1) & ~comparisons.same
    between = comparisons.where(known & (groups[:, 0] != groups[:, 1]))
    return (*rows, _group(_BETWEEN, (0, 0), between, threshold, seed))


def _group(name: str, counts: tuple[int, int], within: Comparisons, threshold: float, seed: int) -> GroupRates:
    own = int(within.same.sum())
    strangers = len(within.same) - own
    rates = _pair_rates(within, threshold, resample(within, [threshold], seed=seed)) if len(within.same) else None
    fmr, fnmr = (rates.fmr, rates.fnmr) if rates else (None, None)
    return GroupRates(name, *counts, strangers, own, fmr if strangers else None, fnmr if own else None)


def _worst(
    comparisons: Comparisons, pairs: Pairs, embedded: Embedded, chosen: Bools, *, nearest: bool
) -> tuple[Match, ...]:
    places = np.flatnonzero(chosen)
    signed = comparisons.distances[places] * (1 if nearest else -1)
    order = places[np.argsort(signed, kind="stable")[:MOST_SHOWN]]
    return tuple(
        match_of(embedded, pairs.photos, comparisons.photos[place], distance)
        for place, distance in zip(order, comparisons.distances[order].tolist(), strict=True)
    )


def _pair_notes(comparisons: Comparisons) -> list[str]:
    notes = []
    part = float(comparisons.same.mean())
    if not 0.4 <= part <= 0.6:  # noqa: PLR2004  # about as many of one kind as of the other
        notes.append(
            f"{share(part)} of the pairs are of one person: accuracy mostly tells of the other kind; "
            "the two error rates do not depend on the mixture"
        )
    # Equal but for rounding.
    copies = comparisons.distances < 1e-9  # noqa: PLR2004
    for kind, count in (("one person", copies & comparisons.same), ("strangers", copies & ~comparisons.same)):
        if count.any():
            notes.append(f"a distance of 0 have {counted(int(count.sum()))} of {kind}: the same image twice?")
    return notes
