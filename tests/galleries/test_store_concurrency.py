"""Many at the same time never get a wrong or torn answer: every answer is checked against a log of who did what when.

An operation happens at some moment between its call and its return. So a search may find a sample whose enrolment had
been called before the search returned, unless its forgetting had returned before the search was called; and it must
find whoever was enrolled before it was called and not about to be forgotten before it returned, or somebody nearer.
"""

import itertools
import multiprocessing
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from effort import effort, scaled
from numpy.typing import NDArray
from store_kinds import GALLERY, REAL_KINDS, Place, enrol, make, new_samples, open_kind, origin, stored, vectors
from store_oracle import TOLERANCE, true_distances

from visavis.errors import GalleryExists, GalleryNotFound, VersionMismatch
from visavis.galleries.records import Details, Match, NewSample
from visavis.galleries.store import Store
from visavis.types import FloatArray

DIMENSION = 8
SECONDS = effort(0.7, 3.0)
THREADS = 8
NEVER = float("inf")

pytestmark = scaled
real_places = pytest.mark.parametrize("place", REAL_KINDS, indirect=True)


@pytest.fixture(autouse=True)
def hurry() -> Iterator[None]:
    """Let threads take turns a thousand times as often as they would, so that they are in each other's way."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


@dataclass
class Life:
    """A sample from its enrolment on, in seconds of the clock that all processes share."""

    subject: str
    seed: int
    enrolment_called: float
    enrolled: float = NEVER
    id: int = 0
    subject_number: int = 0
    forgetting_called: float = NEVER
    forgotten: float = NEVER

    @property
    def embedding(self) -> FloatArray:
        return vectors(1, DIMENSION, self.seed).ravel()


@dataclass
class Answer:
    """What a search found, and when."""

    called: float
    returned: float
    probe: FloatArray
    limit: int
    matches: tuple[Match, ...]


@dataclass
class Page:
    """All samples that were there, and when that was asked."""

    called: float
    returned: float
    embeddings: dict[int, bytes]


@dataclass
class Histories:
    """What everybody saw."""

    lives: list[Life] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)


def change(store: Store, seed: int, until: float) -> Histories:
    """Enrol and forget samples and subjects of one's own, and samples of a subject that all share."""
    generator = random.Random(seed)  # noqa: S311  # no secret
    seeds = itertools.count(seed * 1_000_000)
    lives: list[Life] = []
    alive: list[Life] = []
    while time.monotonic() < until:
        kind = generator.random()
        if kind < 0.55 or len(alive) < 4:
            born = [
                Life(generator.choice(("shared", *(f"{seed}-{at}" for at in range(4)))), next(seeds), time.monotonic())
                for _ in range(generator.choice((1, 1, 2, 20)))
            ]
            told = enrol(
                store, new_samples([life.subject for life in born], np.stack([life.embedding for life in born]))
            )
            for life, one in zip(born, told, strict=True):
                life.enrolled, life.id, life.subject_number = time.monotonic(), one.sample, one.subject.number
            lives += born
            alive += born
            continue
        if kind < 0.9:
            dying = generator.sample(alive, generator.choice((1, 1, 4)))
        else:
            subject = f"{seed}-{generator.randrange(4)}"
            dying = [life for life in alive if life.subject == subject]
        alive = [life for life in alive if life not in dying]
        for life in dying:
            life.forgetting_called = time.monotonic()
        if kind < 0.9:
            assert store.forget_samples(GALLERY, [life.id for life in dying], origin()).samples == len(dying)
        else:
            assert store.forget_subjects(GALLERY, [subject], origin()).samples == len(dying)
        for life in dying:
            life.forgotten = time.monotonic()
    return Histories(lives=lives)


def ask(store: Store, seed: int, until: float) -> Histories:
    """Search for random probes."""
    generator = random.Random(seed)  # noqa: S311  # no secret
    answers: list[Answer] = []
    while time.monotonic() < until:
        probes = vectors(generator.choice((1, 1, 3)), DIMENSION, generator.randrange(2**32))
        limit = generator.choice((1, 3, 50))
        called = time.monotonic()
        rows = store.search(GALLERY, probes, limit)
        returned = time.monotonic()
        answers += [Answer(called, returned, probe, limit, row) for probe, row in zip(probes, rows, strict=True)]
    return Histories(answers=answers)


def read(store: Store, seed: int, until: float) -> Histories:
    """Read all samples, and change a subject."""
    pages: list[Page] = []
    while time.monotonic() < until:
        called = time.monotonic()
        samples = store.samples(GALLERY, limit=100_000)
        returned = time.monotonic()
        for person in store.subjects(GALLERY, limit=2):
            if person.id == "shared":  # which nobody forgets
                store.update(GALLERY, person.id, Details(name=f"name {seed}"), origin())
        embeddings = {sample.id: sample.embedding.tobytes() for sample in samples}
        assert len(embeddings) == len(samples)
        pages.append(Page(called, returned, embeddings))
    return Histories(pages=pages)


