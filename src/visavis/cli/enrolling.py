"""The work of ``visavis enrol``: into a gallery with all portraits, and tell what became of each."""

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from visavis.cli.messages import results_stream, say
from visavis.cli.options import ModelOptions
from visavis.cli.output import open_output
from visavis.cli.people import Portrait
from visavis.cli.photos import How, Result, enrol_portraits
from visavis.cli.progress import progress_bar
from visavis.cli.stores import StoreOptions, make_gallery, open_galleries
from visavis.cli.tally import Tally, staying
from visavis.errors import GalleryNotFound, InvalidOption

if TYPE_CHECKING:
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery

_COLUMNS = ("file", "subject", "outcome", "sample", "error", "message")
_log = logging.getLogger("visavis.cli")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked to do."""

    gallery: str
    store: StoreOptions
    models: ModelOptions
    how: How
    keep: Literal["nothing", "chips", "images"] | None
    report: Path | None
    as_json: bool
    quiet: bool


def enrol_all(portraits: list[Portrait], request: Request) -> Tally:
    """Enrol, telling of each image as it goes and of all at the end.

    Raises:
        VisavisError: nothing could be done, or the store failed on the way; what was enrolled stays.
    """
    tally = Tally()
    with (
        _report(request.report) as write,
        open_galleries(request.store, request.models, images=len(portraits)) as galleries,
    ):
        gallery = _open_or_make(galleries, request)
        with staying(tally), progress_bar(len(portraits), shown=_bar_wanted(request)) as advance:
            for result in enrol_portraits(portraits, gallery, request.how):
                tally.count(result.subject, repeated=result.repeated, code=result.error and result.error[0])
                _tell(result, as_json=request.as_json)
                write(result)
                advance()
    if request.as_json:
        _log.info("%s", tally.in_short())
    else:
        stream = results_stream()
        stream.write(tally.summary(request.gallery) + "\n")
        stream.flush()
    return tally


def _bar_wanted(request: Request) -> bool:
    return not request.quiet and sys.stderr.isatty() and not (request.as_json and sys.stdout.isatty())


def _open_or_make(galleries: "Galleries", request: Request) -> "OpenGallery":
    from visavis.galleries.records import Policy  # noqa: PLC0415  # brings NumPy

    try:
        gallery = galleries.open(request.gallery)
    except GalleryNotFound:
        return make_gallery(galleries, request.gallery, Policy(keep=request.keep or "nothing"))
    kept = gallery.record.policy.keep
    if request.keep not in (None, kept):
        change = f"visavis gallery policy {request.gallery} --keep {request.keep}"
        raise InvalidOption(f"the gallery {request.gallery!r} keeps {kept}; to change that: {change}")
    return gallery


def _tell(result: Result, *, as_json: bool) -> None:
    if result.error is not None:
        say(f"visavis: {result.file}: {result.error[1]}")
    elif result.conflict is not None:
        say(f"visavis: {result.file}: enrolled as {result.subject}, though it looks like {result.conflict}")
    if as_json:
        stream = results_stream()
        stream.write(json.dumps(result.to_dict()) + "\n")
        stream.flush()


@contextmanager
def _report(path: Path | None) -> Iterator[Callable[[Result], None]]:
    """Give what adds a result to the report, which appears when it is whole."""
    if path is None:
        yield lambda _result: None
        return
    with open_output(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        yield lambda result: writer.writerow(_row(result))


def _row(result: Result) -> tuple[str | int | None, ...]:
    outcome = "refused" if result.error else "already there" if result.repeated else "enrolled"
    return result.file, result.subject, outcome, result.sample, *(result.error or ("", ""))
