"""Files that are made for their owner alone, and replaced in one step."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from visavis.files import create_private, identity, rename_new, replacing, sync_file


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    create_private(path)
    assert (path.read_bytes(), mode_of(path)) == (b"", 0o600)
    with pytest.raises(FileExistsError):
        create_private(path)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(("private", "mode"), [(False, 0o640), (True, 0o600)])
def test_a_file_is_replaced_when_all_is_written(tmp_path: Path, *, private: bool, mode: int, durable: bool) -> None:
    path = tmp_path / "results"
    path.write_bytes(b"before")
    umask = os.umask(0o027)
    try:
        with replacing(path, private=private, durable=durable) as file:
            file.write(b"after")
            assert path.read_bytes() == b"before"
    finally:
        os.umask(umask)
    assert (path.read_bytes(), mode_of(path)) == (b"after", mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "results") as file:
        file.write(b"half" * (1 // (file.write(b"half") - 4)))
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_leads_to_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "file")
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere") as caught, replacing(tmp_path / "nowhere" / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "nowhere" / "file")


def test_a_device_is_written_to() -> None:
    with replacing(Path(os.devnull)) as file:
        file.write(b"gone")
    assert not Path(os.devnull).is_file()


def no_links(*_: object) -> None:
    raise OSError


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_new_name_is_taken_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, "link", link)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    sync_file(source)
    rename_new(source, target)
    assert target.read_bytes() == b"new"
    source.write_bytes(b"newer")
    target.unlink()
    target.write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        rename_new(source, target)
    assert target.read_bytes() == b"another's"


def test_two_paths_to_one_file_are_known(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    (tmp_path / "link").symlink_to(path)
    assert identity(path) == identity(tmp_path / "link") is not None
    assert identity(tmp_path / "none") is identity(Path("nul\0")) is None
