"""1:N on the people of LFW's first fold: who is found in a gallery of one image each, and how near strangers come.

Protocol as in ``bench/lfw.py``: images enlarged twice, faces from 80 pixels on, every image's most central face,
float32. People with several images are enrolled with their first one and probed with the others; everybody with a
single image is a stranger to that gallery. Images without a face are left out, and counted.

    python bench/identify.py
    python bench/identify.py --pack open
    python bench/identify.py --pack open --galleries --cache DIR     galleries of several sizes, as they decide

Galleries as they decide (protocol as in ``bench/rates.py``: images as they are, faces from 40 pixels on): people of
LFW's first fold are drawn and enrolled with one to three photos each; probes are their other photos, strangers the
people of folds 2 to 4 and those of the first that were not drawn. Who has no further photo is enrolled all the same,
and not looked for.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import numpy as np
from lfw import DATA, central_faces, parser_of_pack, recognizer_of
from numpy.typing import NDArray

from visavis import Recognizer
from visavis.core.decide import Rule, comparisons, distances, probability_of_same, rule_at_fpir, templates_of
from visavis.evaluation.embedding import PhotoEmbedder, embed_photos
from visavis.evaluation.protocols import Photo
from visavis.galleries.index import RANKED_ANEW
from visavis.models.packs import Pack
from visavis.options import DEFAULT_FPIR
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
GALLERY_SIZES_SHOWN = (50, 163, 400)
_PHOTOS = (1, 2, 3)
_GALLERIES = 10  # drawn of each size
_RANKED_AT = (0.01, 0.001)  # the false positive identification rates
_PROBABILITIES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 1.01)
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


@dataclass(frozen=True)
class Drawn:
    """A gallery of people, photos of them to look for, and of strangers."""

    samples: FloatArray  # (N, D)
    owners: NDArray[np.int64]  # (N,), ascending
    known: FloatArray  # (P, D)
    persons: NDArray[np.int64]  # (P,): whom each shows
    strangers: FloatArray  # (Q, D)


def draw(people: Sequence[FloatArray], others: FloatArray, size: int, photos: int, rng: np.random.Generator) -> Drawn:
    """Draw a gallery: first of those who have a photo more than is enrolled, then of those who have most."""
    order = [people[k] for k in rng.permutation(len(people))]
    order.sort(key=lambda own: -min(len(own), photos + 1))
    mixed = [own[rng.permutation(len(own))] for own in order]
    enrolled = [own[: min(photos, max(1, len(own) - 1))] for own in mixed[:size]]
    known = [own[len(part) :] for own, part in zip(mixed, enrolled, strict=False)]
    counts, left = [len(part) for part in enrolled], [len(part) for part in known]
    strangers = np.concatenate([others, *mixed[size:]])
    places = np.arange(len(enrolled))
    samples, probes = np.concatenate(enrolled), np.concatenate(known)
    return Drawn(samples, np.repeat(places, counts), probes, np.repeat(places, left), strangers)


def rank(metric: Metric, probes: FloatArray, drawn: Drawn) -> dict[str, Floats]:
    """Return by the name of a ranking the distances (P, S) of all subjects."""
    images = all_distances(metric, probes, drawn.samples)
    _, starts = np.unique(drawn.owners, return_index=True)
    nearest = np.minimum.reduceat(images, starts, axis=1)
    template = all_distances(metric, probes, templates_of(drawn.samples, drawn.owners)[1])
    mean = np.add.reduceat(images, starts, axis=1) / np.bincount(drawn.owners)
    return {"nearest sample": nearest, "template": template, "mean distance": mean, "both": (nearest + template) / 2}


def all_distances(metric: Metric, probes: FloatArray, references: FloatArray | Floats) -> Floats:
    """Return the distances (P, N) of all to all: as ``distances``, but by one product."""
    a, b = probes.astype(np.float64), references.astype(np.float64)
    if metric == "cosine":
        a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b))
        cosines: Floats = 1.0 - a @ b.T
        return cosines
    lengths: Floats = np.sqrt(np.maximum(0.0, (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T))
    return lengths


def report_rankings(pack: Pack, people: Sequence[FloatArray], others: Sequence[FloatArray]) -> None:
    """Print how many are found by each ranking of subjects with three photos, where few strangers are taken."""
    several = [own for own in (*people, *others) if len(own) > _PHOTOS[-1]]
    few = np.concatenate([own for own in (*people, *others) if len(own) <= _PHOTOS[-1]])
    print(f"\n{len(several)} people who have four photos or more; found with three of each enrolled, without a margin")
    places: list[int] = []
    print("people  ranking          " + "".join(f"   FPIR {fpir:<6g} threshold" for fpir in _RANKED_AT))
    for size in (163, len(several)):
        found: dict[str, list[list[float]]] = {}
        rng = np.random.default_rng(0)
        for _ in range(_GALLERIES):
            drawn = draw(several, few, size, _PHOTOS[-1], rng)
            ours, theirs = (rank(pack.metric, probes, drawn) for probes in (drawn.known, drawn.strangers))
            limit = _threshold(pack, drawn)
            places += [place for each in (ours, theirs) for place in places_by_sample(each, limit)]
            for name, own in ours.items():
                strangers, right = np.sort(theirs[name].min(axis=1)), own.argmin(axis=1) == drawn.persons
                thresholds = [float(strangers[int(fpir * len(strangers))]) for fpir in _RANKED_AT]
                rates = [(float((right & (own.min(axis=1) < limit)).mean()), limit) for limit in thresholds]
                found.setdefault(name, []).append([number for pair in rates for number in pair])
        for name, rows in found.items():
            cells = np.mean(rows, axis=0)
            told = "".join(f"{cells[k]:12.2%} {cells[k + 1]:11.3f}" for k in range(0, len(cells), 2))
            print(f"{size:6} {name:17}{told}", flush=True)

    beyond = sum(place > RANKED_ANEW for place in places)
    print(
        f"in {len(places):,} searches that find somebody by default, that subject was at most number "
        f"{max(places)} by its nearest sample; {beyond} times not among the first {RANKED_ANEW}"
    )


def _threshold(pack: Pack, drawn: Drawn) -> float:
    subjects = len(np.unique(drawn.owners))
    if pack.rates is None:
        return pack.identify_threshold
    return rule_at_fpir(pack.rates, DEFAULT_FPIR, comparisons(subjects, len(drawn.samples))).threshold


def places_by_sample(found: dict[str, Floats], threshold: float) -> list[int]:
    """Return of each probe near enough at which place the subject of the nearest template comes by its samples."""
    near = found["template"].min(axis=1) < threshold
    nearest, first = found["nearest sample"][near], found["template"][near].argmin(axis=1)
    own = np.take_along_axis(nearest, first[:, None], axis=1)
    places: list[int] = (1 + (nearest < own).sum(axis=1)).tolist()
    return places


def report_galleries(pack: Pack, people: Sequence[FloatArray], others: Sequence[FloatArray]) -> None:
    """Print what galleries of several sizes do by default; margins count."""
    if pack.rates is None:
        raise SystemExit(f"nobody has measured the rates of the pack {pack.name}")
    print(
        f"\nFPIR {DEFAULT_FPIR:g}, margin {pack.identify_margin:g}; beside it, thresholds chosen on these very probes"
    )
    print(
        "people photos  threshold  strangers taken  found  somebody else  uncertain: known, strangers  "
        "nearest sample, same FPIR   template without a margin, FPIR 1 %   nearest sample, FPIR 1 %"
    )
    for size, photos in product(GALLERY_SIZES_SHOWN, _PHOTOS):
        rng, rows = np.random.default_rng(size), []
        for _ in range(_GALLERIES):
            drawn = draw(people, np.concatenate(others), size, photos, rng)
            compared = comparisons(size, len(drawn.samples))
            rows.append(_decisions(pack, drawn, rule_at_fpir(pack.rates, DEFAULT_FPIR, compared)))
        m = np.mean(rows, axis=0)
        print(
            f"{size:6} {photos:6} {m[0]:10.3f} {m[1]:16.2%} {m[2]:6.2%} {m[3]:14.2%} {m[4]:12.2%} {m[5]:14.2%}"
            f" {m[6]:18.2%} {m[7]:24.2%} {m[8]:24.2%}",
            flush=True,
        )


def _decisions(pack: Pack, drawn: Drawn, rule: Rule) -> tuple[float, ...]:
    ours, theirs = (rank(pack.metric, probes, drawn) for probes in (drawn.known, drawn.strangers))
    own, strangers = answers(ours["template"]), answers(theirs["template"])
    right = ours["template"].argmin(axis=1) == drawn.persons
    found, taken = (each.accepted(rule.threshold, pack.identify_margin) for each in (own, strangers))
    unsure = (float(((rule.low <= each.nearest) & (each.nearest <= rule.high)).mean()) for each in (own, strangers))
    fpir = float(taken.mean())

    def at_best(name: str, rate: float) -> float:
        nearest = np.sort(theirs[name].min(axis=1))
        limit = nearest[int(rate * len(nearest))]
        hits = ours[name].argmin(axis=1) == drawn.persons
        return float((hits & (ours[name].min(axis=1) < limit)).mean())

    best = (at_best("nearest sample", fpir), at_best("template", DEFAULT_FPIR), at_best("nearest sample", DEFAULT_FPIR))
    return rule.threshold, fpir, float((found & right).mean()), float((found & ~right).mean()), *unsure, *best


def report_probability(pack: Pack, people: Sequence[FloatArray], others: Sequence[FloatArray]) -> None:
    """Print what the probability of the nearest subject is worth where half of the probes are of people enrolled."""
    several = [own for own in (*people, *others) if len(own) > 1]
    few = np.concatenate([own for own in (*people, *others) if len(own) == 1])
    print("\nprobability told of the nearest: its mean > how often it was right (share of probes)")
    for size, photos in ((163, 1), (163, 3), (434, 1)):
        rng = np.random.default_rng(1)
        told: list[float] = []
        right: list[bool] = []
        weights: list[float] = []
        for _ in range(_GALLERIES):
            drawn = draw(several, few, size, photos, rng)
            compared = comparisons(size, len(drawn.samples))
            for probes, persons in ((drawn.known, drawn.persons), (drawn.strangers, None)):
                found = rank(pack.metric, probes, drawn)["template"]
                told += [
                    probability_of_same(float(each), pack.calibration, compared) or 0.0 for each in found.min(axis=1)
                ]
                right += [False] * len(found) if persons is None else (found.argmin(axis=1) == persons).tolist()
                weights += [0.5 / len(found)] * len(found)
        p, hit, w = np.array(told), np.array(right), np.array(weights)
        cells = []
        for low, high in itertools.pairwise(_PROBABILITIES):
            there = (low <= p) & (p < high)
            if there.any():
                mean, truth = (np.average(each[there], weights=w[there]) for each in (p, hit))
                cells.append(f"{mean:.2f} > {truth:.2f} ({w[there].sum() / w.sum():.1%})")
        print(f"{size:4} people, {photos} photos: " + "   ".join(cells), flush=True)


def report_extrapolation(pack: Pack, _: Sequence[FloatArray], others: Sequence[FloatArray]) -> None:
    """Print what the pack's rates come to below the least that was measured, beside all pairs of the other people."""
    if pack.rates is None:
        return
    vectors = np.concatenate(others)
    owners = np.repeat(np.arange(len(others)), [len(own) for own in others])
    first, second = np.triu_indices(len(vectors), 1)
    apart = owners[first] != owners[second]
    between = np.sort(all_distances(pack.metric, vectors, vectors)[first[apart], second[apart]])
    print(f"\nthresholds by the pack's rates, and of {len(between):,} pairs of strangers in folds 2 to 4")
    for rate in (1e-3, 1e-4, 3e-5, 1e-5):
        rule, measured = rule_at_fpir(pack.rates, rate, 1.0), between[int(rate * len(between))]
        told = f"{rule.threshold:.4f} ({rule.low:.4f} to {rule.high:.4f})"
        print(f"FMR {rate:<6g} {told}   measured {measured:.4f}", flush=True)


