"""The service: identify, verify, change, forget; who is gone when; what the log tells."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from service_kinds import GOOD, NOON, PACK, Clock, FakeEyes, World, at, code_of, enrolled, face_at, open_world
from store_kinds import Place

from visavis import Recognizer
from visavis.core.decide import ErrorRates, OperatingPoint
from visavis.errors import (
    ConsentMissing,
    GalleryExists,
    GalleryNotFound,
    ImageCorrupt,
    InvalidEmbedding,
    InvalidOption,
    MultipleFaces,
    NoFace,
    NotLive,
    SampleNotFound,
    SpaceMismatch,
    SubjectConflict,
    SubjectExists,
    SubjectNotFound,
    VersionMismatch,
    VisavisError,
)
from visavis.galleries.records import NEVER, Details, NewSample, Origin
from visavis.galleries.sqlite import memory
from visavis.galleries.sqlite import store as sqlite_store
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled, Identification
from visavis.types import Attributes, Quality


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


def fill(world: World, **places: float) -> None:
    for subject, x in places.items():
        world.gallery.enrol_embedding(at(x), subject, allow_conflict=True)


def who(world: World, x: float, **options: float | str) -> Identification:
    (found,) = world.gallery.identify_embeddings(at(x)[None], **options)  # type: ignore[arg-type]  # of the test
    return found


# --- identify


def test_a_face_is_identified(world: World) -> None:
    fill(world, ada=0, ben=2)
    world.gallery.set_policy(Policy(candidate_threshold=2))
    image = world.eyes.show(b"ada again", face_at(0.25))
    (found,) = world.gallery.identify(image)
    assert found
    assert found.match is not None
    assert (found.match.subject, found.match.distance, found.match.margin) == ("ada", 0.25, 1.5)
    assert [candidate.subject for candidate in found.candidates] == ["ada", "ben"]
    assert found.candidates[1].margin is None
    first, second = (candidate.probability for candidate in found.candidates)
    assert first is not None
    assert second is not None
    assert first > 0.99 > second
    assert (found.unknown, found.threshold, found.face is not None) == (None, 0.5, True)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["match"]["subject"] == "ada"
    assert "embedding" not in plain["face"]


def test_a_subject_at_the_threshold_is_unknown(world: World) -> None:
    fill(world, ada=0)
    assert who(world, 0.5).unknown == "no_match"
    assert who(world, 0.4999).match is not None
    assert not who(world, 0.5)
    assert who(world, 0.5, threshold=0.5625).match is not None
    assert who(world, 0.25, threshold=0.25).unknown == "no_match"
    world.gallery.set_policy(Policy(threshold=0.125))
    assert who(world, 0.25).unknown == "no_match"
    assert who(world, 0.25, threshold=0.5).match is not None


def test_two_that_are_about_as_near_are_nobody(world: World) -> None:
    fill(world, ada=0, ben=0.5)
    assert who(world, 0.25).unknown == "low_margin"
    assert who(world, 0.1875).match is not None  # a margin of 0.125, which is enough
    assert who(world, 0.1876).unknown == "low_margin"
    assert who(world, 0.25).candidates[0].margin == 0
    world.gallery.set_policy(Policy(margin=0))
    assert who(world, 0.25).match is not None


def test_the_margin_is_known_whatever_the_limit(world: World) -> None:
    fill(world, ada=0, ben=0.5, eve=4)
    found = who(world, 0.25, limit=1)
    assert (found.unknown, len(found.candidates), found.candidates[0].margin) == ("low_margin", 1, 0)
    world.gallery.set_policy(Policy(candidate_threshold=3))
    assert [candidate.subject for candidate in who(world, 3, limit=2).candidates] == ["eve", "ben"]


def test_samples_of_one_subject_have_no_margin_among_themselves(world: World) -> None:
    for x in (0, 0.0625, 0.125):
        world.gallery.enrol_embedding(at(x), "ada")
    found = who(world, 0.0625)
    assert found.match is not None
    assert (found.match.margin, len(found.candidates)) == (None, 1)


def test_a_subject_is_as_far_as_the_mean_of_its_samples(world: World) -> None:
    for x in (0, 2):
        world.gallery.enrol_embedding(at(x), "ada")
    world.gallery.enrol_embedding(at(0.75), "ben", allow_conflict=True)
    world.gallery.set_policy(Policy(candidate_threshold=3))
    found = who(world, 0.75)
    assert [each.subject for each in found.candidates] == ["ben", "ada"]
    mean = (at(0) + at(2) / 5**0.5) / np.linalg.norm(at(0) + at(2) / 5**0.5) * (1 + 5**0.5) / 2
    assert found.candidates[1].distance == pytest.approx(float(np.linalg.norm(mean - at(0.75))), abs=0.01)
    world.gallery.merge("ben", "ada")
    assert who(world, 0.75).candidates[0].distance < 0.5
    last = world.gallery.samples("ada")[-1]
    world.gallery.forget_sample("ada", last.id)
    assert who(world, 0.75).candidates[0].distance == found.candidates[1].distance


@pytest.mark.thorough
@pytest.mark.parametrize(("subjects", "photos"), [(50, 3), (400, 1)])
def test_no_more_strangers_are_taken_however_many_are_enrolled(tmp_path: Path, subjects: int, photos: int) -> None:
    rng, dimension = np.random.default_rng(subjects + photos), 16
    some, others = (rng.normal(size=(2000, dimension)) for _ in range(2))
    some, others = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (some, others))
    between = 1 - some @ others.T
    rates = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    points = tuple(
        OperatingPoint(rate, limit, limit, limit)
        for rate, limit in zip(rates, np.quantile(between, rates).tolist(), strict=True)
    )
    pack = replace(PACK, dimension=dimension, metric="cosine", identify_margin=0.0, rates=ErrorRates(points, "a test"))
    galleries = Galleries(SqliteStore(tmp_path / "g.db"), FakeEyes(pack=pack))
    galleries.create("people")
    gallery = galleries.open("people")
    centres = np.repeat(rng.normal(size=(subjects, dimension)), photos, axis=0)
    samples = (centres + rng.normal(size=centres.shape) * 0.4).astype(np.float32)
    new = (Enrolment(subject=f"s{at // photos}", embedding=sample) for at, sample in enumerate(samples))
    assert all(map(enrolled, gallery.enrol_many(new, allow_conflict=True)))
    found = gallery.identify_embeddings(rng.normal(size=(2000, dimension)).astype(np.float32))
    assert 0.003 <= np.mean([bool(each) for each in found]) <= 0.02
    own = gallery.identify_embeddings(samples[::photos][:50])
    assert np.mean([each.match is not None and each.match.subject == f"s{at}" for at, each in enumerate(own)]) > 0.9
    galleries.store.close()


def test_the_threshold_follows_a_gallery_as_it_grows(world: World) -> None:
    points = (OperatingPoint(1e-4, 0.25, 0.2, 0.3), OperatingPoint(1e-2, 0.5, 0.45, 0.55))
    world.eyes.pack = replace(world.eyes.pack, rates=ErrorRates(points, "a test"))
    told = []
    for number in range(1, 5):
        fill(world, **{f"s{number}": 4 * number})
        told.append(who(world, 0))
    assert [each.compared for each in told] == [1, 2, 3, 4]
    assert [each.threshold for each in told] == sorted({each.threshold for each in told}, reverse=True)
    assert told[0].threshold == pytest.approx(0.5)
    assert {each.fpir for each in told} == {0.01}
    assert who(world, 0, threshold=0.5).threshold == 0.5
    world.gallery.forget_subject("s4")
    assert who(world, 0).threshold == told[2].threshold


@pytest.mark.parametrize("limits", [
    {"probe_min_face_px": 300}, {"probe_min_sharpness": 0.5}, {"probe_min_score": 2},
])  # fmt: skip
def test_a_poor_probe_is_nobody(world: World, limits: dict[str, float]) -> None:
    fill(world, ada=0)
    image = world.eyes.show(b"poor", face_at(0))
    world.gallery.set_policy(Policy(**limits))  # type: ignore[arg-type]  # of the table
    (found,) = world.gallery.identify(image)
    assert (found.match, found.unknown) == (None, "low_quality")
    assert found.candidates[0].subject == "ada"
    assert who(world, 0).match is not None  # of whose quality nothing is known


def test_an_empty_gallery_knows_nobody(world: World) -> None:
    assert who(world, 0).unknown == "empty_gallery"
    assert who(world, 0).candidates == ()


def test_no_face_is_no_error(world: World) -> None:
    fill(world, ada=0)
    assert world.gallery.identify(world.eyes.show(b"street")) == ()
    assert world.gallery.identify_embeddings(np.empty((0, 3), np.float32)) == ()
    with pytest.raises(NoFace):
        world.gallery.identify(b"street", faces="only")


def test_all_faces_or_the_largest(world: World) -> None:
    fill(world, ada=0, ben=2)
    image = world.eyes.show(b"both", face_at(2), face_at(0), face_at(9))
    found = world.gallery.identify(image)
    assert [each.match and each.match.subject for each in found] == ["ben", "ada", None]
    assert len(world.gallery.identify(image, faces="largest")) == 1
    with pytest.raises(MultipleFaces):
        world.gallery.identify(image, faces="only")


def test_many_images_each_have_an_answer(world: World) -> None:
    fill(world, ada=0)
    world.eyes.sights[b"broken"] = ImageCorrupt("broken")
    images = [world.eyes.show(b"ada", face_at(0)), b"broken", world.eyes.show(b"nobody")]
    first, refused, none = world.gallery.identify_many(images)
    assert isinstance(first, tuple)
    assert first[0].match is not None
    assert (code_of(refused), none) == ("image_corrupt", ())
    assert list(world.gallery.identify_many([])) == []


@pytest.mark.parametrize("limit", [0, -1, 1001, 1.5, True, None])
def test_a_bad_limit_is_refused(world: World, limit: int) -> None:
    with pytest.raises(InvalidOption, match="limit"):
        world.gallery.identify_embeddings(at(0)[None], limit=limit)


@pytest.mark.parametrize("threshold", [0, -1, np.nan, np.inf, "near"])
def test_a_bad_threshold_is_refused(world: World, threshold: float) -> None:
    fill(world, ada=0)
    before = world.actions()
    with pytest.raises(InvalidOption, match="threshold"):
        who(world, 0, threshold=threshold)
    with pytest.raises(InvalidOption, match="threshold"):
        world.gallery.verify_embedding(at(0), "ada", threshold=threshold)
    assert world.actions() == before


@pytest.mark.parametrize("threshold", [np.float32(0.5), "0.5"])
def test_a_threshold_becomes_a_plain_number(world: World, threshold: float) -> None:
    fill(world, ada=0)
    assert json.dumps(who(world, 0, threshold=threshold).to_dict())
    assert json.dumps(world.gallery.verify_embedding(at(0), "ada", threshold=threshold).to_dict())


@pytest.mark.parametrize("probes", [at(0), [[1, 2]], [["1", "2", "3"]], [[True, False, True]], [[1j, 2, 3]], None])
def test_bad_probes_are_refused(world: World, probes: object) -> None:
    with pytest.raises(InvalidEmbedding):
        world.gallery.identify_embeddings(probes)  # type: ignore[arg-type]  # which is refused


# --- verify


def test_a_subject_is_verified_by_its_nearest_sample(world: World) -> None:
    for x in (0, 0.5):
        world.gallery.enrol_embedding(at(x), "ada")
    done = world.gallery.verify(world.eyes.show(b"x", face_at(0.75), face_at(0)), "ada")
    assert done
    assert (done.same, done.distance, done.threshold, done.subject) == (True, 0.25, 0.75, "ada")
    assert done.sample == world.gallery.samples("ada")[1].id
    assert json.loads(json.dumps(done.to_dict()))["same"] is True


def test_a_face_is_held_against_one_sample(world: World) -> None:
    fill(world, ada=0)
    other = world.gallery.enrol_embedding(at(0.5), "ada").sample
    assert world.gallery.verify_embedding(at(0.5), "ada", sample=other).distance == 0
    first = next(each.id for each in world.gallery.samples("ada") if each.id != other)
    told = world.gallery.verify_embedding(at(0.5), "ada", sample=first)
    assert (told.distance, told.sample) == (0.5, first)
    with pytest.raises(SampleNotFound):
        world.gallery.verify_embedding(at(0), "ada", sample=other + 1)
    covered = face_at(0.5, replace(GOOD, occluded=1.0)).face
    assert world.gallery.verify_embedding(covered, "ada").reason == "occluded"
    printed = replace(face_at(0.5).face, attributes=Attributes(liveness=0.1))
    with pytest.raises(NotLive):
        world.gallery.verify_embedding(printed, "ada")


def test_a_subject_is_made_without_samples(world: World) -> None:
    world.gallery.set_policy(Policy(retention_days=1))
    made = world.gallery.add_subject("ada")
    assert (made.samples, made.expires_at) == (0, NOON + timedelta(days=1))
    world.gallery.set_policy(Policy(consent_required=True))
    with pytest.raises(ConsentMissing):
        world.gallery.add_subject("ben")
    assert world.gallery.add_subject("ben", details=Details(consent="yes")).consent == "yes"


def test_a_sample_at_the_threshold_is_another_person(world: World) -> None:
    fill(world, ada=0)
    world.gallery.set_policy(Policy(threshold=0.01))  # which is for identification alone
    assert not world.gallery.verify_embedding(at(0.75), "ada")
    assert world.gallery.verify_embedding(at(0.7499), "ada")
    assert not world.gallery.verify_embedding(at(0.5), "ada", threshold=0.5)


def test_who_is_nearer_to_a_counter_sample_is_not_the_subject(world: World) -> None:
    fill(world, ada=0, ben=0.75)
    assert who(world, 0.25).match is not None
    stored = world.gallery.enrol_embedding(at(0.25), "ada", counter=True)
    assert (stored.conflict, stored.subject.samples) == (None, 2)
    found = who(world, 0.25)
    assert (found.match, found.unknown, [each.subject for each in found.candidates]) == (None, "rejected", [])
    assert who(world, 0.0625).match is not None
    near_ben = who(world, 0.45)  # Ada is as far as that, but for the counter-sample
    assert near_ben.match is not None
    assert near_ben.match.subject == "ben"
    told = world.gallery.verify_embedding(at(0.25), "ada")
    assert (told.same, told.decision, told.reason) == (False, "different", "rejected")
    assert world.gallery.verify_embedding(at(0.0625), "ada")
    assert world.gallery.enrol_embedding(at(0.3125), "cleo").conflict is None  # it is nobody's face
    lines = list(world.gallery.export())
    assert [line["counter"] for line in lines if line.get("subject") == "ada"] == [False, True]
    world.galleries.create("other")
    other = world.galleries.open("other")
    assert all(isinstance(each, Enrolled) for each in other.import_lines(lines))
    assert [each.counter for each in other.samples("ada")] == [False, True]


def test_candidates_may_be_samples_within_the_same_bounds(world: World) -> None:
    fill(world, ada=0, ben=1)
    for x in (0.25, 0.5):
        world.gallery.enrol_embedding(at(x), "ada", allow_conflict=True)
    counter = world.gallery.enrol_embedding(at(0.875), "ben", counter=True)
    world.gallery.update("ben", Details(ignored=True))
    world.gallery.set_policy(Policy(candidate_threshold=2))
    by_subject = who(world, 0.125)
    found = who(world, 0.125, group_by="sample")
    assert (found.match, found.unknown, found.threshold) == (by_subject.match, None, by_subject.threshold)
    assert [(each.subject, each.distance, each.margin) for each in found.candidates] == [
        ("ada", 0.12, 0), ("ada", 0.12, 0.25), ("ada", 0.37, None)
    ]  # fmt: skip
    assert len({each.sample for each in found.candidates}) == 3
    near_ben = who(world, 0.99, group_by="sample")  # who is nearer than the counter-sample, and ignored
    assert [(each.subject, each.ignored) for each in near_ben.candidates][:2] == [("ben", True), ("ada", False)]
    assert counter.sample not in {each.sample for each in near_ben.candidates}
    assert len(who(world, 0.1, group_by="sample", limit=2).candidates) == 2
    world.gallery.set_policy(Policy(candidate_threshold=0.2, most_candidates=1))
    assert [each.distance for each in who(world, 0.1, group_by="sample").candidates] == [0.1]
    assert who(world, 0.75, group_by="sample").candidates == ()
    with pytest.raises(InvalidOption, match="group_by"):
        who(world, 0.1, group_by="face")


def test_no_distance_of_a_sample_is_told_more_finely_than_of_a_subject(world: World) -> None:
    fill(world, ada=0)
    for x in np.linspace(0.1, 0.4, 37).tolist():
        subject, sample = who(world, x).candidates, who(world, x, group_by="sample").candidates
        assert [each.to_dict() for each in sample] == [each.to_dict() for each in subject]
        assert sample[0].distance * 100 == pytest.approx(round(sample[0].distance * 100))


def test_a_sample_is_known_by_its_number_alone(world: World) -> None:
    fill(world, ada=0, ben=2)
    known = {"image_id": "x", "box": [1, 2, 3, 4]}
    sample = world.gallery.enrol_embedding(at(4), "ben", sample_metadata=known).sample
    found = world.gallery.sample(sample)
    assert (found.subject, found.metadata, found.embedding.tolist()) == ("ben", known, at(4).tolist())
    first, second, third = world.gallery.all_samples()
    assert [each.subject for each in (first, second, third)] == ["ada", "ben", "ben"]
    assert [each.id for each in world.gallery.all_samples(after=first.id, limit=1)] == [second.id]
    receipt = world.gallery.forget_sample(None, sample)
    assert (receipt.subject, receipt.samples, receipt.subjects) == (None, 1, (world.gallery.subject("ben").number,))
    for number in (sample, 0, -1, 10**30, first.id - 1):
        with pytest.raises(SampleNotFound):
            world.gallery.sample(number)
        with pytest.raises(SampleNotFound):
            world.gallery.forget_sample(None, number)
    assert [each.id for each in world.gallery.all_samples()] == [first.id, second.id]
    with pytest.raises(InvalidOption, match="sample_metadata"):
        world.gallery.enrol_embedding(at(4), "ben", sample_metadata={"x": "y" * 5000})


def test_counter_samples_show_somebody_else(world: World) -> None:
    world.gallery.set_policy(Policy(keep="images"))
    (own, other), quality = (b"own", b"other"), replace(GOOD, sharpness=0.9)
    for x, kind, it in ((0, False, GOOD), (0.5, True, quality)):
        enrolment = Enrolment(embedding=at(x), subject="ada", quality=it, picture=(own, other)[kind], counter=kind)
        assert isinstance(next(world.gallery.enrol_many([enrolment])), Enrolled)
    fill(world, bob=0.5, cleo=3)
    assert world.gallery.best_picture("ada") == own
    told = world.gallery.export_subject("ada")
    assert [each["picture_data"] for each in told["sample_list"]] == [base64.b64encode(own).decode()]
    for one, far in (("ada", 0.5), ("bob", 0.5)):
        assert world.gallery.similar(one)[0].distance == far
    for each in range(6):  # counter-samples push nobody out
        fill(world, **{f"s{each}": 9 + each})
        world.gallery.enrol_embedding(at(0.5), f"s{each}", counter=True)
    assert who(world, 0.5, limit=1).match is not None
    with pytest.raises(SubjectConflict):
        world.gallery.enrol_embedding(at(0.5), "eve")
    first, _ = world.gallery.samples("ada")
    world.gallery.enrol_embedding(at(0.01), "ada")
    world.gallery.forget_sample("ada", first.id)  # now the counter-sample is the oldest
    world.galleries.create("other")
    copy = world.galleries.open("other")
    assert all(isinstance(each, Enrolled) for each in copy.import_lines(world.gallery.export()))
    assert [each.counter for each in copy.samples("ada")] == [False, True]


def test_merged_subjects_are_not_each_others_counter_samples(world: World) -> None:
    fill(world, ada=0, twin=0.05, bob=2)
    world.gallery.enrol_embedding(at(0), "twin", counter=True)  # a mistake
    world.gallery.enrol_embedding(at(2), "twin", counter=True)  # bob
    world.gallery.merge("twin", "ada")
    assert [each.counter for each in world.gallery.samples("ada")].count(True) == 1
    found = who(world, 0.01)
    assert found.match is not None
    assert found.match.subject == "ada"


def test_a_counter_sample_neither_makes_nor_keeps_a_subject(world: World) -> None:
    world.gallery.set_policy(Policy(retention_days=10))
    fill(world, ada=0)
    until = world.gallery.subject("ada").expires_at
    world.clock.now += timedelta(days=8)
    world.gallery.enrol_embedding(at(0.5), "ada", counter=True, details=Details(name="Somebody"))
    told = world.gallery.subject("ada")
    assert (told.expires_at, told.name) == (until, None)
    ghost = NewSample(subject="ghost", embedding=at(0), counter=True)
    (outcome,) = world.galleries.store.enrol(world.gallery.name, [ghost], Origin(actor="test", at=world.clock.now))
    assert isinstance(outcome, SubjectNotFound)


def test_a_counter_sample_is_refused_where_nobody_is_or_consented(world: World) -> None:
    with pytest.raises(SubjectNotFound):
        world.gallery.enrol_embedding(at(0), "nobody", counter=True)
    both = [Enrolment(embedding=at(0), subject="ada"), Enrolment(embedding=at(0.125), subject="ada", counter=True)]
    assert [isinstance(each, Enrolled) for each in world.gallery.enrol_many(both)] == [True, True]
    world.gallery.set_policy(Policy(consent_required=True))
    with pytest.raises(ConsentMissing, match="somebody else"):
        world.gallery.enrol_embedding(at(0.2), "ada", counter=True, details=Details(consent="signed"))
    world.gallery.forget_sample("ada", world.gallery.samples("ada")[0].id)
    with pytest.raises(SampleNotFound):  # a counter-sample alone shows nobody
        world.gallery.verify_embedding(at(0.125), "ada")
    assert who(world, 0.125).unknown == "no_match"


def test_who_is_ignored_is_nobody(world: World) -> None:
    fill(world, ada=0, ben=2)
    world.gallery.update("ada", Details(ignored=True))
    found = who(world, 0.125)
    assert (found.match, found.unknown, found.candidates[0].ignored) == (None, "ignored", True)
    assert who(world, 2).match is not None
    assert world.gallery.verify_embedding(at(0.125), "ada")  # who asks for somebody gets an answer
    world.gallery.update("ada", Details(ignored=False))
    assert who(world, 0.125).match is not None


def test_merged_subjects_are_one(world: World) -> None:
    fill(world, ada=0, grace=0.1)
    merged = world.gallery.merge("grace", "ada")
    assert (merged.id, merged.samples) == ("ada", 2)
    assert [subject.id for subject in world.gallery.subjects()] == ["ada"]
    with pytest.raises(InvalidOption, match="into itself"):
        world.gallery.merge("ada", "ada")
    for both in (("nobody", "ada"), ("ada", "nobody")):
        with pytest.raises(SubjectNotFound):
            world.gallery.merge(*both)


def test_samples_become_another_subjects(world: World) -> None:
    fill(world, ada=0, grace=0.1)
    gallery = world.gallery
    (sample,) = gallery.samples("grace")
    moved = gallery.move("grace", [sample.id], "ada")
    assert (moved.id, moved.samples, gallery.subject("grace").samples) == ("ada", 2, 0)
    with pytest.raises(SampleNotFound):
        gallery.move("grace", [sample.id], "ada")
    (found,) = gallery.identify_embeddings(at(0.1)[None])
    assert found.match is not None
    assert found.match.subject == "ada"


def test_where_consent_is_wanted_nobody_gets_samples_without(world: World) -> None:
    fill(world, ada=0, grace=0.1)
    gallery = world.gallery
    gallery.set_policy(Policy(consent_required=True))
    (sample,) = gallery.samples("grace")
    with pytest.raises(ConsentMissing, match="none of 'ada'"):
        gallery.merge("grace", "ada")
    with pytest.raises(ConsentMissing, match="none of 'ada'"):
        gallery.move("grace", [sample.id], "ada")
    gallery.update("ada", Details(consent="signed"))
    assert gallery.merge("grace", "ada").samples == 2


def test_a_renamed_subject_is_the_same_one(world: World) -> None:
    fill(world, ada=0, grace=5)
    gallery = world.gallery
    ada = gallery.subject("ada")
    with pytest.raises(SubjectExists, match="has a subject 'grace' already"):
        gallery.rename("ada", "grace")
    with pytest.raises(VersionMismatch):
        gallery.rename("ada", "lovelace", version=7)
    renamed = gallery.rename("ada", "Lovelac\xe9", version=ada.version)
    assert (renamed.id, renamed.number, renamed.samples) == ("Lovelac\xe9", ada.number, 1)
    assert gallery.verify_embedding(at(0), "Lovelace\u0301").same
    with pytest.raises(SubjectNotFound):
        gallery.subject("ada")


def test_one_spelling_of_a_name_is_as_good_as_the_other(world: World) -> None:
    gallery, key = world.gallery, "k"
    first = gallery.enrol_embedding(at(0), "Ame\u0301lie", details=Details(name="Ame\u0301lie"), key=key)
    again = gallery.enrol_embedding(at(0), "Am\xe9lie", key=key)
    assert (first.subject.id, first.subject.name, again.repeated) == ("Am\xe9lie", "Am\xe9lie", True)
    (line,) = list(gallery.export())[1:]
    (imported,) = gallery.import_lines([{**line, "subject": "Ame\u0301lie", "embedding": at(0.1).tolist()}])
    assert isinstance(imported, Enrolled)
    assert imported.subject.samples == 2
    assert gallery.forget_subject("Ame\u0301lie").samples == 2
    assert gallery.subjects() == ()


def test_whom_nobody_knows_cannot_be_verified(world: World) -> None:
    world.eyes.show(b"x", face_at(0))
    with pytest.raises(SubjectNotFound):
        world.gallery.verify(b"x", "ada")
    assert world.eyes.looked_at == []
    done = world.gallery.enrol_embedding(at(0), "ada")
    world.gallery.forget_sample("ada", done.sample)
    with pytest.raises(SampleNotFound):
        world.gallery.verify(b"x", "ada")
    with pytest.raises(SampleNotFound):
        world.gallery.verify_embedding(at(0), "ada")
    fill(world, ben=0)
    with pytest.raises(NoFace):
        world.gallery.verify(world.eyes.show(b"none"), "ben")
    with pytest.raises(MultipleFaces):
        world.gallery.verify(world.eyes.show(b"two", face_at(0), face_at(1)), "ben", faces="only")
    with pytest.raises(InvalidOption, match="one of prominent, largest, main, only"):
        world.gallery.verify(b"x", "ben", faces="all")  # type: ignore[arg-type]  # which is refused


# --- what the log tells


def test_searches_are_told_unless_the_policy_says_otherwise(world: World) -> None:
    fill(world, ada=0, ben=2)
    world.eyes.show(b"two", face_at(0), face_at(9))
    number = world.gallery.subject("ada").number
    world.gallery.identify(b"two")
    world.gallery.verify_embedding(at(9), "ada")
    identified, verified = world.gallery.entries(limit=100)[-2:]
    assert (identified.action, identified.subjects, identified.count) == ("identify", (number,), 2)
    assert (verified.action, verified.subjects, verified.count) == ("verify", (number,), 1)
    assert {identified.actor, verified.actor} == {"tests"}
    world.gallery.set_policy(Policy(log_searches=False))
    before = world.actions()
    world.gallery.identify(b"two")
    world.gallery.verify_embedding(at(9), "ada")
    assert world.actions() == before


def test_everything_else_is_told_always(world: World, tmp_path: Path) -> None:
    world.gallery.set_policy(Policy(log_searches=False, keep="images"))
    done = world.gallery.enrol(world.eyes.show(b"x", face_at(0)), "ada")
    world.gallery.picture("ada", done.sample)
    world.gallery.update("ada", Details(name="Ada"))
    list(world.gallery.export())
    world.gallery.export_subject("ada")
    world.gallery.audit()
    world.gallery.forget_sample("ada", done.sample)
    world.gallery.forget_subject("ada")
    world.gallery.forget()
    world.galleries.backup(tmp_path / "copy.db")
    wanted = ["create", "policy", "enrol", "picture", "update", "export", "export", "audit", *["forget"] * 3]
    assert world.actions() == wanted
    assert world.actions(None) == [*wanted, "backup"]


def test_the_log_names_who_acts(world: World) -> None:
    somebody = world.galleries.acting_as("key 7")
    somebody.open("people").enrol_embedding(at(0), "ada")
    receipt = somebody.open("people").forget_subject("ada")
    world.gallery.enrol_embedding(at(0), "ada")
    assert receipt.actor == "key 7"
    assert [entry.actor for entry in world.galleries.entries("people")] == ["tests", "key 7", "key 7", "tests"]
    assert (somebody.store, somebody.eyes) == (world.galleries.store, world.galleries.eyes)
    assert world.galleries.acting_as("\udcff\0").open("people").forget().actor == "??"


# --- those whose time is over


def expiring(world: World) -> OpenGallery:
    world.gallery.enrol_embedding(at(0), "ada", details=Details(expires_at=NOON + timedelta(hours=1)))
    world.gallery.enrol_embedding(at(3), "ben")
    return world.gallery


@pytest.mark.parametrize("call", [
    lambda gallery: gallery.subject("ada"),
    lambda gallery: gallery.samples("ada"),
    lambda gallery: gallery.update("ada", Details(name="x")),
    lambda gallery: gallery.verify_embedding(at(0), "ada"),
    lambda gallery: gallery.export_subject("ada"),
    lambda gallery: gallery.picture("ada", 1),
])  # fmt: skip
def test_who_expires_is_gone_at_the_very_instant(world: World, call) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # of the table
    gallery = expiring(world)
    world.clock.now = NOON + timedelta(hours=1, microseconds=-1)
    assert gallery.subject("ada").id == "ada"
    world.clock.now = NOON + timedelta(hours=1)
    with pytest.raises(SubjectNotFound):
        call(gallery)
    assert world.actions()[-1] == "expire"


def test_who_expired_is_not_searched_listed_or_exported(world: World) -> None:
    gallery = expiring(world)
    gallery.set_policy(Policy(candidate_threshold=100))
    assert who(world, 0).match is not None
    world.clock.advance(hours=1)
    assert [candidate.subject for candidate in who(world, 0).candidates] == ["ben"]
    assert [subject.id for subject in gallery.subjects()] == ["ben"]
    assert [line["subject"] for line in gallery.export() if "subject" in line] == ["ben"]
    assert gallery.enrol_embedding(at(0), "ada").subject.number > gallery.subject("ben").number


def test_a_server_forgets_who_expired_in_all_galleries(world: World) -> None:
    expiring(world)
    world.galleries.create("other")
    world.galleries.open("other").enrol_embedding(at(0), "eve", details=Details(expires_at=NOON + timedelta(hours=1)))
    assert world.galleries.expire() == 0
    world.clock.advance(hours=1)
    assert world.galleries.expire() == 2
    assert world.galleries.expire() == 0
    assert [gallery.subjects for gallery in world.galleries.all()] == [0, 1]


class Vanishing:
    """A store of which a gallery is forgotten as soon as it was listed."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def galleries(self) -> object:
        found = self._store.galleries()
        Galleries(self._store, FakeEyes(), clock=self._clock).forget("gone")
        return found


