"""Import and export: lines without end, in bounded memory, with clients that are slow, wrong, interactive or gone."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
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
    read_all,
    sqlite_url,
    vector,
)

from visavis import FetchFailed, Recognizer, errors
from visavis.config import Settings
from visavis.fetch import FetchPolicy
from visavis.server.limits import Memory
from visavis.service import audit

NDJSON = {"Content-Type": "application/x-ndjson"}
HEAD = """\
POST /v1/galleries/{name}/import HTTP/1.1
Host: a
Content-Type: application/x-ndjson
Transfer-Encoding: chunked

"""
ONE_IMAGE = json.dumps({"images": [{"base64": ""}]}).encode()
_numbers = itertools.count(1)


def line(seed: int, **more: object) -> dict[str, Any]:
    return {"subject": f"s{seed}", "embedding": vector(seed), **more}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    with Caller(Settings(store=store, max_body_bytes=3_000_000), recognizer) as caller:
        yield caller


@pytest.fixture
def gallery(server: Caller) -> str:
    name = f"gallery-{next(_numbers)}"
    assert server.post("/v1/galleries", {"name": name}).status_code == 201
    return f"/v1/galleries/{name}"


def send(server: Caller, gallery: str, body: object, query: str = "") -> list[dict[str, Any]]:
    answer = server.request("POST", f"{gallery}/import{query}", content=body, headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return from_ndjson(answer.content)


def counts(last: dict[str, Any]) -> tuple[bool, int, int, int]:
    return last["done"], last["enrolled"], last["repeated"], last["failed"]


class TestImport:
    def test_nothing(self, server: Caller, gallery: str) -> None:
        for body in (b"", b"\n\n \r\n"):
            assert send(server, gallery, body) == [{"done": True, "enrolled": 0, "repeated": 0, "failed": 0}]

    def test_an_export_is_imported(self, server: Caller, gallery: str) -> None:
        details = {
            "name": "Ada",
            "metadata": {"a": [1, None]},
            "consent": "yes",
            "expires_at": "2090-01-01T00:00:00Z",
            "source": "a",
            "quality": {"face_px": 90.0, "sharpness": 0.5, "score": 1.0},
        }
        told = send(server, gallery, ndjson(*[line(seed, **details) for seed in range(3)]))
        assert [one["line"] for one in told[:-1]] == [1, 2, 3]
        assert told[0]["subject"]["name"] == "Ada"
        assert set(told[0]) == {"line", "subject", "sample", "repeated", "face", "conflict"}
        export = server.get(f"{gallery}/export")
        assert export.headers["content-disposition"] == f'attachment; filename="{gallery.rpartition("/")[2]}.ndjson"'
        other = f"{gallery}-other"
        server.post("/v1/galleries", {"name": other.rpartition("/")[2]})
        told = send(server, other, export.content)
        assert counts(told[-1]) == (True, 3, 0, 0)
        assert [one["line"] for one in told[:-1]] == [2, 3, 4]
        again = from_ndjson(server.get(f"{other}/export").content)
        told_apart = {"gallery", "exported_at", "created_at"}
        assert [{key: one[key] for key in one.keys() - told_apart} for one in again] == [
            {key: one[key] for key in one.keys() - told_apart} for one in from_ndjson(export.content)
        ]

    def test_images_in_every_form(
        self, server: Caller, gallery: str, astronaut: Path, hopper: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fetch(url: str, _policy: FetchPolicy) -> bytes:
            if "hopper" in url:
                return hopper.read_bytes()
            raise FetchFailed("unreachable")

        monkeypatch.setattr("visavis.server.runner.fetch", fetch)
        told = send(
            server,
            gallery,
            ndjson(
                {"subject": "eileen", "image": {"base64": in_base64(astronaut.read_bytes())}, "name": "E"},
                {"subject": "grace", "image": {"url": "https://example.com/hopper.jpg"}},
                {"subject": "lost", "image": {"url": "https://example.com/nothing.jpg"}},
                {"subject": "grey", "image": {"array": [[128] * 80] * 80}},
                {"subject": "ada", "embedding": vector(1)},
                {"subject": "x", "image": {"base64": "$"}},
                {"subject": "x", "image": {"file": "/etc/passwd"}},
                {"subject": "x", "image": {}},
                {"subject": "x", "image": "text"},
                {"subject": "x", "image": {"base64": ""}, "embedding": vector(2)},
                {"subject": "x", "image": {"base64": ""}, "colour": "red"},
            ),
        )
        codes = [one["error"]["code"] if "error" in one else one["subject"]["id"] for one in told[:-1]]
        assert codes == [
            *("eileen", "grace", "fetch_failed", "no_face", "ada", "invalid_image"),
            *("invalid_request", "invalid_request", "invalid_request", "invalid_option", "invalid_option"),
        ]
        assert told[0]["face"]["quality"]["face_px"] > 50
        assert told[6]["error"]["field"] == "image.file"
        assert counts(told[-1]) == (True, 3, 0, 8)

    def test_more_images_than_are_looked_at_together(self, server: Caller, gallery: str) -> None:
        grey = {"image": {"array": [[128] * 80] * 80}}
        told = send(server, gallery, ndjson(*[grey] * 20, line(1), *[grey] * 20))
        assert [one["line"] for one in told[:-1]] == list(range(1, 42))
        assert counts(told[-1]) == (True, 1, 0, 40)

    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (b"nonsense\n", "invalid_request"),
            (b"\xff\xfe\n", "invalid_request"),
            (b'{"subject": "a", "embedding": [NaN]}\n', "invalid_request"),
            (b'{"subject": "a", "embedding": [Infinity]}\n', "invalid_request"),
            (b'{"subject": "\\ud800", "embedding": [1]}\n', "invalid_request"),
            (b'{"subject": "a", "subject": \n', "invalid_request"),
            (b"[" * 100_000 + b"\n", "invalid_request"),
            (b'{"a":' * 100_000 + b"\n", "invalid_request"),
            (b"[" * 1_600_000 + b"\n", "body_too_large"),
            (b"[]\n", "invalid_option"),
            (b'"text"\n', "invalid_option"),
            (b"1\n", "invalid_option"),
            (b"null\n", "invalid_option"),
            (b"{}\n", "invalid_option"),
            (ndjson({"subject": 1, "embedding": [1.0]}), "invalid_option"),
            (ndjson({"subject": "a/b", "embedding": vector(1)}), "invalid_option"),
            (ndjson({"subject": "a", "embedding": "x"}), "invalid_option"),
            (ndjson({"subject": "a", "embedding": [1.0]}), "invalid_embedding"),
            (ndjson({"subject": "a", "embedding": [[1.0]] * 128}), "invalid_embedding"),
            (ndjson({"subject": "a", "embedding": [1e400] * 128}).replace(b"Infinity", b"1e400"), "invalid_embedding"),
            (ndjson({"subject": "a", "embedding": ["1"] * 128}), "invalid_embedding"),
            (ndjson(line(9, name=5)), "invalid_option"),
            (ndjson(line(9, name="\0")), "invalid_option"),
            (ndjson(line(9, metadata=[])), "invalid_option"),
            (ndjson(line(9, expires_at="soon")), "invalid_option"),
            (ndjson(line(9, quality={})), "invalid_option"),
            (ndjson(line(9, picture="$")), "invalid_option"),
            (ndjson(line(9, key="")), "invalid_option"),
            (ndjson(line(9, nonsense=1)), "invalid_option"),
        ],
    )
    def test_a_broken_line_stops_no_other(self, server: Caller, gallery: str, bad: bytes, code: str) -> None:
        told = send(server, gallery, ndjson(line(1)) + bad + ndjson(line(2)))
        assert [one["line"] for one in told[:-1]] == [1, 2, 3]
        assert told[1]["error"]["code"] == code
        assert "0.12" not in told[1]["error"]["detail"]
        assert counts(told[-1]) == (True, 2, 0, 1)

    def test_a_line_that_is_too_long_ends_it(self, server: Caller, gallery: str) -> None:
        body = ndjson(line(1)) + b"x" * 3_000_001 + b"\n" + ndjson(line(2))

        async def pieces() -> Any:  # noqa: ANN401  # so that no length is announced
            yield body

        for sent in (pieces(), body):
            told = send(server, gallery, sent, "?allow_conflict=true")
            assert (len(told), told[0]["line"]) == (2, 1)
            assert told[-1]["error"]["code"] == "body_too_large"
            assert counts(told[-1])[0] is False
            assert "line 2 is too long" in told[-1]["error"]["detail"]

    def test_keys_make_it_repeatable(self, server: Caller, gallery: str) -> None:
        body = ndjson(*[line(seed, key=f"k{seed}") for seed in range(3)])
        assert counts(send(server, gallery, body)[-1]) == (True, 3, 0, 0)
        assert counts(send(server, gallery, body + ndjson(line(4)))[-1]) == (True, 1, 3, 0)
        assert server.get(gallery).json()["samples"] == 4

    def test_options(self, server: Caller, gallery: str) -> None:
        twins = ndjson({"subject": "a", "embedding": vector(1)}, {"subject": "b", "embedding": vector(1)})
        told = send(server, gallery, twins)
        assert (told[1]["error"]["code"], counts(told[-1])) == ("conflict", (True, 1, 0, 1))
        assert counts(send(server, gallery, twins, "?allow_conflict=true&faces=largest&min_face=0.2")[-1])[0]
        for query, field in (
            ("allow_conflict=maybe", "allow_conflict"),
            ("faces=all", "faces"),
            ("min_face=5", "min_face"),
            ("min_face=nan", "min_face"),
            ("x=1", "x"),
            ("faces=only&faces=only", "faces"),
        ):
            answer = server.request("POST", f"{gallery}/import?{query}", content=twins, headers=NDJSON)
            assert (answer.status_code, problem(answer)["field"]) == (422, field)

    def test_a_header_of_something_else_ends_it(self, server: Caller, gallery: str) -> None:
        space = {"id": "another-space", "dimension": 128, "metric": "euclidean"}
        for header, code in (
            ({"visavis_export": 1, "space": space}, "space_mismatch"),
            ({"visavis_export": 2, "space": space}, "invalid_option"),
            ({"visavis_export": 1}, "invalid_option"),
        ):
            told = send(server, gallery, ndjson(line(1), header, line(2)), "?allow_conflict=true")
            assert (len(told), told[-1]["error"]["code"], counts(told[-1])[0]) == (2, code, False)
            assert told[-1]["error"]["detail"].startswith("line 2: ")

    def test_subjects_without_samples_are_passed_over(self, server: Caller, gallery: str) -> None:
        told = send(server, gallery, ndjson({"subject": "empty", "embedding": None}, line(1)))
        assert [one.get("line") for one in told] == [2, None]

    def test_what_is_wrong_from_the_start_is_a_problem(self, server: Caller, gallery: str) -> None:
        answer = server.request("POST", "/v1/galleries/none/import", content=b"", headers=NDJSON)
        assert (answer.status_code, problem(answer)["code"]) == (404, "gallery_not_found")
        answer = server.request("POST", f"{gallery}/import", content=b"", headers={"Content-Type": "text/csv"})
        assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")

    def test_a_gallery_that_is_forgotten_meanwhile(self, server: Caller, gallery: str) -> None:
        async def pieces() -> Any:  # noqa: ANN401  # an asynchronous generator
            yield ndjson(line(1))
            await asyncio_sleep()
            server.app.state.galleries.forget(gallery.rpartition("/")[2])
            yield ndjson(line(2))

        told = send(server, gallery, pieces())
        assert (told[0]["line"], told[-1]["error"]["code"]) == (1, "gallery_not_found")

    def test_metrics(self, recognizer: Recognizer, tmp_path: Path) -> None:
        with Caller(Settings(store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
            server.post("/v1/galleries", {"name": "team"})
            send(server, "/v1/galleries/team", ndjson(line(1), {"image": {"array": [[1] * 80] * 80}}, line(2)))
            text = server.get("/metrics").text
        assert "visavis_enrolled_samples_total 2.0" in text
        assert 'visavis_images_total{route="/v1/galleries/{gallery}/import"} 1.0' in text


async def asyncio_sleep() -> None:
    """Let the server take what it has."""
    import asyncio  # noqa: PLC0415  # nothing else here needs it

    await asyncio.sleep(0.5)


class Importing(AbstractContextManager["Importing"]):
    """A connection on which lines are sent, and results come back meanwhile."""

    def __init__(self, server: Listening, name: str = "team") -> None:
        self.connection = server.connect(HEAD.format(name=name))
        self._file = self.connection.makefile("rb")
        self._lines: Iterator[bytes] | None = None

    def send(self, data: bytes) -> None:
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def receive(self) -> dict[str, Any]:
        """Return the next line of the answer."""
        if self._lines is None:
            self._lines = self._read()
        found: dict[str, Any] = json.loads(next(self._lines))
        return found

    def _read(self) -> Iterator[bytes]:
        assert self._file.readline().startswith(b"HTTP/1.1 200")
        while self._file.readline() != b"\r\n":
            pass
        begun = b""
        while size := int(self._file.readline(), 16):
            *whole, begun = (begun + self._file.read(size)).split(b"\n")
            self._file.readline()
            yield from whole

    def rest(self) -> bytes:
        """Return what else comes on the connection until it is closed."""
        return self._file.read()

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        self.connection.close()


@pytest.fixture
def slow() -> SlowRecognizer:
    return SlowRecognizer()


@pytest.fixture
def live(slow: SlowRecognizer, tmp_path: Path) -> Iterator[Listening]:
    settings = Settings(
        port=0,
        workers=2,
        queue=0,
        max_body_bytes=100_000,
        read_timeout_s=0.7,
        store=sqlite_url(tmp_path / "galleries.db"),
    )
    with listening(settings, slow.as_recognizer()) as server:
        assert server.call("POST", "/v1/galleries", b'{"name": "team"}').status == 201
        try:
            yield server
        finally:
            slow.let.set()


def memory_of(server: Listening) -> Memory:
    """Return where the server counts the bytes of requests."""
    part: Any = server.app.middleware_stack
    while not hasattr(part, "_memory"):
        part = getattr(part, "app", None) or part._app  # noqa: SLF001  # there is no other way in
    return cast("Memory", part._memory)  # noqa: SLF001  # likewise


def samples_of(server: Listening, name: str = "team") -> int:
    count: int = server.call("GET", f"/v1/galleries/{name}").json()["samples"]
    return count


class TestLive:
    def test_a_line_is_answered_before_the_next_is_sent(self, live: Listening) -> None:
        with Importing(live) as importing:
            for seed in range(3):
                importing.send(ndjson(line(seed)))
                assert importing.receive()["line"] == seed + 1
            importing.end()
            assert counts(importing.receive()) == (True, 3, 0, 0)
            importing.connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200 OK" in importing.rest()  # the connection is good for more

    def test_it_may_take_longer_and_be_larger_than_any_other_request(self, live: Listening) -> None:
        moment = threading.Event()
        data = ndjson(*[line(seed) for seed in range(10)])
        with Importing(live) as importing:
            for number in range(8):
                importing.send(data)
                assert [importing.receive()["line"] for _ in range(10)] == list(
                    range(10 * number + 1, 10 * number + 11)
                )
                moment.wait(0.3)
            importing.end()
            assert 8 * len(data) > 100_000
            assert importing.receive()["done"] is True
        assert memory_of(live).held == 0

    def test_a_client_that_stalls_is_cut_off(self, live: Listening) -> None:
        with Importing(live) as importing:
            importing.send(ndjson(line(1)) + b'{"subj')
            assert importing.receive()["line"] == 1
            last = importing.receive()
            assert (last["error"]["code"], counts(last)) == ("request_timeout", (False, 1, 0, 0))
            importing.rest()  # which ends
        assert samples_of(live) == 1

    @pytest.mark.parametrize("head", ["", "Content-Length: 100\n\n", "Content-Length: 100\n\n{"])
    def test_a_body_that_does_not_come(self, live: Listening, head: str) -> None:
        data = read_all(live.connect("POST /v1/galleries/team/import HTTP/1.1\nHost: a\n" + head))
        assert b'"request_timeout"' in data if head else data == b""

    def test_a_client_that_goes_on_after_the_end_can_read_it_all_the_same(self, live: Listening) -> None:
        with Importing(live) as importing:
            importing.send(ndjson(line(1)))
            for _ in range(30):
                importing.send(b"x" * 10_000)
            assert importing.receive()["line"] == 1
            assert importing.receive()["error"]["code"] == "body_too_large"
            moment = threading.Event()
            with suppress(BrokenPipeError, ConnectionResetError):  # sooner or later the server has enough
                for _ in range(1000):
                    importing.send(b"x" * 1000)
                    moment.wait(0.01)
                pytest.fail("the server was too patient")
        assert memory_of(live).held == 0

    def test_a_client_that_leaves_leaves_nothing_behind(self, live: Listening, slow: SlowRecognizer) -> None:
        pool = live.app.state.pool
        with busy(live):
            before = memory_of(live).held
            with Importing(live) as importing:
                importing.send(ndjson(line(1)))
                eventually(lambda: memory_of(live).held > before)
            eventually(lambda: memory_of(live).held == before)
            slow.let.set()
        assert samples_of(live) == 0
        eventually(lambda: (pool.busy, pool.waiting) == (0, 0))

    def test_where_all_workers_are_busy_it_waits(self, live: Listening, slow: SlowRecognizer) -> None:
        with Importing(live) as importing:
            importing.send(ndjson(line(1)))
            assert importing.receive()["line"] == 1
            with busy(live):
                assert live.call("GET", "/v1/galleries").status == 503
                importing.send(ndjson(line(2)))
                threading.Event().wait(1)  # longer than a client may take: this wait is the server's
                slow.let.set()
                assert importing.receive()["line"] == 2
                importing.end()
                assert counts(importing.receive()) == (True, 2, 0, 0)

    def test_many_at_once_are_all_served_and_leave_room_for_others(self, live: Listening) -> None:
        done: list[dict[str, Any]] = []

        def run(number: int) -> None:
            with Importing(live) as importing:
                for part in range(4):
                    importing.send(ndjson(*[line(1000 * number + 100 * part + seed) for seed in range(20)]))
                    for _ in range(20):
                        importing.receive()
                importing.end()
                done.append(importing.receive())

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        statuses = []
        while any(thread.is_alive() for thread in threads):
            statuses.append(live.call("GET", "/v1/galleries/team").status)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert [counts(last) for last in done] == [(True, 80, 0, 0)] * 8
        assert samples_of(live) == 640
        assert 200 in statuses

    def test_images_are_worked_on_a_few_at_a_time(self, live: Listening, slow: SlowRecognizer) -> None:
        with Importing(live) as importing:
            importing.send(ndjson(*[{"image": {"base64": ""}}] * 40))
            eventually(lambda: len(slow.begun) == 1)
            slow.let.set()
            assert [importing.receive()["line"] for _ in range(40)] == list(range(1, 41))
            importing.end()
            assert counts(importing.receive()) == (True, 40, 0, 0)

    def test_a_server_that_stops_says_so(self, slow: SlowRecognizer, tmp_path: Path) -> None:
        settings = Settings(port=0, read_timeout_s=30, store=sqlite_url(tmp_path / "galleries.db"))
        begun = threading.Event()
        last: list[dict[str, Any]] = []

        def run(server: Listening) -> None:
            with Importing(server) as importing:
                importing.send(ndjson(line(1)))
                importing.receive()
                begun.set()
                last.append(importing.receive())

        with listening(settings, slow.as_recognizer()) as server:
            server.call("POST", "/v1/galleries", b'{"name": "team"}')
            thread = threading.Thread(target=run, args=(server,))
            thread.start()
            assert begun.wait(PATIENCE_S)
        thread.join(PATIENCE_S)
        assert (last[0]["error"]["code"], counts(last[0])) == ("overloaded", (False, 1, 0, 0))

    def test_a_client_that_sends_all_before_it_reads(self, live: Listening) -> None:
        body = ndjson(*[{"subject": "s", "embedding": vector(1), "metadata": {"a": "x" * 90}}] * 33)
        answer = live.call("POST", "/v1/galleries/team/import", body, NDJSON)
        assert len(from_ndjson(answer.body)) == 34
        assert memory_of(live).held == 0


class TestExportLive:
    @pytest.fixture
    def full(self, live: Listening, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        """Fill the gallery, and return what tells how many pages were made of it."""
        lines = [line(seed % 3, consent="x" * 10_000, metadata={"a": "x" * 9_900}) for seed in range(600)]
        for start in range(0, 600, 4):
            body = ndjson(*lines[start : start + 4])
            told = from_ndjson(live.call("POST", "/v1/galleries/team/import", body, NDJSON).body)
            assert told[-1]["enrolled"] == 4
        from visavis.server.api import bulk  # noqa: PLC0415  # to look inside

        made: list[int] = []
        page = bulk._Pages.next  # noqa: SLF001  # likewise

        def counted(pages: Any) -> bytes:  # noqa: ANN401  # likewise
            data = page(pages)
            made.append(len(data))
            return data

        monkeypatch.setattr(bulk._Pages, "next", counted)  # noqa: SLF001  # likewise
        return lambda: sum(made)

    def test_it_is_made_as_fast_as_it_is_taken(self, live: Listening, full: Callable[[], int]) -> None:
        moment = threading.Event()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.connect(("127.0.0.1", live.port))
            connection.sendall(b"GET /v1/galleries/team/export HTTP/1.1\r\nHost: a\r\n\r\n")
            eventually(lambda: full() > 0)
            before = -1
            while before != full():
                before = full()
                moment.wait(0.2)
            assert before < 10_000_000
            assert live.app.state.pool.busy == 0
        moment.wait(0.3)
        assert full() <= before + 300_000
        eventually(lambda: live.app.state.pool.waiting == 0)

    def test_it_is_whole(self, live: Listening, full: Callable[[], int]) -> None:
        answer = live.call("GET", "/v1/galleries/team/export")
        lines = from_ndjson(answer.body)
        assert (len(lines), len(answer.body)) == (601, full())

    def test_one_that_breaks_off_does_not_look_whole(
        self, live: Listening, full: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from visavis.server.api import bulk  # noqa: PLC0415  # to look inside

        page = bulk._Pages.next  # noqa: SLF001  # likewise

        def fail(pages: Any) -> bytes:  # noqa: ANN401  # likewise
            if full() > 1_000_000:
                raise OSError("the disk is gone")
            return page(pages)

        monkeypatch.setattr(bulk._Pages, "next", fail)  # noqa: SLF001  # likewise
        answer = read_all(live.connect("GET /v1/galleries/team/export HTTP/1.1\nHost: a\n\n"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert not answer.endswith(b"0\r\n\r\n")

    def test_a_busy_server_refuses_it_at_the_beginning_only(self, live: Listening, slow: SlowRecognizer) -> None:
        with busy(live):
            assert live.call("GET", "/v1/galleries/team/export").status == 503
            slow.let.set()
        assert live.call("GET", "/v1/galleries/team/export").status == 200


@contextmanager
def busy(server: Listening) -> Iterator[None]:
    """Keep both workers busy until the recognizer is let, which the block must do."""
    kind = {"Content-Type": "application/json"}
    answers: list[RawAnswer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.call("POST", "/v1/detect", ONE_IMAGE, kind)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: server.app.state.pool.busy == len(threads))
    yield
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [answer.status for answer in answers] == [200, 200]


def test_an_audit_keeps_nobody_from_anything_and_ends_with_its_client(
    live: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(_store: object, _gallery: object, _rules: object, going_on: Callable[[], bool]) -> None:
        begun.set()
        while going_on():
            time.sleep(0.01)
        ended.set()
        raise errors.StoreUnavailable("broken off")

    monkeypatch.setattr(audit, "audit", endless)
    call = "GET /v1/galleries/team/audit HTTP/1.1\nHost: x\n\n"
    first = live.connect(call)
    assert begun.wait(PATIENCE_S)
    waiting = [live.connect(call) for _ in range(2)]  # one waits for its turn, the other is refused
    refused = [connection for connection in waiting if b" 503 " in _first_bytes(connection)]
    assert len(refused) == 1
    for _ in range(5):
        assert live.call("GET", "/v1/galleries/team").status == 200
    for connection in (first, *waiting):
        connection.close()
    assert ended.wait(PATIENCE_S)


def _first_bytes(connection: socket.socket) -> bytes:
    """Return the beginning of an answer, or nothing where none comes soon."""
    connection.settimeout(0.5)
    try:
        return connection.recv(64)
    except TimeoutError:
        return b""
