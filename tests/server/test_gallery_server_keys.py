"""Who may do what in which gallery: scopes, keys limited to galleries, and who the log says it was."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Caller, from_ndjson, problem, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Scope, Settings
from visavis.server.keys import KeyStore

BOOTSTRAP = "bootstrap-secret-0123456789"
PIXELS = [[[0, 0, 0]] * 8] * 8  # of an image that shows nobody
ALLOWED: dict[Scope, tuple[Scope, ...]] = {
    "read": ("read",),
    "probe": ("read", "probe"),
    "enrol": ("read", "enrol"),
    "admin": ("read", "probe", "enrol", "admin"),
}
SUBJECT = "/v1/galleries/{gallery}/subjects/ada"
CALLS: list[tuple[Scope, str, str, object]] = [
    ("read", "GET", "/v1/galleries/{gallery}", None),
    ("admin", "PUT", "/v1/galleries/{gallery}", {"policy": {}}),
    ("admin", "PATCH", "/v1/galleries/{gallery}", {"policy": {}}),
    ("admin", "DELETE", "/v1/galleries/{gallery}", None),
    ("enrol", "POST", "/v1/galleries/{gallery}/enrol", {"subject": "ada", "embeddings": [vector(1)]}),
    ("enrol", "POST", "/v1/galleries/{gallery}/import", {"subject": "ada", "embedding": vector(1)}),
    ("admin", "GET", "/v1/galleries/{gallery}/export", None),
    ("read", "POST", "/v1/galleries/{gallery}/identify", {"images": [{"array": PIXELS}]}),
    ("probe", "POST", "/v1/galleries/{gallery}/identify", {"embeddings": [vector(1)]}),
    ("read", "GET", "/v1/galleries/{gallery}/rules", None),
    ("read", "GET", "/v1/galleries/{gallery}/subjects", None),
    ("read", "GET", SUBJECT, None),
    ("enrol", "PATCH", SUBJECT, {"name": "Ada"}),
    ("admin", "DELETE", SUBJECT, None),
    ("admin", "GET", f"{SUBJECT}/export", None),
    ("admin", "POST", f"{SUBJECT}/merge", {"into": "grace"}),
    ("admin", "POST", f"{SUBJECT}/move", {"into": "grace", "samples": [1]}),
    ("read", "POST", f"{SUBJECT}/verify", {"image": {"array": PIXELS}}),
    ("probe", "POST", f"{SUBJECT}/verify", {"embedding": vector(1)}),
    ("admin", "GET", f"{SUBJECT}/samples/1/picture", None),
    ("admin", "DELETE", f"{SUBJECT}/samples/1", None),
    ("admin", "GET", "/v1/galleries/{gallery}/audit", None),
    ("admin", "GET", "/v1/galleries/{gallery}/log", None),
]


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    store = KeyStore(tmp_path / "keys.sqlite")
    yield store
    store.close()


@pytest.fixture
def server(recognizer: Recognizer, keys: KeyStore, tmp_path: Path) -> Iterator[Caller]:
    settings = Settings(
        auth="on", keys=(("admin", BOOTSTRAP),), keys_file=keys.path, store=sqlite_url(tmp_path / "galleries.db")
    )
    with Caller(settings, recognizer) as caller:
        yield caller


def make(server: Caller, name: str, secret: str = BOOTSTRAP) -> httpx.Response:
    return server.post("/v1/galleries", {"name": name}, {"X-API-Key": secret})


def call(server: Caller, secret: str, method: str, path: str, body: object) -> httpx.Response:
    kind = "application/x-ndjson" if "/import" in path else "application/json"
    headers = {"X-API-Key": secret, **({} if body is None else {"Content-Type": kind})}
    return server.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(("scope", "method", "path", "body"), CALLS, ids=lambda value: str(value)[:60])
def test_each_call_needs_its_scope_and_its_gallery(  # noqa: PLR0913  # a row of the table and two fixtures
    server: Caller, keys: KeyStore, *, scope: Scope, method: str, path: str, body: object
) -> None:
    for name in ("team", "other"):
        make(server, name)
    for held, allowed in ALLOWED.items():
        secret = keys.create("a", held, ["team"])[1]
        for gallery in ("other", "nowhere"):
            answer = call(server, secret, method, path.format(gallery=gallery), body)
            members = problem(answer)
            # What the body holds is looked at when all else is in order.
            wrong_scope = scope not in allowed and scope != "probe"
            expected = f"this API key has the scope {held}; {scope} is needed" if wrong_scope else "limited to other"
            assert (answer.status_code, members["code"]) == (403, "forbidden")
            assert expected in members["detail"]
        if scope not in allowed:
            refused = call(server, secret, method, path.format(gallery="team"), body)
            assert refused.status_code == 403
            assert problem(refused)["detail"] == f"this API key has the scope {held}; {scope} is needed"
    secret = keys.create("a", scope, ["team"])[1]
    assert call(server, secret, method, path.format(gallery="team"), body).status_code in (200, 201, 404)


def test_a_limited_key_sees_and_makes_its_own_galleries_only(server: Caller, keys: KeyStore) -> None:
    for name in ("team", "other"):
        make(server, name)
    limited = keys.create("a", "admin", ["team", "staff"])[1]
    listed = server.get("/v1/galleries", {"X-API-Key": limited}).json()["galleries"]
    assert [gallery["name"] for gallery in listed] == ["team"]
    assert make(server, "staff", limited).status_code == 201
    for name in ("other", "new"):
        answer = make(server, name, limited)
        assert (answer.status_code, problem(answer)["code"]) == (403, "forbidden")
    assert server.get("/v1/log", {"X-API-Key": limited}).status_code == 403
    names = [gallery["name"] for gallery in server.get("/v1/galleries", {"X-API-Key": BOOTSTRAP}).json()["galleries"]]
    assert names == ["other", "staff", "team"]
    assert server.get("/v1/log", {"X-API-Key": BOOTSTRAP}).status_code == 200


@pytest.mark.parametrize("call_of", ["enrol", "import"])
def test_to_make_a_gallery_by_enrolling_takes_the_scope_of_making(server: Caller, keys: KeyStore, call_of: str) -> None:
    body = {"subject": "ada", **({"embeddings": [vector(1)]} if call_of == "enrol" else {"embedding": vector(1)})}
    for gallery, scope, status in (("team", "enrol", 403), ("other", "admin", 403), ("team", "admin", 200)):
        secret = keys.create("a", scope, ["team"])[1]  # type: ignore[arg-type]  # scopes
        answer = call(server, secret, "POST", f"/v1/galleries/{gallery}/{call_of}?create=true", body)
        assert answer.status_code // 100 == status // 100
        made = [each["name"] for each in server.get("/v1/galleries", {"X-API-Key": BOOTSTRAP}).json()["galleries"]]
        assert made == (["team"] if status == 200 else [])


def test_a_gallery_in_a_body_gives_no_way_around(server: Caller, keys: KeyStore) -> None:
    make(server, "team")
    limited = keys.create("a", "admin", ["team"])[1]
    for path in ("/v1/galleries/team/../other/subjects", "/v1/galleries/team%2F..%2Fother", "/v1/galleries//other"):
        answer = server.get(path, {"X-API-Key": limited})
        assert answer.status_code in (403, 404)
    answer = server.post("/v1/galleries", {"name": "team", "gallery": "other"}, {"X-API-Key": limited})
    assert answer.status_code == 422


def test_the_log_names_the_key(server: Caller, keys: KeyStore) -> None:
    make(server, "team")
    record, secret = keys.create("a", "enrol", ["team"])
    call(server, secret, "POST", "/v1/galleries/team/enrol", {"subject": "ada", "embeddings": [vector(1)]})
    lines = call(server, secret, "POST", "/v1/galleries/team/import", {"subject": "grace", "embedding": vector(2)})
    assert from_ndjson(lines.content)[-1]["enrolled"] == 1
    entries = server.get("/v1/galleries/team/log", {"X-API-Key": BOOTSTRAP}).json()["entries"]
    assert [entry["actor"] for entry in entries] == ["key environment-1", *[f"key {record.id}"] * 2]
    assert secret not in str(entries)


def test_a_limited_key_may_do_what_is_about_no_gallery(server: Caller, keys: KeyStore) -> None:
    limited = {"X-API-Key": keys.create("a", "read", ["team"])[1]}
    assert server.get("/v1/models", limited).status_code == 200
    assert server.get("/metrics", limited).status_code == 200


def test_a_key_for_metrics_reads_nothing_else(server: Caller, keys: KeyStore) -> None:
    headers = {"X-API-Key": keys.create("prometheus", "metrics")[1]}
    answers = {path: server.get(path, headers) for path in ("/metrics", "/v1/models", "/v1/galleries")}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/metrics": 200,
        "/v1/models": 403,
        "/v1/galleries": 403,
    }
