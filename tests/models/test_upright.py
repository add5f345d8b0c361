"""Photos that lie turned, or are degraded: recognised upright, or not decided about."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from visavis import NoFace, Recognizer
from visavis.core.orientation import turned_back
from visavis.core.pyramid import cost_of
from visavis.core.work import WORK, Work
from visavis.types import SizeWH, Verification

PEOPLE = ("collins", "hopper", "obama")
BLANK = np.full((1200, 1600, 3), 127, np.uint8)


@pytest.fixture(scope="module", params=["sface", "open", pytest.param("dlib", marks=pytest.mark.thorough)])
def seeing(request: pytest.FixtureRequest, open_models: Path, cache_dir: Path) -> Recognizer:
    return Recognizer(request.param, precision="f32", cache_dir=cache_dir, models_dir=open_models, threads=1)


@pytest.fixture
def searched(seeing: Recognizer, monkeypatch: pytest.MonkeyPatch) -> list[SizeWH]:
    """The sizes that the detector is asked to search, in order."""
    sizes: list[SizeWH] = []
    kind = type(vars(seeing)["_models"].detector)
    find = kind.find

    def counted(self, image, size_wh, **one):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202  # as it is
        sizes.append(size_wh)
        return find(self, image, size_wh, **one)

    monkeypatch.setattr(kind, "find", counted)
    return sizes


@pytest.fixture
def counting() -> Iterator[Work]:
    work = Work(1e12)
    token = WORK.set(work)
    yield work
    WORK.reset(token)


@pytest.mark.parametrize("who", PEOPLE)
def test_a_turned_photo_is_recognised(seeing: Recognizer, test_data: Path, who: str) -> None:
    folder = test_data / "cases" / "sideways"
    (upright,) = seeing.detect(folder / f"{who}-0.jpg", faces="largest")
    assert upright.turned is None
    assert "turned" not in upright.to_dict()
    for degrees in (90, 180, 270):
        answer = seeing.verify(folder / f"{who}-{degrees}.jpg", folder / f"{who}-0.jpg")
        assert (answer.decision, answer.reason) == ("same", None)
        lying, _ = answer.faces
        assert lying.turned in (90, 180, 270)
        quarters = lying.turned // 90
        size_wh = _size_of(folder / f"{who}-{degrees}.jpg")
        expected = turned_back(upright.landmarks, quarters, size_wh)
        np.testing.assert_allclose(lying.landmarks, expected, atol=0.06 * float(np.ptp(upright.box_xyxy[::2])))
        corners = turned_back(upright.box_xyxy.reshape(2, 2), quarters, size_wh)
        box = [*corners.min(axis=0), *corners.max(axis=0)]
        np.testing.assert_allclose(lying.box_xyxy, box, atol=0.15 * float(np.ptp(upright.box_xyxy[::2])))


def test_an_upright_portrait_is_searched_once(seeing: Recognizer, searched: list[SizeWH], astronaut: Path) -> None:
    assert seeing.detect(astronaut, faces="largest")
    assert len(searched) == 1


def test_an_image_without_faces_costs_less_than_twice_as_much(
    seeing: Recognizer, searched: list[SizeWH], counting: Work
) -> None:
    assert seeing.detect(BLANK) == ()
    assert len(searched) == 4
    assert counting.spent == sum(map(cost_of, searched)) < 2 * cost_of(searched[0])
    sides = {tuple(sorted(size)) for size in searched[1:]}
    assert len(sides) == 1


@pytest.mark.parametrize("kind", ["halftone.png", "jpegq3.png", "negative.jpg", "noise.jpg", "pixelated.png"])
def test_degraded_photos_of_different_people_are_not_the_same(seeing: Recognizer, test_data: Path, kind: str) -> None:
    for a, b in combinations([test_data / "cases" / "degenerate" / f"{who}-{kind}" for who in PEOPLE], 2):
        answer = _answer(seeing, a, b)
        assert answer is None or answer.decision != "same"


def _answer(seeing: Recognizer, a: Path, b: Path) -> Verification | None:
    try:
        return seeing.verify(a, b, fmr="lenient" if seeing.pack.rates else None)
    except NoFace:
        return None


def _size_of(path: Path) -> SizeWH:
    with PIL.Image.open(path) as image:
        width, height = image.size
    return width, height
