"""``visavis gallery export``, ``import`` and ``backup``: galleries as files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer

from visavis.cli.app import command
from visavis.cli.commands import people
from visavis.cli.commands.gallery import compreface, rekognition
from visavis.cli.images import STANDARD_INPUT, find_sources, name_people
from visavis.cli.lazy import decisions, lines, outputs, records, stores
from visavis.cli.options import GalleryName, Json, ModelOptions, ModelsDir, PackName, StoreOptions
from visavis.cli.terminal import counted, progress_bar, say, write
from visavis.errors import GalleryNotFound, InvalidOption, VisavisError
from visavis.options import DEFAULT_PACK, Option, Policy

if TYPE_CHECKING:
    from visavis import Galleries, OpenGallery
    from visavis.cli.images import Portrait
    from visavis.cli.stores import Enrolments
    from visavis.service.results import Enrolled

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
What is read:
  JSON Lines  as visavis gallery export writes, or your own: {"subject": "ada", "embedding": [...]}, and if you like
              name, metadata, consent, expires_at, quality, source and picture
  .npz        np.savez(FILE, encodings=..., names=...): (N, 128) of face_recognition, and N texts; with space="ID",
              embeddings of that space
  a folder    of photos, for face_recognition or DeepFace: a file or a folder for each person, as visavis enrol names

\b
Pickles, such as DeepFace's, run what is in them when they are read, and are refused. What is there already is passed
over, so that an import which was interrupted can be run again.

Or it is a dump of CompreFace's database, made with pg_dump --format=plain: the images of a collection are enrolled, by
the names of their subjects. Embeddings of CompreFace are of other models; where their image was not kept, they are
refused.

\b
rekognition:COLLECTION in its place is a collection at AWS, with the credentials that boto3 finds. AWS tells nobody the
vectors of its faces: they are made anew from your own images in --images, called as the faces' ExternalImageId. A face
is enrolled as its UserId, or else as its ExternalImageId. Needs: pip install "visavis[rekognition]"

\b
Exit codes:
  0  all samples are in the gallery, now or before
  1  some lines were refused; each is named on standard error
  2  nothing could be done: no such file, embeddings of another pack, wrong usage or set-up

\b
Examples:
  visavis gallery import staff staff.jsonl.gz
  visavis gallery import staff encodings.npz --pack dlib
  visavis gallery import staff known_people/
  visavis gallery export staff | ssh elsewhere visavis gallery import staff -
  visavis gallery import staff compreface.sql.gz --pack sface
  visavis gallery import staff rekognition:employees --images portraits/
"""
_GZIP, _ZIP, _ARRAY = b"\x1f\x8b", b"PK\x03\x04", b"\x93NUMPY"
_MOST_PIPED = 2**30  # bytes of arrays
_PICKLES = (".pkl", ".pickle")
_log = logging.getLogger("visavis.cli")

_Line: TypeAlias = tuple[int, Any]
"""A line of the file: its number, and what it holds; None where that is no JSON."""


@command(EXPORT_EXAMPLES)
def export(
    gallery: GalleryName,
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
    pictures: Annotated[bool, Option("Include the pictures that the gallery keeps.")] = False,
    subject: Annotated[str | None, Option("All that is known of one subject.", metavar="ID")] = None,
    store: StoreOptions,
) -> None:
    """Write a gallery as JSON Lines, or one subject as a JSON object."""
    compressed = output is not None and output.suffix.lower() == ".gz"
    with stores.open_galleries(store) as galleries:
        opened = stores.open_gallery(galleries, gallery)
        if subject is not None:
            plain = opened.export_subject(subject)
            with outputs.open_output(output, compressed=compressed) as stream:
                stream.write(json.dumps(plain, indent=2) + "\n")
            return
        count, exported = 0, opened.export(pictures=pictures)
        with (
            outputs.open_output(output, compressed=compressed) as stream,
            progress_bar(opened.record.samples, "exporting samples", unless=output is None) as advance,
        ):
            for line in exported:
                stream.write(json.dumps(line) + "\n")
                if line.get("embedding") is not None:
                    count += 1
                    advance()
        if output is not None:
            _log.info("exported %s of the gallery %s to %s", counted(count, "sample"), gallery, output)


@command(IMPORT_EXAMPLES)
def import_(
    gallery: GalleryName,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="JSON Lines, compressed or not, .npz, or a folder; - for standard input."),
    ],
    *,
    service: Annotated[
        str | None,
        Option("Of a dump of CompreFace with several recognition services: the name of one.", unset="the only one"),
    ] = None,
    images: Annotated[
        Path | None, Option("The images of a collection of AWS Rekognition, in the place of a file.", metavar="FOLDER")
    ] = None,
    as_json: Json = False,
    pack: PackName = DEFAULT_PACK,
    models_dir: ModelsDir = None,
    store: StoreOptions,
) -> int:
    """Enrol what a file holds. The gallery is made where there is none, with the policy of the one exported.

    Prints how many samples were enrolled, how many were there already, and how many were refused for which reason.
    """
    models = ModelOptions(pack, loading={"models_dir": models_dir})
    portraits = None
    if Path(file).is_dir():
        portraits = name_people(find_sources([file], models.max_bytes), "auto")
        people.announce(portraits)
        models.check_installed()
    with stores.open_galleries(store, models, images=len(portraits or "1")) as galleries:
        if portraits is not None:
            counts = _import_photos(_open_or_make(galleries, gallery, {}), portraits, models.max_bytes)
        elif file.startswith(rekognition.PREFIX):
            counts = rekognition.import_collection(galleries, gallery, file.removeprefix(rekognition.PREFIX), images)
        elif compreface.is_dump(file):
            counts = compreface.import_dump(galleries, gallery, file, service)
        else:
            counts = _import_all(galleries, gallery, file)
        write(json.dumps(counts.to_dict()) if as_json else counts.summary(gallery))
        return int(bool(counts.refused))


