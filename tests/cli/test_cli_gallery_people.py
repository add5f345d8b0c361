"""Whom an image shows, told from its path."""

import unicodedata
from pathlib import Path

import pytest

from visavis.cli.images import ImageFile, describe_naming, name_people, one_person
from visavis.cli.options import Naming
from visavis.errors import InvalidOption


def source(given: str, *below: str) -> ImageFile:
    """An image: a folder that was given and where the image lies below it, or a file that was given."""
    name = "/".join((given, *below))
    return ImageFile(name, Path(*below) if below else Path(Path(given).name), name)


def named(sources: list[ImageFile], by: Naming = "auto") -> list[str | None]:
    return [portrait.subject for portrait in name_people(sources, by)]


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
def test_a_file_names_a_person(file: str, subject: str | None) -> None:
    assert named([source("photos", file)]) == [subject]
    assert named([source(f"photos/{file}")]) == [subject]
    assert named([source("photos", file)], "file") == [subject]


def test_a_folder_names_a_person_and_everything_below_it() -> None:
    sources = [
        source("people", "Ada Lovelace", "1.jpg"),
        source("people", "Ada Lovelace", "2021", "Grace Hopper.jpg"),
        source("people", "ada_2", "1.jpg"),
    ]
    assert named(sources) == named(sources, "folder") == ["Ada Lovelace", "Ada Lovelace", "ada_2"]
    assert named(sources, "file") == [None, "Grace Hopper", None]


def test_what_lies_beside_the_folders_is_nobodys() -> None:
    sources = [source("people", "ada", "1.jpg"), source("people", "Grace Hopper.jpg")]
    for by in ("auto", "folder"):
        portraits = name_people(sources, by)
        assert [portrait.subject for portrait in portraits] == ["ada", None]
        assert "beside the people's folders" in portraits[1].problem


def test_a_flat_folder_may_be_one_persons() -> None:
    sources = [source("people/ada", "1.jpg"), source("people/ada", "2.jpg")]
    assert named(sources, "folder") == ["ada", "ada"]
    portraits = name_people(sources, "auto")
    assert [portrait.subject for portrait in portraits] == [None, None]
    assert "--by folder" in portraits[0].problem
    assert "--subject" in portraits[0].problem


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ada").mkdir()
    monkeypatch.chdir(tmp_path / "ada")
    assert named([ImageFile("1.jpg", Path("1.jpg"), "1.jpg")], "folder") == ["ada"]


def test_each_folder_given_is_looked_at_by_itself() -> None:
    sources = [source("people", "ada", "1.jpg"), source("flat", "Grace Hopper.jpg"), source("x/Alan Turing.jpg")]
    assert named(sources) == ["ada", "Grace Hopper", "Alan Turing"]
    assert describe_naming(name_people(sources, "auto")) == [
        "1 person, named by folder: ada (1 image)",
        "2 people, named by file: Grace Hopper (1 image), Alan Turing (1 image)",
    ]


def test_only_the_first_few_are_told() -> None:
    sources = [source("people", f"p{number}", f"{image}.jpg") for number in range(5) for image in range(2)]
    (line,) = describe_naming(name_people(sources, "auto"))
    assert line == "5 people, named by folder: p0 (2 images), p1 (2 images), p2 (2 images) and 2 more"


def test_nothing_is_told_of_what_an_option_named() -> None:
    portraits = one_person([source("a.jpg"), source("-")], "ada")
    assert [portrait.subject for portrait in portraits] == ["ada", "ada"]
    assert describe_naming(portraits) == []
    with pytest.raises(InvalidOption, match="a subject's ID"):
        one_person([source("a.jpg")], "a/b")


def test_standard_input_has_no_name() -> None:
    (portrait,) = name_people([source("-")], "file")
    assert portrait.subject is None
    assert "--subject" in portrait.problem
