"""Who may call what: ``Depends(require("read"))`` stands before each route that is not for everybody.

It reads two things from ``app.state``: ``keys``, a ``KeyStore``, or None where keys are off; and ``rate``, a
``RateLimiter``, or None or nothing at all where calls are not counted.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from visavis.server.keys import KeyRecord, KeyStore, Scope
from visavis.server.rate import RateLimiter, caller_at, retry_after

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
