"""Guarded downloads from servers on the loopback: what is forbidden is never connected to, what is slow or large ends.

Names are resolved from a table; "public" addresses are recorded and led to a local server, never dialled.
"""

import contextlib
import gzip
import ipaddress
import logging
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpcore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import visavis.fetch
from visavis import FetchFailed, FetchRefused, InputError, InvalidOption, __version__
from visavis.core import urls
from visavis.fetch import FetchPolicy, fetch

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "2606:2800:220:1::1"
IMAGE = b"the bytes of an image"
POLICY = FetchPolicy(connect_timeout_s=5, read_timeout_s=5, total_timeout_s=20)  # generous: slow machines pass too
PATIENT = FetchPolicy(connect_timeout_s=600, read_timeout_s=600, total_timeout_s=600)

Answer = Callable[[socket.socket, str], None]
Wrap = Callable[[socket.socket], socket.socket]


def plain(connection: socket.socket) -> socket.socket:
    return connection


def response(body: bytes = IMAGE, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return response(b"", f"Location: {location}", status=status)


def says(data: bytes) -> Answer:
    return lambda connection, _head: connection.sendall(data)


def drips(head: bytes, drop: bytes) -> Answer:
    """Send something small again and again, so that no single wait is long: for half a minute, if nobody hangs up."""

    def answer(connection: socket.socket, _head: str) -> None:
        connection.sendall(head)
        for _ in range(1500):
            connection.sendall(drop)
            time.sleep(0.02)

    return answer


def floods(head: bytes, wave: bytes) -> Answer:
    def answer(connection: socket.socket, _head: str) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(wave)

    return answer


def stays_silent(connection: socket.socket, _head: str) -> None:
    connection.recv(1)  # until the other side hangs up


@dataclass
class Server:
    """Answers every connection as told, and keeps what it was asked."""

    answer: Answer
    wrap: Wrap
    port: int = 0
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        with contextlib.suppress(OSError), self.wrap(connection) as wrapped:
            wrapped.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                data = wrapped.recv(65536)
                if not data:
                    return
                head += data
            self.requests.append(head.decode())
            self.answer(wrapped, head.decode())


@contextlib.contextmanager
def serving(answer: Answer, wrap: Wrap = plain) -> Iterator[Server]:
    server = Server(answer, wrap)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            server.serve(self.request)

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Threads(("127.0.0.1", 0), Handler) as listener:
        server.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


@dataclass
class World:
    """A resolver and a network made of tables.

    Attributes:
        names: host -> its answers, one list of addresses per question; the last is repeated.
        routes: address -> port of the local server that stands for it.
        asked: the names that were resolved; addresses are not among them.
        dialled: every address and port that a connection was wanted to.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    def addresses_of(self, host: str) -> list[str]:
        try:  # what the C library makes of numbers, without any name server
            return [str(found[4][0]) for found in socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)]
        except OSError:
            self.asked.append(host)
        answers = self.names.get(host, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def dial(self, address: str, port: int, timeout_s: float) -> socket.socket:
        self.dialled.append((address, port))
        if address in self.routes:
            return REAL_DIAL("127.0.0.1", self.routes[address], timeout_s)
        if ipaddress.ip_address(address).is_loopback:
            return REAL_DIAL(address, port, timeout_s)
        raise ConnectionRefusedError("a test dials nothing but the loopback")

    def public(self, server: Server, name: str = "photos.example") -> None:
        """Let a server be found at a public address."""
        self.names[name] = [[PUBLIC]]
        self.routes[PUBLIC] = server.port


REAL_DIAL = visavis.fetch._dial  # noqa: SLF001


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(visavis.fetch, "_addresses_of", world.addresses_of)
    monkeypatch.setattr(visavis.fetch, "_dial", world.dial)
    return world


@pytest.fixture(scope="module")
def listening() -> Iterator[Server]:
    with serving(says(response(b"secret"))) as server:
        yield server


@pytest.fixture
def canary(listening: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server on the loopback that no test may reach, on a port that counts as one of the two usual ones."""
    monkeypatch.setattr(urls, "PUBLIC_PORTS", urls.PUBLIC_PORTS | {listening.port})
    listening.connections = 0
    return listening


def reason_of(url: str, policy: FetchPolicy = POLICY) -> str:
    error: FetchRefused | FetchFailed
    try:
        fetch(url, policy)
        pytest.fail(f"{url} was fetched")
    except FetchRefused as refusal:
        error, code = refusal, "fetch_refused"
    except FetchFailed as failure:
        error, code = failure, "fetch_failed"
    assert str(error) == f"the URL could not be fetched: {error.reason.replace('_', ' ')}"
    assert error.__cause__ is not None
    assert error.code == code
    return error.reason


# --- forms of URLs that must not reach the canary; PORT is its port

FORBIDDEN = {
    "address": [
        "http://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT",
        "http://127.0.0.1:PORT?x",
        "http://127.0.0.1:PORT#x",
        "HTTP://127.0.0.1:PORT/",
        "https://127.0.0.1:PORT/",
        "http://127.1.2.3:PORT/",
        "http://127.255.255.254:PORT/",
        "http://0.0.0.0:PORT/",
        "http://[::1]:PORT/",
        "http://[0:0:0:0:0:0:0:1]:PORT/",
        "http://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/",
        "http://[::]:PORT/",
        "http://[::127.0.0.1]:PORT/",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://[::FFFF:127.0.0.1]:PORT/",
        "http://[::ffff:7f00:1]:PORT/",
        "http://[0:0:0:0:0:ffff:7f00:1]:PORT/",
        "http://[::ffff:0:127.0.0.1]:PORT/",
        "http://[::ffff:0.0.0.0]:PORT/",
        "http://[64:ff9b::127.0.0.1]:PORT/",
        "http://[64:ff9b::7f00:1]:PORT/",
        "http://[64:ff9b:1::7f00:1]:PORT/",
        "http://[2002:7f00:1::]:PORT/",
        "http://[2002:7f00:0001::1]:PORT/",
        "http://[2001:0:7f00:1::]:PORT/",
        "http://[2001:0:0:0:0:0:80ff:fffe]:PORT/",
        "http://[fe80::1]:PORT/",
        "http://[fc00::1]:PORT/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[fec0::1]:PORT/",
        "http://[ff02::1]:PORT/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://localhost:PORT/",
        "http://LOCALHOST:PORT/",
        "http://localhost.localdomain:PORT/",
        "http://internal.example:PORT/",
        "http://mixed.example:PORT/",
        "http://mixed-the-other-way.example:PORT/",
        "http://mixed-families.example:PORT/",
        "http://mapped.example:PORT/",
        "http://nat64.example:PORT/",
        "http://zone.example:PORT/",
        "http://unknown.example:PORT/",
        "http://redis:PORT/",
    ],
    "host": [
        "http://127.1:PORT/",
        "http://127.0.1:PORT/",
        "http://127:PORT/",
        "http://0:PORT/",
        "http://2130706433:PORT/",
        "http://0x7f000001:PORT/",
        "http://0X7F000001:PORT/",
        "http://0x7f.0x0.0x0.0x1:PORT/",
        "http://0x7f.1:PORT/",
        "http://0177.0.0.1:PORT/",
        "http://0177.0.0.01:PORT/",
        "http://017700000001:PORT/",
        "http://127.0.0.001:PORT/",
        "http://127.0.0.0x1:PORT/",
        "http://00000127.0.0.1:PORT/",
        "http://127.0.0.1.:PORT/",
        "http://127.0.0.1.0:PORT/",
        "http://383.0.0.1:PORT/",
        "http://example.0x7f000001:PORT/",
        "http://localhost.:PORT/",
        "http://localhost..:PORT/",
        "http://.localhost:PORT/",
        "http://[fe80::1%25lo]:PORT/",
        "http://[::1%25lo]:PORT/",
        "http://[::1%lo]:PORT/",
        "http://\uff11\uff12\uff17.0.0.1:PORT/",
        "http://\u2460\u2461\u2466.0.0.1:PORT/",
        "http://127\u30020\u30020\u30021:PORT/",
        "http://127\uff0e0\uff0e0\uff0e1:PORT/",
        "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:PORT/",
        "http://local\u017fhost:PORT/",
        "http://\u212aafka:PORT/",
        "http://\u0661\u0662\u0667.0.0.1:PORT/",
        "http://%6c%6f%63alhost:PORT/",
        "http://127%2e0%2e0%2e1:PORT/",
        "http://127.0.0.1%00.example.com:PORT/",
        "http://127.0.0.1%2f.example.com:PORT/",
        "http://127.0.0.1:PORT:80/",
        "http://example.com:80:PORT/",
        "http://127.0.0.1:+PORT/",
        "http://127.0.0.1:0PORT/",
        "http://127.0.0.1:/",
        "http://127.0.0.1;example.com:PORT/",
        "http://127.0.0.1,example.com:PORT/",
        "http://127.0.0.1&example.com:PORT/",
        "http:///127.0.0.1:PORT/",
        "http:127.0.0.1:PORT/",
        "http:/127.0.0.1:PORT/",
        "http://",
        "http://:PORT/",
        "http://?http://127.0.0.1:PORT/",
        "http://#http://127.0.0.1:PORT/",
        "http://-127.0.0.1.example:PORT/",
    ],
    "url": [
        "http://[::1:PORT/",
        "http://::1]:PORT/",
        "http://[127.0.0.1:PORT/",
        "http://127.0.0.1\\@example.com:PORT/",
        "http://example.com\\@127.0.0.1:PORT/",
        "http:\\\\127.0.0.1:PORT/",
        "http://127.0.0.1:PORT\\.example.com/",
        " http://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT/ ",
        "http://127.0.0.1 :PORT/",
        "http://127.0.0.1 example.com:PORT/",
        "http://127.0.0.1\t:PORT/",
        "ht\ntp://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT/\r\nHost: example.com",
        "http://127.0.0.1:PORT/\x00",
        "http://127.0.0.1\x7f:PORT/",
        "http://127.0.0.1\u200b:PORT/",
        "http://local\u00adhost:PORT/",
        "http://127.0.0.1\u3000:PORT/",
        "http://127.0.0.1\u2028:PORT/",
        "http://\u202e1.0.0.721:PORT/",
        "http://127.0.0.1:PORT/\ud800",
        "http://127.0.0.1:PORT/" + "a" * 9000,
    ],
    "credentials": [
        "http://user@127.0.0.1:PORT/",
        "http://user:password@127.0.0.1:PORT/",
        "http://@127.0.0.1:PORT/",
        "http://:@127.0.0.1:PORT/",
        "http://example.com@127.0.0.1:PORT/",
        "http://example.com:80@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT@example.com/",
        "http://example.com%40@127.0.0.1:PORT/",
        "http://a@b@127.0.0.1:PORT/",
    ],
    "scheme": [
        "",
        "127.0.0.1:PORT/",
        "//127.0.0.1:PORT/",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://127.0.0.1:PORT/",
        "ftp://127.0.0.1:PORT/",
        "gopher://127.0.0.1:PORT/_GET",
        "dict://127.0.0.1:PORT/",
        "ws://127.0.0.1:PORT/",
        "data:image/png;base64,AAAA",
        "jar:http://127.0.0.1:PORT/!/",
        "url:http://127.0.0.1:PORT/",
        "unix:///var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "javascript:alert(1)",
        "httpx://127.0.0.1:PORT/",
        "\uff48ttp://127.0.0.1:PORT/",
    ],
    "port": [
        "http://127.0.0.1:22/",
        "http://photos.example:8080/",
        "http://photos.example:6379/",
        "http://photos.example:65535/",
        "http://photos.example:65616/",  # 80 in sixteen bits
        "http://127.0.0.1:99999/",
    ],
}
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "internal.example": ["127.0.0.1"],
    "mixed.example": [PUBLIC, "127.0.0.1"],
    "mixed-the-other-way.example": ["127.0.0.1", PUBLIC],
    "mixed-families.example": [PUBLIC, "::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "zone.example": ["fe80::1%lo"],
    "redis": ["127.0.0.1"],
    "photos.example": [PUBLIC],
    "example.com": [PUBLIC],
}
FORMS = [(url, reason) for reason, forms in FORBIDDEN.items() for url in forms]


@pytest.mark.parametrize(("url", "reason"), FORMS, ids=lambda text: ascii(text)[1:60])
def test_forbidden_forms_reach_nothing(world: World, canary: Server, url: str, reason: str) -> None:
    world.names = {name: [addresses] for name, addresses in NAMES.items()}
    assert reason_of(url.replace("PORT", str(canary.port))) == reason
    assert world.dialled == []
    assert canary.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "canary.example"])
