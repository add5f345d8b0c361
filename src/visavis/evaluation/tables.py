"""Tables of words of an evaluation, for a terminal or a page."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from visavis.evaluation.bootstrap import Estimate
from visavis.evaluation.metrics import RULE_OF_THREE
from visavis.evaluation.protocols import counted
from visavis.evaluation.results import Circumstances, Failure, PairEvaluation, SearchEvaluation

_SMALL = 1e-3  # a share with a decimal more than others
_NOT_MEASURED = "-"
_Rates: TypeAlias = Iterable[tuple[str, Estimate | None, Estimate | None]]


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a line of column titles, rows as wide as that line, and a remark."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str = ""


def tables_of(evaluation: PairEvaluation | SearchEvaluation) -> tuple[Table, ...]:
    """Return the tables of an evaluation, the most important first; one without rows is left out."""
    tables = _pair_tables(evaluation) if isinstance(evaluation, PairEvaluation) else _search_tables(evaluation)
    measured = _measured(evaluation.about, evaluation.failures)
    return tuple(table for table in (*tables, _groups(evaluation), measured) if table.rows)


def title_of(evaluation: PairEvaluation | SearchEvaluation) -> str:
    """Return what was measured in one line."""
    if isinstance(evaluation, PairEvaluation):
        kinds = f"{counted(evaluation.genuine)} of one person, {evaluation.impostor:,} of strangers"
    else:
        enrolled, probes = counted(evaluation.enrolled, "person", "people"), counted(evaluation.mated, "probe")
        kinds = f"{enrolled} enrolled, {probes} of them, {evaluation.strangers:,} of strangers"
    return f"Pack {evaluation.about.pack}: {kinds}"


def share(value: float) -> str:
    """Return a share of one in percent."""
    if math.isnan(value):
        return _NOT_MEASURED
    return f"{100 * value:.2g} %" if 0 < value < _SMALL else f"{100 * value:.2f} %"


def share_with_interval(estimate: Estimate | None) -> str:
    """Return a rate in percent with its interval."""
    if estimate is None or math.isnan(estimate.value):
        return _NOT_MEASURED
    if math.isnan(estimate.low):
        return share(estimate.value)
    low, high = (share(end).removesuffix(" %") for end in (estimate.low, estimate.high))
    return f"{share(estimate.value)} ({low} to {high})"


def _pair_tables(evaluation: PairEvaluation) -> Iterable[Table]:
    compared, everything, asked = evaluation.compared, evaluation.counted, evaluation.asked
    (own, others), remarks = evaluation.without_face, []
    if asked:
        verdict = {
            "agrees": "its interval holds the rate",
            "higher": "MORE strangers are taken for one person here than the rate allows",
            "lower": "fewer strangers are taken for one person here than the rate allows",
        }.get(asked.found or "", f"too few pairs of people to tell, it takes {_needed(asked.fmr)}")
        measured = share_with_interval(compared.fmr)
        remarks.append(f"An FMR of {_rate(asked.fmr)} was asked for, {measured} measured: {verdict}.")
    if own or others:
        remarks.append(f"Not compared, as an image has no face: {counted(own)} of one person, {others:,} of strangers.")
    yield _decisions(
        f"Decisions at the threshold {compared.threshold:g}" + (f", for an FMR of {_rate(asked.fmr)}" if asked else ""),
        ("pairs compared", "a missing face as no match") if own or others else ("",),
        (
            ("strangers taken for one person (FMR)", compared.fmr, everything.fmr),
            ("one person taken for strangers (FNMR)", compared.fnmr, everything.fnmr),
            ("right decisions (accuracy)", compared.accuracy, everything.accuracy),
        ),
        remarks,
    )
    rows = evaluation.at_fmr
    yield Table(
        "What a false match rate costs",
        ("strangers taken for one person (FMR)", "threshold", "one person taken for strangers (FNMR)"),
        tuple(_cost(row.fmr, f"{counted(row.pairs_of_people)} of people", row.threshold, row.fnmr) for row in rows),
        f"{counted(rows[0].pairs_of_people)} of people, without an error, would show that the rate is below "
        f"{share(rows[0].bound)} (rule of three); images of the same two people tell little more.",
    )
    overall = [
        ("equal error rate", f"{share_with_interval(evaluation.eer)} at {evaluation.eer_threshold:.3f}"),
        ("accuracy at the best threshold", f"{share(evaluation.best_accuracy)} at {evaluation.best_threshold:.3f}"),
    ]
    if (folds := evaluation.folds) is not None:
        mean = f"{share(folds.mean)} ± {share(folds.standard_error)} (standard error)"
        overall.append((f"accuracy over {len(folds.accuracies)} folds", mean))
    remark = "The best threshold is chosen on the very pairs that it is measured on: do not expect as much of others."
    yield Table("Over all thresholds", ("", ""), tuple(overall) if evaluation.genuine else (), remark)


def _search_tables(evaluation: SearchEvaluation) -> Iterable[Table]:
    compared, everything, asked = evaluation.compared, evaluation.counted, evaluation.asked
    (own, others), remarks = evaluation.without_face, []
    lost = own or others or evaluation.not_enrolled
    if asked:
        remarks.append(f"The threshold is the one for an FMR of {_rate(asked.fmr)} of single pairs.")
    if evaluation.asked_fpir:
        remarks.append(
            f"The threshold is the one that galleries of this size have for an FPIR of {_rate(evaluation.asked_fpir)}."
        )
    if lost:
        remarks.append(
            f"Without a face: {counted(own, 'probe')} of enrolled people, {others:,} of strangers; "
            f"{counted(evaluation.not_enrolled, 'person', 'people')} could not be enrolled."
        )
    yield _decisions(
        f"Decisions at the threshold {compared.threshold:g} and the margin {compared.margin:g}",
        ("probes compared", "a missing face finds nobody") if lost else ("",),
        (
            ("enrolled people not found (FNIR)", compared.fnir, everything.fnir),
            ("... of these, taken for somebody else", compared.misidentified, everything.misidentified),
            ("strangers taken for somebody (FPIR)", compared.fpir, everything.fpir),
            ("the nearest person is the right one (rank 1)", evaluation.rank1, None),
        ),
        remarks,
    )
    costs = []
    for row in evaluation.at_fpir:
        threshold = Estimate(row.rates.threshold, math.nan, math.nan) if row.rates else None
        fnir = row.rates.fnir if row.rates else None
        costs.append(_cost(row.fpir, counted(row.strangers, "stranger"), threshold, fnir))
    yield Table(
        "What a false positive rate costs",
        ("strangers taken for somebody (FPIR)", "threshold", "enrolled people not found (FNIR)"),
        tuple(costs),
        "The rate grows with the number of people enrolled: it holds for a gallery of this size. The intervals are "
        "those at these very thresholds; which threshold keeps a rate with other people is uncertain besides.",
    )


def _decisions(title: str, columns: tuple[str, ...], rates: _Rates, remarks: list[str]) -> Table:
    rows = tuple((name, *map(share_with_interval, values[: len(columns)])) for name, *values in rates)
    return Table(title, ("", *columns), rows, " ".join(remarks))


def _cost(rate: float, trials: str, threshold: Estimate | None, missed: Estimate | None) -> tuple[str, str, str]:
    """Return a rate, the threshold that keeps it and what that misses; or how many trials it takes."""
    if threshold is None:
        return _rate(rate), f"not supported by {trials}", f"takes {_needed(rate)}"
    interval = "" if math.isnan(threshold.low) else f" ({threshold.low:.3f} to {threshold.high:.3f})"
    at = f"{threshold.value:.3f}{interval}" if math.isfinite(threshold.value) else "any"
    return _rate(rate), at, share_with_interval(missed)


def _groups(evaluation: PairEvaluation | SearchEvaluation) -> Table:
    if isinstance(evaluation, PairEvaluation):
        strangers, own, rates = "pairs of strangers", "pairs of one person", ("FMR", "FNMR")
        remark = "At the threshold of all. Strangers are of the same group but in the last row."
    else:
        strangers, own, rates = "probes of strangers", "probes of people enrolled", ("FPIR", "FNIR")
        remark = "At the threshold of all."
    rows = tuple(
        (
            group.name,
            f"{group.images:,}" if group.images else "",
            f"{group.failures:,} ({share(group.failures / group.images)})" if group.images else "",
            f"{group.strangers:,}",
            share_with_interval(group.false_positives),
            f"{group.own:,}",
            share_with_interval(group.false_negatives),
        )
        for group in evaluation.groups
    )
    return Table("Groups", ("group", "images", "without a face", strangers, rates[0], own, rates[1]), rows, remark)


def _measured(about: Circumstances, failures: Sequence[Failure]) -> Table:
    codes = Counter(failure.code for failure in failures)
    reasons = ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
    failed = f"{len(failures):,} ({share(len(failures) / max(1, about.images))})" + (f": {reasons}" if reasons else "")
    cached = f"; {about.from_cache:,} embeddings kept from an earlier time" if about.from_cache else ""
    share_of_side = f"{100 * about.min_face:g} % of the image's shorter side"
    size = share_of_side if about.min_face < 1 else f"{about.min_face:g} pixels"
    rows = (
        ("compared", about.protocol),
        ("images", f"{about.images:,} of {about.people:,} people"),
        ("images without an embedding", failed),
        ("face of an image", f"the {about.faces} one, of {size} or more"),
        ("pack", f"{about.pack}, embedding space {about.space}"),
        ("computed by", f"{about.runtime} in {about.precision}{cached}"),
        ("versions", f"visavis {about.visavis}, Python {about.python}, NumPy {about.numpy}"),
    )
    draws = f"from drawing people anew {about.replicates:,} times with seed {about.seed}"
    return Table("What was measured", ("", ""), rows, f"In brackets: 95 % confidence intervals, {draws}.")


def _rate(value: float) -> str:
    return f"{100 * value:g} %"


def _needed(rate: float) -> str:
    return f"{math.ceil(RULE_OF_THREE / rate - 1e-6):,} or more"
