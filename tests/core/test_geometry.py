from typing import Literal

import cv2
import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, estimate_transform

from visavis.core.geometry import (
    ChipTemplate,
    extract_chip,
    fit_similarity,
    intersection_over_hull,
    iou,
    overlapped,
    suppress,
)
from visavis.models.catalogue import DLIB, OPEN
from visavis.models.installation import source_path


def box(*xyxy: float) -> NDArray[np.float32]:
    return np.array([xyxy], np.float32)


def test_overlap_of_known_boxes() -> None:
    assert iou(box(0, 0, 2, 2), box(1, 0, 3, 2))[0, 0] == pytest.approx(2 / 6)
    assert intersection_over_hull(box(0, 0, 2, 2), box(1, 1, 3, 3))[0, 0] == pytest.approx(1 / 9)
    assert iou(box(0, 0, 1, 1), box(5, 5, 6, 6))[0, 0] == 0
    assert iou(box(1, 1, 1, 1), box(1, 1, 1, 1))[0, 0] == 0  # no area
    assert iou(np.empty((0, 4), np.float32), box(0, 0, 1, 1)).shape == (0, 1)


def suppressed_one_by_one(boxes: NDArray[np.float32], scores: NDArray[np.float32], most: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        overlaps = [intersection_over_hull(boxes[k : k + 1], boxes[i : i + 1])[0, 0] for k in kept]
        if max(overlaps, default=0) <= most:
            kept.append(i)
    return kept


@given(arrays(np.float32, st.tuples(st.integers(0, 20), st.just(4)), elements=st.floats(0, 50, width=32)), st.data())
def test_suppression_is_greedy(corners: NDArray[np.float32], data: st.DataObject) -> None:
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
    scores = np.array(data.draw(st.permutations(range(len(boxes)))), np.float32)
    assert suppress(boxes, scores, 0.3).tolist() == suppressed_one_by_one(boxes, scores, 0.3)


def test_suppression_of_nothing() -> None:
    assert suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.3).size == 0


