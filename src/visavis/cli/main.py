"""The entry point, which loads next to nothing, so that Ctrl-C is clean from the first moment on."""

import os
import sys
from collections.abc import Sequence

_INTERRUPTED = 130  # what shells report for a program that SIGINT ended


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, or with those of the program, and exit with its status."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the caller has closed it: lead it nowhere, before a file takes its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for good
    try:
        from visavis.cli.app import VISAVIS  # noqa: PLC0415  # see above

        VISAVIS.build("visavis", is_root=True)(args=argv, prog_name="visavis")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
