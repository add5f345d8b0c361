"""The cache of converted models: whole or rebuilt, and built by any number of processes at once."""

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from effort import effort

from visavis import ModelCorrupt, ModelMissing
from visavis.models import installation
from visavis.models.catalogue import DLIB
from visavis.models.installation import Installation, is_cached, read_source
from visavis.models.packs import Part
from visavis.models.runtime import RuntimeSpec

PART = DLIB.part("detector")
FILE = PART.files[0]


def converted(part: Part, convert: Callable[[bytes], bytes], cache_dir: Path) -> bytes:
    return Installation(RuntimeSpec(), cache_dir, cache_dir).converted(part, convert, ".bin")


def convert(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def must_not_convert(_data: bytes) -> bytes:
    raise AssertionError("converted again")


def cached_file(folder: Path) -> Path:
    (path,) = folder.glob("detector-*.bin")
    return path


def test_the_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    assert not is_cached(PART, tmp_path)
    first = converted(PART, convert, tmp_path / "new" / "folder")
    assert is_cached(PART, tmp_path / "new" / "folder")
    assert converted(PART, must_not_convert, tmp_path / "new" / "folder") == first


@pytest.mark.parametrize("damage", [b"", b"x", b"much longer than it ought to be" * 10])
def test_a_damaged_file_is_built_again(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    first = converted(PART, convert, tmp_path)
    cached_file(tmp_path).write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert converted(PART, convert, tmp_path) == first
    assert "damaged" in caplog.text
    assert cached_file(tmp_path).read_bytes() == first


def test_a_cache_that_cannot_be_written_is_not_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert converted(PART, convert, blocked / "cache") == convert(read_source(FILE))
    assert "cannot be written" in caplog.text


def test_a_damaged_file_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = converted(PART, convert, tmp_path)
    cached_file(tmp_path).write_bytes(b"")

    def refuse(path: Path, **_options: bool) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(installation, "replacing", refuse_to_write)
    assert converted(PART, convert, tmp_path) == first


def refuse_to_write(path: Path, **_options: bool) -> None:
    raise PermissionError(path)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_cached_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    converted(PART, convert, tmp_path)
    other = tmp_path / "other"
    other.touch()
    assert cached_file(tmp_path).stat().st_mode & 0o066 == other.stat().st_mode & 0o066


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    def fail(_data: bytes) -> bytes:
        raise ModelCorrupt("no")

    with pytest.raises(ModelCorrupt):
        converted(PART, fail, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="pip install this-one"):
        converted(
            replace(PART, files=(replace(FILE, package="no_such_package", requirement="this-one"),)), convert, tmp_path
        )
    with pytest.raises(ModelMissing, match="reinstall"):
        read_source(replace(FILE, path="models/none.dat"))


def test_a_file_that_is_not_the_pinned_one() -> None:
    with pytest.raises(ModelCorrupt, match="SHA-256 differs"):
        read_source(replace(FILE, sha256="0" * 64))
    with pytest.raises(ModelCorrupt, match="729940 bytes instead of 1"):
        read_source(replace(FILE, sha256="0" * 64, size=1))


def test_every_source_is_pinned_and_free() -> None:
    for file in DLIB.files:
        assert len(read_source(file)) == file.size
        assert file.licence == "public domain"
        assert "68" not in file.name


def test_another_conversion_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted(PART, convert, tmp_path)
    monkeypatch.setattr(installation, "_CONVERSION", installation._CONVERSION + 1)  # noqa: SLF001
    assert not is_cached(PART, tmp_path)


@pytest.mark.thorough
def test_several_processes_start_at_once(tmp_path: Path, hopper: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from visavis import Recognizer;"
        "print(len(Recognizer('dlib', threads=1, cache_dir=Path(sys.argv[1])).embed(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(hopper)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(effort(2, 8))
    ]
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, "1"), error
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["detector", "embedder", "landmarks"]
