"""What every store of galleries does, the model included: galleries, subjects, samples, keys, the log."""

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_kinds import (
    GALLERY,
    NOON,
    Place,
    content,
    enrol,
    make,
    new_samples,
    origin,
    plain,
    stored,
    vectors,
)

from visavis.errors import (
    GalleryExists,
    GalleryLocked,
    GalleryNotFound,
    InvalidEmbedding,
    InvalidOption,
    KeyReused,
    SampleNotFound,
    SubjectExists,
    SubjectNotFound,
    VersionMismatch,
    VisavisError,
)
from visavis.galleries.moves import key_of_moved
from visavis.galleries.records import NEVER, Details, Erased, LogEntry, NewSample, normal
from visavis.galleries.store import Store
from visavis.options import Keep, Policy
from visavis.types import EmbeddingSpace, Metric, Quality

POLICY = Policy(
    threshold=0.55,
    margin=0.02,
    conflict_threshold=0.0,
    min_face_px=80,
    min_sharpness=1.5,
    min_score=None,
    max_yaw=33.5,
    max_pitch=0,
    probe_min_face_px=20,
    probe_min_sharpness=0.5,
    probe_min_score=-0.0,
    require_live=True,
    keep="chips",
    retention_days=1 / 3,
    consent_required=True,
    log_searches=False,
)
EMBEDDING = vectors(1)[0]
COMPOSED, DECOMPOSED = "Jos\xe9", "Jose\u0301"
HOSTILE = (
    "'; DROP TABLE samples; --",
    '"quoted" \\ back\\slashed %s %(a)s $1 ?1 :name {0}',
    "NULL",
    "é e\u0301 人 😀 \u202eright to left",
    "line\nbreak\ttab\x01\x1b[31m\x7f\ufeff\uffff",
    "not nul: \\u0000 \\x00 \\0",
    "x" * 10_000,
)


def nested(text: str) -> dict[str, Any]:
    """Return metadata that hold a text in every place where there may be one."""
    return {text: [text, {text: text}]}


HOSTILE_IDS = (
    "'; DROP TABLE subjects; --",
    '"quoted" \\ back\\slashed %s %(a)s $1 ?1 :name {0}',
    "NULL",
    "%",
    "_",
    "Anna",
    "anna",
    "é",
    "人 😀",
    "0",
    "00",
    "😀" * 200,
)


def is_nothing(erased: Erased) -> bool:
    return (erased.subjects, erased.samples) == ((), 0)


# --- galleries


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.galleries() == ()
    assert store.entries() == ()
    assert store.entries(GALLERY) == ()


@pytest.mark.parametrize("call", [
    lambda store: store.gallery("none"),
    lambda store: store.set_policy("none", Policy(), origin()),
    lambda store: store.drop("none", origin()),
    lambda store: store.enrol("none", [], origin()),
    lambda store: store.enrol("none", new_samples(["anna"], vectors(1)), origin()),
    lambda store: store.update("none", "anna", Details(name="Anna"), origin()),
    lambda store: store.move("none", "anna", "ben", origin()),
    lambda store: store.forget_samples("none", [1], origin()),
    lambda store: store.forget_subjects("none", ["anna"], origin()),
    lambda store: store.expire("none", origin()),
    lambda store: store.subject("none", "anna"),
    lambda store: store.subjects("none"),
    lambda store: store.samples("none"),
    lambda store: store.samples("none", subject="anna"),
    lambda store: store.picture("none", 1),
    lambda store: store.keyed("none", ["key"]),
    lambda store: store.keyed("none", []),
    lambda store: store.search("none", vectors(1), 1),
    lambda store: store.search("none", vectors(0), 1),
])  # fmt: skip
@pytest.mark.parametrize("others", [False, True])
def test_a_gallery_that_is_not_there_is_told(store: Store, call: Callable[[Store], object], others: bool) -> None:  # noqa: FBT001  # a parameter of the test
    if others:
        make(store)
    before = store.entries()
    with pytest.raises(GalleryNotFound, match="none"):
        call(store)
    assert store.entries() == before


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_gallery_is_as_it_was_made(place: Place, metric: Metric) -> None:
    store = place.open()
    space = EmbeddingSpace("ü 'id'", 7, metric)
    made = store.create(GALLERY, space, POLICY, origin(1))
    assert (made.name, made.space, made.policy, made.created_at) == (GALLERY, space, POLICY, origin(1).at)
    assert (made.subjects, made.samples, made.encrypted) == (0, 0, place.kind == "sqlite-encrypted")
    for again in (store, place.open(), place.reopen()):
        assert again.gallery(GALLERY) == made
        assert again.galleries() == (made,)


def test_galleries_are_listed_by_name(store: Store) -> None:
    names = ["b", "a", "a-b", "a.b", "a_b", "0", "ab", "a" * 64]
    made = [make(store, name) for name in names]
    assert [gallery.name for gallery in store.galleries()] == sorted(names)
    assert sorted(gallery.number for gallery in made) == [gallery.number for gallery in made]
    assert len({gallery.number for gallery in made}) == len(names)


def test_a_name_is_given_once(store: Store) -> None:
    made = make(store)
    with pytest.raises(GalleryExists, match=GALLERY):
        store.create(GALLERY, EmbeddingSpace("other", 5, "cosine"), POLICY, origin(1))
    assert store.galleries() == (made,)
    assert len(store.entries()) == 1


@pytest.mark.parametrize("name", [*("", "-a", ".a", "a b", "a/b", "ä", "a" * 256, "a\n", "a\x00", "';--", "..", ".")])
def test_a_bad_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidOption, match="gallery's name"):
        make(store, name)
    assert store.galleries() == ()
    assert store.entries() == ()


def test_names_of_other_systems_but_none_that_differs_by_case_alone(place: Place) -> None:
    store, names = place.open(), sorted(("A", "My_Collection-1.v2", "_x", "a" * 255))
    for name in names:
        make(store, name)
    for name in ("a", "MY_collection-1.v2", "_X", "A" * 255):
        with pytest.raises(GalleryExists):
            make(store, name)
        with pytest.raises(GalleryNotFound):
            store.gallery(name)
    assert [gallery.name for gallery in place.reopen().galleries()] == names


def test_a_sample_has_metadata_of_its_own(place: Place) -> None:
    store = place.open()
    make(store)
    known = {"box": [1, 2.5, -3, 4], "image_id": "é \x01 \\u0000", "deep": {"a": [None, True, {}]}}
    new = [NewSample(subject=id_, embedding=EMBEDDING, metadata=each) for id_, each in (("ada", known), ("ben", {}))]
    first = enrol(store, new)[0].sample
    assert [sample.metadata for sample in place.reopen().samples(GALLERY)] == [known, {}]
    place.open().move(GALLERY, "ada", "ben", origin(1))
    assert [sample.metadata for sample in place.reopen().samples(GALLERY, subject="ben")] == [
        {},
        {**known, "first_number": first},
    ]


def deep(levels: int) -> dict[str, Any]:
    """Return metadata of objects in lists in objects."""
    inner: Any = {}
    for level in range(levels - 1):
        inner = {"a": inner} if level % 2 else [inner]
    return {"a": inner}


def test_metadata_is_no_deeper_than_can_be_read() -> None:
    for metadata in (deep(101), deep(200), deep(480), {"a": [1, deep(101)]}):
        for refuse in (
            lambda known: Details(metadata=known),
            lambda known: NewSample(subject="a", embedding=EMBEDDING, metadata=known),
        ):
            with pytest.raises(InvalidOption, match="100 levels"):
                refuse(metadata)
    assert Details(metadata=deep(100)).metadata == deep(100)


