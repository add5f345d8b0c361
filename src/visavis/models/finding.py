"""From whatever counts as an image to its faces, and to the chips that an embedder takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from visavis.core.geometry import ChipTemplate, Detections, areas, extract_chip
from visavis.core.image import ImageLimits, Picture, name_of, read_image
from visavis.core.quality import assess
from visavis.errors import InvalidOption, MultipleFaces, NoFace, VisavisError
from visavis.models.heads import Models
from visavis.options import Attribute, FacesPolicy
from visavis.types import Face, FloatArray, ImageSource, SizeWH, UInt8Array

_LEAST_MIN_FACE = 10
# A large JPEG may be decoded at a reduced scale as long as the smallest face keeps the pixels that a chip shows of it.
# No more than this part of a chip's side is a face.
_FACE_IN_CHIP = 134 / 150


@dataclass(frozen=True, slots=True)
class Search:
    """What is wanted of an image.

    Attributes:
        faces: which of them count.
        min_face: the smallest to look for, as ``check_min_face`` returns it.
        chips: whether they are to be cut out.
        quality: whether it is to be told of each face.
        attributes: what else is to be told, as ``AttributeModels.check`` returns it.
    """

    faces: FacesPolicy
    min_face: float
    chips: bool
    quality: bool
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The faces of one image, and the chips of each, where they are wanted."""

    faces: tuple[Face, ...]
    chips: tuple[UInt8Array, ...]


Find: TypeAlias = Callable[[ImageSource], Found | VisavisError]
"""Find the faces of one image, or say why that is not possible."""


def make_finder(models: Models, template: ChipTemplate, limits: ImageLimits, search: Search) -> Find:
    """Return what finds faces; thread-safe, as the models are.

    Args:
        models: of the pack.
        template: how chips are cut out.
        limits: on images.
        search: what is wanted.
    """

    def find(image: ImageSource) -> Found | VisavisError:
        try:
            reduction = partial(_reduction, search.min_face, template.side)
            picture = read_image(image, limits=limits, reduction=reduction)
            found = _find(models, template, picture, search)
            if search.faces == "only":
                check_only(found.faces, image)
        except VisavisError as error:
            return error
        return found

    return find


def _find(models: Models, template: ChipTemplate, picture: Picture, search: Search) -> Found:
    size_wh = models.detector.search_size(picture.size_wh, search.min_face)
    found = models.detector.find(picture.pixels, size_wh, largest=search.faces == "largest")
    order = np.lexsort((-found.scores, -areas(found.boxes_xyxy)))
    found = Detections(found.boxes_xyxy[order], found.scores[order], found.landmarks[order])
    to_original = partial(_to_original, picture)
    faces = tuple(
        Face(to_original(box.reshape(2, 2)).reshape(4), score, to_original(points))
        for box, score, points in zip(found.boxes_xyxy, found.scores, found.landmarks, strict=True)
    )
    if search.attributes and faces:
        attributes = models.attributes(picture.pixels, found, search.attributes)
        faces = tuple(replace(face, attributes=each) for face, each in zip(faces, attributes, strict=True))
    if not (search.chips or search.quality):
        return Found(faces, ())
    chips = tuple(extract_chip(picture.pixels, points, template) for points in found.landmarks)
    if search.quality:
        faces = tuple(
            replace(f, quality=assess(f, chip, template.anatomy)) for f, chip in zip(faces, chips, strict=True)
        )
    return Found(faces, chips)


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


def check_only(faces: Sequence[Face], image: ImageSource) -> None:
    """Insist on exactly one face.

    Raises:
        NoFace, MultipleFaces: there is none, or more.
    """
    if not faces:
        raise NoFace(f"{name_of(image)}: no face found")
    if len(faces) > 1:
        raise MultipleFaces(f"{name_of(image)}: {len(faces)} faces found where exactly one is needed")


def _reduction(min_face: float, chip_side: int, size_wh: SizeWH) -> float:
    """Return how many times smaller an image may be decoded without loss for its smallest face."""
    smallest = min_face if min_face >= 1 else min_face * min(size_wh)
    return max(1.0, smallest / (_FACE_IN_CHIP * chip_side))


def _to_original(picture: Picture, points: FloatArray) -> FloatArray:
    """Take points (N, 2) from the decoded picture to the original: the centres of pixels, not their corners."""
    height, width = picture.pixels.shape[:2]
    factors = np.array(picture.size_wh, np.float32) / np.array((width, height), np.float32)
    moved: FloatArray = (points + np.float32(0.5)) * factors - np.float32(0.5)
    return moved
