"""Policies of galleries: from options, and into words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.report import Facts
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.galleries.records import Gallery, Policy
    from visavis.models.catalogue import Pack

_DEFAULT = "default"
_NEVER = "never"

ThresholdOption = Annotated[
    str | None,
    typer.Option("--threshold", metavar="N|default", help="A subject nearer than this is identified."),
]
MarginOption = Annotated[
    str | None,
    typer.Option("--margin", metavar="N|default", help="By how much the next subject must be farther away."),
]
ConflictOption = Annotated[
    str | None,
    typer.Option(
        "--conflict-threshold",
        metavar="N|default",
        help="A face nearer than this to another subject is not enrolled; 0 enrols it all the same.",
    ),
]
MinFacePxOption = Annotated[
    float | None, typer.Option("--min-face-px", metavar="N", help="Enrol no face of fewer pixels.")
]
MinSharpnessOption = Annotated[
    float | None, typer.Option("--min-sharpness", metavar="N", help="Enrol no face less sharp than this.")
]
MinScoreOption = Annotated[
    float | None, typer.Option("--min-score", metavar="N", help="Enrol no face that the detector is less sure of.")
]
ProbeMinFacePxOption = Annotated[
    float | None, typer.Option("--probe-min-face-px", metavar="N", help="Identify no face of fewer pixels.")
]
ProbeMinSharpnessOption = Annotated[
    float | None, typer.Option("--probe-min-sharpness", metavar="N", help="Identify no face less sharp than this.")
]
ProbeMinScoreOption = Annotated[
    float | None,
    typer.Option("--probe-min-score", metavar="N", help="Identify no face that the detector is less sure of."),
]
KeepOption = Annotated[
    Literal["nothing", "chips", "images"] | None,
    typer.Option("--keep", help="What is kept of enrolled images: nothing, aligned faces, or whole images."),
]
RetentionOption = Annotated[
    str | None,
    typer.Option("--retention-days", metavar="N|never", help="Forget a subject so many days after its last enrolment."),
]
ConsentRequiredOption = Annotated[
    bool | None,
    typer.Option("--consent-required/--no-consent-required", help="Whether to enrol nobody without a consent note."),
]
LogSearchesOption = Annotated[
    bool | None, typer.Option("--log-searches/--no-log-searches", help="Whether the log tells of every search.")
]
GivenPolicy = Mapping[str, str | float | bool | None]
"""The fields of a policy, as options give them; None where an option is not given."""


def changed_policy(policy: "Policy", given: GivenPolicy) -> "Policy":
    """Return the policy with those fields changed that are given.

    Raises:
        InvalidOption: a value is no number, or out of its range; the message names the option.
    """
    changes = {
        name: _number(name, value) if isinstance(value, str) and name != "keep" else value
        for name, value in given.items()
        if value is not None
    }
    try:
        return replace(policy, **changes)  # type: ignore[arg-type]  # checked there
    except InvalidOption as error:
        name, _, rest = str(error).partition(" ")
        raise InvalidOption(f"{_option(name)} {rest}") from None


def policy_facts(gallery: "Gallery", pack: "Pack") -> Facts:
    """Return a policy in words, with the pack's own numbers where they count and the pack is the gallery's."""
    own = {
        "threshold": pack.identify_threshold,
        "margin": pack.identify_margin,
        "conflict_threshold": pack.conflict_threshold,
    }
    facts: dict[str, str | float | bool | None] = {}
    for name, value in gallery.policy.to_dict().items():
        if value is None and name in own:
            number = f": {own[name]:g}" if pack.space == gallery.space else ""
            facts[name.replace("_", " ")] = f"the pack's own{number}"
        elif name == "retention_days":
            facts["forget after days"] = _NEVER if value is None else f"{value:g}"
        else:
            facts[name.replace("_", " ")] = f"{value:g}" if type(value) is float else value
    return facts


def _number(name: str, text: str) -> float | None:
    word = _NEVER if name == "retention_days" else _DEFAULT
    if text == word:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidOption(f"{_option(name)} must be a number or {word}, not {text!r}") from None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
