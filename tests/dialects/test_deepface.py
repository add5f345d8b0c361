"""The contract of DeepFace's API, by raw HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import Caller, in_base64, sqlite_url

from visavis import Recognizer
from visavis.config import Settings

KEYS = {scope: f"a-long-key-of-the-scope-{scope}" for scope in ("read", "enrol")}
CALLS = ("/represent", "/verify", "/analyze", "/register", "/search", "/build/index")


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    keys: Any = tuple(KEYS.items())
    with Caller(Settings(dialects=("deepface",), keys=keys, store=store), recognizer) as server:
        yield server


@pytest.fixture(scope="module")
def uris(astronaut: Path, hopper: Path, astronaut_again: bytes, blank: bytes) -> dict[str, str]:
    files = {"a": astronaut.read_bytes(), "again": astronaut_again, "h": hopper.read_bytes(), "blank": blank}
    return {name: f"data:image/jpeg;base64,{in_base64(data)}" for name, data in files.items()}


def call(server: Caller, path: str, scope: str = "read", **members: object) -> httpx.Response:
    return server.post(path, members, {"Authorization": f"Bearer {KEYS[scope]}"})


def test_faces_are_represented(server: Caller, recognizer: Recognizer, uris: dict[str, str], astronaut: Path) -> None:
    (seen,) = recognizer.embed(astronaut)
    assert seen.embedding is not None
    (told,) = call(server, "/represent", img=uris["a"], model_name="Dlib").json()["results"]
    assert told["embedding"] == pytest.approx(seen.embedding.tolist(), abs=1e-6)
    area = told["facial_area"]
    box = (area["x"], area["y"], area["x"] + area["w"], area["y"] + area["h"])
    assert np.allclose(box, seen.box_xyxy, atol=0.5)
    assert 0 <= told["face_confidence"] <= 1
    key = {"Authorization": f"Bearer {KEYS['read']}"}
    form = {"model_name": "Dlib", "enforce_detection": "true", "max_faces": "1"}
    files = {"img": ("a.png", astronaut.read_bytes())}
    by_form = server.request("POST", "/represent", data=form, files=files, headers=key)
    assert by_form.json() == {"results": [told]}
    by_text = server.request("POST", "/represent", data={"img": uris["a"]}, headers=key)
    assert by_text.json() == {"results": [told]}
    # Where there is no face, or none is to be looked for, the image is the face.
    for asked in ({"enforce_detection": False}, {"detector_backend": "skip"}):
        (whole,) = call(server, "/represent", img=uris["blank"], **asked).json()["results"]
        assert (whole["face_confidence"], whole["facial_area"]["w"]) == (0, 120)
        assert len(whole["embedding"]) == 128


def test_faces_are_verified(server: Caller, recognizer: Recognizer, uris: dict[str, str]) -> None:
    alike = call(server, "/verify", img1=uris["a"], img2=uris["again"]).json()
    apart = call(server, "/verify", img1=uris["a"], img2=uris["h"], distance_metric="euclidean").json()
    assert (alike["verified"], apart["verified"]) == (True, False)
    assert alike["distance"] < alike["threshold"] == recognizer.threshold < apart["distance"]
    assert 51 <= alike["confidence"] <= 100
    assert 0 <= apart["confidence"] <= 49
    assert (alike["model"], alike["detector_backend"], alike["similarity_metric"]) == ("Dlib", "dlib-mmod", "euclidean")
    assert set(alike["facial_areas"]) == {"img1", "img2"}
    assert alike["time"] >= 0


def test_images_are_registered_and_searched_for(server: Caller, uris: dict[str, str]) -> None:
    assert call(server, "/search", img=uris["a"]).status_code == 400
    assert call(server, "/register", "enrol", img=uris["a"]).status_code == 404  # which makes no gallery
    server.app.state.galleries.create("faces")
    for name, uri in (("people/eileen.jpg", uris["a"]), ("again.jpg", uris["again"]), ("grace.jpg", uris["h"])):
        assert call(server, "/register", "enrol", img=uri, img_name=name).json() == {"inserted": 1}
    assert call(server, "/build/index", "enrol", model_name="Dlib").json() == {"message": "Index built successfully"}
    ((first, *others),) = call(server, "/search", img=uris["a"], search_method="ann").json()["results"]
    assert [first["img_name"], *(each["img_name"] for each in others)] == ["people/eileen.jpg", "again.jpg"]
    assert set(first) == {
        *("id", "img_name", "model_name", "detector_backend", "aligned", "l2_normalized", "search_method"),
        *("target_x", "target_y", "target_w", "target_h", "threshold", "distance_metric", "distance", "confidence"),
    }
    assert (first["model_name"], first["search_method"], first["distance_metric"]) == ("Dlib", "exact", "euclidean")
    assert first["distance"] < 0.01 < first["threshold"]
    assert first["confidence"] > 99
    key = {"Authorization": f"Bearer {KEYS['enrol']}"}
    body = {"subject": "again.jpg", "images": [{"base64": uris["a"]}]}
    assert server.post("/v1/galleries/faces/enrol?allow_conflict=true", body, key).status_code == 201
    ((*rows,),) = call(server, "/search", img=uris["a"]).json()["results"]
    # Each sample is a row.
    assert sorted(row["img_name"] for row in rows) == ["again.jpg", "again.jpg", "people/eileen.jpg"]
    (one,) = call(server, "/search", img=uris["a"], k=1).json()["results"]
    assert len(one) == 1
    assert call(server, "/search", img=uris["blank"], enforce_detection=False).json() == {"results": [[]]}


def test_who_is_ignored_is_not_told_of(recognizer: Recognizer, uris: dict[str, str], tmp_path: Path) -> None:
    with Caller(Settings(dialects=("deepface",), store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
        assert server.post("/register", {"img": uris["a"], "img_name": "visitor"}).json() == {"inserted": 1}
        search = {"img": uris["again"], "similarity_search": True}
        assert len(server.post("/search", search).json()["results"][0]) == 1
        visitor = "/v1/galleries/faces/subjects/visitor"
        assert server.request("PATCH", visitor, json={"ignored": True}).status_code == 200
        assert server.post("/search", search).json()["results"] == [[]]


def test_errors_are_in_the_words_of_the_protocol(server: Caller, uris: dict[str, str], astronaut: Path) -> None:
    for path in CALLS:
        for headers in ({}, {"Authorization": "Bearer another"}):
            answer = server.post(path, {}, headers)
            assert answer.status_code == 401
            assert answer.json() == {"message": "Invalid or missing authentication token"}
    a, blank = uris["a"], uris["blank"]
    missing = "not found in either json or form data request"
    models = "'VGG-Face' is not here; this server has Dlib"
    rows: tuple[tuple[str, dict[str, Any], str | dict[str, str]], ...] = (
        ("/represent", {}, {"exception": f"'img' {missing}"}),
        ("/verify", {"img2": a}, {"exception": f"'img1' {missing}"}),
        ("/verify", {"img1": a}, {"exception": f"'img2' {missing}"}),
        ("/analyze", {}, {"exception": f"'img' {missing}"}),
        ("/search", {}, {"exception": f"'img' {missing}"}),
        ("/represent", {"img": a, "model_name": "VGG-Face"}, f"representing: model_name: {models}"),
        ("/search", {"img": a, "model_name": "VGG-Face"}, f"searching: model_name: {models}"),
        (
            "/verify",
            {"img1": a, "img2": a, "model_name": "Facenet512"},
            "verifying: model_name: 'Facenet512' is not here; this server has Dlib; VISAVIS_PACK=facenet512 serves it",
        ),
        (
            "/represent",
            {"img": a, "detector_backend": "retinaface"},
            "representing: detector_backend: 'retinaface' is not here; this server has dlib-mmod, and skip",
        ),
        ("/represent", {"img": a, "align": False}, "representing: align: nothing but True is here"),
        ("/represent", {"img": a, "normalization": "raw"}, "representing: normalization: nothing but base is here"),
        ("/represent", {"img": a, "expand_percentage": 5}, "representing: expand_percentage: nothing but 0 is here"),
        ("/search", {"img": a, "l2_normalize": True}, "searching: l2_normalize: embeddings of Dlib are compared as"),
        (
            "/verify",
            {"img1": a, "img2": a, "distance_metric": "cosine"},
            "verifying: distance_metric: 'cosine' is none of Dlib's here: euclidean",
        ),
        (
            "/analyze",
            {"img": a, "actions": ["age", "emotion"]},
            "analyzing: actions: emotion are not here; this server",
        ),
        (
            "/analyze",
            {"img": a, "actions": "[race, age]"},
            "analyzing: actions: race are not here; this server has age,",
        ),
        ("/analyze", {"img": a}, "analyzing: the pack 'dlib' tells no age; the pack 'open' does"),
        ("/represent", {"img": a, "anti_spoofing": True}, "representing: the pack 'dlib' tells no liveness"),
        ("/search", {"img": a, "anti_spoofing": True}, "searching: the pack 'dlib' tells no liveness"),
        ("/represent", {"img": blank}, "representing: Face could not be detected"),
        ("/verify", {"img1": a, "img2": blank}, "verifying: Face could not be detected"),
        ("/represent", {"img": str(astronaut)}, "representing: img: must be a file, a URL, or data:image/...;base64,"),
        ("/represent", {"img": "file:///etc/passwd"}, "representing: img: must be a file, a URL, or data:image/"),
        ("/represent", {"img": "http://127.0.0.1/a.jpg"}, "representing: the URL could not be fetched"),
        ("/represent", {"img": "data:image/png;base64,bm8="}, "representing: "),
    )
    for path, asked, told in rows:
        answer = call(server, path, **asked)
        if isinstance(told, str):
            assert answer.json()["error"].startswith(f"Exception while {told}"), answer.json()
            assert "Traceback" not in answer.text
        else:
            assert answer.json() == told
        assert answer.status_code == 400
    refused = call(server, "/register", img=a)
    assert (refused.status_code, list(refused.json())) == (403, ["error"])
    assert (
        server.request("POST", "/represent", content=b"{", headers={"Content-Type": "application/json"}).status_code
        == 401
    )
    assert server.get("/represent").status_code == 405


def test_age_and_gender_and_angles(uris: dict[str, str], recognizer_all: Recognizer) -> None:
    with Caller(Settings(dialects=("deepface",)), recognizer_all) as server:
        (told,) = server.post("/analyze", {"img": uris["h"], "actions": "[gender, age]"}).json()["results"]
        assert told["gender"]["Man"] + told["gender"]["Woman"] == pytest.approx(100)
        assert told["dominant_gender"] == max(told["gender"], key=told["gender"].get)
        assert 10 < told["age"] < 90
        assert set(told) == {"age", "gender", "dominant_gender", "region", "face_confidence"}
        (age,) = server.post("/analyze", {"img": uris["h"], "actions": ["age"]}).json()["results"]
        assert set(age) == {"age", "region", "face_confidence"}
        pair = {"img1": uris["a"], "img2": uris["again"]}
        cosine, length, angle = (
            server.post("/verify", {**pair, "distance_metric": metric}).json()
            for metric in ("cosine", "euclidean_l2", "angular")
        )
        for each in (cosine, length, angle):
            assert each["verified"] == (each["distance"] < each["threshold"])
        for name in ("distance", "threshold"):
            assert length[name] == pytest.approx((2 * cosine[name]) ** 0.5)
            assert np.cos(angle[name] * np.pi) == pytest.approx(1 - cosine[name])
