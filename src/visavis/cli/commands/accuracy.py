"""``visavis evaluate`` and ``calibrate``: error rates and thresholds, from one's own photos."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from visavis import __version__
from visavis.cli.app import command
from visavis.cli.images import check_existence, check_paths, describe_naming, find_sources, name_people
from visavis.cli.lazy import (
    calibration,
    decide,
    embedding,
    installation,
    metrics,
    outputs,
    page,
    pairs,
    protocols,
    runtime,
    search,
    stores,
    tables,
)
from visavis.cli.options import JsonObject, ModelOptions, PhotoOptions
from visavis.cli.terminal import progress_bar, say, table_text, write
from visavis.errors import InvalidOption, MultipleFaces, NoFace
from visavis.files import check_writable, replacing
from visavis.options import Option, Rate, Threshold

if TYPE_CHECKING:
    from visavis.evaluation.calibration import Calibrated
    from visavis.evaluation.embedding import EmbeddedPhotos, PhotoEmbedder
    from visavis.models.installation import Measured
    from visavis.models.packs import Pack

EVALUATE_EXAMPLES = """\b
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
  visavis evaluate groups/ --groups folders --fmr 1e-3
  visavis evaluate people/ --identify --gallery-per-person 2
  visavis evaluate pairs.txt --images lfw/ --faces central --json | jq .eer
"""
CALIBRATE_EXAMPLES = """\b
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
  visavis calibrate people/ --groups groups.csv --within groups
  visavis calibrate --pack open --reset
