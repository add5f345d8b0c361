"""Bounded pool of worker threads, and the calls that run in it while their client is there to wait."""

import asyncio
import contextvars
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from statistics import fmean
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_origin

from fastapi import Depends, Path, Request
from fastapi.params import Query
from pydantic_core import to_json
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive

from visavis.core.work import WORK, Work, give_memory_back
from visavis.models.recognizer import Recognizer
from visavis.record import Record
from visavis.server import reading
from visavis.server.auth import CALLER, check_allows, check_covers
from visavis.server.problems import Problem
from visavis.server.reading import GALLERY_PATTERN, Body, Image
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")
_Route = TypeVar("_Route", bound=Callable[..., Any])

_FIRST_GUESS_S = 0.1  # what a job takes, before one was seen
_MEMORY = 0.2  # weight of the latest job in the average
_LONGEST_WAIT_S = 600
_CALLERS = 2  # who may fill a pool at the same time
_DEAR_PIXELS = 4_000_000  # searched by a call
_FETCHES_AT_A_TIME = 4  # for one request
_FETCHED_IMAGES = 4  # as large as one may be: so many bytes may be fetched for one request


@dataclass(slots=True, eq=False)
class _Job:
    """A function, whose it is, what comes of it, and since when it runs, if it does."""

    caller: str
    function: Callable[[], Any]
    result: "asyncio.Future[Any]"
    begun: float = 0.0


class WorkerPool:
    """Runs synchronous functions in threads; one event loop's.

    Of the functions that wait, the next is one whose caller has the fewest running, and the first of these.
    """

    def __init__(self, workers: int, queue: int, name: str = "worker") -> None:
        """Make a pool of so many threads; ``queue`` is how many more functions of a caller may wait."""
        self.workers = workers
        self.queue = queue
        self.over = asyncio.Event()  # set where nobody shall wait for its results any more
        self._running: list[_Job] = []
        self._waiting: list[_Job] = []
        self._executor = ThreadPoolExecutor(workers, name)
        self._average_s = _FIRST_GUESS_S

    @property
    def busy(self) -> int:
        """How many workers are at work."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many functions are waiting for a worker."""
        return len(self._waiting)

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Run a function with the caller's context variables, or raise a ``Problem`` where there is no room.

        A caller may have as many functions here as there are workers and places in the queue, and all callers together
        twice as many, so that one does not keep out the others. To cancel this while it waits frees its place.
        """
        most, jobs = self.workers + self.queue, [*self._running, *self._waiting]
        if len(jobs) >= _CALLERS * most or sum(job.caller == CALLER.get() for job in jobs) >= most:
            headers = {"Retry-After": str(min(_LONGEST_WAIT_S, max(1, math.ceil(self._wait_s()))))}
            raise Problem("overloaded", "all workers are busy and the queue is full", headers=headers)
        return await self.run_when_free(function)

    async def run_when_free(self, function: Callable[[], _Result]) -> _Result:
        """Run a function as soon as a worker is free: for work that can wait longer than the queue is.

        Those who wait are before whoever comes to ``run``; so they should be few.
        """
        bound = partial(contextvars.copy_context().run, function)
        job = _Job(CALLER.get(), bound, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        try:
            self._begin()
            result: _Result = await job.result
        finally:
            if job in self._waiting:  # it is wanted no more
                self._waiting.remove(job)
        return result

    def close(self) -> None:
        """Finish what has begun, and take nothing more."""
        self._executor.shutdown(wait=True)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self.workers:
            job = min(self._waiting, key=lambda job: sum(other.caller == job.caller for other in self._running))
            future = self._executor.submit(job.function)
            job.begun = time.monotonic()
            self._waiting.remove(job)
            self._running.append(job)
            end = partial(self._end, job)
            future.add_done_callback(partial(job.result.get_loop().call_soon_threadsafe, end))

    def _end(self, job: _Job, future: "Future[Any]") -> None:
        self._running.remove(job)
        self._average_s += _MEMORY * (time.monotonic() - job.begun - self._average_s)
        if job.result.cancelled():
            pass  # it is wanted no more
        elif error := future.exception():
            job.result.set_exception(error)
        else:
            job.result.set_result(future.result())
        self._begin()

    def _wait_s(self) -> float:
        """Return after how many seconds all may be done that is there, if what runs takes no longer than it has."""
        now = time.monotonic()
        each_s = fmean(max(self._average_s, now - job.begun) for job in self._running)
        return each_s * (self.busy + self.waiting) / self.workers


Gone: TypeAlias = Callable[[], Awaitable[bool]]
"""What ends when nobody waits any more: true where the client has left, false where the server ends."""
Run: TypeAlias = Callable[[WorkerPool, Callable[[], Any]], Awaitable[Any]]
"""How to run a function in a pool: ``WorkerPool.run``, or with more patience."""


class ClientGone(Exception):
    """The client has left; nobody waits for the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetch(Generic[_Result]):
    """What a job returns that cannot go on before images were fetched: these, and how it goes on."""

    images: Sequence[Image]
    then: Callable[[], _Result]


