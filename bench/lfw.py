"""Accuracy on Labeled Faces in the Wild, and agreement with dlib on the same pairs.

Protocol: images enlarged twice (they are 250 x 250), faces from 80 pixels on, which is dlib's own setting; every
image's most central face; a pair is "same" when the distance of the two embeddings is below the pack's threshold; an
image without a face makes its pairs "different". A third row is ``verify`` as it comes, on the images as they are.

    python bench/lfw.py                      accuracy in float32, in "auto", and of ``verify``
    python bench/lfw.py --pack open          ... of another pack
    python bench/lfw.py --dlib               ... and dlib's own landmarks, chips and embedder in our boxes (minutes)
    python bench/lfw.py --dlib-boxes         ... likewise, in the boxes of dlib's CNN detector (half an hour)
    python bench/lfw.py --largest            how often the fast searches for one face find another (minutes)
"""

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visavis import Face, Recognizer, VisavisError
from visavis.core.decide import distance_of
from visavis.core.geometry import areas, iou, most_prominent
from visavis.options import OneFace, Precision
from visavis.types import Metric

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("VISAVIS_TEST_DATA", ROOT.parent / "shared" / "data")) / "lfw-fold1"
MIN_FACE = 80
ENLARGED = 2
_SAME_FACE_IOU = 0.3
Pair = tuple[Path, Path, bool]


def read_pairs(folder: Path = DATA) -> list[Pair]:
    """Return the pairs of LFW's ``pairs.txt``: two image paths, and whether they show the same person."""

    def image(name: str, number: str) -> Path:
        return folder / "images" / name / f"{name}_{int(number):04d}.jpg"

    rows = [line.split("\t") for line in (folder / "pairs.txt").read_text().splitlines()[1:]]
    return [
        (image(row[0], row[1]), image(row[0], row[2]), True)
        if len(row) == 3  # noqa: PLR2004  # name, number, number; else name, number, name, number
        else (image(row[0], row[1]), image(row[2], row[3]), False)
        for row in rows
    ]


def read_enlarged(path: Path) -> NDArray[np.uint8]:
    """Return an image's pixels, twice as many each way."""
    with Image.open(path) as image:
        size = (image.width * ENLARGED, image.height * ENLARGED)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))