"""
_PATH = typer.Argument(metavar="PATH", help="A folder of people, with a folder of images for each; or a pairs file.")
_PAGES = (".html", ".htm")
# Part of the protocol: the image shows no face, or several where one is wanted.
_EXPECTED = (NoFace.code, MultipleFaces.code)
_Protocol = TypeVar("_Protocol", "protocols.Pairs", "protocols.Split")
_NAMED = 3  # of many that are missing
_log = logging.getLogger("visavis.cli")


@command(EVALUATE_EXAMPLES)
def evaluate(
    path: Annotated[str, _PATH],
    *,
    photos: PhotoOptions,
    identify: Annotated[bool, Option("Measure 1:N: enrol some images of each person, look for the others.")] = False,
    gallery_per_person: Annotated[
        int | None,
        Option(
            "With --identify: how many images of each person are enrolled; the first ones by name.",
            metavar="N",
            at_least=1,
            unset="1",
        ),
    ] = None,
    strangers: Annotated[
        float | None,
        Option(
            "With --identify: the share of people, drawn, who are not enrolled.",
            metavar="SHARE",
            at_least=0.0,
            at_most=0.99,
            unset="those with no more images than are enrolled",
        ),
    ] = None,
    decide: Threshold,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a report: .html, with plots and faces, or .json."),
    ] = None,
    no_images: Annotated[bool, Option("Show no faces in the report.")] = False,
    as_json: JsonObject = False,
    models: ModelOptions,
) -> int:
    """Measure how often a pack is right on photos of people whom you know.

    Compares pairs of images, of one person and of strangers, and prints how many are decided wrongly, with confidence
    intervals: at the threshold, and at thresholds that keep a false match rate. Nothing is sent anywhere.
    """
    if not identify and (gallery_per_person, strangers) != (None, None):
        raise InvalidOption("--gallery-per-person and --strangers go with --identify")
    is_page = output is not None and output.suffix.lower() in _PAGES
    if is_page:
        page.check_installed()  # before minutes of work
    elif output is not None and output.suffix.lower() != ".json":
        raise InvalidOption(f"--output {output}: the suffix tells the format; use one of .html, .json")
    with outputs.open_output(output) if output else nullcontext() as report:
        if identify:
            measure: Any = search.evaluate_search
            split = partial(protocols.split_people, per_person=gallery_per_person or 1, strangers=strangers)
            protocol: Any = _of_people(path, photos, split)
        else:
            measure, protocol = pairs.evaluate_pairs, _read_pairs(path, photos)
        with _photo_embedder(models, protocol.photos, photos) as embedder:
            grouping = _grouping(photos, protocol)
            evaluation = measure(embedder, protocol, grouping=grouping, seed=photos.seed, **decide)
        if report is not None and is_page:
            page.write_page(evaluation, report, images=not no_images, limits=models.limits())
        elif report is not None:
            report.write(json.dumps(evaluation.to_dict(), indent=1) + "\n")
    parts = [tables.title_of(evaluation), *map(table_text, tables.tables_of(evaluation))]
    if evaluation.notes:
        parts.append("\n".join(["Mind", *(f"  {note}" for note in evaluation.notes)]))
    write(json.dumps(evaluation.to_dict()) if as_json else "\n\n".join(parts))
    if output is not None:
        _log.info("see %s", output)
    return int(_say_unreadable((each.code, each.message) for each in evaluation.failures))


@command(CALIBRATE_EXAMPLES)
def calibrate(
    path: Annotated[str | None, _PATH] = None,
    *,
    fmr: Annotated[
        Rate | None, Option("Insist on this false match rate: without it, keep nothing.", metavar="RATE")
    ] = None,
    dry_run: Annotated[bool, Option("Only print; keep nothing.")] = False,
    within: Annotated[
        Literal["everybody", "groups"],
        Option("Whose strangers count: all, or only those who are of one group, whom it is harder to tell apart."),
    ] = "everybody",
    reset: Annotated[bool, Option("Forget what was calibrated; takes no PATH.")] = False,
    photos: PhotoOptions,
    as_json: JsonObject = False,
    models: ModelOptions,
) -> int:
    """Measure, on photos of people whom you know, which threshold keeps which false match rate, and keep that.

    From then on --fmr, probabilities and "uncertain" go by it, here and in servers that start with the same models
    folder, in place of what the pack came with. Thresholds that somebody set stay as they are. How much data a rate
    takes is said where they are too few.
    """
    pack = installation.as_pinned(installation.find_pack(models.pack), models.folder)
    kept = installation.calibration_path(pack, models.folder)
    if reset and path is not None:
        raise InvalidOption("--reset takes no PATH: it forgets, and measures nothing")
    if reset:
        _log.info("forgotten: %s" if kept.exists() else "there was no calibration in %s", kept)
        kept.unlink(missing_ok=True)
        return 0
    if path is None:
        raise InvalidOption("name a folder of people, or a pairs file; see visavis calibrate --help")
    if (within == "groups") != (photos.groups is not None):
        raise InvalidOption("--within groups and --groups, which says who is of which, go together")
    rates = () if fmr is None else (decide.check_rate(fmr),)
    if not dry_run:
        check_writable(kept.parent)  # before minutes of work
    pairs = _read_pairs(path, photos)
    if grouping := _grouping(photos, pairs):
        pairs = protocols.within_groups(pairs, grouping)
    with _photo_embedder(models, pairs.photos, photos) as embedder:
        embedded = embedding.embed_photos(embedder, pairs.photos)
        unseen = Counter(code for code, _ in embedded.failures.values() if code in _EXPECTED)
        for code, count in sorted(unseen.items()):
            _log.warning("visavis: %d of %d images left out: %s", count, len(pairs.photos), code)
        unreadable = _say_unreadable(embedded.failures.values())
        compared = metrics.compare_pairs(embedded, pairs, pack.metric)
        found = calibration.calibrate(compared, rates, seed=photos.seed)
        strangers = " within groups" if within == "groups" else ""
        provenance = _provenance(found, embedder, embedded, strangers)
    keeps = not (dry_run or found.unsupported)
    if keeps:
        _keep(found.measured(provenance), found, pack, models.folder)
    plain = {"pack": models.pack, **_plain(found, provenance), "kept_in": str(kept) if keeps else None}
    write(json.dumps(plain) if as_json else _calibration_words(plain))
    _warn(found)
    if keeps:
        _log.info("kept in %s; servers that run must be started again to go by it", kept)
    return 2 if found.unsupported else int(unreadable)


def _provenance(found: Calibrated, embedder: PhotoEmbedder, embedded: EmbeddedPhotos, strangers: str) -> str:
    """Return what it was measured on; who or where is nobody's business."""
    today = datetime.now(timezone.utc).date().isoformat()
    return (
        f"visavis calibrate {__version__} on {today}: {int(embedded.found.sum()):,} images of {found.people:,} people, "
        f"{found.genuine:,} pairs of one person and {found.support.impostor:,} of strangers{strangers}; "
        f"faces={embedder.faces}, min_face={embedder.smallest:g}; "
        f"{embedder.runtime.runtime}, {runtime.precision_in_force(embedder.runtime)}"
    )


