"""Photos with boxes, names and landmarks drawn on them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import PIL.features
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from visavis.cli.images import ImageFile
from visavis.cli.outputs import FaceLayout, IdentityLayout
from visavis.cli.terminal import counted, say
from visavis.core.image import ImageLimits, read_image
from visavis.errors import InvalidOption, VisavisError
from visavis.files import identity, replacing
from visavis.types import Faces, SizeWH

_FacesOrError: TypeAlias = Faces[Any] | VisavisError
_Font: TypeAlias = PIL.ImageFont.FreeTypeFont
_BOX_RGB = (0, 230, 0)
_LANDMARK_RGB = (255, 60, 0)
_LINES_PER_SIDE = 300  # how many lines side by side make the longer side of an image
_LABELS_PER_SIDE = 50
_LEAST_FONT_PX = 12
_LONGEST_NAME = 40  # letters of it that are drawn
# Of Linux, macOS and Windows; the first that has all letters of a name is taken. Pillow's own has those of English.
_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "segoeui.ttf", "NotoSansCJK-Regular.ttc", "msyh.ttc"),
    *("YuGothR.ttc", "malgun.ttf", "PingFang.ttc", "Arial Unicode.ttf", "NotoSansArabic-Regular.ttf", "Nirmala.ttf"),
    *("NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf"),
)
_NO_LETTER = "\U0010ffff"  # for which every font has the same sign as for what it lacks
_SAVE_OPTIONS = {"JPEG": {"quality": 92}, "WEBP": {"quality": 92}}
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
}


def drawer(
    sources: Sequence[ImageFile], folder: Path, limits: ImageLimits, layout: FaceLayout | IdentityLayout
) -> Callable[[Iterable[_FacesOrError]], Iterator[_FacesOrError]]:
    """Return what draws the faces of each image as they come, and hands them on, or why there are none.

    Each has its number, and what the layout says. A name that no font here can show is left out, which is said.

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
        unwritten: set[str] = set()
        for source, target, outcome in zip(sources, targets, outcomes, strict=True):
            drawn = outcome
            if not isinstance(outcome, VisavisError):
                try:
                    unwritten.update(_draw_image(source, outcome, target, limits, layout))
                except VisavisError as error:  # it can no longer be read
                    drawn = error
            yield drawn
        if unwritten:
            names = counted(len(unwritten), "name")
            say(f"visavis: no font here has the letters of {names}: their faces have the numbers of the list alone")

    return draw


def _draw_image(
    source: ImageFile, faces: Sequence[Any], target: Path, limits: ImageLimits, layout: FaceLayout | IdentityLayout
) -> Iterator[str]:
    """Write a copy with a box around each face, a label, and a dot on each landmark; yield the names not written."""
    if not isinstance(source.image, str):
        source.image.seek(0)
    picture = PIL.Image.fromarray(read_image(source.image, limits=limits).pixels)
    canvas = PIL.ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / _LINES_PER_SIDE))
    radius = 0.7 * width
    boxes = [[round(edge) for edge in getattr(each, "face", each).box_xyxy.tolist()] for each in faces]
    for each, box in zip(faces, boxes, strict=True):
        canvas.rectangle(box, outline=_BOX_RGB, width=width)
        for x, y in getattr(each, "face", each).landmarks.tolist():
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_LANDMARK_RGB)
    labels = _Labels(canvas, picture.size)
    for number, (each, box) in enumerate(zip(faces, boxes, strict=True)):
        name, more = layout.label(each)
        if not labels.write(box, number, name[:_LONGEST_NAME], more):
            yield name
    target.parent.mkdir(parents=True, exist_ok=True)
    form = _FORMATS[target.suffix.lower()]
    with replacing(target, private=True) as file:
        picture.save(file, form, **_SAVE_OPTIONS.get(form, {}))


class _Labels:
    """Labels on an image, none of which covers another one."""

    def __init__(self, canvas: PIL.ImageDraw.ImageDraw, size_wh: SizeWH) -> None:
        self._canvas, self._size_wh = canvas, size_wh
        self._font_px = max(_LEAST_FONT_PX, round(max(size_wh) / _LABELS_PER_SIDE))
        self._taken: list[tuple[float, float, float, float]] = []

    def write(self, box: Sequence[int], number: int, name: str, more: str) -> bool:
        """Write them above or below a box, or the number in it; return whether a font has all letters of the name.

        A mark of direction keeps what follows Arabic on its right.
        """
        font = _font_of(name, self._font_px)
        joined = "\u200e " if font and font.layout_engine == PIL.ImageFont.Layout.RAQM else " "
        for text in (joined.join(filter(None, (str(number), name if font else "", more))), str(number)):
            used, direction = font or _font_of("", self._font_px), "ltr" if "\u200e" in text else None
            _, _, width, height = self._canvas.textbbox((0, 0), text, used, direction=direction)
            left = max(0, min(box[0], self._size_wh[0] - width))
            places = [(left, top, left + width, top + height) for top in (box[1] - height, box[3], box[1])]
            free = [place for place in places[:2] if self._is_free(place)]
            if free or text == str(number):
                place = (free or places[2:])[0]
                self._taken.append(place)
                self._canvas.rectangle(place, fill=_BOX_RGB)
                self._canvas.text(place[:2], text, (0, 0, 0), used, direction=direction)
                break
        return font is not None

    def _is_free(self, place: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = place
        beside = (
            right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top for other in self._taken
        )
        return top >= 0 and bottom <= self._size_wh[1] and all(beside)


@cache
def _font_of(text: str, size: int) -> _Font | None:
    """Return a font that has all letters of a text, or None."""
    own = PIL.ImageFont.load_default(size)
    if isinstance(own, _Font) and _shows(own, text):
        return own
    for name in _FONTS:
        with suppress(OSError):
            font = PIL.ImageFont.truetype(name, size)
            if _shows(font, text):
                return font
    return None


def _shows(font: _Font, text: str) -> bool:
    """Tell whether a font shows a text as it is written.

    Scripts from Hebrew to Khmer join letters, or run from right to left, which takes a library that may be missing.
    """
    if any("\u0590" <= letter < "\u1e00" for letter in text) and not PIL.features.check_feature("raqm"):
        return False
    lacking = bytes(font.getmask(_NO_LETTER))
    return all(bytes(font.getmask(letter)) != lacking for letter in set(text) if not letter.isspace())


def _distinct(path: Path, taken: dict[str, "count[int]"]) -> Path:
    """Return the path, or with a number the first that is free, and take it; upper and lower case are the same."""
    path = path if path.suffix.lower() in _FORMATS else path.with_name(path.name + ".jpg")
    candidate = path
    while (key := str(candidate).casefold()) in taken:
        candidate = path.with_name(f"{path.stem}-{next(taken[str(path).casefold()])}{path.suffix}")
    taken[key] = count(2)
    return candidate
