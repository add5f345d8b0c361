"""The contracts of the two services before this one, over a socket, as their clients know them."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import read_pixels
from numpy.typing import NDArray
from serving import Listening, RawAnswer, in_base64, listening

from visavis import Recognizer
from visavis.config import Settings
from visavis.core.image import read_image

Pixels = NDArray[np.uint8]
JSON = {"Content-Type": "application/json"}
PAGE = b"<h1>Face Embedding API</h1>"


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Listening]:
    with listening(Settings(port=0, fetch_allow=("127.0.0.1",), read_timeout_s=10), recognizer) as server:
        yield server


@pytest.fixture(scope="module")
def portraits(astronaut: Path) -> Iterator[str]:
    """The URL of a web server that has the portrait and, as a page may, things that are no images."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(astronaut.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def crop(astronaut_pixels: Pixels) -> Pixels:
    """A cropped face, 224 x 224, as the verification function takes it."""
    resized: Pixels = cv2.resize(astronaut_pixels[55:175, 160:280], (224, 224))
    return resized


def post(server: Listening, path: str, value: object) -> RawAnswer:
    return server.call("POST", path, json.dumps(value).encode(), JSON)


def only_eyes(recognizer: Recognizer, crop: Pixels) -> Pixels:
    """Return a part of a face in which no face is found."""
    eyes = np.ascontiguousarray(crop[60:130])
    assert recognizer.detect(eyes) == ()
    return eyes


def vector_of(recognizer: Recognizer, image: Any) -> Any:  # noqa: ANN401  # whatever the library takes
    (face,) = recognizer.embed(image, faces="largest")
    assert face.embedding is not None
    return face.embedding.tolist()


