"""CompreFace's own clients, unmodified, in processes of their own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import client_python, node_modules, run_client
from serving import Listening, listening, sqlite_url

from visavis.config import Settings
from visavis.models.recognizer import Recognizer
from visavis.server.keys import KeyStore

pytestmark = pytest.mark.thorough

PYTHON = """
import json, os, sys
from compreface import CompreFace
from compreface.service import RecognitionService

asked = json.loads(sys.stdin.read())
one, again, other = asked["photos"]
compre_face = CompreFace("http://127.0.0.1", asked["port"], {"status": "true"})
recognition = compre_face.init_face_recognition(asked["keys"]["recognition"])
detection = compre_face.init_face_detection(asked["keys"]["detection"])
verification = compre_face.init_face_verification(asked["keys"]["verification"])
faces, subjects = recognition.get_face_collection(), recognition.get_subjects()
fewer = {"limit": 0, "det_prob_threshold": 0.1, "face_plugins": "landmarks,age", "status": True}
options = {**fewer, "prediction_count": 2}
told = {"subject": subjects.add("grace hopper")}
told["added"] = [faces.add(one, "eileen", {"det_prob_threshold": 0.1})]
told["added"].append(faces.add(open(other, "rb").read(), "grace hopper"))
told["subjects"] = subjects.list()
told["faces"] = faces.list()
told["recognized"] = recognition.recognize(again, options)
told["recognized plainly"] = recognition.recognize(one)
told["verified"] = faces.verify(again, told["added"][0]["image_id"], fewer)
told["detected"] = detection.detect(one, fewer)
told["no face"] = detection.detect(asked["blank"])
told["compared"] = verification.verify(one, again, fewer)
told["updated"] = subjects.update("eileen", "eileen collins")
told["deleted face"] = faces.delete(told["added"][1]["image_id"])
told["deleted faces"] = faces.delete_all("eileen collins")
told["deleted subject"] = subjects.delete("grace hopper")
told["missing"] = subjects.delete("nobody")
told["deleted subjects"] = subjects.delete_all()
told["wrong key"] = compre_face.init_face_detection(asked["keys"]["verification"]).detect(one)
print(json.dumps(told))
"""
JAVASCRIPT = """
import { readFileSync } from 'node:fs';
import { CompreFace } from '@exadel/compreface-js-sdk';

