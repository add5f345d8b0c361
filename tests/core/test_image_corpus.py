"""Broken, hostile and odd files: a picture or an error of ours, soon and in little memory; real photos: a picture."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from visavis.core.image import read_image

CHILD = r"""
import json, re, sys, time
from pathlib import Path
from visavis.core.image import read_image
from visavis.errors import VisavisError

for path in sys.stdin.read().splitlines():
    start = time.perf_counter()
    try:
        code = "picture %d" % read_image(path).pixels.sum()
    except VisavisError as error:
        code = error.code
    seconds = time.perf_counter() - start
    # The most so far; getrusage would begin with what the parent process has.
    memory = int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3
    print(json.dumps([path, code, seconds, memory]))
"""


def test_every_odd_file_gives_a_picture_or_an_error_of_ours(test_data: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from Linux's /proc")
    paths = sorted([*(test_data / "images/bad").iterdir(), *(test_data / "images/formats").iterdir()])
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    results = [json.loads(line) for line in child.stdout.splitlines()]
    assert [path for path, *_ in results] == list(map(str, paths))
    assert max(seconds for _, _, seconds, _ in results) < 2
    assert max(megabytes for *_, megabytes in results) < 500  # the most so far, so that it bounds each file
    codes = Counter(code.split()[0] for _, code, _, _ in results)
    assert set(codes) == {"picture", "image_corrupt", "image_too_large", "unsupported_format"}
    assert codes["image_too_large"] == 1  # whose damaged header says 2,554 x 18,803 pixels, in runs
    assert codes["picture"] > len(paths) / 2


def test_every_photo_is_read(test_data: Path) -> None:
    images = test_data / "images"
    paths = [path for path in images.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"}]
    paths = [path for path in paths if path.parent.name in {"portraits", "groups", "groups_dlib"}]
    assert len(paths) > 20
    for path in paths:
        picture = read_image(path, reduction=lambda _size_wh: 4)
        assert picture.pixels.std() > 10
        assert min(picture.size_wh) >= 100
