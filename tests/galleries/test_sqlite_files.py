"""What can be wrong with the file of a store: each is told by its name, and nothing that was acknowledged is lost."""

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from store_kinds import GALLERY, KEY, content, enrol, make, new_samples, origin, vectors

from visavis.errors import (
    GalleryExists,
    GalleryLocked,
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
from visavis.files import create_private
from visavis.galleries.records import Details
from visavis.galleries.sqlite.file import Schema, open_private_sqlite
from visavis.galleries.sqlite.schema import SCHEMA
from visavis.galleries.sqlite.store import SqliteStore
from visavis.galleries.store import Store
from visavis.server.keys import KeyStore

Call = Callable[[Store], object]

NOBODY = 65534
LITTLE_PATIENCE_S = 0.2
BATCH = new_samples([f"new {at % 7}" for at in range(50)], vectors(50, seed=5))
READS: dict[str, Call] = {
    "galleries": lambda store: store.galleries(),
    "gallery": lambda store: store.gallery(GALLERY),
    "subject": lambda store: store.subject(GALLERY, "s1"),
    "subjects": lambda store: store.subjects(GALLERY, limit=10_000),
    "samples": lambda store: store.samples(GALLERY, limit=10_000),
    "picture": lambda store: store.picture(GALLERY, 1),
    "keyed": lambda store: store.keyed(GALLERY, ["key 1"]),
    "search": lambda store: store.search(GALLERY, vectors(2), 3),
    "entries": lambda store: store.entries(),
}
WRITES: dict[str, Call] = {
    "create": lambda store: make(store, "new"),
    "enrol": lambda store: store.enrol(GALLERY, BATCH, origin(5)),
    "update": lambda store: store.update(GALLERY, "s1", Details(name="new"), origin(5)),
    "forget": lambda store: store.forget_subjects(GALLERY, ["s1"], origin(5)),
    "log": lambda store: store.log("identify", GALLERY, origin(5)),
    "drop": lambda store: store.drop(GALLERY, origin(5)),
}
CALLS = {**READS, **WRITES}

every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
every_write = pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces" / "faces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store whose file does not exist yet."""
    path.parent.mkdir()
    with closing(SqliteStore(path, patience_s=LITTLE_PATIENCE_S)) as store:
        yield store


@pytest.fixture
def filled(store: SqliteStore) -> SqliteStore:
    """A store with a few hundred samples, closed."""
    make(store)
    samples = [
        replace(one, key=f"key {at}", picture=bytes([at % 256]) * (at * 50), details=Details(name=f"name {at}"))
        for at, one in enumerate(new_samples([f"s{at % 60}" for at in range(200)], vectors(200)))
    ]
    for start in range(0, 200, 10):  # so that all parts of the file hold something of everything
        enrol(store, samples[start : start + 10])
    store.close()
    return store


def run(path: Path, statement: str) -> None:
    """Change a file as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def refuses(call: Call, store: SqliteStore, path: Path, kind: type[VisavisError], advice: str) -> None:
    """Insist on an error that names the file and says what to do."""
    with pytest.raises(kind, match=advice) as caught:
        call(store)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)


# --- files of others


