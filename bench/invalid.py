"""Turned and degraded photos: how many pairs of strangers are called one person, and how many good photos invalid.

One photo of each of the people of LFW's first fold who have most photos, all treated alike: turned, in half-tones,
noisy, ...; each is compared with all others, by the largest face, in float32. Each row of a treatment tells in how many
photos a face is found, how many of those are not decided about, invalid or occluded, and of all pairs of found ones how
many are called the same: by distance alone, as the pack decides, and so at the false match rate ``strict``; and how
many vectors are invalid by themselves, as they are and brought to length 1. Of what is turned by quarters it tells too
in how many the person is found, and the same, beside another upright photo of theirs.

Then the photos that are called invalid among the untouched ones, of LFW and of every further folder that is named.

    python bench/invalid.py [--pack open] [--models-dir DIR] [--people N] [--extra] [--good FOLDER ...]
    python bench/invalid.py --fit [--good FOLDER ...]   the rule of validity, for the catalogue, from the same photos
    python bench/invalid.py --fit-edges                 what tells upright chips of dlib's from turned ones
"""

import argparse
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from lfw import DATA
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

import visavis
from visavis import Face, Recognizer
from visavis.core.decide import NAMED_RATES, Rule, rule_at_rate
from visavis.core.orientation import edges, folded, quarter_turned
from visavis.core.quality import flatness
from visavis.models import anchor_free
from visavis.models.anchor_free import AnchorFreeDetector
from visavis.models.dlib.detector import DlibDetector
from visavis.models.recognizer import Observed, compare, value_of

PAINTER = "sface"  # the pack whose landmarks tell where to paint
PROTOTYPES = Path(visavis.__file__).parent / "models" / "catalogue" / "nonsense.npz"
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Treatment = Callable[[Pixels, Face], Pixels]
_MIDDLE = 127
_FEWEST = 12  # faces that count as a kind of nonsense
_WEAK_SCORE = 0.65  # from which on --fit looks at faces of nonsense, where the detector's own limit is higher


def turned(quarters: int) -> Treatment:
    """Return what turns a photo clockwise."""
    return lambda photo, _: np.ascontiguousarray(np.rot90(photo, -quarters))


def half_tones(scale: int) -> Treatment:
    """Return what makes a photo larger, and black and white pixels of it."""

    def treat(photo: Pixels, _: Face) -> Pixels:
        image = Image.fromarray(photo)
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        return np.asarray(image.convert("1").convert("RGB"), np.uint8)

    return treat


def mosaic(blocks: int) -> Treatment:
    """Return what makes so many blocks each way of a face."""

    def treat(photo: Pixels, face: Face) -> Pixels:
        middle, half = (face.box_xyxy[:2] + face.box_xyxy[2:]) / 2, (face.box_xyxy[2:] - face.box_xyxy[:2]) / 2 * 1.15
        left, top = np.maximum(middle - half, 0).astype(int)
        right, bottom = np.minimum(middle + half, photo.shape[1::-1]).astype(int)
        done: Pixels = photo.copy()
        small = cv2.resize(done[top:bottom, left:right], (blocks, blocks), interpolation=cv2.INTER_AREA)
        done[top:bottom, left:right] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
        return done

    return treat


def noise(deviation: float, *, grey: bool = False) -> Treatment:
    """Return what adds Gaussian noise."""

    def treat(photo: Pixels, face: Face) -> Pixels:
        random = np.random.default_rng(int(face.box_xyxy[0]))
        added = photo + random.normal(0, deviation, (*photo.shape[:2], 1 if grey else 3))
        return np.asarray(np.clip(added, 0, 255), np.uint8)

    return treat


def compressed(quality: int) -> Treatment:
    """Return what makes a photo a poor JPEG."""

    def treat(photo: Pixels, _: Face) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"), np.uint8)

    return treat


def negative(photo: Pixels, _: Face) -> Pixels:
    """Return a photo's negative."""
    return 255 - photo


def blurred(deviation: float) -> Treatment:
    """Return what blurs a photo."""
    return lambda photo, _: np.asarray(cv2.GaussianBlur(photo, (0, 0), deviation), np.uint8)


