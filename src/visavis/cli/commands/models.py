"""``visavis models``: list, show, pull, import, verify and remove packs of models."""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visavis.cli.options import DEFAULT_PACK, ModelOptions, ModelsDirOption, QuietOption, VerboseOption
from visavis.cli.terminal import (
    FactValue,
    bytes_shown,
    printable,
    readable,
    reporting,
    results_stream,
    say,
    transfer_bar,
)
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.downloads.folder import ModelsFolder
    from visavis.downloads.importing import Imported
    from visavis.downloads.licences import Accept, Restriction
    from visavis.downloads.pull import Lacking, Pulled
    from visavis.downloads.removing import Removal, Verified
    from visavis.models.packs import ModelFile, Pack, Part, Role


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
                _print(_verified_line(result))
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


def _verified_line(result: "Verified") -> str:
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
                _print_lines(f"{printable(str(result.path))}: {', '.join(result.names)}")
        if as_json:
            _print_lines(json.dumps([_plain_import(result) for result in results], indent=2))
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
        _print_lines(json.dumps([*map(_plain_file, files), *absent.values()], indent=2))
    else:
        _print_lines("\n".join(map(_pulled_line, files)))
    for each in lacking:
        say(f"visavis: the pack {each.pack!r} works, but without {each.role}: {each.error}")


def _plain_file(file: "Pulled") -> dict[str, Any]:
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


def _pulled_line(file: "Pulled") -> str:
    state = "fetched" if file.is_new else "here already"
    return f"{file.name}: {state}, SHA-256 {file.sha256} ({'pinned here' if file.pinned else 'as published'})"


def _plain_import(result: "Imported") -> dict[str, Any]:
    error = result.error
    return {
        "path": str(result.path),
        "names": list(result.names),
        "error": {"code": error.code, "message": str(error)} if error else None,
    }


def _print_lines(text: str) -> None:
    if text:
        stream = results_stream()
        stream.write(text + "\n")
        stream.flush()


_NUMBERS = ("threshold", "identify_threshold", "identify_margin", "conflict_threshold", "cluster_threshold")
_PROVENANCES = ("threshold_provenance", "identify_provenance", "cluster_provenance")


