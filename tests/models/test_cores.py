"""How many cores a process may use: its affinity, and the quotas of control groups, of both versions."""

import os
from pathlib import Path

import pytest

from visavis.models.runtime import usable_cores

V2 = "0::{}\n"
V1 = "12:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(32)), raising=False)


def root_with(folder: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        (V2.format("/"), {"cpu.max": "200000 100000\n"}, 2),
        (V2.format("/"), {"cpu.max": "max 100000\n"}, 32),
        (V2.format("/"), {"cpu.max": "150000 100000\n"}, 2),
        (V2.format("/"), {"cpu.max": "10000 100000\n"}, 1),
        (V2.format("/"), {"cpu.max": "6400000 100000\n"}, 32),
        (V2.format("/"), {}, 32),
        (V2.format("/"), {"cpu.max": "garbage"}, 32),
        (
            V2.format("/a/b"),
            {"cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 1000\n"},
            3,
        ),
        (V2.format("/a/b"), {"a/cpu.max": "500000 100000\n", "a/b/cpu.max": "40000 10000\n"}, 4),
        (V2.format("/elsewhere"), {"cpu.max": "700000 100000\n"}, 7),  # the group itself is mounted as the root
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 2),
        (
            V1,
            {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "10000"},
            5,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 32),
        (V1, {"memory/cpu.cfs_quota_us": "100000\n", "memory/cpu.cfs_period_us": "100000\n"}, 32),
    ],
)
def test_quotas(tmp_path: Path, groups: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(root_with(tmp_path, groups, files)) == cores


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 32
