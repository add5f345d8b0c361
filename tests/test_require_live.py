"""Verify with live faces only, in every shell, with the pack ``open``."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from command_line import Shell
from serving import Caller, in_base64, ndjson, problem, sqlite_url

from visavis import Recognizer
from visavis.config import Settings
from visavis.errors import NoFace, NotLive, VisavisError


@pytest.fixture(scope="module")
def shown(hopper: Path) -> bytes:
    """Grace Hopper's photo on a small screen with a dark frame, photographed."""
    with PIL.Image.open(hopper) as image:
        photo = image.convert("RGB").crop((120, 50, 400, 400))
    photo.thumbnail((220, 220))
    screen = PIL.Image.new("RGB", (photo.width + 24, photo.height + 40), (15, 15, 15))
    screen.paste(photo, (12, 20))
    scene = PIL.Image.new("RGB", (640, 480), (90, 70, 60))
    scene.paste(screen, (200, 80))
    buffer = io.BytesIO()
    scene.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(recognizer_open: Recognizer) -> Iterator[Caller]:
    with Caller(Settings(pack="open"), recognizer_open) as caller:
        yield caller


def test_live_faces_are_compared_as_ever(recognizer_open: Recognizer, hopper: Path, astronaut: Path) -> None:
    plain, live = (recognizer_open.verify(hopper, astronaut, require_live=required) for required in (False, True))
    assert (live.distance, live.decision) == (plain.distance, plain.decision)
    assert [face.attributes for face in plain.faces] == [None, None]
    for face in live.faces:
        assert face.attributes is not None
        assert (face.attributes.liveness or 0) > 0.5


def test_a_screen_is_refused(recognizer_open: Recognizer, hopper: Path, shown: bytes) -> None:
    assert recognizer_open.verify(hopper, shown).decision == "same"
    with pytest.raises(NotLive, match="the face in the second image looks like a print or a screen"):
        recognizer_open.verify(hopper, shown, require_live=True)
    with pytest.raises(NotLive, match="first"):
        recognizer_open.verify(shown, hopper, require_live=True, faces="only")


def test_in_a_batch_only_the_screen_fails(recognizer_open: Recognizer, hopper: Path, shown: bytes) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    pairs: list[tuple[Any, Any]] = [(hopper, hopper), (hopper, shown), (grey, hopper)]
    good, screen, none = recognizer_open.verify_many(pairs, require_live=True)
    assert not isinstance(good, VisavisError)
    assert good.same
    assert isinstance(screen, NotLive)
    assert isinstance(none, NoFace)


def test_at_a_rate_too(recognizer_open: Recognizer, hopper: Path, astronaut: Path) -> None:
    answer = recognizer_open.verify(hopper, astronaut, fmr="balanced", require_live=True)
    assert (answer.decision, answer.fmr) == ("different", 1e-3)


