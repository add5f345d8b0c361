"""``visavis gallery list``, ``show`` and ``log``: what there is, and who did what."""

import json
from collections import deque
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.messages import printable, reporting, results_stream, say
from visavis.cli.options import (
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.policies import policy_facts
from visavis.cli.report import Facts, readable
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery, pack_of
from visavis.cli.tally import counted, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from visavis.galleries.records import Gallery, LogEntry, Sample, Subject
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery

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
        from visavis.service.results import log_entry_to_dict  # noqa: PLC0415  # brings NumPy

        stream = results_stream()
        entries: Iterable[LogEntry] = _entries(galleries, gallery)
        for entry in entries if show_all else deque(entries, maxlen=_SHOWN):
            stream.write((json.dumps(log_entry_to_dict(entry)) if as_json else _entry_line(entry)) + "\n")
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
    from visavis.service.results import gallery_to_dict  # noqa: PLC0415  # brings NumPy

    return {**gallery_to_dict(gallery), "pack": _pack_name(gallery, models_dir)}


def _subject_line(subject: "Subject", width: int) -> str:
    name = f"  {printable(subject.name)}" if subject.name else ""
    return f"  {printable(subject.id):<{width}}  {counted(subject.samples, 'sample'):>10}{name}"


def _gallery_as_json(gallery: "OpenGallery", models_dir: "Path") -> str:
    from visavis.service.results import subject_to_dict  # noqa: PLC0415  # brings NumPy

    subjects = [subject_to_dict(subject) for subject in _subjects(gallery)]
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
    from visavis.service.results import sample_to_dict, subject_to_dict  # noqa: PLC0415  # brings NumPy

    samples = [sample_to_dict(sample) for sample in gallery.samples(id_)]
    return json.dumps({**subject_to_dict(gallery.subject(id_)), "sample_list": samples}, indent=2)


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
