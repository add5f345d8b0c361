"""Where calls come from: addresses behind trusted proxies, and the names and origins of calls without a key.

Browsers let pages of strangers call whatever their user can reach. Source: RFC 6454, The Web Origin Concept; W3C, Fetch
Metadata Request Headers.
"""

import ipaddress
import re

from fastapi import Request

from visavis.config import Settings
from visavis.core.urls import Address, AllowList, parse_allow_list, parse_authority
from visavis.errors import InvalidOption
from visavis.server.problems import Problem

_CHANGE_NOTHING = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = ("same-origin", "none")  # none: the user typed the address
# What proxies add; where this machine alone can connect, also the version of HTTP that nginx speaks unless told not to.
_BY_PROXIES = re.compile(
    "forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|cf-connecting-ip|cdn-loop|x-envoy-.*"
)
_PROXY_VERSION = "1.0"
_MOST_PROXIES = 16  # one behind the other
_LOOPBACK, _ANYWHERE = ("127.0.0.0/8", "::1"), ("0.0.0.0/0", "::/0")
_PROXIED = (
    "a call that comes through a proxy needs a key; where whoever reaches the proxy may do everything, set "
    "VISAVIS_AUTH=off, and VISAVIS_TRUSTED_PROXIES to its address"
)
_HOST_UNKNOWN = (
    "a call without a key must call the server by a name that it knows, such as localhost; VISAVIS_HOSTS adds names"
)
_ELSEWHERE = "a page of another origin needs a key; VISAVIS_CORS lists the origins that need none"


class Callers:
    """Tells callers apart, and refuses calls without a key that somebody else may have led here."""

    def __init__(self, settings: Settings) -> None:
        """Take what the settings allow; an ``InvalidOption`` where that is no name or address."""
        self._local = settings.is_loopback
        self._named = parse_allow_list((*settings.hosts, *(_LOOPBACK if self._local else _ANYWHERE)))
        self._names = self._named.hosts | {"localhost", settings.host.lower()}
        self._origins = frozenset(settings.cors)
        self._proxies = parse_allow_list(settings.trusted_proxies)
        if self._proxies.hosts:
            raise InvalidOption(f"a trusted proxy is an address or a network, not a name: {min(self._proxies.hosts)}")

    def address_of(self, request: Request) -> str:
        """Return whose call it is: who connected; or, where that is a trusted proxy, whom it names.

        Each proxy adds an address at the end of X-Forwarded-For. What stands before one that is no trusted proxy's is
        that caller's word alone.
        """
        hops = [*",".join(request.headers.getlist("x-forwarded-for")).rsplit(",", _MOST_PROXIES), _peer(request)]
        address = hops.pop()
        while self._trusts(address) and hops and (before := _address(hops.pop())) is not None:
            address = str(before)
        return address

    def check_keyless(self, request: Request, *, any_origin: bool) -> None:
        """Refuse a call that a stranger's proxy, DNS server or page may have sent here; it came without a key."""
        old = self._local and request.scope["http_version"] == _PROXY_VERSION
        if (old or any(map(_BY_PROXIES.fullmatch, request.headers))) and not self._trusts(_peer(request)):
            raise Problem("forbidden", _PROXIED)
        hosts = request.headers.getlist("host")
        if not (len(hosts) == 1 and self._knows(hosts[0])):
            raise Problem("forbidden", _HOST_UNKNOWN)
        changes = request.method not in _CHANGE_NOTHING
        if changes and not any_origin and not self._is_listed(request) and _is_elsewhere(request):
            raise Problem("forbidden", _ELSEWHERE)

    def is_operator(self, request: Request) -> bool:
        """Tell whether a call without a key is of whoever runs this server: no page of others led it here."""
        address = _address(self.address_of(request))
        return self._local and address is not None and address.is_loopback and not _is_elsewhere(request)

    def _trusts(self, address: str) -> bool:
        return bool(self._proxies.networks) and _is_in(_address(address), self._proxies)

    def _knows(self, text: str) -> bool:
        """Tell whether a stranger's DNS cannot give this server such a name: what it is called, or an address."""
        try:
            host, _ = parse_authority(text)
        except ValueError:
            return False
        return host in self._names or host.endswith(".localhost") or _is_in(_address(host), self._named)

    def _is_listed(self, request: Request) -> bool:
        """Tell whether a page calls whose origin the settings allow."""
        origins = request.headers.getlist("origin")
        return bool(origins) and ("*" in self._origins or self._origins.issuperset(origins))


def _is_elsewhere(request: Request) -> bool:
    """Tell whether a page of another origin calls."""
    host = request.headers.get("host", "").lower()
    own = (f"http://{host}", f"https://{host}")  # which of them a proxy knows
    origins, sites = request.headers.getlist("origin"), request.headers.getlist("sec-fetch-site")
    return any(origin.lower() not in own for origin in origins) or any(site not in _OWN_SITE for site in sites)


def _peer(request: Request) -> str:
    return request.client.host if request.client else "nobody"


def _is_in(address: Address | None, allowed: AllowList) -> bool:
    return address is not None and any(address in network for network in allowed.networks)


def _address(text: str) -> Address | None:
    """Return the address that a text is, with or without a port; None where it is none."""
    text = text.strip()
    try:
        address = ipaddress.ip_address(text if text.count(":") > 1 and "[" not in text else parse_authority(text)[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
