"""Plots of an evaluation as SVG, to stand in a page: they take its colours, and need nothing from elsewhere."""

import io
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from visavis.errors import DriverMissing
from visavis.evaluation.metrics import Curve
from visavis.evaluation.results import PairEvaluation, SearchEvaluation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

# Stands for the colour of the page's text, which SVG can take over and Matplotlib does not know.
_INK = "#012345"
_OWN, _STRANGERS, _CURVE, _THRESHOLD = "#2f9e6e", "#d9733a", "#4c7fd0", "#b04fa8"
_SIZE = (4.4, 3.4)  # inches
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


def check_installed() -> None:
    """Insist on Matplotlib.

    Raises:
        DriverMissing: it is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        raise DriverMissing(
            "an HTML report has plots, which need Matplotlib: pip install 'visavis[evaluate]'; "
            "a report in JSON (-o report.json) does without"
        ) from error


def plots_of(evaluation: PairEvaluation | SearchEvaluation) -> tuple[str, ...]:
    """Return the plots, each an SVG element: ROC, DET and the distances.

    Raises:
        DriverMissing: Matplotlib is not installed.
    """
    check_installed()
    drawn: list[str] = []
    if evaluation.curve is not None:
        for name, draw in (("ROC", _draw_roc), ("DET", _draw_det)):
            with _axes(name, drawn) as axes:
                draw(axes, _plotted(evaluation, evaluation.curve))
                axes.legend(frameon=False)
    with _axes("distances", drawn) as axes:
        _draw_distances(axes, evaluation)
        axes.legend(frameon=False)
    return tuple(drawn)


@dataclass(frozen=True, slots=True, eq=False)
class _Plotted:
    """A curve, what its rates are called, the smallest that can be told from 0, and where the threshold is on it."""

    curve: Curve
    positives: str
    negatives: str
    least: tuple[float, float]
    at_threshold: tuple[float, float]


def _plotted(evaluation: PairEvaluation | SearchEvaluation, curve: Curve) -> _Plotted:
    if isinstance(evaluation, PairEvaluation):
        pairs, trials = evaluation.compared, (evaluation.impostor, evaluation.genuine)
        return _Plotted(curve, "FMR", "FNMR", _least(*trials), (pairs.fmr.value, pairs.fnmr.value))
    probes, (own, others) = evaluation.compared, evaluation.without_face
    trials = (evaluation.strangers - others, evaluation.mated - own)
    fpir = math.nan if probes.fpir is None else probes.fpir.value
    return _Plotted(curve, "FPIR", "FNIR", _least(*trials), (fpir, probes.fnir.value))


def _least(positives: int, negatives: int) -> tuple[float, float]:
    return 0.5 / max(1, positives), 0.5 / max(1, negatives)


def _draw_roc(axes: "Axes", plotted: _Plotted) -> None:
    least, _ = plotted.least
    x, y = np.maximum(plotted.curve.fmr, least), 1 - plotted.curve.fnmr
    axes.plot(x, y, color=_CURVE, drawstyle="steps-post")
    without_errors = float(y[plotted.curve.fmr == 0].max(initial=0.0))
    axes.set_ylim(max(0.0, 1 - max(0.05, 2 * (1 - without_errors))), 1.005)
    now = plotted.at_threshold
    axes.plot(max(now[0], least), 1 - now[1], "o", color=_THRESHOLD, label="at the threshold")
    axes.set(xscale="log", xlim=(least, 1), xlabel=plotted.positives, ylabel=f"1 - {plotted.negatives}", title="ROC")


def _draw_det(axes: "Axes", plotted: _Plotted) -> None:
    least, fewest = plotted.least
    axes.plot(
        np.maximum(plotted.curve.fmr, least),
        np.maximum(plotted.curve.fnmr, fewest),
        color=_CURVE,
        drawstyle="steps-post",
    )
    now = plotted.at_threshold
    axes.plot(max(now[0], least), max(now[1], fewest), "o", color=_THRESHOLD, label="at the threshold")
    axes.set(xscale="log", yscale="log", xlim=(least, 1), ylim=(fewest, 1))
    axes.set(xlabel=plotted.positives, ylabel=plotted.negatives, title="DET")


def _draw_distances(axes: "Axes", evaluation: PairEvaluation | SearchEvaluation) -> None:
    is_pairs = isinstance(evaluation, PairEvaluation)
    names = ("one person", "strangers") if is_pairs else ("the right person", "a stranger's nearest")
    counts = (evaluation.histogram.genuine, evaluation.histogram.impostor)
    for name, count, colour in zip(names, counts, (_OWN, _STRANGERS), strict=True):
        shares = count / max(1, count.sum())
        axes.stairs(shares, evaluation.histogram.edges, fill=True, alpha=0.55, color=colour, label=name)
    axes.margins(y=0.3)  # room for the legend
    axes.axvline(evaluation.compared.threshold, color=_THRESHOLD, linestyle="--", label="threshold")
    axes.set(xlabel="distance", ylabel="share of each kind", title="Distances")


@contextmanager
def _axes(name: str, drawn: list[str]) -> "Iterator[Axes]":
    """Give axes to draw on, and add what was drawn."""
    import matplotlib as mpl  # noqa: PLC0415  # an extra
    from matplotlib.figure import Figure  # noqa: PLC0415  # likewise

    # The salt keeps the IDs of several plots on one page apart, and the same for the same plot.
    with mpl.rc_context(cast("Any", {**_STYLE, "svg.hashsalt": name})):
        figure = Figure(figsize=_SIZE, layout="constrained")
        yield figure.add_subplot()
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    drawn.append(re.sub(r'width="[^"]*" height="[^"]*"|height="[^"]*" width="[^"]*"', 'role="img"', svg, count=1))
