"""Import and export: in bounded memory, with clients that are slow, wrong or gone."""

import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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

from visavis import FetchFailed, Recognizer
from visavis.config import Settings
from visavis.core import work
from visavis.fetch import FetchPolicy
from visavis.server.api import bulk
from visavis.service import audit

JSON, NDJSON = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}
HEAD = """\
POST /v1/galleries/team/import HTTP/1.1
Host: localhost
Content-Type: application/x-ndjson
"""
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\n\n"
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
        def fetch(url: str, _policy: FetchPolicy, _take: object) -> bytes:
            if "hopper" in url:
                return hopper.read_bytes()
            raise FetchFailed("unreachable")

        monkeypatch.setattr("visavis.server.reading.fetch", fetch)
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
            (b'{"a":' * 100_000 + b"\n", "body_too_large"),
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

    def test_a_body_that_is_too_large_is_refused_whole(self, server: Caller, gallery: str) -> None:
        body = ndjson(line(1)) + b"x" * 3_000_001 + b"\n" + ndjson(line(2))

        async def pieces() -> Any:  # noqa: ANN401  # so that no length is announced
            yield body

        for sent in (pieces(), body):
            answer = server.request("POST", f"{gallery}/import", content=sent, headers=NDJSON)
            assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")
        assert server.get(gallery).json()["samples"] == 0

    def test_lines_end_in_many_ways_and_are_counted_all(self, server: Caller, gallery: str) -> None:
        one, two, three = (json.dumps(line(seed)).encode() for seed in range(3))
        told = send(server, gallery, b"\xef\xbb\xbf" + one + b"\r\n\r\n  \n " + two + b" \n\n\n" + three)
        assert [each["line"] for each in told[:-1]] == [1, 4, 7]
        told = send(server, gallery, b"\n" * 1200 + ndjson(line(3)) + b"\xef\xbb\xbf{}\n")
        assert [(each["line"], "error" in each) for each in told[:-1]] == [(1201, False), (1202, True)]

    def test_more_lines_than_are_stored_together(self, server: Caller, gallery: str) -> None:
        told = send(server, gallery, ndjson(*[{"subject": "a", "embedding": vector(1)[:3]}] * 1100))
        assert [each["line"] for each in told[:-1]] == list(range(1, 1101))
        assert counts(told[-1]) == (True, 0, 0, 1100)

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

    def test_metrics(self, recognizer: Recognizer, tmp_path: Path) -> None:
        with Caller(Settings(store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
            server.post("/v1/galleries", {"name": "team"})
            send(server, "/v1/galleries/team", ndjson(line(1), {"image": {"array": [[1] * 80] * 80}}, line(2)))
            text = server.get("/metrics").text
        assert "visavis_enrolled_samples_total 2.0" in text
        assert 'visavis_images_total{route="/v1/galleries/{gallery}/import"} 1.0' in text


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
        read_timeout_s=2.0,
        store=sqlite_url(tmp_path / "galleries.db"),
    )
    with listening(settings, slow.as_recognizer()) as server:
        assert server.call("POST", "/v1/galleries", b'{"name": "team"}', JSON).status == 201
        try:
            yield server
        finally:
            slow.let.set()


def held_by(server: Listening) -> int:
    """Return how many bytes of requests the server has in memory."""
    held: int = server.app.state.account.held
    return held


def samples_of(server: Listening, name: str = "team") -> int:
    count: int = server.call("GET", f"/v1/galleries/{name}").json()["samples"]
    return count


class Importing(threading.Thread):
    """An import that goes on in a thread."""

    def __init__(self, server: Listening, *lines: object) -> None:
        super().__init__()
        self._server, self._body, self._told = server, ndjson(*lines), list[dict[str, Any]]()
        self.start()

    def run(self) -> None:
        answer = self._server.call("POST", "/v1/galleries/team/import", self._body, NDJSON)
        assert answer.status == 200
        self._told = from_ndjson(answer.body)

    def told(self) -> list[dict[str, Any]]:
        self.join(PATIENCE_S)
        return self._told


GREY = {"image": {"base64": ""}}


class TestLive:
    @pytest.mark.thorough
    @pytest.mark.parametrize("head", ["", "Content-Length: 100\n\n", "Content-Length: 100\n\n{"])
    def test_a_body_that_does_not_come(self, live: Listening, head: str) -> None:
        data = read_all(live.connect(HEAD + head))
        assert b'"request_timeout"' in data if head else data == b""

    @pytest.mark.thorough
    def test_a_body_that_drips_is_not_waited_for_nor_kept(self, live: Listening) -> None:
        connection = live.connect(CHUNKED)
        moment = threading.Event()
        with suppress(BrokenPipeError, ConnectionResetError):  # the server has closed
            for seed in range(100):
                data = ndjson(line(seed))
                connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
                moment.wait(0.05)
            pytest.fail("the server was too patient")
        connection.close()
        assert samples_of(live) == 0
        eventually(lambda: held_by(live) == 0)

    def test_a_body_that_turns_out_too_large(self, live: Listening) -> None:
        connection = live.connect(CHUNKED)
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(30):
                connection.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
                if select.select([connection], [], [], 0.05)[0]:  # what is sent after the answer may reset it
                    break
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b'"code":"body_too_large"' in answer
        eventually(lambda: held_by(live) == 0)

    def test_a_client_that_leaves_leaves_nothing_behind(self, live: Listening, slow: SlowRecognizer) -> None:
        pool = live.app.state.pool
        with busy(live):
            before, body = held_by(live), ndjson(line(1))
            connection = live.connect(f"{HEAD}Content-Length: {len(body)}\n\n")
            connection.sendall(body)
            eventually(lambda: held_by(live) > before)
            connection.close()
            eventually(lambda: held_by(live) == before)
            slow.let.set()
        assert samples_of(live) == 0
        eventually(lambda: (pool.busy, pool.waiting) == (0, 0))

    @pytest.mark.thorough
    def test_where_all_workers_are_busy_it_waits(self, live: Listening, slow: SlowRecognizer) -> None:
        with busy(live):
            importing = Importing(live, line(1), line(2))
            assert live.call("POST", "/v1/detect", ONE_IMAGE, {"Content-Type": "application/json"}).status == 503
            assert live.call("GET", "/v1/galleries").status == 200
            threading.Event().wait(1)  # longer than a client may take: this wait is the server's
            assert importing.is_alive()
            slow.let.set()
        assert counts(importing.told()[-1]) == (True, 2, 0, 0)

    def test_many_at_once_are_all_served_and_leave_room_for_others(self, live: Listening) -> None:
        imports = [Importing(live, *[line(100 * number + seed) for seed in range(20)]) for number in range(8)]
        statuses = []
        while any(each.is_alive() for each in imports):
            statuses.append(live.call("GET", "/v1/galleries/team").status)
        assert [counts(each.told()[-1]) for each in imports] == [(True, 20, 0, 0)] * 8
        assert samples_of(live) == 160
        assert 200 in statuses

    def test_images_are_worked_on_a_few_at_a_time(self, live: Listening, slow: SlowRecognizer) -> None:
        importing = Importing(live, *[GREY] * 40)
        eventually(lambda: len(slow.begun) == 1)
        slow.let.set()
        told = importing.told()
        assert [each["line"] for each in told[:-1]] == list(range(1, 41))
        assert counts(told[-1]) == (True, 40, 0, 0)

    def test_a_gallery_that_is_forgotten_meanwhile(self, live: Listening, slow: SlowRecognizer) -> None:
        importing = Importing(live, *[GREY] * 20)
        eventually(lambda: len(slow.begun) == 1)
        assert live.call("DELETE", "/v1/galleries/team").status == 200
        slow.let.set()
        (last,) = importing.told()
        assert (last["error"]["code"], counts(last)) == ("gallery_not_found", (False, 0, 0, 0))

    def test_a_server_that_stops_says_so(self, live: Listening, slow: SlowRecognizer) -> None:
        importing = Importing(live, *[GREY] * 20)
        eventually(lambda: len(slow.begun) == 1)
        live.app.state.ready = False  # as while it shuts down
        slow.let.set()
        *told, last = importing.told()
        live.app.state.ready = True
        assert [each["line"] for each in told] == list(range(1, 17))
        assert (last["error"]["code"], counts(last)) == ("overloaded", (False, 16, 0, 0))

    def test_a_client_that_sends_all_before_it_reads(self, live: Listening) -> None:
        body = ndjson(*[{"subject": "s", "embedding": vector(1), "metadata": {"a": "x" * 90}}] * 33)
        answer = live.call("POST", "/v1/galleries/team/import", body, NDJSON)
        assert len(from_ndjson(answer.body)) == 34
        eventually(lambda: held_by(live) == 0)


class TestExportLive:
    @pytest.fixture
    def full(self, live: Listening, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        """Fill the gallery, and return what tells how many pages were made of it."""
        lines = [line(seed % 3, consent="x" * 10_000, metadata={"a": "x" * 9_900}) for seed in range(600)]
        for start in range(0, 600, 4):
            body = ndjson(*lines[start : start + 4])
            told = from_ndjson(live.call("POST", "/v1/galleries/team/import", body, NDJSON).body)
            assert told[-1]["enrolled"] == 4
        made: list[int] = []
        page_of = bulk.page_of

        def counted(lines: Iterator[Any]) -> bytes:
            data = page_of(lines)
            made.append(len(data))
            return data

        monkeypatch.setattr(bulk, "page_of", counted)
        return lambda: sum(made)

    @pytest.mark.thorough
    def test_it_is_made_as_fast_as_it_is_taken(self, live: Listening, full: Callable[[], int]) -> None:
        moment = threading.Event()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.connect(("127.0.0.1", live.port))
            connection.sendall(b"GET /v1/galleries/team/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
            eventually(lambda: full() > 0)
            before = -1
            while before != full():
                before = full()
                moment.wait(0.2)
            assert before < 10_000_000
            assert live.app.state.pool.busy == 0
        moment.wait(0.3)
        assert full() <= before + 600_000  # two pages, which may have been in the making
        eventually(lambda: live.app.state.pool.waiting == 0)

    def test_it_is_whole(self, live: Listening, full: Callable[[], int]) -> None:
        answer = live.call("GET", "/v1/galleries/team/export")
        lines = from_ndjson(answer.body)
        assert (len(lines), len(answer.body)) == (601, full())

    def test_one_that_breaks_off_does_not_look_whole(
        self, live: Listening, full: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page_of = bulk.page_of

        def fail(lines: Iterator[Any]) -> bytes:
            if full() > 1_000_000:
                raise OSError("the disk is gone")
            return page_of(lines)

        monkeypatch.setattr(bulk, "page_of", fail)
        answer = read_all(live.connect("GET /v1/galleries/team/export HTTP/1.1\nHost: localhost\n\n"))
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

    def endless(_store: object, _gallery: object, _rules: object) -> None:
        begun.set()
        try:
            while True:
                work.check()
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(audit, "audit", endless)
    call = "GET /v1/galleries/team/audit HTTP/1.1\nHost: localhost\n\n"
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
