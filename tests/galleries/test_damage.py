"""Rows of a SQLite store that are damaged: they are left out, told and forgotten, and nothing else suffers."""

import logging
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from effort import effort, scaled
from service_kinds import FakeEyes, at
from store_kinds import GALLERY, KEY, enrol, make, new_samples, origin, vectors

from visavis.errors import SampleNotFound, StoreDamaged, SubjectNotFound, VisavisError
from visavis.galleries.records import Damage, Details
from visavis.galleries.sealing import Checker
from visavis.galleries.sqlite.cells import to_stored, to_vectors
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.types import EmbeddingSpace, FloatArray, Quality

IDS = [f"s{at_}" for at_ in range(12)]


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> bytes | None:
    return request.param  # type: ignore[no-any-return]  # one of these


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces.db"


@pytest.fixture
def store(path: Path, key: bytes | None) -> Iterator[SqliteStore]:
    """A store with a gallery of twelve people, each with a sample, which is in memory."""
    with closing(SqliteStore(path, key=key)) as store:
        make(store)
        batch = [
            replace(one, details=Details(name=f"name {at_}"), picture=b"p" * 40, key=f"key {at_}")
            for at_, one in enumerate(new_samples(IDS, vectors(12)))
        ]
        enrol(store, batch)
        assert len(store.search(GALLERY, vectors(1), 12)[0]) == 12
        yield store


def run(path: Path, statement: str, *values: Any) -> list[Any]:  # noqa: ANN401  # whatever a cell may hold
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def flip(path: Path, table: str, column: str, row: int, bit: int = 100) -> None:
    """Change one bit of a cell."""
    name = {"samples": "id", "pictures": "sample", "details": "number"}[table]
    ((value,),) = run(path, f"SELECT {column} FROM {table} WHERE {name} = ?", row)  # noqa: S608  # one of these
    changed = bytearray(value.encode() if isinstance(value, str) else value)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    cell = bytes(changed).decode("latin-1") if isinstance(value, str) else bytes(changed)
    run(path, f"UPDATE {table} SET {column} = ? WHERE {name} = ?", cell, row)  # noqa: S608  # one of these


def without(*numbers: int) -> list[str]:
    return [id_ for at_, id_ in enumerate(IDS, 1) if at_ not in numbers]


