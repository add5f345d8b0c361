"""``visavis verify``, ``detect`` and ``embed``: the faces of images."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from visavis.cli.app import command
from visavis.cli.images import check_paths, find_sources, in_part, open_image
from visavis.cli.lazy import drawing, outputs, stores
from visavis.cli.options import All, Index, JsonObject, ModelOptions, OutputOptions, Part, Paths, rate_of
from visavis.cli.terminal import error_to_dict, progress_bar, write
from visavis.errors import InvalidOption, VisavisError
from visavis.files import remove_abandoned
from visavis.options import INDEX_NAME, Describe, Option, Recognition, Verify, options_of

VERIFY_EXAMPLES = """\b
Exit codes:
  0  the same person
  1  different persons
  2  could not tell: uncertain, no face, not live, an unreadable image, wrong usage or set-up

\b
Examples:
  visavis verify passport.jpg selfie.jpg
  visavis verify --fmr strict passport.jpg selfie.jpg
  visavis verify --threshold 0.5 --json a.jpg b.jpg
  curl -s https://example.com/a.jpg | visavis verify - b.jpg
"""
_CODES = """\b
Exit codes:
  0  all images were processed, whether they show faces or not
  1  some images failed; each is named on standard error and in the results
  2  nothing could be done: wrong usage or set-up, no image found

\b
Examples:
"""
DETECT_EXAMPLES = f"""{_CODES}\
  visavis detect photo.jpg
  visavis detect photos/ --draw drawn/
  visavis detect photos/ --min-face 20 --csv > faces.csv
  visavis detect --json a.jpg b.png | jq '.faces | length'
  visavis detect --pack open --attributes liveness,pose --quality selfie.jpg
"""
EMBED_EXAMPLES = f"""{_CODES}\
  visavis embed photos/ -o faces.npz
  visavis embed photos/ --part 3/8 --resume -o faces-3.parquet
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
_EXIT_CODES = {"same": 0, "different": 1, "uncertain": 2}
_WORDS = {"same": "Yes", "different": "No", "uncertain": "Uncertain"}
_log = logging.getLogger("visavis.cli")


@command(VERIFY_EXAMPLES)
def verify(
    a: Annotated[str, typer.Argument(metavar="A", help="An image file, or - for standard input.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    *,
    as_json: JsonObject = False,
    how: Verify,
    allow_children: Annotated[bool, options_of(Recognition)["allow_children"][1]] = False,
    models: ModelOptions,
) -> int:
    """Tell whether two images show the same person.

    Prints Yes or No, then the distance of the two faces, the threshold below which faces count as the same person,
    and the probability that they are, if both answers were equally likely beforehand. Of several faces the one that is
    large and central is compared, unless --faces says otherwise; visavis find looks at all of them. It prints
    Uncertain with a reason where a face is turned or degraded so that its distance says nothing (invalid_face), or
    looks like a child's (child), and with --fmr where the distance is within the confidence interval of the threshold.
    The variable VISAVIS_FMR counts where neither --fmr nor --threshold is given.
    """
    try:
        check_paths([a, b])
        images = open_image(a, models.max_bytes), open_image(b, models.max_bytes)
        if how["fmr"] is None and how["threshold"] is None:
            how["fmr"] = rate_of(os.environ.get("VISAVIS_FMR") or None)
        answer = models.load(allow_children=allow_children).verify(*images, **how)
    except VisavisError as error:
        if as_json:
            write(json.dumps({"error": error_to_dict(error)}))
        raise
    facts = {"distance": f"{answer.distance:.4f}", "threshold": f"{answer.threshold:.4f}"}
    if answer.fmr is not None:
        facts["fmr"] = f"{answer.fmr:g}"
    facts["probability"] = "unknown" if answer.probability is None else f"{answer.probability:.4f}"
    if answer.reason is not None:
        facts["reason"] = answer.reason
    words = [_WORDS[answer.decision], *(f"{name:<11}  {value}" for name, value in facts.items())]
    write(json.dumps(answer.to_dict()) if as_json else "\n".join(words))
    return _EXIT_CODES[answer.decision]


@command(DETECT_EXAMPLES)
def detect(
    paths: Paths,
    *,
    all_: All = False,
    part: Part = None,
    how: Describe,
    output: OutputOptions,
    draw: Annotated[
        Path | None,
        Option("Also write each image there with boxes, their numbers and landmarks drawn on it.", metavar="DIR"),
    ] = None,
    index: Index = None,
    models: ModelOptions,
) -> int:
    """Find faces in images.

    Prints for each image how many faces it shows, and for each face, largest first, its box (left, top, right and
    bottom in pixels) and the detector's score.
    """
    return _process(paths, how, output, models, index, all_=all_, part=part, draw=draw)


@command(EMBED_EXAMPLES)
def embed(
    paths: Paths,
    *,
    all_: All = False,
    part: Part = None,
    how: Describe,
    output: OutputOptions,
    index: Index = None,
    models: ModelOptions,
) -> int:
    """Find faces in images and turn each into an embedding: numbers whose distance tells persons apart.

    An embedding is personal data: whoever has it can recognise the person.
    """
    code = _process(paths, how, output, models, index, all_=all_, part=part, embeds=True)
    if not (output.as_json or output.as_csv or output.file):
        _log.info("(for whole embeddings: --json, --csv or -o faces.npz)")
    return code


def _process(
    paths: list[str],
    how: Describe,
    output: OutputOptions,
    models: ModelOptions,
    index: Path | None,
    *,
    all_: bool,
    part: str | None,
    embeds: bool = False,
    draw: Path | None = None,
) -> int:
    """Take every image from its path to its place in the results; only an .npz is gathered in memory."""
    write_all = outputs.choose_format(as_json=output.as_json, as_csv=output.as_csv, file=output.file)
    if output.resume and output.file is None:
        raise InvalidOption("--resume goes on with a file: say which with --output")
    is_mine = in_part(part)
    sources = [*filter(is_mine, find_sources(paths, models.max_bytes, all_=all_, except_in=draw))]
    drawn = drawing.drawer(sources, draw, models.limits(), outputs.FaceLayout()) if draw else iter
    counts, looking = Counter[str](), stores.LazyRecognizer(models, len(sources))
    beside = output.file is None and sys.stdout.isatty()
    kept, seen = stores.index_file(index, paths), None
    if output.resume and output.file and not kept:
        kept = seen = output.file.with_name(f"{INDEX_NAME}-{output.file.name}")
    with (
        outputs.open_output(output.file) as stream,
        progress_bar(len(sources), unless=beside) as advance,
        stores.open_index(kept, models, paths, len(sources)) if kept else nullcontext() as photos,
    ):
        eyes = photos or looking
        find = eyes.embed_many if embeds else eyes.detect_many
        outcomes = drawn(find((source.image for source in sources), **how))
        dimension = eyes.pack.dimension if embeds else 0
        layout = outputs.FaceLayout(dimension, how["quality"], how["attributes"], numbered=draw is not None)
        write_all(outputs.follow(sources, outcomes, counts, advance), stream, layout)
    if seen and output.file and not remove_abandoned(output.file):  # nor does the same command run elsewhere
        seen.unlink(missing_ok=True)
    looking.searched.tell()  # an index has told itself
    if output.file or draw:
        where = " and ".join(str(place) for place in (output.file, draw) if place)
        _log.info(
            "images: %d, faces: %d, failed: %d; see %s",
            *(counts[what] for what in ("images", "faces", "failed")),
            where,
        )
    return int(counts["failed"] > 0)
