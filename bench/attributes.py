"""What the attributes of the pack ``open`` say of photos whose truth is known, or should not matter.

Liveness: of real photos, how many faces would be refused at the limit, as they are; and what becomes of portraits and
group photos when they are made to look like what a camera sees of a screen or a print. These imitations are drawings
of attacks, not attacks: they show what the networks look at, and not how safe they are.

Head pose: a mirrored photo must turn yaw and roll around and leave the pitch; a photo turned by 20 degrees must change
the roll by 20 and leave the others. Age: four portraits of two people, whose EXIF data tell the day; four is very few.
Both in crops of several sizes, of which the one that visavis uses is 1.0. And what each attribute costs.

    python bench/attributes.py [--models-dir DIR]     in float32, on one thread (minutes)
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from lfw import DATA
from numpy.typing import NDArray

from visavis import Recognizer, SetupError
from visavis.core.decide import LEAST_LIVENESS, is_live
from visavis.core.geometry import Detections
from visavis.core.image import read_image
from visavis.models.heads import AttributeModels
from visavis.models.installation import Installation, default_cache_dir, default_models_dir
from visavis.options import Attribute
from visavis.types import Attributes, Pose

PHOTOS = DATA.parent / "images"
LONGEST = 1600
EVERY_NTH = 4  # of LFW's images, for what takes long
SCALES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
TURN = 20.0
# By the day in the photo's EXIF data; born on 4 August 1961 and on 20 November 1942.
AGES = {"obama.jpg": 51, "obama2.jpg": 48, "obama3.jpg": 48, "biden.jpg": 67}
ROUNDS = 30
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """A photo, and the faces that were found in it."""

    pixels: Pixels
    faces: Detections


class Bench:
    """Finds faces, and asks for their attributes."""

    def __init__(self, models_dir: Path) -> None:
        self.recognizer = Recognizer("open", precision="f32", threads=1, models_dir=models_dir)
        installation = Installation(self.recognizer.runtime, default_cache_dir(), models_dir)
        self.attributes = AttributeModels(self.recognizer.pack, installation)

    def shots(self, paths: Iterable[Path]) -> list[Shot]:
        """Return the photos that show faces."""
        return [shot for shot in map(self.look, map(read, paths)) if len(shot.faces.scores)]

    def look(self, pixels: Pixels) -> Shot:
        """Find the faces of a photo."""
        faces = self.recognizer.detect(pixels)
        boxes = np.array([face.box_xyxy for face in faces], np.float32).reshape(-1, 4)
        points = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
        return Shot(pixels, Detections(boxes, np.array([face.score for face in faces], np.float32), points))

    def ask(self, shot: Shot, attribute: Attribute, scale: float = 1.0) -> tuple[Attributes, ...]:
        """Return an attribute of each face, in crops so many times the size of visavis's own."""
        middles = (shot.faces.boxes_xyxy[:, 2:] + shot.faces.boxes_xyxy[:, :2]) / 2
        halves = (shot.faces.boxes_xyxy[:, 2:] - shot.faces.boxes_xyxy[:, :2]) / 2 * np.float32(scale)
        boxes = np.concatenate([middles - halves, middles + halves], axis=1)
        return self.attributes(shot.pixels, boxes, [attribute])


def read(path: Path) -> Pixels:
    """Return a photo, no larger than it need be."""
    pixels = read_image(path).pixels
    scale = LONGEST / max(pixels.shape[:2])
    return pixels if scale >= 1 else resized(pixels, scale)


def resized(pixels: Pixels, scale: float) -> Pixels:
    """Return a photo so many times its size."""
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def on_a_screen(pixels: Pixels) -> Pixels:
    """Return a photo as a screen in a dim room shows it: small, in a black frame, bluish, with a moire pattern."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float64)
    moire = 12 * np.sin(columns * 2.1 + rows * 0.13) * np.sin(rows * 2.0 + columns * 0.11)
    shown = np.clip(pixels * [0.92, 0.97, 1.06] + moire[..., None] + 8, 0, 255).astype(np.uint8)
    return framed(shown, (12, 12, 14), (60, 58, 55))


def on_paper(pixels: Pixels) -> Pixels:
    """Return a photo as a print on a table looks: small, on white paper, flat, with the dots of a printer."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    dots = 14 * (((rows // 2 + columns // 2) % 2) - 0.5)
    printed = np.clip(pixels * 0.62 + 62 + dots[..., None], 0, 255).astype(np.uint8)
    return framed(printed, (235, 234, 230), (120, 96, 70))


