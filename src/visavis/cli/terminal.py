"""Standard error and exit codes: messages, progress bars, titled facts, tables and counts."""

import io
import logging
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import typer

from visavis.errors import SetupError, VisavisError

if TYPE_CHECKING:
    from visavis.evaluation.tables import Table


_FAILED = 2
_INTERRUPTED = 128 + 2  # what shells report for a program that SIGINT ended,
_PIPE_CLOSED = 128 + 13  # and SIGPIPE


def printable(text: str) -> str:
    """Return a text on one line, with what would disturb a terminal or an encoding written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(message: str) -> None:
    """Write a line to standard error, wherever that leads at this moment; the exit code tells who cannot be told."""
    with suppress(OSError):
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()


def results_stream() -> TextIO:
    """Return standard output; a file name that its encoding lacks is escaped there, and fails nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


@contextmanager
def reporting(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show the library's log, and turn every exception into one line and an exit code."""
    with _log_shown(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO), _pillow_muted():
        try:
            yield
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            say("visavis: interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            _abandon_output()
            raise typer.Exit(_PIPE_CLOSED) from None
        except Exception as error:  # noqa: BLE001  # whatever it is, the user gets a line that helps
            if verbose:
                traceback.print_exc()
            say(f"visavis: {_description(error, verbose=verbose)}")
            if isinstance(error, OSError) and error.filename is None:
                _abandon_output()
            raise typer.Exit(_FAILED) from None


def _description(error: Exception, *, verbose: bool) -> str:
    if isinstance(error, VisavisError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    hint = "" if verbose else " (--verbose shows where)"
    return f"unexpected {type(error).__name__}: {error}{hint}"


def _abandon_output() -> None:
    """Lead standard output nowhere, so that what is left in its buffer cannot fail once more at exit."""
    with Path(os.devnull).open("wb") as nowhere, suppress(io.UnsupportedOperation):  # a stand-in has no number
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Lines(logging.Handler):
    """Shows log records as plain lines."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def _log_shown(level: int) -> Iterator[None]:
    logger, handler = logging.getLogger("visavis"), _Lines(say)
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


@contextmanager
def _pillow_muted() -> Iterator[None]:
    """Keep what Pillow says about odd files to itself: whether they can be read is said elsewhere."""
    logger, handler = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            yield
    finally:
        logger.removeHandler(handler)


_NAME_WIDTH, _BAR_WIDTH = 30, 10


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs, and give the function that advances it by one.

    Standard output is left alone: where it goes to the same terminal, do without the bar.
    """
    if not shown:
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415  # takes time and is rarely needed
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415  # likewise

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("images", total=total)
        yield lambda: bar.advance(task)


@contextmanager
def transfer_bar(*, shown: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each file that comes, and give the function that moves it: name, bytes there, bytes in all.

    It begins with the first bytes, so that a question may be asked before; and fits in 80 columns.
    """
    if not shown:
        yield lambda _name, _there, _total: None
        return
    from rich.console import Console  # noqa: PLC0415  # takes time and is rarely needed
    from rich.progress import (  # noqa: PLC0415  # likewise
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column  # noqa: PLC0415  # likewise

    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=_NAME_WIDTH))
    amount = DownloadColumn(table_column=Column(no_wrap=True))
    columns = (name, BarColumn(bar_width=_BAR_WIDTH), amount, TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def move(name: str, there: int, total: int | None) -> None:
        bar.start()
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=there, total=total)

    try:
        yield move
    finally:
        bar.stop()


FactValue: TypeAlias = str | int | float | bool | None
Facts: TypeAlias = Mapping[str, FactValue]
"""Names and values, ready for JSON."""


def readable(title: str, facts: Facts) -> str:
    """Return the title and below it a line for each fact, aligned."""
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {_value(value)}" for name, value in facts.items())])


def _value(value: FactValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None or value == "" else printable(str(value))


def bytes_shown(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return "unknown"
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def table_text(table: "Table") -> str:
    """Return a table with its columns aligned, below its title."""
    rows = [tuple(map(printable, row)) for row in (table.columns, *table.rows) if any(row)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    aligned = ["  " + "  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines]
    return "\n".join([printable(table.title), *aligned, *([f"  {printable(table.remark)}"] if table.remark else [])])


_ADVICE = {
    "no_face": "--min-face N looks for smaller ones",
    "multiple_faces": "--faces largest enrols the largest one",
    "too_small": "visavis gallery policy {gallery} --min-face-px N allows smaller ones",
    "blurred": "visavis gallery policy {gallery} --min-sharpness N allows more",
    "low_score": "visavis gallery policy {gallery} --min-score N allows more",
    "extreme_pose": "visavis gallery policy {gallery} --max-yaw N --max-pitch N allows more; 90 allows all",
    "not_live": "visavis gallery policy {gallery} --no-require-live enrols it all the same",
    "conflict": "--allow-conflict enrols it all the same",
    "consent_missing": "--consent TEXT notes what was agreed to",
}


@dataclass(slots=True)
class Tally:
    """Counts what became of each."""

    enrolled: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    _subjects: set[str] = field(default_factory=set)

    def count(self, subject: str | None, *, repeated: bool, code: str | None) -> None:
        """Count one: its subject, whether it was there already, and the code of the error that refused it."""
        if code is not None:
            self.refused[code] += 1
        elif repeated:
            self.repeated += 1
        else:
            self.enrolled += 1
            self._subjects.add(subject or "")

    def summary(self, gallery: str) -> str:
        """Return what is to be read at the end."""
        people = len(self._subjects)
        facts: dict[str, str | int] = {
            "enrolled": counted(self.enrolled, "sample") + (f" of {counted(people, 'subject')}" if people else ""),
            "already there": self.repeated,
            "refused": self.refused.total(),
        }
        for code, count in self.refused.most_common():
            advice = _ADVICE.get(code, "").format(gallery=gallery)
            facts[f"  {code}"] = f"{count:,}" + (f"  ({advice})" if advice else "")
        return readable(f"gallery {gallery}", facts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        about = {"enrolled": self.enrolled, "subjects": len(self._subjects), "already_there": self.repeated}
        return {**about, "refused": dict(self.refused)}

    def in_short(self) -> str:
        """Return the same in a line."""
        parts = [f"enrolled {counted(self.enrolled, 'sample')}", f"already there {self.repeated:,}"]
        return ", ".join([*parts, f"refused {self.refused.total():,}"])


@contextmanager
def staying(tally: Tally) -> Iterator[None]:
    """Say that what was enrolled stays, where the rest cannot follow."""
    try:
        yield
    except (KeyboardInterrupt, SetupError):
        if tally.enrolled or tally.repeated:
            say(f"visavis: {tally.in_short()}; that stays, and the same command goes on from there")
        raise


def counted(count: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def spans(numbers: Iterable[int]) -> str:
    """Return numbers in words: those that follow each other as a span, such as "1-4, 7"."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
