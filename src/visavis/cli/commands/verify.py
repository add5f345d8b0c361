"""``visavis verify``: do two images show the same person?"""

import json
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.files import check_paths, open_image
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
    RequireLiveOption,
    RuntimeOption,
    ThreadsOption,
    ThresholdOption,
    VerboseOption,
    rate_of,
)
from visavis.cli.terminal import reporting, results_stream
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis import Verification

EXAMPLES = """\b
Exit codes:
  0  the same person
  1  different persons
  2  could not tell: uncertain at this --fmr, no face, not live, an unreadable image, wrong usage or set-up

\b
Examples:
  visavis verify passport.jpg selfie.jpg
  visavis verify --fmr strict passport.jpg selfie.jpg
  visavis verify --threshold 0.5 --json a.jpg b.jpg
  curl -s https://example.com/a.jpg | visavis verify - b.jpg
"""


def verify(  # noqa: PLR0913  # a command's options are independent
    a: Annotated[str, typer.Argument(metavar="A", help="An image file, or - for standard input.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    threshold: ThresholdOption = None,
    fmr: FmrOption = None,
    require_live: RequireLiveOption = False,
    faces: Annotated[
        Literal["largest", "only"],
        typer.Option(help="Compare the largest face of each image, or insist on exactly one."),
    ] = "largest",
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
    """Tell whether two images show the same person.

    Prints Yes or No, then the distance of the two faces, the threshold below which faces count as the same person,
    and the probability that they are, if both answers were equally likely beforehand. With --fmr it prints Uncertain
    where the distance is within the confidence interval of the threshold. The variable VISAVIS_FMR counts where neither
    --fmr nor --threshold is given.
    """
    options = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        try:
            check_paths([a, b])
            images = open_image(a, max_bytes), open_image(b, max_bytes)
            wanted = fmr if fmr is not None or threshold is not None else os.environ.get("VISAVIS_FMR") or None
            answer = options.load().verify(
                *images, faces=faces, threshold=threshold, fmr=rate_of(wanted), require_live=require_live
            )
        except VisavisError as error:
            if as_json:
                _print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
            raise
        _print(json.dumps(answer.to_dict()) if as_json else _readable(answer))
        raise typer.Exit(_EXIT_CODES[answer.decision])


_EXIT_CODES = {"same": 0, "different": 1, "uncertain": 2}
_WORDS = {"same": "Yes", "different": "No", "uncertain": "Uncertain"}


def _readable(answer: "Verification") -> str:
    facts = {"distance": f"{answer.distance:.4f}", "threshold": f"{answer.threshold:.4f}"}
    if answer.fmr is not None:
        facts["fmr"] = f"{answer.fmr:g}"
    facts["probability"] = "unknown" if answer.probability is None else f"{answer.probability:.4f}"
    return "\n".join([_WORDS[answer.decision], *(f"{name:<11}  {value}" for name, value in facts.items())])


def _print(text: str) -> None:
    stream = results_stream()
    stream.write(text + "\n")
    stream.flush()
