"""Pictures with boxes and landmarks drawn on them."""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from visavis.cli.atomic import replacing
from visavis.cli.inputs import Source, identity
from visavis.core.image import ImageLimits, read_image
from visavis.errors import InvalidOption
from visavis.types import Face, UInt8Array

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


def plan_targets(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Return where each drawing goes: the image's relative name below the folder, numbered where it is taken.

    An image of a format that is not written here becomes a JPEG, with the suffix added.

    Raises:
        InvalidOption: a drawing would replace one of the images.
    """
    images = {identity(Path(source.name)) for source in sources} - {None}
    taken: dict[str, count[int]] = {}
    targets = [_distinct(_with_suffix(folder / source.relative), taken) for source in sources]
    for target in targets:
        if identity(target) in images:
            raise InvalidOption(f"--draw {folder}: {target} is one of the images; choose another folder")
    return targets


def draw_image(source: Source, faces: Iterable[Face], target: Path, limits: ImageLimits) -> None:
    """Draw the faces of an image, and write the picture and the folders it needs.

    Raises:
        InputError: the image cannot be read.
        OSError: the picture cannot be written.
    """
    if not isinstance(source.image, str):
        source.image.seek(0)
    picture = draw_faces(read_image(source.image, limits=limits).pixels, faces)
    target.parent.mkdir(parents=True, exist_ok=True)
    form = _FORMATS[target.suffix.lower()]
    with replacing(target, private=True) as file:
        picture.save(file, form, **_SAVE_OPTIONS.get(form, {}))


def draw_faces(pixels: UInt8Array, faces: Iterable[Face]) -> PIL.Image.Image:
    """Return a copy with a box around each face and a dot on each landmark."""
    picture = PIL.Image.fromarray(pixels)
    canvas = PIL.ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / _LINES_PER_SIDE))
    radius = 0.7 * width
    for face in faces:
        canvas.rectangle([round(edge) for edge in face.box_xyxy.tolist()], outline=_BOX_RGB, width=width)
        for x, y in face.landmarks.tolist():
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_LANDMARK_RGB)
    return picture


def _with_suffix(path: Path) -> Path:
    return path if path.suffix.lower() in _FORMATS else path.with_name(path.name + ".jpg")


def _distinct(path: Path, taken: dict[str, "count[int]"]) -> Path:
    """Return the path, or with a number the first that is free, and take it; upper and lower case are the same."""
    candidate = path
    while (key := str(candidate).casefold()) in taken:
        candidate = path.with_name(f"{path.stem}-{next(taken[str(path).casefold()])}{path.suffix}")
    taken[key] = count(2)
    return candidate
