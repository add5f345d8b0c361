"""Search in a gallery in PostgreSQL: candidates from the database, distances in float64; HNSW indexes.

pgvector computes distances in float32. So more samples are fetched than are wanted, their distances are computed
anew, and a subject counts only when it is nearer than rounding may have made anything appear that was left out.
"""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from psycopg import errors, sql
from psycopg.rows import TupleRow

from visavis.core import work
from visavis.core.decide import distances, template_distances
from visavis.galleries.index import nearest_subjects, without_rejected
from visavis.galleries.postgres.connection import Connection, know_vectors
from visavis.galleries.postgres.schema import partition_of
from visavis.galleries.records import Gallery, Match
from visavis.types import EmbeddingSpace, FloatArray, Metric

LARGEST_INDEXED = 2000  # numbers that a vector may have for pgvector to index it
WIDEST_BEAM = 1000  # samples that pgvector's index keeps in view at most

_INDEXING = 0x76697376_0003
_PAUSE_S = 0.2
_OPERATORS = {"euclidean": "<->", "cosine": "<=>"}
_CLASSES = {"euclidean": "vector_l2_ops", "cosine": "vector_cosine_ops"}
# From version 0.8 on, pgvector can go on where an index did not yield enough.
_BEAM = """
SELECT set_config('hnsw.ef_search', %s, true),
       CASE WHEN string_to_array(extversion, '.')::integer[] >= ARRAY[0, 8]
            THEN set_config('hnsw.iterative_scan', 'relaxed_order', true) END
FROM pg_extension WHERE extname = 'vector'"""


def make_index(connection: Connection, gallery: Gallery, *, concurrently: bool = False) -> None:
    """Make the index of a gallery, where an index can hold its embeddings."""
    if gallery.space.dimension > LARGEST_INDEXED:
        return
    statement = sql.SQL("CREATE INDEX {} {} ON {} USING hnsw (({}) {})").format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        sql.Identifier(_name(gallery)),
        partition_of(gallery.number),
        _indexed_expression(gallery.space),
        sql.SQL(_CLASSES[gallery.space.metric]),
    )
    connection.execute(statement)


def make_missing_indexes(connection: Connection, url: str, galleries: Iterable[Gallery]) -> None:
    """Make the indexes that are not there yet, while others read and write: minutes for a million samples.

    The connection is one of its own, in no transaction; the URL has no password; the galleries are all of the store.
    """
    know_vectors(connection, url)
    lacking = [gallery for gallery in galleries if _is_lacking(connection, gallery)]
    if not lacking:
        return
    # Two at a time would wait for each other; and who waits for a lock in a statement would be waited for by the other.
    while not _tell(connection, "SELECT pg_try_advisory_lock(%s)", _INDEXING):
        time.sleep(_PAUSE_S)
    for gallery in lacking:
        if _is_lacking(connection, gallery):  # another process may have been faster
            remains = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")  # of an attempt that was broken off
            connection.execute(remains.format(sql.Identifier("visavis", _name(gallery))))
            with suppress(errors.UndefinedTable):  # dropped since
                make_index(connection, gallery, concurrently=True)
    connection.execute("SELECT pg_advisory_unlock(%s)", (_INDEXING,))


def _is_lacking(connection: Connection, gallery: Gallery) -> bool:
    valid = "SELECT true FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid"
    present = _tell(connection, valid, f"visavis.{_name(gallery)}")
    return not present and gallery.space.dimension <= LARGEST_INDEXED


def _tell(connection: Connection, question: str, value: str | int) -> bool:
    row = connection.execute(question, (value,)).fetchone()
    return row is not None and bool(row[0])


def _name(gallery: Gallery) -> str:
    return f"samples_{gallery.number}_nearest"


def _indexed_expression(space: EmbeddingSpace) -> sql.Composed:
    return sql.SQL("embedding::vector({})").format(sql.Literal(space.dimension))


_SPARE = 24  # more samples than are wanted, so that rounding seldom asks for a second look
_MOST_CANDIDATES = 16_384  # beyond these, what remains is equal to within the rounding of float32
_ROUNDING = 2.0**-24  # of one operation in float32
_VANISHING = 1e-18  # whose square float32 cannot hold any more
_NEAREST = """
SELECT near.id, near.subject, subject.id, subject.name, subject.ignored, near.embedding, near.distance
FROM (
    SELECT id, subject, embedding, {order} AS distance FROM {samples}{others} ORDER BY {order} LIMIT %(count)s
) AS near
JOIN visavis.subjects AS subject ON subject.gallery = %(gallery)s AND subject.number = abs(near.subject)"""
_OTHERS = sql.SQL(" WHERE subject <> ALL(%(hidden)s) AND id <> ALL(%(taken)s)")
_ALL = sql.SQL("")


