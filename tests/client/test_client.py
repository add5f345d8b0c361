"""The two clients, which must not differ: against recorded answers, and against a real server."""

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
import uvicorn
from answering import URL, Answers, Server, parts, problem, without_pauses
from numpy.typing import NDArray

from visavis import AsyncClient, Client, Face, Recognizer, VisavisError, errors
from visavis.client import ServedFile, ServedPart
from visavis.client.wire import retry_after_s
from visavis.config import Settings
from visavis.server.app import create_app
from visavis.types import Quality

FACE: dict[str, Any] = {
    "box_xyxy": [1.5, 2, 30, 40],
    "score": 0.9,
    "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]],
}
EMBEDDED = {**FACE, "embedding": [0.1] * 128}
VERIFIED = {
    "pack": "dlib",
    "same": True,
    "distance": 0.3,
    "threshold": 0.6,
    "probability": 0.99,
    "decision": "same",
    "fmr": None,
    "reason": None,
    "interval": None,
    "faces": [FACE, {**FACE, "score": 0.8}],
}
MODELS: dict[str, Any] = {
    "default": "dlib",
    "packs": [
        {
            "name": "dlib",
            "summary": "words",
            "commercial_use": True,
            "installed": True,
            "attributes": ["pose"],
            "space": None,
            "dimension": 128,
            "metric": "euclidean",
            "threshold": 0.6,
            "threshold_provenance": "a guess",
            "operating_points": {"default": 0.6},
            "parts": [
                {
                    "role": "detector",
                    "needed": True,
                    "installed": False,
                    "training_data": "photos",
                    "commercial_use": True,
                    "files": ["d"],
                }
            ],
            "files": [{"role": "detector", "name": "d", "size": 1, "sha256": "00", "licence": "any", "origin": "here"}],
            "a member of the future": 1,
        }
    ],
}