def test_a_gallery_that_is_forgotten_meanwhile_keeps_nobody_from_expiring(world: World) -> None:
    world.galleries.create("gone")
    expiring(world)
    world.clock.advance(hours=1)
    store: SqliteStore = world.store  # type: ignore[assignment]  # it is one
    vanishing = Vanishing(store, world.clock)
    assert Galleries(vanishing, world.eyes, clock=world.clock).expire() == 1  # type: ignore[arg-type]  # it passes for one


@pytest.mark.parametrize("moment", [
    "2024-05-17", NOON.replace(tzinfo=None), NOON.date(), 0,
    NEVER.replace(tzinfo=timezone(timedelta(hours=-2))), datetime.min.replace(tzinfo=timezone(timedelta(hours=2))),
])  # fmt: skip
def test_a_moment_that_cannot_be_held_is_refused(moment: object) -> None:
    with pytest.raises(InvalidOption, match="expires_at"):
        Details(expires_at=moment)  # type: ignore[arg-type]  # which is refused


# --- records, and forgetting them


def test_versions_keep_changes_apart(world: World) -> None:
    fill(world, ada=0)
    known = world.gallery.subject("ada")
    changed = world.gallery.update("ada", Details(name="Ada"), version=known.version)
    assert (changed.name, changed.version) == ("Ada", known.version + 1)
    for call in (
        lambda: world.gallery.update("ada", Details(name="Eve"), version=known.version),
        lambda: world.gallery.forget_subject("ada", version=known.version),
    ):
        with pytest.raises(VersionMismatch):
            call()
    assert world.gallery.subject("ada") == changed
    assert world.gallery.forget_subject("ada", version=changed.version).samples == 1
    with pytest.raises(SubjectNotFound):
        world.gallery.update("ada", Details(name="x"))


