"""A server that listens, and clients that are slow, large, many, or gone."""

import gc
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from unittest import mock

import PIL.Image
import pytest
import serving as serving_module
from certificates import make_certificate
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from serving import (
    PATIENCE_S,
    Listening,
    RawAnswer,
    SlowRecognizer,
    eventually,
    in_base64,
    listening,
    read_all,
    sqlite_url,
)

from visavis import Client, Recognizer, ServerUnreachable
from visavis.cli import lazy
from visavis.cli.commands import server as server_commands
from visavis.cli.main import main
from visavis.config import Settings
from visavis.server.listening import bind

ONE_IMAGE = json.dumps({"images": [{"base64": ""}]}).encode()
JSON = {"Content-Type": "application/json"}
HEAD = "POST /v1/detect HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"


SUPPORT = Path(serving_module.__file__).parent
# A server whose recognizer holds a thread, as native code does that nobody can interrupt.
STUCK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from serving import SlowRecognizer
from visavis.config import Settings
from visavis.server.app import create_app
from visavis.server.listening import bind, serve

class Stuck(SlowRecognizer):
    def detect_many(self, images, **options):
        print("begun", flush=True)
        time.sleep(60)

settings = Settings(port=0, grace_s=0.5, store=sys.argv[2])
listener = bind(settings)
serve(create_app(settings, Stuck()), listener, lambda: print(listener.getsockname()[1], flush=True))
"""


def strip() -> str:
    buffer = io.BytesIO()
    PIL.Image.new("P", (32, 64_031)).save(buffer, "GIF")
    return in_base64(buffer.getvalue())


STRIP = strip()


def in_background(call: "Listening", answers: list[RawAnswer]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(call.call("POST", "/v1/detect", ONE_IMAGE, JSON)))
    thread.start()
    return thread


class TestSlowAndLarge:
    @pytest.fixture
    def server(self) -> Iterator[Listening]:
        slow = SlowRecognizer()
        slow.let.set()
        settings = Settings(port=0, max_body_bytes=100_000, read_timeout_s=2.0)
        with listening(settings, slow.as_recognizer()) as server:
            yield server

    def test_an_announced_body_is_refused_before_it_is_sent(self, server: Listening) -> None:
        answer = read_all(server.connect(f"{HEAD}Content-Length: 100001\nExpect: 100-continue\n\n"))
        assert answer.startswith(b"HTTP/1.1 413")
        assert b'"code":"body_too_large"' in answer

    def test_a_body_that_turns_out_too_large_is_refused_while_it_is_sent(self, server: Listening) -> None:
        connection = server.connect(f"{HEAD}Transfer-Encoding: chunked\n\n")
        for _ in range(2):  # and there would be more
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()

    def test_a_body_that_does_not_come(self, server: Listening) -> None:
        answer = read_all(server.connect(f"{HEAD}Content-Length: 100\n\n{{"))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in answer

    @pytest.mark.thorough
    @pytest.mark.parametrize("head", ["", "POST /v1", HEAD])
    def test_a_head_that_does_not_come(self, server: Listening, head: str) -> None:
        assert read_all(server.connect(head)) == b""

    @pytest.mark.thorough
    def test_a_head_that_drips(self, server: Listening) -> None:
        connection = server.connect("GET / HTTP/1.1\n")
        moment = threading.Event()
        with connection, suppress(BrokenPipeError, ConnectionResetError):  # the server has closed
            for number in range(600):
                connection.sendall(f"X-{number}: a\r\n".encode())
                moment.wait(0.05)
            pytest.fail("the server was too patient")

    def test_a_head_without_end(self, server: Listening) -> None:
        answer = read_all(server.connect("GET / HTTP/1.1\nX: " + "a" * 40_000))
        assert answer.startswith(b"HTTP/1.1 400")

    def test_what_follows_a_refused_body_does_not_keep_the_connection(self, server: Listening) -> None:
        connection = server.connect("POST /nowhere HTTP/1.1\nHost: localhost\nContent-Length: 1000000\n\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")
        read_all(connection)  # which ends though the body never does

    def test_several_requests_on_one_connection(self, server: Listening) -> None:
        connection = server.connect("GET /healthz HTTP/1.1\nHost: localhost\n\n" * 2)
        data = b""
        while data.count(b'{"status":"ok"}') < 2:
            data += connection.recv(65536)
        connection.close()


class TestOverload:
    @pytest.fixture
    def slow(self) -> SlowRecognizer:
        return SlowRecognizer()

    @pytest.fixture
    def server(self, slow: SlowRecognizer) -> Iterator[Listening]:
        with listening(Settings(port=0, workers=1, queue=1), slow.as_recognizer()) as server:
            try:
                yield server
            finally:
                slow.let.set()

    def test_what_does_not_fit_is_refused_at_once(self, server: Listening, slow: SlowRecognizer) -> None:
        pool = server.app.state.pool
        answers: list[RawAnswer] = []
        clients = [in_background(server, answers) for _ in range(2)]
        eventually(lambda: (pool.busy, pool.waiting) == (1, 1))
        refused = server.call("POST", "/v1/detect", ONE_IMAGE, JSON)
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.call("GET", "/healthz").status == 200
        slow.let.set()
        for client in clients:
            client.join(PATIENCE_S)
        assert [answer.status for answer in answers] == [200, 200]
        assert (pool.busy, pool.waiting) == (0, 0)

    def test_a_client_that_leaves_frees_its_place(self, server: Listening, slow: SlowRecognizer) -> None:
        pool = server.app.state.pool
        answers: list[RawAnswer] = []
        clients = [in_background(server, answers)]
        eventually(lambda: pool.busy == 1)
        leaving = server.connect(f"{HEAD}Content-Length: {len(ONE_IMAGE)}\n\n{ONE_IMAGE.decode()}")
        eventually(lambda: pool.waiting == 1)
        leaving.close()
        eventually(lambda: pool.waiting == 0)
        clients.append(in_background(server, answers))
        eventually(lambda: pool.waiting == 1)
        slow.let.set()
        for client in clients:
            client.join(PATIENCE_S)
        assert [answer.status for answer in answers] == [200, 200]
        assert len(slow.begun) == 2


@contextmanager
def serving(cache_dir: Path, *arguments: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run the command until the block ends; yield the process and its port."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "visavis", "serve", "--port", "0", "--min-face", "0.15", *arguments],
        env={**clean, "VISAVIS_CACHE_DIR": str(cache_dir), **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            said = (re.fullmatch(r"visavis listens on https?://[^ ]+:(\d+)\n", line) for line in process.stderr)
            port = next((int(found[1]) for found in said if found), None)
            assert port is not None, "it did not start"
            yield process, port
        finally:
            if process.poll() is None:  # with those that it started
                os.killpg(process.pid, signal.SIGKILL)


def doctor(cache_dir: Path, *arguments: str) -> tuple[int, bool | None, list[str]]:
    """Return the exit code, whether the server is ready, and what is advised."""
    command = [sys.executable, "-m", "visavis", "doctor", "--json", "--cache-dir", str(cache_dir), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    report = json.loads(process.stdout)
    remedies = [problem["remedy"] for problem in report["problems"]]
    return process.returncode, report["server"].get("ready"), remedies


class TestRefusals:
    """What the command says before it serves, which needs no process of its own."""

    @pytest.fixture
    def refusal(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def refusal(*arguments: str, **environment: str) -> str:
            clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
            with mock.patch.dict(os.environ, {**clean, **environment}, clear=True), warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # a listener that would end with its process
                with pytest.raises(SystemExit) as exit_:
                    main(["serve", *arguments])
                code = exit_.value.code
                del exit_
                gc.collect()
            said = capsys.readouterr()
            assert (code, said.out) == (2, "")
            return said.err

        return refusal

    def test_a_port_that_is_taken(self, refusal: Callable[..., str]) -> None:
        with bind(Settings(port=0)) as taken:
            port = taken.getsockname()[1]
            said = refusal("--port", str(port))
        assert said == f"visavis: cannot listen on 127.0.0.1 port {port}: Address already in use\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--host", "0.0.0.0", "--keys-file", "none.sqlite"), "needs keys"),  # noqa: S104  # nobody is let in
            (("--queue", "many"), "--queue: expected a whole number"),
            (("--rate", "fast"), "a rate is"),
            (("--fetch-allow", "10.0.0.0/99"), "10.0.0.0/99"),
            (("--pack", "nonsense"), "there is no pack 'nonsense'"),
            (("--host", "256.1.1.1", "--auth", "off"), "cannot listen on 256.1.1.1"),
            (("--auth", "on", "--keys-file", "none.sqlite"), "needs keys"),
            (("--trusted-proxies", "127.0.0.1", "--keys-file", "none.sqlite"), "needs keys"),
            (("--trusted-proxies", "proxy.example", "--auth", "off"), "proxy.example"),
            (("--trusted-proxies", "10.0.0.0/99", "--auth", "off", "--processes", "2"), "10.0.0.0/99"),
            (("--hosts", "http://a/"), "http://a/"),
            (("--tls-cert", "here.pem"), "--tls-cert: tls_cert and tls_key belong together"),
            (("--tls-key", "here.pem"), "tls_cert and tls_key belong together"),
        ],
    )
    def test_what_cannot_be_served(self, refusal: Callable[..., str], arguments: tuple[str, ...], message: str) -> None:
        assert message in refusal("--port", "0", *arguments)

    @pytest.mark.thorough
    def test_a_certificate_that_cannot_be_used(self, refusal: Callable[..., str], tmp_path: Path) -> None:
        one, other = tmp_path / "one.pem", tmp_path / "other.pem"
        make_certificate(one)
        make_certificate(other)
        locked = tmp_path / "locked.key"
        key = load_pem_private_key(one.with_suffix(".key").read_bytes(), None)
        form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password"))
        locked.write_bytes(key.private_bytes(*form))
        for cert, its_key, message in (
            (tmp_path / "none.pem", one.with_suffix(".key"), "cannot be read: No such file or directory"),
            (one, tmp_path / "none.key", "none.key cannot be read: No such file or directory"),
            (tmp_path, tmp_path, "cannot be read: Is a directory"),
            (one, other.with_suffix(".key"), "are no certificate and its key, in PEM"),
            (one.with_suffix(".key"), one, "are no certificate and its key, in PEM"),
            (one, locked, "without a password"),
        ):
            arguments = ("--port", "0", "--tls-cert", str(cert), "--tls-key", str(its_key))
            for processes in ("1", "2"):
                assert message in refusal(*arguments, "--processes", processes)

    @pytest.mark.parametrize(
        ("arguments", "keys", "said"),
        [
            ((), "", "not asked for: there are no keys, and any program here may do everything"),
            (("--auth", "off"), "", "not asked for: auth is off, and whoever reaches it may do everything"),
            (("--processes", "2"), "admin:a-secret-of-24-characters", "every call needs one"),
        ],
    )
    def test_it_says_where_and_with_what_it_serves_and_whether_it_asks_for_keys(  # noqa: PLR0913  # a row, and fixtures
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        *,
        arguments: tuple[str, ...],
        keys: str,
        said: str,
    ) -> None:
        def serve(_app: object, listener: socket.socket, when_ready: Callable[[], None]) -> None:
            when_ready()
            listener.close()

        def serve_in_processes(_factory: str, settings: Settings, listener: socket.socket) -> None:
            assert settings.store is None
            with listener:
                told.pop()()

        told: list[Callable[[], None]] = []
        monkeypatch.setattr(server_commands, "_tell_when_ready", lambda _url, tell: told.append(tell))
        monkeypatch.setattr(lazy.listening, "serve", serve, raising=False)
        monkeypatch.setattr(lazy.listening, "serve_in_processes", serve_in_processes, raising=False)
        monkeypatch.setattr(lazy.app, "load_recognizer", lambda _settings: None, raising=False)
        monkeypatch.setattr(lazy.observability, "configure_logging", lambda _form: None, raising=False)
        monkeypatch.chdir(tmp_path)
        for store in (Path(os.environ["XDG_DATA_HOME"], "visavis", "visavis.db"), tmp_path / "visavis.db"):
            with mock.patch.dict(os.environ, {"VISAVIS_KEYS": keys}), pytest.raises(SystemExit):
                main(["serve", "--port", "0", "--models-dir", os.devnull, *arguments])
            first, *facts, advice = capsys.readouterr().err.splitlines()
            assert first.startswith("visavis listens on http://127.0.0.1:")
            assert advice.endswith("visavis models pull open")
            shown = {name: value.strip() for name, _, value in (line.strip().partition(" ") for line in facts)}
            url = first.removeprefix("visavis listens on ")
            assert shown.pop("device")
            pages = {"page": f"{url}/ui/", "docs": f"{url}/docs"}
            assert shown == {**pages, "store": str(store), "pack": "sface", "keys": said}
            (tmp_path / "visavis.db").touch()  # which is found from now on

    def test_it_opens_the_page_where_that_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
    ) -> None:
        opened: list[str] = []

        def serve(_app: object, listener: socket.socket, when_ready: Callable[[], None]) -> None:
            when_ready()
            listener.close()

        monkeypatch.setattr("webbrowser.open", opened.append)
        monkeypatch.setattr(lazy.listening, "serve", serve, raising=False)
        monkeypatch.setattr(lazy.app, "load_recognizer", lambda _settings: None, raising=False)
        monkeypatch.setattr(lazy.observability, "configure_logging", lambda _form: None, raising=False)
        for arguments in ([], ["--open"]):
            with pytest.raises(SystemExit):
                main(["serve", "--port", "0", *arguments])
        (url,) = opened
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ui/", url)
        assert "there is no page where --ui is off" in refusal("--open", "--ui", "false")

    def test_an_unknown_variable(self, refusal: Callable[..., str]) -> None:
        said = refusal(VISAVIS_MAX_BYTE="1")
        assert "VISAVIS_MAX_BYTE: there is no such setting (did you mean VISAVIS_MAX_BYTES?); see " in said
        assert "VISAVIS_SMTP: there is no such setting; see " in refusal(VISAVIS_SMTP="1")
        assert "VISAVIS_QUEUE: expected a whole number" in refusal(VISAVIS_QUEUE="many")
        assert "visavis: --fmr: " in refusal("--fmr", "nonsense")


class TestCommand:
    @pytest.fixture(autouse=True)
    def _converted(self, recognizer: Recognizer) -> None:
        """The cache holds the models: those that the fixture loads."""

    @pytest.mark.thorough
    def test_sigterm_under_load_answers_what_was_accepted(self, cache_dir: Path, astronaut: Path) -> None:
        body = json.dumps({"images": [{"base64": in_base64(astronaut.read_bytes())}] * 2}).encode()
        with serving(cache_dir, "--workers", "2") as (process, port):
            statuses: list[int] = []
            server = Listening(port, None)  # type: ignore[arg-type]  # it is in another process

            def call() -> None:
                statuses.append(server.call("POST", "/v1/embed", body, JSON).status)

            clients = [threading.Thread(target=call) for _ in range(12)]
            for client in clients:
                client.start()

            def accepted() -> bool:
                numbers = re.findall(
                    r"^visavis_pool_(?:busy|waiting) (\d+)", server.call("GET", "/metrics").body.decode(), re.MULTILINE
                )
                return sum(map(int, numbers)) + len(statuses) >= len(clients)

            eventually(accepted)
            process.send_signal(signal.SIGTERM)
            for client in clients:
                client.join(PATIENCE_S)
            assert process.wait(PATIENCE_S) == 0
            assert statuses == [200] * len(clients)
            log = [json.loads(line) for line in process.stderr or () if line.startswith("{")]
        assert sum(entry["route"] == "/v1/embed" and entry["status"] == 200 for entry in log) == len(clients)

    @pytest.mark.thorough
    def test_a_request_on_a_connection_that_was_accepted_is_still_answered(self, cache_dir: Path) -> None:
        with serving(cache_dir) as (process, port):
            server = Listening(port, None)  # type: ignore[arg-type]  # likewise
            fresh, used = server.connect(), server.connect("GET /healthz HTTP/1.1\nHost: a\n\n")
            first = b""
            while not first.endswith(b"}"):
                first += used.recv(65536)
            assert first.startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            for connection in (fresh, used):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = read_all(connection)
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"connection: close" in answer.lower()
            assert process.wait(PATIENCE_S) == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections may be made that nobody takes")
    @pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.thorough)])
    @pytest.mark.thorough
    def test_sigterm_resets_no_connection_that_was_made(self, cache_dir: Path, processes: str) -> None:
        seen: Counter[str] = Counter()
        with serving(cache_dir, "--processes", processes) as (process, port):

            def knock() -> None:
                while True:
                    try:
                        connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
                    except OSError:
                        return  # it is over
                    with connection:
                        try:
                            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                            answer = b"".join(iter(lambda: connection.recv(65536), b""))  # noqa: B023  # at once
                        except OSError as error:
                            seen[type(error).__name__] += 1
                        else:
                            seen[answer[:12].decode()] += 1

            clients = [threading.Thread(target=knock) for _ in range(20)]
            for client in clients:
                client.start()
            eventually(lambda: seen.total() > 100)
            process.send_signal(signal.SIGTERM)
            for client in clients:
                client.join(PATIENCE_S)
            assert process.wait(PATIENCE_S) == 0
        assert set(seen) == {"HTTP/1.1 200"}

    @pytest.mark.thorough
    @pytest.mark.parametrize("processes", ["1", "2"])
    def test_sigterm_under_costly_load_ends_soon_after_the_grace(self, cache_dir: Path, processes: str) -> None:
        grace = ("--grace-s", "2", "--processes", processes)
        body = json.dumps({"images": [{"base64": STRIP}] * 15}).encode()
        with serving(cache_dir, *grace, "--workers", "2", "--min-face", "0.08") as (process, port):
            server = Listening(port, None)  # type: ignore[arg-type]  # likewise
            answers: list[RawAnswer] = []

            def ask() -> None:
                with suppress(OSError, http.client.HTTPException):  # the process has ended
                    answers.append(server.call("POST", "/v1/detect", body, JSON))

            clients = [threading.Thread(target=ask) for _ in range(20)]
            for client in clients:
                client.start()
            lazy = [server.connect(head) for head in ("", "POST /v1", HEAD, f"{HEAD}Content-Length: 100\n\n{{")]
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE_S)
            for client in clients:
                client.join(PATIENCE_S)
            for connection in lazy:
                connection.close()
            log = "".join(process.stderr or ())
        assert "the grace is over" in log
        if "Timeout (0:00:03.5" in log:  # on a busy machine a network runs for longer than threads have to end
            return
        assert code == 0
        assert len(answers) == len(clients)
        refused = [answer for answer in answers if answer.status != 200]
        assert {(answer.status, answer.json()["code"]) for answer in refused} == {(503, "overloaded")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert any("the server is stopping" in answer.json()["detail"] for answer in refused)
        assert "Traceback" not in log
        assert '"traceback"' not in log

    @pytest.mark.thorough
    def test_a_thread_that_cannot_be_stopped_ends_with_the_process(self, tmp_path: Path) -> None:
        program = [sys.executable, "-c", STUCK, str(SUPPORT), sqlite_url(tmp_path / "galleries.db")]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            server = Listening(int(process.stdout.readline()), None)  # type: ignore[arg-type]  # likewise
            answers: list[RawAnswer] = []
            client = in_background(server, answers)
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 1
            client.join(PATIENCE_S)
        assert [(answer.status, answer.json()["code"]) for answer in answers] == [(503, "overloaded")]

    @pytest.mark.thorough
    def test_several_processes(self, cache_dir: Path) -> None:
        with serving(cache_dir, "--processes", "2", "--log-format", "text") as (process, port):
            assert Listening(port, None).call("GET", "/readyz").status == 200  # type: ignore[arg-type]  # likewise
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0

    @pytest.mark.thorough
    def test_the_doctor_sees_it(self, cache_dir: Path) -> None:
        with serving(cache_dir, "--auth", "on", VISAVIS_KEYS="read:a-secret-that-the-doctor-has") as (_process, port):
            url = f"http://127.0.0.1:{port}"
            assert doctor(cache_dir, url, "--key", "a-secret-that-the-doctor-has") == (0, True, [])
            code, ready, remedies = doctor(cache_dir, url)
            assert (code, ready, remedies) == (1, True, ["name a key that it knows: --key"])
        assert doctor(cache_dir, url) == (1, None, ["check the address, and whether it runs"])

    @pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.thorough)])
    @pytest.mark.thorough
    def test_over_tls(self, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str) -> None:
        cert = tmp_path / "cert.pem"
        make_certificate(cert)
        files = ("--tls-cert", str(cert), "--tls-key", str(cert.with_suffix(".key")))
        store = f"sqlite:///{tmp_path}/galleries.db"
        with serving(cache_dir, "--processes", processes, "--store", store, *files) as (process, port):
            url = f"https://127.0.0.1:{port}"
            with Client(url) as stranger, pytest.raises(ServerUnreachable, match="certificate"):
                stranger.models()
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))
            with Client(url) as client:
                assert client.health()
                assert client.models()
                client.create_gallery("team")
            assert doctor(cache_dir, url) == (0, True, [])
            with pytest.raises((OSError, HTTPException)):
                Listening(port, None).call("GET", "/healthz")  # type: ignore[arg-type]  # it is in another process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0

    @pytest.mark.usefixtures("interruptible")
    def test_ctrl_c(self, cache_dir: Path) -> None:
        with serving(cache_dir) as (process, _port):
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
