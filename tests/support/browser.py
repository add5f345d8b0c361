"""A real browser without a window: Chromium, told what to do over its DevTools pipe."""

import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serving import PATIENCE_S

_LOADED = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))"


class Browser:
    """Opens pages and runs scripts in them."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, of: int) -> None:
        self._process, self._to, self._of = process, to, of
        self._number, self._unread = 0, b""

    def run(self, url: str, script: str) -> Any:  # noqa: ANN401  # JSON
        """Open a page, and return what an expression, or its promise, comes to in it."""
        target = self._do("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self._do("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        error = self._do("Page.navigate", {"url": url}, session).get("errorText")
        assert error is None, f"{url}: {error}"
        whole = {"expression": f"{_LOADED}.then(() => {script})", "awaitPromise": True, "returnByValue": True}
        found = self._do("Runtime.evaluate", whole, session)
        assert "exceptionDetails" not in found, found
        self._do("Target.closeTarget", {"targetId": target})
        return found["result"].get("value")

    def _do(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._of], [], [], PATIENCE_S)[0], "the browser says nothing"
            chunk = os.read(self._of, 1 << 20)
            assert chunk, "the browser is gone"
            self._unread += chunk
        message, self._unread = self._unread.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer


def program() -> str:
    """Return where Chromium is, or skip where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here")
    return found


@contextmanager
def browser(folder: Path, hosts: str) -> Iterator[Browser]:
    """Run Chromium until the block ends, or skip where there is none; ``hosts`` are its rules of resolving names."""
    (theirs_in, to), (of, theirs_out) = os.pipe(), os.pipe()
    command = [
        *("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"),
        *(program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={folder}"),
        f"--host-resolver-rules={hosts}",
    ]
    process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    with process:
        try:
            yield Browser(process, to, of)
        finally:
            process.kill()
            os.close(to)
            os.close(of)


class _Page(BaseHTTPRequestHandler):
    """Serves a page; where it stands before another server, hands all other calls on as they are."""

    protocol_version = "HTTP/1.1"
    server: "PageServer"

    def handle_one_request(self) -> None:
        """Answer whatever the method is."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/page":
            self._answer(200, {"Content-Type": "text/html"}, b"<!doctype html><title>a page</title>")
        elif self.server.before is None:
            self._answer(404, {}, b"")
        else:
            with closing(HTTPConnection("127.0.0.1", self.server.before, timeout=PATIENCE_S)) as connection:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                told = {name: value for name, value in answer.getheaders() if name.lower() != "content-length"}
                content = answer.read()
            self._answer(answer.status, told, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


class PageServer(ThreadingHTTPServer):
    """Somebody's server, with an empty ``/page`` for scripts to run in."""

    daemon_threads = True

    def __init__(self, address: str, port: int, before: int | None) -> None:
        self.before = before
        super().__init__((address, port), _Page)

    def handle_error(self, *_arguments: object) -> None:
        """Let browsers that go away go."""


@contextmanager
def page_server(address: str = "127.0.0.1", port: int = 0, before: int | None = None) -> Iterator[int]:
    """Serve a page until the block ends; give the port. All else goes on to the port ``before`` which it stands."""
    with PageServer(address, port, before) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)
