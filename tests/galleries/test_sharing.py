"""The lock: readers share it, a writer has it alone, and one that waits goes before readers that come later."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from visavis.galleries.index import SharedLock

PATIENCE_S = 30


class Holder:
    """A thread that takes a lock and holds it until it is told to let go."""

    def __init__(self, take: Callable[[], AbstractContextManager[None]]) -> None:
        self.has_it = threading.Event()
        self._let_go = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(take,), daemon=True)
        self._thread.start()

    def _hold(self, take: Callable[[], AbstractContextManager[None]]) -> None:
        with take():
            self.has_it.set()
            assert self._let_go.wait(PATIENCE_S)

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def taken(holder: Holder) -> Holder:
    assert holder.has_it.wait(PATIENCE_S)
    return holder


def waiting_writers(lock: SharedLock, count: int) -> None:
    """Wait until so many writers wait."""
    condition = lock._condition  # noqa: SLF001  # no other thread may be asked whether it waits
    pause = threading.Event()
    for _ in range(PATIENCE_S * 1000):
        with condition:
            if lock._writers_waiting == count:  # noqa: SLF001  # as above
                return
        pause.wait(0.001)
    raise AssertionError("nobody waits")


def the_one_that_has_it(holders: list[Holder]) -> Holder:
    pause = threading.Event()
    for _ in range(PATIENCE_S * 1000):
        for holder in holders:
            if holder.has_it.is_set():
                return holder
        pause.wait(0.001)
    raise AssertionError("nobody has it")


def test_readers_share() -> None:
    lock = SharedLock()
    both = threading.Barrier(5)

    def read() -> int:
        with lock.reading():
            return both.wait(PATIENCE_S)  # which only all of them together pass

    with ThreadPoolExecutor(5) as pool:
        futures: list[Future[int]] = [pool.submit(read) for _ in range(5)]
        assert sorted(future.result() for future in futures) == list(range(5))


def test_a_writer_waits_for_readers_and_goes_before_later_ones() -> None:
    lock = SharedLock()
    reader = taken(Holder(lock.reading))
    writer = Holder(lock.writing)
    waiting_writers(lock, 1)
    later = Holder(lock.reading)
    assert not writer.has_it.is_set()
    assert not later.has_it.is_set()
    reader.let_go()
    taken(writer)
    assert not later.has_it.is_set()
    writer.let_go()
    taken(later).let_go()


def test_writers_have_it_one_after_the_other() -> None:
    lock = SharedLock()
    first = taken(Holder(lock.writing))
    others = [Holder(lock.writing) for _ in range(3)]
    waiting_writers(lock, 3)
    assert not any(other.has_it.is_set() for other in others)
    first.let_go()
    for left in (2, 1, 0):
        waiting_writers(lock, left)
        holder = the_one_that_has_it(others)
        others.remove(holder)
        assert not any(other.has_it.is_set() for other in others)
        holder.let_go()


@pytest.mark.parametrize("way", ["reading", "writing"])
def test_it_is_free_after_an_error(way: str) -> None:
    lock = SharedLock()
    with pytest.raises(KeyError), getattr(lock, way)():
        raise KeyError
    taken(Holder(lock.writing)).let_go()
    taken(Holder(lock.reading)).let_go()


def test_nobody_reads_while_somebody_writes() -> None:
    lock = SharedLock()
    pair = [0, 0]
    torn: list[tuple[int, int]] = []

    def write() -> None:
        for _ in range(300):
            with lock.writing():
                pair[0] += 1
                pair[1] += 1

    def read() -> None:
        for _ in range(300):
            with lock.reading():
                if pair[0] != pair[1]:
                    torn.append((pair[0], pair[1]))

    threads = [threading.Thread(target=target) for target in (write, read, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (pair, torn) == ([600, 600], [])
