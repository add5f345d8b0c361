"""``visavis samples``: photos to try the other commands with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visavis import samples as portraits
from visavis.cli.app import command
from visavis.cli.terminal import printable, write
from visavis.errors import InvalidOption

EXAMPLES = """\b
Examples:
  visavis samples
  visavis verify samples/people/anna/1.jpg samples/photos/anna.jpg
  visavis enrol samples/people
  visavis identify samples/photos
"""


@command(EXAMPLES)
def samples(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")] = Path("samples"),
) -> None:
    """Write photos to try visavis with: drawings of people who do not exist, in FOLDER/people and FOLDER/photos."""
    try:
        portraits.copy(folder)
    except OSError as error:
        raise InvalidOption(f"{printable(str(folder))} cannot be written: {error.strerror or error}") from None
    here = portraits.PEOPLE.parent
    for path in sorted(here.rglob("*.jpg")):
        write(printable(str(folder / path.relative_to(here))))
