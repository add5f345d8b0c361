"""One connection to a client: uvicorn's protocol, with an end to the time that a request may take to arrive."""

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from visavis.server.limits import is_endless

_GRACE_S = 1.0  # first the application may say that the time is over


class TimedConfig(uvicorn.Config):
    """Uvicorn's settings and one more: the seconds within which a request must have arrived."""

    request_timeout_s: float


class TimedProtocol(H11Protocol):
    """Closes a connection whose request, head or body, is not complete in time; also where its answer was sent.

    A body that may be endless is left to the route that reads it, for as long as that has not answered.
    """

    def __init__(
        self,
        config: TimedConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timeout_s = config.request_timeout_s + _GRACE_S
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest of the request, if there is more."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._start()
        else:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        """Begin to wait, unless that has begun: more bytes do not buy more time."""
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout_s, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if self.cycle and not self.cycle.response_complete and is_endless(self.cycle.scope):
            return
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.close()
