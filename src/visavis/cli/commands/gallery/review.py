"""``visavis gallery review``: the faces that were nobody's for certain, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.app import command
from visavis.cli.commands.gallery.records import confirm, receipt_words
from visavis.cli.lazy import stores
from visavis.cli.options import GalleryName, Json, ModelOptions, ModelsDir, OwnPack, StoreOptions, Yes
from visavis.cli.terminal import counted, printable, say, spans, write
from visavis.errors import InvalidOption, VisavisError
from visavis.files import replacing
from visavis.options import Option, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visavis.service.results import ReviewGroup
    from visavis.service.review import ReviewQueue

EXAMPLES = """\b
Faces wait where the gallery's policy has review days; without FACE and an act, they are listed.

\b
Exit codes:
  0  done, or there is none
  1  some faces were refused; or not confirmed, and nothing was done
  2  it could not be done: no such gallery, none of these faces waits, wrong usage or set-up

\b
Examples:
  visavis gallery policy staff --review-days 14
  visavis gallery review staff --save waiting/
  visavis gallery review staff 17 18 --name ada-lovelace
  visavis gallery review staff 23 --ignore
  visavis gallery review staff 29 30 --discard --yes
"""


_ALL = 1_000_000  # groups: more than there ever are


@command(EXAMPLES)
def review(
    gallery: GalleryName,
    faces: Annotated[
        list[int] | None, typer.Argument(metavar="[FACE]...", help="The numbers of faces that wait.")
    ] = None,
    *,
    name: Annotated[str | None, Option("Enrol the faces as the subject of that ID.", metavar="SUBJECT")] = None,
    ignore: Annotated[bool, Option("Enrol the faces as a new subject that is ignored.")] = False,
    discard: Annotated[bool, Option("Forget the faces, and print a receipt.")] = False,
    save: Annotated[Path | None, Option("Write the listed faces there, as images.", metavar="DIR")] = None,
    shown: Review,
    yes: Yes = False,
    as_json: Json = False,
    _pack: OwnPack = None,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> int:
    """List the faces that were nobody's for certain, in groups; or say whose they are, ignore or discard some."""
    acts = sum((name is not None, ignore, discard))
    if acts > 1 or bool(acts) != bool(faces):
        raise InvalidOption("faces go with one of --name, --ignore and --discard")
    models = ModelOptions(loading={"models_dir": models_dir})
    with stores.open_galleries(store, models) as galleries:
        queue = stores.open_with_its_pack(galleries, gallery, models).review
        if not faces:
            groups, _ = queue.groups(limit=_ALL, **shown)
            return _list(queue, groups, save, as_json=as_json)
        if discard:
            confirm(f"Forget {counted(len(faces), 'face')} that wait for review?", yes=yes)
            receipt = queue.discard(faces)
            write(json.dumps(receipt.to_dict()) if as_json else receipt_words(receipt))
            return 0
        return _enrol(queue, faces, name, as_json=as_json)


def _list(queue: ReviewQueue, groups: Sequence[ReviewGroup], folder: Path | None, *, as_json: bool) -> int:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for face in (face for group in groups for face in group.faces):
            with replacing(folder / f"face-{face.number}.png", private=True) as file:
                file.write(queue.picture(face.number))
    words = "\n".join(map(_words, groups)) or "no face waits for review"
    write(json.dumps([group.to_dict() for group in groups], indent=2) if as_json else words)
    return 0


def _words(group: ReviewGroup) -> str:
    near = [
        f"  like {face.candidate.subject} ({face.candidate.distance:.2f})" for face in group.faces if face.candidate
    ]
    last = max(face.seen_at for face in group.faces)
    numbers = spans(face.number for face in group.faces)
    return printable(f"{counted(len(group.faces), 'face'):>9}  {last:%Y-%m-%d %H:%M} UTC  {numbers}{''.join(near[:1])}")


def _enrol(queue: ReviewQueue, faces: Sequence[int], subject: str | None, *, as_json: bool) -> int:
    results = queue.ignore(faces) if subject is None else queue.name(faces, subject)
    done = [each.subject for each in results if not isinstance(each, VisavisError)]
    for face, result in zip(faces, results, strict=True):
        if isinstance(result, VisavisError):
            say(f"visavis: face {face}: {result}")
    if done:
        words = f"{printable(done[-1].id)} has {counted(done[-1].samples, 'sample')} now"
        write(json.dumps(done[-1].to_dict()) if as_json else words)
    return 0 if len(done) == len(faces) else 1 if done else 2
