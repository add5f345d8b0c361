"""Size, sharpness and score of faces, and what asking for them changes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from conftest import many_faces
from numpy.typing import NDArray

from visavis import ImageNotFound, InvalidOption, MultipleFaces, Recognizer, VisavisError
from visavis.core.geometry import EYE_CORNERS_NOSE, EYES_NOSE_MOUTH, Anatomy
from visavis.core.quality import ChildTest, ValidityRule, assess, flatness, occlusion, sharpness, turn
from visavis.models.catalogue import DLIB, OPEN, SFACE
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.types import Face, FloatArray, ImageSource, Quality

GREY = np.full((150, 150, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def chip(recognizer: Recognizer, astronaut: Path) -> NDArray[np.uint8]:
    (outcome,) = recognizer.observe_many([astronaut])
    assert not isinstance(outcome, VisavisError)
    return outcome[0].chip


def blurred(chip: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    soft: NDArray[np.float32] = cv2.GaussianBlur(chip.astype(np.float32), (0, 0), sigma)
    return np.rint(soft).astype(np.uint8)


def edge(side: int = 150) -> NDArray[np.uint8]:
    picture = np.zeros((side, side, 3), np.uint8)
    picture[:, side // 2 :] = 200
    return picture


@pytest.mark.parametrize("side", [112, 150, 224])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_single_colour_is_not_sharp(side: int, level: int) -> None:
    assert sharpness(np.full((side, side, 3), level, np.uint8)) == 0


def test_next_to_a_single_colour_is_not_sharp() -> None:
    speckled = GREY.copy()
    speckled[::15, ::15] += 1
    assert sharpness(speckled) < 0.1


@pytest.mark.parametrize(("sigma", "expected"), [(1, 1 / 4), (2, 1 / 10), (3, 1 / 20)])
def test_a_blurred_edge_is_as_sharp_as_the_formula_says(sigma: float, expected: float) -> None:
    assert sharpness(blurred(edge(), sigma)) == pytest.approx(expected, rel=0.15)


def test_blur_lowers_it_step_by_step(chip: NDArray[np.uint8]) -> None:
    values = [sharpness(chip), *(sharpness(blurred(chip, sigma)) for sigma in (0.5, 1, 1.5, 2, 3, 4, 6))]
    assert values == sorted(values, reverse=True)
    assert values[4] < values[0] / 2


@pytest.mark.parametrize("factor", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("offset", [0, 20])
def test_contrast_and_brightness_hardly_change_it(chip: NDArray[np.uint8], factor: float, offset: int) -> None:
    other = (chip * factor + offset).astype(np.uint8)
    assert sharpness(other) == pytest.approx(sharpness(chip), rel=0.03)


@pytest.mark.parametrize("sigma", [0, 3])
def test_noise_and_compression_do_not_pass_for_sharpness(chip: NDArray[np.uint8], sigma: float) -> None:
    soft = blurred(chip, sigma) if sigma else chip
    noise = np.random.default_rng(5).normal(0, 4, chip.shape)
    noisy = np.clip(soft + noise, 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", soft, [cv2.IMWRITE_JPEG_QUALITY, 50])
    compressed = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    for other in (noisy, compressed):
        assert sharpness(soft) * 0.9 < sharpness(other) < sharpness(soft) * 1.6


def test_what_surrounds_the_face_does_not_count(chip: NDArray[np.uint8]) -> None:
    framed = chip.copy()
    frame = np.ones(chip.shape[:2], bool)
    frame[20:-20, 20:-20] = False
    framed[frame] = np.random.default_rng(6).integers(0, 256, (int(frame.sum()), 3))
    assert sharpness(framed) == pytest.approx(sharpness(chip))


def test_a_chip_is_left_as_it_is(chip: NDArray[np.uint8]) -> None:
    before = chip.copy()
    chip.flags.writeable = False
    assert sharpness(chip) > 0
    assert np.array_equal(chip, before)


@pytest.mark.parametrize(
    ("box", "side"), [([10, 20, 50, 70], 40), ([10, 20, 80, 70.5], 50.5), ([-10, -10, 30, 30], 40)]
)
def test_assess(box: list[float], side: float) -> None:
    face = Face(np.array(box, np.float32), 1, np.zeros((5, 2), np.float32))
    known = Quality(side, 0.0, 1.0, yaw=0.0, occluded=1.0)  # the mouth of a single grey is as smooth as can be
    assert assess(face, GREY, DLIB.template) == known
    assert assess(face, GREY[:112, :112], SFACE.template) == replace(known, pitch=0.0)


@pytest.mark.parametrize("pack", [DLIB, SFACE, OPEN])
def test_covered_eyes_or_a_covered_mouth_are_told(recognizer: Recognizer, hopper: Path, pack: Pack) -> None:
    (found,) = recognizer.detect(hopper)
    eyes = found.landmarks[[2, 3, 0, 1]].reshape(2, 2, 2).mean(axis=1)
    mouth = eyes.mean(axis=0) + np.array([0, 1.05 * np.ptp(eyes[:, 0])])
    photo = np.asarray(PIL.Image.open(hopper).convert("RGB"))
    points = pack.template.points
    here = points[[2, 3, 0, 1]].reshape(2, 2, 2).mean(axis=1) if pack is DLIB else points[:2]
    scale = float(np.ptp(here[:, 0]) / np.ptp(eyes[:, 0]))
    shift = here.mean(axis=0) - scale * eyes.mean(axis=0)
    side = pack.template.side

    def occluded(*covered: NDArray[np.float32]) -> float:
        painted = photo.copy()
        for x, y in covered:
            half = round(0.35 * float(np.ptp(eyes[:, 0])) * (1 if len(covered) > 1 else 1.7))
            painted[round(y) - half : round(y) + half, round(x) - half : round(x) + half] = 20
        to_chip = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return occlusion(cv2.warpAffine(painted, to_chip, (side, side), flags=cv2.INTER_AREA), pack.template)

    assert occluded() < 0.3
    assert occluded(eyes[0]) < 0.5  # the other one is there
    assert occluded(*eyes) > 0.5
    assert occluded(mouth) > 0.5


RULE = ValidityRule(
    length=20.0,
    likeness=-10.0,
    sharpness=-1.0,
    constant=-30.0,
    usual_length=8.0,
    unseen=1.0,
    prototypes="",
    provenance="a test",
)
PROTOTYPES = np.eye(4, dtype=np.float32)[:2]


def test_long_embeddings_unlike_any_prototype_of_plain_photos_are_valid() -> None:
    def validity(*embedding: float, sharpness: float = 0.4) -> float:
        return RULE.validity(np.array(embedding, np.float32), PROTOTYPES, Quality(99, sharpness, 1), GREY)

    assert validity(0, 0, 9, 0) > 0.99
    assert validity(0, 0, 4, 0) < 0.5 < validity(0, 0, 5, 0)
    assert validity(9, 0, 0, 0) == validity(0, 9, 0, 0) < validity(6, 0, 6, 0) < validity(0, 0, 9, 0)
    assert validity(0, 0, 5, 0, sharpness=3) < validity(0, 0, 5, 0)
    assert 0 <= validity(0, 0, 0, 0, sharpness=0) < 0.01


def test_flat_chips_are_less_valid(chip: NDArray[np.uint8]) -> None:
    small = cv2.resize(chip, (12, 12), interpolation=cv2.INTER_AREA)
    mosaic = cv2.resize(small, chip.shape[:2], interpolation=cv2.INTER_NEAREST)
    assert flatness(chip) < 0.1
    assert flatness(mosaic) > 0.5
    assert flatness(GREY) == 1
    rule, embedding = replace(RULE, flatness=-20.0), np.array([0, 0, 9, 0], np.float32)
    of = [rule.validity(embedding, PROTOTYPES, Quality(99, 0.4, 1), each) for each in (chip, mosaic)]
    assert of[0] > 0.9
    assert of[1] < of[0]


def test_without_prototypes_the_length_decides() -> None:
    nothing = np.empty((0, 4), np.float32)
    of = [RULE.validity(np.array([x, 0, 0, 0], np.float32), nothing, Quality(99, 0.4, 1), GREY) for x in (1, 9)]
    assert of[0] < 0.5 < of[1]


# --- where a head turns

# A head that looks straight ahead, in units of the distance between the eyes: across, down, and towards the camera.
EYES = ((-0.5, 0.0, 0.0), (0.5, 0.0, 0.0))
MOUTH = ((-0.4, 1.0, 0.0), (0.4, 1.0, 0.0))
CORNERS = ((0.75, 0.0, 0.0), (0.25, 0.0, 0.0), (-0.75, 0.0, 0.0), (-0.25, 0.0, 0.0))
HEADS = {EYES_NOSE_MOUTH: (*EYES, (0.0, 0.54, 0.59), *MOUTH), EYE_CORNERS_NOSE: (*CORNERS, (0.0, 0.6, 0.48))}


def seen(anatomy: Anatomy, yaw: float = 0, pitch: float = 0, roll: float = 0, scale: float = 40) -> FloatArray:
    """Return the landmarks (5, 2) of that head, turned by angles in degrees as ``Pose`` has them, from far away."""
    x, y, z = np.array(HEADS[anatomy]).T
    if pitch:  # whose tangent is in other units
        z = z * 0.33 / 0.59
        y, z = y * np.cos(np.radians(pitch)) + z * np.sin(np.radians(pitch)), z * np.cos(np.radians(pitch))
    x = x * np.cos(np.radians(yaw)) + z * np.sin(np.radians(yaw))
    turned = (x + 1j * y) * np.exp(1j * np.radians(roll)) * scale + 300 + 200j
    return np.stack([turned.real, turned.imag], axis=1).astype(np.float32)


@pytest.mark.parametrize("anatomy", HEADS)
@pytest.mark.parametrize("roll", [-120, -20, 0, 20, 180])
@pytest.mark.parametrize("yaw", [-60, -30, 0, 10, 45])
def test_yaw_whatever_the_roll_and_the_size(anatomy: Anatomy, roll: float, yaw: float) -> None:
    for scale in (5, 500):
        assert turn(seen(anatomy, yaw, 0, roll, scale), anatomy)[0] == pytest.approx(yaw, abs=1.5)


@pytest.mark.parametrize("roll", [-120, 0, 20])
@pytest.mark.parametrize("pitch", [-30, -10, 0, 10, 30])
def test_pitch_whatever_the_roll(pitch: float, roll: float) -> None:
    assert turn(seen(EYES_NOSE_MOUTH, 0, pitch, roll), EYES_NOSE_MOUTH)[1] == pytest.approx(pitch, abs=1)


def test_landmarks_without_a_mouth_tell_no_pitch() -> None:
    assert turn(seen(EYE_CORNERS_NOSE, 0, 30), EYE_CORNERS_NOSE)[1] is None


@pytest.mark.parametrize("anatomy", HEADS)
def test_odd_landmarks_have_some_angle(anatomy: Anatomy) -> None:
    generator = np.random.default_rng(3)
    odd = [np.zeros((5, 2)), np.ones((5, 2)), seen(anatomy) * -1, seen(anatomy, 89), *generator.normal(size=(50, 5, 2))]
    for points in odd:
        for angle in turn(points.astype(np.float32), anatomy):
            assert angle is None or -90 <= angle <= 90


@pytest.mark.parametrize(
    ("photo", "yaw"), [("Nora_Bendijo/Nora_Bendijo_0001.jpg", -23), ("Pervez_Musharraf/Pervez_Musharraf_0001.jpg", 24)]
)
def test_a_mirrored_photo_turns_the_other_way(recognizer: Recognizer, test_data: Path, photo: str, yaw: float) -> None:
    """The yaw is what head-pose-estimation-adas-0001 says."""
    pixels = np.asarray(PIL.Image.open(test_data / "lfw-fold1" / "images" / photo).convert("RGB"))
    (plain, *_), (mirrored, *_) = recognizer.detect_many([pixels, pixels[:, ::-1].copy()], quality=True, min_face=40)  # type: ignore[misc]  # no errors
    for face, expected in ((plain, yaw), (mirrored, -yaw)):
        assert face.quality is not None
        assert face.quality.yaw == pytest.approx(expected, abs=15)
        assert face.quality.pitch is None


def test_quality_comes_when_it_is_asked_for(recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    for find in (recognizer.detect, recognizer.embed):
        (without,), (face,) = find(astronaut), find(astronaut, quality=True)
        assert without.quality is None
        assert face.quality is not None
        assert face.quality.score == face.score == without.score
        assert face.quality.face_px == min(face.box_xyxy[2:] - face.box_xyxy[:2])
        assert 0.05 < face.quality.sharpness < 1
    for many in (recognizer.detect_many, recognizer.embed_many):
        for outcome in many([astronaut, hopper], quality=True):
            assert not isinstance(outcome, VisavisError)
            assert all(face.quality is not None for face in outcome)


def test_detection_with_quality_embeds_nothing(recognizer: Recognizer, hopper: Path) -> None:
    (face,) = recognizer.detect(hopper, quality=True)
    assert face.embedding is None
    assert list(face.to_dict()) == ["box_xyxy", "score", "landmarks", "quality"]


def test_quality_as_plain_values(recognizer: Recognizer, hopper: Path) -> None:
    (face,) = recognizer.embed(hopper, quality=True)
    plain = face.to_dict()
    assert list(plain) == ["box_xyxy", "score", "landmarks", "embedding", "quality"]
    assert face.quality is not None
    assert plain["quality"] == {
        "face_px": face.quality.face_px,
        "sharpness": face.quality.sharpness,
        "score": face.quality.score,
        "yaw": face.quality.yaw,
        "validity": face.quality.validity,
        "occluded": face.quality.occluded,
    }
    assert {type(value) for value in plain["quality"].values()} == {float}


def test_a_blurred_photo_is_less_sharp(recognizer: Recognizer, astronaut_pixels: NDArray[np.uint8]) -> None:
    (sharp,) = recognizer.detect(astronaut_pixels, quality=True)
    (soft,) = recognizer.detect(cv2.GaussianBlur(astronaut_pixels, (0, 0), 4), quality=True)
    assert sharp.quality is not None
    assert soft.quality is not None
    assert soft.quality.sharpness < sharp.quality.sharpness / 2


def test_observed_is_embedded_with_quality_and_a_chip(
    recognizer: Recognizer, astronaut: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    images: list[ImageSource] = [GREY, "missing.jpg", many_faces(astronaut_pixels, 2, 3), astronaut]
    none, missing, crowd, one = recognizer.observe_many(images)
    assert none == ()
    assert isinstance(missing, ImageNotFound)
    assert not isinstance(crowd, VisavisError)
    assert not isinstance(one, VisavisError)
    assert (len(crowd), len(one)) == (6, 1)
    (same,) = recognizer.embed(astronaut, quality=True)
    assert one[0].face.to_dict()["box_xyxy"] == same.to_dict()["box_xyxy"]
    assert one[0].face.quality == same.quality
    for observed in (*crowd, *one):
        assert isinstance(observed, Observed)
        assert observed.face.embedding is not None
        assert observed.face.quality is not None
        assert observed.chip.shape == (150, 150, 3)
        assert observed.chip.dtype == np.uint8
        assert np.abs(recognizer.embed_chips([observed.chip])[0] - observed.face.embedding).max() < 1e-5
        assert observed.face.quality.sharpness == sharpness(observed.chip)
        assert len(repr(observed)) < 500  # no pixels


def test_observe_many_takes_the_same_options(
    recognizer: Recognizer, astronaut: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    crowd = many_faces(astronaut_pixels, 2, 2)
    (largest,) = recognizer.observe_many([crowd], faces="largest")
    assert not isinstance(largest, VisavisError)
    assert len(largest) == 1
    (refused,) = recognizer.observe_many([crowd], faces="only")
    assert isinstance(refused, MultipleFaces)
    (small,) = recognizer.observe_many([astronaut], min_face=400)
    assert small == ()
    with pytest.raises(InvalidOption, match="faces must be one of all, prominent, largest, main, only"):
        recognizer.observe_many([], faces="some")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="min_face"):
        recognizer.observe_many([], min_face=-1)
    with pytest.raises(InvalidOption, match="several images are wanted"):
        recognizer.observe_many("photo.jpg")


# --- children -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedding", "child"), [((4, 3), True), ((3, 4), False), ((-4, -3), False), ((0, 0), False), ((1, 0), True)]
)
@pytest.mark.parametrize("length", [0.01, 1, 100])
def test_a_child_is_told_by_a_direction(embedding: tuple[float, float], child: bool, length: float) -> None:  # noqa: FBT001  # expected
    test = ChildTest("127 -2", 90.0, "made up")
    assert test(length * np.array(embedding, np.float32)) == child
