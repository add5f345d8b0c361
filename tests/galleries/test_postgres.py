"""What is PostgreSQL's own: its URL, tables, rights, text, locks and log."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from postgres_server import PostgresServer
from store_kinds import GALLERY, content, enrol, make, new_samples, origin, vectors

from visavis.errors import (
    GalleryNotFound,
    InvalidOption,
    StoreDamaged,
    StoreForeign,
    StoreFull,
    StoreOutdated,
    StoreReadOnly,
    StoreUnavailable,
    VisavisError,
)
from visavis.galleries.records import Details, NewSample
from visavis.options import Policy
from visavis.types import EmbeddingSpace, FloatArray

pytest.importorskip("psycopg", exc_type=ImportError)

from visavis.galleries.postgres.connection import Connection
from visavis.galleries.postgres.schema import VERSION
from visavis.galleries.postgres.store import PostgresStore

SPACE = EmbeddingSpace("space-1", 4, "euclidean")
BRIEFLY = 0.5  # of patience, where it is to end


@dataclass(frozen=True)
class Database:
    """A database of its own, and what its owner may do beside the store."""

    server: PostgresServer
    url: str

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.execute(statement, self.url)

    def as_user(self, name: str, password: str = "beech") -> str:  # noqa: S107  # of a user that is gone soon
        """Return the URL for a new user who may do nothing yet."""
        self.execute(f"DROP ROLE IF EXISTS {name}")
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        return self.server.url(self.name, user=name, password=password)

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.removeprefix("/")


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    with postgres_server.database() as url:
        yield Database(postgres_server, url)


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    with closing(PostgresStore(database.url)) as store:
        yield store


@contextmanager
def refused(kind: type[VisavisError], words: str, server: PostgresServer) -> Iterator[None]:
    """Expect an error that says what is wrong, and nothing that it should not."""
    with pytest.raises(kind, match=words) as info:
        yield
    told = str(info.value)
    assert server.password not in told
    assert "SELECT" not in told
    assert "INSERT" not in told


# --- where it is


def test_the_url_has_no_password(database: Database, store: PostgresStore) -> None:
    assert database.server.password in database.url
    assert database.server.password not in store.url
    assert store.url.startswith(f"postgresql://postgres@/{database.name}?host=")
    assert store.galleries() == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://ann:secret@db.example/faces", "postgresql://ann@db.example/faces"),
        ("postgresql://db.example:5433/faces?password=secret", "postgresql://db.example:5433/faces"),
        ("postgresql://ann:sec%40ret@db/f?sslmode=require&sslpassword=secret", "postgresql://ann@db/f"),
        ("postgresql://a%2Fb:secret@h1:1,h2:2/f", "postgresql://a%2Fb@/f?host=h1%2Ch2&port=1%2C2"),
        ("postgresql://[::1]:5432/f", "postgresql:///f?host=%3A%3A1&port=5432"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert PostgresStore(url).url == shown


@pytest.mark.parametrize(
    "url",
    [
        *("", "sqlite:///x", "host=db password=secret", "postgresql:/x", "http://u:secret@h/x"),
        *("postgresql://u:secret@h\0/x", "postgresql://u:secret@h\ud800/x"),
        *("postgresql://u:secret@h/x?nonsense=1", "postgresql://u:secret@h/%zz", "postgresql://u:secret@[::1/x"),
    ],
)
def test_a_bad_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidOption, match="no URL of a PostgreSQL database") as info:
        PostgresStore(url)
    assert "secret" not in str(info.value)


def test_bad_options_are_refused() -> None:
    url = "postgresql://db/faces"
    with pytest.raises(InvalidOption, match="exact or hnsw"):
        PostgresStore(url, search="ivf")  # type: ignore[arg-type]  # that is the point
    for beam in (0, 1001):
        with pytest.raises(InvalidOption, match="1 to 1000"):
            PostgresStore(url, ef_search=beam)
    for patience_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidOption, match="patience"):
            PostgresStore(url, patience_s=patience_s)
    with pytest.raises(InvalidOption, match="connection"):
        PostgresStore(url, connections=0)


@pytest.mark.thorough
def test_who_cannot_be_reached_is_unavailable(database: Database) -> None:
    server = database.server
    urls = {
        "nobody listens": "postgresql://ann:beech@127.0.0.1:1/faces",
        "no such host": "postgresql://ann:beech@no-such-host.invalid/faces",
        "no such database": server.url("no_such_database"),
        "no such user": server.url(database.name, user="nobody_we_know"),
        "wrong password": server.url(database.name, password="beech"),  # noqa: S106  # that is the point
    }
    for url in urls.values():
        store = PostgresStore(url, patience_s=2)
        with refused(StoreUnavailable, "cannot be reached, or does not let this user in", server) as _:
            store.galleries()
        with pytest.raises(StoreUnavailable) as info:
            store.galleries()
        assert "beech" not in str(info.value)


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "ü..ü", ".a"])
def test_what_cannot_be_a_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidOption, match="cannot be the name of one") as info:
        PostgresStore(f"postgresql://ann:beech@{host}/faces").galleries()
    assert "beech" not in str(info.value)


def test_a_closed_store_opens_again(store: PostgresStore) -> None:
    make(store)
    store.close()
    store.close()
    assert [gallery.name for gallery in store.galleries()] == [GALLERY]


def test_what_a_database_cannot_do_is_refused(store: PostgresStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="encrypt its disk, or use SQLite"):
        store.create(GALLERY, SPACE, Policy(), origin(), encrypted=True)
    with pytest.raises(InvalidOption, match="pg_dump"):
        store.backup(tmp_path / "copy", origin())
    for dimension in (0, 16_001):
        with pytest.raises(InvalidOption, match="1 to 16000 numbers"):
            store.create(GALLERY, EmbeddingSpace("wide", dimension, "cosine"), Policy(), origin())
    assert store.galleries() == ()
    assert not store.create(GALLERY, SPACE, Policy(), origin(), encrypted=False).encrypted


# --- tables


def test_nothing_is_made_that_was_not_asked_for(database: Database) -> None:
    with closing(PostgresStore(database.url, migrate=False)) as store:
        for _ in range(2):
            with refused(StoreOutdated, "migrate=True", database.server):
                store.galleries()
        assert database.execute("SELECT to_regnamespace('visavis')") == [(None,)]
        with closing(PostgresStore(database.url)) as other:
            make(other)
        assert [gallery.name for gallery in store.galleries()] == [GALLERY]


def test_many_may_open_a_new_database_at_once(database: Database) -> None:
    stores = [PostgresStore(database.url) for _ in range(6)]
    barrier = threading.Barrier(len(stores))

    def first(store: PostgresStore) -> None:
        barrier.wait()
        assert store.galleries() == ()

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(first, stores))
    assert database.execute("SELECT version FROM visavis.meta") == [(VERSION,)]
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        ("UPDATE visavis.meta SET version = 99", StoreOutdated, "newer version of visavis .* upgrade"),
        ("DELETE FROM visavis.meta", StoreForeign, "without its version"),
        ("ALTER TABLE visavis.meta DROP COLUMN version", StoreForeign, "other tables than visavis makes"),
        ("DROP TABLE visavis.meta", StoreForeign, "schema visavis of something else"),
        ("DROP TABLE visavis.galleries", StoreForeign, "other tables than visavis makes"),
        ("DROP EXTENSION vector CASCADE", StoreOutdated, "lost pgvector"),
    ],
)
def test_other_tables_are_refused(database: Database, statement: str, kind: type[VisavisError], words: str) -> None:
    with closing(PostgresStore(database.url)) as store:
        store.galleries()
    database.execute(statement)
    for migrate in (True, False):
        with closing(PostgresStore(database.url, migrate=migrate)) as store, refused(kind, words, database.server):
            store.galleries()


def test_an_empty_schema_may_be_there(database: Database, store: PostgresStore) -> None:
    database.execute("CREATE SCHEMA visavis")
    assert store.galleries() == ()


def test_text_must_be_unicode(postgres_server: PostgresServer) -> None:
    options = "ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"
    with postgres_server.database(options) as url, closing(PostgresStore(url)) as store:
        with refused(StoreForeign, "UTF-8", postgres_server):
            store.galleries()
        assert postgres_server.execute("SELECT to_regnamespace('visavis')", url) == [(None,)]


def test_the_extension_may_be_anywhere(database: Database, store: PostgresStore) -> None:
    database.execute('CREATE SCHEMA "Ex\'tensions"')
    database.execute('CREATE EXTENSION vector SCHEMA "Ex\'tensions"')
    make(store)
    enrol(store, new_samples(["anna", "berta"], vectors(2)))
    assert store.search(GALLERY, vectors(1), 2)[0][0].subject == "anna"
    with closing(PostgresStore(database.url, search="hnsw")) as indexed:
        assert indexed.search(GALLERY, vectors(1), 2)[0][0].subject == "anna"


def test_who_may_not_create_the_extension_is_told_so(database: Database) -> None:
    url = database.as_user("visavis_maker")
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO visavis_maker")
    with closing(PostgresStore(url)) as store:
        with refused(StoreOutdated, "let a superuser run CREATE EXTENSION vector", database.server):
            store.galleries()
        database.execute("CREATE EXTENSION vector")
        make(store)
        enrol(store, new_samples(["anna"], vectors(1)))
        assert store.drop(GALLERY, origin()).samples == 1


def test_a_server_without_pgvector_is_named(database: Database, store: PostgresStore) -> None:
    if int(str(database.execute("SHOW server_version_num")[0][0])) < 180_000:
        pytest.skip("before PostgreSQL 18 extensions cannot be hidden")
    database.execute(f"ALTER DATABASE {database.name} SET extension_control_path = '/nowhere'")
    with refused(StoreOutdated, "lacks pgvector: install it there", database.server):
        store.galleries()


# --- rights


def test_who_may_only_read_reads(database: Database, store: PostgresStore) -> None:
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    url = database.as_user("visavis_reader")
    for statement in ("USAGE ON SCHEMA visavis", "SELECT ON ALL TABLES IN SCHEMA visavis"):
        database.execute(f"GRANT {statement} TO visavis_reader")
    with closing(PostgresStore(url)) as reader:
        assert reader.search(GALLERY, vectors(1), 1)[0][0].subject == "anna"
        assert len(reader.entries()) == 2
        for change in changes(reader):
            with refused(StoreReadOnly, "does not permit this to its user", database.server):
                change()
    database.execute("DROP OWNED BY visavis_reader")


def test_a_read_only_database_is_read(database: Database, store: PostgresStore) -> None:
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    before = store.gallery(GALLERY)
    store.close()
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    for change in changes(store):
        with refused(StoreReadOnly, "is read-only", database.server):
            change()
    assert store.gallery(GALLERY) == before
    with closing(PostgresStore(database.url)) as another:
        assert len(another.samples(GALLERY)) == 1


def test_an_empty_database_that_is_read_only_is_read_only(database: Database) -> None:
    database.execute("ALTER ROLE postgres SET default_transaction_read_only = off")
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    database.execute("ALTER ROLE postgres RESET default_transaction_read_only")
    with closing(PostgresStore(database.url)) as store, refused(StoreReadOnly, "is read-only", database.server):
        store.galleries()


def changes(store: PostgresStore) -> list[Callable[[], object]]:
    """Return everything that changes a store with the gallery and Anna."""
    return [
        lambda: store.create("other", SPACE, Policy(), origin()),
        lambda: store.set_policy(GALLERY, Policy(), origin()),
        lambda: store.enrol(GALLERY, new_samples(["berta"], vectors(1)), origin()),
        lambda: store.update(GALLERY, "anna", Details(name="Anna"), origin()),
        lambda: store.forget_samples(GALLERY, [1], origin()),
        lambda: store.forget_subjects(GALLERY, ["anna"], origin()),
        lambda: store.drop(GALLERY, origin()),
        lambda: store.log("identify", GALLERY, origin()),
    ]


# --- errors


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        *(("53100", StoreFull), ("53400", StoreFull)),
        *((state, StoreUnavailable) for state in ("08006", "40P01", "40001", "53200", "53300", "55P03", "57014")),
        *((state, StoreUnavailable) for state in ("57P01", "57P02", "57P03", "25P03", "28P01", "3D000")),
        *((state, StoreReadOnly) for state in ("25006", "42501")),
        *((state, StoreForeign) for state in ("42703", "42883", "3F000")),
        *((state, StoreDamaged) for state in ("XX001", "XX002", "58030", "23505", "F0000")),
        *((state, InvalidOption) for state in ("22021", "22P05", "22003", "54000")),
    ],
)
def test_what_the_database_reports_is_said_in_our_words(
    database: Database, state: str, kind: type[VisavisError]
) -> None:
    with closing(PostgresStore(database.url)) as store:
        make(store)
        database.execute(f"""
            CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'secret of %', NEW.id USING ERRCODE = '{state}', DETAIL = 'secret'; END $$;
            CREATE TRIGGER complain BEFORE INSERT ON visavis.subjects FOR EACH ROW EXECUTE FUNCTION complain()""")
        with refused(kind, state, database.server):
            store.enrol(GALLERY, new_samples(["anna"], vectors(1)), origin())
        with pytest.raises(kind) as info:
            store.enrol(GALLERY, new_samples(["anna"], vectors(1)), origin())
        assert "secret" not in str(info.value)
        assert "anna" not in str(info.value)
        database.execute("DROP TRIGGER complain ON visavis.subjects")
        assert (store.gallery(GALLERY).subjects, store.gallery(GALLERY).samples) == (0, 0)
        assert len(enrol(store, new_samples(["anna"], vectors(1)))) == 1
        assert [entry.action for entry in store.entries()] == ["create", "enrol"]


def test_text_that_postgresql_cannot_hold_is_refused(database: Database, store: PostgresStore) -> None:
    make(store)
    (good,) = new_samples(["anna"], vectors(1))
    for fingerprint in ("a\0b", "\ud800"):
        bad = NewSample(subject="berta", embedding=good.embedding, key="k", fingerprint=fingerprint)
        with refused(InvalidOption, "NUL characters and lone surrogates", database.server):
            store.enrol(GALLERY, [good, bad], origin())
    for word in ("a\0b", "\udcff"):
        with refused(InvalidOption, "NUL characters and lone surrogates", database.server):
            store.log(word, GALLERY, origin())
    assert store.gallery(GALLERY).samples == 0
    assert len(enrol(store, [good])) == 1


def test_metadata_comes_back_as_it_was_given(store: PostgresStore) -> None:
    make(store)
    metadata = {"zebra": 1.5e300, "a": -0.0, "long": [1, 1.0, 1e-320, True, None], "é": {"": 12345678901234567890}}
    sample = NewSample(subject="anna", embedding=vectors(1)[0], details=Details(metadata=metadata))
    (told,) = enrol(store, [sample])
    found = store.subject(GALLERY, "anna")
    assert found is not None
    for subject in (told.subject, found):
        assert json.dumps(subject.metadata) == json.dumps(metadata)


@pytest.mark.parametrize("dimension", [1900, 1901, 2000, 2001, 16_000])
def test_wide_embeddings_fit(store: PostgresStore, dimension: int) -> None:
    make(store, dimension=dimension, metric="cosine")
    embeddings = vectors(3, dimension)
    new = [
        NewSample(
            subject="ü" * 200,
            embedding=embedding,
            source="ö" * 9000,
            picture=bytes(100_000),
            key=f"{at}{'ä' * 199}",
            fingerprint="f" * 9000,
        )
        for at, embedding in enumerate(embeddings)
    ]
    enrol(store, new)
    for sample, embedding in zip(store.samples(GALLERY), embeddings, strict=True):
        np.testing.assert_array_equal(sample.embedding, embedding)
    assert store.search(GALLERY, embeddings[1:2], 1)[0][0].distance < 1e-6


# --- together


def test_galleries_do_not_wait_for_each_other(database: Database) -> None:
    import psycopg  # noqa: PLC0415  # may be skipped above

    with closing(PostgresStore(database.url, patience_s=BRIEFLY)) as store:
        make(store, "held")
        make(store, "free")
        with psycopg.connect(database.url) as holder:
            holder.execute("SELECT FROM visavis.galleries WHERE name = 'held' FOR UPDATE")
            enrol(store, new_samples(["anna"], vectors(1)), gallery="free")
            make(store, "new")
            store.drop("new", origin())
            assert store.search("held", vectors(1), 1) == ((),)
            with refused(StoreUnavailable, "took too long", database.server):
                store.enrol("held", new_samples(["anna"], vectors(1)), origin())
        assert store.gallery("held").samples == 0
        enrol(store, new_samples(["anna"], vectors(1)), gallery="held")


@pytest.mark.thorough
def test_who_writes_for_long_is_waited_for_by_a_drop_but_not_by_others(database: Database) -> None:
    import psycopg  # noqa: PLC0415  # as above

    with closing(PostgresStore(database.url)) as store:
        make(store, "old")
        make(store, "new")
        with psycopg.connect(database.url) as holder:
            holder.execute("LOCK TABLE visavis.samples IN ACCESS SHARE MODE")  # as a backup does
            make(store, "another")
            with refused(StoreUnavailable, "is too busy", database.server):
                store.drop("old", origin())
            assert store.gallery("old").samples == 0
        store.drop("old", origin())
        assert [entry.action for entry in store.entries("old")] == ["create", "forget"]


def test_a_gallery_dropped_while_it_is_read_is_not_found(database: Database, store: PostgresStore) -> None:
    gallery = make(store)
    database.execute(f"DROP TABLE visavis.samples_{gallery.number}")
    for call in (lambda: store.search(GALLERY, vectors(1), 1), lambda: store.samples(GALLERY)):
        with pytest.raises(GalleryNotFound, match="any more"):
            call()


def test_more_threads_than_connections(database: Database) -> None:
    with closing(PostgresStore(database.url, connections=2)) as store:
        make(store)

        def work(number: int) -> None:
            enrol(store, new_samples([f"subject {number}"], vectors(1, seed=number)))
            assert store.search(GALLERY, vectors(1, seed=number), 1)[0][0].subject == f"subject {number}"

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, range(60)))
        (count,) = database.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'visavis'")
        assert count == (2,)
        assert (store.gallery(GALLERY).subjects, store.gallery(GALLERY).samples) == (60, 60)


@pytest.mark.thorough
def test_connections_are_not_waited_for_without_end(database: Database) -> None:
    with closing(PostgresStore(database.url, connections=1, patience_s=BRIEFLY)) as store:
        make(store)
        slow = SlowSamples(vectors(1), 3 * BRIEFLY)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(store.enrol, GALLERY, slow, origin())
            slow.started.wait()
            with refused(StoreUnavailable, "all connections .* are in use", database.server):
                store.galleries()
            with pytest.raises(StoreUnavailable):
                first.result()


@pytest.mark.thorough
def test_who_falls_asleep_while_writing_does_not_hold_up_others(database: Database) -> None:
    hasty = PostgresStore(database.url, patience_s=BRIEFLY)
    with closing(hasty), closing(PostgresStore(database.url)) as other, ThreadPoolExecutor(1) as pool:
        make(hasty)
        slow = SlowSamples(vectors(1), 6 * BRIEFLY)
        first = pool.submit(hasty.enrol, GALLERY, slow, origin())
        slow.started.wait()
        assert len(enrol(other, new_samples(["berta"], vectors(1)))) == 1
        assert not first.done()
        with refused(StoreUnavailable, "did not hear from visavis", database.server):
            first.result()
        assert [subject.id for subject in other.subjects(GALLERY)] == ["berta"]


class SlowSamples(list[NewSample]):
    """Samples that let a transaction wait for them."""

    def __init__(self, embeddings: FloatArray, delay_s: float) -> None:
        super().__init__(new_samples(["slow"], embeddings))
        self.started = threading.Event()
        self._delay_s = delay_s

    def __iter__(self) -> Iterator[NewSample]:
        if not self.started.is_set():
            self.started.set()
            time.sleep(self._delay_s)
        return super().__iter__()


def test_a_batch_takes_a_handful_of_round_trips(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    make(store)
    waits = []
    wait = Connection.wait

    def counted(connection: Connection, *arguments: Any) -> Any:  # noqa: ANN401  # as they come
        waits.append(arguments)
        return wait(connection, *arguments)

    monkeypatch.setattr(Connection, "wait", counted)
    count = 2000
    new = [
        NewSample(subject=f"subject {at % 700}", embedding=embedding, key=f"key {at}")
        for at, embedding in enumerate(vectors(count))
    ]
    for repeated in (False, True):
        waits.clear()
        assert {one.repeated for one in enrol(store, new)} == {repeated}
        assert len(waits) < 40
    assert (store.gallery(GALLERY).subjects, store.gallery(GALLERY).samples) == (700, count)


# --- the log


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE visavis.log SET actor = 'nobody'",
        "DELETE FROM visavis.log",
        "DELETE FROM visavis.log WHERE false",
        "TRUNCATE visavis.log",
        "INSERT INTO visavis.log SELECT * FROM visavis.log ON CONFLICT (number) DO UPDATE SET actor = 'nobody'",
    ],
)
def test_the_log_only_grows(database: Database, store: PostgresStore, statement: str) -> None:
    import psycopg  # noqa: PLC0415  # as above

    make(store)
    before = store.entries()
    with pytest.raises(psycopg.errors.RaiseException, match="the log only grows"):
        database.execute(statement)
    assert store.entries() == before


def test_who_follows_the_log_misses_nothing(database: Database) -> None:
    writers, each = 4, 40
    done = threading.Event()
    with closing(PostgresStore(database.url)) as store, ThreadPoolExecutor(writers + 1) as pool:
        make(store)

        def write(number: int) -> None:
            for at in range(each):
                store.log("identify", GALLERY, origin(at, actor=f"writer {number}"))

        def follow() -> list[int]:
            numbers: list[int] = []
            while True:
                last_round = done.is_set()
                page = store.entries(after=numbers[-1] if numbers else 0, limit=7)
                numbers += [entry.number for entry in page]
                if last_round and not page:
                    return numbers

        reader = pool.submit(follow)
        list(pool.map(write, range(writers)))
        done.set()
        numbers = reader.result()
        assert len(numbers) == 1 + writers * each
        assert numbers == [entry.number for entry in store.entries(limit=10_000)]


# --- what stays, and what does not


def test_the_files_of_a_dropped_gallery_are_gone(database: Database, store: PostgresStore) -> None:
    make(store)
    random = np.random.default_rng()
    picture = random.bytes(5000)
    embedding = random.normal(size=4).astype(np.float32)
    enrol(store, [NewSample(subject="anna", embedding=embedding, picture=picture)])
    traces = (picture[:500], embedding.astype("<f4").tobytes())
    assert all("base" in database.server.files_with(trace) for trace in traces)
    store.drop(GALLERY, origin())
    assert all(database.server.files_with(trace) <= {"pg_wal"} for trace in traces)


def test_what_pg_dump_saves_is_restored(database: Database) -> None:
    server = database.server
    with closing(PostgresStore(database.url, search="hnsw")) as store:
        make(store, "dropped")
        store.drop("dropped", origin())
        make(store)
        picture = bytes(range(256))
        new = [
            NewSample(subject=f"subject {at % 7}", embedding=embedding, key=f"k{at}", picture=picture, source="ü")
            for at, embedding in enumerate(vectors(30))
        ]
        told = enrol(store, new)
        before = content(store), store.entries(), store.search(GALLERY, vectors(3, seed=1), 5)
    with server.database() as url:
        server.run("psql", url, "--quiet", "--set=ON_ERROR_STOP=1", stdin=server.run("pg_dump", database.url))
        with closing(PostgresStore(url)) as restored:
            assert (content(restored), restored.entries(), restored.search(GALLERY, vectors(3, seed=1), 5)) == before
            assert [one.sample for one in enrol(restored, new)] == [one.sample for one in told]
            (fresh,) = enrol(restored, new_samples(["new"], vectors(1, seed=2)))
            assert fresh.sample > max(one.sample for one in told)
            assert fresh.subject.number > max(one.subject.number for one in told)
            assert restored.entries()[-1].number > before[1][-1].number
            assert make(restored, "more").number > 2


@pytest.mark.parametrize(
    ("setting", "expected"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
def test_what_is_acknowledged_is_on_disk(database: Database, setting: str, expected: str) -> None:
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = '{setting}'")
    with closing(PostgresStore(database.url)) as store:
        store.galleries()
        database.execute("""
            CREATE TABLE seen (setting text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
            CREATE TRIGGER see BEFORE INSERT ON visavis.log FOR EACH ROW EXECUTE FUNCTION see()""")
        make(store)
    assert database.execute("SELECT setting FROM seen") == [(expected,)]
