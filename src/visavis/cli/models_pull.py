"""``visavis models pull`` and ``visavis models import``: how files of packs come here."""

import json
import logging
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visavis.cli.messages import printable, reporting, results_stream, say
from visavis.cli.options import ModelOptions, ModelsDirOption, QuietOption, VerboseOption
from visavis.cli.progress import transfer_bar
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.downloads.importing import Imported
    from visavis.downloads.pull import Accept, Lacking, Pulled, Restriction
    from visavis.models.packs import Role

PULL_EXAMPLES = """\b
Exit codes:
  0  all files are here, fetched now or before
  1  what the packs need is here, but an optional part could not be had: they work without it
  2  something that they need is not, and nothing half-written is in its place

\b
Examples:
  visavis models pull open
  visavis models pull open --with none
  visavis models pull buffalo_l --accept-licence
  visavis models pull open --mirror https://models.example.com/visavis

HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are heeded, as everywhere.
"""
IMPORT_EXAMPLES = """\b
Exit codes:
  0  all files are taken in
  1  some were refused
  2  nothing was taken in

\b
Examples:
  visavis models import face_detection_yunet_2023mar.onnx
  visavis models import buffalo_l.zip --accept-licence
  visavis models import /media/stick
  visavis models import download.bin --as facenet_weights.h5
"""

_log = logging.getLogger("visavis.cli")
_SOME_REFUSED, _NONE_TAKEN = 1, 2
_WITHOUT_OPTIONAL = 1

AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-licence", help="Accept licences that forbid commercial use; recorded, and not asked for again."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]


def pull(  # noqa: PLR0913  # a command's options are independent
    names: Annotated[list[str], typer.Argument(metavar="PACK", help="Their names; see: visavis models list.")],
    *,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="LIST",
            show_default="all that are as free as the pack",
            help="Optional parts to fetch too: of liveness, pose, age_gender, with commas between; all; or none.",
        ),
    ] = None,
    accept_licence: AcceptOption = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar="VISAVIS_MIRROR",
            metavar="URL",
            show_default="official addresses",
            help="Fetch from below this URL: files under their names in the catalogue, archives under their own.",
        ),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            envvar="VISAVIS_PROXY",
            metavar="URL",
            show_default="what HTTPS_PROXY and its like say",
            help="Fetch through this proxy.",
        ),
    ] = None,
    as_json: JsonOption = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Fetch packs from their publishers or a mirror, check their hashes, and print what is here then.

    What is here already is not fetched again, and a download that was cut off goes on where it ended.
    """
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads import pull as pulling  # noqa: PLC0415  # brings httpx
        from visavis.downloads.folder import ModelsFolder  # noqa: PLC0415  # likewise
        from visavis.downloads.transfer import Source  # noqa: PLC0415  # likewise
        from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy

        packs = [find_pack(name) for name in dict.fromkeys(names)]
        source = Source(mirror=mirror or None, proxy=proxy or None)
        folder = ModelsFolder(ModelOptions(models_dir=models_dir).models_folder())
        files: list[Pulled] = []
        lacking: list[Lacking] = []
        try:
            with transfer_bar(shown=not quiet and sys.stderr.isatty()) as report:
                for pack in packs:
                    files += pulling.pull(
                        [pack],
                        folder,
                        source,
                        optional=_roles(with_, [part.role for part in pack.optional]),
                        accept=_accept(given=accept_licence),
                        report=report,
                        on_lacking=lacking.append,
                    )
        finally:  # a pack that fails takes back nothing of those before it
            _tell(files, lacking, as_json=as_json)
        if lacking:
            raise typer.Exit(_WITHOUT_OPTIONAL)
        if not files:
            _log.info("nothing to fetch: what is asked for comes with PyPI packages, and is here")


def import_(  # noqa: PLR0913  # likewise
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files, zip archives of publishers, or folders of them.")
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The one file's name in the catalogue, where it is not recognised."),
    ] = None,
    accept_licence: AcceptOption = False,
    as_json: JsonOption = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take in files of packs that are here already, as where there is no network.

    They are recognised by their hashes or, where their publishers state none, by their names; and copied.
    """
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads.folder import ModelsFolder  # noqa: PLC0415  # brings NumPy
        from visavis.downloads.importing import import_files  # noqa: PLC0415  # likewise

        folder = ModelsFolder(ModelOptions(models_dir=models_dir).models_folder())
        results = []
        for result in import_files(paths, folder, name=name, accept=_accept(given=accept_licence)):
            results.append(result)
            if result.error:
                say(f"visavis: {result.error}")
            elif not as_json:
                _print(f"{printable(str(result.path))}: {', '.join(result.names)}")
        if as_json:
            _print(json.dumps([_plain_import(result) for result in results], indent=2))
        refused = sum(result.error is not None for result in results)
        raise typer.Exit(0 if not refused else _NONE_TAKEN if refused == len(results) else _SOME_REFUSED)


def _roles(given: str | None, offered: "list[Role]") -> "list[Role] | None":
    """Return the optional parts that are wished for; None for the usual ones."""
    if given is None:
        return None
    if given == "all":
        return offered
    if given == "none":
        return []
    roles = [role.strip() for role in given.split(",") if role.strip()]
    if not roles:
        raise InvalidOption("--with takes parts with commas between, all, or none")
    return cast("list[Role]", roles)  # those that there are not are refused where the pack is known


def _accept(*, given: bool) -> "Accept":
    """Return what answers whether a licence is accepted: by the option, or somebody at the terminal, asked once."""

    @cache
    def accept(restriction: "Restriction") -> bool:
        if given:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return typer.confirm(f"{printable(str(restriction))}.\nDo you accept it?", err=True)

    return accept


def _tell(files: "list[Pulled]", lacking: "list[Lacking]", *, as_json: bool) -> None:
    """Tell what is here, each file once: as it was for the first pack that has it; and what is not."""
    files = list({file.name: file for file in reversed(files)}.values())[::-1]
    if as_json:
        absent = {name: _plain_absent(name, each) for each in lacking for name in each.names}
        _print(json.dumps([*map(_plain, files), *absent.values()], indent=2))
    else:
        _print("\n".join(map(_readable, files)))
    for each in lacking:
        say(f"visavis: the pack {each.pack!r} works, but without {each.role}: {each.error}")


def _plain(file: "Pulled") -> dict[str, Any]:
    return {
        "name": file.name,
        "path": str(file.path),
        "size": file.size,
        "sha256": file.sha256,
        "pinned": file.pinned,
        "new": file.is_new,
        "error": None,
    }


def _plain_absent(name: str, lacking: "Lacking") -> dict[str, Any]:
    """Return a file of an optional part that could not be had, in the form of those that are here."""
    error = {"code": lacking.error.code, "message": str(lacking.error)}
    return {"name": name, "path": None, "size": None, "sha256": None, "pinned": False, "new": False, "error": error}


def _readable(file: "Pulled") -> str:
    state = "fetched" if file.is_new else "here already"
    return f"{file.name}: {state}, SHA-256 {file.sha256} ({'pinned here' if file.pinned else 'as published'})"


def _plain_import(result: "Imported") -> dict[str, Any]:
    error = result.error
    return {
        "path": str(result.path),
        "names": list(result.names),
        "error": {"code": error.code, "message": str(error)} if error else None,
    }


def _print(text: str) -> None:
    if text:
        stream = results_stream()
        stream.write(text + "\n")
        stream.flush()
