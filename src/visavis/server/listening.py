"""Listening sockets, limits on what comes and how long that takes, and a graceful end of the server."""

import asyncio
import ctypes
import faulthandler
import logging
import math
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, State
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess, multiprocess

from visavis.config import Settings
from visavis.errors import FetchFailed, InvalidOption
from visavis.server.problems import Problem

if sys.platform != "win32":
    import resource

_log = logging.getLogger("visavis.server")

_AS_IT_IS = "identity"
_CLOSE = {"Connection": "close"}  # the rest of the request is not worth reading
_GRACE_S = 1.0  # first the application may say that the time is over


class Account:
    """The bytes that all requests together hold in memory, of bodies and of what was fetched; any thread may count."""

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most
        self._lock = threading.Lock()

    @contextmanager
    def share(self, most: float = math.inf) -> Iterator[Callable[[int], None]]:
        """Yield what takes bytes for one request, all of which are given back at the end.

        It raises a ``Problem`` where there is no room for them, and ``FetchFailed`` beyond the most of one request.
        """
        taken: float = 0

        def take(count: int) -> None:
            nonlocal taken
            with self._lock:
                if taken + count > most:
                    cause = "together with others of the request: VISAVIS_MAX_BYTES"
                    raise FetchFailed("too_large") from ValueError(cause)
                if self.held + count > self._most:
                    headers = {"Retry-After": "1", **_CLOSE}
                    raise Problem("overloaded", "too many large requests at once", headers=headers)
                taken += count
                self.held += count

        try:
            yield take
        finally:
            with self._lock:
                self.held -= int(taken)
                taken = math.inf  # who still fetches finds no room


class BodyLimits:
    """ASGI middleware: a request that is too large or too slow ends in a ``Problem`` where its body is read."""

    def __init__(self, app: ASGIApp, account: Account, max_body_bytes: int, read_timeout_s: float) -> None:
        self._app = app
        self._account = account
        self._max_body_bytes = max_body_bytes
        self._read_timeout_s = read_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a ``receive`` that keeps within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = time.monotonic() + self._read_timeout_s
        headers = Headers(scope=scope)
        announced, encoding = headers.get("content-length", ""), headers.get("content-encoding", _AS_IT_IS)
        received, complete = 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            if announced.isascii() and announced.isdigit():
                self._check(int(announced[:20]))  # a client that announces too much is believed
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                detail = f"a request must arrive within {self._read_timeout_s:g} s"
                raise Problem("request_timeout", detail, headers=_CLOSE) from None
            count = len(message.get("body", b""))
            if count and encoding.lower() != _AS_IT_IS:
                detail = "the body is compressed: send it as it is, without Content-Encoding"
                raise Problem("unsupported_media_type", detail, headers={"Accept-Encoding": _AS_IT_IS, **_CLOSE})
            received += count
            complete = not message.get("more_body", False)
            self._check(received)
            take(count)
            return message

        with self._account.share() as take:
            await self._app(scope, limited, send)

    def _check(self, count: int) -> None:
        if count > self._max_body_bytes:
            detail = f"a request may have {self._max_body_bytes:,} bytes"
            raise Problem("body_too_large", detail, headers=_CLOSE)


_MOST_HEAD_BYTES = 32_768
_MOST_HEADERS = 128
# A body comes in pieces: chunks, and what of one is read at a time. So many may be of any size, and the others must
# have so many bytes on average: each costs the loop some 5 microseconds.
_FREE_PIECES, _LEAST_PIECE_BYTES = 10_000, 32
_MOST_READ_BYTES = 262_144
_MOST_PARSED_BYTES = 16_384  # in a turn of the loop, where they may be many pieces or headers
_LINGER_S = 2.0
_USEFUL_FILES = 8192
_TURNS = 5  # of the loop, from accepting a connection to having closed another one
_TOLD_EVERY_S = 60.0
_INCOMPLETE = (h11.IDLE, h11.SEND_BODY)


class _Requests(h11.Connection):
    """The requests of a connection, as h11 reads them, but for what only an attacker sends."""

    is_chunked = False  # as the body is that comes now
    _pieces = _bytes = 0

    def next_event(self) -> Any:  # noqa: ANN401  # an event, or a mark in its place
        """Read on; refuse too many headers, a body of two lengths, and one in crumbs."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = [name for name, _ in event.headers]
            self.is_chunked = b"transfer-encoding" in names
            self._pieces = self._bytes = 0
            if self.is_chunked and (b"content-length" in names or event.http_version < b"1.1"):
                raise h11.RemoteProtocolError("where the body ends is not sure")
            if len(names) > _MOST_HEADERS:
                raise h11.RemoteProtocolError("too many headers")
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._bytes += len(event.data)
            if self._pieces > _FREE_PIECES + self._bytes // _LEAST_PIECE_BYTES:
                raise h11.RemoteProtocolError("too many small pieces")
        return event

    def send(self, event: Any) -> Any:  # noqa: ANN401  # likewise
        """Return the bytes of an event; where an answer comes before the end of its request, it is the last one."""
        last = (b"connection", b"close")
        if isinstance(event, h11.Response) and self.their_state is h11.SEND_BODY and last not in event.headers:
            headers = [*event.headers.raw_items(), last]
            event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        return super().send(event)


class _Room:
    """Room for connections: for half as many as files may be open. Whose client is silent longest gives way."""

    def __init__(self) -> None:
        self.waiting: dict[TimedProtocol, None] = {}  # for their clients, longest first
        self.most = _allowed_files() // 2
        self._quiet_until = 0.0

    def make(self) -> None:
        """Close a connection, and say so, but not every time."""
        for longest in self.waiting:
            longest.give_way()
            break
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _TOLD_EVERY_S
            _log.warning("too many connections: for each new one, one is closed whose client is silent")

    def on_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Make room where no more files may be open, which asyncio tells a hundred times at once."""
        if str(context.get("message")).startswith("socket.accept()"):
            self.make()
        else:
            loop.default_exception_handler(context)


