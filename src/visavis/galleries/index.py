"""Exact search in memory: matrices, one product with the probe, and the lock that readers share.

Rows are added at the end, or where one was removed; nothing is ever moved, so that a change costs what it changes.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from visavis.core import work
from visavis.core.decide import distances, template_distances
from visavis.types import FloatArray, Metric


class SharedLock:
    """Any number of readers, or one writer."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False
        self._writers_waiting = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock together with other readers."""
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not self._writers_waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._condition:
            self._writers_waiting += 1
            try:
                self._condition.wait_for(lambda: not self._writing and not self._readers)
            finally:
                self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()


IntArray = NDArray[np.int64]

_FIRST_ROWS = 4096
_BLOCK = 512  # scores that are looked at together: only a block whose best is good is looked into
_SPARE = 24  # more candidates than are wanted, so that rounding seldom asks for a second look
_ENOUGH_CANDIDATES = 2048  # to hide the subjects that were found, and look again
_MOST_CANDIDATES = 16_384  # beyond these, what remains is equal to within the rounding of float32
_PROBES_AT_ONCE = 8
RANKED_ANEW = 10
"""Of how many subjects, those whose samples are nearest, the distances of templates are computed."""
_NOBODY = 0  # the number of a row that is free


class Hit(NamedTuple):
    """A subject near a probe, by numbers, with its nearest sample."""

    sample: int
    subject: int  # negative where it is a counter-sample
    distance: float

    @property
    def counter(self) -> bool:
        """Whether it is a counter-sample."""
        return self.subject < _NOBODY

    @property
    def subject_number(self) -> int:
        """The number of the subject, also of a counter-sample."""
        return abs(self.subject)


class Found(Protocol):
    """A subject near a probe; or, with ``counter``, by a counter-sample."""

    @property
    def counter(self) -> bool:
        """Whether it is a counter-sample."""

    @property
    def subject_number(self) -> int:
        """The number of the subject."""


_Found = TypeVar("_Found", bound=Found)


def nearest_subjects(found: Sequence[_Found], limit: int) -> tuple[_Found, ...]:
    """Return the nearest subjects of what is in order, and the counter-samples nearer than the last of these."""
    places = [place for place, each in enumerate(found) if not each.counter]
    return tuple(found if len(places) < limit else found[: places[limit - 1] + 1])


def without_rejected(found: Iterable[_Found]) -> list[_Found]:
    """Return of samples in order those that come before any counter-sample of their subject."""
    rejected: set[int] = set()
    left = []
    for each in found:
        if each.counter:
            rejected.add(each.subject_number)
        elif each.subject_number not in rejected:
            left.append(each)
    return left


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """Rows that lie next to each other in memory; those not used yet are not even touched."""

    first: int
    vectors: FloatArray
    half_squares: FloatArray  # of the vectors' lengths; infinite where a row is free
    samples: IntArray
    subjects: IntArray
    placed: IntArray  # the samples as they were first placed, ascending, whatever became of the rows


class ExactIndex:
    """The embeddings of one gallery. Any number of threads may search while one changes it."""

    def __init__(self, dimension: int, metric: Metric, expected: int = 0) -> None:
        """Make an empty index, with room for as many samples as are expected soon."""
        self._dimension = dimension
        self._metric = metric
        self._lock = SharedLock()
        self._segments = [self._new_segment(0, expected + _FIRST_ROWS)]
        self._used = 0  # rows, free ones among them
        self._free: list[int] = []
        self._moved: dict[int, int] = {}  # samples in rows that another had before
        self._longest_half_square = 0.0  # that ever was: rounding grows with it

    def __len__(self) -> int:
        """How many samples it holds."""
        return self._used - len(self._free)

    @property
    def is_sparse(self) -> bool:
        """Whether so many rows are free that the index is better made anew."""
        return len(self._free) > max(_FIRST_ROWS, self._used // 2)

    def change(
        self,
        removed: Sequence[int],
        samples: IntArray,
        subjects: IntArray,
        vectors: FloatArray,
        squares: FloatArray | None = None,
    ) -> None:
        """Remove and add samples, as one change.

        Args:
            removed: samples, those that are not there being passed over.
            samples: (N,) ascending, above all that were ever added.
            subjects: (N,) to which they belong.
            vectors: (N, D).
            squares: (N,) of their lengths, where these are known.
        """
        if self._metric == "cosine":
            vectors, squares = _of_length_one(vectors), None
        if squares is None:
            squares = np.einsum("nd,nd->n", vectors, vectors)
        with self._lock.writing():
            for sample in removed:
                self._remove(sample)
            start = 0
            while start < len(samples):
                start += self._place(samples[start:], subjects[start:], vectors[start:], squares[start:])

    def search(
        self, probes: FloatArray, limit: int, *, templates: bool = False, single: bool = False
    ) -> list[list[Hit]]:
        """Return for each probe (P, D) the nearest subjects, nearest first, each with its nearest sample.

        With templates, subjects are as far as these: of those whose samples are nearest, ``RANKED_ANEW`` at least.
        Or single samples, but for those that a counter-sample of their subject is nearer than.

        Distances are computed in float64, and so is the order, by distance and then by sample; only subjects that are
        equally far to within the rounding of float32 may be left out for one another.
        """
        hits: list[list[Hit]] = []
        number = max(limit, RANKED_ANEW) if templates else limit
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            work.check()
            several = probes[start : start + _PROBES_AT_ONCE]
            with self._lock.reading():  # for a short while: changes, and searches that come after them, wait for it
                scores = self._scores(several)
                pairs = zip(several, scores, strict=True)
                found = [self._nearest(probe, row, number, single=single) for probe, row in pairs]
                if templates:
                    found = [self._by_template(probe, near) for probe, near in zip(several, found, strict=True)]
            hits.extend(list(nearest_subjects(near, limit)) for near in found)
        return hits

    def clear(self) -> None:
        """Overwrite every row: the gallery is forgotten."""
        with self._lock.writing():
            for segment in self._segments:
                here = slice(self._used_of(segment))
                segment.vectors[here] = 0
                segment.half_squares[here] = np.inf

    def _new_segment(self, first: int, rows: int) -> _Segment:
        numbers = (np.empty(rows, np.int64) for _ in ("samples", "subjects", "placed"))
        return _Segment(first, np.empty((rows, self._dimension), np.float32), np.empty(rows, np.float32), *numbers)

    def _place(self, samples: IntArray, subjects: IntArray, vectors: FloatArray, squares: FloatArray) -> int:
        """Put some of the samples in their rows, and return how many."""
        if self._free:
            row = self._free.pop()
            segment = self._segment_of(row)
            here = slice(row - segment.first, row - segment.first + 1)
            self._moved[int(samples[0])] = row
            count = 1
        else:
            segment = self._segments[-1]
            begin = self._used - segment.first
            if begin == len(segment.samples):
                # As much again as there is: few segments, and no copying.
                segment = self._new_segment(self._used, max(_FIRST_ROWS, self._used))
                self._segments.append(segment)
                begin = 0
            count = min(len(samples), len(segment.samples) - begin)
            here = slice(begin, begin + count)
            segment.placed[here] = samples[:count]
            self._used += count
        segment.vectors[here] = vectors[:count]
        half_squares = squares[:count] / 2
        self._longest_half_square = max(self._longest_half_square, float(half_squares.max()))
        segment.half_squares[here] = half_squares
        segment.samples[here] = samples[:count]
        segment.subjects[here] = subjects[:count]
        return count

    def _remove(self, sample: int) -> None:
        row = self._row_of(sample)
        if row is None:
            return
        segment = self._segment_of(row)
        place = row - segment.first
        segment.vectors[place] = 0  # forgotten is forgotten
        segment.half_squares[place] = np.inf
        segment.samples[place] = segment.subjects[place] = _NOBODY
        self._moved.pop(sample, None)
        self._free.append(row)

    def _row_of(self, sample: int) -> int | None:
        row = self._moved.get(sample)
        if row is not None:
            return row
        for segment in self._segments:
            used = self._used_of(segment)
            place = int(np.searchsorted(segment.placed[:used], sample))
            if place < used and segment.placed[place] == sample and segment.samples[place] == sample:
                return segment.first + place
        return None

    def _segment_of(self, row: int) -> _Segment:
        return next(segment for segment in reversed(self._segments) if segment.first <= row)

    def _used_of(self, segment: _Segment) -> int:
        return min(self._used - segment.first, len(segment.samples))

    def _scores(self, probes: FloatArray) -> FloatArray:
        """Return scores (P, N) that fall as the distance grows; free rows, and those that fill a block, have -inf.

        Half the square of a distance is half the squares of both lengths, less the product: only the product and one
        of the lengths depend on the row.
        """
        if self._metric == "cosine":
            probes = _of_length_one(probes)
        scores = np.empty((len(probes), -(-self._used // _BLOCK) * _BLOCK), np.float32)
        scores[:, self._used :] = -np.inf
        for segment in self._segments:
            used = self._used_of(segment)
            here = scores[:, segment.first : segment.first + used]
            if len(probes) == 1:
                np.matmul(segment.vectors[:used], probes[0], out=here[0])
            else:
                np.matmul(probes, segment.vectors[:used].T, out=here)
            np.subtract(here, segment.half_squares[:used], out=here)
        return scores

    def _nearest(self, probe: FloatArray, scores: FloatArray, limit: int, *, single: bool) -> list[Hit]:
        """Return the nearest subjects. Where one has so many samples that others stay hidden, look again without it."""
        nearest: list[Hit] = []
        while missing := limit - sum(not hit.counter for hit in nearest):
            found = self._first_of_each(probe, scores, missing, single=single)
            nearest += without_rejected(found) if single else found
            if not found:
                break
            if any(hit.counter for hit in found) or len(found) < missing:
                self._hide(scores, found, single=single)
        return nearest

    def _first_of_each(self, probe: FloatArray, scores: FloatArray, limit: int, *, single: bool) -> list[Hit]:
        count = limit + _SPARE
        while True:
            rows, complete = _best(scores, count)
            first: dict[int, Hit] = {}
            for hit in self._ranked(probe, rows, counters_last=single):
                first.setdefault(hit.sample if single and not hit.counter else hit.subject, hit)
            if complete or count >= _MOST_CANDIDATES:
                return list(first.values())[:limit]
            # What was left out scores at most as much as the least of what was taken.
            certain = self._least_distance(probe, float(scores[rows].min()))
            safe = [hit for hit in first.values() if hit.distance < certain][:limit]
            if len(safe) == limit or (safe and count > _ENOUGH_CANDIDATES):
                return safe
            count *= 4

    def _least_distance(self, probe: FloatArray, score: float) -> float:
        """Return a distance that no row of at most this score falls short of, whatever rounding did."""
        rounding = self._dimension * 2.0**-22
        if self._metric == "cosine":
            return 0.5 - score - rounding
        square = float(np.dot(probe.astype(np.float64), probe))
        slack = rounding * (square + self._longest_half_square)
        return float(np.sqrt(max(0.0, square - 2 * score - slack)))

    def _ranked(self, probe: FloatArray, rows: IntArray, *, counters_last: bool) -> list[Hit]:
        """Return the samples in these rows by distance, and then by number; or counter-samples before that."""
        firsts = np.array([segment.first for segment in self._segments])
        owners = np.searchsorted(firsts, rows, side="right") - 1
        vectors = np.empty((len(rows), self._dimension), np.float32)
        samples, subjects = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for owner in np.unique(owners):
            segment, of_it = self._segments[owner], owners == owner
            places = rows[of_it] - segment.first
            vectors[of_it] = segment.vectors[places]
            samples[of_it], subjects[of_it] = segment.samples[places], segment.subjects[places]
        found = distances(self._metric, probe, vectors)
        order = np.lexsort((samples, counters_last & (subjects < _NOBODY), found))
        return [Hit(int(samples[at]), int(subjects[at]), float(found[at])) for at in order]

    def _by_template(self, probe: FloatArray, near: list[Hit]) -> list[Hit]:
        """Return hits by the distances of their subjects' templates."""
        several = [hit for hit in near if hit.subject > _NOBODY]  # a counter-sample stands for itself
        if not several:
            return near
        numbers = np.array([hit.subject for hit in several])
        wanted = np.zeros(int(numbers.max()) + 2, np.bool_)  # the last is for all numbers beyond
        wanted[numbers] = True
        rows = [
            np.flatnonzero(wanted.take(segment.subjects[: self._used_of(segment)], mode="clip"))
            for segment in self._segments
        ]
        if sum(map(len, rows)) == len(several):  # each of one sample
            return near
        columns = [
            np.concatenate([column[places] for column, places in zip(parts, rows, strict=True)])
            for parts in zip(*((segment.vectors, segment.subjects) for segment in self._segments), strict=True)
        ]
        found = template_distances(self._metric, probe, *columns)
        anew = (hit._replace(distance=found.get(hit.subject, hit.distance)) for hit in near)
        return sorted(anew, key=lambda hit: (hit.distance, hit.sample))

    def _hide(self, scores: FloatArray, hits: list[Hit], *, single: bool) -> None:
        """Let no search find again what was found: subjects; or single samples, and all of who has a counter-sample."""
        subjects = [hit.subject for hit in hits if hit.counter or not single]
        subjects += [-hit.subject for hit in hits if hit.counter and single]
        samples = [hit.sample for hit in hits if single]
        for segment in self._segments:
            used = self._used_of(segment)
            hidden = np.isin(segment.subjects[:used], subjects)
            if samples:
                hidden |= np.isin(segment.samples[:used], samples)
            scores[segment.first : segment.first + used][hidden] = -np.inf


def _of_length_one(vectors: FloatArray) -> FloatArray:
    """Return vectors (N, D) of the same directions; computed in float64, in which no square is too small."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    ones: FloatArray = (vectors / lengths).astype(np.float32)
    return ones


def _best(scores: FloatArray, count: int) -> tuple[IntArray, bool]:
    """Return the rows of the highest scores, in no order, and whether they are all that there are."""
    blocks = scores.reshape(-1, _BLOCK)
    chosen = np.arange(len(blocks))
    if len(blocks) > count:
        chosen = np.argpartition(blocks.max(axis=1), -count)[-count:]
    rows = (chosen[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
    if len(rows) > count:
        rows = rows[np.argpartition(scores[rows], -count)[-count:]]
    rows = rows[scores[rows] > -np.inf]
    return rows, len(rows) < count