def _keep(measured: Measured, found: Calibrated, pack: Pack, folder: Path) -> None:
    """Keep a calibration in place of what is in force; say first what gets lost by that, and how to go back."""
    stored, in_force = installation.read_measured(pack, folder), installation.as_installed(pack, folder)
    lines = []
    if stored is not None and stored.people is not None and stored.people > found.people:
        lines.append(
            f"this calibration, of {found.people:,} people, REPLACES one of {stored.people:,}: "
            f"{stored.rates.provenance}; to go back to that, calibrate on its photos again"
        )
    least, before = found.points[0].point.fmr, in_force.rates
    if before is not None and before.points[0].fmr < least * (1 - 1e-9):
        lines.append(
            f"this calibration supports NO false match rate below {least:g}; what it replaces supports those from "
            f"{before.points[0].fmr:g}: {before.provenance}"
        )
    if lines:
        lines.append(f"to go back to what the pack came with: visavis calibrate --reset --pack {pack.name}")
    for line in lines:
        say(f"visavis: {line}")
    with replacing(installation.calibration_path(pack, folder)) as file:
        file.write(measured.to_json().encode())


def _plain(found: Calibrated, provenance: str) -> dict[str, Any]:
    names = {rate: name for name, rate in decide.NAMED_RATES.items()}
    return {
        "provenance": provenance,
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


def _calibration_words(plain: dict[str, Any]) -> str:
    def row(point: dict[str, Any]) -> tuple[str, ...]:
        low, high = point["threshold_interval"]
        least, most = (tables.share(end).removesuffix(" %") for end in point["fnmr_interval"])
        threshold = f"{point['threshold']:.4f} ({low:.4f} to {high:.4f})"
        return point["name"] or "", f"{point['fmr']:g}", threshold, f"{tables.share(point['fnmr'])} ({least} to {most})"

    midpoint, slope = plain["calibration"]["midpoint"], plain["calibration"]["slope"]
    columns = ("", "strangers accepted (FMR)", "threshold", "genuine refused (FNMR)")
    remark = f"As likely the same person as not at {midpoint:.4f}; the log odds fall by {slope:.1f} per unit."
    return table_text(tables.Table(f"Pack {plain['pack']}", columns, tuple(map(row, plain["points"])), remark))


def _warn(found: Calibrated) -> None:
    least = f"these data support no false match rate below {found.support.least:.2g}"
    for rate in found.unsupported:
        say(
            f"visavis: NO threshold for {rate:g}, and nothing kept: {least}; it takes {calibration.needs(rate)} or more"
        )
    for name, rate in decide.NAMED_RATES.items():
        if not found.support.reaches(rate) and rate not in found.unsupported:
            needed = calibration.needs(rate)
            _log.warning("visavis: no threshold for %s (%g): %s; it takes %s or more", name, rate, least, needed)


def _read_pairs(path: str, options: PhotoOptions) -> protocols.Pairs:
    check_paths([path])
    check_existence([path])
    if Path(path).is_dir():
        suffices = options.groups is not None
        return _of_people(path, options, partial(protocols.pair_people, most=options.pairs, strangers_suffice=suffices))
    if options.pairs != protocols.MOST_PAIRS:
        raise InvalidOption("--pairs says how many pairs of a folder are drawn; those of a file are all taken")
    images = options.images or Path(path).parent
    if not images.is_dir():
        raise InvalidOption(f"--images {images}: there is no such folder")
    return _complete(protocols.read_pairs_file(Path(path), images), images, skip_missing=options.skip_missing)


def _grouping(options: PhotoOptions, protocol: protocols.Pairs | protocols.Split) -> protocols.Grouping | None:
    return protocols.read_groups(options.groups, protocol.photos) if options.groups else None


def _of_people(path: str, options: PhotoOptions, make: Callable[..., _Protocol]) -> _Protocol:
    """Return what is made of the photos of a folder of people, named as ``enrol`` names them; and tell how."""
    check_existence([path])
    if not Path(path).is_dir():
        raise InvalidOption(f"{path}: a folder of people is wanted here, with a folder of images for each")
    if options.images is not None:
        raise InvalidOption("--images says where the images of a pairs file are; a folder of people has its own")
    portraits = name_people(find_sources([path], max_bytes=0, all_=options.all_), "auto")
    left_out = tuple(f"{portrait.source.name}: {portrait.problem}" for portrait in portraits if portrait.problem)
    for line in left_out:
        _log.warning("visavis: %s", line)
    files = ((each.source.relative.as_posix(), each) for each in portraits if each.subject is not None)
    whose = protocols.person_in_group if options.groups == protocols.FOLDERS else None
    photos = tuple(
        protocols.Photo(file, each.source.name, whose(file) if whose else str(each.subject)) for file, each in files
    )
    if not photos:
        raise InvalidOption(f"{path}: the path of no image says whom it shows")
    for line in () if whose else describe_naming(portraits):
        _log.info("%s", line)
    made = make(photos, seed=options.seed)
    named_by = "folder or file within groups" if whose else portraits[0].named_by
    return replace(made, about=f"{made.about}; people named by {named_by}", left_out=left_out)


@contextmanager
def _photo_embedder(
    models: ModelOptions, photos: Sequence[protocols.Photo], options: PhotoOptions
) -> Iterator[embedding.PhotoEmbedder]:
    lazy = stores.LazyRecognizer(models, images=len(photos))
    with progress_bar(len(photos), then="comparing and resampling") as advance:
        yield embedding.PhotoEmbedder(lazy, models.spec, options.faces, models.min_face, options.cache, advance)


def _say_unreadable(messages: Iterable[tuple[str, str]]) -> bool:
    unreadable = [message for code, message in messages if code not in _EXPECTED]
    for message in unreadable:
        say(f"visavis: {message}")
    return bool(unreadable)


def _complete(pairs: protocols.Pairs, images: Path, *, skip_missing: bool) -> protocols.Pairs:
    """Return the pairs whose images are there, which is all of them unless some may be missing."""
    missing = [not Path(photo.path).exists() for photo in pairs.photos]
    count = sum(missing)
    if not count:
        return pairs
    named = [photo.file for photo, lost in zip(pairs.photos, missing, strict=True) if lost][:_NAMED]
    told = f"{count:,} of {len(missing):,} images are not in {images}: {', '.join(named)}"
    told += " and others" if count > len(named) else ""
    if not skip_missing:
        none_there = count == len(missing)
        way_out = "--images DIR says where they are" if none_there else "--skip-missing leaves their pairs out"
        raise InvalidOption(f"{told}; {way_out}")
    left = protocols.without(pairs, missing, "not there")
    _log.warning("%s; %d of %d pairs are left", told, len(left.same), len(pairs.same))
    return left
