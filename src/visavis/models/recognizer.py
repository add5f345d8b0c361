"""Recognizer: detection, embedding and verification of faces, one image or many."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from typing_extensions import Unpack

from visavis.core import work
from visavis.core.decide import ErrorRates, Rule, check_rate, distance_of, is_live, probability_of_same, rule_at_rate
from visavis.core.embeddings import check_embedding
from visavis.core.geometry import LEAST_RIVAL, ChipTemplate, Detections, areas, extract_chip
from visavis.core.image import DEFAULT_LIMITS, ImageLimits, Picture, as_jpeg, name_of, read_image
from visavis.core.orientation import turned, turned_back
from visavis.core.pyramid import cost_of
from visavis.core.quality import assess
from visavis.errors import (
    InvalidEmbedding,
    InvalidImage,
    InvalidOption,
    MultipleFaces,
    NoFace,
    NotLive,
    SpaceMismatch,
    VisavisError,
)
from visavis.hints import Hinting
from visavis.models.heads import load_models
from visavis.models.installation import (
    Installation,
    as_installed,
    default_cache_dir,
    default_models_dir,
    find_pack,
    pack_of_space,
)
from visavis.models.packs import Pack
from visavis.models.runtime import RuntimeSpec
from visavis.options import DEFAULT_PACK, Attribute, Compare, Describe, Observe, Recognition, Threshold, Verify, takes
from visavis.types import (
    Comparison,
    Embedding,
    Face,
    Faces,
    FloatArray,
    ImageSource,
    Quality,
    SizeWH,
    UInt8Array,
    Verification,
)

_LEAST_MIN_FACE = 10
_LARGEST_FRACTION = 0.9  # of an image's shorter side, as a smallest face
_CHEAP = 500_000  # searched pixels that are spent on any image
# A large JPEG may be decoded at a reduced scale as long as the smallest face keeps the pixels that its embedder needs.
# dlib's needs all that a chip shows, of whose side no more than this part is a face; to others a face of 40 pixels
# tells as much as one of 95: bench/quality.py.
_FACE_IN_CHIP = 134 / 150
_ENOUGH_PX = 40
# The policies that want one face at most, and how many squared distances from the image's centre its area loses: any
# weight from 1 to 8 chooses the same faces of LFW. Source: D. Sandberg's FaceNet, ``align_dataset_mtcnn.py``.
_OFF_CENTRE = {"largest": 0.0, "prominent": 2.0}
# How many chips, and at most how many images, are gathered before they are embedded together.
_BATCH = 16
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A face as an image shows it."""

    face: Face  # with its embedding and quality
    chip: UInt8Array = field(repr=False)  # (S, S, 3) the aligned face that was embedded, S being the template's side


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The faces of one image, and the chips of each, where they are wanted."""

    faces: tuple[Face, ...]
    chips: tuple[UInt8Array, ...]
    searched_from_px: float
    size_wh: SizeWH


_Find: TypeAlias = Callable[[ImageSource], _Found | VisavisError]
_Seen: TypeAlias = tuple[FloatArray, Quality | None]
_UNSEEN = Quality(np.nan, np.nan, np.nan)  # of a face whose image is not there


def value_of(result: _Result | VisavisError) -> _Result:
    """Return a result, or raise the error in its place."""
    if isinstance(result, VisavisError):
        raise result
    return result


def check_min_face(min_face: float) -> float:
    """Return the smallest face as a float.

    Raises:
        InvalidOption: it is no number, or fewer pixels than any detector could use.
    """
    try:
        value = float(min_face)
    except (OverflowError, TypeError, ValueError):
        value = np.nan
    if not (0 < value < 1 or _LEAST_MIN_FACE <= value < np.inf):
        raise InvalidOption(
            f"min_face must be a fraction of the image's shorter side between 0 and 1, "
            f"or {_LEAST_MIN_FACE} pixels or more, not {min_face!r}"
        )
    return value


def choose_rule(pack: Pack, default: Rule, asked: Threshold) -> Rule:
    """Return the rule that is asked for, by a threshold or by the false match rate to keep; else the default.

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
    rates = rates_of(pack, "fmr")
    try:
        return rule_at_rate(rates, rate)
    except InvalidOption as error:
        if not pack.rates_replaced:
            raise
        reset = f"visavis calibrate --reset --pack {pack.name}"
        raise InvalidOption(f"{error}; {reset} brings back the rates that the pack came with") from None


