"""``visavis calibrate`` as its users meet it. Most people here are made up: their embeddings wait in a cache."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from command_line import Outcome, Shell
from measured import MADE_UP, keep

from visavis.core.decide import ErrorRates, OperatingPoint
from visavis.evaluation.embedding import EmbeddingCache, PhotoResult, key_of
from visavis.models.catalogue import DLIB
from visavis.models.installation import Measured, as_installed, calibration_path
from visavis.models.runtime import RuntimeSpec

MIN_FACE = 0.15  # as the tests' shells have it
Crowd = Callable[..., Path]


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def kept(models_dir: Path) -> Path:
    """Where a calibration of the default pack is kept."""
    return calibration_path(DLIB, models_dir)


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    cache_dir: Path,
    models_dir: Path,
) -> Shell:
    settings = {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_MODELS_DIR": str(models_dir)}
    return Shell(capsys, monkeypatch, tmp_path, settings)


@pytest.fixture
def crowd(tmp_path: Path) -> Crowd:
    """Make a folder of people, and the cache that knows their embeddings."""

    def make(people: int, images: int = 3) -> Path:
        rng = np.random.default_rng(people)
        cache = EmbeddingCache(tmp_path / "seen", key_of(DLIB, RuntimeSpec(precision="f32"), "prominent", MIN_FACE))
        for person in range(people):
            folder = tmp_path / "people" / f"p{person:03d}"
            folder.mkdir(parents=True)
            centre = rng.normal(0, 0.06, DLIB.dimension)
            for number in range(images):
                content = encoded(rng.integers(0, 256, (8, 8, 3), np.uint8))
                (folder / f"{number}.png").write_bytes(content)
                embedding = (centre + rng.normal(0, 0.035, DLIB.dimension)).astype(np.float32)
                cache.put(
                    hashlib.sha256(content).hexdigest(), PhotoResult(embedding, np.array([0, 0, 7, 7], np.float32))
                )
        return tmp_path / "people"

    return make


def encoded(pixels: Any) -> bytes:  # noqa: ANN401  # an array
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def calibrated(cli: Shell, people: Path, *options: object) -> Outcome:
    return cli("calibrate", people, "--cache", "seen", *options)


def test_nothing_to_measure(cli: Shell, tmp_path: Path, kept: Path) -> None:
    (tmp_path / "people").mkdir()
    outcome = calibrated(cli, tmp_path / "people")
    assert (outcome.code, outcome.out) == (2, "")
    assert "people" in outcome.err
    assert not kept.exists()


def test_what_is_measured_is_kept_and_used(cli: Shell, crowd: Crowd, kept: Path, models_dir: Path) -> None:
    outcome = calibrated(cli, crowd(90), "--json")
    assert outcome.code == 0
    answer = json.loads(outcome.out)
    points = answer["points"]
    assert [(point["name"], point["fmr"]) for point in points][-4:] == [
        (None, 0.003),
        ("lenient", 0.01),
        (None, 0.03),
        (None, 0.1),
    ]
    assert answer["kept_in"] == str(kept)
    assert "no threshold for strict (0.0001)" in outcome.err
    assert "246 people" in outcome.err
    pack = as_installed(DLIB, models_dir)
    assert pack.rates is not None
    assert [point.threshold for point in pack.rates.points] == [point["threshold"] for point in points]
    assert pack.calibration is not None
    assert pack.calibration.midpoint == answer["calibration"]["midpoint"]
    for point in points:
        (low, high), (least, most) = point["threshold_interval"], point["fnmr_interval"]
        assert low <= point["threshold"] <= high
        assert least <= point["fnmr"] <= most


def test_what_is_kept_names_nobody(cli: Shell, crowd: Crowd, kept: Path) -> None:
    people = crowd(12)
    assert calibrated(cli, people).code == 0
    text = kept.read_text()
    assert "36 images of 12 people, 36 pairs of one person and 594 of strangers; faces=prominent" in text
    assert "f32" in text
    for word in (str(people), "p001", ".png", os.sep + "people"):
        assert word not in text


def test_the_command_line_goes_by_it(cli: Shell, crowd: Crowd, astronaut: Path, hopper: Path) -> None:
    points = json.loads(calibrated(cli, crowd(30), "--json").out)["points"]
    answer = json.loads(cli("verify", "--json", "--fmr", "1e-2", astronaut, hopper).out)
    assert answer["threshold"] == points[0]["threshold"]
    assert cli("verify", "--fmr", "strict", astronaut, hopper).code == 2


def test_it_prints_a_table(cli: Shell, crowd: Crowd) -> None:
    people = crowd(30)
    assert calibrated(cli, people).code == 0
    outcome = calibrated(cli, people, "--quiet")
    title, head, lenient, *_, last = outcome.out.splitlines()
    assert title == "Pack dlib"
    assert "strangers accepted (FMR)" in head
    assert lenient.split()[:2] == ["lenient", "0.01"]
    assert last.startswith("  As likely the same person as not at ")
    assert outcome.err == ""


def test_a_dry_run_keeps_nothing(cli: Shell, crowd: Crowd, models_dir: Path) -> None:
    outcome = calibrated(cli, crowd(12), "--dry-run", "--json")
    assert (outcome.code, json.loads(outcome.out)["kept_in"]) == (0, None)
    assert not models_dir.exists()


def test_a_rate_that_is_asked_for_is_found(cli: Shell, crowd: Crowd, models_dir: Path) -> None:
    outcome = calibrated(cli, crowd(30), "--json", "--fmr", "0.02")
    assert outcome.code == 0
    assert 0.02 in [point["fmr"] for point in json.loads(outcome.out)["points"]]
    pack = as_installed(DLIB, models_dir)
    assert pack.rates is not None
    assert 0.02 in [point.fmr for point in pack.rates.points]


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_rate_beyond_the_data_is_said_loudly_and_nothing_kept(
    cli: Shell, crowd: Crowd, kept: Path, models_dir: Path, options: list[str]
) -> None:
    people = crowd(30)
    outcome = calibrated(cli, people, "--json", "--quiet", "--fmr", "1e-5", *options)
    assert outcome.code == 2
    told = "NO threshold for 1e-05, and nothing kept: these data support no false match rate below 0.0069"
    assert told in outcome.err
    assert "1,000,000 pairs of strangers" in outcome.err
    answer = json.loads(outcome.out)
    assert (answer["unsupported"], answer["kept_in"]) == ([1e-5], None)
    assert "kept in" not in outcome.err
    assert not kept.exists()
    before = keep(MADE_UP, models_dir).read_bytes()
    assert calibrated(cli, people, "--fmr", "1e-5", *options).code == 2
    assert kept.read_bytes() == before


def test_a_rate_may_be_insisted_on_by_name(cli: Shell, crowd: Crowd) -> None:
    people = crowd(30)
    assert calibrated(cli, people, "--fmr", "lenient").code == 0
    outcome = calibrated(cli, people, "--fmr", "strict", "--quiet")
    assert outcome.code == 2
    assert outcome.err.startswith("visavis: NO threshold for 0.0001, and nothing kept")
    assert len(outcome.err.splitlines()) == 1


def test_strangers_within_groups_have_thresholds_of_their_own(cli: Shell, crowd: Crowd, tmp_path: Path) -> None:
    people = crowd(60)
    names = sorted(folder.name for folder in people.iterdir())
    lines = [f"{name},{'old' if number % 2 else 'young'}\n" for number, name in enumerate(names)]
    (tmp_path / "groups.csv").write_text("".join(lines))
    pack = ("--pack", "dlib", "--json", "--dry-run")
    whole = json.loads(calibrated(cli, people, *pack).out)
    own = json.loads(calibrated(cli, people, "--groups", "groups.csv", "--within", "groups", *pack).out)
    assert "180 images of 60 people, 180 pairs of one person and 15,930 of strangers;" in whole["provenance"]
    assert "180 pairs of one person and 7,830 of strangers within groups;" in own["provenance"]
    assert own["least_fmr"] > whole["least_fmr"]
    for options in (("--within", "groups"), ("--groups", "groups.csv")):
        outcome = calibrated(cli, people, *options, *pack)
        assert (outcome.code, outcome.out) == (2, "")
        assert "go together" in outcome.err


def test_what_is_lost_is_said_loudly(cli: Shell, crowd: Crowd, kept: Path, tmp_path: Path) -> None:
    people = crowd(40)
    first = calibrated(cli, people, "--quiet")
    assert first.code == 0
    rates, back = first.err.splitlines()
    assert "supports NO false match rate below 0.01; what it replaces supports those from" in rates
    assert "bench/rates.py" in rates
    assert back == "visavis: to go back to what the pack came with: visavis calibrate --reset --pack dlib"

    assert calibrated(cli, people, "--quiet").err == ""  # as much as before
    for folder in sorted(people.iterdir())[30:]:
        shutil.move(folder, tmp_path / folder.name)
    fewer, back = calibrated(cli, people, "--quiet").err.splitlines()
    assert "of 30 people, REPLACES one of 40: visavis calibrate" in fewer
    assert "--reset" in back
    plain = json.loads(kept.read_text())
    assert plain.pop("people") == 30
    kept.write_text(json.dumps(plain))  # an older file does not tell
    assert calibrated(cli, people, "--quiet").err == ""
    assert json.loads(kept.read_text())["people"] == 30


def test_a_refused_rate_names_the_calibration_in_force(cli: Shell, crowd: Crowd, astronaut: Path) -> None:
    assert calibrated(cli, crowd(30)).code == 0
    outcome = cli("verify", "--fmr", "strict", astronaut, astronaut)
    assert outcome.code == 2
    assert "90 images of 30 people" in outcome.err
    assert "visavis calibrate --reset --pack dlib brings back the rates that the pack came with" in outcome.err


def test_evaluate_tells_whether_the_rate_holds(cli: Shell, crowd: Crowd, models_dir: Path) -> None:
    people = crowd(30)
    arguments = ("evaluate", people, "--cache", "seen", "--precision", "f32", "--fmr", "lenient", "--json", "--quiet")
    far = OperatingPoint(1e-2, 1.2, 1.1, 1.3)
    measured = {
        "lower": None,  # what the pack came with: people here are farther from one another
        "higher": Measured(MADE_UP.calibration, ErrorRates((far,), "made up")),
    }
    for found, stored in measured.items():
        if stored is not None:
            keep(stored, models_dir)
        assert json.loads(cli(*arguments).out)["asked"] == {"fmr": 1e-2, "found": found}
    assert "MORE strangers" in cli(*(argument for argument in arguments if argument != "--json")).out
    assert calibrated(cli, people).code == 0
    assert json.loads(cli(*arguments).out)["asked"] == {"fmr": 1e-2, "found": "agrees"}


def test_how_people_are_named_is_told(cli: Shell, crowd: Crowd) -> None:
    people = crowd(12)
    assert "12 people, named by folder: p000 (3 images), p001" in calibrated(cli, people).err
    for image in sorted(people.rglob("*.png")):
        image.rename(people / f"{image.parent.name[1:]}person_{image.name}")
    outcome = calibrated(cli, people)
    assert outcome.code == 0
    assert "12 people, named by file: 000person (3 images)" in outcome.err


@pytest.mark.parametrize(
    ("pack", "told"), [("nope", "'nope'"), ("open", "models pull open"), ("buffalo_l", "models pull buffalo_l")]
)
def test_a_pack_must_be_there(cli: Shell, crowd: Crowd, pack: str, told: str) -> None:
    outcome = calibrated(cli, crowd(12), "--pack", pack)
    assert (outcome.code, outcome.out) == (2, "")
    assert told in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("wrong", ["0", "1", "-1", "nan", "2", "lax", ""])
def test_what_is_no_rate_is_refused_at_once(cli: Shell, tmp_path: Path, wrong: str) -> None:
    outcome = calibrated(cli, tmp_path, "--fmr", wrong)
    assert (outcome.code, outcome.out) == (2, "")
    assert "fmr must be a rate between 0 and 1" in outcome.err


def test_too_few_people(cli: Shell, crowd: Crowd, kept: Path) -> None:
    outcome = calibrated(cli, crowd(5, images=40))
    assert (outcome.code, outcome.out) == (2, "")
    assert "100 pairs of strangers, of 9 people, are the least" in outcome.err
    assert not kept.exists()


def test_one_pair_is_one(cli: Shell, crowd: Crowd) -> None:
    outcome = calibrated(cli, crowd(2, images=2))
    assert outcome.code == 2
    assert "no false match rate is supported by 4 pairs of strangers, of 1 pair of people: " in outcome.err


def test_one_person_alone(cli: Shell, crowd: Crowd) -> None:
    outcome = calibrated(cli, crowd(1, images=9))
    assert (outcome.code, outcome.out) == (2, "")
    assert "pairs of strangers take two people" in outcome.err


def test_nobody_twice(cli: Shell, crowd: Crowd) -> None:
    outcome = calibrated(cli, crowd(12, images=1))
    assert (outcome.code, outcome.out) == (2, "")
    assert "nobody is there with two images" in outcome.err


def test_pairs_of_one_kind(cli: Shell, crowd: Crowd, tmp_path: Path) -> None:
    people = crowd(12, images=2)
    rows = [f"p{person:03d}/0.png,p{person:03d}/1.png,1" for person in range(12)]
    (tmp_path / "pairs.csv").write_text("\n".join(["file_a,file_b,same", *rows]))
    outcome = calibrated(cli, tmp_path / "pairs.csv", "--images", people)
    assert (outcome.code, outcome.out) == (2, "")
    assert "none is of strangers" in outcome.err


def test_a_pairs_file(cli: Shell, crowd: Crowd, tmp_path: Path) -> None:
    people = crowd(12, images=2)
    rows = [f"p{a:03d}/0.png,p{b:03d}/1.png,{int(a == b)}" for a, b in product(range(12), repeat=2)]
    (tmp_path / "pairs.csv").write_text("\n".join(["file_a,file_b,same", *rows]))
    outcome = calibrated(cli, tmp_path / "pairs.csv", "--images", people, "--json")
    assert outcome.code == 0
    assert "12 pairs of one person and 132 of strangers" in json.loads(outcome.out)["provenance"]


def test_images_without_a_face_are_told(cli: Shell, crowd: Crowd) -> None:
    people = crowd(12)
    (people / "p000" / "x.png").write_bytes(encoded(np.full((64, 64, 3), 128, np.uint8)))
    outcome = calibrated(cli, people)
    assert outcome.code == 0
    assert "1 of 37 images left out: no_face" in outcome.err


def test_images_that_cannot_be_read_are_named(cli: Shell, crowd: Crowd, kept: Path) -> None:
    people = crowd(12)
    (people / "p000" / "x.png").write_bytes(b"no image")
    outcome = calibrated(cli, people, "--quiet")
    assert outcome.code == 1
    assert "x.png" in outcome.err
    assert kept.exists()


def test_where_nothing_can_be_read_each_image_is_named(cli: Shell, crowd: Crowd) -> None:
    people = crowd(2, images=2)
    for image in people.rglob("*.png"):
        image.write_bytes(b"no image")
    outcome = calibrated(cli, people)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count(".png") == 4
    assert "of 0 pairs whose images show faces, none is of one person" in outcome.err


def test_reset_forgets(cli: Shell, kept: Path, models_dir: Path) -> None:
    assert "there was no calibration" in cli("calibrate", "--reset").err
    keep(MADE_UP, models_dir)
    outcome = cli("calibrate", "--reset")
    assert (outcome.code, outcome.out) == (0, "")
    assert not kept.exists()
    assert cli("calibrate", "--reset", "people").code == 2


def test_without_a_path_there_is_nothing_to_do(cli: Shell) -> None:
    outcome = cli("calibrate")
    assert outcome.code == 2
    assert "name a folder of people" in outcome.err


def test_a_damaged_calibration_is_in_the_way_until_it_is_reset(
    cli: Shell, crowd: Crowd, kept: Path, models_dir: Path
) -> None:
    people = crowd(12)
    keep(MADE_UP, models_dir).write_text("{")
    outcome = calibrated(cli, people)
    assert (outcome.code, outcome.out) == (2, "")
    assert "visavis calibrate --pack dlib --reset removes it" in outcome.err
    assert cli("calibrate", "--reset").code == 0
    assert calibrated(cli, people).code == 0
    assert Measured.from_json(kept.read_text())


def test_a_folder_that_cannot_be_written_is_noticed_first(cli: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    outcome = cli("calibrate", tmp_path / "nowhere", "--models-dir", tmp_path / "file")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Not a directory" in outcome.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_noticed_first(cli: Shell, models_dir: Path) -> None:
    (models_dir / "calibrations").mkdir(parents=True)
    (models_dir / "calibrations").chmod(0o500)
    outcome = cli("calibrate", "nowhere")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Permission denied" in outcome.err


def test_a_failure_leaves_what_was_there(cli: Shell, crowd: Crowd, kept: Path, models_dir: Path) -> None:
    keep(MADE_UP, models_dir)
    assert calibrated(cli, crowd(5)).code == 2
    assert Measured.from_json(kept.read_text()) == MADE_UP
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.thorough
def test_two_at_once_leave_one_whole_file(cli: Shell, crowd: Crowd, kept: Path, tmp_path: Path) -> None:
    people = crowd(30)
    assert cli("calibrate", "--reset").code == 0
    command = [sys.executable, "-m", "visavis", "calibrate", str(people), "--cache", "seen", "--json"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert Measured.from_json(kept.read_text())
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.thorough
def test_real_people(cli: Shell, test_data: Path, tmp_path: Path, models_dir: Path) -> None:
    several = [
        folder for folder in sorted((test_data / "lfw-fold1" / "images").iterdir()) if len(list(folder.iterdir())) > 1
    ]
    for folder in several[:25]:
        (tmp_path / "people" / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:2]:
            (tmp_path / "people" / folder.name / image.name).write_bytes(image.read_bytes())
    options = ["--faces", "prominent", "--min-face", "40", "--json"]
    answer = json.loads(cli("calibrate", tmp_path / "people", *options).out)
    assert [point["fmr"] for point in answer["points"]] == [0.01, 0.03, 0.1]
    assert DLIB.rates is not None
    ours = {point.fmr: point for point in DLIB.rates.points}
    for point in answer["points"]:
        low, high = point["threshold_interval"]
        assert low <= ours[point["fmr"]].high
        assert high >= ours[point["fmr"]].low
    assert 0.55 < answer["calibration"]["midpoint"] < 0.7
    assert as_installed(DLIB, models_dir).rates != DLIB.rates
