"""``visavis models``: the packs there are, and what becomes of their files."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli import models_keep, models_pull, models_show
from visavis.cli.messages import printable, reporting, results_stream
from visavis.cli.options import DEFAULT_PACK, ModelOptions, ModelsDirOption, QuietOption, VerboseOption
from visavis.cli.report import bytes_shown

if TYPE_CHECKING:
    from visavis.downloads.folder import ModelsFolder
    from visavis.models.packs import Pack

EXAMPLES = """\b
Examples:
  visavis models list --commercial
  visavis models show open
  visavis models pull open
  visavis models pull buffalo_l --accept-licence
  visavis models import ~/Downloads
  visavis models verify
  visavis models remove open

Once pulled, packs need no network. Without a command, packs are listed.
"""

JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON array.")]

app = typer.Typer(
    help="List, show, pull, import, verify and remove packs of models.",
    epilog=EXAMPLES,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def models(
    context: typer.Context,
    *,
    as_json: JsonOption = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List, show, pull, import, verify and remove packs of models."""
    if context.invoked_subcommand is None:
        list_(as_json=as_json, models_dir=models_dir, quiet=quiet, verbose=verbose)


@app.command("list", short_help="List the packs there are.")
def list_(
    *,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="Only those whose licences allow commercial use.")
    ] = False,
    as_json: JsonOption = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the packs: the numbers in an embedding, what is here, whether they may be used commercially, and their size.

    "installed" is about what a pack needs, and so is the size; under "optional parts" are those that are here too.
    """
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads.folder import ModelsFolder  # noqa: PLC0415  # likewise
        from visavis.models.catalogue import PACKS  # noqa: PLC0415  # brings NumPy

        folder = ModelsFolder(ModelOptions(models_dir=models_dir).models_folder())
        packs = [_plain(pack, folder) for pack in PACKS.values() if pack.commercial_use or not commercial]
        stream = results_stream()
        stream.write((json.dumps(packs, indent=2) if as_json else _table(packs)) + "\n")
        stream.flush()


app.command("show", short_help="Show all about a pack.")(models_show.show)
app.command("pull", short_help="Fetch packs.", epilog=models_pull.PULL_EXAMPLES)(models_pull.pull)
app.command("import", short_help="Take in files that are here already.", epilog=models_pull.IMPORT_EXAMPLES)(
    models_pull.import_
)
app.command("verify", short_help="Check files again.", epilog=models_keep.VERIFY_EXAMPLES)(models_keep.verify)
app.command("remove", short_help="Delete the files of packs.", epilog=models_keep.REMOVE_EXAMPLES)(models_keep.remove)


def _plain(pack: "Pack", folder: "ModelsFolder") -> dict[str, Any]:
    from visavis.downloads.installed import installed, parts_here  # noqa: PLC0415  # likewise
    from visavis.models.installation import as_pinned  # noqa: PLC0415  # brings NumPy

    pack = as_pinned(pack, folder.path)
    pins = folder.pins()
    sizes = [file.size for file in pack.files]
    return {
        "name": pack.name,
        "default": pack.name == DEFAULT_PACK,
        "summary": pack.summary,
        "installed": installed(pack, folder),
        "optional": {part.role: parts_here([part], folder) for part in pack.optional},
        "commercial_use": pack.commercial_use,
        "dimension": pack.dimension,
        "metric": pack.metric,
        "threshold": pack.threshold,
        "threshold_provenance": pack.threshold_provenance,
        "size": None if None in sizes else sum(size or 0 for size in sizes),
        "files": [
            {"role": part.role, **models_show.plain_file(file, pins)}
            for part in (*pack.parts, *pack.optional)
            for file in part.files
        ],
    }


def _optional_shown(parts: dict[str, str]) -> str:
    """Return which optional parts are here: their roles, all, none, or a dash where the pack offers none."""
    here = [role for role, installed in parts.items() if installed == "yes"]
    if len(here) == len(parts):
        return "all" if parts else "-"
    return ", ".join(here) or "none"


def _table(packs: list[dict[str, Any]]) -> str:
    head = ("pack", "numbers", "installed", "optional parts", "commercial use", "size", "")
    rows = [
        (
            f"{pack['name']}{' (default)' if pack['default'] else ''}",
            str(pack["dimension"]),
            pack["installed"],
            _optional_shown(pack["optional"]),
            "yes" if pack["commercial_use"] else "no",
            bytes_shown(pack["size"]),
            printable(pack["summary"]),
        )
        for pack in packs
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)
