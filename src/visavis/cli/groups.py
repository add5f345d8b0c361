"""Groups of faces: who they are, in words, as JSON Lines, on a page where people name them, and sorted into folders."""

import base64
import filecmp
import hashlib
import html
import io
import json
import re
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TextIO

import numpy as np
import PIL.Image

from visavis.cli.images import STANDARD_INPUT, ImageFile, Portrait
from visavis.cli.outputs import edges
from visavis.cli.terminal import counted, error_to_dict, printable
from visavis.core.geometry import best_overlap, check_box
from visavis.errors import InvalidOption, VisavisError
from visavis.files import rename_new
from visavis.galleries.records import check_subject_id
from visavis.service.photos import PhotoIndex
from visavis.types import Face, UInt8Array

_SIDE = 128
_MOST_SHOWN = 200  # of a section, so that a browser can bear the page
_NAMES_VERSION = 1
_LONGEST_FOLDER = 150  # bytes
# What Windows or a shell would take for something else in a folder's name.
_UNSAFE = re.compile(r'[<>:"/\\|?*]|^[.\-~]|[. ]$|^(?=(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))')
_NUMBER = re.compile(r"-\d+(?=\.[^.]*$|$)")


class Names:
    """Who is on which photo: the names that were typed on a page of groups, by the photo's ID and the face's box."""

    def __init__(self, path: Path) -> None:
        """Read what the page saved; InvalidOption where it is something else, or a name cannot be a subject's ID."""
        self._path, self._named = path, defaultdict[str, list[tuple[str, list[float]]]](list)
        try:
            content = json.loads(path.read_bytes())
            for each in content["faces" if content["visavis_names"] == _NAMES_VERSION else "of another version"]:
                box = check_box(each["box"]).tolist()
                self._named[str(each["photo"])].append((str(each["name"]), box))
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
            raise InvalidOption(f"{path}: these are no names that the page of visavis cluster saved") from None
        for named in self._named.values():
            named[:] = [(check_subject_id(name), box) for name, box in named]

    def of(self, photo: str, face: Face) -> str | None:
        """Return the name of a face of a photo, or None."""
        named = self._named.get(photo, [])
        place = best_overlap(np.array([box for _, box in named], np.float32).reshape(-1, 4), face.box_xyxy)
        return None if place is None else named[place][0]

    def portraits(self, sources: Sequence[ImageFile], photos: PhotoIndex) -> list[Portrait]:
        """Return the faces of photos that have names; InvalidOption where none has."""
        found = [
            Portrait(source, "page", name, box=box)
            for source in sources
            for name, box in self._named.get(photos.id_of(source.image), ())
        ]
        if not found:
            raise InvalidOption(f"{self._path}: none of the photos that have names there is among these")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class GroupedFace:
    """A face on an image."""

    file: str
    label: str  # no more of the file's path than was searched
    face: Face = field(repr=False)
    left_out: str | None = None  # the code of what it lacks to be told apart from others
    thumbnail: bytes = field(default=b"", repr=False)  # a JPEG, where it is wanted
    photo: str = ""  # the ID of the image, whatever it is called; empty where it has none
    name: str | None = None  # whose face somebody said it is


