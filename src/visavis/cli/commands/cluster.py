"""``visavis cluster``: the unknown faces of many images, in groups."""

import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.commands.faces import PathsArgument
from visavis.cli.files import find_sources
from visavis.cli.options import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MIN_FACE,
    DEFAULT_PACK,
    CacheDirOption,
    MaxBytesOption,
    MaxPixelsOption,
    MinFaceOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    PrecisionOption,
    QuietOption,
    RuntimeOption,
    ThreadsOption,
    VerboseOption,
)
from visavis.cli.outputs import Groups, open_output, write_groups_json_lines, write_groups_text
from visavis.cli.terminal import counted, progress_bar, reporting, results_stream
from visavis.errors import InvalidOption

EXAMPLES = """\b
Takes SciPy: pip install 'visavis[cluster]'

\b
Exit codes:
  0  all images were looked at, whether they show faces or not
  1  some images failed; each is named on standard error and in the results
  2  nothing could be done: wrong usage or set-up, no image found

\b
Examples:
  visavis cluster photos/ -o people.html
  visavis cluster photos/ --min-size 5
  visavis cluster photos/ --json | jq -r 'select(.group == 1).file'
"""

_PAGE_SUFFIXES = (".html", ".htm")
_log = logging.getLogger("visavis.cli")


def cluster(  # noqa: PLR0913  # a command's options are independent
    paths: PathsArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="Write a page that shows the faces of each group."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: an object for each face.")] = False,
    min_size: Annotated[
        int,
        typer.Option(
            "--min-size", metavar="N", min=1, help="Faces that make a group; those of smaller ones are in none."
        ),
    ] = 2,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            show_default="the pack's own",
            help="Faces nearer than this, on average, are one person: less for purer groups, more for fewer.",
        ),
    ] = None,
    any_quality: Annotated[
        bool, typer.Option("--any-quality", help="Group small and blurred faces too, which resemble each other.")
    ] = False,
    min_face: MinFaceOption = DEFAULT_MIN_FACE,
    max_bytes: MaxBytesOption = DEFAULT_MAX_BYTES,
    max_pixels: MaxPixelsOption = DEFAULT_MAX_PIXELS,
    pack: PackOption = DEFAULT_PACK,
    runtime: RuntimeOption = "openvino",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    cache_dir: CacheDirOption = None,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Group the faces of images into people, without knowing anybody.

    Prints for each group, the largest first, its faces: the image and the box (left, top, right and bottom in pixels).
    With -o, writes a page that shows them instead. Two faces of one image are taken for two people.
    """
    options = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.cli.commands.grouping import Grouping, group_faces_of  # noqa: PLC0415  # brings what sees and groups

        if output is not None and output.suffix.lower() not in _PAGE_SUFFIXES:
            raise InvalidOption(f"--output {output}: a page is written, and its suffix is .html")
        grouping = Grouping(options, threshold, min_size, any_quality=any_quality, thumbnails=output is not None)
        sources = find_sources(paths, max_bytes)
        with open_output(output) if output else nullcontext() as page:
            with progress_bar(len(sources), shown=not quiet and sys.stderr.isatty()) as advance:
                groups = group_faces_of(sources, grouping, advance)
            if page is not None:
                from visavis.cli.drawing import write_contact_sheet  # noqa: PLC0415  # brings Pillow

                write_contact_sheet(groups, len(sources), page)
        if as_json or output is None:
            (write_groups_json_lines if as_json else write_groups_text)(groups, results_stream())
        _log.info("%s", _summary(groups, len(sources), output))
        if groups.failed:
            raise typer.Exit(1)


def _summary(groups: Groups, images: int, output: Path | None) -> str:
    grouped = sum(map(len, groups.people))
    parts = [
        f"images: {images:,}",
        f"groups: {len(groups.people):,} of {counted(grouped, 'face')}",
        f"ungrouped: {len(groups.ungrouped):,}",
        f"left out: {len(groups.left_out):,}",
        f"failed: {len(groups.failed):,}",
    ]
    return ", ".join(parts) + (f"; see {output}" if output else "")
