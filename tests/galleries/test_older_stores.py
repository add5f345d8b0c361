"""Stores of the version before policies could leave limits to the pack, and before yaw and pitch were told."""

import hmac
import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_kinds import NOON as NOW
from service_kinds import PACK, Clock, FakeEyes, at
from store_kinds import GALLERY, KEY, REAL_KINDS, Place, content, enrol, make, origin, place_of

from visavis.errors import ExtremePose, GalleryLocked, LowScore, StoreDamaged
from visavis.galleries.records import Details, Gallery, NewSample, Stored
from visavis.galleries.sealing import GalleryKeys, Sealer
from visavis.galleries.sqlite.schema import SCHEMA
from visavis.galleries.sqlite.store import SqliteStore
from visavis.galleries.store import Store
from visavis.options import Policy
from visavis.service.decisions import limits_of
from visavis.service.galleries import Galleries
from visavis.types import EmbeddingSpace, Quality

# As it was stored.
OLD_POLICY = {
    "threshold": None,
    "margin": 0.02,
    "conflict_threshold": None,
    "min_face_px": 40.0,
    "min_sharpness": 0.06,
    "min_score": 0.75,
    "probe_min_face_px": 0.0,
    "probe_min_sharpness": 0.03,
    "probe_min_score": 0.0,
    "keep": "images",
    "retention_days": None,
    "consent_required": False,
    "log_searches": True,
}
OLD_QUALITY = Quality(120.0, 0.25, 1.0)


@pytest.fixture(params=REAL_KINDS)
def old_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store with a gallery of one sample, as the older version has left it."""
    with place_of(request.param, tmp_path, request) as place:
        store = place.open()
        store.create(GALLERY, EmbeddingSpace(PACK.space.id, 3, "euclidean"), Policy(keep="images"), origin())
        enrol(store, [NewSample(subject="ada", embedding=at(0), quality=OLD_QUALITY)])
        place.close()
        make_old(place)
        yield place


def make_old(place: Place) -> None:
    """Take from a store what the older version had not."""
    policy = json.dumps(OLD_POLICY)
    if place.kind == "postgres":
        import psycopg  # noqa: PLC0415  # only where there is a server

        with closing(psycopg.connect(place.url, autocommit=True)) as connection:
            connection.execute("UPDATE visavis.galleries SET policy = %s", (policy,))
            columns = ("yaw", "pitch", "validity", "occluded", "metadata")
            connection.execute("ALTER TABLE visavis.samples " + ", ".join(f"DROP COLUMN {name}" for name in columns))
            connection.execute("ALTER TABLE visavis.subjects DROP COLUMN ignored")
            connection.execute("DROP INDEX visavis.galleries_by_name")
            connection.execute("UPDATE visavis.meta SET version = 1")
        return
    with closing(sqlite3.connect(place.path)) as connection:
        connection.execute("UPDATE galleries SET policy = ?", (policy,))
        if place.kind == "sqlite":
            unseal(connection)
        else:
            unwrap(connection)
        connection.execute("ALTER TABLE galleries DROP COLUMN seal")
        connection.execute("ALTER TABLE galleries DROP COLUMN spelled")
        connection.execute("DROP TABLE new_keys")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def unseal(connection: sqlite3.Connection) -> None:
    """Take checksums from a plain store, and angles."""
    ((embedding, about),) = connection.execute("SELECT embedding, about FROM samples").fetchall()
    plain = json.loads(about[:-4])
    assert plain["quality"] == [120.0, 0.25, 1.0, None, None, None, None]
    old = json.dumps({**plain, "quality": [120.0, 0.25, 1.0]})
    connection.execute("UPDATE samples SET embedding = ?, about = ?", (embedding[:12], old))
    ((content,),) = connection.execute("SELECT content FROM details").fetchall()
    connection.execute("UPDATE details SET content = ?", (content[:-4].decode(),))


def unwrap(connection: sqlite3.Connection) -> None:
    """Wrap the key of the encrypted gallery as it was, and hash its ID with no key but the file's."""
    ((hash_key,),) = connection.execute("SELECT hash_key FROM store").fetchall()
    connection.execute("UPDATE subjects SET id_hash = ?", (hmac.digest(hash_key, b"id in 1:ada", "sha256")[:16],))
    ((wrapped,),) = connection.execute("SELECT wrapped FROM keys").fetchall()
    again = Sealer(KEY).seal(GalleryKeys(KEY).unwrap(1, wrapped), "key of gallery 1")
    connection.execute("UPDATE keys SET wrapped = ?", (again,))


