"""The faces of many images, grouped into people whom nobody has named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visavis.core.decide import check_threshold
from visavis.errors import DriverMissing, InvalidEmbedding, InvalidOption
from visavis.types import FloatArray, Metric

_ROWS, _COLUMNS = 1024, 4096  # the blocks in which distances are computed
_MOST_TOGETHER = 5000  # all pairs of so many faces are in memory together, and no more
_PROMINENT = 50  # a part of a sample with so many faces is surely one person, and no chance meeting of strangers
_SHRINK = 0.9  # where nobody is prominent, neighbours must be nearer
_MET, _MET_SHARE = 2, 0.3  # on so many images, and on more of their images than this share, two parts are two people
_SAME_IMAGE = 2.0  # the distance between two faces of one image, in units of the threshold

_Indices = NDArray[np.intp]
_Distances = NDArray[np.float64]


def check_library() -> None:
    """Insist on the library that does the work; DriverMissing where it is not installed."""
    try:
        import_module("scipy.cluster.hierarchy")  # an extra, and takes time to load
    except ImportError:
        raise DriverMissing("grouping faces takes SciPy: pip install 'visavis[cluster]'") from None


def group_faces(
    embeddings: FloatArray, images: Sequence[int], *, threshold: float, metric: Metric = "euclidean", min_size: int = 2
) -> tuple[tuple[int, ...], ...]:
    """Return the groups of faces that are likely one person each, as indices: the largest first.

    Faces nearer to one another than the threshold, directly or through others, belong together: this is DBSCAN where
    two faces are dense, over exact neighbours. Such a chain may lead from one person to the next, and so each is taken
    apart by average linkage: parts stay together while their faces are nearer than the threshold on average.

    Two faces of one image are taken for two people: they are no neighbours, count as twice the threshold apart, and
    parts that meet on two images or more, and on 30 % of those of the smaller part, stay apart. They still meet in a
    group where the faces of other images outweigh that, as those of a collage do.

    Memory grows with the number of faces, and time with its square. A chain of more than 5,000 faces is taken apart by
    a sample of it: who has many faces there gets all that are near on average; the rest is searched again, at smaller
    distances where nobody has many.

    Args:
        embeddings: (N, D) of one space.
        images: (N,) a number for each face: that of its image.
        threshold: in the metric of the space.
        metric: of the space.
        min_size: of a group; the faces of smaller ones are in none.

    Raises:
        DriverMissing: SciPy is not installed.
        InvalidEmbedding: the arrays do not fit, or hold what is no finite number.
        InvalidOption: the threshold or the size is out of its range.

    Source: M. Ester et al., "A density-based algorithm for discovering clusters", KDD 1996; R. Sokal and C. Michener,
    "A statistical method for evaluating systematic relationships", 1958.
    """
    check_library()
    threshold = check_threshold(threshold)
    if min_size < 1:
        raise InvalidOption(f"a group has 1 face or more, not {min_size}")
    faces = _checked(embeddings, images, threshold, metric)
    # Unit vectors have a cosine distance of half their squared Euclidean one.
    radius = threshold if metric == "euclidean" else float(np.sqrt(2.0 * threshold))
    groups = [group for group in _people(faces, np.arange(len(faces.vectors)), radius) if len(group) >= min_size]
    groups.sort(key=lambda group: (-len(group), group[0]))
    return tuple(tuple(group.tolist()) for group in groups)


def group_few(
    embeddings: FloatArray, images: Sequence[int], *, threshold: float, metric: Metric
) -> tuple[tuple[int, ...], ...]:
    """Return all of some hundred faces, as indices, in the groups that average linkage leaves together, without SciPy.

    Arguments and errors as in ``group_faces``; faces of one image count as twice the threshold apart here, too.
    """
    faces, count = _checked(embeddings, images, check_threshold(threshold), metric), len(embeddings)
    apart = _in_metric(np.maximum(_squared(faces.vectors, faces.vectors), 0.0), metric)
    same = faces.images[:, None] == faces.images
    apart[same] = np.maximum(apart[same], _SAME_IMAGE * threshold)
    np.fill_diagonal(apart, np.inf)
    groups = [[face] for face in range(count)]
    while count and apart.min() <= threshold:
        a, b = divmod(int(apart.argmin()), count)
        sizes = len(groups[a]), len(groups[b])
        mean = (sizes[0] * apart[a] + sizes[1] * apart[b]) / sum(sizes)
        mean[[a, b]] = np.inf
        apart[a] = apart[:, a] = mean
        apart[b] = apart[:, b] = np.inf
        groups[a] += groups[b]
        groups[b] = []
    return tuple(tuple(sorted(group)) for group in groups if group)


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """What is grouped: vectors (N, D), of length 1 where the metric is the cosine, and the numbers of their images."""

    vectors: FloatArray
    images: _Indices
    threshold: float
    metric: Metric


def _checked(embeddings: FloatArray, images: Sequence[int], threshold: float, metric: Metric) -> _Faces:
    vectors, numbers = np.asarray(embeddings, np.float32), np.asarray(images, np.intp)
    if numbers.ndim != 1 or numbers.shape != vectors.shape[:-1]:
        raise InvalidEmbedding(f"(N, D) embeddings and (N,) images are wanted, not {vectors.shape} and {numbers.shape}")
    if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
        raise InvalidEmbedding("the numbers of an embedding are finite, and not all zero")
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return _Faces(vectors, numbers, threshold, metric)


def _people(faces: _Faces, chosen: _Indices, radius: float) -> Iterator[_Indices]:
    """Yield the indices, in rising order, of the faces of each person among the chosen ones."""
    for chain in _chains(faces, chosen, radius):
        if len(chain) <= _MOST_TOGETHER:
            yield from _parts(faces, chain)
            continue
        sample = chain[:: -(-len(chain) // _MOST_TOGETHER)]
        prominent = [part for part in _parts(faces, sample) if len(part) >= _PROMINENT]
        if not prominent:
            yield from _people(faces, chain, _SHRINK * radius)
            continue
        owners = _owners(faces, chain, prominent)
        yield from (chain[owners == owner] for owner in range(len(prominent)))
        yield from _people(faces, chain[owners < 0], radius)


def _chains(faces: _Faces, chosen: _Indices, radius: float) -> list[_Indices]:
    """Return the faces that neighbours connect, directly or through others; many are alone."""
    labels: _Indices = np.arange(len(chosen))
    vectors, images = faces.vectors[chosen], faces.images[chosen]
    for top in range(0, len(chosen), _ROWS):
        rows = slice(top, top + _ROWS)
        for left in range(top, len(chosen), _COLUMNS):
            columns = slice(left, left + _COLUMNS)
            near = _squared(vectors[rows], vectors[columns]) < radius * radius
            near &= images[rows, None] != images[None, columns]
            a, b = np.nonzero(near)
            labels = _joined(labels, labels[top + a], labels[left + b])
    return [chosen[places] for places in _places(labels)]


def _joined(labels: _Indices, a: _Indices, b: _Indices) -> _Indices:
    """Return the labels once each of a (E,) is the same as its counterpart in b (E,)."""
    from scipy.sparse import coo_matrix, csgraph  # noqa: PLC0415  # an extra, and takes time to load

    new = a != b
    if not new.any():
        return labels
    graph = coo_matrix((np.ones(int(new.sum()), np.int8), (a[new], b[new])), shape=(len(labels), len(labels)))
    _, components = csgraph.connected_components(graph, directed=False)
    joined: _Indices = components.astype(np.intp)[labels]
    return joined


def _parts(faces: _Faces, chain: _Indices) -> list[_Indices]:
    """Return the parts of a chain that average linkage leaves together."""
    from scipy.cluster import hierarchy  # noqa: PLC0415  # an extra, and takes time to load
    from scipy.spatial import distance  # noqa: PLC0415  # likewise

    if len(chain) == 1:
        return [chain]
    distances = _in_metric(distance.pdist(faces.vectors[chain].astype(np.float64), "sqeuclidean"), faces.metric)
    pairs = _pairs_of_one_image(faces.images[chain])
    distances[pairs] = np.maximum(distances[pairs], _SAME_IMAGE * faces.threshold)
    parts, left = [], [hierarchy.to_tree(hierarchy.linkage(distances, "average"))]
    while left:
        node = left.pop()
        if node.dist <= faces.threshold and not _are_two(faces, chain, node):
            parts.append(np.sort(chain[node.pre_order()]))
        else:
            left += [node.get_left(), node.get_right()]
    return parts


def _are_two(faces: _Faces, chain: _Indices, node: Any) -> bool:  # noqa: ANN401  # a part of SciPy's tree
    """Tell whether the halves of a part meet on too many images to be one person."""
    if node.is_leaf():
        return False
    a, b = (faces.images[chain[half.pre_order()]] for half in (node.get_left(), node.get_right()))
    met = len(np.intersect1d(a, b))
    return met >= _MET and met > _MET_SHARE * min(len(a), len(b))


def _pairs_of_one_image(images: _Indices) -> _Indices:
    """Return where the pairs of faces of one image lie among all pairs (0, 1), (0, 2), ... (N - 2, N - 1)."""
    pairs = [np.empty(0, np.intp)]
    for own in _places(images):
        first, second = (own[ends] for ends in np.triu_indices(len(own), 1))
        pairs.append(first * (2 * len(images) - first - 1) // 2 + second - first - 1)
    return np.concatenate(pairs)


def _owners(faces: _Faces, chain: _Indices, people: list[_Indices]) -> _Indices:
    """Return whose each face of a chain is: the person who is nearest on average, or -1 where nobody is near."""
    starts = np.cumsum([0, *(len(own) for own in people[:-1])])
    counts = np.array([len(own) for own in people])
    known = faces.vectors[np.concatenate(people)]
    owners = np.empty(len(chain), np.intp)
    for top in range(0, len(chain), _ROWS):
        squared = np.maximum(_squared(faces.vectors[chain[top : top + _ROWS]], known), 0).astype(np.float64)
        means = np.add.reduceat(_in_metric(squared, faces.metric), starts, axis=1) / counts
        owners[top : top + _ROWS] = np.where(means.min(axis=1) < faces.threshold, means.argmin(axis=1), -1)
    for owner, own in enumerate(people):
        owners[np.searchsorted(chain, own)] = owner
    return owners


def _squared(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the squared Euclidean distances (N, M) of all a (N, D) and b (M, D); rounding may leave some below 0."""
    squared: FloatArray = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * (a @ b.T)
    return squared


def _in_metric(squared: _Distances, metric: Metric) -> _Distances:
    """Return squared Euclidean distances in the metric of the space."""
    return np.sqrt(squared) if metric == "euclidean" else squared / 2.0


def _places(labels: _Indices) -> list[_Indices]:
    """Return for each label, in rising order, where it is."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
