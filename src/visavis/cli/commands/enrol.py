"""``visavis enrol``: photos into a gallery."""

import csv
import hashlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from visavis.cli.commands.faces import PathsArgument
from visavis.cli.files import Source, check_existence, find_sources
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
from visavis.cli.outputs import open_output
from visavis.cli.people import Naming, Portrait, describe_naming, name_people, one_person
from visavis.cli.stores import StoreOptions, make_gallery, open_galleries
from visavis.cli.terminal import Tally, printable, progress_bar, reporting, results_stream, say, staying
from visavis.errors import GalleryNotFound, InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis.galleries.records import Details
    from visavis.service.enroller import Enrolment
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import Enrolled


UNNAMED = "unnamed"
"""The code of an image whose path names nobody."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image.

    Attributes:
        file: as results call it.
        subject: whose face it shows, or None where its path names nobody.
        sample: the number of the sample, or None where the image was refused.
        repeated: whether it was enrolled before.
        conflict: another subject that the face resembles too much, where that was allowed; or None.
        error: code and message, where it was refused.
    """

    file: str
    subject: str | None
    sample: int | None = None
    repeated: bool = False
    conflict: str | None = None
    error: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        if self.error is not None:
            code, message = self.error
            return {"file": self.file, "subject": self.subject, "error": {"code": code, "message": message}}
        about = {"sample": self.sample, "repeated": self.repeated, "conflict": self.conflict}
        return {"file": self.file, "subject": self.subject, **about}


@dataclass(frozen=True, slots=True)
class How:
    """How images are enrolled."""

    details: "Details"
    faces: Literal["only", "largest"]
    allow_conflict: bool
    max_bytes: int


class _Photo(io.BytesIO):
    """An image file as it was when its key was made, with its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def enrol_portraits(portraits: Sequence[Portrait], gallery: "OpenGallery", how: How) -> Iterator[Result]:
    """Yield what becomes of each portrait, in order, once it is stored.

    The key of an enrolment is made of the file's content and its subject: what is there already is read, and not looked
    at again.
    """
    named = ((portrait.source, portrait.subject) for portrait in portraits if portrait.subject is not None)
    enrolments = (_enrolment(source, subject, how) for source, subject in named)
    outcomes = gallery.enrol_many(enrolments, faces=how.faces, allow_conflict=how.allow_conflict)
    for portrait in portraits:
        name = portrait.source.name
        if portrait.subject is None:
            yield Result(name, None, error=(UNNAMED, portrait.problem))
        else:
            yield _result(name, portrait.subject, next(outcomes))


def _enrolment(source: Source, subject: str, how: How) -> "Enrolment":
    """Read an image once, for its key and for its face; one that cannot be read is left to fail where that is told."""
    from visavis.service.enroller import Enrolment  # noqa: PLC0415  # brings NumPy and OpenCV

    image, key = source.image, None
    with suppress(OSError, ValueError):
        content = _content(source.image, how.max_bytes + 1)
        image, key = _Photo(content, source.name), _key(content, subject)
    return Enrolment(subject=subject, image=image, details=how.details, source=_label(source), key=key)


def _label(source: Source) -> str:
    """Return what a sample says of where it comes from: no more of the path than was searched."""
    return printable(source.relative.as_posix())


def _content(image: str | IO[bytes], count: int) -> bytes:
    if not isinstance(image, str):
        return image.read(count)
    with open(image, "rb") as file:  # noqa: PTH123  # as the library opens it
        return file.read(count)


def _key(content: bytes, subject: str) -> str:
    digest = hashlib.sha256(content)
    digest.update(b"\0" + subject.encode())
    return digest.hexdigest()


def _result(name: str, subject: str, outcome: "Enrolled | VisavisError") -> Result:
    if isinstance(outcome, VisavisError):
        message = str(outcome).removeprefix(f"{name}: ")
        return Result(name, subject, error=(outcome.code, message))
    conflict = outcome.conflict.subject if outcome.conflict else None
    return Result(name, subject, outcome.sample, outcome.repeated, conflict)


_COLUMNS = ("file", "subject", "outcome", "sample", "error", "message")
_log = logging.getLogger("visavis.cli")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command was asked to do."""

    gallery: str
    store: StoreOptions
    models: ModelOptions
    how: How
    keep: Literal["nothing", "chips", "images"] | None
    report: Path | None
    as_json: bool
    quiet: bool


def enrol_all(portraits: list[Portrait], request: Request) -> Tally:
    """Enrol, telling of each image as it goes and of all at the end.

    Raises:
        VisavisError: nothing could be done, or the store failed on the way; what was enrolled stays.
    """
    tally = Tally()
    with (
        _report(request.report) as write,
        open_galleries(request.store, request.models, images=len(portraits)) as galleries,
    ):
        gallery = _open_or_make(galleries, request)
        with staying(tally), progress_bar(len(portraits), shown=_bar_wanted(request)) as advance:
            for result in enrol_portraits(portraits, gallery, request.how):
                tally.count(result.subject, repeated=result.repeated, code=result.error and result.error[0])
                _print_result(result, as_json=request.as_json)
                write(result)
                advance()
    if request.as_json:
        _log.info("%s", tally.in_short())
    else:
        stream = results_stream()
        stream.write(tally.summary(request.gallery) + "\n")
        stream.flush()
    return tally


def _bar_wanted(request: Request) -> bool:
    return not request.quiet and sys.stderr.isatty() and not (request.as_json and sys.stdout.isatty())


def _open_or_make(galleries: "Galleries", request: Request) -> "OpenGallery":
    from visavis.options import Policy  # noqa: PLC0415  # brings NumPy

    try:
        gallery = galleries.open(request.gallery)
    except GalleryNotFound:
        return make_gallery(galleries, request.gallery, Policy(keep=request.keep or "nothing"))
    kept = gallery.record.policy.keep
    if request.keep not in (None, kept):
        change = f"visavis gallery policy {request.gallery} --keep {request.keep}"
        raise InvalidOption(f"the gallery {request.gallery!r} keeps {kept}; to change that: {change}")
    return gallery


def _print_result(result: Result, *, as_json: bool) -> None:
    if result.error is not None:
        say(f"visavis: {result.file}: {result.error[1]}")
    elif result.conflict is not None:
        say(f"visavis: {result.file}: enrolled as {result.subject}, though it looks like {result.conflict}")
    if as_json:
        stream = results_stream()
        stream.write(json.dumps(result.to_dict()) + "\n")
        stream.flush()


@contextmanager
def _report(path: Path | None) -> Iterator[Callable[[Result], None]]:
    """Give what adds a result to the report, which appears when it is whole."""
    if path is None:
        yield lambda _result: None
        return
    with open_output(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        yield lambda result: writer.writerow(_row(result))


def _row(result: Result) -> tuple[str | int | None, ...]:
    outcome = "refused" if result.error else "already there" if result.repeated else "enrolled"
    return result.file, result.subject, outcome, result.sample, *(result.error or ("", ""))


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
            raise typer.Exit(_print_names(portraits, as_json=as_json))
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


def _print_names(portraits: list[Portrait], *, as_json: bool) -> int:
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
