"""How good faces are in ordinary photos, how blur and low resolution show, and below which limits faces are hopeless.

On the images of LFW's first fold, as they are; faces from 40 pixels on, every image's most central one; float32, at the
pack's threshold. The images of people who have several are also blurred and made smaller; a face of such a photo is
compared with the untouched photos of the same person (how many are refused at the threshold: FNMR) and of all others
(how many are accepted: FMR), and with the faces of others in photos that suffered the same (FMR among themselves): in a
gallery of bad photos everybody looks alike. Photos are not turned: for yaw and pitch there is what the photos have.

With ``--pose``, nothing of that, but how well yaw and pitch as they are estimated from landmarks agree with what a
network says of the same faces: head-pose-estimation-adas-0001 of the pack ``open``, which itself is off by about 5
degrees, as its publisher says. On the same photos, all faces from 40 pixels on, and on the group photos. The constants
of ``visavis.core.quality`` were fitted to the same photos; they are few.

    python bench/quality.py                            the pack dlib
    python bench/quality.py --pack open [--models-dir DIR]
    python bench/quality.py --pose [--models-dir DIR]
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from lfw import DATA, most_central
from numpy.typing import NDArray
from PIL import Image

from visavis import Face, Recognizer
from visavis.core.geometry import iou
from visavis.models.packs import Pack

MIN_FACE = 40
QUANTILES = (0.0, 0.01, 0.05, 0.50, 0.95, 0.99, 1.0)
BLURS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
SCALES = (0.5, 0.4, 0.3, 0.25, 0.2)
LIMITS = {
    "face_px": (15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
    "sharpness": (0.03, 0.05, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16),
    "score": (0.50, 0.60, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.98, 1.00, 1.02),
}
ANGLES = {"yaw": (15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 60.0), "pitch": (4.0, 6.0, 8.0, 10.0, 12.0, 15.0)}
_SAME_FACE_IOU = 0.3
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shots:
    """The faces found in photos: whose, how good, and their embeddings (N, D)."""

    person: NDArray[np.str_]
    path: NDArray[np.str_]
    embedding: Floats
    quality: dict[str, Floats]
    photos: int
    pack: Pack

    def __len__(self) -> int:
        return len(self.person)

    def where(self, chosen: NDArray[np.bool_]) -> "Shots":
        """Return some of them."""
        quality = {name: values[chosen] for name, values in self.quality.items()}
        return Shots(
            self.person[chosen], self.path[chosen], self.embedding[chosen], quality, int(chosen.sum()), self.pack
        )


def shoot(recognizer: Recognizer, paths: Sequence[Path], spoil: Callable[[Pixels], Pixels], min_face: float) -> Shots:
    """Return the most central face of each photo, once something was done to the photo."""
    found = []
    for path in paths:
        with Image.open(path) as image:
            pixels = spoil(np.asarray(image.convert("RGB")))
        faces = recognizer.embed(pixels, min_face=min_face, quality=True)
        if face := most_central(faces, (pixels.shape[1], pixels.shape[0])):
            found.append((path, face))
    return Shots(
        np.array([path.parent.name for path, _ in found]),
        np.array([str(path) for path, _ in found]),
        np.array([face.embedding for _, face in found], np.float64).reshape(len(found), recognizer.pack.dimension),
        {name: np.array([_measure(face, name) for _, face in found]) for name in (*LIMITS, *ANGLES)},
        len(paths),
        recognizer.pack,
    )


def _measure(face: Face, name: str) -> float:
    """Return what a face's quality has of that name; angles either way, and not a number where they are not told."""
    value = getattr(face.quality, name)
    return np.nan if value is None else abs(value) if name in ANGLES else value


def blurred(sigma: float) -> Callable[[Pixels], Pixels]:
    """Return what blurs a photo."""

    def spoil(pixels: Pixels) -> Pixels:
        result: Pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
        return result

    return spoil


def smaller(scale: float) -> Callable[[Pixels], Pixels]:
    """Return what makes a photo smaller."""

    def spoil(pixels: Pixels) -> Pixels:
        result: Pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return result

    return spoil


