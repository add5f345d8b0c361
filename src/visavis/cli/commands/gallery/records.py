"""``visavis gallery list``, ``show``, ``log``, ``create``, ``policy``, ``check``, ``rekey`` ... ``forget``."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from visavis.cli.app import command
from visavis.cli.lazy import decisions, installation, records, stores
from visavis.cli.options import (
    GalleryName,
    Json,
    ModelOptions,
    ModelsDir,
    OwnPack,
    PackName,
    PolicyChanges,
    StoreOptions,
    Yes,
    flag_of,
)
from visavis.cli.terminal import Facts, counted, printable, readable, say, spans, write
from visavis.errors import InvalidOption, StoreDamaged
from visavis.options import DEFAULT_PACK, Option, Policy, options_of

if TYPE_CHECKING:
    from visavis import Galleries, OpenGallery
    from visavis.galleries.records import Gallery, GalleryCheck, LogEntry, Sample, Subject
    from visavis.service.results import GalleryRules, Receipt

POLICY_EXAMPLES = """\b
Examples:
  visavis gallery create staff --keep chips --consent-required
  visavis gallery create visitors --retention-days 30 --key-file visavis.key
  visavis gallery policy staff
  visavis gallery policy staff --threshold 0.5 --margin default
  visavis gallery policy staff --max-yaw 45 --min-score default
"""
MERGE_EXAMPLES = """\b
The samples of the first subject become the second's, with their pictures; the first one is forgotten, with its name,
metadata and consent note.

\b
Exit codes:
  0  merged
  1  not confirmed, and nothing was done
  2  it could not be done: there is no such subject, no note of consent that the policy wants, wrong usage or set-up

\b
Examples:
  visavis gallery merge staff a-lovelace ada-lovelace
"""
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
CHECK_EXAMPLES = """\b
What is damaged is left out by every other command. It is told by the numbers of subjects and samples, for their names
may be what cannot be read. Restore a backup; or forget it with --forget, and enrol it again.

\b
Exit codes:
  0  nothing is damaged, or it was forgotten
  1  something is damaged; or not confirmed, and nothing was done
  2  it could not be done: no such gallery, no key for it, wrong usage or set-up

\b
Examples:
  visavis gallery check staff
  visavis gallery check staff --forget
"""
REKEY_EXAMPLES = """\b
A new key for one gallery encrypts all of it anew, while servers go on. Interrupted, the command can be run again.

\b
A new key for the store, from openssl rand -hex 32 > new.key:
  1. cat new.key old.key > both.key, name both.key in VISAVIS_GALLERY_KEY_FILE, and restart servers one by one
  2. visavis gallery rekey --key-file both.key
  3. name new.key, restart servers one by one, and destroy old.key, which opens the backups that were made before

\b
Exit codes:
  0  done
  1  some galleries are of another key, and stay as they are
  2  it could not be done: no such gallery, no key for it, wrong usage or set-up

\b
Examples:
  visavis gallery rekey staff
  visavis gallery rekey --key-file both.key
