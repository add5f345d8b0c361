"""Work that is bounded, and stopped."""

import pytest

from visavis.core import work
from visavis.core.work import WORK, Stopped, Work
from visavis.errors import TooMuchWork


def test_nothing_is_counted_where_nobody_has_set_a_bound() -> None:
    work.check()
    work.spend(1e12)


def test_too_much_is_refused_before_it_is_done_and_less_is_still_possible() -> None:
    token = WORK.set(Work(10e6))
    try:
        work.spend(6e6)
        with pytest.raises(TooMuchWork, match="one call may search 10 megapixels, and this image would make it 11"):
            work.spend(5e6)
        work.spend(4e6)
    finally:
        WORK.reset(token)


def test_stopped_work_ends_at_the_next_look() -> None:
    wanted = Work(1)
    token = WORK.set(wanted)
    try:
        work.check()
        wanted.stop()
        with pytest.raises(Stopped):
            work.check()
        with pytest.raises(Stopped):
            work.spend(0)
    finally:
        WORK.reset(token)


def test_room_is_made_before_much_memory_is_taken() -> None:
    wanted, freed = Work(1), list[int]()
    work.make_room(1e12)
    token = WORK.set(wanted)
    try:
        work.check(lambda: freed.append(1))
        work.make_room(1e6)
        assert not freed
        work.make_room(1e9)
        assert freed == [1]
    finally:
        WORK.reset(token)
