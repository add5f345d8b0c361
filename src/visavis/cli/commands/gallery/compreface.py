"""Collections of CompreFace, read from a dump of its database that pg_dump made; nothing of it is executed.

Source: PostgreSQL's documentation of COPY, "Text Format"; the tables are those of CompreFace 0.6 and later.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias, cast

from visavis.cli.lazy import enroller, stores
from visavis.cli.terminal import progress_bar, say
from visavis.errors import GalleryNotFound, InvalidOption, VisavisError
from visavis.options import Policy

if TYPE_CHECKING:
    from visavis import Galleries, OpenGallery
    from visavis.cli.stores import Enrolments
    from visavis.service.enroller import Enrolment
    from visavis.service.results import Enrolled

_TITLE, _GZIP, _CUSTOM = b"-- PostgreSQL database dump", b"\x1f\x8b", b"PGDMP"
_MOST_IMAGE_BYTES = 20_000_000
_LONGEST_LINE, _PIECE = 2 * _MOST_IMAGE_BYTES + 1000, 65536  # bytes: an image is written in hexadecimal digits
_LONGEST_FIELD = 4000  # of all that is no image
_MOST_ROWS = 1_000_000  # of a table, which are known at the same time
_COPY = re.compile(rb'COPY (?:"?public"?\.)?"?(\w+)"? \(([^)]{0,10000})\) FROM stdin;\r?\n')
_END = (b"\\.\n", b"\\.\r\n")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)  # of which COPY writes no others than those below
_ESCAPED: Mapping[bytes, bytes] = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_HEXADECIMAL = re.compile(rb"\\\\x([0-9A-Fa-f]*)")
_KNOWN = {
    "model": ("name", "api_key"),
    "subject": ("id", "api_key", "subject_name"),
    "embedding": ("id", "subject_id", "calculator", "img_id"),
}
_DEMO = "00000000-0000-0000-0000-000000000002"  # its collection is of film stars, without their images

_Row: TypeAlias = tuple[int, str, Mapping[str, bytes]]
"""A line's number, its table, and its fields as they are written, but for those that are null."""


class _Example(NamedTuple):
    """An embedding of the dump, which is made anew."""

    line: int
    id: str
    subject: str  # its ID
    calculator: str


class _Dump(NamedTuple):
    """What a dump says besides images."""

    services: dict[str, str]  # names of services by their keys
    subjects: dict[str, tuple[str, str]]  # keys of services, and names, by IDs
    examples: dict[str, list[_Example]]  # by the IDs of their images; those without any are under an empty one


def is_dump(file: str) -> bool:
    """Tell whether a file is a dump of PostgreSQL; an InvalidOption where it is one of a kind that is not read."""
    if not Path(file).is_file():
        return False
    with _opened(file) as stream:
        beginning = stream.read(1000)
    if beginning.startswith(_CUSTOM):
        raise InvalidOption(f"{file}: make the dump with pg_dump --format=plain, which can be read here")
    return _TITLE in beginning


def import_dump(galleries: Galleries, name: str, file: str, service: str | None) -> Enrolments:
    """Enrol the images of a collection; their embeddings are of another model, and made anew.

    Subjects without an image stay behind, as does the collection of the demo.

    Args:
        galleries: that hold the gallery.
        name: of the gallery, which is made where there is none.
        file: the dump, compressed or not.
        service: the name of the recognition service whose collection is meant; None for the only one.

    Raises:
        InvalidOption: the file is no such dump, or the service is not among those that it holds.
    """
    dump = survey(file)
    key = key_of(dump, service, file)
    counts = stores.Enrolments()
    try:
        gallery = galleries.open(name)
    except GalleryNotFound:
        gallery = stores.make_gallery(galleries, name, Policy())
    wanted = {id_: subject for id_, (of, subject) in dump.subjects.items() if of == key}
    total = sum(example.subject in wanted for examples in dump.examples.values() for example in examples)
    with counts.staying(), progress_bar(total, "importing images") as advance:
        for line, outcome in _enrolled(gallery, file, dump, wanted):
            if isinstance(outcome, VisavisError):
                say(f"visavis: {file}:{line}: {outcome}")
                counts.count(None, repeated=False, code=outcome.code)
            else:
                counts.count(outcome.subject.id, repeated=outcome.repeated, code=None)
            advance()
    return counts


def _enrolled(
    gallery: OpenGallery, file: str, dump: _Dump, wanted: Mapping[str, str]
) -> Iterator[tuple[int, Enrolled | VisavisError]]:
    lines: deque[int] = deque()

    def enrolments() -> Iterator[Enrolment | VisavisError]:
        for line, enrolment in enrolments_of(file, dump, wanted):
            lines.append(line)
            yield enrolment

    for outcome in gallery.enrol_many(enrolments(), allow_conflict=True):
        yield lines.popleft(), outcome


