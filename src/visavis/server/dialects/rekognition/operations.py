"""The operations: images alone, collections and their faces, users, searches.

A collection is a gallery, a user a subject, and a face one of its samples. A face that is associated with nobody is the
sample of a subject of its own, whose ID no user can have. To associate it is to give the sample to the user's subject,
so that every other protocol, too, sees whose it is.
"""

import secrets
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, get_args

import numpy as np

from visavis.core.decide import distance_of, named_rules, templates_of
from visavis.errors import (
    ChildFace,
    ExtremePose,
    FaceBlurred,
    FaceOccluded,
    FaceTooSmall,
    InvalidFace,
    LowScore,
    NoFace,
    NotLive,
    SampleNotFound,
    VisavisError,
)
from visavis.galleries.records import Sample
from visavis.models.recognizer import compare
from visavis.options import MOST_CANDIDATES, Policy
from visavis.server.dialects.rekognition.calls import Here, Paged, operation
from visavis.server.dialects.rekognition.wire import (
    ALONE,
    AttributeNames,
    CollectionName,
    FaceCount,
    FaceName,
    FaceNames,
    ImageName,
    InCall,
    PageToken,
    Percent,
    Refused,
    Results,
    UserCount,
    UserName,
    box_of,
    face_detail,
    find_face,
    is_user,
    told_face,
    with_attributes,
)
from visavis.server.pool import Answer
from visavis.service.decisions import rules_of
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import Candidate, Identification
from visavis.types import Doubt, Face, Faces, FloatArray, SizeWH

_OK, _ALL = 200, 100.0
_MOST_FACES = 100  # of an image
_PAGE, _PAGES = 1000, 10  # subjects of a page, and pages, among whom users are looked for
_LEAST = 1e-6  # of a distance, as a threshold
_SAYS_NOTHING = {*get_args(Doubt), "low_quality", "not_live"}
_REASONS: dict[type[VisavisError], str] = {
    FaceTooSmall: "SMALL_BOUNDING_BOX",
    FaceBlurred: "LOW_SHARPNESS",
    LowScore: "LOW_CONFIDENCE",
    ExtremePose: "EXTREME_POSE",
    **dict.fromkeys((InvalidFace, FaceOccluded, ChildFace, NotLive), "LOW_FACE_QUALITY"),
}


@operation("read")
def detect_faces(here: Here, Image: InCall, Attributes: AttributeNames | None = None) -> Answer[Any]:
    """Find the faces of an image, the 100 largest."""
    look = partial(here.recognizer.detect, Image.load(), quality=True)
    found = with_attributes(look, here.pack, Attributes or ())
    faces = [face_detail(face, found.size_wh, here.pack, Attributes or ()) for face in found[:_MOST_FACES]]
    return Answer({"FaceDetails": faces}, {"images": 1, "faces": len(faces)})


@operation("read")
def compare_faces(
    here: Here, SourceImage: InCall, TargetImage: InCall, SimilarityThreshold: Percent = 80
) -> Answer[Any]:
    """Compare the largest face of an image with each of another; one that says nothing matches nobody."""
    sources = here.recognizer.embed(SourceImage.load(), faces="largest", quality=True)
    targets = here.recognizer.embed(TargetImage.load(), quality=True)
    if not (sources and targets):
        raise NoFace(f"{'TargetImage' if sources else 'SourceImage'}: no face found")

    def compared(face: Face) -> dict[str, Any]:
        found = compare(here.pack, sources[0], face, here.recognizer.rule)
        similarity = 0.0 if found.reason else here.scale.value(found.distance)
        return {"Similarity": similarity, "Face": face_detail(face, targets.size_wh, here.pack)}

    every = sorted(map(compared, targets[:_MOST_FACES]), key=lambda each: -each["Similarity"])
    matched = [each for each in every if each["Similarity"] >= SimilarityThreshold]
    source = face_detail(sources[0], sources.size_wh, here.pack)
    answer = {
        "SourceImageFace": {name: source[name] for name in ("BoundingBox", "Confidence")},
        "FaceMatches": matched,
        "UnmatchedFaces": [each["Face"] for each in every[len(matched) :]],
    }
    return Answer(answer, {"images": 2, "faces": 1 + len(every)})


