"""Recognizer: detection, embedding and verification of faces, one image or many."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from typing_extensions import Unpack

from visavis.core.decide import Rule, check_rate, distance_of, probability_of_same, rule_at_rate
from visavis.core.image import DEFAULT_LIMITS, ImageLimits, name_of
from visavis.errors import InvalidImage, InvalidOption, NoFace, NotLive, VisavisError
from visavis.models.attributes import is_live
from visavis.models.catalogue import find_pack
from visavis.models.finding import Find, Found, Search, check_min_face, make_finder
from visavis.models.heads import load_models
from visavis.models.installation import Installation, as_installed, default_cache_dir, default_models_dir
from visavis.models.packs import Pack
from visavis.models.runtime import RuntimeSpec
from visavis.options import (
    DEFAULT_PACK,
    Attribute,
    Describe,
    Observe,
    Recognition,
    Threshold,
    Verify,
    takes,
)
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


def choose_rule(pack: Pack, default: Rule, asked: Threshold) -> Rule:
    """Return the rule that is asked for.

    Args:
        pack: whose embeddings are compared.
        default: where nothing is asked for.
        asked: a threshold, or the false match rate to keep instead.

    Raises:
        InvalidOption: both are given, or one is out of its range; or nobody has measured the pack's rates, or this one.
    """
    threshold, fmr = asked.get("threshold"), asked.get("fmr")
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


class Recognizer:
    """Find faces, embed them, and tell whether two images show the same person.

    Making one loads the models (the first time ever, it converts them into the user's cache: seconds). It never
    changes afterwards, and any number of threads may share it.
    """

    @takes(Recognition)
    def __init__(
        self, pack: str = DEFAULT_PACK, *, limits: ImageLimits = DEFAULT_LIMITS, **options: Unpack[Recognition]
    ) -> None:
        """Load a pack.

        Args:
            pack: its name in the catalogue.
            limits: on images.
            **options: see ``visavis.options.Recognition``.

        Raises:
            InvalidOption: an argument is out of its range.
            SetupError: a model or the runtime is missing or damaged.
        """
        installation = Installation(
            RuntimeSpec(options["runtime"], options["precision"], options["threads"], options["streams"]),
            Path(options["cache_dir"] or default_cache_dir()),
            Path(options["models_dir"] or default_models_dir()),
        )
        self.pack = as_installed(find_pack(pack), installation.models_dir)
        self.runtime = installation.spec
        self.min_face = check_min_face(options["min_face"])
        self.rule = choose_rule(self.pack, Rule.at(self.pack.threshold), options)
        self.limits = limits
        self._models = load_models(self.pack, installation)

    @property
    def threshold(self) -> float:
        """Two faces nearer than this are the same person."""
        return self.rule.threshold

    @takes(Describe)
    def detect(
        self,
        image: ImageSource,
        **options: Unpack[Describe],
    ) -> tuple[Face, ...]:
        """Find faces: largest first, without embeddings; an empty tuple where there are none.

        Args:
            image: a path, encoded bytes, a binary file, a Pillow image or an array.
            **options: see ``visavis.options.Describe``.

        Raises:
            NoFace, MultipleFaces: with faces="only".
            InputError: the image cannot be used, or an argument is out of its range.
            SetupError: what tells an attribute is missing or damaged.
        """
        return value_of(next(self.detect_many([image], **options)))

    @takes(Describe)
    def embed(
        self,
        image: ImageSource,
        **options: Unpack[Describe],
    ) -> tuple[Face, ...]:
        """Find faces and embed them; everything else as in ``detect``."""
        return value_of(next(self.embed_many([image], **options)))

    @takes(Verify)
    def verify(
        self,
        a: ImageSource,
        b: ImageSource,
        **options: Unpack[Verify],
    ) -> Verification:
        """Tell whether two images show the same person.

        Args:
            a: an image, as in ``detect``.
            b: another.
            **options: see ``visavis.options.Verify``.

        Raises:
            NoFace: an image shows no face; the message says which.
            NotLive: with require_live, a face looks like a print or a screen.
            MultipleFaces: with faces="only", an image shows several.
            InputError: an image cannot be used, or an argument is out of its range.
        """
        return value_of(next(self.verify_many([(a, b)], **options)))

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

    @takes(Describe)
    def detect_many(
        self,
        images: Iterable[ImageSource],
        **options: Unpack[Describe],
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that it would raise.

        Images are taken from the iterable one by one, as results are taken from the iterator.
        """
        find = self._finder(options, chips=False)
        return map(faces_of, map(find, several(images)))

    @takes(Describe)
    def embed_many(
        self,
        images: Iterable[ImageSource],
        **options: Unpack[Describe],
    ) -> Iterator[tuple[Face, ...] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns, or the error that it would raise.

        Images are taken from the iterable a few at a time, and their faces embedded together.
        """
        find = self._finder(options, chips=True)
        return map(faces_of, self._embed_found(map(find, several(images))))

    @takes(Observe)
    def observe_many(
        self,
        images: Iterable[ImageSource],
        **options: Unpack[Observe],
    ) -> Iterator[tuple[Observed, ...] | VisavisError]:
        """Return for each image what ``embed_many`` returns with quality, and the chip of each face."""
        find = self._finder({**options, "quality": True}, chips=True)
        return map(observed_of, self._embed_found(map(find, several(images))))

    @takes(Verify)
    def verify_many(
        self,
        pairs: Iterable[tuple[ImageSource, ImageSource]],
        **options: Unpack[Verify],
    ) -> Iterator[Verification | VisavisError]:
        """Return for each pair, in order, what ``verify`` returns, or the error that it would raise."""
        attributes: tuple[Attribute, ...] = ("liveness",) if options["require_live"] else ()
        wanted: Describe = {"faces": options["faces"], "attributes": attributes, "quality": False}
        find = self._finder({**wanted, "min_face": options["min_face"]}, chips=True)
        rule = choose_rule(self.pack, self.rule, options)
        found = (insist(find(image), place, image) for a, b in pairs for place, image in (("first", a), ("second", b)))
        embedded = map(faces_of, self._embed_found(found))
        return (self._compare(a, b, rule) for a, b in zip(embedded, embedded, strict=True))

    def _finder(self, options: Describe, *, chips: bool) -> Find:
        """Return what finds faces as the options say, each of which is given."""
        least = self.min_face if options["min_face"] is None else check_min_face(options["min_face"])
        attributes = self._models.attributes.ready(options["attributes"])
        search = Search(options["faces"], least, chips, options["quality"], attributes)
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
