"""A client of a visavis server: ``Client``, and ``AsyncClient`` for asynchronous programs.

What both do is written once, as generators that say which call to make or how long to wait, are told what came of it,
and give what they find; nothing but ``drivers.py`` touches the network.
"""

from visavis.client.async_clients import AsyncClient
from visavis.client.async_galleries import AsyncGalleryClient
from visavis.client.clients import Client
from visavis.client.galleries import GalleryClient
from visavis.client.gallery_answers import ServedSample
from visavis.client.pack_answers import ServedFile, ServedPack, ServedPart

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