"""
_PAGE = 1000
_SHOWN = 20
_Numbered = TypeVar("_Numbered", "Subject", "LogEntry")
_log = logging.getLogger("visavis.cli")

All = Annotated[bool, Option(f"Show all of them, where it would be {_SHOWN}.")]


@command()
def list_(*, as_json: Json = False, models_dir: ModelsDir = None, store: StoreOptions) -> None:
    """List the galleries: name, subjects, samples, when it was made, encrypted or plain, pack, what it keeps."""
    with stores.open_galleries(store) as galleries:
        found, folder = galleries.all(), ModelOptions(loading={"models_dir": models_dir}).folder
        if as_json:
            write(json.dumps([_plain(gallery, folder) for gallery in found], indent=2))
        elif found:
            names = max(len(gallery.name) for gallery in found)
            packs = [_pack_name(gallery, folder) or "unknown" for gallery in found]
            widths = names, max(map(len, packs))
            write("\n".join(_gallery_line(*each, widths) for each in zip(found, packs, strict=True)))
        else:
            _log.info("visavis: there are no galleries in %s; visavis enrol makes one", galleries.store.url)


@command()
def show(
    gallery: GalleryName,
    subject: Annotated[str | None, typer.Argument(metavar="[SUBJECT]", help="The ID of one of its subjects.")] = None,
    *,
    all_: All = False,
    as_json: Json = False,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> None:
    """Show a gallery: its policy and its subjects; or one subject: what is known of it, and its samples."""
    with stores.open_galleries(store) as galleries:
        opened = stores.open_gallery(galleries, gallery)
        if subject is not None:
            about, samples = opened.subject(subject), opened.samples(subject)
            plain = {**about.to_dict(), "sample_list": [sample.to_dict() for sample in samples]}
            write(json.dumps(plain, indent=2) if as_json else _subject_words(about, samples))
            return
        folder = ModelOptions(loading={"models_dir": models_dir}).folder
        if as_json:
            subjects = [each.to_dict() for each in _all(opened.subjects)]
            write(json.dumps({**_plain(opened.record, folder), "subject_list": subjects}, indent=2))
        else:
            write(_gallery_words(galleries, opened, folder, everything=all_))


@command()
def log(
    gallery: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One gallery, also if it is gone.")] = None,
    *,
    all_: All = False,
    as_json: Annotated[bool, Option("Print JSON Lines: an object for each entry.")] = False,
    store: StoreOptions,
) -> None:
    """Show the log, newest first: number, when, who, what, which gallery, how many samples or faces, subjects' numbers.

    The log only ever grows, and outlives what it tells of. It calls subjects by number, as visavis gallery show does.
    """
    with stores.open_galleries(store) as galleries:
        entries = _all(partial(galleries.entries, gallery, newest_first=True))
        for entry in islice(entries, None if all_ else _SHOWN):
            write(json.dumps(entry.to_dict()) if as_json else _entry_line(entry))


def _all(next_page: Callable[..., tuple[_Numbered, ...]]) -> Iterator[_Numbered]:
    after = 0
    while page := next_page(after=after, limit=_PAGE):
        yield from page
        after = page[-1].number


def _plain(gallery: Gallery, models_dir: Path) -> dict[str, object]:
    rules = _rules(gallery, models_dir)
    return {**gallery.to_dict(), "pack": rules and rules.pack, "rules": rules and rules.to_dict()}


def _rules(gallery: Gallery, models_dir: Path) -> GalleryRules | None:
    """Return the numbers in force, with what was measured here; None where the gallery's pack is not known here."""
    pack = stores.pack_of(gallery, models_dir)
    return None if pack is None else decisions.rules_in_force(gallery, installation.as_installed(pack, models_dir))


def _pack_name(gallery: Gallery, models_dir: Path) -> str | None:
    pack = stores.pack_of(gallery, models_dir)
    return pack.name if pack else None


def _gallery_line(gallery: Gallery, pack: str, widths: tuple[int, int]) -> str:
    subjects, samples = counted(gallery.subjects, "subject"), counted(gallery.samples, "sample")
    secrecy = "encrypted" if gallery.encrypted else "plain"
    first = f"{gallery.name:<{widths[0]}}  {subjects:>12}  {samples:>12}  {gallery.created_at:%Y-%m-%d}  {secrecy:<9}"
    return f"{first}  pack {pack:<{widths[1]}}  keeps {gallery.policy.keep}"


def _gallery_words(galleries: Galleries, gallery: OpenGallery, models_dir: Path, *, everything: bool) -> str:
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
    subjects = list(islice(_all(gallery.subjects), None if everything else _SHOWN))
    width = max((len(printable(subject.id)) for subject in subjects), default=0)
    lines = [
        f"  {printable(each.id):<{width}}  {counted(each.samples, 'sample'):>10}  {printable(each.name or '')}".rstrip()
        for each in subjects
    ]
    if len(lines) < record.subjects:
        lines.append(f"  ... and {record.subjects - len(lines):,} more: --all")
    policy = _policy_words("policy", record, models_dir)
    return "\n\n".join([readable(f"gallery {record.name}", facts), policy, "\n".join(["subjects", *lines])])


def _subject_words(subject: Subject, samples: Iterable[Sample]) -> str:
    facts: Facts = {
        "number": subject.number,
        "name": subject.name,
        "metadata": json.dumps(dict(subject.metadata), ensure_ascii=False) if subject.metadata else None,
        "consent": subject.consent,
        "made": _minute(subject.created_at),
        "changed": _minute(subject.updated_at),
        "forgotten after": _minute(subject.expires_at) if subject.expires_at else None,
        "ignored": "yes" if subject.ignored else None,
    }
    return "\n".join([readable(f"subject {printable(subject.id)}", facts), "", "samples", *map(_sample_line, samples)])


