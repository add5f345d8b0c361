"""How much sooner `visavis find` answers when it has seen the photos before, and whom it finds.

Photos of LFW's first fold, enlarged to what a camera makes. The command runs as a user's would, with its start:

    python bench/photos.py                the first run, the second, and one after 10 new photos, on 500 photos
    python bench/photos.py --rates        whom it finds of the people with six photos and more, by how many show them
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
from lfw import DATA

from visavis import PhotoIndex, Recognizer, VisavisError

NEW = 10
LEAST = 6  # photos of a person who is looked for


def enlarge(photos: list[Path], folder: Path, side: int) -> None:
    """Write photos as large as a camera's into a folder."""
    for photo in photos:
        with PIL.Image.open(photo) as image:
            image.resize((side, side), PIL.Image.Resampling.BICUBIC).save(folder / photo.name, quality=92)


def measure(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # our own command line
    if process.returncode:
        raise SystemExit(process.stderr)
    print(process.stderr.splitlines()[-1])
    return time.perf_counter() - start


def report_runs(photos: list[Path], count: int, side: int) -> None:
    """Print the seconds of each run, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "photos")
        folder.mkdir()
        enlarge(photos[:count], folder, side)
        command = [sys.executable, "-m", "visavis", "find", str(photos[0]), str(folder)]
        first, second = measure(command), measure(command)
        enlarge(photos[count : count + NEW], folder, side)
        third = measure(command)
        size = (folder / ".visavis-index").stat().st_size
    print(f"{count} photos of {side} x {side} pixels: first run {first:.1f} s, second {second:.1f} s, ", end="")
    print(f"with {NEW} new ones {third:.1f} s; ratio {first / second:.0f}; the index has {size / 1e6:.1f} MB")


def report_rates(photos: list[Path]) -> None:
    """Print the part of a person's photos that is found, and how many of others are besides."""
    counts = Counter(path.parent.name for path in photos)
    people = [person for person, count in counts.items() if count >= LEAST]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        index = PhotoIndex(Recognizer(precision="f32"), Path(name, "index"))
        for shown in (1, 3):
            found = missed = wrong = 0
            for person in people:
                own = [path for path in photos if path.parent.name == person]
                references = [own[place] for place in rng.choice(len(own), shown, replace=False)]
                rest = [path for path in photos if path not in references]
                try:
                    for path, seen in zip(rest, index.find(references, rest, faces="prominent"), strict=True):
                        same = not isinstance(seen, VisavisError) and any(seen)
                        found += same and path.parent.name == person
                        missed += not same and path.parent.name == person
                        wrong += same and path.parent.name != person
                except VisavisError as error:
                    print(f"{person}: {error}")
            print(f"{len(people)} people by {shown} photos each among {len(photos)}: ", end="")
            print(f"{found / (found + missed):.1%} of their photos, {wrong / len(people):.2f} of others each")
        index.close()


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--side", type=int, default=2000, help="of the photos, in pixels")
    parser.add_argument("--rates", action="store_true", help="whom it finds")
    options = parser.parse_args()
    photos = sorted((DATA / "images").rglob("*.jpg"))
    if options.rates:
        report_rates(photos)
    else:
        report_runs(photos, options.photos, options.side)


if __name__ == "__main__":
    main()
