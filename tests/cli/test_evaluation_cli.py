"""``visavis evaluate``, as a user sees it; and LFW's pairs beside scikit-learn."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command_line import Shell
from conftest import read_pixels
from effort import effort, scaled
from sklearn.metrics import accuracy_score, auc, confusion_matrix, roc_curve

from visavis import Recognizer, Verification
from visavis.cli.options import PhotoOptions
from visavis.evaluation.protocols import MOST_PAIRS


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_dir: Path
) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path, {"VISAVIS_CACHE_DIR": str(cache_dir), "VISAVIS_MIN_FACE": "0.2"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, hopper: Path) -> Path:
    """A folder with two photos each of two people, one of a third, and what is no photo."""
    folder = tmp_path_factory.mktemp("people")
    for person, path in (("collins", astronaut), ("hopper", hopper)):
        (folder / person).mkdir()
        pixels = read_pixels(path, 400)
        PIL.Image.fromarray(pixels).save(folder / person / "1.png")
        PIL.Image.fromarray(pixels[:, ::-1].copy()).save(folder / person / "2.png")
    (folder / "stranger").mkdir()
    PIL.Image.new("RGB", (90, 90), "grey").save(folder / "stranger" / "1.jpg")
    (folder / ".hidden").mkdir()
    shutil.copy(hopper, folder / ".hidden" / "1.jpg")
    (folder / "hopper" / ".hidden.jpg").touch()
    (folder / "hopper" / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def people(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "people"))


def test_defaults_are_the_librarys() -> None:
    assert PhotoOptions().pairs == MOST_PAIRS


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="links are not everywhere")
def test_a_folder_of_people(shell: Shell, people: Path) -> None:
    (people / "hopper" / "loop").symlink_to(people)
    outcome = shell("evaluate", people, "--quiet")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == "Pack dlib: 2 pairs of one person, 4 of strangers"
    assert "all 2 pairs of one person and all 8 pairs of strangers; people named by folder" in outcome.out
    assert "1 (20.00 %): no_face 1" in outcome.out
    assert outcome.out.count("not supported by 1 pair of people") == 4
    assert "Mind\n" in outcome.out


@pytest.mark.thorough
def test_json_and_reports(shell: Shell, people: Path) -> None:
    outcome = shell("evaluate", people, "--json", "-o", "report.json", "--cache", "kept", "-q")
    assert outcome.code == 0
    printed = json.loads(outcome.out)
    assert json.loads((shell.folder / "report.json").read_text()) == printed
    assert printed["compared"]["fmr"]["value"] == 0.0
    assert printed["about"]["from_cache"] == 0
    assert printed["asked"] is None

    outcome = shell("evaluate", people, "--fmr", "strict", "--cache", "kept", "--json", "-q")
    strict = json.loads(outcome.out)
    assert strict["compared"]["threshold"] < printed["compared"]["threshold"]
    assert strict["asked"] == {"fmr": 1e-4, "found": "too_few"}
    outcome = shell("evaluate", people, "--fmr", "strict", "--cache", "kept", "-q", "-o", "report.html", "--no-images")
    told = "An FMR of 0.01 % was asked for, 0.00 % (0.00 to 100.00) measured: too few pairs of people to tell, it takes"
    for text in (outcome.out, (shell.folder / "report.html").read_text()):
        assert ", for an FMR of 0.01 %\n" in text or ", for an FMR of 0.01 %<" in text
        assert told in text
    outcome = shell("evaluate", people, "--fmr", "strict", "--cache", "kept", "-q", "--identify")
    assert "The threshold is the one for an FMR of 0.01 % of single pairs." in outcome.out
    outcome = shell("evaluate", people, "--fmr", "strict", "--cache", "kept", "-q", "--identify", "--json")
    assert json.loads(outcome.out)["asked"] == {"fmr": 1e-4, "found": None}
    outcome = shell("evaluate", people, "-o", "report.html", "--cache", "kept", "--no-images")
    assert outcome.code == 0
    assert "see report.html" in outcome.err
    assert "5 embeddings kept from an earlier time" in outcome.out
    page = (shell.folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "<img" not in page

    outcome = shell("evaluate", people, "-o", "report.html", "--cache", "kept", "--groups", "groups.csv")
    assert (outcome.code, outcome.out) == (2, "")
    assert "groups.csv: No such file" in outcome.err
    assert (shell.folder / "report.html").read_text() == page  # the old report stays
    (shell.folder / "groups.csv").write_text("collins,a\nhopper,b\n")
    outcome = shell("evaluate", people, "-o", "report.html", "--cache", "kept", "--groups", "groups.csv")
    assert outcome.code == 0
    assert "Groups\n" in outcome.out
    assert "in no row of the groups: 1 image of 1 person: stranger\n" in outcome.out
    assert "names nobody" not in outcome.out
    (shell.folder / "groups.csv").write_text("collins,a\nhopper,b\nhoper,b\nstranger,b\n")
    outcome = shell("evaluate", people, "--identify", "--cache", "kept", "--groups", "groups.csv")
    assert "the file of groups names nobody who is measured by: hoper\n" in outcome.out
    assert "in no row" not in outcome.out
    assert (shell.folder / "report.html").read_text().count("<img") == 2 * (2 + 4)


def test_folders_of_groups(shell: Shell, people: Path) -> None:
    for name in ("collins", "hopper"):  # one photo of each "person"
        (people / name / "1.png").rename(people / name / "other.png")
    outcome = shell("evaluate", people, "--groups", "folders", "--json", "-q")
    assert outcome.code == 0
    printed = json.loads(outcome.out)
    assert (printed["genuine"], printed["impostor"], printed["about"]["people"]) == (0, 6, 5)
    assert [(group["name"], group["strangers"]) for group in printed["groups"]] == [
        *(("collins", 1), ("hopper", 1), ("stranger", 0), ("between groups", 4))
    ]
    outcome = shell("evaluate", people, "--groups", "folders", "--quiet", "--fmr", "1e-3", "-o", "report.html")
    assert outcome.code == 0
    assert "people named by folder or file within groups" in outcome.out


def test_one_to_many(shell: Shell, people: Path) -> None:
    outcome = shell("evaluate", people, "--identify", "--json", "-q")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert (result["kind"], result["enrolled"], result["mated"], result["strangers"]) == ("search", 2, 2, 1)
    assert result["without_face"] == [0, 1]
    assert result["rank1"]["value"] == 1.0
    outcome = shell("evaluate", people, "--identify", "--strangers", 0.5, "--seed", 3)
    assert outcome.code == 0
    assert "2 people, drawn with seed 3, are strangers" in outcome.out
    outcome = shell("evaluate", people, "--identify", "--gallery-per-person", 2)
    assert outcome.code == 2
    assert "nobody has more than 2 images" in outcome.err


def test_a_photo_that_nothing_names_is_left_out(shell: Shell, people: Path) -> None:
    shutil.copy(people / "hopper" / "1.png", people / "beside.png")
    for more in ([], ["--identify"]):
        outcome = shell("evaluate", people, "--json", *more)
        assert outcome.code == 0
        assert "beside.png: lies beside the people's folders" in outcome.err
        (line,) = json.loads(outcome.out)["left_out"]
        assert "beside.png" in line


def test_how_people_are_named_is_told(shell: Shell, people: Path) -> None:
    flat = shell.folder / "flat"
    flat.mkdir()
    for image in [*people.glob("collins/*.png"), *people.glob("hopper/*.png")]:
        shutil.copy(image, flat / f"{image.parent.name}_{image.name}")
    for more in ([], ["--identify"]):
        outcome = shell("evaluate", flat, *more)
        assert outcome.code == 0
        assert "2 people, named by file: collins (2 images), hopper (2 images)\n" in outcome.err
        assert "; people named by file\n" in outcome.out
    assert shell("evaluate", flat, "-q").err == ""


def test_an_unreadable_photo_is_told(shell: Shell, people: Path) -> None:
    (people / "hopper" / "3.jpg").write_bytes(b"\xff\xd8\xff")
    outcome = shell("evaluate", people, "--pairs", 14)
    assert outcome.code == 1
    assert "3.jpg" in outcome.err
    assert "all 4 pairs of one person and 10 of 11 pairs of strangers, drawn with seed 0" in outcome.out
    assert "no_face 1, image_corrupt 1" in outcome.out or "image_corrupt 1, no_face 1" in outcome.out


def test_pairs_files(shell: Shell, people: Path) -> None:
    rows = ["file_a,file_b,same", "collins/1.png,collins/2.png,1", "collins/1.png,hopper/1.png,0", "x.png,y.png,1"]
    (people / "pairs.csv").write_text("\n".join(rows))
    outcome = shell("evaluate", people / "pairs.csv")
    assert outcome.code == 2
    assert f"2 of 5 images are not in {people}: x.png, y.png; --skip-missing leaves their pairs out" in outcome.err
    shutil.copy(people / "pairs.csv", shell.folder)
    outcome = shell("evaluate", "pairs.csv")
    assert outcome.code == 2
    assert "5 of 5 images are not in .: collins/1.png, " in outcome.err
    assert outcome.err.endswith(" and others; --images DIR says where they are\n")
    outcome = shell("evaluate", "people/pairs.csv", "--images", people, "--skip-missing", "--json")
    assert outcome.code == 0
    assert "2 of 3 pairs are left" in outcome.err
    result = json.loads(outcome.out)
    assert (result["genuine"], result["impostor"]) == (1, 1)
    assert result["left_out"] == ["x.png: not there", "y.png: not there"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        ([""], "a path is empty"),
        (["empty"], "no image found in empty"),
        (["one"], "pairs of strangers take two people or more, and 1 is there"),
        (["people", "--images", "."], "--images says where the images of a pairs file are"),
        (["people", "--strangers", "0.5"], "go with --identify"),
        (["people", "--gallery-per-person", "1"], "go with --identify"),
        (["people", "-o", "report.pdf"], "the suffix tells the format; use one of .html, .json"),
        (["people", "-o", "nowhere/report.json"], "No such file"),
        (["people", "--threshold", "0"], "threshold must be a finite number above 0"),
        (["people", "--fmr", "nonsense"], "nonsense"),
        (["people", "--fmr", "strict", "--threshold", "0.5"], "threshold and fmr are two ways to say the same"),
        (["people", "--pack", "nonsense"], "there is no pack 'nonsense'"),
        (["people", "--pairs", "1"], "--pairs"),
        (["people", "--faces", "all"], "--faces"),
        (["pairs.txt", "--identify"], "a folder of people is wanted"),
        (["pairs.txt", "--images", "nowhere"], "--images nowhere: there is no such folder"),
        (["pairs.txt", "--pairs", "7"], "those of a file are all taken"),
        (["garbage.txt"], "garbage.txt, line 1: not UTF-8"),
        (["same.txt"], "none is of strangers"),
        (["missing.txt", "--skip-missing"], "of 0 pairs"),
    ],
)
def test_what_cannot_be_measured(shell: Shell, people: Path, arguments: list[str], message: str) -> None:
    folder = people.parent
    (folder / "empty").mkdir()
    shutil.copytree(people / "hopper", folder / "one" / "hopper")
    (folder / "pairs.txt").write_text("hopper 1 2\n")
    (folder / "garbage.txt").write_bytes(os.urandom(100) + b"\xff\n")
    (folder / "missing.txt").write_text("Nobody 1 2\n")
    (folder / "collins").mkdir()
    for number in (1, 2):
        shutil.copy(people / "collins" / f"{number}.png", folder / "collins" / f"collins_000{number}.png")
    (folder / "same.txt").write_text("collins 1 2\n")
    outcome = shell("evaluate", *arguments, "--no-images")
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert not (folder / "report.pdf").exists()


def test_a_page_without_matplotlib(shell: Shell, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = shell("evaluate", people, "-o", "report.html")
    assert (outcome.code, outcome.out) == (2, "")
    assert "pip install 'visavis[evaluate]'" in outcome.err
    assert not (shell.folder / "report.html").exists()


@pytest.mark.thorough
@scaled
def test_lfw_is_what_scikit_learn_computes(shell: Shell, test_data: Path, recognizer: Recognizer) -> None:
    folder = test_data / "lfw-fold1"
    chosen = (folder / "pairs.txt").read_text().splitlines()[1:][::10]
    count = effort(3, 10)  # pairs of each kind in each of three folds
    rows = [row for both in zip(chosen[: 3 * count], chosen[30 : 30 + 3 * count], strict=True) for row in both]
    (shell.folder / "pairs.txt").write_text("\n".join([f"3\t{count}", *rows]))
    outcome = shell("evaluate", "pairs.txt", "--images", folder / "images", "--json", "-q", "--min-face", 0.25)
    assert outcome.code == 0
    result = json.loads(outcome.out)

    def image(name: str, number: str) -> Path:
        return folder / "images" / name / f"{name}_{int(number):04d}.jpg"

    cells = [row.split("\t") for row in rows]
    same = np.array([len(row) == 3 for row in cells])
    verified = recognizer.verify_many(
        ((image(row[0], row[1]), image(row[0] if len(row) == 3 else row[2], row[-1])) for row in cells), min_face=0.25
    )
    answers = [answer for answer in verified if isinstance(answer, Verification)]
    assert len(answers) == len(rows) == 6 * count
    distances = np.array([answer.distance for answer in answers])
    (true_negative, false_positive), (false_negative, true_positive) = confusion_matrix(same, distances < 0.6)
    compared = result["compared"]
    assert compared["threshold"] == 0.6
    assert compared["accuracy"]["value"] == pytest.approx(accuracy_score(same, distances < 0.6))
    assert compared["fmr"]["value"] == pytest.approx(false_positive / (false_positive + true_negative))
    assert compared["fnmr"]["value"] == pytest.approx(false_negative / (false_negative + true_positive))
    fpr, tpr, _ = roc_curve(same, -distances, drop_intermediate=False)
    assert result["curve"]["fmr"] == pytest.approx(fpr)
    assert [1 - rate for rate in result["curve"]["fnmr"]] == pytest.approx(tpr)
    assert auc(result["curve"]["fmr"], [1 - rate for rate in result["curve"]["fnmr"]]) == pytest.approx(auc(fpr, tpr))
    tried = [accuracy_score(same, distances < threshold) for threshold in [*distances, 2.0]]
    assert result["best_accuracy"] == pytest.approx(max(tried))
    accuracies = []
    for fold in np.repeat(np.eye(3, dtype=bool), 2 * count, axis=1):
        others = np.unique(distances[~fold])
        cuts = [others[0], *(others[1:] + others[:-1]) / 2, others[-1] + 1]
        best = cuts[int(np.argmax([accuracy_score(same[~fold], distances[~fold] < cut) for cut in cuts]))]
        accuracies.append(accuracy_score(same[fold], distances[fold] < best))
    assert result["folds"]["accuracies"] == pytest.approx(accuracies)
    assert result["folds"]["mean"] == pytest.approx(np.mean(accuracies))
    crossing = np.interp(0, fpr + tpr - 1, fpr)
    assert result["eer"]["value"] == pytest.approx(crossing)
    assert result["eer"]["low"] <= crossing <= result["eer"]["high"]
