"""Portraits that PyPI packages carry, so that benchmarks run without any other data."""

import importlib.util
from pathlib import Path


def _file_of_package(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install '.[bench]'")
    return Path(spec.origin).parent.joinpath(*parts)


def astronaut_path() -> Path:
    """Return Eileen Collins, 512 x 512, one face: the sample image of scikit-image."""
    return _file_of_package("skimage", "data", "astronaut.png")


def hopper_path() -> Path:
    """Return Grace Hopper, 512 x 600, one face: the sample image of Matplotlib."""
    return _file_of_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
