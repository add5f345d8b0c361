"""Operations by their names: what each takes, the scope that it needs, and how it is answered."""

import hashlib
import inspect
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple, cast

from pydantic import create_model
from starlette.responses import Response

from visavis.config import Scope
from visavis.core.scales import Scale
from visavis.models.packs import Pack
from visavis.models.recognizer import Recognizer, rates_of
from visavis.server.auth import check_covers
from visavis.server.dialects.rekognition.wire import MEDIA_TYPE, Call, Refused, headers_of_answer
from visavis.server.keys import KeyRecord
from visavis.server.pool import Answer, in_quick_worker, in_worker
from visavis.server.problems import Problem
from visavis.server.requests import Page
from visavis.service.galleries import Galleries

_WITH_TOKEN = ("CreateUser", "DeleteUser", "AssociateFaces", "DisassociateFaces")
_MOST_TOKENS, _TOKENS_S = 10_000, 8 * 3600
MOST_LISTED = 1000


class Tokens:
    """Answers to calls that came with a token, so that one that comes again does nothing again. Each process's own.

    These calls change a user each, and wait for each other.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], tuple[float, bytes, Answer[Any]]] = OrderedDict()
        self._lock = Lock()

    def once(self, key: tuple[str, ...], wanted: Call, do: Callable[[], Answer[Any]]) -> Answer[Any]:
        """Return the answer of before, or do it; refuse a token that came with another call."""
        fingerprint = hashlib.sha256(wanted.model_dump_json().encode()).digest()
        with self._lock:  # so that two calls at the same moment are one, too
            now = time.monotonic()
            while self._known and now - next(iter(self._known.values()))[0] > _TOKENS_S:
                self._known.popitem(last=False)
            if key not in self._known:
                self._known[key] = (now, fingerprint, do())
                if len(self._known) > _MOST_TOKENS:
                    self._known.popitem(last=False)
            _, before, answer = self._known[key]
        if before != fingerprint:
            raise Refused("IdempotentParameterMismatchException", "ClientRequestToken: it was used for another call")
        return answer


@dataclass(frozen=True, eq=False)
class Here:
    """What an operation works with."""

    galleries: Galleries
    recognizer: Recognizer
    key: KeyRecord | None
    tokens: Tokens

    @property
    def pack(self) -> Pack:
        """The server's."""
        return self.recognizer.pack

    @cached_property
    def scale(self) -> Scale:
        """The scale of similarities, 0 to 100, by the error rates of the pack."""
        return Scale.of("rekognition", rates_of(self.pack, "Similarity"))

    @property
    def version(self) -> dict[str, str]:
        """The member of answers that tells the model: the embedding space."""
        return {"FaceModelVersion": self.pack.space.id}


class Operation(NamedTuple):
    """How a call is answered, and what its key must allow."""

    scope: Scope
    route: Callable[..., Awaitable[Response]]


OPERATIONS: dict[str, Operation] = {}
_Function = Callable[..., Answer[Any]]


def operation(scope: Scope, *, quick: bool = False) -> Callable[[_Function], _Function]:
    """Return a decorator that makes a function an operation, called as the function is; a quick one has other workers.

    Functions take what is here, and the members of their call, which are checked by their types.
    """

    def decorate(function: _Function) -> _Function:
        name = "".join(map(str.title, function.__name__.split("_")))
        _here, *members = inspect.signature(function).parameters.values()
        kinds: dict[str, Any] = {
            each.name: (each.annotation, ... if each.default is each.empty else each.default) for each in members
        }
        model = cast("type[Call]", create_model(name, __base__=Call, **kinds))

        def call(here: Here, wanted: Call) -> Answer[Any]:
            given = {each: getattr(wanted, each) for each in kinds}
            check_covers(here.key, given.get("CollectionId"))
            token = wanted.ClientRequestToken if name in _WITH_TOKEN else None

            def do() -> Answer[Any]:
                return function(here, **given)

            caller = here.key.id if here.key else ""
            answer = here.tokens.once((caller, name, token), wanted, do) if token else do()
            return replace(answer, headers=headers_of_answer(), media_type=MEDIA_TYPE)

        call.__annotations__["wanted"] = model
        OPERATIONS[name] = Operation(scope, (in_quick_worker if quick else in_worker)(call))
        return function

    return decorate


class Paged(NamedTuple):
    """Which part of a list a call wants."""

    of: str
    after: int
    limit: int

    @classmethod
    def read(cls, of: str, token: str | None, limit: int | None) -> "Paged":
        """Return the part that a token tells, if it is of this very list."""
        most = min(limit or MOST_LISTED, MOST_LISTED)
        try:
            return cls(f"rekognition/{of}", Page.model_construct(cursor=token or "").after(f"rekognition/{of}"), most)
        except Problem:
            raise Refused("InvalidPaginationTokenException", "NextToken: must be one of this very list") from None

    def token(self, last: int | None) -> dict[str, str]:
        """Return the member that tells where the next part begins, after a number; nothing where there is none."""
        token = Page.model_construct().cursor_after(last, self.of)
        return {"NextToken": token} if token else {}
