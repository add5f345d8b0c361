"""``visavis models`` and its commands, as a user types them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Outcome, Shell
from model_server import ModelServer, model_server, status
from tiny_packs import file_of, pack_of, sha256, some_bytes, some_hdf5

from visavis.core.decide import Calibration, ErrorRates, OperatingPoint
from visavis.models.catalogue import DLIB, OPEN, PACKS, SFACE
from visavis.models.installation import Measured, calibration_path
from visavis.models.packs import Pack

ROOT = Path(__file__).parents[2]
FIRST, SECOND = some_bytes(30_000), some_hdf5(20_000, 1)
TINY = pack_of("tiny", file_of("first.onnx", FIRST), file_of("second.onnx", SECOND))
OLD = pack_of("old", file_of("first.onnx", FIRST), file_of("second.h5", SECOND, published=False))
RESEARCH = pack_of("research", file_of("third.onnx", FIRST[:99], licence="research only"), commercial=False)
LIMIT_S = 60


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        running.files = {"first.onnx": FIRST, "second.onnx": SECOND, "second.h5": SECOND, "third.onnx": FIRST[:99]}
        yield running


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ModelServer
) -> Shell:
    """A shell with three more packs, a mirror of them, and an empty folder for models."""
    for pack in (TINY, OLD, RESEARCH):
        monkeypatch.setitem(PACKS, pack.name, pack)
    settings = {"VISAVIS_MODELS_DIR": str(tmp_path / "models"), "VISAVIS_MIRROR": server.url}
    return Shell(capsys, monkeypatch, tmp_path, settings)


def files_in(shell: Shell) -> set[str]:
    return {path.name for path in (shell.folder / "models" / "files").glob("*")}


def listed(shell: Shell, *options: str) -> dict[str, dict[str, object]]:
    return {pack["name"]: pack for pack in json.loads(shell("models", "list", "--json", *options).out)}


# --- list and show


def test_without_a_command_packs_are_listed(shell: Shell) -> None:
    assert shell("models").out == shell("models", "list").out
    assert shell("models", "--json").out == shell("models", "list", "--json").out


def test_list(shell: Shell) -> None:
    lines = shell("models", "list").out.splitlines()
    assert lines[0].split("  ")[0] == "pack"
    (default,) = [line for line in lines if "(default)" in line]
    assert re.split(r"  +", default)[:6] == ["sface (default)", "128", "yes", "none", "yes", "10.8 MB"]
    packs = listed(shell)
    assert packs["tiny"]["installed"] == "no"
    assert packs["tiny"]["size"] == len(FIRST) + len(SECOND)
    assert packs["old"]["size"] is None
    assert set(listed(shell, "--commercial")) == {name for name, pack in PACKS.items() if pack.commercial_use}


def test_list_tells_what_is_here(shell: Shell) -> None:
    shell("models", "pull", "old")
    packs = listed(shell)
    assert [packs[name]["installed"] for name in ("old", "tiny", "research")] == ["yes", "partly", "no"]
    assert packs["old"]["files"][1]["sha256"] == sha256(SECOND)  # type: ignore[index]  # JSON


def test_list_tells_which_optional_parts_are_here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    live, pose = file_of("third.onnx", FIRST[:99]), file_of("fourth.onnx", FIRST[:9])
    monkeypatch.setitem(PACKS, "tiny", pack_of("tiny", *TINY.files, live=(live,), optional=(pose,)))

    def shown() -> tuple[str, str]:
        (line,) = [line for line in shell("models", "list").out.splitlines() if line.startswith("tiny ")]
        cells = re.split(r"  +", line)
        return cells[2], cells[3]

    assert shown() == ("no", "none")
    shell("models", "pull", "tiny", "--with", "none")
    assert shown() == ("yes", "none")
    shell("models", "pull", "tiny", "--with", "liveness")
    assert shown() == ("yes", "liveness")
    (shell.folder / "models" / "files" / "fourth.onnx").write_bytes(FIRST[:9])
    assert shown() == ("yes", "all")


@pytest.mark.parametrize("pack", PACKS.values(), ids=lambda pack: pack.name)
def test_show_tells_all(shell: Shell, pack: Pack) -> None:
    text = shell("models", "show", pack.name).out
    for part in (*pack.parts, *pack.optional):
        assert part.training_data in text
        for file in part.files:
            assert file.name in text
            assert file.licence in text
            assert file.origin in text
            assert (file.sha256 or "none published") in text
    assert f"{pack.dimension} numbers" in text
    plain = json.loads(shell("models", "show", pack.name, "--json").out)
    assert plain["threshold"] == pack.threshold
    assert len(plain["parts"]) == len(pack.parts) + len(pack.optional)


def test_show_tells_error_rates_and_who_measured_them(shell: Shell) -> None:
    points = (OperatingPoint(1e-3, 0.5, 0.4, 0.6), OperatingPoint(1e-2, 0.6, 0.55, 0.65))
    measured = Measured(Calibration(0.61, 20.0, "our staff"), ErrorRates(points, "our staff, 900 pairs"))
    assert "visavis calibrate" in shell("models", "show", "tiny").out
    path = calibration_path(TINY, shell.folder / "models")
    path.parent.mkdir(parents=True)
    path.write_text(measured.to_json())
    text = shell("models", "show", "tiny").out
    assert re.search(r"calibrated here +yes", text)
    assert "our staff, 900 pairs" in text
    assert re.search(r"FMR 0\.001, balanced +0\.5 \(0\.4 to 0\.6\)", text)
    assert json.loads(shell("models", "show", "tiny", "--json").out)["rates"]["points"][0]["fmr"] == 1e-3


def test_show_tells_pins(shell: Shell) -> None:
    assert "none published; pinned when it is first pulled" in shell("models", "show", "old").out
    shell("models", "pull", "old")
    assert f"{sha256(SECOND)} (pinned here)" in shell("models", "show", "old").out
    assert f"{sha256(FIRST)} (published)" in shell("models", "show", "old").out


@pytest.mark.parametrize("command", ["show", "pull", "remove", "verify"])
def test_a_pack_that_there_is_not(shell: Shell, command: str) -> None:
    outcome = shell("models", command, "tinny")
    assert outcome.code == 2
    assert "there is no pack 'tinny'; did you mean tiny?" in outcome.err
    assert "choose one of: dlib, dlib-cosine, open, sface" in shell("models", command, "\0").err


def test_a_command_that_there_is_not(shell: Shell) -> None:
    assert shell("models", "delete").code == 2


@pytest.mark.parametrize("command", ["list", "show", "pull", "import", "verify", "remove"])
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    outcome = shell("models", command, "-h")
    assert outcome.out.startswith(f"Usage: visavis models {command} ")
    assert (outcome.code, outcome.err) == (0, "")


# --- pull


def test_pull(shell: Shell) -> None:
    outcome = shell("models", "pull", "tiny", "old")
    assert outcome.code == 0
    assert f"first.onnx: fetched, SHA-256 {sha256(FIRST)} (as published)\n" in outcome.out
    assert f"second.h5: fetched, SHA-256 {sha256(SECOND)} (pinned here)\n" in outcome.out
    assert outcome.out.count("first.onnx") == 1
    assert "first.onnx: from http://127.0.0.1:" in outcome.err
    assert files_in(shell) == {"first.onnx", "second.onnx", "second.h5"}
    again = shell("models", "pull", "tiny")
    assert "here already" in again.out
    assert again.err == ""


def test_pull_quietly_and_as_json(shell: Shell) -> None:
    outcome = shell("models", "pull", "tiny", "-q", "--json")
    assert outcome.err == ""
    assert [(file["name"], file["new"], file["pinned"]) for file in json.loads(outcome.out)] == [
        ("first.onnx", True, False),
        ("second.onnx", True, False),
    ]


def test_pull_the_default_pack(shell: Shell) -> None:
    outcome = shell("models", "pull", "dlib")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "nothing to fetch: what is asked for comes with PyPI packages, and is here\n"
    assert json.loads(shell("models", "pull", "dlib", "--json").out) == []


def test_pull_that_fails(shell: Shell, server: ModelServer) -> None:
    server.answers.append(status(404))
    outcome = shell("models", "pull", "tiny")
    assert (outcome.code, outcome.out) == (2, "")
    assert "first.onnx could not be fetched from http://127.0.0.1:" in outcome.err
    assert "visavis models import" in outcome.err
    assert files_in(shell) == set()


@pytest.mark.parametrize(
    ("option", "expected"),
    [("all", {"third.onnx"}), ("none", set()), ("pose", {"third.onnx"}), (" pose , pose ", {"third.onnx"})],
)
def test_pull_optional_parts(shell: Shell, monkeypatch: pytest.MonkeyPatch, option: str, expected: set[str]) -> None:
    optional = (file_of("third.onnx", FIRST[:99]),)
    monkeypatch.setitem(PACKS, "tiny", pack_of("tiny", *TINY.files, optional=optional))
    assert shell("models", "pull", "tiny", "--with", option).code == 0
    assert files_in(shell) == {"first.onnx", "second.onnx"} | expected


def test_a_pack_that_fails_takes_nothing_back_of_those_before(shell: Shell, server: ModelServer) -> None:
    del server.files["third.onnx"]
    options = ("tiny", "research", "--accept-licence")
    outcome = shell("models", "pull", *options)
    assert outcome.code == 2
    assert {line.split(":")[0] for line in outcome.out.splitlines()} == {"first.onnx", "second.onnx"}
    assert "visavis: third.onnx could not be fetched" in outcome.err
    outcome = shell("models", "pull", *options, "--json")
    assert outcome.code == 2
    assert {file["name"] for file in json.loads(outcome.out)} == {"first.onnx", "second.onnx"}


@pytest.mark.parametrize("options", [(), ("--with", "pose")])
def test_pull_without_an_optional_part(shell: Shell, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    monkeypatch.setitem(PACKS, "tiny", pack_of("tiny", *TINY.files, optional=(file_of("none.onnx", b"x"),)))
    outcome = shell("models", "pull", "tiny", "old")
    assert outcome.code == 1
    assert {line.split(":")[0] for line in outcome.out.splitlines()} == {"first.onnx", "second.onnx", "second.h5"}
    assert "visavis: the pack 'tiny' works, but without pose: none.onnx could not be fetched from http" in outcome.err
    assert "--mirror" not in outcome.err
    outcome = shell("models", "pull", "tiny", "--json", *options)
    assert outcome.code == 1
    files = json.loads(outcome.out)
    assert [(file["name"], file["size"], file["new"]) for file in files] == [
        ("first.onnx", len(FIRST), False),
        ("second.onnx", len(SECOND), False),
        ("none.onnx", None, False),
    ]
    assert [file["error"] and file["error"]["code"] for file in files] == [None, None, "pull_failed"]
    assert shell("models", "pull", "tiny", "--with", "none").code == 0


@pytest.mark.parametrize("option", ["nonsense", ",", "", "liveness,nonsense"])
def test_pull_optional_parts_that_there_are_not(shell: Shell, option: str) -> None:
    outcome = shell("models", "pull", "tiny", "--with", option)
    assert outcome.code == 2
    assert "optional part" in outcome.err or "--with takes" in outcome.err
    assert files_in(shell) == set()


def test_pull_needs_a_name(shell: Shell) -> None:
    assert shell("models", "pull").code == 2


@pytest.mark.parametrize("option", ["--mirror", "--proxy"])
def test_pull_from_no_address(shell: Shell, option: str) -> None:
    outcome = shell("models", "pull", "tiny", option, "nonsense")
    assert (outcome.code, files_in(shell)) == (2, set())
    assert f"the {option.removeprefix('--')} must be a URL" in outcome.err


def test_pull_through_a_proxy(shell: Shell, server: ModelServer) -> None:
    shell("models", "pull", "tiny", "--mirror", "http://models.example.com", "--proxy", server.url)
    assert server.requests[0][0] == "http://models.example.com/first.onnx"
    assert files_in(shell) == {"first.onnx", "second.onnx"}


def test_a_licence(shell: Shell, server: ModelServer) -> None:
    outcome = shell("models", "pull", "research")
    assert outcome.code == 2
    assert "its licence is research only" in outcome.err
    assert "--accept-licence" in outcome.err
    assert server.requests == []
    assert shell("models", "pull", "research", "--accept-licence").code == 0
    shell("models", "remove", "research")
    assert shell("models", "pull", "research").code == 0  # asked only once


# --- import, verify, remove


def test_import(shell: Shell) -> None:
    (shell.folder / "stick").mkdir()
    (shell.folder / "stick" / "a.bin").write_bytes(FIRST)
    (shell.folder / "second.h5").write_bytes(SECOND)
    outcome = shell("models", "import", "stick", "second.h5")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [f"{Path('stick', 'a.bin')}: first.onnx", "second.h5: second.onnx"]
    # It is by its hash what the name says that it is not: both.
    assert shell("models", "import", "second.h5", "--as", "second.h5").code == 0
    assert files_in(shell) == {"first.onnx", "second.onnx", "second.h5"}


def test_import_of_some(shell: Shell) -> None:
    (shell.folder / "a").write_bytes(FIRST)
    (shell.folder / "b").write_bytes(b"anything")
    (shell.folder / "c").write_bytes(FIRST[:99])
    outcome = shell("models", "import", "a", "b", "c")
    assert outcome.code == 1
    assert outcome.out == "a: first.onnx\n"
    assert "b is no file of any pack" in outcome.err
    assert "--accept-licence" in outcome.err
    outcome = shell("models", "import", "b", "none", "--json")
    assert outcome.code == 2
    assert [result["error"]["code"] for result in json.loads(outcome.out)] == ["invalid_option"] * 2
    assert shell("models", "import", "c", "--accept-licence").code == 0
    assert shell("models", "import").code == 2


def test_import_of_another_kind_of_file(shell: Shell) -> None:
    (shell.folder / "second.h5").write_bytes(FIRST[:99] + b"!")
    outcome = shell("models", "import", "second.h5")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "visavis: second.h5 is not the second.h5 that visavis knows: it is no HDF5 file\n"
    assert listed(shell)["old"]["installed"] == "no"


def test_verify(shell: Shell) -> None:
    outcome = shell("models", "verify")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [f"{file.name}: well" for file in (*DLIB.files, *SFACE.files)]
    assert shell("models", "verify", "tiny").code == 1
    shell("models", "pull", "tiny")
    assert shell("models", "verify", "tiny").code == 0
    (shell.folder / "models" / "files" / "second.onnx").write_bytes(b"")
    outcome = shell("models", "verify", "tiny")
    assert outcome.code == 1
    assert "first.onnx: well\nsecond.onnx: its SHA-256 is " in outcome.out
    second = json.loads(shell("models", "verify", "--json").out)[-1]
    assert (second["name"], second["size"]) == ("second.onnx", 0)
    assert "instead of" in second["fault"]


def test_remove(shell: Shell) -> None:
    shell("models", "pull", "tiny", "old")
    outcome = shell("models", "remove", "old", "--dry-run", "--unpin")
    assert outcome.out.splitlines() == [
        "second.h5: would be deleted",
        "first.onnx: kept, for the pack tiny",
        "second.h5: its pinned hash would be forgotten",
        "20 kB would be freed",
    ]
    outcome = shell("models", "remove", "old")
    assert outcome.out.splitlines() == ["second.h5: deleted", "first.onnx: kept, for the pack tiny", "20 kB freed"]
    assert files_in(shell) == {"first.onnx", "second.onnx"}
    removal = json.loads(shell("models", "remove", "tiny", "--json").out)
    assert removal["freed"] == len(FIRST) + len(SECOND)
    assert files_in(shell) == set()
    outcome = shell("models", "remove", "tiny")
    assert (outcome.code, outcome.out) == (0, "the pack 'tiny' is not installed: nothing to delete\n")
    assert json.loads(shell("models", "remove", "tiny", "old", "--json").out)["absent"] == ["tiny", "old"]
    shell("models", "pull", "tiny")
    assert shell("models", "remove", "tiny", "research", "--dry-run").out.splitlines() == [
        "the pack 'research' is not installed: nothing to delete",
        "first.onnx: would be deleted",
        "second.onnx: would be deleted",
        "50 kB would be freed",
    ]


def test_remove_the_default_pack(shell: Shell) -> None:
    outcome = shell("models", "remove", "dlib")
    assert outcome.code == 2
    assert "comes with the PyPI package face_recognition_models" in outcome.err


def test_damaged_pins_are_told_by_all(shell: Shell) -> None:
    (shell.folder / "models").mkdir()
    (shell.folder / "models" / "pins.json").write_text("{")
    for command in (["list"], ["show", "old"], ["pull", "old"], ["verify"], ["remove", "old"]):
        outcome = shell("models", *command)
        assert outcome.code == 2
        assert "pins.json cannot be read" in outcome.err


# --- real processes


def visavis(folder: Path, *arguments: object, settings: Mapping[str, str] | None = None) -> Outcome:
    environment = {**os.environ, "VISAVIS_MODELS_DIR": str(folder), **(settings or {})}
    command = [sys.executable, "-m", "visavis", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=LIMIT_S)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.thorough
def test_the_real_pack(test_data: Path, tmp_path: Path, server: ModelServer, hopper: Path, astronaut: Path) -> None:
    server.files = {
        path.name: path.read_bytes()
        for path in (test_data / "models").rglob("*")
        if path.is_file() and "INT8" not in str(path)
    }
    missing = visavis(tmp_path, "verify", hopper, astronaut, settings={"VISAVIS_PACK": "open"})
    assert missing.code == 2
    assert "the pack 'open' is not installed" in missing.err
    assert "visavis models pull open" in missing.err
    pulled = visavis(tmp_path, "models", "pull", "open", "--with", "liveness,pose", "--mirror", server.url)
    assert pulled.code == 0, pulled.err
    # No network from here on: any attempt would end at a port where nobody is.
    offline = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    for command in ("list", "show open", "verify open", "pull open --with pose"):
        assert visavis(tmp_path, "models", *command.split(), settings=offline).code == 0
    answer = visavis(tmp_path, "verify", hopper, astronaut, settings={"VISAVIS_PACK": "open", **offline})
    assert answer.code == 1
    assert answer.out.startswith("No\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("answer", "accepted"), [("n", False), ("y", True)])
def test_somebody_at_a_terminal_is_asked(tmp_path: Path, server: ModelServer, answer: str, *, accepted: bool) -> None:
    import pty  # noqa: PLC0415  # not everywhere

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "visavis", "models", "pull", "buffalo_s", "--mirror", server.url]
    environment = {**os.environ, "VISAVIS_MODELS_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        with suppress(OSError):  # by which Linux tells that the other side is closed
            while said != (said := said + os.read(ours, 1000)):
                pass
        code = process.wait(LIMIT_S)
    os.close(ours)
    assert b"Do you accept it? [y/N]" in said
    assert b"\x1b[?25l" not in said.partition(b"Do you accept it?")[0]  # the cursor is not hidden
    assert code == 2  # not accepted, or then not to be had
    assert (b"buffalo_sc.zip could not be fetched" in said) == accepted
    assert (tmp_path / "licences.json").exists() == accepted


# --- what the documentation says


def rows_of_the_documentation() -> dict[str, list[str]]:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| pack \|.*?\n\n", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def row_of(pack: Pack) -> list[str]:
    licences = ", ".join(dict.fromkeys(file.licence for file in pack.files))
    return [str(pack.dimension), pack.metric, licences, "yes" if pack.commercial_use else "no"]


def test_the_documentation_has_every_pack() -> None:
    ours = {name: row[:4] for name, row in rows_of_the_documentation().items()}
    expected = {pack.name: row_of(pack) for pack in PACKS.values()}
    lines = "\n".join(f"| `{name}` | {' | '.join(row)} |" for name, row in expected.items())
    assert ours == expected, f"the table in docs/models.md should begin with:\n{lines}"


def test_names_are_unique_in_the_catalogue_and_fit_for_files() -> None:
    files = [file for pack in PACKS.values() for file in (*pack.files, *pack.optional_files)]
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", file.name)
        assert {other for other in files if other.name.lower() == file.name.lower()} == {file}
        sources = [bool(file.package or file.url), bool(file.archive)]
        assert sources.count(True) == 1
        assert replace(file, sha256=None) != file or not file.package
    assert OPEN.commercial_use
