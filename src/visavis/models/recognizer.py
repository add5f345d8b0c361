"""Recognizer: detection, embedding and verification of faces, one image or many."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict, TypeVar, get_args

import numpy as np

from visavis.core.decide import Rule, check_rate, distance_of, probability_of_same, rule_at_rate
from visavis.core.image import DEFAULT_LIMITS, ImageLimits, name_of
from visavis.errors import InvalidImage, InvalidOption, NoFace, NotLive, VisavisError
from visavis.models.attributes import is_live
from visavis.models.catalogue import find_pack
from visavis.models.finding import Find, Found, Search, check_min_face, make_finder
from visavis.models.installation import Installation, as_installed, default_cache_dir, default_models_dir
from visavis.models.loading import load_models
from visavis.models.packs import Pack
from visavis.models.runtime import RuntimeSpec
from visavis.options import DEFAULT_MIN_FACE, Attribute, FacesPolicy, Precision, Rate, Runtime
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


def value_of(result: _Result | VisavisError) -> _Result:
    """Return a result, or raise the error in its place."""
    if isinstance(result, VisavisError):
        raise result
    return result


def faces_of(found: Found | VisavisError) -> tuple[Face, ...] | VisavisError:
    """Return the faces, or the error in their place."""
    return found if isinstance(found, VisavisError) else found.faces


def observed_of(found: Found | VisavisError) -> tuple[Observed, ...] | VisavisError:
    """Return the faces with their chips, or the error in their place."""
    return found if isinstance(found, VisavisError) else tuple(map(Observed, found.faces, found.chips))


def batches(found: Iterable[Found | VisavisError]) -> Iterator[list[Found | VisavisError]]:
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


def several(images: Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Refuse a single image, whose characters or bytes would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise InvalidOption(f"several images are wanted, as in [image, ...], not {name_of(images)}")
    return images


def insist(found: Found | VisavisError, place: str, image: ImageSource) -> Found | VisavisError:
    """Turn the absence of a face, or of life where that was looked at, into an error."""
    if isinstance(found, VisavisError):
        return found
    if not found.faces:
        return NoFace(f"{name_of(image)}: no face found in the {place} image")
    if not all(is_live(face.attributes) for face in found.faces):
        return NotLive(f"{name_of(image)}: the face in the {place} image looks like a print or a screen")
    return found


def choose_rule(pack: Pack, default: Rule, *, threshold: float | None = None, fmr: float | str | None = None) -> Rule:
    """Return the rule that is asked for.

    Args:
        pack: whose embeddings are compared.
        default: where nothing is asked for.
        threshold: two faces nearer than this are taken for one person.
        fmr: the false match rate to keep instead, or its name: "strict", "balanced" or "lenient".

    Raises:
        InvalidOption: both are given, or one is out of its range; or nobody has measured the pack's rates, or this one.
    """
    if threshold is not None and fmr is not None:
        raise InvalidOption("threshold and fmr are two ways to say the same: use one of them")
    if threshold is not None:
        return Rule.at(threshold)
    if fmr is None:
        return default
    rate = check_rate(fmr)
    if pack.rates is None:
        raise InvalidOption(
            f"fmr: nobody has measured the error rates of the pack {pack.name!r} here: visavis calibrate --pack "
            f"{pack.name} does, with photos of yours"
        )
    try:
        return rule_at_rate(pack.rates, rate)
    except InvalidOption as error:
        if not pack.rates_replaced:
            raise
        reset = f"visavis calibrate --reset --pack {pack.name}"
        raise InvalidOption(f"{error}; {reset} brings back the rates that the pack came with") from None


def compare(pack: Pack, a: Face, b: Face, rule: Rule) -> Verification:
    """Return whether two faces, which have embeddings, are the same person."""
    if a.embedding is None or b.embedding is None:
        raise AssertionError("faces to compare come with embeddings")
    distance = distance_of(pack.metric, a.embedding, b.embedding)
    return Verification(
        same=distance < rule.threshold,
        distance=distance,
        threshold=rule.threshold,
        probability=probability_of_same(distance, pack.calibration),
        faces=(a, b),
        decision=rule.decide(distance),
        fmr=rule.fmr,
    )


class Options(TypedDict):
    """What ``detect`` and ``embed`` are asked for."""

    faces: FacesPolicy
    min_face: float | None
    quality: bool
    attributes: Sequence[Attribute]


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
        fmr: Rate | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
        cache_dir: str | PathLike[str] | None = None,
        models_dir: str | PathLike[str] | None = None,
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
            fmr: the false match rate to keep, in place of a threshold: a number, or "strict" (1e-4), "balanced" (1e-3)
                or "lenient" (1e-2).
            limits: on images.
            cache_dir: for converted models; None for the user's cache folder.
            models_dir: for pulled models and calibrations; None for the user's data folder.

        Raises:
            InvalidOption: an argument is out of its range.
            SetupError: a model or the runtime is missing or damaged.
        """
        installation = Installation(
            RuntimeSpec(runtime, precision, threads, streams),
            Path(cache_dir or default_cache_dir()),
            Path(models_dir or default_models_dir()),
        )
        self.pack = as_installed(find_pack(pack), installation.models_dir)
        self.runtime = installation.spec
        self.min_face = check_min_face(min_face)
        self.rule = choose_rule(self.pack, Rule.at(self.pack.threshold), threshold=threshold, fmr=fmr)
        self.limits = limits
        self._models = load_models(self.pack, installation)

    @property
    def threshold(self) -> float:
        """Two faces nearer than this are the same person."""
        return self.rule.threshold

    def detect(
        self,
        image: ImageSource,
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Sequence[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces: largest first, without embeddings; an empty tuple where there are none.

        Args:
            image: a path, encoded bytes, a binary file, a Pillow image or an array.
            faces: "all"; "largest" for at most one, found faster; or "only" for exactly one.
            min_face: the smallest face to look for, in place of the Recognizer's.
            quality: whether to tell how well the image shows each face; takes a little time.
            attributes: what else to tell of each face: "liveness", "pose", "age", "gender"; each is a network more.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            InputError: the image cannot be used, or an argument is out of its range.
            SetupError: what tells an attribute is missing or damaged.
        """
        options: Options = {"faces": faces, "min_face": min_face, "quality": quality, "attributes": attributes}
        return value_of(next(self.detect_many([image], **options)))

    def embed(
        self,
        image: ImageSource,
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Sequence[Attribute] = (),
    ) -> tuple[Face, ...]:
        """Find faces and embed them; everything else as in ``detect``."""
        options: Options = {"faces": faces, "min_face": min_face, "quality": quality, "attributes": attributes}
        return value_of(next(self.embed_many([image], **options)))

    def verify(  # noqa: PLR0913  # independent options
        self,
        a: ImageSource,
        b: ImageSource,
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Verification:
        """Tell whether two images show the same person.

        Args:
            a: an image, as in ``detect``.
            b: another.
            faces: "largest" compares the largest face of each; "only" insists on exactly one in each.
            threshold: two faces nearer than this are the same person, in place of the Recognizer's.
            fmr: the false match rate to keep, in place of a threshold.
            min_face: the smallest face to look for, in place of the Recognizer's.
            require_live: whether to refuse faces that look like a print or a screen.

        Raises:
            NoFace: an image shows no face; the message says which.
            NotLive: with require_live, a face looks like a print or a screen.
            MultipleFaces: with faces="only", an image shows several.
            InputError: an image cannot be used, or an argument is out of its range.
        """
        verified = self.verify_many(
            [(a, b)], faces=faces, threshold=threshold, fmr=fmr, min_face=min_face, require_live=require_live
        )
        return value_of(next(verified))

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
        attributes: Sequence[Attribute] = (),
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that it would raise.

        Images are taken from the iterable one by one, as results are taken from the iterator.
        """
        find = self._finder(faces, min_face, chips=False, quality=quality, attributes=attributes)
        return map(faces_of, map(find, several(images)))

    def embed_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        quality: bool = False,
        attributes: Sequence[Attribute] = (),
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns, or the error that it would raise.

        Images are taken from the iterable a few at a time, and their faces embedded together.
        """
        find = self._finder(faces, min_face, chips=True, quality=quality, attributes=attributes)
        return map(faces_of, self._embed_found(map(find, several(images))))

    def observe_many(
        self,
        images: Iterable[ImageSource],
        *,
        faces: FacesPolicy = "all",
        min_face: float | None = None,
        attributes: Sequence[Attribute] = (),
    ) -> Iterator[tuple[Observed, ...] | VisavisError]:
        """Return for each image what ``embed_many`` returns with quality, and the chip of each face."""
        find = self._finder(faces, min_face, chips=True, quality=True, attributes=attributes)
        return map(observed_of, self._embed_found(map(find, several(images))))

    def verify_many(  # noqa: PLR0913  # likewise
        self,
        pairs: Iterable[tuple[ImageSource, ImageSource]],
        *,
        faces: Literal["largest", "only"] = "largest",
        threshold: float | None = None,
        fmr: Rate | None = None,
        min_face: float | None = None,
        require_live: bool = False,
    ) -> Iterator[Verification | VisavisError]:
        """Return for each pair, in order, what ``verify`` returns, or the error that it would raise."""
        if faces not in ("largest", "only"):
            raise InvalidOption(f"faces must be one of largest, only, not {faces!r}")
        find = self._finder(faces, min_face, chips=True, attributes=("liveness",) if require_live else ())
        rule = choose_rule(self.pack, self.rule, threshold=threshold, fmr=fmr)
        found = (insist(find(image), place, image) for a, b in pairs for place, image in (("first", a), ("second", b)))
        embedded = map(faces_of, self._embed_found(found))
        return (self._compare(a, b, rule) for a, b in zip(embedded, embedded, strict=True))

    def _finder(
        self,
        faces: FacesPolicy,
        min_face: float | None,
        *,
        chips: bool,
        quality: bool = False,
        attributes: Sequence[Attribute] = (),
    ) -> Find:
        if faces not in get_args(FacesPolicy):
            raise InvalidOption(f"faces must be one of {', '.join(get_args(FacesPolicy))}, not {faces!r}")
        least = self.min_face if min_face is None else check_min_face(min_face)
        search = Search(faces, least, chips, quality, self._models.attributes.ready(attributes))
        return make_finder(self._models, self.pack.template, self.limits, search)

    def _embed_found(self, found: Iterable[Found | VisavisError]) -> Iterator[Found | VisavisError]:
        """Yield what was found with its embeddings; the chips of several images go through the network together."""
        for batch in batches(found):
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
        self, a: tuple[Face, ...] | VisavisError, b: tuple[Face, ...] | VisavisError, rule: Rule
    ) -> Verification | VisavisError:
        if isinstance(a, VisavisError):
            return a
        if isinstance(b, VisavisError):
            return b
        (face_a,), (face_b,) = a, b
        return compare(self.pack, face_a, face_b, rule)