def test_forgetting_is_receipted(world: World) -> None:
    fill(world, ada=0, ben=5)
    first = world.gallery.enrol_embedding(at(0.125), "ada")
    receipt = world.gallery.forget_sample("ada", first.sample)
    assert (receipt.gallery, receipt.subject, receipt.samples) == ("people", "ada", 1)
    assert (receipt.subjects, receipt.forgotten_at, receipt.overwritten) == ((first.subject.number,), NOON, True)
    assert world.gallery.forget_subject("ada").samples == 1
    whole = world.gallery.forget()
    assert (whole.subject, whole.samples, len(whole.subjects)) == (None, 1, 1)
    assert json.loads(json.dumps(whole.to_dict()))["forgotten_at"] == "2024-05-17T12:00:00Z"


def test_what_is_not_there_cannot_be_forgotten(world: World) -> None:
    fill(world, ada=0, ben=5)
    (sample,) = world.gallery.samples("ada")
    for subject, number in (("ben", sample.id), ("ada", sample.id + 1), ("ada", 0), ("ada", -1), ("ada", 2**70)):
        with pytest.raises(SampleNotFound):
            world.gallery.forget_sample(subject, number)
        with pytest.raises(SampleNotFound):
            world.gallery.picture(subject, number)
    with pytest.raises(SubjectNotFound):
        world.gallery.forget_sample("eve", sample.id)
    world.gallery.forget_sample("ada", sample.id)
    with pytest.raises(SampleNotFound):
        world.gallery.forget_sample("ada", sample.id)
    assert world.gallery.subject("ada").samples == 0
    world.gallery.forget_subject("ada")
    with pytest.raises(SubjectNotFound):
        world.gallery.forget_subject("ada")
    world.gallery.forget()
    with pytest.raises(GalleryNotFound):
        world.galleries.forget("people")


