"""Routes of samples by their numbers alone, whoever has them."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from visavis.galleries.records import Sample
from visavis.record import Record
from visavis.server.api.subjects import SampleId, receipt
from visavis.server.openapi import about
from visavis.server.pool import Answer, InPath, in_quick_worker
from visavis.server.requests import Page
from visavis.service.results import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesResponse(Record):
    """A page of samples, in the order in which they were enrolled."""

    samples: tuple[Sample, ...]
    """As many as were asked for, or all that there are."""
    next_cursor: str | None
    """Where the next page begins; null where this is the last one."""


router = APIRouter(prefix="/v1/galleries/{gallery}/samples", tags=["subjects"])


@router.get("", **about("read"))
@in_quick_worker
def list_samples(gallery: InPath, page: Annotated[Page, Query()]) -> SamplesResponse:
    """List the samples of all subjects page by page, in the order in which they were enrolled."""
    of = f"samples/{gallery.name}"
    found = gallery.all_samples(after=page.after(of), limit=page.limit + 1)
    return SamplesResponse(samples=found[: page.limit], next_cursor=page.next(found, of))


@router.get("/{sample}", **about("read", "sample_not_found"))
@in_quick_worker
def show_sample(gallery: InPath, sample: SampleId) -> Answer[Sample]:
    """Show a sample, and whose it is."""
    return Answer(gallery.sample(sample))


@router.delete("/{sample}", **about("admin", "sample_not_found"))
@in_quick_worker
def forget_sample(gallery: InPath, sample: SampleId) -> Answer[Receipt]:
    """Forget a sample, whosever it is; its subject stays, even without any."""
    return receipt(gallery.forget_sample(None, sample))
