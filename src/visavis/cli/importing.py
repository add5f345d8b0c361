"""The work of ``visavis gallery import``: every line of a file into a gallery, and what became of each."""

import hashlib
import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from visavis.cli.lines import open_lines_to_read
from visavis.cli.messages import say
from visavis.cli.progress import progress_bar
from visavis.cli.stores import make_gallery
from visavis.cli.tally import Tally, staying
from visavis.errors import GalleryNotFound, InvalidOption, VisavisError

if TYPE_CHECKING:
    from visavis.galleries.records import Policy
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
    from visavis.galleries.records import Policy  # noqa: PLC0415  # brings NumPy
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