def framed(pixels: Pixels, frame: Sequence[int], around: Sequence[int]) -> Pixels:
    """Return a picture within a frame, before a plain background, a little out of focus."""
    side = max(pixels.shape[:2])
    picture = pixels
    for width, colour in ((side // 25, frame), (side // 3, around)):
        picture = cv2.copyMakeBorder(picture, width, width, width, width, cv2.BORDER_CONSTANT, value=list(colour))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)


def report_liveness(bench: Bench, name: str, shots: Iterable[Shot]) -> None:
    """Print how many faces count as live, and how the scores lie."""
    told = [one for shot in shots for one in bench.ask(shot, "liveness")]
    scores = [one.liveness for one in told if one.liveness is not None]
    if not scores:
        print(f"{name:34} no face")
        return
    live = sum(map(is_live, told))
    quantiles = "  ".join(f"{value:.2f}" for value in np.quantile(scores, (0.05, 0.25, 0.5)))
    print(f"{name:34} {len(told):5} {live:5} {100 * live / len(told):6.1f} %   {quantiles}")


def poses(bench: Bench, shot: Shot, scale: float) -> NDArray[np.float64]:
    """Return yaw, pitch and roll of each face (N, 3)."""
    found: list[Pose] = [one.pose for one in bench.ask(shot, "pose", scale) if one.pose is not None]
    return np.array([(pose.yaw, pose.pitch, pose.roll) for pose in found]).reshape(-1, 3)


def mirrored(shot: Shot) -> Shot:
    """Return a photo as a mirror shows it, with the same faces."""
    boxes = shot.faces.boxes_xyxy.copy()
    boxes[:, [0, 2]] = shot.pixels.shape[1] - 1 - boxes[:, [2, 0]]
    pixels = np.ascontiguousarray(shot.pixels[:, ::-1])
    return Shot(pixels, Detections(boxes, shot.faces.scores, shot.faces.landmarks))


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Return a photo turned clockwise."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, (width, height)), np.uint8)


def report_poses(bench: Bench, shots: list[Shot]) -> None:
    """Print what mirrors and turns change, in crops of several sizes."""
    pairs = [(shot, bench.look(turned(shot.pixels, TURN))) for shot in shots if len(shot.faces.scores) == 1]
    pairs = [pair for pair in pairs if len(pair[1].faces.scores) == 1]
    faces = sum(len(shot.faces.scores) for shot in shots)
    print(f"\nHead pose, degrees: {faces} faces mirrored; {len(pairs)} photos of one face turned by {TURN:g} clockwise")
    print("crop   mirror: mean error of yaw pitch roll   turned: mean change of yaw pitch roll   deviation of roll")
    for scale in SCALES:
        mirror = np.concatenate(
            [poses(bench, s, scale) - poses(bench, mirrored(s), scale) * [-1, 1, -1] for s in shots]
        )
        turn = np.concatenate([poses(bench, b, scale) - poses(bench, a, scale) for a, b in pairs])
        errors = "  ".join(f"{value:5.1f}" for value in np.abs(mirror).mean(axis=0))
        changes = "  ".join(f"{value:5.1f}" for value in turn.mean(axis=0))
        print(f"{scale:4.1f}   {errors:>36}   {changes:>37}   {turn[:, 2].std():17.1f}")


def report_ages(bench: Bench) -> None:
    """Print the ages of portraits with a date, in crops of several sizes."""
    names = ", ".join(f"{name} {age}" for name, age in AGES.items())
    print(f"\nAge of the largest face, years; truly: {names}")
    shots = [largest(bench.look(read(PHOTOS / "portraits" / name))) for name in AGES]
    for scale in SCALES:
        told = [bench.ask(shot, "age", scale)[0].age or 0.0 for shot in shots]
        error = np.mean([abs(found - age) for found, age in zip(told, AGES.values(), strict=True)])
        print(f"crop {scale:.1f}: {'  '.join(f'{age:.0f}' for age in told)}   mean error {error:.1f}")


def largest(shot: Shot) -> Shot:
    """Return a photo with its largest face alone."""
    faces = shot.faces
    return Shot(shot.pixels, Detections(faces.boxes_xyxy[:1], faces.scores[:1], faces.landmarks[:1]))


def report_cost(bench: Bench, shot: Shot, attributes: Iterable[Attribute]) -> None:
    """Print how long each attribute of one face takes."""
    print("\nCost for one face, on one thread")
    for attribute in attributes:
        print(f"{attribute:10} {1000 * median_seconds(partial(bench.ask, shot, attribute)):6.1f} ms")
    print(
        f"{'detect':10} {1000 * median_seconds(lambda: bench.recognizer.detect(shot.pixels)):6.1f} ms, for comparison"
    )


def median_seconds(act: Callable[[], object]) -> float:
    """Return how long something takes, as a rule."""

    def seconds() -> Iterator[float]:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            act()
            yield time.perf_counter() - start

    act()
    return float(np.median(list(seconds())))


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models-dir", type=Path, default=default_models_dir())
    bench = Bench(parser.parse_args().models_dir)
    portraits, groups = (bench.shots(sorted((PHOTOS / name).glob("*.jpg"))) for name in ("portraits", "groups"))
    people = bench.shots(sorted(DATA.rglob("*.jpg")))
    print(f"Liveness, of which {LEAST_LIVENESS} and more counts as live")
    print(f"{'photos':34} faces  live                5 %   25 %   50 % of the scores are below")
    for name, shots in (("portraits", portraits), ("groups", groups), ("LFW, first fold", people)):
        report_liveness(bench, name, shots)
    for name, imitate in (("on a screen, imitated", on_a_screen), ("on paper, imitated", on_paper)):
        report_liveness(
            bench, f"portraits and groups {name}", [bench.look(imitate(s.pixels)) for s in portraits + groups]
        )
    some = people[::EVERY_NTH]
    report_poses(bench, portraits + groups + some)
    told: tuple[Attribute, ...] = ("liveness", "pose")
    try:
        report_ages(bench)
        told = (*told, "age")
    except SetupError as error:
        print(f"\nAge and gender cannot be told: {error}")
    report_cost(bench, largest(portraits[1]), told)


if __name__ == "__main__":
    main()