def test_the_canary_can_be_reached_where_it_is_allowed(world: World, canary: Server, host: str) -> None:
    world.names["canary.example"] = [["127.0.0.1"]]
    assert fetch(f"http://{host}:{canary.port}/", FetchPolicy(allow=("127.0.0.0/8",))) == b"secret"
    assert canary.connections == 1


def is_absolute(url: str) -> bool:
    """Whether a Location header can hold the URL, and it does not lead to the same server again."""
    return (
        url.isascii()
        and url.isprintable()
        and "://" in url.strip()[:15]
        and re.match(r" |http:///?[?#/]|http://$", url) is None
    )


REDIRECTS = [(url, reason) for url, reason in FORMS if is_absolute(url) and not url.endswith(" ")]


@pytest.mark.parametrize(("url", "reason"), REDIRECTS, ids=lambda text: ascii(text)[1:60])
def test_redirects_to_forbidden_forms_reach_nothing(world: World, canary: Server, url: str, reason: str) -> None:
    location = url.replace("PORT", str(canary.port))
    with serving(says(redirect(location))) as server:
        world.public(server, "start.example")
        world.names |= {name: [addresses] for name, addresses in NAMES.items()}
        assert reason_of("http://start.example/") == reason
    assert world.dialled == [(PUBLIC, 80)]
    assert canary.connections == 0


