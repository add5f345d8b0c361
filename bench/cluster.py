"""How well faces are grouped into people, on LFW's first fold, and what that costs when there are many.

Protocol as in ``bench/lfw.py``: images enlarged twice, faces from 80 pixels on, every image's most central face,
float32. Of all pairs of faces that a method puts together, precision is the share that is one person; of all pairs of
one person, recall is the share that it puts together. Once with the people of whom there are several images, once with
everybody, most of whom are there once and should be in no group.

    python bench/cluster.py              by threshold, beside what other methods of scikit-learn make of the same faces
    python bench/cluster.py --pack open  ... of another pack
    python bench/cluster.py --together   people made as alike as siblings, who are on photos together
    python bench/cluster.py --scale      time and memory for many made-up faces
"""

import argparse
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from identify import scale_of
from lfw import DATA, central_faces, parser_of_pack, recognizer_of
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN, HDBSCAN

from visavis import Recognizer
from visavis.models.catalogue import DLIB
from visavis.models.packs import Pack
from visavis.service.clusters import group_faces
from visavis.types import Metric

THRESHOLDS: dict[Metric, tuple[float, ...]] = {
    "euclidean": (0.40, 0.42, 0.44, 0.46, 0.48, 0.50, 0.52, 0.54, 0.56),
    "cosine": (0.40, 0.44, 0.48, 0.52, 0.54, 0.56, 0.58, 0.60, 0.62, 0.64, 0.66, 0.68, 0.70),
}
SCALES = (("friends", 5_000), ("friends", 20_000), ("friends", 50_000), ("one person", 20_000), ("strangers", 20_000))
SEVERAL = 6  # photos of those who are made alike
Vectors = NDArray[np.float32]
Groups = Iterable[Sequence[int]]


def embed_everybody(recognizer: Recognizer) -> tuple[Vectors, NDArray[np.str_]]:
    """Return an embedding for each image with a face, and whose it is."""
    paths = sorted((DATA / "images").rglob("*.jpg"))
    faces = central_faces(recognizer, paths)
    found = [(path.parent.name, face.embedding) for path in paths if (face := faces[path])]
    return np.array([vector for _, vector in found], np.float32), np.array([person for person, _ in found])


def pair_rates(groups: Groups, people: NDArray[np.str_]) -> tuple[float, float, int]:
    """Return precision, recall, and the size of the largest group."""

    def pairs(counts: Iterable[int]) -> float:
        return sum(count * (count - 1) / 2 for count in counts)

    sizes = [len(group) for group in groups]
    right = sum(pairs(Counter(people[list(group)].tolist()).values()) for group in groups)
    together, of_one = pairs(sizes), pairs(Counter(people.tolist()).values())
    return right / together if together else 1.0, right / of_one, max(sizes, default=0)


def by_label(labels: NDArray[np.intp]) -> Groups:
    """Return the groups of scikit-learn's labels."""
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels[labels >= 0])]


def methods(vectors: Vectors, metric: Metric) -> dict[str, Callable[[float], Groups]]:
    """Return what is compared: from a threshold to groups."""

    def dbscan(dense: int) -> Callable[[float], Groups]:
        return lambda threshold: by_label(DBSCAN(eps=threshold, min_samples=dense, metric=metric).fit(vectors).labels_)

    return {
        "visavis": lambda threshold: group_faces(vectors, range(len(vectors)), threshold=threshold, metric=metric),
        "DBSCAN, 2 dense": dbscan(2),
        "DBSCAN, 3 dense": dbscan(3),
    }


def report(title: str, vectors: Vectors, people: NDArray[np.str_], pack: Pack) -> None:
    """Print precision, recall and the largest group for each method and threshold."""
    most = max(Counter(people.tolist()).values())
    print(f"\n{title}: {len(people)} faces of {len(set(people.tolist()))} people, at most {most} of one")
    print("precision / recall / largest group")
    compared = methods(vectors, pack.metric)
    print("threshold" + "".join(f"{name:>26}" for name in compared))
    for threshold in (scale_of(pack) * each for each in THRESHOLDS[pack.metric]):
        cells = [pair_rates(method(threshold), people) for method in compared.values()]
        line = "".join(f"{precision:12.1%} /{recall:6.1%} /{largest:4}" for precision, recall, largest in cells)
        print(f"{threshold:9.3g}{line}", flush=True)
    labels = HDBSCAN(min_cluster_size=2, min_samples=2, metric=pack.metric, copy=True).fit(vectors).labels_
    precision, recall, largest = pair_rates(by_label(labels), people)
    print(f"HDBSCAN, which needs no threshold: {precision:.1%} / {recall:.1%} / {largest}")


