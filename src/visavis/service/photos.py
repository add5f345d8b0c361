"""An index of one's photos: what was seen on each, kept in a file, and the search of photos for a person."""

import hashlib
import json
import os
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any, Protocol, TypeAlias, cast

import cv2
import numpy as np
from typing_extensions import Unpack

from visavis.core.decide import Rule, named_rules, templates_of
from visavis.core.image import ImageLimits, name_of
from visavis.errors import (
    ImageCorrupt,
    InvalidOption,
    MultipleFaces,
    NoFace,
    StoreDamaged,
    StoreReadOnly,
    VisavisError,
)
from visavis.files import create_private
from visavis.galleries.sqlite.file import Schema, open_private_sqlite, translated
from visavis.models.packs import Pack
from visavis.models.recognizer import Observed, choose_rule, compare, value_of
from visavis.options import Describe, Observe, Person, Policy, takes
from visavis.service.decisions import check_undoubted, rules_of
from visavis.service.enroller import Observer
from visavis.types import Face, Faces, ImageSource, UInt8Array, Verification

_SCHEMA = Schema(
    application_id=0x76767078,
    migrations=(
        """
    CREATE TABLE photos (
        path BLOB PRIMARY KEY, -- below the index's folder, or whole
        size INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        content BLOB NOT NULL -- a hash of it
    );
    CREATE INDEX photos_by_content ON photos (content);
    CREATE TABLE looks (
        content BLOB NOT NULL,
        how BLOB NOT NULL, -- a hash of the models and options that looked
        seen TEXT NOT NULL, -- JSON: faces with embeddings and chips, or why there are none
        PRIMARY KEY (content, how)
    );
    """,
    ),
)
_ORPHANS = "FROM looks WHERE content NOT IN (SELECT content FROM photos)"
_REVISION = 1  # one more where the same models tell something else of the same photo
_HASH_BYTES = 16
_PIECE = 1 << 20
_BATCH = 32  # photos that are looked at, and kept, together
# What follows from the content alone; all else may be otherwise the next time.
_LASTING = {kind.code: kind for kind in (ImageCorrupt, NoFace, MultipleFaces)}
_Seen: TypeAlias = Faces[Face] | VisavisError


