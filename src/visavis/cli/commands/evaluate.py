"""``visavis evaluate``: how often a pack is right on one's own photos."""

import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.measuring import (
    DEFAULT_PAIRS,
    CacheOption,
    ChoiceOption,
    Faces,
    ImagesOption,
    Inputs,
    MeasuredArgument,
    PairsOption,
    SeedOption,
    SkipMissingOption,
    looking,
    read_pairs,
    read_photos,
)
from visavis.cli.options import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MIN_FACE,
    DEFAULT_PACK,
    CacheDirOption,
    FmrOption,
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
    rate_of,
)
from visavis.cli.outputs import open_output
from visavis.cli.terminal import reporting, results_stream, say, table_text
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.evaluation.results import PairEvaluation, SearchEvaluation

EXAMPLES = """\b
A folder of people has a folder of images for each person: people/ada/1.jpg. A pairs file has the form of Labeled Faces
in the Wild, or is CSV with the header file_a,file_b,same.

\b
Exit codes:
  0  measured; images without a face are counted and told
  1  measured, but some images could not be read; each is named on standard error and in the report
  2  nothing could be measured: wrong usage or set-up, no pairs, missing images

\b
Examples:
  visavis evaluate people/
  visavis evaluate people/ -o report.html --cache embeddings/ --groups groups.csv
  visavis evaluate people/ --identify --gallery-per-person 2
  visavis evaluate pairs.txt --images lfw/ --faces central --json | jq .eer
"""

_PAGES = (".html", ".htm")
# Part of the result: the image shows no face, or several where one is wanted.
_EXPECTED = ("no_face", "multiple_faces")
_log = logging.getLogger("visavis.cli")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked to do."""

    inputs: Inputs
    models: ModelOptions
    identify: bool
    gallery_per_person: int | None
    strangers: float | None
    threshold: float | None
    fmr: str | None
    groups: Path | None
    faces: Faces
    cache: Path | None
    quiet: bool


def evaluate(  # noqa: PLR0913  # a command's options are independent
    path: MeasuredArgument,
    *,
    images: ImagesOption = None,
    pairs: PairsOption = DEFAULT_PAIRS,
    seed: SeedOption = 0,
    skip_missing: SkipMissingOption = False,
    identify: Annotated[
        bool, typer.Option("--identify", help="Measure 1:N: enrol some images of each person, look for the others.")
    ] = False,
    gallery_per_person: Annotated[
        int | None,
        typer.Option(
            "--gallery-per-person",
            metavar="N",
            min=1,
            show_default="1",
            help="With --identify: how many images of each person are enrolled; the first ones by name.",
        ),
    ] = None,
    strangers: Annotated[
        float | None,
        typer.Option(
            "--strangers",
            metavar="SHARE",
            min=0.0,
            max=0.99,
            show_default="those with no more images than are enrolled",
            help="With --identify: the share of people, drawn, who are not enrolled.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="X", show_default="the pack's own", help="Decide at this threshold."),
    ] = None,
    fmr: FmrOption = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE.csv", help="Who is of which group, to tell the rates of each."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a report: .html, with plots and faces, or .json."),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Show no faces in the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    faces: ChoiceOption = "largest",
    cache: CacheOption = None,
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
    """Measure how often a pack is right on photos of people whom you know.

    Compares pairs of images, of one person and of strangers, and prints how many are decided wrongly, with confidence
    intervals: at the threshold, and at thresholds that keep a false match rate. Nothing is sent anywhere.
    """
    models = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    inputs = Inputs(path, images, pairs, seed, skip_missing)
    request = Request(
        inputs, models, identify, gallery_per_person, strangers, threshold, fmr, groups, faces, cache, quiet
    )
    with reporting(quiet=quiet, verbose=verbose):
        _check(request, output)
        with open_output(output) if output else nullcontext() as report:
            evaluation = _measure(request)
            if output is not None and report is not None:
                if output.suffix.lower() in _PAGES:
                    from visavis.evaluation.page import write_page  # noqa: PLC0415  # brings Pillow

                    write_page(evaluation, report, images=not no_images, limits=models.limits())
                else:
                    report.write(json.dumps(evaluation.to_dict(), indent=1) + "\n")
        stream = results_stream()
        stream.write(json.dumps(evaluation.to_dict()) + "\n" if as_json else _readable(evaluation))
        stream.flush()
        if output is not None:
            _log.info("see %s", output)
        if _tell_unreadable(evaluation):
            raise typer.Exit(1)


def _check(request: Request, output: Path | None) -> None:
    """Refuse what cannot go well, before minutes of work."""
    if not request.identify and (request.gallery_per_person, request.strangers) != (None, None):
        raise InvalidOption("--gallery-per-person and --strangers go with --identify")
    if output is None:
        return
    if output.suffix.lower() in _PAGES:
        from visavis.evaluation.page import check_installed  # noqa: PLC0415  # brings NumPy

        check_installed()
    elif output.suffix.lower() != ".json":
        raise InvalidOption(f"--output {output}: the suffix tells the format; use one of .html, .json")


def _measure(request: Request) -> "PairEvaluation | SearchEvaluation":
    from visavis.evaluation.pairs import evaluate_pairs  # noqa: PLC0415  # brings NumPy
    from visavis.evaluation.protocols import read_groups, split_people  # noqa: PLC0415  # likewise
    from visavis.evaluation.search import evaluate_search  # noqa: PLC0415  # likewise

    seed, threshold, fmr = request.inputs.seed, request.threshold, rate_of(request.fmr)
    if request.identify:
        people = read_photos(request.inputs)
        each = request.gallery_per_person or 1
        split = split_people(people.photos, per_person=each, strangers=request.strangers, seed=seed)
        split = replace(split, about=f"{split.about}; {people.named}", left_out=people.left_out)
        with looking(request.models, split.photos, request.faces, request.cache, quiet=request.quiet) as seeing:
            grouping = read_groups(request.groups, split.photos) if request.groups else None
            return evaluate_search(seeing, split, threshold=threshold, fmr=fmr, grouping=grouping, seed=seed)
    pairs = read_pairs(request.inputs)
    with looking(request.models, pairs.photos, request.faces, request.cache, quiet=request.quiet) as seeing:
        grouping = read_groups(request.groups, pairs.photos) if request.groups else None
        return evaluate_pairs(seeing, pairs, threshold=threshold, fmr=fmr, grouping=grouping, seed=seed)


def _readable(evaluation: "PairEvaluation | SearchEvaluation") -> str:
    from visavis.evaluation.tables import tables_of, title_of  # noqa: PLC0415  # brings NumPy

    parts = [title_of(evaluation), *map(table_text, tables_of(evaluation))]
    if evaluation.notes:
        parts.append("\n".join(["Mind", *(f"  {note}" for note in evaluation.notes)]))
    return "\n\n".join(parts) + "\n"


def _tell_unreadable(evaluation: "PairEvaluation | SearchEvaluation") -> bool:
    unreadable = [failure for failure in evaluation.failures if failure.code not in _EXPECTED]
    for failure in unreadable:
        say(f"visavis: {failure.message}")
    return bool(unreadable)