@given(
    arrays(np.float32, (5, 2), elements=st.floats(-100, 100, width=16), unique=True),
    arrays(np.float32, (5, 2), elements=st.floats(-100, 100, width=16), unique=True),
)
def test_similarity_is_the_least_squares_one(source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    ours = fit_similarity(source, target)
    assert ours[0, 0] == ours[1, 1]
    assert ours[0, 1] == -ours[1, 0]
    # No small change of the four numbers of a similarity comes nearer to the targets.
    homogeneous = np.column_stack([source, np.ones(5)]).astype(np.float64)
    x, y = homogeneous[:, 0], homogeneous[:, 1]
    design = np.block([[x[:, None], -y[:, None], np.ones((5, 1)), np.zeros((5, 1))],
                       [y[:, None], x[:, None], np.zeros((5, 1)), np.ones((5, 1))]])  # fmt: skip
    wanted = np.concatenate([target[:, 0], target[:, 1]]).astype(np.float64)
    least = np.linalg.lstsq(design, wanted, rcond=None)[0]
    residual = np.linalg.norm(design @ least - wanted)
    found = np.linalg.norm(homogeneous @ ours.T - target)
    assert found <= residual * (1 + 1e-6) + 1e-6


def test_similarity_recovers_a_known_one() -> None:
    truth = SimilarityTransform(scale=1.7, rotation=0.4, translation=(12, -5)).params[:2]
    source = DLIB.template.points
    target = (np.column_stack([source, np.ones(5)]) @ truth.T).astype(np.float32)
    assert fit_similarity(source, target) == pytest.approx(truth, abs=1e-3)


def test_similarity_of_points_that_coincide_is_a_shift() -> None:
    same = np.full((5, 2), 3, np.float32)
    assert fit_similarity(same, same + 2) == pytest.approx(np.array([[1, 0, 2], [0, 1, 2]]))


@pytest.mark.parametrize("side", [30, 60, 100, 140, 180, 260, 300, 420])
def test_chips_are_dlibs(astronaut_pixels: NDArray[np.uint8], side: int) -> None:
    # The same face at many sizes: enlarged, as it is, halved once, halved twice.
    pixels = dlib.resize_image(astronaut_pixels, side / 100)
    rectangle = dlib.rectangle(*(round(value * side / 100) for value in (168, 69, 263, 164)))
    shape = dlib.shape_predictor(str(source_path(DLIB.part("landmarks").files[0])))(pixels, rectangle)
    theirs = dlib.get_face_chip(pixels, shape, size=150, padding=0.25).astype(int)
    points = np.array([[point.x, point.y] for point in shape.parts()], np.float32)
    ours = extract_chip(pixels, points, DLIB.template)
    # dlib cuts fractions off where we round, once when sampling and once for every halving.
    assert np.abs(ours - theirs).mean() < 1.6
    assert np.percentile(np.abs(ours - theirs), 99) <= 4


@pytest.mark.parametrize("shift", [(-1e4, 0), (0, 1e4), (-60, -60), (1e9, 1e9)])
@pytest.mark.parametrize("template", [DLIB.template, OPEN.template], ids=["dlib", "plain"])
def test_chips_beyond_the_image_are_black_there(
    astronaut_pixels: NDArray[np.uint8], shift: tuple[float, float], template: ChipTemplate
) -> None:
    chip = extract_chip(astronaut_pixels, template.points + np.array(shift, np.float32), template)
    assert chip.shape == (template.side, template.side, 3)
    assert (chip[:20, :20] == 0).all()


@pytest.mark.parametrize("scale", [0, 1e-6, 1e4, 1e9])
@pytest.mark.parametrize("sampling", ["dlib", "plain"])
@pytest.mark.parametrize("shape", [(512, 512), (1, 1), (1, 300), (33, 7)])
def test_chips_of_degenerate_landmarks(
    astronaut_pixels: NDArray[np.uint8], scale: float, sampling: Literal["dlib", "plain"], shape: tuple[int, int]
) -> None:
    template = ChipTemplate(side=150, points=DLIB.template.points, sampling=sampling)
    image = astronaut_pixels[: shape[0], : shape[1]]
    assert extract_chip(image, DLIB.template.points * np.float32(scale), template).shape == (150, 150, 3)


def face_points(scale: float, angle: float, shift: tuple[float, float]) -> NDArray[np.float32]:
    """Return landmarks as a detector finds them: the template's, turned, scaled, shifted, and each a little off."""
    points = SimilarityTransform(scale=scale, rotation=angle, translation=shift)(OPEN.template.points)
    moved: NDArray[np.float32] = (points + np.random.default_rng(0).normal(0, 2 * scale, (5, 2))).astype(np.float32)
    return moved


def to_template(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the map (2, 3) from the image to the chip, as scikit-image fits it."""
    fitted: NDArray[np.float64] = estimate_transform("similarity", points, OPEN.template.points).params[:2]
    return fitted


@pytest.mark.parametrize(
    ("scale", "angle", "shift"),
    [(1, 0, (0, 0)), (0.3, 0.5, (200, 90)), (1.9, -0.4, (150, 130)), (1.5, 3, (300, 260)), (1.2, 0.1, (-60, 420))],
)
def test_plain_chips_are_opencvs(
    astronaut_pixels: NDArray[np.uint8], scale: float, angle: float, shift: tuple[float, float]
) -> None:
    points = face_points(scale, angle, shift)
    theirs = cv2.warpAffine(astronaut_pixels, to_template(points), (128, 128), flags=cv2.INTER_LINEAR)
    difference = np.abs(extract_chip(astronaut_pixels, points, OPEN.template).astype(int) - theirs)
    # OpenCV rounds places to a 32nd of a pixel, before or after a part of the image is cut out.
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 4


@pytest.mark.parametrize("scale", [2.1, 3.9, 4.2, 9, 17])
def test_plain_chips_of_large_faces_do_not_alias(astronaut_pixels: NDArray[np.uint8], scale: float) -> None:
    # Fine detail, which a chip this small cannot show: each of its pixels should be the mean of what it covers.
    size = round(160 * scale)
    image = cv2.resize(astronaut_pixels[60:220, 140:300], (size, size), interpolation=cv2.INTER_CUBIC)
    image[::2] //= 2
    points = face_points(scale, 0.2, (30.3 * scale, 5.7 * scale))
    fine, chip_to_image = 16, cv2.invertAffineTransform(to_template(points))
    first = chip_to_image @ [0.5 / fine - 0.5, 0.5 / fine - 0.5, 1]
    grid = np.column_stack([chip_to_image[:, :2] / fine, first])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    covered = cv2.warpAffine(image, grid, (128 * fine, 128 * fine), flags=flags)
    mean = covered.reshape(128, fine, 128, fine, 3).mean(axis=(1, 3))
    sampled = cv2.warpAffine(image, chip_to_image, (128, 128), flags=flags)
    inner = np.s_[8:-8, 8:-8]
    ours = np.abs(extract_chip(image, points, OPEN.template)[inner] - mean[inner]).mean()
    assert ours < 3
    assert ours < np.abs(sampled[inner] - mean[inner]).mean() / 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.9]))
def test_overlapped_is_what_all_pairs_tell(seed: int, count: int, most: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 40, (count, 2))]).astype(np.float32)
    few, others = boxes[: count // 3], boxes[count // 3 :]
    for overlap in (iou, intersection_over_hull):
        expected = overlap(few, others).max(axis=1, initial=0) > most
        assert overlapped(few, others, most, overlap).tolist() == expected.tolist()
