"""Policies of galleries: from options, and into words."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from visavis.cli.report import Facts
from visavis.errors import InvalidOption

if TYPE_CHECKING:
    from visavis.galleries.records import Gallery, Policy
    from visavis.models.packs import Pack

_DEFAULT = "default"
_NEVER = "never"

_LIMITS = {
    "threshold": "A subject nearer than this is identified.",
    "margin": "By how much the next subject must be farther away.",
    "conflict_threshold": "A face nearer than this to another subject is not enrolled; 0 enrols it all the same.",
    "min_face_px": "Enrol no face of fewer pixels.",
    "min_sharpness": "Enrol no face less sharp than this.",
    "min_score": "Enrol no face that the detector is less sure of.",
    "max_yaw": "Enrol no head that is turned sideways by more degrees; 90 for any.",
    "max_pitch": "Enrol no head that looks up or down by more degrees; 90 for any.",
    "probe_min_face_px": "Identify no face of fewer pixels.",
    "probe_min_sharpness": "Identify no face less sharp than this.",
    "probe_min_score": "Identify no face that the detector is less sure of.",
}
_KEEP = typer.Option("--keep", help="What is kept of enrolled images: nothing, aligned faces, or whole images.")
_RETENTION = typer.Option(
    "--retention-days", metavar="N|never", help="Forget a subject so many days after its last enrolment."
)
_FLAGS = {
    "require_live": "Whether images must show faces that look live; needs a pack that can tell, such as open.",
    "consent_required": "Whether to enrol nobody without a consent note.",
    "log_searches": "Whether the log tells of every search.",
}
GivenPolicy = Mapping[str, str | bool | None]
"""The fields of a policy, as options give them; None where an option is not given."""


def takes_policy(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes a policy's fields as ``given`` an option for each of them, in the place of that."""
    options = _policy_options()

    @wraps(command)
    def taking(**values: object) -> None:
        given = {name: values.pop(name) for name in options}
        command(**values, given=given)

    plain = inspect.signature(command, eval_str=True).parameters
    parameters = [parameter for name in plain for parameter in (options.values() if name == "given" else [plain[name]])]
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    taking.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # which inspect reads
    taking.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    return taking


def _policy_options() -> dict[str, inspect.Parameter]:
    """Return an optional parameter for each field of a policy."""
    kinds: dict[str, object] = {
        name: Annotated[str | None, typer.Option(_option(name), metavar="N|default", help=about)]
        for name, about in _LIMITS.items()
    }
    kinds["keep"] = Annotated[Literal["nothing", "chips", "images"] | None, _KEEP]
    kinds["retention_days"] = Annotated[str | None, _RETENTION]
    for name, about in _FLAGS.items():
        both = f"{_option(name)}/--no-{_option(name)[2:]}"
        kinds[name] = Annotated[bool | None, typer.Option(both, help=about)]
    return {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in kinds.items()
    }


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


def policy_facts(gallery: "Gallery", pack: "Pack | None") -> Facts:
    """Return a policy in words, with the numbers of the gallery's pack where they count and it is known."""
    own = _own_numbers(pack)
    facts: dict[str, str | float | bool | None] = {}
    for name, value in gallery.policy.to_dict().items():
        if name in _LIMITS and value is None:
            facts[name.replace("_", " ")] = "the pack's own" + (f": {own[name]:g}" if own else "")
        elif name == "retention_days":
            facts["forget after days"] = _NEVER if value is None else f"{value:g}"
        else:
            facts[name.replace("_", " ")] = f"{value:g}" if type(value) is float else value
    return facts


def _own_numbers(pack: "Pack | None") -> Mapping[str, float]:
    if pack is None:
        return {}
    return {
        **asdict(pack.quality),
        "threshold": pack.identify_threshold,
        "margin": pack.identify_margin,
        "conflict_threshold": pack.conflict_threshold,
    }


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
