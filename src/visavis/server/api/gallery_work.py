"""Calls on galleries and subjects: who calls, which gallery is meant, and the work in a worker."""

from collections.abc import Callable

from fastapi import Request
from starlette.responses import Response

from visavis.errors import GalleryLocked, GalleryNotFound, VersionMismatch
from visavis.galleries.checks import may_be_gallery
from visavis.galleries.records import Subject
from visavis.options import Policy
from visavis.server.api.work import Answer, Job, to_json
from visavis.server.conditions import Conditions, from_cursor, tag_of, to_cursor
from visavis.server.keys import KeyRecord
from visavis.server.observability import Tally
from visavis.server.problems import Problem
from visavis.server.reading import Body, check_path
from visavis.server.requests import GalleryChange, NewGallery, Page, SubjectChange
from visavis.server.runner import Submit, at_once, run
from visavis.service.galleries import Galleries
from visavis.service.gallery import OpenGallery
from visavis.service.results import Receipt

_CREATED = 201
_NOT_MODIFIED = 304
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"mif1": "image/heif"}
_WHOLE_LOG = "log"


def list_galleries(galleries: Galleries, covers: Callable[[str], bool]) -> Answer:
    """Tell of the galleries that a caller may see."""
    seen = [gallery.to_dict() for gallery in galleries.all() if covers(gallery.name)]
    return Answer(to_json({"galleries": seen}))


def create(galleries: Galleries, wanted: NewGallery) -> Answer:
    """Make a gallery.

    Raises:
        Problem: it is to be encrypted, and the server has no key.
    """
    policy = wanted.policy.applied_to(Policy())
    try:
        made = galleries.create(wanted.name, policy=policy, encrypted=wanted.encrypted)
    except GalleryLocked:
        detail = "encrypted: this server has no key to encrypt galleries with"
        raise Problem("invalid_option", detail, field="encrypted") from None
    return Answer(to_json(made.to_dict()), status=_CREATED, headers={"Location": f"/v1/galleries/{made.name}"})


def show(gallery: OpenGallery) -> Answer:
    """Tell of a gallery."""
    return Answer(to_json(gallery.record.to_dict()))


def change(gallery: OpenGallery, wanted: GalleryChange) -> Answer:
    """Change the policy of a gallery."""
    return Answer(to_json(gallery.set_policy(wanted.policy.applied_to(gallery.record.policy)).to_dict()))


def forget(gallery: OpenGallery) -> Answer:
    """Forget a gallery."""
    return _receipt(gallery.forget())


def audit(gallery: OpenGallery, going_on: Callable[[], bool]) -> Answer:
    """Look for what there is to mend, as long as anybody wants it."""
    return Answer(to_json(gallery.audit(going_on=going_on).to_dict()))


def log(galleries: Galleries, gallery: str | None, page: Page) -> Answer:
    """Return a page of the log, of a gallery, which may be forgotten, or of all.

    Raises:
        GalleryNotFound: no gallery can have that name.
    """
    if gallery is not None and not may_be_gallery(gallery):
        raise GalleryNotFound("no gallery can have this name")
    of = _WHOLE_LOG if gallery is None else f"{_WHOLE_LOG}/{gallery}"
    found = galleries.entries(gallery, after=from_cursor(page.cursor, of), limit=page.limit + 1)
    entries = found[: page.limit]
    more = to_cursor(entries[-1].number, of) if len(found) > page.limit else None
    return Answer(to_json({"entries": [each.to_dict() for each in entries], "next_cursor": more}))


def list_subjects(gallery: OpenGallery, page: Page) -> Answer:
    """Return a page of subjects."""
    of = f"subjects/{gallery.name}"
    found = gallery.subjects(after=from_cursor(page.cursor, of), limit=page.limit + 1)
    subjects = found[: page.limit]
    more = to_cursor(subjects[-1].number, of) if len(found) > page.limit else None
    return Answer(to_json({"subjects": [each.to_dict() for each in subjects], "next_cursor": more}))


def show_subject(gallery: OpenGallery, id_: str, conditions: Conditions) -> Answer:
    """Tell of a subject and its samples, unless the caller knows all that.

    Raises:
        VersionMismatch: it is not as the caller expects.
    """
    subject = gallery.subject(id_)
    headers = {"ETag": tag_of(subject)}
    verdict = conditions.judge(tag_of(subject), reading=True)
    if verdict == "failed":
        raise _changed(subject)
    if verdict == "not modified":
        return Answer(b"", status=_NOT_MODIFIED, headers=headers, media_type=None)
    samples = [each.to_dict() for each in gallery.samples(id_)]
    return Answer(to_json({**subject.to_dict(), "sample_list": samples}), headers=headers)


