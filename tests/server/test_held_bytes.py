"""What requests hold in memory: bodies and fetched bytes in one account, and of what waits no more than it says."""

import asyncio
import gc
import json
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Caller, problem

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import FetchFailed, InputError
from visavis.fetch import FetchPolicy
from visavis.server import pool, reading
from visavis.server.listening import Account, BodyLimits
from visavis.server.problems import Problem
from visavis.server.reading import Body, Image
from visavis.server.requests import ImagesRequest


def peak_of(function: Callable[[], object]) -> tuple[int, int, object]:
    """Return the bytes that are held at most, and afterwards with the result; and that."""
    tracemalloc.start()
    try:
        result = function()
        held, peak = tracemalloc.get_traced_memory()
        return peak, held, result
    finally:
        tracemalloc.stop()


def _read(value: str) -> Callable[[], ImagesRequest]:
    return lambda: ImagesRequest.read(Body("application/json", value.encode()), 16)


@pytest.mark.thorough
def test_an_array_that_waits_is_no_larger_than_its_text() -> None:
    rows = json.dumps([[[1, 2, 255]] * 500] * 400, separators=(",", ":"))
    text = f'{{"images":[{{"array":{rows}}},{{"url":"http://example.com/slow.jpg"}}]}}'
    _, held, wanted = peak_of(_read(text))
    assert held < len(text)
    assert isinstance(wanted, ImagesRequest)
    np.testing.assert_array_equal(wanted.images[0].load(), np.tile(np.array([1, 2, 255], np.uint8), (400, 500, 1)))


@pytest.mark.parametrize("piece", ["AA ", "AAAA", "AAA\U0001f600"])
def test_base64_that_waits_is_no_larger_than_its_text(piece: str) -> None:
    text = json.dumps({"images": [{"base64": 500_000 * piece}]}, ensure_ascii=False)
    size = len(text.encode())
    peak, held, wanted = peak_of(_read(text))
    assert held < 1.2 * size
    assert peak < 9 * size  # four bytes for each character, where one is beyond the plane of all others
    assert isinstance(wanted, ImagesRequest)
    if piece.isascii():
        assert wanted.images[0].load() == bytes(3 * 500_000 * len(piece.strip()) // 4)
    else:
        with pytest.raises(InputError, match="this is not base64"):
            wanted.images[0].load()


@pytest.mark.parametrize(
    ("text", "data"),
    [("YQ==", b"a"), ("YR==", b"a"), ("Y Q\n==", b"a"), ("+/+/", b"\xfb\xff\xbf"), ("", b"")]
    + [(wrong, None) for wrong in ("YQ", "YQ=", "_-__", "YQ-_", "Y===", "\u00e9AAA", "YQ==YQ==")],
)
def test_what_is_base64(text: str, data: bytes | None) -> None:
    """The quick decoder knows another alphabet too, and does without padding: neither is taken."""
    image = ImagesRequest.read(Body("application/json", json.dumps({"images": [{"base64": text}]}).encode()), 16).images
    if data is None:
        with pytest.raises(InputError, match="this is not base64"):
            image[0].load()
    else:
        assert image[0].load() == data


def test_members_that_nobody_knows_are_few(server: Caller) -> None:
    body = "{" + ",".join(f'"{number}":1' for number in range(100_000)) + "}"
    peak, _, answer = peak_of(lambda: server.request("POST", "/v1/detect", content=body.encode()))
    assert isinstance(answer, httpx.Response)
    assert problem(answer)["code"] == "body_too_large"
    assert peak < 12 * len(body)


def test_a_form_leaves_nothing_behind() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    body = Body("multipart/form-data; boundary=b", head + bytes(1_000_000) + b"\r\n--b--\r\n")
    gc.collect()
    gc.disable()
    try:
        _, held, _ = peak_of(lambda: [len(ImagesRequest.read(body, 16).images) for _ in range(4)])
    finally:
        gc.enable()
    assert held < 500_000


def test_an_empty_file_of_a_form_is_no_path(server: Caller) -> None:
    answer = server.request("POST", "/v1/detect", files=[("images", ("a", b""))])
    assert [each["error"]["code"] for each in answer.json()["results"]] == ["unsupported_format"]


def test_an_account_gives_back_what_was_taken() -> None:
    account = Account(100)
    with account.share() as take:
        take(60)
        with account.share(30) as other:
            other(30)
            with pytest.raises(FetchFailed):
                other(1)
            with pytest.raises(Problem, match="too many large requests"):
                take(20)
            assert account.held == 90
        assert account.held == 60
        with pytest.raises(FetchFailed):  # who still fetches for a request that is over
            other(1)
    assert account.held == 0


def test_an_account_counts_in_many_threads() -> None:
    account = Account(10**9)
    with account.share() as take, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: [take(1) for _ in range(5000)], range(8)))
        assert account.held == 40_000
    assert account.held == 0