def test_the_matrix_is_large() -> None:
    assert len({url for url, _ in FORMS}) >= 160
    assert len({url for url, _ in REDIRECTS}) >= 100


def test_a_name_that_changes_its_address_is_reached_at_the_checked_one(world: World, canary: Server) -> None:
    with serving(says(response())) as server:
        world.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
        world.routes[PUBLIC] = server.port
        url = f"http://rebinding.example:{canary.port}/"
        assert fetch(url, POLICY) == IMAGE
        assert world.asked == ["rebinding.example"]
        assert world.dialled == [(PUBLIC, canary.port)]
        assert reason_of(url) == "address"
    assert world.asked == ["rebinding.example"] * 2
    assert world.dialled == [(PUBLIC, canary.port)]
    assert canary.connections == 0


def test_a_name_that_changes_its_address_between_redirects(world: World, canary: Server) -> None:
    with serving(says(redirect("/again"))) as server:
        world.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
        world.routes[PUBLIC] = server.port
        assert reason_of(f"http://rebinding.example:{canary.port}/") == "address"
    assert world.dialled == [(PUBLIC, canary.port)]
    assert canary.connections == 0


def test_the_real_resolver_is_asked_once_and_the_real_connection_is_numeric(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two functions that the other tests replace, here with a resolver that would give another answer later."""
    monkeypatch.undo()
    asked: list[object] = []

    def getaddrinfo(host: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.255.255.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with serving(says(response())) as server:
        assert fetch(f"http://inside.example:{server.port}/", replace(POLICY, allow=("127.0.0.1",))) == IMAGE
    assert asked == [b"inside.example"]


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (socket.EAI_NONAME, FetchRefused, "address"),  # like a private one: nobody learns which names exist inside
        (socket.EAI_AGAIN, FetchFailed, "unreachable"),
    ],
)
def test_names_that_do_not_resolve(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], reason: str
) -> None:
    monkeypatch.undo()

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(error, match=reason):
        fetch("http://unknown.example/")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    host=st.one_of(
        st.ip_addresses().map(lambda address: f"[{address}]" if ":" in str(address) else str(address)),
        st.integers(0, 2**32).map(str),
        st.integers(0, 2**32).map(hex),
        st.integers(0, 2**32).map(oct),
        st.lists(st.sampled_from(["127", "0", "1", "0x7f", "0177", ".", ":", "[", "]", "@", "#", "?", "%2e"])).map(
            "".join
        ),
        st.text(max_size=20),
    )
)
def test_whatever_is_dialled_is_public(world: World, host: str) -> None:
    world.dialled.clear()
    with pytest.raises((FetchRefused, FetchFailed)):
        fetch(f"http://{host}/", POLICY)
    assert all(urls.is_public(ipaddress.ip_address(address)) for address, _ in world.dialled)


# --- what is sent


def test_a_download_and_its_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(says(response(IMAGE, "Set-Cookie: a=b"))) as server:
        world.public(server)
        for _ in range(2):
            assert fetch("http://Photos.Example/a%20b/ü?c=d#e") == IMAGE
    request = [
        *("GET /a%20b/%C3%BC?c=d HTTP/1.1", "Host: photos.example", f"User-Agent: visavis/{__version__}"),
        *("Accept: */*", "Accept-Encoding: identity", "Connection: close", "", ""),
    ]
    assert server.requests == ["\r\n".join(request)] * 2
    assert world.dialled == [(PUBLIC, 80)] * 2


@pytest.mark.parametrize(
    ("address", "host"), [(PUBLIC, PUBLIC), (OTHER_PUBLIC, f"[{OTHER_PUBLIC}]"), (PUBLIC, f"[::ffff:{PUBLIC}]")]
)
def test_addresses_as_hosts(world: World, address: str, host: str) -> None:
    with serving(says(response())) as server:
        world.routes[address] = server.port
        assert fetch(f"http://{host}/") == IMAGE
    assert world.dialled == [(address, 80)]
    assert world.asked == []
    sent = next(line for line in server.requests[0].splitlines() if line.startswith("Host: "))
    assert ipaddress.ip_address(sent[6:].strip("[]")) == ipaddress.ip_address(host.strip("[]"))


def test_the_next_address_is_tried_when_one_does_not_answer(world: World) -> None:
    with serving(says(response())) as server:
        world.public(server)
        world.names["photos.example"] = [[OTHER_PUBLIC, PUBLIC]]
        assert fetch("http://photos.example/") == IMAGE
    assert world.dialled == [(OTHER_PUBLIC, 80), (PUBLIC, 80)]


def test_few_addresses_are_tried(world: World) -> None:
    world.names["many.example"] = [[f"93.184.216.{last}" for last in range(200)]]
    assert reason_of("http://many.example/") == "unreachable"
    assert len(world.dialled) == 3


@pytest.mark.parametrize("allow", ["inside.example", "127.0.0.1", "127.0.0.0/8"])
def test_what_is_allowed_may_be_private_on_any_port(world: World, allow: str) -> None:
    world.names["inside.example"] = [["127.0.0.1"]]
    with serving(says(response())) as server:
        url = f"http://inside.example:{server.port}/"
        assert fetch(url, FetchPolicy(allow=(allow,))) == IMAGE
        assert server.requests[0].splitlines()[1] == f"Host: inside.example:{server.port}"
        assert reason_of(url) == "port"
        assert reason_of(url, FetchPolicy(allow=("other.example",))) == "port"
        assert reason_of(url, FetchPolicy(allow=("10.0.0.0/8",))) == "address"
        assert server.connections == 1


# --- redirects


@pytest.mark.parametrize("status", ["301 A", "302 B", "303 C", "307 D", "308 E"])
@pytest.mark.parametrize("location", ["/b?c#d", "b?c", "//photos.example/b?c", "http://other.example/b?c"])
def test_redirects_are_followed(world: World, status: str, location: str) -> None:
    def answer(connection: socket.socket, head: str) -> None:
        connection.sendall(redirect(location, status) if head.startswith("GET /a ") else response())

    with serving(answer) as server:
        world.public(server)
        world.names["other.example"] = [[PUBLIC]]
        assert fetch("http://photos.example/a", POLICY) == IMAGE
    assert [request.split(" ")[1] for request in server.requests] == ["/a", "/b?c"]
    host = "other.example" if "other" in location else "photos.example"
    assert f"\r\nHost: {host}\r\n" in server.requests[1]
    assert "Referer" not in server.requests[1]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_redirects_are_counted(world: World, most: int) -> None:
    with serving(says(redirect("/again"))) as server:
        world.public(server)
        assert reason_of("http://photos.example/", replace(POLICY, max_redirects=most)) == "redirect"
        assert server.connections == most + 1
        server.answer = says(response())
        assert fetch("http://photos.example/", replace(POLICY, max_redirects=most)) == IMAGE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(status="302 Found"), "status"),
        (response(b"", "Location: /a", "Location: /b", status="302 Found"), "status"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\n\r\n", "url"),
        (redirect("file:///etc/passwd"), "scheme"),
        (redirect("http://user:password@photos.example/"), "credentials"),
        (redirect("http://photos.example:6379/"), "port"),
        (redirect("http://photos.example\\@127.0.0.1/"), "url"),
        (redirect("/\t/127.0.0.1/"), "url"),
        (redirect("http://[::1"), "url"),
        (redirect("/" + "a" * 9000), "url"),
        (redirect("/", "300 Multiple Choices"), "status"),
        (redirect("/", "304 Not Modified"), "status"),
        (redirect("/", "201 Created"), "status"),
    ],
)
def test_redirects_to_nowhere(world: World, answer: bytes, reason: str) -> None:
    with serving(says(answer)) as server:
        world.public(server)
        assert reason_of("http://photos.example/") == reason
        assert server.connections == 1


# --- limits


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(status="204 No Content"), "status"),
        (response(status="206 Partial Content"), "status"),
        (response(status="404 Not Found"), "status"),
        (response(status="500 Oh"), "status"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "response"),
        (response(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"), "encoding"),
        (response(IMAGE, "content-encoding: BR"), "encoding"),
        (response(IMAGE, "Content-Encoding: identity", "Content-Encoding: deflate"), "encoding"),
        (response(IMAGE, "Content-Encoding: identity, gzip"), "encoding"),
        (response(IMAGE, "Transfer-Encoding: gzip, chunked"), "response"),
        (response(IMAGE)[:-1], "response"),
        (response(IMAGE, "Content-Length: 3"), "response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", "response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too_large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "response"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "response"),
        (b"", "response"),
        (b"\x89PNG secret", "response"),
        (b"SSH-2.0-OpenSSH_9\r\n", "response"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "response"),
    ],
)
def test_answers_that_are_none(world: World, caplog: pytest.LogCaptureFixture, answer: bytes, reason: str) -> None:
    with serving(says(answer)) as server, caplog.at_level(logging.INFO, "visavis"):
        world.public(server)
        assert reason_of("http://photos.example/") == reason
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        response(),
        response(IMAGE, "Content-Encoding: identity", f"Content-Length: {len(IMAGE)}"),
        b"HTTP/1.0 200 OK\r\n\r\n" + IMAGE,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in IMAGE)
        + b"0\r\n\r\n",
    ],
)
def test_ways_to_send_an_image_of_the_largest_size(world: World, answer: bytes) -> None:
    with serving(says(answer)) as server:
        world.public(server)
        assert fetch("http://photos.example/", replace(POLICY, max_bytes=len(IMAGE))) == IMAGE
        assert reason_of("http://photos.example/", replace(POLICY, max_bytes=len(IMAGE) - 1)) == "too_large"


HEAD = b"HTTP/1.1 200 OK\r\n"
LARGE = b"0123456789abcdef" * 4096


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (floods(HEAD + b"\r\n", LARGE), "too_large"),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + LARGE + b"\r\n"), "too_large"),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 8000 + b"\r\n.\r\n"), "too_large"),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 1000), "response"),
        (floods(HEAD, b"A: b\r\n" * 1000), "too_large"),
        (floods(HEAD + b"A: ", LARGE), "too_large"),
        (floods(b"", LARGE), "too_large"),
        (floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "too_large"),
    ],
    ids=["no length", "chunks", "extensions", "trailers", "headers", "a header", "status", "informational"],
)
def test_what_never_ends_is_cut_off(world: World, answer: Answer, reason: str) -> None:
    with serving(answer) as server:
        world.public(server)
        assert reason_of("http://photos.example/", replace(PATIENT, max_bytes=1_000_000)) == reason


def test_more_than_was_promised_is_left_unread(world: World) -> None:
    with serving(floods(HEAD + b"Content-Length: 5\r\n\r\n", LARGE)) as server:
        world.public(server)
        assert fetch("http://photos.example/", PATIENT) == LARGE[:5]


@pytest.mark.parametrize(
    "answer",
    [
        drips(HEAD + b"\r\n", b"."),
        drips(HEAD + b"Content-Length: 1000000\r\n\r\n", b"."),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        drips(HEAD, b"A: b\r\n"),
        drips(b"", b"H"),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "a length", "chunks", "headers", "status", "informational"],
)
def test_what_drips_ends_with_the_time_in_total(world: World, answer: Answer) -> None:
    with serving(answer) as server:
        world.public(server)
        assert reason_of("http://photos.example/", replace(PATIENT, total_timeout_s=0.2)) == "timeout"


@pytest.mark.parametrize("head", [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc"])
def test_silence_ends_with_the_time_between_bytes(world: World, head: bytes) -> None:
    def answer(connection: socket.socket, _head: str) -> None:
        connection.sendall(head)
        connection.recv(1)

    with serving(answer) as server:
        world.public(server)
        assert reason_of("http://photos.example/", replace(PATIENT, read_timeout_s=0.1)) == "timeout"


def test_redirects_share_the_time_in_total(world: World) -> None:
    def answer(connection: socket.socket, _head: str) -> None:
        time.sleep(0.1)
        connection.sendall(redirect("/again"))

    with serving(answer) as server:
        world.public(server)
        policy = replace(PATIENT, total_timeout_s=0.25, max_redirects=20)
        assert reason_of("http://photos.example/", policy) == "timeout"
        assert server.connections < 6


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def addresses_of(_host: str) -> list[str]:
        over.wait(60)
        return []

    monkeypatch.setattr(visavis.fetch, "_addresses_of", addresses_of)
    for policy in (replace(PATIENT, connect_timeout_s=0.1), replace(PATIENT, total_timeout_s=0.1)):
        assert reason_of("http://photos.example/", policy) == "timeout"
    over.set()


def test_connecting_is_given_its_time_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given_s: list[float] = []

    def dial(_address: str, _port: int, timeout_s: float) -> socket.socket:
        given_s.append(timeout_s)
        raise TimeoutError

    monkeypatch.setattr(visavis.fetch, "_dial", dial)
    world.names["photos.example"] = [[PUBLIC, OTHER_PUBLIC]]
    assert reason_of("http://photos.example/", replace(PATIENT, connect_timeout_s=2)) == "timeout"
    assert reason_of("http://photos.example/", replace(PATIENT, total_timeout_s=2)) == "timeout"
    assert [0 < seconds <= most for seconds, most in zip(given_s, [1, 2, 1, 2], strict=True)] == [True] * 4


@pytest.mark.parametrize("allow", [(), ("127.0.0.1",)])
def test_nobody_there(allow: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/" if allow else f"http://{PUBLIC}/"
    assert reason_of(url, replace(POLICY, allow=allow)) == "unreachable"


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[Server]:
    with serving(says(b"")) as server:
        yield server


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [
                    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 100 C\r\n", b"\r\n", b"\r\n\r\n"),
                    *(
                        b"Content-Length: 3\r\n",
                        b"Transfer-Encoding: chunked\r\n",
                        b"Location: /\r\n",
                        b"3\r\n",
                        b"abc",
                    ),
                    *(b"Location: \xc3\x28\r\n", b"0\r\n\r\n", b"Content-Encoding: gzip\r\n", b"Location: ////\r\n"),
                ]
            ),
        ),
        max_size=8,
    ).map(b"".join)
)
def test_any_answer_is_bytes_or_an_error_of_ours(fuzzing: Server, answer: bytes) -> None:
    fuzzing.answer = says(answer)
    with contextlib.suppress(FetchRefused, FetchFailed):
        assert isinstance(fetch(f"http://127.0.0.1:{fuzzing.port}/", replace(POLICY, allow=("127.0.0.1",))), bytes)


# --- TLS


@dataclass(frozen=True)
class Identity:
    """A certificate, which is its own authority, for photos.example and one address."""

    certificate: Path
    key: Path

    def wrap(self, connection: socket.socket) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context.wrap_socket(connection, server_side=True)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    names = f"subjectAltName=DNS:photos.example,IP:{PUBLIC}"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    command = [openssl, *options.split(), "-addext", names, "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Identity(folder / "certificate.pem", folder / "key.pem")


@pytest.fixture
def trusted(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's certificate one of the authorities that are believed."""
    context = httpcore.default_ssl_context()
    context.load_verify_locations(identity.certificate)
    monkeypatch.setattr(visavis.fetch, "_tls", lambda: context)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["photos.example", PUBLIC])
