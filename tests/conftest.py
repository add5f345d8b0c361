"""Data that the tests share: portraits from PyPI packages, and the project's test images where they are."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEST_DATA = Path(os.environ.get("VISAVIS_TEST_DATA", ROOT.parent / "shared" / "data"))


def file_of_package(package: str, *parts: str) -> Path:
    """Return a data file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent.joinpath(*parts)


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """Eileen Collins, 512 x 512, one face: the sample image of scikit-image."""
    return file_of_package("skimage", "data", "astronaut.png")


@pytest.fixture(scope="session")
def hopper() -> Path:
    """Grace Hopper, 512 x 600, one face: the sample image of Matplotlib."""
    return file_of_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of test images; skips where it is absent."""
    if not TEST_DATA.is_dir():
        pytest.skip(f"no test data at {TEST_DATA} (set VISAVIS_TEST_DATA)")
    return TEST_DATA
