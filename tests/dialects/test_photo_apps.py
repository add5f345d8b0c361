"""The contracts of Nextcloud's external model and of MT-Photos, by requests as curl makes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from clients import client_python, run_client
from serving import Caller, curl_form

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.server.app import create_app

KEY = "a-long-key-of-the-scope-read"
NEXTCLOUD, MTPHOTOS = {"x-api-key": KEY}, {"api-key": KEY}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Caller]:
    settings = Settings(dialects=("nextcloud", "mtphotos"), pack="dlib", keys=(("read", KEY),), max_bytes=2_000_000)
    with Caller(settings, recognizer) as server:
        yield server


def send(server: Caller, path: str, headers: dict[str, str], **parts: object) -> httpx.Response:
    content, kind = curl_form(**parts)
    return server.request("POST", path, content=content, headers={**headers, "Content-Type": kind})


def test_nextcloud(server: Caller, recognizer: Recognizer, astronaut: Path, blank: bytes) -> None:
    assert server.get("/open", NEXTCLOUD).json() == {"preferred_mimetype": "image/jpeg", "maximum_area": 3840 * 2160}
    assert server.get("/health").text == "ok"
    assert server.get("/welcome").json()["facerecognition-external-model"] == "welcome"
    photo = ("../astro naut.png", astronaut.read_bytes())
    found = send(server, "/detect", NEXTCLOUD, file=photo).json()
    assert (found["filename"], found["faces-count"]) == ("astro naut.png", 1)
    (face,) = found["faces"]
    (seen,) = recognizer.embed(astronaut)
    assert seen.embedding is not None
    assert np.allclose([face[edge] for edge in ("left", "top", "right", "bottom")], seen.box_xyxy, atol=0.5)
    assert face["detection_confidence"] == pytest.approx(seen.score)
    assert face["descriptor"] == pytest.approx(seen.embedding.tolist(), abs=1e-6)
    assert [[point["x"], point["y"]] for point in face["landmarks"]] == np.rint(seen.landmarks).tolist()
    assert all(type(face[edge]) is int for edge in ("left", "top", "right", "bottom"))

    known = {name: face[name] for name in ("left", "top", "right", "bottom", "detection_confidence")}
    computed = send(server, "/compute", NEXTCLOUD, file=photo, face=json.dumps(known)).json()
    assert computed == {
        "filename": "astro naut.png",
        "face": {**known, **{n: face[n] for n in ("landmarks", "descriptor")}},
    }
    nobody = send(server, "/detect", NEXTCLOUD, file=("blank.png", blank)).json()
    assert nobody == {"filename": "blank.png", "faces-count": 0, "faces": []}


def test_errors_of_nextcloud(server: Caller, astronaut: Path, wide: bytes) -> None:
    photo: Any = ("a.png", astronaut.read_bytes())
    elsewhere = json.dumps({"left": 0, "top": 400, "right": 50, "bottom": 450})
    for path, headers, parts, status in (
        ("/detect", {}, {"file": photo}, 401),
        ("/detect", {"x-api-key": "another"}, {"file": photo}, 401),
        ("/detect", NEXTCLOUD, {"file": ("wide.png", wide)}, 412),
        ("/compute", NEXTCLOUD, {"file": ("wide.png", wide), "face": elsewhere}, 412),
        ("/detect", NEXTCLOUD, {"file": ("a.jpg", b"no image")}, 400),
        ("/detect", NEXTCLOUD, {"face": "{}"}, 400),
        ("/compute", NEXTCLOUD, {"file": photo}, 400),
        ("/compute", NEXTCLOUD, {"file": photo, "face": "[]"}, 400),
        ("/compute", NEXTCLOUD, {"file": photo, "face": "no JSON"}, 400),
        ("/compute", NEXTCLOUD, {"file": photo, "face": '{"left": 9, "right": 1, "top": 0, "bottom": 4}'}, 400),
        ("/compute", NEXTCLOUD, {"file": photo, "face": elsewhere}, 400),
    ):
        answer = send(server, path, headers, **parts)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), (path, parts)
    assert server.get("/open").status_code == server.get("/open", {"x-api-key": ""}).status_code == 401
    assert server.get("/detect", NEXTCLOUD).json() == {"error": "see the header Allow"}


def test_mtphotos(server: Caller, recognizer: Recognizer, astronaut: Path, blank: bytes) -> None:
    photo: Any = ("a.png", astronaut.read_bytes())
    found = send(server, "/represent", MTPHOTOS, file=photo).json()
    (seen,) = recognizer.embed(astronaut)
    assert seen.embedding is not None
    (face,) = found.pop("result")
    assert found == {"detector_backend": "dlib-mmod", "recognition_model": "dlib"}
    assert face["embedding"] == pytest.approx(seen.embedding.tolist(), abs=1e-6)
    area = face["facial_area"]
    box = (area["x"], area["y"], area["x"] + area["w"], area["y"] + area["h"])
    assert np.allclose(box, seen.box_xyxy, atol=0.5)
    assert area["left_eye"][0] > area["right_eye"][0]  # the person's left is right in the image
    assert 0 <= face["face_confidence"] <= 1
    assert send(server, "/represent", MTPHOTOS, file=("b.png", blank)).json() == {"result": []}
    broken = send(server, "/represent", MTPHOTOS, file=("b.jpg", b"no image"))
    assert (broken.status_code, broken.json()["result"]) == (200, [])
    assert "image" in broken.json()["msg"]
    for path in ("/check", "/restart"):
        assert server.request("POST", path, headers=MTPHOTOS).json() == {"result": "pass"}
        assert server.request("POST", path, headers={"api-key": "another"}).json() == {"detail": "Invalid API key"}
    assert send(server, "/represent", {"api-key": ""}, file=photo).status_code == 401
    assert send(server, "/represent", MTPHOTOS, other="x").json() == {"detail": "file: Field required"}
    assert send(server, "/represent", {}, file=photo).status_code == 404


_DLIB = """
import json, sys, dlib, face_recognition_models as models
image = dlib.load_rgb_image(sys.argv[1])
found = dlib.cnn_face_detection_model_v1(models.cnn_face_detector_model_location())(image)
landmarks = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
embed = dlib.face_recognition_model_v1(models.face_recognition_model_location())
print(json.dumps([
    {
        "box": [each.rect.left(), each.rect.top(), each.rect.right(), each.rect.bottom()],
        "points": [[point.x, point.y] for point in landmarks(image, each.rect).parts()],
        "descriptor": list(embed.compute_face_descriptor(image, landmarks(image, each.rect))),
    }
    for each in found
]))
"""


@pytest.mark.thorough
def test_nextcloud_is_told_what_dlib_tells(server: Caller, astronaut: Path) -> None:
    (theirs,) = json.loads(run_client(client_python(), "-W", "ignore", "-c", _DLIB, str(astronaut)))
    (ours,) = send(server, "/detect", NEXTCLOUD, file=("a.png", astronaut.read_bytes())).json()["faces"]
    side = theirs["box"][2] - theirs["box"][0]
    assert np.allclose([ours[edge] for edge in ("left", "top", "right", "bottom")], theirs["box"], atol=side / 10)
    assert np.allclose([[point["x"], point["y"]] for point in ours["landmarks"]], theirs["points"], atol=side / 20)
    assert np.linalg.norm(np.subtract(ours["descriptor"], theirs["descriptor"])) < 0.1


def test_nextcloud_needs_the_networks_of_dlib() -> None:
    with pytest.raises(InvalidOption, match="the pack sface makes others; serve with VISAVIS_PACK=dlib"):
        create_app(Settings(dialects=("nextcloud",)))


@pytest.fixture(scope="module")
def wide() -> bytes:
    """An image of more pixels than Nextcloud sends. PNG, 4000 x 2200."""
    return cv2.imencode(".png", np.zeros((2200, 4000), np.uint8))[1].tobytes()
