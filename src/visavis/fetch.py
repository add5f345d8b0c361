"""Guarded download of images by URL, from public addresses and what the operator allows.

Each URL, redirects included, is parsed once, its host resolved once, and every address checked before one is connected
to; TLS and ``Host`` name the host. No proxy, cookie, password or referrer is used. Bytes and time are always bounded.
"""

import io
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache

import httpcore

import visavis
from visavis.core import urls
from visavis.core.urls import AllowList, Target
from visavis.errors import FetchFailed, FetchRefused, InvalidOption

_OK = 200
_HEADERS = (("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Connection", "close"))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD_BYTES = 32_768
_MAX_BYTES = "VISAVIS_MAX_BYTES"  # the setting of a server

_log = logging.getLogger(__name__)
_tls = cache(httpcore.default_ssl_context)  # certificates and host names are checked, against the usual authorities


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """Limits of downloads.

    Attributes:
        allow: host names (all addresses, no subdomains), addresses and CIDR ranges (and names whose every address is in
            them or public) that are permitted although they are not public, on any port.
        max_bytes: of the image, at least 1.
        connect_timeout_s: for resolving a name, and again for connecting, the TLS handshake included.
        read_timeout_s: for the next bytes.
        total_timeout_s: for everything together, redirects included.
        max_redirects: 0 to 20.
        allowed: ``allow``, parsed; an entry that is none of the three is an InvalidOption, as is a limit out of range.
    """

    allow: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 5.0
    total_timeout_s: float = 10.0
    max_redirects: int = 3
    allowed: AllowList = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for setting in ("connect_timeout_s", "read_timeout_s", "total_timeout_s"):
            value = getattr(self, setting)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise InvalidOption(f"{setting} must be a positive number of seconds, not {value!r}")
        for setting, low, high in (("max_bytes", 1, math.inf), ("max_redirects", 0, 20)):
            value = getattr(self, setting)
            if type(value) is not int or not low <= value <= high:
                raise InvalidOption(f"{setting} must be an int from {low} to {high}, not {value!r}")
        if type(self.allow) is not tuple or any(type(entry) is not str for entry in self.allow):
            raise InvalidOption(f"allow must be a tuple of strings, not {self.allow!r}")
        object.__setattr__(self, "allowed", urls.parse_allow_list(self.allow))


DEFAULT_POLICY = FetchPolicy()


def fetch(url: str, policy: FetchPolicy = DEFAULT_POLICY, take: Callable[[int], None] = lambda _count: None) -> bytes:
    """Download what a URL names; may run in any number of threads.

    ``take`` is told how many bytes have come, each time before they are kept, and may raise what ends it.
    Hosts and addresses are in ``__cause__`` and in the log ``visavis.fetch`` only; paths, queries, content in neither.

    Raises:
        FetchRefused: the URL, or one that it redirects to, is not allowed; nothing was sent there.
        FetchFailed: unreachable, too slow, too large, not status 200, compressed, or not HTTP.
    """
    visited: list[str] = []
    try:
        return _follow(url, policy, take, visited)
    except (FetchRefused, FetchFailed) as error:
        _log.info("%s %s [%s]: %s", error.code, error.reason, " -> ".join(visited), error.__cause__)
        raise


def _follow(url: str, policy: FetchPolicy, take: Callable[[int], None], visited: list[str]) -> bytes:
    deadline = _Deadline(policy.total_timeout_s)
    target = urls.parse_url(url)
    for _ in range(policy.max_redirects + 1):
        visited.append(target.origin)
        answer = _visit(target, policy, take, deadline)
        if isinstance(answer, bytes):
            return answer
        target = urls.parse_redirect(target, answer)
    raise FetchRefused("redirect") from ValueError(f"more than {policy.max_redirects}")


@contextmanager
def _foreign_errors_translated() -> Iterator[None]:
    try:
        yield
    except FetchFailed:  # an OSError itself
        raise
    except (TimeoutError, futures.TimeoutError) as error:
        raise FetchFailed("timeout") from error
    except OSError as error:
        raise FetchFailed("tls" if isinstance(error, ssl.SSLError) else "unreachable") from error
    except httpcore.ProtocolError as error:  # whose message may hold what was received
        raise FetchFailed("response") from ValueError(type(error).__name__)