def _sample_line(sample: Sample) -> str:
    quality = sample.quality
    seen = f"{quality.face_px:.0f} px, sharpness {quality.sharpness:.2f}, score {quality.score:.2f}" if quality else "-"
    parts = [f"  {sample.id}", _minute(sample.created_at), seen, f"kept: {sample.picture}"]
    parts += ["counter-sample"] * sample.counter
    return "  ".join([*parts, printable(sample.source or "")]).rstrip()


def _entry_line(entry: LogEntry) -> str:
    about = [f"{entry.count:,}"] if entry.count else []
    about += [f"subjects {spans(entry.subjects)}"] if entry.subjects else []
    line = f"{entry.number}  {entry.at:%Y-%m-%d %H:%M:%S}  {printable(entry.actor)}  {entry.action}  {entry.gallery}"
    return "  ".join([line, *about])


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@command(POLICY_EXAMPLES)
def create(
    name: GalleryName,
    *,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt", show_default="encrypted where there is a key", help="Whether to encrypt."
        ),
    ] = None,
    given: PolicyChanges,
    as_json: Json = False,
    pack: PackName = DEFAULT_PACK,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> None:
    """Make a gallery, for the embeddings of one pack; options that are not given take their usual values."""
    models = ModelOptions(pack, loading={"models_dir": models_dir})
    with stores.open_galleries(store, models) as galleries:
        made = galleries.create(name, policy=_changed(Policy(), given), encrypted=encrypt).record
        _log.info("made the gallery %s in %s", name, galleries.store.url)
        _print_policy(made, models, as_json=as_json)


@command(POLICY_EXAMPLES)
def policy(
    name: GalleryName, *, given: PolicyChanges, as_json: Json = False, models_dir: ModelsDir = None, store: StoreOptions
) -> None:
    """Change those parts of a gallery's policy that are given, and show all of it. What is enrolled already stays."""
    models = ModelOptions(loading={"models_dir": models_dir})
    with stores.open_galleries(store, models) as galleries:
        opened = stores.open_with_its_pack(galleries, name, models)
        record = opened.record
        wanted = _changed(record.policy, given)
        _print_policy(record if wanted == record.policy else opened.set_policy(wanted), models, as_json=as_json)


def _changed(policy: Policy, given: Mapping[str, Any]) -> Policy:
    """Return the policy with those fields changed that are given; an error names the option."""
    try:
        return replace(policy, **given)
    except InvalidOption as error:
        name, _, rest = str(error).partition(" ")
        raise InvalidOption(f"{flag_of(name)} {rest}") from None


def _print_policy(gallery: Gallery, models: ModelOptions, *, as_json: bool) -> None:
    if as_json:
        write(json.dumps(_plain(gallery, models.folder), indent=2))
    else:
        write(_policy_words(f"policy of gallery {gallery.name}", gallery, models.folder))


def _policy_words(title: str, gallery: Gallery, models_dir: Path) -> str:
    """Return a policy in words, and the numbers in force where the gallery's pack is known."""
    rules = _rules(gallery, models_dir)
    if rules is None:
        return readable(title, _policy_facts(gallery, {}))
    own = {**rules.limits, **{name: getattr(rules, name) for name in ("threshold", "margin", "conflict_threshold")}}
    low, high = rules.interval or (rules.threshold, rules.threshold)
    facts: Facts = {
        "identify": f"nearer than {rules.threshold:.4g}" + (f" ({low:.4g} to {high:.4g})" if rules.interval else ""),
        "false positives (FPIR)": f"{rules.fpir:g}, of {counted(rules.subjects, 'subject')}" if rules.fpir else None,
        "false matches (FMR)": f"{rules.fmr:.2g}, of one comparison" if rules.fmr else None,
        "verify": f"nearer than {rules.verify_threshold:.4g}",
        "its false matches (FMR)": f"{rules.verify_fmr:.2g}" if rules.verify_fmr else None,
        "candidates": f"nearer than {rules.candidate_threshold:.4g}",
    }
    return readable(title, _policy_facts(gallery, own)) + "\n\n" + readable("in force", facts)


def _policy_facts(gallery: Gallery, own: Mapping[str, float]) -> Facts:
    """Return a policy in words, with the numbers that count where it has none, as far as they are known."""
    facts: dict[str, str | float | bool | None] = {}
    for name, value in gallery.policy.to_dict().items():
        unset = options_of(Policy)[name][1].unset
        title = "forget after days" if name == "retention_days" else name.replace("_", " ")
        if value is None and unset:
            facts[title] = unset + (f": {own[name]:g}" if name in own else "")
        else:
            facts[title] = f"{value:g}" if type(value) is float else value
    return facts


