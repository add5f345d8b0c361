"""Routes of galleries: made, looked at, changed, forgotten; their logs."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from visavis.errors import GalleryExists, GalleryLocked, GalleryNotFound
from visavis.galleries.records import Gallery, LogEntry, may_be_gallery
from visavis.options import Policy
from visavis.record import Record
from visavis.server.api.subjects import SubjectsResponse, receipt
from visavis.server.auth import Key, check_covers, guards
from visavis.server.openapi import LOCATION, about
from visavis.server.pool import AllGalleries, Answer, GalleryName, InPath, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.server.requests import GalleryChange, LogPage, NewGallery, SubjectSearch, WantedGallery
from visavis.service.galleries import Galleries
from visavis.service.results import AuditReport, GalleryRules, Receipt

_ONE = "/v1/galleries/{gallery}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleriesResponse(Record):
    """The galleries that the key may see, by name."""

    galleries: tuple[Gallery, ...]
    """By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogResponse(Record):
    """A page of the log."""

    entries: tuple[LogEntry, ...]
    """As many as were asked for, or all that there are."""
    next_cursor: str | None
    """Where the next page begins; null where this is the last one."""


router = APIRouter(tags=["galleries"])


@router.get("/v1/galleries", **about("read"))
@in_quick_worker
def list_galleries(galleries: AllGalleries, key: Key) -> GalleriesResponse:
    """List the galleries that the key may see, by name."""
    seen = [each for each in galleries.all() if key is None or key.covers(each.name)]
    return GalleriesResponse(galleries=tuple(seen))


@router.post("/v1/galleries", **about("admin", "gallery_exists", status=201, headers=LOCATION))
@in_quick_worker
def create(galleries: AllGalleries, key: Key, wanted: NewGallery) -> Answer[Gallery]:
    """Make a gallery for embeddings of the server's models. What is not said of its policy is the default."""
    check_covers(key, wanted.name)
    return _made(galleries, wanted.name, wanted)


@router.put(
    _ONE,
    **about(
        "admin",
        headers=LOCATION,
        also={201: {"content": {}, "description": "It was made.", "headers": LOCATION}},
    ),
)
@in_quick_worker
def get_or_create(galleries: AllGalleries, gallery: GalleryName, wanted: WantedGallery) -> Answer[Gallery]:
    """Make a gallery where there is none of that name; one that is there stays as it is, whatever the body says."""
    with suppress(GalleryNotFound):
        return Answer(galleries.open(gallery).record)
    with suppress(GalleryExists):  # somebody else just made it
        return _made(galleries, gallery, wanted)
    return Answer(galleries.open(gallery).record)


def _made(galleries: Galleries, name: str, wanted: WantedGallery) -> Answer[Gallery]:
    policy = wanted.policy.applied_to(Policy())
    try:
        made = galleries.create(name, policy=policy, encrypted=wanted.encrypted)
    except GalleryLocked:
        detail = "encrypted: this server has no key to encrypt galleries with"
        raise Problem("invalid_option", detail, field="encrypted") from None
    return Answer(made.record, status=201, headers={"Location": f"/v1/galleries/{name}"})


@router.get(_ONE, **about("read"))
@in_quick_worker
def show(gallery: InPath) -> Gallery:
    """Show a gallery's policy, its embedding space, and how many it holds."""
    return gallery.record


@router.get(f"{_ONE}/rules", **about("read", "space_mismatch"))
@in_quick_worker
def rules(gallery: InPath) -> GalleryRules:
    """Show the numbers in force in a gallery. They follow from its policy, its pack, and how many it holds."""
    return gallery.rules()


@router.patch(_ONE, **about("admin"))
@in_quick_worker
def change(gallery: InPath, wanted: GalleryChange) -> Gallery:
    """Change some of the policy; the rest stays, and what is enrolled already stays."""
    return gallery.set_policy(wanted.policy.applied_to(gallery.record.policy))


@router.delete(_ONE, **about("admin"))
@in_quick_worker
def forget(gallery: InPath) -> Answer[Receipt]:
    """Forget a gallery with everybody in it; where it is encrypted, destroy its key. Its log stays."""
    return receipt(gallery.forget())


@router.post(f"{_ONE}/search", **about("read"))
@in_quick_worker
def search(gallery: InPath, wanted: SubjectSearch) -> SubjectsResponse:
    """List the subjects whose ID or name contains a text. A page may be short, or empty, though there is a next one."""
    of = f"search/{gallery.name}"
    found, after = gallery.search_subjects(wanted.text, after=wanted.after(of), limit=wanted.limit)
    return SubjectsResponse(subjects=found, next_cursor=wanted.cursor_after(after, of))


@router.get(f"{_ONE}/audit", **about("admin", "space_mismatch"))
@partial(in_worker, pool="audits")  # a worker of their own: one may take hours
def audit(gallery: InPath) -> AuditReport:
    """Look for subjects that may be one person, samples that look wrong or are poor. Takes long in large galleries."""
    return gallery.audit()


@router.get(f"{_ONE}/log", **about("admin"))
@in_quick_worker
def log(galleries: AllGalleries, gallery: GalleryName, page: Annotated[LogPage, Query()]) -> LogResponse:
    """Show who did what in a gallery, oldest or newest first; also in one that is forgotten."""
    if not may_be_gallery(gallery):
        raise GalleryNotFound("no gallery can have this name")
    return _logged(galleries, gallery, page)


@router.get("/v1/log", **about(guards("admin", everywhere=True)))
@in_quick_worker
def whole_log(galleries: AllGalleries, page: Annotated[LogPage, Query()]) -> LogResponse:
    """Show who did what in all galleries, oldest or newest first; not with a key that is limited to some."""
    return _logged(galleries, None, page)


def _logged(galleries: Galleries, gallery: str | None, page: LogPage) -> LogResponse:
    of = ("log" if gallery is None else f"log/{gallery}") + "/newest" * page.newest_first
    found = galleries.entries(gallery, after=page.after(of), limit=page.limit + 1, newest_first=page.newest_first)
    return LogResponse(entries=found[: page.limit], next_cursor=page.next(found, of))
