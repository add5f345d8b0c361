"""All dialects on one port: none takes a path from another or from the native API, and all see the same people."""

import json
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from serving import Caller, curl_form, listening, sqlite_url
from starlette.routing import Match

from visavis import Recognizer
from visavis.config import Settings
from visavis.server import dialects
from visavis.server.app import create_app
from visavis.server.problems import Problem

# Nextcloud's faces are those of the pack dlib, which Immich could not tell apart.
TOGETHER = tuple(name for name in dialects.NAMES if name != "immich")
UPSTREAM = "http://127.0.0.1:9"
KEY = "a-long-key-of-the-scope-admin"


def served_by(app: FastAPI, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> list[str]:
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    routes = [route for route in app.state.routes if route.matches(scope)[0] == Match.FULL]
    return [route.endpoint.__module__.rpartition(".")[2] for route in routes]


def test_no_path_is_anothers() -> None:
    app = create_app(Settings(dialects=TOGETHER, pack="dlib"))
    app.state.routes += import_module("visavis.server.dialects.immich").router.routes
    known = {(method, route.path) for route in app.state.routes for method in getattr(route, "methods", None) or ()}
    assert ("POST", "/represent") in known
    for method, path in sorted(known):
        plain = path.translate(str.maketrans("{}", "__")).replace(":path", "")
        with_key = [(b"api-key", b"")] if plain in ("/represent", "/check", "/restart") else []
        for headers in ([], with_key):
            found = served_by(app, method, plain, headers)
            assert len(set(found)) <= 1, (method, path, found)
    assert served_by(app, "POST", "/represent", []) == ["deepface"]
    assert served_by(app, "POST", "/represent", [(b"api-key", b"")]) == ["mtphotos"]


@pytest.mark.parametrize(
    "together", [{"dialects": TOGETHER, "pack": "dlib"}, {"dialects": tuple({*dialects.NAMES} - {"nextcloud"})}]
)
def test_the_document_holds_together(together: dict[str, Any]) -> None:
    document = create_app(Settings(**together, immich_upstream=UPSTREAM)).openapi()
    named = set(re.findall('"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert "VerifyRequest" in named
    assert named <= document["components"]["schemas"].keys()
    assert not [name for name in document["components"]["schemas"] if "__" in name]  # two of one name


def test_what_a_pack_cannot_tell_is_no_fault() -> None:
    assert dialects.plain_status(Problem("unsupported_pack", "no such part")) == 400


@pytest.fixture(scope="module", params=[TOGETHER, TOGETHER[::-1]], ids=["forwards", "backwards"])
def server(
    request: pytest.FixtureRequest, recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    settings = Settings(dialects=request.param, pack="dlib", keys=(("admin", KEY),), store=store)
    with Caller(settings, recognizer) as server:
        yield server


@pytest.mark.thorough
def test_a_subject_is_seen_by_all_and_forgotten_once(server: Caller, astronaut: Path, astronaut_again: bytes) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    photo = {"image": astronaut_again}

    def seen() -> list[Any]:
        stacked = server.request("POST", "/v1/vision/face/recognize", files=photo, data={"api_key": KEY}).json()
        searched = server.request("POST", "/search", files={"img": astronaut_again}, headers=key).json()
        native = server.request("POST", "/v1/galleries/faces/identify", files={"images": astronaut_again}, headers=key)
        (face,) = native.json()["results"][0]["faces"]
        return [
            stacked["predictions"][0]["userid"],
            [hit["img_name"] for hit in searched["results"][0]],
            face["match"] and face["match"]["subject"],
        ]

    assert server.post("/v1/galleries", {"name": "faces"}, key).status_code == 201
    enrolled = server.request(
        "POST",
        "/v1/galleries/faces/enrol",
        data={"subject": "eileen"},
        files={"images": astronaut.read_bytes()},
        headers=key,
    )
    assert enrolled.status_code == 201
    assert seen() == ["eileen", ["eileen"], "eileen"]
    gone = server.request("POST", "/v1/vision/face/delete", data={"userid": "eileen", "api_key": KEY})
    assert gone.json()["success"] is True
    assert seen() == ["unknown", [], None]


@pytest.mark.thorough
def test_each_tells_problems_in_its_words(server: Caller, astronaut: Path) -> None:
    file: Any = ("a.png", astronaut.read_bytes())
    content, kind = curl_form(file=file)
    form = {"content": content, "headers": {"Content-Type": kind, "api-key": KEY}}
    assert len(server.request("POST", "/represent", **form).json()["result"]) == 1
    wrong = {**form, "headers": {"Content-Type": kind, "api-key": "another"}}
    assert server.request("POST", "/represent", **wrong).json() == {"detail": "Invalid API key"}
    assert server.post("/represent", {}).json() == {"message": "Invalid or missing authentication token"}
    assert server.post("/v1/vision/face", {}).json()["error"] == "Incorrect api key"
    assert list(server.request("POST", "/detect").json()) == ["error"]
    for path in ("/v1/detect", "/face-embedding/img", "/v1/galleries/x/identify", "/"):
        assert server.post(path, {}).json()["code"] == "unauthorized", path
    assert server.get("/nowhere").json()["code"] == "not_found"
    assert server.get("/").text == "<h1>Face Embedding API</h1>"
    operations = server.get("/openapi.json").json()["paths"]
    assert {"/represent", "/v1/vision/face/recognize", "/detect", "/v1/detect"} <= operations.keys()


_PATHS = (
    *(f"/v1/vision/face{path}" for path in ("", "/recognize", "/register", "/match", "/list", "/delete")),
    *("/represent", "/verify", "/analyze", "/register", "/search", "/build/index", "/check", "/restart"),
    *("/detect", "/compute", "/predict"),
)
_NAMES = st.sampled_from(
    (
        *("image", "image1", "images", "file", "img", "img1", "img2", "face", "entries", "text", "userid", "img_name"),
        *(
            "min_confidence",
            "api_key",
            "model_name",
            "detector_backend",
            "actions",
            "k",
            "max_faces",
            "distance_metric",
        ),
        *("enforce_detection", "anti_spoofing", "align", "l2_normalize", "search_method", "expand_percentage"),
    )
)
_VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(("skip", "true", "0.5", "nan", "-1", "1e400", "Dlib", "dlib", "[age]", "\0", "data:,", "http://x")),
    st.sampled_from(('{"left": 0, "top": 0, "right": 9, "bottom": 9}', '{"facial-recognition": {}}', "{}", "[]")),
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _bodies(draw: st.DrawFn, image: bytes) -> tuple[bytes, str]:
    kind = draw(st.sampled_from(("form", "json", "urlencoded", "bytes", "none")))
    if kind == "form":
        files = st.tuples(_VALUES, st.sampled_from((image, b"", b"no image", image[:50])))
        content, media_type = curl_form(**draw(st.dictionaries(_NAMES, files | _VALUES, max_size=5)))
        cut = draw(st.none() | st.integers(0, 200))
        return content if cut is None else content[: len(content) - cut], media_type
    if kind == "json":
        return json.dumps(draw(st.dictionaries(_NAMES, _ANYTHING, max_size=5) | _ANYTHING)).encode(), "application/json"
    if kind == "urlencoded":
        pairs = draw(st.lists(st.tuples(_NAMES, st.text(max_size=9)), max_size=4))
        text = "&".join(f"{name}={value}" for name, value in pairs)
        return text.encode("utf-8", "surrogatepass"), "application/x-www-form-urlencoded"
    return draw(st.binary(max_size=60)), draw(st.sampled_from(("", "text/plain", "multipart/form-data", "image/png")))


@pytest.mark.thorough
@pytest.mark.parametrize("together", [TOGETHER, ("deepface", "deepstack", "immich")], ids=["dlib", "immich"])
def test_no_body_is_a_fault(
    together: tuple[str, ...], recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory, blank: bytes
) -> None:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    pack = "dlib" if "nextcloud" in together else "sface"
    settings = Settings(dialects=together, pack=pack, immich_upstream=UPSTREAM, store=store)
    with Caller(settings, recognizer) as server:

        @given(path=st.sampled_from(_PATHS), body=_bodies(blank), key=st.sampled_from((None, "", "x" * 30)))
        def check(path: str, body: tuple[bytes, str], key: str | None) -> None:
            headers = {"Content-Type": body[1]} | ({} if key is None else {"api-key": key})
            answer = server.request("POST", path, content=body[0], headers=headers)
            assert answer.status_code < 500 or (path, answer.status_code) == ("/predict", 502), (
                answer.text
            )  # upstream's

        check()


@pytest.mark.thorough
def test_curl_sends_what_the_tests_send(recognizer: Recognizer, astronaut: Path) -> None:
    settings = Settings(port=0, dialects=TOGETHER, pack="dlib")
    with listening(settings, recognizer) as server:
        url = f"http://127.0.0.1:{server.port}"
        for path, headers, count in (("/detect", (), "faces-count"), ("/represent", ("-H", "api-key;"), "result")):
            command = ("curl", "-sS", "--fail", *headers, "-F", f"file=@{astronaut}", url + path)
            told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
            assert told[count] == 1 or len(told[count]) == 1
            content, kind = curl_form(file=(astronaut.name, astronaut.read_bytes()))
            sent = server.call("POST", path, content, {"Content-Type": kind, **({"api-key": ""} if headers else {})})
            assert sent.json() == told
