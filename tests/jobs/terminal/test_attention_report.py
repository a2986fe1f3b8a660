"""Figures of trust in words: good and bad ones must read differently."""

from dataclasses import replace

import pytest

from forecaster.explain.report import (
    Agreement,
    Effect,
    Removal,
    Shares,
    Trust,
)
from jobs.terminal.attention_report import UNINFORMATIVE, figures, headline


def removal(attended: float, random: float, patches: int = 1) -> Removal:
    return Removal(
        patches=patches,
        attended=Effect(change=attended, error=0.3),
        random=Effect(change=random, error=0.05),
        least=Effect(change=0.01, error=0.0),
    )


GOOD = Trust(
    windows=92,
    past_patches=14,
    reconstruction_error=4e-7,
    shares=Shares(
        copied=0.8,
        last_value=0.1,
        residual=0.1,
        last_value_weight=0.1,
        level_weight=0.02,
        effective_patches=6.3,
    ),
    naopc=0.97,
    removals=(removal(0.42, 0.1), removal(0.7, 0.2, 3)),
    older=(removal(0.2, 0.1),),
    seeds=Agreement(divergence=0.03, overlap=0.8),
    planted_mass=0.98,
)


def told(trust: Trust) -> dict[str, str]:
    return dict(figures(trust, "24 hours"))


def test_the_headline_is_the_ratio_of_removals() -> None:
    assert headline(GOOD) == (
        "removing the most attended patch changes the forecast 4.2 times as much as removing a "
        "random one, 2.0 times if the latest patch is kept"
    )


def test_weights_that_say_nothing_are_said_to() -> None:
    bad = replace(GOOD, removals=(removal(0.09, 0.1),))

    assert not bad.informative
    assert headline(bad).endswith(UNINFORMATIVE)
    assert "attention_informative = false" in told(bad)["faithful"]


def test_without_windows_nothing_is_claimed() -> None:
    nothing = replace(GOOD, removals=(), older=(), naopc=float("nan"))

    assert "no window had enough data" in headline(nothing)
    assert not {"effect", "ranking"} & set(told(nothing))


def test_over_no_window_nothing_is_said_but_that() -> None:
    nothing = replace(GOOD, windows=0, removals=(), older=(), seeds=None, planted_mass=None)

    assert told(nothing) == {"faithful": headline(nothing)}
    assert "planted" in told(replace(nothing, planted_mass=0.9))


def test_the_figures_of_a_network_that_does_not_serve_say_so() -> None:
    replaced = replace(GOOD, serves=False)

    assert headline(replaced).startswith(
        "a naive fallback is in service; in the network it replaces"
    )
    assert headline(GOOD) in headline(replaced)
    assert told(replaced)["in service"].startswith("a naive fallback without attention")


def test_good_figures_read_well() -> None:
    assert told(GOOD) == {
        "exact": "the parts add up to the forecast: error 4e-07 of the spread",
        "faithful": headline(GOOD),
        "effect": (
            "the forecast then changes by 0.42 seasonal errors, and its error by +0.30 "
            "(random patch: 0.10 and +0.05)"
        ),
        "ranking": (
            "ranking patches by weight is nearly as good as the best possible (NAOPC 0.97)"
        ),
        "complete": (
            "80% of a forecast's distance from its level is copied from the past, 10% last value, "
            "10% residual"
        ),
        "focused": "attention on the past is spread over 6.3 of 14 patches of 24 hours",
        "planted": "a planted pattern is found: it gets 98% of the weight",
        "stable": ("two seeds agree: 0.03 bits apart, 80% of the most attended patches in common"),
    }


@pytest.mark.parametrize(
    ("word", "changed", "expected"),
    [
        ("exact", {"reconstruction_error": 0.01}, "do NOT add up"),
        ("ranking", {"naopc": 0.6}, "better than chance"),
        ("ranking", {"naopc": 0.4}, "no better than chance"),
        ("planted", {"planted_mass": 0.4}, "NOT found"),
        ("stable", {"seeds": Agreement(divergence=0.3, overlap=0.2)}, "do NOT agree"),
        (
            "complete",
            {"shares": replace(GOOD.shares, copied=0.2, residual=0.7)},
            "the weights explain less than half",
        ),
    ],
)
def test_poor_figures_are_not_glossed_over(
    word: str, changed: dict[str, float], expected: str
) -> None:
    assert expected in told(replace(GOOD, **changed))[word]  # type: ignore[arg-type]
