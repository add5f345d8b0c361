"""``visavis models``: packs of models, listed, shown, pulled, imported, verified and removed."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visavis.cli.app import Command, Group, command
from visavis.cli.lazy import catalogue, decide, folder, importing, installation, removing, transfer
from visavis.cli.lazy import pull as pulling
from visavis.cli.options import JsonArray, JsonObject, Mirror, ModelOptions, ModelsDir, Proxy
from visavis.cli.terminal import (
    FactValue,
    aligned,
    bytes_shown,
    error_to_dict,
    printable,
    readable,
    say,
    transfer_bar,
    write,
)
from visavis.errors import InvalidOption
from visavis.options import DEFAULT_FPIR, DEFAULT_PACK, Option

if TYPE_CHECKING:
    from visavis.downloads.folder import ModelsFolder
    from visavis.downloads.licences import Accept, Restriction
    from visavis.downloads.pull import Lacking, Pulled
    from visavis.models.packs import ModelFile, Pack, Role

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
_log = logging.getLogger("visavis.cli")

Names = Annotated[list[str], typer.Argument(metavar="PACK", help="Their names; see: visavis models list.")]
AcceptLicence = Annotated[
    bool, Option("Accept licences that forbid commercial use; recorded, and not asked for again.")
]


def _models(context: typer.Context, *, as_json: JsonArray = False, models_dir: ModelsDir = None) -> None:
    if context.invoked_subcommand is None:
        _list(_folder(models_dir), as_json=as_json)


MODELS = Group(
    help="List, show, pull, import, verify and remove packs of models.",
    epilog="""\b
Examples:
  visavis models list --commercial
  visavis models show open
  visavis models pull open
  visavis models pull buffalo_l --accept-licence
  visavis models import ~/Downloads
  visavis models verify
  visavis models remove open

