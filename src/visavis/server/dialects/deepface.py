"""Routes of DeepFace's API: faces embedded, verified, described, registered and searched for.

Its models are named by callers; here there is one, the server's pack, and what is asked of another is refused.

Source: serengil/deepface 0.0.100, ``deepface/api/src/modules/core/routes.py`` and ``deepface/modules/datastore.py``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from starlette.types import Scope
from typing_extensions import Self

from visavis.config import Settings
from visavis.core.decide import distances, is_live
from visavis.errors import GalleryNotFound, NoFace, NotLive
from visavis.galleries.records import check_gallery_name
from visavis.models.catalogue import PACKS
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer, compare
from visavis.options import MOST_CANDIDATES, Attribute, Describe, IdentifyEmbeddings
from visavis.server.auth import Key, require
from visavis.server.dialects import (
    confidence,
    facial_area,
    mtphotos,
    opened,
    plain_status,
    route_where,
    vector_of,
    whole_face,
)
from visavis.server.openapi import about
from visavis.server.pool import AllGalleries, Answer, InUse, Unnamed, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.server.reading import FORM, MAX_URL_LENGTH, Body, FormRequest, Image, check, read_json
from visavis.service.gallery import OpenGallery
from visavis.service.results import Candidate, Identification
from visavis.types import Face, ImageSource

PATHS = ("/represent", "/verify", "/analyze", "/register", "/search", "/build/index")
_DOING = ("representing", "verifying", "analyzing", "registering", "searching", "building index")
_JSON = "application/json"
_MODELS = {"sface": "SFace", "sface-float": "SFace", "dlib": "Dlib", "facenet": "Facenet", "facenet512": "Facenet512"}
_MODELS |= {"dlib-cosine": "Dlib", "buffalo_l": "Buffalo_L"}
_DETECTORS = {"yunet-int8": "yunet"}
_SKIP = "skip"
_METRICS: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda distance: distance,
    "euclidean_l2": lambda distance: (2 * distance) ** 0.5,
    "angular": lambda distance: float(np.arccos(np.clip(1 - distance, -1, 1)) / np.pi),
}
_ONLY = {"align": True, "expand_percentage": 0, "normalization": "base"}
_HERE: tuple[Attribute, ...] = ("age", "gender")
_PLAINLY: Describe = {}
_CERTAIN = 100.0
_DOUBTFUL = 49.0  # those that are not verified have at most so much
_SLASH = "/", "%2F"  # which IDs of subjects do not have
_SPOOF = "Spoof detected in the given image."
_NO_FACE = "Face could not be detected; consider to set enforce_detection to false"


def speaks(scope: Scope) -> bool:
    """Tell whether a request is DeepFace's: MT-Photos has ``/represent`` too."""
    return not mtphotos.speaks(scope)


def check_settings(settings: Settings) -> None:
    """Refuse a gallery that cannot be."""
    check_gallery_name(settings.dialect_gallery)


def answer(request: Request, problem: Problem) -> Response:
    """Return what tells a problem: in DeepFace's words, without a traceback."""
    doing = dict(zip(PATHS, _DOING, strict=True)).get(request.url.path, "answering")
    body = {"error": f"Exception while {doing}: {problem.detail}"}
    if problem.code in ("unauthorized", "key_expired"):
        body = {"message": "Invalid or missing authentication token"}
    elif problem.errors and problem.errors[0].message == "Field required":
        body = {"exception": f"'{problem.field}' not found in either json or form data request"}
    return JSONResponse(body, plain_status(problem), headers=dict(problem.headers))


