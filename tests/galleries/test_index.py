"""The index finds what NumPy finds, whatever was added and removed before."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_oracle import true_distances

from visavis.galleries import index as index_module
from visavis.galleries.index import ExactIndex, Hit
from visavis.types import FloatArray, Metric

METRICS: tuple[Metric, ...] = ("euclidean", "cosine")


@dataclass(eq=False)
class Twin:
    """An index, and beside it a dictionary of what it holds."""

    dimension: int
    metric: Metric
    expected: int = 0
    held: dict[int, tuple[int, FloatArray]] = field(default_factory=dict)
    next_sample: int = 1

    def __post_init__(self) -> None:
        self.index = ExactIndex(self.dimension, self.metric, self.expected)

    def change(self, removed: Sequence[int], subjects: Sequence[int], vectors: FloatArray) -> list[int]:
        samples = list(range(self.next_sample, self.next_sample + len(subjects)))
        self.next_sample += len(samples)
        for sample in removed:
            self.held.pop(sample, None)
        self.held.update(zip(samples, zip(subjects, vectors, strict=True), strict=True))
        self.index.change(removed, np.array(samples, np.int64), np.array(subjects, np.int64), vectors)
        return samples

    def check(self, probes: FloatArray, limits: Sequence[int] = (1, 5, 1000)) -> None:
        assert len(self.index) == len(self.held)
        for limit in limits:
            rows = self.index.search(probes, limit)
            assert len(rows) == len(probes)
            for probe, hits in zip(probes, rows, strict=True):
                self._check_row(probe, hits, limit)

    def _check_row(self, probe: FloatArray, hits: list[Hit], limit: int) -> None:
        samples = list(self.held)
        exact = true_distances(self.metric, probe, [self.held[sample][1] for sample in samples])
        of_sample = dict(zip(samples, exact.tolist(), strict=True))
        least: dict[int, float] = {}
        for sample, distance in of_sample.items():
            subject = self.held[sample][0]
            least[subject] = min(distance, least.get(subject, np.inf))
        scale = 2e-6 * max(1.0, float(exact.max(initial=0)))
        assert len({hit.subject for hit in hits}) == len(hits) == min(limit, len(least))
        assert [hit.subject for hit in hits] == [self.held[hit.sample][0] for hit in hits]
        assert [(hit.distance, hit.sample) for hit in hits] == sorted((hit.distance, hit.sample) for hit in hits)
        reported = [hit.distance for hit in hits]
        np.testing.assert_allclose(reported, [of_sample[hit.sample] for hit in hits], rtol=0, atol=scale)
        np.testing.assert_allclose(reported, sorted(least.values())[: len(hits)], rtol=0, atol=scale)


def rows_of(generator: np.random.Generator, count: int, dimension: int) -> FloatArray:
    rows: FloatArray = generator.normal(size=(count, dimension)).astype(np.float32)
    return rows


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an index that grows, fills blocks and looks twice at sizes that are quick to test."""
    sizes = {"_FIRST_ROWS": 16, "_BLOCK": 8, "_SPARE": 2, "_ENOUGH_CANDIDATES": 16, "_MOST_CANDIDATES": 64}
    for name, size in sizes.items():
        monkeypatch.setattr(index_module, name, size)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("expected", [0, 100_000])
def test_it_grows_over_several_segments(metric: Metric, expected: int) -> None:
    generator = np.random.default_rng(0)
    twin = Twin(16, metric, expected)
    for count in (1, 4095, 1, 5000, 3, 11_000):  # up to an edge, over one, and several at once
        twin.change([], generator.integers(1, 3000, count).tolist(), rows_of(generator, count, 16))
    twin.check(rows_of(generator, 3, 16))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(8))