def most_central(faces: Iterable[Face], size_wh: tuple[int, int]) -> Face | None:
    """Return the face whose box centre is nearest to the image's."""
    middle = np.array(size_wh) / 2
    return min(
        faces, key=lambda face: np.linalg.norm((face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - middle), default=None
    )


def central_faces(recognizer: Recognizer, paths: list[Path]) -> dict[Path, Face | None]:
    """Return each image's most central face, with its embedding."""
    results = recognizer.embed_many(map(read_enlarged, paths), min_face=MIN_FACE)
    chosen = {}
    for path, faces in zip(paths, results, strict=True):
        if isinstance(faces, VisavisError):
            raise faces
        with Image.open(path) as image:
            chosen[path] = most_central(faces, (image.width * ENLARGED, image.height * ENLARGED))
    return chosen


def verified(recognizer: Recognizer, pairs: list[Pair]) -> NDArray[np.float64]:
    """Return the distances that ``verify`` gives with its defaults; infinity where it could not tell."""
    results = recognizer.verify_many((a, b) for a, b, _ in pairs)
    return np.array([np.inf if isinstance(result, VisavisError) else result.distance for result in results])


def distances(
    embeddings: dict[Path, NDArray[np.float32] | None], pairs: list[Pair], metric: Metric
) -> NDArray[np.float64]:
    """Return each pair's distance; infinity where a face is missing."""

    def distance(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> float:
        return np.inf if a is None or b is None else distance_of(metric, a, b)

    return np.array([distance(embeddings[a], embeddings[b]) for a, b, _ in pairs])


def measure(recognizer: Recognizer, pairs: list[Pair]) -> tuple[NDArray[np.float64], dict[Path, Face | None]]:
    """Return the distances of all pairs, and the faces that they are of."""
    paths = sorted({path for a, b, _ in pairs for path in (a, b)})
    faces = central_faces(recognizer, paths)
    embeddings = {path: None if face is None else face.embedding for path, face in faces.items()}
    return distances(embeddings, pairs, recognizer.pack.metric), faces


def dlib_embedding(own_boxes: bool, job: tuple[Path, NDArray[np.float32] | None]) -> NDArray[np.float32] | None:  # noqa: FBT001
    """Embed an image's central face with dlib, in a box of ours or of its own CNN detector."""
    import dlib  # noqa: PLC0415  # its models are loaded once in each worker process

    global _dlib  # noqa: PLW0603
    if _dlib is None:
        from visavis.models.catalogue import DLIB  # noqa: PLC0415
        from visavis.models.installation import source_path  # noqa: PLC0415

        _dlib = (
            dlib.cnn_face_detection_model_v1(str(source_path(DLIB.part("detector").files[0]))),
            dlib.shape_predictor(str(source_path(DLIB.part("landmarks").files[0]))),
            dlib.face_recognition_model_v1(str(source_path(DLIB.part("embedder").files[0]))),
        )
    detector, predictor, embedder = _dlib
    path, box = job
    pixels = read_enlarged(path)
    if own_boxes:
        found = [found.rect for found in detector(pixels, 0)]
        middle = (pixels.shape[1] / 2, pixels.shape[0] / 2)
        rectangle = min(found, key=lambda r: np.hypot(r.center().x - middle[0], r.center().y - middle[1]), default=None)
    else:
        rectangle = None if box is None else dlib.rectangle(*box.astype(int).tolist())
    if rectangle is None:
        return None
    shape = predictor(pixels, rectangle)
    return np.array(embedder.compute_face_descriptor(pixels, shape, 0, 0.25), np.float32)


_dlib: tuple[Any, Any, Any] | None = None


def compare_searches(recognizer: Recognizer, paths: list[Path]) -> None:
    """Print on how many images the coarse-to-fine searches find another face than that of all faces."""
    full = list(recognizer.detect_many(paths))
    searches: tuple[tuple[OneFace, float], ...] = (("largest", 0.0), ("prominent", 2.0))
    for faces, off_centre in searches:
        others = larger = 0
        for path, everything, found in zip(paths, full, recognizer.detect_many(paths, faces=faces), strict=True):
            if isinstance(everything, VisavisError) or isinstance(found, VisavisError) or not everything:
                continue
            boxes, scores = (np.array([getattr(face, of) for face in everything]) for of in ("box_xyxy", "score"))
            with Image.open(path) as image:
                first = boxes[most_prominent(boxes, areas(boxes), scores, image.size, off_centre)]
            if not found or iou(first, found[0].box_xyxy[None])[0, 0] < _SAME_FACE_IOU:
                others += 1
                sizes = [box[2] - box[0] for box in (first[0], *(face.box_xyxy for face in found))]
                larger += len(sizes) == 1 or sizes[0] > sizes[1] * 1.2  # one level of the pyramid
        print(f"{faces}, {len(paths)} images: another face on {others}, more than a level smaller on {larger} of them")


def report(name: str, measured: NDArray[np.float64], same: NDArray[np.bool_], threshold: float) -> None:
    """Print one row: accuracy at the threshold, the best of all thresholds, and faces not found."""
    right = (measured < threshold) == same
    candidates = np.unique(measured[np.isfinite(measured)])
    best = max((((measured < t) == same).mean(), t) for t in candidates)
    print(
        f"{name:30} {right.mean():8.2%} at {threshold}   best {best[0]:.2%} at {best[1]:.3f}   "
        f"FMR {(measured < threshold)[~same].mean():.2%}   FNMR {(measured >= threshold)[same].mean():.2%}   "
        f"pairs without a face {np.isinf(measured).sum()}",
        flush=True,
    )


def parser_of_pack(description: str | None) -> argparse.ArgumentParser:
    """Return what reads the options of all benchmarks that measure a pack."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="dlib", help="its name; dlib, unless it is given")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are; else in the user's data folder")
    return parser


def recognizer_of(options: argparse.Namespace, precision: Precision = "f32") -> Recognizer:
    """Load the pack that the command line names."""
    return Recognizer(options.pack, precision=precision, models_dir=options.models_dir)


def main() -> None:
    """Run the measurements that the command line asks for."""
    parser = parser_of_pack(__doc__)
    parser.add_argument("--dlib", action="store_true", help="compare with dlib's embeddings")
    parser.add_argument("--dlib-boxes", action="store_true", help="dlib finds the faces itself")
    parser.add_argument("--largest", action="store_true", help="compare the two searches, and nothing else")
    options = parser.parse_args()
    if options.pack != "dlib" and (options.dlib or options.dlib_boxes):
        parser.error("only the pack dlib can be compared with dlib")
    if options.largest:
        compare_searches(recognizer_of(options), sorted({path for a, b, _ in read_pairs() for path in (a, b)}))
        return

    pairs = read_pairs()
    same = np.array([pair[2] for pair in pairs])
    print(f"{len(pairs)} pairs of {DATA.name}, pack {options.pack}", flush=True)
    measured: dict[Precision, NDArray[np.float64]] = {}
    for precision in ("f32", "auto"):
        recognizer = recognizer_of(options, precision)
        measured[precision], faces = measure(recognizer, pairs)
        report(f"visavis, {precision}", measured[precision], same, recognizer.threshold)
    threshold = recognizer.threshold
    report("visavis, verify() as it comes", verified(recognizer, pairs), same, threshold)
    if options.dlib or options.dlib_boxes:
        jobs = [(path, None if face is None else face.box_xyxy) for path, face in faces.items()]
        with ProcessPoolExecutor() as pool:
            vectors = pool.map(partial(dlib_embedding, options.dlib_boxes), jobs, chunksize=8)
            reference = distances(dict(zip([job[0] for job in jobs], vectors, strict=True)), pairs, "euclidean")
        report("dlib" + (", own boxes" if options.dlib_boxes else ", our boxes"), reference, same, threshold)
        for precision, ours in measured.items():
            agree = ((ours < threshold) == (reference < threshold)).mean()
            print(f"same decision as dlib, {precision:22} {agree:.2%}", flush=True)


if __name__ == "__main__":
    main()
