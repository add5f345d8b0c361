"""Search finds what exact NumPy finds: whatever the data, the metric and the dimension, and after every change."""

from collections.abc import Sequence

import numpy as np
import pytest
from store_kinds import GALLERY, Place, enrol, make, new_samples, origin, vectors
from store_oracle import Oracle, true_distances, true_template

from visavis.errors import InvalidEmbedding
from visavis.galleries.index import RANKED_ANEW
from visavis.galleries.records import Match, NewSample
from visavis.galleries.store import Store
from visavis.types import FloatArray, Metric

LIMITS = (1, 5, 1000)


def clustered(count: int, dimension: int, seed: int = 0) -> FloatArray:
    """Return embeddings (N, D) in tight clusters, many of them exactly equal, of all lengths."""
    generator = np.random.default_rng((seed, dimension, 1))
    centres = vectors(max(2, count // 20), dimension, seed)
    rows = centres[generator.integers(0, len(centres), count)]
    rows += generator.normal(0, 0.02, rows.shape).astype(np.float32)
    rows[generator.random(count) < 0.3] = rows[0]
    rows *= generator.choice([1, 1, 0.5, 30], (count, 1)).astype(np.float32)
    return rows


def check(store: Store, probes: FloatArray, limits: Sequence[int] = LIMITS) -> None:
    """Compare what the store finds with what its own samples say."""
    oracle = Oracle(store.gallery(GALLERY).space.metric, store.samples(GALLERY, limit=100_000))
    answers = [store.search(GALLERY, probes, limit) for limit in limits]
    assert {len(rows) for rows in answers} == {len(probes)}
    for at, probe in enumerate(probes):
        oracle.check(probe, [(limit, rows[at]) for limit, rows in zip(limits, answers, strict=True)])


@pytest.mark.parametrize("data", ["random", "clustered"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dimension", [1, 128, *(pytest.param(many, marks=pytest.mark.thorough) for many in (7, 512))])
def test_search_finds_the_nearest(place: Place, dimension: int, metric: Metric, data: str) -> None:
    rows = vectors(600, dimension) if data == "random" else clustered(600, dimension)
    names = [f"s{at % 170}" for at in range(600)]
    probes = np.concatenate([rows[:3], vectors(3, dimension, seed=5), rows[:1] * 1.01])
    store = place.open()
    make(store, dimension=dimension, metric=metric)
    told = enrol(store, new_samples(names[:400], rows[:400]))
    check(store, probes)
    for at in np.random.default_rng(0).permutation(400)[:10]:
        store.forget_samples(GALLERY, [told[at].sample], origin(1))
    store.forget_samples(GALLERY, [one.sample for one in told[:200:2]], origin(1))
    store.forget_subjects(GALLERY, [f"s{at}" for at in range(100, 150)], origin(1))
    check(store, probes)
    enrol(store, new_samples(names[400:], rows[400:]))
    check(store, probes)
    check(place.reopen(), probes)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_subject_is_as_far_as_its_template(place: Place, metric: Metric) -> None:
    store, rng = place.open(), np.random.default_rng(3)
    make(store, dimension=16, metric=metric)
    names = [f"s{at}" for at in range(60) for _ in range(1 + at % 7)]
    centres = np.repeat(vectors(60, 16), [1 + at % 7 for at in range(60)], axis=0)
    rows = (centres + rng.normal(0, 0.6, centres.shape)).astype(np.float32)
    order = rng.permutation(len(rows))  # no subject's samples lie next to each other
    told = enrol(store, new_samples([names[at] for at in order], rows[order]))
    store.forget_samples(GALLERY, [one.sample for one in told[::9]], origin(1))
    enrol(store, new_samples(["s1", "s2"], rows[:2] * 2))  # perhaps where others were
    probes = np.concatenate([rows[:4], vectors(4, 16, seed=8)])
    for again in (store, place.reopen()):
        check_templates(again, metric, probes)


def check_templates(store: Store, metric: Metric, probes: FloatArray) -> None:
    """Compare a search by templates with one by samples, and with what each template is by its definition."""
    own: dict[str, list[FloatArray]] = {}
    for sample in store.samples(GALLERY, limit=10_000):
        own.setdefault(sample.subject, []).append(sample.embedding)
    assert max(map(len, own.values())) > 4
    for probe, found, near in zip(
        probes,
        store.search(GALLERY, probes, 7, templates=True),
        store.search(GALLERY, probes, RANKED_ANEW),
        strict=True,
    ):
        distances = {
            match.subject: float(true_distances(metric, probe, [true_template(own[match.subject])])[0])
            for match in near
        }
        best = sorted(distances.values())[:7]
        assert [match.distance for match in found] == pytest.approx(best, abs=1e-6)
        assert [match.distance for match in found] == pytest.approx([distances[m.subject] for m in found], abs=1e-6)
        assert {(match.subject, match.sample) for match in found} <= {(match.subject, match.sample) for match in near}
    all_of_them = store.search(GALLERY, probes, 1000, templates=True)
    assert {len(found) for found in all_of_them} == {len(own)}


@pytest.mark.parametrize("data", ["random", "clustered"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_single_samples_are_found_but_no_counter_samples_nor_whom_these_reject(
    place: Place, metric: Metric, data: str
) -> None:
    rows = vectors(300, 16) if data == "random" else clustered(300, 16)
    store = place.open()
    make(store, dimension=16, metric=metric)
    told = enrol(store, new_samples([f"s{at % 7}" for at in range(200)], rows[:200]))
    nobody = rows[200:206] * (1 + np.float32(0.05) * vectors(6, 16, seed=4))  # none is as far as a sample
    against = [NewSample(subject=f"s{at % 3}", embedding=row, counter=True) for at, row in enumerate(nobody)]
    enrol(store, against)
    store.forget_samples(GALLERY, [one.sample for one in told[::9]], origin(1))
    enrol(store, new_samples(["s1", "s5"], rows[206:208]))
    probes = np.concatenate([rows[:3], rows[200:203], vectors(2, 16, seed=8)])
    for again in (store, place.reopen()):
        for limit in (1, 7, 400):
            for probe, found in zip(probes, again.search(GALLERY, probes, limit, single=True), strict=True):
                check_single(again, metric, probe, found, limit)


def check_single(store: Store, metric: Metric, probe: FloatArray, found: Sequence[Match], limit: int) -> None:
    """Compare single samples that were found with what all samples say."""
    samples = store.samples(GALLERY, limit=10_000)
    distances = true_distances(metric, probe, [sample.embedding for sample in samples])
    pairs = list(zip(samples, distances.tolist(), strict=True))
    against = {one.subject: min(d for s, d in pairs if (s.subject, s.counter) == (one.subject, True))
               for one, _ in pairs if one.counter}  # fmt: skip
    left = {
        one.id: (one.subject, distance)
        for one, distance in pairs
        if not one.counter and distance <= against.get(one.subject, np.inf)
    }
    assert [match.distance for match in found] == pytest.approx(sorted(d for _, d in left.values())[:limit], abs=1e-6)
    assert len({match.sample for match in found}) == len(found)
    for match in found:
        subject, distance = left[match.sample]
        assert (match.subject, match.counter) == (subject, False)
        assert match.distance == pytest.approx(distance, abs=1e-6)


def test_who_is_rejected_with_many_samples_does_not_hide_single_samples_of_others(store: Store) -> None:
    make(store, dimension=16)
    centre, others = vectors(1, 16), vectors(30, 16, seed=2)
    crowd = centre + vectors(900, 16, seed=3) * np.float32(0.05)
    enrol(store, new_samples(["crowd"] * 900, crowd))
    enrol(store, new_samples([f"other{at % 4}" for at in range(30)], others))
    (found,) = store.search(GALLERY, centre, 600, single=True)
    assert {match.subject for match in found} == {"crowd"}
    enrol(store, [NewSample(subject="crowd", embedding=centre[0], counter=True)])
    (found,) = store.search(GALLERY, centre, 20, single=True)
    check_single(store, "euclidean", centre[0], found, 20)
    assert len(found) == 20


def test_a_forgotten_sample_leaves_no_trace_in_the_template(store: Store) -> None:
    make(store, dimension=16)
    rows = vectors(5, 16)
    told = enrol(store, new_samples(["anna", "anna", "anna", "ben", "ben"], rows))
    before = store.search(GALLERY, rows[3:], 5, templates=True)
    (again,) = enrol(store, new_samples(["ben"], rows[:1] * 9))
    assert store.search(GALLERY, rows[3:], 5, templates=True) != before
    store.forget_samples(GALLERY, [again.sample], origin(1))
    assert store.search(GALLERY, rows[3:], 5, templates=True) == before
    store.forget_samples(GALLERY, [told[1].sample, told[2].sample], origin(1))
    found = {match.subject: match.distance for match in store.search(GALLERY, rows[3:4], 5, templates=True)[0]}
    assert found["anna"] == pytest.approx(float(np.linalg.norm(rows[3] - rows[0])), abs=1e-6)


def test_opposite_samples_still_have_a_distance(store: Store) -> None:
    make(store, metric="cosine")
    near, _ = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    enrol(store, new_samples(["anna", "anna", "ben"], np.stack([near, -near, near])))
    (found,) = store.search(GALLERY, near[None], 5, templates=True)
    assert {match.subject for match in found} == {"ben", "anna"}
    assert np.isfinite([match.distance for match in found]).all()


def test_an_empty_gallery_knows_nobody(place: Place) -> None:
    store = place.open()
    make(store)
    assert store.search(GALLERY, vectors(2), 3) == ((), ())
    assert store.search(GALLERY, vectors(2), 3, templates=True) == ((), ())
    (told,) = enrol(store, new_samples(["anna"], vectors(1)))
    assert [match.subject for match in store.search(GALLERY, vectors(1), 3)[0]] == ["anna"]
    store.forget_samples(GALLERY, [told.sample], origin(1))
    assert store.search(GALLERY, vectors(2), 3) == ((), ())
    assert place.reopen().search(GALLERY, vectors(2), 3) == ((), ())


def test_no_probes_find_nobody(store: Store) -> None:
    make(store)
    assert store.search(GALLERY, vectors(0), 3) == ()
    enrol(store, new_samples(["anna"], vectors(1)))
    assert store.search(GALLERY, vectors(0), 3) == ()


def test_a_match_says_whom_and_how_far(store: Store) -> None:
    make(store)
    near, far = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    anna = NewSample(subject="anna", embedding=near)
    told = enrol(store, [NewSample(subject="ben", embedding=far), anna, anna])
    first, second = store.search(GALLERY, near[None], 5)[0]
    assert (first.subject, first.subject_number, first.sample) == ("anna", told[1].subject.number, told[1].sample)
    assert (first.name, first.distance) == (None, 0)
    assert second.subject == "ben"
    assert second.distance == pytest.approx(2**0.5, abs=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_those_who_are_equally_far_come_in_the_order_of_their_samples(place: Place, metric: Metric) -> None:
    store = place.open()
    make(store, dimension=128, metric=metric)
    rows = np.repeat(vectors(1, 128), 40, axis=0)
    told = enrol(store, new_samples([f"s{at % 20}" for at in range(40)], rows))
    store.forget_samples(GALLERY, [told[2].sample], origin(1))
    enrol(store, new_samples(["s2"], rows[:1]))  # perhaps where the other was
    for again in (store, place.reopen()):
        found = again.search(GALLERY, vectors(1, 128, seed=1), 50)[0]
        assert [match.sample for match in found] == sorted(
            one.sample for at, one in enumerate(told) if (at < 20 and at != 2) or at == 22
        )


def test_a_subject_with_many_samples_does_not_hide_the_others(store: Store) -> None:
    make(store, dimension=128)
    centre, others = vectors(1, 128), vectors(30, 128, seed=2)
    noise = vectors(900, 128, seed=3) * np.float32(0.05)
    crowd = centre + noise  # 3 subjects, 300 samples each, all nearer than anybody else
    enrol(store, new_samples([f"crowd{at % 3}" for at in range(900)], crowd))
    enrol(store, new_samples([f"other{at}" for at in range(30)], others))
    found = store.search(GALLERY, centre, 6)[0]
    assert {match.subject for match in found[:3]} == {"crowd0", "crowd1", "crowd2"}
    check(store, np.concatenate([centre, others[:2]]), limits=(1, 2, 3, 4, 6, 33, 40))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1e-11, 1e-6, 1e6])
def test_embeddings_of_every_size_are_compared(store: Store, scale: float, metric: Metric) -> None:
    make(store, dimension=16, metric=metric)
    rows = vectors(200, 16) * np.float32(scale)
    enrol(store, new_samples([f"s{at}" for at in range(200)], rows))
    samples = store.samples(GALLERY)
    oracle = Oracle(metric, samples)
    for probe in rows[:5]:
        found = store.search(GALLERY, probe[None], 5)[0]
        oracle.check(probe, [(5, found)])
        if metric == "cosine" or scale == 1e6:
            expected = np.sort(true_distances(metric, probe, [sample.embedding for sample in samples]))[:5]
            np.testing.assert_allclose([match.distance for match in found], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_small_differences_far_from_the_origin_are_seen(store: Store, metric: Metric) -> None:
    make(store, dimension=64, metric=metric)
    rows = vectors(2000, 64) + np.float32(100)  # squares of lengths near 640,000, of distances near 2
    enrol(store, new_samples([f"s{at}" for at in range(2000)], rows))
    check(store, rows[::500], limits=(1, 5))


def test_the_caller_keeps_its_probes(store: Store) -> None:
    make(store, metric="cosine")
    enrol(store, new_samples(["anna", "ben"], vectors(2)))
    probes = vectors(3) * np.float32(7)
    before = probes.copy()
    probes.flags.writeable = False
    store.search(GALLERY, probes, 2)
    np.testing.assert_array_equal(probes, before)


SIX = vectors(6)


@pytest.mark.parametrize("probes", [
    SIX.astype(np.float64),
    SIX.tolist(),
    np.asfortranarray(SIX),
    np.repeat(SIX, 2, axis=1)[:, ::2],
    SIX.astype(">f4"),
], ids=["float64", "list", "fortran", "strided", "big-endian"])  # fmt: skip
def test_probes_may_come_in_any_layout(store: Store, probes: FloatArray) -> None:
    make(store)
    enrol(store, new_samples([f"s{at}" for at in range(6)], SIX))
    assert store.search(GALLERY, probes, 3) == store.search(GALLERY, SIX, 3)


@pytest.mark.parametrize("probes", [
    vectors(1)[0],
    vectors(1, 5),
    vectors(0, 5),
    vectors(1)[None],
    np.zeros((1, 4), np.float32),
    np.array([[1, np.nan, 0, 0]]),
    np.array([[1, np.inf, 0, 0]]),
    [["a", "b", "c", "d"]],
    None,
])  # fmt: skip
@pytest.mark.parametrize("filled", [False, True])
def test_bad_probes_are_refused(store: Store, probes: FloatArray, filled: bool) -> None:  # noqa: FBT001  # a parameter of the test
    make(store)
    if filled:
        enrol(store, new_samples(["anna"], vectors(1)))
    with pytest.raises(InvalidEmbedding, match=r"probe|embedding"):
        store.search(GALLERY, probes, 1)


def test_a_long_list_of_probes(store: Store) -> None:
    make(store, dimension=128)
    rows = clustered(800, 128)
    enrol(store, new_samples([f"s{at % 99}" for at in range(800)], rows))
    check(store, np.concatenate([rows[:60], vectors(41, 128)]), limits=(3,))


def test_galleries_are_searched_apart(store: Store) -> None:
    for at, name in enumerate(("one", "two", GALLERY)):
        make(store, name)
        enrol(store, new_samples([name] * 10, vectors(10, seed=at)), gallery=name)
    for name in ("one", "two", GALLERY):
        assert {match.subject for row in store.search(name, vectors(9), 50) for match in row} == {name}
    store.drop("two", origin(1))
    check(store, vectors(3))
