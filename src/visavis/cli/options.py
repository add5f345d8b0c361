"""Options of commands: the sets that several share, and how each declaration becomes an option of typer's."""

import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast, get_args, get_origin, get_type_hints

import typer
from typing_extensions import is_typeddict

from visavis.cli.lazy import image, installation, recognizer, runtime
from visavis.config import PREFIX, Settings
from visavis.errors import InvalidOption
from visavis.options import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    DEFAULT_PACK,
    Attribute,
    Loading,
    OneFace,
    Option,
    Policy,
    Rate,
    Recognition,
    options_of,
)

if TYPE_CHECKING:
    from visavis import ImageLimits, Recognizer
    from visavis.models.runtime import RuntimeSpec

_Anything: TypeAlias = Any  # types, and what typer makes of options
_SETTINGS = {name: option for name, (_, option) in options_of(Settings).items()}
_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Settings)}
# What a command reads from the environment: these are the server's alone.
_NOT_FROM_ENVIRONMENT = ("fmr", "max_bytes", "max_pixels")
_POLICY = options_of(Policy)


def flag_of(name: str) -> str:
    """Return the option of a name: --min-face of min_face, --json of as_json, --all of all_."""
    return f"--{name.removeprefix('as_').rstrip('_').replace('_', '-')}"


def _option(name: str, kind: object, option: Option, flag: str | None = None) -> _Anything:
    """Return an option as typer declares it; where there is a setting of that name, it counts unless it is given."""
    return typer.Option(
        flag or flag_of(name),
        help=option.text,
        metavar=None if get_origin(kind) is Literal else option.metavar,
        show_default="none" if option.default == () else option.unset or True,
        envvar=f"{PREFIX}{name.upper()}" if name in _SETTINGS and name not in _NOT_FROM_ENVIRONMENT else None,
        min=option.at_least,
        max=option.at_most,
    )


# --- sets of options -------------------------------------------------------------------------------------------------

