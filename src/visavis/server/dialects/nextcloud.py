"""Routes of the external model of Nextcloud's app Face Recognition, whose networks are those of the pack dlib.

Source: matiasdelellis/facerecognition-external-model, ``app/server.py``; and the app's ``ExternalModel.php``, which
reads no status but that of ``/open``.
"""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator
from starlette.responses import JSONResponse, PlainTextResponse, Response

from visavis.config import Settings
from visavis.core.geometry import best_overlap, check_box
from visavis.core.image import Picture, read_image
from visavis.errors import InvalidOption, NoFace
from visavis.models.catalogue import DLIB, DLIB_COSINE
from visavis.models.recognizer import Recognizer
from visavis.server.auth import require
from visavis.server.dialects import plain_status, vector_of
from visavis.server.openapi import about
from visavis.server.pool import Answer, InUse, in_worker
from visavis.server.problems import Problem
from visavis.server.reading import FormRequest, Image, read_json
from visavis.types import Face

PATHS = ("/detect", "/compute", "/open", "/health", "/welcome")
_PACKS = {pack.name for pack in (DLIB, DLIB_COSINE)}
_MOST_PIXELS = 3840 * 2160  # as there: Nextcloud makes larger images smaller
_MODEL, _VERSION = 4, "1.0.0"  # that clients know
_EDGES = ("left", "top", "right", "bottom")
_TOO_LARGE = 412


def check_settings(settings: Settings) -> None:
    """Refuse a pack whose embeddings are none of dlib's: those that Nextcloud has would be compared with them."""
    if settings.pack not in _PACKS:
        raise InvalidOption(
            f"dialects: nextcloud needs embeddings of dlib's network, and the pack {settings.pack} makes others; serve "
            f"with VISAVIS_PACK={DLIB.name}"
        )


def answer(_request: Request, problem: Problem) -> Response:
    """Return what tells a problem."""
    status = _TOO_LARGE if problem.code == "image_too_large" else plain_status(problem)
    return JSONResponse({"error": problem.detail}, status, headers=dict(problem.headers))


def _known_face(text: object) -> dict[str, Any]:
    """Return a face as ``/detect`` told it."""
    value = read_json(str(text).encode(), "the face")
    try:
        check_box([value[edge] for edge in _EDGES])
    except (InvalidOption, KeyError, TypeError):
        raise ValueError(f"must be a JSON object with the numbers {', '.join(_EDGES)}") from None
    found: dict[str, Any] = value
    return found


class FileForm(FormRequest):
    """An image in which to find faces."""

    file: Image


class FaceForm(FileForm):
    """An image, and a face of it as `/detect` told it, in JSON."""

    face: Annotated[Any, AfterValidator(_known_face)]


router = APIRouter(tags=["Nextcloud"])
_READ = about([Depends(require("read"))])


@router.get("/open", **_READ)
async def open_model(request: Request) -> dict[str, object]:
    """Say which images are wanted."""
    most = min(_MOST_PIXELS, request.app.state.settings.max_pixels)
    return {"preferred_mimetype": "image/jpeg", "maximum_area": most}


@router.post("/detect", **_READ)
@in_worker
def detect(recognizer: InUse, wanted: FileForm) -> Answer[dict[str, Any]]:
    """Find the faces of an image, each with landmarks and dlib's embedding."""
    faces = [_told(face) for face in recognizer.embed(_picture(recognizer, wanted.file).pixels)]
    told = {"filename": wanted.file.name, "faces-count": len(faces), "faces": faces}
    return Answer(told, {"images": 1, "faces": len(faces)})


@router.post("/compute", **_READ)
@in_worker
def compute(recognizer: InUse, wanted: FaceForm) -> Answer[dict[str, Any]]:
    """Find the landmarks and dlib's embedding of the face that overlaps a box most."""
    faces = recognizer.embed(_picture(recognizer, wanted.file).pixels)
    boxes = np.array([face.box_xyxy for face in faces], np.float32).reshape(-1, 4)
    place = best_overlap(boxes, check_box([wanted.face[edge] for edge in _EDGES]))
    if place is None:
        raise NoFace("no face found in this box")
    seen = _told(faces[place])
    face = {**wanted.face, "landmarks": seen["landmarks"], "descriptor": seen["descriptor"]}
    return Answer({"filename": wanted.file.name, "face": face}, {"images": 1, "faces": 1})


@router.get("/health", response_class=PlainTextResponse)
async def health() -> str:
    """Say that the server is there."""
    return "ok"


@router.get("/welcome")
async def welcome() -> dict[str, object]:
    """Say what the server is."""
    return {"facerecognition-external-model": "welcome", "version": _VERSION, "model": _MODEL}


def _picture(recognizer: Recognizer, image: Image) -> Picture:
    most = min(_MOST_PIXELS, recognizer.limits.max_pixels)
    return read_image(image.load(), limits=replace(recognizer.limits, max_pixels=most))


def _told(face: Face) -> dict[str, Any]:
    edges = dict(zip(_EDGES, map(int, np.rint(face.box_xyxy)), strict=True))
    landmarks = [{"x": int(x), "y": int(y)} for x, y in np.rint(face.landmarks)]
    return {"detection_confidence": face.score, **edges, "landmarks": landmarks, "descriptor": vector_of(face).tolist()}
