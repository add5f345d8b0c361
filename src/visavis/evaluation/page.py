"""HTML report of an evaluation, with plots as SVG: one file without scripts or external resources."""

import base64
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

import numpy as np
import PIL.Image

from visavis.core.image import DEFAULT_LIMITS, ImageLimits, read_image
from visavis.errors import DriverMissing, VisavisError
from visavis.evaluation.metrics import Curve
from visavis.evaluation.results import Failure, Match, PairEvaluation, SearchEvaluation, Shown
from visavis.evaluation.tables import Table, tables_of, title_of

if TYPE_CHECKING:
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


_SIDE = 112
_AROUND = 0.35  # of the box's size, on each side
_MOST_LISTED = 500

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>visavis evaluate</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-top: 1px solid #8886; padding-top: .75rem; }
p, li, caption { opacity: .75; }
p { margin: .25rem 0; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem 1.25rem .3rem 0; border-bottom: 1px solid #8883; vertical-align: top; }
th { font-weight: 600; }
thead th { font-size: .8rem; opacity: .75; }
td { overflow-wrap: break-word; min-width: 4rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; margin: 1rem 0; }
.plots svg { width: 100%; height: auto; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figure div { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem; }
img, .none { display: block; width: 100%; aspect-ratio: 1; border-radius: .4rem; background: #8883; }
figcaption { font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere; padding-top: .25rem; opacity: .85; }
figcaption b { display: block; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
"""
_TAIL = "</body>\n</html>\n"


def write_page(
    evaluation: PairEvaluation | SearchEvaluation,
    stream: TextIO,
    *,
    images: bool = True,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> None:
    """Write the page.

    Args:
        evaluation: to show.
        stream: for the page.
        images: whether to show the faces of the worst pairs, and not only their names.
        limits: on images.

    Raises:
        DriverMissing: Matplotlib is not installed.
    """
    plots = plots_of(evaluation)
    stream.write(_HEAD)
    stream.write(f"<h1>{_text(title_of(evaluation))}</h1>\n")
    stream.write("<p>Made by visavis evaluate.")
    stream.write(" It shows faces, which are personal data: pass it on with care.</p>\n" if images else "</p>\n")
    stream.writelines(_notes(evaluation.notes))
    stream.write('<div class="plots">\n' + "\n".join(plots) + "</div>\n")
    for table in tables_of(evaluation):
        stream.writelines(_table(table))
    for title, matches in _worst(evaluation):
        stream.writelines(_pairs(title, matches, limits if images else None))
    stream.writelines(_failures(evaluation.failures))
    stream.writelines(_list("Left out", evaluation.left_out))
    stream.write(_TAIL)


def _worst(evaluation: PairEvaluation | SearchEvaluation) -> tuple[tuple[str, Sequence[Match]], ...]:
    if isinstance(evaluation, PairEvaluation):
        return (
            ("The nearest strangers", evaluation.nearest_strangers),
            ("The farthest pairs of one person", evaluation.farthest_same),
        )
    return (
        ("Strangers, and who of the gallery is nearest", evaluation.nearest_strangers),
        ("Enrolled people to whom somebody else is nearest", evaluation.taken_for_others),
    )


def _text(text: str) -> str:
    """Return a text that can stand anywhere in the page; what cannot be printed is escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return html.escape(shown)


def _name(file: str) -> str:
    """Return a file's name that may go on in the next line where one would read on."""
    return _text(file).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        yield "<ul>\n" + "".join(f"<li>{_text(note)}</li>\n" for note in notes) + "</ul>\n"


def _table(table: Table) -> Iterator[str]:
    yield f'<section>\n<h2>{_text(table.title)}</h2>\n<div class="scroll"><table>\n'
    if any(table.columns):
        yield (
            "<thead><tr>" + "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns) + "</tr></thead>\n"
        )
    yield "<tbody>\n"
    for first, *others in table.rows:
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row">{_text(first)}</th>{cells}</tr>\n'
    yield "</tbody></table></div>\n"
    if table.remark:
        yield f"<p>{_text(table.remark)}</p>\n"
    yield "</section>\n"


def _pairs(title: str, matches: Sequence[Match], limits: ImageLimits | None) -> Iterator[str]:
    if not matches:
        return
    yield f'<section>\n<h2>{_text(title)}</h2>\n<div class="pairs">\n'
    for match in matches:
        both = (match.first, match.second)
        faces = "".join(_face(one, limits) for one in both) if limits is not None else ""
        names = "<br>".join(f"<bdi>{_name(one.file)}</bdi>" for one in both)
        yield f"<figure><div>{faces}</div><figcaption><b>{match.distance:.3f}</b>{names}</figcaption></figure>\n"
    yield "</div>\n</section>\n"


def _face(shown: Shown, limits: ImageLimits) -> str:
    try:
        data = base64.b64encode(thumbnail(shown, limits)).decode()
    except VisavisError:  # it was there a minute ago
        return '<span class="none"></span>'
    return f'<img src="data:image/jpeg;base64,{data}" alt="the face in {_text(shown.file)}" loading="lazy">'


def thumbnail(shown: Shown, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Return a small square JPEG of a face and what is around it; beyond the image's border is black.

    Raises:
        InputError: the image can no longer be read.
    """
    picture = read_image(shown.path, limits=limits)
    left, top, right, bottom = shown.box_xyxy.tolist()
    half = max(right - left, bottom - top) * (0.5 + _AROUND)
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    corners = np.round([*(middle - half), *(middle + half)]).astype(int).tolist()
    face = PIL.Image.fromarray(picture.pixels).crop(corners)
    buffer = io.BytesIO()
    face.resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _failures(failures: Sequence[Failure]) -> Iterator[str]:
    return _list("Images without an embedding", [f"{failure.message}" for failure in failures])


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield f"<section>\n<h2>{_text(title)}</h2>\n<ul>\n"
    yield from (f"<li><bdi>{_text(line)}</bdi></li>\n" for line in lines[:_MOST_LISTED])
    yield "</ul>\n" + (f"<p>and {len(lines) - _MOST_LISTED:,} more</p>\n" if len(lines) > _MOST_LISTED else "")
    yield "</section>\n"
