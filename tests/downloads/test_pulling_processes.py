"""Pulling in processes of their own: two at once, one that is killed, and disks that are full."""

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from model_server import ModelServer, chunked, model_server, serve, stall_after
from tiny_packs import sha256, some_bytes

CONTENT = some_bytes(3_000_000)
WORKER = Path(__file__).parents[1] / "support" / "pull_worker.py"
PATIENCE_S = 60.0


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        running.files = {"large.onnx": CONTENT}
        yield running


def start(
    folder: Path, server: ModelServer, *, size: str = str(len(CONTENT)), largest: str = ""
) -> subprocess.Popen[str]:
    arguments = [str(folder), server.url, size, sha256(CONTENT), largest]
    return subprocess.Popen(
        [sys.executable, str(WORKER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def whole(folder: Path) -> bool:
    path = folder / "files" / "large.onnx"
    return path.exists() and path.read_bytes() == CONTENT


def size_of_part(folder: Path) -> int:
    path = folder / "partial" / "large.onnx.part"
    return path.stat().st_size if path.exists() else 0


def test_two_at_once_fetch_it_once(tmp_path: Path, server: ModelServer) -> None:
    both_wait = threading.Event()

    def serve_later(handler: object) -> None:
        both_wait.wait(PATIENCE_S)
        serve(handler)  # type: ignore[arg-type]  # it is the server's

    server.answers.append(serve_later)
    first = start(tmp_path, server)
    wait_for(lambda: len(server.requests) == 1)
    second = start(tmp_path, server)
    assert second.stderr is not None
    assert second.stderr.readline() == f"another process changes {tmp_path}: waiting until it is done\n"
    both_wait.set()
    outcomes = [process.communicate(timeout=PATIENCE_S)[0].split() for process in (first, second)]
    assert outcomes == [["fetched", sha256(CONTENT)], ["there", sha256(CONTENT)]]
    assert len(server.requests) == 1
    assert whole(tmp_path)


@pytest.mark.parametrize("size", [pytest.param(str(len(CONTENT)), id="size known"), pytest.param("", id="unknown")])
def test_killed_half_way(tmp_path: Path, server: ModelServer, size: str) -> None:
    never = threading.Event()
    server.answers.append(stall_after(1_000_000, never))
    process = start(tmp_path, server, size=size)
    wait_for(lambda: size_of_part(tmp_path) >= 900_000)  # some may still be on its way
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    never.set()
    assert not (tmp_path / "files").exists()
    out, _ = start(tmp_path, server, size=size).communicate(timeout=PATIENCE_S)
    assert out.split() == ["fetched", sha256(CONTENT)]
    assert server.requests[1][1]["Range"].startswith(("bytes=9", "bytes=1000000-"))
    assert whole(tmp_path)
    assert list((tmp_path / "partial").iterdir()) == []


@pytest.mark.thorough
def test_killed_at_any_moment(tmp_path: Path, server: ModelServer) -> None:
    generator = random.Random(5)  # noqa: S311  # no secret
    for _ in range(6):
        kill_soon(start(tmp_path, server), server, generator.uniform(0.0, 0.02))
        assert whole(tmp_path) or not (tmp_path / "files" / "large.onnx").exists()
        shutil.rmtree(tmp_path / "files", ignore_errors=True)
    start(tmp_path, server).communicate(timeout=PATIENCE_S)
    assert whole(tmp_path)


def kill_soon(process: subprocess.Popen[str], server: ModelServer, after_s: float) -> None:
    """Kill a process soon after it has asked the server."""
    before = len(server.requests)
    wait_for(lambda: len(server.requests) > before or process.poll() is not None)
    time.sleep(after_s)
    process.kill()
    process.communicate(timeout=PATIENCE_S)


def test_the_one_that_waits_goes_on_when_the_other_is_killed(tmp_path: Path, server: ModelServer) -> None:
    never = threading.Event()
    server.answers.append(stall_after(1_000_000, never))
    first = start(tmp_path, server)
    wait_for(lambda: size_of_part(tmp_path) >= 900_000)
    second = start(tmp_path, server)
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    first.kill()
    first.communicate(timeout=PATIENCE_S)
    out, _ = second.communicate(timeout=PATIENCE_S)
    never.set()
    assert out.split() == ["fetched", sha256(CONTENT)]
    assert whole(tmp_path)


def check_that_nothing_remains(folder: Path, out: str) -> None:
    assert out.startswith("pull_failed ")
    assert size_of_part(folder) == 0
    assert not (folder / "files").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits on files are those of POSIX")
def test_no_room_for_so_large_a_file(tmp_path: Path, server: ModelServer) -> None:
    out, _ = start(tmp_path, server, largest="1000000").communicate(timeout=PATIENCE_S)
    check_that_nothing_remains(tmp_path, out)
    assert "there is no room left for models" in out
    out, _ = start(tmp_path, server).communicate(timeout=PATIENCE_S)
    assert whole(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, where one can be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of Linux can make a small file system")
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be made here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["/bin/umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param(str(len(CONTENT)), "3,000,000 bytes are needed in ", id="told before"),
        pytest.param("", "there is no room left for models in ", id="found out"),
    ],
)
def test_a_full_disk(small_disk: Path, server: ModelServer, size: str, message: str) -> None:
    if not size:
        server.answers.append(chunked)
    out, _ = start(small_disk, server, size=size).communicate(timeout=PATIENCE_S)
    check_that_nothing_remains(small_disk, out)
    assert message in out
