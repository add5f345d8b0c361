"""``visavis detect`` and ``visavis embed``: the faces of many images."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.files import Source, find_sources
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
from visavis.cli.outputs import Content, Result, Write, attributes_of, choose_format, open_output, write_text
from visavis.cli.terminal import progress_bar, reporting, say
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis import Face, ImageLimits
    from visavis.options import Attribute


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
    from visavis.cli.drawing import draw_image, plan_targets  # noqa: PLC0415  # brings Pillow

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


_EXIT_CODES = """\b
Exit codes:
  0  all images were processed, whether they show faces or not
  1  some images failed; each is named on standard error and in the results
  2  nothing could be done: wrong usage or set-up, no image found

\b
Examples:
"""
DETECT_EXAMPLES = f"""{_EXIT_CODES}\
  visavis detect photo.jpg
  visavis detect photos/ --draw drawn/
  visavis detect photos/ --min-face 20 --csv > faces.csv
  visavis detect --json a.jpg b.png | jq '.faces | length'
  visavis detect --pack open --attributes liveness,pose --quality selfie.jpg
"""
EMBED_EXAMPLES = f"""{_EXIT_CODES}\
  visavis embed photos/ -o faces.npz
  visavis embed --faces only --json portraits/
  curl -s https://example.com/a.jpg | visavis embed - --json

\b
Arrays in an .npz (numpy.load reads it without pickle):
  files, errors                        one entry per image; errors holds codes, empty where all went well
  face_file                            one entry per face, as are the following: its image, an index into files
  box_xyxy, score, landmarks           the face in its image
  embeddings                           the numbers to compare
  quality_..., liveness, yaw, pitch, roll, age, gender, gender_probability
                                       where --quality and --attributes ask for them
"""

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Image files; folders, searched with all they contain for files with the suffix of an image; "
        "or - for an image from standard input.",
    ),
]
FacesOption = Annotated[
    Literal["all", "largest", "only"],
    typer.Option(
        "--faces", help="Faces wanted of an image: all, the largest, or the only one, several and none being an error."
    ),
]
QualityOption = Annotated[
    bool, typer.Option("--quality", help="Also tell how well the image shows each face: its size, sharpness and turn.")
]
AttributesOption = Annotated[
    str,
    typer.Option(
        "--attributes",
        metavar="LIST",
        show_default="none",
        help="Also tell of each face what the list names: liveness, pose, age, gender; each takes a network more. "
        "Needs a pack that can, such as open.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON Lines: an object for each image.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV: a row for each face.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to a file, in the format of its suffix: .json, .jsonl, .csv or .npz. It appears when it is whole.",
    ),
]


def detect(  # noqa: PLR0913  # a command's options are independent
    paths: PathsArgument,
    *,
    faces: FacesOption = "all",
    quality: QualityOption = False,
    attributes: AttributesOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write each image there with boxes and landmarks drawn on it."),
    ] = None,
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
    """Find faces in images.

    Prints for each image how many faces it shows, and for each face, largest first, its box (left, top, right and
    bottom in pixels) and the detector's score.
    """
    options = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        write = choose_format(output, as_json=as_json, as_csv=as_csv)
        wanted = attributes_of(attributes)
        task = Task(paths, faces, write, output, draw, embed=False, quiet=quiet, quality=quality, attributes=wanted)
        process(task, options)


def embed(  # noqa: PLR0913  # likewise
    paths: PathsArgument,
    *,
    faces: FacesOption = "all",
    quality: QualityOption = False,
    attributes: AttributesOption = "",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    output: OutputOption = None,
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
    """Find faces in images and turn each into an embedding: numbers whose distance tells persons apart.

    An embedding is personal data: whoever has it can recognise the person.
    """
    options = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        write = choose_format(output, as_json=as_json, as_csv=as_csv)
        wanted = attributes_of(attributes)
        task = Task(paths, faces, write, output, None, embed=True, quiet=quiet, quality=quality, attributes=wanted)
        process(task, options)