def near_pairs(a: Floats, b: Floats, pack: Pack) -> NDArray[np.bool_]:
    """Tell which of a (N, D) and b (M, D) are nearer than the pack's threshold: (N, M)."""
    squared_limit = pack.threshold**2
    if pack.metric == "cosine":  # half the squared distance of what has the length 1
        a, b = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (a, b))
        squared_limit = 2 * pack.threshold
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    near: NDArray[np.bool_] = squared < squared_limit
    return near


def rates(shots: Shots, references: Shots) -> tuple[float, float]:
    """Return FNMR and FMR of shots against references; a photo is not compared with itself."""
    near = near_pairs(shots.embedding, references.embedding, shots.pack)
    same = shots.person[:, None] == references.person[None]
    genuine = same & (shots.path[:, None] != references.path[None])
    return float(1 - near[genuine].mean()) if genuine.any() else np.nan, float(near[~same].mean()) if (
        ~same
    ).any() else np.nan


def report_distributions(shots: Shots) -> None:
    """Print the quantiles of each measure."""
    print(f"\n{shots.photos} photos as they are, {shots.photos - len(shots)} without a face found")
    print(f"{'':10}" + "".join(f"{quantile:>9.0%}" for quantile in QUANTILES))
    for name, values in shots.quality.items():
        print(f"{name:10}" + "".join(f"{np.quantile(values, quantile):9.3f}" for quantile in QUANTILES), flush=True)


def report_condition(name: str, shots: Shots, references: Shots) -> None:
    """Print what became of photos that suffered something."""
    fnmr, fmr = rates(shots, references)
    _, fmr_among = rates(shots, shots)
    medians = "".join(f"{np.median(shots.quality[name]):11.3f}" for name in LIMITS)
    lost = shots.photos - len(shots)
    print(f"{name:14} {lost / shots.photos:8.1%} {medians} {fnmr:9.2%} {fmr:9.3%} {fmr_among:9.3%}", flush=True)


def report_limits(everything: Shots, untouched: Shots) -> None:
    """Print for each candidate limit what is below it: of ordinary photos, and of all that were spoilt."""
    for name, limits in LIMITS.items():
        print(f"\n{name:>10}   ordinary photos below   faces below     FNMR      FMR  among them   FNMR just above")
        for limit in limits:
            values = everything.quality[name]
            below = everything.where(values < limit)
            above = everything.where((values >= limit) & (values < limit * 1.25))
            ordinary = (untouched.quality[name] < limit).mean()
            fnmr, fmr = rates(below, untouched) if len(below) else (np.nan, np.nan)
            among = rates(below, below)[1] if len(below) else np.nan
            fnmr_above = rates(above, untouched)[0] if len(above) else np.nan
            print(f"{limit:10.2f} {ordinary:23.2%} {len(below):13}", end=" ")
            print(f"{fnmr:8.1%} {fmr:8.2%} {among:11.2%} {fnmr_above:17.1%}", flush=True)


def report_angles(ordinary: Shots) -> None:
    """Print for each candidate limit how many ordinary photos turn further, and how well those are recognised."""
    for name, limits in ANGLES.items():
        if np.isnan(ordinary.quality[name]).any():
            continue
        print(f"\n{name:>10}   ordinary photos above   faces     FNMR      FMR  among them   FNMR of the others")
        for limit in limits:
            above = ordinary.where(ordinary.quality[name] > limit)
            others = ordinary.where(ordinary.quality[name] <= limit)
            if len(above):
                (fnmr, fmr), among = rates(above, ordinary), rates(above, above)[1]
                print(f"{limit:10.0f} {len(above) / len(ordinary):23.2%} {len(above):7}", end=" ")
                print(f"{fnmr:8.1%} {fmr:8.2%} {among:11.2%} {rates(others, ordinary)[0]:20.1%}", flush=True)


