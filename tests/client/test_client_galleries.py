"""The galleries of the two clients, which must not differ: against recorded answers."""

import asyncio
import inspect
import json
import runpy
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from answering import URL, Answers, Server, parts, problem, without_pauses

import visavis
from visavis import AsyncClient, Client, errors
from visavis.client import GalleryClient, wire
from visavis.galleries.records import NEVER, Details, Gallery, LogEntry, Subject
from visavis.options import Policy
from visavis.service.enroller import Enrolment
from visavis.service.gallery import OpenGallery
from visavis.service.results import (
    AuditReport,
    Candidate,
    Enrolled,
    Identification,
    LowQuality,
    Outlier,
    Receipt,
    SubjectPair,
    SubjectVerification,
)
from visavis.service.transfer import has_face
from visavis.types import EmbeddingSpace, Face, Quality

TOOLS = Path(__file__).parents[2] / "tools"
NOON = datetime(2025, 1, 2, 12, 0, 0, 1, tzinfo=timezone.utc)
GALLERY = Gallery(
    name="people",
    number=1,
    space=EmbeddingSpace("a1b2", 4, "euclidean"),
    policy=Policy(threshold=0.5, keep="chips"),
    encrypted=False,
    created_at=NOON,
    subjects=2,
    samples=3,
)
ADA = Subject(
    id="ada",
    number=7,
    name="Ada Lovelace",
    metadata={"badge": [1, None, "x"]},
    consent=None,
    created_at=NOON,
    updated_at=NOON,
    expires_at=NOON + timedelta(days=1),
    version=3,
    samples=2,
)
CANDIDATE = Candidate(
    subject="ada", subject_number=7, name=None, sample=12, distance=0.25, probability=0.99, margin=None
)
FACE = Face(
    np.array([1, 2, 30, 40], np.float32),
    0.9,
    np.arange(10, dtype=np.float32).reshape(5, 2),
    quality=Quality(28.0, 0.25, 0.9),
)
RECEIPT = Receipt(
    gallery="people",
    gallery_number=1,
    subject="ada",
    subjects=(7,),
    samples=2,
    forgotten_at=NOON,
    actor="key 1",
    overwritten=True,
)
IDENTIFIED = Identification(match=CANDIDATE, unknown=None, candidates=(CANDIDATE,), threshold=0.5, face=FACE)
STRANGER = Identification(match=None, unknown="empty_gallery", candidates=(), threshold=0.5, face=None)
VERIFIED = SubjectVerification(
    same=True, distance=0.25, threshold=0.5, probability=0.99, decision="same", subject="ada", sample=12, face=FACE
)
ENTRIES = [
    LogEntry(number=1, at=NOON, actor="key 1", action="create", gallery="people", subjects=(), count=0),
    LogEntry(number=4, at=NOON, actor="anonymous", action="enrol", gallery="people", subjects=(7, 8), count=2),
]
REPORT = AuditReport(
    subjects=2,
    samples=3,
    duplicates=(SubjectPair(a="ada", b="bob", samples=(1, 2), distance=0.1, probability=0.99),),
    confusable=(SubjectPair(a="ada", b="cyd", samples=(1, 3), distance=0.4, probability=0.9),),
    outliers=(Outlier(subject="ada", sample=1, distance=0.9, nearest=None),),
    low_quality=(LowQuality(subject="bob", sample=2, reasons=("too_small", "blurred")),),
)
SAMPLE = {"id": 12, "quality": FACE.quality and FACE.quality.to_dict(), "source": None, "picture": "chips"}
SAMPLE["created_at"] = "2025-01-02T12:00:00Z"
ZIP = "{}.jpg"

Act = Callable[[Any], Any]


class Side:
    """One of the two clients, called in the same way."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def do(self, act: Act, answers: Answers, **settings: Any) -> Any:  # noqa: ANN401  # whatever the method returns
        """Make a client, act with it, and close it; what is iterated over comes as a list."""
        transport = httpx.MockTransport(answers)
        if self.kind == "sync":
            with Client(URL, transport=transport, **settings) as client:
                result = act(client)
                return list(result) if isinstance(result, Iterator) else result

        async def do() -> object:
            async with AsyncClient(URL, transport=transport, **settings) as client:
                result = act(client)
                if isinstance(result, AsyncIterator):
                    return [found async for found in result]
                return await result if inspect.isawaitable(result) else result

        return asyncio.run(do())

    def gallery(self, method: str, *arguments: Any, answers: Answers, **options: Any) -> Any:  # noqa: ANN401  # likewise
        """Call a method of the gallery "people"."""
        return self.do(lambda client: getattr(client.gallery("people"), method)(*arguments, **options), answers)


# The synchronous client is made of the other, and compared with what it is made of: most tests need no second side.
BOTH = pytest.mark.parametrize("side", ["sync", "async"], indirect=True)


@pytest.fixture
def side(request: pytest.FixtureRequest) -> Side:
    return Side(getattr(request, "param", "async"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch)


def ok(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, json=value, headers=headers)


def enrolled(**members: object) -> dict[str, Any]:
    result = Enrolled(subject=ADA, sample=12, repeated=False, face=None, conflict=None).to_dict()
    return {**result, **members}


def enrol_answer(**members: object) -> httpx.Response:
    result = enrolled(**members)
    return ok({"subject": result.pop("subject"), "results": [result]}, 201)


def ndjson(lines: Iterable[object]) -> httpx.Response:
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    return httpx.Response(200, content=content, headers={"Content-Type": "application/x-ndjson"})


def lines_of(request: httpx.Request) -> list[dict[str, Any]]:
    return list(map(json.loads, request.content.splitlines()))


def importing(request: httpx.Request) -> httpx.Response:
    """Answer an import: the sample's ID is the source of its line, a line without one is refused."""
    results: list[dict[str, Any]] = []
    for number, line in enumerate(lines_of(request), 1):
        if line.get("source"):
            results.append({"line": number, **enrolled(sample=int(line["source"]))})
        elif has_face(line):
            results.append({"line": number, "error": {"code": "too_small", "detail": "too few pixels"}})
    return ndjson([*results, {"done": True, "enrolled": 0, "repeated": 0, "failed": 0}])


def same(found: object, expected: object) -> None:
    """Compare what may hold arrays."""
    to_dict = getattr(expected, "to_dict", None)
    assert type(found) is type(expected)
    if to_dict is None:
        assert found == expected
    else:
        assert found.to_dict() == to_dict()  # type: ignore[attr-defined]  # it is of the same type


# --- galleries ------------------------------------------------------------------------------------------------------


@BOTH
def test_galleries(side: Side) -> None:
    server = Server(ok({"galleries": [GALLERY.to_dict()]}))
    assert side.do(lambda client: client.galleries(), server) == (GALLERY,)
    assert str(server.requests[0].url) == f"{URL}/v1/galleries"
    assert side.do(lambda client: client.galleries(), Server(ok({"galleries": []}))) == ()


def test_create(side: Side) -> None:
    server = Server(ok(GALLERY.to_dict(), 201))
    policy = Policy(threshold=0.5)
    made = side.do(lambda client: client.create_gallery("people", policy=policy, encrypted=False), server)
    assert made.name == "people"
    side.do(lambda client: client.create_gallery("people"), server)
    assert server.requests[0].method == "POST"
    assert server.bodies == [{"name": "people", "policy": policy.to_dict(), "encrypted": False}, {"name": "people"}]


