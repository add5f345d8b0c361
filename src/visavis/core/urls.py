"""URLs and addresses that a server may visit on behalf of strangers: pure checks, no network.

A URL is parsed once, here, strictly; a visit uses nothing but the parse. The message of an error is for whoever gave
the URL and says nothing of it; its ``__cause__`` is for the log.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from visavis.errors import FetchRefused, InvalidOption

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SETTING = "VISAVIS_FETCH_ALLOW"  # of the server; FetchPolicy.allow in the library
_DEFAULT_PORTS = {"http": 80, "https": 443}
PUBLIC_PORTS = frozenset(_DEFAULT_PORTS.values())
_LARGEST_PORT = 65_535
_URL_LENGTH = 8192
_HOST_LENGTH = 253
_LEFT_AS_IT_IS = "%/?:@!$&'()*+,;=-._~"  # in paths and queries; the rest is percent-encoded

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([1-9][0-9]{0,4}))?", re.ASCII)
_BEFORE_PATH = re.compile(r"[^/?#]*//[^/?#]*")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)  # what some resolvers read as an IPv4 address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# Source: IANA's special-purpose registries, and Microsoft's documentation. It is longer than what `is_global` leaves
# out, and the same under every Python. Tunnels (6to4, Teredo) lead to any address, and nobody serves images from one.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        "168.63.129.16/32",  # what Azure serves to its virtual machines, their secrets included
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL: a host without brackets, in lower case or the usual spelling; a path with its query, in ASCII."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host and, where it is not the scheme's own, the port: the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """What a log may hold of the URL."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class AllowList:
    """What is permitted although it is not public, on any port."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


def parse_url(url: str) -> Target:
    """Take an http or https URL apart.

    Paths and queries are percent-encoded where they are not, as browsers do it. Refused is whatever two parsers might
    understand differently: backslashes, blanks elsewhere, control and format characters, names and passwords, hosts
    that are not plain ASCII (internationalised names come as xn--), a dot at a host's end, IPv4 addresses other than
    four decimal numbers, IPv6 zones.
    """
    try:
        parts = urlsplit(_without_blanks(url))
    except ValueError:  # whose message holds the URL
        raise FetchRefused("url") from ValueError("malformed")
    if parts.scheme not in _DEFAULT_PORTS:
        raise FetchRefused("scheme") from ValueError("neither http nor https")
    if "@" in parts.netloc:
        raise FetchRefused("credentials") from ValueError("a user name or password in the URL")
    host, port = parse_authority(parts.netloc)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], quote(path, safe=_LEFT_AS_IT_IS))


def parse_authority(text: str) -> tuple[str, int | None]:
    """Return the host of ``HOST`` or ``HOST:PORT`` in its one spelling, and the port; refuse as ``parse_url`` does."""
    authority = _AUTHORITY.fullmatch(text.lower()) if text.isascii() else None
    if authority is None:
        raise FetchRefused("host") from ValueError("no host, or not in its usual spelling")
    literal, name, port = authority.groups()
    host, number = _host(literal, name), int(port) if port else None
    if number and number > _LARGEST_PORT:
        raise FetchRefused("port") from ValueError(f"port {number}")
    return host, number


def parse_redirect(target: Target, location: str) -> Target:
    """Return where a redirect leads; refuse what ``parse_url`` refuses, and the way from https to http."""
    try:
        url = urljoin(f"{target.origin}{target.path}", _without_blanks(location))
    except ValueError:
        raise FetchRefused("url") from ValueError("malformed")
    following = parse_url(url)
    if target.scheme == "https" and following.scheme == "http":
        raise FetchRefused("redirect") from ValueError(f"from https to {following.origin}")
    return following


def parse_allow_list(entries: Iterable[str]) -> AllowList:
    """Sort host names from addresses and ranges, or raise InvalidOption where an entry is none of them."""
    hosts: list[str] = []
    networks: list[Network] = []
    for entry in entries:
        network = _network(entry)
        if network is not None:
            networks.append(network)
        elif entry.isascii() and _is_name(entry.lower()):
            hosts.append(entry.lower())
        else:
            raise InvalidOption(f"allow: {entry!r} is neither a host name nor an address nor a CIDR range")
    return AllowList(frozenset(hosts), tuple(networks))


def check_port(target: Target, allowed: AllowList) -> None:
    """Refuse a port that no address of the host could make right."""
    if not (target.port in PUBLIC_PORTS or target.host in allowed.hosts or allowed.networks):
        raise FetchRefused("port") from ValueError(f"port {target.port} is not allowed: {_SETTING}")


def check_addresses(target: Target, resolved: Iterable[str], allowed: AllowList) -> list[str]:
    """Return the addresses that a host resolved to, in order, ready to be connected to; refuse unless all of them are.

    IPv4 addresses mapped into IPv6 come back as the IPv4 addresses that they are.
    """
    parsed = map(ipaddress.ip_address, resolved)
    addresses = list(dict.fromkeys(getattr(address, "ipv4_mapped", None) or address for address in parsed))
    if not addresses:
        raise FetchRefused("address") from ValueError(f"{target.host} has no address")
    for address in addresses:
        if target.host in allowed.hosts or any(address in network for network in allowed.networks):
            continue
        if not is_public(address):
            raise FetchRefused("address") from ValueError(
                f"{target.host} has the address {address}, which is not public: {_SETTING}"
            )
        if target.port not in PUBLIC_PORTS:
            raise FetchRefused("port") from ValueError(f"port {target.port} of {address} is not allowed: {_SETTING}")
    return [str(address) for address in addresses]


def is_public(address: Address) -> bool:
    """Return whether an address is reachable from anywhere, so that nothing private is reached by it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) % 2**32))
        if address.scope_id is not None or address not in _PUBLIC_IPV6:
            return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def _without_blanks(url: str) -> str:
    """Encode blanks within what follows the host, and refuse what parsers would drop or take for something else."""
    if len(url) > _URL_LENGTH:
        raise FetchRefused("url") from ValueError(f"{len(url):,} characters")
    before_path = _BEFORE_PATH.match(url)
    if not url.isprintable() or "\\" in url or url != url.strip() or (before_path and " " in before_path[0]):
        raise FetchRefused("url") from ValueError("a backslash, control characters, or blanks beside the path")
    return url.replace(" ", "%20")


def _host(literal: str | None, name: str) -> str:
    """Return the host in its one spelling."""
    try:
        if literal is not None:
            return str(ipaddress.IPv6Address(literal))
        if _NUMBER.fullmatch(name):
            return str(ipaddress.IPv4Address(name))
    except ValueError as error:
        raise FetchRefused("host") from ValueError(str(error))
    if not _is_name(name):
        raise FetchRefused("host") from ValueError(f"{name[:_HOST_LENGTH]} is no host name")
    return name


def _is_name(name: str) -> bool:
    return len(name) <= _HOST_LENGTH and _NAME.fullmatch(name) is not None and _NUMBER.fullmatch(name) is None


def _network(entry: str) -> Network | None:
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        raise InvalidOption(f"allow: write {entry!r} as IPv4")
    return network