def test_any_history(metric: Metric, seed: int) -> None:
    generator = np.random.default_rng(seed)
    dimension = int(generator.choice([1, 2, 5, 33]))
    twin = Twin(dimension, metric)
    centres = rows_of(generator, 4, dimension) * np.float32(3)
    for _ in range(25):
        count = int(generator.choice([0, 1, 3, 40]))
        vectors = centres[generator.integers(0, 4, count)] + rows_of(generator, count, dimension) * np.float32(0.01)
        vectors[generator.random(count) < 0.3] = centres[0]  # many that are exactly equal
        there = list(twin.held)
        leaving = generator.permutation(there)[: generator.integers(0, len(there) + 1) // 2].tolist() if there else []
        twin.change([*leaving, 10**9, *leaving[:1]], generator.integers(1, 12, count).tolist(), vectors)
        probes = np.concatenate([centres[:2], rows_of(generator, 1, dimension)])
        twin.check(probes, (1, 3, 20))


@pytest.mark.usefixtures("small")
@given(st.data())
def test_any_history_by_hypothesis(data: st.DataObject) -> None:
    twin = Twin(2, data.draw(st.sampled_from(METRICS)))
    number = st.integers(-3, 3).map(float)
    vector = st.tuples(number, number).filter(any)
    for _ in range(data.draw(st.integers(1, 6))):
        added = data.draw(st.lists(st.tuples(st.integers(1, 5), vector), max_size=30))
        removed = data.draw(st.lists(st.sampled_from(list(twin.held) or [99]), max_size=30))
        vectors = np.array([row for _, row in added], np.float32).reshape(-1, 2)
        twin.change(removed, [subject for subject, _ in added], vectors)
        twin.check(np.array([data.draw(vector)], np.float32), (1, 2, 9))


@pytest.mark.usefixtures("small")
def test_rows_are_used_again() -> None:
    generator = np.random.default_rng(0)
    twin = Twin(3, "euclidean")
    samples = twin.change([], [1] * 100, rows_of(generator, 100, 3))
    for _ in range(20):
        samples = twin.change(samples[:50], [2] * 50, rows_of(generator, 50, 3)) + samples[50:]
        twin.check(rows_of(generator, 2, 3))
    assert not twin.index.is_sparse


def test_what_was_removed_is_not_in_memory() -> None:
    twin = Twin(3, "euclidean")
    samples = twin.change([], [1, 2], np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    twin.change(samples[:1], [], np.empty((0, 3), np.float32))
    (segment,) = twin.index._segments  # noqa: SLF001  # nobody else can see what is in memory
    np.testing.assert_array_equal(segment.vectors[:2], [[0, 0, 0], [4, 5, 6]])


@pytest.mark.usefixtures("small")
def test_it_is_sparse_where_most_rows_are_free() -> None:
    twin = Twin(3, "euclidean")
    samples = twin.change([], [1] * 100, rows_of(np.random.default_rng(0), 100, 3))
    twin.change(samples[:50], [], np.empty((0, 3), np.float32))
    assert not twin.index.is_sparse
    twin.change(samples[50:51], [], np.empty((0, 3), np.float32))
    assert twin.index.is_sparse


@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_index_finds_nobody(metric: Metric) -> None:
    twin = Twin(4, metric)
    assert len(twin.index) == 0
    assert twin.index.search(np.ones((2, 4), np.float32), 5) == [[], []]
    assert twin.index.search(np.empty((0, 4), np.float32), 5) == []
    samples = twin.change([], [1], np.ones((1, 4), np.float32))
    assert twin.index.search(np.empty((0, 4), np.float32), 5) == []
    twin.change(samples, [], np.empty((0, 4), np.float32))
    assert twin.index.search(np.ones((2, 4), np.float32), 5) == [[], []]


def test_a_row_of_zeros_is_a_place_like_any_other() -> None:
    twin = Twin(2, "euclidean")
    samples = twin.change([], [1, 2, 3], np.array([[0, 0], [3, 4], [0, 0]], np.float32))
    twin.change(samples[2:], [], np.empty((0, 2), np.float32))  # whose row is zeros too, and free
    assert [hit.distance for hit in twin.index.search(np.zeros((1, 2), np.float32), 5)[0]] == [0, 5]
    twin.check(np.array([[0, 0], [3, 4], [-9, 0]], np.float32))


@pytest.mark.parametrize("metric", METRICS)
def test_equals_come_in_the_order_of_their_samples(metric: Metric) -> None:
    twin = Twin(8, metric)
    twin.change([], [7, 3, 5, 3, 1], np.ones((5, 8), np.float32))
    (hits,) = twin.index.search(np.ones((1, 8), np.float32), 10)
    assert [(hit.sample, hit.subject) for hit in hits] == [(1, 7), (2, 3), (3, 5), (5, 1)]


def test_more_equals_than_are_looked_at() -> None:
    twin = Twin(2, "euclidean")
    count = 20_000
    twin.change([], list(range(1, count + 1)), np.ones((count, 2), np.float32))
    twin.change([], [count + 1], np.full((1, 2), 0.5, np.float32))
    (hits,) = twin.index.search(np.zeros((1, 2), np.float32), 5)
    assert hits[0].subject == count + 1
    assert len({hit.subject for hit in hits}) == 5
    assert {round(hit.distance, 6) for hit in hits[1:]} == {round(2**0.5, 6)}


@pytest.mark.thorough
@pytest.mark.parametrize("metric", METRICS)
def test_crowds_hide_nobody(metric: Metric) -> None:
    generator = np.random.default_rng(1)
    twin = Twin(16, metric)
    centre = np.ones(16, np.float32)
    crowd = centre + rows_of(generator, 20_000, 16) * np.float32(1e-3)
    twin.change([], generator.integers(1, 3, 20_000).tolist(), crowd)
    twin.change([], list(range(10, 30)), rows_of(generator, 20, 16))
    twin.check(centre[None], (1, 2, 3, 22, 50))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
def test_many_probes_are_as_each_alone(count: int) -> None:
    generator = np.random.default_rng(2)
    twin = Twin(32, "euclidean")
    twin.change([], generator.integers(1, 500, 6000).tolist(), rows_of(generator, 6000, 32))
    probes = rows_of(generator, count, 32)
    together = twin.index.search(probes, 4)
    assert together == [twin.index.search(probe[None], 4)[0] for probe in probes]
    twin.check(probes, (4,))


def test_cosine_is_about_directions_alone() -> None:
    twin = Twin(2, "cosine")
    twin.change([], [1, 2, 3], np.array([[1e-6, 0], [0, 1e6], [-3, 0]], np.float32))
    (hits,) = twin.index.search(np.array([[1e-9, 0]], np.float32), 5)
    assert [hit.subject for hit in hits] == [1, 2, 3]
    np.testing.assert_allclose([hit.distance for hit in hits], [0, 1, 2], atol=1e-7)


def test_the_caller_keeps_its_arrays() -> None:
    vectors = np.array([[3, 4]], np.float32)
    vectors.flags.writeable = False
    index = ExactIndex(2, "cosine")
    index.change([], np.array([1]), np.array([1]), vectors)
    index.search(vectors, 1)
    np.testing.assert_array_equal(vectors, [[3, 4]])


def test_a_search_sees_a_change_whole() -> None:
    """Subject 1 moves between two places, by a change that removes and adds at once: it is always in one of them."""
    index = ExactIndex(2, "euclidean")
    places = np.array([[1, 0], [0, 1]], np.float32)
    index.change([], np.array([1]), np.array([1]), places[:1])
    over = threading.Event()
    wrong: list[list[Hit]] = []

    def search() -> None:
        while not over.is_set():
            (hits,) = index.search(np.zeros((1, 2), np.float32), 5)
            if [(hit.subject, hit.distance) for hit in hits] != [(1, 1.0)]:
                wrong.append(hits)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for sample in range(2, 400):
        index.change([sample - 1], np.array([sample]), np.array([1]), places[sample % 2][None])
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
