"""Dialects, which other services' clients speak: each is a module here, and is switched on by its name.

A dialect is a translation of its protocol's routes into calls of the library, which have the keys, scopes, limits and
workers of the native routes. Its module has

* ``router``: its routes, with tags of its own; each has a docstring. Their keys come as the protocol has it: see
  ``auth.admit``.
* ``PATHS``: the paths, with what is below them, that are its own; what goes wrong there, be there a route or not, is
  told by
* ``answer(request, problem)``, which returns the response that its clients expect of a ``Problem``;
* ``speaks(scope)``, where another dialect may have the same paths: whether a request is its own; see ``route_where``;
* ``check_settings(settings)``, where it needs settings: it raises an ``InvalidOption``.

The two old services, in ``seeds``, are always there, and their problems are the native ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any
from uuid import UUID

import cv2
import numpy as np
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from visavis.config import Settings
from visavis.core.image import read_image
from visavis.errors import InvalidOption
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer
from visavis.server.keys import KeyRecord
from visavis.server.problems import Problem
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.types import Face, FloatArray, ImageSource

_ALWAYS = "seeds"
NAMES = tuple(sorted(each.name for each in iter_modules(__path__) if each.name != _ALWAYS))
"""Of those that settings may switch on."""


def chosen(settings: Settings) -> tuple[ModuleType, ...]:
    """Return the modules of the dialects that settings switch on, and last, that of the old services.

    Raises:
        InvalidOption: there is no such dialect, or it needs other settings.
    """
    if unknown := sorted(set(settings.dialects) - set(NAMES)):
        expected = ", ".join(NAMES) or "none"
        raise InvalidOption(f"dialects: there is no {', '.join(unknown)}; expected of these: {expected}")
    modules = tuple(import_module(f"{__name__}.{name}") for name in (*dict.fromkeys(settings.dialects), _ALWAYS))
    for module in modules:
        getattr(module, "check_settings", lambda _: None)(settings)
    return modules


def answer(modules: Sequence[ModuleType], request: Request, problem: Problem) -> Response:
    """Return what tells a problem, as the dialect has it that the path belongs to."""
    for module in (each for each in modules if getattr(each, "speaks", lambda _: True)(request.scope)):
        for path in getattr(module, "PATHS", ()):
            if f"{request.url.path}/".startswith(f"{path.rstrip('/')}/"):
                response: Response = module.answer(request, problem)
                return response
    return problem.to_response()


def opened(galleries: Galleries, name: str, key: KeyRecord | None) -> OpenGallery:
    """Return a gallery, made where there is none and the key may make some; ``GalleryNotFound`` where it may not."""
    return (galleries.get_or_create if key is None or key.allows("admin") else galleries.open)(name)


def whole_face(recognizer: Recognizer, image: ImageSource) -> Face:
    """Return an image that is a face already, cut out by somebody, as that face, with its embedding and quality."""
    side = recognizer.pack.template.side
    picture = read_image(image, limits=recognizer.limits)
    face = recognizer.face_of(cv2.resize(picture.pixels, (side, side), interpolation=cv2.INTER_AREA))
    factors = (np.array(picture.size_wh) / side).astype(np.float32)
    return replace(face, box_xyxy=face.box_xyxy * np.tile(factors, 2), landmarks=face.landmarks * factors)


def route_where(speaks: Callable[[Scope], bool]) -> type[APIRoute]:
    """Return the class of routes that are there for such requests only; for others it is as if there were none."""

    class Route(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            return super().matches(scope) if speaks(scope) else (Match.NONE, {})

    return Route


def plain_status(problem: Problem) -> int:
    """Return the status of a problem for clients that know one alone, 400, of what is wrong with a request."""
    return 400 if problem.status in (409, 415, 422, 501) else problem.status


def confidence(face: Face) -> float:
    """Return a detector's score as what protocols tell, 0 to 1."""
    return min(1.0, max(0.0, face.score))


def corners(face: Face) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a face in whole pixels, none of them negative."""
    left, top, right, bottom = (max(0, int(edge)) for edge in np.rint(face.box_xyxy))
    return left, top, right, bottom


def vector_of(face: Face) -> FloatArray:
    """Return the embedding of a face that has one."""
    if face.embedding is None:
        raise AssertionError("faces that are embedded have embeddings")
    return face.embedding


def facial_area(pack: Pack, face: Face) -> dict[str, Any]:
    """Return a face's box and eyes as DeepFace has them: left and right are the person's."""
    left, top, right, bottom = corners(face)
    eyes = [
        [int(edge) for edge in np.rint(face.landmarks[list(eye)].mean(axis=0))] for eye in pack.template.anatomy.eyes
    ]
    return {"x": left, "y": top, "w": right - left, "h": bottom - top, "left_eye": eyes[1], "right_eye": eyes[0]}


_HALF = 8  # bytes of a UUID


def face_uuid(gallery: int, sample: int) -> str:
    """Return a UUID for a sample, which says the numbers of its gallery and its own."""
    return str(UUID(bytes=gallery.to_bytes(_HALF, "big") + sample.to_bytes(_HALF, "big")))


def sample_of(gallery: int, uuid: str) -> int | None:
    """Return the number of the sample of a gallery that a UUID stands for; None where it stands for none of it."""
    try:
        data = UUID(uuid).bytes
    except ValueError:
        return None
    sample = int.from_bytes(data[_HALF:], "big")
    return sample if data[:_HALF] == gallery.to_bytes(_HALF, "big") and 0 < sample < _MOST else None


_MOST = 2**63  # beyond what stores can hold
