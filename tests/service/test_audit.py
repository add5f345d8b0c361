"""The audit: who is there twice, who looks alike, which samples are not what they seem, and which are poor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_kinds import GOOD, World, at, open_world
from store_kinds import Place

from visavis.core.work import WORK, Stopped, Work
from visavis.options import Policy
from visavis.service.results import LowQuality, Outlier, SubjectPair
from visavis.types import Quality


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


def enrol(world: World, subject: str, *places: float, quality: Quality | None = None) -> list[int]:
    return [world.gallery.enrol_embedding(at(x), subject, quality=quality, allow_conflict=True).sample for x in places]


def test_a_tidy_gallery(world: World) -> None:
    enrol(world, "ada", 0, 0.125, quality=GOOD)
    enrol(world, "ben", 5)
    report = world.gallery.audit()
    assert (report.subjects, report.samples) == (2, 3)
    assert (report.duplicates, report.confusable, report.outliers, report.low_quality) == ((), (), (), ())


def test_an_empty_gallery(world: World) -> None:
    report = world.gallery.audit()
    assert (report.subjects, report.samples, report.duplicates) == (0, 0, ())
    (sample,) = enrol(world, "ada", 0)
    world.gallery.forget_sample("ada", sample)
    assert (world.gallery.audit().subjects, world.gallery.audit().samples) == (1, 0)


def test_duplicates_and_confusable_pairs_by_their_nearest_samples(world: World) -> None:
    _, ada = enrol(world, "ada", -0.5, 0)
    ben, _ = enrol(world, "ben", 0.125, 0.5)
    (eve,) = enrol(world, "eve", 5)
    (dan,) = enrol(world, "dan", 5.375)
    enrol(world, "far", 9)
    enrol(world, "just so far", 9.5)
    report = world.gallery.audit()
    (twice,) = report.duplicates
    assert (twice.a, twice.b, twice.samples, twice.distance) == ("ada", "ben", (ada, ben), 0.125)
    (alike,) = report.confusable
    assert (alike.a, alike.b, alike.samples, alike.distance) == ("eve", "dan", (eve, dan), 0.375)
    assert (twice.probability or 0) > (alike.probability or 1)
    assert isinstance(alike, SubjectPair)


@pytest.mark.parametrize(
    "ids",
    [
        ("Ada", "ada"),
        ("ada lovelace", "adalovelace", "Ada Lovelace"),
        ("ada", "\u0430\u0501\u0430"),  # Cyrillic
        ("NIKO\u03a3", "niko\u03c2", "\u039d\u0399\u039a\u039f\u03a3"),
        ("\ufb01nn", "\uff26inn"),  # a ligature, a wide letter
        ("STRASSE", "stra\xdfe"),
    ],
)
def test_ids_that_look_alike(world: World, ids: tuple[str, ...]) -> None:
    for place, id_ in enumerate((*ids, "bda", "0da", "Fynn")):
        enrol(world, id_, 10 * place)
    assert world.gallery.audit().lookalikes == (tuple(sorted(ids)),)


def test_the_most_urgent_come_first(world: World) -> None:
    for number, gap in enumerate((0.2, 0.05, 0.1)):
        enrol(world, f"a{number}", 10 * number)
        enrol(world, f"b{number}", 10 * number + gap)
    assert [pair.a for pair in world.gallery.audit().duplicates] == ["a1", "a2", "a0"]


def test_samples_unlike_their_subject(world: World) -> None:
    lost, *_ = enrol(world, "ada", 3, 0, 0.125, 0.25)
    _, strange = enrol(world, "ben", 6, 3.25)
    report = world.gallery.audit()
    assert report.outliers == (
        Outlier(subject="ada", sample=lost, distance=2.75, nearest="ben"),
        Outlier(subject="ben", sample=strange - 1, distance=2.75, nearest=None),
        Outlier(subject="ben", sample=strange, distance=2.75, nearest="ada"),
    )


def test_an_outlier_is_one_from_the_threshold_on(world: World) -> None:
    enrol(world, "ada", 0, 0.75)
    enrol(world, "ben", 5, 5.7499)
    assert {outlier.subject for outlier in world.gallery.audit().outliers} == {"ada"}


def test_a_chain_of_samples_has_no_outlier(world: World) -> None:
    enrol(world, "ada", 0, 0.5, 1, 1.5)
    assert world.gallery.audit().outliers == ()


def test_what_todays_policy_would_refuse(world: World) -> None:
    (fine,) = enrol(world, "ada", 0, quality=GOOD)
    world.gallery.set_policy(Policy(min_face_px=0, min_sharpness=0, min_score=0, min_validity=0))
    (small,) = enrol(world, "ada", 0.1, quality=Quality(10, 0.01, 1, validity=0.1))
    enrol(world, "ada", 0.2)  # of which nothing is known
    world.gallery.set_policy(Policy(min_face_px=40, min_sharpness=0.06, min_score=0.5))
    assert fine < small
    assert world.gallery.audit().low_quality == (
        LowQuality(subject="ada", sample=small, reasons=("too_small", "blurred", "invalid_face")),
    )


def test_a_report_is_ready_for_json(world: World) -> None:
    enrol(world, "ada", 0, 3)
    enrol(world, "ben", 0.125)
    plain = json.loads(json.dumps(world.gallery.audit().to_dict()))
    assert plain["duplicates"][0]["samples"] == list(world.gallery.audit().duplicates[0].samples)
    assert {"subjects", "samples", "confusable", "outliers", "low_quality"} < set(plain)


def test_an_audit_is_told(world: World) -> None:
    enrol(world, "ada", 0, 3)
    world.gallery.audit()
    entry = world.gallery.entries()[-1]
    assert (entry.action, entry.count, entry.subjects) == ("audit", 2, ())


@pytest.mark.thorough
def test_many_samples_of_many(place: Place, tmp_path: Path) -> None:
    with open_world(tmp_path, place.open()) as world:
        for number in range(105):  # more than a page of subjects
            enrol(world, f"s{number}", 3 * number)
        enrol(world, "crowd", *(-9 - 0.001 * n for n in range(105)))  # more than a page of samples
        enrol(world, "double", 3)
        report = world.gallery.audit()
        assert (report.subjects, report.samples) == (107, 211)
        assert [(pair.a, pair.b) for pair in report.duplicates] == [("s1", "double")]
        assert (report.outliers, report.confusable) == ((), ())


def test_it_ends_when_nobody_wants_it_any_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    enrol(world, "ada", 0)
    enrol(world, "ben", 5)
    wanted, search, searched = Work(1), world.gallery._store.search, []  # noqa: SLF001  # between the two

    def search_once(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # as it is
        wanted.stop()
        searched.append(arguments)
        return search(*arguments, **options)

    monkeypatch.setattr(world.gallery._store, "search", search_once)  # noqa: SLF001
    token = WORK.set(wanted)
    try:
        with pytest.raises(Stopped):
            world.gallery.audit()
    finally:
        WORK.reset(token)
    assert len(searched) == 1
