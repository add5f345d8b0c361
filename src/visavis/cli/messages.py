"""Standard output is for results; here is what goes to standard error, and how a command ends."""

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import typer

from visavis.errors import VisavisError

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
