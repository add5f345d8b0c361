"""Importing, verifying and removing files of packs."""

import hashlib
import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_packs import file_of, in_archive, pack_of, sha256, some_bytes, some_hdf5

from visavis import Recognizer
from visavis.downloads.folder import ModelsFolder
from visavis.downloads.importing import Imported, import_files
from visavis.downloads.removing import remove, verify
from visavis.errors import InvalidOption, LicenceNotAccepted, ModelCorrupt, PullFailed, VisavisError
from visavis.models.catalogue import DLIB, OPEN, PACKS
from visavis.models.installation import packs_with
from visavis.models.packs import Archive, Pack

FIRST, SECOND, THIRD, FOURTH = (some_bytes(count, seed) for seed, count in enumerate((9_000, 5_000, 700, 300)))

WEIGHTS, OTHERS = some_hdf5(70, 4), some_hdf5(60, 5)


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.onnx", content)
    return buffer.getvalue()


ZIPPED = zip_of(third=THIRD, fourth=FOURTH)
ARCHIVE = Archive("https://models.example.com/v1/pair.zip", len(ZIPPED), sha256(ZIPPED))
NAMED_ARCHIVE = Archive("https://models.example.com/v2/named.zip")

SHARED = file_of("shared.onnx", FIRST)
TINY = pack_of("tiny", SHARED, file_of("second.onnx", SECOND))
OLD = pack_of("old", SHARED, file_of("second.h5", b"", published=False))
RESEARCH = pack_of(
    "research",
    in_archive(file_of("third.onnx", THIRD, licence="research only"), ARCHIVE, "third.onnx"),
    in_archive(file_of("fourth.onnx", FOURTH, licence="research only"), ARCHIVE, "fourth.onnx"),
    commercial=False,
)
INTEL = pack_of(
    "intel", replace(file_of("sha384.bin", FOURTH[:99]), sha256=None, sha384=hashlib.sha384(FOURTH[:99]).hexdigest())
)
NAMED = pack_of(
    "named", in_archive(file_of("in_named.onnx", FOURTH[:50], published=False), NAMED_ARCHIVE, "in_named.onnx")
)


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    for pack in (TINY, OLD, RESEARCH, INTEL, NAMED):
        monkeypatch.setitem(PACKS, pack.name, pack)


