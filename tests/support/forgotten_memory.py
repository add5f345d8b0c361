"""A process that enrols people, works with them, forgets some, and then waits to be looked into."""

import random
import string
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from service_kinds import PACK, FakeEyes

from visavis.galleries.records import Details
from visavis.galleries.sqlite.store import SqliteStore
from visavis.service.galleries import Galleries
from visavis.types import FloatArray

DIMENSION = 512
PEOPLE = 60
FORGOTTEN = range(0, PEOPLE, 7)


def embedding_of(person: int) -> FloatArray:
    """Return numbers like nobody else's."""
    return np.asarray(np.random.default_rng(person).normal(size=DIMENSION) / 20, np.float32)


def name_of(person: int) -> str:
    """Return a name like nobody else's."""
    return "".join(random.Random(person).choices(string.ascii_letters, k=24))  # noqa: S311  # no secret


def main(path: Path, last: str) -> None:
    """Work, and wait for a line."""
    store = SqliteStore(path)
    galleries = Galleries(store, FakeEyes(pack=replace(PACK, dimension=DIMENSION)))
    galleries.create("team")
    team = galleries.open("team")
    for person in range(PEOPLE):
        details = Details(name=name_of(person))
        team.enrol_embedding(embedding_of(person), f"id{person}", details=details, allow_conflict=True)
    for person in range(PEOPLE):
        (found,) = team.identify_embeddings(embedding_of(person)[None])
        assert found.match
    del found  # whose candidates have names
    assert len(team.subjects()) == PEOPLE
    assert len(list(team.export())) == PEOPLE + 1
    for person in FORGOTTEN:
        assert team.samples(f"id{person}")
    if last == "gallery":
        team.forget()
    else:
        for person in FORGOTTEN:
            team.forget_subject(f"id{person}")
    print("ready", flush=True)  # noqa: T201  # to the test
    sys.stdin.readline()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
