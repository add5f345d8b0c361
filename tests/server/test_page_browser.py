"""The page under /ui/ in a real browser: what people do on each screen, and what they see when it fails."""

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import pytest
from browser import program
from conftest import of_all_workers
from filelock import FileLock
from playwright.sync_api import Browser, Download, FilePayload, Page, Request, Route, expect, sync_playwright
from serving import PATIENCE_S, Listening, listening, ndjson, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Keys, Settings

ADMIN, READER = "a-key-that-may-do-everything", "a-key-that-may-only-look-on"
HOSTILE = "<img src=x onerror=alert(1)>\u202e\U0001f480"
LONG = "Wolfeschlegelsteinhausenbergerdorff " * 5
SCREENS = (
    "compare",
    "who/team",
    "people/team",
    "people/team/grace",
    "people/team/long",
    "review/wait",
    "audit/team",
    "try",
    "status",
)
AXE = "axe-core@4.10.3"
MOST_BYTES = 150_000
GREY = PIL.Image.new("RGB", (300, 300), (128, 128, 128))


def encoded(image: PIL.Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class Photos:
    eileen: Path
    again: Path
    grace: Path
    both: Path
    film: Path  # of the camera


@pytest.fixture(scope="module")
def photos(astronaut: Path, astronaut_again: bytes, hopper: Path, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    made = Photos(astronaut, folder / "again.jpg", hopper, folder / "both.png", folder / "film.mjpeg")
    made.again.write_bytes(astronaut_again)
    both = PIL.Image.new("RGB", (1024, 600))
    for photo, left in ((astronaut, 0), (hopper, 512)):
        with PIL.Image.open(photo) as opened:
            both.paste(opened.convert("RGB"), (left, 0))
    both.save(made.both)
    with PIL.Image.open(astronaut) as opened:
        made.film.write_bytes(encoded(opened) * 3)
    return made


@pytest.fixture(scope="module")
def server(recognizer: Recognizer, photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("server")
    keys: Keys = (("admin", ADMIN), ("read", READER))
    settings = Settings(
        port=0, auth="on", keys=keys, keys_file=folder / "keys", store=sqlite_url(folder / "galleries.db")
    )
    with listening(settings, recognizer) as server:
        make(server, "team")
        lines = ndjson(*({"subject": f"s{n:03}", "name": f"Person {n}", "embedding": vector(n)} for n in range(150)))
        lines += ndjson({"subject": "long", "name": LONG.strip(), "embedding": vector(999)})
        lined = {"X-API-Key": ADMIN, "Content-Type": "application/x-ndjson"}
        told = server.call("POST", "/v1/galleries/team/import?allow_conflict=true", lines, lined).body
        assert told.endswith(b'"failed":0}\n'), [line for line in told.splitlines() if b"error" in line]
        enrol(server, "grace", "Grace Hopper", photos.grace)
        yield server


@pytest.fixture(scope="module")
def queues(server: Listening, photos: Photos) -> None:
    """Galleries in whose queues two people wait; of one of them there are two photos."""
    with mock.patch("visavis.service.review._AGAIN_AFTER", timedelta(0)):  # so that photos may be alike
        for gallery, names in {"door": ("One", "Two"), "gate": (), "wait": ("One", "Two")}.items():
            make(server, gallery, review_days=7)
            for name in names:
                enrol(server, name, name, photos.grace, gallery)
            for photo in (photos.eileen, photos.again, photos.grace):
                send(server, f"{gallery}/identify", photo)


def make(server: Listening, gallery: str, **policy: object) -> None:
    ask = {"X-API-Key": ADMIN, "Content-Type": "application/json"}
    made = json.dumps({"name": gallery, "policy": {"keep": "chips", "allow_children": True, **policy}}).encode()
    assert server.call("POST", "/v1/galleries", made, ask).status == 201


def enrol(server: Listening, subject: str, name: str, photo: Path, gallery: str = "team") -> None:
    send(server, f"{gallery}/enrol", photo, subject=subject, name=name, allow_conflict="true")


def send(server: Listening, path: str, photo: Path, **fields: str) -> None:
    boundary = "a-boundary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'.encode())
    body = b"".join(parts) + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"X-API-Key": ADMIN, "Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = server.call("POST", f"/v1/galleries/{path}", body, kind)
    assert answer.status in (200, 201), answer.body


@pytest.fixture(scope="module")
def chromium(photos: Photos) -> Iterator[Browser]:
    film = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(),
            args=["--no-sandbox", "--disable-dev-shm-usage", *film, f"--use-file-for-fake-video-capture={photos.film}"],
        )
        yield browser
        browser.close()


Open = Callable[..., Page]
expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture
def visit(chromium: Browser, server: Listening) -> Iterator[Open]:
    """Open a screen with a key; what no page of ours may do is looked for at the end."""
    contexts = []
    wrong: list[str] = []
    here = f"http://localhost:{server.port}/"

    def check(request: Request) -> None:
        if not request.url.startswith((here, "blob:", "data:")):
            wrong.append(request.url)

    def open_(screen: str, key: str | None = ADMIN, **options: Any) -> Page:  # noqa: ANN401  # as Playwright takes them
        context = chromium.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        page.on("request", check)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        if key:
            page.add_init_script(f"sessionStorage.setItem('visavis-key', {json.dumps(key)})")
        page.goto(f"{here}ui/#/{screen}")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


def choose(page: Page, *files: Path | dict[str, Any], at: int = 0) -> None:
    page.locator("main input[type=file]").nth(at).set_input_files(list(files))  # type: ignore[arg-type]  # of one kind


def test_two_photos_are_compared(visit: Open, photos: Photos) -> None:
    page = visit("compare")
    calls: list[str] = []
    page.on(
        "request", lambda request: calls.append(request.url.rpartition("/")[2]) if request.method == "POST" else None
    )
    choose(page, photos.eileen)
    choose(page, photos.both, at=1)
    expect(page.locator(".verdict .big")).to_have_text("Two different people")  # the larger face counts
    assert calls[:1] == ["verify"]  # the answer waits for nothing else
    expect(page.locator("#live")).to_contain_text("Two different people. Probability")
    expect(page.locator(".verdict .chip img")).to_have_count(2)
    expect(page.get_by_role("img", name=re.compile("Distance .* below"))).to_be_visible()
    page.get_by_text("What does this mean?").click()
    expect(page.locator(".verdict details p")).to_be_visible()
    faces = page.locator("section.place").nth(1).locator("button.frame")
    expect(faces).to_have_count(2)
    page.locator("section.place").nth(1).locator("button.frame[aria-pressed=false]").click()
    expect(page.locator(".verdict .big")).to_have_text("The same person")
    page.get_by_role("radio", name="Default").focus()
    page.keyboard.press("ArrowRight")  # to the next point, where the pack's rates are measured
    expect(page.locator(".verdict")).to_contain_text("pairs of strangers")
    expect(page.locator(".verdict .zonekey")).to_be_visible()


@pytest.mark.thorough
def test_a_photo_of_the_camera_is_compared(visit: Open, photos: Photos) -> None:
    page = visit("compare")
    choose(page, photos.again)
    page.get_by_role("button", name="Camera").nth(1).click()
    page.get_by_role("button", name="Take the photo").click()
    expect(page.locator(".verdict .big")).to_have_text("The same person")


@pytest.mark.parametrize("kind", ["TIFF", pytest.param("HEIF", marks=pytest.mark.thorough)])
def test_what_the_browser_cannot_show_is_shown_by_the_server(visit: Open, photos: Photos, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    with PIL.Image.open(photos.eileen) as opened:
        data = encoded(opened, kind)
    page = visit("try")
    choose(page, {"name": "photo.x", "mimeType": "image/x", "buffer": data})
    expect(page.locator(".photo canvas")).to_be_visible()
    expect(page.locator(".photo .frame")).to_have_count(1)
    pixel = page.evaluate("[...document.querySelector('.photo canvas').getContext('2d').getImageData(9, 9, 1, 1).data]")
    assert pixel[3] == 255
    assert np.ptp(pixel[:3]) < 255


def test_who_it_is_is_told_and_an_unknown_face_enrolled(visit: Open, photos: Photos) -> None:
    page = visit("who/team")
    choose(page, photos.both)
    people = page.locator(".people .person")
    expect(people).to_have_count(2)
    expect(page.locator(".person.known h3")).to_contain_text("Grace Hopper")
    unknown = page.locator(".person:not(.known)")
    expect(unknown).to_contain_text("Nobody in the gallery is near enough.")
    unknown.get_by_role("button", name="Enrol as").click()
    page.get_by_label("Name", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Enrol as a new person").click()
    expect(page.locator(".person.known")).to_have_count(2)  # looked at again
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("h1")).to_be_focused()
    expect(page.locator(".tile .chip img")).to_have_count(1)
    expect(page.locator("main img[src=x]")).to_have_count(0)


@pytest.mark.thorough
def test_people_come_as_one_scrolls_and_are_found_by_name(visit: Open) -> None:
    page = visit("people/team")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/subjects?" in request.url else None)
    expect(page.locator("a.tile").first).to_be_visible()
    page.wait_for_timeout(300)
    before = page.locator("a.tile").count()
    assert before < 152
    for _ in range(100):
        if page.locator("a.tile").count() >= 152:
            break
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(100)
    assert page.locator("a.tile").count() >= 152
    page.get_by_role("searchbox").fill("hopp")
    expect(page.locator("a.tile")).to_have_count(1)
    expect(page.locator("a.tile")).to_contain_text("Grace Hopper")
    page.get_by_role("searchbox").fill("nobody of that name")
    expect(page.get_by_text("Nobody of that name.")).to_be_visible()


@pytest.mark.thorough
def test_a_folder_is_added_with_what_was_refused(
    visit: Open, server: Listening, photos: Photos, tmp_path: Path
) -> None:
    make(server, "album")
    enrol(server, "eileen", "Eileen Collins", photos.eileen, "album")
    enrol(server, "grace", "Grace Hopper", photos.grace, "album")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photos.again.read_bytes())
    (folder / "b.jpg").write_bytes(encoded(GREY))
    (folder / "c.jpg").write_bytes(photos.grace.read_bytes())
    (folder / "notes.txt").write_text("no photo")
    page = visit("people/album/eileen")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    refused = page.locator(".refused li")
    expect(refused).to_have_count(2)
    expect(refused.nth(0)).to_contain_text("No face was found")
    expect(refused.nth(1)).to_contain_text("This face is somebody else's already")
    expect(refused.nth(1).locator(".chip img")).to_have_count(1)
    expect(page.locator(".later")).to_contain_text("Enrolled: 1. Refused: 2.")
    expect(page.locator("section .tile")).to_have_count(2)


def test_a_person_is_added_with_some_photos(visit: Open, server: Listening, photos: Photos) -> None:
    make(server, "new")
    page = visit("people/new")
    expect(page.get_by_text("Nobody is enrolled yet.")).to_be_visible()
    page.get_by_role("button", name="Add a person").click()
    again: FilePayload = {"name": "again.jpg", "mimeType": "image/jpeg", "buffer": photos.again.read_bytes()}
    grey: FilePayload = {"name": "grey.jpg", "mimeType": "image/jpeg", "buffer": encoded(GREY)}
    page.get_by_role("dialog").locator("input[type=file]").set_input_files([again, grey])
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("Eileen")
    page.keyboard.press("Enter")
    told = page.get_by_role("dialog")
    expect(told).to_contain_text("Enrolled: 1. Refused: 1.")
    expect(told).to_contain_text("grey.jpg: No face was found")
    told.get_by_role("button", name="Close").last.click()
    expect(page.locator("h1")).to_have_text("Eileen")
    expect(page.locator("section .tile")).to_have_count(1)


@pytest.mark.thorough
def test_two_are_merged_and_one_is_forgotten_with_a_receipt(visit: Open, server: Listening, photos: Photos) -> None:
    make(server, "crew")
    for subject, name, photo in (("grace", "Grace", photos.grace), ("once", "Eileen C.", photos.eileen)):
        enrol(server, subject, name, photo, "crew")
    enrol(server, "twice", "Eileen, again", photos.again, "crew")
    page = visit("people/crew/twice")
    page.get_by_role("button", name="Merge").click()
    nearest = page.locator(".choices button")
    expect(nearest).to_have_count(2)
    expect(nearest.first).to_contain_text("Eileen C.")  # the most alike comes first
    nearest.first.click()
    page.get_by_role("dialog").get_by_role("button", name="Merge", exact=True).click()
    expect(page.locator("h1")).to_have_text("Eileen C.")
    expect(page.locator("section .tile")).to_have_count(2)
    page.get_by_text("Name, consent, expiry").click()
    page.get_by_label("Consent").fill("signed")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Name, consent, expiry").click()
    expect(page.get_by_label("Consent")).to_have_value("signed")
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_role("button", name="Forget for good").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the receipt").click()
    receipt = read(saved.value)
    assert (receipt["gallery"], receipt["subject"], receipt["samples"]) == ("crew", "once", 2)
    page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
    expect(page).to_have_url(re.compile("#/people/crew$"))


@pytest.mark.thorough
def test_samples_are_split_off_and_moved_to_others(visit: Open, server: Listening, photos: Photos) -> None:
    make(server, "mixed")
    for photo in (photos.eileen, photos.grace):
        enrol(server, "eileen", "Eileen", photo, "mixed")
    page = visit("people/mixed/eileen")
    expect(page.locator("section .tile .chip img")).to_have_count(2)
    page.get_by_role("checkbox", name="Sample").nth(1).focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Move 1").click()
    expect(page.get_by_role("dialog").get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    expect(page.locator("main").get_by_text("Moved to")).to_be_visible()
    expect(page.locator("section .tile")).to_have_count(1)
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator("section .tile .chip img")).to_have_count(1)
    page.get_by_role("checkbox", name="Sample").check()
    page.get_by_role("button", name="Move 1").click()
    page.locator(".choices button").filter(has_text="Eileen").click()  # whose it was
    expect(page.get_by_text("There are no samples.")).to_be_visible()
    page.get_by_role("link", name="Eileen").click()
    expect(page.locator("section .tile .chip img")).to_have_count(2)
    page.get_by_role("checkbox", name="Sample").first.check()
    page.get_by_role("button", name="Forget sample").first.click()
    page.get_by_role("button", name="Really?").click()
    expect(page.locator("section .tile")).to_have_count(1)
    expect(page.get_by_role("button", name="Move 1")).to_have_count(0)  # what was chosen is gone


@pytest.mark.thorough
def test_who_it_is_not_is_said_and_who_is_ignored(visit: Open, server: Listening, photos: Photos) -> None:
    make(server, "doubts")
    enrol(server, "eileen", "Eileen", photos.eileen, "doubts")
    page = visit("who/doubts")
    choose(page, photos.again)
    answer = page.locator(".person")
    answer.get_by_role("button", name="Not this person").click()
    expect(answer).to_contain_text("take it for that person no more")
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("Somebody said that this face is not that person.")
    visited = visit("people/doubts/eileen")
    expect(visited.locator("section .tile").filter(has_text="Not this person")).to_have_count(1)
    page.get_by_role("button", name="Remove this photo").click()
    choose(page, photos.grace)
    answer.get_by_role("button", name="Ignore").click()
    answer.get_by_role("button", name="Ignore: Really?").click()
    expect(answer).to_contain_text("This person is ignored here.")
    answer.get_by_role("button", name="Ignore no more").click()
    answer.get_by_role("button", name="Ignore no more: Really?").click()
    expect(answer.get_by_role("link")).to_be_visible()  # who has an ID, and no name
    answer.get_by_role("button", name="Ignore").click()
    expect(answer).to_contain_text("to tell nobody who it is")
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("This person is ignored here.")
    visited.reload()
    visited.evaluate("location.hash = '#/people/doubts'")
    expect(visited.locator("a.tile").filter(has_text="ignored")).to_have_count(1)


def read(download: Download) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path(download.path()).read_text())
    return value


@pytest.mark.thorough
@pytest.mark.usefixtures("queues")
def test_groups_are_named_by_keyboard(visit: Open) -> None:
    page = visit("review/door")
    groups = page.locator("section.card")
    expect(groups).to_have_count(2)
    expect(groups.nth(0).locator(".faces img")).to_have_count(2)
    expect(groups.nth(1)).to_contain_text("Two people are about as near.")
    groups.nth(0).get_by_role("checkbox").first.focus()
    page.keyboard.press("j")
    expect(groups.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(groups.nth(0)).to_be_focused()
    page.keyboard.press("n")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    expect(groups).to_have_count(1)
    expect(page.locator("#live")).to_contain_text("Done: 2")
    expect(groups).to_be_focused()
    page.keyboard.press("y")
    expect(page.get_by_text("Nothing waits for review.")).to_be_visible()
    page.get_by_role("link", name="People").click()
    expect(page.locator("a.tile").filter(has_text=HOSTILE)).to_contain_text("Samples: 2")
    expect(page.locator("a.tile").filter(has_text="Samples: 2")).to_have_count(2)  # and who was likely right


@pytest.mark.thorough
@pytest.mark.usefixtures("queues")
def test_some_faces_are_discarded_and_others_ignored(visit: Open, server: Listening) -> None:
    page = visit("review/gate")
    groups = page.locator("section.card")
    expect(groups).to_have_count(2)
    page.get_by_label("Sharpness at least").fill("0.9")
    expect(page.get_by_text("Nothing waits for review.")).to_be_visible()
    page.get_by_label("Sharpness at least").fill("0")
    expect(groups).to_have_count(2)
    group = groups.first
    group.get_by_role("checkbox").first.check()
    expect(group).to_contain_text("chosen: 1")
    page.keyboard.press("d")
    expect(group).to_contain_text("forgotten for good")
    page.keyboard.press("Enter")
    expect(group.get_by_role("checkbox")).to_have_count(1)
    expect(group).to_be_focused()
    page.keyboard.press("i")
    expect(group).to_contain_text("to tell nobody who it is")
    page.keyboard.press("Enter")
    expect(groups).to_have_count(1)
    page.get_by_role("button", name="Policy").click()
    page.get_by_label("Days for which unknown faces").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("This gallery keeps no unknown faces.")).to_be_visible()
    told = server.call("GET", "/v1/galleries/gate", headers={"X-API-Key": ADMIN}).body
    assert json.loads(told)["subjects"] == 1


@pytest.mark.thorough
def test_what_an_audit_finds_is_mended(visit: Open, server: Listening, photos: Photos) -> None:
    make(server, "doubles")
    for subject in ("grace", "double"):
        enrol(server, subject, subject, photos.grace, "doubles")
    page = visit("audit/doubles")
    page.get_by_role("button", name=re.compile("Look at")).click()
    pair = page.locator(".two").filter(has_text="double").first
    expect(pair.locator("img")).to_have_count(2)
    pair.get_by_role("button", name="Merge double into grace").click()
    page.get_by_role("button", name="Merge double into grace: Really?").click()
    expect(page.get_by_text("Merged.").first).to_be_visible()
    assert server.call("GET", "/v1/galleries/doubles/subjects/double", headers={"X-API-Key": ADMIN}).status == 404


@pytest.mark.thorough
def test_the_api_is_tried_and_the_status_seen(visit: Open, photos: Photos) -> None:
    page = visit("try")
    choose(page, photos.both)
    expect(page.locator(".photo .frame")).to_have_count(2)
    expect(page.locator("pre").first).to_contain_text('"box_xyxy"')
    expect(page.locator("#code")).to_contain_text("-F images=@both.png")
    page.get_by_label("The aligned faces").check()
    expect(page.locator(".card .chip img")).to_have_count(2)
    page.get_by_role("tab", name="Python").click()
    expect(page.locator("#code")).to_contain_text("chips=True")
    page.get_by_role("link", name="Status").click()
    expect(page.locator(".pairs").first).to_contain_text("dlib")
    expect(page.locator("td code").first).to_be_visible()
    page.get_by_role("button", name="Check the server").click()
    expect(page.get_by_text("Problems: ").first).to_be_visible()
    page.get_by_text("self-test").click()
    expect(page.locator("details").filter(has_text="self-test").locator("dd").first).to_have_text("grey, 640 x 480")


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(visit: Open) -> None:
    page = visit("people/team", key=None)
    page.get_by_label("API key", exact=True).fill("a wrong key")
    page.get_by_role("button", name="Use the key").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("API key", exact=True).fill(READER)
    page.keyboard.press("Enter")
    expect(page.locator("a.tile").first).to_be_visible()
    expect(page.get_by_role("button", name="Add a person")).to_have_count(0)  # which the key does not allow
    page.reload()
    expect(page.locator("a.tile").first).to_be_visible()
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    page.get_by_role("button", name="Key: look").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.thorough
def test_failures_are_told_in_words_and_tried_again(visit: Open, photos: Photos) -> None:
    page = visit("compare")
    busy = {"code": "overloaded", "status": 503, "title": "The server is busy", "detail": "all workers are busy"}
    answers: list[Callable[[Route], None]] = [
        lambda route: route.fulfill(
            status=503, headers={"Retry-After": "7"}, content_type="application/problem+json", body=json.dumps(busy)
        ),
        lambda route: route.abort(),
        lambda route: route.fulfill(status=502, body="<html>a proxy's page</html>"),
        lambda route: route.continue_(),
    ]
    page.route("**/v1/verify", lambda route: answers.pop(0)(route) if answers else route.continue_())
    choose(page, photos.eileen)
    choose(page, photos.again, at=1)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server is busy")
    expect(alert).to_contain_text("wait 7 s")
    for told in ("cannot be reached", "went wrong in the server"):
        alert.get_by_role("button", name="Try again").click()
        expect(alert).to_contain_text(told)
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator(".verdict")).to_be_visible()
    choose(page, {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"})
    expect(alert).to_contain_text("no photo that the server can read")


def test_everything_is_small_and_comes_from_here(visit: Open, server: Listening) -> None:
    sizes: dict[str, int] = {}
    page = visit("status")
    fresh = page.context.browser.new_page()  # type: ignore[union-attr]  # it has one; and nothing in its memory
    fresh.on(
        "response", lambda answer: sizes.update({answer.url: len(answer.body())}) if "/ui/" in answer.url else None
    )
    fresh.goto(page.url)
    fresh.wait_for_load_state("networkidle")
    fresh.close()
    assert len(sizes) > 10
    assert sum(sizes.values()) <= MOST_BYTES
    assert server.call("GET", "/", headers={"Accept": "text/html"}).headers["location"] == "ui/"


def test_the_keyboard_alone_does(visit: Open) -> None:
    page = visit("compare")
    expect(page.locator("h1")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Who is this?")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Who is this?")
    expect(page.locator("h1")).to_be_focused()
    expect(page.get_by_text("Choose photos")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Gallery")).to_be_focused()
    page.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
    assert page.evaluate(focused) == "Choose photos"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Address"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate(focused) == "Address"


@pytest.mark.thorough
def test_a_link_that_is_followed_while_the_page_begins_leads_there(visit: Open) -> None:
    page = visit("compare")
    page.add_init_script("""new MutationObserver((_, observer) => {
      if (document.querySelector("nav")) { observer.disconnect(); location.hash = "#/status"; }
    }).observe(document, { childList: true, subtree: true });""")
    page.reload()
    expect(page.locator("h1")).to_have_text("Status")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core of npm, which tells what people cannot see, hear or reach."""
    folder = of_all_workers(tmp_path_factory)
    found = folder / "package/axe.min.js"
    with FileLock(folder / "axe.lock"), suppress(OSError, subprocess.SubprocessError):
        if not found.exists():
            pack = ["npm", "pack", AXE, "--silent", "--fetch-retries=0", "--fetch-timeout=10000"]
            subprocess.run(pack, cwd=folder, check=True, capture_output=True, timeout=60)
            subprocess.run(["tar", "xf", "axe-core-4.10.3.tgz", "package/axe.min.js"], cwd=folder, check=True)  # noqa: S607
    if not found.exists():
        pytest.skip("npm cannot be reached for axe-core")
    return found.read_text(encoding="utf-8")


LOOK = """async (axe) => {
  if (!window.axe) (0, eval)(axe);
  const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await window.axe.run(document, { runOnly });
  return found.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
}"""

TOO_WIDE = """(() => {
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  const beyond = (each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".wide *, .photo *");
  return [...document.querySelectorAll("body *")].filter(beyond).map((each) => each.outerHTML.slice(0, 90));
})()"""


@pytest.mark.thorough
@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_anybody(visit: Open, photos: Photos, axe: str, scheme: str) -> None:
    page = visit("compare", color_scheme=scheme, bypass_csp=True, viewport={"width": 390, "height": 844})
    found = {}
    for screen in SCREENS:
        page.evaluate(f"location.hash = '#/{screen}'")
        expect(page.locator("h1")).to_be_visible()
        page.wait_for_timeout(300)
        prepare(page, screen, photos)
        if violations := page.evaluate(LOOK, axe):
            found[screen] = violations
        for size in ("100%", "200%"):
            page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
            if too_wide := page.evaluate(TOO_WIDE):
                found[f"{screen} at {size}"] = too_wide
        page.evaluate("document.documentElement.style.fontSize = ''")
    assert found == {}, json.dumps(found, indent=1)


def prepare(page: Page, screen: str, photos: Photos) -> None:
    """Bring a screen to where there is most to see."""
    if screen == "compare":
        choose(page, photos.eileen)
        choose(page, photos.both, at=1)
        expect(page.locator("button.frame")).to_have_count(2)
    elif screen == "who/team":
        choose(page, photos.both)
        page.get_by_text("How near?").first.click()
    elif screen == "people/team/grace":
        page.get_by_text("Name, consent, expiry").click()
    elif screen == "people/team/long":
        page.get_by_role("checkbox", name="Sample").check()
        page.get_by_role("button", name="Move 1").click()
        expect(page.locator(".choices button")).to_have_count(5)
    elif screen == "review/wait":
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Discard").first.click()
        expect(page.locator("section.card").first).to_contain_text("forgotten for good")
    elif screen == "status":
        page.get_by_role("button", name="Check the server").click()
        page.get_by_text("self-test").click()
    elif screen == "audit/team":
        page.get_by_role("button", name=re.compile("Look at")).click()
        expect(page.locator(".card").first).to_be_visible()
    elif screen == "try":
        choose(page, photos.both)
        expect(page.locator("pre")).to_have_count(2)
    else:
        page.wait_for_timeout(300)
