"""Enrolment: what is refused and why, what is kept, what happens once, and what a batch is."""

import io
import itertools
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from service_kinds import GOOD, NOON, PACK, FakeEyes, World, at, code_of, enrolled, face_at, open_world
from store_kinds import Place

from visavis import ImageLimits, Recognizer
from visavis.core.quality import ChildTest
from visavis.errors import (
    ChildFace,
    ConsentMissing,
    FaceBlurred,
    FaceOccluded,
    FaceTooSmall,
    GalleryNotFound,
    InvalidEmbedding,
    InvalidFace,
    InvalidOption,
    KeyReused,
    LowScore,
    MultipleFaces,
    NoFace,
    SampleNotFound,
    SpaceMismatch,
    SubjectConflict,
    UnsupportedFormat,
    VisavisError,
)
from visavis.galleries.moves import first_number
from visavis.galleries.records import NEVER, Details
from visavis.galleries.sqlite.store import SqliteStore
from visavis.models.recognizer import Observed
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries
from visavis.service.results import Enrolled
from visavis.types import FloatArray, Quality

CONSENT = Details(consent="signed")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


def faces_on_a_line(*places: float) -> list[Enrolment]:
    return [Enrolment(subject=f"s{number}", embedding=at(x)) for number, x in enumerate(places)]


# --- one face


def test_faces_of_an_image_that_was_looked_at_once(world: World) -> None:
    image = world.eyes.show(b"both", face_at(0), face_at(3), face_at(6, quality=replace(GOOD, face_px=1.0)))
    seen = world.gallery.observe(image)
    calls = world.eyes.calls
    enrolments = [
        Enrolment(subject=f"s{place}", seen=each, sample_metadata={"place": place}) for place, each in enumerate(seen)
    ]
    first, second, refused = world.gallery.enrol_many(enrolments)
    assert world.eyes.calls == calls
    assert [enrolled(each).face for each in (first, second)] == [seen[0].face, seen[1].face]
    assert world.gallery.samples("s1")[0].metadata == {"place": 1}
    assert isinstance(refused, FaceTooSmall)
    with pytest.raises(InvalidOption):
        Enrolment(seen=seen[0], embedding=at(0))


def test_a_sample_that_was_moved_is_found_by_its_first_number(world: World) -> None:
    numbers = [world.gallery.enrol_embedding(at(x), "ada").sample for x in (0, 0.1)]
    world.gallery.enrol_embedding(at(5), "ben", sample_metadata={"first_number": 1, "note": "x" * 4000})
    (own,) = world.gallery.samples("ben")
    assert own.metadata == {"note": "x" * 4000}  # what is said of others is not believed
    for subject, into in (("ada", "ben"), ("ben", "ada"), ("ada", "ben")):
        world.gallery.move(subject, [world.gallery.sample(numbers[0]).id], into)
        assert world.gallery.sample(numbers[0]).subject == into
    world.gallery.merge("ben", "ada")
    assert world.gallery.sample(own.id).metadata == {"note": "x" * 4000, "first_number": own.id}
    moved = world.gallery.sample(numbers[0])
    assert first_number(moved) == numbers[0] < numbers[1] < moved.id
    world.gallery.forget_sample("ada", moved.id)
    with pytest.raises(SampleNotFound):
        world.gallery.sample(numbers[0])


def test_a_face_is_enrolled(world: World) -> None:
    image = world.eyes.show(b"ada", face_at(0))
    done = world.gallery.enrol(image, "ada", details=Details(name="Ada"), source="door")
    assert (done.subject.id, done.subject.name, done.subject.samples, done.repeated) == ("ada", "Ada", 1, False)
    assert (done.conflict, done.face is not None) == (None, True)
    (sample,) = world.gallery.samples("ada")
    assert (sample.id, sample.source, sample.quality, sample.picture) == (done.sample, "door", GOOD, "nothing")
    np.testing.assert_array_equal(sample.embedding, at(0))
    assert world.actions() == ["create", "enrol"]


def test_an_embedding_is_enrolled_without_eyes(world: World) -> None:
    done = world.gallery.enrol_embedding(at(0), "ada")
    assert (done.face, done.subject.id) == (None, "ada")
    assert world.eyes.calls == 0
    assert world.gallery.samples("ada")[0].quality is None


