"""The page under /ui/: its files, its texts, and what it needs of the API."""

import base64
import hashlib
import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
from serving import Caller, problem, sqlite_url, vector

import visavis
from visavis import Recognizer
from visavis.config import Settings

UI = Path(visavis.__file__).parent / "server/ui"
MODULES = sorted(UI.glob("*.js"))
LANGUAGES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (UI / "texts").glob("*.json")}
HTM = "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"  # preact/standalone.module.js of htm 3.1.1
MOST_BYTES = 150_000
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    store = sqlite_url(tmp_path_factory.mktemp("store") / "galleries.db")
    with Caller(Settings(store=store), recognizer) as caller:
        yield caller


def test_files_are_served_as_they_are_and_nothing_else(server: Caller) -> None:
    for path in (path for path in UI.rglob("*") if path.is_file()):
        name = path.relative_to(UI).as_posix()
        answer = server.get(f"/ui/{name}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), name
        known = server.get(f"/ui/{name}", {"If-None-Match": answer.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        assert answer.headers["cache-control"] == "no-cache"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    kinds = {"": "text/html", "app.js": "text/javascript", "style.css": "text/css", "texts/en.json": "application/json"}
    for name, kind in kinds.items():
        assert server.get(f"/ui/{name}").headers["content-type"].partition(";")[0] == kind
    for name in (
        "../app.py",
        "%2e%2e/app.py",
        "..%2fapp.py",
        "texts",
        "texts/",
        "/etc/passwd",
        "%00",
        "index.html/",
        "x",
    ):
        assert problem(server.get(f"/ui/{name}"))["code"] == "not_found", name
    assert server.request("HEAD", "/ui/").status_code == 200


def test_browsers_are_led_to_the_page_and_nobody_else(server: Caller, recognizer: Recognizer) -> None:
    led = server.get("/", BROWSER)
    assert (led.status_code, led.headers["location"], led.headers["vary"]) == (307, "ui/", "Accept")
    assert server.get("/ui").headers["location"] == "ui/"
    for headers in (None, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert server.get("/", headers).text == "<h1>Face Embedding API</h1>"
    assert server.get("/face-embedding", BROWSER).text == "<h1>Face Embedding API</h1>"
    with Caller(Settings(ui=False), recognizer) as without:
        assert without.get("/", BROWSER).text == "<h1>Face Embedding API</h1>"
        for path in ("/ui", "/ui/", "/ui/app.js"):
            assert problem(without.get(path))["code"] == "not_found"


def test_the_page_is_small_and_names_no_other_host() -> None:
    sizes = {path: len(path.read_bytes()) for path in UI.rglob("*") if path.is_file() and path.parent.name != "texts"}
    texts = max(len(path.read_bytes()) for path in (UI / "texts").glob("*.json"))
    licence = UI / "vendor/htm-preact.txt"  # which no browser loads
    assert sum(sizes.values()) - sizes[licence] + texts <= MOST_BYTES
    for path in (*MODULES, UI / "style.css", UI / "index.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://\w", text), path.name
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|dangerously|<style|\son\w+=\"", text
        ), path.name


def test_what_is_vendored_is_what_npm_has(tmp_path: Path) -> None:
    vendored = (UI / "vendor/htm-preact.js").read_bytes()
    assert hashlib.sha256(vendored).hexdigest() == HTM
    licences = (UI / "vendor/htm-preact.txt").read_text(encoding="utf-8")
    assert "Apache License" in licences
    assert "The MIT License" in licences
    pack = ["npm", "pack", "htm@3.1.1", "--silent", "--fetch-retries=0", "--fetch-timeout=5000"]
    try:
        subprocess.run(pack, cwd=tmp_path, check=True, capture_output=True, timeout=20)
        subprocess.run(["tar", "xf", "htm-3.1.1.tgz"], cwd=tmp_path, check=True)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        pytest.skip("npm cannot be reached; the hash is that of its package")
    assert (tmp_path / "package/preact/standalone.module.js").read_bytes() == vendored


def test_texts_are_there_in_every_language_and_all_are_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    asked = {key for call in re.findall(r"\bt\(([^()]*)", code) for key in re.findall(r'"([a-z][\w.]*)"', call)}
    literals = set(re.findall(r'"([a-z][\w.]*)"', code))
    beginnings = tuple(f"{each}." for each in re.findall(r'\btold\("([\w.]+)"', code))
    beginnings += tuple(re.findall(r"`([a-z][\w.]*\.)\$\{", code))
    english = LANGUAGES["en"]
    assert asked - english.keys() == set(), "missing"
    assert [key for key in english if key not in literals and not key.startswith(beginnings)] == [], "unused"
    assert LANGUAGES.keys() == set(
        re.findall(r'(\w\w): "', (UI / "texts.js").read_text(encoding="utf-8").partition("};")[0])
    )
    for language, texts in LANGUAGES.items():
        assert texts.keys() == english.keys(), language
        assert list(texts) == sorted(texts), language
        for key, text in texts.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), (language, key)
            assert text.strip() == text, (language, key)
            assert text, (language, key)


def jpeg_of(text: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(text)))


def test_chips_come_where_they_are_asked_for(server: Caller, astronaut: Path) -> None:
    image = {"base64": base64.b64encode(astronaut.read_bytes()).decode()}
    for path, body in (("/v1/detect", {"images": [image]}), ("/v1/verify", {"a": image, "b": image})):
        plain, asked = (server.post(path, {**body, **more}).json() for more in ({}, {"chips": True}))
        faces, looked_at = (
            each["results"][0]["faces"] if "results" in each else each["faces"] for each in (plain, asked)
        )
        assert all("chip" not in face for face in faces)
        assert [jpeg_of(face.pop("chip")).size for face in looked_at] == [(150, 150)] * len(faces)
        assert looked_at == faces


@pytest.mark.parametrize(
    ("size", "side", "shown"), [((600, 300), 100, (100, 50)), ((60, 3000), 100, (2, 100)), ((40, 30), 100, (40, 30))]
)
def test_a_preview_is_upright_and_small(
    server: Caller, size: tuple[int, int], side: int, shown: tuple[int, int]
) -> None:
    buffer = io.BytesIO()
    lying = PIL.Image.new("RGB", size[::-1], "red")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    lying.save(buffer, "JPEG", exif=exif)
    body = {"image": {"base64": base64.b64encode(buffer.getvalue()).decode()}, "side": side}
    answer = server.post("/v1/preview", body).json()
    assert answer["size_wh"] == list(size)
    assert jpeg_of(answer["jpeg"]).size == shown


def test_a_preview_is_of_an_image_and_bounded(server: Caller) -> None:
    for image, code in (({"base64": "AAAA"}, "unsupported_format"), ({}, "invalid_request")):
        assert problem(server.post("/v1/preview", {"image": image}))["code"] == code
    for side in (15, 2049, 100.5, "100"):
        assert (
            problem(server.post("/v1/preview", {"image": {"base64": "AAAA"}, "side": side}))["code"]
            == "invalid_request"
        )


def test_what_a_key_allows_is_told(server: Caller, recognizer: Recognizer, tmp_path: Path) -> None:
    everything: dict[str, object] = {"scope": "admin", "galleries": [], "key": None, "version": visavis.__version__}
    assert server.get("/v1/access").json() == everything
    with Caller(
        Settings(auth="on", keys=(("read", "a-key-for-those-who-read"),), keys_file=tmp_path / "keys"), recognizer
    ) as keyed:
        assert problem(keyed.get("/v1/access"))["code"] == "unauthorized"
        told = keyed.get("/v1/access", {"X-API-Key": "a-key-for-those-who-read"}).json()
        assert (told["scope"], told["galleries"]) == ("read", [])
        assert told["key"]


def test_the_server_checks_itself_for_those_who_may_do_everything(
    recognizer: Recognizer, cache_dir: Path, tmp_path: Path
) -> None:
    settings = Settings(
        auth="on",
        keys=(("read", "a-key-for-those-who-read"), ("admin", "a-key-for-those-who-may-do-everything")),
        keys_file=tmp_path / "keys",
        store=sqlite_url(tmp_path / "galleries.db"),
        cache_dir=cache_dir,
    )
    with Caller(settings, recognizer) as keyed:
        admin = {"X-API-Key": "a-key-for-those-who-may-do-everything"}
        keyed.post("/v1/galleries", {"name": "team"}, admin)
        with sqlite3.connect(tmp_path / "galleries.db") as store:
            store.execute("INSERT INTO samples (gallery, subject, embedding) VALUES (1, 1, x'00')")
        assert problem(keyed.get("/v1/doctor", {"X-API-Key": "a-key-for-those-who-read"}))["code"] == "forbidden"
        checks = {each["name"]: each for each in keyed.get("/v1/doctor", admin).json()["checks"]}
    names = ["installation", "extras", "processor", "runtime", "models", "cache", "galleries", "self-test"]
    assert list(checks) == names
    assert checks["models"]["facts"]["pack"] == recognizer.pack.name
    assert checks["self-test"]["facts"]["faces"] == 0
    found = {name: check["problems"] for name, check in checks.items() if check["problems"]}
    assert [each["remedy"] for each in found.pop("galleries")] == ["visavis gallery check team"]
    assert found == {}


def test_people_are_found_by_name_page_by_page(server: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visavis.service.transfer._LARGE_PAGE", 3)
    server.post("/v1/galleries", {"name": "names"})
    names = ["Ada Lovelace", "Grace Hopper", "Émilie", "adam", None, "<b>Ada</b>", "İpek", "Ada 2"]
    for number, name in enumerate(names):
        enrolled = {"subject": f"s{number}", "embeddings": [vector(number)], **({"name": name} if name else {})}
        assert server.post("/v1/galleries/names/enrol", enrolled).status_code == 201

    def found(text: str, limit: int = 2) -> list[str]:
        cursor, ids = None, list[str]()
        for _ in range(10):
            body = {"text": text, "limit": limit, **({"cursor": cursor} if cursor else {})}
            page = server.post("/v1/galleries/names/search", body).json()
            ids += [subject["id"] for subject in page["subjects"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return ids
        raise AssertionError("no end")

    assert found("ADA") == ["s0", "s3", "s5", "s7"]
    assert found("e\N{COMBINING ACUTE ACCENT}mi") == ["s2"]
    assert found("s") == [f"s{number}" for number in range(8)]
    assert found("nobody", limit=1000) == []
    monkeypatch.setattr("visavis.service.transfer._PAGES_LOOKED_AT", 1)
    first = server.post("/v1/galleries/names/search", {"text": "Ada 2"}).json()
    assert first["subjects"] == []
    assert first["next_cursor"]  # three were looked at
    assert found("Ada 2") == ["s7"]


def test_similar_people_come_nearest_first(server: Caller) -> None:
    server.post("/v1/galleries", {"name": "alike"})
    near = [value + 0.05 for value in vector(1)]
    for subject, embeddings in {
        "a": [vector(1), vector(9)],
        "b": [vector(2)],
        "c": [near],
        "empty": [vector(7)],
    }.items():
        wanted = {"subject": subject, "embeddings": embeddings, "allow_conflict": True}
        assert server.post("/v1/galleries/alike/enrol", wanted).status_code == 201
    (sample,) = server.get("/v1/galleries/alike/subjects/empty").json()["sample_list"]
    server.request("DELETE", f"/v1/galleries/alike/subjects/empty/samples/{sample['id']}")
    told = server.get("/v1/galleries/alike/subjects/a/similar").json()["candidates"]
    assert told[0]["subject"] == "c"
    assert "a" not in [each["subject"] for each in told]
    assert [each["distance"] for each in told] == sorted(each["distance"] for each in told)
    assert server.get("/v1/galleries/alike/subjects/empty/similar").json() == {"candidates": []}
    assert problem(server.get("/v1/galleries/alike/subjects/nobody/similar"))["code"] == "subject_not_found"


@pytest.mark.parametrize("keep", ["chips", "images", "nothing"])
def test_the_sharpest_picture_is_shown_as_large_as_is_asked(
    server: Caller, astronaut: Path, astronaut_again: bytes, keep: str
) -> None:
    server.post("/v1/galleries", {"name": keep, "policy": {"keep": keep}})
    images = [{"base64": base64.b64encode(each).decode()} for each in (astronaut_again, astronaut.read_bytes())]
    assert server.post(f"/v1/galleries/{keep}/enrol", {"subject": "eileen", "images": images}).status_code == 201
    subject = f"/v1/galleries/{keep}/subjects/eileen"
    if keep == "nothing":
        assert problem(server.get(f"{subject}/picture"))["code"] == "sample_not_found"
        return
    samples = server.get(subject).json()["sample_list"]
    best = max(samples, key=lambda sample: sample["quality"]["sharpness"])
    stored = server.get(f"{subject}/samples/{best['id']}/picture").content
    assert server.get(f"{subject}/picture").content == stored
    small = server.get(f"{subject}/picture?side=64")
    assert small.headers["content-type"] == "image/jpeg"
    assert max(PIL.Image.open(io.BytesIO(small.content)).size) == 64
    assert problem(server.get(f"{subject}/picture?side=5000"))["code"] == "invalid_request"