def test_one_flipped_bit_locks_nothing(
    store: SqliteStore, path: Path, key: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    flip(path, "samples", "embedding", 3)
    flip(path, "samples", "about", 5)
    flip(path, "details", "content", 7)
    flip(path, "pictures", "data", 9)
    for each in (store, SqliteStore(path, key=key)):
        caplog.clear()
        assert [sample.subject for sample in each.samples(GALLERY)][:9] == without(3, 5, 7)
        assert [subject.id for subject in each.subjects(GALLERY)] == without(7)
        for at_, probe in enumerate(vectors(12), 1):
            found = [match.subject for match in each.search(GALLERY, probe[None], 9)[0]]
            assert len(found) == 9
            if each is not store:  # which has the third one's embedding in memory, as it was enrolled
                assert (found[0] == f"s{at_ - 1}") == (at_ not in {3, 7})
            assert "s6" not in found
        assert each.check(GALLERY).damaged == (
            Damage(subject=7, sample=None, what="details"),
            Damage(subject=3, sample=3, what="embedding"),
            Damage(subject=5, sample=5, what="about"),
            Damage(subject=9, sample=9, what="picture"),
        )
        enrol(each, new_samples(["s0"], vectors(1, seed=3)))
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == ["gallery people: damaged samples are left out: 1; visavis gallery check tells which"]


def test_pages_are_filled_across_what_is_damaged(store: SqliteStore, path: Path) -> None:
    for number in (1, 2, 3, 6, 12):
        flip(path, "details", "content", number)
    pages, after = [], 0
    while page := store.subjects(GALLERY, after=after, limit=3):
        pages.append([subject.id for subject in page])
        after = page[-1].number
    assert pages == [["s3", "s4", "s6"], ["s7", "s8", "s9"], ["s10"]]
    assert [sample.id for sample in store.samples(GALLERY, limit=3)] == [4, 5, 7]


@pytest.mark.parametrize("value", [None, "text", 5, 1.5, b"", b"short", bytes(100)])
@pytest.mark.parametrize("cell", [
    "samples embedding id", "samples about id", "samples subject id", "samples created_at id", "details content number",
    "pictures data sample",
])  # fmt: skip
def test_whatever_a_cell_holds(store: SqliteStore, path: Path, key: bytes | None, cell: str, value: object) -> None:
    table, column, name = cell.split()
    run(path, f"UPDATE {table} SET {column} = ? WHERE {name} = 4", value)  # noqa: S608  # one of these
    for each in (SqliteStore(path, key=key), store):
        assert {sample.subject for sample in each.samples(GALLERY)} >= set(without(4, 5))
        assert {match.subject for match in each.search(GALLERY, vectors(1), 12)[0]} >= set(without(4))
        assert {subject.id for subject in each.subjects(GALLERY)} >= set(without(4))
        if column != "created_at" or not isinstance(value, int | float):
            assert each.check(GALLERY).damaged
    receipt = Galleries(store, FakeEyes()).named(GALLERY).forget_damaged()
    assert receipt.overwritten
    assert {one.what for one in store.check(GALLERY).damaged} <= {"details"}


def test_moments_that_are_none_are_damage(store: SqliteStore, path: Path) -> None:
    run(path, "UPDATE subjects SET created_at = ? WHERE number = 2", 2**61)
    assert [subject.id for subject in store.subjects(GALLERY)] == without(2)
    assert [one.subject for one in store.check(GALLERY).damaged] == [2]


def test_a_subject_that_is_gone_hides_nobody(store: SqliteStore, path: Path) -> None:
    run(path, "DELETE FROM subjects WHERE number = 4")
    found = store.search(GALLERY, vectors(12)[3:4], 5)[0]
    assert len(found) == 5
    assert "s3" not in [match.subject for match in found]
    report = store.check(GALLERY)
    assert Damage(subject=4, sample=4, what="subject") in report.damaged
    assert (report.subjects, report.samples) == (11, 12)
    assert "11 subjects, and not 12" in [one.what for one in report.damaged]


def test_a_damaged_subject_is_not_made_anew(store: SqliteStore, path: Path) -> None:
    flip(path, "details", "content", 4)
    for call in (
        lambda: enrol(store, new_samples(["s3", "new"], vectors(2, seed=1))),
        lambda: store.update(GALLERY, "s3", Details(name="x"), origin()),
        lambda: store.keyed(GALLERY, ["key 3"]),
    ):
        with pytest.raises(StoreDamaged, match="subject number 4 of gallery 'people' is damaged"):
            call()
    assert store.subject(GALLERY, "new") is None
    assert store.forget_subjects(GALLERY, ["s3"], origin()).subjects == (4,)
    enrol(store, new_samples(["s3", "new"], vectors(2, seed=1)))
    assert store.check(GALLERY).damaged == ()


def test_what_is_damaged_is_forgotten(store: SqliteStore, path: Path, key: bytes | None) -> None:
    team = Galleries(store, FakeEyes()).named(GALLERY)
    flip(path, "samples", "embedding", 3)
    flip(path, "details", "content", 7)
    flip(path, "samples", "embedding", 9)
    run(path, "UPDATE samples SET subject = 77 WHERE id = 11")
    with pytest.raises(SampleNotFound):
        team.forget_sample("s0", 3)
    with pytest.raises(SubjectNotFound):
        team.forget_sample("nobody", 3)
    assert team.forget_sample("s2", 3).samples == 1
    receipt = team.forget_damaged()
    assert (set(receipt.subjects) - {77}, receipt.samples, receipt.overwritten) == ({7, 9}, 3, True)
    for each in (store, SqliteStore(path, key=key)):
        assert each.check(GALLERY).damaged == ()
        assert [subject.id for subject in each.subjects(GALLERY)] == without(7)
        assert {match.subject for match in each.search(GALLERY, vectors(1), 12)[0]} == set(without(3, 7, 9, 11))
    assert team.forget_damaged().samples == 0


def test_a_quick_check_reads_little(store: SqliteStore, path: Path) -> None:
    enrol(store, new_samples(["many"] * 1100, vectors(1100, seed=2)))
    flip(path, "pictures", "data", 9)
    flip(path, "samples", "embedding", 3)
    flip(path, "samples", "embedding", 1100)
    quick = store.check(GALLERY, quick=True)
    assert (quick.subjects, quick.samples, [one.sample for one in quick.damaged]) == (13, 1000, [3])
    assert [one.sample for one in store.check(GALLERY).damaged] == [3, 9, 1100]


def test_an_index_of_the_file_that_is_damaged_is_told(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = "CREATE INDEX samples_by_gallery ON samples (gallery) WHERE gallery IS NOT NULL"
        other = sql.replace("(gallery) WHERE", "(gallery, created_at) WHERE id < 5 AND")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'samples_by_gallery'", (other,))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("REINDEX samples_by_gallery")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'samples_by_gallery'", (sql,))
    store.close()
    told = [one.what for one in store.check(GALLERY).damaged]
    assert "4 samples, and not 12" in told
    assert any("index samples_by_gallery" in what for what in told)


# --- all else that looks at a gallery


@pytest.fixture
def team(path: Path, key: bytes | None) -> Iterator[OpenGallery]:
    """A gallery of five people of two samples, of whom the second sample and the fourth person are damaged."""
    with closing(SqliteStore(path, key=key)) as store:
        galleries = Galleries(store, FakeEyes())
        galleries.create("team", policy=Policy(keep="images"))
        team = galleries.open("team")
        for who in range(5):
            for place in (0.0, 0.1):
                quality = Quality(200.0, 0.5, 1.0)
                enrolment = new_samples([f"s{who}"], at(3.0 * who + place)[None])[0]
                store.enrol("team", [replace(enrolment, quality=quality, picture=b"png")], origin())
        flip(path, "samples", "embedding", 2)
        flip(path, "details", "content", 4)
        flip(path, "pictures", "data", 5)
        yield team


def test_an_export_and_an_audit_leave_out_what_is_damaged(team: OpenGallery) -> None:
    lines = list(team.export(pictures=True))[1:]
    assert [line["subject"] for line in lines] == ["s0", "s1", "s1", "s2", "s2", "s4", "s4"]
    assert [line["picture"] is None for line in lines] == [False, False, False, True, False, False, False]
    report = team.audit()
    assert (report.subjects, report.samples) == (4, 7)
    assert [len(team.samples(id_)) for id_ in ("s0", "s1")] == [1, 2]


def test_others_are_identified_and_verified(team: OpenGallery) -> None:
    for who in (0, 1, 2, 4):
        (found,) = team.identify_embeddings(at(3.0 * who)[None])
        assert found.match is not None
        assert found.match.subject == f"s{who}"
        assert team.verify_embedding(at(3.0 * who), f"s{who}")
    assert not team.identify_embeddings(at(9.0)[None])[0]


# --- the checksum


@pytest.mark.parametrize("dimension", [1, 2, 3, 128, 511])
def test_every_changed_bit_of_an_embedding_is_noticed(dimension: int) -> None:
    (whole,) = to_stored([7], [5], vectors(1, dimension), Checker())
    found = to_vectors([(7, 5, whole)], Checker(), dimension)
    assert np.array_equal(found.vectors, vectors(1, dimension))
    changed = []
    for bit in range(8 * len(whole)):
        stored = bytearray(whole)
        stored[bit // 8] ^= 1 << bit % 8
        changed.append((7, 5, bytes(stored)))
    assert len(to_vectors(changed, Checker(), dimension).samples) == 0
    others = [
        (8, 5, whole),
        (7, 6, whole),
        (5, 7, whole),
        (7, 5, whole[:-8]),
        (7, 5, whole + bytes(8)),
        (7, 5, bytes(len(whole))),
    ]
    mixed = [*others, (7, 5, whole), *changed[:9]]
    assert to_vectors(mixed, Checker(), dimension).samples.tolist() == [7]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 0.0, 1e30])
