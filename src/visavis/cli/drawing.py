"""Photos with boxes and landmarks drawn on them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TypeAlias

import PIL.Image
import PIL.ImageDraw

from visavis.cli.images import ImageFile
from visavis.core.image import ImageLimits, read_image
from visavis.errors import InvalidOption, VisavisError
from visavis.files import identity, replacing
from visavis.types import Face, Faces

_FacesOrError: TypeAlias = Faces[Face] | VisavisError
_BOX_RGB = (0, 230, 0)
_LANDMARK_RGB = (255, 60, 0)
_LINES_PER_SIDE = 300  # how many lines side by side make the longer side of an image
_SAVE_OPTIONS = {"JPEG": {"quality": 92}, "WEBP": {"quality": 92}}
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
}


def drawer(
    sources: Sequence[ImageFile], folder: Path, limits: ImageLimits
) -> Callable[[Iterable[_FacesOrError]], Iterator[_FacesOrError]]:
    """Return what draws the faces of each image as they come, and hands them on, or why there are none.

    A drawing has the image's relative name below the folder, numbered where it is taken. An image of a format that is
    not written here becomes a JPEG, with the suffix added.

    Raises:
        InvalidOption: a drawing would replace one of the images.
        OSError: the folder cannot be made.
    """
    images = {identity(Path(source.name)) for source in sources} - {None}
    taken: dict[str, count[int]] = {}
    targets = [_distinct(folder / source.relative, taken) for source in sources]
    for target in targets:
        if identity(target) in images:
            raise InvalidOption(f"--draw {folder}: {target} is one of the images; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)

    def draw(outcomes: Iterable[_FacesOrError]) -> Iterator[_FacesOrError]:
        for source, target, outcome in zip(sources, targets, outcomes, strict=True):
            drawn = outcome
            if not isinstance(outcome, VisavisError):
                try:
                    _draw_image(source, outcome, target, limits)
                except VisavisError as error:  # it can no longer be read
                    drawn = error
            yield drawn

    return draw


def _draw_image(source: ImageFile, faces: Iterable[Face], target: Path, limits: ImageLimits) -> None:
    """Write a copy with a box around each face and a dot on each landmark."""
    if not isinstance(source.image, str):
        source.image.seek(0)
    picture = PIL.Image.fromarray(read_image(source.image, limits=limits).pixels)
    canvas = PIL.ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / _LINES_PER_SIDE))
    radius = 0.7 * width
    for face in faces:
        canvas.rectangle([round(edge) for edge in face.box_xyxy.tolist()], outline=_BOX_RGB, width=width)
        for x, y in face.landmarks.tolist():
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_LANDMARK_RGB)
    target.parent.mkdir(parents=True, exist_ok=True)
    form = _FORMATS[target.suffix.lower()]
    with replacing(target, private=True) as file:
        picture.save(file, form, **_SAVE_OPTIONS.get(form, {}))


def _distinct(path: Path, taken: dict[str, "count[int]"]) -> Path:
    """Return the path, or with a number the first that is free, and take it; upper and lower case are the same."""
    path = path if path.suffix.lower() in _FORMATS else path.with_name(path.name + ".jpg")
    candidate = path
    while (key := str(candidate).casefold()) in taken:
        candidate = path.with_name(f"{path.stem}-{next(taken[str(path).casefold()])}{path.suffix}")
    taken[key] = count(2)
    return candidate
