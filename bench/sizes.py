"""Which faces a pack's detector finds: by size, turned, masked, and at which limit of its score; and what that costs.

Photos of LFW are scaled so that the face nearest to the middle is of one size, and laid side by side into pictures that
are searched at their own size. A face is found where a box has its middle and its size; a face too many is one that
nothing in the photo at its full size resembles. Group photos are counted as they come. Times are of searching a picture
of 12 megapixels for faces from a part of its shorter side on, at each window: the size, in pixels, to which the
smallest face is brought.

    python bench/sizes.py                 the pack open
    python bench/sizes.py --pack dlib --photos 60
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.geometry import areas
from visavis.core.image import read_image
from visavis.core.pyramid import search_size
from visavis.models import anchor_free
from visavis.models.heads import Detector
from visavis.models.installation import default_models_dir
from visavis.options import DEFAULT_PACK

UInt8 = NDArray[np.uint8]
SIZES = (10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 200)
SIZES_TURNED = (20, 32, 64, 96, 200)
TURNS = (0, 45, 90, 180)
LIMITS = {"dlib-mmod": (0.0, 0.5), "scrfd": (0.5, 0.6)}
LIMITS_OF_OTHERS = (0.6, 0.7, 0.73, 0.8, 0.9)  # YuNet's
LEAST_SCORE = 0.5  # of what is looked at
WINDOWS = (12, 16, 18, 20, 24, 30)
PARTS = (0.02, 0.03, 0.05, 0.08)  # of the shorter side
MOST_PIXELS = 4_000_000  # of a picture of many photos
STEP = 8
MASK = (150, 190, 220)
LARGE_WH = (4000, 3000)
NEAR, ALIKE = 0.35, 1.7  # of a face's size: how far its middle may be, and how many times larger or smaller it may be
DATA = Path(os.environ.get("TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


class Photo:
    """A photo, its faces, and which of them counts."""

    def __init__(self, path: Path, detector: Detector) -> None:
        """Look for the faces at a generous scale."""
        self.pixels = read_image(path).pixels
        height, width = self.pixels.shape[:2]
        self.faces = detector.find(self.pixels, (2 * width, 2 * height), largest=False)
        middles = (self.faces.boxes_xyxy[:, :2] + self.faces.boxes_xyxy[:, 2:]) / 2
        distances = np.hypot(*(middles - [width / 2, height / 2]).T)
        self.sizes = np.sqrt(areas(self.faces.boxes_xyxy))
        self.number = int(np.argmin(distances)) if len(distances) else -1
        self.middle = middles[self.number] if len(distances) else np.zeros(2)

    def scaled(self, size: float, *, masked: bool, turn: int) -> tuple[UInt8, NDArray[np.float64], NDArray[np.float64]]:
        """Return the photo with its face at a size, turned counter-clockwise about it.

        With it come the middles and sizes of all its faces there, and the points of that one.
        """
        factor, side = size / self.sizes[self.number], round(250 * size / self.sizes[self.number])
        pixels = self._masked() if masked else self.pixels
        if factor < 1:
            width = max(1, round(factor * pixels.shape[1]))
            pixels = cv2.resize(pixels, (width, max(1, round(factor * pixels.shape[0]))), interpolation=cv2.INTER_AREA)
        scale = pixels.shape[1] / self.pixels.shape[1]
        to_cell = cv2.getRotationMatrix2D(tuple((self.middle * scale).tolist()), turn, factor / scale)
        to_cell[:, 2] += side / 2 - self.middle * scale
        cell = cv2.warpAffine(pixels, to_cell, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        middles = (self.faces.boxes_xyxy[:, :2] + self.faces.boxes_xyxy[:, 2:]) / 2 * scale
        points = self.faces.landmarks[self.number] * scale
        there, points = (np.column_stack([each, np.ones(len(each))]) @ to_cell.T for each in (middles, points))
        return cell, np.column_stack([there, self.sizes * factor]), points

    def _masked(self) -> UInt8:
        """Paint a mask from below the eyes down, over the whole width of the face."""
        left_eye, right_eye, nose, *_ = self.faces.landmarks[self.number]
        left, _, right, bottom = self.faces.boxes_xyxy[self.number]
        eyes = (left_eye[1] + right_eye[1]) / 2
        top = eyes + 0.25 * (nose[1] - eyes)
        upper = [(left - 2, top), (nose[0], top - 3), (right + 2, top)]
        shape = np.array([*upper, (right, bottom + 4), (nose[0], bottom + 10), (left, bottom + 4)])
        painted: UInt8 = cv2.fillPoly(self.pixels.copy(), [np.rint(shape).astype(np.int32)], MASK)
        return painted


def pictures(cells: Sequence[UInt8]) -> Iterator[tuple[UInt8, list[tuple[int, int, int]]]]:
    """Lay square cells side by side; yield each picture, with the number, left and top of its cells."""
    side = max(len(cell) for cell in cells) + STEP
    columns = max(1, int(np.sqrt(MOST_PIXELS)) // side)
    for first in range(0, len(cells), columns**2):
        some = cells[first : first + columns**2]
        picture = np.zeros((side * -(-len(some) // columns), side * columns, 3), np.uint8)
        # A face may lie anywhere between the places that the network looks at.
        shifts = [(i * 5 % STEP, i * 3 % STEP) for i in range(len(some))]
        at = [(first + i, i % columns * side + x, i // columns * side + y) for i, (x, y) in enumerate(shifts)]
        for number, left, top in at:
            cell = cells[number]
            picture[top : top + len(cell), left : left + len(cell)] = cell
        yield picture, at


def scores_of(
    photos: Sequence[Photo], detector: Detector, size: float, *, masked: bool = False, turn: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the score of each photo's face, -9 where it is missed; the scores of faces too many; and an error.

    That is how far the points of a face are, on average, from where they are at its full size, in parts of its size.
    """
    made = [photo.scaled(size, masked=masked, turn=turn) for photo in photos]
    scores, too_many, errors = np.full(len(photos), -9.0), list[float](), list[float]()
    for picture, at in pictures([cell for cell, *_ in made]):
        found = detector.find(picture, (picture.shape[1], picture.shape[0]), largest=False)
        middles, sizes = (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2, np.sqrt(areas(found.boxes_xyxy))
        known = np.zeros(len(sizes), bool)
        for number, left, top in at:
            for which, (x, y, true) in enumerate(made[number][1]):
                near = np.hypot(*(middles - [left + x, top + y]).T) < NEAR * max(true, 8)
                here = near & (sizes < ALIKE * true) & (sizes > true / ALIKE)
                known |= near
                if which == photos[number].number and here.any():
                    scores[number] = found.scores[here].max()
                    points = found.landmarks[here][found.scores[here].argmax()]
                    errors.append(float(np.hypot(*(points - [left, top] - made[number][2]).T).mean()) / size)
        too_many += found.scores[~known].tolist()
    return scores, np.array(too_many), float(np.mean(errors)) if errors else np.nan


def shares(scores: NDArray[np.float64], limits: Sequence[float]) -> str:
    """Return how many are found at each limit, in percent."""
    return " ".join(f"{100 * np.mean(scores >= limit):8.1f}" for limit in limits)


def report_groups(detector: Detector, min_face: float, limits: Sequence[float]) -> None:
    """Count the faces of the group photos at each limit."""
    missing, more = np.zeros(len(limits), int), np.zeros(len(limits), int)
    for path in sorted((DATA / "images" / "groups").glob("*.jpg")):
        pixels = read_image(path).pixels
        found = detector.find(pixels, detector.search_size((pixels.shape[1], pixels.shape[0]), min_face), largest=False)
        count = path.stem.partition("_")[2]
        wanted = int(count) if count.isdigit() else 1
        for column, limit in enumerate(limits):
            missing[column] += max(0, wanted - int((found.scores >= limit).sum()))
            more[column] += max(0, int((found.scores >= limit).sum()) - wanted)
    print(f"{'18 group photos: faces missing':32}" + " ".join(f"{count:8d}" for count in missing))
    print(f"{'18 group photos: faces too many':32}" + " ".join(f"{count:8d}" for count in more))


def report_large(recognizer: Recognizer, photos: Sequence[Photo], size: int = 100, many: int = 40) -> None:
    """Count the faces of one size that are found by default on photos of 12 megapixels, each of so many portraits."""
    found = wanted = 0
    for first in range(0, len(photos) - many + 1, many):
        photo = np.full((LARGE_WH[1], LARGE_WH[0], 3), 128, np.uint8)
        cells = [each.scaled(size, masked=False, turn=0) for each in photos[first : first + many]]
        places = [(500 * (place % 8), 600 * (place // 8)) for place in range(many)]
        for (left, top), (cell, *_) in zip(places, cells, strict=True):
            photo[top : top + 600, left : left + 500][: len(cell), : len(cell)] = cell
        boxes = np.array([face.box_xyxy for face in recognizer.detect(photo)]).reshape(-1, 2, 2)
        middles, sizes = boxes.mean(axis=1), np.sqrt(areas(boxes.reshape(-1, 4)))
        for place, (_, faces, _), each in zip(places, cells, photos[first : first + many], strict=True):
            near = np.hypot(*(middles - faces[each.number][:2] - place).T) < NEAR * size
            found += bool((near & (sizes < ALIKE * size) & (sizes > size / ALIKE)).any())
        wanted += many
    print(f"faces of {size} px, {many} on each photo of 12 megapixels: {found} of {wanted}, {found / wanted:.1%}")


def report_times(detector: Detector, picture: UInt8, windows: Sequence[int], rounds: int = 5) -> None:
    """Print the milliseconds of searching a large picture, decoded as small as it may be."""
    print(f"\n{'milliseconds, 12 megapixels':32}" + " ".join(f"{window:5d} px" for window in windows))
    for part in PARTS:
        times = []
        for window in windows:
            size_wh, taken = search_size(LARGE_WH, part, window), list[float]()
            for _ in range(rounds):
                start = time.perf_counter()
                detector.find(picture, size_wh, largest=False)
                taken.append(1000 * (time.perf_counter() - start))
            times.append(statistics.median(taken))
        print(f"{f'  from {100 * part:g} % of the side on':32}" + " ".join(f"{each:8.1f}" for each in times))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default=DEFAULT_PACK, help="whose detector")
    parser.add_argument("--models-dir", type=Path, default=default_models_dir(), help="where pulled models are")
    parser.add_argument("--photos", type=int, default=150, help="how many of LFW's")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    least_score = anchor_free._YUNET_LEAST_SCORE  # noqa: SLF001
    anchor_free._YUNET_LEAST_SCORE = LEAST_SCORE  # noqa: SLF001  # what lies below the limit is measured too
    recognizer = Recognizer(options.pack, threads=1, models_dir=options.models_dir)
    detector = recognizer._models.detector  # noqa: SLF001  # the part alone
    head = recognizer.pack.part("detector").head
    limits = LIMITS.get(head, LIMITS_OF_OTHERS)

    paths = sorted((DATA / "lfw-fold1").rglob("*.jpg"))
    photos = [Photo(path, detector) for path in paths[:: max(1, len(paths) // options.photos)]]
    photos = [photo for photo in photos if photo.number >= 0]
    print(f"{options.pack}: {len(photos)} photos; faces found in percent, by the limit of the score\n")
    print(f"{'':32}" + " ".join(f"{limit:8.2f}" for limit in limits) + "   points off   too many, at each")
    for size in SIZES:
        scores, more, error = scores_of(photos, detector, size)
        counts = " ".join(f"{np.sum(more >= limit):4d}" for limit in limits)
        print(f"{f'  {size} px':32}{shares(scores, limits)} {error:12.3f}   {counts}", flush=True)
    for turn in TURNS:
        for size in SIZES_TURNED:
            scores, *_ = scores_of(photos, detector, size, turn=turn)
            print(f"{f'  {size} px, turned by {turn}':32}{shares(scores, limits)}", flush=True)
    if recognizer.pack.template.anatomy.mouth:
        for size in SIZES_TURNED:
            scores, *_ = scores_of(photos, detector, size, masked=True)
            print(f"{f'  {size} px, masked':32}{shares(scores, limits)}", flush=True)
    report_groups(detector, recognizer.min_face, limits)
    anchor_free._YUNET_LEAST_SCORE = least_score  # noqa: SLF001  # by default
    report_large(recognizer, photos)
    large = cv2.resize(photos[0].pixels, (2000, 1500), interpolation=cv2.INTER_CUBIC)
    report_times(detector, large, (80,) if head == "dlib-mmod" else WINDOWS)


if __name__ == "__main__":
    main()
