"""Which face of an image counts: the one that is large and central, and how little it takes to find it."""

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from conftest import read_pixels
from effort import effort, scaled
from numpy.typing import NDArray

from visavis import MultipleFaces, NoFace, Recognizer
from visavis.core.geometry import LEAST_RIVAL, areas, most_prominent, prominence
from visavis.core.pyramid import Canvas
from visavis.models import anchor_free
from visavis.models.dlib import detector as dlib_detector
from visavis.options import FacesPolicy

Floats = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
WH = (200, 100)


def box(x: float, y: float, side: float) -> list[float]:
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def chosen(boxes: list[list[float]], scores: list[float] | None = None, off_centre: float = 2.0) -> list[int]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    known = np.array(scores or [1.0] * len(array), np.float32)
    return [int(place) for place in most_prominent(array, areas(array), known, WH, off_centre)]


CENTRAL, ASIDE = box(100, 50, 40), box(160, 50, 44)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([ASIDE], [0], id="one"),
        pytest.param([ASIDE, CENTRAL], [1], id="a little smaller, and central"),
        pytest.param([box(110, 50, 60), CENTRAL], [0], id="much larger, and hardly aside"),
        pytest.param([box(160, 50, 60), box(100, 50, 40)], [0], id="less than half as large does not count"),
        pytest.param([box(160, 50, 60), box(100, 50, 41)], [1], id="half as large does"),
        pytest.param([box(-500, 50, 44), box(650, 50, 44)], [1], id="both far outside"),
    ],
)
def test_the_most_prominent_of_boxes(boxes: list[list[float]], expected: list[int]) -> None:
    assert chosen(boxes) == expected
    assert chosen([[30 * edge for edge in each] for each in boxes], off_centre=0.0) == chosen(boxes, off_centre=0.0)


def test_without_a_weight_it_is_the_largest_and_of_equals_the_clearest() -> None:
    assert chosen([ASIDE, CENTRAL], off_centre=0.0) == [0]
    assert chosen([box(100, 20, 30), box(100, 80, 30)], [0.9, 0.95]) == [1]


def test_prominence_is_a_length_squared() -> None:
    boxes = np.array([CENTRAL, ASIDE], np.float32)
    once, thrice = (prominence(k * boxes, areas(k * boxes), (200 * k, 100 * k), 2.0) for k in (1, 3))
    assert once.tolist() == pytest.approx([1600, 44**2 - 2 * 60**2])
    assert thrice.tolist() == pytest.approx((9 * once).tolist())


@pytest.fixture(params=["dlib", "open"])
def either(request: pytest.FixtureRequest) -> Recognizer:
    name = {"dlib": "recognizer", "open": "recognizer_open"}[request.param]
    found: Recognizer = request.getfixturevalue(name)
    return found


def scene(pixels: UInt8, *faces: tuple[int, int, int], wh: tuple[int, int] = (900, 500)) -> UInt8:
    """Return a picture with the astronaut's head, (left, top, side) each."""
    picture = np.full((wh[1], wh[0], 3), 90, np.uint8)
    for left, top, side in faces:
        picture[top : top + side, left : left + side] = cv2.resize(pixels[20:220, 120:320], (side, side))
    return picture


def middle(recognizer: Recognizer, picture: UInt8, faces: FacesPolicy) -> float:
    (face,) = recognizer.detect(picture, faces=faces)
    return float(face.box_xyxy[[0, 2]].mean())


def test_the_central_face_beside_a_larger_one(either: Recognizer, astronaut_pixels: UInt8) -> None:
    picture = scene(astronaut_pixels, (330, 130, 240), (600, 100, 290))
    assert 330 < middle(either, picture, "prominent") < 570
    assert middle(either, picture, "largest") > 600
    with pytest.raises(MultipleFaces, match="2 faces"):
        either.detect(picture, faces="main")


@pytest.mark.thorough
def test_a_small_central_face_is_a_by_stander(either: Recognizer, astronaut_pixels: UInt8) -> None:
    picture = scene(astronaut_pixels, (400, 180, 130), (560, 100, 330))
    assert len(either.detect(picture)) == 2
    assert middle(either, picture, "prominent") > 560
    assert middle(either, picture, "main") > 560
    with pytest.raises(MultipleFaces):
        either.detect(picture, faces="only")
    with pytest.raises(NoFace):
        either.detect(scene(astronaut_pixels), faces="main")


def test_verify_takes_the_prominent_face(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    pictures = [read_pixels(path) for path in (astronaut, hopper)]
    beside = np.full((600, 1200, 3), 90, np.uint8)
    beside[100:400, 450:750] = pictures[0][:300, 100:400]
    beside[80:350, 800:1070] = cv2.resize(pictures[1][:400, 100:500], (270, 270))
    assert recognizer.verify(beside, astronaut)
    assert not recognizer.verify(beside, astronaut, faces="largest")


@scaled
def test_it_is_what_a_search_of_everything_would_choose(recognizer_open: Recognizer, test_data: Path) -> None:
    for path in sorted((test_data / "images").glob("groups/*.jpg"))[:: effort(4, 1)]:
        everything = recognizer_open.detect(path)
        found = recognizer_open.detect(path, faces="prominent")
        boxes = np.array([face.box_xyxy for face in everything], np.float32).reshape(-1, 4)
        height, width = read_pixels(path).shape[:2]
        sizes, scores = areas(boxes), np.array([face.score for face in everything], np.float32)
        places = most_prominent(boxes, sizes, scores, (width, height), 2.0)
        assert [face.to_dict() for face in found] == [everything[place].to_dict() for place in places], path.name
        large = [face for face, size in zip(everything, sizes, strict=True) if size >= LEAST_RIVAL * sizes.max()]
        if len(large) == 1:
            (main,) = recognizer_open.detect(path, faces="main")
            assert main.to_dict() == large[0].to_dict()


@pytest.mark.parametrize("left", [300, 340, 560], ids=["middle", "near", "aside"])
@pytest.mark.parametrize("size", [300, pytest.param(200, marks=pytest.mark.thorough)])
def test_a_portrait_costs_no_more(
    either: Recognizer, astronaut_pixels: UInt8, monkeypatch: pytest.MonkeyPatch, left: int, size: int
) -> None:
    """Pixels that networks see: as many as for the largest face, unless another one could be more prominent."""
    picture = scene(astronaut_pixels, (left + (300 - size) // 2, 100, size))
    module: ModuleType = dlib_detector if either.pack.name == "dlib" else anchor_free
    plain, seen = module.paint, []

    def counting(canvas: Canvas, *rest: object) -> UInt8:
        painted: UInt8 = plain(canvas, *rest)
        seen.append(painted.shape[0] * painted.shape[1])
        return painted

    monkeypatch.setattr(module, "paint", counting)
    counts = []
    choices: tuple[FacesPolicy, ...] = ("largest", "prominent", "all")
    for choice in choices:
        seen.clear()
        assert len(either.detect(picture, faces=choice, min_face=0.04)) == 1
        counts.append(sum(seen))
    assert counts[0] <= counts[1] <= 1.05 * counts[2]
    assert left > 340 or counts[1] == counts[0]
