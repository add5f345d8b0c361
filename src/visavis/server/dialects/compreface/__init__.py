"""CompreFace 1.2: recognition, detection and verification, as its clients call them; see docs/dialects/compreface.md.

Source: the controllers and exceptions of exadel-inc/CompreFace, and its docs/Rest-API-description.md.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Annotated, Any, TypeAlias, get_args

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import APIKeyHeader
from pydantic_core import to_json
from starlette.responses import JSONResponse, PlainTextResponse, Response

from visavis.config import FaceService, Scope, Settings
from visavis.core.embeddings import check_embedding
from visavis.errors import InvalidOption, MultipleFaces, NotLive, SampleNotFound, SubjectExists, SubjectNotFound
from visavis.galleries.records import Sample, Subject, normal
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer, compare, value_of
from visavis.options import MOST_CANDIDATES
from visavis.server.api.subjects import subject_id
from visavis.server.auth import Key, admit, check_allows
from visavis.server.dialects import face_uuid, opened, sample_of, whole_face
from visavis.server.dialects.compreface.wire import (
    EmbeddingPairs,
    EmbeddingsRequest,
    ExampleRequest,
    IdsRequest,
    Look,
    NameRequest,
    Paging,
    PictureRequest,
    RecognizeRequest,
    Refused,
    SampleVerifyRequest,
    similarity_of,
    told_face,
    told_problem,
)
from visavis.server.keys import is_uuid
from visavis.server.openapi import about
from visavis.server.pool import AllGalleries, Answer, InUse, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.service.gallery import OpenGallery
from visavis.service.results import Identification
from visavis.types import Face, FloatArray

PATHS = ("/api/v1", "/static")
DEMO_KEYS = {service: f"00000000-0000-0000-0000-{at:012}" for at, service in enumerate(get_args(FaceService), 2)}
"""What everybody knows of CompreFace's demo."""
DEMO_GALLERY = "demo"
"""Whom the demo's key of recognition is about."""
_CREATED, _AT_ONCE = 201, 1000


def check_settings(settings: Settings) -> None:
    """Refuse keys that everybody knows where calls need one that not everybody knows."""
    if settings.compreface_demo_keys and settings.keys_required:
        raise InvalidOption(
            "compreface_demo_keys: everybody knows these keys, and calls need one here; make others with visavis keys "
            "create --compreface; or, where everybody may call, set auth to off"
        )


def answer(request: Request, problem: Problem) -> Response:
    """Return a problem as CompreFace tells one."""
    number, status, message = told_problem(request, problem)
    return JSONResponse({"message": message, "code": number}, status, headers=dict(problem.headers))


_HEADER = APIKeyHeader(name="x-api-key", scheme_name="compreface", auto_error=False)


def _keyed(service: FaceService, scope: Scope, *, in_path: bool = False) -> Any:  # noqa: ANN401  # a dependency
    """Return what lets a call pass that has a key of the service, and gives the name of the gallery that it is for."""

    async def admitted(request: Request, _in_header: Annotated[object, Depends(_HEADER)]) -> str | None:
        sent = [request.path_params["api_key"]] if in_path else request.headers.getlist("x-api-key")
        if not sent:
            raise Refused(20, "Missing header: x-api-key")
        if not is_uuid(sent[0]):
            raise Refused(26, "Service API key should be UUID")
        settings, keys = request.app.state.settings, request.app.state.keys
        if settings.compreface_demo_keys and sent == [DEMO_KEYS[service]] and not keys.needed(settings):
            admit(request, scope, ())
            return DEMO_GALLERY
        try:
            record = admit(request, scope, sent, service=service)
        except Problem as problem:
            if problem.code in ("unauthorized", "key_expired"):
                raise Refused(10, f"{service.title()} service with API Key {sent[0]} not found", 404) from None
            raise
        return record.galleries[0] if record and record.galleries else None

    return Depends(admitted)


_Open: TypeAlias = Callable[[], OpenGallery]


def _collection(scope: Scope, *, in_path: bool = False) -> Any:  # noqa: ANN401  # a dependency
    """Return what gives a function that opens the key's gallery, or makes it where the key may."""
    name_of = _keyed("recognition", scope, in_path=in_path)

    async def find(name: Annotated[str, name_of], key: Key, galleries: AllGalleries) -> _Open:
        if in_path:  # which pages of strangers may load
            return partial(galleries.open, name)
        return partial(opened, galleries, name, key)

    return Depends(find)


