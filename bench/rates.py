"""Error rates of a pack, for the catalogue: which threshold has which false match rate, and how probable a distance is.

On the images of LFW's first fold, or of several folds, as they are: every image's prominent face, from 40 pixels on;
all pairs of all images, some 320,000 of them of strangers in the first fold, 4.7 million in the first four; float32.
Prints what each threshold refuses of pairs of one person, and the literals that the catalogue holds.

With several folders, whose people must differ, it also prints for each of them what it says of thresholds and
probabilities that the others gave: people are left out, not pairs.

    python bench/rates.py --pack dlib
    python bench/rates.py --pack open --models-dir DIR
    python bench/rates.py --data ../shared/data/lfw-fold1 --data ../shared/data/lfw-folds2-4
    python bench/rates.py --precision auto           how much bfloat16 changes, where the processor has it
    python bench/rates.py --wrong 0.01               with a hundredth of the photos under wrong people
    python bench/rates.py --metric cosine --mirror   what angles and the mirrored chip are worth
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from lfw import DATA
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.decide import rule_at_rate
from visavis.evaluation.bootstrap import interval, resample
from visavis.evaluation.calibration import Calibrated, calibrate
from visavis.evaluation.embedding import PhotoEmbedder, embed_photos
from visavis.evaluation.metrics import Comparisons, compare_pairs, rates_at
from visavis.evaluation.protocols import Photo, pair_people
from visavis.models.catalogue import PACKS
from visavis.models.runtime import precision_in_force
from visavis.options import DEFAULT_PACK

MIN_FACE = 40
_ALL_PAIRS = 50_000_000
_PROBABILITIES = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
_DIGITS = 4
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16"}


def compare(
    recognizer: Recognizer, folders: list[Path], cache_dir: Path | None, wrong: float
) -> tuple[Comparisons, NDArray[np.intp]]:
    """Return all pairs of images, and the place of the folder that each image of a pair (N, 2) is in."""
    paths = [
        (place, path) for place, folder in enumerate(folders) for path in sorted((folder / "images").rglob("*.jpg"))
    ]
    rng, people = np.random.default_rng(0), [path.parent.name for _, path in paths]
    filed = [people[rng.integers(len(people))] if rng.random() < wrong else name for name in people]
    photos = [Photo(path.name, str(path), name) for (_, path), name in zip(paths, filed, strict=True)]
    pairs = pair_people(photos, most=_ALL_PAIRS)
    embedded = embed_photos(PhotoEmbedder.of(recognizer, cache_dir=cache_dir), pairs.photos)
    print(f"{len(photos)} images, {len(embedded.failures)} without a face; {pairs.about}", flush=True)
    place_of = {str(path): place for place, path in paths}
    places = np.array([place_of[photo.path] for photo in pairs.photos])
    return compare_pairs(embedded, pairs, recognizer.pack.metric), places[pairs.places]


def literal(found: Calibrated, about: str) -> str:
    """Return what the catalogue holds."""
    digits = _DIGITS + (found.points[-1].point.threshold < 1 / 5)  # for small distances, one more
    lines = [
        f"            OperatingPoint({p.fmr:g}, {p.threshold:.{digits}f}, {p.low:.{digits}f}, {p.high:.{digits}f}),"
        for p in (each.point for each in found.points)
    ]
    return "\n".join(
        [
            "    calibration=Calibration(",
            f"        midpoint={found.midpoint:.{digits}f},",
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


def report(found: Calibrated) -> None:
    """Print what each threshold refuses."""
    print(
        f"{found.genuine:,} pairs of one person, {found.support.impostor:,} of strangers "
        f"({found.support.acquaintances:,} pairs of people); the least rate is {found.support.least:.2g}"
    )
    for each in found.points:
        print(
            f"FMR {each.point.fmr:<7g} threshold {each.point.threshold:.4f} ({each.point.low:.4f} to "
            f"{each.point.high:.4f})   FNMR {each.fnmr.value:7.2%} ({each.fnmr.low:.2%} to {each.fnmr.high:.2%})",
            flush=True,
        )


def report_left_out(name: str, found: Calibrated, left_out: Comparisons) -> None:
    """Print the rates that thresholds have, and how often probabilities are right, for people left out."""
    measured = found.measured("the others")
    print(f"\n{name}, by what the other folders say: midpoint {found.midpoint:.4f}, slope {found.slope:.2f}")
    rules = [rule_at_rate(measured.rates, each.point.fmr) for each in found.points]
    drawn = resample(left_out, [rule.threshold for rule in rules])
    for rule in rules:
        fmr, fnmr = rates_at(left_out, rule.threshold)
        known = interval(fmr, drawn.fmr_at(rule.threshold), left_out.people[1])
        within = "within" if known.low <= (rule.fmr or 0) <= known.high else "NOT within"
        print(f"asked {rule.fmr:<7g} got {fmr:.2e} ({known.low:.2e} to {known.high:.2e}, {within})   FNMR {fnmr:7.2%}")
    odds = np.clip(found.slope * (found.midpoint - left_out.distances), -700, 700)
    told, off = 1 / (1 + np.exp(-odds)), 0.0
    share = np.where(left_out.same, 0.5 / left_out.same.sum(), 0.5 / (~left_out.same).sum())
    print("probability told, and the share that is one person, of as many pairs of both kinds:")
    for low, high in pairwise(_PROBABILITIES):
        chosen = (told >= low) & ((told < high) | (high == 1))
        weight = share[chosen].sum()
        if weight:
            mean, true = (told * share)[chosen].sum() / weight, (share * left_out.same)[chosen].sum() / weight
            off += weight * abs(mean - true)
            print(f"  {low:4.2f} to {high:4.2f}: {mean:.3f} told, {true:.3f} true, {weight:6.2%} of pairs")
    print(f"off by {off:.4f} on average", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default=DEFAULT_PACK)
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--data", type=Path, action="append", help="a folder with images/PERSON/; several may be given")
    parser.add_argument("--precision", choices=["f32", "auto"], default="f32")
    parser.add_argument("--cache", type=Path, help="a folder for embeddings, to measure again faster")
    parser.add_argument("--wrong", type=float, default=0.0, help="the share of photos to put under wrong people")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], help="other than the pack's")
    parser.add_argument("--mirror", action="store_true", help="embed the mirrored chip too")
    options = parser.parse_args()
    folders, pack = options.data or [DATA], PACKS[options.pack]
    PACKS[options.pack] = replace(pack, mirror=pack.mirror or options.mirror, metric=options.metric or pack.metric)
    recognizer = Recognizer(options.pack, precision=options.precision, min_face=MIN_FACE, models_dir=options.models_dir)
    compared, places = compare(recognizer, folders, options.cache, options.wrong)
    found = calibrate(compared)
    report(found)
    data = " and ".join(folder.name.replace("-", " ") for folder in folders)
    about = f"all pairs of the {found.people} people of {data}, bench/rates.py --pack {options.pack}, "
    print(literal(found, about + _PRECISIONS[precision_in_force(recognizer.runtime)]), flush=True)
    for place, folder in enumerate(folders if len(folders) > 1 else ()):
        others = calibrate(compared.where((places != place).all(axis=1)))
        report_left_out(folder.name, others, compared.where((places == place).all(axis=1)))


if __name__ == "__main__":
    main()
