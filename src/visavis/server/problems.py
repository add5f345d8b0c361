"""Problem details (RFC 9457) of everything that can go wrong: the one table from error to HTTP status."""

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from starlette.responses import Response

from visavis import errors
from visavis.record import Record

_log = logging.getLogger("visavis.server")

MEDIA_TYPE = "application/problem+json"
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Names the request that is being answered, in its workers too; empty outside."""
FOR_OPERATOR: ContextVar[bool] = ContextVar("for_operator", default=False)
"""Whether whoever asks may know what others can read in the log alone; see ``server/auth.py``."""
MOST_ERRORS = 20
"""That are told of one request."""
_LONGEST_NAME = 64  # of what may be a name that was mistyped
_FAULT = 500  # of the server's, and above


class Kind(NamedTuple):
    """What all problems of one code have in common."""

    status: int
    title: str


LIBRARY: Mapping[type[errors.VisavisError], Kind] = {
    **dict.fromkeys(errors.SetupError.__subclasses__(), Kind(500, "The server is not set up correctly")),
    errors.ImageNotFound: Kind(422, "There is no such image"),
    errors.ImageUnreadable: Kind(422, "The image cannot be read"),
    errors.ImageTooLarge: Kind(413, "The image is too large"),
    errors.TooMuchWork: Kind(422, "The call asks for too much work"),
    errors.UnsupportedFormat: Kind(415, "The image format is not supported"),
    errors.ImageCorrupt: Kind(422, "The image is damaged"),
    errors.InvalidImage: Kind(422, "The image is not usable"),
    errors.InvalidOption: Kind(422, "An option is out of its range"),
    errors.NoFace: Kind(422, "No face was found"),
    errors.MultipleFaces: Kind(422, "Several faces were found"),
    errors.FetchRefused: Kind(422, "The URL may not be fetched"),
    errors.FetchFailed: Kind(422, "The URL could not be fetched"),
    errors.NotLive: Kind(422, "The face does not look live"),
    errors.FaceTooSmall: Kind(422, "The face is too small"),
    errors.FaceBlurred: Kind(422, "The face is blurred"),
    errors.LowScore: Kind(422, "The face is not clear enough"),
    errors.ExtremePose: Kind(422, "The head is turned too far"),
    errors.InvalidFace: Kind(422, "The face is turned or degraded"),
    errors.FaceOccluded: Kind(422, "The face is covered"),
    errors.ChildFace: Kind(422, "The face is a child's"),
    errors.ConsentMissing: Kind(422, "A note of consent is needed"),
    errors.InvalidEmbedding: Kind(422, "The embedding is not usable"),
    errors.GalleryNotFound: Kind(404, "There is no such gallery"),
    errors.SubjectNotFound: Kind(404, "There is no such subject"),
    errors.SampleNotFound: Kind(404, "There is no such sample"),
    errors.GalleryExists: Kind(409, "There is such a gallery already"),
    errors.SubjectExists: Kind(409, "There is such a subject already"),
    errors.SpaceMismatch: Kind(409, "The embeddings are of another space"),
    errors.SubjectConflict: Kind(409, "The face is somebody else's"),
    errors.KeyReused: Kind(409, "The idempotency key was used before"),
    errors.VersionMismatch: Kind(412, "The subject has changed"),
    errors.StoreUnavailable: Kind(503, "The store of galleries is not available"),
    errors.StoreDamaged: Kind(500, "The store of galleries is damaged"),
    errors.StoreFull: Kind(507, "The store of galleries is full"),
    errors.GalleryLocked: Kind(500, "The gallery is locked"),
    errors.ServerUnreachable: Kind(502, "Another server does not answer"),
    errors.ServerOverloaded: Kind(503, "Another server is busy"),
}
"""Every leaf of the library's tree of errors."""

HTTP: Mapping[str, Kind] = {
    "invalid_request": Kind(422, "The request is not valid"),
    "unauthorized": Kind(401, "A valid key is required"),
    "key_expired": Kind(401, "The key's time is over"),
    "forbidden": Kind(403, "The call is not allowed"),
    "not_found": Kind(404, "There is nothing at this path"),
    "method_not_allowed": Kind(405, "The method is not allowed here"),
    "request_timeout": Kind(408, "The request took too long to arrive"),
    "body_too_large": Kind(413, "The request is too large"),
    "unsupported_media_type": Kind(415, "The content type is not supported"),
    "rate_limited": Kind(429, "Too many requests"),
    "internal": Kind(500, "Something went wrong in the server"),
    "unsupported_pack": Kind(501, "The server's models cannot answer this"),
    "overloaded": Kind(503, "The server is busy"),
}
"""What the server adds to them."""

KINDS: Mapping[str, Kind] = {leaf.code: kind for leaf, kind in LIBRARY.items()} | dict(HTTP)
"""Both, by code."""

