"""False match rates within groups of people: strangers of one sex and origin, or of one age.

On 1,583 photos that are filed by group, each taken for another person; a few are the same person or photo twice, so
that rates below 0.1 % are bounds. Every photo's most central face, from 40 pixels on; float32. Prints the rates at the
pack's own threshold and at those that have a false match rate on LFW; what is left of them where faces that look like
children's are uncertain, on the photos with odd numbers, which the test for these was not fitted on; and the literal of
the catalogue for the group of adults whose strangers are nearest.

    python bench/groups.py --pack sface
    python bench/groups.py --pack open --models-dir DIR --cache DIR
"""

import argparse
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from lfw import DATA
from numpy.typing import NDArray
from rates import MIN_FACE

from visavis import Recognizer
from visavis.core.decide import rule_at_rate
from visavis.evaluation.bootstrap import interval, resample
from visavis.evaluation.embedding import PhotoEmbedder, embed_photos
from visavis.evaluation.metrics import Comparisons, paired_distances, threshold_at_fmr
from visavis.evaluation.protocols import Photo
from visavis.models.packs import Pack
from visavis.types import FloatArray

GROUPS = DATA.parent / "groups-of-people"
CHILDREN = ("age0-5", "age6-15")
RATES = (1e-2, 1e-3, 1e-4)
GRID = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class Crowd:
    """Faces of people: the file and the group, or person, of each, and their embeddings (N, D)."""

    file: NDArray[np.str_]
    group: NDArray[np.str_]
    embedding: FloatArray


def embed(recognizer: Recognizer, folder: Path, cache_dir: Path | None) -> Crowd:
    """Return the faces of the photos below a folder, by the name of the folder that each lies in."""
    paths = sorted(folder.rglob("*.jpg"))
    photos = [Photo(path.name, str(path), str(path)) for path in paths]
    embedded = embed_photos(PhotoEmbedder.of(recognizer, faces="prominent", cache_dir=cache_dir), photos)
    names, groups = (np.array(each) for each in zip(*((path.name, path.parent.name) for path in paths), strict=True))
    print(f"{folder.name}: {len(paths)} photos, {len(embedded.failures)} without a face", flush=True)
    return Crowd(names[embedded.found], groups[embedded.found], embedded.embeddings[embedded.found])


def is_odd(file: str) -> bool:
    """Tell whether a photo's number is odd: the test for children's faces was fitted on the others."""
    return int(Path(file).stem) % 2 == 1


def compare(embeddings: FloatArray, pack: Pack) -> Comparisons:
    """Return all pairs, each of strangers."""
    places = np.array(list(combinations(range(len(embeddings)), 2)))
    distances = paired_distances(pack.metric, *embeddings[places.T])
    return Comparisons(distances, np.zeros(len(places), np.bool_), places, places)


def thresholds_of(pack: Pack) -> dict[str, float]:
    """Return the thresholds that are looked at, by what the table calls them."""
    rates = {f"FMR {rate:g}": rule_at_rate(pack.rates, rate).threshold for rate in RATES} if pack.rates else {}
    return {"default": pack.threshold, **rates}


def report(crowd: Crowd, pack: Pack) -> str:
    """Print the table; return the group of adults that has most false matches."""
    thresholds = thresholds_of(pack)
    print(f"\npack {pack.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in thresholds.items()))
    print(f"{'':14} people" + "".join(f"{name:>13}" for name in thresholds) + "   the same where children are told")
    worst: dict[str, float] = {}
    for name in np.unique(crowd.group):
        own = crowd.embedding[crowd.group == name]
        pairs = compare(own, pack)
        child = np.array([pack.child is not None and pack.child(each) for each in own])
        odd = np.array([is_odd(file) for file in crowd.file[crowd.group == name]])
        decided, held_out = ~child[pairs.photos].any(axis=1), odd[pairs.photos].all(axis=1)
        rates = [(pairs.distances < value).mean() for value in thresholds.values()]
        left = [((pairs.distances < value) & decided)[held_out].mean() for value in thresholds.values()]
        print(f"{name:14} {len(own):6}" + "".join(f"{rate:13.2%}" for rate in rates), end="  ")
        print("".join(f"{rate:9.2%}" for rate in left), flush=True)
        if name not in CHILDREN:
            worst[name] = rates[min(2, len(rates) - 1)]
    return max(worst, key=worst.__getitem__)


def literal(crowd: Crowd, pack: Pack, group: str) -> str:
    """Return what the catalogue holds of a group."""
    own = crowd.embedding[crowd.group == group]
    pairs = compare(own, pack)
    thresholds = {rate: threshold_at_fmr(pairs.impostor, rate) for rate in GRID}
    replicates = resample(pairs, list(thresholds.values()))
    lines = []
    for rate, value in thresholds.items():
        found = interval(value, replicates.threshold_at(rate))
        lines.append(f"        OperatingPoint({rate:g}, {value:.4f}, {found.low:.4f}, {found.high:.4f}),")
    origin, of = group.split("-")
    about = f"strangers among {len(own)} {origin.capitalize()} {of}, of UTKFace: bench/groups.py --pack {pack.name}"
    return "\n".join(["ErrorRates(", "    points=(", *lines, "    ),", f'    provenance="{about}, float32",', ")"])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="sface")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--cache", type=Path, help="a folder for embeddings, to measure again faster")
    options = parser.parse_args()
    recognizer = Recognizer(options.pack, precision="f32", min_face=MIN_FACE, models_dir=options.models_dir)
    crowd = embed(recognizer, GROUPS, options.cache)
    print(literal(crowd, recognizer.pack, report(crowd, recognizer.pack)))


if __name__ == "__main__":
    main()
