"""Bounded pool of worker threads, and the calls that run in it while their client is there to wait."""

import asyncio
import contextvars
import inspect
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

from fastapi import Depends, Path, Request
from fastapi.params import Query
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive

from visavis.models.recognizer import Recognizer
from visavis.record import Record
from visavis.server import reading
from visavis.server.problems import Problem
from visavis.server.reading import GALLERY_PATTERN, Body, Image
from visavis.service.gallery import Galleries, OpenGallery

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")
_Route = TypeVar("_Route", bound=Callable[..., Any])

_FIRST_GUESS_S = 0.1  # what a job takes, before one was seen
_MEMORY = 0.2  # weight of the latest job in the average
_LONGEST_WAIT_S = 60


class WorkerPool:
    """Runs synchronous functions in threads, first come, first served; one event loop's."""

    def __init__(self, workers: int, queue: int, name: str = "worker") -> None:
        """Make a pool of so many threads; ``queue`` is how many more functions may wait."""
        self.workers = workers
        self.queue = queue
        self.busy = 0
        self._accepted = 0
        self._executor = ThreadPoolExecutor(workers, name)
        self._places = asyncio.Semaphore(workers + queue)
        self._lock = threading.Lock()
        self._average_s = _FIRST_GUESS_S

    @property
    def waiting(self) -> int:
        """How many functions are waiting for a worker."""
        return max(0, self._accepted - self.busy)

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Run a function with the caller's context variables, or raise a ``Problem`` where there is no room.

        To cancel this while it waits frees its place.
        """
        if self._places.locked():
            wait_s = math.ceil(self._accepted / self.workers * self._average_s)
            headers = {"Retry-After": str(min(_LONGEST_WAIT_S, max(1, wait_s)))}
            raise Problem("overloaded", "all workers are busy and the queue is full", headers=headers)
        return await self.run_when_free(function)

    async def run_when_free(self, function: Callable[[], _Result]) -> _Result:
        """Run a function as soon as there is room: for work that can wait longer than the queue is.

        Those who wait get their places in order, and before whoever comes to ``run``; so they should be few.
        """
        await self._places.acquire()
        self._accepted += 1
        leave = partial(asyncio.get_running_loop().call_soon_threadsafe, self._leave)
        try:
            future = self._executor.submit(contextvars.copy_context().run, self._timed, function)
        except BaseException:  # it is closed
            self._leave()
            raise
        future.add_done_callback(lambda _future: leave())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was accepted, and take nothing more."""
        self._executor.shutdown(wait=True)

    def _timed(self, function: Callable[[], _Result]) -> _Result:
        with self._lock:
            self.busy += 1
        start = time.perf_counter()
        try:
            return function()
        finally:
            with self._lock:
                self.busy -= 1
                self._average_s += _MEMORY * (time.perf_counter() - start - self._average_s)

    def _leave(self) -> None:
        self._accepted -= 1
        self._places.release()


Gone: TypeAlias = Callable[[], Awaitable[None]]
"""What ends when the client has left."""
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
    """Do a job in a worker; where it wants images from elsewhere, fetch them and go on in a worker."""
    outcome: Fetch[_Result] | _Result = await while_here(gone, run(getattr(state, pool), job))
    if not isinstance(outcome, Fetch):
        return outcome
    fetches = [run(state.fetch_pool, partial(image.fetch, state.fetch_policy)) for image in outcome.images]
    fetching = list(map(asyncio.ensure_future, fetches))
    try:
        await while_here(gone, asyncio.gather(*fetching))
    finally:
        for each in fetching:
            each.cancel()
    result: _Result = await while_here(gone, run(state.pool, outcome.then))
    return result


async def while_here(gone: Gone, result: Awaitable[_Result]) -> _Result:
    """Wait for a result; where the client leaves before, cancel it, and raise ``ClientGone``."""
    leaving = asyncio.ensure_future(gone())
    future = asyncio.ensure_future(result)
    try:
        both: list[asyncio.Future[Any]] = [future, leaving]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientGone
        return future.result()
    finally:
        leaving.cancel()
        future.cancel()


def until_gone(receive: Receive) -> Gone:
    """Return what ends when the client has left, where nothing else is to be received from it."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return gone


@dataclass(frozen=True, slots=True)
class Answer(Generic[_Value]):
    """What a route answers where a record alone is not all."""

    value: _Value | Mapping[str, Any] | None  # a record, or what one becomes; bytes as they are; or None
    counts: Mapping[str, Any] = field(default_factory=dict)  # as ``Metrics.count`` takes them
    status: int | None = None  # in place of the route's
    headers: Mapping[str, str] = field(default_factory=dict)  # besides those that every answer has
    media_type: str | None = "application/json"  # None where there is no value


def to_json(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def in_worker(function: Callable[..., Any], pool: str = "pool") -> Callable[..., Awaitable[Response]]:
    """Make a route of a synchronous function, which runs in a worker and returns a record or an ``Answer`` of one.

    A parameter that is a body, ``reading.Request``, is read there; what it names by URL is fetched before the function
    is called. The type that the function returns is what the OpenAPI document says of the answer.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if not _is_body(each)]
    body = next(filter(_is_body, signature.parameters.values()), None)

    async def route(request: Request, **known: object) -> Response:
        sent = Body(request.headers.get("content-type", ""), await request.body())
        state = request.app.state

        def job() -> Fetch[Response] | Response:
            call = partial(function, **known)
            if body is None:
                return _respond(request, call())
            if "gallery" in known:  # before anything is read, or fetched, for one that is not there
                _ = cast("OpenGallery", known["gallery"]).record
            wanted = body.annotation.read(sent, state.settings.max_images)

            def then() -> Response:
                return _respond(request, call(**{body.name: wanted}))

            elsewhere = [image for image in wanted.pictures if image.is_elsewhere]
            return Fetch(elsewhere, then) if elsewhere else then()

        return await perform(state, job, until_gone(request.receive), pool=pool)

    update_wrapper(route, function)
    vars(route).pop("__wrapped__")  # which FastAPI would take for the route
    own.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    answer = signature.return_annotation
    vars(route).update(
        __signature__=signature.replace(parameters=own, return_annotation=Response),
        body=body and body.annotation,
        answer=get_args(answer)[0] if get_origin(answer) is Answer else answer,
    )
    return with_query(route)


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


async def _galleries(request: Request) -> Galleries:
    key = getattr(request.state, "key", None)
    galleries: Galleries = request.app.state.galleries
    return galleries.acting_as(f"key {key.id}" if key else "anonymous")


GalleryName: TypeAlias = Annotated[
    str, Path(description="A gallery's name.", json_schema_extra={"pattern": GALLERY_PATTERN}, examples=["team"])
]


async def _gallery(request: Request, gallery: GalleryName) -> OpenGallery:
    return (await _galleries(request)).named(gallery)


InUse: TypeAlias = Annotated[Recognizer, Depends(_recognizer)]
"""The server's Recognizer."""
AllGalleries: TypeAlias = Annotated[Galleries, Depends(_galleries)]
"""The server's galleries, for the caller to act on."""
InPath: TypeAlias = Annotated[OpenGallery, Depends(_gallery)]
"""The gallery that the path names; whether there is one is found out where something is asked of it."""
