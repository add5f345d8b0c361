"""How fast `visavis embed` is on photos of 12 megapixels, stage by stage, beside what the machine can do.

Each stage alone works on all cores, in as many threads as the command has, on batches of 16 photos:

    decode   JPEG to pixels, at the reduced scale that libjpeg gives where faces stay large enough
    search   pixels to faces and chips
    embed    chips to embeddings

On a CPU the stages share the cores, so that the seconds of a photo add up: that is the machine's limit. The command's
own speed is that of the photos that a longer run has more than a shorter one: its start is not counted.

python bench/many.py                 64 photos more, medians of three rounds
python bench/many.py --photos 16 --rounds 1
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from portraits import astronaut_path, hopper_path

from visavis import Recognizer
from visavis.core.image import read_image
from visavis.models import recognizer as module
from visavis.models.runtime import usable_cores

_SIZE_WH = (4000, 3000)
_BATCH = 16
_WANTED = 0.95


def write_photos(folder: Path, count: int) -> list[str]:
    """Write photos as a camera's: two people among noise that no encoder makes small."""
    rng = np.random.default_rng(0)
    portraits = []
    for path, side in ((astronaut_path(), 1400), (hopper_path(), 1000)):
        with PIL.Image.open(path) as image:
            portraits.append(image.convert("RGB").resize((side, side)))
    paths = []
    for number in range(count):
        coarse = rng.integers(40, 200, (300, 400, 3), np.uint8)
        photo = PIL.Image.fromarray(coarse).resize(_SIZE_WH, PIL.Image.Resampling.BICUBIC)
        photo.paste(portraits[0], (100 + 5 * (number % 100), 200))
        photo.paste(portraits[1], (2200 + 5 * (number % 100), 1200))
        paths.append(str(folder / f"{number:05}.jpg"))
        photo.save(paths[-1], quality=90)
    return paths


def rate(work: Callable[[Any], object], items: Sequence[Any], workers: int, photos: int) -> float:
    """Return how many photos a second a stage does on all cores."""
    with ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(work, items))
        return photos / (time.perf_counter() - start)


def stages(recognizer: Recognizer, photos: Sequence[str], workers: int) -> dict[str, float]:
    """Return how many photos a second each stage does alone."""
    reduction = partial(vars(module)["_reduction"], recognizer.min_face, recognizer.pack.template)
    decode = partial(read_image, limits=recognizer.limits, reduction=reduction)
    search: Callable[..., Any] = vars(Recognizer)["_found"]
    options = {"faces": "all", "quality": False, "attributes": (), "chips": False}

    def find(picture: object) -> Any:  # noqa: ANN401  # what the Recognizer keeps to itself
        return search(recognizer, picture, recognizer.min_face, options, chips=True)

    batch = photos[:_BATCH]
    pictures = [decode(path) for path in batch]
    chips = [find(picture).chips for picture in pictures]
    print(f"decoded at {pictures[0].pixels.shape[1]} x {pictures[0].pixels.shape[0]} pixels, ", end="")
    print(f"{sum(map(len, chips)) / len(batch):.1f} faces a photo")
    return {
        "decode": rate(decode, batch, workers, len(batch)),
        "search": rate(find, pictures, workers, len(batch)),
        "embed": rate(recognizer.embed_chips, chips, workers, len(batch)),
    }


def command_s(photos: Sequence[str], folder: Path) -> float:
    """Return the seconds that the command takes, with its start."""
    command = [sys.executable, "-m", "visavis", "embed", "-q", *photos, "-o", str(folder / "faces.parquet")]
    start = time.perf_counter()
    subprocess.run(command, check=True)  # noqa: S603  # our own command line
    return time.perf_counter() - start


def main() -> None:
    """Print what each stage does, what the machine could do, and what the command does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=64, help="that the longer run has more than the shorter one")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    workers = usable_cores()
    recognizer = Recognizer(threads=1, streams=workers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_photos(folder, _BATCH + options.photos)
        size = sum(map(os.path.getsize, photos)) / len(photos)
        print(
            f"{workers} cores, pack {recognizer.pack.name}, {_SIZE_WH[0]} x {_SIZE_WH[1]} JPEG of {size / 1e6:.1f} MB"
        )
        measured: list[dict[str, float]] = []
        for number in range(options.rounds + 1):  # the first one warms up
            each = stages(recognizer, photos, workers)
            more = command_s(photos, folder) - command_s(photos[:_BATCH], folder)
            measured.append({**each, "command": options.photos / more})
            print(
                f"round {number}: " + ", ".join(f"{what} {rate:.1f}" for what, rate in measured[-1].items()), flush=True
            )
    medians = {what: statistics.median(each[what] for each in measured[1:]) for what in measured[0]}
    own = medians.pop("command")
    slowest = min(medians, key=lambda what: medians[what])
    limit = 1 / sum(1 / rate for rate in medians.values())
    print()
    for what, speed in medians.items():
        print(f"{what:<8} alone on all cores {speed:8.1f} photos/s{'   the slowest stage' if what == slowest else ''}")
    print(f"all stages on the same cores {limit:7.1f} photos/s: the machine's limit")
    print(
        f"visavis embed                {own:7.1f} photos/s: {own / limit:.0%} of the limit, {_WANTED:.0%} are wanted; "
    )
    print(f"                             {own / medians[slowest]:.0%} of the slowest stage alone")


if __name__ == "__main__":
    main()
