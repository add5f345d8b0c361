"""``visavis calibrate``: thresholds with known error rates, from one's own photos."""

import json
import logging
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis import __version__
from visavis.cli.files import replacing
from visavis.cli.measuring import (
    DEFAULT_PAIRS,
    CacheOption,
    ChoiceOption,
    Faces,
    ImagesOption,
    Inputs,
    PairsOption,
    SeedOption,
    SkipMissingOption,
    looking,
    read_pairs,
)
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
    rate_of,
)
from visavis.cli.terminal import reporting, results_stream, say, table_text
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.evaluation.calibration import Calibrated
    from visavis.evaluation.embedding import EmbeddedPhotos, PhotoEmbedder
    from visavis.evaluation.protocols import Pairs
    from visavis.models.installation import Measured
    from visavis.models.packs import Pack
    from visavis.options import Rate


_log = logging.getLogger("visavis.cli")


def provenance(found: "Calibrated", seeing: "PhotoEmbedder", embedded: "EmbeddedPhotos") -> str:
    """Return what it was measured on; who or where is nobody's business."""
    from visavis.models.runtime import precision_in_force  # noqa: PLC0415  # brings the runtime

    today = datetime.now(timezone.utc).date().isoformat()
    return (
        f"visavis calibrate {__version__} on {today}: {int(embedded.found.sum()):,} images of {found.people:,} people, "
        f"{found.genuine:,} pairs of one person and {found.support.impostor:,} of strangers; faces={seeing.faces}, "
        f"min_face={seeing.min_face:g}; {seeing.runtime.runtime}, {precision_in_force(seeing.runtime)}"
    )


def in_plain(found: "Calibrated", about: str) -> dict[str, Any]:
    """Return plain Python values, ready for JSON.

    Args:
        found: the calibration.
        about: its provenance.
    """
    from visavis.core.decide import NAMED_RATES  # noqa: PLC0415  # brings NumPy

    names = {rate: name for name, rate in NAMED_RATES.items()}
    return {
        "provenance": about,
        "least_fmr": found.support.least,
        "points": [
            {
                "name": names.get(each.point.fmr),
                "fmr": each.point.fmr,
                "threshold": each.point.threshold,
                "threshold_interval": [each.point.low, each.point.high],
                "fnmr": each.fnmr.value,
                "fnmr_interval": [each.fnmr.low, each.fnmr.high],
            }
            for each in found.points
        ],
        "unsupported": list(found.unsupported),
        "calibration": {"midpoint": found.midpoint, "slope": found.slope},
    }


def in_words(plain: dict[str, Any]) -> str:
    """Return a table of what ``in_plain`` returns, with the pack's name."""
    from visavis.evaluation.tables import Table, share  # noqa: PLC0415  # brings NumPy

    def row(point: dict[str, Any]) -> tuple[str, ...]:
        low, high = point["threshold_interval"]
        refused = (share(point["fnmr"]), *(share(end).removesuffix(" %") for end in point["fnmr_interval"]))
        threshold = f"{point['threshold']:.4f} ({low:.4f} to {high:.4f})"
        return point["name"] or "", f"{point['fmr']:g}", threshold, "{} ({} to {})".format(*refused)

    midpoint, slope = plain["calibration"]["midpoint"], plain["calibration"]["slope"]
    columns = ("", "strangers accepted (FMR)", "threshold", "genuine refused (FNMR)")
    remark = f"As likely the same person as not at {midpoint:.4f}; the log odds fall by {slope:.1f} per unit."
    return table_text(Table(f"Pack {plain['pack']}", columns, tuple(map(row, plain["points"])), remark)) + "\n"


def replaced(pack: "Pack", stored: "Measured | None", found: "Calibrated") -> list[str]:
    """Return what gets lost where a calibration takes the place of what is in force, and how to go back.

    Args:
        pack: as it is installed.
        stored: an earlier calibration, or None.
        found: the one to be kept.
    """
    lines = []
    if stored is not None and stored.people is not None and stored.people > found.people:
        lines.append(
            f"this calibration, of {found.people:,} people, REPLACES one of {stored.people:,}: "
            f"{stored.rates.provenance}; to go back to that, calibrate on its photos again"
        )
    least, before = found.points[0].point.fmr, pack.rates
    if before is not None and before.points[0].fmr < least * (1 - 1e-9):
        lines.append(
            f"this calibration supports NO false match rate below {least:g}; what it replaces supports those from "
            f"{before.points[0].fmr:g}: {before.provenance}"
        )
    if lines:
        lines.append(f"to go back to what the pack came with: visavis calibrate --reset --pack {pack.name}")
    return lines


def warn(found: "Calibrated") -> None:
    """Say loudly what the data do not tell."""
    from visavis.core.decide import NAMED_RATES  # noqa: PLC0415  # brings NumPy
    from visavis.evaluation.calibration import needs  # noqa: PLC0415  # likewise

    least = f"these data support no false match rate below {found.support.least:.2g}"
    for rate in found.unsupported:
        say(f"visavis: NO threshold for {rate:g}, and nothing kept: {least}; it takes {needs(rate)} or more")
    for name, rate in NAMED_RATES.items():
        if not found.support.reaches(rate) and rate not in found.unsupported:
            _log.warning("visavis: no threshold for %s (%g): %s; it takes %s or more", name, rate, least, needs(rate))


EXAMPLES = """\b
A folder of people has a folder of images for each person: people/ada/1.jpg. A pairs file has the form of Labeled Faces
in the Wild, or is CSV with the header file_a,file_b,same. What is kept are numbers: no image, name or embedding.

\b
Exit codes:
  0  calibrated
  1  calibrated, but images could not be read; each is named
  2  not calibrated, and nothing changed: wrong usage or set-up, too few people, for any rate or for that of --fmr

\b
Examples:
  visavis calibrate people/
  visavis calibrate pairs.txt --images lfw/ --faces central --dry-run
  visavis calibrate people/ --fmr 2e-4
  visavis calibrate --pack open --reset
"""

