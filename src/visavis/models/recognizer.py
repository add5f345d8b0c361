"""Detect, embed, verify: what a user of the library holds in the hand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np

from visavis.core.decide import check_threshold, euclidean_distance, probability_of_same
from visavis.core.image import DEFAULT_LIMITS, ImageLimits, name_of
from visavis.errors import InvalidImage, InvalidOption, NoFace, VisavisError
from visavis.models.catalogue import Pack, find_pack
from visavis.models.dlib_pack import load_models
from visavis.models.finding import DEFAULT_MIN_FACE, FacesPolicy, Find, Found, Search, check_min_face, make_finder
from visavis.models.runtime import Precision, Runtime, RuntimeSpec
from visavis.models.weights import default_cache_dir
from visavis.types import Face, FloatArray, ImageSource, UInt8Array, Verification

# How many chips, and at most how many images, are gathered before they are embedded together.
_BATCH = 16
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A face as an image shows it.

    Attributes:
        face: with its embedding and quality.
        chip: (S, S, 3) the aligned face that was embedded, S being the template's side.
    """

    face: Face
    chip: UInt8Array = field(repr=False)


class Recognizer:
    """Find faces, embed them, and tell whether two images show the same person.

    Making one loads the models (the first time ever, it converts them into the user's cache: seconds). It never
    changes afterwards, and any number of threads may share it.
    """

    def __init__(  # noqa: PLR0913  # independent settings, each with a sensible default
        self,
        pack: str = "dlib",
        *,
        runtime: Runtime = "openvino",
        precision: Precision = "auto",
        threads: int | None = None,
        streams: int = 1,
        min_face: float = DEFAULT_MIN_FACE,
        threshold: float | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
        cache_dir: str | PathLike[str] | None = None,
    ) -> None:
        """Load a pack.

        Args:
            pack: its name in the catalogue.
            runtime: "openvino", or "onnxruntime" (an extra).
            precision: "auto" for bfloat16 where the processor has it, "f32" for float32.
            threads: that one inference may use; None for all cores.
            streams: how many inferences run at the same time when several threads share the Recognizer.
            min_face: the smallest face to look for: from 1 on in pixels, below 1 as a fraction of the image's shorter
                side. Half the size costs four times the search.
            threshold: two faces nearer than this are the same person; None for the pack's own.
            limits: on images.
            cache_dir: for converted models; None for the user's cache folder.

        Raises:
            InvalidOption: an argument is out of its range.
            SetupError: a model or the runtime is missing or damaged.
        """
        self.pack: Pack = find_pack(pack)
        self.runtime = RuntimeSpec(runtime, precision, threads, streams)
        self.min_face = check_min_face(min_face)
        self.threshold = self.pack.threshold if threshold is None else check_threshold(threshold)
        self.limits = limits
        self._models = load_models(self.pack, self.runtime, Path(cache_dir or default_cache_dir()))

    def detect(
        self, image: ImageSource, *, faces: FacesPolicy = "all", min_face: float | None = None, quality: bool = False
    ) -> tuple[Face, ...]:
        """Find faces: largest first, without embeddings; an empty tuple where there are none.

        Args:
            image: a path, encoded bytes, a binary file, a Pillow image or an array.
            faces: "all"; "largest" for at most one, found faster; or "only" for exactly one.
            min_face: the smallest face to look for, in place of the Recognizer's.
            quality: whether to tell how well the image shows each face; takes a little time.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            InputError: the image cannot be used, or an argument is out of its range.
        """
        return _value(next(self.detect_many([image], faces=faces, min_face=min_face, quality=quality)))

    def embed(
        self, image: ImageSource, *, faces: FacesPolicy = "all", min_face: float | None = None, quality: bool = False
    ) -> tuple[Face, ...]:
        """Find faces and embed them; everything else as in ``detect``."""
        return _value(next(self.embed_many([image], faces=faces, min_face=min_face, quality=quality)))

    def verify(
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        min_face: float | None = None,
    ) -> Verification:
        """Tell whether two images show the same person.

        Args:
            a: an image, as in ``detect``.
            b: another.
            faces: "largest" compares the largest face of each; "only" insists on exactly one in each.
            threshold: two faces nearer than this are the same person, in place of the Recognizer's.
            min_face: the smallest face to look for, in place of the Recognizer's.

        Raises:
            NoFace: an image shows no face; the message says which.
            MultipleFaces: with faces="only", an image shows several.
            InputError: an image cannot be used, or an argument is out of its range.
        """
        return _value(next(self.verify_many([(a, b)], faces=faces, threshold=threshold, min_face=min_face)))

    def embed_chips(self, chips: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings (N, D) of faces that are already aligned as the pack's template says.

        Args:
            chips: each (S, S, 3) uint8 RGB, S being the template's side.

        Raises:
            InvalidImage: a chip has another shape or type.
        """
        side = self.pack.template.side
        for chip in map(np.asarray, chips):
            if chip.shape != (side, side, 3) or chip.dtype != np.uint8:
                expected = f"({side}, {side}, 3) uint8"
                raise InvalidImage(f"a chip must be {expected}, not {chip.shape} {chip.dtype}")
        return self._models.embedder(chips)

    def detect_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        quality: bool = False,
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that it would raise.

        Images are taken from the iterable one by one, as results are taken from the iterator.
        """
        find = self._finder(faces, min_face, chips=False, quality=quality)
        return map(_faces, map(find, _several(images)))

    def embed_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        quality: bool = False,
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns, or the error that it would raise.

        Images are taken from the iterable a few at a time, and their faces embedded together.
        """
        find = self._finder(faces, min_face, chips=True, quality=quality)
        return map(_faces, self._embed_found(map(find, _several(images))))

    def observe_many(
        self, images: Iterable[ImageSource], *, faces: FacesPolicy = "all", min_face: float | None = None
    ) -> Iterator[tuple[Observed, ...] | VisavisError]:
        """Return for each image what ``embed_many`` returns with quality, and the chip of each face."""
        find = self._finder(faces, min_face, chips=True, quality=True)
        return map(_observed, self._embed_found(map(find, _several(images))))

    def verify_many(
        self,
        pairs: Iterable[tuple[ImageSource, ImageSource]],
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        min_face: float | None = None,
    ) -> Iterator[Verification | VisavisError]:
        """Return for each pair, in order, what ``verify`` returns, or the error that it would raise."""
        if faces not in ("largest", "only"):
            raise InvalidOption(f"faces must be one of largest, only, not {faces!r}")
        find = self._finder(faces, min_face, chips=True, quality=False)
        threshold = self.threshold if threshold is None else check_threshold(threshold)
        found = (_insist(find(image), place, image) for a, b in pairs for place, image in (("first", a), ("second", b)))
        embedded = map(_faces, self._embed_found(found))
        return (self._compare(a, b, threshold) for a, b in zip(embedded, embedded, strict=True))

    def _finder(self, faces: FacesPolicy, min_face: float | None, *, chips: bool, quality: bool) -> Find:
        if faces not in get_args(FacesPolicy):
            raise InvalidOption(f"faces must be one of {', '.join(get_args(FacesPolicy))}, not {faces!r}")
        least = self.min_face if min_face is None else check_min_face(min_face)
        return make_finder(self._models, self.pack.template, self.limits, Search(faces, least, chips, quality))

    def _embed_found(self, found: Iterable[Found | VisavisError]) -> Iterator[Found | VisavisError]:
        """Yield what was found with its embeddings; the chips of several images go through the network together."""
        for batch in _batches(found):
            chips = [chip for item in batch if isinstance(item, Found) for chip in item.chips]
            try:
                embeddings = iter(self._models.embedder(chips))
            except VisavisError as error:
                yield from (item if isinstance(item, VisavisError) else error for item in batch)
                continue
            for item in batch:
                if isinstance(item, VisavisError):
                    yield item
                else:
                    faces = tuple(replace(face, embedding=next(embeddings)) for face in item.faces)
                    yield Found(faces, item.chips)

    def _compare(
        self, a: tuple[Face, ...] | VisavisError, b: tuple[Face, ...] | VisavisError, threshold: float
    ) -> Verification | VisavisError:
        if isinstance(a, VisavisError):
            return a
        if isinstance(b, VisavisError):
            return b
        (face_a,), (face_b,) = a, b
        if face_a.embedding is None or face_b.embedding is None:
            raise AssertionError("faces to compare come with embeddings")
        distance = euclidean_distance(face_a.embedding, face_b.embedding)
        return Verification(
            same=distance < threshold,
            distance=distance,
            threshold=threshold,
            probability=probability_of_same(distance, self.pack.calibration),
            faces=(face_a, face_b),
        )


def _value(result: _Result | VisavisError) -> _Result:
    if isinstance(result, VisavisError):
        raise result
    return result


def _faces(found: Found | VisavisError) -> tuple[Face, ...] | VisavisError:
    return found if isinstance(found, VisavisError) else found.faces


def _observed(found: Found | VisavisError) -> tuple[Observed, ...] | VisavisError:
    return found if isinstance(found, VisavisError) else tuple(map(Observed, found.faces, found.chips))


def _batches(found: Iterable[Found | VisavisError]) -> Iterator[list[Found | VisavisError]]:
    """Group results until they have enough chips, or are enough themselves."""
    batch: list[Found | VisavisError] = []
    chips = 0
    for item in found:
        batch.append(item)
        chips += len(item.chips) if isinstance(item, Found) else 0
        if max(chips, len(batch)) >= _BATCH:
            yield batch
            batch, chips = [], 0
    if batch:
        yield batch


def _several(images: Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Refuse a single image, whose characters or bytes would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise InvalidOption(f"several images are wanted, as in [image, ...], not {name_of(images)}")
    return images


def _insist(found: Found | VisavisError, place: str, image: ImageSource) -> Found | VisavisError:
    """Turn the absence of a face into an error."""
    if isinstance(found, Found) and not found.faces:
        return NoFace(f"{name_of(image)}: no face found in the {place} image")
    return found
