"""What tests of the client share: a server that answers as it is told, and time that does not pass."""

import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

URL = "http://visavis.test"
Answers = Callable[[httpx.Request], httpx.Response]


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no time pass; what would have passed is in the list."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(time, "sleep", taken.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    return taken


class Server:
    """Answers as recorded, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def bodies(self) -> list[Any]:
        """The JSON bodies."""
        return [json.loads(request.content) for request in self.requests]


def problem(status: int, code: str, headers: dict[str, str] | None = None, **members: object) -> httpx.Response:
    content = {"type": f"urn:visavis:problem:{code}", "title": "Title", "status": status, "code": code}
    content |= {"detail": "what is wrong", "request_id": "r1", **members}
    return httpx.Response(status, json=content, headers=headers)


def parts(request: httpx.Request) -> list[tuple[str, str, bytes]]:
    """Take a form apart: name, headers and content of each part."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    found = []
    for part in request.content.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found.append((head.decode().split('name="')[1].split('"')[0], head.decode(), content[:-2]))
    return found
