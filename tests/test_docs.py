"""README and docs do what they say: every block runs as it stands, in a folder with photos, and a second time.

A block that cannot run in a test has a comment before it, which no reader sees: ``<!-- not run: needs Docker -->``.
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
from certificates import make_certificate
from effort import effort, scaled
from pages import Block, Reader, blocks_of, commands_of, environment, lacks, same

from visavis.models.installation import FILES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STAFF = 100  # people whose photos thresholds are measured on
RUN = ("python", "console", "js")
SHOWN = ("text", "json", "yaml", "nginx", "caddyfile", "diff", "csv")
NEEDS_OPEN = re.compile(r"""--pack open|PACK=open|pull open|Recognizer\("open""")
REASONS = (
    "downloads models",
    "installs packages",
    "from then on each call needs a key",
    "needs Docker",
    "needs Nextcloud",
    "needs PostgreSQL",
    "needs a name and a certificate that others trust",
)
BLOCKS = {page: blocks_of(page) for page in PAGES}
NOT_RUN = [block for blocks in BLOCKS.values() for block in blocks if block.not_run]
# Those that start programs take long; the first of all is read in every run all the same, once.
FIRST = ROOT / "README.md"
TO_RUN = {page: {block.language for block in blocks if not block.not_run} & set(RUN) for page, blocks in BLOCKS.items()}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, hopper: Path, astronaut_again: bytes) -> Path:
    """The files that pages speak of."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copy(astronaut, folder / "astronaut.png")
    shutil.copy(hopper, folder / "hopper.jpg")
    with PIL.Image.open(astronaut) as collins, PIL.Image.open(hopper) as grace:
        party = PIL.Image.new("RGB", (1024, 600), "white")
        party.paste(collins, (0, 0))
        party.paste(grace, (512, 0))
        party.save(folder / "party.jpg", quality=95)
        grace.rotate(8).crop((60, 30, 460, 480)).save(folder / "again.jpg", quality=80)
        collins.convert("RGB").save(folder / "passport.jpg", quality=95)
        collins.crop((300, 300, 500, 500)).convert("RGB").save(folder / "wall.png")
    (folder / "selfie.jpg").write_bytes(astronaut_again)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "visavis-client").symlink_to(ROOT / "clients" / "js")
    for name, source in {
        "people/eileen-collins/1.jpg": "passport.jpg",
        "people/eileen-collins/2.jpg": "selfie.jpg",
        "people/grace-hopper/1.jpg": "hopper.jpg",
        "people/grace-hopper/2.jpg": "again.jpg",
        "people/grace-hopper/wall.png": "wall.png",
        "photos/2024/party.jpg": "party.jpg",
        "photos/2024/passport.jpg": "passport.jpg",
        "photos/2025/hopper.jpg": "again.jpg",
        "photos/2025/wall.png": "wall.png",
        "door.jpg": "selfie.jpg",
        "a.jpg": "passport.jpg",
        "b.jpg": "hopper.jpg",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / source, folder / name)
    (folder / "pairs.csv").write_text(
        "file_a,file_b,same\n2024/party.jpg,2024/passport.jpg,0\n2024/party.jpg,2025/hopper.jpg,1\n"
    )
    make_certificate(folder / "fullchain.pem")
    (folder / "fullchain.key").rename(folder / "privkey.pem")
    return folder


@pytest.fixture
def reader(photos: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Somebody whose home is empty, but for converted models, in a folder with photos."""
    home = tmp_path / "home"
    set_ = environment(home)
    (home / ".cache").mkdir()
    (home / ".cache" / "visavis").symlink_to(cache_dir)
    folder = shutil.copytree(photos, tmp_path / "folder", symlinks=True)
    monkeypatch.chdir(folder)
    for name in os.environ.keys() - set_.keys():
        monkeypatch.delenv(name)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    reader = Reader(folder, set_)
    yield reader
    reader.leave()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(FIRST, marks=[scaled, pytest.mark.thorough]),
        *(
            pytest.param(page, marks=[] if languages == {"python"} else pytest.mark.thorough)
            for page, languages in TO_RUN.items()
            if languages and page != FIRST
        ),
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_blocks_run_twice(page: Path, reader: Reader, request: pytest.FixtureRequest) -> None:
    blocks = BLOCKS[page]
    to_run = [block for block in blocks if block.language in RUN and not block.not_run]
    left_out = {block: missing for block in to_run if (missing := lacks(block))}
    blocks = [block for block in blocks if block not in left_out]
    code = "".join(block.text for block in to_run)
    # These skip where there is no test data.
    if NEEDS_OPEN.search(code):
        models = request.getfixturevalue("all_models")
        shutil.copytree(models, Path(reader.environment["HOME"], ".local", "share", "visavis", "models"))
    if "stick/" in code:
        shutil.copytree(request.getfixturevalue("open_models") / FILES, reader.folder / "stick")
    if "staff/" in code:
        everybody = request.getfixturevalue("test_data") / "lfw-fold1" / "images"
        for person in sorted(everybody.iterdir())[:STAFF]:
            shutil.copytree(person, reader.folder / "staff" / person.name)
    reader.read(blocks)
    if page != FIRST or effort(quick=False, thorough=True):
        reader.names.clear()
        reader.read(blocks, again=True)
    if left_out:
        pytest.skip(f"run without what is missing here: {', '.join(set(left_out.values()))}")


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_blocks_that_cannot_run(block: Block) -> None:
    assert block.not_run in REASONS
    pytest.skip(block.not_run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_what_they_say(page: Path) -> None:
    for block in BLOCKS[page]:
        assert block.language in RUN + SHOWN, f"{block}: {block.language or 'it is indented: use a fence'}"
        if block.language == "console":
            assert block.text.startswith("$ "), block
        elif block.language == "json" and "..." not in block.text:
            json.loads(block.text)


def test_a_page_is_told_from_what_is_printed() -> None:
    assert same("No\ndistance  0.69", "No\ndistance     0.7\n")
    assert not same("No", "Yes")
    assert not same("No", "No\nand more")
    assert same('{"a": [1, ...],\n "b": "x"}', '{"a":[0.5,-2,3e-5],"b":"x"}')
    assert not same('{"a": 1}', '{"a":null}')
    typed = [command.text for command in commands_of("$ a \\\n  b\nprinted\n$ c <<END\nd\nEND\n$ e\n")]
    assert typed == ["a \\\n  b", "c <<END\nd\nEND", "e"]


def test_keys_are_made_by_commands_that_there_are() -> None:
    named = {word for page in PAGES for word in re.findall(r"visavis keys ([a-z]+)", page.read_text("utf-8"))}
    assert named <= {"create", "list", "revoke"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_tell_what_is_declared(page: Path) -> None:
    renewed = runpy.run_path(str(ROOT / "tools" / "tables.py"))["renewed"]
    assert renewed(page.read_text()) == page.read_text(), "run tools/tables.py"


@pytest.mark.thorough
def test_site_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr  # links, anchors and docstrings too: mkdocs.yml is strict
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = re.findall(
            r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?((?:\w+:)?//[^"' >]*)""", page.read_text()
        )
        assert loaded == [], page
    reference = (tmp_path / "site" / "reference" / "python" / "index.html").read_text()
    assert 'id="visavis.models.recognizer.Recognizer.verify"' in reference
    assert "false match rate" in reference.lower()  # an option's text, which the class tells only when it runs
