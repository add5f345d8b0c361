"""API keys: made, found, revoked; in one process and in several; on disk for the owner's eyes only."""

import hashlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from visavis.config import Scope
from visavis.errors import InvalidOption, KeysUnusable
from visavis.server import keys
from visavis.server.keys import KeyRecord, KeyStore, default_keys_file

SECRET = "correct-horse-battery-staple"  # noqa: S105  # of no key anywhere


def at(moment: datetime) -> type[datetime]:
    """Return a clock that stands still."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cast("Clock", moment.astimezone(tz))

    return Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[KeyStore]:
    store = KeyStore(path)
    yield store
    store.close()


def test_a_store_without_a_file_holds_nothing_and_makes_none(store: KeyStore, path: Path) -> None:
    assert (store.list(), store.find("vv_0_0"), store.revoke("0")) == ([], None, None)
    assert not path.parent.exists()


@pytest.mark.parametrize("scope", get_args(Scope))
def test_a_key_is_found_until_it_is_revoked(store: KeyStore, scope: Scope) -> None:
    record, secret = store.create("door 3", scope)
    assert secret.startswith(f"vv_{record.id}_")
    assert (record.name, record.scope, record.revoked_at) == ("door 3", scope, None)
    assert store.find(secret) == record
    revoked = store.revoke(record.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert revoked.used_at is not None
    assert store.find(secret) is None
    assert store.list() == [revoked]


def test_a_key_is_found_until_its_time_is_over(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expires_at = datetime.now(timezone.utc) + timedelta(hours=1)
    record, secret = store.create("a", "read", expires_at=expires_at)
    assert (record.expires_at, store.list()) == (expires_at, [record])
    assert (store.find(secret), store.has_expired(secret)) == (record, False)
    monkeypatch.setattr(keys, "datetime", at(expires_at))
    assert (store.find(secret), store.has_expired(secret)) == (None, True)
    assert not any(store.has_expired(wrong) for wrong in ("", secret[:-1], f"{secret[:-1]}x", "ü"))
    revoked = store.revoke(record.id)
    assert revoked is not None
    assert (revoked.is_valid, store.has_expired(secret)) == (False, False)
    with pytest.raises(InvalidOption, match="expires_at must be a date and time with a time zone"):
        store.create("a", "read", expires_at=datetime(2030, 1, 1))  # noqa: DTZ001  # which is the fault


def test_the_last_use_is_written_at_most_once_a_minute(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime.now(timezone.utc).replace(microsecond=0)
    secrets = [store.create(name, "read")[1] for name in ("a", "b")]
    assert all(store.find(secret) for secret in secrets)
    connect, places = sqlite3.connect, list[str]()

    def counted(place: str, **more: Any) -> Any:  # noqa: ANN401  # as the original
        places.append(str(place))
        return connect(place, **more)

    monkeypatch.setattr("sqlite3.connect", counted)
    for seconds, expected in ((0, 0), (59, 0), (60, 60), (61, 60), (119, 60), (120, 120)):
        monkeypatch.setattr(keys, "datetime", at(start + timedelta(seconds=seconds)))
        assert all(store.find(secret) for secret in secrets * 20)
        assert [record.used_at for record in store.list()] == [start + timedelta(seconds=expected)] * 2
    assert len(places) == 4
    other = KeyStore(store.path)  # another process does not write it again
    other.find(secrets[0])
    other.close()
    assert len(places) == 5  # its own, to read


def test_a_key_counts_also_where_its_use_cannot_be_written(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    record, secret = store.create("a", "read")
    connect, patience = sqlite3.connect, list[float]()

    def noted(place: str, **more: Any) -> Any:  # noqa: ANN401  # as the original
        if place == f"{store.path.as_uri()}?mode=rw":
            patience.append(more["timeout"])
        return connect(place, **more)

    monkeypatch.setattr("sqlite3.connect", noted)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody waits for who holds it
        assert [store.find(secret) for _ in range(20)] == [record] * 20
    assert patience == [0]
    store.path.with_name("nowhere").mkdir()
    gone = KeyStore(store.path.with_name("nowhere") / "keys.sqlite", [("read", "bootstrap-secret-0123456789")])
    assert gone.find("bootstrap-secret-0123456789") is not None
    assert not gone.path.exists()


def test_revoking_twice_changes_nothing(store: KeyStore) -> None:
    record, _ = store.create("a", "read")
    assert store.revoke(record.id) == store.revoke(record.id)


def test_keys_are_listed_in_the_order_in_which_they_were_made(store: KeyStore) -> None:
    made = [store.create(name, "read")[0] for name in ("b", "a", "ü 人")]
    assert store.list() == made
    assert len({record.id for record in made}) == 3


def test_what_is_no_key_is_not_found(store: KeyStore) -> None:
    record, secret = store.create("a", "read")
    last = "0" if secret[-1] != "0" else "1"
    for wrong in (
        *("", "vv", "vv_", "vv__", f"vv_{record.id}", f"vv_{record.id}_", record.id, secret[:-1], secret + "0"),
        *(secret[:-1] + last, secret.upper(), f" {secret}", secret.replace("vv_", "xx_"), "vv_' OR 1=1 --_x"),
        *("vv_ü_ü", "\udcff", "vv_\x00_", "x" * 100_000),
    ):
        assert store.find(wrong) is None, wrong
    assert store.revoke("ü") is None
    assert store.revoke("\udcff") is None
    assert store.find(secret) == record


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        ("metrics", ("metrics",)),
        ("read", ("metrics", "read")),
        ("probe", ("metrics", "read", "probe")),
        ("enrol", ("metrics", "read", "enrol")),
        ("admin", ("metrics", "read", "probe", "enrol", "admin")),
    ],
)
def test_what_a_scope_includes(store: KeyStore, held: Scope, allowed: tuple[Scope, ...]) -> None:
    record, _ = store.create("a", held)
    assert tuple(scope for scope in get_args(Scope) if record.allows(scope)) == allowed


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[31m", "x" * 201, "\udcff"])
def test_names_are_checked(store: KeyStore, path: Path, name: str) -> None:
    with pytest.raises(InvalidOption, match="printable"):
        store.create(name, "read")
    assert not path.exists()


def test_scopes_are_checked(store: KeyStore) -> None:
    with pytest.raises(InvalidOption, match="there is no scope 'root'; choose one of: metrics, read, probe, enrol"):
        store.create("a", "root")  # type: ignore[arg-type]


def test_the_file_holds_no_secret_and_is_its_owners_alone(store: KeyStore, path: Path) -> None:
    _, secret = store.create("a", "read")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert secret.rpartition("_")[2].encode() not in file.read_bytes()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_file_that_others_could_read_no_longer_is(store: KeyStore, path: Path) -> None:
    _, secret = store.create("a", "read")
    store.close()
    path.chmod(0o644)
    assert store.find(secret) is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_another_store_does_counts_at_once(store: KeyStore, path: Path) -> None:
    other = KeyStore(path)
    record, secret = store.create("a", "read")
    assert other.find(secret) == record
    other.revoke(record.id)
    assert store.find(secret) is None
    other.close()


def test_a_file_that_is_replaced_or_deleted_counts_as_it_is_now(store: KeyStore, path: Path) -> None:
    record, secret = store.create("a", "read")
    store.close()
    backup = path.read_bytes()
    store.revoke(record.id)
    store.close()
    path.with_suffix(".new").write_bytes(backup)
    path.with_suffix(".new").replace(path)
    assert store.find(secret) == record
    path.unlink()
    assert store.find(secret) is None
    assert store.list() == []


def test_several_processes_make_the_file_and_keys_at_the_same_time(store: KeyStore, path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from visavis.server.keys import KeyStore\n"
        "store = KeyStore(Path(sys.argv[1]))\n"
        "print(*[store.create('a', 'read')[1] for _ in range(5)]); store.close()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: subprocess.run(command, check=True, capture_output=True).stdout, range(4)))
    made = [secret.decode() for output in outputs for secret in output.split()]
    assert len(made) == len(store.list()) == 20
    assert all(store.find(secret) for secret in made)


def test_several_threads_share_a_store(store: KeyStore) -> None:
    def make_find_revoke(_: int) -> bool:
        record, secret = store.create("a", "read")
        found = store.find(secret)
        store.revoke(record.id)
        return found == record and store.find(secret) is None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(make_find_revoke, range(40)))


def test_bootstrap_keys_work_without_a_file(path: Path) -> None:
    store = KeyStore(path, [("admin", SECRET), ("read", SECRET[::-1])])
    admin, reader = store.find(SECRET), store.find(SECRET[::-1])
    assert admin is not None
    assert reader is not None
    assert (admin.scope, reader.scope) == ("admin", "read")
    assert admin.id != reader.id
    assert store.list() == [admin, reader]
    assert store.find(SECRET[:-1]) is None
    assert not path.exists()


@pytest.mark.parametrize("secret", ["", "too-short-to-be-a-secret"[:23], "ü" * 30, "with a space " * 3, "a\n" * 20])
def test_bootstrap_keys_must_be_secrets(path: Path, secret: str) -> None:
    with pytest.raises(InvalidOption, match="API key 1 of the environment") as caught:
        KeyStore(path, [("read", secret)])
    assert not secret or secret not in str(caught.value)


def test_bootstrap_keys_have_a_known_scope(path: Path) -> None:
    with pytest.raises(InvalidOption, match="there is no scope 'root'"):
        KeyStore(path, [("root", SECRET)])  # type: ignore[list-item]


class TestGalleries:
    def test_a_key_without_galleries_is_for_all(self, store: KeyStore) -> None:
        record, secret = store.create("a", "read")
        assert (record.galleries, record.covers("team")) == ((), True)
        assert store.find(secret) == record

    def test_a_key_for_some_is_for_no_other(self, store: KeyStore) -> None:
        record, secret = store.create("a", "admin", ["team", "staff.2", "team"])
        assert record.galleries == ("team", "staff.2")
        assert store.list() == [record]
        assert store.find(secret) == record
        revoked = store.revoke(record.id)
        assert revoked is not None
        assert revoked.galleries == record.galleries
        for name, covered in (
            ("team", True),
            ("staff.2", True),
            ("staff", False),
            ("", False),
            ("team,staff.2", False),
        ):
            assert record.covers(name) is covered

    @pytest.mark.parametrize("name", ["", ".team", "a,b", "a b", "a/b", "*"])
    def test_names_that_no_gallery_has(self, store: KeyStore, path: Path, name: str) -> None:
        with pytest.raises(InvalidOption, match="a gallery's name is"):
            store.create("a", "read", ["team", name])
        assert not path.exists()

    def test_bootstrap_keys_are_for_all(self, path: Path) -> None:
        found = KeyStore(path, [("read", SECRET)]).find(SECRET)
        assert found is not None
        assert found.covers("team")


FIRST_VERSION = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'enrol', 'admin')),
    hash BLOB NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    revoked_at TEXT
);
PRAGMA user_version = 1;
INSERT INTO keys VALUES ('5f0c93a1b2d4', 'door', 'enrol', :hash, '2025-01-01T00:00:00+00:00', NULL);
INSERT INTO keys VALUES ('000000000000', 'old', 'read', x'00', '2024-01-01T00:00:00+00:00', '2024-02-01T00:00:00+00:00')
"""


