import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

from visavis.core.geometry import ChipTemplate, extract_chip, fit_similarity, intersection_over_hull, iou, suppress
from visavis.models.catalogue import DLIB
from visavis.models.weights import source_path


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
    shape = dlib.shape_predictor(str(source_path(DLIB.landmarks)))(pixels, rectangle)
    theirs = dlib.get_face_chip(pixels, shape, size=150, padding=0.25).astype(int)
    points = np.array([[point.x, point.y] for point in shape.parts()], np.float32)
    ours = extract_chip(pixels, points, DLIB.template)
    # dlib cuts fractions off where we round, once when sampling and once for every halving.
    assert np.abs(ours - theirs).mean() < 1.6
    assert np.percentile(np.abs(ours - theirs), 99) <= 4


@pytest.mark.parametrize("shift", [(-1e4, 0), (0, 1e4), (-60, -60), (1e9, 1e9)])
def test_chips_beyond_the_image_are_black_there(
    astronaut_pixels: NDArray[np.uint8], shift: tuple[float, float]
) -> None:
    chip = extract_chip(astronaut_pixels, DLIB.template.points + np.array(shift, np.float32), DLIB.template)
    assert chip.shape == (150, 150, 3)
    assert (chip[:20, :20] == 0).all()


@pytest.mark.parametrize("scale", [0, 1e-6, 1e4])
def test_chips_of_degenerate_landmarks(astronaut_pixels: NDArray[np.uint8], scale: float) -> None:
    template = ChipTemplate(side=150, points=DLIB.template.points)
    assert extract_chip(astronaut_pixels, DLIB.template.points * np.float32(scale), template).shape == (150, 150, 3)
