"""The entry point, which loads next to nothing, so that Ctrl-C is clean from the first moment on."""

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
    try:
        from visavis.cli.app import app  # noqa: PLC0415  # see above

        app(args=argv, prog_name="visavis")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
