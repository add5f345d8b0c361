"""Sidecar files: the names and places of faces on photos, in XMP as the Metadata Working Group has them.

Source: Metadata Working Group, "Guidelines for Handling Image Metadata", 2.0, 5.9: areas are those of the stored image,
which a reader turns as EXIF says, with the image. What a sidecar holds already stays, byte by byte.
"""

import math
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from visavis.cli.images import STANDARD_INPUT, ImageFile
from visavis.cli.terminal import say
from visavis.core.geometry import best_overlap
from visavis.core.image import ImageLimits, read_image, upright_wh
from visavis.errors import InvalidOption, VisavisError
from visavis.files import replacing
from visavis.service.results import Identification
from visavis.types import Faces, FloatArray, SizeWH

_Outcome: TypeAlias = Faces[Identification] | VisavisError

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
_LIST, _NAME, _ABOUT = f"{_REGIONS} RegionList", f"{_REGIONS} Name", f"{_RDF} Description"
_AREA = "http://ns.adobe.com/xmp/sType/Area#"
_DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_MOST_BYTES = 10_000_000
_DEEPEST = 100  # elements within each other
_EMPTY_TAG = re.compile(rb"""<([^\s/>"']+)(?:[^"'>/]|"[^"]*"|'[^']*')*/>""")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NEW_FILE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="visavis"><rdf:RDF xmlns:rdf="{_RDF}">
</rdf:RDF></x:xmpmeta>
""".encode()
# As Lightroom writes them.
_NEW_LIST = f"""<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" xmlns:mwg-rs="{_REGIONS}" xmlns:stDim="{_DIMENSIONS}">
 <mwg-rs:Regions rdf:parseType="Resource">
  <mwg-rs:AppliedToDimensions stDim:w="{{0}}" stDim:h="{{1}}" stDim:unit="pixel"/>
  <mwg-rs:RegionList><rdf:Bag>{{items}}</rdf:Bag></mwg-rs:RegionList>
 </mwg-rs:Regions></rdf:Description>
"""
_NEW_ITEM = f"""<rdf:li xmlns:rdf="{_RDF}" xmlns:mwg-rs="{_REGIONS}" xmlns:stArea="{_AREA}">
   <rdf:Description mwg-rs:Name={{name}} mwg-rs:Type="Face"><mwg-rs:Area stArea:x="{{0:.6f}}" stArea:y="{{1:.6f}}"
    stArea:w="{{2:.6f}}" stArea:h="{{3:.6f}}" stArea:unit="normalized"/></rdf:Description></rdf:li>