@pytest.mark.parametrize("metadata", [
    *({"a": "x" * 4090}, {"a": "é" * 2046}, {"a": "\0"}, {"a": float("nan")}, {"a": b""}, [1], None, {"a": "\ud800"}),
])  # fmt: skip
def test_bad_metadata_of_a_sample_is_refused(metadata: Any) -> None:  # noqa: ANN401  # anything
    with pytest.raises(InvalidOption, match="a sample's metadata must be"):
        NewSample(subject="ada", embedding=EMBEDDING, metadata=metadata)
    assert NewSample(subject="ada", embedding=EMBEDDING, metadata={"a": "é" * 2040}).metadata


def test_a_gallery_may_stay_in_the_clear(store: Store) -> None:
    gallery = store.create(GALLERY, EmbeddingSpace("s", 4, "cosine"), Policy(), origin(), encrypted=False)
    assert not gallery.encrypted
    assert not store.gallery(GALLERY).encrypted


def test_a_gallery_is_encrypted_where_there_is_a_key(place: Place) -> None:
    store = place.open()
    space = EmbeddingSpace("s", 4, "cosine")
    if place.kind == "sqlite-encrypted":
        assert store.create(GALLERY, space, Policy(), origin(), encrypted=True).encrypted
        assert store.gallery(GALLERY).encrypted
        return
    with pytest.raises(InvalidOption if place.kind == "postgres" else GalleryLocked):
        store.create(GALLERY, space, Policy(), origin(), encrypted=True)
    assert store.galleries() == ()


def test_a_policy_is_replaced(place: Place) -> None:
    store = place.open()
    made = make(store)
    assert store.set_policy(GALLERY, POLICY, origin(1)) == replace(made, policy=POLICY)
    assert place.reopen().gallery(GALLERY) == replace(made, policy=POLICY)


def test_counts(store: Store) -> None:
    make(store)
    make(store, "other")
    first, second, third = enrol(store, new_samples(["anna", "anna", "ben"], vectors(3)))
    enrol(store, new_samples(["anna"], vectors(1)), gallery="other")

    def counts() -> tuple[int, int]:
        gallery = store.gallery(GALLERY)
        assert gallery in store.galleries()
        return gallery.subjects, gallery.samples

    assert counts() == (2, 3)
    store.forget_samples(GALLERY, [first.sample, third.sample], origin(1))
    assert counts() == (2, 1)
    store.forget_subjects(GALLERY, ["ben"], origin(2))
    assert counts() == (1, 1)
    store.forget_samples(GALLERY, [second.sample], origin(3))
    assert counts() == (1, 0)
    store.forget_subjects(GALLERY, ["anna"], origin(4))
    assert counts() == (0, 0)
    assert store.gallery("other").samples == 1


def test_a_gallery_made_anew_is_another_one(place: Place) -> None:
    store = place.open()
    old = make(store)
    sample = NewSample(subject="anna", embedding=EMBEDDING, key="key", fingerprint="old", picture=b"picture")
    (was,) = enrol(store, [sample])
    erased = store.drop(GALLERY, origin(1))
    assert (erased.subjects, erased.samples) == ((was.subject.number,), 1)
    assert erased.overwritten == (place.kind != "postgres")
    assert store.galleries() == ()
    new = make(store, dimension=7, metric="cosine")
    assert new.number > old.number
    for again in (store, place.open(), place.reopen()):
        assert again.galleries() == (new,)
        assert content(again)[1:] == ((), [], [])
        assert again.picture(GALLERY, was.sample) is None
        assert again.keyed(GALLERY, ["key"]) == {}
        assert again.search(GALLERY, vectors(1, 7), 5) == ((),)
    (now,) = enrol(place.open(), [replace(sample, embedding=vectors(1, 7)[0], fingerprint="new")])
    assert not now.repeated
    assert now.sample > was.sample
    assert now.subject.number > was.subject.number


def test_an_empty_gallery_is_dropped(store: Store) -> None:
    make(store)
    erased = store.drop(GALLERY, origin(1))
    assert (erased.subjects, erased.samples) == ((), 0)
    with pytest.raises(GalleryNotFound):
        store.drop(GALLERY, origin(2))
    assert [entry.action for entry in store.entries()] == ["create", "forget"]


def test_dropping_one_leaves_the_others(store: Store) -> None:
    for name in ("people", "other"):
        make(store, name)
        enrol(store, new_samples(["anna", "ben"], vectors(2)), gallery=name)
    before = content(store, "other")
    store.drop("people", origin(1))
    assert content(store, "other") == before
    assert len(store.search("other", vectors(1), 5)[0]) == 2


# --- enrolment


@pytest.mark.parametrize("told", [(None, None), (-12.5, None), (1 / 3, -0.0), (1.5, None, 0.25), (0, 0, 2 / 3, 1.0)])
def test_a_sample_is_as_it_was_enrolled(place: Place, told: tuple[float | None, ...]) -> None:
    store = place.open()
    make(store)
    details = Details(
        name="Anna Ünal",
        metadata={"nested": {"list": [1, 2.5, None, True, "人"], "empty": {}}, "ü": "é", "big": 2**53, "": ""},
        consent="signed 2024-05-17, form 3",
        expires_at=NOON + timedelta(days=30, microseconds=1),
    )
    quality = Quality(123.5, 0.1, -1.25, *told)
    (was,) = enrol(
        store,
        [
            NewSample(
                subject="anna",
                embedding=EMBEDDING,
                details=details,
                quality=quality,
                source="door 3",
                picture=bytes(range(256)),
                key="key-1",
                fingerprint="f",
            )
        ],
        minutes=5,
    )
    for again in (store, place.open(), place.reopen()):
        subject = again.subject(GALLERY, "anna")
        assert subject is not None
        assert subject == was.subject
        assert (subject.id, subject.name, subject.consent) == ("anna", details.name, details.consent)
        assert (subject.metadata, subject.expires_at) == (details.metadata, details.expires_at)
        assert (subject.created_at, subject.updated_at, subject.samples) == (origin(5).at, origin(5).at, 1)
        (sample,) = again.samples(GALLERY)
        assert (sample.id, sample.subject, sample.quality, sample.source) == (was.sample, "anna", quality, "door 3")
        assert (sample.picture, sample.created_at) == ("images", origin(5).at)
        assert sample.embedding.dtype == np.float32
        np.testing.assert_array_equal(sample.embedding, EMBEDDING)
        assert again.picture(GALLERY, sample.id) == bytes(range(256))
        assert again.subjects(GALLERY) == (subject,)


def test_a_sample_without_details_has_none(store: Store) -> None:
    make(store)
    (was,) = enrol(store, new_samples(["anna"], vectors(1)))
    assert (was.subject.name, was.subject.consent, was.subject.expires_at) == (None, None, None)
    assert was.subject.metadata == {}
    assert was.subject.version >= 1
    (sample,) = store.samples(GALLERY)
    assert (sample.quality, sample.source, sample.picture) == (None, None, "nothing")
    assert store.picture(GALLERY, sample.id) is None


def test_nothing_is_enrolled(store: Store) -> None:
    make(store)
    before = content(store)
    assert store.enrol(GALLERY, [], origin(1)) == ()
    assert content(store) == before
    assert len(store.entries()) == 1


