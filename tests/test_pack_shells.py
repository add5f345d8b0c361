"""Packs other than the default one in the shells: the server, the command line, and galleries that belong to a pack."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import OnlyPack, Shell
from serving import PATIENCE_S, Caller, Listening, in_base64, ndjson, problem, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import SpaceMismatch
from visavis.galleries.store import open_store
from visavis.models.catalogue import DLIB, OPEN, PACKS
from visavis.models.installation import FILES, PINS
from visavis.service.galleries import Galleries

JSON = {"Content-Type": "application/json"}
WAY_OUT = f"holds embeddings of the pack 'dlib' (space {DLIB.space.id}), with which those of the pack 'open' (space "


def galleries_of(pack: str, folder: Path) -> Galleries:
    """Return the galleries of a store in the folder, for a pack of which nothing is loaded."""
    return Galleries(open_store(sqlite_url(folder / "visavis.db")), OnlyPack(PACKS[pack]), actor="user test")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder with a store: the gallery of two people was made with the pack dlib."""
    galleries = galleries_of("dlib", tmp_path)
    with closing(galleries.store):
        galleries.create("staff")
        for number, name in enumerate(("ada", "grace")):
            galleries.open("staff").enrol_embedding(np.array(vector(number), np.float32), name)
    return tmp_path


# --- a gallery of another pack ---------------------------------------------------------------------------------------


def test_the_library_refuses_a_gallery_of_another_pack(store: Path) -> None:
    galleries = galleries_of("open", store)
    with closing(galleries.store):
        staff = galleries.open("staff")
        probe = np.array(vector(1, OPEN.dimension), np.float32)
        lines = list(staff.export())
        for act in (
            lambda: staff.identify_embeddings(probe[None]),
            lambda: staff.verify_embedding(probe, "ada"),
            lambda: staff.enrol_embedding(probe, "alan"),
            lambda: staff.identify(b"is not even looked at"),
            lambda: import_into_a_new_gallery(galleries, lines),
            staff.audit,
        ):
            with pytest.raises(SpaceMismatch) as caught:
                act()
            message = str(caught.value)
            assert "use the pack " in message
            assert "or enrol the images again in a new gallery (visavis gallery create, visavis enrol)" in message
            assert "'dlib'" in message
            assert "'open'" in message
        assert staff.record.samples == 2
        assert galleries.create("new").record.space == OPEN.space


def import_into_a_new_gallery(galleries: Galleries, lines: list[Any]) -> None:
    galleries.create("of.open")
    list(galleries.open("of.open").import_lines(lines))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: Path, open_models: Path) -> Shell:
    """A shell beside the store, with the pack open."""
    return Shell(capsys, monkeypatch, store, {"VISAVIS_PACK": "open", "VISAVIS_MODELS_DIR": str(open_models)})


def test_the_command_line_refuses_a_gallery_of_another_pack(shell: Shell, astronaut: Path, tmp_path: Path) -> None:
    exported = shell("gallery", "export", "staff", "--output", tmp_path / "staff.jsonl")
    assert exported.code == 0, exported.err
    for command in (
        ("identify", astronaut, "--gallery", "staff"),
        ("enrol", "--gallery", "staff", "--subject", "eileen", astronaut),
        ("gallery", "import", "new", tmp_path / "staff.jsonl"),
    ):
        outcome = shell(*command)
        assert (outcome.code, outcome.out) == (2, ""), command
        assert (
            f"{WAY_OUT}{OPEN.space.id}) cannot be compared: use the pack 'dlib' (--pack dlib), or enrol" in outcome.err
        )
        assert "Traceback" not in outcome.err
    shown = shell("gallery", "show", "staff")  # what compares nothing is done for every gallery
    assert shown.code == 0
    assert "\n  pack             dlib\n" in shown.out


@pytest.mark.parametrize("chosen", ["dlib", "open", "facenet", "nonsense", ""])
def test_what_looks_at_no_image_goes_by_the_gallerys_own_pack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path, chosen: str
) -> None:
    shell = Shell(capsys, monkeypatch, store, {"VISAVIS_PACK": chosen, "VISAVIS_MODELS_DIR": str(tmp_path / "none")})
    for command in (
        ("list",),
        ("list", "--json"),
        ("show", "staff"),
        ("policy", "staff", "--margin", "0.1"),
        ("audit", "staff"),
        ("audit", "staff", "--pack", "open"),
        ("export", "staff", "-o", tmp_path / "staff.jsonl"),
        ("merge", "staff", "ada", "grace", "--yes"),
        ("merge", "staff", "grace", "alan", "--yes", "--pack", "open"),
        ("log", "staff"),
        ("forget", "staff", "grace", "--yes"),
        ("backup", tmp_path / "copy.db"),
        ("forget", "staff", "--yes"),
    ):
        outcome = shell("gallery", *command)
        unknown = 2 if "alan" in command else 0
        assert outcome.code == unknown, (command, outcome.err)
        assert "cannot be compared" not in outcome.err


