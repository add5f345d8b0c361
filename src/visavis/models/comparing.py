"""From two embedded faces to a verification."""

from visavis.core.decide import Rule, check_rate, distance_of, probability_of_same, rule_at_rate
from visavis.errors import InvalidOption
from visavis.models.packs import Pack
from visavis.types import Face, Verification


def choose_rule(pack: Pack, default: Rule, *, threshold: float | None = None, fmr: float | str | None = None) -> Rule:
    """Return the rule that is asked for.

    Args:
        pack: whose embeddings are compared.
        default: where nothing is asked for.
        threshold: two faces nearer than this are taken for one person.
        fmr: the false match rate to keep instead, or its name: "strict", "balanced" or "lenient".

    Raises:
        InvalidOption: both are given, or one is out of its range; or nobody has measured the pack's rates, or this one.
    """
    if threshold is not None and fmr is not None:
        raise InvalidOption("threshold and fmr are two ways to say the same: use one of them")
    if threshold is not None:
        return Rule.at(threshold)
    if fmr is None:
        return default
    rate = check_rate(fmr)
    if pack.rates is None:
        raise InvalidOption(
            f"fmr: nobody has measured the error rates of the pack {pack.name!r} here: visavis calibrate --pack "
            f"{pack.name} does, with photos of yours"
        )
    try:
        return rule_at_rate(pack.rates, rate)
    except InvalidOption as error:
        if not pack.rates_replaced:
            raise
        reset = f"visavis calibrate --reset --pack {pack.name}"
        raise InvalidOption(f"{error}; {reset} brings back the rates that the pack came with") from None


def compare(pack: Pack, a: Face, b: Face, rule: Rule) -> Verification:
    """Return whether two faces, which have embeddings, are the same person."""
    if a.embedding is None or b.embedding is None:
        raise AssertionError("faces to compare come with embeddings")
    distance = distance_of(pack.metric, a.embedding, b.embedding)
    return Verification(
        same=distance < rule.threshold,
        distance=distance,
        threshold=rule.threshold,
        probability=probability_of_same(distance, pack.calibration),
        faces=(a, b),
        decision=rule.decide(distance),
        fmr=rule.fmr,
    )
