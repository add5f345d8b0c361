"""Routes of subjects and their samples: looked at, changed, merged, exported, forgotten; and their entity tags.

Source: RFC 9110, sections 8.8.3 (tags and their comparison), 13.1 (the two headers) and 13.2.2 (their order).
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from visavis.core.image import as_jpeg, preview
from visavis.errors import VersionMismatch
from visavis.galleries.records import LONGEST_ID, Details, LogEntry, Sample, Subject
from visavis.models.recognizer import Recognizer
from visavis.record import Record
from visavis.server.openapi import ETAG, about, header
from visavis.server.pool import Answer, InPath, InUse, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.server.requests import Merge, Move, NewSubject, Page, PictureOptions, Split, SubjectChange
from visavis.service.gallery import OpenGallery
from visavis.service.results import Candidate, Receipt
from visavis.types import FloatArray, Shape

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_EACH = re.compile(_TAG)
_ANY = "*"
_NOT_MODIFIED = 304
_MOST_DIGITS = 18  # so that every store can hold the number


@dataclass(frozen=True, slots=True)
class Conditions:
    """Entity tags that a request names: those that it expects, and those that it does not; None where it names none."""

    match: tuple[str, ...] | None
    none_match: tuple[str, ...] | None

    @classmethod
    async def of(cls, request: Request) -> "Conditions":
        """Read the headers of a request; a ``Problem`` where one is no list of entity tags."""
        return cls(_tags(request, "If-Match"), _tags(request, "If-None-Match"))

    def fail(self, tag: str) -> bool:
        """Tell whether the tag is not among the expected ones."""
        return self.match is not None and not any(each in (_ANY, tag) for each in self.match)

    def know(self, tag: str) -> bool:
        """Tell whether the tag is among the others, be it weak or not."""
        return any(each.removeprefix("W/") in (_ANY, tag) for each in self.none_match or ())


def _tags(request: Request, name: str) -> tuple[str, ...] | None:
    values = request.headers.getlist(name)
    text = ", ".join(values).strip(" \t")
    if not values or text == _ANY:
        return (_ANY,) if values else None
    if not _TAGS.fullmatch(text):
        detail = f'{name}: must be * or entity tags in quotes, such as "17-3"'
        raise Problem("invalid_request", detail, field=name)
    return tuple(_EACH.findall(text))


def _tag_of(subject: Subject) -> str:
    """Return the tag of a subject in its present state; a subject made anew under an old ID has another one."""
    return f'"{subject.number}-{subject.version}"'


def _changed(tag: str) -> VersionMismatch:
    return VersionMismatch(f"the subject is not as expected; its entity tag is {tag} now")


def _expected_version(gallery: OpenGallery, subject: str, conditions: Conditions) -> int | None:
    """Return the version that a subject must still have when it is changed; None where any will do."""
    if conditions.match is None and conditions.none_match is None:
        return None
    found = gallery.subject(subject)
    tag = _tag_of(found)
    if conditions.fail(tag) or conditions.know(tag):
        raise _changed(tag)
    return found.version if conditions.match is not None and _ANY not in conditions.match else None


_Id: TypeAlias = Annotated[
    str,
    Path(description="A subject's ID, percent-encoded.", json_schema_extra={"minLength": 1, "maxLength": LONGEST_ID}),
]


async def subject_id(request: Request, subject: _Id) -> str:
    """Return the subject that the path names, if its percent signs hide UTF-8: else two paths might mean the same."""
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid_request", "the path is not UTF-8", status=400) from None
    return subject


def number(text: str) -> int:
    """Return a number of a path, if every store can hold it."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise ValueError(f"must be a whole number of at most {_MOST_DIGITS} digits")
    return int(text)