class Eyes(Observer, Protocol):
    """Sees faces; a ``Recognizer`` does."""

    @property
    def min_face(self) -> float:
        """The smallest face that is looked for."""


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo as it is when it is asked for."""

    image: ImageSource
    key: bytes = b""  # its path, as the index has it
    state: tuple[int, ...] = ()  # its size, and when it changed; empty for what is no file
    content: bytes | None = None  # a hash of it; None where it cannot be read, or is changing
    is_new: bool = False  # whether the index has not got it so


class PhotoIndex:
    """What a Recognizer saw on photos, in a file, so that only new and changed ones are looked at the next time.

    It takes the place of a ``Recognizer``, as in ``Galleries(store, index)``. A photo is known by its content, also
    under another name; what is seen with another pack or ``min_face`` is kept beside. Images that are no files are not
    kept; chips come back as JPEG leaves them. What was seen is kept every 32 photos, whatever interrupts the rest.
    Processes may share the file, threads may not share the index. The file holds faces, embeddings and chips: personal
    data, which only its owner may read.
    """

    def __init__(self, eyes: Eyes, path: "str | os.PathLike[str] | None" = None) -> None:
        """Open an index, or make one.

        Args:
            eyes: a Recognizer.
            path: of the file; None to keep nothing.

        Raises:
            SetupError: it cannot be used, or not be made there.
        """
        self._eyes = eyes
        self._path = None if path is None else _absolute(path)
        self._home = self._path.parent if self._path else Path()  # below which photos may move with the index
        self._met: set[bytes] = set()  # the paths of photos that were asked for
        self._unkept: dict[int, tuple[bytes, Sequence[_Photo], Sequence[tuple[_Photo, _Seen]]]] = {}
        if self._path is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None)
            self._connection.executescript(_SCHEMA.migrations[0])
            return
        with self._explained():
            try:
                create_private(self._path)
            except FileExistsError:
                pass
            except OSError as error:
                raise StoreReadOnly(f"{path}: no index can be made there ({error.strerror})") from error
            self._connection = open_private_sqlite(self._path, _SCHEMA, wal=False)  # which network drives cannot

    @property
    def pack(self) -> Pack:
        """The models that look."""
        return self._eyes.pack

    @property
    def limits(self) -> ImageLimits:
        """On images."""
        return self._eyes.limits

    def close(self) -> None:
        """Keep what was seen so far, and close the file."""
        with closing(self._connection):
            for batch in list(self._unkept):
                self._keep(batch)

    @takes(Observe)
    def observe_many(
        self, images: Iterable[ImageSource], **options: Unpack[Observe]
    ) -> Iterator[Faces[Observed] | VisavisError]:
        """Return for each image what ``Recognizer.observe_many`` does, where it is known without a look."""
        for faces in self._seen(images, options):
            if isinstance(faces, VisavisError):
                yield faces
            else:
                shown = (face if options["chips"] else replace(face, chip=None) for face in faces)
                chips = (_pixels(face.chip or "") for face in faces)
                yield Faces(map(Observed, shown, chips), faces.searched_from_px)

    @takes(Describe)
    def embed_many(self, images: Iterable[ImageSource], **options: Unpack[Describe]) -> Iterator[_Seen]:
        """Return for each image what ``Recognizer.embed_many`` does, likewise."""
        unasked = [name for name, asked in (("quality", options["quality"]), ("chip", options["chips"])) if not asked]
        for faces in self._seen(images, options):
            yield faces if isinstance(faces, VisavisError) else _without(faces, *unasked)

    @takes(Describe)
    def detect_many(self, images: Iterable[ImageSource], **options: Unpack[Describe]) -> Iterator[_Seen]:
        """Return for each image what ``Recognizer.detect_many`` does, likewise; new photos are embedded too."""
        for faces in self.embed_many(images, **options):
            yield faces if isinstance(faces, VisavisError) else _without(faces, "embedding")

    @takes(Person)
    def find(
        self, person: "ImageSource | Sequence[ImageSource]", photos: Iterable[ImageSource], **options: Unpack[Person]
    ) -> Iterator[Faces[Verification] | VisavisError]:
        """Return for each photo how its faces compare with a person's, the nearest first, or why nobody could tell.

        Where neither a threshold nor a rate is given, the rate is strict.

        Args:
            person: an image that shows it, or a list of several, whose mean counts; they are not kept.
            photos: where to look.
            **options: see ``visavis.options.Person``.

        Raises:
            NoFace, MultipleFaces: an image of the person does not show what is needed.
            InvalidFace, FaceOccluded, ChildFace: the distance of its face to others says nothing.
            InputError: it cannot be used, or an argument is out of its range.
        """
        pack = self.pack
        strict = named_rules(pack.rates).get("strict") if pack.rates else None
        rule = choose_rule(pack, strict or Rule.at(pack.identify_threshold), options)
        images = person if isinstance(person, list | tuple) else [cast("ImageSource", person)]
        shown = self._face_of(images, options)
        for faces in self.embed_many(photos, min_face=options["min_face"], quality=True):
            if isinstance(faces, VisavisError):
                yield faces
            else:
                compared = (compare(pack, shown, face, rule) for face in faces)
                yield Faces(sorted(compared, key=lambda each: each.distance), faces.searched_from_px)

    def id_of(self, image: ImageSource) -> str:
        """Return what a photo is known by, under any name: a hash of its content; empty where that cannot be read."""
        content = self._photo(image).content
        return content.hex() if content else ""

    def prune(self, folders: Iterable["str | os.PathLike[str]"]) -> int:
        """Forget what was seen on photos below folders that are no longer there; return how many these are."""
        below = tuple(map(_absolute, folders))
        with self._explained():
            known = {path for (path,) in self._connection.execute("SELECT path FROM photos")} - self._met
            paths = ((key, _absolute(os.fsdecode(key), self._home)) for key in known)
            gone = [key for key, path in paths if not os.path.lexists(path) and {*path.parents} & {*below}]
            if gone or self._connection.execute(f"SELECT 1 {_ORPHANS} LIMIT 1").fetchone():
                with self._connection as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany("DELETE FROM photos WHERE path = ?", ((key,) for key in gone))
                    connection.execute(f"DELETE {_ORPHANS}")
        return len(gone)

    def _face_of(self, images: Sequence[ImageSource], options: Person) -> Face:
        """Return a person's face, with the mean of what images show, each of which must be fit to be compared."""
        if not images:
            raise InvalidOption("a person is shown by one image, or by several")
        look: Observe = {"faces": options["faces"], "min_face": options["min_face"]}
        rules, found, vectors = rules_of(Policy(), self.pack), [], []
        for image, outcome in zip(images, self._eyes.observe_many(images, **look), strict=True):
            seen = value_of(outcome)
            if not seen:
                raise NoFace(f"{name_of(image)}: no face found")
            found.append(seen[0].face)
            vectors.append(np.asarray(found[-1].embedding, np.float32))
            try:
                check_undoubted(vectors[-1], found[-1].quality, rules)
            except VisavisError as error:
                raise type(error)(f"{name_of(image)}: {error}") from None
        _, templates = templates_of(np.stack(vectors), np.zeros(len(found), np.int64))
        return replace(found[0], embedding=templates[0])

    def _seen(self, images: Iterable[ImageSource], options: Observe | Describe) -> Iterator[_Seen]:
        """Return for each image all that is known of its faces."""
        look: Observe = {
            "faces": options["faces"],
            "min_face": options["min_face"],
            "attributes": options["attributes"],
            "chips": True,
        }
        how, left = self._how(look), iter(images)
        while batch := list(islice(left, _BATCH)):
            photos = [self._photo(image) for image in batch]
            known = {each.content: text for each in photos if (text := self._known(how, each))}
            looks = self._eyes.observe_many([each.image for each in photos if each.content not in known], **look)
            fresh: list[tuple[_Photo, _Seen]] = []
            self._unkept[id(fresh)] = (how, photos, fresh)
            try:
                for photo in photos:
                    if photo.content in known:
                        yield self._read(known[photo.content], photo.image)
                    else:
                        fresh.append((photo, _faces_of(next(looks))))
                        yield fresh[-1][1]
            finally:  # also where somebody interrupts
                self._keep(id(fresh))

    def _how(self, options: Observe) -> bytes:
        """Return a hash of what decides what is seen of a photo."""
        pack = self.pack
        roles = {"age": "age_gender", "gender": "age_gender"}
        asked = {roles.get(each, each) for each in options["attributes"]}
        parts = [*pack.parts, *(part for part in pack.optional if part.role in asked)]
        least = self._eyes.min_face if options["min_face"] is None else options["min_face"]
        files = [file.sha256 for part in parts for file in part.files]
        about = [_REVISION, pack.space.id, files, least, options["faces"], sorted(options["attributes"])]
        return hashlib.blake2b(json.dumps(about).encode(), digest_size=_HASH_BYTES).digest()

    def _photo(self, image: ImageSource) -> _Photo:
        """Return what is known of a photo; one that has changed is read, and not looked at."""
        if not isinstance(image, str | os.PathLike):
            # What is read here is to be read again from where it is.
            return _Photo(image, content=_hashed(BytesIO(image.getvalue())) if isinstance(image, BytesIO) else None)
        path, state = _absolute(image), _state(image)
        key = os.fsencode(path.relative_to(self._home) if path.is_relative_to(self._home) else path)
        self._met.add(key)
        with self._explained():
            query = "SELECT content, size, changed_ns FROM photos WHERE path = ?"
            content, *known = self._connection.execute(query, (key,)).fetchone() or (None,)
        if not state or state == tuple(known):
            return _Photo(image, key, state, content if state else None)
        content = None
        with suppress(OSError), path.open("rb") as file:
            content = _hashed(file)
        return _Photo(image, key, state, content if state == _state(image) else None, is_new=True)

    def _known(self, how: bytes, photo: _Photo) -> str:
        """Return what was seen on a photo; nothing where it was not looked at."""
        with self._explained():
            query = "SELECT seen FROM looks WHERE content = ? AND how = ?"
            (text,) = self._connection.execute(query, (photo.content, how)).fetchone() or ("",)
        return str(text)

    def _read(self, text: str, image: ImageSource) -> _Seen:
        with self._explained():
            seen = json.loads(text)
            if "code" in seen:
                return _LASTING[seen["code"]](f"{name_of(image)}: {seen['message']}")
            return Faces(_faces_reader()(seen["faces"]), float(seen["searched_from_px"]))

    def _keep(self, batch: int) -> None:
        """Keep what was seen on photos that are still what they were."""
        how, photos, fresh = self._unkept.pop(batch, (b"", (), ()))  # nothing where it was closed meanwhile
        new = [(each.key, *each.state, each.content) for each in photos if each.is_new and each.content]
        kept = [
            (photo.content, how, _written(seen, photo.image))
            for photo, seen in fresh
            if self._path and photo.state and photo.content and photo.state == _state(cast("str", photo.image))
            if not isinstance(seen, VisavisError)
            or (seen.code in _LASTING and not isinstance(seen.__cause__, MemoryError))
        ]
        if new or kept:
            with self._explained(), self._connection as connection:  # which commits, or rolls back
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?)", new)
                connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?)", kept)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what goes wrong with the file as an error that says what to do."""
        path = self._path or Path(":memory:")
        try:
            with translated(path):
                yield
        except StoreDamaged:
            raise StoreDamaged(f"{path} is damaged; delete it, and the photos are looked at again") from None
        except StoreReadOnly as error:
            raise StoreReadOnly(f"{error}; --index FILE keeps the index elsewhere") from None