_Reading: TypeAlias = Annotated[_Open, _collection("read")]
_Enrolling: TypeAlias = Annotated[_Open, _collection("enrol")]
_Probing: TypeAlias = Annotated[_Open, _collection("probe")]
_Managing: TypeAlias = Annotated[_Open, _collection("admin")]
_Shown: TypeAlias = Annotated[_Open, _collection("admin", in_path=True)]


def _told_of(
    found: Sequence[tuple[Face, Mapping[str, Any]]], wanted: Look, recognizer: Recognizer, began_s: float
) -> dict[str, Any]:
    """Return the faces with what belongs to each; and what was used, where that is asked for."""
    took_ms = round(1000 * (time.monotonic() - began_s) / len(found))
    pack = recognizer.pack
    told: dict[str, Any] = {"result": [{**told_face(face, wanted, pack, took_ms), **more} for face, more in found]}
    if wanted.status:
        used = ["detector", "calculator", *wanted.attributes(pack)]
        told["plugins_versions"] = dict.fromkeys(used, f"visavis.{pack.name}")
    return told


router = APIRouter(tags=["CompreFace"])


@router.post("/api/v1/detection/detect", **about([_keyed("detection", "read")]))
@in_worker
def detect(recognizer: InUse, wanted: PictureRequest) -> Answer[Any]:
    """Find the faces of an image."""
    began_s = time.monotonic()
    faces = wanted.look(recognizer, wanted.file.load(), embed="calculator" in wanted.plugins)
    found: list[tuple[Face, dict[str, Any]]] = wanted.kept((face, {}) for face in faces)
    return Answer(_told_of(found, wanted, recognizer, began_s), {"images": 1, "faces": len(faces)})


@router.post("/api/v1/verification/verify", **about([_keyed("verification", "read")]))
@in_worker
def verify(recognizer: InUse, wanted: SampleVerifyRequest) -> Answer[Any]:
    """Compare the face of an image with each of another."""
    began_s = time.monotonic()
    both = [wanted.look(recognizer, image.load()) for image in (wanted.source_image, wanted.target_image)]
    (source, _), *more = wanted.kept((face, None) for face in both[0])
    if more:
        raise MultipleFaces("several faces found in the source image")
    pack = recognizer.pack
    compared = ((face, compare(pack, source, face, recognizer.rule)) for face in both[1])
    found = [
        (face, {"similarity": similarity_of(pack, None if each.reason else each.distance)})
        for face, each in wanted.kept(compared)
    ]
    told = _told_of(found, wanted, recognizer, began_s)
    told["face_matches"] = told.pop("result")
    took_ms = round(1000 * (time.monotonic() - began_s) / 2)
    item = {"source_image_face": told_face(source, wanted, pack, took_ms), **told}
    return Answer({"result": [item]}, {"images": 2, "faces": sum(map(len, both))})


@router.post("/api/v1/verification/embeddings/verify", **about([_keyed("verification", "read")]))
@in_worker
def verify_embeddings(recognizer: InUse, wanted: EmbeddingPairs) -> Answer[Any]:
    """Compare an embedding with others, most alike first."""
    compared = list(map(value_of, recognizer.compare_many((wanted.source, each) for each in wanted.targets)))
    distances = [None if each.reason else each.distance for each in compared]
    return Answer(_alike(recognizer.pack, wanted.targets, distances))


def _alike(pack: Pack, vectors: Sequence[Any], distances: Iterable[float | None]) -> dict[str, Any]:
    pairs = zip(vectors, distances, strict=True)
    result = [{"embedding": vector, "similarity": similarity_of(pack, distance)} for vector, distance in pairs]
    return {"result": sorted(result, key=lambda each: -each["similarity"])}


