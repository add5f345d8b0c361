"""The server under load: overhead of HTTP, throughput, overload, and the old design beside it.

python bench/server.py                all of it, some four minutes
python bench/server.py --seconds 10   shorter overload
"""

import argparse
import asyncio
import base64
import functools
import http.client
import http.server
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from http_load import Load, http_request, multipart, run_clients
from portraits import hopper_path

from visavis import Recognizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from hostile_clients import KINDS, hostile

QUEUE = 16
MOST_COST_MS = 3.0  # of a request, beside the library
CLIENTS = 200
SOAK_REQUESTS = 5000


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, ready_path: str | None, environment: dict[str, str]) -> Iterator[int]:
    """Run a server until the block ends; yield its process id."""
    process = subprocess.Popen(  # noqa: S603  # our own command line
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(port, ready_path, process)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_until_ready(port: int, path: str | None, process: "subprocess.Popen[bytes]") -> None:
    """Wait for the server's own word, or for an open port where it has none."""
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}: {process.args!r}")
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1).close()
            else:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()  # loopback
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not become ready")


def visavis_server(port: int, **settings: object) -> tuple[list[str], int, str, dict[str, str]]:
    """Return what ``running`` needs for our server with these settings."""
    environment = {f"VISAVIS_{name.upper()}": str(value) for name, value in settings.items()}
    return [sys.executable, "-m", "visavis", "serve", "--port", str(port)], port, "/readyz", environment


def resident_mb(pid: int) -> float:
    """Return what a process holds in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def embed_request(image: bytes) -> bytes:
    """Return a request to embed one image's largest face."""
    body, content_type = multipart({"images": image})
    return http_request("/v1/embed", body, content_type)


def library_ms(image: bytes, rounds: int) -> float:
    """Return the median time of the library for the same work, one thread, in this process."""
    cv2.setNumThreads(1)
    recognizer = Recognizer(threads=1)
    times = []
    for _ in range(rounds + 5):
        start = time.perf_counter()
        recognizer.embed(image)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[5:])


def load(port: int, request: bytes, clients: int, seconds: float, requests: int | None = None) -> Load:
    """Run clients to their end."""
    return asyncio.run(run_clients(port, request, clients=clients, seconds=seconds, requests=requests))


def measure_overhead_and_throughput(image: bytes) -> None:
    """Compare one client, and two workers' worth of them, with the library in a loop."""
    alone = library_ms(image, 40)
    request = embed_request(image)
    port = free_port()
    with running(*visavis_server(port, workers=1, threads=1, queue=QUEUE)):
        load(port, request, 1, 30, 10)
        one = load(port, request, 1, 60, 60)
    port = free_port()
    with running(*visavis_server(port, workers=2, threads=1, queue=QUEUE)):
        load(port, request, 4, 30, 20)
        two = load(port, request, 4, 20)
    again = library_ms(image, 40)
    library = (alone + again) / 2  # before and after, as machines drift
    overhead = one.percentile_ms(50) / library - 1
    print(f"library, one thread                 {library:8.1f} ms an image, {1000 / library:6.1f} a second")
    print(f"server, one client, one worker      {one.percentile_ms(50):8.1f} ms, {overhead:+.1%}")
    print(
        f"server, four clients, two workers   {two.per_second:8.1f} a second, {two.per_second * library / 1000:.2f} x"
    )