def test_a_policy_is_checked_against_the_gallerys_own_pack(shell: Shell, tmp_path: Path) -> None:
    galleries = galleries_of("open", tmp_path)
    with closing(galleries.store):
        galleries.create("lobby")
    refused = shell("gallery", "policy", "staff", "--require-live")
    assert (refused.code, refused.out) == (2, "")
    assert "the pack 'dlib' has no part that tells whether a face is live" in refused.err
    assert shell("gallery", "policy", "lobby", "--require-live").code == 0


def test_a_gallery_of_a_pack_that_only_pins_tell_is_audited_where_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    for folder in (models, elsewhere):
        folder.mkdir()
    names = [file.name for file in PACKS["facenet"].files if file.sha256 is None]
    assert names
    (models / PINS).write_text(json.dumps(dict.fromkeys(names, "0" * 64)))
    shell = Shell(capsys, monkeypatch, tmp_path, {"VISAVIS_MODELS_DIR": str(models)})
    assert shell("gallery", "create", "staff", "--pack", "facenet").code == 0
    assert "  pack facenet  keeps " in shell("gallery", "list").out
    assert "\n  pack             facenet\n" in shell("gallery", "show", "staff").out
    assert shell("gallery", "audit", "staff").code == 0
    (elsewhere / PINS).write_text("{damaged")
    for folder in (elsewhere, tmp_path / "none"):
        monkeypatch.setenv("VISAVIS_MODELS_DIR", str(folder))
        assert "  pack unknown  keeps " in shell("gallery", "list").out
        assert json.loads(shell("gallery", "list", "--json").out)[0]["pack"] is None
        assert "\n  pack             unknown: " in shell("gallery", "show", "staff").out
        outcome = shell("gallery", "audit", "staff")
        assert outcome.code == 2
        assert ("pins.json" if folder is elsewhere else "use the pack that it was made with") in outcome.err
    assert shell("gallery", "export", "staff", "-o", tmp_path / "staff.jsonl").code == 0
    assert shell("gallery", "forget", "staff", "--yes").code == 0


def test_an_empty_gallery_of_another_pack_is_said_to_be_empty(shell: Shell, astronaut: Path, tmp_path: Path) -> None:
    galleries = galleries_of("dlib", tmp_path)
    with closing(galleries.store):
        galleries.create("new")
    for gallery, way_out in (("new", "; visavis gallery forget new removes the empty one\n"), ("staff", "enrol)\n")):
        outcome = shell("identify", astronaut, "--gallery", gallery)
        assert (outcome.code, outcome.out) == (2, "")
        assert "use the pack 'dlib' (--pack dlib), or " in outcome.err
        assert outcome.err.endswith(way_out)
        assert ("gallery 'new' is empty, but for embeddings of the pack 'dlib'" in outcome.err) == (gallery == "new")