"""
_NEW_NAME = f"""<mwg-rs:Name xmlns:mwg-rs="{_REGIONS}">{{name}}</mwg-rs:Name>"""


@dataclass(slots=True)
class _Region:
    """A region that a sidecar holds."""

    values: dict[str, str] = field(default_factory=dict)  # by namespace and name
    end: int = 0  # where more may be said of it
    name_end: int = 0  # where its name may be written, if there is an element for it

    @property
    def name(self) -> str:
        """Who it is; empty where nobody says."""
        return self.values.get(_NAME, "").strip()

    @property
    def box(self) -> list[float]:
        """Left, top, right and bottom, as parts of the image; nowhere where it is no face, or of another unit."""
        try:
            x, y, w, h = (float(self.values[f"{_AREA} {side}"]) for side in "xywh")
        except (KeyError, ValueError):
            return [0, 0, 0, 0]
        known = self.values.get(f"{_REGIONS} Type", "Face") == "Face" and all(map(math.isfinite, (x, y, w, h)))
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2] if known else [0, 0, 0, 0]


class _Reader:
    """What a sidecar holds of regions, and where more of them go."""

    def __init__(self, data: bytes) -> None:
        """Read XMP; ValueError where it is none."""
        self.regions: list[_Region] = []
        self.end = -1  # of the list of regions, or of all where there is none
        self.has_list = False
        self._has_regions = False
        self._path: list[str] = []  # the elements that are open
        self._starts: list[int] = []  # and where they begin
        self._data = data
        self._text = ""  # of the element that was begun last
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._finish
        self._parser.CharacterDataHandler = self._add
        self._parser.StartDoctypeDeclHandler = self._refuse
        if b"\0" in data:
            raise ValueError("it is no XML in UTF-8")  # in which it is added to
        try:
            self._parser.Parse(data, True)  # noqa: FBT003  # it is all
        except expat.ExpatError as error:
            raise ValueError(f"it is no XML: {error}") from None
        if self.end < 0 or (self._has_regions and not self.has_list):
            raise ValueError("it is no XMP, or has regions in a form that is not known here")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._path.append(name)
        self._starts.append(self._parser.CurrentByteIndex)
        self._text = ""
        if len(self._path) > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} elements lie within each other")
        self._has_regions = self._has_regions or name == f"{_REGIONS} Regions"
        if self._path[-3::2] == [_LIST, f"{_RDF} li"]:
            self.regions.append(_Region())
        if self.regions and _LIST in self._path:
            self.regions[-1].values.update(attributes)

    def _add(self, text: str) -> None:
        self._text += text if _LIST in self._path else ""

    def _finish(self, name: str) -> None:
        self._path.pop()
        start = self._starts.pop()
        at = start if _EMPTY_TAG.match(self._data, start) else self._parser.CurrentByteIndex
        if self._path[-1:] == [_LIST] or (name == f"{_RDF} RDF" and not self.has_list):
            self.end, self.has_list = at, self._path[-1:] == [_LIST]
        if self.regions and _LIST in self._path:
            region = self.regions[-1]
            region.values.setdefault(name, self._text)
            if name == _NAME:
                region.name_end = at
            # The region is the item of the list itself, or what it describes.
            if not region.end and (self._path[-2:-1] == [_LIST] or (self._path[-3:-2] == [_LIST] and name == _ABOUT)):
                region.end = at

    def _refuse(self, *_declared: object) -> None:
        raise ValueError("it declares a type of document, which XMP does not")


def with_names(data: bytes, faces: Sequence[tuple[str, FloatArray]], size_wh: SizeWH) -> tuple[bytes, list[str]]:
    """Return a sidecar with regions for faces: their names, and their boxes (4,) as parts of the image.

    A region that is there already for a face keeps its name, or gets it where it has none. Second are the names that
    are there in place of others.

    Raises:
        ValueError: it is no XMP that can be added to.
    """
    reader = _Reader(data)
    boxes = np.array([region.box for region in reader.regions], np.float32).reshape(-1, 4)
    added: list[tuple[int, str]] = []
    items, others = "", []
    for name, box in faces:
        text, place = _NOT_XML.sub("\ufffd", name), best_overlap(boxes, box)
        if place is None:
            items += _NEW_ITEM.format(*(box[:2] + box[2:]) / 2, *box[2:] - box[:2], name=quoteattr(text))
        elif (known := reader.regions[place]).name:
            others += [f"{known.name}, where {name} was found"] if known.name != name else []
        elif known.name_end or _NAME not in known.values:
            form = "{name}" if known.name_end else _NEW_NAME
            added.append((known.name_end or known.end, form.format(name=escape(text))))
            known.values[_NAME] = name
    if items:
        added.append((reader.end, items if reader.has_list else _NEW_LIST.format(*size_wh, items=items)))
    for at, text in sorted(added, reverse=True):
        data = _inserted(data, at, text.encode("ascii", "xmlcharrefreplace"))
    _Reader(data)
    return data, others


def _inserted(data: bytes, at: int, content: bytes) -> bytes:
    """Return XML with a content before the end tag there, or within the empty element there."""
    empty = _EMPTY_TAG.match(data, at)
    if not empty:
        return data[:at] + content + data[at:]
    return data[:at] + empty[0][:-2] + b">" + content + b"</" + empty[1] + b">" + data[empty.end() :]


def writer(
    sources: Sequence[ImageFile], naming: Literal["digikam", "lightroom"], limits: ImageLimits, counts: Counter[str]
) -> Callable[[Iterable[_Outcome]], Iterator[_Outcome]]:
    """Return what writes who surely is on each image into its sidecar, as outcomes come, and hands these on.

    What goes wrong with a sidecar is said, and counted as failed; it stays as it was.

    Raises:
        InvalidOption: two images would share a sidecar, or one is no file.
    """
    paths: dict[str, Path] = {}
    for source in sources:
        if source.name == STANDARD_INPUT:
            raise InvalidOption("--xmp: an image from standard input has no file beside it")
        path = Path(source.name)
        paths[source.name] = path.with_name(path.name + ".xmp") if naming == "digikam" else path.with_suffix(".xmp")
    if shared := [path for path, count in Counter(paths.values()).items() if count > 1]:
        raise InvalidOption(f"--xmp: two images would share {shared[0]}; --xmp-naming digikam tells them apart")

    def write(outcomes: Iterable[_Outcome]) -> Iterator[_Outcome]:
        for source, outcome in zip(sources, outcomes, strict=True):
            found = () if isinstance(outcome, VisavisError) else outcome
            sure = [each for each in found if each.match and each.face and not each.uncertain]
            try:
                if sure:
                    _write(source, paths[source.name], sure, limits)
            except (OSError, ValueError, VisavisError) as error:
                what = getattr(error, "strerror", None) or error
                say(f"visavis: {paths[source.name]}: {what}; it stays as it is")
                counts["failed"] += 1
            yield outcome

    return write


def _write(source: ImageFile, path: Path, sure: Sequence[Identification], limits: ImageLimits) -> None:
    picture = read_image(source.image, limits=limits, reduction=lambda _size_wh: 8.0)  # of which only the size counts
    size_wh = upright_wh(picture.size_wh, picture.orientation)
    faces = [
        (each.match.name or each.match.subject, _part(picture.stored(each.face.box_xyxy.reshape(2, 2)), size_wh))
        for each in sure
        if each.match and each.face
    ]
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    if mode is not None and path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    before = _NEW_FILE if mode is None else path.read_bytes()
    after, others = with_names(before, faces, size_wh)
    for other in others:
        say(f"visavis: {path}: names {other}; that stays")
    if after != before:
        with replacing(path) as file:
            file.write(after)
        if mode is not None:
            path.chmod(mode)


def _part(corners: FloatArray, size_wh: SizeWH) -> FloatArray:
    """Return the box (4,) between two corners (2, 2), centres of pixels, as parts of an image."""
    parts = np.clip((corners + np.float32(0.5)) / np.array(size_wh, np.float32), 0, 1)
    box: FloatArray = np.concatenate([parts.min(axis=0), parts.max(axis=0)]).astype(np.float32)
    return box
