"""Files by their paths, without opening them."""

import os
from pathlib import Path


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def name_anew(part: Path, target: Path) -> None:
    """Rename a file, but never over another one.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # there are file systems without links
        if target.exists():
            raise FileExistsError from None
        part.rename(target)
