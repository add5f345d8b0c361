"""The entry point, which loads next to nothing, so that Ctrl-C is clean from the first moment on."""

import os
import sys
from collections.abc import Sequence

_INTERRUPTED = 130  # what shells report for a program that SIGINT ended


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Args:
        argv: the arguments without the program's name; None for those that the program was called with.

    Raises:
        SystemExit: always, with the exit code.
    """
    _open_closed_streams()
    try:
        from visavis.cli.app import app  # noqa: PLC0415  # see above

        app(args=argv, prog_name="visavis")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _open_closed_streams() -> None:
    """Lead standard streams that the caller has closed nowhere, before another file takes their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for good


if __name__ == "__main__":
    main()
