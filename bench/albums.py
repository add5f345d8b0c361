"""How often a person's photos look like an album of several people, and albums like one: ``look_mixed``, on LFW."""

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np

from visavis import Recognizer, VisavisError
from visavis.options import DEFAULT_PACK
from visavis.service.decisions import look_mixed
from visavis.types import FloatArray


def main() -> None:
    """Print how many people of the first fold, and how many made-up albums, are told of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, default=Path("../shared/data/lfw-fold1"), help="folder of LFW's first fold")
    parser.add_argument("--pack", default=DEFAULT_PACK)
    arguments = parser.parse_args()
    recognizer = Recognizer(arguments.pack)
    files = sorted(arguments.lfw.rglob("*.jpg"))
    people: dict[str, list[FloatArray]] = defaultdict(list)
    for file, faces in zip(files, recognizer.embed_many(map(str, files), faces="prominent"), strict=True):
        if not isinstance(faces, VisavisError) and faces and faces[0].embedding is not None:
            people[file.parent.name].append(faces[0].embedding)
    known = [np.stack(photos) for photos in people.values() if len(photos) > 2]  # noqa: PLR2004  # as it wants them
    alarms = sum(look_mixed(photos, recognizer.pack) for photos in known)
    print(f"{arguments.pack}: of {len(known)} people with three photos or more, {alarms} look like several")
    draw = random.Random(1)  # noqa: S311  # no secret
    for number in (2, 3, 4, 6):
        albums = [np.concatenate([photos[:3] for photos in draw.sample(known, number)]) for _ in range(200)]
        found = sum(look_mixed(album, recognizer.pack) for album in albums)
        print(f"{arguments.pack}: of 200 albums of {number} people, three photos each, {found} look like several")


if __name__ == "__main__":
    main()
