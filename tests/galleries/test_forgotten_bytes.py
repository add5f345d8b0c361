"""What is forgotten is found in no file any more, nor in a backup made afterwards, nor in a log.

SQLite moves the rows of its trees when pages split and merge, and may leave copies where they were. So everything is
looked for, in pieces, in all files of the store, after thousands of rows have come and gone in random order; and what
lives must lie in the file once: a second copy is one that forgetting would miss.
"""

import logging
import random
import sqlite3
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from effort import effort, scaled
from numpy.typing import NDArray
from store_kinds import GALLERY, KEY, NOON, Place, enrol, make, new_samples, origin, vectors

from visavis.galleries.records import Details, Erased, NewSample
from visavis.galleries.sqlite.store import SqliteStore
from visavis.galleries.store import Store

DIMENSION = 128
PIECE = 16  # bytes
_TABLE_BITS = 22
ENOUGH_STUBS = 10_500  # for a compaction

pytestmark = scaled
sqlite_only = pytest.mark.parametrize("place", ["sqlite", "sqlite-encrypted"], indirect=True)


class Pieces:
    """Looks for pieces of many byte strings, wherever they begin."""

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        owners: list[str] = []
        pieces: list[bytes] = []
        for name, data in texts.items():
            step = 8 if len(data) < 200 else PIECE if len(data) < 2000 else 240
            some = [data[at : at + PIECE] for at in range(0, len(data) - PIECE + 1, step)]
            pieces += some
            owners += [name] * len(some)
        self._pairs: NDArray[np.uint64] = np.frombuffer(b"".join(pieces), np.uint64).reshape(-1, 2)
        order = np.argsort(self._pairs[:, 0])
        self._pairs, self._owners = self._pairs[order], np.array(owners, object)[order]
        self._table = np.zeros(2**_TABLE_BITS, bool)  # a first sieve
        self._table[_low_bits(self._pairs[:, 0])] = True

    def found_in(self, data: bytes) -> list[str]:
        """Return the names of the strings of which there is a piece, once for each place."""
        found: list[str] = []
        for shift in range(8):
            words = np.frombuffer(data, np.uint64, max(0, len(data) - shift) // 8, min(shift, len(data)))
            for at in np.flatnonzero(self._table[_low_bits(words[:-1])]):
                first, last = np.searchsorted(self._pairs[:, 0], words[at], "left"), len(self._pairs)
                while first < last and self._pairs[first, 0] == words[at]:
                    if self._pairs[first, 1] == words[at + 1]:
                        found.append(self._owners[first])
                    first += 1
        return found


def _low_bits(words: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.asarray(words & np.uint64(2**_TABLE_BITS - 1), np.intp)


@dataclass
class Person:
    """A subject with all that is known of it, each of which is like nothing else.

    Attributes:
        number: of the first sample.
        texts: its own, by what they are.
        samples: what belongs to each of its samples, by the sample's ID.
    """

    id: str
    texts: dict[str, bytes]
    samples: dict[int, dict[str, bytes]] = field(default_factory=dict)


class Crowd:
    """People who come, change and go, and all that was ever known of those who went."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.people: dict[str, Person] = {}
        self.gone: dict[str, bytes] = {}
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._words = 0

    def word(self, length: int = 32) -> str:
        """Return a word that nobody had before."""
        return "".join(self._random.choices(string.ascii_letters + string.digits, k=length))

    def come(self, count: int) -> None:
        """Enrol a batch of samples, most of them of new people."""
        batch, told = [], []
        for _ in range(count):
            new = self._random.random() < 0.7 or not self.people
            id_ = self.word(self._random.choice((16, 32, 100))) if new else self._random.choice(list(self.people))
            details, texts = self._details() if new else (Details(), {})
            person = self.people.setdefault(id_, Person(id_, {"id": id_.encode(), **texts}))
            size = self._random.choice((0, 0, 0, 500, 500, 3000, 40_000) if self._random.random() < 0.3 else (0,))
            own = {
                "embedding": np.random.default_rng(self._random.getrandbits(60))
                .normal(size=DIMENSION)
                .astype("<f4")
                .tobytes(),
                "picture": self._random.randbytes(size),
                "source": self.word().encode(),
                "key": self.word().encode(),
            }
            told.append((person, own))
            batch.append(
                NewSample(
                    subject=id_,
                    embedding=np.frombuffer(own["embedding"], "<f4"),
                    details=details,
                    source=own["source"].decode(),
                    picture=own["picture"] or None,
                    key=own["key"].decode(),
                )
            )
        for stored, (person, own) in zip(enrol(self.store, batch), told, strict=True):
            person.samples[stored.sample] = own

    def change(self, count: int) -> None:
        """Replace what is known of some."""
        for person in self._some(count):
            details, texts = self._details()
            self.store.update(GALLERY, person.id, details, origin())
            self._bury(person.id, {what: person.texts[what] for what in texts})
            person.texts.update(texts)

    def mix(self, count: int) -> None:
        """Give some another ID, and some of their samples to others."""
        for person in self._some(count):
            old, person.id = person.id, self.word()
            self.store.update(GALLERY, old, Details(), origin(), new_id=person.id)
            self._bury(old, {"id": person.texts["id"]})
            person.texts["id"] = person.id.encode()
            self.people[person.id] = self.people.pop(old)
            other, chosen = self._some(1)[0], sorted(person.samples)[:2]
            if other is not person and chosen:
                self.store.move(GALLERY, person.id, other.id, origin(), samples=chosen)
                numbers = [sample.id for sample in self.store.samples(GALLERY, subject=other.id)][-len(chosen) :]
                other.samples |= {new: person.samples.pop(was) for was, new in zip(chosen, numbers, strict=True)}

    def lose_samples(self, count: int) -> Erased:
        """Forget some samples."""
        pairs = [(person, sample) for person in self.people.values() for sample in person.samples]
        chosen = self._random.sample(pairs, min(count, len(pairs)))
        for person, sample in chosen:
            self._bury(f"{person.id} {sample}", person.samples.pop(sample))
        return self.store.forget_samples(GALLERY, [sample for _, sample in chosen], origin())

    def lose_people(self, count: int) -> Erased:
        """Forget some people."""
        chosen = self._some(count)
        self._bury_people(chosen)
        return self.store.forget_subjects(GALLERY, [person.id for person in chosen], origin())

    def expire(self, count: int) -> Erased:
        """Forget those whose time is over: some who have no time yet are given one."""
        chosen = self._some(count)
        for person in chosen:
            self.store.update(GALLERY, person.id, Details(expires_at=NOON), origin())
        self._bury_people(chosen)
        return self.store.expire(GALLERY, origin())

    def drop(self) -> Erased:
        """Forget everybody."""
        self._bury_people(list(self.people.values()))
        return self.store.drop(GALLERY, origin())

    def alive(self, *kinds: str) -> dict[str, bytes]:
        """Return what is known, of these kinds or of all."""
        known = [(person.id, person.texts) for person in self.people.values()]
        known += [
            (f"{person.id} {sample}", own) for person in self.people.values() for sample, own in person.samples.items()
        ]
        return {
            f"{what} of {whose}": data
            for whose, all_ in known
            for what, data in all_.items()
            if not kinds or what in kinds
        }

    def _details(self) -> tuple[Details, dict[str, bytes]]:
        length = self._random.choice((20, 60, 500))
        texts = {"name": self.word(), "metadata": self.word(length), "consent": self.word(24)}
        details = Details(name=texts["name"], metadata={"note": texts["metadata"]}, consent=texts["consent"])
        return details, {what: text.encode() for what, text in texts.items()}

    def _some(self, count: int) -> list[Person]:
        return self._random.sample(list(self.people.values()), min(count, len(self.people)))

    def _bury_people(self, people: Iterable[Person]) -> None:
        for person in people:
            self._bury(person.id, person.texts)
            for sample, own in person.samples.items():
                self._bury(f"{person.id} {sample}", own)
            del self.people[person.id]

    def _bury(self, whose: str, texts: Mapping[str, bytes]) -> None:
        for what, data in texts.items():
            self._words += 1
            self.gone[f"{what} of {whose}, {self._words}"] = data


def files_of(path: Path) -> Iterator[Path]:
    """Yield all files beside a store, its own and whatever else was left there."""
    return (file for file in path.parent.rglob("*") if file.is_file())


def left_of(gone: Mapping[str, bytes], files: Iterable[Path]) -> list[tuple[str, str]]:
    """Return what is still found, and in which file."""
    pieces = Pieces(gone)
    return [(file.name, name) for file in files for name in pieces.found_in(file.read_bytes())]


def test_pieces_are_found_wherever_they_are() -> None:
    generator = random.Random(0)  # noqa: S311  # no secret
    texts = {str(length): generator.randbytes(length) for length in (16, 24, 40, 512, 5000)}
    pieces = Pieces(texts)
    assert pieces.found_in(b"") == []
    assert pieces.found_in(generator.randbytes(100_000)) == []
    for name, data in texts.items():
        for before in range(17):
            assert name in pieces.found_in(bytes(before) + data + b"x")
    assert pieces.found_in(b"abc" + texts["512"][64:88] + b"def") == ["512"]
    assert sorted(pieces.found_in(texts["16"] + b"?" + texts["16"] + texts["24"][:16])) == ["16", "16", "24"]


@pytest.fixture
def crowd(place: Place) -> Crowd:
    """Many samples in an open store; another object has it open too."""
    store = place.open()
    make(store, dimension=DIMENSION)
    crowd = Crowd(store, seed=len(place.kind))
    crowd.come(effort(700, 2000))
    assert len(place.open().search(GALLERY, vectors(1, DIMENSION), 5)[0]) == 5
    return crowd


@sqlite_only
def test_no_piece_is_left(
    place: Place, crowd: Crowd, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    generator = random.Random(1)  # noqa: S311  # no secret
    ways = (crowd.lose_samples, crowd.lose_people, crowd.expire)
    for turn in range(effort(12, 60)):
        crowd.come(generator.randrange(50))
        crowd.change(generator.randrange(5))
        crowd.mix(generator.randrange(5))
        erased = generator.choice(ways)(generator.choice((1, 1, 5, 60)))
        assert erased.overwritten
        if turn % 6 == 5:
            assert left_of(crowd.gone, files_of(place.path)) == []
    backup = tmp_path_factory.mktemp("backup") / "backup.db"
    crowd.store.backup(backup, origin())
    assert left_of(crowd.gone, files_of(backup)) == []
    crowd.store.search(GALLERY, vectors(1, DIMENSION), 5)
    everything = {**crowd.gone, **crowd.alive()}
    assert Pieces(everything).found_in(caplog.text.encode()) == []
    assert crowd.drop().overwritten
    assert left_of(crowd.gone, files_of(place.path)) == []
    place.close()
    assert left_of(crowd.gone, files_of(place.path)) == []


@sqlite_only
def test_one_at_a_time_in_random_order(place: Place) -> None:
    store = place.open()
    make(store, dimension=DIMENSION)
    crowd = Crowd(store, seed=7)
    crowd.come(effort(150, 400))
    while crowd.people:
        crowd.come(1 if len(crowd.gone) % 3 else 0)
        assert crowd.lose_people(2).overwritten
    assert left_of(crowd.gone, files_of(place.path)) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_what_lives_is_found_once(place: Place, crowd: Crowd) -> None:
    crowd.lose_people(300)
    for _ in range(20):
        crowd.come(40)
        crowd.change(10)
        crowd.mix(5)
        crowd.lose_samples(20)
    erased = crowd.lose_people(1)  # brings everything into the file
    assert erased.overwritten
    stored = crowd.alive("embedding", "picture", "name", "metadata", "consent", "source", "id")
    stored = {name: data for name, data in stored.items() if data}
    found = Pieces({name: data[:PIECE] for name, data in stored.items()}).found_in(place.path.read_bytes())
    assert sorted(found) == sorted(stored)
    assert left_of(crowd.alive("key"), files_of(place.path)) == []  # only hashes of them are kept


@pytest.mark.parametrize("place", ["sqlite-encrypted"], indirect=True)
def test_what_lives_is_not_found_where_it_is_encrypted(
    place: Place, crowd: Crowd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    crowd.change(50)
    assert left_of({**crowd.alive(), **crowd.gone, "key": KEY}, files_of(place.path)) == []
    backup = tmp_path_factory.mktemp("backup") / "backup.db"
    crowd.store.backup(backup, origin())
    assert left_of(crowd.alive(), files_of(backup)) == []
    place.close()
    assert left_of(crowd.alive(), files_of(place.path)) == []


@pytest.mark.parametrize("place", ["sqlite-encrypted"], indirect=True)
def test_a_dropped_gallery_leaves_no_key(place: Place, crowd: Crowd) -> None:
    make(crowd.store, "other")
    with closing(sqlite3.connect(place.path)) as connection:
        keys = {str(number): wrapped for number, wrapped in connection.execute("SELECT number, wrapped FROM keys")}
    assert len(keys) == 2
    (number,) = (str(gallery.number) for gallery in crowd.store.galleries() if gallery.name == GALLERY)
    assert crowd.drop().overwritten
    assert {name for _, name in left_of(keys, files_of(place.path))} == keys.keys() - {number}


def stored_values(path: Path) -> dict[str, bytes]:
    """Return what the tables hold, sealed, but for short values and keyed hashes."""
    values: dict[str, bytes] = {}
    with closing(sqlite3.connect(path)) as connection:
        for table in ("samples", "details", "pictures", "keys"):
            cursor = connection.execute(f"SELECT rowid AS row, * FROM {table}")  # noqa: S608  # one of these
            for row, *cells in cursor:
                for (column, *_), cell in zip(cursor.description[1:], cells, strict=True):
                    data = cell.encode() if isinstance(cell, str) else cell
                    if isinstance(data, bytes) and len(data) >= 2 * PIECE and "hash" not in column:
                        values[f"{table} {row} {column}"] = data
    return values


@pytest.mark.parametrize("place", ["sqlite-encrypted"], indirect=True)
def test_nor_is_a_piece_left_of_what_was_sealed(place: Place, crowd: Crowd) -> None:
    before = stored_values(place.path)
    crowd.lose_people(200)
    crowd.change(50)
    crowd.come(200)
    assert crowd.lose_samples(300).overwritten
    now = stored_values(place.path)
    gone = {name: data for name, data in before.items() if name not in now}
    assert len(gone) > 500
    assert left_of(gone, files_of(place.path)) == []
    assert {name for _, name in left_of(now, files_of(place.path))} == now.keys()


@sqlite_only
def test_a_reader_in_the_way_is_told(place: Place) -> None:
    store = SqliteStore(place.path, key=KEY if place.kind == "sqlite-encrypted" else None, patience_s=0.2)
    make(store, dimension=DIMENSION)
    crowd = Crowd(store, seed=3)
    crowd.come(300)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM samples").fetchone()
        crowd.come(20)
        erased = crowd.lose_people(50)
        assert not erased.overwritten
        assert erased.samples
        assert len(store.samples(GALLERY, limit=10_000)) == sum(len(person.samples) for person in crowd.people.values())
        reader.execute("COMMIT")
    assert crowd.lose_people(1).overwritten
    assert left_of(crowd.gone, files_of(place.path)) == []
    store.close()


@pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("sqlite-encrypted", marks=pytest.mark.thorough)], indirect=True
)
def test_the_file_shrinks_when_much_was_forgotten(place: Place) -> None:
    store = place.open()
    make(store)
    crowd_ids = [f"crowd {at % 50}" for at in range(ENOUGH_STUBS)]
    enrol(store, new_samples(crowd_ids, vectors(ENOUGH_STUBS)))
    kept = [
        replace(one, picture=bytes([at]) * 5000, key=f"key {at}", details=Details(name=f"name {at}"))
        for at, one in enumerate(new_samples([f"kept {at}" for at in range(100)], vectors(100, seed=1)))
    ]
    told = enrol(store, kept)
    other = place.open()
    before = other.search(GALLERY, vectors(20, seed=1), 1)
    size = sum(file.stat().st_size for file in files_of(place.path))
    samples = [sample.id for sample in store.samples(GALLERY, limit=ENOUGH_STUBS)]
    assert store.forget_samples(GALLERY, samples, origin(1)).overwritten
    assert sum(file.stat().st_size for file in files_of(place.path)) < size / 2
    for again in (store, other, place.reopen()):
        assert again.search(GALLERY, vectors(20, seed=1), 1) == before
        assert [sample.id for sample in again.samples(GALLERY)] == [one.sample for one in told]
        assert [again.picture(GALLERY, one.sample) for one in told[:3]] == [bytes([at]) * 5000 for at in range(3)]
        assert {key: one.sample for key, one in again.keyed(GALLERY, ["key 5"]).items()} == {"key 5": told[5].sample}
    (new,) = enrol(store, new_samples(["new"], vectors(1)))
    assert new.sample > max(one.sample for one in told)
    store.forget_subjects(GALLERY, [f"crowd {at}" for at in range(50)], origin(2))
    assert [subject.id for subject in store.subjects(GALLERY, limit=1000)] == [f"kept {at}" for at in range(100)] + [
        "new"
    ]
