"""What is compared with what: pairs of images (1:1), or probes with a gallery (1:N)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Photo:
    """An image, and whom it shows.

    Attributes:
        file: what results call it.
        path: where it is read.
        person: whom it shows; the same for all images of one person.
    """

    file: str
    path: str
    person: str


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of images, of one person and of strangers.

    Attributes:
        photos: each once.
        first, second: (N,) the two images of each pair, by their place in ``photos``.
        same: (N,) whether they show the same person.
        folds: (N,) the number of each pair's fold, or None where the protocol has none.
        about: in words, where the pairs come from, and how they were chosen.
        left_out: what the protocol names and nobody measured, and why; a line each.
    """

    photos: tuple[Photo, ...]
    first: Indices
    second: Indices
    same: NDArray[np.bool_]
    folds: Indices | None
    about: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A gallery of people, and probes: of these people, and of strangers.

    Attributes:
        photos: each once.
        gallery: (G,) the images that are enrolled, by their place in ``photos``.
        probes: (P,) those that are looked for: of people of the gallery, and of people who are not in it.
        about: in words, how the two were chosen.
        left_out: as in ``Pairs``.
    """

    photos: tuple[Photo, ...]
    gallery: Indices
    probes: Indices
    about: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Groups of people, such as age or origin.

    Attributes:
        names: of the groups, sorted.
        of_photos: (n,) each photo's group, by its place in ``names``; -1 for those in none.
        unknown: whom the file names, and no photo shows.
    """

    names: tuple[str, ...]
    of_photos: Indices
    unknown: tuple[str, ...] = ()


def counted(count: int, noun: str = "pair", plural: str | None = None) -> str:
    """Return a number of things in words."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def people_of(photos: Sequence[Photo]) -> tuple[tuple[str, ...], Indices]:
    """Return the people, in the order in which they first appear, and whom of them each photo (n,) shows."""
    places: dict[str, int] = {}
    numbers = [places.setdefault(photo.person, len(places)) for photo in photos]
    return tuple(places), np.array(numbers, np.int64)
