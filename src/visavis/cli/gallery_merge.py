"""``visavis gallery merge``: two subjects that are one person become one."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.gallery_forget import confirm_or_leave
from visavis.cli.messages import printable, reporting, results_stream
from visavis.cli.options import (
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    OwnPackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.stores import StoreOptions, open_galleries, open_with_its_pack
from visavis.cli.tally import counted
from visavis.errors import InvalidOption, StateError, VisavisError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visavis.galleries.records import Sample
    from visavis.service.enroller import Enrolment
    from visavis.service.gallery import OpenGallery

EXAMPLES = """\b
The samples of the first subject become the second's, with their pictures; the first one is forgotten, with its name,
metadata and consent note. Interrupted, it can be run again.

\b
Exit codes:
  0  merged
  1  not confirmed, and nothing was done
  2  it could not be done: there is no such subject, a sample that today's policy refuses, wrong usage or set-up

\b
Examples:
  visavis gallery merge staff a-lovelace ada-lovelace
"""


def merge(  # noqa: PLR0913  # a command's options are independent
    gallery: GalleryArgument,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of the one that goes.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="The ID of the one that stays.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: WholeJsonOption = False,
    pack: OwnPackOption = None,  # noqa: ARG001  # scripts may name one, as other commands want
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Give all samples of one subject to another, and forget the first."""
    models = ModelOptions(models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        if subject == into:
            raise InvalidOption("a subject cannot be merged into itself")
        opened = open_with_its_pack(galleries, gallery, models)
        samples = opened.samples(subject)
        there = opened.subject(into).samples
        moved = counted(len(samples), "sample")
        confirm_or_leave(f"Give the {moved} of {printable(subject)} to {printable(into)}, who has {there}?", yes=yes)
        _move(opened, samples, into)
        opened.forget_subject(subject)
        merged = opened.subject(into)
        words = f"{printable(into)} has {counted(merged.samples, 'sample')} now, and {printable(subject)} is forgotten"
        plain = {"gallery": gallery, "forgotten": subject, "subject": into, "samples": merged.samples}
        stream = results_stream()
        stream.write((json.dumps(plain) if as_json else words) + "\n")
        stream.flush()


def _move(gallery: "OpenGallery", samples: "tuple[Sample, ...]", into: str) -> None:
    """Enrol samples once more, as those of another subject.

    Raises:
        StateError: one is refused; nothing is forgotten then.
    """

    def enrolments() -> "Iterator[Enrolment]":
        from visavis.service.enroller import Enrolment  # noqa: PLC0415  # brings NumPy

        for sample in samples:
            yield Enrolment(
                subject=into,
                embedding=sample.embedding,
                quality=sample.quality,
                source=sample.source,
                key=f"merge-{sample.id}",
                picture=None if sample.picture == "nothing" else gallery.picture(sample.subject, sample.id),
            )

    for sample, outcome in zip(samples, gallery.enrol_many(enrolments(), allow_conflict=True), strict=True):
        if isinstance(outcome, VisavisError):
            raise StateError(f"sample {sample.id} of {sample.subject}: {outcome}; nothing was forgotten")