Paths: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Image files; folders, searched with all they contain; or - for an image from standard input.",
    ),
]
All: TypeAlias = Annotated[bool, Option("Take what is hidden in folders too, such as trash, snapshots and thumbnails.")]
Json: TypeAlias = Annotated[bool, Option("Print JSON.")]
JsonObject: TypeAlias = Annotated[bool, Option("Print one JSON object.")]
JsonArray: TypeAlias = Annotated[bool, Option("Print a JSON array.")]
JsonLines: TypeAlias = Annotated[bool, Option("Print JSON Lines: an object for each image.")]
Csv: TypeAlias = Annotated[bool, Option("Print CSV: a row for each face.")]
Part: TypeAlias = Annotated[
    str | None,
    Option(
        "Only the K-th of N parts of the images, so that N processes or machines do each once. An image's part follows "
        "from its path below PATH alone.",
        metavar="K/N",
        unset="all of them",
    ),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")]
Verbose: TypeAlias = Annotated[bool, Option("Say more, with a traceback where something fails.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Index: TypeAlias = Annotated[
    Path | None,
    Option(
        "Keep what is seen of photos there, so that only new and changed ones are looked at the next time: faces, "
        "embeddings and thumbnails, which are personal data.",
        metavar="FILE",
        unset="a .visavis-index of yours beside the photos, where there is one",
    ),
]
NamesFile: TypeAlias = Annotated[
    Path | None, Option("Who is who: the names that the page of visavis cluster saved.", metavar="FILE.json")
]
PackName: TypeAlias = Annotated[str, _SETTINGS["pack"]]
# What scripts may name, as other commands want it.
OwnPack: TypeAlias = Annotated[
    str | None, typer.Option("--pack", metavar="NAME", hidden=True, help="Not needed: a gallery knows its pack.")
]
ModelsDir: TypeAlias = Annotated[Path | None, options_of(Loading)["models_dir"][1]]
Mirror: TypeAlias = Annotated[str | None, replace(_SETTINGS["mirror"], metavar="URL", unset="official addresses")]
Proxy: TypeAlias = Annotated[
    str | None, replace(_SETTINGS["proxy"], metavar="URL", unset="what HTTPS_PROXY and its like say")
]
KeysFile: TypeAlias = Annotated[Path | None, _SETTINGS["keys_file"]]
GalleryName: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The gallery's name.")]
GalleryOption: TypeAlias = Annotated[
    str, typer.Option("--gallery", "-g", metavar="NAME", help="The gallery; see: visavis gallery list.")
]
PolicyChanges: TypeAlias = Annotated[Mapping[str, Any], Policy]
"""The fields of a policy that are given."""
ServerSettings: TypeAlias = Annotated[Mapping[str, str], Settings]
"""The settings of a server that are given, as the environment would have them."""

Naming: TypeAlias = Literal["auto", "folder", "file"]
"""What names a person: the folder below the one given, the file, or whichever fits."""

DEFAULT_GALLERY = "default"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where results go, and in which format."""

    as_json: JsonLines = False
    as_csv: Csv = False
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to a file, in the format of its suffix: .json, .jsonl, .csv, .npz or .parquet. It appears when "
            "it is whole.",
        ),
    ] = None
    resume: Annotated[
        bool,
        Option(
            "Keep what is seen beside the --output until that is whole, so that the same command goes on after a kill."
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Where galleries are, and what opens those that are encrypted."""

    url: Annotated[str | None, _option("store", str, _SETTINGS["store"])] = None
    key_file: Annotated[
        Path | None,
        _option(
            "gallery_key_file",
            Path,
            replace(_SETTINGS["gallery_key_file"], unset="the variable VISAVIS_GALLERY_KEY"),
            flag="--key-file",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which models look at which images."""

    pack: PackName = DEFAULT_PACK
    min_face: Annotated[float | None, options_of(Recognition)["min_face"][1]] = None
    max_bytes: Annotated[int, replace(_SETTINGS["max_bytes"], at_least=None)] = DEFAULT_MAX_BYTES
    max_pixels: Annotated[int, replace(_SETTINGS["max_pixels"], at_least=None)] = DEFAULT_MAX_PIXELS
    loading: Loading = field(default_factory=Loading)

    @property
    def folder(self) -> Path:
        """Where pulled models are kept."""
        return Path(self.loading.get("models_dir") or installation.default_models_dir())

    @property
    def spec(self) -> "RuntimeSpec":
        """How networks are run."""
        return runtime.RuntimeSpec(self.loading["runtime"], self.loading["precision"], self.loading["threads"])

    def limits(self) -> "ImageLimits":
        """Return the limits on images."""
        return image.ImageLimits(self.max_bytes, self.max_pixels)

    def check_installed(self) -> None:
        """Raise ModelMissing unless the pack was pulled or imported."""
        installation.check_installed(installation.find_pack(self.pack), self.folder)

    def load(self, streams: int = 1, *, allow_children: bool = False) -> "Recognizer":
        """Load the models, for so many inferences at the same time; on a terminal, say at first what else there is."""
        cache = Path(self.loading.get("cache_dir") or installation.default_cache_dir())
        is_first = sys.stderr.isatty() and not cache.exists()
        loaded = recognizer.Recognizer(
            self.pack,
            limits=self.limits(),
            min_face=self.min_face,
            streams=streams,
            allow_children=allow_children,
            **self.loading,
        )
        if is_first and cache.exists() and (advice := installation.advice(self.pack, self.folder)):
            logging.getLogger("visavis.cli").info("%s", advice)
        return loaded


@dataclass(frozen=True, slots=True)
class PhotoOptions:
    """Which photos of people whom one knows are compared, and how."""

    all_: All = False
    images: Annotated[Path | None, Option("Where its images are.", metavar="DIR", unset="the pairs file's folder")] = (
        None
    )
    pairs: Annotated[
        int, Option("Compare no more pairs of a folder: of more, some are drawn.", metavar="N", at_least=2)
    ] = 1_000_000
    seed: Annotated[int, Option("Of all draws.", metavar="N", at_least=0)] = 0
    groups: Annotated[
        Path | None,
        Option(
            "Who is of which group, as CSV; or the word folders: each folder of PATH is a group, and holds people's "
            "folders, or one photo of each.",
            metavar="FILE.csv",
        ),
    ] = None
    skip_missing: Annotated[bool, Option("Leave out pairs whose images are not there, and say how many.")] = False
    faces: Annotated[
        OneFace,
        Option(
            "Which face of an image counts: prominent, large and central; largest; or exactly one: main, which passes "
            "over those of less than half its area, or only."
        ),
    ] = "prominent"
    cache: Annotated[
        Path | None,
        Option("Keep embeddings, which are personal data, for the next time.", metavar="DIR", unset="nothing is kept"),
    ] = None


# --- typer's form of them --------------------------------------------------------------------------------------------

_Given: TypeAlias = Mapping[str, Any]
_Read: TypeAlias = Callable[[_Given], Any]
_Flags: TypeAlias = dict[str, inspect.Parameter]


def rate_of(text: str | None) -> Rate | None:
    """Return a false match rate as the library takes it, which checks it: a number, or a name."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return cast("Rate", text)


def _names_of(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers_of(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise InvalidOption(f"{text!r}: numbers are wanted, with commas between them") from None


# What typer cannot read: the type and the default that stand for it, and what makes it of them.
_READ_OTHERWISE: Mapping[object, tuple[Any, object, Callable[[Any], Any]]] = {
    Rate | None: (str | None, None, rate_of),
    Sequence[Attribute]: (str, "", _names_of),
    Sequence[float] | None: (str | None, None, _numbers_of),
    str | PathLike[str] | None: (Path | None, None, lambda path: path),
}


def bind(command: Callable[..., Any]) -> tuple[list[inspect.Parameter], _Read]:
    """Return a command's options and arguments as typer reads them, and what makes the command's parameters of these.

    A parameter whose type is a set of options, a ``TypedDict`` of ``visavis.options`` or a dataclass, is an option for
    each of its fields. What several sets have is one option, as the last of them declares it, and its value is theirs.
    """
    flags: _Flags = {}
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    reads = {each.name: _bind(each.name, each.annotation, each.default, flags) for each in parameters}
    return list(flags.values()), lambda given: {name: read(given) for name, read in reads.items()}


def _bind(name: str, kind: _Anything, default: object, flags: _Flags) -> _Read:
    """Add the options of a parameter, and return what makes its value of theirs."""
    about = getattr(kind, "__metadata__", (None,))[0]
    if about is Policy:
        return _bind_changes(flags)
    if about is Settings:
        return _bind_settings(flags)
    if is_typeddict(kind):
        declared = options_of(kind).items()
        return _bind_set(dict, {key: (Annotated[of, option], option.default) for key, (of, option) in declared}, flags)
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return _bind_set(
            cast("type", kind), {each.name: (hints[each.name], each.default) for each in fields(kind)}, flags
        )
    if not isinstance(about, Option):
        _add(flags, name, kind, default)
        return lambda given: given[name]
    kind, default, convert = _READ_OTHERWISE.get(get_args(kind)[0], (get_args(kind)[0], default, None))
    _add(flags, name, Annotated[kind, _option(name, kind, about)], default)
    return lambda given: convert(given[name]) if convert else given[name]


def _add(flags: _Flags, name: str, kind: object, default: object) -> None:
    flags.pop(name, None)
    flags[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _bind_set(make: Callable[..., Any], members: Mapping[str, tuple[Any, object]], flags: _Flags) -> _Read:
    reads = {name: _bind(name, kind, default, flags) for name, (kind, default) in members.items()}
    return lambda given: make(**{name: read(given) for name, read in reads.items()})


def _bind_changes(flags: _Flags) -> _Read:
    """Add an option for each field of a policy, which stays as it is where it is not given."""
    words = {
        name: "never" if option.unset == "never" else "default" for name, (_, option) in _POLICY.items() if option.unset
    }
    for name, (kind, option) in _POLICY.items():
        flag = f"{flag_of(name)}/--no-{flag_of(name)[2:]}" if kind is bool else flag_of(name)
        metavar = f"N|{words[name]}" if name in words else None
        about = typer.Option(flag, metavar=metavar, help=option.text)
        _add(flags, name, Annotated[str | None if name in words else kind | None, about], None)

    def value_of(name: str, value: str) -> object:
        try:
            return value if name not in words else None if value == words[name] else float(value)
        except ValueError:
            raise InvalidOption(f"{flag_of(name)} must be a number or {words[name]}, not {value!r}") from None

    return lambda given: {name: value_of(name, given[name]) for name in _POLICY if given[name] is not None}


def _bind_settings(flags: _Flags) -> _Read:
    """Add an option for each setting of the server that has a metavar, whose text is read as that of its variable."""
    names = [name for name, option in _SETTINGS.items() if option.metavar]
    for name in names:
        option, default = _SETTINGS[name], _DEFAULTS[name]
        shown = option.unset or (f"{default:g}" if isinstance(default, float) else str(default))
        about = typer.Option(flag_of(name), metavar=option.metavar, show_default=shown, help=option.text)
        _add(flags, name, Annotated[str | None, about], None)
    return lambda given: {name: given[name] for name in names if given[name] is not None}
