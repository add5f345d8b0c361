"""The switch of dialects, on one that is made here."""

import sys
from types import ModuleType
from typing import Annotated
from unittest import mock

import pytest
from fastapi import APIRouter, Depends, Request
from serving import Caller
from starlette.responses import JSONResponse, Response

from visavis.config import Settings
from visavis.errors import InvalidOption
from visavis.models.recognizer import Recognizer
from visavis.server import dialects
from visavis.server.app import create_app
from visavis.server.auth import admit
from visavis.server.keys import KeyRecord
from visavis.server.problems import Problem

KEY = "a-secret-of-a-toy-that-is-long"


@pytest.fixture
def spoken() -> ModuleType:
    module = ModuleType("visavis.server.dialects.toy")
    router = APIRouter(tags=["toy"])

    async def key_of(request: Request) -> KeyRecord | None:
        return admit(request, "read", request.headers.getlist("toy-key"))

    @router.get("/toy/faces/{number}")
    async def faces(number: int, _key: Annotated[object, Depends(key_of)]) -> Response:
        """Count faces."""
        return JSONResponse({"faces": number})

    def answer(_request: Request, problem: Problem) -> Response:
        return JSONResponse({"toy": problem.code}, problem.status, headers=dict(problem.headers))

    vars(module).update(router=router, PATHS=("/toy",), answer=answer)
    return module


def test_one_that_is_switched_on(spoken: ModuleType, recognizer: Recognizer) -> None:
    settings = Settings(dialects=("toy",), keys=(("read", KEY),))
    there = mock.patch.dict(sys.modules, {spoken.__name__: spoken}), mock.patch.object(dialects, "NAMES", ("toy",))
    with there[0], there[1], Caller(settings, recognizer) as server:
        key = {"toy-key": KEY}
        assert server.get("/toy/faces/3", headers=key).json() == {"faces": 3}
        for path, headers, status, code in (
            ("/toy/faces/3", {}, 401, "unauthorized"),
            ("/toy/faces/3", {"toy-key": "another"}, 401, "unauthorized"),
            ("/toy/faces/none", key, 422, "invalid_request"),
            ("/toy/nowhere", key, 404, "not_found"),
        ):
            answer = server.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (status, {"toy": code})
        assert server.request("DELETE", "/toy/faces/3").json() == {"toy": "method_not_allowed"}
        assert server.get("/toyota").json()["code"] == "not_found"
        document = server.get("/openapi.json").json()
        assert set(document["paths"]["/toy/faces/{number}"]["get"]["responses"]) == {"200"}
    with Caller(Settings(), recognizer) as server:
        assert server.get("/toy/faces/3").json()["code"] == "not_found"


def test_one_that_there_is_not() -> None:
    with pytest.raises(InvalidOption, match="dialects: there is no klingon; expected of these: "):
        create_app(Settings(dialects=("klingon",)))
    with pytest.raises(InvalidOption, match="there is no seeds"):  # which are always on
        create_app(Settings(dialects=("seeds",)))