def test_a_subject_gathers_samples(store: Store) -> None:
    make(store)
    first, second = enrol(store, new_samples(["anna", "anna"], vectors(2)))
    (third,) = enrol(store, new_samples(["anna"], vectors(1)), minutes=1)
    assert first.sample < second.sample < third.sample
    assert {first.subject.number, second.subject.number} == {third.subject.number}
    assert (second.subject.samples, third.subject.samples) == (2, 3)
    assert third.subject.version > second.subject.version
    assert (third.subject.created_at, third.subject.updated_at) == (origin(0).at, origin(1).at)


def test_details_of_a_later_sample_change_what_they_name(store: Store) -> None:
    make(store)
    first = Details(name="Anna", metadata={"a": 1}, consent="yes", expires_at=NOON)
    enrol(store, [NewSample(subject="anna", embedding=EMBEDDING, details=first)])
    (now,) = enrol(store, new_samples(["anna"], vectors(1)))
    assert (now.subject.name, now.subject.metadata) == ("Anna", {"a": 1})
    later = Details(metadata={"b": 2}, expires_at=NOON + timedelta(days=1))
    (now,) = enrol(store, [NewSample(subject="anna", embedding=EMBEDDING, details=later)])
    assert (now.subject.name, now.subject.consent) == ("Anna", "yes")
    assert (now.subject.metadata, now.subject.expires_at) == ({"b": 2}, NOON + timedelta(days=1))


def test_details_within_one_call_follow_each_other(store: Store) -> None:
    make(store)
    names = (Details(name="A", consent="yes"), Details(name="B"), Details(metadata={"c": 3}))
    told = enrol(store, [NewSample(subject="anna", embedding=EMBEDDING, details=details) for details in names])
    now = told[-1].subject
    assert now == store.subject(GALLERY, "anna")
    assert (now.name, now.consent, now.metadata) == ("B", "yes", {"c": 3})


def test_many_samples_at_once(place: Place) -> None:
    store = place.open()
    make(store, dimension=128)
    embeddings = vectors(3000, 128)
    told = enrol(store, new_samples([f"s{at % 700}" for at in range(3000)], embeddings))
    assert [one.sample for one in told] == sorted({one.sample for one in told})
    store = place.reopen()
    assert (store.gallery(GALLERY).subjects, store.gallery(GALLERY).samples) == (700, 3000)
    samples = store.samples(GALLERY, limit=3000)
    np.testing.assert_array_equal(np.stack([sample.embedding for sample in samples]), embeddings)
    assert [sample.id for sample in samples] == [one.sample for one in told]


@pytest.mark.parametrize("keep", ["nothing", "chips", "images"])
def test_pictures_are_kept_as_the_policy_says(place: Place, keep: Keep) -> None:
    store = place.open()
    make(store, keep=keep)
    pictures = [b"x", b"", None, bytes(range(256)) * 400]
    told = enrol(store, [NewSample(subject="a", embedding=EMBEDDING, picture=picture) for picture in pictures])
    for again in (store, place.reopen()):
        kinds = [sample.picture for sample in again.samples(GALLERY)]
        kept = [again.picture(GALLERY, one.sample) for one in told]
        if keep == "nothing":
            assert (kinds, kept) == (["nothing"] * 4, [None] * 4)
        else:
            assert (kinds, kept) == ([keep, keep, "nothing", keep], pictures)


def test_pictures_stay_in_their_gallery(store: Store) -> None:
    make(store)
    make(store, "other")
    (here,) = enrol(store, [NewSample(subject="a", embedding=EMBEDDING, picture=b"picture")])
    assert store.picture("other", here.sample) is None
    assert store.picture(GALLERY, here.sample + 1) is None
    store.forget_samples("other", [here.sample], origin(1))
    assert store.picture(GALLERY, here.sample) == b"picture"


@pytest.mark.parametrize("bad", [
    vectors(1, 5)[0],
    vectors(1, 3)[0],
    vectors(1),
    np.array(1, np.float32),
    np.zeros(4, np.float32),
    *(np.array([1, value, 0, 0], np.float32) for value in (np.nan, np.inf, -np.inf, 2e6)),
    np.full(4, 1e-20, np.float32),
    np.array(["a", "b", "c", "d"]),
    np.array([1, 2, 3, 1e300]),
    [1.0, None, 0.0, 0.0],
    [[1.0], [1.0, 2.0]],
    None,
    "four",
])  # fmt: skip
def test_a_bad_embedding_is_refused_with_all_that_come_with_it(store: Store, bad: Any) -> None:  # noqa: ANN401  # whatever callers may pass
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    before = content(store), store.entries()
    good = NewSample(subject="ben", embedding=EMBEDDING, key="key")
    with pytest.raises(InvalidEmbedding, match="embedding"):
        store.enrol(GALLERY, [good, NewSample(subject="anna", embedding=bad), good], origin(1))
    assert (content(store), store.entries()) == before
    assert store.keyed(GALLERY, ["key"]) == {}


@pytest.mark.parametrize("bad", ["", " ", " a", "a ", "a/b", "/", ".", "..", "a\nb", "a\x00", "\udcff", "x" * 201])
def test_a_bad_id_is_refused_with_all_that_come_with_it(store: Store, bad: str) -> None:
    make(store)
    before = content(store), store.entries()
    with pytest.raises(InvalidOption, match="subject's ID"):
        store.enrol(GALLERY, new_samples(["anna", bad], vectors(2)), origin(1))
    assert (content(store), store.entries()) == before
    assert store.subject(GALLERY, bad) is None


@pytest.mark.parametrize("bad", ["", "a\nb", "\x00", "\udcff", "x" * 201])
def test_a_bad_key_is_refused_with_all_that_come_with_it(store: Store, bad: str) -> None:
    make(store)
    before = content(store), store.entries()
    samples = [NewSample(subject=name, embedding=EMBEDDING, key=key) for name, key in (("anna", "key"), ("ben", bad))]
    with pytest.raises(InvalidOption, match="idempotency key"):
        store.enrol(GALLERY, samples, origin(1))
    assert (content(store), store.entries()) == before


def test_hostile_strings_are_strings(place: Place) -> None:
    store = place.open()
    make(store)
    new = [
        NewSample(
            subject=f"s{at}",
            embedding=EMBEDDING,
            details=Details(name=text, consent=text, metadata=nested(text[:2000])),
            source=text,
            key=f"{at}{text[:50]}" if text[:50].isprintable() else f"key {at}",
            fingerprint=text,
        )
        for at, text in enumerate(HOSTILE)
    ]
    told = [stored(outcome) for outcome in store.enrol(GALLERY, new, origin(1, actor=HOSTILE[0]))]
    store = place.reopen()
    for sample, text in zip(store.samples(GALLERY), HOSTILE, strict=True):
        subject = store.subject(GALLERY, sample.subject)
        assert subject is not None
        assert (subject.name, subject.consent, sample.source) == (normal(text), text, text)
        assert subject.metadata == nested(text[:2000])
    again = [stored(outcome) for outcome in store.enrol(GALLERY, new, origin(2))]
    assert [(one.sample, one.repeated) for one in again] == [(one.sample, True) for one in told]
    assert [entry.actor for entry in store.entries(after=1)] == [HOSTILE[0]]