def name_of_group(faces: Sequence[GroupedFace]) -> str | None:
    """Return the name that most of the faces have which have one, or None."""
    names = Counter(face.name for face in faces if face.name is not None)
    return names.most_common(1)[0][0] if names else None


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Faces of one person each, the largest group first; faces in no group or left out; and images that failed."""

    people: Sequence[Sequence[GroupedFace]]
    ungrouped: Sequence[GroupedFace]
    left_out: Sequence[GroupedFace]
    failed: Sequence[tuple[str, VisavisError]]

    def write(self, stream: TextIO, *, as_json: bool) -> None:
        """Write in words or as JSON Lines: a line for each face, and one for each image that failed."""
        stream.writelines(f"{line}\n" for line in (self._json_lines() if as_json else self._text_lines()))

    def _text_lines(self) -> Iterator[str]:
        names = [f", {name}" if (name := name_of_group(faces)) else "" for faces in self.people]
        sections = [(f"group {number}{names[number - 1]}", faces) for number, faces in enumerate(self.people, 1)]
        for title, faces in (*sections, ("ungrouped", self.ungrouped), ("left out", self.left_out)):
            if faces:
                yield f"{title}: {counted(len(faces), 'face')}"
            for each in faces:
                why = f"  {each.left_out}" if each.left_out else ""
                yield f"  {printable(each.file)}  box {edges(each.face)}{why}"
        yield from (f"{printable(file)}: failed, {error.code}" for file, error in self.failed)

    def _json_lines(self) -> Iterator[str]:
        numbered = [
            (number, name_of_group(faces), each) for number, faces in enumerate(self.people, 1) for each in faces
        ]
        for number, name, each in (*numbered, *((None, None, each) for each in (*self.ungrouped, *self.left_out))):
            face = each.face.to_dict()
            about = {member: face[member] for member in ("box_xyxy", "score", "quality")}
            yield json.dumps({"group": number, "name": name, "left_out": each.left_out, "file": each.file, **about})
        yield from (json.dumps({"file": file, "error": error_to_dict(error)}) for file, error in self.failed)


def thumbnail(chip: UInt8Array) -> bytes:
    """Return a small JPEG of an aligned face."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(chip).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def write_contact_sheet(groups: Groups, images: int, stream: TextIO) -> None:
    """Write a page of groups, of so many images, the largest first, where they can be named; then of who is in none."""
    head, tail = files("visavis.cli").joinpath("groups.html").read_text(encoding="utf-8").split("<main></main>")
    script = tail[tail.index("<script>") + len("<script>") : tail.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    faces = sum(map(len, groups.people)) + len(groups.ungrouped) + len(groups.left_out)
    stream.write(head.replace("SCRIPT", f"'sha256-{digest}'"))
    stream.write(f"<main>\n<h1>{counted(len(groups.people), 'group')} of faces</h1>\n")
    stream.write(f"<p>{counted(faces, 'face')} found in {counted(images, 'image')}. ")
    stream.write("Each group is likely one person. Faces are personal data: pass this page on with care.</p>\n")
    for number, people in enumerate(groups.people, 1):
        stream.writelines(_section(f"Group {number}", people, is_group=True))
    stream.writelines(_section("In no group", groups.ungrouped))
    stream.writelines(_section("Too small or too unclear to tell", groups.left_out))
    stream.write(f"</main>{tail}")


def _section(title: str, faces: Sequence[GroupedFace], *, is_group: bool = False) -> Iterator[str]:
    if not faces:
        return
    images = len({face.file for face in faces})
    counts = f"<small>{counted(len(faces), 'face')} in {counted(images, 'image')}</small>"
    if is_group:
        known = [[face.photo, [round(edge) for edge in face.face.box_xyxy.tolist()]] for face in faces]
        name = html.escape(name_of_group(faces) or "")
        yield f'<section data-faces="{html.escape(json.dumps(known))}">\n'
        yield f'<h2>{title} <input value="{name}" placeholder="Name" aria-label="Name of group"> {counts}</h2>\n'
    else:
        yield f"<section>\n<h2>{title} {counts}</h2>\n"
    yield '<div class="faces">\n'
    for face in faces[:_MOST_SHOWN]:
        label = html.escape(printable(face.label))
        data = base64.b64encode(face.thumbnail).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="a face in {label}" loading="lazy">'
        chosen = '<input type="checkbox" checked>' if is_group else ""
        yield f"<figure><label>{image}{chosen}</label><figcaption><bdi>{label}</bdi></figcaption></figure>\n"
    yield "</div>\n"
    if len(faces) > _MOST_SHOWN:
        yield f"<p>and {len(faces) - _MOST_SHOWN:,} more</p>\n"
    yield "</section>\n"


def sort_into(folder: Path, groups: Sequence[Sequence[GroupedFace]], roots: Sequence[Path], *, copies: bool) -> int:
    """Link or copy the images of each group into a folder of its name, and return how many folders these are.

    What is there stays as it is: an image that is there is not put there again, and gets a number where another one
    has its name. Groups without a name have their number, by which another run may call others.

    Raises:
        InvalidOption: the folder lies among the images, holds others of a group without a name, or cannot be written.
    """
    if any(folder.resolve().is_relative_to(root.resolve()) for root in roots):
        raise InvalidOption(f"--sort-into {folder}: it lies among the photos; choose a folder beside them")
    planned: dict[str | int, dict[str, Path]] = {}
    for number, faces in enumerate(groups, 1):
        images = {face.file: Path(face.file) for face in faces if face.file != STANDARD_INPUT}
        planned.setdefault(name_of_group(faces) or number, {}).update(images)
    targets = {key: folder / name for key, name in _folder_names(planned).items()}
    for key, images in planned.items():
        there = {_NUMBER.sub("", each.name) for each in targets[key].iterdir()} if targets[key].is_dir() else set()
        if isinstance(key, int) and there - {_NUMBER.sub("", image.name) for image in images.values()}:
            raise InvalidOption(
                f"--sort-into {folder}: it holds other photos of a group {key}; name the groups, or choose a new folder"
            )
    for key, images in planned.items():
        targets[key].mkdir(parents=True, exist_ok=True)
        for image in images.values():
            _place(image.absolute(), targets[key], copies=copies)
    return len(planned)


def _folder_names(keys: Mapping[str | int, object]) -> dict[str | int, str]:
    """Return a name for each folder that any file system takes, and that differs from the others in more than case."""
    names: dict[str | int, str] = {}
    for key in keys:
        plain = f"group {key}" if isinstance(key, int) else _UNSAFE.sub("_", key)
        plain = plain.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
        taken = {name.casefold() for name in names.values()}
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
        names[key] = next(name for name in numbered if name.casefold() not in taken)
    return names


def _place(image: Path, folder: Path, *, copies: bool) -> None:
    """Link or copy an image into a folder, unless it is there, and never over another file; it appears whole."""
    for number in count(1):
        target = folder / (image.name if number == 1 else f"{image.stem}-{number}{image.suffix}")
        with suppress(OSError):
            if target.samefile(image) or (copies and filecmp.cmp(image, target, shallow=False)):
                return
        part = folder / f".visavis-{secrets.token_hex(8)}.partial"
        try:
            if copies:
                shutil.copy2(image, part)
                rename_new(part, target)
            else:
                target.symlink_to(image)
        except FileExistsError:
            continue
        except OSError as error:
            how = "" if copies else "; --copy copies photos in place of linking them"
            raise InvalidOption(f"{target} cannot be made ({error.strerror}){how}") from error
        finally:
            part.unlink(missing_ok=True)
        return
