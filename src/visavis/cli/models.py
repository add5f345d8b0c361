"""``visavis models``: the packs there are."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visavis.cli.messages import reporting, results_stream
from visavis.cli.options import DEFAULT_PACK, QuietOption, VerboseOption
from visavis.cli.report import readable

if TYPE_CHECKING:
    from visavis.models.catalogue import Pack


def models(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """List the packs: their files with sizes, licences and origins, and how they decide."""
    with reporting(quiet=quiet, verbose=verbose):
        from visavis.models.catalogue import PACKS  # noqa: PLC0415  # brings NumPy

        packs = [_plain(pack) for pack in PACKS.values()]
        stream = results_stream()
        stream.write((json.dumps(packs, indent=2) if as_json else "\n\n".join(map(_readable, packs))) + "\n")
        stream.flush()


def _plain(pack: "Pack") -> dict[str, Any]:
    return {
        "name": pack.name,
        "default": pack.name == DEFAULT_PACK,
        "summary": pack.summary,
        "commercial_use": pack.commercial_use,
        "dimension": pack.dimension,
        "metric": pack.metric,
        "threshold": pack.threshold,
        "threshold_provenance": pack.threshold_provenance,
        "files": [
            {
                "role": file.role,
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "licence": file.licence,
                "package": file.package,
                "origin": file.origin,
            }
            for file in pack.files
        ],
    }


def _readable(pack: dict[str, Any]) -> str:
    facts = {
        "summary": pack["summary"],
        "commercial use": pack["commercial_use"],
        "embedding": f"{pack['dimension']} numbers",
        "metric": pack["metric"],
        "same person below": f"{pack['threshold']:g}, {pack['threshold_provenance']}",
    }
    for file in pack["files"]:
        facts[file["role"]] = f"{file['name']}, {file['size']:,} bytes, {file['licence']}"
        facts[f"{file['role']} from"] = f"{file['origin']}, by way of the PyPI package {file['package']}"
    return readable(pack["name"] + (" (default)" if pack["default"] else ""), facts)
