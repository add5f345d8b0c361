"""Embeddings of photos, one face of each, and their cache: personal data, stored only where asked for."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visavis import __version__
from visavis.core.image import ImageLimits, read_encoded, read_image
from visavis.errors import InvalidOption, MultipleFaces, NoFace, SetupError, VisavisError
from visavis.evaluation.protocols import Photo
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer
from visavis.models.runtime import RuntimeSpec, precision_in_force
from visavis.options import DEFAULT_MIN_FACE, FacesPolicy
from visavis.service.observer import Eyes
from visavis.types import Face, FloatArray, ImageSource, SizeWH

_KEY_LENGTH = 16
_CORNERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is seen on a photo: a face, or the code of why there is none, with a message where that needs one."""

    embedding: FloatArray | None = None
    box_xyxy: FloatArray | None = None
    code: str = ""
    message: str = ""


def key_of(pack: Pack, runtime: RuntimeSpec, faces: str, min_face: float) -> str:
    """Return a name for everything but the image that an embedding depends on.

    Raises:
        RuntimeMissing: the runtime is not installed.
    """
    about = {
        "visavis": __version__,  # another one may find and align faces otherwise
        "space": pack.space.id,
        "files": [file.sha256 or file.name for file in pack.files],
        "runtime": runtime.runtime,
        "precision": precision_in_force(runtime),
        "faces": faces,
        "min_face": min_face,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]


class Shelf:
    """What was seen on images, by their content's SHA-256: a small file each, which only its owner may read.

    Files appear whole or not at all, so that any number of processes may share a folder; one that is damaged counts as
    not there.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Keep what has this key in a folder of its own below the one given."""
        self._folder = folder / key

    def get(self, digest: str, dimension: int) -> Sight | None:
        """Return what was seen on an image, or None where that is not known."""
        try:
            content = io.BytesIO(self._path(digest).read_bytes())
            with np.load(content, allow_pickle=False) as arrays:
                embedding, box, code = arrays["embedding"], arrays["box_xyxy"], str(arrays["code"])
        except Exception:  # noqa: BLE001  # whatever a damaged file makes NumPy and zipfile raise
            return None
        if code:
            return Sight(code=code)
        whole = embedding.shape == (dimension,) and box.shape == (_CORNERS,)
        if not whole or embedding.dtype != np.float32 or not np.isfinite(embedding).all():
            return None
        return Sight(embedding, box.astype(np.float32))

    def put(self, digest: str, sight: Sight) -> None:
        """Keep what was seen on an image.

        Raises:
            OSError: it cannot be written.
        """
        buffer = io.BytesIO()
        nothing = np.zeros(0, np.float32)
        embedding = nothing if sight.embedding is None else sight.embedding
        box = nothing if sight.box_xyxy is None else sight.box_xyxy
        np.savez(buffer, embedding=embedding, box_xyxy=box, code=np.array(sight.code))
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(buffer.getbuffer())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.npz"


Choice: TypeAlias = Literal["largest", "only", "central"]
"""Which face of an image counts: the largest; the only one, several being a failure; or the most central one."""

_POLICIES: dict[Choice, FacesPolicy] = {"largest": "largest", "only": "only", "central": "all"}
_MOST_REDUCTION = 8.0
# What belongs to an image's content, and is the same the next time.
_LASTING = (NoFace.code, MultipleFaces.code)


@dataclass(frozen=True, slots=True)
class Seeing:
    """What looks at photos, and how.

    Attributes:
        eyes: what sees: a ``Recognizer``, say.
        runtime: what runs its networks: for the cache and the report.
        faces: which face of an image counts.
        min_face: the smallest to look for, as in ``Recognizer``.
        cache_dir: where embeddings are kept from one measurement to the next; None to keep nothing.
        advance: called after each photo.
    """

    eyes: Eyes
    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    faces: Choice = "largest"
    min_face: float = DEFAULT_MIN_FACE
    cache_dir: Path | None = None
    advance: Callable[[], None] = lambda: None

    @classmethod
    def by(cls, recognizer: Recognizer, *, faces: Choice = "largest", cache_dir: Path | None = None) -> "Seeing":
        """Look with a Recognizer, with its own settings."""
        return cls(recognizer, recognizer.runtime, faces, recognizer.min_face, cache_dir)


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of photos (n).

    Attributes:
        embeddings: (n, D), NaN where there is none.
        boxes_xyxy: (n, 4) of the faces, in pixels of the upright original; likewise.
        failures: code and message of the reason, by the place of each photo that has none.
        from_cache: how many were kept from an earlier measurement.
    """

    embeddings: FloatArray
    boxes_xyxy: FloatArray
    failures: dict[int, tuple[str, str]]
    from_cache: int = 0

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Tell of which photos (n,) there is an embedding."""
        return np.isfinite(self.embeddings[:, 0])


