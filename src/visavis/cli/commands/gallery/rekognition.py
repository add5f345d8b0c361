"""Import of a collection of AWS Rekognition: whose its faces are, by boto3, and the faces themselves from own images.

AWS tells nobody the vectors of a collection, and they would be of another space: each face is made anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visavis.cli.images import find_sources
from visavis.cli.lazy import enroller, geometry, np, stores
from visavis.cli.terminal import counted, progress_bar, say
from visavis.errors import DriverMissing, ImageNotFound, InvalidOption, NoFace, ServerUnreachable, VisavisError
from visavis.files import IMAGE_SUFFIXES
from visavis.options import Policy

if TYPE_CHECKING:
    from visavis import Enrolment, Galleries, OpenGallery
    from visavis.cli.stores import Enrolments

PREFIX = "rekognition:"
"""What stands before the name of a collection in the place of a file."""
_log = logging.getLogger("visavis.cli")


def import_collection(galleries: Galleries, name: str, collection: str, images: Path | None) -> Enrolments:
    """Enrol the faces of a collection from images that are called as their ExternalImageId says.

    Raises:
        DriverMissing: boto3 is not installed.
        InvalidOption: there is no such collection, AWS refuses to tell, or no folder of images is given.
        ServerUnreachable: it does not answer.
    """
    faces = list(_listed(collection))
    if images is None:
        raise InvalidOption(
            f"the collection {collection} has {counted(len(faces), 'face')}, and AWS tells nobody their vectors: name "
            "the folder of your own images, which are called as the ExternalImageId of their faces: --images FOLDER"
        )
    files = {key: path for path in _files(images) for key in (path.stem, path.name)}
    gallery, counts = stores.make_gallery(galleries, name, Policy()), stores.Enrolments()
    with counts.staying(), progress_bar(len(faces), "importing faces", unless=False) as advance:
        for image, some in groupby(sorted(faces, key=_image_of), key=_image_of):
            known = list(some)
            for face, outcome in zip(known, _enrolled(gallery, known, files.get(image)), strict=True):
                if isinstance(outcome, VisavisError):
                    say(f"visavis: face {face['FaceId']} ({image or 'without ExternalImageId'}): {outcome}")
                    counts.count(None, repeated=False, code=outcome.code)
                else:
                    counts.count(outcome.subject.id, repeated=outcome.repeated, code=None)
                advance()
    return counts


def _listed(collection: str) -> Iterator[dict[str, Any]]:
    try:
        import boto3  # noqa: PLC0415  # the rest does without it
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # likewise
    except ImportError:
        raise DriverMissing('boto3 is needed for this: pip install "visavis[rekognition]"') from None
    try:
        pages = boto3.client("rekognition").get_paginator("list_faces").paginate(CollectionId=collection)
        for page in pages:
            yield from page["Faces"]
    except ClientError as error:
        raise InvalidOption(f"collection {collection}: {error}") from None
    except BotoCoreError as error:
        raise ServerUnreachable(f"collection {collection}: {error}") from None


def _files(images: Path) -> Iterable[Path]:
    return (Path(source.name) for source in find_sources([str(images)], 0))


def _image_of(face: Mapping[str, Any]) -> str:
    return str(face.get("ExternalImageId", ""))


def _enrolled(gallery: OpenGallery, faces: list[dict[str, Any]], file: Path | None) -> Iterator[Any]:
    """Return what became of the faces of one image, in order."""
    try:
        if file is None:
            raise ImageNotFound("no image is called so")
        found = gallery.observe(file)
        boxes = np.array([seen.face.box_xyxy for seen in found], np.float32).reshape(-1, 4)
        chosen = [geometry.best_overlap(boxes, _pixels(face, found.size_wh)) if len(boxes) else None for face in faces]
    except VisavisError as error:
        yield from [error] * len(faces)
        return
    wanted = [
        NoFace("no face found where the collection has one") if place is None else _enrolment(face, found[place], file)
        for face, place in zip(faces, chosen, strict=True)
    ]
    yield from gallery.enrol_many(wanted, allow_conflict=True)


def _pixels(face: Mapping[str, Any], size_wh: tuple[int, int]) -> Any:  # noqa: ANN401  # an array (4,)
    left, top, width, height = (face["BoundingBox"][name] for name in ("Left", "Top", "Width", "Height"))
    return np.array([left, top, left + width, top + height], np.float32) * np.tile(size_wh, 2).astype(np.float32)


def _enrolment(face: Mapping[str, Any], seen: Any, file: Path) -> Enrolment:  # noqa: ANN401  # an Observed
    box = [face["BoundingBox"][name] for name in ("Left", "Top", "Width", "Height")]
    image = _image_of(face)
    named = Path(image)
    return enroller.Enrolment(
        subject=face.get("UserId") or (named.stem if named.suffix.lower() in IMAGE_SUFFIXES else image),
        seen=seen,
        picture=file.read_bytes(),
        source=file.name,
        key=hashlib.sha256(f"rekognition {face['FaceId']}".encode()).hexdigest(),
        sample_metadata={"image_id": face["ImageId"], "external_id": image, "box": box},
    )
