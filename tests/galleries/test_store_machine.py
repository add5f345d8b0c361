"""Whatever is done to a store, in whatever order, it shows what the model shows."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from effort import effort, scaled
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_kinds import NOON, REAL_KINDS, Place, place_of
from store_model import new_model
from store_oracle import check_search

from visavis.errors import VisavisError
from visavis.galleries.records import (
    NEVER,
    Details,
    Erased,
    Gallery,
    LogEntry,
    NewSample,
    Origin,
    Sample,
    Stored,
    Subject,
)
from visavis.galleries.store import Store
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray, Quality

T = TypeVar("T")

DIMENSION = 3
NAMES = ("one", "two")
SUBJECTS = ("anna", "ben", "é", "e\u0301", "😀 人")
KEYS = ("k", "l", "é")

names = st.sampled_from(NAMES)
subjects = st.sampled_from(SUBJECTS)
stores = st.integers(0, 1)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
texts = st.none() | words
limits = st.integers(1, 6)
moments = st.integers(0, 30).map(lambda minutes: NOON + timedelta(minutes=minutes))
# On a coarse grid, so that many are equal or equally far; and some that are refused.
points = st.tuples(*[st.integers(-2, 2)] * DIMENSION).map(lambda point: np.array(point, np.float32))
details = st.builds(
    Details,
    name=texts,
    metadata=st.none() | st.dictionaries(words, st.integers() | texts | st.lists(texts), max_size=2),
    consent=texts,
    expires_at=st.none() | moments | st.just(NEVER),
    ignored=st.sampled_from([None, False, True]),
)
new_samples = st.builds(
    NewSample,
    subject=subjects,
    embedding=points.filter(np.any),
    details=st.just(Details()) | details,
    quality=st.none() | st.builds(Quality, *[st.floats(-9, 9, width=32)] * 3),
    source=texts,
    picture=st.none() | st.binary(max_size=3) | st.integers(4000, 9000).map(bytes),
    key=st.none() | st.sampled_from(KEYS),
    fingerprint=st.sampled_from(["", "f"]),
    counter=st.sampled_from([False, False, True]),
)
refused_samples = st.builds(NewSample, subject=subjects, embedding=st.sampled_from([np.zeros(3), np.ones(2)])) | (
    st.builds(NewSample, subject=st.sampled_from(["", "a/b"]), embedding=points.filter(np.any))
)
batches = st.lists(new_samples, max_size=6)
policies = st.builds(
    Policy, threshold=st.none() | st.floats(0.1, 2), keep=st.sampled_from(["nothing", "chips", "images"])
)


@dataclass
class Numbers:
    """Which number of the store stands for which of the model's."""

    of_store: dict[int, int] = field(default_factory=dict)
    of_model: dict[int, int] = field(default_factory=dict)

    def pair(self, model: int, store: int) -> None:
        """Learn, or check, that two stand for the same; a new one is larger than all that ever were."""
        if model not in self.of_store:
            assert store > max(self.of_model, default=0)
            self.of_store[model], self.of_model[store] = store, model
        assert self.of_store[model] == store

    def to_store(self, numbers: Sequence[int]) -> list[int]:
        return [self.of_store[number] for number in numbers]

    def to_model(self, numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(self.of_model[number] for number in numbers))