def search(  # noqa: PLR0913  # where, for what, and how
    connection: Connection, gallery: Gallery, probes: FloatArray, limit: int, beam: int | None, *, single: bool
) -> tuple[tuple[Match, ...], ...]:
    """Return for each probe (P, D), checked, the nearest subjects or samples; the connection is in a transaction.

    The beam is how many samples an index is to keep in view; None to look at all samples instead.
    """
    if beam is None or gallery.space.dimension > LARGEST_INDEXED:
        look = _Look(connection, gallery, limit, indexed=False, single=single)
        return tuple(map(look.nearest, probes))
    connection.execute(_BEAM, (str(min(WIDEST_BEAM, max(beam, _first_count(limit)))),))
    look = _Look(connection, gallery, limit, indexed=True, single=single)
    everywhere = replace(look, indexed=False)  # where an index finds too few
    enough = min(limit, gallery.samples if single else gallery.subjects)
    found = map(look.nearest, probes)
    return tuple(
        matches if sum(not match.counter for match in matches) >= enough else everywhere.nearest(probe)
        for probe, matches in zip(probes, found, strict=True)
    )


def rank_by_template(
    connection: Connection, gallery: Gallery, probe: FloatArray, near: Sequence[Match]
) -> tuple[Match, ...]:
    """Return matches by the distances of their subjects' templates."""
    numbers = [match.subject_number for match in near if not match.counter]
    if not numbers:
        return tuple(near)
    statement = "SELECT subject, embedding FROM {} WHERE gallery = %s AND subject = ANY(%s)"
    values = (gallery.number, numbers)
    rows = connection.execute(sql.SQL(statement).format(partition_of(gallery.number)), values, binary=True)
    subjects, embeddings = zip(*rows.fetchall(), strict=True)
    found = template_distances(gallery.space.metric, probe, np.stack(embeddings), np.array(subjects))
    anew = (match if match.counter else replace(match, distance=found[match.subject_number]) for match in near)
    return tuple(sorted(anew, key=lambda match: (match.distance, match.sample)))


@dataclass(frozen=True, slots=True)
class _Look:
    """A search in a gallery, by its index or at all samples, for so many subjects or single samples."""

    connection: Connection
    gallery: Gallery
    limit: int
    indexed: bool
    single: bool

    def nearest(self, probe: FloatArray) -> tuple[Match, ...]:
        """Return the nearest subjects. Where some have so many samples that others stay hidden, look without them."""
        work.check()
        nearest: list[Match] = []
        taken: list[int] = []  # single samples
        hidden: list[int] = []  # subjects; of single samples those that counter-samples reject
        count = _first_count(self.limit)
        while True:
            rows = self._candidates(probe, count, hidden, taken)
            matches = _first_of_each(self.gallery.space.metric, probe, rows, single=self.single)
            if len(rows) == count < _MOST_CANDIDATES:
                certain = _least_distance(self.gallery.space, max(row[-1] for row in rows))
                matches = [match for match in matches if match.distance < certain]
            nearest += without_rejected(matches) if self.single else matches
            for match in matches:
                number = match.subject_number
                if self.single:
                    taken.append(match.sample)
                    hidden += (number, -number) if match.counter else ()
                else:
                    hidden.append(-number if match.counter else number)
            if sum(not match.counter for match in nearest) >= self.limit or len(rows) < count:
                return nearest_subjects(nearest, self.limit)
            count = min(2 * count, _MOST_CANDIDATES)

    def _candidates(self, probe: FloatArray, count: int, hidden: list[int], taken: list[int]) -> list[TupleRow]:
        """Return the samples that the database takes to be nearest, but for those taken, and hidden subjects'."""
        space = self.gallery.space
        # An index is used for the very expression only that it was made for: an exact search never uses one.
        embedding = _indexed_expression(space) if self.indexed else sql.SQL("embedding")
        statement = sql.SQL(_NEAREST).format(
            samples=partition_of(self.gallery.number),
            order=sql.SQL("{} {} %(probe)s").format(embedding, sql.SQL(_OPERATORS[space.metric])),
            others=_OTHERS if hidden or taken else _ALL,
        )
        values = {"probe": probe, "count": count, "hidden": hidden, "taken": taken, "gallery": self.gallery.number}
        return self.connection.execute(statement, values, binary=True).fetchall()


def _first_count(limit: int) -> int:
    return min(2 * limit + _SPARE, _MOST_CANDIDATES)


def _first_of_each(metric: Metric, probe: FloatArray, rows: list[TupleRow], *, single: bool) -> list[Match]:
    """Return the subjects of samples, nearest first, each with its nearest sample; or single samples."""
    if not rows:
        return []
    samples, numbers, ids, names, ignored, embeddings, _ = zip(*rows, strict=True)
    found = distances(metric, probe, np.stack(embeddings))
    first: dict[int, Match] = {}
    for at in np.lexsort((samples, single & (np.array(numbers) < 0), found)):
        known = {"id": ids[at], "name": names[at], "ignored": ignored[at]}
        key = samples[at] if single and numbers[at] > 0 else numbers[at]
        first.setdefault(key, Match.of(numbers[at], known, sample=samples[at], distance=float(found[at])))
    return list(first.values())


def _least_distance(space: EmbeddingSpace, proposed: float) -> float:
    """Return a distance of which no sample falls short that the database takes to be at least this far.

    Source: N. Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1: the error of a sum of
    products is at most as many roundings as it has terms. The squares of tiny differences may vanish altogether.
    """
    if space.metric == "cosine":
        return proposed - (2 * space.dimension + 16) * _ROUNDING
    return proposed * (1 - (space.dimension + 16) * _ROUNDING) - math.sqrt(space.dimension) * _VANISHING
