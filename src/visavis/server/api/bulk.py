"""Import and export of galleries as streams of lines."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from visavis.errors import SetupError, VisavisError
from visavis.galleries.checks import check_embedding
from visavis.galleries.records import Gallery
from visavis.models.recognizer import Recognizer
from visavis.server.api.work import Job, to_json
from visavis.server.limits import Intake
from visavis.server.ndjson import MEDIA_TYPE, Line, LineReader
from visavis.server.observability import Tally, log_setup_error
from visavis.server.pool import WorkerPool
from visavis.server.problems import Problem, from_library
from visavis.server.reading import Source, check, load, read_json, source_of
from visavis.server.requests import ExportQuery, Image, ImportQuery, Strict
from visavis.server.runner import ClientGone, at_once, patiently, perform, until_gone, while_here
from visavis.service.decisions import check_space
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled
from visavis.service.transfer import enrolment_from_line, has_face, is_header, space_of_header

_MOST_IMAGES = 16
_MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of some lines.

    Attributes:
        consumed: how many they were.
        body: their results, a line each.
        counts: enrolled, repeated, failed.
        tally: for the metrics.
        end: why no further line is to be read, if so.
    """

    consumed: int
    body: bytes
    counts: Counter[str]
    tally: Tally
    end: Problem | None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """What to enrol as soon as its image is there, which is at this place among those of the batch."""

    line: Mapping[str, Any]
    source: int


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A line that was read: its number, and what to enrol, or why nothing can be."""

    number: int
    wanted: Enrolment | _Waiting | VisavisError | Problem


class _WithImage(Strict):
    """The part of a line that is checked as in other requests."""

    image: Image


class Importer:
    """Enrols lines into a gallery. Any number of threads may share one."""

    def __init__(self, gallery: OpenGallery, query: ImportQuery) -> None:
        self._gallery = gallery
        self._query = query

    def parse(self, lines: Sequence[Line]) -> Job[Imported]:
        """Understand the first lines: as many as should be worked on at a time.

        Raises:
            GalleryNotFound: it was forgotten meanwhile.
        """
        batch = _Batch(self._gallery.record)
        consumed = 0
        while consumed < len(lines) and not batch.is_full:
            batch.add(lines[consumed])
            consumed += 1
        return Job(tuple(batch.sources), partial(self._enrol, batch, consumed))

    def _enrol(
        self,
        batch: "_Batch",
        consumed: int,
        recognizer: Recognizer,  # noqa: ARG002  # which the gallery has
        sources: Sequence[Source],
    ) -> Imported:
        """Enrol, and say for each line what became of it.

        Raises:
            SetupError: the store cannot be used.
            SpaceMismatch: the gallery is not for the server's models.
        """
        wanted = [_with_image(entry.wanted, sources) for entry in batch.entries]
        good = [each for each in wanted if not isinstance(each, Problem)]
        query = self._query
        results = self._gallery.enrol_many(
            good, faces=query.faces, min_face=query.min_face, allow_conflict=query.allow_conflict
        )
        outcomes = [each if isinstance(each, Problem) else next(results) for each in wanted]
        counts: Counter[str] = Counter()
        body = bytearray()
        for entry, outcome in zip(batch.entries, outcomes, strict=True):
            counts[_count_of(outcome)] += 1
            body += to_json({"line": entry.number, **_told(outcome)}) + b"\n"
        found = sum(isinstance(outcome, Enrolled) and outcome.face is not None for outcome in outcomes)
        tally = Tally(len(sources), found, enrolled=counts["enrolled"])
        return Imported(consumed, bytes(body), counts, tally, batch.end)


class _Batch:
    """Lines as they are read, until there are enough.

    Attributes:
        entries: one for each line that has a result.
        sources: the images of those that have one.
        end: why no further line is to be read, if so.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.entries: list[_Entry] = []
        self.sources: list[Source] = []
        self.end: Problem | None = None
        self._gallery = gallery

    @property
    def is_full(self) -> bool:
        """Whether no further line is to be added."""
        return self.end is not None or len(self.sources) >= _MOST_IMAGES or len(self.entries) >= _MOST_LINES

    def add(self, line: Line) -> None:
        """Read a line."""
        try:
            value = read_json(line.data, "the line")
            if is_header(value):
                self._check_header(line.number, value)
            elif isinstance(value, dict) and value.get("image") is not None:
                self._add_image(line.number, value)
            elif has_face(value):
                self.entries.append(_Entry(line.number, self._packed(enrolment_from_line(value))))
        except (Problem, VisavisError) as error:
            self.entries.append(_Entry(line.number, error))

    def _check_header(self, number: int, value: Mapping[str, Any]) -> None:
        try:
            check_space(self._gallery, space_of_header(value))
        except VisavisError as error:
            self.end = Problem(error.code, f"line {number}: {error}")

    def _add_image(self, number: int, value: dict[str, Any]) -> None:
        source = source_of(check(_WithImage, {"image": value.pop("image")}).image)
        self.entries.append(_Entry(number, _Waiting(value, len(self.sources))))
        self.sources.append(source)

    def _packed(self, enrolment: Enrolment) -> Enrolment:
        """Pack the numbers at once: as JSON they take much room."""
        return replace(enrolment, embedding=check_embedding(enrolment.embedding, self._gallery.space.dimension))


