"""Who may call what: a small app whose routes ask for each scope, and every way to get a key wrong."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from visavis.config import Scope, Settings
from visavis.errors import KeysUnusable
from visavis.server.auth import Rate, RateLimiter, require
from visavis.server.keys import KeyRecord, KeyStore
from visavis.server.origins import Callers
from visavis.server.problems import Problem

BOOTSTRAP = "correct-horse-battery-staple"

Headers: TypeAlias = dict[str, str]
WAYS: list[Callable[[str], Headers]] = [
    lambda secret: {"Authorization": f"Bearer {secret}"},
    lambda secret: {"X-API-Key": secret},
]


class Site:
    """The app, what was done behind its doors, and keys for it."""

    def __init__(self, store: KeyStore, **settings: Any) -> None:  # noqa: ANN401  # as Settings takes them
        self.done: list[KeyRecord | None] = []
        self.app = FastAPI()
        state = self.app.state
        state.settings = Settings(**settings)
        state.keys, state.callers, state.rate, state.search_rate = store, Callers(state.settings), None, None
        self.app.add_exception_handler(Problem, _answer)
        for scope in get_args(Scope):
            self._add(scope)
        self._add_galleries()

    def _add(self, scope: Scope) -> None:
        @self.app.get(f"/{scope}", name=scope)
        def route(record: Annotated[KeyRecord | None, Depends(require(scope))]) -> None:
            self.done.append(record)

    def _add_galleries(self) -> None:
        @self.app.get("/galleries/{gallery}/subjects")
        def route(record: Annotated[KeyRecord | None, Depends(require("enrol"))]) -> None:
            self.done.append(record)

        @self.app.get("/log")
        def log(record: Annotated[KeyRecord | None, Depends(require("admin", everywhere=True))]) -> None:
            self.done.append(record)

    def get(self, path: str, headers: Headers | list[tuple[bytes, bytes]] | None = None) -> httpx.Response:
        async def get() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app), base_url="http://localhost"
            ) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(get())

    def call(self, scope: str, headers: Headers | None = None) -> tuple[int, str | None]:
        answer = self.get(f"/{scope}", headers)
        return answer.status_code, (answer.json() or {}).get("code")


def _answer(_request: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, Problem)
    content = {"code": refused.code, "detail": refused.detail}
    return JSONResponse(content, refused.status, dict(refused.headers))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    store = KeyStore(tmp_path / "keys.sqlite", [("admin", BOOTSTRAP)])
    yield store
    store.close()


@pytest.fixture
def site(store: KeyStore) -> Site:
    return Site(store)


@pytest.mark.parametrize("headers", WAYS)
@pytest.mark.parametrize(
    ("held", "wanted", "outcome"),
    [
        ("read", "read", (200, None)),
        ("read", "enrol", (403, "forbidden")),
        ("read", "admin", (403, "forbidden")),
        ("read", "probe", (403, "forbidden")),
        ("probe", "read", (200, None)),
        ("probe", "probe", (200, None)),
        ("probe", "enrol", (403, "forbidden")),
        ("probe", "admin", (403, "forbidden")),
        ("enrol", "read", (200, None)),
        ("enrol", "probe", (403, "forbidden")),
        ("enrol", "enrol", (200, None)),
        ("enrol", "admin", (403, "forbidden")),
        ("admin", "read", (200, None)),
        ("admin", "probe", (200, None)),
        ("admin", "enrol", (200, None)),
        ("admin", "admin", (200, None)),
    ],
)
def test_scopes(
    site: Site, headers: Callable[[str], Headers], *, held: Scope, wanted: Scope, outcome: tuple[int, str | None]
) -> None:
    store: KeyStore = site.app.state.keys
    record, secret = store.create("a", held)
    assert site.call(wanted, headers(secret)) == outcome
    assert site.done == ([record] if outcome[0] == 200 else [])


@pytest.mark.parametrize("headers", WAYS)
def test_a_revoked_key_is_refused_from_the_next_call_on(
    site: Site, store: KeyStore, headers: Callable[[str], Headers]
) -> None:
    record, secret = store.create("a", "read")
    assert site.call("read", headers(secret)) == (200, None)
    store.revoke(record.id)
    assert site.call("read", headers(secret)) == (401, "unauthorized")
    assert len(site.done) == 1


def test_a_key_whose_time_is_over_is_refused_with_a_code_of_its_own(site: Site, store: KeyStore) -> None:
    past, future = (datetime.now(timezone.utc) + timedelta(days=days) for days in (-1, 1))
    expired, valid = (store.create("a", "read", expires_at=moment)[1] for moment in (past, future))
    assert site.call("read", {"X-API-Key": valid}) == (200, None)
    assert site.call("read", {"X-API-Key": expired}) == (401, "key_expired")
    assert site.call("read", {"X-API-Key": f"{expired[:-1]}x"}) == (401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer vv_0123456789ab_" + "0" * 64},
        {"Authorization": BOOTSTRAP},
        {"Authorization": f"Basic {BOOTSTRAP}"},
        {"Authorization": f"Bearer {BOOTSTRAP} {BOOTSTRAP}"},
        {"Authorization": f"Bearer {BOOTSTRAP[:-1]}"},
        {"X-API-Key": ""},
        {"X-API-Key": f"Bearer {BOOTSTRAP}"},
        {"X-API-Key": f"{BOOTSTRAP},{BOOTSTRAP}"},
        {"Cookie": f"X-API-Key={BOOTSTRAP}"},
        {"Api-Key": BOOTSTRAP},
        {"Authorization": f"Bearer {BOOTSTRAP}", "X-API-Key": "x" * 24},
        {"Authorization": f"Bearer {'x' * 24}", "X-API-Key": BOOTSTRAP},
    ],
)
def test_without_a_valid_key_nothing_is_done(site: Site, headers: Headers) -> None:
    answer = site.get("/read", headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert BOOTSTRAP not in answer.text
    assert site.done == []


@pytest.mark.parametrize("name", ["key", "api_key", "X-API-Key", "access_token", "Authorization"])
def test_a_key_in_the_query_is_none(site: Site, name: str) -> None:
    assert site.get(f"/read?{name}={BOOTSTRAP}").status_code == 401


@pytest.mark.parametrize("value", ["Bearer \xfcmlaut", "Bearer vv_\xfc_\xfc"])
def test_bytes_that_are_no_text_are_no_key(site: Site, value: str) -> None:
    answer = site.get("/read", [(b"Authorization", value.encode("latin-1"))])
    assert answer.status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_case_of_the_scheme_does_not_matter(site: Site, scheme: str) -> None:
    assert site.call("admin", {"Authorization": f"{scheme} {BOOTSTRAP}"}) == (200, None)


def test_both_headers_may_hold_the_same_key(site: Site) -> None:
    assert site.call("read", {"Authorization": f"Bearer {BOOTSTRAP}", "X-API-Key": BOOTSTRAP}) == (200, None)


@pytest.mark.parametrize("auth", ["auto", "off"])
def test_where_no_key_is_needed_those_that_come_are_checked(tmp_path: Path, auth: str) -> None:
    site = Site(KeyStore(tmp_path / "keys.sqlite"), auth=auth)
    assert site.call("admin") == (200, None)
    # People sign in by these to a proxy, which sends them on.
    for scheme in ("Basic", "digest", "Negotiate"):
        assert site.call("admin", {"Authorization": f"{scheme} dXNlcjpwYXNz"}) == (200, None)
    wrong: list[Headers] = [
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "vv_0123456789ab_" + "0" * 64},
        {"Authorization": "Token vv_0123456789ab"},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": "wrong"},
    ]
    for headers in wrong:
        assert site.call("admin", headers) == (401, "unauthorized"), headers
    assert site.done == [None] * 4


def test_with_keys_off_a_key_still_allows_no_more_than_it_says(store: KeyStore) -> None:
    site = Site(store, auth="off")
    assert site.call("admin") == (200, None)
    record, secret = store.create("a", "read", ["team"])
    assert site.call("admin", {"X-API-Key": secret}) == (403, "forbidden")
    assert site.get("/galleries/other/subjects", {"X-API-Key": secret}).status_code == 403
    store.revoke(record.id)
    assert site.call("read", {"X-API-Key": secret}) == (401, "unauthorized")


def test_a_key_that_is_made_closes_the_door_at_once_and_nothing_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite"
    store, elsewhere = KeyStore(path), KeyStore(path)  # another process
    site = Site(store)
    assert site.call("admin") == (200, None)
    record, secret = elsewhere.create("a", "read")
    assert site.call("admin") == (401, "unauthorized")
    assert site.call("read", {"X-API-Key": secret}) == (200, None)
    elsewhere.revoke(record.id)
    assert site.call("admin") == (401, "unauthorized")
    assert Site(KeyStore(path)).call("admin") == (401, "unauthorized")  # also of a server that knew none other
    elsewhere.close()
    path.unlink()
    assert site.call("admin") == (401, "unauthorized")
    assert site.done == [None, record]


def test_a_key_of_the_environment_counts_as_one(site: Site) -> None:
    assert site.call("read") == (401, "unauthorized")
    assert site.call("admin", {"X-API-Key": BOOTSTRAP}) == (200, None)


def test_a_file_of_keys_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite").write_text("nonsense" * 1000)
    site = Site(KeyStore(tmp_path / "keys.sqlite"))
    with pytest.raises(KeysUnusable):
        site.call("read")
    assert site.done == []


@pytest.mark.parametrize(
    "headers",
    [
        [("X-API-Key", BOOTSTRAP)] * 2,
        [("X-API-Key", BOOTSTRAP), ("X-API-Key", "x" * 24)],
        [("X-API-Key", "x" * 24), ("X-API-Key", BOOTSTRAP)],
        [("X-API-Key", BOOTSTRAP), ("x-api-key", "")],
        [("Authorization", f"Bearer {BOOTSTRAP}")] * 2,
        [("Authorization", f"Bearer {BOOTSTRAP}"), ("Authorization", "Basic dXNlcjpwYXNz")],
        [("Authorization", "Basic dXNlcjpwYXNz"), ("Authorization", f"Bearer {BOOTSTRAP}")],
    ],
)
@pytest.mark.parametrize("auth", ["auto", "on", "off"])
def test_a_header_that_comes_twice_is_refused(store: KeyStore, headers: list[tuple[str, str]], auth: str) -> None:
    site = Site(store, auth=auth)
    answer = site.get("/read", [(name.encode(), value.encode()) for name, value in headers])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "send one key" in answer.json()["detail"]
    assert site.done == []


def test_when_the_keys_cannot_be_read_nobody_may(site: Site, store: KeyStore) -> None:
    store.path.write_text("nonsense" * 1000)
    with pytest.raises(KeysUnusable):
        site.call("read", {"X-API-Key": "vv_0_0"})
    assert site.done == []


def test_a_key_for_some_galleries_is_for_no_other(site: Site, store: KeyStore) -> None:
    limited, everything = ({"X-API-Key": store.create("a", "admin", only)[1]} for only in (["team", "staff"], []))
    for headers, path, status in (
        (limited, "/galleries/team/subjects", 200),
        (limited, "/galleries/staff/subjects", 200),
        (limited, "/galleries/other/subjects", 403),
        (limited, "/galleries/Team/subjects", 403),
        (limited, "/galleries/%74eam/subjects", 200),
        (limited, "/galleries/team%2C/subjects", 403),
        (limited, "/log", 403),
        (limited, "/admin", 200),
        (everything, "/galleries/other/subjects", 200),
        (everything, "/log", 200),
    ):
        assert site.get(path, headers).status_code == status, path


def test_the_scope_counts_too_and_the_answer_tells_no_gallery(site: Site, store: KeyStore) -> None:
    reader = {"X-API-Key": store.create("a", "read", ["team"])[1]}
    assert "the scope read; enrol is needed" in site.get("/galleries/team/subjects", reader).json()["detail"]
    limited = {"X-API-Key": store.create("a", "enrol", ["team"])[1]}
    details = {site.get(f"/galleries/{name}/subjects", limited).json()["detail"] for name in ("there", "not-there")}
    assert details == {"this API key is limited to other galleries"}


@pytest.mark.parametrize(("rate", "seconds"), [(Rate(100, 1), "1"), (Rate(7, 60), "9"), (Rate(1, 3600), "3600")])
def test_when_to_come_back_is_in_whole_seconds(site: Site, rate: Rate, seconds: str) -> None:
    site.app.state.rate = RateLimiter(rate, clock=lambda: 0.0)
    while (answer := site.get("/read")).status_code != 429:
        pass
    assert answer.headers["Retry-After"] == seconds


def test_each_key_has_a_rate_of_its_own(site: Site, store: KeyStore) -> None:
    now = [0.0]
    site.app.state.rate = RateLimiter(Rate(2, 60), clock=lambda: now[0])
    first, second = ({"X-API-Key": store.create("a", "read")[1]} for _ in range(2))
    assert [site.call("read", first)[0] for _ in range(3)] == [200, 200, 429]
    assert site.call("read", second) == (200, None)
    answer = site.get("/read", first)
    assert (answer.json()["code"], answer.headers["Retry-After"]) == ("rate_limited", "30")
    now[0] += 30
    assert site.call("read", first) == (200, None)
    assert len(site.done) == 4


def test_guessing_keys_is_limited_by_address_and_disturbs_nobody_with_a_key(site: Site) -> None:
    site.app.state.rate = RateLimiter(Rate(2, 60), clock=lambda: 0.0)
    guesses = [{"X-API-Key": "guess-1"}, {"X-API-Key": "guess-2"}, {}]
    assert [site.call("read", guess)[0] for guess in guesses] == [401, 401, 429]
    assert site.call("read", {"X-API-Key": BOOTSTRAP}) == (200, None)


def test_without_keys_calls_are_counted_by_address(tmp_path: Path) -> None:
    site = Site(KeyStore(tmp_path / "keys.sqlite"))
    site.app.state.rate = RateLimiter(Rate(2, 60), clock=lambda: 0.0)
    assert [site.call("read")[0] for _ in range(3)] == [200, 200, 429]


def test_openapi_offers_either_header(site: Site) -> None:
    document: dict[str, Any] = site.app.openapi()
    schemes = document["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme"), scheme.get("name")) for scheme in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    assert document["paths"]["/read"]["get"]["security"] == [{name: []} for name in schemes]
