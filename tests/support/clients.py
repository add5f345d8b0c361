"""Clients of other services, as ``make clients`` installs them: in processes of their own."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / ".venv-clients"
_PATIENCE_S = 120


def client_python() -> str:
    """Return the Python that has boto3, compreface-sdk and others; skip the test where there is none."""
    return _there(".python", "bin/python")


def client_command(name: str) -> str:
    """Return a command of theirs, such as ``aws``; skip the test where there is none."""
    return _there(".python", f"bin/{name}")


def node_modules() -> Path:
    """Return the folder of the JavaScript clients; skip the test where there is none."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    return Path(_there(".node", "node_modules"))


def run_client(*command: str, text: str | None = None, **environment: str) -> str:
    """Run a client and return what it printed; a failure is the test's."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    given = {"env": {**kept, **environment}, "input": text, "timeout": _PATIENCE_S}
    process = subprocess.run(command, capture_output=True, text=True, check=False, **given)  # type: ignore[call-overload]
    assert process.returncode == 0, process.stderr
    printed: str = process.stdout
    return printed


def _there(stamp: str, part: str) -> str:
    if not ((_FOLDER / stamp).is_file() and (_FOLDER / part).exists()):
        pytest.skip("clients of other services are not installed: make clients")
    return str(_FOLDER / part)
