"""``python -m visavis`` is the command line."""

from visavis.cli.main import main

main()
