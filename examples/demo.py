"""Verify portraits that PyPI packages carry: the same woman twice, and two different ones.

The second photo of the same person is made from the first: cropped, turned by 12 degrees, made smaller and compressed.
"""

import importlib.util
import io
import time
from pathlib import Path

from PIL import Image

from visavis import Recognizer


def file_of_package(package: str, *parts: str) -> Path:
    """Return a data file of an installed package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: make demo does it, or pip install '.[demo]'")
    return Path(spec.origin).parent.joinpath(*parts)


def second_photo(path: Path) -> bytes:
    """Return a JPEG of the same face as another camera might have taken it."""
    with Image.open(path) as photo:
        turned = photo.convert("RGB").rotate(12, Image.Resampling.BICUBIC)
    part = turned.crop((60, 0, 380, 320)).resize((220, 220), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def main() -> None:
    """Verify the pairs and print the answers."""
    collins = file_of_package("skimage", "data", "astronaut.png")
    hopper = file_of_package("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")
    collins_again = second_photo(collins)

    print("Loading the models (the first time, they are converted into your cache) ...")
    recognizer = Recognizer()
    pairs: list[tuple[str, Path, Path | bytes]] = [
        ("Eileen Collins and a second photo of her", collins, collins_again),
        ("Eileen Collins and Grace Hopper", collins, hopper),
    ]
    for title, a, b in pairs:
        recognizer.verify(a, b)  # the first call prepares the runtime for the photos' sizes
        start = time.perf_counter()
        result = recognizer.verify(a, b)
        milliseconds = 1000 * (time.perf_counter() - start)
        print(f"\n{title}: {'Yes' if result.same else 'No'}")
        print(f"  distance {result.distance:.3f} (the same person below {result.threshold:g})")
        print(f"  probability {result.probability:.4f}")
        print(f"  {milliseconds:.0f} ms from file to answer")


if __name__ == "__main__":
    main()
