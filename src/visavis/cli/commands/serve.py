"""``visavis serve``: the HTTP server."""

import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.options import VerboseOption
from visavis.cli.terminal import reporting, say
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.config import Settings

EXAMPLES = """\b
Every setting is an environment variable too: --max-body-bytes is VISAVIS_MAX_BODY_BYTES. Those without an option:
VISAVIS_KEYS=SCOPE:SECRET,... for keys besides those of visavis keys, and VISAVIS_GALLERY_KEY for what the file of
--gallery-key-file would hold.

\b
Exit codes:
  0  a signal ended it, and all that was accepted is answered
  2  it could not start

\b
Examples:
  visavis serve
  visavis serve --port 9000 --workers 8
  visavis keys create --name app --scope read && visavis serve --host 0.0.0.0
"""

_FACTORY = "visavis.cli.commands.serve:app_from_environment"
_POLL_S = 0.2
_PATIENCE_S = 60.0


def _option(metavar: str, default: object, text: str) -> object:
    return typer.Option(metavar=metavar, show_default=str(default), help=text)


def serve(  # noqa: PLR0913  # a command's options are independent
    *,
    host: Annotated[str | None, _option("ADDRESS", "127.0.0.1", "Where to listen; 0.0.0.0 is everywhere.")] = None,
    port: Annotated[str | None, _option("N", 8000, "The port; 0 for any that is free.")] = None,
    pack: Annotated[str | None, _option("NAME", "dlib", "Models to use; see: visavis models.")] = None,
    runtime: Annotated[str | None, _option("NAME", "openvino", "What runs the networks, or onnxruntime.")] = None,
    precision: Annotated[str | None, _option("NAME", "auto", "auto or f32.")] = None,
    threads: Annotated[str | None, _option("N", 1, "Threads that an inference may use.")] = None,
    workers: Annotated[str | None, _option("N", "all cores", "Images processed at the same time.")] = None,
    processes: Annotated[str | None, _option("N", 1, "Processes, each with workers and a queue of its own.")] = None,
    queue: Annotated[str | None, _option("N", 16, "Calls that may wait for a worker; more are refused.")] = None,
    min_face: Annotated[str | None, _option("N", 0.08, "Smallest face to look for, where a call does not say.")] = None,
    fmr: Annotated[
        str | None,
        _option("RATE", "the pack's threshold", "False match rate where a call does not say: strict, 1e-3, ..."),
    ] = None,
    max_bytes: Annotated[str | None, _option("N", 20_000_000, "Refuse larger images.")] = None,
    max_pixels: Annotated[str | None, _option("N", 50_000_000, "Refuse images of more pixels.")] = None,
    max_body_bytes: Annotated[str | None, _option("N", 25_000_000, "Refuse larger requests.")] = None,
    max_images: Annotated[str | None, _option("N", 16, "Refuse requests of more images.")] = None,
    read_timeout_s: Annotated[str | None, _option("N", 30, "Within which a request must have arrived.")] = None,
    fetch_allow: Annotated[
        str | None, _option("LIST", "none", "Hosts, addresses and networks that URLs may lead to though private.")
    ] = None,
    fetch_timeout_s: Annotated[str | None, _option("N", 10, "Within which an image must have been fetched.")] = None,
    auth: Annotated[
        str | None, _option("on|off|auto", "auto", "Whether keys are required; auto: beyond this machine.")
    ] = None,
    store: Annotated[
        str | None,
        _option("URL", "sqlite:///visavis.db", "Where galleries are kept, or postgresql://USER@HOST/DATABASE."),
    ] = None,
    gallery_key_file: Annotated[
        str | None, _option("FILE", "none", "Holds the key of encrypted galleries, as openssl rand -hex 32 makes one.")
    ] = None,
    keys_file: Annotated[str | None, _option("FILE", "in the user's data folder", "Where keys are kept.")] = None,
    rate: Annotated[str | None, _option("N/minute", "no limit", "Calls allowed to each key or address.")] = None,
    cors: Annotated[str | None, _option("LIST", "none", "Origins whose pages may call; * for all.")] = None,
    log_format: Annotated[str | None, _option("json|text", "json", "How log lines look.")] = None,
    cache_dir: Annotated[
        str | None, _option("DIR", "the user's cache folder", "Where converted models are kept.")
    ] = None,
    models_dir: Annotated[str | None, _option("DIR", "the user's data folder", "Where pulled models are kept.")] = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the HTTP server until Ctrl-C or SIGTERM. Its log goes to standard error."""
    given = {
        "host": host,
        "port": port,
        "pack": pack,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "workers": workers,
        "processes": processes,
        "queue": queue,
        "min_face": min_face,
        "fmr": fmr,
        "max_bytes": max_bytes,
        "max_pixels": max_pixels,
        "max_body_bytes": max_body_bytes,
        "max_images": max_images,
        "read_timeout_s": read_timeout_s,
        "fetch_allow": fetch_allow,
        "fetch_timeout_s": fetch_timeout_s,
        "auth": auth,
        "store": store,
        "gallery_key_file": gallery_key_file,
        "keys_file": keys_file,
        "rate": rate,
        "cors": cors,
        "log_format": log_format,
        "cache_dir": cache_dir,
        "models_dir": models_dir,
    }
    with reporting(quiet=not verbose, verbose=verbose):
        # So that further processes, which read the environment, find the same.
        os.environ.update({f"VISAVIS_{name.upper()}": value for name, value in given.items() if value is not None})
        try:
            start = _prepare(_settings())
        except InvalidOption as error:
            raise InvalidOption(_as_options(str(error), given)) from error
    start()


def _as_options(message: str, given: Mapping[str, str | None]) -> str:
    """Return a message in which settings that were given as options are called so, and not by their variables."""
    for name, value in given.items():
        if value is not None:
            message = re.sub(rf"\bVISAVIS_{name.upper()}\b", f"--{name.replace('_', '-')}", message)
    return message


def app_from_environment() -> object:
    """Make the application; for the processes of ``--processes``."""
    from visavis.server.app import create_app  # noqa: PLC0415  # brings everything
    from visavis.server.observability import configure_logging  # noqa: PLC0415  # likewise

    settings = _settings()
    configure_logging(settings.log_format)
    return create_app(settings)


def _settings() -> "Settings":
    from visavis.config import Settings  # noqa: PLC0415  # --help does without

    return Settings.from_env(os.environ)


def _prepare(settings: "Settings") -> Callable[[], None]:
    """Do all that may fail, and return what then serves until a signal comes."""
    from visavis.server.app import create_app, load_recognizer  # noqa: PLC0415  # brings everything
    from visavis.server.galleries import check_store  # noqa: PLC0415  # likewise
    from visavis.server.listening import bind, serve, serve_in_processes, url_of  # noqa: PLC0415  # likewise
    from visavis.server.observability import configure_logging  # noqa: PLC0415  # likewise

    _check_keys(settings)
    _check_pack(settings)
    check_store(settings)
    listener = bind(settings)
    url = url_of(listener)
    if settings.processes > 1:
        threading.Thread(target=_say_when_ready, args=(url,), daemon=True).start()
        return partial(serve_in_processes, _FACTORY, settings, listener)
    app = create_app(settings, load_recognizer(settings))

    def start() -> None:
        configure_logging(settings.log_format)
        serve(app, listener, lambda: say(f"visavis listens on {url}"))

    return start


def _check_keys(settings: "Settings") -> None:
    """Refuse to stand open to others by mistake.

    Raises:
        InvalidOption: keys are required and there is none.
    """
    from visavis.server.app import key_store  # noqa: PLC0415  # brings everything

    if settings.keys_required and not any(key.revoked_at is None for key in key_store(settings).list()):
        raise InvalidOption(
            f"listening on {settings.host} needs keys, and there is none: make one with visavis keys create, or set "
            "VISAVIS_KEYS; or, where everybody may call, --auth off"
        )


def _check_pack(settings: "Settings") -> None:
    """Refuse to start where the models are not: further processes could only say so in their log.

    Raises:
        InvalidOption: there is no such pack.
        SetupError: it is not installed, or a file that tells of it is damaged.
    """
    from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy
    from visavis.models.installation import (  # noqa: PLC0415  # likewise
        as_installed,
        check_installed,
        default_models_dir,
    )

    folder = settings.models_dir or default_models_dir()
    check_installed(as_installed(find_pack(settings.pack), folder), folder)


def _say_when_ready(url: str) -> None:
    while True:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=_PATIENCE_S):  # noqa: S310  # our own
            break
        time.sleep(_POLL_S)
    say(f"visavis listens on {url}")
