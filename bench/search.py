"""How fast a gallery is searched and changed, beside a bare NumPy product, sqlite-vec and pgvector.

Every search is exact, for the five nearest, one probe at a time; all sides take turns in one run, on the same vectors,
with the threads that they take by themselves. The vectors are clusters on the unit sphere: five samples a person.

    python bench/search.py                        1 M x 128 and 100 k x 512 (about fifteen minutes, 4 GB of memory)
    python bench/search.py --rows 100000          fewer
    python bench/search.py --only visavis,numpy   without the databases
"""

import argparse
import importlib
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visavis.galleries.records import NewSample, Origin
from visavis.galleries.sqlite.store import SqliteStore
from visavis.options import Policy
from visavis.types import EmbeddingSpace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], list[int]]
"""From a probe (D,) to the rows of the five nearest vectors."""

NEAREST = 5
SAMPLES_PER_PERSON = 5
SPREAD = 0.55  # of a person's samples around their middle, as a share of the middle's length
BATCH = 10_000
BEAMS = (40, 100, 200, 400)  # how many samples an index keeps in view
MOST_INDEXED = 200_000  # rows: an HNSW index of a million takes ten minutes to build
ORIGIN = Origin(actor="bench", at=datetime(2024, 1, 1, tzinfo=timezone.utc))