def test_a_subject_without_an_id_has_one_made_up(world: World) -> None:
    one, two = (world.gallery.enrol_embedding(at(x)).subject.id for x in (0, 5))
    assert len({one, two}) == 2
    assert len(one) == 16


@pytest.mark.parametrize(("seen", "policy", "kind"), [
    ((), Policy(), NoFace),
    ((face_at(0), face_at(5)), Policy(), MultipleFaces),
    ((face_at(0, Quality(39.9, 1, 1)),), Policy(min_face_px=40), FaceTooSmall),
    ((face_at(0, Quality(99, 0.05, 1)),), Policy(min_sharpness=0.06), FaceBlurred),
    ((face_at(0, Quality(99, 1, 0.5)),), Policy(min_score=0.75), LowScore),
    ((face_at(0, Quality(99, 1, 1, validity=0.4)),), Policy(), InvalidFace),
])  # fmt: skip
def test_an_unfit_image_is_refused(world: World, seen, policy, kind) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # of the table
    world.gallery.set_policy(policy)
    image = world.eyes.show(b"x", *seen)
    with pytest.raises(kind):
        world.gallery.enrol(image, "ada")
    assert world.gallery.subjects() == ()
    assert "enrol" not in world.actions()


def test_a_child_is_enrolled_where_the_policy_allows_it_and_audited_where_not(world: World) -> None:
    world.eyes.pack = replace(PACK, child=ChildTest("0 1 0", 0.9, "a test"))
    image = world.eyes.show(b"x", face_at(4))
    with pytest.raises(ChildFace, match="allow_children"):
        world.gallery.enrol(image, "ada")
    with pytest.raises(ChildFace, match="allow_children"):
        world.gallery.enrol_embedding(at(4), "ada")
    world.gallery.set_policy(Policy(allow_children=True))
    world.gallery.enrol(image, "ada")
    assert world.gallery.identify(image)[0].match
    assert world.gallery.audit().low_quality == ()
    world.gallery.set_policy(Policy())
    assert world.gallery.identify(image)[0].unknown == "child"
    assert world.gallery.identify_embeddings(at(4)[None])[0].unknown == "child"
    assert world.gallery.verify(image, "ada").reason == world.gallery.verify_embedding(at(4), "ada").reason == "child"
    assert [each.reasons for each in world.gallery.audit().low_quality] == [("child",)]


def test_what_is_just_good_enough_is_enrolled(world: World) -> None:
    world.gallery.set_policy(Policy(min_face_px=40, min_sharpness=0.5, min_score=0.75))
    world.gallery.enrol(world.eyes.show(b"x", face_at(0, Quality(40, 0.5, 0.75))), "ada")
    assert world.gallery.record.samples == 1


def test_what_is_worst_is_told_first(world: World) -> None:
    world.gallery.set_policy(Policy(min_face_px=40, min_sharpness=0.5, min_score=0.75))
    with pytest.raises(FaceTooSmall):
        world.gallery.enrol_embedding(at(0), "ada", quality=Quality(1, 0, 0))


def test_the_largest_face_of_several(world: World) -> None:
    image = world.eyes.show(b"x", face_at(1), face_at(2))
    done = world.gallery.enrol(image, "ada", faces="largest")
    assert done.face is not None
    np.testing.assert_array_equal(world.gallery.samples("ada")[0].embedding, at(1))
    with pytest.raises(NoFace):
        world.gallery.enrol(world.eyes.show(b"y"), "ada", faces="largest")
    with pytest.raises(InvalidOption, match="one of prominent, largest, main, only"):
        world.gallery.enrol(image, "ada", faces="all")  # type: ignore[arg-type]  # which is refused


def side_by_side(*places: float) -> list[Observed]:
    """Faces 100 pixels wide, with gaps of 20, whose embeddings are those of the places."""
    boxes = [np.array([120 * place, 0, 120 * place + 100, 100], np.float32) for place in range(len(places))]
    seen = map(face_at, places)
    return [replace(one, face=replace(one.face, box_xyxy=box)) for one, box in zip(seen, boxes, strict=True)]


