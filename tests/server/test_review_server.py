"""The review queue over HTTP: who may see it, pages, pictures, and what becomes of faces."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import httpx
import pytest
from serving import Caller, in_base64, problem, sqlite_url

from visavis import Recognizer
from visavis.config import Scope, Settings

QUEUE = "/v1/galleries/team/review"
SECRETS: dict[Scope, str] = {scope: f"{scope}-{'x' * 30}" for scope in get_args(Scope)}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("store")
    keys = tuple(SECRETS.items())
    settings = Settings(store=sqlite_url(folder / "galleries.db"), keys=keys)
    with Caller(settings, recognizer) as caller:
        yield caller


def ask(server: Caller, method: str, path: str, scope: Scope = "admin", **options: object) -> httpx.Response:
    return server.request(method, path, headers={"X-API-Key": SECRETS[scope]}, **options)


@pytest.fixture
def face(server: Caller, astronaut: Path) -> Iterator[int]:
    """A face that waits in a new gallery."""
    policy = {"review_days": 2, "keep": "chips"}
    assert ask(server, "POST", "/v1/galleries", json={"name": "team", "policy": policy}).status_code == 201
    image = {"base64": in_base64(astronaut.read_bytes())}
    answer = ask(server, "POST", "/v1/galleries/team/identify", "read", json={"images": [image]})
    assert answer.json()["results"][0]["faces"][0]["unknown"] == "empty_gallery"
    (group,) = ask(server, "GET", QUEUE).json()["groups"]
    yield group["faces"][0]["number"]
    assert ask(server, "DELETE", "/v1/galleries/team").status_code == 200


def test_a_face_is_looked_at_and_named(server: Caller, face: int) -> None:
    (group,) = ask(server, "GET", QUEUE).json()["groups"]
    (shown,) = group["faces"]
    assert {name: shown[name] for name in ("number", "unknown", "candidate")} == {
        "number": face,
        "unknown": "empty_gallery",
        "candidate": None,
    }
    assert shown["quality"]["sharpness"] > 0
    chip = ask(server, "GET", f"{QUEUE}/{face}/picture")
    assert chip.headers["content-type"] == "image/png"
    assert ask(server, "GET", f"{QUEUE}/{face}/picture?side=32").headers["content-type"] == "image/jpeg"
    named = ask(server, "POST", f"{QUEUE}/name", json={"faces": [face], "subject": "anna", "name": "Anna"})
    assert (named.status_code, named.json()["subject"]["name"]) == (200, "Anna")
    assert ask(server, "GET", QUEUE).json() == {"groups": [], "next_cursor": None}
    sample = named.json()["results"][0]["sample"]
    kept = ask(server, "GET", f"/v1/galleries/team/subjects/anna/samples/{sample}/picture")
    assert kept.content == chip.content
    again = ask(server, "POST", f"{QUEUE}/name", json={"faces": [face], "subject": "anna"})
    assert problem(again)["code"] == "sample_not_found"


def test_no_key_of_a_caller_s_is_a_waiting_face_s(server: Caller, face: int, hopper: Path) -> None:
    """Else who may enrol could have a face dropped that somebody names."""
    key = {"X-API-Key": SECRETS["enrol"], "Idempotency-Key": f"visavis review {face}"}
    body = {"subject": "anna", "images": [{"base64": in_base64(hopper.read_bytes())}]}
    assert server.post("/v1/galleries/team/enrol", body, key).status_code == 201
    named = ask(server, "POST", f"{QUEUE}/name", json={"faces": [face], "subject": "anna", "allow_conflict": True})
    assert (named.status_code, named.json()["subject"]["samples"]) == (200, 2)


def test_a_face_is_ignored(server: Caller, face: int) -> None:
    answer = ask(server, "POST", f"{QUEUE}/ignore", json={"faces": [face, 987_654]})
    assert answer.json()["subject"]["ignored"]
    assert [result.get("error", {}).get("code") for result in answer.json()["results"]] == [None, "sample_not_found"]


def test_a_face_is_discarded(server: Caller, face: int) -> None:
    answer = ask(server, "POST", f"{QUEUE}/discard", json={"faces": [face]})
    receipt = answer.json()
    assert (answer.status_code, receipt["subjects"], receipt["overwritten"]) == (200, [face], True)
    assert problem(ask(server, "POST", f"{QUEUE}/discard", json={"faces": [face]}))["code"] == "sample_not_found"
    assert problem(ask(server, "GET", f"{QUEUE}/{face}/picture"))["code"] == "sample_not_found"


def test_only_who_may_see_pictures_may_see_it(server: Caller, face: int) -> None:
    scopes: tuple[Scope, ...] = ("read", "probe", "enrol")
    for scope in scopes:
        for path in ("", f"/{face}/picture"):
            assert problem(ask(server, "GET", f"{QUEUE}{path}", scope))["code"] == "forbidden"
        for path in ("name", "ignore", "discard"):
            assert problem(ask(server, "POST", f"{QUEUE}/{path}", scope, json={"faces": [face]}))["code"] == "forbidden"


WRONG = {
    f"{QUEUE}?tolerance=0": "invalid_request",
    f"{QUEUE}?tolerance=nan": "invalid_request",
    f"{QUEUE}?min_quality=-1": "invalid_request",
    f"{QUEUE}?min_quality=inf": "invalid_option",
    f"{QUEUE}?cursor=AAAA": "invalid_request",
    f"{QUEUE}?who=me": "invalid_request",
    f"{QUEUE}/0/picture": "sample_not_found",
    f"{QUEUE}/-1/picture": "invalid_request",
    f"{QUEUE}/{'9' * 18}/picture": "sample_not_found",
    "/v1/galleries/nobody/review": "gallery_not_found",
}
NO_FACES: tuple[object, ...] = ([], ["1"], [1.5], [None], [True], None, 1, [10**30], [-1], list(range(1001)))


def test_what_cannot_be_asked(server: Caller, face: int) -> None:
    assert {path: problem(ask(server, "GET", path))["code"] for path in WRONG} == WRONG
    for faces in NO_FACES:
        for path in ("name", "ignore", "discard"):
            answer = ask(server, "POST", f"{QUEUE}/{path}", json={"faces": faces})
            assert problem(answer)["code"] in {"invalid_request", "sample_not_found"}, (path, faces)
    assert [group["faces"][0]["number"] for group in ask(server, "GET", QUEUE).json()["groups"]] == [face]
