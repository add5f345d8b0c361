"""What others notice of hostile and of costly callers: health and cheap calls, beside dripping and searching ones.

python bench/hostile.py                 twenty seconds
python bench/hostile.py --seconds 60    longer
python bench/hostile.py --dripping 0    costly callers alone
"""

import argparse
import asyncio
import base64
import io
import json
import tempfile
from contextlib import suppress

import PIL.Image
from http_load import Load, http_request, run_clients
from server import free_port, running, visavis_server

COSTLY = 20
STRIP_WH = (32, 64_031)
DRIP = b"1\r\n \r\n" * 10_000


def costly_request() -> bytes:
    """Return a small request that costs nearly all that one may."""
    buffer = io.BytesIO()
    PIL.Image.new("P", STRIP_WH).save(buffer, "GIF")
    strip = {"base64": base64.b64encode(buffer.getvalue()).decode()}
    return http_request("/v1/detect", json.dumps({"images": [strip] * 15}).encode(), "application/json")


async def drip(port: int) -> None:
    """Send a body in chunks of one byte, again and again, until cancelled."""
    head = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head)
                while True:
                    writer.write(DRIP)
                    await writer.drain()
            finally:
                writer.close()


async def measure(port: int, seconds: float, dripping: int) -> tuple[Load, Load, Load]:
    """Return what a client sees of health and of galleries, and what the costly ones see."""
    hostile = [asyncio.ensure_future(drip(port)) for _ in range(dripping)]
    quick = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in ("/healthz", "/v1/galleries")]
    costly = run_clients(port, costly_request(), clients=COSTLY, seconds=seconds)
    loads = (run_clients(port, request, clients=1, seconds=seconds) for request in quick)
    try:
        health, galleries, searches = await asyncio.gather(*loads, costly)
    finally:
        for each in hostile:
            each.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
    return health, galleries, searches


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--dripping", type=int, default=4, help="connections that send chunks of one byte")
    options = parser.parse_args()
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(*visavis_server(port, workers=2, threads=1, store=f"sqlite:///{folder}/galleries.db", grace_s=5)),
    ):
        results = asyncio.run(measure(port, options.seconds, options.dripping))
    for name, load in zip(("/healthz", "/v1/galleries", f"{COSTLY} costly clients"), results, strict=True):
        print(
            f"{name:20} {len(load.accepted_s):6} answered, p50 {load.percentile_ms(50):8.1f} ms, "
            f"p99 {load.percentile_ms(99):8.1f} ms, {dict(load.statuses)}, {dict(load.failures)}"
        )


if __name__ == "__main__":
    main()
