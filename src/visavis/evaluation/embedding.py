"""Embeddings of photos, one face of each, and their cache: personal data, stored only where asked for."""

import hashlib
import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from visavis import __version__
from visavis.core.image import read_encoded
from visavis.errors import InvalidOption, MultipleFaces, NoFace, SetupError, VisavisError
from visavis.evaluation.protocols import Photo
from visavis.files import replacing
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed, Recognizer
from visavis.models.runtime import RuntimeSpec, precision_in_force
from visavis.options import OneFace
from visavis.service.enroller import Observer
from visavis.types import FloatArray, ImageSource

# The failures that belong to an image's content, and are the same the next time: these are cached.
_LASTING = {NoFace.code: "no face found", MultipleFaces.code: "several faces found"}


@dataclass(frozen=True, slots=True, eq=False)
class PhotoResult:
    """The face of a photo, or the code of why there is none, with a message where that needs one."""

    embedding: FloatArray | None = None
    box_xyxy: FloatArray | None = None
    code: str = ""
    message: str = ""


def key_of(pack: Pack, runtime: RuntimeSpec, faces: str, min_face: float) -> str:
    """Return a name for everything but the image that an embedding depends on, or raise RuntimeMissing."""
    about = {
        "visavis": __version__,  # another one may find and align faces otherwise
        "space": pack.space.id,
        "files": [file.sha256 or file.name for file in pack.files],
        "runtime": runtime.runtime,
        "precision": precision_in_force(runtime),
        "faces": faces,
        "min_face": min_face,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


class EmbeddingCache:
    """Results by the SHA-256 of the image's content: a small file each, which only its owner may read.

    Files appear whole or not at all: any number of processes may share a folder. A damaged one counts as absent.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def get(self, digest: str, dimension: int) -> PhotoResult | None:
        """Return the result of an image, or None where it is unknown."""
        try:
            content = io.BytesIO(self._path(digest).read_bytes())
            with np.load(content, allow_pickle=False) as arrays:
                embedding, box, code = arrays["embedding"], arrays["box_xyxy"], str(arrays["code"])
        except Exception:  # noqa: BLE001  # whatever a damaged file makes NumPy and zipfile raise
            return None
        if code:
            return PhotoResult(code=code)
        whole = (embedding.dtype, embedding.shape, box.shape) == (np.float32, (dimension,), (4,))
        return PhotoResult(embedding, box.astype(np.float32)) if whole and np.isfinite(embedding).all() else None

    def put(self, digest: str, result: PhotoResult) -> None:
        """Keep the result of an image, or raise OSError."""
        arrays = (np.zeros(0, np.float32) if each is None else each for each in (result.embedding, result.box_xyxy))
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, private=True) as file:
            np.savez(file, embedding=next(arrays), box_xyxy=next(arrays), code=np.array(result.code))

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.npz"


@dataclass(frozen=True, slots=True)
class PhotoEmbedder:
    """A recognizer of photos, and its settings."""

    recognizer: Observer
    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)  # of its networks: for the cache and the report
    faces: OneFace = "prominent"  # several are a failure with main and only
    min_face: float | None = None  # the smallest to look for, as in ``Recognizer``
    cache_dir: Path | None = None  # for embeddings; None to keep nothing
    advance: Callable[[], None] = lambda: None  # called after each photo

    @property
    def smallest(self) -> float:
        """The smallest face that is looked for."""
        return self.recognizer.pack.min_face if self.min_face is None else self.min_face

    @classmethod
    def of(
        cls, recognizer: Recognizer, *, faces: OneFace = "prominent", cache_dir: Path | None = None
    ) -> "PhotoEmbedder":
        """Return one with the settings of a Recognizer."""
        return cls(recognizer, recognizer.runtime, faces, recognizer.min_face, cache_dir)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPhotos:
    """The embeddings of photos, NaN where there is none."""

    embeddings: FloatArray  # (n, D)
    boxes_xyxy: FloatArray  # (n, 4) of the faces, in pixels of the upright original
    failures: dict[int, tuple[str, str]]  # code and message of the reason, by the place of each photo without a face
    from_cache: int = 0  # how many were cached

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which photos (n,) have an embedding."""
        return np.isfinite(self.embeddings[:, 0])


def embed_photos(embedder: PhotoEmbedder, photos: Sequence[Photo]) -> EmbeddedPhotos:
    """Embed one face of each photo; what goes wrong with a photo becomes its failure.

    Raises:
        InvalidOption: ``embedder.faces`` is none of the choices.
        SetupError: a model is missing or damaged.
        OSError: the cache cannot be written.
    """
    choices = get_args(OneFace)
    if embedder.faces not in choices:
        raise InvalidOption(f"faces must be one of {', '.join(choices)}, not {embedder.faces!r}")
    run = _Run(embedder, photos)
    for outcome in embedder.recognizer.observe_many(run.images(), faces=embedder.faces, min_face=embedder.smallest):
        run.add(outcome)
    embeddings = np.full((len(photos), embedder.recognizer.pack.dimension), np.nan, np.float32)
    boxes = np.full((len(photos), 4), np.nan, np.float32)
    failures = {}
    for place, result in sorted(run.results.items()):
        if result.code:
            words = f"{photos[place].file}: {_LASTING.get(result.code, result.code)}"
            failures[place] = (result.code, result.message or words)
        else:
            embeddings[place], boxes[place] = result.embedding, result.box_xyxy
    return EmbeddedPhotos(embeddings, boxes, failures, run.from_cache)


class _Content(io.BytesIO):
    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Run:
    """One pass over photos: what is cached or unreadable has its result at once, the rest from the recognizer."""

    def __init__(self, embedder: PhotoEmbedder, photos: Sequence[Photo]) -> None:
        self.results: dict[int, PhotoResult] = {}
        self.from_cache = 0
        self._embedder, self._photos, self._pack = embedder, photos, embedder.recognizer.pack
        self._ahead: deque[tuple[int, str]] = deque()  # place and hash of what was yielded
        self._cache = None
        if embedder.cache_dir is not None:
            key = key_of(self._pack, embedder.runtime, embedder.faces, embedder.smallest)
            self._cache = EmbeddingCache(embedder.cache_dir, key)

    def images(self) -> Iterator[ImageSource]:
        """Yield what the recognizer is to look at; some are taken ahead of their outcomes."""
        limits = self._embedder.recognizer.limits
        for place, photo in enumerate(self._photos):
            known = None
            try:
                content = read_encoded(photo.path, limits)
                digest = hashlib.sha256(content).hexdigest()
                if self._cache and (known := self._cache.get(digest, self._pack.dimension)):
                    self.from_cache += 1
            except VisavisError as error:
                known = PhotoResult(code=error.code, message=str(error))
            if known:
                self._keep(place, known)
            else:
                self._ahead.append((place, digest))
                yield _Content(content, photo.path)

    def add(self, outcome: Sequence[Observed] | VisavisError) -> None:
        """Take the outcome of the next image that was yielded; raise it where it is a SetupError."""
        place, digest = self._ahead.popleft()
        if isinstance(outcome, SetupError):
            raise outcome
        if isinstance(outcome, VisavisError):
            result = PhotoResult(code=outcome.code, message=str(outcome))
        else:
            face = next((observed.face for observed in outcome), None)
            result = PhotoResult(face.embedding, face.box_xyxy) if face else PhotoResult(code=NoFace.code)
        if self._cache and (not result.code or result.code in _LASTING):
            self._cache.put(digest, result)
        self._keep(place, result)

    def _keep(self, place: int, result: PhotoResult) -> None:
        self.results[place] = result
        self._embedder.advance()
