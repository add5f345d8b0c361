"""From a URL to a store, and from a text to a key: without touching anything, and without repeating a secret."""

import base64
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import InvalidOption, VisavisError
from visavis.galleries.sqlite.store import SqliteStore
from visavis.galleries.store import open_store, read_keys

KEY = bytes(range(32))


@pytest.mark.parametrize(("url", "path"), [
    ("sqlite:///faces.db", "faces.db"),
    ("sqlite:///folder/faces.db", "folder/faces.db"),
    ("sqlite:////var/lib/faces.db", "/var/lib/faces.db"),
    ("SQLite:///faces.db", "faces.db"),
    ("sqlite:///with%20space%3F%25.db", "with space?%.db"),
    ("sqlite:///ü.db", "ü.db"),
])  # fmt: skip
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    assert store._file.path == Path(path)  # noqa: SLF001  # where it is to be


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/none/g.db", key=KEY)
    assert store.galleries() == ()
    store.close()
    assert list(tmp_path.iterdir()) == []
    assert store.url == f"sqlite:///{tmp_path}/none/g.db"


@pytest.mark.parametrize("url", [
    "", "faces.db", "/var/faces.db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://faces.db", "sqlite:///f.db?mode=ro",
    "sqlite:///f.db#x", "sqlite:///a%00b", "sqlite:///:memory:", "mysql://host/db", "file:///f.db", "postgresqlx://h/d",
    "http://host/f.db", "postgresql://[::1/db", "postgresql://host/db?search=fast",
])  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidOption):
        open_store(url)


@pytest.mark.parametrize("url", [
    "postgresql://u:hunter2@[::1/db", "postgres:hunter2", "mysql://u:hunter2@h/db", "postgresql://u:hunter2@h/d?search=x",
])  # fmt: skip
def test_a_password_is_not_repeated(url: str) -> None:
    try:
        told = open_store(url).url
    except VisavisError as error:
        told = "".join(traceback.format_exception_only(error))
    assert "hunter2" not in told


@pytest.mark.parametrize("query", ["", "?search=exact", "?application_name=x&search=exact"])
def test_a_postgresql_url_names_a_database(query: str) -> None:
    pytest.importorskip("psycopg")
    for scheme in ("postgresql", "postgres"):
        store = open_store(f"{scheme}://user:hunter2@db.invalid/faces{query}")
        assert "db.invalid" in store.url
        assert "hunter2" not in store.url + repr(store)
        assert "search" not in store.url
        store.close()


def test_a_key_where_nothing_is_encrypted_is_refused() -> None:
    with pytest.raises(InvalidOption, match="encrypts nothing"):
        open_store("postgresql://user@db.invalid/faces", key=KEY)


@pytest.mark.parametrize("text", [
    KEY.hex(), KEY.hex().upper(), f"  {KEY.hex()}\n",
    base64.b64encode(KEY).decode(), f"{base64.b64encode(KEY).decode()}\r\n",
])  # fmt: skip
def test_a_key_is_read(text: str) -> None:
    assert read_keys(text) == (KEY,)


@pytest.mark.parametrize("text", [
    "", "hunter2", KEY.hex()[:-1], KEY.hex() + "0", KEY.hex()[:-1] + "g", KEY.hex()[:32],
    base64.b64encode(KEY[:31]).decode(), base64.b64encode(KEY).decode().rstrip("="), "ü" * 64, "=" * 44,
])  # fmt: skip
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidOption, match="openssl rand") as caught:
        read_keys(text)
    told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.__cause__)
    assert not text or text not in told


@given(st.text(max_size=90))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        assert {len(key) for key in read_keys(text)} == {32}
    except InvalidOption as error:
        assert len(text) < 8 or text not in str(error)  # noqa: PT017  # either is fine


@given(st.binary(min_size=32, max_size=32))
def test_any_key_is_read_both_ways(key: bytes) -> None:
    assert read_keys(key.hex()) == read_keys(base64.b64encode(key).decode()) == (key,)


def test_two_keys_are_read_in_their_order() -> None:
    assert read_keys(f"{bytes(32).hex()}\n{base64.b64encode(KEY).decode()}\n") == (bytes(32), KEY)
    with pytest.raises(InvalidOption, match="openssl rand"):
        read_keys(f"{KEY.hex()}\nnone")