async def perform(
    state: State, job: Callable[[], Fetch[_Result] | _Result], gone: Gone, run: Run = WorkerPool.run, pool: str = "pool"
) -> _Result:
    """Do a job in a worker; where it wants images from elsewhere, fetch them and go on in a worker.

    All of it is one ``Work``, which is charged to the caller, and stopped where nobody waits any more.
    """
    work = Work(state.settings.max_searched_pixels)
    WORK.set(work)
    try:
        outcome: Fetch[_Result] | _Result = await while_here(gone, run(getattr(state, pool), job))
        return await _completed(state, outcome, gone, run) if isinstance(outcome, Fetch) else outcome
    finally:
        work.stop()
        if work.spent > _DEAR_PIXELS:  # else what decoders and networks used stays, for each thread
            asyncio.get_running_loop().run_in_executor(None, give_memory_back, work)
        if state.search_rate is not None:
            state.search_rate.charge(CALLER.get(), work.spent / 1e6)


async def _completed(state: State, wanted: Fetch[_Result], gone: Gone, run: Run) -> _Result:
    """Fetch images, a few at a time, and go on in a worker; all that comes counts until that is done."""
    turns = asyncio.Semaphore(_FETCHES_AT_A_TIME)
    with state.account.share(_FETCHED_IMAGES * state.settings.max_bytes) as take:

        async def fetch(image: Image) -> None:
            async with turns:
                await run(state.fetch_pool, partial(image.fetch, state.fetch_policy, take))

        fetching = [asyncio.ensure_future(fetch(image)) for image in wanted.images]
        try:
            await while_here(gone, asyncio.gather(*fetching))
        finally:
            for each in fetching:
                each.cancel()
        result: _Result = await while_here(gone, run(state.pool, wanted.then))
        return result


async def while_here(gone: Gone, result: Awaitable[_Result]) -> _Result:
    """Wait for a result; where nobody waits any more, cancel it, and raise ``ClientGone`` or a ``Problem``."""
    leaving = asyncio.ensure_future(gone())
    future = asyncio.ensure_future(result)
    try:
        both: list[asyncio.Future[Any]] = [future, leaving]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            detail = "the server is stopping; call again, later or elsewhere"
            raise ClientGone if leaving.result() else Problem("overloaded", detail, headers={"Retry-After": "5"})
        return future.result()
    finally:
        leaving.cancel()
        future.cancel()


def until_gone(receive: Receive, pool: WorkerPool) -> Gone:
    """Return what ends when the client has left, where nothing else is to be received from it; or the pool is over."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def gone() -> bool:
        leaving, ending = asyncio.ensure_future(left()), asyncio.ensure_future(pool.over.wait())
        try:
            await asyncio.wait((leaving, ending), return_when=asyncio.FIRST_COMPLETED)
            return leaving.done()
        finally:
            leaving.cancel()
            ending.cancel()

    return gone


@dataclass(frozen=True, slots=True)
class Answer(Generic[_Value]):
    """What a route answers where a record alone is not all."""

    value: _Value | Mapping[str, Any] | None  # a record, or what one becomes; bytes as they are; or None
    counts: Mapping[str, Any] = field(default_factory=dict)  # as ``Metrics.count`` takes them
    status: int | None = None  # in place of the route's
    headers: Mapping[str, str] = field(default_factory=dict)  # besides those that every answer has
    media_type: str | None = "application/json"  # None where there is no value


def in_worker(function: Callable[..., Any], pool: str = "pool") -> Callable[..., Awaitable[Response]]:
    """Make a route of a synchronous function, which runs in a worker and returns a record or an ``Answer`` of one.

    A parameter that is a body, ``reading.Request``, is read there; what it names by URL is fetched before the function
    is called. The type that the function returns is what the OpenAPI document says of the answer.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if not _is_body(each)]
    body = next(filter(_is_body, signature.parameters.values()), None)

    async def route(request: Request, **known: Any) -> Response:  # noqa: ANN401  # whatever the function takes
        data = b"".join([part async for part in request.stream()])
        sent = [Body(request.headers.get("content-type", ""), data, request.query_params)]
        del data  # so that nobody has the body any more once it is read: what it says is never larger
        state = request.app.state

        def job() -> Fetch[Response] | Response:
            call = partial(function, **known)
            if body is None:
                return _respond(request, call())
            gallery = known["gallery"] if isinstance(known.get("gallery"), OpenGallery) else None
            creates = "create" in body.annotation.model_fields
            if gallery and not creates:  # before anything is read, or fetched, for one that is not there
                insist(request, gallery)
            wanted = body.annotation.read(sent.pop(), state.settings.max_images)
            if gallery and creates:
                insist(request, gallery, create=wanted.create)

            def then() -> Response:
                return _respond(request, call(**{body.name: wanted}))

            elsewhere = [image for image in wanted.pictures if image.is_elsewhere]
            return Fetch(elsewhere, then) if elsewhere else then()

        return await perform(state, job, until_gone(request.receive, getattr(state, pool)), pool=pool)

    update_wrapper(route, function)
    vars(route).pop("__wrapped__")  # which FastAPI would take for the route
    own.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    answer = signature.return_annotation
    vars(route).update(
        __signature__=signature.replace(parameters=own, return_annotation=Response),
        body=body and body.annotation,
        answer=get_args(answer)[0] if get_origin(answer) is Answer else answer,
    )
    with_query(route)
    vars(route)["query"].update(body.annotation.texts() if body else ())
    return route