Once pulled, packs need no network. Without a command, packs are listed.
""",
    commands={
        "list": ("models:list_", "List the packs there are."),
        "show": ("models:show", "Show all about a pack."),
        "pull": ("models:pull", "Fetch packs."),
        "import": ("models:import_", "Take in files that are here already."),
        "verify": ("models:verify", "Check files again."),
        "remove": ("models:remove", "Delete the files of packs."),
    },
    callback=Command(_models).run,
    runs_alone=True,
)


def _folder(models_dir: Path | None) -> ModelsFolder:
    return folder.ModelsFolder(ModelOptions(loading={"models_dir": models_dir}).folder)


def _find(names: Iterable[str]) -> list[Pack]:
    return [installation.find_pack(name) for name in dict.fromkeys(names)]


@command()
def list_(
    *,
    commercial: Annotated[bool, Option("Only those whose licences allow commercial use.")] = False,
    as_json: JsonArray = False,
    models_dir: ModelsDir = None,
) -> None:
    """List the packs: the numbers in an embedding, what is here, whether they may be used commercially, and their size.

    "installed" is about what a pack needs, and so is the size; under "optional parts" are those that are here too.
    """
    _list(_folder(models_dir), as_json=as_json, commercial=commercial)


def _list(here: ModelsFolder, *, as_json: bool, commercial: bool = False) -> None:
    packs = [_summary(pack, here) for pack in catalogue.PACKS.values() if pack.commercial_use or not commercial]
    head = ("pack", "numbers", "installed", "optional parts", "commercial use", "size", "")
    write(json.dumps(packs, indent=2) if as_json else "\n".join(aligned([head, *map(_summary_row, packs)])))


def _summary(pack: Pack, here: ModelsFolder) -> dict[str, Any]:
    pack, pins = installation.as_pinned(pack, here.path), here.pins()
    sizes = [file.size for file in pack.files]
    parts = (*pack.parts, *pack.optional)
    return {
        **_about(pack, here),
        "optional": {part.role: here.parts_here([part]) for part in pack.optional},
        **_members(pack, "commercial_use", "dimension", "metric", "threshold", "threshold_provenance"),
        "size": None if None in sizes else sum(size or 0 for size in sizes),
        "files": [{"role": part.role, **_file(file, pins)} for part in parts for file in part.files],
    }


def _summary_row(pack: Mapping[str, Any]) -> tuple[str, ...]:
    parts = pack["optional"]
    here = [role for role, state in parts.items() if state == "yes"]
    optional = "-" if not parts else "all" if len(here) == len(parts) else ", ".join(here) or "none"
    name, commercial = _titled(pack), "yes" if pack["commercial_use"] else "no"
    numbers, size = str(pack["dimension"]), bytes_shown(pack["size"])
    return name, numbers, pack["installed"], optional, commercial, size, pack["summary"]


def _members(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _about(pack: Pack, here: ModelsFolder) -> dict[str, Any]:
    about = {"name": pack.name, "default": pack.name == DEFAULT_PACK, "summary": pack.summary}
    return {**about, "installed": here.installed(pack)}


def _titled(pack: Mapping[str, Any]) -> str:
    return f"{pack['name']} (default)" if pack["default"] else str(pack["name"])


def _file(file: ModelFile, pins: Mapping[str, str]) -> dict[str, Any]:
    """Return what the catalogue says of a file, which has its pin if there is one, ready for JSON."""
    return {
        **_members(file, "name", "size", "sha256"),
        "pinned": file.sha256 is not None and pins.get(file.name) == file.sha256,
        "sha384": file.sha384 or None,
        "licence": file.licence,
        "package": file.package or None,
        "url": file.archive.url if file.archive else file.url or None,
        "member": file.member or None,
        "origin": file.origin,
    }


# --- show ------------------------------------------------------------------------------------------------------------


@command()
def show(
    name: Annotated[str, typer.Argument(metavar="PACK", help="Its name; see: visavis models list.")],
    *,
    as_json: JsonObject = False,
    models_dir: ModelsDir = None,
) -> None:
    """Show all about a pack: its files with hashes and licences, what it wants, how it decides, and who measured that.

    Exit codes: 0 shown, 2 there is no such pack.
    """
    here = _folder(models_dir)
    plain = _details(installation.as_installed(installation.find_pack(name), here.path), here)
    if as_json:
        write(json.dumps(plain, indent=2))
    else:
        write("\n\n".join([_pack_words(plain), _decision_words(plain), *map(_part_words, plain["parts"])]))


_NUMBERS = ("threshold", "identify_threshold", "identify_margin", "conflict_threshold", "cluster_threshold")
_PROVENANCES = ("threshold_provenance", "identify_provenance", "cluster_provenance")


def _details(pack: Pack, here: ModelsFolder) -> dict[str, Any]:
    known, pins = all(file.sha256 for file in pack.part("embedder").files), here.pins()
    return {
        **_about(pack, here),
        **_members(pack, "commercial_use", "dimension", "metric", "mirror"),
        "space": pack.space.id if known else None,
        "input": asdict(pack.input),
        "template": {**_members(pack.template, "side", "points", "sampling"), "points": pack.template.points.tolist()},
        **_members(pack, *_NUMBERS, *_PROVENANCES),
        "quality": asdict(pack.quality),
        "calibrated_here": known and installation.calibration_path(pack, here.path).is_file(),
        "calibration": asdict(pack.calibration) if pack.calibration else None,
        "rates": asdict(pack.rates) if pack.rates else None,
        "worst_group_fmr": _worst_group(pack),
        "child_provenance": pack.child.provenance if pack.child else None,
        "parts": [
            {
                "role": part.role,
                "needed": part in pack.parts,
                "head": part.head,
                "installed": here.parts_here([part]),
                **_members(part, "commercial_use", "training_data"),
                "files": [_file(file, pins) for file in part.files],
            }
            for part in (*pack.parts, *pack.optional)
        ],
    }


def _worst_group(pack: Pack) -> dict[str, float]:
    """Return the false match rates of the worst group of adults, at the pack's threshold and at those with names."""
    group = pack.calibration.worst_group if pack.calibration else None
    named = decide.named_rules(pack.rates) if pack.rates else {}
    thresholds = {"default": pack.threshold, **{name: rule.threshold for name, rule in named.items()}}
    return {} if group is None else {name: decide.rate_at(group, at) for name, at in thresholds.items()}


def _pack_words(pack: Mapping[str, Any]) -> str:
    wants, template = pack["input"], pack["template"]
    values = "whitened" if wants["whiten"] else f"(value - {tuple(wants['mean'])}) * {wants['scale']:g}"
    facts = {
        "summary": pack["summary"],
        "installed": pack["installed"],
        "commercial use": pack["commercial_use"],
        "embedding": f"{pack['dimension']} numbers, compared by their {pack['metric']} distance",
        "embedding space": pack["space"] or "known when it is installed",
        "input": f"{wants['colours']}, {wants['layout']}, {wants['dtype']}, {values}",
        "chip": f"{template['side']} x {template['side']} pixels, sampling {template['sampling']}"
        + (", and its mirror image" if pack["mirror"] else ""),
        "landmarks": " ".join(f"({x:.1f}, {y:.1f})" for x, y in template["points"]),
    }
    return readable(_titled(pack), facts)


