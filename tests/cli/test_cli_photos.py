"""Folders of photos: find a person, group, name, enrol and identify, with an index that looks at no photo twice."""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from browser import Browser, browser
from command_line import Shell
from pages import named

import visavis.models.recognizer

Decoded = list[str]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The names of images that were decoded to look at them."""
    names: Decoded = []
    read_image = vars(visavis.models.recognizer)["read_image"]

    def noting(image: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever is read
        names.append(Path(str(image)).name)
        return read_image(image, **options)

    monkeypatch.setattr(visavis.models.recognizer, "read_image", noting)
    return names


@pytest.fixture
def photos(tmp_path: Path, astronaut: Path, astronaut_again: bytes, hopper: Path) -> Path:
    """Eileen Collins twice, Grace Hopper twice, both together, and nobody."""
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    with PIL.Image.open(astronaut) as image:
        collins = image.convert("RGB").crop((60, 0, 380, 320))
    with PIL.Image.open(hopper) as image:
        grace = image.convert("RGB").crop((80, 0, 432, 352)).resize((320, 320))
    collins.save(folder / "a.png")
    (folder / "2024" / "a.jpg").write_bytes(astronaut_again)
    grace.save(folder / "b.png")
    grace.point(lambda level: round(level * 0.8)).save(folder / "2024" / "b.jpg", quality=80)
    both = PIL.Image.new("RGB", (640, 320))
    both.paste(collins.rotate(4, PIL.Image.Resampling.BICUBIC), (0, 0))
    both.paste(grace.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT), (320, 0))
    both.save(folder / "both.png")
    PIL.Image.new("RGB", (100, 100), "grey").save(folder / "grey.png")
    return folder


# --- find -----------------------------------------------------------------------------------------------------------


def test_find_looks_at_no_photo_twice(cli: Shell, photos: Path, decoded: Decoded, astronaut: Path) -> None:
    first = cli("find", astronaut, "photos")
    assert (first.code, sorted(decoded)) == (
        0,
        ["a.jpg", "a.png", "astronaut.png", "b.jpg", "b.png", "both.png", "grey.png"],
    )
    found = [line.split(":")[0] for line in first.out.splitlines() if not line.startswith(" ")]
    assert found == ["photos/a.png", "photos/both.png", "photos/2024/a.jpg"]
    assert re.search(r"^  box \d+ \d+ \d+ \d+  same  distance 0\.\d{3}  probability 0\.\d{4}$", first.out, re.MULTILINE)
    assert first.err.startswith("index of photos: photos/.visavis-index\nfaces were looked for from 20 pixels on")
    assert first.err.endswith("\nimages: 6, same: 3, uncertain: 0, failed: 0\n")
    decoded.clear()
    second = cli("find", astronaut, "photos")
    assert (second.out, decoded) == (first.out, ["astronaut.png"])
    shutil.copy(photos / "b.png", photos / "new.png")
    PIL.Image.new("RGB", (90, 90), "red").save(photos / "red.png")
    (photos / "a.png").rename(photos / "z.png")
    decoded.clear()
    assert "photos/z.png" in cli("find", astronaut, "photos").out
    assert sorted(decoded) == ["astronaut.png", "red.png"]


def test_the_index_serves_other_commands(cli: Shell, photos: Path, decoded: Decoded, astronaut: Path) -> None:
    plain = cli("detect", photos)
    cli("find", astronaut, photos)
    cli("enrol", astronaut, "--subject", "eileen")
    decoded.clear()
    assert cli("detect", photos / "2024").out == "".join(plain.out.splitlines(keepends=True)[-4:])
    assert cli("embed", photos, "--json").out.count('"embedding"') == 6
    assert cli("identify", photos).out.count(" eileen ") == 3
    assert cli("cluster", photos, "--threshold", 0.45).code == 0
    assert decoded == []
    cli("detect", photos / "a.png", "--min-face", 40)
    assert decoded == ["a.png"]


def test_an_image_from_standard_input_is_looked_at_and_known(cli: Shell, photos: Path, decoded: Decoded) -> None:
    content = (photos / "a.png").read_bytes()
    first = cli("detect", "-", "--index", "photos.visavis", stdin=content)
    assert (first.code, "-: 1 face" in first.out) == (0, True)
    assert (
        cli("detect", photos / "a.png", "--index", "photos.visavis").out.splitlines()[1:] == first.out.splitlines()[1:]
    )
    decoded.clear()
    assert cli("detect", "-", "--index", "photos.visavis", stdin=content).out == first.out
    assert decoded == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "same"),
    [
        ([], ["b.png", "both.png", "2024/b.jpg"]),
        (["--threshold", 0.6], ["b.png", "both.png", "2024/b.jpg"]),
        (["--fmr", 0.001, "--index", "elsewhere.visavis"], ["b.png", "both.png", "2024/b.jpg"]),
    ],
)
def test_formats_of_find(cli: Shell, photos: Path, options: list[object], same: list[str]) -> None:
    as_json = cli("find", photos / "b.png", photos, "--json", *options)
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert (as_json.code, [line["file"] for line in lines]) == (0, [str(photos / name) for name in same])
    assert {face["decision"] for line in lines for face in line["faces"]} == {"same"}
    rows = list(csv.DictReader(io.StringIO(cli("find", photos / "b.png", photos, "--csv", *options).out)))
    assert [row["file"] for row in rows] == [str(photos / name) for name in same]
    assert (photos / ".visavis-index").exists() is ("--index" not in options)


def test_exit_codes_of_find(cli: Shell, photos: Path, astronaut: Path) -> None:
    assert cli("find", astronaut, photos / "b.png").code == 1
    assert not (photos / ".visavis-index").exists()  # there is no folder to keep one in
    (photos / "broken.png").write_bytes((photos / "b.png").read_bytes()[:2000])
    assert cli("find", astronaut, photos / "b.png", photos / "broken.png").code == 2
    assert cli("find", astronaut, photos / "a.png", photos / "broken.png").code == 0
    nobody = cli("find", photos / "grey.png", photos)
    assert (nobody.code, nobody.out, "grey.png: no face found" in nobody.err) == (2, "", True)
    assert cli("find", "missing.jpg", photos).code == 2
    assert cli("find", "-", "-").code == 2


def test_a_folder_that_cannot_be_written_says_what_to_do(cli: Shell, photos: Path, astronaut: Path) -> None:
    outcome = cli("find", astronaut, photos, "--index", photos / "a.png" / "index")
    assert outcome.code == 2
    assert outcome.err.endswith("; --index FILE keeps the index elsewhere\n")


def test_somebody_elses_index_is_not_used_unasked(
    cli: Shell, photos: Path, astronaut: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("find", astronaut, photos)
    decoded.clear()
    monkeypatch.setattr(os, "getuid", lambda: (photos / ".visavis-index").stat().st_uid + 1)
    assert "index of photos" not in cli("detect", photos).err
    assert len(decoded) == 6


# --- from unknown faces to named people ------------------------------------------------------------------------------


def test_from_unknown_faces_to_named_people(cli: Shell, photos: Path, decoded: Decoded) -> None:
    assert cli("cluster", photos, "-o", "people.html", "--index", "people.visavis").code == 0
    Path("names.json").write_text(json.dumps(named(Path("people.html").read_text(), "Eileen Collins", "Grace")))
    decoded.clear()
    arguments = [photos, "--index", "people.visavis", "--names", "names.json"]
    assert cli("enrol", *arguments, "--dry-run").out.endswith(f"Grace: {photos / 'b.png'} and 2 more\n")
    first = cli("enrol", *arguments, "--gallery", "family")
    assert (first.code, "6 samples of 2 subjects" in first.out) == (0, True)
    second = cli("enrol", *arguments, "--gallery", "family")
    assert (second.code, "enrolled       0 samples\n  already there  6\n" in second.out) == (0, True)
    again = cli("cluster", photos, "--index", "people.visavis", "--names", "names.json", "--threshold", 0.45)
    titles = [line for line in again.out.splitlines() if line[0] != " "]
    assert titles == ["group 1, Eileen Collins: 3 faces", "group 2, Grace: 3 faces"]
    assert decoded == []
    found = cli("identify", photos / "both.png", "--gallery", "family")
    assert (" Grace " in found.out, " Eileen Collins " in found.out) == (True, True)


def test_names_that_were_typed_come_back_on_the_page(cli: Shell, photos: Path) -> None:
    cli("cluster", photos, "-o", "people.html")
    names = named(Path("people.html").read_text(), 'A "b" <i>', "")
    names["faces"] = [each for each in names["faces"] if each["name"]]
    Path("names.json").write_text(json.dumps(names))
    cli("cluster", photos, "-o", "people.html", "--names", "names.json")
    assert re.findall(r'<input value="(.*?)"', Path("people.html").read_text()) == ["A &quot;b&quot; &lt;i&gt;", ""]
    assert (
        json.loads(cli("cluster", photos, "--names", "names.json", "--json").out.splitlines()[0])["name"] == 'A "b" <i>'
    )


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "null", '{"visavis_names": 2, "faces": []}', '{"visavis_names": 1, "faces": [1]}', "[" * 100_000),
        '{"visavis_names": 1, "faces": [{"name": "Ada", "photo": "1", "box": [1, 2, 3]}]}',
        '{"visavis_names": 1, "faces": [{"name": "Ada", "photo": "1", "box": [1, 2, 3, "x"]}]}',
        '{"visavis_names": 1, "faces": [{"name": "../../Ada", "photo": "1", "box": [1, 2, 3, 4]}]}',
        '{"visavis_names": 1, "faces": [{"name": "Ada", "photo": "1", "box": [1, 2, NaN, 1e999]}]}',
    ],
)
def test_names_that_are_none(cli: Shell, photos: Path, content: str) -> None:
    Path("names.json").write_text(content)
    outcome = cli("enrol", photos / "grey.png", "--names", "names.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search("no names that the page|a subject's ID is|is on these photos", outcome.err)


def test_names_and_other_ways_to_say_who_it_is(cli: Shell, photos: Path) -> None:
    assert "use one of them" in cli("enrol", photos, "--names", "names.json", "--subject", "ada").err
    assert cli("enrol", photos, "--names", "missing.json").code == 2


# --- sorted into folders ---------------------------------------------------------------------------------------------


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()
    }


def test_photos_are_sorted_into_folders(cli: Shell, photos: Path) -> None:
    cli("cluster", photos, "-o", "people.html", "--index", "people.visavis")
    Path("names.json").write_text(json.dumps(named(Path("people.html").read_text(), "a:b?.", "A:B?.")))
    before = content_of(photos)
    for copy in ([], ["--copy"]):
        folder = Path(f"sorted{len(copy)}")
        arguments = [photos, "--index", "people.visavis", "--names", "names.json", "--sort-into", folder]
        (folder / "A_B__-2").mkdir(parents=True)
        (folder / "A_B__-2" / "b.png").write_text("what was there")
        assert cli("cluster", *arguments, *copy).code == 0
        there = content_of(folder)
        assert sorted(there) == [
            *("A_B__-2/b-2.png", "A_B__-2/b.jpg", "A_B__-2/b.png", "A_B__-2/both.png"),
            *("a_b__/a.jpg", "a_b__/a.png", "a_b__/both.png"),
        ]
        assert there["A_B__-2/b.png"] == b"what was there"
        assert there["A_B__-2/b-2.png"] == before["b.png"]
        assert (folder / "a_b__" / "a.png").is_symlink() is not bool(copy)
        assert cli("cluster", *arguments, *copy).code == 0
        assert content_of(folder) == there
    assert content_of(photos) == before


def test_photos_that_are_named_themselves_can_be_sorted_beside_them(cli: Shell, photos: Path) -> None:
    assert cli("cluster", photos / "a.png", photos / "both.png", "--sort-into", photos / "sorted").code == 0
    assert sorted(content_of(photos / "sorted")) == ["group 1/a.png", "group 1/both.png"]


def test_groups_without_names_do_not_mix(cli: Shell, photos: Path) -> None:
    arguments = ["cluster", photos, "--index", "people.visavis", "--sort-into", "sorted"]
    assert cli(*arguments).code == cli(*arguments).code == 0
    assert sorted(path.name for path in Path("sorted").iterdir()) == ["group 1", "group 2"]
    (photos / "a.png").unlink()  # and Hopper is the first
    outcome = cli(*arguments)
    assert (outcome.code, "name the groups, or choose a new folder" in outcome.err) == (2, True)
    inside = cli("cluster", photos, "--index", "people.visavis", "--sort-into", photos / "sorted")
    assert (inside.code, "lies among the photos" in inside.err) == (2, True)


# --- the page in a browser --------------------------------------------------------------------------------------------

_SAVE = """(async () => {
  const inputs = document.querySelectorAll("h2 input");
  inputs[0].value = " Grace "; inputs[1].value = "Eileen";
  document.querySelector("section label input").click();
  let saved;
  URL.createObjectURL = (blob) => { saved = blob; return "blob:nothing"; };
  document.querySelector("button").click();
  return await saved.text();
})()"""


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile", "MAP * ~NOTFOUND") as chromium:
        yield chromium


@pytest.mark.thorough
def test_the_page_saves_names(cli: Shell, photos: Path, chromium: Browser) -> None:
    cli("cluster", photos, "-o", "people.html")
    expected = named(Path("people.html").read_text(), "Grace", "Eileen")
    saved = json.loads(chromium.run(Path("people.html").absolute().as_uri(), _SAVE))
    assert saved == {"visavis_names": 1, "faces": expected["faces"][1:]}
    Path("names.json").write_text(json.dumps(saved))
    assert "5 samples of 2 subjects" in cli("enrol", photos, "--names", "names.json").out