def _with_image(
    wanted: Enrolment | _Waiting | VisavisError | Problem, sources: Sequence[Source]
) -> Enrolment | VisavisError | Problem:
    if not isinstance(wanted, _Waiting):
        return wanted
    try:
        return enrolment_from_line(wanted.line, image=load(sources[wanted.source]))
    except VisavisError as error:
        return error


def _count_of(outcome: Enrolled | VisavisError | Problem) -> str:
    if not isinstance(outcome, Enrolled):
        return "failed"
    return "repeated" if outcome.repeated else "enrolled"


def _told(outcome: Enrolled | VisavisError | Problem) -> dict[str, Any]:
    """Return what is said of a line.

    Raises:
        SetupError: it is a fault of the server's, which is the whole import's.
    """
    if isinstance(outcome, Enrolled):
        return outcome.to_dict()
    if isinstance(outcome, SetupError):
        raise outcome
    problem = outcome if isinstance(outcome, Problem) else from_library(outcome)
    error = {"code": problem.code, "detail": problem.detail}
    return {"error": error if problem.field is None else {**error, "field": problem.field}}


class Streamed(Response):
    """An answer of lines; those who inherit from it are called to send them."""

    media_type = MEDIA_TYPE

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)

    async def begin(self, send: Send) -> None:
        """Send the head."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


async def send_piece(send: Send, data: bytes, *, last: bool = False) -> None:
    """Send a piece, and wait where the client has not taken those before."""
    await send({"type": "http.response.body", "body": data, "more_body": not last})


_Result = TypeVar("_Result")
_MEDIA_TYPES = ("", MEDIA_TYPE, "application/jsonl", "application/x-jsonlines", "application/json-lines")


async def import_gallery(request: Request, opened: Callable[[], OpenGallery], query: ImportQuery) -> Response:
    """Enrol what comes. What is wrong before the first line is read is a problem as everywhere.

    Raises:
        Problem: the content type is another.
        ClientGone: the client has left.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _MEDIA_TYPES:
        raise Problem("unsupported_media_type", f"send {MEDIA_TYPE}: a JSON object a line")
    state = request.app.state
    intake = Intake.of(request.scope)
    intake.begin_endless()
    reader = LineReader(intake, lambda: not state.ready)
    try:
        gallery = await while_here(reader.gone, patiently(state.pool, opened))
    except BaseException:
        reader.close()
        raise
    importer = Importer(gallery, query)
    return _Import(state, reader, importer, request.scope["route"].path)