class Web:
    """Stands in for the web: each URL is as many bytes as its path says; and counts those that are being fetched."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.held: list[int] = []
        self.account: Account | None = None
        self._lock = threading.Lock()
        self._pause = threading.Event()

    def fetch(self, url: str, _policy: FetchPolicy, take: Callable[[int], None]) -> bytes:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self._pause.wait(0.01)
            size = int(url.rpartition("/")[2])
            take(size)
            assert self.account is not None
            self.held.append(self.account.held)
            return bytes(size)
        finally:
            with self._lock:
                self.now -= 1


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    web = Web()
    monkeypatch.setattr(reading, "fetch", web.fetch)
    return web


@pytest.fixture
def server(recognizer: Recognizer, web: Web) -> Iterator[Caller]:
    settings = Settings(max_bytes=1000, max_body_bytes=10_000, fetch_allow=("127.0.0.1",))
    with Caller(settings, recognizer) as server:
        web.account = server.app.state.account
        yield server
        assert web.account is not None
        assert web.account.held == 0


def _urls(*sizes: int) -> dict[str, object]:
    return {"images": [{"url": f"http://127.0.0.1/{size}"} for size in sizes]}


def test_a_request_fetches_a_few_urls_at_a_time(server: Caller, web: Web) -> None:
    answer = server.post("/v1/detect", _urls(*range(1, 17)))
    assert [each["error"]["code"] for each in answer.json()["results"]] == 16 * ["unsupported_format"]
    assert 1 < web.most <= 4
    assert max(web.held) >= sum(range(1, 17))  # with the body


def test_what_the_urls_of_a_request_bring_is_limited(server: Caller, web: Web) -> None:
    answer = server.post("/v1/detect", _urls(*[900] * 6))
    codes = [each["error"]["code"] for each in answer.json()["results"]]
    assert sorted(codes) == 2 * ["fetch_failed"] + 4 * ["unsupported_format"]
    assert max(web.held) < 4000 + 1000


def test_fetched_bytes_that_find_no_room_are_a_503(server: Caller, web: Web) -> None:
    assert web.account is not None
    with web.account.share() as take:
        take(16 * 10_000 - 1000)
        answer = server.post("/v1/detect", _urls(400, 400, 400))
        assert (answer.status_code, problem(answer)["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_body_is_dropped_when_it_is_read(server: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[weakref.ref[Body]] = []
    seen: list[Body | None] = []

    class Watched(Body):
        def __init__(self, *parts: Any) -> None:  # noqa: ANN401  # of a body
            super().__init__(*parts)
            bodies.append(weakref.ref(self))

    monkeypatch.setattr(pool, "Body", Watched)
    monkeypatch.setattr(Image, "fetch", lambda *_: seen.append(bodies[0]()))
    server.post("/v1/detect", _urls(1))
    assert seen == [None]


def test_bodies_and_what_is_fetched_are_in_one_account() -> None:
    account = Account(100)

    async def app(_scope: object, receive: Callable[[], object], _send: object) -> None:
        with pytest.raises(Problem, match="too many large requests"):
            await receive()  # type: ignore[misc]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": bytes(60), "more_body": False}

    limits = BodyLimits(app, account, 1000, 5)
    with account.share() as take:
        take(50)
        asyncio.run(limits({"type": "http", "headers": []}, receive, app))  # type: ignore[arg-type]
    assert account.held == 0
