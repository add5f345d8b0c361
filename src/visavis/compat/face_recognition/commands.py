"""The commands ``face_recognition`` and ``face_detection``, with the same arguments and output."""

import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image

from visavis.compat.face_recognition import api
from visavis.errors import VisavisError

_Known: TypeAlias = tuple[list[str], list[api.Encoding]]

_LONGEST = 1600  # pixels of an image that is searched for known people
_IMAGE = re.compile(r".*\.(jpg|jpeg|png)", re.IGNORECASE)
_UNREADABLE = (OSError, ValueError, PIL.Image.DecompressionBombError)
_TRUTHS = {**dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True)}
_TRUTHS |= dict.fromkeys(("0", "false", "f", "no", "n", "off"), False)


def recognition(arguments: Sequence[str] | None = None) -> None:
    """Tell who is on images, by one photo of each known person, called by the name."""
    parser = _parser("face_recognition", recognition.__doc__)
    parser.add_argument("known_people_folder")
    parser.add_argument("image_to_check")
    _add_cpus(parser)
    parser.add_argument("--tolerance", type=float, default=0.6, help="the largest distance of a match; default 0.6")
    parser.add_argument("--show-distance", type=_truth, default=False, metavar="BOOLEAN", help="print distances too")
    asked = parser.parse_args(arguments)

    def make() -> Callable[[str], list[str]]:
        known = _known_people(asked.known_people_folder)
        return partial(_recognized, known, asked.tolerance, show_distance=asked.show_distance)

    sys.exit(_print_all(make, asked.image_to_check, asked.cpus))


def detection(arguments: Sequence[str] | None = None) -> None:
    """Tell where faces are on images."""
    parser = _parser("face_detection", detection.__doc__)
    parser.add_argument("image_to_check")
    _add_cpus(parser)
    parser.add_argument("--model", default="hog", help='"hog" or "cnn", which are one here')
    parser.add_argument("--upsample", type=int, default=0, help="how many times to double the image; default 0")
    asked = parser.parse_args(arguments)
    sys.exit(_print_all(lambda: partial(_detected, asked.upsample, asked.model), asked.image_to_check, asked.cpus))


def _parser(name: str, about: str | None) -> ArgumentParser:
    return ArgumentParser(name, description=about, allow_abbrev=False)


def _add_cpus(parser: ArgumentParser) -> None:
    parser.add_argument("--cpus", type=_workers, default=1, help="images to look at together; -1 for all cores")


def _workers(text: str) -> int:
    count = int(text)
    if count == 0 or count < -1:
        raise ArgumentTypeError("a number from 1 on, or -1")
    return min(os.cpu_count() or 1 if count == -1 else count, 64)


def _truth(text: str) -> bool:
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise ArgumentTypeError(f"{text!r} is not a valid boolean") from None


def _known_people(folder: str) -> _Known:
    names, encodings = [], []
    for file in _images_in(folder):
        found = api.face_encodings(api.load_image_file(file))
        if len(found) > 1:
            print(f"WARNING: More than one face found in {file}. Only considering the first face.")
        if found:
            names.append(Path(file).stem)
            encodings.append(found[0])
        else:
            print(f"WARNING: No faces found in {file}. Ignoring file.")
    return names, encodings


def _recognized(known: _Known, tolerance: float, file: str, *, show_distance: bool) -> list[str]:
    pixels = api.load_image_file(file)
    if max(pixels.shape) > _LONGEST:
        image = PIL.Image.fromarray(pixels)
        image.thumbnail((_LONGEST, _LONGEST), PIL.Image.Resampling.LANCZOS)
        pixels = np.array(image)
    results: list[tuple[str, float | None]] = []
    for encoding in (faces := api.face_encodings(pixels)):
        pairs = zip(known[0], api.face_distance(known[1], encoding).tolist(), strict=True)
        results += [(name, distance) for name, distance in pairs if distance <= tolerance] or [("unknown_person", None)]
    if not faces:
        results = [("no_persons_found", None)]
    return [f"{file},{name},{distance}" if show_distance else f"{file},{name}" for name, distance in results]


def _detected(upsample: int, model: str, file: str) -> list[str]:
    places = api.face_locations(api.load_image_file(file), upsample, model)
    return [",".join(map(str, (file, *place))) for place in places]


def _images_in(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in os.listdir(folder) if _IMAGE.match(name)]  # noqa: PTH118, PTH208


def _print_all(make: Callable[[], Callable[[str], list[str]]], path: str, workers: int) -> int:
    """Print what is told of an image, or of each in a folder, in order; return 1 where one could not be looked at."""
    status = 0
    try:
        look, files = make(), _images_in(path) if Path(path).is_dir() else [path]
        with ThreadPoolExecutor(workers) as pool:
            for result in pool.map(partial(_lines_or_problem, look), files):
                if isinstance(result, str):
                    print(result, file=sys.stderr)
                    status = 1
                elif result:
                    print(*result, sep="\n", flush=True)
    except (*_UNREADABLE, VisavisError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return status


def _lines_or_problem(look: Callable[[str], list[str]], file: str) -> list[str] | str:
    try:
        return look(file)
    except _UNREADABLE as error:
        return f"{file}: {error}"