@pytest.mark.parametrize("path", ["/", "/face-embedding"])
def test_the_page(server: Listening, path: str) -> None:
    answer = server.call("GET", path)
    assert (answer.status, answer.body) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    answer = server.call("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


class TestEmbedding:
    def test_url(self, server: Listening, recognizer: Recognizer, portraits: str, astronaut: Path) -> None:
        url = f"{portraits}/{astronaut.name}?a=b"
        answer = post(server, "/face-embedding/url", {"url": url})
        assert answer.status == 201
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"face_embedding": {"url": url, "vector": vector_of(recognizer, astronaut)}}

    def test_json_without_its_content_type(self, server: Listening, portraits: str, astronaut: Path) -> None:
        body = json.dumps({"url": f"{portraits}/{astronaut.name}"}).encode()
        assert server.call("POST", "/face-embedding/url", body).status == 201

    @pytest.mark.parametrize(
        "body", [b"", b"no json", b"[]", b"{}", b'{"url": 1}', b'{"url": ""}', b'{"uri": "http://a"}']
    )
    def test_a_body_without_a_url(self, server: Listening, body: bytes) -> None:
        answer = server.call("POST", "/face-embedding/url", body, JSON)
        assert answer.status == 400
        assert answer.json()["detail"]

    def test_what_is_no_portrait(self, server: Listening, portraits: str) -> None:
        for url, code in (
            ("file:///etc/passwd", "fetch_refused"),
            ("http://10.0.0.1/a.jpg", "fetch_refused"),
            (f"{portraits}/nothing.jpg", "fetch_failed"),
            (f"{portraits}/chessboard_GRAY.png", "no_face"),
        ):
            answer = post(server, "/face-embedding/url", {"url": url})
            assert (answer.status, answer.json()["code"]) == (422, code), url

    def test_img(self, server: Listening, recognizer: Recognizer, astronaut: Path, astronaut_pixels: Pixels) -> None:
        text = in_base64(astronaut.read_bytes())
        half = astronaut_pixels[::2, ::2]
        vectors = [vector_of(recognizer, image) for image in (astronaut, half)]
        for forms, vector in zip(
            ([text, f"data:image/png;base64,{text}"], [half.tolist(), [half.tolist()]]), vectors, strict=True
        ):
            for img in forms:
                answer = post(server, "/face-embedding/img", {"img": img})
                assert (answer.status, answer.json()) == (201, {"embedding": {"vector": vector}})

    def test_img_that_is_a_face_already(self, server: Listening, recognizer: Recognizer, crop: Pixels) -> None:
        eyes = only_eyes(recognizer, crop)
        chip = cv2.resize(eyes, (150, 150), interpolation=cv2.INTER_AREA)
        answer = post(server, "/face-embedding/img", {"img": eyes.tolist()})
        assert answer.json()["embedding"]["vector"] == recognizer.embed_chips([chip])[0].tolist()

    def test_array(
        self, server: Listening, recognizer: Recognizer, astronaut: Path, astronaut_again: bytes, hopper: Path
    ) -> None:
        one, two = list(astronaut.read_bytes()), list(astronaut_again)
        answer = post(server, "/face-embedding/array", {"array": one})
        assert (answer.status, answer.json()) == (201, {"embedding": {"vector": vector_of(recognizer, astronaut)}})
        answer = post(server, "/face-embedding/array", {"array": [one, two]})
        mean = np.mean([vector_of(recognizer, image) for image in (astronaut, astronaut_again)], axis=0)
        assert np.allclose(answer.json()["embedding"]["vector"], mean, atol=1e-6)
        assert post(server, "/face-embedding/array", {"array": [list(hopper.read_bytes()[:99])]}).status == 422

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            *(("img", {}), ("img", {"img": None}), ("img", {"img": []}), ("img", {"img": [["1"]]}), ("array", {})),
            *(("array", {"array": []}), ("array", {"array": [[]]}), ("array", {"array": "abc"})),
            *(("array", {"array": [-1]}), ("array", {"array": [256]}), ("array", {"array": [1.5]})),
            *(("array", {"array": [True]}), ("array", {"array": [[1], 2]}), ("array", {"array": [[[1]]]})),
            ("array", {"array": [[1]] * 17}),
        ],
    )
    def test_what_is_no_image(self, server: Listening, path: str, value: object) -> None:
        answer = post(server, f"/face-embedding/{path}", value)
        assert (answer.status, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["detail"]


class TestVerification:
    CORS = (("access-control-allow-origin", "*"), ("access-control-allow-methods", "GET,POST"))

    @pytest.mark.parametrize("headers", [{}, {"Origin": "https://a", "Access-Control-Request-Method": "POST"}])
    def test_preflight(self, server: Listening, headers: dict[str, str]) -> None:
        answer = server.call("OPTIONS", "/", headers=headers)
        assert (answer.status, answer.body) == (204, b"")
        expected = [*self.CORS, ("access-control-allow-headers", "Content-Type"), ("access-control-max-age", "3600")]
        assert {name: value for name, value in answer.headers.items() if "access-control" in name} == dict(expected)

    def test_match(
        self, server: Listening, recognizer: Recognizer, crop: Pixels, astronaut_again: bytes, hopper: Path
    ) -> None:
        again = read_image(astronaut_again).pixels
        other = read_pixels(hopper, 200)
        for truth, check, expected in ((crop, again, b'{"Match":"Yes"}'), (crop, other, b'{"Match":"No"}')):
            for value in (
                {"truth": truth.tolist(), "check": check.tolist()},
                {"truth": [truth.astype(float).tolist()], "check": [check.tolist()]},
            ):
                answer = post(server, "/", value)
                assert (answer.status, answer.body) == (200, expected)
                assert set(self.CORS) <= set(answer.headers.items())
        assert recognizer.threshold == 0.6

    def test_faces_that_are_cut_out_already(self, server: Listening, recognizer: Recognizer, crop: Pixels) -> None:
        eyes = only_eyes(recognizer, crop).tolist()
        assert post(server, "/", {"truth": eyes, "check": eyes}).json() == {"Match": "Yes"}

    @pytest.mark.thorough
    @pytest.mark.parametrize("kind", ["negative.jpg", "pixelated.png", "turned180.jpg"])
    def test_degraded_faces_of_two_people_are_no_match(self, server: Listening, test_data: Path, kind: str) -> None:
        one, other = (
            read_pixels(test_data / "cases" / "degenerate" / f"{who}-{kind}").tolist() for who in ("collins", "hopper")
        )
        assert post(server, "/", {"truth": one, "check": other}).json() == {"Match": "No"}

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"{", b"{}", b'{"truth": [[1]]}', b'{"truth": "a", "check": "b"}', b'{"truth": [], "check": []}'),
            *(b'{"truth": [[[[1, 2, 3]]], [[[1, 2, 3]]]], "check": [[1]]}', b'{"truth": [[NaN]], "check": [[1]]}'),
        ],
    )
    def test_a_wrong_body(self, server: Listening, body: bytes) -> None:
        answer = server.call("POST", "/", body, JSON)
        assert answer.status == 400
        assert answer.json()["detail"]
        assert set(self.CORS) <= set(answer.headers.items())

    @pytest.mark.parametrize("truth", [[[300]], [[-1]], [[0], [0, 0]], [[[0, 0]]]])
    def test_numbers_that_are_no_image(self, server: Listening, truth: object) -> None:
        answer = post(server, "/", {"truth": truth, "check": [[0]]})
        assert (answer.status, answer.json()["code"], answer.json()["field"]) == (422, "invalid_image", "truth")


def test_where_only_the_direction_counts_the_length_is_one(cache_dir: Path, astronaut: Path) -> None:
    recognizer = Recognizer("sface", precision="f32", cache_dir=cache_dir, threads=1)
    with listening(Settings(port=0), recognizer) as server:
        for path, value in (
            ("/face-embedding/img", {"img": in_base64(astronaut.read_bytes())}),
            ("/face-embedding/array", {"array": [list(astronaut.read_bytes())] * 2}),
        ):
            vector = np.array(post(server, path, value).json()["embedding"]["vector"])
            assert vector.shape == (128,)
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
            own = np.array(vector_of(recognizer, astronaut))
            assert vector @ own / np.linalg.norm(own) == pytest.approx(1, abs=1e-4)
