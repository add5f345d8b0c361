"""Work of calls: bounded, charged, shared among callers, and stopped where nobody waits."""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from serving import (
    PATIENCE_S,
    Caller,
    Listening,
    RawAnswer,
    SlowRecognizer,
    eventually,
    from_ndjson,
    in_base64,
    listening,
    ndjson,
    problem,
    sqlite_url,
)

from visavis import Recognizer
from visavis.config import Settings
from visavis.models.dlib import detector
from visavis.server.auth import CALLER
from visavis.server.pool import WorkerPool
from visavis.server.problems import Problem

JSON = {"Content-Type": "application/json"}
ONE_IMAGE = json.dumps({"images": [{"base64": ""}]}).encode()


def encoded(size: tuple[int, int], form: str = "PNG") -> str:
    buffer = io.BytesIO()
    PIL.Image.new("L", size).save(buffer, form)
    return in_base64(buffer.getvalue())


def images(*sizes: tuple[int, int], **options: object) -> dict[str, object]:
    return {"images": [{"base64": encoded(size)} for size in sizes], **options}


@pytest.fixture
def store(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "galleries.db")


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the pixels of each canvas that is painted from now on."""
    seen: list[int] = []
    paint = detector.paint  # type: ignore[attr-defined]  # where it is called from

    def counted(canvas: Any, *arguments: Any) -> Any:  # noqa: ANN401  # as it is
        seen.append(canvas.size_wh[0] * canvas.size_wh[1])
        return paint(canvas, *arguments)

    monkeypatch.setattr(detector, "paint", counted)
    return seen


class TestBudget:
    """Images of 200 x 200 pixels are searched at 0.64 megapixels, the smallest face being 16 pixels.

    Where no face is found, three more turns of a smaller image are looked at, for 0.48 megapixels.
    """

    @pytest.fixture
    def server(self, recognizer: Recognizer, store: str) -> Iterator[Caller]:
        with Caller(Settings(max_searched_pixels=2_600_000, store=store), recognizer) as server:
            yield server

    @pytest.mark.parametrize("path", ["/v1/detect", "/v1/embed"])
    def test_images_beyond_it_have_an_error_and_smaller_ones_still_pass(self, server: Caller, path: str) -> None:
        answer = server.post(path, images(*[(200, 200)] * 3, (60, 60), min_face=20))
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [each.get("error", {}).get("code") for each in results] == [None, None, "too_much_work", None]
        error = results[2]["error"]
        assert (error["status"], error["field"]) == (422, "images.2")
        assert "search 3 megapixels" in error["detail"]
        assert "send fewer images, smaller ones, or a larger min_face" in error["detail"]

    def test_each_call_has_its_own(self, server: Caller) -> None:
        for _ in range(3):
            (result,) = server.post("/v1/detect", images((200, 200), min_face=20)).json()["results"]
            assert result == {"faces": [], "searched_from_px": 20}

    def test_an_image_alone_is_searched_as_finely_as_a_call_may_be(self, server: Caller) -> None:
        (result,) = server.post("/v1/detect", images((320, 320), min_face=20)).json()["results"]
        assert result == {"faces": [], "searched_from_px": 31.8}

    def test_where_all_must_pass_it_is_the_answer(self, server: Caller, astronaut_pixels: NDArray[np.uint8]) -> None:
        buffer = io.BytesIO()
        PIL.Image.fromarray(astronaut_pixels[::-1, ::-1]).save(buffer, "PNG")  # which is looked at four times
        members = {"a": {"base64": in_base64(buffer.getvalue())}, "b": {"base64": encoded((320, 320))}, "min_face": 20}
        told = problem(server.post("/v1/verify", members))
        assert (told["status"], told["code"], told["field"]) == (422, "too_much_work", "b")

    def test_an_import_has_it_for_each_batch(self, server: Caller) -> None:
        server.post("/v1/galleries", {"name": "batches"})
        lines = [{"subject": f"s{number}", "image": {"base64": encoded((100, 100))}} for number in range(40)]
        headers = {"Content-Type": "application/x-ndjson"}
        answer = server.request("POST", "/v1/galleries/batches/import", content=ndjson(*lines), headers=headers)
        codes = [each["error"]["code"] for each in from_ndjson(answer.content)[:-1]]
        some, others = ["no_face"] * 4, ["too_much_work"] * 12
        assert codes == [*some, *others, *some, *others, *some, *others[:4]]

    @pytest.mark.thorough
    def test_strips_cost_no_more_than_photos(self, recognizer: Recognizer, canvases: list[int]) -> None:
        strip = {"base64": encoded((32, 64_031), "GIF")}
        with Caller(Settings(), recognizer) as server:
            results = server.post("/v1/detect", {"images": [strip] * 16}).json()["results"]
        codes = [each.get("error", {}).get("code") for each in results]
        assert codes == [None] * 14 + ["too_much_work"] * 2
        assert sum(canvases) < 5 * Settings().max_searched_pixels

    @pytest.mark.thorough
    def test_as_many_large_photos_as_a_call_may_have_pass(self, recognizer: Recognizer, canvases: list[int]) -> None:
        buffer = io.BytesIO()
        PIL.Image.new("L", (8660, 5773)).save(buffer, "JPEG")
        photo = {"base64": in_base64(buffer.getvalue())}
        with Caller(Settings(), recognizer) as server:
            results = server.post("/v1/detect", {"images": [photo] * 16}).json()["results"]
        assert [each["faces"] for each in results] == [[]] * 16
        assert sum(canvases) < 2 * 5 * 16 * 1_600_000


class TestRate:
    def test_what_was_searched_is_owed(self, recognizer: Recognizer) -> None:
        with Caller(Settings(search_rate="1/hour"), recognizer) as server:
            assert server.post("/v1/detect", images((200, 200), (200, 200), min_face=20)).status_code == 200
            refused = server.post("/v1/detect", images((20, 20)))
            told = problem(refused)
            assert (told["status"], told["code"]) == (429, "rate_limited")
            assert 4300 < int(refused.headers["Retry-After"]) <= 4600
            assert server.get("/healthz").status_code == 200

    def test_many_small_calls_are_not(self, recognizer: Recognizer, store: str) -> None:
        with Caller(Settings(search_rate="1/hour", store=store), recognizer) as server:
            assert {server.get("/v1/galleries").status_code for _ in range(50)} == {200}

    def test_an_import_ends_when_too_much_is_owed(self, recognizer: Recognizer, store: str) -> None:
        with Caller(Settings(search_rate="1/hour", store=store), recognizer) as server:
            server.post("/v1/galleries", {"name": "owing"})
            lines = [{"subject": "s", "image": {"base64": encoded((100, 100))}}] * 40
            headers = {"Content-Type": "application/x-ndjson"}
            answer = server.request("POST", "/v1/galleries/owing/import", content=ndjson(*lines), headers=headers)
            *told, last = from_ndjson(answer.content)
            assert len(told) == 16
            assert (last["done"], last["error"]["code"]) == (False, "rate_limited")


COSTLY = [
    ("/v1/detect", "application/json", images((1500, 1500), (300, 300), min_face=80)),
    ("/v1/detect", "application/json", images(*[(100, 100)] * 16)),
    ("/v1/galleries/team/identify", "application/json", images(*[(100, 100)] * 16)),
    (
        "/v1/galleries/team/import",
        "application/x-ndjson",
        *[{"subject": "s", "image": {"base64": encoded((100, 100))}}] * 16,
    ),
]


class TestNobodyWaits:
    @pytest.fixture
    def server(self, recognizer: Recognizer, store: str) -> Iterator[Listening]:
        with listening(Settings(port=0, workers=1, store=store), recognizer) as server:
            yield server

    @pytest.fixture
    def let(self, canvases: list[int], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
        """Give what lets the second canvas, and those after it, be painted."""
        let, paint = threading.Event(), detector.paint  # type: ignore[attr-defined]  # likewise

        def patient(*arguments: Any) -> Any:  # noqa: ANN401  # as it is
            if canvases:
                assert let.wait(PATIENCE_S)
            return paint(*arguments)

        monkeypatch.setattr(detector, "paint", patient)
        return let

    @pytest.mark.parametrize("call", COSTLY)
    def test_work_ends_with_its_client(
        self, server: Listening, canvases: list[int], let: threading.Event, call: tuple[Any, ...]
    ) -> None:
        path, kind, *lines = call
        server.call("POST", "/v1/galleries", b'{"name": "team"}', JSON)
        data = ndjson(*lines).decode()
        head = f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: {kind}\nContent-Length: {len(data)}\n\n"
        connection = server.connect(head + data)
        eventually(lambda: len(canvases) == 1)
        connection.close()
        ended = f'requests_total{{method="POST",route="{path.replace("team", "{gallery}")}"'.encode()
        eventually(lambda: ended in server.call("GET", "/metrics").body)
        let.set()
        eventually(lambda: server.app.state.pool.busy == 0)
        assert len(canvases) <= 2


class TestLanes:
    @pytest.fixture
    def slow(self) -> SlowRecognizer:
        return SlowRecognizer()

    @pytest.fixture
    def server(self, slow: SlowRecognizer, store: str) -> Iterator[Listening]:
        with listening(Settings(port=0, workers=2, queue=16, store=store), slow.as_recognizer()) as server:
            try:
                yield server
            finally:
                slow.let.set()

    def test_cheap_calls_pass_while_all_workers_are_busy(self, server: Listening, slow: SlowRecognizer) -> None:
        server.call("POST", "/v1/galleries", b'{"name": "team"}', JSON)
        person = {"subject": "ada", "embeddings": [[1.0] * 128]}
        assert server.call("POST", "/v1/galleries/team/enrol", json.dumps(person).encode(), JSON).status == 201
        answers: list[RawAnswer] = []
        costly = [
            threading.Thread(target=lambda: answers.append(server.call("POST", "/v1/detect", ONE_IMAGE, JSON)))
            for _ in range(20)
        ]
        for each in costly:
            each.start()
        pool = server.app.state.pool
        eventually(lambda: (pool.busy, pool.waiting, len(answers)) == (2, 16, 2))
        assert {(answer.status, answer.json()["code"]) for answer in answers} == {(503, "overloaded")}
        team = "/v1/galleries/team"
        quick = [
            *(
                ("GET", path)
                for path in ("/healthz", "/v1/galleries", team, f"{team}/subjects", f"{team}/subjects/ada")
            ),
            *(("GET", path) for path in (f"{team}/log", "/v1/log", f"{team}/subjects/ada/export")),
            *(("DELETE", path) for path in (f"{team}/subjects/ada", team)),
        ]
        assert [server.call(*call).status for call in quick] == [200] * len(quick)
        assert (pool.busy, pool.waiting) == (2, 16)
        slow.let.set()
        for each in costly:
            each.join(PATIENCE_S)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def begin(pool: WorkerPool, caller: str, function: Callable[[], object]) -> "asyncio.Future[object]":
    CALLER.set(caller)
    task = asyncio.ensure_future(pool.run(function))
    await asyncio.sleep(0)
    return task


class TestPool:
    def test_a_caller_with_many_calls_does_not_keep_out_another(self) -> None:
        async def test() -> None:
            pool, let, done = WorkerPool(1, 3), threading.Event(), []
            many = [await begin(pool, "many", lambda: let.wait(PATIENCE_S))]
            many += [await begin(pool, "many", lambda: done.append("many")) for _ in range(3)]
            with pytest.raises(Problem, match="the queue is full"):
                await (await begin(pool, "many", lambda: done.append("too many")))
            one = [await begin(pool, "one", lambda: done.append("one")) for _ in range(2)]
            let.set()
            await asyncio.gather(*many, *one)
            assert sorted(done) == ["many"] * 3 + ["one"] * 2
            pool.close()

        run(test)

    def test_the_next_is_of_who_has_the_fewest_running(self) -> None:
        async def test() -> None:
            pool, first, second, done = WorkerPool(2, 9), threading.Event(), threading.Event(), []
            many = [await begin(pool, "many", lambda: first.wait(PATIENCE_S))]
            many += [await begin(pool, "many", lambda: second.wait(PATIENCE_S))]
            many += [await begin(pool, "many", lambda: done.append("many")) for _ in range(3)]
            one = [await begin(pool, "one", lambda: done.append("one"))]
            first.set()
            await asyncio.gather(*many[2:], *one)
            assert done == ["one", "many", "many", "many"]
            second.set()
            await asyncio.gather(*many)
            pool.close()

        run(test)

    def test_all_callers_together_have_a_bound(self) -> None:
        async def test() -> None:
            pool, let = WorkerPool(1, 1), threading.Event()
            held = [await begin(pool, caller, lambda: let.wait(PATIENCE_S)) for caller in "abcd"]
            with pytest.raises(Problem, match="the queue is full"):
                await (await begin(pool, "e", lambda: None))
            let.set()
            await asyncio.gather(*held)
            pool.close()

        run(test)

    def test_when_to_come_back_is_told_from_what_runs_and_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test() -> None:
            now = [100.0]
            monkeypatch.setattr("visavis.server.pool.time.monotonic", lambda: now[0])
            pool, let = WorkerPool(2, 6), threading.Event()
            held = [await begin(pool, "a", lambda: let.wait(PATIENCE_S)) for _ in range(8)]
            seconds = []
            for passed in (0, 10, 1000):
                now[0] += passed
                with pytest.raises(Problem) as refused:
                    await (await begin(pool, "a", lambda: None))
                seconds.append(int(refused.value.headers["Retry-After"]))
            assert seconds == [1, 40, 600]  # eight calls of ten seconds for two workers; and no client waits for ever
            let.set()
            await asyncio.gather(*held)
            pool.close()

        run(test)

    def test_a_result_comes_with_the_context_of_its_caller(self) -> None:
        async def test() -> None:
            pool = WorkerPool(1, 0)
            assert await (await begin(pool, "somebody", CALLER.get)) == "somebody"
            pool.close()

        run(test)
