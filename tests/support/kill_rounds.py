"""Rounds of work, kill -9 and a look at what is left, for the tests and for ``bench/kill.py``."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kill_worker import DIMENSION, sample_of
from postgres_server import PostgresServer
from store_kinds import GALLERY, Place, make, vectors
from store_oracle import check_search

from visavis.galleries.records import Match, Sample
from visavis.galleries.store import Store
from visavis.types import FloatArray

_WORKER = Path(__file__).with_name("kill_worker.py")
_GAVE_UP = 1  # how a worker ends that finds no server any more
_PATIENCE_S = 60.0
_LONGEST_WORK_S = 0.6
_PROBES = 3

Kill = Callable[[subprocess.Popen[bytes]], None]
"""Kills what is to be killed while a worker works, and waits until the store can be opened again."""


@dataclass
class Ledger:
    """What has been acknowledged, and what was under way when the kill came.

    Attributes:
        alive: the number and subject of every sample that is surely there, by its ID.
        gone: the IDs of the samples that are surely forgotten.
        pending: the call that was under way, or None.
        calls: how many were acknowledged.
    """

    alive: dict[int, tuple[int, str]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    pending: Mapping[str, Any] | None = None
    calls: int = 0

    def read(self, text: str) -> None:
        """Follow what a worker said; its last line may be cut off."""
        self.pending = None
        for line in text.split("\n")[:-1]:
            said: dict[str, Any] = json.loads(line)
            if "done" not in said:
                self.pending = said
            elif self.pending is not None:
                self.settle(said["done"])
                self.calls += 1

    def settle(self, samples: list[int]) -> None:
        """Count the pending call as made, with the IDs of its samples where it was an enrolment."""
        assert self.pending is not None
        if "enrol" in self.pending:
            self.alive.update(dict(zip(samples, map(tuple, self.pending["enrol"]), strict=True)))
        forgotten = self.touched()
        self.gone |= forgotten
        self.alive = {sample: what for sample, what in self.alive.items() if sample not in forgotten}
        self.pending = None

    def touched(self) -> set[int]:
        """Return the samples that the pending call forgets."""
        pending = self.pending or {}
        people = set(pending.get("forget_subjects", ()))
        chosen = set(pending.get("forget_samples", ()))
        return {sample for sample, (_, subject) in self.alive.items() if sample in chosen or subject in people}


@dataclass
class Outcome:
    """What was found after a kill.

    Attributes:
        lost: acknowledged samples that are not there.
        back: forgotten samples that are there.
        wrong: whatever else is not as it should be.
        calls: acknowledged in the round.
        pending: how the call under way ended: "none", "made" or "not made".
    """

    lost: list[int]
    back: list[int]
    wrong: list[str]
    calls: int
    pending: str


class Rounds:
    """Rounds on one place, each of which goes on where the last one was killed."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._ledger = Ledger()
        store = place.open()
        make(store, dimension=DIMENSION)
        store.close()

    def run(self, number: int, folder: Path, kill: Kill | None = None) -> Outcome:
        """Let a worker work, kill it at a random moment, and look.

        Args:
            number: of the round, from 1.
            folder: for what the worker says.
            kill: how to kill, where it is not the worker that is killed.
        """
        said = folder / f"round-{number}.jsonl"
        command = [sys.executable, str(_WORKER), self._place.kind, self._place.url, str(self._seed * 1000 + number)]
        with said.open("wb") as output, subprocess.Popen(command, stdout=output) as worker:
            _wait_until(lambda: b"done" in said.read_bytes() or worker.poll() is not None)
            time.sleep(self._random.uniform(0, _LONGEST_WORK_S))
            (kill or _kill)(worker)
            worker.wait(_PATIENCE_S)
        before = self._ledger.calls
        self._ledger.read(said.read_text())
        outcome = self._look()
        if worker.returncode != (-signal.SIGKILL if kill is None else _GAVE_UP):
            outcome.wrong.append(f"the worker ended with {worker.returncode}")
        outcome.calls = self._ledger.calls - before
        return outcome

    def _look(self) -> Outcome:
        """Compare what is there with the ledger, and take the pending call as it turned out."""
        wrong = [*_integrity(self._place)]
        store = self._place.open()
        with closing(store):
            samples = {sample.id: sample for sample in store.samples(GALLERY, limit=1_000_000)}
            pending = self._take_pending(samples)
            ledger = self._ledger
            lost = sorted(ledger.alive.keys() - samples.keys())
            back = sorted(ledger.gone & samples.keys())
            strangers = samples.keys() - ledger.alive.keys() - ledger.gone
            if pending is None:
                wrong.append("a call is made in part")
            if strangers:
                wrong.append(f"{len(strangers)} samples that nobody enrolled")
            wrong += _differences(store, {sample: ledger.alive[sample] for sample in ledger.alive if sample in samples})
            wrong += _disagreements(store, list(samples.values()), self._random)
        self._ledger.alive = {sample.id: (int(sample.source or 0), sample.subject) for sample in samples.values()}
        return Outcome(lost, back, wrong, 0, pending or "in part")

    def _take_pending(self, samples: Mapping[int, Sample]) -> str | None:
        """Tell how the pending call turned out; None where it was neither made nor not made."""
        pending = self._ledger.pending
        if pending is None:
            return "none"
        if "enrol" in pending:
            wanted = [number for number, _ in pending["enrol"]]
            ids = {int(sample.source or 0): sample.id for sample in samples.values()}
            there = [ids[number] for number in wanted if number in ids]
            whole = len(there) == len(wanted)
        else:
            touched = self._ledger.touched()
            there = sorted(touched - samples.keys())
            whole = len(there) == len(touched)
        if whole:
            self._ledger.settle(there)
        self._ledger.pending = None
        return "made" if whole else "not made" if not there else None


