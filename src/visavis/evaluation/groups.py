"""A file that says who belongs to which group."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visavis.errors import InvalidOption
from visavis.evaluation.protocols import Grouping, Photo

MOST_GROUPS = 100
"""More are taken for a mistake: a column of names, perhaps."""
_CELLS = 2
_HEADERS = (["person", "group"], ["file", "group"])


def read_groups(path: Path, photos: Sequence[Photo]) -> Grouping:
    """Read a CSV file of two columns, a person or a file and its group; a header is optional.

    Raises:
        InvalidOption: it cannot be read, a line means nothing or contradicts another, or none fits a photo.
    """
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                cleaned = [cell.strip() for cell in cells]
                if not any(cleaned) or (reader.line_num == 1 and [c.lower() for c in cleaned] in _HEADERS):
                    continue
                if len(cleaned) != _CELLS or not all(cleaned):
                    raise InvalidOption(f"{path}, line {reader.line_num}: a person or file, and a group, are wanted")
                if groups.setdefault(*cleaned) != cleaned[1]:
                    raise InvalidOption(f"{path}, line {reader.line_num}: {cleaned[0][:60]!r} is in a group already")
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path}: no CSV in UTF-8: {error}") from error
    return _grouping(path, groups, photos)


def _grouping(path: Path, groups: dict[str, str], photos: Sequence[Photo]) -> Grouping:
    own = [groups.get(photo.file, groups.get(photo.person)) for photo in photos]
    names = sorted({name for name in own if name is not None})
    if not names:
        raise InvalidOption(f"{path}: names none of the people or files that are measured")
    if len(names) > MOST_GROUPS:
        raise InvalidOption(f"{path}: {len(names)} groups are more than the {MOST_GROUPS} that are told apart")
    places = {name: place for place, name in enumerate(names)}
    of_photos = np.array([-1 if name is None else places[name] for name in own], np.int64)
    known = {name for photo in photos for name in (photo.file, photo.person)}
    return Grouping(tuple(names), of_photos, tuple(name for name in groups if name not in known))
