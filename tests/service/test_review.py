"""The review queue: which faces are kept, for how long, and how they leave."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from service_kinds import GOOD, PACK, World, at, code_of, enrolled, face_at, open_world
from store_kinds import REAL_KINDS, Place, place_of

from visavis.core.decide import ErrorRates, OperatingPoint
from visavis.errors import GalleryNotFound, InvalidOption, SampleNotFound, StoreFull
from visavis.galleries.records import Details
from visavis.options import Policy
from visavis.service import review
from visavis.service.results import ReviewFace
from visavis.types import Attributes

KEEPING = Policy(review_days=7, keep="chips")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, policy=KEEPING) as world:
        yield world


@pytest.fixture(params=REAL_KINDS)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[World, Place]]:
    """A world in every kind of store."""
    with place_of(request.param, tmp_path, request) as place, open_world(tmp_path, place.open(), KEEPING) as world:
        yield world, place


def see(world: World, *places: float, **asked: object) -> None:
    """Identify an image of faces."""
    image = world.eyes.show(f"{places}".encode(), *map(face_at, places))
    world.gallery.identify(image, **asked)  # type: ignore[arg-type]  # any option


def waiting(world: World) -> list[list[ReviewFace]]:
    groups, after = world.gallery.review.groups()
    assert after is None
    return [list(group.faces) for group in groups]


def numbers(world: World) -> list[int]:
    return sorted(face.number for group in waiting(world) for face in group)


def test_nothing_is_kept_unless_the_policy_says_so(world: World) -> None:
    world.gallery.set_policy(Policy())
    see(world, 5.0)
    assert waiting(world) == []
    assert [each.name for each in world.store.galleries()] == ["people"]
    assert world.galleries.store.entries("people/review") == ()


def test_a_face_is_kept_and_named(anywhere: tuple[World, Place]) -> None:
    world, place = anywhere
    world.gallery.enrol_embedding(at(0), "ada")
    see(world, 0.1, 5.0, 5.1, 9.0)  # of one image: the two in the middle are two people
    see(world, 5.48)
    sizes = [[face.unknown for face in group] for group in waiting(world)]
    assert sizes == [["no_match", "no_match"], ["no_match"], ["no_match"]]
    assert [each.name for each in world.galleries.all()] == ["people"]
    assert {each.encrypted for each in world.store.galleries()} == {place.kind == "sqlite-encrypted"}
    assert world.gallery.record.samples == 1
    (one, other), *_ = waiting(world)
    assert one.expires_at is not None
    assert (one.expires_at - one.seen_at).days == 7
    chip = world.gallery.review.picture(other.number)
    assert chip.startswith(b"\x89PNG")
    results = world.gallery.review.name([one.number, other.number, 99_999], "bob", details=Details(name="Bob"))
    assert [enrolled(each).subject.id for each in results[:2]] == ["bob", "bob"]
    assert code_of(results[2]) == "sample_not_found"
    assert [sample.source for sample in world.gallery.samples("bob")] == ["review", "review"]
    assert world.gallery.picture("bob", enrolled(results[1]).sample) == chip
    assert world.gallery.subject("bob").name == "Bob"
    assert len(numbers(world)) == 2
    with pytest.raises(SampleNotFound):
        world.gallery.review.picture(other.number)
    assert not world.gallery.check().damaged


def test_a_face_is_discarded_with_a_receipt(anywhere: tuple[World, Place]) -> None:
    world, place = anywhere
    see(world, 5.0, 9.0)
    first, second = numbers(world)
    receipt = world.gallery.review.discard([first, 12_345, first])
    assert (receipt.gallery, receipt.subject, receipt.subjects, receipt.samples) == (
        "people/review",
        None,
        (first,),
        1,
    )
    assert receipt.overwritten == (place.kind != "postgres")
    assert numbers(world) == [second]
    with pytest.raises(SampleNotFound):
        world.gallery.review.discard([first])


def test_an_ignored_face_is_not_kept_again(world: World) -> None:
    see(world, 5.0)
    (face,) = numbers(world)
    (result,) = world.gallery.review.ignore([face])
    assert enrolled(result).subject.ignored
    world.clock.advance(hours=1)
    see(world, 5.1)
    assert numbers(world) == []


RATES = ErrorRates((OperatingPoint(1e-4, 0.25, 0.2, 0.3), OperatingPoint(0.01, 0.5, 0.4, 0.6)), "made up")


def test_doubtful_matches_are_kept_with_their_candidate(world: World) -> None:
    pack = replace(PACK, rates=RATES)
    world.eyes.pack = pack
    world.gallery.enrol_embedding(at(0), "ada", details=Details(name="Ada"))
    assert world.gallery.rules().interval == (0.4, 0.6)
    see(world, 0.45)  # a match, uncertain
    see(world, 0.2)  # a match, certain
    ((face,),) = waiting(world)
    assert face.unknown is None
    assert face.candidate is not None
    assert (face.candidate.subject, face.candidate.name, face.candidate.distance) == ("ada", "Ada", 0.44)
    world.gallery.rename("ada", "lovelace")
    ((face,),) = waiting(world)
    assert face.candidate is not None
    assert face.candidate.subject == "lovelace"
    (yes,) = world.gallery.review.name([face.number], "lovelace")
    assert enrolled(yes).subject.samples == 2
    assert numbers(world) == []


def test_who_is_forgotten_takes_along_what_resembles_them(world: World) -> None:
    world.eyes.pack = replace(PACK, rates=RATES)
    world.gallery.enrol_embedding(at(0), "ada")
    see(world, 0.45)
    see(world, 7.0)
    receipt = world.gallery.forget_subject("ada")
    assert receipt.samples == 2
    assert [[face.candidate for face in group] for group in waiting(world)] == [[None]]


@pytest.mark.parametrize(
    ("quality", "live"),
    [
        (replace(GOOD, face_px=1.0), None),
        (replace(GOOD, sharpness=0.0), None),
        (replace(GOOD, occluded=1.0), None),
        (GOOD, 0.0),
    ],
)
def test_faces_that_are_not_looked_for_are_not_kept(world: World, quality: object, live: float | None) -> None:
    world.gallery.set_policy(replace(KEEPING, probe_min_face_px=20, probe_min_sharpness=0.1, max_occluded=0.5))
    seen = face_at(5.0, quality)  # type: ignore[arg-type]  # of one
    attributes = None if live is None else Attributes(liveness=live)
    image = world.eyes.show(b"poor", replace(seen, face=replace(seen.face, attributes=attributes)))
    world.gallery.identify(image)  # in an empty gallery, too
    world.gallery.enrol_embedding(at(0), "ada")
    (found,) = world.gallery.identify(image)
    assert found.unknown in {"low_quality", "not_live", "occluded"}
    assert waiting(world) == []


def test_a_threshold_of_the_caller_keeps_nobody_who_is_known(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    see(world, 0.25, threshold=0.125)
    assert waiting(world) == []
    see(world, 0.75, threshold=0.75)  # no match by the gallery's own rule
    assert len(numbers(world)) == 1


def test_embeddings_and_verifications_keep_nothing(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    world.gallery.identify_embeddings(np.stack([at(5.0)]))
    world.gallery.verify(world.eyes.show(b"x", face_at(5.0)), "ada")
    assert waiting(world) == []


def test_what_comes_again_is_kept_once_in_a_while(world: World) -> None:
    for _ in range(20):
        see(world, 5.0)
        see(world, 5.0 + 0.1)
    assert len(numbers(world)) == 1
    world.clock.advance(minutes=11)
    see(world, 5.0)
    assert len(numbers(world)) == 2


def test_the_oldest_go_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "MOST_KEPT", 10)
    monkeypatch.setattr(review, "_FORGOTTEN_AT_ONCE", 3)
    for x in range(10):
        see(world, 10.0 * x)
    first = numbers(world)
    assert len(first) == 10
    see(world, 500.0)
    assert numbers(world)[:7] == first[3:]
    assert len(numbers(world)) == 8
    see(world, *(1000.0 + 10.0 * x for x in range(30)))
    assert len(numbers(world)) == 10


def test_their_time_ends(anywhere: tuple[World, Place]) -> None:
    world, _ = anywhere
    see(world, 5.0)
    world.clock.advance(days=6)
    see(world, 9.0)
    assert len(numbers(world)) == 2
    world.clock.advance(days=1)
    assert world.galleries.expire() == 1
    assert world.store.gallery("people/review").samples == 1
    world.clock.advance(days=6)
    assert waiting(world) == []  # without that job
    assert world.store.gallery("people/review").samples == 0


def test_two_who_name_a_face_at_once_enrol_it_once(anywhere: tuple[World, Place]) -> None:
    world, _ = anywhere
    see(world, 5.0)
    (face,) = numbers(world)
    results: list[object] = []
    names = ["ada", "bob", "ada", "carl"]
    start = threading.Barrier(len(names))

    def name(subject: str) -> None:
        start.wait()
        results.extend(world.gallery.review.name([face], subject, allow_conflict=True))

    threads = [threading.Thread(target=name, args=(each,)) for each in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert world.gallery.record.samples == 1
    assert numbers(world) == []


def test_who_is_killed_while_naming_names_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    see(world, 5.0)
    (face,) = numbers(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "forget_subjects", killed)
        with pytest.raises(KeyboardInterrupt):
            world.gallery.review.name([face], "ada")
    assert (numbers(world), world.gallery.record.samples) == ([face], 1)
    (other,) = world.gallery.review.name([face], "bob", allow_conflict=True)
    assert code_of(other) == "idempotency_key_reused"
    (again,) = world.gallery.review.name([face], "ada")
    assert enrolled(again).repeated
    assert (numbers(world), world.gallery.record.samples) == ([], 1)


def test_naming_follows_the_rules_of_enrolment(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    see(world, 5.0)
    world.gallery.enrol_embedding(at(5.1), "bob")
    (face,) = numbers(world)
    (refused,) = world.gallery.review.name([face], "ada")
    assert code_of(refused) == "conflict"
    assert numbers(world) == [face]
    world.gallery.set_policy(replace(KEEPING, min_face_px=1000, keep="nothing"))
    (refused,) = world.gallery.review.name([face], "bob")
    assert code_of(refused) == "too_small"
    world.gallery.set_policy(replace(KEEPING, keep="nothing", retention_days=3))
    (done,) = world.gallery.review.name([face], "bob", counter=True)
    assert enrolled(done).subject.id == "bob"
    (_, sample) = world.gallery.samples("bob")
    assert (sample.counter, sample.picture) == (True, "nothing")


def test_policies_that_contradict_themselves() -> None:
    with pytest.raises(InvalidOption, match="consent_required"):
        Policy(review_days=1, consent_required=True)
    for days in (0, -1, float("nan"), float("inf"), 1e9, True, "7"):
        with pytest.raises(InvalidOption, match="review_days"):
            Policy(review_days=days)  # type: ignore[arg-type]  # that is the point


def test_it_goes_with_the_policy_and_with_the_gallery(anywhere: tuple[World, Place]) -> None:
    world, _ = anywhere
    see(world, 5.0)
    world.gallery.set_policy(Policy())
    assert [each.name for each in world.store.galleries()] == ["people"]
    world.gallery.set_policy(KEEPING)
    see(world, 5.0, 9.0)
    gallery = world.gallery
    assert gallery.forget().samples == 2
    assert world.store.galleries() == ()
    with pytest.raises(GalleryNotFound):
        gallery.review.groups()


def test_what_was_left_of_an_earlier_gallery_is_nobodys(world: World) -> None:
    see(world, 5.0)
    world.store.drop("people", world.galleries._origin())  # and killed before the queue was  # noqa: SLF001
    world.galleries.create("people", policy=KEEPING)
    assert waiting(world) == []


def test_no_gallery_is_called_as_a_queue_is(world: World) -> None:
    see(world, 5.0)
    with pytest.raises(InvalidOption):
        world.galleries.create("people/review")
    for name in ("people/review", "people/review/review", "/review"):
        with pytest.raises(GalleryNotFound):
            world.galleries.open(name)


def test_an_export_has_none_of_it(world: World) -> None:
    see(world, 5.0)
    assert [line for line in world.gallery.export(pictures=True) if "subject" in line] == []


def test_a_new_key_is_the_queues_too(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with place_of("sqlite-encrypted", tmp_path, request) as place, open_world(tmp_path, place.open(), KEEPING) as world:
        see(world, 5.0)
        (face,) = numbers(world)
        chip = world.gallery.review.picture(face)
        world.gallery.rekey()
        assert [entry.gallery for entry in world.store.entries() if entry.action == "rekey"] == [
            "people",
            "people/review",
        ]
        assert world.gallery.review.picture(face) == chip
        assert not world.gallery.check().damaged


def test_a_search_is_answered_also_where_nothing_can_be_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(world.store, "enrol", full)
    with caplog.at_level(logging.WARNING):
        see(world, 5.0)
    assert "not kept for review (store_full)" in caplog.text


def test_groups_come_in_pages(world: World) -> None:
    for x in (0.0, 0.4, 100.0, 200.0, 200.4, 200.45, 300.0):
        world.clock.advance(minutes=11)
        see(world, x)
    pages: list[int] = []
    after: int | None = 0
    while after is not None:
        (group,), after = world.gallery.review.groups(after=after, limit=1)
        pages.append(len(group.faces))
        if len(pages) == 1:  # what is gone does not move the others
            world.gallery.review.discard([face.number for face in group.faces])
    assert pages == [3, 2, 1, 1]
    assert len(world.gallery.review.groups(tolerance=1e9)[0]) == 1
    assert world.gallery.review.groups(min_quality=0.3) == ((), None)
    for wrong in ({"tolerance": 0.0}, {"tolerance": float("nan")}, {"min_quality": "x"}):
        with pytest.raises(InvalidOption):
            world.gallery.review.groups(**wrong)


def pieces_of(world: World) -> list[bytes]:
    """Return pieces of all that is stored of the faces that wait, wherever it lies."""
    queue, texts = world.gallery.review.queue, []
    for sample in world.store.samples(queue):
        chip = world.store.picture(queue, sample.id) or b""
        texts += [sample.embedding.tobytes(), sample.subject.encode(), chip[64:-64]]  # without what all PNGs have
    return [text[at : at + 8] for text in texts for at in range(0, len(text) - 7, max(4, len(text) // 100))]


THOROUGH = [pytest.param(way, marks=pytest.mark.thorough) for way in ("oldest", "policy", "gallery", "name")]


@pytest.mark.parametrize("way", ["discard", "expire", "subject", *THOROUGH])
def test_no_piece_of_a_face_is_left_that_waits_no_more(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST_KEPT", 6)
    with open_world(tmp_path, policy=replace(KEEPING, keep="nothing")) as world:
        world.eyes.pack = replace(PACK, rates=RATES)
        world.gallery.enrol_embedding(at(0), "ada")
        for x in (0.45,) if way == "subject" else (5.0, 9.0, 13.0):
            see(world, x)
        pieces = pieces_of(world)
        assert len(pieces) > 100

        def left() -> int:
            files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            return sum(piece in files for piece in pieces)

        assert left() == len(pieces)
        if way == "discard":
            assert world.gallery.review.discard(numbers(world)).overwritten
        elif way == "name":
            pieces = [piece for piece in pieces if not any(piece in at(x).tobytes() for x in (5.0, 9.0, 13.0))]
            assert all(world.gallery.review.name(numbers(world), "bob"))
        elif way == "expire":
            world.clock.advance(days=8)
            assert world.galleries.expire() == 3
        elif way == "oldest":
            for x in range(20, 80, 4):
                see(world, float(x))
        elif way == "policy":
            world.gallery.set_policy(Policy())
        elif way == "subject":
            assert world.gallery.forget_subject("ada").overwritten
        else:
            assert world.gallery.forget().overwritten
        assert left() == 0