@command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, which appears when it is whole.")],
    *,
    store: StoreOptions,
) -> None:
    """Copy the whole store, all galleries and the log, to a file, while others go on working.

    Such a copy is a store: visavis gallery list --store sqlite:///COPY. What is encrypted stays so, and needs its key.
    """
    with stores.open_galleries(store) as galleries:
        if not str(file):
            raise InvalidOption("the file to back up to needs a name")
        galleries.backup(file)
        _log.info("copied %s to %s", galleries.store.url, file)


def _import_all(galleries: Galleries, name: str, file: str) -> Enrolments:
    counts = stores.Enrolments()
    is_pipe = not Path(file).is_file()  # which cannot be counted first
    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar(partial(_count, file), "importing lines", unless=is_pipe))
        read = stack.enter_context(_open_lines(file))
        first = next(read, None)
        if first is None:
            raise InvalidOption(f"{file}: holds no lines")
        gallery = _open_or_make(galleries, name, first[1])
        stack.enter_context(counts.staying())
        for number, outcome in _import(gallery, chain([first], read)):
            if isinstance(outcome, VisavisError):
                say(f"visavis: {file}:{number}: {outcome}")
                counts.count(None, repeated=False, code=outcome.code)
            else:
                counts.count(outcome.subject.id, repeated=outcome.repeated, code=None)
            advance()
    return counts


def _import_photos(gallery: OpenGallery, portraits: Sequence[Portrait], max_bytes: int) -> Enrolments:
    counts = stores.Enrolments()
    named = [(each, each.subject) for each in portraits if each.subject is not None]
    with counts.staying(), progress_bar(len(portraits), "enrolling images") as advance:
        enrolments = (
            people.enrolment_of(*each, records.Details(), max_bytes, counter=False, box=None, like=None)
            for each in named
        )
        for result in people.results_of(portraits, gallery.enrol_many(enrolments)):
            code = result["error"]["code"] if "error" in result else None
            counts.count(result["subject"], repeated=result.get("repeated", False), code=code)
            advance()
    return counts


def _import(gallery: OpenGallery, read: Iterator[_Line]) -> Iterator[tuple[int, Enrolled | VisavisError]]:
    numbers: deque[int] = deque()

    def contents() -> Iterator[Mapping[str, Any]]:
        for number, content in read:
            if lines.has_face(content):
                numbers.append(number)
            yield _with_key(content)

    for outcome in gallery.import_lines(contents()):
        yield numbers.popleft(), outcome


def _with_key(content: object) -> Mapping[str, Any]:
    """Give a sample a key of its own, so that it is not enrolled again by another try; the service checks the rest."""
    if not isinstance(content, dict) or content.get("key") or not isinstance(content.get("embedding"), list):
        return cast("Mapping[str, Any]", content)
    identity = json.dumps([content.get("subject"), content["embedding"]])
    return {**content, "key": hashlib.sha256(identity.encode()).hexdigest()}


def _open_or_make(galleries: Galleries, name: str, first: Mapping[str, Any]) -> OpenGallery:
    """Open the gallery; where there is none, make one with the policy that a header names, or the usual one."""
    try:
        return galleries.open(name)
    except GalleryNotFound:
        header = first if lines.is_header(first) else {}
    if header:
        space, own = lines.space_of_header(header), galleries.eyes.pack.space.id
        if space != own:
            raise decisions.mismatch("the file holds", space, own)
    try:
        policy = Policy(**header.get("policy") or {})
    except TypeError:
        unknown = "the header's policy has fields that are not known here; import with a newer version"
        raise InvalidOption(unknown) from None
    return stores.make_gallery(galleries, name, policy)


def _read(file: Iterator[bytes]) -> Iterator[_Line]:
    """Yield what each line holds; blank ones are passed over, and what is no JSON is left to be refused."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError):
            yield number, None


def _count(file: str) -> int:
    with _open_lines(file, enumerate) as read:
        return sum(1 for _ in read)


@contextmanager
def _open_lines(
    path: str, read: Callable[[Iterator[bytes]], Iterator[_Line]] | None = None
) -> Iterator[Iterator[_Line]]:
    """Give the lines of a file, or of standard input; what kind of file it is, is told by its content."""
    with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else open(path, "rb") as file:  # noqa: PTH123  # "" too
        lined = io.BufferedReader(cast("io.RawIOBase", file))
        try:
            head = lined.peek(len(_ARRAY))
            _check_kind(path, head)
            if head.startswith(_ZIP):
                arrays = lined if lined.seekable() else io.BytesIO(lined.read(_MOST_PIPED))
                yield enumerate(lines.lines_of_arrays(arrays, path))
            else:
                yield (read or _read)(_decompressed(lined, path) if head.startswith(_GZIP) else lined)
        finally:
            lined.detach()


def _check_kind(path: str, head: bytes) -> None:
    """Refuse what is never read."""
    if head.startswith(b"\x80") or Path(path).suffix.lower() in _PICKLES:
        raise InvalidOption(
            f"{path}: this is a pickle, as DeepFace keeps one: to read it runs whatever is in it, so it is never read. "
            "Import the folder of photos that it was made of: visavis gallery import GALLERY FOLDER"
        )
    if head.startswith(_ARRAY):
        raise InvalidOption(f"{path}: one array names nobody: np.savez(FILE, encodings=..., names=...) writes both")


def _decompressed(file: IO[bytes], path: str) -> Iterator[bytes]:
    try:
        yield from gzip.GzipFile(fileobj=file)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InvalidOption(f"{path}: the compressed file is damaged or cut off") from None
