"""HNSW indexes of a PostgreSQL store: approximate search, for those who choose it."""

import time
from collections.abc import Iterable
from contextlib import suppress

from psycopg import errors, sql

from visavis.galleries.postgres_connection import Connection, know_vectors
from visavis.galleries.postgres_schema import partition_of
from visavis.galleries.records import Gallery
from visavis.types import EmbeddingSpace

LARGEST_INDEXED = 2000  # numbers that a vector may have for pgvector to index it

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


def order_by_distance(space: EmbeddingSpace, *, indexed: bool) -> sql.Composed:
    """Return the expression of the distance to a probe.

    An index is used for the very expression only that it was made for, so that an exact search never uses one.
    """
    embedding = _indexed_expression(space) if indexed else sql.SQL("embedding")
    return sql.SQL("{} {} %(probe)s").format(embedding, sql.SQL(_OPERATORS[space.metric]))


def widen_beam(connection: Connection, beam: int) -> None:
    """Set for this transaction how many samples an index keeps in view."""
    connection.execute(_BEAM, (str(beam),))


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

    Args:
        connection: one of its own, in no transaction.
        url: of the database, without its password.
        galleries: all of the store.
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
