"""Sidecar files: XMP that other programs read, and what these wrote before, which stays."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from visavis import ImageLimits
from visavis.cli.images import ImageFile
from visavis.cli.sidecars import with_names, writer
from visavis.errors import InvalidOption
from visavis.types import FloatArray

LIMIT_S = 30
SIZE_WH = (400, 200)
ADA: FloatArray = np.array([0.25, 0.25, 0.5, 0.75], np.float32)
AREA = {"X": 0.375, "Y": 0.5, "W": 0.25, "H": 0.5, "Unit": "normalized"}
ODD_NAME = "Ada \"<&'> Lovelace 人 جو \U0001f600 ]]>"
NAMESPACES = """xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
  xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:digiKam="http://www.digikam.org/ns/1.0/\""""
SUBJECTS = "<dc:subject><rdf:Bag><rdf:li>beach</rdf:li><rdf:li>f&#xea;te</rdf:li></rdf:Bag></dc:subject>"
BOX = 'stArea:x="0.38" stArea:y="0.48" stArea:w="0.2" stArea:h="0.5" stArea:unit="normalized"'


def sidecar(regions: str = "", wrapped: bool = True) -> bytes:  # noqa: FBT001, FBT002  # of the tests' tables
    """Return what another program may have written: ratings, keywords, odd blanks, a comment."""
    rdf = f"""<rdf:RDF {NAMESPACES}>\r\n<!-- kept -->
 <rdf:Description rdf:about='' xmp:Rating="4" digiKam:ColorLabel="3" dc:source="two&#10;lines">{SUBJECTS}{regions}
 </rdf:Description></rdf:RDF>"""
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'
    return f'<?xpacket begin="\ufeff" id="W5M0"?>{packet}<?xpacket end="w"?>'.encode() if wrapped else rdf.encode()


def listed(items: str, kind: str = "Bag") -> str:
    return (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="400" stDim:h="200" '
        f'stDim:unit="pixel"/><mwg-rs:RegionList><rdf:{kind}>{items}</rdf:{kind}></mwg-rs:RegionList></mwg-rs:Regions>'
    )


def described(name: str) -> str:
    """A region as Lightroom writes it."""
    return f'<rdf:li><rdf:Description {name} mwg-rs:Type="Face"><mwg-rs:Area {BOX}/></rdf:Description></rdf:li>'


def resource(name: str) -> str:
    """A region as digiKam and exiv2 write it."""
    return f'<rdf:li rdf:parseType="Resource">{name}<mwg-rs:Type>Face</mwg-rs:Type><mwg-rs:Area {BOX}/></rdf:li>'


def as_exiftool(data: bytes, folder: Path) -> list[tuple[str | None, object]]:
    """Return names and areas as exiftool reads them, and insist on what else the sidecar held."""
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not here")
    path = folder / "read.xmp"
    path.write_bytes(data)
    told = subprocess.run(
        ["exiftool", "-struct", "-json", "-charset", "utf8", "-a", str(path)],  # noqa: S607  # wherever it is
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )
    (about,) = json.loads(told.stdout)
    if b"xmp:Rating" in data:
        assert (about["Rating"], about["ColorLabel"], about["Subject"]) == (4, 3, ["beach", "fête"])
        assert about["Source"] == "two\nlines"
    return [(region.get("Name"), region["Area"]) for region in about.get("RegionInfo", {}).get("RegionList", [])]


def names_in(data: bytes) -> list[str]:
    """Return the names as another parser reads them, whatever their form."""
    name = "{http://www.metadataworkinggroup.com/schemas/regions/}Name"
    elements = ET.fromstring(data).iter()  # noqa: S314  # our own
    return [text for one in elements if (text := one.get(name) or (one.text if one.tag == name else None))]