@command(FORGET_EXAMPLES)
def forget(
    gallery: GalleryName,
    subject: Annotated[str | None, typer.Argument(metavar="[SUBJECT]", help="The ID of one of its subjects.")] = None,
    sample: Annotated[
        int | None, typer.Argument(metavar="[SAMPLE]", help="The number of one of the subject's samples.")
    ] = None,
    *,
    yes: Yes = False,
    as_json: Json = False,
    store: StoreOptions,
) -> None:
    """Forget a gallery, one of its subjects, or one sample, and print a receipt.

    What is forgotten leaves the store, its index and backups that are made from then on; not older backups, exports,
    nor the photos that were enrolled. The log keeps that it was forgotten, by number and without the name.
    """
    with stores.open_galleries(store) as galleries:
        found = [each for each in galleries.all() if each.name == gallery]  # which may be locked, or damaged
        opened = galleries.named(gallery) if found else stores.open_gallery(galleries, gallery)
        if subject is None:
            held = f"{counted(found[0].subjects, 'subject')} and {counted(found[0].samples, 'sample')}"
            question = f"Forget the gallery {gallery} with {held}?"
        else:
            samples = "damaged details"
            with suppress(StoreDamaged):
                samples = counted(opened.subject(subject).samples, "sample")
            question = f"Forget {printable(subject)} of the gallery {gallery} with {samples}?"
            if sample is not None:
                question = f"Forget sample {sample} of {printable(subject)}, who has {samples}?"
        confirm(question, yes=yes)
        if subject is None:
            receipt = opened.forget()
        else:
            receipt = opened.forget_subject(subject) if sample is None else opened.forget_sample(subject, sample)
        write(json.dumps(receipt.to_dict()) if as_json else receipt_words(receipt))


@command(CHECK_EXAMPLES)
def check(
    gallery: GalleryName,
    *,
    forget_: Annotated[bool, Option("Forget what is damaged, and print a receipt.")] = False,
    yes: Yes = False,
    as_json: Json = False,
    store: StoreOptions,
) -> int:
    """Look for what is damaged in a gallery: everything is read, so a large one takes long."""
    with stores.open_galleries(store) as galleries:
        opened = stores.open_gallery(galleries, gallery)
        report = opened.check()
        forgets = forget_ and report.damaged
        if not (as_json and forgets):
            write(json.dumps(report.to_dict(), indent=2) if as_json else _check_words(report))
        if not forgets:
            return int(bool(report.damaged))
        confirm("Forget these?", yes=yes)
        receipt = opened.forget_damaged()
        write(json.dumps(receipt.to_dict()) if as_json else receipt_words(receipt))
        return 0


@command(REKEY_EXAMPLES)
def rekey(
    gallery: Annotated[str | None, typer.Argument(metavar="[GALLERY]", help="The one that gets a new key.")] = None,
    *,
    store: StoreOptions,
) -> int:
    """Change the key of a gallery; or the key that protects those of all galleries, to the first of the key file."""
    with stores.open_galleries(store) as galleries:
        if gallery is not None:
            stores.open_gallery(galleries, gallery).rekey()
            _log.info("the gallery %s has a new key", gallery)
            return 0
        locked = galleries.rekey()
        for name in locked:
            say(f"visavis: none of the keys opens the gallery {name}, which stays as it is")
        _log.info("the first key protects all %s galleries", "other" if locked else "encrypted")
        return int(bool(locked))


@command(MERGE_EXAMPLES)
def merge(
    gallery: GalleryName,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of the one that goes.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="The ID of the one that stays.")],
    *,
    yes: Yes = False,
    as_json: Json = False,
    _pack: OwnPack = None,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> None:
    """Give all samples of one subject to another, and forget the first."""
    models = ModelOptions(loading={"models_dir": models_dir})
    with stores.open_galleries(store, models) as galleries:
        opened = stores.open_with_its_pack(galleries, gallery, models)
        moved, there = counted(opened.subject(subject).samples, "sample"), opened.subject(into).samples
        confirm(f"Give the {moved} of {printable(subject)} to {printable(into)}, who has {there}?", yes=yes)
        merged = opened.merge(subject, into)
        words = f"{printable(into)} has {counted(merged.samples, 'sample')} now, and {printable(subject)} is forgotten"
        plain = {"gallery": gallery, "forgotten": subject, "subject": into, "samples": merged.samples}
        write(json.dumps(plain) if as_json else words)


