"""Work of one call: what it may still cost, and whether anybody still waits for it.

The unit is the searched pixel: one of an image at the size at which a detector begins. A decoded pixel costs a part of
one. Where nobody has set ``WORK``, as in the library, nothing is counted.
"""

import ctypes
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar

from visavis.errors import TooMuchWork


class Stopped(BaseException):
    """Nobody waits for the result any more. It is no ``Exception``, so that nothing takes it for an item's result."""


class Work:
    """The work of one call; any thread may stop it."""

    def __init__(self, most_pixels: float) -> None:
        self.spent = 0.0
        self.most_pixels = most_pixels
        self._stopped = threading.Event()
        self.holders: set[Callable[[], None]] = set()
        """What frees memory that was taken for this call, and would be kept for the next ones."""

    def stop(self) -> None:
        """Let the call end at the next look: between two images, or two canvases of one."""
        self._stopped.set()

    def check(self) -> None:
        """Raise ``Stopped`` where nobody waits."""
        if self._stopped.is_set():
            raise Stopped

    def spend(self, pixels: float) -> None:
        """Count work before it is done.

        Raises:
            TooMuchWork: the call may not do so much; nothing is counted then, so that smaller images may follow.
            Stopped: nobody waits.
        """
        self.check()
        if self.spent + pixels > self.most_pixels:
            raise TooMuchWork(
                f"one call may search {self.most_pixels / 1e6:.0f} megapixels, and this image would make it "
                f"{(self.spent + pixels) / 1e6:.0f}: send fewer images, smaller ones, or a larger min_face"
            )
        self.spent += pixels


WORK: ContextVar[Work | None] = ContextVar("work", default=None)
"""That of the present call."""


def check(holder: Callable[[], None] | None = None) -> None:
    """Raise ``Stopped`` where nobody waits for the present call; a holder keeps memory of what comes now."""
    work = WORK.get()
    if work is not None:
        work.check()
        if holder is not None:
            work.holders.add(holder)


def spend(pixels: float) -> None:
    """Count work of the present call before it is done; see ``Work.spend``."""
    work = WORK.get()
    if work is not None:
        work.spend(pixels)


def most_searched() -> float:
    """Return how many pixels of one image may be searched: a quarter of what the call may, as it may have to be turned.

    So an image that comes alone is never too much, however small the faces that are asked for.
    """
    work = WORK.get()
    return math.inf if work is None else work.most_pixels / 4


_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 8 << 20
_MANY_BYTES = 150_000_000


def give_large_blocks_back() -> None:
    """Let large blocks of memory go back to the system as soon as they are freed, where the C library can.

    Else it keeps them for the thread that had them: what decoders and downloads need would be there many times over.

    Source: mallopt(3); the GNU C library raises the size of blocks that it keeps as it meets larger ones.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_memory_back(work: Work | None = None) -> None:
    """Give whole pages of memory that was freed back to the system, which empties them, where the C library can.

    Before that, free what is kept of a call.
    """
    for free in work.holders if work else ():
        free()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def make_room(count: float) -> None:
    """Free what is kept of the present call, before it takes so many bytes for something else, if these are many."""
    work = WORK.get()
    if work is not None and count > _MANY_BYTES:
        give_memory_back(work)