def _image(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value[:5].lower() == "data:":
        return Image(base64=value)
    if value[:8].lower().startswith(("http://", "https://")) and len(value) <= MAX_URL_LENGTH:
        return Image(url=value)
    raise ValueError("must be a file, a URL, or data:image/...;base64,...; paths of the server are never read")


def _listed(value: object) -> object:
    """Return what a text such as ``[age, gender]`` lists."""
    return [each.strip(" '\"[]()") for each in value.split(",")] if isinstance(value, str) else value


_Image = Annotated[Image, BeforeValidator(_image)]


class AnyBody(FormRequest):
    """What all calls may say, in JSON or in a form."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str | None = None
    detector_backend: str | None = None
    enforce_detection: bool = True
    align: bool = True
    anti_spoofing: bool = False
    expand_percentage: int = 0
    normalization: str = "base"
    l2_normalize: bool = False

    @classmethod
    def read(cls, body: Body, max_images: int) -> Self:
        """Read JSON, or a form; what is wrong with it is a 400."""
        if body.media_type != _JSON:
            return super().read(body, max_images)
        return check(cls, read_json(body.data), status=400)

    @property
    def pictures(self) -> list[Image]:
        """All images that it holds."""
        return [value for _, value in self if isinstance(value, Image)]

    @classmethod
    def media_types(cls) -> tuple[str, ...]:
        """Return what a body may be."""
        return (_JSON, FORM)

    def check_models(self, pack: Pack) -> None:
        """Refuse what this server does not do, and say what it does."""
        own = _model_of(pack)
        if self.model_name not in (None, own, pack.name):
            others = [name for name in PACKS if self.model_name in (name, _model_of(PACKS[name]))]
            hint = f"; VISAVIS_PACK={others[0]} serves it" if others else ""
            raise _refused("model_name", f"{self.model_name!r:.80} is not here; this server has {own}{hint}")
        if self.detector_backend not in (None, _detector_of(pack), _SKIP):
            has = f"{_detector_of(pack)}, and {_SKIP}"
            raise _refused("detector_backend", f"{self.detector_backend!r:.80} is not here; this server has {has}")
        for name, only in _ONLY.items():
            if getattr(self, name) != only:
                raise _refused(name, f"nothing but {only} is here")
        if self.l2_normalize and pack.metric == "euclidean":
            raise _refused("l2_normalize", f"embeddings of {own} are compared as they are: leave it false")


class RepresentBody(AnyBody):
    """An image whose faces are to be embedded."""

    img: _Image
    max_faces: Annotated[int | None, Field(ge=1, le=1000)] = None


class VerifyBody(AnyBody):
    """Two images to compare."""

    img1: _Image
    img2: _Image
    distance_metric: str | None = None


class AnalyzeBody(AnyBody):
    """An image whose faces are to be described."""

    img: _Image
    actions: Annotated[tuple[str, ...], BeforeValidator(_listed)] = _HERE


class RegisterBody(AnyBody):
    """An image to be registered."""

    img: _Image
    img_name: str | None = None


class SearchBody(AnyBody):
    """An image whose faces are to be searched for."""

    img: _Image
    distance_metric: str | None = None
    search_method: Literal["exact", "ann"] = "exact"
    similarity_search: bool = False
    k: Annotated[int, Field(ge=1, le=MOST_CANDIDATES)] = 5


router = APIRouter(tags=["DeepFace"], route_class=route_where(speaks))
_READ, _ENROL = (about([Depends(require(scope))]) for scope in ("read", "enrol"))
_Found = Answer[dict[str, Any]]


@router.post("/represent", **_READ)
@in_worker
def represent(recognizer: InUse, wanted: RepresentBody) -> _Found:
    """Return the embeddings of an image's faces, largest first."""
    faces = _faces(recognizer, wanted.img.load(), wanted)[: wanted.max_faces]
    told = [{"embedding": vector_of(face).tolist(), **_place(recognizer.pack, face, "facial_area")} for face in faces]
    return Answer({"results": told}, {"images": 1, "faces": len(told)})


@router.post("/verify", **_READ)
@in_worker
def verify(recognizer: InUse, wanted: VerifyBody) -> _Found:
    """Tell whether two images show the same person, by the two faces that are most alike."""
    begun, pack = time.perf_counter(), recognizer.pack
    metric = _metric(pack, wanted.distance_metric)
    a, b = (_faces(recognizer, image.load(), wanted) for image in (wanted.img1, wanted.img2))
    others = np.stack([vector_of(face) for face in b])
    apart = np.stack([distances(pack.metric, vector_of(face), others) for face in a])
    first, second = (int(place) for place in np.unravel_index(apart.argmin(), apart.shape))
    found = compare(pack, a[first], b[second], recognizer.rule)
    areas = {"img1": facial_area(pack, a[first]), "img2": facial_area(pack, b[second])}
    told = {"verified": found.same, **_measured(metric, found.distance, found.threshold, same=found.same)}
    models = {"model": _model_of(pack), "detector_backend": _detector_of(pack), "similarity_metric": metric}
    took = {"time": round(time.perf_counter() - begun, 2)}
    return Answer({**told, **models, "facial_areas": areas, **took}, {"images": 2, "faces": len(a) + len(b)})


@router.post("/analyze", **_READ)
@in_worker
def analyze(recognizer: InUse, wanted: AnalyzeBody) -> _Found:
    """Tell age and gender of an image's faces."""
    if unknown := sorted(set(wanted.actions) - set(_HERE)):
        raise _refused("actions", f"{', '.join(unknown):.80} are not here; this server has {', '.join(_HERE)}")
    actions = tuple(action for action in _HERE if action in wanted.actions)
    faces = _faces(recognizer, wanted.img.load(), wanted, {"attributes": actions})
    told = [{**_described(face, actions), **_place(recognizer.pack, face, "region")} for face in faces]
    return Answer({"results": told}, {"images": 1, "faces": len(told)})


@router.post("/register", **_ENROL)
@in_worker
def register(recognizer: InUse, galleries: AllGalleries, people: Unnamed, key: Key, wanted: RegisterBody) -> _Found:
    """Enrol the main face of an image under the image's name."""
    wanted.check_models(recognizer.pack)
    image, name = wanted.img.load(), wanted.img_name and wanted.img_name.replace(*_SLASH)
    gallery = opened(galleries, people.name, key)
    if wanted.anti_spoofing or wanted.detector_backend == _SKIP or not wanted.enforce_detection:
        (face,) = _faces(recognizer, image, wanted, {"faces": "main"}, live=gallery.record.policy.require_live)
        gallery.enrol_embedding(vector_of(face), name, quality=face.quality, allow_conflict=True)
    else:
        gallery.enrol(image, name, allow_conflict=True)
    return Answer({"inserted": 1}, {"images": 1, "faces": 1, "enrolled": 1})


@router.post("/search", **_READ)
@in_worker
def search(recognizer: InUse, people: Unnamed, wanted: SearchBody) -> _Found:
    """List the images that show the person of each face, most alike first; or that resemble it."""
    wanted.check_models(recognizer.pack)
    pack, metric = recognizer.pack, _metric(recognizer.pack, wanted.distance_metric)
    found = _identified(recognizer, people, wanted)
    fixed = {
        "model_name": _model_of(pack),
        "detector_backend": _detector_of(pack),
        "aligned": True,
        "l2_normalized": wanted.l2_normalize,
        "search_method": "exact",
        "distance_metric": metric,
    }
    told = []
    for face, each in found:
        targets = {f"target_{name}": place for name, place in facial_area(pack, face).items() if name in "xywh"}
        sure = each.unknown in (None, "low_margin")
        known = [hit for hit in each.candidates if not hit.ignored]
        near = [hit for hit in known if wanted.similarity_search or (sure and hit.distance < each.threshold)]
        told.append([{**_hit(hit, metric, each.threshold), **fixed, **targets} for hit in near])
    outcomes = tuple(each.unknown or "matched" for _, each in found)
    return Answer({"results": told}, {"images": 1, "faces": len(found), "outcomes": outcomes})


@router.post("/build/index", **_ENROL)
@in_quick_worker
def build_index(recognizer: InUse, wanted: AnyBody) -> _Found:
    """Do nothing: every search is exact, and needs no index."""
    wanted.check_models(recognizer.pack)
    return Answer({"message": "Index built successfully"})


def _faces(
    recognizer: Recognizer, image: ImageSource, wanted: AnyBody, how: Describe = _PLAINLY, *, live: bool = False
) -> Sequence[Face]:
    """Return the faces of an image, embedded; the image itself where that is asked for, or where there is none.

    Where live faces alone will do, an image is never a face: nobody could tell.
    """
    wanted.check_models(recognizer.pack)
    if wanted.detector_backend == _SKIP and not live:
        return [whole_face(recognizer, image)]
    also: tuple[Attribute, ...] = ("liveness",) if wanted.anti_spoofing or live else ()
    asked: Describe = {**how, "quality": True, "attributes": (*how.get("attributes", ()), *also)}
    faces = recognizer.embed(image, **asked)
    if not all(is_live(face.attributes) for face in faces):
        raise NotLive(_SPOOF)
    if not faces and (wanted.enforce_detection or live):
        raise NoFace(_NO_FACE)
    return faces or [whole_face(recognizer, image)]


def _identified(recognizer: Recognizer, people: OpenGallery, wanted: SearchBody) -> list[tuple[Face, Identification]]:
    """Return who the faces of an image are, or the image itself, as in ``_faces``."""
    image = wanted.img.load()
    how: IdentifyEmbeddings = {"limit": wanted.k, "group_by": "sample"}
    try:
        live = people.record.policy.require_live
        if wanted.detector_backend != _SKIP or live:
            found = people.identify(image, **how, require_live=wanted.anti_spoofing)
            if any(each.unknown == "not_live" for each in found):
                raise NotLive(_SPOOF)
            if not found and (wanted.enforce_detection or live):
                raise NoFace(_NO_FACE)
            if found:
                return [(each.face, each) for each in found if each.face]
        face = whole_face(recognizer, image)
        return [(face, each) for each in people.identify_embeddings(vector_of(face)[None], **how)]
    except GalleryNotFound:
        raise Problem("invalid_request", "nobody is registered yet", status=400) from None


def _hit(hit: Candidate, metric: str, threshold: float) -> dict[str, Any]:
    measured = _measured(metric, hit.distance, threshold, same=hit.distance < threshold)
    return {"id": hit.sample, "img_name": hit.subject.replace(*_SLASH[::-1]), **measured}


def _refused(field: str, why: str) -> Problem:
    return Problem("invalid_option", f"{field}: {why}", field=field, status=400)


def _model_of(pack: Pack) -> str:
    return _MODELS.get(pack.name, pack.name)


def _detector_of(pack: Pack) -> str:
    head = pack.part("detector").head
    return _DETECTORS.get(head, head)


def _metric(pack: Pack, asked: str | None) -> str:
    """Return the metric to tell distances in: what is asked for, or else the pack's own."""
    here = tuple(_METRICS) if pack.metric == "cosine" else (pack.metric,)
    if asked not in (None, *here):
        raise _refused("distance_metric", f"{asked!r:.80} is none of {_model_of(pack)}'s here: {', '.join(here)}")
    return asked or here[0]


def _measured(metric: str, distance: float, threshold: float, *, same: bool) -> dict[str, float]:
    """Return a distance and its threshold in a metric, and how sure it is: above 51 where it is the same, below 49."""
    told = _METRICS.get(metric, _METRICS["cosine"])
    sure = _CERTAIN - _DOUBTFUL * distance / threshold if same else _DOUBTFUL * threshold / max(distance, threshold)
    return {"distance": told(distance), "threshold": told(threshold), "confidence": round(sure, 2)}


def _described(face: Face, actions: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    age, gender = (getattr(face.attributes, name) if name in actions else None for name in _HERE)
    if age is not None:
        told["age"] = round(age)
    if gender is not None:
        likely, other = ("Man", "Woman") if gender.label == "male" else ("Woman", "Man")
        sure = 100 * gender.probability
        told |= {"gender": {likely: sure, other: 100 - sure}, "dominant_gender": likely}
    return told


def _place(pack: Pack, face: Face, name: str) -> Mapping[str, Any]:
    return {name: facial_area(pack, face), "face_confidence": confidence(face)}