def salted(part: float) -> Treatment:
    """Return what makes a part of the pixels black or white."""

    def treat(photo: Pixels, face: Face) -> Pixels:
        chance = np.random.default_rng(int(face.box_xyxy[0])).random(photo.shape[:2])
        done: Pixels = photo.copy()
        done[chance < part / 2], done[chance > 1 - part / 2] = 0, 255
        return done

    return treat


def masked(colour: tuple[int, int, int]) -> Treatment:
    """Return what paints a mask."""

    def treat(photo: Pixels, face: Face) -> Pixels:
        left, right, nose, *corners = face.landmarks
        across, mouth = right - left, np.mean(corners, axis=0)
        down = mouth - (left + right) / 2
        top, chin = nose - 0.05 * down, mouth + 0.62 * down
        cheeks = [mouth + 0.25 * down + side * 0.62 * across for side in (1, -1)]
        edge = [top - 0.75 * across, nose - 0.12 * down, top + 0.75 * across, cheeks[0], chin, cheeks[1]]
        done: Pixels = photo.copy()
        cv2.fillPoly(done, [np.array(edge, np.int32)], colour)
        return done

    return treat


def sunglasses(photo: Pixels, face: Face) -> Pixels:
    """Paint sunglasses."""
    left, right = (point.astype(int).tolist() for point in face.landmarks[:2])
    apart = float(np.hypot(right[0] - left[0], right[1] - left[1]))
    done: Pixels = photo.copy()
    angle = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    for eye in (left, right):
        cv2.ellipse(done, eye, (int(0.42 * apart), int(0.3 * apart)), angle, 0, 360, (15, 15, 15), -1)
    cv2.line(done, left, right, (15, 15, 15), max(2, int(0.06 * apart)))
    return done


TREATMENTS: dict[str, Treatment] = {
    "none": lambda photo, _: photo,
    "turned 90 degrees": turned(1),
    "turned 180 degrees": turned(2),
    "turned 270 degrees": turned(3),
    "half-tones": half_tones(1),
    "half-tones, twice the size": half_tones(2),
    "mosaic 12 x 12": mosaic(12),
    "noise of 60 grey levels": noise(60),
    "JPEG quality 3": compressed(3),
    "negative": negative,
    "mask painted": masked((150, 185, 220)),
    "sunglasses painted": sunglasses,
}
EXTRA: dict[str, Treatment] = {
    "mosaic 8 x 8": mosaic(8),
    "mosaic 16 x 16": mosaic(16),
    "grey noise of 60 levels": noise(60, grey=True),
    "30 % salt and pepper": salted(0.3),
    "blurred by 4 px": blurred(4),
    "blurred by 6 px": blurred(6),
    "JPEG quality 1": compressed(1),
    "JPEG quality 6": compressed(6),
    "two levels a colour": lambda photo, _: np.where(photo > _MIDDLE, 255, 0).astype(np.uint8),
    "solarised": lambda photo, _: np.where(photo > _MIDDLE, 255 - photo, photo).astype(np.uint8),
    "negative, turned 180": lambda photo, _: np.ascontiguousarray(255 - photo[::-1, ::-1]),
    "black mask": masked((20, 20, 20)),
}


