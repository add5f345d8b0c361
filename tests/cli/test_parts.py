"""Many photos: parts for several machines, going on after a kill, and Parquet."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from command_line import Shell

from visavis.cli.images import ImageFile, in_part
from visavis.errors import InvalidOption
from visavis.files import remove_abandoned, replacing


def names_of(lines: str) -> list[str]:
    return [json.loads(line)["file"] for line in lines.splitlines()]


@pytest.fixture
def people(tmp_path: Path, astronaut: Path, hopper: Path) -> Path:
    """A folder for each of two people, three images without a face and one that is no image."""
    folder = tmp_path / "people"
    for name, photo in (("eileen", astronaut), ("grace", hopper)):
        (folder / name).mkdir(parents=True)
        with PIL.Image.open(photo) as image:
            image.convert("RGB").resize((400, 400)).save(folder / name / "1.jpg")
            image.convert("RGB").resize((360, 360)).save(folder / name / "2.jpg")
    for number, shade in enumerate(("grey", "red", "blue")):
        PIL.Image.new("RGB", (90, 90), shade).save(folder / "grace" / f"nobody{number}.png")
    (folder / "eileen" / "text.jpg").write_text("no image")
    return folder


# --- parts -----------------------------------------------------------------------------------------------------------


def test_parts_are_stable_about_equal_and_follow_from_the_path_alone() -> None:
    def part_of(source: ImageFile, count: int = 3) -> int:
        (number,) = (number for number in range(1, count + 1) if in_part(f"{number}/{count}")(source))
        return number

    paths = [f"album {number % 7}/IMG_{number}.jpg" for number in range(3000)]
    parts = [part_of(ImageFile(f"photos/{path}", Path(path), "")) for path in paths]
    assert min(Counter(parts).values()) > 900
    # They never change: machines that share a job may have different versions.
    assert "".join(map(str, parts[:12])) == "112213121331"
    assert [part_of(ImageFile(f"/mnt/{path}", Path(path), "")) for path in paths] == parts
    # Of files given themselves, the paths as given count: many folders may have a 1.jpg.
    named = [ImageFile(f"{number}/1.jpg", Path("1.jpg"), "", is_named=True) for number in range(3000)]
    assert min(Counter(map(part_of, named)).values()) > 900
    # macOS and Linux may write one name in two ways.
    composed, decomposed = (ImageFile(name, Path(name), "") for name in ("Zo\u00eb.jpg", "Zoe\u0308.jpg"))
    assert part_of(composed, 1000) == part_of(decomposed, 1000)
    assert part_of(ImageFile("\udcff.jpg", Path("\udcff.jpg"), ""))


@pytest.mark.parametrize(
    "part", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/3 ", "1.0/3", "1/" + "9" * 5000]
)
def test_what_is_no_part(part: str) -> None:
    with pytest.raises(InvalidOption, match=r"K/N is wanted, such as 2/8, with K from 1 to N$"):
        in_part(part)


@pytest.mark.parametrize("command", ["detect", "embed"])
def test_parts_together_have_the_rows_of_one_run(cli: Shell, people: Path, command: str) -> None:
    whole = cli(command, people, "--json").out.splitlines()
    parts = [cli(command, people, "--json", "--part", f"{number}/3").out.splitlines() for number in (1, 2, 3)]
    assert sum(map(bool, parts)) > 1
    assert sorted(row for part in parts for row in part) == sorted(whole)
    (people / "eileen" / "0.png").write_bytes((people / "grace" / "nobody0.png").read_bytes())
    more = [cli(command, people, "--json", "--part", f"{number}/3").out.splitlines() for number in (1, 2, 3)]
    assert all({*before} <= {*after} for before, after in zip(parts, more, strict=True))


def test_a_part_may_be_empty(cli: Shell, people: Path) -> None:
    photo = people / "grace" / "1.jpg"
    runs = [cli("embed", photo, "--part", f"{number}/2", "-o", f"{number}.npz") for number in (1, 2)]
    assert [run.code for run in runs] == [0, 0]
    assert sorted(len(np.load(cli.folder / f"{number}.npz")["embeddings"]) for number in (1, 2)) == [0, 1]
    enrolled = [cli("enrol", photo, "--subject", "grace", "--part", f"{number}/2").code for number in (1, 2)]
    assert enrolled == [0, 0]
    assert cli("detect", photo, "--part", "3/2").code == 2


def test_parts_enrol_each_photo_once_and_name_people_as_one_run_does(cli: Shell, people: Path) -> None:
    (people / "eileen" / "text.jpg").unlink()
    whole = cli("enrol", people, "--gallery", "whole", "--json", "--allow-conflict").out
    parts = [
        cli("enrol", people, "--gallery", "parts", "--json", "--allow-conflict", "--part", f"{k}/3").out
        for k in (1, 2, 3)
    ]

    def rows(text: str) -> list[tuple[Any, ...]]:
        each = map(json.loads, text.splitlines())
        return sorted((row["file"], row["subject"], row.get("error", {}).get("code", "")) for row in each)

    assert rows("".join(parts)) == rows(whole)
    assert len(rows(whole)) == 7
    assert [json.loads(cli("gallery", "show", name, "--json").out)["samples"] for name in ("whole", "parts")] == [4, 4]


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "npz"])
def test_a_resumed_run_writes_what_a_plain_one_does(cli: Shell, people: Path, suffix: str) -> None:
    plain, resumed = (cli.folder / f"{name}.{suffix}" for name in ("plain", "resumed"))
    cli("embed", people, "-o", plain, "--quality")
    cli("embed", people, "-o", resumed, "--quality", "--resume")
    assert resumed.read_bytes() == plain.read_bytes()
    assert [path.name for path in cli.folder.iterdir() if path.name.startswith(".visavis")] == []


def test_resume_needs_a_file(cli: Shell, people: Path) -> None:
    refused = cli("embed", people, "--resume", "--json")
    assert (refused.code, refused.err) == (2, "visavis: --resume goes on with a file: say which with --output\n")


def test_what_a_killed_process_left_of_a_file_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    code = "import sys; from visavis.files import *; from pathlib import Path\n"
    code += "with replacing(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path / "faces.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert remove_abandoned(tmp_path / "faces.json")
        assert len(list(tmp_path.iterdir())) == 1
        process.kill()
        process.wait()
    assert not remove_abandoned(tmp_path / "others.json")
    assert len(list(tmp_path.iterdir())) == 1
    assert not remove_abandoned(tmp_path / "faces.json")
    assert list(tmp_path.iterdir()) == []
    with replacing(tmp_path / "faces.json") as file:
        assert remove_abandoned(tmp_path / "faces.json")
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.json"]


@pytest.fixture
def many(tmp_path: Path, astronaut: Path) -> Path:
    """150 photos, 100 of which differ, that are looked at in seconds."""
    folder = tmp_path / "many"
    folder.mkdir()
    with PIL.Image.open(astronaut) as image:
        face = image.convert("RGB").crop((130, 30, 320, 220))
    for number in range(100):
        face.rotate(number / 10, PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    for number in range(50):
        shutil.copy(folder / f"{number}.jpg", folder / f"copy {number}.jpg")
    return folder


def killed_and_resumed(command: list[str], folder: Path, kills: int, seed: int) -> int:
    """Kill a command at random moments, and let it end at last; return how often it was killed."""
    rng, killed = random.Random(seed), 0  # noqa: S311  # not for secrets
    for number in range(kills):
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(rng.uniform(0, 2 + number))
                break
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return killed


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "npz", "parquet"])
def test_killed_at_any_moment_embed_loses_no_photo_and_doubles_none(cli: Shell, many: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    visavis = [sys.executable, "-m", "visavis", "embed", str(many), "-o"]
    subprocess.run([*visavis, f"plain.{suffix}"], cwd=cli.folder, check=True, capture_output=True)
    assert killed_and_resumed([*visavis, f"resumed.{suffix}", "--resume"], cli.folder, 6, seed=len(suffix)) >= 2
    assert (cli.folder / f"resumed.{suffix}").read_bytes() == (cli.folder / f"plain.{suffix}").read_bytes()
    assert [path.name for path in cli.folder.iterdir() if path.name.startswith(".visavis")] == []


@pytest.mark.thorough
def test_killed_at_any_moment_enrol_loses_no_photo_and_doubles_none(cli: Shell, many: Path) -> None:
    command = [sys.executable, "-m", "visavis", "enrol", str(many), "--subject", "eileen", "--report", "report.csv"]
    assert killed_and_resumed(command, cli.folder, 6, seed=1) >= 2
    with (cli.folder / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(Path(row["file"]).name for row in rows) == sorted(path.name for path in many.iterdir())
    contents = {path.read_bytes() for path in many.iterdir()}
    assert len(contents) == 100
    assert json.loads(cli("gallery", "show", "default", "--json").out)["samples"] == 100  # one for each content
    assert [path.name for path in cli.folder.iterdir() if path.name.startswith(".visavis-")] == []


@pytest.mark.thorough
def test_a_command_that_runs_twice_at_the_same_time_ends_well_twice(cli: Shell, many: Path) -> None:
    command = [sys.executable, "-m", "visavis", "embed", str(many), "--resume", "-o", "faces.jsonl"]
    first, second = (subprocess.Popen(command, cwd=cli.folder, stderr=subprocess.PIPE) for _ in range(2))
    with first, second:
        told = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert names_of((cli.folder / "faces.jsonl").read_text()) == sorted(map(str, many.iterdir()))
    assert [path.name for path in cli.folder.iterdir() if path.name.startswith(".visavis")] == []


@pytest.mark.thorough
def test_a_resumed_run_does_not_look_again(cli: Shell, many: Path) -> None:
    command = [sys.executable, "-m", "visavis", "embed", str(many), "--resume", "-o", "faces.jsonl"]
    kept = cli.folder / ".visavis-index-faces.jsonl"
    with subprocess.Popen(command, cwd=cli.folder, stderr=subprocess.DEVNULL) as process:
        while not kept.exists() or looks_in(kept) < 64:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    seen = looks_in(kept)
    photos = sorted(path.name for path in many.iterdir())
    for name in photos[:60]:  # what was seen need not be read: bytes of the same number, at the same time, tell nothing
        status = (many / name).stat()
        (many / name).write_bytes(b"\0" * status.st_size)
        os.utime(many / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = cli(*command[3:])
    assert seen >= 60
    assert (again.code, names_of((cli.folder / "faces.jsonl").read_text())) == (
        0,
        [str(many / name) for name in photos],
    )


def looks_in(index: Path) -> int:
    import sqlite3  # noqa: PLC0415

    try:
        with sqlite3.connect(index, timeout=10) as connection:
            return int(connection.execute("SELECT count(*) FROM photos").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_parquet_has_a_row_for_each_face_and_one_for_each_image_without(cli: Shell, people: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli("embed", people, "-o", "faces.parquet", "--quality").code == 1
    cli("embed", people, "-o", "faces.npz", "--quality")
    table, arrays = parquet.read_table(cli.folder / "faces.parquet"), np.load(cli.folder / "faces.npz")
    rows = table.to_pylist()
    assert [Path(row["file"]).name for row in rows] == [
        *("1.jpg", "2.jpg", "text.jpg"),
        *("1.jpg", "2.jpg", "nobody0.png", "nobody1.png", "nobody2.png"),
    ]
    assert [row["face"] for row in rows] == [0, 0, None, 0, 0, None, None, None]
    assert [row["error"] for row in rows if row["error"]] == ["unsupported_format"]
    for column in ("box_xyxy", "score", "landmarks", "quality_sharpness", "embedding"):
        told = np.array([row[column] for row in rows if row["face"] is not None], np.float32)
        expected = arrays["embeddings" if column == "embedding" else column]
        np.testing.assert_array_equal(told, expected.reshape(told.shape))
        assert rows[2][column] is None
    assert cli("embed", people / "eileen" / "text.jpg", "-o", "none.parquet", "--quality").code == 1
    assert parquet.read_table(cli.folder / "none.parquet").num_rows == 1
    assert parquet.read_schema(cli.folder / "none.parquet") == table.schema


def test_parquet_takes_pyarrow(cli: Shell, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = cli("embed", people, "-o", "faces.parquet")
    assert (refused.code, refused.err) == (
        2,
        "visavis: writing Parquet takes PyArrow: pip install 'visavis[parquet]'\n",
    )
