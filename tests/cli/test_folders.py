"""Which files of a folder are images of people: what systems left there is not, and suffixes do not decide."""

import io
import json
import shutil
from pathlib import Path

import PIL.Image
import pytest
from command_line import Shell

from visavis.core.formats import is_image
from visavis.files import is_hidden


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path, {})


SYSTEMS = [
    "#recycle/old.jpg",
    "#snapshot/daily/ada/a1.jpg",
    "@Recycle/b.jpg",
    "@Recently-Snapshot/GMT+01_2024/ada/a1.jpg",
    "@GMT-2024.01.31-02.00.00/ada/a1.jpg",
    "$RECYCLE.BIN/S-1-5/$R0AB12.jpg",
    "$Recycle.Bin/S-1-5/$R0AB12.jpg",
    "RECYCLER/Dc1.jpg",
    "System Volume Information/x.jpg",
    "lost+found/#1234.jpg",
    ".Trash-1000/files/c.jpg",
    ".Trashes/501/c.jpg",
    ".@__thumb/default.jpg",
    "~snapshot/hourly/ada/a1.jpg",
    "__MACOSX/ada/._a1.jpg",
    "Network Trash Folder/x.jpg",
    "@eaDir/x/SYNOPHOTO_THUMB_XL.jpg",
    "ada/@eaDir/a1.jpg/SYNOPHOTO_THUMB_M.jpg",
    "ada/.thumbnails/a1.jpg",
    "ada/SYNOPHOTO_THUMB_M.jpg",
    "ada/._a1.jpg",
    "private/.nomedia",
    "private/p.jpg",
    "ada/private/.nomedia",
    "ada/private/more/p.jpg",
]
PEOPLE = {"nas/ada/a1.jpg": "ada", "nas/@grace/g1.JPG": "@grace", "nas/recycle/r.png": "recycle"}


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def jpeg() -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(stream, "JPEG")
    return stream.getvalue()


def named(out: str) -> dict[str, str]:
    return {line["file"]: line["subject"] for line in map(json.loads, out.splitlines())}


def test_what_systems_leave_among_photos_is_nobody(shell: Shell) -> None:
    touch(*PEOPLE, *(f"nas/{file}" for file in SYSTEMS))
    outcome = shell("enrol", "nas", "--dry-run", "--json")
    assert named(outcome.out) == PEOPLE
    (told,) = (line for line in outcome.err.splitlines() if "passed over" in line)
    assert told == (
        "passed over: 21 folders hidden or of a system (#recycle, #snapshot, $RECYCLE.BIN and 16 more), "
        "2 files hidden or a thumbnail (._a1.jpg, SYNOPHOTO_THUMB_M.jpg); --all takes what is hidden"
    )
    everything = named(shell("enrol", "nas", "--all", "--dry-run", "--json").out)
    images = {file for file in SYSTEMS if not file.endswith(".nomedia")}
    assert set(everything) == {*PEOPLE, *(f"nas/{file}" for file in images)}


def test_what_a_shell_makes_of_a_star_is_meant_no_more_than_the_folder(shell: Shell) -> None:
    touch(*PEOPLE, *(f"nas/{file}" for file in SYSTEMS))
    star = sorted(str(path) for path in Path("nas").iterdir() if not path.name.startswith("."))
    assert set(named(shell("enrol", *star, "--dry-run", "--json").out)) == set(PEOPLE)


@pytest.mark.parametrize("folder", ["@eaDir", ".hidden", "thumbs"])
def test_a_folder_that_is_named_alone_is_meant(shell: Shell, folder: str) -> None:
    touch(f"{folder}/ada.jpg", f"{folder}/.nomedia")
    assert named(shell("enrol", folder, "--dry-run", "--json").out) == {f"{folder}/ada.jpg": "ada"}


@pytest.mark.parametrize("name", ["ada", "@ada", "#1", "Recycle", "Trash", "$ada", "Found", "Snapshot", "eaDir", "tmp"])
def test_people_are_not_taken_for_systems(name: str) -> None:
    assert not is_hidden(name)


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_photos_to_measure_with_are_found_likewise(shell: Shell, command: str) -> None:
    touch(*(f"nas/{file}" for file in SYSTEMS))
    outcome = shell(command, "nas")
    assert outcome.code == 2
    assert "no image found in nas" in outcome.err
    assert "passed over: 21 folders" in outcome.err


ODD_NAMES = [
    *("DSC00001.HIF", "b.heics", "av.avifs", "a.jif", "x.pjpeg", "photo.jpg_large", "photo.jpg:large", "q.dib"),
    *("IMG.jpg~", "t.jpg.orig", "w.webp_", "z.JPS", "x.thm", "a.jpg.download", "noextension", "x.unheard-of", "x.txt"),
]


def test_an_image_is_found_by_its_first_bytes(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / name).write_bytes(jpeg())
    outcome = shell("enrol", folder, "--by", "folder", "--dry-run", "--json")
    assert {Path(file).name for file in named(outcome.out)} == set(ODD_NAMES)
    assert "passed over" not in outcome.err


def test_files_that_are_no_images_are_told(shell: Shell) -> None:
    touch("photos/ada.jpg", "photos/empty", "photos/Thumbs.db")
    Path("photos/notes.txt").write_text("BM is how a note may begin")
    Path("photos/film.mov").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    Path("photos/page").write_text("<html>")
    Path("photos/RAW1.NEF").write_bytes(b"II*\0")
    Path("photos/nowhere").symlink_to("not there")
    Path("photos/nowhere.jpg").symlink_to("not there")
    outcome = shell("enrol", "photos", "--dry-run", "--json")
    assert list(named(outcome.out).values()) == ["ada", "nowhere"]
    assert outcome.err.splitlines()[0] == (
        "passed over: 1 file of a raw photo (.nef), 5 files without an image (.db, .mov, .txt and 2 more), "
        "1 file of no content (nowhere)"
    )
    assert "passed over" not in shell("enrol", "photos", "--dry-run", "--quiet").err


def test_the_name_of_a_copy_names_the_same_person(shell: Shell) -> None:
    for name in ("Ada Lovelace_2.jpg.orig", "Ada Lovelace.jpg_large", "J. R. Ewing.jpg"):
        Path("photos").mkdir(exist_ok=True)
        (Path("photos") / name).write_bytes(jpeg())
    people = named(shell("enrol", "photos", "--dry-run", "--json").out)
    assert sorted(people.values()) == ["Ada Lovelace", "Ada Lovelace", "J. R. Ewing"]


def test_the_files_of_the_cases(shell: Shell, test_data: Path, tmp_path: Path) -> None:
    cases = test_data / "cases"
    if not cases.exists():
        pytest.skip("without the cases")
    shutil.copytree(cases / "nas", tmp_path / "nas")
    people = named(shell("enrol", "nas", "--dry-run", "--json").out)
    assert set(people.values()) == {"ada", "grace"}
    every = {str(path) for path in (cases / "suffixes").iterdir()}
    found = named(shell("enrol", cases / "suffixes", "--by", "folder", "--dry-run", "--json").out)
    assert set(found) == every


@pytest.mark.parametrize(
    "text", [b"", b"BM", b"BMW is a make of cars, of which there are many", b"II", b"RIFF....WAVE"]
)
def test_what_is_no_image(text: bytes) -> None:
    assert not is_image(text)
