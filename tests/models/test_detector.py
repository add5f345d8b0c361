"""The detector on inputs of every shape."""

import numpy as np
import PIL.Image
import pytest
from conftest import many_faces
from effort import effort, scaled
from numpy.typing import NDArray

from visavis import InvalidOption, Recognizer
from visavis.core.geometry import iou
from visavis.core.pyramid import search_size

WINDOW = 80  # of dlib's detector
FACE = np.array([[167, 66, 266, 165]], np.float32)  # of the astronaut


def overlap(face: NDArray[np.float32], wanted: NDArray[np.float32] = FACE) -> float:
    return float(iou(face[None], wanted)[0, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (4, 4), (5, 5), (2, 3000), (3000, 2), (1, 10_000)])
@pytest.mark.parametrize("faces", ["all", "prominent", "largest"])
def test_tiny_images_show_no_face(recognizer: Recognizer, shape: tuple[int, int], faces: str) -> None:
    assert recognizer.detect(np.full((*shape, 3), 127, np.uint8), faces=faces) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("faces", ["all", "prominent", "largest"])
def test_a_portrait(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8], faces: str) -> None:
    (face,) = recognizer.detect(astronaut_pixels, faces=faces)  # type: ignore[arg-type]
    assert overlap(face.box_xyxy) > 0.6
    assert face.score > 0.9
    left, top, right, bottom = face.box_xyxy
    assert (face.landmarks > (left, top)).all()
    assert (face.landmarks < (right, bottom)).all()
    assert face.embedding is None


@scaled
@pytest.mark.parametrize("faces", ["all", "prominent", "largest"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_long_strip(
    recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8], faces: str, *, transposed: bool
) -> None:
    length = effort(2500, 10_000)
    middle = length // 2
    strip = np.zeros((100, length, 3), np.uint8)
    face = np.asarray(PIL.Image.fromarray(astronaut_pixels[20:220, 120:320]).resize((100, 100)))
    strip[:, middle : middle + 100] = face
    if transposed:
        strip = strip.transpose(1, 0, 2)
        strip[middle : middle + 100] = face
    # By a fraction, a strip so long is not enlarged, and its face would be too small.
    (found,) = recognizer.detect(strip, faces=faces, min_face=40)  # type: ignore[arg-type]
    wanted = np.array([[middle + 23, 23, middle + 73, 73]], np.float32)
    assert overlap(found.box_xyxy, wanted[:, [1, 0, 3, 2]] if transposed else wanted) > 0.5


def test_thirty_faces_in_one_photo(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    grid = many_faces(astronaut_pixels, 5, 6)
    faces = recognizer.embed(grid)
    assert len(faces) == 30
    cells = {(int(face.landmarks[4, 0] // 128), int(face.landmarks[4, 1] // 128)) for face in faces}
    assert len(cells) == 30
    embeddings = np.array([face.embedding for face in faces])
    assert np.linalg.norm(embeddings - embeddings[0], axis=1).max() < 0.3


@pytest.mark.thorough
def test_a_very_large_close_up(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    face = PIL.Image.fromarray(astronaut_pixels[69:164, 168:263]).resize((2000, 2000))
    for policy in ("all", "prominent", "largest"):
        (found,) = recognizer.detect(np.asarray(face), faces=policy)
        assert found.box_xyxy[2] - found.box_xyxy[0] > 1500


@pytest.mark.parametrize(
    "part", [np.s_[:140, :], np.s_[90:, :], np.s_[:, 190:], np.s_[:, :238]], ids=["bottom", "top", "left", "right"]
)
def test_a_face_cut_by_the_border(
    recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8], part: tuple[slice, slice]
) -> None:
    (found,) = recognizer.detect(astronaut_pixels[part], min_face=40)
    shift = np.array([part[1].start or 0, part[0].start or 0] * 2, np.float32)
    assert overlap(found.box_xyxy + shift) > 0.5


def test_an_empty_street(recognizer: Recognizer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    assert recognizer.detect(noise) == ()
    assert recognizer.embed(noise) == ()


def test_small_faces_are_found_by_enlarging(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    small = np.asarray(PIL.Image.fromarray(astronaut_pixels).resize((164, 164)))  # a face of 32 pixels
    assert recognizer.detect(small, min_face=80) == ()
    (found,) = recognizer.detect(small, min_face=30)
    assert overlap(found.box_xyxy, FACE * np.float32(164 / 512)) > 0.6


def test_faces_come_largest_first(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    canvas = np.zeros((400, 700, 3), np.uint8)
    for x, side in ((20, 120), (200, 260), (500, 180)):
        face = np.asarray(PIL.Image.fromarray(astronaut_pixels[20:220, 120:320]).resize((side, side)))
        canvas[100 : 100 + side, x : x + side] = face
    faces = recognizer.detect(canvas)
    widths = [float(face.box_xyxy[2] - face.box_xyxy[0]) for face in faces]
    assert len(faces) == 3
    assert widths == sorted(widths, reverse=True)
    (largest,) = recognizer.detect(canvas, faces="largest")
    assert overlap(largest.box_xyxy, faces[0].box_xyxy[None]) > 0.6


@pytest.mark.thorough
def test_a_level_too_large_for_one_canvas(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    # Faces on the seams of the tiles that a level of 2,560 x 2,560 is cut into.
    picture = np.zeros((1280, 1280, 3), np.uint8)
    face = np.asarray(PIL.Image.fromarray(astronaut_pixels[20:220, 120:320]).resize((100, 100)))
    places = [(580, 580), (10, 590), (590, 10), (1170, 590), (600, 1170)]
    for x, y in places:
        picture[y : y + 100, x : x + 100] = face
    faces = recognizer.detect(picture, min_face=40)
    assert len(faces) == len(places)


def test_search_size() -> None:
    assert search_size((640, 480), 80, WINDOW) == (640, 480)
    assert search_size((640, 480), 40, WINDOW) == (1280, 960)
    assert search_size((640, 480), 0.25, WINDOW) == (427, 320)
    assert search_size((50, 50), 0.1, WINDOW) == (200, 200)  # never below 20 pixels
    assert search_size((100_000, 500), 0.04, WINDOW)[0] * search_size((100_000, 500), 0.04, WINDOW)[1] <= 16_100_000
    assert search_size((8000, 4000), 10, WINDOW) == (14142, 7071)  # 100 megapixels: never below 46 pixels


@pytest.mark.parametrize("wrong", [0, -1, 5, 9.9, float("nan"), float("inf"), 10**400, "big"])
def test_wrong_min_face(recognizer: Recognizer, wrong: float) -> None:
    with pytest.raises(InvalidOption, match="min_face"):
        recognizer.detect(np.zeros((9, 9, 3), np.uint8), min_face=wrong)
