"""From photos of people to a protocol: all pairs or a sample of them, or a gallery and its probes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visavis.errors import InvalidOption
from visavis.evaluation.protocols import Indices, Pairs, Photo, Split, counted, people_of

MOST_PAIRS = 1_000_000
"""More pairs than these are sampled, unless another number is asked for."""
_FEWEST_PEOPLE = 2


def pair_people(photos: Sequence[Photo], *, most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Return all pairs of photos; where there are more than ``most``, some drawn at random.

    Of pairs of one person as many are drawn as are there, but no more than half of all; strangers fill the rest.

    Raises:
        InvalidOption: there are no pairs of one person, or none of strangers.
    """
    ordered, ends, numbers = _by_person(photos)
    places = np.arange(len(ordered))
    # The partners of a photo that come after it: of its own person up to the person's end, and of strangers from there.
    genuine_counts, impostor_counts = ends - places - 1, len(ordered) - ends
    genuine, impostor = int(genuine_counts.sum()), int(impostor_counts.sum())
    if not genuine:
        raise InvalidOption("nobody is there with two images: pairs of one person cannot be made")
    wanted_genuine = min(genuine, max(most // 2, most - impostor))
    wanted_impostor = min(impostor, most - wanted_genuine)
    rng = np.random.default_rng(seed)
    own = _decoded(_drawn(genuine, wanted_genuine, rng), genuine_counts, places + 1)
    other = _decoded(_drawn(impostor, wanted_impostor, rng), impostor_counts, ends)
    first, second = (np.concatenate(halves) for halves in zip(own, other, strict=True))
    return Pairs(
        photos=tuple(ordered),
        first=first,
        second=second,
        same=numbers[first] == numbers[second],
        folds=None,
        about=f"{_share(wanted_genuine, genuine)} of one person and {_share(wanted_impostor, impostor)} of strangers"
        + ("" if wanted_genuine + wanted_impostor == genuine + impostor else f", drawn with seed {seed}"),
    )


def split_people(
    photos: Sequence[Photo], *, per_person: int = 1, strangers: float | None = None, seed: int = 0
) -> Split:
    """Enrol the first images of people, and probe with the others and with strangers.

    Args:
        photos: of a person in the order in which they are enrolled.
        per_person: how many images of each person are enrolled.
        strangers: the share of people, drawn at random, who are not enrolled, below 1; None for those who have no more
            images than would be enrolled, and would never be looked for.
        seed: of the draw.

    Raises:
        InvalidOption: nobody would be enrolled, or nobody looked for; or an argument is out of its range.
    """
    if per_person < 1:
        raise InvalidOption(f"per_person must be 1 or more, not {per_person}")
    if strangers is not None and not 0 <= strangers < 1:
        raise InvalidOption(f"strangers must be a share of the people, from 0 to less than 1, not {strangers!r}")
    ordered, ends, numbers = _by_person(photos)
    sizes = np.bincount(numbers)
    if strangers is None:
        unknown = sizes <= per_person
        how = f"people with no more than {counted(per_person, 'image')} are strangers"
    else:
        drawn = np.random.default_rng(seed).permutation(len(sizes))[: round(strangers * len(sizes))]
        unknown = np.isin(np.arange(len(sizes)), drawn)
        are = "is a stranger" if len(drawn) == 1 else "are strangers"
        how = f"{counted(len(drawn), 'person', 'people')}, drawn with seed {seed}, {are}"
    rank = np.arange(len(ordered)) - (ends - sizes[numbers])
    enrolled = ~unknown[numbers] & (rank < per_person)
    gallery, probes = np.flatnonzero(enrolled), np.flatnonzero(~enrolled)
    if not len(gallery):
        raise InvalidOption(
            f"nobody has more than {counted(per_person, 'image')}: who is enrolled must be there once more"
        )
    if not np.isin(numbers[probes], numbers[gallery]).any():
        raise InvalidOption("none of the people enrolled has another image to be looked for with")
    about = (
        f"{counted(per_person, 'image')} of each person enrolled, the first by name, and the others looked for; {how}"
    )
    return Split(tuple(ordered), gallery, probes, about)


def without(protocol: Pairs, missing: Sequence[bool], why: str) -> Pairs:
    """Return the pairs that do without the photos marked as missing."""
    gone = np.asarray(missing, np.bool_)
    kept = ~(gone[protocol.first] | gone[protocol.second])
    used = np.unique(np.concatenate([protocol.first[kept], protocol.second[kept]]))
    places = np.full(len(protocol.photos), -1)
    places[used] = np.arange(len(used))
    lines = tuple(f"{photo.file}: {why}" for photo, lost in zip(protocol.photos, gone, strict=True) if lost)
    return replace(
        protocol,
        photos=tuple(protocol.photos[place] for place in used),
        first=places[protocol.first[kept]],
        second=places[protocol.second[kept]],
        same=protocol.same[kept],
        folds=None if protocol.folds is None else protocol.folds[kept],
        left_out=(*protocol.left_out, *lines),
    )


def _by_person(photos: Sequence[Photo]) -> tuple[list[Photo], Indices, Indices]:
    """Return the photos with each person's together, where each photo's person ends, and the person's number."""
    names, numbers = people_of(photos)
    if len(names) < _FEWEST_PEOPLE:
        raise InvalidOption(f"pairs of strangers take two people or more, and {len(names)} is there")
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    ends = np.cumsum(np.bincount(numbers))[numbers]
    return [photos[place] for place in order], ends, numbers


def _drawn(total: int, count: int, rng: np.random.Generator) -> Indices:
    """Return so many different numbers below the total, sorted."""
    if count >= total:
        return np.arange(total)
    if total <= 4 * count:
        return np.sort(rng.permutation(total)[:count])
    drawn = np.unique(rng.integers(0, total, count))
    while len(drawn) < count:
        drawn = np.unique(np.concatenate([drawn, rng.integers(0, total, count - len(drawn))]))
    return drawn


def _decoded(numbers: Indices, counts: Indices, starts: Indices) -> tuple[Indices, Indices]:
    """Return the pairs with these numbers, each photo having ``counts`` partners, from the photo ``starts`` on."""
    ends = np.cumsum(counts)
    first = np.searchsorted(ends, numbers, side="right")
    return first, starts[first] + numbers - (ends - counts)[first]


def _share(count: int, total: int) -> str:
    return f"all {counted(total)}" if count == total else f"{count:,} of {counted(total)}"
