"""The dialect of CompreFace by raw HTTP: each row of its endpoints and of its errors, keys, and hostile bodies."""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Caller, sqlite_url

from visavis.config import Settings
from visavis.core.decide import LEAST_LIVENESS
from visavis.errors import InvalidOption
from visavis.models.recognizer import Recognizer
from visavis.options import Policy
from visavis.server.app import create_app
from visavis.server.dialects import face_uuid, sample_of
from visavis.server.dialects.compreface import DEMO_KEYS
from visavis.server.keys import KeyStore

RECOGNITION, DETECTION, VERIFICATION = "/api/v1/recognition", "/api/v1/detection/detect", "/api/v1/verification"
NO_FACE = "No face is found in the given image"


class Client:
    """A client of CompreFace with a key for each service."""

    def __init__(self, server: Caller, keys: Mapping[str, str]) -> None:
        self.server, self.keys = server, keys

    def __call__(self, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx takes them
        service = next((name for name in self.keys if f"/{name}" in path), "recognition")
        sent = self.keys[service] if key is None else key
        headers = {**({"x-api-key": sent} if sent else {}), **options.pop("headers", {})}
        return self.server.request(method, path, headers=headers, **options)

    def told(self, method: str, path: str, **options: Any) -> tuple[int, Any]:  # noqa: ANN401  # likewise
        answer = self(method, path, **options)
        return answer.status_code, answer.json()

    def add(self, subject: str, image: bytes, **query: object) -> str:
        answer = self("POST", f"{RECOGNITION}/faces", params={"subject": subject, **query}, files={"file": image})
        assert answer.status_code == 201, answer.text
        assert answer.json()["subject"] == subject
        return str(answer.json()["image_id"])


def refused(code: int, message: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"message": message, "code": code}


@pytest.fixture(scope="module")
def client(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with keys, whose gallery keeps images."""
    folder = tmp_path_factory.mktemp("compreface")
    store = KeyStore(folder / "keys")
    made = {
        name: store.create(name, "admin", ["team"] if name == "recognition" else [], service=name)[1]
        for name in DEMO_KEYS
    }
    store.close()
    settings = Settings(
        dialects=("compreface",), store=sqlite_url(folder / "galleries.db"), keys_file=folder / "keys", auth="on"
    )
    with Caller(settings, recognizer) as server:
        server.app.state.galleries.create("team", policy=Policy(keep="images", candidate_threshold=1.5))
        yield Client(server, made)


@pytest.fixture
def empty(client: Client) -> Client:
    """The same, with nobody in the gallery."""
    assert client("DELETE", f"{RECOGNITION}/subjects").status_code == 200
    return client


def png(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portraits(astronaut: Path, hopper: Path) -> tuple[PIL.Image.Image, ...]:
    """Small ones, of which the face of the first is larger."""
    with PIL.Image.open(astronaut) as one, PIL.Image.open(hopper) as two:
        return one.convert("RGB").crop((100, 0, 356, 256)), two.convert("RGB").resize((150, 176))


@pytest.fixture(scope="module")
def photo(portraits: tuple[PIL.Image.Image, ...]) -> bytes:
    return png(portraits[0])


@pytest.fixture(scope="module")
def other(portraits: tuple[PIL.Image.Image, ...]) -> bytes:
    return png(portraits[1])


@pytest.fixture(scope="module")
def both(portraits: tuple[PIL.Image.Image, ...]) -> bytes:
    pair = PIL.Image.new("RGB", (410, 256))
    pair.paste(portraits[0], (0, 0))
    pair.paste(portraits[1], (258, 0))
    return png(pair)


BLANK = io.BytesIO()
PIL.Image.new("RGB", (64, 64)).save(BLANK, "PNG")
BLANK_FILE = {"file": BLANK.getvalue()}


def test_detection(client: Client, photo: bytes, both: bytes) -> None:
    status, told = client.told("POST", DETECTION, files={"file": ("image.jpg", photo)})
    (face,) = told["result"]
    assert (status, list(told), list(face)) == (200, ["result"], ["box"])
    assert list(face["box"]) == ["probability", "x_max", "y_max", "x_min", "y_min"]
    assert all(isinstance(face["box"][edge], int) for edge in ("x_max", "y_max", "x_min", "y_min"))
    assert 0 <= face["box"]["x_min"] < face["box"]["x_max"] <= 256
    assert round(face["box"]["probability"], 5) == face["box"]["probability"]
    inline = {"file": base64.b64encode(photo).decode(), "unknown": 1}
    assert client.told("POST", DETECTION, json=inline) == (200, told)
    for query, count in (("?&limit=0&status=True", 2), ("?limit=1", 1), ("?limit=5&det_prob_threshold=0", 2)):
        assert len(client("POST", DETECTION + query, files={"file": both}).json()["result"]) == count
    largest = client("POST", f"{DETECTION}?limit=1", files={"file": both}).json()["result"][0]["box"]
    assert largest["x_max"] < 256
    query = "?face_plugins=landmarks,calculator,pose,age,gender,mask,landmarks2d106,nonsense&status=1"
    _, told = client.told("POST", DETECTION + query, files={"file": photo})
    (face,) = told["result"]  # of a pack without a mouth among its points, or other plugins
    assert (list(face), len(face["embedding"])) == (["box", "pose", "embedding", "execution_time"], 128)
    assert set(face["pose"]) == {"roll", "yaw"}
    assert told["plugins_versions"] == {"detector": "visavis.dlib", "calculator": "visavis.dlib"}
    assert isinstance(face["execution_time"]["detector"], int)
    whole = {"file": BLANK_FILE["file"]}
    assert client.told("POST", DETECTION, files=whole) == refused(28, NO_FACE)
    (face,) = client("POST", f"{DETECTION}?detect_faces=false", files=whole).json()["result"]
    assert face["box"] == {"probability": 0.0, "x_max": 64, "y_max": 64, "x_min": 0, "y_min": 0}


@pytest.mark.parametrize("path", [DETECTION, f"{RECOGNITION}/recognize", f"{RECOGNITION}/faces?subject=a"])
def test_what_is_wrong_with_images(client: Client, path: str) -> None:
    more = "&" if "?" in path else "?"
    assert client.told("POST", path, files=BLANK_FILE) == refused(28, NO_FACE)
    assert client.told("POST", path, files={"file": b"no image"}) == refused(28, NO_FACE)
    assert client.told("POST", path, files={"file": b""}) == refused(28, NO_FACE)
    assert client.told("POST", path, files={}, data={"a": "b"})[0] == 415
    assert client.told("POST", path, json={}) == refused(5, "Field file cannot be empty")
    assert client.told("POST", path, json={"file": None}) == refused(5, "Field file cannot be empty")
    assert client.told("POST", path, json={"file": "%"}) == refused(21, "Provided value is not Base64")
    assert client.told("POST", path, json={"file": ""}) == refused(28, NO_FACE)
    assert client.told("POST", f"{path}{more}limit=-1", files=BLANK_FILE) == refused(
        26, "Limit should be equal or greater than 0"
    )
    for query in ("det_prob_threshold=1.5", "det_prob_threshold=-1", "det_prob_threshold=nan"):
        assert client.told("POST", f"{path}{more}{query}", files=BLANK_FILE) == refused(28, NO_FACE)
    assert client.told("POST", f"{path}{more}limit=x", files=BLANK_FILE) == refused(26, "limit: must be a number")
    form = {
        "content": b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        "headers": {"content-type": "multipart/form-data; boundary=x"},
    }
    assert client.told("POST", path, **form) == refused(34, "Required part file is missing")
    status, told = client.told("POST", path, content=b"{", headers={"content-type": "application/json"})
    assert (status, told["code"]) == (400, 0)


def test_verification(client: Client, photo: bytes, other: bytes, both: bytes) -> None:
    path = f"{VERIFICATION}/verify"
    status, told = client.told("POST", f"{path}?status=true", files={"source_image": photo, "target_image": both})
    (item,) = told["result"]
    assert (status, set(item)) == (200, {"source_image_face", "face_matches", "plugins_versions"})
    assert set(item["source_image_face"]) == {"box", "execution_time"}
    assert [set(each) for each in item["face_matches"]] == [{"box", "execution_time", "similarity"}] * 2
    same, different = (each["similarity"] for each in item["face_matches"])
    assert same > 0.95
    assert different < 0.5
    assert same == round(same, 5)
    plain = {"source_image": base64.b64encode(photo).decode(), "target_image": base64.b64encode(other).decode()}
    (item,) = client("POST", path, json=plain).json()["result"]
    assert set(item) == {"source_image_face", "face_matches"}
    too_many = refused(31, "More than one face in the source image")
    assert client.told("POST", path, files={"source_image": both, "target_image": photo}) == too_many
    blank = BLANK_FILE["file"]
    assert client.told("POST", path, files={"source_image": blank, "target_image": photo}) == refused(28, NO_FACE)
    assert client.told("POST", path, files={"source_image": photo, "target_image": blank}) == refused(28, NO_FACE)
    missing = refused(34, "Required part target_image is missing")
    assert client.told("POST", path, files={"source_image": photo}) == missing
    path = f"{VERIFICATION}/embeddings/verify"
    vectors = embeddings(client, photo) + embeddings(client, other)
    status, told = client.told("POST", path, json={"source": vectors[0], "targets": vectors[::-1]})
    assert status == 200
    assert [each["embedding"] for each in told["result"]] == vectors
    first, second = (each["similarity"] for each in told["result"])
    assert first > 0.99
    assert second < 0.5
    assert client.told("POST", path, json={"targets": vectors}) == refused(5, "Field source cannot be empty")
    assert client.told("POST", path, json={"source": vectors[0], "targets": [[1.0]]})[1]["code"] == 36
    assert client.told("POST", path, json={"source": [], "targets": vectors})[1]["code"] == 5


def embeddings(client: Client, image: bytes) -> list[list[float]]:
    told = client("POST", f"{DETECTION}?face_plugins=calculator", files={"file": image}).json()
    return [face["embedding"] for face in told["result"]]


def test_subjects(empty: Client) -> None:
    path = f"{RECOGNITION}/subjects"
    assert empty.told("POST", path, json={"subject": "anna"}) == (201, {"subject": "anna"})
    assert empty.told("POST", path, json={"subject": "anna"}) == refused(43, "Subject already exists")
    for name, code, message in (
        ("", 26, "Subject name cannot be empty"),
        ("  ", 26, "Subject name cannot be empty"),
        (None, 26, "Subject name cannot be empty"),
        ("a" * 51, 26, "Subject name size must be between 1 and 50"),
        *(
            (f"a{odd}", 36, "The name cannot contain the following special characters: ';', '/', '\\'")
            for odd in ";/\\"
        ),
    ):
        assert empty.told("POST", path, json={"subject": name}) == refused(code, message)
    assert empty.told("POST", path, json={"subject": " a"})[1]["code"] == 36
    assert empty.told("POST", path, json={}) == refused(26, "Subject name cannot be empty")
    assert empty.told("POST", path, json={"subject": "b b"}) == (201, {"subject": "b b"})
    assert empty.told("GET", path) == empty.told("GET", f"{path}/") == (200, {"subjects": ["anna", "b b"]})
    renamed = {"subject": "cleo", "api_endpoint": "b b"}  # as the SDK sends it
    assert empty.told("PUT", f"{path}/b%20b", json=renamed) == (200, {"updated": True})
    assert empty.told("PUT", f"{path}/cleo", json={"subject": "cleo"}) == (200, {"updated": False})
    assert empty.told("PUT", f"{path}/b", json=renamed) == refused(42, "Subject b not found", 404)
    assert empty.told("PUT", f"{path}/cleo", json={"subject": "anna"}) == (200, {"updated": True})
    assert empty("GET", path).json() == {"subjects": ["anna"]}
    assert empty.told("DELETE", f"{path}/anna") == (200, {"subject": "anna"})
    assert empty.told("DELETE", f"{path}/anna") == refused(42, "Subject anna not found", 404)
    for name in ("a", "b", "c"):
        empty("POST", path, json={"subject": name})
    assert empty.told("DELETE", path) == (200, {"deleted": 3})
    assert empty.told("DELETE", path) == (200, {"deleted": 0})


def test_examples(empty: Client, photo: bytes, other: bytes, both: bytes) -> None:
    path = f"{RECOGNITION}/faces"
    ids = [empty.add("anna", photo), empty.add("grace", other), empty.add("anna", photo, det_prob_threshold=0.5)]
    assert all(str(UUID(each)) == each for each in ids)
    assert empty.told("POST", f"{path}?subject=a", files={"file": both}) == refused(
        31, "More than one face in the source image"
    )
    assert empty.told("POST", path, files={"file": photo}) == refused(33, "Required parameter subject is missing")
    assert empty.told("POST", f"{path}?subject=%20", files={"file": photo}) == refused(26, "Subject name is empty")
    names = ["anna", "grace", "anna"]
    faces = [{"image_id": each, "subject": name} for each, name in zip(ids, names, strict=True)]
    pages = {"page_number": 0, "page_size": 20, "total_pages": 1, "total_elements": 3}
    assert empty.told("GET", path) == (200, {"faces": faces, **pages})
    pages = {"page_number": 1, "page_size": 2, "total_pages": 2, "total_elements": 3}
    assert empty("GET", f"{path}?page=1&size=2").json() == {"faces": faces[2:], **pages}
    pages = {"page_number": 9, "page_size": 2, "total_pages": 2, "total_elements": 3}
    assert empty("GET", f"{path}?page=9&size=2").json() == {"faces": [], **pages}
    pages = {"page_number": 1, "page_size": 1, "total_pages": 2, "total_elements": 2}
    assert empty("GET", f"{path}?page=1&size=1&subject=anna").json() == {"faces": [faces[2]], **pages}
    assert empty("GET", f"{path}?subject=nobody").json()["total_elements"] == 0
    for page in (-1, 2**31, 2**63, 10**30):
        assert empty("GET", f"{path}?page={page}").json()["code"] == 26
    for place in (
        f"{path}/{ids[0]}/img",
        *(f"{at}/static/{empty.keys['recognition']}/images/{ids[0]}" for at in ("", "/api/v1")),
    ):
        shown = empty("GET", place, key="") if "static" in place else empty("GET", place)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "application/octet-stream")
        assert shown.content == photo
        policy = "cross-origin" if "static" in place else "same-site"  # whoever has the key in the path may show it
        assert shown.headers["cross-origin-resource-policy"] == policy
    gone = face_uuid(1, 2**40)
    shown = empty("GET", f"{path}/{gone}/img")
    assert (shown.status_code, shown.content) == (200, b"")
    assert empty.told("DELETE", f"{path}/{ids[0]}") == (200, faces[0])
    for each in (ids[0], gone, str(uuid4()), "nonsense"):
        assert empty.told("DELETE", f"{path}/{each}") == refused(44, f"Image {each} not found", 404)
    assert empty.told("POST", f"{path}/delete", json=[ids[0], ids[1], "x", ids[1]]) == (200, [faces[1]])
    for wrong in ({"a": 1}, [1], ["x"] * 1001):
        assert empty("POST", f"{path}/delete", json=wrong).json()["code"] == 26
    assert empty.told("DELETE", f"{path}?subject=anna") == (200, {"deleted": 1})
    assert empty.told("DELETE", f"{path}?subject=anna") == (200, {"deleted": 0})
    assert empty.told("DELETE", f"{path}?subject=") == refused(26, "Subject name is empty")
    assert empty("GET", f"{RECOGNITION}/subjects").json() == {"subjects": ["grace"]}
    empty.add("grace", other)
    assert empty.told("DELETE", path) == (200, {"deleted": 1})
    assert empty("GET", f"{RECOGNITION}/subjects").json() == {"subjects": []}


def test_recognition(empty: Client, photo: bytes, other: bytes, both: bytes, astronaut_again: bytes) -> None:
    path = f"{RECOGNITION}/recognize"
    status, told = empty.told("POST", path, files={"file": photo})
    assert (status, [face["subjects"] for face in told["result"]]) == (200, [[]])
    ids = [empty.add("anna", photo), empty.add("anna", astronaut_again), empty.add("grace", other)]
    (face,) = empty("POST", path, files={"file": photo}).json()["result"]
    assert set(face) == {"box", "subjects"}
    assert [each["subject"] for each in face["subjects"]] == ["anna"]
    assert face["subjects"][0]["similarity"] > 0.95
    query = "?prediction_count=3&limit=2&status=true&face_plugins=calculator"
    told = empty("POST", path + query, json={"file": base64.b64encode(both).decode()}).json()
    assert set(told) == {"result", "plugins_versions"}
    assert [set(each) for each in told["result"]] == [{"box", "embedding", "execution_time", "subjects"}] * 2
    subjects = [[each["subject"] for each in face["subjects"]] for face in told["result"]]
    assert [each[0] for each in subjects] == ["anna", "grace"]
    assert subjects[0] == ["anna", "anna", "grace"]  # examples, and not subjects
    similarities = [each["similarity"] for each in told["result"][0]["subjects"]]
    assert similarities == sorted(similarities, reverse=True)
    message = "prediction_count should be equal or greater than 1"
    assert empty.told("POST", f"{path}?prediction_count=0", files={"file": photo}) == refused(26, message)
    wrong = "Limit should be equal or greater than 0; " + message
    assert empty.told("POST", f"{path}?prediction_count=0&limit=-1", files={"file": photo}) == refused(26, wrong)
    (whole,) = empty("POST", f"{path}?detect_faces=false", files=BLANK_FILE).json()["result"]
    assert (whole["box"]["x_max"], [each["similarity"] < 0.5 for each in whole["subjects"]]) == (64, [True])
    verify = f"{RECOGNITION}/faces/{ids[0]}/verify"
    told = empty("POST", f"{verify}?status=True", files={"file": both}).json()
    assert [set(each) for each in told["result"]] == [{"box", "execution_time", "subject", "similarity"}] * 2
    assert [each["subject"] for each in told["result"]] == ["anna", "anna"]
    same, different = (each["similarity"] for each in told["result"])
    assert same > 0.95
    assert different < 0.5
    again = f"{RECOGNITION}/faces/{ids[1]}/verify"  # the very example, and not the subject
    assert (
        empty("POST", again, files={"file": photo}).json()["result"][0]["similarity"] < told["result"][0]["similarity"]
    )
    gone = face_uuid(1, 2**40)
    missing = refused(44, f"Image {gone} not found", 404)
    assert empty.told("POST", f"{RECOGNITION}/faces/{gone}/verify", files={"file": photo}) == missing
    vectors = embeddings(empty, photo) + embeddings(empty, other)
    path = f"{RECOGNITION}/embeddings"
    told = empty("POST", f"{path}/recognize?prediction_count=1", json={"embeddings": vectors}).json()
    assert [each["embedding"] for each in told["result"]] == vectors
    assert [[one["subject"] for one in each["similarities"]] for each in told["result"]] == [["anna"], ["grace"]]
    told = empty("POST", f"{path}/faces/{ids[2]}/verify", json={"embeddings": vectors}).json()
    assert [each["embedding"] for each in told["result"]] == vectors[::-1]
    same, different = (each["similarity"] for each in told["result"])
    assert same > 0.95
    assert different < 0.5
    assert empty.told("POST", f"{path}/recognize", json={}) == refused(5, "Field embeddings cannot be empty")
    assert empty.told("POST", f"{path}/recognize", json={"embeddings": []})[1]["code"] == 5
    assert empty.told("POST", f"{path}/recognize", json={"embeddings": [[1.0, 2.0]]})[1]["code"] == 36


def test_what_is_told_without_a_key(client: Client) -> None:
    sizes = {"clientMaxFileSize": 20_000_000, "clientMaxBodySize": 25_000_000}
    assert client.told("GET", "/api/v1/config", key="") == (200, sizes)
    told = client("GET", "/api/v1/consistence/status", key="").json()
    assert (told["status"], told["dbIsInconsistent"]) == ("OK", False)
    assert client("POST", "/api/v1/migrate", key="").status_code == 200


def test_keys(client: Client, photo: bytes) -> None:
    unknown, files = str(uuid4()), {"file": photo}
    assert client.told("POST", DETECTION, key="", files=files) == refused(20, "Missing header: x-api-key")
    for wrong in ("x", "vv_0_0", unknown[:-1], f"{unknown}0"):
        assert client.told("POST", DETECTION, key=wrong) == refused(26, "Service API key should be UUID")
    for path, name in ((DETECTION, "detection"), (f"{RECOGNITION}/recognize", "recognition")):
        for key in (unknown, client.keys["verification"], DEMO_KEYS["detection"]):
            message = f"{name.title()} service with API Key {key} not found"
            assert client.told("POST", path, key=key, files=files) == refused(10, message, 404)
    keys: KeyStore = client.server.app.state.keys
    reader, key = keys.create("reader", "read", ["team"], service="recognition")
    assert client("POST", f"{RECOGNITION}/recognize", key=key, files=files).status_code == 200
    for method, path, sent in (
        ("POST", "faces?subject=a", {"files": files}),
        ("POST", "subjects", {"json": {"subject": "a"}}),
        ("DELETE", "subjects", {}),
        ("POST", "embeddings/recognize", {"json": {"embeddings": [[1.0]]}}),
        ("GET", f"faces/{face_uuid(1, 1)}/img", {}),
    ):
        status, told = client.told(method, f"{RECOGNITION}/{path}", key=key, **sent)
        assert (status, told["code"], "scope read" in told["message"]) == (403, 0, True)
    elsewhere = keys.create("other", "read", ["nowhere"], service="recognition")[1]
    assert client.told("GET", f"{RECOGNITION}/subjects", key=elsewhere)[1]["code"] == 10
    maker = keys.create("maker", "admin", ["new"], service="recognition")[1]
    assert client.told("GET", f"{RECOGNITION}/subjects", key=maker) == (200, {"subjects": []})
    # Such keys open nothing else, and no other key opens this.
    for header in ({"x-api-key": client.keys["detection"]}, {"authorization": f"Bearer {client.keys['recognition']}"}):
        assert client.server.get("/v1/galleries/team", headers=header).status_code == 401
    plain = keys.create("plain", "admin")[1]
    assert client.told("GET", f"{RECOGNITION}/subjects", key=plain) == refused(26, "Service API key should be UUID")
    keys.revoke(reader.id)
    assert client.told("GET", f"{RECOGNITION}/subjects", key=key)[1]["code"] == 10
    assert client("GET", f"/static/{key}/images/{face_uuid(1, 1)}", key="").status_code == 404


def test_the_document_tells_of_each_call(client: Client) -> None:
    document = client.server.get("/openapi.json").json()
    told = {path: calls for path, calls in document["paths"].items() if path.startswith(("/api/v1", "/static"))}
    assert len(told) == 18
    assert {tag for calls in told.values() for call in calls.values() for tag in call["tags"]} == {"CompreFace"}
    body = told[f"{RECOGNITION}/recognize"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["required"] == ["file"]
    schema = document["components"]["schemas"]["RecognizeRequest"]
    assert schema["properties"]["file"] == {"description": "An image.", "format": "byte", "type": "string"}


def test_paths_and_methods(client: Client) -> None:
    not_supported = refused(0, "Request method 'GET' not supported", 404)
    assert client.told("GET", DETECTION) == not_supported
    assert client.told("GET", "/api/v1/recognition/nowhere")[0] == 404
    assert client.told("GET", "/api/v1/recognition/nowhere")[1]["code"] == 0
    assert client.server.get("/api/v2").json()["title"] == "There is nothing at this path"


def test_keys_of_the_demo(recognizer: Recognizer, photo: bytes, tmp_path: Path) -> None:
    settings = {"dialects": ("compreface",), "compreface_demo_keys": True}
    for forbidden in ({"auth": "on"}, {"host": "0.0.0.0"}, {"trusted_proxies": ("10.0.0.1",)}):  # noqa: S104  # refused
        with pytest.raises(InvalidOption, match="compreface_demo_keys: everybody knows these keys"):
            create_app(Settings(**settings, **forbidden))  # type: ignore[arg-type]  # of the test
    create_app(Settings(**settings, host="0.0.0.0", auth="off"))  # type: ignore[arg-type]  # noqa: S104  # likewise
    here = Settings(**settings, store=sqlite_url(tmp_path / "galleries.db"), keys_file=tmp_path / "keys")  # type: ignore[arg-type]  # likewise
    with Caller(here, recognizer) as server:
        client = Client(server, DEMO_KEYS)
        picture = f"/static/{DEMO_KEYS['recognition']}/images/{face_uuid(1, 1)}"
        strange = client("GET", picture, key="", headers={"sec-fetch-site": "cross-site"})
        assert (strange.status_code, strange.headers["cross-origin-resource-policy"]) == (404, "same-site")
        assert server.get("/v1/galleries/demo").status_code == 404  # to look makes nothing
        client.add("anna", photo)
        assert client("GET", f"{RECOGNITION}/subjects").json() == {"subjects": ["anna"]}
        assert server.get("/v1/galleries/demo").json()["samples"] == 1
        assert client.told("GET", f"{RECOGNITION}/subjects", key=str(uuid4()))[1]["code"] == 10
        page = {"origin": "https://stranger.example"}
        assert client("DELETE", f"{RECOGNITION}/subjects", headers=page).status_code == 403
        keys: KeyStore = server.app.state.keys
        keys.create("first", "read")  # from now on, calls need one
        assert client.told("GET", f"{RECOGNITION}/subjects")[1]["code"] == 10
        assert client("GET", f"/static/{DEMO_KEYS['recognition']}/images/{face_uuid(1, 2)}", key="").status_code == 404


@pytest.mark.thorough
def test_plugins_of_a_pack_that_has_them(recognizer_all: Recognizer, astronaut: Path, tmp_path: Path) -> None:
    settings = Settings(
        dialects=("compreface",), compreface_demo_keys=True, store=sqlite_url(tmp_path / "galleries.db")
    )
    query, files = "?face_plugins=age,gender,pose,landmarks,mask&status=true", {"file": astronaut.read_bytes()}
    with Caller(settings, recognizer_all) as server:
        client = Client(server, DEMO_KEYS)
        image_id = client.add("eileen", files["file"])
        for path in (DETECTION, f"{RECOGNITION}/recognize", f"{RECOGNITION}/faces/{image_id}/verify"):
            told = client("POST", path + query, files=files).json()
            (face,) = told["result"]
            assert face["gender"]["value"] == "female"
            assert 0.5 < face["gender"]["probability"] <= 1
            assert set(face["age"]) == {"low", "high"}
            assert 0 < face["age"]["low"] < face["age"]["high"] < 100
            assert set(face["pose"]) == {"pitch", "roll", "yaw"}
            left, right, nose, mouth_left, mouth_right = face["landmarks"]
            assert left[0] < nose[0] < right[0]
            assert left[1] < nose[1] < mouth_left[1]
            assert mouth_left[0] < mouth_right[0]
            assert set(told["plugins_versions"]) == {"detector", "calculator", "age", "gender", "pose"}
        # Who must be live is not known by a cropped face, nor by a print.
        gallery = server.app.state.galleries.open("demo")
        gallery.set_policy(Policy(require_live=True))
        blank = client("POST", f"{RECOGNITION}/recognize?detect_faces=false", files=BLANK_FILE)
        assert blank.json()["code"] == 28
        verify = f"{RECOGNITION}/faces/{image_id}/verify?detect_faces=false"
        assert client("POST", verify, files=BLANK_FILE).json()["code"] == 28
        live = recognizer_all.detect(files["file"], attributes=["liveness"])[0].attributes
        assert live is not None
        assert live.liveness is not None
        (face,) = client("POST", verify, files=files).json()["result"]
        assert (face["similarity"] > 0.5) == (live.liveness >= LEAST_LIVENESS)


def test_without_the_dialect_there_is_nothing(recognizer: Recognizer) -> None:
    with Caller(Settings(), recognizer) as server:
        assert server.get("/api/v1/config").json()["code"] == "not_found"


def test_ids_of_examples() -> None:
    assert face_uuid(3, 17) == "00000000-0000-0003-0000-000000000011"
    assert sample_of(3, face_uuid(3, 17)) == 17
    for other in (face_uuid(2, 17), face_uuid(3, 0), face_uuid(3, 2**63), "17", "", str(uuid4())):
        assert sample_of(3, other) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["a", "AAAA", "//8="]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
MEMBERS = ["file", "source_image", "target_image", "subject", "embeddings", "source", "targets", "limit", "status"]
BODIES = st.one_of(
    JSON.map(lambda value: ("application/json", json.dumps(value).encode())),
    st.dictionaries(st.sampled_from(MEMBERS), JSON).map(lambda value: ("application/json", json.dumps(value).encode())),
    st.binary(max_size=60).map(lambda data: ("application/json", data)),
    st.tuples(
        st.sampled_from(["multipart/form-data; boundary=x", "multipart/form-data", "", "image/png"]), st.binary()
    ),
    st.lists(st.tuples(st.sampled_from(MEMBERS), st.binary(max_size=40)), max_size=4).map(
        lambda parts: (
            "multipart/form-data; boundary=x",
            b"".join(
                b'--x\r\ncontent-disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n' % (name.encode(), data)
                for name, data in parts
            )
            + b"--x--\r\n",
        )
    ),
)
QUERIES = st.dictionaries(
    st.sampled_from(
        [*MEMBERS, "det_prob_threshold", "prediction_count", "face_plugins", "detect_faces", "page", "size"]
    ),
    st.text(max_size=12) | st.integers().map(str) | st.floats().map(str) | st.booleans().map(str),
    max_size=4,
)
ROUTES = [
    ("POST", DETECTION),
    ("POST", f"{VERIFICATION}/verify"),
    ("POST", f"{VERIFICATION}/embeddings/verify"),
    *(("POST", f"{RECOGNITION}/{path}") for path in ("recognize", "faces", "subjects", "faces/delete")),
    *(("POST", f"{RECOGNITION}/{path}") for path in ("embeddings/recognize", "faces/{id}/verify")),
    ("POST", f"{RECOGNITION}/embeddings/faces/{{id}}/verify"),
    *(("PUT", f"{RECOGNITION}/subjects/{name}") for name in ("a", "%00", "%ff", "%2e%2e")),
    *((method, f"{RECOGNITION}/faces/{{id}}") for method in ("GET", "DELETE")),
    *(("GET", f"{RECOGNITION}/{path}") for path in ("faces", "subjects", "faces/{id}/img")),
    ("GET", "/static/{id}/images/{id}"),
]
IDS = st.sampled_from([face_uuid(1, 1), "x", "%00", "%ff", face_uuid(2**62, 2**62)]) | st.uuids().map(str)


@pytest.mark.thorough
@given(route=st.sampled_from(ROUTES), body=BODIES, query=QUERIES, image_id=IDS)
def test_no_body_is_a_fault_of_the_server(
    client: Client, route: tuple[str, str], body: tuple[str, bytes], query: dict[str, str], image_id: str
) -> None:
    method, path = route
    (media_type, data), path = body, path.replace("{id}", image_id)
    answer = client(method, path, params=query, content=data, headers={"content-type": media_type})
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"message", "code"}
