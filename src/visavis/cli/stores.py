"""Galleries that a command works on, the Recognizer that looks at images for them, and counts of enrolments."""

import getpass
import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeAlias, TypeVar

from typing_extensions import Unpack

from visavis.cli.options import ModelOptions, StoreOptions
from visavis.cli.outputs import Searched
from visavis.cli.terminal import counted, readable, say
from visavis.config import STORE_HERE, store_url
from visavis.core.image import ImageLimits
from visavis.errors import (
    GalleryExists,
    GalleryNotFound,
    InvalidOption,
    ModelCorrupt,
    ModelMissing,
    SetupError,
    VisavisError,
)
from visavis.galleries.records import Gallery
from visavis.galleries.store import open_store, read_keys
from visavis.models.catalogue import PACKS
from visavis.models.installation import as_installed, as_pinned, find_pack
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed, Recognizer, check_min_face
from visavis.models.runtime import usable_cores
from visavis.options import INDEX_NAME, Describe, Observe, Policy
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.service.photos import PhotoIndex
from visavis.types import Face, Faces, ImageSource

_MOST_STREAMS = 8  # each has buffers of its own
_BATCH = 16  # images that galleries hand over together
_KEY_VARIABLE = "VISAVIS_GALLERY_KEY"
_NAMED_IN_MESSAGES = 10
_KEPT = {
    "nothing": "embeddings and no images",
    "chips": "embeddings and aligned faces",
    "images": "embeddings and whole images",
}
_ADVICE = {
    "no_face": "--min-face N looks for smaller ones",
    "multiple_faces": "--faces prominent enrols the one that is large and central, --like PHOTO that person",
    "too_small": "visavis gallery policy {gallery} --min-face-px N allows smaller ones",
    "blurred": "visavis gallery policy {gallery} --min-sharpness N allows more",
    "low_score": "visavis gallery policy {gallery} --min-score N allows more",
    "occluded": "visavis gallery policy {gallery} --max-occluded 1 allows all",
    "invalid_face": "visavis gallery policy {gallery} --min-validity 0 allows all",
    "extreme_pose": "visavis gallery policy {gallery} --max-yaw N --max-pitch N allows more; 90 allows all",
    "not_live": "visavis gallery policy {gallery} --no-require-live enrols it all the same",
    "child": "visavis gallery policy {gallery} --allow-children enrols it all the same",
    "conflict": "--allow-conflict enrols it all the same",
    "consent_missing": "--consent TEXT notes what was agreed to",
}
_Seen = TypeVar("_Seen")
_ObservedOrError: TypeAlias = Faces[Observed] | VisavisError
_FacesOrError: TypeAlias = Faces[Face] | VisavisError
_Look: TypeAlias = Callable[[list[ImageSource]], Iterator[Faces[_Seen] | VisavisError]]
_log = logging.getLogger("visavis.cli")


