"""What a store does where its disk is full to the last byte: it forgets, it reads, and it says what it did not do."""

import os
import random
import string
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service_kinds import FakeEyes, at
from store_kinds import GALLERY, KEY, content, enrol, make, new_samples, origin, vectors

from visavis.errors import StoreFull
from visavis.galleries.records import Details, Erased, NewSample
from visavis.galleries.sqlite import file as sqlite_file
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.service.galleries import Galleries

DISK_BYTES = 24_000_000
DIMENSION = 64
PICTURE_BYTES = 300_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)]
    if os.name != "posix" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk that is small enough to be filled")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # noqa: S607  # wherever it is


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def store(disk: Path, request: pytest.FixtureRequest) -> Iterator[SqliteStore]:
    with closing(SqliteStore(disk / "faces.db", key=request.param, patience_s=0.2)) as store:
        make(store, dimension=DIMENSION)
        yield store


def fill(disk: Path) -> None:
    """Leave no byte of room."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 16, 4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:  # noqa: PERF203
                pass


def people(count: int, samples: int = 1, picture_bytes: int = 0, seed: int = 0) -> list[NewSample]:
    """Return samples of so many people, of each of whom all is like nothing else."""
    generator = random.Random(seed)  # noqa: S311  # no secret
    faces = new_samples([f"s{at // samples}" for at in range(count * samples)], vectors(count * samples, DIMENSION))
    return [
        replace(
            face,
            details=Details(name="".join(generator.choices(string.ascii_letters, k=24))),
            picture=generator.randbytes(picture_bytes) or None,
        )
        for face in faces
    ]


def left_of(disk: Path, samples: list[NewSample]) -> int:
    """Return how much of samples is still found in the files of a store, without a key."""
    files = b"".join(file.read_bytes() for file in disk.iterdir() if file.name != "filler")
    texts = [sample.details.name.encode() for sample in samples if sample.details.name]
    texts += [sample.embedding.tobytes() for sample in samples]
    texts += [sample.picture[-5000:] for sample in samples if sample.picture]
    return sum(text in files for text in texts)


FORGETTINGS: dict[str, Callable[[SqliteStore], Erased]] = {
    "sample": lambda store: store.forget_samples(GALLERY, [1], origin(5)),
    "subject": lambda store: store.forget_subjects(GALLERY, ["s0"], origin(5)),
    "expired": lambda store: store.expire(GALLERY, origin(5)),
    "gallery": lambda store: store.drop(GALLERY, origin(5)),
}


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("what", FORGETTINGS)
def test_whoever_is_to_be_forgotten_is(disk: Path, store: SqliteStore, what: str, reopened: bool) -> None:  # noqa: FBT001  # a parameter of the test
    faces = people(200)
    faces[0] = replace(faces[0], details=replace(faces[0].details, expires_at=origin(1).at))
    enrol(store, faces)
    others = left_of(disk, faces[1:])
    if reopened:
        store.close()
    fill(disk)
    assert len(store.search(GALLERY, vectors(1, DIMENSION), 3)[0]) == 3
    assert len(store.subjects(GALLERY, limit=1000)) == 200
    with pytest.raises(StoreFull, match=r"^nothing was stored: .*faces\.db has no room left on its disk; make room"):
        enrol(store, people(200, seed=1))
    erased = FORGETTINGS[what](store)
    assert erased.overwritten
    assert (erased.samples, len(erased.subjects)) == ((200, 200) if what == "gallery" else (1, 1))
    sample_only = what == "sample"
    assert left_of(disk, faces[:1]) <= sample_only  # the name stays with its subject
    assert left_of(disk, faces[1:]) == (0 if what == "gallery" else others)
    (disk / "filler").unlink()
    make(store, "another", dimension=DIMENSION)
    enrol(store, people(200, seed=1), gallery="another")


def test_it_goes_on_being_possible(disk: Path, store: SqliteStore) -> None:
    faces = people(200)
    enrol(store, faces)
    fill(disk)
    for number in range(200):
        assert store.forget_subjects(GALLERY, [f"s{number}"], origin(number)).overwritten
        if number % 50 == 0:
            store.close()
        fill(disk)
    assert left_of(disk, faces) == 0
    assert len(store.entries(limit=1000)) >= 202


@pytest.mark.parametrize("what", ["subject", "expired", "gallery"])
def test_much_is_forgotten_in_parts(disk: Path, store: SqliteStore, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_LARGEST_RESERVE", 1 << 20)  # in which not all of it has room at once
    faces = people(2, samples=10, picture_bytes=PICTURE_BYTES)
    faces[:10] = [replace(face, details=replace(face.details, expires_at=origin(1).at)) for face in faces[:10]]
    enrol(store, faces)
    fill(disk)
    erased = FORGETTINGS[what](store)
    assert (erased.samples, len(erased.subjects)) == ((20, 2) if what == "gallery" else (10, 1))
    assert erased.overwritten
    assert left_of(disk, faces[:10]) == 0
    if what != "gallery":
        assert len(store.samples(GALLERY)) == 10


@pytest.mark.thorough
def test_a_gallery_of_many_is_dropped_in_parts(disk: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_LARGEST_RESERVE", 1 << 20)
    faces = people(5000)
    enrol(store, faces)
    assert store.forget_samples(GALLERY, [1], origin(1)).overwritten  # brings everything into the file
    make(store, "other", dimension=DIMENSION)
    kept = enrol(store, people(3, seed=3), gallery="other")
    fill(disk)
    erased = store.drop(GALLERY, origin(5))
    assert (erased.samples, len(erased.subjects), erased.overwritten) == (4999, 5000, True)
    assert left_of(disk, faces[3:]) == 0
    assert [sample.id for sample in store.samples("other")] == [one.sample for one in kept]


def test_a_drop_in_parts_that_was_killed_may_be_repeated(
    disk: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_LARGEST_RESERVE", 1 << 19)
    monkeypatch.setattr("visavis.galleries.store._AT_ONCE", 100)
    faces = people(1000)
    enrol(store, faces)
    assert store.forget_samples(GALLERY, [1], origin(1)).overwritten
    fill(disk)
    forget, parts = SqliteStore._forget, list[Erased]()  # noqa: SLF001

    def killed(*arguments: Any, **options: Any) -> Erased:  # noqa: ANN401  # handed on
        parts.append(forget(*arguments, **options))
        if len(parts) == 3:
            raise KeyboardInterrupt
        return parts[-1]

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "_forget", killed)
        with pytest.raises(KeyboardInterrupt):
            store.drop(GALLERY, origin(5))
    assert [(len(part.subjects), part.overwritten) for part in parts] == [(100, True)] * 3
    assert store.gallery(GALLERY).subjects == 700
    assert left_of(disk, faces[:300]) == 0
    assert len(store.drop(GALLERY, origin(6)).subjects) == 700
    assert store.galleries() == ()
    assert left_of(disk, faces) == 0


def test_compacting_can_wait(disk: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.galleries.sqlite.schema._STUBS_KEPT", 50)
    monkeypatch.setattr(sqlite_file, "_LARGEST_RESERVE", 1 << 18)  # in which the whole file has no room twice
    faces = people(200)
    enrol(store, faces)
    fill(disk)
    assert store.forget_subjects(GALLERY, ["s199"], origin(5)).overwritten  # brings everything into the file
    size = (disk / "faces.db").stat().st_size
    assert store.forget_subjects(GALLERY, [f"s{number}" for number in range(150)], origin(5)).overwritten
    assert left_of(disk, faces[:150]) == 0
    assert (disk / "faces.db").stat().st_size >= size
    (disk / "filler").unlink()
    assert store.forget_subjects(GALLERY, ["s150"], origin(5)).overwritten
    assert (disk / "faces.db").stat().st_size < size
    assert len(store.samples(GALLERY)) == 48


UNDONE: dict[str, tuple[Callable[[SqliteStore], object], str]] = {
    "create": (lambda store: make(store, "new"), "no gallery was made: "),
    "update": (
        lambda store: store.update(GALLERY, "s1", Details(name="x"), origin(5)),
        "the subject was not changed: ",
    ),
    "policy": (lambda store: store.set_policy(GALLERY, Policy(), origin(5)), "the policy was not changed: "),
    "log": (
        lambda store: store.log("export", GALLERY, origin(5)),
        "export could not be logged, and has no answer for that reason: ",
    ),
}


@pytest.mark.parametrize("what", UNDONE)
def test_the_error_says_what_was_not_done(disk: Path, store: SqliteStore, what: str) -> None:
    enrol(store, people(3))
    before = content(store)
    fill(disk)
    call, words = UNDONE[what]
    with pytest.raises(StoreFull, match=f"^{words}") as caught:
        call(store)
    assert caught.value.undone in words
    assert content(store) == before


def test_without_a_reserve_nothing_is_forgotten_and_that_is_said(disk: Path, store: SqliteStore) -> None:
    enrol(store, people(4))
    assert store.forget_subjects(GALLERY, ["s3"], origin(1)).overwritten  # brings everything into the file
    (disk / "faces.db-reserve").unlink()
    fill(disk)
    for forget in (FORGETTINGS["subject"], FORGETTINGS["gallery"]):
        with pytest.raises(StoreFull, match=r"^nothing was forgotten, or not all of it: "):
            forget(store)
    assert len(store.subjects(GALLERY)) == 3


@pytest.mark.parametrize("unlogged", [False, True])
def test_searches_go_on_where_the_policy_says_so(disk: Path, unlogged: bool) -> None:  # noqa: FBT001  # a parameter of the test
    with closing(SqliteStore(disk / "faces.db")) as store:
        galleries = Galleries(store, FakeEyes())
        galleries.create("team", policy=Policy(search_unlogged=unlogged))
        team = galleries.open("team")
        team.enrol_embedding(at(0.0), "anna")
        fill(disk)
        entries = len(team.entries())
        if unlogged:
            (found,) = team.identify_embeddings(at(0.0)[None])
            assert found.match
            assert found.match.subject == "anna"
            assert team.verify_embedding(at(0.0), "anna")
        else:
            with pytest.raises(StoreFull, match=r"^identify could not be logged, and has no answer"):
                team.identify_embeddings(at(0.0)[None])
            with pytest.raises(StoreFull, match=r"^verify could not be logged, and has no answer"):
                team.verify_embedding(at(0.0), "anna")
        with pytest.raises(StoreFull):
            next(team.export())  # only searches may go unlogged
        assert [subject.id for subject in team.subjects()] == ["anna"]
        assert len(team.entries()) == entries
        assert team.forget_subject("anna").overwritten