def change_subject(gallery: OpenGallery, id_: str, wanted: SubjectChange, conditions: Conditions) -> Answer:
    """Change what is known of a subject.

    Raises:
        VersionMismatch: it is not as the caller expects.
    """
    version = _expected_version(gallery, id_, conditions)
    subject = gallery.update(id_, wanted.details, version=version)
    return Answer(to_json(subject.to_dict()), headers={"ETag": tag_of(subject)})


def forget_subject(gallery: OpenGallery, id_: str, conditions: Conditions) -> Answer:
    """Forget a subject.

    Raises:
        VersionMismatch: it is not as the caller expects.
    """
    version = _expected_version(gallery, id_, conditions)
    return _receipt(gallery.forget_subject(id_, version=version))


def forget_sample(gallery: OpenGallery, id_: str, sample: int) -> Answer:
    """Forget a sample."""
    return _receipt(gallery.forget_sample(id_, sample))


def export_subject(gallery: OpenGallery, id_: str) -> Answer:
    """Return all that is known of a subject."""
    return Answer(to_json(gallery.export_subject(id_)))


def picture(gallery: OpenGallery, id_: str, sample: int) -> Answer:
    """Return what is stored of a sample's image."""
    data = gallery.picture(id_, sample)
    kind = media_type_of(data)
    headers = {"Content-Disposition": f'attachment; filename="sample-{sample}.{kind.partition("/")[2]}"'}
    return Answer(data, headers=headers, media_type=kind)


def media_type_of(data: bytes) -> str:
    """Return the media type of an encoded image, by its first bytes."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "application/octet-stream")
    return "application/octet-stream"


def _receipt(receipt: Receipt) -> Answer:
    return Answer(to_json(receipt.to_dict()), Tally(forgotten=receipt.samples))


def _expected_version(gallery: OpenGallery, id_: str, conditions: Conditions) -> int | None:
    """Return the version that a subject must still have when it is changed; None where any will do."""
    if not conditions.are_made:
        return None
    subject = gallery.subject(id_)
    if conditions.judge(tag_of(subject), reading=False) == "failed":
        raise _changed(subject)
    return subject.version if conditions.name_versions else None


def _changed(subject: Subject) -> VersionMismatch:
    return VersionMismatch(f"the subject is not as expected; its entity tag is {tag_of(subject)} now")


_NOBODY = "anonymous"


def key_of(request: Request) -> KeyRecord | None:
    """Return the key that a call came with, where keys are required."""
    key: KeyRecord | None = getattr(request.state, "key", None)
    return key


def galleries_of(request: Request) -> Galleries:
    """Return the server's galleries, for the caller to act on."""
    key = key_of(request)
    galleries: Galleries = request.app.state.galleries
    return galleries.acting_as(f"key {key.id}" if key else _NOBODY)


def open_gallery(request: Request) -> OpenGallery:
    """Return the gallery that the path names. To be called by a worker: it asks the store.

    Raises:
        GalleryNotFound: there is none of that name.
    """
    return galleries_of(request).open(request.path_params["gallery"])


def subject_in_path(request: Request) -> str:
    """Return the subject's ID that the path names.

    Raises:
        Problem: the path is not UTF-8.
    """
    check_path(request)
    subject: str = request.path_params["subject"]
    return subject


def job(act: Callable[[], Answer]) -> Job[Answer]:
    """Return work that has nothing to do with images."""
    return Job((), lambda _recognizer, _sources: act())


async def answer(request: Request, act: Callable[[Galleries], Answer]) -> Response:
    """Answer with what a worker does with the galleries."""

    def parse(_body: Body) -> Job[Answer]:
        return job(lambda: act(galleries_of(request)))

    return await run(request, parse)


async def answer_of(request: Request, act: Callable[[OpenGallery], Answer], submit: Submit = at_once) -> Response:
    """Answer with what a worker does with the gallery that the path names."""

    def parse(_body: Body) -> Job[Answer]:
        return job(lambda: act(open_gallery(request)))

    return await run(request, parse, submit)
