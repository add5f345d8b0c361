"""From a request to its answer: everything that takes time happens in the pools, while the client is there to wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from fastapi import Request
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive

from visavis.errors import InputError
from visavis.fetch import FetchPolicy, fetch
from visavis.models.recognizer import Recognizer
from visavis.server.api.work import Answer, Job
from visavis.server.pool import WorkerPool
from visavis.server.reading import Body, Encoded, Source, Unusable, Url

_Result = TypeVar("_Result")

Gone: TypeAlias = Callable[[], Awaitable[None]]
"""What ends when the client has left."""


class Submit(Protocol):
    """How to give a function to a pool: at once or not at all, or with patience."""

    def __call__(self, pool: WorkerPool, function: Callable[[], _Result], /) -> Awaitable[_Result]:
        """Return its result, to be awaited; cancelling that frees the function's place."""


class ClientGone(Exception):
    """The client has left; nobody waits for the answer."""


def at_once(pool: WorkerPool, function: Callable[[], _Result], /) -> Awaitable[_Result]:
    """Give a function to a pool.

    Raises:
        Overloaded: there is no room.
    """
    return pool.submit(function)


async def patiently(pool: WorkerPool, function: Callable[[], _Result], /) -> _Result:
    """Give a function to a pool as soon as there is room."""
    return await (await pool.submit_when_free(function))


async def run(request: Request, parse: Callable[[Body], Job[Answer]], submit: Submit = at_once) -> Response:
    """Read the body, understand it, fetch what it names, and do the work.

    Args:
        request: to be answered.
        parse: runs in a worker.
        submit: how work is given to a pool.

    Raises:
        Problem: the request cannot be answered.
        Overloaded: there is no room for it.
        ClientGone: the client has left.
    """
    state = request.app.state
    body = Body(request.headers.get("content-type", ""), await request.body())
    answer = await perform(state, partial(parse, body), until_gone(request.receive), submit)
    state.metrics.count(request.scope["route"].path, answer.tally)
    headers = {**getattr(request.state, "answer_headers", {}), **answer.headers}
    return Response(answer.body, answer.status, headers, answer.media_type)


async def perform(state: State, parse: Callable[[], Job[_Result]], gone: Gone, submit: Submit = at_once) -> _Result:
    """Understand, fetch what is named, and do the work.

    Args:
        state: of the application.
        parse: runs in a worker.
        gone: ends when the client has left.
        submit: at once or with patience.

    Raises:
        Overloaded: there is no room for it.
        ClientGone: the client has left.
    """
    outcome = await while_here(gone, submit(state.pool, partial(_begin, state.recognizer, parse)))
    if not isinstance(outcome, Job):
        return outcome
    sources = await _fetched(state, outcome.sources, gone, submit)
    return await while_here(gone, submit(state.pool, partial(outcome.work, state.recognizer, sources)))


def _begin(recognizer: Recognizer, parse: Callable[[], Job[_Result]]) -> Job[_Result] | _Result:
    """Do all of it, unless there is something to fetch first."""
    job = parse()
    if any(isinstance(source, Url) for source in job.sources):
        return job
    return job.work(recognizer, job.sources)


async def _fetched(state: State, sources: Sequence[Source], gone: Gone, submit: Submit) -> tuple[Source, ...]:
    """Return the images with bytes, or an error, in place of URLs."""
    futures: dict[int, asyncio.Future[Source]] = {}
    try:
        for number, source in enumerate(sources):
            if isinstance(source, Url):
                futures[number] = asyncio.ensure_future(
                    submit(state.fetch_pool, partial(_fetch, source.url, state.fetch_policy))
                )
        await while_here(gone, asyncio.gather(*futures.values()))
    finally:
        for future in futures.values():
            future.cancel()
    return tuple(futures[number].result() if number in futures else source for number, source in enumerate(sources))


def _fetch(url: str, policy: FetchPolicy) -> Source:
    try:
        return Encoded(fetch(url, policy))
    except InputError as error:
        return Unusable(error)


async def while_here(gone: Gone, result: Awaitable[_Result]) -> _Result:
    """Wait for a result; where the client leaves before, cancel it, which frees the place of what has not begun.

    Raises:
        ClientGone: it has.
    """
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