@operation("admin", quick=True)
def create_collection(here: Here, CollectionId: CollectionName) -> Answer[Any]:
    """Make a gallery that tells of more candidates, and farther ones, than others do: clients set the threshold."""
    named = named_rules(here.pack.rates).values() if here.pack.rates else ()
    widest = max((here.pack.threshold, *(each.threshold for each in named)))
    here.galleries.create(CollectionId, policy=Policy(candidate_threshold=widest, most_candidates=MOST_CANDIDATES))
    return Answer({"StatusCode": _OK, "CollectionArn": _arn(CollectionId), **here.version})


@operation("read", quick=True)
def describe_collection(here: Here, CollectionId: CollectionName) -> Answer[Any]:
    """Tell how many faces and users a gallery holds; users only where they are soon counted."""
    record = here.galleries.named(CollectionId).record
    answer = {
        "FaceCount": record.samples,
        "FaceModelVersion": record.space.id,
        "CollectionARN": _arn(record.name),
        "CreationTimestamp": record.created_at.timestamp(),
    }
    users, after = _users_after(here.galleries.named(CollectionId), 0, _PAGE * _PAGES)
    return Answer(answer if after else {**answer, "UserCount": len(users)})


@operation("read", quick=True)
def list_collections(here: Here, NextToken: PageToken | None = None, MaxResults: Results | None = None) -> Answer[Any]:
    """List the galleries that the key may see, oldest first."""
    paged = Paged.read("collections", NextToken, MaxResults)
    seen = [each for each in here.galleries.all() if here.key is None or here.key.covers(each.name)]
    rest = sorted((each for each in seen if each.number > paged.after), key=lambda each: each.number)
    page = rest[: paged.limit]
    names, versions = [each.name for each in page], [each.space.id for each in page]
    last = page[-1].number if len(rest) > len(page) else None
    return Answer({"CollectionIds": names, "FaceModelVersions": versions, **paged.token(last)})


@operation("admin", quick=True)
def delete_collection(here: Here, CollectionId: CollectionName) -> Answer[Any]:
    """Forget a gallery with everybody in it."""
    receipt = here.galleries.named(CollectionId).forget()
    return Answer({"StatusCode": _OK}, {"forgotten": receipt.samples})


@operation("enrol")
def index_faces(  # noqa: PLR0913  # as AWS has it
    here: Here,
    *,
    CollectionId: CollectionName,
    Image: InCall,
    ExternalImageId: ImageName | None = None,
    DetectionAttributes: AttributeNames | None = None,
    MaxFaces: FaceCount = _MOST_FACES,
) -> Answer[Any]:
    """Enrol the faces of an image, each for itself. What the gallery's policy refuses is told, whatever the filter."""
    gallery, data, asked = here.galleries.named(CollectionId), Image.load(), DetectionAttributes or ()
    found = with_attributes(partial(gallery.observe, data), here.pack, asked)
    details = [face_detail(seen.face, found.size_wh, here.pack, asked) for seen in found]
    most = min(MaxFaces, _MOST_FACES)
    unindexed = [{"Reasons": ["EXCEEDS_MAX_FACES"], "FaceDetail": detail} for detail in details[most:]]
    about = {"image_id": str(uuid.uuid4()), **({"external_id": ExternalImageId} if ExternalImageId else {})}
    enrolments = [
        Enrolment(
            subject=_new_alone(),
            seen=seen,
            picture=data if isinstance(data, bytes) else None,
            sample_metadata={**about, "box": box_of(seen.face.box_xyxy, found.size_wh)},
        )
        for seen in found[:most]
    ]
    records = []
    for enrolled, detail in zip(gallery.enrol_many(enrolments, allow_conflict=True), details, strict=False):
        if not isinstance(enrolled, VisavisError):
            face = told_face(gallery.record.number, gallery.sample(enrolled.sample))
            records.append({"Face": face, "FaceDetail": detail})
        elif reason := _REASONS.get(type(enrolled)):
            unindexed.append({"Reasons": [reason], "FaceDetail": detail})
        else:
            raise enrolled
    counts = {"images": 1, "faces": len(found), "enrolled": len(records)}
    return Answer({"FaceRecords": records, "UnindexedFaces": unindexed, **here.version}, counts)


