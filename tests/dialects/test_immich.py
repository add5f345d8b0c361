"""The contract of Immich's machine learning, by requests as Immich makes them, with an upstream of our own."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import numpy as np
import pytest
from conftest import ROOT
from serving import Caller, curl_form

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.models.catalogue import PACKS
from visavis.server.app import create_app
from visavis.server.dialects import immich

FACES = {
    "detection": {"modelName": "buffalo_l", "options": {"minScore": 0.7}},
    "recognition": {"modelName": "buffalo_l"},
}
CLIP = {"visual": {"modelName": "ViT-B-32__openai"}}
SEEN = {"clip": "[0.1,0.2]", "imageHeight": 1, "imageWidth": 2}


@dataclass
class Upstream:
    """Stands in for Immich's machine learning, and keeps what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    answers: tuple[int, bytes, dict[str, str]] = (200, json.dumps(SEEN).encode(), {})
    let: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(scope="module")
def machine() -> Iterator[Upstream]:
    upstream = Upstream()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            upstream.asked.append((self.path, self.headers.get("content-type", ""), body))
            status, data, headers = upstream.answers
            if status == 0:
                assert upstream.let.wait(30)
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815  # as the library calls it

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        upstream.url = f"http://127.0.0.1:{web.server_port}"
        yield upstream
        upstream.let.set()
        web.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def served(machine: Upstream, recognizer: Recognizer) -> Iterator[Caller]:
    settings = Settings(dialects=("immich",), immich_upstream=machine.url, max_body_bytes=2_000_000)
    with Caller(settings, recognizer) as server:
        yield server


@pytest.fixture
def upstream(machine: Upstream) -> Upstream:
    machine.asked.clear()
    machine.answers = Upstream().answers
    return machine


@pytest.fixture
def server(served: Caller, upstream: Upstream) -> Caller:
    assert upstream.asked == []
    return served


def predict(server: Caller, entries: object, **parts: object) -> httpx.Response:
    text = entries if isinstance(entries, str) else json.dumps(entries)
    content, kind = curl_form(entries=text, **parts)
    return server.request("POST", "/predict", content=content, headers={"Content-Type": kind})


def test_faces_are_answered_here(server: Caller, upstream: Upstream, recognizer: Recognizer, astronaut: Path) -> None:
    photo: Any = ("blob", astronaut.read_bytes())
    told = predict(server, {"facial-recognition": FACES}, image=photo).json()
    (seen,) = recognizer.embed(astronaut)
    assert seen.embedding is not None
    (face,) = told["facial-recognition"]
    assert (told["imageHeight"], told["imageWidth"]) == (512, 512)
    assert np.allclose([face["boundingBox"][edge] for edge in ("x1", "y1", "x2", "y2")], seen.box_xyxy, atol=0.5)
    vector = json.loads(face["embedding"])
    assert vector[:128] == pytest.approx(seen.embedding.tolist(), abs=1e-6)
    assert vector[128:] == [0.0] * 384
    assert 0.7 <= face["score"] <= 1
    unsure = {**FACES, "detection": {"modelName": "buffalo_l", "options": {"minScore": 1.1}}}
    assert predict(server, {"facial-recognition": unsure}, image=photo).json()["facial-recognition"] == []
    assert upstream.asked == []


def test_all_else_is_passed_on_byte_for_byte(server: Caller, upstream: Upstream, astronaut: Path) -> None:
    photo: Any = ("blob", astronaut.read_bytes())
    for entries, parts in (
        ({"clip": CLIP}, {"image": photo}),
        ({"clip": {"textual": {"modelName": "x"}}}, {"text": "a red door"}),
        ({"ocr": {}}, {"image": photo}),
    ):
        content, kind = curl_form(entries=json.dumps(entries), **parts)
        answer = server.request("POST", "/predict", content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()) == (200, SEEN)
        assert upstream.asked.pop() == ("/predict", kind, content)
    assert server.get("/ping").status_code == 200
    assert upstream.asked.pop()[0] == "/ping"
    upstream.answers = (500, b"no such model", {"Content-Type": "text/plain"})
    refused = predict(server, {"clip": CLIP}, image=photo)
    assert (refused.status_code, refused.text, refused.headers["content-type"]) == (500, "no such model", "text/plain")


