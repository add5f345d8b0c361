"""``visavis gallery audit``: what should be mended, and how."""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from visavis.cli.options import (
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    OwnPackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.stores import StoreOptions, open_galleries, open_with_its_pack
from visavis.cli.terminal import counted, printable, reporting, results_stream

if TYPE_CHECKING:
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import AuditReport, LowQuality, Outlier, SubjectPair

_SHOWN = 20
_Finding = TypeVar("_Finding")
EXAMPLES = """\b
What is looked for:
  duplicates   two subjects that are likely one person
  confusable   two subjects that the threshold does not tell apart
  outliers     samples that look unlike their subject's others
  low quality  samples that today's policy would refuse

\b
Look at the photos before you run a command that it prints. What is confusable needs more and better photos of both, or
a wider margin: visavis gallery policy NAME --margin 0.1.

\b
Exit codes:
  0  nothing was found
  1  something was found
  2  it could not be done: no such gallery, wrong usage or set-up
"""


def audit(  # noqa: PLR0913  # a command's options are independent
    gallery: GalleryArgument,
    *,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show all of each kind, where it would be {_SHOWN}.")
    ] = False,
    as_json: WholeJsonOption = False,
    pack: OwnPackOption = None,  # noqa: ARG001  # scripts may name one, as other commands want
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Look for what should be mended in a gallery: everybody is compared with everybody, so a large one takes long."""
    models = ModelOptions(models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        opened = open_with_its_pack(galleries, gallery, models)
        report = opened.audit()
        limit = None if show_all else _SHOWN
        stream = results_stream()
        words = json.dumps(report.to_dict(), indent=2) if as_json else _Words(opened, limit).of(report)
        stream.write(words + "\n")
        stream.flush()
        if report.duplicates or report.confusable or report.outliers or report.low_quality:
            raise typer.Exit(1)


class _Words:
    """An audit in words, with where each sample comes from, so that its photo can be looked at."""

    def __init__(self, gallery: "OpenGallery", shown: int | None) -> None:
        self._gallery = gallery
        self._shown = shown
        self._sources: dict[str, dict[int, str | None]] = {}

    def of(self, report: "AuditReport") -> str:
        """Return the whole report."""
        looked_at = f"{counted(report.samples, 'sample')} of {counted(report.subjects, 'subject')}"
        parts = [
            self._section("likely one person: look at the photos", "duplicates", report.duplicates, self._duplicates),
            self._section("nearer than the threshold", "confusable", report.confusable, self._pairs),
            self._section("unlike their subject's other samples", "outliers", report.outliers, self._outliers),
            self._section("refused by today's policy", "low quality", report.low_quality, self._low_quality),
        ]
        found = [part for part in parts if part]
        return "\n\n".join(
            [f"gallery {self._gallery.name}: {looked_at}" + ("" if found else ", nothing to mend"), *found]
        )

    def _section(
        self, meaning: str, title: str, found: Sequence[_Finding], words: Callable[[Sequence[_Finding]], Iterable[str]]
    ) -> str:
        shown = found[: self._shown]
        rest = len(found) - len(shown)
        more = [f"  ... and {rest:,} more: --all"] if rest else []
        return "\n".join([f"{title}: {len(found):,}, {meaning}", *words(shown), *more]) if found else ""

    def _pairs(self, pairs: "Sequence[SubjectPair]") -> Iterator[str]:
        return map(self._pair, pairs)

    def _duplicates(self, pairs: "Sequence[SubjectPair]") -> Iterator[str]:
        """Yield each pair with the command that makes it one; those before it may have made a subject another."""
        became: dict[str, str] = {}
        for pair in pairs:
            a, b = (_last(id_, became) for id_ in (pair.a, pair.b))
            if a == b:
                yield self._pair(pair)
                continue
            became[b] = a
            yield f"{self._pair(pair)}\n{self._mend('merge', b, a)}"

    def _outliers(self, outliers: "Sequence[Outlier]") -> Iterator[str]:
        found = Counter(outlier.subject for outlier in outliers)
        for outlier in outliers:
            near = f", near {printable(outlier.nearest)}" if outlier.nearest else ""
            who = self._sample(outlier.subject, outlier.sample)
            if found[outlier.subject] == len(
                self._sources[outlier.subject]
            ):  # to forget them all is to forget somebody
                mend = "    -> no sample of this subject is like another: forget those alone that show somebody else"
            else:
                mend = self._mend("forget", outlier.subject, str(outlier.sample))
            yield f"  {who}: distance {outlier.distance:.4f}{near}\n{mend}"

    def _low_quality(self, samples: "Sequence[LowQuality]") -> Iterator[str]:
        for low in samples:
            mend = self._mend("forget", low.subject, str(low.sample))
            yield f"  {self._sample(low.subject, low.sample)}: {', '.join(low.reasons)}\n{mend}"

    def _pair(self, pair: "SubjectPair") -> str:
        a, b = (self._sample(*each) for each in zip((pair.a, pair.b), pair.samples, strict=True))
        return f"  {a} and {b}: distance {pair.distance:.4f}"

    def _sample(self, subject: str, sample: int) -> str:
        if subject not in self._sources:
            self._sources[subject] = {each.id: each.source for each in self._gallery.samples(subject)}
        source = self._sources[subject].get(sample)
        return printable(f"{subject} (sample {sample}{', ' + source if source else ''})")

    def _mend(self, verb: str, *what: str) -> str:
        return printable(f"    -> visavis gallery {shlex.join([verb, self._gallery.name, *what])}")


def _last(subject: str, became: Mapping[str, str]) -> str:
    """Return what a subject is once all is merged."""
    while subject in became:
        subject = became[subject]
    return subject