@pytest.mark.parametrize(
    "before",
    [
        sidecar(),
        sidecar(wrapped=False),
        sidecar(listed("")),
        sidecar(listed("", "Seq")),
        sidecar(listed("").replace("<rdf:Bag></rdf:Bag>", "<rdf:Bag/>")),
        sidecar(listed(resource("<mwg-rs:Name>Bob</mwg-rs:Name>").replace("0.38", "0.9"))),
        sidecar(listed(resource("").replace("Face", "Focus"))),
        sidecar(listed(resource("<mwg-rs:Name>Zoe</mwg-rs:Name>").replace("0.48", "1e999"))),
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" />',
    ],
)
def test_a_face_is_added_and_all_else_stays(before: bytes, tmp_path: Path) -> None:
    after, others = with_names(before, [(ODD_NAME, ADA)], SIZE_WH)
    assert others == []
    assert ODD_NAME in names_in(after)
    assert with_names(after, [(ODD_NAME, ADA)], SIZE_WH) == (after, [])
    if b"/>" not in before[-40:] and b"<rdf:Bag/>" not in before:
        start = next(at for at, (one, two) in enumerate(zip(before, after, strict=False)) if one != two)
        assert after.endswith(before[start:])
    found = dict(as_exiftool(after, tmp_path))
    assert found[ODD_NAME] == AREA
    assert len(found) == len(as_exiftool(before, tmp_path)) + 1


@pytest.mark.parametrize(
    ("region", "names"),
    [
        (resource("<mwg-rs:Name>Bob</mwg-rs:Name>"), ["Bob"]),
        (described('mwg-rs:Name="Bob"'), ["Bob"]),
        (resource(""), ["Ada"]),
        (described(""), ["Ada"]),
        (resource("<mwg-rs:Name/>"), ["Ada"]),
        (resource("<mwg-rs:Name></mwg-rs:Name>"), ["Ada"]),
        (described('mwg-rs:Name=""'), []),  # for which there is no place
        (
            described("").replace(f"<mwg-rs:Area {BOX}/>", f"<mwg-rs:Area><rdf:Description {BOX}/></mwg-rs:Area>"),
            ["Ada"],
        ),
        (resource("<mwg-rs:Extensions><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag></mwg-rs:Extensions>"), ["Ada"]),
    ],
)
def test_a_region_that_is_there_keeps_its_name_or_gets_one(region: str, names: list[str], tmp_path: Path) -> None:
    before = sidecar(listed(region))
    after, others = with_names(before, [("Ada", ADA), ("Eve", ADA)], SIZE_WH)
    assert names_in(after) == names
    assert (after == before) is (names != ["Ada"])
    assert others == [f"{names[0]}, where {name} was found" for name in ("Ada", "Eve") if names and name != names[0]]
    ((name, _),) = as_exiftool(after, tmp_path)
    assert (name or "") == "".join(names)


LAUGHS = b'<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (b"", "no XML"),
        (b"a photo", "no XML"),
        (sidecar()[:-60], "no XML"),
        (b"<a/>", "no XMP"),
        (sidecar("<mwg-rs:Regions/>"), "regions in a form"),
        (LAUGHS + sidecar(wrapped=False), "declares a type of document"),
        (sidecar(wrapped=False).decode().encode("utf-16"), "no XML in UTF-8"),
        (b"<a>" * 101, "within each other"),
        (sidecar(wrapped=False).replace(b"beach", b"\xff"), "no XML"),
    ],
)
def test_what_cannot_be_added_to(before: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_names(before, [("Ada", ADA)], SIZE_WH)


def test_two_images_share_no_sidecar() -> None:
    sources = [ImageFile(name, Path(Path(name).name), name) for name in ("a/x.jpg", "a/x.png", "b.HEIC", "a/x.jpg")]
    limits, counts = ImageLimits(), Counter[str]()
    writer(sources, "digikam", limits, counts)
    writer(sources[2:], "lightroom", limits, counts)
    with pytest.raises(InvalidOption, match=r"two images would share a/x\.xmp"):
        writer(sources, "lightroom", limits, counts)
    with pytest.raises(InvalidOption, match="standard input"):
        writer([ImageFile("-", Path("stdin"), "-")], "digikam", limits, counts)