def change_in_a_process(kind: str, url: str, seed: int, until: float) -> Histories:
    """Do as ``change`` does, in another process."""
    with closing(open_kind(kind, url)) as store:
        return change(store, seed, until)


def check(histories: Sequence[Histories]) -> None:
    """Compare all answers with what was done."""
    lives = [life for history in histories for life in history.lives]
    answers = [answer for history in histories for answer in history.answers]
    pages = [page for history in histories for page in history.pages]
    assert len(lives) > 20
    assert len(answers) > 20
    assert len({life.id for life in lives}) == len(lives)
    timeline = _Timeline(lives)
    for answer in answers:
        timeline.check_answer(answer)
    for page in pages:
        timeline.check_page(page)


class _Timeline:
    def __init__(self, lives: Sequence[Life]) -> None:
        self._lives = {life.id: life for life in lives}
        self._embeddings = [life.embedding for life in lives]
        names = sorted({life.subject for life in lives})
        self._subjects = np.array([names.index(life.subject) for life in lives])
        self._ids = np.array([life.id for life in lives])
        self._names = names
        self._times = {
            name: np.array([getattr(life, name) for life in lives])
            for name in ("enrolment_called", "enrolled", "forgetting_called", "forgotten")
        }

    def surely(self, called: float, returned: float) -> NDArray[np.bool_]:
        """Tell which samples were there all the time."""
        return (self._times["enrolled"] < called) & (self._times["forgetting_called"] > returned)

    def perhaps(self, called: float, returned: float) -> NDArray[np.bool_]:
        """Tell which samples may have been there."""
        return (self._times["enrolment_called"] < returned) & (self._times["forgotten"] > called)

    def check_answer(self, answer: Answer) -> None:
        exact = true_distances("euclidean", answer.probe, self._embeddings)
        distances = dict(zip(self._ids, exact, strict=True))
        possible = set(self._ids[self.perhaps(answer.called, answer.returned)])
        for match in answer.matches:
            life = self._lives[match.sample]
            assert match.sample in possible
            assert (match.subject, match.subject_number) == (life.subject, life.subject_number)
            assert abs(match.distance - distances[match.sample]) <= TOLERANCE
        reported = [match.distance for match in answer.matches]
        assert reported == sorted(reported)
        assert len({match.subject for match in answer.matches}) == len(answer.matches) <= answer.limit
        sure = self.surely(answer.called, answer.returned)
        least = np.full(len(self._names), np.inf)
        np.minimum.at(least, self._subjects[sure], exact[sure])
        for match in answer.matches:
            assert match.distance <= least[self._names.index(match.subject)] + TOLERANCE
        due = np.sort(least[np.isfinite(least)])[: answer.limit]
        assert len(reported) >= len(due)
        assert (np.array(reported[: len(due)]) <= due + TOLERANCE).all()

    def check_page(self, page: Page) -> None:
        there = set(page.embeddings)
        assert there >= set(self._ids[self.surely(page.called, page.returned)])
        assert there <= set(self._ids[self.perhaps(page.called, page.returned)])
        for id_, embedding in page.embeddings.items():
            assert embedding == self._lives[id_].embedding.tobytes()


@real_places
@pytest.mark.thorough
def test_eight_threads_on_two_stores(place: Place) -> None:
    stores = [place.open(), place.open()]
    make(stores[0], dimension=DIMENSION)
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(THREADS) as executor:
        futures = [
            executor.submit(work, stores[number % 2], number + 1, until)
            for number, work in enumerate((change, change, change, ask, ask, ask, ask, read))
        ]
        check([future.result() for future in futures])
    final = {sample.id for sample in place.reopen().samples(GALLERY, limit=100_000)}
    lives = [life for future in futures for life in future.result().lives]
    assert final == {life.id for life in lives if life.forgotten == NEVER}


@real_places
@pytest.mark.thorough
def test_two_processes(place: Place) -> None:
    store = place.open()
    make(store, dimension=DIMENSION)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes, ThreadPoolExecutor(3) as threads:
        processes.submit(time.monotonic).result()  # it has started
        until = time.monotonic() + SECONDS
        other = processes.submit(change_in_a_process, place.kind, place.url, 1, until)
        works = [threads.submit(work, store, 2 + number, until) for number, work in enumerate((change, ask, ask))]
        check([other.result(), *(work.result() for work in works)])


