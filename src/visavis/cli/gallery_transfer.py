"""``visavis gallery export``, ``import`` and ``backup``: galleries as files."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.importing import import_all
from visavis.cli.lines import open_lines_to_write
from visavis.cli.messages import reporting, results_stream
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
from visavis.cli.progress import progress_bar
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery
from visavis.cli.tally import counted
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.service.gallery import OpenGallery

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
