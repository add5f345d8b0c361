"""Authorisation and rate limits of callers: ``Depends(require("read"))`` guards each route that is not public.

Source: the generic cell rate algorithm, ITU-T I.371, Annex A, which is the same as a token bucket: a bucket is kept as
one number, the moment at which it will be full again.
"""

import ipaddress
import math
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers, State

from visavis.config import FaceService, Scope
from visavis.errors import InvalidOption
from visavis.server.keys import KeyRecord, KeyStore
from visavis.server.origins import Callers
from visavis.server.problems import FOR_OPERATOR, Problem, expected

CALLER: ContextVar[str] = ContextVar("caller", default="nobody")
"""Whose the present call is: a key's, or an address's."""
_PERIODS_S = {"second": 1, "minute": 60, "hour": 3600}
_HOME_NETWORK = 64  # bits of an IPv6 address that a customer gets from the provider; the others are the customer's


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls, or what else is counted, at once, and so many again in each period."""

    count: int
    period_s: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``N/second``, ``N/minute`` or ``N/hour``; everything else is an ``InvalidOption``."""
        match = re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*/\s*(second|minute|hour)\s*", text)
        if match is None:
            raise InvalidOption(f"a rate is N/second, N/minute or N/hour with N from 1 on, not {text!r}")
        return cls(int(match[1]), _PERIODS_S[match[2]])


