"""HTML report of an evaluation, with plots as SVG: one file without scripts or external resources."""

import base64
import html
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
import PIL.Image

from visavis.core.image import DEFAULT_LIMITS, ImageLimits, read_image
from visavis.errors import DriverMissing, VisavisError
from visavis.evaluation.metrics import Curve
from visavis.evaluation.results import PairEvaluation, SearchEvaluation, ShownFace, ShownPair
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
_SIDE = 112  # pixels of a thumbnail
_AROUND = 0.35  # of the box's size, on each side
_MOST_LISTED = 500


def check_installed() -> None:
    """Raise DriverMissing unless Matplotlib is installed."""
    try:
        import_module("matplotlib")  # an extra
    except ImportError as error:
        raise DriverMissing(
            "an HTML report has plots, which need Matplotlib: pip install 'visavis[evaluate]'; "
            "a report in JSON (-o report.json) does without"
        ) from error


def plots_of(evaluation: PairEvaluation | SearchEvaluation) -> tuple[str, ...]:
    """Return the plots, each an SVG element, ROC, DET and the distances; or raise DriverMissing."""
    check_installed()
    mpl, figures = import_module("matplotlib"), import_module("matplotlib.figure")
    drawn = []
    has_curve = evaluation.curve is not None and not np.isnan(evaluation.curve.fnmr).all()
    for name in ("ROC", "DET", "Distances") if has_curve else ("Distances",):
        # The salt keeps the IDs of several plots on one page apart, and the same for the same plot.
        with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
            figure = figures.Figure(figsize=_SIZE, layout="constrained")
            axes = figure.add_subplot()
            if evaluation.curve is not None and name != "Distances":
                _draw_curve(axes, evaluation, evaluation.curve, name)
            else:
                _draw_distances(axes, evaluation)
            axes.set_title(name)
            axes.legend(frameon=False)
            buffer = io.StringIO()
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
        drawn.append(re.sub(r'width="[^"]*" height="[^"]*"|height="[^"]*" width="[^"]*"', 'role="img"', svg, count=1))
    return tuple(drawn)


def _draw_curve(axes: "Axes", evaluation: PairEvaluation | SearchEvaluation, curve: Curve, name: str) -> None:
    if isinstance(evaluation, PairEvaluation):
        labels, trials = ("FMR", "FNMR"), (evaluation.impostor, evaluation.genuine)
        rates = (evaluation.compared.fmr.value, evaluation.compared.fnmr.value)
    else:
        own, others = evaluation.without_face
        labels, trials = ("FPIR", "FNIR"), (evaluation.strangers - others, evaluation.mated - own)
        fpir = evaluation.compared.fpir
        rates = (math.nan if fpir is None else fpir.value, evaluation.compared.fnir.value)
    least, fewest = (0.5 / max(1, count) for count in trials)  # so that no error has a place on a logarithmic axis
    if name == "ROC":
        y, at_threshold = 1 - curve.fnmr, 1 - rates[1]
        without_errors = float(y[curve.fmr == 0].max(initial=0.0))
        lowest = max(0.0, 1 - max(0.05, 2 * (1 - without_errors)))
        axes.set(ylim=(lowest, 1.005), ylabel=f"1 - {labels[1]}")
    else:
        y, at_threshold = np.maximum(curve.fnmr, fewest), max(rates[1], fewest)
        axes.set(yscale="log", ylim=(fewest, 1), ylabel=labels[1])
    axes.plot(np.maximum(curve.fmr, least), y, color=_CURVE, drawstyle="steps-post")
    axes.plot(max(rates[0], least), at_threshold, "o", color=_THRESHOLD, label="at the threshold")
    axes.set(xscale="log", xlim=(least, 1), xlabel=labels[0])


def _draw_distances(axes: "Axes", evaluation: PairEvaluation | SearchEvaluation) -> None:
    is_pairs = isinstance(evaluation, PairEvaluation)
    names = ("one person", "strangers") if is_pairs else ("the right person", "a stranger's nearest")
    counts = (evaluation.histogram.genuine, evaluation.histogram.impostor)
    for name, count, colour in zip(names, counts, (_OWN, _STRANGERS), strict=True):
        shares = count / max(1, count.sum())
        axes.stairs(shares, evaluation.histogram.edges, fill=True, alpha=0.55, color=colour, label=name)
    axes.margins(y=0.3)  # room for the legend
    axes.axvline(evaluation.compared.threshold, color=_THRESHOLD, linestyle="--", label="threshold")
    axes.set(xlabel="distance", ylabel="share of each kind")