@pytest.mark.parametrize(
    ("box", "found"),
    [
        ((120, 0, 220, 100), 1),
        (np.array([130, 10, 200, 90], np.float64), 1),  # within the face
        ((100, -50, 260, 200), 1),  # around it
        ((160, 0, 330, 100), 2),  # about two, and more of the third
        ((0, 0, 1000, 1000), 0),  # as much of each: the largest, which comes first
        ((105, 0, 125, 100), None),  # between two, of which it touches one
        ((500, 0, 600, 100), None),
    ],
)
def test_a_box_says_which_face_is_meant(world: World, box: object, found: int | None) -> None:
    image = world.eyes.show(b"three", *side_by_side(0, 5, 10))
    if found is None:
        with pytest.raises(
            NoFace, match=r"no face found in the box; those of the image are at 0,0,100,100; 120,0,220,"
        ):
            world.gallery.enrol(image, "ada", box=box)  # type: ignore[arg-type]  # of the table
    else:
        done = world.gallery.enrol(image, "ada", box=box)  # type: ignore[arg-type]  # of the table
        np.testing.assert_array_equal(world.gallery.samples("ada")[0].embedding, at((0, 5, 10)[found]))
        assert done.face is not None


@pytest.mark.parametrize(
    "box", [(), (1, 2, 3), (0, 0, 0, 5), (5, 5, 1, 9), (0, 0, np.nan, 9), (0, 0, 1e999, 9), "0,0,5,5", ["a"] * 4, 7]
)
def test_what_is_no_box(world: World, box: object) -> None:
    image = world.eyes.show(b"three", *side_by_side(0, 5))
    with pytest.raises(InvalidOption, match="box must be left, top, right and bottom"):
        world.gallery.enrol(image, "ada", box=box)  # type: ignore[arg-type]  # of the table


def test_a_reference_says_which_face_is_meant(world: World) -> None:
    image = world.eyes.show(b"three", *side_by_side(0, 5, 10))
    world.gallery.enrol(image, "ada", like=world.eyes.show(b"ada", face_at(5.5)))
    world.gallery.enrol(image, "grace", like=at(10.5))
    found = [world.gallery.samples(subject)[0].embedding[1] for subject in ("ada", "grace")]
    assert found == [5, 10]
    for reference, error, message in (
        (at(2.5), NoFace, "the nearest is at a distance of 2.50, and 0.75 is too far"),
        (at(0.75), NoFace, "none of the faces is like the reference"),
        (np.zeros(2, np.float32), InvalidEmbedding, "3"),
    ):
        with pytest.raises(error, match=message):
            world.gallery.enrol(image, "x", like=reference)
    assert world.gallery.record.subjects == 2


def test_two_faces_like_a_reference_are_told_apart_by_a_box(world: World) -> None:
    twins = world.eyes.show(b"twins", *side_by_side(0, 0.25))
    with pytest.raises(MultipleFaces, match="a box tells which one is meant"):
        world.gallery.enrol(twins, "ada", like=at(0.125))
    world.gallery.enrol(twins, "ada", like=at(0))  # whose distances differ by more than the margin


def test_a_reference_is_one_face_without_doubt(world: World) -> None:
    image = world.eyes.show(b"three", *side_by_side(0, 5, 10))
    masked = face_at(5, replace(GOOD, occluded=0.9))
    for name, seen, error in (
        (b"two", side_by_side(5, 6), MultipleFaces),
        (b"none", (), NoFace),
        (b"masked", [masked], FaceOccluded),
    ):
        with pytest.raises(error):
            world.gallery.enrol(image, "ada", like=world.eyes.show(name, *seen))
    assert world.gallery.record.subjects == 0


def test_each_of_many_may_choose(world: World) -> None:
    image = world.eyes.show(b"three", *side_by_side(0, 5, 10))
    single = world.eyes.show(b"one", face_at(15))
    outcomes = world.gallery.enrol_many(
        [
            Enrolment(subject="a", image=image, box=(240, 0, 340, 100)),
            Enrolment(subject="b", image=single),
            Enrolment(subject="c", image=image, like=at(5)),
            Enrolment(subject="d", image=image),
            Enrolment(subject="e", image=image, box=(0, 0)),
        ]
    )
    assert [getattr(one, "code", None) for one in outcomes] == [None, None, None, "multiple_faces", "invalid_option"]
    places = [world.gallery.samples(subject)[0].embedding[1] for subject in "abc"]
    assert places == [10, 15, 5]
    for wrong in ({"embedding": at(0), "box": (0, 0, 1, 1)}, {"image": image, "box": (0, 0, 1, 1), "like": at(0)}):
        with pytest.raises(InvalidOption, match="use one of them"):
            Enrolment(**wrong)