def rates_of(pack: Pack, option: str) -> ErrorRates:
    """Return the error rates of a pack, which an option of that name needs; InvalidOption where there are none."""
    if pack.rates is None:
        raise InvalidOption(
            f"{option}: nobody has measured the error rates of the pack {pack.name!r} here: visavis calibrate --pack "
            f"{pack.name} does, with photos of yours"
        )
    return pack.rates


def compare(pack: Pack, a: Face, b: Face, rule: Rule) -> Verification:
    """Return whether two faces, which have embeddings, are the same person."""
    if a.embedding is None or b.embedding is None:
        raise AssertionError("faces to compare come with embeddings")
    answer = compare_embeddings(pack, (a.embedding, a.quality), (b.embedding, b.quality), rule)
    return Verification(**{each.name: getattr(answer, each.name) for each in fields(answer)}, faces=(a, b))


def compare_embeddings(pack: Pack, a: _Seen, b: _Seen, rule: Rule) -> Comparison:
    """Return whether two embeddings, with the qualities of their faces, are of the same person."""
    distance = distance_of(pack.metric, a[0], b[0])
    reason = pack.doubt(a[0], pack.quality, a[1]) or pack.doubt(b[0], pack.quality, b[1])
    return Comparison(
        same=distance < rule.threshold and reason is None,
        distance=distance,
        threshold=rule.threshold,
        probability=None if reason else probability_of_same(distance, pack.calibration),
        decision="uncertain" if reason else rule.decide(distance),
        fmr=rule.fmr,
        reason=reason,
        interval=(rule.low, rule.high) if rule.low < rule.high else None,
    )


