"""``visavis backup``: galleries and keys in one file."""

from __future__ import annotations

import logging
import tarfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from visavis.cli.app import command
from visavis.cli.lazy import keys, stores
from visavis.cli.options import KeysFile, StoreOptions
from visavis.cli.terminal import say
from visavis.errors import InvalidOption
from visavis.files import replacing
from visavis.options import Option

_log = logging.getLogger("visavis.cli")
EXAMPLES = """\b
The file is a tar archive of visavis.db and keys.sqlite, which only its owner may read. What is encrypted stays so: keep
the key of the galleries elsewhere, for nothing opens them without it.

\b
To go back, stop the server, move its visavis.db and keys.sqlite away, with those that end with -wal, and
  mkdir -p ~/.local/share/visavis
  tar -xf FILE -C ~/.local/share/visavis

\b
Exit codes:
  0  galleries and keys are in the file, as far as there are any
  1  only the keys are: the galleries are in PostgreSQL, which pg_dump backs up, or there are none
  2  there is no new file

\b
Examples:
  visavis backup /mnt/backup/visavis-$(date +%F).tar
"""


@command(EXAMPLES)
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, which appears when it is whole.")],
    *,
    force: Annotated[bool, Option("Replace a file that is there.")] = False,
    keys_file: KeysFile = None,
    store: StoreOptions,
) -> int:
    """Copy all galleries, their log and the server's API keys to one file, while servers go on."""
    taken = InvalidOption(f"{file} exists already; name a new file, or replace it with --force")
    if file.exists() and not force:
        raise taken
    with TemporaryDirectory(dir=file.parent, prefix=".visavis-") as folder:
        with closing(keys.KeyStore(keys_file or keys.default_keys_file())) as key_store:
            keys_are_there = key_store.backup(Path(folder, "keys.sqlite"))
        with stores.open_galleries(store) as galleries:
            try:
                galleries.backup(Path(folder, "visavis.db"))
                only_keys = False
            except InvalidOption as error:  # which says why, and how it is done
                elsewhere = not galleries.store.url.startswith("sqlite") or store.url is None
                if not (keys_are_there and elsewhere) or file.exists():
                    raise
                only_keys = True
                say(f"visavis: {error}. Only the keys are backed up")
        try:
            with (
                replacing(file, private=True, durable=True, new=not force) as stream,
                tarfile.open(fileobj=stream, mode="w") as archive,
            ):
                for path in sorted(Path(folder).iterdir()):
                    archive.add(path, path.name)
        except FileExistsError:  # somebody was faster
            raise taken from None
    _log.info("%s holds the %s", file, "keys" if only_keys else "galleries and the keys, as far as there are any")
    return int(only_keys)