class LazyRecognizer:
    """A Recognizer for galleries, in several threads; the models are loaded with the first image."""

    def __init__(self, models: ModelOptions, images: int = _BATCH, *, allow_children: bool = False) -> None:
        """Find the pack; one image gets all cores, several share them."""
        self._catalogued = find_pack(models.pack)
        self._allow_children = allow_children
        self._models = models
        self.searched = Searched()
        self._streams = max(1, min(usable_cores() // (models.loading.get("threads") or 1), _MOST_STREAMS, images))

    def observe_many(self, images: Iterable[ImageSource], **options: Unpack[Observe]) -> Iterator[_ObservedOrError]:
        """Return what ``Recognizer.observe_many`` does, in order; a few images are taken ahead."""
        return self._spread(images, lambda part: self._recognizer.observe_many(part, **options))

    def embed_many(self, images: Iterable[ImageSource], **options: Unpack[Describe]) -> Iterator[_FacesOrError]:
        """Return what ``Recognizer.embed_many`` does, likewise."""
        return self._spread(images, lambda part: self._recognizer.embed_many(part, **options))

    def detect_many(self, images: Iterable[ImageSource], **options: Unpack[Describe]) -> Iterator[_FacesOrError]:
        """Return what ``Recognizer.detect_many`` does, likewise."""
        return self._spread(images, lambda part: self._recognizer.detect_many(part, **options))

    def _spread(self, images: Iterable[ImageSource], look: _Look[_Seen]) -> Iterator[Faces[_Seen] | VisavisError]:
        """Yield what is seen of images, in order, by all threads."""
        _ = self._recognizer  # loaded once, before there are threads

        def seen(part: list[ImageSource]) -> list[Faces[_Seen] | VisavisError]:
            return list(look(part))

        # Two parts of a batch for each thread, so that a large photo in one leaves the others something to do.
        size = max(1, _BATCH // (2 * self._streams)) if self._streams > 1 else _BATCH
        left = iter(images)
        ahead: deque[Future[list[Faces[_Seen] | VisavisError]]] = deque()
        try:
            while part := list(islice(left, size)):
                ahead.append(self._pool.submit(seen, part))
                if len(ahead) > 2 * self._streams:
                    yield from self.searched.note(ahead.popleft().result())
            while ahead:
                yield from self.searched.note(ahead.popleft().result())
        finally:
            for future in ahead:
                future.cancel()

    @cached_property
    def pack(self) -> Pack:
        """As it is installed, which is read when it is first asked for: much is done for galleries without it."""
        pack = as_installed(self._catalogued, self._models.folder)
        return replace(pack, child=None) if self._allow_children else pack

    @property
    def min_face(self) -> float:
        """The smallest face that is looked for."""
        least = self._models.min_face
        return self.pack.min_face if least is None else check_min_face(least)

    @property
    def limits(self) -> ImageLimits:
        """On images."""
        return self._models.limits()

    @cached_property
    def _recognizer(self) -> Recognizer:
        if self._streams == 1:
            return self._models.load()
        threads = self._models.loading.get("threads") or max(1, usable_cores() // self._streams)
        return replace(self._models, loading={**self._models.loading, "threads": threads}).load(self._streams)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._streams, "visavis-recognizer")


def index_file(given: Path | None, paths: Sequence[str], *, make: bool = False) -> Path | None:
    """Return the index that is given; or the caller's own one beside the first of the photos, or above; or none.

    Where ``make`` says so, there is to be one in the first folder.
    """
    if given is not None:
        return given
    first = Path(paths[0])
    beside = first if first.is_dir() else first.parent
    for folder in (beside, *beside.absolute().parents):
        with suppress(OSError):
            status = (folder / INDEX_NAME).lstat()
            # Whose it is matters: others may have left one in a folder that is everybody's.
            if S_ISREG(status.st_mode) and (sys.platform == "win32" or status.st_uid == os.getuid()):
                return folder / INDEX_NAME
    return next((Path(path) / INDEX_NAME for path in paths if Path(path).is_dir()), None) if make else None


@contextmanager
def open_index(
    file: Path | None, models: ModelOptions, paths: Sequence[str], images: int, *, allow_children: bool = False
) -> Iterator[PhotoIndex]:
    """Give an index of photos, or what keeps nothing where there is no file; what is gone from folders goes from it."""
    eyes = LazyRecognizer(models, images, allow_children=allow_children)
    with closing(PhotoIndex(eyes, file)) as index:
        if file is not None:
            _log.info("index of photos: %s", file)
        yield index
        index.prune(path for path in paths if Path(path).is_dir())
    eyes.searched.tell()


@contextmanager
def open_galleries(
    store: StoreOptions, models: ModelOptions | None = None, *, images: int = 1, index: PhotoIndex | None = None
) -> Iterator[Galleries]:
    """Give the galleries of a store; models are loaded when the first of the images is looked at."""
    actor = "user unknown"
    with suppress(ImportError, KeyError, OSError):  # a user without a name, as in some containers
        actor = f"user {getpass.getuser()}"
    if store.url is None and STORE_HERE.is_file():
        _log.info("visavis: the galleries are those of %s", STORE_HERE.absolute())
    with closing(open_store(store_url(store.url), key=_read_key(store.key_file))) as opened:
        eyes = LazyRecognizer(models or ModelOptions(), images)
        yield Galleries(opened, index or eyes, actor=actor)
        eyes.searched.tell()


def open_gallery(galleries: Galleries, name: str) -> OpenGallery:
    """Open a gallery, or raise GalleryNotFound, which tells those there are."""
    try:
        return galleries.open(name)
    except GalleryNotFound:
        url, names = galleries.store.url, [gallery.name for gallery in galleries.all()]
    if not names:
        raise GalleryNotFound(
            f"there is no gallery {name!r}: {url} holds none yet; visavis enrol or visavis gallery create makes one"
        )
    rest = len(names) - _NAMED_IN_MESSAGES
    listed = ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {rest} more" if rest > 0 else "")
    raise GalleryNotFound(f"there is no gallery {name!r} in {url}; those there are: {listed}")


def open_with_its_pack(galleries: Galleries, name: str, models: ModelOptions) -> OpenGallery:
    """Open a gallery for what looks at no image: whatever pack is chosen, its own one counts."""
    opened = open_gallery(galleries, name)
    pack = pack_of(opened.record, models.folder)
    if pack is None:
        return opened
    own = LazyRecognizer(replace(models, pack=pack.name))
    return Galleries(galleries.store, own, actor=galleries.actor).open(name)


def pack_of(gallery: Gallery, models_dir: Path) -> Pack | None:
    """Return the pack that a gallery was made with, as far as the catalogue and what is pinned here tell."""
    for pack in PACKS.values():
        with suppress(ModelCorrupt, ModelMissing):  # whoever wants to use it is told
            if as_pinned(pack, models_dir).space.id == gallery.space.id:
                return pack
    return None


def make_gallery(galleries: Galleries, name: str, policy: Policy) -> OpenGallery:
    """Make a gallery, unless somebody else just did, and say so."""
    with suppress(GalleryExists):
        made = galleries.create(name, policy=policy).record
        encrypted = ", encrypted" if made.encrypted else ""
        _log.info("made the gallery %s in %s%s; it keeps %s", name, galleries.store.url, encrypted, _KEPT[policy.keep])
    return galleries.open(name)


def _read_key(key_file: Path | None) -> tuple[bytes, ...] | None:
    for name in (_KEY_VARIABLE, f"{_KEY_VARIABLE}_FILE"):
        if os.environ.get(name) == "":  # nothing must remain plain because a secret could not be read
            raise InvalidOption(f"{name} is set, and empty; unset it where nothing is encrypted")
    text = os.environ.get(_KEY_VARIABLE)
    if key_file is None:
        return read_keys(text) if text else None
    if text:
        raise InvalidOption(f"{_KEY_VARIABLE} and a key file are two ways to give one key; use one of them")
    return read_keys(key_file.read_bytes().decode("ascii", "replace"))


@dataclass(slots=True)
class Enrolments:
    """Counts of what became of enrolments."""

    enrolled: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    subjects: set[str] = field(default_factory=set)
    without: Sequence[str] = ()  # those who have no sample, after refusals

    def count(self, subject: str | None, *, repeated: bool, code: str | None) -> None:
        """Count one: its subject, whether it was there already, and the code of the error that refused it."""
        if code is not None:
            self.refused[code] += 1
        elif repeated:
            self.repeated += 1
        else:
            self.enrolled += 1
            self.subjects.add(subject or "")

    def summary(self, gallery: str) -> str:
        """Return what is to be read at the end."""
        people = f" of {counted(len(self.subjects), 'subject')}" if self.subjects else ""
        facts: dict[str, str | int] = {"enrolled": counted(self.enrolled, "sample") + people}
        facts |= {"already there": self.repeated, "refused": self.refused.total()}
        for code, count in self.refused.most_common():
            advice = _ADVICE.get(code, "").format(gallery=gallery)
            facts[f"  {code}"] = f"{count:,}" + (f"  ({advice})" if advice else "")
        if self.without:
            facts["no sample"] = self._without()
        return readable(f"gallery {gallery}", facts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        about = {"enrolled": self.enrolled, "subjects": len(self.subjects), "already_there": self.repeated}
        return {**about, "refused": dict(self.refused)}

    def __str__(self) -> str:
        enrolled, refused = counted(self.enrolled, "sample"), self.refused.total()
        without = f"; no sample of {self._without()}" if self.without else ""
        return f"enrolled {enrolled}, already there {self.repeated:,}, refused {refused:,}{without}"

    def _without(self) -> str:
        more = len(self.without) - _NAMED_IN_MESSAGES
        return ", ".join(self.without[:_NAMED_IN_MESSAGES]) + (f" and {more:,} more" if more > 0 else "")

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Say that what was enrolled stays, where the rest cannot follow."""
        try:
            yield
        except (KeyboardInterrupt, SetupError):
            if self.enrolled or self.repeated:
                say(f"visavis: {self}; that stays, and the same command goes on from there")
            raise