def test_the_server_refuses_a_gallery_of_another_pack(store: Path, recognizer_open: Recognizer) -> None:
    probe = vector(1, OPEN.dimension)
    line = {"visavis_export": 1, "gallery": "staff", "space": {"id": DLIB.space.id}}
    with Caller(Settings(pack="open", store=sqlite_url(store / "visavis.db")), recognizer_open) as server:
        for path, body in (
            ("/v1/galleries/staff/identify", {"embeddings": [probe]}),
            ("/v1/galleries/staff/subjects/ada/verify", {"embedding": probe}),
            ("/v1/galleries/staff/enrol", {"embeddings": [probe]}),
        ):
            refused = problem(server.post(path, body))
            assert (refused["status"], refused["code"]) == (409, "space_mismatch")
            assert f"gallery 'staff' {WAY_OUT}" in refused["detail"]
        assert server.post("/v1/galleries", {"name": "newer"}).status_code == 201
        answer = server.request(
            "POST",
            "/v1/galleries/newer/import",
            content=ndjson(line),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert "the pack 'dlib'" in answer.text
        assert "space_mismatch" in answer.text


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(recognizer_open: Recognizer, open_models: Path) -> Iterator[Caller]:
    with Caller(Settings(pack="open", models_dir=open_models), recognizer_open) as server:
        yield server


def test_the_server_lists_every_pack(server: Caller) -> None:
    answer = server.get("/v1/models").json()
    assert answer["default"] == "open"
    packs = {pack["name"]: pack for pack in answer["packs"]}
    assert list(packs) == list(PACKS)
    assert [name for name, pack in packs.items() if pack["installed"]] == ["dlib", "dlib-cosine", "open", "sface"]
    assert [name for name, pack in packs.items() if not pack["commercial_use"]][:1] == ["buffalo_l"]
    opened = packs["open"]
    assert (opened["space"], opened["dimension"], opened["metric"]) == (OPEN.space.id, 256, "cosine")
    assert opened["attributes"] == ["liveness", "pose"]  # of age and gender the files are missing
    assert list(opened["operating_points"]) == ["default", "strict", "balanced", "lenient"]
    assert opened["operating_points"]["default"] == opened["threshold"] == OPEN.threshold
    assert opened["operating_points"]["strict"] < opened["operating_points"]["lenient"]
    assert list(packs["sface-float"]["operating_points"]) == ["default"]  # nobody measured it here
    parts = {part["role"]: part for part in opened["parts"]}
    assert {role: part["needed"] for role, part in parts.items()} == {
        "detector": True,
        "embedder": True,
        "liveness": False,
        "pose": False,
        "age_gender": False,
    }
    assert parts["liveness"]["installed"]
    assert not parts["age_gender"]["installed"]
    assert all(part["training_data"] for pack in packs.values() for part in pack["parts"])
    names = {file["name"] for file in opened["files"]}
    assert names == {name for part in parts.values() for name in part["files"]}


def test_the_default_of_a_server_may_be_a_rate(open_models: Path, cache_dir: Path) -> None:
    strict = Recognizer("open", fmr="strict", models_dir=open_models, cache_dir=cache_dir, threads=1)
    with Caller(Settings(pack="open", models_dir=open_models), strict) as server:
        (opened,) = (pack for pack in server.get("/v1/models").json()["packs"] if pack["name"] == "open")
    assert opened["threshold"] == OPEN.threshold
    assert opened["operating_points"]["default"] == opened["operating_points"]["strict"]


def test_a_damaged_calibration_of_another_pack_does_not_hide_the_others(
    recognizer_open: Recognizer, tmp_path: Path
) -> None:
    (tmp_path / "calibrations").mkdir()
    (tmp_path / "calibrations" / f"{DLIB.space.id}.json").write_text("{")
    with Caller(Settings(pack="open", models_dir=tmp_path), recognizer_open) as server:
        packs = server.get("/v1/models").json()["packs"]
    installed = {pack["name"]: pack["installed"] for pack in packs}
    assert (installed["dlib"], installed["open"]) == (True, False)


def test_old_clients_get_128_numbers_or_an_error(server: Caller, astronaut: Path) -> None:
    image = in_base64(astronaut.read_bytes())
    for path, body in (
        ("url", {"url": "https://example.com/a.jpg"}),
        ("img", {"img": image}),
        ("array", {"array": list(b"\xff\xd8")}),
    ):
        refused = problem(server.post(f"/face-embedding/{path}", body))
        assert (refused["status"], refused["code"]) == (501, "unsupported_pack")
        assert "the server's pack open makes 256" in refused["detail"]
        assert "VISAVIS_PACK=dlib" in refused["detail"]
    assert server.get("/face-embedding").status_code == 200
    pixels = np.full((8, 8, 3), 9).tolist()  # which is no face at all
    assert server.post("/", {"truth": pixels, "check": pixels}).json() == {"Match": "No"}


def clean_environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    return {**clean, "VISAVIS_MIN_FACE": "0.15", **variables}


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[Listening]:
    process = subprocess.Popen(
        [sys.executable, "-m", "visavis", "serve", "--port", "0"],
        cwd=folder,
        env=clean_environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            lines = (re.fullmatch(r"visavis listens on http://[^ ]+:(\d+)\n", line) for line in process.stderr)
            port = next((int(found[1]) for found in lines if found), None)
            assert port is not None, "it did not start"
            yield Listening(port, None)  # type: ignore[arg-type]  # it is in another process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


@pytest.mark.thorough
def test_the_server_serves_the_pack_that_the_environment_names(
    open_models: Path, astronaut: Path, astronaut_again: bytes, tmp_path: Path
) -> None:
    def call(server: Listening, path: str, value: object) -> Any:  # noqa: ANN401  # JSON
        answer = server.call("POST", path, json.dumps(value).encode(), JSON)
        assert answer.status in (200, 201), answer.body
        return answer.json()

    a, b = ({"base64": in_base64(data)} for data in (astronaut.read_bytes(), astronaut_again))
    with serving(tmp_path, VISAVIS_PACK="open", VISAVIS_MODELS_DIR=str(open_models)) as server:
        embedded = call(server, "/v1/embed", {"images": [a]})
        assert (embedded["pack"], embedded["dimension"], embedded["metric"]) == ("open", 256, "cosine")
        verified = call(server, "/v1/verify", {"a": a, "b": b})
        assert (verified["same"], verified["threshold"]) == (True, OPEN.threshold)
        made = call(server, "/v1/galleries", {"name": "staff"})
        assert made["space"] == {"id": OPEN.space.id, "dimension": 256, "metric": "cosine"}
        call(server, "/v1/galleries/staff/enrol", {"subject": "eileen", "images": [a]})
        (found,) = call(server, "/v1/galleries/staff/identify", {"images": [b]})["results"]
        assert found["faces"][0]["match"]["subject"] == "eileen"


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.thorough)])
def test_a_server_whose_pack_is_not_installed_does_not_start(tmp_path: Path, processes: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "visavis", "serve", "--port", "0", "--processes", processes],
        cwd=tmp_path,
        env=clean_environment(VISAVIS_PACK="open", VISAVIS_MODELS_DIR=str(tmp_path / "models")),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (outcome.returncode, outcome.stdout) == (2, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("visavis: the pack 'open' is not installed")
    assert "visavis models pull open" in line


# --- the doctor ------------------------------------------------------------------------------------------------------


def test_the_doctor_tells_of_the_parts_of_a_pack(shell: Shell) -> None:
    report = json.loads(shell("doctor", "--json").out)
    models = report["models"]
    assert report["problems"] == []
    assert (models["pack"], models["commercial use"], models["SHA-256 as published"]) == ("open", True, True)
    assert (models["folder"], models["installed"]) == (os.environ["VISAVIS_MODELS_DIR"], True)
    assert models["detector"].startswith("face_detection_yunet_2023mar.onnx; MIT; trained on: WIDER FACE")
    assert models["embedder"].endswith("; Apache-2.0; trained on: not published by Intel")
    assert models["liveness (optional)"].startswith("2.7_80x80_MiniFASNetV2.pth, ")
    assert models["age_gender (optional)"] == "not installed"
    assert report["self_test"]["faces"] == 0


def test_the_doctor_says_how_to_get_what_is_missing_or_damaged(shell: Shell, open_models: Path, tmp_path: Path) -> None:
    outcome = shell("doctor", "--pack", "buffalo_s", "--json", "--models-dir", tmp_path)
    report = json.loads(outcome.out)
    assert outcome.code == 1
    (problem,) = report["problems"]  # one for all its files
    assert problem["problem"] == (
        f"the pack 'buffalo_s' is not installed: det_500m.onnx, w600k_mbf.onnx missing in {tmp_path}"
    )
    assert problem["remedy"].startswith("visavis models pull buffalo_s --accept-licence (its licence forbids")
    models = report["models"]
    # What is missing is not damaged.
    assert [models[name] for name in ("installed", "commercial use", "SHA-256 as published")] == [False, False, None]
    assert report["self_test"] == {"done": False, "why": "the models come first"}

    files = tmp_path / FILES
    files.mkdir()
    for path in (open_models / FILES).iterdir():
        (files / path.name).write_bytes(path.read_bytes() if path.suffix != ".pth" else b"damaged")
    report = json.loads(shell("doctor", "--json", "--models-dir", tmp_path).out)
    assert len(report["problems"]) == 2  # both files that tell liveness: what is there must be right
    assert all("MiniFASNet" in problem["problem"] for problem in report["problems"])
    assert {problem["remedy"] for problem in report["problems"]} == {"visavis models pull open"}
    embedder = files / OPEN.part("embedder").files[0].name
    embedder.write_bytes(b"damaged")
    report = json.loads(shell("doctor", "--json", "--models-dir", tmp_path).out)
    assert (report["models"]["installed"], report["models"]["SHA-256 as published"]) == (True, False)
    embedder.unlink()
    outcome = shell("doctor", "--models-dir", tmp_path)
    assert re.search(r"\n  installed +no\n", outcome.out)
    assert outcome.out.count("visavis models pull open; without a network: visavis models import FILE") == 1
    assert "opencv" not in outcome.out.partition("problems:")[2]