def test_a_bad_image_is_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    galleries = Galleries(SqliteStore(tmp_path / "g.db"), recognizer)
    galleries.create("people", policy=Policy(keep="images"))
    gallery = galleries.open("people")
    with pytest.raises(UnsupportedFormat):
        gallery.enrol(b"no image", "ada")
    outcomes = gallery.enrol_many([Enrolment(image=image) for image in (b"GIF", tmp_path / "none.png", 5)])  # type: ignore[arg-type]
    assert [code_of(outcome) for outcome in outcomes] == ["unsupported_format", "image_not_found", "invalid_image"]
    assert gallery.subjects() == ()


@pytest.mark.parametrize("options", [
    {"subject": ""}, {"subject": "a/b"}, {"subject": " a"}, {"subject": "x" * 201},
    {"key": ""}, {"key": "a\nb"}, {"key": "k" * 201}, {"key": "\udcff"},
    {"source": "nul \0"}, {"source": "\udcff"},
    {"quality": Quality(np.nan, 1, 1)}, {"quality": Quality(99, np.inf, 1)}, {"quality": Quality(99, 1, "x")},  # type: ignore[arg-type]
    {"embedding": at(0)[:2]}, {"embedding": at(0) * np.nan}, {"embedding": at(0) * 0}, {"embedding": "text"},
])  # fmt: skip
def test_what_is_wrong_with_one_is_its_own_error(world: World, options: dict[str, object]) -> None:
    bad = Enrolment(**{"embedding": at(9), "subject": "bad", **options})  # type: ignore[arg-type]
    good = faces_on_a_line(0, 5)
    first, refused, last = world.gallery.enrol_many([good[0], bad, good[1]])
    assert code_of(refused) in {"invalid_option", "invalid_embedding"}
    assert (enrolled(first).subject.id, enrolled(last).subject.id) == ("s0", "s1")
    assert world.gallery.record.samples == 2


def test_an_enrolment_has_an_image_or_an_embedding() -> None:
    for both in ({}, {"image": b"x", "embedding": at(0)}):
        with pytest.raises(InvalidOption, match="not both"):
            Enrolment(**both)  # type: ignore[arg-type]


def test_enrolments_and_their_repr_hide_faces() -> None:
    text = repr(Enrolment(subject="ada", embedding=np.full(3, 0.123), picture=b"secret"))
    assert "0.123" not in text
    assert "secret" not in text


def test_another_pack_is_refused(world: World) -> None:
    other = Galleries(world.store, FakeEyes(replace(PACK, preprocessing="another"))).open("people")
    with pytest.raises(SpaceMismatch, match="use the pack"):
        other.enrol_embedding(at(0), "ada")
    with pytest.raises(SpaceMismatch):
        other.enrol(b"unseen", "ada")
    with pytest.raises(SpaceMismatch):
        next(other.enrol_many(faces_on_a_line(0)))
    assert other.subjects() == ()


# --- what is kept


def test_nothing_is_kept_by_default(world: World) -> None:
    done = world.gallery.enrol(world.eyes.show(b"ada", face_at(0)), "ada")
    assert world.store.picture("people", done.sample) is None


def test_chips_are_kept_without_loss(world: World) -> None:
    world.gallery.set_policy(Policy(keep="chips"))
    seen = face_at(0)
    done = world.gallery.enrol(world.eyes.show(b"ada", seen), "ada")
    stored = np.asarray(PIL.Image.open(io.BytesIO(world.gallery.picture("ada", done.sample))))
    np.testing.assert_array_equal(stored, seen.chip)
    assert world.gallery.samples("ada")[0].picture == "chips"