class _Import(Streamed):
    """Reads, enrols and answers, one batch after the other, so that an import never has more than one worker."""

    def __init__(self, state: State, reader: LineReader, importer: Importer, route: str) -> None:
        super().__init__()
        self._state = state
        self._reader = reader
        self._importer = importer
        self._route = route
        self._counts = Counter(enrolled=0, repeated=0, failed=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI calls it
        """Go on until the body ends, or cannot be read further, or the client has left."""
        problem = None
        try:
            await self._reader.read_ahead()
            await self.begin(send)
            while lines := await self._reader.batch():
                await self._enrol(lines, send)
        except ClientGone:
            return
        except Problem as ended:
            problem = ended
        except VisavisError as error:
            if isinstance(error, SetupError):
                log_setup_error(error)
            problem = from_library(error)
        finally:
            self._reader.close()
        await send_piece(send, _last_line(self._counts, problem), last=True)

    async def _enrol(self, lines: Sequence[Line], send: Send) -> None:
        """Enrol a batch, or as much at a time of it as one worker should be kept busy with.

        Raises:
            Problem: what a line says ends the import.
            VisavisError: the store cannot be used.
        """
        while lines:
            imported: Imported = await perform(
                self._state, partial(self._importer.parse, lines), self._reader.gone, self._submit
            )
            for line in lines[: imported.consumed]:
                self._reader.release(line)
            lines = lines[imported.consumed :]
            self._counts.update(imported.counts)
            self._state.metrics.count(self._route, imported.tally)
            await send_piece(send, imported.body)
            if imported.end is not None:
                raise imported.end

    async def _submit(self, pool: WorkerPool, function: Callable[[], _Result], /) -> _Result:
        """Wait for a turn, then for a place in the pool: all imports together have a part of the places only."""
        async with self._state.import_turns if pool is self._state.pool else self._state.import_fetches:
            return await patiently(pool, function)


def _last_line(counts: Counter[str], problem: Problem | None) -> bytes:
    line: dict[str, Any] = {"done": problem is None, **counts}
    if problem is not None:
        line["error"] = {"code": problem.code, "detail": problem.detail}
    return to_json(line) + b"\n"


_PAGE_BYTES = 262_144


async def export_gallery(request: Request, opened: Callable[[], OpenGallery], query: ExportQuery) -> Response:
    """Answer with a gallery. What is wrong before the first line is known is a problem as everywhere.

    Raises:
        Overloaded: there is no room for it.
        ClientGone: the client has left.
    """
    state = request.app.state

    def begin() -> tuple[str, _Pages, bytes]:
        gallery = opened()
        pages = _Pages(gallery.export(pictures=query.pictures))
        return gallery.name, pages, pages.next()

    name, pages, first = await while_here(until_gone(request.receive), at_once(state.pool, begin))
    return _Export(state, pages, first, f"{name}.ndjson")


class _Pages:
    """The lines of an export, some at a time; one thread at a time."""

    def __init__(self, lines: Iterator[Mapping[str, Any]]) -> None:
        self._lines = lines

    def next(self) -> bytes:
        """Return the next lines; nothing at the end."""
        page = bytearray()
        for line in self._lines:
            page += to_json(line) + b"\n"
            if len(page) >= _PAGE_BYTES:
                break
        return bytes(page)


class _Export(Streamed):
    """Sends pages. Where one cannot be made, the connection breaks off, so that nobody takes a part for the whole."""

    def __init__(self, state: State, pages: _Pages, first: bytes, name: str) -> None:
        super().__init__({"Content-Disposition": f'attachment; filename="{name}"'})
        self._state = state
        self._pages = pages
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI calls it
        """Send the pages until there are no more, or the client has left."""
        await self.begin(send)
        page = self._first
        gone = until_gone(receive)
        try:
            while page:
                await send_piece(send, page)
                async with self._state.export_turns:
                    page = await while_here(gone, patiently(self._state.pool, self._pages.next))
        except ClientGone:
            return
        await send_piece(send, b"", last=True)
