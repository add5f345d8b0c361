"""What is forgotten is in nothing that the process holds, and where the allocator overwrites, nowhere in it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forgotten_memory import FORGOTTEN, PEOPLE, embedding_of, name_of
from store_kinds import GALLERY, enrol, make, new_samples, origin, vectors

from visavis.galleries.sqlite.store import SqliteStore

# What is freed is overwritten: then whatever is found is held by somebody.
OVERWRITING = {"MALLOC_PERTURB_": "165", "PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def found_in(process: int, texts: dict[str, bytes]) -> list[str]:
    """Return the names of the texts that are found in the memory of a process."""
    found = set()
    with Path(f"/proc/{process}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            place, rights, *_, owner = line.split(maxsplit=5)
            if "w" in rights and not owner.startswith("[v"):
                start, end = (int(number, 16) for number in place.split("-"))
                memory.seek(start)
                data = memory.read(end - start)
                found |= {name for name, text in texts.items() if text in data}
    return sorted(found)


def texts_of(people: range) -> dict[str, bytes]:
    vectors = {f"vector of {person}": embedding_of(person).tobytes()[512:544] for person in people}
    return {**vectors, **{f"name of {person}": name_of(person).encode() for person in people}}


@pytest.mark.thorough
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc overwrites what is freed")
@pytest.mark.parametrize("last", ["subjects", "gallery"])
def test_nothing_holds_the_forgotten(tmp_path: Path, last: str) -> None:
    script = Path(__file__).parents[1] / "support" / "forgotten_memory.py"
    command = [sys.executable, str(script), str(tmp_path / "faces.db"), last]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **OVERWRITING}
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        gone = found_in(child.pid, texts_of(FORGOTTEN))
        there = found_in(child.pid, texts_of(range(1, PEOPLE, 7)))
        child.communicate(b"\n")
    assert gone == []
    assert bool(there) is (last == "subjects")  # those who live are found, or the search finds nothing


def test_the_index_of_a_forgotten_gallery_is_overwritten(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "faces.db")
    make(store)
    enrol(store, new_samples([f"s{at}" for at in range(50)], vectors(50)))
    store.search(GALLERY, vectors(1), 1)
    (loaded,) = store._memory._loaded.values()  # noqa: SLF001
    assert loaded.index
    rows = loaded.index._segments[0].vectors[:50]  # noqa: SLF001
    assert rows.any()
    store.drop(GALLERY, origin(5))
    assert not np.any(rows)
    store.close()
