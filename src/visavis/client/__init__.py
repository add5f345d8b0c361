"""A client of a visavis server: ``Client``, and ``AsyncClient`` for asynchronous programs."""

from visavis.client._async import AsyncClient, AsyncGalleryClient
from visavis.client._sync import Client, GalleryClient
from visavis.client.records import ServedSample
from visavis.service.packs import ServedFile, ServedPack, ServedPart

__all__ = [
    "AsyncClient",
    "AsyncGalleryClient",
    "Client",
    "GalleryClient",
    "ServedFile",
    "ServedPack",
    "ServedPart",
    "ServedSample",
]