_Subject: TypeAlias = Annotated[str, Depends(subject_id)]
SampleId: TypeAlias = Annotated[
    int, BeforeValidator(number), Path(description="A sample's ID.", json_schema_extra={"minimum": 1})
]
_Conditions: TypeAlias = Annotated[Conditions, Depends(Conditions.of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectDetail(Subject):
    """A person with all samples."""

    sample_list: tuple[Sample, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectsResponse(Record):
    """A page of subjects, in the order in which they were enrolled."""

    subjects: tuple[Subject, ...]
    """As many as were asked for, or all that there are."""
    next_cursor: str | None
    """Where the next page begins; null where this is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarResponse(Record):
    """Subjects that may be the same person as another."""

    candidates: tuple[Candidate, ...]
    """Nearest first, each with the distance of the nearest two samples."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleExport(Sample):
    """One enrolled face, with what is stored of it."""

    embedding: Annotated[FloatArray, Shape((0,))]
    """(D,)."""
    picture_data: str | None
    """The chip or the image, in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectExport(Subject):
    """All that is stored of a person."""

    gallery: str
    """Its name."""
    sample_list: tuple[SampleExport, ...]
    """Oldest first."""
    log: tuple[LogEntry, ...]
    """What is told of the subject."""


router = APIRouter(prefix="/v1/galleries/{gallery}/subjects", tags=["subjects"])
_IF_MATCH = header("If-Match", "Entity tags: go on only where the subject is in one of these states; `*` for any.")
_IF_NONE_MATCH = header("If-None-Match", "Entity tags: answer 304 where the subject still is in one of these states.")


@router.get("", **about("read"))
@in_quick_worker
def list_subjects(gallery: InPath, page: Annotated[Page, Query()]) -> SubjectsResponse:
    """List subjects page by page, in the order in which they were enrolled."""
    of = f"subjects/{gallery.name}"
    found = gallery.subjects(after=page.after(of), limit=page.limit + 1)
    return SubjectsResponse(subjects=found[: page.limit], next_cursor=page.next(found, of))


@router.post("", **about("enrol", "subject_exists", "consent_missing", status=201, headers=ETAG))
@in_quick_worker
def add_subject(gallery: InPath, wanted: NewSubject) -> Answer[Subject]:
    """Make a subject that has no samples yet."""
    made = gallery.add_subject(wanted.id, details=Details(**wanted.options(cast("type[Any]", Details))))
    return Answer(made, headers={"ETag": _tag_of(made)})


@router.get(
    "/{subject}",
    **about(
        "read",
        "version_mismatch",
        headers=ETAG,
        also={_NOT_MODIFIED: {"description": "It still is in one of these states.", "headers": ETAG}},
        extra={"parameters": [_IF_MATCH, _IF_NONE_MATCH]},
    ),
)
@in_quick_worker
def show_subject(gallery: InPath, subject: _Subject, conditions: _Conditions) -> Answer[SubjectDetail]:
    """Show what is known of a subject, and its samples."""
    found = gallery.subject(subject)
    tag = _tag_of(found)
    if conditions.fail(tag):
        raise _changed(tag)
    if conditions.know(tag):
        return Answer(None, status=_NOT_MODIFIED, headers={"ETag": tag}, media_type=None)
    members = {each.name: getattr(found, each.name) for each in fields(found)}
    return Answer(SubjectDetail(**members, sample_list=gallery.samples(subject)), headers={"ETag": tag})


@router.patch(
    "/{subject}",
    **about("enrol", "version_mismatch", "subject_exists", headers=ETAG, extra={"parameters": [_IF_MATCH]}),
)
@in_quick_worker
def change_subject(
    gallery: InPath, subject: _Subject, conditions: _Conditions, wanted: SubjectChange
) -> Answer[Subject]:
    """Change name, metadata, consent or expiry, or the ID; null clears, and what is not given stays."""
    version = _expected_version(gallery, subject, conditions)
    changed = gallery.update(subject, wanted.details, new_id=wanted.id, version=version)
    return Answer(changed, headers={"ETag": _tag_of(changed)})


@router.delete("/{subject}", **about("admin", "version_mismatch", extra={"parameters": [_IF_MATCH]}))
@in_quick_worker
def forget_subject(gallery: InPath, subject: _Subject, conditions: _Conditions) -> Answer[Receipt]:
    """Forget a subject with all samples and all that is known of it, and answer with a receipt."""
    version = _expected_version(gallery, subject, conditions)
    return receipt(gallery.forget_subject(subject, version=version))


@router.post("/{subject}/merge", **about("admin", "consent_missing", headers=ETAG))
@in_worker  # it may have many samples
def merge_subject(gallery: InPath, subject: _Subject, wanted: Merge) -> Answer[Subject]:
    """Give all samples of a subject to another, with their pictures, and forget the first; answer with the other.

    The name, metadata and consent of the first go with it.
    """
    merged = gallery.merge(subject, wanted.into)
    return Answer(merged, headers={"ETag": _tag_of(merged)})


@router.post("/{subject}/move", **about("admin", "consent_missing", "sample_not_found", headers=ETAG))
@in_worker
def move_samples(gallery: InPath, subject: _Subject, wanted: Move) -> Answer[Subject]:
    """Give samples of a subject to another, with their pictures, all or none; answer with the other.

    They get new IDs. Both subjects stay, also without any sample.
    """
    other = gallery.move(subject, wanted.samples, wanted.into)
    return Answer(other, headers={"ETag": _tag_of(other)})


@router.post(
    "/{subject}/split", **about("admin", "consent_missing", "sample_not_found", "subject_exists", headers=ETAG)
)
@in_worker
def split(gallery: InPath, subject: _Subject, wanted: Split) -> Answer[Subject]:
    """Give samples of a subject to a new one, with their pictures, all or none; answer with that.

    They get new IDs. The first one stays, also without any sample. Unless it is said when, the new one is forgotten
    when the first one is.
    """
    made = gallery.split(subject, wanted.samples, into=wanted.into, details=wanted.details)
    return Answer(made, headers={"ETag": _tag_of(made)})


@router.get("/{subject}/similar", **about("admin", "space_mismatch"))
@in_worker
def similar(gallery: InPath, subject: _Subject) -> SimilarResponse:
    """List the five subjects whose faces are nearest to this one's: who may be the same person."""
    return SimilarResponse(candidates=gallery.similar(subject))


@router.get("/{subject}/export", **about("admin"))
@in_quick_worker
def export_subject(gallery: InPath, subject: _Subject) -> Answer[SubjectExport]:
    """Return all that is stored of a subject, with embeddings, pictures and log entries: for the person."""
    return Answer(gallery.export_subject(subject))


_BINARY = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
_BEGINNINGS = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "gif": rb"GIF8",
    "bmp": rb"BM",
    "tiff": rb"II\*\0|MM\0\*",
    "webp": rb"RIFF....WEBP",
    "avif": rb"....ftypavi[fs]",
    "heic": rb"....ftypheic",
    "heif": rb"....ftypmif1",
}


PICTURE: Mapping[str, Any] = {
    "response_class": Response,
    **about(
        "admin",
        "sample_not_found",
        also={200: {"content": _BINARY, "description": "The chip or the image, as the gallery's policy says."}},
    ),
}


@router.get("/{subject}/picture", **PICTURE)
@in_quick_worker
def best_picture(
    gallery: InPath, recognizer: InUse, subject: _Subject, shown: Annotated[PictureOptions, Query()]
) -> Answer[bytes]:
    """Return the sharpest picture that is kept of a subject. The log tells that it was looked at."""
    return shown_as(gallery.best_picture(subject), shown, recognizer, "subject")


@router.get("/{subject}/samples/{sample}/picture", **PICTURE)
@in_quick_worker
def picture(
    gallery: InPath, recognizer: InUse, subject: _Subject, sample: SampleId, shown: Annotated[PictureOptions, Query()]
) -> Answer[bytes]:
    """Return the aligned face or the whole image, where the gallery keeps it. The log tells that it was looked at."""
    return shown_as(gallery.picture(subject, sample), shown, recognizer, f"sample-{sample}")


def shown_as(data: bytes, shown: PictureOptions, recognizer: Recognizer, name: str) -> Answer[bytes]:
    """Answer with a picture, made smaller where that is wanted."""
    if shown.side is not None:
        data = b64decode(as_jpeg(preview(data, shown.side, limits=recognizer.limits).pixels))
    kind = media_type_of(data)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind.partition("/")[2]}"'}
    return Answer(data, headers=headers, media_type=kind)


@router.delete("/{subject}/samples/{sample}", **about("admin", "sample_not_found"))
@in_quick_worker
def forget_sample(gallery: InPath, subject: _Subject, sample: SampleId) -> Answer[Receipt]:
    """Forget a sample; its subject stays, even without any."""
    return receipt(gallery.forget_sample(subject, sample))


def media_type_of(data: bytes) -> str:
    """Return the media type of an encoded image, by its first bytes."""
    kinds = (kind for kind, beginning in _BEGINNINGS.items() if re.match(beginning, data, re.DOTALL))
    return next((f"image/{kind}" for kind in kinds), "application/octet-stream")


def receipt(of: Receipt) -> Answer[Receipt]:
    """Answer with a receipt, and count what is gone."""
    return Answer(of, {"forgotten": of.samples})
