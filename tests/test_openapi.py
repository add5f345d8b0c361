"""The OpenAPI document is the one that was reviewed: tests/openapi.json."""

import json
import os
import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from serving import Caller, ndjson, sqlite_url

from visavis import Recognizer
from visavis.config import Settings
from visavis.server.app import create_app

EXEMPLARY = ("application/json", "application/x-ndjson")  # whose bodies have an example
REVIEWED = Path(__file__).with_name("openapi.json")
EXAMPLES = REVIEWED.parents[1] / "src" / "visavis" / "server" / "examples.json"
MOST_LETTERS = 200  # of a text, such as a picture in base64


@cache
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def recorded(recognizer: Recognizer, store: Path, ada: bytes, grace: bytes) -> dict[str, Any]:
    """Call all of the API as the documentation does, and return the answers, shortened, by the ID of the operation."""
    team = "/v1/galleries/team"
    answers: dict[str, Any] = {}
    form, lines = [("images", ada)], {"Content-Type": "application/x-ndjson"}
    with Caller(Settings(store=sqlite_url(store)), recognizer) as server:

        def embedding(image: bytes) -> list[float]:
            sent = server.request("POST", "/v1/embed", files={"images": image})
            found: list[float] = sent.json()["results"][0]["faces"][0]["embedding"]
            return found

        # The paths of the document, in an order in which each call finds what it is about.
        calls: list[tuple[str, str, dict[str, Any]]] = [
            *(("GET", path, {}) for path in ("/healthz", "/readyz", "/v1/models", "/v1/access", "/v1/doctor")),
            ("POST", "/v1/preview", {"files": {"image": ada}}),
            ("POST", "/v1/detect", {"files": form, "data": {"quality": "true"}}),
            ("POST", "/v1/embed", {"files": form}),
            ("POST", "/v1/verify", {"files": {"a": ada, "b": grace}}),
            ("POST", "/v1/compare", {"json": {"pairs": [{"a": embedding(ada), "b": embedding(grace)}]}}),
            ("POST", "/v1/galleries", {"json": {"name": "team", "policy": {"keep": "chips", "retention_days": 365}}}),
            ("PUT", team, {"json": {}}),
            ("POST", f"{team}/enrol", {"files": form, "data": {"subject": "ada", "name": "Ada Lovelace"}}),
            ("POST", f"{team}/import", {"content": ndjson({"subject": "grace", "embedding": embedding(grace)}, {})}),
            ("POST", f"{team}/identify", {"files": form}),
            ("POST", f"{team}/subjects/ada/verify", {"files": {"image": ada}}),
            *(
                ("GET", f"{team}{path}", {})
                for path in ("", "/subjects", "/subjects/ada", "/samples", "/samples/1", "/export", "/audit", "/rules")
            ),
            ("GET", f"{team}/subjects/ada/similar", {}),
            ("POST", f"{team}/search", {"json": {"text": "lovelace"}}),
            ("PATCH", team, {"json": {"policy": {"retention_days": 30}}}),
            ("PATCH", f"{team}/subjects/ada", {"json": {"consent": "signed 2025-03-01"}}),
            ("GET", f"{team}/subjects/ada/export", {}),
            ("POST", f"{team}/subjects/grace/split", {"json": {"samples": [2], "into": "joan", "name": "Joan"}}),
            ("POST", f"{team}/subjects/joan/merge", {"json": {"into": "grace"}}),
            ("POST", f"{team}/subjects/grace/move", {"json": {"samples": [4], "into": "ada"}}),
            ("POST", f"{team}/subjects/grace/merge", {"json": {"into": "ada"}}),
            ("GET", "/v1/galleries", {}),
            *(("GET", path, {}) for path in (f"{team}/log?limit=2", "/v1/log?limit=2")),
            *(("DELETE", f"{team}{path}", {}) for path in ("/subjects/ada/samples/5", "/samples/1", "/subjects/ada")),
            ("PATCH", team, {"json": {"policy": {"review_days": 7}}}),
            *(("POST", f"{team}/identify", {"files": [("images", image)]}) for image in (ada, grace)),
            ("GET", f"{team}/review", {}),
            ("POST", f"{team}/review/discard", {"json": {"faces": [4]}}),
            ("POST", f"{team}/identify", {"files": form}),
            ("POST", f"{team}/review/ignore", {"json": {"faces": [5]}}),
            ("POST", f"{team}/review/name", {"json": {"faces": [6], "subject": "ada", "name": "Ada Lovelace"}}),
            ("POST", f"{team}/subjects", {"json": {"id": "joan", "name": "Joan Clarke"}}),
            ("DELETE", team, {}),
        ]
        for method, path, body in calls:
            answer = server.request(method, path, headers=lines if path.endswith("import") else {}, **body)
            assert answer.status_code in (200, 201), (method, path, answer.text)
            told: Any = answer.text if "ndjson" in answer.headers["content-type"] else answer.json()
            if path == "/v1/doctor":
                del told["checks"][:-1]  # what they tell is this machine's
            answers.setdefault(operation_id(method, path), shortened(told))
    return answers


