"""``visavis identify``: who is on these photos?"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.commands.faces import CsvOption, FacesOption, JsonOption, PathsArgument
from visavis.cli.files import Source, find_sources
from visavis.cli.options import (
    DEFAULT_GALLERY,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MIN_FACE,
    DEFAULT_PACK,
    DEFAULT_STORE,
    CacheDirOption,
    FmrOption,
    GalleryOption,
    KeyFileOption,
    MaxBytesOption,
    MaxPixelsOption,
    MinFaceOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    PrecisionOption,
    QuietOption,
    RequireLiveOption,
    RuntimeOption,
    StoreOption,
    ThreadsOption,
    VerboseOption,
    rate_of,
)
from visavis.cli.outputs import Identities, choose_identities_format
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery
from visavis.cli.terminal import progress_bar, reporting, results_stream, say
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis.options import Rate
    from visavis.service.gallery import OpenGallery

EXAMPLES = """\b
Unknown faces come with the reason:
  below_threshold  nobody enrolled is near enough
  low_margin       two subjects are about as near; they may be one person: visavis gallery audit
  low_quality      the face is too small or too blurred for the gallery's policy
  not_live         it looks like a print or a screen, and --require-live or the policy wants live faces
  empty_gallery    nobody is enrolled

\b
Exit codes:
  0  all images were looked at, whether they show anybody known or not
  1  some images failed; each is named on standard error and in the results
  2  nothing could be done: wrong usage or set-up, no such gallery, no image found

\b
Examples:
  visavis identify party.jpg
  visavis identify photos/ --gallery staff --csv > who.csv
  visavis identify --fmr strict --gallery staff door.jpg
  visavis identify --faces largest --json door.jpg | jq -r '.faces[0].match.subject'
"""


def identify(  # noqa: PLR0913  # a command's options are independent
    paths: PathsArgument,
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    faces: FacesOption = "all",
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, max=1000, help="How many candidates --json gives for each face."),
    ] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            show_default="the gallery's own",
            help="Subjects nearer than this are identified.",
        ),
    ] = None,
    fmr: FmrOption = None,
    require_live: RequireLiveOption = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
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
    """Tell who is on images: for each face the subject of the gallery that it is, or why it is nobody.

    Prints for each face its box (left, top, right and bottom in pixels), the subject, the distance to its nearest
    sample, the probability that both are the same person, if both answers were equally likely beforehand, and by how
    much the next subject is farther away.

    The rate of --fmr is that of a single comparison: among N subjects about N times as many strangers are taken for
    somebody.
    """
    models = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        write = choose_identities_format(as_json=as_json, as_csv=as_csv)
        sources = find_sources(paths, max_bytes)
        # In words and as CSV there is the nearest subject and the next one.
        how = _How(faces, limit if as_json else 2, threshold, rate_of(fmr), require_live)
        show_bar = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
        tally: Counter[str] = Counter()
        with (
            open_galleries(StoreOptions(store, key_file), models, images=len(sources)) as galleries,
            progress_bar(len(sources), shown=show_bar) as advance,
        ):
            results = _identities(open_gallery(galleries, gallery), sources, how)
            write(_watched(results, tally, advance), results_stream())
        if tally["failed"]:
            raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _How:
    faces: Literal["all", "largest", "only"]
    limit: int
    threshold: float | None
    fmr: "Rate | None"
    require_live: bool


def _identities(gallery: "OpenGallery", sources: Sequence[Source], how: _How) -> Iterator[Identities]:
    images = (source.image for source in sources)
    outcomes = gallery.identify_many(
        images,
        faces=how.faces,
        limit=how.limit,
        threshold=how.threshold,
        fmr=how.fmr,
        require_live=how.require_live,
    )
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, VisavisError):
            yield Identities(source.name, error=outcome)
        else:
            yield Identities(source.name, outcome)


def _watched(results: Iterator[Identities], tally: Counter[str], advance: Callable[[], None]) -> Iterator[Identities]:
    """Pass results on; count them, and name those that failed."""
    for result in results:
        tally.update(failed=result.error is not None)
        if result.error is not None:
            say(f"visavis: {result.error}")
        yield result
        advance()
