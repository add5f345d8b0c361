"""Routes of DeepStack and CodeProject.AI: faces found, registered under names, recognised and matched.

They have one scale of likeness, ``(cosine + 1) / 2``, of which 0.67 recognises unless a call says otherwise. Here 0.67
is the pack's threshold, whatever its metric. A face is somebody where the gallery says so; a call may ask for more.

Source: DeepStack's ``server/middlewares/middlewares.go`` and ``intelligencelayer/shared/face.py``.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote_plus

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse, Response

from visavis.config import Scope, Settings
from visavis.errors import GalleryNotFound, SubjectNotFound
from visavis.galleries.records import check_gallery_name
from visavis.models.packs import Pack
from visavis.server.auth import Key, admit, keys_sent
from visavis.server.dialects import confidence, corners, opened, plain_status
from visavis.server.openapi import about
from visavis.server.pool import AllGalleries, Answer, InUse, Unnamed, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.server.reading import MOST_IMAGES, FormRequest, Image
from visavis.service.enroller import Enrolment
from visavis.service.results import Enrolled
from visavis.types import Face

PATHS = ("/v1/vision",)
_AT_THRESHOLD = 0.67
_UNKNOWN = "unknown"
_PAGE = 1000
_FIELD = b'name="api_key"'
_VALUE = re.compile(rb"[^\r\n]{0,200}\r\n(?:[^\r\n]{1,200}\r\n){0,8}\r\n([^\r\n]{1,200})\r\n")
_MOST_FIELDS = 4
_URLENCODED = re.compile(rb"(?:^|&)api_key=([^&]{1,200})")
_NO_IMAGE = "No valid image file found"
_WRONG = {
    "image": _NO_IMAGE,
    "images": _NO_IMAGE,
    "userid": "userid not specified",
    "min_confidence": "Invalid value for min_confidence",
}
_TOO_MUCH = "Input should be less"  # as pydantic begins, and here what it says of other values
_NO_VALUE = ("Field required", "Input should")
_BAD_IMAGES = ("image_corrupt", "unsupported_format", "invalid_image")
_NO_FACE = {"register": "no face detected", "match": "no face found"}


def check_settings(settings: Settings) -> None:
    """Refuse a gallery that cannot be."""
    check_gallery_name(settings.dialect_gallery)


def answer(request: Request, problem: Problem) -> Response:
    """Return what tells a problem: DeepStack's own words where it has some."""
    text = problem.errors[0].message if problem.errors else problem.detail
    if text.startswith(_TOO_MUCH):
        text = f"{problem.field} cannot be greater than 1"
    elif text.startswith(_NO_VALUE):
        text = _WRONG.get(problem.field or "", text)
    if problem.code in ("unauthorized", "key_expired"):
        text = "Incorrect api key"
    elif problem.code in _BAD_IMAGES:
        text = "invalid image"
    elif problem.code == "no_face":
        text = _NO_FACE.get(request.url.path.rpartition("/")[2], text)
    status = plain_status(problem)
    body = {"success": False, "error": text, "code": status, "duration": 0}
    return JSONResponse(body, status, headers=dict(problem.headers))


def _guarded(scope: Scope) -> list[Any]:
    """Return the dependency of a route whose key is in a header, or in the form as ``api_key``."""

    async def check(request: Request) -> None:
        admit(request, scope, keys_sent(request.headers) or _keys_in(await request.body()))

    return [Depends(check)]


def _keys_in(body: bytes) -> list[str]:
    """Return the keys in a form, which is read as a whole only later, in a worker."""
    found = [unquote_plus(key.decode("ascii", "replace")) for key in _URLENCODED.findall(body[:10_000])]
    place = body.find(_FIELD)
    while place >= 0 and len(found) < _MOST_FIELDS:
        value = _VALUE.match(body, place + len(_FIELD))
        found.append(value[1].decode("utf-8", "replace") if value else "")
        place = body.find(_FIELD, place + 1)
    return list(dict.fromkeys(filter(None, found)))


_Confidence = Annotated[float, Field(le=1, allow_inf_nan=False)]


class DetectForm(FormRequest):
    """An image in which to find faces."""

    image: Image
    min_confidence: _Confidence = 0.55


class RecognizeForm(FormRequest):
    """An image of people to recognise."""

    image: Image
    min_confidence: _Confidence = _AT_THRESHOLD


class UserForm(FormRequest):
    """Somebody by name."""

    userid: str


class RegisterForm(UserForm):
    """Images of one person, each as a file of any name."""

    images: Annotated[list[Image], Field(min_length=1, json_schema_extra={MOST_IMAGES: True})]


