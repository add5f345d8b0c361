"""``visavis keys``: the API keys that a server accepts."""

import json
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.options import QuietOption, VerboseOption
from visavis.cli.terminal import printable, reporting, results_stream, say
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visavis.server.keys import KeyRecord, KeyStore

EXAMPLES = """\b
Examples:
  visavis keys create --name "door 3" --scope read
  visavis keys create --name "front desk" --scope enrol --gallery team --gallery staff
  visavis keys list
  visavis keys revoke 5f0c93a1b2d4

A running server notices at once; it need not be started again.
"""

KeysFileOption = Annotated[
    Path | None,
    typer.Option(
        "--keys-file",
        envvar="VISAVIS_KEYS_FILE",
        metavar="FILE",
        show_default="in the user's data folder",
        help="Where the keys' hashes are kept: the server's own setting.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    help="Make, list and revoke the API keys that the server accepts.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("create", short_help="Make a key and print it, this once.")
def create(  # noqa: PLR0913  # a command's options are independent
    *,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What to call it: who uses it, and where.")],
    scope: Annotated[
        Literal["read", "enrol", "admin"],
        typer.Option("--scope", help="What it allows; each scope includes those before it."),
    ],
    gallery: Annotated[
        list[str] | None,
        typer.Option(
            "--gallery",
            metavar="NAME",
            show_default="all galleries",
            help="A gallery that it is for, and no other; may be given several times.",
        ),
    ] = None,
    as_json: JsonOption = False,
    keys_file: KeysFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a key and print it, this once: what is kept is a hash.

    The key goes to standard output, everything else to standard error.
    """
    with reporting(quiet=quiet, verbose=verbose), _store(keys_file) as store:
        record, secret = store.create(name, scope, gallery or ())
        _print(json.dumps({**_plain(record), "key": secret}) if as_json else secret)
        if not quiet:
            only = f", only for {', '.join(record.galleries)}" if record.galleries else ""
            say(f"visavis: this is the key {record.id}, scope {scope}{only}. Keep it: it cannot be shown again.")


@app.command("list", short_help="List the keys ever made.")
def list_(
    *,
    as_json: JsonOption = False,
    keys_file: KeysFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the keys ever made: ID, scope, when made, whether still valid, name, and the only galleries it is for."""
    with reporting(quiet=quiet, verbose=verbose), _store(keys_file) as store:
        records = store.list()
        if as_json:
            _print(json.dumps([_plain(record) for record in records], indent=2))
        elif records:
            _print("\n".join(map(_readable, records)))
        elif not quiet:
            say(f"visavis: there are no keys in {store.path}")


@app.command("revoke", short_help="Make a key invalid, for good and at once.")
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The key's ID: what stands between its underscores.")],
    *,
    as_json: JsonOption = False,
    keys_file: KeysFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a key invalid, for good and at once; print it as in the list."""
    with reporting(quiet=quiet, verbose=verbose), _store(keys_file) as store:
        record = store.revoke(id_)
        if record is None:
            raise InvalidOption(f"there is no key {id_!r} in {store.path}; see: visavis keys list")
        _print(json.dumps(_plain(record)) if as_json else _readable(record))


@contextmanager
def _store(keys_file: Path | None) -> "Iterator[KeyStore]":
    from visavis.server.keys import KeyStore, default_keys_file  # noqa: PLC0415  # --help does without

    with closing(KeyStore(keys_file or default_keys_file())) as store:
        yield store


def _plain(record: "KeyRecord") -> dict[str, str | list[str] | None]:
    return {
        "id": record.id,
        "name": record.name,
        "scope": record.scope,
        "galleries": list(record.galleries),
        "created_at": record.created_at.isoformat(),
        "revoked_at": record.revoked_at.isoformat() if record.revoked_at else None,
    }


def _readable(record: "KeyRecord") -> str:
    state = f"revoked {record.revoked_at:%Y-%m-%d}" if record.revoked_at else "valid"
    line = f"{record.id}  {record.scope:<5}  {record.created_at:%Y-%m-%d}  {state:<18}  {printable(record.name)}"
    return f"{line}  (only {', '.join(record.galleries)})" if record.galleries else line


def _print(text: str) -> None:
    stream = results_stream()
    stream.write(text + "\n")
    stream.flush()