# Part of the protocol: the image shows no face, or several where one is wanted.
_EXPECTED = ("no_face", "multiple_faces")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked to do.

    Attributes:
        inputs: what is to be measured.
        models: with what.
        fmr: a false match rate, or its name, that must be among the usual ones or besides.
        faces: which face of an image counts.
        cache: a folder for embeddings.
        keep: the file that the result is kept in, or None.
        quiet: whether to show no progress.
    """

    inputs: Inputs
    models: ModelOptions
    fmr: "Rate | None"
    faces: Faces
    cache: Path | None
    keep: Path | None
    quiet: bool


def calibrate(  # noqa: PLR0913  # a command's options are independent
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="A folder of people, with a folder of images for each; or a pairs file."),
    ] = None,
    *,
    fmr: Annotated[
        str | None,
        typer.Option("--fmr", metavar="RATE", help="Insist on this false match rate: without it, keep nothing."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print; keep nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what was calibrated; takes no PATH.")] = False,
    images: ImagesOption = None,
    pairs: PairsOption = DEFAULT_PAIRS,
    seed: SeedOption = 0,
    skip_missing: SkipMissingOption = False,
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
    """Measure, on photos of people whom you know, which threshold keeps which false match rate, and keep that.

    From then on --fmr, probabilities and "uncertain" go by it, here and in servers that start with the same models
    folder, in place of what the pack came with. Thresholds that somebody set stay as they are. How much data a rate
    takes is said where they are too few.
    """
    models = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        kept = _kept_in(models)
        if reset:
            _reset(kept, path)
            return
        if path is None:
            raise InvalidOption("name a folder of people, or a pairs file; see visavis calibrate --help")
        keep = None if dry_run else kept
        request = Request(
            Inputs(path, images, pairs, seed, skip_missing), models, rate_of(fmr), faces, cache, keep, quiet
        )
        code = _calibrate(request, as_json=as_json)
        if code:
            raise typer.Exit(code)


def _kept_in(models: ModelOptions) -> Path:
    """Return the file that a calibration of the pack is kept in.

    Raises:
        InvalidOption: there is no such pack.
        ModelMissing: its embedder was never pulled, and so its embedding space is not known.
    """
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy
    from visavis.models.installation import as_pinned, calibration_path  # noqa: PLC0415  # likewise

    folder = models.models_folder()
    return calibration_path(as_pinned(find_pack(models.pack), folder), folder)


def _reset(kept: Path, path: str | None) -> None:
    if path is not None:
        raise InvalidOption("--reset takes no PATH: it forgets, and measures nothing")
    try:
        kept.unlink()
    except FileNotFoundError:
        _log.info("there was no calibration in %s", kept)
    else:
        _log.info("forgotten: %s", kept)


def _calibrate(request: Request, *, as_json: bool) -> int:
    from visavis.core.decide import check_rate  # noqa: PLC0415  # brings NumPy
    from visavis.evaluation.calibration import calibrate  # noqa: PLC0415  # likewise
    from visavis.evaluation.embedding import embed_photos  # noqa: PLC0415  # likewise
    from visavis.evaluation.metrics import compare_pairs  # noqa: PLC0415  # likewise

    rates = () if request.fmr is None else (check_rate(request.fmr),)
    if request.keep is not None:
        _check_writable(request.keep.parent)
    pairs = read_pairs(request.inputs)
    with looking(request.models, pairs.photos, request.faces, request.cache, quiet=request.quiet) as seeing:
        embedded = embed_photos(seeing, pairs.photos)
        unreadable = _tell_failures(embedded, pairs)
        found = calibrate(
            compare_pairs(embedded, pairs, seeing.recognizer.pack.metric), rates, seed=request.inputs.seed
        )
        about = provenance(found, seeing, embedded)
    keep = None if found.unsupported else request.keep
    if keep is not None:
        _keep(found, about, keep, request.models)
    plain = {"pack": request.models.pack, **in_plain(found, about), "kept_in": keep and str(keep)}
    stream = results_stream()
    stream.write(json.dumps(plain) + "\n" if as_json else in_words(plain))
    stream.flush()
    warn(found)
    if keep is not None:
        _log.info("kept in %s; servers that run must be started again to go by it", keep)
    return 2 if found.unsupported else int(unreadable)


def _keep(found: "Calibrated", about: str, keep: Path, models: ModelOptions) -> None:
    """Keep a calibration in place of what is in force, and say first where that is worth more."""
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy
    from visavis.models.installation import as_installed, as_pinned, read_measured  # noqa: PLC0415  # likewise

    folder = models.models_folder()
    pack = as_pinned(find_pack(models.pack), folder)
    for line in replaced(as_installed(pack, folder), read_measured(pack, folder), found):
        say(f"visavis: {line}")
    with replacing(keep) as file:
        file.write(found.measured(about).to_json().encode())


def _check_writable(folder: Path) -> None:
    """Find out before minutes of work.

    Raises:
        OSError: nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _tell_failures(embedded: "EmbeddedPhotos", pairs: "Pairs") -> bool:
    """Say how many images show no face, and which could not be read; tell whether there are any of these."""
    unseen = Counter(code for code, _ in embedded.failures.values() if code in _EXPECTED)
    for code, count in sorted(unseen.items()):
        _log.warning("visavis: %d of %d images left out: %s", count, len(pairs.photos), code)
    unreadable = [message for code, message in embedded.failures.values() if code not in _EXPECTED]
    for message in unreadable:
        say(f"visavis: {message}")
    return bool(unreadable)