def test_hostile_ids_are_ids(place: Place) -> None:
    store = place.open()
    make(store)
    embeddings = vectors(len(HOSTILE_IDS))
    told = enrol(store, new_samples(HOSTILE_IDS, embeddings))
    store = place.reopen()
    assert [subject.id for subject in store.subjects(GALLERY)] == list(HOSTILE_IDS)
    for one, id_, embedding in zip(told, HOSTILE_IDS, embeddings, strict=True):
        assert store.subject(GALLERY, id_) == one.subject
        assert [sample.id for sample in store.samples(GALLERY, subject=id_)] == [one.sample]
        assert store.search(GALLERY, embedding[None], 1)[0][0].subject == id_
    for id_ in HOSTILE_IDS:
        assert len(store.forget_subjects(GALLERY, [id_], origin(1)).subjects) == 1
        assert store.subject(GALLERY, id_) is None
    assert store.subjects(GALLERY) == ()
    assert len(store.galleries()) == 1


def test_what_is_absurd_is_merely_absent(store: Store) -> None:
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    assert is_nothing(store.forget_subjects(GALLERY, [0, -1, 2**63, 10**30], origin(1)))
    for id_ in ("", "\x00", "\udcff", "x" * 100_000, "%", "ann_", "ANNA", "anna ", "' OR 1=1 --"):
        assert store.subject(GALLERY, id_) is None
        assert store.samples(GALLERY, subject=id_) == ()
        assert is_nothing(store.forget_subjects(GALLERY, [id_], origin(1)))
        assert store.keyed(GALLERY, [id_]) == {}
        with pytest.raises(SubjectNotFound):
            store.update(GALLERY, id_, Details(name="x"), origin(1))
        for both in ((id_, "anna"), ("anna", id_)):
            with pytest.raises(SubjectNotFound):
                store.move(GALLERY, *both, origin(1))
        assert store.entries(id_) == ()
        with pytest.raises(GalleryNotFound):
            store.gallery(id_)
    for number in (0, -1, 2**62, 2**63 - 1):
        assert store.picture(GALLERY, number) is None
        assert is_nothing(store.forget_samples(GALLERY, [number], origin(1)))
    assert store.samples(GALLERY, after=2**62) == ()
    assert store.subjects(GALLERY, after=2**62) == ()
    assert store.entries(after=2**62) == ()
    assert store.gallery(GALLERY).samples == 1


def test_records_are_frozen(store: Store) -> None:
    make(store)
    embedding = vectors(1)[0].copy()
    (was,) = enrol(store, [NewSample(subject="anna", embedding=embedding)])
    (sample,) = store.samples(GALLERY)
    ((match,),) = store.search(GALLERY, vectors(1), 1)
    for record in (was, was.subject, sample, match, store.gallery(GALLERY), store.entries()[0]):
        with pytest.raises(FrozenInstanceError):
            setattr(record, fields(record)[0].name, 5)
    assert not sample.embedding.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        sample.embedding[0] = 5
    embedding[:] = 5  # the caller's own, which the store does not look at any more
    np.testing.assert_array_equal(store.samples(GALLERY)[0].embedding, vectors(1)[0])
    assert store.search(GALLERY, vectors(1), 1)[0][0].distance < 1e-6


# --- idempotency keys


def keyed(key: str | None, fingerprint: str = "f", subject: str = "anna", seed: int = 0, **details: str) -> NewSample:
    told = Details(**details)  # type: ignore[arg-type]  # names and consent only
    embedding = vectors(1, seed=seed)[0]
    return NewSample(subject=subject, embedding=embedding, details=told, key=key, fingerprint=fingerprint)


def test_a_repeated_enrolment_stores_nothing(place: Place) -> None:
    store = place.open()
    make(store)
    (first,) = enrol(store, [keyed("k", name="Anna")])
    before = content(store), store.entries()
    for again in (store, place.open(), place.reopen()):
        (second,) = enrol(again, [keyed("k", name="Bert", seed=1)], minutes=9)
        assert (second.sample, second.repeated, first.repeated) == (first.sample, True, False)
        assert second.subject == first.subject
        assert (content(again), again.entries()) == before


def test_a_key_with_another_fingerprint_is_refused_for_that_item_alone(store: Store) -> None:
    make(store)
    (first,) = enrol(store, [keyed("k", "f")])
    new_ones = [keyed("l"), keyed("k", "g", "carl"), keyed("k", "f", "dora"), keyed(None), keyed("k", "f")]
    outcomes = store.enrol(GALLERY, new_ones, origin(1))
    assert isinstance(outcomes[1], KeyReused)
    assert isinstance(outcomes[2], KeyReused)  # the subject is part of what the key was used for
    assert [subject.id for subject in store.subjects(GALLERY)] == ["anna"]
    new, plain_, repeated = (stored(outcomes[at]) for at in (0, 3, 4))
    assert [new.repeated, plain_.repeated, repeated.repeated] == [False, False, True]
    assert repeated.sample == first.sample
    assert repeated.subject == store.subject(GALLERY, "anna")
    assert store.gallery(GALLERY).samples == 3
    assert [entry.count for entry in store.entries(after=1)] == [1, 2]


def test_a_key_twice_in_one_call(store: Store) -> None:
    make(store)
    outcomes = store.enrol(GALLERY, [keyed("k", "f"), keyed("k", "f", seed=1), keyed("k", "g")], origin())
    first, second = stored(outcomes[0]), stored(outcomes[1])
    assert (first.repeated, second.repeated, second.sample) == (False, True, first.sample)
    assert isinstance(outcomes[2], KeyReused)
    assert store.gallery(GALLERY).samples == 1


def test_without_keys_nothing_is_a_repetition(store: Store) -> None:
    make(store)
    told = enrol(store, [keyed(None), keyed(None)])
    assert len({one.sample for one in told}) == 2


@pytest.mark.parametrize("how", ["sample", "subject", "expiry"])
def test_a_key_is_free_when_its_sample_is_forgotten(place: Place, how: str) -> None:
    store = place.open()
    make(store)
    (first,) = enrol(store, [replace(keyed("k"), details=Details(expires_at=NOON))])
    if how == "sample":
        store.forget_samples(GALLERY, [first.sample], origin(1))
    elif how == "subject":
        store.forget_subjects(GALLERY, ["anna"], origin(1))
    else:
        store.expire(GALLERY, origin(1))
    assert store.keyed(GALLERY, ["k"]) == {}
    (second,) = enrol(place.reopen(), [keyed("k", "other")])
    assert not second.repeated
    assert second.sample > first.sample


def test_keys_belong_to_their_gallery(store: Store) -> None:
    make(store)
    make(store, "other")
    (here,) = enrol(store, [keyed("k", "f")])
    (there,) = enrol(store, [keyed("k", "g")], gallery="other")
    assert here.sample != there.sample
    assert store.keyed(GALLERY, ["k"])["k"].sample == here.sample
    assert store.keyed("other", ["k"])["k"].sample == there.sample


def test_keys_are_looked_up(place: Place) -> None:
    store = place.open()
    make(store)
    names = ["k", "K", "k ", "é", "e\u0301", "😀" * 200, "'"]
    told = enrol(store, [keyed(key, subject=f"s{at}") for at, key in enumerate(names)])
    store = place.reopen()
    found = store.keyed(GALLERY, [*names, "k", "none", ""])
    assert {key: (one.sample, one.subject) for key, one in found.items()} == {
        key: (one.sample, one.subject) for key, one in zip(names, told, strict=True)
    }
    assert all(one.repeated for one in found.values())
    assert store.keyed(GALLERY, []) == {}
    many = [f"none-{at}" for at in range(5000)]
    assert list(store.keyed(GALLERY, [*many, "k"])) == ["k"]