def _integrity(place: Place) -> Iterator[str]:
    """Ask SQLite whether the file is sound."""
    if place.kind != "postgres":
        with closing(sqlite3.connect(place.path)) as connection:
            for (line,) in connection.execute("PRAGMA integrity_check"):
                if line != "ok":
                    yield str(line)


def _differences(store: Store, alive: Mapping[int, tuple[int, str]]) -> Iterator[str]:
    """Compare samples with what was enrolled, and the counts with the rows."""
    samples = {sample.id: sample for sample in store.samples(GALLERY, limit=1_000_000)}
    for id_, (number, subject) in alive.items():
        sample, expected = samples[id_], sample_of(number, subject)
        if (sample.subject, sample.source) != (subject, expected.source):
            yield f"sample {id_} is another one"
        if not np.array_equal(sample.embedding, expected.embedding):
            yield f"sample {id_} has another embedding"
        if store.picture(GALLERY, id_) != expected.picture:
            yield f"sample {id_} has another picture"
    keys = {f"key {number}": id_ for id_, (number, _) in alive.items()}
    if {key: one.sample for key, one in store.keyed(GALLERY, list(keys)).items()} != keys:
        yield "the keys are of other samples"
    people = store.subjects(GALLERY, limit=1_000_000)
    owners = [sample.subject for sample in samples.values()]
    if {one.id: one.samples for one in people} != {one.id: owners.count(one.id) for one in people}:
        yield "a subject's count is wrong"
    gallery = store.gallery(GALLERY)
    if (gallery.subjects, gallery.samples) != (len(people), len(samples)) or not {*owners} <= {
        one.id for one in people
    }:
        yield "the gallery's counts are wrong"
    entries = store.entries(GALLERY, limit=1_000_000)
    if sum(entry.count * {"enrol": 1, "forget": -1}.get(entry.action, 0) for entry in entries) != len(samples):
        yield "the log tells of other changes"


def _disagreements(store: Store, samples: list[Sample], generator: random.Random) -> Iterator[str]:
    """Compare what a search finds with the rows."""
    chosen = generator.sample(samples, min(_PROBES, len(samples)))
    strangers = vectors(_PROBES, DIMENSION, seed=generator.randrange(2**32))
    probes = np.concatenate([strangers, *(sample.embedding[None] for sample in chosen)])
    for probe, found in zip(probes, store.search(GALLERY, probes, 10), strict=True):
        if not _is_right(found, probe, samples):
            yield "a search disagrees with the rows"


def _is_right(found: Sequence[Match], probe: FloatArray, samples: list[Sample]) -> bool:
    try:
        check_search(found, "euclidean", probe, samples, 10)
    except AssertionError:
        return False
    return True


def killing(server: PostgresServer) -> Kill:
    """Return what kills a database server, and starts it again when the worker has given up."""

    def kill(worker: subprocess.Popen[bytes]) -> None:
        server.kill9()
        worker.wait(_PATIENCE_S)
        server.start()

    return kill


def _kill(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGKILL)


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "the worker does nothing"
        time.sleep(0.005)
