"""How often each caller may call: a token bucket for each, in bounded memory.

A bucket is kept as one number, the moment at which it will be full again. Source: the generic cell rate algorithm,
ITU-T I.371, Annex A, which is the same as a token bucket.
"""

import ipaddress
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from visavis.errors import InvalidOption

_PERIODS_S = {"second": 1, "minute": 60, "hour": 3600}
_HOME_NETWORK = 64  # bits of an IPv6 address that a customer gets from the provider; the others are the customer's


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls at once, and so many again in each period.

    Attributes:
        count: at least 1.
        period_s: in seconds.
    """

    count: int
    period_s: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``N/second``, ``N/minute`` or ``N/hour``.

        Raises:
            InvalidOption: it is nothing of the kind.
        """
        match = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*/\s*(second|minute|hour)\s*", text)
        if match is None:
            raise InvalidOption(f"a rate is N/second, N/minute or N/hour with N from 1 on, not {text!r}")
        return cls(int(match[1]), _PERIODS_S[match[2]])


class RateLimiter:
    """Counts the calls of each caller; thread-safe. Each process counts for itself."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic, most_callers: int = 100_000) -> None:
        """Begin with every bucket full.

        Args:
            rate: for each caller.
            clock: in seconds, never going back.
            most_callers: how many are remembered; of more than that, those who have been quiet longest are forgotten.
        """
        self._rate = rate
        self._interval_s = rate.period_s / rate.count
        self._clock = clock
        self._most_callers = most_callers
        self._full_at: dict[str, float] = {}  # those who called last come last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many callers are remembered."""
        return len(self._full_at)

    def take(self, caller: str) -> float:
        """Count a call, if it is allowed.

        Returns:
            0 where it is; else the seconds after which it will be.
        """
        with self._lock:
            now = self._clock()
            self._forget(now)
            full_at = max(self._full_at.pop(caller, now), now)
            wait_s = full_at + self._interval_s - now - self._rate.period_s
            allowed = wait_s <= self._interval_s * 1e-6  # what rounding adds
            self._full_at[caller] = full_at + self._interval_s if allowed else full_at
            return 0.0 if allowed else wait_s

    def _forget(self, now: float) -> None:
        """Drop, from those who have been quiet longest on, buckets that are full, and what is too many."""
        while self._full_at:
            caller = next(iter(self._full_at))
            if self._full_at[caller] > now and len(self._full_at) < self._most_callers:
                return
            del self._full_at[caller]


def retry_after(wait_s: float) -> str:
    """Return the value of the header Retry-After: whole seconds, at least 1."""
    return str(max(1, math.ceil(wait_s)))


def caller_at(address: str) -> str:
    """Return who is counted where there is no key: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _HOME_NETWORK), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
