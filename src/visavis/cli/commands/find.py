"""``visavis find``: the photos that show a person."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.app import command
from visavis.cli.images import check_paths, find_sources
from visavis.cli.lazy import outputs, stores
from visavis.cli.options import All, Csv, Index, JsonLines, ModelOptions, Paths
from visavis.cli.terminal import progress_bar, results_stream
from visavis.options import Person, Recognition, options_of

if TYPE_CHECKING:
    from visavis.cli.outputs import Result

EXAMPLES = """\b
The first search looks at every photo, and keeps what it saw in .visavis-index in the folder of photos, or in --index
FILE: a file of yours that holds faces, embeddings and thumbnails. The next one looks at new and changed photos only, as
do detect, embed, identify, cluster and enrol --names there. To forget it, delete the file.

\b
Exit codes:
  0  some photos show the person
  1  none does
  2  could not tell: some faces are uncertain or some photos failed, and none shows the person; or nothing could be done

\b
Examples:
  visavis find me.jpg photos/
  visavis find --fmr balanced me.jpg photos/
  visavis find portraits-of-me/ photos/ --index ~/photos.visavis --csv > me.csv
  visavis find me.jpg photos/ --json | jq -r .file
"""
_log = logging.getLogger("visavis.cli")


@command(EXAMPLES)
def find(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="A photo of the person, or a folder of several.")],
    paths: Paths,
    *,
    all_: All = False,
    index: Index = None,
    how: Person,
    allow_children: Annotated[bool, options_of(Recognition)["allow_children"][1]] = False,
    as_json: JsonLines = False,
    as_csv: Csv = False,
    models: ModelOptions,
) -> int:
    """Find the photos that show a person.

    Prints for each such photo the box of the face (left, top, right and bottom in pixels), the decision, the distance
    to the mean of the photos of the person, and the probability that it is the same person. Unless --threshold or --fmr
    says otherwise, one of 10,000 strangers is taken for the person. A face whose distance says nothing is uncertain.
    """
    write_all = outputs.choose_format(as_json=as_json, as_csv=as_csv)
    check_paths([person, *paths])
    shown = [source.image for source in find_sources([person], models.max_bytes)]
    sources = find_sources(paths, models.max_bytes, all_=all_)
    kept = stores.index_file(index, paths, make=True)
    counts: Counter[str] = Counter()
    with (
        stores.open_index(kept, models, paths, len(sources), allow_children=allow_children) as photos,
        progress_bar(len(sources), unless=sys.stdout.isatty()) as advance,
    ):
        outcomes = photos.find(shown, (source.image for source in sources), **how)
        results = _near(outputs.follow(sources, outcomes, counts, advance), counts)
        write_all(results, results_stream(), outputs.SightingLayout())
    told = ", ".join(f"{what}: {counts[what]:,}" for what in ("images", "same", "uncertain", "failed"))
    _log.info("%s", told)
    return 0 if counts["same"] else 2 if counts["uncertain"] or counts["failed"] else 1


def _near(results: Iterable[Result], counts: Counter[str]) -> Iterator[Result]:
    """Yield the images on which the person is, or may be, with these faces alone; and those that failed."""
    for result in results:
        faces = [
            each
            for each in result.faces
            if each.decision != "different" and (each.reason is None or each.distance < each.threshold)
        ]
        counts.update(each.decision for each in faces[:1])
        if faces or result.error:
            yield replace(result, faces=type(result.faces)(faces, result.faces.searched_from_px))
