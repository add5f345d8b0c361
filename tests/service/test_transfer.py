"""Export and import: what goes out comes in again, and no line, whatever it holds, is more than an error."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_kinds import GOOD, NOON, PACK, FakeEyes, World, at, code_of, enrolled, face_at, open_world

from visavis.errors import InvalidOption, SpaceMismatch, SubjectNotFound, VisavisError
from visavis.galleries.records import Details
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.service.galleries import Galleries
from visavis.service.results import Enrolled
from visavis.service.transfer import enrolment_from_line, has_face
from visavis.types import Quality

DETAILS = Details(
    name="Zoë Ünal 人 😀",
    metadata={"nested": {"list": [1, 2.5, None, True]}, "ü": "é"},
    consent="signed 2024-05-17\nform 3",
    expires_at=NOON + timedelta(days=30, microseconds=1),
)
KNOWN = {"box": [1, 2.5], "image_id": "ü"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, policy=Policy(keep="chips")) as world:
        yield world


@pytest.fixture
def other(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "other").mkdir()
    with open_world(tmp_path / "other", policy=Policy(keep="images")) as other:
        yield other


def fill(world: World) -> None:
    world.gallery.enrol(
        world.eyes.show(b"zoe", face_at(0)), "zoë 人", details=DETAILS, source="door", sample_metadata=KNOWN
    )
    world.gallery.enrol_embedding(at(0.1), "zoë 人", quality=GOOD)
    world.gallery.enrol_embedding(at(1 / 3), "ben", allow_conflict=True)
    done = world.gallery.enrol_embedding(at(9), "empty")
    world.gallery.forget_sample("empty", done.sample)


def line(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  # whatever JSON holds
    return {"subject": "ada", "embedding": [1.0, 0.0, 0.0], **fields}


def test_what_is_exported_can_be_imported(world: World, other: World) -> None:
    fill(world)
    lines = [json.loads(json.dumps(each)) for each in world.gallery.export(pictures=True)]
    assert lines[0]["visavis_export"] == 1
    assert lines[0]["space"]["id"] == PACK.space.id
    assert len(lines) == 5
    outcomes = [enrolled(outcome) for outcome in other.gallery.import_lines(lines)]
    assert len(outcomes) == 3  # a subject without samples asks for nothing
    here, there = world.gallery.subject("zoë 人"), other.gallery.subject("zoë 人")
    for name in ("id", "name", "metadata", "consent", "expires_at", "samples"):
        assert getattr(here, name) == getattr(there, name)
    for subject in ("zoë 人", "ben"):
        for mine, theirs in zip(world.gallery.samples(subject), other.gallery.samples(subject), strict=True):
            np.testing.assert_array_equal(mine.embedding, theirs.embedding)
            assert (mine.quality, mine.source, mine.metadata) == (theirs.quality, theirs.source, theirs.metadata)
    (first, second) = other.gallery.samples("zoë 人")
    assert (first.metadata, second.metadata) == (KNOWN, {})
    chip = world.gallery.picture("zoë 人", world.gallery.samples("zoë 人")[0].id)
    assert other.gallery.picture("zoë 人", first.id) == chip
    assert second.picture == "nothing"


def test_pictures_are_exported_when_they_are_asked_for(world: World) -> None:
    fill(world)
    assert {each.get("picture") for each in world.gallery.export()} == {None}


def test_an_export_of_nobody_is_a_header(world: World, other: World) -> None:
    lines = list(world.gallery.export())
    assert len(lines) == 1
    assert list(other.gallery.import_lines(lines)) == []


def test_an_export_goes_page_by_page(world: World) -> None:
    embeddings = [line(subject=f"s{n % 120}", embedding=[1, n, 0]) for n in range(360)]
    assert all(isinstance(outcome, Enrolled) for outcome in world.gallery.import_lines(embeddings))
    assert len(list(world.gallery.export())) == 361
    many = [line(subject="many", embedding=[1, -n - 1, 0]) for n in range(200)]
    list(world.gallery.import_lines(many))
    assert len(world.gallery.samples("many")) == 200


def test_who_is_forgotten_during_an_export_is_not_in_it(world: World) -> None:
    fill(world)
    lines = world.gallery.export()
    next(lines)
    next(lines)
    for subject in ("ben", "empty"):
        world.gallery.forget_subject(subject)
    assert {each["subject"] for each in lines} == {"zoë 人"}


def test_an_import_may_be_repeated_with_keys(world: World) -> None:
    lines = [line(key=f"k{n}", embedding=[1, n, 0], subject=f"s{n}") for n in range(3)]
    for repeated in (False, True):
        assert [enrolled(outcome).repeated for outcome in world.gallery.import_lines(lines)] == [repeated] * 3


def test_an_import_may_insist_on_no_conflicts(world: World) -> None:
    lines = [line(), line(subject="ben")]
    assert [isinstance(each, Enrolled) for each in world.gallery.import_lines(lines)] == [True, True]
    (refused,) = world.gallery.import_lines([line(subject="eve")], allow_conflict=False)
    assert code_of(refused) == "conflict"


def test_the_policy_holds_for_imports(world: World) -> None:
    world.gallery.set_policy(Policy(consent_required=True))
    poor = {"face_px": 1, "sharpness": 1, "score": 1}
    lines = [line(), line(consent="yes", quality=poor), line(consent="yes", quality=None)]
    first, second, third = world.gallery.import_lines(lines)
    assert (code_of(first), code_of(second), enrolled(third).subject.consent) == ("consent_missing", "too_small", "yes")


@pytest.mark.parametrize("header", [
    {"visavis_export": 2},
    {"visavis_export": "x" * 100_000},
    {"visavis_export": None},
    {"visavis_export": 1},
    {"visavis_export": 1, "space": "df2e"},
    {"visavis_export": 1, "space": {"id": 5}},
])  # fmt: skip
def test_a_foreign_header_ends_an_import(world: World, header: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption) as caught:
        list(world.gallery.import_lines([header, line()]))
    assert len(str(caught.value)) < 300
    assert world.gallery.subjects() == ()


def test_a_header_of_another_space_ends_an_import(world: World, other: World) -> None:
    fill(other)
    foreign = Galleries(other.store, FakeEyes(replace(PACK, preprocessing="another"))).open("people")
    lines = list(foreign.export())
    lines[0]["space"] = {**lines[0]["space"], "id": "0" * 100_000}
    with pytest.raises(SpaceMismatch) as caught:
        list(world.gallery.import_lines(lines))
    assert len(str(caught.value)) < 400
    assert world.gallery.subjects() == ()


@pytest.mark.parametrize(("fields", "name"), [
    ({"subject": 5}, "subject"),
    ({"name": ["x"]}, "name"),
    ({"metadata": "x"}, "metadata"),
    ({"consent": True}, "consent"),
    ({"source": {}}, "source"),
    ({"key": 1}, "key"),
    ({"expires_at": "tomorrow"}, "expires_at"),
    ({"expires_at": "x" * 100_000}, "expires_at"),
    ({"expires_at": 5}, "expires_at"),
    ({"expires_at": "9999-12-31T23:59:59-02:00"}, "expires_at"),
    ({"quality": {}}, "quality"),
    ({"quality": {"face_px": 10**400, "sharpness": 1, "score": 1}}, "quality"),
    ({"quality": {"face_px": True, "sharpness": 1, "score": 1}}, "quality"),
    ({"quality": {"face_px": 1, "sharpness": 1, "score": None}}, "quality"),
    ({"quality": {"face_px": 1, "sharpness": 1, "score": 1, "yaw": "left"}}, "quality"),
    ({"quality": {"face_px": 1, "sharpness": 1, "score": 1, "roll": 1}}, "quality"),
    ({"quality": {"sharpness": 1, "score": 1, "yaw": 1, "pitch": 1}}, "quality"),
    ({"picture": "no base64!"}, "picture"),
    ({"picture": "ü"}, "picture"),
    ({"embedding": "text"}, "embedding"),
    ({"embedding": {"a": 1}}, "embedding"),
    ({"unknown": 1}, "unknown"),
    ({"x" * 100_000: 1}, "x"),
])  # fmt: skip
def test_an_error_names_the_field(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        enrolment_from_line(line(**fields))
    assert str(caught.value).startswith(name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("embedding", [
    [], [1, 2], [1, 2, 3, 4], ["1", "2", "3"], [True, True, True], [None, 1, 2], [[1], [2], [3]], [1, 2, [3]],
    [1, 2, 1e300], [10**400, 1, 1], [0, 0, 0], [{}, 1, 2], [float("nan"), 1, 1],
])  # fmt: skip
def test_a_bad_embedding_is_the_error_of_its_line(world: World, embedding: list[Any]) -> None:
    bad, good = world.gallery.import_lines([line(embedding=embedding), line()])
    assert code_of(bad) == "invalid_embedding"
    assert isinstance(good, Enrolled)


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ({}, (None, None)),
        ({"yaw": None, "pitch": None}, (None, None)),
        ({"yaw": -3}, (-3, None)),
        ({"pitch": 0.5}, (None, 0.5)),
    ],
)
def test_angles_of_a_quality_may_be_missing(
    angles: dict[str, Any], expected: tuple[float | None, float | None]
) -> None:
    quality = enrolment_from_line(line(quality={"face_px": 99, "sharpness": 1, "score": 1, **angles})).quality
    assert quality == Quality(99, 1, 1, *expected)


def test_exports_of_an_older_version_are_imported(world: World, other: World) -> None:
    """Which knew no angles, and policies that leave no limit to the pack."""
    world.gallery.enrol_embedding(at(0), "ada", quality=Quality(99, 1, 1, yaw=3.5, pitch=-2.0))
    header, ada = world.gallery.export()
    assert header["policy"] == Policy(keep="chips").to_dict()
    assert ada["quality"] == {"face_px": 99, "sharpness": 1, "score": 1, "yaw": 3.5, "pitch": -2.0}
    for name in ("max_yaw", "max_pitch", "require_live"):
        del header["policy"][name]
    header["policy"] |= {"min_face_px": 40.0, "min_score": 0.9}
    for name in ("yaw", "pitch"):
        del ada["quality"][name]
    (outcome,) = other.gallery.import_lines([header, ada])
    assert enrolled(outcome).subject.id == "ada"
    assert other.gallery.samples("ada")[0].quality == Quality(99, 1, 1)


def test_times_are_read_as_iso_8601() -> None:
    for text in (
        "2024-06-01T12:00:00Z",
        "2024-06-01T12:00:00",
        "2024-06-01T14:00:00+02:00",
        "2024-06-01T12:00:00.000Z",
    ):
        moment = enrolment_from_line(line(expires_at=text)).details.expires_at
        assert moment is not None
        assert moment.isoformat() == "2024-06-01T12:00:00+00:00"


def test_a_line_may_come_with_an_image() -> None:
    enrolment = enrolment_from_line({"subject": "ada"}, image=b"image")
    assert (enrolment.image, enrolment.embedding) == (b"image", None)
    with pytest.raises(InvalidOption, match="not both"):
        enrolment_from_line(line(), image=b"image")


def test_what_asks_for_an_enrolment() -> None:
    assert has_face(line())
    assert has_face({"subject": "ada"})  # and is an error then
    assert not has_face({"subject": "ada", "embedding": None})
    assert not has_face({"visavis_export": 1})


TEXT = st.text(st.characters(), max_size=8)  # lone surrogates too, as JSON may hold them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
NAMES = ("subject", "name", "metadata", "consent", "expires_at", "embedding", "quality", "source", "key", "picture")
LINES = (
    JSON
    | st.dictionaries(st.sampled_from(NAMES), JSON)
    | st.dictionaries(st.sampled_from(NAMES), JSON).map(lambda fields: {"embedding": [1.0, 0.0, 0.0], **fields})
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=5))
def test_any_line_is_enrolled_or_an_error(world: World, lines: list[Any]) -> None:
    outcomes = list(world.gallery.import_lines([*lines, line(subject="last")]))
    assert all(isinstance(outcome, Enrolled | VisavisError) for outcome in outcomes)
    assert len(outcomes) == 1 + sum(has_face(each) for each in lines)
    assert enrolled(outcomes[-1]).subject.id == "last"
    assert len(json.dumps(list(world.gallery.export()), allow_nan=False)) > 0
    for subject in world.gallery.subjects(limit=1000):
        world.gallery.forget_subject(subject.id)


# --- all that is known of one


def test_a_subject_gets_all_that_is_stored_of_it(world: World) -> None:
    fill(world)
    world.gallery.identify_embeddings(at(0)[None])
    plain = json.loads(json.dumps(world.gallery.export_subject("zoë 人")))
    assert (plain["gallery"], plain["id"], plain["name"]) == ("people", "zoë 人", DETAILS.name)
    first, second = plain["sample_list"]
    assert first["embedding"] == world.gallery.samples("zoë 人")[0].embedding.tolist()
    assert base64.b64decode(first["picture_data"]).startswith(b"\x89PNG")
    assert second["picture_data"] is None
    assert [entry["action"] for entry in plain["log"]] == ["enrol", "enrol", "identify", "export"]
    with pytest.raises(SubjectNotFound):
        world.gallery.export_subject("nobody")


def test_an_export_is_told_even_if_nobody_reads_it(world: World) -> None:
    world.gallery.export()
    assert world.actions()[-1] == "export"


def test_an_encrypted_gallery_exports_as_others_do(tmp_path: Path, other: World) -> None:
    (tmp_path / "sealed").mkdir()
    with open_world(tmp_path / "sealed", SqliteStore(tmp_path / "sealed.db", key=bytes(32))) as sealed:
        fill(sealed)
        assert sealed.gallery.record.encrypted
        assert len([enrolled(outcome) for outcome in other.gallery.import_lines(sealed.gallery.export())]) == 3