def compare_poses(models_dir: str | None) -> None:
    """Print how well yaw and pitch of landmarks agree with a network's."""
    reference = Recognizer("open", precision="f32", models_dir=models_dir)
    lfw = sorted((DATA / "images").rglob("*.jpg"))
    groups = sorted((DATA.parent / "images" / "groups").glob("*.jpg"))
    for name, recognizer in (("open", reference), ("dlib", Recognizer(precision="f32"))):
        for photos, paths, min_face in (("photos of LFW", lfw, MIN_FACE), ("group photos", groups, None)):
            pairs = [pair for path in paths for pair in _poses(path, min_face, reference, recognizer)]
            print(f"\n{name}, {len(pairs)} faces of {len(paths)} {photos}")
            for angle in ANGLES:
                _report_agreement(angle, pairs)


def _poses(
    path: Path, min_face: float | None, reference: Recognizer, recognizer: Recognizer
) -> list[tuple[Face, Face]]:
    """Return the faces that both find: with the network's pose, and with their quality."""
    posed = reference.detect(path, min_face=min_face, quality=True, attributes=("pose",))
    if recognizer is reference:
        return [(face, face) for face in posed]
    pairs = []
    for face in recognizer.detect(path, min_face=min_face, quality=True):
        overlaps = [iou(face.box_xyxy[None], other.box_xyxy[None])[0, 0] for other in posed]
        if overlaps and max(overlaps) > _SAME_FACE_IOU:
            pairs.append((posed[int(np.argmax(overlaps))], face))
    return pairs


def _report_agreement(angle: str, pairs: list[tuple[Face, Face]]) -> None:
    found = [(getattr(a.attributes and a.attributes.pose, angle), getattr(b.quality, angle)) for a, b in pairs]
    if not found or found[0][1] is None:
        print(f"{angle:8} is not estimated")
        return
    network, landmarks = np.array(found).T
    print(
        f"{angle:8} correlation {np.corrcoef(network, landmarks)[0, 1]:.2f}, mean absolute difference "
        f"{np.abs(network - landmarks).mean():.1f} degrees, standard deviations {network.std():.1f} (network) and "
        f"{landmarks.std():.1f} (landmarks)",
        flush=True,
    )


def pooled(parts: Sequence[Shots]) -> Shots:
    """Return all shots as one."""
    return Shots(
        np.concatenate([part.person for part in parts]),
        np.concatenate([part.path for part in parts]),
        np.concatenate([part.embedding for part in parts]),
        {name: np.concatenate([part.quality[name] for part in parts]) for name in (*LIMITS, *ANGLES)},
        sum(part.photos for part in parts),
        parts[0].pack,
    )


def main() -> None:
    """Spoil the photos in many ways, and print what that does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="dlib")
    parser.add_argument("--models-dir", help="where pulled models are")
    parser.add_argument("--pose", action="store_true", help="compare poses with a network's, and nothing else")
    options = parser.parse_args()
    if options.pose:
        compare_poses(options.models_dir)
        return
    recognizer = Recognizer(options.pack, precision="f32", models_dir=options.models_dir)
    paths = sorted((DATA / "images").rglob("*.jpg"))
    untouched = shoot(recognizer, paths, lambda pixels: pixels, MIN_FACE)
    print(f"pack {recognizer.pack.name}, threshold {recognizer.pack.threshold:g}")
    report_distributions(untouched)
    report_angles(untouched)

    several = [path for path in paths if len(list(path.parent.glob("*.jpg"))) > 1]
    print(f"\n{len(several)} photos of people who have several     median")
    print(f"{'':14}  no face     face_px  sharpness      score      FNMR       FMR  among them", flush=True)
    all_shots = [untouched.where(np.isin(untouched.path, [str(path) for path in several]))]
    report_condition("as they are", all_shots[0], untouched)
    conditions = [(f"blur {sigma:g} px", blurred(sigma), float(MIN_FACE)) for sigma in BLURS]
    conditions += [(f"{scale:g} of the size", smaller(scale), max(10.0, MIN_FACE * scale)) for scale in SCALES]
    for name, spoil, min_face in conditions:
        all_shots.append(shoot(recognizer, several, spoil, min_face))
        report_condition(name, all_shots[-1], untouched)
    report_limits(pooled(all_shots), untouched)


if __name__ == "__main__":
    main()
