"""AWS Rekognition: collections, faces and users, as clients of AWS call them; see docs/dialects/rekognition.md.

Source: the service model of botocore, ``rekognition/2016-06-27``.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from visavis.config import Scope as AllowedScope
from visavis.config import Settings
from visavis.core.urls import parse_url
from visavis.errors import InvalidOption, VisavisError
from visavis.server.auth import Key, admit, keys_sent
from visavis.server.dialects.rekognition import operations  # noqa: F401  # which are registered
from visavis.server.dialects.rekognition.calls import OPERATIONS, Here, Operation, Tokens
from visavis.server.dialects.rekognition.signature import Signature
from visavis.server.dialects.rekognition.wire import MEDIA_TYPE, S3, Refused, told
from visavis.server.openapi import header
from visavis.server.pool import AllGalleries, InUse
from visavis.server.problems import Problem, from_library

PATHS = ("/rekognition",)
_TARGET = "x-amz-target"
_SERVICE = "RekognitionService."


def check_settings(settings: Settings) -> None:
    """Insist on an endpoint of S3 that is a URL, and a key for it that is two words."""
    if settings.s3_endpoint is not None:
        try:
            parse_url(settings.s3_endpoint)
        except VisavisError:
            raise InvalidOption("s3_endpoint: must be a URL such as http://minio:9000") from None
    if settings.s3_key is not None and not all(settings.s3_key.partition(":")):
        raise InvalidOption("s3_key: must be ID:SECRET")


def answer(_request: Request, problem: Problem) -> Response:
    """Return a problem as AWS tells one."""
    return told(problem)


class _AtRoot(APIRoute):
    """A route at the root, for calls of AWS alone: all others there are the old verification service's."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Pass over what names no target."""
        named = any(name.decode("latin-1") == _TARGET for name, _ in scope["headers"])
        return super().matches(scope) if named else (Match.NONE, {})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Tell problems as AWS does, whose path does not say whose they are."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return told(problem)
            except VisavisError as error:
                return told(from_library(error))

        return handled


async def _caller(request: Request) -> None:
    """Let a call pass that is signed with a key's secret; or that has a key as native calls have, or needs none."""
    scope, keys = _operation(request).scope, request.app.state.keys
    authorization = request.headers.get("authorization", "")
    signature = Signature.read(authorization)
    if signature is None:
        sent = keys_sent(request.headers)
        why = _UNREADABLE if authorization.startswith("AWS4") else _UNKNOWN if sent else _MISSING
        _insist(request, scope, sent, why)
        return
    signer = keys.find_signer(signature.key)
    if signer is None:
        _insist(request, scope, _A_WRONG_ONE if keys.needed(request.app.state.settings) else (), _UNKNOWN)
        return
    record, secret = signer
    if fault := signature.fault(request, await request.body(), secret):
        _insist(request, scope, _A_WRONG_ONE, ("InvalidSignatureException", fault))
    else:
        admit(request, scope, (), record=record)
        keys.note_use(record)


_A_WRONG_ONE = ("",)  # which is no key
_UNREADABLE = ("IncompleteSignatureException", "Authorization: it is no signature of version 4")
_MISSING = ("MissingAuthenticationTokenException", "a call must be signed: visavis keys create --aws makes what for")
_UNKNOWN = (
    "UnrecognizedClientException",
    "there is no such access key, or it has no secret: visavis keys create --aws",
)


def _insist(request: Request, scope: AllowedScope, sent: Sequence[str], why: tuple[str, str]) -> None:
    """Let a call pass by the keys that came with it, or count it as its address's, and say why not in words of AWS."""
    try:
        admit(request, scope, sent)
    except Problem as problem:
        raise Refused(*why) if problem.code == "unauthorized" else problem from None


def _operation(request: Request) -> Operation:
    target = request.headers.get(_TARGET, "")
    found = OPERATIONS.get(target.removeprefix(_SERVICE)) if target.startswith(_SERVICE) else None
    if found is None:
        there = ", ".join(OPERATIONS)
        raise Refused("UnknownOperationException", f"X-Amz-Target: expected {_SERVICE} and one of: {there}")
    return found


router = APIRouter(tags=["AWS Rekognition"], dependencies=[Depends(_caller)])


@router.post("/rekognition/", include_in_schema=False)
@router.post(
    "/rekognition",
    openapi_extra={
        "parameters": [header(_TARGET, "The operation.", enum=[_SERVICE + name for name in OPERATIONS])],
        "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}},
    },
)
async def call(request: Request, galleries: AllGalleries, recognizer: InUse, key: Key) -> Response:
    """Do what the header X-Amz-Target names: an operation of AWS Rekognition, in its version 2016-06-27."""
    settings: Settings = request.app.state.settings
    if settings.s3_endpoint is not None:
        id_, _, secret = (settings.s3_key or "").partition(":")
        S3.set((settings.s3_endpoint, (id_, secret) if secret else None))
    if not hasattr(request.app.state, "tokens"):
        request.app.state.tokens = Tokens()
    here = Here(galleries, recognizer, key, request.app.state.tokens)
    return await _operation(request).route(request=request, here=here)


router.add_api_route("/", call, methods=["POST"], include_in_schema=False, route_class_override=_AtRoot)