def test_get_or_create(side: Side) -> None:
    policy = Policy(threshold=0.5)
    for status in (201, 200):
        server = Server(ok(GALLERY.to_dict(), status))
        opened = side.do(lambda client: client.get_or_create_gallery("people", policy=policy), server)
        assert opened.name == "people"
        assert (server.requests[0].method, server.requests[0].url.path) == ("PUT", "/v1/galleries/people")
        assert server.bodies == [{"policy": policy.to_dict()}]


def test_a_gallery_is_asked_nothing_until_it_is(side: Side) -> None:
    server = Server()
    gallery = side.do(lambda client: client.gallery("people"), server)
    assert (gallery.name, server.requests) == ("people", [])


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b/", "x" * 256, None])
def test_names_that_no_gallery_has_are_not_sent(side: Side, name: str) -> None:
    server = Server()
    with pytest.raises(errors.GalleryNotFound, match="no gallery can have this name"):
        side.do(lambda client: client.gallery(name), server)
    with pytest.raises(errors.InvalidOption, match="1 to 255 of A-Z"):
        side.do(lambda client: client.create_gallery(name), server)
    assert server.requests == []


def test_record_policy_and_forget(side: Side) -> None:
    server = Server(ok(GALLERY.to_dict()))
    assert side.gallery("record", answers=server) == GALLERY
    assert side.gallery("set_policy", GALLERY.policy, answers=server) == GALLERY
    assert [request.method for request in server.requests] == ["GET", "PATCH"]
    assert {str(request.url) for request in server.requests} == {f"{URL}/v1/galleries/people"}
    assert json.loads(server.requests[1].content) == {"policy": GALLERY.policy.to_dict()}
    server = Server(ok(RECEIPT.to_dict() | {"subject": None}))
    receipt = side.gallery("forget", answers=server)
    assert (receipt.subject, receipt.forgotten_at) == (None, NOON)
    assert server.requests[0].method == "DELETE"


def test_a_policy_of_the_future_or_the_past(side: Side) -> None:
    plain = GALLERY.to_dict()
    plain["policy"] = {"threshold": 0.25, "liveness": True}
    assert side.gallery("record", answers=Server(ok(plain))).policy == Policy(threshold=0.25)


# --- enrol ----------------------------------------------------------------------------------------------------------