class RateLimiter:
    """Counts the calls of each caller; thread-safe. Each process counts for itself."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic, most_callers: int = 100_000) -> None:
        """Begin with every bucket full. Of more than ``most_callers``, who have been quiet longest are forgotten."""
        self._rate = rate
        self._interval_s = rate.period_s / rate.count
        self._clock = clock
        self._most_callers = most_callers
        self._full_at: dict[str, float] = {}  # those who called last come last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def charge(self, caller: str, amount: float) -> None:
        """Count what was done, be it allowed or not: then the caller is in debt."""
        with self._lock:
            full_at = max(self._full_at.pop(caller, 0.0), self._clock())
            self._full_at[caller] = full_at + amount * self._interval_s

    def take(self, caller: str, amount: float = 1.0) -> float:
        """Count a call, if it is allowed, and return 0; else return the seconds after which it will be.

        Where nothing is to be counted, all is allowed to who is not in debt.
        """
        with self._lock:
            now = self._clock()
            while self._full_at:  # drop, from those who have been quiet longest on, full buckets and what is too many
                quietest = next(iter(self._full_at))
                if self._full_at[quietest] > now and len(self._full_at) < self._most_callers:
                    break
                del self._full_at[quietest]
            full_at = max(self._full_at.pop(caller, now), now)
            took_s = amount * self._interval_s
            wait_s = full_at + took_s - now - self._rate.period_s
            allowed = wait_s <= self._interval_s * 1e-6  # what rounding adds
            self._full_at[caller] = full_at + took_s if allowed else full_at
            return 0.0 if allowed else wait_s


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


def require(
    scope: Scope, *, everywhere: bool = False, any_origin: bool = False
) -> Callable[..., Awaitable[KeyRecord | None]]:
    """Return a dependency that lets a call pass whose key allows the scope, or raises a ``Problem``.

    A key that is limited to galleries passes where the path names one of them, or none; what the route then shows of
    others is the route's affair. Whether a gallery exists makes no difference here. Calls are counted by key, and by
    the caller's address where there is no valid one: so guessing keys is limited too.

    A key that is sent must be valid, also where none is needed.
    What comes without one then is for ``Callers`` to check.

    Where the route is about all galleries, ``everywhere``, a key limited to some will not do. Where it changes nothing
    and keeps nothing, pages of ``any_origin`` may call it.
    """

    async def check(  # what is unused is for the OpenAPI document
        request: Request,
        _in_bearer: Annotated[object, Depends(_bearer)],
        _in_header: Annotated[object, Depends(_header)],
    ) -> KeyRecord | None:
        return admit(request, scope, keys_sent(request.headers), everywhere=everywhere, any_origin=any_origin)

    return check


def admit(  # noqa: PLR0913  # what a call is judged by
    request: Request,
    scope: Scope,
    sent: Sequence[str],
    *,
    record: KeyRecord | None = None,
    service: FaceService | None = None,
    everywhere: bool = False,
    any_origin: bool = False,
) -> KeyRecord | None:
    """Let a call pass, as ``require`` says, by the keys that were sent with it; or by a key that is proved otherwise.

    Dialects call it, whose keys come in other places; they check the galleries that the path does not name themselves,
    by ``check_covers``. A key of one of CompreFace's services is valid for that service alone, and no other key is.
    """
    keys: KeyStore = request.app.state.keys
    callers: Callers = request.app.state.callers
    if record is None and len(sent) == 1:
        record = keys.find(sent[0])
    if record is not None and record.service != service:
        record = None
    _count(request, record)
    if record is None and not sent and not keys.needed(request.app.state.settings):
        callers.check_keyless(request, any_origin=any_origin)
        FOR_OPERATOR.set(callers.is_operator(request))
        return None
    if record is None:
        code, detail = "unauthorized", _WHAT_IS_WRONG[min(len(sent), _SEVERAL)]
        if len(sent) == 1 and keys.has_expired(sent[0]):
            code, detail = "key_expired", "the time of this API key is over; ask for a new one"
        raise Problem(code, detail, headers={"WWW-Authenticate": "Bearer"})
    check_allows(record, scope)
    check_covers(record, request.path_params.get("gallery"))
    if everywhere and record.galleries:
        raise Problem("forbidden", "this API key is limited to some galleries; this call is about all")
    FOR_OPERATOR.set(record.allows("admin") and not record.galleries)
    request.state.key = record
    return record


# By the number of keys that came with a call.
_WHAT_IS_WRONG = (
    "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
    "the API key is not valid",
    "more than one key came, or one header twice; send one key",
)
_SEVERAL = len(_WHAT_IS_WRONG) - 1
_OTHER_SCHEMES = ("basic", "digest", "negotiate")  # of Authorization: by these, people sign in to proxies


def keys_sent(headers: Headers) -> list[str]:
    """Return the keys that came with a call, one that is in both headers once; an empty text is a malformed one."""
    sent, authorizations = headers.getlist("x-api-key"), headers.getlist("authorization")
    if max(len(sent), len(authorizations)) > 1:
        return sent + authorizations
    for scheme, _, credentials in (value.partition(" ") for value in authorizations):
        if scheme.lower() not in _OTHER_SCHEMES:
            sent.append(credentials.strip() if scheme.lower() == "bearer" else "")
    return list(dict.fromkeys(sent))


def _count(request: Request, record: KeyRecord | None) -> None:
    CALLER.set(f"key {record.id}" if record else caller_at(request.app.state.callers.address_of(request)))
    check_debt(request.app.state)
    _take(request.app.state.rate, 1, "too many calls")


def check_debt(state: State) -> None:
    """Refuse a caller who had more searched than the rate allows."""
    _take(state.search_rate, 0, "the calls before had too much searched")


def _take(limiter: RateLimiter | None, amount: float, why_not: str) -> None:
    wait_s = 0.0 if limiter is None else limiter.take(CALLER.get(), amount)
    if wait_s:
        headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
        raise Problem("rate_limited", f"{why_not}; see the header Retry-After", headers=headers)


def check_allows(record: KeyRecord | None, scope: Scope) -> None:
    """Refuse a key whose scope does not include this one."""
    if record is not None and not record.allows(scope):
        raise Problem("forbidden", f"this API key has the scope {record.scope}; {scope} is needed")


def check_covers(record: KeyRecord | None, gallery: str | None) -> None:
    """Refuse a key that is limited to other galleries."""
    if record is not None and gallery is not None and not record.covers(gallery):
        raise Problem("forbidden", "this API key is limited to other galleries")


def guards(scope: Scope, *, everywhere: bool = False) -> list[Any]:
    """Return the dependencies of a route that wants the scope, and knows its query."""
    return [Depends(require(scope, everywhere=everywhere)), Depends(_known_query)]


async def _known_query(request: Request) -> None:
    """Refuse what stands behind the question mark twice, or is not known to the route."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise Problem("invalid_request", f"{name}: given twice", field=name)
        known = request.scope["endpoint"].query
        if name not in known:
            raise Problem("invalid_request", f"{name}: {expected(name, known)}", field=name)


async def _key_of(request: Request) -> KeyRecord | None:
    return getattr(request.state, "key", None)


Key: TypeAlias = Annotated[KeyRecord | None, Depends(_key_of)]
"""The key that a call came with, if it came with one."""