def test_https_checks_the_name_and_not_the_address_dialled(world: World, identity: Identity, host: str) -> None:
    with serving(says(response()), identity.wrap) as server:
        world.public(server)
        assert fetch(f"https://{host}/") == IMAGE
    assert world.dialled == [(PUBLIC, 443)]
    assert f"\r\nHost: {host}\r\n" in server.requests[0]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("host", ["other.example", "sub.photos.example", f"[{OTHER_PUBLIC}]"])
def test_https_refuses_a_certificate_for_another_name(world: World, identity: Identity, host: str) -> None:
    with serving(says(response()), identity.wrap) as server:
        world.names = {name: [[PUBLIC]] for name in ("other.example", "sub.photos.example")}
        world.routes = {PUBLIC: server.port, OTHER_PUBLIC: server.port}
        assert reason_of(f"https://{host}/") == "tls"
        assert server.requests == []


@pytest.mark.parametrize("allow", [(), ("photos.example",)])
def test_https_refuses_a_certificate_of_its_own_signing(
    world: World, identity: Identity, allow: tuple[str, ...]
) -> None:
    with serving(says(response()), identity.wrap) as server:
        world.public(server)
        assert reason_of("https://photos.example/", replace(POLICY, allow=allow)) == "tls"
        assert server.connections == 1
        assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_https_does_not_redirect_to_http(world: World, identity: Identity, canary: Server) -> None:
    with serving(says(redirect(f"http://photos.example:{canary.port}/")), identity.wrap) as server:
        world.public(server)
        assert reason_of("https://photos.example/") == "redirect"
    assert world.dialled == [(PUBLIC, 443)]


