"""A client of a visavis server: ``Client``, and ``AsyncClient`` for asynchronous programs."""

from visavis.client._async import AsyncClient
from visavis.client._sync import Client
from visavis.client.gallery._async import AsyncGalleryClient
from visavis.client.gallery._sync import GalleryClient
from visavis.client.records import ServedSample
from visavis.client.review._async import AsyncReviewClient
from visavis.client.review._sync import ReviewClient
from visavis.service.packs import ServedFile, ServedPack, ServedPart

__all__ = [
    "AsyncClient",
    "AsyncGalleryClient",
    "AsyncReviewClient",
    "Client",
    "GalleryClient",
    "ReviewClient",
    "ServedFile",
    "ServedPack",
    "ServedPart",
    "ServedSample",
]
