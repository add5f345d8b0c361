"""An HTTP server on this machine that serves files well, and on request badly in every way that is known."""

import gzip
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import unquote, urlsplit


class Handler(BaseHTTPRequestHandler):
    """Answers one request: as told, or well."""

    protocol_version = "HTTP/1.1"
    server: "ModelServer"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        answers = self.server.answers
        (answers.popleft() if answers else serve)(self)

    @property
    def content(self) -> bytes | None:
        return self.server.files.get(unquote(urlsplit(self.path).path).rpartition("/")[2])

    def head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


Answer: TypeAlias = Callable[[Handler], None]


class ModelServer(ThreadingHTTPServer):
    """Serves files by the last part of their paths.

    Attributes:
        files: that there are.
        answers: to the next requests, in place of good ones.
        requests: paths and headers that came.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.files: dict[str, bytes] = {}
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_arguments: object) -> None:
        """Let clients that go away go."""


@contextmanager
def model_server(tls: ssl.SSLContext | None = None) -> Iterator[ModelServer]:
    """Give a server that runs."""
    with ModelServer(tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


# --- answers


def serve(handler: Handler) -> None:
    """Serve the file, or the rest of it that is asked for."""
    content = handler.content
    if content is None:
        return status(404)(handler)
    start = 0
    if asked := handler.headers.get("Range"):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return status(416, {"Content-Range": f"bytes */{len(content)}"})(handler)
    headers: dict[str, object] = {"Content-Length": len(content) - start}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.head(206 if start else 200, headers)
    handler.wfile.write(content[start:])
    return None


def status(code: int, headers: Mapping[str, object] | None = None) -> Answer:
    """Answer with a status."""
    return lambda handler: handler.head(code, {"Content-Length": 0, **(headers or {})})


def redirect(place: str) -> Answer:
    """Lead elsewhere."""
    return status(302, {"Location": place})


def send(
    body: bytes, headers: Mapping[str, object] | None = None, *, length: int | None = None, code: int = 200
) -> Answer:
    """Send what is given, whatever was asked for; the connection ends after it where the length says more."""

    def answer(handler: Handler) -> None:
        declared = len(body) if length is None else length
        handler.head(code, {"Content-Length": declared, **(headers or {})})
        handler.wfile.write(body[:declared])
        if declared > len(body):
            handler.cut()

    return answer


def cut_after(count: int) -> Answer:
    """Serve the beginning of the file, or of its rest, and close the connection."""

    def answer(handler: Handler) -> None:
        content = handler.content or b""
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        headers: dict[str, object] = {"Content-Length": len(content) - start}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, headers)
        handler.wfile.write(content[start : start + count])
        handler.cut()

    return answer


def stall_after(count: int, until: threading.Event) -> Answer:
    """Serve the beginning of the file, and then nothing until something happens."""

    def answer(handler: Handler) -> None:
        content = handler.content or b""
        handler.head(200, {"Content-Length": len(content)})
        handler.wfile.write(content[:count])
        handler.wfile.flush()
        until.wait(60)
        handler.cut()

    return answer


def without_length(body: bytes | None = None) -> Answer:
    """Serve the file, or what is given, and end it by closing the connection."""

    def answer(handler: Handler) -> None:
        handler.head(200, {"Connection": "close"})
        handler.wfile.write(body if body is not None else handler.content or b"")
        handler.cut()

    return answer


def chunked(handler: Handler) -> None:
    """Serve the file in chunks, whose sum nobody declares."""
    handler.head(200, {"Transfer-Encoding": "chunked"})
    content = handler.content or b""
    for at in range(0, len(content), 50_000):
        piece = content[at : at + 50_000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def compressed(handler: Handler) -> None:
    """Serve the file compressed, though nobody asked for that."""
    body = gzip.compress(handler.content or b"")
    send(body, {"Content-Encoding": "gzip"})(handler)


def ignoring_ranges(handler: Handler) -> None:
    """Serve the whole file, whatever was asked for."""
    send(handler.content or b"")(handler)


def noise(handler: Handler) -> None:
    """Send what is no HTTP."""
    handler.wfile.write(b"\0\xff" * 500)
    handler.cut()
