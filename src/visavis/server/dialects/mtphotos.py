"""Routes of MT-Photos' face API, to which it sends photos for embeddings.

Source: MT-Photos/mt-photos-deepface, ``server.py``.
"""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from visavis.server.auth import admit
from visavis.server.dialects import confidence, facial_area, route_where, vector_of
from visavis.server.openapi import about
from visavis.server.pool import Answer, InUse, in_worker
from visavis.server.problems import Problem
from visavis.server.reading import FormRequest, Image

PATHS = ("/represent", "/check", "/restart")
_OF_IMAGES = ("image_corrupt", "unsupported_format", "invalid_image", "image_too_large", "too_much_work")
_PASS = {"result": "pass"}


def speaks(scope: Scope) -> bool:
    """Tell whether a request is of MT-Photos, which sends the header ``api-key``: DeepFace has ``/represent``, too."""
    return any(name == b"api-key" for name, _ in scope["headers"])


def answer(_request: Request, problem: Problem) -> Response:
    """Return what tells a problem: of an image that cannot be used, that it has no faces, and why."""
    if problem.code in _OF_IMAGES:
        return JSONResponse({"result": [], "msg": problem.detail})
    detail = "Invalid API key" if problem.code == "unauthorized" else problem.detail
    return JSONResponse({"detail": detail}, problem.status, headers=dict(problem.headers))


async def _check_key(request: Request) -> None:
    admit(request, "read", [key for key in request.headers.getlist("api-key") if key])


class PhotoForm(FormRequest):
    """An image in which to find faces."""

    file: Image


router = APIRouter(tags=["MT-Photos"], route_class=route_where(speaks))
_GUARDED = about([Depends(_check_key)])


@router.post("/represent", **_GUARDED)
@in_worker
def represent_photo(recognizer: InUse, wanted: PhotoForm) -> Answer[dict[str, Any]]:
    """Find the faces of an image, each with its embedding."""
    pack = recognizer.pack
    faces = recognizer.embed(wanted.file.load())
    told = [
        {
            "embedding": vector_of(face).tolist(),
            "facial_area": facial_area(pack, face),
            "face_confidence": confidence(face),
        }
        for face in faces
    ]
    models = {"detector_backend": pack.part("detector").head, "recognition_model": pack.name}
    return Answer({**models, "result": told} if told else {"result": []}, {"images": 1, "faces": len(faces)})


@router.post("/check", **_GUARDED)
@router.post("/restart", **_GUARDED)
async def check() -> dict[str, str]:
    """Say that the key is right; nothing has to be restarted here."""
    return _PASS
