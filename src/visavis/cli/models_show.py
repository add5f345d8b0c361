"""``visavis models show``: all that is known of a pack."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.messages import reporting, results_stream
from visavis.cli.options import DEFAULT_PACK, ModelOptions, ModelsDirOption, QuietOption, VerboseOption
from visavis.cli.report import FactValue, readable

if TYPE_CHECKING:
    from visavis.downloads.folder import ModelsFolder
    from visavis.models.packs import ModelFile, Pack, Part

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
        plain = _plain(as_installed(find_pack(name), folder.path), folder)
        stream = results_stream()
        stream.write((json.dumps(plain, indent=2) if as_json else _readable(plain)) + "\n")
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


def _plain(pack: "Pack", folder: "ModelsFolder") -> dict[str, Any]:
    from visavis.downloads.installed import installed  # noqa: PLC0415  # likewise
    from visavis.models.installation import calibration_path  # noqa: PLC0415  # brings NumPy

    known = all(file.sha256 for file in pack.part("embedder").files)
    template = pack.template
    return {
        "name": pack.name,
        "default": pack.name == DEFAULT_PACK,
        "summary": pack.summary,
        "installed": installed(pack, folder),
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
    from visavis.downloads.installed import parts_here  # noqa: PLC0415  # brings NumPy

    pins = folder.pins()
    return {
        "role": part.role,
        "needed": needed,
        "head": part.head,
        "installed": parts_here([part], folder),
        "commercial_use": part.commercial_use,
        "training_data": part.training_data,
        "files": [plain_file(file, pins) for file in part.files],
    }


def _readable(pack: dict[str, Any]) -> str:
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
