"""Standard output and error, exit codes, progress bars, and texts for people."""

import io
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeAlias

import typer

from visavis.cli.lazy import console, progress, table, tables
from visavis.errors import VisavisError

_FAILED = 2
_INTERRUPTED = 128 + 2  # what shells report for a program that SIGINT ended,
_PIPE_CLOSED = 128 + 13  # and SIGPIPE
# An option of the library in a message, which is another one here.
_LIMIT = re.compile(r"(?<=the limit )max_(bytes|pixels)(?= is)")
_log = logging.getLogger("visavis")


def printable(text: str) -> str:
    """Return a text on one line, with what would disturb a terminal or an encoding written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(message: str) -> None:
    """Write a line to standard error, wherever that leads at this moment; the exit code tells who cannot be told."""
    with suppress(OSError):
        sys.stderr.write(printable(_LIMIT.sub(r"--max-\1", message)) + "\n")
        sys.stderr.flush()


def results_stream() -> TextIO:
    """Return standard output; a file name that its encoding lacks is escaped there, and fails nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def write(text: str) -> None:
    """Write a line, or several, to standard output at once."""
    stream = results_stream()
    stream.write(text + "\n")
    stream.flush()


def error_to_dict(error: VisavisError) -> dict[str, str]:
    """Return an error as JSON has it."""
    return {"code": error.code, "message": str(error)}


@contextmanager
def reporting(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show the library's log, and turn every exception into one line and an exit code."""
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    with (
        _handled("visavis", _PlainLines(), level),
        _handled("PIL", logging.NullHandler(), logging.NOTSET),  # whether odd files can be read is said elsewhere
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
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
            if isinstance(error, VisavisError):
                described = str(error)
            elif isinstance(error, OSError) and error.strerror:
                described = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            else:
                described = f"unexpected {type(error).__name__}: {error}"
                described += "" if verbose else " (--verbose shows where)"
            say(f"visavis: {described}")
            if isinstance(error, OSError) and error.filename is None:
                _abandon_output()
            raise typer.Exit(_FAILED) from None


def _abandon_output() -> None:
    """Lead standard output nowhere, so that what is left in its buffer cannot fail once more at exit."""
    with Path(os.devnull).open("wb") as nowhere, suppress(io.UnsupportedOperation):  # a stand-in has no number
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _PlainLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def _handled(name: str, handler: logging.Handler, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


def _bars_wanted() -> bool:
    return _log.isEnabledFor(logging.INFO) and sys.stderr.isatty()


@contextmanager
def progress_bar(
    total: int | Callable[[], int], doing: str = "looking at images", then: str = "", *, unless: bool = False
) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal while the block runs, ``unless`` results go there, and give what advances it by one.

    Args:
        total: of what is done; or what computes it where there is a bar.
        doing: what is being done, in words.
        then: what is done afterwards, for a time that nobody knows; default nothing.
        unless: whether there is no bar.
    """
    if unless or not _bars_wanted():
        yield lambda: None
        return
    what, elapsed, left = (progress.TextColumn(text) for text in ("{task.description}", "elapsed", "left"))
    always = (what, progress.BarColumn(bar_width=16), progress.TimeElapsedColumn(), elapsed)
    with _bar(*always, progress.MofNCompleteColumn(), progress.TimeRemainingColumn(), left) as bar:
        task = bar.add_task(doing, total=total() if callable(total) else total)

        def advance() -> None:
            bar.advance(task)
            if then and bar.finished:
                bar.remove_task(task)
                bar.columns = always
                bar.add_task(then, total=None)

        yield advance


@contextmanager
def transfer_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each file that comes, and give the function that moves it: name, bytes there, bytes in all.

    It begins with the first bytes, so that a question may be asked before; and fits in 80 columns.
    """
    if not _bars_wanted():
        yield lambda _name, _there, _total: None
        return
    bar = _bar(
        progress.TextColumn("{task.description}", markup=False, table_column=table.Column(no_wrap=True, max_width=30)),
        progress.BarColumn(bar_width=10),
        progress.DownloadColumn(table_column=table.Column(no_wrap=True)),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )
    tasks: dict[str, progress.TaskID] = {}

    def move(name: str, there: int, total: int | None) -> None:
        bar.start()
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=there, total=total)

    try:
        yield move
    finally:
        bar.stop()


def _bar(*columns: "progress.ProgressColumn") -> "progress.Progress":
    return progress.Progress(*columns, console=console.Console(stderr=True), transient=True, redirect_stdout=False)


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


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, with columns as wide as their longest cell."""
    cells = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def table_text(shown: "tables.Table") -> str:
    """Return a table with its columns aligned, below its title."""
    rows = [row for row in (shown.columns, *shown.rows) if any(row)]
    lines = [*aligned(rows), *([printable(shown.remark)] if shown.remark else [])]
    return "\n".join([printable(shown.title), *(f"  {line}" for line in lines)])


def bytes_shown(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return "unknown"
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


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
