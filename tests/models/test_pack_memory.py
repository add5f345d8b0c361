"""Packs that were dropped take their memory with them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 3
_MOST_GROWTH = 0.05


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much memory a process has")
@pytest.mark.parametrize("packs", [("dlib",), pytest.param((), id="all")])
def test_loading_and_dropping_packs_again_takes_no_more_memory(
    all_models: Path, astronaut: Path, tmp_path: Path, packs: tuple[str, ...]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(all_models, models)
    program = Path(__file__).with_name("pack_rounds.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISAVIS_")}
    outcome = subprocess.run(
        [sys.executable, str(program), str(models), str(tmp_path / "cache"), str(astronaut), str(ROUNDS), *packs],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "support"), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    first, *later = map(int, outcome.stdout.split())
    assert len(later) == ROUNDS - 1
    assert max(later) < first * (1 + _MOST_GROWTH)
