"""``visavis enrol`` and ``visavis identify``: photos in, names out."""

import csv
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from command_line import SETTINGS, OnlyPack, Shell

import visavis
from visavis import Recognizer
from visavis.cli import drawing
from visavis.galleries.records import Details
from visavis.galleries.store import open_store
from visavis.service.galleries import Galleries

LIMIT_S = 120
KEY = "00112233445566778899aabbccddeeff" * 2


@pytest.fixture
def people(tmp_path: Path, astronaut: Path, astronaut_again: bytes, hopper: Path) -> Path:
    """A folder per person, with odd names and something hidden."""
    folder = tmp_path / "people"
    (folder / "Eileen Collins").mkdir(parents=True)
    (folder / "grace-hopper").mkdir()
    (folder / ".hidden").mkdir()
    shutil.copy(astronaut, folder / "Eileen Collins" / "1.png")
    (folder / "Eileen Collins" / "2.jpg").write_bytes(astronaut_again)
    shutil.copy(hopper, folder / "grace-hopper" / "ünï.jpg")
    shutil.copy(hopper, folder / ".hidden" / "x.jpg")
    return folder


@pytest.fixture
def odd(tmp_path: Path, astronaut: Path, hopper: Path) -> Path:
    """A flat folder of what cannot all be enrolled."""
    folder = tmp_path / "odd"
    folder.mkdir()
    data = hopper.read_bytes()
    (folder / "Grace Hopper_1.jpg").write_bytes(data)
    (folder / "IMG_0001.jpg").write_bytes(data)
    (folder / "broken.jpg").write_bytes(data[: len(data) // 2])
    (folder / "somebody else.jpg").write_bytes(data + b"\0")
    PIL.Image.new("RGB", (300, 200), "grey").save(folder / "wall.png")
    with PIL.Image.open(astronaut) as image:
        face = image.convert("RGB").crop((120, 20, 320, 220))
    two = PIL.Image.new("RGB", (400, 200))
    two.paste(face, (0, 0))
    two.paste(face, (200, 0))
    two.save(folder / "twins.png")
    return folder


def galleries(store: str = "sqlite:///visavis.db") -> Galleries:
    """What is in the store, without the command line."""
    return Galleries(open_store(store), OnlyPack())


def subjects_of(gallery: str = "default", store: str = "sqlite:///visavis.db") -> dict[str, int]:
    return {subject.id: subject.samples for subject in galleries(store).open(gallery).subjects()}


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- enrol ----------------------------------------------------------------------------------------------------------


def test_a_folder_per_person(cli: Shell, people: Path) -> None:
    outcome = cli("enrol", people)
    assert outcome.out.splitlines() == [
        "gallery default",
        "  enrolled       3 samples of 2 subjects",
        "  already there  0",
        "  refused        0",
    ]
    assert outcome.err.splitlines() == [
        "passed over: 1 folder hidden or of a system (.hidden); --all takes what is hidden",
        "2 people, named by folder: Eileen Collins (2 images), grace-hopper (1 image)",
        "made the gallery default in sqlite:///visavis.db; it keeps embeddings and no images",
        "faces were looked for from 33 pixels on (in the largest images from 77); --min-face N says how small",
    ]
    assert outcome.code == 0
    assert subjects_of() == {"Eileen Collins": 2, "grace-hopper": 1}
    (sample,) = galleries().open("default").samples("grace-hopper")
    assert sample.source == "grace-hopper/ünï.jpg"


@pytest.mark.thorough
def test_a_folder_is_imported_as_it_is_enrolled(cli: Shell, people: Path) -> None:
    for there in (0, 3):
        outcome = cli("gallery", "import", "team", people)
        assert outcome.code == 0, outcome.err
        assert f"  already there  {there}" in outcome.out.splitlines()
        assert subjects_of("team") == {"Eileen Collins": 2, "grace-hopper": 1}


def test_what_is_there_is_not_looked_at_again(cli: Shell, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("enrol", people, "-q").code == 0

    def fail(*_arguments: object, **_options: object) -> None:
        raise AssertionError("no model is needed")

    monkeypatch.setattr(Recognizer, "__init__", fail)
    shutil.move(people / "grace-hopper" / "ünï.jpg", people / "grace-hopper" / "renamed.jpg")
    outcome = cli("enrol", people)
    assert "  already there  3\n" in outcome.out
    assert outcome.code == 0
    assert subjects_of() == {"Eileen Collins": 2, "grace-hopper": 1}


def test_each_refusal_says_why(cli: Shell, odd: Path) -> None:
    outcome = cli("enrol", odd, "--report", "report.csv")
    assert outcome.code == 1
    assert outcome.out.splitlines()[1:] == [
        "  enrolled          1 sample of 1 subject",
        "  already there     0",
        "  refused           5",
        "    unnamed         1",
        "    image_corrupt   1",
        "    conflict        1  (--allow-conflict enrols it all the same)",
        "    multiple_faces  1  (--faces prominent enrols the one that is large and central, --like PHOTO that person)",
        "    no_face         1  (--min-face N looks for smaller ones)",
        "  no sample         broken, somebody else, twins, wall",
    ]
    said = [line.removeprefix(f"visavis: {odd}/") for line in outcome.err.splitlines()[2:-1]]
    assert [line.partition(": ")[0] for line in said] == [
        *("IMG_0001.jpg", "broken.jpg", "somebody else.jpg", "twins.png", "wall.png")
    ]
    assert "this face already is subject 'Grace Hopper'" in said[2]
    rows = list(csv.DictReader(io.StringIO(Path("report.csv").read_text(encoding="utf-8"))))
    assert [(Path(row["file"]).name, row["subject"], row["outcome"], row["error"]) for row in rows] == [
        ("Grace Hopper_1.jpg", "Grace Hopper", "enrolled", ""),
        ("IMG_0001.jpg", "", "refused", "unnamed"),
        ("broken.jpg", "broken", "refused", "image_corrupt"),
        ("somebody else.jpg", "somebody else", "refused", "conflict"),
        ("twins.png", "twins", "refused", "multiple_faces"),
        ("wall.png", "wall", "refused", "no_face"),
    ]


def test_what_was_refused_can_be_allowed(cli: Shell, odd: Path) -> None:
    outcome = cli("enrol", odd, "--faces", "largest", "--allow-conflict", "--json")
    results = {Path(line["file"]).name: line for line in lines_of(outcome.out)}
    assert subjects_of() == {"Grace Hopper": 1, "somebody else": 1, "twins": 1}
    assert results["somebody else.jpg"]["conflict"] == "Grace Hopper"
    assert results["Grace Hopper_1.jpg"] == {
        "file": str(odd / "Grace Hopper_1.jpg"),
        "subject": "Grace Hopper",
        "sample": 1,
        "repeated": False,
        "conflict": None,
    }
    assert results["wall.png"]["error"] == {"code": "no_face", "message": "no face found"}
    assert "enrolled as somebody else, though it looks like Grace Hopper" in outcome.err
    assert outcome.err.splitlines()[-1] == "enrolled 3 samples, already there 0, refused 3; no sample of broken, wall"


def test_who_has_a_sample_of_before_is_not_missed(cli: Shell, odd: Path) -> None:
    assert "no sample of broken, somebody else, twins, wall" in cli("enrol", odd, "--json").err
    cli("enrol", odd / "twins.png", "--subject", "wall", "--faces", "largest")
    (odd / "Grace Hopper_1.jpg").unlink()
    assert cli("enrol", odd).out.endswith("  no sample         broken, somebody else, twins\n")


@pytest.fixture
def pair(tmp_path: Path, astronaut: Path, hopper: Path) -> Path:
    """A photo of two people; Grace Hopper on the right is the larger one."""
    with PIL.Image.open(astronaut) as first, PIL.Image.open(hopper) as second:
        image = PIL.Image.new("RGB", (1024, 600))
        image.paste(first, (0, 0))
        image.paste(second, (512, 0))
    image.save(tmp_path / "pair.png")
    return tmp_path / "pair.png"


def test_one_face_of_several(cli: Shell, pair: Path, astronaut_again: bytes, recognizer: Recognizer) -> None:
    Path("eileen.jpg").write_bytes(astronaut_again)
    left, right = sorted(recognizer.detect(pair, min_face=0.15), key=lambda face: float(face.box_xyxy[0]))
    box = ",".join(f"{edge:.0f}" for edge in right.box_xyxy)
    assert cli("enrol", pair, "--subject", "e", "--like", "eileen.jpg", "-q").code == 0
    assert cli("enrol", pair, "--subject", "g", "--box", box, "-q").code == 0
    found = {
        face["match"]["subject"]: face["face"]["box_xyxy"]
        for face in lines_of(cli("identify", pair, "--json").out)[0]["faces"]
    }
    assert found == {"e": left.box_xyxy.tolist(), "g": right.box_xyxy.tolist()}
    again = cli("enrol", pair, "--subject", "g", "--box", box)
    assert "  already there  1\n" in again.out
    other = cli("enrol", pair, "--subject", "g", "--box", "500,0,512,10")  # another face would be meant
    assert (other.code, "no face found in the box; those of the image are at" in other.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg", "--subject", "a", "--box", "1,2,3"], "box must be left, top, right and bottom"),
        (["a.jpg", "--subject", "a", "--box", "left"], "'left': numbers are wanted, with commas between them"),
        (["a.jpg", "b.jpg", "--subject", "a", "--box", "1,2,3,4"], "of one image"),
        (["a.jpg", "--subject", "a", "--box", "1,2,3,4", "--like", "a.jpg"], "another way to say which"),
        (["a.jpg", "b.jpg", "--like", "a.jpg"], "add --subject ID"),
        (["a.jpg", "--like", "nowhere.jpg"], "nowhere.jpg: there is no such file or folder"),
        (["a.jpg", "--like", "wall.png"], "wall.png: no face found"),
    ],
)
def test_a_face_that_cannot_be_chosen(cli: Shell, arguments: list[str], message: str) -> None:
    for name in ("a.jpg", "b.jpg", "wall.png"):
        PIL.Image.new("RGB", (300, 200), "grey").save(name)
    outcome = cli("enrol", *arguments)
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")


def test_an_album_is_told_from_one_persons_photos(cli: Shell, test_data: Path) -> None:
    for number, folder in ((5, "album"), (2, "few")):
        Path("people", folder).mkdir(parents=True)
        for person in sorted((test_data / "lfw-fold1").rglob("*_0001.jpg"))[:number]:
            shutil.copy(person, Path("people", folder))
    for photo in sorted((test_data / "images" / "portraits").glob("obama*.jpg"))[:3]:
        Path("people", "obama").mkdir(exist_ok=True)
        shutil.copy(photo, Path("people", "obama"))
    warned = [line for line in cli("enrol", "people", "--allow-conflict").err.splitlines() if "several people" in line]
    (line,) = warned
    counters = cli("enrol", "people/album", "--subject", "obama", "--counter")
    assert ("enrolled       5 samples" in counters.out, "several people" in counters.err) == (True, False)
    assert line.startswith(
        "visavis: album: the 5 samples look like several people; visavis gallery forget default album"
    )


def test_one_person_from_standard_input(cli: Shell, hopper: Path) -> None:
    outcome = cli(
        *("enrol", "-", "--subject", "grace", "--name", "Grace Hopper", "--consent", "form 7", "-g", "navy", "-q"),
        stdin=hopper.read_bytes(),
    )
    assert (outcome.code, outcome.err) == (0, "")
    subject = galleries().open("navy").subject("grace")
    assert (subject.name, subject.consent, subject.samples) == ("Grace Hopper", "form 7", 1)
    assert galleries().entries()[0].actor.startswith("user ")


def test_a_dry_run_touches_nothing(cli: Shell, odd: Path) -> None:
    outcome = cli("enrol", odd, "--dry-run")
    assert outcome.out.splitlines()[0] == f"Grace Hopper: {odd / 'Grace Hopper_1.jpg'}"
    assert (len(outcome.out.splitlines()), outcome.code) == (5, 1)
    assert lines_of(cli("enrol", odd, "--dry-run", "--json").out)[1] == {
        "file": str(odd / "IMG_0001.jpg"),
        "subject": None,
    }
    assert [path.name for path in Path().iterdir()] == ["odd"]


def test_a_new_gallery_keeps_what_was_asked_for(cli: Shell, people: Path) -> None:
    outcome = cli("enrol", people / "grace-hopper", "--by", "folder", "--keep", "chips")
    assert "it keeps embeddings and aligned faces" in outcome.err
    (sample,) = galleries().open("default").samples("grace-hopper")
    assert sample.picture == "chips"
    outcome = cli("enrol", people, "--keep", "images")
    assert "visavis gallery policy default --keep images" in outcome.err
    assert (outcome.code, outcome.out) == (2, "")


def test_whole_images_are_kept_as_they_are(cli: Shell, people: Path, astronaut_again: bytes) -> None:
    assert cli("enrol", people / "Eileen Collins" / "2.jpg", "--subject", "e", "--keep", "images").code == 0
    (sample,) = galleries().open("default").samples("e")
    assert galleries().open("default").picture("e", sample.id) == astronaut_again


def test_encryption_by_a_key_from_the_environment(cli: Shell, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_GALLERY_KEY", KEY)
    assert ", encrypted; it keeps" in cli("enrol", people).err
    monkeypatch.delenv("VISAVIS_GALLERY_KEY")
    outcome = cli("identify", people)
    assert (outcome.code, outcome.out) == (2, "")
    assert "this gallery is encrypted" in outcome.err
    Path("key").write_text(f"{KEY}\n")
    assert cli("identify", people, "--key-file", "key").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'PATH"),
        (["nowhere"], "visavis: nowhere: there is no such file or folder"),
        (["empty"], "visavis: no image found in empty"),
        (
            ["unnamed"],
            "1.jpg: the file's name names nobody; --by folder takes its folder's, --subject says who it is\n",
        ),
        (["-"], "standard input has no name"),
        (["unnamed", "--subject", "a/b"], "visavis: a subject's ID is"),
        (["unnamed", "--subject", "a", "-g", "Not a Name"], "visavis: a gallery's name is"),
        (["unnamed", "--name", "Ada"], "visavis: --name is the name of one person: say whose with --subject"),
        (["unnamed", "--by", "moon"], "'moon' is not one of 'auto', 'folder', 'file'"),
        (["unnamed", "--subject", "a", "--store", "mysql://x"], "visavis: the URL of a store is one such as"),
        (["unnamed", "--subject", "a", "--pack", "nope"], "visavis: there is no pack 'nope'"),
        (["unnamed", "--subject", "a", "--store", "sqlite:///no/where.db"], "no/where.db"),
        (["unnamed", "--subject", "a", "--store", "sqlite:///text.db"], "visavis: text.db is no SQLite file"),
        (["unnamed", "--subject", "a", "--key-file", "text.db"], "visavis: the key of the galleries is"),
        (["unnamed", "--subject", "a", "--key-file", "no.key"], "visavis: no.key: No such file or directory"),
        (["unnamed", "--subject", "a", "--report", "no/report.csv"], "visavis: no/report.csv: No such file"),
    ],
)
def test_wrong_usage_exits_with_2_and_makes_nothing(
    cli: Shell, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unnamed").mkdir()
    (tmp_path / "unnamed" / "1.jpg").touch()
    (tmp_path / "text.db").write_text("not a database, and long enough to be told from an empty file")
    outcome = cli("enrol", *arguments)
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "text.db", "unnamed"]


def test_the_key_is_given_once(cli: Shell, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_GALLERY_KEY", KEY)
    Path("key").write_text(KEY)
    outcome = cli("enrol", people, "--key-file", "key")
    assert "two ways to give one key" in outcome.err
    assert outcome.code == 2
    assert KEY not in outcome.err


# --- identify -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stocked(
    tmp_path_factory: pytest.TempPathFactory,
    recognizer: Recognizer,
    astronaut: Path,
    astronaut_again: bytes,
    hopper: Path,
) -> Path:
    """A store with two galleries: both people, and one of them by her name."""
    path = tmp_path_factory.mktemp("stocked") / "visavis.db"
    stock = Galleries(open_store(f"sqlite:///{path}"), recognizer)
    stock.create("default")
    stock.create("one")
    both, one = stock.open("default"), stock.open("one")
    for image in (astronaut, astronaut_again):
        both.enrol(image, "Eileen Collins", min_face=0.15)
    both.enrol(hopper, "grace-hopper", min_face=0.15)
    one.enrol(hopper, "grace-hopper", details=Details(name="Grace H."), min_face=0.15)
    stock.store.close()
    return path


@pytest.fixture
def enrolled(cli: Shell, stocked: Path) -> Shell:
    """A shell in the folder of a store with people in it."""
    shutil.copy(stocked, cli.folder)
    return cli


def test_identify_in_words(enrolled: Shell, hopper: Path) -> None:
    outcome = enrolled("identify", hopper)
    header, line = outcome.out.splitlines()
    assert header == f"{hopper}: 1 face"
    assert line.startswith("  box ")
    assert re.search(r"  grace-hopper  distance 0\.000  probability 0\.99\d\d$", line)
    enrolled("gallery", "policy", "default", "--candidate-threshold", "2")
    line = enrolled("identify", hopper).out.splitlines()[1]
    assert re.search(r"  grace-hopper  distance 0\.000  probability 0\.99\d\d  margin 0\.", line)
    assert line.endswith(" to Eileen Collins")
    assert (outcome.code, outcome.err) == (0, "faces were looked for from 77 pixels on; --min-face N says how small\n")
    assert "  Grace" not in line
    assert "  grace-hopper (Grace H.)  distance" in enrolled("identify", hopper, "-g", "one").out


def test_unknown_faces_come_with_the_reason(enrolled: Shell, astronaut: Path) -> None:
    assert enrolled("identify", "-g", "one", astronaut).out.endswith("  unknown (no_match)\n")
    wide = enrolled("identify", "-g", "one", "--threshold", "2", astronaut)
    assert (wide.code, "candidate_threshold in its policy allows more" in wide.err) == (2, True)
    enrolled("gallery", "policy", "one", "--candidate-threshold", "2")
    outcome = enrolled("identify", "-g", "one", astronaut)
    assert "  unknown (no_match)  nearest grace-hopper (Grace H.)  distance 0." in outcome.out
    assert "margin" not in outcome.out
    assert "  grace-hopper (Grace H.)  distance" in enrolled("identify", "-g", "one", "--threshold", "2", astronaut).out
    enrolled("gallery", "create", "empty")
    assert enrolled("identify", "-g", "empty", astronaut).out.endswith("  unknown (empty_gallery)\n")


def test_identify_as_json(enrolled: Shell, odd: Path, recognizer: Recognizer) -> None:
    enrolled("gallery", "policy", "default", "--candidate-threshold", "2")
    outcome = enrolled("identify", "--json", "--limit", "1", odd)
    records = {Path(record["file"]).name: record for record in lines_of(outcome.out)}
    assert outcome.code == 1
    assert records["broken.jpg"]["error"]["code"] == "image_corrupt"
    assert records["wall.png"]["faces"] == []
    assert len(records["twins.png"]["faces"]) == 2
    (face,) = records["Grace Hopper_1.jpg"]["faces"]
    assert [candidate["subject"] for candidate in face["candidates"]] == ["grace-hopper"]
    assert face["match"]["subject"] == "grace-hopper"
    assert face["match"]["margin"] > 0.1
    (found,) = recognizer.detect(odd / "Grace Hopper_1.jpg", min_face=0.15)
    assert face["face"]["box_xyxy"] == found.box_xyxy.tolist()
    assert "embedding" not in face["face"]


def test_identify_as_csv(enrolled: Shell, odd: Path) -> None:
    enrolled("gallery", "policy", "default", "--candidate-threshold", "2")
    rows = list(csv.DictReader(io.StringIO(enrolled("identify", "--csv", odd).out)))
    told = [(Path(row["file"]).name, row["error"], row["match"], row["runner_up"]) for row in rows]
    assert told == [
        ("Grace Hopper_1.jpg", "", "grace-hopper", "Eileen Collins"),
        ("IMG_0001.jpg", "", "grace-hopper", "Eileen Collins"),
        ("broken.jpg", "image_corrupt", "", ""),
        ("somebody else.jpg", "", "grace-hopper", "Eileen Collins"),
        ("twins.png", "", "Eileen Collins", "grace-hopper"),
        ("twins.png", "", "Eileen Collins", "grace-hopper"),
    ]
    assert float(rows[0]["distance"]) < 1e-3
    assert 0.56 < float(rows[0]["threshold"]) <= 0.6  # of two subjects


def test_identify_at_a_rate(enrolled: Shell, hopper: Path) -> None:
    for rate, number in (("strict", 1e-4), ("1e-3", 1e-3)):
        (record,) = lines_of(enrolled("identify", "--json", "--fmr", rate, hopper).out)
        (face,) = record["faces"]
        assert (face["match"]["subject"], face["fmr"]) == ("grace-hopper", number)
    (record,) = lines_of(enrolled("identify", "--json", hopper).out)
    assert record["faces"][0]["fmr"] is None


def test_identify_only_the_largest(enrolled: Shell, odd: Path) -> None:
    assert enrolled("identify", "--faces", "largest", odd / "twins.png").out.count("  box ") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{hopper}", "-g", "nope"],
            "there is no gallery 'nope' in sqlite:///visavis.db; those there are: default, one\n",
        ),
        (["{hopper}", "--store", "sqlite:///new.db"], "there is no gallery 'default': sqlite:///new.db holds none yet"),
        (["{hopper}", "--json", "--csv"], "--json and --csv exclude each other"),
        (["{hopper}", "--limit", "0"], "--limit"),
        (["{hopper}", "--threshold", "nan"], "threshold"),
        (["{hopper}", "--threshold", "0.5", "--fmr", "strict"], "use one of them"),
        (["{hopper}", "--fmr", "all"], "fmr must be a rate between 0 and 1, or one of strict, balanced, lenient"),
        (["{hopper}", "--fmr", "1e-12"], "visavis calibrate"),
        (["{hopper}", "--require-live"], "the pack 'dlib' tells no liveness"),
        (["."], "visavis: no image found in ."),
    ],
)
def test_identify_that_cannot_be_done(enrolled: Shell, hopper: Path, arguments: list[str], message: str) -> None:
    outcome = enrolled("identify", *(argument.format(hopper=hopper) for argument in arguments))
    assert message in outcome.err
    assert (outcome.code, outcome.out) == (2, "")
    assert not Path("new.db").exists()


