"""Settings of the server, read once from the environment."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args, get_origin
from urllib.parse import quote

import platformdirs

from visavis.errors import InvalidOption
from visavis.options import (
    DEFAULT_PACK,
    Option,
    Precision,
    Rate,
    Runtime,
    options_of,
)

PREFIX = "VISAVIS_"

Auth: TypeAlias = Literal["auto", "on", "off"]
LogFormat: TypeAlias = Literal["auto", "json", "text"]
Scope: TypeAlias = Literal["metrics", "read", "probe", "enrol", "admin"]
FaceService: TypeAlias = Literal["recognition", "detection", "verification"]
"""What a key of CompreFace is for."""
Keys: TypeAlias = tuple[tuple[Scope, str], ...]
"""Pairs of scope and secret."""

_DATA = "the user's data folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is made from. The variable of ``max_bytes`` is ``VISAVIS_MAX_BYTES``, and so on.

    Each setting is declared here alone. One with a metavar is an option of ``visavis serve`` too.
    """

    host: Annotated[str, Option("Where to listen; 0.0.0.0 is everywhere.", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int, Option("The port; 0 for any that is free.", metavar="N", at_least=0, at_most=65535)] = 8000
    pack: Annotated[str, Option("Models to use; see: visavis models.", metavar="NAME")] = DEFAULT_PACK
    runtime: Annotated[Runtime, Option("What runs the networks, or onnxruntime.", metavar="NAME")] = "openvino"
    precision: Annotated[Precision, Option("auto or f32.", metavar="NAME")] = "auto"
    threads: Annotated[
        int | None, Option("Threads that an inference may use.", unset="1", metavar="N", at_least=1, at_most=1024)
    ] = None
    workers: Annotated[
        int | None,
        Option("Images processed at the same time.", unset="all cores", metavar="N", at_least=1, at_most=1024),
    ] = None
    processes: Annotated[
        int, Option("Processes, each with workers and a queue of its own.", metavar="N", at_least=1)
    ] = 1
    queue: Annotated[int, Option("Calls that may wait for a worker; more are refused.", metavar="N", at_least=0)] = 16
    min_face: Annotated[
        float | None,
        Option("Smallest face to look for, where a call does not say.", unset="that of the pack", metavar="N"),
    ] = None
    fmr: Annotated[
        Rate | None,
        Option(
            "False match rate where a call does not say: strict, 1e-3, ...",
            unset="the pack's threshold",
            metavar="RATE",
        ),
    ] = None
    allow_children: Annotated[
        bool,
        Option("Decide about faces that look like children's, below about 12 years.", metavar="true|false"),
    ] = False
    max_bytes: Annotated[int, Option("Refuse larger images.", metavar="N", at_least=1)] = 20_000_000
    max_pixels: Annotated[int, Option("Refuse images of more pixels.", metavar="N", at_least=1)] = 50_000_000
    max_body_bytes: Annotated[int, Option("Refuse larger requests.", metavar="N", at_least=1)] = 25_000_000
    max_images: Annotated[int, Option("Refuse requests of more images.", metavar="N", at_least=1)] = 16
    max_searched_pixels: Annotated[
        int,
        Option("Refuse what would make a call search more pixels, at the scale of min_face.", metavar="N", at_least=1),
    ] = 64_000_000
    read_timeout_s: Annotated[float, Option("Within which a request must have arrived.", metavar="N", above=0)] = 30.0
    keep_alive_s: Annotated[
        float, Option("How long a connection stays open without a call; proxies wait up to 60.", metavar="N", above=0)
    ] = 75.0
    grace_s: Annotated[
        float, Option("Within which what was accepted is finished when a signal ends the server.", metavar="N", above=0)
    ] = 20.0
    fetch_allow: Annotated[
        tuple[str, ...],
        Option("Hosts, addresses and networks that URLs may lead to though private.", unset="none", metavar="LIST"),
    ] = ()
    fetch_timeout_s: Annotated[float, Option("Within which an image must have been fetched.", metavar="N", above=0)] = (
        10.0
    )
    auth: Annotated[
        Auth,
        Option("Whether keys are required; auto: beyond this machine, and where there are any.", metavar="on|off|auto"),
    ] = "auto"
    hosts: Annotated[
        tuple[str, ...],
        Option("Names by which calls without a key may call it, besides localhost.", unset="none", metavar="LIST"),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Option("Addresses and networks of proxies whose X-Forwarded-For is believed.", unset="none", metavar="LIST"),
    ] = ()
    tls_cert: Annotated[
        Path | None,
        Option("Certificate, and those that vouch for it, in PEM: serve https.", unset="none", metavar="FILE"),
    ] = None
    tls_key: Annotated[Path | None, Option("Its key, in PEM.", unset="none", metavar="FILE")] = None
    dialect_gallery: Annotated[
        str,
        Option(
            "Gallery of dialects whose clients name none, made when somebody is first enrolled; a key that is limited "
            "to one gallery means that one.",
            metavar="NAME",
        ),
    ] = "faces"
    immich_upstream: Annotated[
        str | None,
        Option(
            "Machine learning of Immich, to which the dialect immich passes on what is not about faces.",
            unset="none",
            metavar="URL",
        ),
    ] = None
    dialects: Annotated[
        tuple[str, ...],
        Option(
            "Protocols of other services that clients may speak, besides the two old ones.",
            unset="none",
            metavar="LIST",
        ),
    ] = ()
    compreface_demo_keys: Annotated[
        bool,
        Option(
            "Whether the three keys that everybody knows of CompreFace's demo are valid, while no call needs a key.",
            metavar="true|false",
        ),
    ] = False
    s3_endpoint: Annotated[
        str | None,
        Option("S3 server from which clients of AWS Rekognition may have images fetched.", unset="none", metavar="URL"),
    ] = None
    s3_key: Annotated[str | None, Option("Key for it, ID:SECRET.", unset="none: objects are public")] = field(
        default=None, repr=False
    )
    ui: Annotated[bool, Option("Whether to serve the page under /ui/, for people.", metavar="true|false")] = True
    store: Annotated[
        str | None,
        Option(
            "Where galleries are kept: sqlite:///FILE, or postgresql://USER@HOST/DATABASE.",
            unset=f"visavis.db in this folder, if it is there; else in {_DATA}",
            metavar="URL",
        ),
    ] = field(default=None, repr=False)  # it may hold a password
    gallery_key: Annotated[
        str | None,
        Option(
            "Key of encrypted galleries: 64 hex digits, or base64 of 32 bytes; while it changes two, the new first.",
            unset="none",
        ),
    ] = field(default=None, repr=False)
    gallery_key_file: Annotated[
        Path | None,
        Option(
            "Holds the key of encrypted galleries, as openssl rand -hex 32 makes one; while it changes two lines, the "
            "new one first.",
            unset="none",
            metavar="FILE",
        ),
    ] = None
    keys: Annotated[Keys, Option("Keys besides those in the file: SCOPE:SECRET,SCOPE:SECRET.", unset="none")] = field(
        default=(), repr=False
    )
    keys_file: Annotated[Path | None, Option("Where keys are kept.", unset=f"in {_DATA}", metavar="FILE")] = None
    rate: Annotated[
        str | None, Option("Calls allowed to each key or address.", unset="no limit", metavar="N/minute")
    ] = None
    search_rate: Annotated[
        str | None,
        Option("Megapixels that each key or address may have searched.", unset="no limit", metavar="N/minute"),
    ] = None
    cors: Annotated[
        tuple[str, ...], Option("Origins whose pages may call; * for all.", unset="none", metavar="LIST")
    ] = ()
    log_format: Annotated[
        LogFormat, Option("How log lines look; auto: text on a terminal, else json.", metavar="json|text|auto")
    ] = "auto"
    cache_dir: Annotated[
        Path | None, Option("Where converted models are kept.", unset="the user's cache folder", metavar="DIR")
    ] = None
    models_dir: Annotated[Path | None, Option("Where pulled models are kept.", unset=_DATA, metavar="DIR")] = None
    mirror: Annotated[
        str | None,
        Option("Where models are pulled from: files below it by their names, archives by theirs.", unset="none"),
    ] = field(default=None, repr=False)
    proxy: Annotated[str | None, Option("Proxy that models are pulled through.", unset="none")] = field(
        default=None, repr=False
    )

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidOption("host must not be empty; 0.0.0.0 or :: listens on every address")
        for name, (kind, option) in options_of(Settings).items():
            value, least, most = getattr(self, name), option.at_least, option.at_most
            if get_origin(kind) is Literal:
                option.check(name, kind, value)
            elif kind == Rate | None:
                if not (value is None or value in _NAMED_RATES or (isinstance(value, float) and 0 < value < 1)):
                    raise InvalidOption(f"{name} must be {_EXPECTED[_rate]}, not {value!r}")
            elif option.above is not None and not option.above < value < float("inf"):
                raise InvalidOption(f"{name} must be a number of seconds above {option.above}, not {value!r}")
            elif least is not None and value is not None and (value < least or (most is not None and value > most)):
                limits = f"of {least} or more" if most is None else f"from {least} to {most}"
                raise InvalidOption(f"{name} must be a whole number {limits}, not {value!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidOption("tls_cert and tls_key belong together; set both, or none")
        if self.gallery_key is not None and self.gallery_key_file is not None:
            raise InvalidOption("gallery_key and gallery_key_file are two ways to give one key; use one of them")

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings from variables that begin with ``VISAVIS_``; an empty one counts as absent.

        But for the key of the galleries: nothing must remain plain because a secret could not be read.

        Raises:
            InvalidOption: a value is out of its range, or there is no such setting; the message names the variable.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
        }
        if unknown := sorted(name for name in environment if name.startswith(PREFIX) and name not in VARIABLES):
            names = ", ".join(unknown) + ": there is no such setting" + _meant(unknown)
            raise InvalidOption(f"{names}; see the documentation for those that there are")
        for name in ("gallery_key", "gallery_key_file"):
            if given.get(name) == "":
                raise InvalidOption(
                    f"{PREFIX}{name.upper()}: it is set, and empty; unset it where nothing is encrypted"
                )
        values: dict[str, Any] = {}
        for name, text in given.items():
            parser = _PARSERS.get(options_of(Settings)[name][0], str)
            try:
                values |= {name: parser(text)} if text else {}
            except ValueError:
                told = "" if name == "keys" else f", not {text!r}"
                raise InvalidOption(f"{PREFIX}{name.upper()}: expected {_EXPECTED[parser]}{told}") from None
        try:
            return cls(**values)
        except InvalidOption as error:
            raise InvalidOption(f"{PREFIX}{str(error).partition(' ')[0].upper()}: {error}") from None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    @property
    def keys_required(self) -> bool:
        """Whether calls need a key, also where there is none: with ``auto``, where others can connect."""
        return self.auth == "on" or (self.auth == "auto" and (bool(self.trusted_proxies) or not self.is_loopback))


STORE_HERE = Path("visavis.db")
"""The store of those who name none, where there is such a file in the current folder."""


def store_url(given: str | None) -> str:
    """Return the URL of a store: the one given; or of that in this folder; else of the user's, whose folder is made."""
    if given is not None:
        return given
    path = STORE_HERE.absolute() if STORE_HERE.is_file() else Path(platformdirs.user_data_dir("visavis")) / STORE_HERE
    with suppress(OSError):  # who makes the file is told
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{quote(str(path))}"


VARIABLES = frozenset(f"{PREFIX}{setting.name.upper()}" for setting in fields(Settings))
"""All variables that are settings."""


def _meant(unknown: Sequence[str]) -> str:
    names = [setting.name.upper() for setting in fields(Settings)]
    bare = (name.removeprefix(PREFIX) for name in unknown)  # which is all that tells them apart
    close = dict.fromkeys(PREFIX + near for name in bare for near in get_close_matches(name, names, 1, _CLOSE))
    return f" (did you mean {', '.join(close)}?)" if close else ""


_CLOSE = 0.7  # of 1, for the same
_NAMED_RATES = tuple(name for part in get_args(Rate) for name in get_args(part))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _keys(text: str) -> Keys:
    pairs = [part.partition(":")[::2] for part in _list(text)]
    if not all(scope in get_args(Scope) and secret for scope, secret in pairs):
        raise ValueError  # which is told without the secrets
    return tuple((cast("Scope", scope), secret) for scope, secret in pairs)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError
    return _TRUTHS[text.lower()]


_TRUTHS = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def _rate(text: str) -> float | str:
    return text if text in _NAMED_RATES else float(text)


_PARSERS: Mapping[object, Callable[[str], Any]] = {
    **dict.fromkeys((int, int | None), int),
    **dict.fromkeys((float, float | None), float),
    bool: _truth,
    Path | None: Path,
    Rate | None: _rate,
    tuple[str, ...]: _list,
    Keys: _keys,
}
_EXPECTED: Mapping[Callable[[str], Any], str] = {
    int: "a whole number",
    _truth: "true or false",
    float: "a number",
    _rate: f"a number between 0 and 1, or one of {', '.join(_NAMED_RATES)}",
    _keys: f"SCOPE:SECRET,SCOPE:SECRET, each scope one of {', '.join(get_args(Scope))}",
}
