"""Download of one file, from its official address or a mirror: resumed where a connection ended, bounded in size."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

import httpx

import visavis
from visavis.downloads.folder import LARGEST, ModelsFolder
from visavis.errors import InvalidOption, PullFailed
from visavis.models.packs import Archive, ModelFile

# Numbers of a length that a file can have: Python refuses to read those of thousands of digits.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


def first_byte_of(response: httpx.Response) -> int | None:
    """Return at which byte of the file a partial answer begins; None where it does not say."""
    given = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(given[1]) if given else None


def declared_size(response: httpx.Response, start: int) -> int | None:
    """Return how many bytes the whole file has, as the answer's head says; None where it does not."""
    given = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "")) if start else None
    if given and given[2] != "*":
        return int(given[2])
    length = response.headers.get("content-length")
    return None if length is None else start + int(length)


def validator_of(response: httpx.Response) -> str | None:
    """Return what ``If-Range`` takes: a strong ETag, or else the date of the last change."""
    etag: str = response.headers.get("etag", "")
    changed: str | None = response.headers.get("last-modified")
    return etag if etag.startswith('"') else changed


def asked_pause_s(response: httpx.Response) -> float:
    """Return how many seconds the server asks to wait; 0 where it does not say, or names a date."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


_MIRRORS = ("http", "https")
_PROXIES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        connect_s: for a connection.
        stall_s: for the next bytes.
        pauses_s: before each further try; one that brought much starts them anew.
        most_asked_s: the longest pause that a server may ask for.
    """

    connect_s: float = 10.0
    stall_s: float = 30.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    most_asked_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where files are fetched from, and how.

    Attributes:
        mirror: a URL below which files lie under their names in the catalogue, archives under their own; None for the
            official addresses.
        proxy: the URL of a proxy; None for what HTTPS_PROXY and its like say.
        patience: with the server.

    Raises:
        InvalidOption: the mirror or the proxy is no URL.
    """

    mirror: str | None = field(default=None, repr=False)  # like the next, it may hold a password
    proxy: str | None = field(default=None, repr=False)
    patience: Patience = Patience()

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


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # which is looked at only when it is asked for
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not parts.query and not parts.fragment


def file_of_archive(archive: Archive) -> ModelFile:
    """Return an archive as a file, which comes and is checked like any other."""
    name = unquote(PurePosixPath(urlsplit(archive.url).path).name)
    return ModelFile(name=name, licence="", origin="", size=archive.size, sha256=archive.sha256, url=archive.url)


def shown(url: str) -> str:
    """Return a URL as it may be shown: without a password, and without the signature that a query may be."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called while a file comes: its name, how many bytes are there, and how many there will be, if that is known."""

_OK, _PARTIAL, _PAST_THE_END = 200, 206, 416
# The server is busy, or those behind it are.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REASONS = {401: "wants a password", 403: "refuses it", 404: "does not have it", 407: "wants a password for the proxy"}
_MOST_REDIRECTS = 10
# A try that brought as much does not count as failed: a bad line gets there in the end.
_PROGRESS_BYTES = 1 << 20
_TRICKLE_BYTES = 1 << 10

