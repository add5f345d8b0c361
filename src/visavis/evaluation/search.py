"""From photos, and a gallery and probes of them, to an evaluation."""

import numpy as np

from visavis.core.decide import Rule
from visavis.errors import InvalidOption
from visavis.evaluation import metrics
from visavis.evaluation.comparisons import Bools
from visavis.evaluation.embedding import Embedded, Seeing, embed_photos
from visavis.evaluation.identification import FPIRS, Answers, SearchRates, SearchReplicates, search, threshold_at_fpir
from visavis.evaluation.protocols import Grouping, Split, people_of
from visavis.evaluation.results import (
    MOST_SHOWN,
    AskedFmr,
    AtFpir,
    GroupRates,
    Match,
    SearchEvaluation,
    circumstances,
    counts_in_group,
    failures_of,
    histogram,
    match_of,
    notes_of,
    thinned,
)
from visavis.models.recognizer import choose_rule
from visavis.options import Rate


def evaluate_search(  # noqa: PLR0913  # independent options
    seeing: Seeing,
    split: Split,
    *,
    threshold: float | None = None,
    fmr: Rate | None = None,
    grouping: Grouping | None = None,
    seed: int = 0,
) -> SearchEvaluation:
    """Measure how right a gallery is; the margin is the pack's.

    Args:
        seeing: what looks at the photos, and how.
        split: the gallery and the probes.
        threshold: a person nearer than this is found; None for the pack's.
        fmr: the false match rate to keep instead, by what is known of the pack; see ``Recognizer``.
        grouping: of the photos, to tell the rates of each group.
        seed: of the draws that the intervals come from.

    Raises:
        InvalidOption: both a threshold and a rate are given, or one is out of range; or nobody is enrolled who is
            also looked for, because no face was found.
        SetupError: a model is missing or damaged.
        OSError: the cache cannot be written.
    """
    pack = seeing.eyes.pack
    rule = choose_rule(pack, Rule.at(pack.identify_threshold), {"threshold": threshold, "fmr": fmr})
    threshold = rule.threshold
    embedded = embed_photos(seeing, split.photos)
    answers = search(embedded, split, pack.metric)
    _, numbers = people_of(split.photos)
    wanted = np.unique(numbers[split.gallery])
    enrolled = np.unique(numbers[split.gallery[embedded.seen[split.gallery]]])
    # What the network sees: probes with a face, of people who are enrolled and of strangers.
    comparable = answers.where(answers.seen & (~answers.mated | np.isin(answers.persons, enrolled)))
    if not comparable.mated.any():
        raise InvalidOption("no face was found of anybody who is enrolled and looked for: nothing to measure")
    drawn = SearchReplicates(comparable, seed=seed)
    return SearchEvaluation(
        about=circumstances(seeing, split, embedded, seed),
        enrolled=len(enrolled),
        not_enrolled=len(wanted) - len(enrolled),
        mated=int(answers.mated.sum()),
        strangers=int((~answers.mated).sum()),
        without_face=(int((answers.mated & ~answers.seen).sum()), int((~answers.mated & ~answers.seen).sum())),
        rank1=drawn.rate(comparable.right, comparable.mated),
        asked=None if rule.fmr is None else AskedFmr(rule.fmr, None),
        compared=drawn.rates(threshold, pack.identify_margin),
        counted=SearchReplicates(answers, seed=seed).rates(threshold, pack.identify_margin),
        at_fpir=tuple(_at_fpir(drawn, fpir, pack.identify_margin) for fpir in FPIRS),
        groups=()
        if grouping is None
        else _groups(drawn, embedded, grouping, drawn.rates(threshold, pack.identify_margin)),
        curve=_curve(comparable, pack.identify_margin),
        histogram=histogram(
            comparable.nearest[comparable.mated & comparable.right], comparable.nearest[~comparable.mated]
        ),
        failures=failures_of(embedded, split.photos),
        nearest_strangers=_nearest(comparable, split, embedded, ~comparable.mated),
        taken_for_others=_nearest(comparable, split, embedded, comparable.mated & ~comparable.right),
        left_out=split.left_out,
        notes=tuple(notes_of(split, grouping)),
    )


def _at_fpir(drawn: SearchReplicates, fpir: float, margin: float) -> AtFpir:
    strangers = drawn.people(~drawn.answers.mated)
    bound = metrics.bound_without_errors(strangers)
    if not metrics.supports(strangers, fpir):
        return AtFpir(fpir, strangers, bound, None)
    return AtFpir(fpir, strangers, bound, drawn.rates(threshold_at_fpir(drawn.answers, fpir, margin), margin))


def _curve(answers: Answers, margin: float) -> metrics.Curve | None:
    """Return FPIR and FNIR over the threshold."""
    if answers.mated.all():
        return None
    scores = np.where(answers.margin >= margin, answers.nearest, np.inf)
    strangers, found = np.sort(scores[~answers.mated]), np.sort(scores[answers.mated & answers.right])
    thresholds = np.append(np.unique(scores[np.isfinite(scores)]), np.inf)
    found_share = np.searchsorted(found, thresholds) / answers.mated.sum()
    return thinned(metrics.Curve(thresholds, metrics.match_rates(strangers, thresholds), 1.0 - found_share))


def _groups(
    drawn: SearchReplicates, embedded: Embedded, grouping: Grouping, rates: SearchRates
) -> tuple[GroupRates, ...]:
    answers = drawn.answers
    found = answers.found(rates.threshold, rates.margin)
    own_groups = grouping.of_photos[answers.probes]
    rows = []
    for number, name in enumerate(grouping.names):
        own, strangers = (kind & (own_groups == number) for kind in (answers.mated, ~answers.mated))
        positives = drawn.rate(found, strangers) if strangers.any() else None
        negatives = drawn.rate(~(found & answers.right), own) if own.any() else None
        counts = counts_in_group(embedded, grouping, number)
        rows.append(GroupRates(name, *counts, int(strangers.sum()), int(own.sum()), positives, negatives))
    return tuple(rows)


def _nearest(answers: Answers, split: Split, embedded: Embedded, chosen: Bools) -> tuple[Match, ...]:
    places = np.flatnonzero(chosen & (answers.references >= 0))
    order = places[np.argsort(answers.nearest[places], kind="stable")[:MOST_SHOWN]]
    return tuple(
        match_of(
            embedded,
            split.photos,
            np.array([answers.probes[place], answers.references[place]]),
            float(answers.nearest[place]),
        )
        for place in order
    )
