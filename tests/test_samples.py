"""The photos that come with visavis: what the default pack makes of them, and their copies."""

from itertools import combinations
from pathlib import Path

import pytest
from command_line import Shell

from visavis import Galleries, Recognizer, open_store, samples
from visavis.models.recognizer import compare, value_of


@pytest.fixture(scope="module")
def sface(cache_dir: Path) -> Recognizer:
    return Recognizer("sface", precision="f32", cache_dir=cache_dir, threads=1)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path, {})


def test_the_default_pack_tells_them_apart(sface: Recognizer) -> None:
    paths = [
        *sorted(samples.PEOPLE.rglob("*.jpg")),
        *(p for p in sorted(samples.PHOTOS.iterdir()) if p.stem != "group"),
    ]
    assert len(paths) == 10
    faces = {}
    for path, found in zip(paths, sface.embed_many(paths, quality=True), strict=True):
        (faces[path],) = value_of(found)
    for (a, first), (b, second) in combinations(faces.items(), 2):
        name, other = (path.stem if path.parent == samples.PHOTOS else path.parent.name for path in (a, b))
        answer = compare(sface.pack, first, second, sface.rule)
        assert answer.decision == ("same" if name == other else "different"), (a, b)


def test_they_fill_a_gallery(sface: Recognizer, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/faces.db")
    team = Galleries(store, sface).get_or_create("team")
    for path in samples.PEOPLE.rglob("*.jpg"):
        team.enrol(path, path.parent.name)
    found = team.identify(samples.PHOTOS / "group.jpg")
    assert {face.match.subject if face.match else None for face in found} == {"anna", "ben", "clara", None}
    store.close()


def test_the_command_writes_and_names_them(shell: Shell) -> None:
    for _ in range(2):
        outcome = shell("samples")
        assert outcome.code == 0
        paths = outcome.out.splitlines()
        assert len(paths) == 11
        assert all((shell.folder / path).is_file() for path in paths)
    (shell.folder / "file").touch()
    outcome = shell("samples", "file")
    assert (outcome.code, outcome.out) == (2, "")
    assert "file cannot be written" in outcome.err


def test_copies_may_be_made_twice(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for _ in range(2):
        assert samples.copy(tmp_path) == tmp_path
        (tmp_path / "people" / "anna" / "1.jpg").write_bytes(b"changed")
    samples.copy(str(tmp_path))
    known = {
        path.relative_to(samples.PHOTOS.parent): path.read_bytes() for path in samples.PHOTOS.parent.rglob("*.jpg")
    }
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.jpg")} == known
    assert (tmp_path / "mine.txt").exists()
