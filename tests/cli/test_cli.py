"""The command line as its users meet it: what it prints where, what it writes, and how it exits."""

import csv
import errno
import inspect
import io
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from command_line import SETTINGS, Shell
from outside.commands import described

import visavis
from visavis import ImageLimits, Recognizer
from visavis.cli import lazy
from visavis.cli.options import ModelOptions
from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.models.catalogue import DLIB
from visavis.models.installation import Measured, calibration_path

LIMIT_S = 60


@pytest.fixture(scope="session")
def recognizer(cache_dir: Path) -> Recognizer:
    """What the command line should agree with."""
    return Recognizer("dlib", precision="f32", min_face=0.15, cache_dir=cache_dir, threads=1)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache_dir: Path, tmp_path: Path) -> Shell:
    """The command line, in this process and in an empty folder."""
    return Shell(capsys, monkeypatch, tmp_path, {"VISAVIS_CACHE_DIR": str(cache_dir)})


@pytest.fixture(scope="session")
def selfie(astronaut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut once more: tilted, cropped, smaller and compressed."""
    path = tmp_path_factory.mktemp("selfie") / "selfie.jpg"
    with PIL.Image.open(astronaut) as image:
        tilted = image.convert("RGB").rotate(6, PIL.Image.Resampling.BICUBIC)
    tilted.crop((90, 10, 390, 310)).resize((240, 240)).save(path, quality=60)
    return path


@pytest.fixture
def photos(tmp_path: Path, astronaut: Path, hopper: Path) -> Path:
    """A folder as people have them: nested, with odd names, without a face, damaged, hidden, not an image."""
    folder = tmp_path / "photos"
    (folder / "Ünï 人").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    with PIL.Image.open(astronaut) as image:
        image.convert("RGB").save(folder / "a.JPG")
    data = hopper.read_bytes()
    (folder / "Ünï 人" / "b.jpg").write_bytes(data)
    (folder / "broken.jpg").write_bytes(data[: len(data) // 2])
    (folder / ".hidden" / "x.jpg").write_bytes(data)
    (folder / ".x.jpg").write_bytes(data)
    (folder / "notes.txt").write_text("no image")
    PIL.Image.new("RGB", (200, 100), "grey").save(folder / "grey.png")
    return folder


FOUND: list[tuple[str, int | str]] = [
    ("a.JPG", 1),
    ("broken.jpg", "image_corrupt"),
    ("grey.png", 0),
    ("Ünï 人/b.jpg", 1),
]


def by_name(photos: Path) -> list[tuple[str, int | str]]:
    return [(str(photos / name), outcome) for name, outcome in FOUND]


def outcome_of(record: dict[str, Any]) -> tuple[str, int | str]:
    return record["file"], record["error"]["code"] if "error" in record else len(record["faces"])


# --- verify ---------------------------------------------------------------------------------------------------------


def test_verify_says_yes_and_exits_with_0(cli: Shell, recognizer: Recognizer, astronaut: Path, selfie: Path) -> None:
    outcome = cli("verify", astronaut, selfie)
    answer = recognizer.verify(astronaut, selfie)
    assert outcome.out.splitlines() == [
        "Yes",
        f"distance     {answer.distance:.4f}",
        "threshold    0.6000",
        f"probability  {answer.probability:.4f}",
    ]
    assert (outcome.code, outcome.err) == (0, "")


def test_verify_says_no_and_exits_with_1(cli: Shell, selfie: Path, hopper: Path) -> None:
    outcome = cli("verify", selfie, hopper)
    assert (outcome.code, outcome.out.splitlines()[0]) == (1, "No")


def test_verify_as_json_with_a_threshold(cli: Shell, recognizer: Recognizer, astronaut: Path, selfie: Path) -> None:
    outcome = cli("verify", "--json", "--threshold", "0.01", "--faces", "only", astronaut, selfie)
    expected = recognizer.verify(astronaut, selfie, threshold=0.01, faces="only").to_dict()
    assert json.loads(outcome.out) == expected
    assert outcome.code == 1


def test_verify_reads_standard_input(cli: Shell, astronaut: Path, selfie: Path) -> None:
    assert cli("verify", "-", astronaut, stdin=selfie.read_bytes()).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}", "nowhere.jpg"], "visavis: nowhere.jpg: there is no such file\n"),
        (["{a}", "{grey}"], "grey.png: no face found in the second image\n"),
        (["-", "-"], "standard input (-)"),
        (["{a}", "{a}", "--threshold", "nan"], "visavis: the threshold must be"),
        (["{a}", "{a}", "--pack", "nope"], "visavis: there is no pack 'nope'"),
        (["{a}"], "Missing argument 'B'"),
        (["{a}", "{a}", "--runtime", "abacus"], "'abacus' is not one of 'openvino', 'onnxruntime'"),
        (["{a}", "{a}", "--max-pixels", "1000"], "the limit --max-pixels is 1,000"),
        (["{a}", "{a}", "--max-pixels", "0"], "max_pixels must be a positive int"),
    ],
)
def test_verify_that_cannot_tell_says_why(
    cli: Shell, astronaut: Path, photos: Path, arguments: list[str], message: str
) -> None:
    outcome = cli("verify", *(text.format(a=astronaut, grey=photos / "grey.png") for text in arguments))
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")


def test_verify_as_json_tells_errors_too(cli: Shell, astronaut: Path) -> None:
    outcome = cli("verify", "--json", astronaut, "nowhere.jpg")
    assert json.loads(outcome.out)["error"]["code"] == "image_not_found"
    assert outcome.code == 2


# --- detect and embed -----------------------------------------------------------------------------------------------


def test_detect_in_words(cli: Shell, photos: Path) -> None:
    outcome = cli("detect", photos)
    lines = outcome.out.splitlines()
    assert lines[0] == f"{photos / 'a.JPG'}: 1 face"
    assert lines[1].startswith("  box ")
    assert lines[2:4] == [f"{photos / 'broken.jpg'}: failed, image_corrupt", f"{photos / 'grey.png'}: 0 faces"]
    passed, failed, smallest = outcome.err.splitlines()
    assert smallest.startswith("faces were looked for from 20 pixels on (in the largest images from 77); --min-face N")
    assert passed.startswith(
        "passed over: 1 folder hidden or of a system (.hidden), 1 file hidden or a thumbnail (.x.jpg)"
    )
    assert failed.startswith(f"visavis: {photos / 'broken.jpg'}: damaged")
    assert outcome.code == 1


def test_detect_as_json_lines(cli: Shell, recognizer: Recognizer, photos: Path, astronaut: Path) -> None:
    outcome = cli("detect", "--json", photos, astronaut)
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert list(map(outcome_of, records)) == [*by_name(photos), (str(astronaut), 1)]
    found = recognizer.detect(photos / "a.JPG")
    assert records[0]["faces"] == [face.to_dict() for face in found]
    assert records[0]["searched_from_px"] == found.searched_from_px
    assert outcome.code == 1


@pytest.mark.parametrize(("suffix", "load"), [(".json", json.loads), (".jsonl", None)])
def test_embed_into_json(
    cli: Shell, recognizer: Recognizer, photos: Path, suffix: str, load: Callable[[str], Any] | None
) -> None:
    outcome = cli("embed", photos, "--quiet", "-o", f"faces{suffix}")
    text = Path(f"faces{suffix}").read_text(encoding="utf-8")
    records = load(text) if load else [json.loads(line) for line in text.splitlines()]
    assert list(map(outcome_of, records)) == by_name(photos)
    (face,) = recognizer.embed(photos / "a.JPG")
    assert face.embedding is not None
    np.testing.assert_allclose(records[0]["faces"][0]["embedding"], face.embedding, atol=1e-4)
    assert (outcome.code, outcome.out) == (1, "")


def test_embed_as_csv(cli: Shell, recognizer: Recognizer, photos: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("embed", "--csv", photos).out)))
    assert [(row["file"], row["error"]) for row in rows] == [
        (str(photos / "a.JPG"), ""),
        (str(photos / "broken.jpg"), "image_corrupt"),
        (str(photos / "Ünï 人" / "b.jpg"), ""),
    ]
    (face,) = recognizer.embed(photos / "a.JPG")
    assert [np.float32(rows[0][edge]) for edge in ("left", "top", "right", "bottom")] == face.box_xyxy.tolist()
    assert [np.float32(rows[0][f"{axis}{i}"]) for i in range(5) for axis in "xy"] == face.landmarks.ravel().tolist()
    assert face.embedding is not None
    np.testing.assert_allclose([float(rows[0][f"e{i}"]) for i in range(128)], face.embedding, atol=1e-4)
    assert rows[1]["left"] == rows[1]["e127"] == ""


def test_embed_into_numpy_arrays(cli: Shell, recognizer: Recognizer, photos: Path) -> None:
    outcome = cli("embed", photos, "-o", "faces.npz")
    assert stat.S_IMODE(Path("faces.npz").stat().st_mode) == 0o600
    assert outcome.err.splitlines()[-1] == "images: 4, faces: 2, failed: 1; see faces.npz"
    with np.load("faces.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == [name for name, _ in by_name(photos)]
        assert arrays["errors"].tolist() == ["", "image_corrupt", "", ""]
        assert arrays["face_file"].tolist() == [0, 3]
        expected = [recognizer.embed(arrays["files"][index])[0] for index in arrays["face_file"]]
        for name, attribute in (("box_xyxy", "box_xyxy"), ("score", "score"), ("landmarks", "landmarks")):
            np.testing.assert_array_equal(arrays[name], [getattr(face, attribute) for face in expected])
        embeddings = np.array([face.embedding for face in expected])
        np.testing.assert_allclose(arrays["embeddings"], embeddings, atol=1e-4)
        assert arrays["embeddings"].dtype == np.float32


def test_no_faces_still_make_arrays(cli: Shell, photos: Path) -> None:
    assert cli("embed", photos / "grey.png", "-o", "none.npz").code == 0
    with np.load("none.npz", allow_pickle=False) as arrays:
        assert arrays["box_xyxy"].shape == (0, 4)
        assert arrays["landmarks"].shape == (0, 5, 2)
        assert arrays["embeddings"].shape == (0, 128)


def test_detect_into_numpy_arrays_has_no_embeddings(cli: Shell, hopper: Path) -> None:
    assert cli("detect", hopper, "-o", "faces.npz").code == 0
    with np.load("faces.npz", allow_pickle=False) as arrays:
        assert "embeddings" not in arrays


def test_embed_in_words_shows_a_few_numbers_and_the_way_to_all(cli: Shell, hopper: Path) -> None:
    outcome = cli("embed", hopper)
    assert "  embedding " in outcome.out
    assert "--json" in outcome.err
    assert cli("embed", "-q", hopper).err == ""


def test_standard_input_and_files_named_explicitly(cli: Shell, photos: Path, hopper: Path) -> None:
    hidden = photos / ".x.jpg"
    outcome = cli("detect", "--json", "-", hidden, photos / "notes.txt", stdin=hopper.read_bytes())
    records = map(outcome_of, map(json.loads, outcome.out.splitlines()))
    assert list(records) == [("-", 1), (str(hidden), 1), (str(photos / "notes.txt"), "unsupported_format")]


def test_faces_only_makes_their_absence_an_error(cli: Shell, photos: Path) -> None:
    outcome = cli("detect", "--faces", "only", photos / "grey.png")
    assert (outcome.code, outcome.out) == (1, f"{photos / 'grey.png'}: failed, no_face\n")


def test_a_missing_file_is_named_and_the_others_are_processed(cli: Shell, hopper: Path) -> None:
    outcome = cli("detect", "nowhere.jpg", hopper)
    assert outcome.err.splitlines()[0] == "visavis: nowhere.jpg: there is no such file"
    assert f"{hopper}: 1 face" in outcome.out
    assert outcome.code == 1


def test_the_environment_sets_defaults(cli: Shell, hopper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_MIN_FACE", "0.9")
    assert cli("detect", hopper).out == f"{hopper}: 0 faces\n"
    assert cli("detect", hopper, "--min-face", "0.2").out.startswith(f"{hopper}: 1 face")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PATH"),
        (["."], "visavis: no image found in ."),
        ([""], "visavis: a path is empty"),
        (["x.jpg", "--json", "--csv"], "visavis: --json and --csv exclude each other"),
        (["x.jpg", "-o", "faces.xml"], "visavis: --output faces.xml: the suffix tells the format"),
        (["x.jpg", "--csv", "-o", "faces.npz"], "visavis: --output faces.npz: the suffix asks for another format"),
        (["x.jpg", "-o", "nowhere/faces.csv"], "visavis: nowhere/faces.csv: No such file or directory"),
        (["x.jpg", "--min-face", "5"], "visavis: min_face must be"),
        (["x.jpg", "--threads", "0"], "--threads"),
        (["x.jpg", "--draw", "/dev/null/x"], "visavis: /dev/null/x: Not a directory"),
    ],
)
def test_wrong_usage_exits_with_2(cli: Shell, arguments: list[str], message: str) -> None:
    outcome = cli("detect", *arguments)
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert list(Path().iterdir()) == []


def test_an_output_that_fails_leaves_the_old_one(cli: Shell, hopper: Path) -> None:
    Path("faces.csv").write_text("old")
    assert cli("detect", hopper, "-o", "faces.csv", "--min-face", "5").code == 2
    assert Path("faces.csv").read_text() == "old"
    assert [path.name for path in Path().iterdir()] == ["faces.csv"]


def test_links_that_lead_in_circles_end(cli: Shell, photos: Path) -> None:
    (photos / "Ünï 人" / "again").symlink_to(photos)
    (photos / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(photos / "pipe.png")
    outcome = cli("detect", "--json", photos)
    records = list(map(outcome_of, map(json.loads, outcome.out.splitlines())))
    assert sorted(records) == sorted([*by_name(photos), (str(photos / "gone.png"), "image_not_found")])
    assert "1 folder searched under another name (again)" in outcome.err


def test_names_that_are_no_text_are_escaped(cli: Shell, tmp_path: Path, hopper: Path) -> None:
    name = os.fsdecode(b"\xff \n\x1b[31m.jpg")
    (tmp_path / name).write_bytes(hopper.read_bytes())
    assert cli("detect", ".").out.startswith("\\udcff \\n\\x1b[31m.jpg: 1 face\n")
    assert json.loads(cli("detect", ".", "--json").out)["file"] == name
    assert "\n'\\udcff \\n\\x1b[31m.jpg," in cli("detect", ".", "--csv").out
    assert cli("detect", ".", "-o", "x.npz").code == 0
    with np.load("x.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == [name]


# --- drawings -------------------------------------------------------------------------------------------------------


def test_drawings_have_the_names_and_sizes_of_their_images(cli: Shell, recognizer: Recognizer, photos: Path) -> None:
    assert cli("detect", photos, "--draw", photos / "drawn").code == 1
    drawn = sorted(str(path.relative_to(photos / "drawn")) for path in (photos / "drawn").rglob("*.*"))
    assert drawn == ["a.JPG", "grey.png", str(Path("Ünï 人", "b.jpg"))]
    with PIL.Image.open(photos / "a.JPG") as before, PIL.Image.open(photos / "drawn" / "a.JPG") as after:
        assert after.size == before.size
        difference = np.abs(np.asarray(after).astype(int) - np.asarray(before)).max(axis=2)
    (face,) = recognizer.detect(photos / "a.JPG")
    left, top, right, bottom = face.box_xyxy.astype(int)
    assert difference[top:bottom, left].mean() > 60
    assert difference[bottom, left:right].mean() > 60
    assert all(difference[y, x] > 60 for x, y in face.landmarks.astype(int))
    assert difference[: top - 10].mean() < 3
    again = cli("detect", photos, "--draw", photos / "drawn")  # the drawings are not taken for images
    assert again.out.count(": 1 face") == 2


def test_drawings_of_the_same_name_are_told_apart(cli: Shell, photos: Path, hopper: Path) -> None:
    Path("other").mkdir()
    PIL.Image.new("RGB", (30, 40)).save("other/A.jpg")
    PIL.Image.new("RGB", (30, 40)).save("other/grey.gif")
    data = hopper.read_bytes()
    cli("detect", photos / "a.JPG", "other", "-", "-q", "--draw", "drawn", stdin=data)
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["A-2.jpg", "a.JPG", "grey.gif.jpg", "stdin.jpg"]
    with PIL.Image.open("drawn/A-2.jpg") as drawn:
        assert drawn.size == (30, 40)


@pytest.mark.parametrize("folder", ["photos", "photos/../photos"])
def test_drawings_never_replace_images(cli: Shell, photos: Path, folder: str) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.*") if path.is_file()}
    outcome = cli("detect", "photos", "--draw", folder)
    assert "is one of the images; choose another folder" in outcome.err
    assert outcome.code == 2
    assert {path: path.read_bytes() for path in photos.rglob("*.*") if path.is_file()} == before


# --- doctor, help ---------------------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong(cli: Shell, cache_dir: Path, recognizer: Recognizer) -> None:
    outcome = cli("doctor", "--json")
    report = json.loads(outcome.out)
    assert outcome.code == 0
    assert report["problems"] == []
    assert report["cache"]["folder"] == str(cache_dir)
    assert report["cache"]["converted"] == "detector, landmarks, embedder"
    assert report["runtime"]["name"] == recognizer.runtime.runtime
    assert report["models"]["SHA-256 as published"] is True
    assert report["self_test"]["faces"] == 0


@pytest.mark.usefixtures("recognizer")
def test_doctor_looks_at_galleries(cli: Shell) -> None:
    assert json.loads(cli("doctor", "--json").out)["galleries"] == {"store": "sqlite:///visavis.db"}
    assert not Path("visavis.db").exists()
    cli("gallery", "create", "staff")
    cli("gallery", "create", "guests")
    report = json.loads(cli("doctor", "--json").out)
    assert (report["problems"], report["galleries"]["staff"]) == ([], "looked at 0 of 0 samples")
    with sqlite3.connect("visavis.db") as connection:
        connection.execute("UPDATE galleries SET dimension = 3 WHERE name = 'guests'")
        connection.execute("INSERT INTO samples (gallery, subject, embedding) VALUES (1, 1, x'00')")
    outcome = cli("doctor", "--json")
    report = json.loads(outcome.out)
    assert outcome.code == 1
    assert [problem["problem"].partition(":")[0] for problem in report["problems"]] == [
        "gallery guests",
        "gallery staff",
    ]
    assert report["problems"][1]["remedy"] == "visavis gallery check staff"


def test_doctor_tells_of_every_extra_for_users_and_where_models_are(cli: Shell, tmp_path: Path) -> None:
    report = json.loads(cli("doctor", "--json", "--models-dir", tmp_path).out)
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"\[project\.optional-dependencies\]\n(.*?)\n\[", project, re.DOTALL)
    offered = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    assert set(report["extras"]) == offered - {"heic", "demo", "test", "graphs", "bench", "docs", "check"}
    assert (report["models"]["pack"], report["models"]["folder"]) == ("dlib", str(tmp_path))
    assert report["models"]["installed"] is True
    assert report["models"]["another pack"].endswith("visavis models pull open")
    assert DLIB.rates
    assert (report["models"]["calibrated here"], report["models"]["error rates"]) == (False, DLIB.rates.provenance)


def test_doctor_tells_of_a_calibration_that_is_in_force(cli: Shell, tmp_path: Path) -> None:
    measured = Measured(
        Calibration(0.61, 20.0, "our staff"), ErrorRates((OperatingPoint(1e-2, 0.6, 0.55, 0.65),), "our staff, today")
    )
    path = calibration_path(DLIB, tmp_path)
    path.parent.mkdir()
    path.write_text(measured.to_json())
    models = json.loads(cli("doctor", "--json", "--models-dir", tmp_path).out)["models"]
    assert (models["calibrated here"], models["error rates"]) == (True, "our staff, today")


def test_a_complete_cache_need_not_be_writable(
    cli: Shell, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recognizer  # so that all is converted

    def fail(**_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    report = json.loads(cli("doctor", "--json").out)
    assert (report["cache"]["writable"], report["problems"]) == (False, [])


def test_doctor_says_what_to_do_about_each_problem(cli: Shell, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    outcome = cli("doctor", "--cache-dir", blocked / "cache")
    assert outcome.code == 1
    assert "1 problem:\n  the model cache" in outcome.out
    assert "    -> mend its permissions, or name another folder with --cache-dir" in outcome.out
    outcome = cli("doctor", "--pack", "nope")
    assert "there is no pack 'nope'" in outcome.out
    assert outcome.code == 1


def test_the_first_run_on_a_terminal_names_another_pack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, open_models: Path
) -> None:
    caplog.set_level("INFO")
    convert = lambda *_, cache_dir, **__: Path(cache_dir).mkdir(exist_ok=True)  # noqa: E731
    monkeypatch.setattr(lazy.recognizer, "Recognizer", convert)
    told = []
    for number, (is_terminal, models) in enumerate([(True, tmp_path), (False, tmp_path), (True, open_models)]):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=is_terminal: answer)
        for _ in range(2):
            ModelOptions(loading={"cache_dir": tmp_path / f"{number}", "models_dir": models}).load()
            told.append([record.getMessage() for record in caplog.records])
            caplog.clear()
    assert [len(lines) for lines in told] == [1, 0, 0, 0, 0, 0]
    assert told[0][0].endswith("visavis models pull open")


def test_defaults_are_the_librarys() -> None:
    models, library = ModelOptions(), inspect.signature(Recognizer).parameters
    assert models.limits() == ImageLimits() == library["limits"].default
    assert (models.pack, models.min_face) == (library["pack"].default, library["min_face"].default)


@pytest.mark.parametrize("command", ["verify", "detect", "embed", "models", "doctor"])
def test_every_command_explains_itself(cli: Shell, command: str) -> None:
    outcome = cli(command, "-h")
    assert outcome.out.startswith(f"Usage: visavis {command} ")
    assert (outcome.code, outcome.err) == (0, "")


def test_an_unexpected_error_is_one_line(cli: Shell, hopper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: object, *_images: object, faces: str, **_options: object) -> None:
        raise ZeroDivisionError(f"no {faces}")

    monkeypatch.setattr(Recognizer, "detect_many", fail)
    outcome = cli("detect", hopper)
    assert outcome.err == "visavis: unexpected ZeroDivisionError: no all (--verbose shows where)\n"
    assert outcome.code == 2
    assert "Traceback" in cli("detect", hopper, "--verbose").err


# --- real processes -------------------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "visavis", *map(str, arguments)]


@pytest.fixture
def environment(cache_dir: Path, recognizer: Recognizer) -> dict[str, str]:
    """The environment of a process, with the models converted."""
    assert recognizer.pack.name == "dlib"
    source = str(Path(visavis.__file__).parents[1])
    return {**os.environ, **SETTINGS, "PYTHONPATH": source, "VISAVIS_CACHE_DIR": str(cache_dir)}


@pytest.fixture
def many(tmp_path: Path, hopper: Path) -> Path:
    """More photos than anyone waits for."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number}.jpg").symlink_to(hopper)
    return folder


