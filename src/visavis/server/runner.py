"""From a request to its answer: everything that takes time happens in the pools, while the client is there to wait."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive

from visavis.errors import InputError
from visavis.fetch import FetchPolicy, fetch
from visavis.models.recognizer import Recognizer
from visavis.server.inputs import Body, Encoded, Source, Unusable, Url
from visavis.server.pool import WorkerPool
from visavis.server.work import Answer, Job

_Result = TypeVar("_Result")


class ClientGone(Exception):
    """The client has left; nobody waits for the answer."""


async def run(request: Request, parse: Callable[[Body], Job]) -> Response:
    """Read the body, understand it, fetch what it names, and do the work.

    Raises:
        Problem: the request cannot be answered.
        Overloaded: there is no room for it.
        ClientGone: the client has left.
    """
    state = request.app.state
    body = Body(request.headers.get("content-type", ""), await request.body())
    pool: WorkerPool = state.pool
    outcome = await _while_connected(request.receive, pool.submit(partial(_begin, state.recognizer, parse, body)))
    if isinstance(outcome, Job):
        sources = await _fetched(request.receive, state.fetch_pool, state.fetch_policy, outcome.sources)
        finish = partial(outcome.work, state.recognizer, sources)
        outcome = await _while_connected(request.receive, pool.submit(finish))
    state.metrics.count(request.scope["route"].path, outcome.images, outcome.faces)
    return Response(outcome.body, outcome.status, getattr(request.state, "answer_headers", {}), "application/json")


def _begin(recognizer: Recognizer, parse: Callable[[Body], Job], body: Body) -> Job | Answer:
    """Do all of it, unless there is something to fetch first."""
    job = parse(body)
    if any(isinstance(source, Url) for source in job.sources):
        return job
    return job.work(recognizer, job.sources)


async def _fetched(
    receive: Receive, pool: WorkerPool, policy: FetchPolicy, sources: Sequence[Source]
) -> tuple[Source, ...]:
    """Return the images with bytes, or an error, in place of URLs."""
    futures: dict[int, asyncio.Future[Source]] = {}
    try:
        for number, source in enumerate(sources):
            if isinstance(source, Url):
                futures[number] = pool.submit(partial(_fetch, source.url, policy))
        await _while_connected(receive, asyncio.gather(*futures.values()))
    finally:
        for future in futures.values():
            future.cancel()
    return tuple(futures[number].result() if number in futures else source for number, source in enumerate(sources))


def _fetch(url: str, policy: FetchPolicy) -> Source:
    try:
        return Encoded(fetch(url, policy))
    except InputError as error:
        return Unusable(error)


async def _while_connected(receive: Receive, future: "asyncio.Future[_Result]") -> _Result:
    """Wait for a result; where the client leaves before, cancel it, which frees the place of what has not begun.

    Raises:
        ClientGone: it has.
    """
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        both: list[asyncio.Future[Any]] = [future, gone]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientGone
        return future.result()
    finally:
        gone.cancel()
        future.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
