"""``visavis gallery forget``: a sample, a subject or a gallery is gone for good."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.messages import printable, reporting, results_stream, say
from visavis.cli.options import (
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.report import Facts, readable
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery
from visavis.cli.tally import counted, spans
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import Receipt

EXAMPLES = """\b
Exit codes:
  0  forgotten; the receipt is printed
  1  not confirmed, and nothing was done
  2  it could not be done: there is no such thing, wrong usage or set-up

\b
Examples:
  visavis gallery forget staff                         the whole gallery
  visavis gallery forget staff ada-lovelace            one subject with all its samples
  visavis gallery forget staff ada-lovelace 17 --yes   one sample, without being asked
"""


def forget(  # noqa: PLR0913  # a command's options are independent
    gallery: GalleryArgument,
    subject: Annotated[str | None, typer.Argument(metavar="[SUBJECT]", help="The ID of one of its subjects.")] = None,
    sample: Annotated[
        int | None, typer.Argument(metavar="[SAMPLE]", help="The number of one of the subject's samples.")
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: WholeJsonOption = False,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Forget a gallery, one of its subjects, or one sample, and print a receipt.

    What is forgotten leaves the store, its index and backups that are made from then on; not older backups, exports,
    nor the photos that were enrolled. The log keeps that it was forgotten, by number and without the name.
    """
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        opened = open_gallery(galleries, gallery)
        confirm_or_leave(_question(opened, subject, sample), yes=yes)
        receipt = _forget(galleries, opened, subject, sample)
        stream = results_stream()
        stream.write((json.dumps(receipt.to_dict()) if as_json else readable("forgotten", _facts(receipt))) + "\n")
        stream.flush()


def _question(gallery: "OpenGallery", subject: str | None, sample: int | None) -> str:
    """Say what is about to be forgotten.

    Raises:
        SubjectNotFound: there is no such subject.
    """
    if subject is None:
        record = gallery.record
        held = f"{counted(record.subjects, 'subject')} and {counted(record.samples, 'sample')}"
        return f"Forget the gallery {gallery.name} with {held}?"
    samples = counted(gallery.subject(subject).samples, "sample")
    if sample is None:
        return f"Forget {printable(subject)} of the gallery {gallery.name} with {samples}?"
    return f"Forget sample {sample} of {printable(subject)}, who has {samples}?"


def confirm_or_leave(question: str, *, yes: bool) -> None:
    """Ask, unless the answer is known already.

    Raises:
        InvalidOption: there is nobody to ask.
        typer.Exit: with code 1, when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidOption("this cannot be undone: add --yes where nobody can be asked")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().casefold() not in {"y", "yes"}:
        say("visavis: nothing was done")
        raise typer.Exit(1)


def _forget(galleries: "Galleries", gallery: "OpenGallery", subject: str | None, sample: int | None) -> "Receipt":
    if subject is None:
        return galleries.forget(gallery.name)
    if sample is None:
        return gallery.forget_subject(subject)
    return gallery.forget_sample(subject, sample)


def _facts(receipt: "Receipt") -> Facts:
    return {
        "gallery": f"{receipt.gallery} (number {receipt.gallery_number})",
        "subject": receipt.subject or "all of them",
        "subject numbers": spans(receipt.subjects),
        "samples": receipt.samples,
        "at": f"{receipt.forgotten_at:%Y-%m-%d %H:%M:%S} UTC",
        "by": receipt.actor,
        "overwritten": receipt.overwritten,
    }