@operation("read", quick=True)
def list_faces(  # noqa: PLR0913  # as AWS has it
    here: Here,
    *,
    CollectionId: CollectionName,
    UserId: UserName | None = None,
    FaceIds: FaceNames | None = None,
    NextToken: PageToken | None = None,
    MaxResults: Results | None = None,
) -> Answer[Any]:
    """List faces in the order of their samples; of a user, or those that are named, where that is asked for."""
    gallery = here.galleries.named(CollectionId)
    number = gallery.record.number
    paged = Paged.read(f"faces/{number}/{UserId or ''}", NextToken, MaxResults)
    if UserId is not None:
        found = [each for each in gallery.samples(UserId) if each.id > paged.after]
    elif FaceIds is not None:
        named = [find_face(gallery, face) for face in dict.fromkeys(FaceIds)]
        found = sorted((each for each in named if each and each.id > paged.after), key=lambda each: each.id)
    else:
        found = list(gallery.all_samples(after=paged.after, limit=paged.limit + 1))
    page = found[: paged.limit]
    faces = [told_face(number, each) for each in page if not each.counter]
    last = page[-1].id if len(found) > len(page) else None
    return Answer({"Faces": faces, **here.version, **paged.token(last)})


@operation("admin", quick=True)
def delete_faces(here: Here, CollectionId: CollectionName, FaceIds: FaceNames) -> Answer[Any]:
    """Forget faces that are associated with nobody."""
    gallery = here.galleries.named(CollectionId)
    deleted, failed = [], []
    for name in dict.fromkeys(FaceIds):
        sample = find_face(gallery, name)
        if sample is None:
            failed.append({"FaceId": name, "Reasons": ["FACE_NOT_FOUND"]})
        elif is_user(sample.subject):
            why = {"UserId": sample.subject, "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}
            failed.append({"FaceId": name, **why})
        else:
            if gallery.subject(sample.subject).samples == 1:
                gallery.forget_subject(sample.subject)
            else:
                gallery.forget_sample(sample.subject, sample.id)
            deleted.append(name)
    some = {"DeletedFaces": deleted} if deleted else {}  # an empty list is none of the model's
    return Answer({**some, "UnsuccessfulFaceDeletions": failed}, {"forgotten": len(deleted)})


@operation("enrol", quick=True)
def create_user(here: Here, CollectionId: CollectionName, UserId: UserName) -> Answer[Any]:
    """Make a subject that has no faces yet."""
    here.galleries.named(CollectionId).add_subject(UserId)
    return Answer({})


@operation("admin", quick=True)
def delete_user(here: Here, CollectionId: CollectionName, UserId: UserName) -> Answer[Any]:
    """Forget a user; the faces stay, and are nobody's, as they are with AWS."""
    gallery = here.galleries.named(CollectionId)
    for sample in gallery.samples(UserId):
        if not sample.counter:
            _separate(gallery, sample)
    gallery.forget_subject(UserId)
    return Answer({})


@operation("read", quick=True)
def list_users(
    here: Here, CollectionId: CollectionName, NextToken: PageToken | None = None, MaxResults: UserCount = 500
) -> Answer[Any]:
    """List users in the order in which they were made. A page may be short though there is a next one."""
    gallery = here.galleries.named(CollectionId)
    paged = Paged.read(f"users/{gallery.record.number}", NextToken, MaxResults)
    users, after = _users_after(gallery, paged.after, paged.limit)
    return Answer({"Users": users, **paged.token(after)})


@operation("admin")
def associate_faces(
    here: Here, CollectionId: CollectionName, UserId: UserName, FaceIds: FaceNames, UserMatchThreshold: Percent = 75
) -> Answer[Any]:
    """Give faces that are nobody's to a user whom they resemble; the first of all is taken as it is."""
    gallery = here.galleries.named(CollectionId)
    own = _vectors(gallery, UserId)
    done, failed = [], []
    for name in dict.fromkeys(FaceIds):
        sample = find_face(gallery, name)
        why: dict[str, Any] = {}
        if sample is None:
            why = {"Reasons": ["FACE_NOT_FOUND"]}
        elif is_user(sample.subject) and sample.subject != UserId:
            why = {"UserId": sample.subject, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
        elif sample.subject != UserId:
            distance = distance_of(here.pack.metric, sample.embedding, _template(own)) if own else 0.0
            alike = here.scale.value(distance) if own else _ALL
            if alike < UserMatchThreshold:
                why = {"UserId": UserId, "Confidence": alike, "Reasons": ["LOW_MATCH_CONFIDENCE"]}
            elif gallery.subject(sample.subject).samples == 1:
                gallery.merge(sample.subject, UserId)
            else:
                gallery.move(sample.subject, [sample.id], UserId)
            own += [] if why else [sample.embedding]
        if why:
            failed.append({"FaceId": name, **why})
        else:
            done.append({"FaceId": name})
    return Answer({"AssociatedFaces": done, "UnsuccessfulFaceAssociations": failed, "UserStatus": _status(len(own))})


@operation("admin")
def disassociate_faces(here: Here, CollectionId: CollectionName, UserId: UserName, FaceIds: FaceNames) -> Answer[Any]:
    """Take faces from a user; they stay, and are nobody's."""
    gallery = here.galleries.named(CollectionId)
    gallery.subject(UserId)
    done, failed = [], []
    for name in dict.fromkeys(FaceIds):
        sample = find_face(gallery, name)
        if sample is None or not is_user(sample.subject):
            failed.append({"FaceId": name, "Reasons": ["FACE_NOT_FOUND"]})
        elif sample.subject != UserId:
            why = {"UserId": sample.subject, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
            failed.append({"FaceId": name, **why})
        else:
            _separate(gallery, sample)
            done.append({"FaceId": name})
    status = _status(gallery.subject(UserId).samples)
    return Answer({"DisassociatedFaces": done, "UnsuccessfulFaceDisassociations": failed, "UserStatus": status})


@operation("probe")
def search_faces(
    here: Here,
    *,
    CollectionId: CollectionName,
    FaceId: FaceName,
    MaxFaces: FaceCount = 80,
    FaceMatchThreshold: Percent = 80,
) -> Answer[Any]:
    """Look for faces like one of the collection, but for that one."""
    gallery = here.galleries.named(CollectionId)
    probe, how = _face(gallery, FaceId), _how(here, gallery, FaceMatchThreshold, MaxFaces + 1)
    (found,) = gallery.identify_embeddings(probe.embedding[None], group_by="sample", **how)
    others = [each for each in _near(found) if each.sample != probe.id][:MaxFaces]
    answer = {"SearchedFaceId": FaceId, "FaceMatches": _faces(here, gallery, others), **here.version}
    return Answer(answer, {"outcomes": (found.unknown or "matched",)})


@operation("read")
def search_faces_by_image(
    here: Here,
    *,
    CollectionId: CollectionName,
    Image: InCall,
    MaxFaces: FaceCount = 80,
    FaceMatchThreshold: Percent = 80,
) -> Answer[Any]:
    """Look for faces of the collection like the largest one of an image."""
    gallery = here.galleries.named(CollectionId)
    how = _how(here, gallery, FaceMatchThreshold, MaxFaces)
    found, face, size_wh = _of_image(gallery.identify(Image.load(), faces="largest", group_by="sample", **how))
    detail = face_detail(face, size_wh, here.pack)
    answer = {
        "SearchedFaceBoundingBox": detail["BoundingBox"],
        "SearchedFaceConfidence": detail["Confidence"],
        "FaceMatches": _faces(here, gallery, _near(found)),
        **here.version,
    }
    return Answer(answer, {"images": 1, "faces": 1, "outcomes": (found.unknown or "matched",)})


@operation("probe")
def search_users(  # noqa: PLR0913  # as AWS has it
    here: Here,
    *,
    CollectionId: CollectionName,
    UserId: UserName | None = None,
    FaceId: FaceName | None = None,
    UserMatchThreshold: Percent = 80,
    MaxUsers: UserCount = 500,
) -> Answer[Any]:
    """Look for users like a face, or a user, of the collection, but for that one."""
    gallery = here.galleries.named(CollectionId)
    if (FaceId is None) == (UserId is None):
        raise Refused("InvalidParameterException", "give one of UserId and FaceId")
    searched: dict[str, Any] = {"SearchedFace": {"FaceId": FaceId}} if FaceId else {"SearchedUser": {"UserId": UserId}}
    own = [_face(gallery, FaceId).embedding] if FaceId else _vectors(gallery, UserId or "")
    if not own:
        raise Refused("InvalidParameterException", "UserId: this user has no faces")
    how = _how(here, gallery, UserMatchThreshold, MOST_CANDIDATES)
    (found,) = gallery.identify_embeddings(_template(own)[None], **how)
    users = [each for each in _users(here, found) if each["User"]["UserId"] != UserId][:MaxUsers]
    return Answer({"UserMatches": users, **searched, **here.version}, {"outcomes": (found.unknown or "matched",)})


@operation("read")
def search_users_by_image(
    here: Here,
    *,
    CollectionId: CollectionName,
    Image: InCall,
    UserMatchThreshold: Percent = 80,
    MaxUsers: UserCount = 500,
) -> Answer[Any]:
    """Look for users like the largest face of an image."""
    gallery = here.galleries.named(CollectionId)
    how = _how(here, gallery, UserMatchThreshold, MOST_CANDIDATES)
    found, face, size_wh = _of_image(gallery.identify(Image.load(), faces="largest", **how))
    answer = {
        "UserMatches": _users(here, found)[:MaxUsers],
        "SearchedFace": {"FaceDetail": face_detail(face, size_wh, here.pack)},
        "UnsearchedFaces": [],
        **here.version,
    }
    return Answer(answer, {"images": 1, "faces": 1, "outcomes": (found.unknown or "matched",)})


def _arn(name: str) -> str:
    return f"aws:rekognition:local:0:collection/{name}"


def _new_alone() -> str:
    return ALONE + secrets.token_hex(8)


def _separate(gallery: OpenGallery, sample: Sample) -> None:
    """Take a face from its user; it is forgotten when the user would have been."""
    gallery.split(sample.subject, [sample.id], into=_new_alone())


def _status(samples: int) -> str:
    return "ACTIVE" if samples else "CREATED"


def _users_after(gallery: OpenGallery, after: int, limit: int) -> tuple[list[dict[str, str]], int | None]:
    """Return the next users after a subject's number, and where to go on, or None; 10,000 subjects are looked at."""
    users: list[dict[str, str]] = []
    for _ in range(_PAGES):
        page = gallery.subjects(after=after, limit=_PAGE)
        for each in page:
            if len(users) == limit:
                return users, after
            after = each.number
            users += [{"UserId": each.id, "UserStatus": _status(each.samples)}] if is_user(each.id) else []
        if len(page) < _PAGE:
            return users, None
    return users, after


def _vectors(gallery: OpenGallery, user: str) -> list[FloatArray]:
    return [each.embedding for each in gallery.samples(user) if not each.counter]


def _template(embeddings: list[FloatArray]) -> FloatArray:
    """Return the template (D,) of faces, one at least."""
    _, (template,) = templates_of(np.stack(embeddings), np.zeros(len(embeddings), np.int64))
    found: FloatArray = template.astype(np.float32)
    return found


def _how(here: Here, gallery: OpenGallery, percent: float, limit: int) -> dict[str, Any]:
    """Return the options of a search: nobody is told of who is farther than the gallery's policy allows."""
    record = gallery.record
    rules = rules_of(record.policy, here.pack, searched=record)
    nearest = min(here.scale.distance(percent), rules.candidate_threshold)
    return {"threshold": max(nearest, _LEAST), "limit": min(limit, MOST_CANDIDATES)}


def _face(gallery: OpenGallery, name: str) -> Sample:
    sample = find_face(gallery, name)
    if sample is None:
        raise SampleNotFound(f"FaceId: there is no such face in collection {gallery.name!r}")
    return sample


def _of_image(found: Faces[Identification]) -> tuple[Identification, Face, SizeWH]:
    """Return who the one face of an image is, that face, and the size of the image."""
    if not found or found[0].face is None:
        raise NoFace("Image: no face found")
    return found[0], found[0].face, found.size_wh


def _near(found: Identification) -> list[Candidate]:
    """Return the candidates nearer than the threshold; none of a face whose distance to others says nothing."""
    if found.unknown in _SAYS_NOTHING:
        return []
    return [each for each in found.candidates if each.distance < found.threshold and not each.ignored]


def _faces(here: Here, gallery: OpenGallery, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    number, told = (gallery.record.number if candidates else 0), []
    for each in candidates:
        with suppress(SampleNotFound):  # it was forgotten meanwhile
            face = told_face(number, gallery.sample(each.sample))
            told.append({"Similarity": here.scale.value(each.distance), "Face": face})
    return told


def _users(here: Here, found: Identification) -> list[dict[str, Any]]:
    return [
        {"Similarity": here.scale.value(each.distance), "User": {"UserId": each.subject, "UserStatus": "ACTIVE"}}
        for each in _near(found)
        if is_user(each.subject)
    ]
