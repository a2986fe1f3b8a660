"""How far the attention of a model can be trusted, in words."""

from collections.abc import Iterator

from forecaster.explain.report import Trust

UNINFORMATIVE = "attention_informative = false: do not interpret the weights as an explanation"
"""Shown for a model whose weights do not explain its forecasts."""
REPLACED = "a naive fallback is in service; in the network it replaces,"
NO_ATTENTION = (
    "a naive fallback without attention; the figures below are for the network it replaces"
)
EXACT = 1e-5
"""Of the spread of a window: more than float32 rounding leaves."""
MOSTLY = 0.5
AGREEING = 0.1
"""Divergence in bits below which two seeds attend to the same patches."""
FOUND = 0.9
NEAR_BEST, CHANCE = 0.8, 0.5
"""Normalised areas over the perturbation curve: near the best order, and that of any order."""


def headline(trust: Trust) -> str:
    """Return a summary in one line."""
    if not trust.removals:
        return "not measured: no window had enough data"
    return _ratio(trust) if trust.serves else f"{REPLACED} {_ratio(trust)}"


def _ratio(trust: Trust) -> str:
    text = (
        "removing the most attended patch changes the forecast "
        f"{trust.removals[0].ratio:.1f} times as much as removing a random one"
    )
    if trust.older:
        text += f", {trust.older[0].ratio:.1f} times if the latest patch is kept"
    return text if trust.informative else f"{text}; {UNINFORMATIVE}"


def figures(trust: Trust, patch: str) -> Iterator[tuple[str, str]]:
    """Yield each figure as a label and a sentence; `patch` is a length such as 24 hours."""
    if not trust.serves:
        yield "in service", NO_ATTENTION
    if trust.windows:
        yield from _measured(trust, patch)
    else:
        yield "faithful", headline(trust)
    yield from _audited(trust)


def _measured(trust: Trust, patch: str) -> Iterator[tuple[str, str]]:
    added = "add up to the forecast" if trust.reconstruction_error < EXACT else "do NOT add up"
    yield "exact", f"the parts {added}: error {trust.reconstruction_error:.0e} of the spread"
    yield "faithful", headline(trust)
    if trust.removals:
        attended, random = trust.removals[0].attended, trust.removals[0].random
        yield (
            "effect",
            f"the forecast then changes by {attended.change:.2f} seasonal errors, and its error by "
            f"{attended.error:+.2f} (random patch: {random.change:.2f} and {random.error:+.2f})",
        )
    if trust.naopc == trust.naopc:
        order = "better than chance" if trust.naopc > CHANCE else "no better than chance"
        order = "nearly as good as the best possible" if trust.naopc >= NEAR_BEST else order
        yield "ranking", f"ranking patches by weight is {order} (NAOPC {trust.naopc:.2f})"
    yield "complete", _complete(trust)
    effective = f"{trust.shares.effective_patches:.1f} of {trust.past_patches}"
    yield "focused", f"attention on the past is spread over {effective} patches of {patch}"


def _complete(trust: Trust) -> str:
    shares = trust.shares
    text = (
        f"{shares.copied:.0%} of a forecast's distance from its level is copied from the past, "
        f"{shares.last_value:.0%} last value, {shares.residual:.0%} residual"
    )
    return f"{text}: the weights explain less than half" if shares.residual > MOSTLY else text


def _audited(trust: Trust) -> Iterator[tuple[str, str]]:
    if trust.planted_mass is not None:
        verdict = "found" if trust.planted_mass >= FOUND else "NOT found"
        yield (
            "planted",
            f"a planted pattern is {verdict}: it gets {trust.planted_mass:.0%} of the weight",
        )
    if trust.seeds is not None:
        verdict = "agree" if trust.seeds.divergence < AGREEING else "do NOT agree"
        yield (
            "stable",
            f"two seeds {verdict}: {trust.seeds.divergence:.2f} bits apart, "
            f"{trust.seeds.overlap:.0%} of the most attended patches in common",
        )