@real_places
def test_a_key_is_used_once_however_many_use_it_at_once(place: Place) -> None:
    stores = [place.open(), place.open()]
    make(stores[0])

    def enrol_all(store: Store, start: int) -> list[tuple[str, int, bool]]:
        told = []
        for at in range(20):
            key = f"key {(start + at) % 20}"
            sample = NewSample(subject="anna", embedding=vectors(1)[0], key=key)
            (outcome,) = store.enrol(GALLERY, [sample], origin())
            told.append((key, stored(outcome).sample, stored(outcome).repeated))
        return told

    with ThreadPoolExecutor(THREADS) as executor:
        futures = [executor.submit(enrol_all, stores[at % 2], at * 2) for at in range(THREADS)]
        told = [one for future in futures for one in future.result()]
    assert len({(key, sample) for key, sample, _ in told}) == 20
    assert sorted(key for key, _, repeated in told if not repeated) == sorted(f"key {at}" for at in range(20))
    assert stores[0].gallery(GALLERY).samples == 20


@real_places
def test_a_gallery_is_made_once_however_many_make_it_at_once(place: Place) -> None:
    def try_to_make(store: Store) -> bool:
        try:
            make(store)
        except GalleryExists:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as executor:
        made = list(
            executor.map(try_to_make, [place.open() for _ in range(THREADS)])
        )  # the file, too, is made but once
    assert sum(made) == 1
    assert len(place.open().galleries()) == 1


@real_places
def test_versions_prevent_lost_updates(place: Place) -> None:
    stores = [place.open(), place.open()]
    make(stores[0])
    enrol(stores[0], [NewSample(subject="anna", embedding=vectors(1)[0], details=Details(metadata={"count": 0}))])

    def count_up(store: Store) -> int:
        done = 0
        while done < 5:
            person = store.subject(GALLERY, "anna")
            assert person is not None
            details = Details(metadata={"count": person.metadata["count"] + 1})
            try:
                store.update(GALLERY, "anna", details, origin(), version=person.version)
            except VersionMismatch:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(THREADS) as executor:
        total = sum(executor.map(count_up, stores * 4))
    person = stores[1].subject(GALLERY, "anna")
    assert person is not None
    assert person.metadata == {"count": total}
    entries = stores[0].entries(GALLERY, limit=1000)
    assert sum(entry.action == "update" for entry in entries) == total
    assert [entry.number for entry in entries] == sorted({entry.number for entry in entries})


@real_places
def test_a_gallery_comes_and_goes(place: Place) -> None:
    stores = [place.open(), place.open()]
    until, seen = time.monotonic() + SECONDS, threading.Event()

    def going_on() -> bool:
        now = time.monotonic()  # on a busy machine it takes longer to see anybody
        return now < until or (not seen.is_set() and now < until + 60)

    def come_and_go(store: Store) -> int:
        turn = 0
        while going_on() or turn < 2:
            make(store, dimension=DIMENSION)
            enrol(store, new_samples([f"{turn}-{at}" for at in range(10)], vectors(10, DIMENSION, turn)))
            store.drop(GALLERY, origin())
            turn += 1
        return turn

    def look(store: Store) -> None:
        while going_on():
            try:
                (matches,) = store.search(GALLERY, vectors(1, DIMENSION), 20)
            except GalleryNotFound:
                continue
            turns = {int(match.subject.partition("-")[0]) for match in matches}
            assert len(matches) in {0, 10}
            assert len(turns) <= 1
            for match in matches:
                turn, at = map(int, match.subject.split("-"))
                embedding = vectors(10, DIMENSION, turn)[at]
                exact = true_distances("euclidean", vectors(1, DIMENSION)[0], [embedding])
                assert abs(match.distance - exact[0]) <= TOLERANCE
            if matches:
                seen.set()

    with ThreadPoolExecutor(5) as executor:
        looks = [executor.submit(look, stores[at % 2]) for at in range(4)]
        assert executor.submit(come_and_go, stores[0]).result() > 1
        for future in looks:
            future.result()
    assert seen.is_set()
    assert stores[0].galleries() == ()


@pytest.mark.parametrize("place", ["sqlite", "sqlite-encrypted"], indirect=True)
def test_a_backup_is_one_state_of_a_store_that_changes(place: Place, tmp_path: Path) -> None:
    store = place.open()
    make(store)
    done: list[int] = []
    until = time.monotonic() + SECONDS

    def change_whole_batches() -> None:
        for batch in itertools.count():
            enrol(store, new_samples([f"{batch}"] * 10, vectors(10, seed=batch)))
            done.append(batch)
            if batch >= 5:
                store.forget_subjects(GALLERY, [f"{batch - 5}"], origin())
            if time.monotonic() > until:
                return

    with ThreadPoolExecutor(1) as executor:
        change_all = executor.submit(change_whole_batches)
        for number in range(5):
            before = len(done)
            backup = tmp_path / f"backup-{number}.db"
            store.backup(backup, origin())
            copy = Place(place.kind, f"sqlite:///{backup}")
            with closing(copy):
                owners = Counter(sample.subject for sample in copy.open().samples(GALLERY, limit=1000))
                assert set(owners.values()) <= {10}
                assert len(owners) <= 6
                assert max(map(int, owners), default=-1) >= before - 1
        change_all.result()