class StoreMachine(RuleBasedStateMachine):
    """Does the same to the model and to a store, of which there are two objects."""

    def __init__(self, kind: str, request: pytest.FixtureRequest) -> None:
        super().__init__()
        self.resources = ExitStack()
        folder = self.resources.enter_context(tempfile.TemporaryDirectory())
        self.place: Place = self.resources.enter_context(place_of(kind, Path(folder), request))
        self.stores = [self.place.open(), self.place.open()]
        self.model = new_model()
        self.sample_numbers, self.subject_numbers, self.gallery_numbers = Numbers(), Numbers(), Numbers()
        self.minutes = 0

    def teardown(self) -> None:
        self.resources.close()

    # --- what is done

    @initialize(metric=st.sampled_from(["euclidean", "cosine"]))
    def begin(self, metric: str) -> None:
        for which, name in enumerate(NAMES):
            self.create(which, name, Policy(keep="images"), metric)

    @rule(which=stores, name=names, policy=policies, metric=st.sampled_from(["euclidean", "cosine"]))
    def create(self, which: int, name: str, policy: Policy, metric: str) -> None:
        space = EmbeddingSpace("space", DIMENSION, metric)  # type: ignore[arg-type]  # it is one of the two
        origin = self.origin()
        made = self.both(which, lambda store: store.create(name, space, policy, origin))
        if made is not None:
            self.gallery_numbers.pair(made[0].number, made[1].number)

    @precondition(lambda self: self.model.galleries())
    @rule(which=stores, name=names)
    def drop(self, which: int, name: str) -> None:
        origin = self.origin()
        self.same_erased(self.both(which, lambda store: store.drop(name, origin)))

    @rule(which=stores, name=names, policy=policies)
    def set_policy(self, which: int, name: str, policy: Policy) -> None:
        origin = self.origin()
        self.both(which, lambda store: store.set_policy(name, policy, origin))

    @rule(which=stores, name=names, samples=batches)
    def enrol(self, which: int, name: str, samples: list[NewSample]) -> None:
        origin = self.origin()
        told = self.both(which, lambda store: store.enrol(name, samples, origin))
        if told is None:
            return
        assert len(told[1]) == len(samples)
        for ours, theirs in zip(*told, strict=True):
            assert type(ours) is type(theirs)
            if isinstance(ours, Stored) and isinstance(theirs, Stored):
                self.same_stored(ours, theirs)
        last = {one.subject.id: one.subject for one in told[1] if isinstance(one, Stored)}
        for id_, subject in last.items():
            assert self.in_model_numbers(subject) == self.model.subject(name, id_)

    @rule(which=stores, name=names, samples=batches, bad=refused_samples)
    def enrol_what_is_refused(self, which: int, name: str, samples: list[NewSample], bad: NewSample) -> None:
        origin = self.origin()
        assert self.both(which, lambda store: store.enrol(name, [*samples, bad], origin)) is None

    @rule(which=stores, name=names, subject=subjects, changes=details, wrong_by=st.none() | st.integers(0, 1))
    def update(self, which: int, name: str, subject: str, changes: Details, wrong_by: int | None) -> None:
        origin, version = self.origin(), self.version(name, subject, wrong_by)
        told = self.both(which, lambda store: store.update(name, subject, changes, origin, version=version))
        if told is not None:
            assert self.in_model_numbers(told[1]) == told[0]

    @rule(which=stores, name=names, subject=subjects, new_id=subjects | st.just("a/b"))
    def rename(self, which: int, name: str, subject: str, new_id: str) -> None:
        origin = self.origin()
        told = self.both(which, lambda store: store.update(name, subject, Details(), origin, new_id=new_id))
        if told is not None:
            assert self.in_model_numbers(told[1]) == told[0]

    @precondition(lambda self: self.model.galleries())
    @rule(which=stores, name=names, both=st.tuples(subjects, subjects), all_=st.booleans(), data=st.data())
    def move(self, which: int, name: str, both: tuple[str, str], all_: bool, data: st.DataObject) -> None:  # noqa: FBT001  # as it is drawn
        origin, (subject, into), new = self.origin(), both, data.draw(st.none() | details)
        ever = [0, *self.sample_numbers.of_store]
        chosen = data.draw(st.lists(st.sampled_from(ever), min_size=1, max_size=2))
        theirs = [self.sample_numbers.of_store.get(number, 0) for number in chosen]

        def move(store: Store) -> Subject:
            samples = None if all_ else chosen if store is self.model else theirs
            return store.move(name, subject, into, origin, samples=samples, new=new)

        if (told := self.both(which, move)) is not None:
            ours, its = (store.samples(name, subject=into, limit=10_000) for store in (self.model, self.stores[which]))
            for mine, other in zip(ours, its, strict=True):
                self.sample_numbers.pair(mine.id, other.id)
            self.subject_numbers.pair(told[0].number, told[1].number)
            assert self.in_model_numbers(told[1]) == told[0]

    @precondition(lambda self: self.model.galleries())
    @rule(which=stores, name=names, data=st.data())
    def forget_samples(self, which: int, name: str, data: st.DataObject) -> None:
        ever = [0, *self.sample_numbers.of_store]  # those of other galleries and those forgotten too
        chosen = data.draw(st.lists(st.sampled_from(ever), max_size=4))
        origin = self.origin()
        theirs = [self.sample_numbers.of_store.get(number, 0) for number in chosen]
        self.same_erased(
            self.both(
                which,
                lambda store: store.forget_samples(name, chosen if store is self.model else theirs, origin),
            )
        )

    @rule(which=stores, name=names, chosen=st.lists(subjects, max_size=3), wrong_by=st.none() | st.integers(0, 1))
    def forget_subjects(self, which: int, name: str, chosen: list[str], wrong_by: int | None) -> None:
        origin = self.origin()
        version = self.version(name, chosen[0], wrong_by) if chosen else None
        self.same_erased(self.both(which, lambda store: store.forget_subjects(name, chosen, origin, version=version)))

    @rule(which=stores, name=names)
    def expire(self, which: int, name: str) -> None:
        origin = self.origin()
        self.same_erased(self.both(which, lambda store: store.expire(name, origin)))

    @rule(which=stores, name=names, count=st.integers(0, 9), data=st.data())
    def log(self, which: int, name: str, count: int, data: st.DataObject) -> None:
        chosen = (
            data.draw(st.lists(st.sampled_from([*self.subject_numbers.of_store]), max_size=2))
            if (self.subject_numbers.of_store)
            else []
        )
        origin = self.origin()
        self.stores[which].log("identify", name, origin, subjects=self.subject_numbers.to_store(chosen), count=count)
        self.model.log("identify", name, origin, subjects=chosen, count=count)

    @rule(which=stores)
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = self.place.open()

    # --- what is asked

    @rule(which=stores, name=names, limit=limits, after=st.integers(0, 30), subject=st.none() | subjects)
    def pages(self, which: int, name: str, limit: int, after: int, subject: str | None) -> None:
        ours, theirs = self.sample_numbers.of_store, self.subject_numbers.of_store

        def samples(store: Store) -> tuple[Sample, ...]:
            known = [0, *ours][: after + 1][-1]
            start = known if store is self.model else ours.get(known, 0)
            return store.samples(name, subject=subject, after=start, limit=limit)

        def people(store: Store) -> tuple[Subject, ...]:
            known = [0, *theirs][: after + 1][-1]
            return store.subjects(name, after=known if store is self.model else theirs.get(known, 0), limit=limit)

        if (found := self.both(which, samples)) is not None:
            self.same_samples(*found)
        if (persons := self.both(which, people)) is not None:
            assert tuple(map(self.in_model_numbers, persons[1])) == persons[0]

    @rule(which=stores, name=names, probes=st.lists(points.filter(np.any), min_size=1, max_size=9), limit=limits)
    def search(self, which: int, name: str, probes: list[FloatArray], limit: int) -> None:
        found = self.both(which, lambda store: store.search(name, np.stack(probes), limit))
        if found is None:
            return
        metric = self.model.gallery(name).space.metric
        samples = self.model.samples(name, limit=10_000)
        for probe, row in zip(probes, found[1], strict=True):
            matches = [replace(match, sample=self.sample_numbers.of_model[match.sample]) for match in row]
            check_search(matches, metric, probe, samples, limit)
            for match in matches:
                subject = self.model.subject(name, match.subject)
                assert subject is not None
                assert match.name == subject.name
                assert self.subject_numbers.of_model[match.subject_number] == subject.number

    @invariant()
    def all_that_is_visible_is_the_same(self) -> None:
        store = self.stores[self.minutes % 2]
        expected = self.model.galleries()
        assert tuple(map(self.gallery_in_model_numbers, store.galleries())) == expected
        for name in (gallery.name for gallery in expected):
            people = tuple(map(self.in_model_numbers, store.subjects(name, limit=1000)))
            assert people == self.model.subjects(name, limit=1000)
            ours, theirs = (one.samples(name, limit=10_000) for one in (self.model, store))
            self.same_samples(ours, theirs)
            for mine, its in zip(ours, theirs, strict=True):
                assert self.model.picture(name, mine.id) == store.picture(name, its.id)
            keyed, keyed_there = self.model.keyed(name, KEYS), store.keyed(name, KEYS)
            assert keyed.keys() == keyed_there.keys()
            for key, one in keyed.items():
                self.same_stored(one, keyed_there[key])
        entries = store.entries(limit=10_000)
        assert [one.number for one in entries] == sorted({one.number for one in entries})
        assert [self.entry(one, self.subject_numbers.to_model(one.subjects)) for one in entries] == [
            self.entry(one, tuple(sorted(one.subjects))) for one in self.model.entries(limit=10_000)
        ]

    # --- how it is compared

    def origin(self) -> Origin:
        """Return the next moment."""
        self.minutes += 1
        return Origin(actor=f"actor {self.minutes % 3}", at=NOON + timedelta(minutes=self.minutes))

    def version(self, name: str, subject: str, wrong_by: int | None) -> int | None:
        """Return a version to be insisted on: the right one, a wrong one, or none."""
        known = next((gallery for gallery in self.model.galleries() if gallery.name == name), None)
        found = self.model.subject(name, subject) if known else None
        return None if wrong_by is None else (found.version if found else 1) + wrong_by

    def both(self, which: int, call: Callable[[Store], T]) -> tuple[T, T] | None:
        """Return what the model and the store answer; None where both refuse, with the same error."""
        ours, theirs = outcome_of(call, self.model), outcome_of(call, self.stores[which])
        if isinstance(ours, type) or isinstance(theirs, type):
            assert ours is theirs
            return None
        return ours, theirs

    def same_erased(self, both: tuple[Erased, Erased] | None) -> None:
        if both is not None:
            ours, theirs = both
            assert self.subject_numbers.to_model(theirs.subjects) == tuple(sorted(ours.subjects))
            assert theirs.samples == ours.samples
            assert theirs.overwritten or self.place.kind == "postgres"

    def same_stored(self, ours: Stored, theirs: Stored) -> None:
        self.sample_numbers.pair(ours.sample, theirs.sample)
        self.subject_numbers.pair(ours.subject.number, theirs.subject.number)
        assert (ours.subject.id, ours.repeated) == (theirs.subject.id, theirs.repeated)

    def same_samples(self, ours: Sequence[Sample], theirs: Sequence[Sample]) -> None:
        assert self.sample_numbers.to_store([one.id for one in ours]) == [one.id for one in theirs]
        for mine, its in zip(ours, theirs, strict=True):
            assert (mine.subject, mine.quality, mine.source) == (its.subject, its.quality, its.source)
            assert (mine.picture, mine.created_at) == (its.picture, its.created_at)
            np.testing.assert_array_equal(mine.embedding, its.embedding)

    def in_model_numbers(self, subject: Subject) -> Subject:
        return replace(subject, number=self.subject_numbers.of_model[subject.number])

    def gallery_in_model_numbers(self, gallery: Gallery) -> Gallery:
        assert gallery.encrypted == (self.place.kind == "sqlite-encrypted")
        return replace(gallery, number=self.gallery_numbers.of_model[gallery.number], encrypted=False)

    def entry(self, entry: LogEntry, people: tuple[int, ...]) -> tuple[object, ...]:
        return entry.at, entry.actor, entry.action, entry.gallery, people, entry.count


def outcome_of(call: Callable[[Store], T], store: Store) -> T | type[VisavisError]:
    """Return what a store answers, or the kind of its refusal."""
    try:
        return call(store)
    except VisavisError as error:
        return type(error)


@scaled
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.thorough if kind == "postgres" else ()) for kind in REAL_KINDS]
)
def test_a_store_does_what_the_model_does(kind: str, request: pytest.FixtureRequest) -> None:
    run_state_machine_as_test(
        partial(StoreMachine, kind, request),  # type: ignore[arg-type]  # any callable that makes one will do
        settings=settings(
            max_examples=effort(8, 50),
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a failure prints its steps; to make them fewer would take minutes
        ),
    )
