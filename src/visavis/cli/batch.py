"""From a list of paths to results: what ``visavis detect`` and ``visavis embed`` have in common."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from visavis.cli.inputs import Source, find_sources
from visavis.cli.messages import say
from visavis.cli.options import ModelOptions
from visavis.cli.output import Result, Write, open_output, write_text
from visavis.cli.progress import progress_bar
from visavis.cli.telling import Content
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis import Face, ImageLimits
    from visavis.types import Attribute

_log = logging.getLogger("visavis.cli")


@dataclass(frozen=True, slots=True)
class Task:
    """What a command was asked to do."""

    paths: list[str]
    faces: Literal["all", "largest", "only"]
    write: Write
    output: Path | None
    draw: Path | None
    embed: bool
    quiet: bool
    quality: bool
    attributes: "tuple[Attribute, ...]"


def process(task: Task, options: ModelOptions) -> None:
    """Take every image from its path to its place in the results; only an .npz is gathered in memory.

    Raises:
        typer.Exit: with code 1, when some images failed.
        VisavisError: nothing could be done.
    """
    sources = find_sources(task.paths, options.max_bytes, except_in=task.draw)
    complete = _drawing(task.draw, sources, options.limits()) if task.draw else _as_found
    tally: Counter[str] = Counter()
    with open_output(task.output) as stream, progress_bar(len(sources), shown=_bar_wanted(task)) as advance:
        recognizer = options.load()
        find = recognizer.embed_many if task.embed else recognizer.detect_many
        images = (source.image for source in sources)
        outcomes = find(images, faces=task.faces, quality=task.quality, attributes=task.attributes)
        results = map(complete, sources, outcomes)
        content = Content(recognizer.pack.dimension if task.embed else 0, task.quality, task.attributes)
        task.write(_watched(results, tally, advance), stream, content)
    _summarise(task, tally)
    if tally["failed"]:
        raise typer.Exit(1)


def _bar_wanted(task: Task) -> bool:
    """Tell whether there is a terminal for the bar; one that shows the results already shows progress."""
    return not task.quiet and sys.stderr.isatty() and (task.output is not None or not sys.stdout.isatty())


def _as_found(source: Source, outcome: "tuple[Face, ...] | VisavisError") -> Result:
    if isinstance(outcome, VisavisError):
        return Result(source.name, error=outcome)
    return Result(source.name, outcome)


def _drawing(
    folder: Path, sources: list[Source], limits: "ImageLimits"
) -> "Callable[[Source, tuple[Face, ...] | VisavisError], Result]":
    """Return what makes the result of an image, and its drawing, in the order of the sources."""
    from visavis.cli.draw import draw_image, plan_targets  # noqa: PLC0415  # brings Pillow

    targets = iter(plan_targets(sources, folder))
    folder.mkdir(parents=True, exist_ok=True)

    def complete(source: Source, outcome: "tuple[Face, ...] | VisavisError") -> Result:
        target = next(targets)
        if not isinstance(outcome, VisavisError):
            try:
                draw_image(source, outcome, target, limits)
            except VisavisError as error:  # it can no longer be read
                outcome = error
        return _as_found(source, outcome)

    return complete


def _watched(results: Iterable[Result], tally: Counter[str], advance: Callable[[], None]) -> Iterator[Result]:
    """Pass results on; count them, and name those that failed."""
    for result in results:
        tally.update(images=1, faces=len(result.faces), failed=result.error is not None)
        if result.error is not None:
            say(f"visavis: {result.error}")
        yield result
        advance()


def _summarise(task: Task, tally: Counter[str]) -> None:
    if task.output or task.draw:
        where = " and ".join(str(place) for place in (task.output, task.draw) if place)
        _log.info("images: %d, faces: %d, failed: %d; see %s", tally["images"], tally["faces"], tally["failed"], where)
    if task.embed and task.write is write_text:
        _log.info("(for whole embeddings: --json, --csv or -o faces.npz)")
