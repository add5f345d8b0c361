"""What callers can learn of enrolled embeddings: attacks with 10,000 probes on a gallery of 100 people of LFW.

Every person is enrolled with one image. The probes are photos of strangers, whose embeddings the attacker knows (each
as it is, mirrored, and turned and made smaller), or vectors of the attacker's own. Printed is the cosine of what is
recovered to what was enrolled, after the mean of all strangers is subtracted from both: without that the cosine of two
strangers is 0.8 already. Float32, the largest face of each image.

    python bench/recovery.py
    python bench/recovery.py --pack open
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import PIL.Image
from lfw import DATA, parser_of_pack, recognizer_of
from numpy.typing import NDArray

from visavis import Galleries, OpenGallery, Policy, Recognizer, VisavisError, open_store
from visavis.core.decide import ErrorRates, distance_of, distances, named_rules
from visavis.types import FloatArray, Metric, UInt8Array

FOLDERS = (DATA / "images", DATA.parent / "lfw-folds2-4" / "images", DATA.parent / "groups-of-people")
PEOPLE, PROBES = 100, 10_000
_STEPS = 12  # of a search for the place where a decision changes
_AT_ONCE = 500
_WANTED = 0.5  # no cosine above it
_NOISE = 0.02  # of a squared distance, or of a cosine, for what is rounded
Vectors = NDArray[np.float64]
Told = list[dict[int, float]]  # for each person the distances that are told, by the number of the probe


def variants(path: Path) -> Iterator[UInt8Array]:
    """Yield an image as it is, mirrored, and turned and made smaller."""
    with PIL.Image.open(path) as image:
        upright = image.convert("RGB")
    mirrored = upright.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    smaller = upright.rotate(8, PIL.Image.Resampling.BICUBIC).resize((upright.width * 3 // 4, upright.height * 3 // 4))
    yield from map(np.asarray, (upright, mirrored, smaller))


def embedded(recognizer: Recognizer) -> tuple[FloatArray, NDArray[np.str_], int]:
    """Return the embeddings (N, D) of all variants of all images, and who they show.

    Those of the images as they are come first; the third value is how many there are.
    """
    paths = [path for folder in FOLDERS for path in sorted(folder.rglob("*.jpg"))]
    names = [str(path) if path.is_relative_to(FOLDERS[-1]) else path.parent.name for path in paths]  # one each there
    found: list[list[tuple[FloatArray, str]]] = [[], [], []]
    images = (image for path in paths for image in variants(path))
    for number, faces in enumerate(recognizer.embed_many(images, faces="largest")):
        if not isinstance(faces, VisavisError) and faces:
            found[number % 3].append((cast("FloatArray", faces[0].embedding), names[number // 3]))
    rows = [row for kind in found for row in kind]
    return np.stack([vector for vector, _ in rows]), np.array([name for _, name in rows]), len(found[0])


def told_by(gallery: OpenGallery, probes: Vectors | FloatArray, *, matches_only: bool = False) -> Told:
    """Return what an identification of each probe tells."""
    told: Told = [{} for _ in range(PEOPLE)]
    for first in range(0, len(probes), _AT_ONCE):
        found = gallery.identify_embeddings(probes[first : first + _AT_ONCE].astype(np.float32), limit=1000)
        for place, each in enumerate(found, first):
            for candidate in each.candidates if not matches_only else filter(None, [each.match]):
                told[int(candidate.subject)][place] = candidate.distance
    return told


def solved(probes: Vectors, told: dict[int, float], metric: Metric, strangers: Vectors) -> Vectors:
    """Return the least squares of |x|^2 - 2px + |p|^2 = d^2, or of px / |p| = 1 - d where the metric is the cosine.

    They are regularised by how strangers are spread: embeddings have fewer dimensions than numbers.
    """
    mean: Vectors = strangers.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(strangers.T))
    spread = axes * np.sqrt(np.maximum(values, 0))
    places, found = probes[list(told)], np.array(list(told.values())) + 0.005
    if metric == "cosine":
        units = places / np.linalg.norm(places, axis=1, keepdims=True)
        length = np.linalg.norm(strangers, axis=1).mean()
        system, right = units @ spread / length, 1 - found - units @ mean / length
    else:
        places = places - mean
        squared = values.sum()  # the length of what is looked for, and by how much it varies
        system = np.c_[-2 * places @ spread, np.full(len(places), squared / 4)]
        right = found**2 - (places**2).sum(axis=1) - squared
    solution = np.linalg.solve(system.T @ system + _NOISE**2 * np.eye(system.shape[1]), system.T @ right)
    return cast("Vectors", mean + spread @ solution[: len(mean)])


def climbed(start: Vectors, same: Callable[[Vectors], bool], metric: Metric, rng: np.random.Generator) -> Vectors:
    """Return the middle of the region around a start where a decision is yes, found by decisions alone.

    In one direction after the other it goes to the middle of where it is yes: along lines, or along great circles where
    the metric is the cosine.
    """
    centre = start if metric == "euclidean" else start / np.linalg.norm(start)

    def moved(direction: Vectors, way: float) -> Vectors:
        if metric == "euclidean":
            return centre + way * direction
        across = direction - (direction @ centre) * centre
        turned: Vectors = np.cos(way) * centre + np.sin(way) * across / np.linalg.norm(across)
        return turned

    for direction in np.linalg.qr(rng.normal(size=(len(start), len(start))))[0].T:
        ends = []
        for sign in (1, -1):
            near, far = 0.0, 2.0
            for _ in range(_STEPS):
                middle = (near + far) / 2
                near, far = (middle, far) if same(moved(direction, sign * middle)) else (near, middle)
            ends.append(near)
        centre = moved(direction, (ends[0] - ends[1]) / 2)
    return centre


def report(name: str, cosines: list[float]) -> None:
    """Print a row."""
    found = np.array(cosines)
    share = (found > _WANTED).mean()
    print(f"{name:66} {np.median(found):7.2f} {np.quantile(found, 0.9):7.2f} {share:8.0%}", flush=True)


def attack(
    recognizer: Recognizer, vectors: FloatArray, names: NDArray[np.str_], originals: int, gallery: OpenGallery
) -> None:
    """Print a row for each attack."""
    rng, metric = np.random.default_rng(1), recognizer.pack.metric
    people = rng.permutation(np.unique(names[["/" not in name for name in names]]))[:PEOPLE]
    firsts = [np.flatnonzero(names == person)[0] for person in people]
    enrolled, strangers = vectors[firsts].astype(np.float64), vectors[~np.isin(names, people)][:PROBES]
    mean, probes = strangers.mean(axis=0, dtype=np.float64), strangers.astype(np.float64)
    for number, vector in enumerate(vectors[firsts]):
        gallery.enrol_embedding(vector, str(number), allow_conflict=True)

    def cosine(found: Vectors | None, number: int) -> float:
        if found is None:
            return 0.0
        a, b = found - mean, enrolled[number] - mean
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    def by_mean(of: Vectors, told: Told) -> list[float]:
        return [cosine(of[list(each)].mean(axis=0) if each else None, n) for n, each in enumerate(told)]

    def by_squares(of: Vectors, told: Told) -> list[float]:
        return [cosine(solved(of, each, metric, probes) if each else None, n) for n, each in enumerate(told)]

    print(f"{len(probes):,} probes of {len(np.unique(names)) - PEOPLE:,} strangers; {'':30}  median   90 %   above 0.5")
    again = [(n, np.flatnonzero(names[:originals] == person)) for n, person in enumerate(people)]
    others = [cosine(vectors[own[1]].astype(np.float64), n) for n, own in again if len(own) > 1]
    report("(another image of the same person)", others)
    gallery.set_policy(Policy(candidate_threshold=100, most_candidates=1000))
    report("photos, least squares, where all distances are told", by_squares(probes, told_by(gallery, strangers)))
    lenient = named_rules(cast("ErrorRates", recognizer.pack.rates))["lenient"]
    gallery.set_policy(Policy(candidate_threshold=lenient.threshold))
    report("photos, mean of the candidates up to the lenient point", by_mean(probes, told_by(gallery, strangers)))
    gallery.set_policy(Policy())
    told = told_by(gallery, strangers)
    report("photos, least squares, as it is told", by_squares(probes, told))
    report("photos, mean of the candidates", by_mean(probes, told))
    report("photos, mean of the matches alone", by_mean(probes, told_by(gallery, strangers, matches_only=True)))
    to_enrolled = np.stack([distances(metric, vectors[first], strangers) for first in firsts])
    near = [dict.fromkeys(np.flatnonzero(row < recognizer.pack.threshold), 0.0) for row in to_enrolled]
    report("photos, mean of those that verify says yes to", by_mean(probes, cast("Told", near)))
    drawn = rng.normal(size=probes.shape)
    drawn *= np.linalg.norm(probes, axis=1).mean() / np.linalg.norm(drawn, axis=1, keepdims=True)
    report("vectors in any direction, least squares", by_squares(drawn, told_by(gallery, drawn)))
    around = mean + rng.normal(size=probes.shape) * 0.3 / np.sqrt(len(mean))
    told = told_by(gallery, around)
    report("vectors near the mean face, least squares", by_squares(around, told))
    report("vectors near the mean face, mean of the candidates", by_mean(around, told))

    def climb(number: int) -> Vectors:
        person, limit = vectors[firsts[number]], recognizer.pack.threshold
        start = probes[to_enrolled[number].argmin()]
        return climbed(start, lambda probe: distance_of(metric, probe.astype(np.float32), person) < limit, metric, rng)

    calls = 2 * _STEPS * len(mean)
    report(f"vectors, {calls:,} verifications, their yes and no alone", [cosine(climb(n), n) for n in range(PEOPLE)])


def main() -> None:
    """Embed everybody once, and attack."""
    recognizer = recognizer_of(parser_of_pack(__doc__).parse_args())
    vectors, names, originals = embedded(recognizer)
    with tempfile.TemporaryDirectory() as folder:
        galleries = Galleries(open_store(f"sqlite:///{folder}/galleries.db"), recognizer)
        galleries.create("people")
        attack(recognizer, vectors, names, originals, galleries.open("people"))


if __name__ == "__main__":
    main()
