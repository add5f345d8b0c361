"""Import and export of galleries as lines of JSON."""

import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from visavis.errors import SetupError, VisavisError
from visavis.galleries.records import Gallery
from visavis.options import Enrol
from visavis.server.auth import check_debt
from visavis.server.openapi import about
from visavis.server.pool import (
    ClientGone,
    Fetch,
    Gone,
    InPath,
    WorkerPool,
    insist,
    perform,
    until_gone,
    while_here,
    with_query,
)
from visavis.server.problems import Problem, from_library
from visavis.server.reading import Image, Strict, check, read_json
from visavis.server.requests import Creating, ExportOptions, ImportOptions
from visavis.service.decisions import check_space
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled
from visavis.service.transfer import enrolment_from_line, has_face, is_header, space_of_header

_MEDIA_TYPE = "application/x-ndjson"
_MEDIA_TYPES = (_MEDIA_TYPE, "application/jsonl", "application/x-jsonlines", "application/json-lines")
_MOST_IMAGES, _MOST_LINES = 16, 500  # that are worked on at a time
_MOST_LINES_IN_ALL = 100_000  # in one import
_PIECE = re.compile(rb"\s{1,65536}|\S[^\n]*")  # the bound lets other threads go on between blank lines
_PAGE_BYTES = 262_144
_LINES_IN = """\
{"subject": "ada", "name": "Ada Lovelace", "image": {"url": "https://example.com/ada.jpg"}}
{"subject": "grace", "image": {"base64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}, "key": "grace-1"}
"""
_LINES = {"description": "A JSON object a line, as an export has them. A line that is none has an error of its own."}
_BODY = {_MEDIA_TYPE: {"schema": _LINES, "example": _LINES_IN}}
_LINES_OUT = {_MEDIA_TYPE: {"schema": {"type": "string", "description": "A JSON object a line."}}}

_Result = TypeVar("_Result")
_Results: TypeAlias = tuple[bytes, Mapping[str, int]] | None  # lines, and what they are about

router = APIRouter(prefix="/v1/galleries/{gallery}", tags=["recognition"])


class _Lines(StreamingResponse):
    """An answer whose lines are sent as they are made, as fast as they are taken."""

    media_type = _MEDIA_TYPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI calls it
        """Send the lines until there are no more, or nobody waits for them, which those notice that make them."""
        with suppress(ClientGone, Problem):
            await self.stream_response(send)


@router.post(
    "/import",
    response_class=Response,
    **about(
        "enrol",
        also={200: {"content": _LINES_OUT, "description": "A result for each line, and a last line with `done`."}},
        extra={"requestBody": {"required": False, "content": _BODY}},
    ),
)
@with_query
async def import_lines(request: Request, gallery: InPath, options: Annotated[ImportOptions, Query()]) -> Response:
    """Enrol line by line: an export, or lines with an `image` in place of an `embedding`.

    The body may be as large as others may be, and have 100,000 lines besides blank ones.
    A line that is refused has its `error` and stops no other. Where the rest could not be worked on, the last line has
    `"done": false` and the `error`. Larger exports are sent in several calls.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _MEDIA_TYPES:
        raise Problem("unsupported_media_type", f"send {_MEDIA_TYPE}: a JSON object a line")
    body, state = await request.body(), request.app.state
    gone = until_gone(request.receive, state.pool)
    await while_here(
        gone, state.pool.run_when_free(partial(insist, request, gallery, create=options.options(Creating)["create"]))
    )
    importer = _Importer(gallery, options.options(Enrol), body)
    return _Lines(_imported(request, importer, gone))


async def _imported(request: Request, importer: "_Importer", gone: Gone) -> AsyncIterator[bytes]:
    """Yield the results of an import, one batch after the other, so that it never has more than one worker."""
    state, route = request.app.state, request.scope["route"].path
    problem = None

    async def in_turn(pool: WorkerPool, function: Callable[[], _Result]) -> _Result:
        """Wait for a turn, then for a place in the pool: all imports together have a part of the places only."""
        async with state.import_turns if pool is state.pool else state.import_fetches:
            return await pool.run_when_free(function)

    try:
        while results := await perform(state, importer.next, gone, in_turn):
            lines, counts = results
            state.metrics.count(route, counts)
            yield lines
            check_debt(state)
            if not state.ready:
                importer.end = Problem("overloaded", "the server is stopping; send the rest again, later or elsewhere")
        problem = importer.end
    except Problem as ended:
        problem = ended
    except VisavisError as error:
        problem = from_library(error)
    last: dict[str, Any] = {"done": problem is None, **importer.counts}
    if problem is not None:
        last["error"] = {"code": problem.code, "detail": problem.detail}
    yield to_json(last) + b"\n"


class _WithImage(Strict):
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A line that was read: its number, what to enrol, or why nothing can be, and the image that it is made of."""

    number: int
    wanted: Enrolment | VisavisError | Problem | Callable[[], Enrolment | VisavisError]
    image: Image | None = None


