"""Where files are fetched from: their official addresses, or a mirror."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from visavis.errors import InvalidOption
from visavis.models.packs import Archive, ModelFile

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