# --- drawings and sidecars ------------------------------------------------------------------------------------------


def test_drawings_have_numbers_names_and_distances(
    enrolled: Shell, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = PIL.ImageDraw.ImageDraw.text

    def text(canvas: Any, at: Any, text: str, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # Pillow's
        written.append(text)
        real(canvas, at, text, *arguments, **options)

    monkeypatch.setattr(PIL.ImageDraw.ImageDraw, "text", text)
    outcome = enrolled("identify", pair, "-g", "one", "--draw", "drawn")
    known, unknown = outcome.out.splitlines()[1:]
    told = re.fullmatch(r"  0  box [\d ]+  grace-hopper \(Grace H\.\)  distance (0\.\d\d)0  probability 0\.9990", known)
    assert told
    assert re.fullmatch(r"  1  box [\d ]+  unknown \(\w+\)", unknown)
    assert written == [f"0 Grace H. {told[1]}", f"1 unknown {unknown.rpartition('(')[2][:-1]}"]
    assert Path("drawn", "pair.png").exists()
    written.clear()
    numbered = enrolled("detect", pair, "--draw", "detected").out.splitlines()
    assert ([line[:8] for line in numbered[1:]], written) == (["  0  box", "  1  box"], ["0", "1"])
    assert enrolled("detect", pair).out.splitlines()[1].startswith("  box")
    csv_rows = list(csv.DictReader(io.StringIO(enrolled("detect", pair, "--csv").out)))
    assert [row["face"] for row in csv_rows] == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("Ada", True), ("Zoë Łódź", None), ("\u0410\u0434\u0430", None), ("\U0001f9ff\U00020001", False)],
)
def test_a_name_is_drawn_where_a_font_has_its_letters(name: str, drawn: bool | None) -> None:  # noqa: FBT001  # the table's
    font = drawing._font_of(name, 20)  # noqa: SLF001  # what is drawn depends on the fonts that are there
    assert drawn is None or (font is not None) is drawn
    if font is not None:
        lacking = bytes(font.getmask("\U0010ffff"))
        assert all(bytes(font.getmask(letter)) != lacking for letter in name.replace(" ", ""))


