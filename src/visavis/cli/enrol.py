"""``visavis enrol``: photos into a gallery."""

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from visavis.cli.enrolling import Request, enrol_all
from visavis.cli.faces import PathsArgument
from visavis.cli.inputs import check_existence, find_sources
from visavis.cli.messages import printable, reporting, results_stream, say
from visavis.cli.options import (
    DEFAULT_GALLERY,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    DEFAULT_MIN_FACE,
    DEFAULT_PACK,
    DEFAULT_STORE,
    CacheDirOption,
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
    RuntimeOption,
    StoreOption,
    ThreadsOption,
    VerboseOption,
)
from visavis.cli.people import Naming, Portrait, describe_naming, name_people, one_person
from visavis.cli.photos import How
from visavis.cli.stores import StoreOptions
from visavis.errors import InvalidOption

EXAMPLES = """\b
How people are named (--by):
  folder  people/ada-lovelace/*.jpg is ada-lovelace; so is the folder ada-lovelace/ itself where it holds no others
  file    Ada Lovelace.jpg, ada-lovelace_2.jpg, ada-lovelace-03.jpg: the file's name, without the number at its end
  auto    folder where there are folders in the one given, else file

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
"""

_log = logging.getLogger("visavis.cli")


def enrol(  # noqa: PLR0913  # a command's options are independent
    paths: PathsArgument,
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    by: Annotated[Naming, typer.Option("--by", help="What names people; see below.")] = "auto",
    subject: Annotated[str | None, typer.Option("--subject", metavar="ID", help="All images show this person.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="The name of --subject, where it is not the ID.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option("--consent", metavar="TEXT", help="What the people agreed to, and where that is.")
    ] = None,
    faces: Annotated[
        Literal["only", "largest"],
        typer.Option("--faces", help="Refuse images of several faces, or take the largest face."),
    ] = "only",
    allow_conflict: Annotated[
        bool, typer.Option("--allow-conflict", help="Enrol faces too that look like another subject's.")
    ] = False,
    keep: Annotated[
        Literal["nothing", "chips", "images"] | None,
        typer.Option(
            "--keep",
            show_default="nothing",
            help="What a new gallery keeps besides embeddings: aligned faces, whole images, or nothing.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell whom each image would be taken for.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: an object for each image.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write CSV: a row for each image.")
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
    """Enrol people from photos: a folder for each, or files named by person. The gallery is made where there is none.

    Prints how many samples were enrolled, how many were there already, and how many were refused for which reason.
    """
    models = ModelOptions(pack, runtime, precision, threads, cache_dir, min_face, max_bytes, max_pixels, models_dir)
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.galleries.records import Details  # noqa: PLC0415  # brings NumPy

        if name is not None and subject is None:
            raise InvalidOption("--name is the name of one person: say whose with --subject")
        check_existence(paths)
        sources = find_sources(paths, max_bytes)
        portraits = one_person(sources, subject) if subject is not None else name_people(sources, by)
        _announce(portraits)
        if dry_run:
            raise typer.Exit(_tell(portraits, as_json=as_json))
        models.check_installed()  # before a gallery is made that could not be filled
        how = How(Details(name=name, consent=consent), faces, allow_conflict, max_bytes)
        request = Request(gallery, StoreOptions(store, key_file), models, how, keep, report, as_json, quiet)
        raise typer.Exit(1 if enrol_all(portraits, request).refused else 0)


def _announce(portraits: list[Portrait]) -> None:
    """Say how people were named.

    Raises:
        InvalidOption: no image could be told to show anybody.
    """
    if all(portrait.subject is None for portrait in portraits):
        first = portraits[0]
        others = ", and so it is with all others" if len(portraits) > 1 else ""
        raise InvalidOption(f"{first.source.name}: {first.problem}{others}")
    for line in describe_naming(portraits):
        _log.info("%s", line)


def _tell(portraits: list[Portrait], *, as_json: bool) -> int:
    """Print whom each image shows, and return the exit code."""
    stream = results_stream()
    for portrait in portraits:
        name = portrait.source.name
        if as_json:
            stream.write(json.dumps({"file": name, "subject": portrait.subject}) + "\n")
        elif portrait.subject is not None:
            stream.write(f"{printable(name)}: {portrait.subject}\n")
        if portrait.subject is None:
            say(f"visavis: {name}: {portrait.problem}")
    stream.flush()
    return int(any(portrait.subject is None for portrait in portraits))