def _decision_words(pack: Mapping[str, Any]) -> str:
    calibration, rates = pack["calibration"], pack["rates"]
    by_rate = f"what keeps an FPIR of {DEFAULT_FPIR:g} in the gallery"
    identified = by_rate if rates else f"{pack['identify_threshold']:g}"
    facts: dict[str, FactValue] = {
        "same person below": f"{pack['threshold']:g}",
        "  from": pack["threshold_provenance"],
        "identified below": f"{identified}, by a margin of {pack['identify_margin']:g}",
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
        names = {rate: f", {name}" for name, rate in decide.NAMED_RATES.items()}
        facts["error rates"] = rates["provenance"]
        for point in rates["points"]:
            label = f"  FMR {point['fmr']:g}{names.get(point['fmr'], '')}"
            facts[label] = f"{point['threshold']:.4g} ({point['low']:.4g} to {point['high']:.4g})"
    if worst := pack["worst_group_fmr"]:
        told = ", ".join(f"{name} {rate:.2g}" for name, rate in worst.items())
        facts["  in the worst group"] = f"FMR {told}; {pack['calibration']['worst_group']['provenance']}"
    facts["children told by"] = pack["child_provenance"] or "nothing: not measured"
    return readable("how it decides", facts)


def _part_words(part: Mapping[str, Any]) -> str:
    names = ("installed", "commercial_use", "training_data")
    facts: dict[str, FactValue] = {name.replace("_", " "): part[name] for name in names}
    for number, file in enumerate(part["files"], 1):
        label = "file" if len(part["files"]) == 1 else f"file {number}"
        known = f"{file['sha256']} ({'pinned here' if file['pinned'] else 'published'})"
        address = f"{file['member']} in {file['url']}" if file["member"] else str(file["url"])
        facts[label] = file["name"] + ("" if file["size"] is None else f", {file['size']:,} bytes")
        facts[f"{label}, licence"] = f"{file['licence']}: {file['origin']}"
        facts[f"{label}, SHA-256"] = known if file["sha256"] else "none published; pinned when it is first pulled"
        if file["sha384"]:
            facts[f"{label}, SHA-384"] = f"{file['sha384']} (published)"
        facts[f"{label}, from"] = f"the PyPI package {file['package']}" if file["package"] else address
    return readable(f"{part['role']}, {part['head']}{'' if part['needed'] else ' (optional)'}", facts)


# --- pull and import -------------------------------------------------------------------------------------------------


@command(PULL_EXAMPLES)
def pull(
    names: Names,
    *,
    with_: Annotated[
        str | None,
        Option(
            "Optional parts to fetch too: of liveness, pose, age_gender, with commas between; all; or none.",
            metavar="LIST",
            unset="all that are as free as the pack",
        ),
    ] = None,
    accept_licence: AcceptLicence = False,
    mirror: Mirror = None,
    proxy: Proxy = None,
    as_json: JsonArray = False,
    models_dir: ModelsDir = None,
) -> int:
    """Fetch packs from their publishers or a mirror, check their hashes, and print what is here then.

    What is here already is not fetched again, and a download that was cut off goes on where it ended.
    """
    packs = _find(names)
    source, here = transfer.Source(mirror=mirror or None, proxy=proxy or None), _folder(models_dir)
    files: list[Pulled] = []
    lacking: list[Lacking] = []
    try:
        with transfer_bar() as report:
            for pack in packs:
                roles = _roles(with_, [part.role for part in pack.optional])
                accept = _accept(given=accept_licence)
                files += pulling.pull(
                    [pack], here, source, optional=roles, accept=accept, report=report, on_lacking=lacking.append
                )
    finally:  # a pack that fails takes back nothing of those before it
        _print_pulled(files, lacking, as_json=as_json)
    if not files and not lacking:
        _log.info("nothing to fetch: what is asked for comes with PyPI packages, and is here")
    return int(bool(lacking))


def _roles(given: str | None, offered: list[Role]) -> list[Role] | None:
    if given in (None, "all", "none"):
        return {"all": offered, "none": []}.get(given or "")
    roles = [role.strip() for role in given.split(",") if role.strip()]
    if not roles:
        raise InvalidOption("--with takes parts with commas between, all, or none")
    return cast("list[Role]", roles)  # those that there are not are refused where the pack is known


def _accept(*, given: bool) -> Accept:
    """Return what answers whether a licence is accepted: by the option, or somebody at the terminal, asked once."""

    @cache
    def accept(restriction: Restriction) -> bool:
        if given or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return given
        return typer.confirm(f"{printable(str(restriction))}.\nDo you accept it?", err=True)

    return accept


def _print_pulled(files: Sequence[Pulled], lacking: Sequence[Lacking], *, as_json: bool) -> None:
    """Print what is here, each file once: as it was for the first pack that has it; and say what is not."""
    files = list({file.name: file for file in reversed(files)}.values())[::-1]
    if as_json:
        members, nothing = ("size", "sha256", "pinned"), {"path": None, "size": None, "sha256": None, "pinned": False}
        told = {file.name: {"path": str(file.path), **_members(file, *members), "new": file.is_new} for file in files}
        plain = [{"name": name, **about, "error": None} for name, about in told.items()]
        absent = {name: error_to_dict(each.error) for each in lacking for name in each.names}
        plain += [{"name": name, **nothing, "new": False, "error": error} for name, error in absent.items()]
        write(json.dumps(plain, indent=2))
    for file in () if as_json else files:
        state, known = "fetched" if file.is_new else "here already", "pinned here" if file.pinned else "as published"
        write(f"{file.name}: {state}, SHA-256 {file.sha256} ({known})")
    for each in lacking:
        say(f"visavis: the pack {each.pack!r} works, but without {each.role}: {each.error}")


@command(IMPORT_EXAMPLES)
def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files, zip archives of publishers, or folders of them.")
    ],
    *,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The one file's name in the catalogue, where it is not recognised."),
    ] = None,
    accept_licence: AcceptLicence = False,
    as_json: JsonArray = False,
    models_dir: ModelsDir = None,
) -> int:
    """Take in files of packs that are here already, as where there is no network.

    They are recognised by their hashes or, where their publishers state none, by their names; and copied.
    """
    plain, refused = [], 0
    accept = _accept(given=accept_licence)
    for result in importing.import_files(paths, _folder(models_dir), name=name, accept=accept):
        error = error_to_dict(result.error) if result.error else None
        plain.append({"path": str(result.path), "names": list(result.names), "error": error})
        if result.error:
            refused += 1
            say(f"visavis: {result.error}")
        elif not as_json:
            write(f"{printable(str(result.path))}: {', '.join(result.names)}")
    if as_json:
        write(json.dumps(plain, indent=2))
    return 0 if not refused else 2 if refused == len(plain) else 1


