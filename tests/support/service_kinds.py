"""What the tests of the service share: eyes that see what they are shown, a clock that is set, and a small world."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import PIL.Image

from visavis.core.decide import Calibration
from visavis.core.image import DEFAULT_LIMITS, ImageLimits, read_encoded
from visavis.errors import MultipleFaces, NoFace, VisavisError
from visavis.galleries.sqlite.store import SqliteStore
from visavis.galleries.store import Store
from visavis.models.catalogue import DLIB
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed
from visavis.options import Attribute, FacesPolicy, Policy
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.service.results import Enrolled
from visavis.types import Face, Faces, FloatArray, ImageSource, Quality

NOON = datetime(2024, 5, 17, 12, tzinfo=timezone.utc)
GOOD = Quality(face_px=200.0, sharpness=0.25, score=1.0)
# Numbers that binary fractions hold exactly, so that tests may stand on the very threshold.
PACK = replace(
    DLIB,
    name="line",
    dimension=3,
    threshold=0.75,
    identify_threshold=0.5,
    identify_margin=0.125,
    conflict_threshold=0.25,
    child=None,
    calibration=Calibration(0.636, 44.4, "made up"),
    rates=None,
)


def at(x: float) -> FloatArray:
    """Return an embedding; the distance of two is that of their x."""
    return np.array([1, x, 0], np.float32)


def face_at(x: float, quality: Quality = GOOD) -> Observed:
    """Return a face with that embedding, and a chip of its own."""
    face = Face(
        box_xyxy=np.array([0, 0, 200, 200], np.float32),
        score=quality.score,
        landmarks=np.zeros((5, 2), np.float32),
        embedding=at(x),
        quality=quality,
    )
    chip = np.random.default_rng(int(abs(x) * 1000)).integers(0, 256, (150, 150, 3), np.uint8)
    return Observed(face, chip)


@dataclass(eq=False)
class FakeEyes:
    """Sees in an image what was said to be in it."""

    pack: Pack = PACK
    limits: ImageLimits = DEFAULT_LIMITS
    sights: dict[bytes, tuple[Observed, ...] | VisavisError] = field(default_factory=dict)
    looked_at: list[bytes] = field(default_factory=list)
    calls: int = 0
    asked: tuple[Attribute, ...] = ()

    def show(self, image: bytes, *seen: Observed) -> bytes:
        """Say what is in an image, and return it."""
        self.sights[image] = seen
        return image

    def observe_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        attributes: Sequence[Attribute] = (),
        chips: bool = False,
    ) -> Iterator[Faces[Observed] | VisavisError]:
        assert min_face is None
        assert not chips
        self.calls += 1
        self.asked = tuple(attributes)
        for image in images:
            try:
                content = _content(image)
            except VisavisError as error:
                yield error
                continue
            self.looked_at.append(content)
            seen = _of_those(self.sights[content], faces)
            yield seen if isinstance(seen, VisavisError) else Faces(seen)


def _content(image: ImageSource) -> bytes:
    return image.tobytes() if isinstance(image, np.ndarray | PIL.Image.Image) else read_encoded(image)


def _of_those(seen: tuple[Observed, ...] | VisavisError, faces: FacesPolicy) -> tuple[Observed, ...] | VisavisError:
    if isinstance(seen, VisavisError) or faces == "all":
        return seen
    if faces in ("prominent", "largest"):
        return seen[:1]
    if not seen:
        return NoFace("no face found")
    return seen if len(seen) == 1 else MultipleFaces("several faces found")


@dataclass(eq=False)
class Clock:
    """Tells the time that it was set to."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **period: float) -> None:
        self.now += timedelta(**period)


@dataclass(eq=False)
class World:
    """A store with a gallery, and all that it takes to use it."""

    store: Store
    eyes: FakeEyes
    clock: Clock
    galleries: Galleries

    @property
    def gallery(self) -> OpenGallery:
        return self.galleries.open("people")

    def actions(self, gallery: str | None = "people") -> list[str]:
        """Return what the log tells that was done."""
        return [entry.action for entry in self.store.entries(gallery, limit=10_000)]


@contextmanager
def open_world(folder: Path, store: Store | None = None, policy: Policy = Policy()) -> Iterator[World]:  # noqa: B008  # it is frozen
    """Give a world with an empty gallery."""
    store = store or SqliteStore(folder / "galleries.db")
    eyes, clock = FakeEyes(), Clock()
    galleries = Galleries(store, eyes, actor="tests", clock=clock)
    galleries.create("people", policy=policy)
    try:
        yield World(store, eyes, clock, galleries)
    finally:
        store.close()


def enrolled(outcome: Enrolled | VisavisError) -> Enrolled:
    """Return what was enrolled."""
    assert isinstance(outcome, Enrolled), outcome
    return outcome


def code_of(outcome: object) -> str:
    """Return the code of an error that was returned."""
    assert isinstance(outcome, VisavisError), outcome
    return outcome.code
