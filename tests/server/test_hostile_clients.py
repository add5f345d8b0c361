"""A server among clients that want to keep it from answering others: counted by what its loop does for them."""

import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import pytest
from hostile_clients import CHUNKED, KINDS, hostile
from serving import PATIENCE_S, Listening, SlowRecognizer, eventually, from_ndjson, listening, read_all, sqlite_url

from visavis import Recognizer
from visavis.config import Settings
from visavis.server import listening as module
from visavis.server.api import bulk
from visavis.server.listening import TimedProtocol

SECRET = "a-secret-that-is-long-enough"  # noqa: S105  # of nobody
HEAD = "GET /healthz HTTP/1.1\nHost: localhost\n"
JSON, NDJSON = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}


class Loop:
    """What the event loop did: bytes taken in each turn, and events that were parsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[int] = []
        self.events: Counter[str] = Counter()
        data_received, next_event = TimedProtocol.data_received, h11.Connection.next_event

        def taken(protocol: TimedProtocol, data: bytes) -> None:
            self.taken.append(len(data))
            data_received(protocol, data)

        def counted(connection: h11.Connection) -> Any:  # noqa: ANN401  # as h11 has it
            event = next_event(connection)
            self.events[type(event).__name__] += connection.our_role is h11.SERVER
            return event

        monkeypatch.setattr(TimedProtocol, "data_received", taken)
        monkeypatch.setattr(h11.Connection, "next_event", counted)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


@pytest.fixture
def slow() -> SlowRecognizer:
    return SlowRecognizer()


@pytest.fixture
def server(slow: SlowRecognizer, loop: Loop, tmp_path: Path) -> Iterator[Listening]:
    """A server that asks for keys, but not on every path."""
    _ = loop
    settings = Settings(
        port=0,
        workers=1,
        max_body_bytes=1_000_000,
        auth="on",
        keys=(("admin", SECRET),),
        keys_file=tmp_path / "keys",
        store=sqlite_url(tmp_path / "galleries.db"),
    )
    with listening(settings, slow.as_recognizer()) as server:
        try:
            yield server
        finally:
            slow.let.set()


def with_key(head: bytes) -> bytes:
    return head.replace(b"Host: a\r\n", b"Host: a\r\nX-API-Key: " + SECRET.encode() + b"\r\n")


def sent_until_refused(connection: socket.socket, data: bytes, most: int) -> int:
    """Send until the server has closed, or enough; return how many bytes it took."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            sent += connection.send(data)
    return sent