# --- changes of subjects


def test_what_is_known_of_a_subject_changes(place: Place) -> None:
    store = place.open()
    make(store)
    (was,) = enrol(store, new_samples(["anna"], vectors(1)))
    details = Details(name="Anna", metadata={"a": [1]}, consent="yes", expires_at=NOON)
    now = store.update(GALLERY, "anna", details, origin(3))
    assert (now.name, now.metadata, now.consent, now.expires_at) == ("Anna", {"a": [1]}, "yes", NOON)
    assert (now.id, now.number, now.samples) == ("anna", was.subject.number, 1)
    assert (now.created_at, now.updated_at) == (origin(0).at, origin(3).at)
    assert now.version > was.subject.version
    assert place.reopen().subject(GALLERY, "anna") == now


def test_a_subject_is_made_without_samples(place: Place) -> None:
    store = place.open()
    make(store)
    made = store.add_subject(GALLERY, "anna", Details(name="Anna", expires_at=NOON), origin(1))
    assert (made.id, made.name, made.expires_at, made.samples, made.version) == ("anna", "Anna", NOON, 0, 1)
    store = place.reopen()
    assert store.subjects(GALLERY) == (made,)
    gallery = store.gallery(GALLERY)
    assert (gallery.subjects, gallery.samples) == (1, 0)
    assert (store.entries(GALLERY)[-1].action, store.entries(GALLERY)[-1].subjects) == ("enrol", (made.number,))
    with pytest.raises(SubjectExists):
        store.add_subject(GALLERY, "anna", Details(), origin(2))
    with pytest.raises(InvalidOption):
        store.add_subject(GALLERY, "an/na", Details(), origin(2))
    (stored,) = enrol(store, new_samples(["anna"], vectors(1)))
    assert (stored.subject.number, stored.subject.samples) == (made.number, 1)
    assert [[match.subject for match in found] for found in store.search(GALLERY, vectors(1), 2)] == [["anna"]]


def test_none_leaves_and_what_is_empty_clears(store: Store) -> None:
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    full = store.update(
        GALLERY, "anna", Details(name="Anna", metadata={"a": 1}, consent="yes", expires_at=NOON), origin(1)
    )
    for number, (cleared, change) in enumerate(
        (("name", Details(name="")), ("consent", Details(consent="")), ("expires_at", Details(expires_at=NEVER)))
    ):
        now = store.update(GALLERY, "anna", change, origin(2 + number))
        assert getattr(now, cleared) is None
    now = store.update(GALLERY, "anna", Details(metadata={}), origin(9))
    assert (now.name, now.metadata, now.consent, now.expires_at) == (None, {}, None, None)
    assert store.update(GALLERY, "anna", Details(), origin(10)).number == full.number
    assert is_nothing(store.expire(GALLERY, origin(10_000)))


def test_a_change_of_one_leaves_the_others(store: Store) -> None:
    make(store)
    enrol(store, new_samples(["anna", "ben"], vectors(2)))
    before = store.subject(GALLERY, "ben")
    store.update(GALLERY, "anna", Details(name="Anna"), origin(1))
    assert store.subject(GALLERY, "ben") == before


def test_versions_are_checked(store: Store) -> None:
    make(store)
    first = enrol(store, new_samples(["anna"], vectors(1)))[0].subject.version
    second = store.update(GALLERY, "anna", Details(name="A"), origin(1), version=first).version
    before = content(store), store.entries()
    for wrong in (first, second + 1, 0, -1):
        with pytest.raises(VersionMismatch):
            store.update(GALLERY, "anna", Details(name="B"), origin(2), version=wrong)
        with pytest.raises(VersionMismatch):
            store.forget_subjects(GALLERY, ["anna"], origin(2), version=wrong)
    with pytest.raises(SubjectNotFound):
        store.update(GALLERY, "ben", Details(name="B"), origin(2), version=first)
    assert is_nothing(store.forget_subjects(GALLERY, ["ben"], origin(2), version=first))
    assert (content(store), store.entries()) == before
    store.forget_subjects(GALLERY, ["anna"], origin(3), version=second)
    assert store.subject(GALLERY, "anna") is None


def test_every_change_makes_a_new_version(store: Store) -> None:
    make(store)
    seen = [told.subject.version for told in enrol(store, new_samples(["anna"], vectors(1)))]
    (second,) = enrol(store, new_samples(["anna"], vectors(1)))
    seen.append(second.subject.version)
    seen.append(store.update(GALLERY, "anna", Details(consent="yes"), origin(1)).version)
    store.forget_samples(GALLERY, [second.sample], origin(2))
    now = store.subject(GALLERY, "anna")
    assert now is not None
    assert now.updated_at == origin(2).at
    seen.append(now.version)
    assert seen == sorted(set(seen))


def test_the_same_letters_are_the_same_subject(place: Place) -> None:
    store = place.open()
    make(store)
    told = enrol(store, new_samples([COMPOSED, DECOMPOSED], vectors(2)))
    assert {one.subject.id for one in told} == {COMPOSED}
    assert store.update(GALLERY, DECOMPOSED, Details(name=DECOMPOSED), origin(1)).name == COMPOSED
    store = place.reopen()
    (subject,) = store.subjects(GALLERY)
    assert store.subject(GALLERY, DECOMPOSED) == store.subject(GALLERY, COMPOSED) == subject
    assert len(store.samples(GALLERY, subject=DECOMPOSED)) == subject.samples == 2
    assert store.forget_samples(GALLERY, [told[0].sample], origin(2), subject=DECOMPOSED).samples == 1
    assert store.forget_subjects(GALLERY, [DECOMPOSED], origin(3)).subjects == (subject.number,)
    assert store.subject(GALLERY, COMPOSED) is None


def test_a_subject_is_renamed(place: Place) -> None:
    store = place.open()
    make(store)
    anna, ben = (one.subject for one in enrol(store, new_samples(["anna", "ben"], vectors(2))))
    assert store.search(GALLERY, vectors(1), 1)[0][0].subject == "anna"  # which others have in memory
    other = place.open()
    with pytest.raises(SubjectExists):
        store.update(GALLERY, "anna", Details(name="A"), origin(1), new_id="ben")
    with pytest.raises(InvalidOption, match="subject's ID"):
        store.update(GALLERY, "anna", Details(name="A"), origin(1), new_id="a/b")
    renamed = store.update(GALLERY, "anna", Details(name="A"), origin(1), new_id="Cafe\u0301")
    assert renamed == replace(anna, id="Caf\xe9", name="A", version=2, updated_at=origin(1).at)
    for each in (store, other, place.reopen()):
        assert each.subjects(GALLERY) == (renamed, ben)
        assert each.subject(GALLERY, "anna") is None
        assert [sample.subject for sample in each.samples(GALLERY)] == ["Caf\xe9", "ben"]
        assert each.search(GALLERY, vectors(1), 1)[0][0].subject == "Caf\xe9"
        assert each.check(GALLERY).damaged == ()
    store = place.reopen()
    assert store.update(GALLERY, "Caf\xe9", Details(), origin(2), new_id="Caf\xe9").version == 3
    (again,) = enrol(store, new_samples(["anna"], vectors(1)))  # the old one is free
    assert again.subject.number > ben.number


