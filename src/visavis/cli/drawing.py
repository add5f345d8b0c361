"""Images of faces: boxes and landmarks drawn on photos, and contact sheets of groups."""

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TextIO

import PIL.Image
import PIL.ImageDraw

from visavis.cli.files import Source, identity, replacing
from visavis.cli.outputs import Groups, Sighting
from visavis.cli.terminal import counted, printable
from visavis.core.image import ImageLimits, read_image
from visavis.errors import InvalidOption
from visavis.types import Face, UInt8Array

_SIDE = 128
_MOST_SHOWN = 200  # of a section, so that a browser can bear the page

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Faces in groups</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-top: 1px solid #8886; padding-top: .5rem; }
p, small { opacity: .75; font-weight: normal; }
p { margin: .25rem 0 0; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.5rem, 1fr)); gap: .5rem; }
figure { margin: 0; min-width: 0; }
img { display: block; width: 100%; aspect-ratio: 1; border-radius: .4rem; background: #8883; }
figcaption { font-size: .7rem; line-height: 1.25; overflow-wrap: anywhere; opacity: .75; padding-top: .15rem; }
</style>
</head>
<body>
"""
_TAIL = "</body>\n</html>\n"


def thumbnail(chip: UInt8Array) -> bytes:
    """Return a small JPEG of an aligned face."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(chip).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def write_contact_sheet(groups: Groups, images: int, stream: TextIO) -> None:
    """Write the page, one section for each group, the largest first, and then those who are in none.

    Args:
        groups: with thumbnails.
        images: how many were looked at.
        stream: for the page.
    """
    faces = sum(map(len, groups.people)) + len(groups.ungrouped) + len(groups.left_out)
    stream.write(_HEAD)
    stream.write(f"<h1>{counted(len(groups.people), 'group')} of faces</h1>\n")
    stream.write(f"<p>{counted(faces, 'face')} found in {counted(images, 'image')}. ")
    stream.write("Each group is likely one person. Faces are personal data: pass this page on with care.</p>\n")
    for number, people in enumerate(groups.people, 1):
        stream.writelines(_section(f"Group {number}", people))
    stream.writelines(_section("In no group", groups.ungrouped))
    stream.writelines(_section("Too small or too unclear to tell", groups.left_out))
    stream.write(_TAIL)


def _section(title: str, faces: Sequence[Sighting]) -> Iterator[str]:
    if not faces:
        return
    images = len({face.file for face in faces})
    yield f"<section>\n<h2>{title} <small>{counted(len(faces), 'face')} in {counted(images, 'image')}</small></h2>\n"
    yield '<div class="faces">\n'
    yield from map(_figure, faces[:_MOST_SHOWN])
    yield "</div>\n"
    if len(faces) > _MOST_SHOWN:
        yield f"<p>and {len(faces) - _MOST_SHOWN:,} more</p>\n"
    yield "</section>\n"


def _figure(face: Sighting) -> str:
    label = html.escape(printable(face.label))
    data = base64.b64encode(face.thumbnail).decode()
    image = f'<img src="data:image/jpeg;base64,{data}" alt="a face in {label}" loading="lazy">'
    return f"<figure>{image}<figcaption><bdi>{label}</bdi></figcaption></figure>\n"


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