def _two(images: list[Image]) -> list[Image]:
    if len(images) != 2:  # noqa: PLR2004
        raise ValueError("expected two image files, only one found" if len(images) == 1 else "only two images allowed")
    return images


class MatchForm(FormRequest):
    """Two images, each as a file of any name."""

    images: Annotated[list[Image], AfterValidator(_two)]


router = APIRouter(prefix="/v1/vision/face", tags=["DeepStack"])
_Found = Answer[dict[str, Any]]


@router.post("/", include_in_schema=False, dependencies=_guarded("read"))
@router.post("", **about(_guarded("read")))
@in_worker
def detect(recognizer: InUse, wanted: DetectForm) -> _Found:
    """Find the faces of an image that are at least as sure as `min_confidence`."""
    faces = recognizer.detect(wanted.image.load())
    told = [{"confidence": confidence(face), **_box(face)} for face in faces]
    sure = [each for each in told if each["confidence"] >= wanted.min_confidence]
    return _success({"images": 1, "faces": len(faces)}, predictions=sure)


@router.post("/recognize", **about(_guarded("read")))
@in_worker
def recognize(recognizer: InUse, people: Unnamed, wanted: RecognizeForm) -> _Found:
    """Tell who the faces of an image are, each by the name that it was registered under, or `unknown`."""
    image = wanted.image.load()
    try:
        found = [(each.face, each.match, each.unknown) for each in people.identify(image, limit=1)]
    except GalleryNotFound:  # nobody was registered yet
        found = [(face, None, "empty_gallery") for face in recognizer.detect(image)]
    told = []
    for face, match, _ in found:
        likeness = _likeness(recognizer.pack, match.distance) if match else 0.0
        known = match is not None and likeness >= wanted.min_confidence
        who = (match.subject, likeness) if match and known else (_UNKNOWN, 0)
        told.append({**dict(zip(("userid", "confidence"), who, strict=True)), **(_box(face) if face else {})})
    outcomes = tuple(unknown or "matched" for _, _, unknown in found)
    return _success({"images": 1, "faces": len(found), "outcomes": outcomes}, predictions=told)


@router.post("/register", **about(_guarded("enrol")))
@in_worker
def register(galleries: AllGalleries, people: Unnamed, key: Key, wanted: RegisterForm) -> _Found:
    """Add the main face of each image to those that are registered under a name."""
    gallery = opened(galleries, people.name, key)
    enrolments = (Enrolment(subject=wanted.userid, image=image.load()) for image in wanted.images)
    found = list(gallery.enrol_many(enrolments, faces="prominent"))
    done = [each for each in found if isinstance(each, Enrolled)]
    for error in found:
        if not (done or isinstance(error, Enrolled)):
            raise error
    added = done[-1].subject.samples == len(done)
    counts = {"images": len(found), "faces": len(done), "enrolled": len(done)}
    return _success(counts, message="face added" if added else "face updated")


@router.post("/match", **about(_guarded("read")))
@in_worker
def match(recognizer: InUse, wanted: MatchForm) -> _Found:
    """Tell how alike the main faces of two images are: 0.67 and more is one person."""
    verification = recognizer.verify(*(image.load() for image in wanted.images))
    if verification.reason:
        raise Problem(
            "invalid_face", f"how alike they are says nothing, for one of the faces is: {verification.reason}"
        )
    return _success({"images": 2, "faces": 2}, similarity=_likeness(recognizer.pack, verification.distance))


@router.post("/list", **about(_guarded("read")))
@in_worker
def list_faces(people: Unnamed) -> _Found:
    """List the names under which faces are registered."""
    names: list[str] = []
    try:
        after = 0
        while page := people.subjects(after=after, limit=_PAGE):
            names += [subject.id for subject in page]
            after = page[-1].number
    except GalleryNotFound:
        pass
    return _success({}, faces=names)


@router.post("/delete", **about(_guarded("admin")))
@in_quick_worker
def delete(people: Unnamed, wanted: UserForm) -> _Found:
    """Forget whoever is registered under a name, if somebody is."""
    try:
        forgotten = people.forget_subject(wanted.userid).samples
    except (GalleryNotFound, SubjectNotFound):
        forgotten = 0
    return _success({"forgotten": forgotten})


def _success(counts: Mapping[str, Any], **members: object) -> _Found:
    return Answer({"success": True, **members, "duration": 0}, counts)


def _box(face: Face) -> dict[str, Any]:
    return dict(zip(("x_min", "y_min", "x_max", "y_max"), corners(face), strict=True))


def _likeness(pack: Pack, distance: float) -> float:
    """Return how alike two faces are, 0 to 1: linear in their distance, and 0.67 at the pack's threshold."""
    return max(0.0, 1.0 - (1.0 - _AT_THRESHOLD) * distance / pack.threshold)