@command()
def move(
    gallery: GalleryName,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of the one who has the samples.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="The ID of the one whose they are.")],
    samples: Annotated[list[int], typer.Argument(metavar="SAMPLE", help="The numbers of the samples.")],
    *,
    as_json: Json = False,
    store: StoreOptions,
) -> None:
    """Give samples of one subject to another, all or none, with their pictures. They get new numbers.

    visavis gallery show tells the numbers that they have.
    """
    with stores.open_galleries(store) as galleries:
        other = stores.open_gallery(galleries, gallery).move(subject, samples, into)
        words = f"{printable(other.id)} has {counted(other.samples, 'sample')} now"
        write(json.dumps(other.to_dict()) if as_json else words)


@command()
def split(  # each is an argument or an option
    gallery: GalleryName,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of the one who has the samples.")],
    samples: Annotated[list[int], typer.Argument(metavar="SAMPLE", help="The numbers of the samples.")],
    *,
    into: Annotated[str | None, Option("ID of the new subject.", metavar="ID", unset="a random one")] = None,
    name: Annotated[str | None, Option("Name of the new subject.", metavar="TEXT")] = None,
    consent: Annotated[str | None, Option("What that person agreed to, and where that is.", metavar="TEXT")] = None,
    as_json: Json = False,
    store: StoreOptions,
) -> None:
    """Give samples of one subject to a new one, all or none, with their pictures. They get new numbers.

    visavis gallery show tells the numbers that they have. The new subject is forgotten when the first one is.
    """
    details = records.Details(name=name, consent=consent)
    with stores.open_galleries(store) as galleries:
        made = stores.open_gallery(galleries, gallery).split(subject, samples, into=into, details=details)
        words = f"{printable(made.id)} is made, with {counted(made.samples, 'sample')}"
        write(json.dumps(made.to_dict()) if as_json else words)


@command()
def rename(
    gallery: GalleryName,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of a subject.")],
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The ID that it is to have.")],
    *,
    as_json: Json = False,
    store: StoreOptions,
) -> None:
    """Give a subject another ID. Its number, its samples and all that is known of it stay.

    Where a folder of photos has its name, rename that too, before visavis enrol runs again.
    """
    with stores.open_galleries(store) as galleries:
        renamed = stores.open_gallery(galleries, gallery).rename(subject, new_id)
        words = f"{printable(subject)} is {printable(renamed.id)} now"
        write(json.dumps(renamed.to_dict()) if as_json else words)


@command()
def ignore(
    gallery: GalleryName,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The ID of a subject.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Tell again who it is.")] = False,
    as_json: Json = False,
    store: StoreOptions,
) -> None:
    """Tell nobody from now on when a face is this subject: it is unknown then, for the reason ignored."""
    with stores.open_galleries(store) as galleries:
        changed = stores.open_gallery(galleries, gallery).update(subject, records.Details(ignored=not undo))
        words = f"{printable(changed.id)} is {'ignored' if changed.ignored else 'told'} from now on"
        write(json.dumps(changed.to_dict()) if as_json else words)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless the answer is known already; end the command where it is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidOption("this cannot be undone: add --yes where nobody can be asked")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().casefold() not in {"y", "yes"}:
        say("visavis: nothing was done")
        raise typer.Exit(1)


def _check_words(report: GalleryCheck) -> str:
    looked_at = f"{counted(report.samples, 'sample')} of {counted(report.subjects, 'subject')}"
    found = counted(len(report.damaged), "fault") if report.damaged else "nothing is damaged"
    words = [f"gallery {report.gallery}: {looked_at}, {found}"]
    for each in report.damaged:
        places = {"subject number": each.subject, "sample": each.sample}
        where = ", ".join(f"{name} {number}" for name, number in places.items() if number is not None)
        words.append(printable(f"  {where or 'file'}: {each.what}"))
    return "\n".join(words)


def receipt_words(receipt: Receipt) -> str:
    """Return a receipt in words."""
    facts: Facts = {
        "gallery": f"{receipt.gallery} (number {receipt.gallery_number})",
        "subject": receipt.subject or (None if receipt.gallery.endswith(records.QUEUE) else "all of them"),
        "subject numbers": spans(receipt.subjects),
        "samples": receipt.samples,
        "at": f"{receipt.forgotten_at:%Y-%m-%d %H:%M:%S} UTC",
        "by": receipt.actor,
        "overwritten": receipt.overwritten,
    }
    return readable("forgotten", facts)
