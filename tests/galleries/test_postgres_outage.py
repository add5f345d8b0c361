"""A PostgreSQL server that is killed, stopped, frozen and started again, under load and in the middle of a change."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from postgres_server import PostgresServer, running_server
from store_kinds import GALLERY, enrol, make, new_samples, origin, stored, vectors

from visavis.errors import StoreUnavailable
from visavis.galleries.records import NewSample

pytest.importorskip("psycopg", exc_type=ImportError)

from visavis.galleries.postgres.store import PostgresStore

PATIENCE_S = 2.0
AT_MOST_S = 3 * PATIENCE_S + 3  # a free connection, a statement, and a busy machine
WRITERS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    server.start()
    with server.database() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, patience_s=PATIENCE_S)) as store:
        make(store)
        yield store


class Load:
    """Threads that enrol and forget, and remember what was acknowledged. All that they may meet is unavailability."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._done = threading.Event()
        self.kept: set[str] = set()
        self.forgotten: set[str] = set()
        self.failures: list[StoreUnavailable] = []
        self.longest_s = 0.0
        self._pool = ThreadPoolExecutor(WRITERS)
        self._writers = [self._pool.submit(self._write, number) for number in range(WRITERS)]

    def end(self) -> None:
        """Let everybody finish, and hear of what was not expected."""
        self._done.set()
        for writer in self._writers:
            writer.result()
        self._pool.shutdown()

    def _write(self, writer: int) -> None:
        at = 0
        while not self._done.is_set():
            at += 1
            subject = f"{writer}-{at}"
            started = time.monotonic()
            try:
                self._act(subject, forget=at % 3 == 0)
            except StoreUnavailable as error:
                self.failures.append(error)
                time.sleep(0.01)  # as a caller who tries again later
            self.longest_s = max(self.longest_s, time.monotonic() - started)

    def _act(self, subject: str, *, forget: bool) -> None:
        (outcome,) = self._store.enrol(GALLERY, new_samples([subject], vectors(1)), origin())
        stored(outcome)
        if forget:
            assert self._store.forget_subjects(GALLERY, [subject], origin()).samples == 1
            self.forgotten.add(subject)
        else:
            self.kept.add(subject)


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["kill9", "stop"])
def test_nothing_is_lost_when_the_server_goes_down_under_load(
    server: PostgresServer, store: PostgresStore, way: str
) -> None:
    load = Load(store)
    for _ in range(3):
        time.sleep(0.3)
        getattr(server, way)()
        time.sleep(0.1)
        server.start()
    time.sleep(0.3)
    before = len(load.kept)
    time.sleep(0.3)
    load.end()
    there = {subject.id for subject in store.subjects(GALLERY, limit=100_000)}
    assert load.kept <= there
    assert not load.forgotten & there
    assert load.failures
    assert len(load.kept) > before  # the same store goes on
    assert load.longest_s < AT_MOST_S
    gallery = store.gallery(GALLERY)
    assert gallery.subjects == len(there)
    assert gallery.samples == len(store.samples(GALLERY, limit=100_000))
    assert all(server.password not in str(error) for error in load.failures)


def test_a_restart_between_calls_is_not_even_noticed(server: PostgresServer, store: PostgresStore) -> None:
    enrol(store, new_samples(["anna"], vectors(1)))
    for way in (server.stop, server.kill9):
        way()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.galleries()
        server.start()
        assert store.search(GALLERY, vectors(1), 1)[0][0].subject == "anna"
        way()
        server.start()
        assert store.search(GALLERY, vectors(1), 1)[0][0].subject == "anna"


def test_a_store_may_be_made_before_its_server(server: PostgresServer, url: str) -> None:
    server.stop()
    with closing(PostgresStore(url)) as store:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.galleries()
        server.start()
        assert store.galleries() == ()


@pytest.mark.thorough
def test_a_silent_server_is_not_waited_for_without_end(server: PostgresServer, store: PostgresStore, url: str) -> None:
    enrol(store, new_samples(["anna"], vectors(1)))
    with closing(PostgresStore(url, patience_s=PATIENCE_S)) as unopened:
        with server.frozen():
            for call in (
                lambda: store.search(GALLERY, vectors(1), 1),  # on the connection that there is
                lambda: store.enrol(GALLERY, new_samples(["berta"], vectors(1)), origin()),  # on a new one
                unopened.galleries,
            ):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    call()
                assert time.monotonic() - started < AT_MOST_S
        gc.collect()  # psycopg keeps a connection that was not made in time until then, and so does the server
        assert store.search(GALLERY, vectors(1), 1)[0][0].subject == "anna"
        assert [subject.id for subject in store.subjects(GALLERY)] == ["anna"]


@pytest.mark.thorough
def test_a_server_that_falls_silent_during_a_batch_is_given_up(server: PostgresServer, store: PostgresStore) -> None:
    with ExitStack() as stack:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.enrol(GALLERY, FreezingSamples(server, stack), origin())
        assert time.monotonic() - started < AT_MOST_S
    assert store.gallery(GALLERY).samples == 0


class FreezingSamples(list[NewSample]):
    """Samples that let the server stand still when they are looked at, which is within a transaction."""

    def __init__(self, server: PostgresServer, stack: ExitStack) -> None:
        super().__init__(new_samples(["anna"], vectors(1)))
        self._freezing = [server.frozen()]
        self._stack = stack

    def __iter__(self) -> Iterator[NewSample]:
        if self._freezing:
            self._stack.enter_context(self._freezing.pop())
        return super().__iter__()


def test_a_change_that_breaks_off_at_its_end_is_reported_as_unknown(
    server: PostgresServer, store: PostgresStore, url: str
) -> None:
    server.execute(
        """
        CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON visavis.log DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION linger()""",
        url,
    )
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(store.enrol, GALLERY, new_samples(["anna"], vectors(1)), origin())
        while not server.execute("SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"):
            time.sleep(0.01)
        server.kill9()
        with pytest.raises(StoreUnavailable, match="whether it was made is not known"):
            call.result()
    server.start()
    assert store.subjects(GALLERY) == ()
