"""Counter-samples, and subjects that are ignored: in every kind of store."""

import numpy as np
import pytest
from store_kinds import GALLERY, Place, enrol, make, new_samples, origin, vectors
from store_oracle import TOLERANCE, true_distances, true_template

from visavis.galleries.records import Details, NewSample
from visavis.galleries.store import Store
from visavis.types import Metric

ROWS = vectors(60, 16)


def fill(store: Store, metric: Metric = "euclidean") -> None:
    """Enrol ten subjects with three samples each, and three counter-samples."""
    make(store, dimension=16, metric=metric)
    new = new_samples([f"s{at % 10}" for at in range(60)], ROWS)
    enrol(store, new[:30])
    against = [NewSample(subject=one.subject, embedding=one.embedding, counter=True) for one in new[30:]]
    enrol(store, against)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("templates", [False, True])
def test_search_tells_them_apart(place: Place, metric: Metric, *, templates: bool) -> None:
    store = place.open()
    fill(store, metric)
    (forgotten,) = (one.id for one in store.samples(GALLERY, subject="s3")[-1:])
    store.forget_samples(GALLERY, [forgotten], origin(1), subject="s3")
    for again in (store, place.reopen()):
        samples = again.samples(GALLERY, limit=100)
        assert [one.counter for one in samples] == [False] * 30 + [True] * 29
        for probe in (*ROWS[:2], *ROWS[40:42]):
            (found,) = again.search(GALLERY, probe[None], 100, templates=templates)
            assert sorted({(one.subject, one.counter) for one in found}) == sorted(
                (f"s{at}", counter) for at in range(10) for counter in (False, True)
            )
            for one in found:
                of_it = [x.embedding for x in samples if (x.subject, x.counter) == (one.subject, one.counter)]
                if templates and not one.counter:
                    of_it = [true_template(of_it)]
                assert one.distance == pytest.approx(true_distances(metric, probe, of_it).min(), abs=10 * TOLERANCE)
                assert one.subject_number > 0


def test_they_push_nobody_out(place: Place) -> None:
    store = place.open()
    make(store, dimension=16)
    enrol(store, new_samples(["ada", *(f"s{at}" for at in range(12))], np.concatenate([ROWS[:1] * 1.2, ROWS[40:52]])))
    enrol(store, [NewSample(subject=f"s{at}", embedding=ROWS[0], counter=True) for at in range(12)])
    for again in (store, place.reopen()):
        for templates in (False, True):
            (found,) = again.search(GALLERY, ROWS[:1], 1, templates=templates)
            assert [one.subject for one in found if not one.counter] == ["ada"]
            assert found[-1].subject == "ada"


def test_they_live_and_go_with_their_subject(place: Place) -> None:
    store = place.open()
    fill(store)
    subject = store.subject(GALLERY, "s1")
    assert subject is not None
    assert (subject.samples, len(store.samples(GALLERY, subject="s1"))) == (6, 6)
    merged = store.move(GALLERY, "s1", "s2", origin(1))
    assert merged.samples == 12
    assert sum(one.counter for one in store.samples(GALLERY, subject="s2")) == 6
    (moved, *_) = (one for one in store.samples(GALLERY, subject="s2") if one.counter)
    store.move(GALLERY, "s2", "s4", origin(2), samples=[moved.id])
    assert store.samples(GALLERY, subject="s4")[-1].counter
    assert store.forget_subjects(GALLERY, ["s2"], origin(3)).samples == 11
    store = place.reopen()
    assert len(store.samples(GALLERY, limit=100)) == store.gallery(GALLERY).samples == 60 - 11
    (found,) = store.search(GALLERY, ROWS[31][None], 100)
    assert {one.subject for one in found} == {f"s{at}" for at in (0, *range(3, 10))}
    assert not store.check(GALLERY).damaged


def test_one_sample_is_of_a_subject_or_against_it(place: Place) -> None:
    store = place.open()
    make(store, dimension=16)
    enrol(store, [NewSample(subject="ada", embedding=ROWS[0]), NewSample(subject="ada", embedding=ROWS[1])])
    store.search(GALLERY, ROWS[:1], 5)  # so that it is followed in memory
    enrol(store, [NewSample(subject="ada", embedding=ROWS[0], counter=True)])
    for again in (store, place.reopen()):
        (found,) = again.search(GALLERY, ROWS[:1], 5)
        assert [(one.counter, one.distance < 1e-3) for one in found] == [(False, True), (True, True)]
        np.testing.assert_array_equal(again.samples(GALLERY, subject="ada")[-1].embedding, ROWS[0])


def test_who_is_ignored_stays_so(place: Place) -> None:
    store = place.open()
    fill(store)
    assert store.update(GALLERY, "s1", Details(ignored=True), origin(1)).ignored
    for again in (store, place.reopen()):
        assert [one.ignored for one in again.subjects(GALLERY)] == [at == 1 for at in range(10)]
        (found,) = again.search(GALLERY, ROWS[:1], 100)
        assert {one.subject for one in found if one.ignored} == {"s1"}
        assert again.update(GALLERY, "s1", Details(name="One"), origin(2)).ignored
    assert not place.open().update(GALLERY, "s1", Details(ignored=False), origin(3)).ignored