def _allowed_files() -> int:
    """Return how many files may be open, up to what is of use, after raising the limit."""
    if sys.platform == "win32":
        return _USEFUL_FILES
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (_USEFUL_FILES if each == resource.RLIM_INFINITY else each for each in limits)
    if soft < min(hard, _USEFUL_FILES):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _USEFUL_FILES), limits[1]))
            soft = hard
    return min(soft, _USEFUL_FILES)


class TimedConfig(uvicorn.Config):
    """Uvicorn's settings, the seconds within which a request must have arrived and an end be made, and room."""

    request_timeout_s: float
    grace_s: float
    room: _Room

    def load(self) -> None:
        """Load the application, and make room for connections, in the process that serves."""
        super().load()
        self.room = _Room()
        self.backlog = max(1, self.room.most // _TURNS)  # as many are accepted at once, before others have made room
        asyncio.get_running_loop().set_exception_handler(self.room.on_fault)


class _Transport:
    """A transport that its protocol closes; all else is as it is."""

    def __init__(self, transport: asyncio.Transport, protocol: "TimedProtocol") -> None:
        self._transport = transport
        self.close, self.is_closing = protocol.close, protocol.is_closing

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a transport has
        return getattr(self._transport, name)


class TimedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """Bounds what a connection may cost: the time until a request is complete, and the work of a turn of the loop.

    A connection whose request, head or body, is not complete in time is closed; soon where its answer was sent.
    """

    def __init__(
        self,
        config: TimedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: _Requests = _Requests(h11.SERVER, _MOST_HEAD_BYTES)
        self._room = config.room
        self._timeout_s = config.request_timeout_s + _GRACE_S
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._buffer = memoryview(b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for the first request."""
        self._transport = transport
        super().connection_made(cast("asyncio.Transport", _Transport(transport, self)))
        self._start()
        if len(self.connections) > self._room.most:
            self._room.make()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # as asyncio calls it
        """Return where to put what comes: so small that reading it takes little time, whatever it is."""
        plain = self._ended or (self.conn.their_state is h11.SEND_BODY and not self.conn.is_chunked)
        self._buffer = memoryview(bytearray(_MOST_READ_BYTES if plain else _MOST_PARSED_BYTES))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came, and keep no buffer until more comes."""
        buffer, self._buffer = self._buffer, memoryview(b"")
        self.data_received(bytes(buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of the request, if there is more."""
        if self._ended:
            return
        super().data_received(data)
        if not self._ended:
            (self._start if self.conn.their_state in _INCOMPLETE else self._stop)()

    def on_response_complete(self) -> None:
        """Go on to the next request, if it is there; else the connection may give way to others."""
        super().on_response_complete()
        if not self._ended and self.cycle.response_complete:
            self._room.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        self._ended = True
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection; where the client has more to send, read on for a while, and throw it away.

        For what was sent and is not read resets a connection, and that may take the answer from the client.
        """
        if self._ended or self.conn.their_state not in (h11.SEND_BODY, h11.ERROR):
            self._transport.close()
            return
        self._stop()
        self._ended = True
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._room.waiting[self] = None
        self._timer = self.loop.call_later(_LINGER_S, self._transport.close)

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._ended or self._transport.is_closing()

    def give_way(self) -> None:
        """Close the connection at once."""
        self._stop()
        self._transport.abort()

    def _start(self) -> None:
        """Begin to wait, unless that has begun: more bytes do not buy more time."""
        self._room.waiting.pop(self, None)
        self._room.waiting[self] = None
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout_s, self._time_over)

    def _stop(self) -> None:
        self._room.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_over(self) -> None:
        self._timer = None
        if self.conn.their_state in _INCOMPLETE:
            self._transport.close()


_BACKLOG = 2048
_LAST_CONNECTIONS_S = 0.1  # those that were made before the end are taken within this time
_LOOKS, _LOOK_S = 10, 0.05  # so often, and with such pauses: whether a request has begun on each of them
# After the grace, answers that say that it is over must be taken within the first, and threads end within the second.
_LAST_ANSWERS_S, _LAST_THREADS_S = 0.5, 1.5
# A filter of a socket, in the kernel's instructions, that drops what asks for a connection and nothing else: byte 13 of
# TCP's header has SYN without ACK.
_NO_MORE = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_SO_ATTACH_FILTER = 26  # of Linux, which Python does not name


def bind(settings: Settings) -> socket.socket:
    """Return the socket to listen on; an ``InvalidOption`` where the address cannot be had."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a client that does not read its answer is cut off
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * settings.read_timeout_s))
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        reason = error.strerror or error
        raise InvalidOption(f"cannot listen on {settings.host} port {settings.port}: {reason}") from error
    listener.set_inheritable(True)
    return listener


def refuse_more(listener: socket.socket) -> None:
    """Let no connection be made any more, where the system can; those that were made are still there to be taken."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_MORE))
    if sys.platform == "linux":
        with suppress(OSError):
            program = struct.pack("HP", len(_NO_MORE), ctypes.addressof(code))
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def check_certificate(settings: Settings) -> None:
    """Refuse, by an ``InvalidOption``, a certificate and its key that cannot be used."""
    cert, key = settings.tls_cert, settings.tls_key
    try:
        if cert and key:  # and no password, which would be asked for at a terminal
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except OSError as error:
        what = "are no certificate and its key, in PEM and without a password"
        reason = what if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror or error}"
        raise InvalidOption(f"{cert} and {key} {reason}") from error


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Return how to reach it."""
    host, port = listener.getsockname()[:2]
    return f"http{'s' if settings.tls_cert else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: FastAPI, listener: socket.socket, when_ready: Callable[[], None]) -> None:
    """Serve until a signal ends it; what was accepted is answered first, within the grace."""
    server = make_server(app, when_ready)
    for number in (signal.SIGINT, signal.SIGTERM):  # which uvicorn repeats when all is finished: the exit code is 0
        signal.signal(number, lambda _number, _frame: None)
    server.run(sockets=[listener])


def make_server(app: FastAPI, when_ready: Callable[[], None]) -> uvicorn.Server:
    """Return a server that calls a function when it takes calls."""
    return _Server(_config(app, app.state.settings), when_ready)


def serve_in_processes(factory: str, settings: Settings, listener: socket.socket) -> None:
    """Serve in several processes, which share the socket and make the application with a factory, "module:name"."""
    multiprocess.Process = _Process  # type: ignore[misc]  # there is no other way to choose it
    _Processes(_config(factory, settings), sockets=[listener]).run()


def _config(app: FastAPI | str, settings: Settings) -> TimedConfig:
    config = TimedConfig(
        app,
        factory=isinstance(app, str),
        http=TimedProtocol,
        ws="none",
        workers=settings.processes,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]  # a number
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    config.request_timeout_s, config.grace_s = settings.read_timeout_s, settings.grace_s
    return config


class _Server(uvicorn.Server):
    config: TimedConfig

    def __init__(self, config: TimedConfig, when_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._when_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        if not self.should_exit:
            _end_by(self.config)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the connections that are there, then no more; finish what was accepted, or break off after the grace."""
        state = self.config.loaded_app.state
        state.ready = False
        state.audits.over.set()  # which may take hours
        asyncio.get_running_loop().call_later(self.config.grace_s, self._break_off, state)
        # A request that still comes is answered, and the last one of its connection.
        self.server_state.default_headers.append((b"connection", b"close"))
        if self.config.workers == 1:  # else others take connections from the same sockets
            for listener in sockets or ():
                refuse_more(listener)
        await asyncio.sleep(_LAST_CONNECTIONS_S)
        for _ in range(_LOOKS):
            if any(map(_is_idle, self.server_state.connections)):
                await asyncio.sleep(_LOOK_S)
        await super().shutdown(sockets)

    def _break_off(self, state: State) -> None:
        """Let calls end, and then connections."""
        for pool in (state.pool, state.quick):
            pool.over.set()
        if tasks := len(self.server_state.tasks):
            _log.warning("the grace is over: %d calls are broken off", tasks)
        loop = asyncio.get_running_loop()
        for connection in self.server_state.connections:
            loop.call_later(_LAST_ANSWERS_S, connection.transport.abort)


def _is_idle(connection: Any) -> bool:  # noqa: ANN401  # of any of uvicorn's protocols
    return connection.cycle is None or connection.cycle.response_complete


class _Process(multiprocess.Process):
    """One of several processes, whose server is ours."""

    config: TimedConfig

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = _Server(self.config)
        return self._server


class _Processes(Multiprocess):
    """The process that has the others, and tells them at once to end."""

    config: TimedConfig

    def __init__(self, config: TimedConfig, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._tell)

    def _tell(self, number: int, _frame: FrameType | None) -> None:
        if not self.should_exit.is_set():
            _end_by(self.config)
            self.signal_queue.append(number)
            for listener in self.sockets:
                refuse_more(listener)
            for process in self.processes:
                if process.pid is not None and process.process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)


def _end_by(config: TimedConfig) -> None:
    """Let this process end soon after the grace, also where a thread holds the interpreter."""
    file = sys.stderr or os.open(os.devnull, os.O_WRONLY)
    faulthandler.dump_traceback_later(config.grace_s + _LAST_THREADS_S, exit=True, file=file)
