"""What a server told its client."""

from visavis.errors.roots import VisavisError


class ServerError(VisavisError):
    """A server refused or failed, for a reason that is none of the other leaves.

    Attributes:
        code: as the server gave it, for instance "unauthorized".
        status: of its HTTP answer, or None where there was none.
        request_id: by which the server's log knows the call, or None.
    """

    code = "server_error"

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.status = status
        self.request_id = request_id


class ServerUnreachable(ServerError, ConnectionError):
    """Nobody answers at that address, or not in time."""

    code = "server_unreachable"


class ServerOverloaded(ServerError, RuntimeError):
    """The server has no room for the call now, or has had too many; later it may."""

    code = "overloaded"