class Recognizer(Hinting):
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
        if options["allow_children"]:
            self.pack = replace(self.pack, child=None)
        self.runtime = installation.spec
        least = options["min_face"]
        self.min_face = self.pack.min_face if least is None else check_min_face(least)
        self.rule = choose_rule(self.pack, Rule.at(self.pack.threshold), options)
        self.limits = limits
        self._models = load_models(self.pack, installation)

    @property
    def threshold(self) -> float:
        """Two faces nearer than this are the same person."""
        return self.rule.threshold

    @takes(Describe)
    def detect(self, image: ImageSource, **options: Unpack[Describe]) -> Faces[Face]:
        """Find faces: largest first, without embeddings; an empty tuple where there are none.

        The tuple says how small faces were looked for, too: ``searched_from_px``.

        Args:
            image: a path, encoded bytes, a binary file, a Pillow image or an array.
            **options: see ``visavis.options.Describe``.

        Raises:
            NoFace, MultipleFaces: with faces="main" or "only".
            InputError: the image cannot be used, or an argument is out of its range.
            SetupError: what tells an attribute is missing or damaged.
        """
        return value_of(next(self.detect_many([image], **options)))

    @takes(Describe)
    def embed(self, image: ImageSource, **options: Unpack[Describe]) -> Faces[Face]:
        """Find faces and embed them; everything else as in ``detect``."""
        return value_of(next(self.embed_many([image], **options)))

    @takes(Verify)
    def verify(self, a: ImageSource, b: ImageSource, **options: Unpack[Verify]) -> Verification:
        """Tell whether two images show the same person.

        Args:
            a: an image, as in ``detect``.
            b: another.
            **options: see ``visavis.options.Verify``.

        Raises:
            NoFace: an image shows no face; the message says which.
            NotLive: with require_live, a face looks like a print or a screen.
            MultipleFaces: with faces="main" or "only", an image shows several.
            InputError: an image cannot be used, or an argument is out of its range.
        """
        return value_of(next(self.verify_many([(a, b)], **options)))

    @takes(Compare)
    def compare(self, a: Embedding, b: Embedding, **options: Unpack[Compare]) -> Comparison:
        """Tell whether two embeddings are of the same person.

        Args:
            a: (D,) of the pack's space, as ``embed`` makes it: an array, a list of numbers, or a ``Face`` that has one,
                and best its quality. Without quality, less is known of whether it says anything.
            b: another.
            **options: see ``visavis.options.Compare``.

        Raises:
            InvalidEmbedding: one has another shape, is no array of numbers, holds one that is not finite, or is zero.
            SpaceMismatch: they are of another space.
            InvalidOption: an argument is out of its range.
        """
        return value_of(next(self.compare_many([(a, b)], **options)))

    @takes(Compare)
    def compare_many(
        self, pairs: Iterable[tuple[Embedding, Embedding]], **options: Unpack[Compare]
    ) -> Iterator[Comparison | VisavisError]:
        """Return for each pair, in order, what ``compare`` returns, or the error that it would raise.

        ``zip(these, those)`` are such pairs, and ``[(one, each) for each in many]``.
        """
        rule, space, own = choose_rule(self.pack, self.rule, options), options["space"], self.pack.space.id
        if space is not None and space != own:
            other = pack_of_space(space)
            maker = f"the pack {other.name!r}" if other else "the pack that made them"
            raise SpaceMismatch(
                f"the pack {self.pack.name!r}, of the space {own}, cannot compare embeddings of the space {space}: use "
                f"{maker}"
            )
        return (self._compared_embeddings(a, b, rule) for a, b in pairs)

    def embed_chips(self, chips: Sequence[UInt8Array]) -> FloatArray:
        """Return the embeddings (N, D) of chips: faces, each (S, S, 3) uint8 RGB, aligned as the template says.

        Raises:
            InvalidImage: a chip has another shape or type.
        """
        side = self.pack.template.side
        for chip in map(np.asarray, chips):
            if chip.shape != (side, side, 3) or chip.dtype != np.uint8:
                raise InvalidImage(f"a chip must be ({side}, {side}, 3) uint8 RGB, not {chip.shape} {chip.dtype}")
        return self._models.embedder(chips)

    def face_of(self, chip: UInt8Array) -> Face:
        """Return a chip as the face that it is, with its embedding and quality; argument and errors as above."""
        template = self.pack.template
        embedding = self.embed_chips([chip])[0]
        face = Face(np.array([0, 0, template.side, template.side], np.float32), 0.0, template.points)
        return self._embedded(replace(face, quality=assess(face, chip, template)), chip, embedding)

    @takes(Describe)
    def detect_many(
        self, images: Iterable[ImageSource], **options: Unpack[Describe]
    ) -> Iterator[Faces[Face] | VisavisError]:
        """Return for each image, in order, what ``detect`` returns, or the error that it would raise.

        Images are taken from the iterable one by one, as results are taken from the iterator.
        """
        return map(_faces_of, map(self._finder(options, chips=False), _several(images)))

    @takes(Describe)
    def embed_many(
        self, images: Iterable[ImageSource], **options: Unpack[Describe]
    ) -> Iterator[Faces[Face] | VisavisError]:
        """Return for each image, in order, what ``embed`` returns, or the error that it would raise.

        Images are taken from the iterable a few at a time, and their faces embedded together.
        """
        find = self._finder(options, chips=True)
        return map(_faces_of, self._embed_found(map(find, _several(images))))

    @takes(Observe)
    def observe_many(
        self, images: Iterable[ImageSource], **options: Unpack[Observe]
    ) -> Iterator[Faces[Observed] | VisavisError]:
        """Return for each image what ``embed_many`` returns with quality, and the chip of each face."""
        find = self._finder({**options, "quality": True}, chips=True)
        embedded = self._embed_found(map(find, _several(images)))
        return (
            e if isinstance(e, VisavisError) else Faces(map(Observed, e.faces, e.chips), e.searched_from_px, e.size_wh)
            for e in embedded
        )

    @takes(Verify)
    def verify_many(
        self, pairs: Iterable[tuple[ImageSource, ImageSource]], **options: Unpack[Verify]
    ) -> Iterator[Verification | VisavisError]:
        """Return for each pair, in order, what ``verify`` returns, or the error that it would raise."""
        attributes: tuple[Attribute, ...] = ("liveness",) if options["require_live"] else ()
        wanted: Describe = {"faces": options["faces"], "attributes": attributes, "quality": True}
        find = self._finder({**wanted, "min_face": options["min_face"], "chips": options["chips"]}, chips=True)
        rule = choose_rule(self.pack, self.rule, options)
        found = (_insist(find(image), place, image) for a, b in pairs for place, image in (("first", a), ("second", b)))
        embedded = self._embed_found(found)
        return (self._compared(a, b, rule) for a, b in zip(embedded, embedded, strict=True))

    def _compared(self, a: _Found | VisavisError, b: _Found | VisavisError, rule: Rule) -> Verification | VisavisError:
        if isinstance(a, VisavisError):
            a.argument = "a"
            return a
        if isinstance(b, VisavisError):
            b.argument = "b"
            return b
        return compare(self.pack, a.faces[0], b.faces[0], rule)

    def _compared_embeddings(self, a: Embedding, b: Embedding, rule: Rule) -> Comparison | VisavisError:
        try:
            return compare_embeddings(self.pack, self._seen("a", a), self._seen("b", b), rule)
        except InvalidEmbedding as error:
            return error.without_frames()

    def _seen(self, name: str, given: Embedding) -> _Seen:
        """Return what an argument of that name gives as an embedding, with what is known of its quality."""
        embedding, quality = (given.embedding, given.quality) if isinstance(given, Face) else (given, None)
        try:
            vector = check_embedding(embedding, self.pack.dimension, f"the pack {self.pack.name!r}")
        except InvalidEmbedding as error:
            why = error if embedding is not None else "an embedding is missing; embed gives faces that have one"
            named = InvalidEmbedding(f"{name}: {why}")
            named.argument = name
            raise named from None
        if self.pack.validity is not None and (quality is None or quality.validity is None):
            validity = self.pack.validity.validity(vector, self._models.nonsense)
            quality = replace(quality or _UNSEEN, validity=validity)
        return vector, quality

    def _finder(self, options: Describe, *, chips: bool) -> _Find:
        """Return what finds faces, and cuts out their chips where they are wanted; thread-safe."""
        least = self.min_face if options["min_face"] is None else check_min_face(options["min_face"])
        wanted = options["attributes"]
        ready = () if wanted == () else self._models.attributes.ready(wanted)
        search: Describe = {**options, "attributes": ready}
        reduction = partial(_reduction, least, self.pack.template)

        def find(image: "ImageSource | VisavisError") -> _Found | VisavisError:
            if isinstance(image, VisavisError):  # which is handed on
                return image
            work.check()
            try:
                picture = read_image(image, limits=self.limits, reduction=reduction)
                found = self._found(picture, least, search, chips=chips)
            except VisavisError as error:
                return error.without_frames()
            count = len(found.faces)
            if search["faces"] not in ("main", "only") or count == 1:
                return found
            if not count:
                return NoFace(f"{name_of(image)}: no face found")
            return MultipleFaces(f"{name_of(image)}: {count} faces found where exactly one is needed")

        return find

    def _found(self, picture: Picture, min_face: float, search: Describe, *, chips: bool) -> _Found:
        models, template = self._models, self.pack.template
        pixels, found, turns, from_px = self._search(picture, min_face, _OFF_CENTRE.get(search["faces"]))
        if search["faces"] == "main":
            sizes = areas(found.boxes_xyxy)
            found = found[sizes >= LEAST_RIVAL * sizes.max(initial=0)]
        work.spend(len(found.scores) * template.side**2)  # what comes of a face costs about as its chip's search
        found = found[np.lexsort((-found.scores, -areas(found.boxes_xyxy)))]
        to_original = partial(_to_original, picture, turns)
        faces = tuple(
            Face(_box(to_original(box.reshape(2, 2))), score, to_original(points), turned=90 * turns or None)
            for box, score, points in zip(found.boxes_xyxy, found.scores, found.landmarks, strict=True)
        )
        if search["attributes"] and faces:
            attributes = models.attributes(pixels, found.boxes_xyxy, search["attributes"])
            faces = tuple(replace(face, attributes=each) for face, each in zip(faces, attributes, strict=True))
        if not (chips or search["quality"] or search["chips"]):
            return _Found(faces, (), from_px, picture.size_wh)
        cut = tuple(extract_chip(pixels, points, template) for points in found.landmarks)
        if search["quality"]:
            pairs = zip(faces, cut, strict=True)
            faces = tuple(replace(face, quality=assess(face, chip, template)) for face, chip in pairs)
        if search["chips"]:
            faces = tuple(replace(face, chip=as_jpeg(chip)) for face, chip in zip(faces, cut, strict=True))
        return _Found(faces, cut, from_px, picture.size_wh)

    def _search(
        self, picture: Picture, min_face: float, off_centre: float | None
    ) -> tuple[UInt8Array, Detections, int, float]:
        """Return an image turned so that its faces are upright, these, and by how many quarter turns clockwise it was.

        And the smallest size of faces, in pixels of the original, that was looked for.

        With ``off_centre``, as in ``Detector.find``, at most one face.
        Where no face surely is upright, the other three ways are tried on a smaller image, in which faces are found
        from twice the size on: an image without faces then costs less than twice as much, and not four times.
        """
        detector, pixels = self._models.detector, picture.pixels

        def find(image: UInt8Array, size_wh: SizeWH) -> Detections:
            work.spend(cost_of(size_wh))
            return detector.find(image, size_wh, largest=off_centre is not None, off_centre=off_centre or 0.0)

        size_wh = detector.search_size(picture.size_wh, min_face)
        from_px = round(detector.window * max(picture.size_wh) / max(size_wh), 1)
        found = find(pixels, size_wh)
        twice = 2 * max(min_face, from_px) if min_face >= 1 else min(2 * min_face, _LARGEST_FRACTION)
        small_wh = detector.search_size(picture.size_wh, twice)
        dear = 3 * cost_of(small_wh) > max(cost_of(size_wh), _CHEAP)  # as for strips, which are never made smaller
        if dear or detector.are_upright(pixels, found):
            return pixels, found, 0, from_px
        small = cv2.resize(pixels, small_wh, interpolation=cv2.INTER_AREA)
        for quarters in (1, 3, 2):
            image = turned(small, quarters)
            if detector.are_upright(image, find(image, image.shape[1::-1])):
                width, height = picture.size_wh
                size_wh = (height, width) if quarters % 2 else (width, height)
                pixels = turned(pixels, quarters)
                return pixels, find(pixels, detector.search_size(size_wh, min_face)), quarters, from_px
        return pixels, found, 0, from_px

    def _embed_found(self, found: Iterable[_Found | VisavisError]) -> Iterator[_Found | VisavisError]:
        """Yield what was found with its embeddings; the chips of several images go through the network together."""
        for batch in _batches(found):
            chips = [chip for item in batch if isinstance(item, _Found) for chip in item.chips]
            try:
                embeddings = iter(self._models.embedder(chips))
            except VisavisError as error:
                yield from (item if isinstance(item, VisavisError) else error for item in batch)
                continue
            for item in batch:
                if isinstance(item, VisavisError):
                    yield item
                else:
                    pairs = zip(item.faces, item.chips, strict=True)
                    faces = tuple(self._embedded(*pair, next(embeddings)) for pair in pairs)
                    yield replace(item, faces=faces)

    def _embedded(self, face: Face, chip: UInt8Array, embedding: FloatArray) -> Face:
        """Return a face with its embedding, and how valid that is where quality was asked for."""
        quality, rule = face.quality, self.pack.validity
        if quality is not None and rule is not None:
            quality = replace(quality, validity=rule.validity(embedding, self._models.nonsense, quality, chip))
        return replace(face, embedding=embedding, quality=quality)


