"""Encryption at rest: what is sealed opens with its key, in its place, unchanged; and not otherwise."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from visavis.errors import GalleryLocked, InvalidOption
from visavis.galleries.records import KEY_BYTES
from visavis.galleries.sealing import GalleryKeys, Sealer
from visavis.galleries.sqlite.store import SqliteStore

KEY = bytes(range(32))


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_is_sealed_opens_in_its_place(data: bytes, place: str) -> None:
    sealed = Sealer(KEY).seal(data, place)
    assert Sealer(KEY).open(sealed, place) == data
    assert len(sealed) == 12 + len(data) + 16
    with pytest.raises(GalleryLocked):
        Sealer(KEY).open(sealed, place + "x")


def test_it_is_aes_256_gcm() -> None:
    sealed = Sealer(KEY).seal(b"data", "place")
    assert AESGCM(KEY).decrypt(sealed[:12], sealed[12:], b"place") == b"data"
    with pytest.raises(ValueError, match="key"):
        Sealer(b"too short")


def test_nonces_are_not_used_twice() -> None:
    sealer = Sealer(KEY)
    assert len({sealer.seal(b"data", "place")[:12] for _ in range(1000)}) == 1000


def test_another_key_opens_nothing() -> None:
    with pytest.raises(GalleryLocked) as caught:
        Sealer(os.urandom(32)).open(Sealer(KEY).seal(b"secret", "place"), "place")
    assert "secret" not in str(caught.value)


def test_every_changed_bit_is_noticed() -> None:
    sealed = Sealer(KEY).seal(b"data", "place")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(GalleryLocked):
            Sealer(KEY).open(bytes(changed), "place")


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 27])
def test_what_is_cut_off_is_noticed(length: int) -> None:
    with pytest.raises(GalleryLocked):
        Sealer(KEY).open(Sealer(KEY).seal(b"", "place")[:length], "place")


def test_a_gallery_has_a_key_of_its_own() -> None:
    keys = GalleryKeys(KEY)
    first, second = (keys.new(1) for _ in range(2))
    assert first != second
    sealed = keys.open(1, first).seal(b"data", "x")
    assert keys.open(1, first).open(sealed, "x") == GalleryKeys(KEY).open(1, first).open(sealed, "x") == b"data"
    with pytest.raises(GalleryLocked):
        keys.open(1, second).open(sealed, "x")
    for store_key, gallery in ((KEY, 2), (bytes(32), 1)):
        with pytest.raises(GalleryLocked, match="another key"):
            GalleryKeys(store_key).open(gallery, first)
    for call in (lambda: GalleryKeys(None).open(1, first), lambda: GalleryKeys(None).new(1)):
        with pytest.raises(GalleryLocked, match="VISAVIS_GALLERY_KEY"):
            call()


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_of_another_length_is_refused_at_once(tmp_path, length: int) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # a path
    with pytest.raises(InvalidOption, match=f"{KEY_BYTES} bytes"):
        SqliteStore(tmp_path / "g.db", key=bytes(length))


def test_reprs_hold_no_key(tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # a path
    store = SqliteStore(tmp_path / "g.db", key=b"k" * 32)
    assert "kkk" not in f"{store!r} {store._keys!r} {Sealer(b'k' * 32)!r}"  # noqa: SLF001  # which holds it