@pytest.mark.parametrize("source", ["bytes", "path", "stream"])
def test_encoded_images_are_kept_as_they_are(world: World, tmp_path: Path, source: str) -> None:
    world.gallery.set_policy(Policy(keep="images"))
    data = world.eyes.show(b"encoded", face_at(0))
    (tmp_path / "photo").write_bytes(data)
    image = {"bytes": data, "path": tmp_path / "photo", "stream": io.BytesIO(data)}[source]
    done = world.gallery.enrol(image, "ada")  # type: ignore[arg-type]
    assert world.gallery.picture("ada", done.sample) == data
    assert world.gallery.samples("ada")[0].picture == "images"


@pytest.mark.parametrize("pillow", [False, True])
def test_pixels_are_kept_without_loss(world: World, pillow: bool) -> None:  # noqa: FBT001  # a parameter of the test
    world.gallery.set_policy(Policy(keep="images"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    world.eyes.show(pixels.tobytes(), face_at(0))
    done = world.gallery.enrol(PIL.Image.fromarray(pixels) if pillow else pixels, "ada")
    stored = cv2.imdecode(np.frombuffer(world.gallery.picture("ada", done.sample), np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None
    np.testing.assert_array_equal(stored[..., ::-1], pixels)


def test_the_limits_of_the_eyes_hold_for_what_is_kept(world: World) -> None:
    world.gallery.set_policy(Policy(keep="images"))
    world.eyes.limits = ImageLimits(max_bytes=4)
    outcomes = list(world.gallery.enrol_many([Enrolment(image=b"too long"), *faces_on_a_line(0)]))
    assert code_of(outcomes[0]) == "image_too_large"
    assert enrolled(outcomes[1]).subject.id == "s0"


def test_a_real_photo_is_kept_and_found(
    recognizer: Recognizer, tmp_path: Path, astronaut: Path, astronaut_again: bytes, hopper: Path
) -> None:
    galleries = Galleries(SqliteStore(tmp_path / "g.db"), recognizer)
    galleries.create("people", policy=Policy(keep="chips"))
    gallery = galleries.open("people")
    done = gallery.enrol(astronaut, "eileen")
    chip = np.asarray(PIL.Image.open(io.BytesIO(gallery.picture("eileen", done.sample))))
    np.testing.assert_allclose(recognizer.embed_chips([chip])[0], gallery.samples("eileen")[0].embedding, atol=1e-5)
    (found,) = gallery.identify(astronaut_again)
    assert found.match is not None
    assert found.match.subject == "eileen"
    (stranger,) = gallery.identify(hopper)
    assert stranger.unknown == "no_match"
    with pytest.raises(SubjectConflict, match="eileen"):
        gallery.enrol(astronaut_again, "somebody else")
    assert gallery.verify(astronaut_again, "eileen")
    assert not gallery.verify(hopper, "eileen")


# --- consent and retention


def test_consent_comes_first(world: World) -> None:
    world.gallery.set_policy(Policy(consent_required=True))
    with pytest.raises(ConsentMissing):
        world.gallery.enrol_embedding(at(0), "ada")
    with pytest.raises(ConsentMissing):
        world.gallery.enrol_embedding(at(0), "ada", details=Details(consent=""))
    world.gallery.enrol_embedding(at(0), "ada", details=CONSENT)
    assert world.gallery.enrol_embedding(at(0.1), "ada").subject.consent == "signed"
    with pytest.raises(ConsentMissing):  # which would take the note away
        world.gallery.enrol_embedding(at(0), "ada", details=Details(consent=""))
    assert world.gallery.subject("ada").samples == 2


def test_consent_within_a_batch_counts_from_where_it_is_given(world: World) -> None:
    world.gallery.set_policy(Policy(consent_required=True))
    without, later = Enrolment(subject="ada", embedding=at(0)), Enrolment(subject="ada", embedding=at(0))
    signed = Enrolment(subject="ada", embedding=at(0), details=CONSENT)
    early, first, second, other = world.gallery.enrol_many([
        without, signed, later, Enrolment(subject="ben", embedding=at(9)),
    ])  # fmt: skip
    assert code_of(early) == code_of(other) == "consent_missing"
    assert (enrolled(first).subject.samples, enrolled(second).subject.samples) == (1, 2)


def test_consent_that_was_refused_does_not_count(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "eve")
    world.gallery.set_policy(Policy(consent_required=True))
    conflicting = Enrolment(subject="ada", embedding=at(0), details=CONSENT)
    outcomes = world.gallery.enrol_many([conflicting, Enrolment(subject="ada", embedding=at(9))])
    assert list(map(code_of, outcomes)) == ["conflict", "consent_missing"]


def test_retention_is_set_and_renewed(world: World) -> None:
    world.gallery.set_policy(Policy(retention_days=30))
    assert world.gallery.enrol_embedding(at(0), "ada").subject.expires_at == NOON + timedelta(days=30)
    world.clock.advance(days=10)
    assert world.gallery.enrol_embedding(at(0), "ada").subject.expires_at == NOON + timedelta(days=40)
    mine = NOON + timedelta(days=15)
    assert world.gallery.enrol_embedding(at(0), "ada", details=Details(expires_at=mine)).subject.expires_at == mine
    latest = NOON + timedelta(days=40)
    assert world.gallery.enrol_embedding(at(0), "ada", details=Details(expires_at=NEVER)).subject.expires_at == latest
    assert world.gallery.update("ada", Details(expires_at=NEVER)).expires_at == latest


def test_without_retention_nobody_expires(world: World) -> None:
    assert world.gallery.enrol_embedding(at(0), "ada").subject.expires_at is None


# --- idempotency


def test_a_key_enrols_once(world: World) -> None:
    image = world.eyes.show(b"ada", face_at(0))
    first = world.gallery.enrol(image, "ada", key="k")
    again = world.gallery.enrol(b"not even looked at", "ada", key="k")
    assert (again.sample, again.repeated, again.face) == (first.sample, True, None)
    assert world.eyes.looked_at == [b"ada"]
    assert (world.gallery.record.samples, world.actions().count("enrol")) == (1, 1)


def test_a_key_without_a_subject_means_the_same_subject(world: World) -> None:
    first = world.gallery.enrol_embedding(at(0), key="k")
    again = world.gallery.enrol_embedding(at(0), key="k")
    assert (again.repeated, again.subject.id, again.sample) == (True, first.subject.id, first.sample)
    assert world.gallery.enrol_embedding(at(5), key="other").subject.id != first.subject.id


@pytest.mark.parametrize("subject", ["ben", None])
def test_a_key_of_another_subject_is_refused(world: World, subject: str | None) -> None:
    world.gallery.enrol_embedding(at(0), "ada", key="k")
    with pytest.raises(KeyReused):  # and not SubjectConflict, although it is the same face
        world.gallery.enrol_embedding(at(0), subject, key="k")
    assert world.gallery.record.samples == 1


def test_a_key_twice_in_a_batch(world: World) -> None:
    outcomes = list(
        world.gallery.enrol_many(
            [
                Enrolment(subject="ada", embedding=at(0), key="k"),
                Enrolment(subject="ada", embedding=at(0), key="k"),
                Enrolment(subject="ben", embedding=at(9), key="k"),
            ]
        )
    )
    assert [enrolled(outcome).repeated for outcome in outcomes[:2]] == [False, True]
    assert code_of(outcomes[2]) == "idempotency_key_reused"
    assert world.gallery.record.samples == 1


def test_a_key_of_a_refused_enrolment_is_free(world: World) -> None:
    with pytest.raises(NoFace):
        world.gallery.enrol(world.eyes.show(b"empty"), "ada", key="k")
    assert not world.gallery.enrol_embedding(at(0), "ben", key="k").repeated


def test_a_key_lives_as_long_as_its_sample(world: World) -> None:
    done = world.gallery.enrol_embedding(at(0), "ada", key="k")
    world.gallery.forget_sample("ada", done.sample)
    again = world.gallery.enrol_embedding(at(0), "ada", key="k")
    assert not again.repeated
    assert again.sample > done.sample


# --- conflicts


def test_a_face_that_is_somebody_else_is_a_conflict(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    with pytest.raises(SubjectConflict, match="'ada'"):
        world.gallery.enrol_embedding(at(0.125), "ben")
    assert world.gallery.enrol_embedding(at(0.25), "ben").conflict is None  # not nearer than the threshold
    assert world.gallery.enrol_embedding(at(0.125), "ada").subject.samples == 2


def test_an_own_nearer_sample_prevents_a_conflict(world: World) -> None:
    for subject, x in (("ada", 0), ("ben", 0.375)):
        world.gallery.enrol_embedding(at(x), subject)
    assert world.gallery.enrol_embedding(at(0.25), "ben").conflict is None  # 0.25 from ada, 0.125 from ben
    with pytest.raises(SubjectConflict):
        world.gallery.enrol_embedding(at(0.1), "ben")  # nearer to ada


def test_a_conflict_that_is_allowed_is_told(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    done = world.gallery.enrol_embedding(at(0.125), "ben", allow_conflict=True)
    assert done.conflict is not None
    assert (done.conflict.subject, done.conflict.distance) == ("ada", 0.12)
    many = [Enrolment(subject="ben", embedding=at(-0.125))] * 17
    assert {enrolled(each).conflict for each in world.gallery.enrol_many(many, allow_conflict=True)} == {None}


@pytest.mark.parametrize(("threshold", "refused"), [(None, True), (0.0, False), (0.0625, False), (1.0, True)])
def test_the_policy_says_what_a_conflict_is(world: World, threshold: float | None, refused: bool) -> None:  # noqa: FBT001  # a parameter of the test
    world.gallery.set_policy(Policy(conflict_threshold=threshold))
    world.gallery.enrol_embedding(at(0), "ada")
    (outcome,) = world.gallery.enrol_many([Enrolment(subject="ben", embedding=at(0.125))])
    assert isinstance(outcome, VisavisError) == refused


def one_by_one(world: World, enrolments: list[Enrolment]) -> list[str]:
    """Return what becomes of enrolments each of which is a batch of its own: what batches are held against."""
    return [told(*world.gallery.enrol_many([each])) for each in enrolments]


def told(outcome: Enrolled | VisavisError) -> str:
    return outcome.code if isinstance(outcome, VisavisError) else f"enrolled {outcome.subject.samples}"


@pytest.mark.parametrize("seed", range(12))
def test_a_batch_does_what_one_by_one_does(world: World, tmp_path: Path, seed: int) -> None:
    """Crowded faces, few subjects, some consents and keys: conflicts within the batch and with what was there."""
    generator = np.random.default_rng(seed)
    policy = Policy(consent_required=bool(seed % 2))
    enrolments = [
        Enrolment(
            subject=f"s{generator.integers(4)}",
            embedding=at(generator.integers(24) / 16),
            details=CONSENT if generator.random() < 0.6 else Details(),
            key=f"k{generator.integers(40)}" if generator.random() < 0.5 else None,
        )
        for _ in range(40)
    ]
    (tmp_path / "other").mkdir()
    with open_world(tmp_path / "other", policy=policy) as other:
        expected = one_by_one(other, enrolments)
    world.gallery.set_policy(policy)
    assert one_by_one(world, enrolments[:10]) == expected[:10]
    assert list(map(told, world.gallery.enrol_many(enrolments[10:]))) == expected[10:]
    assert len(set(expected)) > 4


def test_one_person_many_times_is_one_transaction(world: World) -> None:
    outcomes = list(world.gallery.enrol_many([Enrolment(subject="ada", embedding=at(0.01 * n)) for n in range(16)]))
    assert len(list(map(enrolled, outcomes))) == 16
    assert world.actions() == ["create", "enrol"]


def test_conflicts_across_batches(world: World) -> None:
    places = [float(n) for n in range(500)]
    outcomes = list(world.gallery.enrol_many([*faces_on_a_line(*places), Enrolment(subject="x", embedding=at(499))]))
    assert code_of(outcomes[500]) == "conflict"
    assert world.gallery.record.samples == 500


class Racing:
    """A store in which two enrolments have both searched before either is stored."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._both = threading.Barrier(2, timeout=30)

    def __getattr__(self, name: str) -> object:
        if name == "enrol":
            self._both.wait()
        return getattr(self._store, name)


def test_who_is_enrolled_at_the_same_moment_is_found_by_the_audit(world: World) -> None:
    racing = Galleries(Racing(world.store), world.eyes, clock=world.clock)  # type: ignore[arg-type]
    outcomes: list[Enrolled] = []

    def enrol(subject: str) -> None:
        outcomes.append(racing.open("people").enrol_embedding(at(0), subject))

    threads = [threading.Thread(target=enrol, args=(subject,)) for subject in ("ada", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {outcome.subject.id for outcome in outcomes} == {"ada", "ben"}
    (pair,) = world.gallery.audit().duplicates
    assert {pair.a, pair.b} == {"ada", "ben"}


# --- batches


def test_outcomes_come_in_order_and_errors_are_handed_on(world: World) -> None:
    passed_on = NoFace("somebody else found this out")
    image, empty = world.eyes.show(b"one", face_at(20)), world.eyes.show(b"none")
    outcomes = list(
        world.gallery.enrol_many(
            [
                passed_on,
                Enrolment(subject="a", embedding=at(0)),
                Enrolment(subject="b", image=empty),
                Enrolment(subject="c", image=image),
                Enrolment(subject="d", embedding=at(20)),
                Enrolment(subject="e", embedding=at(40)),
            ]
        )
    )
    assert outcomes[0] is passed_on
    assert [told(outcome) for outcome in outcomes[1:]] == [
        "enrolled 1",
        "no_face",
        "enrolled 1",
        "conflict",
        "enrolled 1",
    ]
    assert [subject.id for subject in world.gallery.subjects()] == ["a", "c", "e"]


@pytest.mark.parametrize("wrong", [b"bytes", [at(0)], ["path.jpg"], [None], "text"])
def test_other_things_are_no_enrolments(world: World, wrong: object) -> None:
    with pytest.raises(InvalidOption, match="enrolments are wanted"):
        list(world.gallery.enrol_many(wrong))  # type: ignore[arg-type]


def test_nothing_is_enrolled(world: World) -> None:
    assert list(world.gallery.enrol_many([])) == []
    assert world.actions() == ["create"]


@pytest.mark.parametrize(("images", "size"), [(True, 16), (False, 500)])
def test_no_more_than_a_batch_is_taken_ahead(world: World, images: bool, size: int) -> None:  # noqa: FBT001  # a parameter of the test
    taken = itertools.count()
    world.eyes.show(b"ada", face_at(0))
    source: dict[str, bytes] | dict[str, FloatArray] = {"image": b"ada"} if images else {"embedding": at(0)}
    endless = (Enrolment(subject="ada", **source) for _ in iter(lambda: next(taken), None))
    outcomes = world.gallery.enrol_many(endless)
    assert next(taken) == 0  # nothing was taken yet
    next(outcomes)
    assert next(taken) == size + 1
    for _ in range(size - 1):
        next(outcomes)
    assert next(taken) == size + 2


def test_what_was_returned_is_stored_when_the_rest_is_dropped(world: World, tmp_path: Path) -> None:
    outcomes = world.gallery.enrol_many(faces_on_a_line(*range(600)))
    first = enrolled(next(outcomes))
    assert isinstance(outcomes, Generator)
    outcomes.close()
    other = SqliteStore(tmp_path / "galleries.db")
    assert [sample.id for sample in other.samples("people", subject="s0")] == [first.sample]
    assert other.gallery("people").samples == 500
    other.close()


def test_each_batch_sees_the_policy_of_its_moment(world: World) -> None:
    outcomes = world.gallery.enrol_many([Enrolment(subject="ada", embedding=at(0), quality=GOOD)] * 501)
    next(outcomes)
    world.gallery.set_policy(Policy(min_face_px=1000))
    assert code_of(list(outcomes)[-1]) == "too_small"


def test_a_gallery_that_is_forgotten_meanwhile_ends_it(world: World) -> None:
    outcomes = world.gallery.enrol_many(faces_on_a_line(*range(501)))
    next(outcomes)
    world.gallery.forget()
    with pytest.raises(GalleryNotFound):
        list(outcomes)


def test_every_store_enrols(place: Place, tmp_path: Path) -> None:
    with open_world(tmp_path, place.open()) as world:
        outcomes = world.gallery.enrol_many([*faces_on_a_line(0, 0.125, 5), Enrolment(embedding=at(9), key="k")])
        assert list(map(told, outcomes)) == ["enrolled 1", "conflict", "enrolled 1", "enrolled 1"]
        assert world.gallery.enrol_embedding(at(9), key="k").repeated
        (found,) = world.gallery.identify_embeddings(at(5)[None])
        assert found.match is not None
        assert (found.match.subject, found.match.distance) == ("s2", 0)