def write_page(
    evaluation: PairEvaluation | SearchEvaluation,
    stream: TextIO,
    *,
    images: bool = True,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> None:
    """Write the page, with the faces of the worst pairs, or only their names; or raise DriverMissing."""
    plots = plots_of(evaluation)
    warning = " It shows faces, which are personal data: pass it on with care." if images else ""
    head, tail = Path(__file__).with_suffix(".html").read_text(encoding="utf-8").split("<!-- content -->\n")
    stream.write(f"{head}<h1>{_text(title_of(evaluation))}</h1>\n<p>Made by visavis evaluate.{warning}</p>\n")
    if evaluation.notes:
        stream.writelines(["<ul>\n", *(f"<li>{_text(note)}</li>\n" for note in evaluation.notes), "</ul>\n"])
    stream.write('<div class="plots">\n' + "\n".join(plots) + "</div>\n")
    for table in tables_of(evaluation):
        stream.writelines(_section(table.title, _table(table)))
    if isinstance(evaluation, PairEvaluation):
        titles, others = ("The nearest strangers", "The farthest pairs of one person"), evaluation.farthest_same
    else:
        titles = "Strangers, and who of the gallery is nearest", "Enrolled people to whom somebody else is nearest"
        others = evaluation.taken_for_others
    for title, pairs in zip(titles, (evaluation.nearest_strangers, others), strict=True):
        if pairs:
            stream.writelines(_section(title, _pairs(pairs, limits if images else None)))
    failures = [failure.message for failure in evaluation.failures]
    for title, lines in (("Images without an embedding", failures), ("Left out", evaluation.left_out)):
        if lines:
            items = [f"<li><bdi>{_text(line)}</bdi></li>\n" for line in lines[:_MOST_LISTED]]
            rest = len(lines) - _MOST_LISTED
            more = f"<p>and {rest:,} more</p>\n" if rest > 0 else ""
            stream.writelines(_section(title, ["<ul>\n", *items, f"</ul>\n{more}"]))
    stream.write(tail)


def _section(title: str, content: Iterable[str]) -> Iterator[str]:
    yield f"<section>\n<h2>{_text(title)}</h2>\n"
    yield from content
    yield "</section>\n"


def _table(table: Table) -> Iterator[str]:
    yield '<div class="scroll"><table>\n'
    if any(table.columns):
        cells = "".join(f'<th scope="col">{_text(name)}</th>' for name in table.columns)
        yield f"<thead><tr>{cells}</tr></thead>\n"
    yield "<tbody>\n"
    for first, *others in table.rows:
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row">{_text(first)}</th>{cells}</tr>\n'
    yield "</tbody></table></div>\n"
    if table.remark:
        yield f"<p>{_text(table.remark)}</p>\n"


def _pairs(pairs: Sequence[ShownPair], limits: ImageLimits | None) -> Iterator[str]:
    yield '<div class="pairs">\n'
    for pair in pairs:
        both = (pair.first, pair.second)
        faces = "".join(_face(one, limits) for one in both) if limits is not None else ""
        # A file's name may go on in the next line where one would read on.
        names = (_text(one.file).replace("/", "/<wbr>").replace("_", "_<wbr>") for one in both)
        caption = f"<b>{pair.distance:.3f}</b>" + "<br>".join(f"<bdi>{name}</bdi>" for name in names)
        yield f"<figure><div>{faces}</div><figcaption>{caption}</figcaption></figure>\n"
    yield "</div>\n"


def _face(shown: ShownFace, limits: ImageLimits) -> str:
    try:
        data = base64.b64encode(thumbnail(shown, limits)).decode()
    except VisavisError:  # it was there a minute ago
        return '<span class="none"></span>'
    return f'<img src="data:image/jpeg;base64,{data}" alt="the face in {_text(shown.file)}" loading="lazy">'


def thumbnail(shown: ShownFace, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Return a small square JPEG of a face, black beyond the image's border; InputError where it cannot be read."""
    picture = read_image(shown.path, limits=limits)
    left, top, right, bottom = shown.box_xyxy.tolist()
    half = max(right - left, bottom - top) * (0.5 + _AROUND)
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    corners = np.round([*(middle - half), *(middle + half)]).astype(int).tolist()
    face = PIL.Image.fromarray(picture.pixels).crop(corners)
    buffer = io.BytesIO()
    face.resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _text(text: str) -> str:
    """Return a text that can stand anywhere in the page; what cannot be printed is escaped."""
    return html.escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))