def test_the_command_line_refuses_a_screen(  # noqa: PLR0913  # fixtures
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    cache_dir: Path,
    open_models: Path,
    hopper: Path,
    shown: bytes,
) -> None:
    settings = {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_MODELS_DIR": str(open_models), "VISAVIS_PACK": "open"}
    cli = Shell(capsys, monkeypatch, tmp_path, settings)
    assert cli("verify", "--require-live", hopper, hopper).code == 0
    outcome = cli("verify", "--require-live", hopper, "-", stdin=shown)
    assert (outcome.code, outcome.out) == (2, "")
    assert "the face in the second image looks like a print or a screen" in outcome.err
    outcome = cli("verify", "--require-live", "--json", hopper, "-", stdin=shown)
    assert json.loads(outcome.out)["error"]["code"] == "not_live"


def test_the_server_refuses_a_screen_and_names_it(server: Caller, hopper: Path, shown: bytes) -> None:
    live, screen = {"base64": in_base64(hopper.read_bytes())}, {"base64": in_base64(shown)}
    assert server.post("/v1/verify", {"a": live, "b": live, "require_live": True}).json()["same"] is True
    assert server.post("/v1/verify", {"a": live, "b": screen}).json()["same"] is True
    for a, b, field in ((live, screen, "b"), (screen, live, "a")):
        answer = server.post("/v1/verify", {"a": a, "b": b, "require_live": True})
        assert (answer.status_code, problem(answer)["code"], problem(answer)["field"]) == (422, "not_live", field)
    files = {"a": hopper.read_bytes(), "b": shown}
    answer = server.request("POST", "/v1/verify", files=files, data={"require_live": "true"})
    assert problem(answer)["code"] == "not_live"
    assert server.request("POST", "/v1/verify", files=files, data={"require_live": "false"}).json()["same"] is True


def test_without_the_files_of_the_network_the_server_says_that_it_cannot(
    open_models: Path, tmp_path: Path, hopper: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "files").mkdir()
    for path in (open_models / "files").iterdir():
        if path.suffix != ".pth":
            (tmp_path / "files" / path.name).symlink_to(path)
    partial = Recognizer("open", precision="f32", models_dir=tmp_path, cache_dir=tmp_path, threads=1)
    assert partial.verify(hopper, hopper).same
    face = {"base64": in_base64(hopper.read_bytes())}
    caplog.set_level(logging.INFO, "visavis.server")
    settings = Settings(pack="open", store=sqlite_url(tmp_path / "visavis.db"))
    with Caller(settings, partial) as caller:
        for name, policy in (("lobby", {}), ("gate", {"require_live": True})):
            assert caller.post("/v1/galleries", {"name": name, "policy": policy}).status_code == 201
        lobby, gate = "/v1/galleries/lobby", "/v1/galleries/gate"
        assert caller.post(f"{lobby}/enrol", {"subject": "grace", "images": [face]}).status_code == 201
        for call, body, field in (
            ("/v1/detect", {"images": [face], "attributes": ["liveness"]}, "attributes"),
            ("/v1/embed", {"images": [face], "attributes": ["age"]}, "attributes"),
            ("/v1/verify", {"a": face, "b": face, "require_live": True}, "require_live"),
            (f"{lobby}/identify", {"images": [face], "require_live": True}, None),
            (f"{lobby}/subjects/grace/verify", {"image": face, "require_live": True}, None),
            (f"{gate}/enrol", {"images": [face]}, None),
            (f"{gate}/identify", {"images": [face]}, None),
        ):
            refused = problem(caller.post(call, body))
            told = (refused["status"], refused["code"], refused.get("field"))
            assert told == (501, "unsupported_pack", field), call
            assert "/v1/models tells which parts are" in refused["detail"]
        lines = {"Content-Type": "application/x-ndjson"}
        streamed = caller.request("POST", f"{gate}/import", content=ndjson({"image": face}), headers=lines)
        assert json.loads(streamed.text.splitlines()[-1])["error"]["code"] == "unsupported_pack"
        assert caller.post(f"{lobby}/identify", {"images": [face]}).status_code == 200  # which asks for nothing more
    said = [record for record in caplog.records if "visavis models pull open --with " in record.getMessage()]
    assert len(said) == 8
    assert not any(record.exc_info or record.levelno > logging.INFO for record in caplog.records)


def test_a_pack_that_has_no_such_part_is_another_error(recognizer: Recognizer, hopper: Path) -> None:
    face = {"base64": in_base64(hopper.read_bytes())}
    with Caller(Settings(), recognizer) as caller:
        for path, body, field in (
            ("/v1/detect", {"images": [face], "attributes": ["liveness"]}, "attributes"),
            ("/v1/verify", {"a": face, "b": face, "require_live": True}, "require_live"),
        ):
            refused = problem(caller.post(path, body))
            assert (refused["status"], refused["code"], refused["field"]) == (422, "invalid_option", field)


def test_no_image_is_a_live_face_by_itself(
    recognizer_open: Recognizer, hopper: Path, shown: bytes, tmp_path: Path
) -> None:
    """DeepFace's clients may say that an image is a face: not where the gallery wants live ones."""
    live, screen = (f"data:image/png;base64,{in_base64(data)}" for data in (hopper.read_bytes(), shown))
    settings = Settings(pack="open", dialects=("deepface",), store=sqlite_url(tmp_path / "galleries.db"))
    with Caller(settings, recognizer_open) as caller:
        assert caller.post("/register", {"img": live, "img_name": "grace"}).status_code == 200
        policy = {"policy": {"require_live": True}}
        assert caller.request("PATCH", "/v1/galleries/faces", json=policy).status_code == 200
        for how in ({"detector_backend": "skip"}, {"enforce_detection": False}):
            for call, name in (("/search", {}), ("/register", {"img_name": "spoof"})):
                answer = caller.post(call, {"img": screen, **how, **name})
                assert (answer.status_code, "Spoof detected" in answer.text) == (400, True), (call, how)
        assert caller.get("/v1/galleries/faces").json()["subjects"] == 1
        assert caller.post("/search", {"img": live, "detector_backend": "skip"}).json()["results"][0]
