"""``visavis gallery list``, ``show``, ``log``, ``create``, ``policy``, ``merge`` and ``forget``."""

import inspect
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.options import (
    DEFAULT_PACK,
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    OwnPackOption,
    PackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery, open_with_its_pack, pack_of
from visavis.cli.terminal import Facts, counted, printable, readable, reporting, results_stream, say, spans
from visavis.errors import InvalidOption, StateError, VisavisError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from visavis.galleries.records import Gallery, LogEntry, Sample, Subject
    from visavis.models.packs import Pack
    from visavis.options import Policy
    from visavis.service.enroller import Enrolment
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import Receipt


_DEFAULT = "default"
_NEVER = "never"

_LIMITS = {
    "threshold": "A subject nearer than this is identified.",
    "margin": "By how much the next subject must be farther away.",
    "conflict_threshold": "A face nearer than this to another subject is not enrolled; 0 enrols it all the same.",
    "min_face_px": "Enrol no face of fewer pixels.",
    "min_sharpness": "Enrol no face less sharp than this.",
    "min_score": "Enrol no face that the detector is less sure of.",
    "max_yaw": "Enrol no head that is turned sideways by more degrees; 90 for any.",
    "max_pitch": "Enrol no head that looks up or down by more degrees; 90 for any.",
    "probe_min_face_px": "Identify no face of fewer pixels.",
    "probe_min_sharpness": "Identify no face less sharp than this.",
    "probe_min_score": "Identify no face that the detector is less sure of.",
}
_KEEP = typer.Option("--keep", help="What is kept of enrolled images: nothing, aligned faces, or whole images.")
_RETENTION = typer.Option(
    "--retention-days", metavar="N|never", help="Forget a subject so many days after its last enrolment."
)
_FLAGS = {
    "require_live": "Whether images must show faces that look live; needs a pack that can tell, such as open.",
    "consent_required": "Whether to enrol nobody without a consent note.",
    "log_searches": "Whether the log tells of every search.",
}
GivenPolicy = Mapping[str, str | bool | None]
"""The fields of a policy, as options give them; None where an option is not given."""


def takes_policy(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes a policy's fields as ``given`` an option for each of them, in the place of that."""
    options = _policy_options()

    @wraps(command)
    def taking(**values: object) -> None:
        given = {name: values.pop(name) for name in options}
        command(**values, given=given)

    plain = inspect.signature(command, eval_str=True).parameters
    parameters = [parameter for name in plain for parameter in (options.values() if name == "given" else [plain[name]])]
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    taking.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # which inspect reads
    taking.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    return taking


def _policy_options() -> dict[str, inspect.Parameter]:
    """Return an optional parameter for each field of a policy."""
    kinds: dict[str, object] = {
        name: Annotated[str | None, typer.Option(_option(name), metavar="N|default", help=about)]
        for name, about in _LIMITS.items()
    }
    kinds["keep"] = Annotated[Literal["nothing", "chips", "images"] | None, _KEEP]
    kinds["retention_days"] = Annotated[str | None, _RETENTION]
    for name, about in _FLAGS.items():
        both = f"{_option(name)}/--no-{_option(name)[2:]}"
        kinds[name] = Annotated[bool | None, typer.Option(both, help=about)]
    return {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in kinds.items()
    }


def changed_policy(policy: "Policy", given: GivenPolicy) -> "Policy":
    """Return the policy with those fields changed that are given.

    Raises:
        InvalidOption: a value is no number, or out of its range; the message names the option.
    """
    changes = {
        name: _number(name, value) if isinstance(value, str) and name != "keep" else value
        for name, value in given.items()
        if value is not None
    }
    try:
        return replace(policy, **changes)  # type: ignore[arg-type]  # checked there
    except InvalidOption as error:
        name, _, rest = str(error).partition(" ")
        raise InvalidOption(f"{_option(name)} {rest}") from None


def policy_facts(gallery: "Gallery", pack: "Pack | None") -> Facts:
    """Return a policy in words, with the numbers of the gallery's pack where they count and it is known."""
    own = _own_numbers(pack)
    facts: dict[str, str | float | bool | None] = {}
    for name, value in gallery.policy.to_dict().items():
        if name in _LIMITS and value is None:
            facts[name.replace("_", " ")] = "the pack's own" + (f": {own[name]:g}" if own else "")
        elif name == "retention_days":
            facts["forget after days"] = _NEVER if value is None else f"{value:g}"
        else:
            facts[name.replace("_", " ")] = f"{value:g}" if type(value) is float else value
    return facts


def _own_numbers(pack: "Pack | None") -> Mapping[str, float]:
    if pack is None:
        return {}
    return {
        **asdict(pack.quality),
        "threshold": pack.identify_threshold,
        "margin": pack.identify_margin,
        "conflict_threshold": pack.conflict_threshold,
    }


def _number(name: str, text: str) -> float | None:
    word = _NEVER if name == "retention_days" else _DEFAULT
    if text == word:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidOption(f"{_option(name)} must be a number or {word}, not {text!r}") from None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


_PAGE = 1000
_SHOWN = 20
AllOption = Annotated[bool, typer.Option("--all", help=f"Show all of them, where it would be {_SHOWN}.")]


def list_(  # noqa: PLR0913  # a command's options are independent
    *,
    as_json: WholeJsonOption = False,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the galleries: name, subjects, samples, when it was made, encrypted or plain, pack, what it keeps."""
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        found, folder = galleries.all(), ModelOptions(models_dir=models_dir).models_folder()
        if as_json:
            _print(json.dumps([_gallery_to_dict(gallery, folder) for gallery in found], indent=2))
        elif found:
            names = max(len(gallery.name) for gallery in found)
            packs = [_pack_name(gallery, folder) or "unknown" for gallery in found]
            widths = names, max(map(len, packs))
            _print("\n".join(_gallery_line(*each, widths) for each in zip(found, packs, strict=True)))
        elif not quiet:
            say(f"visavis: there are no galleries in {galleries.store.url}; visavis enrol makes one")


def show(  # noqa: PLR0913  # likewise
    gallery: GalleryArgument,
    subject: Annotated[str | None, typer.Argument(metavar="[SUBJECT]", help="The ID of one of its subjects.")] = None,
    *,
    show_all: AllOption = False,
    as_json: WholeJsonOption = False,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show a gallery: its policy and its subjects; or one subject: what is known of it, and its samples."""
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        opened = open_gallery(galleries, gallery)
        if subject is None:
            folder = ModelOptions(models_dir=models_dir).models_folder()
            if as_json:
                _print(_gallery_as_json(opened, folder))
            else:
                _print(_gallery_in_words(galleries, opened, folder, everything=show_all))
        else:
            _print(_subject_as_json(opened, subject) if as_json else _subject_in_words(opened, subject))


def log(  # noqa: PLR0913  # likewise
    gallery: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One gallery, also if it is gone.")] = None,
    *,
    show_all: AllOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: an object for each entry.")] = False,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show the log: number, when, who, what, which gallery, how many samples or faces, and the subjects' numbers.

    The log only ever grows, and outlives what it tells of. It calls subjects by number, as visavis gallery show does.
    """
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        stream = results_stream()
        entries: Iterable[LogEntry] = _entries(galleries, gallery)
        for entry in entries if show_all else deque(entries, maxlen=_SHOWN):
            stream.write((json.dumps(entry.to_dict()) if as_json else _entry_line(entry)) + "\n")
        stream.flush()


def _entries(galleries: "Galleries", gallery: str | None) -> "Iterator[LogEntry]":
    after = 0
    while page := galleries.entries(gallery, after=after, limit=_PAGE):
        yield from page
        after = page[-1].number


def _subjects(gallery: "OpenGallery") -> "Iterator[Subject]":
    after = 0
    while page := gallery.subjects(after=after, limit=_PAGE):
        yield from page
        after = page[-1].number


def _gallery_line(gallery: "Gallery", pack: str, widths: tuple[int, int]) -> str:
    subjects, samples = counted(gallery.subjects, "subject"), counted(gallery.samples, "sample")
    secrecy = "encrypted" if gallery.encrypted else "plain"
    made = f"{gallery.created_at:%Y-%m-%d}"
    first = f"{gallery.name:<{widths[0]}}  {subjects:>12}  {samples:>12}  {made}  {secrecy:<9}"
    return f"{first}  pack {pack:<{widths[1]}}  keeps {gallery.policy.keep}"


def _gallery_in_words(galleries: "Galleries", gallery: "OpenGallery", models_dir: "Path", *, everything: bool) -> str:
    record = gallery.record
    facts: Facts = {
        "store": galleries.store.url,
        "subjects": record.subjects,
        "samples": record.samples,
        "made": _minute(record.created_at),
        "encrypted": record.encrypted,
        "pack": _pack_name(record, models_dir) or "unknown: of another version, or not installed here",
        "embedding space": f"{record.space.id}, {record.space.dimension} numbers, {record.space.metric}",
    }
    parts = [
        readable(f"gallery {record.name}", facts),
        readable("policy", policy_facts(record, pack_of(record, models_dir))),
    ]
    subjects = list(islice(_subjects(gallery), None if everything else _SHOWN))
    width = max((len(printable(subject.id)) for subject in subjects), default=0)
    lines = [_subject_line(subject, width) for subject in subjects]
    if len(lines) < record.subjects:
        lines.append(f"  ... and {record.subjects - len(lines):,} more: --all")
    return "\n\n".join([*parts, "\n".join(["subjects", *lines])])


def _pack_name(gallery: "Gallery", models_dir: "Path") -> str | None:
    pack = pack_of(gallery, models_dir)
    return pack.name if pack else None


def _gallery_to_dict(gallery: "Gallery", models_dir: "Path") -> dict[str, object]:

    return {**gallery.to_dict(), "pack": _pack_name(gallery, models_dir)}


def _subject_line(subject: "Subject", width: int) -> str:
    name = f"  {printable(subject.name)}" if subject.name else ""
    return f"  {printable(subject.id):<{width}}  {counted(subject.samples, 'sample'):>10}{name}"


def _gallery_as_json(gallery: "OpenGallery", models_dir: "Path") -> str:

    subjects = [subject.to_dict() for subject in _subjects(gallery)]
    return json.dumps({**_gallery_to_dict(gallery.record, models_dir), "subject_list": subjects}, indent=2)


def _subject_in_words(gallery: "OpenGallery", id_: str) -> str:
    subject, samples = gallery.subject(id_), gallery.samples(id_)
    facts: Facts = {
        "number": subject.number,
        "name": subject.name,
        "metadata": json.dumps(dict(subject.metadata), ensure_ascii=False) if subject.metadata else None,
        "consent": subject.consent,
        "made": _minute(subject.created_at),
        "changed": _minute(subject.updated_at),
        "forgotten after": _minute(subject.expires_at) if subject.expires_at else None,
    }
    return "\n".join([readable(f"subject {printable(subject.id)}", facts), "", "samples", *map(_sample_line, samples)])


def _sample_line(sample: "Sample") -> str:
    quality = sample.quality
    seen = f"{quality.face_px:.0f} px, sharpness {quality.sharpness:.2f}, score {quality.score:.2f}" if quality else "-"
    parts = [f"  {sample.id}", _minute(sample.created_at), seen, f"kept: {sample.picture}"]
    return "  ".join([*parts, printable(sample.source or "")]).rstrip()


def _subject_as_json(gallery: "OpenGallery", id_: str) -> str:

    samples = [sample.to_dict() for sample in gallery.samples(id_)]
    return json.dumps({**gallery.subject(id_).to_dict(), "sample_list": samples}, indent=2)


def _entry_line(entry: "LogEntry") -> str:
    about = [f"{entry.count:,}"] if entry.count else []
    about += [f"subjects {spans(entry.subjects)}"] if entry.subjects else []
    line = f"{entry.number}  {entry.at:%Y-%m-%d %H:%M:%S}  {printable(entry.actor)}  {entry.action}  {entry.gallery}"
    return "  ".join([line, *about])


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _print(text: str) -> None:
    stream = results_stream()
    stream.write(text + "\n")
    stream.flush()


FORGET_EXAMPLES = """\b
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


MERGE_EXAMPLES = """\b
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


POLICY_EXAMPLES = """\b
Examples:
  visavis gallery create staff --keep chips --consent-required
  visavis gallery create visitors --retention-days 30 --key-file visavis.key
  visavis gallery policy staff
  visavis gallery policy staff --threshold 0.5 --margin default
  visavis gallery policy staff --max-yaw 45 --min-score default
"""

_log = logging.getLogger("visavis.cli")


@takes_policy
def create(  # noqa: PLR0913  # a command's options are independent
    name: GalleryArgument,
    *,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt", show_default="encrypted where there is a key", help="Whether to encrypt."
        ),
    ] = None,
    given: GivenPolicy,
    as_json: WholeJsonOption = False,
    pack: PackOption = DEFAULT_PACK,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a gallery, for the embeddings of one pack; options that are not given take their usual values."""
    models = ModelOptions(pack, models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        from visavis.options import Policy  # noqa: PLC0415  # brings NumPy

        made = galleries.create(name, policy=changed_policy(Policy(), given), encrypted=encrypt)
        _log.info("made the gallery %s in %s", name, galleries.store.url)
        _print_policy(made, pack_of(made, models.models_folder()), as_json=as_json)


@takes_policy
def policy(  # noqa: PLR0913  # likewise
    name: GalleryArgument,
    *,
    given: GivenPolicy,
    as_json: WholeJsonOption = False,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Change those parts of a gallery's policy that are given, and show all of it. What is enrolled already stays."""
    models = ModelOptions(models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        opened = open_with_its_pack(galleries, name, models)
        record = opened.record
        wanted = changed_policy(record.policy, given)
        if wanted != record.policy:
            record = opened.set_policy(wanted)
        _print_policy(record, pack_of(record, models.models_folder()), as_json=as_json)


def _print_policy(gallery: "Gallery", pack: "Pack | None", *, as_json: bool) -> None:

    stream = results_stream()
    plain = json.dumps(gallery.to_dict(), indent=2)
    words = readable(f"policy of gallery {gallery.name}", policy_facts(gallery, pack))
    stream.write((plain if as_json else words) + "\n")
    stream.flush()
