"""``visavis gallery export``, ``import`` and ``backup``: galleries as files."""

import hashlib
import json
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visavis.cli.files import open_lines_to_read, open_lines_to_write
from visavis.cli.options import (
    DEFAULT_PACK,
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.stores import StoreOptions, make_gallery, open_galleries, open_gallery
from visavis.cli.terminal import Tally, counted, progress_bar, reporting, results_stream, say, staying
from visavis.errors import GalleryNotFound, InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis.options import Policy
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import Enrolled


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the file: its number, and what it holds; None where that is no JSON."""

    number: int
    content: Any


def import_all(galleries: "Galleries", name: str, file: str, *, quiet: bool) -> Tally:
    """Enrol what a file holds, telling of each line that is refused.

    Raises:
        InvalidOption: the file holds nothing, or a header that is not understood.
        SpaceMismatch: it holds embeddings of another pack.
        OSError: it cannot be read.
        SetupError: the store failed; what was enrolled stays.
    """
    tally = Tally()
    show_bar = Path(file).is_file() and not quiet and sys.stderr.isatty()  # what is a pipe cannot be counted first
    total = _count(file) if show_bar else 0
    with ExitStack() as stack:
        lines = _read(stack.enter_context(open_lines_to_read(file)))
        first = next(lines, None)
        if first is None:
            raise InvalidOption(f"{file}: holds no lines")
        gallery = _open_or_make(galleries, name, first)
        stack.enter_context(staying(tally))
        advance = stack.enter_context(progress_bar(total, shown=show_bar))
        for number, outcome in _import(gallery, chain([first], lines)):
            if isinstance(outcome, VisavisError):
                say(f"visavis: {file}:{number}: {outcome}")
                tally.count(None, repeated=False, code=outcome.code)
            else:
                tally.count(outcome.subject.id, repeated=outcome.repeated, code=None)
            advance()
    return tally


def _import(gallery: "OpenGallery", lines: Iterator[_Line]) -> "Iterator[tuple[int, Enrolled | VisavisError]]":
    """Yield the number of each line that asks for an enrolment, and what became of it."""
    from visavis.service.transfer import has_face  # noqa: PLC0415  # brings NumPy

    numbers: deque[int] = deque()

    def contents() -> Iterator[Mapping[str, Any]]:
        for line in lines:
            if has_face(line.content):
                numbers.append(line.number)
            yield _with_key(line.content)

    for outcome in gallery.import_lines(contents()):
        yield numbers.popleft(), outcome


def _with_key(content: Any) -> Mapping[str, Any]:  # noqa: ANN401  # whatever a line may hold: the service checks it
    """Give a sample a key of its own, so that it is not enrolled again by another try."""
    if not isinstance(content, dict) or content.get("key") or not isinstance(content.get("embedding"), list):
        return cast("Mapping[str, Any]", content)
    identity = json.dumps([content.get("subject"), content["embedding"]])
    return {**content, "key": hashlib.sha256(identity.encode()).hexdigest()}


def _open_or_make(galleries: "Galleries", name: str, first: _Line) -> "OpenGallery":
    try:
        return galleries.open(name)
    except GalleryNotFound:
        return make_gallery(galleries, name, _policy(galleries, first))


def _policy(galleries: "Galleries", first: _Line) -> "Policy":
    """Return the policy that a header names; the usual one where there is no header."""
    from visavis.options import Policy  # noqa: PLC0415  # brings NumPy
    from visavis.service.decisions import mismatch  # noqa: PLC0415  # likewise
    from visavis.service.transfer import is_header, space_of_header  # noqa: PLC0415  # likewise

    if not is_header(first.content):
        return Policy()
    space = space_of_header(first.content)
    if space != galleries.eyes.pack.space.id:
        raise mismatch("the file holds", space, galleries.eyes.pack.space.id)
    try:
        return Policy(**first.content.get("policy") or {})
    except TypeError:
        raise InvalidOption(
            "the header's policy has fields that are not known here; import with a newer version"
        ) from None


def _read(lines: Iterator[bytes]) -> Iterator[_Line]:
    """Yield what each line holds; blank ones are passed over, and what is no JSON is left to be refused."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _Line(number, json.loads(line))
        except (ValueError, RecursionError):
            yield _Line(number, None)


def _count(file: str) -> int:
    with open_lines_to_read(file) as lines:
        return sum(1 for _ in lines)


EXPORT_EXAMPLES = """\b
The file holds JSON Lines: a header, and a line for each sample with its embedding, which is as personal as a face.
Nothing in it is encrypted, and only its owner may read it. With --subject it is one JSON object with all that is known
of the person, pictures and log included, as a person may ask for.

\b
Examples:
  visavis gallery export staff -o staff.jsonl
  visavis gallery export staff -o staff.jsonl.gz --pictures
  visavis gallery export staff --subject ada-lovelace -o ada.json
"""
IMPORT_EXAMPLES = """\b
The file is one that visavis gallery export wrote, or JSON Lines of your own: {"subject": "ada", "embedding": [...]},
and if you like name, metadata, consent, expires_at, quality, source and picture. What is there already is passed over,
so that an import which was interrupted can be run again.

\b
Exit codes:
  0  all samples are in the gallery, now or before
  1  some lines were refused; each is named on standard error
  2  nothing could be done: no such file, embeddings of another pack, wrong usage or set-up

\b
Examples:
  visavis gallery import staff staff.jsonl.gz
  visavis gallery export staff | ssh elsewhere visavis gallery import staff -
"""

_log = logging.getLogger("visavis.cli")


def export(  # noqa: PLR0913  # a command's options are independent
    gallery: GalleryArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default="standard output",
            help="Where to write; compressed where it ends with .gz. It appears when it is whole.",
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Include the pictures that the gallery keeps.")] = False,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="ID", help="All that is known of one subject.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a gallery as JSON Lines, or one subject as a JSON object."""
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        opened = open_gallery(galleries, gallery)
        if subject is not None:
            plain = opened.export_subject(subject)
            with open_lines_to_write(output) as stream:
                stream.write(json.dumps(plain, indent=2) + "\n")
            return
        count = _export(opened, output, pictures=pictures, quiet=quiet)
        if output is not None:
            _log.info("exported %s of the gallery %s to %s", counted(count, "sample"), gallery, output)


def _export(gallery: "OpenGallery", output: Path | None, *, pictures: bool, quiet: bool) -> int:
    """Write all lines, and return how many samples they hold."""
    count = 0
    show_bar = output is not None and not quiet and sys.stderr.isatty()
    lines = gallery.export(pictures=pictures)
    with open_lines_to_write(output) as stream, progress_bar(gallery.record.samples, shown=show_bar) as advance:
        for line in lines:
            stream.write(json.dumps(line) + "\n")
            if line.get("embedding") is not None:
                count += 1
                advance()
    return count


def import_(  # noqa: PLR0913  # likewise
    gallery: GalleryArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines, compressed or not; - for standard input.")],
    *,
    as_json: WholeJsonOption = False,
    pack: PackOption = DEFAULT_PACK,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Enrol what a file holds. The gallery is made where there is none, with the policy of the one exported.

    Prints how many samples were enrolled, how many were there already, and how many were refused for which reason.
    """
    models = ModelOptions(pack, models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        tally = import_all(galleries, gallery, file, quiet=quiet)
        stream = results_stream()
        stream.write((json.dumps(tally.to_dict()) if as_json else tally.summary(gallery)) + "\n")
        stream.flush()
        raise typer.Exit(1 if tally.refused else 0)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, which appears when it is whole.")],
    *,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Copy the whole store, all galleries and the log, to a file, while others go on working.

    Such a copy is a store: visavis gallery list --store sqlite:///COPY. What is encrypted stays so, and needs its key.
    """
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        if not str(file):
            raise InvalidOption("the file to back up to needs a name")
        galleries.backup(file)
        _log.info("copied %s to %s", galleries.store.url, file)
