"""An evaluation as tables of words, for a terminal or a page."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from visavis.evaluation.bootstrap import Estimate
from visavis.evaluation.metrics import RULE_OF_THREE
from visavis.evaluation.protocols import counted
from visavis.evaluation.results import (
    AskedFmr,
    AtFmr,
    AtFpir,
    Circumstances,
    Failure,
    GroupRates,
    PairEvaluation,
    SearchEvaluation,
)

_SMALL = 1e-3  # a share with a decimal more than others
_INTERVALS = "In brackets: 95 % confidence intervals, from drawing people anew {replicates:,} times with seed {seed}."
_NOT_MEASURED = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a line of column titles, rows as wide as that line, and a remark."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str = ""


def tables_of(evaluation: PairEvaluation | SearchEvaluation) -> tuple[Table, ...]:
    """Return what an evaluation tells, the most important first; a table without rows is left out."""
    tables = _pair_tables(evaluation) if isinstance(evaluation, PairEvaluation) else _search_tables(evaluation)
    measured = _measured(evaluation.about, evaluation.failures)
    return tuple(table for table in (*tables, measured) if table.rows)


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


def _number(estimate: Estimate) -> str:
    if not math.isfinite(estimate.value):
        return "any"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _pair_tables(evaluation: PairEvaluation) -> Sequence[Table]:
    compared, everything, asked = evaluation.compared, evaluation.counted, evaluation.asked
    lost = sum(evaluation.without_face)
    columns = ("", "pairs compared", "a missing face as no match") if lost else ("", "")
    rates = (
        ("strangers taken for one person (FMR)", compared.fmr, everything.fmr),
        ("one person taken for strangers (FNMR)", compared.fnmr, everything.fnmr),
        ("right decisions (accuracy)", compared.accuracy, everything.accuracy),
    )
    own, others = evaluation.without_face
    remarks = [_told_asked(asked, compared.fmr)] if asked else []
    if lost:
        remarks.append(f"Not compared, as an image has no face: {counted(own)} of one person, {others:,} of strangers.")
    decisions = Table(
        f"Decisions at the threshold {compared.threshold:g}"
        + ("" if asked is None else f", for an FMR of {_rate(asked.fmr)}"),
        columns,
        tuple((name, *map(share_with_interval, values[: len(columns) - 1])) for name, *values in rates),
        " ".join(remarks),
    )
    return (decisions, _at_fmr_table(evaluation.at_fmr), _whole(evaluation), _groups(evaluation))


def _told_asked(asked: AskedFmr, found: Estimate) -> str:
    """Return in words whether the false match rate that was asked for is the one that was found."""
    needed = math.ceil(RULE_OF_THREE / asked.fmr - 1e-6)
    verdict = {
        "agrees": "its interval holds the rate",
        "higher": "MORE strangers are taken for one person here than the rate allows",
        "lower": "fewer strangers are taken for one person here than the rate allows",
        "too_few": f"too few pairs of people to tell, it takes {needed:,} or more",
    }[asked.found or "too_few"]
    return f"An FMR of {_rate(asked.fmr)} was asked for, {share_with_interval(found)} measured: {verdict}."


def _at_fmr_table(rows: Sequence[AtFmr]) -> Table:
    columns = ("strangers taken for one person (FMR)", "threshold", "one person taken for strangers (FNMR)")
    cells = []
    for row in rows:
        if row.threshold is None or row.fnmr is None:
            needed = math.ceil(RULE_OF_THREE / row.fmr - 1e-6)
            cells.append(
                (
                    _rate(row.fmr),
                    f"not supported by {counted(row.pairs_of_people)} of people",
                    f"takes {needed:,} or more",
                )
            )
        else:
            cells.append((_rate(row.fmr), _number(row.threshold), share_with_interval(row.fnmr)))
    remark = (
        f"{counted(rows[0].pairs_of_people)} of people, without an error, would show that the rate is below "
        f"{share(rows[0].bound)} (rule of three); images of the same two people tell little more."
    )
    return Table("What a false match rate costs", columns, tuple(cells), remark)


def _whole(evaluation: PairEvaluation) -> Table:
    rows = [
        ("equal error rate", f"{share_with_interval(evaluation.eer)} at {evaluation.eer_threshold:.3f}"),
        ("accuracy at the best threshold", f"{share(evaluation.best_accuracy)} at {evaluation.best_threshold:.3f}"),
    ]
    if evaluation.folds is not None:
        folds = evaluation.folds
        mean = f"{share(folds.mean)} ± {share(folds.standard_error)} (standard error)"
        rows.append((f"accuracy over {len(folds.accuracies)} folds", mean))
    remark = "The best threshold is chosen on the very pairs that it is measured on: do not expect as much of others."
    return Table("Over all thresholds", ("", ""), tuple(rows), remark)


def _search_tables(evaluation: SearchEvaluation) -> Sequence[Table]:
    compared, everything = evaluation.compared, evaluation.counted
    lost = sum(evaluation.without_face) or evaluation.not_enrolled
    columns = ("", "probes compared", "a missing face finds nobody") if lost else ("", "")
    rates = (
        ("enrolled people not found (FNIR)", compared.fnir, everything.fnir),
        ("... of these, taken for somebody else", compared.misidentified, everything.misidentified),
        ("strangers taken for somebody (FPIR)", compared.fpir, everything.fpir),
        ("the nearest person is the right one (rank 1)", evaluation.rank1, None),
    )
    own, others = evaluation.without_face
    remarks = []
    if evaluation.asked:
        remarks.append(f"The threshold is the one for an FMR of {_rate(evaluation.asked.fmr)} of single pairs.")
    if lost:
        remarks.append(
            f"Without a face: {counted(own, 'probe')} of enrolled people, {others:,} of strangers; "
            f"{counted(evaluation.not_enrolled, 'person', 'people')} could not be enrolled."
        )
    decisions = Table(
        f"Decisions at the threshold {compared.threshold:g} and the margin {compared.margin:g}",
        columns,
        tuple((name, *map(share_with_interval, values[: len(columns) - 1])) for name, *values in rates),
        " ".join(remarks),
    )
    return (decisions, _at_fpir_table(evaluation.at_fpir), _groups(evaluation))


def _at_fpir_table(rows: Sequence[AtFpir]) -> Table:
    columns = ("strangers taken for somebody (FPIR)", "threshold", "enrolled people not found (FNIR)")
    cells = []
    for row in rows:
        if row.rates is None:
            needed = math.ceil(RULE_OF_THREE / row.fpir - 1e-6)
            cells.append(
                (_rate(row.fpir), f"not supported by {counted(row.strangers, 'stranger')}", f"takes {needed:,} or more")
            )
        else:
            threshold = row.rates.threshold
            told = f"{threshold:.3f}" if math.isfinite(threshold) else "any"
            cells.append((_rate(row.fpir), told, share_with_interval(row.rates.fnir)))
    remark = (
        "The rate grows with the number of people enrolled: it holds for a gallery of this size. The intervals are "
        "those at these very thresholds; which threshold keeps a rate with other people is uncertain besides."
    )
    return Table("What a false positive rate costs", columns, tuple(cells), remark)


def _groups(evaluation: PairEvaluation | SearchEvaluation) -> Table:
    is_pairs = isinstance(evaluation, PairEvaluation)
    kind, names = ("pairs", ("FMR", "FNMR")) if is_pairs else ("probes", ("FPIR", "FNIR"))
    strangers = f"{kind} of strangers"
    own = f"{kind} of one person" if is_pairs else f"{kind} of people enrolled"
    remark = "At the threshold of all. " + ("Strangers are of the same group but in the last row." if is_pairs else "")
    return Table(
        "Groups",
        ("group", "images", "without a face", strangers, names[0], own, names[1]),
        tuple(map(_group_row, evaluation.groups)),
        remark.strip(),
    )


def _group_row(group: GroupRates) -> tuple[str, ...]:
    images = f"{group.images:,}" if group.images else ""
    failures = f"{group.failures:,} ({share(group.failures / group.images)})" if group.images else ""
    positives, negatives = map(share_with_interval, (group.false_positives, group.false_negatives))
    return group.name, images, failures, f"{group.strangers:,}", positives, f"{group.own:,}", negatives


def _measured(about: Circumstances, failures: Sequence[Failure]) -> Table:
    codes = Counter(failure.code for failure in failures)
    reasons = ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
    failed = f"{len(failures):,} ({share(len(failures) / max(1, about.images))})" + (f": {reasons}" if reasons else "")
    cached = f"; {about.from_cache:,} embeddings kept from an earlier time" if about.from_cache else ""
    rows = (
        ("compared", about.protocol),
        ("images", f"{about.images:,} of {about.people:,} people"),
        ("images without an embedding", failed),
        ("face of an image", f"the {about.faces} one, of {_size(about.min_face)} or more"),
        ("pack", f"{about.pack}, embedding space {about.space}"),
        ("computed by", f"{about.runtime} in {about.precision}{cached}"),
        ("versions", f"visavis {about.visavis}, Python {about.python}, NumPy {about.numpy}"),
    )
    remark = _INTERVALS.format(replicates=about.replicates, seed=about.seed)
    return Table("What was measured", ("", ""), rows, remark)


def _size(min_face: float) -> str:
    return f"{min_face:g} pixels" if min_face >= 1 else f"{100 * min_face:g} % of the image's shorter side"


def _rate(value: float) -> str:
    return f"{100 * value:g} %"
