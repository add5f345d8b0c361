"""``visavis enrol`` and ``identify``: people into a gallery, and people of a gallery on photos."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from visavis.cli.app import command
from visavis.cli.images import (
    NamedBytes,
    Portrait,
    check_existence,
    describe_naming,
    find_sources,
    in_part,
    name_people,
    one_person,
)
from visavis.cli.lazy import (
    decisions,
    drawing,
    enroller,
    geometry,
    groups,
    np,
    outputs,
    photos,
    records,
    sidecars,
    stores,
)
from visavis.cli.options import (
    DEFAULT_GALLERY,
    All,
    Csv,
    GalleryOption,
    Index,
    JsonLines,
    ModelOptions,
    NamesFile,
    Naming,
    Part,
    Paths,
    StoreOptions,
)
from visavis.cli.terminal import printable, progress_bar, results_stream, say, write
from visavis.errors import GalleryNotFound, InvalidOption, SubjectNotFound, VisavisError
from visavis.options import Enrol, EnrolImage, Identify, Keep, Option, Policy, options_of

if TYPE_CHECKING:
    from visavis import Details, Enrolment, Galleries, OpenGallery
    from visavis.models.packs import Pack
    from visavis.service.results import Enrolled
    from visavis.types import FloatArray

ENROL_EXAMPLES = """\b
How people are named (--by):
  folder  people/ada-lovelace/*.jpg is ada-lovelace; so is the folder ada-lovelace/ itself where it holds no others
  file    Ada Lovelace.jpg, ada-lovelace_2.jpg, ada-lovelace-03.jpg: the file's name, without the number at its end
  auto    folder where there are folders in the one given, else file

\b
With --names it is who was named on the page of visavis cluster: any number of faces of a photo.

\b
Running it again, also after Ctrl-C, goes on where it ended: what is there already is not looked at again.

\b
Exit codes:
  0  all images are enrolled, now or before
  1  some were refused; each is named on standard error
  2  nothing could be done: wrong usage or set-up, no image found

\b
Examples:
  visavis enrol people/
  visavis enrol people/ --dry-run
  visavis enrol portraits/ --by file --gallery staff --consent "form signed 2026-01-15"
  visavis enrol a.jpg b.jpg --subject ada --name "Ada Lovelace"
  visavis enrol party/*.jpg --subject ada --like ada.jpg
  visavis enrol photos/ --names names.json
  visavis enrol people/ --part 3/8 --store postgresql://host/faces
"""
IDENTIFY_EXAMPLES = """\b
Unknown faces come with the reason:
  no_match         nobody enrolled is near enough
  low_margin       two subjects are about as near; they may be one person: visavis gallery audit
  low_quality      the face is too small or too blurred for the gallery's policy
  not_live         it looks like a print or a screen, and --require-live or the policy wants live faces
  invalid_face     the face lies turned or is degraded: its distance to anybody says nothing
  occluded         eyes or mouth look covered
  child            it looks like a child's, and the policy does not say --allow-children
  rejected         it is nearer to a counter-sample of the one whom it resembles: visavis enrol --counter
  ignored          it is a subject that is ignored: visavis gallery ignore
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
  visavis identify photos/ --draw drawn/
  visavis identify photos/ --xmp
  visavis identify --fpir 0.001 --gallery staff door.jpg
  visavis identify --faces largest --json door.jpg | jq -r '.faces[0].match.subject'
"""
_MANY = 30  # images of one person, which may be an album
_UNNAMED = "unnamed"  # the code of an image whose path names nobody
_COLUMNS = ("file", "subject", "outcome", "sample", "error", "message")
_log = logging.getLogger("visavis.cli")


@command(ENROL_EXAMPLES)
def enrol(
    paths: Paths,
    *,
    all_: All = False,
    part: Part = None,
    gallery: GalleryOption = DEFAULT_GALLERY,
    store: StoreOptions,
    by: Annotated[Naming, Option("What names people; see below.")] = "auto",
    subject: Annotated[str | None, Option("All images show this person.", metavar="ID")] = None,
    names: NamesFile = None,
    index: Index = None,
    name: Annotated[str | None, Option("The name of --subject, where it is not the ID.", metavar="TEXT")] = None,
    consent: Annotated[str | None, Option("What the people agreed to, and where that is.", metavar="TEXT")] = None,
    how: Enrol,
    box: Annotated[Sequence[float] | None, options_of(EnrolImage)["box"][1]] = None,
    like: Annotated[
        Path | None,
        Option(
            "A photo of the person: of several faces, the one that is the same person is enrolled.", metavar="PHOTO"
        ),
    ] = None,
    keep: Annotated[
        Keep | None,
        Option(
            "What a new gallery keeps besides embeddings: aligned faces, whole images, or nothing.", unset="nothing"
        ),
    ] = None,
    dry_run: Annotated[bool, Option("Only tell whom each image would be taken for.")] = False,
    as_json: JsonLines = False,
    report: Annotated[Path | None, Option("Also write CSV: a row for each image.", metavar="FILE")] = None,
    models: ModelOptions,
) -> int:
    """Enrol people from photos: a folder for each, or files named by person. The gallery is made where there is none.

    Prints how many samples were enrolled, how many were there already, and how many were refused for which reason; and
    who has no sample then. Says where the samples of a person are most likely of several people, as those of an album.
    """
    if name is not None and subject is None:
        raise InvalidOption("--name is the name of one person: say whose with --subject")
    if names is not None and (subject, by) != (None, "auto"):
        raise InvalidOption("--names says who people are, as --subject and --by do: use one of them")
    check_existence(paths)
    is_mine = in_part(part)
    sources = find_sources(paths, models.max_bytes, all_=all_)
    portraits = name_people(sources, by) if subject is None else one_person(sources, subject)
    kept = stores.index_file(index, paths) if names else None
    if names is not None:
        with closing(photos.PhotoIndex(stores.LazyRecognizer(models), kept)) as known:
            portraits = groups.Names(names).portraits(sources, known)
    announce(portraits)
    _check_choice(portraits, box, like)
    portraits = [each for each in portraits if is_mine(each.source)]  # whose names follow from all images
    if dry_run:
        return _print_names(portraits, as_json=as_json)
    models.check_installed()  # before a gallery is made that could not be filled
    details = records.Details(name=name, consent=consent)
    counts = stores.Enrolments()
    with ExitStack() as stack:
        rows = None
        if report is not None:
            rows = outputs.table_writer(stack.enter_context(outputs.open_output(report)))
            rows(_COLUMNS)
        eyes = stack.enter_context(stores.open_index(kept, models, paths, len(portraits))) if kept else None
        galleries = stack.enter_context(stores.open_galleries(store, models, images=len(portraits), index=eyes))
        opened = _open_or_make(galleries, gallery, keep)
        reference = None if like is None else opened.reference(like)
        named = [(each, each.subject) for each in portraits if each.subject is not None]
        enrolments = (
            enrolment_of(*each, details, models.max_bytes, counter=how["counter"], box=box, like=reference)
            for each in named
        )
        stack.enter_context(counts.staying())
        no_bar = as_json and sys.stdout.isatty()
        advance = stack.enter_context(progress_bar(len(portraits), "enrolling images", unless=no_bar))
        refused: list[str] = []
        for result in results_of(portraits, opened.enrol_many(enrolments, **how)):
            code = result["error"]["code"] if "error" in result else None
            refused += [result["subject"]] if code and result["subject"] else []
            counts.count(result["subject"], repeated=result.get("repeated", False), code=code)
            if as_json:
                write(json.dumps(result))
            if rows:
                rows(_row(result))
            advance()
        counts.without = _without_sample(opened, refused)
        _warn_of_albums(opened, counts.subjects, galleries.eyes.pack)
    if as_json:
        _log.info("%s", counts)
    else:
        write(counts.summary(gallery))
    return int(bool(counts.refused))


def announce(portraits: Sequence[Portrait]) -> None:
    """Say whom images are taken for; InvalidOption where nothing names anybody."""
    if all(portrait.subject is None for portrait in portraits):
        first = portraits[0]
        others = ", and so it is with all others" if len(portraits) > 1 else ""
        raise InvalidOption(f"{first.source.name}: {first.problem}{others}")
    for line in describe_naming(portraits):
        _log.info("%s", line)


def _check_choice(portraits: Sequence[Portrait], box: Sequence[float] | None, like: Path | None) -> None:
    if box is not None and (len(portraits) > 1 or like is not None):
        raise InvalidOption("--box is around the face that is meant of one image, and --like another way to say which")
    if box is not None:
        geometry.check_box(box)
    if like is not None:
        check_existence([str(like)])
        if len({portrait.subject for portrait in portraits}) > 1:
            raise InvalidOption("--like shows one person, and these images are named after several: add --subject ID")


def _print_names(portraits: Sequence[Portrait], *, as_json: bool) -> int:
    """Print whom images are taken for: a line for each person, or as JSON for each image."""
    names: dict[str, list[str]] = {}
    problems: dict[str, list[str]] = {}
    for portrait in portraits:
        if as_json:
            write(json.dumps({"file": portrait.source.name, "subject": portrait.subject}))
        group, key = (problems, portrait.problem) if portrait.subject is None else (names, portrait.subject)
        group.setdefault(key, []).append(portrait.source.name)
    for subject, files in names.items():
        if not as_json:
            write(f"{subject}: {printable(_listed(files))}")
        if len(files) >= _MANY:
            say(f"visavis: {subject}: {len(files):,} images; {_ALBUM}")
    for problem, files in problems.items():
        say(f"visavis: {_listed(files)}: {problem}")
    return int(bool(problems))


_ALBUM = "if this is an album of several people, visavis cluster groups their faces"


def _listed(texts: Sequence[str], shown: int = 1) -> str:
    more = f" and {len(texts) - shown:,} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def _without_sample(gallery: OpenGallery, subjects: Iterable[str]) -> list[str]:
    """Return those who have no sample in a gallery."""
    missing = []
    for subject in dict.fromkeys(subjects):
        with suppress(SubjectNotFound):
            if gallery.subject(subject).samples:
                continue
        missing.append(subject)
    return missing


def _warn_of_albums(gallery: OpenGallery, subjects: Iterable[str], pack: Pack) -> None:
    for subject in sorted(subjects):
        with suppress(SubjectNotFound):
            samples = [each.embedding for each in gallery.samples(subject) if not each.counter]
            if samples and decisions.look_mixed(np.stack(samples), pack):
                what = f"the {len(samples):,} samples look like several people"
                forget = f"visavis gallery forget {gallery.name} {shlex.quote(subject)} removes them"
                say(f"visavis: {subject}: {what}; {forget}; {_ALBUM}")


def enrolment_of(  # what is known of a face
    portrait: Portrait,
    subject: str,
    details: Details,
    max_bytes: int,
    *,
    counter: bool,
    box: Sequence[float] | None,
    like: FloatArray | None,
) -> Enrolment:
    """Read an image once, for its key and for its face; one that cannot be read is left to fail where that is told.

    The key is made of the file's content, its subject, and whether it shows that one: what is there already is read,
    and not looked at again.
    """
    source, image, key = portrait.source, portrait.source.image, None
    with suppress(OSError, ValueError):
        content = source.read(max_bytes + 1)
        image, which = NamedBytes(content, source.name), ["", "\0counter"][counter] + (f"\0{box}" if box else "")
        key = hashlib.sha256(content + f"\0{subject}{which}".encode()).hexdigest()
    # The label says no more of the path than was searched.
    label = printable(source.relative.as_posix())
    box = portrait.box or box
    return enroller.Enrolment(subject=subject, image=image, details=details, source=label, key=key, box=box, like=like)


def _open_or_make(galleries: Galleries, name: str, keep: Keep | None) -> OpenGallery:
    try:
        gallery = galleries.open(name)
    except GalleryNotFound:
        return stores.make_gallery(galleries, name, Policy(keep=keep or "nothing"))
    kept = gallery.record.policy.keep
    if keep not in (None, kept):
        change = f"visavis gallery policy {name} --keep {keep}"
        raise InvalidOption(f"the gallery {name!r} keeps {kept}; to change that: {change}")
    return gallery


def results_of(portraits: Sequence[Portrait], outcomes: Iterator[Enrolled | VisavisError]) -> Iterator[dict[str, Any]]:
    """Yield what became of each portrait, in order and ready for JSON, once it is stored; and say what is odd."""
    for portrait in portraits:
        name, subject = portrait.source.name, portrait.subject
        outcome = None if subject is None else next(outcomes)
        if outcome is None or isinstance(outcome, VisavisError):
            message = str(outcome).removeprefix(f"{name}: ") if outcome else portrait.problem
            say(f"visavis: {name}: {message}")
            error = {"code": outcome.code if outcome else _UNNAMED, "message": message}
            yield {"file": name, "subject": subject, "error": error}
        else:
            conflict = outcome.conflict.subject if outcome.conflict else None
            if conflict is not None:
                say(f"visavis: {name}: enrolled as {subject}, though it looks like {conflict}")
            about = {"sample": outcome.sample, "repeated": outcome.repeated, "conflict": conflict}
            yield {"file": name, "subject": subject, **about}


def _row(result: Mapping[str, Any]) -> tuple[object, ...]:
    error = result.get("error", {"code": "", "message": ""})
    outcome = "refused" if "error" in result else "already there" if result["repeated"] else "enrolled"
    return result["file"], result["subject"], outcome, result.get("sample"), error["code"], error["message"]


@command(IDENTIFY_EXAMPLES)
def identify(
    paths: Paths,
    *,
    all_: All = False,
    gallery: GalleryOption = DEFAULT_GALLERY,
    store: StoreOptions,
    how: Identify,
    draw: Annotated[
        Path | None, Option("Also write each image there with boxes, names and distances drawn on it.", metavar="DIR")
    ] = None,
    xmp: Annotated[bool, Option("Also write who surely is on each image, and where, into its sidecar file.")] = False,
    xmp_naming: Annotated[
        Literal["digikam", "lightroom"],
        Option("How sidecars are called: photo.jpg.xmp, as by digiKam and darktable; or photo.xmp, as by Lightroom."),
    ] = "digikam",
    index: Index = None,
    as_json: JsonLines = False,
    as_csv: Csv = False,
    models: ModelOptions,
) -> int:
    """Tell who is on images: for each face the subject of the gallery that it is, or why it is nobody.

    Prints for each face its box (left, top, right and bottom in pixels), the subject, the distance to the mean of its
    samples, the probability that it is that person, where half of all faces are of people who are enrolled, by how much
    the next subject is farther away, and whether the distance is so near the threshold that it is uncertain.

    The rate of --fpir, 0.01 unless the gallery has another, is that of strangers who are taken for any of the subjects.
    That of --fmr is that of a single comparison: among N subjects about N times as many strangers are taken for
    somebody.
    """
    write_all = outputs.choose_format(as_json=as_json, as_csv=as_csv)
    sources = find_sources(paths, models.max_bytes, all_=all_, except_in=draw)
    layout, limits = outputs.IdentityLayout(numbered=draw is not None), models.limits()
    drawn = drawing.drawer(sources, draw, limits, layout) if draw else iter
    counts: Counter[str] = Counter()
    written = sidecars.writer(sources, xmp_naming, limits, counts) if xmp else iter
    if not as_json:
        how["limit"] = 2  # in words and as CSV there is the nearest subject and the next one
    kept = stores.index_file(index, paths)
    with (
        stores.open_index(kept, models, paths, len(sources)) if kept else nullcontext() as eyes,
        stores.open_galleries(store, models, images=len(sources), index=eyes) as galleries,
        progress_bar(len(sources), unless=sys.stdout.isatty()) as advance,
    ):
        opened = stores.open_gallery(galleries, gallery)
        outcomes = written(drawn(opened.identify_many((source.image for source in sources), **how)))
        write_all(outputs.follow(sources, outcomes, counts, advance), results_stream(), layout)
    return int(counts["failed"] > 0)