INTERNAL_DETAIL = "the server's log has the cause, under this request id"
# What clients may know of a fault that is not theirs, and what to do then.
_SAYABLE: Mapping[type[errors.VisavisError], tuple[str, Mapping[str, str]]] = {
    errors.StoreUnavailable: ("it does not answer, or is too busy; try again later", {"Retry-After": "5"}),
    errors.StoreFull: ("its disk has no room left", {}),
}
# What is missing from a server that runs can only be an optional part: without the others it does not start.
_PART_MISSING = (
    "a part of the server's pack that this needs is not installed there; /v1/models tells which parts are, and visavis "
    "models pull, on the server, fetches the others"
)
_SOURCE = re.compile(r"^<[a-zA-Z ]+>: ")  # how the library's messages call an image that is no file


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError(Record):
    """One of several things that are wrong."""

    _sparse = True

    field: str
    """Where."""
    message: str
    """Why, for people."""
    code: str | None = None
    """As of a problem; not everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails(Record):
    """What went wrong, as RFC 9457 says it; programs may rely on `code`."""

    _sparse = True

    type: str
    """A URN of the code."""
    title: str
    """The same for all problems of the code."""
    status: int
    """Of HTTP."""
    detail: str
    """What to mend, for people."""
    code: str
    """Stable, for programs."""
    request_id: str
    """By which the server's log knows the request."""
    field: str | None = None
    """The offending part of the request."""
    errors: tuple[FieldError, ...] | None = None
    """Where several things are wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Record):
    """An image, or an embedding, that could not be used; the others are not affected."""

    error: ProblemDetails
    """Why."""


class Problem(Exception):
    """Ends a request with an error answer: see ``ProblemDetails``. A status stands in place of the table's."""

    def __init__(  # noqa: PLR0913  # a record of independent parts
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.errors = errors
        self.headers = headers or {}
        self.status = status or KINDS[code].status

    @property
    def details(self) -> ProblemDetails:
        """The problem details object."""
        return ProblemDetails(
            type=f"urn:visavis:problem:{self.code}",
            title=KINDS[self.code].title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=REQUEST_ID.get(),
            field=self.field,
            errors=tuple(self.errors) or None,
        )

    def to_response(self) -> Response:
        """Return the answer."""
        body = json.dumps(self.details.to_dict(), separators=(",", ":"))
        return Response(body, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


def invalid(found: Sequence[Any], status: int | None = None) -> Problem:
    """Return the problem that pydantic's errors are: where and why, without the values."""
    errors = []
    for path, text in ((error["loc"], str(error["msg"])) for error in found[:MOST_ERRORS]):
        # FastAPI puts the part of the request before; and the field's name is told beside the message.
        place = path[1:] if path[:1] in (("query",), ("path",), ("header",)) else path
        message = text.removeprefix("Value error, ").removeprefix(f"{path[-1] if path else ''} ")
        errors.append(FieldError(field=".".join(map(str, place)), message=message))
    first = errors[0]
    detail = f"{first.field}: {first.message}" if first.field else first.message
    return Problem("invalid_request", detail, field=first.field or None, errors=errors, status=status)


def expected(name: str, known: Collection[str], missing: Collection[str] = ()) -> str:
    """Say that nothing is called so, and what is: the name that it resembles, those that are missing, or all."""
    close = get_close_matches(name, known, 1) if len(name) <= _LONGEST_NAME else []
    return f"there is no such part; expected {', '.join(close or missing or sorted(known)) or 'none'}"


def from_library(error: errors.VisavisError, field: str | None = None) -> Problem:
    """Return the problem that an error of the library is; callers are told no more of set-up errors than their code.

    Their cause is for the log, for those who can mend it. But a part of the pack that is not installed may have been
    left out on purpose, and clients ask for it as often as they like: no alarm, and no traceback.
    """
    if isinstance(error, errors.ModelMissing):
        _log.info("a call was refused: %s", error)
        return Problem("unsupported_pack", _PART_MISSING, field=field)
    if isinstance(error, errors.FetchRefused | errors.FetchFailed) and FOR_OPERATOR.get():
        return Problem(error.code, f"{error}; {error.__cause__}", field=field)
    if isinstance(error, errors.SetupError):
        _log.error("the server is not set up correctly", exc_info=error)
    status = LIBRARY[type(error)].status
    if status < _FAULT:
        damaged = isinstance(error, errors.ImageCorrupt)  # what a decoder said is nobody's business
        detail = "the image is damaged, cut off or of an unusual kind" if damaged else _SOURCE.sub("", str(error))
        return Problem(error.code, detail, field=field)
    detail, headers = _SAYABLE.get(type(error), (INTERNAL_DETAIL, {}))
    if isinstance(error, errors.StoreFull):
        detail = f"{error.undone}: {detail}"
    return Problem(error.code, detail, field=field, headers=headers)


def failed(error: errors.VisavisError, field: str) -> Failed:
    """Return what stands in place of a result; a fault of the server's is raised: it is the whole call's."""
    if not isinstance(error, errors.InputError | errors.StateError):
        raise error
    return Failed(error=from_library(error, field).details)
