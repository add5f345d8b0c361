"""A client of a visavis server: ``Client``, and ``AsyncClient`` for asynchronous programs.

What both do is written once, as generators that say which call to make or how long to wait, and are told what came of
it; nothing but ``clients.py`` touches the network.
"""

from visavis.client.answers import ServedFile, ServedPack
from visavis.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "ServedFile", "ServedPack"]