def test_samples_are_moved(place: Place) -> None:
    store = place.open()
    make(store)
    new = new_samples(["anna", "anna", "anna", "ben"], vectors(4))
    new[0] = replace(new[0], picture=b"photo", source="a.jpg", quality=Quality(1.0, 0.5, 0.25, yaw=3.0), key="k")
    told = enrol(store, new)
    first, second, third, _ = (one.sample for one in told)
    store.search(GALLERY, vectors(1), 1)
    other, before = place.open(), content(store)
    other.search(GALLERY, vectors(1), 1)
    for wrong, error in (([told[3].sample], SampleNotFound), ([first, 2**40], SampleNotFound)):
        with pytest.raises(error):
            store.move(GALLERY, "anna", "ben", origin(1), samples=wrong)
    with pytest.raises(InvalidOption, match=r"to whose it is|both are one"):
        store.move(GALLERY, "anna", "anna", origin(1), samples=[first])
    for wrong, into, reason in (([third], "ben", SubjectExists), ([2**40], "cyd", SampleNotFound)):
        with pytest.raises(reason):
            store.move(GALLERY, "anna", into, origin(1), samples=wrong, new=Details())
    assert content(store) == before
    was = store.samples(GALLERY)[0]
    ben = store.move(GALLERY, "anna", "ben", origin(2), samples=[first, second])
    assert (ben, ben.samples, ben.version, ben.updated_at) == (store.subject(GALLERY, "ben"), 3, 2, origin(2).at)
    for each in (store, other, place.reopen()):
        moved = each.samples(GALLERY, subject="ben")[1]
        known = {"metadata": {"first_number": was.id}}
        assert plain(moved) == {**plain(was), "id": moved.id, "subject": "ben", **known}
        assert [use.sample for use in each.keyed(GALLERY, [key_of_moved(was.id)]).values()] == [moved.id]
        assert each.picture(GALLERY, moved.id) == b"photo"
        assert [sample.id for sample in each.samples(GALLERY, subject="anna")] == [third]
        assert [each.search(GALLERY, vectors(3)[at][None], 1)[0][0].subject for at in range(3)] == [
            "ben",
            "ben",
            "anna",
        ]
        assert (each.gallery(GALLERY).subjects, each.gallery(GALLERY).samples) == (2, 4)
        assert each.check(GALLERY).damaged == ()
    assert place.reopen().keyed(GALLERY, ["k"]) == {}
    cyd = store.move(GALLERY, "anna", "cyd", origin(3), samples=[third], new=Details(name="C"))
    assert (cyd.id, cyd.name, cyd.samples, cyd.created_at) == ("cyd", "C", 1, origin(3).at)
    for each in (store, other, place.reopen()):
        assert each.search(GALLERY, vectors(3)[2][None], 1)[0][0].subject == "cyd"
        assert (each.gallery(GALLERY).subjects, each.gallery(GALLERY).samples) == (3, 4)
        assert each.check(GALLERY).damaged == ()


def test_of_two_subjects_one_is_made(place: Place) -> None:
    store = place.open()
    make(store)
    told = enrol(store, new_samples([*["anna"] * 60, "ben"], vectors(61)))  # more than are moved at once
    enrol(store, [NewSample(subject="cyd", embedding=EMBEDDING)])
    merged = store.move(GALLERY, "anna", "ben", origin(1))
    assert (merged.id, merged.samples) == ("ben", 61)
    store = place.reopen()
    assert [subject.id for subject in store.subjects(GALLERY)] == ["ben", "cyd"]
    embeddings = {tuple(sample.embedding.tolist()) for sample in store.samples(GALLERY, subject="ben")}
    assert embeddings == set(map(tuple, vectors(61).tolist()))
    both = tuple(sorted({one.subject.number for one in told}))
    last = [(entry.action, entry.subjects, entry.count) for entry in store.entries(GALLERY)][-2:]
    assert last == [("move", both, 60), ("forget", both[:1], 0)]
    store.forget_samples(GALLERY, [sample.id for sample in store.samples(GALLERY, subject="ben")], origin(2))
    assert store.move(GALLERY, "ben", "cyd", origin(3)).samples == 1  # there is nothing to move
    assert store.gallery(GALLERY).subjects == 1


def test_one_wrong_version_forgets_nobody(store: Store) -> None:
    make(store)
    enrol(store, new_samples(["anna", "ben", "ben"], vectors(3)))
    anna = store.subject(GALLERY, "anna")
    assert anna is not None
    before = content(store)
    with pytest.raises(VersionMismatch):
        store.forget_subjects(GALLERY, ["anna", "ben"], origin(1), version=anna.version)
    assert content(store) == before


# --- forgetting


def test_samples_are_forgotten(place: Place) -> None:
    store = place.open()
    make(store)
    told = enrol(store, new_samples(["anna", "anna", "ben"], vectors(3)))
    erased = store.forget_samples(GALLERY, [told[0].sample, told[2].sample, 10**9, told[0].sample], origin(1))
    assert (sorted(erased.subjects), erased.samples) == ([told[0].subject.number, told[2].subject.number], 2)
    assert erased.overwritten == (place.kind != "postgres")
    for again in (store, place.open(), place.reopen()):
        assert [sample.id for sample in again.samples(GALLERY)] == [told[1].sample]
        assert [subject.samples for subject in again.subjects(GALLERY)] == [1, 0]
        assert again.samples(GALLERY, subject="ben") == ()
        assert [[match.sample for match in row] for row in again.search(GALLERY, vectors(3), 9)] == [
            [told[1].sample]
        ] * 3
    assert is_nothing(place.open().forget_samples(GALLERY, [told[0].sample], origin(2)))


def test_subjects_are_forgotten(place: Place) -> None:
    store = place.open()
    make(store)
    new = [replace(one, picture=b"picture") for one in new_samples(["anna", "ben", "anna", "carl"], vectors(4))]
    told = enrol(store, new)
    erased = store.forget_subjects(GALLERY, ["anna", "nobody", "carl", "anna"], origin(1))
    assert sorted(erased.subjects) == [told[0].subject.number, told[3].subject.number]
    assert erased.samples == 3
    for again in (store, place.open(), place.reopen()):
        assert [subject.id for subject in again.subjects(GALLERY)] == ["ben"]
        assert [sample.id for sample in again.samples(GALLERY)] == [told[1].sample]
        assert [again.picture(GALLERY, one.sample) for one in told] == [None, b"picture", None, None]
        assert [match.subject for match in again.search(GALLERY, vectors(1), 9)[0]] == ["ben"]
    assert is_nothing(place.open().forget_subjects(GALLERY, ["anna"], origin(2)))


def test_nothing_is_forgotten(store: Store) -> None:
    make(store)
    before = content(store), store.entries()
    assert is_nothing(store.forget_samples(GALLERY, [], origin(1)))
    assert is_nothing(store.forget_subjects(GALLERY, [], origin(1)))
    assert is_nothing(store.expire(GALLERY, origin(1)))
    assert (content(store), store.entries()) == before


def test_what_is_to_be_forgotten_may_come_one_by_one(store: Store) -> None:
    make(store)
    told = enrol(store, new_samples(["anna", "ben", "carl"], vectors(3)))
    assert store.forget_samples(GALLERY, (one.sample for one in told[:1]), origin(1)).samples == 1
    assert store.forget_subjects(GALLERY, (name for name in ("ben", "carl")), origin(1)).samples == 2


