"""Answers that are sent piece by piece, with nothing in memory but the piece."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Send

from visavis.server.ndjson import MEDIA_TYPE


class Streamed(Response):
    """An answer of lines; those who inherit from it are called to send them."""

    media_type = MEDIA_TYPE

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(headers)

    async def begin(self, send: Send) -> None:
        """Send the head."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


async def send_piece(send: Send, data: bytes, *, last: bool = False) -> None:
    """Send a piece, and wait where the client has not taken those before."""
    await send({"type": "http.response.body", "body": data, "more_body": not last})
