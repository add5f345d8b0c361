"""Faces that are small for their photo, as the default pack finds them by default."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from visavis import Recognizer, VisavisError

EACH, SIDE = 40, 100  # faces of a large photo, and pixels of each


@pytest.fixture(scope="module")
def default(cache_dir: Path) -> Recognizer:
    return Recognizer(cache_dir=cache_dir)


def test_each_face_of_a_group_is_found(default: Recognizer, test_data: Path) -> None:
    assert len(default.detect(test_data / "images" / "groups" / "016_8.jpg")) == 8


@pytest.mark.thorough
def test_groups_are_counted(default: Recognizer, test_data: Path) -> None:
    photos = sorted((test_data / "images" / "groups").glob("*.jpg"))
    wanted = [int(count) if (count := path.stem.partition("_")[2]).isdigit() else 1 for path in photos]
    found = [len(faces) for faces in default.detect_many(photos) if not isinstance(faces, VisavisError)]
    right = sum(each == count for each, count in zip(found, wanted, strict=True))
    assert (len(photos), right) == (18, 17)


def large_photos(portraits: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Photos of 12 megapixels, each of 40 portraits in five rows, blurred colours between them."""
    background = np.random.default_rng(5).integers(60, 200, (6, 8, 3)).astype(np.uint8)
    for first in range(0, len(portraits) - EACH + 1, EACH):
        photo = cv2.resize(background, (4000, 3000), interpolation=cv2.INTER_CUBIC)
        for place, portrait in enumerate(portraits[first : first + EACH]):
            height, width = portrait.shape[:2]
            left, top = 40 + 490 * (place % 8), 40 + 590 * (place // 8)
            photo[top : top + height, left : left + width] = portrait
        yield photo


@pytest.mark.thorough
def test_faces_of_100_pixels_on_photos_of_12_megapixels(default: Recognizer, test_data: Path) -> None:
    portraits = []
    for path in sorted((test_data / "lfw-fold1").rglob("*.jpg"))[::6][: 3 * EACH]:
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        (face,) = default.detect(pixels, faces="prominent")
        left, top, right, bottom = face.box_xyxy
        scale = SIDE / float(min(right - left, bottom - top))
        portraits.append(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:550, :450])
    found = [default.detect(photo) for photo in large_photos(portraits)]
    assert len(found) == 3
    assert all(faces.searched_from_px <= SIDE for faces in found)
    sizes = [min(face.box_xyxy[2:] - face.box_xyxy[:2]) for faces in found for face in faces]
    assert sum(SIDE / 1.5 < size < SIDE * 1.5 for size in sizes) >= 0.95 * len(portraits)
