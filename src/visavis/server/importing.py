"""Enrolment line by line, from a body that may be endless: batches of lines go in, their results come out."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from visavis.errors import SetupError, VisavisError
from visavis.server.gallery_requests import ImportQuery
from visavis.server.import_work import Imported, Importer
from visavis.server.limits import Intake
from visavis.server.ndjson import MEDIA_TYPE, Line, LineReader
from visavis.server.observability import log_setup_error
from visavis.server.pool import WorkerPool
from visavis.server.problems import Problem, from_library
from visavis.server.runner import ClientGone, patiently, perform, while_here
from visavis.server.streaming import Streamed, send_piece
from visavis.server.work import to_json
from visavis.service.gallery import OpenGallery

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
