"""Authorisation and rate limits of callers: ``Depends(require("read"))`` guards each route that is not public.

A bucket is kept as one number, the moment at which it will be full again. Source: the generic cell rate algorithm,
ITU-T I.371, Annex A, which is the same as a token bucket.

It reads two things from ``app.state``: ``keys``, a ``KeyStore``, or None where keys are off; and ``rate``, a
``RateLimiter``, or None or nothing at all where calls are not counted.
"""

import ipaddress
import math
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from visavis.errors import InvalidOption
from visavis.server.keys import KeyRecord, KeyStore, Scope

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


_bearer = HTTPBearer(scheme_name="bearer", description="An API key: `Authorization: Bearer vv_...`", auto_error=False)
_header = APIKeyHeader(
    name="X-API-Key", scheme_name="apiKey", description="The same API key, in a header of its own", auto_error=False
)


class AccessRefused(Exception):
    """A call that goes no further; its text is for the caller.

    Attributes:
        code: stable, for programs.
        status: of the answer.
        headers: that the answer must have.
    """

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers: Mapping[str, str] = headers or {}


class Unauthorized(AccessRefused):
    """There is no key, or not a valid one."""

    code = "unauthorized"
    status = 401

    def __init__(self, detail: str) -> None:
        super().__init__(detail, {"WWW-Authenticate": "Bearer"})


class Forbidden(AccessRefused):
    """The key is valid and does not allow this."""

    code = "forbidden"
    status = 403


class RateLimited(AccessRefused):
    """Too many calls; there is room for another in a while."""

    code = "rate_limited"
    status = 429

    def __init__(self, detail: str, wait_s: float) -> None:
        super().__init__(detail, {"Retry-After": retry_after(wait_s)})


def require(scope: Scope, *, everywhere: bool = False) -> Callable[..., Awaitable[KeyRecord | None]]:
    """Return a dependency that lets a call pass whose key allows the scope, and gives its record.

    A key that is limited to galleries passes where the path names one of them, or none; what the route then shows of
    others is the route's affair. Whether a gallery exists makes no difference here.

    Where keys are off it lets every call pass and gives None. Calls are counted by key, and by the caller's address
    where there is no valid one: so guessing keys is limited too.

    Args:
        scope: that is needed.
        everywhere: whether the route is about all galleries, so that a key limited to some will not do.

    Raises (the dependency, when it is called):
        Unauthorized: there is no key, or not a valid one.
        Forbidden: the key does not allow the scope, or not for this gallery.
        RateLimited: there were too many calls.
        KeysUnusable: the keys cannot be read; nobody is let in.
    """

    async def check(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> KeyRecord | None:
        keys: KeyStore | None = request.app.state.keys
        secrets = {secret for secret in (bearer and bearer.credentials.strip(), header) if secret}
        record = keys.find(*secrets) if keys is not None and len(secrets) == 1 else None
        _count(request, record)
        if keys is None:
            return None
        if record is None:
            raise Unauthorized(_WHAT_IS_WRONG[len(secrets)])
        if not record.allows(scope):
            raise Forbidden(f"this API key has the scope {record.scope}; {scope} is needed")
        _check_galleries(record, request.path_params.get("gallery"), everywhere=everywhere)
        request.state.key = record
        return record

    return check


def check_covers(record: KeyRecord | None, gallery: str) -> None:
    """Refuse a key that is limited to other galleries.

    Raises:
        Forbidden: it is.
    """
    if record is not None and not record.covers(gallery):
        raise Forbidden("this API key is limited to other galleries")


def _check_galleries(record: KeyRecord, gallery: str | None, *, everywhere: bool) -> None:
    if gallery is not None:
        check_covers(record, gallery)
    if everywhere and record.galleries:
        raise Forbidden("this API key is limited to some galleries; this call is about all")


# By the number of keys that came with a call.
_WHAT_IS_WRONG = (
    "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
    "the API key is not valid",
    "Authorization and X-API-Key hold different keys; send one of them",
)


def _count(request: Request, record: KeyRecord | None) -> None:
    limiter: RateLimiter | None = getattr(request.app.state, "rate", None)
    if limiter is None:
        return
    address = request.client.host if request.client else "nobody"
    wait_s = limiter.take(f"key {record.id}" if record else caller_at(address))
    if wait_s:
        raise RateLimited("too many calls; see the header Retry-After", wait_s)