in_quick_worker = partial(in_worker, pool="quick")
"""The same, for what never takes long: such calls have workers of their own."""


def with_query(route: _Route) -> _Route:
    """Let a route tell which names its query may have: those of the model that a parameter is."""
    kinds = [get_args(each.annotation) for each in inspect.signature(route).parameters.values()]
    models = [model for model, *about in filter(None, kinds) if any(isinstance(each, Query) for each in about)]
    vars(route)["query"] = {name for model in models for name in model.model_fields}
    return route


def _is_body(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and issubclass(parameter.annotation, reading.Request)


def _respond(request: Request, found: Record | Answer[Any]) -> Response:
    answer = found if isinstance(found, Answer) else Answer(found)
    route, value = request.scope["route"], answer.value
    request.app.state.metrics.count(route.path, answer.counts)
    headers = {**getattr(request.state, "answer_headers", {}), **answer.headers}
    plain = value.to_dict() if isinstance(value, Record) else value
    data = to_json(plain) if isinstance(plain, Mapping) else plain
    return Response(data, answer.status or route.status_code or 200, headers, answer.media_type)


async def _recognizer(request: Request) -> Recognizer:
    recognizer: Recognizer = request.app.state.recognizer
    return recognizer


def insist(request: Request, gallery: OpenGallery, *, create: bool = False) -> None:
    """Raise ``GalleryNotFound`` where there is no such gallery; or make it, where that is wanted and the key may."""
    if create:
        check_allows(getattr(request.state, "key", None), "admin")
        _acting(request).get_or_create(gallery.name)
    else:
        _ = gallery.record


def _acting(request: Request) -> Galleries:
    key = getattr(request.state, "key", None)
    galleries: Galleries = request.app.state.galleries
    return galleries.acting_as(f"key {key.id}" if key else "anonymous")


async def _galleries(request: Request) -> Galleries:
    return _acting(request)


GalleryName: TypeAlias = Annotated[
    str, Path(description="A gallery's name.", json_schema_extra={"pattern": GALLERY_PATTERN}, examples=["team"])
]


async def _gallery(request: Request, gallery: GalleryName) -> OpenGallery:
    return _acting(request).named(gallery)


async def _unnamed(request: Request) -> OpenGallery:
    key = getattr(request.state, "key", None)
    only: Sequence[str] = key.galleries if key else ()
    name = only[0] if len(only) == 1 else request.app.state.settings.dialect_gallery
    check_covers(key, name)
    return _acting(request).named(name)


InUse: TypeAlias = Annotated[Recognizer, Depends(_recognizer)]
"""The server's Recognizer."""
AllGalleries: TypeAlias = Annotated[Galleries, Depends(_galleries)]
"""The server's galleries, for the caller to act on."""
InPath: TypeAlias = Annotated[OpenGallery, Depends(_gallery)]
"""The gallery that the path names; whether there is one is found out where something is asked of it."""
Unnamed: TypeAlias = Annotated[OpenGallery, Depends(_unnamed)]
"""The gallery of a dialect whose clients name none: the one that their key is limited to, else that of the settings."""