def embed_as_they_are(recognizer: Recognizer, folder: Path, cache: Path | None) -> list[FloatArray]:
    """Return the embeddings (n, D) of each person, from images as they are."""
    paths = sorted((folder / "images").rglob("*.jpg"))
    photos = [Photo(path.name, str(path), path.parent.name) for path in paths]
    embedded = embed_photos(PhotoEmbedder.of(recognizer, faces="prominent", cache_dir=cache), photos)
    names = np.array([photo.person for photo in photos])
    people = (embedded.embeddings[(names == name) & embedded.found] for name in np.unique(names))
    return [own for own in people if len(own)]


def main() -> None:
    """Embed everybody once, and print all tables."""
    parser = parser_of_pack(__doc__)
    parser.add_argument("--galleries", action="store_true", help="galleries of several sizes, as they decide")
    parser.add_argument("--cache", type=Path, help="a folder for embeddings, to measure galleries again faster")
    options = parser.parse_args()
    if options.galleries:
        recognizer = Recognizer(options.pack, precision="f32", min_face=40, models_dir=options.models_dir)
        folds = [
            embed_as_they_are(recognizer, folder, options.cache) for folder in (DATA, DATA.with_name("lfw-folds2-4"))
        ]
        for report in (report_rankings, report_galleries, report_probability, report_extrapolation):
            report(recognizer.pack, *folds)
        return
    recognizer = recognizer_of(options)
    pack = recognizer.pack
    people, without_face = embed_people(recognizer)
    images = sum(map(len, people.values()))
    found = f"{len(people)} people, {images} images with a face, {without_face} without"
    print(f"{DATA.name}, pack {pack.name}: {found}", flush=True)
    report_search(search(pack.metric, list(people.values())), pack)
    report_strangers(people, pack)


if __name__ == "__main__":
    main()
