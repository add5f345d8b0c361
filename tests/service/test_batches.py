"""Things to enrol that come slowly: they do not wait for a batch to be full."""

from collections.abc import Callable, Iterator

import pytest

from visavis.client.connection import _sync
from visavis.errors import NoFace
from visavis.service import enroller


class Clock:
    """Time goes by only between things."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def things(self, count: int, apart_s: float) -> Iterator[NoFace]:
        for _ in range(count):
            self.now_s += apart_s
            yield NoFace("none")


def by_library(clock: Clock, monkeypatch: pytest.MonkeyPatch, apart_s: float) -> list[int]:
    monkeypatch.setattr(enroller, "time", clock)
    return [len(batch) for batch in enroller.batches(clock.things(1200, apart_s))]


def by_client(clock: Clock, monkeypatch: pytest.MonkeyPatch, apart_s: float) -> list[int]:
    monkeypatch.setattr(_sync, "time", clock)
    return [len(chunk) for chunk in _sync.chunks_of(clock.things(1200, apart_s), lambda error: error, 500, 10**6)]


@pytest.mark.parametrize("sizes", [by_library, by_client])
def test_what_comes_every_40_ms_waits_for_about_a_second_in_all(
    sizes: Callable[[Clock, pytest.MonkeyPatch, float], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sizes(Clock(), monkeypatch, 0.04)
    assert sum(found) == 1200
    assert 20 <= max(found) <= 30


@pytest.mark.parametrize("sizes", [by_library, by_client])
def test_what_comes_at_once_goes_together(
    sizes: Callable[[Clock, pytest.MonkeyPatch, float], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sizes(Clock(), monkeypatch, 0.0001) == [500, 500, 200]