def report_together(vectors: Vectors, people: NDArray[np.str_], pack: Pack) -> None:
    """Print the rates of pairs of people, one moved towards the other, when 70 % of their photos show both, and none.

    Then those of everybody, when one in 20 photos of a person shows the person twice.
    """
    counts = Counter(people.tolist())
    rng = np.random.default_rng(3)
    known = rng.permutation([person for person, count in counts.items() if count >= SEVERAL]).tolist()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    threshold = pack.cluster_threshold
    for nearer in (0.0, 0.4, 0.5, 0.6):
        moved, images = units.copy(), np.arange(len(units))
        for a, b in zip(known[::2], known[1::2], strict=False):
            one, other = np.flatnonzero(people == a), np.flatnonzero(people == b)
            moved[other] += nearer * (units[one].mean(axis=0) - units[other].mean(axis=0))
            met = int(0.7 * min(len(one), len(other)))
            images[other[:met]] = images[one[:met]]
        chosen = np.isin(people, known)
        for title, numbers in (("apart", np.arange(len(units))), ("together", images)):
            groups = group_faces(moved[chosen], numbers[chosen].tolist(), threshold=threshold, metric=pack.metric)
            precision, recall, _ = pair_rates(groups, people[chosen])
            print(f"{nearer:.0%} nearer, {title}: precision {precision:.1%}, recall {recall:.1%}", flush=True)
    images = np.arange(len(units))
    for person in known:
        own = rng.permutation(np.flatnonzero(people == person))
        twice = max(1, len(own) // 20)
        images[own[:twice]] = own[twice : 2 * twice]
    for title, numbers in (("as they are", np.arange(len(units))), ("with collages", images)):
        precision, recall, _ = pair_rates(
            group_faces(units, numbers.tolist(), threshold=threshold, metric=pack.metric), people
        )
        print(f"everybody, {title}: precision {precision:.1%}, recall {recall:.1%}", flush=True)


def made_up(kind: str, count: int) -> tuple[Vectors, NDArray[np.str_]]:
    """Return made-up faces: of friends with 20 photos each, of one person, or of strangers near to each other."""
    rng = np.random.default_rng(8)
    photos, spread = {"friends": (20, 0.09), "one person": (count, 0.0), "strangers": (3, 0.038)}[kind]
    people = rng.integers(0, count // photos, count)
    centres = rng.normal(0, spread, (count // photos, DLIB.dimension))
    return (centres[people] + rng.normal(0, 0.02, (count, DLIB.dimension))).astype(np.float32), people.astype(str)


def report_scale(kind: str, count: int) -> None:
    """Print time and memory of one case; to be run in a process of its own."""
    vectors, people = made_up(kind, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    groups = group_faces(vectors, range(count), threshold=DLIB.cluster_threshold)
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    precision, recall, _ = pair_rates(groups, people)
    print(f"{kind:12} {count:7,} faces {len(groups):6,} groups {seconds:7.1f} s {grown / 1024:6.0f} MB more", end=" ")
    print(f"  precision {precision:.1%}, recall {recall:.1%}", flush=True)


def main() -> None:
    """Print what the command line asks for."""
    parser = parser_of_pack(__doc__)
    parser.add_argument("--scale", action="store_true", help="time and memory for many made-up faces")
    parser.add_argument("--together", action="store_true", help="people as alike as siblings, on photos together")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        report_scale(options.case[0], int(options.case[1]))
    elif options.scale:
        for kind, count in SCALES:
            subprocess.run([sys.executable, __file__, "--case", kind, str(count)], check=True)  # noqa: S603  # itself
    else:
        recognizer = recognizer_of(options)
        vectors, people = embed_everybody(recognizer)
        if options.together:
            report_together(vectors, people, recognizer.pack)
            return
        counts = Counter(people.tolist())
        several = np.array([counts[person] > 1 for person in people.tolist()])
        report("people with several images", vectors[several], people[several], recognizer.pack)
        report("everybody", vectors, people, recognizer.pack)


if __name__ == "__main__":
    main()
