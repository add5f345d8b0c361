"""What tests of the server share: the application called in this process, and a server that listens."""

import asyncio
import base64
import http.client
import json
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import httpx
import numpy as np
from fastapi import FastAPI

from visavis import Face, Recognizer
from visavis.config import Settings
from visavis.core.image import DEFAULT_LIMITS
from visavis.models.catalogue import DLIB
from visavis.models.recognizer import Observed
from visavis.models.runtime import RuntimeSpec
from visavis.server.app import create_app
from visavis.server.listening import bind, make_server
from visavis.types import Faces, Quality

PATIENCE_S = 30


def apart(settings: Settings) -> Settings:
    """Return settings whose galleries and keys, unless a test says where, are nowhere: not those of whoever tests."""
    nowhere = Path(tempfile.gettempdir(), secrets.token_hex(8))
    return replace(
        settings,
        store=settings.store or sqlite_url(nowhere / "galleries.db"),
        keys_file=settings.keys_file or nowhere / "keys.sqlite",
    )


def vector(seed: int, dimension: int = 128) -> list[float]:
    """Return an embedding that is far from those of all other seeds."""
    drawn = np.random.default_rng(seed).normal(size=dimension)
    return [float(number) for number in drawn.astype(np.float32)]


def ndjson(*lines: object) -> bytes:
    """Return lines of JSON; bytes are lines as they are."""
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def from_ndjson(data: bytes) -> list[dict[str, Any]]:
    """Return what lines of JSON say."""
    return [json.loads(line) for line in data.splitlines()]


def sqlite_url(path: Path) -> str:
    """Return the URL of a store in a file."""
    return f"sqlite:///{quote(str(path))}"


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def curl_form(**parts: object) -> tuple[bytes, str]:
    """Return a form, byte for byte as ``curl -F`` sends it, and its content type; files are (name, bytes)."""
    boundary, body = "------------------------d74496d66958873e", b""
    for name, part in parts.items():
        filename, data = part if isinstance(part, tuple) else (None, str(part).encode())
        head = f'Content-Disposition: form-data; name="{name}"'
        if filename is not None:
            head += f'; filename="{filename}"\r\nContent-Type: {_CURL_TYPES.get(filename[-4:], _BINARY)}'
        body += f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


_CURL_TYPES, _BINARY = {".jpg": "image/jpeg", ".png": "image/png"}, "application/octet-stream"


class Caller(AbstractContextManager["Caller"]):
    """Calls an application without a network."""

    def __init__(self, settings: Settings, recognizer: Recognizer) -> None:
        self.app = create_app(apart(settings), recognizer)
        self._loop = asyncio.new_event_loop()
        self._lifespan = self.app.router.lifespan_context(self.app)
        # An exception that reaches the server is a fault of the application.
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def __enter__(self) -> "Caller":  # noqa: PYI034  # Self is for Python 3.11 and later
        self._loop.run_until_complete(self._lifespan.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self._loop.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx takes them
        return self._loop.run_until_complete(self._client.request(method, path, **options))

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, value: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("POST", path, json=value, headers=headers)


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Return a problem after looking at what all problems have in common."""
    assert answer.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = answer.json()
    assert members["status"] == answer.status_code
    assert members["request_id"] == answer.headers["x-request-id"]
    assert members["type"] == f"urn:visavis:problem:{members['code']}"
    assert members["title"]
    assert members["detail"]
    return members


@dataclass(frozen=True)
class Listening:
    """A server that listens on a port of this machine."""

    port: int
    app: FastAPI

    def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> "RawAnswer":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request(method, path, body or None, dict(headers or {}))
        return RawAnswer.read(connection)

    def connect(self, head: str = "") -> socket.socket:
        """Open a connection and send the beginning of a request."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        connection.sendall(head.replace("\n", "\r\n").encode())
        return connection


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, connection: http.client.HTTPConnection) -> "RawAnswer":
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return cls(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def json(self) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.body)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or resets it."""
    chunks = []
    with connection, suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


@contextmanager
def listening(settings: Settings, recognizer: Recognizer) -> Iterator[Listening]:
    """Run a server in a thread until the block ends."""
    app = create_app(apart(settings), recognizer)
    listener = bind(settings)
    ready = threading.Event()
    server = make_server(app, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield Listening(listener.getsockname()[1], app)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@dataclass
class SlowRecognizer:
    """Finds one face in everything, as soon as it is let."""

    let: threading.Event = field(default_factory=threading.Event)
    begun: list[object] = field(default_factory=list)
    pack: Any = DLIB
    runtime: Any = field(default_factory=RuntimeSpec)
    limits: Any = DEFAULT_LIMITS
    threshold: float = 0.6

    def detect_many(self, images: Any, **_options: Any) -> Iterator[Faces[Face]]:  # noqa: ANN401  # a stand-in
        for image in images:
            self.begun.append(image)
            assert self.let.wait(PATIENCE_S)
            yield Faces([Face(np.zeros(4, np.float32), 1.0, np.zeros((5, 2), np.float32))])

    def observe_many(self, images: Any, **_options: Any) -> Iterator[Faces[Observed]]:  # noqa: ANN401  # likewise
        for image in images:
            self.begun.append(image)
            assert self.let.wait(PATIENCE_S)
            face = Face(
                box_xyxy=np.array([0, 0, 100, 100], np.float32),
                score=1.0,
                landmarks=np.zeros((5, 2), np.float32),
                embedding=np.array(vector(len(self.begun)), np.float32),
                quality=Quality(100.0, 1.0, 1.0),
            )
            yield Faces([Observed(face, np.zeros((150, 150, 3), np.uint8))])

    def as_recognizer(self) -> Recognizer:
        return cast("Recognizer", self)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    moment = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        moment.wait(0.01)
    raise AssertionError("it never came true")