def test_samples_of_another_gallery_stay(store: Store) -> None:
    make(store)
    make(store, "other")
    (there,) = enrol(store, new_samples(["anna"], vectors(1)), gallery="other")
    assert is_nothing(store.forget_samples(GALLERY, [there.sample], origin(1)))
    assert is_nothing(store.forget_subjects(GALLERY, ["anna"], origin(1)))
    assert store.gallery("other").samples == 1


def test_numbers_are_never_given_twice(place: Place) -> None:
    store = place.open()
    make(store)
    samples, subjects = [], []
    for at in range(4):
        told = enrol(store, new_samples(["anna", "ben"], vectors(2)))
        samples += [one.sample for one in told]
        subjects += [one.subject.number for one in told]
        if at % 2:
            store.forget_subjects(GALLERY, ["anna", "ben"], origin(1))
        else:
            store.drop(GALLERY, origin(1))
            make(store)
        store = place.reopen()
    assert samples == sorted(set(samples))
    assert subjects == sorted(set(subjects))


def test_a_subject_expires_at_the_instant(place: Place) -> None:
    store = place.open()
    make(store)
    instant = NOON + timedelta(hours=1)
    times = {"before": -1, "at": 0, "after": 1}
    new = [
        NewSample(
            subject=name,
            embedding=EMBEDDING,
            details=Details(expires_at=instant + timedelta(microseconds=microseconds)),
        )
        for name, microseconds in times.items()
    ]
    told = enrol(store, [*new, *new_samples(["never"], vectors(1))])
    assert is_nothing(store.expire(GALLERY, replace(origin(), at=instant - timedelta(microseconds=2))))
    erased = store.expire(GALLERY, replace(origin(), at=instant))
    assert erased.subjects == (told[0].subject.number, told[1].subject.number)
    assert erased.samples == 2
    for again in (store, place.reopen()):
        assert [subject.id for subject in again.subjects(GALLERY)] == ["after", "never"]
        assert len(again.search(GALLERY, vectors(1), 9)[0]) == 2
    entry = place.open().entries(GALLERY, limit=100)[-1]
    assert (entry.action, entry.subjects, entry.count, entry.at) == ("expire", erased.subjects, 2, instant)


def test_what_has_not_been_expired_is_there(store: Store) -> None:
    make(store)
    enrol(store, [NewSample(subject="anna", embedding=EMBEDDING, details=Details(expires_at=origin(-60).at))])
    assert store.subject(GALLERY, "anna") is not None
    assert len(store.search(GALLERY, vectors(1), 1)[0]) == 1


# --- pages


def test_subjects_come_in_pages(store: Store) -> None:
    make(store)
    names = [*("Z", "a", "é", "😀", "A", "10", "9"), *(f"s{at}" for at in range(20))]
    enrol(store, new_samples(names, vectors(len(names))))
    store.forget_subjects(GALLERY, ["a", "s3"], origin(1))
    left = [name for name in names if name not in {"a", "s3"}]
    for limit in (1, 2, 7, 25, 1000):
        pages, after = [], 0
        while page := store.subjects(GALLERY, after=after, limit=limit):
            pages.append(page)
            after = page[-1].number
        assert [subject.id for page in pages for subject in page] == left
        assert all(len(page) == limit for page in pages[:-1])
    assert store.subjects(GALLERY) == store.subjects(GALLERY, limit=100)


def test_samples_come_in_pages(store: Store) -> None:
    make(store)
    told = enrol(store, new_samples([f"s{at % 3}" for at in range(30)], vectors(30)))
    store.forget_samples(GALLERY, [told[4].sample, told[5].sample], origin(1))
    left = [one for at, one in enumerate(told) if at not in {4, 5}]
    for subject, limit in itertools.product((None, "s0", "s1", "none"), (1, 4, 28, 1000)):
        found, after = [], 0
        while page := store.samples(GALLERY, subject=subject, after=after, limit=limit):
            found += [plain(sample) for sample in page]
            after = page[-1].id
            assert len(page) <= limit
        assert [one["id"] for one in found] == [one.sample for one in left if subject in {None, one.subject.id}]


@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("call", [
    lambda store, limit: store.subjects(GALLERY, limit=limit),
    lambda store, limit: store.samples(GALLERY, limit=limit),
    lambda store, limit: store.samples(GALLERY, subject="anna", limit=limit),
    lambda store, limit: store.entries(limit=limit),
    lambda store, limit: store.search(GALLERY, vectors(1), limit),
])  # fmt: skip
def test_a_limit_is_one_or_more(store: Store, call: Callable[[Store, int], object], limit: int) -> None:
    make(store)
    enrol(store, new_samples(["anna"], vectors(1)))
    with pytest.raises(InvalidOption, match="limit"):
        call(store, limit)


# --- the log


def test_the_log_tells_of_every_change(place: Place) -> None:
    store = place.open()
    make(store)
    told = enrol(store, new_samples(["anna", "ben", "anna"], vectors(3)), minutes=1)
    anna, ben = told[0].subject.number, told[1].subject.number
    store.update(GALLERY, "ben", Details(name="B"), origin(2, "bob"))
    store.set_policy(GALLERY, POLICY, origin(3))
    store.forget_samples(GALLERY, [told[0].sample], origin(4))
    store.log("identify", GALLERY, origin(5, "eve"), subjects=[ben], count=2)
    store.log("verify", GALLERY, origin(6))
    store.forget_subjects(GALLERY, ["ben"], origin(7))
    store.drop(GALLERY, origin(8))
    expected = [
        (0, "tests", "create", (), 0),
        (1, "tests", "enrol", (anna, ben), 3),
        (2, "bob", "update", (ben,), 0),
        (3, "tests", "policy", (), 0),
        (4, "tests", "forget", (anna,), 1),
        (5, "eve", "identify", (ben,), 2),
        (6, "tests", "verify", (), 0),
        (7, "tests", "forget", (ben,), 1),
        (8, "tests", "forget", (), 1),
    ]
    for again in (store, place.open(), place.reopen()):
        entries = again.entries(GALLERY)
        assert [(one.at, one.actor, one.action, one.subjects, one.count) for one in entries] == [
            (origin(minutes).at, *rest) for minutes, *rest in expected
        ]
        assert {entry.gallery for entry in entries} == {GALLERY}
        assert again.entries() == entries
        numbers = [entry.number for entry in entries]
        assert numbers == sorted(set(numbers))


def test_a_failed_change_is_not_in_the_log(store: Store) -> None:
    make(store)
    before = store.entries()
    with pytest.raises(VisavisError):
        store.enrol(GALLERY, [NewSample(subject="anna", embedding=np.zeros(4, np.float32))], origin(1))
    with pytest.raises(VisavisError):
        store.update(GALLERY, "anna", Details(name="A"), origin(1))
    with pytest.raises(VisavisError):
        make(store)
    assert store.entries() == before


def test_the_log_holds_no_names(store: Store) -> None:
    make(store)
    details = Details(name="Anna Ünal", consent="note", metadata={"secret": "word"})
    enrol(store, [NewSample(subject="anna-id", embedding=EMBEDDING, details=details, source="door", key="the key")])
    store.forget_subjects(GALLERY, ["anna-id"], origin(1))
    text = repr(store.entries())
    assert not [word for word in ("Anna", "anna", "note", "secret", "word", "door", "the key") if word in text]


