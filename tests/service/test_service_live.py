"""Live faces, false match rates and poses in galleries: per call, and as the policy says."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_kinds import PACK, World, at, code_of, enrolled, face_at, open_world

from visavis import Recognizer
from visavis.core.decide import ErrorRates, OperatingPoint, is_live
from visavis.errors import ExtremePose, InvalidOption, NotLive
from visavis.galleries.sqlite.store import SqliteStore
from visavis.models.catalogue.shared import LIVENESS
from visavis.models.recognizer import Observed
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.galleries import Galleries
from visavis.types import Attributes, Quality

RATES = ErrorRates((OperatingPoint(1e-4, 0.125, 0.0625, 0.1875), OperatingPoint(1e-2, 0.625, 0.5, 0.75)), "a test")
SEEING = replace(PACK, optional=(LIVENESS,), rates=RATES)
TURNED = Quality(200.0, 0.25, 1.0, yaw=-50.0, pitch=20.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        world.eyes.pack = SEEING
        yield world


def looking(x: float, liveness: float | None) -> Observed:
    """Return a face with that embedding, and how live it looks."""
    seen = face_at(x)
    return replace(seen, face=replace(seen.face, attributes=Attributes(liveness=liveness)))


# --- liveness


def test_nobody_looks_for_live_faces_unless_asked(world: World) -> None:
    image = world.eyes.show(b"print", looking(0, None))
    world.gallery.enrol(image, "ada")
    world.gallery.identify(image)
    world.gallery.verify(image, "ada")
    assert not world.eyes.asked
    world.gallery.identify(image, require_live=True)
    assert world.eyes.asked == ("liveness",)


def test_a_print_is_nobody(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    image = world.eyes.show(b"print and face", looking(0, 0.2), looking(0, 0.9))
    shown, live = world.gallery.identify(image, require_live=True)
    assert (shown.unknown, shown.match, len(shown.candidates)) == ("not_live", None, 1)
    assert live.match is not None
    (none,) = world.gallery.identify_many([world.eyes.show(b"empty street")], require_live=True)
    assert none == ()


def test_a_print_is_not_verified(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    image = world.eyes.show(b"print", looking(0, 0.2))
    with pytest.raises(NotLive, match="looks like a print or a screen"):
        world.gallery.verify(image, "ada", require_live=True)
    assert "verify" not in world.actions()
    assert world.gallery.verify(world.eyes.show(b"face", looking(0, 0.5)), "ada", require_live=True)


def test_a_policy_gates_everything(world: World) -> None:
    world.gallery.set_policy(Policy(require_live=True))
    shown, live = world.eyes.show(b"print", looking(0, 0.2)), world.eyes.show(b"face", looking(0, 0.9))
    with pytest.raises(NotLive):
        world.gallery.enrol(shown, "ada")
    refused, taken, embedded = world.gallery.enrol_many([
        Enrolment(subject="ada", image=shown),
        Enrolment(subject="ada", image=live),
        Enrolment(subject="ada", embedding=at(0)),  # of which nobody can tell
    ])  # fmt: skip
    assert code_of(refused) == "not_live"
    assert (enrolled(taken).subject.id, enrolled(embedded).subject.samples) == ("ada", 2)
    assert world.gallery.identify(shown)[0].unknown == "not_live"
    assert world.gallery.identify(live, require_live=False)[0].match
    with pytest.raises(NotLive):
        world.gallery.verify(shown, "ada", require_live=False)
    assert world.gallery.identify_embeddings(at(0)[None])[0].match
    assert world.gallery.verify_embedding(at(0), "ada")


def test_a_pack_that_cannot_tell_is_refused(world: World) -> None:
    world.eyes.pack = PACK
    with pytest.raises(InvalidOption, match="require_live: the pack 'line'"):
        world.gallery.set_policy(Policy(require_live=True))
    with pytest.raises(InvalidOption, match="require_live"):
        world.galleries.create("live", policy=Policy(require_live=True))
    assert [gallery.name for gallery in world.galleries.all()] == ["people"]


def test_a_policy_may_be_set_by_who_has_other_eyes(world: World) -> None:
    world.eyes.pack = replace(PACK, preprocessing="another")
    assert world.gallery.set_policy(Policy(require_live=True)).policy.require_live


def test_real_eyes_without_the_part_say_so(recognizer: Recognizer, tmp_path: Path, astronaut: Path) -> None:
    with closing(SqliteStore(tmp_path / "g.db")) as store:
        galleries = Galleries(store, recognizer)
        galleries.create("people")
        gallery = galleries.open("people")
        gallery.enrol(astronaut, "eileen")
        for call in (
            lambda: gallery.identify(astronaut, require_live=True),
            lambda: gallery.verify(astronaut, "eileen", require_live=True),
        ):
            with pytest.raises(InvalidOption, match="tells no liveness"):
                call()


def test_real_eyes_look(recognizer_open: Recognizer, tmp_path: Path, astronaut: Path, hopper: Path) -> None:
    with closing(SqliteStore(tmp_path / "g.db")) as store:
        galleries = Galleries(store, recognizer_open)
        galleries.create("people")
        gallery = galleries.open("people")
        for image in (astronaut, hopper):
            (face,) = recognizer_open.detect(image, faces="largest", attributes=("liveness",))
            live = is_live(face.attributes)
            gallery.enrol(image, image.stem, faces="largest")
            (found,) = gallery.identify(image, faces="largest", require_live=True)
            assert (found.unknown == "not_live") == (not live)
            gallery.set_policy(Policy(require_live=True))
            (outcome,) = gallery.enrol_many([Enrolment(image=image, subject=image.stem)], faces="largest")
            assert live or code_of(outcome) == "not_live"
            gallery.set_policy(Policy())


# --- rates


def test_a_rate_in_place_of_a_threshold(world: World) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    image = world.eyes.show(b"x", face_at(0.3))
    for fmr, threshold, rate in (
        (1e-4, 0.12, 1e-4),
        ("strict", 0.12, 1e-4),
        (1e-3, 0.37, 1e-3),
        ("lenient", 0.62, 1e-2),
    ):
        (found,) = world.gallery.identify(image, fmr=fmr)  # type: ignore[arg-type]  # of the table
        assert found.threshold == pytest.approx(threshold)
        assert found.fmr == pytest.approx(rate)
        assert (found.match is not None) == (threshold > 0.3)
        assert world.gallery.identify_embeddings(at(0.3)[None], fmr=fmr)[0].to_dict() == {  # type: ignore[arg-type]  # likewise
            **found.to_dict(),
            "face": None,
        }
    assert world.gallery.identify(image)[0].fmr is None


@pytest.mark.parametrize(
    ("x", "fmr", "same", "decision"),
    [
        (0.7, None, True, "same"),
        (0.75, None, False, "different"),
        (0.45, 1e-2, True, "same"),
        (0.55, 1e-2, True, "uncertain"),
        (0.7, 1e-2, False, "uncertain"),
        (0.8, "lenient", False, "different"),
    ],
)
def test_verification_decides_at_a_rate(world: World, x: float, fmr: Any, same: bool, decision: str) -> None:  # noqa: ANN401, FBT001  # of the table
    world.gallery.enrol_embedding(at(0), "ada")
    found = world.gallery.verify_embedding(at(x), "ada", fmr=fmr)
    assert (found.same, found.decision, bool(found)) == (same, decision, same)
    assert found.fmr == (None if fmr is None else pytest.approx(1e-2))
    by_image = world.gallery.verify(world.eyes.show(b"x", face_at(x)), "ada", fmr=fmr)
    assert by_image.to_dict() | {"face": None} == found.to_dict()


@pytest.mark.parametrize("wrong", [{"fmr": 1e-9}, {"fmr": "lax"}, {"fmr": np.nan}, {"fmr": 1e-3, "threshold": 0.5}])
def test_what_is_no_rate_is_refused_before_anything_is_looked_at(world: World, wrong: dict[str, Any]) -> None:
    world.gallery.enrol_embedding(at(0), "ada")
    for call in (
        lambda: world.gallery.identify(b"unseen", **wrong),
        lambda: world.gallery.identify_embeddings(at(0)[None], **wrong),
        lambda: world.gallery.verify(b"unseen", "ada", **wrong),
        lambda: world.gallery.verify_embedding(at(0), "ada", **wrong),
    ):
        with pytest.raises(InvalidOption, match="fmr"):
            call()
    assert world.eyes.looked_at == []


def test_without_measured_rates_there_is_a_way_out(world: World) -> None:
    world.eyes.pack = replace(SEEING, rates=None)
    with pytest.raises(InvalidOption, match="visavis calibrate"):
        world.gallery.identify(b"unseen", fmr=1e-3)


# --- poses


def test_a_head_that_is_turned_is_not_enrolled_and_still_identified(world: World) -> None:
    world.gallery.set_policy(Policy(max_yaw=49.5))
    image = world.eyes.show(b"x", face_at(0, TURNED))
    with pytest.raises(ExtremePose, match=r"sideways by about 50 degrees; 49\.5 are allowed"):
        world.gallery.enrol(image, "ada")
    world.gallery.set_policy(Policy(max_yaw=50, max_pitch=19))
    with pytest.raises(ExtremePose, match="up or down by about 20 degrees"):
        world.gallery.enrol(image, "ada")
    world.gallery.set_policy(Policy(max_yaw=50, max_pitch=20))
    world.gallery.enrol(image, "ada")
    assert world.gallery.samples("ada")[0].quality == TURNED
    world.gallery.set_policy(Policy(max_yaw=0))
    assert world.gallery.identify(image)[0].match
    assert [low.reasons for low in world.gallery.audit().low_quality] == [("extreme_pose",)]


@pytest.mark.parametrize("limit", [-1, np.nan, np.inf, "40", True])
@pytest.mark.parametrize("name", ["max_yaw", "max_pitch", "min_score", "probe_min_sharpness"])
def test_a_limit_is_a_number_from_0_on(name: str, limit: object) -> None:
    with pytest.raises(InvalidOption, match=f"{name} must be a finite number of 0 or more"):
        Policy(**{name: limit})  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("angles", [{"yaw": np.nan}, {"pitch": np.inf}, {"yaw": "x"}])
def test_an_angle_is_a_finite_number(world: World, angles: dict[str, Any]) -> None:
    (outcome,) = world.gallery.enrol_many([Enrolment(embedding=at(0), quality=Quality(99, 1, 1, **angles))])
    assert code_of(outcome) == "invalid_option"
