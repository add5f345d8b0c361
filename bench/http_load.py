"""A load generator that leaves the processor to the server: prepared requests over kept-alive connections."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

_RETRY_S = 0.2  # a client that was turned away comes back after this
_TIMEOUT_S = 60  # nobody waits longer: a server that hangs is a failure


@dataclass(slots=True)
class Load:
    """What a run of clients saw."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return len(self.accepted_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the accepted requests' latency, in milliseconds."""
        return 1000 * float(np.percentile(self.accepted_s, percent)) if self.accepted_s else float("nan")


def http_request(path: str, body: bytes, content_type: str) -> bytes:
    """Return a POST request, ready to be sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: [::1]\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def multipart(parts: dict[str, bytes]) -> tuple[bytes, str]:
    """Return a multipart body of JPEG files, and its content type."""
    boundary = "visavis-bench"
    chunks = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in parts.items()
    ]
    return b"".join(chunks) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def run_clients(port: int, request: bytes, *, clients: int, seconds: float, requests: int | None = None) -> Load:
    """Let so many clients send the same request, one after the other each, for a time or a number of requests."""
    load = Load()
    start = time.perf_counter()
    left = [requests if requests is not None else -1]

    async def client() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while time.perf_counter() - start < seconds and left[0] != 0:
            left[0] -= 1
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                sent = time.perf_counter()
                status, keeps = await asyncio.wait_for(_exchange(*connection, request), _TIMEOUT_S)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                load.failures[type(error).__name__] += 1
                connection = None
                continue
            load.statuses[status] += 1
            if status < 300:  # noqa: PLR2004  # a success
                load.accepted_s.append(time.perf_counter() - sent)
            else:
                await asyncio.sleep(_RETRY_S)
            if not keeps:
                connection[1].close()
                connection = None
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bool]:
    """Send a request and read the whole answer; return its status, and whether the connection can be used again."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
    await reader.readexactly(length)
    return int(head.split(" ", 2)[1]), "connection: close" not in head
