"""1:N on the people of LFW's first fold: who is found in a gallery of one image each, and how near strangers come.

Protocol as in ``bench/lfw.py``: images enlarged twice, faces from 80 pixels on, every image's most central face,
float32. People with several images are enrolled with their first one and probed with the others; everybody with a
single image is a stranger to that gallery. Images without a face are left out, and counted.

    python bench/identify.py
    python bench/identify.py --pack open
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from lfw import DATA, central_faces, parser_of_pack, recognizer_of
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.decide import distances
from visavis.models.packs import Pack
from visavis.types import FloatArray, Metric

THRESHOLDS: dict[Metric, tuple[float, ...]] = {
    "euclidean": (0.40, 0.45, 0.48, 0.50, 0.52, 0.54, 0.56, 0.58, 0.60),
    "cosine": (0.45, 0.50, 0.54, 0.56, 0.58, 0.60, 0.62, 0.64, 0.66, 0.68, 0.70, 0.72, 0.74),
}
MARGINS = (0.00, 0.02, 0.03, 0.05, 0.08)
_USUAL: dict[Metric, float] = {"euclidean": 0.6, "cosine": 0.7}  # the thresholds of packs that these are for
CONFLICT_FACTORS = (0.70, 0.75, 0.80, 0.85, 0.90, 1.00)
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.50, 0.75, 0.95)
GALLERY_SIZES = (50, 100, 200, 400)
_DRAWS = 200
_PAIRS_SHOWN = 24
_LARGER_GALLERIES = (100, 1_000, 10_000)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a gallery of one sample per person answers to probes.

    Attributes:
        nearest: (P,) the distance of the nearest sample.
        margin: (P,) how much farther the next one is.
    """

    nearest: Floats
    margin: Floats

    def accepted(self, threshold: float, margin: float = 0.0) -> NDArray[np.bool_]:
        """Tell for each probe whether it is taken for the nearest person."""
        return (self.nearest < threshold) & (self.margin >= margin)


@dataclass(frozen=True)
class Search:
    """Probes of people who are enrolled, whether the nearest is the right one, and probes of people who are not."""

    enrolled: int
    known: Answers
    rank1: NDArray[np.bool_]
    unknown: Answers


def embed_people(recognizer: Recognizer, folder: Path = DATA) -> tuple[dict[str, FloatArray], int]:
    """Return the embeddings (n, D) of each person, and how many images show no face."""
    paths = sorted((folder / "images").rglob("*.jpg"))
    faces = central_faces(recognizer, paths)
    people = {}
    for name, own in groupby(paths, key=lambda path: path.parent.name):
        vectors = [face.embedding for path in own if (face := faces[path]) and face.embedding is not None]
        if vectors:
            people[name] = np.stack(vectors)
    return people, sum(face is None for face in faces.values())


def pairwise(metric: Metric, a: FloatArray, b: FloatArray) -> Floats:
    """Return the distances of all a (N, D) and all b (M, D): (N, M)."""
    return np.stack([distances(metric, probe, b) for probe in a])


def answers(to_gallery: Floats) -> Answers:
    """Return what the distances (P, N) come to."""
    two = np.sort(to_gallery, axis=1)[:, :2]
    return Answers(two[:, 0], two[:, 1] - two[:, 0])


def search(metric: Metric, people: Sequence[FloatArray]) -> Search:
    """Enrol one image of everybody who has several, and probe with all others."""
    several = [own for own in people if len(own) > 1]
    gallery = np.stack([own[0] for own in several])
    owners = np.repeat(np.arange(len(several)), [len(own) - 1 for own in several])
    to_gallery = pairwise(metric, np.concatenate([own[1:] for own in several]), gallery)
    strangers = np.concatenate([own for own in people if len(own) == 1])
    unknown = answers(pairwise(metric, strangers, gallery))
    return Search(len(gallery), answers(to_gallery), to_gallery.argmin(axis=1) == owners, unknown)


def scale_of(pack: Pack) -> float:
    """Return by how much a pack's distances differ from usual ones."""
    return pack.threshold / _USUAL[pack.metric]