def test_policies_mean_what_they_meant(old_place: Place) -> None:
    policy = old_place.open().gallery(GALLERY).policy
    assert policy == Policy(**OLD_POLICY)  # type: ignore[arg-type]  # its fields
    assert (policy.max_yaw, policy.max_pitch, policy.require_live) == (None, None, False)
    limits = limits_of(policy, PACK)
    assert (limits.min_face_px, limits.min_score, limits.probe_min_sharpness) == (40.0, 0.75, 0.03)
    assert (limits.max_yaw, limits.max_pitch) == (PACK.quality.max_yaw, PACK.quality.max_pitch)


def test_samples_are_read_and_new_ones_know_their_angles(old_place: Place) -> None:
    turned = Quality(120.0, 0.25, 1.0, yaw=-12.5, pitch=3.25, validity=0.75, occluded=0.25)
    for store in (old_place.open(), old_place.reopen()):
        assert store.samples(GALLERY)[0].quality == OLD_QUALITY
        enrol(store, [NewSample(subject="ben", embedding=at(5), quality=turned)])
        enrol(store, [NewSample(subject="cyd", embedding=at(9), quality=Quality(120.0, 0.25, 1.0, yaw=7.0))])
        enrol(store, [NewSample(subject="dee", embedding=at(9))])
        found = [sample.quality for sample in store.samples(GALLERY)[-3:]]
        assert found == [turned, Quality(120.0, 0.25, 1.0, yaw=7.0), None]


def test_the_gallery_goes_on_working(old_place: Place) -> None:
    galleries = Galleries(old_place.open(), FakeEyes(), clock=Clock(NOW))
    gallery = galleries.open(GALLERY)
    (found,) = gallery.identify_embeddings(at(0.1)[None])
    assert found.match is not None
    gallery.enrol_embedding(at(5), "ben", quality=Quality(41.0, 0.07, 0.8))
    with pytest.raises(LowScore):
        gallery.enrol_embedding(at(9), "cyd", quality=Quality(41.0, 0.07, 0.7))
    with pytest.raises(ExtremePose):
        gallery.enrol_embedding(at(9), "cyd", quality=Quality(41.0, 0.07, 0.8, yaw=89.0))
    assert gallery.audit().low_quality == ()  # what is not known of a sample is not held against it
    assert gallery.set_policy(Policy()).policy == Policy()
    assert old_place.reopen().gallery(GALLERY).policy == Policy()