@pytest.fixture
def folder(tmp_path: Path, catalogue: None) -> ModelsFolder:  # noqa: ARG001  # needed by all
    return ModelsFolder(tmp_path / "models")


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder of files that somebody has."""
    place = tmp_path / "given"
    place.mkdir()
    return place


def put(place: Path, name: str, content: bytes) -> Path:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def take(folder: ModelsFolder, *paths: Path, accept: bool = False, name: str | None = None) -> list[Imported]:
    return list(import_files(paths, folder, accept=lambda _: accept, name=name))


def error_of(results: list[Imported]) -> VisavisError:
    (result,) = results
    assert result.names == ()
    assert result.error is not None
    return result.error


def files_in(folder: ModelsFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder.path / "files").glob("*")}


# --- import


def test_no_files(folder: ModelsFolder) -> None:
    assert take(folder) == []
    assert not folder.path.exists()


def test_a_file_is_known_by_its_hash_whatever_its_name(folder: ModelsFolder, given: Path) -> None:
    path = put(given, "download (1).bin", SECOND)
    assert take(folder, path) == [Imported(path, ("second.onnx",))]
    assert files_in(folder) == {"second.onnx": SECOND}
    assert path.exists()
    assert list((folder.path / "partial").iterdir()) == []


def test_a_file_that_is_there_already(folder: ModelsFolder, given: Path) -> None:
    path = put(given, "x", SECOND)
    take(folder, path)
    before = (folder.path / "files" / "second.onnx").stat().st_mtime_ns
    assert take(folder, path, path) == [Imported(path, ("second.onnx",))] * 2
    assert (folder.path / "files" / "second.onnx").stat().st_mtime_ns == before


def test_a_file_by_its_sha384(folder: ModelsFolder, given: Path) -> None:
    (result,) = take(folder, put(given, "x", FOURTH[:99]))
    assert result.names == ("sha384.bin",)
    assert folder.pins() == {"sha384.bin": sha256(FOURTH[:99])}


def test_a_file_without_a_hash_is_known_by_its_name_and_pinned(folder: ModelsFolder, given: Path) -> None:
    (result,) = take(folder, put(given, "second.h5", WEIGHTS))
    assert result.names == ("second.h5",)
    assert folder.pins() == {"second.h5": sha256(WEIGHTS)}
    # From now on its hash is known.
    (result,) = take(folder, put(given, "any", WEIGHTS))
    assert result.names == ("second.h5",)
    refusal = error_of(take(folder, put(given, "second.h5", OTHERS)))
    assert isinstance(refusal, ModelCorrupt)
    for part in (sha256(WEIGHTS), sha256(OTHERS), "--unpin"):
        assert part in str(refusal)
    assert files_in(folder) == {"second.h5": WEIGHTS}


@pytest.mark.parametrize("content", [b"", b"weights", FIRST])
def test_a_file_of_another_kind_than_its_name_says_is_not_pinned(
    folder: ModelsFolder, given: Path, content: bytes
) -> None:
    path = put(given, "second.h6", content)
    refusal = error_of(take(folder, path, name="second.h5"))
    assert isinstance(refusal, ModelCorrupt)
    assert str(refusal) == f"{path} is not the second.h5 that visavis knows: it is no HDF5 file"
    page = error_of(take(folder, put(given, "second.h5", b"<html>"), name="second.h5"))
    assert "it is no HDF5 file (it is a web page" in str(page)
    assert (folder.pins(), files_in(folder)) == ({}, {})


def test_a_file_by_the_name_that_is_said(folder: ModelsFolder, given: Path) -> None:
    (result,) = take(folder, put(given, "x.bin", WEIGHTS), name="second.h5")
    assert result.names == ("second.h5",)
    assert isinstance(error_of(take(folder, put(given, "y", b"y"), name="second.onnx")), ModelCorrupt)


@pytest.mark.parametrize(
    ("name", "message"),
    [("second.h6", r"did you mean second\.h5\?"), ("zzz", "there are: "), ("../pins.json", "no pack has a file")],
)
def test_names_that_there_are_not(folder: ModelsFolder, given: Path, name: str, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        take(folder, put(given, "x", b"x"), name=name)


def test_one_name_is_for_one_file(folder: ModelsFolder, given: Path) -> None:
    for paths in ([], [given], [put(given, "a", b"a"), put(given, "b", b"b")]):
        with pytest.raises(InvalidOption, match="a name is for one file"):
            take(folder, *paths, name="second.h5")


def test_a_file_that_is_none(folder: ModelsFolder, given: Path) -> None:
    message = str(error_of(take(folder, put(given, "x", b"anything"))))
    assert sha256(b"anything") in message
    assert "second.h5" in message  # which has no hash and may be named
    assert not folder.path.exists()


@pytest.mark.parametrize("content", [b"", SECOND[:-1], SECOND + b"x", bytes(len(SECOND))])
def test_a_damaged_file_of_a_known_name(folder: ModelsFolder, given: Path, content: bytes) -> None:
    refusal = error_of(take(folder, put(given, "second.onnx", content)))
    assert isinstance(refusal, ModelCorrupt)
    assert f"instead of {sha256(SECOND)}" in str(refusal)
    assert files_in(folder) == {}


def test_paths_that_cannot_be_read(folder: ModelsFolder, given: Path) -> None:
    assert "No such file" in str(error_of(take(folder, given / "none")))
    if hasattr(os, "mkfifo"):
        os.mkfifo(given / "pipe")
        assert "is no file" in str(error_of(take(folder, given / "pipe")))
    if Path("/dev/zero").exists():
        assert "is no file" in str(error_of(take(folder, Path("/dev/zero"))))


def test_one_file_stops_no_other(folder: ModelsFolder, given: Path) -> None:
    results = take(folder, given / "none", put(given, "a", SECOND), put(given, "b", b"?"), put(given, "c", FIRST))
    assert [bool(result.error) for result in results] == [True, False, True, False]
    assert files_in(folder) == {"second.onnx": SECOND, "shared.onnx": FIRST}
    assert folder.installed(TINY) == "yes"


def test_a_folder_that_is_full(folder: ModelsFolder, given: Path) -> None:
    (folder.path / "files").mkdir(parents=True)
    (folder.path / "files" / "second.onnx" / "in the way").mkdir(parents=True)
    assert isinstance(error_of(take(folder, put(given, "a", SECOND))), PullFailed)
    assert list((folder.path / "partial").iterdir()) == []


def test_a_folder(folder: ModelsFolder, given: Path) -> None:
    for name, content in {"README.md": b"hello", "deep/er/a.bin": FIRST, ".git/b": SECOND, "empty": b""}.items():
        put(given, name, content)
    assert [result.names for result in take(folder, given)] == [("shared.onnx",)]
    assert files_in(folder) == {"shared.onnx": FIRST}


def test_a_folder_with_a_damaged_file(folder: ModelsFolder, given: Path) -> None:
    put(given, "shared.onnx", b"damaged")
    put(given, "x", SECOND)
    assert [(result.names, bool(result.error)) for result in take(folder, given)] == [
        ((), True),
        (("second.onnx",), False),
    ]


def test_the_folder_of_models_itself(folder: ModelsFolder, given: Path) -> None:
    take(folder, put(given, "a", SECOND), put(given, "second.h5", WEIGHTS))
    before = files_in(folder)
    assert {result.names for result in take(folder, folder.path)} == {("second.onnx",), ("second.h5",)}
    assert files_in(folder) == before


def test_a_folder_without_models(folder: ModelsFolder, given: Path) -> None:
    assert "holds no file of any pack" in str(error_of(take(folder, given)))


def test_an_archive(folder: ModelsFolder, given: Path) -> None:
    path = put(given, "renamed.bin", ZIPPED)
    assert take(folder, path, accept=True) == [Imported(path, ("third.onnx", "fourth.onnx"))]
    assert files_in(folder) == {"third.onnx": THIRD, "fourth.onnx": FOURTH}
    assert path.read_bytes() == ZIPPED


def test_a_damaged_archive(folder: ModelsFolder, given: Path) -> None:
    refusal = error_of(take(folder, put(given, "pair.zip", ZIPPED[:-1]), accept=True))
    assert "is not the pair.zip that visavis knows" in str(refusal)
    assert files_in(folder) == {}


def test_an_archive_without_a_hash(folder: ModelsFolder, given: Path) -> None:
    (result,) = take(folder, put(given, "named.zip", zip_of(in_named=b"some weights")))
    assert result.names == ("in_named.onnx",)
    assert folder.pins() == {"in_named.onnx": sha256(b"some weights")}
    assert "holds no" in str(error_of(take(folder, put(given, "named.zip", zip_of(other=b"x")))))


def test_a_licence_is_asked_for(folder: ModelsFolder, given: Path) -> None:
    path = put(given, "third.onnx", THIRD)
    refusal = error_of(take(folder, path))
    assert isinstance(refusal, LicenceNotAccepted)
    assert "research only" in str(refusal)
    assert files_in(folder) == {}
    take(folder, path, accept=True)
    assert list(json.loads((folder.path / "licences.json").read_text())) == ["research"]
    (result,) = take(folder, put(given, "x", FOURTH))  # asked only once
    assert result.names == ("fourth.onnx",)


# --- verify


def faults(packs: list[Pack], folder: ModelsFolder, *, missing: bool = True) -> dict[str, str | None]:
    return {result.name: result.fault for result in verify(packs, folder, missing_is_fault=missing)}


def test_verify_nothing(folder: ModelsFolder) -> None:
    assert faults([], folder) == {}
    assert faults([TINY], folder, missing=False) == {}
    assert faults([TINY], folder)["shared.onnx"] == "it is not here: visavis models pull tiny"
    assert not folder.path.exists()


def test_verify_reads_everything_again(folder: ModelsFolder, given: Path) -> None:
    take(folder, put(given, "a", FIRST), put(given, "b", SECOND), put(given, "second.h5", WEIGHTS))
    assert faults([TINY, OLD], folder) == {"shared.onnx": None, "second.onnx": None, "second.h5": None}
    results = {result.name: result for result in verify([OLD], folder)}
    assert (results["second.h5"].pinned, results["shared.onnx"].pinned) == (True, False)
    put(folder.path / "files", "second.onnx", bytes(len(SECOND)))
    put(folder.path / "files", "second.h5", b"Weights")
    found = faults([TINY, OLD], folder)
    assert (found["shared.onnx"], found["second.onnx"]) == (
        None,
        f"its SHA-256 is {sha256(bytes(len(SECOND)))} instead of {sha256(SECOND)}: pull or import it again",
    )
    assert sha256(WEIGHTS) in (found["second.h5"] or "")


def test_verify_tells_of_what_nobody_pinned(folder: ModelsFolder) -> None:
    put(folder.path / "files", "second.h5", WEIGHTS)
    assert "nobody has pinned its SHA-256" in (faults([OLD], folder)["second.h5"] or "")


def test_verify_tells_of_a_pin_that_is_lost(folder: ModelsFolder, given: Path) -> None:
    take(folder, put(given, "x", FOURTH[:99]))
    assert faults([INTEL], folder, missing=False) == {"sha384.bin": None}
    (folder.path / "pins.json").unlink()
    assert "nobody has pinned its SHA-256: pull or import it again" in (faults([INTEL], folder)["sha384.bin"] or "")
    take(folder, put(given, "x", FOURTH[:99]))
    assert faults([INTEL], folder) == {"sha384.bin": None}


def test_verify_the_package(folder: ModelsFolder) -> None:
    assert set(faults([DLIB], folder).values()) == {None}
    detector = DLIB.part("detector")
    missing = replace(detector, files=(replace(detector.files[0], package="no_such_package", requirement="this-one"),))
    found = faults([replace(DLIB, parts=(missing,))], folder)
    assert found == {detector.files[0].name: "it is not installed: pip install this-one"}


def test_verify_what_cannot_be_read(folder: ModelsFolder) -> None:
    (folder.path / "files" / "second.onnx").mkdir(parents=True)
    assert faults([TINY], folder)["second.onnx"] == "it is not here: visavis models pull tiny"


# --- remove


@pytest.fixture
def full(folder: ModelsFolder, given: Path) -> ModelsFolder:
    """A folder with the packs tiny, old and research."""
    put(given, "pair.zip", ZIPPED)
    put(given, "second.h5", WEIGHTS)
    put(given, "a", FIRST)
    put(given, "b", SECOND)
    take(folder, given, accept=True)
    return folder


def test_remove_what_is_not_there(folder: ModelsFolder) -> None:
    removal = remove([TINY], folder)
    assert (removal.removed, removal.freed, removal.kept, removal.unpinned) == ((), 0, {}, ())
    assert removal.absent == ("tiny",)


def test_remove_of_which_only_what_another_needs_is_there(folder: ModelsFolder, given: Path) -> None:
    take(folder, put(given, "a", FIRST), put(given, "second.h5", WEIGHTS))
    removal = remove([TINY], folder, dry_run=True)
    assert (removal.absent, removal.kept) == (("tiny",), {"shared.onnx": "old"})
    put(folder.path / "partial", "second.onnx.part", b"1")
    assert remove([TINY], folder).absent == ()


def test_remove_keeps_what_others_need(full: ModelsFolder) -> None:
    removal = remove([TINY], full)
    assert (removal.removed, removal.freed) == (("second.onnx",), len(SECOND))
    assert (removal.kept, removal.absent) == ({"shared.onnx": "old"}, ())
    assert full.installed(OLD) == "yes"
    assert full.installed(TINY) == "partly"
    # What is left of it is needed by no pack that is complete, when that one goes too.
    assert set(remove([OLD], full).removed) == {"shared.onnx", "second.h5"}
    assert set(files_in(full)) == {"third.onnx", "fourth.onnx"}


def test_remove_several(full: ModelsFolder) -> None:
    removal = remove([TINY, OLD, RESEARCH], full)
    assert set(removal.removed) == {"shared.onnx", "second.onnx", "second.h5", "third.onnx", "fourth.onnx"}
    assert removal.kept == {}
    assert files_in(full) == {}


def test_a_dry_run_changes_nothing(full: ModelsFolder) -> None:
    before = {path: path.read_bytes() for path in full.path.rglob("*") if path.is_file()}
    removal = remove([TINY, OLD], full, dry_run=True, unpin=True)
    assert set(removal.removed) == {"shared.onnx", "second.onnx", "second.h5"}
    assert removal.unpinned == ("second.h5",)
    assert {path: path.read_bytes() for path in full.path.rglob("*") if path.is_file()} == before


def test_pins_outlive_files_unless_they_are_to_go(full: ModelsFolder, given: Path) -> None:
    remove([OLD], full)
    assert full.pins() == {"second.h5": sha256(WEIGHTS)}
    assert isinstance(error_of(take(full, put(given, "second.h5", OTHERS))), ModelCorrupt)
    assert remove([OLD], full, unpin=True).unpinned == ("second.h5",)
    assert full.pins() == {}
    take(full, put(given, "second.h5", OTHERS))
    assert full.pins() == {"second.h5": sha256(OTHERS)}


def test_partial_downloads_go_too(full: ModelsFolder) -> None:
    for name in ("second.onnx", "pair.zip", "third.onnx"):
        put(full.path / "partial", f"{name}.part", b"123")
    assert remove([TINY, RESEARCH], full).freed == len(SECOND) + len(THIRD) + len(FOURTH) + 9
    assert list((full.path / "partial").iterdir()) == []


# --- real files


def test_the_real_files_are_recognised(test_data: Path, tmp_path: Path) -> None:
    """The test data hold the files of the pack open, and others: builds of other releases, and licences."""
    folder = ModelsFolder(tmp_path / "models")
    results = take(folder, test_data / "models")
    names = {name for result in results for name in result.names}
    needed = {file.name for role in ("detector", "embedder", "liveness", "pose") for file in OPEN.part(role).files}
    assert names == needed
    assert folder.installed(OPEN) == "yes"
    # Of the same name and another build: told, and not taken.
    refused = [result.path for result in results if result.error]
    assert refused
    assert all("FP16-INT8" in str(path) for path in refused)
    assert faults([OPEN], folder) == dict.fromkeys(needed)
    assert Recognizer("open", threads=1, models_dir=folder.path).pack.name == "open"
    assert packs_with("face_detection_yunet_2023mar.onnx")[0] == OPEN
