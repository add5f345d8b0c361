"""Routes of the review queue: faces of images that were nobody's for certain, looked at, named, ignored, discarded."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator

from visavis.options import EnrolEmbeddings, Review
from visavis.record import Record
from visavis.server.api.recognition import EnrolResponse, enrolled
from visavis.server.api.subjects import PICTURE, number, receipt, shown_as
from visavis.server.openapi import about
from visavis.server.pool import Answer, InPath, InUse, in_quick_worker, in_worker
from visavis.server.requests import FacesNamed, PictureOptions, ReviewFaces, ReviewPage
from visavis.service.results import Receipt, ReviewGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewResponse(Record):
    """A page of groups, those of most faces first."""

    groups: tuple[ReviewGroup, ...]
    """As many as were asked for, or all that there are."""
    next_cursor: str | None
    """Where the next page begins; null where this is the last one."""


router = APIRouter(prefix="/v1/galleries/{gallery}/review", tags=["review"])
_REFUSALS = ("space_mismatch", "conflict", "consent_missing", "sample_not_found", "idempotency_key_reused")


@router.get("", **about("admin", "space_mismatch"))
@in_worker
def list_groups(gallery: InPath, page: Annotated[ReviewPage, Query()]) -> ReviewResponse:
    """List the faces that wait, grouped by likeness; none where the gallery's policy has no `review_days`."""
    options = page.options(Review)
    of = f"review/{gallery.name}/{sorted(options.items())}"
    found, after = gallery.review.groups(after=page.after(of), limit=page.limit, **options)
    return ReviewResponse(groups=found, next_cursor=page.cursor_after(after, of))


@router.get("/{face}/picture", **PICTURE)
@in_quick_worker
def picture(
    gallery: InPath,
    recognizer: InUse,
    face: Annotated[
        int, BeforeValidator(number), Path(description="A face's number.", json_schema_extra={"minimum": 1})
    ],
    shown: Annotated[PictureOptions, Query()],
) -> Answer[bytes]:
    """Return the aligned face. The log tells that it was looked at."""
    return shown_as(gallery.review.picture(face), shown, recognizer, f"face-{face}")


@router.post("/name", **about("admin", *_REFUSALS))
@in_worker
def name(gallery: InPath, wanted: FacesNamed) -> Answer[EnrolResponse]:
    """Enrol faces as one person's, as if their images came now; those that are enrolled wait no more.

    The answer has a result for each, also for those that were refused; where all were, it is the first one's problem.
    """
    options = wanted.options(EnrolEmbeddings)
    found = gallery.review.name(wanted.faces, wanted.subject, details=wanted.details, **options)
    return enrolled(found, "faces")


@router.post("/ignore", **about("admin", *_REFUSALS))
@in_worker
def ignore(gallery: InPath, wanted: ReviewFaces) -> Answer[EnrolResponse]:
    """Enrol faces as those of a new subject that is ignored: whoever is like them is nobody. Else as `name`."""
    return enrolled(gallery.review.ignore(wanted.faces), "faces")


@router.post("/discard", **about("admin", "sample_not_found"))
@in_quick_worker
def discard(gallery: InPath, wanted: ReviewFaces) -> Answer[Receipt]:
    """Forget faces, and answer with a receipt; those that do not wait are passed over."""
    return receipt(gallery.review.discard(wanted.faces))
