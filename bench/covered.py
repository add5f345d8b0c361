"""Faces that are partly covered: masks and sunglasses, painted by the landmarks on photos of LFW's first fold.

Of people with several photos there: in how many photos a covered face is found; of all pairs of strangers, both covered
alike, how many are nearer than the threshold; of all pairs of one person how many are not, one of both covered, and
both. At the pack's threshold and at that for a false match rate of 1e-3. The largest face counts, from 40 pixels on;
float32.

    python bench/covered.py [--pack open] [--models-dir DIR] [--people N]
"""

import argparse
from pathlib import Path

import numpy as np
from invalid import PAINTER, TREATMENTS, Treatment, look, read
from lfw import DATA
from numpy.typing import NDArray

from visavis import Face, Recognizer
from visavis.core.decide import distances, rule_at_rate
from visavis.types import Metric

MIN_FACE = 40


def between(metric: Metric, a: list[Face], b: list[Face]) -> NDArray[np.float64]:
    """Return the distances of all faces of two lists."""
    columns = np.stack([face.embedding for face in b if face.embedding is not None])
    return np.stack([distances(metric, face.embedding, columns) for face in a if face.embedding is not None])


def tell(
    recognizer: Recognizer, name: str, seen: list[Face | None], plain: list[Face], person: NDArray[np.int64]
) -> None:
    """Print the row of a treatment, by the faces of photos as they are and covered."""
    pack, here = recognizer.pack, np.array([face is not None for face in seen])
    covered, of = [face for face in seen if face], person[here]
    same = of[:, None] == of[None]
    both, one = between(pack.metric, covered, covered), between(pack.metric, covered, plain)
    own = (of[:, None] == person[None]) & (np.flatnonzero(here)[:, None] != np.arange(len(person))[None])
    print(f"{name:20} found {here.mean():7.2%}", end="")
    rates = [rule_at_rate(pack.rates, 1e-3).threshold] if pack.rates else []
    for threshold in (pack.threshold, *rates):
        strangers = (both < threshold)[~same].mean()
        missed = ((one >= threshold)[own].mean(), (both >= threshold)[same & ~np.eye(len(of), dtype=bool)].mean())
        print(f"   below {threshold:.4g}: strangers {strangers:7.2%}, missed {missed[0]:7.2%} {missed[1]:7.2%}", end="")
    print(flush=True)


def main() -> None:
    """Paint, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="sface")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--people", type=int, default=163)
    options = parser.parse_args()
    recognizer, painter = (
        Recognizer(pack, precision="f32", min_face=MIN_FACE, models_dir=options.models_dir)
        for pack in (options.pack, PAINTER)
    )
    folders = [sorted(folder.glob("*.jpg")) for folder in sorted((DATA / "images").iterdir())]
    several = [own for own in folders if len(own) > 1][: options.people]
    paths = [path for own in several for path in own]
    person = np.repeat(np.arange(len(several)), [len(own) for own in several])
    painted = [next(iter(painter.detect(path, faces="largest")), None) for path in paths]
    plain = look(recognizer, map(read, paths))
    kept = [at for at, (face, guide) in enumerate(zip(plain, painted, strict=True)) if face and guide]
    paths, person = [paths[at] for at in kept], person[kept]
    guides, faces = ([each[at] for at in kept] for each in (painted, plain))
    print(f"pack {recognizer.pack.name}, {len(paths)} photos of {len(np.unique(person))} people")
    treatments: dict[str, Treatment] = {
        name: TREATMENTS[name] for name in ("none", "mask painted", "sunglasses painted")
    }
    for name, treat in treatments.items():
        photos = (treat(read(path), guide) for path, guide in zip(paths, guides, strict=True) if guide)
        tell(recognizer, name, look(recognizer, photos), [face for face in faces if face], person)


if __name__ == "__main__":
    main()