const asked = JSON.parse(readFileSync(0));
console.log = () => {};  // which the client itself calls
const [one, again, other] = asked.photos;
const compreFace = new CompreFace('http://127.0.0.1', asked.port);
const recognition = compreFace.initFaceRecognitionService(asked.keys.recognition);
const detection = compreFace.initFaceDetectionService(asked.keys.detection);
const verification = compreFace.initFaceVerificationService(asked.keys.verification);
const faces = () => recognition.getFaceCollection();
const subjects = () => recognition.getSubjects();
const options = {limit: 1, det_prob_threshold: 0.1, prediction_count: 2, face_plugins: 'landmarks', status: true};
const told = {subject: await subjects().add('grace')};
told.added = [await faces().add(one, 'eileen'), await faces().add(readFileSync(other).toString('base64'), 'grace')];
told.subjects = await subjects().list();
told.faces = await faces().list();
told.recognized = await recognition.recognize(again, options);
told.verified = await faces().verify(again, told.added[0].image_id, options);
told.detected = await detection.detect(one, options);
told.compared = await verification.verify(one, again, options);
told.renamed = await subjects().rename('eileen', 'collins');
told.deleted_face = await faces().delete(told.added[1].image_id);
told.deleted_faces = await faces().delete_all_subject('collins');
told.deleted_subject = await subjects().delete('grace');
told.deleted_all = [await faces().delete_all(), await subjects().deleteAll()];
told.missing = await subjects().delete('nobody').catch(error => [error.response.status, error.response.data]);
process.stdout.write(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    store = KeyStore(folder / "keys")
    made = {
        "recognition": store.create("a", "admin", ["team"], service="recognition")[1],
        "detection": store.create("a", "read", service="detection")[1],
        "verification": store.create("a", "read", service="verification")[1],
    }
    store.close()
    return {**made, "file": str(folder / "keys")}


@pytest.fixture(scope="module")
def server(
    recognizer: Recognizer, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Listening]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    settings = Settings(port=0, dialects=("compreface",), store=store, keys_file=Path(keys["file"]))
    with listening(settings, recognizer) as server:
        yield server


@pytest.fixture
def photos(astronaut: Path, astronaut_again: bytes, hopper: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "again.jpg").write_bytes(astronaut_again)
    return [str(astronaut), str(tmp_path / "again.jpg"), str(hopper)]


@pytest.fixture
def asked(server: Listening, keys: dict[str, str], photos: list[str]) -> dict[str, Any]:
    return {"port": str(server.port), "keys": keys, "photos": photos}


def check_results(told: dict[str, Any]) -> None:
    """Look at what both clients have asked."""
    (recognized,), (verified,), (detected,) = (told[each]["result"] for each in ("recognized", "verified", "detected"))
    assert recognized["subjects"][0]["subject"].startswith("eileen")
    assert recognized["subjects"][0]["similarity"] > 0.5
    assert (verified["subject"], verified["similarity"] > 0.5) == ("eileen", True)
    assert set(detected) == {"box", "execution_time"}
    ((match,),) = (each["face_matches"] for each in told["compared"]["result"])
    assert match["similarity"] > 0.5


def test_the_python_client(asked: dict[str, Any], tmp_path: Path) -> None:
    import PIL.Image  # noqa: PLC0415  # for this test alone

    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "blank.png")
    asked["blank"] = str(tmp_path / "blank.png")
    told = json.loads(run_client(client_python(), "-c", PYTHON, text=json.dumps(asked)))
    assert told["subject"] == {"subject": "grace hopper"}
    assert [each["subject"] for each in told["added"]] == ["eileen", "grace hopper"]
    assert sorted(told["subjects"]["subjects"]) == ["eileen", "grace hopper"]
    assert told["faces"]["faces"] == told["added"]
    check_results(told)
    assert told["recognized plainly"]["result"][0]["subjects"][0]["similarity"] > 0.95
    assert told["no face"] == {"message": "No face is found in the given image", "code": 28}
    assert told["updated"] == {"updated": True}
    assert told["deleted face"] == told["added"][1]
    assert told["deleted faces"] == {"deleted": 1}
    assert told["deleted subject"] == {"subject": "grace hopper"}
    assert told["missing"] == {"message": "Subject nobody not found", "code": 42}
    assert told["deleted subjects"] == {"deleted": 0}
    assert told["wrong key"]["code"] == 10


def test_the_javascript_client(asked: dict[str, Any], tmp_path: Path) -> None:
    modules = node_modules()
    # What it takes for a path begins with a dot.
    asked["photos"] = [os.path.relpath(path, tmp_path) for path in asked["photos"]]
    asked["photos"] = [path if path.startswith(".") else f"./{path}" for path in asked["photos"]]
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "calls.mjs").write_text(JAVASCRIPT)
    script = f"cd '{tmp_path}' && node calls.mjs"
    told = json.loads(run_client("/bin/sh", "-c", script, text=json.dumps(asked)))
    assert told["subject"] == {"subject": "grace"}
    assert [each["subject"] for each in told["added"]] == ["eileen", "grace"]
    assert sorted(told["subjects"]["subjects"]) == ["eileen", "grace"]
    assert told["faces"]["faces"] == told["added"]
    check_results(told)
    assert told["renamed"] == {"updated": True}
    assert told["deleted_face"] == told["added"][1]
    assert told["deleted_faces"] == {"deleted": 1}
    assert told["deleted_subject"] == {"subject": "grace"}
    assert told["deleted_all"] == [{"deleted": 0}, {"deleted": 0}]
    assert told["missing"] == [404, {"message": "Subject nobody not found", "code": 42}]
