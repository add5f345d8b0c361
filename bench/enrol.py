"""How fast ``visavis enrol`` is beside the library's own ``embed_many`` over the same folder, in one run.

Each round runs both, in turns first and last, and loads the models for each: ``Recognizer().embed_many`` over the
folder's files, and the command line as a user types it, into a new SQLite store. A last row runs the command again,
where all is enrolled already.

python bench/enrol.py FOLDER       a folder per person
python bench/enrol.py              240 variations of two portraits that PyPI packages carry
python bench/enrol.py --rounds 5   more of each
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
from portraits import astronaut_path, hopper_path

from visavis import Recognizer
from visavis.cli.images import find_sources
from visavis.cli.main import main as visavis

_VARIATIONS = 120
_LEAST_RATIO = 0.9


def make_folder(folder: Path) -> None:
    """Write variations of the portraits: cropped, brighter or darker, of other sizes."""
    numbers = np.random.default_rng(0)
    for name, path in (("eileen-collins", astronaut_path()), ("grace-hopper", hopper_path())):
        (folder / name).mkdir(parents=True)
        with PIL.Image.open(path) as image:
            portrait = image.convert("RGB")
        for number in range(_VARIATIONS):
            left, top = numbers.integers(0, 30, 2).tolist()
            scale, light = numbers.uniform(0.8, 1.5), numbers.uniform(0.7, 1.2)
            part = portrait.crop((left, top, portrait.width - left, portrait.height - top))
            part = part.resize((round(part.width * scale), round(part.height * scale)))
            part.point(lambda value, light=light: min(255, value * light)).save(folder / name / f"{number}.jpg")


def embed_all(files: list[str]) -> None:
    """Embed with the library, as its users do."""
    for _ in Recognizer().embed_many(files, faces="largest"):
        pass


def enrol_all(folder: Path, store: Path) -> None:
    """Enrol with the command line."""
    silence = io.StringIO()
    arguments = ["enrol", str(folder), "--faces", "largest", "--store", f"sqlite:///{store}", "-q"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        visavis(arguments)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path, stores: Path, rounds: int) -> None:
    """Print both throughputs and their ratio."""
    files = [str(source.image) for source in find_sources([str(folder)], 1)]
    embed_s: list[float] = []
    enrol_s: list[float] = []
    for number in range(rounds + 1):
        works = {
            "embed": (embed_s, partial(embed_all, files)),
            "enrol": (enrol_s, partial(enrol_all, folder, stores / f"{number}.db")),
        }
        for name in sorted(works, reverse=number % 2 == 1):
            taken, work = works[name]
            taken.append(seconds(work))
        rates = f"{len(files) / embed_s[-1]:6.1f} and {len(files) / enrol_s[-1]:6.1f} images/s"
        print(f"round {number}: {rates}", flush=True)
    again = seconds(partial(enrol_all, folder, stores / f"{rounds}.db"))
    embed, enrol = (statistics.median(taken[1:]) for taken in (embed_s, enrol_s))  # the first round warms up
    ratio = statistics.median(embed / enrol for embed, enrol in zip(embed_s[1:], enrol_s[1:], strict=True))
    print(f"\n{len(files)} images, medians of {rounds} rounds")
    print(f"embed_many          {len(files) / embed:8.1f} images/s")
    print(f"visavis enrol       {len(files) / enrol:8.1f} images/s: {ratio:.0%} of it; {_LEAST_RATIO:.0%} are wanted")
    print(f"visavis enrol again {len(files) / again:8.1f} images/s")


def main() -> None:
    """Measure a folder, given or made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="with a folder per person")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder
        if folder is None:
            folder = Path(temporary, "people")
            make_folder(folder)
        measure(folder, Path(temporary), arguments.rounds)


if __name__ == "__main__":
    main()
