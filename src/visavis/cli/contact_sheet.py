"""A page that shows groups of faces. It needs nothing but itself: no server, no script, no network."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from typing import TextIO

import PIL.Image

from visavis.cli.groups import Groups, Sighting
from visavis.cli.messages import printable
from visavis.cli.tally import counted
from visavis.types import UInt8Array

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
