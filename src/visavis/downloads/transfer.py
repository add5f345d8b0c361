"""Download of one file, from its official address or a mirror: resumed where a connection ended, bounded in size."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlsplit

import httpx

import visavis
from visavis.downloads.folder import LARGEST, ModelsFolder
from visavis.errors import InvalidOption, PullFailed
from visavis.models.packs import ModelFile

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called while a file comes: its name, how many bytes are there, and how many there will be, if that is known."""

_MIRRORS = ("http", "https")
_PROXIES = ("http", "https", "socks5", "socks5h")
_OK, _PARTIAL, _PAST_THE_END = 200, 206, 416
# The server is busy, or those behind it are.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REASONS = {401: "wants a password", 403: "refuses it", 404: "does not have it", 407: "wants a password for the proxy"}
_MOST_REDIRECTS = 10
# Python refuses to read numbers of thousands of digits.
_MOST_DIGITS = 18
# A try that brought as much does not count as failed: a bad line gets there in the end.
_PROGRESS_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Time-outs, and pauses between tries."""

    connect_s: float = 10.0  # for a connection
    stall_s: float = 30.0  # for the next bytes
    # Before each further try; one that brought much starts them anew.
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    most_asked_s: float = 60.0  # the longest pause that a server may ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where files are fetched from, and how.

    Raises:
        InvalidOption: the mirror or the proxy is no URL.
    """

    # A URL below which files lie under their names in the catalogue, archives under their own; None for the
    # official addresses.
    mirror: str | None = field(default=None, repr=False)  # like the next, it may hold a password
    # The URL of a proxy; None for what HTTPS_PROXY and its like say.
    proxy: str | None = field(default=None, repr=False)
    retry: RetryPolicy = RetryPolicy()

    def __post_init__(self) -> None:
        # What was given is not repeated: it may hold a password.
        if self.mirror is not None and not _is_url(self.mirror, _MIRRORS):
            raise InvalidOption("the mirror must be a URL such as https://models.example.com/visavis, without a query")
        if self.proxy is not None and not _is_url(self.proxy, _PROXIES):
            raise InvalidOption("the proxy must be a URL such as http://proxy.example.com:8080")

    @property
    def way_out(self) -> str:
        """What else can be done where it does not have a file, in words."""
        elsewhere = "name a --mirror" if self.mirror is None else "do without the mirror"
        return f"fetch it by other means and use visavis models import, or {elsewhere}"

    def address_of(self, file: ModelFile) -> str:
        """Return where a file is fetched from."""
        return file.url if self.mirror is None else f"{self.mirror.rstrip('/')}/{quote(file.name)}"

    def open_client(self) -> httpx.Client:
        """Return what speaks HTTP; the variables HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and their like are heeded.

        Raises:
            InvalidOption: a variable makes no sense, or the proxy's kind is not supported here.
        """
        headers = {"User-Agent": f"visavis/{visavis.__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(self.retry.stall_s, connect=self.retry.connect_s)
        try:
            return httpx.Client(proxy=self.proxy, timeout=timeout, headers=headers)
        except ImportError:
            raise InvalidOption("a SOCKS proxy needs another library: pip install socksio") from None
        except (ValueError, OSError, httpx.InvalidURL) as error:
            # A proxy's URL may hold a password, and so it is not repeated.
            raise InvalidOption(
                "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is no URL of a proxy, or SSL_CERT_FILE or SSL_CERT_DIR lead to "
                f"no certificates ({type(error).__name__})"
            ) from error


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # which is looked at only when it is asked for
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not parts.query and not parts.fragment


def shown(url: str) -> str:
    """Return a URL as it may be shown: without a password, and without the signature that a query may be."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _Passing(Exception):
    """A try failed in a way in which the next one may not."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


@dataclass(slots=True)
class Download:
    """One file on its way into its partial place. Needs the folder's lock."""

    client: httpx.Client
    source: Source
    folder: ModelsFolder
    file: ModelFile
    # Whether it will be checked against a hash. What is left of an earlier try or download is then gone on with;
    # without, it is not, for it may hold anything, and nothing would tell.
    hash_known: bool
    report: Report  # called as bytes come
    resumed: bool = False  # whether it came in several pieces, of this download or an earlier one

    def run(self) -> Path:
        """Fetch it, in as many tries as the source's policy allows, and return its path; only its length is checked.

        Raises:
            PullFailed: it cannot be had, or not be kept.
        """
        policy = self.source.retry
        pauses, most = list(policy.pauses_s), self._size()
        try:
            while failure := self._try():
                if self._size() >= most + _PROGRESS_BYTES:
                    pauses, most = list(policy.pauses_s), self._size()
                if not pauses:
                    kept = ", and what came is kept" if self.hash_known and self._size() else ""
                    raise self._failed(f"{failure}. Try again later{kept}; or {self.source.way_out}") from failure
                _log.info("%s: %s; trying again", self.file.name, failure)
                time.sleep(max(pauses.pop(0), min(failure.after_s, policy.most_asked_s)))
        except KeyboardInterrupt:
            if self.hash_known and (have := self._size()):
                text = "%s: the %s bytes that came are kept, and the next pull goes on after them"
                _log.info(text, self.file.name, f"{have:,}")
            raise
        return self._part

    def _try(self) -> _Passing | None:
        """Try once, and return why the next try may do better; None where all is there."""
        have = self._size()
        if have and (not self.hash_known or have > (self.file.size or LARGEST)):
            self._discard()
            have = 0
        self.resumed = have > 0
        if have and have == self.file.size:
            return None
        try:
            with self._errors_translated(), closing(self._answer(have)) as response:
                start = self._start(response, have)
                self._write(response, start, self._total(response, start))
        except _Passing as failure:
            return failure
        return None

    def _answer(self, have: int) -> httpx.Response:
        """Return the answer to a request for what follows the first bytes; from HTTPS none leads to HTTP.

        Redirects are followed here: httpx would do so whatever the scheme, and would read their bodies without end.
        It makes the requests, though, and sends no password to another host.
        """
        headers = {"Range": f"bytes={have}-"} if have else {}
        request = self.client.build_request("GET", self.source.address_of(self.file), headers=headers)
        first = request.url.scheme
        for _ in range(_MOST_REDIRECTS + 1):
            response = self.client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            request = response.next_request
            if request.url.scheme not in ("https", first):
                raise self._failed(f"it leads from {first} to {shown(str(request.url))}")
        raise self._failed(f"more than {_MOST_REDIRECTS} redirects")

    def _start(self, response: httpx.Response, have: int) -> int:
        """Return which byte of the file comes first: 0, or the one after those that are there."""
        status = response.status_code
        if status == _OK:
            self.resumed = False
            return 0
        if status == _PARTIAL and have and response.headers.get("content-range", "").startswith(f"bytes {have}-"):
            _log.info("%s: going on after the %s bytes that are here", self.file.name, f"{have:,}")
            return have
        if status in (_PARTIAL, _PAST_THE_END):
            self._discard()
            raise _Passing("the server does not go on where the last connection ended")
        if status in _PASSING:
            asked = response.headers.get("retry-after", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() else 0.0
            raise _Passing(f"the server answers with status {status}", seconds)
        reason = _REASONS.get(status, "does not send it")
        raise self._failed(f"the server {reason} (status {status}): {self.source.way_out}")

    def _total(self, response: httpx.Response, start: int) -> int | None:
        """Return how many bytes the file has, as far as anybody says; check all that the answer's head tells."""
        headers, size = response.headers, self.file.size
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise self._failed(f"the server compresses it though it was asked not to: {self.source.way_out}")
        if not self.hash_known and headers.get("content-type", "").startswith("text/html"):
            raise self._failed("a web page came in its place: does a proxy or a login stand in between?")
        length = headers.get("content-length", "")
        total = start + int(length) if length.isdigit() and len(length) <= _MOST_DIGITS else None
        if total is None and not (self.hash_known or "chunked" in headers.get("transfer-encoding", "").lower()):
            raise self._failed(
                f"the server does not say how long it is, so that a part may be all that comes: {self.source.way_out}"
            )
        if None not in (size, total) and total != size:
            raise self._failed(f"the server has another file of that name, {total:,} bytes instead of {size:,}")
        if total is not None and total > LARGEST:
            raise self._failed(f"it has {total:,} bytes, more than any model")
        return total or size

    def _write(self, response: httpx.Response, start: int, total: int | None) -> None:
        at, most = start, total or LARGEST
        with self.folder.writing(self._part):
            self.folder.check_room((total or 0) - start)
            with self._part.open("r+b" if start else "wb") as file:
                file.seek(start)
                for chunk in response.iter_raw():
                    at += len(chunk)
                    if at > most:
                        file.truncate(0)
                        raise self._failed(f"more than {most:,} bytes came")
                    file.write(chunk)
                    self.report(self.file.name, at, total)
        if total not in (None, at):
            raise _Passing(f"the connection ended after {at:,} of {total:,} bytes")

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise _Passing("the server did not answer in time, or stopped sending") from error
        except httpx.ProxyError as error:
            raise self._failed(f"the proxy refuses: {error}") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:  # the last of names of hosts
            raise self._failed(f"it leads to no address: {error}") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._failed(
                    f"the server's certificate is not trusted: {error}. Where a proxy makes certificates of its own, "
                    "SSL_CERT_FILE names the file with its authority"
                ) from error
            raise _Passing(f"the connection failed: {error or type(error).__name__}") from error

    @property
    def _part(self) -> Path:
        return self.folder.part_of(self.file.name)

    def _failed(self, why: str) -> PullFailed:
        address = shown(self.source.address_of(self.file))
        return PullFailed(f"{self.file.name} could not be fetched from {address}: {why}")

    def _discard(self) -> None:
        with self.folder.writing():
            self._part.unlink(missing_ok=True)

    def _size(self) -> int:
        try:
            return self._part.stat().st_size
        except OSError:
            return 0
