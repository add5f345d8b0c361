"""Verify at a false match rate, in every shell: library, command line, server and client; and with live faces only."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Shell
from measured import MADE_UP, keep
from serving import Caller, in_base64, problem

from visavis import Recognizer
from visavis.config import Settings
from visavis.core.decide import ErrorRates
from visavis.errors import InvalidOption, NoFace, VisavisError
from visavis.models.packs import QualityLimits

DECISIONS: list[tuple[Any, str]] = [
    ("strict", "different"),
    (1e-3, "uncertain"),
    ("balanced", "uncertain"),
    ("lenient", "same"),
]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    keep(MADE_UP, folder)
    return folder


@pytest.fixture(scope="module")
def measured(cache_dir: Path, models_dir: Path) -> Recognizer:
    """The default pack, with error rates that were measured here."""
    return Recognizer("dlib", precision="f32", cache_dir=cache_dir, models_dir=models_dir, threads=1)


# --- library --------------------------------------------------------------------------------------------------------


def test_the_library_decides_at_a_rate(measured: Recognizer, astronaut: Path, astronaut_again: bytes) -> None:
    for fmr, decision in DECISIONS:
        answer = measured.verify(astronaut, astronaut_again, fmr=fmr)
        point = {1e-4: 0.10, 1e-3: 0.40, 1e-2: 0.60}[answer.fmr or 0]
        assert (answer.decision, answer.threshold) == (decision, point)
        assert answer.same == (answer.distance < point)
        assert answer.probability is not None


def test_strangers_are_different_at_every_rate(measured: Recognizer, astronaut: Path, hopper: Path) -> None:
    for fmr, _ in DECISIONS:
        assert measured.verify(astronaut, hopper, fmr=fmr).decision == "different"


def test_a_rate_may_be_the_recognizers_own(
    cache_dir: Path, models_dir: Path, astronaut: Path, astronaut_again: bytes
) -> None:
    own = Recognizer("dlib", precision="f32", cache_dir=cache_dir, models_dir=models_dir, threads=1, fmr="balanced")
    assert own.threshold == 0.40
    assert own.verify(astronaut, astronaut_again).decision == "uncertain"
    assert own.verify(astronaut, astronaut_again, threshold=0.5).decision == "same"
    assert own.verify(astronaut, astronaut_again, fmr=1e-2).decision == "same"


def test_verify_many_decides_at_a_rate(measured: Recognizer, astronaut: Path, astronaut_again: bytes) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    pairs: list[tuple[Any, Any]] = [(astronaut, astronaut_again), (grey, astronaut), (astronaut, astronaut)]
    one, none, other = measured.verify_many(pairs, fmr=1e-3)
    assert not isinstance(one, VisavisError)
    assert not isinstance(other, VisavisError)
    assert (one.decision, other.decision) == ("uncertain", "same")
    assert isinstance(none, NoFace)
    assert list(measured.verify_many([], fmr=1e-3)) == []


@pytest.mark.parametrize(
    "wrong", [{"fmr": 1e-9}, {"fmr": "lax"}, {"fmr": float("nan")}, {"fmr": 1e-3, "threshold": 0.5}, {"fmr": 0}]
)
def test_what_is_no_rate_is_refused_before_an_image_is_read(measured: Recognizer, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="fmr"):
        measured.verify("nowhere.jpg", "nowhere.jpg", **wrong)
    with pytest.raises(InvalidOption, match="fmr"):
        Recognizer("dlib", models_dir="nowhere", **wrong)


def test_a_pack_that_tells_no_liveness_cannot_require_it(measured: Recognizer, astronaut: Path) -> None:
    with pytest.raises(InvalidOption, match="'dlib' tells no liveness"):
        measured.verify(astronaut, astronaut, require_live=True)


# --- command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cache_dir: Path,
    models_dir: Path,
) -> Shell:
    settings = {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_MODELS_DIR": str(models_dir)}
    return Shell(capsys, monkeypatch, tmp_path, settings)


@pytest.fixture
def photos(tmp_path: Path, astronaut: Path, astronaut_again: bytes) -> tuple[Path, Path]:
    path = tmp_path / "again.jpg"
    path.write_bytes(astronaut_again)
    return astronaut, path


@pytest.mark.parametrize(
    ("fmr", "code", "lines"),
    [
        ("lenient", 0, ["Yes", "threshold    0.6000", "fmr          0.01"]),
        ("strict", 1, ["No", "threshold    0.1000", "fmr          0.0001"]),
        ("1e-3", 2, ["Uncertain", "threshold    0.4000", "fmr          0.001"]),
    ],
)
def test_the_command_line_decides_at_a_rate(
    cli: Shell, photos: tuple[Path, Path], fmr: str, code: int, lines: list[str]
) -> None:
    outcome = cli("verify", "--fmr", fmr, *photos)
    first, distance, *middle, probability = outcome.out.splitlines()
    assert (outcome.code, outcome.err, [first, *middle]) == (code, "", lines)
    assert distance.startswith("distance     0.2")
    assert probability.startswith("probability  0.99")
    as_json = cli("verify", "--json", "--fmr", fmr, *photos)
    answer = json.loads(as_json.out)
    assert (as_json.code, answer["decision"]) == (code, ("same", "different", "uncertain")[code])


def test_the_variable_counts_where_nothing_is_given(
    cli: Shell, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_FMR", "strict")
    assert cli("verify", *photos).code == 1
    assert cli("verify", "--fmr", "lenient", *photos).code == 0
    assert cli("verify", "--threshold", "0.6", *photos).code == 0


def test_a_variable_that_is_no_setting_is_told(
    cli: Shell, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_PAK", "open")
    outcome = cli("verify", *photos)
    assert outcome.code == 0
    assert outcome.err.startswith("visavis: VISAVIS_PAK is no setting")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fmr", "1e-9"], "from 0.0001 to 0.01, not 1e-09"),
        (["--fmr", "lax"], "fmr must be a rate between 0 and 1, or one of strict, balanced, lenient, not 'lax'"),
        (["--fmr", ""], "fmr must be a rate"),
        (["--fmr", "nan"], "fmr must be a rate"),
        (["--fmr", "1e-3", "--threshold", "0.5"], "use one of them"),
        (["--require-live"], "the pack 'dlib' tells no liveness"),
    ],
)
def test_the_command_line_says_what_is_wrong(cli: Shell, astronaut: Path, options: list[str], message: str) -> None:
    outcome = cli("verify", *options, astronaut, astronaut)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_damaged_calibration_is_one_line_and_exit_2(cli: Shell, astronaut: Path, tmp_path: Path) -> None:
    keep(MADE_UP, tmp_path).write_text("{")
    outcome = cli("verify", "--models-dir", tmp_path, astronaut, astronaut)
    assert (outcome.code, outcome.out) == (2, "")
    assert "visavis calibrate --pack dlib --reset removes it" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def start_server(models_dir: Path, cache_dir: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Start a server that should not start, in a process of its own: it listens before it fails."""
    variables = {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_STORE": f"sqlite:///{models_dir}/g.db"}
    arguments = ["serve", "--pack", "dlib", "--port", "0", "--models-dir", str(models_dir), *options]
    return subprocess.run(
        [sys.executable, "-m", "visavis", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_server_does_not_start_with_a_damaged_calibration(cache_dir: Path, tmp_path: Path) -> None:
    keep(MADE_UP, tmp_path).write_text("{}")
    outcome = start_server(tmp_path, cache_dir)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "calibrate --pack dlib --reset" in outcome.stderr


@pytest.mark.parametrize(
    ("fmr", "message"),
    [
        ("lax", "or one of strict"),
        pytest.param("2", "not 2", marks=pytest.mark.thorough),
        pytest.param("1e-9", "not 1e-09", marks=pytest.mark.thorough),
    ],
)
def test_a_server_does_not_start_with_a_wrong_rate(tmp_path: Path, cache_dir: Path, fmr: str, message: str) -> None:
    keep(MADE_UP, tmp_path)
    outcome = start_server(tmp_path, cache_dir, "--fmr", fmr)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "fmr" in outcome.stderr.lower()
    assert message in outcome.stderr


def test_the_setting_is_a_number_or_a_name() -> None:
    assert Settings.from_env({}).fmr is None
    assert Settings.from_env({"VISAVIS_FMR": "1e-3"}).fmr == 1e-3
    assert Settings.from_env({"VISAVIS_FMR": "strict"}).fmr == "strict"
    for wrong in ("0", "1", "-1", "nan", "Strict"):
        with pytest.raises(InvalidOption, match="VISAVIS_FMR"):
            Settings.from_env({"VISAVIS_FMR": wrong})


# --- server ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(measured: Recognizer) -> Iterator[Caller]:
    with Caller(Settings(), measured) as caller:
        yield caller


@pytest.fixture(scope="module")
def pair(astronaut: Path, astronaut_again: bytes) -> dict[str, Any]:
    return {"a": {"base64": in_base64(astronaut.read_bytes())}, "b": {"base64": in_base64(astronaut_again)}}


def test_the_server_decides_at_a_rate(
    server: Caller, measured: Recognizer, pair: dict[str, Any], astronaut: Path, astronaut_again: bytes
) -> None:
    files = {"a": astronaut.read_bytes(), "b": astronaut_again}
    for fmr, decision in DECISIONS:
        answer = server.post("/v1/verify", {**pair, "fmr": fmr}).json()
        assert answer == {"pack": "dlib", **measured.verify(astronaut, astronaut_again, fmr=fmr).to_dict()}
        assert answer["decision"] == decision
        assert server.request("POST", "/v1/verify", files=files, data={"fmr": str(fmr)}).json() == answer
        if isinstance(fmr, str):
            assert server.post("/v1/verify", {**pair, "operating_point": fmr}).json() == answer


def test_without_a_rate_the_server_decides_as_ever(
    server: Caller, measured: Recognizer, pair: dict[str, Any], astronaut: Path, astronaut_again: bytes
) -> None:
    expected = {"pack": "dlib", **measured.verify(astronaut, astronaut_again).to_dict()}
    assert expected["fmr"] is None
    for options in ({}, {"fmr": None}, {"operating_point": "default"}, {"require_live": False}):
        assert server.post("/v1/verify", {**pair, **options}).json() == expected


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"fmr": 1e-9}, "invalid_option", "fmr"),
        ({"fmr": 0}, "invalid_request", "fmr"),
        ({"fmr": 1}, "invalid_request", "fmr"),
        ({"fmr": "lax"}, "invalid_request", "fmr"),
        ({"fmr": "1e-3"}, "invalid_request", "fmr"),
        ({"fmr": True}, "invalid_request", "fmr"),
        ({"fmr": [1e-3]}, "invalid_request", "fmr"),
        ({"operating_point": "lax"}, "invalid_request", "operating_point"),
        ({"operating_point": None}, "invalid_request", "operating_point"),
        ({"require_live": True}, "invalid_option", "require_live"),
        ({"require_live": "yes"}, "invalid_request", "require_live"),
    ],
)
def test_the_server_says_what_is_wrong(
    server: Caller, pair: dict[str, Any], options: dict[str, Any], code: str, field: str
) -> None:
    answer = server.post("/v1/verify", {**pair, **options})
    assert answer.status_code == 422
    assert problem(answer)["code"] == code
    assert problem(answer)["field"].startswith(field)


