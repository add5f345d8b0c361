"""Clients that want to keep a server from answering others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from serving import PATIENCE_S

CHUNKED = b"POST /v1/detect HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
KINDS = {
    "chunks of a byte": (CHUNKED, b"1\r\na\r\n" * 50_000),
    "chunks of 32 bytes": (CHUNKED, (b"20\r\n" + b"a" * 32 + b"\r\n") * 5_000),
    "segments of a byte": (CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 20000000"), b"a"),
    "headers": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"a:\r\n" * 60_000),
    "requests without a pause": (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000),
}


@contextmanager
def hostile(port: int, kind: str, count: int) -> Iterator[None]:
    """Have so many clients send what costs a server much, again and again, until the block ends."""
    head, data = KINDS[kind]
    over = threading.Event()

    def attack() -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(1)
                connection.sendall(head)
                while not over.is_set():
                    connection.sendall(data)

    threads = [threading.Thread(target=attack) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