def test_a_request_of_both_is_split(server: Caller, upstream: Upstream, astronaut: Path) -> None:
    photo: Any = ("blob", astronaut.read_bytes())
    told = predict(server, {"clip": CLIP, "facial-recognition": FACES}, image=photo).json()
    assert told["clip"] == SEEN["clip"]
    assert (len(told["facial-recognition"]), told["imageWidth"]) == (1, 512)
    ((path, _, body),) = upstream.asked
    assert path == "/predict"
    assert json.dumps({"clip": CLIP}).encode() in body
    assert photo[1] in body
    assert b"facial-recognition" not in body
    for status, data, expected in ((503, b"{}", 503), (200, b"no JSON", 502), (200, b"[]", 502)):
        upstream.answers = (status, data, {})
        both = predict(server, {"clip": CLIP, "facial-recognition": FACES}, image=photo)
        assert both.status_code == expected


def test_what_is_wrong(server: Caller, upstream: Upstream, astronaut: Path) -> None:
    photo: Any = ("blob", astronaut.read_bytes())
    alone = {"detection": {"modelName": "buffalo_l"}}
    strange = {**FACES, "detection": {"modelName": "buffalo_l", "options": {"minScore": "high"}}}
    badly: tuple[Any, ...] = ([], {}, 1, alone, strange)
    for entries in ("no JSON", "[]", "1", *({"facial-recognition": each} for each in badly)):
        answer = predict(server, entries, image=photo)
        assert (answer.status_code, answer.json()) == (422, {"detail": "Invalid request format."}), entries
    assert server.request("POST", "/predict").status_code == 422
    broken: Any = ("blob", b"no image")
    for parts in ({"image": broken}, {}, {"text": "a red door"}):
        assert predict(server, {"facial-recognition": FACES}, **parts).status_code == 400
    large: Any = ("blob", bytes(3_000_000))
    assert predict(server, {"clip": CLIP}, image=large).status_code == 413
    assert upstream.asked == []
    # What goes wrong on the way, and with the upstream.
    for answers, told in (
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), "redirects"),
        ((200, bytes(3_000_000), {}), "does not answer"),
    ):
        upstream.answers = answers
        failed = predict(server, {"clip": CLIP}, image=photo)
        assert failed.status_code == 502
        assert told in failed.json()["detail"]
    upstream.answers = (200, b"[" * 100_000, {})
    failed = predict(server, {"clip": CLIP, "facial-recognition": FACES}, image=photo)
    assert (failed.status_code, failed.json()["detail"]) == (502, "the upstream does not answer in JSON")
    upstream.answers = (0, b"", {})
    with mock.patch.object(immich, "_ANSWER_S", 0.05):
        assert predict(server, {"clip": CLIP}, image=photo).status_code == 504
    upstream.let.set()


def test_settings_that_are_refused(recognizer: Recognizer) -> None:
    url = "http://127.0.0.1:9"
    for given, why in (
        ({}, "immich needs VISAVIS_IMMICH_UPSTREAM"),
        ({"immich_upstream": "immich:3003"}, "immich_upstream must be a URL"),
        ({"immich_upstream": url, "pack": "dlib"}, "serve with another pack than dlib, such as sface"),
        ({"immich_upstream": url, "pack": "vggface2"}, "another pack than vggface2"),
    ):
        with pytest.raises(InvalidOption, match=why):
            create_app(Settings(dialects=("immich",), **given))  # type: ignore[arg-type]  # settings
    with Caller(Settings(dialects=("immich",), immich_upstream=url), recognizer) as server:
        assert predict(server, {"clip": CLIP}, text="x").status_code == 502  # nobody is there
        assert server.get("/ping").status_code == 502
    locked = Settings(dialects=("immich",), immich_upstream=url, keys=(("read", "a-long-key-of-the-scope-read"),))
    with Caller(locked, recognizer) as server:
        assert predict(server, {"clip": CLIP}, text="x").status_code == server.get("/ping").status_code == 401


def test_the_distances_of_the_page_are_those_of_the_packs() -> None:
    page = (ROOT / "docs" / "dialects" / "immich.md").read_text()
    told = {
        name: float(distance)
        for names, distance in re.findall(r"^\| (`[^|]*`) \| ([0-9.]+) \|$", page, re.MULTILINE)
        for name in re.findall("`([^`]+)`", names)
    }
    refused = {"dlib", "dlib-cosine", "vggface2"}
    assert told == {name: pack.cluster_threshold for name, pack in PACKS.items() if name not in refused}
