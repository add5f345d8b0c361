"""From images to groups of faces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visavis.cli.drawing import thumbnail
from visavis.cli.files import Source
from visavis.cli.options import ModelOptions
from visavis.cli.outputs import Groups, Sighting
from visavis.cli.recognizers import LateEyes
from visavis.cli.terminal import say
from visavis.core.decide import check_threshold
from visavis.errors import VisavisError
from visavis.models.packs import QualityLimits
from visavis.models.recognizer import Observed
from visavis.service.clusters import check_library, group_faces
from visavis.service.decisions import shortcomings
from visavis.types import FloatArray


@dataclass(frozen=True, slots=True)
class Grouping:
    """How faces are grouped.

    Attributes:
        models: what sees them.
        threshold: as in ``group_faces``; None for the pack's own.
        min_size: of a group.
        any_quality: whether faces are grouped too that a new gallery would not enrol.
        thumbnails: whether they are wanted.
    """

    models: ModelOptions
    threshold: float | None
    min_size: int
    any_quality: bool
    thumbnails: bool


def group_faces_of(sources: Sequence[Source], grouping: Grouping, advance: Callable[[], None]) -> Groups:
    """Find the faces of all images, and group them.

    Args:
        sources: the images.
        grouping: how.
        advance: called after each image.

    Raises:
        DriverMissing: the library that groups faces is not installed.
        InvalidOption: an option is out of its range.
        SetupError: a model or the runtime is missing or damaged.
    """
    check_library()
    eyes = LateEyes(grouping.models)
    threshold = eyes.pack.cluster_threshold if grouping.threshold is None else check_threshold(grouping.threshold)
    seen, failed = _look(sources, eyes, grouping, advance)
    told_apart = [(number, face) for number, face in seen if face.left_out is None]
    groups = group_faces(
        _embeddings([face for _, face in told_apart], eyes.pack.dimension),
        [number for number, _ in told_apart],
        threshold=threshold,
        metric=eyes.pack.metric,
        min_size=grouping.min_size,
    )
    grouped = {index for group in groups for index in group}
    return Groups(
        people=[[told_apart[index][1] for index in group] for group in groups],
        ungrouped=[face for index, (_, face) in enumerate(told_apart) if index not in grouped],
        left_out=[face for _, face in seen if face.left_out is not None],
        failed=failed,
    )


def _look(
    sources: Sequence[Source], eyes: LateEyes, grouping: Grouping, advance: Callable[[], None]
) -> tuple[list[tuple[int, Sighting]], list[tuple[str, VisavisError]]]:
    """Return the faces, each with the number of its image, and the images that failed."""
    seen: list[tuple[int, Sighting]] = []
    failed: list[tuple[str, VisavisError]] = []
    outcomes = eyes.observe_many(source.image for source in sources)
    for number, (source, outcome) in enumerate(zip(sources, outcomes, strict=True)):
        if isinstance(outcome, VisavisError):
            say(f"visavis: {outcome}")
            failed.append((source.name, outcome))
        else:
            limits = None if grouping.any_quality else eyes.pack.quality
            seen += [(number, _sighting(source, observed, grouping, limits)) for observed in outcome]
        advance()
    return seen, failed


def _sighting(source: Source, observed: Observed, grouping: Grouping, limits: QualityLimits | None) -> Sighting:
    picture = thumbnail(observed.chip) if grouping.thumbnails else b""
    left_out = None if limits is None else _shortcoming(observed, limits)
    return Sighting(source.name, source.relative.as_posix(), observed.face, left_out, picture)


def _shortcoming(observed: Observed, limits: QualityLimits) -> str | None:
    """Return the code of what keeps a face from being told apart from others: what a new gallery would refuse."""
    if observed.face.quality is None:
        raise AssertionError("what is observed has a quality")
    lacks = shortcomings(observed.face.quality, limits)
    return lacks[0].code if lacks else None


def _embeddings(faces: Sequence[Sighting], dimension: int) -> FloatArray:
    vectors = [sighting.face.embedding for sighting in faces]
    return np.array(vectors, np.float32).reshape(len(vectors), dimension)