def test_help_and_version_load_nothing_heavy(environment: dict[str, str]) -> None:
    code = """
import sys
import tempfile
from visavis.cli.main import main
for argument in ("--help", "--version"):
    try:
        main([argument])
    except SystemExit as exit_:
        assert not exit_.code
print(sorted({"numpy", "cv2", "openvino", "PIL", "rich"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.splitlines()[-2:] == [f"visavis {visavis.__version__}", "[]"]


def test_no_help_loads_anything_heavy() -> None:
    code = """
import sys
before = set(sys.modules)  # a count of the lines that run loads sqlite3
from visavis.cli.main import main
for command in sys.argv[1:]:
    try:
        main([*command.split(), "-h"])
    except SystemExit as exit_:
        assert not exit_.code
heavy = {"numpy", "cv2", "openvino", "PIL", "rich", "sqlite3", "cryptography", "httpx", "fastapi", "scipy"}
print(sorted(heavy & sys.modules.keys() - before))
"""
    commands = [name.removeprefix("visavis").strip() for name in described()]
    assert len(commands) > 30
    done = subprocess.run(
        [sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("options_", [["-o", "faces.npz"], pytest.param(["--json"], marks=pytest.mark.thorough)])
def test_ctrl_c_is_clean(many: Path, environment: dict[str, str], tmp_path: Path, options_: list[str]) -> None:
    arguments = command("detect", "nowhere.jpg", many, *options_)
    with subprocess.Popen(
        arguments, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "visavis: nowhere.jpg: there is no such file\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (130, "visavis: interrupted\n")
    assert all(json.loads(line) for line in out.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


def test_a_reader_that_leaves_is_no_error(many: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        command("detect", many), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.thorough
def test_results_and_messages_stay_apart(environment: dict[str, str], hopper: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command("detect", "nowhere.jpg", hopper, "--cache-dir", tmp_path),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.stdout.splitlines()[:2] == ["nowhere.jpg: failed, image_not_found", f"{hopper}: 1 face"]
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("Converting ") for line in lines[:3])
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(environment: dict[str, str], hopper: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("detect", hopper),
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=LIMIT_S,
        )
    assert (done.returncode, done.stderr) == (2, b"visavis: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="what a POSIX shell can do")
@pytest.mark.parametrize(
    "ending", [*(pytest.param(one, marks=pytest.mark.thorough) for one in ("2>&-", "2>/dev/full")), "<&- >&- 2>&-"]
)
def test_who_cannot_be_told_still_gets_the_exit_code(environment: dict[str, str], hopper: Path, ending: str) -> None:
    script = f'"$@" {ending}'
    for other, code in (("nowhere.jpg", 2), ("-", 2), (hopper, 0)):
        shell = ["sh", "-c", script, "sh", *command("verify", hopper, other)]
        done = subprocess.run(shell, env=environment, stdin=subprocess.DEVNULL, check=False, timeout=LIMIT_S)
        assert done.returncode == code
