"""A bounded pool of worker threads with a bounded queue in front: what does not fit is refused at once."""

import asyncio
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")

_FIRST_GUESS_S = 0.1  # what a job takes, before one was seen
_MEMORY = 0.2  # weight of the latest job in the average
_LONGEST_WAIT_S = 60


class Overloaded(Exception):
    """The workers are busy and the queue is full.

    Attributes:
        retry_after_s: when there will probably be room again.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"no room for another {retry_after_s} s")
        self.retry_after_s = retry_after_s


class WorkerPool:
    """Runs synchronous functions in threads, first come, first served. Thread-safe, and free of any event loop."""

    def __init__(self, workers: int, queue: int, name: str = "worker") -> None:
        """Make a pool.

        Args:
            workers: how many functions run at the same time.
            queue: how many more may wait.
            name: of its threads.
        """
        self.workers = workers
        self.queue = queue
        self._executor = ThreadPoolExecutor(workers, name)
        self._lock = threading.Lock()
        self._accepted = 0
        self._patient: deque[Future[None]] = deque()  # those who wait for a place, in order
        self._busy = 0
        self._average_s = _FIRST_GUESS_S

    @property
    def busy(self) -> int:
        """How many functions are running."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many are waiting for a worker."""
        return max(0, self._accepted - self._busy)

    def submit(self, function: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        """Accept a function; to cancel the future while the function waits frees its place.

        The function sees the context variables of the caller.

        Raises:
            Overloaded: there is no room.
        """
        with self._lock:
            if self._accepted >= self.workers + self.queue:
                raise Overloaded(self._expected_wait_s())
            self._accepted += 1
        return self._start(function)

    async def submit_when_free(self, function: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        """Accept a function as soon as there is room: for work that can wait longer than the queue is.

        Those who wait here get their places in order, and before whoever comes to ``submit``; so they should be few.
        """
        place: Future[None] = Future()
        with self._lock:
            if self._accepted < self.workers + self.queue:
                self._accepted += 1
                place.set_result(None)
            else:
                self._patient.append(place)
        try:
            await asyncio.wrap_future(place)
        except asyncio.CancelledError:
            if not place.cancel():  # it was given at this very moment
                self._leave()
            raise
        return self._start(function)

    def close(self) -> None:
        """Finish what was accepted, and take nothing more."""
        self._executor.shutdown(wait=True)

    def _start(self, function: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        """Run a function that has its place."""
        context = contextvars.copy_context()
        try:
            future = self._executor.submit(context.run, self._timed, function)
        except BaseException:  # it is closed
            self._leave()
            raise
        future.add_done_callback(lambda _future: self._leave())
        return asyncio.wrap_future(future)

    def _timed(self, function: Callable[[], _Result]) -> _Result:
        with self._lock:
            self._busy += 1
        start = time.perf_counter()
        try:
            return function()
        finally:
            with self._lock:
                self._busy -= 1
                self._average_s += _MEMORY * (time.perf_counter() - start - self._average_s)

    def _leave(self) -> None:
        """Give a place back, or to the first of those who wait for one."""
        with self._lock:
            while self._patient:
                place = self._patient.popleft()
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    return
            self._accepted -= 1

    def _expected_wait_s(self) -> int:
        """Return how long those who are here already will take."""
        return min(_LONGEST_WAIT_S, max(1, math.ceil(self._accepted / self.workers * self._average_s)))