class _Importer:
    """Enrols the lines of a body, a batch at a time; one thread at a time."""

    def __init__(self, gallery: OpenGallery, options: Enrol, body: bytes) -> None:
        self.counts = Counter(enrolled=0, repeated=0, failed=0)
        self.end: Problem | None = None  # why no further line is read, if so
        self._gallery = gallery
        self._options = options
        self._lines = _numbered(body.removeprefix(BOM_UTF8))
        self._left = _MOST_LINES_IN_ALL

    def next(self) -> Fetch[_Results] | _Results:
        """Enrol the next lines, or say what must be fetched before; None where there are no more."""
        gallery = self._gallery.record
        entries: list[_Entry] = []
        images: list[Image] = []
        number = 0
        for number, line in islice(self._lines, _MOST_LINES if self.end is None else 0):
            self._left -= 1
            if self._left < 0:
                detail = f"line {number}: an import may have {_MOST_LINES_IN_ALL:,} lines; send the rest in another one"
                self.end = Problem("body_too_large", detail)
                break
            entry = self._read(number, line, gallery)
            entries += [entry] if entry else []
            images += [entry.image] if entry and entry.image else []
            if self.end or len(images) >= _MOST_IMAGES:
                break
        then = partial(self._enrol, entries)
        elsewhere = [image for image in images if image.is_elsewhere]
        return (Fetch(elsewhere, then) if elsewhere else then()) if number else None

    def _read(self, number: int, line: bytes, gallery: Gallery) -> _Entry | None:
        try:
            value = read_json(line, "the line")
            if is_header(value):
                try:
                    check_space(gallery, space_of_header(value))
                except VisavisError as error:
                    self.end = Problem(error.code, f"line {number}: {error}")
            elif isinstance(value, dict) and value.get("image") is not None:
                image = check(_WithImage, {"image": value.pop("image")}).image
                return _Entry(number, partial(_with_image, value, image), image)
            elif has_face(value):
                return _Entry(number, enrolment_from_line(value))
        except (Problem, VisavisError) as error:
            return _Entry(number, error)
        return None

    def _enrol(self, entries: Sequence[_Entry]) -> _Results:
        wanted = [entry.wanted() if callable(entry.wanted) else entry.wanted for entry in entries]
        results = self._gallery.enrol_many([each for each in wanted if not isinstance(each, Problem)], **self._options)
        outcomes = [each if isinstance(each, Problem) else next(results) for each in wanted]
        for fault in (each for each in outcomes if isinstance(each, SetupError)):  # which is the whole import's
            raise fault
        lines = bytearray()
        before = self.counts["enrolled"]
        for entry, outcome in zip(entries, outcomes, strict=True):
            lines += to_json({"line": entry.number, **self._told(outcome)}) + b"\n"
        found = sum(isinstance(outcome, Enrolled) and outcome.face is not None for outcome in outcomes)
        images = sum(entry.image is not None for entry in entries)
        return bytes(lines), {"images": images, "faces": found, "enrolled": self.counts["enrolled"] - before}

    def _told(self, outcome: Enrolled | VisavisError | Problem) -> dict[str, Any]:
        """Count what became of a line, and return what is said of it."""
        if isinstance(outcome, Enrolled):
            self.counts["repeated" if outcome.repeated else "enrolled"] += 1
            return outcome.to_dict()
        self.counts["failed"] += 1
        problem = outcome if isinstance(outcome, Problem) else from_library(outcome)
        error = {"code": problem.code, "detail": problem.detail}
        return {"error": error if problem.field is None else {**error, "field": problem.field}}


def _numbered(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers; blank ones are counted only."""
    number = 1
    for found in _PIECE.finditer(body):
        piece = found[0]
        if piece.isspace():
            number += piece.count(b"\n")
        else:
            yield number, piece.rstrip()


def _with_image(line: Mapping[str, Any], image: Image) -> Enrolment | VisavisError:
    try:
        return enrolment_from_line(line, image=image.load())
    except VisavisError as error:
        return error


@router.get(
    "/export",
    response_class=Response,
    **about("admin", also={200: {"content": _LINES_OUT, "description": "A header, and a line for each sample."}}),
)
@with_query
async def export(request: Request, gallery: InPath, options: Annotated[ExportOptions, Query()]) -> Response:
    """Return a gallery as lines that can be imported: each sample with what is known of its subject.

    Where a page cannot be made, the connection breaks off, so that nobody takes a part for the whole.
    """
    await request.body()
    state = request.app.state
    gone = until_gone(request.receive, state.pool)

    def begin() -> tuple[Iterator[Mapping[str, Any]], bytes]:
        lines = gallery.export(pictures=options.pictures)
        return lines, page_of(lines)

    lines, first = await while_here(gone, state.pool.run(begin))

    async def pages() -> AsyncIterator[bytes]:
        page = first
        while page:
            yield page
            async with state.export_turns:
                page = await while_here(gone, state.pool.run_when_free(partial(page_of, lines)))

    return _Lines(pages(), headers={"Content-Disposition": f'attachment; filename="{gallery.name}.ndjson"'})


def page_of(lines: Iterator[Mapping[str, Any]]) -> bytes:
    """Return the next lines of an export; nothing at the end."""
    page = bytearray()
    for line in lines:
        page += to_json(line) + b"\n"
        if len(page) >= _PAGE_BYTES:
            break
    return bytes(page)
