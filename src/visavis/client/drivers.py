"""Drive conversations over the network, one way and the other: all that tells the two apart is how they wait."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import TypeVar

import anyio
import anyio.to_thread
import httpx

from visavis.client.exchange import Answer, Call, Each, Found, Pause, Read, Step, Steps, Work
from visavis.client.wire import to_answer, to_no_answer, to_request

_OK = 200

_Value = TypeVar("_Value")


class Driver:
    """For programs that wait by standing still; any number of threads may share one."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def run(self, steps: Steps[_Value]) -> _Value:
        """Do what the steps ask for, and return what they return."""
        outcome: object = None
        with closing(_Line(self._http)) as line:
            try:
                while True:
                    outcome = line.take(steps.send(outcome))
            except StopIteration as end:
                value: _Value = end.value
                return value

    def each(self, steps: Each[_Value]) -> Iterator[_Value]:
        """Do what the steps ask for, and give what they find, when it is asked for."""
        outcome: object = None
        with closing(_Line(self._http)) as line:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Found):
                    yield step.value
                    outcome = None
                else:
                    outcome = line.take(step)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class _Line:
    """What one conversation has open."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._streamed: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

    def take(self, step: Step) -> object:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        if isinstance(step, Work):
            return step.do()
        try:
            return self._reach(step)
        except httpx.RequestError as error:
            return to_no_answer(error)

    def _reach(self, step: Call | Read) -> Answer | bytes | None:
        if isinstance(step, Read):
            return next(self._parts, None)
        response = self._http.send(to_request(self._http, step), stream=step.streamed)
        if step.streamed and response.status_code == _OK:
            self._streamed, self._parts = response, response.iter_bytes()
        else:
            response.read()
        return to_answer(response)

    def close(self) -> None:
        if self._streamed is not None:
            self._streamed.close()


class AsyncDriver:
    """For asynchronous programs; what takes a while besides the network is done in a thread."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def run(self, steps: Steps[_Value]) -> _Value:
        """Do what the steps ask for, and return what they return."""
        outcome: object = None
        async with aclosing(_AsyncLine(self._http)) as line:
            try:
                while True:
                    outcome = await line.take(steps.send(outcome))
            except StopIteration as end:
                value: _Value = end.value
                return value

    async def each(self, steps: Each[_Value]) -> AsyncIterator[_Value]:
        """Do what the steps ask for, and give what they find, when it is asked for."""
        outcome: object = None
        async with aclosing(_AsyncLine(self._http)) as line:
            while True:
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                if isinstance(step, Found):
                    yield step.value
                    outcome = None
                else:
                    outcome = await line.take(step)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _AsyncLine:
    """What one conversation has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._streamed: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None

    async def take(self, step: Step) -> object:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        if isinstance(step, Work):
            return await anyio.to_thread.run_sync(step.do)
        try:
            return await self._reach(step)
        except httpx.RequestError as error:
            return to_no_answer(error)

    async def _reach(self, step: Call | Read) -> Answer | bytes | None:
        if isinstance(step, Read):
            return None if self._parts is None else await anext(self._parts, None)
        response = await self._http.send(to_request(self._http, step), stream=step.streamed)
        if step.streamed and response.status_code == _OK:
            self._streamed, self._parts = response, response.aiter_bytes()
        else:
            await response.aread()
        return to_answer(response)

    async def aclose(self) -> None:
        if self._streamed is not None:
            await self._streamed.aclose()
