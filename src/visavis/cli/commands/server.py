"""``visavis serve`` and ``keys``: the HTTP server, and the API keys that it accepts."""

from __future__ import annotations

import json
import logging
import os
import re
import ssl
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import typer

from visavis.cli.app import Group, command
from visavis.cli.lazy import app, installation, keys, listening, observability, runtime, server_galleries
from visavis.cli.options import Json, KeysFile, ServerSettings, Verbose, flag_of
from visavis.cli.terminal import Facts, printable, readable, reporting, say, write
from visavis.config import PREFIX, FaceService, Scope, Settings
from visavis.errors import InvalidOption
from visavis.options import Option

if TYPE_CHECKING:
    from visavis.server.keys import KeyRecord, KeyStore

EXAMPLES = """\b
Every setting is an environment variable too: --max-body-bytes is VISAVIS_MAX_BODY_BYTES. Those without an option:
VISAVIS_KEYS=SCOPE:SECRET,... for keys besides those of visavis keys, and VISAVIS_GALLERY_KEY for what the file of
--gallery-key-file would hold.

\b
Exit codes:
  0  a signal ended it, and all that was accepted is answered
  1  a signal ended it, and something still ran soon after --grace-s
  2  it could not start

\b
Examples:
  visavis serve
  visavis serve --port 9000 --workers 8
  visavis keys create --name app --scope read && visavis serve --host 0.0.0.0
"""
_FACTORY = "visavis.cli.commands.server:app_from_environment"
_POLL_S = 0.2
_ANSWER_WITHIN_S = 60.0
_log = logging.getLogger("visavis.cli")


@command(EXAMPLES, reports=False)
def serve(
    *,
    given: ServerSettings,
    open_: Annotated[bool, Option("Open the page in the browser of this machine.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run the HTTP server until Ctrl-C or SIGTERM. Its log goes to standard error."""
    with reporting(quiet=not verbose, verbose=verbose):
        # So that further processes, which read the environment, find the same.
        os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in given.items()})
        try:
            start = _prepare(Settings.from_env(os.environ), open_page=open_)
        except InvalidOption as error:
            message = str(error)
            for name in given:  # what was given as an option is called so, and not by its variable
                message = re.sub(rf"\b{PREFIX}{name.upper()}\b", flag_of(name), message)
            raise InvalidOption(message) from error
    start()


def app_from_environment() -> object:
    """Make the application; for the processes of ``--processes``."""
    settings = Settings.from_env(os.environ)
    observability.configure_logging(settings.log_format)
    return app.create_app(settings)


def _prepare(settings: Settings, *, open_page: bool) -> Callable[[], None]:
    """Do all that may fail, and return what then serves until a signal comes."""
    if open_page and not settings.ui:
        raise InvalidOption("--open: there is no page where VISAVIS_UI is off")
    with closing(app.key_store(settings)) as store:
        needed = store.needed(settings)
        if needed and not any(key.is_valid for key in store.list()):
            raise InvalidOption(
                f"listening on {settings.host} needs keys, and none is valid: make one with visavis keys create, or "
                "set VISAVIS_KEYS; or, where everybody may call, --auth off"
            )
    listening.check_certificate(settings)
    # Further processes could only say in their log that the models are not there.
    folder = settings.models_dir or installation.default_models_dir()
    installation.check_installed(installation.as_installed(installation.find_pack(settings.pack), folder), folder)
    store_place = server_galleries.check_store(settings)
    listener = listening.bind(settings)
    url = listening.url_of(listener, settings)

    several = settings.processes > 1  # each of which loads the models
    application = app.create_app(settings, None if several else app.load_recognizer(settings))
    why = "auth is off, and whoever reaches it" if settings.auth == "off" else "there are no keys, and any program here"
    facts: Facts = {
        "page": f"{url}/ui/",
        "docs": f"{url}/docs",
        "store": store_place,
        "pack": settings.pack,
        "device": f"{settings.runtime} on the CPU" if several else _device(settings),
        "keys": "every call needs one" if needed else f"not asked for: {why} may do everything",
    }

    def tell() -> None:
        for line in readable(f"visavis listens on {url}", facts).splitlines():
            say(line)
        if advice := installation.advice(settings.pack, folder):
            say(f"visavis: {advice}")
        if open_page:
            webbrowser.open(f"{url}/ui/")

    if several:
        threading.Thread(target=_tell_when_ready, args=(url, tell), daemon=True).start()
        return partial(listening.serve_in_processes, _FACTORY, settings, listener)

    def start() -> None:
        observability.configure_logging(settings.log_format)
        listening.serve(application, listener, tell)

    return start


def _device(settings: Settings) -> str:
    spec = runtime.RuntimeSpec(settings.runtime, settings.precision)
    return f"{runtime.describe(spec)['device']}, {settings.runtime}, {runtime.precision_in_force(spec)}"


def _tell_when_ready(url: str, tell: Callable[[], None]) -> None:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a certificate need not name the address, and this sends nothing
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=anybody))
    while True:
        with suppress(OSError, HTTPException), opener.open(f"{url}/readyz", timeout=_ANSWER_WITHIN_S):
            break
        time.sleep(_POLL_S)
    tell()


