"""Whom an image shows, told from its path: ``visavis enrol --dry-run``, which looks at no image."""

import json
import unicodedata
from pathlib import Path

import pytest
from command_line import Outcome, Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path, {})


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named_in(outcome: Outcome) -> dict[str, str | None]:
    lines = map(json.loads, outcome.out.splitlines())
    return {line["file"]: line["subject"] for line in lines}


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("Ada Lovelace.jpg", "Ada Lovelace"),
        ("ada-lovelace_2.jpg", "ada-lovelace"),
        ("ada-lovelace-03.jpg", "ada-lovelace"),
        ("Ada Lovelace (2).jpeg", "Ada Lovelace"),
        ("ada.lovelace.10.png", "ada.lovelace"),
        ("Aaron_Eckhart_0001.jpg", "Aaron_Eckhart"),
        ("Ada 2024-05-01.jpg", "Ada"),
        ("obama2.jpg", "obama"),
        ("J. R. R. Tolkien.jpg", "J. R. R. Tolkien"),
        ("人2.jpg", "人"),
        ("Ada .jpg", "Ada"),
        (".ada.jpg", ".ada"),
        ("Img Holm.jpg", "Img Holm"),
        (unicodedata.normalize("NFD", "José.jpg"), unicodedata.normalize("NFC", "José")),
        ("IMG_1234.jpg", None),
        ("DSC00012.JPG", None),
        ("PXL_20240101_120000.jpg", None),
        ("P1010001.jpg", None),
        ("image (3).png", None),
        ("Screenshot 2024-01-01 at 12.00.00.png", None),
        ("WhatsApp Image 2024-01-01.jpeg", None),
        ("0001.jpg", None),
        ("(1).jpg", None),
        (f"{'x' * 201}.jpg", None),
        ("line\nbreak.jpg", None),
        ("\udcff.jpg", None),
    ],
)
def test_a_file_names_a_person(shell: Shell, file: str, subject: str | None) -> None:
    touch(f"photos/{file}", "photos/somebody else.jpg")
    ways = [("photos", "--by", "auto"), ("photos", "--by", "file"), (f"photos/{file}", "photos/somebody else.jpg")]
    for way in ways[2:] if file.startswith(".") else ways:  # what is hidden is found where it is named
        outcome = shell("enrol", *way, "--dry-run", "--json")
        assert named_in(outcome) == {f"photos/{file}": subject, "photos/somebody else.jpg": "somebody else"}
        assert outcome.code == int(subject is None)


def test_a_folder_names_a_person_and_everything_below_it(shell: Shell) -> None:
    below = {"Ada Lovelace/1.jpg": None, "Ada Lovelace/2021/Grace Hopper.jpg": "Grace Hopper", "ada_2/1.jpg": None}
    files = [f"people/{file}" for file in below]
    touch(*files)
    for by in ("auto", "folder"):
        outcome = shell("enrol", "people", "--by", by, "--dry-run", "--json")
        assert named_in(outcome) == dict(zip(files, ["Ada Lovelace", "Ada Lovelace", "ada_2"], strict=True))
    outcome = shell("enrol", "people", "--by", "file", "--dry-run", "--json")
    assert named_in(outcome) == dict(zip(files, below.values(), strict=True))


@pytest.mark.parametrize("by", ["auto", "folder"])
def test_what_lies_beside_the_folders_is_nobodys(shell: Shell, by: str) -> None:
    touch("people/ada/1.jpg", "people/Grace Hopper.jpg")
    outcome = shell("enrol", "people", "--by", by, "--dry-run")
    assert (outcome.code, outcome.out) == (1, "ada: people/ada/1.jpg\n")
    assert "visavis: people/Grace Hopper.jpg: lies beside the people's folders" in outcome.err