def test_a_picture_that_was_not_kept_is_not_there(world: World) -> None:
    done = world.gallery.enrol(world.eyes.show(b"x", face_at(0)), "ada")
    with pytest.raises(SampleNotFound, match="nothing is stored"):
        world.gallery.picture("ada", done.sample)
    assert "picture" not in world.actions()


def test_pages(world: World) -> None:
    fill(world, **{f"s{n}": 3 * n for n in range(7)})
    first = world.gallery.subjects(limit=4)
    rest = world.gallery.subjects(after=first[-1].number, limit=4)
    assert [subject.id for subject in (*first, *rest)] == [f"s{n}" for n in range(7)]
    assert world.gallery.subjects(after=2**70) == ()
    log = world.gallery.entries(limit=3)
    assert world.gallery.entries(after=log[-1].number, limit=100)[0].number == log[-1].number + 1
    assert world.galleries.entries(after=2**70, limit=2**70) == ()


# --- galleries


def test_galleries_are_bound_to_the_pack(world: World) -> None:
    made = world.galleries.create("other", policy=Policy(keep="chips"))
    assert (made.name, made.record.space, made.record.policy.keep) == ("other", PACK.space, "chips")
    assert [gallery.name for gallery in world.galleries.all()] == ["other", "people"]
    with pytest.raises(GalleryExists):
        world.galleries.create("other")
    with pytest.raises(GalleryNotFound):
        world.galleries.open("nobody")


