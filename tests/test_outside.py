"""What users see is what it was: commands, names, results, formats and the HTTP API, as tests/snapshots has them.

To renew the snapshots, review what these tests tell, then: RENEW_SNAPSHOTS=1 pytest tests/test_outside.py
"""

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Shell
from outside import SNAPSHOTS, api, as_json, calls, commands, compare, console, names, results, stores
from postgres_server import PostgresServer

from visavis import Recognizer
from visavis.config import Settings
from visavis.server.app import create_app

OPENAPI = Path(__file__).with_name("openapi.json")


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_dir: Path
) -> Shell:
    """A shell where nothing is installed and nothing is kept."""
    for name, value in {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC"}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "folder"
    folder.mkdir()
    kept = {"MODELS_DIR": tmp_path / "models", "KEYS_FILE": tmp_path / "keys.db", "CACHE_DIR": cache_dir}
    return Shell(capsys, monkeypatch, folder, {f"VISAVIS_{name}": str(value) for name, value in kept.items()})


def kept_in(folder: str) -> set[str]:
    return {path.stem for path in (SNAPSHOTS / folder).iterdir()}


def file_name(name: str) -> str:
    return "-".join(re.findall(r"\w+", name))


# --- commands -------------------------------------------------------------------------------------------------------


def test_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    described = commands.described()
    for name, text in described.items():
        compare(f"commands/{file_name(name)}.txt", text)
    assert kept_in("commands") == set(map(file_name, described))


@pytest.mark.parametrize("story", console.STORIES, ids=lambda story: story.__name__)
def test_console(story: console.Story, shell: Shell) -> None:
    transcript = console.Transcript(shell)
    story(transcript)
    compare(f"console/{story.__name__}.txt", transcript.text)


def test_console_with_faces(shell: Shell, recognizer: Recognizer, astronaut: Path, hopper: Path) -> None:
    assert recognizer.embed(astronaut)  # so that models are converted already, which a command would tell
    transcript = console.Transcript(shell)
    console.faces(transcript, astronaut, hopper)
    compare("console/faces.txt", transcript.text)


# --- names and results ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the types are written as Python 3.11 writes them")
def test_names() -> None:
    compare("names.txt", names.names())


def test_errors() -> None:
    compare("errors.txt", names.errors())


def test_results() -> None:
    told = results.told()
    for name, text in told.items():
        compare(f"results/{name}.txt", text)
    assert kept_in("results") == set(told)


def test_clients_ask_as_ever_and_read_what_they_are_told() -> None:
    told = []
    for name, (act, answer, expected) in calls.calls().items():
        requests, found, requests_async, found_async = calls.made(act, answer)
        texts = list(map(calls.request_text, requests))
        assert texts == list(map(calls.request_text, requests_async)), name
        assert calls.plain(found) == calls.plain(expected), name
        assert calls.plain(found_async) == calls.plain(expected), name
        told += [f"# {name}", *texts, ""]
    compare("calls.txt", "\n".join(told))


# --- formats --------------------------------------------------------------------------------------------------------


def test_sqlite(tmp_path: Path) -> None:
    stores.fill(f"sqlite:///{tmp_path}/galleries.db")
    compare("sqlite.txt", stores.sqlite(tmp_path / "galleries.db"))


def test_postgres(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        stores.fill(url)
        compare("postgres.txt", stores.postgres(postgres_server, url))


def test_the_file_of_keys(shell: Shell) -> None:
    assert shell("keys", "create", "--name", "door", "--scope", "read").code == 0
    compare("keys.txt", stores.sqlite(shell.folder.parent / "keys.db", rows=()))


# --- the HTTP API ---------------------------------------------------------------------------------------------------


def test_api() -> None:
    shape = api.shape(create_app(Settings()).openapi())
    for name, part in shape.items():
        compare(f"api/{file_name(name)}.json", as_json(part))
    assert kept_in("api") == set(map(file_name, shape))


def test_words_and_names_of_schemas_do_not_count() -> None:
    document = json.loads(OPENAPI.read_text())
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        text = text.replace(f'#/components/schemas/{name}"', f'#/components/schemas/X{name}"')
    other = json.loads(text)
    other["components"]["schemas"] = {f"X{name}": value for name, value in other["components"]["schemas"].items()}
    for operation in (one for item in other["paths"].values() for one in item.values()):
        operation["summary"] = operation["description"] = "other words"
    for schema in other["components"]["schemas"].values():
        schema["title"] = schema["description"] = "other words"
    assert api.shape(other) == api.shape(document)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["null", "string"]}),
        ({"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0}]}, {"type": ["number", "null"], "minimum": 0}),
        (
            {"type": ["string", "null"], "enum": ["a", None]},
            {"anyOf": [{"enum": ["a"], "type": "string"}, {"type": "null"}]},
        ),
        (
            {"type": ["string", "number"], "minimum": 1},
            {"anyOf": [{"type": "number", "minimum": 1}, {"type": "string"}]},
        ),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"], "title": "Letters"}),
        ({"oneOf": [{"type": "string"}, {"type": "number"}]}, {"anyOf": [{"type": "number"}, {"type": "string"}]}),
        ({"allOf": [{"$ref": "#/components/schemas/A"}], "default": None}, {"$ref": "#/components/schemas/B"}),
        (
            {"type": "object", "required": ["a", "b"]},
            {"type": "object", "required": ["b", "a"], "additionalProperties": True},
        ),
    ],
)
def test_two_ways_to_say_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert api.shape(document_with(one)) == api.shape(document_with(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"type": "string"}, {"type": ["string", "null"]}),
        ({"type": "number", "minimum": 0}, {"type": "number", "exclusiveMinimum": 0}),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}),
        ({"type": "object", "properties": {"title": {}}}, {"type": "object", "properties": {"summary": {}}}),
        ({"type": "object", "required": ["a"]}, {"type": "object"}),
        ({"type": "object"}, {"type": "object", "additionalProperties": False}),
        ({"type": "integer", "default": 5}, {"type": "integer", "default": 6}),
        ({"type": "array", "maxItems": 3}, {"type": "array"}),
    ],
)
def test_what_is_not_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert api.shape(document_with(one)) != api.shape(document_with(other))


def document_with(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose only operation takes that."""
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    answers = {"200": {"description": "words"}}
    string = {"type": "string", "title": "A"}
    return {
        "paths": {"/": {"post": {"operationId": "post", "requestBody": body, "responses": answers}}},
        "components": {"schemas": {"A": string, "B": copy.deepcopy(string)}},
    }