def test_numbers_that_no_embedding_has_are_left_out(number: float) -> None:
    strange = np.full((1, 4), number, np.float32)
    rows = to_stored([1, 2], [1, 1], np.concatenate((strange, vectors(1))), Checker())
    with np.errstate(over="ignore"):
        assert to_vectors([(1, 1, rows[0]), (2, 1, rows[1])], Checker(), 4).samples.tolist() == [2]


def test_the_checksum_is_always_the_same() -> None:
    (stored,) = to_stored([3], [2], np.array([[1.0, 0.5, -2.0]], np.float32), Checker())
    assert stored.hex() == "0000803f0000003f000000c000000000c7d3340d9779b951"
    assert Checker().seal(b"content", "place") == b"content" + bytes.fromhex("43d038a5")


@scaled
def test_random_damage_changes_no_embedding_silently(path: Path, tmp_path: Path) -> None:
    enrolled = vectors(200, 128)
    with closing(SqliteStore(path)) as store:
        store.create(GALLERY, EmbeddingSpace("s", 128, "euclidean"), Policy(), origin())
        enrol(
            store,
            [
                replace(one, details=Details(name=one.subject * 3))
                for one in new_samples([f"p{i}" for i in range(200)], enrolled)
            ],
        )
        store._file.overwrite()  # noqa: SLF001  # so that all of it is in the file
    noticed = 0
    for seed in range(effort(60, 800)):
        damaged = tmp_path / "damaged.db"
        shutil.copy(path, damaged)
        generator = random.Random(seed)  # noqa: S311  # no secret
        length = generator.choice((1, 1, 4, 64))
        with damaged.open("r+b") as file:
            file.seek(generator.randrange(4096, path.stat().st_size - length))
            file.write(generator.randbytes(length))
        noticed += _is_whole_or_told(damaged, enrolled)
        for beside in tmp_path.glob("damaged.db*"):
            beside.unlink()
    assert noticed > effort(10, 140)


def _is_whole_or_told(path: Path, enrolled: FloatArray) -> bool:
    """Insist that what a store tells is as it was enrolled; return whether the damage is told."""
    with closing(SqliteStore(path)) as store:
        try:
            samples = store.samples(GALLERY, limit=1000)
            found = [matches[0] for matches in store.search(GALLERY, enrolled[::20], 1) if matches]
            report = store.check(GALLERY)
        except VisavisError:
            return True
        for sample in samples:
            assert np.array_equal(sample.embedding, enrolled[sample.id - 1])
            assert sample.subject == f"p{sample.id - 1}"
        for match in found:
            assert (match.subject, match.name) == (f"p{match.sample - 1}", f"p{match.sample - 1}" * 3)
        assert len(samples) == 200 or report.damaged
        return bool(report.damaged)