def test_get_or_create_makes_a_gallery_once(world: World) -> None:
    made = world.galleries.get_or_create("other", policy=Policy(keep="chips"))
    again = world.galleries.get_or_create("other", policy=Policy(keep="images"))
    assert made.record == again.record
    assert again.record.policy.keep == "chips"
    with pytest.raises(InvalidOption, match="1 to 255 of A-Z"):
        world.galleries.get_or_create("No Name")


def test_get_or_create_returns_what_somebody_else_just_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.galleries.create("other")

    def not_yet(_name: str) -> object:
        raise GalleryNotFound("not yet")

    monkeypatch.setattr(world.store, "gallery", not_yet)
    opened = world.galleries.get_or_create("other")
    monkeypatch.undo()
    assert opened.record.name == "other"


def test_what_needs_another_pack_is_refused_and_all_else_works(world: World) -> None:
    fill(world, ada=0)
    eyes = FakeEyes(replace(PACK, preprocessing="another"))
    eyes.show(b"x", face_at(0))
    other = Galleries(world.store, eyes, clock=world.clock)
    gallery = other.open("people")
    for call in (
        lambda: gallery.identify(b"x"),
        lambda: gallery.identify_embeddings(at(0)[None]),
        lambda: gallery.verify(b"x", "ada"),
        lambda: gallery.verify_embedding(at(0), "ada"),
        gallery.audit,
    ):
        with pytest.raises(SpaceMismatch, match=PACK.space.id):
            call()
    assert eyes.looked_at == []
    assert gallery.subject("ada").samples == 1
    assert len(list(gallery.export())) == 2
    assert gallery.export_subject("ada")["id"] == "ada"
    assert other.forget("people").samples == 1