def report_search(found: Search, pack: Pack) -> None:
    """Print rank 1, a row of rates for each threshold, and the same with margins."""
    scale = scale_of(pack)
    thresholds, margins = ([scale * each for each in grid] for grid in (THRESHOLDS[pack.metric], MARGINS))
    strangers = len(found.unknown.nearest)
    print(f"\n{found.enrolled} people enrolled, {len(found.rank1)} probes of them, {strangers} of strangers")
    print(f"rank 1, closed set: {found.rank1.mean():.2%}")
    print("threshold   found    wrong person   not found (FNIR)   strangers taken for somebody (FPIR)")
    for threshold in thresholds:
        near, taken = found.known.accepted(threshold), found.unknown.accepted(threshold)
        right, wrong = (near & found.rank1).mean(), (near & ~found.rank1).mean()
        print(f"{threshold:9.3g} {right:8.2%} {wrong:12.2%} {1 - right:16.2%} {taken.mean():16.2%} ({taken.sum()})")
    print("\nthe same, where the nearest must be nearer than the next by a margin: found / wrong person / FPIR")
    print("threshold" + "".join(f"{margin:25.3g}" for margin in margins))
    for threshold in thresholds:
        cells = []
        for margin in margins:
            near, taken = found.known.accepted(threshold, margin), found.unknown.accepted(threshold, margin)
            cells.append(
                f"{(near & found.rank1).mean():9.1%} /{(near & ~found.rank1).mean():5.1%} /{taken.mean():6.1%}"
            )
        print(f"{threshold:9.3g} " + " ".join(cells), flush=True)


def report_strangers(by_name: dict[str, FloatArray], pack: Pack) -> None:
    """Print how near strangers come, and what that means for the enrolment of people who are new."""
    names, people = list(by_name), list(by_name.values())
    firsts = np.stack([own[0] for own in people])
    between = pairwise(pack.metric, firsts, firsts)
    np.fill_diagonal(between, np.inf)
    nearest = between.min(axis=1)
    print(f"\n{len(people)} people, one image each: the distance of everybody's nearest stranger")
    print("  " + "   ".join(f"{q:.0%}: {np.quantile(nearest, q):.3f}" for q in QUANTILES))
    first, second = np.triu_indices(len(people), 1)
    nearest_pairs = np.argsort(between[first, second])[:_PAIRS_SHOWN]
    print("the nearest pairs: " + ", ".join(f"{names[first[k]]} and {names[second[k]]}" for k in nearest_pairs))
    report_conflicts(people, between, pack)
    scaled = [scale_of(pack) * each for each in THRESHOLDS[pack.metric]]
    report_larger_galleries(between[np.triu_indices(len(people), 1)], scaled)


def report_conflicts(people: Sequence[FloatArray], between: Floats, pack: Pack) -> None:
    """Print how often an enrolment into galleries of several sizes is refused, by factor of the threshold.

    A false refusal: a new person is near one of the gallery. A true one: a person who is in the gallery comes again,
    with another image.
    """
    rng = np.random.default_rng(4)
    again = [pairwise(pack.metric, own[:1], own[1:])[0] for own in people if len(own) > 1]
    seen_again = np.concatenate(again)
    print("\nconflict threshold   caught when enrolled again   refused falsely, by people in the gallery")
    print(" " * 49 + "".join(f"{size:9}" for size in (*GALLERY_SIZES, len(people) - 1)))
    for factor in CONFLICT_FACTORS:
        limit = factor * pack.threshold
        refused = [_refused(between, size, limit, rng) for size in GALLERY_SIZES]
        refused.append(float((between.min(axis=1) < limit).mean()))
        rates = "".join(f"{rate:9.2%}" for rate in refused)
        print(
            f"{factor:6.2f} x {pack.threshold} = {limit:.3g} {(seen_again < limit).mean():18.2%}          {rates}",
            flush=True,
        )


def _refused(between: Floats, size: int, limit: float, rng: np.random.Generator) -> float:
    """Return the rate of false refusals by galleries of so many people, drawn at random."""
    rates = []
    for _ in range(_DRAWS):
        order = rng.permutation(len(between))
        rates.append((between[np.ix_(order[size:], order[:size])].min(axis=1) < limit).mean())
    return float(np.mean(rates))


def report_larger_galleries(between: Floats, thresholds: Sequence[float]) -> None:
    """Print the rate of false matches of single pairs, and what it comes to in larger galleries.

    The estimate takes pairs to be independent, which they are not quite: it is an upper one.
    """
    print(
        f"\n{len(between):,} pairs of strangers: rate of false matches, and what a stranger meets in larger galleries"
    )
    print("threshold        FMR" + "".join(f"{size:>14,}" for size in _LARGER_GALLERIES))
    for threshold in thresholds:
        fmr = (between < threshold).mean()
        rates = "".join(f"{1 - (1 - fmr) ** size:14.2%}" for size in _LARGER_GALLERIES)
        print(f"{threshold:9.3g} {fmr:10.5%}{rates}", flush=True)


def main() -> None:
    """Embed everybody once, and print all tables."""
    recognizer = recognizer_of(parser_of_pack(__doc__).parse_args())
    pack = recognizer.pack
    people, without_face = embed_people(recognizer)
    images = sum(map(len, people.values()))
    found = f"{len(people)} people, {images} images with a face, {without_face} without"
    print(f"{DATA.name}, pack {pack.name}: {found}", flush=True)
    report_search(search(pack.metric, list(people.values())), pack)
    report_strangers(people, pack)


if __name__ == "__main__":
    main()
