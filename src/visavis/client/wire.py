"""Between calls and answers on one side and the HTTP library on the other."""

import re
from typing import Any

import httpx

from visavis.client.exchange import Answer, Call, NoAnswer, Patience
from visavis.errors import InvalidOption

_EXAMPLE = "such as http://localhost:8000"
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING = (*_UNSENT, httpx.NetworkError, httpx.RemoteProtocolError)


def patience_with(base_url: str, timeout_s: float, retries: int) -> Patience:
    """Check what a client was made with.

    Raises:
        InvalidOption: an argument is out of its range.
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise InvalidOption(f"the address of a server is a URL {_EXAMPLE}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise InvalidOption(f"the address of a server is a URL {_EXAMPLE}, without a user name; keys go elsewhere")
    if not 0 < timeout_s < float("inf"):
        raise InvalidOption(f"timeout_s must be a finite number of seconds above 0, not {timeout_s!r}")
    if type(retries) is not int or retries < 0:
        raise InvalidOption(f"retries must be an int of 0 or more, not {retries!r}")
    return Patience(f"{url.scheme}://{url.netloc.decode('ascii')}", float(timeout_s), retries)


def headers_for(key: str | None) -> dict[str, str]:
    """Return the headers that every call has.

    Raises:
        InvalidOption: the key cannot be one.
    """
    if key is None:
        return {}
    if not re.fullmatch("[!-~]+", key):
        raise InvalidOption("an API key is one or more printable ASCII characters without spaces")
    return {"Authorization": f"Bearer {key}"}


def to_request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    """Return a call as that client sends it."""
    files: list[tuple[str, Any]] = [(part, (part, data, "application/octet-stream")) for part, data in call.files]
    headers = dict(call.headers or {})
    if call.body is not None:
        headers["Content-Type"] = call.media_type
    return http.build_request(
        call.method,
        call.path,
        params=call.query,
        headers=headers,
        content=call.body,
        data=call.fields,
        files=files or None,
    )


def to_answer(response: httpx.Response) -> Answer:
    """Return what came back, with its body where that has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content if response.is_closed else b"")


def to_no_answer(error: httpx.RequestError) -> NoAnswer:
    """Return what it means that nothing came back."""
    reason = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
    return NoAnswer(reason, isinstance(error, _PASSING), isinstance(error, _UNSENT), cause=error)