@BOTH
def test_enrol_sends_a_form(side: Side, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    expected = Enrolled(subject=ADA, sample=12, repeated=False, face=FACE, conflict=CANDIDATE)
    server = Server(enrol_answer(face=FACE.to_dict(), conflict=CANDIDATE.to_dict()))
    details = Details(name="Ada", metadata={"é": [1, {"b": None}]}, consent="yes", expires_at=NOON)
    options = {
        "source": "door",
        "key": "k1",
        "faces": "largest",
        "min_face": 0.1,
        "allow_conflict": True,
        "counter": True,
    }
    same(side.gallery("enrol", path, "ada", details=details, answers=server, **options), expected)
    (request,) = server.requests
    assert (request.method, request.url.path) == ("POST", "/v1/galleries/people/enrol")
    assert request.headers["Idempotency-Key"] == "k1"
    sent = {name: content.decode() for name, _, content in parts(request)}
    assert json.loads(sent.pop("metadata")) == details.metadata
    assert sent == {
        "images": "image",
        "subject": "ada",
        "name": "Ada",
        "consent": "yes",
        "expires_at": "2025-01-02T12:00:00.000001Z",
        "source": "door",
        "faces": "largest",
        "min_face": "0.1",
        "allow_conflict": "true",
        "counter": "true",
    }


def test_enrol_a_url(side: Side) -> None:
    server = Server(enrol_answer())
    details = Details(name="", metadata={}, expires_at=NEVER)
    side.gallery("enrol", "http://example.com/a.jpg", details=details, answers=server)
    assert server.bodies == [
        {
            "images": [{"url": "http://example.com/a.jpg"}],
            "name": "",
            "metadata": {},
            "expires_at": "9999-12-31T23:59:59.999999Z",
            "faces": "main",
            "allow_conflict": False,
            "counter": False,
        }
    ]


def test_enrol_one_of_several_faces(side: Side) -> None:
    server = Server(enrol_answer(), enrol_answer())
    side.gallery("enrol", b"group", box=np.array([1, 2, 3.5, 4]), answers=server)
    side.gallery("enrol", b"group", like=b"ada", answers=server)
    boxed, like = ({name: content for name, _, content in parts(request)} for request in server.requests)
    assert (boxed["box"], boxed["images"]) == (b"1.0,2.0,3.5,4.0", b"group")
    assert (like["like"], like["images"]) == (b"ada", b"group")
    server = Server(enrol_answer())
    side.gallery("enrol", "http://example.com/a.jpg", like=b"ada", answers=server)
    assert server.bodies[0]["images"] == [{"url": "http://example.com/a.jpg"}]
    assert server.bodies[0]["like"] == {"base64": b64encode(b"ada").decode()}
    with pytest.raises(errors.InvalidOption, match="box must be"):
        side.gallery("enrol", b"group", box=(1, 2), answers=Server())


def test_enrol_an_embedding(side: Side) -> None:
    server = Server(enrol_answer(repeated=True))
    found = side.gallery("enrol_embedding", np.array([1, 2, 3, 0.1], np.float32), "ada", answers=server)
    assert found.repeated
    side.gallery("enrol_embedding", [1, 2], quality=Quality(50, 0.5, 1), source="s", answers=server)
    tenth = float(np.float32(0.1))
    assert server.bodies == [
        {"embeddings": [[1, 2, 3, tenth]], "allow_conflict": False, "counter": False, "subject": "ada"},
        {
            "embeddings": [[1, 2]],
            "allow_conflict": False,
            "counter": False,
            "source": "s",
            "qualities": [{"face_px": 50, "sharpness": 0.5, "score": 1}],
        },
    ]


@pytest.mark.parametrize("method", ["enrol", "enrol_embedding"])
def test_an_enrolment_has_a_key_of_its_own_which_tries_share(side: Side, pauses: list[float], method: str) -> None:
    thing: Any = b"image" if method == "enrol" else [1.0]
    server = Server(httpx.ReadError("reset"), problem(503, "overloaded"), enrol_answer(repeated=True))
    side.gallery(method, thing, answers=server)
    side.gallery(method, thing, answers=Server(enrol_answer()))
    keys = [request.headers["Idempotency-Key"] for request in server.requests]
    assert (len(keys), len(set(keys)), len(pauses)) == (3, 1, 2)
    other = Server(enrol_answer())
    side.gallery(method, thing, answers=other)
    assert other.requests[0].headers["Idempotency-Key"] != keys[0]


@pytest.mark.parametrize("key", ["", " a", "a ", "ü", "a\nb", "x" * 181])
def test_keys_that_no_header_holds(side: Side, key: str) -> None:
    with pytest.raises(errors.InvalidOption, match="an idempotency key is 1 to 180 printable ASCII"):
        side.gallery("enrol", b"image", key=key, answers=Server())
    with pytest.raises(errors.InvalidOption, match="an idempotency key is 1 to 180 printable ASCII"):
        side.gallery("enrol_embedding", [1.0], key=key, answers=Server())


@pytest.mark.parametrize("key", ["x", "x" * 180, "two words", "a#1"])
def test_keys_that_a_header_holds(side: Side, key: str) -> None:
    server = Server(enrol_answer())
    side.gallery("enrol", b"image", key=key, answers=server)
    assert server.requests[0].headers["Idempotency-Key"] == key


@pytest.mark.parametrize(
    "kind",
    [
        *(errors.NoFace, errors.MultipleFaces, errors.FaceTooSmall, errors.FaceBlurred, errors.LowScore),
        *(errors.ConsentMissing, errors.SubjectConflict, errors.KeyReused, errors.ImageCorrupt),
    ],
)
def test_refusals_are_the_librarys_and_name_the_image(
    side: Side, tmp_path: Path, kind: type[errors.VisavisError]
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    with pytest.raises(kind) as caught:
        side.gallery("enrol", path, answers=Server(problem(422, kind.code, field="images.0")))
    assert str(caught.value) == f"{path}: what is wrong"
    refused = ok({"subject": None, "results": [{"error": {"code": kind.code, "detail": "what is wrong"}}]})
    with pytest.raises(kind) as caught:
        side.gallery("enrol", path, answers=Server(refused))
    assert str(caught.value) == f"{path}: what is wrong"


@pytest.mark.parametrize("about", [{"subject": "\ud800"}, {"source": "\ud800"}, {"source": {1}}])
def test_what_json_cannot_hold_is_not_sent(side: Side, about: dict[str, Any]) -> None:
    server = Server(enrol_answer())
    for method, thing in (("enrol", b"image"), ("enrol_embedding", [1.0])):
        with pytest.raises(errors.InvalidOption, match="must be what JSON can hold"):
            side.gallery(method, thing, **about, answers=server)
    (found,) = side.gallery("enrol_many", [Enrolment(image=b"image", **about)], answers=server)
    assert isinstance(found, errors.InvalidOption)
    with pytest.raises(errors.InvalidOption, match="threshold must be a finite number"):
        side.gallery("identify", b"image", threshold=float("nan"), answers=server)
    assert server.requests == []


@pytest.mark.parametrize("embedding", [float("nan"), [[1.0, 2.0]], [float("inf")], ["x"], None, [1e300], 5])
def test_embeddings_that_cannot_be_sent(side: Side, embedding: Any) -> None:  # noqa: ANN401  # anything
    server = Server()
    for act in (
        lambda client: client.gallery("people").enrol_embedding(embedding),
        lambda client: client.gallery("people").verify_embedding(embedding, "ada"),
        lambda client: client.gallery("people").identify_embeddings([embedding]),
    ):
        with pytest.raises(errors.InvalidEmbedding, match="an embedding is a row of"):
            side.do(act, server)
    assert server.requests == []


# --- many -----------------------------------------------------------------------------------------------------------


@BOTH
def test_enrol_many_sends_lines(side: Side, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return importing(request)

    enrolments = [
        Enrolment(image=path, subject="ada", details=Details(name="Ada"), source="1", key="k"),
        Enrolment(image="nowhere.jpg", source="2"),
        Enrolment(embedding=np.ones(2, np.float32), quality=Quality(1, 2, 3), picture=b"png", source="3", counter=True),
        Enrolment(image="https://example.com/a.jpg?secret=1", box=(1, 2, 3, 4)),
        Enrolment(image=path, box=(1,), source="5"),
        Enrolment(image=path, like=np.ones(2, np.float32), key="k2"),
    ]
    found = side.gallery("enrol_many", enrolments, faces="largest", min_face=0.25, allow_conflict=True, answers=answers)
    assert [getattr(one, "sample", None) for one in found] == [1, None, 3, None, None, None]
    assert found[0].subject == ADA
    assert isinstance(found[1], errors.ImageNotFound)
    assert isinstance(found[3], errors.FaceTooSmall)
    assert str(found[3]) == "https://example.com/a.jpg: too few pixels"
    (request,) = requests
    assert (request.method, request.url.path) == ("POST", "/v1/galleries/people/import")
    assert dict(request.url.params) == {
        "faces": "largest",
        "min_face": "0.25",
        "allow_conflict": "true",
        "counter": "false",
    }
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert isinstance(found[4], errors.InvalidOption)
    first, second, third, fourth = lines_of(request)
    assert fourth["like"] == [1, 1]
    assert first == {
        "subject": "ada",
        "source": "1",
        "key": "k",
        "name": "Ada",
        "image": {"base64": b64encode(b"image").decode()},
    }
    assert len({second.pop("key"), third.pop("key")}) == 2
    assert b64decode(second.pop("picture")) == b"png"
    assert second == {
        "source": "3",
        "counter": True,
        "embedding": [1, 1],
        "quality": {"face_px": 1, "sharpness": 2, "score": 3},
    }
    assert third == {"image": {"url": "https://example.com/a.jpg?secret=1"}, "box": [1, 2, 3, 4]}


def test_chunks_are_bounded_and_come_in_order(side: Side) -> None:
    counts: list[int] = []

    def answers(request: httpx.Request) -> httpx.Response:
        counts.append(len(lines_of(request)))
        return importing(request)

    def sources(enrolments: Iterable[Enrolment]) -> list[int]:
        counts.clear()
        found = side.gallery("enrol_many", enrolments, answers=answers)
        return [one.sample for one in found]

    assert sources(Enrolment(embedding=np.ones(1, np.float32), source=f"{n + 1}") for n in range(1001)) == list(
        range(1, 1002)
    )
    assert counts == [500, 500, 1]
    assert sources(Enrolment(image=b"x", source=f"{n + 1}") for n in range(40)) == list(range(1, 41))
    assert counts == [16, 16, 8]
    sizes = [3_000_000, 3_000_000, 20_000_000, 1, 5_900_000, 200_000]
    assert sources(Enrolment(image=bytes(size), source=f"{size}") for size in sizes) == sizes
    assert counts == [1, 1, 1, 2, 1]


def test_enrolments_are_taken_as_results_are() -> None:
    taken: list[int] = []

    def enrolments() -> Iterator[Enrolment]:
        for number in range(100):
            taken.append(number)
            yield Enrolment(image=b"x", source="1")

    with Client(URL, transport=httpx.MockTransport(importing)) as client:
        found = client.gallery("people").enrol_many(enrolments())
        assert taken == []
        next(found)
        assert len(taken) == 16


def test_nothing_to_send_no_call(side: Side) -> None:
    server = Server()
    assert side.gallery("enrol_many", [], answers=server) == []
    refused = errors.ImageUnreadable("handed on")
    assert side.gallery("enrol_many", [refused], answers=server) == [refused]
    (found,) = side.gallery("enrol_many", [Enrolment(image="nowhere.jpg")], answers=server)
    assert isinstance(found, errors.ImageNotFound)
    assert side.gallery("identify_embeddings", np.empty((0, 4)), answers=server) == ()
    assert server.requests == []


def test_a_chunk_whose_answer_is_lost_is_sent_again_as_it_was(side: Side, pauses: list[float]) -> None:
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            raise httpx.RemoteProtocolError("disconnected")
        return importing(request)

    (found,) = side.gallery("enrol_many", [Enrolment(image=b"x", source="1")], answers=answers)
    assert (found.sample, len(pauses)) == (1, 1)
    assert requests[0].content == requests[1].content
    assert lines_of(requests[0])[0]["key"]


@BOTH
def test_import_lines(side: Side) -> None:
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return importing(request)

    lines: list[Any] = [
        {"visavis_export": 1, "gallery": "people"},
        {"subject": "ada", "embedding": [1], "source": "1", "key": "k"},
        5,
        {"subject": "bob", "embedding": [1], "source": "2", "key": None},
        {"subject": "cyd", "embedding": [float("nan")], "source": "3"},
        {"subject": "eve", "embedding": None},
        {"subject": "dan", "embedding": [1]},
    ]
    found = side.gallery("import_lines", lines, answers=answers)
    assert [getattr(one, "sample", None) or one.code for one in found] == [
        *(1, "invalid_option", 2, "invalid_option", "too_small")
    ]
    assert dict(requests[0].url.params) == {"faces": "only", "allow_conflict": "true"}
    sent = lines_of(requests[0])
    assert sent[:2] == lines[:2]
    assert [bool(line.get("key")) for line in sent] == [False, True, True, False, True]
    assert side.gallery("import_lines", lines[:1], answers=answers) == []


HEADER = {"visavis_export": 1}
DONE = {"done": True, "enrolled": 1, "repeated": 0, "failed": 0}
ONE = {"line": 1, **enrolled()}
BAD = {"code": "space_mismatch", "detail": "another space"}


def collected(side: Side, answers: Answers, things: list[Any], method: str = "import_lines") -> tuple[int, Exception]:
    """Return how many results came before the error."""
    count = 0

    def act_sync(client: Any) -> None:  # noqa: ANN401  # a client
        nonlocal count
        for _ in getattr(client.gallery("people"), method)(things):
            count += 1

    async def act_async(client: Any) -> None:  # noqa: ANN401  # likewise
        nonlocal count
        async for _ in getattr(client.gallery("people"), method)(things):
            count += 1

    with pytest.raises(errors.VisavisError) as caught:
        side.do(act_sync if side.kind == "sync" else act_async, answers)
    return count, caught.value


@pytest.mark.parametrize(
    ("answer", "count", "kind", "message"),
    [
        (ndjson([{"done": False, "error": BAD}]), 0, errors.SpaceMismatch, "another space"),
        (ndjson([{"line": 1, "error": BAD}, DONE]), 0, errors.SpaceMismatch, "another space"),
        (problem(409, "space_mismatch"), 0, errors.SpaceMismatch, "what is wrong"),
        (ndjson([{**ONE, "line": 2}, {"error": {"code": "store_unavailable"}}]), 1, errors.StoreUnavailable, "200"),
        (ndjson([{**ONE, "line": 2}, {"error": {"code": "overloaded"}}]), 1, errors.ServerError, "status 200"),
        (ndjson([{**ONE, "line": 2}, {**ONE, "line": 3}]), 2, errors.ServerError, "before it was complete"),
        (ndjson([{**ONE, "line": 2}, DONE]), 1, errors.ServerError, "before it was complete"),
        (ndjson([{**ONE, "line": 3}, DONE]), 0, errors.ServerError, "before it was complete"),
        (ndjson([{**ONE, "line": 4}, DONE]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([{**ONE, "line": "2"}, DONE]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([{"line": 2}, DONE]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([{"line": 2, "error": "text"}, DONE]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([[]]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([{}]), 0, errors.ServerError, "not the answer of a visavis"),
        (ndjson([]), 0, errors.ServerError, "before it was complete"),
        (httpx.Response(200, text="<h1>Hello"), 0, errors.ServerError, "not the answer of a visavis"),
        (httpx.Response(502, text="<h1>Hello"), 0, errors.ServerError, "status 502"),
    ],
)
def test_imports_that_break_off(
    side: Side, answer: httpx.Response, count: int, kind: type[errors.VisavisError], message: str
) -> None:
    found, error = collected(side, Server(answer), [HEADER, {"source": "1"}, {"source": "2"}])
    assert (found, type(error)) == (count, kind)
    assert message in str(error)


@BOTH
def test_a_line_that_is_too_long_for_the_server_is_refused_alone(side: Side) -> None:
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        results: list[Any] = []
        for number, line in enumerate(lines_of(request), 1):
            if line["source"] == "2":
                error = {"code": "body_too_large", "detail": f"line {number} is too long"}
                return ndjson([*results, {"done": False, "error": error}])
            results.append({"line": number, **enrolled(sample=int(line["source"]))})
        return ndjson([*results, DONE])

    enrolments = [Enrolment(image=b"x", source=source) for source in "121232"]
    found = side.gallery("enrol_many", enrolments, answers=answers)
    assert [getattr(one, "sample", None) or one.code for one in found] == [
        *(1, "image_too_large", 1, "image_too_large", 3, "image_too_large")
    ]
    assert str(found[1]) == "<bytes>: line 2 is too long"
    assert [len(lines_of(request)) for request in requests] == [6, 4, 2]


@BOTH
def test_what_is_too_large_for_the_server_is_sent_in_parts(side: Side) -> None:
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        lines = lines_of(request)
        if len(lines) > 2 or "2" in [line["source"] for line in lines]:
            return problem(413, "body_too_large")
        results = [{"line": number, **enrolled(sample=int(line["source"]))} for number, line in enumerate(lines, 1)]
        return ndjson([*results, DONE])

    enrolments = [Enrolment(image=b"x", source=source) for source in "13425"]
    found = side.gallery("enrol_many", enrolments, answers=answers)
    assert [getattr(one, "sample", None) or one.code for one in found] == [1, 3, 4, "image_too_large", 5]
    assert str(found[3]) == "<bytes>: what is wrong"
    assert [len(lines_of(request)) for request in requests] == [5, 2, 3, 1, 2, 1, 1]


# --- identify and verify --------------------------------------------------------------------------------------------


def test_identify(side: Side) -> None:
    server = Server(ok({"gallery": "people", "pack": "dlib", "results": [{"faces": [IDENTIFIED.to_dict()]}]}))
    (found,) = side.gallery("identify", b"image", faces="largest", limit=3, threshold=0.4, min_face=20, answers=server)
    same(found, IDENTIFIED)
    assert bool(found)
    assert found.match == CANDIDATE
    sent = {name: content for name, _, content in parts(server.requests[0])}
    assert sent == {
        "images": b"image",
        "faces": b"largest",
        "group_by": b"subject",
        "limit": b"3",
        "threshold": b"0.4",
        "min_face": b"20",
    }
    side.gallery("identify", "http://example.com/a.jpg", answers=server)
    assert json.loads(server.requests[1].content) == {
        "images": [{"url": "http://example.com/a.jpg"}],
        "faces": "all",
        "group_by": "subject",
        "limit": 5,
    }
    assert {request.url.path for request in server.requests} == {"/v1/galleries/people/identify"}
    assert side.gallery("identify", b"image", answers=Server(ok({"results": [{"faces": []}]}))) == ()


@BOTH
def test_identify_many(side: Side) -> None:
    refused = {"error": {"code": "image_corrupt", "detail": "damaged"}}
    server = Server(ok({"results": [{"faces": [IDENTIFIED.to_dict()]}, refused, {"faces": []}]}))
    found = side.gallery("identify_many", [b"1", b"2", "nowhere.jpg", b"4"], answers=server)
    same(found[0][0], IDENTIFIED)
    assert isinstance(found[1], errors.ImageCorrupt)
    assert isinstance(found[2], errors.ImageNotFound)
    assert found[3] == ()


@BOTH
def test_identify_embeddings(side: Side) -> None:
    counts: list[int] = []

    def answers(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        counts.append(len(body["embeddings"]))
        assert {name: body[name] for name in ("limit", "threshold")} == {"limit": 2, "threshold": 0.5}
        results = [{"faces": [{**STRANGER.to_dict(), "threshold": row[0]}]} for row in body["embeddings"]]
        return ok({"results": results})

    probes = np.arange(250, dtype=np.float32)[:, None]
    found = side.gallery("identify_embeddings", probes, limit=2, threshold=0.5, answers=answers)
    assert [one.threshold for one in found] == list(range(250))
    assert not any(found)
    assert counts == [100, 100, 50]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ok({"results": [{"faces": [STRANGER.to_dict()]}]}), errors.ServerError),
        (ok({"results": [{"faces": [STRANGER.to_dict()]}, {"faces": []}]}), errors.ServerError),
        (ok({"results": [{"faces": [STRANGER.to_dict()]}, {"error": {"code": "invalid_embedding"}}]}), None),
        (problem(422, "invalid_embedding"), None),
    ],
)
def test_identify_embeddings_with_other_answers(side: Side, answer: httpx.Response, kind: Any) -> None:  # noqa: ANN401  # a type
    with pytest.raises(kind or errors.InvalidEmbedding):
        side.gallery("identify_embeddings", [[1.0], [2.0]], answers=Server(answer))


@BOTH
def test_verify(side: Side, tmp_path: Path) -> None:
    server = Server(ok(VERIFIED.to_dict()))
    found = side.gallery("verify", b"image", "ada", faces="only", threshold=0.4, min_face=20, answers=server)
    same(found, VERIFIED)
    sent = {name: content for name, _, content in parts(server.requests[0])}
    assert sent == {"image": b"image", "faces": b"only", "threshold": b"0.4", "min_face": b"20"}
    assert server.requests[0].url.path == "/v1/galleries/people/subjects/ada/verify"
    side.gallery("verify", "http://example.com/a.jpg", "ada", answers=server)
    assert json.loads(server.requests[1].content) == {
        "image": {"url": "http://example.com/a.jpg"},
        "faces": "prominent",
    }
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    with pytest.raises(errors.NoFace, match=r"a\.jpg: what is wrong"):
        side.gallery("verify", path, "ada", answers=Server(problem(422, "no_face", field="image")))
    with pytest.raises(errors.ImageNotFound):
        side.gallery("verify", tmp_path / "b.jpg", "ada", answers=Server())


def test_rates_and_live_faces_are_asked_for(side: Side) -> None:
    server = Server(ok({"results": [{"faces": [IDENTIFIED.to_dict() | {"fmr": 0.001}]}]}))
    (found,) = side.gallery("identify", b"image", fmr=1e-3, require_live=True, answers=server)
    assert found.fmr == 0.001
    sent = {name: content for name, _, content in parts(server.requests[0])}
    assert (sent["fmr"], sent["require_live"]) == (b"0.001", b"true")
    (many,) = side.gallery("identify_many", ["http://example.com/a.jpg"], fmr="strict", answers=server)
    assert many[0].fmr == 0.001
    assert json.loads(server.requests[1].content)["fmr"] == "strict"
    (one,) = side.gallery("identify_embeddings", [[1.0]], fmr="lenient", answers=server)
    assert one.fmr == 0.001
    server = Server(ok(VERIFIED.to_dict() | {"decision": "uncertain", "fmr": 0.01}))
    found = side.gallery("verify", b"image", "ada", fmr="lenient", require_live=True, answers=server)
    assert (found.decision, found.fmr, found.same) == ("uncertain", 0.01, True)
    assert side.gallery("verify_embedding", [1.0], "ada", fmr=0.01, answers=server).fmr == 0.01
    assert json.loads(server.requests[1].content) == {"embedding": [1], "fmr": 0.01}
    with pytest.raises(errors.NotLive):
        side.gallery("verify", b"image", "ada", require_live=True, answers=Server(problem(422, "not_live")))


def test_what_an_older_server_does_not_say(side: Side) -> None:
    plain = IDENTIFIED.to_dict()
    del plain["fmr"]
    (found,) = side.gallery("identify", b"image", answers=Server(ok({"results": [{"faces": [plain]}]})))
    same(found, IDENTIFIED)
    plain = VERIFIED.to_dict()
    del plain["fmr"], plain["decision"]
    for truth, decision in ((True, "same"), (False, "different")):
        found = side.gallery("verify", b"image", "ada", answers=Server(ok(plain | {"same": truth})))
        assert (found.decision, found.fmr) == (decision, None)


@pytest.mark.parametrize("policy", [
    {**dict.fromkeys(("min_face_px", "min_sharpness", "probe_min_score", "max_yaw")), "min_score": 0.5},
    {"min_score": 0.5},
])  # fmt: skip
def test_limits_that_are_the_packs_own(side: Side, policy: dict[str, Any]) -> None:
    plain = GALLERY.to_dict() | {"policy": policy}
    assert side.gallery("record", answers=Server(ok(plain))).policy == Policy(min_score=0.5)


def test_angles_of_a_face(side: Side) -> None:
    plain = IDENTIFIED.to_dict()
    plain["face"]["quality"] |= {"yaw": -12.5, "pitch": None}
    (found,) = side.gallery("identify", b"image", answers=Server(ok({"results": [{"faces": [plain]}]})))
    assert found.face.quality == Quality(28.0, 0.25, 0.9, -12.5)


def test_verify_an_embedding(side: Side) -> None:
    server = Server(ok(VERIFIED.to_dict() | {"face": None}))
    assert side.gallery("verify_embedding", [1.0, 2.0], "ada", threshold=0.3, answers=server).face is None
    assert server.bodies == [{"embedding": [1, 2], "threshold": 0.3}]
    side.gallery("verify_embedding", [1.0], "ada", sample=17, answers=server)
    assert server.bodies[1] == {"embedding": [1], "sample": 17}


def test_verify_of_somebody_else(side: Side) -> None:
    far = {"same": False, "decision": "different", "distance": None, "probability": None, "sample": None}
    found = side.gallery("verify", b"image", "ada", answers=Server(ok(VERIFIED.to_dict() | far)))
    assert {name: getattr(found, name) for name in far} == far


# --- subjects -------------------------------------------------------------------------------------------------------


def test_a_subject_is_made(side: Side) -> None:
    server = Server(ok(SUBJECT))
    assert side.gallery("add_subject", "ada", details=Details(name="Ada"), answers=server).id == SUBJECT["id"]
    assert server.bodies == [{"id": "ada", "name": "Ada"}]
    assert server.requests[0].url.path.endswith("/subjects")


def paged(name: str, items: list[Any], size: int) -> Answers:
    def answers(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("cursor", "0"))
        end = start + size
        return ok({name: items[start:end], "next_cursor": str(end) if end < len(items) else None})

    return answers


@pytest.mark.parametrize("count", [0, 1, 3, 4])
@BOTH
def test_subjects_come_by_pages(side: Side, count: int) -> None:
    everyone = [ADA.to_dict() | {"id": f"{number}"} for number in range(count)]
    found = side.gallery("subjects", answers=paged("subjects", everyone, 3))
    assert [one.id for one in found] == [f"{number}" for number in range(count)]


@BOTH
def test_logs_come_by_pages(side: Side) -> None:
    plain = [each.to_dict() for each in ENTRIES]
    assert side.gallery("entries", answers=paged("entries", plain, 1)) == ENTRIES
    assert side.do(lambda client: client.entries(), paged("entries", plain, 1)) == ENTRIES
    server = Server(ok({"entries": [], "next_cursor": None}))
    side.gallery("entries", answers=server)
    side.do(lambda client: client.entries(), server)
    assert [request.url.path for request in server.requests] == ["/v1/galleries/people/log", "/v1/log"]
    newest = Server(ok({"entries": [], "next_cursor": None}))
    side.gallery("entries", newest_first=True, answers=newest)
    side.do(lambda client: client.entries(newest_first=True), newest)
    assert [dict(request.url.params).get("newest_first") for request in server.requests] == [None, None]
    assert [dict(request.url.params).get("newest_first") for request in newest.requests] == ["true", "true"]


def test_pages_are_asked_for_when_they_are_needed() -> None:
    server = Server(ok({"subjects": [ADA.to_dict()] * 3, "next_cursor": "x"}))
    with Client(URL, transport=httpx.MockTransport(server)) as client:
        subjects = client.gallery("people").subjects()
        assert server.requests == []
        next(subjects)
        assert len(server.requests) == 1
        with pytest.raises(errors.ServerError, match="leads back"):
            list(subjects)
    assert len(server.requests) == 2


SUBJECT = {**ADA.to_dict(), "sample_list": [SAMPLE, {**SAMPLE, "id": 13, "quality": None, "source": "door"}]}


def test_subject_and_samples(side: Side) -> None:
    server = Server(ok(SUBJECT))
    assert side.gallery("subject", "ada", answers=server) == ADA
    first, second = side.gallery("samples", "ada", answers=server)
    assert (first.id, first.subject, first.quality, first.source) == (12, "ada", FACE.quality, None)
    assert (second.id, second.quality, second.source, second.picture) == (13, None, "door", "chips")
    assert first.created_at == NOON.replace(microsecond=0)


def test_samples_by_their_numbers(side: Side) -> None:
    sample = {**SAMPLE, "subject": "ada", "metadata": {"box": [1]}, "counter": True}
    server = Server(ok(sample), ok({"samples": [sample, {**SAMPLE, "subject": "ben"}], "next_cursor": None}))
    found = side.gallery("sample", 12, answers=server)
    assert (found.id, found.subject, found.metadata, found.counter) == (12, "ada", {"box": [1]}, True)
    first, second = side.gallery("all_samples", answers=server)
    assert (first, second.subject, second.metadata, second.counter) == (found, "ben", {}, False)
    side.gallery("forget_sample", None, 12, answers=(gone := Server(ok(RECEIPT.to_dict()))))
    assert [request.url.path for request in (*server.requests, *gone.requests)] == [
        *("/v1/galleries/people/samples/12", "/v1/galleries/people/samples", "/v1/galleries/people/samples/12")
    ]


@pytest.mark.parametrize(
    "subject",
    ["a b", "%41", "?#&;=", "é", "...", "~a'()*!", "a\\b", "+", "a%2Fb", "日本", ":", "@", "a..", "%2e%2e", "😀"],
)
def test_ids_are_quoted(side: Side, subject: str) -> None:
    server = Server(ok(SUBJECT))
    side.gallery("subject", subject, answers=server)
    assert server.requests[0].url.path == f"/v1/galleries/people/subjects/{subject}"
    assert server.requests[0].url.raw_path.count(b"/") == 5
    assert server.requests[0].url.query == b""


@pytest.mark.parametrize("subject", ["", ".", "..", "a/b", " a", "a\n", "\ud800", "x" * 201, None, 5])
def test_ids_that_no_subject_has_are_not_sent(side: Side, subject: Any) -> None:  # noqa: ANN401  # anything
    server = Server()
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("subject", ()),
        ("samples", ()),
        ("export_subject", ()),
        ("forget_subject", ()),
        ("update", (Details(name="x"),)),
        ("picture", (1,)),
        *([("forget_sample", (1,))] if subject is not None else []),  # which is whoever has it
        ("merge", ("grace",)),
        ("move", ([1], "grace")),
        ("rename", ("grace",)),
    ]
    for method, arguments in calls:
        with pytest.raises(errors.SubjectNotFound, match="no subject can have this ID"):
            side.gallery(method, subject, *arguments, answers=server)
    for method, thing in (("verify", b"image"), ("verify_embedding", [1.0])):
        with pytest.raises(errors.SubjectNotFound, match="no subject can have this ID"):
            side.gallery(method, thing, subject, answers=server)
    assert server.requests == []


@pytest.mark.parametrize("sample", ["1", "..", None, 1.5, True])
def test_samples_have_numbers(side: Side, sample: Any) -> None:  # noqa: ANN401  # anything
    for method in ("picture", "forget_sample"):
        with pytest.raises(errors.InvalidOption, match="a sample is called by its number"):
            side.gallery(method, "ada", sample, answers=Server())


def test_update(side: Side) -> None:
    server = Server(ok(ADA.to_dict()))
    assert side.gallery("update", "ada", Details(name="", consent="yes"), answers=server) == ADA
    (request,) = server.requests
    assert (request.method, request.url.path) == ("PATCH", "/v1/galleries/people/subjects/ada")
    assert server.bodies == [{"name": "", "consent": "yes"}]
    assert "If-Match" not in request.headers


@pytest.mark.parametrize("version", [3, ADA])
@pytest.mark.parametrize("method", ["update", "forget_subject"])
@BOTH
def test_a_version_is_a_condition(side: Side, method: str, version: int | Subject) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return ok(RECEIPT.to_dict() if request.method == "DELETE" else SUBJECT)

    requests: list[httpx.Request] = []
    arguments = ("ada", Details(name="x"))[: 1 + (method == "update")]
    side.gallery(method, *arguments, version=version, answers=answers)
    assert [request.method for request in requests[:-1]] == ["GET"] * (version == 3)
    assert requests[-1].headers["If-Match"] == '"7-3"'
    with pytest.raises(errors.VersionMismatch, match="has version 3, not 4"):
        side.gallery(method, *arguments, version=4, answers=answers)
    with pytest.raises(errors.VersionMismatch, match="what is wrong"):
        side.gallery(method, *arguments, version=ADA, answers=Server(problem(412, "version_mismatch")))


def test_merge(side: Side) -> None:
    server = Server(ok(ADA.to_dict()))
    assert side.gallery("merge", "a?b", "ada", answers=server) == ADA
    (request,) = server.requests
    assert (request.method, request.url.raw_path) == ("POST", b"/v1/galleries/people/subjects/a%3Fb/merge")
    assert server.bodies == [{"into": "ada"}]


def test_move_and_rename(side: Side) -> None:
    server = Server(ok(ADA.to_dict()))
    assert side.gallery("move", "a?b", [1, 2], "ada", answers=server) == ADA
    assert side.gallery("rename", "Jose\u0301", "ada", answers=server) == ADA
    assert side.gallery("update", "ada", Details(name="A"), new_id="a/b", answers=server) == ADA
    assert [(request.method, request.url.raw_path) for request in server.requests] == [
        ("POST", b"/v1/galleries/people/subjects/a%3Fb/move"),
        ("PATCH", b"/v1/galleries/people/subjects/Jos%C3%A9"),
        ("PATCH", b"/v1/galleries/people/subjects/ada"),
    ]
    assert server.bodies == [{"samples": [1, 2], "into": "ada"}, {"id": "ada"}, {"name": "A", "id": "a/b"}]
    with pytest.raises(errors.SubjectExists):
        side.gallery("rename", "ada", "grace", answers=Server(problem(409, "subject_exists")))


def test_forget_a_subject_or_a_sample(side: Side) -> None:
    server = Server(ok(RECEIPT.to_dict()))
    assert side.gallery("forget_subject", "a?b", answers=server) == RECEIPT
    assert side.gallery("forget_sample", "ada", 12, answers=server) == RECEIPT
    assert [(request.method, request.url.raw_path) for request in server.requests] == [
        ("DELETE", b"/v1/galleries/people/subjects/a%3Fb"),
        ("DELETE", b"/v1/galleries/people/subjects/ada/samples/12"),
    ]


@BOTH
def test_picture(side: Side) -> None:
    server = Server(httpx.Response(200, content=b"\x89PNG", headers={"Content-Type": "image/png"}))
    assert side.gallery("picture", "ada", 12, answers=server) == b"\x89PNG"
    assert server.requests[0].url.path == "/v1/galleries/people/subjects/ada/samples/12/picture"
    with pytest.raises(errors.SampleNotFound):
        side.gallery("picture", "ada", 12, answers=Server(problem(404, "sample_not_found")))
    with pytest.raises(errors.ServerError, match="something else than an image"):
        side.gallery("picture", "ada", 12, answers=Server(httpx.Response(200, html="<h1>Log in")))


def test_audit_and_subject_access(side: Side) -> None:
    assert side.gallery("audit", answers=Server(ok(json.loads(json.dumps(REPORT.to_dict()))))) == REPORT
    everything = {
        "gallery": "people",
        **ADA.to_dict(),
        "sample_list": [{**SAMPLE, "embedding": [0.5]}],
        "log": [],
    }
    server = Server(ok(everything))
    assert side.gallery("export_subject", "ada", answers=server) == everything
    assert server.requests[0].url.path == "/v1/galleries/people/subjects/ada/export"


# --- patience -------------------------------------------------------------------------------------------------------

ONCE: list[Act] = [
    lambda client: client.create_gallery("people"),
    lambda client: client.gallery("people").forget(),
    lambda client: client.gallery("people").forget_subject("ada"),
    lambda client: client.gallery("people").forget_subject("ada", version=ADA),
    lambda client: client.gallery("people").forget_sample("ada", 1),
    lambda client: client.gallery("people").merge("grace", "ada"),
    lambda client: client.gallery("people").move("grace", [1], "ada"),
    lambda client: client.gallery("people").split("grace", [1], details=Details(name="Ada")),
    lambda client: client.gallery("people").rename("grace", "ada"),
    lambda client: client.gallery("people").review.name([1], "ada"),
    lambda client: client.gallery("people").review.ignore([1]),
    lambda client: client.gallery("people").review.discard([1]),
    lambda client: client.gallery("people").update("ada", Details(name="x"), version=ADA),
]
AS_OFTEN_AS_NEEDED: list[Act] = [
    lambda client: client.doctor(),
    lambda client: client.galleries(),
    lambda client: client.gallery("people").record(),
    lambda client: client.gallery("people").set_policy(Policy()),
    lambda client: client.gallery("people").enrol(b"image"),
    lambda client: client.gallery("people").enrol_embedding([1.0]),
    lambda client: client.gallery("people").enrol_many([Enrolment(image=b"image")]),
    lambda client: client.gallery("people").import_lines([{}]),
    lambda client: client.gallery("people").identify(b"image"),
    lambda client: client.gallery("people").identify_many([b"image"]),
    lambda client: client.gallery("people").identify_embeddings([[1.0]]),
    lambda client: client.gallery("people").verify(b"image", "ada"),
    lambda client: client.gallery("people").verify_embedding([1.0], "ada"),
    lambda client: client.gallery("people").subjects(),
    lambda client: client.gallery("people").subject("ada"),
    lambda client: client.gallery("people").samples("ada"),
    lambda client: client.gallery("people").update("ada", Details(name="x")),
    lambda client: client.gallery("people").picture("ada", 1),
    lambda client: client.gallery("people").export(),
    lambda client: client.gallery("people").export_subject("ada"),
    lambda client: client.gallery("people").audit(),
    lambda client: client.gallery("people").rules(),
    lambda client: client.gallery("people").review.groups(),
    lambda client: client.gallery("people").review.picture(1),
    lambda client: client.gallery("people").entries(),
    lambda client: client.entries(),
]


@pytest.mark.parametrize("act", [*ONCE, *AS_OFTEN_AS_NEEDED])
@pytest.mark.parametrize(
    "busy", [problem(503, "overloaded"), problem(429, "rate_limited"), httpx.ConnectError(""), httpx.PoolTimeout("")]
)
def test_what_was_not_done_is_tried_again(
    side: Side, pauses: list[float], act: Act, busy: httpx.Response | Exception
) -> None:
    server = Server(busy)
    with pytest.raises(errors.ServerError):
        side.do(act, server)
    assert (len(server.requests), len(pauses)) == (4, 3)
    assert len({(request.method, request.url, len(request.content)) for request in server.requests}) == 1


@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.RemoteProtocolError("disconnected")])
@pytest.mark.parametrize("act", AS_OFTEN_AS_NEEDED)
def test_what_may_be_done_twice_is_tried_again(side: Side, pauses: list[float], act: Act, lost: Exception) -> None:
    server = Server(lost)
    with pytest.raises(errors.ServerUnreachable):
        side.do(act, server)
    assert (len(server.requests), len(pauses)) == (4, 3)


@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.RemoteProtocolError(""), httpx.WriteError("broken")])
@pytest.mark.parametrize("act", ONCE)
def test_what_should_be_done_once_is_not_tried_again(
    side: Side, pauses: list[float], act: Act, lost: Exception
) -> None:
    server = Server(lost)
    with pytest.raises(errors.ServerUnreachable):
        side.do(act, server)
    assert (len(server.requests), pauses) == (1, [])


# --- foreign answers ------------------------------------------------------------------------------------------------

FOREIGN = [
    httpx.Response(200, text=""),
    httpx.Response(200, html="<h1>Log in to the hotel's network</h1>"),
    httpx.Response(200, text="[" * 100_000),
    httpx.Response(200, text='{"subjects": [{"id": '),
    ok([]),
    ok(5),
    ok(None),
    ok({"subjects": None, "galleries": {}, "entries": 5, "results": "text", "id": 5, "space": 5}),
    ok({"results": [5], "subjects": [5], "entries": [[]], "galleries": ["x"]}),
    ok({"results": [{"faces": [5], "error": 5}], "next_cursor": 5, "subjects": [], "entries": []}),
    httpx.Response(200, content=b"\xff\xfe\x00"),
    httpx.Response(204),
    httpx.Response(301, headers={"Location": "http://elsewhere.test/"}),
    httpx.Response(404, html="<h1>Not found</h1>"),
    httpx.Response(404, text="[" * 100_000),
    httpx.Response(400, json={"code": ["no_face"], "detail": {}, "request_id": 5}),
    httpx.Response(500, json=[]),
]


@pytest.mark.parametrize("act", [*ONCE, *AS_OFTEN_AS_NEEDED])
@pytest.mark.parametrize("answer", FOREIGN)
def test_foreign_answers_are_errors_of_the_server(act: Act, answer: httpx.Response) -> None:
    with pytest.raises(errors.ServerError) as caught:
        Side("sync").do(act, Server(answer))
    assert caught.value.status == answer.status_code


def altered(value: Any) -> Iterator[Any]:  # noqa: ANN401  # JSON
    """Give a value of JSON with each of its members gone, of another kind, or beyond all bounds."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: changed} for changed in altered(member))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from ([*value[:index], changed, *value[index + 1 :]] for changed in altered(member))
    others: list[Any] = [{}, [], "text", 5, 1.5, True, float("nan"), 10**400]
    yield from (other for other in others if type(other) is not type(value))


READABLE: list[tuple[Act, Any]] = [
    (lambda client: client.galleries(), {"galleries": [GALLERY.to_dict()]}),
    (lambda client: client.gallery("people").samples("ada"), SUBJECT),
    (lambda client: client.gallery("people").forget(), RECEIPT.to_dict()),
    (lambda client: client.gallery("people").audit(), REPORT.to_dict()),
    (
        lambda client: client.gallery("people").enrol(b"image"),
        {
            "subject": ADA.to_dict(),
            "results": [{"sample": 1, "repeated": False, "face": FACE.to_dict(), "conflict": CANDIDATE.to_dict()}],
        },
    ),
    (lambda client: client.gallery("people").identify(b"image"), {"results": [{"faces": [IDENTIFIED.to_dict()]}]}),
    (lambda client: client.gallery("people").verify(b"image", "ada"), VERIFIED.to_dict()),
    (
        lambda client: list(client.gallery("people").entries()),
        {"entries": [each.to_dict() for each in ENTRIES], "next_cursor": None},
    ),
    (
        lambda client: list(client.gallery("people").subjects()),
        {"subjects": [ADA.to_dict()], "next_cursor": None},
    ),
]


@pytest.mark.parametrize(("act", "value"), READABLE)
def test_answers_of_which_a_part_is_wrong_are_read_or_refused(act: Act, value: object) -> None:
    refused = 0
    for changed in altered(json.loads(json.dumps(value))):
        content = json.dumps(changed)
        answers = partial(httpx.Response, 200, content=content)
        with Client(URL, retries=0, transport=httpx.MockTransport(lambda _, answer=answers: answer())) as client:
            try:
                act(client)
            except errors.ServerError:
                refused += 1
    assert refused > 10


# --- exports --------------------------------------------------------------------------------------------------------

EXPORT = [{"visavis_export": 1}, {"subject": "ada", "embedding": [0.5]}, {"subject": "é", "embedding": [0.25]}]


class Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in parts, and may break off."""

    def __init__(self, content: Iterable[bytes], end: Exception | None = None) -> None:
        self.content = content
        self.end = end
        self.taken = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for part in self.content:
            self.taken += 1
            yield part
        if self.end:
            raise self.end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def streaming(body: Parts, media_type: str = "application/x-ndjson") -> Answers:
    def answers(request: httpx.Request) -> httpx.Response:
        assert request.url.path.endswith("/people/export")
        return httpx.Response(200, headers={"Content-Type": media_type}, stream=body)

    return answers


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", ["\n", ""])
@BOTH
def test_export(side: Side, size: int, end: str) -> None:
    text = ("\n".join(json.dumps(line, ensure_ascii=False) for line in EXPORT) + end).encode()
    body = Parts([text[start : start + size] for start in range(0, len(text), size)])
    assert side.gallery("export", answers=streaming(body)) == EXPORT
    assert body.closed


def test_pictures_only_where_they_are_asked_for(side: Side) -> None:
    server = Server(ndjson(EXPORT))
    side.gallery("export", answers=server)
    side.gallery("export", pictures=True, answers=server)
    assert [dict(request.url.params) for request in server.requests] == [{"pictures": "false"}, {"pictures": "true"}]


@BOTH
def test_an_export_is_read_as_it_is_taken_and_let_go_of(side: Side) -> None:
    line = json.dumps(EXPORT[1]).encode() + b"\n"
    body = Parts([line] * 1000)

    def act_sync(client: Any) -> None:  # noqa: ANN401  # a client
        lines = client.gallery("people").export()
        assert body.taken == 0
        assert next(lines) == EXPORT[1]
        lines.close()

    async def act_async(client: Any) -> None:  # noqa: ANN401  # likewise
        lines = client.gallery("people").export()
        assert body.taken == 0
        assert await anext(lines) == EXPORT[1]
        await lines.aclose()

    side.do(act_sync if side.kind == "sync" else act_async, streaming(body))
    assert body.taken == 1
    assert body.closed


@pytest.mark.parametrize(
    ("content", "end", "count", "kind", "message"),
    [
        ([b'{"a":1}\n{"b"'], httpx.RemoteProtocolError("cut off"), 1, errors.ServerUnreachable, "cut off"),
        ([b'{"a":1}\n'], httpx.ReadTimeout(""), 1, errors.ServerUnreachable, "no answer in time"),
        ([b'{"a":1}\n{"b"'], None, 1, errors.ServerError, "not the answer of a visavis"),
        ([b'{"a":1}\n[]\n'], None, 1, errors.ServerError, "not the answer of a visavis"),
        ([b'{"a":1}\n' + b"[" * 100_000], None, 1, errors.ServerError, "not the answer of a visavis"),
        ([b"\xff"], None, 0, errors.ServerError, "not the answer of a visavis"),
        ([b'{"a":1}\n'] + [b" " * 100] * 50, None, 1, errors.ServerError, "a line of more than 1,000 bytes"),
    ],
)
@BOTH
def test_exports_that_break_off(  # noqa: PLR0913  # what tells the cases apart
    side: Side,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    *,
    content: list[bytes],
    end: Exception | None,
    count: int,
    kind: type[errors.VisavisError],
    message: str,
) -> None:
    monkeypatch.setattr(wire, "LONGEST_LINE", 1000 if len(content) > 1 else 1_000_000)
    body = Parts(content, end)
    found, error = 0, None

    def act_sync(client: Any) -> None:  # noqa: ANN401  # a client
        nonlocal found
        for _ in client.gallery("people").export():
            found += 1

    async def act_async(client: Any) -> None:  # noqa: ANN401  # likewise
        nonlocal found
        async for _ in client.gallery("people").export():
            found += 1

    with pytest.raises(errors.VisavisError) as caught:
        side.do(act_sync if side.kind == "sync" else act_async, streaming(body))
    error = caught.value
    assert (found, type(error)) == (count, kind)
    assert message in str(error)
    assert body.closed
    assert pauses == []


def test_an_export_that_is_none(side: Side) -> None:
    with pytest.raises(errors.ServerError, match="not the answer of a visavis"):
        side.gallery("export", answers=streaming(Parts([b'{"a":1}\n']), "application/json"))
    with pytest.raises(errors.GalleryNotFound, match="what is wrong"):
        side.gallery("export", answers=Server(problem(404, "gallery_not_found")))


def test_a_refused_export_whose_answer_breaks_off(side: Side, pauses: list[float]) -> None:
    body = Parts([b'{"code":'], httpx.ReadError("reset"))
    with pytest.raises(errors.ServerUnreachable, match="reset"):
        side.gallery("export", answers=lambda _: httpx.Response(500, stream=body))
    assert (body.taken, len(pauses)) == (4, 3)


# --- the two sides --------------------------------------------------------------------------------------------------


def test_the_synchronous_client_is_made_of_the_other() -> None:
    unasync = runpy.run_path(str(TOOLS / "unasync.py"))["unasync"]
    folder = Path(visavis.client.__file__).parent
    for path in folder.rglob("_async.py"):
        assert path.with_name("_sync.py").read_text() == unasync(path.read_text()), "run tools/unasync.py"


def test_what_the_library_can_do_with_a_gallery_the_client_can() -> None:
    # What looks after a store's files is for who has them. Paging the client does by itself.
    of_files = {"check", "forget_damaged", "rekey"}
    of_models = {
        "reference",
        "observe",
    }  # in place of which the client's ``like`` takes an image, and ``embed`` does as well
    other = {name: {"after", "limit"} for name in ("subjects", "search_subjects", "all_samples", "entries")}
    for name, method in inspect.getmembers(OpenGallery, inspect.isfunction):
        if not name.startswith("_") and name not in of_files | of_models:
            own = inspect.signature(method).parameters
            theirs = inspect.signature(getattr(GalleryClient, name)).parameters
            assert list(theirs) == [each for each in own if each not in other.get(name, ())]
            assert [(each.kind, each.default) for each in theirs.values()] == [
                (own[each].kind, own[each].default) for each in theirs
            ]