_log = logging.getLogger("visavis.pulling.transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be downloaded.

    Attributes:
        name: for messages.
        url: its address.
        size: in bytes, None where nobody states it.
        hash_known: whether it will be checked against a hash. What is left of an earlier download is then gone on with;
            without, it is not, for after a power cut it may hold anything, and nothing would tell.
        way_out: what else can be done where it cannot be had, for messages.
    """

    name: str
    url: str
    size: int | None
    hash_known: bool
    way_out: str


class _Passing(Exception):
    """A try failed in a way in which the next one may not."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


def open_client(source: Source) -> httpx.Client:
    """Return what speaks HTTP; the variables HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and their like are heeded.

    Raises:
        InvalidOption: a variable makes no sense, or the proxy's kind is not supported here.
    """
    patience = source.patience
    headers = {"User-Agent": f"visavis/{visavis.__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(patience.stall_s, connect=patience.connect_s)
    try:
        return httpx.Client(proxy=source.proxy, timeout=timeout, headers=headers)
    except ImportError:
        raise InvalidOption("a SOCKS proxy needs another library: pip install socksio") from None
    except (ValueError, OSError, httpx.InvalidURL) as error:
        # A proxy's URL may hold a password, and so it is not repeated.
        raise InvalidOption(
            "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is no URL of a proxy, or SSL_CERT_FILE or SSL_CERT_DIR lead to no "
            f"certificates ({type(error).__name__})"
        ) from error


def download(
    client: httpx.Client, wanted: Wanted, folder: ModelsFolder, report: Report, patience: Patience
) -> tuple[Path, bool]:
    """Bring a file into its partial place; nothing is checked but its length. Needs the folder's lock.

    Returns:
        The path, and whether it came in several pieces, of this download or an earlier one.

    Raises:
        PullFailed: it cannot be had, or not be kept.
    """
    part = folder.part_of(wanted.name)
    with folder.writing():
        part.parent.mkdir(exist_ok=True)
    transfer = _Transfer(client, wanted, folder, report, patience.stall_s)
    with _interruption_told(wanted, part):
        _try_again_and_again(transfer, wanted, part, patience)
    return part, transfer.went_on


@contextmanager
def _interruption_told(wanted: Wanted, part: Path) -> Iterator[None]:
    """Say, where somebody interrupts a download with which the next one goes on, that it does."""
    try:
        yield
    except KeyboardInterrupt:
        if wanted.hash_known and (have := _size(part)):
            _log.info(
                "%s: the %s bytes that came are kept, and the next pull goes on after them", wanted.name, f"{have:,}"
            )
        raise


def _try_again_and_again(transfer: "_Transfer", wanted: Wanted, part: Path, patience: Patience) -> None:
    pauses = list(patience.pauses_s)
    most = _size(part)
    while failure := transfer.attempt():
        if _size(part) >= most + _PROGRESS_BYTES:
            most, pauses = _size(part), list(patience.pauses_s)
        if not pauses:
            goes_on = ", and what came is kept" if wanted.hash_known and _size(part) else ""
            raise transfer.failed(f"{failure}. Try again later{goes_on}; or {wanted.way_out}") from failure
        pause = max(pauses.pop(0), min(failure.after_s, patience.most_asked_s))
        _log.info("%s: %s; trying again", wanted.name, failure)
        time.sleep(pause)


class _Transfer:
    """Tries to download a file, again and again."""

    def __init__(
        self, client: httpx.Client, wanted: Wanted, folder: ModelsFolder, report: Report, stall_s: float
    ) -> None:
        self.went_on = False
        self._stall_s = stall_s
        self._client = client
        self._wanted = wanted
        self._folder = folder
        self._part = folder.part_of(wanted.name)
        self._report = report
        # What tells that the rest is of the same file; of what an earlier process left, the hash will tell.
        self._validator: str | None = None

    def failed(self, why: str) -> PullFailed:
        """Return the error that says why the file cannot be had."""
        return PullFailed(f"{self._wanted.name} could not be fetched from {shown(self._wanted.url)}: {why}")

    def attempt(self) -> _Passing | None:
        """Try once, and return why the next try may do better; None where all is there.

        Raises:
            PullFailed: no try will.
        """
        try:
            self._attempt()
        except _Passing as failure:
            return failure
        return None

    def _attempt(self) -> None:
        have = self._usable()
        self.went_on = have > 0
        if have and have == self._wanted.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self._validator:
            headers["If-Range"] = self._validator
        with self._errors_translated(), self._answer(headers) as response:
            start = self._start(response, have)
            total = self._total(response, start)
            self._write(response, start, total)

    def _usable(self) -> int:
        """Return how many bytes are there to go on from; what is of no use is removed."""
        have = _size(self._part)
        too_many = have > (self._wanted.size or LARGEST)
        if have and (too_many or not (self._wanted.hash_known or self._validator)):
            self._discard()
            return 0
        return have

    def _discard(self) -> None:
        self._validator = None
        with self._folder.writing():
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise _Passing("the server did not answer in time, or stopped sending") from error
        except httpx.ProxyError as error:
            raise self.failed(f"the proxy refuses: {error}") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:  # the last of names of hosts
            raise self.failed(f"it leads to no address: {error}") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self.failed(
                    f"the server's certificate is not trusted: {error}. Where a proxy makes certificates of its own, "
                    "SSL_CERT_FILE names the file with its authority"
                ) from error
            raise _Passing(f"the connection failed: {error or type(error).__name__}") from error

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Give the answer to a request, at the end of all redirects; from HTTPS none leads to HTTP."""
        url = httpx.URL(self._wanted.url)
        schemes = ("https",) if url.scheme == "https" else ("https", "http")
        for _ in range(_MOST_REDIRECTS + 1):
            if url.scheme not in schemes:
                raise self.failed(f"it leads from {httpx.URL(self._wanted.url).scheme} to {shown(str(url))}")
            with self._client.stream("GET", url, headers=headers) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = url.join(response.headers["location"])
        raise self.failed(f"more than {_MOST_REDIRECTS} redirects")

    def _start(self, response: httpx.Response, have: int) -> int:
        """Return which byte of the file comes first: 0, or the one after those that are there."""
        status = response.status_code
        validator = validator_of(response)
        if status == _OK:
            self.went_on = False
            self._validator = validator
            return 0
        if status == _PARTIAL and have:
            same = self._validator in (None, validator) or validator is None
            if first_byte_of(response) == have and same:
                self._validator = self._validator or validator
                _log.info("%s: going on after the %s bytes that are here", self._wanted.name, f"{have:,}")
                return have
        if status in (_PARTIAL, _PAST_THE_END):
            self._discard()
            raise _Passing("the server does not go on where the last connection ended")
        if status in _PASSING:
            raise _Passing(f"the server answers with status {status}", asked_pause_s(response))
        raise self.failed(
            f"the server {_REASONS.get(status, 'does not send it')} (status {status}): {self._wanted.way_out}"
        )

    def _total(self, response: httpx.Response, start: int) -> int | None:
        """Return how many bytes the file has, as far as anybody says; check all that the answer's head tells."""
        wanted, headers = self._wanted, response.headers
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise self.failed(f"the server compresses it though it was asked not to: {wanted.way_out}")
        if not wanted.hash_known and headers.get("content-type", "").startswith("text/html"):
            raise self.failed("a web page came in its place: does a proxy or a login stand in between?")
        total = declared_size(response, start)
        chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        if total is None and not (chunked or wanted.hash_known):
            raise self.failed(
                f"the server does not say how long it is, so that a part may be all that comes: {wanted.way_out}"
            )
        if wanted.size is not None and total not in (None, wanted.size):
            raise self.failed(f"the server has another file of that name, {total:,} bytes instead of {wanted.size:,}")
        if total is not None and total > LARGEST:
            raise self.failed(f"it has {total:,} bytes, more than any model")
        return total or wanted.size

    def _write(self, response: httpx.Response, start: int, total: int | None) -> None:
        at, most = start, total or LARGEST
        with self._folder.writing(self._part):
            self._folder.check_room((total or 0) - start)
            with self._part.open("r+b" if start else "wb") as file:
                file.seek(start)
                for chunk in self._steadily(response.iter_raw()):
                    at += len(chunk)
                    if at > most:
                        file.truncate(0)
                        raise self.failed(f"more than {most:,} bytes came")
                    file.write(chunk)
                    self._report(self._wanted.name, at, total)
        if total not in (None, at):
            raise _Passing(f"the connection ended after {at:,} of {total:,} bytes")

    def _steadily(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass chunks on, as long as more than nearly nothing comes: in a trickle, no single wait is too long."""
        since, count = time.monotonic(), 0
        for chunk in chunks:
            yield chunk
            count += len(chunk)
            if time.monotonic() - since >= self._stall_s:
                if count < _TRICKLE_BYTES:
                    raise _Passing("the server has nearly stopped sending")
                since, count = time.monotonic(), 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