class TestWork:
    def test_a_body_in_crumbs_ends_soon(self, server: Listening, loop: Loop) -> None:
        connection = server.connect()
        connection.sendall(with_key(CHUNKED))
        sent_until_refused(connection, b"1\r\na\r\n" * 1000, 600_000)
        assert read_all(connection).startswith(b"HTTP/1.1 400")
        assert loop.events["Data"] < 11_000

    def test_chunks_of_a_line_are_no_crumbs(self, server: Listening, slow: SlowRecognizer) -> None:
        slow.let.set()
        lines = [b'{"subject": "s%d", "image": {"base64": ""}}\n' % number for number in range(20_000)]
        connection = server.connect()
        connection.sendall(
            with_key(CHUNKED.replace(b"/v1/detect", b"/v1/galleries/none/import").replace(b"json", b"x-ndjson"))
        )
        connection.sendall(b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 404"
        connection.close()

    def test_a_turn_of_the_loop_takes_few_chunks(self, server: Listening, loop: Loop) -> None:
        connection = server.connect()
        connection.sendall(with_key(CHUNKED))
        sent_until_refused(connection, b"400\r\n" + b"a" * 1024 + b"\r\n", 900_000)
        connection.close()
        eventually(lambda: sum(loop.taken) > 100_000)
        assert max(loop.taken) <= 16_384

    def test_a_body_of_known_length_comes_in_large_parts(self, server: Listening, loop: Loop) -> None:
        server.call(
            "POST", "/v1/detect", b"{}" + b" " * 900_000, {"X-API-Key": SECRET, "Content-Type": "application/json"}
        )
        assert max(loop.taken) > 16_384

    @pytest.mark.parametrize("head", [HEAD + "a: b\n" * 200 + "\n", HEAD + "a:" + "b" * 60_000 + "\n\n"])
    def test_a_flood_of_headers_is_refused(self, server: Listening, head: str) -> None:
        assert read_all(server.connect(head)).startswith(b"HTTP/1.1 400")

    def test_headers_that_a_browser_behind_proxies_sends(self, server: Listening) -> None:
        head = HEAD + "".join(f"X-{number}: {'a' * 200}\n" for number in range(100)) + "Connection: close\n\n"
        assert read_all(server.connect(head)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "shape",
    [
        "POST / HTTP/1.1\nHost: localhost\nContent-Length: 6\nTransfer-Encoding: chunked\n\n0\n\nX",
        "POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\nContent-Length: 6\n\n0\n\nX",
        "POST / HTTP/1.0\nHost: localhost\nTransfer-Encoding: chunked\n\n0\n\n",
        "POST / HTTP/1.1\nHost: localhost\nContent-Length: 1\nContent-Length: 2\n\nab",
        "POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n",
        "POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        "POST / HTTP/1.1\nHost: localhost\nTransfer-Encoding : chunked\n\n0\n\n",
        "GET / HTTP/1.1\nHost: localhost\nHost: b\n\n",
        "GET / HTTP/1.1\n\n",
    ],
)
def test_a_request_that_two_servers_may_read_in_two_ways_is_refused(server: Listening, shape: str) -> None:
    answer = read_all(server.connect(shape + HEAD + "\n"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"400"]
    assert b"connection: close" in answer.lower()


class TestEarlyAnswers:
    @pytest.mark.thorough
    @pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 900000"])
    def test_the_connection_ends_soon_and_nothing_more_is_parsed(
        self, server: Listening, loop: Loop, framing: str
    ) -> None:
        connection = server.connect(f"POST /v1/detect HTTP/1.1\nHost: localhost\n{framing}\n\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in answer.lower()
        while connection.recv(65536):  # until the server says that it sends no more
            pass
        parsed = loop.events.total()
        moment = threading.Event()
        with connection, suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(int(PATIENCE_S / 0.04)):
                connection.sendall(b"5\r\nabcd\n\r\n")
                moment.wait(0.04)
            pytest.fail("the server was too patient")
        assert loop.events.total() == parsed

    @pytest.mark.parametrize(("size", "status"), [(900_000, b"401"), (6_000_000, b"413")])
    def test_a_client_that_sends_all_before_it_reads_has_the_answer(
        self, server: Listening, size: int, status: bytes
    ) -> None:
        key = b"" if status == b"401" else b"X-API-Key: " + SECRET.encode() + b"\r\n"
        head = b"POST /v1/detect HTTP/1.1\r\nHost: a\r\n" + key + b"Content-Type: application/json\r\n"
        for framing in (b"", b"Connection: close\r\n"):
            connection = server.connect()
            connection.sendall(head + framing + b"Content-Length: %d\r\n\r\n" % size)
            threading.Event().wait(0.2)  # the answer is there, and not read
            for _ in range(size // 60_000):
                connection.sendall(b"a" * 60_000)
            assert read_all(connection).startswith(b"HTTP/1.1 " + status)

    def test_a_whole_request_keeps_its_connection(self, server: Listening) -> None:
        connection = server.connect("POST /v1/detect HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}" * 2)
        data = b""
        while data.count(b"HTTP/1.1 401") < 2:
            data += connection.recv(65536)
        connection.close()

    def test_what_lingers_keeps_nobody_from_stopping(self, slow: SlowRecognizer) -> None:
        with listening(Settings(port=0, max_body_bytes=1000), slow.as_recognizer()) as server:
            connection = server.connect("POST /v1/detect HTTP/1.1\nHost: localhost\nContent-Length: 5000\n\n")
            assert connection.recv(12) == b"HTTP/1.1 413"
            start = time.monotonic()
        connection.close()
        assert time.monotonic() - start < PATIENCE_S / 2


@pytest.mark.parametrize("end", [b"", b"none\r\n"])
def test_a_body_that_ends_badly_is_no_fault_of_the_server(
    server: Listening, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    with caplog.at_level(logging.INFO):
        connection = server.connect()
        connection.sendall(with_key(CHUNKED) + b"1\r\n{\r\n")
        eventually(lambda: server.app.state.pool.busy == 0)
        connection.sendall(end)
        connection.close()
        eventually(lambda: any(record.message == "request" for record in caplog.records))
    assert not [record for record in caplog.records if record.exc_info]


class TestConnections:
    @pytest.fixture
    def few(self, monkeypatch: pytest.MonkeyPatch, slow: SlowRecognizer) -> Iterator[Listening]:
        monkeypatch.setattr(module, "_allowed_files", lambda: 16, raising=False)
        with listening(Settings(port=0, workers=1), slow.as_recognizer()) as server:
            try:
                yield server
            finally:
                slow.let.set()

    @pytest.mark.thorough
    def test_who_is_silent_longest_gives_way(self, few: Listening, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            silent = [few.connect() for _ in range(30)]
            assert few.call("GET", "/healthz").status == 200
        for connection in silent[:20]:
            assert read_all(connection) == b""
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b'{"status":"ok"}' in read_all(silent[-1])
        for connection in silent:
            connection.close()
        assert sum("too many connections" in record.message for record in caplog.records) == 1

    @pytest.mark.parametrize("begun", [b"GET /healthz HTTP/1.1\r\n", CHUNKED + b"1\r\n{\r\n"])
    def test_one_that_goes_on_sending_is_not_silent(self, few: Listening, begun: bytes) -> None:
        sending = few.connect()
        sending.sendall(begun[:1])
        others = []
        for at in range(1, 20):
            others.append(few.connect())
            sending.sendall(begun[at : at + 1])
            time.sleep(0.02)
        sending.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sending.recv(1)
        for connection in (sending, *others):
            connection.close()

    @pytest.mark.thorough
    def test_one_that_waits_for_its_answer_stays(self, few: Listening, slow: SlowRecognizer) -> None:
        body = b'{"images": [{"base64": ""}]}'
        waiting = few.connect(
            "POST /v1/detect HTTP/1.1\nHost: localhost\nContent-Type: application/json\nConnection: close\n"
            f"Content-Length: {len(body)}\n\n"
        )
        waiting.sendall(body)
        eventually(lambda: len(slow.begun) == 1)
        others = [few.connect() for _ in range(30)]
        assert few.call("GET", "/healthz").status == 200
        slow.let.set()
        assert read_all(waiting).startswith(b"HTTP/1.1 200")
        for connection in others:
            connection.close()

    @pytest.mark.thorough
    def test_where_nobody_is_silent_the_new_one_is_closed(self, few: Listening, slow: SlowRecognizer) -> None:
        _ = slow
        body = b'{"images": [{"base64": ""}]}'
        head = (
            "POST /v1/detect HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
            f"Content-Length: {len(body)}\n\n"
        )
        busy = []
        for _ in range(8):
            busy.append(few.connect(head))
            busy[-1].sendall(body)
        eventually(lambda: few.app.state.pool.waiting == 7)
        assert read_all(few.connect()) == b""
        for connection in busy:
            connection.close()


class TestBlankLines:
    def test_they_cost_no_turns_of_a_worker(self, server: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
        turns: list[int] = []
        next_ = bulk._Importer.next  # noqa: SLF001  # what a worker does

        def counted(importer: Any) -> Any:  # noqa: ANN401  # likewise
            turns.append(1)
            return next_(importer)

        monkeypatch.setattr(bulk._Importer, "next", counted)  # noqa: SLF001  # likewise
        server.call("POST", "/v1/galleries", b'{"name": "team"}', {**JSON, "X-API-Key": SECRET})
        for blank in (b"\n", b" \n", b"\r\n", b"\t", b" "):
            answer = server.call(
                "POST", "/v1/galleries/team/import", blank * (900_000 // len(blank)), {**NDJSON, "X-API-Key": SECRET}
            )
            assert from_ndjson(answer.body) == [{"done": True, "enrolled": 0, "repeated": 0, "failed": 0}]
        assert len(turns) <= 10

    def test_they_are_counted(self, server: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
        server.call("POST", "/v1/galleries", b'{"name": "team"}', {**JSON, "X-API-Key": SECRET})
        body = b"\xef\xbb\xbf\n  \nnone\r\n\t\n\n" + b"\n" * 70_000 + b"  none  \nnone"

        def numbers() -> list[int | str]:
            answer = server.call("POST", "/v1/galleries/team/import", body, {**NDJSON, "X-API-Key": SECRET})
            *told, last = from_ndjson(answer.body)
            return [*(each["line"] for each in told), last.get("error", {}).get("code", "")]

        assert numbers() == [3, 70_006, 70_007, ""]
        monkeypatch.setattr(bulk, "_MOST_LINES_IN_ALL", 2)
        assert numbers() == [3, 70_006, "body_too_large"]


@contextmanager
def serving(cache_dir: Path, tmp_path: Path, files: int) -> Iterator[tuple[int, Callable[[], list[str]]]]:
    """Run the command, with a limit on open files, until the block ends; yield its port, and what ends and tells."""
    code = (
        "import resource, sys; from visavis.cli.main import main; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (min({files}, 256), {files})); main(sys.argv[1:])"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    said = tmp_path / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/galleries.db"],
            env={**clean, "VISAVIS_CACHE_DIR": str(cache_dir)},
            stderr=stderr,
        )

    def log() -> list[str]:
        process.terminate()
        process.wait(PATIENCE_S)
        return said.read_text().splitlines()

    try:
        eventually(lambda: "listens" in said.read_text() or process.poll() is not None)
        yield int(re.findall(r"http://[^ ]+:(\d+)", said.read_text())[0]), log
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def slowest_of(port: int, count: int) -> float:
    times = []
    for _ in range(count):
        start = time.monotonic()
        assert Listening(port, None).call("GET", "/healthz").status == 200  # type: ignore[arg-type]  # in another process
        times.append(time.monotonic() - start)
    return max(times)


@pytest.mark.thorough
class TestCommand:
    @pytest.fixture(autouse=True)
    def _converted(self, recognizer: Recognizer) -> None:
        """The cache holds the models: those that the fixture loads."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_others_are_answered_within_a_second(self, cache_dir: Path, tmp_path: Path, kind: str) -> None:
        with serving(cache_dir, tmp_path, 1024) as (port, log):
            with hostile(port, kind, 4):
                time.sleep(1)
                assert slowest_of(port, 50) < 1
            assert not [line for line in log() if "traceback" in line]

    @pytest.mark.parametrize("files", [128, 1024])
    def test_more_idle_connections_than_files(self, cache_dir: Path, tmp_path: Path, files: int) -> None:
        with serving(cache_dir, tmp_path, files) as (port, log):
            idle = []
            for _ in range(1300):
                with suppress(OSError):
                    idle.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            assert slowest_of(port, 20) < 5
            for connection in idle:
                connection.close()
            assert sum(line.startswith("{") for line in log()) <= 3  # what it logs, after its first lines
