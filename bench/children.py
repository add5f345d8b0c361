"""The test that tells children's faces by their embeddings alone, for the catalogue: fitted, and what it tells.

A logistic regression, over embeddings of length 1, of "a child up to 15 years" against "an adult": of the photos of
``groups-of-people`` (UTKFace: research data, of which the catalogue holds nothing but these sums) those with even
numbers, and the photos of ``lfw-folds2-4``, with half the weight. Its limit is the one that 1 % of these adults of
groups pass, cross-validated. The shares that are told are those of the photos with odd numbers, and of LFW's first
fold. Every photo's most central face, from 40 pixels on; float32.

    python bench/children.py --pack sface            what the test of the catalogue tells
    python bench/children.py --pack sface --fit      a test fitted anew, as a literal, and what it tells
"""

import argparse
from pathlib import Path

import numpy as np
from groups import CHILDREN, GROUPS, Crowd, embed, is_odd
from lfw import DATA
from numpy.typing import NDArray
from rates import MIN_FACE
from sklearn.linear_model import LogisticRegression

from visavis import Recognizer
from visavis.core.quality import ChildTest

FALSE_ALARMS = 0.01
_FOLDS = 5
_LFW_WEIGHT = 0.5
_REGULARISATION = 0.03
_LARGEST = 127  # of the whole numbers that the weights are kept as
Floats = NDArray[np.float64]


def fit(groups: Crowd, adults: Crowd, pack: str) -> ChildTest:
    """Return a test, fitted on all of these faces."""
    own, others = unit(groups), unit(adults)
    child = np.isin(groups.group, CHILDREN)
    middle, spread = others.mean(axis=0), others.std(axis=0)
    weight = np.concatenate([np.ones(len(own)), np.full(len(others), _LFW_WEIGHT)])
    standard = (np.concatenate([own, others]) - middle) / spread
    answer = np.concatenate([child, np.zeros(len(others), np.bool_)])

    def fitted(chosen: NDArray[np.bool_]) -> Floats:
        chosen = np.concatenate([chosen, np.ones(len(others), np.bool_)])
        model = LogisticRegression(C=_REGULARISATION, max_iter=3000)
        model.fit(standard[chosen], answer[chosen], sample_weight=weight[chosen])
        found: Floats = model.coef_[0] / spread
        return np.append(found, model.intercept_[0] - found @ middle)

    fold, scores = np.arange(len(own)) % _FOLDS, np.empty(len(own))
    for number in range(_FOLDS):
        *weights, offset = fitted(fold != number)
        scores[fold == number] = own[fold == number] @ weights + offset
    *weights, offset = fitted(np.ones(len(own), np.bool_))
    limit = float(np.quantile(scores[~child], 1 - FALSE_ALARMS)) - offset
    scale = _LARGEST / np.abs(weights).max()
    about = f"half of UTKFace's photos here, and LFW's folds 2 to 4: bench/children.py --pack {pack} --fit, float32"
    return ChildTest(" ".join(str(round(each * scale)) for each in weights), round(limit * scale, 1), about)


def unit(crowd: Crowd) -> Floats:
    """Return the embeddings at length 1."""
    embeddings = crowd.embedding.astype(np.float64)
    scaled: Floats = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return scaled


def literal(test: ChildTest) -> str:
    """Return what the catalogue holds."""
    lines, numbers = [""], test.weights.split()
    for number in numbers:
        if len(lines[-1]) + len(number) > 112:  # noqa: PLR2004  # what fits a line of the catalogue
            lines.append("")
        lines[-1] += f"{number} "
    texts = "\n".join(f'    "{line}"' for line in lines)
    return f'ChildTest(\n{texts},\n    limit={test.limit:g},\n    provenance="{test.provenance}",\n)'


def report(test: ChildTest, groups: Crowd, adults: Crowd) -> None:
    """Print the share of each group's faces that count as a child's."""
    for name in np.unique(groups.group):
        found = [test(each) for each in groups.embedding[groups.group == name]]
        print(f"{name:14} {len(found):5} faces, a child {np.mean(found):7.2%}")
    grown = [test(each) for each, name in zip(groups.embedding, groups.group, strict=True) if name not in CHILDREN]
    print(f"{'all adults':14} {len(grown):5} faces, a child {np.mean(grown):7.2%}")
    found = [test(each) for each in adults.embedding]
    print(f"{'LFW, fold 1':14} {len(found):5} faces, a child {np.mean(found):7.2%}")


def main() -> None:
    """Fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="sface")
    parser.add_argument("--fit", action="store_true", help="fit the test anew")
    parser.add_argument("--models-dir", type=Path, help="where pulled models are kept")
    parser.add_argument("--cache", type=Path, help="a folder for embeddings, to measure again faster")
    options = parser.parse_args()
    recognizer = Recognizer(options.pack, precision="f32", min_face=MIN_FACE, models_dir=options.models_dir)
    groups = embed(recognizer, GROUPS, options.cache)
    odd = np.array([is_odd(file) for file in groups.file])
    first, second = (Crowd(*(column[kept] for column in vars(groups).values())) for kept in (~odd, odd))
    test = recognizer.pack.child
    if options.fit:
        test = fit(first, embed(recognizer, DATA.parent / "lfw-folds2-4", options.cache), options.pack)
        print(literal(test))
    if test is None:
        raise SystemExit(f"the pack {options.pack} has no test for children's faces; --fit makes one")
    report(test, second, embed(recognizer, DATA, options.cache))


if __name__ == "__main__":
    main()