def test_the_log_comes_in_pages(store: Store) -> None:
    for name in ("one", "two"):
        make(store, name)
    for at in range(25):
        store.log("verify", ("one", "two", "gone")[at % 3], origin(at), count=at)
    for gallery, limit in itertools.product((None, "one", "gone", "never"), (1, 6, 1000)):
        found: list[LogEntry] = []
        after = 0
        while page := store.entries(gallery, after=after, limit=limit):
            assert len(page) <= limit
            found += page
            after = page[-1].number
        assert found == [entry for entry in store.entries(limit=1000) if gallery in {None, entry.gallery}]
        back: list[LogEntry] = []
        after = 0
        while page := store.entries(gallery, after=after, limit=limit, newest_first=True):
            assert len(page) <= limit
            back += page
            after = page[-1].number
        assert back == found[::-1]
    assert len(store.entries("gone")) == 8
    assert len(store.entries(limit=1000)) == 27


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_in_the_log(place: Place, text: str) -> None:
    store = place.open()
    make(store)
    store.log("identify", GALLERY, origin(1, actor=text), subjects=[2**40], count=2**31)
    (entry,) = place.reopen().entries(GALLERY, after=store.entries()[0].number)
    assert (entry.actor, entry.subjects, entry.count) == (text, (2**40,), 2**31)


def test_actors_are_made_fit_to_print(store: Store) -> None:
    make(store)
    store.log("identify", GALLERY, origin(1, actor="user \udcff\x00"))
    assert store.entries()[-1].actor == "user ??"


# --- the store as a whole


def test_a_url_has_no_secret(place: Place) -> None:
    store = place.open()
    assert store.url.startswith(place.kind.partition("-")[0])
    if place.kind == "postgres":
        password = place.url.partition("://")[2].partition("@")[0].partition(":")[2]
        assert password
        assert password not in store.url


def test_what_one_store_writes_the_next_call_of_another_sees(place: Place) -> None:
    one, two = place.open(), place.open()
    make(one)
    assert [gallery.name for gallery in two.galleries()] == [GALLERY]
    assert two.search(GALLERY, vectors(1), 5) == ((),)
    for at in range(6):
        writer, reader = (one, two) if at % 2 else (two, one)
        (was,) = enrol(writer, new_samples([f"s{at}"], vectors(1, seed=at)))
        assert reader.search(GALLERY, vectors(1, seed=at), 1)[0][0].sample == was.sample
        writer.update(GALLERY, f"s{at}", Details(name="new"), origin(1))
        assert reader.search(GALLERY, vectors(1, seed=at), 1)[0][0].name == "new"
        if at > 2:
            writer.forget_subjects(GALLERY, [f"s{at}"], origin(2))
            assert was.sample not in [match.sample for match in reader.search(GALLERY, vectors(1, seed=at), 9)[0]]
    assert content(one) == content(two)
    assert one.entries() == two.entries()
    one.drop(GALLERY, origin(3))
    with pytest.raises(GalleryNotFound):
        two.search(GALLERY, vectors(1), 5)
    make(two, dimension=7)
    assert one.search(GALLERY, vectors(1, 7), 5) == ((),)


def test_a_closed_store_may_be_closed_again(place: Place) -> None:
    store = place.open()
    make(store)
    store.close()
    store.close()
    assert len(place.open().galleries()) == 1


def test_a_backup_is_a_store(place: Place, tmp_path: Path) -> None:
    store = place.open()
    make(store)
    new = [replace(one, picture=bytes(5000), key=one.subject) for one in new_samples(["anna", "ben"], vectors(2))]
    enrol(store, new)
    target = tmp_path / "backup.db"
    if not place.kind.startswith("sqlite"):
        with pytest.raises(InvalidOption):
            store.backup(target, origin(1))
        assert not target.exists()
        return
    store.backup(target, origin(1, "bob"))
    copy = Place(place.kind, f"sqlite:///{target}")
    assert content(copy.open()) == content(store)
    assert [entry.action for entry in copy.open().entries(GALLERY)] == ["create", "enrol"]
    assert copy.open().search(GALLERY, vectors(2), 2) == store.search(GALLERY, vectors(2), 2)
    assert store.entries(limit=1000)[-1].action == "backup"
    assert store.entries(limit=1000)[-1].actor == "bob"
    copy.close()
    before = target.read_bytes()
    with pytest.raises(InvalidOption, match=r"backup\.db"):
        store.backup(target, origin(2))
    assert target.read_bytes() == before


# --- what is damaged


def test_a_sample_is_forgotten_as_that_of_a_subject(store: Store) -> None:
    make(store)
    anna, ben = enrol(store, new_samples(["anna", "ben"], vectors(2)))
    before = content(store), store.entries(limit=1000)
    with pytest.raises(SampleNotFound):
        store.forget_samples(GALLERY, [ben.sample], origin(1), subject="anna")
    with pytest.raises(SampleNotFound):
        store.forget_samples(GALLERY, [anna.sample, ben.sample], origin(1), subject="anna")
    with pytest.raises(SubjectNotFound):
        store.forget_samples(GALLERY, [ben.sample], origin(1), subject="cleo")
    assert store.forget_samples(GALLERY, [999], origin(1), subject="anna").samples == 0
    assert (content(store), store.entries(limit=1000)) == before
    assert store.forget_samples(GALLERY, [anna.sample], origin(1), subject="anna").subjects == (anna.subject.number,)


def test_subjects_are_forgotten_by_number(store: Store) -> None:
    make(store)
    make(store, "other")
    anna, ben, cleo = enrol(store, new_samples(["anna", "ben", "cleo"], vectors(3)))
    (dan,) = enrol(store, new_samples(["dan"], vectors(1)), gallery="other")
    numbers = [anna.subject.number, dan.subject.number, 0, -5, 10**6]
    with pytest.raises(VersionMismatch):
        store.forget_subjects(GALLERY, numbers, origin(1), version=7)
    erased = store.forget_subjects(GALLERY, [*numbers, "cleo", "nobody", anna.subject.number], origin(1))
    assert erased.subjects == (anna.subject.number, cleo.subject.number)
    assert [subject.id for subject in store.subjects(GALLERY)] == ["ben"]
    assert [subject.id for subject in store.subjects("other")] == ["dan"]
    assert store.gallery(GALLERY).samples == 1
    assert ben.subject.number not in erased.subjects


def test_nothing_is_damaged(store: Store) -> None:
    make(store)
    enrol(store, [replace(one, picture=b"png") for one in new_samples(["anna", "ben", "anna"], vectors(3))])
    store.forget_samples(GALLERY, [1], origin(1))
    for quick in (False, True):
        report = store.check(GALLERY, quick=quick)
        assert (report.gallery, report.subjects, report.samples, report.damaged) == (
            GALLERY,
            2,
            store.gallery(GALLERY).samples,
            (),
        )
    with pytest.raises(GalleryNotFound):
        store.check("nobody")


def test_what_is_not_encrypted_gets_no_key(store: Store, place: Place) -> None:
    made = make(store)
    if made.encrypted:
        assert store.rekey(GALLERY, origin(1)) == store.gallery(GALLERY)
        assert store.rewrap(origin(1)) == ()
        return
    with pytest.raises(InvalidOption, match="not encrypted"):
        store.rekey(GALLERY, origin(1))
    with pytest.raises(GalleryLocked if place.kind == "sqlite" else InvalidOption):
        store.rewrap(origin(1))
