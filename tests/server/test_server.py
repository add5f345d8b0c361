"""The native API, called without a network: what it answers, and how it refuses."""

import gzip
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from conftest import many_faces
from numpy.typing import NDArray
from serving import Caller, in_base64, problem, vector

from visavis import Recognizer
from visavis.config import LogFormat, Settings
from visavis.errors import InvalidImage, VisavisError
from visavis.server.observability import configure_logging
from visavis.server.problems import HTTP, LIBRARY
from visavis.server.reading import _read_texts, check_array
from visavis.server.requests import ImagesRequest, VerifyRequest

Pixels = NDArray[np.uint8]
READ, ADMIN = "read-only-secret-0123456789", "admin-secret-0123456789abcdef"


@pytest.fixture(scope="module")
def server(recognizer: Recognizer) -> Iterator[Caller]:
    with Caller(Settings(), recognizer) as caller:
        yield caller


@pytest.fixture(scope="module")
def grey() -> bytes:
    return encoded(np.full((80, 80, 3), 128, np.uint8))


@pytest.fixture(scope="module")
def crowd(astronaut_pixels: Pixels) -> bytes:
    return encoded(many_faces(astronaut_pixels, 1, 2))


@pytest.fixture(scope="module")
def locked(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A server that wants keys."""
    keys_file = tmp_path_factory.mktemp("keys") / "keys.sqlite"
    with Caller(
        Settings(auth="on", keys=(("read", READ), ("admin", ADMIN)), keys_file=keys_file), recognizer
    ) as caller:
        yield caller


def encoded(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image(data: bytes) -> dict[str, str]:
    return {"base64": in_base64(data)}


class TestDetectAndEmbed:
    def test_no_image_no_call(self, server: Caller) -> None:
        assert problem(server.post("/v1/detect", {"images": []}))["field"] == "images"

    def test_detect_answers_what_the_library_finds(
        self, server: Caller, recognizer: Recognizer, astronaut: Path
    ) -> None:
        answer = server.post("/v1/detect", {"images": [image(astronaut.read_bytes())]})
        assert answer.status_code == 200
        found = recognizer.detect(astronaut)
        result = {"faces": [face.to_dict() for face in found], "searched_from_px": found.searched_from_px}
        assert answer.json() == {"pack": "dlib", "results": [result]}

    def test_embed_answers_what_the_library_embeds(
        self, server: Caller, recognizer: Recognizer, astronaut: Path
    ) -> None:
        answer = server.post("/v1/embed", {"images": [image(astronaut.read_bytes())]}).json()
        assert (answer["dimension"], answer["metric"]) == (128, "euclidean")
        (result,) = answer["results"]
        assert result["faces"] == [face.to_dict() for face in recognizer.embed(astronaut)]

    def test_every_form_of_an_image_gives_the_same(self, server: Caller, astronaut_pixels: Pixels) -> None:
        pixels = astronaut_pixels[::2, ::2]
        data = encoded(pixels)
        forms: list[dict[str, Any]] = [
            image(data),
            {"base64": f"data:image/png;base64,{in_base64(data)}"},
            {"base64": "\n".join([in_base64(data)[:76], in_base64(data)[76:]])},
            {"array": pixels.tolist()},
            {"array": pixels.astype(float).tolist()},
            {"array": np.dstack([pixels, np.full(pixels.shape[:2], 255)]).tolist()},
        ]
        results = server.post("/v1/embed", {"images": forms}).json()["results"]
        assert len(results[0]["faces"]) == 1
        assert all(result == results[0] for result in results)
        files = [("images", ("a.png", data)), ("images", ("b.png", data))]
        assert server.request("POST", "/v1/embed", files=files).json()["results"] == results[:2]

    def test_grey_arrays_are_images(self, server: Caller) -> None:
        forms = [{"array": np.full(shape, 128).tolist()} for shape in ((80, 80), (80, 80, 1))]
        results = server.post("/v1/detect", {"images": forms}).json()["results"]
        assert results == [{"faces": [], "searched_from_px": 20}] * 2

    @pytest.mark.parametrize("path", ["/v1/detect", "/v1/embed"])
    def test_an_image_that_fails_fails_alone(self, server: Caller, astronaut: Path, grey: bytes, path: str) -> None:
        images: list[dict[str, Any]] = [
            image(grey),
            image(b"no image"),
            image(astronaut.read_bytes()),
            {"base64": "$$$"},
            {"base64": "data:image/png,rawtext"},
            {"array": [[0, 300]]},
            {"array": [[0], [0, 0]]},
            {"array": [[[0, 0]]]},
            image(astronaut.read_bytes()[:5000]),
        ]
        answer = server.post(path, {"images": images})
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [len(result["faces"]) if "faces" in result else result["error"]["code"] for result in results] == [
            *(0, "unsupported_format", 1, "invalid_image", "invalid_image", "invalid_image", "invalid_image"),
            *("invalid_image", "image_corrupt"),
        ]
        failed = results[1]["error"]
        assert failed["field"] == "images.1"
        assert failed["request_id"] == answer.headers["x-request-id"]
        assert set(failed) == {"type", "title", "status", "detail", "code", "request_id", "field"}

    def test_a_number_beyond_all_bounds_is_no_pixel(self, server: Caller) -> None:
        for number in ("1e400", "-1e400", "9" * 400):
            body = f'{{"images": [{{"array": [[{number}]]}}]}}'
            answer = server.request("POST", "/v1/detect", content=body, headers={"content-type": "application/json"})
            assert answer.json()["results"][0]["error"]["code"] == "invalid_image"

    def test_options_mean_what_they_mean_in_the_library(self, server: Caller, crowd: bytes, grey: bytes) -> None:
        def codes(**options: object) -> list[object]:
            results = server.post("/v1/detect", {"images": [image(crowd), image(grey)], **options}).json()["results"]
            return [len(result["faces"]) if "faces" in result else result["error"]["code"] for result in results]

        assert codes() == [2, 0]
        assert codes(faces="largest") == [1, 0]
        assert codes(faces="only") == ["multiple_faces", "no_face"]
        assert codes(min_face=10000) == [0, 0]

    def test_a_form_takes_the_same_options(self, server: Caller, crowd: bytes) -> None:
        answer = server.request(
            "POST", "/v1/detect", files=[("images", crowd)], data={"faces": "largest", "min_face": "0.2"}
        )
        assert [len(result["faces"]) for result in answer.json()["results"]] == [1]
        for options, field in (
            ({"faces": "some"}, "faces"),
            ({"min_face": "small"}, "min_face"),
            ({"min_face": "nan"}, "min_face"),
            ({"colour": "red"}, "colour"),
        ):
            answer = server.request("POST", "/v1/detect", files=[("images", crowd)], data=options)
            assert (answer.status_code, problem(answer)["field"]) == (422, field)

    @pytest.mark.parametrize("path", ["/v1/detect", "/v1/embed"])
    def test_quality_where_it_is_asked_for(
        self, server: Caller, recognizer: Recognizer, astronaut: Path, path: str
    ) -> None:
        (face,) = getattr(recognizer, path.rpartition("/")[2])(astronaut, quality=True)
        assert face.quality is not None
        body = {"images": [image(astronaut.read_bytes())]}
        with_it = server.post(path, {**body, "quality": True}).json()["results"][0]["faces"][0]
        without = server.post(path, body).json()["results"][0]["faces"][0]
        assert with_it.pop("quality") == face.quality.to_dict()
        assert with_it == without
        for text in ("True", "off", "2"):
            files = [("images", astronaut.read_bytes())]
            answer = server.request("POST", path, files=files, data={"quality": text})
            if text == "2":
                assert (answer.status_code, problem(answer)["field"]) == (422, "quality")
            else:
                assert ("quality" in answer.json()["results"][0]["faces"][0]) == (text == "True")
        assert problem(server.post(path, {**body, "quality": 1}))["field"] == "quality"

    def test_as_many_images_as_allowed(self, server: Caller, grey: bytes) -> None:
        assert len(server.post("/v1/detect", {"images": [image(grey)] * 16}).json()["results"]) == 16
        assert problem(server.post("/v1/detect", {"images": [image(grey)] * 17}))["field"] == "images"
        answer = server.request("POST", "/v1/detect", files=[("images", grey)] * 17)
        assert problem(answer)["field"] == "images"


class TestVerify:
    def test_it_answers_what_the_library_does(
        self, server: Caller, recognizer: Recognizer, astronaut: Path, astronaut_again: bytes
    ) -> None:
        a, b = image(astronaut.read_bytes()), image(astronaut_again)
        expected = {"pack": "dlib", **recognizer.verify(astronaut, astronaut_again).to_dict()}
        assert server.post("/v1/verify", {"a": a, "b": b}).json() == expected
        assert server.post("/v1/verify", {"a": a, "b": b, "operating_point": "default"}).json() == expected
        files = {"a": astronaut.read_bytes(), "b": astronaut_again}
        assert server.request("POST", "/v1/verify", files=files).json() == expected
        stricter = server.post("/v1/verify", {"a": a, "b": b, "threshold": 0.01}).json()
        assert stricter == {**expected, "same": False, "decision": "different", "threshold": 0.01}
        as_form = server.request("POST", "/v1/verify", files=files, data={"threshold": "0.01"}).json()
        assert as_form == stricter

    def test_strangers_are_not_the_same(self, server: Caller, astronaut: Path, hopper: Path) -> None:
        answer = server.post("/v1/verify", {"a": image(astronaut.read_bytes()), "b": image(hopper.read_bytes())})
        assert answer.json()["same"] is False

    def test_the_problem_names_the_image(self, server: Caller, astronaut: Path, grey: bytes, crowd: bytes) -> None:
        face = image(astronaut.read_bytes())
        for a, b, options, expected in (
            (face, image(grey), {}, (422, "no_face", "b")),
            (image(grey), face, {}, (422, "no_face", "a")),
            (image(crowd), face, {"faces": "only"}, (422, "multiple_faces", "a")),
            (face, image(grey), {"faces": "only"}, (422, "no_face", "b")),
            (face, image(b"?"), {}, (415, "unsupported_format", "b")),
        ):
            answer = server.post("/v1/verify", {"a": a, "b": b, **options})
            assert (answer.status_code, problem(answer)["code"], problem(answer)["field"]) == expected

    def test_a_threshold_is_given_once(self, server: Caller, grey: bytes) -> None:
        both = {"a": image(grey), "b": image(grey), "threshold": 0.5, "operating_point": "default"}
        assert "at most one" in problem(server.post("/v1/verify", both))["detail"]
        assert problem(server.post("/v1/verify", {"a": image(grey)}))["field"] == "b"


class TestCompare:
    def test_it_answers_what_the_library_does(
        self, server: Caller, recognizer: Recognizer, astronaut: Path, hopper: Path
    ) -> None:
        (a,), (b,) = recognizer.embed(astronaut), recognizer.embed(hopper)
        assert a.embedding is not None
        assert b.embedding is not None
        vectors = [face.embedding.tolist() for face in (a, b) if face.embedding is not None]
        pairs = [{"a": first, "b": second} for first in vectors for second in vectors]
        known = [(first.embedding, second.embedding) for first in (a, b) for second in (a, b)]
        for options in ({}, {"threshold": 0.1}, {"fmr": "strict"}, {"fmr": 0.01}, {"space": recognizer.pack.space.id}):
            answer = server.post("/v1/compare", {"pairs": pairs, **options})
            expected = [recognizer.compare(*pair, **options) for pair in known]  # type: ignore[arg-type]  # they have embeddings
            assert answer.json() == {"pack": "dlib", "results": [each.to_dict() for each in expected]}

    def test_a_pair_that_cannot_be_used_spoils_no_other(self, server: Caller) -> None:
        good = vector(1)
        wrong = [[0.0] * 128, [1.0] * 512, [10**400] * 128]
        pairs = [{"a": good, "b": good}, *({"a": good, "b": each} for each in wrong), {"a": [1], "b": good}]
        results = server.post("/v1/compare", {"pairs": pairs}).json()["results"]
        assert "decision" in results[0]
        assert [result["error"]["code"] for result in results[1:]] == ["invalid_embedding"] * 4
        assert [result["error"]["field"] for result in results[1:]] == [
            "pairs.1.b",
            "pairs.2.b",
            "pairs.3.b",
            "pairs.4.a",
        ]

    @pytest.mark.parametrize(
        ("body", "status", "code", "field"),
        [
            ({}, 422, "invalid_request", "pairs"),
            ({"pairs": []}, 422, "invalid_request", "pairs"),
            ({"pairs": [{"a": [1.0], "b": [1.0]}] * 501}, 422, "invalid_request", "pairs"),
            ({"pairs": [{"a": [1.0]}]}, 422, "invalid_request", "pairs.0.b"),
            ({"pairs": [{"a": [1.0], "b": "x"}]}, 422, "invalid_request", "pairs.0.b"),
            ({"pairs": [{"a": [1.0], "b": [1.0]}], "threshold": 0}, 422, "invalid_request", "threshold"),
            ({"pairs": [{"a": [1.0], "b": [1.0]}], "threshold": 1, "fmr": 0.1}, 422, "invalid_request", None),
            ({"pairs": [{"a": [1.0], "b": [1.0]}], "fmr": 1e-9}, 422, "invalid_option", "fmr"),
            ({"pairs": [{"a": [1.0], "b": [1.0]}], "space": "another"}, 409, "space_mismatch", "space"),
        ],
    )
    def test_what_is_refused(self, server: Caller, *, body: object, status: int, code: str, field: str | None) -> None:
        answer = server.post("/v1/compare", body)
        told = problem(answer)
        assert (answer.status_code, told["code"], told.get("field")) == (status, code, field)


class TestForms:
    """What clients send in place of what they are told to."""

    def faces(self, answer: httpx.Response) -> list[int]:
        return [len(result["faces"]) for result in answer.json()["results"]]

    @pytest.mark.parametrize("word", ["true", "True", "TRUE", "1", "on", "yes", "Yes"])
    def test_truths(self, word: str) -> None:
        said = {"quality": word}
        assert _read_texts(ImagesRequest, said) == {"quality": True}
        opposite = {"true": "false", "1": "0", "on": "off", "yes": "no"}[word.lower()]
        assert _read_texts(ImagesRequest, {"quality": opposite.title()}) == {"quality": False}
        pattern = ImagesRequest.texts()["quality"]["pattern"]
        assert all(re.search(pattern, text) for text in (word, opposite, opposite.upper(), ""))
        assert not any(re.search(pattern, text) for text in ("2", "y", "truee", " true", "t"))

    def test_what_is_empty_is_not_given(self, server: Caller, astronaut: Path) -> None:
        empty = dict.fromkeys(ImagesRequest.texts(), "")
        assert {"min_face", "faces", "attributes", "quality"} <= empty.keys()
        files = [("images", astronaut.read_bytes())]
        answers = [server.request("POST", "/v1/detect", files=files, data=data) for data in (empty, {})]
        assert answers[0].json() == answers[1].json()
        query = "&".join(f"{name}=" for name in empty)
        assert server.request("POST", f"/v1/detect?{query}", files=files).json() == answers[1].json()
        with_null = server.post("/v1/detect?min_face=", {"images": [image(astronaut.read_bytes())], "min_face": 0.2})
        assert self.faces(with_null) == [1]

    @pytest.mark.parametrize("name", ["images", "images[]", "file", "image", "photo[]", "files"])
    def test_files_by_other_names(self, server: Caller, astronaut: Path, grey: bytes, name: str) -> None:
        files = [(name, ("a.jpg", astronaut.read_bytes())), (name, ("b.jpg", grey))]
        assert self.faces(server.request("POST", "/v1/detect", files=files)) == [1, 0]

    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("/v1/detect", ("images", "file")),
            ("/v1/detect", ("file", "photo")),
            ("/v1/verify", ("a", "file")),
            ("/v1/verify", ("file", "file")),
        ],
    )
    def test_files_that_may_be_another(self, server: Caller, path: str, names: tuple[str, str]) -> None:
        answer = server.request("POST", path, files=[(name, ("a.jpg", b"x")) for name in names])
        members = problem(answer)
        assert (answer.status_code, members["code"], members["field"]) == (422, "invalid_request", "file")
        assert f"images are sent as {'images' if path == '/v1/detect' else 'a and b'}" in members["detail"]

    def test_a_byte_order_mark(self, server: Caller, astronaut: Path) -> None:
        body = json.dumps({"images": [image(astronaut.read_bytes())]}).encode("utf-8-sig")
        answer = server.request("POST", "/v1/detect", content=body, headers={"content-type": "application/json"})
        assert self.faces(answer) == [1]

    @pytest.mark.parametrize("as_form", [False, True])
    def test_options_in_the_query_count(self, server: Caller, astronaut: Path, as_form: bool) -> None:  # noqa: FBT001  # a parameter of the test
        def send(query: str, **more: object) -> httpx.Response:
            if as_form:
                files = [(name, astronaut.read_bytes()) for name in ("a", "b")]
                return server.request("POST", f"/v1/verify?{query}", files=files, data=more)
            picture = image(astronaut.read_bytes())
            return server.post(f"/v1/verify?{query}", {"a": picture, "b": picture, **more})

        assert send("threshold=0.01").json()["threshold"] == 0.01
        assert send("threshold=0.01", threshold=0.01).json()["threshold"] == 0.01
        for query, more in (
            *(("threshold=0.01", {"threshold": 0.5}), ("threshold=nan", {"threshold": 0.5}), ("threshold=nan", {})),
            *(("threshold=x", {}), ("threshold=-1", {})),
        ):
            answer = send(query, **more)
            assert (answer.status_code, problem(answer)["field"]) == (422, "threshold")
        assert problem(send("require_live=maybe"))["field"] == "require_live"
        assert "at most one of" in problem(send("threshold=0.01", fmr="strict"))["detail"]
        live = problem(send("require_live=Yes&threshold=0.01"))  # this pack cannot tell
        assert (live["code"], live["field"]) == ("invalid_option", "require_live")

    def test_the_document_tells_of_the_query(self, server: Caller) -> None:
        described = server.get("/openapi.json").json()["paths"]["/v1/verify"]["post"]["parameters"]
        assert {each["name"] for each in described} == set(VerifyRequest.texts()) >= {"threshold", "require_live"}
        assert {(each["in"], each.get("required", False)) for each in described} == {("query", False)}


class TestImagesAsBodies:
    @pytest.mark.parametrize("path", ["/v1/detect", "/v1/embed"])
    def test_it_is_the_same_as_in_a_form(self, server: Caller, astronaut: Path, path: str) -> None:
        data = astronaut.read_bytes()
        in_form = server.request("POST", path, files={"images": data}, data={"quality": "true", "min_face": "0.2"})
        for kind in ("image/png", "IMAGE/jpeg; x=y", "image/*"):  # what it is, its bytes say
            options = {"content": data, "headers": {"content-type": kind}}
            answer = server.request("POST", f"{path}?quality=true&min_face=0.2", **options)
            assert (answer.status_code, answer.json()) == (200, in_form.json())

    def test_it_is_none(self, server: Caller) -> None:
        none = "unsupported_format"
        for data, code in ((b"", none), (b"\xff\xd8\xff", "image_corrupt"), (b"<svg/>", none)):
            answer = server.request("POST", "/v1/embed", content=data, headers={"content-type": "image/svg+xml"})
            (result,) = answer.json()["results"]
            assert (result["error"]["code"], result["error"]["field"]) == (code, "images.0")

    def test_the_document_tells_where_they_are_taken(self, server: Caller) -> None:
        paths = server.get("/openapi.json").json()["paths"]
        taken = {path for path, of in paths.items() for each in of.values() if "image/*" in bodies_of(each)}
        gallery = "/v1/galleries/{gallery}"
        expected = {"enrol", "identify", "subjects/{subject}/verify"}
        assert taken == {"/v1/detect", "/v1/embed", "/v1/preview"} | {f"{gallery}/{name}" for name in expected}


def bodies_of(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    return found


class TestUrlsThatLeadNowhere:
    """The setting and the cause are for whoever runs the server; the log has them whoever calls."""

    URLS = (
        ("http://10.0.0.1/a", "address", "10.0.0.1 has the address 10.0.0.1, which is not public: VISAVIS_FETCH_ALLOW"),
        ("http://127.0.0.1:9000/a", "port", "port 9000 is not allowed: VISAVIS_FETCH_ALLOW"),
        ("ftp://127.0.0.1/a", "scheme", "neither http nor https"),
    )

    def told(self, caller: Caller, url: str, headers: dict[str, str]) -> str:
        answer = caller.post("/v1/detect", {"images": [{"url": url}]}, headers)
        detail: str = answer.json()["results"][0]["error"]["detail"]
        return detail.removeprefix("the URL could not be fetched: ")

    @pytest.mark.parametrize("refused", URLS, ids=lambda refused: refused[1])
    def test_who_learns_why(
        self, server: Caller, locked: Caller, caplog: pytest.LogCaptureFixture, refused: tuple[str, str, str]
    ) -> None:
        url, reason, cause = refused
        caplog.set_level(logging.INFO, "visavis.fetch")
        elsewhere = {"X-Forwarded-For": "203.0.113.7"}
        for caller, headers, knows in (
            (server, {}, True),
            (locked, {"X-API-Key": ADMIN}, True),
            (locked, {"X-API-Key": READ}, False),
            (locked, {"X-API-Key": READ, **elsewhere}, False),
        ):
            caplog.clear()
            assert self.told(caller, url, headers) == (f"{reason}; {cause}" if knows else reason)
            assert cause in caplog.text

    def test_pages_and_proxies_learn_nothing(self, recognizer: Recognizer) -> None:
        url, reason, _ = self.URLS[0]
        settings = Settings(auth="off", cors=("*",), trusted_proxies=("127.0.0.1",))
        with Caller(settings, recognizer) as caller:
            assert self.told(caller, url, {"Origin": "https://evil.example"}) == reason
            assert self.told(caller, url, {"X-Forwarded-For": "203.0.113.7"}) == reason
        with Caller(Settings(host="0.0.0.0", auth="off"), recognizer) as caller:  # noqa: S104  # as it is asked for
            assert self.told(caller, url, {}) == reason


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "field"),
        [
            ([], None),
            ({}, "images"),
            ({"images": [{}]}, "images.0"),
            ({"images": [{"base64": "", "url": "http://a"}]}, "images.0"),
            ({"images": [{"base64": None}]}, "images.0.base64"),
            ({"images": [{"base64": 1}]}, "images.0.base64"),
            ({"images": [{"url": ""}]}, "images.0.url"),
            ({"images": [{"array": []}]}, "images.0.array"),
            ({"images": [{"array": [["1"]]}]}, "images.0.array"),
            ({"images": [{"array": [[True]]}]}, "images.0.array"),
            ({"images": [{"array": [[[[1]]]]}]}, "images.0.array"),
            ({"images": [{"file": "/etc/passwd"}]}, "images.0.file"),
            ({"images": [{"base64": ""}], "faces": "first"}, "faces"),
            ({"images": [{"base64": ""}], "min_face": 5}, "min_face"),
            ({"images": [{"base64": ""}], "min_face": "0.5"}, "min_face"),
            ({"images": [{"base64": ""}], "colour": 1}, "colour"),
        ],
    )
    def test_what_is_not_valid(self, server: Caller, value: object, field: str | None) -> None:
        answer = server.post("/v1/detect", value)
        assert answer.status_code == 422
        members = problem(answer)
        assert (members["code"], members.get("field")) == ("invalid_request", field)
        assert all(set(error) == {"field", "message"} for error in members["errors"])

    @pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN", b'{"images":[{"array":[[NaN]]}]}', b"[" * 100_000])
    def test_what_is_not_json(self, server: Caller, text: bytes) -> None:
        answer = server.request("POST", "/v1/embed", content=text, headers={"content-type": "application/json"})
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_request")

    @pytest.mark.parametrize("body", [b"[" * 2_000_000, b"[" + b"0," * 4_000_000 + b"0]"])
    def test_more_lists_or_numbers_than_is_reasonable(self, server: Caller, body: bytes) -> None:
        answer = server.request("POST", "/v1/embed", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize(
        "body", [b"", b"--x", b"--x\r\n\r\n", b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\nabc']
    )
    def test_a_form_that_is_cut_off(self, server: Caller, body: bytes) -> None:
        for content_type in ("multipart/form-data; boundary=x", "multipart/form-data"):
            answer = server.request("POST", "/v1/embed", content=body, headers={"content-type": content_type})
            assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_request")

    def test_a_form_without_images(self, server: Caller) -> None:
        answer = server.request("POST", "/v1/embed", files={"picture": (None, b"x")})
        assert (problem(answer)["code"], problem(answer)["field"]) == ("invalid_request", "picture")
        answer = server.request("POST", "/v1/embed", files=[(f"p{number}", b"x") for number in range(50)])
        assert problem(answer)["code"] == "invalid_request"

    def test_unknown_options_in_the_query(self, server: Caller) -> None:
        for path in ("/v1/detect", "/v1/embed", "/v1/verify"):
            for query, field in (("x=1", "x"), ("require_live=1&require_live=1", "require_live")):
                answer = server.post(f"{path}?{query}", {"images": []})
                assert (answer.status_code, problem(answer)["field"]) == (422, field)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP"])
    def test_compressed_bodies(self, server: Caller, encoding: str) -> None:
        body = gzip.compress(b'{"images": []}')
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = server.request("POST", "/v1/embed", content=body, headers=headers)
        assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")
        assert ("Content-Encoding" in problem(answer)["detail"], answer.headers["accept-encoding"]) == (
            True,
            "identity",
        )
        plain = server.request("GET", "/v1/models", headers={"content-encoding": "gzip"})
        assert plain.status_code == 200

    def test_another_content_type(self, server: Caller) -> None:
        for path, kind, kinds in (
            ("/v1/embed", "text/plain", "application/json or multipart/form-data or image/*"),
            ("/v1/verify", "image/jpeg", "application/json or multipart/form-data"),
            ("/v1/galleries", "multipart/form-data; boundary=x", "application/json"),
        ):
            answer = server.request("POST", path, content=b"abc", headers={"content-type": kind})
            assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")
            assert problem(answer)["detail"] == f"send {kinds}"

    def test_many_names_that_nobody_knows_cost_no_more_than_are_told(
        self, server: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[str] = []

        def look(name: str, *_more: object) -> list[str]:
            looked.append(name)
            return []

        monkeypatch.setattr("visavis.server.problems.get_close_matches", look)
        members = problem(server.post("/v1/detect", dict.fromkeys((f"image{n}" for n in range(10_000)), 1)))
        assert (len(members["errors"]), len(looked), looked[0]) == (20, 20, "image0")

    @pytest.mark.parametrize(
        ("path", "sent", "field", "expected"),
        [  # with a body of JSON; of a form, where it is a list
            ("/v1/detect", {"image": {}}, "image", "images"),
            ("/v1/detect", {"photo": {}}, "photo", "images"),
            ("/v1/detect", {"images": [{"file": "a"}]}, "images.0.file", "array, base64, url"),
            ("/v1/verify", {"a": {"base64": ""}, "image2": {}}, "image2", "b"),
            ("/v1/verify", {"a": {"base64": ""}, "b": {"base64": ""}, "treshold": 1}, "treshold", "threshold"),
            ("/v1/verify", {"a": {"base_64": ""}, "b": {"base64": ""}}, "a.base_64", "base64"),
            ("/v1/galleries", {"name": "a", "policy": {"retention": 1}}, "policy.retention", "retention_days"),
            ("/v1/galleries", {"nane": "a"}, "nane", "name"),
            ("/v1/galleries", {"x" * 100_000: "a", "name": "a"}, "x" * 100_000, "encrypted, name, policy"),
            ("/v1/verify?treshold=1", {}, "treshold", "threshold"),
            ("/v1/galleries?page=1", None, "page", "none"),
            ("/v1/detect", [("image", (None, b"a.jpg"))], "image", "images"),
            ("/v1/verify", [("a", (None, b"a.jpg"))], "a", "a file, as of curl -F a=@FILE; URLs and base64 are for"),
            ("/v1/verify", [("a", b"\xff"), ("b", b"\xff"), ("fnr", (None, b"1"))], "fnr", "fmr"),
        ],
    )
    def test_a_misnamed_part(self, server: Caller, path: str, sent: Any, field: str, expected: str) -> None:  # noqa: ANN401  # JSON
        body = {"files": sent} if isinstance(sent, list) else {"json": sent}
        members = problem(server.request("GET" if sent is None else "POST", path, **body))
        assert (members["code"], members["field"]) == ("invalid_request", field)
        assert members["detail"].startswith(f"{field}: ")
        assert f"expected {expected}" in members["detail"]

    def test_unknown_paths_and_methods(self, server: Caller) -> None:
        assert problem(server.get("/nowhere"))["code"] == "not_found"
        assert problem(server.get("/v1/detect/"))["code"] == "not_found"
        for method, path, meant in (
            ("POST", "/v1/galleries/team/enroll", "/v1/galleries/{gallery}/enrol"),
            ("POST", "/v1/galleries/team/recognize", "/v1/galleries/{gallery}/identify"),
            ("GET", "/v1/galeries", "/v1/galleries"),
            ("POST", "/verify", "/v1/verify"),
            ("POST", "/v1/embed/", "/v1/embed"),
            ("POST", "/v1/represent", "/v1/embed"),
        ):
            detail = problem(server.request(method, path))["detail"]
            assert detail == f"{method} {meant} may be meant; see /docs for what there is"
        for path in ("/nowhere", "/v1/galleries/a/b/c/d/e/f/g/h/i/j/k", "/v1/galleries/team/subjects/enroll/x"):
            assert problem(server.get(path))["detail"] == "see /docs for what there is"
        answer = server.request("PUT", "/")
        assert (problem(answer)["code"], answer.headers["allow"]) == ("method_not_allowed", "GET, HEAD, OPTIONS, POST")
        assert server.get("/v1/detect").headers["allow"] == "POST"
        assert server.request("POST", "/v1/galleries/a").headers["allow"] == "DELETE, GET, PATCH, PUT"
        assert server.request("PUT", "/v1/galleries/a/subjects/b").headers["allow"] == "DELETE, GET, PATCH"

    def test_a_fault_of_ours_is_told_to_the_log_alone(
        self, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_arguments: object, **_options: object) -> object:
            raise RuntimeError("the secret cause")

        with Caller(Settings(), recognizer) as server:
            monkeypatch.setattr("visavis.server.api.operations.described_packs", fail)
            answer = server.get("/v1/models")
        assert (answer.status_code, problem(answer)["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert "the secret cause" in caplog.text

    def test_a_body_that_is_too_large(self, recognizer: Recognizer) -> None:
        with Caller(Settings(max_body_bytes=1000), recognizer) as server:
            answer = server.request("POST", "/v1/detect", content=b"x" * 1001)
            assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")
            assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("form", "on_terminal", "as_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_the_log_is_text_on_a_terminal_unless_a_setting_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, *, form: LogFormat, on_terminal: bool, as_json: bool
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: on_terminal)
    root, ours = logging.getLogger(), logging.getLogger("visavis")
    before, levels = root.handlers[:], (root.level, ours.level, logging.getLogger("PIL").level)
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        root.handlers.clear()
        configure_logging(form)
        ours.info("said", extra={"facts": {"count": 1}})
    finally:
        root.handlers[:] = before
        for logger, level in zip((root, ours, logging.getLogger("PIL")), levels, strict=True):
            logger.setLevel(level)
    line = stream.getvalue()
    assert (json.loads(line)["count"] == 1) if as_json else line.endswith(" info said count=1\n")


def test_every_leaf_of_the_librarys_errors_has_a_status() -> None:
    def leaves(kind: type[VisavisError]) -> Iterator[type[VisavisError]]:
        for child in kind.__subclasses__():
            yield from leaves(child)
        if not kind.__subclasses__():
            yield kind

    assert set(LIBRARY) == set(leaves(VisavisError))
    assert all(400 <= kind.status < 600 for kind in [*LIBRARY.values(), *HTTP.values()])


@pytest.mark.parametrize("value", [[[1]], [[0.5, 1]], [[[1]]], [[[1, 2, 3]]]])
def test_arrays_of_the_right_kind(value: list[Any]) -> None:
    expected = np.rint(np.array(value)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(check_array(value)), expected, strict=True)


@pytest.mark.parametrize("value", [[[[1, 2, 3]], [[4, 5]]], [[1, [2]]], [[256]], [[-1]], [[1e400]]])
def test_arrays_that_make_no_image(value: object) -> None:
    assert isinstance(check_array(value), InvalidImage)


class TestKeys:
    def test_every_operation_that_does_something_needs_one(self, locked: Caller) -> None:
        free = {"/", "/face-embedding", "/healthz", "/readyz"}
        for path, operations in locked.app.openapi()["paths"].items():
            for method, operation in operations.items():
                is_free = path in free and method != "post"
                assert ("security" not in operation) == is_free
                answer = locked.request(method, path)
                assert (answer.status_code == 401) != is_free, path
                if not is_free:
                    assert problem(answer)["code"] == "unauthorized"
                    assert answer.headers["www-authenticate"] == "Bearer"

    def test_either_header_will_do(self, locked: Caller) -> None:
        assert locked.get("/v1/models", {"Authorization": f"Bearer {READ}"}).status_code == 200
        assert locked.get("/v1/models", {"X-API-Key": ADMIN}).status_code == 200
        assert problem(locked.get("/v1/models", {"X-API-Key": "wrong"}))["code"] == "unauthorized"

    def test_an_unauthorised_body_is_not_read(self, locked: Caller) -> None:
        answer = locked.request("POST", "/v1/detect", content=b"x" * 26_000_000)
        assert answer.status_code == 401

    def test_a_rate(self, recognizer: Recognizer) -> None:
        with Caller(Settings(rate="2/hour"), recognizer) as server:
            answers = [server.get("/v1/models") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert problem(answers[-1])["code"] == "rate_limited"
            assert int(answers[-1].headers["retry-after"]) >= 1
            assert server.get("/healthz").status_code == 200


class TestOperations:
    def test_models(self, server: Caller, recognizer: Recognizer) -> None:
        answer = server.get("/v1/models").json()
        assert answer["default"] == "dlib"
        pack = answer["packs"][0]
        assert (pack["name"], pack["installed"], pack["attributes"]) == ("dlib", True, [])
        assert pack["operating_points"]["default"] == recognizer.pack.threshold
        assert [file["role"] for file in pack["files"]] == ["detector", "landmarks", "embedder"]
        assert all(len(file["sha256"]) == 64 for file in pack["files"])

    def test_health_and_readiness(self, server: Caller) -> None:
        assert server.get("/healthz").json() == {"status": "ok"}
        assert server.get("/readyz").json() == {"status": "ready"}
        server.app.state.ready = False  # as while it shuts down
        answer = server.get("/readyz")
        server.app.state.ready = True
        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready", "reason": "it is starting or stopping"}

    def test_metrics(self, recognizer: Recognizer, astronaut: Path) -> None:
        with Caller(Settings(workers=3, queue=7), recognizer) as server:
            server.post("/v1/detect", {"images": [image(astronaut.read_bytes()), image(b"?")]})
            server.get("/nowhere/else")
            server.get("/v1/models?secret=1")
            text = server.get("/metrics").text
        for line in (
            'visavis_requests_total{method="POST",route="/v1/detect",status="200"} 1.0',
            'visavis_requests_total{method="GET",route="none",status="404"} 1.0',
            'visavis_images_total{route="/v1/detect"} 2.0',
            'visavis_faces_total{route="/v1/detect"} 1.0',
            'visavis_request_seconds_count{route="/v1/detect"} 1.0',
            "visavis_pool_workers 3.0",
            "visavis_pool_queue 7.0",
            "visavis_pool_waiting 0.0",
            "visavis_pool_busy 0.0",
            'visavis_model_info{pack="dlib",precision="f32",runtime="openvino"',
        ):
            assert line in text, line
        assert "secret" not in text
        assert "nowhere" not in text

    def test_request_ids(self, server: Caller) -> None:
        assert server.get("/healthz", {"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
        ids = {server.get("/healthz", {"X-Request-Id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)}
        assert len(ids) == 3
        assert all(made.isalnum() for made in ids)

    def test_every_answer_is_safe_from_caches_and_guesses(self, server: Caller) -> None:
        for path in ("/", "/healthz", "/v1/models", "/nowhere", "/openapi.json"):
            headers = server.get(path).headers
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")

    def test_a_log_line_says_what_and_nothing_private(
        self, server: Caller, astronaut: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "visavis"):
            text = in_base64(astronaut.read_bytes())
            server.post("/v1/embed?token=secret", {"images": [{"base64": text}]})
            assert "secret" not in str([vars(each) for each in caplog.records if each.name == "visavis.server"])
            caplog.clear()
            server.post("/v1/embed", {"images": [{"base64": text}]}, {"X-Request-Id": "this-one"})
        (record,) = (record for record in caplog.records if record.name == "visavis.server")
        facts = getattr(record, "facts", {})
        assert (facts["method"], facts["route"], facts["status"]) == ("POST", "/v1/embed", 200)
        assert set(facts) == {"method", "route", "status", "duration_ms", "key"}
        assert "secret" not in str(record.__dict__)
        assert text[:50] not in str(record.__dict__)

    def test_cors_is_a_setting(self, server: Caller, recognizer: Recognizer) -> None:
        origin = {"Origin": "https://app.example"}
        asking = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        assert "access-control-allow-origin" not in server.get("/v1/models", origin).headers
        with Caller(Settings(cors=("https://app.example",)), recognizer) as open_server:
            headers = open_server.get("/v1/models", origin).headers
            assert headers["access-control-allow-origin"] == "https://app.example"
            assert "access-control-allow-origin" not in open_server.get("/v1/models", {"Origin": "https://b"}).headers
            assert {"ETag", "Location"} <= set(headers["access-control-expose-headers"].split(", "))
            changing = {
                **origin,
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "if-match, idempotency-key, content-type",
            }
            assert open_server.request("OPTIONS", "/v1/galleries/a/subjects/b", headers=changing).status_code == 200
            changing["Access-Control-Request-Method"] = "DELETE"
            assert open_server.request("OPTIONS", "/v1/galleries/a", headers=changing).status_code == 200
            answer = open_server.request("OPTIONS", "/v1/detect", headers=asking)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
            assert open_server.request("OPTIONS", "/", headers=asking).status_code == 204

    def test_the_docs_need_nothing_from_elsewhere(self, server: Caller) -> None:
        page = server.get("/docs").text
        assert "openapi.json" in page
        assert "http://" not in page
        assert "https://" not in page

    def test_pages_run_their_own_files_alone_and_give_the_camera_to_nobody_else(self, server: Caller) -> None:
        for path, kind in (("/docs", "html"), ("/docs.js", "javascript"), ("/docs.css", "css")):
            answer = server.get(path)
            assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            assert policy == {
                **dict.fromkeys(("default-src", "form-action", "base-uri", "frame-ancestors"), "'none'"),
                **dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'"),
                "img-src": "'self' blob: data:",
            }
            assert "camera=(self)" in answer.headers["permissions-policy"].split(", ")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-resource-policy"] == "same-site"
        assert not re.search(r"<style|style=|<script>| on\w+=", server.get("/docs").text)


def test_logs_in_both_formats(capsys: pytest.CaptureFixture[str]) -> None:
    from visavis.server.observability import configure_logging  # noqa: PLC0415  # what it changes is put back

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        for form in ("json", "text"):
            configure_logging(form)
            logging.getLogger("visavis.server").info("request", extra={"facts": {"status": 200, "key": None}})
            logging.getLogger("python_multipart.multipart").warning("what a caller sent: %r", "a name")
    finally:
        root.handlers[:], root.level = before, level
    as_json, as_text = capsys.readouterr().err.splitlines()
    entry = json.loads(as_json)
    assert (entry["level"], entry["message"], entry["status"]) == ("info", "request", 200)
    assert "key" not in entry
    assert as_text.endswith("info request status=200")