def show(
    name: Annotated[str, typer.Argument(metavar="PACK", help="Its name; see: visavis models list.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    models_dir: ModelsDirOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show all about a pack: its files with hashes and licences, what it wants, how it decides, and who measured that.

    Exit codes: 0 shown, 2 there is no such pack.
    """
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.downloads.folder import ModelsFolder  # noqa: PLC0415  # likewise
        from visavis.models.catalogue import find_pack  # noqa: PLC0415  # brings NumPy
        from visavis.models.installation import as_installed  # noqa: PLC0415  # likewise

        folder = ModelsFolder(ModelOptions(models_dir=models_dir).models_folder())
        plain = _plain_details(as_installed(find_pack(name), folder.path), folder)
        stream = results_stream()
        stream.write((json.dumps(plain, indent=2) if as_json else _pack_in_words(plain)) + "\n")
        stream.flush()


def plain_file(file: "ModelFile", pins: Mapping[str, str]) -> dict[str, Any]:
    """Return what the catalogue says of a file, ready for JSON.

    Args:
        file: of the catalogue, with its pin, if it has one.
        pins: all there are.
    """
    return {
        "name": file.name,
        "size": file.size,
        "sha256": file.sha256,
        "pinned": file.sha256 is not None and pins.get(file.name) == file.sha256,
        "sha384": file.sha384 or None,
        "licence": file.licence,
        "package": file.package or None,
        "url": file.archive.url if file.archive else file.url or None,
        "member": file.member or None,
        "origin": file.origin,
    }


def _plain_details(pack: "Pack", folder: "ModelsFolder") -> dict[str, Any]:
    from visavis.models.installation import calibration_path  # noqa: PLC0415  # brings NumPy

    known = all(file.sha256 for file in pack.part("embedder").files)
    template = pack.template
    return {
        "name": pack.name,
        "default": pack.name == DEFAULT_PACK,
        "summary": pack.summary,
        "installed": folder.installed(pack),
        "commercial_use": pack.commercial_use,
        "dimension": pack.dimension,
        "metric": pack.metric,
        "space": pack.space.id if known else None,
        "input": asdict(pack.input),
        "template": {"side": template.side, "points": template.points.tolist(), "sampling": template.sampling},
        **{name: getattr(pack, name) for name in (*_NUMBERS, *_PROVENANCES)},
        "quality": asdict(pack.quality),
        "calibrated_here": known and calibration_path(pack, folder.path).is_file(),
        "calibration": asdict(pack.calibration) if pack.calibration else None,
        "rates": asdict(pack.rates) if pack.rates else None,
        "parts": [
            *(_plain_part(part, folder, needed=True) for part in pack.parts),
            *(_plain_part(part, folder, needed=False) for part in pack.optional),
        ],
    }


def _plain_part(part: "Part", folder: "ModelsFolder", *, needed: bool) -> dict[str, Any]:

    pins = folder.pins()
    return {
        "role": part.role,
        "needed": needed,
        "head": part.head,
        "installed": folder.parts_here([part]),
        "commercial_use": part.commercial_use,
        "training_data": part.training_data,
        "files": [plain_file(file, pins) for file in part.files],
    }


def _pack_in_words(pack: dict[str, Any]) -> str:
    default = " (default)" if pack["default"] else ""
    sections = [readable(pack["name"] + default, _facts(pack)), readable("how it decides", _decisions(pack))]
    return "\n\n".join([*sections, *map(_readable_part, pack["parts"])])


def _facts(pack: dict[str, Any]) -> dict[str, FactValue]:
    wants, template = pack["input"], pack["template"]
    values = "whitened" if wants["whiten"] else f"(value - {tuple(wants['mean'])}) * {wants['scale']:g}"
    points = " ".join(f"({x:.1f}, {y:.1f})" for x, y in template["points"])
    return {
        "summary": pack["summary"],
        "installed": pack["installed"],
        "commercial use": pack["commercial_use"],
        "embedding": f"{pack['dimension']} numbers, compared by their {pack['metric']} distance",
        "embedding space": pack["space"] or "known when it is installed",
        "input": f"{wants['colours']}, {wants['layout']}, {wants['dtype']}, {values}",
        "chip": f"{template['side']} x {template['side']} pixels, sampling {template['sampling']}",
        "landmarks": points,
    }


def _decisions(pack: dict[str, Any]) -> dict[str, FactValue]:
    calibration, rates = pack["calibration"], pack["rates"]
    facts: dict[str, FactValue] = {
        "same person below": f"{pack['threshold']:g}",
        "  from": pack["threshold_provenance"],
        "identified below": f"{pack['identify_threshold']:g}, by a margin of {pack['identify_margin']:g}",
        "not enrolled below": f"{pack['conflict_threshold']:g} to another subject",
        "  both from": pack["identify_provenance"],
        "grouped below": f"{pack['cluster_threshold']:g}",
        "  by": pack["cluster_provenance"],
        "calibrated here": pack["calibrated_here"],
        "probability": "not measured",
        "error rates": "not measured: visavis calibrate does",
    }
    if calibration:
        facts["probability"] = f"one half at {calibration['midpoint']:g}, slope {calibration['slope']:g}"
        facts["  fitted on"] = calibration["provenance"]
    if rates:
        from visavis.core.decide import NAMED_RATES  # noqa: PLC0415  # brings NumPy

        names = {rate: name for name, rate in NAMED_RATES.items()}
        facts["error rates"] = rates["provenance"]
        for point in rates["points"]:
            name = names.get(point["fmr"])
            label = f"  FMR {point['fmr']:g}" + (f", {name}" if name else "")
            facts[label] = f"{point['threshold']:.4g} ({point['low']:.4g} to {point['high']:.4g})"
    return facts


def _readable_part(part: dict[str, Any]) -> str:
    facts: dict[str, FactValue] = {
        "installed": part["installed"],
        "commercial use": part["commercial_use"],
        "training data": part["training_data"],
    }
    for number, file in enumerate(part["files"], 1):
        label = "file" if len(part["files"]) == 1 else f"file {number}"
        facts[label] = file["name"] + ("" if file["size"] is None else f", {file['size']:,} bytes")
        facts[f"{label}, licence"] = f"{file['licence']}: {file['origin']}"
        facts[f"{label}, SHA-256"] = _hash_shown(file)
        if file["sha384"]:
            facts[f"{label}, SHA-384"] = f"{file['sha384']} (published)"
        facts[f"{label}, from"] = _address_shown(file)
    return readable(f"{part['role']}, {part['head']}{'' if part['needed'] else ' (optional)'}", facts)


def _hash_shown(file: dict[str, Any]) -> str:
    if file["sha256"] is None:
        return "none published; pinned when it is first pulled"
    return f"{file['sha256']} ({'pinned here' if file['pinned'] else 'published'})"


def _address_shown(file: dict[str, Any]) -> str:
    if file["package"]:
        return f"the PyPI package {file['package']}"
    return f"{file['member']} in {file['url']}" if file["member"] else str(file["url"])


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
        packs = [_plain_summary(pack, folder) for pack in PACKS.values() if pack.commercial_use or not commercial]
        stream = results_stream()
        stream.write((json.dumps(packs, indent=2) if as_json else _table(packs)) + "\n")
        stream.flush()


app.command("show", short_help="Show all about a pack.")(show)
app.command("pull", short_help="Fetch packs.", epilog=PULL_EXAMPLES)(pull)
app.command("import", short_help="Take in files that are here already.", epilog=IMPORT_EXAMPLES)(import_)
app.command("verify", short_help="Check files again.", epilog=VERIFY_EXAMPLES)(verify)
app.command("remove", short_help="Delete the files of packs.", epilog=REMOVE_EXAMPLES)(remove)


def _plain_summary(pack: "Pack", folder: "ModelsFolder") -> dict[str, Any]:
    from visavis.models.installation import as_pinned  # noqa: PLC0415  # brings NumPy

    pack = as_pinned(pack, folder.path)
    pins = folder.pins()
    sizes = [file.size for file in pack.files]
    return {
        "name": pack.name,
        "default": pack.name == DEFAULT_PACK,
        "summary": pack.summary,
        "installed": folder.installed(pack),
        "optional": {part.role: folder.parts_here([part]) for part in pack.optional},
        "commercial_use": pack.commercial_use,
        "dimension": pack.dimension,
        "metric": pack.metric,
        "threshold": pack.threshold,
        "threshold_provenance": pack.threshold_provenance,
        "size": None if None in sizes else sum(size or 0 for size in sizes),
        "files": [
            {"role": part.role, **plain_file(file, pins)}
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