def _several(images: Iterable[ImageSource]) -> Iterable[ImageSource]:
    """Refuse a single image, whose characters or bytes would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise InvalidOption(f"several images are wanted, as in [image, ...], not {name_of(images)}")
    return images


def _reduction(min_face: float, template: ChipTemplate, size_wh: SizeWH) -> float:
    """Return how many times smaller an image may be decoded without loss for its smallest face."""
    smallest = min_face if min_face >= 1 else min_face * min(size_wh)
    return max(1.0, smallest / (_FACE_IN_CHIP * template.side if template.sampling == "dlib" else _ENOUGH_PX))


def _to_original(picture: Picture, turns: int, points: FloatArray) -> FloatArray:
    """Take points (N, 2) from the decoded and turned picture to the original: the centres of pixels, not corners."""
    height, width = picture.pixels.shape[:2]
    factors = np.array(picture.size_wh, np.float32) / np.array((width, height), np.float32)
    lying = turned_back(points, turns, (width, height))
    moved: FloatArray = (lying + np.float32(0.5)) * factors - np.float32(0.5)
    return moved


def _box(corners: FloatArray) -> FloatArray:
    """Return the box (4,) of two opposite corners (2, 2)."""
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _insist(found: _Found | VisavisError, place: str, image: ImageSource) -> _Found | VisavisError:
    """Turn the absence of a face, or of life where that was looked at, into an error."""
    if isinstance(found, VisavisError):
        return found
    if not found.faces:
        return NoFace(f"{name_of(image)}: no face found in the {place} image")
    if any(face.attributes and not is_live(face.attributes) for face in found.faces):
        return NotLive(f"{name_of(image)}: the face in the {place} image looks like a print or a screen")
    return found


def _batches(found: Iterable[_Found | VisavisError]) -> Iterator[list[_Found | VisavisError]]:
    """Group results until they have enough chips, or are enough themselves."""
    batch: list[_Found | VisavisError] = []
    chips = 0
    for item in found:
        batch.append(item)
        chips += len(item.chips) if isinstance(item, _Found) else 0
        if max(chips, len(batch)) >= _BATCH:
            yield batch
            batch, chips = [], 0
    if batch:
        yield batch


def _faces_of(found: _Found | VisavisError) -> Faces[Face] | VisavisError:
    return found if isinstance(found, VisavisError) else Faces(found.faces, found.searched_from_px, found.size_wh)