KEYS = Group(
    help="Make, list and revoke the API keys that the server accepts.",
    epilog="""\b
Examples:
  visavis keys create --name "door 3" --scope read
  visavis keys create --name "front desk" --scope enrol --gallery team --gallery staff
  visavis keys create --name prometheus --scope metrics --expires-days 365
  visavis keys create --name "double-take" --scope admin --compreface recognition --gallery team
  visavis keys create --name "photo app" --scope enrol --aws
  visavis keys list
  visavis keys revoke 5f0c93a1b2d4

A running server notices at once; it need not be started again.
""",
    commands={
        "create": ("server:create", "Make a key and print it, this once."),
        "list": ("server:list_", "List the keys ever made."),
        "revoke": ("server:revoke", "Make a key invalid, for good and at once."),
    },
)


@command()
def create(
    *,
    name: Annotated[str, Option("What to call it: who uses it, and where.", metavar="TEXT")],
    scope: Annotated[Scope, Option("What it allows: to recognise faces of images; also embeddings; to enrol; all.")],
    gallery: Annotated[
        list[str] | None,
        Option(
            "A gallery that it is for, and no other; may be given several times.", metavar="NAME", unset="all galleries"
        ),
    ] = None,
    expires_days: Annotated[
        int | None, Option("How many days it is valid.", metavar="N", unset="for good", at_least=1, at_most=36_500)
    ] = None,
    compreface: Annotated[
        FaceService | None,
        Option("Make a key for clients of CompreFace, and this service of theirs: a UUID.", unset="a key of visavis"),
    ] = None,
    uuid: Annotated[
        str | None, Option("The UUID that clients of CompreFace have already as their key.", unset="a new one")
    ] = None,
    aws: Annotated[
        bool, Option("Print an access key of AWS in place of the key: its ID, and the secret that signs calls.")
    ] = False,
    as_json: Json = False,
    keys_file: KeysFile = None,
) -> None:
    """Make a key and print it, this once: what is kept is a hash.

    The key goes to standard output, everything else to standard error.
    """
    expires_at = expires_days and datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=expires_days)
    with _store(keys_file) as store:
        record, secret = store.create(
            name, scope, gallery or (), expires_at=expires_at or None, service=compreface, uuid=uuid
        )
        signing = (
            {"AWS_ACCESS_KEY_ID": record.id, "AWS_SECRET_ACCESS_KEY": store.signing_secret(record.id)} if aws else {}
        )
        told = "\n".join(f"{variable}={value}" for variable, value in signing.items()) or secret
        write(json.dumps({**_plain(record), "key": secret, **signing}) if as_json else told)
        only = f", only for {', '.join(record.galleries)}" if record.galleries else ""
        _log.info("visavis: this is the key %s, scope %s%s. Keep it: it cannot be shown again.", record.id, scope, only)


@command()
def list_(*, as_json: Json = False, keys_file: KeysFile = None) -> None:
    """List the keys ever made: ID, scope, when made, whether still valid, last use, name, and the only galleries."""
    with _store(keys_file) as store:
        records = store.list()
        if as_json:
            write(json.dumps([_plain(record) for record in records], indent=2))
        elif records:
            write("\n".join(map(_words, records)))
        else:
            _log.info("visavis: there are no keys in %s", store.path)


@command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The key's ID: what stands between its underscores.")],
    *,
    as_json: Json = False,
    keys_file: KeysFile = None,
) -> None:
    """Make a key invalid, for good and at once; print it as in the list."""
    with _store(keys_file) as store:
        record = store.revoke(id_)
        if record is None:
            raise InvalidOption(f"there is no key {id_!r} in {store.path}; see: visavis keys list")
        write(json.dumps(_plain(record)) if as_json else _words(record))


@contextmanager
def _store(keys_file: Path | None) -> Iterator[KeyStore]:
    with closing(keys.KeyStore(keys_file or keys.default_keys_file())) as store:
        yield store


def _plain(record: KeyRecord) -> dict[str, str | list[str] | None]:
    return {
        "id": record.id,
        "name": record.name,
        "scope": record.scope,
        "galleries": list(record.galleries),
        "compreface": record.service,
        "created_at": record.created_at.isoformat(),
        **{
            name: moment.isoformat() if moment else None
            for name, moment in (
                ("revoked_at", record.revoked_at),
                ("expires_at", record.expires_at),
                ("used_at", record.used_at),
            )
        },
    }


def _words(record: KeyRecord) -> str:
    state = f"revoked {record.revoked_at:%Y-%m-%d}" if record.revoked_at else "valid"
    if record.expires_at and not record.revoked_at:
        state = f"{'expired' if record.is_expired else 'valid to'} {record.expires_at:%Y-%m-%d}"
    used = f"used {record.used_at:%Y-%m-%d}" if record.used_at else "not used"
    about = f"{record.id}  {record.scope:<7}  {record.created_at:%Y-%m-%d}  {state:<19}  {used:<15}"
    service = [f"CompreFace {record.service}"] if record.service else []
    only = [f"only {', '.join(record.galleries)}"] if record.galleries else []
    notes = "; ".join((*service, *only))
    return f"{about}  {printable(record.name)}{f'  ({notes})' if notes else ''}"