def enrolments_of(file: str, dump: _Dump, wanted: Mapping[str, str]) -> Iterator[tuple[int, Enrolment | VisavisError]]:
    """Yield what is to be enrolled of the wanted subjects, names by IDs, with its line, one image after the other."""
    left = {id_: [each for each in examples if each.subject in wanted] for id_, examples in dump.examples.items()}
    without = left.pop("", [])
    with _opened(file) as stream:
        for line, _, row in _rows(stream, {"img": ("id", "content")}):
            for example in left.pop(_text(row.get("id", b"")), ()):
                yield line, _enrolment(example, wanted[example.subject], row.get("content"))
    for example in (*without, *(each for examples in left.values() for each in examples)):
        yield (
            example.line,
            InvalidOption(
                f"the embedding is one of CompreFace's model {example.calculator[:100]}, which no pack here has, and "
                "its image, to make another of, is not in the dump"
            ),
        )


def _enrolment(example: _Example, subject: str, content: bytes | None) -> Enrolment | VisavisError:
    digits = _HEXADECIMAL.fullmatch(content or b"")
    if digits is None or len(digits[1]) % 2:
        most = f"of at most {_MOST_IMAGE_BYTES:,} bytes"
        return InvalidOption(f"the image is not {most}, written as \\x and hexadecimal digits")
    image = bytes.fromhex(digits[1].decode("ascii"))
    return enroller.Enrolment(
        subject=subject,
        image=image,
        source="CompreFace",
        sample_metadata={"compreface_image_id": example.id},
        key=f"compreface-{example.id}",
    )


def survey(file: str) -> _Dump:
    """Read what a dump says besides images, for it may come after them; InvalidOption where it is none."""
    dump, tables = _Dump({}, {}, {}), dict.fromkeys(_KNOWN, 0)
    examples = set()
    with _opened(file) as stream:
        for line, table, row in _rows(stream, _KNOWN):
            known = {name: _text(row.get(name, b"")) for name in _KNOWN[table]}
            tables[table] += 1
            if tables[table] > _MOST_ROWS:
                raise InvalidOption(f"{file}: holds more than {_MOST_ROWS:,} rows of the table {table}")
            if table == "model":
                dump.services[known["api_key"]] = known["name"]
            elif table == "subject":
                dump.subjects[known["id"]] = known["api_key"], known["subject_name"]
            elif (known["img_id"] or known["id"], known["subject_id"]) not in examples:  # else of another model
                examples.add((known["img_id"] or known["id"], known["subject_id"]))
                example = _Example(line, known["id"], known["subject_id"], known["calculator"])
                dump.examples.setdefault(known["img_id"], []).append(example)
    if not tables["subject"]:
        raise InvalidOption(
            f"{file}: holds no rows of CompreFace's table subject, from COPY to \\.; dumps are made with pg_dump "
            "--format=plain, without --inserts, of the database frs of CompreFace 0.6 or later"
        )
    return dump


def key_of(dump: _Dump, service: str | None, file: str) -> str:
    """Return the key of the service that is meant; InvalidOption where there is none, or not one alone."""
    keys = dict.fromkeys(key for key, _ in dump.subjects.values() if key != _DEMO)
    chosen = [key for key in keys if service in (None, dump.services.get(key, ""))]
    if len(chosen) != 1:
        names = ", ".join(repr(dump.services.get(key, "")[:50]) for key in list(keys)[:10]) or "none"
        raise InvalidOption(f"{file}: --service says whose collection is meant, by a name; those there are: {names}")
    return chosen[0]


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    with Path(file).open("rb") as raw:
        compressed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if compressed else raw
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise InvalidOption(f"{file}: the compressed file is damaged or cut off") from None


def _rows(stream: IO[bytes], wanted: Mapping[str, tuple[str, ...]]) -> Iterator[_Row]:
    """Yield the rows of the tables that are wanted, with these columns; of a line that is too long, what fits."""
    table, columns = "", []
    for number, line in enumerate(_lines(stream), 1):
        if not table:
            begun = _COPY.fullmatch(line)
            if begun and (name := begun[1].decode()) in wanted:
                table, columns = (
                    name,
                    [column.strip(b' "').decode("utf-8", "replace") for column in begun[2].split(b",")],
                )
        elif line in _END:
            table = ""
        else:
            fields = line.rstrip(b"\r\n").split(b"\t", len(columns))
            pairs = zip(columns, fields, strict=False)
            yield number, table, {name: data for name, data in pairs if name in wanted[table] and data != b"\\N"}


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield lines; of one that is too long the beginning, and what makes it no image."""
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := stream.readline(_PIECE)) and not rest.endswith(b"\n"):
                pass
            line = line[:_PIECE] + b"..."
        yield line


def _text(field: bytes) -> str:
    """Return the text that a field of COPY is."""
    plain = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), field[:_LONGEST_FIELD])
    return plain.decode("utf-8", "replace")