@pytest.mark.usefixtures("trusted")
def test_https_drips_end_too(world: World, identity: Identity) -> None:
    with serving(drips(HEAD + b"\r\n", b"."), identity.wrap) as server:
        world.public(server)
        assert reason_of("https://photos.example/", replace(PATIENT, total_timeout_s=0.3)) == "timeout"


def test_a_handshake_that_never_comes(world: World) -> None:
    def silent(connection: socket.socket) -> socket.socket:
        while connection.recv(4096):
            pass
        return connection

    with serving(stays_silent, silent) as server:
        world.public(server)
        assert reason_of("https://photos.example/", replace(PATIENT, connect_timeout_s=0.2)) == "timeout"
        assert reason_of("https://photos.example/", replace(PATIENT, total_timeout_s=0.2)) == "timeout"


def test_plain_text_where_tls_should_be(world: World) -> None:
    def speaks_first(connection: socket.socket) -> socket.socket:
        connection.sendall(response())
        return connection

    with serving(stays_silent, speaks_first) as server:
        world.public(server)
        assert reason_of("https://photos.example/") == "tls"


# --- threads, logs, options


def test_many_threads_at_once(world: World, canary: Server) -> None:
    def answer(connection: socket.socket, head: str) -> None:
        path = head.split(" ")[1]
        connection.sendall(redirect(path[2:]) if path.startswith("/r/") else response(path.encode() * 5000))

    def visit(number: int) -> str:
        if number % 4 == 0:
            return reason_of(f"http://127.0.0.1:{canary.port}/{number}")
        path = f"/{number}"
        prefix = "/r" if number % 2 else ""
        assert fetch(f"http://photos.example{prefix}{path}", POLICY) == path.encode() * 5000
        return "image"

    with serving(answer) as server, ThreadPoolExecutor(16) as pool:
        world.public(server)
        outcomes = list(pool.map(visit, range(200)))
    assert outcomes == ["image" if number % 4 else "address" for number in range(200)]
    assert {address for address, _ in world.dialled} == {PUBLIC}
    assert canary.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/private?token=secret",
        "http://user:secret@photos.example/",
        "http://user:secret@photos.example\uff0f/",
        "http://user:secret@[/",
        "http://secret\\photos.example/",
        "secret://photos.example/",
        "http://localhost/secret#secret",
        "http://localhost:8/?secret",
    ],
)
def test_logs_and_causes_hold_no_secrets(world: World, caplog: pytest.LogCaptureFixture, url: str) -> None:
    world.names = {"photos.example": [[PUBLIC]], "localhost": [["127.0.0.1"]]}
    with caplog.at_level(logging.INFO, "visavis"), pytest.raises(InputError) as caught:
        fetch(url)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("visavis.fetch", "INFO")
    assert record.getMessage().startswith(caught.value.code)
    for text in (record.getMessage(), str(caught.value), str(caught.value.__cause__)):
        assert "secret" not in text
        assert "private?" not in text


