"""The OpenAPI document is the one that was reviewed: tests/openapi.json."""

import json
import os
import re
import runpy
from pathlib import Path
from typing import Any

from visavis.config import Settings
from visavis.server.app import create_app

EXEMPLARY = ("application/json", "application/x-ndjson")  # whose bodies have an example
REVIEWED = Path(__file__).with_name("openapi.json")


def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


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
