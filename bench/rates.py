"""Error rates of a pack, for the catalogue: which threshold has which false match rate.

On the 807 images of LFW's first fold, as they are: every image's most central face, from 40 pixels on; all pairs of
images, some 320,000 of them of strangers; float32. Prints what each threshold refuses of pairs of one person, and the
literals that the catalogue holds. (The probability of the pack dlib is that of ``bench/lfw.py --fit``.)

    python bench/rates.py
    python bench/rates.py --pack open --models-dir DIR
    python bench/rates.py --precision auto           how much bfloat16 changes, where the processor has it
"""

import argparse
from pathlib import Path

from lfw import DATA

from visavis import Recognizer
from visavis.evaluation.calibration import Calibrated, calibrate
from visavis.evaluation.embedding import PhotoEmbedder, embed_photos
from visavis.evaluation.metrics import compare_pairs
from visavis.evaluation.protocols import Photo, pair_people
from visavis.models.runtime import precision_in_force

MIN_FACE = 40
_DIGITS = 4
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16"}


def measure(recognizer: Recognizer, cache_dir: Path | None) -> Calibrated:
    """Return what the images say of the recognizer's pack."""
    paths = sorted((DATA / "images").rglob("*.jpg"))
    photos = [Photo(path.name, str(path), path.parent.name) for path in paths]
    pairs = pair_people(photos)
    embedded = embed_photos(PhotoEmbedder.of(recognizer, faces="central", cache_dir=cache_dir), pairs.photos)
    print(f"{len(photos)} images, {len(embedded.failures)} without a face; {pairs.about}", flush=True)
    return calibrate(compare_pairs(embedded, pairs, recognizer.pack.metric))


def literal(found: Calibrated, pack: str, precision: str) -> str:
    """Return what the catalogue holds."""
    points = (each.point for each in found.points)
    lines = [
        f"            OperatingPoint({p.fmr:g}, {p.threshold:.{_DIGITS}f}, {p.low:.{_DIGITS}f}, {p.high:.{_DIGITS}f}),"
        for p in points
    ]
    about = f"all pairs of the {found.people} people of LFW's first fold, bench/rates.py --pack {pack}, {precision}"
    return "\n".join(
        [
            "    calibration=Calibration(",
            f"        midpoint={found.midpoint:.4f},",
            f"        slope={found.slope:.2f},",
            f'        provenance="{about}",',
            "    ),",
            "    rates=ErrorRates(",
            "        points=(",
            *lines,
            "        ),",
            f'        provenance="{about}",',
            "    ),",
        ]
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="dlib")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--precision", choices=["f32", "auto"], default="f32")
    parser.add_argument("--cache", type=Path, help="a folder for embeddings, to measure again faster")
    options = parser.parse_args()
    recognizer = Recognizer(options.pack, precision=options.precision, min_face=MIN_FACE, models_dir=options.models_dir)
    found = measure(recognizer, options.cache)
    print(
        f"{found.genuine:,} pairs of one person, {found.support.impostor:,} of strangers "
        f"({found.support.acquaintances:,} pairs of people); the least rate is {found.support.least:.2g}"
    )
    for each in found.points:
        print(
            f"FMR {each.point.fmr:<7g} threshold {each.point.threshold:.4f} ({each.point.low:.4f} to "
            f"{each.point.high:.4f})   FNMR {each.fnmr.value:7.2%} ({each.fnmr.low:.2%} to {each.fnmr.high:.2%})"
        )
    print(literal(found, options.pack, _PRECISIONS[precision_in_force(recognizer.runtime)]))


if __name__ == "__main__":
    main()
