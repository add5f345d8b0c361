"""What ``evaluate`` and ``calibrate`` share: from paths and options to photos, and to pairs of them."""

import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from visavis.cli.files import check_existence, check_paths, find_sources
from visavis.cli.options import ModelOptions
from visavis.cli.people import describe_naming, name_people
from visavis.cli.terminal import progress_bar
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visavis.evaluation.embedding import PhotoEmbedder
    from visavis.evaluation.protocols import Pairs, Photo

MeasuredArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="A folder of people, with a folder of images for each; or a pairs file.")
]
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", show_default="the pairs file's folder", help="Where its images are."),
]
PairsOption = Annotated[
    int,
    typer.Option("--pairs", metavar="N", min=2, help="Compare no more pairs of a folder: of more, some are drawn."),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of all draws.")]
ChoiceOption = Annotated[
    Literal["largest", "only", "central"],
    typer.Option("--faces", help="Which face of an image counts; the most central one is usual on LFW."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        show_default="nothing is kept",
        help="Keep embeddings, which are personal data, for the next time.",
    ),
]
SkipMissingOption = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out pairs whose images are not there, and say how many.")
]

DEFAULT_PAIRS = 1_000_000
Faces: TypeAlias = Literal["largest", "only", "central"]
_NAMED = 3  # of many that are missing
_log = logging.getLogger("visavis.cli")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is to be measured.

    Attributes:
        path: a folder of people, or a pairs file.
        images: where the images of a pairs file are, or None for its folder.
        pairs: of a folder, no more than these are compared.
        seed: of the draw.
        skip_missing: whether pairs whose images are not there are left out.
    """

    path: str
    images: Path | None = None
    pairs: int = DEFAULT_PAIRS
    seed: int = 0
    skip_missing: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of people."""
        return Path(self.path).is_dir()

    @property
    def folder(self) -> Path:
        """Where the images of a pairs file are."""
        return self.images or Path(self.path).parent


def read_pairs(inputs: Inputs) -> "Pairs":
    """Return the pairs of a pairs file, or of a folder of people.

    Raises:
        InvalidOption: there are none, they cannot be read, or images are missing.
    """
    check_paths([inputs.path])
    check_existence([inputs.path])
    if inputs.is_folder:
        from visavis.evaluation.protocols import pair_people  # noqa: PLC0415  # brings NumPy

        people = read_photos(inputs)
        pairs = pair_people(people.photos, most=inputs.pairs, seed=inputs.seed)
        return replace(pairs, about=f"{pairs.about}; {people.named}", left_out=people.left_out)
    from visavis.evaluation.protocols import read_pairs_file  # noqa: PLC0415  # likewise

    if inputs.pairs != DEFAULT_PAIRS:
        raise InvalidOption("--pairs says how many pairs of a folder are drawn; those of a file are all taken")
    path = Path(inputs.path)
    if not inputs.folder.is_dir():
        raise InvalidOption(f"--images {inputs.folder}: there is no such folder")
    return _complete(read_pairs_file(path, inputs.folder), inputs)


@dataclass(frozen=True, slots=True)
class People:
    """The photos of a folder of people.

    Attributes:
        photos: with whom each shows.
        named: in words, what named the people.
        left_out: a line for each photo that nothing names a person of.
    """

    photos: "tuple[Photo, ...]"
    named: str
    left_out: tuple[str, ...]


def read_photos(inputs: Inputs) -> People:
    """Return the photos of a folder of people, named as ``enrol`` names them, and tell how.

    Raises:
        InvalidOption: it is none, or holds no image that somebody is named by.
    """
    from visavis.evaluation.protocols import Photo  # noqa: PLC0415  # brings NumPy

    check_existence([inputs.path])
    if not inputs.is_folder:
        raise InvalidOption(f"{inputs.path}: a folder of people is wanted here, with a folder of images for each")
    if inputs.images is not None:
        raise InvalidOption("--images says where the images of a pairs file are; a folder of people has its own")
    portraits = name_people(find_sources([inputs.path], max_bytes=0), "auto")
    left_out = tuple(f"{portrait.source.name}: {portrait.problem}" for portrait in portraits if portrait.problem)
    for line in left_out:
        _log.warning("visavis: %s", line)
    photos = tuple(
        Photo(portrait.source.relative.as_posix(), portrait.source.name, portrait.subject)
        for portrait in portraits
        if portrait.subject is not None
    )
    if not photos:
        raise InvalidOption(f"{inputs.path}: the path of no image says whom it shows")
    for line in describe_naming(portraits):
        _log.info("%s", line)
    return People(photos, f"people named by {portraits[0].named_by}", left_out)


@contextmanager
def looking(
    options: ModelOptions, photos: "tuple[Photo, ...]", faces: Faces, cache: Path | None, *, quiet: bool
) -> "Iterator[PhotoEmbedder]":
    """Give what looks at photos, and shows a progress bar meanwhile."""
    from visavis.cli.recognizers import LateEyes  # noqa: PLC0415  # brings what sees
    from visavis.evaluation.embedding import PhotoEmbedder  # noqa: PLC0415  # likewise
    from visavis.models.runtime import RuntimeSpec  # noqa: PLC0415  # likewise

    eyes = LateEyes(options, images=len(photos))
    runtime = RuntimeSpec(options.runtime, options.precision, options.threads)
    with progress_bar(len(photos), shown=not quiet and sys.stderr.isatty()) as advance:
        yield PhotoEmbedder(eyes, runtime, faces, options.min_face, cache, advance)


def _complete(pairs: "Pairs", inputs: Inputs) -> "Pairs":
    """Return the pairs whose images are there, which is all of them unless some may be missing."""
    missing = [not Path(photo.path).exists() for photo in pairs.photos]
    count = sum(missing)
    if not count:
        return pairs
    named = [photo.file for photo, lost in zip(pairs.photos, missing, strict=True) if lost][:_NAMED]
    told = f"{count:,} of {len(missing):,} images are not in {inputs.folder}: {', '.join(named)}"
    told += " and others" if count > len(named) else ""
    if not inputs.skip_missing:
        none_there = count == len(missing)
        way_out = "--images DIR says where they are" if none_there else "--skip-missing leaves their pairs out"
        raise InvalidOption(f"{told}; {way_out}")
    from visavis.evaluation.protocols import without  # noqa: PLC0415  # brings NumPy

    left = without(pairs, missing, "not there")
    _log.warning("%s; %d of %d pairs are left", told, len(left.same), len(pairs.same))
    return left