def embed_photos(seeing: Seeing, photos: Sequence[Photo]) -> Embedded:
    """Embed one face of each photo; what goes wrong with a photo is told, and ends nothing.

    Raises:
        InvalidOption: ``seeing.faces`` is none of the choices.
        SetupError: a model is missing or damaged.
        OSError: the cache cannot be written.
    """
    if seeing.faces not in _POLICIES:
        raise InvalidOption(f"faces must be one of {', '.join(_POLICIES)}, not {seeing.faces!r}")
    pack, shelf = seeing.eyes.pack, None
    if seeing.cache_dir is not None:
        shelf = Shelf(seeing.cache_dir, key_of(pack, seeing.runtime, seeing.faces, seeing.min_face))
    sights = {} if shelf is None else _find(shelf, seeing, photos)
    from_cache = len(sights)
    fresh = [place for place in range(len(photos)) if place not in sights]
    for place, sight in zip(fresh, _look(seeing, [photos[place] for place in fresh], shelf), strict=True):
        sights[place] = sight
        seeing.advance()
    embeddings = np.full((len(photos), pack.dimension), np.nan, np.float32)
    boxes = np.full((len(photos), 4), np.nan, np.float32)
    failures = {}
    for place, sight in sorted(sights.items()):
        if sight.code:
            failures[place] = (sight.code, sight.message or f"{photos[place].file}: {_in_words(sight.code)}")
        else:
            embeddings[place], boxes[place] = sight.embedding, sight.box_xyxy
    return Embedded(embeddings, boxes, failures, from_cache)


class _Content(io.BytesIO):
    """An image file as it was when its hash was made, with its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _find(shelf: Shelf, seeing: Seeing, photos: Sequence[Photo]) -> dict[int, Sight]:
    """Return what is kept of the photos, by their place."""
    found = {}
    for place, photo in enumerate(photos):
        with suppress(VisavisError):  # what cannot be read is told when it is looked at
            digest = _hash(read_encoded(photo.path, seeing.eyes.limits))
            sight = shelf.get(digest, seeing.eyes.pack.dimension)
            if sight is not None:
                found[place] = sight
                seeing.advance()
    return found


def _look(seeing: Seeing, photos: Sequence[Photo], shelf: Shelf | None) -> Iterator[Sight]:
    """Yield what is seen on each photo, in order, and keep it where that is wished for."""
    sources = [
        _Source(photo, seeing.eyes.limits, central=seeing.faces == "central", hashed=shelf is not None)
        for photo in photos
    ]
    images = (source.open() for source in sources)
    outcomes = seeing.eyes.observe_many(images, faces=_POLICIES[seeing.faces], min_face=seeing.min_face)
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, SetupError):
            raise outcome
        error = source.error or (outcome if isinstance(outcome, VisavisError) else None)
        faces = () if isinstance(outcome, VisavisError) else tuple(observed.face for observed in outcome)
        sight = _sight(source, faces, error)
        if shelf is not None and source.digest and (not sight.code or sight.code in _LASTING):
            shelf.put(source.digest, sight)
        yield sight


class _Source:
    """A photo that is opened when its turn comes, in whichever thread looks at it."""

    def __init__(self, photo: Photo, limits: ImageLimits, *, central: bool, hashed: bool) -> None:
        self.photo = photo
        self.digest = ""
        self.size_wh: SizeWH | None = None
        self.error: VisavisError | None = None
        self._limits, self._central, self._hashed = limits, central, hashed

    def open(self) -> ImageSource:
        """Return what is looked at: the file, or its content where more is to be known of it."""
        if not (self._hashed or self._central):
            return self.photo.path
        try:
            content = read_encoded(self.photo.path, self._limits)
            self.digest = _hash(content) if self._hashed else ""
            named = _Content(content, self.photo.file)
            if not self._central:
                return named
            # Decoded once more for its size: many images wait for their turn, and pixels take the most memory.
            self.size_wh = read_image(content, limits=self._limits, reduction=_smallest).size_wh
        except VisavisError as error:
            self.error = error
            return b""  # fails in its turn; the error that counts is the one before
        return named


def _sight(source: _Source, faces: Sequence[Face], error: VisavisError | None) -> Sight:
    if error is not None:
        return Sight(code=error.code, message=str(error))
    face = faces[0] if faces and source.size_wh is None else most_central(faces, source.size_wh or (0, 0))
    if face is None or face.embedding is None:
        return Sight(code=NoFace.code)
    return Sight(face.embedding, face.box_xyxy)


def _smallest(_size_wh: SizeWH) -> float:
    return _MOST_REDUCTION


def most_central(faces: Sequence[Face], size_wh: SizeWH) -> Face | None:
    """Return the face whose box has its centre nearest to the image's, as is usual on LFW; None of none."""
    middle = np.array(size_wh) / 2

    def off_centre(face: Face) -> float:
        return float(np.linalg.norm((face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - middle))

    return min(faces, key=off_centre, default=None)


def _in_words(code: str) -> str:
    return {NoFace.code: "no face found", MultipleFaces.code: "several faces found"}.get(code, code)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