def test_a_flat_folder_may_be_one_persons(shell: Shell) -> None:
    touch("people/ada/1.jpg", "people/ada/2.jpg")
    outcome = shell("enrol", "people/ada", "--by", "folder", "--dry-run", "--json")
    assert set(named_in(outcome).values()) == {"ada"}
    outcome = shell("enrol", "people/ada", "--dry-run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--by folder" in outcome.err
    assert "--subject" in outcome.err


def test_the_current_folder_has_a_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("ada/1.jpg")
    monkeypatch.chdir("ada")
    for given in ("1.jpg", "."):
        assert named_in(shell("enrol", given, "--by", "folder", "--dry-run", "--json")) == {"1.jpg": "ada"}


def test_each_folder_given_is_looked_at_by_itself(shell: Shell) -> None:
    touch("people/ada/1.jpg", "flat/Grace Hopper.jpg", "x/Alan Turing.jpg")
    outcome = shell("enrol", "people", "flat", "x/Alan Turing.jpg", "--dry-run")
    assert outcome.out.splitlines() == [
        "ada: people/ada/1.jpg",
        "Grace Hopper: flat/Grace Hopper.jpg",
        "Alan Turing: x/Alan Turing.jpg",
    ]
    assert outcome.err.splitlines() == [
        "1 person, named by folder: ada (1 image)",
        "2 people, named by file: Grace Hopper (1 image), Alan Turing (1 image)",
    ]


def test_only_the_first_few_are_told(shell: Shell) -> None:
    touch(*(f"people/p{number}/{image}.jpg" for number in range(5) for image in range(2)))
    outcome = shell("enrol", "people", "--dry-run")
    assert outcome.err == "5 people, named by folder: p0 (2 images), p1 (2 images), p2 (2 images) and 2 more\n"


def test_nothing_is_told_of_what_an_option_named(shell: Shell) -> None:
    touch("a.jpg")
    outcome = shell("enrol", "a.jpg", "-", "--subject", "ada", "--dry-run")
    assert (outcome.code, outcome.out, outcome.err) == (0, "ada: a.jpg and 1 more\n", "")
    outcome = shell("enrol", "a.jpg", "--subject", "a/b", "--dry-run")
    assert outcome.code == 2
    assert "a subject's ID" in outcome.err


def test_a_dry_run_has_a_line_for_each_person_and_each_problem(shell: Shell) -> None:
    touch(
        *(f"photos/holidays/{number:03}.jpg" for number in range(390)), *(f"photos/{number}.jpg" for number in "1234")
    )
    outcome = shell("enrol", "photos", "--dry-run")
    assert outcome.out == "holidays: photos/holidays/000.jpg and 389 more\n"
    named, album, problem = outcome.err.splitlines()
    assert named == "1 person, named by folder: holidays (390 images)"
    assert album.startswith("visavis: holidays: 390 images; if this is an album of several people, visavis cluster")
    assert problem.startswith("visavis: photos/1.jpg and 3 more: lies beside the people's folders")
    assert (outcome.code, len(named_in(shell("enrol", "photos", "--dry-run", "--json")))) == (1, 394)


def test_standard_input_has_no_name(shell: Shell) -> None:
    outcome = shell("enrol", "-", "--by", "file", "--dry-run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--subject" in outcome.err


def test_a_name_in_another_encoding_says_so(shell: Shell) -> None:
    touch("people/Jos\udce9/1.jpg", "people/ada/1.jpg")
    reason = "is not in UTF-8: rename the file that it comes from, or set a locale of UTF-8"
    outcome = shell("enrol", "people", "--dry-run")
    assert (outcome.code, outcome.out) == (1, "ada: people/ada/1.jpg\n")
    assert f"a subject's ID {reason}" in outcome.err
    for arguments in (("--subject", "Jos\udce9"), ("--subject", "ada", "--name", "Jos\udce9")):
        refused = shell("enrol", "people/ada/1.jpg", *arguments)
        assert (refused.code, reason in refused.err) == (2, True)


def test_one_person_in_two_spellings(shell: Shell) -> None:
    outcome = shell("enrol", "--dry-run", "people/a.jpg", "--subject", unicodedata.normalize("NFD", "Jos\xe9"))
    assert outcome.code == 2  # there is no such file
    touch("people/a.jpg")
    outcome = shell(
        "enrol", "--dry-run", "people/a.jpg", "--subject", unicodedata.normalize("NFD", "Jos\xe9"), "--json"
    )
    assert named_in(outcome) == {"people/a.jpg": "Jos\xe9"}


def test_names_that_look_alike_are_told(shell: Shell) -> None:
    touch("people/Ada Lovelace/1.jpg", "people/ada lovelace/1.jpg", "people/grace/1.jpg")
    outcome = shell("enrol", "people", "--dry-run")
    assert "these look alike, and are people of their own: 'Ada Lovelace', 'ada lovelace'\n" in outcome.err
    assert (outcome.code, outcome.out.count("\n")) == (0, 3)
