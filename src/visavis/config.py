"""Every setting of the server, read once from the environment."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from visavis.errors import InvalidOption
from visavis.options import Precision, Runtime

PREFIX = "VISAVIS_"

Auth: TypeAlias = Literal["auto", "on", "off"]
LogFormat: TypeAlias = Literal["json", "text"]
NamedRate: TypeAlias = Literal["strict", "balanced", "lenient"]
Scope: TypeAlias = Literal["read", "enrol", "admin"]

_MOST_THREADS = 1024
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is made from. The variable of ``max_bytes`` is ``VISAVIS_MAX_BYTES``, and so on.

    Attributes:
        host, port: where it listens.
        pack, runtime, precision, min_face, fmr, cache_dir, models_dir: as in ``Recognizer``.
        threads: that one inference may use; None for 1, so that each worker has a core of its own.
        workers: how many images are processed at the same time; None for as many as there are cores.
        processes: each with workers, a queue, rate limits and metrics of its own.
        queue: how many calls may wait for a worker; one more is refused with 503.
        max_bytes, max_pixels: of an image.
        max_body_bytes: of a request.
        max_images: in a request.
        read_timeout_s: within which a request must have arrived.
        fetch_allow: hosts, addresses and networks that URLs may lead to though they are private.
        fetch_timeout_s: within which an image must have been fetched.
        auth: whether keys are required; "auto" requires them where others than this machine can connect.
        keys: pairs of scope and secret, besides those in the file.
        keys_file: where keys are kept; None for the user's data folder.
        rate: calls allowed to each key, or address without keys, such as "600/minute"; None for no limit.
        mirror, proxy: of ``visavis models pull``, which alone downloads models.
        cors: origins whose pages may call the API; "*" for all.
        log_format: one JSON object a line, or text.
        store: the URL of the galleries' store, which may hold a password.
        gallery_key: that encrypted galleries are opened with: 64 hex digits, or base64 of 32 bytes.
        gallery_key_file: that holds it, in place of ``gallery_key``.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    pack: str = "dlib"
    runtime: Runtime = "openvino"
    precision: Precision = "auto"
    threads: int | None = None
    workers: int | None = None
    processes: int = 1
    queue: int = 16
    min_face: float = 0.08
    fmr: float | NamedRate | None = None
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_body_bytes: int = 25_000_000
    max_images: int = 16
    read_timeout_s: float = 30.0
    fetch_allow: tuple[str, ...] = ()
    fetch_timeout_s: float = 10.0
    auth: Auth = "auto"
    keys: tuple[tuple[Scope, str], ...] = field(default=(), repr=False)
    keys_file: Path | None = None
    rate: str | None = None
    cors: tuple[str, ...] = ()
    log_format: LogFormat = "json"
    cache_dir: Path | None = None
    models_dir: Path | None = None
    mirror: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    store: str = field(default="sqlite:///visavis.db", repr=False)
    gallery_key: str | None = field(default=None, repr=False)
    gallery_key_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidOption("host must not be empty; 0.0.0.0 or :: listens on every address")
        _check_range("port", self.port, 0, _LAST_PORT)
        _check_range("queue", self.queue, 0, None)
        for name in ("threads", "workers"):
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), 1, _MOST_THREADS)
        for name in ("processes", "max_bytes", "max_pixels", "max_body_bytes", "max_images"):
            _check_range(name, getattr(self, name), 1, None)
        for name in ("read_timeout_s", "fetch_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidOption(f"{name} must be a number of seconds above 0, not {getattr(self, name)!r}")
        _check_fmr(self.fmr)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidOption(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
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
        if unknown := unknown_variables(environment):
            names = ", ".join(unknown) + ": there is no such setting" + _meant(unknown)
            raise InvalidOption(f"{names}; see the documentation for those that there are")
        for name in ("gallery_key", "gallery_key_file"):
            if given.get(name) == "":
                raise InvalidOption(
                    f"{PREFIX}{name.upper()}: it is set, and empty; unset it where nothing is encrypted"
                )
        values = {name: _parse(name, value) for name, value in given.items() if value}
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
        """Whether calls need a key."""
        return self.auth == "on" or (self.auth == "auto" and not self.is_loopback)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that look like settings and are none, in their order."""
    known = {PREFIX + setting.name.upper() for setting in fields(Settings)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _meant(unknown: Sequence[str]) -> str:
    """Return the question whether those settings were meant that are called almost the same, if there are any."""
    names = [setting.name.upper() for setting in fields(Settings)]
    bare = (name.removeprefix(PREFIX) for name in unknown)  # which is all that tells them apart
    close = dict.fromkeys(PREFIX + near for name in bare for near in get_close_matches(name, names, 1, _CLOSE))
    return f" (did you mean {', '.join(close)}?)" if close else ""


_CLOSE = 0.7  # of 1, for the same
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "runtime": get_args(Runtime),
    "precision": get_args(Precision),
    "auth": get_args(Auth),
    "log_format": get_args(LogFormat),
}


def _check_range(name: str, value: int, least: int, most: int | None) -> None:
    if value < least or (most is not None and value > most):
        limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
        raise InvalidOption(f"{name} must be a whole number {limits}, not {value!r}")


def _check_fmr(fmr: float | str | None) -> None:
    if (isinstance(fmr, float) and 0 < fmr < 1) or fmr is None or fmr in get_args(NamedRate):
        return
    raise InvalidOption(f"fmr must be {_EXPECTED[_fmr]}, not {fmr!r}")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _keys(text: str) -> tuple[tuple[Scope, str], ...]:
    pairs = [part.partition(":")[::2] for part in _list(text)]
    if not all(scope in get_args(Scope) and secret for scope, secret in pairs):
        raise ValueError  # which is told without the secrets
    return tuple((cast("Scope", scope), secret) for scope, secret in pairs)


def _fmr(text: str) -> float | str:
    return text if text in get_args(NamedRate) else float(text)


_EXPECTED: Mapping[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    _fmr: f"a number between 0 and 1, or one of {', '.join(get_args(NamedRate))}",
    _keys: "SCOPE:SECRET,SCOPE:SECRET, each scope one of read, enrol, admin",
}
_PARSERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("port", "threads", "workers", "processes", "queue"), int),
    **dict.fromkeys(("max_bytes", "max_pixels", "max_body_bytes", "max_images"), int),
    **dict.fromkeys(("min_face", "read_timeout_s", "fetch_timeout_s"), float),
    **dict.fromkeys(("fetch_allow", "cors"), _list),
    **dict.fromkeys(("keys_file", "cache_dir", "models_dir", "gallery_key_file"), Path),
    "keys": _keys,
    "fmr": _fmr,
}


def _parse(name: str, text: str) -> Any:  # noqa: ANN401  # each setting has its own type
    parser = _PARSERS.get(name, str)
    try:
        return parser(text)
    except ValueError:
        given = "" if name == "keys" else f", not {text!r}"
        raise InvalidOption(f"{PREFIX}{name.upper()}: expected {_EXPECTED[parser]}{given}") from None
