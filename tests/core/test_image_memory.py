"""How much memory it takes to read a large photo, in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from image_bombs import encoded, heif, plain

READ = """
import re, sys
from pathlib import Path
from visavis.core.image import read_image
from visavis.core.work import give_large_blocks_back

def megabytes(name):
    return int(re.search(rf"{name}:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

give_large_blocks_back()
small, large = (Path(name).read_bytes() for name in sys.argv[1:])
read_image(small)  # what the decoder loads
before = megabytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
picture = read_image(large)
print(picture.size_wh[0], megabytes("VmHWM") - before)
"""

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("RGB", {"subsampling": 0}),
    "PNG": ("RGB", {}),
    "PNG, LA": ("LA", {}),
    "WEBP": ("RGB", {"method": 0}),
    "WEBP, RGBA": ("RGBA", {"method": 0, "lossless": True, "quality": 0}),
    "HEIF": ("RGB", {"quality": 50}),
}


def photo(way: str, side: int) -> bytes:
    mode, options = WAYS[way]
    if way == "HEIF":
        return heif(plain(side, mode), **options)
    return encoded(plain(side, mode), way.partition(",")[0], **options)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(
    ("way", "side"),
    [("PNG", 2500), ("WEBP", 2500), *(pytest.param(way, 7071, marks=pytest.mark.thorough) for way in WAYS)],
)
def test_a_photo_takes_eight_bytes_a_pixel_at_most(tmp_path: Path, way: str, side: int) -> None:
    paths = [tmp_path / "small", tmp_path / "large"]
    for path, length in zip(paths, (64, side), strict=True):
        path.write_bytes(photo(way, length))
    child = subprocess.run(
        [sys.executable, "-c", READ, *paths], capture_output=True, text=True, check=True, timeout=120
    )
    width, megabytes = map(float, child.stdout.split())
    assert width == side
    assert megabytes < 8 * side**2 / 1e6 + 15  # and what Python takes meanwhile