def test_a_backup_holds_the_galleries(world: World, tmp_path: Path) -> None:
    fill(world, ada=0)
    target = tmp_path / "copy.db"
    world.galleries.backup(target)
    copy = Galleries(SqliteStore(target), world.eyes, clock=world.clock)
    (found,) = copy.open("people").identify_embeddings(at(0)[None])
    assert found.match is not None
    for bad, words in ((target, "exists already"), (tmp_path / "none" / "x.db", "x.db cannot be written")):
        with pytest.raises(InvalidOption, match=words):
            world.galleries.backup(bad)
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_a_backup_goes_where_there_are_no_links(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    world.galleries.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").exists()


def test_a_galleries_object_without_a_file_finds_nothing(tmp_path: Path) -> None:
    galleries = Galleries(SqliteStore(tmp_path / "none.db"), FakeEyes())
    assert (galleries.all(), galleries.entries(), galleries.expire()) == ((), (), 0)
    with pytest.raises(GalleryNotFound):
        galleries.open("people")
    with pytest.raises(InvalidOption, match="nothing to back up"):
        galleries.backup(tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


# --- memory and file beneath


def test_a_closed_store_comes_back_with_what_others_wrote(world: World, tmp_path: Path) -> None:
    other = SqliteStore(tmp_path / "galleries.db")
    world.gallery.set_policy(Policy(candidate_threshold=100))
    for number in range(4):  # the counter that SQLite keeps of changes begins anew each time
        assert len(who(world, 0, limit=100).candidates) == number
        world.store.close()
        others = Galleries(other, world.eyes, clock=world.clock).open("people")
        others.enrol_embedding(at(10 + 3 * number), f"s{number}")
        other.close()
    assert len(who(world, 0, limit=100).candidates) == 4


def test_a_file_that_is_replaced_is_the_one_that_is_used(world: World, tmp_path: Path) -> None:
    fill(world, ada=0)
    world.galleries.backup(tmp_path / "copy.db")
    fill(world, ben=5)
    assert who(world, 5).match is not None
    world.store.close()
    os.replace(tmp_path / "copy.db", tmp_path / "galleries.db")  # noqa: PTH105  # as operators do
    assert who(world, 5).match is None
    assert [subject.id for subject in world.gallery.subjects()] == ["ada"]
    fill(world, eve=5)
    assert who(world, 5).match is not None


def test_a_file_that_is_deleted_is_gone(world: World, tmp_path: Path) -> None:
    fill(world, ada=0)
    assert who(world, 0).match is not None
    gallery = world.gallery
    for path in tmp_path.glob("galleries.db*"):
        path.unlink()
    for call in (
        gallery.subjects,
        lambda: gallery.enrol_embedding(at(0)),
        lambda: gallery.identify_embeddings(at(0)[None]),
    ):
        with pytest.raises(GalleryNotFound):
            call()
    assert list(tmp_path.glob("galleries.db")) == []


FORKED = """
import os, pathlib, sys
from service_kinds import at, open_world
from visavis.errors import StoreUnavailable
with open_world(pathlib.Path(sys.argv[1])) as world:
    gallery = world.gallery
    gallery.enrol_embedding(at(0), "ada")
    child = os.fork()
    if child == 0:
        try:
            gallery.subjects()
        except StoreUnavailable as error:
            print(error, flush=True)
        world.store.close()  # which harms nobody
        os._exit(0)
    os.waitpid(child, 0)
    gallery.enrol_embedding(at(5), "ben")
    print(len(gallery.subjects()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_needs_a_store_of_its_own(tmp_path: Path) -> None:
    # Python warns of forks where libraries have threads.
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1] / "support", check=True, capture_output=True, text=True
    )
    refused, subjects = done.stdout.splitlines()
    assert "forked" in refused
    assert subjects == "2"
    with closing(sqlite3.connect(tmp_path / "galleries.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_is_replaced_while_it_is_open(world: World, tmp_path: Path) -> None:
    fill(world, ada=0)
    world.galleries.backup(tmp_path / "copy.db")
    fill(world, ben=5)
    assert who(world, 5).match is not None
    os.replace(tmp_path / "copy.db", tmp_path / "galleries.db")  # noqa: PTH105  # as operators do
    assert who(world, 5).match is None
    assert [subject.id for subject in world.gallery.subjects()] == ["ada"]


def test_a_file_is_replaced_while_somebody_writes(world: World, tmp_path: Path) -> None:
    store: SqliteStore = world.store  # type: ignore[assignment]  # it is one
    fill(world, ada=0)
    world.galleries.backup(tmp_path / "copy.db")
    fill(world, ben=5)
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(store.gallery("people").subjects), daemon=True),
        threading.Thread(target=lambda: fill(world, eve=9), daemon=True),
    ]
    with store._file.writing():  # noqa: SLF001  # who writes for long
        os.replace(tmp_path / "copy.db", tmp_path / "galleries.db")  # noqa: PTH105  # as operators do
        for thread in threads:
            thread.start()
        assert store.gallery("people").subjects == 2  # what was begun is finished in the old file
    for thread in threads:
        thread.join(30)
    assert seen in ([1], [2])
    assert [subject.id for subject in world.gallery.subjects()] == ["ada", "eve"]


def test_somebody_elses_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(VisavisError, match="something else"):
        Galleries(SqliteStore(path), FakeEyes()).create("people")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["other.db"]


def test_what_others_forgot_leaves_this_memory(world: World, tmp_path: Path) -> None:
    store: SqliteStore = world.store  # type: ignore[assignment]  # it is one
    fill(world, ada=0, ben=5)
    who(world, 0)
    others = Galleries(SqliteStore(tmp_path / "galleries.db"), world.eyes, clock=world.clock)
    (loaded,) = store._memory._loaded.values()  # noqa: SLF001  # nobody else can see what is in memory
    assert loaded.index is not None
    assert len(loaded.index) == 2
    others.open("people").forget_subject("ada")
    world.galleries.expire()  # as servers do every minute
    assert len(loaded.index) == 1
    others.forget("people")
    world.galleries.expire()
    assert store._memory._loaded == {}  # noqa: SLF001  # as above
    others.store.close()


def test_the_key_of_a_forgotten_gallery_leaves_this_memory(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "g.db", key=bytes(32))
    galleries = Galleries(store, FakeEyes())
    galleries.create("people")
    galleries.open("people").enrol_embedding(at(0), "ada")
    assert len(store._keys._opened) == 1  # noqa: SLF001  # nobody else can see what is in memory
    galleries.forget("people")
    assert store._keys._opened == {}  # noqa: SLF001  # as above


def test_a_load_that_fails_leaves_what_was_loaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store: SqliteStore = world.store  # type: ignore[assignment]  # it is one
    world.gallery.set_policy(Policy(candidate_threshold=1000, most_candidates=100))
    fill(world, **{f"s{n}": 3 * n for n in range(40)})
    store.close()  # so that all of them are loaded anew
    who(world, 0)
    (loaded,) = store._memory._loaded.values()  # noqa: SLF001  # the failure is to happen inside
    before = loaded.last_sample
    monkeypatch.setattr(memory, "_ROWS_AT_ONCE", 10)
    with monkeypatch.context() as broken:
        calls: list[int] = []

        def fail_later(*arguments: object) -> int:
            calls.append(1)
            if len(calls) > 2:
                raise MemoryError
            return add(*arguments)  # type: ignore[arg-type]  # as they come

        add = memory._add  # noqa: SLF001  # as above
        broken.setattr(memory, "_add", fail_later)
        with pytest.raises(MemoryError):
            store._memory._load(store.gallery("people"), loaded)  # noqa: SLF001  # as above
    assert loaded.last_sample == before
    fill(world, late=200)
    found = who(world, 0, limit=100)
    assert len(found.candidates) == len({candidate.subject for candidate in found.candidates}) == 41
    assert loaded.index is not None
    assert len(loaded.index) == 41


def test_forgetting_in_one_gallery_does_not_reload_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store: SqliteStore = world.store  # type: ignore[assignment]  # it is one
    monkeypatch.setattr(sqlite_store, "_REMOVALS_TOLD", 10)
    monkeypatch.setattr(sqlite_store, "_PRUNED_EVERY", 5)
    world.galleries.create("busy")
    busy = world.galleries.open("busy")
    fill(world, ada=0)
    who(world, 0)
    loaded = store._memory._loaded[world.gallery.record.number]  # noqa: SLF001  # nobody else can see it
    index = loaded.index
    for _ in range(6):
        outcomes = list(map(enrolled, busy.enrol_many([face_of(n) for n in range(6)])))
        store.forget_samples("busy", [outcome.sample for outcome in outcomes], world.galleries._origin())  # noqa: SLF001  # any will do
        assert who(world, 0).match is not None
    assert loaded.index is index


def face_of(number: int) -> Enrolment:
    return Enrolment(subject=f"s{number}", embedding=at(3 * number), quality=GOOD)


def test_numbers_that_are_no_quality_are_refused(world: World) -> None:
    with pytest.raises(InvalidOption, match="sharpness"):
        world.gallery.enrol_embedding(at(0), "ada", quality=Quality(99, np.nan, 1))


def test_every_store_serves(place: Place, tmp_path: Path) -> None:
    with open_world(tmp_path, place.open()) as world:
        fill(world, ada=0, ben=2)
        assert who(world, 0.25).match is not None
        assert world.gallery.verify_embedding(at(0), "ada")
        world.gallery.update("ada", Details(expires_at=NOON + timedelta(hours=1)))
        world.clock.advance(hours=1)
        assert world.galleries.expire() == 1
        assert who(world, 0.25).unknown == "no_match"
        assert world.gallery.forget_subject("ben").samples == 1
        assert world.actions() == [
            "create",
            *["enrol"] * 2,
            "identify",
            "verify",
            "update",
            "expire",
            "identify",
            "forget",
        ]


def test_the_real_eyes_fit(recognizer: Recognizer, tmp_path: Path, astronaut: Path, hopper: Path) -> None:
    galleries = Galleries(SqliteStore(tmp_path / "g.db"), recognizer)
    galleries.create("people")
    gallery = galleries.open("people")
    gallery.enrol(astronaut, "eileen")
    gallery.enrol(hopper, "grace")
    found = gallery.identify_many([hopper, astronaut])
    matches = [each[0].match for each in found if isinstance(each, tuple)]
    assert [match and match.subject for match in matches] == ["grace", "eileen"]
    (blank,) = gallery.identify_many([np.zeros((64, 64, 3), np.uint8)])
    assert blank == ()


def test_two_that_have_a_replaced_file_open_meet_in_the_new_one(world: World, tmp_path: Path) -> None:
    fill(world, ada=0)
    world.galleries.backup(tmp_path / "copy.db")
    with closing(SqliteStore(tmp_path / "galleries.db")) as second:
        others = Galleries(second, world.eyes, clock=world.clock).open("people")
        others.enrol_embedding(at(5), "ben")
        assert who(world, 5).match is not None
        os.replace(tmp_path / "copy.db", tmp_path / "galleries.db")  # noqa: PTH105  # as operators do
        fill(world, eve=9)
        assert [subject.id for subject in others.subjects()] == ["ada", "eve"]
        others.enrol_embedding(at(12), "dan")
        assert [subject.id for subject in world.gallery.subjects()] == ["ada", "eve", "dan"]
        assert who(world, 12).match is not None
    world.store.close()
    with closing(sqlite3.connect(tmp_path / "galleries.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (3,)