class Side:
    """One of the two clients, called in the same way."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def call(
        self,
        method: str,
        *arguments: Any,  # noqa: ANN401  # whatever the method takes
        answers: Answers | None = None,
        url: str = URL,
        **options: Any,  # noqa: ANN401  # likewise
    ) -> Any:  # noqa: ANN401  # and returns
        """Make a client, call a method, and close it; many results come as a list."""
        settings = {name: options.pop(name) for name in ("key", "timeout_s", "retries") if name in options}
        transport = httpx.MockTransport(answers) if answers else None
        if self.kind == "sync":
            with Client(url, transport=transport, **settings) as client:
                result = getattr(client, method)(*arguments, **options)
                return list(result) if isinstance(result, Iterator) else result

        async def call() -> object:
            async with AsyncClient(url, transport=transport, **settings) as client:
                result = getattr(client, method)(*arguments, **options)
                return [found async for found in result] if isinstance(result, AsyncIterator) else await result

        return asyncio.run(call())


# The synchronous client is made of the other, and compared with what it is made of: most tests need no second side.
BOTH = pytest.mark.parametrize("side", ["sync", "async"], indirect=True)


@pytest.fixture
def side(request: pytest.FixtureRequest) -> Side:
    return Side(getattr(request, "param", "async"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch)


def echo(request: httpx.Request) -> httpx.Response:
    """Answer a call for faces: one face for each image, whose score is the length of the image."""
    if "json" in request.headers["content-type"]:
        sizes = [len(image["url"]) for image in json.loads(request.content)["images"]]
    else:
        sizes = [len(content) for name, _, content in parts(request) if name == "images"]
    return faces(*({**FACE, "score": size} for size in sizes))


def faces(*found: Any) -> httpx.Response:  # noqa: ANN401  # whatever a server may say
    results = [face if "error" in face else {"faces": [face]} for face in found]
    return httpx.Response(200, json={"pack": "dlib", "results": results})


def plain(result: object) -> object:
    return [face.to_dict() for face in result] if isinstance(result, tuple) else (type(result), str(result))


# --- what is sent, and what comes of it -----------------------------------------------------------------------------


@BOTH
def test_detect_sends_a_file_as_it_is(side: Side, tmp_path: Path) -> None:
    path = tmp_path / "Grüße.jpg"
    path.write_bytes(b"\xff\xd8 as it is")
    server = Server(faces(FACE))
    (face,) = side.call("detect", path, faces="largest", min_face=0.1, answers=server)
    assert isinstance(face, Face)
    assert face.to_dict() == Face(**FACE).to_dict()
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/v1/detect")
    sent = {name: content for name, _, content in parts(request)}
    assert sent == {"images": b"\xff\xd8 as it is", "faces": b"largest", "min_face": b"0.1"}
    assert b"Gr" not in request.content  # the name of a file stays at home
    assert "Authorization" not in request.headers


def test_embed_gives_embeddings(side: Side) -> None:
    server = Server(faces(EMBEDDED))
    (face,) = side.call("embed", b"image", answers=server)
    assert face.embedding.shape == (128,)
    assert face.embedding.dtype == np.float32
    assert server.requests[0].url.path == "/v1/embed"


@pytest.mark.parametrize("image", [b"image", "http://example.com"])
def test_quality_where_it_is_asked_for(side: Side, image: Any) -> None:  # noqa: ANN401  # bytes or a URL
    quality = {"face_px": 100, "sharpness": 0.25, "score": 1.5}
    server = Server(faces({**FACE, "quality": quality}))
    for method, argument in (("detect", image), ("embed", image), ("detect_many", [image]), ("embed_many", [image])):
        (found,) = side.call(method, argument, quality=True, answers=server)
        face = found[0] if method.endswith("_many") else found
        assert face.quality == Quality(100.0, 0.25, 1.5)
    for request in server.requests:
        assert (b'name="quality"\r\n\r\ntrue\r\n' in request.content) or (b'"quality":true' in request.content)


def test_no_face_is_an_empty_tuple(side: Side) -> None:
    answer = httpx.Response(200, json={"pack": "dlib", "results": [{"faces": []}]})
    assert side.call("detect", b"image", answers=Server(answer)) == ()


@pytest.mark.parametrize("url", ["http://example.com/a.jpg", "HTTPS://example.com/a.jpg?signature=1"])
def test_a_url_is_left_to_the_server(side: Side, url: str) -> None:
    server = Server(faces(FACE))
    side.call("detect", url, answers=server)
    assert server.bodies == [{"images": [{"url": url}], "faces": "all"}]


def test_arrays_and_pillow_images_arrive_as_they_were(side: Side, astronaut_pixels: NDArray[np.uint8]) -> None:
    sources = [astronaut_pixels, PIL.Image.fromarray(astronaut_pixels), astronaut_pixels.astype(np.float64) / 255]
    server = Server(faces(FACE, FACE, FACE))
    side.call("detect_many", sources, answers=server)
    for _, _, content in parts(server.requests[0])[1:]:
        with PIL.Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), astronaut_pixels)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO])
def test_encoded_bytes_and_streams(side: Side, wrap: Callable[[bytes], Any]) -> None:
    server = Server(faces(FACE))
    side.call("detect", wrap(b"image"), answers=server)
    assert ("images", b"image") in [(name, content) for name, _, content in parts(server.requests[0])]


@BOTH
def test_verify_sends_two_files_in_a_form(side: Side) -> None:
    server = Server(httpx.Response(200, json=VERIFIED))
    answer = side.call("verify", b"first", b"second", threshold=0.5, faces="only", answers=server)
    assert answer.to_dict() == {name: value for name, value in VERIFIED.items() if name != "pack"} | {
        "faces": [Face(**face).to_dict() for face in ({**FACE}, {**FACE, "score": 0.8})]
    }
    sent = {name: content for name, _, content in parts(server.requests[0])}
    assert sent == {"a": b"first", "b": b"second", "faces": b"only", "threshold": b"0.5"}


@pytest.mark.parametrize(("fmr", "text"), [(1e-3, b"0.001"), ("strict", b"strict")])
def test_verify_sends_a_rate_and_whether_faces_must_live(side: Side, fmr: float | str, text: bytes) -> None:
    answered = {**VERIFIED, "decision": "uncertain", "fmr": 1e-3, "probability": None}
    server = Server(httpx.Response(200, json=answered), httpx.Response(200, json=answered))
    answer = side.call("verify", b"first", b"second", fmr=fmr, require_live=True, answers=server)
    assert (answer.decision, answer.fmr, answer.probability) == ("uncertain", 1e-3, None)
    sent = {name: content for name, _, content in parts(server.requests[0])}
    assert sent == {"a": b"first", "b": b"second", "faces": b"prominent", "fmr": text, "require_live": b"true"}
    side.call("verify", b"first", "https://example.com/b.jpg", fmr=fmr, require_live=True, answers=server)
    body = json.loads(server.requests[1].content)
    assert (body["fmr"], body["require_live"]) == (fmr, True)


def test_verify_does_not_send_what_is_no_number(side: Side) -> None:
    with pytest.raises(errors.InvalidOption, match="fmr must be a finite number"):
        side.call("verify", b"first", b"second", fmr=float("nan"), answers=Server())


def test_a_face_that_does_not_look_live_names_the_image(side: Side) -> None:
    answer = problem(422, "not_live", detail="the face looks like a print or a screen", field="b")
    with pytest.raises(errors.NotLive, match=r"https://example\.com/b\.jpg: the face looks like"):
        side.call("verify", b"a", "https://example.com/b.jpg", require_live=True, answers=Server(answer))


def test_verify_sends_json_where_there_is_a_url(side: Side) -> None:
    server = Server(httpx.Response(200, json=VERIFIED))
    side.call("verify", b"first", "https://example.com/b.jpg", operating_point="default", answers=server)
    assert server.bodies == [
        {
            "a": {"base64": "Zmlyc3Q="},
            "b": {"url": "https://example.com/b.jpg"},
            "faces": "prominent",
            "operating_point": "default",
        }
    ]


def test_models(side: Side) -> None:
    (pack,) = side.call("models", answers=Server(httpx.Response(200, json=MODELS)))
    assert (pack.name, pack.default, pack.operating_points) == ("dlib", True, {"default": 0.6})
    assert pack.files == (ServedFile("detector", "d", 1, "00", "any", "here"),)
    assert (pack.installed, pack.attributes, pack.space) == (True, ("pose",), None)
    assert pack.threshold_provenance == "a guess"
    assert pack.parts == (ServedPart("detector", True, False, "photos", True, ("d",)),)  # noqa: FBT003  # in order


def test_models_whose_publishers_state_nothing(side: Side) -> None:
    unknown = {**MODELS["packs"][0]["files"][0], "size": None, "sha256": None}
    models = {"default": "", "packs": [{**MODELS["packs"][0], "files": [unknown], "parts": [], "attributes": []}]}
    (pack,) = side.call("models", answers=Server(httpx.Response(200, json=models)))
    assert pack.files == (ServedFile("detector", "d", None, None, "any", "here"),)
    assert (pack.default, pack.parts, pack.attributes) == (False, (), ())


@BOTH
def test_health(side: Side, pauses: list[float]) -> None:
    assert side.call("health", answers=Server(httpx.Response(200, json={"status": "ok"}))) is True
    assert side.call("health", answers=Server(httpx.Response(503, json={"status": "no"}))) is False
    with pytest.raises(errors.ServerError, match="status 404"):
        side.call("health", answers=Server(httpx.Response(404)))
    with pytest.raises(errors.ServerUnreachable):
        side.call("health", answers=Server(httpx.ConnectError("refused")))
    assert pauses == []


def test_a_key_goes_along_and_a_path_before_the_api_stays(side: Side) -> None:
    server = Server(httpx.Response(200, json=MODELS))
    side.call("models", answers=server, key="vv_1_2", url=f"{URL}/faces/")
    assert server.requests[0].headers["Authorization"] == "Bearer vv_1_2"
    assert server.requests[0].url.path == "/faces/v1/models"


def test_moments_are_of_some_time_zone_and_read_as_utc(side: Side) -> None:
    entry = {"number": 1, "actor": "a", "action": "create", "gallery": "people", "subjects": [], "count": 0}
    for at, expected in (("13:00:00+01:00", 12), ("12:00:00Z", 12), ("12:00:00", None)):
        log = httpx.Response(200, json={"entries": [{**entry, "at": f"2025-01-02T{at}"}], "next_cursor": None})
        if expected is None:
            with pytest.raises(errors.ServerError, match="not the answer of a visavis"):
                side.call("entries", answers=Server(log))
        else:
            (found,) = side.call("entries", answers=Server(log))
            assert (found.at.hour, found.at.tzinfo) == (expected, timezone.utc)


# --- many -----------------------------------------------------------------------------------------------------------


@BOTH
def test_many_images_go_in_batches_and_come_in_order(side: Side) -> None:
    requests: list[httpx.Request] = []

    def answers(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return echo(request)

    images = [b"x" * size for size in range(40)]
    found = side.call("embed_many", images, answers=answers)
    assert [one[0].score for one in found] == list(range(40))
    assert [len(parts(request)) - 1 for request in requests] == [16, 16, 8]


def test_no_image_no_call(side: Side) -> None:
    server = Server(faces())
    assert side.call("detect_many", [], answers=server) == []
    assert server.requests == []


@BOTH
def test_images_that_cannot_be_sent_are_errors_in_their_place(side: Side, tmp_path: Path) -> None:
    sources = [
        *(b"1", tmp_path / "nowhere.jpg", b"333", tmp_path, "http://a", np.zeros((2, 2, 7)), None, io.StringIO("text")),
        *("http://" + "a" * 3000, b"55555"),
    ]
    found = side.call("detect_many", sources, answers=echo)
    assert [one[0].score if isinstance(one, tuple) else one.code for one in found] == [
        *(1, "image_not_found", 3, "image_unreadable", 8, "invalid_image", "invalid_image", "invalid_image"),
        *("invalid_image", 5),
    ]


def test_a_call_is_never_much_larger_than_the_largest_image(side: Side) -> None:
    counts: list[int] = []

    def answers(request: httpx.Request) -> httpx.Response:
        counts.append(len(parts(request)) - 1)
        return echo(request)

    sizes = [9_000_000, 9_000_000, 9_000_000, 21_000_000, 1, 2]
    found = side.call("detect_many", [bytes(size) for size in sizes], answers=answers)
    assert [one[0].score for one in found] == sizes
    assert counts == [2, 1, 1, 2]


def test_images_are_taken_as_results_are() -> None:
    taken: list[int] = []

    def images() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x"

    with Client(URL, transport=httpx.MockTransport(echo)) as client:
        found = client.detect_many(images())
        assert taken == []
        next(found)
        assert len(taken) == 16


def test_an_image_that_the_server_refuses_is_an_error_in_its_place(side: Side) -> None:
    refused = {"error": {"code": "image_corrupt", "detail": "damaged", "status": 422}}
    found = side.call("detect_many", [b"1", "nowhere/../x.jpg", b"3"], answers=Server(faces(FACE, refused)))
    assert [plain(one) for one in found] == [
        [Face(**FACE).to_dict()],
        (errors.ImageNotFound, "nowhere/../x.jpg: there is no such file"),
        (errors.ImageCorrupt, "<bytes>: damaged"),
    ]


def test_when_a_whole_call_fails_the_iterator_does(side: Side) -> None:
    with pytest.raises(errors.ServerError) as caught:
        side.call("detect_many", [b"1"] * 20, answers=Server(problem(401, "unauthorized")))
    assert caught.value.code == "unauthorized"


# --- errors ---------------------------------------------------------------------------------------------------------

LEAVES = [
    leaf
    for branch in (errors.InputError, errors.StateError, errors.SetupError)
    for leaf in branch.__subclasses__()
    if leaf.__module__.startswith(errors.__name__)
]


@pytest.mark.parametrize("leaf", LEAVES)
def test_errors_are_the_librarys_own_by_code(side: Side, leaf: type[VisavisError]) -> None:
    with pytest.raises(leaf, match="what is wrong") as caught:
        side.call("detect", b"image", answers=Server(problem(422, leaf.code)))
    assert caught.value.code == leaf.code


@pytest.mark.parametrize(
    ("answer", "kind", "code", "message"),
    [
        (problem(401, "unauthorized"), errors.ServerError, "unauthorized", "what is wrong"),
        (problem(403, "forbidden"), errors.ServerError, "forbidden", "what is wrong"),
        (problem(500, "internal"), errors.ServerError, "internal", "what is wrong"),
        (problem(418, "of the future"), errors.ServerError, "of the future", "what is wrong"),
        (problem(413, "body_too_large"), errors.ImageTooLarge, "image_too_large", "what is wrong"),
        (problem(422, "invalid_request"), errors.InvalidOption, "invalid_option", "what is wrong"),
        (httpx.Response(502, text="<h1>Bad gateway"), errors.ServerError, "server_error", "with status 502"),
        (httpx.Response(301, headers={"Location": "/"}), errors.ServerError, "server_error", "with status 301"),
        (httpx.Response(400, json=[1]), errors.ServerError, "server_error", "with status 400"),
        (httpx.Response(400, json={"code": 1, "detail": []}), errors.ServerError, "server_error", "with status 400"),
        (httpx.Response(200, text="<h1>Hello"), errors.ServerError, "server_error", "not the answer of a visavis"),
        (httpx.Response(200, json=[]), errors.ServerError, "server_error", "not the answer of a visavis"),
        (httpx.Response(200, json={"results": []}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "box_xyxy": [1, 2]}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "landmarks": [1, 2, 3, 4]}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "embedding": [[1, 2]]}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "score": None}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "score": "1"}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({**FACE, "quality": {}}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces([]), errors.ServerError, "server_error", "not the answer of a visavis"),
        (faces({"error": "text"}), errors.ServerError, "server_error", "not the answer of a visavis"),
        (httpx.Response(200, text="[" * 100_000), errors.ServerError, "server_error", "not the answer of a visavis"),
        (httpx.Response(400, text="[" * 100_000), errors.ServerError, "server_error", "with status 400"),
        (httpx.Response(200, text='{"results": [{"faces": '), errors.ServerError, "server_error", "not the answer of"),
        (faces({"score": 1}), errors.ServerError, "server_error", "not the answer of a visavis"),
    ],
)
def test_other_answers(side: Side, answer: httpx.Response, kind: type[VisavisError], code: str, message: str) -> None:
    server = Server(answer)
    with pytest.raises(kind, match=message) as caught:
        side.call("detect", b"image", answers=server)
    assert (type(caught.value), caught.value.code, len(server.requests)) == (kind, code, 1)


def test_a_server_error_tells_status_and_request(side: Side) -> None:
    with pytest.raises(errors.ServerError) as caught:
        side.call("detect", b"image", answers=Server(problem(403, "forbidden")))
    assert (caught.value.status, caught.value.request_id) == (403, "r1")


def test_an_error_names_the_image_that_verify_means(side: Side, tmp_path: Path) -> None:
    path = tmp_path / "b.jpg"
    path.write_bytes(b"image")
    with pytest.raises(errors.NoFace) as caught:
        side.call("verify", b"a", path, answers=Server(problem(422, "no_face", detail="no face found", field="b")))
    assert str(caught.value) == f"{path}: no face found"
    with pytest.raises(errors.ImageNotFound, match=r"nowhere\.jpg"):
        side.call("verify", b"a", "nowhere.jpg", answers=Server())


def test_an_error_about_a_url_is_told_once_and_without_its_query(side: Side) -> None:
    for code, detail in (("fetch_refused", str(errors.FetchRefused("address"))), ("no_face", "no face found")):
        answer = problem(422, code, detail=detail, field="b")
        with pytest.raises(errors.InputError) as caught:
            side.call("verify", b"a", "https://example.com/b.jpg?secret=1#2", answers=Server(answer))
        assert str(caught.value).count(detail) == 1
        assert "secret" not in str(caught.value)


def test_why_a_url_is_not_fetched_is_told_as_the_library_does(side: Side) -> None:
    cause = "port 9000 is not allowed: VISAVIS_FETCH_ALLOW"
    for error in (errors.FetchRefused("port"), errors.FetchFailed("too_large")):
        for detail, expected in ((str(error), None), (f"{error}; {cause}", cause)):
            answer = problem(422, error.code, detail=detail, field="b")
            with pytest.raises((errors.FetchRefused, errors.FetchFailed)) as caught:
                side.call("verify", b"a", "https://example.com:9000/b.jpg", answers=Server(answer))
            assert type(caught.value) is type(error)
            told = caught.value.__cause__ and str(caught.value.__cause__)
            assert (caught.value.reason, str(caught.value), told) == (error.reason, str(error), expected)


# --- patience -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@BOTH
def test_a_busy_server_is_given_the_time_that_it_asks_for(side: Side, pauses: list[float], status: int) -> None:
    busy = problem(status, "overloaded", {"Retry-After": "2"})
    server = Server(busy, busy, faces(FACE))
    assert len(side.call("detect", b"image", answers=server)) == 1
    assert [len(parts(request)) for request in server.requests] == [2, 2, 2]
    assert 2.125 <= pauses[0] <= 2.25
    assert 2.25 <= pauses[1] <= 2.5


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retries", [0, 3])
def test_a_server_that_stays_busy(side: Side, pauses: list[float], status: int, retries: int) -> None:
    server = Server(problem(status, "rate_limited" if status == 429 else "overloaded"))
    with pytest.raises(errors.ServerOverloaded) as caught:
        side.call("detect", b"image", answers=server, retries=retries)
    assert (len(server.requests), len(pauses)) == (retries + 1, retries)
    assert caught.value.code == ("rate_limited" if status == 429 else "overloaded")


def test_pauses_grow_and_stay_bounded(side: Side, pauses: list[float]) -> None:
    with pytest.raises(errors.ServerOverloaded):
        side.call("detect", b"image", answers=Server(httpx.Response(503)), retries=8)
    for number, pause in enumerate(pauses):
        longest = min(0.25 * 2**number, 8)
        assert longest / 2 <= pause <= longest


def test_a_time_that_is_too_long_is_not_waited_for(side: Side, pauses: list[float]) -> None:
    server = Server(problem(429, "rate_limited", {"Retry-After": "31"}))
    with pytest.raises(errors.ServerOverloaded):
        side.call("detect", b"image", answers=server)
    assert (len(server.requests), pauses) == (1, [])
    with pytest.raises(errors.ServerOverloaded):
        side.call("detect", b"image", answers=server, timeout_s=31, retries=1)
    assert len(pauses) == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("disconnected"),
        httpx.ConnectTimeout("timed out"),
    ],
)
@BOTH
def test_connections_that_fail_are_tried_again(side: Side, pauses: list[float], error: Exception) -> None:
    assert len(side.call("detect", b"image", answers=Server(error, error, faces(FACE)))) == 1
    assert len(pauses) == 2
    server = Server(error)
    with pytest.raises(errors.ServerUnreachable, match=r"http://visavis\.test cannot be reached: ") as caught:
        side.call("detect", b"image", answers=server)
    assert (len(server.requests), caught.value.code) == (4, "server_unreachable")
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [httpx.ReadTimeout(""), httpx.DecodingError("gzip"), httpx.UnsupportedProtocol("")])
def test_what_would_only_happen_again_is_not_tried_again(side: Side, pauses: list[float], error: Exception) -> None:
    server = Server(error)
    with pytest.raises(errors.ServerUnreachable):
        side.call("detect", b"image", answers=server)
    assert (len(server.requests), pauses) == (1, [])


def test_retry_after_in_each_of_its_forms() -> None:
    in_an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
    assert retry_after_s(format_datetime(in_an_hour, usegmt=True)) == pytest.approx(3600, abs=60)
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 -0000") == 0
    assert [retry_after_s(value) for value in ("7", "0", "", "-1", "soon", "٣", "1.5")] == [7, 0, 0, 0, 0, 0, 0]


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": ""}, "is a URL such as"),
        ({"url": "localhost:8000"}, "is a URL such as"),
        ({"url": "ftp://localhost"}, "is a URL such as"),
        ({"url": "http://"}, "is a URL such as"),
        ({"url": "http://a\nb"}, "is a URL such as"),
        ({"url": "http://user:hunter2@localhost"}, "without a user name"),
        ({"key": ""}, "an API key is"),
        ({"key": "two words"}, "an API key is"),
        ({"key": "line\r\nX-Evil: 1"}, "an API key is"),
        ({"key": "ü"}, "an API key is"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"timeout_s": float("inf")}, "timeout_s must be"),
        ({"timeout_s": float("nan")}, "timeout_s must be"),
        ({"retries": -1}, "retries must be"),
        ({"retries": 1.5}, "retries must be"),
    ],
)
def test_settings_are_checked(side: Side, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidOption, match=message) as caught:
        side.call("models", answers=Server(), **settings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", [{"min_face": float("nan")}, {"min_face": float("inf")}])
def test_numbers_are_checked(side: Side, option: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOption, match="must be a finite number"):
        side.call("detect", "http://example.com", answers=Server(), **option)


def test_a_client_may_be_made_and_closed_without_a_call() -> None:
    client = Client(URL)
    client.close()


# --- a real server --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that requires a key."""
    settings = Settings(
        auth="on",
        keys=(("read", "k" * 24), ("admin", "a" * 24)),
        keys_file=tmp_path_factory.mktemp("keys") / "keys.sqlite",
        workers=1,
    )
    config = uvicorn.Config(create_app(settings, recognizer), port=0, log_level="error", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def plain_all(results: Iterable[object]) -> list[object]:
    return [plain(result) for result in results]


def test_results_equal_the_librarys(  # noqa: PLR0913  # the fixtures it needs
    side: Side,
    address: str,
    recognizer: Recognizer,
    astronaut: Path,
    hopper: Path,
    *,
    astronaut_pixels: NDArray[np.uint8],
) -> None:
    call = partial(side.call, url=address, key="k" * 24)
    assert plain(call("detect", astronaut)) == plain(recognizer.detect(astronaut))
    sources: list[Any] = [astronaut, hopper.read_bytes(), astronaut_pixels, b"no image", "nowhere.jpg"]
    found = call("detect_many", sources, min_face=0.15)
    expected = list(recognizer.detect_many(sources, min_face=0.15))
    assert plain_all(found[:3]) == plain_all(expected[:3])
    assert (
        list(map(type, found[3:])) == list(map(type, expected[3:])) == [errors.UnsupportedFormat, errors.ImageNotFound]
    )
    (face,), (own,) = call("embed", hopper), recognizer.embed(hopper)
    assert own.embedding is not None
    np.testing.assert_allclose(face.embedding, own.embedding, atol=1e-5)
    answer, expected_answer = call("verify", astronaut, hopper), recognizer.verify(astronaut, hopper)
    assert answer.same == expected_answer.same
    assert answer.distance == pytest.approx(expected_answer.distance, abs=1e-5)
    assert answer.probability == pytest.approx(expected_answer.probability, abs=1e-4)
    assert plain(answer.faces)[0]["box_xyxy"] == expected_answer.faces[0].box_xyxy.tolist()  # type: ignore[index]
    for fmr in ("balanced", 1e-3):
        answer, expected_answer = (
            ask(astronaut, hopper, fmr=fmr) for ask in (partial(call, "verify"), recognizer.verify)
        )
        told = (answer.decision, answer.fmr, answer.threshold)
        assert told == (expected_answer.decision, expected_answer.fmr, expected_answer.threshold)


def test_errors_are_those_of_the_library(side: Side, address: str, recognizer: Recognizer, hopper: Path) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("detect", (grey,), {"faces": "only"}),
        ("detect", (b"",), {}),
        ("detect", (hopper,), {"min_face": 5}),
        ("detect", (hopper,), {"faces": "nonsense"}),
        ("verify", (hopper, grey), {}),
        ("verify", (hopper, hopper), {"threshold": -1.0}),
        ("verify", (hopper, hopper), {"fmr": 2.0}),
        ("verify", (hopper, hopper), {"fmr": 1e-9}),
        ("verify", (hopper, hopper), {"fmr": "lax"}),
        ("verify", (hopper, hopper), {"fmr": 1e-3, "threshold": 0.5}),
        ("verify", (hopper, hopper), {"require_live": True}),
    ]
    for method, arguments, options in cases:
        with pytest.raises(VisavisError) as own:
            getattr(recognizer, method)(*arguments, **options)
        with pytest.raises(VisavisError) as remote:
            side.call(method, *arguments, url=address, key="k" * 24, **options)
        assert type(remote.value) is type(own.value), (method, options)