def operation_id(method: str, path: str) -> str:
    """Return the ID of the operation that a call is."""
    for template, operations in document()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0]) and method.lower() in operations:
            return str(operations[method.lower()]["operationId"])
    raise AssertionError(f"{method} {path} is not in the document")


def shortened(value: Any) -> Any:  # noqa: ANN401  # JSON
    if isinstance(value, dict):
        return {name: shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        several = 2 if value and isinstance(value[0], dict) else 5
        return [shortened(item) for item in value[:several]]
    if isinstance(value, str) and "\n" in value:  # lines of JSON
        return "".join(json.dumps(shortened(json.loads(line))) + "\n" for line in value.splitlines())
    if isinstance(value, str) and len(value) > MOST_LETTERS:
        return value[:40] + "..."
    return round(value, 3) if isinstance(value, float) else value


def shape(value: object) -> object:
    """Return what two answers to one call have in common, whatever the numbers and names are."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str) and "\n" in value:
        return [shape(json.loads(line)) for line in value.splitlines()]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def test_the_examples_are_answers_of_a_server(cache_dir: Path, tmp_path: Path, astronaut: Path, hopper: Path) -> None:
    recognizer = Recognizer(precision="f32", cache_dir=cache_dir, threads=1)
    live = recorded(recognizer, tmp_path / "galleries.db", astronaut.read_bytes(), hopper.read_bytes())
    told = json.loads(EXAMPLES.read_text())
    if os.environ.get("RENEW_SNAPSHOTS"):
        told = {name: told[name] if shape(told.get(name)) == shape(live[name]) else live[name] for name in sorted(live)}
        EXAMPLES.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        document.cache_clear()
    assert shape(told) == shape(live), "review the change, then run this with RENEW_SNAPSHOTS=1"


def test_the_examples_are_as_the_document_says() -> None:
    api = document()
    for operation in operations_of(api):
        done = [answer for status, answer in operation["responses"].items() if status < "300"]
        kinds = [kind for answer in done for kind in answer.get("content", {}).items()]
        shown = [content for _, content in kinds if "example" in content]
        silent = "old services" in operation["tags"] or not any(name in EXEMPLARY for name, _ in kinds)
        assert shown or silent, f"{operation['operationId']} has no example: add the call to recorded(), and renew"
        for answer in (*operation["responses"].values(), operation.get("requestBody", {})):
            for content in answer.get("content", {}).values():
                if "example" in content:
                    jsonschema_rs.validate({**content["schema"], "components": api["components"]}, content["example"])


def operations_of(api: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for operations in api["paths"].values() for each in operations.values()]


def test_it_is_the_reviewed_one() -> None:
    text = json.dumps(document(), indent=2, sort_keys=True) + "\n"
    if os.environ.get("RENEW_SNAPSHOTS"):
        REVIEWED.write_text(text)
    assert text == REVIEWED.read_text(), "review the change, then run this with RENEW_SNAPSHOTS=1"


def test_the_types_of_the_javascript_client_are_made_of_it() -> None:
    made = runpy.run_path(str(REVIEWED.parents[1] / "tools" / "typescript.py"))
    text = made["declared"](json.loads(REVIEWED.read_text()))
    if os.environ.get("RENEW_SNAPSHOTS"):
        made["TYPES"].write_text(text)
    assert made["TYPES"].read_text() == text, "run tools/typescript.py"


def test_everything_is_described() -> None:
    api = document()
    tags = {tag["name"] for tag in api["tags"]}
    ids = []
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert operation["description"], path
            assert set(operation["tags"]) <= tags
            ids.append(operation["operationId"])
            parameters = operation.get("parameters", [])
            assert {one["name"] for one in parameters if one["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
            assert all(one["description"] for one in parameters)
            if method in ("post", "patch") and path.startswith("/v1/"):
                assert all("example" in kind for name, kind in bodies(operation) if name in EXEMPLARY)
            assert all("X-Request-Id" in answer["headers"] for answer in operation["responses"].values())
            if method in ("post", "patch"):
                expected = {"400", "401", "403", "408", "413", "415", "422", "429", "500", "503"}
                assert expected <= set(operation["responses"])
                assert {"bearer": []} in operation["security"]
                assert {"apiKey": []} in operation["security"]
    assert len(ids) == len(set(ids))


def bodies(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(operation.get("requestBody", {}).get("content", {}).items())


def test_references_lead_somewhere() -> None:
    api = document()
    for reference in set(_references(api)):
        node = api
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for child in node.values() for reference in _references(child)]
    return [reference for child in node for reference in _references(child)] if isinstance(node, list) else []