@command(VERIFY_EXAMPLES)
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PACK]", help="Their names; without any, all files that are here.")
    ] = None,
    *,
    as_json: JsonArray = False,
    models_dir: ModelsDir = None,
) -> int:
    """Read every file again and compare its hash with the published or pinned one. Needs no network."""
    packs = _find(names or catalogue.PACKS)
    results = []
    for result in removing.verify(packs, _folder(models_dir), missing_is_fault=bool(names)):
        results.append(result)
        if not as_json:
            write(f"{result.name}: {'well' if result.fault is None else result.fault}")
    if as_json:
        write(json.dumps([asdict(result) for result in results], indent=2))
    return int(any(result.fault for result in results))


@command(REMOVE_EXAMPLES)
def remove(
    names: Names,
    *,
    dry_run: Annotated[bool, Option("Only tell what would be deleted.")] = False,
    unpin: Annotated[bool, Option("Forget the hashes pinned here too, so that changed files can be pulled.")] = False,
    as_json: JsonObject = False,
    models_dir: ModelsDir = None,
) -> None:
    """Delete the files of packs, but for those that another complete pack needs. Pinned hashes are kept.

    What was converted from them stays in the cache of converted models, where nothing uses it without them.
    """
    packs = _find(names)
    for pack in packs:
        if all(installation.is_packaged(file) for file in (*pack.files, *pack.optional_files)):
            packages = ", ".join(dict.fromkeys(file.package for file in pack.files))
            raise InvalidOption(f"the pack {pack.name!r} comes with the PyPI package {packages}: nothing to delete")
    removal = removing.remove(packs, _folder(models_dir), dry_run=dry_run, unpin=unpin)
    would = "would be " if dry_run else ""
    lines = [f"the pack {name!r} is not installed: nothing to delete" for name in removal.absent]
    lines += [f"{name}: {would}deleted" for name in removal.removed]
    lines += [f"{name}: kept, for the pack {pack}" for name, pack in removal.kept.items()]
    lines += [f"{name}: its pinned hash {would or 'is '}forgotten" for name in removal.unpinned]
    if removal.freed or not removal.absent:
        lines.append(f"{bytes_shown(removal.freed)} {would}freed")
    write(json.dumps(asdict(removal), indent=2) if as_json else "\n".join(lines))