def test_the_log_tells_the_way_and_the_address(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with serving(says(redirect("http://inside.example/secret"))) as server:
        world.public(server)
        world.names["inside.example"] = [["10.1.2.3"]]
        with caplog.at_level(logging.INFO, "visavis"):
            assert reason_of("http://photos.example/secret") == "address"
    message = caplog.records[0].getMessage()
    assert "http://photos.example -> http://inside.example" in message
    assert "10.1.2.3" in message
    assert "secret" not in message


def test_success_is_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with serving(says(response())) as server, caplog.at_level(logging.INFO):
        world.public(server)
        fetch("http://photos.example/")
    assert caplog.records == []


@pytest.mark.parametrize("setting", ["connect_timeout_s", "read_timeout_s", "total_timeout_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_times_out_of_range(setting: str, value: float) -> None:
    with pytest.raises(InvalidOption, match=setting):
        replace(POLICY, **{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("max_bytes", value) for value in (0, -1, 1.5, True, None)),
        *(("max_redirects", value) for value in (-1, 21, 1.0, False)),
        *(
            ("allow", value)
            for value in ("localhost", ["localhost"], (1,), (b"a",), None, ("*.example",), ("10.0.0.1/8",))
        ),
    ],
)
def test_other_options_out_of_range(setting: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=setting):
        replace(POLICY, **{setting: value})  # type: ignore[arg-type]


def test_policies_are_values() -> None:
    policy = FetchPolicy(allow=("a.example", "10.0.0.0/8"))
    assert policy == replace(policy)
    assert hash(policy) == hash(replace(policy))
    assert policy != replace(policy, allow=())
    assert replace(policy, allow=("b.example",)).allowed.hosts == {"b.example"}
