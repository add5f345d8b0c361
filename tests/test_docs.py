"""The Python blocks of the README and the docs run as they stand, in a folder with two portraits."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

import visavis.models.recognizer

ROOT = Path(__file__).parents[1]
# What only runs with the models of another pack than the default one.
PULLED = 'Recognizer("open")'
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Path, hopper: Path) -> Path:
    """Where the blocks run: it has two portraits."""
    shutil.copy(astronaut, tmp_path / "astronaut.png")
    shutil.copy(hopper, tmp_path / "hopper.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks(page: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    if any(PULLED in block for block in blocks):
        models_dir = request.getfixturevalue("all_models")  # which skips where there is no test data
        monkeypatch.setattr(visavis.models.recognizer, "default_models_dir", lambda: models_dir)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)  # noqa: S102  # our own documentation


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_tell_what_is_declared(page: Path) -> None:
    renewed = runpy.run_path(str(ROOT / "tools" / "tables.py"))["renewed"]
    assert renewed(page.read_text()) == page.read_text(), "run tools/tables.py"