def read(path: Path) -> Pixels:
    """Return a photo."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def look(recognizer: Recognizer, photos: Iterable[Pixels]) -> list[Face | None]:
    """Return the largest face of each photo."""
    return [seen.face if seen else None for seen in observe(recognizer, photos)]


def observe(recognizer: Recognizer, photos: Iterable[Pixels | Path]) -> list[Observed | None]:
    """Return the largest face of each photo, with its chip."""
    return [next(iter(value_of(seen)), None) for seen in recognizer.observe_many(photos, faces="largest")]


def is_valid(recognizer: Recognizer, face: Face) -> bool:
    """Tell whether the pack decides about a face."""
    return recognizer.pack.quality.doubt(face.quality) is None


def tell(recognizer: Recognizer, name: str, seen: Sequence[Face | None], others: Mapping[int, Face]) -> None:
    """Print the row of a treatment; ``others`` are untouched photos of the same people, by their number."""
    faces, pack = [face for face in seen if face], recognizer.pack
    decide = partial(compare, pack, rule=Rule.at(pack.threshold))
    row = f"{name:28} found {100 * len(faces) / len(seen):5.1f} %"
    if len(faces) > 1:
        answers = [decide(a, b) for a, b in combinations(faces, 2)]
        strict = rule_at_rate(pack.rates, NAMED_RATES["strict"]).threshold if pack.rates else np.nan
        near = np.mean([answer.distance < pack.threshold for answer in answers])
        same = np.mean([answer.same for answer in answers])
        surely = np.mean([answer.reason is None and answer.distance < strict for answer in answers])
        row += f"  invalid {100 * np.mean([not is_valid(recognizer, face) for face in faces]):5.1f} %"
        row += "  the same " + " ".join(f"{100 * share:6.2f} %" for share in (near, same, surely))
    vectors = [face.embedding for face in faces if face.embedding is not None]
    for some in (vectors, [vector / np.linalg.norm(vector) for vector in vectors]) if vectors else ():
        invalid = np.mean([recognizer.compare(each, each).reason == "invalid_face" for each in some])
        row += f"  by itself {100 * invalid:5.1f} %"
    if name.startswith("turned") or name == "none":
        known = [
            face is not None and decide(face, other).same for face, other in ((seen[at], others[at]) for at in others)
        ]
        row += f"  recognised {100 * np.mean(known):5.1f} % of {len(known)}"
    print(row, flush=True)


def tell_good(recognizer: Recognizer, name: str, paths: Sequence[Path]) -> None:
    """Print how many faces of good photos are called invalid."""
    faces = [face for face in look(recognizer, map(read, paths)) if face]
    invalid = sum(not is_valid(recognizer, face) for face in faces)
    turned_ones = sum(face.turned is not None for face in faces)
    share = 100 * invalid / max(1, len(faces))
    print(f"{name}: {invalid} of {len(faces)} faces invalid ({share:.2f} %), {turned_ones} turned", flush=True)


@contextmanager
def as_they_lie() -> Iterator[None]:
    """Let nothing be turned upright, and YuNet find faces that it is hardly sure of."""
    with (
        mock.patch.object(anchor_free, "_YUNET_LEAST_SCORE", _WEAK_SCORE),
        mock.patch.object(AnchorFreeDetector, "are_upright", return_value=True),
        mock.patch.object(DlibDetector, "are_upright", return_value=True),
    ):
        yield


def fitted(
    prototypes: Floats, good: Sequence[Sequence[Observed]], bad: Sequence[Sequence[Observed]]
) -> tuple[Floats, Floats]:
    """Return the weights of length, likeness, sharpness and flatness, and what they make of the first good ones.

    A logistic regression, in which all good lots together weigh as much as all bad ones.
    """

    def measures(lot: Sequence[Observed]) -> Floats:
        embeddings = np.array([seen.face.embedding for seen in lot], np.float64)
        lengths = np.linalg.norm(embeddings, axis=1)
        likeness = (embeddings @ prototypes.T).max(axis=1) / lengths
        sharp = np.maximum([seen.face.quality.sharpness for seen in lot if seen.face.quality], 0.01)
        flat = [flatness(seen.chip) for seen in lot]
        return np.column_stack([np.log(lengths), likeness, np.log(sharp), flat, np.ones(len(lot))])

    lots = [measures(faces) for faces in (*good, *bad)]
    points = np.concatenate(lots)
    truth = np.repeat([1.0] * len(good) + [0.0] * len(bad), [len(lot) for lot in lots])
    share = [1 / len(good)] * len(good) + [1 / len(bad)] * len(bad)
    weight = np.concatenate([np.full(len(lot), part / len(lot)) for lot, part in zip(lots, share, strict=True)])
    penalty = np.diag([1.0, 1.0, 1.0, 1.0, 0.0]) * 1e-2 / len(points)
    found = np.zeros(5)
    for _ in range(100):  # Newton's method
        chance = 1 / (1 + np.exp(-np.clip(points @ found, -30, 30)))
        slope = points.T @ (weight * (chance - truth)) + penalty @ found
        curve = (points.T * weight * chance * (1 - chance)) @ points + penalty + 1e-9 * np.eye(5)
        found -= np.linalg.solve(curve, slope)
    return found[:4], lots[0][:, :4] @ found[:4]


def fit(recognizer: Recognizer, photos: Sequence[tuple[Pixels, Face]], folders: Sequence[Path]) -> None:
    """Print the rule of validity, with the constant at which so many good photos of LFW are called invalid."""
    good = [[seen for seen in observe(recognizer, photos_in(DATA)) if seen]]
    for found in (recognizer.observe_many(photos_in(each)) for each in folders):
        good += [[seen for faces in found for seen in value_of(faces)]]
    with as_they_lie():
        bad = [
            [seen for seen in observe(recognizer, (kind(*each) for each in photos)) if seen]
            for name, kind in TREATMENTS.items()
            if name != "none" and "painted" not in name
        ]
    weights, values = fitted(
        np.load(PROTOTYPES)[recognizer.pack.name], good, [lot for lot in bad if len(lot) > _FEWEST]
    )
    print("length={:.1f}, likeness={:.1f}, sharpness={:.1f}, flatness={:.1f}".format(*weights))
    lengths = [np.linalg.norm(seen.face.embedding) for seen in good[0] if seen.face.embedding is not None]
    unseen = [
        weights[2] * np.log(seen.face.quality.sharpness) + weights[3] * flatness(seen.chip)
        for seen in good[0]
        if seen.face.quality
    ]
    print(f"usual_length={np.median(lengths):.1f}, unseen={np.median(unseen):.1f}")
    for share in (0.001, 0.003, 0.005):
        print(f"constant={-np.quantile(values, share):.1f} calls {100 * share:.1f} % of good photos invalid")


def fit_edges(photos: Sequence[Path], models_dir: Path | None) -> None:
    """Print the weights of edges by which a chip as dlib aligns it looks upright, beside the same edges turned."""
    found = observe(Recognizer("dlib", precision="f32", models_dir=models_dir), photos)
    upright = [edges(seen.chip) for seen in found if seen]
    more = np.array(
        [(folded(each) - folded(quarter_turned(each, turns))).ravel() for each in upright for turns in (1, 2, 3)]
    )
    truth = np.repeat([True, False], len(more))
    model = LogisticRegression(C=0.3, fit_intercept=False, max_iter=5000).fit(np.concatenate([more, -more]), truth)
    print(model.coef_.reshape(2, 8, 4).round(1))


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="sface")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--images", type=Path, default=DATA / "images", help="a folder of a folder for each person")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--extra", action="store_true", help="other treatments, which the rule was not fitted on")
    parser.add_argument("--good", type=Path, nargs="*", default=[], help="folders of good photos")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--fit-edges", action="store_true")
    options = parser.parse_args()
    if options.fit_edges:
        fit_edges(photos_in(options.images), options.models_dir)
        return
    packs = (options.pack, PAINTER)
    recognizer, painter = (Recognizer(pack, precision="f32", models_dir=options.models_dir) for pack in packs)
    people = [sorted(folder.glob("*.jpg")) for folder in sorted(options.images.iterdir())]
    people = sorted(people, key=len, reverse=True)[: options.people]
    photos = [(read(own[0]), painter.detect(own[0], faces="largest")[0]) for own in people]
    if options.fit:
        fit(recognizer, photos, options.good)
        return
    several = [at for at, own in enumerate(people) if len(own) > 1]
    again = look(recognizer, (read(people[at][1]) for at in several))
    others = {at: face for at, face in zip(several, again, strict=True) if face}
    for name, kind in (EXTRA if options.extra else TREATMENTS).items():
        tell(recognizer, name, look(recognizer, (kind(*each) for each in photos)), others)
    tell_good(recognizer, "all photos", sorted(options.images.rglob("*.jpg")))
    for folder in options.good:
        tell_good(recognizer, folder.name, photos_in(folder))


if __name__ == "__main__":
    main()
