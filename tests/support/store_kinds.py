"""The stores under test, and what their tests are made of. The fixtures are known to all tests through conftest.py."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres_server import PostgresServer, running_server
from store_model import new_model

from visavis.errors import VisavisError
from visavis.galleries.records import Gallery, NewSample, Origin, Sample, Stored
from visavis.galleries.store import Store, open_store
from visavis.options import Keep, Policy
from visavis.types import EmbeddingSpace, FloatArray, Metric

KEY = bytes(range(32))  # of the encrypted stores
REAL_KINDS = ("sqlite", "sqlite-encrypted", "postgres")
KINDS = ("model", *REAL_KINDS)  # the model follows the contract too: what the tests demand can be done
NOON = datetime(2024, 5, 17, 12, 0, 0, 123456, tzinfo=timezone.utc)
GALLERY = "people"


def open_kind(kind: str, url: str) -> Store:
    """Open a store that other objects and processes may have open too."""
    return open_store(url, key=KEY if kind == "sqlite-encrypted" else None)


@dataclass(eq=False)
class Place:
    """Where a store keeps its galleries, which outlive every object that speaks for the store."""

    kind: str
    url: str
    opened: list[Store] = field(default_factory=list)
    opener: Callable[[str, str], Store] = open_kind

    @property
    def path(self) -> Path:
        """The file, where it is one."""
        return Path(self.url.removeprefix("sqlite:///"))

    def open(self) -> Store:
        """Return a store, beside those that are open."""
        self.opened.append(self.opener(self.kind, self.url))
        return self.opened[-1]

    def reopen(self) -> Store:
        """Close all stores, and return a new one."""
        self.close()
        return self.open()

    def close(self) -> None:
        """Close all stores, those too that were used again after they had been closed."""
        for store in self.opened:
            store.close()


@contextmanager
def place_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give an empty place; skip the test where there is no PostgreSQL."""
    if kind == "model":
        model = new_model()
        yield Place(kind, "", opener=lambda *_: model)
    elif kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        with closing(Place(kind, server.emptied())) as place:
            yield place
    else:
        with closing(Place(kind, f"sqlite:///{folder}/galleries.db")) as place:
            yield place


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for all tests that neither kill nor freeze it; skips where none can run."""
    with running_server() as server:
        yield server


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place of every kind."""
    with place_of(request.param, tmp_path, request) as place:
        yield place


@pytest.fixture
def store(place: Place) -> Store:
    """An empty store of every kind."""
    return place.open()


def origin(minutes: float = 0, actor: str = "tests") -> Origin:
    """Return who does something so many minutes after noon."""
    return Origin(actor=actor, at=NOON + timedelta(minutes=minutes))


def make(
    store: Store,
    name: str = GALLERY,
    *,
    dimension: int = 4,
    metric: Metric = "euclidean",
    keep: Keep = "images",
) -> Gallery:
    """Make a gallery."""
    return store.create(name, EmbeddingSpace("space-1", dimension, metric), Policy(keep=keep), origin())


def vectors(count: int, dimension: int = 4, seed: int = 0) -> FloatArray:
    """Return random embeddings (N, D) of length 1, always the same."""
    rows = np.random.default_rng((seed, dimension)).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def new_samples(subjects: Sequence[str], embeddings: FloatArray) -> list[NewSample]:
    """Return a sample of each subject, with nothing but its embedding."""
    return [
        NewSample(subject=subject, embedding=embedding) for subject, embedding in zip(subjects, embeddings, strict=True)
    ]


def enrol(store: Store, samples: Sequence[NewSample], minutes: float = 0, gallery: str = GALLERY) -> list[Stored]:
    """Enrol samples, none of which is refused."""
    return [stored(outcome) for outcome in store.enrol(gallery, samples, origin(minutes))]


def stored(outcome: Stored | VisavisError) -> Stored:
    """Return what was stored."""
    assert isinstance(outcome, Stored), outcome
    return outcome


def plain(sample: Sample) -> dict[str, Any]:
    """Return a sample as values that can be compared."""
    names = ("id", "subject", "quality", "source", "picture", "created_at", "counter", "metadata")
    values = {name: getattr(sample, name) for name in names}
    return {**values, "embedding": sample.embedding.tolist()}


def content(store: Store, gallery: str = GALLERY) -> tuple[object, ...]:
    """Return all that a gallery shows."""
    samples = store.samples(gallery, limit=100_000)
    pictures = [store.picture(gallery, sample.id) for sample in samples]
    subjects = store.subjects(gallery, limit=100_000)
    return store.gallery(gallery), subjects, [plain(sample) for sample in samples], pictures