@pytest.mark.parametrize("kind", REAL_KINDS)
def test_samples_of_version_6_are_as_they_were_and_new_ones_have_metadata(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with place_of(kind, tmp_path, request) as place:
        make(place.open(), dimension=3)
        enrol(place.open(), [NewSample(subject="ada", embedding=at(0), source="a.jpg", picture=b"photo")])
        before = content(place.open())
        place.close()
        make_version_6(place)
        assert content(place.open()) == before
        known = {"box": [1, 2, 3, 4], "image_id": "x"}
        enrol(place.open(), [NewSample(subject="ada", embedding=at(1), metadata=known)])
        assert [sample.metadata for sample in place.reopen().samples(GALLERY)] == [{}, known]
        assert place.open().check(GALLERY).damaged == ()


def make_version_6(place: Place) -> None:
    """Take from a store what version 6 had not."""
    if place.kind != "postgres":
        run(place.path, "PRAGMA user_version = 6")
        return
    import psycopg  # noqa: PLC0415  # only where there is a server

    with closing(psycopg.connect(place.url, autocommit=True)) as connection:
        connection.execute("ALTER TABLE visavis.samples DROP COLUMN metadata")
        connection.execute("DROP INDEX visavis.galleries_by_name")
        connection.execute("UPDATE visavis.meta SET version = 6")


# --- names in two forms, which older versions took for two people

COMPOSED, DECOMPOSED = "Jos\xe9 \xc5", "Jose\u0301 \u212b"


@pytest.fixture(params=REAL_KINDS)
def misspelled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store in which somebody is there twice, and somebody else in the form that is not the normal one."""
    with place_of(request.param, tmp_path, request) as place, pytest.MonkeyPatch.context() as patch:
        for module in ("records", "store"):
            patch.setattr(f"visavis.galleries.{module}.normal", lambda text: text)
        store = place.open()
        make(store, dimension=3)
        expiry = Details(name="Jose\u0301", consent="signed", expires_at=origin(9).at)
        samples = [
            NewSample(subject=DECOMPOSED, embedding=at(0), details=expiry, picture=b"photo", key="k"),
            NewSample(subject=COMPOSED, embedding=at(1), details=Details(name="J", expires_at=origin(99).at)),
            NewSample(subject="Ame\u0301lie", embedding=at(2), details=Details(name="Ame\u0301lie")),
            NewSample(subject="ben", embedding=at(3), details=Details(name="Be\u0301n"), key="b"),
        ]
        assert len({one.subject.number for one in enrol(store, samples)}) == 4
        store.search(GALLERY, at(0)[None], 1)
        place.close()
        if place.kind == "postgres":
            import psycopg  # noqa: PLC0415  # only where there is a server

            with closing(psycopg.connect(place.url, autocommit=True)) as connection:
                connection.execute("ALTER TABLE visavis.subjects DROP COLUMN ignored")
                connection.execute("ALTER TABLE visavis.samples DROP COLUMN metadata")
                connection.execute("DROP INDEX visavis.galleries_by_name")
                connection.execute("UPDATE visavis.meta SET version = 4")
        else:
            run(place.path, "UPDATE galleries SET spelled = 0")
        patch.undo()
        yield place


def test_who_is_there_in_two_forms_becomes_one(misspelled: Place) -> None:
    for store in (misspelled.open(), misspelled.reopen()):
        jose, amelie, ben = sorted(store.subjects(GALLERY), key=lambda subject: -subject.samples)
        assert (jose.id, jose.name, jose.consent, jose.expires_at) == (COMPOSED, "J", "signed", origin(9).at)
        assert (amelie.id, amelie.name, ben.id, ben.name) == (*["Am\xe9lie"] * 2, "ben", "B\xe9n")
        samples = store.samples(GALLERY, subject=DECOMPOSED)
        assert sorted(sample.embedding.tolist() for sample in samples) == [[1, 0, 0], [1, 1, 0]]
        assert [store.picture(GALLERY, sample.id) for sample in samples] == [None, b"photo"]
        assert [match.subject for match in store.search(GALLERY, at(0)[None], 3)[0]] == [COMPOSED, "Am\xe9lie", "ben"]
        assert store.keyed(GALLERY, ["k", "b"])["b"].subject == ben
        found = store.gallery(GALLERY)
        assert (found.subjects, found.samples, store.check(GALLERY).damaged) == (3, 4, ())
        told = [(entry.actor, entry.action, entry.count) for entry in store.entries(GALLERY)][2:]
        upgraded = [("move", 1), ("forget", 0), ("update", 0), ("update", 0)]
        assert told == [("upgrade", *each) for each in upgraded]
    assert misspelled.open().forget_subjects(GALLERY, [DECOMPOSED], origin(10)).samples == 2


def test_an_older_store_may_be_asked_to_forget_at_once(misspelled: Place) -> None:
    store = misspelled.open()
    assert store.forget_subjects(GALLERY, [COMPOSED], origin(1)).samples == 2
    assert [subject.id for subject in store.subjects(GALLERY)] == ["Am\xe9lie", "ben"]


# --- a file that version 2 wrote: one gallery in plain, one encrypted, each of two people with pictures


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "faces.db"
    script = Path(__file__).parents[1] / "support" / "store_of_version_2.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
    return path


def run(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def check_content(store: Store, name: str) -> None:
    """Insist on what was enrolled, and that it is found."""
    gallery, subjects, samples, pictures = content(store, name)
    assert isinstance(gallery, Gallery)
    assert (gallery.encrypted, gallery.policy.threshold, gallery.samples) == (name == "sealed", 0.5, 2)
    assert [(subject.id, subject.name, subject.metadata) for subject in subjects] == [  # type: ignore[attr-defined]  # subjects
        ("anna", "Anna", {"n": 0}),
        ("ben", "Ben", {"n": 1}),
    ]
    assert [sample["embedding"] for sample in samples] == [[1, 0, 0], [0, 1, 0]]  # type: ignore[attr-defined]  # samples
    assert [sample["source"] for sample in samples] == ["anna.jpg", "ben.jpg"]  # type: ignore[attr-defined]  # see above
    assert pictures == [b"\x89PNG" + 9 * id_ for id_ in (b"anna", b"ben")]
    assert [store.subject(name, id_).id for id_ in ("anna", "ben")] == ["anna", "ben"]  # type: ignore[union-attr]  # they are there
    (match,) = store.search(name, np.array([[0, 1, 0]], np.float32), 1)[0]
    assert (match.subject, match.distance) == ("ben", 0)
    again = NewSample(subject="ben", embedding=np.ones(3, np.float32), key="key 1", fingerprint="1")
    (outcome,) = store.enrol(name, [again, replace(again, fingerprint="2")], origin())[:1]
    assert isinstance(outcome, Stored)
    assert outcome.repeated
    assert store.check(name).damaged == ()


@pytest.mark.parametrize("name", ["plain", "sealed"])
def test_a_file_of_version_2_becomes_one_of_today(path: Path, name: str) -> None:
    with closing(SqliteStore(path, key=KEY)) as store:
        for each in (store, SqliteStore(path, key=KEY)):
            check_content(each, name)
    assert run(path, "PRAGMA user_version") == [(SCHEMA.version,)] == [(7,)]
    script = (Path(__file__).parents[1] / "support" / "store_of_version_2.sql").read_text(encoding="utf-8")
    hashes = run(
        path, "SELECT id_hash FROM subjects WHERE gallery = (SELECT number FROM galleries WHERE name = ?)", name
    )
    assert {value.hex().upper() in script for (value,) in hashes} == {name == "plain"}


def test_hashes_that_can_be_tried_leave_the_file(path: Path) -> None:
    hashes = {value for (value,) in run(path, "SELECT id_hash FROM subjects WHERE gallery = 2")}
    with closing(SqliteStore(path, key=KEY)) as store:
        check_content(store, "sealed")
        data = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert not [value for value in hashes if value in data]


def test_copies_leave_the_file_with_the_upgrade(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        check_content(store, "plain")
        assert run(path, "SELECT stubs FROM store") == [(0,)]
        assert store.forget_subjects("plain", ["anna"], origin()).overwritten
        data = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"anna.jpg" not in data
        assert data.count(b"ben.jpg") == 1


def test_what_was_damaged_before_is_told(path: Path) -> None:
    run(path, "UPDATE samples SET embedding = x'00', about = NULL WHERE id = 1")
    run(path, "UPDATE samples SET embedding = x'0000c07f0000c07f0000c07f' WHERE id = 2")
    run(path, "UPDATE details SET content = ? WHERE number = 4", '{"id": "anna", "name": "Chief"}')
    with closing(SqliteStore(path, key=KEY)) as store:
        assert {(one.sample, one.what) for one in store.check("plain").damaged} == {
            (1, "embedding"),
            (1, "about"),
            (2, "embedding"),
        }
        assert [subject.id for subject in store.subjects("sealed")] == ["ben"]


def test_who_has_no_key_leaves_a_sealed_gallery_as_it_is(path: Path) -> None:
    with closing(SqliteStore(path)) as stranger, closing(SqliteStore(path, key=bytes(32))) as other:
        for each in (stranger, other, stranger):
            with pytest.raises(GalleryLocked):
                each.samples("sealed")
        assert stranger.gallery("sealed").encrypted
        check_content(stranger, "plain")
    with closing(SqliteStore(path, key=KEY)) as store:
        check_content(store, "sealed")
        with pytest.raises(GalleryLocked):
            SqliteStore(path).set_policy("sealed", Policy(), origin())


def test_no_sealed_gallery_passes_for_an_older_one(path: Path) -> None:
    with closing(SqliteStore(path, key=KEY)) as store:
        check_content(store, "sealed")
        run(path, """UPDATE galleries SET seal = NULL, policy = '{"threshold": 5.0}' WHERE name = 'sealed'""")
        for each in (store, SqliteStore(path, key=KEY)):
            with pytest.raises(GalleryLocked):
                each.gallery("sealed")
        assert run(path, "SELECT seal FROM galleries WHERE name = 'sealed'") == [(None,)]


def test_a_gallery_that_was_made_plain_before_is_not_taken_for_one(path: Path) -> None:
    run(path, "UPDATE galleries SET encrypted = 0 WHERE name = 'sealed'")
    with closing(SqliteStore(path, key=KEY)) as store, pytest.raises(StoreDamaged):
        store.enrol("sealed", [NewSample(subject="new", embedding=np.ones(3, np.float32))], origin())


def test_a_backup_of_version_2_may_take_the_place_of_a_newer_file(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "older")
    with closing(SqliteStore(path, key=KEY)) as store:
        check_content(store, "sealed")
        store.rekey("sealed", origin())
        (tmp_path / "older").replace(path)
        check_content(store, "sealed")
        check_content(store, "plain")


def test_the_first_of_many_brings_it_up_to_date(path: Path) -> None:
    stores = [SqliteStore(path, key=KEY) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(lambda store: check_content(store, "sealed"), stores))) == 6
    for store in stores:
        store.close()