def measure_cost_of_a_request(image: bytes, rounds: int = 100) -> None:
    """Compare requests of one image, as a form and as JSON, with the library; all in turns, so that none drifts.

    Raises:
        SystemExit: a request costs more than it may.
    """
    cv2.setNumThreads(1)
    recognizer, port = Recognizer(threads=1), free_port()
    form, form_type = multipart({"images": image})
    text = json.dumps({"images": [{"base64": base64.b64encode(image).decode()}]}).encode()
    times: dict[str, list[float]] = {"library": [], "form": [], "JSON": []}
    with running(*visavis_server(port, workers=1, threads=1)):
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask(body: bytes, content_type: str) -> None:
            connection.request("POST", "/v1/embed", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK or not json.loads(answer.read())["results"][0]["faces"]:
                raise SystemExit(f"the server answered {answer.status}")

        works: list[Callable[[], object]] = [
            lambda: recognizer.embed(image),
            lambda: ask(form, form_type),
            lambda: ask(text, "application/json"),
        ]
        for number in range(rounds + 10):
            for work, taken in zip(works, times.values(), strict=True):
                start = time.perf_counter()
                work()
                if number >= 10:  # noqa: PLR2004  # the first ones warm up
                    taken.append(1000 * (time.perf_counter() - start))
    library, *asked = (statistics.median(taken) for taken in times.values())
    costs = dict(zip(("form", "JSON"), (each - library for each in asked), strict=True))
    print(f"a request beside the library's {library:.1f} ms    ", end="")
    print(", ".join(f"{name} {cost:+.1f} ms" for name, cost in costs.items()), flush=True)
    if max(costs.values()) > MOST_COST_MS:
        raise SystemExit(f"a request costs more than {MOST_COST_MS} ms")


def measure_overload(image: bytes, seconds: float) -> None:
    """Let many more clients come than the queue holds, and watch answers, latency and memory."""
    port = free_port()
    request = embed_request(image)
    with running(*visavis_server(port, workers=2, threads=1, queue=QUEUE)) as pid:
        load(port, request, 2, 60, 40)
        service_ms = load(port, request, 2, 60, 60).percentile_ms(50)
        flood = load(port, request, CLIENTS, seconds)
        bound = 3 * (QUEUE + 2) * service_ms
        print(f"{CLIENTS} clients for {flood.seconds:.0f} s: {dict(flood.statuses)}, failures {dict(flood.failures)}")
        print(f"  accepted {flood.per_second:.1f} a second; p50 {flood.percentile_ms(50):.0f} ms, ", end="")
        print(f"p99 {flood.percentile_ms(99):.0f} ms; bound {bound:.0f} ms = 3 x {QUEUE + 2} x {service_ms:.0f} ms")
        before = resident_mb(pid)
        soak = load(port, request, 4, 3600, SOAK_REQUESTS)
        after = resident_mb(pid)
        print(f"  memory {before:.0f} MB, after {sum(soak.statuses.values())} more requests {after:.0f} MB ", end="")
        print(f"({after / before - 1:+.1%})")


def measure_old_design(image: bytes) -> None:
    """Send the old service's request to the old design and to visavis; images come from a local server."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "face.jpg").write_bytes(image)
        handler = functools.partial(_QuietFiles, directory=folder)
        files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=files.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{files.server_address[1]}/face.jpg"
        request = http_request("/face-embedding/url", json.dumps({"url": url}).encode(), "application/json")
        old, new = free_port(), free_port()
        gunicorn = [sys.executable, "-m", "gunicorn", "--chdir", str(Path(__file__).parent), "--workers", "2"]
        command = [*gunicorn, "--bind", f"127.0.0.1:{old}", "old_service:api"]
        for name, server, port in (
            ("Flask, gunicorn and dlib", (command, old, None, {"OMP_NUM_THREADS": "1"}), old),
            ("visavis", visavis_server(new, workers=2, threads=1, fetch_allow="127.0.0.1"), new),
        ):
            with running(*server):
                load(port, request, 2, 30, 10)
                result = load(port, request, 4, 15)
            print(
                f"POST /face-embedding/url, {name:26} {result.per_second:6.1f} a second, "
                f"p50 {result.percentile_ms(50):6.0f} ms, p99 {result.percentile_ms(99):6.0f} ms, "
                f"{dict(result.statuses)}",
                flush=True,
            )
        files.shutdown()


def measure_hostile_clients() -> None:
    """Ask whether the server lives, each time over a new connection, while others send what costs it much."""
    request = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    for kind in KINDS:
        for count in (1, 4):
            port = free_port()
            with running(*visavis_server(port)), hostile(port, kind, count):
                time.sleep(1)
                result = load(port, request, 1, 15)
            print(
                f"GET /healthz beside {count} of {kind:24} p50 {result.percentile_ms(50):6.0f} ms, "
                f"p99 {result.percentile_ms(99):6.0f} ms, {dict(result.statuses)}",
                flush=True,
            )


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    seconds = parser.parse_args().seconds
    image = hopper_path().read_bytes()
    measure_cost_of_a_request(image)
    measure_overhead_and_throughput(image)
    measure_old_design(image)
    measure_overload(image, seconds)
    measure_hostile_clients()


if __name__ == "__main__":
    main()
