"""What pages in a real browser can do to a server on the same machine that asks for no keys."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, page_server
from serving import Listening, listening, ndjson, sqlite_url, vector

from visavis import Recognizer
from visavis.config import Settings

JSON = {"Content-Type": "application/json"}
STRANGER = "127.0.0.2"  # where a name leads before it leads here


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile"), f"MAP evil.example {STRANGER}") as chromium:
        yield chromium


@pytest.fixture
def server(recognizer: Recognizer, tmp_path: Path) -> Iterator[Listening]:
    with listening(Settings(port=0, store=sqlite_url(tmp_path / "galleries.db")), recognizer) as server:
        assert server.call("POST", "/v1/galleries", b'{"name": "team"}', JSON).status == 201
        yield server


def statuses(server: Listening) -> dict[str, str]:
    """Return the statuses of the POSTs that came, by route."""
    text = server.call("GET", "/metrics").body.decode()
    found = re.findall(r'^visavis_requests_total{method="POST",route="(.*?)",status="(\d+)"} ', text, re.MULTILINE)
    return {route: " ".join(sorted(status for other, status in found if other == route)) for route, _ in found}


def check_that_nothing_has_changed(server: Listening) -> None:
    names = [gallery["name"] for gallery in server.call("GET", "/v1/galleries").json()["galleries"]]
    subjects = server.call("GET", "/v1/galleries/team/subjects").json()["subjects"]
    actions = {entry["action"] for entry in server.call("GET", "/v1/log").json()["entries"]}
    assert (names, subjects, actions - {"export"}) == (["team"], [], {"create"})  # who exported, but could not read it


def script(target: str, photo: bytes) -> str:
    """Return a script that tries all that a page can send without asking, and tells what it could read."""
    line = ndjson({"subject": "ceo", "embedding": vector(1)}).decode()
    white = json.dumps({"truth": [[[255, 255, 255]]], "check": [[[255, 255, 255]]]})
    values: dict[str, Any] = {"target": target, "photo": base64.b64encode(photo).decode(), "line": line, "white": white}
    return f"({ATTACK})({json.dumps(values)})"


ATTACK = """async ({target, photo, line, white}) => {
  const image = new Blob([Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0))]);
  const form = new FormData();
  form.append("subject", "ceo");
  form.append("images", image, "a.png");
  const told = {};
  const send = async (name, path, options) => {
    try {
      const answer = await fetch(target + path, options);
      told[name] = answer.type === "opaque" ? "sent" : `${answer.status} ${await answer.text()}`;
    } catch { told[name] = "failed"; }
  };
  const blind = (body) => ({ method: "POST", mode: "no-cors", body });
  await send("enrol", "/v1/galleries/team/enrol", blind(form));
  await send("make", "/v1/galleries", blind(new Blob(['{"name": "made"}'])));
  await send("import", "/v1/galleries/team/import", blind(new Blob([line])));
  await send("old", "/face-embedding/img", blind(new Blob([JSON.stringify({ img: photo })])));
  await send("old function", "/", { method: "POST", body: new Blob([white]) });
  await send("read", "/v1/galleries", {});
  await send("export", "/v1/galleries/team/export", {});
  await send("forget", "/v1/galleries/team", { method: "DELETE" });
  navigator.sendBeacon(target + "/v1/galleries", new Blob(['{"name": "beacon"}']));
  const frame = Object.assign(document.createElement("iframe"), { name: "frame" });
  const input = Object.assign(document.createElement("input"), { name: "subject", value: "ceo" });
  const posted = Object.assign(document.createElement("form"), {
    action: target + "/v1/galleries/team/enrol", method: "POST", enctype: "multipart/form-data", target: "frame" });
  posted.append(input);
  document.body.append(frame, posted);
  await new Promise((done) => { frame.onload = done; posted.submit(); });
  frame.src = target + "/docs";
  await new Promise((done) => { frame.onload = done; });
  return told;
}"""


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_changes_nothing(
    chromium: Browser, server: Listening, astronaut: Path, name: str
) -> None:
    with page_server() as port:  # another program's, on the same machine: another site, and the same
        attack = script(f"http://{name}:{server.port}", astronaut.read_bytes())
        told = chromium.run(f"http://localhost:{port}/page", attack)
    assert {key: told[key] for key in told if key != "old function"} == {
        # To another site the browser does not even say that there was an answer.
        **dict.fromkeys(("enrol", "make", "import", "old"), "sent" if name == "localhost" else "failed"),
        **dict.fromkeys(("read", "export", "forget"), "failed"),
    }
    assert told["old function"] == '200 {"Match":"No"}'
    check_that_nothing_has_changed(server)
    assert statuses(server) == {
        "/v1/galleries": "201 403",  # the first is this test's
        "/v1/galleries/{gallery}/enrol": "403",
        "/v1/galleries/{gallery}/import": "403",
        "/face-embedding/img": "403",
        "/": "200",
    }


def test_a_name_that_comes_to_lead_here_opens_nothing(chromium: Browser, server: Listening, astronaut: Path) -> None:
    with page_server(STRANGER, server.port, before=server.port):
        own = f"http://evil.example:{server.port}"
        told = chromium.run(f"{own}/page", script(own, astronaut.read_bytes()))
    told["frame"] = told.pop("enrol")
    assert {answer[:3] for answer in told.values()} == {"403"}, told
    check_that_nothing_has_changed(server)


def test_the_page_of_the_api_works(chromium: Browser, server: Listening) -> None:
    url = f"http://localhost:{server.port}/docs"
    made = chromium.run(url, f"({TRY})('create_v1_galleries_post', {{text: JSON.stringify({{name: 'tried'}})}})")
    assert made["answer"].startswith("201 Created")
    assert '"name": "tried"' in made["answer"]
    assert made["curl"] == (
        f"curl -H 'Content-Type: application/json' --data-binary '{{\"name\":\"tried\"}}' "
        f"http://localhost:{server.port}/v1/galleries"
    )
    assert '"name": "team"' in made["example"]
    assert "tried" in server.call("GET", "/v1/galleries").body.decode()
    assert chromium.run(url, "getComputedStyle(document.body).maxWidth") == "960px"  # its style
    # What somebody brought into the page would not run, nor tell anybody.
    assert chromium.run(url, INJECT) == ["no script", "no style", "no call"]


@pytest.mark.thorough
def test_the_page_of_the_api_takes_files_choices_and_keys(
    chromium: Browser, server: Listening, astronaut: Path
) -> None:
    url, photo = f"http://localhost:{server.port}/docs", base64.b64encode(astronaut.read_bytes()).decode()

    def told(operation: str, **given: object) -> dict[str, Any]:
        found: dict[str, Any] = chromium.run(url, f"({TRY})({json.dumps(operation)}, {json.dumps(given)})")
        return found

    found = told("detect_v1_detect_post", photo=photo, fields={"quality": "true", "faces": "largest"})
    assert found["choices"]["quality"] == ["", "true", "false"]
    assert found["choices"]["attributes"] == ["liveness", "pose", "age", "gender"]
    assert {"all", "prominent", "largest", "only"} <= set(found["choices"]["faces"])
    assert found["answer"].startswith("200 OK")
    assert '"face_px"' in found["answer"]
    assert found["curl"] == (
        f"curl -F images=@a.png -F faces=largest -F quality=true http://localhost:{server.port}/v1/detect"
    )
    raw = told("detect_v1_detect_post", way="an image", photo=photo, fields={"quality": "true"})
    assert (
        raw["answer"].partition("\n")[2]
        == told("detect_v1_detect_post", photo=photo, fields={"quality": "true"})["answer"].partition("\n")[2]
    )
    assert "-H 'Content-Type: image/png' --data-binary @a.png" in raw["curl"]
    # What is wrong stands by its field and below the form; what is quoted for the shell stays one word.
    wrong = told("verify_v1_verify_post", photo=photo, fields={"threshold": "x'; y"})
    assert wrong["errors"] == {"threshold": "threshold: must be a number"}
    assert wrong["failure"] == "threshold: must be a number"
    assert "-F 'threshold=x'\\''; y'" in wrong["curl"]
    refused = told("show_v1_galleries__gallery__get", key="vv_wrong", fields={"gallery": "a b"})
    assert refused["answer"].startswith("401 ")
    assert "vv_wrong" not in refused["curl"]
    assert refused["curl"].endswith(
        '-H "X-API-Key: $VISAVIS_KEY" ' + f"http://localhost:{server.port}/v1/galleries/a%20b"
    )


TRY = """async (operation, { way, text, photo, fields = {}, key }) => {
  const wait = async (find) => { while (!find()) await new Promise((done) => setTimeout(done, 10)); return find(); };
  document.getElementById("key").value = key || "";
  const part = await wait(() => document.getElementById(operation));
  part.open = true;
  await wait(() => part.querySelector("form"));
  const ways = [...part.querySelectorAll(".ways label")];
  if (way) ways.find((each) => each.textContent.trim() === way).querySelector("input").click();
  const choices = {};
  for (const row of part.querySelectorAll(".field")) {
    const name = row.querySelector("label code").textContent, input = row.querySelector("input, select");
    if (input.type === "file" && photo) {
      const files = new DataTransfer();
      files.items.add(new File([Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0))], "a.png",
        { type: "image/png" }));
      input.files = files.files;
    }
    if (name in fields) input.value = fields[name];
    if (input.options) choices[name] = [...input.options].map((each) => each.value);
  }
  if (text) part.querySelector("textarea").value = text;
  part.querySelector("form").requestSubmit();
  const output = part.querySelector(".answer");
  const answer = await wait(() => /^[2-5]\\d\\d /.test(output.textContent) && output.textContent);
  const wrong = [...part.querySelectorAll(".field")].filter((row) => row.querySelector(".error").textContent);
  const errors = Object.fromEntries(wrong.map((row) =>
    [row.querySelector("label code").textContent, row.querySelector(".error").textContent]));
  const [curl, failure] = [".curl", "p.error"].map((each) => part.querySelector(each).textContent);
  return { answer, curl, failure, errors, choices, example: part.querySelector(".example")?.textContent };
}"""
INJECT = """(async () => {
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
  const part = document.createElement("p");
  part.innerHTML = "<i style='color: rgb(1, 2, 3)'></i><img src=x onerror='window.ran = true'>";
  document.body.append(part);
  const call = await fetch("http://evil.example:1/").then(() => "a call", (error) => "no call");
  const colour = getComputedStyle(part.firstChild).color;
  return [window.ran ? "a script" : "no script", colour === "rgb(1, 2, 3)" ? "a style" : "no style", call];
})()"""
