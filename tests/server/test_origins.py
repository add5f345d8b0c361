"""Calls without a key: by which names, through which proxies, and from which pages they may come."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from fastapi import Request
from serving import Caller, ndjson, problem, sqlite_url, vector

from visavis import InvalidOption, Recognizer
from visavis.config import Settings
from visavis.server.auth import Rate, RateLimiter
from visavis.server.origins import Callers

ADMIN = "a" * 24
Pairs: TypeAlias = list[tuple[str, str]]
PAGE = {"Origin": "https://evil.example"}
UNSAFE: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/galleries", {"json": {"name": "made"}}),
    ("POST", "/v1/galleries/team/enrol", {"json": {"subject": "ceo", "embeddings": [vector(1)]}}),
    ("POST", "/v1/galleries/team/enrol", {"data": {"subject": "ceo"}, "files": {"images": b"no image"}}),
    ("POST", "/v1/galleries/team/import", {"content": ndjson({"subject": "ceo", "embedding": vector(1)})}),
    ("POST", "/v1/detect", {"json": {"images": [{"base64": ""}]}}),
    ("POST", "/face-embedding/url", {"json": {"url": "https://example.com/a.jpg"}}),
    ("POST", "/face-embedding/img", {"json": {"img": "AAAA"}}),
    ("POST", "/face-embedding/array", {"json": {"array": [1, 2]}}),
    ("PATCH", "/v1/galleries/team", {"json": {"policy": {"margin": 0.1}}}),
    ("DELETE", "/v1/galleries/team", {}),
]
READS = ["/v1/galleries", "/v1/galleries/team/export", "/v1/galleries/team/subjects", "/v1/models", "/metrics"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "galleries.db")


@pytest.fixture
def server(recognizer: Recognizer, store: str) -> Iterator[Caller]:
    """A server of this machine, without keys, with a gallery."""
    with Caller(Settings(store=store), recognizer) as server:
        assert server.post("/v1/galleries", {"name": "team"}).status_code == 201
        yield server


def refused(answer: httpx.Response, words: str) -> None:
    told = problem(answer)
    assert (told["status"], told["code"]) == (403, "forbidden")
    assert words in told["detail"]
    assert not any(name.startswith("access-control") for name in answer.headers)


def names(server: Caller) -> list[str]:
    return [gallery["name"] for gallery in server.get("/v1/galleries").json()["galleries"]]


class TestPages:
    @pytest.mark.parametrize(
        "headers",
        [
            PAGE,
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": "http://localhost:3000"},  # another program's page on this machine
            {"Origin": "http://127.0.0.1"},
            {"Origin": "http://localhost.evil.example"},
            {"Origin": "http://localhost@evil.example"},
            {"Origin": "http://localhost, http://localhost"},
            {"Origin": "http://localhost/"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "something new"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},  # of https, seen from http
        ],
    )
    def test_pages_of_other_origins_change_nothing(self, server: Caller, headers: dict[str, str]) -> None:
        for method, path, sent in UNSAFE:
            refused(server.request(method, path, headers=headers, **sent), "page of another origin")
        assert names(server) == ["team"]
        assert server.get("/v1/galleries/team/subjects").json()["subjects"] == []

    @pytest.mark.parametrize(
        "headers",
        [
            {},  # no browser
            {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},  # the page /docs
            {"Origin": "HTTP://LOCALHOST"},
            {"Sec-Fetch-Site": "none"},
        ],
    )
    def test_our_own_pages_and_programs_do(self, server: Caller, headers: dict[str, str]) -> None:
        assert server.request("POST", "/v1/galleries", json={"name": "made"}, headers=headers).status_code == 201

    def test_one_good_header_does_not_excuse_a_bad_one(self, server: Caller) -> None:
        for pairs in (
            [("Origin", "http://localhost"), ("Origin", "https://evil.example")],
            [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
        ):
            refused(server.request("DELETE", "/v1/galleries/team", headers=pairs), "page of another origin")

    def test_origins_that_the_settings_allow(self, recognizer: Recognizer, store: str) -> None:
        page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        for name, cors in (("a", "https://app.example"), ("b", "*")):
            with Caller(Settings(cors=(cors,), store=store), recognizer) as server:
                answer = server.request("POST", "/v1/galleries", json={"name": name}, headers=page)
                assert answer.status_code == 201
        with Caller(Settings(cors=("https://app.example",), store=store), recognizer) as server:
            for headers in (PAGE, {"Origin": "null"}, [*page.items(), *PAGE.items()]):
                assert server.request("POST", "/v1/galleries", json={"name": "a"}, headers=headers).status_code == 403

    def test_a_key_is_not_ambient(self, recognizer: Recognizer, store: str) -> None:
        with Caller(Settings(keys=(("admin", ADMIN),), store=store), recognizer) as server:
            headers = {**PAGE, "Sec-Fetch-Site": "cross-site", "X-API-Key": ADMIN, "Host": "faces.example"}
            answer = server.request("POST", "/v1/galleries", json={"name": "a"}, headers=headers)
            assert answer.status_code == 201

    def test_the_old_function_answers_pages_from_anywhere(self, server: Caller) -> None:
        white = [[[255, 255, 255]] * 4] * 4
        for page in (PAGE, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}):
            answer = server.request("POST", "/", json={"truth": white, "check": white}, headers=page)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        refused_by_name = server.request("POST", "/", json={}, headers={**PAGE, "Host": "evil.example"})
        assert refused_by_name.status_code == 403


class TestNames:
    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "evil.example:8000", "localhost.evil.example", "localhost:80.evil.example", "localhost."),
            *("user@localhost", "localhost@evil.example", "localhost/evil.example", "localhost?", "localhost#", ""),
            *("localhost:", "localhost:0", "localhost:99999", "localhost:80:1", "localhost, evil.example"),
            *("localh\N{CYRILLIC SMALL LETTER O}st", "192.168.1.2", "0.0.0.0", "2130706433", "0x7f.1"),  # noqa: S104
            *("127.1", "127.0.0.1.nip.io", "[::2]", "::1", "[::1%lo]", "[::ffff:192.168.1.2]", "visavis"),
            *("host.docker.internal", ".localhost", "a..localhost"),
        ],
    )
    def test_names_that_a_stranger_may_have_given(self, server: Caller, host: str) -> None:
        headers = [(b"Host", host.encode())]
        for method, path, sent in [*UNSAFE, *(("GET", path, {}) for path in READS)]:
            refused(server.request(method, path, headers=headers, **sent), "VISAVIS_HOSTS")
        assert names(server) == ["team"]

    @pytest.mark.parametrize(
        "host",
        [
            *("localhost", "LocalHost:8000", "visavis.localhost:1", "127.0.0.1", "127.0.0.1:8000", "127.3.2.1:80"),
            *("[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]"),
        ],
    )
    def test_names_of_this_machine(self, server: Caller, host: str) -> None:
        for path in READS:
            assert server.get(path, {"Host": host}).status_code == 200
        page = {"Host": host, "Origin": f"http://{host}"}
        assert server.request("DELETE", "/v1/galleries/team", headers=page).status_code == 200

    def test_none_or_several(self, server: Caller) -> None:
        for hosts in ([], ["localhost", "localhost"], ["localhost", "evil.example"]):
            answer = asyncio.run(raw(server.app, "/v1/galleries", [(b"host", host.encode()) for host in hosts]))
            assert answer == 403, hosts

    def test_names_that_the_settings_add(self, recognizer: Recognizer) -> None:
        with Caller(Settings(hosts=("Faces.example", "192.168.1.2", "10.0.0.0/8")), recognizer) as server:
            for host in ("faces.example", "FACES.example:8443", "192.168.1.2", "10.1.2.3:80", "localhost"):
                assert server.get("/v1/galleries", {"Host": host}).status_code == 200, host
            for host in ("faces.example.evil", "a.faces.example", "192.168.1.3"):
                refused(server.get("/v1/galleries", {"Host": host}), "VISAVIS_HOSTS")

    def test_where_others_may_call_addresses_are_names_that_nobody_gives(self, recognizer: Recognizer) -> None:
        settings = Settings(host="0.0.0.0", auth="off")  # noqa: S104  # nobody listens
        with Caller(settings, recognizer) as server:
            for host in ("192.168.1.2:8000", "[2001:db8::1]", "0.0.0.0:8000", "localhost"):
                assert server.get("/v1/galleries", {"Host": host}).status_code == 200, host
            refused(server.get("/v1/galleries", {"Host": "faces.lan"}), "VISAVIS_HOSTS")
        with Caller(Settings(host="faces.lan", auth="off"), recognizer) as server:
            assert server.get("/v1/galleries", {"Host": "faces.lan"}).status_code == 200

    def test_what_tells_nothing_answers_to_every_name(self, server: Caller) -> None:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/"):
            assert server.get(path, {"Host": "10.0.0.7:8000", "X-Forwarded-For": "1.2.3.4"}).status_code == 200


async def raw(app: Any, path: str, headers: list[tuple[bytes, bytes]], **more: Any) -> int:  # noqa: ANN401  # of ASGI
    """Return the status of a call that no client would make."""
    status = 0

    async def send(message: Any) -> None:  # noqa: ANN401  # of ASGI
        nonlocal status
        status = message.get("status", status)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "root_path": ""}
    await app({"http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), **scope, **more}, receive, send)
    return status


FORWARDED = [
    *({"Forwarded": "for=1.2.3.4"}, {"X-Forwarded-For": "1.2.3.4"}, {"X-Forwarded-Proto": "https"}, {"Via": "1.1 a"}),
    *({"X-Forwarded-Host": "a.example"}, {"X-Real-IP": "1.2.3.4"}, {"CF-Connecting-IP": "1.2.3.4"}),
]


class TestProxies:
    @pytest.mark.parametrize("headers", FORWARDED)
    def test_what_comes_through_a_proxy_needs_a_key(self, server: Caller, headers: dict[str, str]) -> None:
        for method, path, sent in [*UNSAFE, *(("GET", path, {}) for path in READS)]:
            refused(server.request(method, path, headers=headers, **sent), "VISAVIS_TRUSTED_PROXIES")
        assert names(server) == ["team"]

    def test_so_does_what_nginx_sends_unless_told_to_say_more(self, server: Caller) -> None:
        host = [(b"host", b"127.0.0.1:8000"), (b"connection", b"close")]
        assert asyncio.run(raw(server.app, "/v1/galleries", host, http_version="1.0")) == 403

    def test_with_a_key_it_passes(self, recognizer: Recognizer) -> None:
        with Caller(Settings(keys=(("read", ADMIN),)), recognizer) as server:
            for headers in FORWARDED:
                assert server.get("/v1/galleries", {**headers, "X-API-Key": ADMIN}).status_code == 200
                assert server.get("/v1/galleries", headers).status_code == 401

    def test_a_trusted_proxy_needs_keys_unless_the_settings_say_otherwise(
        self, recognizer: Recognizer, store: str
    ) -> None:
        settings = Settings(trusted_proxies=("127.0.0.0/8",), hosts=("faces.example",), store=store)
        with Caller(settings, recognizer) as server:
            assert server.get("/v1/galleries", FORWARDED[0]).status_code == 401
            assert server.get("/v1/galleries").status_code == 401
        with Caller(replace(settings, auth="off"), recognizer) as server:
            for headers in FORWARDED:
                assert server.get("/v1/galleries", {**headers, "Host": "faces.example"}).status_code == 200
            page = {**FORWARDED[1], "Host": "faces.example", "Origin": "https://faces.example"}
            assert server.post("/v1/galleries", {"name": "a"}, page).status_code == 201
            refused(server.post("/v1/galleries", {"name": "b"}, {**page, **PAGE}), "page of another origin")
            refused(server.get("/v1/galleries", {**page, "Host": "evil.example"}), "VISAVIS_HOSTS")

    def test_others_are_not_trusted(self, recognizer: Recognizer) -> None:
        with Caller(Settings(trusted_proxies=("10.0.0.0/8",), auth="off"), recognizer) as server:
            refused(server.get("/v1/galleries", FORWARDED[1]), "VISAVIS_TRUSTED_PROXIES")

    def test_proxies_are_addresses(self) -> None:
        for wrong in ("proxy.example", "10.0.0.1/8", "nonsense!"):
            with pytest.raises(InvalidOption, match=wrong):
                Callers(Settings(trusted_proxies=(wrong,)))
        with pytest.raises(InvalidOption, match="a host"):
            Callers(Settings(hosts=("a host",)))


@pytest.mark.parametrize(
    ("peer", "forwarded", "whose"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("::ffff:127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),  # the first is the caller's own invention
        ("127.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9, 10.1.1.1,10.2.2.2"], "203.0.113.9"),
        ("127.0.0.1", ["1.1.1.1, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
        ("127.0.0.1", ["10.3.3.3, 10.1.1.1"], "10.3.3.3"),  # all are ours
        ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["1.1.1.1, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["1.1.1.1, unknown, 10.1.1.1"], "10.1.1.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", [",,,"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9" + ", 10.1.1.1" * 16], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9" + ", 10.1.1.1" * 3000], "10.1.1.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # no proxy of ours
        ("nobody", ["203.0.113.9"], "nobody"),
    ],
)
def test_whose_call_it_is(peer: str, forwarded: list[str], whose: str) -> None:
    callers = Callers(Settings(trusted_proxies=("127.0.0.1", "10.0.0.0/8")))
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded] + [(b"forwarded", b"for=9.9.9.9")]
    request = Request({"type": "http", "headers": headers, "client": (peer, 1) if peer != "nobody" else None})
    assert callers.address_of(request) == whose


def test_clients_behind_a_proxy_are_counted_apart(recognizer: Recognizer) -> None:
    with Caller(Settings(trusted_proxies=("127.0.0.1",), rate="1/hour"), recognizer) as server:
        server.app.state.rate = RateLimiter(Rate(2, 3600), clock=lambda: 0.0)

        def call(forwarded: str) -> int:
            return server.get("/v1/galleries", {"X-Forwarded-For": forwarded}).status_code

        # What the caller itself puts before makes it nobody else.
        assert [call(f"1.1.1.{number}, 203.0.113.9") for number in range(3)] == [401, 401, 429]
        assert call("203.0.113.10") == 401


class TestContentTypes:
    def test_json_and_lines_say_what_they_are(self, server: Caller) -> None:
        for path, body in (
            ("/v1/galleries", b'{"name": "made"}'),
            ("/v1/galleries/team/enrol", b'{"subject": "ceo", "embeddings": [[1]]}'),
            ("/v1/galleries/team/import", ndjson({"subject": "ceo", "embedding": vector(1)})),
            ("/v1/detect", b'{"images": [{"base64": ""}]}'),
        ):
            for headers in ({}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": ";"}):
                answer = server.request("POST", path, content=body, headers=headers)
                assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type"), (path, headers)
        assert names(server) == ["team"]

    def test_the_old_services_ask_for_none(self, server: Caller) -> None:
        answer = server.request("POST", "/", content=b'{"truth": [[[1, 2, 3]]], "check": [[[1, 2, 3]]]}')
        assert answer.status_code == 200
        answer = server.request("POST", "/face-embedding/array", content=b'{"array": [1]}')
        assert problem(answer)["code"] != "unsupported_media_type"


def test_every_answer_may_be_framed_by_nobody(server: Caller) -> None:
    for path in ("/", "/docs", "/docs.js", "/docs.css", "/v1/galleries", "/nowhere", "/healthz"):
        headers = server.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")
