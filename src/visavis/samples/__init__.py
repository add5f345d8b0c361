"""Photos to try visavis with: drawings of four people who do not exist, by ``tools/drawings.py``.

    people/anna/1.jpg, 2.jpg    likewise ben and clara: a folder for each person
    photos/anna.jpg             a third one of her; likewise ben and clara, and emil, who has no folder
    photos/group.jpg            all four

They are as free as the code. What is measured on drawings says nothing of people.
"""

import shutil
from os import PathLike
from pathlib import Path

PEOPLE = Path(__file__).parent / "people"
"""A folder with a folder for each of anna, ben and clara."""
PHOTOS = Path(__file__).parent / "photos"
"""A folder of photos of these and of emil: anna.jpg, ben.jpg, clara.jpg, emil.jpg and group.jpg, which shows all."""


def copy(folder: str | PathLike[str] = "samples") -> Path:
    """Write ``people`` and ``photos`` to a folder, made where there is none, and return it.

    Files of the same names are written anew; all others stay.

    Raises:
        OSError: they cannot be written.
    """
    target = Path(folder)
    for source in (PEOPLE, PHOTOS):
        shutil.copytree(source, target / source.name, dirs_exist_ok=True)
    return target
