"""New keys for encrypted galleries and for their store, while others go on, and after a kill."""

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from store_kinds import GALLERY, KEY, content, enrol, make, new_samples, origin, vectors

from visavis.errors import GalleryLocked, InvalidOption
from visavis.galleries.records import Details
from visavis.galleries.sqlite import keys as sqlite_keys
from visavis.galleries.sqlite.store import SqliteStore

NEW = bytes(range(32, 64))
COUNT = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An encrypted gallery of forty people, of whom some were forgotten."""
    with closing(SqliteStore(path, key=KEY)) as store:
        make(store)
        batch = new_samples([f"s{at % 30}" for at in range(COUNT)], vectors(COUNT))
        enrol(store, [with_all(one, at) for at, one in enumerate(batch)])
        store.forget_subjects(GALLERY, ["s3", "s4"], origin())
        store.update(GALLERY, "s5", Details(name="another"), origin())
        yield store


def with_all(sample, at: int):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  # a new sample
    return replace(sample, details=Details(name=f"name {at}"), picture=bytes([at]) * 9000, source="x", key=f"key {at}")


def cells(path: Path) -> set[bytes]:
    """Return all that is sealed, and the wrapped keys."""
    with closing(sqlite3.connect(path)) as connection:
        columns = ["embedding FROM samples", "about FROM samples", "content FROM details", "data FROM pictures"]
        columns += ["wrapped FROM keys", "wrapped FROM new_keys"]
        rows = [row for column in columns for row in connection.execute(f"SELECT {column}")]  # one of these
    return {value for (value,) in rows if value is not None}


def left_in_files(old: set[bytes], path: Path) -> set[bytes]:
    data = b"".join(file.read_bytes() for file in path.parent.iterdir())
    return {value for value in old if any(value[at : at + 24] in data for at in range(0, len(value) - 23, 500))}


def is_sealed_with_one_key(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        ((unfinished,),) = connection.execute("SELECT count(wrapped) FROM new_keys").fetchall()
    return not unfinished


def test_a_gallery_gets_a_new_key(store: SqliteStore, path: Path) -> None:
    make(store, "other")
    before, old = content(store), cells(path)
    entries = len(store.entries(limit=1000))
    with closing(sqlite3.connect(path)) as connection:
        ((other,),) = connection.execute("SELECT wrapped FROM keys WHERE number = 2").fetchall()
    assert store.rekey(GALLERY, origin()) == before[0]
    assert is_sealed_with_one_key(path)
    assert cells(path) & old == {other}
    assert left_in_files(old, path) == {other}
    assert store.entries(limit=1000)[-1].action == "rekey"
    assert len(store.entries(limit=1000)) == entries + 1
    for each in (store, SqliteStore(path, key=KEY)):
        assert content(each) == before
        assert each.check(GALLERY).damaged == ()
        assert each.keyed(GALLERY, ["key 7"])["key 7"].subject.id == "s7"
        assert [matches[0].subject for matches in each.search(GALLERY, vectors(COUNT)[5:7], 1)] == ["s5", "s6"]


def test_who_kept_the_old_key_opens_nothing_new(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        old = connection.execute("SELECT wrapped, seal, policy FROM keys JOIN galleries USING (number)").fetchone()
    store.rekey(GALLERY, origin())
    store.backup(tmp_path / "backup.db", origin())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE keys SET wrapped = ?", old[:1])
        connection.execute("UPDATE galleries SET seal = ?, policy = ?", old[1:])
    assert (store.samples(GALLERY), store.subjects(GALLERY)) == ((), ())


def test_plain_galleries_have_no_key(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "plain.db")) as plain:
        make(plain)
        with pytest.raises(InvalidOption, match="not encrypted"):
            plain.rekey(GALLERY, origin())
        with pytest.raises(GalleryLocked, match="VISAVIS_GALLERY_KEY"):
            plain.rewrap(origin())


@contextmanager
def cut_short(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Break off a change of keys after some of its steps."""
    whole, steps = sqlite_keys._seal_anew, iter(range(after))  # noqa: SLF001  # it is broken off between two

    def step(*arguments):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202  # as they are
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_keys, "_seal_anew", step)
        patch.setattr(sqlite_keys, "_SEALED", tuple(each._replace(at_once=7) for each in sqlite_keys._SEALED))  # noqa: SLF001  # see above
        with suppress(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("after", [0, 1, 6, 9, 15, 20, 25])
def test_what_was_broken_off_goes_on(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before, old = content(store), cells(path)
    with cut_short(monkeypatch, after):
        store.rekey(GALLERY, origin())
    assert not is_sealed_with_one_key(path)
    other = SqliteStore(path, key=KEY)
    for each in (store, other):
        assert content(each) == before
        assert each.check(GALLERY).damaged == ()
    enrol(other, [with_all(new_samples(["new"], vectors(1, seed=9))[0], 99)])
    other.update(GALLERY, "s6", Details(name="between"), origin())
    other.set_policy(GALLERY, before[0].policy, origin())  # type: ignore[attr-defined]  # the gallery
    other.forget_subjects(GALLERY, ["s7"], origin())
    between = content(store)
    store.rekey(GALLERY, origin())
    assert is_sealed_with_one_key(path)
    assert left_in_files(old, path) == set()
    for each in (store, SqliteStore(path, key=KEY)):
        assert content(each) == between
        assert each.check(GALLERY).damaged == ()
        assert each.search(GALLERY, vectors(1, seed=9), 1)[0][0].subject == "new"


def test_a_gallery_is_forgotten_with_both_keys(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cut_short(monkeypatch, 8):
        store.rekey(GALLERY, origin())
    old = cells(path)
    assert store.drop(GALLERY, origin()).overwritten
    assert left_in_files(old, path) == set()


def test_two_changes_at_a_time_lose_nothing(store: SqliteStore, path: Path) -> None:
    before = content(store)
    stores = [SqliteStore(path, key=KEY) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda each=each: [each.rekey(GALLERY, origin()) for _ in range(4)]) for each in stores
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert content(store) == before
        assert len(store.search(GALLERY, vectors(1), 5)[0]) == 5
    assert is_sealed_with_one_key(path)
    assert store.check(GALLERY).damaged == ()
    for each in stores:
        each.close()


def rekey_for_ever(path: str) -> None:
    few = tuple(each._replace(at_once=3) for each in sqlite_keys._SEALED)  # noqa: SLF001  # many steps
    sqlite_keys._SEALED = few  # type: ignore[assignment]  # noqa: SLF001  # four as before
    with closing(SqliteStore(Path(path), key=KEY)) as store:
        while True:
            store.rekey(GALLERY, origin())


@pytest.mark.thorough
def test_who_is_killed_loses_nothing(store: SqliteStore, path: Path) -> None:
    before = content(store)
    store.close()
    spawn = multiprocessing.get_context("spawn")
    for turn in range(3):
        child = spawn.Process(target=rekey_for_ever, args=(str(path),))
        child.start()
        began = time.monotonic()
        while time.monotonic() - began < 60 and len(store.entries(limit=10_000)) < 6 + 2 * turn:
            assert content(store) == before
        time.sleep(0.013 * turn)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        assert content(store) == before
    store.rekey(GALLERY, origin())
    assert is_sealed_with_one_key(path)
    assert content(store) == before
    assert store.check(GALLERY).damaged == ()


def test_the_key_of_the_store_changes_without_a_stop(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, "half")
    enrol(store, new_samples(["x"], vectors(1)), gallery="half")
    with cut_short(monkeypatch, 0):
        store.rekey("half", origin())  # which has two keys then
    before, half, old = content(store), content(store, "half"), cells(path)
    with pytest.raises(GalleryLocked, match="another key"):
        SqliteStore(path, key=NEW).gallery(GALLERY)
    both = SqliteStore(path, key=(NEW, KEY))  # servers are restarted with both keys, one by one
    assert content(both) == before
    assert both.rewrap(origin()) == ()
    for keys in ((NEW, KEY), NEW, (KEY, NEW)):
        with closing(SqliteStore(path, key=keys)) as each:
            assert (content(each), content(each, "half")) == (before, half)
    assert content(both) == before
    make(both, "later")
    assert SqliteStore(path, key=NEW).gallery("later").encrypted
    with pytest.raises(GalleryLocked, match="another key"):
        SqliteStore(path, key=KEY).gallery(GALLERY)
    with pytest.raises(GalleryLocked, match="another key"):
        store.samples(GALLERY)
    assert len(left_in_files(old, path)) == len(old) - 3  # the wrapped keys are gone
    both.rekey("half", origin())
    assert content(both, "half") == half


@pytest.mark.usefixtures("store")
def test_galleries_of_a_third_key_stay_as_they_are(path: Path) -> None:
    with closing(SqliteStore(path, key=bytes(32))) as third:
        make(third, "theirs")
        before = content(third, "theirs")
        assert SqliteStore(path, key=(NEW, KEY)).rewrap(origin()) == ("theirs",)
        assert content(third, "theirs") == before
    assert SqliteStore(path, key=NEW).gallery(GALLERY).samples == COUNT - 4
