"""The command ``visavis``: commands and groups of commands, each loaded when it is asked for."""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, TypeAlias, cast

import typer
from typer.core import TyperGroup

from visavis import __version__
from visavis.cli.options import Quiet, Verbose, bind
from visavis.cli.terminal import reporting, say, write
from visavis.config import PREFIX, VARIABLES

_Click: TypeAlias = Any  # types that typer brings, which move from version to version
# Plain help and plain errors: they load in half the time and can be searched and piped.
_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


@dataclass(frozen=True, slots=True)
class Command:
    """A function as a command: it takes options, sets of them and arguments, and returns the exit code; None for 0."""

    function: Callable[..., int | None]
    epilog: str = ""  # of its help
    reports: bool = True  # whether it has --quiet and --verbose, and an exception becomes a line and an exit code

    def build(self, name: str, summary: str) -> _Click:
        """Return typer's command."""
        app = typer.Typer(add_completion=False, **_PLAIN)
        app.command(name, short_help=summary, epilog=self.epilog or None)(self.run)
        return typer.main.get_command(app)

    @property
    def run(self) -> Callable[..., None]:
        """The function as typer calls it, with an option for each field of a set."""
        flags, read = bind(self.function)
        verbosity, _ = bind(_verbosity) if self.reports else ([], None)

        def run(**given: object) -> None:
            if not self.reports:
                self.function(**read(given))
                return
            with reporting(quiet=bool(given["quiet"]), verbose=bool(given["verbose"])):
                code = self.function(**read(given))
            if code:
                raise typer.Exit(code)

        run.__doc__ = self.function.__doc__
        run.__annotations__ = {flag.name: flag.annotation for flag in [*flags, *verbosity]}
        vars(run)["__signature__"] = inspect.Signature([*flags, *verbosity])
        return run


def _verbosity(*, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Take the options that nearly all commands have."""


def command(epilog: str = "", *, reports: bool = True) -> Callable[[Callable[..., int | None]], Command]:
    """Make a function a ``Command``."""
    return lambda function: Command(function, epilog, reports)


class _LazyGroup(TyperGroup):
    """A group that loads a command when it is asked for, and lists them without."""

    homes: Mapping[str, tuple[str, str]]

    def list_commands(self, _context: _Click) -> list[str]:
        return list(self.homes)

    def get_command(self, _context: _Click, name: str) -> _Click:
        if name not in self.homes:
            return None
        home, summary = self.homes[name]
        module, attribute = home.split(":")
        return getattr(import_module(f"visavis.cli.commands.{module}"), attribute).build(name, summary)

    def format_commands(self, _context: _Click, formatter: _Click) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.homes.items()])


@dataclass(frozen=True, slots=True)
class Group:
    """A group of commands."""

    help: str
    epilog: str
    commands: Mapping[str, tuple[str, str]]  # by name: MODULE:NAME below visavis.cli.commands, and a line about it
    callback: Callable[..., None] = lambda: None  # called before them
    runs_alone: bool = False  # whether the callback is called without a command, too, in place of the help

    def build(self, name: str, summary: str = "", *, is_root: bool = False) -> _Click:
        """Return typer's group."""
        app = typer.Typer(
            name=name,
            cls=_LazyGroup,
            help=self.help,
            short_help=summary,
            epilog=self.epilog,
            invoke_without_command=self.runs_alone,
            no_args_is_help=not self.runs_alone,
            context_settings={"help_option_names": ["-h", "--help"]},
            add_completion=is_root,
            **_PLAIN,
        )
        app.callback()(self.callback)
        group = cast("_LazyGroup", typer.main.get_command(app))
        group.homes, group.commands = self.commands, dict.fromkeys(self.commands, cast("Any", None))
        return group


def _print_version(value: object) -> None:
    if value:
        write(f"visavis {__version__}")
        raise typer.Exit


def _visavis(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand == "serve":
        return  # which says so itself, and does not start
    for name in sorted(os.environ.keys() - VARIABLES):
        if name.startswith(PREFIX):
            say(f"visavis: {name} is no setting, and changes nothing: see docs/server.md for those that there are")


VISAVIS = Group(
    help="Face recognition: find faces, embed them, and tell whether two images show the same person.",
    epilog="""\b
Examples:
  visavis verify passport.jpg selfie.jpg
  visavis detect photos/ --draw drawn/
  visavis embed photos/ -o faces.npz
  visavis enrol people/
  visavis identify party.jpg
  visavis find me.jpg photos/
  visavis serve
  visavis doctor

Every command explains itself: visavis verify --help. Results go to standard output, everything else to standard
error. Options that name an environment variable take their default from it.
""",
    commands={
        "verify": ("faces:verify", "Tell whether two images show the same person."),
        "detect": ("faces:detect", "Find faces in images."),
        "embed": ("faces:embed", "Find faces and turn each into an embedding."),
        "enrol": ("people:enrol", "Enrol people from photos into a gallery."),
        "identify": ("people:identify", "Tell who of a gallery is on images."),
        "find": ("find:find", "Find a person on photos."),
        "cluster": ("cluster:cluster", "Group the unknown faces of images into people."),
        "calibrate": ("accuracy:calibrate", "Find thresholds for error rates."),
        "evaluate": ("accuracy:evaluate", "Measure how often a pack is right."),
        "samples": ("samples:samples", "Write photos to try visavis with."),
        "serve": ("server:serve", "Run the HTTP server."),
        "doctor": ("doctor:doctor", "Check the installation."),
        "gallery": ("gallery:GALLERY", "Make, look into, check, copy and forget galleries."),
        "backup": ("backup:backup", "Copy galleries and keys to one file."),
        "keys": ("server:KEYS", "Make, list and revoke the server's API keys."),
        "models": ("models:MODELS", "List, show, pull, import, verify and remove packs of models."),
    },
    callback=_visavis,
)