@pytest.mark.parametrize(("key", "code"), [(None, "unauthorized"), ("x" * 24, "unauthorized")])
def test_without_a_valid_key(side: Side, address: str, hopper: Path, key: str | None, code: str) -> None:
    with pytest.raises(errors.ServerError) as caught:
        side.call("detect", hopper, url=address, key=key)
    assert (caught.value.code, caught.value.status) == (code, 401)
    assert caught.value.request_id


@BOTH
def test_what_else_a_server_says(side: Side, address: str, recognizer: Recognizer) -> None:
    assert side.call("health", url=address) is True
    pack, *others = side.call("models", url=address, key="k" * 24)
    assert not any(other.default for other in others)
    assert (pack.name, pack.threshold, len(pack.files)) == ("dlib", recognizer.threshold, 3)
    with pytest.raises(errors.FetchRefused, match="address"):
        side.call("detect", "http://127.0.0.1/a.jpg", url=address, key="k" * 24)


@BOTH
def test_nobody_there(side: Side, pauses: list[float]) -> None:
    with pytest.raises(errors.ServerUnreachable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        side.call("health", url="http://127.0.0.1:9")
    with pytest.raises(errors.ServerUnreachable):
        side.call("models", url="http://127.0.0.1:9", retries=2)
    assert len(pauses) == 2
