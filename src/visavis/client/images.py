"""From whatever counts as an image to what is sent: the bytes of a file, or a URL that the server fetches."""

import io
import os
import re
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import PIL.Image

from visavis.core.image import name_of, read_image
from visavis.errors import ImageNotFound, ImageUnreadable, InputError, InvalidImage
from visavis.types import ImageSource

_LONGEST_URL = 2048
_FAST = 1  # of PNG's levels: the others take several times as long for a few percent


@dataclass(frozen=True, slots=True)
class Upload:
    """An encoded image; messages call it by its name."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that the server fetches; messages leave out its query, which may be nobody's business."""

    name: str
    url: str


def load(source: ImageSource) -> Upload | Link | InputError:
    """Return what is sent for an image, or why there is nothing to send.

    Args:
        source: as in the library, or a string that begins with http:// or https://. Files and encoded bytes are sent as
            they are; arrays and Pillow images as PNG, upright and in RGB.
    """
    try:
        if isinstance(source, str) and re.match("https?://", source, re.IGNORECASE):
            return _link(source)
        if isinstance(source, np.ndarray | PIL.Image.Image):
            return Upload(name_of(source), _png(source))
        return Upload(name_of(source), _encoded(source))
    except InputError as error:
        return error


def _link(url: str) -> Link:
    if len(url) > _LONGEST_URL:
        raise InvalidImage(f"a URL of {len(url):,} characters; the longest has {_LONGEST_URL:,}")
    return Link(re.split("[?#]", url, maxsplit=1)[0], url)


def _png(source: "np.ndarray[Any, Any] | PIL.Image.Image") -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(read_image(source).pixels).save(buffer, "PNG", compress_level=_FAST)
    return buffer.getvalue()


def _encoded(source: object) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return _file_content(os.fsdecode(source))
    if hasattr(source, "read"):
        return _stream_content(cast("IO[bytes]", source))
    raise InvalidImage(
        f"an image is a path, a URL, encoded bytes, a binary file, a Pillow image or an array, "
        f"not {type(source).__name__}"
    )


def _file_content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- Path("") is the current folder
            return file.read()
    except FileNotFoundError as error:
        raise ImageNotFound(f"{name_of(path)}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ImageUnreadable(f"{name_of(path)}: {getattr(error, 'strerror', None) or error}") from error


def _stream_content(stream: IO[bytes]) -> bytes:
    try:
        data: object = stream.read()
    except Exception as error:  # anything: the stream may be of the caller's own making
        raise ImageUnreadable(f"{name_of(stream)}: cannot be read: {error}") from error
    if not isinstance(data, bytes | bytearray):
        raise InvalidImage(f"{name_of(stream)}: read() gave {type(data).__name__}, not bytes; open it in mode 'rb'")
    return bytes(data)
