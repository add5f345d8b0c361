"""The Python clients of DeepStack and CodeProject.AI, unmodified: every method of faces."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import client_python, run_client
from serving import Listening, listening, sqlite_url

from visavis import Recognizer
from visavis.config import Keys, Settings

_KEY = "a-long-key-of-the-scope-admin"
_CALLS = """
import json, sys
port, key, *paths = sys.argv[1:]
a, again, blank = (open(path, "rb").read() for path in paths)
{client}
said = [faces.get_registered_faces(), faces.detect(a), faces.recognize(a)]
said += [faces.register("Eileen Collins", a), faces.register("Eileen Collins", again), faces.recognize(again)]
said += [faces.get_registered_faces(), faces.detect(blank), faces.recognize(blank)]
try:
    faces.register("nobody", blank)
except Exception as error:
    said.append(str(error))
print(json.dumps(said))
"""
_CLIENTS = {
    "deepstack": "import deepstack.core as ds; faces = ds.DeepstackFace('127.0.0.1', port, key, timeout=60)",
    "codeproject": "import codeprojectai.core as cpai; faces = cpai.CodeProjectAIFace('127.0.0.1', port, timeout=60)",
}


@pytest.fixture
def server(request: pytest.FixtureRequest, recognizer: Recognizer, tmp_path: Path) -> Iterator[Listening]:
    keys: Keys = (("admin", _KEY),) if request.param == "deepstack" else ()  # that of CodeProject.AI sends none
    settings = Settings(port=0, dialects=("deepstack",), keys=keys, store=sqlite_url(tmp_path / "galleries.db"))
    with listening(settings, recognizer) as server:
        yield server


@pytest.fixture
def paths(astronaut: Path, astronaut_again: bytes, blank: bytes, tmp_path: Path) -> list[str]:
    files = {"again.jpg": astronaut_again, "blank.png": blank}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return [str(path) for path in (astronaut, *(tmp_path / name for name in files))]


@pytest.mark.thorough
@pytest.mark.parametrize(("server", "client"), [(name, name) for name in _CLIENTS], indirect=["server"])
def test_every_method(server: Listening, client: str, paths: list[str]) -> None:
    code = _CALLS.format(client=_CLIENTS[client])
    printed = run_client(client_python(), "-W", "ignore", "-c", code, str(server.port), _KEY, *paths)
    before, found, stranger, added, updated, known, listed, no_faces, nobody, refused = json.loads(printed)
    assert before == []
    assert len(found) == 1
    assert [face["userid"] for face in stranger] == ["unknown"]
    assert (added, updated) == ("face added", "face updated")
    assert [face["userid"] for face in known] == ["Eileen Collins"]
    assert listed == ["Eileen Collins"]
    assert (no_faces, nobody) == ([], [])
    assert "400" in refused
