"""Who can write the file of a store, and has no key: what they write in an encrypted gallery is refused."""

import hashlib
import hmac
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_kinds import NOON as NOW
from service_kinds import Clock, FakeEyes, at
from store_kinds import GALLERY, KEY, content, enrol, make, new_samples, origin, vectors

from visavis.errors import GalleryLocked, InvalidEmbedding, StoreDamaged
from visavis.galleries.records import Details
from visavis.galleries.sealing import Checker
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.service.galleries import Galleries
from visavis.types import EmbeddingSpace

SECRETS = ("anna", "ben", "cleo")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces.db"


@pytest.fixture
def owner(path: Path) -> Iterator[SqliteStore]:
    """An encrypted gallery of three people, with pictures, whose file is closed."""
    with closing(SqliteStore(path, key=KEY)) as store:
        make(store)
        batch = [
            replace(one, details=Details(name="Guest"), picture=b"png", source="door", key=f"key {at}")
            for at, one in enumerate(new_samples(SECRETS, vectors(3)))
        ]
        enrol(store, batch)
        assert len(store.search(GALLERY, vectors(1), 3)[0]) == 3  # and it is in memory
        yield store


def attack(path: Path, statement: str, *values: Any) -> list[Any]:  # noqa: ANN401  # whatever a cell may hold
    """Run a statement as somebody who has the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


@pytest.mark.parametrize("checked", [False, True])
def test_details_in_plain_are_no_details(owner: SqliteStore, path: Path, *, checked: bool) -> None:
    text = json.dumps({"id": "anna", "name": "Chief Executive", "metadata": {}, "consent": None})
    forged = Checker().seal(text.encode(), "details of subject 1") if checked else text
    attack(path, "UPDATE details SET content = ? WHERE number = 1", forged)
    for store in (owner, SqliteStore(path, key=KEY)):
        assert [subject.id for subject in store.subjects(GALLERY)] == ["ben", "cleo"]
        assert "Chief" not in repr(store.search(GALLERY, vectors(3), 3))
        with pytest.raises(StoreDamaged, match="number 1 "):
            store.subject(GALLERY, "anna")
        assert [(one.subject, one.what) for one in store.check(GALLERY).damaged] == [(1, "details")]


@pytest.mark.parametrize(("table", "column", "place"), [
    ("samples", "embedding", None), ("samples", "about", "about a sample of subject 1"),
    ("pictures", "data", "picture of sample 1"),
])  # fmt: skip
def test_nor_is_anything_else_taken_in_plain(
    owner: SqliteStore, path: Path, table: str, column: str, place: str | None
) -> None:
    about = b'{"quality":null,"source":"forged"}'
    forged = vectors(1).tobytes() if place is None else about
    key = "id" if table == "samples" else "sample"
    for value in (forged, forged.decode("latin-1"), Checker().seal(forged, place or "")):
        attack(path, f"UPDATE {table} SET {column} = ? WHERE {key} = 1", value)  # noqa: S608  # one of these
        assert [(one.sample, one.what) for one in owner.check(GALLERY).damaged] == [
            (1, column.replace("data", "picture"))
        ]
        there = [sample.id for sample in owner.samples(GALLERY)]
        assert there == ([1, 2, 3] if table == "pictures" else [2, 3])
    if table == "pictures":
        with pytest.raises(StoreDamaged, match="sample 1 "):
            owner.picture(GALLERY, 1)


def test_a_plain_gallery_takes_nothing_sealed(owner: SqliteStore, path: Path) -> None:
    owner.create("plain", EmbeddingSpace("s", 4, "euclidean"), Policy(), origin(), encrypted=False)
    enrol(owner, new_samples(["dan"], vectors(1)), gallery="plain")
    for table, number in (("details", 4), ("samples", 4)):
        column = "content" if table == "details" else "embedding"
        key = "number" if table == "details" else "id"
        (value,) = attack(path, f"SELECT {column} FROM {table} WHERE {key} = 1")[0]  # noqa: S608  # one of these
        attack(path, f"UPDATE {table} SET {column} = ? WHERE {key} = ?", value, number)  # noqa: S608  # one of these
    assert {one.what for one in owner.check("plain").damaged} == {"details", "embedding"}
    found = owner.subjects("plain"), owner.samples("plain"), owner.search("plain", vectors(1), 1)[0]
    assert found == ((), (), ())


CHANGES = {
    "not encrypted": "UPDATE galleries SET encrypted = 0",
    "not encrypted, with a key of nothing": "UPDATE galleries SET encrypted = 0; UPDATE keys SET wrapped = NULL",
    "a key of nothing": "UPDATE keys SET wrapped = NULL",
    "not sealed": "UPDATE galleries SET seal = NULL",
    "another policy": """UPDATE galleries SET policy = '{"threshold": 5.0}'""",
    "no policy": "UPDATE galleries SET policy = 'x'",
    "another policy, not sealed": """UPDATE galleries SET policy = '{"threshold": 5.0}', seal = NULL""",
    "another dimension": "UPDATE galleries SET dimension = 3",
    "another metric": "UPDATE galleries SET metric = 'cosine'",
    "another space": "UPDATE galleries SET space = 'space-2'",
    "made at another time": "UPDATE galleries SET created_at = created_at + 1",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("again", [False, True])
def test_what_decides_is_sealed(owner: SqliteStore, path: Path, change: str, *, again: bool) -> None:
    if again:
        owner.close()
    for statement in change.split(";"):
        attack(path, statement)
    before = attack(path, "SELECT count(*) FROM samples"), attack(path, "SELECT policy FROM galleries")
    calls = (
        lambda: owner.gallery(GALLERY),
        lambda: owner.search(GALLERY, vectors(1), 1),
        lambda: owner.samples(GALLERY),
        lambda: owner.subjects(GALLERY),
        lambda: owner.subject(GALLERY, "anna"),
        lambda: enrol(owner, new_samples(["new"], vectors(1, seed=1))),
        lambda: owner.update(GALLERY, "anna", Details(name="x"), origin()),
        lambda: owner.set_policy(GALLERY, Policy(), origin()),
        lambda: owner.check(GALLERY),
        lambda: owner.rekey(GALLERY, origin()),
    )
    for call in calls:
        with pytest.raises(
            (GalleryLocked, StoreDamaged, InvalidEmbedding), match=r"restore a backup|key is gone|shape"
        ):
            call()
    assert (attack(path, "SELECT count(*) FROM samples"), attack(path, "SELECT policy FROM galleries")) == before
    assert [gallery.name for gallery in owner.galleries()] == [GALLERY]
    assert owner.expire(GALLERY, origin()).subjects == ()
    assert owner.forget_subjects(GALLERY, [1], origin()).samples == 1  # to forget, nobody needs to read
    assert owner.drop(GALLERY, origin()).samples == 2


def test_a_row_is_of_its_own_gallery(owner: SqliteStore, path: Path) -> None:
    make(owner, "other")
    owner.set_policy("other", Policy(threshold=0.9), origin())
    attack(
        path,
        "UPDATE galleries SET (policy, seal) = (SELECT policy, seal FROM galleries WHERE number = 2) WHERE number = 1",
    )
    with pytest.raises(GalleryLocked):
        owner.gallery(GALLERY)
    attack(path, "UPDATE galleries SET name = 'x' WHERE number = 1")
    attack(path, "UPDATE galleries SET name = ? WHERE number = 2", GALLERY)
    with pytest.raises(GalleryLocked):
        owner.gallery(GALLERY)


def test_a_policy_in_the_row_identifies_no_stranger(path: Path) -> None:
    with closing(SqliteStore(path, key=KEY)) as store:
        galleries = Galleries(store, FakeEyes(), clock=Clock(NOW))
        galleries.create("team", policy=Policy(threshold=0.5))
        team = galleries.open("team")
        team.enrol_embedding(at(0), "anna")
        assert not team.identify_embeddings(at(3)[None])[0]
        policy = json.loads(attack(path, "SELECT policy FROM galleries")[0][0])
        attack(path, "UPDATE galleries SET policy = ?", json.dumps({**policy, "threshold": 5.0}))
        with pytest.raises(GalleryLocked):
            team.identify_embeddings(at(3)[None])
        assert galleries.forget("team").samples == 1


def test_who_lists_and_forgets_goes_on_beside_a_changed_gallery(path: Path) -> None:
    with closing(SqliteStore(path, key=KEY)) as store:
        clock = Clock(NOW)
        galleries = Galleries(store, FakeEyes(), clock=clock)
        for name in ("a", "b"):
            galleries.create(name, policy=Policy(retention_days=1))
            galleries.open(name).enrol_embedding(at(0), "anna")
            galleries.open(name).identify_embeddings(at(0)[None])
        attack(path, "UPDATE galleries SET policy = 'x' WHERE name = 'a'")
        clock.advance(days=2)
        assert galleries.expire() == 2
        assert {gallery.name for gallery in galleries.all()} == {"a", "b"}


def test_hashes_of_ids_cannot_be_tried_without_the_key(owner: SqliteStore, path: Path) -> None:
    ((hash_key,),) = attack(path, "SELECT hash_key FROM store")
    stored = {value for (value,) in attack(path, "SELECT id_hash FROM subjects")}
    stored |= {value for row in attack(path, "SELECT key_hash, fingerprint FROM samples") for value in row}
    texts = [f"id in {number}:{id_}" for number in range(5) for id_ in SECRETS]
    texts += [f"key:key {at}" for at in range(3)]
    texts += [f"fingerprint:{len(id_)}:{id_}" for id_ in SECRETS]
    tried = {hmac.digest(hash_key, text.encode(), hashlib.sha256)[:16] for text in texts}
    assert not tried & stored
    assert [owner.subject(GALLERY, id_).id for id_ in SECRETS] == list(SECRETS)  # type: ignore[union-attr]  # they are there
    assert owner.keyed(GALLERY, ["key 1"])["key 1"].sample == 2


def test_ids_of_two_subjects_cannot_change_places(owner: SqliteStore, path: Path) -> None:
    (first, second) = attack(path, "SELECT id_hash FROM subjects WHERE number IN (1, 2)")
    attack(path, "UPDATE subjects SET id_hash = x'00' WHERE number = 1")
    attack(path, "UPDATE subjects SET id_hash = ? WHERE number = 2", *first)
    attack(path, "UPDATE subjects SET id_hash = ? WHERE number = 1", *second)
    with pytest.raises(StoreDamaged):
        owner.subject(GALLERY, "anna")
    assert [one.subject for one in owner.check(GALLERY).damaged] == [1, 2]


def test_a_sample_cannot_be_given_to_somebody_else(owner: SqliteStore, path: Path) -> None:
    attack(path, "UPDATE samples SET subject = 1 WHERE id = 2")
    for store in (owner, SqliteStore(path, key=KEY)):
        assert [sample.id for sample in store.samples(GALLERY)] == [1, 3]
    assert {match.subject for match in SqliteStore(path, key=KEY).search(GALLERY, vectors(3)[1:2], 3)[0]} == {
        "anna",
        "cleo",
    }


def test_enrolling_in_plain_where_there_is_a_key_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(SqliteStore(path, key=KEY)) as store:
        store.create("plain", EmbeddingSpace("s", 4, "euclidean"), Policy(), origin(), encrypted=False)
        with caplog.at_level(logging.WARNING):
            for at_ in range(3):
                enrol(store, new_samples([f"s{at_}"], vectors(1, seed=at_)), gallery="plain")
    assert [record.message for record in caplog.records] == [
        "gallery plain is not encrypted, though there is a key for galleries that are"
    ]


def test_without_the_key_a_policy_is_not_changed(owner: SqliteStore, path: Path) -> None:
    before = content(owner)
    with closing(SqliteStore(path)) as stranger:
        assert stranger.gallery(GALLERY) == owner.gallery(GALLERY)
        with pytest.raises(GalleryLocked, match="VISAVIS_GALLERY_KEY"):
            stranger.set_policy(GALLERY, Policy(threshold=0.4), origin())
        with pytest.raises(GalleryLocked):
            stranger.forget_subjects(GALLERY, ["anna"], origin())
        assert content(owner) == before
        assert stranger.forget_subjects(GALLERY, [1], origin()).samples == 1
        assert stranger.forget_samples(GALLERY, [2], origin()).samples == 1
    owner.set_policy(GALLERY, Policy(threshold=0.4), origin())
    assert SqliteStore(path, key=KEY).gallery(GALLERY).policy.threshold == 0.4
    with suppress(GalleryLocked):
        assert SqliteStore(path, key=bytes(32)).gallery(GALLERY) is None
    assert np.isfinite(owner.search(GALLERY, vectors(1), 1)[0][0].distance)
