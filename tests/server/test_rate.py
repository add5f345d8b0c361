"""How often each caller may call, by a clock that the tests turn."""

import pytest

from visavis.errors import InvalidOption
from visavis.server.auth import Rate, RateLimiter, caller_at


class Clock:
    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/second", Rate(1, 1)),
        ("600/minute", Rate(600, 60)),
        (" 5 / hour ", Rate(5, 3600)),
        ("999999999/second", Rate(999_999_999, 1)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "0/second", "-1/second", "1.5/second", "5/day", "5/", "/hour", "1e3/hour", "٣/hour", "1/2/second"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="a rate is N/second, N/minute or N/hour"):
        Rate.parse(text)


def test_a_burst_then_one_by_one(clock: Clock) -> None:
    limiter = RateLimiter(Rate(3, 60), clock=clock)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == pytest.approx(20)
    clock.now += 15
    assert limiter.take("a") == pytest.approx(5)
    clock.now += 5
    assert limiter.take("a") == 0
    assert limiter.take("a") == pytest.approx(20)


def test_refused_calls_do_not_count(clock: Clock) -> None:
    limiter = RateLimiter(Rate(1, 10), clock=clock)
    limiter.take("a")
    for _ in range(100):
        assert limiter.take("a") == pytest.approx(10)
    clock.now += 10
    assert limiter.take("a") == 0


def test_over_a_long_time_exactly_as_many_as_allowed(clock: Clock) -> None:
    limiter = RateLimiter(Rate(7, 1), clock=clock)
    allowed = 0
    for _ in range(10_000):
        allowed += limiter.take("a") == 0
        clock.now += 0.01
    assert allowed == pytest.approx(7 + 7 * 100, abs=1)


def test_a_long_rest_fills_the_bucket_and_no_more(clock: Clock) -> None:
    limiter = RateLimiter(Rate(2, 1), clock=clock)
    limiter.take("a")
    clock.now += 1e9
    assert [limiter.take("a") == 0 for _ in range(4)] == [True, True, False, False]


def test_callers_do_not_disturb_each_other(clock: Clock) -> None:
    limiter = RateLimiter(Rate(1, 60), clock=clock)
    assert [limiter.take(caller) for caller in "abc"] == [0, 0, 0]
    assert limiter.take("b") > 0


def test_full_buckets_are_forgotten(clock: Clock) -> None:
    limiter = RateLimiter(Rate(2, 60), clock=clock)
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter) == 1000
    clock.now += 30
    limiter.take("a")
    assert len(limiter) == 1


def test_memory_is_bounded_whoever_calls(clock: Clock) -> None:
    limiter = RateLimiter(Rate(1, 3600), clock=clock, most_callers=10)
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter) == 10
    assert limiter.take("999") > 0
    assert limiter.take("0") == 0


def test_the_real_clock_goes() -> None:
    assert RateLimiter(Rate(1, 3600)).take("a") == 0


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_callers_by_address(address: str, caller: str) -> None:
    assert caller_at(address) == caller


def test_what_was_done_is_counted_though_it_is_too_much_and_then_nothing_is_allowed_for_a_while(clock: Clock) -> None:
    limiter = RateLimiter(Rate(60, 60), clock=clock)
    assert limiter.take("a", 0) == 0
    limiter.charge("a", 60)
    assert limiter.take("a", 0) == 0  # all is spent, and nothing is owed
    limiter.charge("a", 90)
    assert limiter.take("a", 0) == pytest.approx(90)
    assert limiter.take("b", 0) == 0
    clock.now += 90
    assert limiter.take("a", 0) == 0