class TestMigration:
    @pytest.fixture
    def secret(self, path: Path) -> str:
        """A key in a file that the version before this one has written."""
        secret = "vv_5f0c93a1b2d4_" + "ab" * 32
        path.parent.mkdir()
        connection = sqlite3.connect(path)
        connection.executescript(FIRST_VERSION.replace(":hash", f"x'{hashlib.sha256(secret.encode()).hexdigest()}'"))
        connection.close()
        return secret

    def test_keys_stay_what_they_were(self, store: KeyStore, secret: str) -> None:
        found = store.find(secret)
        assert found is not None
        assert (found.name, found.scope, found.galleries) == ("door", "enrol", ())
        assert [record.revoked_at is None for record in store.list()] == [True, False]
        limited, _ = store.create("new", "probe", ["team"])
        assert [record.galleries for record in store.list()] == [(), (), ("team",)]
        assert store.list()[2] == limited

    def test_several_processes_do_it_at_the_same_time(self, store: KeyStore, path: Path, secret: str) -> None:
        program = (
            "import sys; from pathlib import Path; from visavis.server.keys import KeyStore\n"
            "store = KeyStore(Path(sys.argv[1]))\n"
            "assert store.find(sys.argv[2]); store.create('a', 'read', ['team']); store.close()"
        )
        command = [sys.executable, "-c", program, str(path), secret]
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(lambda _: subprocess.run(command, check=False).returncode, range(4)))
        assert outcomes == [0] * 4
        assert len(store.list()) == 6

    def test_the_file_says_its_version(self, store: KeyStore, path: Path, secret: str) -> None:
        store.find(secret)
        store.close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        connection.close()

    def test_a_file_that_only_looks_like_one_is_refused(self, store: KeyStore, path: Path) -> None:
        path.parent.mkdir()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 1")
        connection.close()
        with pytest.raises(KeysUnusable, match="no such table"):
            store.list()


def use(store: KeyStore, how: str) -> KeyRecord | tuple[KeyRecord, str] | list[KeyRecord] | None:
    if how == "create":
        return store.create("a", "read")
    if how == "list":
        return store.list()
    return store.revoke("0") if how == "revoke" else store.find("vv_0_0")


@pytest.mark.parametrize("how", ["create", "list", "revoke", "find"])
@pytest.mark.parametrize("what", ["text", "folder", "newer"])
def test_a_file_that_is_something_else_is_refused(store: KeyStore, path: Path, what: str, how: str) -> None:
    path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("these are not the keys that you are looking for\n" * 100)
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 4")
        connection.close()
    with pytest.raises(KeysUnusable, match=r"keys\.sqlite cannot be used: "):
        use(store, how)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysUnusable, match="cannot be used"):
        KeyStore(tmp_path / "file" / "keys.sqlite").create("a", "read")


def test_the_default_file_has_a_name() -> None:
    assert default_keys_file().name == "keys.sqlite"
