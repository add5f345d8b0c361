"""The JavaScript client: its own tests, run by Node against a server; its types."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from serving import listening, sqlite_url

from visavis import Recognizer
from visavis.config import Settings

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js"
ADMIN = "admin-secret-0123456789abcdef"
OLDEST_NODE = 20


def test_its_tests(recognizer: Recognizer, tmp_path: Path, astronaut: Path, hopper: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node here")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    if int(version.strip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node is {version.strip()}; the client needs {OLDEST_NODE}")
    settings = Settings(
        port=0,
        auth="on",
        keys=(("admin", ADMIN),),
        store=sqlite_url(tmp_path / "galleries.db"),
        fetch_allow=("127.0.0.1",),
    )
    with listening(settings, recognizer) as server:
        environment = {
            "VISAVIS_URL": f"http://127.0.0.1:{server.port}",
            "VISAVIS_KEY": ADMIN,
            "ASTRONAUT": str(astronaut),
            "HOPPER": str(hopper),
        }
        ran = subprocess.run(
            [node, "--test", "test/client.test.js"],
            check=False,
            cwd=CLIENT,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "# pass 11" in ran.stdout  # they ran, and none was skipped


@pytest.mark.thorough
def test_its_types_hold() -> None:
    npm = shutil.which("npm")
    compiler = [npm or "npm", "exec", "--yes", "--package=typescript@5", "--", "tsc"]
    if npm is None or subprocess.run([*compiler, "--version"], check=False, capture_output=True).returncode:
        pytest.skip("there is no TypeScript to be had")
    ran = subprocess.run([*compiler, "-p", "test"], check=False, cwd=CLIENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