def folder(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("these are not the faces that you are looking for\n" * 100)


def short_text(path: Path) -> None:
    path.write_text("hello\n")


def foreign_tables(path: Path) -> None:
    run(path, "CREATE TABLE samples (id INTEGER PRIMARY KEY, photo BLOB)")


def foreign_application(path: Path) -> None:
    run(path, "PRAGMA application_id = 1196444487")


def keys(path: Path) -> None:
    with closing(KeyStore(path)) as store:
        store.create("door", "read")


@every_call
@pytest.mark.parametrize("made", [folder, text, short_text, foreign_tables, foreign_application, keys])
def test_a_file_of_somebody_else_is_left_alone(
    store: SqliteStore, path: Path, made: Callable[[Path], None], call: Call
) -> None:
    made(path)
    before = None if path.is_dir() else path.read_bytes()
    refuses(call, store, path, StoreForeign, "name (another file|a file in it)")
    assert before is None or path.read_bytes() == before


@every_call
def test_a_newer_file_is_left_alone(filled: SqliteStore, path: Path, call: Call) -> None:
    before = content(filled)
    filled.close()
    run(path, "PRAGMA user_version = 1000")
    refuses(call, filled, path, StoreOutdated, "newer version of visavis.*upgrade")
    run(path, f"PRAGMA user_version = {SCHEMA.version}")
    assert content(filled) == before


def test_an_empty_file_becomes_a_store(store: SqliteStore, path: Path) -> None:
    path.touch()
    assert store.galleries() == ()
    make(store)
    assert len(store.galleries()) == 1


# --- damage


def header_of_zeros(path: Path) -> None:
    overwrite(path, 16, bytes(84))


def middle(path: Path) -> None:
    size = path.stat().st_size
    overwrite(path, size // 4, random.Random(0).randbytes(size // 2))  # noqa: S311  # no secret


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def cut_off_within_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def overwrite(path: Path, start: int, data: bytes) -> None:
    """Change bytes of a file."""
    with path.open("rb+") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.parametrize("damage", [header_of_zeros, middle, cut_off, cut_off_within_a_page])
def test_damage_is_told_and_a_backup_helps(
    filled: SqliteStore, path: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    before = content(filled)
    backup = tmp_path / "backup.db"
    filled.backup(backup, origin(1))
    filled.close()
    damage(path)
    kind = StoreForeign if damage is header_of_zeros else StoreDamaged
    refuses(READS["samples"], filled, path, kind, "restore a backup")
    refuses(READS["search"], filled, path, kind, "restore a backup")
    filled.close()
    shutil.copy(backup, path)
    assert content(filled) == before
    assert len(filled.search(GALLERY, vectors(1), 5)[0]) == 5


def test_a_broken_first_line_is_told(filled: SqliteStore, path: Path) -> None:
    overwrite(path, 0, b"not SQLite")
    with pytest.raises((StoreDamaged, StoreForeign), match=r"faces\.db"):
        filled.galleries()


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_no_damage_surprises(store: SqliteStore, path: Path, seed: int, encrypted: bool) -> None:  # noqa: FBT001  # a parameter of the test
    generator = random.Random(seed)  # noqa: S311  # no secret
    owner = SqliteStore(path, key=KEY) if encrypted else store
    make(owner)
    enrol(owner, [replace(one, key=f"key {at}", picture=b"x" * 999) for at, one in enumerate(BATCH)])
    owner.close()
    size = path.stat().st_size
    for _ in range(generator.choice((1, 10, 300))):
        length = generator.choice((1, 1, 20, 500))
        overwrite(path, generator.randrange(100, size - length), generator.randbytes(length))
    for name in generator.sample(sorted(CALLS), len(CALLS)):
        with suppress(VisavisError):  # or it does not notice; what was damaged may read as another thing, or none
            CALLS[name](owner)
    owner.close()


# --- permissions


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be somebody whom permissions bind, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, but in which only its owner may write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


@pytest.fixture
def kept(public: Path) -> Iterator[SqliteStore]:
    """A store with samples in the public folder, closed."""
    with closing(SqliteStore(public / "faces.db", patience_s=LITTLE_PATIENCE_S)) as store:
        make(store)
        enrol(store, new_samples([f"s{at}" for at in range(20)], vectors(20)))
        store.close()
        yield store


@every_write
def test_a_read_only_file_is_told(kept: SqliteStore, public: Path, call: Call) -> None:
    before = content(kept)
    kept.close()
    (public / "faces.db").chmod(0o444)
    public.chmod(0o555)
    with without_privileges():
        refuses(call, kept, public / "faces.db", StoreReadOnly, "[Pp]ermission")
        kept.close()
    public.chmod(0o755)
    (public / "faces.db").chmod(0o600)
    assert content(kept) == before


@every_call
def test_an_unreadable_file_is_told(kept: SqliteStore, public: Path, call: Call) -> None:
    before = content(kept)
    kept.close()
    (public / "faces.db").chmod(0)
    with without_privileges():
        refuses(call, kept, public / "faces.db", StoreReadOnly, "[Pp]ermission")
    (public / "faces.db").chmod(0o600)
    assert content(kept) == before


def test_a_read_only_folder_is_told(public: Path) -> None:
    public.chmod(0o555)
    path = public / "faces.db"
    with without_privileges(), closing(SqliteStore(path)) as store:
        assert store.galleries() == ()
        refuses(WRITES["create"], store, path, StoreReadOnly, "[Pp]ermission")
    assert list(public.iterdir()) == []


@pytest.mark.parametrize("where", ["nowhere/faces.db", "file/faces.db"])
def test_a_folder_that_is_not_there_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with closing(SqliteStore(tmp_path / where)) as store:
        assert store.galleries() == ()
        refuses(WRITES["create"], store, tmp_path / where, StoreUnavailable, "No such|Not a directory|folder")


def test_files_are_their_owners_alone(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make(store)
        enrol(store, BATCH)
        store.backup(tmp_path / "backup.db", origin(1))
    finally:
        os.umask(old)
    files = [*path.parent.iterdir(), tmp_path / "backup.db"]
    assert len(files) >= 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


# --- room


@every_write
def test_a_full_disk_is_told(filled: SqliteStore, path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(filled)
    filled.close()

    class ConnectionToAFullDisk(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # as they come
            super().__init__(*args, **options)
            self.execute("PRAGMA max_page_count = 1")  # which means as many as there are

    def refusals() -> Iterator[str]:
        for _ in range(60):
            try:
                call(filled)
            except StoreFull as error:  # noqa: PERF203  # each on its own
                yield str(error)
            except (GalleryExists, GalleryNotFound):
                return  # what it did the first time needed no room

    connect = partial(sqlite3.connect, factory=ConnectionToAFullDisk)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        messages = list(refusals())
        assert all(str(path) in message and "make room" in message for message in messages)
        if call is WRITES["enrol"]:
            assert len(messages) == 60
            assert content(filled) == before
        filled.close()
    if call is WRITES["drop"]:
        make(filled)
    enrol(filled, BATCH)


FILLS_UP = """
import resource, sys
from pathlib import Path
from store_kinds import enrol, new_samples, vectors
from visavis.errors import StoreFull, StoreUnavailable
from visavis.galleries.sqlite.store import SqliteStore
path = Path(sys.argv[1])
limit = path.stat().st_size + 300_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store = SqliteStore(path)
for at in range(10_000):
    try:
        told = enrol(store, new_samples([f"more {at}"] * 20, vectors(20, seed=at)))
    except (StoreFull, StoreUnavailable) as error:
        assert str(path) in str(error) and "room" in str(error), error
        break
    print(*[one.sample for one in told], flush=True)
else:
    sys.exit("it was never full")
"""


def test_files_that_may_not_grow_lose_nothing(filled: SqliteStore, path: Path) -> None:
    before = [sample.id for sample in filled.samples(GALLERY, limit=1000)]
    filled.close()
    command = [sys.executable, "-c", FILLS_UP, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    child = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert child.returncode == 0, child.stderr
    acknowledged = [int(word) for word in child.stdout.split()]
    assert len(acknowledged) > 100
    assert [sample.id for sample in filled.samples(GALLERY, limit=100_000)] == before + acknowledged
    enrol(filled, BATCH)


# --- others who work with it


@every_write
def test_who_waits_too_long_is_told(filled: SqliteStore, path: Path, call: Call) -> None:
    before = content(filled)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        refuses(call, filled, path, StoreUnavailable, "try again")
        assert LITTLE_PATIENCE_S * 0.9 < time.monotonic() - start < LITTLE_PATIENCE_S + 3
        assert content(filled) == before  # who reads need not wait
        assert len(filled.search(GALLERY, vectors(1), 5)[0]) == 5
        other.execute("ROLLBACK")
    call(filled)


@every_call
def test_a_file_that_another_has_alone_is_told(filled: SqliteStore, path: Path, call: Call) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        refuses(call, filled, path, StoreUnavailable, "try again")
    call(filled)


def test_a_file_that_is_replaced_counts_as_it_is_now(filled: SqliteStore, path: Path, tmp_path: Path) -> None:
    old = content(filled)
    backup = tmp_path / "backup.db"
    filled.backup(backup, origin(1))
    probe = BATCH[0].embedding[None]
    enrol(filled, BATCH)
    assert filled.search(GALLERY, probe, 1)[0][0].subject == BATCH[0].subject
    filled.close()
    backup.replace(path)
    assert content(filled) == old
    assert filled.search(GALLERY, probe, 1)[0][0].subject != BATCH[0].subject
    (first, *_) = enrol(filled, BATCH)
    assert filled.search(GALLERY, probe, 1)[0][0].sample == first.sample
    filled.close()
    path.unlink()
    assert filled.galleries() == ()
    make(filled)
    assert filled.search(GALLERY, probe, 1) == ((),)


@pytest.mark.parametrize("name", ["a b?c=d#e%41&f.db", "é 人.db", "'; --.db", "file:faces.db", ":memory:"])
def test_files_may_have_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / f"x{name}"):
        with closing(SqliteStore(path)) as store:
            make(store)
            assert path.exists()
            with closing(SqliteStore(path.absolute())) as other:
                assert other.galleries() == store.galleries()
    assert len([file for file in tmp_path.iterdir() if not file.name.endswith("-reserve")]) == 2


# --- keys of encrypted galleries


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_an_encrypted_gallery_needs_its_key(path: Path, store: SqliteStore, key: bytes | None) -> None:
    with closing(SqliteStore(path, key=KEY)) as owner, closing(SqliteStore(path, key=key)) as stranger:
        make(owner)
        enrol(owner, new_samples(["anna", "ben"], vectors(2)))
        before = content(owner), owner.entries()
        assert stranger.galleries() == owner.galleries()
        for name in ("subjects", "samples", "search", "enrol", "update"):
            with pytest.raises(GalleryLocked, match="key"):
                CALLS[name](stranger)
        assert (content(owner), owner.entries()) == before
        make(stranger if key else store, "other")
        assert [gallery.encrypted for gallery in owner.galleries()] == [bool(key), True]
        assert stranger.drop(GALLERY, origin(1)).samples == 2  # to forget, nobody needs to read


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33), bytes(16)])
def test_a_key_has_32_bytes(path: Path, key: bytes) -> None:
    with pytest.raises(InvalidOption, match="32 bytes"):
        make(SqliteStore(path, key=key))


@pytest.mark.parametrize(("table", "column"), [("samples", "embedding"), ("samples", "about"), ("pictures", "data")])
def test_sealed_rows_open_only_where_they_belong(path: Path, store: SqliteStore, table: str, column: str) -> None:
    assert not store.galleries()
    with closing(SqliteStore(path, key=KEY)) as owner:
        make(owner)
        enrol(owner, [replace(one, picture=b"x" * 99) for one in new_samples(["anna", "ben"], vectors(2))])
        ids = [sample.id for sample in owner.samples(GALLERY)]
        owner.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            first, second = other.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608  # see above
            for (row, _), (_, value) in ((first, second), (second, first)):
                other.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))  # noqa: S608  # likewise
        assert len(owner.samples(GALLERY)) == (2 if table == "pictures" else 0)
        assert [damage.sample for damage in owner.check(GALLERY).damaged] == ids
        for id_ in ids if table == "pictures" else ():
            with pytest.raises(StoreDamaged):
                owner.picture(GALLERY, id_)


def test_others_write_while_a_forgetting_waits_for_a_reader(filled: SqliteStore, path: Path) -> None:
    entries = len(filled.entries(limit=1000))
    with (
        closing(SqliteStore(path, patience_s=60)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM samples").fetchone()
        forgetting = pool.submit(store.forget_samples, GALLERY, [1], origin(5))
        while len(store.entries(limit=1000)) == entries:
            time.sleep(0.01)  # until it is stored, and waits to be overwritten
        store.log("identify", GALLERY, origin(6))
        assert not forgetting.done()
        reader.execute("COMMIT")
        assert forgetting.result().overwritten


def test_a_process_that_comes_and_goes_takes_nothing_away(filled: SqliteStore, path: Path) -> None:
    """Where the locks of this process are lost, another one takes the log away when it closes the file."""
    look = (
        "import sys; from pathlib import Path; from visavis.galleries.sqlite.store import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1])); print(len(store.entries(limit=1000))); store.close()"
    )
    with closing(SqliteStore(path)) as second:
        for number in range(3):
            filled.log("identify", GALLERY, origin(number))  # writes
            second.gallery(GALLERY)  # reads, in the same process
            filled.search(GALLERY, vectors(1), 1)  # loads, on a connection of its own
            told = subprocess.run([sys.executable, "-c", look, path], check=True, capture_output=True, text=True)
            assert int(told.stdout) == len(filled.entries(limit=1000))
            assert Path(f"{path}-wal").exists()


def test_several_may_make_the_file_at_once(tmp_path: Path) -> None:
    def begin(path: Path, ready: Barrier) -> int:
        with closing(SqliteStore(path, patience_s=60)) as store:
            ready.wait()
            store.log("identify", GALLERY, origin(1))  # which makes the file, or finds it half made
            return len(store.entries())

    with ThreadPoolExecutor(6) as pool:
        for number in range(5):
            path, ready = tmp_path / f"{number}.db", Barrier(6)
            assert max(made.result() for made in [pool.submit(begin, path, ready) for _ in range(6)]) == 6


# --- files of other schemas


def test_any_schema_is_migrated_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    first = Schema(("CREATE TABLE one (a)",))
    second = Schema((*first.migrations, "ALTER TABLE one ADD b;\n-- and\nCREATE TABLE two (c)"))
    with pytest.raises(sqlite3.OperationalError):
        open_private_sqlite(path, first)
    assert not path.exists()  # it is for others to make, for their eyes only
    create_private(path)
    for schema in (first, second):
        with closing(open_private_sqlite(path, schema)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (schema.version,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(open_private_sqlite(path, second)) as connection:
        connection.execute("INSERT INTO one (a, b) VALUES (1, 2)")
        assert connection.execute("SELECT c FROM two").fetchall() == []
    with pytest.raises(StoreOutdated, match="schema 2; this one knows 1"):
        open_private_sqlite(path, first)
    with pytest.raises(StoreForeign):
        open_private_sqlite(path, replace(second, application_id=7))
