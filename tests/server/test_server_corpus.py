"""Every broken, hostile and odd file, sent in every form: an answer in time, never a fault of the server."""

import functools
import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from effort import effort, scaled
from serving import Listening, RawAnswer, in_base64, listening

from visavis import Recognizer
from visavis.config import Settings

JSON = {"Content-Type": "application/json"}
LONGEST_S = 5
MOST_GROWTH_MB = 300
Send = Callable[[Path], RawAnswer]


@pytest.fixture(scope="module")
def files(test_data: Path) -> list[Path]:
    return sorted((test_data / "images/bad").iterdir())[:: effort(8, 1)]


@pytest.fixture(scope="module")
def server(cache_dir: Path) -> Iterator[Listening]:
    recognizer = Recognizer(
        precision="f32", min_face=0.4, cache_dir=cache_dir, threads=1
    )  # quick: this is not about faces
    with listening(Settings(port=0, fetch_allow=("127.0.0.1",)), recognizer) as server:
        yield server


@pytest.fixture(scope="module")
def web(test_data: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(test_data / "images/bad"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def memory_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory is read from Linux's /proc")
    found = re.search(r"VmRSS:\s*(\d+) kB", status.read_text())
    assert found
    return int(found[1]) / 1e3


@pytest.fixture(params=["form", "base64", "url", "old array", "old url"])
def send(request: pytest.FixtureRequest, server: Listening, web: str) -> Send:
    def form(file: Path) -> RawAnswer:
        head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        body = head + file.read_bytes() + b"\r\n--x--\r\n"
        return server.call("POST", "/v1/embed", body, {"Content-Type": "multipart/form-data; boundary=x"})

    def post(path: str, value: object) -> RawAnswer:
        return server.call("POST", path, json.dumps(value).encode(), JSON)

    forms: dict[str, Send] = {
        "form": form,
        "base64": lambda file: post("/v1/embed", {"images": [{"base64": in_base64(file.read_bytes())}]}),
        "url": lambda file: post("/v1/embed", {"images": [{"url": f"{web}/{quote(file.name)}"}]}),
        "old array": lambda file: post("/face-embedding/array", {"array": list(file.read_bytes())}),
        "old url": lambda file: post("/face-embedding/url", {"url": f"{web}/{quote(file.name)}"}),
    }
    return forms[request.param]


@scaled
def test_every_file_in_every_form(send: Send, files: list[Path]) -> None:
    send(files[0])
    before = memory_mb()
    for file in files:
        start = time.monotonic()
        answer = send(file)
        assert answer.status < 500, (file.name, answer.body)
        assert time.monotonic() - start < LONGEST_S, file.name
        results = answer.json().get("results", ())
        assert all(result["error"]["status"] < 500 for result in results if "error" in result), file.name
    assert memory_mb() - before < MOST_GROWTH_MB