@router.post("/api/v1/recognition/recognize", **about())
@in_worker
def recognize(collection: _Reading, recognizer: InUse, wanted: RecognizeRequest) -> Answer[Any]:
    """Find the faces of an image, and for each the examples that are nearest to it."""
    began_s, gallery, data = time.monotonic(), collection(), wanted.file.load()
    count = min(wanted.prediction_count, MOST_CANDIDATES)
    found = list(gallery.identify(data, limit=count, group_by="sample"))
    if not (found or wanted.detect_faces or gallery.record.policy.require_live):
        whole = whole_face(recognizer, data)
        vector = np.array([whole.embedding], np.float32)
        (one,) = gallery.identify_embeddings(vector, limit=count, group_by="sample")
        found = [replace(one, face=whole)]
    measured = wanted.look(recognizer, data, embed=False) if wanted.attributes(recognizer.pack) else ()
    more = dict(enumerate(each.attributes for each in measured))
    faces = ((replace(one.face, attributes=more.get(at)), one) for at, one in enumerate(found) if one.face)
    told = [(face, {"subjects": _subjects(one, recognizer.pack)}) for face, one in wanted.kept(faces)]
    outcomes = tuple(one.unknown or "matched" for one in found)
    counts = {"images": 1, "faces": len(found), "outcomes": outcomes}
    return Answer(_told_of(told, wanted, recognizer, began_s), counts)


def _subjects(one: Identification, pack: Pack) -> list[dict[str, Any]]:
    """Return the examples near a face: none where there is a reason to doubt that their nearness says anything."""
    near = [each for each in one.candidates if not each.ignored] if one.unknown in _NEARNESS_COUNTS else []
    return [{"subject": each.subject, "similarity": similarity_of(pack, each.distance)} for each in near]


_NEARNESS_COUNTS = (None, "no_match", "low_margin")


@router.post("/api/v1/recognition/embeddings/recognize", **about())
@in_worker
def recognize_embeddings(collection: _Probing, recognizer: InUse, wanted: EmbeddingsRequest) -> Answer[Any]:
    """Find for each embedding the examples that are nearest to it."""
    gallery, vectors = collection(), wanted.embeddings
    checked = [check_embedding(each, recognizer.pack.dimension) for each in vectors]
    count = min(wanted.prediction_count, MOST_CANDIDATES)
    found = gallery.identify_embeddings(np.stack(checked), limit=count, group_by="sample")
    result = [
        {"embedding": vector, "similarities": _subjects(one, recognizer.pack)}
        for vector, one in zip(vectors, found, strict=True)
    ]
    return Answer({"result": result}, {"outcomes": tuple(one.unknown or "matched" for one in found)})


def _sample(gallery: OpenGallery, image_id: str) -> Sample:
    number = sample_of(gallery.record.number, image_id)
    sample = None if number is None else gallery.sample(number)
    if sample is None or sample.counter:
        raise SampleNotFound("there is no such example")
    return sample


@router.post("/api/v1/recognition/faces/{image_id}/verify", **about())
@in_worker
def verify_example(collection: _Reading, recognizer: InUse, image_id: str, wanted: PictureRequest) -> Answer[Any]:
    """Compare the faces of an image with an example."""
    began_s, gallery, data = time.monotonic(), collection(), wanted.file.load()
    sample, live = _sample(gallery, image_id), gallery.record.policy.require_live
    faces = wanted.look(recognizer, data, "liveness") if live else wanted.look(recognizer, data)
    found = [
        (face, {"subject": sample.subject, "similarity": similarity_of(recognizer.pack, _near(gallery, face, sample))})
        for face, _ in wanted.kept((face, None) for face in faces)
    ]
    return Answer(_told_of(found, wanted, recognizer, began_s), {"images": 1, "faces": len(faces)})


@router.post("/api/v1/recognition/embeddings/faces/{image_id}/verify", **about())
@in_worker
def verify_embedding(collection: _Probing, recognizer: InUse, image_id: str, wanted: EmbeddingsRequest) -> Answer[Any]:
    """Compare embeddings with an example, most alike first."""
    gallery = collection()
    sample = _sample(gallery, image_id)
    return Answer(
        _alike(recognizer.pack, wanted.embeddings, (_near(gallery, each, sample) for each in wanted.embeddings))
    )


def _near(gallery: OpenGallery, face: "Face | FloatArray", sample: Sample) -> float | None:
    """Return the distance of a face to an example; None where it is too far to be told, or says nothing."""
    try:
        verification = gallery.verify_embedding(face, sample.subject, sample=sample.id)
    except NotLive:
        return None
    return None if verification.reason else verification.distance