def people(rows: int, dimension: int) -> Vectors:
    """Return embeddings (N, D) of length one."""
    random = np.random.default_rng(7)
    middles = random.standard_normal((rows // SAMPLES_PER_PERSON + 1, dimension), np.float32)
    vectors = np.repeat(middles, SAMPLES_PER_PERSON, axis=0)[:rows]
    vectors += SPREAD * random.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(path: Path, vectors: Vectors) -> float:
    """Make a store with a gallery of one subject a sample, and return how many samples a second went in."""
    store = SqliteStore(path)
    store.create("bench", EmbeddingSpace("bench", vectors.shape[1], "euclidean"), Policy(), ORIGIN)
    start = time.perf_counter()
    for first in range(0, len(vectors), BATCH):
        rows = range(first, min(first + BATCH, len(vectors)))
        store.enrol("bench", [NewSample(subject=str(row), embedding=vectors[row]) for row in rows], ORIGIN)
    rate = len(vectors) / (time.perf_counter() - start)
    store.close()
    return rate


@contextmanager
def visavis_search(path: Path) -> Iterator[Search]:
    """Search with a store, subjects and all."""
    store = SqliteStore(path)
    yield lambda probe: [int(match.subject) for match in store.search("bench", probe[None], NEAREST, templates=True)[0]]
    store.close()


@contextmanager
def numpy_search(vectors: Vectors) -> Iterator[Search]:
    """Do the product alone, which ranks nothing: a lower bound for all that looks at every float32."""

    def product(probe: Vectors) -> list[int]:
        _ = vectors @ probe
        return []

    yield product


@contextmanager
def sqlite_vec_search(vectors: Vectors, folder: Path) -> Iterator[Search]:
    """Search with sqlite-vec's virtual table."""
    import sqlite_vec  # noqa: PLC0415  # only where it is wanted

    connection = extensible_sqlite().connect(str(folder / "vec.db"))
    connection.enable_load_extension(True)  # noqa: FBT003  # as sqlite3 has it
    sqlite_vec.load(connection)
    connection.execute(f"CREATE VIRTUAL TABLE samples USING vec0(embedding float[{vectors.shape[1]}])")
    with connection:
        connection.executemany(
            "INSERT INTO samples (rowid, embedding) VALUES (?, ?)",
            ((row + 1, vector.tobytes()) for row, vector in enumerate(vectors)),
        )
    statement = "SELECT rowid FROM samples WHERE embedding MATCH ? AND k = ? ORDER BY distance"
    yield lambda probe: [row - 1 for (row,) in connection.execute(statement, (probe.tobytes(), NEAREST))]
    connection.close()


def extensible_sqlite() -> Any:  # noqa: ANN401  # a module
    """Return sqlite3, or where Python was built without its extensions, the same from PyPI."""
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    return importlib.import_module("pysqlite3")


@contextmanager
def pgvector_search(vectors: Vectors, url: str) -> Iterator[Search]:
    """Search with pgvector's sequential scan."""
    import psycopg  # noqa: PLC0415  # only where it is wanted

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(f"CREATE TABLE bare (id int PRIMARY KEY, embedding vector({vectors.shape[1]}))")
        with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
            for row, vector in enumerate(vectors):
                copy.write_row((row, str(vector.tolist())))
        connection.execute("ANALYZE bare")
        statement = "SELECT id FROM bare ORDER BY embedding <-> %s::vector LIMIT %s"
        yield lambda probe: [row for (row,) in connection.execute(statement, (str(probe.tolist()), NEAREST)).fetchall()]


def measure(searches: dict[str, Search], vectors: Vectors, rounds: int) -> None:
    """Let all take turns on the same probes; print medians, ratios and how many of the nearest were found."""
    random = np.random.default_rng(11)
    times: dict[str, list[float]] = {name: [] for name in searches}
    found: dict[str, list[float]] = {name: [] for name in searches}
    for number in range(rounds + 1):
        near = vectors[random.integers(len(vectors))]
        probe = (
            near + np.float32(SPREAD / vectors.shape[1] ** 0.5) * random.standard_normal((1, len(near)), np.float32)[0]
        )
        truth = set(np.argsort(np.linalg.norm(vectors - probe, axis=1))[:NEAREST].tolist())
        for name, search in searches.items():
            start = time.perf_counter()
            rows = search(probe)
            if number:  # the first is the warm-up
                times[name].append(1000 * (time.perf_counter() - start))
                found[name].append(len(truth & set(rows)) / NEAREST)
    first = next(iter(times))
    ours = statistics.median(times[first])
    for name, taken in times.items():
        median = statistics.median(taken)
        recall = f"{statistics.mean(found[name]):.3f}" if name != "numpy product" else "-"
        ratio = "" if name == first else f"  {median / ours:6.2f} x the time of {first}"
        print(f"  {name:24} p50 {median:8.2f} ms  recall {recall:5}{ratio}")


def report_opening(path: Path, vectors: Vectors) -> None:
    """Open the store in a process of its own; print the time, and the memory that the gallery took."""
    command = [sys.executable, __file__, "--open", str(path), "--dimension", str(vectors.shape[1])]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603  # ourselves
    share = told["bytes"] / vectors.nbytes
    peak = told["peak_bytes"] / vectors.nbytes
    print(
        f"  opened and searched in {told['seconds']:.2f} s; memory {share:.3f} x the vectors, at its peak {peak:.3f} x"
    )


def open_and_tell(path: Path, dimension: int) -> None:
    """Search a store once, and print what that took."""
    probe = np.full((1, dimension), 0.1, np.float32)
    _ = probe @ probe.T  # BLAS makes its buffers
    before, start = _resident(), time.perf_counter()
    store = SqliteStore(path)
    store.search("bench", probe, NEAREST)
    seconds = time.perf_counter() - start
    peak = _peak()
    print(json.dumps({"seconds": seconds, "bytes": _resident() - before, "peak_bytes": peak - before}))


def _peak() -> int:
    """Return the most memory that this program held; getrusage would count what its parent held before it began."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def report_changes(path: Path, vectors: Vectors, rounds: int) -> None:
    """Print what adding and forgetting one sample take, beside a bare commit of one row on the same disk.

    The index in memory takes a change up when it is next searched: what that search takes longer than another one
    counts as part of the change.
    """
    store = SqliteStore(path)
    random = np.random.default_rng(3)
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        taken.setdefault(name, []).append(1000 * (time.perf_counter() - start))

    with bare_table(path.with_name("bare.db")) as bare:
        store.search("bench", vectors[:1], NEAREST)
        for number in range(rounds):
            (vector,) = random.standard_normal((1, vectors.shape[1]), np.float32)
            row = (vector.tobytes(),)
            sample = NewSample(subject=f"new {number}", embedding=vector)
            search = partial(store.search, "bench", vector[None], NEAREST)
            timed("search", search)
            timed("commit", partial(bare.execute, "INSERT INTO samples (embedding) VALUES (?)", row))
            timed("add", partial(store.enrol, "bench", [sample], ORIGIN))
            timed("search after add", search)
            bare.execute("INSERT INTO samples (embedding) VALUES (?)", row)
            timed("commit and checkpoint", partial(commit_and_checkpoint, bare))
            timed("forget", partial(store.forget_subjects, "bench", [sample.subject], ORIGIN))
            timed("search after forget", search)
    medians = {name: statistics.median(several) for name, several in taken.items()}
    for change, base in (("add", "commit"), ("forget", "commit and checkpoint")):
        whole = medians[change] + medians[f"search after {change}"] - medians["search"]
        beside = medians[base]
        print(f"  {change:7} p50 {whole:6.2f} ms, {whole - beside:+.2f} ms beside a bare {base} ({beside:.2f} ms)")
    store.close()


@contextmanager
def bare_table(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a table of embeddings as durable as a gallery, and nothing else."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE samples (id INTEGER PRIMARY KEY, embedding BLOB)")
    yield connection
    connection.close()


def commit_and_checkpoint(connection: sqlite3.Connection) -> None:
    """Delete a row, and bring that into the file."""
    connection.execute("DELETE FROM samples WHERE id = (SELECT max(id) FROM samples)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def report_hnsw(vectors: Vectors, url: str, rounds: int) -> None:
    """Print recall and speed of a PostgreSQL store's approximate search, for several beams."""
    from visavis.galleries.postgres.store import PostgresStore  # noqa: PLC0415  # its driver need not be installed

    space = EmbeddingSpace("bench", vectors.shape[1], "euclidean")
    exact = PostgresStore(url)
    exact.create("bench", space, Policy(), ORIGIN)
    start = time.perf_counter()
    for first in range(0, len(vectors), BATCH):
        rows = range(first, min(first + BATCH, len(vectors)))
        exact.enrol("bench", [NewSample(subject=str(row), embedding=vectors[row]) for row in rows], ORIGIN)
    print(f"  PostgreSQL store: enrolled {len(vectors) / (time.perf_counter() - start):,.0f} samples a second")
    exact.close()
    start = time.perf_counter()
    for beam in BEAMS:
        store = PostgresStore(url, search="hnsw", ef_search=beam, patience_s=600)
        if beam == BEAMS[0]:
            print(f"  PostgreSQL store: HNSW index made in {time.perf_counter() - start:.0f} s")

        def search(probe: Vectors, store: "PostgresStore" = store) -> list[int]:
            return [int(match.subject) for match in store.search("bench", probe[None], NEAREST, templates=True)[0]]

        measure({f"HNSW, beam {beam}": search}, vectors, rounds)
        store.close()


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="visavis,numpy,sqlite-vec,pgvector,hnsw")
    parser.add_argument("--open", type=Path)
    parser.add_argument("--dimension", type=int)
    options = parser.parse_args()
    if options.open:
        open_and_tell(options.open, options.dimension)
        return
    wanted = options.only.split(",")
    for rows, dimension in ((options.rows or 1_000_000, 128), (options.rows or 100_000, 512)):
        run(rows, dimension, wanted, options.rounds)


def run(rows: int, dimension: int, wanted: list[str], rounds: int) -> None:
    """Measure one size."""
    vectors = people(rows, dimension)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        print(f"{rows:,} x {dimension}, float32, top {NEAREST}")
        print(f"  enrolled {fill(folder / 'faces.db', vectors):,.0f} samples a second")
        report_opening(folder / "faces.db", vectors)
        report_changes(folder / "faces.db", vectors, rounds)
        searches = {"visavis": stack.enter_context(visavis_search(folder / "faces.db"))}
        if "numpy" in wanted:
            searches["numpy product"] = stack.enter_context(numpy_search(vectors))
        if "sqlite-vec" in wanted:
            searches["sqlite-vec"] = stack.enter_context(sqlite_vec_search(vectors, folder))
        if "pgvector" in wanted:
            from postgres_server import running_server  # noqa: PLC0415  # starts a server

            server = stack.enter_context(running_server())
            url = stack.enter_context(server.database())
            searches["pgvector, exact"] = stack.enter_context(pgvector_search(vectors, url))
        measure(searches, vectors, rounds)
        if "hnsw" in wanted and rows <= MOST_INDEXED:
            from postgres_server import running_server  # noqa: PLC0415  # starts a server

            server = stack.enter_context(running_server())
            report_hnsw(vectors, stack.enter_context(server.database()), rounds)


if __name__ == "__main__":
    main()
