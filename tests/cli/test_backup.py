"""The command ``visavis backup``: one file that is whole or not there, and the way back that its help tells."""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import OnlyPack, Shell

from visavis.cli.commands.backup import EXAMPLES
from visavis.galleries.store import open_store
from visavis.server.keys import KeyStore
from visavis.service.galleries import Galleries

# Kills the process where a file is about to be added to the archive, or the archive to get its name.
KILLED = """
import os, signal, sys, tarfile
from visavis import files
from visavis.cli.main import main

def kill(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

moment = sys.argv.pop(1)
if moment == "second member":
    add = tarfile.TarFile.add
    tarfile.TarFile.add = lambda self, path, name: kill() if self.members else add(self, path, name)
elif moment == "name":
    files.rename_new = kill
    files.Path.replace = kill
main(sys.argv[1:])
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where galleries and keys of the test's user are: a gallery and a key."""
    monkeypatch.delenv("VISAVIS_STORE", raising=False)
    place = Path(os.environ["XDG_DATA_HOME"], "visavis")
    place.mkdir(parents=True)
    galleries = Galleries(open_store(f"sqlite:///{place / 'visavis.db'}"), OnlyPack(), actor="user test")
    galleries.create("team")
    galleries.store.close()
    keys = KeyStore(place / "keys.sqlite")
    keys.create("door", "read")
    keys.close()
    return place


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Path) -> Shell:
    shell = Shell(capsys, monkeypatch, tmp_path, {})
    monkeypatch.delenv("VISAVIS_STORE")
    assert place.is_dir()
    return shell


@pytest.fixture
def busy(place: Path) -> Iterator[None]:
    """Connections of a server that has both files open, and unwritten changes in their logs."""
    store, keys = open_store(f"sqlite:///{place / 'visavis.db'}"), KeyStore(place / "keys.sqlite")
    galleries = Galleries(store, OnlyPack(), actor="user test")
    galleries.create("late")
    keys.create("late", "admin")
    yield
    store.close()
    keys.close()


@pytest.mark.usefixtures("busy")
def test_the_way_back_that_the_help_tells(shell: Shell, place: Path) -> None:
    outcome = shell("backup", "all.tar")
    assert (outcome.code, outcome.out) == (0, "")
    assert Path("all.tar").stat().st_mode & 0o777 == 0o600
    assert list(shell.folder.iterdir()) == [shell.folder / "all.tar"]
    shell("gallery", "create", "later")
    for path in [*place.glob("visavis.db*"), *place.glob("keys.sqlite*")]:
        path.unlink()
    (command,) = re.findall(r"^  (tar .*)$", EXAMPLES, re.MULTILINE)
    done = command.replace("FILE", "all.tar").replace("~/.local/share", os.environ["XDG_DATA_HOME"])
    subprocess.run(done.split(), check=True)
    assert [line.split()[0] for line in shell("gallery", "list").out.splitlines()] == ["late", "team"]
    assert [line.split()[-1] for line in shell("keys", "list").out.splitlines()] == ["door", "late"]
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_a_file_that_is_there_stays_unless_it_is_to_go(shell: Shell) -> None:
    Path("all.tar").write_text("mine")
    outcome = shell("backup", "all.tar")
    assert (outcome.code, Path("all.tar").read_text()) == (2, "mine")
    assert outcome.err == "visavis: all.tar exists already; name a new file, or replace it with --force\n"
    assert shell("backup", "all.tar", "--force").code == 0
    with tarfile.open("all.tar") as archive:
        assert archive.getnames() == ["keys.sqlite", "visavis.db"]


def test_what_is_not_there_is_said(shell: Shell, place: Path) -> None:
    (place / "visavis.db").unlink()
    outcome = shell("backup", "keys.tar")
    assert (outcome.code, "there is nothing to back up" in outcome.err) == (1, True)
    outcome = shell("backup", "other.tar", "--store", "postgresql://nobody@127.0.0.1:1/nothing")
    assert (outcome.code, "use pg_dump" in outcome.err) == (1, True)
    for name in ("keys.tar", "other.tar"):
        with tarfile.open(name) as archive:
            assert archive.getnames() == ["keys.sqlite"]
    (place / "keys.sqlite").unlink()
    outcome = shell("backup", "none.tar")
    assert (outcome.code, Path("none.tar").exists()) == (2, False)
    assert shell("backup", "nowhere/none.tar").code == 2


@pytest.mark.parametrize("moment", ["second member", "name"])
def test_a_kill_in_the_middle_leaves_what_was_there(shell: Shell, place: Path, moment: str) -> None:
    Path("old.tar").write_text("the backup of yesterday")
    for command in (("new.tar",), ("old.tar", "--force")):
        process = subprocess.run([sys.executable, "-c", KILLED, moment, "backup", *command], check=False)
        assert process.returncode == -9
    assert (Path("new.tar").exists(), Path("old.tar").read_text()) == (False, "the backup of yesterday")
    left = [path for path in shell.folder.rglob("*") if path.is_file() and path.name != "old.tar"]
    assert left
    assert {path.stat().st_mode & 0o777 for path in left} == {0o600}
    assert shell("backup", "new.tar").code == 0
    assert [line.split()[0] for line in shell("gallery", "list").out.splitlines()] == ["team"]
    assert (place / "keys.sqlite").is_file()