@router.post("/api/v1/recognition/subjects", **about(status=_CREATED))
@in_quick_worker
def add_subject(collection: _Enrolling, wanted: NameRequest) -> Answer[Any]:
    """Make a subject without an example."""
    return Answer({"subject": collection().add_subject(wanted.subject).id})


@router.get("/api/v1/recognition/subjects/", include_in_schema=False)
@router.get("/api/v1/recognition/subjects", **about())
@in_worker
def list_subjects(collection: _Reading) -> Answer[Any]:
    """List the names of all subjects."""
    return Answer({"subjects": [each.id for each in _all_subjects(collection())]})


def _all_subjects(gallery: OpenGallery) -> Iterator[Subject]:
    after = 0
    while page := gallery.subjects(after=after, limit=_AT_ONCE):
        yield from page
        after = page[-1].number


@router.put("/api/v1/recognition/subjects/{subject}", **about())
@in_worker
def rename_subject(
    collection: _Enrolling, key: Key, subject: Annotated[str, Depends(subject_id)], wanted: NameRequest
) -> Answer[Any]:
    """Give a subject another name; where that is another's, the two become one."""
    gallery = collection()
    before = gallery.subject(subject)
    if before.id == normal(wanted.subject):
        return Answer({"updated": False})
    try:
        gallery.rename(before.id, wanted.subject)
    except SubjectExists:
        check_allows(key, "admin")
        gallery.merge(before.id, wanted.subject)
    return Answer({"updated": True})


@router.delete("/api/v1/recognition/subjects/{subject}", **about())
@in_quick_worker
def delete_subject(collection: _Managing, subject: Annotated[str, Depends(subject_id)]) -> Answer[Any]:
    """Forget a subject with all examples."""
    forgotten = collection().forget_subject(subject)
    return Answer({"subject": subject}, {"forgotten": forgotten.samples})


@router.delete("/api/v1/recognition/subjects", **about())
@in_worker
def delete_subjects(collection: _Managing) -> Answer[Any]:
    """Forget all subjects."""
    subjects, samples = _forget_all(collection())
    return Answer({"deleted": subjects}, {"forgotten": samples})


def _samples(gallery: OpenGallery, subject: str | None) -> Iterator[Sample]:
    """Return the examples of a subject, or of everybody, oldest first."""
    if subject:
        yield from (each for each in gallery.samples(subject) if not each.counter)
        return
    after = 0
    while page := gallery.all_samples(after=after, limit=_AT_ONCE):
        yield from (each for each in page if not each.counter)
        after = page[-1].id


def _forget_all(gallery: OpenGallery) -> tuple[int, int]:
    """Forget everybody, and return how many subjects and samples they were."""
    receipts = []
    for each in _all_subjects(gallery):
        with suppress(SubjectNotFound):  # somebody else forgot it meanwhile
            receipts.append(gallery.forget_subject(each.id))
    return len(receipts), sum(each.samples for each in receipts)


@router.post("/api/v1/recognition/faces", **about(status=_CREATED))
@in_worker
def add_example(collection: _Enrolling, recognizer: InUse, wanted: ExampleRequest) -> Answer[Any]:
    """Enrol the face of an image; its subject is made where there is none."""
    if not wanted.subject.strip():
        raise Refused(26, "Subject name is empty")
    gallery, data, box = collection(), wanted.file.load(), None
    if wanted.det_prob_threshold is not None:  # which decides whether there is another face
        (face, _), *more = wanted.kept((face, None) for face in recognizer.detect(data))
        if more:
            raise MultipleFaces("several faces found")
        box = face.box_xyxy.tolist()
    enrolled = gallery.enrol(data, wanted.subject, faces="only", box=box, allow_conflict=True)
    told = {"image_id": face_uuid(gallery.record.number, enrolled.sample), "subject": enrolled.subject.id}
    return Answer(told, {"images": 1, "faces": 1, "enrolled": 1})