@_foreign_errors_translated()
def _visit(target: Target, policy: FetchPolicy, take: Callable[[int], None], deadline: "_Deadline") -> bytes | str:
    """Return what one URL names, or where it redirects to; all connections begin here."""
    urls.check_port(target, policy.allowed)
    addresses = _resolve(target.host, deadline.left(policy.connect_timeout_s))
    checked = urls.check_addresses(target, addresses, policy.allowed)
    stream = _Stream(_connect(target, checked, policy, deadline), policy, deadline)
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    headers = [("Host", target.authority), ("User-Agent", f"visavis/{visavis.__version__}"), *_HEADERS]
    with closing(httpcore.HTTP11Connection(url.origin, stream)) as connection:
        response = connection.handle_request(httpcore.Request("GET", url, headers=headers))
        if (location := _location(response, policy)) is not None:
            return location
        stream.bytes_left = 2 * policy.max_bytes + _HEAD_BYTES  # for the body, even in very small chunks
        body = io.BytesIO()  # whose bytes are handed out without a copy
        for chunk in response.iter_stream():
            deadline.left()
            if body.tell() + len(chunk) > policy.max_bytes:
                raise FetchFailed("too_large") from ValueError(f"more than {policy.max_bytes:,} bytes: {_MAX_BYTES}")
            take(len(chunk))
            body.write(chunk)
        return body.getvalue()


class _Deadline:
    """A moment that nothing may outlast."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, at_most: float = math.inf) -> float:
        """Return the seconds left, or fewer; raise ``TimeoutError`` when there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time allowed in total is over: VISAVIS_FETCH_TIMEOUT_S")
        return min(seconds, at_most)


def _resolve(host: str, timeout_s: float) -> list[str]:
    """Return all addresses of a host, asked once, in a thread of its own: the system's resolver knows no limit."""
    answer: futures.Future[list[str]] = futures.Future()

    def ask() -> None:
        try:
            answer.set_result(_addresses_of(host))
        except Exception as error:  # noqa: BLE001 -- it belongs to the thread that waits
            answer.set_exception(error)

    threading.Thread(target=ask, name="visavis-resolve", daemon=True).start()
    return answer.result(timeout_s)


def _addresses_of(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise
        return []  # so that a name which is unknown and one which is private get the same answer
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


def _connect(target: Target, addresses: list[str], policy: FetchPolicy, deadline: _Deadline) -> socket.socket:
    """Connect to the first address that answers, in the resolver's order."""
    connecting = _Deadline(deadline.left(policy.connect_timeout_s))
    tried = addresses[:3]
    for left, address in zip(range(len(tried), 0, -1), tried, strict=True):
        try:
            connection = _dial(address, target.port, connecting.left() / left)
            break
        except OSError:
            if left == 1:
                raise
    if target.scheme == "http":
        return connection
    try:
        connection.settimeout(connecting.left())
        return _tls().wrap_socket(connection, server_hostname=target.host)
    except BaseException:
        connection.close()
        raise


def _dial(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to a numeric address: no name is resolved here."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


class _Stream(httpcore.NetworkStream):
    """A connection whose every read and write is bounded in time, and all reads together in bytes."""

    def __init__(self, connection: socket.socket, policy: FetchPolicy, deadline: _Deadline) -> None:
        self._connection, self._policy, self._deadline = connection, policy, deadline
        self.bytes_left = _HEAD_BYTES

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 -- the policy's is used
        if not self.bytes_left:
            raise FetchFailed("too_large") from ValueError("the head, or what the body is wrapped in")
        self._connection.settimeout(self._deadline.left(self._policy.read_timeout_s))
        data = self._connection.recv(min(max_bytes, self.bytes_left))
        self.bytes_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 -- likewise
        self._connection.settimeout(self._deadline.left(self._policy.read_timeout_s))
        self._connection.sendall(buffer)

    def close(self) -> None:
        self._connection.close()


def _location(response: httpcore.Response, policy: FetchPolicy) -> str | None:
    """Return where a response redirects to, or None where its body is to be read; refuse any other."""
    headers = [(key.lower(), value) for key, value in response.headers]
    if response.status in _REDIRECTS:
        places = {value for key, value in headers if key == b"location"}
        if len(places) != 1:
            raise FetchFailed("status") from ValueError(f"a redirect to {len(places)} places")
        try:
            return places.pop().decode()
        except UnicodeDecodeError:
            raise FetchRefused("url") from ValueError("a redirect that is not UTF-8")
    if response.status != _OK:
        raise FetchFailed("status") from ValueError(str(response.status))
    if any(key == b"content-encoding" and value.strip().lower() not in (b"", b"identity") for key, value in headers):
        raise FetchFailed("encoding") from ValueError("the response is compressed")
    if any(key == b"content-length" and int(value) > policy.max_bytes for key, value in headers):
        cause = f"more than {policy.max_bytes:,} bytes, by its Content-Length: {_MAX_BYTES}"
        raise FetchFailed("too_large") from ValueError(cause)
    return None