def test_labels_cover_no_other(tmp_path: Path) -> None:
    picture = PIL.Image.new("RGB", (300, 100))
    labels = drawing._Labels(PIL.ImageDraw.Draw(picture), picture.size)  # noqa: SLF001  # what can be asked
    assert all(labels.write((40 * place, 40, 40 * place + 30, 70), place, "Ada Lovelace", "0.31") for place in range(6))
    places = labels._taken  # noqa: SLF001  # likewise
    for one, two in itertools.combinations(places, 2):
        assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
    assert len(places) == 6
    picture.save(tmp_path / "labels.png")


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_sidecar_names_who_is_on_a_photo_as_it_is_stored(
    enrolled: Shell, pair: Path, recognizer: Recognizer, orientation: int
) -> None:
    exiftool = shutil.which("exiftool")
    if not exiftool:
        pytest.skip("exiftool is not here")
    turns = {1: None, 6: PIL.Image.Transpose.ROTATE_90, 7: PIL.Image.Transpose.TRANSVERSE}
    with PIL.Image.open(pair) as photo:
        stored = photo if turns[orientation] is None else photo.transpose(turns[orientation])
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        stored.save("turned.png", exif=exif)
        stored_pixels = np.asarray(stored)
    outcome = enrolled("identify", "turned.png", "-g", "one", "--xmp", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    read = subprocess.run([exiftool, "-struct", "-json", "turned.png.xmp"], check=True, capture_output=True)
    info = json.loads(read.stdout)[0]["RegionInfo"]
    (region,) = info["RegionList"]
    width, height = stored.size
    assert (info["AppliedToDimensions"]["W"], info["AppliedToDimensions"]["H"]) == (width, height)
    assert (region["Name"], region["Type"]) == ("Grace H.", "Face")
    x, y, w, h = (region["Area"][side] for side in "XYWH")
    found = max(recognizer.detect(pair, min_face=0.15), key=lambda face: float(face.box_xyxy[0])).box_xyxy
    upright = PIL.Image.open(pair).crop(tuple(found.round().astype(int)))
    left, top = round((x - w / 2) * width - 0.5), round((y - h / 2) * height - 0.5)
    cut = PIL.Image.fromarray(stored_pixels[top : top + round(h * height), left : left + round(w * width)])
    undone = {1: None, 6: PIL.Image.Transpose.ROTATE_270, 7: PIL.Image.Transpose.TRANSVERSE}[orientation]
    seen = cut if undone is None else cut.transpose(undone)
    difference = np.abs(np.asarray(seen.resize((64, 64))).astype(int) - np.asarray(upright.resize((64, 64)))).mean()
    assert difference < 12  # of 255: the same part of the picture, but for a pixel


def test_sidecars_that_are_there(enrolled: Shell, hopper: Path, astronaut: Path) -> None:
    data = hopper.read_bytes()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Path(name).write_bytes(data)
    shutil.copy(astronaut, "d.png")
    Path("b.jpg.xmp").write_text("no XMP")
    Path("c.jpg.xmp").mkdir()
    outcome = enrolled("identify", *("a.jpg", "b.jpg", "c.jpg", "d.png"), "-g", "one", "--xmp", "-q")
    assert outcome.out.count("grace-hopper (Grace H.)  distance") == 3  # what is known is told all the same
    bad, folder = outcome.err.splitlines()
    assert re.match(r"visavis: b\.jpg\.xmp: it is no XML: .*; it stays as it is", bad)
    assert folder.startswith("visavis: c.jpg.xmp: ")
    assert (outcome.code, Path("b.jpg.xmp").read_text(), Path("d.png.xmp").exists()) == (1, "no XMP", False)
    Path("a.jpg.xmp").chmod(0o640)
    first = Path("a.jpg.xmp").stat().st_mtime_ns
    assert enrolled("identify", "a.jpg", "--xmp").code == 0
    assert Path("a.jpg.xmp").stat().st_mtime_ns == first  # whoever is named there stays
    Path("a.jpg.xmp").write_text(Path("a.jpg.xmp").read_text().replace("Grace H.", "Bob"))
    other = enrolled("identify", "a.jpg", "-g", "one", "--xmp", "-q")
    assert other.err == "visavis: a.jpg.xmp: names Bob, where Grace H. was found; that stays\n"
    named = enrolled("identify", "a.jpg", "-g", "one", "--xmp", "--xmp-naming", "lightroom")
    assert (named.code, Path("a.xmp").exists()) == (0, True)
    for arguments in (["-"], ["a.jpg", "x/a.png", "x/a.jpg", "--xmp-naming", "lightroom"]):
        assert enrolled("identify", *arguments, "--xmp", stdin=data).code == 2


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
    """One photo as many different files."""
    folder = tmp_path / "many" / "grace"
    folder.mkdir(parents=True)
    data = hopper.read_bytes()
    for number in range(400):
        (folder / f"{number:03}.jpg").write_bytes(data + number.to_bytes(2, "big"))
    return folder.parent


@pytest.mark.thorough
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_what_was_enrolled_and_the_next_run_goes_on(
    many: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(
        command("enrol", many, "--json"),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=LIMIT_S)
    done = lines_of(first + rest)
    *_, stays, interrupted = err.splitlines()
    assert process.returncode == 130
    assert stays.endswith("that stays, and the same command goes on from there")
    assert interrupted == "visavis: interrupted"
    assert 0 < len(done) < 400
    for file in (many / "grace").iterdir():
        if str(file) not in {result["file"] for result in done[:20]}:
            file.unlink()
    again = subprocess.run(
        command("enrol", many, "--json"),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert lines_of(again.stdout) == [{**result, "repeated": True} for result in done[:20]]


@pytest.mark.thorough
def test_two_at_once_enrol_everything_once(many: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for file in sorted((many / "grace").iterdir())[20:]:
        file.unlink()
    both = [
        subprocess.Popen(
            command("enrol", many, "--json"), env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = [lines_of(process.communicate(timeout=LIMIT_S)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [len(each) for each in results] == [20, 20]
    stored = {result["sample"] for each in results for result in each if not result["repeated"]}
    assert len(stored) == 20
    assert subjects_of(store=f"sqlite:///{tmp_path}/visavis.db") == {"grace": 20}


@pytest.mark.thorough
def test_a_reader_that_leaves_is_no_error(many: Path, environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        command("enrol", many, "--json", "-q"),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_no_gallery_is_made_for_a_pack_that_is_not_there(cli: Shell, people: Path) -> None:
    outcome = cli("enrol", "--pack", "open", "--models-dir", cli.folder / "nothing", people)
    assert outcome.code == 2
    assert "visavis models pull open" in outcome.err
    assert "made the gallery" not in outcome.err
    assert "holds none yet" in cli("gallery", "show", "default").err