@router.get("/api/v1/recognition/faces", **about())
@in_worker
def list_examples(collection: _Reading, paging: Annotated[Paging, Query()]) -> Answer[Any]:
    """List examples page by page, oldest first."""
    gallery = collection()
    number, page, size = gallery.record.number, paging.page, paging.size
    try:
        total = gallery.subject(paging.subject).samples if paging.subject else gallery.record.samples
    except SubjectNotFound:
        total = 0
    samples = _samples(gallery, paging.subject) if page * size < total else iter(())
    faces = [
        {"image_id": face_uuid(number, each.id), "subject": each.subject}
        for each in islice(samples, page * size, (page + 1) * size)
    ]
    pages = {"page_number": page, "page_size": size, "total_pages": -(-total // size), "total_elements": total}
    return Answer({"faces": faces, **pages})


@router.delete("/api/v1/recognition/faces", **about())
@in_worker
def delete_examples(collection: _Managing, paging: Annotated[Paging, Query()]) -> Answer[Any]:
    """Forget a subject with all examples; without a name, everybody."""
    gallery, subject = collection(), paging.subject
    if subject is not None and not subject.strip():
        raise Refused(26, "Subject name is empty")
    try:
        samples = _forget_all(gallery)[1] if subject is None else gallery.forget_subject(subject).samples
    except SubjectNotFound:
        samples = 0
    return Answer({"deleted": samples}, {"forgotten": samples})


@router.post("/api/v1/recognition/faces/delete", **about())
@in_worker
def delete_several(collection: _Managing, wanted: IdsRequest) -> Answer[Any]:
    """Forget examples; those that there are not are passed over."""
    gallery, told = collection(), []
    for image_id in dict.fromkeys(wanted.ids):
        with suppress(SampleNotFound):
            told.append(_forgotten(gallery, image_id))
    return Answer(to_json(told), {"forgotten": len(told)})


@router.delete("/api/v1/recognition/faces/{image_id}", **about())
@in_quick_worker
def delete_example(collection: _Managing, image_id: str) -> Answer[Any]:
    """Forget an example; its subject stays."""
    return Answer(_forgotten(collection(), image_id), {"forgotten": 1})


def _forgotten(gallery: OpenGallery, image_id: str) -> dict[str, str]:
    sample = _sample(gallery, image_id)
    gallery.forget_sample(sample.subject, sample.id)
    return {"image_id": image_id, "subject": sample.subject}


@router.get("/api/v1/recognition/faces/{image_id}/img", **about())
@in_quick_worker
def show_example(collection: _Managing, image_id: str) -> Answer[Any]:
    """Return the picture of an example, where the gallery keeps one; else nothing. The log tells that it was shown."""
    return _shown(collection(), image_id)


@router.get("/static/{api_key}/images/{image_id}", **about())
@router.get("/api/v1/static/{api_key}/images/{image_id}", **about())
@in_quick_worker
def show_static(collection: _Shown, api_key: str, image_id: str) -> Answer[Any]:
    """Return the picture of an example by a URL that has the key in it, for pages that show it."""
    secret = api_key not in DEMO_KEYS.values()
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"} if secret else {}
    return replace(_shown(collection(), image_id), headers=headers)


def _shown(gallery: OpenGallery, image_id: str) -> Answer[Any]:
    data = b""
    with suppress(SampleNotFound):
        sample = _sample(gallery, image_id)
        data = gallery.picture(sample.subject, sample.id)
    return Answer(data, media_type="application/octet-stream")


@router.get("/api/v1/config")
async def config(request: Request) -> Response:
    """Tell how large images and bodies may be, in bytes."""
    settings = request.app.state.settings
    return JSONResponse({"clientMaxFileSize": settings.max_bytes, "clientMaxBodySize": settings.max_body_bytes})


@router.get("/api/v1/consistence/status")
async def consistence() -> Response:
    """Tell that no collection holds embeddings of another model, which none ever does here."""
    inconsistent = dict.fromkeys(("demoFaceCollectionIsInconsistent", "dbIsInconsistent"), False)
    return JSONResponse({**inconsistent, "saveImagesToDB": False, "status": "OK"})


@router.post("/api/v1/migrate")
async def migrate() -> Response:
    """Tell that there is nothing to migrate: no collection holds embeddings of another model."""
    return PlainTextResponse("There is nothing to migrate: no collection holds embeddings of another model")