@pytest.mark.parametrize(
    "two",
    [
        {"threshold": 0.5, "fmr": 1e-3},
        {"threshold": 0.5, "operating_point": "strict"},
        {"fmr": 1e-3, "operating_point": "default"},
        {"fmr": "strict", "operating_point": "strict", "threshold": 0.5},
    ],
)
def test_the_server_takes_one_of_them(server: Caller, pair: dict[str, Any], two: dict[str, Any]) -> None:
    assert "at most one" in problem(server.post("/v1/verify", {**pair, **two}))["detail"]


@pytest.mark.parametrize("data", [{"fmr": "2"}, {"fmr": "nan"}, {"fmr": " "}, {"fmr": "lax"}, {"require_live": "2"}])
def test_a_form_says_what_is_wrong(server: Caller, astronaut: Path, data: dict[str, str]) -> None:
    files = {"a": astronaut.read_bytes(), "b": astronaut.read_bytes()}
    answer = server.request("POST", "/v1/verify", files=files, data=data)
    assert answer.status_code == 422
    assert problem(answer)["field"].startswith(next(iter(data)))


def test_a_name_that_nobody_measured_is_the_fields_fault(cache_dir: Path, tmp_path: Path, pair: dict[str, Any]) -> None:
    few = replace(MADE_UP, rates=ErrorRates(MADE_UP.rates.points[1:], "made up"))
    keep(few, tmp_path)
    own = Recognizer("dlib", precision="f32", cache_dir=cache_dir, models_dir=tmp_path, threads=1)
    with Caller(Settings(), own) as caller:
        answer = caller.post("/v1/verify", {**pair, "operating_point": "strict"})
    assert (problem(answer)["code"], problem(answer)["field"]) == ("invalid_option", "operating_point")
    assert "0.001 to 0.01" in problem(answer)["detail"]


def test_a_server_may_have_a_rate_of_its_own(cache_dir: Path, models_dir: Path, pair: dict[str, Any]) -> None:
    own = Recognizer("dlib", precision="f32", cache_dir=cache_dir, models_dir=models_dir, threads=1, fmr="strict")
    with Caller(Settings(fmr="strict"), own) as caller:
        for options, fmr in (({}, 1e-4), ({"operating_point": "default"}, 1e-4), ({"fmr": 1e-2}, 1e-2)):
            assert caller.post("/v1/verify", {**pair, **options}).json()["fmr"] == fmr
        assert caller.post("/v1/verify", {**pair, "threshold": 0.5}).json()["fmr"] is None


def test_the_command_line_cannot_tell_of_an_invalid_face(
    cli: Shell, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QualityLimits, "doubt", lambda *_: "invalid_face")
    outcome = cli("verify", *photos)
    lines = outcome.out.splitlines()
    assert (outcome.code, lines[0], lines[-2:]) == (
        2,
        "Uncertain",
        ["probability  unknown", "reason       invalid_face"],
    )
    answer = json.loads(cli("verify", "--json", *photos).out)
    assert (answer["same"], answer["decision"], answer["reason"]) == (False, "uncertain", "invalid_face")
