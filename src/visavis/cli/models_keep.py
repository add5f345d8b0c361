"""``visavis models verify`` and ``visavis models remove``: what becomes of files that are here."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.messages import reporting, results_stream
from visavis.cli.options import ModelOptions, ModelsDirOption, QuietOption, VerboseOption
from visavis.cli.report import bytes_shown
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.downloads.folder import ModelsFolder
    from visavis.downloads.removing import Removal, Verified
    from visavis.models.packs import Pack

VERIFY_EXAMPLES = """\b
Exit codes:
  0  all is well
  1  something is missing or damaged
  2  it cannot be told: wrong usage or set-up
"""
REMOVE_EXAMPLES = """\b
Exit codes:
  0  the files are gone, or were not there, which is said
  2  they are not

\b
Examples:
  visavis models remove buffalo_l --dry-run
  visavis models remove facenet --unpin && visavis models pull facenet
"""

_PROBLEMS = 1


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PACK]", help="Their names; without any, all files that are here."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read every file again and compare its hash with the published or pinned one. Needs no network."""
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads import removing  # noqa: PLC0415  # brings NumPy

        packs = _packs(names or [])
        results = []
        for result in removing.verify(packs, _folder(models_dir), missing_is_fault=bool(names)):
            results.append(result)
            if not as_json:
                _print(_readable(result))
        if as_json:
            _print(json.dumps([asdict(result) for result in results], indent=2))
        raise typer.Exit(_PROBLEMS if any(result.fault for result in results) else 0)


def remove(  # noqa: PLR0913  # a command's options are independent
    names: Annotated[list[str], typer.Argument(metavar="PACK", help="Their names; see: visavis models list.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Forget the hashes pinned here too, so that changed files can be pulled.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Delete the files of packs, but for those that another complete pack needs. Pinned hashes are kept.

    What was converted from them stays in the cache of converted models, where nothing uses it without them.
    """
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads import removing  # noqa: PLC0415  # brings NumPy

        packs = _packs(names)
        for pack in packs:
            if all(file.package for file in (*pack.files, *pack.optional_files)):
                packages = ", ".join(dict.fromkeys(file.package for file in pack.files))
                raise InvalidOption(f"the pack {pack.name!r} comes with the PyPI package {packages}: nothing to delete")
        removal = removing.remove(packs, _folder(models_dir), dry_run=dry_run, unpin=unpin)
        _print(json.dumps(asdict(removal), indent=2) if as_json else _told(removal, dry_run=dry_run))


def _packs(names: list[str]) -> "list[Pack]":
    from visavis.models.catalogue import PACKS, find_pack  # noqa: PLC0415  # brings NumPy

    return [find_pack(name) for name in dict.fromkeys(names)] if names else list(PACKS.values())


def _folder(models_dir: Path | None) -> "ModelsFolder":
    from visavis.downloads.folder import ModelsFolder  # noqa: PLC0415  # brings NumPy

    return ModelsFolder(ModelOptions(models_dir=models_dir).models_folder())


def _readable(result: "Verified") -> str:
    return f"{result.name}: {'well' if result.fault is None else result.fault}"


def _told(removal: "Removal", *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = [f"the pack {name!r} is not installed: nothing to delete" for name in removal.absent]
    lines += [f"{name}: {would}deleted" for name in removal.removed]
    lines += [f"{name}: kept, for the pack {pack}" for name, pack in removal.kept.items()]
    lines += [f"{name}: its pinned hash {would or 'is '}forgotten" for name in removal.unpinned]
    if removal.freed or not removal.absent:
        lines.append(f"{bytes_shown(removal.freed)} {would}freed")
    return "\n".join(lines)


def _print(text: str) -> None:
    stream = results_stream()
    stream.write(text + "\n")
    stream.flush()