def _written(seen: _Seen, image: ImageSource) -> str:
    """Return what was seen on a photo as the index has it: an error without its name."""
    if isinstance(seen, VisavisError):
        message = str(seen).removeprefix(f"{name_of(image)}: ")
        return json.dumps({"code": seen.code, "message": message})
    return json.dumps({"searched_from_px": seen.searched_from_px, "faces": [face.to_dict() for face in seen]})


@cache
def _faces_reader() -> Callable[[object], tuple[Face, ...]]:
    from pydantic import TypeAdapter  # noqa: PLC0415  # takes time to load

    return TypeAdapter(tuple[Face, ...]).validate_python


def _faces_of(seen: Faces[Observed] | VisavisError) -> _Seen:
    return seen if isinstance(seen, VisavisError) else Faces((each.face for each in seen), seen.searched_from_px)


def _without(faces: Faces[Face], *members: str) -> Faces[Face]:
    nothing: dict[str, Any] = dict.fromkeys(members)
    return Faces((replace(each, **nothing) for each in faces), faces.searched_from_px)


def _pixels(jpeg: str) -> UInt8Array:
    """Return a JPEG in base64 as an RGB image (H, W, 3)."""
    pixels = np.asarray(cv2.imdecode(np.frombuffer(b64decode(jpeg), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1])


def _absolute(path: "str | os.PathLike[str]", home: Path | None = None) -> Path:
    """Return a path as a whole, in which links stay what they are."""
    return Path(os.path.abspath(Path(home or "", path)))  # noqa: PTH100  # which keeps ".."


def _state(path: "str | os.PathLike[str]") -> tuple[int, ...]:
    """Return a file's size, and when it changed; nothing of a pipe, which can be read once."""
    with suppress(OSError, ValueError):
        status = Path(path).stat()
        return (status.st_size, status.st_mtime_ns) if S_ISREG(status.st_mode) else ()
    return ()


def _hashed(file: IO[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.digest()
