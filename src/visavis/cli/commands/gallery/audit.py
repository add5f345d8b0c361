"""``visavis gallery audit``: what should be mended, and how."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from visavis.cli.app import command
from visavis.cli.lazy import stores
from visavis.cli.options import GalleryName, Json, ModelOptions, ModelsDir, OwnPack, StoreOptions
from visavis.cli.terminal import counted, printable, write
from visavis.options import Option

if TYPE_CHECKING:
    from visavis import OpenGallery
    from visavis.service.results import AuditReport, LowQuality, Outlier, SubjectPair

_SHOWN = 20
EXAMPLES = """\b
What is looked for:
  duplicates   two subjects that are likely one person
  confusable   two subjects that the threshold does not tell apart
  outliers     samples that look unlike their subject's others
  low quality  samples that today's policy would refuse
  look alike   IDs that differ in case, blanks, or letters that look the same

\b
Look at the photos before you run a command that it prints. What is confusable needs more and better photos of both, or
a wider margin: visavis gallery policy NAME --margin 0.1.

\b
Exit codes:
  0  nothing was found
  1  something was found
  2  it could not be done: no such gallery, wrong usage or set-up
"""


@command(EXAMPLES)
def audit(
    gallery: GalleryName,
    *,
    all_: Annotated[bool, Option(f"Show all of each kind, where it would be {_SHOWN}.")] = False,
    as_json: Json = False,
    _pack: OwnPack = None,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> int:
    """Look for what should be mended in a gallery: everybody is compared with everybody, so a large one takes long."""
    models = ModelOptions(loading={"models_dir": models_dir})
    with stores.open_galleries(store, models) as galleries:
        opened = stores.open_with_its_pack(galleries, gallery, models)
        report = opened.audit()
        shown = None if all_ else _SHOWN
        write(json.dumps(report.to_dict(), indent=2) if as_json else _Words(opened).of(report, shown))
        found = (report.duplicates, report.confusable, report.outliers, report.low_quality, report.lookalikes)
        return int(any(found))


class _Words:
    """An audit in words, with where each sample comes from, so that its photo can be looked at."""

    def __init__(self, gallery: OpenGallery) -> None:
        self._gallery = gallery
        self._sources: dict[str, dict[int, str | None]] = {}

    def of(self, report: AuditReport, shown: int | None) -> str:
        kinds: list[tuple[str, str, Sequence[Any], Any]] = [
            ("duplicates", "likely one person: look at the photos", report.duplicates, self._duplicates),
            ("confusable", "nearer than the threshold", report.confusable, partial(map, self._pair)),
            ("outliers", "unlike their subject's other samples", report.outliers, self._outliers),
            ("low quality", "refused by today's policy", report.low_quality, self._low_quality),
            ("look alike", "merge those that are one person, rename the others", report.lookalikes, self._lookalikes),
        ]
        parts = [""]
        for title, meaning, found, words in kinds:
            rest = len(found) - len(found[:shown])
            more = [f"  ... and {rest:,} more: --all"] if rest else []
            if found:
                parts.append("\n".join([f"{title}: {len(found):,}, {meaning}", *words(found[:shown]), *more]))
        looked_at = f"{counted(report.samples, 'sample')} of {counted(report.subjects, 'subject')}"
        parts[0] = f"gallery {self._gallery.name}: {looked_at}" + (", nothing to mend" if len(parts) == 1 else "")
        return "\n\n".join(parts)

    def _duplicates(self, pairs: Sequence[SubjectPair]) -> Iterator[str]:
        """Yield each pair with the command that makes it one; those before it may have made a subject another."""
        became: dict[str, str] = {}

        def last(subject: str) -> str:
            while subject in became:
                subject = became[subject]
            return subject

        for pair in pairs:
            a, b = last(pair.a), last(pair.b)
            yield self._pair(pair)
            if a != b:
                became[b] = a
                yield self._mend("merge", b, a)

    def _outliers(self, outliers: Sequence[Outlier]) -> Iterator[str]:
        found = Counter(outlier.subject for outlier in outliers)
        for outlier in outliers:
            near = f", near {printable(outlier.nearest)}" if outlier.nearest else ""
            who = self._sample(outlier.subject, outlier.sample)
            yield f"  {who}: distance {outlier.distance:.4f}{near}"
            if found[outlier.subject] == len(self._sources[outlier.subject]):  # to forget them all forgets somebody
                yield "    -> no sample of this subject is like another: forget those alone that show somebody else"
            else:
                yield self._mend("forget", outlier.subject, str(outlier.sample))

    def _low_quality(self, samples: Sequence[LowQuality]) -> Iterator[str]:
        for low in samples:
            yield f"  {self._sample(low.subject, low.sample)}: {', '.join(low.reasons)}"
            yield self._mend("forget", low.subject, str(low.sample))

    def _lookalikes(self, groups: Sequence[Sequence[str]]) -> Iterator[str]:
        return (printable(f"  {' and '.join(map(repr, ids))}") for ids in groups)

    def _pair(self, pair: SubjectPair) -> str:
        a, b = (self._sample(*each) for each in zip((pair.a, pair.b), pair.samples, strict=True))
        return f"  {a} and {b}: distance {pair.distance:.4f}"

    def _sample(self, subject: str, sample: int) -> str:
        if subject not in self._sources:
            self._sources[subject] = {each.id: each.source for each in self._gallery.samples(subject)}
        source = self._sources[subject].get(sample)
        return printable(f"{subject} (sample {sample}{', ' + source if source else ''})")

    def _mend(self, verb: str, *what: str) -> str:
        return printable(f"    -> visavis gallery {shlex.join([verb, self._gallery.name, *what])}")
