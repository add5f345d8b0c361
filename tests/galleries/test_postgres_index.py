"""Search with and without HNSW indexes, on a server of today and on one with an older pgvector."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np
import pytest
from postgres_server import PACKAGES, PostgresServer, running_server
from store_kinds import GALLERY, enrol, make, new_samples, origin, vectors
from store_oracle import check_search, true_distances

from visavis.types import FloatArray, Metric

pytest.importorskip("psycopg", exc_type=ImportError)

from visavis.galleries.postgres.store import PostgresStore

COUNT, DIMENSION, PER_SUBJECT = 1500, 16, 3
SUBJECTS = [f"subject {at // PER_SUBJECT}" for at in range(COUNT)]


@pytest.fixture(scope="module", params=list(PACKAGES))
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with running_server(request.param) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    with server.database() as url:
        # A gallery of a test is so small that the database would look at all of it.
        server.execute(f"ALTER DATABASE {urlsplit(url).path[1:]} SET enable_seqscan = off")
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url)) as store:
        yield store


@pytest.fixture
def indexed(url: str, store: PostgresStore) -> Iterator[PostgresStore]:
    """A store that uses indexes, of a database with a filled gallery."""
    fill(store)
    with closing(PostgresStore(url, search="hnsw")) as indexed:
        yield indexed


def fill(store: PostgresStore, metric: Metric = "euclidean", name: str = GALLERY) -> None:
    make(store, name, dimension=DIMENSION, metric=metric)
    enrol(store, new_samples(SUBJECTS, vectors(COUNT, DIMENSION)), gallery=name)


def probes(count: int) -> FloatArray:
    return np.asarray(vectors(COUNT, DIMENSION)[:count] + 0.1 * vectors(count, DIMENSION, seed=1), np.float32)


def indexes(server: PostgresServer, url: str) -> dict[str, tuple[bool, int]]:
    """Return the HNSW indexes of a database: whether each is valid, and how often closed connections have used it."""
    rows = server.execute(
        "SELECT relname, indisvalid, pg_stat_get_numscans(indexrelid) FROM pg_index "
        "JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam WHERE amname = 'hnsw'",
        url,
    )
    return {name: (valid, scans) for name, valid, scans in rows}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_an_exact_search_uses_no_index_and_an_indexed_one_does(
    server: PostgresServer, url: str, store: PostgresStore, metric: Metric
) -> None:
    fill(store, metric)
    assert indexes(server, url) == {}
    exact = store.search(GALLERY, probes(20), 5)
    with closing(PostgresStore(url, search="hnsw")) as indexed:
        assert indexes(server, url) == {"samples_1_nearest": (True, 0)}
        assert store.search(GALLERY, probes(20), 5) == exact
        store.close()
        assert indexes(server, url) == {"samples_1_nearest": (True, 0)}  # though it would cost less
        approximate = indexed.search(GALLERY, probes(20), 5)
    assert indexes(server, url)["samples_1_nearest"][1] >= 20
    samples = store.samples(GALLERY, limit=COUNT)
    for probe, found in zip(probes(20), exact, strict=True):
        check_search(found, metric, probe, samples, 5)
    same = [a[0] == b[0] for a, b in zip(exact, approximate, strict=True)]
    assert np.mean(same) > 0.9
    for matches, probe in zip(approximate, probes(20), strict=True):
        embeddings = {sample.id: sample.embedding for sample in samples}
        for match in matches:  # what is found is told exactly
            (distance,) = true_distances(metric, probe, [embeddings[match.sample]])
            assert match.distance == pytest.approx(distance, abs=1e-7)


def test_changes_are_found_by_index_at_once(indexed: PostgresStore) -> None:
    probe = probes(1)
    (first,) = indexed.search(GALLERY, probe, 1)[0]
    assert first.subject == SUBJECTS[0]
    indexed.forget_subjects(GALLERY, [first.subject], origin())
    assert indexed.search(GALLERY, probe, 1)[0][0].subject != first.subject
    enrol(indexed, new_samples(["new"], probe))
    assert indexed.search(GALLERY, probe, 1)[0][0].subject == "new"


def test_a_new_gallery_has_an_index(server: PostgresServer, url: str, indexed: PostgresStore) -> None:
    fill(indexed, "cosine", "new")
    assert set(indexes(server, url)) == {"samples_1_nearest", "samples_2_nearest"}
    assert len(indexed.search("new", probes(3), 5)) == 3
    indexed.close()
    assert indexes(server, url)["samples_2_nearest"][1] >= 1
    indexed.drop("new", origin())
    assert set(indexes(server, url)) == {"samples_1_nearest"}


def test_a_gallery_without_its_index_is_searched_all_the_same(
    server: PostgresServer, url: str, indexed: PostgresStore
) -> None:
    with closing(PostgresStore(url)) as other:
        fill(other, name="others")
        assert indexed.search("others", probes(5), 5) == other.search("others", probes(5), 5)
    assert set(indexes(server, url)) == {"samples_1_nearest"}


def test_as_many_subjects_are_found_as_there_are(url: str, store: PostgresStore) -> None:
    make(store, dimension=DIMENSION)
    crowd = np.asarray(0.001 * vectors(COUNT, DIMENSION) + vectors(1, DIMENSION, seed=2), np.float32)
    enrol(store, new_samples(["crowd"] * COUNT, crowd))
    enrol(store, new_samples(["far", "farther"], vectors(2, DIMENSION, seed=3)))
    with closing(PostgresStore(url, search="hnsw", ef_search=1)) as indexed:
        probe = vectors(1, DIMENSION, seed=2)
        assert [match.subject for match in indexed.search(GALLERY, probe, 10)[0]] == [
            match.subject for match in store.search(GALLERY, probe, 10)[0]
        ]
        assert len(indexed.search(GALLERY, probe, 10)[0]) == 3
        assert len(indexed.search(GALLERY, probe, 2)[0]) == 2


@pytest.mark.parametrize("limit", [1, 30, 400, 2000])
def test_any_number_of_subjects_may_be_wanted(indexed: PostgresStore, limit: int) -> None:
    (found,) = indexed.search(GALLERY, probes(1), limit)
    assert len({match.subject for match in found}) == len(found) == min(limit, COUNT // PER_SUBJECT)
    assert [match.distance for match in found] == sorted(match.distance for match in found)


def test_a_broken_index_is_made_anew(server: PostgresServer, url: str, indexed: PostgresStore) -> None:
    server.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'visavis.samples_1_nearest'::regclass", url
    )
    assert indexes(server, url)["samples_1_nearest"][0] is False
    assert len(indexed.search(GALLERY, probes(1), 5)[0]) == 5
    with closing(PostgresStore(url, search="hnsw")):
        assert indexes(server, url)["samples_1_nearest"][0] is True


def test_many_may_make_an_index_at_once(server: PostgresServer, url: str, store: PostgresStore) -> None:
    for name in ("one", "two"):
        fill(store, name=name)
    with ThreadPoolExecutor(3) as pool:
        several = list(pool.map(lambda _: PostgresStore(url, search="hnsw"), range(3)))
    assert {name: valid for name, (valid, _) in indexes(server, url).items()} == {
        "samples_1_nearest": True,
        "samples_2_nearest": True,
    }
    for indexed in several:
        indexed.close()


def test_others_write_while_an_index_is_made(url: str, store: PostgresStore) -> None:
    fill(store)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(PostgresStore, url, search="hnsw")
        while not opening.done():
            enrol(store, new_samples(["anna"], vectors(1, DIMENSION)))
            assert len(store.search(GALLERY, probes(1), 1)[0]) == 1
        opening.result().close()


def test_embeddings_too_wide_for_an_index_are_searched_exactly(server: PostgresServer, url: str) -> None:
    with closing(PostgresStore(url, search="hnsw")) as store:
        make(store, "fits", dimension=2000)
        make(store, "wide", dimension=2001)
        assert set(indexes(server, url)) == {"samples_1_nearest"}
        enrol(store, new_samples(["anna", "berta"], vectors(2, 2001)), gallery="wide")
        assert store.search("wide", vectors(2, 2001)[1:], 1)[0][0].subject == "berta"
    with closing(PostgresStore(url, search="hnsw")) as again:
        assert len(again.search("wide", vectors(1, 2001), 2)[0]) == 2


# --- exact search


def test_equal_embeddings_of_many_subjects_are_ranked_by_sample(store: PostgresStore) -> None:
    make(store, dimension=DIMENSION)
    count = 1000
    same = np.repeat(vectors(1, DIMENSION), count, axis=0)
    enrol(store, new_samples([f"subject {at}" for at in range(count)], same))
    found = store.search(GALLERY, vectors(1, DIMENSION, seed=1), 400)[0]
    assert [match.sample for match in found] == sorted(sample.id for sample in store.samples(GALLERY))[:400]


def test_subjects_with_many_samples_do_not_hide_others(store: PostgresStore) -> None:
    make(store, dimension=DIMENSION)
    center = vectors(1, DIMENSION)
    for at, subject in enumerate(("near", "nearer", "nearest")):
        crowd = center + np.float32(0.001 * (3 - at)) * vectors(900, DIMENSION, seed=at + 1)
        enrol(store, new_samples([subject] * 900, np.asarray(crowd, np.float32)))
    enrol(store, new_samples(["far"], -center))
    found = store.search(GALLERY, center, 10)[0]
    assert [match.subject for match in found] == ["nearest", "nearer", "near", "far"]
    check_search(found, "euclidean", center[0], store.samples(GALLERY, limit=10_000), 10)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_what_differs_by_less_than_float32_is_ranked_as_float64_sees_it(store: PostgresStore, metric: Metric) -> None:
    make(store, dimension=DIMENSION, metric=metric)
    random = np.random.default_rng(5)
    base = vectors(1, DIMENSION)
    close = np.asarray(base + random.normal(scale=3e-7, size=(500, DIMENSION)), np.float32)
    enrol(store, new_samples([f"subject {at}" for at in range(500)], close))
    probe = np.asarray(-base, np.float32)
    exact = true_distances(metric, probe[0], list(close))
    samples = [sample.id for sample in store.samples(GALLERY)]
    expected = [samples[at] for at in np.argsort(exact, kind="stable")][:7]
    assert [match.sample for match in store.search(GALLERY, probe, 7)[0]] == expected
