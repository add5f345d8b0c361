"""The contract of DeepStack and CodeProject.AI, by raw HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Caller, curl_form, sqlite_url

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.server.app import create_app

FACE = "/v1/vision/face"
KEYS = {scope: f"a-long-key-of-the-scope-{scope}" for scope in ("read", "enrol", "admin")}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    keys: Any = tuple(KEYS.items())
    settings = Settings(dialects=("deepstack",), keys=keys, store=store)
    with Caller(settings, recognizer) as server:
        yield server


@pytest.fixture(scope="module")
def images(astronaut: Path, hopper: Path, astronaut_again: bytes) -> dict[str, bytes]:
    return {"a": astronaut.read_bytes(), "again": astronaut_again, "h": hopper.read_bytes(), "none": b"no image"}


def post(server: Caller, path: str, scope: str | None = "read", *files: bytes, **form: str) -> httpx.Response:
    """Post as the clients do: the key is a field of the form."""
    parts: dict[str, Any] = {"image" if number == 1 else f"image{number}": data for number, data in enumerate(files, 1)}
    form |= {"api_key": KEYS[scope]} if scope else {}
    return server.request("POST", FACE + path, files=parts or None, data=form)


def test_people_are_registered_recognised_and_forgotten(server: Caller, images: dict[str, bytes]) -> None:
    assert post(server, "/list").json() == {"success": True, "faces": [], "duration": 0}
    (nobody,) = post(server, "/recognize", "read", images["a"]).json()["predictions"]
    assert (nobody["userid"], nobody["confidence"]) == ("unknown", 0)

    server.app.state.galleries.create("faces")
    added = post(server, "/register", "enrol", images["a"], userid="Eileen Collins")
    assert added.json() == {"success": True, "message": "face added", "duration": 0}
    updated = post(server, "/register", "enrol", images["again"], userid="Eileen Collins")
    assert updated.json() == {"success": True, "message": "face updated", "duration": 0}
    assert (
        post(server, "/register", "enrol", images["h"], images["h"], userid="Grace").json()["message"] == "face added"
    )
    assert post(server, "/list").json()["faces"] == ["Eileen Collins", "Grace"]

    (eileen,) = post(server, "/recognize", "read", images["again"]).json()["predictions"]
    assert eileen["userid"] == "Eileen Collins"
    assert 0.67 <= eileen["confidence"] <= 1
    assert all(isinstance(eileen[edge], int) for edge in ("x_min", "y_min", "x_max", "y_max"))
    (doubted,) = post(server, "/recognize", "read", images["again"], min_confidence="1").json()["predictions"]
    assert (doubted["userid"], doubted["confidence"]) == ("unknown", 0)
    key = {"X-API-Key": KEYS["read"]}
    assert server.get("/v1/galleries/faces/subjects/Eileen%20Collins", headers=key).json()["samples"] == 2

    assert post(server, "/delete", "admin", userid="Eileen Collins").json() == {"success": True, "duration": 0}
    assert post(server, "/delete", "admin", userid="Eileen Collins").json() == {"success": True, "duration": 0}
    assert post(server, "/recognize", "read", images["a"]).json()["predictions"][0]["userid"] == "unknown"


def test_faces_are_found_and_matched(server: Caller, images: dict[str, bytes]) -> None:
    for path in ("", "/"):  # some clients end with a slash
        found = post(server, path, "read", images["a"]).json()
        assert found["success"] is True
        (face,) = found["predictions"]
        assert set(face) == {"confidence", "x_min", "y_min", "x_max", "y_max"}
        assert 0.55 <= face["confidence"] <= 1
    assert post(server, "", "read", images["a"], min_confidence="").json()["predictions"] == [face]
    alike = post(server, "/match", "read", images["a"], images["again"]).json()
    apart = post(server, "/match", "read", images["a"], images["h"]).json()
    assert set(alike) == {"success", "similarity", "duration"}
    assert apart["similarity"] < 0.67 < alike["similarity"] <= 1


def test_errors_are_in_the_words_of_the_protocol(server: Caller, images: dict[str, bytes], blank: bytes) -> None:
    server.app.state.galleries.get_or_create("faces")
    assert post(server, "", "read", blank).json() == {"success": True, "predictions": [], "duration": 0}
    assert post(server, "/recognize", "read", blank).json()["predictions"] == []
    good = images["a"]
    for path, scope, files, form, status, text in (
        ("", "read", (), {}, 400, "No valid image file found"),
        ("", "read", (), {"image": "text"}, 400, "No valid image file found"),
        ("/register", "enrol", (), {"userid": "x"}, 400, "No valid image file found"),
        ("/register", "enrol", (good,), {}, 400, "userid not specified"),
        ("/register", "enrol", (blank,), {"userid": "x"}, 400, "no face detected"),
        ("/register", "enrol", (images["none"],), {"userid": "x"}, 400, "invalid image"),
        ("/recognize", "read", (images["none"],), {}, 400, "invalid image"),
        ("/recognize", "read", (good,), {"min_confidence": "high"}, 400, "Invalid value for min_confidence"),
        ("/recognize", "read", (good,), {"min_confidence": "1.5"}, 400, "min_confidence cannot be greater than 1"),
        ("/recognize", "read", (good,), {"min_confidence": "nan"}, 400, "Invalid value for min_confidence"),
        ("/match", "read", (), {}, 400, "No valid image file found"),
        ("/match", "read", (good,), {}, 400, "expected two image files, only one found"),
        ("/match", "read", (good,) * 3, {}, 400, "only two images allowed"),
        ("/match", "read", (good, blank), {}, 400, "no face found"),
        ("/delete", "admin", (), {}, 400, "userid not specified"),
        ("/recognize", None, (good,), {}, 401, "Incorrect api key"),
        ("/recognize", None, (good,), {"api_key": "guessed"}, 401, "Incorrect api key"),
        ("/list", None, (), {"api_key": "guessed"}, 401, "Incorrect api key"),
        ("/register", "read", (good,), {"userid": "x"}, 403, "this API key has the scope read; enrol is needed"),
        ("/delete", "enrol", (), {"userid": "x"}, 403, "this API key has the scope enrol; admin is needed"),
    ):
        answer = post(server, path, scope, *files, **form)
        assert (answer.status_code, answer.json()) == (
            status,
            {"success": False, "error": text, "code": status, "duration": 0},
        )
    for path, count in (("/register", 17), ("", 40)):
        many = post(server, path, "enrol", *[blank] * count, userid="x")
        assert (many.status_code, many.json()["error"]) == (400, "too many parts; at most 16 may be images")
    for path in ("/v1/vision/detection", "/v1/vision/scene"):
        assert server.request("POST", path).json()["success"] is False
    assert server.get(FACE).status_code == 405


def test_a_key_in_a_header_and_one_that_means_a_gallery(server: Caller, images: dict[str, bytes]) -> None:
    listed = server.request("POST", f"{FACE}/list", headers={"Authorization": f"Bearer {KEYS['read']}"})
    assert listed.json()["success"] is True
    _, own = server.app.state.keys.create("camera", "enrol", ["porch"])
    sent: dict[str, Any] = {"data": {"userid": "grace"}, "files": {"image": images["h"]}, "headers": {"X-API-Key": own}}
    for made in (False, True):  # by somebody who may make galleries, which this key may not
        answer = server.request("POST", f"{FACE}/register", **sent)
        assert (answer.status_code, answer.json()["success"]) == ((200, True) if made else (404, False))
        server.app.state.galleries.get_or_create("porch")
    key = {"X-API-Key": KEYS["read"]}
    assert server.get("/v1/galleries/porch/subjects/grace", headers=key).status_code == 200
    assert "grace" not in post(server, "/list").json()["faces"]


def test_a_key_anywhere_in_the_form(server: Caller, blank: bytes) -> None:
    form, kind = curl_form(image=("a.png", blank), api_key=KEYS["read"])
    first, _ = curl_form(api_key=KEYS["read"], image=("a.png", blank))
    described = form.replace(b'"api_key"', b'"api_key"\r\nContent-Type: text/plain; charset=utf-8')
    several, _ = curl_form(
        api_key=KEYS["read"], other=b"", image=("a.png", b'name="api_key"\r\n\r\nanother\r\n' + blank)
    )
    endless = b'name="api_key"' * 20_000  # that is read in no time
    for body, status in ((form, 200), (first, 200), (described, 200), (several, 401), (endless + form, 401)):
        answer = server.request("POST", FACE, content=body, headers={"Content-Type": kind})
        assert answer.status_code == status


def test_a_gallery_that_cannot_be() -> None:
    with pytest.raises(InvalidOption):
        create_app(Settings(dialects=("deepstack",), dialect_gallery="no/way"))
