"""The pool's places: refused at once, or waited for in order."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from serving import PATIENCE_S

from visavis.server.pool import WorkerPool
from visavis.server.problems import Problem


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, 1)
    yield pool
    pool.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def start(pool: WorkerPool, function: Callable[[], object]) -> "asyncio.Future[object]":
    return asyncio.ensure_future(pool.run(function))


def test_where_there_is_room_nobody_waits(pool: WorkerPool) -> None:
    async def test() -> None:
        assert await pool.run_when_free(lambda: 1) == 1
        with pytest.raises(ValueError, match="of the function"):
            await pool.run_when_free(fail)
        assert (pool.busy, pool.waiting) == (0, 0)

    run(test)


def fail() -> None:
    raise ValueError("of the function")


def test_those_who_wait_get_their_places_in_order_and_before_newcomers(pool: WorkerPool) -> None:
    async def test() -> None:
        let, done = threading.Event(), []
        first, second = start(pool, lambda: let.wait(PATIENCE_S)), start(pool, lambda: done.append("second"))
        await asyncio.sleep(0)

        async def patient(name: str) -> None:
            await pool.run_when_free(lambda: done.append(name))

        waiting = [asyncio.ensure_future(patient(name)) for name in "abc"]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem, match="all workers are busy"):
            await pool.run(lambda: done.append("newcomer"))
        let.set()
        await asyncio.gather(first, second, *waiting)
        assert done == ["second", "a", "b", "c"]
        assert (pool.busy, pool.waiting) == (0, 0)

    run(test)


def test_those_who_give_up_take_no_place(pool: WorkerPool) -> None:
    async def test() -> None:
        let, done = threading.Event(), []
        held = [start(pool, lambda: let.wait(PATIENCE_S)) for _ in range(2)]

        async def patient(name: str) -> None:
            await pool.run_when_free(lambda: done.append(name))

        waiting = [asyncio.ensure_future(patient(name)) for name in "abcd"]
        await asyncio.sleep(0.05)
        for number in (0, 2):
            waiting[number].cancel()
        let.set()
        await asyncio.gather(*held)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False, True, False]
        assert done == ["b", "d"]
        both = [pool.run(lambda: 1) for _ in range(2)]  # whose places are there again
        assert await asyncio.gather(*both) == [1, 1]

    run(test)


def test_a_place_that_is_given_to_somebody_who_leaves_at_that_moment_is_not_lost() -> None:
    async def test() -> None:
        pool = WorkerPool(1, 0)
        for _ in range(200):
            let = threading.Event()
            held = start(pool, lambda let=let: let.wait(PATIENCE_S))  # type: ignore[misc]  # of this round
            await asyncio.sleep(0)
            waiting = [asyncio.ensure_future(pool.run_when_free(lambda: None)) for _ in range(3)]
            await asyncio.sleep(0)
            let.set()
            await held
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert await pool.run_when_free(lambda: "there is room") == "there is room"
        pool.close()

    run(test)
